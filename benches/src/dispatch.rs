//! Many tasks through the Invoke client: its wall time and its CPU, and what throttling does to it.
//!
//! The emulator with its stub functions is a process of its own, so that the CPU measured is the client's.

mod tls;

use crate::stats::{Sample, machine, mix};
use crate::{AnyError, sibling};
use clap::Args as ClapArgs;
use coordinator::lambda::{LambdaClient, LambdaInvoker, Target, TwoLevelBounds, TwoLevelInvoker};
use emulator::{Emulator, EmulatorConfig, FunctionConfig};
use engine::clock::{Stopwatch, process_cpu_time};
use engine::task::envelope::OutcomeEnvelope;
use engine::task::{Invoker, PROTOCOL_VERSION, RunningAttempts, TaskOutcome, TaskRequest, build_id};
use object_store::StaticCredentialProvider;
use object_store::aws::AwsCredential;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

const STUB: &str = "stub";
/// The coordinator's bootstrap, as dispatcher.
const DISPATCHER: &str = "dispatcher";
/// Memory of a dispatcher, in MB.
const DISPATCHER_MB: u64 = 1_769;
/// Longest time of one invocation, with all waiting and resending.
const CALL_LIMIT: Duration = Duration::from_secs(300);

/// What to dispatch.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Tasks
    #[arg(long, default_value_t = 1_000)]
    tasks: usize,
    /// Workers that run at once
    #[arg(long, default_value_t = 100)]
    workers: usize,
    /// Size of a task's request, in bytes that do not compress
    #[arg(long, default_value_t = 4_096)]
    bytes: usize,
    /// Times to dispatch them, after a first one that starts the workers
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Tasks under a concurrency that is a tenth of the workers
    #[arg(long, default_value_t = 2_000)]
    throttled_tasks: usize,
    /// Tasks that go to workers from here, the others by way of dispatchers; 0: all from here
    #[arg(long, default_value_t = 0)]
    direct: usize,
    /// Over TLS, and each time with a new client: the handshakes of all its connections are part of the figures
    #[arg(long)]
    tls: bool,
    /// Where the certificate lies
    #[arg(long, hide = true)]
    tls_folder: Option<PathBuf>,
}

/// What the emulator runs.
#[derive(ClapArgs)]
pub(crate) struct EmulateArgs {
    /// Invocations of the stub at one time
    #[arg(long)]
    concurrency: usize,
    /// Certificate and key for TLS
    #[arg(long)]
    tls_folder: Option<PathBuf>,
}

/// Measures the client and prints its figures.
pub(crate) async fn run(args: Args) -> Result<(), AnyError> {
    if args.tls && args.tls_folder.is_none() {
        let folder = tempfile::tempdir()?;
        let status = tls::run_trusting(folder.path()).await?;
        return if status.success() { Ok(()) } else { Err(format!("the measuring process ended with {status}").into()) };
    }
    let tls = args.tls_folder.as_deref();
    eprintln!("{} tasks of {} bytes, {} workers; {}", args.tasks, args.bytes, args.workers, machine());
    let emulator = OtherProcess::start(args.workers, tls).await?;
    let mut invoker = emulator.invoker(args.workers, args.direct)?;
    dispatch(&invoker, args.tasks, args.bytes).await?;
    let (mut walls, mut cpus) = (Sample::default(), Sample::default());
    for _ in 0..args.repeat {
        if args.tls {
            invoker = emulator.invoker(args.workers, args.direct)?;
        }
        let (wall, cpu) = dispatch(&invoker, args.tasks, args.bytes).await?;
        walls.push(wall);
        cpus.push(cpu);
    }
    let counts = emulator.end().await?;
    eprintln!("wall: median {:.2} s, best {:.2} s (goal 1 s)", walls.median(), walls.percentile(0.0));
    eprintln!("CPU of the client: median {:.2} s, best {:.2} s (goal 0.3 s)", cpus.median(), cpus.percentile(0.0));
    eprintln!("emulator: {counts}");

    let concurrency = (args.workers / 10).max(1);
    let emulator = OtherProcess::start(concurrency, tls).await?;
    let (wall, cpu) = dispatch(&emulator.invoker(args.workers, args.direct)?, args.throttled_tasks, args.bytes).await?;
    let counts = emulator.end().await?;
    let invokes = counts["invokes"].as_u64().unwrap_or_default();
    let ratio = invokes as f64 / args.throttled_tasks as f64;
    eprintln!("{} tasks at a concurrency of {concurrency}: {wall:.2} s, CPU {cpu:.2} s", args.throttled_tasks);
    eprintln!("{invokes} invokes, {ratio:.2} for each task (goal 3): {counts}");
    Ok(())
}

/// Runs `tasks` tasks at once: wall and CPU time of this process, in seconds.
async fn dispatch(invoker: &Arc<dyn Invoker>, tasks: usize, bytes: usize) -> Result<(f64, f64), AnyError> {
    let words = (0..bytes.div_ceil(8) as u64).flat_map(|index| mix(7, index).to_le_bytes());
    let (protocol_version, build_id, plan) = (PROTOCOL_VERSION, build_id(), words.take(bytes).collect());
    let request = TaskRequest { protocol_version, build_id, plan, ..TaskRequest::default() }.to_bytes();
    let running = RunningAttempts::default();
    let (watch, cpu) = (Stopwatch::start(), process_cpu_time().unwrap_or_default());
    let mut set = JoinSet::new();
    for _ in 0..tasks {
        let (invoker, request, running) = (Arc::clone(invoker), request.clone(), running.start());
        set.spawn(async move { invoker.invoke(request, running).await });
    }
    while let Some(invoked) = set.join_next().await {
        TaskOutcome::from_bytes(&invoked?.outcome?)?;
    }
    let cpu = process_cpu_time().unwrap_or_default().saturating_sub(cpu);
    Ok((watch.elapsed().as_secs_f64(), cpu.as_secs_f64()))
}

/// This program as an emulator.
struct OtherProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    endpoint: String,
}

impl OtherProcess {
    async fn start(concurrency: usize, tls: Option<&Path>) -> Result<Self, AnyError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("emulate").arg("--concurrency").arg(concurrency.to_string()).kill_on_drop(true);
        if let Some(folder) = tls {
            command.arg("--tls-folder").arg(folder);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the emulator has no output")?;
        let mut lines = BufReader::new(output).lines();
        let endpoint = lines.next_line().await?.ok_or("the emulator did not start")?;
        Ok(Self { child, lines, endpoint })
    }

    fn invoker(&self, workers: usize, direct: usize) -> Result<Arc<dyn Invoker>, AnyError> {
        let credential = AwsCredential { key_id: "AKIDEXAMPLE".into(), secret_key: "example".into(), token: None };
        let credentials = Arc::new(StaticCredentialProvider::new(credential));
        let client = Arc::new(LambdaClient::new(Some(&self.endpoint), "us-east-1", credentials)?);
        let from_here = Arc::new(LambdaInvoker::new(Arc::clone(&client), Target::new(STUB, "live")?, workers, CALL_LIMIT));
        if direct == 0 {
            return Ok(from_here);
        }
        let bounds = TwoLevelBounds { direct_attempts: direct, dispatchers: 100, dispatcher_mb: DISPATCHER_MB };
        Ok(Arc::new(TwoLevelInvoker::new(from_here, client, Target::new(DISPATCHER, "live")?, bounds)))
    }

    /// Ends it; its counts.
    async fn end(mut self) -> Result<Value, AnyError> {
        drop(self.child.stdin.take());
        let counts = self.lines.next_line().await?.ok_or("the emulator gave no counts")?;
        self.child.wait().await?;
        Ok(serde_json::from_str(&counts)?)
    }
}

/// Emulates the stub function until standard input ends, then writes its counts.
pub(crate) async fn emulate(args: EmulateArgs) -> Result<(), AnyError> {
    let mut function = FunctionConfig::new(STUB, sibling("hello-bootstrap")?);
    let outcome = OutcomeEnvelope::new(&TaskOutcome::default().to_bytes());
    function.environment.insert("ANSWER".into(), serde_json::to_string(&outcome)?);
    function.max_concurrency = args.concurrency;
    function.timeout = Duration::from_secs(30);
    let temp = tempfile::tempdir()?;
    let config = EmulatorConfig { functions: vec![function, dispatcher(temp.path())?], ..EmulatorConfig::default() };
    let emulator = Emulator::start(config).await?;
    let mut out = std::io::stdout();
    let mut tasks = JoinSet::new();
    let endpoint = match &args.tls_folder {
        Some(folder) => tls::before(&emulator.endpoint(), folder, &mut tasks).await?,
        None => emulator.endpoint(),
    };
    writeln!(out, "{endpoint}")?;
    out.flush()?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    let ledger = emulator.ledger();
    let (counts, dispatchers) = (ledger.counts_of(STUB), ledger.counts_of(DISPATCHER).invokes);
    let (errors, processes) = (counts.errors, counts.cold_starts);
    writeln!(
        out,
        "{}",
        json!({
            "invokes": counts.invokes, "throttles": counts.throttles, "errors": errors, "processes": processes,
            "dispatchers": dispatchers,
        })
    )?;
    emulator.shutdown().await;
    Ok(())
}

/// The coordinator's bootstrap over a store that it never asks.
fn dispatcher(temp: &Path) -> Result<FunctionConfig, AnyError> {
    let mut function = FunctionConfig::new(DISPATCHER, sibling("owlet-coordinator")?);
    function.memory_mb = DISPATCHER_MB;
    let own = [
        ("OWLET_STATE_URL", "s3://owlet".to_string()),
        ("OWLET_DATA_LOCATIONS", "s3://lake".to_string()),
        ("OWLET_TEMP_DIR", temp.display().to_string()),
        ("OWLET_WORKER_FUNCTION", STUB.to_string()),
        ("OWLET_WORKERS", "1000".to_string()),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_string()),
        ("AWS_SECRET_ACCESS_KEY", "example".to_string()),
    ];
    function.environment.extend(own.map(|(name, value)| (name.to_string(), value)));
    Ok(function)
}
