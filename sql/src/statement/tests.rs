use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { max_bytes: 1_000, max_depth: 20 };

fn kinds(sql: &str) -> Result<Vec<StatementKind>> {
    Ok(parse(sql, LIMITS)?.into_iter().map(|statement| statement.kind).collect())
}

fn one(sql: &str) -> Result<Statement> {
    parse(sql, LIMITS)?.pop().ok_or_else(|| Error::invalid("no statement"))
}

fn error(sql: &str) -> String {
    kinds(sql).err().map(|error| error.message).unwrap_or_default()
}

fn name(table: &str) -> TableName {
    let mut parts: Vec<String> = table.split('.').map(str::to_string).collect();
    let table = parts.pop().unwrap_or_default();
    let database = parts.pop();
    TableName { catalog: parts.pop(), database, table }
}

#[test]
fn statements_are_told_apart() -> Result<()> {
    use StatementKind::{Ddl, Deallocate, Explain, ExplainAnalyze, Rows};
    let explain = |of, format| Explain(ExplainOptions { of, format });
    assert_eq!(
        kinds("SELECT 1; EXPLAIN SELECT 1; explain analyze verbose select 1; VALUES 1; TABLE t; (SELECT 1);")?,
        [Rows, Explain(ExplainOptions::default()), ExplainAnalyze { verbose: true }, Rows, Rows, Rows]
    );
    assert_eq!(
        kinds("EXPLAIN (TYPE IO, FORMAT JSON) SELECT 1; EXPLAIN (FORMAT GRAPHVIZ) (SELECT 1); EXPLAIN (SELECT 1)")?,
        [
            explain(ExplainType::Io, ExplainFormat::Json),
            explain(ExplainType::Distributed, ExplainFormat::Graphviz),
            Explain(ExplainOptions::default())
        ]
    );
    assert_eq!(kinds(" ; -- nothing\n")?, []);
    for ddl in [
        "CREATE EXTERNAL TABLE t (a array<struct<b:int>>) STORED AS PARQUET LOCATION 's3://b/p/'",
        "CREATE DATABASE IF NOT EXISTS d",
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "DROP TABLE t",
        "ALTER TABLE t ADD PARTITION (d='1') LOCATION 's3://x/'",
        "MSCK REPAIR TABLE t",
        "SHOW PARTITIONS t",
        "DESCRIBE FORMATTED t",
        "CREATE TABLE t (a int)",
    ] {
        let found = one(ddl)?;
        assert_eq!((found.kind, found.text.as_str()), (Ddl, ddl));
    }
    assert!(one("SHOW TABLES")?.parsed.is_some());
    assert_eq!(kinds("DEALLOCATE PREPARE \"Q\"")?, [Deallocate("q".into())]);
    assert_eq!(kinds("USE a.b")?, [StatementKind::Use { catalog: Some("a".into()), database: "b".into() }]);
    Ok(())
}

#[test]
fn statements_that_write_are_data_around_a_query() -> Result<()> {
    let found = one("-- {\"app\": \"dbt\"}\ncreate table if not exists \"awsdatacatalog\".\"S\".\"t\" with (format='PARQUET', \
         partitioned_by=ARRAY['a', 'b'], bucket_count=4, is_external=true) as select 1 as x with no data;")?;
    let properties = [
        ("format", PropertyValue::Text("PARQUET".into())),
        ("partitioned_by", PropertyValue::List(vec!["a".into(), "b".into()])),
        ("bucket_count", PropertyValue::Number(4)),
        ("is_external", PropertyValue::Boolean(true)),
    ];
    let expected = CreateTableAs {
        name: name("awsdatacatalog.s.t"),
        if_not_exists: true,
        columns: vec![],
        properties: properties.into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
        with_data: false,
    };
    assert_eq!(found.kind, StatementKind::CreateTableAs(expected));
    assert_eq!(found.parsed.map(|parsed| parsed.to_string()).as_deref(), Some("SELECT 1 AS \"x\""));

    for (sql, columns) in [
        ("INSERT INTO d.t (A, b) VALUES (1, 2)", vec!["a", "b"]),
        ("insert into d.t (a, b) ( select 1, 2 );", vec!["a", "b"]),
        ("INSERT INTO d.t VALUES 1, 2", vec![]),
        ("INSERT INTO d.t (SELECT 1)", vec![]),
    ] {
        let columns = columns.into_iter().map(str::to_string).collect();
        assert_eq!(one(sql)?.kind, StatementKind::Insert(Insert { name: name("d.t"), columns }), "{sql}");
    }
    let found = one("UNLOAD (SELECT * FROM t) TO 's3://b/p/' WITH (format = 'PARQUET', compression='gzip')")?;
    let StatementKind::Unload(unload) = found.kind else { panic!("an UNLOAD") };
    assert_eq!((unload.location.as_str(), unload.properties.len()), ("s3://b/p/", 2));
    Ok(())
}

#[test]
fn prepared_statements_are_text_and_parameters() -> Result<()> {
    let found = one("PREPARE My_query FROM\n SELECT * FROM t WHERE a = ? AND b IN (?, ?)")?;
    let sql = "SELECT * FROM t WHERE a = ? AND b IN (?, ?)".to_string();
    assert_eq!(found.kind, StatementKind::Prepare(Prepare { name: "my_query".into(), sql: sql.clone() }));
    let found = one("EXECUTE my_query USING 1, f('a,b', 2), 'x'")?;
    let parameters: Vec<String> = ["1", "f('a,b', 2)", "'x'"].map(str::to_string).to_vec();
    assert_eq!(found.kind, StatementKind::Execute(Execute::Named { name: "my_query".into(), parameters: parameters.clone() }));
    let found = one("EXECUTE IMMEDIATE 'SELECT ''a'', ?' USING 5")?;
    let immediate = Execute::Immediate { sql: "SELECT 'a', ?".into(), parameters: vec!["5".into()] };
    assert_eq!(found.kind, StatementKind::Execute(immediate));

    let values = parameters.iter().map(|text| Parameter::parse(text, LIMITS)).collect::<Result<Vec<_>>>()?;
    let filled = parse_prepared(&sql, &values, LIMITS)?.parsed.map(|parsed| parsed.to_string());
    assert_eq!(filled.as_deref(), Some("SELECT * FROM t WHERE a = (1) AND b IN ((f('a,b', 2)), ('x'))"));
    for smuggled in ["SELECT 1; DROP TABLE t", "DROP TABLE t", "EXECUTE x", "PREPARE a FROM SELECT 1", "EXPLAIN SELECT 1", ""] {
        assert!(parse_prepared(smuggled, &[], LIMITS).is_err(), "{smuggled}");
        assert!(kinds(&format!("PREPARE p FROM {smuggled}")).map_or(true, |found| found.len() > 1), "{smuggled}");
    }
    Ok(())
}

#[test]
fn what_does_not_run_is_refused_by_name() {
    for sql in [
        "SET datafusion.runtime.memory_limit = '900G'",
        "RESET x",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "DELETE FROM t",
        "MERGE INTO t USING u ON a = b WHEN MATCHED THEN DELETE",
        "GRANT SELECT ON t TO u",
        "CREATE FUNCTION f() RETURNS int RETURN 1",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "USING EXTERNAL FUNCTION f(x INT) RETURNS INT LAMBDA 'l' SELECT f(1)",
        "INSERT OVERWRITE t SELECT 1",
        "SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01 00:00:00'",
        "SELECT DISTINCT ON (a) b FROM t",
        "SELECT * FROM t MATCH_RECOGNIZE (PATTERN (A) DEFINE A AS true)",
        "SELECT DISTINCT a FROM t ORDER BY a FETCH FIRST 2 ROWS WITH TIES",
        "SELECT CAST('a' AS CHAR(65537))",
        "SELECT a ^ b FROM t",
    ] {
        assert!(error(sql).starts_with("NOT_SUPPORTED: line 1:") || error(sql).starts_with("line 1:"), "{sql}: {}", error(sql));
    }
    assert!(error("DELETE FROM t").contains("Iceberg"));
}

#[test]
fn syntax_errors_have_a_position() {
    for (sql, start) in [
        ("SELECT 1\nFROM t WHERE", "line 2:13: "),
        ("SELECT 1 FRM t x", "line 1:14: "),
        ("FOO", "line 1:1: mismatched input 'FOO', expecting: SELECT"),
        ("SELECT 'open", "line 1:8: "),
        ("SELECT 1;\n\n SELECT (", "line 3:10: "),
        ("INSERT INTO t", "line 1:14: mismatched input the end of the statement, expecting: a query"),
        ("CREATE TABLE t WITH (a = b) AS SELECT 1", "line 1:26: mismatched input 'b'"),
        ("EXPLAIN (TYPE FOO) SELECT 1", "line 1:15: "),
        ("USE", "line 1:4: "),
        ("SELECT * FROM (VALUES) AS v(x)", "line 1:16: "),
        ("SELECT f(SELECT )", "line 1:10: "),
        ("SELECT t.\n1000 FROM t", "line 2:1: "),
        ("SELECT 1 FROM t 'name'", "mismatched input 'name', expecting: a name"),
    ] {
        assert!(error(sql).starts_with(start), "{sql}: {}", error(sql));
    }
}

#[test]
fn size_and_depth_are_limited_at_the_boundary() {
    let chain = |terms: usize| format!("SELECT {}", vec!["1"; terms].join("+"));
    // One level for the query, and one per nested operator and operand.
    assert!(kinds(&chain(19)).is_ok());
    assert!(kinds(&chain(20)).is_err_and(|e| e.kind == ErrorKind::LimitExceeded));
    assert!(kinds(&format!("SELECT 1{}", " ".repeat(992))).is_ok());
    assert!(kinds(&format!("SELECT 1{}", " ".repeat(993))).is_err_and(|e| e.kind == ErrorKind::LimitExceeded));
}

#[test]
fn rewriting_copies_no_more_than_is_allowed() {
    let wide = format!("SELECT 1 WHERE ({}, 1) IN ({})", "aaaaaaaaaa + ".repeat(8) + "a", vec!["(1,1)"; 40].join(","));
    assert!(wide.len() < LIMITS.max_bytes);
    assert!(kinds(&wide).is_err_and(|e| e.kind == ErrorKind::LimitExceeded));
}

const SAMPLES: [&str; 27] = [
    "SELECT *, a FROM t JOIN u USING (k) LEFT JOIN v USING (j)",
    "SELECT now(), current_timestamp, localtimestamp(6), localtime, current_date, current_user FROM t",
    "SELECT a AS b FROM t ORDER BY b FETCH FIRST 2 ROWS WITH TIES",
    "SELECT x, n FROM UNNEST(ARRAY['a','b']) WITH ORDINALITY AS u(x, n)",
    "SELECT t.id, u.x FROM t LEFT JOIN UNNEST(t.arr) AS u(x) ON TRUE ORDER BY 1, 2",
    "SELECT grp, count(*) FROM t GROUP BY ALL (grp)",
    "SELECT * FROM t TABLESAMPLE BERNOULLI (50)",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r WHERE n<3) SELECT * FROM r",
    "SELECT CAST(ROW(1,'a') AS ROW(x INTEGER, y ARRAY(ROW(z MAP(VARCHAR, BIGINT))))).x",
    "SELECT TRY(CAST('x' AS INTEGER)), TRY(1/0), IF(a, b), 'a' || 'b' FROM t",
    "SELECT TIMESTAMP '2024-01-01 10:00:00 America/New_York' AT TIME ZONE 'UTC', DECIMAL '1.23', U&'\\0041', X'4142'",
    "SELECT INTERVAL '3-2' YEAR TO MONTH, DATE '2024-01-10' - INTERVAL '1' DAY",
    "SELECT * FROM t WHERE (id, grp) IN (SELECT 1, 'x') AND (a, b) IN ((1, 2), (3, 4)) AND arr[2] = 1",
    "SELECT EXISTS (SELECT 1), NOT EXISTS (SELECT max(a) FROM t)",
    "SELECT listagg(name, ',') WITHIN GROUP (ORDER BY name) FILTER (WHERE id < 3) FROM t",
    "SELECT transform(ARRAY[1,2], x -> x + 1), reduce(a, 0, (s, x) -> s + x, s -> s) FROM t",
    "SELECT 1 WHERE 'abc' LIKE 'a$_%' ESCAPE '$' OR a LIKE b OR a LIKE 'x\\y'",
    "SELECT id, id, 1, *, id FROM t",
    "VALUES 1, (2), ROW(3)",
    "SELECT * FROM (VALUES 1,2) INTERSECT ALL SELECT * FROM (VALUES 2,2) ORDER BY 1 OFFSET 1 LIMIT 2",
    "SELECT * FROM TABLE(sequence(1, 3)) FETCH FIRST 2 ROWS ONLY",
    "SELECT DISTINCT upper(a) FROM t ORDER BY upper(a)",
    "SELECT sum(id) OVER (ORDER BY id GROUPS BETWEEN 1 PRECEDING AND 2 FOLLOWING), lag(a) IGNORE NULLS OVER w FROM t WINDOW w AS (ORDER BY b)",
    "SELECT \"ID\", `a`, extract(dow FROM d), position('l' IN 'hello'), substring(a FROM 2 FOR 3), normalize(a, NFC) FROM \"T\"",
    "INSERT INTO t (a) VALUES 1",
    "CREATE TABLE t WITH (format = 'PARQUET') AS TABLE u WITH NO DATA",
    "EXPLAIN (TYPE LOGICAL) SELECT MAP(), MAP(ARRAY['a'], ARRAY[1])['a'], JSON '{}'",
];

const WIDE: Limits = Limits { max_bytes: 20_000, max_depth: 100 };

fn printed(sql: &str) -> Result<String> {
    let statement = parse(sql, WIDE)?.pop().ok_or_else(|| Error::invalid("no statement"))?;
    Ok(statement.parsed.map(|parsed| parsed.to_string()).unwrap_or_default())
}

#[test]
fn what_is_printed_reads_the_same_again() -> Result<()> {
    for sample in SAMPLES {
        let first = printed(sample)?;
        let again = printed(&first).map_err(|error| error.context(format!("{sample}\n{first}")))?;
        assert_eq!(again, first, "{sample}");
    }
    Ok(())
}

/// Words and signs of the language, and some that are none.
fn token() -> impl Strategy<Value = String> {
    let words: Vec<&str> = "SELECT FROM WHERE GROUP BY ALL ORDER LIMIT OFFSET FETCH FIRST ROWS ONLY VALUES ROW ARRAY MAP CAST TRY_CAST TRY IF AS \
         UNNEST WITH ORDINALITY CROSS LEFT JOIN ON TRUE NULL AND OR NOT IN EXISTS LIKE ESCAPE BETWEEN CASE WHEN THEN ELSE END \
         INTERVAL DATE TIMESTAMP DECIMAL JSON TABLE UNION EXCEPT INTERSECT DISTINCT OVER PARTITION EXPLAIN ANALYZE TYPE FORMAT \
         PREPARE EXECUTE IMMEDIATE USING DEALLOCATE INSERT INTO CREATE UNLOAD TO USE SHOW TABLES DESCRIBE NO DATA FOR VERSION OF \
         LATERAL TABLESAMPLE BERNOULLI EXTRACT YEAR MONTH DAY AT TIME ZONE UESCAPE STRUCT DOUBLE VARCHAR INTEGER t a b x id \
         ( ) [ ] , . ; + - * / % || = <> < > <= >= -> => :: : ? ' \" ` 'a' \"B\" `c` U&'\\0041' X'41' 1 2.5 1e3 -- /* */ é \\ { } | & @ # $ ! ^ ~"
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect();
    prop::sample::select(words).prop_map(str::to_string)
}

/// The property of the fuzz target, on a stack as deep as the coordinator's.
fn holds(text: String) -> Result<(), TestCaseError> {
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(move || crate::check_text(&text, WIDE));
    let thread = thread.map_err(|error| TestCaseError::fail(error.to_string()))?;
    thread.join().map_err(|_| TestCaseError::fail("a panic"))?.map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tokens_are_read_or_refused(tokens in prop::collection::vec(token(), 0..40)) {
        holds(tokens.join(" "))?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        holds(text)?;
    }

    #[test]
    fn changed_statements_are_read_or_refused(
        sample in prop::sample::select(SAMPLES.to_vec()),
        at in any::<prop::sample::Index>(),
        length in 0usize..12,
        inserted in token(),
    ) {
        let characters: Vec<char> = sample.chars().collect();
        let start = at.index(characters.len());
        let end = (start + length).min(characters.len());
        let text: String = characters[..start].iter().chain(inserted.chars().collect::<Vec<_>>().iter()).chain(&characters[end..]).collect();
        holds(text)?;
    }
}
