//! Writes rows in one format, in pieces that pages are made of; knows nothing of where the pieces go.

use super::json::{self, Json};
use super::types::{columns, plain, plain_schema};
use super::{Column, PAGE_BYTES, ResultFormat, conversion, measure};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use engine::functions::interval_texts;
use engine::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

/// Between two rows of JSON.
const JSON_SEPARATOR: &[u8] = b",\n";

/// What ends an Arrow IPC stream: the continuation mark and a length of 0.
const ARROW_END: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Longest tail of a page in bytes: that of JSON names the next page.
const PAGE_TAIL_BYTES: usize = 64;

/// Rows are unpacked in runs of about this many bytes, so that a dictionary of long values does not fill the memory.
const UNPACKED_BYTES: usize = 64 << 20;

/// Chunks have at most this part of a page (but at least a row), so that pages can be filled well.
const CHUNKS_PER_PAGE: usize = 4;

/// NULL inside the text of a nested value.
const NULL: &str = "NULL";

/// Whole rows in their written form, without the separator to the rows before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The rows as they stand in the document.
    pub bytes: Bytes,
    /// Number of rows, at least 1.
    pub rows: usize,
    /// Size in bytes that counts for pages: that of the bytes, or of the rows as text where Arrow may be read as such.
    pub page_bytes: usize,
    /// Whether this is a single row that does not fit a page.
    pub oversized: bool,
}

/// Writes batches of one schema in one format.
pub(crate) struct Encoder {
    format: ResultFormat,
    query_id: String,
    columns: Vec<Column>,
    schema: SchemaRef,
    head: Bytes,
    room_bytes: usize,
    /// Only for Arrow; what it has written is taken out after each batch.
    arrow: Option<StreamWriter<Vec<u8>>>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("format", &self.format).field("query_id", &self.query_id).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Prepares to write rows of `schema`.
    ///
    /// # Errors
    /// `InvalidQuery` for columns that the format cannot hold, `LimitExceeded` when the columns alone fill half a page.
    pub(crate) fn new(format: ResultFormat, schema: &Schema, query_id: &str) -> Result<Self> {
        Self::with_page_bytes(format, schema, query_id, PAGE_BYTES)
    }

    /// As [`Encoder::new`] with another size of pages.
    pub(super) fn with_page_bytes(format: ResultFormat, schema: &Schema, query_id: &str, page_bytes: usize) -> Result<Self> {
        let plain = Arc::new(plain_schema(schema, format)?);
        let columns = columns(schema);
        let json_head = json_head(query_id, &columns);
        let mut arrow = None;
        let head = match format {
            ResultFormat::Json => Bytes::from(json_head.clone()),
            ResultFormat::Ndjson => Bytes::new(),
            ResultFormat::Csv => Bytes::from(csv_head(&columns)),
            ResultFormat::Arrow => {
                let writer = arrow.insert(StreamWriter::try_new(Vec::new(), &plain).map_err(conversion)?);
                Bytes::from(std::mem::take(writer.get_mut()))
            }
        };
        // Arrow may be asked for as JSON later, whose head is then the larger one or not.
        let largest_head = if format == ResultFormat::Arrow { head.len().max(json_head.len()) } else { head.len() };
        if largest_head > page_bytes / 2 {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the names of {} columns take {largest_head} bytes of a page of {page_bytes}: select fewer",
                    columns.len()
                ),
            ));
        }
        let room_bytes = page_bytes - largest_head - PAGE_TAIL_BYTES.min(page_bytes / 2);
        Ok(Self { format, query_id: query_id.to_owned(), columns, schema: plain, head, room_bytes, arrow })
    }

    /// The format that is written.
    pub(crate) fn format(&self) -> ResultFormat {
        self.format
    }

    /// The columns as clients see them.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// What stands before the first row.
    pub(crate) fn head(&self) -> Bytes {
        self.head.clone()
    }

    /// What stands between two chunks.
    pub(crate) fn separator(&self) -> &'static [u8] {
        if self.format == ResultFormat::Json { JSON_SEPARATOR } else { &[] }
    }

    /// Most bytes that the chunks of a page may have ([`Chunk::page_bytes`] and separators).
    pub(crate) fn room_bytes(&self) -> usize {
        self.room_bytes
    }

    /// The rows of `batch` in chunks; none for a batch without rows.
    ///
    /// # Errors
    /// `InvalidQuery` for values that have no written form, `LimitExceeded` for a value beyond 2 GiB.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<Chunk>> {
        let mut chunks = Vec::new();
        let mut waiting = vec![batch.clone()];
        while let Some(batch) = waiting.pop() {
            let unpacked_bytes = measure::unpacked_bytes(&batch);
            if batch.num_rows() > 1 && unpacked_bytes > UNPACKED_BYTES {
                halve(&batch, &mut waiting);
                continue;
            }
            if i32::try_from(unpacked_bytes).is_err() {
                return Err(Error::new(
                    ErrorKind::LimitExceeded,
                    format!("a row of the result takes {unpacked_bytes} bytes, more than 2 GiB: select less of it"),
                ));
            }
            let batch = self.plain_batch(&batch)?;
            match self.format {
                ResultFormat::Json => self.json_chunks(&batch, &mut chunks)?,
                ResultFormat::Ndjson => self.ndjson_chunks(&batch, &mut chunks)?,
                ResultFormat::Csv => self.csv_chunks(&batch, &mut chunks)?,
                ResultFormat::Arrow => self.arrow_chunks(batch, &mut chunks)?,
            }
        }
        Ok(chunks)
    }

    /// What stands after the last row of a whole result; only JSON holds the receipt.
    pub(crate) fn tail(&self, receipt: Option<&Value>) -> Bytes {
        match (self.format, receipt) {
            (ResultFormat::Json, Some(receipt)) => Bytes::from(format!("],\"receipt\":{receipt}}}\n")),
            (ResultFormat::Json, None) => Bytes::from_static(b"]}\n"),
            (ResultFormat::Ndjson | ResultFormat::Csv, _) => Bytes::new(),
            (ResultFormat::Arrow, _) => Bytes::from_static(ARROW_END),
        }
    }

    /// The columns of `batch` in plain types.
    fn plain_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let expected = self.schema.fields().len();
        if batch.num_columns() != expected {
            let found = batch.num_columns();
            return Err(Error::internal(format!("a batch of the result has {found} columns instead of {expected}")));
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(expected);
        for (column, field) in batch.columns().iter().zip(self.schema.fields()) {
            let found = column.data_type();
            columns.push(if found != field.data_type() && &plain(found, self.format)? == field.data_type() {
                interval_texts(column).map_or_else(|| cast(column, field.data_type()).map_err(conversion), Ok)?
            } else {
                Arc::clone(column)
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(conversion)
    }

    fn json_chunks(&self, batch: &RecordBatch, chunks: &mut Vec<Chunk>) -> Result<()> {
        let json = Json::new();
        let mut encoders = json.encoders(batch)?;
        self.cut_rows(batch.num_rows(), chunks, |row, out| {
            out.push(b'[');
            for (index, encoder) in encoders.iter_mut().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json::push(encoder, row, out);
            }
            out.push(b']');
            json.check()
        })
    }

    fn ndjson_chunks(&self, batch: &RecordBatch, chunks: &mut Vec<Chunk>) -> Result<()> {
        let json = Json::new();
        let mut encoders = json.encoders(batch)?;
        let keys: Vec<String> = self.columns.iter().map(|column| format!("{}:", json!(column.name))).collect();
        self.cut_rows(batch.num_rows(), chunks, |row, out| {
            out.push(b'{');
            for (index, (encoder, key)) in encoders.iter_mut().zip(&keys).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(key.as_bytes());
                json::push(encoder, row, out);
            }
            out.extend_from_slice(b"}\n");
            json.check()
        })
    }

    fn csv_chunks(&self, batch: &RecordBatch, chunks: &mut Vec<Chunk>) -> Result<()> {
        let options = FormatOptions::new().with_display_error(false).with_null(NULL);
        let mut columns = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(conversion)?;
            columns.push((formatter, column.logical_nulls()));
        }
        let mut cell = String::new();
        self.cut_rows(batch.num_rows(), chunks, |row, out| {
            for (index, (formatter, nulls)) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    cell.clear();
                    formatter.value(row).write(&mut cell).map_err(conversion)?;
                    push_csv(&cell, out);
                }
            }
            if !columns.is_empty() {
                out.push(b'\n');
            }
            Ok(())
        })
    }

    /// Halves the batch until the pieces are chunks as Arrow and as text.
    fn arrow_chunks(&mut self, batch: RecordBatch, chunks: &mut Vec<Chunk>) -> Result<()> {
        let (limit, room) = (self.room_bytes / CHUNKS_PER_PAGE, self.room_bytes);
        let writer = self.arrow.as_mut().ok_or_else(|| Error::internal("the Arrow writer of a result is missing"))?;
        let mut waiting = vec![batch];
        while let Some(batch) = waiting.pop() {
            let rows = batch.num_rows();
            let text_bytes = measure::text_bytes(&batch);
            if rows == 0 || (rows > 1 && text_bytes > limit) {
                halve(&batch, &mut waiting);
                continue;
            }
            writer.write(&batch).map_err(conversion)?;
            let bytes = Bytes::from(std::mem::take(writer.get_mut()));
            if rows > 1 && bytes.len() > limit {
                halve(&batch, &mut waiting);
                continue;
            }
            let page_bytes = text_bytes.max(bytes.len());
            chunks.push(Chunk { bytes, rows, page_bytes, oversized: page_bytes > room });
        }
        Ok(())
    }

    /// Writes row after row, and begins a chunk where one would grow too long.
    fn cut_rows(
        &self,
        row_count: usize,
        chunks: &mut Vec<Chunk>,
        mut write_row: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut close = |bytes: Vec<u8>, rows: usize| {
            let page_bytes = bytes.len();
            chunks.push(Chunk { bytes: Bytes::from(bytes), rows, page_bytes, oversized: page_bytes > self.room_bytes });
        };
        let mut bytes = Vec::new();
        let mut rows = 0;
        for row in 0..row_count {
            let end = bytes.len();
            if rows > 0 {
                bytes.extend_from_slice(self.separator());
            }
            let start = bytes.len();
            write_row(row, &mut bytes)?;
            if rows > 0 && bytes.len() > self.room_bytes / CHUNKS_PER_PAGE {
                let next = bytes.split_off(start);
                bytes.truncate(end);
                close(std::mem::replace(&mut bytes, next), rows);
                rows = 0;
            }
            rows += 1;
        }
        if rows > 0 {
            close(bytes, rows);
        }
        Ok(())
    }
}

/// What ends a page whose next page is `next`.
pub(super) fn page_tail(format: ResultFormat, next: Option<usize>) -> Bytes {
    match format {
        ResultFormat::Json => Bytes::from(format!("],\"next_page\":{}}}\n", json!(next))),
        ResultFormat::Ndjson | ResultFormat::Csv => Bytes::new(),
        ResultFormat::Arrow => Bytes::from_static(ARROW_END),
    }
}

/// Puts both halves of `batch` on the stack, the first on top; nothing of a batch without rows.
fn halve(batch: &RecordBatch, waiting: &mut Vec<RecordBatch>) {
    let rows = batch.num_rows();
    if rows > 1 {
        let middle = rows / 2;
        waiting.push(batch.slice(middle, rows - middle));
        waiting.push(batch.slice(0, middle));
    }
}

fn json_head(query_id: &str, columns: &[Column]) -> String {
    format!("{{\"query_id\":{},\"columns\":{},\"rows\":[\n", json!(query_id), json!(columns))
}

fn csv_head(columns: &[Column]) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        push_csv(&column.name, &mut line);
    }
    if !columns.is_empty() {
        line.push(b'\n');
    }
    line
}

/// Quotes what RFC 4180 asks to quote, and the empty string to tell it from NULL.
fn push_csv(value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() && !value.contains([',', '"', '\n', '\r']) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    out.push(b'"');
    for (index, piece) in value.split('"').enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(piece.as_bytes());
    }
    out.push(b'"');
}
