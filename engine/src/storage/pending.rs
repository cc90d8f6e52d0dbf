//! Who may still be writing: requests that were sent go on when whoever awaits them goes away.

use crate::clock::{Stopwatch, sleep};
use crate::task::Running;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Pause between looks at how many writers there are.
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// The writers of one query or attempt.
#[derive(Clone, Default, Debug)]
pub struct PendingWrites {
    count: Arc<AtomicUsize>,
    _running: Option<Running>,
}

impl PendingWrites {
    /// None yet; while there is one, the attempt of `running` has not really stopped.
    pub fn new(running: Option<Running>) -> Self {
        Self { count: Arc::default(), _running: running }
    }

    /// One more, until the returned guard and all its clones are dropped.
    pub fn begin(&self) -> Pending {
        self.count.fetch_add(1, Ordering::SeqCst);
        Pending(self.clone())
    }

    /// Waits until there are none, at most `limit`.
    pub async fn settle(&self, limit: Duration) {
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
