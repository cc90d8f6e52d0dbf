//! Every knob, as plain data with units in the names; knows nothing of where a value came from.

use crate::columns::PLANNED_FOOTERS;
use crate::cost::{PriceTable, US_EAST_1_ARM64};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Largest request or response of a synchronous Lambda invocation, in bytes (AWS Lambda quotas).
pub const LAMBDA_PAYLOAD_BYTES: usize = 6_291_556;
/// Largest encoded request before base64 in a JSON envelope makes it a third larger, with room for the envelope.
pub const MAX_REQUEST_BYTES: usize = LAMBDA_PAYLOAD_BYTES / 4 * 3 - 64 * 1024;
/// Most concurrent workers of a query.
pub const MAX_WORKERS: usize = 10_000;
/// Largest SQL text of one statement, in bytes (Athena's limit for a query string).
pub const MAX_SQL_BYTES: usize = 262_144;

/// All settings of a coordinator and its workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Concurrent workers; 0 runs each query in one process without an exchange.
    pub workers: usize,
    /// Partitions of a task, which a worker runs concurrently: its vCPUs. At least 2, because the distributed
    /// planner gives wrong rows with 1.
    pub worker_partitions: usize,
    /// Partitions of a query that runs in one process; 0 means the number of CPUs.
    pub local_partitions: usize,
    /// Bytes of projected columns that one task scans; smaller means more tasks.
    pub split_bytes: u64,
    /// Most tasks of one stage; 0 means the number of workers.
    pub max_tasks_per_stage: usize,
    /// Most Parquet footers that the coordinator reads to size a scan; of more files it reads a sample.
    pub max_planned_footers: usize,
    /// Outputs of an attempt up to this many encoded bytes travel inside the response.
    pub inline_limit_bytes: usize,
    /// Largest encoded task request; inputs above it go through the exchange.
    pub max_request_bytes: usize,
    /// Output that an attempt keeps in memory before it goes on in temporary files, in bytes.
    pub exchange_buffer_bytes: usize,
    /// Concurrent range reads of exchange objects by one attempt.
    pub exchange_read_concurrency: usize,
    /// Memory budget of the process (and so of all its workers), in bytes.
    pub memory_bytes: usize,
    /// Folder for spilled data and the default exchange; the system's when absent.
    pub temp_dir: Option<PathBuf>,
    /// Most bytes of temporary files.
    pub temp_quota_bytes: u64,
    /// Attempts of one task, the first included.
    pub max_attempts_per_task: u32,
    /// Retries of a whole query beyond half its number of tasks.
    pub retry_budget_base: u32,
    /// An attempt that has not reported after this long counts as lost, in milliseconds (Lambda's limit is 900 s).
    pub attempt_timeout_ms: u64,
    /// A query that runs longer fails, in milliseconds.
    pub query_timeout_ms: u64,
    /// Where stages exchange rows: an object store URL; a temporary folder when absent.
    pub exchange_url: Option<String>,
    /// URL prefixes that SQL may read; all locations when absent.
    pub data_locations: Option<Vec<String>>,
    /// URL prefixes that SQL may write to: none unless given.
    pub write_locations: Vec<String>,
    /// URL prefixes within both that SQL may neither read nor write: what a server keeps of its callers.
    pub denied_locations: Vec<String>,
    /// A query that would scan, or has scanned, more bytes of table data fails; no limit when absent.
    pub max_scan_bytes: Option<u64>,
    /// A query whose price so far passes this fails, in 10⁻⁹ dollars; no limit when absent.
    pub max_cost_nano_usd: Option<u64>,
    /// Pause between a running attempt's looks for the query's cancel marker, in milliseconds; 0 never looks.
    pub cancel_poll_ms: u64,
    /// Attempts that a coordinator function hands to workers itself at once; of more, groups go to invocations of its own
    /// function that do it. 0 makes no groups.
    pub direct_attempts: usize,
    /// Memory of a worker function, in MB; 0 means as many vCPUs as partitions.
    pub worker_function_mb: u64,
    /// Memory of the coordinator function, in MB; 0 means one vCPU, or one per local partition without workers.
    pub coordinator_function_mb: u64,
    /// What things cost.
    pub prices: PriceTable,
    /// Most bytes of one SQL statement.
    pub max_sql_bytes: usize,
    /// Deepest nesting of an expression or a query, in syntax tree levels.
    pub max_sql_depth: usize,
    /// S3 access.
    pub s3: S3Settings,
    /// Overrides of DataFusion options, the same on both sides; for tests and measurements.
    pub session: BTreeMap<String, String>,
}

/// How S3 and stores that speak its protocol are reached. Credentials come from the usual AWS environment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Settings {
    /// URL of another store than AWS, as `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// Region; from the environment when absent, `us-east-1` when nothing says one.
    pub region: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 0,
            worker_partitions: 2,
            local_partitions: 0,
            split_bytes: 32 << 20,
            max_tasks_per_stage: 0,
            max_planned_footers: PLANNED_FOOTERS,
            inline_limit_bytes: 4 << 20,
            max_request_bytes: MAX_REQUEST_BYTES,
            exchange_buffer_bytes: 256 << 20,
            exchange_read_concurrency: 16,
            memory_bytes: default_memory_bytes(),
            temp_dir: None,
            temp_quota_bytes: 64 << 30,
            max_attempts_per_task: 4,
            retry_budget_base: 10,
            attempt_timeout_ms: 900_000,
            query_timeout_ms: 1_800_000,
            exchange_url: None,
            data_locations: None,
            write_locations: Vec::new(),
            denied_locations: Vec::new(),
            max_scan_bytes: None,
            max_cost_nano_usd: None,
            cancel_poll_ms: 0,
            direct_attempts: 256,
            worker_function_mb: 0,
            coordinator_function_mb: 0,
            prices: US_EAST_1_ARM64,
            max_sql_bytes: MAX_SQL_BYTES,
            max_sql_depth: 1_000,
            s3: S3Settings::default(),
            session: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Checks rules across fields.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] that names the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let rules = [
            (self.worker_partitions >= 2, "worker_partitions must be at least 2: one partition per task gives wrong rows"),
            (self.worker_partitions <= 64, "worker_partitions must be at most 64"),
            (self.workers <= MAX_WORKERS, "workers must be at most 10,000"),
            (self.split_bytes > 0, "split_bytes must be at least 1"),
            (self.max_attempts_per_task > 0, "max_attempts_per_task must be at least 1"),
            (self.memory_bytes >= 32 << 20, "memory must be at least 32 MiB"),
            (self.max_request_bytes <= MAX_REQUEST_BYTES, "max_request_bytes is over what a function takes"),
            (self.inline_limit_bytes < self.max_request_bytes, "inline_limit_bytes must be below max_request_bytes"),
            (self.exchange_read_concurrency > 0, "exchange_read_concurrency must be at least 1"),
            (self.max_sql_depth <= 2_500, "max_sql_depth must be at most 2,500: the stacks are sized for it"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::new(ErrorKind::LimitExceeded, format!("setting out of range: {rule}"))),
            None => Ok(()),
        }
    }

    /// Most tasks of one stage.
    pub fn task_limit(&self) -> usize {
        if self.max_tasks_per_stage > 0 { self.max_tasks_per_stage } else { self.workers.max(1) }
    }

    /// Partitions of a query that runs in one process.
    pub fn local_partition_count(&self) -> usize {
        match self.local_partitions {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }

    /// Memory of the function that runs, or would run, one task, in MB.
    pub fn worker_memory_mb(&self) -> u64 {
        match self.worker_function_mb {
            0 => (self.worker_partitions as u64 * crate::cost::MB_PER_VCPU).min(10_240),
            set => set,
        }
    }
}

/// Three quarters of the machine's memory (`MemTotal` of `/proc/meminfo`), or 4 GiB where that cannot be read.
fn default_memory_bytes() -> usize {
    let total_kib = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    total_kib.map_or(4 << 30, |kib| kib / 4 * 3 * 1_024).max(256 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_survive_json() -> Result<(), Box<dyn std::error::Error>> {
        let settings = Settings::default();
        settings.validate()?;
        let again: Settings = serde_json::from_str(&serde_json::to_string(&settings)?)?;
        assert_eq!(format!("{again:?}"), format!("{settings:?}"));
        Ok(())
    }

    #[test]
    fn one_partition_per_task_is_refused() {
        let settings = Settings { worker_partitions: 1, ..Settings::default() };
        assert!(settings.validate().is_err_and(|e| e.message.contains("worker_partitions")));
        assert!(Settings { worker_partitions: 2, ..Settings::default() }.validate().is_ok());
    }

    #[test]
    fn a_full_request_fits_a_function_after_base64() {
        assert!(MAX_REQUEST_BYTES.div_ceil(3) * 4 + 1_024 < LAMBDA_PAYLOAD_BYTES);
    }
}
