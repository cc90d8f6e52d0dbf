//! One query of a service, from its RUNNING record to its final one.

use super::{Invocation, Service, Submitted};
use crate::control::{QueryControl, QueryLimits};
use crate::receipt::Receipt;
use crate::record::{self, Change, QueryRecord, QueryState, RecordError, RecordProgress, StageCount, StoredResult};
use crate::result::{Encoder, Finished, ResultFormat, ResultSink, SinkLimits};
use crate::trace::trace_id;
use bytes::Bytes;
use engine::clock::{Stopwatch, now_ms, sleep};
use engine::cost::NanoDollars;
use engine::panic::caught;
use engine::storage::{Meter, Pins, RequestCounts};
use engine::{Error, ErrorKind, Result};
use sql::Statement;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Pause between a running query's looks at its record, for a wish to cancel.
const CANCEL_POLL: Duration = Duration::from_millis(500);
/// Shortest time between two reports of progress: each is a PUT.
const PROGRESS_TIME: Duration = Duration::from_secs(3);
/// Longest time between two reports: a third of the lease.
const RENEW_TIME: Duration = Duration::from_secs(10);
/// Longest time that a request for a stored result is tried again.
const RESULT_RETRY_TIME: Duration = Duration::from_secs(60);
/// Time for the answer, which the receipt in it cannot measure.
const ANSWER_TIME: Duration = Duration::from_millis(1);
/// Time before the end of the invocation at which a query is stopped, to clean up and make its record final.
const ENDING_TIME: Duration = Duration::from_secs(8);

/// Rows of a query that succeeded: in an answer, or stored.
pub(super) struct Executed {
    finished: Finished,
    location: String,
    manifest_location: Option<String>,
    receipt: Receipt,
}

impl Service {
    /// Runs the query in a task of its own, which is cancelled when the caller goes away.
    pub(super) async fn run_here(
        self: &Arc<Self>,
        record: QueryRecord,
        statement: Statement,
        invocation: Invocation,
        place: OwnedSemaphorePermit,
    ) -> Result<Submitted> {
        let (service, cancel) = (Arc::clone(self), self.life.stopping().child_token());
        let _cancels_when_dropped = cancel.clone().drop_guard();
        let alive = self.life.enter();
        let task = Handle::current().spawn(async move {
            let _running_here = (place, alive);
            Box::pin(service.run(record, statement, invocation, cancel)).await
        });
        match task.await.map_err(|_| Error::internal("the query panicked: this is a defect in the engine"))?? {
            (record, Some((body, rows))) => Ok(Submitted::Rows { record: Box::new(record), body, rows }),
            (record, None) => Ok(Submitted::Record(Box::new(record))),
        }
    }

    /// Runs the query of a record that is RUNNING, and makes the record final.
    ///
    /// # Errors
    /// Only when the record cannot be changed; the query's own error is in it.
    pub(super) async fn run(
        &self,
        record: QueryRecord,
        statement: Statement,
        invocation: Invocation,
        cancel: CancellationToken,
    ) -> Result<(QueryRecord, Option<(Bytes, u64)>)> {
        let control = QueryControl {
            cancel,
            id: Some(record.query_id),
            limits: limits(record.limits, invocation.time_left),
            trace_parent: invocation.trace_parent.clone(),
            ..QueryControl::new()
        };
        let ended = CancellationToken::new();
        let executing = async {
            let executed = caught("the query", self.execute(&record, &statement, &control)).await;
            ended.cancel();
            executed
        };
        // The watch ends between two requests: one that is under way is on the bill.
        let (executed, ()) = tokio::join!(executing, self.watch(&record, &control, &invocation, &ended));
        let failed_receipt = control.failed.send_replace(None);
        let executed = executed.map_err(|error| match error.kind {
            ErrorKind::Internal => error.context(format!("query {}", record.query_id)),
            _ => error,
        });
        let (record, rows) = self.end_with(&record, executed, failed_receipt.as_deref(), &control, &invocation).await?;
        tracing::info!(
            query_id = %record.query_id, request_id = invocation.request_id, trace_id = trace_id(&invocation.trace_parent),
            state = record.state.name(), code = record.error.as_ref().map_or("", |error| &error.code),
            retryable = record.error.as_ref().is_some_and(|error| error.retryable), "query ended"
        );
        Ok((record, rows))
    }

    /// Makes the record final with an error that came before anything ran.
    pub(super) async fn end(&self, record: &QueryRecord, error: Error) -> Result<QueryRecord> {
        Ok(self.end_with(record, Err(error), None, &QueryControl::new(), &Invocation::default()).await?.0)
    }

    async fn execute(&self, record: &QueryRecord, statement: &Statement, control: &QueryControl) -> Result<Executed> {
        let format: ResultFormat = record.format.parse()?;
        let meter = Meter::new();
        let registry = self.coordinator.storage().registry(Arc::clone(&meter), Pins::default(), RESULT_RETRY_TIME);
        let store = registry.counted_store(&self.state_url)?;
        let (path, location) = self.result_place(record.query_id, format);
        let mut run = self.coordinator.run(&self.workspace_of(record), statement, control).await?;
        let written = async {
            let manifest_location = self.store_manifest(record.query_id, store.as_ref(), &run.manifest).await?;
            let encoder = Encoder::new(format, &run.rows.schema(), &record.query_id.to_string())?;
            let mut sink = ResultSink::new(encoder, store, path, SinkLimits::default(), record.is_async);
            while let Some(batch) = run.rows.next().await? {
                sink.write(&batch).await?;
            }
            Ok((sink, manifest_location))
        }
        .await;
        // Whatever happened to the rows, the exchange must be emptied.
        let finished = run.finish().await;
        let ((sink, manifest_location), mut receipt) = match (written, finished) {
            (Ok(written), Ok(receipt)) => (written, receipt),
            (Err(error), finished) => {
                control.failed.send_replace(finished.ok().map(Box::new));
                return Err(error);
            }
            (Ok((sink, _)), Err(error)) => {
                sink.abort().await;
                return Err(error);
            }
        };
        let shown = brief(&receipt)?;
        let finished = sink.finish(Some(&shown)).await?;
        receipt.add_requests(&meter.counts(), &self.coordinator.settings().prices);
        Ok(Executed { finished, location, manifest_location, receipt })
    }

    /// Keeps the record alive and hears the caller's wish to cancel, until the query has `ended`.
    async fn watch(&self, record: &QueryRecord, control: &QueryControl, invocation: &Invocation, ended: &CancellationToken) {
        let (id, principal) = (record.query_id, record.principal.as_str());
        let state = self.state_of(invocation).unwrap_or_else(|_| self.state.clone());
        let mut saved = (Stopwatch::start(), RecordProgress::default());
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = sleep(CANCEL_POLL) => {}
            }
            match state.read(id, principal).await {
                Ok(Some(now)) if now.cancel_requested || now.state.is_final() => control.cancel.cancel(),
                Ok(Some(_)) => {}
                Ok(None) => control.cancel.cancel(),
                Err(error) => tracing::warn!(query_id = %id, error = %error, "the query's record cannot be read"),
            }
            let progress = progress(control);
            let since = saved.0.elapsed();
            if since < PROGRESS_TIME || (progress == saved.1 && since < RENEW_TIME) {
                continue;
            }
            let event = |record: &mut QueryRecord| record.progress(now_ms(), progress.clone());
            match state.transition(id, principal, event).await {
                Ok(_) => saved = (Stopwatch::start(), progress),
                Err(error) => tracing::warn!(query_id = %id, error = %error, "the query's record cannot be changed"),
            }
        }
    }

    async fn end_with(
        &self,
        record: &QueryRecord,
        executed: Result<Executed>,
        failed_receipt: Option<&Receipt>,
        control: &QueryControl,
        invocation: &Invocation,
    ) -> Result<(QueryRecord, Option<(Bytes, u64)>)> {
        let (id, principal) = (record.query_id, record.principal.as_str());
        let mut progress = progress(control);
        let was_cancelled = control.cancel.is_cancelled();
        let manifest_location = executed.as_ref().ok().and_then(|executed| executed.manifest_location.clone());
        let (rows, stored, receipt, error) = match executed {
            Ok(Executed { finished: Finished::Inline { body, rows }, receipt, .. }) => {
                (Some((body, rows)), None, Some(receipt), None)
            }
            Ok(Executed { finished: Finished::Stored(result), location, receipt, .. }) => {
                (None, Some(StoredResult { location, result }), Some(receipt), None)
            }
            Err(error) => (None, None, failed_receipt.cloned(), Some(error)),
        };
        let receipt = receipt.map(|receipt| self.whole_bill(receipt, record, invocation));
        if let Some(receipt) = &receipt {
            (progress.scanned_bytes, progress.cost_nano_usd) = (receipt.data_scanned_bytes, receipt.cost_nano_usd.0);
        }
        let receipt =
            receipt.map(|receipt| serde_json::to_value(receipt).map_err(|e| Error::internal(e.to_string()))).transpose()?;
        let outcome = self
            .state_of(invocation)?
            .transition(id, principal, |record| match &error {
                None => {
                    let receipt = receipt.clone().unwrap_or_default();
                    record.succeed(now_ms(), progress.clone(), stored.clone(), manifest_location.clone(), receipt)
                }
                // A worker may have seen the wish before the coordinator did.
                Some(error) if error.kind == ErrorKind::Cancelled && (was_cancelled || record.cancel_requested) => {
                    record.cancel(now_ms(), receipt.clone())
                }
                Some(error) => record.fail(now_ms(), RecordError::from(error), receipt.clone()),
            })
            .await?
            .ok_or_else(|| Error::new(ErrorKind::Unavailable, format!("the record of query {id} has gone")))?;
        if outcome.record.cancel_requested {
            // The marker may have come after the exchange was emptied.
            self.coordinator.sweep(id).await?;
        }
        if outcome.change != Ok(Change::Applied) {
            // A result that was stored is nobody's then; the lifecycle rule removes it.
            return Ok((outcome.record, None));
        }
        let rows = rows.filter(|_| outcome.record.state == QueryState::Succeeded);
        Ok((outcome.record, rows))
    }
}

impl Service {
    /// The receipt with what the invocation used around the query: its start, its records and its last steps.
    fn whole_bill(&self, mut receipt: Receipt, record: &QueryRecord, invocation: &Invocation) -> Receipt {
        let settings = self.coordinator.settings();
        if self.is_on_s3() {
            let mut counts = invocation.record_meter.counts();
            // Of the records only requests cost something; the last change is still to come, and who queued the query made it.
            counts = RequestCounts { gets: counts.gets + 1, puts: counts.puts + 1, bytes_read: 0, bytes_written: 0, ..counts };
            counts.puts += u64::from(record.is_async);
            receipt.add_requests(&counts, &settings.prices);
        }
        if settings.coordinator_function_mb > 0 {
            let queried = Duration::from_millis(receipt.elapsed_ms);
            let around = invocation.watch.elapsed().saturating_sub(queried) + invocation.init;
            receipt.add_coordinator_time(around + invocation.last_steps + ANSWER_TIME, settings);
        }
        receipt
    }
}

/// A receipt without its lists: what fits a header.
pub(crate) fn brief(receipt: &Receipt) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(receipt).map_err(|e| Error::internal(e.to_string()))?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("stages");
        fields.remove("attempt_list");
    }
    Ok(value)
}

fn limits(asked: record::QueryLimits, time_left: Option<Duration>) -> QueryLimits {
    let own = asked.timeout_ms.map(Duration::from_millis);
    let left = time_left.map(|left| left.saturating_sub(ENDING_TIME).max(left / 2));
    QueryLimits {
        timeout: own.into_iter().chain(left).min(),
        max_scan_bytes: asked.max_scan_bytes,
        max_cost: asked.max_cost_usd.map(|dollars| NanoDollars((dollars * 1e9) as u64)),
    }
}

fn progress(control: &QueryControl) -> RecordProgress {
    let now = control.progress.borrow();
    RecordProgress {
        stages: now
            .stages
            .iter()
            .map(|stage| StageCount { stage: stage.stage.0, done: stage.done, tasks: stage.tasks })
            .collect(),
        scanned_bytes: now.scanned_bytes,
        cost_nano_usd: now.cost.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::QueryLimits;

    #[test]
    fn a_query_ends_before_its_invocation() {
        let limits_of = |time_left| {
            let timeout_ms = Some(60_000);
            limits(QueryLimits { timeout_ms, ..QueryLimits::default() }, time_left).timeout
        };
        assert_eq!(limits_of(None), Some(Duration::from_secs(60)));
        assert_eq!(limits_of(Some(Duration::from_secs(30))), Some(Duration::from_secs(22)));
        assert_eq!(limits_of(Some(Duration::from_secs(4))), Some(Duration::from_secs(2)));
    }
}
