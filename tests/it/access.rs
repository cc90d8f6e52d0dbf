//! What functions must not do: read what is not theirs, tell secrets, run what nobody planned. And what they log.

use super::functions::plan;
use arrow::datatypes::{DataType, Field, Schema};
use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_lambda::primitives::Blob;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;
use emulator::{Chaos, Fault, Outcome};
use engine::clock::random_uuid;
use engine::session::{session_config, session_options};
use engine::settings::Settings;
use engine::task::envelope::{unwrap_outcome, wrap_request};
use engine::task::{PROTOCOL_VERSION, TaskOutcome, TaskRequest, TaskResult, build_id, encode_plan};
use engine::{Error, ErrorKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tests::chaos::Periodic;
use tests::cluster::block_on;
use tests::functions::{COORDINATOR, Functions, LAKE, OWN, Plan, WORKER};
use tests::s3::{ACCESS_KEY, REGION, SECRET_KEY};
use tests::trap_data;

/// A session token of the functions' credentials.
const SESSION_TOKEN: &str = "owlet-test-session-token-0123456789";

#[test]
fn sql_reaches_only_the_locations_of_data() {
    block_on(async {
        for workers in [0, 2] {
            let functions = Functions::start(plan(workers), trap_data::folder()).await;
            let secret = functions.s3.read(LAKE, &functions.s3.keys(LAKE, "t1/")[0]).expect("an object");
            for bucket in [OWN, "other"] {
                functions.s3.create_bucket(bucket);
                functions.s3.put(bucket, "queries/secret/0.parquet", secret.clone());
            }
            functions.s3.reset_ledger();
            for location in [
                "s3://owlet/queries/secret/0.parquet",
                "s3://owlet/queries/secret/",
                "s3://owlet/queries/secret/*.parquet",
                "s3://other/queries/secret/",
                "s3://other/",
                "s3://lake@other/queries/secret/",
                "s3://lake/../owlet/queries/secret/",
                "s3://lake/%2e%2e/owlet/queries/secret/",
                "s3://lakes/t1/",
                "file:///etc/passwd",
                "/etc/passwd",
                "file:///proc/self/environ",
                "/proc/self/environ",
                "../../etc/passwd",
                "http://169.254.169.254/latest/meta-data/",
                "http://169.254.169.254/secret.parquet",
            ] {
                for sql in [
                    format!("select * from '{location}'"),
                    format!("select (select count(*) from \"{location}\") as n, a from t1"),
                    format!("explain analyze select count(*) from '{location}'"),
                ] {
                    let body = functions.submit(json!({ "sql": sql })).await.json();
                    let code = body["error"]["code"].as_str().unwrap_or_default();
                    let is_in_lake = location.starts_with("s3://lake/");
                    let fits = ["ACCESS_DENIED", "INVALID_QUERY"].contains(&code) || (is_in_lake && code == "NOT_FOUND");
                    assert!(fits, "{sql}: {body}");
                }
            }
            for sql in [
                "create external table x stored as parquet location 's3://owlet/queries/secret/'",
                "copy t1 to 's3://lake/copy.parquet'",
                "insert into t1 values (1, 'x')",
                "create table y as select * from t1",
                "drop table t1",
                "set datafusion.execution.target_partitions = 1",
            ] {
                let body = functions.submit(json!({ "sql": sql })).await.json();
                assert_eq!(body["error"]["code"], json!("INVALID_QUERY"), "{sql}: {body}");
            }
            let ledger = functions.s3.ledger();
            assert!(ledger.records.len() > 30, "the records of the queries are missing");
            for record in &ledger.records {
                let is_own = record.bucket == OWN && record.key.starts_with("queries/") && !record.key.contains("secret");
                let is_exchange = record.bucket == OWN && (record.key.is_empty() || record.key.starts_with("exchange/"));
                assert!(is_own || is_exchange || record.bucket == LAKE, "{workers} workers: {record:?}");
                assert!(record.bucket != LAKE || record.method == http::Method::GET, "{record:?}");
            }
        }
    });
}

/// A request for a scan of the one file `key` in `bucket`, whose rows are exchanged at `exchange_url`.
fn scan(functions: &Functions, bucket: &str, key: &str, exchange_url: &str) -> Result<TaskRequest, Error> {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("g", DataType::Utf8, true)]));
    let size = functions.s3.read(bucket, key).map_or(1_000, |body| body.len() as u64);
    let source = Arc::new(ParquetSource::new(schema));
    let file_scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse(format!("s3://{bucket}"))?, source)
        .with_file(PartitionedFile::new(key, size))
        .build();
    let session = session_options(&Settings::default(), 2);
    let context = SessionContext::new_with_config(session_config(&session)?).task_ctx();
    Ok(TaskRequest {
        protocol_version: PROTOCOL_VERSION,
        build_id: build_id(),
        query_id: random_uuid().as_bytes().to_vec(),
        stage: 1,
        task_count: 1,
        plan: encode_plan(DataSourceExec::from_data_source(file_scan), &context)?.into(),
        session,
        exchange_url: exchange_url.into(),
        inline_limit_bytes: 0,
        time_left_ms: 10_000,
        memory_bytes: 1 << 30,
        ..TaskRequest::default()
    })
}

/// Kind of an outcome's error, or none for rows.
fn kind_of(answer: &[u8]) -> Option<ErrorKind> {
    let outcome = TaskOutcome::from_bytes(&unwrap_outcome(answer).expect("an envelope")).expect("an outcome");
    match outcome.result {
        Some(TaskResult::Error(error)) => Some(Error::from(&error).kind),
        Some(TaskResult::Output(output)) => {
            assert!(output.segments.iter().map(|segment| segment.rows).sum::<u64>() > 0);
            None
        }
        None => panic!("an outcome without a result"),
    }
}

#[test]
fn a_worker_that_is_invoked_by_hand_keeps_to_its_locations() {
    block_on(async {
        let functions = Functions::start(plan(2), trap_data::folder()).await;
        let t1 = functions.s3.keys(LAKE, "t1/").remove(0);
        let secret = functions.s3.read(LAKE, &t1).expect("an object");
        functions.s3.create_bucket("other");
        functions.s3.put("other", "secret.parquet", secret.clone());
        functions.s3.put(OWN, "queries/secret.parquet", secret);
        let config = aws_sdk_lambda::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(functions.emulator.endpoint())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::from_keys(ACCESS_KEY, SECRET_KEY, None))
            .build();
        let client = aws_sdk_lambda::Client::from_conf(config);
        let invoke = async |payload: Vec<u8>| {
            let call = client.invoke().function_name(WORKER).qualifier("live").payload(Blob::new(payload));
            let answer = call.send().await.expect("an answer");
            (answer.function_error.is_some(), answer.payload.map(Blob::into_inner).unwrap_or_default())
        };
        let run = async |request: TaskRequest| {
            let payload = wrap_request(&request.to_bytes()).expect("an envelope");
            let (is_error, answer) = invoke(payload.to_vec()).await;
            assert!(!is_error, "{}", String::from_utf8_lossy(&answer));
            kind_of(&answer)
        };
        let own = format!("s3://{OWN}");
        // The control: what the coordinator would send gives rows.
        assert_eq!(run(scan(&functions, LAKE, &t1, &own).expect("a request")).await, None);
        functions.s3.reset_ledger();
        for (bucket, key) in [("other", "secret.parquet"), (OWN, "queries/secret.parquet"), ("lakes", "x.parquet")] {
            let request = scan(&functions, bucket, key, &own).expect("a request");
            assert_eq!(run(request).await, Some(ErrorKind::AccessDenied), "{bucket}/{key}");
        }
        for url in ["s3://other", "s3://owlet/queries", "s3://owlet/../other", "file:///tmp", "http://169.254.169.254/", ""] {
            let request = scan(&functions, LAKE, &t1, url).expect("a request");
            assert_eq!(run(request).await, Some(ErrorKind::AccessDenied), "{url}");
            let plan_elsewhere = TaskRequest {
                plan_key: "../../queries/secret.parquet".into(),
                ..scan(&functions, LAKE, &t1, url).expect("a request")
            };
            assert_eq!(run(plan_elsewhere).await, Some(ErrorKind::AccessDenied), "{url}");
        }
        let other_build = TaskRequest { build_id: "owlet 0.0.0".into(), ..scan(&functions, LAKE, &t1, &own).expect("a request") };
        assert_eq!(run(other_build).await, Some(ErrorKind::Internal));
        let garbage = TaskRequest { plan: b"no plan".to_vec().into(), ..scan(&functions, LAKE, &t1, &own).expect("a request") };
        assert!(run(garbage).await.is_some());
        for payload in [r#"{"task": "AAAA", "encoding": "identity"}"#, r#"{"task": "%%", "encoding": "zstd"}"#] {
            let (is_error, answer) = invoke(payload.into()).await;
            assert!(
                !is_error && kind_of(&answer) == Some(ErrorKind::Internal),
                "{payload}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        for payload in ["{}", "[]", "1", r#"{"task": 1, "encoding": "identity"}"#] {
            let (is_error, answer) = invoke(payload.into()).await;
            let report: Value = serde_json::from_slice(&answer).expect("JSON");
            assert!(is_error && report["errorType"].is_string(), "{payload}: {report}");
        }
        let ledger = functions.s3.ledger();
        assert_eq!(ledger.records.iter().map(|r| format!("{:?}", r)).collect::<Vec<_>>(), Vec::<String>::new());
        // Nothing of this has ended its process.
        let ledger = functions.ledger();
        assert_eq!((ledger.counts_of(WORKER).cold_starts, functions.ended(WORKER, Outcome::Exited)), (1, 0));
    });
}

/// Lines that functions have written: all but those of the platform.
fn lines(folder: &Path, function: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(format!("{function}.log"))).expect("a log");
    let own = text.lines().filter(|line| !["START ", "END ", "REPORT "].iter().any(|start| line.starts_with(start)));
    own.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{function}: {e}: {line}"))).collect()
}

fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}"))
}

#[test]
fn every_attempt_has_a_line_and_no_secret_is_told() {
    block_on(async {
        let logs = tempfile::tempdir().expect("a folder");
        let chaos = Periodic::new(WORKER, 9, [(4, Fault::ServiceError)]);
        let mut plan = Plan {
            logs: Some(logs.path().into()),
            config: json!({ "split_bytes": 8_192 }),
            chaos: Some(Arc::clone(&chaos) as Arc<dyn Chaos>),
            session_token: Some(SESSION_TOKEN.into()),
            ..plan(2)
        };
        for function in [COORDINATOR, WORKER] {
            plan.variables.insert(function, [("OWLET_LOG".to_string(), "debug".to_string())].into());
        }
        let functions = Functions::start(plan, trap_data::folder()).await;
        let mut told = Vec::new();
        for (sql, status) in [
            ("select k, count(*) from fact group by k", 200),
            ("select sum(1 / (id - id)) from fact group by k", 400),
            ("select * from 's3://other/x.parquet'", 403),
            ("select * from 's3://lake/none.parquet'", 404),
            ("select secret", 400),
        ] {
            let answer = functions.submit(json!({ "sql": sql })).await;
            assert_eq!(answer.status, status, "{sql}: {:?}", answer.body);
            told.push(format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body)));
        }
        assert!(chaos.fired() > 0);
        told.push(String::from_utf8_lossy(&functions.get("/v1/queries").await.body).into_owned());
        for key in functions.s3.keys(OWN, "") {
            told.push(String::from_utf8_lossy(&functions.s3.read(OWN, &key).expect("an object")).into_owned());
        }
        for function in [COORDINATOR, WORKER] {
            told.push(std::fs::read_to_string(logs.path().join(format!("{function}.log"))).expect("a log"));
        }
        assert!(told.len() > 10 && told.iter().any(|text| text.contains("attempt ended")));
        for text in &told {
            for secret in [SECRET_KEY, SESSION_TOKEN] {
                let place = text.find(secret).map(|at| text[at.saturating_sub(300)..at].to_string());
                assert_eq!(place, None, "a secret is told");
            }
        }
        let (ledger, ended) = (functions.ledger(), lines(logs.path(), WORKER));
        let ended: Vec<&Value> = ended.iter().filter(|line| line["message"] == "attempt ended").collect();
        let runs: BTreeSet<&str> =
            ledger.entries.iter().filter(|entry| entry.function == WORKER).map(|entry| entry.request_id.as_str()).collect();
        assert_eq!(ended.iter().map(|line| text(line, "request_id")).collect::<BTreeSet<_>>(), runs);
        assert_eq!(ended.len(), runs.len());
        assert!(
            ended.iter().any(|line| text(line, "code") == "INVALID_QUERY")
                && ended.iter().any(|line| text(line, "code").is_empty())
        );
        let queries = lines(logs.path(), COORDINATOR);
        let queries: Vec<&Value> = queries.iter().filter(|line| line["message"] == "query ended").collect();
        assert_eq!(queries.len(), functions.s3.keys(OWN, "queries/").len());
        let traces: BTreeSet<(&str, &str)> =
            queries.iter().map(|line| (text(line, "query_id"), text(line, "trace_id"))).collect();
        for line in ended {
            assert!(["stage", "task", "attempt", "elapsed_ms"].iter().all(|name| line[name].is_u64()), "{line}");
            let trace = text(line, "trace_id");
            assert!(trace.len() == 32 && traces.contains(&(text(line, "query_id"), trace)), "{line}");
        }
    });
}
