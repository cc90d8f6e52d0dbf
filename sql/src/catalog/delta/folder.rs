//! The folder of a log as a store of its own: which of its files are read, from where, and how many bytes in all.
//!
//! **Invariant:** nothing but commits, checkpoints and parts of checkpoints is read, whatever a log says, and each once.

use crate::catalog::location::Location;
use async_trait::async_trait;
use bytes::Bytes;
use engine::storage::DELTA_LOG_FOLDER;
use engine::{Error, ErrorKind, Result};
use futures::future::ready;
use futures::stream::{BoxStream, iter, once};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The folder of the parts of newer checkpoints in that of the log.
const SIDECAR_FOLDER: &str = "_sidecars";
/// Digits of a version in the names of files.
const VERSION_DIGITS: usize = 20;
/// Most files in the folder of a log.
const MAX_LOG_FILES: usize = 1_000_000;
/// Most bytes of a log that one query reads, and of its files that are in memory.
const MAX_LOG_BYTES: u64 = 512 << 20;

/// The files of a log by their paths below the table's folder, `_delta_log/…`.
pub(super) struct LogFolder {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    /// Commits and checkpoints; their places are those in `store`.
    files: BTreeMap<Path, ObjectMeta>,
    read: Mutex<HashMap<Path, (ObjectMeta, Bytes)>>,
    failed: Mutex<Option<Error>>,
    is_closed: AtomicBool,
}

impl LogFolder {
    /// Lists the log of the table at `location`.
    ///
    /// # Errors
    /// When there is none, or it has more than [`MAX_LOG_FILES`] files.
    pub(super) async fn list(store: Arc<dyn ObjectStore>, location: &Location) -> Result<Self> {
        let folder = location.join(DELTA_LOG_FOLDER).path;
        let nothing = || Error::new(ErrorKind::NotFound, format!("there is no log of Delta Lake at {folder}"));
        let mut listed = store.list(Some(&folder));
        let mut files = BTreeMap::new();
        loop {
            let meta = match listed.try_next().await {
                Ok(Some(meta)) => meta,
                Ok(None) => break,
                Err(object_store::Error::NotFound { .. }) => return Err(nothing()),
                Err(error) => return Err(error.into()),
            };
            if files.len() >= MAX_LOG_FILES {
                let text = format!("the log at {folder} has more than {MAX_LOG_FILES} files: clean it up");
                return Err(Error::new(ErrorKind::LimitExceeded, text));
            }
            let is_child = meta.location.parts().count() == folder.parts().count() + 1;
            if let Some(name) = meta.location.filename().filter(|name| is_child && version_of(name).is_some()) {
                files.insert(Path::from_iter([DELTA_LOG_FOLDER, name]), meta);
            }
        }
        drop(listed);
        if files.is_empty() {
            return Err(nothing());
        }
        let (read, failed, is_closed) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Ok(Self { store, folder, files, read, failed, is_closed })
    }

    /// The commits in order, and when each file was written.
    pub(super) fn commits(&self) -> impl Iterator<Item = (u64, &Path, &ObjectMeta)> {
        let commits = self.files.iter().filter(|(path, _)| !is_checkpoint(path));
        commits.filter_map(|(path, meta)| Some((version_of(path.filename()?)?, path, meta)))
    }

    /// The newest version that a commit or checkpoint has.
    pub(super) fn newest(&self) -> u64 {
        self.files.keys().next_back().and_then(|path| version_of(path.filename()?)).unwrap_or(0)
    }

    /// Whether there may be all that `version` was made of: a checkpoint before it, or the first commit.
    pub(super) fn has_start_of(&self, version: u64) -> bool {
        let before = |path: &&Path| path.filename().and_then(version_of).is_some_and(|start| start <= version);
        self.files.keys().take_while(before).any(is_checkpoint) || self.commits().next().is_some_and(|(first, ..)| first == 0)
    }

    /// What went wrong with a file, once: less is left of it after readers of the log have passed it on.
    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.failed).take()
    }

    /// Ends readers in the background.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// The whole file at `path`, from memory if it was read before.
    ///
    /// # Errors
    /// When it is no file of the log, is gone, or with it more than [`MAX_LOG_BYTES`] were read.
    pub(super) async fn get(&self, path: &Path) -> Result<(ObjectMeta, Bytes)> {
        if let Some(kept) = lock(&self.read).get(path) {
            return Ok(kept.clone());
        }
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "the query has ended"));
        }
        let Some(place) = self.place(path) else {
            return Err(Error::new(ErrorKind::NotFound, format!("{path} is no file of the log")));
        };
        let read = async {
            let result = self.store.get_opts(&place, GetOptions::default()).await.map_err(Error::from)?;
            self.check_room(result.meta.size)?;
            let meta = ObjectMeta { location: path.clone(), ..result.meta.clone() };
            let bytes = result.bytes().await.map_err(Error::from)?;
            self.check_room(bytes.len() as u64)?;
            Ok((meta, bytes))
        };
        let read = read.await.map_err(|error: Error| error.context(format!("the log's file {place}")))?;
        lock(&self.read).insert(path.clone(), read.clone());
        Ok(read)
    }

    fn check_room(&self, bytes: u64) -> Result<()> {
        let read: u64 = lock(&self.read).values().map(|(_, kept)| kept.len() as u64).sum();
        if bytes <= MAX_LOG_BYTES.saturating_sub(read) {
            return Ok(());
        }
        let text = format!("its log needs more than {} MiB to be read: write a checkpoint", MAX_LOG_BYTES >> 20);
        Err(Error::new(ErrorKind::LimitExceeded, text))
    }

    /// Whether `path`, as it is in a URL, is a file of the log, or may be a part of one of its checkpoints.
    pub(super) fn has(&self, path: &str) -> bool {
        let sidecar = path.strip_prefix(DELTA_LOG_FOLDER).and_then(|rest| rest.strip_prefix('/')?.strip_prefix(SIDECAR_FOLDER));
        let is_sidecar = sidecar.and_then(|rest| rest.strip_prefix('/')).is_some_and(is_plain);
        is_sidecar || Path::parse(path).is_ok_and(|path| self.files.contains_key(&path))
    }

    /// Where the file `path` is in the store.
    fn place(&self, path: &Path) -> Option<Path> {
        if let Some(meta) = self.files.get(path) {
            return Some(meta.location.clone());
        }
        let parts: Vec<_> = path.parts().collect();
        match parts.as_slice() {
            [log, sidecars, name] if log.as_ref() == DELTA_LOG_FOLDER && sidecars.as_ref() == SIDECAR_FOLDER => {
                Some(self.folder.clone().join(SIDECAR_FOLDER).join(name.clone()))
            }
            _ => None,
        }
    }
}

/// Whether `name` is a plain one, of a file in the folder itself.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', ':', '%', '?', '#']) && !name.starts_with('.')
}

fn is_checkpoint(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.contains(".checkpoint."))
}

/// The version of the commit or checkpoint `name`; none for what no reader needs.
fn version_of(name: &str) -> Option<u64> {
    let (version, rest) = name.split_at_checked(VERSION_DIGITS)?;
    let is_known = rest == ".json" || rest.starts_with(".checkpoint.") && (rest.ends_with(".parquet") || rest.ends_with(".json"));
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
    version.parse().ok().filter(|_| is_known && is_number)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_only() -> object_store::Error {
    object_store::Error::NotSupported { source: "a log is only read here".into() }
}

impl fmt::Debug for LogFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LogFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogFolder({})", self.folder)
    }
}

#[async_trait]
impl ObjectStore for LogFolder {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        if self.place(location).is_none() {
            // Hints and checksums, which no reader needs.
            return Err(object_store::Error::NotFound { path: location.to_string(), source: "it is not read".into() });
        }
        let (meta, bytes) = self.get(location).await.map_err(|error| {
            let text = error.to_string();
            lock(&self.failed).get_or_insert(error);
            object_store::Error::Generic { store: "log", source: text.into() }
        })?;
        let whole = 0..meta.size;
        let range = options.range.map_or(Ok(whole), |range| range.as_range(meta.size));
        let range = range.map_err(|error| object_store::Error::Generic { store: "log", source: error.into() })?;
        let payload = GetResultPayload::Stream(once(ready(Ok(bytes.slice(range.start as usize..range.end as usize)))).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let listed = self.files.iter().filter(|(path, _)| prefix.is_none_or(|prefix| path.prefix_matches(prefix)));
        let listed: Vec<_> = listed.map(|(path, meta)| Ok(ObjectMeta { location: path.clone(), ..meta.clone() })).collect();
        iter(listed).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> object_store::Result<ListResult> {
        Err(read_only())
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        locations.map(|_| Err(read_only())).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        Err(read_only())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    #[test]
    fn files_are_known_by_their_names() {
        let uuid = "80a083e8-7026-4e79-81be-64bd76c43a11";
        for (name, version) in [
            (format!("{:020}.json", 7), Some(7)),
            (format!("{:020}.checkpoint.parquet", 7), Some(7)),
            (format!("{:020}.checkpoint.0000000002.0000000003.parquet", 7), Some(7)),
            (format!("{:020}.checkpoint.{uuid}.parquet", 7), Some(7)),
            (format!("{:020}.checkpoint.{uuid}.json", 7), Some(7)),
            (format!("{:020}.{:020}.compacted.json", 7, 9), None),
            (format!("{:020}.crc", 7), None),
            (format!("{:020}.json.tmp", 7), None),
            (format!("{:020}json", 7), None),
            ("_last_checkpoint".into(), None),
            ("7.json".into(), None),
            ("0000000000000000000é.json".into(), None),
            ("99999999999999999999.json".into(), None),
        ] {
            assert_eq!(version_of(&name), version, "{name}");
        }
    }

    #[tokio::test]
    async fn only_files_of_the_log_are_read() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let store = Arc::new(InMemory::new());
        let (commit, checkpoint) = (format!("_delta_log/{:020}.json", 7), format!("_delta_log/{:020}.checkpoint.parquet", 7));
        for path in [commit.as_str(), checkpoint.as_str(), "_delta_log/_last_checkpoint", "_delta_log/_sidecars/a.parquet", "x"] {
            store.put(&Path::parse(format!("t/{path}"))?, path.to_string().into()).await?;
        }
        let folder = LogFolder::list(store, &Location::parse("s3://bucket/t/")?).await?;
        for (path, expected) in [
            (commit.as_str(), true),
            (checkpoint.as_str(), true),
            ("_delta_log/_sidecars/a.parquet", true),
            ("_delta_log/_sidecars/", false),
            ("_delta_log/_sidecars/../x.parquet", false),
            ("_delta_log/_sidecars/%2e%2e", false),
            ("_delta_log/_sidecars/a%2fb", false),
            ("_delta_log/_sidecars/a.parquet?sp=1", false),
            ("_delta_log/_last_checkpoint", false),
            ("x", false),
        ] {
            assert_eq!(folder.has(path), expected, "{path}");
        }
        for (path, expected) in [(commit.as_str(), true), ("_delta_log/_sidecars/a.parquet", true), ("x", false), ("../x", false)]
        {
            assert_eq!(folder.get_opts(&Path::from(path), GetOptions::default()).await.is_ok(), expected, "{path}");
        }
        assert!(folder.failure().is_none(), "what is not read is no failure");
        assert!(folder.get_opts(&Path::from("_delta_log/_sidecars/b"), GetOptions::default()).await.is_err());
        assert!(folder.failure().is_some_and(|error| error.kind == ErrorKind::NotFound));
        folder.close();
        assert!(folder.get(&Path::parse(&commit)?).await.is_ok(), "it was read before");
        assert!(folder.get(&Path::parse(&checkpoint)?).await.is_err_and(|error| error.kind == ErrorKind::Cancelled));
        Ok(())
    }
}
