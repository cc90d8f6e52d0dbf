//! Runs one attempt from request bytes to outcome bytes; the same everywhere, whoever invoked it.

use bytes::Bytes;
use datafusion::execution::SessionState;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::BroadcastExec;
use engine::clock::{Stopwatch, sleep};
use engine::compute::ComputeLease;
use engine::exchange::{Exchange, ExchangeReader, Written, write_output};
use engine::ids::{AttemptId, QueryId, StageId, TaskId};
use engine::memory::PeakPool;
use engine::metrics::operator_metrics;
use engine::panic::caught;
use engine::session::{SharedRuntime, memory_pool, session_config, session_state, with_exchange};
use engine::settings::Settings;
use engine::storage::{Meter, PendingWrites, Pins, Storage};
use engine::task::{
    Output, PROTOCOL_VERSION, PinnedObject, ResourceUse, Running, TaskError, TaskOutcome, TaskRequest, TaskResult, decode_plan,
};
use engine::write::WriteAccess;
use engine::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

/// An attempt that ends within this time never looks for the cancel marker.
const FIRST_CANCEL_POLL: Duration = Duration::from_millis(500);
/// Longest wait for writes that a stopped plan has sent, below the time that a function keeps for its answer.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// Longest wait for the answer to the last look for the cancel marker: S3's slowest thousandth takes 0.2 s.
const LAST_LOOK_TIME: Duration = Duration::from_millis(500);

/// What the attempts of one worker process share.
#[derive(Clone, Debug)]
pub struct Worker {
    storage: Arc<Storage>,
    shared: SharedRuntime,
    exchange_buffer_bytes: usize,
    exchange_read_concurrency: usize,
    memory_bytes: usize,
    temp_dir: Option<PathBuf>,
    /// The only exchange that this worker uses, where it is told so.
    exchange_url: Option<String>,
}

impl Worker {
    /// Where attempts run.
    pub(crate) fn compute(&self) -> ComputeLease {
        self.shared.compute()
    }

    /// A worker with the limits of `settings`, over `storage` and `shared`.
    pub fn new(settings: &Settings, storage: Arc<Storage>, shared: SharedRuntime) -> Self {
        Self {
            storage,
            shared,
            exchange_buffer_bytes: settings.exchange_buffer_bytes / settings.workers.max(1),
            exchange_read_concurrency: settings.exchange_read_concurrency,
            memory_bytes: settings.memory_bytes,
            temp_dir: settings.temp_dir.clone(),
            exchange_url: None,
        }
    }

    /// The same, for requests that name this exchange and no other.
    pub(crate) fn only_exchange(mut self, url: Option<String>) -> Self {
        self.exchange_url = url;
        self
    }
}

/// What an attempt runs in.
#[derive(Default, Debug)]
pub struct Invocation {
    /// Time that the worker's own process has left, where that is limited.
    pub time_left: Option<Duration>,
    /// Id of the invocation, for the log; empty where there is none.
    pub request_id: String,
    /// Dropped when the attempt has really stopped.
    pub running: Option<Running>,
}

/// The task that executes a plan, and its threads.
struct AbortOnDrop(JoinHandle<Result<Output>>, ComputeLease);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if !self.0.is_finished() {
            self.0.abort();
            self.1.given_up();
        }
    }
}

/// Runs the attempt that `request` describes.
///
/// The plan runs on the worker's threads for that, which it may keep busy for seconds without a pause; the watch over it
/// (time, cancel) runs where this is called. Never fails as a call: what goes wrong is in the outcome, typed. A panic in
/// the plan is caught and reported.
pub async fn run_task(worker: &Arc<Worker>, request: &[u8], invocation: Invocation) -> Bytes {
    let watch = Stopwatch::start();
    let decoded = TaskRequest::from_bytes(request);
    let mut outcome = TaskOutcome { protocol_version: PROTOCOL_VERSION, ..TaskOutcome::default() };
    let request = match decoded {
        Ok(request) => request,
        Err(error) => {
            tracing::warn!(request_id = invocation.request_id, code = error.kind.name(), error = error.message, "no attempt");
            outcome.result = Some(TaskResult::Error(TaskError::from(&error)));
            return outcome.to_bytes();
        }
    };
    outcome.query_id.clone_from(&request.query_id);
    (outcome.stage, outcome.task, outcome.attempt) = (request.stage, request.task, request.attempt);
    let attempt = Arc::new(Attempt::new(Arc::clone(worker), request, invocation));
    let result = attempt.watched().await;
    // What a stopped plan has sent is awaited: after the answer this process may be frozen.
    attempt.pending.settle(SETTLE_TIME).await;
    let mut resources = attempt.resources(watch);
    attempt.log_end(&resources, result.as_ref().err());
    match result {
        Ok(output) => {
            resources.output_bytes = output.segments.iter().map(|segment| segment.bytes).sum();
            resources.output_rows = output.segments.iter().map(|segment| segment.rows).sum();
            if let (true, Some(plan)) = (attempt.request.collect_metrics, attempt.executed.get()) {
                outcome.operators = operator_metrics(plan);
            }
            outcome.result = Some(TaskResult::Output(output));
        }
        Err(error) => outcome.result = Some(TaskResult::Error(TaskError::from(&error))),
    }
    outcome.resources = Some(resources);
    outcome.to_bytes()
}

fn out_of_time(id: AttemptId, asked: Duration, had: Duration) -> Error {
    let whose =
        if had < asked { "the worker function has left (raise its timeout, or use more workers)" } else { "its query has left" };
    Error::new(ErrorKind::LimitExceeded, format!("attempt {id} did not end within the {} ms that {whose}", had.as_millis()))
}

struct Attempt {
    worker: Arc<Worker>,
    request: TaskRequest,
    invocation: Invocation,
    query: QueryId,
    id: AttemptId,
    source_meter: Arc<Meter>,
    exchange_meter: Arc<Meter>,
    time_left: Duration,
    pool: Arc<PeakPool>,
    executed: OnceLock<Arc<dyn ExecutionPlan>>,
    pending: PendingWrites,
}

impl Attempt {
    fn new(worker: Arc<Worker>, request: TaskRequest, invocation: Invocation) -> Self {
        let asked = Duration::from_millis(request.time_left_ms);
        let time_left = invocation.time_left.map_or(asked, |own| own.min(asked));
        let memory = usize::try_from(request.memory_bytes).unwrap_or(usize::MAX).min(worker.memory_bytes);
        let query = QueryId(Uuid::from_slice(&request.query_id).unwrap_or_default());
        let task = TaskId { stage: StageId(request.stage), index: request.task };
        Self {
            id: AttemptId { task, attempt: request.attempt },
            worker,
            request,
            pending: PendingWrites::new(invocation.running.clone()),
            invocation,
            query,
            source_meter: Meter::new(),
            exchange_meter: Meter::new(),
            time_left,
            pool: PeakPool::new(memory_pool(memory)),
            executed: OnceLock::new(),
        }
    }

    /// Runs the plan to its end, or until it is told to stop or its time is up.
    async fn watched(self: &Arc<Self>) -> Result<Output> {
        let attempt = Arc::clone(self);
        let compute = self.worker.compute();
        let task = compute.spawn(async move {
            let what = format!("task {}", attempt.id.task);
            caught(&what, attempt.run()).await
        });
        let mut plan = AbortOnDrop(task, compute);
        let asked = Duration::from_millis(self.request.time_left_ms);
        let (ended, until) = oneshot::channel();
        let mut looking = pin!(self.cancel_marker(until));
        let mut is_looking = true;
        let result = tokio::select! {
            ended = &mut plan.0 => ended.unwrap_or_else(|_| Err(Error::internal("the worker panicked"))),
            () = &mut looking => {
                is_looking = false;
                Err(Error::new(ErrorKind::Cancelled, format!("attempt {} was told to stop", self.id)))
            }
            () = sleep(self.time_left) => Err(out_of_time(self.id, asked, self.time_left)),
        };
        drop((plan, ended));
        if is_looking {
            // A request that is given up may have been sent or not: the bill would not know.
            drop(timeout(LAST_LOOK_TIME, looking).await);
        }
        result
    }

    fn exchange(&self) -> Result<Exchange> {
        let url = &self.request.exchange_url;
        if self.worker.exchange_url.as_ref().is_some_and(|own| own != url) {
            return Err(Error::new(ErrorKind::AccessDenied, format!("this worker does not exchange rows at {url}")));
        }
        let registry = self.worker.storage.registry(Arc::clone(&self.exchange_meter), Pins::default(), self.time_left);
        Exchange::open(&registry, url, self.query)
    }

    /// Ends when the query's cancel marker appears (never where nobody asked to look for it), or between two looks after the
    /// sender of `until` was dropped.
    fn cancel_marker(&self, mut until: oneshot::Receiver<()>) -> impl Future<Output = ()> + use<> {
        let pause = Duration::from_millis(self.request.cancel_poll_ms);
        let exchange = self.exchange().ok().filter(|_| !pause.is_zero());
        async move {
            let Some(exchange) = exchange else { return drop(until.await) };
            let mut next = FIRST_CANCEL_POLL;
            loop {
                tokio::select! {
                    _ = &mut until => return,
                    () = sleep(next) => {}
                }
                if exchange.is_cancelled().await {
                    return;
                }
                next = pause;
            }
        }
    }

    async fn run(&self) -> Result<Output> {
        let request = &self.request;
        let exchange = self.exchange()?;
        let (plan_bytes, pins) = match request.plan_key.as_str() {
            "" => (request.plan.clone(), request.pins.clone()),
            key => TaskRequest::taken_plan(&exchange.get(key).await?)?,
        };
        let state = self.session(exchange.clone(), &pins)?;
        let context = state.task_ctx();
        let plan = without_broadcast(decode_plan(&plan_bytes, &context)?);
        // Set once: an attempt runs once.
        drop(self.executed.set(Arc::clone(&plan)));
        let partitions = plan.output_partitioning().partition_count();
        let streams =
            (0..partitions).map(|partition| plan.execute(partition, Arc::clone(&context))).collect::<Result<Vec<_>, _>>()?;
        let written = Written {
            exchange,
            key: Exchange::attempt_key(self.id),
            inline_limit_bytes: usize::try_from(request.inline_limit_bytes).unwrap_or(usize::MAX),
            buffer_bytes: self.worker.exchange_buffer_bytes,
            temp_dir: self.worker.temp_dir.clone(),
        };
        let mut output = write_output(streams, &written).await?;
        output.task = request.task;
        output.broadcast = request.broadcast;
        Ok(output)
    }

    fn session(&self, exchange: Exchange, planned: &[PinnedObject]) -> Result<SessionState> {
        let request = &self.request;
        let pins = self.worker.shared.pins();
        for pin in planned {
            pins.pin(&pin.store, &object_store::path::Path::from(pin.path.as_str()), &pin.etag);
        }
        let registry = self.worker.storage.registry(Arc::clone(&self.source_meter), pins, self.time_left);
        let reader = ExchangeReader::new(request.inputs.clone(), exchange, self.worker.exchange_read_concurrency);
        let config = with_exchange(session_config(&request.session)?, reader, request.task as usize, request.task_count as usize);
        let runtime = self.worker.shared.runtime(registry, Arc::clone(&self.pool) as _);
        let config = config.with_extension(Arc::new(self.writes()));
        Ok(session_state(config, runtime).build())
    }

    /// Where the plan may write: what this worker was told, whatever the request says. Counted with the exchange.
    fn writes(&self) -> WriteAccess {
        let registry = self.worker.storage.registry(Arc::clone(&self.exchange_meter), Pins::default(), self.time_left);
        let AttemptId { task, attempt } = self.id;
        WriteAccess::new(registry, format!("{}-{}-{attempt}", task.stage, task.index), self.pending.clone())
    }

    /// One line for each attempt.
    fn log_end(&self, used: &ResourceUse, error: Option<&Error>) {
        let trace_id = self.request.trace_parent.split('-').nth(1).unwrap_or("");
        let (code, error) = error.map_or(("", ""), |error| (error.kind.name(), &error.message));
        tracing::info!(
            query_id = %self.query, stage = self.request.stage, task = self.request.task, attempt = self.request.attempt,
            request_id = self.invocation.request_id, trace_id, elapsed_ms = used.elapsed_us / 1_000, scanned_bytes = used.scanned_bytes, code, error,
            "attempt ended"
        );
    }

    fn resources(&self, watch: Stopwatch) -> ResourceUse {
        let mut counts = self.source_meter.counts();
        let scanned_bytes = counts.bytes_read;
        counts.add(&self.exchange_meter.counts());
        let mut resources = ResourceUse {
            elapsed_us: u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX),
            scanned_bytes,
            peak_memory_bytes: self.pool.peak_bytes(),
            ..ResourceUse::default()
        };
        resources.set_requests(&counts);
        resources
    }
}

/// A broadcast is written once: its node would only repeat the partitions for every consumer.
fn without_broadcast(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.is::<BroadcastExec>() {
        true => plan.children().first().map_or_else(|| Arc::clone(&plan), |input| Arc::clone(input)),
        false => plan,
    }
}
