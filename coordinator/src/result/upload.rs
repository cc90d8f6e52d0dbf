//! Writes one object of unknown length in bounded memory; it becomes visible only when all of it is there.

use bytes::Bytes;
use engine::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
    PutPayloadMut, PutResult,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Size of a part in bytes: 10,000 of them, the most of S3, hold 80 GiB.
pub(super) const PART_BYTES: usize = 8 << 20;

/// Parts on their way at a time, and so in memory beside the one that is filled.
const MAX_PARTS_IN_FLIGHT: usize = 4;

/// Giving an upload up takes at most this long; what is left then falls to the bucket's lifecycle rule.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

type Parts = JoinSet<object_store::Result<()>>;

/// An object being written: one PUT up to a part, a multipart upload beyond.
pub(super) struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    content_type: &'static str,
    buffer: PutPayloadMut,
    multipart: Option<Box<dyn MultipartUpload>>,
    parts: Parts,
    written_bytes: u64,
}

/// A finished object.
pub(super) struct Uploaded {
    pub(super) bytes: u64,
    pub(super) e_tag: Option<String>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("written_bytes", &self.written_bytes).finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, content_type: &'static str) -> Self {
        let buffer = PutPayloadMut::new();
        Self { store, path, content_type, buffer, multipart: None, parts: JoinSet::new(), written_bytes: 0 }
    }

    /// Takes bytes in; waits while too many parts are on their way.
    pub(super) async fn put(&mut self, mut bytes: Bytes) -> Result<()> {
        self.written_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = PART_BYTES - self.buffer.content_length();
            self.buffer.push(bytes.split_to(room.min(bytes.len())));
            if self.buffer.content_length() == PART_BYTES {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Sends the rest, makes the object visible and checks its length.
    pub(super) async fn finish(mut self) -> Result<Uploaded> {
        match self.complete().await {
            Ok(put) => self.check(put).await,
            Err(error) => {
                self.abort().await;
                Err(error.context(format!("cannot store the result at '{}'", self.path)))
            }
        }
    }

    /// Gives the upload up; the object does not become visible.
    pub(super) async fn abort(&mut self) {
        if let Some(multipart) = self.multipart.take() {
            give_up(multipart, std::mem::take(&mut self.parts)).await;
        }
    }

    async fn send_part(&mut self) -> Result<()> {
        if self.multipart.is_none() {
            self.multipart = Some(self.create().await?);
        }
        while self.parts.len() >= MAX_PARTS_IN_FLIGHT {
            self.join_part().await?;
        }
        let payload: PutPayload = std::mem::take(&mut self.buffer).freeze();
        if let Some(multipart) = &mut self.multipart {
            self.parts.spawn(multipart.put_part(payload));
        }
        Ok(())
    }

    async fn join_part(&mut self) -> Result<()> {
        match self.parts.join_next().await {
            Some(Ok(part)) => Ok(part?),
            Some(Err(error)) => Err(Error::internal(format!("a part of the result was not sent: {error}"))),
            None => Ok(()),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.multipart.is_none() {
            let payload = std::mem::take(&mut self.buffer).freeze();
            return Ok(self.put_whole(payload).await?);
        }
        if !self.buffer.is_empty() {
            self.send_part().await?;
        }
        while !self.parts.is_empty() {
            self.join_part().await?;
        }
        let Some(multipart) = &mut self.multipart else { return Err(Error::internal("the upload of a result has ended")) };
        let put = multipart.complete().await?;
        self.multipart = None;
        Ok(put)
    }

    /// Compares the object with what was written, and learns the ETag that reads can name.
    async fn check(&mut self, put: PutResult) -> Result<Uploaded> {
        let found = self.store.head(&self.path).await.map_err(|error| Error::from(error).context("the result just stored"))?;
        if found.size != self.written_bytes {
            if let Err(error) = self.store.delete(&self.path).await {
                tracing::warn!(path = %self.path, %error, "an incomplete result could not be deleted");
            }
            let (size, written) = (found.size, self.written_bytes);
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the result stored at '{}' has {size} bytes instead of {written}; run the query again", self.path),
            ));
        }
        // S3 quotes ETags in headers, but some stores do not in the answer to an upload.
        let bare = |tag: &str| tag.trim_matches('"').to_owned();
        if let (Some(own), Some(other)) = (&put.e_tag, &found.e_tag)
            && bare(own) != bare(other)
        {
            let message = format!("the result stored at '{}' was replaced at once: another attempt of the query runs", self.path);
            return Err(Error::new(ErrorKind::Changed, message));
        }
        Ok(Uploaded { bytes: self.written_bytes, e_tag: found.e_tag.or(put.e_tag) })
    }

    fn attributes(&self) -> Attributes {
        Attributes::from_iter([(Attribute::ContentType, self.content_type)])
    }

    /// Begins the multipart upload; files have no content type.
    async fn create(&mut self) -> object_store::Result<Box<dyn MultipartUpload>> {
        let options = PutMultipartOptions { attributes: self.attributes(), ..PutMultipartOptions::default() };
        match self.store.put_multipart_opts(&self.path, options).await {
            Err(object_store::Error::NotImplemented { .. }) => self.store.put_multipart(&self.path).await,
            created => created,
        }
    }

    async fn put_whole(&mut self, payload: PutPayload) -> object_store::Result<PutResult> {
        let options = PutOptions { attributes: self.attributes(), ..PutOptions::default() };
        match self.store.put_opts(&self.path, payload.clone(), options).await {
            Err(object_store::Error::NotImplemented { .. }) => self.store.put(&self.path, payload).await,
            put => put,
        }
    }
}

impl Drop for Upload {
    /// Only a query that was dropped comes here with an open upload; S3 would bill its parts until they are aborted.
    /// The task outlives its owner, but not [`ABORT_TIMEOUT`].
    fn drop(&mut self) {
        if let (Some(multipart), Ok(runtime)) = (self.multipart.take(), tokio::runtime::Handle::try_current()) {
            drop(runtime.spawn(give_up(multipart, std::mem::take(&mut self.parts))));
        }
    }
}

async fn give_up(mut multipart: Box<dyn MultipartUpload>, mut parts: Parts) {
    let abort = async {
        parts.shutdown().await;
        multipart.abort().await
    };
    match tokio::time::timeout(ABORT_TIMEOUT, abort).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the upload of a result was not aborted"),
        Err(_) => tracing::warn!("the upload of a result was not aborted in time"),
    }
}
