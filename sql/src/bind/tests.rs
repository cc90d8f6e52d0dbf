use super::*;
use crate::catalog::AsOf;
use crate::catalog::view::ViewColumn;
use crate::statement::{Limits, parse};
use crate::tables::Tables;
use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::Session;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use std::sync::Arc;

const LIMITS: Limits = Limits { max_bytes: 100_000, max_depth: 200 };

/// The table `t` of the default database, and views.
#[derive(Debug)]
struct Catalog;

fn table() -> Arc<MemTable> {
    let lists = [Some(vec![Some(1), Some(2), Some(3)]), Some(vec![Some(4), Some(5)]), Some(vec![]), None];
    let columns: [(&str, ArrayRef); 6] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
        ("name", Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("c"), None]))),
        ("grp", Arc::new(StringArray::from(vec!["x", "x", "y", "y"]))),
        ("val", Arc::new(Float64Array::from(vec![Some(1.5), Some(2.5), None, Some(4.5)]))),
        (
            "ts",
            Arc::new(TimestampMillisecondArray::from(vec![Some(1705314030000), Some(1708426800000), Some(1711929599000), None])),
        ),
        ("arr", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("one schema"))
}

#[async_trait]
impl TableResolver for Catalog {
    async fn resolve(&self, _: &dyn Session, database: &str, table_name: &str, as_of: Option<AsOf>) -> Result<Option<Resolved>> {
        if let (Some(as_of), "t") = (as_of, table_name) {
            let text: ArrayRef = Arc::new(StringArray::from(vec![format!("{database}: {as_of:?}")]));
            let batch = RecordBatch::try_from_iter([("v", text)]).expect("one column");
            return Ok(Some(Resolved::Table(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table")))));
        }
        let view = |sql: &str, columns: &[&str]| {
            Ok(Some(Resolved::View {
                sql: sql.to_string(),
                catalog: DEFAULT_CATALOG.to_string(),
                database: "other".to_string(),
                columns: columns
                    .iter()
                    .map(|name| ViewColumn { name: (*name).to_string(), trino_type: String::new(), hive_type: String::new() })
                    .collect(),
            }))
        };
        match (database, table_name) {
            ("default" | "other", "t") => Ok(Some(Resolved::Table(table()))),
            ("default", "v") => view("SELECT id AS a, count(*) FROM T CROSS JOIN UNNEST(arr) GROUP BY id", &[]),
            ("default", "named") => view("SELECT id AS x, name AS y FROM t", &["X", "y"]),
            ("default", "stale") => view("SELECT id, name FROM t", &["id", "nam"]),
            ("default", "broken") => view("SELECT nope FROM t", &[]),
            ("other", "loop") | ("default", "loop") => view("SELECT * FROM loop", &[]),
            _ => Ok(None),
        }
    }

    async fn has_database(&self, database: &str) -> Result<bool> {
        Ok(matches!(database, "default" | "other"))
    }

    async fn table_names(&self, _: &str) -> Result<Vec<String>> {
        Ok(vec!["t".into(), "v".into()])
    }
}

fn context() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(2);
    for (key, value) in crate::SESSION_OPTIONS {
        config.options_mut().set(key, value).expect("an option");
    }
    let builder = SessionStateBuilder::new().with_config(config).with_default_features();
    let builder = engine::functions::Functions::all().register(builder);
    SessionContext::new_with_state(crate::session(builder).build())
}

async fn bound(sql: &str) -> Result<(SessionContext, Bound)> {
    let context = context();
    let tables = Tables::default();
    let scope = Scope { resolver: Some(&Catalog), ..Scope::of(&tables, LIMITS) };
    let statement = parse(sql, LIMITS)?.pop().ok_or_else(|| Error::invalid("no statement"))?;
    let bound = bind(&context, &scope, &statement).await?;
    Ok((context, bound))
}

async fn rows_of(sql: &str) -> Result<Vec<String>> {
    let (context, bound) = bound(sql).await?;
    let batches = context.execute_logical_plan(bound.plan).await.map_err(Error::from)?.collect().await.map_err(Error::from)?;
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).expect("a format")).collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    Ok(rows)
}

/// Statements need a deep stack, as in the coordinator.
fn on_stack<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let thread = std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn(move || tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work));
    thread.expect("a thread").join().expect("no panic")
}

fn rows(sql: &str) -> Result<Vec<String>> {
    let sql = sql.to_string();
    on_stack(async move { rows_of(&sql).await })
}

fn labels_of(sql: &str) -> Result<Vec<String>> {
    let sql = sql.to_string();
    let bound = on_stack(async move { bound(&sql).await })?;
    Ok(bound.1.columns.into_iter().map(|label| label.shown).collect())
}

fn error(sql: &str) -> String {
    rows(sql).err().map(|error| error.message).unwrap_or_default()
}

fn check(cases: &[(&str, &[&str])]) {
    for (sql, expected) in cases {
        match rows(sql) {
            Ok(found) => assert_eq!(found, *expected, "{sql}"),
            Err(error) => panic!("{sql}: {error}"),
        }
    }
}

#[test]
fn relations_give_the_same_rows_as_athena() {
    check(&[
        ("VALUES 1, 2", &["1", "2"]),
        ("SELECT a, b FROM (VALUES ROW(1, 'x'), ROW(2, 'y')) AS v(a, b)", &["1|x", "2|y"]),
        ("SELECT id FROM t WHERE id IN (VALUES 1, 2)", &["1", "2"]),
        ("SELECT * FROM (VALUES 1,2) INTERSECT ALL SELECT * FROM (VALUES 2,2)", &["2"]),
        ("SELECT x, n FROM UNNEST(ARRAY['a','b']) WITH ORDINALITY AS u(x, n)", &["a|1", "b|2"]),
        ("SELECT k, v FROM UNNEST(MAP(ARRAY['a','b'], ARRAY[1,2])) AS u(k, v)", &["a|1", "b|2"]),
        ("SELECT a, b FROM UNNEST(ARRAY[ROW(1,'a'), ROW(2,'b')]) AS u(a, b)", &["1|a", "2|b"]),
        ("SELECT t.id, u.x FROM t, UNNEST(t.arr) AS u(x) ORDER BY 1, 2", &["1|1", "1|2", "1|3", "2|4", "2|5"]),
        (
            "SELECT t.id, x, n FROM t LEFT JOIN UNNEST(arr) WITH ORDINALITY AS u(x, n) ON TRUE WHERE id > 1 ORDER BY 1, 2",
            &["2|4|1", "2|5|2", "3|NULL|NULL", "4|NULL|NULL"],
        ),
        (
            "SELECT id, a, b FROM t CROSS JOIN UNNEST(arr, ARRAY['p']) AS n(a, b) WHERE id < 3 ORDER BY 1, 2",
            &["1|1|p", "1|2|NULL", "1|3|NULL", "2|4|p", "2|5|NULL"],
        ),
        (
            "SELECT x, y FROM t CROSS JOIN UNNEST(arr) AS u(x) CROSS JOIN UNNEST(ARRAY[u.x, x * 10]) AS w(y) WHERE id = 2 ORDER BY 1, 2",
            &["4|4", "4|40", "5|5", "5|50"],
        ),
        ("SELECT id, v FROM t CROSS JOIN UNNEST(MAP(ARRAY[name], ARRAY[id])) AS m(k, v) WHERE name = 'b'", &["2|2"]),
        ("SELECT * FROM TABLE(sequence(1, 3))", &["1", "2", "3"]),
        ("SELECT count(*) FROM t TABLESAMPLE BERNOULLI (0)", &["0"]),
        ("SELECT count(*) FROM t TABLESAMPLE SYSTEM (100)", &["4"]),
        ("SELECT grp, count(*) FROM t GROUP BY ALL (grp) ORDER BY 1", &["x|2", "y|2"]),
        ("SELECT id FROM t ORDER BY id OFFSET 1 ROWS FETCH FIRST 2 ROWS ONLY", &["2", "3"]),
        ("SELECT grp FROM t ORDER BY grp FETCH FIRST 1 ROW WITH TIES", &["x", "x"]),
        ("SELECT id % 2 AS g, id FROM t ORDER BY 1, g DESC FETCH FIRST 1 ROWS WITH TIES", &["0|2", "0|4"]),
        ("SELECT id FROM t WHERE (id, grp) IN (SELECT 1, 'x')", &["1"]),
        ("SELECT id FROM t WHERE (id, grp) NOT IN ((1,'x'), (3,'x'), (4,'y')) ORDER BY 1", &["2", "3"]),
        (
            "SELECT id, EXISTS (SELECT 1 FROM t u WHERE u.id = t.id + 1) FROM t ORDER BY 1",
            &["1|true", "2|true", "3|true", "4|false"],
        ),
        ("SELECT DISTINCT t.grp FROM t ORDER BY t.grp", &["x", "y"]),
        ("SELECT DISTINCT upper(grp), grp FROM t ORDER BY upper(grp) DESC", &["Y|y", "X|x"]),
        ("SELECT t.grp, count(*) FROM t GROUP BY t.grp ORDER BY t.grp", &["x|2", "y|2"]),
        ("SELECT name FROM t ORDER BY name DESC", &["c", "b", "a", "NULL"]),
        ("SELECT x, row_number() OVER (ORDER BY x DESC) FROM (VALUES 3, NULL, 1) AS v(x) ORDER BY 2", &["3|1", "1|2", "NULL|3"]),
        ("TABLE named ORDER BY 1 LIMIT 1", &["1|a"]),
    ]);
}

#[test]
fn tables_are_read_as_of_constants() {
    check(&[
        ("SELECT v FROM t FOR VERSION AS OF 3", &["default: Version(3)"]),
        ("SELECT x.v FROM other.t FOR VERSION AS OF (1 + 1) AS x WHERE x.v <> ''", &["other: Version(2)"]),
        ("SELECT t.v FROM t FOR TIMESTAMP AS OF TIMESTAMP '1970-01-01 00:00:01.0019'", &["default: Time(1001)"]),
        ("SELECT v FROM t FOR TIMESTAMP AS OF TIMESTAMP '1970-01-01 01:00:00 +01:00'", &["default: Time(0)"]),
        ("SELECT v FROM t FOR TIMESTAMP AS OF DATE '1970-01-02'", &["default: Time(86400000)"]),
        ("SELECT v LIKE '%Time(%' FROM t FOR TIMESTAMP AS OF (current_timestamp - INTERVAL '1' DAY)", &["true"]),
        (
            "SELECT a.v, b.v, c.id FROM t FOR VERSION AS OF 1 a, t FOR VERSION AS OF 2 b, t AS c WHERE c.id = 1",
            &["default: Version(1)|default: Version(2)|1"],
        ),
        // Words that the parser knows elsewhere.
        ("SELECT at.id FROM t at WHERE id = 1", &["1"]),
    ]);
}

#[test]
fn states_that_no_table_has_are_refused() {
    for (sql, part) in [
        ("SELECT * FROM t FOR VERSION AS OF 'x'", "a whole number"),
        ("SELECT * FROM t FOR VERSION AS OF NULL", "the version is"),
        ("SELECT * FROM t FOR VERSION AS OF -1", "negative"),
        ("SELECT * FROM t FOR VERSION AS OF id", "id"),
        ("SELECT * FROM t FOR VERSION AS OF (SELECT 1)", "constant"),
        ("SELECT * FROM t FOR TIMESTAMP AS OF 3", "a timestamp or a date"),
        ("SELECT * FROM t FOR TIMESTAMP AS OF TIMESTAMP '2999-01-01 00:00:00'", "not in the past"),
        ("SELECT * FROM v FOR VERSION AS OF 1", "tables of Delta Lake"),
        ("SELECT * FROM \"a.parquet\" FOR VERSION AS OF 1", "tables of Delta Lake"),
        ("WITH t AS (SELECT 1 x) SELECT * FROM t FOR VERSION AS OF 1", "WITH"),
        ("SELECT * FROM nope FOR VERSION AS OF 1", "does not exist"),
        ("SELECT * FROM t AS x FOR VERSION AS OF 1", ""),
    ] {
        let error = error(sql);
        assert!(!error.is_empty() && error.contains(part), "{sql}: {error}");
    }
}

#[test]
fn expressions_give_the_same_values_as_athena() {
    check(&[
        ("SELECT CAST(ROW(1.5e20,'2') AS ROW(y VARCHAR, field0 INTEGER))", &["{y: 1.5E20, field0: 2}"]),
        ("SELECT CAST(ROW(1,'a') AS ROW(x INTEGER, y VARCHAR)).x", &["1"]),
        ("SELECT ROW(1,'a')[2], ARRAY[1,2][2], MAP(ARRAY['k'], ARRAY[5])['k']", &["a|2|5"]),
        (
            "SELECT TRY(CAST('x' AS INTEGER)), TRY(1/0), TRY(9223372036854775807 + 1), TRY(ARRAY[1][3]), TRY(1 + 1)",
            &["NULL|NULL|NULL|NULL|2"],
        ),
        ("SELECT id, TRY(id / (id - 2)) FROM t ORDER BY id", &["1|-1", "2|NULL", "3|3", "4|2"]),
        (
            "SELECT CAST('abc' AS VARCHAR(2)), CAST(2.5 AS INTEGER), CAST(-2.5 AS BIGINT), CAST(DECIMAL '2.5' AS BIGINT)",
            &["ab|3|-3|3"],
        ),
        (
            "SELECT CAST(1e20 AS VARCHAR), CAST(TIMESTAMP '2024-01-01 10:00:00' AS VARCHAR), CAST(1 AS DECIMAL)",
            &["1.0E20|2024-01-01 10:00:00|1"],
        ),
        (
            "SELECT DECIMAL '1.23', DECIMAL '1.00' / DECIMAL '3.00', DECIMAL '-5.00' / DECIMAL '3.000', 5 / DECIMAL '2.0'",
            &["1.23|0.33|-1.667|2.5"],
        ),
        ("SELECT avg(DECIMAL '1.25'), avg(x) FROM (VALUES (DECIMAL '0.01'), (DECIMAL '0.02')) AS v(x)", &["1.25|0.02"]),
        ("SELECT avg(CAST(val AS DECIMAL(10,1))) OVER (PARTITION BY grp) FROM t ORDER BY id LIMIT 1", &["2.0"]),
        (
            "SELECT TIMESTAMP '2024-01-01 10:00:00 America/New_York', TIMESTAMP '2024-01-01 10:00:00' AT TIME ZONE 'America/New_York'",
            &["2024-01-01T10:00:00-05:00|2024-01-01T05:00:00-05:00"],
        ),
        (
            "SELECT DATE '2024-01-10' - DATE '2024-01-01', TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '0.5' SECOND",
            &["PT777600S|2024-01-01T00:00:00.500"],
        ),
        (
            "SELECT DATE '2024-01-31' + INTERVAL '1-1' YEAR TO MONTH, TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '1 02:03' DAY TO MINUTE",
            &["2025-02-28|2024-01-02T02:03:00"],
        ),
        ("SELECT U&'\\0041', X'4142', IF(1 = 2, 'a'), IF(1 = 1, 'a', 'b')", &["A|4142|NULL|a"]),
        ("SELECT extract(dow FROM DATE '2024-01-21'), extract(year_of_week FROM DATE '2024-12-30')", &["7|2025"]),
        ("SELECT substring('hello' FROM 2 FOR 3), substring('hello' FROM -3), position('l' IN 'hello')", &["ell|llo|3"]),
        (
            "SELECT 'a_b' LIKE 'a\\_b', 'axb' LIKE 'a$_b' ESCAPE '$', 'a\\b' LIKE 'a\\b', 'a_b' LIKE 'a$_b' ESCAPE '$'",
            &["false|false|true|true"],
        ),
        ("SELECT listagg(name, ',') WITHIN GROUP (ORDER BY name DESC) FILTER (WHERE id < 3) FROM t", &["b,a"]),
        (
            "SELECT transform(arr, x -> ARRAY[x, id]), reduce(arr, 0, (s, x) -> s + x, s -> s) FROM t WHERE id = 2",
            &["[[4, 2], [5, 2]]|9"],
        ),
        ("SELECT current_user, current_catalog, current_schema", &["owlet|awsdatacatalog|default"]),
        ("SELECT id FROM t WHERE cardinality(arr) > 1 AND arr[2] = 2", &["1"]),
        (
            "SELECT id, CASE WHEN cardinality(arr) > 1 THEN arr[2] = 2 END FROM t ORDER BY 1",
            &["1|true", "2|false", "3|NULL", "4|NULL"],
        ),
        ("SELECT id, IF(id = 2, NULL, 10 / (id - 2) > 1) FROM t ORDER BY 1", &["1|false", "2|NULL", "3|true", "4|true"]),
        (
            "SELECT typeof(now()), typeof(current_timestamp(6)), typeof(localtimestamp), typeof(localtime)",
            &["timestamp(3) with time zone|timestamp(6) with time zone|timestamp(3)|time(3)"],
        ),
        ("SELECT array_sort(ARRAY[1,2], (x, y) -> IF(x < y, 1, IF(x = y, 0, -1)))", &["[2, 1]"]),
        ("SELECT 7/2, -7 % 3, 7/2.0, 1e0/0", &["3|-1|3.5|inf"]),
    ]);
}

#[test]
fn what_fails_in_athena_fails_here() {
    for (sql, part) in [
        ("SELECT CAST(2147483647 AS INTEGER) + CAST(1 AS INTEGER)", "verflow"),
        ("SELECT 9223372036854775807 + 1", "verflow"),
        ("SELECT id * 9223372036854775807 FROM t", "verflow"),
        ("SELECT 1/0", "DIVISION_BY_ZERO: Division by zero"),
        ("SELECT ARRAY[1,2,3][5]", "less than or equal to array length: 5 > 3"),
        ("SELECT arr[0] FROM t", "indices start at 1"),
        ("SELECT arr[-1] FROM t", "negative: -1"),
        ("SELECT MAP(ARRAY['a'], ARRAY[1])['z']", "Key not present in map: z"),
        ("SELECT CAST('yes' AS BOOLEAN)", "Cannot cast 'yes' to BOOLEAN"),
        ("SELECT CAST('2.5' AS INTEGER)", "Cannot cast '2.5' to INT"),
    ] {
        assert!(error(sql).contains(part), "{sql}: {}", error(sql));
    }
}

#[test]
fn what_could_mean_something_else_is_refused() {
    for sql in [
        "SELECT TRY((SELECT 1 / 0))",
        "SELECT id, id IN (SELECT id FROM t LIMIT 1) FROM t",
        "SELECT id FROM t ORDER BY id IN (SELECT 1)",
        "SELECT (SELECT max(id) FROM t WHERE id < v.x) FROM (SELECT rand() AS x) v",
        "SELECT t.id FROM t LEFT JOIN t b ON t.id = b.id AND b.id IN (SELECT 1)",
        "SELECT id FROM t WHERE (id, grp) NOT IN (SELECT 1, 'x')",
        "SELECT (SELECT approx_distinct(x) FROM UNNEST(t.arr) AS u(x)) FROM t",
        "SELECT * FROM t LEFT JOIN UNNEST(arr) AS u(x) ON x > 1",
        "SELECT * FROM t TABLESAMPLE BERNOULLI (10) REPEATABLE (1)",
        "SELECT id FROM t a JOIN t b ON true FULL JOIN t c USING (id)",
        "SELECT transform(a.arr, id -> id) FROM t a FULL JOIN t b USING (id)",
        "SELECT * FROM t NATURAL JOIN t b",
        "SELECT * FROM (SELECT name, id FROM t) a JOIN (SELECT grp, id FROM t) b USING (id), named",
        "SELECT * FROM (SELECT id, name FROM t) z JOIN (SELECT id, grp FROM t) b USING (id), named",
        "SELECT CAST('1.2.3.4' AS IPADDRESS)",
        "SELECT count(*) FROM t JOIN other.t ON default.t.id = other.t.id",
        "WITH t AS (SELECT 1 AS id) SELECT count(*) FROM t JOIN other.t ON other.t.id = 2",
    ] {
        assert!(error(sql).starts_with("NOT_SUPPORTED: "), "{sql}: {}", error(sql));
    }
}

#[test]
fn columns_have_the_labels_of_athena() -> Result<()> {
    for (sql, expected) in [
        ("SELECT id, ID, name AS id, \"Grp\" FROM t", "id,ID,id,Grp"),
        ("SELECT count(*), count(*), 1 AS \"MyCol\"", "_col0,_col1,MyCol"),
        ("SELECT T.Id, (NAME), *, Name AS \"Über All\" FROM t WHERE Id = 1", "Id,NAME,id,name,grp,val,ts,arr,Über All"),
        (
            "WITH a AS (SELECT id AS Foo, 1 FROM t), b(Bar, x) AS (TABLE a) SELECT * FROM a, b, (SELECT * FROM a) c(Z, y)",
            "Foo,_col1,Bar,x,Z,y",
        ),
        ("SELECT * FROM (SELECT 1 AS Foo) a, (SELECT 2 AS fOO, 3 AS Baz) b", "foo,foo,Baz"),
        ("SELECT Foo, * FROM (SELECT 1 AS FOO UNION ALL SELECT 2 AS foo)", "Foo,FOO"),
        ("(SELECT 1 AS A UNION SELECT 2 AS b) ORDER BY a LIMIT 1", "A"),
        ("SELECT CURRENT_DATE, Grp || 'x', CAST(ROW(1) AS ROW(x INTEGER)).X FROM t", "_col0,_col1,X"),
        ("SELECT *, * FROM named", "x,y,x,y"),
        ("SELECT * FROM (SELECT 1), (SELECT 1)", "_col0,_col0"),
        ("SELECT current_schema, current_catalog, now()", "_col0,_col1,_col2"),
        ("SELECT *, x FROM named a FULL JOIN named b USING (x)", "x,y,y,x"),
        ("SELECT *, id, 1 FROM t", "id,name,grp,val,ts,arr,id,_col7"),
        ("SELECT a.id, b.id FROM t a JOIN t b ON a.id = b.id", "id,id"),
        ("SELECT q.* FROM (SELECT a.id, b.id, 1 FROM t a JOIN t b ON a.id = b.id) q", "id,id,_col2"),
        ("SELECT * FROM (VALUES (1, 'x'))", "_col0,_col1"),
        ("SELECT CAST(ROW(1) AS ROW(x INTEGER)).x, (id) FROM t", "x,id"),
        ("SELECT k, * FROM t CROSS JOIN UNNEST(arr) AS u(k)", "k,id,name,grp,val,ts,arr,k"),
        ("SELECT * FROM UNNEST(ARRAY[1])", "_col0"),
        ("SELECT 1 UNION ALL SELECT 2 AS x", "_col0"),
        ("SELECT * FROM (SELECT id, name FROM t) a JOIN (SELECT grp, id FROM t) b USING (id)", "id,name,grp"),
        ("SELECT * FROM (SELECT name, id FROM t) z LEFT JOIN (SELECT grp, id FROM t) b USING (id)", "id,name,grp"),
        ("SELECT * FROM (SELECT id, name FROM t) a JOIN (SELECT id, grp FROM t) b USING (id), named", "id,name,grp,x,y"),
        ("SELECT r.x, q.r.y, q.k FROM (SELECT CAST(ROW(1, 2) AS ROW(x INTEGER, y INTEGER)) AS r, 3 AS k) q", "x,y,k"),
        ("SELECT r.a.b.c, q.r.a.b FROM (SELECT CAST(ROW(ROW(ROW(1))) AS ROW(a ROW(b ROW(c INTEGER)))) AS r) q", "c,b"),
        ("SELECT x FROM (SELECT r.x FROM (SELECT CAST(ROW(1) AS ROW(x INTEGER)) AS r))", "x"),
        ("SELECT default.t.id, t.name FROM default.t", "id,name"),
        ("SELECT * FROM v", "a,_col1"),
        ("TABLE named", "x,y"),
    ] {
        assert_eq!(labels_of(sql)?.join(","), expected, "{sql}");
    }
    Ok(())
}

#[test]
fn names_resolve_as_in_athena() {
    check(&[
        ("SELECT t.id FROM AwsDataCatalog.\"Default\".T WHERE t.id = 1", &["1"]),
        ("SELECT count(*) FROM other.t", &["4"]),
        ("SELECT count(*), min(id) FROM t JOIN other.t USING (id)", &["4|1"]),
        ("SELECT count(*) FROM default.t JOIN other.t ON default.t.id = other.t.id", &["4"]),
        ("SELECT count(x) FROM (SELECT other.t.*, 1 AS x FROM other.t)", &["4"]),
        ("SELECT count(x) FROM (SELECT t.*, 1 AS x FROM other.t)", &["4"]),
        ("SELECT count(id) FROM (SELECT * FROM other.t LEFT JOIN (SELECT 9 AS id, 1 AS w) a USING (id))", &["4"]),
        ("SELECT w, name FROM (SELECT * FROM other.t RIGHT JOIN (SELECT 1 AS id, 7 AS w) a USING (id))", &["7|a"]),
        ("SELECT id FROM t z LEFT JOIN other.t USING (id) WHERE id = 2", &["2"]),
        ("SELECT (SELECT max(t.id) FROM t) FROM t a CROSS JOIN other.t b LIMIT 1", &["4"]),
        ("SELECT * FROM v ORDER BY a", &["1|3", "2|2"]),
        ("SELECT y, x FROM named ORDER BY x LIMIT 1", &["a|1"]),
        ("WITH t AS (SELECT 5 AS id) SELECT id FROM t", &["5"]),
        ("WITH a AS (SELECT 1 AS x) SELECT x FROM (WITH a AS (SELECT a.x + 1 AS x FROM a) SELECT a.x FROM a)", &["2"]),
    ]);
}

#[test]
fn errors_have_athenas_names_and_their_place() {
    for (sql, start) in [
        ("SELECT *\nFROM nope", "TABLE_NOT_FOUND: line 2:6: Table 'awsdatacatalog.default.nope' does not exist; there are: t, v"),
        ("SELECT * FROM tt", "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.default.tt' does not exist; did you mean 't'?"),
        ("SELECT * FROM nodb.t", "SCHEMA_NOT_FOUND: line 1:15: Schema 'nodb' does not exist"),
        ("SELECT * FROM x.default.t", "CATALOG_NOT_FOUND: line 1:15: Catalog 'x' does not exist"),
        ("SELECT nme FROM t", "COLUMN_NOT_FOUND: line 1:8: Column 'nme' cannot be resolved; did you mean 'name'?"),
        ("SELECT id FROM t a JOIN t b ON a.id = b.id", "AMBIGUOUS_NAME: line 1:8: Column 'id' is ambiguous"),
        ("SELECT 1 FROM t JOIN other.t ON t.id = t.id", "AMBIGUOUS_NAME: line 1:33: Column 't.id' is ambiguous"),
        ("SELECT 1 FROM t CROSS JOIN other.t ORDER BY t.id", "AMBIGUOUS_NAME: line 1:45: Column 't.id' is ambiguous"),
        ("SELECT t.* FROM t CROSS JOIN other.t", "AMBIGUOUS_NAME: line 1:8: Column 't.*' is ambiguous"),
        ("SELECT 1,\n avg(true)", "FUNCTION_NOT_FOUND: line 2:2: Unexpected parameters for function avg"),
        ("SELECT to_char(now(), 'yyyy')", "FUNCTION_NOT_FOUND: line 1:8: Function 'to_char' not registered"),
        ("SELECT 1 FROM t JOIN t b", "SYNTAX_ERROR: line 1:22: a JOIN without ON or USING"),
        ("SELECT 1,\n uper('a')", "FUNCTION_NOT_FOUND: line 2:2: Function 'uper' not registered; did you mean 'upper'?"),
        ("SELECT id, count(*) FROM t", "EXPRESSION_NOT_AGGREGATE: line 1:8: 't.id' must be an aggregate expression"),
        ("SELECT x FROM (SELECT 1 AS x), (SELECT 2 AS x)", "AMBIGUOUS_NAME: line 1:8: Column 'x' is ambiguous"),
        ("SELECT 1 AS 'x'", "mismatched input 'x', expecting: a name"),
        ("SELECT 'a' || 1", "FUNCTION_NOT_FOUND: line 1:12: Unexpected parameters (varchar, bigint) for function concat"),
        ("SELECT id + 'a' FROM t", "TYPE_MISMATCH: line 1:11: Cannot apply operator: bigint + varchar"),
        (
            "SELECT (id * 2) < 'a' OR\n length(name) || 'x' = '' FROM t",
            "FUNCTION_NOT_FOUND: line 2:15: Unexpected parameters (bigint, varchar)",
        ),
        (
            "WITH a AS (SELECT id = ARRAY[1] AS x FROM t) SELECT * FROM a",
            "TYPE_MISMATCH: line 1:22: Cannot apply operator: bigint = array(bigint)",
        ),
        (
            "SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM t b WHERE b.id -\n b.name > 1)",
            "TYPE_MISMATCH: line 1:60: Cannot apply operator: bigint - varchar",
        ),
        ("SELECT CAST(id AS date) FROM t", "TYPE_MISMATCH: line 1:8: Cannot cast bigint to date"),
        ("SELECT a FROM (SELECT 1 AS a, 2 AS a)", "AMBIGUOUS_NAME: line 1:8: Column 'a' is ambiguous"),
        ("SELECT id FROM t WHERE sum(id) > 1", "EXPRESSION_NOT_SCALAR: line 1:24: WHERE clause cannot contain aggregations"),
        ("SELECT lag(id) FROM t", "MISSING_OVER: line 1:8: Window function 'lag' requires an OVER clause"),
        ("SELECT FROM t", "line 1:8: mismatched input 'FROM'. Expecting: an expression"),
        ("SELECT 1 FROM", "line 1:14: mismatched input '<EOF>'. Expecting: "),
        ("SELECT try_cast('x' AS foo)", "TYPE_NOT_FOUND: line 1:8: Unknown type: foo"),
        ("SELECT count(id, 1) FROM t", "FUNCTION_NOT_FOUND: line 1:8: Unexpected parameters for function count"),
        ("SELECT 9223372036854775808", "INVALID_LITERAL: line 1:8: Invalid numeric literal: 9223372036854775808"),
        ("SELECT * FROM broken", "view 'awsdatacatalog.default.broken': COLUMN_NOT_FOUND: line 1:8: Column 'nope'"),
        ("SELECT * FROM stale", "view 'awsdatacatalog.default.stale': VIEW_IS_STALE: "),
        ("SELECT * FROM loop", "views nest more than 32 deep"),
    ] {
        assert!(error(sql).starts_with(start), "{sql}: {}", error(sql));
    }
}

#[test]
fn casts_that_mean_the_same_stay_casts() -> Result<()> {
    let sql =
        "SELECT id FROM t WHERE CAST(id AS INTEGER) = 1 AND ts >= DATE '2024-01-01' AND CAST(ts AS DATE) = DATE '2024-01-15'";
    let plan = on_stack(async move {
        let (context, bound) = bound(sql).await?;
        context.state().optimize(&bound.plan).map_err(Error::from)
    })?;
    let text = plan.display_indent().to_string();
    assert!(!text.contains("owlet_"), "{text}");
    Ok(())
}

#[test]
fn columns_of_files_have_no_case() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("Mixed.csv");
    std::fs::write(&path, "ID,Name\n1,a\n2,b\n").expect("a file");
    let sql = format!("SELECT id, \"NAME\" FROM '{}' WHERE Id = 2", path.display());
    assert_eq!(rows(&sql).map_err(|error| error.message), Ok(vec!["2|b".to_string()]));
}
