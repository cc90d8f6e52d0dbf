//! Stored results: where they are, and how they are read.

use super::Service;
use crate::record::{QueryRecord, QueryState, StoredResult};
use crate::result::{PAGE_BYTES, ResultFormat, ResultReader};
use bytes::{Bytes, BytesMut};
use engine::ids::QueryId;
use engine::storage::{Meter, Pins};
use engine::{Error, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::time::Duration;

/// Folder of results below the state.
pub(super) const RESULTS: &str = "results";
/// How long a presigned URL of a result is valid.
const URL_VALID: Duration = Duration::from_secs(3_600);
/// Longest time that a read of a result is tried again.
const RETRY_TIME: Duration = Duration::from_secs(30);

impl Service {
    /// Path and URL of the result of a query.
    pub(super) fn result_place(&self, id: QueryId, format: ResultFormat) -> (Path, String) {
        let path = self.base.clone().join(RESULTS).join(format!("{id}.{}", format.extension()));
        let mut url = self.state_url.clone();
        url.set_path(path.as_ref());
        (path, url.to_string())
    }

    /// Stores the list of the files that a query has written, beside its result; gives its URL, or none when there are no files.
    pub(super) async fn store_manifest(&self, id: QueryId, store: &dyn ObjectStore, manifest: &str) -> Result<Option<String>> {
        if manifest.is_empty() {
            return Ok(None);
        }
        let path = self.base.clone().join(RESULTS).join(format!("{id}-manifest.csv"));
        // Run again, it would write its rows again: this is no fault that calls for it.
        let failed = |error: object_store::Error| {
            Error::internal(format!("the rows are written, but not the list of their files: {error}"))
        };
        store.put(&path, manifest.as_bytes().to_vec().into()).await.map_err(failed)?;
        let mut url = self.state_url.clone();
        url.set_path(path.as_ref());
        Ok(Some(url.to_string()))
    }

    /// Whether results are in a bucket, to which callers can be sent; else they come through this process.
    pub(crate) fn is_on_s3(&self) -> bool {
        self.state_url.scheme() == "s3"
    }

    /// Reads the stored result of `record`; none when it has none.
    pub(crate) fn reader(&self, record: &QueryRecord) -> Result<Option<ResultReader>> {
        let Some(StoredResult { result, .. }) = &record.result else { return Ok(None) };
        let registry = self.coordinator().storage().registry(Meter::new(), Pins::default(), RETRY_TIME);
        let store = registry.counted_store(&self.state_url)?;
        let (path, _) = self.result_place(record.query_id, result.format);
        Ok(Some(ResultReader::new(store, path, &record.query_id.to_string(), result.clone())))
    }

    /// A URL with which the result can be read for an hour; none where the state is a folder.
    pub(crate) async fn result_url(&self, record: &QueryRecord) -> Result<Option<String>> {
        let Some(StoredResult { result, .. }) = &record.result else { return Ok(None) };
        let registry = self.coordinator().storage().registry(Meter::new(), Pins::default(), RETRY_TIME);
        let (path, _) = self.result_place(record.query_id, result.format);
        registry.presigned(&self.state_url, &path, URL_VALID).await
    }

    /// The stored rows of a query that succeeded, where they fit an answer.
    pub(super) async fn small_result(&self, record: &QueryRecord) -> Result<Option<(Bytes, u64)>> {
        let small = |stored: &&StoredResult| stored.result.bytes <= PAGE_BYTES as u64;
        let Some(stored) = record.result.as_ref().filter(small).filter(|_| record.state == QueryState::Succeeded) else {
            return Ok(None);
        };
        let Some(reader) = self.reader(record)? else { return Ok(None) };
        let parts: Vec<Bytes> = reader.whole().await?.try_collect().await?;
        let body = parts.into_iter().fold(BytesMut::new(), |mut body, part| {
            body.extend_from_slice(&part);
            body
        });
        Ok(Some((body.freeze(), stored.result.rows)))
    }
}
