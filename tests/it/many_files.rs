//! A catalog's table of many Parquet files that differ in spelling, types and columns: planning reads few footers, and rows are right.

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use engine::ErrorKind;
use engine::columns::PLANNED_FOOTERS;
use engine::settings::Settings;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tests::cluster::{Cluster, block_on, small_data_settings};
use tests::compare::rows;
use tests::trap_data::write_parquet;

/// Requests for one footer: its end, the rest of a long one, and the page index.
const REQUESTS_PER_FOOTER: u64 = 3;
/// Longest planning of any number of files, in milliseconds.
const MAX_PLANNING_MS: u64 = 60_000;
/// Names of one file: more than a file system gives may be wanted.
const LINKS_PER_FILE: usize = 10_000;

/// The full form is OWLET_MANY_FILES=100000.
fn count() -> usize {
    std::env::var("OWLET_MANY_FILES").ok().and_then(|value| value.parse().ok()).unwrap_or(3_000)
}

/// Three files that are no two alike: the columns `id`, `s` and `more` of the table, where they have them.
fn kinds() -> [RecordBatch; 3] {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let small: ArrayRef = Arc::new(Int32Array::from(vec![2]));
    let third: ArrayRef = Arc::new(Int64Array::from(vec![3]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"c"]));
    [vec![("Id", id), ("s", text)], vec![("MORE", Arc::clone(&small)), ("ID", small)], vec![("S", bytes), ("id", third)]]
        .map(|columns| RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, v)| (n, v, true))).expect("a batch"))
}

/// Makes `count` files in `folder`, the kinds in turn.
fn fill(folder: &Path, count: usize) {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut originals: Vec<PathBuf> = Vec::new();
    for file in 0..count {
        let path = folder.join(format!("part-{file:06}.parquet"));
        let kind = file % 3;
        if file / 3 % LINKS_PER_FILE == 0 {
            write_parquet(&path, std::slice::from_ref(&kinds()[kind]), 10);
            originals.insert(kind, path);
        } else {
            std::fs::hard_link(&originals[kind], &path).expect("a link");
        }
    }
}

/// A cluster whose requests are too small for the names of so many files.
fn cluster(workers: usize, root: &Path) -> Cluster {
    let settings = Settings { max_request_bytes: 100_000, inline_limit_bytes: 50_000, ..small_data_settings(workers) };
    Cluster::with_catalog(settings, &root.join("no-tables"), root)
}

async fn lines(cluster: &Cluster, sql: &str) -> Vec<String> {
    let answer = cluster.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows(&answer.batches).iter().map(|row| row.join("|")).collect()
}

#[test]
fn a_table_of_many_files() {
    let root = tempfile::tempdir().expect("a folder");
    let count = count();
    fill(&root.path().join("bucket/m"), count);
    let place = format!("file://{}/bucket/m", std::fs::canonicalize(root.path()).expect("a folder").display());
    let make =
        |name: &str, columns: &str| format!("CREATE EXTERNAL TABLE {name} ({columns}) STORED AS PARQUET LOCATION '{place}'");
    let (right, wrong) = (make("m", "id bigint, s string, more int"), make("wrong", "id bigint, more string"));
    for workers in [0, 1, 4] {
        let cluster = cluster(workers, root.path());
        let (right, wrong) = (right.clone(), wrong.clone());
        block_on(async move {
            if workers == 0 {
                lines(&cluster, &right).await;
                lines(&cluster, &wrong).await;
            }
            planning_reads_few_footers_and_the_next_one_none(&cluster).await;
            rows_are_right(&cluster, count).await;
            let error = cluster.query("SELECT max(more) FROM wrong").await.map(|answer| rows(&answer.batches));
            let error = error.expect_err("text in the table, a number in the file");
            assert_eq!(error.kind, ErrorKind::InvalidQuery, "{error}");
            for part in ["HIVE_BAD_DATA", "column more (string)", "table default.wrong", "part-", "integer"] {
                assert!(error.message.contains(part), "{part}: {error}");
            }
            assert!(cluster.left_in_exchange().is_empty());
        });
    }
}

async fn planning_reads_few_footers_and_the_next_one_none(cluster: &Cluster) {
    let bound = PLANNED_FOOTERS as u64 * REQUESTS_PER_FOOTER;
    let explain = "EXPLAIN SELECT s, sum(id) FROM m WHERE id > 1 GROUP BY s";
    for wanted in [bound, 0] {
        let receipt = cluster.query(explain).await.expect("a plan").receipt;
        assert!(receipt.requests.gets <= wanted, "{} requests, {wanted} at the most", receipt.requests.gets);
        assert!(receipt.requests.heads == 0 && receipt.planning_ms < MAX_PLANNING_MS, "{receipt:?}");
    }
}

async fn rows_are_right(cluster: &Cluster, count: usize) {
    let (ones, twos, threes) = (count.div_ceil(3), (count + 1) / 3, count / 3);
    for (sql, wanted) in [
        ("SELECT count(*), sum(id), count(s), sum(more) FROM m", {
            let sum = ones + 2 * twos + 3 * threes;
            vec![format!("{count}|{sum}|{}|{}", ones + threes, 2 * twos)]
        }),
        ("SELECT count(*) FROM m", vec![count.to_string()]),
        ("SELECT id, more FROM m ORDER BY id DESC, more LIMIT 1", vec!["3|NULL".into()]),
        ("SELECT id FROM m WHERE more > 1 ORDER BY id LIMIT 2", vec!["2".into(), "2".into()]),
        ("SELECT s, count(*) FROM m WHERE id > 1 GROUP BY s ORDER BY s", vec![format!("c|{threes}"), format!("NULL|{twos}")]),
        ("SELECT count(id) FROM m WHERE s = 'a'", vec![ones.to_string()]),
    ] {
        assert_eq!(lines(cluster, sql).await, wanted, "{sql}");
    }
}
