//! Workers inside this process: the same bytes, the same `run_task`, no network.

use crate::run::{Invocation, Worker, run_task};
use async_trait::async_trait;
use bytes::Bytes;
use engine::task::{Invoked, Invoker, Running};
use std::sync::Arc;

/// Runs each attempt as a task of the worker's runtime; dropping an invocation aborts it.
#[derive(Debug)]
pub struct InProcessInvoker {
    worker: Arc<Worker>,
}

impl InProcessInvoker {
    /// Workers that share `worker`.
    pub fn new(worker: Worker) -> Self {
        Self { worker: Arc::new(worker) }
    }
}

#[async_trait]
impl Invoker for InProcessInvoker {
    async fn invoke(&self, request: Bytes, running: Running) -> Invoked {
        let invocation = Invocation { running: Some(running), ..Invocation::default() };
        Ok(run_task(&self.worker, &request, invocation).await).into()
    }
}
