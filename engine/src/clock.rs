//! The only file that reads time or entropy.
#![expect(clippy::disallowed_methods, reason = "this is the file that the ban points to")]

use std::time::{Duration, Instant};
use uuid::Uuid;

/// Measures elapsed time from a fixed start, so that pure code can work with plain durations.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since [`Self::start`].
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A fresh random identifier (version 4 UUID).
pub fn random_uuid() -> Uuid {
    Uuid::new_v4()
}

/// Suspends the current task for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// CPU time (user and system) that this process has used, where the platform tells it (Linux).
///
/// Fields 14 and 15 of `/proc/self/stat`, in clock ticks of 10 ms (`proc(5)`; USER_HZ is 100 on Linux).
pub fn process_cpu_time() -> Option<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}
