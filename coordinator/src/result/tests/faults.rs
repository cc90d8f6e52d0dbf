//! A store in memory that fails where a test wants it to, and counts aborted uploads.

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// The part of this number, counted from 0.
    Part(usize),
    /// The end of the upload.
    Complete,
    /// The second part is lost without an error.
    Truncate,
}

#[derive(Debug)]
pub(super) struct FaultyStore {
    inner: InMemory,
    fault: Fault,
    aborts: Arc<AtomicUsize>,
}

impl FaultyStore {
    pub(super) fn new(fault: Fault) -> Self {
        Self { inner: InMemory::new(), fault, aborts: Arc::default() }
    }

    pub(super) fn aborts(&self) -> usize {
        self.aborts.load(Ordering::Relaxed)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(FaultyUpload { inner, fault: self.fault, parts: 0, aborts: Arc::clone(&self.aborts) }))
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

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    fault: Fault,
    parts: usize,
    aborts: Arc<AtomicUsize>,
}

fn broken() -> Error {
    Error::Generic { store: "FaultyStore", source: "the connection broke".into() }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.parts;
        self.parts += 1;
        match self.fault {
            Fault::Part(number) if number == part => Box::pin(async { Err(broken()) }),
            Fault::Truncate if part == 1 => Box::pin(async { Ok(()) }),
            _ => self.inner.put_part(data),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.fault == Fault::Complete { Err(broken()) } else { self.inner.complete().await }
    }

    async fn abort(&mut self) -> Result<()> {
        self.aborts.fetch_add(1, Ordering::Relaxed);
        self.inner.abort().await
    }
}
