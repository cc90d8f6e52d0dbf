//! Words for what a query used; the figures come from the coordinator.

use crate::figures::{bytes, count, counted, seconds};
use coordinator::Receipt;
use std::time::Duration;

/// The receipt in one line, and a second one if the query ran in one process for a reason.
pub(crate) fn lines(receipt: &Receipt) -> Vec<String> {
    let place = match receipt.stages.len() as u64 {
        0 => "in one process".to_owned(),
        stages => format!("{}, {}", counted(receipt.tasks, "task"), counted(stages, "stage")),
    };
    let retried = receipt.attempts.saturating_sub(receipt.tasks);
    let retried = if retried > 0 { format!(", {} repeated", count(retried)) } else { String::new() };
    let line = format!(
        "{} in {}; scanned {} in {}; {place}{retried}; about {} on AWS (Athena {})",
        counted(receipt.rows, "row"),
        seconds(Duration::from_millis(receipt.elapsed_ms)),
        bytes(receipt.data_scanned_bytes),
        counted(receipt.requests.total(), "request"),
        receipt.cost_nano_usd,
        receipt.athena_nano_usd,
    );
    let reason = receipt.local_reason.iter().map(|reason| format!("note: ran in one process: {reason}"));
    std::iter::once(line).chain(reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator::StageReceipt;
    use engine::cost::NanoDollars;
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
            lines(&receipt()),
            [
                "1,478 rows in 0.42 s; scanned 12.3 MB in 34 requests; 9 tasks, 2 stages; about $0.000012 on AWS (Athena $0.000061)"
            ]
        );
        let again = lines(&Receipt { attempts: 10, ..receipt() });
        assert!(again.iter().any(|line| line.contains("2 stages, 1 repeated;")), "{again:?}");
    }

    #[test]
    fn a_query_in_one_process_says_why() {
        let local = Receipt { stages: Vec::new(), tasks: 0, attempts: 0, local_reason: Some("small".into()), ..receipt() };
        let lines = lines(&local);
        assert!(lines.first().is_some_and(|line| line.contains("; in one process; about")), "{lines:?}");
        assert_eq!(lines.get(1).map(String::as_str), Some("note: ran in one process: small"));
    }
}
