//! Writes under way and writes that were left behind: how a lost coordinator's write is found, and who ends it.
//!
//! Each write has an object of its own at the top of the place that may be written, renewed while its coordinator lives. So every
//! write, wherever it goes, finds the others of its place whose coordinators are gone, and first ends them.

use super::RecoveredWrites;
use super::staging::{Ended, Silence, Staging};
use crate::workspace::NamedCatalog;
use bytes::Bytes;
use engine::clock::{now_ms, sleep};
use engine::ids::QueryId;
use engine::write::{STAGING_FOLDER, WriteAccess, WriteFolder};
use engine::{Error, Result};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A staging folder that was last written to before this long and has no journal belongs to nobody any more; also at least
/// twice the time limit of queries.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// A write that was not renewed for this long has lost its coordinator: many times [`RENEWED_EVERY`], and more than clocks differ.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(300);
/// How often a coordinator shows that it lives.
const RENEWED_EVERY: Duration = Duration::from_secs(20);
/// The folder of open writes, in the staging folder of a place.
const OPEN_FOLDER: &str = "open";
/// Largest object of an open write, in bytes: a URL of S3's longest key.
const MAX_OPEN_BYTES: u64 = 16 << 10;

/// An object of an open write.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    location: String,
}

/// A write that others can see while it is under way.
#[derive(Debug)]
pub(super) struct OpenWrite {
    root: WriteFolder,
    path: Path,
    payload: Bytes,
}

fn open_folder(root: &WriteFolder) -> Path {
    root.staging().join(OPEN_FOLDER)
}

fn open_path(root: &WriteFolder, query: QueryId) -> Path {
    open_folder(root).join(format!("{query}.json"))
}

impl OpenWrite {
    /// Shows that `query` writes to `location`, somewhere in the place `root`.
    pub(super) async fn begin(root: WriteFolder, location: &str, query: QueryId) -> Result<Self> {
        let open = Open { location: location.to_string() };
        let payload = Bytes::from(serde_json::to_vec(&open).map_err(|e| Error::internal(e.to_string()))?);
        let open = Self { path: open_path(&root, query), root, payload };
        open.renew().await.map(|()| open)
    }

    async fn renew(&self) -> Result<()> {
        self.root.store.put(&self.path, PutPayload::from(self.payload.clone())).await?;
        Ok(())
    }

    /// Renews the object until `ended`; a request that is under way is awaited.
    pub(super) async fn keep(&self, ended: &CancellationToken) {
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = sleep(RENEWED_EVERY) => {}
            }
            if let Err(error) = self.renew().await {
                tracing::warn!(path = %self.path, %error, "an open write was not renewed");
            }
        }
    }

    /// Nothing of the write is left that somebody would have to end.
    pub(super) async fn close(&self) -> Result<()> {
        delete_open(&self.root, &self.path).await
    }
}

async fn delete_open(root: &WriteFolder, path: &Path) -> Result<()> {
    match root.store.delete(path).await {
        Ok(()) | Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(folder) = &root.on_disk {
        // Others may be at work beside; then they stay.
        let staging = folder.join(STAGING_FOLDER);
        drop(std::fs::remove_dir(staging.join(OPEN_FOLDER)));
        drop(std::fs::remove_dir(staging));
    }
    Ok(())
}

/// Ends writes whose coordinators are gone.
pub(super) struct Recovery<'a> {
    pub(super) writes: &'a WriteAccess,
    pub(super) catalog: Option<NamedCatalog>,
    pub(super) lost_after: Duration,
    pub(super) over_after: Duration,
}

impl Recovery<'_> {
    /// Ends what it finds at `location`, and the lost writes of its place. One that cannot be ended there stays for the next recovery;
    /// what cannot be ended at `location` itself is an error: nothing may be written over it.
    pub(super) async fn run(&self, location: &str) -> Result<RecoveredWrites> {
        let root = self.writes.root(location)?;
        let mut recovered = RecoveredWrites::default();
        for (path, last) in open_writes(&root).await? {
            let silence = self.silence(last);
            let ended = if silence.is_lost { self.end_open(&root, &path, silence).await } else { Ok(Ended::Left) };
            match ended {
                Ok(ended) => recovered.count(ended),
                Err(error) => tracing::warn!(%path, %error, "a lost write could not be ended"),
            }
        }
        let here = self.at(&self.writes.folder(location)?, &root).await?;
        Ok(RecoveredWrites { completed: recovered.completed + here.completed, removed: recovered.removed + here.removed })
    }

    /// Ends the write of `query`, whose coordinator is known to be lost, if it is one of the place of `location`.
    pub(super) async fn run_lost(&self, location: &str, query: QueryId) -> Result<Ended> {
        let root = self.writes.root(location)?;
        let lost = Silence { is_lost: true, is_over: self.over_after.is_zero() };
        self.end_open(&root, &open_path(&root, query), lost).await
    }

    fn silence(&self, last_ms: i64) -> Silence {
        let age = Duration::from_millis(u64::try_from(now_ms().saturating_sub(last_ms)).unwrap_or(0));
        Silence { is_lost: age >= self.lost_after, is_over: age >= self.over_after }
    }

    async fn end_open(&self, root: &WriteFolder, path: &Path, silence: Silence) -> Result<Ended> {
        let Some(query) = path.filename().and_then(|name| uuid::Uuid::parse_str(name.strip_suffix(".json")?).ok()) else {
            return Ok(Ended::Left);
        };
        let found = match root.store.get(path).await {
            Ok(found) if found.meta.size <= MAX_OPEN_BYTES => found.bytes().await?,
            Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(Ended::Left),
            Err(error) => return Err(error.into()),
        };
        let corrupt = |e: serde_json::Error| Error::new(engine::ErrorKind::Corrupt, format!("{path}: {e}"));
        let open: Open = serde_json::from_slice(&found).map_err(corrupt)?;
        let ended = Staging::new(self.writes.folder(&open.location)?, QueryId(query)).end(silence, self.catalog.as_ref()).await?;
        if matches!(ended, Ended::Completed | Ended::Removed) {
            delete_open(root, path).await?;
        }
        Ok(ended)
    }

    async fn at(&self, folder: &WriteFolder, root: &WriteFolder) -> Result<RecoveredWrites> {
        let recovered = recover(folder, self.over_after, self.catalog.as_ref()).await?;
        let mut counts = RecoveredWrites::default();
        for (query, ended) in recovered {
            counts.count(ended);
            if matches!(ended, Ended::Completed | Ended::Removed) {
                delete_open(root, &open_path(root, query)).await?;
            }
        }
        Ok(counts)
    }
}

impl RecoveredWrites {
    pub(super) fn count(&mut self, ended: Ended) {
        match ended {
            Ended::Completed => self.completed += 1,
            Ended::Removed | Ended::Fenced => self.removed += 1,
            Ended::Left => {}
        }
    }
}

/// The objects of open writes in a place, with the times at which they were renewed, in milliseconds since 1970.
async fn open_writes(root: &WriteFolder) -> Result<Vec<(Path, i64)>> {
    let folder = open_folder(root);
    let mut listed = root.store.list(Some(&folder));
    let mut found = Vec::new();
    while let Some(meta) = listed.next().await {
        match meta {
            Ok(meta) => found.push((meta.location, meta.last_modified.timestamp_millis())),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(Error::from(error).context("looking for writes that were left behind")),
        }
    }
    Ok(found)
}

/// Ends the writes in `folder` whose coordinators are gone.
///
/// # Errors
/// As the store; a journal that cannot be read stops it.
pub(super) async fn recover(
    folder: &WriteFolder,
    over_after: Duration,
    catalog: Option<&NamedCatalog>,
) -> Result<Vec<(QueryId, Ended)>> {
    let queries = match &folder.on_disk {
        Some(root) => last_changes(&root.join(STAGING_FOLDER))?,
        None => last_writes(folder).await?,
    };
    let mut ended = Vec::new();
    for (name, last) in queries {
        let Ok(query) = uuid::Uuid::parse_str(&name) else { continue };
        let age = Duration::from_millis(u64::try_from(now_ms().saturating_sub(last)).unwrap_or(0));
        let is_over = age >= over_after;
        let silence = Silence { is_lost: is_over, is_over };
        ended.push((QueryId(query), Staging::new(folder.clone(), QueryId(query)).end(silence, catalog).await?));
    }
    Ok(ended)
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
