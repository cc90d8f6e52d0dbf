//! The only file that reads time or entropy.
#![expect(clippy::disallowed_methods, reason = "this is the file that the ban points to")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
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

/// A fresh identifier that sorts by the time when it was made (version 7 UUID).
pub fn time_ordered_uuid() -> Uuid {
    Uuid::now_v7()
}

/// Milliseconds since the start of 1970, UTC.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Suspends the current task for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Time since this process started, where the platform tells it (Linux); else zero.
///
/// Field 22 of `/proc/self/stat` counts clock ticks of 10 ms from the boot of the system (`proc(5)`), whose age
/// `/proc/uptime` tells.
pub fn process_age() -> Duration {
    let age = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let started: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        let uptime: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
        Duration::try_from_secs_f64(uptime - started / 100.0).ok()
    };
    age().unwrap_or_default()
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
