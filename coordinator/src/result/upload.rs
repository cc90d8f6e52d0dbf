//! The object of a stored result: uploaded, and then checked to be what was written.

use bytes::Bytes;
use engine::storage::{PendingWrites, Upload};
use engine::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutResult};
use std::sync::Arc;

/// Parts on their way at a time, and so in memory beside the one that is filled.
const MAX_PARTS_IN_FLIGHT: usize = 4;

/// A result that is being stored.
#[derive(Debug)]
pub(super) struct ResultUpload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    upload: Upload,
}

/// A finished object.
pub(super) struct Uploaded {
    pub(super) bytes: u64,
    pub(super) e_tag: Option<String>,
}

impl ResultUpload {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, content_type: &'static str) -> Self {
        let upload =
            Upload::new(Arc::clone(&store), path.clone(), content_type, MAX_PARTS_IN_FLIGHT, PendingWrites::default().begin());
        Self { store, path, upload }
    }

    /// Takes bytes in; waits while too many parts are on their way.
    pub(super) async fn put(&mut self, bytes: Bytes) -> Result<()> {
        self.upload.put(bytes).await
    }

    /// Sends the rest, makes the object visible and checks its length.
    pub(super) async fn finish(self) -> Result<Uploaded> {
        let Self { store, path, upload } = self;
        let written_bytes = upload.written_bytes();
        let put = upload.finish().await.map_err(|error| error.context(format!("cannot store the result at '{path}'")))?;
        check(store.as_ref(), &path, put, written_bytes).await
    }

    /// Gives the upload up; the object does not become visible.
    pub(super) async fn abort(&mut self) {
        self.upload.abort().await;
    }
}

/// Compares the object with what was written, and learns the ETag that reads can name.
async fn check(store: &dyn ObjectStore, path: &Path, put: PutResult, written_bytes: u64) -> Result<Uploaded> {
    let found = store.head(path).await.map_err(|error| Error::from(error).context("the result just stored"))?;
    if found.size != written_bytes {
        if let Err(error) = store.delete(path).await {
            tracing::warn!(%path, %error, "an incomplete result could not be deleted");
        }
        let size = found.size;
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the result stored at '{path}' has {size} bytes instead of {written_bytes}; run the query again"),
        ));
    }
    // S3 quotes ETags in headers, but some stores do not in the answer to an upload.
    let bare = |tag: &str| tag.trim_matches('"').to_owned();
    if let (Some(own), Some(other)) = (&put.e_tag, &found.e_tag)
        && bare(own) != bare(other)
    {
        let message = format!("the result stored at '{path}' was replaced at once: another attempt of the query runs");
        return Err(Error::new(ErrorKind::Changed, message));
    }
    Ok(Uploaded { bytes: written_bytes, e_tag: found.e_tag.or(put.e_tag) })
}
