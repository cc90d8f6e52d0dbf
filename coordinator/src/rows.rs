//! The rows of a query on their way to the caller, and what must happen however that ends.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use engine::clock::{Stopwatch, sleep};
use engine::panic::caught;
use engine::{Error, ErrorKind, Result};
use futures::StreamExt;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Rows as they come; ends with an error when the query is cancelled or runs too long.
pub struct Rows {
    stream: SendableRecordBatchStream,
    cancel: CancellationToken,
    watch: Stopwatch,
    limit: Duration,
    count: u64,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Rows {
    pub(crate) fn new(stream: SendableRecordBatchStream, cancel: CancellationToken, watch: Stopwatch, limit: Duration) -> Self {
        Self { stream, cancel, watch, limit, count: 0 }
    }

    /// Columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// Rows given so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next batch, or none at the end.
    ///
    /// # Errors
    /// What went wrong in the query; [`ErrorKind::Cancelled`] and [`ErrorKind::LimitExceeded`] for cancel and timeout.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let left = self.limit.saturating_sub(self.watch.elapsed());
        let batch = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "the query was cancelled")),
            batch = caught("the query", async { self.stream.next().await.transpose().map_err(Error::from) }) => batch?,
            () = sleep(left) => return Err(too_long(self.limit)),
        };
        self.count += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        Ok(batch)
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn collect(&mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }
}

/// The error of a query that reached its time limit, in its stages or while its rows were read.
pub(crate) fn too_long(limit: Duration) -> Error {
    let limit = limit.as_secs_f64();
    Error::new(ErrorKind::LimitExceeded, format!("the query ran longer than its limit of {limit} s (--timeout)"))
}
