//! The rows of a Parquet checkpoint as lines of a log.

use super::actions::Action;
use super::log::lines;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use bytes::Bytes;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use engine::{Error, ErrorKind, Result};

/// Rows that are taken apart at once.
const BATCH_ROWS: usize = 1_024;

/// The columns that are read, as starts of their paths; statistics as columns of their own are not among them.
const READ: [&[&str]; 11] = [
    &["add", "path"],
    &["add", "partitionValues"],
    &["add", "size"],
    &["add", "modificationTime"],
    &["add", "stats"],
    &["add", "deletionVector"],
    &["metaData", "schemaString"],
    &["metaData", "partitionColumns"],
    &["metaData", "configuration"],
    &["protocol"],
    &["sidecar", "path"],
];

/// Gives each action of the file to `each`.
pub(super) fn read(file: Bytes, mut each: impl FnMut(Action) -> Result<()>) -> Result<()> {
    let corrupt = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Corrupt, format!("no checkpoint: {error}"));
    // Without the Arrow schema that some writers leave in the file: text is then always one kind of text.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(|e| corrupt(&e))?;
    let schema = builder.parquet_schema();
    let is_read = |parts: &[String]| {
        READ.iter().any(|start| parts.len() >= start.len() && parts.iter().zip(*start).all(|(part, start)| part == start))
    };
    let leaves: Vec<usize> = (0..schema.num_columns()).filter(|index| is_read(schema.column(*index).path().parts())).collect();
    let mask = ProjectionMask::leaves(schema, leaves);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|e| corrupt(&e))?;
    for batch in reader {
        let batch = batch.map_err(|e| corrupt(&e))?;
        // NULLs are written out: a partition's value may be one.
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
        writer.write(&batch).and_then(|()| writer.finish()).map_err(|e| corrupt(&e))?;
        for action in lines(&writer.into_inner()) {
            each(action?)?;
        }
    }
    Ok(())
}
