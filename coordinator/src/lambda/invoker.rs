//! Tasks as invocations of the worker function: envelopes, the window, and resending what the service throttled.

use super::answer::Refusal;
use super::client::{Answer, LambdaClient, MAX_CALLS, Target};
use super::window::{Ended, TAKEN_AFTER, Window};
use async_trait::async_trait;
use bytes::Bytes;
use engine::clock::Stopwatch;
use engine::task::envelope::{unwrap_outcome, wrap_request};
use engine::task::{Invoked, Invoker, Running};
use engine::{Error, ErrorKind, Result};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Time before the end of an attempt at which an invocation that has not been taken or answered is reported.
const REPORT_TIME: Duration = Duration::from_secs(1);

/// Runs each attempt as one invocation of a worker function.
///
/// **Invariant:** a throttle never costs an attempt; it shrinks the window and the same bytes are sent again.
#[derive(Debug)]
pub struct LambdaInvoker {
    client: Arc<LambdaClient>,
    target: Arc<Target>,
    window: Window,
    call_limit: Duration,
    /// Requests that were sent, and go on after their attempt was given up: each ends with its answer or its limit.
    requests: Mutex<JoinSet<()>>,
}

impl LambdaInvoker {
    /// At most `workers` invocations of `target` at once (and [`MAX_CALLS`]); each ends a little before `attempt_timeout`, with all waiting and
    /// resending, so that the scheduler hears why before it counts the attempt as lost.
    pub fn new(client: Arc<LambdaClient>, target: Target, workers: usize, attempt_timeout: Duration) -> Self {
        let call_limit = attempt_timeout.saturating_sub(REPORT_TIME.min(attempt_timeout / 10));
        let (target, window) = (Arc::new(target), Window::new(workers.min(MAX_CALLS)));
        Self { client, target, window, call_limit, requests: Mutex::new(JoinSet::new()) }
    }

    /// Whether the service takes `calls` at once, as far as is known.
    pub(super) fn is_open(&self, calls: usize) -> bool {
        self.window.is_open(calls)
    }

    /// Longest time of one attempt, with all waiting and resending.
    pub(super) fn call_limit(&self) -> Duration {
        self.call_limit
    }

    /// As [`Invoker::invoke`], within `limit`; what no worker takes within `take_limit` comes back as throttled.
    pub(super) async fn invoke_within(&self, request: Bytes, running: Running, take_limit: Duration, limit: Duration) -> Invoked {
        let payload = match wrap_request(&request) {
            Ok(payload) => payload,
            Err(error) => return Err(error).into(),
        };
        drop(request);
        let mut throttles = 0;
        let (result, sent) = self.answer(&payload, Arc::new(running), take_limit, limit, &mut throttles).await;
        invoked(result, throttles, sent)
    }

    /// Sends `payload` until the service takes it; the answer, and how long it took from the last sending.
    async fn answer(
        &self,
        payload: &Bytes,
        running: Arc<Running>,
        take_limit: Duration,
        limit: Duration,
        throttles: &mut u32,
    ) -> (Result<Answer, Refusal>, Duration) {
        let watch = Stopwatch::start();
        let mut last: Option<Refusal> = None;
        loop {
            let left = limit.min(take_limit).saturating_sub(watch.elapsed());
            let permit = if left.is_zero() { None } else { timeout(left, self.window.permit()).await.ok() };
            let Some(mut permit) = permit else {
                return (Err(self.never_started(limit.min(take_limit), last)), Duration::ZERO);
            };
            let left = limit.saturating_sub(watch.elapsed());
            let mut answer = pin!(self.send(payload.clone(), Arc::clone(&running), left));
            let (result, sent) = match timeout(TAKEN_AFTER, &mut answer).await {
                Ok(result) => result,
                Err(_) => {
                    permit.taken();
                    answer.await
                }
            };
            match result {
                Err(refusal) if refusal.error.kind == ErrorKind::Throttled => {
                    *throttles += 1;
                    permit.finish(Ended::Throttled(refusal.retry_after));
                    last = Some(refusal);
                }
                Err(refusal) if refusal.billed.is_none() => {
                    permit.finish(Ended::Unknown);
                    return (Err(refusal), sent);
                }
                taken => {
                    permit.finish(Ended::Taken);
                    return (taken, sent);
                }
            }
        }
    }

    /// Sends one request, which goes on when this future is dropped: the worker does too, and `running` says so.
    async fn send(&self, payload: Bytes, running: Arc<Running>, limit: Duration) -> (Result<Answer, Refusal>, Duration) {
        let (give, take) = oneshot::channel();
        let (client, target) = (Arc::clone(&self.client), Arc::clone(&self.target));
        let request = async move {
            let watch = Stopwatch::start();
            let result = client.invoke(&target, payload, limit).await;
            // Nobody takes the answer of an attempt that was given up, but it costs money; a throttled one ran nowhere.
            match give.send((result, watch.elapsed())) {
                Err((Err(refusal), _)) if refusal.error.kind == ErrorKind::Throttled => {}
                Err((late, sent)) => running.ended_late(invoked(late, 0, sent)),
                Ok(()) => {}
            }
            drop(running);
        };
        {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            while requests.try_join_next().is_some() {}
            requests.spawn(request);
        }
        let lost = || Err(Error::internal("the task that invokes a function ended without a result").into());
        take.await.unwrap_or_else(|_| (lost(), Duration::ZERO))
    }

    fn never_started(&self, limit: Duration, last: Option<Refusal>) -> Refusal {
        let why = last.map_or_else(|| "all workers were busy".to_owned(), |refusal| refusal.error.message);
        let text = format!(
            "no worker could be started within {:.1} s: {why}; allow fewer workers, or more concurrent executions of function {}",
            limit.as_secs_f64(),
            self.target
        );
        Error::new(ErrorKind::Throttled, text).into()
    }
}

fn invoked(result: Result<Answer, Refusal>, throttles: u32, sent: Duration) -> Invoked {
    let (outcome, report) = match result {
        Ok(answer) => (unwrap_outcome(&answer.payload), answer.billed),
        Err(refusal) => (Err(refusal.error), refusal.billed),
    };
    let measured_ms = u64::try_from(sent.as_millis()).unwrap_or(u64::MAX);
    Invoked { outcome, billed: report.map(|report| report.billed()), throttles, measured_ms, dispatcher: None }
}

#[async_trait]
impl Invoker for LambdaInvoker {
    async fn invoke(&self, request: Bytes, running: Running) -> Invoked {
        self.invoke_within(request, running, self.call_limit, self.call_limit).await
    }
}

#[cfg(test)]
pub(super) mod tests;
