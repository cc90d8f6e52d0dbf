//! Table data and exchange on a real S3 protocol: answers, ledgers that agree, faults, objects that change.

use bytes::Bytes;
use engine::settings::{S3Settings, Settings};
use std::path::Path;
use tests::cluster::{Cluster, block_on, small_data_settings};
use tests::compare::rows;
use tests::s3::{Failure, Fault, FaultKind, Op, S3Server};
use tests::trap_data;

const JOIN: &str =
    "select dn, count(*) n, sum(x) s from 's3://data/fact/' join 's3://data/dim/' on k = dk group by dn order by dn limit 3";
const EXPECTED: [[&str; 3]; 3] = [["d0", "40", "NULL"], ["d1", "40", "18040.0"], ["d10", "40", "18400.0"]];

pub(crate) async fn server() -> S3Server {
    let server = S3Server::start().await;
    // All tests share the process's environment, and all servers have the same keys.
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        for (name, value) in server.environment().into_iter().filter(|(name, _)| !name.contains("ENDPOINT")) {
            // SAFETY is not at stake: this is the only writer, and it runs before any S3 store is built.
            set_environment(name, value);
        }
    });
    server.create_bucket("exchange");
    server.create_bucket("data");
    server.mount("data", trap_data::folder());
    server
}

#[expect(unsafe_code, reason = "std::env::set_var is unsafe in edition 2024; see the caller")]
fn set_environment(name: &str, value: String) {
    // SAFETY: called once, before other threads read these variables.
    unsafe { std::env::set_var(name, value) };
}

pub(crate) fn settings(server: &S3Server, workers: usize) -> Settings {
    Settings {
        s3: S3Settings { endpoint: Some(server.endpoint()), region: Some("us-east-1".into()) },
        exchange_url: Some("s3://exchange/tmp/".into()),
        inline_limit_bytes: 0,
        ..small_data_settings(workers)
    }
}

fn none() -> &'static Path {
    Path::new("/nonexistent")
}

#[test]
fn data_and_exchange_on_s3_and_the_receipt_equals_the_servers_ledger() {
    block_on(async {
        let server = server().await;
        for workers in [0, 4] {
            server.reset_ledger();
            let cluster = Cluster::new(settings(&server, workers), none());
            let answer = cluster.query(JOIN).await.expect("rows");
            assert_eq!(rows(&answer.batches), EXPECTED);
            let (ledger, receipt) = (server.ledger(), answer.receipt.requests);
            assert_eq!(receipt.gets, ledger.get, "GET with {workers} workers");
            assert_eq!(receipt.heads, ledger.head, "HEAD");
            assert_eq!(receipt.puts, ledger.put + ledger.multipart + ledger.copy, "PUT");
            assert_eq!(receipt.lists, ledger.list, "LIST");
            assert_eq!(receipt.deletes, ledger.delete, "DELETE");
            assert_eq!(receipt.bytes_read, ledger.bytes_out, "bytes read");
            assert_eq!(receipt.bytes_written, ledger.bytes_in, "bytes written");
            assert_eq!(server.keys("exchange", ""), Vec::<String>::new());
            assert_eq!(ledger.put > 0, workers > 0, "the exchange was used only with workers");
        }
    });
}

/// An attempt without room in memory writes temporary files and uploads in parts; the ledger still agrees.
#[test]
fn uploads_in_parts_are_counted_and_leave_nothing() {
    block_on(async {
        let server = server().await;
        let settings = Settings { exchange_buffer_bytes: 0, ..settings(&server, 4) };
        let answer = Cluster::new(settings, none()).query(JOIN).await.expect("rows");
        assert_eq!(rows(&answer.batches), EXPECTED);
        let ledger = server.ledger();
        assert!(ledger.multipart > 0, "{ledger:?}");
        assert_eq!(answer.receipt.requests.puts, ledger.put + ledger.multipart);
        assert_eq!(server.keys("exchange", ""), Vec::<String>::new());
        assert_eq!(server.open_uploads("exchange"), Vec::<String>::new());
    });
}

#[test]
fn throttles_resets_and_short_answers_are_survived_and_counted() {
    block_on(async {
        let server = server().await;
        let kinds = [
            FaultKind::Fail(Failure::SlowDown),
            FaultKind::Fail(Failure::InternalError),
            FaultKind::HangUp,
            FaultKind::Truncate { after_bytes: 10 },
            FaultKind::Reset { after_bytes: 10 },
        ];
        for kind in kinds {
            server.faults().clear();
            server.reset_ledger();
            let what = format!("{kind:?}");
            let listed = server.faults().arm(Fault::new(Op::List, "", kind.clone()));
            let fired = server.faults().arm(Fault::new(Op::Get, "fact/p", kind).skip(3).times(2));
            let cluster = Cluster::new(settings(&server, 4), none());
            let answer = cluster.query(JOIN).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(rows(&answer.batches), EXPECTED, "{what}");
            assert_eq!(server.faults().count(fired).fired, 2, "{what}");
            assert_eq!(server.faults().count(listed).fired, 1, "{what}");
            let requests = answer.receipt.requests;
            assert_eq!(
                (requests.gets, requests.lists),
                (server.ledger().get, server.ledger().list),
                "{what}: retries are counted"
            );
        }
    });
}

#[test]
fn an_answer_shorter_than_its_range_is_noticed() {
    block_on(async {
        let server = server().await;
        server.faults().arm(Fault::new(Op::Get, "fact/p2", FaultKind::ShortLength { bytes: 5 }).times(1_000));
        let error = Cluster::new(settings(&server, 4), none()).query(JOIN).await.map(|answer| rows(&answer.batches));
        assert!(error.is_err(), "{error:?}");
    });
}

/// Whatever read the replacement hits, the answer is the old table's or an error; never a mix.
#[test]
fn an_object_replaced_during_a_query_is_never_mixed_in() {
    block_on(async {
        let sql = "select count(*), sum(id) from 's3://data/fact/'";
        let other = tempfile::tempdir().expect("a folder");
        trap_data::write(other.path());
        // The same size and layout, other rows.
        let replacement = std::fs::read(other.path().join("fact/p3.parquet")).expect("a file");
        let mut changed = 0;
        for nth in 0..8 {
            let server = server().await;
            let fired = server
                .faults()
                .arm(Fault::new(Op::Get, "fact/p1", FaultKind::Overwrite(Bytes::from(replacement.clone()))).skip(nth));
            let options = [("datafusion.execution.collect_statistics".to_string(), "false".to_string())].into();
            let cluster = Cluster::new(Settings { session: options, ..settings(&server, 4) }, none());
            match cluster.query(sql).await {
                Ok(answer) => assert_eq!(rows(&answer.batches), [["4000", "7998000"]], "replaced at read {nth}"),
                Err(error) => {
                    assert_eq!(error.kind, engine::ErrorKind::Changed, "replaced at read {nth}: {error}");
                    changed += 1;
                }
            }
            assert!(server.faults().count(fired).fired <= 1);
        }
        assert!(changed >= 3, "only {changed} replacements were seen");
    });
}

#[test]
fn wrong_places_have_clear_errors() {
    block_on(async {
        let server = server().await;
        let cluster = Cluster::new(settings(&server, 4), none());
        let error = |sql: &'static str| async { cluster.query(sql).await.map(|_| ()).expect_err(sql) };
        assert!(error("select * from 's3://data/nothing/'").await.message.contains("no data file at 's3://data/nothing/'"));
        let missing = error("select * from 's3://missing/x.parquet'").await;
        assert!(missing.message.contains("s3://missing/x.parquet"), "{missing}");
        let web = error("select * from 'http://127.0.0.1/x.parquet'").await;
        assert_eq!(web.kind, engine::ErrorKind::AccessDenied, "{web}");
        server.faults().set_latency(std::time::Duration::from_millis(5));
        assert_eq!(rows(&cluster.query(JOIN).await.expect("rows").batches), EXPECTED);
    });
}
