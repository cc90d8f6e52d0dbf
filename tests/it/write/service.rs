//! Statements that write, over HTTP: the list of their files, and what is left of them when the coordinator is killed.

use crate::functions::plan;
use emulator::{Chaos, Fault};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tests::chaos::once;
use tests::cluster::block_on;
use tests::functions::{COORDINATOR, Functions, LAKE, OWN, Plan, WORKER};
use tests::s3::{Fault as S3Fault, FaultKind, Op};
use tests::trap_data;

const NEW: &str = "new";

/// Functions that write to a bucket of its own, in tables of a catalog beside the records.
async fn start(chaos: Option<Arc<dyn Chaos>>) -> Functions {
    let mut plan = Plan { config: json!({ "split_bytes": 8_192, "inline_limit_bytes": 0 }), chaos, ..plan(2) };
    let writes =
        [("OWLET_WRITE_LOCATIONS", format!("s3://{NEW}/lake/")), ("OWLET_DATA_LOCATIONS", format!("s3://{LAKE}/,s3://{NEW}/"))];
    let catalog = [("OWLET_CATALOG", format!("s3://{OWN}/catalog/")), ("OWLET_WAREHOUSE", format!("s3://{NEW}/lake/w/"))];
    let named = |variables: Vec<(&str, String)>| variables.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    plan.variables.insert(WORKER, named(writes.to_vec()));
    plan.variables.insert(COORDINATOR, named(writes.into_iter().chain(catalog).collect()));
    let functions = Functions::start(plan, trap_data::folder()).await;
    functions.s3.create_bucket(NEW);
    functions
}

/// The final record of `sql`, which ran in an invocation of its own.
async fn record(functions: &Functions, sql: &str) -> Value {
    let answer = functions.submit(json!({ "sql": sql, "async": true })).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    functions.wait_for(answer.json()["query"]["query_id"].as_str().expect("an id")).await
}

fn text(functions: &Functions, url: &str) -> String {
    let key = url.strip_prefix(&format!("s3://{OWN}/")).expect("an object beside the results");
    String::from_utf8(functions.s3.read(OWN, key).expect("the list").to_vec()).expect("text")
}

#[test]
fn a_record_names_the_list_of_the_files_that_were_written() {
    block_on(async {
        let functions = start(None).await;
        let mut seen = Vec::new();
        for (sql, files) in [
            ("create table t with (partitioned_by = array['c']) as select id, k, c from fact", 7),
            ("insert into t select id, k, c from fact where c < 2", 2),
            ("unload (select id from fact) to 's3://new/lake/u/' with (format = 'PARQUET')", 1),
        ] {
            let ended = record(&functions, sql).await;
            assert_eq!(ended["state"], "SUCCEEDED", "{ended}");
            let id = ended["query_id"].as_str().expect("an id");
            let location = ended["data_manifest_location"].as_str().unwrap_or_else(|| panic!("no list: {ended}"));
            assert_eq!(location, format!("s3://{OWN}/results/{id}-manifest.csv"));
            let mut lines: Vec<String> = text(&functions, location).lines().map(str::to_string).collect();
            assert!(lines.len() >= files && lines.iter().all(|line| line.starts_with("s3://new/lake/")), "{sql}: {lines:?}");
            seen.append(&mut lines);
        }
        let mut keys: Vec<String> = functions.s3.keys(NEW, "").into_iter().map(|key| format!("s3://{NEW}/{key}")).collect();
        keys.sort();
        seen.sort();
        assert_eq!(seen, keys, "the lists name all files, and there are no others");
        for sql in ["select count(*) from t", "insert into t select id, k, c from fact where id < 0", "drop table t"] {
            let ended = record(&functions, sql).await;
            assert_eq!((&ended["state"], ended.get("data_manifest_location")), (&json!("SUCCEEDED"), None), "{sql}");
        }
        // In one request the record is asked for afterwards.
        let answer = functions.submit(json!({ "sql": "create table s as select 1 a", "format": "json" })).await;
        assert_eq!((answer.status, &answer.json()["rows"]), (200, &json!([[1]])), "{:?}", answer.body);
        let id = answer.json()["query_id"].as_str().expect("an id").to_string();
        let ended = functions.get(&format!("/v1/queries/{id}")).await.json();
        assert_eq!(text(&functions, ended["data_manifest_location"].as_str().expect("a list")).lines().count(), 1);
    });
}

/// Whoever looks at the record of a lost statement ends what it has begun.
#[test]
fn a_killed_coordinators_table_is_ended_with_its_record() {
    block_on(async {
        let chaos = once(COORDINATOR, 1, Fault::KillAfter(Duration::from_millis(2_500)));
        let functions = start(Some(chaos as Arc<dyn Chaos>)).await;
        // Far from its end when the process is killed, on any machine: its files wait in staging, or do not even that.
        functions.s3.faults().arm(S3Fault::new(Op::Put, "/plan.json", FaultKind::Delay(Duration::from_secs(20))));
        let ended = record(&functions, "create table t as select id, k from fact").await;
        assert_eq!((&ended["state"], &ended["error"]["code"]), (&json!("FAILED"), &json!("COORDINATOR_LOST")), "{ended}");
        assert_eq!(ended["error"]["retryable"], json!(false), "{ended}");
        let keys = functions.s3.keys(NEW, "");
        assert!(!keys.is_empty() && keys.iter().all(|key| key.contains("_owlet_staging/") && key.ends_with(".json")), "{keys:?}");
        let missing = functions.submit(json!({ "sql": "select * from t" })).await;
        assert!(
            missing.json()["error"]["message"].as_str().is_some_and(|message| message.contains("TABLE_NOT_FOUND")),
            "{:?}",
            missing.body
        );
    });
}
