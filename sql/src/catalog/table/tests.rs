//! Tables of each format read through DataFusion, and how many listings a query of many partitions makes.

use super::super::json::{JsonCatalog, StoreSharing};
use super::super::model::{Column, Database, EXTERNAL_TABLE, Partition, SerdeInfo, StorageDescriptor};
use super::super::{CatalogError, require_table};
use super::*;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::SessionContext;
use engine::clock::Stopwatch;
use engine::session::{session_config, session_options, session_state};
use engine::settings::Settings;
use engine::task::{decode_plan, encode_plan};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

type TestResult<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const PARQUET: &str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";
const LAZY: &str = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe";
const OPEN_CSV: &str = "org.apache.hadoop.hive.serde2.OpenCSVSerde";
const REGEX: &str = "org.apache.hadoop.hive.serde2.RegexSerDe";
const JSON: &str = "org.openx.data.jsonserde.JsonSerDe";

/// Counts listings.
#[derive(Debug, Default)]
struct Counting {
    inner: InMemory,
    lists: AtomicUsize,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counting")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

struct World {
    context: SessionContext,
    store: Arc<Counting>,
    catalog: Arc<JsonCatalog>,
}

impl World {
    async fn new() -> TestResult<Self> {
        let config = session_config(&session_options(&Settings::default(), 2))?;
        let context = SessionContext::new_with_state(session_state(config, Arc::new(RuntimeEnv::default())).build());
        let store = Arc::new(Counting::default());
        context.register_object_store(ObjectStoreUrl::parse("s3://bucket")?.as_ref(), Arc::clone(&store) as Arc<dyn ObjectStore>);
        let catalog = JsonCatalog::new(Arc::new(InMemory::new()), Path::default(), StoreSharing::Shared);
        catalog.create_database(&Database { name: "d".into(), ..Database::default() }).await?;
        Ok(Self { context, store, catalog: Arc::new(catalog) })
    }

    async fn table(
        &self,
        serde: &str,
        columns: &[(&str, &str)],
        keys: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> TestResult<Table> {
        self.table_of(serde, None, columns, keys, more).await
    }

    async fn table_of(
        &self,
        serde: &str,
        input: Option<&str>,
        columns: &[(&str, &str)],
        keys: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> TestResult<Table> {
        let typed = |columns: &[(&str, &str)]| columns.iter().map(|(name, kind)| Column::new(name, kind)).collect();
        let (serde_properties, properties) =
            more.iter().partition::<Vec<_>, _>(|(key, _)| !key.contains("header") && !key.contains("projection"));
        let owned = |pairs: Vec<&(&str, &str)>| pairs.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let serde =
            SerdeInfo { serialization_library: Some(serde.into()), parameters: owned(serde_properties), ..SerdeInfo::default() };
        let storage = StorageDescriptor {
            columns: typed(columns),
            location: Some("s3://bucket/t/".into()),
            serde_info: Some(serde),
            input_format: input.map(str::to_string),
            ..StorageDescriptor::default()
        };
        let table = Table {
            database_name: "d".into(),
            name: "t".into(),
            table_type: Some(EXTERNAL_TABLE.into()),
            partition_keys: typed(keys),
            storage_descriptor: Some(storage),
            parameters: owned(properties),
            ..Table::default()
        };
        self.catalog.create_table(&table).await?;
        let table = require_table(&*self.catalog, "d", "t").await?;
        let provider = open(&self.context.state(), Arc::clone(&self.catalog) as Arc<dyn Catalog>, &table)?;
        self.context.deregister_table("t")?;
        self.context.register_table("t", provider)?;
        Ok(table)
    }

    async fn add(&self, table: &Table, values: &[&str], location: &str) -> Result<(), CatalogError> {
        let values = values.iter().map(ToString::to_string).collect();
        self.catalog.add_partitions(table, &[Partition::of(table, values, location)]).await.map(drop)
    }

    async fn put(&self, path: &str, text: &str) -> TestResult {
        self.store.put(&Path::parse(path)?, PutPayload::from(text.as_bytes().to_vec())).await?;
        Ok(())
    }

    async fn parquet(&self, path: &str, query: &str) -> TestResult {
        self.context.sql(&format!("COPY ({query}) TO 's3://bucket/{path}' STORED AS PARQUET")).await?.collect().await?;
        Ok(())
    }

    async fn rows(&self, sql: &str) -> TestResult<Vec<String>> {
        let batches = self.context.sql(sql).await?.collect().await?;
        let text = pretty_format_batches(&batches)?.to_string();
        let lines = text.lines().skip(3).filter(|line| line.starts_with('|'));
        Ok(lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",")).collect())
    }

    /// Rows of a plan that went through its encoded form, as it does on the way to a worker.
    async fn shipped(&self, sql: &str) -> TestResult<usize> {
        let plan = self.context.sql(sql).await?.create_physical_plan().await?;
        let task = self.context.task_ctx();
        let decoded = decode_plan(&encode_plan(Arc::clone(&plan), &task)?, &task)?;
        let shown = |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(true).to_string();
        assert_eq!(shown(&plan), shown(&decoded));
        let text = |batches: &[_]| pretty_format_batches(batches).map(|text| text.to_string());
        let (here, there) = (collect(plan, Arc::clone(&task)).await?, collect(decoded, task).await?);
        assert_eq!(text(&here)?, text(&there)?);
        Ok(here.iter().map(|batch| batch.num_rows()).sum())
    }

    async fn fails(&self, sql: &str, with: &str) -> bool {
        let outcome = self.rows(sql).await;
        outcome.is_err_and(|error| format!("{error}").contains(with) || format!("{error:?}").contains(with))
    }
}

#[tokio::test]
async fn parquet_columns_are_found_by_name_in_any_case_and_absent_ones_are_null() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/a.parquet", "SELECT CAST(1 AS INT) AS \"Id\", 'x' AS name").await?;
    world.parquet("t/sub/b.parquet", "SELECT 'y' AS name, CAST(2 AS BIGINT) AS \"Id\", 1 AS more").await?;
    world.put("t/_hidden/c.parquet", "no parquet").await?;
    world.put("t/.d", "no parquet").await?;
    world.put("t/empty", "").await?;
    world.table(PARQUET, &[("id", "bigint"), ("name", "string"), ("absent", "double")], &[], &[]).await?;
    assert_eq!(world.rows("SELECT id, name, absent FROM t ORDER BY id").await?, ["1,x,", "2,y,"]);
    assert_eq!(world.rows("SELECT name FROM t WHERE id > 1").await?, ["y"]);
    assert_eq!(world.rows("SELECT count(*) FROM t").await?, ["2"]);
    Ok(())
}

#[tokio::test]
async fn parquet_files_that_do_not_fit_the_table_are_errors() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/a.parquet", "SELECT 1 AS \"Id\", 'x' AS s, named_struct('A', 1) AS n").await?;
    world.parquet("t/b.parquet", "SELECT 1 AS \"ID\", 'x' AS s, named_struct('A', 1) AS n").await?;
    world.table(PARQUET, &[("id", "bigint"), ("s", "int"), ("n", "struct<a:bigint>")], &[], &[]).await?;
    assert_eq!(world.rows("SELECT id FROM t").await?, ["1", "1"]);
    world.catalog.drop_table("d", "t").await?;
    world.store.delete(&Path::from("t/b.parquet")).await?;
    world.table(PARQUET, &[("id", "bigint"), ("s", "int"), ("n", "struct<a:bigint>"), ("c", "array<char(3)>")], &[], &[]).await?;
    assert_eq!(world.rows("SELECT id FROM t").await?, ["1"]);
    assert!(world.fails("SELECT s FROM t", "HIVE_BAD_DATA").await);
    assert_eq!(world.rows("SELECT n FROM t").await?, ["{a: 1}"]);
    assert!(world.fails("SELECT c FROM t", "char(n) inside of other types").await);
    Ok(())
}

#[tokio::test]
async fn nested_parquet_columns_are_read() -> TestResult {
    let world = World::new().await?;
    world
        .parquet("t/a.parquet", "SELECT named_struct('a', 1, 'b', 'x') AS s, make_array(1, 2) AS l, map(['k'], [1]) AS m")
        .await?;
    world
        .table(
            PARQUET,
            &[("s", "struct<b:string,c:int,a:bigint>"), ("l", "array<bigint>"), ("m", "map<string,bigint>")],
            &[],
            &[],
        )
        .await?;
    assert_eq!(world.rows("SELECT s, l, m FROM t").await?, ["{b: x, c: , a: 1},[1, 2],{k: 1}"]);
    Ok(())
}

#[tokio::test]
async fn partitions_are_pruned_before_anything_is_listed() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/2/f.parquet", "SELECT 1 AS a").await?;
    world.parquet("t/77/f.parquet", "SELECT 2 AS a").await?;
    let table = world.table(PARQUET, &[("a", "bigint")], &[("n", "int"), ("s", "string")], &[]).await?;
    let partitions: Vec<Partition> = (0..10_000)
        .map(|n| {
            Partition::of(
                &table,
                vec![n.to_string(), if n % 2 == 0 { "even" } else { "odd" }.into()],
                &format!("s3://bucket/t/{n}/"),
            )
        })
        .collect();
    world.catalog.add_partitions(&table, &partitions).await?;
    for (condition, rows, lists) in [
        ("n = 77", vec!["2,77,odd"], 1),
        ("n IN (2, 77, 99999)", vec!["1,2,even", "2,77,odd"], 2),
        ("n BETWEEN 70 AND 79 AND s = 'odd'", vec!["2,77,odd"], 5),
        ("n + 1 = 78 AND a > 1", vec!["2,77,odd"], 1),
        ("n % 1000 = 2 AND s LIKE 'ev%'", vec!["1,2,even"], 10),
        ("(n = 2 AND s = 'odd') OR n = 77", vec!["2,77,odd"], 1),
        ("n = 2 AND n = 77", vec![], 0),
        ("s IS NULL", vec![], 0),
    ] {
        let (before, watch) = (world.store.lists.load(Ordering::Relaxed), Stopwatch::start());
        assert_eq!(world.rows(&format!("SELECT a, n, s FROM t WHERE {condition} ORDER BY n")).await?, rows, "{condition}");
        assert_eq!(world.store.lists.load(Ordering::Relaxed) - before, lists, "{condition}");
        assert!(watch.elapsed().as_secs() < 10, "{condition}: {:?}", watch.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn projected_partitions_are_not_asked_of_the_catalog() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/day=2024-02-29/k=b/f.parquet", "SELECT 1 AS a").await?;
    let properties = [
        ("projection.enabled", "true"),
        ("projection.day.type", "date"),
        ("projection.day.format", "yyyy-MM-dd"),
        ("projection.day.range", "2000-01-01,NOW"),
        ("projection.k.type", "injected"),
    ];
    world.table(PARQUET, &[("a", "bigint")], &[("day", "date"), ("k", "string")], &properties).await?;
    let before = world.store.lists.load(Ordering::Relaxed);
    let sql = "SELECT a, day, k FROM t WHERE day >= DATE '2024-02-28' AND day < DATE '2024-03-02' AND k IN ('a', 'b')";
    assert_eq!(world.rows(sql).await?, ["1,2024-02-29,b"]);
    assert_eq!(world.store.lists.load(Ordering::Relaxed) - before, 6);
    assert!(world.fails("SELECT a FROM t WHERE day = DATE '2024-02-29'", "CONSTRAINT_VIOLATION").await);
    Ok(())
}

#[tokio::test]
async fn partition_values_have_their_types_and_the_null_folder_is_null() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/x/f.parquet", "SELECT 1 AS a").await?;
    world.parquet("t/y/f.parquet", "SELECT 2 AS a").await?;
    let table = world.table(PARQUET, &[("a", "bigint")], &[("d", "date"), ("m", "decimal(5,2)")], &[]).await?;
    world.add(&table, &["2024-01-31", "1.50"], "s3://bucket/t/x").await?;
    world.add(&table, &["__HIVE_DEFAULT_PARTITION__", "2.00"], "s3://bucket/t/y").await?;
    assert_eq!(world.rows("SELECT d, m, a FROM t ORDER BY a").await?, ["2024-01-31,1.50,1", ",2.00,2"]);
    assert_eq!(world.rows("SELECT a FROM t WHERE d IS NULL").await?, ["2"]);
    assert_eq!(world.rows("SELECT a FROM t WHERE d > DATE '2024-01-01'").await?, ["1"]);
    world.add(&table, &["no date", "2.00"], "s3://bucket/t/z").await?;
    assert!(world.fails("SELECT a FROM t WHERE m > 1", "HIVE_INVALID_PARTITION_VALUE").await);
    Ok(())
}

#[tokio::test]
async fn partition_values_are_not_read_as_more_than_they_say() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/x/f.parquet", "SELECT 1 AS a").await?;
    let table = world.table(PARQUET, &[("a", "bigint")], &[("b", "boolean"), ("v", "varchar(2)")], &[]).await?;
    world.add(&table, &["TRUE", "äb"], "s3://bucket/t/x").await?;
    assert_eq!(world.rows("SELECT b, v, a FROM t").await?, ["true,äb,1"]);
    world.add(&table, &["1", "ab"], "s3://bucket/t/x").await?;
    assert!(world.fails("SELECT a FROM t WHERE b", "Invalid partition value '1' for boolean partition key: b").await);
    let world = World::new().await?;
    let table = world.table(PARQUET, &[("a", "bigint")], &[("v", "varchar(2)")], &[]).await?;
    world.add(&table, &["abc"], "s3://bucket/t/x").await?;
    assert!(world.fails("SELECT a FROM t", "Invalid partition value 'abc' for varchar(2) partition key: v").await);
    Ok(())
}

#[tokio::test]
async fn lazy_simple_text_keeps_empty_strings_and_knows_null() -> TestResult {
    let world = World::new().await?;
    world.put("t/a.txt", "1\t\"x\ttrue\t2024-01-31\t1.5\n\\N\t\t\\N\t\t\n3\t\\N\tFALSE\t2024-02-01\t2\n").await?;
    let columns = [("i", "int"), ("s", "string"), ("b", "boolean"), ("d", "date"), ("f", "double")];
    world.table(LAZY, &columns, &[], &[("field.delim", "\t")]).await?;
    assert_eq!(
        world.rows("SELECT i, s, b, d, f FROM t").await?,
        ["1,\"x,true,2024-01-31,1.5", ",,,,", "3,,false,2024-02-01,2.0"]
    );
    assert_eq!(world.rows("SELECT count(*), count(s), count(i) FROM t").await?, ["3,2,2"]);
    assert_eq!(world.rows("SELECT i FROM t WHERE s = ''").await?, [""]);
    Ok(())
}

#[tokio::test]
async fn lazy_simple_text_has_fields_too_many_and_too_few_and_what_is_no_number_is_null() -> TestResult {
    let world = World::new().await?;
    world.put("t/k=7/a.txt", "1,x,1.5,2024-01-31,true,9,9\n2\n1.9,y,x,2024-01-32,maybe\nx,,1e2,x,FALSE\n300,z,+2,,\r\n").await?;
    let columns = [("i", "tinyint"), ("s", "string"), ("f", "double"), ("d", "date"), ("b", "boolean")];
    let table = world.table(LAZY, &columns, &[("k", "int")], &[("field.delim", ",")]).await?;
    world.add(&table, &["7"], "s3://bucket/t/k=7").await?;
    assert_eq!(
        world.rows("SELECT i, s, f, d, b, k FROM t").await?,
        ["1,x,1.5,2024-01-31,true,7", "2,,,,,7", "1,y,,2024-02-01,,7", ",,100.0,,false,7", ",z,2.0,,,7"]
    );
    assert_eq!(world.rows("SELECT b, k, i FROM t WHERE s = 'x'").await?, ["true,7,1"]);
    assert_eq!(world.rows("SELECT count(*), count(s), sum(k) FROM t").await?, ["5,4,35"]);
    Ok(())
}

#[tokio::test]
async fn an_escape_in_text_is_taken_away_and_nothing_is_escaped_where_none_is_named() -> TestResult {
    let world = World::new().await?;
    world.put("t/a.txt", "a,b\n\\N,c\n").await?;
    let more = [("field.delim", ","), ("escape.delim", "\\"), ("skip.header.line.count", "0")];
    world.table(LAZY, &[("x", "string"), ("y", "string")], &[], &more).await?;
    assert_eq!(world.rows("SELECT x, y FROM t").await?, ["a,b", ",c"]);
    world.put("t/b.txt", "a\\,n,b\\\n\\\\N,\\N\n").await?;
    assert_eq!(world.rows("SELECT x, y FROM t").await?, ["a,b", ",c", "a,n,b\\", "\\N,"]);
    assert_eq!(world.rows("SELECT count(*) FROM t WHERE x = 'a,n'").await?, ["1"]);
    world.catalog.drop_table("d", "t").await?;
    world.table(LAZY, &[("x", "string"), ("y", "string")], &[], &more[..1]).await?;
    assert_eq!(world.rows("SELECT y FROM t WHERE x = 'a\\'").await?, ["n"]);
    Ok(())
}

#[tokio::test]
async fn text_that_is_no_timestamp_is_null_and_tables_name_formats() -> TestResult {
    let world = World::new().await?;
    world.put("t/a.txt", "2024-01-31 10:00:00.5,1.5\n2024-01-31,\nx,2\n,3\n2024-01-31T24:00,4\n").await?;
    let columns = [("ts", "timestamp"), ("d", "decimal(5,1)")];
    world.table(LAZY, &columns, &[], &[("field.delim", ",")]).await?;
    assert_eq!(
        world.rows("SELECT ts, d FROM t").await?,
        ["2024-01-31T10:00:00.500,1.5", ",", ",2.0", ",3.0", "2024-02-01T00:00:00,4.0"]
    );
    world.put("t/a.txt", "2024-01-31 10:00:00,x\n,1e2\n,99999.95\n,-.05\n").await?;
    assert_eq!(world.rows("SELECT d FROM t").await?, ["", "100.0", "", "-0.1"]);
    world.catalog.drop_table("d", "t").await?;
    world.put("t/a.txt", "2024/01/31,1\n2024-01-31 10:00:00,2\n1706694000000,3\n31.1.2024,4\n").await?;
    let formats = |formats: &'static str| [("field.delim", ","), ("timestamp.formats", formats)];
    world.table(LAZY, &columns, &[], &formats("yyyy/MM/dd,millis")).await?;
    let expected = ["2024-01-31T00:00:00,1.0", "2024-01-31T10:00:00,2.0", "2024-01-31T09:40:00,3.0", ",4.0"];
    assert_eq!(world.rows("SELECT ts, d FROM t").await?, expected);
    assert_eq!(world.shipped("SELECT ts FROM t").await?, 4);
    world.catalog.drop_table("d", "t").await?;
    assert!(world.table(LAZY, &columns, &[], &formats("Q")).await.is_err());
    world.catalog.drop_table("d", "t").await?;
    let nested = world.table(LAZY, &[("ts", "array<timestamp>")], &[], &formats("yyyy/MM/dd")).await;
    assert!(nested.is_ok() && world.fails("SELECT ts FROM t", "timestamp.formats").await);
    Ok(())
}

#[tokio::test]
async fn properties_of_the_table_go_before_those_of_its_serde() -> TestResult {
    let world = World::new().await?;
    world.put("t/a.txt", "1;01/02/2020\n").await?;
    let columns = [("n", "int"), ("at", "timestamp")];
    let with = |more: &'static [(&'static str, &'static str)]| more;
    let serde = with(&[("field.delim", ","), ("timestamp.formats", "dd/MM/yyyy")]);
    let mut table = world.table(LAZY, &columns, &[], serde).await?;
    table.parameters.extend([("field.delim".into(), ";".into()), ("timestamp.formats".into(), "MM/dd/yyyy".into())]);
    let provider = open(&world.context.state(), Arc::clone(&world.catalog) as Arc<dyn Catalog>, &table)?;
    world.context.deregister_table("t")?;
    world.context.register_table("t", provider)?;
    assert_eq!(world.rows("SELECT n, at FROM t").await?, ["1,2020-01-02T00:00:00"]);
    for (encoding, expected) in [("ISO-8859-1", "serialization.encoding"), ("utf8", "")] {
        let table = Table { parameters: [("serialization.encoding".to_string(), encoding.to_string())].into(), ..table.clone() };
        let made = check_input(&table);
        assert_eq!(made.is_err(), !expected.is_empty(), "{encoding}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_invalid_is_an_error_or_null_by_property() -> TestResult {
    const PROPERTY: &str = "use.null.for.invalid.data";
    let world = World::new().await?;
    let columns = [("n", "int"), ("d", "date"), ("at", "timestamp"), ("b", "boolean"), ("x", "decimal(4,1)")];
    let text = "1,18276,1579146280000,true,1.5\n";
    world.put("t/a.csv", text).await?;
    world.table(OPEN_CSV, &columns, &[], &[]).await?;
    assert_eq!(world.rows("SELECT * FROM t").await?, ["1,2020-01-15,2020-01-16T03:44:40,true,1.5"]);
    world.put("t/a.csv", &format!("{text},,,,\nx,2020-01-15,2020-01-15 10:00:00,yes,1e5\n")).await?;
    for (column, _) in columns {
        assert!(world.rows(&format!("SELECT {column} FROM t")).await.is_err(), "{column}");
    }
    world.catalog.drop_table("d", "t").await?;
    world.table(OPEN_CSV, &columns, &[], &[(PROPERTY, "TRUE")]).await?;
    assert_eq!(world.rows("SELECT * FROM t").await?, ["1,2020-01-15,2020-01-16T03:44:40,true,1.5", ",,,,", ",,,,"]);
    assert_eq!(world.rows("SELECT count(*) FROM t WHERE n IS NULL").await?, ["2"]);
    assert_eq!(world.shipped("SELECT n, b FROM t").await?, 3);
    world.catalog.drop_table("d", "t").await?;
    world.put("t/a.csv", "{\"n\":1}\n{\"n\":\"x\",\"d\":\"2020-01-15\"}\n").await?;
    world.table(JSON, &columns, &[], &[]).await?;
    assert_eq!(world.rows("SELECT d FROM t").await?, ["", "2020-01-15"]);
    assert!(world.fails("SELECT n FROM t", "HIVE_BAD_DATA: Failed to parse value: x is no integer").await);
    world.catalog.drop_table("d", "t").await?;
    world.table(JSON, &columns, &[], &[(PROPERTY, "true")]).await?;
    assert_eq!(world.rows("SELECT n, d FROM t").await?, ["1,", ",2020-01-15"]);
    Ok(())
}

#[tokio::test]
async fn open_csv_has_quotes_and_no_null() -> TestResult {
    let world = World::new().await?;
    world.put("t/a.csv", "h1,h2,h3\n\"a, \"\"b\"\"\",,1\n\"c \\\" d\",\"e\",2\n").await?;
    world.table(OPEN_CSV, &[("x", "string"), ("y", "string"), ("n", "int")], &[], &[("skip.header.line.count", "1")]).await?;
    assert_eq!(world.rows("SELECT x, y, n FROM t").await?, ["a, \"b\",,1", "c \" d,e,2"]);
    assert_eq!(world.rows("SELECT n FROM t WHERE y = ''").await?, ["1"]);
    world.put("t/b.csv", "h1,h2,h3\n\"x\",\"y\",\"\"\n").await?;
    assert!(world.fails("SELECT n FROM t", "Cannot cast").await);
    // Fields too many are nobody's, those that are missing NULL.
    world.put("t/b.csv", "h1,h2,h3\nx,y,3,z\nx\n\"x,y,3\n").await?;
    world.store.delete(&Path::from("t/a.csv")).await?;
    assert_eq!(world.rows("SELECT x, y IS NULL, n FROM t").await?, ["x,false,3", "x,true,", ",true,"]);
    Ok(())
}

#[tokio::test]
async fn lines_of_a_pattern_are_cut_into_its_groups() -> TestResult {
    let world = World::new().await?;
    world.put("t/a.log", "10.0.0.1 - [2024-01-31 10:00:00] \"GET /x\" 200 1.5 TRUE\nnonsense\nHOST - [-] \"\" 1.5 x\n").await?;
    let columns = [("host", "string"), ("ts", "timestamp"), ("req", "varchar(3)"), ("st", "int"), ("d", "decimal(4,2)")];
    let more = [("b", "boolean"), ("none", "bigint")];
    let columns: Vec<_> = columns.into_iter().chain(more).collect();
    let regex = "([^ ]*) - \\[([^\\]]*)\\] \"([^\"]*)\" ([-.0-9]*) ([^ ]+)(?: (.*))?";
    world.table(REGEX, &columns, &[], &[("input.regex", regex)]).await?;
    assert_eq!(world.rows("SELECT * FROM t").await?, ["10.0.0.1,2024-01-31T10:00:00,GET,200,1.50,true,", ",,,,,,", "HOST,,,,,,"]);
    world.catalog.drop_table("d", "t").await?;
    let ignoring = [("input.regex", "host - .*|(ten|10).*"), ("input.regex.case.insensitive", "true")];
    world.table(REGEX, &[("x", "string"), ("y", "string")], &[], &ignoring).await?;
    assert_eq!(world.rows("SELECT x, y FROM t").await?, ["10,", ",", ","]);
    world.catalog.drop_table("d", "t").await?;
    assert!(world.table(REGEX, &columns, &[], &[]).await.is_err_and(|error| error.to_string().contains("input.regex")));
    Ok(())
}

#[tokio::test]
async fn json_keys_are_matched_in_any_case_on_every_line() -> TestResult {
    let world = World::new().await?;
    let mut lines = "\u{feff}{\"Id\": 1, \"tags\": [\"a\"], \"o\": {\"x\": 1}}\n".to_string();
    lines.extend((2..1_500).map(|i| format!("{{\"id\": {i}, \"zz\": {i}}}\n")));
    lines.push_str("{\"tags\": null, \"ID\": 1500, \"zz\": {\"q\": 1}, \"O\": {\"X\": 7, \"Y\": true}}\n");
    world.put("t/a.json", &lines).await?;
    let columns = [("id", "int"), ("tags", "array<string>"), ("o", "struct<x:int,y:string>"), ("ts", "timestamp")];
    world.table(JSON, &columns, &[], &[]).await?;
    let sql = "SELECT id, tags, o, ts FROM t WHERE id IN (1, 1500) ORDER BY id";
    assert_eq!(world.rows(sql).await?, ["1,[a],{x: 1, y: },", "1500,,{x: 7, y: true},"]);
    assert_eq!(world.rows("SELECT count(*), count(id), sum(id) FROM t").await?, ["1500,1500,1125750"]);
    Ok(())
}

#[tokio::test]
async fn the_json_serdes_differ_in_what_they_forgive() -> TestResult {
    let world = World::new().await?;
    let hive = "org.apache.hive.hcatalog.data.JsonSerDe";
    world.put("t/p=x/a.json", "{\"s\":5,\"d\":1.005}\n{\"s\":{\"a\":1}}\n{\"s\":true,\"d\":\"7\"}\n").await?;
    let columns = [("s", "varchar(6)"), ("d", "decimal(10,2)")];
    let table = world.table(JSON, &columns, &[("p", "string")], &[]).await?;
    world.add(&table, &["x"], "s3://bucket/t/p=x").await?;
    assert_eq!(world.rows("SELECT p, s, d FROM t").await?, ["x,5,1.01", "x,{\"a\":1,", "x,true,7.00"]);
    assert_eq!(world.rows("SELECT p FROM t WHERE d = DECIMAL '1.01'").await?, ["x"]);
    assert_eq!(world.shipped("SELECT s, p FROM t").await?, 3);
    world.catalog.drop_table("d", "t").await?;
    world.table(hive, &columns, &[], &[]).await?;
    assert!(world.fails("SELECT s FROM t", "HIVE_BAD_DATA").await);
    assert_eq!(world.rows("SELECT d FROM t").await?, ["1.01", "", "7.00"]);
    world.catalog.drop_table("d", "t").await?;

    world.put("t/p=x/a.json", "{\"s\":1}\n{\"s\":\n").await?;
    world.table(JSON, &columns, &[], &[]).await?;
    assert!(world.fails("SELECT s FROM t", "HIVE_BAD_DATA: Row is not a valid JSON Object").await);
    world.catalog.drop_table("d", "t").await?;
    world.table(JSON, &columns, &[], &[("ignore.malformed.json", "true")]).await?;
    assert_eq!(world.rows("SELECT s FROM t").await?, ["1", ""]);
    world.catalog.drop_table("d", "t").await?;
    world
        .put("t/p=x/a.json", "{\"User-Id\":1,\"user-id\":2,\"at\":\"31/01/2024 10:00\",\"r\":{\"a.b\":3,\"User-Id\":4}}\n")
        .await?;
    let columns = [("id", "int"), ("at", "timestamp"), ("r", "struct<a_b:int,id:int>")];
    let keys = [
        ("case.insensitive", "FALSE"),
        ("dots.in.keys", "TRUE"),
        ("mapping.id", "User-Id"),
        ("timestamp.formats", "dd/MM/yyyy HH:mm"),
    ];
    world.table(JSON, &columns, &[], &keys).await?;
    assert_eq!(world.rows("SELECT id, at, r.a_b, r.id FROM t").await?, ["1,2024-01-31T10:00:00,3,4"]);
    assert_eq!(world.shipped("SELECT r FROM t").await?, 1);
    world.catalog.drop_table("d", "t").await?;
    world.table(hive, &[("at", "timestamp")], &[], &[("timestamp.formats", "yyyy,dd/MM/yyyy HH:mm")]).await?;
    assert_eq!(world.rows("SELECT at FROM t").await?, ["2024-01-31T10:00:00"]);
    world.catalog.drop_table("d", "t").await?;
    for (serde, key, value) in [
        (hive, "ignore.malformed.json", "true"),
        (hive, "case.insensitive", "FALSE"),
        (hive, "mapping.a", "b"),
        (JSON, "timestamp.formats", "VV"),
    ] {
        let made = world.table(serde, &columns, &[], &[(key, value)]).await;
        assert!(made.is_err_and(|error| error.to_string().contains(key.split('.').next().unwrap_or_default())), "{key}");
        world.catalog.drop_table("d", "t").await?;
    }
    Ok(())
}

#[tokio::test]
async fn other_formats_are_refused_by_name() -> TestResult {
    let world = World::new().await?;
    for (serde, name) in [
        ("org.apache.hadoop.hive.ql.io.orc.OrcSerde", "ORC"),
        ("org.apache.hadoop.hive.serde2.avro.AvroSerDe", "Avro"),
        ("com.amazonaws.glue.serde.GrokSerDe", "GrokSerDe"),
        ("com.example.Other", "com.example.Other"),
    ] {
        let made = world.table(serde, &[("a", "int")], &[], &[]).await;
        assert!(made.is_err_and(|error| error.to_string().contains(name)), "{serde}");
        world.catalog.drop_table("d", "t").await?;
    }
    let more = [("skip.header.line.count", "x")];
    assert!(world.table(OPEN_CSV, &[("a", "int")], &[], &more).await.is_err());
    Ok(())
}

#[test]
fn input_formats_are_those_of_lines_and_of_parquet() -> TestResult {
    let table = |serde: &str, input: &str| {
        let serde = SerdeInfo { serialization_library: Some(serde.into()), ..SerdeInfo::default() };
        let storage =
            StorageDescriptor { serde_info: Some(serde), input_format: Some(input.into()), ..StorageDescriptor::default() };
        check_input(&Table { storage_descriptor: Some(storage), ..Table::default() })
    };
    let (text, parquet) =
        ("org.apache.hadoop.mapred.TextInputFormat", "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat");
    for (serde, input) in [(JSON, text), (LAZY, text), (LAZY, ""), (PARQUET, parquet), ("", parquet), ("", text)] {
        assert!(table(serde, input).is_ok(), "{serde} {input}");
    }
    for (serde, input) in [
        (JSON, "com.amazon.emr.cloudtrail.CloudTrailInputFormat"),
        ("com.amazon.emr.hive.serde.CloudTrailSerde", text),
        (LAZY, "org.apache.hadoop.mapred.SequenceFileInputFormat"),
        (LAZY, parquet),
        (PARQUET, text),
    ] {
        assert!(table(serde, input).is_err_and(|error| error.message.contains(input)), "{serde} {input}");
    }
    let lines = |text: &str| text::skipped_lines(&[("skip.header.line.count".to_string(), text.to_string())].into());
    assert_eq!((lines("0")?.header, lines("7")?.header, text::skipped_lines(&Default::default())?.header), (0, 7, 0));
    assert!(lines("-1").is_err() && lines("101").is_err());
    Ok(())
}

#[tokio::test]
async fn text_may_hold_any_byte_and_numbers_are_javas() -> TestResult {
    let world = World::new().await?;
    world.put("t/a.txt", "\0a\0b,1.5f,2d\n\0,0x1p3, 7 \n\"q,inf,-Infinity\nx,nan,NaN\ny,1.,\n").await?;
    world.table(LAZY, &[("s", "string"), ("f", "double"), ("r", "float")], &[], &[("field.delim", ",")]).await?;
    assert_eq!(world.rows("SELECT length(s), f, r FROM t").await?, ["4,1.5,2.0", "1,8.0,7.0", "2,,-inf", "1,,NaN", "1,1.0,"]);
    world.catalog.drop_table("d", "t").await?;
    let regex = [("input.regex", "([^,]*),([^,]*),([^,]*)")];
    world.table(REGEX, &[("s", "string"), ("f", "double"), ("r", "float")], &[], &regex).await?;
    assert_eq!(world.rows("SELECT f, r FROM t WHERE s = 'x'").await?, [",NaN"]);
    world.catalog.drop_table("d", "t").await?;
    world.put("t/a.txt", "a\u{16}b\u{16}c\n").await?;
    world.table(LAZY, &[("s", "string"), ("t", "string")], &[], &[("field.delim", "\u{16}")]).await?;
    assert_eq!(world.rows("SELECT t, s FROM t").await?, ["b,a"]);
    world.catalog.drop_table("d", "t").await?;
    world.put("t/a.txt", "h\nh\na\u{16}b\u{16}c\n\nfoot\n").await?;
    let more = [("skip.header.line.count", "2"), ("skip.footer.line.count", "1")];
    world.table(LAZY, &[("s", "string"), ("t", "string")], &[], &more).await?;
    assert_eq!(world.rows("SELECT s, t FROM t").await?, ["a\u{16}b\u{16}c,", ","]);
    assert_eq!(world.shipped("SELECT s, t FROM t").await?, 2);
    assert_eq!(world.shipped("SELECT count(*) FROM t").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_column_that_is_called_path_is_no_path() -> TestResult {
    let world = World::new().await?;
    world.put("t/$path=own/a.txt", "1\n").await?;
    let table = world.table(LAZY, &[("a", "int")], &[("$path", "string")], &[]).await?;
    world.add(&table, &["own"], "s3://bucket/t/$path=own").await?;
    assert_eq!(world.rows("SELECT a, \"$path\" FROM t WHERE \"$path\" = 'own'").await?, ["1,own"]);
    Ok(())
}

#[tokio::test]
async fn an_empty_value_of_an_injected_key_is_no_partition() -> TestResult {
    let world = World::new().await?;
    world.put("t/x/a.txt", "1\n").await?;
    let more = [
        ("projection.enabled", "true"),
        ("projection.k.type", "injected"),
        ("projection.y.type", "integer"),
        ("projection.y.range", "0,99999999"),
    ];
    world.table(LAZY, &[("a", "int")], &[("k", "string"), ("y", "int")], &more).await?;
    assert!(world.rows("SELECT a FROM t WHERE k = '' AND y = 7").await?.is_empty());
    let before = world.store.lists.load(Ordering::Relaxed);
    assert!(world.rows("SELECT a FROM t WHERE k = 'x' AND y BETWEEN 7 AND 8").await?.is_empty());
    assert_eq!(world.store.lists.load(Ordering::Relaxed) - before, 2);
    assert!(world.fails("SELECT a FROM t WHERE k = 'x'", "100000000 values").await);
    Ok(())
}

#[tokio::test]
async fn plans_arrive_whole_at_workers() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/p=1/a.parquet", "SELECT 1 AS \"Id\", 'x' AS s").await?;
    let table = world.table(PARQUET, &[("id", "bigint"), ("s", "string"), ("n", "double")], &[("p", "int")], &[]).await?;
    world.add(&table, &["1"], "s3://bucket/t/p=1/").await?;
    assert_eq!(world.shipped("SELECT id, s, n, p FROM t WHERE id > 0 AND p < 2").await?, 1);
    world.catalog.drop_table("d", "t").await?;
    world.store.delete(&Path::from("t/p=1/a.parquet")).await?;

    world.put("t/a", "1\u{1}x\u{1}true\n\\N\u{1}\u{1}\\N\n").await?;
    let columns = [("i", "int"), ("s", "string"), ("b", "boolean")];
    world.table(LAZY, &columns, &[], &[]).await?;
    assert_eq!(world.shipped("SELECT b, s, i FROM t WHERE s = ''").await?, 1);
    world.catalog.drop_table("d", "t").await?;
    world.store.delete(&Path::from("t/a")).await?;

    world.put("t/a", "{\"I\": 1}\n{\"I\": 2}\n").await?;
    world.table(JSON, &[("i", "int"), ("s", "string")], &[], &[]).await?;
    assert_eq!(world.shipped("SELECT i, s FROM t WHERE i > 1").await?, 1);
    Ok(())
}

#[tokio::test]
async fn subqueries_are_no_partition_filters() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/1/f.parquet", "SELECT 1 AS a").await?;
    world.parquet("t/2/f.parquet", "SELECT 2 AS a").await?;
    let table = world.table(PARQUET, &[("a", "bigint")], &[("n", "int")], &[]).await?;
    world.add(&table, &["1"], "s3://bucket/t/1/").await?;
    world.add(&table, &["2"], "s3://bucket/t/2/").await?;
    assert_eq!(world.rows("SELECT a FROM t WHERE n = (SELECT max(n) FROM t)").await?, ["2"]);
    assert_eq!(world.rows("SELECT a FROM t WHERE n IN (SELECT n FROM t WHERE a = 1)").await?, ["1"]);
    assert_eq!(world.rows("SELECT n, count(*) FROM t GROUP BY n ORDER BY n LIMIT 1").await?, ["1,1"]);
    assert_eq!(world.rows("SELECT DISTINCT n FROM t ORDER BY n DESC").await?, ["2", "1"]);
    Ok(())
}

#[tokio::test]
async fn finer_timestamps_are_rounded_as_athena_rounds_them() -> TestResult {
    let world = World::new().await?;
    let times = "VALUES (1, '2024-01-01 00:00:00.123499'), (2, '2024-01-01 00:00:00.123500'), (3, '1969-12-31 23:59:59.999500'), \
        (4, '1969-12-31 23:59:59.999499'), (5, '1969-12-31 23:59:59.998400'), (6, NULL), (7, '1970-01-01 00:00:00.000001')";
    for unit in ["Microsecond", "Nanosecond"] {
        let query = format!("SELECT column1 AS i, arrow_cast(column2, 'Timestamp({unit}, None)') AS ts FROM ({times})");
        world.parquet("t/a.parquet", &query).await?;
        world.table(PARQUET, &[("i", "bigint"), ("ts", "timestamp")], &[], &[]).await?;
        let rows = world.rows("SELECT ts FROM t ORDER BY i").await?;
        let expected = [
            "2024-01-01T00:00:00.123",
            "2024-01-01T00:00:00.124",
            "1970-01-01T00:00:00",
            "1969-12-31T23:59:59.999",
            "1969-12-31T23:59:59.998",
            "",
            "1970-01-01T00:00:00",
        ];
        assert_eq!(rows, expected, "{unit}");
        assert_eq!(world.rows("SELECT i FROM t WHERE ts = TIMESTAMP '2024-01-01 00:00:00.124'").await?, ["2"]);
        world.catalog.drop_table("d", "t").await?;
    }
    world.store.delete(&Path::from("t/a.parquet")).await?;
    world.put("t/a", "2024-01-01 00:00:00.1235\u{1}2024-01-31\n").await?;
    world.table(LAZY, &[("ts", "timestamp"), ("d", "date")], &[], &[]).await?;
    assert_eq!(world.rows("SELECT ts, d FROM t").await?, ["2024-01-01T00:00:00.124,2024-01-31"]);
    Ok(())
}

#[tokio::test]
async fn json_numbers_and_times_are_those_of_the_serde() -> TestResult {
    let world = World::new().await?;
    let good = "{\"i\": 9223372036854775807, \"ts\": \"2024-01-01 00:00:00.1235\", \"d\": \"2024-01-31\"}\n{\"i\": null}\n";
    world.put("t/a.json", good).await?;
    world.table(JSON, &[("i", "bigint"), ("ts", "timestamp"), ("d", "date")], &[], &[]).await?;
    assert_eq!(world.rows("SELECT i, ts, d FROM t").await?, ["9223372036854775807,2024-01-01T00:00:00.124,2024-01-31", ",,"]);
    assert_eq!(world.shipped("SELECT i, ts FROM t").await?, 2);
    world
        .put("t/a.json", "{\"i\": 1.5, \"ts\": 1700000000, \"d\": 19000}\n{\"i\":\"x\",\"ts\":\"2024-01-01\",\"d\":\"x\"}")
        .await?;
    for column in ["i", "ts", "d"] {
        assert!(world.fails(&format!("SELECT {column} FROM t"), "HIVE_BAD_DATA").await, "{column}");
    }
    world.catalog.drop_table("d", "t").await?;
    let null = [("use.null.for.invalid.data", "true")];
    world.table(JSON, &[("i", "bigint"), ("ts", "timestamp"), ("d", "date")], &[], &null).await?;
    assert_eq!(world.rows("SELECT i, ts, d FROM t").await?, ["1,2023-11-14T22:13:20,2022-01-08", ",,"]);
    Ok(())
}

#[tokio::test]
async fn folders_on_disk_are_read_with_names_as_they_are() -> TestResult {
    let world = World::new().await?;
    let folder = tempfile::tempdir()?;
    for (partition, value) in [("p=a%3Ab", 1), ("p=c d", 2)] {
        let place = folder.path().join(partition);
        std::fs::create_dir_all(&place)?;
        std::fs::write(place.join("part 0"), format!("{value}\n"))?;
        std::fs::write(place.join("_SUCCESS"), "x\n")?;
    }
    let table = world.table(LAZY, &[("a", "int")], &[("p", "string")], &[]).await?;
    let base = format!("file://{}", folder.path().display());
    world.add(&table, &["a:b"], &format!("{base}/p=a%3Ab/")).await?;
    world.add(&table, &["c d"], &format!("{base}/p=c d/")).await?;
    world.add(&table, &["gone"], &format!("{base}/p=gone/")).await?;
    world.put("t/other", "3\n").await?;
    world.add(&table, &["other"], "s3://bucket/t/").await?;
    assert_eq!(world.rows("SELECT a, p FROM t ORDER BY a").await?, ["1,a:b", "2,c d", "3,other"]);
    assert_eq!(world.rows("SELECT a FROM t WHERE p = 'a:b'").await?, ["1"]);
    Ok(())
}

#[tokio::test]
async fn values_that_do_not_fit_the_declared_type_are_errors() -> TestResult {
    let world = World::new().await?;
    world.parquet("t/a.parquet", "SELECT 3000000000 AS i, X'ff' AS s, CAST(1.5 AS DECIMAL(5,1)) AS d").await?;
    world.table(PARQUET, &[("i", "int"), ("s", "string"), ("d", "decimal(10,2)")], &[], &[]).await?;
    assert_eq!(world.rows("SELECT d FROM t").await?, ["1.50"]);
    assert!(world.rows("SELECT i FROM t").await.is_err());
    assert!(world.rows("SELECT d FROM t WHERE i < 5").await?.is_empty());
    assert!(world.rows("SELECT s FROM t").await.is_err());
    world.parquet("t/a.parquet", "SELECT X'c3bc' AS s").await?;
    world.parquet("t/b.parquet", "SELECT 'x' AS s").await?;
    assert_eq!(world.rows("SELECT s FROM t ORDER BY s").await?, ["x", "ü"]);
    assert_eq!(world.rows("SELECT s FROM t WHERE s = 'ü'").await?, ["ü"]);
    world.parquet("t/a.parquet", "SELECT make_array(X'ff') AS l").await?;
    world.catalog.drop_table("d", "t").await?;
    world.table(PARQUET, &[("l", "array<string>")], &[], &[]).await?;
    assert!(world.fails("SELECT l FROM t", "UTF-8").await);
    world.parquet("t/a.parquet", "SELECT make_array(X'c3bc') AS l").await?;
    world.store.delete(&Path::from("t/b.parquet")).await?;
    assert_eq!(world.rows("SELECT l FROM t").await?, ["[ü]"]);
    Ok(())
}

const TRAIL: &str = "com.amazon.emr.cloudtrail.CloudTrailInputFormat";

#[tokio::test]
async fn files_of_cloudtrail_are_read_record_by_record() -> TestResult {
    let columns =
        [("eventname", "string"), ("n", "int"), ("requestparameters", "string"), ("resources", "array<struct<arn:string>>")];
    for serde in ["com.amazon.emr.hive.serde.CloudTrailSerde", "org.apache.hive.hcatalog.data.JsonSerDe"] {
        let world = World::new().await?;
        let one = r#"{"Records":[{"eventName":"A","n":1,"requestParameters":{"b":["x",{"c":1}]},"resources":[{"ARN":"r"}]},"#;
        world.put("t/a.json", &format!(r#"{one}{{"eventName":"B","n":2,"requestParameters":null}}]}}"#)).await?;
        world.put("t/b.json", "{\"x\":{\"Records\":[1]}, \"Records\" : [ {\"n\":3} ]}\n").await?;
        world.put("t/c.json", "{\"Records\":[]}").await?;
        world.table_of(serde, Some(TRAIL), &columns, &[("p", "string")], &[]).await?;
        let table = require_table(&*world.catalog, "d", "t").await?;
        world.add(&table, &["x"], "s3://bucket/t/").await?;
        let sql = "SELECT eventname, n, requestparameters, resources, p FROM t ORDER BY n";
        assert_eq!(world.rows(sql).await?, [r#"A,1,{"b":["x",{"c":1}]},[{arn: r}],x"#, "B,2,,,x", ",3,,,x"]);
        assert_eq!(world.rows("SELECT count(*) FROM t").await?, ["3"]);
        assert_eq!(world.rows("SELECT p, count(*) FROM t GROUP BY p").await?, ["x,3"]);
        assert_eq!(world.rows("SELECT n FROM t WHERE n > 1 ORDER BY n LIMIT 1").await?, ["2"]);
        assert_eq!(world.rows("SELECT p FROM t LIMIT 2").await?.len(), 2);
        assert_eq!(world.shipped("SELECT n, p FROM t").await?, 3);
        world.put("t/d.json", "{\n\"Records\": []}").await?;
        assert!(world.fails("SELECT n FROM t", "a file of CloudTrail is one line").await);
    }
    Ok(())
}

#[tokio::test]
async fn several_header_lines_are_left_out_of_each_file() -> TestResult {
    let world = World::new().await?;
    world.put("t/a", "#Version: 1.0\n#Fields: a b\n1\tx\n2\ty\n").await?;
    world.put("t/b", "\r\n#Fields: a b\r\n3\tz").await?;
    let columns = [("a", "int"), ("b", "string")];
    world.table(LAZY, &columns, &[("p", "string")], &[("field.delim", "\t"), ("skip.header.line.count", "2")]).await?;
    let table = require_table(&*world.catalog, "d", "t").await?;
    world.add(&table, &["x"], "s3://bucket/t/").await?;
    assert_eq!(world.rows("SELECT a, b, p FROM t ORDER BY a").await?, ["1,x,x", "2,y,x", "3,z,x"]);
    assert_eq!(world.rows("SELECT count(*) FROM t").await?, ["3"]);
    assert_eq!(world.rows("SELECT p FROM t WHERE b > 'x'").await?, ["x", "x"]);
    Ok(())
}

#[tokio::test]
async fn columns_of_char_are_filled_up_and_compared_without_their_spaces() -> TestResult {
    let text = World::new().await?;
    text.put("t/a", "AL,F,abc,1\nAK,,ab,2\nWA,\\N,abcdefg,3\n").await?;
    let columns = [("state", "char(2)"), ("gender", "char(1)"), ("name", "char(5)"), ("id", "int")];
    text.table(LAZY, &columns, &[], &[("field.delim", ",")]).await?;
    let files = World::new().await?;
    let rows = "('AL', 'F', 'abc', 1), ('AK', ' ', 'ab ', 2), ('WA', NULL, 'abcdefg', 3)";
    files.parquet("t/a.parquet", &format!("SELECT * FROM (VALUES {rows}) v(state, gender, name, id)")).await?;
    files.table(PARQUET, &columns, &[], &[]).await?;
    for world in [&text, &files] {
        let sql = "SELECT '[' || CAST(name AS varchar) || CAST(gender AS varchar) || ']' FROM t ORDER BY id";
        assert_eq!(world.rows(sql).await?, ["[abc  F]", "[ab    ]", ""]);
        assert_eq!(
            world.rows("SELECT gender, count(*) FROM t GROUP BY gender HAVING gender IS NOT NULL ORDER BY 1").await?.len(),
            2
        );
        assert_eq!(
            world.rows("SELECT a.id FROM t a JOIN t b ON a.name = b.name WHERE b.state IN ('AK', 'WA') ORDER BY 1").await?,
            ["2", "3"]
        );
        assert!(world.shipped("SELECT name FROM t WHERE gender <> 'F'").await? == 1);
    }
    Ok(())
}
