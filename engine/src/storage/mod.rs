//! From URL to object store: which stores a query may reach, and how each request is counted.
//!
//! Order of the wrappers, written once, here: `SourceStore(PlannedReads(S3 over MeteredHttp | MeteredStore(LocalFileSystem)))`.
//! Each query and each attempt has its own [`StoreRegistry`] with its own [`Meter`], over one shared HTTP client.

mod locations;
mod meter;
mod pending;
mod reads;
mod s3;
mod source;
mod upload;

pub use locations::DataLocations;
pub use meter::{Meter, MeteredStore, RequestCounts};
pub use pending::{Pending, PendingWrites};
pub use reads::{MAX_READ_BYTES, PlannedReads, READ_GAP_BYTES, plan_reads, read_range};
pub use source::{DELTA_LOG_FOLDER, Pins, SeenVersions, SourceStore, is_hidden};
pub use upload::{PART_BYTES, Upload};

use crate::error::{Error, ErrorKind, Result};
use crate::settings::Settings;
use datafusion::common::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use object_store::aws::AwsCredentialProvider;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::signer::Signer;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// Longest time that one request is tried again; also bounded by the query's deadline.
const MAX_RETRY_TIME: Duration = Duration::from_secs(170);

/// What all queries of a process share: settings, the HTTP client and credentials.
pub struct Storage {
    s3: s3::S3Access,
    locations: Option<Arc<DataLocations>>,
    writable: DataLocations,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Storage")
    }
}

impl Storage {
    /// Storage access with `settings`; no request is made yet.
    ///
    /// # Errors
    /// When the endpoint is not an `http` or `https` URL, or a data location is no URL.
    pub fn new(settings: &Settings) -> Result<Arc<Self>> {
        let denied = &settings.denied_locations;
        let locations = settings.data_locations.as_deref().map(|allowed| DataLocations::new(allowed)?.without(denied));
        let locations = locations.transpose()?.map(Arc::new);
        let writable = DataLocations::writable(&settings.write_locations)?.without(denied)?;
        Ok(Arc::new(Self { s3: s3::S3Access::new(&settings.s3)?, locations, writable }))
    }

    /// The AWS credentials of this process, for other services than S3.
    ///
    /// # Errors
    /// When the environment names some that cannot be used.
    pub fn aws_credentials(&self) -> Result<AwsCredentialProvider> {
        // Any name will do: no bucket is asked for.
        let store = self.s3.store("owlet", &Meter::new(), MAX_RETRY_TIME)?;
        Ok(Arc::clone(store.credentials()))
    }

    /// The stores of one query or attempt: its requests are counted in `meter`, its reads of pinned objects fail
    /// when the object has changed, and its retries end after `time_left`.
    pub fn registry(self: &Arc<Self>, meter: Arc<Meter>, pins: Pins, time_left: Duration) -> Arc<StoreRegistry> {
        Arc::new(StoreRegistry {
            storage: Arc::clone(self),
            meter,
            pins,
            retry_time: time_left.min(MAX_RETRY_TIME),
            stores: Mutex::new(HashMap::new()),
        })
    }
}

/// The object stores that one query or attempt can reach; everything else is refused.
pub struct StoreRegistry {
    storage: Arc<Storage>,
    meter: Arc<Meter>,
    pins: Pins,
    retry_time: Duration,
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl fmt::Debug for StoreRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreRegistry")
    }
}

impl StoreRegistry {
    /// The store of table data at `url`.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`] for a scheme other than `file` and `s3`.
    pub fn store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let key = format!("{}://{}", url.scheme(), url.host_str().unwrap_or(""));
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&key) {
            return Ok(Arc::clone(store));
        }
        let counted = self.counted_store(url)?;
        let reads = match url.scheme() {
            "file" => PlannedReads::of_files(counted, Arc::new(LocalFileSystem::new())),
            _ => PlannedReads::new(counted),
        };
        let store: Arc<dyn ObjectStore> =
            Arc::new(SourceStore::new(reads, key.clone(), self.pins.clone(), self.storage.locations.clone()));
        stores.insert(key, Arc::clone(&store));
        Ok(store)
    }

    /// The store at `url` with nothing but counting: for exchange objects.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn counted_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match url.scheme() {
            "file" => Ok(Arc::new(MeteredStore::new(Arc::new(LocalFileSystem::new()), Arc::clone(&self.meter)))),
            "s3" => Ok(self.storage.s3.store(url.host_str().unwrap_or(""), &self.meter, self.retry_time)?),
            other => Err(Error::new(
                ErrorKind::AccessDenied,
                format!("{url}: '{other}://' locations cannot be read; use a path, 'file://' or 's3://bucket/prefix/'"),
            )),
        }
    }

    /// The folders that SQL may write to, as `s3://bucket/folder/` with characters that stand for themselves.
    pub fn write_locations(&self) -> Vec<String> {
        self.storage.writable.folders()
    }

    /// The store at `url`, the path there, and the allowed folder above it, if SQL may write to it; no request is made.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`] for a location outside the setting `write_locations`, [`ErrorKind::InvalidQuery`] for
    /// what is no `s3` or `file` URL.
    pub fn writable(&self, url: &Url) -> Result<(Arc<dyn ObjectStore>, Path, Path)> {
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.port().is_none();
        let root = match (url.scheme(), url.host_str()) {
            ("s3", Some(bucket)) if plain => format!("s3://{bucket}"),
            ("file", None | Some("")) if plain => "file://".to_string(),
            _ => {
                return Err(Error::invalid(format!(
                    "'{url}' cannot be written to; use 's3://bucket/prefix/' or 'file:///folder/'"
                )));
            }
        };
        let path = Path::from_url_path(url.path()).map_err(|e| Error::invalid(format!("location '{url}': {e}")))?;
        let allowed = self.storage.writable.root_of(&root, &path)?.clone();
        Ok((self.counted_store(url)?, path, allowed))
    }

    /// A URL with which anyone can read the object at `path` in the store of `url` for `valid`; none for files.
    ///
    /// # Errors
    /// When there are no credentials to sign with.
    pub async fn presigned(&self, url: &Url, path: &Path, valid: Duration) -> Result<Option<String>> {
        if url.scheme() != "s3" {
            return Ok(None);
        }
        let store = self.storage.s3.store(url.host_str().unwrap_or(""), &self.meter, self.retry_time)?;
        Ok(Some(store.signed_url(http::Method::GET, path, valid).await?.to_string()))
    }

    /// The meter that this registry's requests are counted in.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }
}

impl ObjectStoreRegistry for StoreRegistry {
    /// Stores are chosen by settings only; registering another is ignored.
    fn register_store(&self, _url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        Ok(self.store(url)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_and_s3_are_reachable() -> Result<()> {
        let storage = Storage::new(&Settings::default())?;
        let registry = storage.registry(Meter::new(), Pins::default(), Duration::from_secs(1));
        let web = Url::parse("http://example.com/x.parquet").map_err(|e| Error::internal(e.to_string()))?;
        assert!(registry.store(&web).is_err_and(|e| e.kind == ErrorKind::AccessDenied));
        let file = Url::parse("file:///tmp/").map_err(|e| Error::internal(e.to_string()))?;
        assert!(registry.store(&file).is_ok());
        Ok(())
    }
}
