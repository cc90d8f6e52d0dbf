//! Faults between coordinator and worker: lost answers, repeated deliveries, delays; each fires a known number of times.

use async_trait::async_trait;
use bytes::Bytes;
use engine::clock::{Stopwatch, sleep};
use engine::task::{Invoked, Invoker, Running, TaskRequest};
use engine::{Error, ErrorKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What happens to the first attempt of one task in every stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The worker finishes and writes its output, but the answer is lost.
    LoseAnswer,
    /// The request is delivered twice, the second answer counts.
    DeliverTwice,
    /// The answer arrives after those of all siblings.
    Delay,
}

/// Queries and stages.
type Fired = BTreeSet<(Vec<u8>, u32)>;

/// An invoker with one kind of fault in every stage.
#[derive(Debug)]
pub struct FaultyInvoker {
    inner: Arc<dyn Invoker>,
    fault: Fault,
    /// Stages (with the query) whose fault has fired.
    fired: Arc<Mutex<Fired>>,
    /// Invocations under way, per query and stage.
    running: Mutex<BTreeMap<(Vec<u8>, u32), usize>>,
}

/// Longest wait for siblings that never answer.
const MAX_DELAY: Duration = Duration::from_secs(5);

impl FaultyInvoker {
    /// `fault` on the first attempt of task 0 of every stage that `inner` runs.
    pub fn new(inner: Arc<dyn Invoker>, fault: Fault) -> Self {
        Self { inner, fault, fired: Arc::default(), running: Mutex::default() }
    }

    /// How often the fault has fired, readable while the cluster owns the invoker.
    pub fn counter(&self) -> impl Fn() -> usize + use<> {
        let fired = Arc::clone(&self.fired);
        move || fired.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[async_trait]
impl Invoker for FaultyInvoker {
    async fn invoke(&self, request: Bytes, running: Running) -> Invoked {
        let decoded = match TaskRequest::from_bytes(&request) {
            Ok(decoded) => decoded,
            Err(error) => return Err(error).into(),
        };
        let stage = (decoded.query_id.clone(), decoded.stage);
        self.count(&stage, 1);
        let answer = self.invoke_faulty(request, decoded, running).await;
        self.count(&stage, -1);
        answer
    }
}

impl FaultyInvoker {
    fn count(&self, stage: &(Vec<u8>, u32), change: isize) -> usize {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let count = running.entry(stage.clone()).or_default();
        *count = count.saturating_add_signed(change);
        *count
    }

    async fn invoke_faulty(&self, request: Bytes, decoded: TaskRequest, running: Running) -> Invoked {
        if decoded.task != 0 || decoded.attempt != 0 {
            return self.inner.invoke(request, running).await;
        }
        let stage = (decoded.query_id.clone(), decoded.stage);
        self.fired.lock().unwrap_or_else(PoisonError::into_inner).insert(stage.clone());
        match self.fault {
            Fault::LoseAnswer => {
                let answer = self.inner.invoke(request, running).await;
                let lost = || Err(Error::new(ErrorKind::Unavailable, "injected: the answer was lost"));
                Invoked { outcome: answer.outcome.and_then(|_| lost()), ..answer }
            }
            Fault::DeliverTwice => {
                let again = self.inner.invoke(request.clone(), running.clone());
                let (first, second) = tokio::join!(again, self.inner.invoke(request, running));
                if first.outcome.is_err() { first } else { second }
            }
            Fault::Delay => {
                let answer = self.inner.invoke(request, running).await;
                let watch = Stopwatch::start();
                while self.count(&stage, 0) > 1 && watch.elapsed() < MAX_DELAY {
                    sleep(Duration::from_millis(1)).await;
                }
                answer
            }
        }
    }
}
