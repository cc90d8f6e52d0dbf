//! The only file of this crate that reads time or entropy.
#![expect(clippy::disallowed_methods, reason = "this is the file that the ban points to")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Measures elapsed time from a fixed start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Time since 1970-01-01 UTC.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A fresh random identifier (version 4 UUID), the form of Lambda's request ids.
pub(crate) fn random_id() -> Uuid {
    Uuid::new_v4()
}

pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
