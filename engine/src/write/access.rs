//! Where plans may write: the allow-list of this process, asked before anything is sent.

use crate::error::{Error, Result};
use crate::ids::QueryId;
use crate::storage::{PendingWrites, StoreRegistry};
use object_store::ObjectStore;
use object_store::path::Path;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// The hidden folder below a location that writes are prepared in.
pub const STAGING_FOLDER: &str = "_owlet_staging";
/// The object in a query's staging folder whose creation decides that its write has happened.
pub const JOURNAL_NAME: &str = "commit.json";

/// What the writers of one query or attempt reach; an extension of its session.
pub struct WriteAccess {
    registry: Arc<StoreRegistry>,
    label: String,
    pending: PendingWrites,
}

impl fmt::Debug for WriteAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteAccess").field("label", &self.label).finish_non_exhaustive()
    }
}

impl WriteAccess {
    /// Writers that count their requests in the meter of `registry`, put `label` into the names of their files, and are
    /// counted in `pending` while they are at work.
    pub fn new(registry: Arc<StoreRegistry>, label: impl Into<String>, pending: PendingWrites) -> Self {
        Self { registry, label: label.into(), pending }
    }

    /// The writers that are at work.
    pub fn pending(&self) -> &PendingWrites {
        &self.pending
    }

    /// Part of the names of files that says who wrote them.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The folder at `location`, whose characters stand for themselves as in a catalog; no request is made.
    ///
    /// # Errors
    /// [`crate::ErrorKind::AccessDenied`] outside the setting `write_locations`, [`crate::ErrorKind::InvalidQuery`] for
    /// what is no URL of a folder.
    pub fn folder(&self, location: &str) -> Result<WriteFolder> {
        let url = url_of(location)?;
        let (store, base, _) = self.registry.writable(&url)?;
        let on_disk = (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten();
        Ok(WriteFolder::new(store, base, root_url(&url), on_disk))
    }

    /// The folders of the setting `write_locations`, as [`Self::folder`] takes them.
    pub fn roots(&self) -> Vec<String> {
        self.registry.write_locations()
    }

    /// The folder of the setting `write_locations` that `location` lies in.
    ///
    /// # Errors
    /// As [`Self::folder`].
    pub fn root(&self, location: &str) -> Result<WriteFolder> {
        let url = url_of(location)?;
        let (store, _, base) = self.registry.writable(&url)?;
        let on_disk = (url.scheme() == "file").then(|| PathBuf::from(format!("/{base}")));
        Ok(WriteFolder::new(store, base, root_url(&url), on_disk))
    }
}

/// The URL of a location in which nothing is encoded.
fn url_of(location: &str) -> Result<Url> {
    Url::parse(&location.replace('%', "%25")).map_err(|e| Error::invalid(format!("location '{location}': {e}")))
}

fn root_url(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or(""))
}

/// A folder that may be written to.
#[derive(Clone, Debug)]
pub struct WriteFolder {
    /// Its store.
    pub store: Arc<dyn ObjectStore>,
    /// The folder in it.
    pub base: Path,
    /// URL of the store, as `s3://bucket`.
    root: String,
    /// The same folder, where it is on disk.
    pub on_disk: Option<PathBuf>,
}

impl WriteFolder {
    /// The folder `base` of `store`, whose URL without a path is `root`; nothing asks whether it may be written.
    pub fn new(store: Arc<dyn ObjectStore>, base: Path, root: impl Into<String>, on_disk: Option<PathBuf>) -> Self {
        Self { store, base, root: root.into(), on_disk }
    }

    /// The folder of all writes that are being prepared here.
    pub fn staging(&self) -> Path {
        self.base.clone().join(STAGING_FOLDER)
    }

    /// The folder that `query` prepares its write in.
    pub fn staging_of(&self, query: QueryId) -> Path {
        self.staging().join(query.to_string())
    }

    /// The URL of the file at `path` in the folder's store.
    pub fn url_of(&self, path: &Path) -> String {
        format!("{}/{path}", self.root)
    }
}

/// `folder` with the relative `path` behind it, whose parts are escaped already.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] for a path that leads out of the folder or has a part that no key has.
pub fn below(folder: &Path, path: &str) -> Result<Path> {
    let wrong = || Error::new(crate::ErrorKind::Corrupt, format!("'{}' is no path of a written file", path.escape_debug()));
    if path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(wrong());
    }
    Path::parse(format!("{folder}/{path}")).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_folder() {
        let folder = Path::from("lake/t");
        assert!(below(&folder, "k=a%2Fb/x.parquet").is_ok_and(|path| path.as_ref() == "lake/t/k=a%2Fb/x.parquet"));
        for path in ["", "../x", "a/../../x", "/x", "a//b", "a/", ".", "a\nb"] {
            assert!(below(&folder, path).is_err(), "{path:?}");
        }
    }
}
