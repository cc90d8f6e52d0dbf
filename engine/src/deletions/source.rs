//! The scan of Parquet files of which some have deletion vectors: a vector is read before its file is opened.

use super::DeletionVector;
use crate::error::{Error, ErrorKind, Result};
use datafusion::common::Result as DataFusionResult;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::{MorselPlan, MorselPlanner, Morselizer};
use datafusion_proto::protobuf::PhysicalPlanNode;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::RowSelector;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A [`ParquetSource`] whose files have the column of [`super::field`]. What is sent to workers is the source inside.
#[derive(Clone)]
pub(crate) struct WithoutDeletedRows {
    inner: Arc<dyn FileSource>,
    footers: Arc<FileMetadataCache>,
    table: Arc<str>,
}

impl WithoutDeletedRows {
    /// `footers` is where the readers of `inner` find them too; `table` is for messages.
    pub(crate) fn new(inner: ParquetSource, footers: Arc<FileMetadataCache>, table: &str) -> Self {
        Self { inner: Arc::new(inner), footers, table: table.into() }
    }

    pub(crate) fn parquet(&self) -> Option<&ParquetSource> {
        self.inner.downcast_ref()
    }

    fn around(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self { inner, ..self.clone() })
    }
}

impl FileSource for WithoutDeletedRows {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        scan: &FileScanConfig,
        partition: usize,
    ) -> DataFusionResult<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(store, scan, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        scan: &FileScanConfig,
        partition: usize,
    ) -> DataFusionResult<Box<dyn Morselizer>> {
        let inner = self.inner.create_morselizer(Arc::clone(&store), scan, partition)?;
        let (footers, table) = (Arc::clone(&self.footers), Arc::clone(&self.table));
        Ok(Box::new(Files { inner: Arc::from(inner), vectors: Arc::new(Vectors { store, footers, table }) }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, rows: usize) -> Arc<dyn FileSource> {
        self.around(self.inner.with_batch_size(rows))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_extra(kind, f)?;
        match kind {
            DisplayFormatType::TreeRender => Ok(()),
            _ => f.write_str(", deletion_vectors"),
        }
    }

    fn supports_repartitioning(&self) -> bool {
        self.inner.supports_repartitioning()
    }

    fn repartitioned(
        &self,
        partitions: usize,
        min_bytes: usize,
        ordering: Option<LexOrdering>,
        scan: &FileScanConfig,
    ) -> DataFusionResult<Option<FileScanConfig>> {
        // Of `scan`, whose source is this one, it changes the files.
        self.inner.repartitioned(partitions, min_bytes, ordering, scan)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        options: &ConfigOptions,
    ) -> DataFusionResult<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let pushed = self.inner.try_pushdown_filters(filters, options)?;
        let updated_node = pushed.updated_node.map(|inner| self.around(inner));
        Ok(FilterPushdownPropagation { filters: pushed.filters, updated_node })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> DataFusionResult<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(self.inner.try_pushdown_sort(order, properties)?.map(|inner| self.around(inner)))
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> DataFusionResult<Option<Arc<dyn FileSource>>> {
        Ok(self.inner.try_pushdown_projection(projection)?.map(|inner| self.around(inner)))
    }

    fn apply_expressions(
        &self,
        each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        self.inner.apply_expressions(each)
    }

    fn try_to_proto(
        &self,
        scan: &FileScanConfig,
        context: &ExecutionPlanEncodeCtx<'_>,
    ) -> DataFusionResult<Option<PhysicalPlanNode>> {
        self.inner.try_to_proto(scan, context)
    }
}

/// What reads deletion vectors.
#[derive(Debug)]
struct Vectors {
    store: Arc<dyn ObjectStore>,
    footers: Arc<FileMetadataCache>,
    table: Arc<str>,
}

impl Vectors {
    /// What is to be read of `file` without the rows that `vector` deletes.
    async fn access(&self, file: &PartitionedFile, vector: &DeletionVector) -> Result<ParquetAccessPlan> {
        let deleted = vector.deleted(self.store.as_ref()).await.map_err(|error| error.context("its deletion vector"))?;
        let footer = DFParquetMetadata::new(self.store.as_ref(), &file.object_meta)
            .with_file_metadata_cache(Some(Arc::clone(&self.footers)))
            .fetch_metadata()
            .await?;
        let groups = footer.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
        access(groups, deleted)
    }
}

/// What is to be read of a file with so many rows in each row group.
fn access(groups: impl Iterator<Item = u64>, mut deleted: Vec<Range<u64>>) -> Result<ParquetAccessPlan> {
    let rows = |count: u64| usize::try_from(count).map_err(|_| Error::internal("more rows than there can be"));
    let mut rest = deleted.iter_mut().peekable();
    let mut plan = Vec::new();
    let mut start = 0_u64;
    for count in groups {
        let end = start.saturating_add(count);
        let mut steps = Vec::new();
        let mut at = start;
        while let Some(range) = rest.next_if(|range| range.start < end && range.end <= end) {
            if at < range.start {
                steps.push(RowSelector::select(rows(range.start - at)?));
            }
            steps.push(RowSelector::skip(rows(range.end - range.start)?));
            at = range.end;
        }
        // One that goes on in the next group.
        if let Some(range) = rest.peek_mut().filter(|range| range.start < end) {
            if at < range.start {
                steps.push(RowSelector::select(rows(range.start - at)?));
            }
            steps.push(RowSelector::skip(rows(end - range.start)?));
            range.start = end;
            at = end;
        }
        if at < end {
            steps.push(RowSelector::select(rows(end - at)?));
        }
        plan.push(match steps.as_slice() {
            steps if steps.iter().all(|step| !step.skip) => RowGroupAccess::Scan,
            steps if steps.iter().all(|step| step.skip) => RowGroupAccess::Skip,
            _ => RowGroupAccess::Selection(steps.into()),
        });
        start = end;
    }
    match rest.peek() {
        Some(range) => {
            let text = format!("its deletion vector has row {}, and it has {start} rows", range.end - 1);
            Err(Error::new(ErrorKind::Corrupt, text))
        }
        None => Ok(ParquetAccessPlan::new(plan)),
    }
}

#[derive(Debug)]
struct Files {
    inner: Arc<dyn Morselizer>,
    vectors: Arc<Vectors>,
}

impl Morselizer for Files {
    fn plan_file(&self, file: PartitionedFile) -> DataFusionResult<Box<dyn MorselPlanner>> {
        match DeletionVector::of(&file)? {
            None => self.inner.plan_file(file),
            Some(vector) => {
                let (inner, vectors) = (Arc::clone(&self.inner), Arc::clone(&self.vectors));
                Ok(Box::new(FileWithVector { inner, vectors, file, vector }))
            }
        }
    }
}

/// A file whose deletion vector was not read yet.
#[derive(Debug)]
struct FileWithVector {
    inner: Arc<dyn Morselizer>,
    vectors: Arc<Vectors>,
    file: PartitionedFile,
    vector: DeletionVector,
}

impl MorselPlanner for FileWithVector {
    fn plan(self: Box<Self>) -> DataFusionResult<Option<MorselPlan>> {
        let Self { inner, vectors, file, vector } = *self;
        let opened = async move {
            let access = vectors.access(&file, &vector).await;
            let access = access
                .map_err(|error| error.context(format!("table {}, file '{}'", vectors.table, file.object_meta.location)))?;
            inner.plan_file(file.with_extension(access))
        };
        Ok(Some(MorselPlan::new().with_pending_planner(opened)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows that are read, by their numbers in the file.
    fn read(groups: &[u64], deleted: &[Range<u64>]) -> Result<Vec<u64>> {
        let plan = access(groups.iter().copied(), deleted.to_vec())?;
        let mut rows = Vec::new();
        let mut start = 0;
        for (count, access) in groups.iter().zip(plan.inner()) {
            match access {
                RowGroupAccess::Skip => {}
                RowGroupAccess::Scan => rows.extend(start..start + count),
                RowGroupAccess::Selection(steps) => {
                    assert!(steps.iter().map(|step| step.row_count as u64).sum::<u64>() == *count);
                    let mut at = start;
                    for step in steps.iter() {
                        let next = at + step.row_count as u64;
                        rows.extend((at..next).filter(|_| !step.skip));
                        at = next;
                    }
                }
            }
            start += count;
        }
        Ok(rows)
    }

    #[test]
    fn rows_are_counted_over_all_row_groups() -> Result<()> {
        assert_eq!(read(&[3, 3], &[])?, [0, 1, 2, 3, 4, 5]);
        assert_eq!(read(&[3, 3], &[0..1, 5..6])?, [1, 2, 3, 4]);
        assert_eq!(read(&[3, 3], &[1..5])?, [0, 5]);
        assert_eq!(read(&[3, 0, 3, 2], &[2..7])?, [0, 1, 7]);
        assert_eq!(read(&[3, 3], &[0..6])?, [0; 0]);
        assert_eq!(read(&[3, 3], &[0..3])?, [3, 4, 5]);
        assert_eq!(read(&[3, 3], &[3..4, 5..6])?, [0, 1, 2, 4]);
        assert_eq!(read(&[], &[])?, [0; 0]);
        for beyond in [5..7, 6..7, 100..101, u64::MAX - 1..u64::MAX] {
            let error = read(&[3, 3], &[0..1, beyond]).expect_err("a row that is not there");
            assert!(error.kind == ErrorKind::Corrupt && error.message.contains("it has 6 rows"), "{error}");
        }
        assert!(read(&[], &[0..1]).is_err());
        Ok(())
    }

    #[test]
    fn what_is_read_is_what_is_not_deleted() -> Result<()> {
        // All sets of rows of a file with eight.
        for groups in [&[8][..], &[1, 7], &[4, 4], &[3, 2, 0, 3], &[1; 8]] {
            for set in 0..256_u64 {
                let mut deleted: Vec<Range<u64>> = Vec::new();
                for row in (0..8).filter(|row| set >> row & 1 == 1) {
                    match deleted.last_mut() {
                        Some(last) if last.end == row => last.end += 1,
                        _ => deleted.push(row..row + 1),
                    }
                }
                let expected: Vec<u64> = (0..8).filter(|row| set >> row & 1 == 0).collect();
                assert_eq!(read(groups, &deleted)?, expected, "{groups:?} {set:b}");
            }
        }
        Ok(())
    }
}
