//! A store for tests whose next writes fail in a chosen way.

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a slow write takes.
const SLOW_WRITE: Duration = Duration::from_millis(50);

/// What happens to a write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing is written and the connection breaks.
    Dropped,
    /// It is written and the connection breaks before the answer.
    AnswerLost,
    /// It is written, the answer is lost, and the client's own repetition finds that the condition fails.
    Repeated,
    /// It is written after 50 ms, also when its caller has gone by then, as on a file system.
    Slow,
}

/// [`InMemory`] with faults; a write without one is done as usual.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    inner: InMemory,
    faults: Mutex<VecDeque<Fault>>,
}

impl Faulty {
    pub(crate) fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { inner: InMemory::new(), faults: Mutex::new(faults.into_iter().collect()) }
    }

    pub(crate) fn then(&self, fault: Fault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty")
    }
}

fn broken() -> Error {
    Error::Generic { store: "Faulty", source: "connection reset".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if matches!(fault, Some(Fault::Dropped)) {
            return Err(broken());
        }
        if matches!(fault, Some(Fault::Slow)) {
            let (inner, location) = (self.inner.clone(), location.clone());
            let write = move || {
                std::thread::sleep(SLOW_WRITE);
                futures::executor::block_on(inner.put_opts(&location, payload, options))
            };
            return tokio::task::spawn_blocking(write).await.map_err(|_| broken())?;
        }
        let created = options.mode == PutMode::Create;
        let done = self.inner.put_opts(location, payload, options).await?;
        let path = location.to_string();
        match fault {
            None | Some(Fault::Dropped | Fault::Slow) => Ok(done),
            Some(Fault::AnswerLost) => Err(broken()),
            Some(Fault::Repeated) if created => Err(Error::AlreadyExists { path, source: "repeated".into() }),
            Some(Fault::Repeated) => Err(Error::Precondition { path, source: "repeated".into() }),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
