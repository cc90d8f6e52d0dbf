//! Files that differ from the table and from each other, read through plans as they are and as they arrive at a worker.

use super::*;
use crate::session::{session_config, session_options, session_state};
use crate::settings::Settings;
use crate::task::{decode_plan, encode_plan};
use bytes::Bytes;
use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeListArray, Int32Array, Int64Array,
    ListArray, MapArray, NullArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt32Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{Field, Fields, SchemaRef, TimeUnit};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::{Statistics, ValueStatistics};

type TestResult<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct World {
    context: SessionContext,
    store: Arc<InMemory>,
    declared: SchemaRef,
}

impl World {
    fn new(declared: &[(&str, DataType)]) -> TestResult<Self> {
        let config = session_config(&session_options(&Settings::default(), 2))?;
        let context = SessionContext::new_with_state(session_state(config, Arc::new(RuntimeEnv::default())).build());
        let store = Arc::new(InMemory::new());
        context.register_object_store(ObjectStoreUrl::parse("s3://bucket")?.as_ref(), Arc::clone(&store) as Arc<dyn ObjectStore>);
        let fields = declared.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
        Ok(Self { context, store, declared: Arc::new(Schema::new(fields.collect::<Fields>())) })
    }

    /// Writes a file with two rows in a row group.
    async fn put(&self, name: &str, columns: Vec<(&str, ArrayRef)>) -> TestResult {
        let fields = columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Fields>()));
        let batch = RecordBatch::try_new(schema, columns.into_iter().map(|(_, values)| values).collect())?;
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).set_bloom_filter_enabled(true).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        self.store.put(&Path::from(name), writer.into_inner()?.into()).await?;
        Ok(())
    }

    async fn scan(&self, columns: &[&str], filter: Option<Expr>) -> TestResult<Arc<dyn ExecutionPlan>> {
        let state = self.context.state();
        let types = self.declared.fields().iter().map(|field| (field.name().clone(), field.data_type().to_string()));
        let mut options = TableParquetOptions::default();
        TableColumns { table: "d.t".into(), types: types.collect(), ..TableColumns::default() }.mark(&mut options)?;
        let format = ParquetFormat::default().with_options(options).with_coerce_int96(Some("us".into()));
        let mut files: Vec<_> = self.store.list(None).try_collect().await?;
        files.sort_by(|a, b| a.location.cmp(&b.location));
        let indices = columns.iter().map(|name| self.declared.index_of(name)).collect::<std::result::Result<Vec<_>, _>>()?;
        let source = format.file_source(Arc::clone(&self.declared).into());
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse("s3://bucket")?, source)
            .with_file_group(files.into_iter().map(PartitionedFile::from).collect())
            .with_projection_indices(Some(indices))?
            .build();
        let mut plan = format.create_physical_plan(&state, scan).await?;
        if let (Some(filter), Some(scan)) = (filter, file_scan(plan.as_ref())) {
            let schema = DFSchema::try_from(Arc::clone(&self.declared))?;
            let predicate = state.create_physical_expr(filter, &schema)?;
            let source: &dyn std::any::Any = scan.file_source().as_ref();
            let source = source.downcast_ref::<ParquetSource>().ok_or("no Parquet")?.with_predicate(predicate);
            let scan = FileScanConfigBuilder::from(scan.clone()).with_source(Arc::new(source)).build();
            plan = DataSourceExec::from_data_source(scan);
        }
        Ok(adapted(plan, state.runtime_env())?)
    }

    /// The rows, which are the same when the plan went over the wire.
    async fn rows(&self, columns: &[&str], filter: Option<Expr>) -> Result<Vec<String>> {
        let plan = self.scan(columns, filter).await.map_err(|e| Error::internal(e.to_string()))?;
        let task = self.context.task_ctx();
        let decoded = decode_plan(&encode_plan(Arc::clone(&plan), &task)?, &task)?;
        let here = lines(&collect(plan, Arc::clone(&task)).await?)?;
        assert_eq!(here, lines(&collect(decoded, task).await?)?);
        Ok(here)
    }

    async fn error(&self, columns: &[&str]) -> String {
        let error = self.rows(columns, None).await.map_err(|error| error.to_string());
        error.err().unwrap_or_default()
    }
}

fn lines(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let text = pretty_format_batches(batches).map_err(|e| Error::internal(e.to_string()))?.to_string();
    let lines = text.lines().skip(3).filter(|line| line.starts_with('|'));
    Ok(lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",")).collect())
}

fn of<A: Array + 'static>(values: A) -> ArrayRef {
    Arc::new(values)
}

fn longs(values: &[i64]) -> ArrayRef {
    of(Int64Array::from(values.to_vec()))
}

const TEXT: DataType = DataType::Utf8View;
const LONG: DataType = DataType::Int64;
const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

#[tokio::test]
async fn each_file_has_its_own_spelling_order_and_types() -> TestResult {
    let world = World::new(&[("id", LONG), ("s", TEXT), ("t", TIME), ("more", DataType::Date32)])?;
    world.put("a", vec![("Id", longs(&[1])), ("S", of(StringArray::from(vec!["ü"])))]).await?;
    let micros = of(TimestampMicrosecondArray::from(vec![1_500]));
    world
        .put("b", vec![("T", micros), ("s", of(BinaryArray::from_vec(vec![b"b"]))), ("ID", of(Int32Array::from(vec![2])))])
        .await?;
    let nanos = of(TimestampNanosecondArray::from(vec![2_499_999]).with_timezone("UTC"));
    let more = of(Date32Array::from(vec![1]));
    world.put("c", vec![("t", nanos), ("MORE", more), ("S", of(BinaryArray::from_vec(vec![b"c"]))), ("id", longs(&[3]))]).await?;
    let millis = of(TimestampMillisecondArray::from(vec![3]));
    world.put("d", vec![("id", longs(&[4])), ("s", of(StringViewArray::from(vec!["d"]))), ("t", millis)]).await?;
    let all = ["1,ü,,", "2,b,1970-01-01T00:00:00.002,", "3,c,1970-01-01T00:00:00.002,1970-01-02", "4,d,1970-01-01T00:00:00.003,"];
    assert_eq!(world.rows(&["id", "s", "t", "more"], None).await?, all);
    assert_eq!(world.rows(&["s"], None).await?, ["ü", "b", "c", "d"]);
    Ok(())
}

#[tokio::test]
async fn finer_timestamps_are_rounded_or_refused() -> TestResult {
    let zoned = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let world = World::new(&[("z", zoned), ("u", DataType::Timestamp(TimeUnit::Microsecond, None))])?;
    let micros = || of(TimestampMicrosecondArray::from(vec![1_500]).with_timezone("UTC"));
    world.put("a", vec![("Z", micros()), ("u", of(TimestampMicrosecondArray::from(vec![1_500])))]).await?;
    assert_eq!(world.rows(&["z", "u"], None).await?, ["1970-01-01T00:00:00.002Z,1970-01-01T00:00:00.001500"]);
    world.put("b", vec![("z", micros()), ("U", of(TimestampNanosecondArray::from(vec![1_500])))]).await?;
    assert_eq!(world.rows(&["z"], None).await?.len(), 2);
    assert!(world.error(&["u"]).await.contains("file 'b': its type in the file is timestamp(9)"));
    Ok(())
}

#[tokio::test]
async fn pruning_goes_by_the_names_of_the_file() -> TestResult {
    let world = World::new(&[("id", LONG), ("x", LONG), ("s", TEXT), ("t", TIME)])?;
    // Pruned by the wrong column, or by the order of the table, other rows would be left.
    let row = |names: [&'static str; 4], from: i64| {
        let [id, x, s, t] = names;
        let ids = longs(&[from, from + 1, from + 2, from + 3]);
        let texts = of(StringArray::from((from..from + 4).map(|id| format!("s{id}")).collect::<Vec<_>>()));
        let times = of(TimestampMicrosecondArray::from((from..from + 4).map(|id| id * 1_000 + 499).collect::<Vec<_>>()));
        vec![(t, times), (x, longs(&[-1, -1, -1, -1])), (s, texts), (id, ids)]
    };
    world.put("a", row(["ID", "x", "S", "T"], 0)).await?;
    world.put("b", row(["id", "X", "s", "t"], 10)).await?;
    world.put("c", vec![("s", of(StringArray::from(vec!["s1"])))]).await?;
    let twelve = ScalarValue::TimestampMillisecond(Some(12), None);
    for (filter, rows) in [
        // The file without the column has nothing to prune by.
        (col("id").eq(lit(3_i64)), vec!["2", "3", ""]),
        (col("id").gt(lit(11_i64)), vec!["12", "13", ""]),
        (col("x").gt(lit(0_i64)), vec![""]),
        (col("id").is_null(), vec![""]),
        (col("s").eq(lit("s12")), vec!["12", "13"]),
        (col("s").eq(lit("s1")), vec!["0", "1", ""]),
        // Between the least and the greatest, and in no Bloom filter.
        (col("s").eq(lit("s2x")), vec![]),
        // Timestamps that are rounded prune nothing.
        (col("t").eq(lit(twelve)), vec!["0", "1", "2", "3", "10", "11", "12", "13", ""]),
    ] {
        assert_eq!(world.rows(&["id"], Some(filter.clone())).await?, rows, "{filter}");
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_is_told_with_table_column_and_file() -> TestResult {
    let world = World::new(&[("id", LONG), ("s", TEXT), ("n", DataType::Int32)])?;
    world.put("f/good", vec![("id", longs(&[1])), ("S", of(StringArray::from(vec!["x"])))]).await?;
    world.put("f/other", vec![("ID", of(StringArray::from(vec!["1"]))), ("n", longs(&[3_000_000_000]))]).await?;
    assert_eq!(world.rows(&["s"], None).await?, ["x", ""]);
    let error = world.error(&["id"]).await;
    assert!(
        error.starts_with("INVALID_QUERY: HIVE_BAD_DATA: column id (Int64) of table d.t, file 'f/other': its type"),
        "{error}"
    );
    // An integer that is too large is told by the cast.
    assert!(world.error(&["n"]).await.contains("3000000000"));
    world.put("f/two", vec![("s", of(StringArray::from(vec!["a"]))), ("S", of(StringArray::from(vec!["b"])))]).await?;
    let error = world.error(&["s"]).await;
    assert!(error.contains("column s (Utf8View) of table d.t, file 'f/two': is in the file as 's' and as 'S'"), "{error}");
    world.store.put(&Path::from("f/a"), "no Parquet".into()).await?;
    let error = world.error(&["s"]).await;
    assert!(error.starts_with("CORRUPT_DATA: table d.t, file 'f/a' (10 bytes): "), "{error}");
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_text_are_errors() -> TestResult {
    let world = World::new(&[("s", TEXT), ("n", LONG)])?;
    for name in ["s", "S"] {
        let bytes = of(BinaryArray::from_vec(vec![b"ok", b"\xff"]));
        world.put("a", vec![(name, bytes), ("n", longs(&[1, 2]))]).await?;
        assert_eq!(world.rows(&["n"], None).await?, ["1", "2"]);
        assert!(world.error(&["s"]).await.contains("UTF-8"), "{}", world.error(&["s"]).await);
    }
    Ok(())
}

#[tokio::test]
async fn structs_go_by_name_and_miss_fields() -> TestResult {
    let fields = |names: &[&str]| names.iter().map(|name| Field::new(*name, LONG, true)).collect::<Fields>();
    let world = World::new(&[("s", DataType::Struct(fields(&["a", "b"])))])?;
    let structs = |names: &[&str]| of(StructArray::new(fields(names), names.iter().map(|_| longs(&[7])).collect(), None));
    world.put("a", vec![("S", structs(&["b", "c"]))]).await?;
    world.put("b", vec![("s", structs(&["a"]))]).await?;
    assert_eq!(world.rows(&["s"], None).await?, ["{a: , b: 7}", "{a: 7, b: }"]);
    // In any case, but the field of the same spelling first; without any of its fields it is NULL.
    world.put("c", vec![("s", structs(&["a", "B"]))]).await?;
    world.put("d", vec![("s", structs(&["B", "b"]))]).await?;
    world.put("e", vec![("s", structs(&["x"]))]).await?;
    assert_eq!(world.rows(&["s"], None).await?, ["{a: , b: 7}", "{a: 7, b: }", "{a: 7, b: 7}", "{a: , b: 7}", ""]);
    Ok(())
}

fn fields(of: &[(&str, DataType)]) -> Fields {
    of.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect()
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn map_of(value: DataType) -> DataType {
    let pair = vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair.into()), false)), false)
}

/// A list of two of the `values`, NULL, an empty list, a list of the others.
fn lists(values: ArrayRef) -> TestResult<ArrayRef> {
    let offsets = OffsetBuffer::new(vec![0, 2, 2, 2, i32::try_from(values.len())?].into());
    let item = Arc::new(Field::new("element", values.data_type().clone(), true));
    Ok(of(ListArray::try_new(item, offsets, values, Some(vec![true, false, true, true].into()))?))
}

#[tokio::test]
async fn structs_within_lists_and_maps_go_by_name() -> TestResult {
    let declared = || DataType::Struct(fields(&[("a", LONG), ("b", DataType::Utf8), ("c", list_of(DataType::Int32))]));
    let world = World::new(&[("l", list_of(declared())), ("m", map_of(declared()))])?;
    let found = |names: [(&str, ArrayRef); 3]| {
        let kinds: Vec<_> = names.iter().map(|(name, values)| (*name, values.data_type().clone())).collect();
        let columns = names.into_iter().map(|(_, values)| values).collect();
        StructArray::new(fields(&kinds), columns, Some(vec![true, false, true].into()))
    };
    let (ints, texts) = (|| of(Int32Array::from(vec![1, 0, 3])), || of(StringArray::from(vec!["x", "", "z"])));
    let values = found([("B", texts()), ("other", ints()), ("a", ints())]);
    let keys: ArrayRef = of(StringArray::from(vec!["k1", "k2", "k3"]));
    let pair = vec![Field::new("key", DataType::Utf8, false), Field::new("value", values.data_type().clone(), true)];
    let pairs = StructArray::new(pair.into(), vec![keys, of(values.clone())], None);
    let entries = Arc::new(Field::new("entries", pairs.data_type().clone(), false));
    let map = MapArray::try_new(entries, OffsetBuffer::new(vec![0, 1, 2, 2, 3].into()), pairs, None, false)?;
    world.put("a", vec![("l", lists(of(values))?), ("m", of(map))]).await?;
    assert_eq!(world.rows(&["l"], None).await?, ["[{a: 1, b: x, c: }, ]", "", "[]", "[{a: 3, b: z, c: }]"],);
    assert_eq!(world.rows(&["m"], None).await?, ["{k1: {a: 1, b: x, c: }}", "{k2: }", "{}", "{k3: {a: 3, b: z, c: }}"]);
    Ok(())
}

#[tokio::test]
async fn finer_timestamps_are_rounded_within_other_types() -> TestResult {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let world = World::new(&[
        ("l", list_of(TIME)),
        ("s", DataType::Struct(fields(&[("t", TIME), ("n", LONG)]))),
        ("u", list_of(micros.clone())),
    ])?;
    let times = || of(TimestampMicrosecondArray::from(vec![1_500, 1_499, -500]));
    let four = || of(TimestampMicrosecondArray::from(vec![1_500, 1_499, -501, 0]));
    let structs = StructArray::new(fields(&[("n", LONG), ("t", micros)]), vec![longs(&[1, 2, 3, 4]), four()], None);
    world.put("a", vec![("l", lists(times())?), ("s", of(structs)), ("u", lists(times())?)]).await?;
    let (zero, one, two) = ("1970-01-01T00:00:00", "1970-01-01T00:00:00.001", "1970-01-01T00:00:00.002");
    assert_eq!(world.rows(&["l"], None).await?, [format!("[{two}, {one}]"), String::new(), "[]".into(), format!("[{zero}]")]);
    let row = |time: &str, n: i64| format!("{{t: {time}, n: {n}}}");
    assert_eq!(world.rows(&["s"], None).await?, [row(two, 1), row(one, 2), row("1969-12-31T23:59:59.999", 3), row(zero, 4)]);
    assert_eq!(world.rows(&["u"], None).await?[0], "[1970-01-01T00:00:00.001500, 1970-01-01T00:00:00.001499]");
    let nanos = of(TimestampNanosecondArray::from(vec![1_500_000, 1_499_999, 0]).with_timezone("UTC"));
    let moments = StructArray::new(fields(&[("t", nanos.data_type().clone())]), vec![nanos], None);
    world.put("b", vec![("s", of(moments))]).await?;
    assert_eq!(
        world.rows(&["s"], None).await?[4..],
        ["{t: 1970-01-01T00:00:00.002, n: }", "{t: 1970-01-01T00:00:00.001, n: }", "{t: 1970-01-01T00:00:00, n: }"]
    );
    Ok(())
}

#[tokio::test]
async fn types_that_a_writer_of_arrow_notes_are_not_those_of_the_file() -> TestResult {
    let world = World::new(&[
        ("l", list_of(LONG)),
        ("n", LONG),
        ("t", TEXT),
        ("c", DataType::Decimal128(5, 2)),
        ("s", DataType::Struct(fields(&[("x", list_of(DataType::Utf8))]))),
    ])?;
    let fixed = FixedSizeListArray::try_new(Arc::new(Field::new("item", LONG, true)), 2, longs(&[1, 2, 3, 4]), None)?;
    let nulls = || of(NullArray::new(2));
    let decimals = Decimal128Array::from(vec![150, -1]).with_precision_and_scale(5, 2)?;
    let keys = Int32Array::from(vec![1, 0]);
    let structs = StructArray::new(fields(&[("x", DataType::Null)]), vec![nulls()], None);
    world
        .put(
            "a",
            vec![
                ("l", of(fixed)),
                ("n", nulls()),
                ("t", nulls()),
                ("c", of(DictionaryArray::try_new(keys, of(decimals))?)),
                ("s", of(structs)),
            ],
        )
        .await?;
    assert_eq!(
        world.rows(&["l", "n", "t", "c", "s"], None).await?,
        ["[1, 2],,,-0.01,{x: }".to_string(), "[3, 4],,,1.50,{x: }".to_string()]
    );
    assert_eq!(world.rows(&["c"], Some(col("n").is_null())).await?, ["-0.01", "1.50"]);
    Ok(())
}

#[tokio::test]
async fn decimals_are_rounded_to_the_digits_of_the_table() -> TestResult {
    let world = World::new(&[("c", DataType::Decimal128(4, 1)), ("l", list_of(DataType::Decimal128(38, 10)))])?;
    let wide =
        |values: Vec<i128>| Ok::<_, Box<dyn std::error::Error>>(Decimal128Array::from(values).with_precision_and_scale(38, 2)?);
    world.put("a", vec![("c", of(wide(vec![125, -125, 124, 99_994])?)), ("l", lists(of(wide(vec![125, 1, 7])?))?)]).await?;
    assert_eq!(world.rows(&["c"], None).await?, ["1.3", "-1.3", "1.2", "999.9"]);
    assert_eq!(world.rows(&["l"], None).await?[0], "[1.2500000000, 0.0100000000]");
    // Pruned as what it is in the file, 1.25 would not be 1.3.
    let literal = |value| lit(ScalarValue::Decimal128(Some(value), 4, 1));
    assert_eq!(world.rows(&["c"], Some(col("c").eq(literal(13)))).await?.len(), 4);
    world.put("b", vec![("c", of(wide(vec![99_995])?))]).await?;
    assert!(world.error(&["c"]).await.contains("1000.0"), "{}", world.error(&["c"]).await);
    Ok(())
}

#[tokio::test]
async fn days_and_bytes_without_a_mark() -> TestResult {
    let world = World::new(&[("d", DataType::Date32), ("l", list_of(DataType::Utf8))])?;
    let bytes = |values: Vec<&[u8]>| lists(of(BinaryArray::from_vec(values)));
    world.put("a", vec![("d", of(Int32Array::from(vec![1, -1, 0, 2]))), ("l", bytes(vec![b"a", "ü".as_bytes(), b""])?)]).await?;
    assert_eq!(world.rows(&["d"], None).await?, ["1970-01-02", "1969-12-31", "1970-01-01", "1970-01-03"]);
    assert_eq!(world.rows(&["l"], None).await?, ["[a, ü]", "", "[]", "[]"]);
    world.put("b", vec![("l", bytes(vec![b"a", b"\xff", b"c"])?)]).await?;
    assert!(world.error(&["l"]).await.contains("UTF-8"), "{}", world.error(&["l"]).await);
    assert_eq!(world.rows(&["d"], None).await?.len(), 8);
    Ok(())
}

#[test]
fn a_sample_is_the_same_in_any_order_and_from_all_over() {
    let mut files: Vec<ObjectMeta> = (0..10).map(|n| PartitionedFile::new(format!("f{n}"), 1).object_meta).collect();
    let names = |files: &[ObjectMeta], most| sample(files, most).iter().map(|file| file.location.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&files, 4), ["f0", "f2", "f5", "f7"]);
    files.reverse();
    files.extend(files.clone());
    assert_eq!(names(&files, 4), ["f0", "f2", "f5", "f7"]);
    assert_eq!((names(&files, 10).len(), names(&files, 99).len(), names(&files, 0).len()), (10, 10, 0));
    assert_eq!(names(&[], 3), [""; 0]);
}

/// Writes a file whose footer has limits as old writers have them: in the fields for signed order, by signed bytes.
async fn put_old(world: &World, name: &str, texts: Vec<&str>, numbers: Vec<u32>) -> TestResult {
    let least =
        |texts: &[&str]| texts.iter().map(|text| text.bytes().map(|byte| byte as i8).collect::<Vec<_>>()).collect::<Vec<_>>();
    let bytes =
        |limit: Option<&Vec<i8>>| limit.map(|limit| ByteArray::from(limit.iter().map(|byte| *byte as u8).collect::<Vec<_>>()));
    let signed = least(&texts);
    let limits = [
        Statistics::ByteArray(ValueStatistics::new(bytes(signed.iter().min()), bytes(signed.iter().max()), None, Some(0), true)),
        Statistics::Int32(ValueStatistics::new(
            numbers.iter().map(|number| *number as i32).min(),
            numbers.iter().map(|number| *number as i32).max(),
            None,
            Some(0),
            true,
        )),
    ];
    let columns: Vec<(&str, ArrayRef)> = vec![("s", of(StringArray::from(texts))), ("u", of(UInt32Array::from(numbers)))];
    let batch = RecordBatch::try_from_iter(columns)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
    writer.write(&batch)?;
    let bytes = Bytes::from(writer.into_inner()?);
    let footer = ParquetMetaDataReader::new().parse_and_finish(&bytes)?;
    let group = footer.row_groups().first().ok_or("no rows")?;
    let old = |(column, limits): (&ColumnChunkMetaData, Statistics)| {
        let builder = column.clone().into_builder().set_column_index_offset(None).set_column_index_length(None);
        builder.set_offset_index_offset(None).set_offset_index_length(None).set_statistics(limits).build()
    };
    let columns = group.columns().iter().zip(limits).map(old).collect::<std::result::Result<Vec<_>, _>>()?;
    let group = group.clone().into_builder().set_column_metadata(columns).build()?;
    let footer = ParquetMetaDataBuilder::new(footer.file_metadata().clone()).add_row_group(group).build();
    let mut old = bytes.to_vec();
    let start = old.len();
    ParquetMetaDataWriter::new(&mut old, &footer).finish()?;
    let written = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(old.clone()))?;
    assert!(old.len() > start && has_signed_limits(&written));
    world.store.put(&Path::from(name), old.into()).await?;
    Ok(())
}

#[tokio::test]
async fn limits_of_old_writers_leave_no_rows_out() -> TestResult {
    let world = World::new(&[("s", TEXT), ("u", LONG)])?;
    put_old(&world, "a", vec!["b", "é", "z", "a"], vec![1, 2_147_483_653, 7, 2]).await?;
    let all = ["b,1", "é,2147483653", "z,7", "a,2"];
    for filter in [
        col("s").eq(lit("b")),
        col("s").lt(lit("c")),
        col("s").gt(lit("z")),
        col("u").eq(lit(2_147_483_653_i64)),
        col("u").gt(lit(10_i64)),
        col("u").eq(lit(2_i64)),
    ] {
        // What is not pruned is left for a filter above.
        assert_eq!(world.rows(&["s", "u"], Some(filter.clone())).await?, all, "{filter}");
    }
    Ok(())
}

#[tokio::test]
async fn limits_of_old_writers_leave_no_rows_of_folders_out() -> TestResult {
    let world = World::new(&[("s", TEXT), ("u", DataType::UInt32)])?;
    put_old(&world, "a", vec!["b", "é", "z", "a"], vec![1, 2_147_483_653, 7, 2]).await?;
    let format = ParquetFormat::default();
    let files: Vec<_> = world.store.list(None).try_collect().await?;
    let source = ParquetSource::new(Arc::clone(&world.declared));
    let schema = DFSchema::try_from(Arc::clone(&world.declared))?;
    let source = source.with_predicate(world.context.state().create_physical_expr(col("s").eq(lit("b")), &schema)?);
    let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse("s3://bucket")?, Arc::new(source))
        .with_file_group(files.into_iter().map(PartitionedFile::from).collect())
        .build();
    let plan = format.create_physical_plan(&world.context.state(), scan).await?;
    let rows = |plan| collect(plan, world.context.task_ctx());
    assert!(rows(Arc::clone(&plan)).await?.is_empty(), "the library prunes rightly by now");
    let plan = adapted(plan, world.context.state().runtime_env())?;
    assert_eq!(lines(&rows(plan).await?)?.len(), 4);
    Ok(())
}
