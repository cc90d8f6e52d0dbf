//! One environment: a process with its Runtime API, and the life of one event in it.
use crate::chaos::Fault;
use crate::clock::{self, Stopwatch};
use crate::config::FunctionConfig;
use crate::http;
use crate::log::{self, Log};
use crate::process::{Process, describe};
use crate::runtime_api::{self, Report, Work};
use crate::shared::Shared;
use crate::tasks::AbortOnDrop;
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};

/// How often the memory of a running process is looked at.
const MEMORY_POLL: Duration = Duration::from_millis(50);
/// Flush requests that wait; there is one environment and one flush at a time.
const MAX_FLUSHES: usize = 1;

/// How an event ended.
pub(crate) enum Ending {
    Answer(Bytes),
    Error(Bytes),
    TooLarge,
    TimedOut,
    /// With what to say about the process.
    Exited(String),
    OutOfMemory,
}

impl Ending {
    /// Whether the process can take another event.
    pub(crate) fn survives(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::Error(_) | Self::TooLarge)
    }
}

/// Why a process did not come up.
pub(crate) enum InitFailure {
    /// Error JSON of the process itself.
    Reported(Bytes),
    TimedOut,
    Exited(String),
    /// The program could not be started.
    NotStarted(String),
}

/// A failed start: why, the time it took, and its log.
pub(crate) type StartError = (InitFailure, Duration, Arc<Log>);

/// A process that waits for events or works on one.
pub(crate) struct Environment {
    pub(crate) version: String,
    pub(crate) log: Arc<Log>,
    /// Time of the cold start.
    pub(crate) init: Duration,
    /// Runs since the last event ended.
    pub(crate) idle: Stopwatch,
    /// Peak memory of the process that was seen, in MiB.
    pub(crate) peak_memory_mb: u64,
    process: Process,
    work: mpsc::Sender<Work>,
    reports: mpsc::Receiver<Report>,
    flushes: mpsc::Sender<log::Flush>,
    freeze: bool,
    _server: AbortOnDrop,
    /// The process's `TMPDIR`, removed after the process.
    _temporary: TempDir,
}

impl Environment {
    /// Starts a process and waits until it asks for its first event; also gives the time that took.
    pub(crate) async fn start(shared: &Shared, function: &FunctionConfig, version: &str) -> Result<Self, StartError> {
        let watch = Stopwatch::start();
        let log = Log::new(&function.name, shared.config.log.clone());
        let opened = Self::open(shared, function, version, Arc::clone(&log)).await;
        let failed = |failure, log| Err((failure, watch.elapsed(), log));
        let mut environment = match opened {
            Ok(environment) => environment,
            Err(error) => return failed(InitFailure::NotStarted(error.to_string()), log),
        };
        let ready = tokio::time::timeout(function.init_timeout, environment.wait_ready()).await;
        match ready.unwrap_or(Err(InitFailure::TimedOut)) {
            Ok(()) => environment.init = watch.elapsed(),
            Err(failure) => {
                environment.kill().await;
                return failed(failure, log);
            }
        }
        Ok(environment)
    }

    async fn open(shared: &Shared, function: &FunctionConfig, version: &str, log: Arc<Log>) -> std::io::Result<Self> {
        let (listener, address) = http::listen().await?;
        let (api, work, reports) = runtime_api::channel();
        let temporary = tempfile::Builder::new().prefix("lambda-").tempdir()?;
        let (output, input) = std::io::pipe()?;
        let mut command = command(shared, function, version, address, temporary.path());
        command.stdin(std::process::Stdio::null()).stdout(input.try_clone()?).stderr(input);
        let process = shared.processes.spawn(command)?;
        let server = shared.tasks.spawn(http::serve(listener, Arc::new(api), true));
        let (flushes, flush_requests) = mpsc::channel(MAX_FLUSHES);
        shared.tasks.spawn(log::pump(pipe::Receiver::from_owned_fd(output.into())?, Arc::clone(&log), flush_requests));
        Ok(Self {
            version: version.to_owned(),
            log,
            init: Duration::ZERO,
            idle: Stopwatch::start(),
            peak_memory_mb: 0,
            process,
            work,
            reports,
            flushes,
            freeze: shared.config.freeze,
            _server: AbortOnDrop(server),
            _temporary: temporary,
        })
    }

    /// Waits until the process asks for an event.
    pub(crate) async fn wait_ready(&mut self) -> Result<(), InitFailure> {
        loop {
            tokio::select! {
                biased;
                report = self.reports.recv() => match report {
                    Some(Report::Ready) => return Ok(()),
                    Some(Report::InitError(body)) => return Err(InitFailure::Reported(body)),
                    _ => {}
                },
                status = self.process.exited() => return Err(InitFailure::Exited(describe(status))),
            }
        }
    }

    /// Runs one event to its end within `timeout`. A process that must not go on is killed.
    pub(crate) async fn run(&mut self, work: Work, timeout: Duration, memory_mb: u64, fault: &Fault) -> Ending {
        while self.reports.try_recv().is_ok() {}
        let _ = self.work.send(work).await;
        let mut deadline = pin!(clock::sleep(timeout));
        let kill_after = if let Fault::KillAfter(after) = fault { Some(*after) } else { None };
        let mut chaos = pin!(clock::sleep(kill_after.unwrap_or_default()));
        let mut kill_pending = kill_after.is_some();
        let mut poll = tokio::time::interval(MEMORY_POLL);
        // The first tick would come at once.
        poll.reset();
        let ending = loop {
            tokio::select! {
                biased;
                report = self.reports.recv() => match report {
                    Some(Report::Answer(body)) => break Ending::Answer(body),
                    Some(Report::Error(body)) => break Ending::Error(body),
                    Some(Report::TooLarge) => break Ending::TooLarge,
                    _ => {}
                },
                status = self.process.exited() => break Ending::Exited(describe(status)),
                () = &mut deadline => break Ending::TimedOut,
                () = &mut chaos, if kill_pending => {
                    kill_pending = false;
                    self.process.kill();
                }
                _ = poll.tick() => if self.measure_memory() > memory_mb { break Ending::OutOfMemory },
            }
        };
        if !ending.survives() {
            self.kill().await;
        } else if self.measure_memory() > memory_mb {
            // Between two looks it used more than it may: Lambda would have killed it there.
            self.kill().await;
            return Ending::OutOfMemory;
        } else if *fault == Fault::KillBeforeAnswer {
            self.process.kill();
            return Ending::Exited(describe(self.process.exited().await));
        }
        ending
    }

    /// Peak memory of the process in MiB.
    fn measure_memory(&mut self) -> u64 {
        self.peak_memory_mb = self.peak_memory_mb.max(self.process.peak_memory_mb().unwrap_or_default());
        self.peak_memory_mb
    }

    /// Waits until everything that the process has written is in the log.
    pub(crate) async fn flush_log(&self) {
        let (sender, done) = oneshot::channel();
        if self.flushes.send(sender).await.is_ok() {
            let _ = done.await;
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Kills the process and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.process.kill();
        self.process.exited().await;
    }

    /// Stops the process until [`Self::thaw`], if environments freeze.
    pub(crate) fn freeze(&mut self) {
        self.idle = Stopwatch::start();
        if self.freeze {
            self.process.freeze();
        }
    }

    pub(crate) fn thaw(&self) {
        if self.freeze {
            self.process.thaw();
        }
    }
}

/// The process with the environment variables that Lambda gives it.
fn command(shared: &Shared, function: &FunctionConfig, version: &str, api: SocketAddr, temporary: &Path) -> Command {
    let root = function.command.parent().unwrap_or(Path::new("/"));
    let mut command = Command::new(&function.command);
    command.args(&function.args).current_dir(root).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
        .envs(&function.environment)
        .env("AWS_LAMBDA_RUNTIME_API", api.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", &function.name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", version)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string())
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", function.name))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", clock::random_id().simple().to_string())
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_REGION", &shared.config.region)
        .env("AWS_DEFAULT_REGION", &shared.config.region)
        .env("LAMBDA_TASK_ROOT", root)
        .env("_HANDLER", "bootstrap")
        // Where AWS SDKs look for another endpoint of one service: functions can invoke functions here.
        .env("AWS_ENDPOINT_URL_LAMBDA", &shared.endpoint)
        .env("LANG", "en_US.UTF-8")
        .env("TZ", ":UTC")
        .env("TMPDIR", temporary);
    command
}
