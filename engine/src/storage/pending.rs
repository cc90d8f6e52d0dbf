//! Who may still be writing: requests that were sent go on when whoever awaits them goes away.

use crate::clock::{Stopwatch, sleep};
use crate::task::Running;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Pause between looks at how many writers there are.
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// The writers of one query or attempt.
#[derive(Clone, Default, Debug)]
pub struct PendingWrites {
    count: Arc<AtomicUsize>,
    /// Whether somebody has begun to wait for them: no writer begins any more.
    has_ended: Arc<AtomicBool>,
    _running: Option<Running>,
}

impl PendingWrites {
    /// None yet; while there is one, the attempt of `running` has not really stopped.
    pub fn new(running: Option<Running>) -> Self {
        Self { _running: running, ..Self::default() }
    }

    /// One more, until the returned guard and all its clones are dropped.
    pub fn begin(&self) -> Pending {
        self.count.fetch_add(1, Ordering::SeqCst);
        Pending(self.clone())
    }

    /// One more, as [`Self::begin`]; none once somebody waits for the last one.
    pub fn begin_unless_ended(&self) -> Option<Pending> {
        // Counted first: whoever waits sees either the count or nothing that begins.
        let pending = self.begin();
        (!self.has_ended.load(Ordering::SeqCst)).then_some(pending)
    }

    /// Waits until there are none, at most `limit`; no other one begins.
    pub async fn settle(&self, limit: Duration) {
        self.has_ended.store(true, Ordering::SeqCst);
        let watch = Stopwatch::start();
        while self.count.load(Ordering::SeqCst) > 0 && watch.elapsed() < limit {
            sleep(SETTLE_POLL).await;
        }
    }
}

/// A writer that may still be at work, until this is dropped.
#[derive(Debug)]
pub struct Pending(PendingWrites);

impl Clone for Pending {
    fn clone(&self) -> Self {
        self.0.begin()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_writer_begins_when_the_last_one_is_waited_for() {
        let writers = PendingWrites::default();
        let first = writers.begin_unless_ended();
        assert!(first.is_some());
        writers.settle(Duration::ZERO).await;
        assert!(writers.begin_unless_ended().is_none());
        assert_eq!(writers.count.load(Ordering::SeqCst), 1);
        drop(first);
        assert_eq!(writers.count.load(Ordering::SeqCst), 0);
    }
}
