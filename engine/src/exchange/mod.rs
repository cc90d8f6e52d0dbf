//! The materialised exchange: where an attempt's output goes, and the rule that makes attempts harmless.
//!
//! ```text
//! exchange/<query>/<stage>/<task>.<attempt>-<delivery>   [segment of partition 0][segment of partition 1]...
//! ```
//!
//! **Invariant:** no two attempts, and no two deliveries of one, write the same key, and only the attempt whose outcome the coordinator accepted is
//! read; so a lost, late or repeated attempt changes nothing. Readers are told offsets: no LIST, HEAD or footer read.

mod compact;
mod read;
mod segment;
mod write;

pub use compact::compact_batch;
pub use read::{ExchangeReader, slice_output};
pub use segment::{SegmentDecoder, SegmentEncoder};
pub use write::{Written, write_output};

use crate::clock::random_uuid;
use crate::error::{Error, Result};
use crate::ids::{AttemptId, QueryId};
use crate::storage::StoreRegistry;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// Folder of all queries' exchanges below the exchange's URL.
pub const EXCHANGE_FOLDER: &str = "exchange";
/// The empty object that tells attempts to stop.
const CANCEL_KEY: &str = "cancel";

/// The folder of one query in the exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    /// The same folder, where the exchange is on disk.
    on_disk: Option<PathBuf>,
}

impl Exchange {
    /// The exchange folder of `query` below `url` (with or without a trailing slash).
    ///
    /// # Errors
    /// When `url` is no URL, or its store cannot be reached by `registry`.
    pub fn open(registry: &StoreRegistry, url: &str, query: QueryId) -> Result<Self> {
        let url = Url::parse(url).map_err(|e| Error::invalid(format!("exchange location '{url}': {e}")))?;
        let base = Path::from_url_path(url.path()).map_err(|e| Error::invalid(format!("exchange location '{url}': {e}")))?;
        let on_disk = (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten();
        Ok(Self {
            store: registry.counted_store(&url)?,
            folder: base.join(EXCHANGE_FOLDER).join(query.to_string()),
            on_disk: on_disk.map(|folder| folder.join(EXCHANGE_FOLDER).join(query.to_string())),
        })
    }

    /// A key for an attempt's output, below the query's folder; a new one at every call, because a function may be
    /// invoked twice for one request, and the two must not overwrite each other.
    pub fn attempt_key(attempt: AttemptId) -> String {
        let delivery = random_uuid().simple().to_string();
        format!("{attempt}-{}", &delivery[..8])
    }

    /// The key of a plan that is too big for a request.
    pub fn plan_key(attempt: AttemptId) -> String {
        format!("{attempt}.plan")
    }

    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.folder.clone(), |path, part| path.join(part))
    }

    /// Writes a whole object.
    ///
    /// # Errors
    /// As the store.
    pub async fn put(&self, key: &str, bytes: bytes::Bytes) -> Result<()> {
        self.store.put(&self.path(key), bytes.into()).await?;
        Ok(())
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// As the store.
    pub async fn get(&self, key: &str) -> Result<bytes::Bytes> {
        Ok(self.store.get(&self.path(key)).await?.bytes().await?)
    }

    /// Tells running attempts to stop, wherever they run; those that look for it see it at their next look.
    ///
    /// # Errors
    /// As the store.
    pub async fn cancel(&self) -> Result<()> {
        self.put(CANCEL_KEY, bytes::Bytes::new()).await
    }

    /// Whether the query was told to stop. Without the right to list, S3 says "denied" for a marker that is not there.
    pub async fn is_cancelled(&self) -> bool {
        self.store.get(&self.path(CANCEL_KEY)).await.is_ok()
    }

    /// Removes everything of the query, whoever wrote it; costs a LIST.
    ///
    /// # Errors
    /// As the store.
    pub async fn sweep(&self) -> Result<()> {
        let listed = self.store.list(Some(&self.folder)).map_ok(|meta| meta.location).boxed();
        let mut deleted = self.store.delete_stream(listed);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Folders, and files that a stopped write had begun: no listing shows them.
        match self.on_disk.as_deref().map(std::fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The store and path of an object.
    pub(crate) fn object(&self, key: &str) -> (Arc<dyn ObjectStore>, Path) {
        (Arc::clone(&self.store), self.path(key))
    }
}
