//! Writes one object of unknown length in bounded memory; it becomes visible only when all of it is there.

use super::pending::Pending;
use crate::error::{Error, Result};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
    PutPayloadMut, PutResult,
};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Size of a part in bytes: 10,000 of them, the most of S3, hold 80 GiB.
pub const PART_BYTES: usize = 8 << 20;

/// Giving an upload up takes at most this long; what is left then falls to the bucket's lifecycle rule.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

type Parts = JoinSet<object_store::Result<()>>;

/// An object being written: one PUT up to a part, a multipart upload beyond.
pub struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    content_type: &'static str,
    /// Parts on their way at a time, and so in memory beside the one that is filled.
    max_parts_in_flight: usize,
    buffer: PutPayloadMut,
    multipart: Option<Box<dyn MultipartUpload>>,
    parts: Parts,
    written_bytes: u64,
    /// Held until nothing of it is on its way any more.
    pending: Pending,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("written_bytes", &self.written_bytes).finish_non_exhaustive()
    }
}

impl Upload {
    /// An upload of `path` that keeps at most `max_parts_in_flight` parts (at least one) in memory beside the next one.
    ///
    /// A request that was sent is awaited even when the upload is dropped meanwhile, and `pending` is held for so long.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        path: Path,
        content_type: &'static str,
        max_parts_in_flight: usize,
        pending: Pending,
    ) -> Self {
        Self {
            store,
            path,
            content_type,
            max_parts_in_flight: max_parts_in_flight.max(1),
            buffer: PutPayloadMut::new(),
            multipart: None,
            parts: JoinSet::new(),
            written_bytes: 0,
            pending,
        }
    }

    /// Bytes taken in so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Bytes that wait in memory, or may still do so.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.content_length() + self.parts.len() * PART_BYTES
    }

    /// Takes bytes in; waits while too many parts are on their way.
    ///
    /// # Errors
    /// As the store; [`Self::abort`] must follow.
    pub async fn put(&mut self, mut bytes: Bytes) -> Result<()> {
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

    /// Sends the rest and makes the object visible.
    ///
    /// # Errors
    /// As the store; nothing is visible then, and no upload is left open.
    pub async fn finish(mut self) -> Result<PutResult> {
        match self.complete().await {
            Ok(put) => Ok(put),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    /// Gives the upload up; the object does not become visible.
    pub async fn abort(&mut self) {
        if let Some(multipart) = self.multipart.take() {
            give_up(multipart, std::mem::take(&mut self.parts)).await;
        }
    }

    async fn send_part(&mut self) -> Result<()> {
        if self.multipart.is_none() {
            self.multipart = Some(self.create().await?);
        }
        while self.parts.len() >= self.max_parts_in_flight {
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
            Some(Err(error)) => Err(Error::internal(format!("a part of an upload was not sent: {error}"))),
            None => Ok(()),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.multipart.is_none() {
            return self.put_whole().await;
        }
        if !self.buffer.is_empty() {
            self.send_part().await?;
        }
        while !self.parts.is_empty() {
            self.join_part().await?;
        }
        let Some(mut multipart) = self.multipart.take() else { return Err(Error::internal("the upload has ended")) };
        let call = async move {
            let put = multipart.complete().await;
            (multipart, put)
        };
        // What is complete stays for whoever sweeps the place.
        let (multipart, put) = whole(self.pending.clone(), call, |_| std::future::ready(())).await?;
        if put.is_err() {
            self.multipart = Some(multipart);
        }
        Ok(put?)
    }

    fn attributes(&self) -> Attributes {
        Attributes::from_iter([(Attribute::ContentType, self.content_type)])
    }

    /// Begins the multipart upload; files have no content type.
    async fn create(&mut self) -> Result<Box<dyn MultipartUpload>> {
        let options = PutMultipartOptions { attributes: self.attributes(), ..PutMultipartOptions::default() };
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let call = async move {
            match store.put_multipart_opts(&path, options).await {
                Err(object_store::Error::NotImplemented { .. }) => store.put_multipart(&path).await,
                created => created,
            }
        };
        let unwanted = async |created: object_store::Result<Box<dyn MultipartUpload>>| {
            if let Ok(multipart) = created {
                give_up(multipart, Parts::new()).await;
            }
        };
        Ok(whole(self.pending.clone(), call, unwanted).await??)
    }

    async fn put_whole(&mut self) -> Result<PutResult> {
        let payload = std::mem::take(&mut self.buffer).freeze();
        let options = PutOptions { attributes: self.attributes(), ..PutOptions::default() };
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let call = async move {
            match store.put_opts(&path, payload.clone(), options).await {
                Err(object_store::Error::NotImplemented { .. }) => store.put(&path, payload).await,
                put => put,
            }
        };
        Ok(whole(self.pending.clone(), call, |_| std::future::ready(())).await??)
    }
}

impl Drop for Upload {
    /// Only a query that was dropped comes here with an open upload; S3 would bill its parts until they are aborted.
    /// The task outlives its owner, but not [`ABORT_TIMEOUT`].
    fn drop(&mut self) {
        if let (Some(multipart), Ok(runtime)) = (self.multipart.take(), tokio::runtime::Handle::try_current()) {
            let (parts, pending) = (std::mem::take(&mut self.parts), self.pending.clone());
            drop(runtime.spawn(async move {
                give_up(multipart, parts).await;
                drop(pending);
            }));
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
        Ok(Err(error)) => tracing::warn!(%error, "an upload was not aborted"),
        Err(_) => tracing::warn!("an upload was not aborted in time"),
    }
}

/// Runs `call` to its end, whoever awaits this; `unwanted` gets the result when nobody does any more. An upload
/// that a store has begun, but whose name nobody has heard, could not be aborted.
async fn whole<T: Send + 'static, F: Future<Output = ()> + Send>(
    pending: Pending,
    call: impl Future<Output = T> + Send + 'static,
    unwanted: impl FnOnce(T) -> F + Send + 'static,
) -> Result<T> {
    let slot = Arc::new(Mutex::new(None));
    let (ready, is_ready) = oneshot::channel();
    // Lives as long as this is awaited: a result that is ready may not be taken any more.
    let (awaited, is_gone) = oneshot::channel::<()>();
    let theirs = Arc::clone(&slot);
    let run = async move {
        let result = call.await;
        *theirs.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        // Who awaited it may be gone.
        let _: std::result::Result<(), ()> = ready.send(());
        drop(is_gone.await);
        let left = theirs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(result) = left {
            unwanted(result).await;
        }
        drop(pending);
    };
    drop(tokio::runtime::Handle::current().spawn(run));
    let lost = || Error::internal("a request to the store ended without an answer");
    is_ready.await.map_err(|_| lost())?;
    let result = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(awaited);
    result.ok_or_else(lost)
}
