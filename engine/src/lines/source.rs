//! The scan of files line by line, around the scan of CSV that plans and workers know.

use super::SkippedLines;
use super::reader::Lines;
use crate::error::Error;
use crate::unpacked::unpacked;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{CsvSource, FileOpenFuture, FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion_datasource::boundary_stream::AlignedBoundaryStream;
use datafusion_datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, ObjectStore};
use std::fmt;
use std::sync::Arc;

/// A [`CsvSource`] whose files are read line by line. What is sent to workers is the source inside.
#[derive(Clone)]
pub(crate) struct LineSource {
    inner: Arc<dyn FileSource>,
    skipped: SkippedLines,
    batch_rows: usize,
}

impl LineSource {
    /// None for a source of real CSV, or of anything else.
    pub(crate) fn of(source: &Arc<dyn FileSource>) -> Option<Self> {
        let skipped = SkippedLines::of(source.downcast_ref::<CsvSource>()?)?;
        Some(Self { inner: Arc::clone(source), skipped, batch_rows: 0 })
    }
}

impl FileSource for LineSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        scan: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let files = self.inner.table_schema().file_schema();
        let projection = self.inner.projection().ok_or_else(|| Error::internal("a scan of lines without a projection"))?;
        let projection = SplitProjection::new(files, projection);
        let opener = LineOpener {
            store,
            compression: scan.file_compression_type,
            schema: Arc::new(files.project(&projection.file_indices)?),
            skipped: self.skipped,
            batch_rows: self.batch_rows,
        };
        ProjectionOpener::try_new(projection, Arc::new(opener), files)
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_rows: rows, ..self.clone() })
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        "lines"
    }

    fn fmt_extra(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.skipped.header, self.skipped.footer) {
            (0, 0) => Ok(()),
            (header, footer) => write!(f, ", skipped_lines={header}+{footer}"),
        }
    }

    fn supports_repartitioning(&self) -> bool {
        self.inner.supports_repartitioning()
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let pushed = self.inner.try_pushdown_projection(projection)?;
        Ok(pushed.map(|inner| Arc::new(Self { inner, ..self.clone() }) as Arc<dyn FileSource>))
    }

    fn apply_expressions(
        &self,
        each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(each)
    }

    fn try_to_proto(&self, scan: &FileScanConfig, context: &ExecutionPlanEncodeCtx<'_>) -> Result<Option<PhysicalPlanNode>> {
        self.inner.try_to_proto(scan, context)
    }
}

struct LineOpener {
    store: Arc<dyn ObjectStore>,
    compression: FileCompressionType,
    schema: SchemaRef,
    skipped: SkippedLines,
    batch_rows: usize,
}

impl FileOpener for LineOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let (store, compression) = (Arc::clone(&self.store), self.compression);
        let is_first = file.range.as_ref().is_none_or(|range| range.start == 0);
        let path = file.object_meta.location.clone();
        let lines = Lines::new(path, Arc::clone(&self.schema), self.batch_rows, self.skipped, is_first);
        Ok(Box::pin(async move {
            let input = bytes_of(store, compression, &file).await?;
            let batches = futures::stream::try_unfold((input, lines), |(mut input, mut lines)| async move {
                loop {
                    if let Some(batch) = lines.batch()? {
                        return Ok(Some((batch, (input, lines))));
                    }
                    if lines.is_done() {
                        return Ok(None);
                    }
                    match input.try_next().await? {
                        Some(bytes) => lines.push(&bytes)?,
                        None => lines.finish(),
                    }
                }
            });
            Ok(batches.boxed())
        }))
    }
}

/// The bytes of `file`; of a range those of the lines that begin in it.
async fn bytes_of(
    store: Arc<dyn ObjectStore>,
    compression: FileCompressionType,
    file: &PartitionedFile,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let meta = &file.object_meta;
    let Some(range) = &file.range else {
        let found = store.get_opts(&meta.location, GetOptions::default()).await?;
        return unpacked(found.into_stream().map_err(DataFusionError::from).boxed(), compression);
    };
    let place = |at: i64| u64::try_from(at).map_err(|_| Error::internal("a range before its file"));
    let (start, end) = (place(range.start)?, place(range.end)?);
    let aligned = AlignedBoundaryStream::new(store, meta.location.clone(), start, end, meta.size, b'\n').await?;
    Ok(aligned.map_err(DataFusionError::from).boxed())
}
