//! What a query used and what it would cost: the sum over coordinator and attempts.

use engine::cost::{LambdaUse, NanoDollars, PriceTable, US_EAST_1_ARM64};
use engine::ids::{AttemptId, StageId, TaskId};
use engine::settings::Settings;
use engine::storage::RequestCounts;
use engine::task::{Billed, Invoked, ResourceUse, TaskOutcome};
use engine::{Error, ErrorKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Memory of the function that would run the coordinator, in MB: one vCPU.
const COORDINATOR_MEMORY_MB: u64 = engine::cost::MB_PER_VCPU;
/// Attempts that a receipt lists one by one; of more it only tells the sums.
const MAX_LISTED_ATTEMPTS: usize = 2_000;

/// What one attempt used.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptReceipt {
    /// Its stage, task and number, as `3/12.1`.
    pub attempt: String,
    /// Billed time of its function, or measured time where nothing is billed, in milliseconds.
    pub billed_ms: u64,
    /// Time that its function took to start, in milliseconds; 0 for a warm one.
    pub init_ms: u64,
    /// Memory of its function, in MB.
    pub memory_mb: u64,
    /// Bytes that it read from table data.
    pub scanned_bytes: u64,
    /// Requests to object storage.
    pub requests: u64,
    /// Whether it reported back.
    pub answered: bool,
}

/// One invocation, as it ended.
pub(crate) struct Invocation {
    pub(crate) attempt: AttemptId,
    pub(crate) used: Option<ResourceUse>,
    pub(crate) billed: Option<Billed>,
    pub(crate) throttles: u32,
    /// Time from its sending to its end, in milliseconds.
    pub(crate) measured_ms: u64,
    pub(crate) dispatcher: Option<Billed>,
    /// Whether a worker may have run it.
    pub(crate) was_sent: bool,
    pub(crate) answered: bool,
}

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
    /// Files that a write made visible.
    pub written_files: u64,
    /// Their size in bytes; the rows of a write count as given to the caller.
    pub written_bytes: u64,
    /// Time from submission to planned, in milliseconds.
    pub planning_ms: u64,
    /// Time from submission to the last row, in milliseconds.
    pub elapsed_ms: u64,
    /// Stages, tasks and attempts in order of stages.
    pub stages: Vec<StageReceipt>,
    /// Accepted tasks.
    pub tasks: u64,
    /// Invocations, failed ones included.
    pub attempts: u64,
    /// Invocations beyond the first of each task.
    pub retries: u64,
    /// Invocations that ended after nobody waited for them any more; they are in all sums.
    pub late: u64,
    /// How often Lambda asked to slow down.
    pub throttles: u64,
    /// Invocations of the coordinator function that handed groups of attempts to workers; they are in all sums.
    pub dispatchers: u64,
    /// Functions that had to start.
    pub cold_starts: u64,
    /// Whether the times of all attempts are what Lambda bills, and not only measured here.
    pub billed: bool,
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
    pub prices: String,
    /// The attempts one by one, the first 2,000.
    pub attempt_list: Vec<AttemptReceipt>,
}

impl Receipt {
    /// Adds requests that were made for the query's stored result.
    pub(crate) fn add_requests(&mut self, counts: &RequestCounts, prices: &PriceTable) {
        self.requests.add(counts);
        self.cost_nano_usd = self.cost_nano_usd + prices.s3(counts.s3_use());
    }

    /// Adds time of the coordinator function that is billed but was not spent on the query's plan and rows.
    pub(crate) fn add_coordinator_time(&mut self, time: Duration, settings: &Settings) {
        let added = LambdaUse { requests: 0, ..LambdaUse::invocation(settings.coordinator_function_mb, time) };
        self.lambda.add(added);
        self.gb_seconds = self.lambda.gb_seconds();
        self.cost_nano_usd = self.cost_nano_usd + settings.prices.lambda(added);
    }
}

/// Adds up what attempts report.
#[derive(Default, Debug)]
pub(crate) struct Usage {
    stages: BTreeMap<(usize, StageId), StageReceipt>,
    requests: RequestCounts,
    lambda: LambdaUse,
    peak_memory_bytes: u64,
    late: u64,
    throttles: u64,
    dispatchers: u64,
    cold_starts: u64,
    unbilled: u64,
    attempt_list: Vec<AttemptReceipt>,
    prices: Option<PriceTable>,
    /// Which of the query's plans is running: 0 for the query, others for its subqueries.
    plan: usize,
}

impl Usage {
    /// Nothing used yet, at `prices`.
    pub(crate) fn new(prices: &PriceTable) -> Self {
        Self { prices: Some(prices.clone()), ..Self::default() }
    }

    /// Starts the next plan of the query: its stages are numbered from 1 again.
    pub(crate) fn next_plan(&mut self) {
        self.plan += 1;
    }

    pub(crate) fn add_stage(&mut self, stage: StageId, tasks: u32) {
        self.stage(stage).tasks = tasks;
    }

    /// An invocation, whether it reported or not, and whether its output was accepted or not.
    pub(crate) fn add_invocation(&mut self, invocation: &Invocation, memory_mb: u64) {
        let Invocation { attempt, used, billed, throttles, measured_ms, dispatcher, was_sent, answered } = invocation;
        self.throttles += u64::from(*throttles);
        if let Some(dispatcher) = dispatcher {
            self.dispatchers += 1;
            self.add_billed(dispatcher);
        }
        if !was_sent {
            return;
        }
        let own_ms = used.map_or(*measured_ms, |used| used.elapsed_us.div_ceil(1_000));
        let used = used.unwrap_or_default();
        let billed = billed.unwrap_or_else(|| {
            self.unbilled += 1;
            Billed { memory_mb, billed_ms: own_ms.max(1), init_ms: 0 }
        });
        self.add_billed(&billed);
        self.requests.add(&used.requests());
        self.peak_memory_bytes = self.peak_memory_bytes.max(used.peak_memory_bytes);
        let receipt = self.stage(attempt.task.stage);
        receipt.attempts += 1;
        receipt.scanned_bytes += used.scanned_bytes;
        receipt.attempt_ms += billed.billed_ms;
        if self.attempt_list.len() < MAX_LISTED_ATTEMPTS {
            self.attempt_list.push(AttemptReceipt {
                attempt: attempt.to_string(),
                billed_ms: billed.billed_ms,
                init_ms: billed.init_ms,
                memory_mb: billed.memory_mb,
                scanned_bytes: used.scanned_bytes,
                requests: used.requests().total(),
                answered: *answered,
            });
        }
    }

    fn add_billed(&mut self, billed: &Billed) {
        self.lambda.add(LambdaUse::billed(billed.memory_mb, billed.billed_ms));
        self.cold_starts += u64::from(billed.init_ms > 0);
    }

    /// An invocation that ended after its attempt was given up.
    pub(crate) fn add_late(&mut self, invoked: Invoked, memory_mb: u64) {
        let was_sent = !invoked.outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Throttled);
        self.late += u64::from(was_sent);
        let Invoked { outcome, billed, throttles, measured_ms, dispatcher } = invoked;
        let outcome = outcome.ok().and_then(|bytes| TaskOutcome::from_bytes(&bytes).ok());
        let answered = outcome.is_some();
        let outcome = outcome.unwrap_or_default();
        let task = TaskId { stage: StageId(outcome.stage), index: outcome.task };
        let (attempt, used) = (AttemptId { task, attempt: outcome.attempt }, outcome.resources);
        let invocation = Invocation { attempt, used, billed, throttles, measured_ms, dispatcher, was_sent, answered };
        self.add_invocation(&invocation, memory_mb);
    }

    /// The price of what has ended so far, without the coordinator's own time.
    pub(crate) fn cost_so_far(&self) -> NanoDollars {
        let prices = self.prices.as_ref().unwrap_or(&US_EAST_1_ARM64);
        prices.lambda(self.lambda) + prices.s3(self.requests.s3_use())
    }

    /// The price of what runs: this process, for `elapsed`, and one attempt for each of `running`.
    pub(crate) fn cost_of_running(
        settings: &Settings,
        elapsed: Duration,
        running: impl Iterator<Item = Duration>,
    ) -> NanoDollars {
        let mut lambda = LambdaUse::invocation(coordinator_memory_mb(settings, false), elapsed);
        running.for_each(|time| lambda.add(LambdaUse::invocation(settings.worker_memory_mb(), time)));
        settings.prices.lambda(lambda)
    }

    /// The error of a query that has used more than `settings` allow, where what still runs has cost `running`.
    pub(crate) fn over_budget(&self, settings: &Settings, running: NanoDollars) -> Option<Error> {
        over_scan_limit(settings, self.scanned_bytes()).or_else(|| over_cost_limit(settings, self.cost_so_far() + running))
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
        let prices = &settings.prices;
        let mut requests = self.requests;
        requests.add(source);
        requests.add(exchange);
        let mut lambda = self.lambda;
        let coordinator_mb = coordinator_memory_mb(settings, self.stages.is_empty());
        lambda.add(LambdaUse::invocation(coordinator_mb, elapsed));
        let stages: Vec<StageReceipt> = self.stages.values().cloned().collect();
        let tasks = stages.iter().map(|stage| u64::from(stage.tasks)).sum();
        let attempts: u64 = stages.iter().map(|stage| u64::from(stage.attempts)).sum();
        let data_scanned_bytes = source.bytes_read + self.scanned_bytes();
        Receipt {
            mode: if stages.is_empty() { "local" } else { "workers" },
            tasks,
            attempts,
            retries: attempts.saturating_sub(tasks),
            late: self.late,
            throttles: self.throttles,
            dispatchers: self.dispatchers,
            cold_starts: self.cold_starts,
            billed: attempts > 0 && self.unbilled == 0,
            attempt_list: self.attempt_list.clone(),
            exchange_bytes: stages.iter().map(|stage| stage.output_bytes).sum(),
            data_scanned_bytes,
            requests,
            peak_memory_bytes: self.peak_memory_bytes,
            lambda,
            gb_seconds: lambda.gb_seconds(),
            cost_nano_usd: prices.lambda(lambda) + prices.s3(requests.s3_use()),
            athena_nano_usd: prices.athena(data_scanned_bytes),
            prices: prices.label.to_string(),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            stages,
            ..Receipt::default()
        }
    }
}

/// Memory of the function that coordinates, in MB; a query in one process would run in one with the CPUs that it uses here.
pub(crate) fn coordinator_memory_mb(settings: &Settings, is_local: bool) -> u64 {
    match (settings.coordinator_function_mb, is_local) {
        (set @ 1.., _) => set,
        (0, true) => (settings.local_partition_count() as u64 * COORDINATOR_MEMORY_MB).min(10_240),
        (0, false) => COORDINATOR_MEMORY_MB,
    }
}

/// The error of a query that has cost `cost`, if that is over its limit.
pub(crate) fn over_cost_limit(settings: &Settings, cost: NanoDollars) -> Option<Error> {
    let limit = settings.max_cost_nano_usd.map(NanoDollars).filter(|limit| cost > *limit)?;
    Some(Error::new(
        ErrorKind::LimitExceeded,
        format!("the query has cost {cost} so far, over its limit of {limit} (max_cost_usd)"),
    ))
}

/// The error of a query that has scanned, or would scan, `bytes`, if that is over its limit.
pub(crate) fn over_scan_limit(settings: &Settings, bytes: u64) -> Option<Error> {
    let limit = settings.max_scan_bytes.filter(|limit| bytes > *limit)?;
    Some(Error::new(
        ErrorKind::LimitExceeded,
        format!(
            "the query scans {bytes} bytes of table data, over its limit of {limit} (max_scan_bytes): name fewer columns or partitions"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_runs_counts_for_the_limit_of_cost() {
        let settings = Settings { max_cost_nano_usd: Some(1_000_000), ..Settings::default() };
        let usage = Usage::new(&settings.prices);
        let cost = |seconds: &[u64]| {
            let running = seconds.iter().map(|seconds| Duration::from_secs(*seconds));
            Usage::cost_of_running(&settings, Duration::from_secs(1), running)
        };
        assert!(usage.over_budget(&settings, cost(&[])).is_none());
        assert!(cost(&[10]) > cost(&[1]) && cost(&[1, 1]) > cost(&[1]));
        assert!(usage.over_budget(&settings, cost(&[600; 8])).is_some_and(|error| error.message.contains("max_cost_usd")));
    }

    #[test]
    fn attempts_and_coordinator_add_up() {
        let mut usage = Usage::default();
        usage.add_stage(StageId(1), 2);
        let used = ResourceUse { elapsed_us: 1_000_000, gets: 3, scanned_bytes: 100, bytes_read: 120, ..ResourceUse::default() };
        let attempt = AttemptId { task: TaskId { stage: StageId(1), index: 0 }, attempt: 0 };
        let invocation = Invocation {
            attempt,
            used: Some(used),
            billed: None,
            throttles: 0,
            measured_ms: 1_050,
            dispatcher: None,
            was_sent: true,
            answered: true,
        };
        usage.add_invocation(&invocation, 1_024);
        let dispatcher = Some(Billed { memory_mb: 512, billed_ms: 1_100, init_ms: 9 });
        usage.add_invocation(&Invocation { dispatcher, ..invocation }, 1_024);
        // One that was lost, and one that no worker took.
        usage.add_invocation(&Invocation { used: None, measured_ms: 3_000, answered: false, ..invocation }, 1_024);
        usage.add_invocation(&Invocation { used: None, throttles: 7, was_sent: false, answered: false, ..invocation }, 1_024);
        usage.add_output(StageId(1), 5, 50);
        let source = RequestCounts { gets: 1, bytes_read: 10, ..RequestCounts::default() };
        let receipt = usage.receipt(&Settings::default(), &source, &RequestCounts::default(), Duration::from_secs(2));
        assert_eq!((receipt.mode, receipt.tasks, receipt.attempts, receipt.requests.gets), ("workers", 2, 3, 7));
        assert_eq!((receipt.data_scanned_bytes, receipt.exchange_bytes, receipt.lambda.requests), (210, 50, 5));
        assert_eq!(receipt.lambda.mb_ms, 2 * 1_024 * 1_000 + 1_024 * 3_000 + 512 * 1_100 + COORDINATOR_MEMORY_MB * 2_000);
        assert_eq!((receipt.dispatchers, receipt.cold_starts, receipt.throttles, receipt.billed), (1, 1, 7, false));
    }
}
