//! Athena's SQL: 597 statements of all kinds with what Athena answers, on the coordinator alone and on workers.
//!
//! `athena_sql.tsv` has one line for each statement: id, SQL, outcome, what is expected, and whose answer that is.
//!
//! - `rows`: alternatives separated by ` || `. Each is either JSON rows, or predicates separated by `; `.
//!   - In JSON, integers have no point and doubles have one (compared to a relative 1e-9; `"NaN"`, `"Infinity"`); decimals,
//!     dates, times and intervals are strings as SQL writes them, fractions of a second without zeros at the end, timestamps
//!     with a zone as local time and zone; binary is `"0x4142"`. Arrays are arrays, a map is an array of `[key, value]` in any
//!     order, a row is an object, whose fields are `"0"`, `"1"`, … where they have no name.
//!   - Without `ORDER BY` at the top of the statement, rows are compared as multisets.
//!   - `unordered: ROWS` leaves the order of elements in arrays open, `subset: ROWS` allows rows to be missing, `among: ROWS`
//!     also to repeat, `includes: ROWS` allows others; `fields: ROWS` compares lines of text fields; `contains: TEXT`;
//!     `types: A,B|C` are the columns' types; `range: A..B` holds for every number; `rows=N`, `rows>=N`.
//! - `error`: Athena fails the statement; a part of the message, alternatives separated by `|`.
//! - `refused`: the statement is refused with a message that says why, written alike.
//!
//! Whose answer: `athena`; `refusal` where Athena would answer and Owlet refuses; `extension` where Athena has no such
//! statement or function, so that an error is as good as the rows. Lines `fixture` prepare the statements below them.
//!
//! A clear error in place of rows is a miss, and some are allowed; other rows than the expected ones never are.
//! `OWLET_ATHENA_SQL=report` prints for each statement what it gave.

mod expect;
mod value;

use engine::ErrorKind;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tests::cluster::{Answer, Cluster, block_on, small_data_settings};
use tests::trap_data::write_parquet;
use tokio::time::timeout;

/// Statements that must do what Athena does. At most 57 of the 597 may be refused.
const MIN_AS_ATHENA: usize = 540;
const STATEMENTS: usize = 597;
/// Longest wait for one statement.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line of the table.
pub(crate) struct Case {
    pub(crate) id: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) outcome: &'static str,
    expected: &'static str,
    pub(crate) kind: &'static str,
}

/// What came of a statement.
pub(crate) enum Found {
    /// What was expected.
    AsExpected,
    /// An extension that is not there: an error, as in Athena.
    NoExtension,
    /// A clear error in place of rows, or another error than the expected one.
    Refused(String),
    /// A defect: an internal error, a panic, or no end.
    Broken(String),
    /// Rows that are not those of Athena.
    Different(String),
}

fn cases() -> Vec<Case> {
    let lines = include_str!("athena_sql.tsv").lines().skip(1);
    lines
        .map(|line| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_else(|| panic!("five fields: {line}"));
            Case { id: next(), sql: next(), outcome: next(), expected: next(), kind: next() }
        })
        .collect()
}

/// A cluster over the table `t`, and the folder that stands for the bucket `s3://b/`.
struct World {
    cluster: Cluster,
    folder: TempDir,
}

impl World {
    fn new(workers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for table in ["data/t", "bucket/t", "bucket/public/t", "bucket/kept/t"] {
            write_table(&folder.path().join(table));
        }
        std::fs::create_dir_all(folder.path().join("bucket/partitioned")).expect("a folder");
        let cluster = Cluster::with_catalog(small_data_settings(workers), &folder.path().join("data"), folder.path());
        Self { cluster, folder }
    }

    /// `s3://b/`, as the statements write it, is a folder here.
    fn local(&self, text: &str) -> String {
        text.replace("s3://b/", &format!("file://{}/bucket/", self.folder.path().display()))
    }

    async fn run(&self, case: &Case) -> Found {
        if case.outcome == "clean" {
            let place = self.folder.path().join(case.sql.replace("s3://b/", "bucket/"));
            // It is there only if the statements before made it.
            let _ = std::fs::remove_dir_all(place);
            return Found::AsExpected;
        }
        let sql = self.local(case.sql);
        match timeout(PATIENCE, AssertUnwindSafe(self.cluster.query(&sql)).catch_unwind()).await {
            Ok(Ok(answer)) => judge(case, answer),
            Ok(Err(_)) => Found::Broken("a panic".into()),
            Err(_) => Found::Broken(format!("no end after {PATIENCE:?}")),
        }
    }
}

fn judge(case: &Case, answer: engine::Result<Answer>) -> Found {
    match (case.outcome, answer) {
        ("rows", Ok(answer)) => {
            let ordered = is_ordered(case.sql);
            expect::difference(case.expected, ordered, &answer.batches).map_or(Found::AsExpected, Found::Different)
        }
        (_, Ok(answer)) => Found::Different(value::print(&value::rows(&answer.batches))),
        (_, Err(error)) if error.kind == ErrorKind::Internal => Found::Broken(error.to_string()),
        ("rows", Err(_)) if case.kind == "extension" => Found::NoExtension,
        ("rows", Err(error)) => Found::Refused(error.to_string()),
        (_, Err(error)) => {
            let message = error.to_string().to_lowercase();
            let says_why = case.expected.split('|').any(|part| message.contains(&part.to_lowercase()));
            if says_why { Found::AsExpected } else { Found::Refused(error.to_string()) }
        }
    }
}

/// Whether the statement fixes the order of its rows: `ORDER BY` outside all parentheses.
fn is_ordered(sql: &str) -> bool {
    let upper = sql.to_uppercase();
    upper.match_indices("ORDER BY").any(|(position, _)| {
        let before = &upper[..position];
        before.matches('(').count() == before.matches(')').count()
    })
}

/// The table `t` in two files of two row groups each: every row can be another task's.
fn write_table(folder: &Path) {
    use arrow::array::{Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    std::fs::create_dir_all(folder).expect("a folder");
    let lists = vec![Some(vec![Some(1), Some(2), Some(3)]), Some(vec![Some(4), Some(5)]), Some(vec![]), None];
    let moments = vec![Some(1_705_314_030_000), Some(1_708_426_800_000), Some(1_711_929_599_000), None];
    let columns: Vec<(&str, arrow::array::ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4])), true),
        ("name", Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("c"), None])), true),
        ("grp", Arc::new(StringArray::from(vec!["x", "x", "y", "y"])), true),
        ("val", Arc::new(Float64Array::from(vec![Some(1.5), Some(2.5), None, Some(4.5)])), true),
        ("ts", Arc::new(TimestampMillisecondArray::from(moments)), true),
        ("arr", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    for part in 0..2 {
        write_parquet(&folder.join(format!("p{part}.parquet")), &[batch.slice(part * 2, 2)], 1);
    }
}

/// Runs all statements in order on one cluster.
pub(crate) async fn all_statements(workers: usize) -> Vec<(Case, Found)> {
    let world = World::new(workers);
    let mut all = Vec::new();
    for case in cases() {
        let found = world.run(&case).await;
        all.push((case, found));
    }
    all
}

/// What is wrong with a statement, for people.
fn miss(case: &Case, found: &Found) -> Option<String> {
    let what = match found {
        Found::AsExpected | Found::NoExtension => return None,
        Found::Refused(message) => format!("refused: {message}"),
        Found::Broken(message) => format!("BROKEN: {message}"),
        Found::Different(got) => format!("DIFFERENT: {got}"),
    };
    let Case { id, sql, outcome, expected, .. } = case;
    Some(format!("{id} {sql}\n    expected {outcome} {expected}\n    {what}"))
}

fn check(workers: usize) {
    let all = block_on(all_statements(workers));
    let report = std::env::var("OWLET_ATHENA_SQL").is_ok_and(|value| value == "report");
    let (mut as_athena, mut refused, mut different) = (0, 0, 0);
    for (case, found) in &all {
        match miss(case, found) {
            Some(miss) => eprintln!("{miss}"),
            None if report => eprintln!("{} {}\n    as expected: {} {}", case.id, case.sql, case.outcome, case.expected),
            None => {}
        }
        match (found, case.kind) {
            (_, "fixture") => {}
            (Found::AsExpected, "refusal") => refused += 1,
            (Found::AsExpected | Found::NoExtension, _) => as_athena += 1,
            (Found::Different(_), _) => different += 1,
            (Found::Refused(_) | Found::Broken(_), _) => {}
        }
    }
    eprintln!("{workers} workers: {as_athena} of {STATEMENTS} as Athena, {refused} refused, {different} different");
    assert_eq!(different, 0, "another answer than Athena's is worse than none");
    assert!(as_athena >= MIN_AS_ATHENA, "{as_athena} statements do what Athena does");
}

#[test]
fn every_statement_without_workers() {
    check(0);
}

#[test]
fn every_statement_on_workers() {
    check(3);
}

#[test]
fn the_table_of_statements_is_whole() {
    let cases = cases();
    let statements: Vec<&Case> = cases.iter().filter(|case| case.kind != "fixture").collect();
    assert_eq!(statements.len(), STATEMENTS);
    let refusals = statements.iter().filter(|case| case.kind == "refusal").count();
    assert!(refusals <= STATEMENTS - MIN_AS_ATHENA, "{refusals} refusals");
    for case in statements {
        assert!(["athena", "refusal", "extension"].contains(&case.kind), "{}", case.id);
        assert!(["rows", "error", "refused"].contains(&case.outcome), "{}", case.id);
        assert!(case.outcome == "rows" || !case.expected.is_empty(), "{}", case.id);
        // Reads the notation; nothing can be both in and out of no rows.
        if case.outcome == "rows" {
            let _ = expect::difference(case.expected, false, &[]);
        }
    }
}

/// A broken comparison would make all of the above worthless.
#[test]
fn the_comparison_sees_differences() {
    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
    use std::sync::Arc;

    let columns: [(&str, ArrayRef); 2] =
        [("i", Arc::new(Int64Array::from(vec![1, 2]))), ("f", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), None])))];
    let batch = [RecordBatch::try_from_iter(columns).expect("a batch")];
    let same = |expected: &str, ordered: bool| expect::difference(expected, ordered, &batch).is_none();
    assert!(same("[[1, 0.3], [2, null]]", true) && same("[[2, null], [1, 0.3]]", false));
    assert!(same("subset: [[1, 0.3], [2, null], [3, null]]; rows=2", false) && same("[] || types: bigint,double", false));
    for other in [
        "[[1, 0.30001], [2, null]]",
        "[[1.0, 0.3], [2, null]]",
        "[[1, 0.3]]",
        "[[1, 0.3], [1, 0.3]]",
        "[[\"1\", 0.3], [2, null]]",
        "includes: [[3, null]]",
        "types: integer,double",
        "range: 0..1",
    ] {
        assert!(!same(other, false), "{other}");
    }
    assert!(!same("[[2, null], [1, 0.3]]", true));
}
