//! The ends of a service's life: queries that a dead process left open are ended first, those that run when it stops last.

use super::Service;
use crate::record::Change;
use engine::clock::now_ms;
use engine::{Error, ErrorKind, Result};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Which queries run here, and whether they shall.
#[derive(Debug)]
pub(super) struct Life {
    stop: CancellationToken,
    running: Arc<watch::Sender<usize>>,
}

impl Life {
    pub(super) fn new() -> Self {
        Self { stop: CancellationToken::new(), running: Arc::new(watch::Sender::new(0)) }
    }

    /// Cancelled when the service stops; a query's own token is its child.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// One more query that is to end before the service has stopped, until the guard is dropped.
    pub(super) fn enter(&self) -> Alive {
        self.running.send_modify(|count| *count += 1);
        Alive(Arc::clone(&self.running))
    }
}

pub(super) struct Alive(Arc<watch::Sender<usize>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The error of a query that waited for its turn when its server was stopped.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "the server was stopped before the query ran; run it again")
}

impl Service {
    /// Cancels what runs, refuses what waits, and returns when the records of both have ended.
    pub async fn stop(&self) {
        self.life.stop.cancel();
        // The sender is in this service: it cannot be closed.
        drop(self.life.running.subscribe().wait_for(|count| *count == 0).await);
    }

    /// Ends the queries that an earlier process over the same folder left open, and empties their exchange. Only for the
    /// owner of the folder, before it takes its first query: in a bucket others may run them.
    ///
    /// # Errors
    /// When the records cannot be read or changed.
    pub async fn end_orphans(&self) -> Result<usize> {
        if self.is_on_s3() {
            return Ok(0);
        }
        let mut count = 0;
        for record in self.state.open_records().await? {
            let (id, principal) = (record.query_id, record.principal.clone());
            let ended = self.state.transition(id, &principal, |record| record.orphan(now_ms())).await?;
            if !ended.is_some_and(|outcome| outcome.change == Ok(Change::Applied)) {
                continue;
            }
            count += 1;
            // The record is final: what stays in the exchange now costs space, and a write is ended by the next one there.
            if let Err(error) = self.coordinator.sweep(id).await {
                tracing::warn!(query_id = %id, %error, "the exchange of a lost query was not emptied");
            }
            if let Err(error) = self.coordinator.recover_lost(&self.workspace_of(&record), id).await {
                tracing::warn!(query_id = %id, %error, "the query's write was not ended");
            }
        }
        Ok(count)
    }
}
