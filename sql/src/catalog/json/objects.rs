//! JSON objects with create-if-absent and compare-and-set; knows nothing of what they say.

use bytes::Bytes;
use engine::clock::{random_uuid, sleep};
use engine::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Most bytes of one object: some 100,000 partitions in one of the parts of a table.
const MAX_OBJECT_BYTES: usize = 32 * 1024 * 1024;
/// How often a change is tried against others' changes. In each round somebody's change succeeds.
const MAX_ATTEMPTS: u32 = 200;
/// Longest pause between two tries.
const MAX_PAUSE_MS: u64 = 200;

/// Who else writes to the store, which decides how compare-and-set works there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreSharing {
    /// Many processes write: the store has conditional writes (S3, not S3 Express; `InMemory`).
    Shared,
    /// A local folder that this one catalog (and its clones) of this one process writes to: `LocalFileSystem` has no
    /// conditional replacement, so a lock in the process stands in for it, and [`super::JsonCatalog::locked_by`] keeps other processes out.
    OwnFolder,
}

/// An object as it was read.
struct Stored {
    body: Bytes,
    version: UpdateVersion,
}

/// What a change makes of an object.
pub(super) enum Change<T, R> {
    /// Write this, and answer that.
    Write(T, R),
    /// Leave it, and answer that.
    Keep(R),
}

/// Objects in one store.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) store: Arc<dyn ObjectStore>,
    folder: Option<Arc<Folder>>,
}

/// Serialises the changes of a local folder.
#[derive(Debug, Default)]
struct Folder {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// The file whose lock keeps other processes out, if any is kept out.
    lock_file: Option<PathBuf>,
    /// Changes run here and not in their caller: a caller that goes away must not give the lock back while the file system is at work.
    changes: Mutex<JoinSet<()>>,
}

impl Objects {
    pub(super) fn new(store: Arc<dyn ObjectStore>, sharing: StoreSharing) -> Self {
        let folder = (sharing == StoreSharing::OwnFolder).then(Arc::default);
        Self { store, folder }
    }

    /// The same, where other processes that name the same `lock_file` change the folder too.
    pub(super) fn locked_by(self, lock_file: PathBuf) -> Self {
        let folder = self.folder.map(|_| Arc::new(Folder { lock_file: Some(lock_file), ..Folder::default() }));
        Self { folder, ..self }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>> {
        read(&*self.store, path).await?.map(|stored| parse(path, &stored.body)).transpose()
    }

    /// Changes the object at `path` by `change`, which sees `None` for a missing one and may run more than once.
    pub(super) async fn change<T, R, E>(
        &self,
        path: &Path,
        mut change: impl FnMut(Option<T>) -> Result<Change<T, R>, E>,
    ) -> Result<R, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        for attempt in 0..MAX_ATTEMPTS {
            let stored = read(&*self.store, path).await?;
            let now = stored.as_ref().map(|stored| parse::<T>(path, &stored.body)).transpose()?;
            let (next, answer) = match change(now)? {
                Change::Keep(answer) => return Ok(answer),
                Change::Write(next, answer) => (next, answer),
            };
            if self.write(path, stored, render(path, &next)?).await? {
                return Ok(answer);
            }
            sleep(pause(attempt)).await;
        }
        Err(E::from(Error::new(ErrorKind::Throttled, format!("{path}: too many others change the catalog; try again"))))
    }

    /// Removes the object; whether it was there is not told.
    pub(super) async fn delete(&self, path: &Path) -> Result<()> {
        let (store, path) = (Arc::clone(&self.store), path.clone());
        let delete = async move {
            match store.delete(&path).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
                Err(error) => Err(Error::from(error).context(&path)),
            }
        };
        match &self.folder {
            Some(folder) => folder.alone(delete).await,
            None => delete.await,
        }
    }

    /// Writes over `seen`; `false` when something else is there by now.
    async fn write(&self, path: &Path, seen: Option<Stored>, body: Bytes) -> Result<bool> {
        let Some(folder) = &self.folder else {
            let mode = seen.map_or(PutMode::Create, |seen| PutMode::Update(seen.version));
            return match self.store.put_opts(path, PutPayload::from(Bytes::clone(&body)), mode.into()).await {
                Ok(_) => Ok(true),
                // A store client that repeats a request whose answer got lost finds its own object.
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    Ok(read(&*self.store, path).await?.is_some_and(|now| now.body == body))
                }
                Err(error) => Err(Error::from(error).context(path)),
            };
        };
        let (store, path, seen) = (Arc::clone(&self.store), path.clone(), seen.map(|seen| seen.body));
        folder
            .alone(async move {
                // The bytes and not the ETag, which is inode number, time and size: all three of an older file can come back.
                let unchanged = read(&*store, &path).await?.map(|now| now.body) == seen;
                if unchanged {
                    store.put(&path, PutPayload::from(body)).await.map_err(|error| Error::from(error).context(&path))?;
                }
                Ok(unchanged)
            })
            .await
    }
}

impl Folder {
    async fn alone<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (send, receive) = oneshot::channel();
        let (lock, lock_file) = (Arc::clone(&self.lock), self.lock_file.clone());
        {
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            while changes.try_join_next().is_some() {}
            changes.spawn(async move {
                let _held = lock.lock().await;
                let others = match lock_file {
                    Some(path) => {
                        tokio::task::spawn_blocking(move || locked(&path)).await.map_err(|e| Error::internal(e.to_string()))
                    }
                    None => Ok(Ok(None)),
                };
                let done = match others {
                    Ok(Ok(_others_wait)) => work.await,
                    Ok(Err(error)) | Err(error) => Err(error),
                };
                // The caller may have gone; the work is done all the same.
                let _ = send.send(done);
            });
        }
        receive.await.map_err(|_| Error::internal("a write to the catalog folder ended without an answer"))?
    }
}

/// The file at `path` with its lock, which ends with it. Waits while another process has it.
fn locked(path: &std::path::Path) -> Result<Option<File>> {
    let place = |error: std::io::Error| Error::from(error).context(format!("locking the catalog with {}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(place)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(place)?;
    file.lock().map_err(place)?;
    Ok(Some(file))
}

async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<Stored>> {
    let found = match store.get(path).await {
        Ok(found) => found,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(Error::from(error).context(path)),
    };
    check_size(path, usize::try_from(found.meta.size).unwrap_or(usize::MAX))?;
    let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
    let body = found.bytes().await.map_err(|error| Error::from(error).context(path))?;
    Ok(Some(Stored { body, version }))
}

fn check_size(path: &Path, bytes: usize) -> Result<()> {
    if bytes <= MAX_OBJECT_BYTES {
        return Ok(());
    }
    let text =
        format!("{path}: {bytes} bytes, and catalog objects have at most {MAX_OBJECT_BYTES}; use partition projection or Glue");
    Err(Error::new(ErrorKind::LimitExceeded, text))
}

fn parse<T: DeserializeOwned>(path: &Path, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Error::new(ErrorKind::Corrupt, format!("{path} is no catalog object: {error}")))
}

fn render<T: Serialize>(path: &Path, value: &T) -> Result<Bytes> {
    let body = serde_json::to_vec(value).map_err(|error| Error::internal(format!("{path}: {error}")))?;
    check_size(path, body.len())?;
    Ok(body.into())
}

/// Grows with the tries; random, so that writers that met once do not meet again.
fn pause(attempt: u32) -> Duration {
    let longest = (1_u64 << attempt.min(10)).min(MAX_PAUSE_MS);
    let random = random_uuid().as_u128() % u128::from(longest + 1);
    Duration::from_millis(u64::try_from(random).unwrap_or(longest))
}
