//! Workers inside this process: the same bytes, the same `run_task`, no network.

use crate::run::{Worker, joined, run_task};
use async_trait::async_trait;
use bytes::Bytes;
use engine::Result;
use engine::clock::{Stopwatch, sleep};
use engine::task::Invoker;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Longest wait for attempts that were given up.
const SETTLE_TIME: Duration = Duration::from_secs(5);
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// Runs each attempt as a task of the worker's runtime; dropping an invocation aborts it.
#[derive(Debug)]
pub struct InProcessInvoker {
    worker: Arc<Worker>,
    running: Arc<AtomicUsize>,
}

impl InProcessInvoker {
    /// Workers that share `worker`.
    pub fn new(worker: Worker) -> Self {
        Self { worker: Arc::new(worker), running: Arc::default() }
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct AbortOnDrop(JoinHandle<Bytes>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl Invoker for InProcessInvoker {
    async fn invoke(&self, request: Bytes) -> Result<Bytes> {
        let worker = Arc::clone(&self.worker);
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(Arc::clone(&self.running));
        let mut attempt = AbortOnDrop(self.worker.compute().spawn(async move {
            let _running = running;
            run_task(&worker, &request).await
        }));
        joined((&mut attempt.0).await)
    }

    async fn settle(&self) {
        let watch = Stopwatch::start();
        while self.running.load(Ordering::SeqCst) > 0 && watch.elapsed() < SETTLE_TIME {
            sleep(SETTLE_POLL).await;
        }
    }
}
