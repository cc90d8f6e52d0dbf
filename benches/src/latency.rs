//! Small queries through the Function URL: warm and cold, in the coordinator and on workers, and where their time goes.

use crate::stats::{Sample, machine};
use crate::{AnyError, data_folder, plan};
use ::tests::functions::{COORDINATOR, Functions, WORKER};
use clap::Args as ClapArgs;
use emulator::LedgerEntry;
use engine::clock::Stopwatch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// One Parquet file of 1.2 MB with 15,000 rows: less than one task's work.
const TINY: &str = "SELECT count(*) FROM customer WHERE c_acctbal > 5000";
/// Several row groups: one task each.
const ON_WORKERS: &str = "SELECT count(*) FROM lineitem WHERE l_quantity < 10";
const SCALE: f64 = 0.1;
/// Queries before the warm ones that do not count.
const WARM_UP: usize = 5;

/// How often to measure.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Warm queries
    #[arg(long, default_value_t = 50)]
    warm: usize,
    /// Cold queries, each on a new deployment
    #[arg(long, default_value_t = 5)]
    cold: usize,
    /// Time that S3 takes to answer, in milliseconds, in the second half of the measurements
    #[arg(long, default_value_t = 20)]
    s3_latency_ms: u64,
    /// Folder of the TPC-H tables at scale 0.1; made when absent
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

/// Where the time of one query went.
#[derive(Default)]
struct Parts {
    /// S3 requests by operation and kind of object.
    requests: BTreeMap<String, u64>,
    tasks: u64,
    planning_ms: u64,
    elapsed_ms: u64,
    coordinator: (f64, f64),
    /// Of the slowest worker.
    worker: (f64, f64),
}

/// Measures and prints all kinds of small queries.
pub(crate) async fn run(args: Args) -> Result<(), AnyError> {
    let dir = data_folder(args.dir.clone(), SCALE)?;
    eprintln!("small queries from the client's side, TPC-H scale {SCALE}; {}", machine());
    eprintln!("{:<26} {:>7} {:>4} {:>9} {:>9} {:>8}", "query", "S3 ms", "n", "p50 ms", "p90 ms", "goal ms");
    for latency in [0, args.s3_latency_ms] {
        for (name, sql, cold, goal) in [
            ("warm, in the coordinator", TINY, false, Some(150)),
            ("warm, on workers", ON_WORKERS, false, None),
            ("cold, in the coordinator", TINY, true, None),
            ("cold, on workers", ON_WORKERS, true, Some(700)),
        ] {
            let (sample, parts) =
                if cold { self::cold(sql, latency, args.cold, &dir).await? } else { warm(sql, latency, args.warm, &dir).await? };
            let goal = goal.map_or_else(String::new, |goal| goal.to_string());
            let (p50, p90) = (sample.median(), sample.percentile(0.9));
            eprintln!("{name:<26} {latency:>7} {:>4} {p50:>9.1} {p90:>9.1} {goal:>8}", sample.len());
            eprintln!("    {parts}");
        }
    }
    Ok(())
}

async fn warm(sql: &str, latency_ms: u64, count: usize, dir: &Path) -> Result<(Sample, Parts), AnyError> {
    let functions = start(latency_ms, dir).await?;
    for _ in 0..WARM_UP {
        query(&functions, sql).await?;
    }
    let mut sample = Sample::default();
    let mut parts = Parts::default();
    for _ in 0..count {
        let (ms, last) = query(&functions, sql).await?;
        sample.push(ms);
        parts = last;
    }
    functions.emulator.shutdown().await;
    Ok((sample, parts))
}

async fn cold(sql: &str, latency_ms: u64, count: usize, dir: &Path) -> Result<(Sample, Parts), AnyError> {
    let mut sample = Sample::default();
    let mut parts = Parts::default();
    for _ in 0..count {
        let functions = start(latency_ms, dir).await?;
        let (ms, last) = query(&functions, sql).await?;
        sample.push(ms);
        parts = last;
        functions.emulator.shutdown().await;
    }
    Ok((sample, parts))
}

async fn start(latency_ms: u64, dir: &Path) -> Result<Functions, AnyError> {
    let functions = Functions::start(plan(4)?, dir).await;
    functions.s3.faults().set_latency(Duration::from_millis(latency_ms));
    Ok(functions)
}

/// Runs one query: its time in milliseconds from the client's side, and its parts.
async fn query(functions: &Functions, sql: &str) -> Result<(f64, Parts), AnyError> {
    functions.s3.reset_ledger();
    let before = functions.ledger().entries.len();
    let watch = Stopwatch::start();
    let answer = functions.submit(json!({ "sql": sql, "format": "json" })).await;
    let ms = watch.elapsed().as_secs_f64() * 1e3;
    if answer.status != 200 {
        return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
    }
    let mut parts = Parts::default();
    for record in functions.s3.ledger().records {
        let folder = if record.bucket == ::tests::functions::LAKE { "data" } else { record.key.split('/').next().unwrap_or("") };
        *parts.requests.entry(format!("{:?} {folder}", record.op)).or_default() += 1;
    }
    let receipt = answer.receipt();
    let figure = |name: &str| receipt.get(name).and_then(Value::as_u64).unwrap_or_default();
    (parts.tasks, parts.planning_ms, parts.elapsed_ms) = (figure("tasks"), figure("planning_ms"), figure("elapsed_ms"));
    let ledger = functions.ledger();
    let entries = || ledger.entries.iter().skip(before);
    let times = |entry: &LedgerEntry| (entry.init.unwrap_or_default().as_secs_f64() * 1e3, entry.duration.as_secs_f64() * 1e3);
    parts.coordinator = entries().find(|entry| entry.function == COORDINATOR).map(times).unwrap_or_default();
    let workers = entries().filter(|entry| entry.function == WORKER).map(times);
    parts.worker = workers.max_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1))).unwrap_or_default();
    Ok((ms, parts))
}

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let requests: Vec<String> = self.requests.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let Self { tasks, planning_ms, elapsed_ms, coordinator: (init, ran), worker: (worker_init, worker_ran), .. } = self;
        write!(f, "last one: {tasks} tasks; coordinator init {init:.0} ms, ran {ran:.0} ms (planned after {planning_ms}, ")?;
        write!(
            f,
            "rows after {elapsed_ms}); slowest worker init {worker_init:.0}, ran {worker_ran:.0}; S3: {}",
            requests.join(", ")
        )
    }
}
