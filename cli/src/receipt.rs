//! Words for what a query used; the figures come from the coordinator, here or on a server.

use crate::figures::{bytes, count, counted, seconds};
use crate::resolve::Reports;
use crate::tell::tell;
use coordinator::Receipt;
use engine::cost::NanoDollars;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// A receipt as JSON, with the figures that are told to people.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    json: Value,
    figures: Figures,
}

/// What is read of a receipt; a server of another version may leave fields out.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(default)]
struct Figures {
    rows: u64,
    elapsed_ms: u64,
    /// Absent in the receipt that comes with the rows.
    stages: Vec<Value>,
    tasks: u64,
    attempts: u64,
    data_scanned_bytes: u64,
    requests: Requests,
    cost_nano_usd: u64,
    athena_nano_usd: u64,
    local_reason: Option<String>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(default)]
struct Requests {
    gets: u64,
    heads: u64,
    puts: u64,
    lists: u64,
    deletes: u64,
}

impl Account {
    /// Reads a receipt; what has not the form of one is told as JSON only.
    pub(crate) fn read(json: Value) -> Self {
        let figures = Figures::deserialize(&json).unwrap_or_default();
        Self { json, figures }
    }

    /// The receipt of a query in this process.
    pub(crate) fn of(receipt: &Receipt) -> Self {
        // A receipt is plain data, which always has a JSON form.
        Self::read(serde_json::to_value(receipt).unwrap_or_default())
    }

    /// Tells what the query used, if that is wanted.
    pub(crate) fn report(&self, reports: Reports) {
        match reports {
            Reports { receipt: false, .. } => {}
            _ if self.json.is_null() => {}
            Reports { json: true, .. } => tell(&self.json),
            _ => self.lines().into_iter().for_each(tell),
        }
    }

    /// The receipt in one line, and a second one if the query ran in one process for a reason.
    fn lines(&self) -> Vec<String> {
        let used = &self.figures;
        let place = match (used.tasks, used.stages.len() as u64) {
            (0, _) => "in one process".to_owned(),
            (tasks, 0) => counted(tasks, "task"),
            (tasks, stages) => format!("{}, {}", counted(tasks, "task"), counted(stages, "stage")),
        };
        let retried = used.attempts.saturating_sub(used.tasks);
        let retried = if retried > 0 { format!(", {} repeated", count(retried)) } else { String::new() };
        let asked = &used.requests;
        let line = format!(
            "{} in {}; scanned {} in {}; {place}{retried}; about {} on AWS (Athena {})",
            counted(used.rows, "row"),
            seconds(Duration::from_millis(used.elapsed_ms)),
            bytes(used.data_scanned_bytes),
            counted(asked.gets + asked.heads + asked.puts + asked.lists + asked.deletes, "request"),
            NanoDollars(used.cost_nano_usd),
            NanoDollars(used.athena_nano_usd),
        );
        let reason = used.local_reason.iter().map(|reason| format!("note: ran in one process: {reason}"));
        std::iter::once(line).chain(reason).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator::StageReceipt;
    use engine::storage::RequestCounts;

    fn receipt() -> Receipt {
        Receipt {
            rows: 1_478,
            elapsed_ms: 420,
            stages: vec![StageReceipt::default(), StageReceipt::default()],
            tasks: 9,
            attempts: 9,
            data_scanned_bytes: 12_345_678,
            requests: RequestCounts { gets: 30, puts: 4, ..RequestCounts::default() },
            cost_nano_usd: NanoDollars(12_345),
            athena_nano_usd: NanoDollars(61_728),
            ..Receipt::default()
        }
    }

    #[test]
    fn a_query_on_workers_has_tasks_and_stages() {
        assert_eq!(
            Account::of(&receipt()).lines(),
            [
                "1,478 rows in 0.42 s; scanned 12.3 MB in 34 requests; 9 tasks, 2 stages; about $0.000012 on AWS (Athena $0.000061)"
            ]
        );
        let again = Account::of(&Receipt { attempts: 10, ..receipt() }).lines();
        assert!(again.iter().any(|line| line.contains("2 stages, 1 repeated;")), "{again:?}");
    }

    #[test]
    fn a_query_in_one_process_says_why() {
        let local = Receipt { stages: Vec::new(), tasks: 0, attempts: 0, local_reason: Some("small".into()), ..receipt() };
        let lines = Account::of(&local).lines();
        assert!(lines.first().is_some_and(|line| line.contains("; in one process; about")), "{lines:?}");
        assert_eq!(lines.get(1).map(String::as_str), Some("note: ran in one process: small"));
    }

    #[test]
    fn a_short_receipt_from_a_server_is_enough() {
        let json = serde_json::json!({"rows": 1, "elapsed_ms": 5, "tasks": 3, "attempts": 3, "cost_nano_usd": 2_000, "new": 1});
        let lines = Account::read(json).lines();
        let expected = "1 row in 0.005 s; scanned 0 B in 0 requests; 3 tasks; about $0.000002 on AWS (Athena $0.000000)";
        assert_eq!(lines, [expected]);
    }
}
