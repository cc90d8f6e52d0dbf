//! Rows of a server as batches: those of the first answer, or the pages of a stored result. Never fewer than were promised.

use crate::failure::Failure;
use crate::output::RowSource;
use crate::remote::client::{Answer, Call, Client};
use crate::remote::wire::{Record, StoredResult};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use engine::{Error, ErrorKind};
use futures::stream::{self, BoxStream, StreamExt};
use http::Method;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Pages that are fetched at once; each has about 3 MB.
const PAGES_AT_ONCE: usize = 4;
/// Header with the number of rows of an answer.
const ROWS_HEADER: &str = "x-owlet-rows";
/// Header with the number of the page that follows.
const NEXT_PAGE_HEADER: &str = "x-owlet-next-page";
/// The one format whose results can be read here.
const ARROW_FORMAT: &str = "arrow";

/// Rows of one result.
pub(crate) struct RemoteRows {
    schema: SchemaRef,
    /// Decoded, and not yet given away.
    batches: VecDeque<RecordBatch>,
    /// The pages that follow.
    pages: BoxStream<'static, Result<Decoded, Failure>>,
    /// Where the result is, if it is stored.
    stored: Option<(Arc<Client>, String)>,
    seen: u64,
    promised: u64,
}

impl fmt::Debug for RemoteRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteRows").field("seen", &self.seen).field("promised", &self.promised).finish_non_exhaustive()
    }
}

struct Decoded {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl RemoteRows {
    /// The rows in the first answer.
    ///
    /// # Errors
    /// When they are not whole.
    pub(crate) fn inline(client: &Client, answer: &Answer) -> Result<Self, Failure> {
        let promised = answer.header(ROWS_HEADER).parse();
        let promised = promised.map_err(|_| client.foreign(&format!("an answer with rows has no header {ROWS_HEADER}")))?;
        let Decoded { schema, batches } = decode(answer)?;
        let rows = Self { schema, batches: batches.into(), pages: stream::empty().boxed(), stored: None, seen: 0, promised };
        // All are here already: what is missing is told before any is printed.
        let found = rows.batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if found == promised { Ok(rows) } else { Err(incomplete(found, promised)) }
    }

    /// The rows of the stored result of the query that `record` tells of.
    ///
    /// # Errors
    /// When the first page cannot be had.
    pub(crate) async fn stored(client: &Arc<Client>, record: &Record) -> Result<Self, Failure> {
        let id = record.query_id.clone();
        let Some(StoredResult { format, rows: promised, pages }) = record.result.clone() else {
            let message = format!(
                "the rows of the query {id} went out with its first answer and were not kept (or were lost on the way): run it again"
            );
            return Err(Error::new(ErrorKind::NotFound, message).into());
        };
        if format != ARROW_FORMAT {
            let place = client.place();
            let message =
                format!("the result of the query {id} is stored as {format}: get it from {place}/v1/queries/{id}/result");
            return Err(Failure::Usage(message));
        }
        // Even a result without rows has a page, with its columns.
        let pages = pages.max(1);
        let stored = Some((Arc::clone(client), id.clone()));
        let Decoded { schema, batches } = match page(client, &id, 0, pages).await {
            Err(failure) if is_too_large(&failure) => {
                let Decoded { schema, batches } = whole(client, &id).await?;
                return Ok(Self { schema, batches: batches.into(), pages: stream::empty().boxed(), stored, seen: 0, promised });
            }
            first => first?,
        };
        let own = Arc::clone(client);
        let fetched = move |number| {
            let (client, id) = (Arc::clone(&own), id.clone());
            async move { page(&client, &id, number, pages).await }
        };
        let pages = stream::iter(1..pages).map(fetched).buffered(PAGES_AT_ONCE).boxed();
        Ok(Self { schema, batches: batches.into(), pages, stored, seen: 0, promised })
    }

    /// All batches.
    ///
    /// # Errors
    /// As [`RowSource::next`].
    pub(crate) async fn collect(mut self) -> Result<Vec<RecordBatch>, Failure> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }
}

impl RowSource for RemoteRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                self.seen += batch.num_rows() as u64;
                return Ok(Some(batch));
            }
            match self.pages.next().await {
                Some(Err(failure)) if is_too_large(&failure) && self.stored.is_some() => {
                    // The rows come once more from the first one on.
                    self.pages = stream::empty().boxed();
                    let Some((client, id)) = self.stored.take() else { return Err(failure) };
                    self.batches = without_first(whole(&client, &id).await?.batches, self.seen);
                }
                Some(page) => {
                    let Decoded { schema, batches } = page?;
                    if schema.fields() != self.schema.fields() {
                        return Err(corrupt("the pages of the result do not have the same columns"));
                    }
                    self.batches = batches.into();
                }
                None if self.seen == self.promised => return Ok(None),
                None => return Err(incomplete(self.seen, self.promised)),
            }
        }
    }
}

/// Page `number` of `pages`, counted from 0.
async fn page(client: &Client, id: &str, number: u32, pages: u32) -> Result<Decoded, Failure> {
    let call = Call::new(Method::GET, format!("/v1/queries/{id}/result?page={number}")).for_arrow();
    let answer = client.call(&call).await?;
    if !answer.status.is_success() {
        return Err(client.failure(&answer));
    }
    let expected = if number + 1 < pages { (number + 1).to_string() } else { String::new() };
    if answer.header(NEXT_PAGE_HEADER) != expected {
        let found = answer.header(NEXT_PAGE_HEADER);
        return Err(corrupt(format!(
            "page {number} of {pages} of the result is followed by page '{found}' instead of '{expected}'"
        )));
    }
    if !answer.is_arrow() {
        return Err(client.foreign("a page of rows is no Arrow stream"));
    }
    decode(&answer)
}

/// Whether a page cannot be had because of one row that is larger than pages are.
fn is_too_large(failure: &Failure) -> bool {
    failure.kind() == ErrorKind::LimitExceeded.name()
}

/// The result as one object.
async fn whole(client: &Client, id: &str) -> Result<Decoded, Failure> {
    let call = Call::new(Method::GET, format!("/v1/queries/{id}/result")).for_arrow().whole();
    let answer = client.call(&call).await?;
    let answer = client.followed(&call, answer).await?;
    if !answer.status.is_success() {
        return Err(client.failure(&answer));
    }
    decode(&answer)
}

/// `batches` without their first `rows` rows.
fn without_first(batches: Vec<RecordBatch>, mut rows: u64) -> VecDeque<RecordBatch> {
    let rest = batches.into_iter().filter_map(|batch| {
        let skipped = usize::try_from(rows).unwrap_or(usize::MAX).min(batch.num_rows());
        rows -= skipped as u64;
        (skipped < batch.num_rows()).then(|| batch.slice(skipped, batch.num_rows() - skipped))
    });
    rest.collect()
}

fn decode(answer: &Answer) -> Result<Decoded, Failure> {
    let damaged = |e: arrow::error::ArrowError| corrupt(format!("rows from the server cannot be decoded: {e}"));
    let reader = StreamReader::try_new(answer.body.as_ref(), None).map_err(damaged)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<_, _>>().map_err(damaged)?;
    Ok(Decoded { schema, batches })
}

fn corrupt(message: impl Into<String>) -> Failure {
    Error::new(ErrorKind::Corrupt, message).into()
}

fn incomplete(seen: u64, promised: u64) -> Failure {
    corrupt(format!("the result has {promised} rows, but {seen} arrived: what was printed is not all; run the query again"))
}
