//! Events, faults, function URLs and signatures, and what is left behind.

use super::*;

#[tokio::test]
async fn events_run_later_and_again_after_errors() -> TestResult {
    let emulator = start_one(|_| {}).await?;
    let gate = Gate::new()?;
    let mut event = gate.event();
    event["error"] = "always".into();
    // The answer is there before the function may end.
    let reply = enqueue(&emulator, event).await?;
    assert_eq!((reply.status, reply.text.as_str()), (202, ""));
    gate.open_after(1, async {}).await;
    assert!(eventually(|| emulator.ledger().counts_of("f").events_dropped == 1).await);
    assert_eq!(gate.deliveries(), [reply.header("x-amzn-requestid"); 3]);
    enqueue(&emulator, json!({"echo": 1})).await?;
    assert!(eventually(|| emulator.ledger().entries.len() == 4).await);
    let ledger = emulator.ledger();
    assert_eq!((ledger.entries[3].outcome, ledger.entries[3].kind), (Outcome::Ok, InvocationKind::Event));
    Ok(())
}

#[tokio::test]
async fn events_wait_for_room_in_a_bounded_queue() -> TestResult {
    let emulator = start_one(|function| function.max_concurrency = 1).await?;
    let gate = Gate::new()?;
    enqueue(&emulator, gate.event()).await?;
    assert!(eventually(|| gate.deliveries().len() == 1).await);
    let replies = join_all((1..260).map(|_| enqueue(&emulator, json!({"echo": 1})))).await;
    let replies: Vec<_> = replies.into_iter().collect::<Result<_, _>>()?;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert_eq!((refused.len(), &refused[0].body["Reason"]), (4, &json!("CallerRateLimitExceeded")));
    // The first event still runs: all others wait for it.
    assert_eq!(emulator.ledger().entries.len(), 0);
    assert_eq!(invoke(&emulator, json!({})).await?.status, 429);
    gate.open_after(1, async {}).await;
    assert!(eventually(|| emulator.ledger().entries.len() == 256).await);
    assert!(emulator.ledger().entries.iter().all(|entry| entry.outcome == Outcome::Ok));
    Ok(())
}

#[tokio::test]
async fn faults_refuse_delay_kill_and_lose() -> TestResult {
    let faults = [
        Fault::None,
        Fault::Throttle("ConcurrentInvocationLimitExceeded".into()),
        Fault::ServiceError,
        Fault::LoseAnswer,
        Fault::KillBeforeAnswer,
        Fault::KillAfter(ms(100)),
        Fault::Delay(ms(300)),
    ];
    let emulator =
        start_chaos(move |sequence| faults.get(usize::try_from(sequence).unwrap_or(99)).cloned().unwrap_or_default()).await?;
    let pid = invoke(&emulator, json!({})).await?.pid();
    let throttled = invoke(&emulator, json!({})).await?;
    assert_eq!((throttled.status, &throttled.body["Reason"]), (429, &json!("ConcurrentInvocationLimitExceeded")));
    let error = invoke(&emulator, json!({})).await?;
    assert_eq!((error.status, error.header("x-amzn-errortype")), (500, "ServiceException"));
    assert!(invoke(&emulator, json!({})).await.is_err());
    assert_eq!(emulator.ledger().entries.len(), 2);
    for event in [json!({}), json!({"sleep_ms": 60_000})] {
        let killed = invoke(&emulator, event).await?;
        assert!(killed.function_error().1.ends_with("signal: killed"), "{}", killed.text);
    }
    assert!(!is_alive(pid));
    let watch = Instant::now();
    assert_eq!(invoke(&emulator, json!({})).await?.status, 200);
    assert!(watch.elapsed() >= ms(300));
    let outcomes: Vec<_> = emulator.ledger().entries.iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ok, Outcome::Ok, Outcome::Exited, Outcome::Exited, Outcome::Ok]);
    Ok(())
}

#[tokio::test]
async fn a_delivery_can_happen_twice() -> TestResult {
    let emulator = start_chaos(|_| Fault::DeliverTwice).await?;
    for (kind, runs) in [("RequestResponse", 2), ("Event", 4)] {
        let gate = Gate::new()?;
        let (headers, body) = ([("x-amz-invocation-type", kind)], gate.event().to_string());
        // Both run at the same time.
        let (reply, ()) = tokio::join!(post(&emulator, "f/invocations", &headers, body), gate.open_after(2, async {}));
        let id = reply?.header("x-amzn-requestid").to_owned();
        assert_eq!(gate.deliveries(), [id.as_str(), id.as_str()]);
        assert!(eventually(|| emulator.ledger().entries.len() == runs).await);
    }
    assert!(emulator.ledger().entries.iter().all(|entry| entry.outcome == Outcome::Ok));
    Ok(())
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_function() -> TestResult {
    let emulator = start_one(|_| {}).await?;
    let gate = Gate::new()?;
    tokio::select! {
        _ = invoke(&emulator, gate.event()) => return Err("the gate was open".into()),
        entered = eventually(|| gate.deliveries().len() == 1) => assert!(entered),
    }
    pause(100).await;
    gate.open_after(1, async {}).await;
    assert!(eventually(|| emulator.ledger().entries.len() == 1).await);
    assert_eq!(emulator.ledger().entries[0].outcome, Outcome::Ok);
    Ok(())
}

async fn start_url(auth: UrlAuth, credentials: Vec<Credential>) -> AnyResult<(Emulator, String)> {
    let functions = vec![FunctionConfig { url_auth: Some(auth), max_concurrency: 1, ..stub("f") }];
    let emulator = Emulator::start(EmulatorConfig { functions, credentials, ..EmulatorConfig::default() }).await?;
    let url = emulator.function_url("f").ok_or("no URL")?;
    Ok((emulator, url))
}

#[tokio::test]
async fn a_function_url_turns_requests_into_events() -> TestResult {
    let (emulator, url) = start_url(UrlAuth::None, Vec::new()).await?;
    let request = CLIENT.put(format!("{url}/a%20b/c?x=1&y=%C3%BC&x=2&z"));
    let request =
        request.header("X-Two", "1").header("X-Two", "2").header("Cookie", "a=1; b=2").header("authorization", "Bearer t");
    let event =
        Reply::read(request.header("user-agent", "me").header("content-type", "text/plain").body("hallo").send().await?).await?;
    assert_eq!((event.status, event.header("content-type")), (200, "application/json"));
    let event = event.body;
    assert_eq!((&event["version"], &event["routeKey"]), (&json!("2.0"), &json!("$default")));
    assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!("/a%20b/c"), &json!("x=1&y=%C3%BC&x=2&z")));
    assert_eq!(event["queryStringParameters"], json!({"x": "1,2", "y": "ü", "z": ""}));
    assert_eq!((&event["headers"]["x-two"], &event["headers"]["authorization"]), (&json!("1,2"), &json!("Bearer t")));
    assert_eq!((&event["cookies"], &event["headers"]["cookie"]), (&json!(["a=1", "b=2"]), &Value::Null));
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("hallo"), &json!(false)));
    let context = &event["requestContext"];
    let http = json!({"method": "PUT", "path": "/a%20b/c", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "me"});
    assert_eq!((&context["http"], &context["stage"], &context["apiId"]), (&http, &json!("$default"), &json!("f")));
    assert!(context["timeEpoch"].as_u64().is_some_and(|time| time > 1_700_000_000_000) && context["time"].is_string());
    assert!(context["requestId"].is_string() && context["authorizer"].is_null());
    let binary = CLIENT.post(&url).body(vec![0xff, 0]).send().await?;
    let binary = Reply::read(binary).await?.body;
    assert_eq!((&binary["body"], &binary["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
    assert!(emulator.ledger().entries.iter().all(|entry| entry.kind == InvocationKind::Url));
    Ok(())
}

#[tokio::test]
async fn a_function_url_turns_answers_into_responses() -> TestResult {
    let (emulator, url) = start_url(UrlAuth::None, Vec::new()).await?;
    let client = reqwest::Client::new();
    let send = async |commands: Value| -> reqwest::Result<Reply> {
        let request = client.post(&url).header("content-type", "application/json").body(commands.to_string());
        Reply::read(request.send().await?).await
    };
    let answer = json!({"statusCode": 201, "headers": {"X-A": "b", "content-type": "text/csv"}, "cookies": ["a=1", "b=2"], "body": "aGk=",
        "isBase64Encoded": true});
    let reply = send(json!({"echo": answer})).await?;
    assert_eq!((reply.status, reply.header("x-a"), reply.header("content-type")), (201, "b", "text/csv"));
    assert_eq!((reply.text.as_str(), reply.headers.get_all("set-cookie").iter().count()), ("hi", 2));
    let plain = send(json!({"echo": "just text"})).await?;
    assert_eq!((plain.status, plain.text.as_str()), (200, "\"just text\""));
    let failures =
        [json!({"error": "x"}), json!({"exit": 1}), json!({"echo": {"statusCode": "many"}}), json!({"echo": {"statusCode": 9}})];
    for failure in failures {
        let reply = send(failure.clone()).await?;
        assert_eq!((reply.status, reply.text.as_str()), (502, r#"{"message":"Internal Server Error"}"#), "{failure}");
    }
    let gate = Gate::new()?;
    let (first, second) = tokio::join!(send(gate.event()), gate.open_after(1, send(json!({}))));
    assert_eq!((first?.status, second?.status), (200, 429));
    // As base64 in an event, 5 MB are too many as well.
    for bytes in [MAX_PAYLOAD_BYTES + 1, 5_000_000] {
        assert_eq!(client.post(&url).body(vec![0xff; bytes]).send().await?.status(), 413);
    }
    assert_eq!(emulator.ledger().counts_of("f").throttles, 1);
    Ok(())
}

/// A request as the official SDK signs and sends it: the head without its final empty line, and the body.
async fn capture_signed(function: &str) -> AnyResult<(String, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let sdk = sdk_of(&format!("http://{}", listener.local_addr()?), "secret/with+signs", Some("token/with=signs"));
    let call = sdk.invoke().function_name(function).qualifier("live").log_type(LogType::Tail);
    let call = call.payload(Blob::new(SIGNED_BODY)).send();
    let captured = async {
        let (mut stream, _) = listener.accept().await?;
        let mut bytes = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await?;
            bytes.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if length == 0 || text.ends_with(SIGNED_BODY) {
                return Ok::<_, std::io::Error>(text);
            }
        }
    };
    let (_, captured) = tokio::join!(call, captured);
    let captured = captured?;
    let (head, body) = captured.split_once("\r\n\r\n").ok_or("no head")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// Sends raw text and gives the status and the answer's text.
async fn replay(address: &str, head: &str, body: &str) -> AnyResult<(u16, String)> {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await?;
    stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n{body}").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let status = text.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((status, text))
}

#[tokio::test]
async fn a_signed_request_passes_and_every_altered_one_is_refused() -> TestResult {
    let functions = vec![stub("f"), stub("g")];
    let config = EmulatorConfig { functions, credentials: vec![credential()], ..EmulatorConfig::default() };
    let emulator = Emulator::start(config).await?;
    let endpoint = emulator.endpoint();
    let (head, body) = capture_signed("f").await?;
    let (status, text) = replay(&endpoint, &head, &body).await?;
    assert_eq!(status, 200, "{text}");
    assert!(text.ends_with("\"signed\""), "{text}");
    let date = head.lines().find_map(|line| line.strip_prefix("x-amz-date: ")).ok_or("no date")?;
    let (day, _) = date.split_once('T').ok_or("no time")?;
    let signature = head.split("Signature=").nth(1).and_then(|rest| rest.get(..64)).ok_or("no signature")?;
    let flipped = if signature.starts_with('0') { "Signature=1" } else { "Signature=0" };
    let flipped = format!("{flipped}{}", &signature[1..]);
    let replaced = |from: &str, to: &str| (head.replace(from, to), body.clone());
    let altered = [
        ("path", replaced("functions/f/", "functions/g/")),
        ("method", replaced("POST ", "PUT ")),
        ("query", replaced("Qualifier=live", "Qualifier=1")),
        ("query added", replaced("?Qualifier=live", "?Qualifier=live&a=b")),
        ("signed header", replaced("x-amz-log-type: Tail", "x-amz-log-type: None")),
        ("new amz header", (format!("{head}\r\nx-amz-invocation-type: Event"), body.clone())),
        ("host", replaced("host: 127.0.0.1", "host: 127.0.0.2")),
        ("body", (head.clone(), body.replace("signed", "forged"))),
        (
            "body with its hash unsigned",
            (format!("{head}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD"), body.replace("signed", "forged")),
        ),
        ("date", replaced(date, &format!("{day}T000000Z"))),
        ("date gone", replaced("x-amz-date", "x-nothing")),
        ("token", replaced("token/with=signs", "token/with=sings")),
        ("token gone", replaced("x-amz-security-token", "x-nothing")),
        ("key", replaced("Credential=AKIDTEST", "Credential=AKIDTESU")),
        ("scope region", replaced("us-east-1/lambda", "eu-west-1/lambda")),
        ("scope service", replaced("us-east-1/lambda", "us-east-1/s3")),
        ("signature", replaced(&format!("Signature={signature}"), &flipped)),
        ("signature cut", replaced(signature, &signature[..62])),
        ("host unsigned", replaced(";host;", ";")),
        ("no signature", replaced("authorization:", "x-other:")),
    ];
    for (what, (altered, altered_body)) in altered {
        assert!(altered != head || altered_body != body, "{what}: nothing was altered in {head}");
        let (status, text) = replay(&endpoint, &altered, &altered_body).await?;
        assert_eq!(status, 403, "{what}: {text}");
    }
    assert_eq!(emulator.ledger().counts.values().map(|counts| counts.invokes).sum::<u64>(), 1);
    for (secret, token) in [("wrong", Some("token/with=signs")), ("secret/with+signs", None)] {
        let error = sdk_of(&endpoint, secret, token).invoke().function_name("f").send().await.err();
        assert_eq!(error.and_then(|error| error.raw_response().map(|raw| raw.status().as_u16())), Some(403));
    }
    Ok(())
}

#[tokio::test]
async fn a_function_url_with_iam_takes_signed_requests_only() -> TestResult {
    // Any path is a function URL's own, so the SDK's signed request is one for it, too.
    let (head, body) = capture_signed("f").await?;
    let (emulator, url) = start_url(UrlAuth::AwsIam, vec![credential()]).await?;
    let body_as_event = body.replace("signed", "forged");
    assert_eq!(replay(&url, &head, &body_as_event).await?.0, 403);
    assert_eq!(reqwest::get(&url).await?.status(), 403);
    let (status, text) = replay(&url, &head, &body).await?;
    assert_eq!(status, 200, "{text}");
    let iam = json!({"accessKey": "AKIDTEST", "accountId": "111122223333", "callerId": "ana", "cognitoIdentity": null,
        "principalOrgId": null, "userArn": "arn:aws:iam::111122223333:user/ana", "userId": "ana"});
    let (_, event) = text.split_once("\r\n\r\n").ok_or("no body")?;
    let event: Value = serde_json::from_str(event)?;
    assert_eq!(event["requestContext"]["authorizer"]["iam"], iam);
    assert_eq!(event["requestContext"]["accountId"], "111122223333");
    let headers = &event["headers"];
    assert!(headers["x-amz-date"].is_string() && headers["authorization"].is_null() && headers["x-amz-security-token"].is_null());
    let entry = &emulator.ledger().entries[0];
    assert_eq!((entry.caller.as_str(), entry.version.as_str()), (credential().user_arn.as_str(), "1"));
    // Without credentials nobody passes.
    let (_closed, url) = start_url(UrlAuth::AwsIam, Vec::new()).await?;
    assert_eq!(replay(&url, &head, &body).await?.0, 403);
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_after_shutdown_and_drop() -> TestResult {
    for by_drop in [false, true] {
        let folder = tempfile::tempdir()?;
        let child = folder.path().join("child");
        let emulator = start_one(|function| function.max_concurrency = 4).await?;
        let events = [json!({"sleep_ms": 200}), json!({"sleep_ms": 200, "spawn_child": child}), json!({"sleep_ms": 200})];
        let mut pids = Vec::new();
        for reply in join_all(events.into_iter().map(|event| invoke(&emulator, event))).await {
            pids.push(reply?.pid());
        }
        pids.push(std::fs::read_to_string(&child)?.parse()?);
        assert_eq!(pids.len(), 4, "three functions and a process that one of them started");
        // One more is in the middle of an event.
        let _ = tokio::time::timeout(ms(100), invoke(&emulator, json!({"sleep_ms": 60_000}))).await;
        let endpoint = emulator.endpoint();
        if by_drop {
            drop(emulator);
            assert!(eventually(|| !pids.iter().any(|pid| is_alive(*pid))).await);
        } else {
            emulator.shutdown().await;
            // The functions are gone at once; what they started is reaped by the system.
            assert!(eventually(|| !pids.iter().any(|pid| is_alive(*pid))).await);
        }
        pause(20).await;
        assert!(reqwest::get(&endpoint).await.is_err());
    }
    Ok(())
}

/// Runs in a process of its own, started by the next test, and ends the way `EMULATOR_PARENT` says.
#[tokio::test]
#[ignore = "started by nothing_is_left_when_the_parent_dies"]
async fn parent_that_dies() -> TestResult {
    let Ok(way) = std::env::var("EMULATOR_PARENT") else { return Ok(()) };
    let emulator = start_one(|_| {}).await?;
    // One process is frozen, one is in the middle of an event.
    let (frozen, busy) = tokio::join!(invoke(&emulator, json!({})), invoke(&emulator, json!({"sleep_ms": 100})));
    std::fs::write(std::env::var("EMULATOR_PIDS")?, format!("{} {}", frozen?.pid(), busy?.pid()))?;
    let _ = tokio::time::timeout(ms(100), invoke(&emulator, json!({"sleep_ms": 1000}))).await;
    assert!(way != "panic", "panics as told");
    std::process::Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status()?;
    pause(5000).await;
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_when_the_parent_dies() -> TestResult {
    for way in ["panic", "kill"] {
        let folder = tempfile::tempdir()?;
        let pids = folder.path().join("pids");
        let arguments = ["--exact", "emulator::events_and_urls::parent_that_dies", "--ignored"];
        let mut parent = tokio::process::Command::new(std::env::current_exe()?);
        parent.args(arguments).env("EMULATOR_PARENT", way).env("EMULATOR_PIDS", &pids).env("TMPDIR", folder.path());
        let output = parent.output().await?;
        assert!(!output.status.success());
        let pids = std::fs::read_to_string(&pids)?;
        let pids: Vec<u64> = pids.split(' ').filter_map(|pid| pid.parse().ok()).collect();
        assert_eq!(pids.len(), 2);
        assert!(eventually(|| !pids.iter().any(|pid| is_alive(*pid))).await, "{way}: {pids:?}");
    }
    Ok(())
}

/// `cargo test --release -- --ignored --nocapture many`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; about a second in release on 2 cores"]
async fn many_invocations_through_warm_environments() -> TestResult {
    let emulator = start_one(|function| {
        function.max_concurrency = 64;
        function.timeout = Duration::from_secs(30);
    })
    .await?;
    let client = reqwest::Client::new();
    let url = format!("{}/2015-03-31/functions/f/invocations", emulator.endpoint());
    let caller = async |count: usize, body: &'static str| -> reqwest::Result<()> {
        for _ in 0..count {
            let answer = client.post(&url).body(body).send().await?;
            assert_eq!(answer.status(), 200);
            answer.bytes().await?;
        }
        Ok(())
    };
    let cold = Instant::now();
    join_all((0..64).map(|_| caller(1, r#"{"sleep_ms":500}"#))).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let cold = cold.elapsed();
    let warm = Instant::now();
    join_all((0..64).map(|_| caller(16, r#"{"echo":1}"#))).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let warm = warm.elapsed();
    let serial = Instant::now();
    caller(1000, r#"{"echo":1}"#).await?;
    let serial = serial.elapsed();
    eprintln!("64 cold starts of 0.5 s: {cold:?}; 1,024 warm invocations by 64 callers: {warm:?}; 1,000 in sequence: {serial:?}");
    assert!(warm < Duration::from_secs(20));
    Ok(())
}
