//! How many tasks a scan gets and which bytes each one reads: by projected bytes of the row groups that survive pruning.

use crate::verify::file_scan;
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as DataFusionResult, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, ParquetFileMetrics, RowGroupAccessPlanFilter};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::{collect_columns, conjunction};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, replace_columns_with_literals};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DesiredTaskCountHandler, DistributedLeafExec, ScaleUpLeafNodeEvent,
    ScaleUpLeafNodeEventResponse, ScaleUpLeafNodeHandler,
};
use engine::columns::{file_schema, parquet_source, sample};
use engine::settings::Settings;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Footers that the coordinator reads at once.
const FOOTER_READS: usize = 32;
/// Bytes that a split counts for at the least: opening a file or row group costs about a request.
const MIN_SPLIT_WEIGHT: u64 = 64 << 10;
/// Splits of a task for which it is better to have another one, however few bytes they are: each costs requests, and room in the
/// task's plan.
const SPLITS_PER_TASK: usize = 1_000;

/// A part of a source file that is read as one, and what reading it costs.
#[derive(Clone, Debug)]
struct Split {
    file: PartitionedFile,
    /// Offsets in the file.
    start: u64,
    end: u64,
    /// Bytes of projected columns, or 0 for a part that pruning leaves out.
    bytes: u64,
}

/// Sizes the scans of one query. Footers are read once, concurrently, and kept for its plan.
#[derive(Clone)]
pub(crate) struct ScanSizing {
    runtime: Arc<RuntimeEnv>,
    split_bytes: u64,
    max_footers: usize,
    footers: Arc<Mutex<HashMap<Path, Arc<ParquetMetaData>>>>,
    planned_bytes: Arc<Mutex<u64>>,
}

impl fmt::Debug for ScanSizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScanSizing")
    }
}

impl ScanSizing {
    /// Sizing for the scans of one query.
    pub(crate) fn new(settings: &Settings, runtime: Arc<RuntimeEnv>) -> Self {
        Self {
            runtime,
            split_bytes: settings.split_bytes,
            max_footers: settings.max_planned_footers,
            footers: Arc::default(),
            planned_bytes: Arc::default(),
        }
    }

    /// Projected bytes, after pruning, of all scans that were given to tasks so far.
    pub(crate) fn planned_bytes(&self) -> u64 {
        *self.planned_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Projected bytes, after pruning, of the file scans of a plan that is not distributed.
    ///
    /// # Errors
    /// When a footer cannot be read.
    pub(crate) async fn measure(&self, plan: &Arc<dyn ExecutionPlan>) -> DataFusionResult<u64> {
        let mut leaves = Vec::new();
        plan.apply(|node| {
            if node.children().is_empty() {
                leaves.push(Arc::clone(node));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let mut bytes = 0;
        for scan in leaves.iter().filter_map(|leaf| file_scan(leaf.as_ref())) {
            if is_parquet(scan) {
                self.read_footers(scan).await?;
            }
            bytes += self.splits(scan).iter().map(|split| split.bytes).sum::<u64>();
        }
        Ok(bytes)
    }

    /// Reads the footers of all files of `scan`, or of a sample from all over their order.
    async fn read_footers(&self, scan: &FileScanConfig) -> DataFusionResult<()> {
        let all = scan.file_groups.iter().flat_map(FileGroup::iter).map(|file| &file.object_meta);
        let files: Vec<ObjectMeta> = sample(all, self.max_footers).into_iter().cloned().collect();
        let store = self.runtime.object_store(&scan.object_store_url)?;
        let cache = self.runtime.cache_manager.get_file_metadata_cache();
        let known: HashSet<Path> = self.lock_footers().keys().cloned().collect();
        let read: Vec<(Path, Arc<ParquetMetaData>)> = futures::stream::iter(files)
            .filter(|meta| futures::future::ready(!known.contains(&meta.location)))
            .map(|meta| {
                let (store, cache) = (Arc::clone(&store), Arc::clone(&cache));
                async move {
                    let footer = DFParquetMetadata::new(store.as_ref(), &meta)
                        .with_file_metadata_cache(Some(cache))
                        .fetch_metadata()
                        .await?;
                    Ok::<_, DataFusionError>((meta.location.clone(), footer))
                }
            })
            .buffer_unordered(FOOTER_READS)
            .try_collect()
            .await?;
        self.lock_footers().extend(read);
        Ok(())
    }

    fn lock_footers(&self) -> std::sync::MutexGuard<'_, HashMap<Path, Arc<ParquetMetaData>>> {
        self.footers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The splits of a scan, in file order. Files whose footers were not read are taken to be like those that were.
    fn splits(&self, scan: &FileScanConfig) -> Vec<Split> {
        let mut columns = ScanColumns::new(scan);
        let footers = self.lock_footers();
        let files = scan.file_groups.iter().flat_map(FileGroup::iter);
        let mut seen = Sample::default();
        let known: Vec<(&PartitionedFile, Option<Vec<Split>>)> = files
            .map(|file| {
                let splits =
                    footers.get(&file.object_meta.location).map(|footer| file_splits(file, footer, columns.of(file, footer)));
                splits.iter().for_each(|splits| seen.note(file, splits));
                (file, splits)
            })
            .collect();
        known.into_iter().flat_map(|(file, splits)| splits.unwrap_or_else(|| seen.splits(file, self.split_bytes))).collect()
    }
}

/// What the files of a scan whose footers were read say of the others.
#[derive(Default, Debug)]
struct Sample {
    file_bytes: u64,
    read_bytes: u64,
    splits: u64,
}

impl Sample {
    fn note(&mut self, file: &PartitionedFile, splits: &[Split]) {
        let (start, end) = file_range(file);
        self.file_bytes += end.saturating_sub(start);
        self.read_bytes += splits.iter().map(|split| split.bytes).sum::<u64>();
        self.splits += splits.len() as u64;
    }

    /// Even parts of a file: not smaller than row groups are elsewhere, and no more than tasks could want.
    fn splits(&self, file: &PartitionedFile, split_bytes: u64) -> Vec<Split> {
        let (start, end) = file_range(file);
        let size = end.saturating_sub(start);
        let scaled =
            |part: u64| u64::try_from(u128::from(size) * u128::from(part) / u128::from(self.file_bytes.max(1))).unwrap_or(size);
        let (bytes, most) = if self.splits == 0 { (size, 1) } else { (scaled(self.read_bytes), scaled(self.splits)) };
        let parts = bytes.div_ceil(split_bytes).min(most).clamp(1, size.max(1));
        let at = |part: u64| start + u64::try_from(u128::from(size) * u128::from(part) / u128::from(parts)).unwrap_or(size);
        let part = |part: u64| Split { file: file.clone(), start: at(part), end: at(part + 1), bytes: (bytes / parts).max(1) };
        (0..parts).map(part).collect()
    }
}

fn file_range(file: &PartitionedFile) -> (u64, u64) {
    match &file.range {
        Some(range) => (u64::try_from(range.start).unwrap_or(0), u64::try_from(range.end).unwrap_or(0)),
        None => (0, file.object_meta.size),
    }
}

/// Names of the file's columns that the scan reads: its projection and its predicate.
fn scanned_columns(scan: &FileScanConfig) -> HashSet<String> {
    let schema = scan.file_source().table_schema().table_schema();
    let mut names: HashSet<String> = HashSet::new();
    match scan.file_source().projection() {
        Some(projection) => {
            names.extend(
                projection.column_indices().into_iter().filter_map(|index| schema.fields().get(index)).map(|f| f.name().clone()),
            );
        }
        None => names.extend(schema.fields().iter().map(|field| field.name().clone())),
    }
    if let Some(predicate) = scan.file_source().filter() {
        names.extend(collect_columns(&predicate).iter().map(|column| column.name().to_string()));
    }
    names
}

/// What a scan reads of a file, in the file's own names.
#[derive(Debug)]
struct FileColumns {
    schema: SchemaRef,
    names: HashSet<String>,
    predicate: Option<PruningPredicate>,
}

impl FileColumns {
    /// Conditions on columns that are not in `schema`, as those of partitions are, leave nothing out.
    fn new(schema: SchemaRef, names: HashSet<String>, predicate: Option<Arc<dyn PhysicalExpr>>) -> Self {
        let is_own = |part: &Arc<dyn PhysicalExpr>| {
            collect_columns(part)
                .iter()
                .all(|column| schema.fields().get(column.index()).is_some_and(|f| f.name() == column.name()))
        };
        let own = |predicate: Arc<dyn PhysicalExpr>| {
            let parts: Vec<_> = split_conjunction(&predicate).into_iter().filter(|part| is_own(part)).map(Arc::clone).collect();
            (!parts.is_empty()).then(|| conjunction(parts))
        };
        let prune = |predicate| PruningPredicateBuilder::new().with_file_schema(Arc::clone(&schema)).try_build(predicate).ok();
        Self { predicate: predicate.and_then(own).and_then(prune), schema, names }
    }
}

/// What a scan reads of its files: the same of each, unless the scan adapts its columns to each file.
struct ScanColumns<'a> {
    scan: &'a FileScanConfig,
    names: HashSet<String>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Schema and partition of the last file: nearly always the next one has the same.
    last: Option<(SchemaRef, &'a [ScalarValue])>,
    found: FileColumns,
}

impl<'a> ScanColumns<'a> {
    fn new(scan: &'a FileScanConfig) -> Self {
        let (names, predicate) = (scanned_columns(scan), scan.file_source().filter());
        let found = FileColumns::new(Arc::clone(scan.file_schema()), names.clone(), predicate.clone());
        Self { scan, names, predicate, last: None, found }
    }

    fn of(&mut self, file: &'a PartitionedFile, footer: &ParquetMetaData) -> &FileColumns {
        let Some(adapters) = &self.scan.expr_adapter_factory else { return &self.found };
        let footer = footer.file_metadata();
        let Ok(schema) = file_schema(footer) else { return &self.found };
        let is_known = |(last, values): &(SchemaRef, &[ScalarValue])| {
            last.fields() == schema.fields() && *values == file.partition_values.as_slice()
        };
        if !self.last.as_ref().is_some_and(is_known) {
            let schema = Arc::new(schema);
            // What is wrong with a file is told by whoever opens it.
            if let Ok(adapter) = adapters.create(Arc::clone(self.scan.file_schema()), Arc::clone(&schema)) {
                self.found = self.adapted(adapter.as_ref(), Arc::clone(&schema), &file.partition_values);
            }
            self.last = Some((schema, &file.partition_values));
        }
        &self.found
    }

    fn adapted(&self, adapter: &dyn PhysicalExprAdapter, schema: SchemaRef, values: &[ScalarValue]) -> FileColumns {
        let keys = self.scan.table_partition_cols().iter().map(|key| key.name().as_str());
        let values: HashMap<&str, &ScalarValue> = keys.zip(values).collect();
        let declared = self.scan.file_schema();
        let own = |name: &String| {
            let column = Column::new_with_schema(name, declared).ok()?;
            adapter.rewrite(Arc::new(column)).ok()
        };
        let read = self.names.iter().filter_map(own).flat_map(|read| collect_columns(&read));
        let names = read.map(|column| column.name().to_string()).collect();
        let predicate = self.predicate.as_ref().and_then(|predicate| {
            let predicate = replace_columns_with_literals(Arc::clone(predicate), &values).ok()?;
            adapter.rewrite(predicate).ok()
        });
        FileColumns::new(schema, names, predicate)
    }
}

/// Offset that decides which range a row group belongs to, as the Parquet reader decides it.
fn row_group_offset(group: &RowGroupMetaData) -> u64 {
    let first = group.columns().first();
    let offset = first.map_or(0, |column| column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset()));
    u64::try_from(offset).unwrap_or(0)
}

/// One split per row group; together they cover the file's range without gaps, so that no row group can be lost.
fn file_splits(file: &PartitionedFile, footer: &ParquetMetaData, columns: &FileColumns) -> Vec<Split> {
    let (start, end) = file_range(file);
    let groups = footer.row_groups();
    let mut access = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(groups.len()));
    if let Some(predicate) = &columns.predicate {
        let metrics = ParquetFileMetrics::new(0, file.object_meta.location.as_ref(), &ExecutionPlanMetricsSet::new());
        access.prune_by_statistics(&columns.schema, footer.file_metadata().schema_descr(), groups, predicate, &metrics);
    }
    let kept: HashSet<usize> = access.row_group_indexes().collect();
    let mut starts: Vec<(u64, usize)> =
        groups.iter().enumerate().map(|(index, group)| (row_group_offset(group), index)).collect();
    starts.sort_unstable();
    starts.retain(|(offset, _)| (start..end).contains(offset));
    if starts.is_empty() {
        return vec![Split { file: file.clone(), start, end, bytes: 0 }];
    }
    let bounds: Vec<u64> = starts.iter().skip(1).map(|(offset, _)| *offset).chain([end]).collect();
    let mut from = start;
    let mut splits = Vec::with_capacity(starts.len());
    for ((_, index), to) in starts.into_iter().zip(bounds) {
        let bytes = if kept.contains(&index) { projected_bytes(&groups[index], &columns.names).max(1) } else { 0 };
        splits.push(Split { file: file.clone(), start: from, end: to, bytes });
        from = to;
    }
    splits
}

fn projected_bytes(group: &RowGroupMetaData, columns: &HashSet<String>) -> u64 {
    let read = group.columns().iter().filter(|column| {
        let root = column.column_path().parts().first();
        root.is_some_and(|name| columns.contains(name))
    });
    read.map(|column| u64::try_from(column.compressed_size()).unwrap_or(0)).sum()
}

/// Tasks for `bytes` in `splits` parts, of which each task reads at least one.
fn task_count(bytes: u64, splits: usize, split_bytes: u64) -> usize {
    let by_bytes = usize::try_from(bytes.div_ceil(split_bytes)).unwrap_or(usize::MAX);
    by_bytes.max(splits / SPLITS_PER_TASK).clamp(1, splits.max(1))
}

/// The file scan below `plan`, if its splits may go to any task: no declared order and no declared partitioning.
fn free_file_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let scan = file_scan(plan.as_ref())?;
    (scan.output_ordering.is_empty() && scan.output_partitioning.is_none()).then_some(scan)
}

fn is_parquet(scan: &FileScanConfig) -> bool {
    parquet_source(scan).is_some()
}

#[async_trait]
impl DesiredTaskCountHandler for ScanSizing {
    async fn handle(&self, event: DesiredTaskCountEvent<'_>) -> Option<DataFusionResult<DesiredTaskCountEventResponse>> {
        if event.plan.children().is_empty() && event.plan.properties().partitioning.partition_count() == 1 {
            // What stands above relies on it: a limit that moved into the scan, a single-mode aggregate, a sort.
            return Some(Ok(DesiredTaskCountEventResponse::maximum(1)));
        }
        let scan = free_file_scan(event.plan)?;
        if is_parquet(scan)
            && let Err(error) = self.read_footers(scan).await
        {
            return Some(Err(error));
        }
        let splits = self.splits(scan);
        let bytes = splits.iter().map(|split| split.bytes).sum();
        let readable = splits.iter().filter(|split| split.bytes > 0).count();
        Some(Ok(DesiredTaskCountEventResponse::desired(task_count(bytes, readable, self.split_bytes))))
    }
}

impl ScaleUpLeafNodeHandler for ScanSizing {
    fn handle(&self, event: ScaleUpLeafNodeEvent) -> Option<DataFusionResult<ScaleUpLeafNodeEventResponse>> {
        let scan = free_file_scan(event.plan)?;
        let splits = self.splits(scan);
        let planned: u64 = splits.iter().map(|split| split.bytes).sum();
        *self.planned_bytes.lock().unwrap_or_else(PoisonError::into_inner) += planned;
        if event.task_count == 1 {
            // Also a leaf whose one partition others rely on: its groups must stay as they are.
            let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), [Arc::clone(event.plan)]);
            return Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))));
        }
        let partitions = event.plan.properties().partitioning.partition_count().max(1);
        let groups = assign(splits, partitions * event.task_count);
        let mut tasks: Vec<Vec<FileGroup>> = (0..event.task_count).map(|_| Vec::with_capacity(partitions)).collect();
        for (position, group) in groups.into_iter().enumerate() {
            tasks[position % event.task_count].push(group);
        }
        let variants = tasks.into_iter().map(|groups| {
            let mut own = scan.clone();
            own.file_groups = groups;
            DataSourceExec::from_data_source(own) as Arc<dyn ExecutionPlan>
        });
        let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), variants);
        Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
    }
}

/// Gives each split to the group with the least bytes so far, largest first; adjacent parts of a file become one range.
///
/// Deterministic. Returns exactly `count` groups, some empty where there are fewer splits.
fn assign(mut splits: Vec<Split>, count: usize) -> Vec<FileGroup> {
    let weight = |split: &Split| if split.bytes == 0 { 0 } else { split.bytes.max(MIN_SPLIT_WEIGHT) };
    splits.sort_by_key(|split| std::cmp::Reverse(weight(split)));
    let mut load: std::collections::BinaryHeap<std::cmp::Reverse<(u64, usize)>> =
        (0..count).map(|group| std::cmp::Reverse((0, group))).collect();
    let mut groups: Vec<Vec<Split>> = vec![Vec::new(); count];
    for split in splits {
        let Some(std::cmp::Reverse((bytes, group))) = load.pop() else { break };
        load.push(std::cmp::Reverse((bytes + weight(&split), group)));
        groups[group].push(split);
    }
    groups.into_iter().map(|group| FileGroup::new(merge_adjacent(group))).collect()
}

fn merge_adjacent(mut splits: Vec<Split>) -> Vec<PartitionedFile> {
    splits.sort_by(|a, b| (&a.file.object_meta.location, a.start).cmp(&(&b.file.object_meta.location, b.start)));
    let mut merged: Vec<Split> = Vec::new();
    for split in splits {
        match merged.last_mut() {
            Some(last) if last.file.object_meta.location == split.file.object_meta.location && last.end == split.start => {
                last.end = split.end
            }
            _ => merged.push(split),
        }
    }
    merged.into_iter().map(ranged_file).collect()
}

/// The file with its range and without its statistics: pruning is done, and they would double the request's size.
fn ranged_file(split: Split) -> PartitionedFile {
    let mut file = split.file;
    file.statistics = None;
    if file.range.is_some() || split.start > 0 || split.end < file.object_meta.size {
        let (start, end) = (i64::try_from(split.start).unwrap_or(0), i64::try_from(split.end).unwrap_or(i64::MAX));
        file = file.with_range(start, end);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(name: &str, start: u64, end: u64, bytes: u64) -> Split {
        Split { file: PartitionedFile::new(name, 100), start, end, bytes }
    }

    #[test]
    fn tasks_follow_bytes_between_one_and_the_number_of_splits() {
        assert_eq!(task_count(0, 0, 10), 1);
        assert_eq!((task_count(10, 9, 10), task_count(11, 9, 10)), (1, 2));
        assert_eq!(task_count(1_000, 3, 10), 3);
        assert_eq!((task_count(10, 999, 10), task_count(10, 100_000, 10)), (1, 100));
    }

    #[test]
    fn files_that_were_not_read_are_like_those_that_were() {
        let mut sample = Sample::default();
        let file = |size| PartitionedFile::new("f", size);
        let ranges = |splits: &[Split]| splits.iter().map(|split| (split.start, split.end, split.bytes)).collect::<Vec<_>>();
        assert_eq!(ranges(&sample.splits(&file(100), 10)), [(0, 100, 100)]);
        // Two row groups in 100 bytes, of which 40 are read.
        sample.note(&file(100), &[split("f", 0, 50, 20), split("f", 50, 100, 20)]);
        assert_eq!(ranges(&sample.splits(&file(10), 10)), [(0, 10, 4)]);
        assert_eq!(ranges(&sample.splits(&file(101), 1)), [(0, 50, 20), (50, 101, 20)]);
        assert_eq!(ranges(&sample.splits(&file(200), 40)), [(0, 100, 40), (100, 200, 40)]);
        assert_eq!(ranges(&sample.splits(&file(0), 1)), [(0, 0, 1)]);
    }

    #[test]
    fn splits_are_spread_evenly_and_cover_the_file_once() {
        let splits: Vec<Split> = (0..10).map(|i| split("f", i * 10, i * 10 + 10, 1 << 20)).collect();
        let groups = assign(splits, 4);
        let mut ranges: Vec<(u64, u64)> = groups.iter().flat_map(FileGroup::iter).map(file_range).collect();
        ranges.sort_unstable();
        assert_eq!(ranges.first().map(|range| range.0), Some(0));
        assert_eq!(ranges.last().map(|range| range.1), Some(100));
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ranges:?}");
        assert_eq!(groups.len(), 4);
        assert!(groups.iter().all(|group| group.iter().map(file_range).map(|(a, b)| b - a).sum::<u64>() <= 30));
    }

    #[test]
    fn adjacent_parts_become_one_range_and_a_whole_file_has_none() {
        let merged = merge_adjacent(vec![split("f", 50, 100, 1), split("f", 0, 50, 1), split("g", 10, 20, 1)]);
        assert_eq!(merged.len(), 2);
        assert!(merged[0].range.is_none());
        assert_eq!(file_range(&merged[1]), (10, 20));
    }
}
