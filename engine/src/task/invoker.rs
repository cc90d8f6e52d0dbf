//! How request bytes reach a worker and outcome bytes come back; says nothing of what they mean.

use super::Billed;
use crate::clock::{Stopwatch, sleep};
use crate::error::Result;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Pause between looks at how many attempts still run.
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// Runs one attempt somewhere. Implementations: in this process, and the Lambda Invoke API.
#[async_trait]
pub trait Invoker: Debug + Send + Sync + 'static {
    /// Carries an encoded [`super::TaskRequest`] to a worker and returns its encoded [`super::TaskOutcome`].
    ///
    /// Dropping the future gives the attempt up: the worker should stop, but may still finish. `running` is dropped
    /// when the attempt has really stopped, as far as this invoker can know.
    ///
    /// An error is a fault of the transport or of the worker's process; the failure of a task is an outcome. Its kind
    /// says whether another attempt may help.
    async fn invoke(&self, request: Bytes, running: Running) -> Invoked;

    /// Most encoded bytes of an output that an outcome can carry where so many `attempts` run at once.
    fn inline_limit(&self, attempts: usize) -> usize {
        let _ = attempts;
        usize::MAX
    }
}

/// What came of one invocation.
#[derive(Clone, Debug)]
pub struct Invoked {
    /// The encoded outcome.
    pub outcome: Result<Bytes>,
    /// What the function service bills for it, where it says so.
    pub billed: Option<Billed>,
    /// How often the service asked to slow down before it took the invocation.
    pub throttles: u32,
    /// Time from its sending to its end, in milliseconds: what it costs at most where the service does not say. 0 when it was never sent.
    pub measured_ms: u64,
    /// What an invocation between coordinator and worker is billed: said once for its whole group.
    pub dispatcher: Option<Billed>,
}

impl From<Result<Bytes>> for Invoked {
    fn from(outcome: Result<Bytes>) -> Self {
        Self { outcome, billed: None, throttles: 0, measured_ms: 0, dispatcher: None }
    }
}

/// The attempts of one query that may still be running, and what came of those that nobody waited for.
#[derive(Clone, Default, Debug)]
pub struct RunningAttempts(Arc<Attempts>);

#[derive(Default, Debug)]
struct Attempts {
    running: AtomicUsize,
    late: Mutex<Vec<Invoked>>,
}

impl RunningAttempts {
    /// One more, until the returned guard is dropped.
    pub fn start(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(&self.0))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.running.load(Ordering::SeqCst)
    }

    /// Waits until there are none, at most `limit`.
    pub async fn settle(&self, limit: Duration) {
        let watch = Stopwatch::start();
        while self.count() > 0 && watch.elapsed() < limit {
            sleep(SETTLE_POLL).await;
        }
    }

    /// What came of attempts that were given up and ended later: they cost money too.
    pub fn take_late(&self) -> Vec<Invoked> {
        std::mem::take(&mut self.0.late.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An attempt that may still be running, until this is dropped.
#[derive(Debug)]
pub struct Running(Arc<Attempts>);

impl Running {
    /// Reports an attempt that ended after it was given up.
    pub fn ended_late(&self, invoked: Invoked) {
        self.0.late.lock().unwrap_or_else(PoisonError::into_inner).push(invoked);
    }
}

impl Clone for Running {
    fn clone(&self) -> Self {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
