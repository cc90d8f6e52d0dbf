//! The rows of a query on their way to the caller, and what must happen however that ends.

use crate::receipt::{coordinator_memory_mb, over_cost_limit, over_scan_limit};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use engine::clock::{Stopwatch, sleep};
use engine::cost::{LambdaUse, NanoDollars};
use engine::panic::caught;
use engine::settings::Settings;
use engine::storage::Meter;
use engine::{Error, ErrorKind, Result};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause between looks at what a query has used, where that is limited.
pub(crate) const BUDGET_TICK: Duration = Duration::from_secs(1);

/// Rows as they come; ends with an error when the query is cancelled or runs too long.
pub struct Rows {
    stream: SendableRecordBatchStream,
    cancel: CancellationToken,
    watch: Stopwatch,
    limit: Duration,
    count: u64,
    is_whole: bool,
    budget: Option<Budget>,
}

/// What a query may use while its rows are read.
pub(crate) struct Budget {
    pub(crate) settings: Arc<Settings>,
    /// What this process reads.
    pub(crate) meter: Arc<Meter>,
    /// What the workers have cost.
    pub(crate) spent: NanoDollars,
}

impl Budget {
    /// The error of a query that has run for `elapsed`, if that is too much.
    fn exceeded(&self, elapsed: Duration) -> Option<Error> {
        let (settings, counts) = (&self.settings, self.meter.counts());
        over_scan_limit(settings, counts.bytes_read).or_else(|| {
            let own = LambdaUse::invocation(coordinator_memory_mb(settings, self.spent == NanoDollars::default()), elapsed);
            over_cost_limit(settings, self.spent + settings.prices.lambda(own) + settings.prices.s3(counts.s3_use()))
        })
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Rows {
    pub(crate) fn new(stream: SendableRecordBatchStream, cancel: CancellationToken, watch: Stopwatch, limit: Duration) -> Self {
        Self { stream, cancel, watch, limit, count: 0, is_whole: false, budget: None }
    }

    /// The same, until more is used than `budget` allows.
    pub(crate) fn within(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// Rows given so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the last row has been given.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The next batch, or none at the end.
    ///
    /// # Errors
    /// What went wrong in the query; [`ErrorKind::Cancelled`] and [`ErrorKind::LimitExceeded`] for cancel and timeout.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = loop {
            let left = self.limit.saturating_sub(self.watch.elapsed());
            let pause = if self.budget.is_some() { left.min(BUDGET_TICK) } else { left };
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(cancelled()),
                batch = caught("the query", async { self.stream.next().await.transpose().map_err(Error::from) }) => break batch?,
                () = sleep(pause) => {}
            }
            self.check()?;
        };
        // Under load a late batch may come before its overdue timer.
        self.check()?;
        self.is_whole = batch.is_none();
        self.count += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        Ok(batch)
    }

    /// Whether the query may go on.
    fn check(&self) -> Result<()> {
        let elapsed = self.watch.elapsed();
        if elapsed >= self.limit {
            return Err(too_long(self.limit));
        }
        self.budget.as_ref().and_then(|budget| budget.exceeded(elapsed)).map_or(Ok(()), Err)
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

/// The error of a query that its caller cancelled.
pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the query was cancelled")
}

/// The error of a query that reached its time limit, in its stages or while its rows were read.
pub(crate) fn too_long(limit: Duration) -> Error {
    let limit = limit.as_secs_f64();
    Error::new(ErrorKind::LimitExceeded, format!("the query ran longer than its limit of {limit} s (--timeout)"))
}
