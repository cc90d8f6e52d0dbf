//! Faults at fixed rates, from a seed: answers of S3 and lives of workers.

use crate::stats::mix;
use ::tests::functions::WORKER;
use ::tests::s3::{Failure, Fault, FaultCount, FaultId, FaultKind, Faults};
use emulator::{Chaos, Fault as FunctionFault};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Requests that one arrangement is made for.
const SPAN_REQUESTS: u64 = 20_000;
/// The part of an arrangement after which the next one is made.
const USED_REQUESTS: u64 = SPAN_REQUESTS / 2;
/// 503 in 1,000 requests.
const SLOW_DOWN_PER_MILLE: u64 = 20;
/// Connections that end early in 1,000 requests.
const RESET_PER_MILLE: u64 = 10;
/// Worker invocations in 1,000 whose process is killed.
const KILL_PER_MILLE: u64 = 10;

/// Faults of the S3 server: each strikes one request, at a place in the order of arrival that the seed gives.
pub(super) struct S3Faults {
    seed: u64,
    arranged: u64,
    first: Option<FaultId>,
    fired: u64,
    requests: u64,
}

impl S3Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, arranged: 0, first: None, fired: 0, requests: 0 }
    }

    /// Arms the next faults when those that are armed run out.
    pub(super) fn arrange(&mut self, faults: &Faults) {
        let used = self.first.map(|first| faults.count(first).seen);
        if used.is_some_and(|used| used < USED_REQUESTS) {
            return;
        }
        self.end(faults);
        self.arranged += 1;
        let count = SPAN_REQUESTS / 1_000 * (SLOW_DOWN_PER_MILLE + RESET_PER_MILLE);
        for number in 0..count {
            let random = mix(self.seed, self.arranged << 32 | number);
            let slow_down = number % (SLOW_DOWN_PER_MILLE + RESET_PER_MILLE) < SLOW_DOWN_PER_MILLE;
            let kind = match random % 3 {
                _ if slow_down => FaultKind::Fail(Failure::SlowDown),
                0 => FaultKind::HangUp,
                1 => FaultKind::ObeyThenHangUp,
                _ => FaultKind::Reset { after_bytes: random >> 20 & 0xffff },
            };
            let id = faults.arm(Fault::new(None, "", kind).skip((random >> 8) % SPAN_REQUESTS));
            self.first = self.first.or(Some(id));
        }
    }

    /// Disarms everything.
    pub(super) fn end(&mut self, faults: &Faults) {
        self.requests += self.first.map_or(0, |first| faults.count(first).seen);
        self.fired += fired(faults);
        self.first = None;
        faults.clear();
    }

    /// Requests that a fault has struck.
    pub(super) fn fired(&self, faults: &Faults) -> u64 {
        self.fired + fired(faults)
    }

    /// Requests that came while faults were armed.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }
}

fn fired(faults: &Faults) -> u64 {
    faults.report().iter().map(|(_, FaultCount { fired, .. })| fired).sum()
}

/// Kills of workers.
pub(super) struct Kills {
    seed: u64,
    count: AtomicU64,
}

impl Kills {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, count: AtomicU64::new(0) }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Chaos for Kills {
    fn on_invoke(&self, function: &str, sequence: u64, _: &[u8]) -> FunctionFault {
        let random = mix(self.seed ^ 0x6b69_6c6c, sequence);
        if function != WORKER || random % 1_000 >= KILL_PER_MILLE {
            return FunctionFault::None;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if random >> 32 & 1 == 0 {
            FunctionFault::KillAfter(Duration::from_millis(random >> 40 & 15))
        } else {
            FunctionFault::KillBeforeAnswer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_have_their_rate_and_come_back_with_the_seed() {
        let kills = Kills::new(7);
        let faults: Vec<_> = (0..100_000).map(|sequence| kills.on_invoke(WORKER, sequence, b"")).collect();
        assert!((900..1_100).contains(&kills.count()), "{}", kills.count());
        let again = Kills::new(7);
        assert!((0..100_000).all(|sequence| again.on_invoke(WORKER, sequence, b"") == faults[sequence as usize]));
        assert_eq!(kills.on_invoke("owlet-coordinator", 0, b""), FunctionFault::None);
    }

    #[test]
    fn an_arrangement_is_kept_until_it_is_half_used() {
        let (faults, mut s3) = (Faults::default(), S3Faults::new(1));
        s3.arrange(&faults);
        let armed = faults.report().len();
        s3.arrange(&faults);
        assert_eq!((armed, faults.report().len()), (600, 600));
        s3.end(&faults);
        assert!(faults.report().is_empty());
    }
}
