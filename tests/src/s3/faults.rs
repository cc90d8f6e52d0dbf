//! Decides which request meets which fault, from a declared list with budgets; it does not carry the faults out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::request::{Op, Target};

/// What goes wrong. Of the kinds that shape the answer (all but the last three) a request meets one at most.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// The request is refused and has no effect.
    Fail(Failure),
    /// The request takes effect, and then the answer says that it failed.
    ObeyThenFail(Failure),
    /// The connection is closed without an answer; the request has no effect.
    HangUp,
    /// The request takes effect, and then the connection is closed without an answer.
    ObeyThenHangUp,
    /// A successful answer keeps its head, but its body ends after this many bytes with an orderly close (FIN).
    Truncate {
        /// Body bytes sent.
        after_bytes: u64,
    },
    /// As `Truncate`, but the connection is reset (RST).
    Reset {
        /// Body bytes sent at most; a reset may overtake the last of them.
        after_bytes: u64,
    },
    /// A successful answer is well-formed HTTP but too short: `Content-Length` and body are cut to this length,
    /// while `Content-Range` still claims all that was asked for.
    ShortLength {
        /// The new length; a shorter body stays as it is.
        bytes: u64,
    },
    /// The request waits before it is looked at.
    Delay(Duration),
    /// The object that the request names is replaced just before the request is carried out.
    Overwrite(Bytes),
    /// The object that the request names is deleted just before the request is carried out.
    Vanish,
}

/// An error answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// 503 SlowDown.
    SlowDown,
    /// 500 InternalError.
    InternalError,
    /// 409 ConditionalRequestConflict.
    Conflict,
}

impl Failure {
    pub(super) fn status_and_code(self) -> (u16, &'static str) {
        match self {
            Self::SlowDown => (503, "SlowDown"),
            Self::InternalError => (500, "InternalError"),
            Self::Conflict => (409, "ConditionalRequestConflict"),
        }
    }
}

/// One declared fault: it lets `skip` matching requests pass and then strikes the next `times`.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The operation it is for; `None` means all.
    pub op: Option<Op>,
    /// Substring of `bucket/key`; the empty string matches all.
    pub key_contains: String,
    /// Matching requests that pass first.
    pub skip: u64,
    /// Matching requests that it strikes after those.
    pub times: u64,
    /// What it does.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault that strikes the first request with this operation and a `bucket/key` that contains the text.
    pub fn new(op: impl Into<Option<Op>>, key_contains: &str, kind: FaultKind) -> Self {
        Self { op: op.into(), key_contains: key_contains.to_owned(), skip: 0, times: 1, kind }
    }

    /// Lets this many matching requests pass first.
    pub fn skip(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// Strikes this many matching requests.
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    fn matches(&self, target: &Target, path: &str) -> bool {
        self.op.is_none_or(|op| op == target.op) && path.contains(&self.key_contains)
    }
}

/// Names an armed fault; valid until [`Faults::clear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(usize);

/// How often a fault could strike and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCount {
    /// Matching requests.
    pub seen: u64,
    /// Requests struck; never more than [`Fault::times`].
    pub fired: u64,
}

/// The server's switches. Each fault counts the matching requests in order of arrival, so a sequential
/// client meets the same faults in every run.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Vec<(Fault, FaultCount)>>,
    latency_us: AtomicU64,
    bandwidth: AtomicU64,
}

impl Faults {
    /// Adds a fault to the list; its count starts at zero.
    pub fn arm(&self, fault: Fault) -> FaultId {
        let mut armed = self.armed();
        armed.push((fault, FaultCount::default()));
        FaultId(armed.len() - 1)
    }

    /// The counters of one fault.
    pub fn count(&self, id: FaultId) -> FaultCount {
        self.armed().get(id.0).map(|(_, count)| *count).unwrap_or_default()
    }

    /// The whole list with its counters.
    pub fn report(&self) -> Vec<(Fault, FaultCount)> {
        self.armed().clone()
    }

    /// Makes every request wait this long before it is looked at; zero switches it off.
    pub fn set_latency(&self, latency: Duration) {
        self.latency_us.store(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Limits every connection, each direction by itself, to this many bytes per second; `None` lifts it.
    pub fn set_bandwidth(&self, bytes_per_second: Option<u64>) {
        self.bandwidth.store(bytes_per_second.map_or(0, |rate| rate.max(1)), Ordering::Relaxed);
    }

    /// Forgets all faults, the latency and the bandwidth limit.
    pub fn clear(&self) {
        self.armed().clear();
        self.set_latency(Duration::ZERO);
        self.set_bandwidth(None);
    }

    pub(super) fn bandwidth(&self) -> Option<u64> {
        Some(self.bandwidth.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Charges the budgets for one request. A fault that is due, but comes second to another that already
    /// shapes the answer, keeps its budget for the next request.
    pub(super) fn plan(&self, target: &Target) -> Plan {
        let path = format!("{}/{}", target.bucket, target.key);
        let latency = Duration::from_micros(self.latency_us.load(Ordering::Relaxed));
        let mut plan = Plan { delay: latency, change: None, answer: None };
        for (fault, count) in self.armed().iter_mut().filter(|(fault, _)| fault.matches(target, &path)) {
            count.seen += 1;
            if count.seen > fault.skip && count.fired < fault.times && plan.take(&fault.kind) {
                count.fired += 1;
            }
        }
        plan
    }

    fn armed(&self) -> MutexGuard<'_, Vec<(Fault, FaultCount)>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one request is going to meet.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) delay: Duration,
    /// `Some(None)` deletes the object that the request names.
    pub(super) change: Option<Option<Bytes>>,
    /// One of the kinds that shape the answer.
    pub(super) answer: Option<FaultKind>,
}

impl Plan {
    fn take(&mut self, kind: &FaultKind) -> bool {
        match kind {
            FaultKind::Delay(delay) => self.delay += *delay,
            FaultKind::Overwrite(_) | FaultKind::Vanish if self.change.is_some() => return false,
            FaultKind::Overwrite(body) => self.change = Some(Some(body.clone())),
            FaultKind::Vanish => self.change = Some(None),
            _ if self.answer.is_some() => return false,
            shape => self.answer = Some(shape.clone()),
        }
        true
    }
}
