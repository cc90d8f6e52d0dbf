//! Reads a stored result, whole or by page; every read names the bytes it expects by ETag.

use super::encoder::page_tail;
use super::{Encoder, PAGE_BYTES, Page, ResultFormat, StoredResult, conversion};
use arrow::ipc::reader::StreamReader;
use bytes::{Bytes, BytesMut};
use engine::{Error, ErrorKind, Result};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore};
use std::fmt;
use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

/// A stored result of one query.
#[derive(Clone)]
pub(crate) struct ResultReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    query_id: String,
    stored: Arc<StoredResult>,
}

impl fmt::Debug for ResultReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ResultReader {
    /// A reader of the object at `path`; nothing is read yet.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, path: Path, query_id: &str, stored: StoredResult) -> Self {
        Self { store, path, query_id: query_id.to_owned(), stored: Arc::new(stored) }
    }

    /// What is read.
    pub(crate) fn stored(&self) -> &StoredResult {
        &self.stored
    }

    /// Formats that the result can be given in, its own first: all of them when it is stored as Arrow.
    pub(crate) fn formats(&self) -> Vec<ResultFormat> {
        let own = self.stored.format;
        let others = ResultFormat::ALL.into_iter().filter(|other| own == ResultFormat::Arrow && *other != own);
        std::iter::once(own).chain(others).collect()
    }

    /// Number of the page after `page`; None on the last.
    pub(crate) fn next_page(&self, page: usize) -> Option<usize> {
        page.checked_add(1).filter(|next| *next < self.stored.pages.len())
    }

    /// Page `number`, counted from 0, as a document of the stored format: one GET of a byte range.
    ///
    /// # Errors
    /// `NotFound` for a page or object that is not there, `Changed` for an object that was replaced, `LimitExceeded` for
    /// a page that is one row beyond [`PAGE_BYTES`], `Corrupt` for a short object.
    pub(crate) async fn page(&self, number: usize) -> Result<Bytes> {
        let tail = page_tail(self.stored.format, self.next_page(number));
        self.page_with(number, tail).await
    }

    /// Page `number` in another format.
    ///
    /// # Errors
    /// As [`ResultReader::page`]; `InvalidQuery` when [`ResultReader::serves`] is false or the format cannot hold the columns.
    pub(crate) async fn page_as(&self, number: usize, format: ResultFormat) -> Result<Bytes> {
        if format == self.stored.format {
            return self.page(number).await;
        }
        self.check_format(format)?;
        let document = self.page(number).await?;
        let mut encoder = self.encoder(&document, format)?;
        let mut parts = vec![encoder.head()];
        encode_page(&mut encoder, &document, &mut parts)?;
        parts.push(page_tail(format, self.next_page(number)));
        let bytes = parts.iter().map(Bytes::len).sum();
        check_size(number, bytes)?;
        Ok(join(&parts, bytes))
    }

    /// The whole object as it was stored.
    ///
    /// # Errors
    /// `NotFound`, `Changed`, `Corrupt` for an object of another length, and in the stream those of the store.
    pub(crate) async fn whole(&self) -> Result<BoxStream<'static, Result<Bytes>>> {
        let found = self.get(None).await?;
        if found.meta.size != self.stored.bytes {
            return Err(self.corrupt(found.meta.size, self.stored.bytes));
        }
        Ok(found.into_stream().map_err(Error::from).boxed())
    }

    /// The whole result in another format, page after page.
    ///
    /// # Errors
    /// As [`ResultReader::page_as`], and in the stream too.
    pub(crate) async fn whole_as(&self, format: ResultFormat) -> Result<BoxStream<'static, Result<Bytes>>> {
        if format == self.stored.format {
            return self.whole().await;
        }
        self.check_format(format)?;
        let mut empty = BytesMut::from(self.stored.head.as_ref());
        empty.extend_from_slice(&page_tail(self.stored.format, None));
        let encoder = self.encoder(&empty.freeze(), format)?;
        let head = encoder.head();
        let tail = encoder.tail(None);
        let pages = stream::try_unfold((self.clone(), encoder, 0), |(reader, mut encoder, number)| async move {
            let Some(page) = reader.stored.pages.get(number) else { return Ok(None) };
            let document = reader.document(page, page_tail(reader.stored.format, None)).await?;
            let mut parts = Vec::new();
            if number > 0 {
                parts.push(Bytes::from_static(encoder.separator()));
            }
            encode_page(&mut encoder, &document, &mut parts)?;
            let bytes = parts.iter().map(Bytes::len).sum();
            Ok(Some((join(&parts, bytes), (reader, encoder, number + 1))))
        });
        let once = |bytes: Bytes| stream::once(async move { Ok(bytes) });
        Ok(once(head).chain(pages).chain(once(tail)).boxed())
    }

    async fn page_with(&self, number: usize, tail: Bytes) -> Result<Bytes> {
        let Some(page) = self.stored.pages.get(number) else {
            let pages = self.stored.pages.len();
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the result has no page {number}: its {pages} pages count from 0"),
            ));
        };
        let bytes = usize::try_from(page.bytes).unwrap_or(usize::MAX);
        check_size(number, bytes.saturating_add(self.stored.head.len() + tail.len()))?;
        self.document(page, tail).await
    }

    /// The page between head and tail.
    async fn document(&self, page: &Page, tail: Bytes) -> Result<Bytes> {
        let rows = self.read(page.offset..page.offset + page.bytes).await?;
        let parts = [self.stored.head.clone(), rows, tail];
        Ok(join(&parts, parts.iter().map(Bytes::len).sum()))
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let expected = range.end - range.start;
        let found = self.get(Some(GetRange::Bounded(range))).await?.bytes().await.map_err(|error| self.explain(error))?;
        if found.len() as u64 != expected {
            return Err(self.corrupt(found.len() as u64, expected));
        }
        Ok(found)
    }

    async fn get(&self, range: Option<GetRange>) -> Result<GetResult> {
        let options = GetOptions { if_match: self.stored.e_tag.clone(), range, ..GetOptions::default() };
        self.store.get_opts(&self.path, options).await.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: object_store::Error) -> Error {
        Error::from(error).context(format!("cannot read the stored result '{}'", self.path))
    }

    fn corrupt(&self, found: u64, expected: u64) -> Error {
        let path = &self.path;
        let message = format!("the stored result '{path}' gave {found} bytes instead of {expected}; run the query again");
        Error::new(ErrorKind::Corrupt, message)
    }

    fn check_format(&self, format: ResultFormat) -> Result<()> {
        if self.formats().contains(&format) {
            return Ok(());
        }
        let own = self.stored.format;
        Err(Error::invalid(format!("the result is stored as {own} and cannot be given as {format}; only arrow can be converted")))
    }

    /// An encoder for the rows of an Arrow document.
    fn encoder(&self, document: &Bytes, format: ResultFormat) -> Result<Encoder> {
        let schema = StreamReader::try_new(Cursor::new(document), None).map_err(conversion)?.schema();
        Encoder::new(format, &schema, &self.query_id)
    }
}

/// Writes the rows of an Arrow document, with separators between chunks.
fn encode_page(encoder: &mut Encoder, document: &Bytes, parts: &mut Vec<Bytes>) -> Result<()> {
    let mut is_first = true;
    for batch in StreamReader::try_new(Cursor::new(document), None).map_err(conversion)? {
        for chunk in encoder.batch(&batch.map_err(conversion)?)? {
            if !is_first {
                parts.push(Bytes::from_static(encoder.separator()));
            }
            is_first = false;
            parts.push(chunk.bytes);
        }
    }
    Ok(())
}

/// Only a single row can be too large, because pages are cut for every format that they may be given in.
fn check_size(number: usize, bytes: usize) -> Result<()> {
    if bytes <= PAGE_BYTES {
        return Ok(());
    }
    let message =
        format!("page {number} of the result takes {bytes} bytes, more than {PAGE_BYTES}: fetch the whole result instead");
    Err(Error::new(ErrorKind::LimitExceeded, message))
}

fn join(parts: &[Bytes], bytes: usize) -> Bytes {
    let mut joined = BytesMut::with_capacity(bytes);
    parts.iter().for_each(|part| joined.extend_from_slice(part));
    joined.freeze()
}
