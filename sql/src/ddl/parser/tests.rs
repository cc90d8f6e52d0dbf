//! Statements that Athena's clients send, statements that are none, and text that is neither.

use super::*;
use crate::catalog::partition_filter::Comparison;
use crate::ddl::statement::{Alteration, NamePattern, NewPartition};
use proptest::prelude::*;

fn read(sql: &str) -> Result<DdlStatement> {
    parse(sql).unwrap_or_else(|| Err(Error::internal(format!("no DDL: {sql}"))))
}

fn named(database: Option<&str>, name: &str) -> TableName {
    TableName { database: database.map(str::to_string), name: name.into() }
}

#[test]
fn queries_and_writes_are_no_ddl() {
    for sql in [
        "SELECT 1",
        "",
        ";",
        "-- x",
        "CREATE TABLE t AS SELECT 1",
        "create table \"a\".\"b\".\"c\" with (format='parquet') as select 1",
        "CREATE TABLE IF NOT EXISTS t (a, b) AS SELECT 1, 2",
        "INSERT INTO t VALUES (1)",
        "UNLOAD (SELECT 1) TO 's3://b/'",
        "EXPLAIN SELECT 1",
        "DESCRIBE INPUT p",
        "SHOW CATALOGS",
        "SHOW SESSION",
        "PREPARE p FROM SELECT 1",
        "DROP PREPARE p",
        "CREATE FUNCTION f",
        "'",
        "(",
    ] {
        assert!(parse(sql).is_none(), "{sql}");
    }
}

#[test]
fn what_dbt_sends_is_read() -> Result<()> {
    let sql = "-- /* {\"app\": \"dbt\"} */\ncreate schema if not exists `dev_x`\n;";
    assert!(matches!(read(sql)?, DdlStatement::CreateDatabase { name, if_not_exists: true, .. } if name == "dev_x"));
    let sql = "create external table `awsdatacatalog`.`dev`.`seed__tmp` (`id` string, `Name` string)\n row format serde \
        'org.apache.hadoop.hive.serde2.OpenCSVSerde'\n location 's3://b/x/' tblproperties ('skip.header.line.count'='1')";
    let DdlStatement::CreateTable { name, table, .. } = read(sql)? else { return Err(Error::internal("no table")) };
    assert_eq!(name, named(Some("dev"), "seed__tmp"));
    assert_eq!(table.columns[1].name, "name");
    assert_eq!(table.properties.get("skip.header.line.count").map(String::as_str), Some("1"));
    assert!(matches!(read("alter table `d`.`t` set tblproperties ('a' = 'b')")?, DdlStatement::AlterTable { .. }));
    let view = read("create or replace view \"d\".\"v\" as\n  select 1 as x -- ü\n  , ';' y\n;")?;
    assert!(matches!(view, DdlStatement::CreateView { or_replace: true, query, .. }
        if query.trim_start() == "select 1 as x -- ü\n  , ';' y" && query.starts_with(&format!("{}\n  s", " ".repeat(33)))));
    assert_eq!(read("drop table `D.t`")?, DdlStatement::DropTable { name: named(Some("d"), "t"), if_exists: false });
    assert_eq!(read("drop table `a.b.c`")?, DdlStatement::DropTable { name: named(None, "a.b.c"), if_exists: false });
    assert_eq!(read("drop table if exists d.t")?, DdlStatement::DropTable { name: named(Some("d"), "t"), if_exists: true });
    Ok(())
}

#[test]
fn an_external_table_with_everything() -> Result<()> {
    let sql = r#"CREATE EXTERNAL TABLE IF NOT EXISTS db.T (a INT COMMENT 'it''s', b array<struct<x:int, y:map<string,double>>>, c decimal(10, 2), d varchar(5))
        COMMENT "c" PARTITIONED BY (p string, q int COMMENT 'x') CLUSTERED BY (a, b) SORTED BY (a DESC) INTO 8 BUCKETS
        ROW FORMAT DELIMITED FIELDS TERMINATED BY '\t' ESCAPED BY '\\' COLLECTION ITEMS TERMINATED BY '\002' MAP KEYS TERMINATED BY ':' LINES TERMINATED BY '\n' NULL DEFINED AS 'x'
        STORED AS TEXTFILE LOCATION 's3://b/t' TBLPROPERTIES ("a"="b", 'n'=1)"#;
    let DdlStatement::CreateTable { name, if_not_exists, table } = read(sql)? else { return Err(Error::internal("no table")) };
    assert!(if_not_exists && name == named(Some("db"), "t"));
    assert_eq!(table.columns[1].hive_type, "array<struct<x:int,y:map<string,double>>>");
    assert_eq!(table.columns[0].comment.as_deref(), Some("it's"));
    assert_eq!((table.buckets, table.sort_columns[0].sort_order), (Some(8), 0));
    let property = |key: &str| table.serde_properties.get(key).map(String::as_str);
    assert_eq!(
        (property("field.delim"), property("escape.delim"), property("serialization.null.format")),
        (Some("\t"), Some("\\"), Some("x"))
    );
    assert_eq!(table.properties.get("n").map(String::as_str), Some("1"));
    Ok(())
}

#[test]
fn alterations_are_read() -> Result<()> {
    let alteration = |sql: &str| match read(sql)? {
        DdlStatement::AlterTable { alteration, .. } => Ok(alteration),
        _ => Err(Error::internal("no ALTER")),
    };
    let spec = |key: &str, value: &str| vec![(key.to_string(), value.to_string())];
    let two = alteration("ALTER TABLE t ADD IF NOT EXISTS PARTITION (p='1') LOCATION 's3://b/1' PARTITION (p = 2)")?;
    let first = NewPartition { spec: spec("p", "1"), location: Some("s3://b/1".into()) };
    let second = NewPartition { spec: spec("p", "2"), location: None };
    assert_eq!(two, Alteration::AddPartitions { if_not_exists: true, partitions: vec![first, second] });
    let dropped = alteration("ALTER TABLE t DROP PARTITION (p > '1', q <= -2), PARTITION (d = DATE '2024-01-01')")?;
    assert_eq!(
        dropped,
        Alteration::DropPartitions {
            if_exists: false,
            conditions: vec![
                vec![("p".into(), Comparison::Greater, "1".into()), ("q".into(), Comparison::LessOrEqual, "-2".into())],
                vec![("d".into(), Comparison::Equal, "2024-01-01".into())]
            ]
        }
    );
    assert_eq!(
        alteration("ALTER TABLE t PARTITION (p=1) RENAME TO PARTITION (p=2)")?,
        Alteration::RenamePartition { from: spec("p", "1"), to: spec("p", "2") }
    );
    assert!(
        matches!(alteration("ALTER TABLE t ADD COLUMNS (a int, b struct<c:int>)")?, Alteration::AddColumns(columns) if columns.len() == 2)
    );
    assert!(matches!(
        alteration("ALTER TABLE t CHANGE COLUMN a b bigint COMMENT 'x' AFTER c CASCADE")?,
        Alteration::ChangeColumn { place: Some(Some(_)), .. }
    ));
    assert!(matches!(alteration("ALTER TABLE t CHANGE a a bigint FIRST")?, Alteration::ChangeColumn { place: Some(None), .. }));
    assert!(matches!(
        alteration("ALTER TABLE t PARTITION (p=1) SET LOCATION 's3://b/x'")?,
        Alteration::SetLocation { partition: Some(_), .. }
    ));
    assert_eq!(alteration("ALTER TABLE t RENAME TO d.u")?, Alteration::Rename(named(Some("d"), "u")));
    Ok(())
}

#[test]
fn utility_statements_are_read() -> Result<()> {
    assert_eq!(
        read("SHOW TABLES IN `d` 'a*|b'")?,
        DdlStatement::ShowTables { database: Some("d".into()), pattern: Some(NamePattern::Hive("a*|b".into())) }
    );
    assert_eq!(read("show schemas like 'x%';")?, DdlStatement::ShowDatabases(Some(NamePattern::Like("x%".into()))));
    assert_eq!(read("SHOW COLUMNS IN t FROM d")?, DdlStatement::ShowColumns(named(Some("d"), "t")));
    assert_eq!(read("SHOW CREATE VIEW d.v")?, DdlStatement::ShowCreateView(named(Some("d"), "v")));
    assert_eq!(
        read("SHOW TBLPROPERTIES t('k')")?,
        DdlStatement::ShowProperties { name: named(None, "t"), key: Some("k".into()) }
    );
    assert_eq!(read("MSCK REPAIR TABLE d.t")?, DdlStatement::Repair(named(Some("d"), "t")));
    let described = |sql: &str| match read(sql)? {
        DdlStatement::Describe { name, extended, column, partition } => Ok((name.name, extended, column, partition.is_some())),
        _ => Err(Error::internal("no DESCRIBE")),
    };
    assert_eq!(described("DESC FORMATTED d.t")?, ("t".into(), true, None, false));
    assert_eq!(described("describe extended")?, ("extended".into(), false, None, false));
    assert_eq!(described("DESCRIBE t PARTITION (p=1) c")?, ("t".into(), false, Some("c".into()), true));
    Ok(())
}

#[test]
fn errors_have_a_place_and_say_what_was_expected() {
    for (sql, message) in [
        ("CREATE EXTERNAL TABLE t (a foo)", "line 1:28: 'foo' is no Hive type"),
        ("CREATE DATABASE\n  1 +", "line 2:5: mismatched input '+'. Expecting: <EOF>"),
        ("DROP TABLE", "line 1:11: mismatched input '<EOF>'. Expecting: identifier"),
        ("CREATE EXTERNAL TABLE t (a int) STORED AS ORC", "line 1:43: NOT_SUPPORTED: STORED AS ORC"),
        (
            "CREATE TABLE t (a int) STORED AS PARQUET",
            "line 1:1: NOT_SUPPORTED: CREATE TABLE without EXTERNAL makes an Iceberg table",
        ),
        ("DROP TABLE a; DROP TABLE b", "line 1:15: mismatched input 'DROP'"),
        ("CREATE VIEW v AS", "line 1:17: mismatched input '<EOF>'. Expecting: query"),
        ("CREATE VIEW v AS SELECT 'x", "line 1:25: mismatched input"),
        ("DROP TABLE other.d.t", "line 1:21: CATALOG_NOT_FOUND: Catalog 'other' does not exist"),
        ("ALTER TABLE t DROP COLUMN a", "line 1:20: NOT_SUPPORTED"),
        ("ALTER TABLE t PARTITION (p='x') ADD COLUMNS (c string)", "line 1:33: NOT_SUPPORTED: columns of one partition"),
        ("ALTER DATABASE d SET LOCATION 's3://b/x'", "line 1:22: NOT_SUPPORTED: Athena changes the DBPROPERTIES"),
        ("ALTER SCHEMA d SET OWNER USER x", "line 1:20: NOT_SUPPORTED"),
        ("ALTER DATABASE d RENAME TO e", "line 1:18: mismatched input 'RENAME'. Expecting: 'SET'"),
        ("ALTER VIEW v AS SELECT 1", "line 1:1: ALTER VIEW is not supported"),
        ("CREATE EXTERNAL TABLE t (a array<int)", "line 1:28:"),
    ] {
        assert!(read(sql).is_err_and(|e| e.message.starts_with(message)), "{sql}: {:?}", read(sql));
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = format!("CREATE EXTERNAL TABLE t (a {}int{})", "array<".repeat(10_000), ">".repeat(10_000));
    assert!(read(&deep).is_err());
}

proptest! {
    #[test]
    fn nothing_panics(start in "(CREATE|DROP|ALTER|SHOW|DESCRIBE|MSCK) (EXTERNAL TABLE|TABLE|VIEW|DATABASE|CREATE TABLE|REPAIR TABLE|)", words in prop::collection::vec("(IF|NOT|EXISTS|t|`a`|\"b\"|'c'|\\(|\\)|,|<|>|=|\\.|;|PARTITION|ADD|SET|LOCATION|COLUMNS|int|array<|AS|SELECT|-|1|COMMENT|ROW|FORMAT|SERDE|STORED|ä)", 0..25)) {
        let _ = parse(&format!("{start} {}", words.join(" ")));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = (parse(&text), parse(&format!("DESCRIBE {text}")));
    }
}
