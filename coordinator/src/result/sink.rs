//! Decides whether a result stays in memory or is stored, and where its pages begin.

use super::upload::ResultUpload;
use super::{Chunk, Encoder, MAX_PAGES, MAX_RESULT_BYTES, PAGE_BYTES, Page, StoredResult};
use arrow::array::RecordBatch;
use bytes::{Bytes, BytesMut};
use engine::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::Value;
use std::sync::Arc;

/// How large a result may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SinkLimits {
    /// Largest document in bytes, receipt included, that stays in memory; larger ones are stored.
    pub max_inline_bytes: usize,
    /// Largest document in bytes; a larger one fails the query.
    pub max_result_bytes: u64,
    /// Most pages of a stored result; more fail the query.
    pub max_pages: usize,
}

impl Default for SinkLimits {
    fn default() -> Self {
        Self { max_inline_bytes: PAGE_BYTES, max_result_bytes: MAX_RESULT_BYTES, max_pages: MAX_PAGES }
    }
}

/// A result that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It fits an answer.
    Inline {
        /// The document.
        body: Bytes,
        /// Rows in it.
        rows: u64,
    },
    /// It lies in the store, without receipt.
    Stored(StoredResult),
}

/// Takes the batches of a query's result in; nothing of a stored result is visible before [`ResultSink::finish`].
///
/// Memory: the largest inline document, or a few parts of an upload (40 MiB). Dropping it gives the upload up.
#[derive(Debug)]
pub(crate) struct ResultSink {
    encoder: Encoder,
    limits: SinkLimits,
    force_stored: bool,
    place: Place,
    pages: Vec<Page>,
    /// What counts of the last page's chunks for its size.
    page_bytes: usize,
    rows: u64,
    /// Bytes written so far: head, chunks and separators.
    written_bytes: u64,
    body: Body,
    /// Set while something is written, so that a sink whose write failed or was dropped stays unusable.
    broken: bool,
}

#[derive(Debug)]
struct Place {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

#[derive(Debug)]
enum Body {
    Memory(Vec<Bytes>),
    Storing(Box<ResultUpload>),
}

impl ResultSink {
    /// A sink that keeps a small result in memory and stores a larger one at `path`; all of them with `force_stored`.
    pub(crate) fn new(encoder: Encoder, store: Arc<dyn ObjectStore>, path: Path, limits: SinkLimits, force_stored: bool) -> Self {
        let head = encoder.head();
        let place = Place { store, path };
        let written_bytes = head.len() as u64;
        let body = Body::Memory(Vec::new());
        Self {
            encoder,
            limits,
            force_stored,
            place,
            pages: Vec::new(),
            page_bytes: 0,
            rows: 0,
            written_bytes,
            body,
            broken: false,
        }
    }

    #[cfg(test)]
    /// Whether the result is being stored, as far as its rows so far decide that.
    pub(crate) fn is_stored(&self) -> bool {
        self.must_store(self.whole_bytes())
    }

    /// Takes the rows of `batch` in; waits while the store is slower than the query.
    ///
    /// # Errors
    /// `LimitExceeded` beyond the limits, those of [`Encoder::batch`] and of the store. An error, and a drop of the
    /// future, ends the sink and its upload.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.enter()?;
        let written = self.write_chunks(batch).await;
        match &written {
            Ok(()) => self.broken = false,
            Err(_) => self.give_up().await,
        }
        written
    }

    /// Completes the result; `receipt` goes into an inline JSON document, a stored one has none.
    ///
    /// # Errors
    /// As [`ResultSink::write`]; `Corrupt` when the stored object does not have the length that was written.
    pub(crate) async fn finish(mut self, receipt: Option<&Value>) -> Result<Finished> {
        self.enter()?;
        let tail = self.encoder.tail(receipt);
        let must_store = self.must_store(self.written_bytes + tail.len() as u64);
        if let (false, Body::Memory(chunks)) = (must_store, &self.body) {
            self.check_size()?;
            let mut body = BytesMut::with_capacity(usize::try_from(self.written_bytes).unwrap_or_default() + tail.len());
            body.extend_from_slice(&self.encoder.head());
            chunks.iter().for_each(|bytes| body.extend_from_slice(bytes));
            body.extend_from_slice(&tail);
            return Ok(Finished::Inline { body: body.freeze(), rows: self.rows });
        }
        match self.store_rest().await {
            Ok(()) => self.finish_stored().await,
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    /// Ends the sink without a result and waits until its upload is aborted, some seconds at most.
    pub(crate) async fn abort(mut self) {
        self.give_up().await;
    }

    fn must_store(&self, document_bytes: u64) -> bool {
        self.force_stored || document_bytes > self.limits.max_inline_bytes as u64
    }

    fn enter(&mut self) -> Result<()> {
        if self.broken {
            return Err(Error::internal("rows were written to a result that had failed"));
        }
        self.broken = true;
        Ok(())
    }

    async fn give_up(&mut self) {
        if let Body::Storing(upload) = &mut self.body {
            upload.abort().await;
        }
    }

    async fn write_chunks(&mut self, batch: &RecordBatch) -> Result<()> {
        for chunk in self.encoder.batch(batch)? {
            let separator = if self.rows > 0 { self.encoder.separator() } else { &[] };
            self.place_chunk(&chunk, separator.len())?;
            self.rows += chunk.rows as u64;
            self.written_bytes += (separator.len() + chunk.bytes.len()) as u64;
            self.check_size()?;
            self.push(Bytes::from_static(separator)).await?;
            self.push(chunk.bytes).await?;
            if self.must_store(self.whole_bytes()) {
                self.spill().await?;
            }
        }
        Ok(())
    }

    /// Puts the chunk on the last page, or on a page of its own after that.
    fn place_chunk(&mut self, chunk: &Chunk, separator_bytes: usize) -> Result<()> {
        let grown_bytes = self.page_bytes + separator_bytes + chunk.page_bytes;
        let page_count = self.pages.len();
        match self.pages.last_mut() {
            Some(page) if grown_bytes <= self.encoder.room_bytes() => {
                page.bytes += (separator_bytes + chunk.bytes.len()) as u64;
                page.rows += chunk.rows as u64;
                self.page_bytes = grown_bytes;
            }
            _ if page_count >= self.limits.max_pages => {
                let (pages, rows) = (self.limits.max_pages, self.rows);
                return Err(limit(format!("takes more than {pages} pages of {PAGE_BYTES} bytes (after {rows} rows)")));
            }
            _ => {
                let offset = self.written_bytes + separator_bytes as u64;
                self.pages.push(Page { offset, bytes: chunk.bytes.len() as u64, rows: chunk.rows as u64 });
                self.page_bytes = chunk.page_bytes;
            }
        }
        Ok(())
    }

    /// Size of the document if it ended here, without receipt.
    fn whole_bytes(&self) -> u64 {
        self.written_bytes + self.encoder.tail(None).len() as u64
    }

    fn check_size(&self) -> Result<()> {
        let (found, max) = (self.whole_bytes(), self.limits.max_result_bytes);
        if found <= max {
            return Ok(());
        }
        Err(limit(format!("has at least {found} bytes, and max_result_bytes is {max}")))
    }

    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.body {
            Body::Memory(chunks) => chunks.push(bytes),
            Body::Storing(upload) => {
                upload
                    .put(bytes)
                    .await
                    .map_err(|error| error.context(format!("cannot store the result at '{}'", self.place.path)))?;
            }
        }
        Ok(())
    }

    /// Moves a result out of memory into an upload.
    async fn spill(&mut self) -> Result<()> {
        let Body::Memory(chunks) = &mut self.body else { return Ok(()) };
        let chunks = std::mem::take(chunks);
        self.body = Body::Storing(Box::new(self.place.upload(&self.encoder)));
        self.push(self.encoder.head()).await?;
        for bytes in chunks {
            self.push(bytes).await?;
        }
        Ok(())
    }

    async fn store_rest(&mut self) -> Result<()> {
        self.check_size()?;
        self.spill().await?;
        self.push(self.encoder.tail(None)).await
    }

    async fn finish_stored(self) -> Result<Finished> {
        let head = self.encoder.head();
        let Body::Storing(upload) = self.body else { return Err(Error::internal("a result in memory was to be stored")) };
        let uploaded = upload.finish().await?;
        let mut pages = self.pages;
        if pages.is_empty() {
            pages.push(Page { offset: self.written_bytes, bytes: 0, rows: 0 });
        }
        Ok(Finished::Stored(StoredResult {
            format: self.encoder.format(),
            rows: self.rows,
            bytes: uploaded.bytes,
            pages,
            columns: self.encoder.columns().to_vec(),
            tail_bytes: self.encoder.tail(None).len() as u64,
            head,
            e_tag: uploaded.e_tag,
        }))
    }
}

impl Place {
    fn upload(&self, encoder: &Encoder) -> ResultUpload {
        ResultUpload::new(Arc::clone(&self.store), self.path.clone(), encoder.format().content_type())
    }
}

fn limit(what: String) -> Error {
    Error::new(ErrorKind::LimitExceeded, format!("the result {what}: add a LIMIT or select fewer columns"))
}
