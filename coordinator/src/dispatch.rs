//! Performs what the scheduler decides: builds requests, invokes workers, and turns their answers into events.

use crate::graph::{Input, StageGraph};
use crate::progress::{Progress, StageProgress};
use crate::receipt::{Invocation, Usage};
use crate::rows::{BUDGET_TICK, cancelled};
use crate::scheduler::{Action, Bounds, Event, Scheduler, StageShape};
use crate::verify::file_scan;
use bytes::Bytes;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use engine::clock::{Stopwatch, sleep};
use engine::exchange::{Exchange, slice_output};
use engine::ids::{AttemptId, QueryId, StageId, TaskId};
use engine::settings::Settings;
use engine::storage::Pins;
use engine::task::{
    Invoked, Invoker, OperatorMetrics, Output, OutputLocation, PROTOCOL_VERSION, PinnedObject, RunningAttempts, SessionOption,
    StageInput, TaskOutcome, TaskRequest, TaskResult, build_id, encode_plan,
};
use engine::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// Everything that the stages of one query need.
pub(crate) struct Dispatch<'a> {
    pub(crate) query: QueryId,
    pub(crate) settings: &'a Settings,
    pub(crate) graph: &'a StageGraph,
    pub(crate) invoker: &'a Arc<dyn Invoker>,
    pub(crate) exchange: &'a Exchange,
    pub(crate) exchange_url: &'a str,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) task_options: &'a [SessionOption],
    pub(crate) pins: &'a Pins,
    pub(crate) collect_metrics: bool,
    pub(crate) watch: Stopwatch,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) progress: &'a watch::Sender<Progress>,
    pub(crate) usage: &'a Mutex<Usage>,
    pub(crate) running: &'a RunningAttempts,
    pub(crate) trace_parent: &'a str,
}

/// Operator metrics of each accepted task, per stage.
pub(crate) type StageMetrics = BTreeMap<StageId, Vec<Vec<OperatorMetrics>>>;

/// What the stages gave.
#[derive(Default)]
pub(crate) struct Completed {
    /// The accepted output of every task.
    pub(crate) outputs: HashMap<TaskId, Output>,
    /// Present when asked for.
    pub(crate) metrics: StageMetrics,
    /// Whether the exchange may hold objects.
    pub(crate) wrote_objects: bool,
}

struct Run<'a> {
    env: &'a Dispatch<'a>,
    scheduler: Scheduler,
    invocations: JoinSet<Invoked>,
    /// Each with its start, as time of the query. What waits for a place at a busy service counts as running.
    attempts: HashMap<Id, (AttemptId, Duration)>,
    /// How long attempts ran that were given up; what they are billed is known when the query ends.
    given_up: Vec<Duration>,
    aborts: HashMap<AttemptId, AbortHandle>,
    /// Outputs that were reported and wait for the scheduler's word.
    reported: HashMap<AttemptId, TaskOutcome>,
    completed: Completed,
    /// Attempts that may run at once.
    most_running: usize,
}

/// Runs all stages of the graph.
///
/// # Errors
/// What failed the query: the error of a task, cancel, or the time limit. `completed.wrote_objects` then tells whether
/// the exchange has to be swept.
pub(crate) async fn run_stages(env: &Dispatch<'_>, completed: &mut Completed) -> Result<()> {
    let shapes = env.graph.stages.iter().map(|stage| StageShape {
        id: stage.id,
        tasks: stage.tasks,
        inputs: stage.inputs.iter().map(|input| input.stage).collect(),
    });
    let bounds = Bounds {
        max_running: env.settings.workers,
        max_attempts_per_task: env.settings.max_attempts_per_task,
        retry_budget_base: env.settings.retry_budget_base,
        attempt_timeout: Duration::from_millis(env.settings.attempt_timeout_ms),
        deadline: Duration::from_millis(env.settings.query_timeout_ms),
    };
    for stage in &env.graph.stages {
        env.usage.lock().unwrap_or_else(PoisonError::into_inner).add_stage(stage.id, stage.tasks);
    }
    let mut run = Run {
        env,
        scheduler: Scheduler::new(shapes.collect(), bounds),
        invocations: JoinSet::new(),
        attempts: HashMap::new(),
        given_up: Vec::new(),
        aborts: HashMap::new(),
        reported: HashMap::new(),
        completed: std::mem::take(completed),
        most_running: env.graph.stages.iter().map(|stage| stage.tasks as usize).sum::<usize>().min(env.settings.workers),
    };
    let result = run.drive().await;
    run.invocations.abort_all();
    *completed = run.completed;
    result
}

impl Run<'_> {
    async fn drive(&mut self) -> Result<()> {
        let mut event = Event::Tick;
        loop {
            let mut actions = self.scheduler.step(event, self.env.watch.elapsed());
            while !actions.is_empty() {
                let mut next = Vec::new();
                for action in actions {
                    match action {
                        Action::Start(attempt) => {
                            if let Err(error) = self.start(attempt).await {
                                next.extend(self.scheduler.step(Event::Failed(attempt, error), self.env.watch.elapsed()));
                            }
                        }
                        Action::GiveUp(attempt) => self.give_up(attempt),
                        Action::Accept(attempt) => self.accept(attempt),
                        Action::Succeed => return Ok(()),
                        Action::Fail(error) => return Err(error),
                    }
                }
                actions = next;
            }
            self.publish();
            event = self.next_event().await;
        }
    }

    async fn next_event(&mut self) -> Event {
        loop {
            let wake = self.scheduler.next_wake().unwrap_or(Duration::MAX);
            let pause = wake.saturating_sub(self.env.watch.elapsed()).min(Duration::from_secs(3_600));
            let tick = if self.env.settings.max_cost_nano_usd.is_some() { BUDGET_TICK } else { Duration::MAX };
            tokio::select! {
                biased;
                () = self.env.cancel.cancelled() => return Event::Stop(cancelled()),
                Some(joined) = self.invocations.join_next_with_id() => {
                    if let Some(event) = self.joined(joined) {
                        return event;
                    }
                }
                () = sleep(pause.min(tick)) => match self.over_budget() {
                    Some(error) => return Event::Stop(error),
                    None if tick < pause => {}
                    None => return Event::Tick,
                },
            }
        }
    }

    fn joined(&mut self, joined: Result<(Id, Invoked), tokio::task::JoinError>) -> Option<Event> {
        let (id, invoked) = match joined {
            Ok((id, invoked)) => (id, invoked),
            Err(error) if error.is_cancelled() => {
                let (_, since) = self.attempts.remove(&error.id())?;
                self.given_up.push(self.env.watch.elapsed().saturating_sub(since));
                return None;
            }
            Err(error) => (error.id(), Err(Error::internal("an invocation panicked")).into()),
        };
        let (attempt, _) = self.attempts.remove(&id)?;
        self.aborts.remove(&attempt);
        let Invoked { billed, throttles, measured_ms, dispatcher, .. } = invoked;
        let outcome = invoked.outcome.and_then(|bytes| TaskOutcome::from_bytes(&bytes));
        let used = outcome.as_ref().ok().and_then(|outcome| outcome.resources);
        let was_sent = !outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Throttled);
        let memory_mb = self.env.settings.worker_memory_mb();
        let answered = outcome.is_ok();
        let invocation = Invocation { attempt, used, billed, throttles, measured_ms, dispatcher, was_sent, answered };
        self.lock_usage().add_invocation(&invocation, memory_mb);
        let event = match outcome {
            Ok(outcome) => self.outcome(attempt, outcome),
            Err(error) => {
                // Nobody knows whether it wrote something.
                self.completed.wrote_objects = true;
                Event::Failed(attempt, error)
            }
        };
        Some(self.over_budget().map_or(event, Event::Stop))
    }

    /// The error of a query that has used more than it may, what still runs included.
    fn over_budget(&self) -> Option<Error> {
        let (settings, now) = (self.env.settings, self.env.watch.elapsed());
        let running = self.attempts.values().map(|(_, since)| now.saturating_sub(*since)).chain(self.given_up.iter().copied());
        self.lock_usage().over_budget(settings, Usage::cost_of_running(settings, now, running))
    }

    fn lock_usage(&self) -> MutexGuard<'_, Usage> {
        self.env.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcome(&mut self, attempt: AttemptId, outcome: TaskOutcome) -> Event {
        let task = attempt.task;
        let is_its_own = (outcome.stage, outcome.task, outcome.attempt) == (task.stage.0, task.index, attempt.attempt)
            && outcome.query_id == self.env.query.0.as_bytes();
        match &outcome.result {
            Some(TaskResult::Output(_)) if !is_its_own => {
                self.completed.wrote_objects = true;
                Event::Failed(attempt, Error::new(ErrorKind::Unavailable, "a worker answered for another attempt"))
            }
            Some(TaskResult::Output(output)) => {
                self.completed.wrote_objects |= matches!(output.location, Some(OutputLocation::Key(_)));
                self.reported.insert(attempt, outcome);
                Event::Finished(attempt)
            }
            Some(TaskResult::Error(error)) => {
                self.completed.wrote_objects = true;
                Event::Failed(attempt, Error::from(error))
            }
            None => Event::Failed(attempt, Error::new(ErrorKind::Unavailable, "an outcome without a result")),
        }
    }

    fn accept(&mut self, attempt: AttemptId) {
        let Some(outcome) = self.reported.remove(&attempt) else { return };
        if let (Some(TaskResult::Output(output)), Some(used)) = (outcome.result, &outcome.resources) {
            self.lock_usage().add_output(attempt.task.stage, used.output_rows, used.output_bytes);
            self.completed.outputs.insert(attempt.task, output);
        }
        if self.env.collect_metrics {
            self.completed.metrics.entry(attempt.task.stage).or_default().push(outcome.operators);
        }
    }

    fn give_up(&mut self, attempt: AttemptId) {
        self.completed.wrote_objects = true;
        if let Some(abort) = self.aborts.remove(&attempt) {
            abort.abort();
        }
    }

    async fn start(&mut self, attempt: AttemptId) -> Result<()> {
        let request = self.request(attempt).await?;
        let invoker = Arc::clone(self.env.invoker);
        let running = self.env.running.start();
        let handle = self.invocations.spawn(async move { invoker.invoke(request, running).await });
        self.attempts.insert(handle.id(), (attempt, self.env.watch.elapsed()));
        self.aborts.insert(attempt, handle);
        Ok(())
    }

    async fn request(&mut self, attempt: AttemptId) -> Result<Bytes> {
        let env = self.env;
        let stage = env.graph.stage(attempt.task.stage)?;
        let plan = env.graph.task_plan(attempt.task)?;
        let settings = env.settings;
        let left = Duration::from_millis(settings.query_timeout_ms).saturating_sub(env.watch.elapsed());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let mut request = TaskRequest {
            protocol_version: PROTOCOL_VERSION,
            build_id: build_id(),
            query_id: env.query.0.as_bytes().to_vec(),
            stage: stage.id.0,
            task: attempt.task.index,
            task_count: stage.tasks,
            attempt: attempt.attempt,
            pins: pins(&plan, env.pins)?,
            plan: encode_plan(plan, &env.context)?.into(),
            plan_key: String::new(),
            session: env.task_options.to_vec(),
            inputs: self.inputs(&stage.inputs, attempt.task.index, stage.tasks)?,
            exchange_url: env.exchange_url.to_string(),
            inline_limit_bytes: settings.inline_limit_bytes.min(env.invoker.inline_limit(self.most_running)) as u64,
            time_left_ms: left_ms.min(settings.attempt_timeout_ms),
            // Functions have memory of their own, and know how much; workers in this process share its budget.
            memory_bytes: match settings.worker_function_mb {
                0 => (settings.memory_bytes / settings.workers.max(1)) as u64,
                _ => u64::MAX,
            },
            trace_parent: env.trace_parent.to_string(),
            broadcast: stage.broadcast,
            collect_metrics: env.collect_metrics,
            cancel_poll_ms: settings.cancel_poll_ms,
            output_partitions: stage.plan.output_partitioning().partition_count() as u64,
        };
        let mut bytes = request.to_bytes();
        if bytes.len() > settings.max_request_bytes {
            self.shrink(&mut request, attempt).await?;
            bytes = request.to_bytes();
        }
        if bytes.len() > settings.max_request_bytes {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the request of task {} has {} bytes; at most {} can be sent",
                    attempt.task,
                    bytes.len(),
                    settings.max_request_bytes
                ),
            ));
        }
        Ok(bytes)
    }

    /// The slices of the accepted outputs that one task reads.
    fn inputs(&self, inputs: &[Input], index: u32, tasks: u32) -> Result<Vec<StageInput>> {
        read_inputs(&self.completed.outputs, inputs, index, tasks)
    }

    /// Moves inline inputs, and then the plan with its pins, to the exchange, where the request would be too big.
    async fn shrink(&mut self, request: &mut TaskRequest, attempt: AttemptId) -> Result<()> {
        self.completed.wrote_objects = true;
        if !request.inputs.is_empty() {
            let stage = self.env.graph.stage(attempt.task.stage)?;
            for input in &stage.inputs {
                for index in input.producers(attempt.task.index, stage.tasks) {
                    self.write_inline(TaskId { stage: input.stage, index }).await?;
                }
            }
            request.inputs = self.inputs(&stage.inputs, attempt.task.index, stage.tasks)?;
        }
        if request.to_bytes().len() > self.env.settings.max_request_bytes {
            let key = Exchange::plan_key(attempt);
            self.env.exchange.put(&key, request.take_plan()).await?;
            request.plan_key = key;
        }
        Ok(())
    }

    /// Writes an accepted inline output as an object, once, for all its consumers.
    async fn write_inline(&mut self, task: TaskId) -> Result<()> {
        let Some(output) = self.completed.outputs.get_mut(&task) else { return Ok(()) };
        if let Some(OutputLocation::Inline(bytes)) = &output.location {
            let key = format!("{task}.accepted");
            self.env.exchange.put(&key, bytes.clone()).await?;
            output.location = Some(OutputLocation::Key(key));
        }
        Ok(())
    }

    fn publish(&self) {
        let stages =
            self.scheduler.progress().into_iter().map(|(stage, done, tasks)| StageProgress { stage, done, tasks }).collect();
        let usage = self.lock_usage();
        let (scanned_bytes, cost) = (usage.scanned_bytes(), usage.cost_so_far());
        drop(usage);
        self.env.progress.send_replace(Progress { stages, scanned_bytes, cost });
    }
}

/// The slices of `outputs` that consumer `index` of `tasks` reads.
///
/// # Errors
/// [`ErrorKind::Internal`] when an output is missing.
pub(crate) fn read_inputs(
    outputs: &HashMap<TaskId, Output>,
    inputs: &[Input],
    index: u32,
    tasks: u32,
) -> Result<Vec<StageInput>> {
    let read = |input: &Input| {
        let slices = input.producers(index, tasks).map(|producer| {
            let task = TaskId { stage: input.stage, index: producer };
            let output = outputs.get(&task).ok_or_else(|| Error::internal(format!("task {task} has no accepted output")))?;
            slice_output(output, input.partitions_of(index))
        });
        Ok(StageInput { stage: input.stage.0, outputs: slices.collect::<Result<_>>()? })
    };
    inputs.iter().map(read).collect()
}

/// The versions of the files that `plan` reads.
fn pins(plan: &Arc<dyn ExecutionPlan>, known: &Pins) -> Result<Vec<PinnedObject>> {
    let mut pins = BTreeMap::new();
    plan.apply(|node| {
        if let Some(scan) = file_scan(node.as_ref()) {
            let url: &url::Url = scan.object_store_url.as_ref();
            let store = format!("{}://{}", url.scheme(), url.host_str().unwrap_or(""));
            for file in scan.file_groups.iter().flat_map(FileGroup::iter) {
                let location = &file.object_meta.location;
                if let Some(etag) = known.etag(&store, location) {
                    pins.insert((store.clone(), location.to_string()), etag);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(pins.into_iter().map(|((store, path), etag)| PinnedObject { store, path, etag }).collect())
}
