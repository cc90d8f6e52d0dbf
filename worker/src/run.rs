//! Runs one attempt from request bytes to outcome bytes; the same everywhere, whoever invoked it.

use bytes::Bytes;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::BroadcastExec;
use engine::clock::{Stopwatch, sleep};
use engine::exchange::{Exchange, ExchangeReader, Written, write_output};
use engine::ids::{AttemptId, QueryId, StageId, TaskId};
use engine::memory::PeakPool;
use engine::metrics::operator_metrics;
use engine::panic::caught;
use engine::session::{SharedRuntime, memory_pool, session_config, with_exchange};
use engine::settings::Settings;
use engine::storage::{Meter, Pins, Storage};
use engine::task::{Output, PROTOCOL_VERSION, ResourceUse, TaskError, TaskOutcome, TaskRequest, TaskResult, decode_plan};
use engine::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinError;
use uuid::Uuid;

/// What the attempts of one worker process share.
#[derive(Clone, Debug)]
pub struct Worker {
    storage: Arc<Storage>,
    shared: SharedRuntime,
    exchange_buffer_bytes: usize,
    exchange_read_concurrency: usize,
    temp_dir: Option<PathBuf>,
}

impl Worker {
    /// Where attempts run.
    pub(crate) fn compute(&self) -> tokio::runtime::Handle {
        self.shared.compute()
    }

    /// A worker with the limits of `settings`, over `storage` and `shared`.
    pub fn new(settings: &Settings, storage: Arc<Storage>, shared: SharedRuntime) -> Self {
        Self {
            storage,
            shared,
            exchange_buffer_bytes: settings.exchange_buffer_bytes / settings.workers.max(1),
            exchange_read_concurrency: settings.exchange_read_concurrency,
            temp_dir: settings.temp_dir.clone(),
        }
    }
}

/// Runs the attempt that `request` describes.
///
/// Never fails as a call: what goes wrong is in the outcome, typed. A panic in the plan is caught and reported.
pub async fn run_task(worker: &Worker, request: &[u8]) -> Bytes {
    let watch = Stopwatch::start();
    let decoded = TaskRequest::from_bytes(request);
    let mut outcome = TaskOutcome { protocol_version: PROTOCOL_VERSION, ..TaskOutcome::default() };
    let request = match decoded {
        Ok(request) => request,
        Err(error) => {
            outcome.result = Some(TaskResult::Error(TaskError::from(&error)));
            return outcome.to_bytes();
        }
    };
    outcome.query_id.clone_from(&request.query_id);
    (outcome.stage, outcome.task, outcome.attempt) = (request.stage, request.task, request.attempt);
    let mut attempt = Attempt::new(worker, &request);
    let what = format!("task {}", attempt.id.task);
    let id = attempt.id;
    let time_left = Duration::from_millis(request.time_left_ms);
    let result = tokio::select! {
        result = caught(&what, attempt.run()) => result,
        () = sleep(time_left) => Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("attempt {id} did not end within its {} ms", request.time_left_ms),
        )),
    };
    let mut resources = attempt.resources(watch);
    match result {
        Ok(output) => {
            resources.output_bytes = output.segments.iter().map(|segment| segment.bytes).sum();
            resources.output_rows = output.segments.iter().map(|segment| segment.rows).sum();
            if let (true, Some(plan)) = (request.collect_metrics, &attempt.executed) {
                outcome.operators = operator_metrics(plan);
            }
            outcome.result = Some(TaskResult::Output(output));
        }
        Err(error) => {
            tracing::warn!(query_id = %attempt.query, attempt = %attempt.id, error = %error, "attempt failed");
            outcome.result = Some(TaskResult::Error(TaskError::from(&error)));
        }
    }
    outcome.resources = Some(resources);
    outcome.to_bytes()
}

struct Attempt<'a> {
    worker: &'a Worker,
    request: &'a TaskRequest,
    query: QueryId,
    id: AttemptId,
    source_meter: Arc<Meter>,
    exchange_meter: Arc<Meter>,
    pool: Arc<PeakPool>,
    executed: Option<Arc<dyn ExecutionPlan>>,
}

impl<'a> Attempt<'a> {
    fn new(worker: &'a Worker, request: &'a TaskRequest) -> Self {
        let query = QueryId(Uuid::from_slice(&request.query_id).unwrap_or_default());
        let task = TaskId { stage: StageId(request.stage), index: request.task };
        Self {
            worker,
            request,
            query,
            id: AttemptId { task, attempt: request.attempt },
            source_meter: Meter::new(),
            exchange_meter: Meter::new(),
            pool: PeakPool::new(memory_pool(usize::try_from(request.memory_bytes).unwrap_or(usize::MAX))),
            executed: None,
        }
    }

    async fn run(&mut self) -> Result<Output> {
        let request = self.request;
        let time_left = Duration::from_millis(request.time_left_ms);
        let storage = &self.worker.storage;
        let exchange_registry = storage.registry(Arc::clone(&self.exchange_meter), Pins::default(), time_left);
        let exchange = Exchange::open(&exchange_registry, &request.exchange_url, self.query)?;
        let state = self.session(exchange.clone(), time_left)?;
        let plan_bytes = match request.plan_key.as_str() {
            "" => request.plan.clone(),
            key => exchange.get(key).await?,
        };
        let context = state.task_ctx();
        let plan = without_broadcast(decode_plan(&plan_bytes, &context)?);
        self.executed = Some(Arc::clone(&plan));
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

    fn session(&self, exchange: Exchange, time_left: Duration) -> Result<SessionState> {
        let request = self.request;
        let pins = self.worker.shared.pins();
        for pin in &request.pins {
            pins.pin(&pin.store, &object_store::path::Path::from(pin.path.as_str()), &pin.etag);
        }
        let registry = self.worker.storage.registry(Arc::clone(&self.source_meter), pins, time_left);
        let reader = ExchangeReader::new(request.inputs.clone(), exchange, self.worker.exchange_read_concurrency);
        let config = with_exchange(session_config(&request.session)?, reader, request.task as usize, request.task_count as usize);
        let runtime = self.worker.shared.runtime(registry, Arc::clone(&self.pool) as _);
        Ok(SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build())
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

/// An attempt's own panic or cancellation as an error.
pub(crate) fn joined(result: Result<Bytes, JoinError>) -> Result<Bytes> {
    result.map_err(|error| match error.is_cancelled() {
        true => Error::new(ErrorKind::Cancelled, "the attempt was cancelled"),
        false => Error::internal("the worker panicked"),
    })
}
