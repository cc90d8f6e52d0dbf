//! Small JSON objects with create-if-absent and compare-and-set over any object store; knows nothing of what they say.

use bytes::Bytes;
use engine::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Most bytes of a record or a token's object.
pub(super) const MAX_OBJECT_BYTES: usize = 4 * 1024 * 1024;

/// How often a create is tried when the object in its way is gone on a second look.
const MAX_CREATE_ATTEMPTS: u32 = 3;

/// Who else writes to the store, which decides how compare-and-set works there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreKind {
    /// Many processes write: the store has conditional writes and lists in key order (S3, not S3 Express; `InMemory`).
    Shared,
    /// A local folder that belongs to this one `StateStore` (and its clones) of this one process: object_store's
    /// `LocalFileSystem` has no conditional replacement, so an in-process lock stands in for it. Two processes on one folder
    /// can lose each other's changes. Each write is a rename and thus never torn, short of a power failure (there is no fsync).
    OwnFolder,
}

/// An object as it was read; what a replacement is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) body: Bytes,
    version: UpdateVersion,
}

/// The objects below one base path.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    base: Path,
    folder: Option<Arc<Folder>>,
}

/// Serialises the replacements of a local folder.
#[derive(Debug, Default)]
struct Folder {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Replacements run here and not in their caller: a caller that goes away in the middle of one must not give the lock back
    /// while the file system is still at work.
    replacements: Mutex<JoinSet<()>>,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, base: Path, kind: StoreKind) -> Self {
        let folder = match kind {
            StoreKind::Shared => None,
            StoreKind::OwnFolder => Some(Arc::new(Folder::default())),
        };
        Self { store, base, folder }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn lists_in_key_order(&self) -> bool {
        self.folder.is_none()
    }

    /// The path `<base>/<folder>/<key>/<file>`; each part is text that this module made (hexadecimal, UUID).
    pub(crate) fn path(&self, folder: &str, key: &str, file: &str) -> Path {
        self.folder_path(folder, key).join(file)
    }

    /// The folder of all keys.
    pub(crate) fn folder(&self, folder: &str) -> Path {
        self.base.clone().join(folder)
    }

    pub(crate) fn folder_path(&self, folder: &str, key: &str) -> Path {
        self.folder(folder).join(key)
    }

    /// The object, or `None` when it does not exist.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Stored>> {
        get(&*self.store, path).await
    }

    /// Writes an object that does not exist yet; `false` when another one is there.
    pub(crate) async fn create(&self, path: &Path, body: &Bytes) -> Result<bool> {
        check_size(path, body)?;
        for _ in 0..MAX_CREATE_ATTEMPTS {
            match self.store.put_opts(path, PutPayload::from(Bytes::clone(body)), PutMode::Create.into()).await {
                Ok(_) => return Ok(true),
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(write_error(path, error)),
            }
            // A store client that repeats a request whose answer got lost finds its own object.
            if let Some(stored) = self.get(path).await? {
                return Ok(stored.body == *body);
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("{path}: the store says both that it exists and that it does not; try again"),
        ))
    }

    /// Replaces `seen` by `body`; `false` when the object is another one by now, or gone.
    pub(crate) async fn replace(&self, path: &Path, seen: &Stored, body: &Bytes) -> Result<bool> {
        check_size(path, body)?;
        let payload = PutPayload::from(Bytes::clone(body));
        let Some(folder) = &self.folder else {
            return match self.store.put_opts(path, payload, PutMode::Update(seen.version.clone()).into()).await {
                Ok(_) => Ok(true),
                Err(StoreError::Precondition { .. }) => Ok(false),
                Err(error) => Err(write_error(path, error)),
            };
        };
        let (store, path, seen) = (Arc::clone(&self.store), path.clone(), Bytes::clone(&seen.body));
        folder
            .alone(async move {
                // The bytes and not the ETag, which is inode number, time and size: all three of an older file can come back.
                let unchanged = get(&*store, &path).await?.is_some_and(|now| now.body == seen);
                if unchanged {
                    store.put(&path, payload).await.map_err(|error| write_error(&path, error))?;
                }
                Ok(unchanged)
            })
            .await
    }
}

impl Folder {
    async fn alone<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (send, receive) = oneshot::channel();
        let lock = Arc::clone(&self.lock);
        {
            let mut replacements = self.replacements.lock().unwrap_or_else(PoisonError::into_inner);
            while replacements.try_join_next().is_some() {}
            replacements.spawn(async move {
                let _held = lock.lock().await;
                // The caller may have gone; the work is done all the same.
                let _ = send.send(work.await);
            });
        }
        receive.await.map_err(|_| Error::internal("a write to the state folder ended without an answer"))?
    }
}

async fn get(store: &dyn ObjectStore, path: &Path) -> Result<Option<Stored>> {
    let found = match store.get(path).await {
        Ok(found) => found,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(Error::from(error).context(path)),
    };
    let bytes = found.meta.size;
    if bytes > MAX_OBJECT_BYTES as u64 {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("{path} has {bytes} bytes, and state objects have at most {MAX_OBJECT_BYTES}: remove it"),
        ));
    }
    let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
    let body = found.bytes().await.map_err(|error| Error::from(error).context(path))?;
    Ok(Some(Stored { body, version }))
}

fn check_size(path: &Path, body: &Bytes) -> Result<()> {
    let bytes = body.len();
    if bytes <= MAX_OBJECT_BYTES {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("{path} would have {bytes} bytes, and state objects have at most {MAX_OBJECT_BYTES}: ask for less in one query"),
    ))
}

fn write_error(path: &Path, error: StoreError) -> Error {
    if matches!(error, StoreError::NotImplemented { .. }) {
        return Error::new(
            ErrorKind::InvalidQuery,
            format!("{path}: the state store has no conditional writes; use S3, or a local folder of this process ({error})"),
        );
    }
    Error::from(error).context(path)
}
