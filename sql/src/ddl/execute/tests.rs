//! Statements from text to the catalog and back.

use super::*;
use crate::catalog::json::{JsonCatalog, StoreSharing};
use crate::ddl::parse;
use arrow::datatypes::{DataType, Field, Schema};
use engine::ErrorKind;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

struct World {
    catalog: JsonCatalog,
    store: Arc<InMemory>,
    locations: DataLocations,
}

impl OpenStore for World {
    fn open(&self, store: &str) -> Result<Arc<dyn ObjectStore>> {
        assert_eq!(store, "s3://bucket");
        Ok(Arc::clone(&self.store) as Arc<dyn ObjectStore>)
    }
}

#[async_trait]
impl DescribeQuery for World {
    async fn columns(&self, query: &str, _: &str, _: (&str, &str)) -> Result<SchemaRef> {
        let kind = if query.contains("NULL") { DataType::Null } else { DataType::Int32 };
        Ok(Arc::new(Schema::new(vec![Field::new("X", kind, true), Field::new("y", DataType::Utf8View, true)])))
    }
}

impl World {
    async fn new() -> Result<Self> {
        let catalog = JsonCatalog::new(Arc::new(InMemory::new()), Path::default(), StoreSharing::Shared);
        let locations = DataLocations::new(&["s3://bucket/".into()])?;
        let world = Self { catalog, store: Arc::new(InMemory::new()), locations };
        world.run("CREATE DATABASE d COMMENT 'x'").await?;
        Ok(world)
    }

    async fn outcome(&self, sql: &str) -> Result<DdlOutcome> {
        let statement = parse(sql).unwrap_or_else(|| Err(Error::internal(format!("no DDL: {sql}"))))?;
        let context = DdlContext {
            database: "d",
            warehouse: None,
            locations: Some(&self.locations),
            stores: self,
            queries: self,
            functions: &["abs".to_string()],
        };
        execute(&statement, &self.catalog, &context).await
    }

    async fn run(&self, sql: &str) -> Result<Vec<String>> {
        let rows = self.outcome(sql).await?.rows;
        Ok(rows.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("\t")).collect())
    }

    async fn fails(&self, sql: &str, with: &str) {
        match self.run(sql).await {
            Ok(rows) => panic!("{sql}: {rows:?}"),
            Err(error) => assert!(error.message.contains(with), "{sql}: {}", error.message),
        }
    }
}

const TABLE: &str = "CREATE EXTERNAL TABLE t (a int COMMENT 'it''s', b array<string>) PARTITIONED BY (p string, q int) STORED AS PARQUET \
    LOCATION 's3a://bucket/t' TBLPROPERTIES ('k'='v')";

#[tokio::test]
async fn databases_and_tables_come_and_go() -> Result<()> {
    let world = World::new().await?;
    world.fails("CREATE DATABASE d", "AlreadyExistsException: Database d already exists").await;
    world.run("CREATE DATABASE IF NOT EXISTS d").await?;
    world.run("ALTER DATABASE d SET DBPROPERTIES ('a'='b', 'c'='d')").await?;
    world.run("ALTER SCHEMA d SET DBPROPERTIES ('a'='e')").await?;
    let changed = world.catalog.database("d").await?.ok_or_else(|| Error::internal("no database"))?;
    assert_eq!(changed.parameters, [("a", "e"), ("c", "d")].map(|(key, value)| (key.to_string(), value.to_string())).into());
    assert_eq!(changed.description.as_deref(), Some("x"));
    world.fails("ALTER DATABASE none SET DBPROPERTIES ('a'='b')", "SCHEMA_NOT_FOUND").await;
    world.run(TABLE).await?;
    world.fails(TABLE, "AlreadyExistsException: Table d.t already exists").await;
    world.run(&TABLE.replace("TABLE t", "TABLE IF NOT EXISTS d.T")).await?;
    assert_eq!(world.run("SHOW DATABASES").await?, ["d", "default"]);
    assert_eq!(world.run("SHOW TABLES IN d 't*'").await?, ["t"]);
    world.fails("DROP DATABASE d", "not empty").await;
    world.fails("DROP VIEW t", "use DROP TABLE").await;
    world.run("DROP TABLE t").await?;
    world.fails("DROP TABLE t", "TABLE_NOT_FOUND: Table 'awsdatacatalog.d.t' does not exist").await;
    world.run("DROP TABLE IF EXISTS t").await?;
    world.fails("SHOW TABLES IN none", "SCHEMA_NOT_FOUND").await;
    world.fails("DESCRIBE none.t", "SCHEMA_NOT_FOUND").await;
    world.run("DROP DATABASE d CASCADE").await?;
    world.run("DROP DATABASE IF EXISTS d").await?;
    let outcome = world.outcome("SHOW SCHEMAS").await?;
    assert_eq!(
        (outcome.columns[0].0.as_str(), outcome.statement_type, outcome.substatement_type),
        ("database_name", "UTILITY", "SHOW_DATABASES")
    );
    Ok(())
}

#[tokio::test]
async fn describe_and_show_have_athenas_shapes() -> Result<()> {
    let world = World::new().await?;
    world.run(TABLE).await?;
    let described = world.run("DESCRIBE d.t").await?;
    assert_eq!(
        described,
        [
            "a                   \tint                 \tit's                ",
            "b                   \tarray<string>       \t                    ",
            "p                   \tstring              \t                    ",
            "q                   \tint                 \t                    ",
            "\t \t ",
            "# Partition Information\t \t ",
            "# col_name            \tdata_type           \tcomment             ",
            "\t \t ",
            "p                   \tstring              \t                    ",
            "q                   \tint                 \t                    ",
        ]
    );
    assert_eq!(world.run("DESCRIBE t b").await?.len(), 1);
    assert!(world.run("DESCRIBE FORMATTED t").await?.iter().any(|line| line.contains("s3://bucket/t/")));
    assert_eq!(world.run("SHOW COLUMNS IN t").await?[0], "a                   ");
    assert!(world.run("SHOW TBLPROPERTIES t").await?.contains(&"k\tv".to_string()));
    assert_eq!(world.run("SHOW TBLPROPERTIES t('k')").await?, ["v"]);
    assert_eq!(world.run("SHOW FUNCTIONS").await?, ["abs"]);
    Ok(())
}

#[tokio::test]
async fn show_create_table_makes_the_same_table_again() -> Result<()> {
    let world = World::new().await?;
    for sql in [
        TABLE.to_string(),
        r"CREATE EXTERNAL TABLE t (a int) COMMENT 'c\'s' CLUSTERED BY (a) SORTED BY (a DESC) INTO 4 BUCKETS ROW FORMAT DELIMITED FIELDS TERMINATED BY '\001' ESCAPED BY '\\' STORED AS TEXTFILE LOCATION 's3://bucket/t'".to_string(),
    ] {
        world.run(&sql).await?;
        let first = require_table(&world.catalog, "d", "t").await?;
        let text = world.run("SHOW CREATE TABLE `d.t`").await?.join("\n");
        assert!(!text.contains(r"c\'s"), "{text}");
        world.run("DROP TABLE `d.t`").await?;
        world.run(&text).await?;
        let second = require_table(&world.catalog, "d", "t").await?;
        let without = |table: &Table| {
            let mut parameters = table.parameters.clone();
            parameters.remove("transient_lastDdlTime");
            (table.storage_descriptor.clone(), table.partition_keys.clone(), parameters)
        };
        assert_eq!(without(&first), without(&second), "{text}");
        world.run("DROP TABLE t").await?;
    }
    Ok(())
}

#[tokio::test]
async fn partitions_are_added_dropped_renamed_and_moved() -> Result<()> {
    let world = World::new().await?;
    world.run(TABLE).await?;
    world.run("ALTER TABLE t ADD PARTITION (p='a:b', q=1) PARTITION (q='2', p='x') LOCATION 's3://bucket/other'").await?;
    assert_eq!(world.run("SHOW PARTITIONS t").await?, ["p=a%3Ab/q=1", "p=x/q=2"]);
    world.fails("ALTER TABLE t ADD PARTITION (p='x', q=2)", "AlreadyExistsException").await;
    world.run("ALTER TABLE t ADD IF NOT EXISTS PARTITION (p='x', q=2) PARTITION (p='x', q=10)").await?;
    world.fails("ALTER TABLE t ADD PARTITION (p='x')", "needs one value for the key q").await;
    world.fails("ALTER TABLE t ADD PARTITION (p='x', q='y')", "HIVE_INVALID_PARTITION_VALUE").await;
    world.fails("ALTER TABLE t ADD PARTITION (p='..', q=1)", "is no value").await;
    world.run("ALTER TABLE t PARTITION (p='x', q=2) RENAME TO PARTITION (p='z', q=3)").await?;
    world.run("ALTER TABLE t PARTITION (p='z', q=3) SET LOCATION 's3://bucket/moved/'").await?;
    assert!(
        world.run("DESCRIBE EXTENDED t PARTITION (p='z', q=3)").await?.iter().any(|line| line.contains("s3://bucket/moved/"))
    );
    world.run("ALTER TABLE t DROP PARTITION (q > 2)").await?;
    assert_eq!(world.run("SHOW PARTITIONS t").await?, ["p=a%3Ab/q=1"]);
    world.fails("ALTER TABLE t DROP PARTITION (p='none')", "NoSuchObjectException").await;
    world.run("ALTER TABLE t DROP IF EXISTS PARTITION (p='none'), PARTITION (p='a:b')").await?;
    assert!(world.run("SHOW PARTITIONS t").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn repair_finds_the_folders_that_are_partitions() -> Result<()> {
    let world = World::new().await?;
    world.run(TABLE).await?;
    for path in
        ["t/p=a%3Ab/q=1/f", "t/P=y/q=1/f", "t/p=y/Q=1/f", "t/p=x/q=2/f", "t/p=x/other/f", "t/p=x/q=no/f", "t/f", "t2/p=y/q=1/f"]
    {
        let path = Path::parse(path).map_err(|e| Error::internal(e.to_string()))?;
        world.store.put(&path, PutPayload::from_static(b"x")).await?;
    }
    let lines = world.run("MSCK REPAIR TABLE t").await?;
    assert_eq!(
        lines,
        [
            "Partitions not in metastore:\tt:p=a%3Ab/q=1\tt:p=x/q=2",
            "Repair: Added partition to metastore t:p=a%3Ab/q=1",
            "Repair: Added partition to metastore t:p=x/q=2"
        ]
    );
    assert!(world.run("MSCK REPAIR TABLE d.t").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn columns_properties_and_names_change() -> Result<()> {
    let world = World::new().await?;
    world.run(TABLE).await?;
    world.run("ALTER TABLE t ADD COLUMNS (c struct<x:int>)").await?;
    world.run("ALTER TABLE t CHANGE COLUMN c d bigint AFTER a").await?;
    world.fails("ALTER TABLE t ADD COLUMNS (p int)", "Duplicate column name: p").await;
    world.fails("ALTER TABLE t CHANGE none x int", "COLUMN_NOT_FOUND").await;
    let names: Vec<String> = world.run("SHOW COLUMNS IN t").await?.iter().map(|name| name.trim().to_string()).collect();
    assert_eq!(names, ["a", "d", "b", "p", "q"]);
    world.run("ALTER TABLE t REPLACE COLUMNS (z int)").await?;
    world.run("ALTER TABLE t SET TBLPROPERTIES ('k'='w', 'n'='1')").await?;
    assert_eq!(world.run("SHOW TBLPROPERTIES t('k')").await?, ["w"]);
    world.run("ALTER TABLE t RENAME TO u").await?;
    assert_eq!(world.run("SHOW TABLES").await?, ["u"]);
    Ok(())
}

#[tokio::test]
async fn views_are_made_replaced_and_shown() -> Result<()> {
    let world = World::new().await?;
    world.run("CREATE VIEW v AS SELECT x, y FROM t").await?;
    world.fails("CREATE VIEW v AS SELECT 1", "AlreadyExistsException").await;
    world.run("CREATE OR REPLACE VIEW v (a, \"B c\") AS SELECT x, y FROM u").await?;
    let view = ViewDefinition::of(&require_table(&world.catalog, "d", "v").await?)?;
    assert_eq!(view.original_sql, "SELECT * FROM (\nSELECT x, y FROM u\n) AS \"_view\" (\"a\", \"b c\")");
    assert_eq!((view.columns[0].trino_type.as_str(), view.columns[1].hive_type.as_str()), ("integer", "string"));
    assert_eq!(world.run("SHOW CREATE VIEW v").await?[0], "CREATE VIEW d.v AS");
    assert_eq!(world.run("SHOW VIEWS").await?, ["v"]);
    world.fails("CREATE VIEW w AS SELECT NULL", "Column type is unknown: x").await;
    world.fails("CREATE VIEW w (a) AS SELECT 1", "MISMATCHED_COLUMN_ALIASES").await;
    world.fails("DROP TABLE v", "use DROP VIEW").await;
    world.fails("ALTER TABLE v SET LOCATION 's3://bucket/x'", "is a view").await;
    world.run(TABLE).await?;
    world.fails("CREATE OR REPLACE VIEW t AS SELECT 1", "AlreadyExistsException").await;
    world.run("DROP VIEW v").await?;
    Ok(())
}

#[tokio::test]
async fn locations_are_refused_before_anything_is_asked() -> Result<()> {
    let world = World::new().await?;
    world.run(TABLE).await?;
    let places = [
        "file:///etc",
        "s3://other/t",
        "s3://bucket/../x",
        "s3://bucket/%2e%2e/x",
        "http://bucket/x",
        "https://169.254.169.254/",
        "s3://bucket@evil/",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/a/",
        "hdfs://bucket/x",
        "bucket/x",
        "",
    ];
    for place in places {
        for sql in [
            "CREATE EXTERNAL TABLE x (a int) LOCATION '#'",
            "CREATE DATABASE x LOCATION '#'",
            "ALTER TABLE t SET LOCATION '#'",
            "ALTER TABLE t ADD PARTITION (p='1', q=1) LOCATION '#'",
            "ALTER TABLE t PARTITION (p='1', q=1) SET LOCATION '#'",
        ] {
            let outcome = world.run(&sql.replace('#', place)).await;
            assert!(outcome.is_err_and(|e| matches!(e.kind, ErrorKind::InvalidQuery | ErrorKind::AccessDenied)), "{sql} {place}");
        }
    }
    for sql in [
        "CREATE EXTERNAL TABLE x (a int)",
        "CREATE EXTERNAL TABLE x (a int) ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.orc.OrcSerde' LOCATION 's3://bucket/x'",
        "CREATE EXTERNAL TABLE `../x` (a int) LOCATION 's3://bucket/x'",
        "CREATE EXTERNAL TABLE x (a int, A int) LOCATION 's3://bucket/x'",
    ] {
        assert!(world.run(sql).await.is_err(), "{sql}");
    }
    assert_eq!(world.run("SHOW TABLES").await?, ["t"]);
    Ok(())
}
