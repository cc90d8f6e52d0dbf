//! The commit of a write: one object decides it, and everything around that can be done again, or taken back, by anybody.
//!
//! ```text
//! files of a table that is there, or of none
//!   commit.json "committed" ─► partitions entered ─► files moved ─► commit.json deleted ─► staging deleted
//! files of a new table: nobody reads them before the catalog names them
//!   plan.json names them ─► files moved ─► table entered ─► commit.json "committed" ─► staging deleted, commit.json last
//! given up, by the coordinator or by whoever finds a write whose coordinator is lost
//!   commit.json "abandoned" ─► what plan.json names taken out of the catalog and deleted ─► staging deleted, commit.json last
//! ```
//!
//! **Invariant:** commit.json is created once and never changed, so a write cannot happen after it was given up, nor the other
//! way round. Where it says which files to move, it is deleted before what it names, so a table whose files were removed later is
//! not filled again. A coordinator that was taken for lost finds "abandoned": it stays until no coordinator can be that late.

use super::entry::{After, Entry};
use crate::workspace::NamedCatalog;
use bytes::Bytes;
use engine::ids::QueryId;
use engine::storage::is_hidden;
use engine::write::{JOURNAL_NAME, STAGING_FOLDER, WriteFolder, below};
use engine::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::{Deserialize, Serialize};

/// The object of a write whose folder must be empty: nobody else may fill it meanwhile.
const CLAIM_NAME: &str = "claim";
/// The object that names what is done before the decision.
const PLAN_NAME: &str = "plan.json";
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
    /// What the catalog learns of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Not decided: only in a plan.
    Planned,
    Committed,
    Abandoned,
}

impl Journal {
    fn new(state: State, files: Vec<String>, entry: Option<Entry>) -> Self {
        Self { version: JOURNAL_VERSION, state, files, entry }
    }

    /// A decision about what a plan names, or about nothing.
    fn bare(state: State) -> Self {
        Self::new(state, Vec::new(), None)
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

impl From<Error> for CommitFailed {
    fn from(error: Error) -> Self {
        Self { error, keep_staging: false }
    }
}

impl CommitFailed {
    fn unsettled(error: Error) -> Self {
        Self { error, keep_staging: true }
    }

    /// Of a write that has happened, or may have: nobody should run it again unasked.
    fn happened(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Changed => ErrorKind::Internal,
            kind => kind,
        };
        Self::unsettled(Error::new(kind, error.message))
    }
}

/// How long a write has shown no sign of life, and what follows from that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// Its coordinator is lost.
    pub(super) is_lost: bool,
    /// It is so long ago that no coordinator can come back to it.
    pub(super) is_over: bool,
}

/// What became of a write that somebody else had begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// It had happened and is whole.
    Completed,
    /// It has not happened, and of it nothing is left.
    Removed,
    /// The same, but for the object that tells a late coordinator.
    Fenced,
    /// It may be under way, or is for somebody with another catalog.
    Left,
}

/// The staging folder of one query.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) folder: WriteFolder,
    pub(super) query: QueryId,
    own: Path,
}

impl Staging {
    pub(super) fn new(folder: WriteFolder, query: QueryId) -> Self {
        let own = folder.staging_of(query);
        Self { folder, query, own }
    }

    fn store(&self) -> &dyn ObjectStore {
        self.folder.store.as_ref()
    }

    fn journal(&self) -> Path {
        self.own.clone().join(JOURNAL_NAME)
    }

    fn plan(&self) -> Path {
        self.own.clone().join(PLAN_NAME)
    }

    /// Claims the location, which must be empty: of two that do so at once, each sees the other's claim or the other's files. Ends with
    /// staging.
    ///
    /// # Errors
    /// When another write has claimed it, and when it holds a file that a reader would see.
    pub(super) async fn claim(&self) -> Result<()> {
        self.store().put(&self.own.clone().join(CLAIM_NAME), PutPayload::new()).await?;
        let staged = self.store().list_with_delimiter(Some(&self.folder.staging())).await?;
        for other in staged.common_prefixes.into_iter().filter(|other| *other != self.own) {
            if self.is_there(&other.clone().join(CLAIM_NAME)).await? {
                let url = self.folder.url_of(&self.folder.base);
                let query = other.filename().unwrap_or_default();
                return Err(Error::invalid(format!(
                    "HIVE_PATH_ALREADY_EXISTS: query {query} is writing to {url}, which must be empty: wait for its end, or write elsewhere"
                )));
            }
        }
        self.refuse_files().await
    }

    /// Refuses a location that holds files which a reader would see.
    pub(super) async fn refuse_files(&self) -> Result<()> {
        let folder = &self.folder;
        let mut listed = folder.store.list(Some(&folder.base));
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(|error| Error::from(error).context("listing the target folder"))?;
            // A store may know a folder as an empty object.
            if meta.size > 0 && !is_hidden(&meta.location, Some(&folder.base)) {
                let url = folder.url_of(&folder.base);
                return Err(Error::invalid(format!(
                    "HIVE_PATH_ALREADY_EXISTS: Target directory already exists and is not empty: {url}"
                )));
            }
        }
        Ok(())
    }

    /// Makes `files`, relative paths of finished files in staging, visible in the location, and `after` known to the catalog.
    pub(super) async fn commit(&self, files: Vec<String>, after: &After) -> Result<(), CommitFailed> {
        match after.entry() {
            Some(entry) if entry.is_new => self.commit_table(Journal::new(State::Planned, files, Some(entry)), after).await,
            entry => self.commit_files(&Journal::new(State::Committed, files, entry), after).await,
        }
    }

    async fn commit_files(&self, journal: &Journal, after: &After) -> Result<(), CommitFailed> {
        self.decide(journal).await?;
        let has_happened = |error: Error| CommitFailed::happened(error.context(HAS_HAPPENED));
        match after.enter(&self.folder, &journal.files).await {
            // There is no table any more for which this could happen, and nothing was moved.
            Err(error) if error.kind == ErrorKind::NotFound => return Err(error.into()),
            entered => entered.map_err(has_happened)?,
        }
        self.reveal(&journal.files, false).await.map_err(has_happened)?;
        self.forget().await.map_err(has_happened)
    }

    /// Files that nobody can read are moved first: the table's entry shows all of them at once.
    async fn commit_table(&self, plan: Journal, after: &After) -> Result<(), CommitFailed> {
        self.create(&self.plan(), &plan).await?;
        let entered = async {
            self.reveal(&plan.files, false).await?;
            after.enter(&self.folder, &plan.files).await
        };
        let failed = match entered.await {
            Ok(()) => match self.decide(&Journal::bare(State::Committed)).await {
                Err(failed) if !failed.keep_staging => failed.error,
                decided => return decided,
            },
            Err(error) => error,
        };
        match self.settle(State::Abandoned).await {
            // Somebody took this process for lost, and found the table entered.
            Ok(Some(State::Committed)) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(CommitFailed::unsettled(failed.context(format!("{UNDONE_LATER} ({error})")))),
        }
        match self.undo(&plan, after.catalog()).await {
            Ok(()) => Err(failed.into()),
            Err(error) => Err(CommitFailed::unsettled(failed.context(format!("{UNDONE_LATER} ({error})")))),
        }
    }

    /// Creates the journal, which must not be there: afterwards the write has happened.
    async fn decide(&self, journal: &Journal) -> Result<(), CommitFailed> {
        let error = match self.create(&self.journal(), journal).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(given_up().into()),
            Err(error) => error,
        };
        // Nobody knows whether it was created. Giving the write up settles it: one of the two comes first.
        match self.create(&self.journal(), &Journal::bare(State::Abandoned)).await {
            Ok(true) => Err(error.context("committing the write").into()),
            Ok(false) => match self.read(&self.journal()).await {
                Ok(Some(found)) if found == *journal => Ok(()),
                Ok(_) => Err(given_up().into()),
                Err(second) => Err(CommitFailed::happened(unknown(&second))),
            },
            Err(second) => Err(CommitFailed::happened(unknown(&second))),
        }
    }

    /// Decides a write that may be decided already, and tells how it was; none when it has ended meanwhile.
    async fn settle(&self, state: State) -> Result<Option<State>> {
        if self.create(&self.journal(), &Journal::bare(state)).await? {
            return Ok(Some(state));
        }
        Ok(self.read(&self.journal()).await?.map(|found| found.state))
    }

    /// Writes a journal; false when another one is there.
    async fn create(&self, path: &Path, journal: &Journal) -> Result<bool> {
        let payload = PutPayload::from(journal.bytes()?);
        match self.store().put_opts(path, payload, PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            // A client that repeats a request whose answer got lost finds its own object.
            Err(StoreError::AlreadyExists { .. }) => Ok(self.read(path).await?.as_ref() == Some(journal)),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self, path: &Path) -> Result<Option<Journal>> {
        let found = match self.store().get(path).await {
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
        let bytes = found.bytes().await.map_err(|e| Error::from(e).context(path))?;
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
        self.delete(&self.journal()).await
    }

    async fn delete(&self, path: &Path) -> Result<()> {
        match self.store().delete(path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes everything in staging but the journal and the plan, then these; costs a LIST.
    pub(super) async fn sweep(&self) -> Result<()> {
        self.empty().await?;
        // A plan without its decision would be taken for one that is not decided.
        for path in [self.plan(), self.journal()] {
            self.delete(&path).await?;
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

    /// Removes everything in staging but the journal and the plan.
    async fn empty(&self) -> Result<()> {
        let kept = [self.plan(), self.journal()];
        let listed: Vec<Path> = self.store().list(Some(&self.own)).map_ok(|meta| meta.location).try_collect().await?;
        self.delete_all(listed.into_iter().filter(|path| !kept.contains(path)).collect()).await
    }

    async fn delete_all(&self, paths: Vec<Path>) -> Result<()> {
        let paths: Vec<object_store::Result<Path>> = paths.into_iter().map(Ok).collect();
        let mut deleted = self.store().delete_stream(futures::stream::iter(paths).boxed());
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes back what `plan` names, of a write that was given up.
    async fn undo(&self, plan: &Journal, catalog: Option<&NamedCatalog>) -> Result<()> {
        if let (Some(entry), Some(catalog)) = (&plan.entry, catalog) {
            entry.remove(catalog, self.query).await?;
        }
        // What is not in staging any more is moved by nobody.
        self.empty().await?;
        let moved: Result<Vec<Path>> = plan.files.iter().map(|file| below(&self.folder.base, file)).collect();
        self.delete_all(moved?).await
    }

    /// Ends what another coordinator left here.
    pub(super) async fn end(&self, silence: Silence, catalog: Option<&NamedCatalog>) -> Result<Ended> {
        let journal = self.read(&self.journal()).await?;
        if let Some(journal) = journal.as_ref().filter(|journal| journal.state == State::Committed) {
            return self.carry_on(journal, catalog).await;
        }
        if journal.is_none() && !silence.is_lost {
            return Ok(Ended::Left);
        }
        if let Some(plan) = self.read(&self.plan()).await? {
            if let Some(ended) = self.end_plan(&plan, journal.is_none(), catalog).await? {
                return Ok(ended);
            }
        } else if journal.is_none() && self.settle(State::Abandoned).await? != Some(State::Abandoned) {
            // It happened at the last moment.
            return Ok(Ended::Left);
        }
        match silence.is_over {
            true => self.sweep().await.map(|()| Ended::Removed),
            false => self.empty().await.map(|()| Ended::Fenced),
        }
    }

    /// Ends a write of a new table, which is open until it is decided; none when it was given up and everything is taken back.
    async fn end_plan(&self, plan: &Journal, is_open: bool, catalog: Option<&NamedCatalog>) -> Result<Option<Ended>> {
        let Some(entry) = &plan.entry else { return Err(Error::internal("a plan of nothing")) };
        let Some(catalog) = catalog.filter(|catalog| catalog.name == entry.catalog) else { return Ok(Some(Ended::Left)) };
        if is_open {
            let is_entered = entry.made_by(catalog, self.query).await?.is_some();
            if is_entered {
                // Its partitions may be missing yet.
                entry.enter_again(catalog, &self.folder, &plan.files).await?;
            }
            let wanted = if is_entered { State::Committed } else { State::Abandoned };
            match self.settle(wanted).await? {
                Some(State::Abandoned) => {}
                Some(_) if is_entered => return self.sweep().await.map(|()| Some(Ended::Completed)),
                _ => return Ok(Some(Ended::Left)),
            }
            // The decision before this one may be gone, with all that it was about.
            if self.read(&self.plan()).await?.is_none() {
                return self.sweep().await.map(|()| Some(Ended::Left));
            }
        }
        self.undo(plan, Some(catalog)).await?;
        Ok(None)
    }

    async fn carry_on(&self, journal: &Journal, catalog: Option<&NamedCatalog>) -> Result<Ended> {
        let is_there = match &journal.entry {
            None => true,
            Some(entry) => match catalog.filter(|catalog| catalog.name == entry.catalog) {
                Some(catalog) => entry.enter_again(catalog, &self.folder, &journal.files).await?,
                None => return Ok(Ended::Left),
            },
        };
        // One that names no files decided about a plan, of which everything is done.
        if is_there && !journal.files.is_empty() {
            self.reveal(&journal.files, true).await?;
            self.forget().await?;
        }
        self.sweep().await?;
        Ok(if is_there { Ended::Completed } else { Ended::Removed })
    }
}

/// What is said of a write that has happened when its coordinator cannot end it.
const HAS_HAPPENED: &str = "the write has happened, but not all of its files are visible yet; the next write to this location, or a recovery, completes it";
/// What is said of a table that could not be made when its files are still there.
const UNDONE_LATER: &str = "the table's files could not be removed again; the next write, or a recovery, does it";

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
