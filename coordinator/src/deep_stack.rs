//! Runs planning on a thread with a deep stack: plans are trees, and walking them recurses.

use engine::{Error, Result};
use std::future::Future;
use tokio::runtime::Handle;

/// Stack of the planning thread and of the threads that execute plans, in bytes; virtual memory until it is used.
///
/// A chain of 1,000 operators overflows 2 MB in release builds; debug frames are several times larger.
pub const STACK_BYTES: usize = 256 << 20;

/// Polls `future` on a fresh thread with [`STACK_BYTES`] of stack; its I/O is driven by the current runtime.
///
/// # Errors
/// As the future; [`engine::ErrorKind::Internal`] when it panics, [`engine::ErrorKind::LimitExceeded`] when no thread can be had.
pub async fn on_deep_stack<T: Send + 'static>(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let handle = Handle::current();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("owlet-plan".into()).stack_size(STACK_BYTES);
    thread
        .spawn(move || {
            let result = handle.block_on(future);
            // The caller may have given the query up.
            drop(sender.send(result));
        })
        .map_err(|e| Error::new(engine::ErrorKind::LimitExceeded, format!("no thread for planning: {e}")))?;
    receiver.await.unwrap_or_else(|_| Err(Error::internal("planning panicked: this is a defect in the engine")))
}
