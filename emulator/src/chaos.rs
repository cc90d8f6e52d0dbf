//! Faults that tests put into invocations.
use std::time::Duration;

/// What goes wrong with one invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Refused with 429 and this `Reason`; the function does not run.
    Throttle(String),
    /// Refused with 500 `ServiceException`; the function does not run.
    ServiceError,
    /// The function starts this much later; not part of its duration.
    Delay(Duration),
    /// The function runs twice at the same time with the same request id; the caller gets one answer.
    DeliverTwice,
    /// The process is killed this long after it got the event.
    KillAfter(Duration),
    /// The function runs to its end, then its process is killed before the answer goes to the caller.
    KillBeforeAnswer,
    /// The function runs to its end, then the caller's connection closes without an answer.
    LoseAnswer,
}

/// Decides about the fault of each delivery of an event to a function.
///
/// Closures of the same form implement it.
pub trait Chaos: Send + Sync {
    /// The fault for delivery number `sequence` (from 0, per function; retries of asynchronous events count too).
    fn on_invoke(&self, function: &str, sequence: u64, payload: &[u8]) -> Fault;
}

impl<F: Fn(&str, u64, &[u8]) -> Fault + Send + Sync> Chaos for F {
    fn on_invoke(&self, function: &str, sequence: u64, payload: &[u8]) -> Fault {
        self(function, sequence, payload)
    }
}
