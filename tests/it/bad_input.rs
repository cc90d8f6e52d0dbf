//! Input that is wrong, damaged, deep or huge: a clear error or the right answer, never a panic, abort or hang.

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use engine::ErrorKind;
use engine::settings::Settings;
use std::path::Path;
use std::sync::Arc;
use tests::cluster::{Cluster, block_on, small_data_settings};
use tests::compare::rows;
use tests::trap_data::write_parquet;

fn column(name: &str, array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, array, true)]).expect("a batch")
}

fn ints(range: std::ops::Range<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(range))
}

/// Both ways to run: one process, and workers.
fn clusters(data: &Path) -> [Cluster; 2] {
    [0, 3].map(|workers| Cluster::new(small_data_settings(workers), data))
}

fn expect_error(data: &Path, sql: &str, kind: ErrorKind, parts: &[&str]) {
    for cluster in clusters(data) {
        let (sql, parts) = (sql.to_string(), parts.iter().map(|part| (*part).to_string()).collect::<Vec<_>>());
        block_on(async move {
            match cluster.query(&sql).await {
                Ok(answer) => panic!("{sql} gave {:?}", rows(&answer.batches)),
                Err(error) => {
                    assert_eq!(error.kind, kind, "{sql}: {error}");
                    for part in parts {
                        assert!(error.message.contains(&part), "{sql}: '{}' does not say '{part}'", error.message);
                    }
                }
            }
        });
    }
}

fn expect_rows(data: &Path, sql: &str, expected: &[&str]) {
    for cluster in clusters(data) {
        let (sql, expected) = (sql.to_string(), expected.iter().map(|row| (*row).to_string()).collect::<Vec<_>>());
        block_on(async move {
            let answer = cluster.query(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let got: Vec<String> = rows(&answer.batches).into_iter().map(|row| row.join("|")).collect();
            assert_eq!(got, expected, "{sql}");
        });
    }
}

fn table_t() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for part in 0..3 {
        std::fs::create_dir_all(dir.path().join("t")).expect("a folder");
        write_parquet(&dir.path().join(format!("t/{part}.parquet")), &[column("number", ints(part * 10..part * 10 + 10))], 5);
    }
    dir
}

#[test]
fn wrong_names_and_syntax() {
    let dir = table_t();
    let data = dir.path();
    expect_error(
        data,
        "select nmber from t",
        ErrorKind::InvalidQuery,
        &["COLUMN_NOT_FOUND: line 1:8", "nmber", "did you mean 'number'"],
    );
    expect_error(
        data,
        "select *\nfrom tt",
        ErrorKind::InvalidQuery,
        &["TABLE_NOT_FOUND: line 2:6", "default.tt'", "did you mean 't'"],
    );
    expect_error(data, "select * frm t", ErrorKind::InvalidQuery, &["line 1:"]);
    expect_error(data, "select number + from t", ErrorKind::InvalidQuery, &["line 1:"]);
    expect_error(data, "select no_such_function(number) from t", ErrorKind::InvalidQuery, &["no_such_function"]);
    expect_error(data, "select * from '/no/such/file.parquet'", ErrorKind::NotFound, &["/no/such/file.parquet"]);
    expect_error(data, "drop table t", ErrorKind::InvalidQuery, &["NOT_SUPPORTED", "--catalog"]);
}

#[test]
fn wrong_values() {
    let dir = table_t();
    let data = dir.path();
    expect_error(data, "select number / (number - number) from t", ErrorKind::InvalidQuery, &["ivision by zero"]);
    expect_error(data, "select cast('x' || cast(number as varchar) as int) from t", ErrorKind::InvalidQuery, &["Cannot cast 'x"]);
    expect_rows(data, "select count(*) from t where number > 100", &["0"]);
}

#[test]
fn damaged_files_are_named() {
    let dir = table_t();
    let good = std::fs::read(dir.path().join("t/0.parquet")).expect("a file");
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("a file");
    write("truncated.parquet", &good[..good.len() / 2]);
    write("four.parquet", b"PAR1");
    write("text.parquet", b"this is no Parquet file, whatever its name says");
    for name in ["truncated", "four", "text"] {
        expect_error(dir.path(), &format!("select * from {name}"), ErrorKind::Corrupt, &[&format!("{name}.parquet")]);
    }
    // A zero-byte file beside good ones is no data; alone it is nothing.
    write("t/empty.parquet", b"");
    expect_rows(dir.path(), "select count(*), sum(number) from t", &["30|435"]);
    write("zero.parquet", b"");
    expect_error(dir.path(), "select * from zero", ErrorKind::NotFound, &["zero.parquet"]);
}

/// Flipped bits in the footer and the pages: an error or rows, never a panic that escapes.
#[test]
fn flipped_bits_never_panic() {
    let dir = table_t();
    let good = std::fs::read(dir.path().join("t/0.parquet")).expect("a file");
    let cluster = Cluster::new(small_data_settings(2), dir.path());
    let path = dir.path().join("flipped.parquet");
    block_on(async move {
        let mut errors = 0;
        for position in (4..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[position] ^= 0x41;
            std::fs::write(&path, &bad).expect("a file");
            let sql = format!("select sum(number) from '{}'", path.display());
            errors += usize::from(cluster.query(&sql).await.is_err());
        }
        assert!(errors > 10, "only {errors} errors");
    });
}

#[test]
fn schemas_that_differ() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("t");
    std::fs::create_dir_all(&folder).expect("a folder");
    write_parquet(&folder.join("a.parquet"), &[column("v", Arc::new(Int32Array::from(vec![1, 2])))], 10);
    write_parquet(&folder.join("b.parquet"), &[column("v", ints(10..12))], 10);
    expect_rows(dir.path(), "select sum(v) from t", &["24"]);
    write_parquet(&folder.join("c.parquet"), &[column("w", ints(100..101))], 10);
    expect_rows(dir.path(), "select sum(v), sum(w), count(*) from t", &["24|100|5"]);
    write_parquet(&folder.join("d.parquet"), &[column("v", Arc::new(StringArray::from(vec!["x"])))], 10);
    expect_error(dir.path(), "select sum(v) from t", ErrorKind::Corrupt, &["column 'v'", "d.parquet"]);
}

#[test]
fn deep_and_long_statements() {
    let dir = table_t();
    let data = dir.path();
    let chain = |terms: usize, glue: &str| vec!["number"; terms].join(glue);
    expect_rows(data, &format!("select min({}) from t", chain(300, " + ")), &["0"]);
    expect_error(data, &format!("select min({}) from t", chain(2_000, " + ")), ErrorKind::LimitExceeded, &["levels deep"]);
    let ors: Vec<String> = (0..2_000).map(|i| format!("number = {i}")).collect();
    expect_error(data, &format!("select count(*) from t where {}", ors.join(" or ")), ErrorKind::LimitExceeded, &["IN (...)"]);
    let nested = format!("{}number{}", "(".repeat(1_000), ")".repeat(1_000));
    expect_error(data, &format!("select {nested} from t"), ErrorKind::LimitExceeded, &["deep"]);
    let list: Vec<String> = (0..2_000).map(|i| i.to_string()).collect();
    expect_rows(data, &format!("select count(*) from t where number in ({})", list.join(",")), &["30"]);
    expect_error(data, &format!("select '{}'", "x".repeat(262_144)), ErrorKind::LimitExceeded, &["bytes"]);
}

#[test]
fn a_result_too_large_for_memory_names_the_setting() {
    let dir = tempfile::tempdir().expect("a folder");
    write_parquet(&dir.path().join("t.parquet"), &[column("v", ints(0..2_000_000))], 100_000);
    for workers in [0, 2] {
        let settings = Settings { memory_bytes: 32 << 20, ..small_data_settings(workers) };
        let cluster = Cluster::new(settings, dir.path());
        block_on(async move {
            let error =
                cluster.query("select count(*) from (select array_agg(v) from t)").await.map(|answer| rows(&answer.batches));
            let sorted = cluster
                .query("select count(distinct v), max(r) from (select v, row_number() over (order by v % 1000, v) r from t)")
                .await;
            match error {
                Err(error) => assert!(error.kind == ErrorKind::LimitExceeded && error.message.contains("--memory"), "{error}"),
                Ok(rows) => assert_eq!(rows, [["1"]]),
            }
            if let Err(error) = sorted {
                assert!(error.kind == ErrorKind::LimitExceeded && error.message.contains("--memory"), "{error}");
            }
            assert!(cluster.left_in_exchange().is_empty());
        });
    }
}

#[test]
fn many_small_files() {
    // The full form, OWLET_MANY_FILES=100000, takes minutes.
    let count: i64 = std::env::var("OWLET_MANY_FILES").ok().and_then(|value| value.parse().ok()).unwrap_or(1_500);
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("t");
    std::fs::create_dir_all(&folder).expect("a folder");
    for file in 0..count {
        write_parquet(&folder.join(format!("{file}.parquet")), &[column("v", ints(file..file + 1))], 10);
    }
    expect_rows(dir.path(), "select count(*), sum(v) from t", &[&format!("{count}|{}", count * (count - 1) / 2)]);
}

/// The planner looks at all of a tree at each of its levels; 1,000 branches took it minutes.
#[test]
fn long_chains_of_union_are_planned() {
    let branches: Vec<String> = (0..1_000).map(|n| format!("SELECT {n} AS x")).collect();
    let dir = table_t();
    let sql = format!("SELECT count(*), sum(x) FROM ({})", branches.join(" UNION ALL "));
    expect_rows(dir.path(), &sql, &["1000|499500"]);
    let distinct = format!("SELECT count(*), min(x) FROM ({})", branches[..100].join(" UNION ").replace("99", "98"));
    expect_rows(dir.path(), &distinct, &["99|0"]);
}
