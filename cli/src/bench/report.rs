//! Figures of the queries of one run, as a table for people and as JSON.

use crate::figures::{bytes, seconds};
use crate::remote::Measured;
use engine::cost::NanoDollars;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An attempt that ran for less than this had the network's burst for all its time, in milliseconds.
const BURST_MS: u64 = 2_000;

/// What is read of a receipt; a server of another version may leave fields out.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(default)]
struct Receipt {
    elapsed_ms: u64,
    tasks: u64,
    attempts: u64,
    cold_starts: u64,
    throttles: u64,
    billed: bool,
    data_scanned_bytes: u64,
    gb_seconds: f64,
    cost_nano_usd: NanoDollars,
    athena_nano_usd: NanoDollars,
    attempt_list: Vec<Attempt>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(default)]
struct Attempt {
    billed_ms: u64,
    init_ms: u64,
    scanned_bytes: u64,
}

impl Attempt {
    fn run_ms(&self) -> u64 {
        self.billed_ms.saturating_sub(self.init_ms).max(1)
    }
}

/// What one query took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    query: String,
    wall_ms: f64,
    elapsed_ms: u64,
    tasks: u64,
    attempts: u64,
    cold_starts: u64,
    throttles: u64,
    /// Whether the times of attempts are what Lambda bills.
    billed: bool,
    scanned_bytes: u64,
    gb_seconds: f64,
    cost_nano_usd: NanoDollars,
    athena_nano_usd: NanoDollars,
    /// Bytes that scanning attempts read in a second, by how long they ran.
    burst: Throughput,
    long: Throughput,
}

/// Attempts that scanned, and what they read in a second.
#[derive(Clone, Default, Debug, PartialEq, Serialize)]
struct Throughput {
    attempts: usize,
    median_bytes_per_second: f64,
}

impl Throughput {
    fn of<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> Self {
        let speeds: Vec<f64> = attempts.map(|attempt| attempt.scanned_bytes as f64 / (attempt.run_ms() as f64 / 1e3)).collect();
        Self { attempts: speeds.len(), median_bytes_per_second: percentile(&speeds, 0.5) }
    }

    fn shown(&self) -> String {
        if self.attempts == 0 { "-".to_owned() } else { format!("{}/s", bytes(self.median_bytes_per_second as u64)) }
    }
}

impl Figures {
    /// What `measured` says of the query that is called `query`.
    pub(super) fn new(query: &str, measured: &Measured) -> Self {
        let receipt = Receipt::deserialize(&measured.receipt).unwrap_or_default();
        let scans = || receipt.attempt_list.iter().filter(|attempt| attempt.scanned_bytes > 0);
        Self {
            query: query.to_owned(),
            wall_ms: (measured.wall.as_secs_f64() * 1e6).round() / 1e3,
            elapsed_ms: receipt.elapsed_ms,
            tasks: receipt.tasks,
            attempts: receipt.attempts,
            cold_starts: receipt.cold_starts,
            throttles: receipt.throttles,
            billed: receipt.billed,
            scanned_bytes: receipt.data_scanned_bytes,
            gb_seconds: receipt.gb_seconds,
            cost_nano_usd: receipt.cost_nano_usd,
            athena_nano_usd: receipt.athena_nano_usd,
            burst: Throughput::of(scans().filter(|attempt| attempt.run_ms() < BURST_MS)),
            long: Throughput::of(scans().filter(|attempt| attempt.run_ms() >= BURST_MS)),
        }
    }

    fn line(&self) -> String {
        format!(
            "{:<6} {:>10} {:>10} {:>6} {:>6} {:>10} {:>9.2} {:>11} {:>11} {:>12} {:>12}",
            self.query,
            seconds(Duration::from_secs_f64(self.wall_ms / 1e3)),
            seconds(Duration::from_millis(self.elapsed_ms)),
            self.tasks,
            self.cold_starts,
            bytes(self.scanned_bytes),
            self.gb_seconds,
            self.cost_nano_usd.to_string(),
            self.athena_nano_usd.to_string(),
            self.burst.shown(),
            self.long.shown(),
        )
    }
}

/// All figures of one run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    scale: f64,
    first: Figures,
    warm_p50_ms: f64,
    warm_p90_ms: f64,
    warm: Vec<Figures>,
    queries: Vec<Figures>,
    total_gb_seconds: f64,
    total_nano_usd: NanoDollars,
}

impl Report {
    /// A report that begins with the first query.
    pub(super) fn new(scale: f64, first: Figures) -> Self {
        let (warm, queries) = (Vec::new(), Vec::new());
        let (total_gb_seconds, total_nano_usd) = (first.gb_seconds, first.cost_nano_usd);
        Self { scale, first, warm_p50_ms: 0.0, warm_p90_ms: 0.0, warm, queries, total_gb_seconds, total_nano_usd }
    }

    /// A query that only its price counts of.
    pub(super) fn count(&mut self, figures: Figures) {
        self.total_gb_seconds += figures.gb_seconds;
        self.total_nano_usd = self.total_nano_usd + figures.cost_nano_usd;
    }

    /// A warm small query.
    pub(super) fn add_warm(&mut self, figures: Figures) {
        self.count(figures.clone());
        self.warm.push(figures);
        let walls: Vec<f64> = self.warm.iter().map(|figures| figures.wall_ms).collect();
        (self.warm_p50_ms, self.warm_p90_ms) = (percentile(&walls, 0.5), percentile(&walls, 0.9));
    }

    /// A TPC-H query.
    pub(super) fn add_query(&mut self, figures: Figures) {
        self.count(figures.clone());
        self.queries.push(figures);
    }

    /// The table.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<6} {:>10} {:>10} {:>6} {:>6} {:>10} {:>9} {:>11} {:>11} {:>12} {:>12}",
            "query", "time", "on server", "tasks", "cold", "scanned", "GB-s", "AWS", "Athena", "burst", "long"
        )];
        lines.extend(std::iter::once(&self.first).chain(&self.queries).map(Figures::line));
        lines.push(format!(
            "warm small query, {} runs: p50 {:.0} ms, p90 {:.0} ms; the first one took {:.0} ms",
            self.warm.len(),
            self.warm_p50_ms,
            self.warm_p90_ms,
            self.first.wall_ms
        ));
        lines.push(format!("all of it: {:.2} GB-s, {}", self.total_gb_seconds, self.total_nano_usd));
        if self.queries.iter().any(|figures| figures.tasks > 0 && !figures.billed) {
            lines.push("note: no function was billed here: times of workers are measured, not those of a bill".to_owned());
        }
        lines
    }
}

/// The smallest value that `part` (0 to 1) of the values do not exceed; 0 without values.
fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn figures(wall_ms: u64) -> Figures {
        let receipt = json!({
            "elapsed_ms": 40, "tasks": 2, "cold_starts": 1, "billed": true, "data_scanned_bytes": 12_000_000, "gb_seconds": 1.5,
            "cost_nano_usd": 20_000, "athena_nano_usd": 60_000, "new": 1, "attempt_list": [
                {"billed_ms": 600, "init_ms": 100, "scanned_bytes": 4_000_000}, {"billed_ms": 3_000, "scanned_bytes": 8_000_000},
                {"billed_ms": 5},
            ],
        });
        Figures::new("Q1", &Measured { wall: Duration::from_millis(wall_ms), receipt, batches: Vec::new() })
    }

    #[test]
    fn workers_are_told_apart_by_how_long_they_read() {
        let figures = figures(100);
        assert_eq!(figures.burst, Throughput { attempts: 1, median_bytes_per_second: 8_000_000.0 });
        assert_eq!(figures.long.attempts, 1);
    }

    #[test]
    fn the_bill_has_all_queries() {
        let mut report = Report::new(1.0, figures(700));
        report.count(figures(1));
        (1..=10).for_each(|wall_ms| report.add_warm(figures(wall_ms)));
        report.add_query(figures(500));
        let lines = report.lines();
        let expected = [
            "query        time  on server  tasks   cold    scanned      GB-s         AWS      Athena        burst         long",
            "Q1         0.70 s    0.040 s      2      1    12.0 MB      1.50   $0.000020   $0.000060     8.0 MB/s     2.7 MB/s",
            "Q1         0.50 s    0.040 s      2      1    12.0 MB      1.50   $0.000020   $0.000060     8.0 MB/s     2.7 MB/s",
            "warm small query, 10 runs: p50 5 ms, p90 9 ms; the first one took 700 ms",
            "all of it: 19.50 GB-s, $0.000260",
        ];
        assert_eq!(lines, expected);
    }
}
