//! `owlet bench aws`: what queries take and cost on a server; every figure comes from the client's clock or from a receipt.

mod report;

use crate::args::BenchAwsArgs;
use crate::failure::Failure;
use crate::print::PrintError;
use crate::remote::{Measured, RemoteSession};
use crate::tell::tell;
use crate::tpch::queries::sql;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use engine::Error;
use report::{Figures, Report};
use std::io::{self, Write as _};
use std::path::PathBuf;

/// A query whose scan is a few bytes.
const TINY: &str = "SELECT count(*) FROM nation WHERE n_regionkey = 1";
/// The count of all lineitem rows, which tells the scale.
const ROWS: &str = "SELECT count(*) AS n FROM lineitem";
/// Rows of lineitem at scale 1, within 1 %.
const ROWS_AT_SCALE_1: f64 = 6_000_000.0;
/// Most by which the rows may differ from that.
const TOLERANCE: f64 = 0.01;
/// An aggregation with much arithmetic, a selective scan, and a join.
const QUERIES: [u8; 3] = [1, 6, 12];
/// Tables of these queries.
const TABLES: [&str; 3] = ["nation", "lineitem", "orders"];

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchPlan {
    args: BenchAwsArgs,
    /// Folder of the tables, without a slash at its end; the server's own tables when absent.
    data: Option<String>,
}

impl BenchPlan {
    /// Measures the tables in the folders below `data`, one URL at most.
    ///
    /// # Errors
    /// [`Failure::Usage`] for several, and for a URL that cannot be part of a query.
    pub(crate) fn new(args: BenchAwsArgs, data: Vec<PathBuf>) -> Result<Self, Failure> {
        let data = match data.as_slice() {
            [] => None,
            [one] => Some(one.to_str().unwrap_or_default().trim_end_matches('/').to_owned()),
            _ => return Err(Failure::Usage("--data: give one location, whose folders are the TPC-H tables".into())),
        };
        if data.as_ref().is_some_and(|data| data.is_empty() || data.contains('\'')) {
            return Err(Failure::Usage("--data: give a location such as s3://BUCKET/tpch, without quotes in it".into()));
        }
        if !args.scale.is_finite() || args.scale <= 0.0 {
            return Err(Failure::Usage("--scale: give a number above 0".into()));
        }
        Ok(Self { args, data })
    }

    /// `sql` with the names of its tables replaced by where they are.
    fn located(&self, sql: &str) -> String {
        let Some(data) = &self.data else { return sql.to_owned() };
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut located = String::new();
        let mut rest = sql;
        while let Some(start) = rest.find(is_word) {
            let (before, word) = rest.split_at(start);
            let (word, after) = word.split_at(word.find(|c| !is_word(c)).unwrap_or(word.len()));
            located.push_str(before);
            match TABLES.contains(&word) {
                true => located.push_str(&format!("'{data}/{word}/' AS {word}")),
                false => located.push_str(word),
            }
            rest = after;
        }
        located + rest
    }
}

/// Runs the queries one after another, and prints what they took.
///
/// # Errors
/// The first query that fails, tables of another scale, and those of the output.
pub(crate) fn run(session: &RemoteSession, plan: &BenchPlan) -> Result<(), Failure> {
    let mut file = plan.args.json.as_ref().map(std::fs::File::create).transpose().map_err(PrintError::from)?;
    let (tiny, args) = (plan.located(TINY), &plan.args);
    tell("the first query: cold if nobody has used the server for a while");
    let mut report = Report::new(args.scale, Figures::new("first", &session.measure_at_once(&tiny)?));
    report.count(check_scale(&session.measure(&plan.located(ROWS))?, args.scale)?);
    tell(format_args!("{} small queries, one after another", args.warm));
    for _ in 0..args.warm {
        report.add_warm(Figures::new("warm", &session.measure_at_once(&tiny)?));
    }
    for number in QUERIES {
        let text = sql(number).ok_or_else(|| Error::internal(format!("there is no query {number}")))?;
        tell(format_args!("TPC-H query {number}"));
        for _ in 0..args.repeat {
            report.add_query(Figures::new(&format!("Q{number}"), &session.measure(&plan.located(&text))?));
        }
    }
    let mut out = io::stdout().lock();
    for line in report.lines() {
        writeln!(out, "{line}").map_err(PrintError::from)?;
    }
    if let Some(file) = &mut file {
        let text = serde_json::to_string_pretty(&report).map_err(|e| Error::internal(e.to_string()))?;
        writeln!(file, "{text}").and_then(|()| file.flush()).map_err(PrintError::from)?;
    }
    Ok(())
}

/// The figures of the count, if it is that of the scale.
fn check_scale(counted: &Measured, scale: f64) -> Result<Figures, Failure> {
    let rows = counted.batches.iter().find(|batch| batch.num_rows() > 0).and_then(|batch| batch.columns().first());
    let rows = rows.and_then(|column| column.as_primitive_opt::<Int64Type>()).map(|numbers| numbers.value(0) as f64);
    let expected = ROWS_AT_SCALE_1 * scale;
    match rows {
        Some(rows) if (rows - expected).abs() <= expected * TOLERANCE => Ok(Figures::new("count", counted)),
        rows => Err(Failure::Usage(format!(
            "--scale {scale}: lineitem should have about {expected:.0} rows, but has {:.0}: give the scale of the server's tables",
            rows.unwrap_or_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(data: &[&str]) -> Result<BenchPlan, Failure> {
        let args = BenchAwsArgs { scale: 1.0, warm: 1, repeat: 1, json: None };
        BenchPlan::new(args, data.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn tables_are_found_where_the_data_is() -> Result<(), Failure> {
        let located = plan(&["s3://b/tpch/"])?.located("select l_lineitem from lineitem, orders where o_orderkey = 1");
        let expected =
            "select l_lineitem from 's3://b/tpch/lineitem/' AS lineitem, 's3://b/tpch/orders/' AS orders where o_orderkey = 1";
        assert_eq!(located, expected);
        assert_eq!(plan(&[])?.located(TINY), TINY);
        assert!(plan(&["a", "b"]).is_err() && plan(&["s3://b/'"]).is_err());
        Ok(())
    }

    #[test]
    fn the_queries_name_no_other_tables() {
        for number in QUERIES {
            let text = sql(number).unwrap_or_default();
            assert!(TABLES.iter().any(|table| text.contains(table)), "Q{number}");
            assert!(["part", "supplier", "customer", "region"].iter().all(|table| !text.contains(table)), "Q{number}");
        }
    }
}
