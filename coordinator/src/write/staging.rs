//! The commit of a write: one object decides it, and everything after that can be done again by anybody.
//!
//! ```text
//! commit.json absent ──create "committed"──► every file is moved, however often that is begun ──► commit.json deleted ──► staging deleted
//!        └────────────create "abandoned"──► staging deleted, commit.json last
//! ```
//!
//! **Invariant:** the journal is created once and never changed, so a write cannot happen after it was given up, nor the other
//! way round. It is deleted before the files that it names, so a table whose files were removed later is not filled again.

use bytes::Bytes;
use engine::clock::now_ms;
use engine::ids::QueryId;
use engine::write::{JOURNAL_NAME, STAGING_FOLDER, WriteFolder, below};
use engine::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

use super::RecoveredWrites;

/// A staging folder that was last written to before this long and has no journal belongs to nobody any more; also at least
/// twice the time limit of queries.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Version of the journal's meaning.
const JOURNAL_VERSION: u32 = 1;
/// Largest journal that is read, in bytes: 100,000 files with paths of S3's longest keys.
const MAX_JOURNAL_BYTES: u64 = 128 << 20;
/// Files that are moved at once.
const MOVED_AT_ONCE: usize = 16;

/// What was decided of a write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    version: u32,
    state: State,
    /// The files, relative to staging and to the location.
    files: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Committed,
    Abandoned,
}

impl Journal {
    fn new(state: State, files: Vec<String>) -> Self {
        Self { version: JOURNAL_VERSION, state, files }
    }

    fn bytes(&self) -> Result<Bytes> {
        Ok(serde_json::to_vec(self).map_err(|e| Error::internal(e.to_string()))?.into())
    }
}

/// A commit that did not end.
#[derive(Debug)]
pub(super) struct CommitFailed {
    pub(super) error: Error,
    /// The write has happened, or may have: its files must stay for whoever recovers it.
    pub(super) keep_staging: bool,
}

/// The staging folder of one query.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) folder: WriteFolder,
    own: Path,
}

impl Staging {
    pub(super) fn new(folder: WriteFolder, query: QueryId) -> Self {
        let own = folder.staging_of(query);
        Self { folder, own }
    }

    fn store(&self) -> &dyn ObjectStore {
        self.folder.store.as_ref()
    }

    fn journal(&self) -> Path {
        self.own.clone().join(JOURNAL_NAME)
    }

    /// Makes `files`, relative paths of finished files in staging, visible in the location.
    pub(super) async fn commit(&self, files: Vec<String>) -> Result<(), CommitFailed> {
        let journal = Journal::new(State::Committed, files);
        self.decide(&journal).await?;
        let has_happened = |error: Error| {
            CommitFailed {
            error: error.context("the write has happened, but not all of its files are visible yet; the next write to this location, or a recovery, completes it"),
            keep_staging: true,
        }
        };
        self.reveal(&journal.files, false).await.map_err(has_happened)?;
        self.forget().await.map_err(has_happened)
    }

    /// Creates the journal, which must not be there: afterwards the write has happened.
    async fn decide(&self, journal: &Journal) -> Result<(), CommitFailed> {
        let not_happened = |error: Error| CommitFailed { error, keep_staging: false };
        let error = match self.create(journal).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(not_happened(given_up())),
            Err(error) => error,
        };
        // Nobody knows whether it was created. Giving the write up settles it: one of the two comes first.
        match self.create(&Journal::new(State::Abandoned, Vec::new())).await {
            Ok(true) => Err(not_happened(error.context("committing the write"))),
            Ok(false) => match self.read().await {
                Ok(Some(found)) if found == *journal => Ok(()),
                Ok(_) => Err(not_happened(given_up())),
                Err(second) => Err(CommitFailed { error: unknown(&second), keep_staging: true }),
            },
            Err(second) => Err(CommitFailed { error: unknown(&second), keep_staging: true }),
        }
    }

    /// Writes the journal; false when another one is there.
    async fn create(&self, journal: &Journal) -> Result<bool> {
        let payload = PutPayload::from(journal.bytes()?);
        match self.store().put_opts(&self.journal(), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            // A client that repeats a request whose answer got lost finds its own object.
            Err(StoreError::AlreadyExists { .. }) => Ok(self.read().await?.as_ref() == Some(journal)),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self) -> Result<Option<Journal>> {
        let path = self.journal();
        let found = match self.store().get(&path).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(Error::from(error).context(path)),
        };
        if found.meta.size > MAX_JOURNAL_BYTES {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("{path} has {} bytes, too many for a journal", found.meta.size),
            ));
        }
        let bytes = found.bytes().await.map_err(|e| Error::from(e).context(&path))?;
        let corrupt = |why: String| {
            Error::new(ErrorKind::Corrupt, format!("{path}: {why}; nothing can be written here before it is removed"))
        };
        let journal: Journal = serde_json::from_slice(&bytes).map_err(|e| corrupt(e.to_string()))?;
        match journal.version {
            JOURNAL_VERSION => Ok(Some(journal)),
            other => Err(corrupt(format!("it has version {other}, this build knows {JOURNAL_VERSION}"))),
        }
    }

    /// Moves each file to its place; `again` when somebody may have moved some already.
    async fn reveal(&self, files: &[String], again: bool) -> Result<()> {
        let moves: Vec<BoxFuture<'_, Result<()>>> = files.iter().map(|file| self.reveal_one(file, again).boxed()).collect();
        futures::stream::iter(moves).buffer_unordered(MOVED_AT_ONCE).try_collect().await
    }

    async fn reveal_one(&self, file: &str, again: bool) -> Result<()> {
        let (from, to) = (below(&self.own, file)?, below(&self.folder.base, file)?);
        // A file that is copied twice has a new version, which fails queries that read the old one.
        if again && self.is_there(&to).await? {
            return Ok(());
        }
        let moved = match self.folder.on_disk {
            Some(_) => self.store().rename(&from, &to).await,
            None => self.store().copy(&from, &to).await,
        };
        match moved {
            Ok(()) => Ok(()),
            // Somebody else recovers the same write.
            Err(StoreError::NotFound { .. }) if self.is_there(&to).await? => Ok(()),
            Err(error) => Err(Error::from(error).context(format!("making {to} visible"))),
        }
    }

    async fn is_there(&self, path: &Path) -> Result<bool> {
        match self.store().head(path).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the journal: what it decided is done.
    async fn forget(&self) -> Result<()> {
        match self.store().delete(&self.journal()).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes everything in staging but the journal, then the journal; costs a LIST.
    pub(super) async fn sweep(&self) -> Result<()> {
        let journal = self.journal();
        let listed: Vec<Path> = self.store().list(Some(&self.own)).map_ok(|meta| meta.location).try_collect().await?;
        let (last, files): (Vec<Path>, Vec<Path>) = listed.into_iter().partition(|path| *path == journal);
        for paths in [files, last] {
            let paths: Vec<object_store::Result<Path>> = paths.into_iter().map(Ok).collect();
            let mut deleted = self.store().delete_stream(futures::stream::iter(paths).boxed());
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(_) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let Some(root) = &self.folder.on_disk else { return Ok(()) };
        // Folders, and files that a stopped write had begun: no listing shows them.
        let staging = root.join(STAGING_FOLDER);
        let own = self.own.filename().map(|name| staging.join(name));
        match own.map(std::fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        // Others may be at work beside; then it stays.
        drop(std::fs::remove_dir(staging));
        Ok(())
    }

    /// Ends what another coordinator left here, last written to `age` ago; tells whether it had happened, or none for what may
    /// still be under way.
    async fn end_abandoned(&self, age: Duration, abandoned_after: Duration) -> Result<Option<State>> {
        let journal = match self.read().await? {
            Some(journal) => journal,
            None if age < abandoned_after => return Ok(None),
            None => {
                let abandoned = Journal::new(State::Abandoned, Vec::new());
                match self.create(&abandoned).await? {
                    true => abandoned,
                    // It was committed at the last moment.
                    false => return Ok(None),
                }
            }
        };
        if journal.state == State::Committed {
            self.reveal(&journal.files, true).await?;
            self.forget().await?;
        }
        self.sweep().await?;
        Ok(Some(journal.state))
    }
}

fn given_up() -> Error {
    Error::new(ErrorKind::Unavailable, "the write was given up by another one's recovery, because it took too long; run it again")
}

fn unknown(error: &Error) -> Error {
    let message = format!(
        "whether the write has happened is not known, because the store does not answer; the next write to this location, or a recovery, settles it ({})",
        error.message
    );
    Error::new(ErrorKind::Unavailable, message)
}

/// Ends the writes in `folder` whose coordinators are gone.
///
/// # Errors
/// As the store; a journal that cannot be read stops it.
pub(super) async fn recover(folder: &WriteFolder, abandoned_after: Duration) -> Result<RecoveredWrites> {
    let queries = match &folder.on_disk {
        Some(root) => last_changes(&root.join(STAGING_FOLDER))?,
        None => last_writes(folder).await?,
    };
    let mut recovered = RecoveredWrites::default();
    for (name, last) in queries {
        let Ok(query) = uuid::Uuid::parse_str(&name) else { continue };
        let age = Duration::from_millis(u64::try_from(now_ms().saturating_sub(last)).unwrap_or(0));
        let staging = Staging::new(folder.clone(), QueryId(query));
        match staging.end_abandoned(age, abandoned_after).await? {
            Some(State::Committed) => recovered.completed += 1,
            Some(State::Abandoned) => recovered.removed += 1,
            None => {}
        }
    }
    Ok(recovered)
}

/// The time of the last write to each query's staging folder, in milliseconds since 1970.
async fn last_writes(folder: &WriteFolder) -> Result<BTreeMap<String, i64>> {
    let root = folder.staging();
    let depth = root.parts().count();
    let mut queries: BTreeMap<String, i64> = BTreeMap::new();
    let mut listed = folder.store.list(Some(&root));
    while let Some(meta) = listed.next().await {
        let meta = meta.map_err(|error| Error::from(error).context("looking for writes that were left behind"))?;
        if let Some(name) = meta.location.parts().nth(depth) {
            let last = queries.entry(name.as_ref().to_string()).or_insert(i64::MIN);
            *last = (*last).max(meta.last_modified.timestamp_millis());
        }
    }
    Ok(queries)
}

/// The same on disk, where folders, and files that a lost process had begun, are in no listing of the store.
fn last_changes(staging: &std::path::Path) -> Result<BTreeMap<String, i64>> {
    let entries = match std::fs::read_dir(staging) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::from(error).context("looking for writes that were left behind")),
    };
    let mut queries = BTreeMap::new();
    for entry in entries.flatten() {
        let mut last = i64::MIN;
        let mut paths = vec![entry.path()];
        // Others may end their writes meanwhile: what is gone is not old.
        while let Some(path) = paths.pop() {
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            let changed = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            last = last.max(changed.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(i64::MAX));
            if metadata.is_dir() {
                paths.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
        }
        if let Some(name) = entry.file_name().to_str() {
            queries.insert(name.to_string(), last);
        }
    }
    Ok(queries)
}
