//! A table's log: which versions it has, which files make up one of them, and reading those.

use super::AsOf;
use super::actions::{Action, Add, Metadata, State};
use super::checkpoint;
use crate::catalog::location::Location;
use bytes::Bytes;
use engine::storage::DELTA_LOG_FOLDER;
use engine::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The folder of the parts of newer checkpoints in that of the log.
const SIDECAR_FOLDER: &str = "_sidecars";
/// Digits of a version in the names of files.
const VERSION_DIGITS: usize = 20;
/// Most files in the folder of a log.
const MAX_LOG_FILES: usize = 1_000_000;
/// Most bytes of a log that one query reads, and of its files that are in memory.
const MAX_LOG_BYTES: u64 = 512 << 20;
/// Files of a log that are read at once.
const CONCURRENT_READS: usize = 16;

/// What a version of a table is made of.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    pub(super) metadata: Metadata,
    pub(super) files: Vec<Add>,
}

/// What a file of a log is, by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
enum LogFile {
    Commit,
    /// One file of a checkpoint, of so many.
    Checkpoint {
        part: u32,
        of: u32,
    },
    /// A checkpoint of the newer kind, which may name further files.
    NewCheckpoint,
}

/// The files of a log.
#[derive(Debug)]
struct Listing {
    commits: BTreeMap<u64, ObjectMeta>,
    /// The files of each whole checkpoint.
    checkpoints: BTreeMap<u64, Vec<Path>>,
    sizes: BTreeMap<Path, u64>,
}

/// The folder of a log.
pub(super) struct Log {
    store: Arc<dyn ObjectStore>,
    folder: Path,
}

impl Log {
    pub(super) fn new(store: Arc<dyn ObjectStore>, location: &Location) -> Self {
        Self { store, folder: location.join(DELTA_LOG_FOLDER).path }
    }

    /// The newest version, or the one that `as_of` names.
    pub(super) async fn snapshot(&self, as_of: Option<AsOf>) -> Result<Snapshot> {
        let listing = self.list().await?;
        let version = match as_of {
            None => listing.newest(),
            Some(AsOf::Version(version)) => version,
            Some(AsOf::Time(ms)) => self.version_at(&listing, ms).await?,
        };
        let (base, commits) = listing.files_of(version)?;
        let base_files: &[Path] = base.and_then(|base| listing.checkpoints.get(&base)).map_or(&[], Vec::as_slice);
        let bytes = base_files.iter().chain(commits.iter().map(|commit| &commit.location));
        check_bytes(bytes.filter_map(|path| listing.sizes.get(path)).sum())?;
        let mut state = State::default();
        for file in base_files {
            self.read_checkpoint(file, &mut state).await?;
        }
        let reads = commits.into_iter().map(|commit| async move { Ok::<_, Error>((self.get(&commit.location).await?, commit)) });
        let mut reads = futures::stream::iter(reads).buffered(CONCURRENT_READS);
        while let Some((bytes, commit)) = reads.try_next().await? {
            let named = |error: Error| error.context(&commit.location);
            lines(&bytes).try_for_each(|action| state.apply(action?)).map_err(named)?;
        }
        let (metadata, files) = state.finish()?;
        Ok(Snapshot { version, metadata, files })
    }

    async fn list(&self) -> Result<Listing> {
        let nothing = || Error::new(ErrorKind::NotFound, format!("there is no log of Delta Lake at {}", self.folder));
        let mut listed = self.store.list(Some(&self.folder));
        let mut all = Vec::new();
        loop {
            let meta = match listed.try_next().await {
                Ok(Some(meta)) => meta,
                Ok(None) => break,
                Err(object_store::Error::NotFound { .. }) => return Err(nothing()),
                Err(error) => return Err(error.into()),
            };
            if all.len() >= MAX_LOG_FILES {
                let text = format!("the log at {} has more than {MAX_LOG_FILES} files: clean it up", self.folder);
                return Err(Error::new(ErrorKind::LimitExceeded, text));
            }
            let is_child = meta.location.parts().count() == self.folder.parts().count() + 1;
            if let Some((version, kind)) = meta.location.filename().filter(|_| is_child).and_then(log_file) {
                all.push((version, kind, meta));
            }
        }
        let listing = Listing::of(all);
        match listing.commits.is_empty() && listing.checkpoints.is_empty() {
            true => Err(nothing()),
            false => Ok(listing),
        }
    }

    /// The bytes of a file, within the limit.
    async fn get(&self, path: &Path) -> Result<Bytes> {
        let read = async {
            let result = self.store.get_opts(path, GetOptions::default()).await.map_err(Error::from)?;
            check_bytes(result.meta.size)?;
            result.bytes().await.map_err(Error::from)
        };
        read.await.map_err(|error: Error| error.context(format!("the log's file {path}")))
    }

    async fn read_checkpoint(&self, file: &Path, state: &mut State) -> Result<()> {
        let mut sidecars = Vec::new();
        let mut each = |action: Action| {
            sidecars.extend(action.sidecar.as_ref().map(|sidecar| sidecar.path.clone()));
            state.apply(action)
        };
        let named = |error: Error| error.context(file);
        let bytes = self.get(file).await?;
        match file.extension() {
            Some("json") => lines(&bytes).try_for_each(|action| each(action?)).map_err(named)?,
            _ => checkpoint::read(bytes, each).map_err(named)?,
        }
        let mut left = MAX_LOG_BYTES;
        for name in sidecars {
            // A URL could be anywhere.
            let is_name = !name.is_empty() && !name.contains(['/', '\\', ':', '%', '?', '#']) && !name.starts_with('.');
            let path = Path::parse(format!("{}/{SIDECAR_FOLDER}/{name}", self.folder)).ok().filter(|_| is_name);
            let path = path.ok_or_else(|| {
                named(Error::invalid(format!(
                    "NOT_SUPPORTED: a part of it is not in the log's own folder: '{}'",
                    name.escape_debug()
                )))
            })?;
            let bytes = self.get(&path).await?;
            left = left.checked_sub(bytes.len() as u64).ok_or_else(too_long)?;
            checkpoint::read(bytes, |action| state.apply(action)).map_err(|error| error.context(&path))?;
        }
        Ok(())
    }

    /// The last version that was there at `ms`. Times of commits do not fall, so half of them can be left out at a time.
    async fn version_at(&self, listing: &Listing, ms: i64) -> Result<u64> {
        let commits: Vec<(&u64, &ObjectMeta)> = listing.commits.iter().collect();
        let (mut from, mut to) = (0, commits.len());
        while from < to {
            let middle = from + (to - from) / 2;
            let Some((_, commit)) = commits.get(middle) else { break };
            if commit_time(&self.get(&commit.location).await?).unwrap_or_else(|| commit.last_modified.timestamp_millis()) <= ms {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        let found = from.checked_sub(1).and_then(|last| commits.get(last)).map(|(version, _)| **version);
        let time = chrono::DateTime::from_timestamp_millis(ms).map_or_else(|| format!("{ms} ms"), |time| time.to_rfc3339());
        found.ok_or_else(|| Error::invalid(format!("INVALID_ARGUMENTS: No temporal version history at or before {time}")))
    }
}

impl Listing {
    fn of(all: Vec<(u64, LogFile, ObjectMeta)>) -> Self {
        let (mut commits, mut sizes) = (BTreeMap::new(), BTreeMap::new());
        // By version, and by how many files a checkpoint has.
        let mut parts: BTreeMap<(u64, u32), BTreeMap<u32, Path>> = BTreeMap::new();
        let mut checkpoints: BTreeMap<u64, Vec<Path>> = BTreeMap::new();
        for (version, kind, meta) in all {
            sizes.insert(meta.location.clone(), meta.size);
            match kind {
                LogFile::Commit => drop(commits.insert(version, meta)),
                LogFile::Checkpoint { part, of } => drop(parts.entry((version, of)).or_default().insert(part, meta.location)),
                LogFile::NewCheckpoint => drop(checkpoints.insert(version, vec![meta.location])),
            }
        }
        for ((version, of), files) in parts {
            let is_whole = files.keys().copied().eq(1..=of);
            if is_whole {
                checkpoints.insert(version, files.into_values().collect());
            }
        }
        Self { commits, checkpoints, sizes }
    }

    fn newest(&self) -> u64 {
        let last = |version: Option<&u64>| version.copied().unwrap_or(0);
        last(self.commits.keys().next_back()).max(last(self.checkpoints.keys().next_back()))
    }

    /// The checkpoint that `version` builds on, and the commits behind it, one for each version.
    fn files_of(&self, version: u64) -> Result<(Option<u64>, Vec<ObjectMeta>)> {
        let unknown =
            |why: String| Error::invalid(format!("INVALID_ARGUMENTS: Delta Lake snapshot ID does not exists: {version}: {why}"));
        if version > self.newest() {
            return Err(unknown(format!("the newest version is {}", self.newest())));
        }
        let base = self.checkpoints.range(..=version).next_back().map(|(base, _)| *base);
        let first = base.map_or(0, |base| base.saturating_add(1));
        let mut next = first;
        let mut commits = Vec::new();
        for (commit, meta) in self.commits.range(first..).take_while(|(commit, _)| **commit <= version) {
            if *commit != next {
                break;
            }
            commits.push(meta.clone());
            next = next.saturating_add(1);
        }
        if next > version {
            return Ok((base, commits));
        }
        match base {
            None if !self.commits.contains_key(&0) => Err(unknown("the log no longer has what it was made of".into())),
            _ => Err(Error::new(ErrorKind::Corrupt, format!("its log has no version {next}, which version {version} builds on"))),
        }
    }
}

fn too_long() -> Error {
    let text = format!("its log needs more than {} MiB to be read: write a checkpoint", MAX_LOG_BYTES >> 20);
    Error::new(ErrorKind::LimitExceeded, text)
}

fn check_bytes(bytes: u64) -> Result<()> {
    if bytes > MAX_LOG_BYTES { Err(too_long()) } else { Ok(()) }
}

/// The version and kind of the file `name`; none for what no reader needs.
fn log_file(name: &str) -> Option<(u64, LogFile)> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (version, rest) = name.split_at_checked(VERSION_DIGITS)?;
    let version = version.parse().ok().filter(|_| is_number(version))?;
    let kind = match rest.split('.').skip(1).collect::<Vec<_>>().as_slice() {
        _ if !rest.starts_with('.') => return None,
        ["json"] => LogFile::Commit,
        ["checkpoint", "parquet"] => LogFile::Checkpoint { part: 1, of: 1 },
        ["checkpoint", part, of, "parquet"] if is_number(part) && is_number(of) => {
            LogFile::Checkpoint { part: part.parse().ok()?, of: of.parse().ok()? }
        }
        ["checkpoint", _, "parquet" | "json"] => LogFile::NewCheckpoint,
        _ => return None,
    };
    Some((version, kind))
}

/// The actions of a file of JSON lines.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<Action>> {
    let actions = serde_json::Deserializer::from_slice(bytes).into_iter::<Action>();
    actions.map(|action| action.map_err(|error| Error::new(ErrorKind::Corrupt, format!("no line of a log: {error}"))))
}

/// When a commit says that it was made, in milliseconds since 1970.
fn commit_time(bytes: &[u8]) -> Option<i64> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Line {
        commit_info: Option<Info>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Info {
        in_commit_timestamp: Value,
        timestamp: Value,
    }
    let lines = serde_json::Deserializer::from_slice(bytes).into_iter::<Line>();
    let info = lines.map_while(|line| line.ok()).find_map(|line| line.commit_info)?;
    info.in_commit_timestamp.as_i64().or_else(|| info.timestamp.as_i64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(name: &str) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(name),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: 1,
            e_tag: None,
            version: None,
        }
    }

    fn listing(names: &[String]) -> Listing {
        let known = names.iter().filter_map(|name| log_file(name).map(|(version, kind)| (version, kind, meta(name))));
        Listing::of(known.collect())
    }

    fn commit(version: u64) -> String {
        format!("{version:020}.json")
    }

    #[test]
    fn files_are_known_by_their_names() {
        let uuid = "80a083e8-7026-4e79-81be-64bd76c43a11";
        for (name, kind) in [
            (commit(7), Some(LogFile::Commit)),
            (format!("{:020}.checkpoint.parquet", 7), Some(LogFile::Checkpoint { part: 1, of: 1 })),
            (format!("{:020}.checkpoint.0000000002.0000000003.parquet", 7), Some(LogFile::Checkpoint { part: 2, of: 3 })),
            (format!("{:020}.checkpoint.{uuid}.parquet", 7), Some(LogFile::NewCheckpoint)),
            (format!("{:020}.checkpoint.{uuid}.json", 7), Some(LogFile::NewCheckpoint)),
            (format!("{:020}.{:020}.compacted.json", 7, 9), None),
            (format!("{:020}.crc", 7), None),
            (format!("{:020}.json.tmp", 7), None),
            (format!("{:020}json", 7), None),
            ("_last_checkpoint".into(), None),
            ("7.json".into(), None),
            ("0000000000000000000é.json".into(), None),
            ("99999999999999999999.json".into(), None),
        ] {
            assert_eq!(log_file(&name), kind.map(|kind| (7, kind)), "{name}");
        }
    }

    #[test]
    fn a_version_builds_on_the_last_whole_checkpoint_before_it() -> Result<()> {
        let part = |version: u64, part: u32, of: u32| format!("{version:020}.checkpoint.{part:010}.{of:010}.parquet");
        let mut names: Vec<String> = (3..=9).map(commit).collect();
        names.extend([part(4, 1, 2), part(4, 2, 2), part(6, 1, 2), format!("{:020}.checkpoint.parquet", 8)]);
        let known = listing(&names);
        let files = |version| known.files_of(version).map(|(base, commits)| (base, commits.len()));
        assert_eq!(known.newest(), 9);
        assert_eq!(files(9)?, (Some(8), 1));
        assert_eq!(files(8)?, (Some(8), 0));
        assert_eq!(files(7)?, (Some(4), 3), "the checkpoint of version 6 lacks a part");
        let error = |version| known.files_of(version).err().map(|error| error.message).unwrap_or_default();
        assert!(error(10).contains("the newest version is 9"), "{}", error(10));
        assert!(error(3).contains("no longer"), "{}", error(3));
        assert!(error(u64::MAX).contains("does not exist"));
        let broken = listing(&[commit(0), commit(1), commit(3)]);
        assert!(
            broken.files_of(3).is_err_and(|error| error.kind == ErrorKind::Corrupt && error.message.contains("no version 2"))
        );
        assert_eq!(broken.files_of(1)?.1.len(), 2);
        Ok(())
    }

    #[test]
    fn a_commit_says_when_it_was_made() {
        let time = |text: &str| commit_time(text.as_bytes());
        assert_eq!(time("{\"add\":{}}\n{\"commitInfo\":{\"timestamp\":5}}"), Some(5));
        assert_eq!(time(r#"{"commitInfo":{"timestamp":5,"inCommitTimestamp":4}}"#), Some(4));
        assert_eq!(time(r#"{"commitInfo":{"timestamp":"x"}}"#), None);
        assert_eq!(time("{\"add\":{}}"), None);
    }
}
