//! What is written, where and how: plain data that crosses to workers inside the plan.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Size at which a file is ended and the next begun, in bytes, unless the statement says otherwise.
const DEFAULT_FILE_BYTES: u64 = 256 << 20;
/// Largest size that can be asked for: one server-side copy on S3 takes objects up to 5 GiB.
const MAX_FILE_BYTES: u64 = 4 << 30;
/// Partitions that one statement may write to (as Athena's limit), with buckets: pairs of a partition and a bucket.
const DEFAULT_MAX_PARTITIONS: usize = 100;

/// Most buckets of a table.
const MAX_BUCKETS: usize = 65_536;

/// How the bytes of a file are compressed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy; Parquet only.
    Snappy,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Zstandard with a level of 1 to 22; Parquet only.
    ZstdLevel(u8),
    /// LZ4 in Hadoop's framing; Parquet only.
    Lz4,
}

/// Lines of delimited values as Hive's text tables have them: no quotes, one row a line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Hash, Debug, Serialize, Deserialize)]
pub struct TextFormat {
    /// Stands between values; Hive's own is `\x01`.
    pub delimiter: char,
    /// Whether the first line of each file names the columns.
    pub header: bool,
    /// What stands for NULL; Hive's own is `\N`.
    pub null: String,
}

impl Default for TextFormat {
    fn default() -> Self {
        Self { delimiter: '\u{1}', header: false, null: "\\N".into() }
    }
}

/// The format of written files.
#[derive(Clone, PartialEq, Eq, PartialOrd, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteFormat {
    /// Apache Parquet.
    Parquet(Compression),
    /// Delimited lines (Athena's `TEXTFILE`).
    Text(TextFormat, Compression),
    /// One JSON object a line.
    Json(Compression),
}

impl WriteFormat {
    /// The ending of file names, with its dot. Readers know the compression of text by it.
    pub(crate) fn ending(&self) -> Result<&'static str> {
        let endings = match self {
            WriteFormat::Parquet(_) => return Ok(".parquet"),
            WriteFormat::Text(text, _) if text.delimiter == ',' => [".csv", ".csv.gz", ".csv.zst"],
            WriteFormat::Text(text, _) if text.delimiter == '\t' => [".tsv", ".tsv.gz", ".tsv.zst"],
            WriteFormat::Text(..) => [".txt", ".txt.gz", ".txt.zst"],
            WriteFormat::Json(_) => [".json", ".json.gz", ".json.zst"],
        };
        match self.compression() {
            Compression::None => Ok(endings[0]),
            Compression::Gzip => Ok(endings[1]),
            Compression::Zstd => Ok(endings[2]),
            other => Err(Error::invalid(format!("compression {other:?} is not for text files: use GZIP, ZSTD or NONE"))),
        }
    }

    pub(crate) fn content_type(&self) -> &'static str {
        match (self, self.compression()) {
            (WriteFormat::Text(..), Compression::None) => "text/plain; charset=utf-8",
            (WriteFormat::Json(_), Compression::None) => "application/x-ndjson",
            _ => "application/octet-stream",
        }
    }

    pub(crate) fn compression(&self) -> Compression {
        match self {
            WriteFormat::Parquet(compression) | WriteFormat::Text(_, compression) | WriteFormat::Json(compression) => {
                *compression
            }
        }
    }
}

/// What a write does with the rows of its query.
#[derive(Clone, PartialEq, Eq, PartialOrd, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteSpec {
    /// URL of the folder that the files go to.
    pub location: String,
    /// Their format.
    pub format: WriteFormat,
    /// Names of the written columns, partition columns included, one for each column of the query.
    pub columns: Vec<String>,
    /// The last columns, in their order, whose values become Hive folders `name=value`.
    pub partition_by: Vec<String>,
    /// Hive buckets: columns and number. All rows of a bucket are in one file, which is named by its number.
    pub bucketed_by: Option<(Vec<String>, usize)>,
    /// A file is ended when it has reached about this size, in bytes.
    pub target_file_bytes: u64,
    /// Most partitions that the statement may write to.
    pub max_open_partitions: usize,
    /// Whether the location must hold no file before.
    pub must_be_empty: bool,
}

impl WriteSpec {
    /// A write of `columns` to `location` as Parquet with Athena's defaults.
    pub fn parquet(location: impl Into<String>, columns: Vec<String>) -> Self {
        Self {
            location: location.into(),
            format: WriteFormat::Parquet(Compression::Gzip),
            columns,
            partition_by: Vec::new(),
            bucketed_by: None,
            target_file_bytes: DEFAULT_FILE_BYTES,
            max_open_partitions: DEFAULT_MAX_PARTITIONS,
            must_be_empty: false,
        }
    }

    /// Number of columns that go into the files themselves.
    pub(crate) fn file_columns(&self) -> usize {
        self.columns.len().saturating_sub(self.partition_by.len())
    }

    /// The size that ends a file; a bucket's does not end before its rows do.
    pub(crate) fn file_bytes(&self) -> u64 {
        if self.buckets().is_some() { MAX_FILE_BYTES } else { self.target_file_bytes.clamp(1, MAX_FILE_BYTES) }
    }

    /// Number of buckets, and places of their columns among the written ones.
    pub(crate) fn buckets(&self) -> Option<(i32, Vec<usize>)> {
        let (names, count) = self.bucketed_by.as_ref()?;
        let place = |name: &String| self.columns.iter().position(|column| column.eq_ignore_ascii_case(name));
        Some((i32::try_from(*count).ok()?, names.iter().filter_map(place).collect()))
    }

    /// Checks what can be told without the query's types.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidQuery`] with Athena's name of the error where it has one.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(empty) = self.columns.iter().position(String::is_empty) {
            return Err(Error::invalid(format!("MISSING_COLUMN_NAME: column name not specified at position {}", empty + 1)));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = self.columns.iter().find(|name| !seen.insert(name.to_lowercase())) {
            return Err(Error::invalid(format!("DUPLICATE_COLUMN_NAME: Column name '{twice}' specified more than once")));
        }
        let trailing = self.columns.get(self.file_columns()..).unwrap_or_default();
        let is_trailing = trailing.len() == self.partition_by.len()
            && trailing.iter().zip(&self.partition_by).all(|(column, key)| column.eq_ignore_ascii_case(key));
        if !is_trailing {
            return Err(Error::invalid(format!(
                "HIVE_COLUMN_ORDER_MISMATCH: partition keys must be the last columns in the table and in the same order as the table properties: [{}]",
                self.partition_by.join(", ")
            )));
        }
        self.check_buckets()?;
        if self.file_columns() == 0 {
            return Err(Error::invalid("a table needs a column that is no partition key"));
        }
        if let WriteFormat::Text(text, _) = &self.format
            && (matches!(text.delimiter, '\n' | '\r') || text.null.contains([text.delimiter, '\n', '\r']))
        {
            return Err(Error::invalid("a line break cannot stand between values, and NULL cannot hold what does"));
        }
        self.format.ending().map(drop)
    }

    fn check_buckets(&self) -> Result<()> {
        let Some((names, count)) = &self.bucketed_by else { return Ok(()) };
        let wrong = |why: String| Err(Error::invalid(format!("INVALID_TABLE_PROPERTY: {why}")));
        if names.is_empty() || !(1..=MAX_BUCKETS).contains(count) {
            return wrong(format!("give both bucketed_by and bucket_count, 1 to {MAX_BUCKETS}"));
        }
        let mut seen = HashSet::new();
        for name in names {
            let same = |column: &String| column.eq_ignore_ascii_case(name);
            if self.partition_by.iter().any(same) {
                return wrong(format!("bucketed_by: '{name}' is a partition column"));
            }
            if !self.columns.iter().any(same) || !seen.insert(name.to_lowercase()) {
                return wrong(format!("bucketed_by: '{name}' is no column of the table, or is given twice"));
            }
        }
        Ok(())
    }

    /// The error of a write to more partitions than it may.
    pub fn too_many_partitions(&self) -> Error {
        let limit = self.max_open_partitions;
        Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "TOO_MANY_OPEN_PARTITIONS: exceeded limit of {limit} open writers for partitions/buckets: write fewer at a time"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_specs_are_refused_by_name() {
        let spec = |columns: &[&str], partition_by: &[&str]| WriteSpec {
            partition_by: partition_by.iter().map(|name| name.to_string()).collect(),
            ..WriteSpec::parquet("s3://b/t/", columns.iter().map(|name| name.to_string()).collect())
        };
        assert!(spec(&["a", "b"], &["B"]).check().is_ok());
        for (columns, keys, error) in [
            (&["a", "A"][..], &[][..], "DUPLICATE_COLUMN_NAME"),
            (&["a", ""], &[], "MISSING_COLUMN_NAME"),
            (&["a", "b"], &["a"], "HIVE_COLUMN_ORDER_MISMATCH"),
            (&["a"], &["a"], "no partition key"),
            (&["a"], &["a", "b"], "HIVE_COLUMN_ORDER_MISMATCH"),
        ] {
            assert!(spec(columns, keys).check().is_err_and(|e| e.message.contains(error)), "{columns:?} {keys:?}");
        }
        for (name, count, error) in [
            ("A", 4, ""),
            ("a", 0, "bucket_count"),
            ("a", 70_000, "bucket_count"),
            ("b", 4, "partition column"),
            ("c", 4, "no column"),
        ] {
            let buckets = WriteSpec { bucketed_by: Some((vec![name.into()], count)), ..spec(&["a", "b"], &["b"]) };
            match error {
                "" => assert!(buckets.check().is_ok(), "{name} {count}"),
                error => assert!(buckets.check().is_err_and(|e| e.message.contains(error)), "{name} {count}"),
            }
        }
        let snappy = WriteSpec { format: WriteFormat::Json(Compression::Snappy), ..spec(&["a"], &[]) };
        assert!(snappy.check().is_err_and(|e| e.message.contains("compression")));
    }
}
