//! One function: its environments, its concurrency, and the way of an event from the caller to an answer.
use crate::chaos::Fault;
use crate::clock::{self, Stopwatch};
use crate::config::FunctionConfig;
use crate::environment::{Ending, Environment, InitFailure, StartError};
use crate::http::MAX_PAYLOAD_BYTES;
use crate::ledger::{InvocationKind, LedgerEntry, Outcome, billed_ms};
use crate::log::{Log, Report};
use crate::runtime_api::Work;
use crate::shared::Shared;
use bytes::Bytes;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Asynchronous events of one function that wait or run; more are refused with 429.
const MAX_QUEUED_EVENTS: usize = 256;
/// How long an answer waits for its process to be ready again, so that the caller's next call finds it free. A process is ready
/// at once, unless the machine is overloaded or the process works on after its answer.
const SETTLE_GRACE: Duration = Duration::from_secs(1);

/// `Reason` of a 429 for the function's own concurrency.
const OVER_CONCURRENCY: &str = "ReservedFunctionConcurrentInvocationLimitExceeded";
/// `Reason` of a 429 for a full event queue.
const OVER_QUEUE: &str = "CallerRateLimitExceeded";

/// One event for a function.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) request_id: String,
    /// ARN as the caller named the function.
    pub(crate) function_arn: String,
    pub(crate) version: String,
    pub(crate) trace_id: String,
    pub(crate) kind: InvocationKind,
    pub(crate) caller: String,
    pub(crate) wants_log: bool,
    pub(crate) payload: Bytes,
}

/// What came of an event that ran.
pub(crate) struct Completion {
    pub(crate) outcome: Outcome,
    /// The function's answer, or error JSON.
    pub(crate) body: Bytes,
    /// The last 4 KiB of the log, if asked for.
    pub(crate) log: Option<Vec<u8>>,
}

/// Why an event has no completion.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// 429 with this `Reason`.
    Throttled(String),
    /// 500.
    ServiceError,
    /// The function ran, but the answer must not arrive.
    AnswerLost,
}

pub(crate) struct Function {
    pub(crate) config: FunctionConfig,
    shared: Arc<Shared>,
    /// One permit per invocation that may run.
    slots: Arc<Semaphore>,
    /// One permit per asynchronous event that may wait or run.
    queue: Arc<Semaphore>,
    /// Frozen environments, the most recently used last.
    idle: Mutex<Vec<Environment>>,
}

impl Function {
    pub(crate) fn new(config: FunctionConfig, shared: Arc<Shared>) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(config.max_concurrency));
        Arc::new(Self { config, shared, slots, queue: Arc::new(Semaphore::new(MAX_QUEUED_EVENTS)), idle: Mutex::default() })
    }

    /// Runs an event now and waits for its end, or refuses it.
    pub(crate) async fn answer(self: &Arc<Self>, call: Call) -> Result<Completion, Rejected> {
        let fault = self.fault(&call).await?;
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return Err(self.throttled(OVER_CONCURRENCY));
        };
        if fault == Fault::DeliverTwice {
            let (function, call) = (Arc::clone(self), call.clone());
            self.shared.tasks.spawn(async move {
                let Ok(slot) = Arc::clone(&function.slots).acquire_owned().await else { return };
                let _ = function.start(slot, call, Fault::None).await;
            });
        }
        let completion = self.start(slot, call, fault.clone()).await.map_err(|_| Rejected::ServiceError)?;
        if fault == Fault::LoseAnswer { Err(Rejected::AnswerLost) } else { Ok(completion) }
    }

    /// Takes an event to run it later: when there is room, and again after errors.
    pub(crate) fn enqueue(self: &Arc<Self>, call: Call) -> Result<(), Rejected> {
        let Ok(place) = Arc::clone(&self.queue).try_acquire_owned() else {
            return Err(self.throttled(OVER_QUEUE));
        };
        let function = Arc::clone(self);
        self.shared.tasks.spawn(async move {
            let _place = place;
            for attempt in 0..=function.config.event_retries {
                if attempt > 0 {
                    clock::sleep(function.config.event_retry_pause).await;
                }
                if function.deliver(&call).await {
                    return;
                }
            }
            function.shared.books.count(&function.config.name, |counts| counts.events_dropped += 1);
        });
        Ok(())
    }

    /// One delivery of an asynchronous event: whether it succeeded. A refusal counts as a failed delivery.
    async fn deliver(self: &Arc<Self>, call: &Call) -> bool {
        let Ok(fault) = self.fault(call).await else { return false };
        let deliveries = if fault == Fault::DeliverTwice { 2 } else { 1 };
        let mut runs = Vec::new();
        for _ in 0..deliveries {
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return false };
            runs.push(self.start(slot, call.clone(), fault.clone()));
        }
        let mut succeeded = false;
        for run in runs {
            succeeded |= run.await.is_ok_and(|completion| completion.outcome == Outcome::Ok);
        }
        succeeded
    }

    /// Kills environments that were idle for longer than `limit`.
    pub(crate) fn reap(&self, limit: Duration) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|idle| idle.is_alive() && idle.idle.elapsed() < limit);
    }

    /// The fault of the next delivery, after its delay; a refusal is an error.
    async fn fault(&self, call: &Call) -> Result<Fault, Rejected> {
        let name = &self.config.name;
        let sequence = self.shared.books.count(name, |counts| {
            counts.invokes += 1;
            counts.invokes - 1
        });
        let fault = match &self.shared.config.chaos {
            Some(chaos) => chaos.on_invoke(name, sequence, &call.payload),
            None => Fault::None,
        };
        match &fault {
            Fault::Throttle(reason) => return Err(self.throttled(reason)),
            Fault::ServiceError => return Err(Rejected::ServiceError),
            Fault::Delay(delay) => clock::sleep(*delay).await,
            _ => {}
        }
        Ok(fault)
    }

    fn throttled(&self, reason: &str) -> Rejected {
        self.shared.books.count(&self.config.name, |counts| counts.throttles += 1);
        Rejected::Throttled(reason.to_owned())
    }

    /// Runs an event in a task of its own: a caller that goes away does not stop the function.
    fn start(self: &Arc<Self>, slot: OwnedSemaphorePermit, call: Call, fault: Fault) -> oneshot::Receiver<Completion> {
        let (sender, completion) = oneshot::channel();
        let function = Arc::clone(self);
        self.shared.tasks.spawn(async move { function.run(slot, call, fault, sender).await });
        completion
    }

    async fn run(&self, slot: OwnedSemaphorePermit, call: Call, fault: Fault, done: oneshot::Sender<Completion>) {
        let (mut environment, init) = match self.environment(&call.version).await {
            Ok(environment) => environment,
            Err((failure, init, log)) => {
                let completion = self.init_failed(&call, failure, init, &log);
                drop(slot);
                let _ = done.send(completion);
                return;
            }
        };
        environment.log.write(format!("START RequestId: {} Version: {}\n", call.request_id, call.version).as_bytes());
        environment.thaw();
        let watch = Stopwatch::start();
        let ending = environment.run(self.work(&call), self.config.timeout, self.config.memory_mb, &fault).await;
        let duration = watch.elapsed();
        if call.wants_log || self.shared.config.log.is_some() {
            environment.flush_log().await;
        }
        let survives = ending.survives();
        let numbers = Numbers { duration, init, max_memory_mb: environment.peak_memory_mb };
        let completion = self.complete(&call, ending, numbers, &environment.log);
        if !survives {
            drop((environment, slot));
            let _ = done.send(completion);
            return;
        }
        // The slot is free before the caller has its answer: its next call must not be throttled by this one.
        if let Ok(ready) = tokio::time::timeout(SETTLE_GRACE, environment.wait_ready()).await {
            if ready.is_ok() {
                self.put_idle(environment);
            }
            drop(slot);
            let _ = done.send(completion);
            return;
        }
        // The process works on after its answer. The caller need not wait for that, but the slot stays taken.
        let _ = done.send(completion);
        let left = self.config.timeout.saturating_sub(watch.elapsed());
        if let Ok(Ok(())) = tokio::time::timeout(left, environment.wait_ready()).await {
            self.put_idle(environment);
        }
        drop(slot);
    }

    /// A warm environment, or a new one with the time that its start took.
    async fn environment(&self, version: &str) -> Result<(Environment, Option<Duration>), StartError> {
        if let Some(environment) = self.take_idle(version) {
            return Ok((environment, None));
        }
        self.shared.books.count(&self.config.name, |counts| counts.cold_starts += 1);
        let environment = Environment::start(&self.shared, &self.config, version).await?;
        let init = environment.init;
        Ok((environment, Some(init)))
    }

    /// A frozen environment of this version, the most recently used one.
    fn take_idle(&self, version: &str) -> Option<Environment> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(Environment::is_alive);
        if let Some(index) = idle.iter().rposition(|environment| environment.version == version) {
            return Some(idle.remove(index));
        }
        // A new one will start: idle ones of another version must not add up above the concurrency.
        if idle.len() >= self.config.max_concurrency {
            idle.remove(0);
        }
        None
    }

    fn put_idle(&self, mut environment: Environment) {
        environment.log.clear();
        environment.freeze();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(environment);
    }

    fn work(&self, call: &Call) -> Work {
        Work {
            request_id: call.request_id.clone(),
            function_arn: call.function_arn.clone(),
            trace_id: call.trace_id.clone(),
            deadline_ms: (clock::unix_time() + self.config.timeout).as_millis(),
            payload: call.payload.clone(),
        }
    }

    fn init_failed(&self, call: &Call, failure: InitFailure, init: Duration, log: &Log) -> Completion {
        log.write(format!("START RequestId: {} Version: {}\n", call.request_id, call.version).as_bytes());
        let body = match failure {
            InitFailure::Reported(body) => body,
            InitFailure::TimedOut => timed_out(&call.request_id, self.config.init_timeout),
            InitFailure::Exited(how) => exited(&call.request_id, &how),
            InitFailure::NotStarted(why) => error_body("Runtime.InvalidEntrypoint", &call.request_id, &why),
        };
        let numbers = Numbers { duration: Duration::ZERO, init: Some(init), max_memory_mb: 0 };
        self.record(call, Outcome::InitFailed, body, numbers, log)
    }

    fn complete(&self, call: &Call, ending: Ending, numbers: Numbers, log: &Log) -> Completion {
        let id = &call.request_id;
        let (outcome, body) = match ending {
            Ending::Answer(body) => (Outcome::Ok, body),
            Ending::Error(body) => (Outcome::FunctionError, body),
            Ending::TooLarge => (Outcome::ResponseTooLarge, too_large()),
            Ending::TimedOut => (Outcome::TimedOut, timed_out(id, self.config.timeout)),
            Ending::Exited(how) => (Outcome::Exited, exited(id, &how)),
            Ending::OutOfMemory => (Outcome::OutOfMemory, exited(id, "signal: killed")),
        };
        self.record(call, outcome, body, numbers, log)
    }

    /// Writes the books and the last log lines of a run.
    fn record(&self, call: &Call, outcome: Outcome, body: Bytes, numbers: Numbers, log: &Log) -> Completion {
        let Numbers { duration, init, max_memory_mb } = numbers;
        let (billed_ms, memory_mb) = (billed_ms(init, duration), self.config.memory_mb);
        let request_id = &call.request_id;
        let report = Report { request_id, duration, billed_ms, memory_mb, max_memory_mb, init };
        log.write(format!("END RequestId: {request_id}\n{report}\n").as_bytes());
        self.shared.books.add(LedgerEntry {
            function: self.config.name.clone(),
            version: call.version.clone(),
            request_id: request_id.clone(),
            kind: call.kind,
            caller: call.caller.clone(),
            outcome,
            duration,
            init,
            billed_ms,
            memory_mb,
            max_memory_mb,
        });
        Completion { outcome, body, log: call.wants_log.then(|| log.tail()) }
    }
}

/// What was measured of one run.
struct Numbers {
    duration: Duration,
    init: Option<Duration>,
    max_memory_mb: u64,
}

fn error_body(kind: &str, request_id: &str, message: &str) -> Bytes {
    let message = format!("RequestId: {request_id} Error: {message}");
    json!({"errorType": kind, "errorMessage": message}).to_string().into()
}

fn timed_out(request_id: &str, limit: Duration) -> Bytes {
    error_body("Sandbox.Timedout", request_id, &format!("Task timed out after {:.2} seconds", limit.as_secs_f64()))
}

fn exited(request_id: &str, how: &str) -> Bytes {
    let message = match how {
        "exit status 0" => "Runtime exited without providing a reason".to_owned(),
        how => format!("Runtime exited with error: {how}"),
    };
    error_body("Runtime.ExitError", request_id, &message)
}

fn too_large() -> Bytes {
    let message = format!("Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).");
    json!({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message}).to_string().into()
}
