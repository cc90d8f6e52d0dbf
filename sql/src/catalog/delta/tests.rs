//! Tables of Delta Lake, written by hand, read through DataFusion: versions, checkpoints, partitions, mapped columns, pruning.

use super::super::model::{EXTERNAL_TABLE, StorageDescriptor};
use super::*;
use arrow::array::{ArrayRef, Int32Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
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
use std::collections::BTreeSet;
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

    /// The same with ids of columns.
    async fn file_with_ids(
        &self,
        path: &str,
        columns: Vec<(&str, i64, ArrayRef)>,
        values: Value,
        stats: Value,
    ) -> TestResult<Value> {
        let field = |(name, id, array): &(&str, i64, ArrayRef)| {
            let id = [("PARQUET:field_id".to_string(), id.to_string())];
            Field::new(*name, array.data_type().clone(), true).with_metadata(id.into())
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(schema, columns.into_iter().map(|(_, _, array)| array).collect())?;
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
        writer.write(&batch)?;
        let size = self.put(path, writer.into_inner()?).await?;
        Ok(
            json!({"add": {"path": path, "partitionValues": values, "size": size, "modificationTime": 7, "dataChange": true, "stats": stats.to_string()}}),
        )
    }

    /// Writes the deletion vector of `rows`, and gives the action that adds `add` with it.
    async fn vector(&self, path: &str, add: &Value, rows: &BTreeSet<u32>) -> TestResult<Value> {
        let mut data = [209, 211, 57, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 58, 48, 0, 0, 1, 0, 0, 0, 0, 0].to_vec();
        data.extend((rows.len() as u16 - 1).to_le_bytes());
        data.extend(16_u32.to_le_bytes());
        rows.iter().for_each(|row| data.extend((*row as u16).to_le_bytes()));
        let file = [&[1][..], &(data.len() as u32).to_be_bytes(), &data, &crc32(&data).to_be_bytes()].concat();
        self.put(path, file).await?;
        let id = match path {
            "deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin" => "^-aqEH.-t@S}K{vb[*k^",
            _ => "00000000000000000000",
        };
        let vector =
            json!({"storageType": "u", "pathOrInlineDv": id, "offset": 1, "sizeInBytes": data.len(), "cardinality": rows.len()});
        Ok(with_vector(add, &vector))
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

fn crc32(data: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !data.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
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
    let writer = if version < 3 { 2 } else { 7 };
    json!({"protocol": {"minReaderVersion": version, "minWriterVersion": writer, "readerFeatures": features, "writerFeatures": features}})
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
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    let vector = vec![text("storageType"), text("pathOrInlineDv"), int("offset"), int("sizeInBytes"), long("cardinality")];
    let vector = node("deletionVector", vector);
    let parsed = node("stats_parsed", vec![long("numRecords")]);
    let is_change = Field::new("dataChange", DataType::Boolean, true);
    let add = vec![
        text("path"),
        map("partitionValues"),
        long("size"),
        long("modificationTime"),
        is_change,
        text("stats"),
        vector,
        parsed,
    ];
    let format = node("format", vec![text("provider"), map("options")]);
    let meta = vec![text("id"), format, text("schemaString"), list("partitionColumns"), map("configuration")];
    let protocol = vec![
        Field::new("minReaderVersion", DataType::Int32, true),
        Field::new("minWriterVersion", DataType::Int32, true),
        list("readerFeatures"),
        list("writerFeatures"),
    ];
    let sidecar = vec![text("path"), long("sizeInBytes"), long("modificationTime"), map("tags")];
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
    let location = super::super::location::Location::parse("s3://bucket/t%20 1/")?;
    let state = log::snapshot(Arc::clone(&world.store) as _, &location, Some(AsOf::Version(2))).await?;
    let mut rows = vec![protocol(3, json!(["typeWidening"]))];
    for version in 0..=2 {
        let path = Path::parse(format!("t%20 1/_delta_log/{version:020}.json"))?;
        let bytes = world.store.get(&path).await?.bytes().await?;
        for line in std::str::from_utf8(&bytes)?.lines() {
            let value: Value = serde_json::from_str(line)?;
            rows.extend(value.get("metaData").is_some().then_some(value));
        }
        world.store.delete(&path).await?;
    }
    for file in state.files {
        let mut add = json!({"path": file.path, "partitionValues": file.partition_values, "size": file.size, "modificationTime": 7, "dataChange": true, "stats": file.stats});
        if let Some(vector) = file.deleted_rows() {
            add["deletionVector"] = json!({"storageType": vector.storage_type, "pathOrInlineDv": vector.path_or_inline_dv, "offset": vector.offset, "sizeInBytes": vector.size_in_bytes, "cardinality": vector.cardinality});
        }
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
    let part = checkpoint(tail)?;
    let sidecar = json!({"sidecar": {"path": "a.parquet", "sizeInBytes": part.len(), "modificationTime": 1, "tags": {}}});
    let named = [head, &[sidecar, json!({"checkpointMetadata": {"version": 2}})]].concat();
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    Ok([
        vec![(log("parquet"), checkpoint(rows)?)],
        vec![
            (log("0000000001.0000000002.parquet"), checkpoint(head)?),
            (log("0000000002.0000000002.parquet"), checkpoint(tail)?),
        ],
        vec![(log(&format!("{UUID}.parquet")), checkpoint(&named)?), ("_delta_log/_sidecars/a.parquet".into(), part)],
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
        let away = [&rows[..2], &[json!({"sidecar": {"path": place, "sizeInBytes": 1, "modificationTime": 1}})]].concat();
        world.put(&format!("_delta_log/{:020}.checkpoint.parquet", 2), checkpoint(&away)?).await?;
        let error = world.error(None, "SELECT 1 FROM t").await;
        assert!(error.contains("own folder"), "{place}: {error}");
    }
    Ok(())
}

fn mapped(name: &str, kind: &Value, physical: &str, id: i64) -> Value {
    json!({"name": name, "type": kind, "nullable": true, "metadata": {"delta.columnMapping.physicalName": physical, "delta.columnMapping.id": id}})
}

#[tokio::test]
async fn mapped_columns_are_found_by_their_physical_names() -> TestResult {
    let world = World::new()?;
    let by_name = json!({"delta.columnMapping.mode": "name"});
    let values = json!({"col-p": "7"});
    let stats = json!({"numRecords": 2, "minValues": {"a": 1}, "maxValues": {"a": 2}, "nullCount": {"a": 0}});
    let old = world.file("1.parquet", vec![("a", longs(&[1, 2])), ("b", texts(&["x", "y"]))], values.clone(), stats).await?;
    // `a` was renamed to `z`, `b` was dropped and made again.
    let fields = [
        mapped("z", &json!("long"), "a", 1),
        mapped("P", &json!("integer"), "col-p", 2),
        mapped("b", &json!("string"), "col-b", 3),
    ];
    let new = world.file("2.parquet", vec![("a", longs(&[3])), ("col-b", texts(&["new"]))], values, json!({})).await?;
    world.commit(0, &[protocol(2, Value::Null), metadata(&fields, &["P"], by_name), old, new]).await?;
    assert_eq!(world.rows("SELECT z, p, b FROM t ORDER BY 1").await?, ["1,7,", "2,7,", "3,7,new"]);
    assert_eq!(world.rows("SELECT b, z + p FROM t WHERE z = 3 AND p = 7").await?, ["new,10"]);
    assert_eq!(world.files("SELECT z FROM t WHERE z > 2").await?, 1);
    // A protocol without the feature: the names are those of the table.
    world
        .commit(
            1,
            &[
                protocol(3, json!(["timestampNtz"])),
                metadata(&[fields[0].clone()], &[], json!({"delta.columnMapping.mode": "name"})),
            ],
        )
        .await?;
    assert_eq!(world.rows("SELECT count(*), count(z) FROM t").await?, ["3,0"]);
    Ok(())
}

/// A struct with the fields `names`, whose values are numbers from `first`, and the ids from `id`.
fn struct_of(names: &[&str], first: i64, id: i64) -> ArrayRef {
    let field = |(place, name): (usize, &&str)| {
        let id = [("PARQUET:field_id".to_string(), (id + place as i64).to_string())];
        let field = Field::new(*name, DataType::Int64, true).with_metadata(id.into());
        (Arc::new(field), longs(&[first + 10 * place as i64, first + 10 * place as i64 + 1]))
    };
    Arc::new(StructArray::from(names.iter().enumerate().map(field).collect::<Vec<_>>()))
}

fn list_of(items: ArrayRef) -> ArrayRef {
    let item = Field::new_list_field(items.data_type().clone(), true);
    Arc::new(ListArray::new(Arc::new(item), OffsetBuffer::from_lengths([1, 1]), items, None))
}

#[tokio::test]
async fn fields_of_structs_have_other_names_in_files() -> TestResult {
    let world = World::new()?;
    let long = json!("long");
    let inner = |id: i64| json!({"type": "struct", "fields": [mapped("F", &long, "Col-f", id), mapped("g", &long, "f", id + 1)]});
    let list = json!({"type": "array", "elementType": inner(12), "containsNull": true});
    let map = json!({"type": "map", "keyType": "string", "valueType": inner(22), "valueContainsNull": true});
    let fields = [
        mapped("st", &inner(2), "col-st", 1),
        mapped("l", &list, "col-l", 4),
        mapped("id", &long, "col-id", 5),
        mapped("m", &map, "col-m", 6),
    ];
    let names = ["Col-f", "f"];
    let columns =
        vec![("col-id", longs(&[1, 2])), ("col-st", struct_of(&names, 1, 2)), ("COL-L", list_of(struct_of(&names, 100, 2)))];
    let file = world.file("1.parquet", columns, json!({}), json!({})).await?;
    // On top, fields may be missing and in another order.
    let other = vec![("col-id", longs(&[3, 4])), ("col-st", struct_of(&["x", "f"], 1_000, 2))];
    let other = world.file("2.parquet", other, json!({}), json!({})).await?;
    let by_name = json!({"delta.columnMapping.mode": "name"});
    world.commit(0, &[protocol(3, json!(["columnMapping"])), metadata(&fields, &[], by_name), file, other]).await?;
    let of = async |column: &str| world.rows(&format!("SELECT {column} FROM t ORDER BY id")).await;
    assert_eq!(of("st").await?, ["{f: 1, g: 11}", "{f: 2, g: 12}", "{f: , g: 1010}", "{f: , g: 1011}"]);
    assert_eq!(of("st['f'] + 1, l[1]['g'], m").await?, ["2,110,", "3,111,", ",,", ",,"]);
    assert_eq!(world.rows("SELECT id FROM t WHERE st['g'] IN (12, 1010) ORDER BY id").await?, ["2", "3"]);
    assert_eq!(world.rows("SELECT arrow_typeof(l) FROM t LIMIT 1").await?, ["List(Struct(\"f\": Int64, \"g\": Int64))"]);
    assert_eq!(world.rows("SELECT count(*) FROM t WHERE st IS NULL OR l IS NULL").await?, ["2"]);
    // Not mapped: the log's own names, which need not be in lower case.
    let plain = [
        field("col-id", "long"),
        json!({"name": "S", "type": {"type": "struct", "fields": [field("Aa", "long"), field("b", "long")]}, "nullable": true, "metadata": {}}),
    ];
    let file = world
        .file("3.parquet", vec![("col-id", longs(&[1, 2])), ("S", struct_of(&["Aa", "b"], 1, 2))], json!({}), json!({}))
        .await?;
    world.commit(1, &[metadata(&plain, &[], json!({})), file]).await?;
    assert_eq!(world.rows("SELECT s['aa'], s['b'] FROM t WHERE s IS NOT NULL ORDER BY 1").await?, ["1,11", "2,12"]);
    let file = world.file("4.parquet", vec![("S", struct_of(&["aA", "b"], 1, 2))], json!({}), json!({})).await?;
    world.commit(2, &[file]).await?;
    assert_eq!(
        world.rows("SELECT s['aa'], s['b'] FROM t WHERE s IS NOT NULL ORDER BY 1").await?,
        ["1,11", "1,11", "2,12", "2,12"]
    );
    Ok(())
}

#[tokio::test]
async fn columns_are_found_by_their_ids() -> TestResult {
    let world = World::new()?;
    let (long, text) = (json!("long"), json!("string"));
    let inner =
        |id: i64| json!({"type": "struct", "fields": [mapped("f", &long, "Col-f", id), mapped("g", &long, "col-g", id + 1)]});
    let list = json!({"type": "array", "elementType": inner(18), "containsNull": true});
    // The names in files are those of other columns.
    let fields = [
        mapped("a", &long, "one", 1),
        mapped("b", &text, "two", 2),
        mapped("c", &long, "three", 3),
        mapped("p", &text, "four", 4),
        mapped("st", &inner(8), "five", 5),
        mapped("l", &list, "six", 6),
    ];
    let by_id = json!({"delta.columnMapping.mode": "id"});
    let values = json!({"four": "v"});
    let stats =
        |low: i64| json!({"numRecords": 2, "minValues": {"one": low}, "maxValues": {"one": low + 1}, "nullCount": {"one": 0}});
    let file = async |path: &str, low: i64, columns: Vec<(&str, i64, ArrayRef)>| -> TestResult<Value> {
        world.file_with_ids(path, columns, values.clone(), stats(low)).await
    };
    let swapped = vec![
        ("two", 1, longs(&[1, 2])),
        ("one", 2, texts(&["x", "y"])),
        ("any", 5, struct_of(&["Col-f", "col-g"], 1, 8)),
        ("three", 7, longs(&[70, 71])),
        ("a", 6, list_of(struct_of(&["Col-f", "col-g"], 100, 18))),
    ];
    let first = file("1.parquet", 1, swapped).await?;
    let second = file("2.parquet", 11, vec![("c", 3, longs(&[31, 32])), ("ONE", 1, longs(&[11, 12]))]).await?;
    world.commit(0, &[protocol(2, Value::Null), metadata(&fields, &["p"], by_id), first, second]).await?;
    assert_eq!(
        world.rows("SELECT a, b, c, p, st['f'], l[1]['g'] FROM t ORDER BY a").await?,
        ["1,x,,v,1,110", "2,y,,v,2,111", "11,,31,v,,", "12,,32,v,,"]
    );
    assert_eq!(world.rows("SELECT a, p FROM t WHERE b = 'y'").await?, ["2,v"]);
    assert_eq!(world.rows("SELECT count(*) FROM t WHERE c IS NULL").await?, ["2"]);
    assert_eq!(world.rows("SELECT b, c FROM t WHERE a > 2 AND c < 32").await?, [",31"]);
    assert_eq!(world.files("SELECT b FROM t WHERE a > 2").await?, 1);
    // Fields within are found by name and id.
    for (version, names, id) in [(1, ["Col-f", "other"], 8), (2, ["Col-f", "col-g"], 9), (3, ["col-g", "Col-f"], 8)] {
        let path = format!("{version}x.parquet");
        let wrong = file(&path, 21, vec![("st", 5, struct_of(&names, 1, id))]).await?;
        world.commit(version, std::slice::from_ref(&wrong)).await?;
        let error = world.error(None, "SELECT st FROM t").await;
        assert!(error.contains("by name and id") && error.contains(&path), "{error}");
        assert_eq!(world.rows("SELECT count(a) FROM t").await?, ["4"]);
        world.commit(version, &[]).await?;
    }
    // Files without ids, and with one twice.
    let without = world.file("9.parquet", vec![("one", longs(&[1]))], values.clone(), stats(1)).await?;
    world.commit(4, std::slice::from_ref(&without)).await?;
    assert!(world.error(None, "SELECT a FROM t").await.contains("has no ids of columns"));
    let twice = file("8.parquet", 1, vec![("x", 1, longs(&[1])), ("y", 1, longs(&[1]))]).await?;
    world.commit(5, &[remove(&without), twice]).await?;
    assert!(world.error(None, "SELECT a FROM t").await.contains("as 'x' and as 'y'"));
    Ok(())
}

/// The rows 3, 4, 7, 11, 18 and 29.
fn inline() -> Value {
    json!({"storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", "sizeInBytes": 44, "cardinality": 6})
}

fn with_vector(add: &Value, vector: &Value) -> Value {
    let mut add = add.clone();
    add["add"]["deletionVector"] = vector.clone();
    add
}

fn removed_with_vector(add: &Value) -> Value {
    let mut remove = remove(add);
    remove["remove"]["deletionVector"] = add["add"]["deletionVector"].clone();
    remove
}

#[tokio::test]
async fn deleted_rows_are_left_out_in_each_version() -> TestResult {
    let world = World::new()?;
    let ids: Vec<i32> = (0..30).collect();
    let stats =
        json!({"numRecords": 30, "minValues": {"a": 0}, "maxValues": {"a": 29}, "nullCount": {"a": 0}, "tightBounds": false});
    let file = world.file("1.parquet", vec![("a", ints(&ids))], json!({}), stats).await?;
    let other = world.file("2.parquet", vec![("a", ints(&[100, 101]))], json!({}), json!({"numRecords": 2})).await?;
    let features = protocol(3, json!(["deletionVectors"]));
    world.commit(0, &[features.clone(), metadata(&[field("a", "integer")], &[], json!({})), file.clone(), other.clone()]).await?;
    let first = with_vector(&file, &inline());
    world.commit(1, &[first.clone(), remove(&file)]).await?;
    // A second vector of the file, in a file of vectors: all rows but two.
    let more = world.vector("deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin", &file, &(2..30).collect()).await?;
    world.commit(2, &[removed_with_vector(&first), more.clone()]).await?;
    let sums = "SELECT count(*), sum(a), min(a), max(a) FROM t";
    let at = |version| Some(AsOf::Version(version));
    assert_eq!(world.rows_of(at(0), sums).await?, ["32,636,0,101"]);
    assert_eq!(world.rows_of(at(1), sums).await?, ["26,564,0,101"]);
    assert_eq!(world.rows(sums).await?, ["4,202,0,101"]);
    for (version, expected) in [(0, "32"), (1, "26"), (2, "4")] {
        assert_eq!(world.rows_of(at(version), "SELECT count(*) FROM t").await?, [expected]);
    }
    assert_eq!(world.rows_of(at(1), "SELECT a FROM t WHERE a BETWEEN 2 AND 8 ORDER BY a").await?, ["2", "5", "6", "8"]);
    assert_eq!(world.rows_of(at(1), "SELECT max(a) FROM t WHERE a < 100").await?, ["28"]);
    assert_eq!(world.rows("SELECT a FROM t WHERE a < 50 ORDER BY a DESC LIMIT 5").await?, ["1", "0"]);
    assert_eq!(world.rows_of(at(1), "SELECT a FROM t ORDER BY a DESC LIMIT 3").await?, ["101", "100", "28"]);
    assert_eq!(world.files("SELECT a FROM t WHERE a = 1000").await?, 1, "statistics of files with vectors leave them out");
    // Checkpoints of each form have them.
    let rows = rows_of_checkpoint(&world).await?;
    for files in forms(&rows)? {
        for (name, bytes) in &files {
            world.put(name, bytes.clone()).await?;
        }
        assert_eq!(world.rows(sums).await?, ["4,202,0,101"], "{}", files[0].0);
        for (name, _) in &files {
            world.store.delete(&Path::parse(format!("t%20 1/{name}"))?).await?;
        }
    }
    // All rows of all files.
    let all = world.vector("deletion_vector_00000000-0000-0000-0000-000000000000.bin", &file, &(0..30).collect()).await?;
    world.commit(0, &[features.clone(), metadata(&[field("a", "integer")], &[], json!({})), all.clone()]).await?;
    for version in 1..=2 {
        world.commit(version, &[]).await?;
    }
    assert_eq!(world.rows("SELECT count(*), count(a), max(a) FROM t").await?, ["0,0,"]);
    assert_eq!(world.rows("SELECT a FROM t").await?, [""; 0]);
    assert_eq!(world.rows("SELECT a FROM t WHERE a >= 0 LIMIT 1").await?, [""; 0]);
    // More rows than there are, which statistics alone would not tell.
    let mut wrong = all.clone();
    wrong["add"]["deletionVector"]["cardinality"] = json!(31);
    world.commit(0, &[features, metadata(&[field("a", "integer")], &[], json!({})), wrong]).await?;
    assert!(world.error(None, "SELECT count(*) FROM t").await.contains("31 rows are deleted, of 30"));
    Ok(())
}

#[tokio::test]
async fn vectors_that_cannot_be_read_are_errors() -> TestResult {
    let world = World::new()?;
    let ids: Vec<i32> = (0..30).collect();
    let file = world.file("1.parquet", vec![("a", ints(&ids))], json!({}), json!({"numRecords": 30})).await?;
    let table = [protocol(3, json!(["deletionVectors"])), metadata(&[field("a", "integer")], &[], json!({}))];
    let with = |vector: Value| [table.to_vec(), vec![with_vector(&file, &vector)]].concat();
    let id = "ab^-aqEH.-t@S}K{vb[*k^";
    let changed = |key: &str, value: Value| {
        let mut vector = json!({"storageType": "u", "pathOrInlineDv": id, "offset": 1, "sizeInBytes": 40, "cardinality": 6});
        vector[key] = value;
        vector
    };
    for (vector, expected) in [
        (changed("storageType", json!("u")), "not found"),
        (changed("storageType", json!("x")), "stored as 'x'"),
        (changed("pathOrInlineDv", json!("../../^-aqEH.-t@S}K{vb[*k^")), "names no file"),
        (changed("pathOrInlineDv", json!("x")), "names no file"),
        (changed("sizeInBytes", Value::Null), "sizeInBytes"),
        (changed("cardinality", json!(-1)), "no cardinality"),
        (changed("offset", json!(-1)), "no offset"),
        (changed("sizeInBytes", json!(65 << 20)), "more than 64 MiB"),
        (
            json!({"storageType": "p", "pathOrInlineDv": "s3://other/x.bin", "offset": 1, "sizeInBytes": 40, "cardinality": 6}),
            "another place",
        ),
        (
            json!({"storageType": "p", "pathOrInlineDv": "file:///etc/passwd", "offset": 1, "sizeInBytes": 40, "cardinality": 6}),
            "another place",
        ),
    ] {
        world.commit(0, &with(vector.clone())).await?;
        let error = world.error(None, "SELECT a FROM t").await;
        assert!(error.contains(expected), "{vector}: {error}");
    }
    // The same vector by its absolute path.
    let rows: BTreeSet<u32> = [3, 4, 7, 11, 18, 29].into();
    let add = world.vector("x y.bin", &file, &rows).await?;
    let mut absolute = add.clone();
    absolute["add"]["deletionVector"]["storageType"] = json!("p");
    absolute["add"]["deletionVector"]["pathOrInlineDv"] = json!("s3://bucket/t%25201/x%20y.bin");
    world.commit(0, &[table.to_vec(), vec![absolute.clone()]].concat()).await?;
    let gone = world.error(None, "SELECT a FROM t").await;
    assert!(gone.contains("not found"), "{gone}");
    absolute["add"]["deletionVector"]["pathOrInlineDv"] = json!("s3://bucket/t%2520%201/x%20y.bin");
    world.commit(0, &[table.to_vec(), vec![absolute]].concat()).await?;
    assert_eq!(world.rows("SELECT count(*), count(a), sum(a) FROM t").await?, ["24,24,363"]);
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
    let with = |add: Value| [protocol(3, json!(["deletionVectors"])), metadata(&fields, &[], json!({})), add];
    world.commit(0, &with(file.clone())).await?;
    assert_eq!(world.rows("SELECT * FROM t").await?, ["1"]);
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
