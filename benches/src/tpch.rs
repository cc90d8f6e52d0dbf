//! TPC-H in one process, on workers, and on a peer, interleaved query by query; writes one JSON file.

use crate::{AnyError, data_folder, peer};
use clap::Args as ClapArgs;
use coordinator::{Coordinator, QueryControl, Receipt, Workspace};
use engine::clock::{Stopwatch, process_cpu_time};
use engine::session::SharedRuntime;
use engine::settings::Settings;
use engine::storage::Storage;
use engine::task::Invoker;
use serde_json::{Value, json};
use sql::Tables;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use worker::{InProcessInvoker, Worker};

/// Runs the 22 queries with `--workers 0`, with `--workers N` and on the DataFusion Python package, in turn.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// TPC-H scale factor.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Workers of the distributed run.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Runs of each query on each engine; the best counts.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Queries, by number; all 22 when absent.
    #[arg(long, value_delimiter = ',')]
    query: Vec<u8>,
    /// Folder of the tables; made when absent.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Python with the `datafusion` package, for the peer; left out when absent.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Where the figures go.
    #[arg(long, default_value = "tpch-bench.json")]
    json: PathBuf,
    /// DataFusion options of both runs of Owlet, as key=value.
    #[arg(long = "set")]
    set: Vec<String>,
}

struct Bench {
    name: String,
    coordinator: Coordinator,
    workspace: Workspace,
    _exchange: TempDir,
}

#[derive(Clone, Default)]
struct Run {
    wall_ms: f64,
    cpu_ms: f64,
    receipt: Receipt,
}

/// Measures and writes the figures.
pub(crate) async fn run(args: Args) -> Result<(), AnyError> {
    let dir = data_folder(args.dir.clone(), args.scale)?;
    measure(&args, &dir).await
}

async fn measure(args: &Args, dir: &Path) -> Result<(), AnyError> {
    let benches = [Bench::new(args, 0, dir)?, Bench::new(args, args.workers, dir)?];
    let mut peer = args.python.as_ref().map(|python| peer::Peer::start(python, dir)).transpose()?;
    let numbers: Vec<u8> = if args.query.is_empty() { (1..=22).collect() } else { args.query.clone() };
    let mut queries = Vec::new();
    let mut totals = vec![0.0; benches.len() + 1];
    eprintln!("query  {:>12}  {:>12}  {:>12}", benches[0].name, benches[1].name, "peer");
    for number in numbers {
        let sql = cli::tpch::queries::sql(number).ok_or("no such query")?;
        let mut best: Vec<Option<Run>> = vec![None; benches.len()];
        let mut best_peer: Option<f64> = None;
        for _ in 0..args.repeat.max(1) {
            for (bench, best) in benches.iter().zip(&mut best) {
                let run = bench.run(&sql).await?;
                if best.as_ref().is_none_or(|best| run.wall_ms < best.wall_ms) {
                    *best = Some(run);
                }
            }
            if let Some(peer) = &mut peer {
                let wall_ms = peer.run(&sql)?;
                best_peer = Some(best_peer.map_or(wall_ms, |best| best.min(wall_ms)));
            }
        }
        let best: Vec<Run> = best.into_iter().flatten().collect();
        for (total, run) in totals.iter_mut().zip(&best) {
            *total += run.wall_ms;
        }
        totals[benches.len()] += best_peer.unwrap_or(0.0);
        let shown: Vec<f64> = best.iter().map(|run| run.wall_ms).collect();
        eprintln!("Q{number:<5} {:>9.1} ms {:>9.1} ms {:>9.1} ms", shown[0], shown[1], best_peer.unwrap_or(f64::NAN));
        let figures: Vec<Value> = benches.iter().zip(&best).map(|(bench, run)| run.figures(&bench.name)).collect();
        queries.push(json!({ "query": number, "runs": figures, "peer_wall_ms": best_peer }));
    }
    let ratio = totals[1] / totals[0];
    let peer_ratio = peer.is_some().then(|| totals[0] / totals[2]);
    eprintln!("total  {:>9.1} ms {:>9.1} ms {:>9.1} ms", totals[0], totals[1], totals[2]);
    eprintln!("workers {} / workers 0: {ratio:.3}; workers 0 / peer: {peer_ratio:?}", args.workers);
    let report = json!({
        "scale": args.scale, "repeat": args.repeat, "workers": args.workers,
        "total_ms": { "workers_0": totals[0], "workers_n": totals[1], "peer": peer.is_some().then_some(totals[2]) },
        "ratio_workers_n_to_0": ratio, "ratio_workers_0_to_peer": peer_ratio, "queries": queries,
    });
    std::fs::write(&args.json, serde_json::to_string_pretty(&report)?)?;
    Ok(())
}

impl Bench {
    fn new(args: &Args, workers: usize, dir: &Path) -> Result<Self, AnyError> {
        let exchange = tempfile::tempdir()?;
        let session =
            args.set.iter().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let exchange_url = Some(format!("file://{}/", exchange.path().display()));
        let settings = Settings { workers, exchange_url, session, local_partitions: 2, ..Settings::default() };
        let storage = Storage::new(&settings)?;
        let shared = SharedRuntime::new(&settings)?;
        let worker = Worker::new(&settings, Arc::clone(&storage), shared.clone());
        let invoker: Arc<dyn Invoker> = Arc::new(InProcessInvoker::new(worker));
        let coordinator = Coordinator::new(settings, storage, shared, Some(invoker))?;
        let mut tables = Tables::default();
        tables.add_folder(dir, &[])?;
        Ok(Self { name: format!("workers {workers}"), coordinator, workspace: Workspace::of(tables), _exchange: exchange })
    }

    async fn run(&self, sql: &str) -> Result<Run, AnyError> {
        let (watch, cpu) = (Stopwatch::start(), process_cpu_time().unwrap_or_default());
        let statements = self.coordinator.parse(sql).await?;
        let statement = statements.first().ok_or("no statement")?;
        let mut run = self.coordinator.run(&self.workspace, statement, &QueryControl::new()).await?;
        let rows = run.rows.collect().await;
        let receipt = run.finish().await?;
        rows?;
        let cpu = process_cpu_time().unwrap_or_default().saturating_sub(cpu);
        Ok(Run { wall_ms: watch.elapsed().as_secs_f64() * 1e3, cpu_ms: cpu.as_secs_f64() * 1e3, receipt })
    }
}

impl Run {
    fn figures(&self, name: &str) -> Value {
        let receipt = &self.receipt;
        json!({
            "engine": name, "wall_ms": self.wall_ms, "cpu_ms": self.cpu_ms, "rows": receipt.rows, "tasks": receipt.tasks,
            "planning_ms": receipt.planning_ms, "data_scanned_bytes": receipt.data_scanned_bytes,
            "exchange_bytes": receipt.exchange_bytes, "requests": receipt.requests.total(), "local_reason": receipt.local_reason,
        })
    }
}
