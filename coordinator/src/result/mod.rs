//! Turns the rows of a query into documents: one answer in memory, or a stored object that is read by page.
//!
//! ```text
//! RecordBatch -> Encoder -> Chunk.. -> ResultSink -+-> Inline (bytes)
//!                                                  +-> object: head | page 0 | page 1 | .. | tail -> ResultReader
//! ```
//!
//! **Invariant:** head, any run of whole chunks (separators between them) and a tail are a valid document.

mod encoder;
mod format;
mod json;
mod measure;
mod reader;
mod sink;
#[cfg(test)]
mod tests;
mod types;
mod upload;

use arrow::error::ArrowError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{Error, ErrorKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use encoder::{Chunk, Encoder};
pub(crate) use format::ResultFormat;
pub(crate) use reader::ResultReader;
pub(crate) use sink::{Finished, ResultSink, SinkLimits};

/// Largest page document, head and tail included, in bytes: as JSON text inside a Lambda answer (6,291,556 bytes)
/// each byte may take two.
pub(crate) const PAGE_BYTES: usize = 3_000_000;

/// Most pages of one stored result, so that its record stays below a megabyte.
pub(crate) const MAX_PAGES: usize = 10_000;

/// Default of the largest stored result, in bytes: 8 GiB.
pub(crate) const MAX_RESULT_BYTES: u64 = 8 << 30;

/// A column of a result as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    /// Name; several columns may have the same.
    pub name: String,
    /// SQL type in the style of Athena: `bigint`, `decimal(15,2)`, `array(varchar)`.
    #[serde(rename = "type")]
    pub sql_type: String,
}

/// Rows of a stored result that one request reads: a byte range of whole chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// First byte in the object; a separator before the rows is left out.
    pub offset: u64,
    /// Length in bytes, without head and tail; more than [`PAGE_BYTES`] only for a single row.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
}

/// All that is needed to read a stored result; part of the query's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredResult {
    /// Format of the object.
    pub format: ResultFormat,
    /// Rows in all pages.
    pub rows: u64,
    /// Size of the object in bytes.
    pub bytes: u64,
    /// The pages in order; at least one, also without rows.
    pub pages: Vec<Page>,
    /// The columns in order.
    pub columns: Vec<Column>,
    /// What stands before the first row; each page begins with it too.
    #[serde(serialize_with = "write_base64", deserialize_with = "read_base64")]
    pub head: Bytes,
    /// Length in bytes of what stands after the last row.
    pub tail_bytes: u64,
    /// Names these very bytes; reads fail when the object has another. None where the store has no ETags.
    pub e_tag: Option<String>,
}

fn write_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn read_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
}

/// Rows that could not be written in the format of the result.
fn conversion(error: ArrowError) -> Error {
    let kind = match &error {
        ArrowError::CastError(_) | ArrowError::JsonError(_) | ArrowError::NotYetImplemented(_) => ErrorKind::InvalidQuery,
        ArrowError::MemoryError(_) | ArrowError::OffsetOverflowError(_) => ErrorKind::LimitExceeded,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("cannot write rows of the result: {error}"))
}
