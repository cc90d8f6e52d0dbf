//! A large result of an asynchronous query: how fast it is written, how much memory that takes, and whether its pages have all rows.

use crate::stats::machine;
use crate::{AnyError, plan};
use ::tests::functions::{Answer, COORDINATOR, Functions};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use clap::{Args as ClapArgs, ValueEnum};
use emulator::InvocationKind;
use engine::clock::Stopwatch;
use http::Method;
use serde_json::json;

/// Bytes of a row of [`sql`], on average, in Arrow and nearly so in CSV.
const ROW_BYTES: f64 = 194.0;
/// Rows of a block: the most that `sequence` gives.
const BLOCK_ROWS: u64 = 10_000;

/// What to produce.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Size of the result, in GB
    #[arg(long, default_value_t = 1.0)]
    gb: f64,
    /// Formats of the result
    #[arg(long, value_delimiter = ',', default_values = ["arrow", "csv"])]
    format: Vec<Format>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Arrow,
    Csv,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Arrow => "arrow",
            Self::Csv => "csv",
        }
    }

    fn accept(self) -> &'static str {
        match self {
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Csv => "text/csv",
        }
    }
}

/// `blocks` times [`BLOCK_ROWS`] rows whose texts follow from their numbers.
fn sql(blocks: u64) -> String {
    format!(
        "SELECT n, array_join(repeat(cast(n * 7919 % 1000003 AS VARCHAR), 10), '') AS a, \
         array_join(repeat(cast(n * 6007 % 1000003 AS VARCHAR), 20), '') AS b \
         FROM (SELECT {BLOCK_ROWS} * x + y AS n \
         FROM UNNEST(sequence(0, {blocks} - 1)) AS blocks(x) CROSS JOIN UNNEST(sequence(1, {BLOCK_ROWS})) AS numbers(y)) AS t"
    )
}

fn texts(n: i64) -> (String, String) {
    ((n * 7_919 % 1_000_003).to_string().repeat(10), (n * 6_007 % 1_000_003).to_string().repeat(20))
}

/// Produces the result in each format and reads it back.
pub(crate) async fn run(args: Args) -> Result<(), AnyError> {
    let blocks = (args.gb * 1e9 / ROW_BYTES / BLOCK_ROWS as f64) as u64;
    let rows = blocks * BLOCK_ROWS;
    eprintln!("a result of {rows} rows; {}", machine());
    for format in args.format {
        let scratch = tempfile::tempdir()?;
        let functions = Functions::start(plan(2)?, scratch.path()).await;
        let watch = Stopwatch::start();
        let request = json!({ "sql": sql(blocks), "format": format.name(), "async": true });
        let submitted = functions.submit(request).await.json();
        let id = submitted["query"]["query_id"].as_str().ok_or_else(|| format!("not accepted: {submitted}"))?.to_owned();
        let record = functions.wait_for(&id).await;
        let seconds = watch.elapsed().as_secs_f64();
        let result = &record["result"];
        let bytes = result["bytes"].as_u64().ok_or_else(|| format!("no result: {record}"))?;
        let ledger = functions.ledger();
        let runs = ledger.entries.iter().filter(|entry| entry.function == COORDINATOR && entry.kind == InvocationKind::Event);
        let peak_mb = runs.map(|entry| entry.max_memory_mb).max().unwrap_or_default();
        let name = format.name();
        eprintln!(
            "{name}: {:.2} GB written in {seconds:.1} s ({:.0} MB/s) in {} pages; peak memory of the coordinator {peak_mb} MB",
            bytes as f64 / 1e9,
            bytes as f64 / 1e6 / seconds,
            result["pages"],
        );
        let watch = Stopwatch::start();
        let pages = read_back(&functions, &id, format, rows).await?;
        let seconds = watch.elapsed().as_secs_f64();
        eprintln!("{name}: {pages} pages read back in {seconds:.1} s, all {rows} rows are there once and right");
        functions.emulator.shutdown().await;
    }
    Ok(())
}

/// Reads all pages and checks their rows; the number of pages.
async fn read_back(functions: &Functions, id: &str, format: Format, rows: u64) -> Result<u64, AnyError> {
    let mut seen = Seen { rows: vec![false; usize::try_from(rows)?], count: 0 };
    let mut page = 0;
    loop {
        let path = format!("/v1/queries/{id}/result?page={page}");
        let answer = functions.send(Method::GET, &path, &[("accept", format.accept())], "").await;
        if answer.status != 200 {
            return Err(format!("page {page}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
        }
        match format {
            Format::Arrow => answer.batches().iter().try_for_each(|batch| seen.batch(batch))?,
            Format::Csv => seen.csv(&answer)?,
        }
        page += 1;
        if !answer.headers.contains_key("x-owlet-next-page") {
            break;
        }
    }
    if seen.count != rows {
        return Err(format!("{} rows instead of {rows}", seen.count).into());
    }
    Ok(page)
}

/// Which rows were read.
struct Seen {
    rows: Vec<bool>,
    count: u64,
}

impl Seen {
    fn row(&mut self, n: i64, a: &str, b: &str) -> Result<(), AnyError> {
        let wanted = texts(n);
        if (a, b) != (wanted.0.as_str(), wanted.1.as_str()) {
            return Err(format!("row {n} is wrong: {a}, {b}").into());
        }
        match usize::try_from(n - 1).ok().and_then(|index| self.rows.get_mut(index)) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(format!("row {n} is there twice, or should not be there").into()),
        }
        self.count += 1;
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<(), AnyError> {
        let numbers = batch.column(0).as_primitive_opt::<Int64Type>().ok_or("n is not a BIGINT")?;
        let text = |column: usize| batch.column(column).as_string_opt::<i32>().ok_or("a text is not Utf8");
        let (a, b) = (text(1)?, text(2)?);
        (0..batch.num_rows()).try_for_each(|row| self.row(numbers.value(row), a.value(row), b.value(row)))
    }

    fn csv(&mut self, answer: &Answer) -> Result<(), AnyError> {
        let mut lines = std::str::from_utf8(&answer.body)?.lines();
        if lines.next() != Some("n,a,b") {
            return Err("a page without its header line".into());
        }
        lines.try_for_each(|line| {
            let mut fields = line.split(',');
            let (n, a, b) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""), fields.next().unwrap_or(""));
            self.row(n.parse()?, a, b)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_count_once_and_only_when_they_are_right() -> Result<(), AnyError> {
        let mut seen = Seen { rows: vec![false; 2], count: 0 };
        let (a, b) = texts(2);
        seen.row(2, &a, &b)?;
        assert!(seen.row(2, &a, &b).is_err() && seen.row(1, &a, &b).is_err() && seen.row(3, "", "").is_err());
        assert_eq!(seen.count, 1);
        Ok(())
    }
}
