//! Panics as typed errors: damaged files make some readers panic, and one query must not take the process down.

use crate::error::{Error, Result};
use futures::FutureExt;
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

/// Runs `future`, and turns a panic while it is polled into an error that says `what` panicked.
///
/// # Errors
/// As the future; [`crate::ErrorKind::Internal`] for a panic.
pub async fn caught<T>(what: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(future).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(what, panic.as_ref())))
}

/// The error of a caught panic.
pub fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    Error::internal(format!("{what} panicked, by damage in a source file or a defect in the engine: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        let error =
            caught("the scan", async { Option::<()>::None.map(Ok).unwrap_or_else(|| unreachable!("bad page {}", 7)) }).await;
        assert!(error.is_err_and(|e| e.message.contains("the scan panicked") && e.message.contains("bad page 7")));
    }
}
