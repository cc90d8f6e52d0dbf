//! What was run and what it would have been billed.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Entries kept; older ones are forgotten, the counts are not.
const MAX_ENTRIES: usize = 100_000;

/// How an invocation was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvocationKind {
    /// Invoke API, the caller waits.
    RequestResponse,
    /// Invoke API, queued.
    Event,
    /// Function URL.
    Url,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function answered.
    Ok,
    /// The function reported an error.
    FunctionError,
    /// The answer was above the payload limit.
    ResponseTooLarge,
    /// The time limit passed; the process was killed.
    TimedOut,
    /// The process ended or was killed from outside.
    Exited,
    /// The process was killed for its memory.
    OutOfMemory,
    /// The process did not come up.
    InitFailed,
}

/// One run of a function.
#[derive(Clone, Debug)]
pub struct LedgerEntry {
    /// Function name.
    pub function: String,
    /// Version that ran.
    pub version: String,
    /// Lambda request id; the runs of a repeated event share it.
    pub request_id: String,
    /// How it was asked for.
    pub kind: InvocationKind,
    /// ARN of the caller, or `anonymous`.
    pub caller: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Time from the event to the answer.
    pub duration: Duration,
    /// Time of the cold start, if there was one.
    pub init: Option<Duration>,
    /// Billed time in ms: duration and init, rounded up.
    pub billed_ms: u64,
    /// Memory limit in MiB, the other factor of the bill.
    pub memory_mb: u64,
    /// Peak memory of the process so far, in MiB.
    pub max_memory_mb: u64,
}

/// Totals of one function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries tried, throttled ones included.
    pub invokes: u64,
    /// Refused with 429.
    pub throttles: u64,
    /// Runs that did not end with [`Outcome::Ok`].
    pub errors: u64,
    /// Processes started.
    pub cold_starts: u64,
    /// Asynchronous events given up after their last retry.
    pub events_dropped: u64,
}

/// A copy of the books at one moment.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Finished runs, oldest first; bounded to the last 100,000.
    pub entries: Vec<LedgerEntry>,
    /// Totals by function name.
    pub counts: BTreeMap<String, Counts>,
}

impl Ledger {
    /// Totals of `function`; zero when it never ran.
    pub fn counts_of(&self, function: &str) -> Counts {
        self.counts.get(function).copied().unwrap_or_default()
    }

    /// Sum of the billed time of `function`, in ms.
    pub fn billed_ms(&self, function: &str) -> u64 {
        self.entries.iter().filter(|entry| entry.function == function).map(|entry| entry.billed_ms).sum()
    }
}

/// The books that all parts write to.
#[derive(Default)]
pub(crate) struct Books(Mutex<(VecDeque<LedgerEntry>, BTreeMap<String, Counts>)>);

impl Books {
    /// Changes the counts of `function`; gives what `change` returns.
    pub(crate) fn count<T>(&self, function: &str, change: impl FnOnce(&mut Counts) -> T) -> T {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = books.1.get_mut(function) {
            return change(counts);
        }
        change(books.1.entry(function.to_owned()).or_default())
    }

    pub(crate) fn add(&self, entry: LedgerEntry) {
        if entry.outcome != Outcome::Ok {
            self.count(&entry.function, |counts| counts.errors += 1);
        }
        let entries = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).0;
        if entries.len() == MAX_ENTRIES {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    pub(crate) fn snapshot(&self) -> Ledger {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ledger { entries: books.0.iter().cloned().collect(), counts: books.1.clone() }
    }
}

/// Billed time in ms: init and duration, rounded up to a whole millisecond.
pub(crate) fn billed_ms(init: Option<Duration>, duration: Duration) -> u64 {
    let nanos = (init.unwrap_or_default() + duration).as_nanos().div_ceil(1_000_000);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_init_and_duration_rounded_up_once() {
        assert_eq!(billed_ms(None, Duration::from_micros(12_340)), 13);
        assert_eq!(billed_ms(None, Duration::from_millis(12)), 12);
        assert_eq!(billed_ms(Some(Duration::from_micros(30_400)), Duration::from_micros(12_400)), 43);
    }
}
