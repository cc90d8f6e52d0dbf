//! The HTTP API behind a function URL: every code, format, limit and route of `docs/http-api.md`.

use super::functions::{LONG, plan};
use arrow::datatypes::Int64Type;
use emulator::{Chaos, Fault};
use engine::clock::Stopwatch;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tests::chaos::Periodic;
use tests::cluster::block_on;
use tests::functions::{Answer, Functions, LAKE, OWN, Plan, WORKER};
use tests::s3::{Fault as S3Fault, FaultKind, Op};
use tests::trap_data;

/// How soon a cancelled query must be final, and its workers gone.
const CANCEL_TIME: Duration = Duration::from_secs(5);
/// An id that no query has.
const NO_ID: &str = "0193562c-8f7a-7c3e-9d1b-2f60c1a4e5d7";
const JSON: (&str, &str) = ("content-type", "application/json");
/// The rows of the format tests: a name, a number, a NULL, a quote.
const SMALL: &str = "select a, g, case when a = 1 then null else 'say \"' || g || '\"' end as t from t1 where a < 3 order by a";

async fn start(workers: usize) -> Functions {
    Functions::start(plan(workers), trap_data::folder()).await
}

fn error_of(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_string())
}

fn id_of(answer: &Answer) -> String {
    answer.json()["query"]["query_id"].as_str().unwrap_or_else(|| panic!("no id: {:?}", answer.body)).to_string()
}

async fn post(functions: &Functions, body: Value) -> Answer {
    functions.submit(body).await
}

#[test]
fn requests_that_are_wrong_say_how() {
    block_on(async {
        let functions = start(0).await;
        let sync =
            functions.submit(json!({ "sql": "select 1 as x" })).await.json()["query_id"].as_str().expect("an id").to_string();
        let sql = |sql: &str| json!({ "sql": sql }).to_string();
        let large = sql(&format!("select '{}'", "x".repeat(1 << 20)));
        let text = [("content-type", "text/plain")];
        let latin = [("content-type", "text/plain; charset=latin1")];
        let gzip = [JSON, ("content-encoding", "gzip")];
        let html = [JSON, ("accept", "text/html")];
        type Row<'a> = (Method, String, &'a [(&'static str, &'a str)], String, u16, &'a str);
        let post = |body: String, status, code| (Method::POST, "/v1/query".to_string(), &[JSON][..], body, status, code);
        let get = |path: &str, status, code| (Method::GET, path.to_string(), &[][..], String::new(), status, code);
        let table: Vec<Row<'_>> = vec![
            post("{\"sql\": ".into(), 400, "BAD_REQUEST"),
            post("[]".into(), 400, "BAD_REQUEST"),
            post(r#"["select 1"]"#.into(), 400, "BAD_REQUEST"),
            post(r#"{"sql": "select 1", "limits": [1000, 5, 1]}"#.into(), 400, "BAD_REQUEST"),
            post(r#"{"sql": "select ?", "parameters": [9223372036854775808]}"#.into(), 400, "BAD_REQUEST"),
            post("{}".into(), 400, "BAD_REQUEST"),
            post(r#"{"sql": "select 1", "sqll": 1}"#.into(), 400, "BAD_REQUEST"),
            post(r#"{"sql": "select 1", "limits": {"rows": 1}}"#.into(), 400, "BAD_REQUEST"),
            (Method::POST, "/v1/query?sql=x".into(), &[JSON], sql("select 1"), 400, "BAD_REQUEST"),
            get("/v1/queries?limit=0", 400, "BAD_REQUEST"),
            get("/v1/queries?limit=201", 400, "BAD_REQUEST"),
            get("/v1/queries?state=DONE", 400, "BAD_REQUEST"),
            get("/v1/queries?before=x", 400, "BAD_REQUEST"),
            get("/v1/queries?page=1", 400, "BAD_REQUEST"),
            get(&format!("/v1/queries/{sync}/result?page=x"), 400, "BAD_REQUEST"),
            post(sql("selec 1"), 400, "INVALID_QUERY"),
            post(sql("select nothing from t1"), 400, "INVALID_QUERY"),
            post(sql("select 1; select 2"), 400, "INVALID_QUERY"),
            post(sql(""), 400, "INVALID_QUERY"),
            post(sql("select cast(g as int) from t1"), 400, "INVALID_QUERY"),
            post(r#"{"sql": "select 1", "format": "xml"}"#.into(), 400, "INVALID_QUERY"),
            post(r#"{"sql": "select ?", "parameters": []}"#.into(), 400, "INVALID_QUERY"),
            post(r#"{"sql": "select ?", "parameters": [[1]]}"#.into(), 400, "INVALID_QUERY"),
            post(r#"{"sql": "select 1", "limits": {"timeout_ms": 0}}"#.into(), 400, "INVALID_QUERY"),
            post(format!(r#"{{"sql": "select 1", "client_token": "{}"}}"#, "t".repeat(129)), 400, "INVALID_QUERY"),
            post(sql("select * from '/etc/passwd'"), 403, "ACCESS_DENIED"),
            get(&format!("/v1/queries/{NO_ID}"), 404, "NO_SUCH_QUERY"),
            get("/v1/queries/..%2f..%2fetc", 404, "NO_SUCH_QUERY"),
            get("/v1/queries/%ff", 404, "NO_SUCH_QUERY"),
            (Method::DELETE, "/v1/queries/%ff".into(), &[], String::new(), 404, "NO_SUCH_QUERY"),
            get(&format!("/v1/queries/{NO_ID}/result"), 404, "NO_SUCH_QUERY"),
            (Method::DELETE, format!("/v1/queries/{NO_ID}"), &[], String::new(), 404, "NO_SUCH_QUERY"),
            get("/v2/query", 404, "NO_SUCH_ROUTE"),
            get("/", 404, "NO_SUCH_ROUTE"),
            get(&format!("/v1/queries/{sync}/result"), 404, "NO_RESULT"),
            post(sql("select * from 's3://lake/none.parquet'"), 404, "NOT_FOUND"),
            get("/v1/query", 405, "METHOD_NOT_ALLOWED"),
            (Method::DELETE, "/v1/queries".into(), &[], String::new(), 405, "METHOD_NOT_ALLOWED"),
            (Method::POST, "/v1/query".into(), &html, sql("select 1"), 406, "NOT_ACCEPTABLE"),
            post(large.clone(), 413, "BODY_TOO_LARGE"),
            (Method::POST, "/v1/query".into(), &text, large, 413, "BODY_TOO_LARGE"),
            (Method::POST, "/v1/query".into(), &[("content-type", "text/xml")], "<a/>".into(), 415, "UNSUPPORTED_MEDIA_TYPE"),
            (Method::POST, "/v1/query".into(), &gzip, "\u{1f}".into(), 415, "UNSUPPORTED_MEDIA_TYPE"),
            (Method::POST, "/v1/query".into(), &latin, "select 1".into(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ];
        for (method, path, headers, body, status, code) in table {
            let answer = functions.send(method.clone(), &path, headers, body.clone()).await;
            let shown: String = body.chars().take(100).collect();
            assert_eq!(error_of(&answer), (status, code.to_string()), "{method} {path} {shown}: {:?}", answer.body);
            assert!(!answer.json()["error"]["message"].as_str().unwrap_or_default().is_empty(), "{method} {path} {shown}");
            assert_eq!(answer.headers["cache-control"], "no-store", "{method} {path}");
        }
    });
}

#[test]
fn only_known_signatures_are_let_in() {
    block_on(async {
        let functions = start(0).await;
        let sent = reqwest::get(format!("{}/v1/queries", functions.url)).await.expect("an answer");
        assert_eq!(sent.status(), 403, "an unsigned request");
        let forged = functions.send_as(("BOBSKEY", "another-secret"), Method::GET, "/v1/queries", &[], String::new()).await;
        assert_eq!(forged.status, 403, "a wrong secret");
        let answer = functions.get("/v1").await.json();
        assert_eq!((&answer["name"], answer["version"].as_str()), (&json!("owlet"), Some(env!("CARGO_PKG_VERSION"))));
    });
}

#[test]
fn queries_that_fail_say_why() {
    block_on(async {
        let throttle = Fault::Throttle("ConcurrentInvocationLimitExceeded".into());
        let chaos = Periodic::new(WORKER, 1, [(0, throttle)]);
        let config = json!({ "split_bytes": 8_192, "attempt_timeout_ms": 1_500, "max_attempts_per_task": 1 });
        let plan = Plan { config, chaos: Some(Arc::clone(&chaos) as Arc<dyn Chaos>), ..plan(2) };
        let functions = Functions::start(plan, trap_data::folder()).await;
        let answer = post(&functions, json!({ "sql": "select k, count(*) from fact group by k" })).await;
        assert_eq!(error_of(&answer), (429, "THROTTLED".into()), "{:?}", answer.body);
        assert_eq!(answer.json()["query"]["error"]["retryable"], json!(true));
        assert!(chaos.fired() > 0);

        let functions = start(0).await;
        let damaged = [b"PAR1", [7; 64].as_slice(), &64_u32.to_le_bytes(), b"PAR1"].concat();
        functions.s3.put(LAKE, "bad/0.parquet", damaged.into());
        let answer = post(&functions, json!({ "sql": "select * from 's3://lake/bad/'" })).await;
        assert_eq!(error_of(&answer), (422, "CORRUPT_DATA".into()), "{:?}", answer.body);

        let one = functions.s3.keys(LAKE, "t1/").remove(0);
        let other = functions.s3.read(LAKE, &functions.s3.keys(LAKE, "dim/")[0]).expect("an object");
        let fault = functions.s3.faults().arm(S3Fault::new(Op::Get, &one, FaultKind::Overwrite(other)).skip(1).times(1));
        let answer = post(&functions, json!({ "sql": "select sum(a) from t1" })).await;
        assert_eq!(error_of(&answer), (409, "OBJECT_CHANGED".into()), "{:?}", answer.body);
        assert_eq!(functions.s3.faults().count(fault).fired, 1);
    });
}

#[test]
fn each_format_says_the_same_by_header_and_by_field() {
    block_on(async {
        let functions = start(0).await;
        let ndjson = "{\"a\":0,\"g\":\"g0\",\"t\":\"say \\\"g0\\\"\"}\n{\"a\":1,\"g\":\"g1\",\"t\":null}\n";
        let csv = "a,g,t\n0,g0,\"say \"\"g0\"\"\"\n1,g1,\n2,g2,\"say \"\"g2\"\"\"\n";
        for (format, accept) in [
            ("json", "application/json"),
            ("ndjson", "application/x-ndjson"),
            ("csv", "text/csv"),
            ("arrow", "application/vnd.apache.arrow.stream"),
        ] {
            let field = post(&functions, json!({ "sql": SMALL, "format": format })).await;
            let text = [("content-type", "application/sql"), ("accept", accept)];
            let header = functions.send(Method::POST, "/v1/query", &text, SMALL).await;
            for answer in [&field, &header] {
                assert_eq!(answer.status, 200, "{format}: {:?}", answer.body);
                assert!(answer.headers["content-type"].to_str().is_ok_and(|value| value.starts_with(accept)), "{format}");
                assert_eq!(answer.headers["x-owlet-rows"], "3");
                assert_eq!(answer.receipt()["rows"], json!(3));
                match format {
                    "json" => {
                        let body = answer.json();
                        assert_eq!(body["rows"], json!([[0, "g0", "say \"g0\""], [1, "g1", null], [2, "g2", "say \"g2\""]]));
                        let names: Vec<_> = body["columns"].as_array().into_iter().flatten().map(|c| c["name"].clone()).collect();
                        assert_eq!(names, [json!("a"), json!("g"), json!("t")]);
                        assert_eq!(answer.headers["x-owlet-query-id"].to_str().ok(), body["query_id"].as_str());
                    }
                    "ndjson" => assert!(answer.body.starts_with(ndjson.as_bytes()), "{:?}", answer.body),
                    "csv" => assert_eq!(answer.body, csv.as_bytes(), "{:?}", answer.body),
                    _ => assert_eq!(tests::compare::rows(&answer.batches())[1], ["1", "g1", "NULL"]),
                }
            }
        }
        // The field wins.
        let both =
            functions.send(Method::POST, "/v1/query", &[JSON, ("accept", "text/csv")], r#"{"sql": "select 1 as x"}"#).await;
        assert_eq!(both.body, "x\n1\n");
        let body = r#"{"sql": "select 1 as x", "format": "ndjson"}"#;
        let both = functions.send(Method::POST, "/v1/query", &[JSON, ("accept", "text/csv")], body).await;
        assert_eq!(both.body, "{\"x\":1}\n");
        let both = functions.send(Method::POST, "/v1/query", &[JSON, ("accept", "text/html")], body).await;
        assert_eq!((both.status, both.body.as_ref()), (200, b"{\"x\":1}\n".as_ref()), "{:?}", both.body);
    });
}

#[test]
fn parameters_are_values_and_never_sql() {
    block_on(async {
        let functions = start(2).await;
        let rows = async |sql: &str, parameters: Value| {
            let answer = post(&functions, json!({ "sql": sql, "parameters": parameters })).await;
            assert_eq!(answer.status, 200, "{sql} {parameters}: {:?}", answer.body);
            answer.json()["rows"].clone()
        };
        assert_eq!(rows("select count(*) from t1 where g = ? and a >= ?", json!(["g1", 4])).await, json!([[6]]));
        for text in
            ["x' or '1'='1", "'; drop table t1; --", "\\' or 1=1 --", "?", "g1\u{0}", "'' union select 's'", "😀 \"q\" $1"]
        {
            assert_eq!(rows("select count(*) from t1 where g = ?", json!([text])).await, json!([[0]]), "{text:?}");
            assert_eq!(rows("select ? as x", json!([text])).await, json!([[text]]), "{text:?}");
        }
        assert_eq!(rows("select ?", json!([117.91870367106105])).await, json!([[117.91870367106105]]));
        let values = json!([null, true, -1.5, 9_007_199_254_740_993_i64, "t"]);
        assert_eq!(
            rows("select ? is null, ? and true, ? + 1, ?, ?", values).await,
            json!([[true, true, -0.5, 9_007_199_254_740_993_i64, "t"]])
        );
    });
}

#[test]
fn limits_of_a_request_hold() {
    block_on(async {
        for workers in [0, 2] {
            let functions = start(workers).await;
            let run = async |sql: &str, limits: Value| post(&functions, json!({ "sql": sql, "limits": limits })).await;
            let watch = Stopwatch::start();
            let answer = run(LONG, json!({ "timeout_ms": 700 })).await;
            assert_eq!(error_of(&answer), (422, "LIMIT_EXCEEDED".into()), "{:?}", answer.body);
            assert!(watch.elapsed() < Duration::from_secs(8), "{workers} workers: {:?}", watch.elapsed());

            let scan = "select k, sum(x) from fact group by k";
            let bytes = run(scan, json!({})).await.receipt()["data_scanned_bytes"].as_u64().expect("bytes");
            assert_eq!(run(scan, json!({ "max_scan_bytes": bytes })).await.status, 200, "{workers} workers, {bytes} bytes");
            let refused = run(scan, json!({ "max_scan_bytes": 0 })).await;
            assert_eq!(error_of(&refused), (422, "LIMIT_EXCEEDED".into()), "{:?}", refused.body);
            // What would be scanned is in the message: exactly that is the limit before the start.
            let message = refused.json()["error"]["message"].as_str().unwrap_or_default().to_string();
            let planned = message.split_whitespace().find_map(|word| word.parse::<u64>().ok()).expect("bytes in the message");
            assert!(planned > 0 && planned <= bytes, "{planned} planned, {bytes} scanned");
            let refused = run(scan, json!({ "max_scan_bytes": planned - 1 })).await;
            assert_eq!(error_of(&refused), (422, "LIMIT_EXCEEDED".into()), "{:?}", refused.body);

            assert_eq!(run(scan, json!({ "max_cost_usd": 1.0 })).await.status, 200);
            let answer = run(scan, json!({ "max_cost_usd": 0.0 })).await;
            assert_eq!(error_of(&answer), (422, "LIMIT_EXCEEDED".into()), "{workers} workers: {:?}", answer.body);
            // What runs counts before it has ended.
            let answer = run(LONG, json!({ "max_cost_usd": 0.000_2, "timeout_ms": 40_000 })).await;
            let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_string();
            assert!(message.contains("max_cost_usd"), "{workers} workers: {message}");
            assert_eq!(functions.left_in_exchange(), Vec::<String>::new());
        }
    });
}

/// About 10 MB of CSV.
const LARGE: &str = "select a.id as left_id, b.id as right_id, a.x from fact a, (select id from fact where id < 150) b";
const LARGE_ROWS: u64 = 600_000;

async fn fetch(url: &str) -> bytes::Bytes {
    let answer = reqwest::get(url).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{url}");
    answer.bytes().await.expect("a body")
}

fn sum_of_lines(csv: &[u8]) -> (u64, u64) {
    let text = std::str::from_utf8(csv).expect("text");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("left_id,right_id,x"));
    lines.fold((0, 0), |(rows, sum), line| {
        (rows + 1, sum + line.split(',').next().and_then(|v| v.parse::<u64>().ok()).expect("an id"))
    })
}

#[test]
fn a_large_result_is_read_by_page_and_by_url() {
    block_on(async {
        let functions = start(2).await;
        let wanted = (LARGE_ROWS, 150 * (4_000 * 3_999 / 2));
        // Sync: the answer leads to it.
        let answer = post(&functions, json!({ "sql": LARGE, "format": "csv" })).await;
        assert_eq!(answer.status, 303, "{:?}", answer.body);
        let url = answer.headers["location"].to_str().expect("a URL").to_string();
        assert_eq!(answer.json()["url"], json!(url));
        assert_eq!(sum_of_lines(&fetch(&url).await), wanted);
        let unsigned = url.split('?').next().unwrap_or_default();
        assert_eq!(reqwest::get(unsigned).await.expect("an answer").status(), 403, "without its signature");
        let other = format!("/v1/queries/{}/result?page=0", id_of(&answer));
        assert_eq!(functions.send(Method::GET, &other, &[("accept", "application/json")], "").await.status, 406);
        for accept in ["text/csv, application/json", "text/html, */*;q=0.8", "*/*;q=0.5"] {
            let page = functions.send(Method::GET, &other, &[("accept", accept)], "").await;
            assert_eq!(page.status, 200, "{accept}: {:?}", page.body);
            assert_eq!(page.headers["x-owlet-next-page"], "1", "{accept}");
        }

        for (format, accept) in [("csv", "*/*"), ("arrow", "*/*"), ("arrow", "text/csv"), ("json", "*/*")] {
            let accepted = post(&functions, json!({ "sql": LARGE, "format": format, "async": true })).await;
            assert_eq!(accepted.status, 202, "{:?}", accepted.body);
            let id = id_of(&accepted);
            assert_eq!(accepted.headers["location"], format!("/v1/queries/{id}"));
            let record = functions.wait_for(&id).await;
            assert_eq!((&record["state"], &record["result"]["rows"]), (&json!("SUCCEEDED"), &json!(LARGE_ROWS)), "{record}");
            let (mut page, mut pages, mut total) = (Some(0), 0, (0, 0));
            while let Some(number) = page {
                let path = format!("/v1/queries/{id}/result?page={number}");
                let answer = functions.send(Method::GET, &path, &[("accept", accept)], "").await;
                assert_eq!(answer.status, 200, "{format} as {accept}, page {number}: {:?}", answer.body);
                let as_stored = accept == "*/*";
                assert!(!as_stored || answer.body.len() <= 3_000_000, "{} bytes", answer.body.len());
                let (rows, sum) = page_of(if as_stored { format } else { "csv" }, &answer, number);
                assert_eq!(answer.headers["x-owlet-rows"].to_str().ok(), Some(rows.to_string().as_str()));
                total = (total.0 + rows, total.1 + sum);
                page = answer.headers.get("x-owlet-next-page").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
                assert!(page.is_none_or(|next| next == number + 1), "{page:?} after {number}");
                pages += 1;
            }
            assert_eq!((total, json!(pages)), (wanted, record["result"]["pages"].clone()), "{format}");
            assert!(pages >= 3, "{format}: {pages} pages");
            let beyond = functions.get(&format!("/v1/queries/{id}/result?page={pages}")).await;
            assert_eq!(error_of(&beyond), (404, "NO_RESULT".into()));
            let whole = functions.get(&format!("/v1/queries/{id}/result")).await;
            assert_eq!(whole.status, 303, "{:?}", whole.body);
        }
    });
}

fn page_of(format: &str, answer: &Answer, number: u64) -> (u64, u64) {
    match format {
        "csv" => sum_of_lines(&answer.body),
        "json" => {
            let body = answer.json();
            let rows = body["rows"].as_array().expect("rows");
            let next = body["next_page"].as_u64();
            assert!(
                next.is_none_or(|next| next == number + 1) && next.is_some() == answer.headers.contains_key("x-owlet-next-page")
            );
            (rows.len() as u64, rows.iter().map(|row| row[0].as_u64().expect("an id")).sum())
        }
        _ => answer.batches().iter().fold((0, 0), |(rows, sum), batch| {
            let ids = arrow::array::AsArray::as_primitive::<Int64Type>(batch.column(0).as_ref());
            (rows + batch.num_rows() as u64, sum + ids.values().iter().sum::<i64>() as u64)
        }),
    }
}

#[test]
fn a_client_token_is_one_query() {
    block_on(async {
        let config = json!({ "split_bytes": 8_192 });
        let functions = Functions::start(Plan { config, ..plan(2) }, trap_data::folder()).await;
        let request =
            json!({ "sql": "select k, count(*) from fact group by k", "client_token": "one", "async": true, "wait_ms": 20_000 });
        let answers = futures::future::join_all((0..16).map(|_| post(&functions, request.clone()))).await;
        let mut ids: Vec<String> = Vec::new();
        for answer in &answers {
            assert_eq!(answer.status, 200, "{:?}", answer.body);
            assert_eq!(answer.headers["x-owlet-rows"], "100");
            ids.push(answer.headers["x-owlet-query-id"].to_str().expect("an id").to_string());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(functions.s3.keys(OWN, "queries/").len(), 1);
        let attempts = functions.get(&format!("/v1/queries/{}", ids[0])).await.json()["receipt"]["attempts"].as_u64();
        let counts = functions.ledger().counts_of(WORKER);
        assert!(
            attempts.is_some_and(|attempts| attempts > 0 && attempts == counts.invokes - counts.throttles),
            "{attempts:?} {counts:?}"
        );
        // The same token, synchronous: another request.
        for changed in [
            json!({ "sql": "select 2" }),
            json!({ "async": false }),
            json!({ "format": "csv" }),
            json!({ "limits": { "timeout_ms": 9 } }),
        ] {
            let mut other = request.clone();
            other.as_object_mut().expect("fields").extend(changed.as_object().cloned().unwrap_or_default());
            let answer = post(&functions, other).await;
            assert_eq!(error_of(&answer), (409, "TOKEN_REUSED".into()), "{changed}");
        }
        // Another caller has tokens of its own.
        let body = json!({ "sql": "select 2 as x", "client_token": "one", "format": "csv" }).to_string();
        let bob = functions.send_as(("BOBSKEY", "bobs-secret"), Method::POST, "/v1/query", &[JSON], body).await;
        assert_eq!((bob.status, bob.body.as_ref()), (200, b"x\n2\n".as_ref()));
    });
}

#[test]
fn queries_are_listed_newest_first_and_only_to_their_caller() {
    block_on(async {
        let functions = start(0).await;
        let mut ids = Vec::new();
        for number in 0..5 {
            let sql = if number == 2 { "select cast('x' as int)".to_string() } else { format!("select {number} as x") };
            let answer = post(&functions, json!({ "sql": sql, "work_group": format!("group {number}") })).await;
            let id = answer.json()["query_id"].as_str().map(str::to_string);
            ids.insert(0, id.unwrap_or_else(|| id_of(&answer)));
        }
        let list = async |path: &str| {
            let body = functions.get(path).await.json();
            let found: Vec<String> = body["queries"]
                .as_array()
                .expect("queries")
                .iter()
                .filter_map(|q| Some(q["query_id"].as_str()?.to_string()))
                .collect();
            (found, body["next"].as_str().map(str::to_string))
        };
        assert_eq!(list("/v1/queries").await.0, ids);
        let (first, next) = list("/v1/queries?limit=2").await;
        assert_eq!((first.as_slice(), next.as_deref()), (&ids[..2], Some(ids[1].as_str())));
        assert_eq!(list(&format!("/v1/queries?limit=3&before={}", ids[1])).await.0, ids[2..]);
        assert_eq!(list("/v1/queries?state=FAILED").await.0, ids[2..3]);
        assert_eq!(list("/v1/queries?state=SUCCEEDED&limit=200").await.0.len(), 4);
        assert_eq!(list("/v1/queries?state=RUNNING").await.0, Vec::<String>::new());
        let newest = &functions.get("/v1/queries?limit=1").await.json()["queries"][0];
        assert_eq!((&newest["work_group"], newest.get("receipt")), (&json!("group 4"), None));

        let bob = async |method: Method, path: &str| {
            functions.send_as(("BOBSKEY", "bobs-secret"), method, path, &[], String::new()).await
        };
        assert_eq!(bob(Method::GET, "/v1/queries").await.json()["queries"], json!([]));
        for (method, tail) in [(Method::GET, ""), (Method::GET, "/result"), (Method::DELETE, "")] {
            let answer = bob(method, &format!("/v1/queries/{}{tail}", ids[0])).await;
            assert_eq!(error_of(&answer), (404, "NO_SUCH_QUERY".into()), "{tail}");
        }
    });
}

#[test]
fn a_cancelled_query_stops_everywhere() {
    block_on(async {
        let config = json!({ "split_bytes": 8_192, "inline_limit_bytes": 0 });
        let functions = Functions::start(Plan { config, ..plan(2) }, trap_data::folder()).await;
        let watch = Stopwatch::start();
        let request = json!({ "sql": LONG, "async": true, "wait_ms": 1_000, "client_token": "long" });
        let answer = post(&functions, request.clone()).await;
        assert_eq!((answer.status, watch.elapsed() >= Duration::from_secs(1)), (202, true), "{:?}", answer.body);
        let id = id_of(&answer);
        let again = post(&functions, json!({ "sql": LONG, "async": true, "client_token": "long" })).await;
        assert_eq!((again.status, id_of(&again)), (202, id.clone()), "the token's query still runs");
        functions.until("rows are exchanged", CANCEL_TIME, |functions| !functions.left_in_exchange().is_empty()).await;
        let path = format!("/v1/queries/{id}");
        assert_eq!(functions.get(&path).await.json()["state"], json!("RUNNING"));
        let early = functions.get(&format!("{path}/result")).await;
        assert_eq!(error_of(&early), (409, "RESULT_NOT_READY".into()));
        let running = |functions: &Functions| functions.ledger().counts_of(WORKER).invokes - functions.runs(WORKER);
        assert!(running(&functions) > 0, "no worker runs");

        let watch = Stopwatch::start();
        let answer = functions.send(Method::DELETE, &path, &[], "").await;
        assert_eq!((answer.status, &answer.json()["query"]["cancel_requested"]), (202, &json!(true)), "{:?}", answer.body);
        let record = functions.wait_for(&id).await;
        assert_eq!(record["state"], json!("CANCELLED"), "{record}");
        functions.until("the workers have stopped", CANCEL_TIME, |functions| running(functions) == 0).await;
        assert!(watch.elapsed() < CANCEL_TIME, "{:?}", watch.elapsed());
        functions.until("the exchange is empty", CANCEL_TIME, |functions| functions.left_in_exchange().is_empty()).await;
        let final_one = functions.send(Method::DELETE, &path, &[], "").await;
        assert_eq!((final_one.status, &final_one.json()["query"]), (200, &record));
        assert_eq!(error_of(&functions.get(&format!("{path}/result")).await), (409, "CANCELLED".into()));
        assert_eq!(error_of(&post(&functions, request).await), (409, "CANCELLED".into()));
        assert_eq!(functions.end().await, 0);
    });
}
