//! How the caller of a query follows, stops and limits it.

use crate::progress::Progress;
use crate::receipt::Receipt;
use engine::cost::NanoDollars;
use engine::ids::QueryId;
use engine::settings::Settings;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How the caller follows and stops a query.
#[derive(Clone, Debug)]
pub struct QueryControl {
    /// Cancelling it cancels the query.
    pub cancel: CancellationToken,
    /// Where snapshots of its progress go.
    pub progress: Arc<watch::Sender<Progress>>,
    /// The query's id; each run gets one of its own when absent.
    pub id: Option<QueryId>,
    /// What this query may use, where that is less than the settings say.
    pub limits: QueryLimits,
    /// W3C `traceparent` that the query belongs to, or empty.
    pub trace_parent: String,
    /// What a query used that failed before its rows could be read.
    pub failed: Arc<watch::Sender<Option<Box<Receipt>>>>,
}

/// Limits of one query.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct QueryLimits {
    /// Longest run.
    pub timeout: Option<Duration>,
    /// Most bytes of table data.
    pub max_scan_bytes: Option<u64>,
    /// Highest price.
    pub max_cost: Option<NanoDollars>,
}

impl QueryLimits {
    /// `settings` with these limits where they are lower.
    pub(crate) fn apply(&self, settings: &Arc<Settings>) -> Arc<Settings> {
        if *self == Self::default() {
            return Arc::clone(settings);
        }
        let lower = |set: Option<u64>, own: Option<u64>| set.into_iter().chain(own).min();
        let timeout_ms = self.timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        Arc::new(Settings {
            query_timeout_ms: timeout_ms.unwrap_or(u64::MAX).min(settings.query_timeout_ms),
            max_scan_bytes: lower(settings.max_scan_bytes, self.max_scan_bytes),
            max_cost_nano_usd: lower(settings.max_cost_nano_usd, self.max_cost.map(|cost| cost.0)),
            ..settings.as_ref().clone()
        })
    }
}

impl QueryControl {
    /// A control that nobody has touched.
    pub fn new() -> Self {
        Self {
            cancel: CancellationToken::new(),
            progress: Arc::new(watch::Sender::new(Progress::default())),
            id: None,
            limits: QueryLimits::default(),
            trace_parent: String::new(),
            failed: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Default for QueryControl {
    fn default() -> Self {
        Self::new()
    }
}
