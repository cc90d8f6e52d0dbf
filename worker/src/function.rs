//! The worker as a Lambda function: one invocation is one attempt.

use crate::run::{Invocation, Worker, run_task};
use engine::clock::now_ms;
use engine::compute::{REST_TIME, comes_to_rest};
use engine::function::{Variable, settings};
use engine::session::SharedRuntime;
use engine::settings::LAMBDA_PAYLOAD_BYTES;
use engine::storage::Storage;
use engine::task::envelope::{OutcomeEnvelope, TaskEnvelope};
use engine::task::{TaskError, TaskOutcome, TaskResult};
use engine::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Stack of a thread that executes plans: deep expressions recurse. Only what is touched is memory.
const STACK_BYTES: usize = 64 << 20;
/// Time before the function's own deadline at which an attempt is stopped and reported.
const REPORT_TIME: Duration = Duration::from_secs(2);
/// Time that the answer needs.
const ANSWER_TIME: Duration = Duration::from_millis(250);
/// Room for the names around an outcome in its answer, in bytes.
const ENVELOPE_BYTES: usize = 256;

/// Everything that is made once per cold start.
#[derive(Debug)]
pub struct Function {
    worker: Arc<Worker>,
    compute: Runtime,
    /// Whether threads go on with an attempt that has been answered for.
    is_stuck: AtomicBool,
}

impl Function {
    /// A worker with the memory, temporary storage and locations that the environment gives.
    ///
    /// # Errors
    /// When a variable is wrong, or the system gives no threads.
    pub fn new(variable: Variable<'_>) -> Result<Self> {
        let mut settings = settings(variable)?;
        let exchange = settings.exchange_url.take();
        let compute = Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, usize::from))
            .thread_name("owlet-compute")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        let storage = Storage::new(&settings)?;
        let shared = SharedRuntime::new(&settings)?.with_compute(compute.handle().clone());
        let worker = Worker::new(&settings, storage, shared).only_exchange(exchange);
        Ok(Self { worker: Arc::new(worker), compute, is_stuck: AtomicBool::new(false) })
    }

    /// Runs the attempt of the invocation `request_id` that must end at `deadline_ms` (milliseconds since 1970).
    pub async fn handle(&self, payload: TaskEnvelope, request_id: String, deadline_ms: u64) -> OutcomeEnvelope {
        let invocation = Invocation { time_left: time_left(deadline_ms, now_ms()), request_id, running: None };
        let outcome = match payload.request() {
            Ok(request) => run_task(&self.worker, &request, invocation).await.to_vec(),
            Err(error) => failed(&error),
        };
        let rest_time = REST_TIME.min(time_to_rest(deadline_ms, now_ms()));
        if !comes_to_rest(self.compute.handle(), rest_time).await {
            tracing::warn!("an operator goes on after its attempt: the process ends with the answer");
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        let answer = OutcomeEnvelope::new(&outcome);
        if answer.bytes() + ENVELOPE_BYTES <= LAMBDA_PAYLOAD_BYTES {
            return answer;
        }
        let message = format!(
            "the outcome of the attempt has {} bytes, more than a function can answer: lower inline_limit_bytes",
            answer.bytes()
        );
        OutcomeEnvelope::new(&failed(&Error::new(ErrorKind::LimitExceeded, message)))
    }
}

impl Function {
    /// Whether the process must end, since it works on with nobody waiting: what it does would be billed, and slow down the
    /// next attempt. Another environment takes its place.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }
}

fn failed(error: &Error) -> Vec<u8> {
    TaskOutcome { result: Some(TaskResult::Error(TaskError::from(error))), ..TaskOutcome::default() }.to_bytes().to_vec()
}

/// Time for an attempt before its function's deadline; unknown for a deadline that has passed, which some emulators give.
fn time_left(deadline_ms: u64, now_ms: i64) -> Option<Duration> {
    let left = i64::try_from(deadline_ms).ok()?.checked_sub(now_ms).filter(|left| *left > 0)?;
    let left = Duration::from_millis(u64::try_from(left).ok()?);
    Some(left.saturating_sub(REPORT_TIME).max(left / 2))
}

/// Time to wait for threads before the answer; all there may be where no deadline is known.
fn time_to_rest(deadline_ms: u64, now_ms: i64) -> Duration {
    let left = i64::try_from(deadline_ms).ok().and_then(|deadline| deadline.checked_sub(now_ms)).filter(|left| *left > 0);
    let left = left.and_then(|left| u64::try_from(left).ok());
    left.map_or(Duration::MAX, |left| Duration::from_millis(left).saturating_sub(ANSWER_TIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_stops_before_its_function_is_killed() {
        assert_eq!(time_left(1_060_000, 1_000_000), Some(Duration::from_secs(58)));
        assert_eq!(time_left(1_001_000, 1_000_000), Some(Duration::from_millis(500)));
        assert_eq!(time_left(600_000, 1_000_000), None);
        assert_eq!(time_to_rest(1_001_000, 1_000_000), Duration::from_millis(750));
        assert_eq!(time_to_rest(1_000_100, 1_000_000), Duration::ZERO);
        assert_eq!(time_to_rest(600_000, 1_000_000), Duration::MAX);
    }
}
