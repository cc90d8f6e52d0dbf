//! Tables of Delta Lake, written by hand, read through DataFusion: versions, checkpoints, partitions, mapped columns, pruning.

use super::super::model::{EXTERNAL_TABLE, StorageDescriptor};
use super::*;
use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;
use engine::ErrorKind;
use engine::session::{session_config, session_options, session_state};
use engine::settings::Settings;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use std::sync::Arc;
use url::Url;

type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

struct World {
    context: SessionContext,
    store: Arc<InMemory>,
    table: Table,
}

impl World {
    fn new() -> TestResult<Self> {
        let config = session_config(&session_options(&Settings::default(), 2))?;
        let context = SessionContext::new_with_state(session_state(config, Arc::new(RuntimeEnv::default())).build());
        let store = Arc::new(InMemory::new());
        context.register_object_store(&Url::parse("s3://bucket")?, Arc::clone(&store) as Arc<dyn ObjectStore>);
        let storage = StorageDescriptor { location: Some("s3://bucket/t%20 1/".into()), ..StorageDescriptor::default() };
        let table = Table {
            database_name: "d".into(),
            name: "t".into(),
            storage_descriptor: Some(storage),
            table_type: Some(EXTERNAL_TABLE.into()),
            parameters: Parameters::from([("table_type".into(), "DELTA".into())]),
            ..Table::default()
        };
        Ok(Self { context, store, table })
    }

    async fn put(&self, path: &str, bytes: Vec<u8>) -> TestResult<usize> {
        let length = bytes.len();
        self.store.put(&Path::parse(format!("t%20 1/{path}"))?, bytes.into()).await?;
        Ok(length)
    }

    /// Writes a file, and gives the action that adds it.
    async fn file(&self, path: &str, columns: Vec<(&str, ArrayRef)>, values: Value, stats: Value) -> TestResult<Value> {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))?;
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
        writer.write(&batch)?;
        let size = self.put(path, writer.into_inner()?).await?;
        let path = path.replace('%', "%25").replace(' ', "%20");
        Ok(
            json!({"add": {"path": path, "partitionValues": values, "size": size, "modificationTime": 7, "dataChange": true, "stats": stats.to_string()}}),
        )
    }

    async fn commit(&self, version: u64, actions: &[Value]) -> TestResult {
        let time = json!({"commitInfo": {"timestamp": version * 1_000}});
        let lines: Vec<String> = std::iter::once(&time).chain(actions).map(Value::to_string).collect();
        self.put(&format!("_delta_log/{version:020}.json"), lines.join("\n").into_bytes()).await?;
        Ok(())
    }

    async fn open(&self, as_of: Option<AsOf>) -> engine::Result<Arc<dyn TableProvider>> {
        open(&self.context.state(), &self.table, as_of).await
    }

    async fn rows_of(&self, as_of: Option<AsOf>, sql: &str) -> TestResult<Vec<String>> {
        self.context.deregister_table("t")?;
        self.context.register_table("t", self.open(as_of).await?)?;
        let batches = self.context.sql(sql).await?.collect().await?;
        let text = pretty_format_batches(&batches)?.to_string();
        let lines = text.lines().skip(3).filter(|line| line.starts_with('|'));
        Ok(lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",")).collect())
    }

    async fn rows(&self, sql: &str) -> TestResult<Vec<String>> {
        self.rows_of(None, sql).await
    }

    async fn error(&self, as_of: Option<AsOf>, sql: &str) -> String {
        self.rows_of(as_of, sql).await.map(|rows| format!("no error: {rows:?}")).unwrap_or_else(|error| error.to_string())
    }

    /// The files that a query reads.
    async fn files(&self, sql: &str) -> TestResult<usize> {
        self.context.deregister_table("t")?;
        self.context.register_table("t", self.open(None).await?)?;
        let plan = self.context.sql(sql).await?.create_physical_plan().await?;
        Ok(displayable(plan.as_ref()).indent(true).to_string().matches(".parquet").count())
    }
}

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn longs(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn field(name: &str, kind: &str) -> Value {
    json!({"name": name, "type": kind, "nullable": true, "metadata": {}})
}

fn metadata(fields: &[Value], keys: &[&str], configuration: Value) -> Value {
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    json!({"metaData": {"id": "x", "format": {"provider": "parquet", "options": {}}, "schemaString": schema, "partitionColumns": keys, "configuration": configuration}})
}

fn protocol(version: i32, features: Value) -> Value {
    json!({"protocol": {"minReaderVersion": version, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}})
}

fn remove(add: &Value) -> Value {
    json!({"remove": {"path": add["add"]["path"], "deletionTimestamp": 1, "dataChange": true}})
}

/// Versions 0 to 3: two files, a third one, one less, a new column.
async fn written() -> TestResult<World> {
    let world = World::new()?;
    let fields = [field("Id", "integer"), field("p", "string"), field("s", "string")];
    let stats = |low: i32, high: i32| json!({"numRecords": 2, "minValues": {"Id": low, "s": "a"}, "maxValues": {"Id": high, "s": "b"}, "nullCount": {"Id": 0, "s": 0}});
    let value = |p: Value| json!({ "p": p });
    let file = async |path: &str, low: i32, p: Value| {
        world.file(path, vec![("Id", ints(&[low, low + 1])), ("s", texts(&["a", "b"]))], value(p), stats(low, low + 1)).await
    };
    let first = file("p=x%2Fy z/1.parquet", 1, json!("x/y z")).await?;
    let second = file("2.parquet", 11, Value::Null).await?;
    let third = file("p=w/3.parquet", 21, json!("w")).await?;
    world.commit(0, &[protocol(1, Value::Null), metadata(&fields, &["p"], json!({})), first.clone(), second.clone()]).await?;
    world.commit(1, &[third]).await?;
    world.commit(2, &[remove(&first)]).await?;
    let wider = [field("Id", "long"), field("new", "date"), field("p", "string"), field("s", "string")];
    world.commit(3, &[metadata(&wider, &["p"], json!({})), protocol(3, json!(["typeWidening", "timestampNtz"]))]).await?;
    Ok(world)
}

#[tokio::test]
async fn each_version_has_its_files_and_columns() -> TestResult {
    let world = written().await?;
    let at = |version| Some(AsOf::Version(version));
    assert_eq!(world.rows_of(at(0), "SELECT * FROM t ORDER BY 1").await?, ["1,x/y z,a", "2,x/y z,b", "11,,a", "12,,b"]);
    assert_eq!(world.rows_of(at(1), "SELECT count(*), sum(id) FROM t").await?, ["6,69"]);
    assert_eq!(world.rows_of(at(2), "SELECT count(*), sum(id) FROM t").await?, ["4,66"]);
    assert_eq!(world.rows("SELECT * FROM t ORDER BY 1").await?, ["11,,,a", "12,,,b", "21,,w,a", "22,,w,b"]);
    assert_eq!(world.rows("SELECT arrow_typeof(id), arrow_typeof(new) FROM t LIMIT 1").await?, ["Int64,Date32"]);
    assert_eq!(world.rows("SELECT s, id, p FROM t WHERE p = 'w' AND id > 21").await?, ["b,22,w"]);
    assert_eq!(world.rows("SELECT id FROM t WHERE p IS NULL AND s = 'a'").await?, ["11"]);
    assert!(world.error(at(4), "SELECT 1 FROM t").await.contains("the newest version is 3"));
    // Times of commits are 0 to 3 seconds.
    for (ms, version) in [(0, 0), (999, 0), (1_000, 1), (2_500, 2), (900_000, 3)] {
        let found = world.rows_of(Some(AsOf::Time(ms)), "SELECT count(*), sum(id) FROM t").await?;
        assert_eq!(found, world.rows_of(at(version), "SELECT count(*), sum(id) FROM t").await?, "{ms}");
    }
    assert!(world.error(Some(AsOf::Time(-1)), "SELECT 1 FROM t").await.contains("No temporal version history"));
    Ok(())
}

#[tokio::test]
async fn files_are_left_out_by_values_and_by_statistics() -> TestResult {
    let world = written().await?;
    for (filter, files) in [
        ("true", 2),
        ("p = 'w'", 1),
        ("p IS NULL", 1),
        ("p IN ('x/y z', 'v')", 0),
        ("id > 20", 1),
        ("id = 12", 1),
        ("id BETWEEN 13 AND 20", 0),
        ("id <> 12", 2),
        ("id IS NULL", 0),
        ("id = 11 OR id = 21", 2),
        ("s = 'b'", 2),
        ("s = 'c'", 0),
        ("s LIKE 'z%'", 0),
        ("s IS NULL", 0),
        ("new IS NULL", 2),
        ("id + 1 > 20", 2),
        ("p = 'w' AND id < 20", 0),
        ("abs(id) = 1", 2),
    ] {
        let sql = format!("SELECT * FROM t WHERE {filter}");
        assert_eq!(world.files(&sql).await?, files, "{filter}");
    }
    Ok(())
}

/// The rows of a Parquet checkpoint from JSON, with types as other writers have them.
fn checkpoint(rows: &[Value]) -> TestResult<Vec<u8>> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let node = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(fields.into()), true);
    let map = |name: &str| {
        let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
        Field::new_map(name, "key_value", Arc::clone(&entries[0]), Arc::clone(&entries[1]), false, true)
    };
    let list = |name: &str| Field::new(name, DataType::List(Arc::new(text("element"))), true);
    let vector =
        node("deletionVector", vec![text("storageType"), text("pathOrInlineDv"), Field::new("offset", DataType::Int32, true)]);
    let parsed = node("stats_parsed", vec![long("numRecords")]);
    let add = vec![text("path"), map("partitionValues"), long("size"), long("modificationTime"), text("stats"), vector, parsed];
    let meta = vec![text("id"), text("schemaString"), list("partitionColumns"), map("configuration")];
    let protocol = vec![
        Field::new("minReaderVersion", DataType::Int32, true),
        Field::new("minWriterVersion", DataType::Int32, true),
        list("readerFeatures"),
        list("writerFeatures"),
    ];
    let sidecar = vec![text("path"), long("sizeInBytes")];
    let txn = node("txn", vec![text("appId"), long("version")]);
    let all = vec![txn, node("add", add), node("metaData", meta), node("protocol", protocol), node("sidecar", sidecar)];
    let schema = Arc::new(Schema::new(all));
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let mut reader = ReaderBuilder::new(Arc::clone(&schema)).build(std::io::Cursor::new(lines.join("\n")))?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None)?;
    reader.try_for_each(|batch| writer.write(&batch?).map_err(|e| arrow::error::ArrowError::ParquetError(e.to_string())))?;
    Ok(writer.into_inner()?)
}

/// Names of files of a log, and their bytes.
type LogFiles = Vec<(String, Vec<u8>)>;

/// What a checkpoint of version 2 of [`written`] has, whose commits are gone then.
async fn rows_of_checkpoint(world: &World) -> TestResult<Vec<Value>> {
    let mut rows = vec![protocol(3, json!(["typeWidening"]))];
    let mut state = actions::State::default();
    for version in 0..=2 {
        let path = Path::parse(format!("t%20 1/_delta_log/{version:020}.json"))?;
        let bytes = world.store.get(&path).await?.bytes().await?;
        for line in std::str::from_utf8(&bytes)?.lines() {
            let value: Value = serde_json::from_str(line)?;
            state.apply(serde_json::from_str(line)?)?;
            rows.extend(value.get("metaData").is_some().then_some(value));
        }
        world.store.delete(&path).await?;
    }
    for file in state.finish()?.1 {
        let add = json!({"path": file.path, "partitionValues": file.partition_values, "size": file.size, "modificationTime": 7, "stats": file.stats});
        rows.push(json!({ "add": add }));
    }
    rows.push(json!({"txn": {"appId": "x", "version": 1}}));
    Ok(rows)
}

/// The same rows in each form that checkpoints have.
fn forms(rows: &[Value]) -> TestResult<[LogFiles; 4]> {
    const UUID: &str = "80a083e8-7026-4e79-81be-64bd76c43a11";
    let log = |rest: &str| format!("_delta_log/{:020}.checkpoint.{rest}", 2);
    let (head, tail) = rows.split_at(2);
    let named = [head, &[json!({"sidecar": {"path": "a.parquet", "sizeInBytes": 1}})]].concat();
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    Ok([
        vec![(log("parquet"), checkpoint(rows)?)],
        vec![
            (log("0000000001.0000000002.parquet"), checkpoint(head)?),
            (log("0000000002.0000000002.parquet"), checkpoint(tail)?),
        ],
        vec![
            (log(&format!("{UUID}.parquet")), checkpoint(&named)?),
            ("_delta_log/_sidecars/a.parquet".into(), checkpoint(tail)?),
        ],
        vec![(log(&format!("{UUID}.json")), lines.join("\n").into_bytes())],
    ])
}

#[tokio::test]
async fn checkpoints_stand_for_what_is_before_them() -> TestResult {
    let world = written().await?;
    let expected = world.rows("SELECT * FROM t ORDER BY 1").await?;
    let rows = rows_of_checkpoint(&world).await?;
    assert!(world.error(None, "SELECT 1 FROM t").await.contains("no longer has"));
    for files in forms(&rows)? {
        for (name, bytes) in &files {
            world.put(name, bytes.clone()).await?;
        }
        let what = &files[0].0;
        assert_eq!(world.rows("SELECT * FROM t ORDER BY 1").await?, expected, "{what}");
        assert_eq!(world.rows_of(Some(AsOf::Version(2)), "SELECT count(*), sum(id) FROM t").await?, ["4,66"], "{what}");
        assert_eq!(world.files("SELECT * FROM t WHERE id > 20").await?, 1, "{what}");
        assert!(world.error(Some(AsOf::Version(1)), "SELECT 1 FROM t").await.contains("no longer has"), "{what}");
        for (name, _) in &files {
            world.store.delete(&Path::parse(format!("t%20 1/{name}"))?).await?;
        }
    }
    // A part of a checkpoint that is somewhere else is not fetched.
    for place in ["https://example.com/x.parquet?X-Amz-Signature=1", "../x.parquet", "%2e%2e/x", "s3://bucket/x", ""] {
        let away = [&rows[..2], &[json!({"sidecar": {"path": place, "sizeInBytes": 1}})]].concat();
        world.put(&format!("_delta_log/{:020}.checkpoint.parquet", 2), checkpoint(&away)?).await?;
        assert!(world.error(None, "SELECT 1 FROM t").await.contains("own folder"), "{place}");
    }
    Ok(())
}

#[tokio::test]
async fn mapped_columns_are_found_by_their_physical_names() -> TestResult {
    let world = World::new()?;
    let mapped = |name: &str, kind: Value, physical: &str| json!({"name": name, "type": kind, "nullable": true, "metadata": {"delta.columnMapping.physicalName": physical, "delta.columnMapping.id": 1}});
    let by_name = json!({"delta.columnMapping.mode": "name"});
    let values = json!({"col-p": "7"});
    let stats = json!({"numRecords": 2, "minValues": {"a": 1}, "maxValues": {"a": 2}, "nullCount": {"a": 0}});
    let old = world.file("1.parquet", vec![("a", longs(&[1, 2])), ("b", texts(&["x", "y"]))], values.clone(), stats).await?;
    // `a` was renamed to `z`, `b` was dropped and made again.
    let fields = [
        mapped("z", json!("long"), "a"),
        mapped("P", json!("integer"), "col-p"),
        mapped("b", json!("string"), "col-b"),
        mapped("st", json!({"type": "struct", "fields": [mapped("f", json!("long"), "col-f")]}), "col-st"),
    ];
    let new = world.file("2.parquet", vec![("a", longs(&[3])), ("col-b", texts(&["new"]))], values, json!({})).await?;
    world.commit(0, &[protocol(2, Value::Null), metadata(&fields, &["P"], by_name), old, new]).await?;
    assert_eq!(world.rows("SELECT z, p, b FROM t ORDER BY 1").await?, ["1,7,", "2,7,", "3,7,new"]);
    assert_eq!(world.rows("SELECT b, z + p FROM t WHERE z = 3 AND p = 7").await?, ["new,10"]);
    assert_eq!(world.files("SELECT z FROM t WHERE z > 2").await?, 1);
    assert!(world.error(None, "SELECT st FROM t").await.contains("other names in the files"));
    let by_id = metadata(&fields, &["P"], json!({"delta.columnMapping.mode": "id"}));
    world.commit(1, &[by_id]).await?;
    assert!(world.error(None, "SELECT z FROM t").await.contains("mapped by 'id'"));
    Ok(())
}

#[tokio::test]
async fn moments_are_rounded_to_milliseconds_and_local_times_are_not() -> TestResult {
    let world = World::new()?;
    let fields = [field("u", "timestamp"), field("l", "timestamp_ntz"), field("k", "timestamp")];
    let micros = vec![1_700_000_000_123_456_i64, 1_700_000_000_123_500, -1_500];
    let zoned: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros.clone()).with_timezone("UTC"));
    let local: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros));
    let stats = json!({"numRecords": 3, "minValues": {"u": "1969-12-31T23:59:59.998Z"}, "maxValues": {"u": "2023-11-14T22:13:20.123Z"}, "nullCount": {"u": 0}});
    let values = json!({"k": "2024-01-01 10:00:00.1234"});
    let file = world.file("1.parquet", vec![("u", zoned), ("l", local)], values, stats).await?;
    world.commit(0, &[protocol(3, json!(["timestampNtz"])), metadata(&fields, &["k"], json!({})), file]).await?;
    assert_eq!(
        world.rows("SELECT arrow_typeof(u), arrow_typeof(l), arrow_typeof(k) FROM t LIMIT 1").await?,
        ["Timestamp(ms, \"UTC\"),Timestamp(µs),Timestamp(ms, \"UTC\")"]
    );
    let expected = [
        "1969-12-31T23:59:59.999Z,1969-12-31T23:59:59.998500,2024-01-01T10:00:00.123Z",
        "2023-11-14T22:13:20.123Z,2023-11-14T22:13:20.123456,2024-01-01T10:00:00.123Z",
        "2023-11-14T22:13:20.124Z,2023-11-14T22:13:20.123500,2024-01-01T10:00:00.123Z",
    ];
    assert_eq!(world.rows("SELECT * FROM t ORDER BY l").await?, expected);
    // The greatest moment of the log was cut, and that of the row was rounded up.
    let filter = "u > TIMESTAMP '2023-11-14 22:13:20.123Z'";
    assert_eq!(world.rows(&format!("SELECT count(*) FROM t WHERE {filter}")).await?, ["1"]);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_right_is_refused() -> TestResult {
    let world = World::new()?;
    assert!(world.open(None).await.is_err_and(|error| error.kind == ErrorKind::NotFound), "no log");
    let fields = [field("a", "integer")];
    let file = world.file("1.parquet", vec![("a", ints(&[1]))], json!({}), json!({})).await?;
    let mut deleted = file.clone();
    deleted["add"]["deletionVector"] =
        json!({"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40, "cardinality": 1});
    let with = |add: Value| [protocol(3, json!(["deletionVectors"])), metadata(&fields, &[], json!({})), add];
    world.commit(0, &with(file.clone())).await?;
    assert_eq!(world.rows("SELECT * FROM t").await?, ["1"]);
    world.commit(1, &[remove(&file), deleted]).await?;
    for sql in ["SELECT * FROM t", "SELECT count(*) FROM t"] {
        assert!(world.error(None, sql).await.contains("deletion vector"), "{sql}");
    }
    for (path, expected) in [
        ("../2.parquet", "steps"),
        ("s3://other/1.parquet", "another place"),
        ("file:///etc/passwd", "another place"),
        ("gone.parquet", "VACUUM"),
    ] {
        let mut away = file.clone();
        away["add"]["path"] = json!(path);
        world.commit(1, &[remove(&file), away]).await?;
        let error = world.error(None, "SELECT * FROM t").await;
        assert!(error.contains(expected), "{path}: {error}");
    }
    // A column that files have in another type.
    world.commit(1, &[metadata(&[field("a", "string")], &[], json!({}))]).await?;
    assert!(world.error(None, "SELECT a FROM t").await.contains("incompatible"));
    world.commit(1, &[protocol(3, json!(["variantType"]))]).await?;
    assert!(world.error(None, "SELECT a FROM t").await.contains("'variantType'"));
    world.put("_delta_log/00000000000000000001.json", b"{\"add\":{\"path\":\"x\"}}\n{".to_vec()).await?;
    assert!(world.open(None).await.is_err_and(|error| error.kind == ErrorKind::Corrupt));
    // A partition value that the log does not have is not NULL.
    let keyed = world.file("2.parquet", vec![("a", ints(&[1]))], json!({}), json!({})).await?;
    world.commit(1, &[metadata(&[field("a", "integer"), field("p", "string")], &["p"], json!({})), keyed]).await?;
    assert!(world.error(None, "SELECT * FROM t").await.contains("no value of the partition column"));
    Ok(())
}
