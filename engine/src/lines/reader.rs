//! Bytes of a file, piece by piece, to batches of its lines.
//!
//! As in Trino a line ends with a line feed, a carriage return or both, and an empty one is a line, but for what is behind the last end.

use super::SkippedLines;
use crate::error::{Error, ErrorKind, Result};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::SchemaRef;
use object_store::path::Path;
use std::sync::Arc;

/// Bytes of lines that end a batch which has not all of its rows yet.
const MAX_BATCH_BYTES: usize = 16 << 20;
/// Most bytes of a line, which is in memory whole: of CloudTrail it is a file.
pub(super) const MAX_LINE_BYTES: usize = 256 << 20;
/// What some writers begin a file of UTF-8 with.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The lines of one file, or of a range of it.
pub(super) struct Lines {
    /// For messages.
    file: Path,
    /// The line, or nothing where only their number is asked for.
    schema: SchemaRef,
    batch_rows: usize,
    header: u8,
    footer: usize,
    /// Whether the next line is the first of its file.
    is_first: bool,
    /// Whether the last byte was a carriage return, whose line feed may follow.
    after_return: bool,
    is_done: bool,
    /// Lines without their ends, and behind them what there is of the next one.
    text: Vec<u8>,
    /// Where each line ends in `text`.
    ends: Vec<usize>,
    /// How many of the lines were given.
    given: usize,
}

impl Lines {
    pub(super) fn new(file: Path, schema: SchemaRef, batch_rows: usize, skipped: SkippedLines, is_first: bool) -> Self {
        Self {
            file,
            schema,
            batch_rows: batch_rows.max(1),
            header: if is_first { skipped.header } else { 0 },
            footer: skipped.footer.into(),
            is_first,
            after_return: false,
            is_done: false,
            text: Vec::new(),
            ends: Vec::new(),
            given: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] for a line of more than [`MAX_LINE_BYTES`].
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.forget_given();
        let mut rest = bytes;
        if !rest.is_empty() && std::mem::take(&mut self.after_return) {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, behind) = rest.split_at(end);
            self.text.extend_from_slice(line);
            self.end_line();
            self.after_return = behind == b"\r";
            rest = behind.strip_prefix(b"\r\n").or_else(|| behind.get(1..)).unwrap_or_default();
        }
        self.text.extend_from_slice(rest);
        if self.text.len() - self.start_of(self.ends.len()) > MAX_LINE_BYTES {
            let text = format!("file '{}' has a line of over {MAX_LINE_BYTES} bytes", self.file);
            return Err(Error::new(ErrorKind::LimitExceeded, text));
        }
        Ok(())
    }

    /// Says that there are no more bytes.
    pub(super) fn finish(&mut self) {
        let open = self.text.get(self.start_of(self.ends.len())..).unwrap_or_default();
        let is_mark = self.is_first && open == BYTE_ORDER_MARK;
        if !open.is_empty() && !is_mark {
            self.end_line();
        }
        self.is_done = true;
    }

    fn end_line(&mut self) {
        let start = self.start_of(self.ends.len());
        let is_marked = self.text.get(start..).is_some_and(|line| line.starts_with(BYTE_ORDER_MARK));
        if std::mem::take(&mut self.is_first) && is_marked {
            self.text.drain(start..start + BYTE_ORDER_MARK.len());
        }
        if self.header > 0 {
            self.header -= 1;
            self.text.truncate(start);
        } else {
            self.ends.push(self.text.len());
        }
    }

    fn start_of(&self, line: usize) -> usize {
        line.checked_sub(1).and_then(|before| self.ends.get(before).copied()).unwrap_or(0)
    }

    fn forget_given(&mut self) {
        let bytes = self.start_of(self.given);
        self.text.drain(..bytes);
        self.ends.drain(..self.given);
        self.ends.iter_mut().for_each(|end| *end -= bytes);
        self.given = 0;
    }

    /// The next batch; none while it is not full, and at the end. Bytes that are no UTF-8 are U+FFFD.
    ///
    /// # Errors
    /// Of more than one batch can have.
    pub(super) fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let ready = self.ends.len().saturating_sub(self.given + self.footer);
        let start = self.start_of(self.given);
        let is_full = ready >= self.batch_rows || self.start_of(self.given + ready) - start >= MAX_BATCH_BYTES;
        if ready == 0 || !(self.is_done || is_full) {
            return Ok(None);
        }
        let all = self.ends.get(self.given..self.given + ready.min(self.batch_rows)).unwrap_or_default();
        let count = all.partition_point(|end| end - start <= MAX_BATCH_BYTES).max(1);
        let ends = all.get(..count).unwrap_or_default();
        let columns = match self.schema.fields().is_empty() {
            true => Vec::new(),
            false => vec![self.column(start, ends)?],
        };
        self.given += count;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        batch.map(Some).map_err(|e| Error::internal(e.to_string()))
    }

    fn column(&self, start: usize, ends: &[usize]) -> Result<ArrayRef> {
        let bytes = self.text.get(start..ends.last().copied().unwrap_or(start)).unwrap_or_default();
        let offsets: Option<Vec<i32>> = [start].iter().chain(ends).map(|end| i32::try_from(end - start).ok()).collect();
        let offsets = offsets.ok_or_else(|| Error::internal("lines of over 2 GiB in a batch"))?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let lines = match StringArray::try_new(offsets, Buffer::from(bytes), None) {
            Ok(lines) => lines,
            // As Java reads bytes that are no UTF-8.
            Err(_) => {
                let ends = [start].into_iter().chain(ends.iter().copied());
                ends.clone().zip(ends.skip(1)).map(|(from, to)| Some(String::from_utf8_lossy(self.text.get(from..to)?))).collect()
            }
        };
        Ok(Arc::new(lines))
    }
}
