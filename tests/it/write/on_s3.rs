//! Writes to S3: who may write where, whole uploads, and requests that are all counted.

use crate::s3::{server, settings as s3_settings};
use coordinator::QueryControl;
use engine::ErrorKind;
use engine::session::SharedRuntime;
use engine::settings::Settings;
use engine::storage::Storage;
use engine::write::{Compression, WriteFormat, WriteSpec};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tests::cluster::{Cluster, block_on, compute};
use tests::compare::rows;
use worker::{InProcessInvoker, Worker};

/// Nothing may be written unless the settings say so, and the workers have the last word.
#[test]
fn writes_outside_their_locations_are_refused_before_any_request() {
    block_on(async {
        let server = server().await;
        server.create_bucket("lake");
        let sql = "select id from 's3://data/fact/'";
        let allowed = Settings { write_locations: vec!["s3://lake/ok/".into()], ..s3_settings(&server, 3) };
        let cluster = Cluster::new(allowed.clone(), Path::new("/nonexistent"));
        server.reset_ledger();
        for location in
            ["s3://lake/", "s3://lake/okay/", "s3://lake/ok/../x/", "s3://data/ok/", "file:///tmp/x/", "http://h/ok/", "ok"]
        {
            let spec = WriteSpec::parquet(location, vec!["id".into()]);
            let error = cluster.write(sql, &spec).await.map(|outcome| outcome.rows).expect_err(location);
            assert!(matches!(error.kind, ErrorKind::AccessDenied | ErrorKind::InvalidQuery), "{location}: {error}");
        }
        assert_eq!(server.ledger().total(), 0);
        // A request that a coordinator with other settings, or somebody else, has made.
        let strict = Settings { write_locations: vec!["s3://lake/other/".into()], ..allowed.clone() };
        let forged = Cluster::with_invoker(allowed, Path::new("/nonexistent"), |_| {
            let shared = SharedRuntime::new(&strict).expect("a runtime").with_compute(compute().handle().clone());
            Arc::new(InProcessInvoker::new(Worker::new(&strict, Storage::new(&strict).expect("storage"), shared)))
        });
        let spec = WriteSpec::parquet("s3://lake/ok/t/", vec!["id".into()]);
        let error = forged.write(sql, &spec).await.map(|outcome| outcome.rows).expect_err("a refusal");
        assert!(error.kind == ErrorKind::AccessDenied && error.message.contains("write_locations"), "{error}");
        assert_eq!(server.keys("lake", ""), Vec::<String>::new());
    });
}

#[test]
fn on_s3_files_appear_whole_and_the_receipt_equals_the_ledger() {
    block_on(async {
        let server = server().await;
        server.create_bucket("lake");
        // About 40 MB of text: uploads in parts.
        let big = "select a.id * 120 + b.dk as x, a.id * 7919 + b.dk as y from 's3://data/fact/' a, 's3://data/dim/' b";
        let columns = || ["x", "y"].map(|name| format!("a_column_whose_name_makes_long_lines_{name}")).to_vec();
        let small = "select id as x, k as y from 's3://data/fact/'";
        for (sql, format, multipart) in
            [(small, WriteFormat::Parquet(Compression::Zstd), false), (big, WriteFormat::Json(Compression::None), true)]
        {
            for workers in [0, 2] {
                server.reset_ledger();
                let settings = Settings { write_locations: vec!["s3://lake/".into()], ..s3_settings(&server, workers) };
                let cluster = Cluster::new(settings, Path::new("/nonexistent"));
                let location = format!("s3://lake/t{workers}{multipart}/");
                let spec = WriteSpec { format: format.clone(), ..WriteSpec::parquet(&location, columns()) };
                let outcome = cluster.write(sql, &spec).await.expect("a write");
                let (ledger, counted) = (server.ledger(), outcome.receipt.requests);
                assert_eq!(counted.puts, ledger.put + ledger.multipart + ledger.copy, "{ledger:?}");
                assert_eq!((counted.gets, counted.heads, counted.lists), (ledger.get, ledger.head, ledger.list));
                assert_eq!(counted.deletes, ledger.delete);
                // The lists of parts that end an upload are bytes too, but not of objects.
                assert!(multipart || counted.bytes_written == ledger.bytes_in);
                assert_eq!(ledger.copy, outcome.files.len() as u64);
                assert_eq!(ledger.multipart > 0, multipart, "{ledger:?}");
                let keys: Vec<String> =
                    outcome.files.iter().map(|file| file.url.trim_start_matches("s3://lake/").to_string()).collect();
                assert_eq!(server.keys("lake", &location["s3://lake/".len()..]), keys);
                assert_eq!(server.open_uploads("lake"), Vec::<String>::new());
                assert_eq!(server.keys("exchange", ""), Vec::<String>::new());
                let [x, y] = &columns()[..] else { panic!("two columns") };
                let sums = format!("select count(*), sum({x}), sum({y}) from '{location}'");
                let count = cluster.query(&sums).await.expect("rows");
                let wanted = cluster.query(&format!("select count(*), sum(x), sum(y) from ({sql})")).await.expect("rows");
                assert_eq!(rows(&count.batches), rows(&wanted.batches));
            }
        }
    });
}

#[test]
fn on_s3_a_failed_or_cancelled_upload_leaves_no_object_and_no_open_upload() {
    block_on(async {
        let server = server().await;
        server.create_bucket("lake");
        let big = "select a.id * 120 + b.dk as x, 1 / (a.id - 3999) as y from 's3://data/fact/' a, 's3://data/dim/' b";
        let endless = "select a.id as x, b.id as y from 's3://data/fact/' a, 's3://data/fact/' b";
        for workers in [0, 2] {
            for (sql, cancelled) in [(big, false), (endless, true)] {
                let settings = Settings { write_locations: vec!["s3://lake/".into()], ..s3_settings(&server, workers) };
                let cluster = Cluster::new(settings, Path::new("/nonexistent"));
                let format = WriteFormat::Json(Compression::None);
                // No file is complete before the end, however late a busy machine cancels.
                let target_file_bytes = 1 << 40;
                let spec =
                    WriteSpec { format, target_file_bytes, ..WriteSpec::parquet("s3://lake/t/", vec!["x".into(), "y".into()]) };
                let control = QueryControl::new();
                let cancel = control.cancel.clone();
                let begun = async {
                    while cancelled && server.open_uploads("lake").is_empty() {
                        engine::clock::sleep(Duration::from_millis(5)).await;
                    }
                    if cancelled {
                        cancel.cancel();
                    }
                };
                let (outcome, ()) = tokio::join!(cluster.write_with(sql, &spec, &control), begun);
                assert!(outcome.is_err());
                assert_eq!(server.open_uploads("lake"), Vec::<String>::new(), "{workers} workers, cancelled {cancelled}");
                assert_eq!(server.keys("lake", ""), Vec::<String>::new(), "{workers} workers, cancelled {cancelled}");
            }
        }
    });
}
