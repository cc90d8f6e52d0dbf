//! The whole of remote mode against a server that misbehaves in every way that networks and servers do.

use super::choice::ServerChoice;
use super::fake::{Asked, Fake, ID, Reply, Tested, inline, page, record};
use super::query::RemoteQuery;
use super::{RemoteSession, RemoteStatement};
use crate::args::Args;
use crate::failure::Failure;
use crate::print::Format;
use crate::query::{Mode, run};
use crate::resolve::{OutputChoice, Reports};
use crate::runner::Runner;
use clap::Parser;
use coordinator::QueryControl;
use engine::ErrorKind;
use engine::clock::sleep;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const SILENT: Reports = Reports { receipt: false, json: false, progress: false };
const RUN: &str = "POST /v1/query";

fn session(url: &str, more: &[&str]) -> Result<RemoteSession, Box<dyn std::error::Error>> {
    let words = ["owlet", "--endpoint", url].into_iter().chain(more.iter().copied());
    let choice = ServerChoice::resolve(&Args::try_parse_from(words)?.shared, None)?.ok_or("no server")?;
    Ok(RemoteSession::new(&choice, None, SILENT)?)
}

/// What `owlet query SQL -o FILE` writes.
fn query(url: &str, sql: &str) -> Result<String, Failure> {
    let usage = |e: &dyn std::fmt::Display| Failure::Usage(e.to_string());
    let folder = tempfile::tempdir().map_err(|e| usage(&e))?;
    let file = folder.path().join("rows.csv");
    let choice = OutputChoice { format: Format::Csv, file: Some(file.clone()) };
    let session = session(url, &[]).map_err(|e| usage(&e))?;
    let done = run(&session, sql, &choice, Mode::AsWritten);
    assert_eq!(file.exists(), done.is_ok(), "a file is there when the result is complete and only then");
    done?;
    std::fs::read_to_string(file).map_err(|e| usage(&e))
}

#[test]
fn a_short_query_takes_one_request() -> Tested {
    let fake = Fake::start(|_, _| inline(&[1, 2, 3], 3))?;
    assert_eq!(query(&fake.url, "SELECT n FROM t")?, "n\n1\n2\n3\n");
    let asked = fake.asked();
    assert_eq!(fake.lines(), [RUN]);
    let sent = asked.first().ok_or("nothing")?;
    assert_eq!(
        (&sent.body["sql"], &sent.body["format"], &sent.body["wait_ms"]),
        (&json!("SELECT n FROM t"), &json!("arrow"), &json!(1_000))
    );
    assert!(sent.body["async"] == true && sent.body["client_token"].as_str().is_some_and(|token| token.len() == 36));
    assert!(!sent.headers.contains_key("authorization"));
    Ok(())
}

#[test]
fn a_receipt_that_fits_no_header_is_in_the_record() -> Tested {
    let fake = Fake::start(|asked, _| match asked.line().as_str() {
        RUN => {
            let headers = vec![("x-owlet-query-id", ID.to_owned()), ("x-owlet-rows", "1".to_owned())];
            Reply::Rows(headers, super::fake::stream(&[1]).unwrap_or_default())
        }
        _ => Reply::Json(200, record("SUCCEEDED", None)),
    })?;
    let session = session(&fake.url, &[])?;
    let query = RemoteQuery::new(Arc::clone(&session.client), "SELECT 1".into(), None, QueryControl::new());
    let finished = session.runtimes.queries()?.block_on(query.run())?;
    assert_eq!((finished.receipt["elapsed_ms"].as_u64(), query.id().as_deref()), (Some(9), Some(ID)));
    Ok(())
}

#[test]
fn statements_run_in_order_until_the_first_error() -> Tested {
    let fake = Fake::start(|_, before| match before {
        0 => inline(&[1], 1),
        _ => {
            let mut failed = record("FAILED", None);
            failed["error"] = json!({"code": "INVALID_QUERY", "message": "line 1:8: no column 'w'"});
            Reply::Json(400, failed)
        }
    })?;
    let failed = query(&fake.url, "SELECT 1;\nSELECT 2; SELECT w;\nSELECT 3");
    // The place is that in the whole text.
    assert!(
        matches!(failed, Err(Failure::Server { code, message }) if code == "INVALID_QUERY" && message == "line 2:8: no column 'w'")
    );
    let sql: Vec<String> = fake.asked().iter().map(|asked| asked.body["sql"].to_string()).collect();
    assert_eq!(sql, ["\"SELECT 1\"", "\"SELECT 2\""]);
    Ok(())
}

#[test]
fn all_statements_are_parsed_before_the_first_one_runs() -> Tested {
    let fake = Fake::start(|_, _| inline(&[1], 1))?;
    let failed = query(&fake.url, "SELECT 1;\nSELEC 2").err().ok_or("no error")?.to_string();
    assert!(failed.contains("line 2:") && fake.asked().is_empty(), "{failed} {:?}", fake.lines());
    Ok(())
}

#[test]
fn a_row_that_is_larger_than_a_page_comes_with_the_whole_result() -> Tested {
    for elsewhere in [false, true] {
        let store = Fake::start(|_, _| page(&[1, 2, 3], None))?;
        let url = store.url.clone();
        let fake = Fake::start(move |asked, _| match asked.line().as_str() {
            RUN => Reply::Json(303, record("SUCCEEDED", Some((3, 2)))),
            line if line.ends_with("page=0") => page(&[1], Some(1)),
            line if line.ends_with("page=1") => {
                Reply::Json(422, json!({"error": {"code": "LIMIT_EXCEEDED", "message": "page 1 takes 4000392 bytes"}}))
            }
            _ if elsewhere => Reply::Elsewhere(format!("{url}/bucket/key?signature=x")),
            _ => page(&[1, 2, 3], None),
        })?;
        assert_eq!(query(&fake.url, "SELECT n")?, "n\n1\n2\n3\n");
        assert_eq!(fake.lines().last().cloned(), Some(format!("GET /v1/queries/{ID}/result")));
        assert_eq!(store.lines(), if elsewhere { vec!["GET /bucket/key?signature=x"] } else { Vec::new() });
        assert!(store.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    }
    Ok(())
}

#[test]
fn a_large_result_comes_in_pages() -> Tested {
    let fake = Fake::start(|asked, _| match asked.line().as_str() {
        RUN => Reply::Json(303, record("SUCCEEDED", Some((3, 2)))),
        line if line.ends_with("page=0") => page(&[1, 2], Some(1)),
        _ => page(&[3], None),
    })?;
    assert_eq!(query(&fake.url, "SELECT n")?, "n\n1\n2\n3\n");
    let path = format!("GET /v1/queries/{ID}/result?page=");
    assert_eq!(fake.lines(), [RUN.to_owned(), format!("{path}0"), format!("{path}1")]);
    assert!(fake.asked().iter().skip(1).all(|asked| asked.headers["accept"] == super::client::ARROW));
    Ok(())
}

#[test]
fn a_long_query_is_followed() -> Tested {
    let fake = Fake::start(|asked, before| match (asked.line().as_str(), before) {
        (RUN, _) => Reply::Json(202, record("QUEUED", None)),
        (_, 1..=2) => Reply::Json(200, record("RUNNING", None)),
        (_, 3) => Reply::Json(200, record("SUCCEEDED", Some((1, 1)))),
        _ => page(&[7], None),
    })?;
    assert_eq!(query(&fake.url, "SELECT n")?, "n\n7\n");
    let look = format!("GET /v1/queries/{ID}");
    assert_eq!(fake.lines()[1..], [look.clone(), look.clone(), look.clone(), format!("{look}/result?page=0")]);
    Ok(())
}

#[test]
fn a_failed_query_tells_its_error_and_is_not_sent_again() -> Tested {
    for code in ["INVALID_QUERY", "UNAVAILABLE", "COORDINATOR_LOST"] {
        let fake = Fake::start(move |asked, _| {
            let mut failed = record("FAILED", None);
            failed["query"]["error"] = json!({"code": code, "message": "what and where", "retryable": true});
            failed["error"] = failed["query"]["error"].clone();
            let status = if asked.line() == RUN { 503 } else { 200 };
            Reply::Json(status, failed)
        })?;
        let failed = query(&fake.url, "SELECT n").err().ok_or("no error")?;
        assert_eq!((failed.kind(), failed.to_string().as_str(), failed.exit_code()), (code, "what and where", 1));
        assert_eq!(fake.lines(), [RUN]);
    }
    Ok(())
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_token() -> Tested {
    let fake = Fake::start(|_, before| match before {
        0 => Reply::Cut,
        1 => Reply::Json(503, json!({"error": {"code": "UNAVAILABLE", "message": "starting"}})),
        2 => Reply::Json(429, json!({"Message": "Rate Exceeded."})),
        _ => inline(&[5], 1),
    })?;
    assert_eq!(query(&fake.url, "SELECT n")?, "n\n5\n");
    let tokens: Vec<String> = fake.asked().iter().map(|asked| asked.body["client_token"].to_string()).collect();
    assert_eq!(tokens.len(), 4);
    assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]), "{tokens:?}");
    Ok(())
}

#[test]
fn a_server_that_stays_away_is_given_up() -> Tested {
    let fake = Fake::start(|_, _| Reply::Json(503, json!({"error": {"code": "UNAVAILABLE", "message": "starting"}})))?;
    let failed = query(&fake.url, "SELECT n").err().ok_or("no error")?;
    assert_eq!((failed.kind(), fake.lines().len()), ("UNAVAILABLE", 5));
    let url = fake.url.clone();
    drop(fake);
    let refused = query(&url, "SELECT n").err().ok_or("no error")?.to_string();
    assert!(refused.contains(&url) && refused.contains("owlet serve"), "{refused}");
    Ok(())
}

#[test]
fn fewer_rows_than_promised_are_an_error() -> Tested {
    let short = Fake::start(|_, _| inline(&[1, 2], 3))?;
    let stored = |pages: fn(&Asked) -> Reply| {
        Fake::start(move |asked, _| match asked.line().as_str() {
            RUN => Reply::Json(303, record("SUCCEEDED", Some((3, 2)))),
            _ => pages(asked),
        })
    };
    let missing_rows = stored(|asked| if asked.path.ends_with("page=0") { page(&[1], Some(1)) } else { page(&[2], None) })?;
    let missing_page = stored(|_| page(&[1, 2, 3], None))?;
    let cut_page = stored(|asked| match asked.path.ends_with("page=0") {
        true => page(&[1, 2], Some(1)),
        false => Reply::Rows(Vec::new(), super::fake::stream(&[3]).unwrap_or_default().into_iter().take(40).collect()),
    })?;
    for fake in [short, missing_rows, missing_page, cut_page] {
        let failed = query(&fake.url, "SELECT n");
        assert!(matches!(&failed, Err(Failure::Query(error)) if error.kind == ErrorKind::Corrupt), "{failed:?}");
    }
    Ok(())
}

#[test]
fn foreign_servers_are_told_apart() -> Tested {
    let fake = Fake::start(|_, _| Reply::Json(404, json!("nothing here")))?;
    let failed = query(&fake.url, "SELECT n").err().ok_or("no error")?.to_string();
    assert!(failed.contains("404") && failed.contains("--endpoint"), "{failed}");
    let forbidden = Fake::start(|_, _| Reply::Json(403, json!({"Message": "Forbidden\nx-amz-security-token:abc"})))?;
    let failed = query(&forbidden.url, "SELECT n").err().ok_or("no error")?;
    assert!(
        failed.kind() == "ACCESS_DENIED"
            && failed.to_string().contains("--credentials iam")
            && !failed.to_string().contains("abc")
    );
    Ok(())
}

/// Cancels a query after `pause` and gives its end; none when it has not ended `patience` later.
fn cancelled(session: &RemoteSession, pause: Duration, patience: Duration) -> Result<Option<Failure>, Failure> {
    let control = QueryControl::new();
    let query = RemoteQuery::new(Arc::clone(&session.client), "SELECT n".into(), None, control.clone());
    let work = async {
        let cancel = async {
            sleep(pause).await;
            control.cancel.cancel();
            sleep(patience).await;
        };
        tokio::select! {
            ended = query.run() => ended.err(),
            () = cancel => None,
        }
    };
    Ok(session.runtimes.queries()?.block_on(work))
}

#[test]
fn a_cancelled_query_is_cancelled_on_the_server_and_waited_for() -> Tested {
    let fake = Fake::start(|asked, _| match asked.line().as_str() {
        RUN => Reply::Json(202, record("RUNNING", None)),
        line if line.starts_with("DELETE") => Reply::Json(202, record("RUNNING", None)),
        _ => Reply::Json(200, record("RUNNING", None)),
    })?;
    // This server never ends it, so the caller gives up.
    let session = session(&fake.url, &[])?;
    let ended = cancelled(&session, Duration::from_millis(120), Duration::from_millis(500))?;
    let (lines, looks) = (fake.lines(), format!("GET /v1/queries/{ID}"));
    let deleted = lines.iter().position(|line| *line == format!("DELETE /v1/queries/{ID}")).ok_or("no DELETE")?;
    assert!(
        ended.is_none() && lines[deleted + 1..].len() > 2 && lines[deleted + 1..].iter().all(|line| *line == looks),
        "{lines:?}"
    );
    Ok(())
}

#[test]
fn a_query_whose_id_is_not_known_yet_is_cancelled_too() -> Tested {
    let fake = Fake::start(|asked, before| match (asked.line().as_str(), before) {
        (RUN, 0) => Reply::Silence,
        (RUN, _) => Reply::Json(202, record("RUNNING", None)),
        (line, _) if line.starts_with("DELETE") => Reply::Json(202, record("RUNNING", None)),
        _ => Reply::Json(200, record("CANCELLED", None)),
    })?;
    let session = session(&fake.url, &[])?;
    let ended = cancelled(&session, Duration::from_millis(100), Duration::from_secs(5))?;
    assert!(matches!(ended, Some(Failure::Interrupted)), "{ended:?}");
    let (asked, lines) = (fake.asked(), fake.lines());
    assert_eq!(lines[..3], [RUN.to_owned(), RUN.to_owned(), format!("DELETE /v1/queries/{ID}")]);
    assert_eq!(asked[0].body["client_token"], asked[1].body["client_token"]);
    assert_eq!(asked[1].body["wait_ms"], 0);
    Ok(())
}

#[test]
fn options_for_queries_in_this_process_are_refused() -> Tested {
    for option in [["--allow", "x"], ["--allow-write", "x"], ["--catalog", "x"], ["--warehouse", "s3://b/"], ["--data", "x"]] {
        let words = ["owlet", "--endpoint", "http://127.0.0.1:9"].into_iter().chain(option);
        let choice = ServerChoice::resolve(&Args::try_parse_from(words)?.shared, None);
        assert!(choice.is_err_and(|failure| failure.to_string().contains(option[0])), "{option:?}");
    }
    Ok(())
}

#[test]
fn a_token_is_shown_to_the_server_and_to_nobody_else() -> Tested {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, "opensesame\n")?;
    let fake =
        Fake::start(|_, _| Reply::Json(401, json!({"error": {"code": "UNAUTHENTICATED", "message": "opensesame is unknown"}})))?;
    let session = session(&fake.url, &["--token-file", file.to_str().ok_or("path")?])?;
    let failed = session.tables().err().ok_or("no error")?;
    assert!(failed.kind() == "UNAUTHENTICATED" && failed.to_string().contains("--token-file"), "{failed}");
    assert!(!failed.to_string().contains("opensesame") && !format!("{session:?}").contains("opensesame"));
    assert!(fake.asked().iter().all(|asked| asked.headers["authorization"] == "Bearer opensesame"));
    Ok(())
}

#[test]
fn queries_are_listed_page_by_page_and_results_printed_again() -> Tested {
    let fake = Fake::start(|asked, _| match asked.path.as_str() {
        path if path.contains("before=") => Reply::Json(200, json!({"queries": [record("FAILED", None)["query"]], "next": null})),
        path if path.contains("limit=") => Reply::Json(200, json!({"queries": [record("FAILED", None)["query"]], "next": ID})),
        path if path.ends_with("page=0") => page(&[9], None),
        _ => Reply::Json(200, record("SUCCEEDED", Some((1, 1)))),
    })?;
    let session = session(&fake.url, &[])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows");
    let choice = OutputChoice { format: Format::Csv, file: Some(file.clone()) };
    let state = Some(crate::args::StateArg::Failed);
    super::queries(&session, &crate::args::QueriesArgs { id: None, state, limit: 300 }, &choice)?;
    assert_eq!(std::fs::read_to_string(&file)?.lines().count(), 3);
    let expected =
        ["GET /v1/queries?limit=200&state=FAILED".to_owned(), format!("GET /v1/queries?limit=200&state=FAILED&before={ID}")];
    assert_eq!(fake.lines(), expected);
    super::queries(&session, &crate::args::QueriesArgs { id: Some(ID.into()), state: None, limit: 1 }, &choice)?;
    assert!(std::fs::read_to_string(&file)?.contains("\"version\": 1"));
    super::result(&session, ID.into(), &choice)?;
    assert_eq!(std::fs::read_to_string(&file)?, "n\n9\n");
    super::cancel(&session, ID.into())?;
    assert_eq!(fake.lines().last().cloned(), Some(format!("DELETE /v1/queries/{ID}")));
    Ok(())
}

#[test]
fn explain_goes_before_queries_only_and_places_stay_right() -> Tested {
    let session = session("http://127.0.0.1:9", &[])?;
    let statements = session.parse("SHOW TABLES; -- which\n  SELECT w FROM t")?;
    let sql: Vec<String> = statements.iter().cloned().map(|statement| session.explained(statement).sql).collect();
    assert_eq!(sql, ["SHOW TABLES", "EXPLAIN -- which\n  SELECT w FROM t"]);
    let explained = |text: &str, message: &str| -> Result<String, Box<dyn std::error::Error>> {
        let statement: RemoteStatement = session.parse(text)?.pop().ok_or("no statement")?;
        let failure = Failure::Server { code: "INVALID_QUERY".into(), message: message.into() };
        Ok(session.explained(statement).placed(failure).to_string())
    };
    assert_eq!(explained("SELECT w", "line 1:16: no column")?, "line 1:8: no column");
    assert_eq!(explained("SELECT 1; SELECT\nw", "line 2:1: no column")?, "line 2:1: no column");
    assert_eq!(explained("SELECT 1; SELECT w", "line 1:16: no column")?, "line 1:18: no column");
    assert_eq!(explained("SELECT w", "no place: at all")?, "no place: at all");
    let named = "COLUMN_NOT_FOUND: line 1:16: no column";
    assert_eq!(explained("SELECT 1; SELECT w", named)?, "COLUMN_NOT_FOUND: line 1:18: no column");
    assert_eq!(explained("SELECT 1;\n\nSELECT w", named)?, "COLUMN_NOT_FOUND: line 3:8: no column");
    Ok(())
}
