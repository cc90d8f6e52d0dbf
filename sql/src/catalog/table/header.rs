//! Lines of files with several header lines: the engine's reader leaves out one at the most.
//!
//! Header lines are counted as they are; behind them empty lines are left out, as the engine's reader does. Nothing of this is
//! sent to workers: such a scan runs where it is planned.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, ObjectStore};
use std::fmt;
use std::sync::Arc;

/// Rows of a batch where the session does not say.
const BATCH_ROWS: usize = 8_192;

/// A source of lines, one column of text.
#[derive(Clone)]
pub(super) struct HeadedLines {
    schema: TableSchema,
    projection: SplitProjection,
    header_lines: usize,
    batch_rows: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl HeadedLines {
    /// Lines of files whose first `header_lines` are left out.
    pub(super) fn new(schema: TableSchema, header_lines: usize) -> Self {
        let projection = SplitProjection::unprojected(&schema);
        Self { schema, projection, header_lines, batch_rows: BATCH_ROWS, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl FileSource for HeadedLines {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        scan: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let columns = self.projection.file_indices.clone();
        let schema = Arc::new(self.schema.file_schema().project(&columns)?);
        let reader = Lines {
            unfinished: Vec::new(),
            is_behind_return: false,
            header_lines: self.header_lines,
            texts: StringBuilder::new(),
            rows: 0,
            schema,
        };
        let opener = Opener { store, compression: scan.file_compression_type, reader, batch_rows: self.batch_rows };
        ProjectionOpener::try_new(self.projection.clone(), Arc::new(opener), self.schema.file_schema())
    }

    fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    fn with_batch_size(&self, rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_rows: rows, ..self.clone() })
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.schema.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "lines"
    }

    fn fmt_extra(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", header_lines={}", self.header_lines)
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn apply_expressions(
        &self,
        each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        datafusion::physical_plan::apply_expression_roots(self.projection.source.iter(), each)
    }
}

struct Opener {
    store: Arc<dyn ObjectStore>,
    compression: FileCompressionType,
    reader: Lines,
    batch_rows: usize,
}

impl FileOpener for Opener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        if file.range.is_some() {
            return Err(DataFusionError::Internal("a part of a file with header lines".into()));
        }
        let (store, compression, batch_rows) = (Arc::clone(&self.store), self.compression, self.batch_rows);
        let reader = self.reader.fresh();
        Ok(Box::pin(async move {
            let bytes = store.get_opts(&file.object_meta.location, GetOptions::default()).await?.into_stream();
            let bytes = compression.convert_stream(bytes.map_err(DataFusionError::from).boxed())?;
            let batches =
                futures::stream::try_unfold((reader, Some(bytes)), move |(reader, bytes)| next(reader, bytes, batch_rows));
            Ok(batches.boxed())
        }))
    }
}

type Input = BoxStream<'static, Result<Bytes>>;

/// The next batch, and what gives those behind it.
async fn next(
    mut reader: Lines,
    bytes: Option<Input>,
    batch_rows: usize,
) -> Result<Option<(RecordBatch, (Lines, Option<Input>))>> {
    let Some(mut bytes) = bytes else { return Ok(None) };
    while reader.rows < batch_rows {
        match bytes.try_next().await? {
            Some(chunk) => reader.read(&chunk)?,
            None => {
                reader.end_line()?;
                return Ok(Some((reader.batch()?, (reader, None))));
            }
        }
    }
    Ok(Some((reader.batch()?, (reader, Some(bytes)))))
}

/// Cuts bytes into lines.
struct Lines {
    /// The beginning of a line whose end was not seen yet.
    unfinished: Vec<u8>,
    /// Whether the last byte was a carriage return, to which a line feed behind it belongs.
    is_behind_return: bool,
    /// Header lines that are still to come.
    header_lines: usize,
    texts: StringBuilder,
    rows: usize,
    /// Of batches; without a column where nobody asks for lines.
    schema: SchemaRef,
}

impl Lines {
    fn fresh(&self) -> Self {
        Self {
            unfinished: Vec::new(),
            is_behind_return: false,
            header_lines: self.header_lines,
            texts: StringBuilder::new(),
            rows: 0,
            schema: Arc::clone(&self.schema),
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<()> {
        if std::mem::take(&mut self.is_behind_return) && bytes.first() == Some(&b'\n') {
            bytes = &bytes[1..];
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = bytes.split_at(end);
            self.unfinished.extend_from_slice(line);
            self.end_line()?;
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.is_behind_return = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.unfinished.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.unfinished);
        if self.header_lines > 0 {
            self.header_lines -= 1;
            return Ok(());
        }
        if line.is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(&line).map_err(|error| DataFusionError::Execution(format!("a line of text: {error}")))?;
        self.texts.append_value(text);
        self.rows += 1;
        Ok(())
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        let texts: ArrayRef = Arc::new(self.texts.finish());
        let columns = self.schema.fields().iter().map(|_| Arc::clone(&texts)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Schema};

    fn lines(text: &str, header_lines: usize, chunk: usize) -> Result<Vec<String>> {
        let schema = Arc::new(Schema::new(vec![Field::new("line", DataType::Utf8, true)]));
        let (unfinished, texts) = (Vec::new(), StringBuilder::new());
        let mut reader = Lines { unfinished, is_behind_return: false, header_lines, texts, rows: 0, schema };
        for chunk in text.as_bytes().chunks(chunk) {
            reader.read(chunk)?;
        }
        reader.end_line()?;
        let batch = reader.batch()?;
        Ok(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_string).collect())
    }

    #[test]
    fn header_lines_count_as_they_are_and_others_when_they_are_not_empty() -> Result<()> {
        for chunk in 1..20 {
            assert_eq!(lines("#a\n#b\n1\n2\n", 2, chunk)?, ["1", "2"]);
            assert_eq!(lines("t\r\n\r\nh\r\n1\r\n\r\n2", 3, chunk)?, ["1", "2"]);
            assert_eq!(lines("a\r\rb\r1\rü\r", 3, chunk)?, ["1", "ü"]);
            assert_eq!(lines("a\n", 2, chunk)?, [""; 0]);
            assert_eq!(lines("", 2, chunk)?, [""; 0]);
        }
        Ok(())
    }
}
