//! Tables as other engines write and read them: files of Spark's, lines of any kind, folders of partitions.

use crate::ddl::{World, each};
use std::path::PathBuf;

/// Writes `bytes` below the folder `bucket`.
fn put(world: &World, path: &str, bytes: &[u8]) -> PathBuf {
    let path = world.root.path().join("bucket").join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// Makes the table `t` of the folder `bucket/t` anew.
async fn table(world: &World, columns: &str, form: &str) {
    world.run(&["drop table if exists t", &format!("create external table t ({columns}) {form}")]).await;
}

fn at(world: &World, form: &str, properties: &str) -> String {
    format!("{form} location '{}' {properties}", world.url("bucket/t"))
}

const COMMAS: &str = "row format delimited fields terminated by ','";
const OPEN_CSV: &str = "row format serde 'org.apache.hadoop.hive.serde2.OpenCSVSerde'";
const REGEX: &str =
    "row format serde 'org.apache.hadoop.hive.serde2.RegexSerDe' with serdeproperties ('input.regex' = '([^,]*),?([^,]*)')";
const OPENX: &str = "row format serde 'org.openx.data.jsonserde.JsonSerDe'";
const HIVE_JSON: &str = "row format serde 'org.apache.hive.hcatalog.data.JsonSerDe'";

#[test]
fn files_of_spark_have_the_rows_that_spark_wrote() {
    each(spark);
}

/// `legacy` has 96-bit timestamps, decimals as bytes and lists of two levels; `v2` has pages of Parquet's second version.
async fn spark(world: World) {
    put(&world, "t/legacy.parquet", include_bytes!("interop/legacy.parquet"));
    put(&world, "t/_SUCCESS", b"");
    put(&world, "t/.legacy.parquet.crc", b"crc");
    put(&world, "t/_temporary/0/v2.parquet", include_bytes!("interop/v2.parquet"));
    let columns = "id int, ti tinyint, si smallint, bi bigint, f float, d double, b boolean, s string, bin binary, d5 decimal(5,2), \
        d18 decimal(18,4), d38 decimal(38,10), dt date, ts timestamp, a array<int>, aa array<array<string>>, m map<string,int>, \
        r struct<x:int,y:array<struct<z:double>>>, am array<map<string,array<bigint>>>";
    table(&world, columns, &at(&world, "stored as parquet", "")).await;
    let plain = "select id, ti, si, bi, f, d, b, s, to_hex(bin), d5, d18, d38, dt, ts from t order by id";
    let nested = "select id, json_format(cast(a as json)), json_format(cast(aa as json)), json_format(cast(map_keys(m) as json)), r.x, \
        cardinality(r.y), element_at(r.y, 1).z, cardinality(am), element_at(element_at(element_at(am, 1), 'q'), 1) from t where id < 3 order by id";
    let rows = world.rows(plain).await;
    assert_eq!(
        rows,
        [
            "1|1|2|3|1.5|2.5|true|abc|00FF|1.25|12345678901234.5678|1234567890123456789012345678.0123456789|2024-02-29|2024-02-29T01:02:03.457",
            "2|-128|-32768|-9223372036854775808|NaN|inf|false|||-999.99|-99999999999999.9999|-9999999999999999999999999999.9999999999|1969-12-31|1970-01-01T00:00:00",
            "3|127|32767|9223372036854775807|-inf|-0.0|NULL|ü\n\"\\,|NULL|0.00|0.0000|0.0000000000|1970-01-01|1970-01-01T00:00:00",
            "4|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
            "5|0|0|0|0.0|1e-320|true|\0x|C3A9|999.99|0.0001|0.0000000001|9999-12-31|2262-04-11T23:47:16.855",
            "6|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|1500-03-01|1500-03-01T00:00:00",
        ]
    );
    assert_eq!(
        world.rows(nested).await,
        ["1|[1,null,3]|[[\"a\",null],[],null]|[\"n\",\"k\"]|1|2|1.5|3|1", "2|[]|[]|[]|NULL|0|NULL|0|NULL"]
    );
    put(&world, "t/legacy.parquet", include_bytes!("interop/v2.parquet"));
    assert_eq!(world.rows(plain).await, rows);
    assert_eq!(world.rows("select id from t where d18 < 0 and ts < timestamp '1970-01-01 00:00:01'").await, ["2"]);
    assert_eq!(world.rows("select id from t where dt < date '1582-10-15'").await, ["6"]);
}

#[test]
fn an_empty_line_is_a_row_and_any_byte_is_text() {
    each(lines);
}

async fn lines(world: World) {
    put(&world, "t/a.csv", b"\xEF\xBB\xBFa,1\n\nb\x16\x15,2\r\n\r\nc,3\r\n\n");
    for form in [COMMAS, REGEX] {
        table(&world, "s string, n int", &at(&world, form, "")).await;
        let rows = ["a|1", "b\u{16}\u{15}|2", "c|3", "|NULL", "|NULL", "|NULL"];
        assert_eq!(world.sorted("select s, n from t").await, rows, "{form}");
        assert_eq!(world.rows("select count(*) from t").await, ["6"], "{form}");
        assert_eq!(world.rows("select count(*), count(s), count(n) from t").await, ["6|6|3"], "{form}");
    }
    table(&world, "s string, n string", &at(&world, OPEN_CSV, "")).await;
    assert_eq!(world.rows("select count(*), count(s), count(n) from t").await, ["6|3|3"]);
    table(&world, "s string, n int", &at(&world, COMMAS, "tblproperties ('serialization.null.format' = '')")).await;
    assert_eq!(world.rows("select count(*), count(s), count(n) from t").await, ["6|3|3"]);
    put(&world, "t/a.csv", b"{\"s\": \"x\"}\n\n{\"s\": \"y\"}\n\n");
    table(&world, "s string", &at(&world, OPENX, "")).await;
    assert_eq!(world.sorted("select s from t").await, ["NULL", "NULL", "x", "y"]);
    table(&world, "s string", &at(&world, HIVE_JSON, "")).await;
    assert_eq!(world.rows("select count(*) from t").await, ["4"]);
    world.fails("select s from t", "Row is not a valid JSON Object").await;
    put(&world, "t/a.csv", b"a\xFF\n");
    table(&world, "s string", &at(&world, COMMAS, "")).await;
    assert_eq!(world.rows("select s from t").await, ["a\u{fffd}"]);
}

#[test]
fn lines_of_headers_and_footers_are_left_out_of_each_file() {
    each(skipped);
}

async fn skipped(world: World) {
    put(&world, "t/a.csv", b"\xEF\xBB\xBFh\n\n1\n2\nz\n");
    put(&world, "t/b.csv", b"h\nh\n3\nz");
    put(&world, "t/c.csv", b"h\n");
    put(&world, "t/many.csv", format!("h\nh\n{}z\n", (10..20_000).map(|n| format!("{n}\n")).collect::<String>()).as_bytes());
    let properties = "tblproperties ('skip.header.line.count' = '2', 'skip.footer.line.count' = '1')";
    for form in [COMMAS, OPEN_CSV] {
        table(&world, "n int", &at(&world, form, properties)).await;
        assert_eq!(world.rows("select count(*), sum(n) from t").await, ["19993|199989961"], "{form}");
        assert_eq!(world.sorted("select n from t where n < 10").await, ["1", "2", "3"], "{form}");
        world.fails("insert into t values (1)", "NOT_SUPPORTED").await;
    }
}

#[test]
fn separators_are_those_that_the_serdes_take() {
    each(separators);
}

async fn separators(world: World) {
    put(&world, "t/a.csv", b"a|b||c\td\x05e,f");
    let lazy = |properties: &str| {
        format!("row format serde 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe' with serdeproperties ({properties})")
    };
    for (form, fields) in [
        (lazy("'field.delim' = '||'"), ["a", "b", ""]),
        (lazy("'field.delim' = '44'"), ["a|b||c\td\u{5}e", "f", "NULL"]),
        (lazy("'serialization.format' = '9'"), ["a|b||c", "d\u{5}e,f", "NULL"]),
        (lazy("'field.delim' = '5', 'serialization.format' = '9'"), ["a|b||c\td", "e,f", "NULL"]),
        (lazy("'field.delim' = ''"), ["a|b||c\td\u{5}e,f", "NULL", "NULL"]),
        (format!("{OPEN_CSV} with serdeproperties ('separatorChar' = '||')"), ["a", "b", ""]),
    ] {
        table(&world, "x string, y string, z string", &at(&world, &form, "")).await;
        assert_eq!(world.rows("select x, y, z from t").await, [fields.join("|")], "{form}");
    }
    // An escape that is named as `"` is a backslash.
    put(&world, "t/a.csv", b"\"a\\\"b\",\"c\"\"d\"\n");
    table(&world, "x string, y string", &at(&world, &format!("{OPEN_CSV} with serdeproperties ('escapeChar' = '\"')"), "")).await;
    assert_eq!(world.rows("select x, y from t").await, ["a\"b|c\"d"]);
    let same = at(&world, &format!("{OPEN_CSV} with serdeproperties ('quoteChar' = ',')"), "");
    world.fails(&format!("create external table u (x string) {same}"), "NOT_SUPPORTED").await;
}

#[test]
fn arrays_maps_and_rows_of_text_have_a_separator_for_each_level() {
    each(nested);
}

async fn nested(world: World) {
    let columns = "id int, a array<int>, m map<string,array<string>>, r struct<n:bigint,t:string,d:decimal(5,2)>";
    put(&world, "t/a.csv", b"1,1|x|3,k:a\x04b\x04\\N|l:,7|u|1.005\n2,,,\n3,\\N,\\N,\\N\n4,5\n");
    let form = "row format delimited fields terminated by ',' collection items terminated by '|' map keys terminated by ':'";
    table(&world, columns, &at(&world, form, "")).await;
    let shown = "select id, json_format(cast(a as json)), json_format(cast(m as json)), r is null, r.n, r.t, r.d from t";
    let rows = [
        "1|[1,null,3]|{\"k\":[\"a\",\"b\",null],\"l\":[]}|false|7|u|1.01",
        "2|[]|{}|false|NULL|NULL|NULL",
        "3|NULL|NULL|true|NULL|NULL|NULL",
        "4|[5]|NULL|true|NULL|NULL|NULL",
    ];
    assert_eq!(world.sorted(shown).await, rows);
    assert_eq!(world.rows("select id from t where element_at(element_at(m, 'k'), 2) = 'b'").await, ["1"]);
    put(&world, "t/a.csv", b"1\x011\x02x\x023\x01k\x03a\x04b\x04\\N\x02l\x03\x017\x02u\x021.005\n");
    table(&world, columns, &at(&world, "", "")).await;
    assert_eq!(world.sorted(shown).await, rows[..1]);
    table(&world, "a array<string>", &at(&world, OPEN_CSV, "")).await;
    world.fails("select a from t", "NOT_SUPPORTED").await;
}

#[test]
fn a_column_of_text_comes_back_with_its_empty_values() {
    each(empty_values);
}

async fn empty_values(world: World) {
    let make = format!(
        "create table t with (format = 'TEXTFILE', external_location = '{}') as \
         select s from (values (''), (null), ('\u{16}x'), ('y')) v(s)",
        world.url("bucket/t")
    );
    world.run(&[&make, "insert into t values (''), (null)"]).await;
    assert_eq!(world.sorted("select s from t").await, ["", "", "\u{16}x", "NULL", "NULL", "y"]);
    world.fails("insert into t values ('\u{feff}x')", "byte order mark").await;
}

#[test]
fn files_of_other_columns_are_read_by_name_or_by_place() {
    each(columns);
}

async fn columns(world: World) {
    let make = |name: &str, query: &str| {
        format!("create table {name} with (external_location = '{}') as {query}", world.url(&format!("bucket/t/p={name}")))
    };
    world
        .run(&[
            &make("a", "select 1 id, 'x' s, real '1.5' f, decimal '1.25' d"),
            &make("b", "select decimal '2.250' d, 2.5e0 f, 'y' s, cast(2 as integer) id, 'more' m"),
            &make("c", "select 'z' \"other\", 3 s"),
        ])
        .await;
    let form = at(&world, "partitioned by (p string) stored as parquet", "");
    table(&world, "id bigint, s string, f double, d decimal(7,3), m string", &form).await;
    world.run(&["msck repair table t"]).await;
    world.fails("select * from t", "its type in the file is").await;
    assert_eq!(world.sorted("select * from t where p <> 'c'").await, ["1|x|1.5|1.250|NULL|a", "2|y|2.5|2.250|more|b"]);
    world.run(&["drop table a", "drop table b", "drop table c"]).await;
}

#[test]
fn columns_by_place_have_any_name_in_the_file() {
    each(by_place);
}

async fn by_place(world: World) {
    let form = at(
        &world,
        "row format serde 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe' with serdeproperties \
         ('parquet.column.index.access' = 'true') stored as inputformat \
         'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat' outputformat \
         'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat'",
        "",
    );
    let location = world.url("bucket/t");
    let make = "select cast(id as bigint) a, cast(id + 1000 as bigint) b, row(cast(7 as bigint), 'x') r from fact where id < 100";
    world
        .run(&[&format!(
            "create table src with (external_location = '{location}') as select a, b, cast(r as row(n bigint, t varchar)) r from ({make})"
        )])
        .await;
    table(&world, "b bigint, a bigint, q struct<t:string,n:bigint>, more string", &form).await;
    let names = "select a - 1000, b + 1000, q.n, q.t, more from t";
    assert_eq!(world.sorted(names).await, world.sorted("select a, b, r.n, r.t, cast(null as varchar) from src").await);
    assert_eq!(world.rows("select b from t where a = 1042").await, ["42"]);
    assert_eq!(world.rows("select a from t where b = 42").await, ["1042"]);
    assert_eq!(world.rows("select count(*) from t where more is null and a < 1000").await, ["0"]);
    world.run(&["insert into t values (-1, -2, row('y', 8), 'z')"]).await;
    assert_eq!(world.rows("select b, a, q.t, q.n, more from t where b < 0").await, ["-1|-2|y|8|z"]);
    assert_eq!(world.rows("select a, b from src where a < 0").await, ["-2|-1"]);
}

#[test]
fn partitions_of_any_value_are_found_again() {
    each(partitions);
}

async fn partitions(world: World) {
    let values =
        ["a b", "a/b", "a:b", "a%b", "a%2Fb", "a=b", "it''s", "q\"q", "x\\y", "[z]{w}", "p#q?", "^*", " ", "..", "+", "&~"];
    let rows: Vec<String> = values.iter().enumerate().map(|(id, value)| format!("({id}, '{value}')")).collect();
    let source = format!("select cast(id as bigint) id, p from (values {}, (99, null)) v(id, p)", rows.join(", "));
    let location = world.url("bucket/t");
    let options = "format = 'PARQUET', partitioned_by = array['p']";
    world.run(&[&format!("unload ({source}) to '{location}' with ({options})")]).await;
    table(&world, "id bigint", &at(&world, "partitioned by (p string) stored as parquet", "")).await;
    world.run(&["msck repair table t"]).await;
    let all = world.sorted(&source).await;
    assert_eq!(world.sorted("select id, p from t").await, all);
    for value in values {
        assert_eq!(world.rows(&format!("select count(*) from t where p = '{value}'")).await, ["1"], "{value}");
    }
    assert_eq!(world.rows("select id from t where p is null").await, ["99"]);
    // Folders of partitions get more files; a location without them must be empty.
    world.run(&[&format!("unload ({source}) to '{location}' with ({options})")]).await;
    assert_eq!(world.rows("select count(*), count(distinct p) from t").await, ["34|16"]);
    world.fails(&format!("unload ({source}) to '{location}' with (format = 'PARQUET')"), "HIVE_PATH_ALREADY_EXISTS").await;
}

#[test]
fn compressed_files_are_read_to_the_end_of_their_last_member() {
    each(members);
}

async fn members(world: World) {
    for (ending, bytes) in [
        ("gz", &include_bytes!("interop/two_members.gz")[..]),
        ("bz2", include_bytes!("interop/two_members.bz2")),
        ("xz", include_bytes!("interop/two_members.xz")),
        ("zst", include_bytes!("interop/two_members.zst")),
    ] {
        let path = put(&world, &format!("t/a.csv.{ending}"), bytes);
        table(&world, "n int", &at(&world, COMMAS, "")).await;
        assert_eq!(world.rows("select count(*), sum(n) from t").await, ["4|10"], "{ending}");
        // The first line is taken for a header.
        assert_eq!(world.rows(&format!("select count(*) from '{}'", path.display())).await, ["3"], "{ending}");
        std::fs::remove_file(path).expect("the file");
    }
}
