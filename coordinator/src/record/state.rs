//! What may follow what in a query's life: pure functions on the record, which know no store and no clock.
//!
//! A refused event leaves the record as it was. Events are absolute (they set, they do not add), so that applying one twice is harmless.

use super::model::{QueryRecord, QueryState, RecordError, RecordProgress, StoredResult};
use serde_json::Value;

/// How long a coordinator holds a query without renewing, in milliseconds.
pub(super) const LEASE_MS: i64 = 30_000;

/// How long an async query may wait for its invocation, in milliseconds; the function's maximum event age should not be longer.
pub(super) const QUEUE_LEASE_MS: i64 = 15 * 60 * 1_000;

/// First words of statements that write no rows.
const READING: [&str; 8] = ["select", "with", "values", "table", "show", "describe", "desc", "explain"];

/// What an accepted event did to the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// The record differs and has to be written.
    Applied,
    /// The record said so already.
    Unchanged,
}

/// Why an event was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The query has ended in that state.
    Final(QueryState),
    /// Only a running query has that event.
    NotRunning,
    /// Another coordinator has taken the query.
    AlreadyRunning,
    /// The lease has not run out.
    LeaseHeld,
}

impl QueryRecord {
    /// A coordinator takes the query and its lease.
    ///
    /// # Errors
    /// [`Refusal::AlreadyRunning`] or [`Refusal::Final`]: the caller must not run it.
    pub(crate) fn start(&mut self, now_ms: i64) -> Result<Change, Refusal> {
        match self.open_state()? {
            QueryState::Queued => {}
            _ => return Err(Refusal::AlreadyRunning),
        }
        self.state = QueryState::Running;
        self.started_at = Some(self.touch(now_ms));
        self.epoch = self.epoch.saturating_add(1);
        self.renew(now_ms);
        Ok(Change::Applied)
    }

    /// The coordinator tells how far it is, and renews its lease.
    ///
    /// # Errors
    /// [`Refusal::Final`]: the caller must stop. [`Refusal::NotRunning`]: it never took the query.
    pub(crate) fn progress(&mut self, now_ms: i64, progress: RecordProgress) -> Result<Change, Refusal> {
        self.require_running()?;
        self.touch(now_ms);
        self.progress = progress;
        self.renew(now_ms);
        Ok(Change::Applied)
    }

    /// The query ended with its rows: in `result`, or sent with the answer when that is none. `manifest` is where the files that it
    /// has written are listed.
    ///
    /// # Errors
    /// [`Refusal::Final`] or [`Refusal::NotRunning`].
    pub(crate) fn succeed(
        &mut self,
        now_ms: i64,
        progress: RecordProgress,
        result: Option<StoredResult>,
        manifest: Option<String>,
        receipt: Value,
    ) -> Result<Change, Refusal> {
        self.require_running()?;
        self.progress = progress;
        self.result = result;
        self.data_manifest_location = manifest;
        self.receipt = Some(receipt);
        Ok(self.end(now_ms, QueryState::Succeeded))
    }

    /// The query ended with `error`; `receipt` tells what it has cost, where that is known.
    ///
    /// # Errors
    /// [`Refusal::Final`].
    pub(crate) fn fail(&mut self, now_ms: i64, error: RecordError, receipt: Option<Value>) -> Result<Change, Refusal> {
        self.open_state()?;
        self.error = Some(RecordError::new(error.code, &error.message, error.retryable));
        self.set_bill(receipt);
        Ok(self.end(now_ms, QueryState::Failed))
    }

    /// The coordinator has stopped the query at the caller's wish.
    ///
    /// # Errors
    /// [`Refusal::Final`].
    pub(crate) fn cancel(&mut self, now_ms: i64, receipt: Option<Value>) -> Result<Change, Refusal> {
        self.open_state()?;
        self.set_bill(receipt);
        Ok(self.end(now_ms, QueryState::Cancelled))
    }

    /// The caller wants the query to stop. A queued one, which nobody runs, is cancelled at once.
    ///
    /// # Errors
    /// [`Refusal::Final`].
    pub(crate) fn request_cancel(&mut self, now_ms: i64) -> Result<Change, Refusal> {
        let state = self.open_state()?;
        if state == QueryState::Queued {
            self.cancel_requested = true;
            return Ok(self.end(now_ms, QueryState::Cancelled));
        }
        if self.cancel_requested {
            return Ok(Change::Unchanged);
        }
        self.cancel_requested = true;
        self.touch(now_ms);
        Ok(Change::Applied)
    }

    /// Anyone who sees that the lease has run out ends the query as failed.
    ///
    /// # Errors
    /// [`Refusal::LeaseHeld`] or [`Refusal::Final`].
    pub(crate) fn lost(&mut self, now_ms: i64) -> Result<Change, Refusal> {
        self.open_state()?;
        if !self.is_lost(now_ms) {
            return Err(Refusal::LeaseHeld);
        }
        self.orphan(now_ms)
    }

    /// Who owns the state knows that no coordinator is there any more, whatever the lease says.
    ///
    /// # Errors
    /// [`Refusal::Final`].
    pub(crate) fn orphan(&mut self, now_ms: i64) -> Result<Change, Refusal> {
        let state = self.open_state()?;
        let (message, retryable) = match state {
            QueryState::Queued => ("no coordinator took the query in time; run it again", true),
            _ if self.may_write() => (
                "the coordinator of the query stopped without a word; look at the table before you run it again: either all of its rows are written, or none is",
                false,
            ),
            _ => ("the coordinator of the query stopped without a word; run the query again", true),
        };
        self.error = Some(RecordError::new("COORDINATOR_LOST", message, retryable));
        Ok(self.end(now_ms, QueryState::Failed))
    }

    /// Whether the query is not final and its lease has run out.
    pub(crate) fn is_lost(&self, now_ms: i64) -> bool {
        !self.state.is_final() && self.lease_expires_at.is_none_or(|expires_ms| expires_ms <= now_ms)
    }

    /// Whether the statement may have written rows, as far as its first word tells.
    fn may_write(&self) -> bool {
        let first = self.sql.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        !READING.iter().any(|word| first.eq_ignore_ascii_case(word))
    }

    /// What an unfinished query has used: the last report of its progress was before its last attempts ended.
    fn set_bill(&mut self, receipt: Option<Value>) {
        let number = |name: &str| receipt.as_ref().and_then(|receipt| receipt.get(name)?.as_u64());
        if let Some(cost) = number("cost_nano_usd") {
            self.progress.cost_nano_usd = cost;
        }
        if let Some(bytes) = number("data_scanned_bytes") {
            self.progress.scanned_bytes = bytes;
        }
        self.receipt = receipt;
    }

    fn open_state(&self) -> Result<QueryState, Refusal> {
        if self.state.is_final() { Err(Refusal::Final(self.state)) } else { Ok(self.state) }
    }

    fn require_running(&self) -> Result<(), Refusal> {
        if self.open_state()? == QueryState::Running { Ok(()) } else { Err(Refusal::NotRunning) }
    }

    /// Sets the time of change, which never runs backwards although machines disagree on the time.
    fn touch(&mut self, now_ms: i64) -> i64 {
        self.updated_at = self.updated_at.max(now_ms);
        self.updated_at
    }

    fn renew(&mut self, now_ms: i64) {
        self.lease_expires_at = Some(now_ms.saturating_add(LEASE_MS));
    }

    fn end(&mut self, now_ms: i64, state: QueryState) -> Change {
        self.ended_at = Some(self.touch(now_ms));
        self.lease_expires_at = None;
        self.state = state;
        Change::Applied
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{new_query, sample_result};
    use super::*;
    use serde_json::json;

    const SUBMITTED_MS: i64 = 1_000_000;
    /// Past the lease of a query that started at [`SUBMITTED_MS`].
    const LATE_MS: i64 = SUBMITTED_MS + 2 * LEASE_MS;

    type Event = fn(&mut QueryRecord) -> Result<Change, Refusal>;
    type Next = Result<QueryState, Refusal>;

    fn in_state(state: QueryState) -> Result<QueryRecord, String> {
        let mut record = QueryRecord::new(new_query(1), SUBMITTED_MS).map_err(|error| error.to_string())?;
        if state != QueryState::Queued {
            record.start(SUBMITTED_MS).map_err(|refusal| format!("{refusal:?}"))?;
        }
        match state {
            QueryState::Queued | QueryState::Running => Ok(Change::Applied),
            QueryState::Succeeded => {
                record.succeed(SUBMITTED_MS, RecordProgress::default(), Some(sample_result(1)), None, json!({}))
            }
            QueryState::Failed => record.fail(SUBMITTED_MS, RecordError::new("INTERNAL", "x", false), None),
            QueryState::Cancelled => record.cancel(SUBMITTED_MS, None),
        }
        .map_err(|refusal| format!("{refusal:?}"))?;
        Ok(record)
    }

    #[test]
    fn a_lost_statement_that_may_have_written_is_not_to_be_run_again_unasked() -> Result<(), String> {
        for (sql, retryable) in [
            ("select 1", true),
            ("\n WITH a as (select 1) select * from a", true),
            ("insert into t select 1", false),
            ("create table t as select 1", false),
            ("execute p", false),
            ("-- a comment\nselect 1", false),
        ] {
            let mut record = in_state(QueryState::Running)?;
            record.sql = sql.into();
            record.lost(LATE_MS).map_err(|refusal| format!("{refusal:?}"))?;
            assert_eq!(record.error.map(|error| error.retryable), Some(retryable), "{sql}");
        }
        Ok(())
    }

    #[test]
    fn every_event_in_every_state() -> Result<(), String> {
        use QueryState::{Cancelled, Failed, Queued, Running, Succeeded};
        let to = Ok::<QueryState, Refusal>;
        // Event, then what follows in QUEUED and in RUNNING.
        let table: [(&str, Event, Next, Next); 9] = [
            ("start", |r| r.start(LATE_MS), to(Running), Err(Refusal::AlreadyRunning)),
            ("progress", |r| r.progress(LATE_MS, RecordProgress::default()), Err(Refusal::NotRunning), to(Running)),
            (
                "succeed",
                |r| r.succeed(LATE_MS, RecordProgress::default(), None, None, json!({"cost": 1})),
                Err(Refusal::NotRunning),
                to(Succeeded),
            ),
            ("fail", |r| r.fail(LATE_MS, RecordError::new("INTERNAL", "y", false), None), to(Failed), to(Failed)),
            ("cancel", |r| r.cancel(LATE_MS, None), to(Cancelled), to(Cancelled)),
            ("request_cancel", |r| r.request_cancel(LATE_MS), to(Cancelled), to(Running)),
            ("orphan", |r| r.orphan(LATE_MS), to(Failed), to(Failed)),
            ("lost, late", |r| r.lost(LATE_MS), to(Failed), to(Failed)),
            ("lost, early", |r| r.lost(SUBMITTED_MS), Err(Refusal::LeaseHeld), Err(Refusal::LeaseHeld)),
        ];
        for (name, event, if_queued, if_running) in table {
            for state in QueryState::ALL {
                let expected = match state {
                    Queued => if_queued,
                    Running => if_running,
                    Succeeded | Failed | Cancelled => Err(Refusal::Final(state)),
                };
                let before = in_state(state)?;
                let mut after = before.clone();
                let seen = event(&mut after).map(|_| after.state);
                assert_eq!(seen, expected, "{name} in {state:?}");
                if expected.is_err() {
                    assert_eq!(after, before, "{name} in {state:?} is refused and changes nothing");
                } else {
                    assert_eq!(after.updated_at, LATE_MS, "{name} in {state:?}");
                    assert_eq!(after.ended_at.is_some(), after.state.is_final(), "{name} in {state:?}");
                    assert_eq!(after.lease_expires_at.is_none(), after.state.is_final(), "{name} in {state:?}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_an_unfinished_query_has_cost_is_what_its_receipt_says() -> Result<(), String> {
        let bill = Some(json!({ "cost_nano_usd": 77, "data_scanned_bytes": 5 }));
        let mut failed = in_state(QueryState::Running)?;
        failed.fail(LATE_MS, RecordError::new("X", "y", false), bill.clone()).map_err(|refusal| format!("{refusal:?}"))?;
        let mut cancelled = in_state(QueryState::Running)?;
        cancelled.cancel(LATE_MS, bill).map_err(|refusal| format!("{refusal:?}"))?;
        for record in [failed, cancelled] {
            assert_eq!((record.progress.cost_nano_usd, record.progress.scanned_bytes), (77, 5), "{:?}", record.state);
        }
        Ok(())
    }

    #[test]
    fn the_lease_runs_from_the_last_report() -> Result<(), String> {
        let mut record = in_state(QueryState::Running)?;
        assert!(!record.is_lost(SUBMITTED_MS + LEASE_MS - 1));
        assert!(record.is_lost(SUBMITTED_MS + LEASE_MS));
        record.progress(SUBMITTED_MS + 20_000, RecordProgress::default()).map_err(|refusal| format!("{refusal:?}"))?;
        assert!(!record.is_lost(SUBMITTED_MS + LEASE_MS));
        assert!(record.is_lost(SUBMITTED_MS + 20_000 + LEASE_MS));
        record.request_cancel(SUBMITTED_MS + 40_000).map_err(|refusal| format!("{refusal:?}"))?;
        assert!(record.is_lost(SUBMITTED_MS + 20_000 + LEASE_MS), "a caller's wish does not renew the lease");
        assert_eq!(record.lost(LATE_MS), Ok(Change::Applied));
        assert_eq!(record.error.map(|error| (error.code, error.retryable)), Some(("COORDINATOR_LOST".to_owned(), true)));
        Ok(())
    }

    #[test]
    fn an_async_query_may_wait_longer_for_its_coordinator() -> Result<(), String> {
        let query = super::super::NewQuery { is_async: true, ..new_query(1) };
        let mut record = QueryRecord::new(query, 0).map_err(|error| error.to_string())?;
        assert!(!record.is_lost(QUEUE_LEASE_MS - 1));
        assert!(record.is_lost(QUEUE_LEASE_MS));
        assert_eq!(record.start(5), Ok(Change::Applied));
        assert_eq!((record.lease_expires_at, record.epoch), (Some(5 + LEASE_MS), 1));
        Ok(())
    }

    #[test]
    fn times_keep_their_order_when_clocks_disagree() -> Result<(), String> {
        let mut record = in_state(QueryState::Queued)?;
        assert_eq!(record.start(SUBMITTED_MS - 5_000), Ok(Change::Applied));
        assert_eq!(record.cancel(SUBMITTED_MS - 9_000, None), Ok(Change::Applied));
        assert_eq!((record.started_at, record.ended_at), (Some(SUBMITTED_MS), Some(SUBMITTED_MS)));
        Ok(())
    }

    #[test]
    fn the_second_wish_to_cancel_changes_nothing() -> Result<(), String> {
        let mut record = in_state(QueryState::Running)?;
        assert_eq!(record.request_cancel(LATE_MS), Ok(Change::Applied));
        let before = record.clone();
        assert_eq!(record.request_cancel(LATE_MS + 1), Ok(Change::Unchanged));
        assert_eq!(record, before);
        Ok(())
    }
}
