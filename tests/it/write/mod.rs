//! Written files: the rows of the query, all or none of them, whatever happens on the way.

mod buckets;
mod killed;
mod on_s3;
mod service;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use coordinator::{QueryControl, WriteOutcome};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions};
use engine::ErrorKind;
use engine::settings::Settings;
use engine::write::{Compression, TextFormat, WriteFormat, WriteSpec};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tests::cluster::{Cluster, block_on, files_below, oracle, small_data_settings};
use tests::compare::{difference, rows};
use tests::faults::{Fault, FaultyInvoker};
use tests::trap_data;

/// Every column kind that all formats hold, NULLs, a shuffle, and values that folders must escape.
const SQL: &str = "select f.id, f.x, d.dn, f.id % 2 = 0 as even, cast(f.id as decimal(12, 3)) / 8 as price, \
    date_add('day', f.id % 5, date '2024-01-01') as day, \
    case f.c when 0 then 'a/b=c' when 1 then '50% :x' when 2 then null else 'v' || cast(f.c as varchar) end as part \
    from fact f left join dim d on f.k = d.dk and d.dk < 50";
const COLUMNS: [&str; 7] = ["id", "x", "dn", "even", "price", "day", "part"];

fn spec(folder: &Path, columns: &[&str]) -> WriteSpec {
    WriteSpec::parquet(format!("file://{}/", folder.display()), columns.iter().map(|name| name.to_string()).collect())
}

fn settings(folder: &TempDir, workers: usize) -> Settings {
    Settings {
        write_locations: vec![format!("file://{}/", folder.path().display())],
        inline_limit_bytes: 0,
        ..small_data_settings(workers)
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The rows of the files below `folder`, read by plain DataFusion.
async fn read(folder: &Path, spec: &WriteSpec, schema: &Schema) -> Vec<RecordBatch> {
    let context = SessionContext::new();
    let url = format!("{}/", folder.display());
    let cut = schema.fields().len() - spec.partition_by.len();
    let keys: Vec<(String, DataType)> =
        schema.fields().iter().skip(cut).map(|field| (field.name().clone(), field.data_type().clone())).collect();
    let file_schema = Schema::new(schema.fields().iter().take(cut).cloned().collect::<Vec<_>>());
    let kind = |compression: &Compression| match compression {
        Compression::Gzip => (FileCompressionType::GZIP, ".gz"),
        Compression::Zstd => (FileCompressionType::ZSTD, ".zst"),
        _ => (FileCompressionType::UNCOMPRESSED, ""),
    };
    let read = match &spec.format {
        WriteFormat::Parquet(_) => context.read_parquet(url, ParquetReadOptions::default().table_partition_cols(keys)).await,
        WriteFormat::Text(text, compression) => {
            let (compression, ending) = kind(compression);
            let ending = format!(".csv{ending}");
            let options = CsvReadOptions::new()
                .schema(&file_schema)
                .has_header(text.header)
                .delimiter(text.delimiter as u8)
                .file_compression_type(compression)
                .file_extension(&ending)
                .table_partition_cols(keys);
            context.read_csv(url, options).await
        }
        WriteFormat::Json(compression) => {
            let (compression, ending) = kind(compression);
            let ending = format!(".json{ending}");
            let options = JsonReadOptions::default()
                .schema(&file_schema)
                .file_compression_type(compression)
                .file_extension(&ending)
                .table_partition_cols(keys);
            context.read_json(url, options).await
        }
    };
    read.expect("a table").collect().await.expect("its rows")
}

/// NULL of a partition is a word in its folder, which plain DataFusion reads as that word.
fn expected(batches: Vec<RecordBatch>) -> Vec<Vec<String>> {
    let mut rows = rows(&batches);
    rows.iter_mut().flatten().filter(|value| *value == "NULL").for_each(|value| *value = "__HIVE_DEFAULT_PARTITION__".into());
    rows.sort();
    rows
}

fn check(folder: &TempDir, outcome: &WriteOutcome) {
    let found = files_below(folder.path());
    let mut told: Vec<String> = outcome.files.iter().map(|file| file.url.trim_start_matches("file://").to_string()).collect();
    told.sort();
    assert_eq!(found, told, "nothing but the files, and none in staging");
    let manifest: Vec<String> = outcome.manifest().lines().map(str::to_string).collect();
    assert_eq!(manifest, outcome.files.iter().map(|file| file.url.clone()).collect::<Vec<_>>());
    for file in &outcome.files {
        let size = std::fs::metadata(file.url.trim_start_matches("file://")).expect("a file").len();
        assert_eq!((size, file.rows > 0), (file.bytes, true));
    }
    assert_eq!(outcome.rows, outcome.files.iter().map(|file| file.rows).sum::<u64>());
    assert_eq!(outcome.receipt.written_files, outcome.files.len() as u64);
    assert!(!folder.path().join("_owlet_staging").exists());
}

fn formats() -> Vec<WriteFormat> {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    // Plain DataFusion does not know Hive's word for NULL.
    let text = |header| TextFormat { delimiter: ',', header, null: String::new() };
    let parquet = [Snappy, Gzip, Zstd, Lz4, None].map(WriteFormat::Parquet);
    let lines = [None, Gzip, Zstd];
    parquet
        .into_iter()
        .chain(lines.map(|compression| WriteFormat::Text(text(compression == None), compression)))
        .chain(lines.map(WriteFormat::Json))
        .collect()
}

#[test]
fn every_format_gives_back_the_rows_of_the_query() {
    block_on(async {
        let wanted = oracle(trap_data::folder(), &[], SQL).await.expect("rows");
        let schema = wanted[0].schema();
        for format in formats() {
            for workers in [0, 3] {
                for partition_by in [vec![], vec!["part".to_string()], vec!["day".into(), "part".into()]] {
                    let folder = folder();
                    let spec =
                        WriteSpec { format: format.clone(), partition_by: partition_by.clone(), ..spec(folder.path(), &COLUMNS) };
                    let what = format!("{format:?} {workers} workers {partition_by:?}");
                    let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
                    let outcome = cluster.write(SQL, &spec).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(outcome.receipt.mode, if workers > 0 { "workers" } else { "local" }, "{what}");
                    check(&folder, &outcome);
                    let got = read(folder.path(), &spec, &schema).await;
                    if partition_by.is_empty() {
                        assert_eq!(difference(&wanted, &got, false), None, "{what}");
                    } else {
                        assert_eq!(expected(got), expected(wanted.clone()), "{what}");
                        // All rows of a value are in one place.
                        let folders: std::collections::BTreeSet<_> =
                            outcome.files.iter().map(|file| format!("{:?}", file.partition_values)).collect();
                        assert_eq!(outcome.files.len(), folders.len(), "{what}");
                    }
                }
            }
        }
    });
}

/// Row counts per task count, an order that does not matter, a limit that does, an aggregate, no rows, a subquery.
#[test]
fn queries_of_all_shapes_with_several_task_counts() {
    let queries = [
        ("select id, k from fact order by k desc, id", "workers"),
        ("select id, k from fact order by id limit 17", "workers"),
        ("select k, count(*) n from fact group by k", "workers"),
        ("select a.id, b.id from fact a join fact b on a.id = b.k", "workers"),
        ("select id, k from fact where id < 0", "local"),
        ("select id, (select max(dk) from dim) m from fact", "workers"),
        ("select 1, 'x'", "local"),
        ("values (1, 'a'), (2, null)", "local"),
        ("select id, row_number() over (partition by k order by id) from fact", "workers"),
    ];
    block_on(async move {
        for workers in [0, 1, 4, 16] {
            for (sql, mode) in queries {
                let folder = folder();
                let spec = spec(folder.path(), &["a", "b"]);
                let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
                let outcome = cluster.write(sql, &spec).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
                check(&folder, &outcome);
                if workers > 1 {
                    assert_eq!(outcome.receipt.mode, mode, "{sql}: {:?}", outcome.receipt.local_reason);
                }
                let wanted = oracle(trap_data::folder(), &[], sql).await.expect("rows");
                let count: usize = wanted.iter().map(RecordBatch::num_rows).sum();
                assert_eq!(outcome.rows, count as u64, "{sql}");
                if count > 0 {
                    let got = read(folder.path(), &spec, &wanted[0].schema()).await;
                    assert_eq!(difference(&wanted, &got, false), None, "{sql} with {workers} workers");
                } else {
                    assert_eq!((outcome.files.len(), files_below(folder.path()).len()), (0, 0));
                }
                assert_eq!(cluster.left_in_exchange(), Vec::<String>::new());
            }
        }
    });
}

#[test]
fn faults_in_every_stage_change_nothing() {
    block_on(async {
        let wanted = oracle(trap_data::folder(), &[], SQL).await.expect("rows");
        for fault in [Fault::LoseAnswer, Fault::DeliverTwice, Fault::Delay] {
            for partition_by in [vec![], vec!["part".to_string()]] {
                let folder = folder();
                let settings = Settings { retry_budget_base: 1_000, ..settings(&folder, 4) };
                let mut counter = None;
                let cluster = Cluster::with_faults(settings, trap_data::folder(), |invoker| {
                    let faulty = FaultyInvoker::new(invoker, fault);
                    counter = Some(faulty.counter());
                    faulty
                });
                let spec = WriteSpec { partition_by, ..spec(folder.path(), &COLUMNS) };
                let outcome = cluster.write(SQL, &spec).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
                check(&folder, &outcome);
                let got = read(folder.path(), &spec, &wanted[0].schema()).await;
                assert_eq!(expected(got), expected(wanted.clone()), "{fault:?}");
                assert!(counter.map_or(0, |counter| counter()) >= 2, "{fault:?}");
                assert_eq!(cluster.left_in_exchange(), Vec::<String>::new());
            }
        }
    });
}

/// Files of one batch each: every one is ended early, and none is lost.
#[test]
fn files_end_at_their_size_and_when_memory_is_short() {
    block_on(async {
        let sql = "select a.id * 30 + b.dk as n, a.k as k from fact a, dim b where b.dk < 30";
        for (target_file_bytes, memory_bytes, partitioned) in
            [(1, 1 << 30, false), (1 << 40, 1 << 30, false), (1 << 30, 34 << 20, true)]
        {
            for workers in [0, 3] {
                let folder = folder();
                let settings = Settings { memory_bytes, ..settings(&folder, workers) };
                let partition_by = if partitioned { vec!["k".to_string()] } else { vec![] };
                let spec = WriteSpec { target_file_bytes, partition_by, ..spec(folder.path(), &["n", "k"]) };
                let cluster = Cluster::new(settings, trap_data::folder());
                let outcome = cluster.write(sql, &spec).await.expect("a write");
                check(&folder, &outcome);
                assert_eq!(outcome.rows, 120_000);
                match (target_file_bytes, partitioned) {
                    (1, _) => assert!(outcome.files.len() > 10, "{}", outcome.files.len()),
                    (_, false) => assert!(outcome.files.len() <= 6, "{}", outcome.files.len()),
                    (_, true) => assert!(outcome.files.len() >= 100, "{}", outcome.files.len()),
                }
                let wanted = oracle(trap_data::folder(), &[], sql).await.expect("rows");
                let got = read(folder.path(), &spec, &wanted[0].schema()).await;
                assert_eq!(difference(&wanted, &got, false), None);
            }
        }
    });
}

#[test]
fn the_limit_of_partitions_is_exact() {
    block_on(async {
        for workers in [0, 4] {
            for (count, fits) in [(100, true), (101, false)] {
                let folder = folder();
                let sql = format!("select id, id % {count} as p from fact");
                let spec = WriteSpec { partition_by: vec!["p".into()], ..spec(folder.path(), &["id", "p"]) };
                let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
                match cluster.write(&sql, &spec).await {
                    Ok(outcome) => {
                        assert!(fits);
                        assert_eq!(outcome.files.len(), count);
                        check(&folder, &outcome);
                    }
                    Err(error) => {
                        assert!(!fits && error.message.contains("TOO_MANY_OPEN_PARTITIONS"), "{error}");
                        assert_eq!(files_below(folder.path()), Vec::<String>::new());
                    }
                }
            }
        }
    });
}

#[test]
fn a_failed_query_leaves_nothing() {
    block_on(async {
        for workers in [0, 3] {
            let folder = folder();
            let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
            let spec = WriteSpec { target_file_bytes: 1, ..spec(folder.path(), &["id", "n"]) };
            let error = cluster.write("select id, 1 / (id - 3999) from fact", &spec).await.expect_err("a division by zero");
            assert_eq!(error.kind, ErrorKind::InvalidQuery, "{error}");
            assert_eq!(files_below(folder.path()), Vec::<String>::new());
            assert_eq!(cluster.left_in_exchange(), Vec::<String>::new());
        }
    });
}

#[test]
fn a_cancelled_write_leaves_nothing() {
    // More rows than any machine writes before it is cancelled.
    let sql = "select a.id, b.id from fact a, fact b, fact c where a.id * b.id <> c.id + 77";
    for workers in [0, 3] {
        for pause_ms in [20, 150, 600] {
            block_on(async move {
                let folder = folder();
                let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
                let spec = WriteSpec { target_file_bytes: 200_000, ..spec(folder.path(), &["a", "b"]) };
                let control = QueryControl::new();
                let cancel = control.cancel.clone();
                let later = async {
                    engine::clock::sleep(Duration::from_millis(pause_ms)).await;
                    cancel.cancel();
                };
                let (outcome, ()) = tokio::join!(cluster.write_with(sql, &spec, &control), later);
                let error = outcome.map(|outcome| outcome.rows).expect_err("a cancel");
                assert_eq!(error.kind, ErrorKind::Cancelled, "{error}");
                assert_eq!(files_below(folder.path()), Vec::<String>::new(), "{workers} workers, {pause_ms} ms");
            });
        }
    }
}

/// Whoever awaits the write goes away at some moment: nothing is visible or all is, and a recovery leaves no orphan.
#[test]
fn a_dropped_write_is_whole_or_nothing_after_recovery() {
    block_on(async {
        let (mut whole, mut nothing) = (0, 0);
        for workers in [0, 3] {
            for polls in [1_u64, 3, 10, 30, 60, 100, 200, 400, 1_000] {
                let folder = folder();
                let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
                let spec = WriteSpec { partition_by: vec!["k".into()], ..spec(folder.path(), &["id", "k"]) };
                let write = cluster.write("select id, k from fact", &spec);
                drop(tokio::time::timeout(Duration::from_millis(polls), write).await);
                // What was dropped may still be at work for a moment.
                engine::clock::sleep(Duration::from_millis(300)).await;
                recover_now(&folder, &cluster).await;
                // That it was under way is shown for some minutes.
                let mut seen = files_below(folder.path());
                seen.retain(|file| !file.contains("/_owlet_staging/open/"));
                let visible = seen.iter().filter(|file| !file.contains("_owlet_staging")).count();
                assert!(visible == 0 || visible == 100, "{polls} ms: {visible} files");
                assert!(visible == 0 || seen.len() == visible, "{seen:?}");
                if visible == 0 { nothing += 1 } else { whole += 1 }
            }
        }
        assert!(whole > 0 && nothing > 0, "{whole} {nothing}");
    });
}

async fn recover_now(folder: &TempDir, cluster: &Cluster) {
    let location = format!("file://{}/", folder.path().display());
    cluster.coordinator.recover_writes(&cluster.workspace, &location, &QueryControl::new()).await.expect("a recovery");
}

#[test]
fn two_writes_at_once_both_land() {
    block_on(async {
        for workers in [0, 3] {
            let folder = folder();
            let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
            let spec = WriteSpec { partition_by: vec!["c".into()], ..spec(folder.path(), &["id", "c"]) };
            let sql = "select id, c from fact";
            let (a, b, c) = tokio::join!(cluster.write(sql, &spec), cluster.write(sql, &spec), cluster.write(sql, &spec));
            let files: usize = [a, b, c].into_iter().map(|outcome| outcome.expect("a write").files.len()).sum();
            assert_eq!((files, files_below(folder.path()).len()), (21, 21));
        }
    });
}

#[test]
fn of_writes_at_once_to_a_folder_that_must_be_empty_at_most_one_lands() {
    block_on(async {
        for workers in [0, 3] {
            let folder = folder();
            let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
            let spec = WriteSpec { must_be_empty: true, ..spec(folder.path(), &["id", "c"]) };
            let sql = "select id, c from fact";
            let (a, b, c) = tokio::join!(cluster.write(sql, &spec), cluster.write(sql, &spec), cluster.write(sql, &spec));
            let (landed, failed): (Vec<_>, Vec<_>) = [a, b, c].into_iter().partition(Result::is_ok);
            assert!(landed.len() <= 1, "{} landed", landed.len());
            for outcome in failed {
                let error = outcome.map(|_| ()).expect_err("it did not land");
                assert!(error.message.contains("HIVE_PATH_ALREADY_EXISTS"), "{error}");
            }
            let files: usize = landed.into_iter().flatten().map(|outcome| outcome.files.len()).sum();
            assert_eq!(files_below(folder.path()).len(), files);
            // Claims end with their writes.
            let again = cluster.write(sql, &spec).await;
            assert_eq!(again.is_ok(), files == 0, "{:?}", again.map(|outcome| outcome.files));
        }
    });
}

#[test]
fn a_folder_that_must_be_empty_is_looked_at_first() {
    block_on(async {
        let folder = folder();
        let cluster = Cluster::new(settings(&folder, 2), trap_data::folder());
        let spec = WriteSpec { must_be_empty: true, ..spec(folder.path(), &["id"]) };
        std::fs::write(folder.path().join("_hidden"), "x").expect("a file");
        cluster.write("select id from fact", &spec).await.expect("a write");
        let before = files_below(folder.path());
        let error = cluster.write("select id from fact", &spec).await.map(|_| ()).expect_err("it holds files");
        assert!(error.message.contains("HIVE_PATH_ALREADY_EXISTS"), "{error}");
        assert_eq!(files_below(folder.path()), before);
        cluster.write("select id from fact", &WriteSpec { must_be_empty: false, ..spec }).await.expect("an insert");
    });
}

#[test]
fn what_a_format_cannot_hold_is_refused_before_anything_is_written() {
    let text = || WriteFormat::Text(TextFormat { delimiter: ',', ..TextFormat::default() }, Compression::None);
    let parquet = || WriteFormat::Parquet(Compression::Snappy);
    let json = || WriteFormat::Json(Compression::None);
    let cases = [
        ("select null as c from fact", parquet(), "Column type is unknown"),
        ("select [id] as c from fact", text(), "PARQUET or JSON"),
        ("select id, k from fact", parquet(), "MISMATCHED_COLUMN_COUNT"),
        ("select interval '1' day as c from fact", json(), "interval"),
        ("select timestamp '2024-01-01' at time zone 'UTC' as c from fact", parquet(), "time zone"),
        ("select arrow_cast(id, 'Float16') as c from fact", parquet(), "no such type"),
        ("explain select id from fact", parquet(), "only the rows of a query"),
    ];
    block_on(async move {
        let folder = folder();
        let cluster = Cluster::new(settings(&folder, 3), trap_data::folder());
        for (sql, format, why) in cases {
            let spec = WriteSpec { format, ..spec(folder.path(), &["c"]) };
            let error = cluster.write(sql, &spec).await.map(|outcome| outcome.rows).expect_err(sql);
            assert!(error.kind == ErrorKind::InvalidQuery && error.message.contains(why), "{sql}: {error}");
            assert_eq!(files_below(folder.path()), Vec::<String>::new());
        }
        // Known from the values only.
        for (sql, format, why) in [
            ("select 'a,b' || dn as c from dim", text(), "delimiter"),
            ("select case when dk = 7 then '\\N' else dn end as c from dim", text(), "NULL"),
            ("select x / 0 as c from fact", json(), "NaN"),
            ("select arrow_cast('18446744073709547617', 'UInt64') as c from fact", parquet(), "Int64"),
        ] {
            let spec = WriteSpec { format, ..spec(folder.path(), &["c"]) };
            let error = cluster.write(sql, &spec).await.map(|outcome| outcome.rows).expect_err(sql);
            assert!(error.message.contains(why), "{sql}: {error}");
            assert_eq!(files_below(folder.path()), Vec::<String>::new());
        }
    });
}

/// Nested types, timestamps, bytes and small integers, as the files' own schema says and as they are read.
#[test]
fn parquet_files_say_their_types_as_hive_reads_them() {
    let sql = "select array[id, null] as l, cast(row(id, 't') as row(a bigint, b varchar)) as s, map(array['k'], array[id]) as m, \
        timestamp '2024-02-03 04:05:06.789' as t, cast(id as smallint) as i, x'00ff' as b, arrow_cast(id, 'UInt64') as n, \
        arrow_cast('v', 'Dictionary(Int32, Utf8)') as d from fact";
    block_on(async move {
        for workers in [0, 3] {
            let folder = folder();
            let spec = spec(folder.path(), &["l", "s", "m", "t", "i", "b", "n", "d"]);
            let cluster = Cluster::new(settings(&folder, workers), trap_data::folder());
            let outcome = cluster.write(sql, &spec).await.expect("a write");
            check(&folder, &outcome);
            let wanted = oracle(trap_data::folder(), &[], sql).await.expect("rows");
            let got = read(folder.path(), &spec, &wanted[0].schema()).await;
            assert_eq!(difference(&wanted, &got, false), None, "{workers} workers");
            let path = outcome.files[0].url.trim_start_matches("file://").to_string();
            let file = std::fs::File::open(path).expect("a file");
            let reader = parquet::file::serialized_reader::SerializedFileReader::new(file).expect("a footer");
            let metadata = parquet::file::reader::FileReader::metadata(&reader);
            let mut text = Vec::new();
            parquet::schema::printer::print_schema(&mut text, metadata.file_metadata().schema());
            insta::assert_snapshot!("parquet_schema", String::from_utf8_lossy(&text));
            assert!(metadata.file_metadata().key_value_metadata().is_none_or(|pairs| pairs.is_empty()));
        }
    });
}
