//! Decides how the figures of a TPC-H run are written: as lines for people and as JSON for programs.

use crate::failure::Failure;
use crate::figures::{bytes, count, seconds};
use coordinator::Receipt;
use engine::Error;
use engine::cost::NanoDollars;
use engine::settings::Settings;
use serde::Serialize;
use std::time::Duration;

/// What one query took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    /// Number of the query.
    pub(super) query: u8,
    /// Wall time of each repeat, in order, in milliseconds.
    pub(super) wall_ms: Vec<f64>,
    /// CPU time of the process during the fastest repeat, in milliseconds, where the system tells it.
    pub(super) cpu_ms: Option<u64>,
    /// Rows of the result.
    pub(super) rows: u64,
    /// Bytes read from table data.
    pub(super) data_scanned_bytes: u64,
    /// Requests to object storage.
    pub(super) requests: u64,
    /// Encoded bytes from stage to stage.
    pub(super) exchange_bytes: u64,
    /// Tasks on workers.
    pub(super) tasks: u64,
    /// Why it ran in one process in spite of workers, if there was a reason other than its size.
    pub(super) local_reason: Option<String>,
    /// Estimated price on AWS.
    pub(super) cost_nano_usd: NanoDollars,
    /// Athena's price for the same scan.
    pub(super) athena_nano_usd: NanoDollars,
}

impl Figures {
    /// What `receipt` says of query `query`, whose repeats took `walls`.
    pub(super) fn new(query: u8, walls: &[Duration], cpu: Option<Duration>, receipt: &Receipt) -> Self {
        Self {
            query,
            wall_ms: walls.iter().map(|wall| (wall.as_secs_f64() * 1e6).round() / 1e3).collect(),
            cpu_ms: cpu.map(|cpu| u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX)),
            rows: receipt.rows,
            data_scanned_bytes: receipt.data_scanned_bytes,
            requests: receipt.requests.total(),
            exchange_bytes: receipt.exchange_bytes,
            tasks: receipt.tasks,
            local_reason: receipt.local_reason.clone(),
            cost_nano_usd: receipt.cost_nano_usd,
            athena_nano_usd: receipt.athena_nano_usd,
        }
    }

    fn fastest(&self) -> Duration {
        let fastest = self.wall_ms.iter().copied().fold(f64::INFINITY, f64::min);
        Duration::try_from_secs_f64(fastest / 1e3).unwrap_or_default()
    }
}

/// What came of one query.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It ran; with a check, the verdict on its answer.
    Ran(Figures, Option<Result<(), String>>),
    /// It failed.
    Failed(u8, Error),
}

impl Outcome {
    /// Whether it ran and no check refused its answer.
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Ran(_, None | Some(Ok(()))))
    }

    /// Its line of the table.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Ran(figures, verdict) => {
                let verdict = match verdict {
                    None => String::new(),
                    Some(Ok(())) => "  ok".to_owned(),
                    Some(Err(difference)) => format!("  FAILED: {difference}"),
                };
                let reason =
                    figures.local_reason.as_ref().map(|reason| format!("  in one process: {reason}")).unwrap_or_default();
                format!("{}{verdict}{reason}", line(&figures.query.to_string(), figures.fastest(), &Sums::of([figures])))
            }
            Self::Failed(query, error) => format!("{query:>5}  FAILED: {error}"),
        }
    }

    fn json(&self) -> Result<serde_json::Value, serde_json::Error> {
        match self {
            Self::Ran(figures, verdict) => {
                let mut value = serde_json::to_value(figures)?;
                if let (Some(object), Some(verdict)) = (value.as_object_mut(), verdict) {
                    object.insert("correct".to_owned(), verdict.is_ok().into());
                }
                Ok(value)
            }
            Self::Failed(query, error) => {
                Ok(serde_json::json!({ "query": query, "error": { "kind": error.kind.name(), "message": error.message } }))
            }
        }
    }
}

#[derive(Default)]
struct Sums {
    rows: u64,
    scanned_bytes: u64,
    requests: u64,
    tasks: u64,
    exchange_bytes: u64,
    cost: NanoDollars,
    athena: NanoDollars,
}

impl Sums {
    fn of<'a>(all: impl IntoIterator<Item = &'a Figures>) -> Self {
        all.into_iter().fold(Self::default(), |sums, figures| Self {
            rows: sums.rows + figures.rows,
            scanned_bytes: sums.scanned_bytes + figures.data_scanned_bytes,
            requests: sums.requests + figures.requests,
            tasks: sums.tasks + figures.tasks,
            exchange_bytes: sums.exchange_bytes + figures.exchange_bytes,
            cost: sums.cost + figures.cost_nano_usd,
            athena: sums.athena + figures.athena_nano_usd,
        })
    }
}

/// The line above the table, with one column per figure of [`Outcome::line`].
pub(super) fn header() -> String {
    format!(
        "{:>5} {:>10} {:>9} {:>10} {:>9} {:>6} {:>10} {:>11} {:>11}",
        "query", "time", "rows", "scanned", "requests", "tasks", "exchange", "AWS", "Athena"
    )
}

fn line(name: &str, time: Duration, sums: &Sums) -> String {
    format!(
        "{name:>5} {:>10} {:>9} {:>10} {:>9} {:>6} {:>10} {:>11} {:>11}",
        seconds(time),
        count(sums.rows),
        bytes(sums.scanned_bytes),
        count(sums.requests),
        count(sums.tasks),
        bytes(sums.exchange_bytes),
        sums.cost.to_string(),
        sums.athena.to_string(),
    )
}

/// The sum of all queries that ran.
pub(super) fn total(outcomes: &[Outcome]) -> String {
    let ran = || outcomes.iter().filter_map(|outcome| if let Outcome::Ran(figures, _) = outcome { Some(figures) } else { None });
    line("total", ran().map(Figures::fastest).sum(), &Sums::of(ran()))
}

/// All figures, with what they were measured on.
///
/// # Errors
/// Never for these types.
pub(super) fn json(scale: f64, settings: &Settings, outcomes: &[Outcome]) -> Result<String, Failure> {
    let failed = |e: serde_json::Error| Failure::Query(Error::internal(format!("the figures cannot be written as JSON: {e}")));
    let queries: Result<Vec<_>, _> = outcomes.iter().map(Outcome::json).collect();
    let all = serde_json::json!({
        "scale": scale,
        "workers": settings.workers,
        "worker_partitions": settings.worker_partitions,
        "split_bytes": settings.split_bytes,
        "prices": engine::cost::US_EAST_1_ARM64.label,
        "queries": queries.map_err(failed)?,
    });
    serde_json::to_string_pretty(&all).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(query: u8, wall_ms: Vec<f64>) -> Figures {
        Figures {
            query,
            wall_ms,
            cpu_ms: Some(900),
            rows: 4,
            data_scanned_bytes: 12_345_678,
            requests: 34,
            exchange_bytes: 1_500,
            tasks: 9,
            local_reason: None,
            cost_nano_usd: NanoDollars(12_345),
            athena_nano_usd: NanoDollars(61_728),
        }
    }

    #[test]
    fn lines_stand_under_their_header_and_add_up() {
        let outcomes = [Outcome::Ran(figures(1, vec![500.0, 420.0]), None), Outcome::Ran(figures(22, vec![80.0]), Some(Ok(())))];
        let lines: Vec<String> =
            std::iter::once(header()).chain(outcomes.iter().map(Outcome::line)).chain([total(&outcomes)]).collect();
        assert_eq!(
            lines,
            [
                "query       time      rows    scanned  requests  tasks   exchange         AWS      Athena",
                "    1     0.42 s         4    12.3 MB        34      9     1.5 kB   $0.000012   $0.000061",
                "   22    0.080 s         4    12.3 MB        34      9     1.5 kB   $0.000012   $0.000061  ok",
                "total     0.50 s         8    24.7 MB        68     18     3.0 kB   $0.000024   $0.000123",
            ]
        );
    }

    #[test]
    fn failures_and_wrong_answers_are_named_and_not_good() -> Result<(), Box<dyn std::error::Error>> {
        let wrong = Outcome::Ran(figures(3, vec![1.0]), Some(Err("query 3: row 1".into())));
        let failed = Outcome::Failed(4, Error::invalid("no such column"));
        assert!(wrong.line().ends_with("FAILED: query 3: row 1") && !wrong.is_good());
        assert!(failed.line().ends_with("FAILED: INVALID_QUERY: no such column") && !failed.is_good());
        let written: serde_json::Value =
            serde_json::from_str(&json(1.0, &Settings::default(), &[wrong, failed]).map_err(|e| e.to_string())?)?;
        assert_eq!(written["queries"][0]["correct"], false);
        assert_eq!(written["queries"][0]["wall_ms"][0], 1.0);
        assert_eq!(written["queries"][1]["error"]["kind"], "INVALID_QUERY");
        Ok(())
    }
}
