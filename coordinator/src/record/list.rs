//! Lists a principal's queries, newest first, by walking back over windows of time, since stores list oldest first.

use super::hash::principal_key;
use super::model::{QueryRecord, QueryState};
use super::records::{QUERIES, StateStore};
use super::text::parse_query_id;
use engine::ids::QueryId;
use engine::{ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Most queries of one page.
pub(crate) const MAX_LIST_LIMIT: usize = 200;

/// How far back lists go, in milliseconds: 37 days; older records are removed by the bucket's lifecycle rule.
const HORIZON_MS: i64 = 12 << 28;

/// The newest window, in milliseconds (17 minutes); each one before is [`WINDOW_GROWTH`] times as long, seven reach the horizon.
const FIRST_WINDOW_MS: i64 = 1 << 20;

/// How much longer each window is than the one after it.
const WINDOW_GROWTH: i64 = 4;

/// Most records read for one page; with a `state` filter, a page may end here with fewer queries than asked for.
const MAX_LIST_READS: usize = 2_000;

/// Most records that are read to find the open ones; those of a folder are never removed.
const MAX_OPEN_READS: usize = 20_000;

/// Records read at the same time.
const CONCURRENT_READS: usize = 16;

/// Which queries to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListRequest {
    /// Only queries older than this one.
    pub before: Option<QueryId>,
    /// Most queries of the page, 1 to [`MAX_LIST_LIMIT`]; other values are moved there.
    pub limit: usize,
    /// Only queries in this state.
    pub state: Option<QueryState>,
}

/// One page of a list.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ListPage {
    /// [`super::QueryRecord::summary`] of each query, newest first.
    pub queries: Vec<Value>,
    /// The `before` of the next page; there may be nothing more behind it.
    pub next: Option<QueryId>,
}

impl StateStore {
    /// The queries of `principal`, newest first, as of `now_ms`: one whose lease has run out is shown as failed.
    ///
    /// Records that cannot be read as this build's form are left out, with a warning in the log.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn list(&self, principal: &str, request: ListRequest, now_ms: i64) -> Result<ListPage> {
        let limit = request.limit.clamp(1, MAX_LIST_LIMIT);
        let oldest_ms = now_ms.saturating_sub(HORIZON_MS);
        let mut below = request.before.map(|id| id.0);
        let mut top_ms = below.map_or(now_ms, |id| time_of(id).min(now_ms));
        // A folder is walked as a whole each time.
        let mut window_ms = if self.objects.lists_in_key_order() { FIRST_WINDOW_MS } else { HORIZON_MS };
        let mut queries = Vec::new();
        let mut reads_left = MAX_LIST_READS;
        while top_ms > oldest_ms {
            let from_ms = top_ms.saturating_sub(window_ms).max(oldest_ms);
            let ids = self.newest_ids(principal, first_id(from_ms), below, reads_left).await?;
            let mut summaries = futures::stream::iter(ids)
                .map(|id| async move { self.listed(id, principal, request.state, now_ms).await.map(|summary| (id, summary)) })
                .buffered(CONCURRENT_READS);
            while let Some((id, summary)) = summaries.try_next().await? {
                reads_left -= 1;
                queries.extend(summary);
                if queries.len() == limit || reads_left == 0 {
                    return Ok(ListPage { queries, next: Some(id) });
                }
            }
            below = Some(first_id(from_ms));
            top_ms = from_ms;
            window_ms = window_ms.saturating_mul(WINDOW_GROWTH);
        }
        Ok(ListPage { queries, next: None })
    }

    /// The newest records of all principals that are not final, at most [`MAX_OPEN_READS`] records being read.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn open_records(&self) -> Result<Vec<QueryRecord>> {
        let mut newest = BTreeMap::new();
        let mut keys = self.objects.store().list(Some(&self.objects.folder(QUERIES)));
        while let Some(object) = keys.try_next().await? {
            let Some(QueryId(id)) = id_of(&object.location) else { continue };
            newest.insert(id, object.location);
            if newest.len() > MAX_OPEN_READS {
                newest.pop_first();
            }
        }
        let mut records = futures::stream::iter(newest.into_values())
            .map(|path| async move { self.open_record(&path).await })
            .buffer_unordered(CONCURRENT_READS);
        let mut open = Vec::new();
        while let Some(record) = records.try_next().await? {
            open.extend(record);
        }
        Ok(open)
    }

    /// The newest `max` ids from `from` on and below `below`, newest first.
    async fn newest_ids(&self, principal: &str, from: Uuid, below: Option<Uuid>, max: usize) -> Result<Vec<QueryId>> {
        let folder = self.objects.folder_path(QUERIES, &principal_key(principal));
        // The offset is the id without the file's ending, and so before the file itself.
        let mut keys = self.objects.store().list_with_offset(Some(&folder), &folder.clone().join(from.to_string()));
        let mut newest = BTreeSet::new();
        while let Some(object) = keys.try_next().await? {
            // Anything else in the folder is not ours.
            let Some(QueryId(id)) = id_of(&object.location) else { continue };
            if below.is_some_and(|below| id >= below) {
                if self.objects.lists_in_key_order() {
                    break;
                }
                continue;
            }
            newest.insert(id);
            if newest.len() > max {
                newest.pop_first();
            }
        }
        Ok(newest.into_iter().rev().map(QueryId).collect())
    }

    /// The record at `path` if it is not final; one that this build does not read is nobody's here.
    async fn open_record(&self, path: &Path) -> Result<Option<QueryRecord>> {
        let Some(stored) = self.objects.get(path).await? else { return Ok(None) };
        match QueryRecord::decode(&stored.body) {
            Ok(record) => Ok(Some(record).filter(|record| !record.state.is_final())),
            Err(error) => {
                tracing::warn!(%path, %error, "a record that cannot be read stays as it is");
                Ok(None)
            }
        }
    }

    /// The summary of a query, if it is still there and in the state that is asked for.
    async fn listed(&self, id: QueryId, principal: &str, state: Option<QueryState>, now_ms: i64) -> Result<Option<Value>> {
        let mut record = match self.read(id, principal).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            Err(error) if matches!(error.kind, ErrorKind::Corrupt | ErrorKind::LimitExceeded) => {
                tracing::warn!(query_id = %id, %error, "a list leaves out a query");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // Refused for all but lost ones; who asks for the query itself has the change stored.
        let _ = record.lost(now_ms);
        if state.is_some_and(|state| state != record.state) {
            return Ok(None);
        }
        record.summary().map(Some)
    }
}

/// The query whose record lies at `path`.
fn id_of(path: &Path) -> Option<QueryId> {
    parse_query_id(path.filename()?.strip_suffix(".json")?)
}

/// The time in a time-ordered id, in milliseconds since 1970.
fn time_of(id: Uuid) -> i64 {
    // 48 bits always fit.
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}

/// The smallest id of a time.
fn first_id(time_ms: i64) -> Uuid {
    Uuid::from_u128(u128::from(time_ms.max(0).unsigned_abs()) << 80)
}
