//! Environments: started, run, frozen, limited and ended; and what callers of the Invoke API are told.

use super::*;

#[tokio::test]
async fn a_function_gets_its_event_its_context_and_only_its_environment() -> TestResult {
    let emulator = start_one(|function| {
        function.environment.insert("OWLET_X".into(), "x".into());
        function.timeout = Duration::from_secs(7);
    })
    .await?;
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let before = std::time::UNIX_EPOCH.elapsed()?.as_millis();
    let reply = post(&emulator, "f/invocations?Qualifier=live", &[("x-amzn-trace-id", trace)], "{}").await?;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-amz-executed-version"), "1");
    assert_eq!(reply.body["arn"], "arn:aws:lambda:us-east-1:123456789012:function:f:live");
    assert_eq!(reply.body["trace_id"], trace);
    assert_eq!(reply.body["request_id"], reply.header("x-amzn-requestid"));
    let left = u128::from(reply.body["deadline_ms"].as_u64().unwrap_or_default()) - before;
    assert!((7000..9000).contains(&left), "{left}");
    let environment = &reply.body["environment"];
    assert_eq!(environment["OWLET_X"], "x");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "f");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_VERSION"], "1");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert_eq!(environment["AWS_REGION"], "us-east-1");
    let names = environment.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let ours = |name: &String| name == "PATH" || name == "OWLET_X" || name == "_X_AMZN_TRACE_ID";
    let lambdas = [
        "AWS_LAMBDA_",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "LANG",
        "TZ",
        "TMPDIR",
        "AWS_ENDPOINT_URL_LAMBDA",
    ];
    let foreign: Vec<_> =
        names.iter().filter(|name| !ours(name) && !lambdas.iter().any(|known| name.starts_with(known))).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let latest = invoke(&emulator, json!({})).await?;
    assert_eq!(latest.header("x-amz-executed-version"), "$LATEST");
    assert_eq!(latest.body["environment"]["AWS_LAMBDA_FUNCTION_VERSION"], "$LATEST");
    assert!(latest.body["trace_id"].as_str().is_some_and(|trace| trace.starts_with("Root=1-")));
    Ok(())
}

#[tokio::test]
async fn the_official_sdk_gets_answers_typed_errors_and_logs() -> TestResult {
    let functions = vec![FunctionConfig { max_concurrency: 1, ..stub("f") }];
    let config = EmulatorConfig { functions, credentials: vec![credential()], ..EmulatorConfig::default() };
    let emulator = Emulator::start(config).await?;
    let sdk = sdk(&emulator);
    let names = ["f", "f:live", "arn:aws:lambda:us-east-1:123456789012:function:f", "123456789012:function:f:1"];
    for name in names {
        let answer = sdk.invoke().function_name(name).payload(Blob::new(r#"{"echo":[1,"ü"]}"#)).send().await?;
        assert_eq!(answer.payload().map(Blob::as_ref), Some("[1,\"ü\"]".as_bytes()), "{name}");
    }
    let tail = sdk.invoke().function_name("f").qualifier("live").log_type(LogType::Tail);
    let answer = tail.payload(Blob::new(r#"{"error":"broken","log":"hello log"}"#)).send().await?;
    assert_eq!(answer.function_error(), Some("Unhandled"));
    let log = base64::prelude::BASE64_STANDARD.decode(answer.log_result().unwrap_or_default())?;
    assert!(String::from_utf8(log)?.contains("hello log\n"));
    let missing = sdk.invoke().function_name("nobody").send().await.err().and_then(|error| error.into_service_error().into());
    assert!(missing.is_some_and(|error: aws_sdk_lambda::operation::invoke::InvokeError| error.is_resource_not_found_exception()));
    let gate = Gate::new()?;
    let call = || sdk.invoke().function_name("f").payload(Blob::new(gate.event().to_string())).send();
    let (first, second) = tokio::join!(call(), gate.open_after(1, call()));
    first?;
    let throttled = second.err().ok_or("both ran")?.into_service_error();
    assert!(throttled.is_too_many_requests_exception(), "{throttled:?}");
    let queued = sdk.invoke().function_name("f").invocation_type(InvocationType::Event).send().await?;
    assert_eq!(queued.status_code(), 202);
    assert!(emulator.ledger().entries.iter().all(|entry| entry.caller == credential().user_arn));
    Ok(())
}

#[tokio::test]
async fn environments_run_at_once_and_more_callers_are_throttled() -> TestResult {
    let emulator = start_one(|function| function.max_concurrency = 8).await?;
    let gate = Gate::new()?;
    let call = || invoke(&emulator, gate.event());
    let two_more = async { [call().await, call().await] };
    let (replies, throttled) = tokio::join!(join_all((0..8).map(|_| call())), gate.open_after(8, two_more));
    let mut pids: Vec<_> = replies.into_iter().map(|reply| reply.map(|reply| reply.pid())).collect::<Result<_, _>>()?;
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 8);
    for reply in throttled {
        let reply = reply?;
        assert_eq!((reply.status, reply.header("x-amzn-errortype")), (429, "TooManyRequestsException"));
        let reason = "ReservedFunctionConcurrentInvocationLimitExceeded";
        assert_eq!(reply.body, json!({"Reason": reason, "Type": "User", "message": "Rate Exceeded."}));
    }
    let counts = emulator.ledger().counts_of("f");
    assert_eq!((counts.invokes, counts.throttles, counts.cold_starts, counts.errors), (10, 2, 8, 0));
    Ok(())
}

#[tokio::test]
async fn the_most_recently_used_environment_runs_again_first() -> TestResult {
    let emulator = start_one(|_| {}).await?;
    let gate = Gate::new()?;
    let (slow, _) = tokio::join!(invoke(&emulator, gate.event()), gate.open_after(1, invoke(&emulator, json!({}))));
    let slow = slow?.pid();
    for count in 2..5 {
        let reply = invoke(&emulator, json!({})).await?;
        assert_eq!((reply.pid(), &reply.body["count"]), (slow, &json!(count)));
    }
    assert_eq!(emulator.ledger().counts_of("f").cold_starts, 2);
    Ok(())
}

#[tokio::test]
async fn callers_in_sequence_never_meet_their_own_concurrency() -> TestResult {
    let emulator = start_one(|function| function.max_concurrency = 1).await?;
    for _ in 0..200 {
        assert_eq!(invoke(&emulator, json!({"echo": 1})).await?.status, 200);
    }
    // Another version needs another process; the idle one makes room for it.
    let old = invoke(&emulator, json!({})).await?.pid();
    assert_eq!(post(&emulator, "f:live/invocations", &[], "{}").await?.status, 200);
    assert!(eventually(|| !is_alive(old)).await);
    Ok(())
}

#[tokio::test]
async fn idle_processes_are_frozen_unless_told_otherwise() -> TestResult {
    for freeze in [true, false] {
        let functions = vec![stub("f")];
        let emulator = Emulator::start(EmulatorConfig { functions, freeze, ..EmulatorConfig::default() }).await?;
        let pid = invoke(&emulator, json!({"start_ticks": 1})).await?.pid();
        let mut ticks = 0;
        for round in 0..40 {
            pause(500).await;
            assert_eq!(state_of(pid) == Some('T'), freeze);
            ticks = invoke(&emulator, json!({})).await?.body["ticks"].as_u64().unwrap_or_default();
            // A busy machine may let a running process wait, but it does not let a frozen one run.
            if freeze && round == 0 || ticks >= 30 {
                break;
            }
        }
        assert_eq!(ticks < 30, freeze, "{ticks}");
    }
    Ok(())
}

#[tokio::test]
async fn environments_end_after_their_idle_time_with_their_temporary_folder() -> TestResult {
    let functions = vec![stub("f")];
    let emulator = Emulator::start(EmulatorConfig { functions, idle_timeout: ms(1500), ..EmulatorConfig::default() }).await?;
    let first = invoke(&emulator, json!({})).await?;
    let folder = first.body["environment"]["TMPDIR"].as_str().unwrap_or_default().to_owned();
    assert!(is_alive(first.pid()) && std::fs::exists(&folder)?);
    assert!(eventually(|| !is_alive(first.pid())).await);
    assert!(eventually(|| !std::fs::exists(&folder).unwrap_or(true)).await);
    assert_ne!(invoke(&emulator, json!({})).await?.pid(), first.pid());
    Ok(())
}

#[tokio::test]
async fn an_idle_process_that_was_killed_is_replaced() -> TestResult {
    let emulator = start_one(|_| {}).await?;
    let first = invoke(&emulator, json!({})).await?.pid();
    std::process::Command::new("kill").args(["-KILL", &first.to_string()]).status()?;
    assert!(eventually(|| state_of(first).is_none()).await);
    pause(20).await;
    let second = invoke(&emulator, json!({})).await?;
    assert_eq!((second.status, second.header("x-amz-function-error")), (200, ""));
    assert_ne!(second.pid(), first);
    Ok(())
}

#[tokio::test]
async fn a_process_that_works_on_after_its_answer_holds_its_slot() -> TestResult {
    let start_raw = |timeout: u64| {
        start_one(move |function| {
            function.max_concurrency = 1;
            function.timeout = ms(timeout);
            function.environment.insert("STUB_INIT".into(), "raw".into());
        })
    };
    let emulator = start_raw(30_000).await?;
    let watch = Instant::now();
    let pid = invoke(&emulator, json!({"work_on_ms": 5000})).await?.pid();
    assert!(watch.elapsed() < ms(4500), "{:?}", watch.elapsed());
    assert_eq!(invoke(&emulator, json!({})).await?.status, 429);
    let mut next = invoke(&emulator, json!({})).await?;
    while next.status == 429 && watch.elapsed() < ms(30_000) {
        pause(100).await;
        next = invoke(&emulator, json!({})).await?;
    }
    assert_eq!(next.pid(), pid);
    // One that ends after its answer has answered all the same, and the next caller gets a new process.
    let last = invoke(&emulator, json!({"end": true})).await?;
    assert_eq!((last.pid(), last.header("x-amz-function-error")), (pid, ""));
    let next = invoke(&emulator, json!({})).await?;
    assert!(next.status == 200 && next.pid() != pid);
    // Working on ends with the time limit.
    let emulator = start_raw(3000).await?;
    let endless = invoke(&emulator, json!({"work_on_ms": 60_000})).await?;
    assert_eq!((endless.status, endless.header("x-amz-function-error")), (200, ""));
    assert!(eventually(|| !is_alive(endless.pid())).await);
    Ok(())
}

#[tokio::test]
async fn the_time_limit_kills_the_process() -> TestResult {
    let emulator = start_one(|function| function.timeout = ms(700)).await?;
    let pid = invoke(&emulator, json!({})).await?.pid();
    let watch = Instant::now();
    let reply = invoke(&emulator, json!({"sleep_ms": 60_000})).await?;
    assert!((ms(700)..ms(20_000)).contains(&watch.elapsed()));
    let id = reply.header("x-amzn-requestid");
    let message = format!("RequestId: {id} Error: Task timed out after 0.70 seconds");
    assert_eq!(reply.function_error(), ("Sandbox.Timedout", message.as_str()));
    assert!(!is_alive(pid));
    assert_ne!(invoke(&emulator, json!({})).await?.pid(), pid);
    let ledger = emulator.ledger();
    assert_eq!(ledger.entries[1].outcome, Outcome::TimedOut);
    assert!(ledger.entries[1].billed_ms >= 700);
    Ok(())
}

#[tokio::test]
async fn errors_panics_and_exits_are_function_errors() -> TestResult {
    let emulator = start_one(|_| {}).await?;
    let cases = [
        (json!({"error": "text"}), "", "text", Outcome::FunctionError),
        (json!({"panic": true}), "", "panicked as told", Outcome::FunctionError),
        (json!({"exit": 1}), "Runtime.ExitError", "Error: Runtime exited with error: exit status 1", Outcome::Exited),
        (json!({"exit": 0}), "Runtime.ExitError", "Error: Runtime exited without providing a reason", Outcome::Exited),
    ];
    for (event, kind, message, outcome) in cases {
        let reply = invoke(&emulator, event.clone()).await?;
        let (found_kind, found_message) = reply.function_error();
        assert!(found_kind.contains(kind) && found_message.contains(message), "{event}: {}", reply.text);
        assert_eq!(emulator.ledger().entries.last().map(|entry| entry.outcome), Some(outcome), "{event}");
    }
    assert_eq!(emulator.ledger().counts_of("f").errors, 4);
    Ok(())
}

#[tokio::test]
async fn what_a_process_has_started_ends_with_it() -> TestResult {
    let emulator = start_one(|_| {}).await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("child");
    invoke(&emulator, json!({"spawn_child": path, "exit": 1})).await?.function_error();
    let child: u64 = std::fs::read_to_string(&path)?.parse()?;
    assert!(eventually(|| !is_alive(child)).await);
    Ok(())
}

#[tokio::test]
async fn memory_above_the_limit_kills_the_process() -> TestResult {
    let emulator = start_one(|function| function.memory_mb = 64).await?;
    assert_eq!(invoke(&emulator, json!({"allocate_mb": 20})).await?.header("x-amz-function-error"), "");
    let peak = emulator.ledger().entries[0].max_memory_mb;
    assert!((20..64).contains(&peak), "{peak}");
    // While it runs, and between two looks.
    for event in [json!({"allocate_mb": 100, "sleep_ms": 60_000}), json!({"allocate_mb": 100})] {
        let reply = invoke(&emulator, event).await?;
        let (kind, message) = reply.function_error();
        assert_eq!(kind, "Runtime.ExitError");
        assert!(message.ends_with("Error: Runtime exited with error: signal: killed"), "{message}");
        let ledger = emulator.ledger();
        let entry = ledger.entries.last().ok_or("no entry")?;
        assert_eq!(entry.outcome, Outcome::OutOfMemory);
        assert!(entry.max_memory_mb > 64, "{}", entry.max_memory_mb);
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_init_is_an_error_of_the_invocation() -> TestResult {
    let cases = [
        ("exit", "Runtime.ExitError", "Error: Runtime exited with error: exit status 7"),
        ("hang", "Sandbox.Timedout", "Error: Task timed out after 0.50 seconds"),
        ("error", "Stub.Init", "no luck"),
    ];
    for (init, kind, message) in cases {
        let emulator = start_one(|function| {
            if init == "hang" {
                function.init_timeout = ms(500);
            }
            function.environment.insert("STUB_INIT".into(), init.into());
        })
        .await?;
        let reply = invoke(&emulator, json!({})).await?;
        let (found_kind, found_message) = reply.function_error();
        assert!(found_kind == kind && found_message.ends_with(message), "{init}: {}", reply.text);
        let ledger = emulator.ledger();
        assert_eq!(ledger.entries[0].outcome, Outcome::InitFailed);
        assert!(ledger.entries[0].init.is_some());
    }
    let missing = FunctionConfig::new("f", "/no/such/bootstrap");
    assert!(start(vec![missing]).await.err().is_some_and(|error| error.to_string().contains("/no/such/bootstrap")));
    assert!(start(vec![stub("f"), stub("f")]).await.is_err());
    Ok(())
}

#[tokio::test]
async fn bad_requests_are_refused_before_anything_runs() -> TestResult {
    let emulator = start_one(|_| {}).await?;
    let event = [("x-amz-invocation-type", "Event")];
    let dry_run = [("x-amz-invocation-type", "DryRun")];
    let large = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let cases: [(&str, Headers<'_>, String, u16, &str); 12] = [
        ("g/invocations", &[], "{}".into(), 404, "ResourceNotFoundException"),
        ("f/invocations?Qualifier=nope", &[], "{}".into(), 404, "ResourceNotFoundException"),
        ("f:live/invocations?Qualifier=1", &[], "{}".into(), 400, "InvalidParameterValueException"),
        ("f/somewhere", &[], "{}".into(), 404, "UnknownOperationException"),
        ("f/invocations", &[], "{not json".into(), 400, "InvalidRequestContentException"),
        ("f/invocations", &event, "{not json".into(), 400, "InvalidRequestContentException"),
        ("f/invocations", &[("x-amz-invocation-type", "Later")], "{}".into(), 400, "InvalidParameterValueException"),
        ("f/invocations", &[], large(MAX_PAYLOAD_BYTES + 1), 413, "RequestTooLargeException"),
        ("f/invocations", &event, large(1_048_577), 413, "RequestTooLargeException"),
        ("f/invocations", &dry_run, "{}".into(), 204, ""),
        ("f/invocations?Qualifier=live", &dry_run, String::new(), 204, ""),
        ("nobody/invocations", &dry_run, String::new(), 404, "ResourceNotFoundException"),
    ];
    for (target, headers, body, status, kind) in cases {
        let reply = post(&emulator, target, headers, body).await?;
        assert_eq!((reply.status, reply.header("x-amzn-errortype")), (status, kind), "{target} {headers:?}");
    }
    assert_eq!(emulator.ledger().counts_of("f").invokes, 0);
    let full = format!("{{\"echo\":1,\"padding\":{}}}", large(MAX_PAYLOAD_BYTES - 21));
    assert_eq!(full.len(), MAX_PAYLOAD_BYTES);
    assert_eq!(post(&emulator, "f/invocations", &[], full).await?.text, "1");
    Ok(())
}

#[tokio::test]
async fn an_answer_above_the_limit_is_an_error_but_the_process_lives() -> TestResult {
    let emulator = start_one(|function| function.timeout = Duration::from_secs(20)).await?;
    let pid = invoke(&emulator, json!({})).await?.pid();
    let full = invoke(&emulator, json!({"answer_bytes": MAX_PAYLOAD_BYTES})).await?;
    assert_eq!((full.header("x-amz-function-error"), full.text.len()), ("", MAX_PAYLOAD_BYTES));
    let above = invoke(&emulator, json!({"answer_bytes": MAX_PAYLOAD_BYTES + 1})).await?;
    assert_eq!(above.function_error().0, "Function.ResponseSizeTooLarge");
    assert_eq!(invoke(&emulator, json!({})).await?.pid(), pid);
    Ok(())
}

#[tokio::test]
async fn the_log_tail_holds_output_and_the_report() -> TestResult {
    let lines = Arc::new(Mutex::new(Vec::<String>::new()));
    let seen = Arc::clone(&lines);
    let sink: LogSink = Arc::new(move |function, line| {
        let line = format!("{function}: {}", String::from_utf8_lossy(line));
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    });
    let functions = vec![stub("f")];
    let emulator = Emulator::start(EmulatorConfig { functions, log: Some(sink), ..EmulatorConfig::default() }).await?;
    let tail = async |text: &str| -> AnyResult<(Reply, String)> {
        let body = json!({"log": text}).to_string();
        let reply = post(&emulator, "f/invocations", &[("x-amz-log-type", "Tail")], body).await?;
        let log = base64::prelude::BASE64_STANDARD.decode(reply.header("x-amz-log-result"))?;
        Ok((reply, String::from_utf8(log)?))
    };
    let (reply, cold) = tail("first").await?;
    let id = reply.header("x-amzn-requestid");
    let expected =
        format!("START RequestId: {id} Version: $LATEST\nfirst\nEND RequestId: {id}\nREPORT RequestId: {id}\tDuration: ");
    assert!(cold.starts_with(&expected), "{cold}");
    assert!(cold.contains("\tMemory Size: 256 MB\tMax Memory Used: ") && cold.contains(" MB\tInit Duration: "), "{cold}");
    let entry = &emulator.ledger().entries[0];
    assert!(cold.contains(&format!("\tBilled Duration: {} ms\t", entry.billed_ms)), "{cold}");
    assert!(entry.init.is_some_and(|init| entry.billed_ms >= u64::try_from(init.as_millis()).unwrap_or_default()));
    let (_, warm) = tail("second").await?;
    assert!(warm.contains("second") && !warm.contains("first") && !warm.contains("Init Duration"), "{warm}");
    let (_, long) = tail(&"x".repeat(10_000)).await?;
    assert_eq!(long.len(), 4096);
    assert!(long.ends_with('\n') && long.contains("REPORT"));
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(lines.contains(&"f: first".to_owned()) && lines.iter().any(|line| line.starts_with("f: REPORT RequestId")));
    Ok(())
}
