//! Deletion vectors as they lie in stores, and scans of files that have some, as plans are and as they arrive at a worker.

use super::bitmap::tests::{Form, written};
use super::*;
use crate::columns::{TableColumns, adapted};
use crate::session::{session_config, session_options, session_state};
use crate::settings::Settings;
use crate::task::{decode_plan, encode_plan};
use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::config::TableParquetOptions;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::SessionContext;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeSet;
use std::sync::Arc;

type TestResult<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The rows 3, 4, 7, 11, 18 and 29.
const INLINE: &str = "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L";
/// The same as the protocol has them, in a format that no file has.
const NATIVE: &str = "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L";

/// The file of one vector, which begins at 1.
fn framed(data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(data.len()).unwrap_or_default();
    [&[FILE_VERSION][..], &size.to_be_bytes(), data, &crc32fast::hash(data).to_be_bytes()].concat()
}

#[tokio::test]
async fn the_examples_of_the_protocol_are_read() -> TestResult {
    let store = InMemory::new();
    let rows = [3..5, 7..8, 11..12, 18..19, 29..30];
    assert_eq!(DeletionVector::inline(INLINE, 44, 6)?.deleted(&store).await?, rows);
    let native = DeletionVector::inline(NATIVE, 40, 6)?.deleted(&store).await;
    assert!(native.is_err_and(|error| error.message.contains("format is not known")));
    assert_eq!(file_name("ab^-aqEH.-t@S}K{vb[*k^")?, "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin");
    assert_eq!(file_name("^-aqEH.-t@S}K{vb[*k^")?, "deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin");
    for wrong in
        ["", "ab", "../^-aqEH.-t@S}K{vb[*k^", "a/^-aqEH.-t@S}K{vb[*k^", "%2e^-aqEH.-t@S}K{vb[*k^", "é-aqEH.-t@S}K{vb[*k^\""]
    {
        assert!(file_name(wrong).is_err_and(|error| error.kind == ErrorKind::Corrupt), "{wrong}");
    }
    // Whole groups of four bytes, of which the last may be filled up.
    assert!(DeletionVector::inline(INLINE, 43, 6)?.deleted(&store).await.is_err_and(|error| error.message.contains("early")));
    for bytes in [0, 40, 45, 1_000] {
        let error = DeletionVector::inline(INLINE, bytes, 6)?.deleted(&store).await.expect_err("a wrong size");
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("the log says"), "{error}");
    }
    let error = DeletionVector::inline(INLINE, 44, 7)?.deleted(&store).await.expect_err("a wrong number");
    assert!(error.message.contains("it deletes 6 rows, and the log says 7"), "{error}");
    Ok(())
}

#[tokio::test]
async fn what_is_around_a_vector_in_a_file_is_checked() -> TestResult {
    let store = InMemory::new();
    let (one, two) = (written(&BTreeSet::from([1, 5]), Form::Plain), written(&(0..100).collect(), Form::Runs));
    let file = [framed(&one), framed(&two).split_off(1)].concat();
    let path = Path::from("t/deletion_vector_1.bin");
    let second = 1 + 8 + one.len() as u64;
    let read = async |bytes: &[u8], offset: u64, size: usize, rows: u64| {
        store.put(&path, bytes.to_vec().into()).await?;
        DeletionVector::in_file(&path, offset, size as u64, rows)?.deleted(&store).await
    };
    assert_eq!(read(&file, 1, one.len(), 2).await?, [1..2, 5..6]);
    assert_eq!(read(&file, second, two.len(), 100).await?, [0..100]);
    let error = async |bytes: &[u8], offset: u64, size: usize| {
        let error = read(bytes, offset, size, 2).await.map(|found| format!("{found:?}")).expect_err("what is wrong");
        assert!(error.kind != ErrorKind::Internal && error.message.contains("deletion_vector_1.bin"), "{error}");
        error.message
    };
    assert!(error(&file, 1, one.len() + 1).await.contains("the log says"));
    assert!(error(&file, 2, one.len()).await.contains("the log says"));
    assert!(error(&file, 0, one.len()).await.contains("no vector can be there"));
    assert!(error(&file, u64::MAX, one.len()).await.contains("no vector can be there"));
    error(&file, 1_000, one.len()).await;
    error(&file[..file.len() - 1], second, two.len()).await;
    for at in 1..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        let (first, other) = (read(&changed, 1, one.len(), 2).await, read(&changed, second, two.len(), 100).await);
        assert!(first.is_ok() != other.is_ok(), "{at}");
    }
    let other = [&[2], &file[1..]].concat();
    assert!(error(&other, 1, one.len()).await.contains("version of the file"));
    let gone = DeletionVector::in_file(&Path::from("gone.bin"), 1, 10, 1)?.deleted(&store).await;
    assert!(gone.is_err_and(|error| error.kind == ErrorKind::NotFound));
    Ok(())
}

#[tokio::test]
async fn a_vector_has_a_greatest_size() -> TestResult {
    let path = Path::from("x");
    assert!(DeletionVector::in_file(&path, 1, MAX_VECTOR_BYTES, 1).is_ok());
    let error = DeletionVector::in_file(&path, 1, MAX_VECTOR_BYTES + 1, 1).expect_err("a large one");
    assert!(error.kind == ErrorKind::LimitExceeded && error.message.contains("64 MiB"), "{error}");
    assert!(DeletionVector::inline(INLINE, MAX_VECTOR_BYTES + 1, 1).is_err());
    // What arrives is checked again.
    let large = DeletionVector { bytes: MAX_VECTOR_BYTES + 1, ..DeletionVector::inline(INLINE, 44, 6)? };
    assert!(large.deleted(&InMemory::new()).await.is_err_and(|error| error.kind == ErrorKind::LimitExceeded));
    Ok(())
}

/// Rows of each file of [`World`], in row groups of [`GROUP_ROWS`] and pages of [`PAGE_ROWS`].
const FILE_ROWS: u64 = 120;
const GROUP_ROWS: usize = 30;
const PAGE_ROWS: usize = 10;

struct World {
    context: SessionContext,
    store: Arc<InMemory>,
    files: Vec<(PartitionedFile, BTreeSet<u64>)>,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("s", DataType::Utf8View, true)]))
}

impl World {
    async fn new(deleted: Vec<Option<BTreeSet<u64>>>) -> TestResult<Self> {
        let config = session_config(&session_options(&Settings::default(), 2))?;
        let context = SessionContext::new_with_state(session_state(config, Arc::new(RuntimeEnv::default())).build());
        let store = Arc::new(InMemory::new());
        context.register_object_store(ObjectStoreUrl::parse("s3://bucket")?.as_ref(), Arc::clone(&store) as Arc<dyn ObjectStore>);
        let mut files = Vec::new();
        for (number, rows) in deleted.into_iter().enumerate() {
            let first = number as i64 * FILE_ROWS as i64;
            let ids: Vec<i64> = (first..first + FILE_ROWS as i64).collect();
            let texts: Vec<String> = ids.iter().map(|id| format!("{id:05}")).collect();
            let columns: [(&str, ArrayRef); 2] =
                [("id", Arc::new(Int64Array::from(ids))), ("S", Arc::new(StringArray::from(texts)))];
            let batch = RecordBatch::try_from_iter(columns)?;
            let properties = WriterProperties::builder()
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .set_data_page_row_count_limit(PAGE_ROWS)
                .set_write_batch_size(PAGE_ROWS)
                .build();
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
            writer.write(&batch)?;
            let path = Path::from(format!("{number}.parquet"));
            store.put(&path, writer.into_inner()?.into()).await?;
            let mut file = PartitionedFile::from(store.head(&path).await?);
            let vector = match &rows {
                Some(rows) => {
                    let data = written(rows, if number % 2 == 0 { Form::Plain } else { Form::Runs });
                    let path = Path::from(format!("{number}.bin"));
                    store.put(&path, framed(&data).into()).await?;
                    Some(DeletionVector::in_file(&path, 1, data.len() as u64, rows.len() as u64)?)
                }
                None => None,
            };
            file.partition_values = vec![value(vector.as_ref())?];
            files.push((file, rows.unwrap_or_default()));
        }
        Ok(Self { context, store, files })
    }

    /// The scan of `groups` of files.
    async fn scan(
        &self,
        groups: Vec<Vec<PartitionedFile>>,
        filter: Option<Expr>,
        limit: Option<usize>,
        pushed: bool,
    ) -> TestResult<Arc<dyn ExecutionPlan>> {
        let state = self.context.state();
        let mut options = TableParquetOptions::default();
        options.global.pushdown_filters = pushed;
        TableColumns { table: "d.t".into(), has_deletions: true, ..TableColumns::default() }.mark(&mut options)?;
        let format = ParquetFormat::default().with_options(options);
        let table = TableSchema::builder(schema()).with_table_partition_cols(vec![Arc::new(field())]).build();
        let source = format.file_source(table);
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse("s3://bucket")?, source)
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_projection_indices(Some(vec![0, 1]))?
            .with_limit(limit)
            .build();
        let plan = adapted(format.create_physical_plan(&state, scan).await?, state.runtime_env())?;
        let Some(filter) = filter else { return Ok(plan) };
        let predicate = state.create_physical_expr(filter, &DFSchema::try_from(schema())?)?;
        let exec = plan.downcast_ref::<DataSourceExec>().ok_or("no scan")?;
        let config: &dyn std::any::Any = exec.data_source().as_ref();
        let config = config.downcast_ref::<FileScanConfig>().ok_or("no scan of files")?;
        let pushed = config.file_source().try_pushdown_filters(vec![predicate], state.config_options())?;
        let source: Arc<dyn FileSource> = pushed.updated_node.ok_or("no filter in the scan")?;
        Ok(DataSourceExec::from_data_source(FileScanConfigBuilder::from(config.clone()).with_source(source).build()))
    }

    /// The ids that a plan gives, which are the same when it went over the wire, in whichever order.
    async fn ids(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<i64>> {
        let task = self.context.task_ctx();
        let decoded = decode_plan(&encode_plan(Arc::clone(&plan), &task)?, &task)?;
        let shown = |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(true).to_string();
        assert_eq!(shown(&plan), shown(&decoded));
        assert!(shown(&plan).contains(", deletion_vectors"), "{}", shown(&plan));
        let mut found = Vec::new();
        for plan in [plan, decoded] {
            let batches = collect(plan, Arc::clone(&task)).await?;
            let mut ids: Vec<i64> = Vec::new();
            for batch in &batches {
                let own: Vec<i64> = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
                let texts: Vec<&str> = batch.column(1).as_string_view().iter().flatten().collect();
                assert_eq!(texts, own.iter().map(|id| format!("{id:05}")).collect::<Vec<_>>());
                ids.extend(own);
            }
            ids.sort_unstable();
            found.push(ids);
        }
        assert_eq!(found[0], found[1]);
        Ok(found.remove(0))
    }

    /// The ids that are left, in order.
    fn left(&self) -> Vec<i64> {
        let all = self.files.iter().enumerate().flat_map(|(number, (_, deleted))| {
            (0..FILE_ROWS).filter(|row| !deleted.contains(row)).map(move |row| (number as u64 * FILE_ROWS + row) as i64)
        });
        all.collect()
    }

    fn all(&self) -> Vec<PartitionedFile> {
        self.files.iter().map(|(file, _)| file.clone()).collect()
    }

    /// Each file in `parts` ranges of bytes.
    fn cut(&self, parts: i64) -> Vec<Vec<PartitionedFile>> {
        let part = |part: i64| {
            let cut = |file: PartitionedFile| {
                let size = i64::try_from(file.object_meta.size).unwrap_or_default();
                file.with_range(size * part / parts, size * (part + 1) / parts)
            };
            self.all().into_iter().map(cut).collect()
        };
        (0..parts).map(part).collect()
    }
}

/// Sets of rows: by seed, each row with one of several chances, in runs or alone; and those at borders.
fn sets() -> Vec<BTreeSet<u64>> {
    let mut sets = vec![
        BTreeSet::new(),
        (0..FILE_ROWS).collect(),
        (0..30).collect(),
        (30..60).collect(),
        (0..119).collect(),
        (1..120).collect(),
        (25..95).collect(),
        BTreeSet::from([0, 29, 30, 59, 60, 89, 90, 119]),
        (0..FILE_ROWS).step_by(2).collect(),
    ];
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for chance in [2, 10, 50, 90] {
        sets.push((0..FILE_ROWS).filter(|_| random() % 100 < chance).collect());
        sets.push((0..FILE_ROWS).filter(|row| (row / 7).wrapping_mul(random() | 1) % 100 < chance).collect());
    }
    sets
}

#[tokio::test]
async fn scans_give_the_rows_that_are_left() -> TestResult {
    for set in sets() {
        let world = World::new(vec![Some(set.clone()), None, Some(sets().remove(8))]).await?;
        let left = world.left();
        let one = world.scan(vec![world.all()], None, None, false).await?;
        assert_eq!(world.ids(one).await?, left, "{set:?}");
        for parts in [2, 3, 7] {
            let many = world.scan(world.cut(parts), None, None, false).await?;
            assert_eq!(world.ids(many).await?, left, "{parts} {set:?}");
        }
        for limit in [0, 1, 5, 60, 1_000] {
            let limited = world.scan(vec![world.all()], None, Some(limit), false).await?;
            let found = world.ids(limited).await?;
            assert!(found.iter().all(|id| left.contains(id)), "{limit} {set:?}");
            assert_eq!(found.len(), limit.min(left.len()), "{limit} {set:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn filters_in_scans_see_the_rows_that_are_left() -> TestResult {
    type Holds = fn(i64) -> bool;
    let filters: [(Expr, Holds); 6] = [
        (col("id").gt(lit(35_i64)).and(col("id").lt(lit(77_i64))), |id| 35 < id && id < 77),
        (col("id").gt_eq(lit(0_i64)), |_| true),
        (col("id").lt(lit(0_i64)), |_| false),
        (col("id").eq(lit(59_i64)), |id| id == 59),
        (col("s").gt_eq(lit("00030")).and(col("s").lt(lit("00060"))), |id| (30..60).contains(&id)),
        (col("id").in_list(vec![lit(1_i64), lit(44_i64), lit(119_i64)], false), |id| [1, 44, 119].contains(&id)),
    ];
    for set in sets().into_iter().skip(1).step_by(2) {
        let world = World::new(vec![Some(set.clone()), None]).await?;
        let left = world.left();
        for (filter, holds) in &filters {
            let expected: Vec<i64> = left.iter().copied().filter(|id| holds(*id)).collect();
            let pushed = world.scan(vec![world.all()], Some(filter.clone()), None, true).await?;
            assert_eq!(world.ids(pushed).await?, expected, "{filter} {set:?}");
            // What is only for leaving out may leave rows in, but none that were deleted, and none of the others out.
            let hint = world.scan(world.cut(3), Some(filter.clone()), None, false).await?;
            let found = world.ids(hint).await?;
            assert!(found.iter().all(|id| left.contains(id)), "{filter} {set:?}");
            assert!(expected.iter().all(|id| found.contains(id)), "{filter} {set:?}");
            let limited = world.scan(world.cut(2), Some(filter.clone()), Some(3), true).await?;
            let found = world.ids(limited).await?;
            assert!(found.iter().all(|id| expected.contains(id)), "{filter} {set:?}");
            assert!(found.len() >= expected.len().min(3), "{filter} {set:?}: {found:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_file_is_not_read_with_its_deleted_rows() -> TestResult {
    let world = World::new(vec![Some(BTreeSet::from([FILE_ROWS])), Some(BTreeSet::from([1]))]).await?;
    let error = world.ids(world.scan(vec![world.all()], None, None, false).await?).await.expect_err("a row that is not there");
    assert!(error.kind == ErrorKind::Corrupt && error.message.contains("table d.t, file '0.parquet'"), "{error}");
    assert!(error.message.contains("row 120") && error.message.contains("120 rows"), "{error}");
    world.store.delete(&Path::from("1.bin")).await?;
    let second = vec![world.all().split_off(1)];
    let error = world.ids(world.scan(second, None, None, false).await?).await.expect_err("no vector");
    assert!(error.kind == ErrorKind::NotFound && error.message.contains("1.bin"), "{error}");
    // A file whose value got lost is an error too.
    let mut lost = world.all().remove(1);
    lost.partition_values.clear();
    let error = world.ids(world.scan(vec![vec![lost]], None, None, false).await?).await.expect_err("no value");
    assert!(error.message.contains("without a value"), "{error}");
    // Whoever opens a file in another way than through the scan gets none of it.
    let plain = world.all().remove(1);
    assert!(!are_left_out(&plain));
    assert!(are_left_out(&plain.clone().with_extension(ParquetAccessPlan::new_all(4))));
    Ok(())
}
