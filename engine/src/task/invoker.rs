//! How request bytes reach a worker and outcome bytes come back; says nothing of what they mean.

use crate::error::Result;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt::Debug;

/// Runs one attempt somewhere. Implementations: in this process, and the Lambda Invoke API.
#[async_trait]
pub trait Invoker: Debug + Send + Sync + 'static {
    /// Carries an encoded [`super::TaskRequest`] to a worker and returns its encoded [`super::TaskOutcome`].
    ///
    /// Dropping the future gives the attempt up: the worker should stop, but may still finish.
    ///
    /// # Errors
    /// Transport faults only; the failure of a task is an outcome. The kind says whether another attempt may help.
    async fn invoke(&self, request: Bytes) -> Result<Bytes>;

    /// Waits until attempts that were given up have stopped, as far as this invoker can know.
    async fn settle(&self);
}
