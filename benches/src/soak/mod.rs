//! Mixed load with faults for minutes: every answer is checked against plain DataFusion, and nothing may be lost or left over.

mod client;
mod faults;
mod load;
mod processes;

use crate::stats::{Sample, machine};
use crate::{AnyError, data_folder, plan};
use ::tests::functions::{COORDINATOR, Functions, OWN, WORKER};
use clap::Args as ClapArgs;
use client::Client;
use engine::clock::{Stopwatch, sleep};
use faults::{Kills, S3Faults};
use load::Load;
use processes::{Growth, Processes};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Pause between two looks at the processes, and between two arrangements of faults.
const SAMPLE_PAUSE: Duration = Duration::from_secs(5);
/// Time for what the last queries left to be cleared away: longer than the lease of a query.
const SETTLE_TIME: Duration = Duration::from_secs(60);
/// Most violations that are printed.
const SHOWN: usize = 20;

/// What to run.
#[derive(ClapArgs, Clone)]
pub(crate) struct Args {
    /// Time under load, in minutes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Clients, each with one query at a time
    #[arg(long, default_value_t = 20)]
    clients: u64,
    /// Seed of the queries and the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// TPC-H scale factor
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    /// Concurrent workers of a query; the worker function has four times as many
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Folder of the tables; made when absent
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
    /// Folder for the functions' logs
    #[arg(long)]
    logs: Option<std::path::PathBuf>,
}

/// What the clients have seen.
#[derive(Default)]
struct Tally(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Queries that the server has told an id of.
    ids: HashSet<String>,
    good: u64,
    /// Final without rows, by code.
    failed: BTreeMap<String, u64>,
    /// Submissions that were sent again.
    resent: u64,
    /// Since the last line.
    ms: Sample,
    violations: Vec<String>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violation(&self, text: String) {
        let mut seen = self.lock();
        if seen.violations.len() < SHOWN {
            eprintln!("VIOLATION: {text}");
        }
        seen.violations.push(text);
    }
}

/// Runs the load and judges it.
pub(crate) async fn run(args: Args) -> Result<(), AnyError> {
    let dir = data_folder(args.dir.clone(), args.scale)?;
    let load = Arc::new(Load::new(args.seed, &dir).await?);
    let kills = Arc::new(Kills::new(args.seed));
    let mut plan = plan(args.workers)?;
    plan.worker_concurrency = 4 * args.workers;
    plan.chaos = Some(Arc::<Kills>::clone(&kills));
    plan.logs = args.logs.clone();
    if let Some(logs) = &args.logs {
        std::fs::create_dir_all(logs)?;
    }
    let functions = Arc::new(Functions::start(plan, &dir).await);
    let tally = Arc::new(Tally::default());
    eprintln!("soak: {} min, {} clients, scale {}, seed {}; {}", args.minutes, args.clients, args.scale, args.seed, machine());
    let watch = Stopwatch::start();
    let end = Duration::from_secs_f64(args.minutes * 60.0);
    let mut clients = JoinSet::new();
    for number in 0..args.clients {
        let client = Client::new(number, Arc::clone(&functions), Arc::clone(&load), Arc::clone(&tally));
        clients.spawn(async move { client.run(watch, end).await });
    }
    let mut s3 = S3Faults::new(args.seed);
    let mut growth = Growth::default();
    while !clients.is_empty() {
        s3.arrange(functions.s3.faults());
        let pause = async { sleep(SAMPLE_PAUSE).await };
        tokio::select! {
            () = pause => {}
            // All clients end at about the same time.
            Some(ended) = clients.join_next() => if let Err(error) = ended { tally.violation(format!("a client: {error}")) },
        }
        let processes = Processes::look();
        if watch.elapsed() < end {
            let minute = growth.add(watch.elapsed(), processes);
            if let Some(processes) = minute {
                line(&tally, &functions, &kills, &s3, watch.elapsed(), &processes);
            }
        }
    }
    s3.end(functions.s3.faults());
    settle(&functions, &tally).await;
    for (name, problem) in growth.problems() {
        tally.violation(format!("{name}: {problem}"));
    }
    summary(&tally, &functions, &kills, &s3, &growth)
}

/// The line of a minute.
fn line(tally: &Tally, functions: &Functions, kills: &Kills, s3: &S3Faults, now: Duration, processes: &Processes) {
    let mut seen = tally.lock();
    let sample = std::mem::take(&mut seen.ms);
    let counts = functions.ledger().counts_of(WORKER);
    eprintln!(
        "{:>4.0} s: {} queries ({} failed), p50 {:.0} ms, p90 {:.0} ms; S3 faults {}, kills {}, throttles {}; {processes}; load {}",
        now.as_secs_f64(),
        sample.len(),
        seen.failed.values().sum::<u64>(),
        sample.median(),
        sample.percentile(0.9),
        s3.fired(functions.s3.faults()),
        kills.count(),
        counts.throttles,
        machine().rsplit(' ').next().unwrap_or_default(),
    );
}

/// Waits until nothing is left to be cleared away, and says what stays.
async fn settle(functions: &Functions, tally: &Tally) {
    let watch = Stopwatch::start();
    let problems = loop {
        let problems = left_over(functions, &tally.lock().ids);
        if problems.is_empty() || watch.elapsed() > SETTLE_TIME {
            break problems;
        }
        sleep(Duration::from_secs(1)).await;
    };
    problems.into_iter().for_each(|problem| tally.violation(problem));
}

/// Records that are not final, unknown or missing, and objects that belong to nothing.
fn left_over(functions: &Functions, ids: &HashSet<String>) -> Vec<String> {
    let mut problems: Vec<String> = functions.left_in_exchange().into_iter().map(|key| format!("left over: {key}")).collect();
    problems.extend(functions.s3.open_uploads(OWN).into_iter().map(|key| format!("open upload: {key}")));
    let (mut recorded, mut stored) = (HashSet::new(), HashSet::new());
    for key in functions.s3.keys(OWN, "queries/") {
        let body = functions.s3.read(OWN, &key).unwrap_or_default();
        let record: Value = serde_json::from_slice(&body).unwrap_or_default();
        let id = record["query_id"].as_str().unwrap_or_default().to_owned();
        if !matches!(record["state"].as_str(), Some("SUCCEEDED" | "FAILED" | "CANCELLED")) {
            problems.push(format!("not final: {key} is {}", record["state"]));
        }
        if !record["result"].is_null() {
            stored.insert(id.clone());
        }
        recorded.insert(id);
    }
    problems.extend(ids.difference(&recorded).map(|id| format!("lost: no record of {id}")));
    problems.extend(recorded.difference(ids).map(|id| format!("a record that nobody was told of: {id}")));
    for key in functions.s3.keys(OWN, "results/") {
        let id = key.trim_start_matches("results/").split(['.', '/']).next().unwrap_or_default();
        if !stored.contains(id) {
            problems.push(format!("a result without a record of it: {key}"));
        }
    }
    problems
}

fn summary(tally: &Tally, functions: &Functions, kills: &Kills, s3: &S3Faults, growth: &Growth) -> Result<(), AnyError> {
    let seen = tally.lock();
    let ledger = functions.ledger();
    let (coordinator, worker) = (ledger.counts_of(COORDINATOR), ledger.counts_of(WORKER));
    eprintln!(
        "{} queries: {} right, failed {:?}; {} submissions sent again",
        seen.ids.len(),
        seen.good,
        seen.failed,
        seen.resent
    );
    eprintln!("S3: {} faults in {} requests; {} kills", s3.fired(functions.s3.faults()), s3.requests(), kills.count());
    eprintln!("coordinator: {coordinator:?}\nworker: {worker:?}\n{growth}");
    match seen.violations.len() {
        0 => Ok(()),
        count => Err(format!("{count} violations, such as: {}", seen.violations.first().map_or("", String::as_str)).into()),
    }
}
