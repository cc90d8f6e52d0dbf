//! Deletion vectors of Delta Lake: rows of a Parquet file that the table no longer has are left out where the file is opened, on
//! workers too.
//!
//! ```text
//! log ─► DeletionVector, the value of the file's last partition column ─► wire ─► source: reads it before the file is opened
//!                                                                                   └► access plan: row groups, selections of rows
//! ```
//!
//! **Invariant:** a file with a deletion vector is opened with an access plan that leaves its rows out, or not at all.

mod bitmap;
mod source;
mod z85;

pub(crate) use source::WithoutDeletedRows;

use crate::error::{Error, ErrorKind, Result};
use bitmap::MAX_RANGES;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use uuid::Uuid;

/// Most bytes of one deletion vector.
pub const MAX_VECTOR_BYTES: u64 = 64 << 20;
/// The partition column with the deletion vectors of files. No query names it: it is in no table's schema.
pub const COLUMN: &str = "$deletions";
/// What a file of deletion vectors begins with: the version of its format.
const FILE_VERSION: u8 = 1;
/// Bytes of the size before a vector in a file, and of the checksum behind it.
const FRAME_BYTES: u64 = 4;
/// Characters of the id in the name of a file of deletion vectors.
const ID_CHARS: usize = 20;

/// Which rows of a file are deleted: where that is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeletionVector {
    place: Place,
    bytes: u64,
    rows: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Place {
    /// In base 85.
    Inline(String),
    /// In a file of the table's store.
    File { path: String, offset: u64 },
}

impl DeletionVector {
    /// The vector of `rows` rows in the log itself: its `bytes` bytes as `text` in base 85.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] for more than [`MAX_VECTOR_BYTES`].
    pub fn inline(text: &str, bytes: u64, rows: u64) -> Result<Self> {
        // Longer text would be cut after it was taken apart.
        let is_longer = text.len() as u64 / 5 * 4 > MAX_VECTOR_BYTES;
        check_bytes(if is_longer { u64::MAX } else { bytes })?;
        Ok(Self { place: Place::Inline(text.to_string()), bytes, rows })
    }

    /// The vector of `rows` rows that is written at `offset` of the file `path`, in `bytes` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] for more than [`MAX_VECTOR_BYTES`].
    pub fn in_file(path: &Path, offset: u64, bytes: u64, rows: u64) -> Result<Self> {
        check_bytes(bytes)?;
        Ok(Self { place: Place::File { path: path.to_string(), offset }, bytes, rows })
    }

    /// Rows that it deletes.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The vector of `file`, if it has one; `file` is of a scan with the column of [`field`].
    fn of(file: &PartitionedFile) -> Result<Option<Self>> {
        match file.partition_values.last() {
            Some(ScalarValue::Utf8(None)) => Ok(None),
            Some(ScalarValue::Utf8(Some(text))) => {
                serde_json::from_str(text).map(Some).map_err(|e| Error::internal(format!("a deletion vector: {e}")))
            }
            _ => Err(Error::internal("a file without a value for its deletion vector")),
        }
    }

    /// The deleted rows by their numbers in the file, in order.
    async fn deleted(&self, store: &dyn ObjectStore) -> Result<Vec<Range<u64>>> {
        check_bytes(self.bytes)?;
        let corrupt = |why: String| Error::new(ErrorKind::Corrupt, why);
        let data = match &self.place {
            Place::Inline(text) => {
                let mut data = z85::decode(text)?;
                // Text stands for whole groups of bytes.
                let is_padding = (data.len() as u64).checked_sub(self.bytes).is_some_and(|more| more < 4);
                if !is_padding {
                    return Err(corrupt(format!("it has {} bytes, and the log says {}", data.len(), self.bytes)));
                }
                data.truncate(usize::try_from(self.bytes).unwrap_or(usize::MAX));
                data
            }
            Place::File { path, offset } => read(store, path, *offset, self.bytes).await?,
        };
        let ranges = bitmap::rows(&data, MAX_RANGES)?;
        let rows: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        match rows == self.rows {
            true => Ok(ranges),
            false => Err(corrupt(format!("it deletes {rows} rows, and the log says {}", self.rows))),
        }
    }
}

fn check_bytes(bytes: u64) -> Result<()> {
    if bytes <= MAX_VECTOR_BYTES {
        return Ok(());
    }
    let text = format!("a deletion vector has more than {} MiB", MAX_VECTOR_BYTES >> 20);
    Err(Error::new(ErrorKind::LimitExceeded, text))
}

/// The `bytes` bytes of the vector at `offset` of a file, with what is around them checked.
async fn read(store: &dyn ObjectStore, path: &str, offset: u64, bytes: u64) -> Result<Vec<u8>> {
    let corrupt = |why: String| Error::new(ErrorKind::Corrupt, why);
    let path = Path::parse(path).map_err(|error| corrupt(error.to_string()))?;
    let named = |error: Error| error.context(format!("at byte {offset} of '{path}'"));
    let end = offset.checked_add(bytes + 2 * FRAME_BYTES).filter(|_| offset > 0);
    let end = end.ok_or_else(|| named(corrupt("no vector can be there".into())))?;
    let read = store.get_ranges(&path, &[0..1, offset..end]).await.map_err(|error| named(error.into()))?;
    let [version, framed] = read.as_slice() else { return Err(named(Error::internal("two ranges"))) };
    if version.first() != Some(&FILE_VERSION) {
        return Err(named(corrupt("the version of the file is not known".into())));
    }
    let size = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let whole = framed.strip_prefix(&size).filter(|_| framed.len() as u64 == end - offset);
    let (data, sum) = whole
        .and_then(|rest| rest.split_last_chunk::<{ FRAME_BYTES as usize }>())
        .ok_or_else(|| named(corrupt(format!("there are not the {bytes} bytes that the log says"))))?;
    match u32::from_be_bytes(*sum) == crc32fast::hash(data) {
        true => Ok(data.to_vec()),
        false => Err(named(corrupt("its checksum is another one".into()))),
    }
}

/// The path, from a table's folder, of the file of deletion vectors that a log calls `text`: a folder's name, which may be empty,
/// and an id in base 85.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for any other text.
pub fn file_name(text: &str) -> Result<String> {
    let no = || Error::new(ErrorKind::Corrupt, format!("'{}' names no file of deletion vectors", text.escape_debug()));
    let (folder, id) = text.len().checked_sub(ID_CHARS).and_then(|at| text.split_at_checked(at)).ok_or_else(no)?;
    if !folder.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(no());
    }
    let id: [u8; 16] = z85::decode(id)?.try_into().map_err(|_| no())?;
    let file = format!("deletion_vector_{}.bin", Uuid::from_bytes(id).hyphenated());
    Ok(if folder.is_empty() { file } else { format!("{folder}/{file}") })
}

/// The column that scans of files with deletion vectors have behind their other partition columns.
pub fn field() -> Field {
    Field::new(COLUMN, DataType::Utf8, true)
}

/// Whether `file`, of a scan with the column of [`field`], is opened without the rows that it has lost.
pub(crate) fn are_left_out(file: &PartitionedFile) -> bool {
    file.partition_values.last().is_some_and(ScalarValue::is_null) || file.extension::<ParquetAccessPlan>().is_some()
}

/// The value of that column for a file.
///
/// # Errors
/// Never for a vector that was made here.
pub fn value(vector: Option<&DeletionVector>) -> Result<ScalarValue> {
    let text = vector.map(serde_json::to_string).transpose().map_err(|e| Error::internal(e.to_string()))?;
    Ok(ScalarValue::Utf8(text))
}

#[cfg(test)]
mod tests;
