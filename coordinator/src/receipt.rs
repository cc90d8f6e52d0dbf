//! What a query used and what it would cost: the sum over coordinator and attempts.

use engine::cost::{LambdaUse, NanoDollars, PriceTable, US_EAST_1_ARM64};
use engine::ids::StageId;
use engine::settings::Settings;
use engine::storage::RequestCounts;
use engine::task::ResourceUse;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Memory of the function that would run the coordinator, in MB: one vCPU.
const COORDINATOR_MEMORY_MB: u64 = engine::cost::MB_PER_VCPU;

/// What one stage used.
#[derive(Clone, Default, Debug, Serialize)]
pub struct StageReceipt {
    /// The stage.
    pub stage: u32,
    /// Its tasks.
    pub tasks: u32,
    /// Attempts that reported, failed ones included.
    pub attempts: u32,
    /// Rows of its accepted outputs.
    pub rows: u64,
    /// Encoded bytes of its accepted outputs.
    pub output_bytes: u64,
    /// Bytes read from table data.
    pub scanned_bytes: u64,
    /// Wall time of its attempts, summed, in milliseconds.
    pub attempt_ms: u64,
}

/// What a query used.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Receipt {
    /// The query.
    pub query_id: String,
    /// How it ran: `local`, or `workers`.
    pub mode: &'static str,
    /// Why a query with workers ran in one process, if it did.
    pub local_reason: Option<String>,
    /// Rows given to the caller.
    pub rows: u64,
    /// Time from submission to planned, in milliseconds.
    pub planning_ms: u64,
    /// Time from submission to the last row, in milliseconds.
    pub elapsed_ms: u64,
    /// Stages, tasks and attempts in order of stages.
    pub stages: Vec<StageReceipt>,
    /// Accepted tasks.
    pub tasks: u64,
    /// Reported attempts, failed ones included.
    pub attempts: u64,
    /// Bytes read from table data (what Athena calls data scanned).
    pub data_scanned_bytes: u64,
    /// Encoded bytes that went from stage to stage.
    pub exchange_bytes: u64,
    /// Requests to object storage, of table data and exchange.
    pub requests: RequestCounts,
    /// Most memory that one attempt had reserved, in bytes.
    pub peak_memory_bytes: u64,
    /// Lambda requests and memory × time, of coordinator and attempts.
    pub lambda: LambdaUse,
    /// Lambda GB-seconds.
    pub gb_seconds: f64,
    /// Estimated price on AWS.
    pub cost_nano_usd: NanoDollars,
    /// Athena's price for the same scan.
    pub athena_nano_usd: NanoDollars,
    /// Which prices were used.
    pub prices: &'static str,
}

/// Adds up what attempts report.
#[derive(Default, Debug)]
pub(crate) struct Usage {
    stages: BTreeMap<(usize, StageId), StageReceipt>,
    requests: RequestCounts,
    lambda: LambdaUse,
    peak_memory_bytes: u64,
    /// Which of the query's plans is running: 0 for the query, others for its subqueries.
    plan: usize,
}

impl Usage {
    /// Starts the next plan of the query: its stages are numbered from 1 again.
    pub(crate) fn next_plan(&mut self) {
        self.plan += 1;
    }

    pub(crate) fn add_stage(&mut self, stage: StageId, tasks: u32) {
        self.stage(stage).tasks = tasks;
    }

    /// An attempt that reported, whether its output was accepted or not.
    pub(crate) fn add_attempt(&mut self, stage: StageId, used: &ResourceUse, memory_mb: u64) {
        self.requests.add(&used.requests());
        self.lambda.add(LambdaUse::invocation(memory_mb, Duration::from_micros(used.elapsed_us)));
        self.peak_memory_bytes = self.peak_memory_bytes.max(used.peak_memory_bytes);
        let receipt = self.stage(stage);
        receipt.attempts += 1;
        receipt.scanned_bytes += used.scanned_bytes;
        receipt.attempt_ms += used.elapsed_us / 1_000;
    }

    pub(crate) fn add_output(&mut self, stage: StageId, rows: u64, bytes: u64) {
        let receipt = self.stage(stage);
        receipt.rows += rows;
        receipt.output_bytes += bytes;
    }

    pub(crate) fn scanned_bytes(&self) -> u64 {
        self.stages.values().map(|stage| stage.scanned_bytes).sum()
    }

    fn stage(&mut self, stage: StageId) -> &mut StageReceipt {
        let receipt = self.stages.entry((self.plan, stage)).or_default();
        receipt.stage = stage.0;
        receipt
    }

    /// The receipt, with what the coordinator itself used.
    pub(crate) fn receipt(
        &self,
        settings: &Settings,
        source: &RequestCounts,
        exchange: &RequestCounts,
        elapsed: Duration,
    ) -> Receipt {
        let prices: &PriceTable = &US_EAST_1_ARM64;
        let mut requests = self.requests;
        requests.add(source);
        requests.add(exchange);
        let mut lambda = self.lambda;
        // A query in one process would run in one function with the CPUs that it used here.
        let coordinator_mb = match self.stages.is_empty() {
            true => (settings.local_partition_count() as u64 * COORDINATOR_MEMORY_MB).min(10_240),
            false => COORDINATOR_MEMORY_MB,
        };
        lambda.add(LambdaUse::invocation(coordinator_mb, elapsed));
        let stages: Vec<StageReceipt> = self.stages.values().cloned().collect();
        let data_scanned_bytes = source.bytes_read + self.scanned_bytes();
        Receipt {
            mode: if stages.is_empty() { "local" } else { "workers" },
            tasks: stages.iter().map(|stage| u64::from(stage.tasks)).sum(),
            attempts: stages.iter().map(|stage| u64::from(stage.attempts)).sum(),
            exchange_bytes: stages.iter().map(|stage| stage.output_bytes).sum(),
            data_scanned_bytes,
            requests,
            peak_memory_bytes: self.peak_memory_bytes,
            lambda,
            gb_seconds: lambda.gb_seconds(),
            cost_nano_usd: prices.lambda(lambda) + prices.s3(requests.s3_use()),
            athena_nano_usd: prices.athena(data_scanned_bytes),
            prices: prices.label,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            stages,
            ..Receipt::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_coordinator_add_up() {
        let mut usage = Usage::default();
        usage.add_stage(StageId(1), 2);
        let used = ResourceUse { elapsed_us: 1_000_000, gets: 3, scanned_bytes: 100, bytes_read: 120, ..ResourceUse::default() };
        usage.add_attempt(StageId(1), &used, 1_024);
        usage.add_attempt(StageId(1), &used, 1_024);
        usage.add_output(StageId(1), 5, 50);
        let source = RequestCounts { gets: 1, bytes_read: 10, ..RequestCounts::default() };
        let receipt = usage.receipt(&Settings::default(), &source, &RequestCounts::default(), Duration::from_secs(2));
        assert_eq!((receipt.mode, receipt.tasks, receipt.attempts, receipt.requests.gets), ("workers", 2, 2, 7));
        assert_eq!((receipt.data_scanned_bytes, receipt.exchange_bytes, receipt.lambda.requests), (210, 50, 3));
        assert_eq!(receipt.lambda.mb_ms, 2 * 1_024 * 1_000 + COORDINATOR_MEMORY_MB * 2_000);
    }
}
