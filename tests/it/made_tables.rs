//! Tables that queries make: what could not be read back is refused before anything is written, and the rest is.

use crate::ddl::{World, each};
use tests::cluster::block_on;

#[test]
fn names_that_could_not_be_read_back_are_refused_before_anything_is_written() {
    each(names);
}

async fn names(world: World) {
    let before = world.files();
    for key in ["k.x", "k%x", "a:b", "k''x", "k=x", "k/x", ".k", "$path"] {
        let column = key.replace("''", "'");
        let sql = format!("create table t with (partitioned_by = array['{key}']) as select 1 a, 'x' \"{column}\"");
        world.fails(&sql, "InvalidInputException").await;
    }
    for field in ["f 2", "a:b", "a,b", "a<b"] {
        let sql = format!("create table t as select cast(row(1) as row(\"{field}\" bigint)) r");
        world.fails(&sql, "NOT_SUPPORTED: column 'r' has fields").await;
    }
    for (sql, with) in [
        ("create table t as select 1 \"$path\"", "InvalidInputException"),
        ("create table t as select 1 a, 2 a", "Column name 'a' specified more than once"),
        ("create table t as select row(1, 2) r", "Anonymous row type is not supported"),
        ("create table t with (partitioned_by = array['j']) as select 1 a, json_parse('1') j", "Unsupported Hive type: json"),
    ] {
        world.fails(sql, with).await;
    }
    world.fails("select * from t", "TABLE_NOT_FOUND").await;
    assert_eq!(world.files(), before);
    world.run(&["create table t (a, b) as select 1, array['x']"]).await;
    world.fails("insert into t values ('x', 1)", "Table: [bigint, array(varchar)], Query: [varchar, bigint]").await;
}

#[test]
fn columns_have_the_type_of_all_branches() {
    each(branches);
}

async fn branches(world: World) {
    world
        .run(&[
            "create table d as select decimal '3.1' c union all select decimal '2.555'",
            "create table f as select 1 c union all select 2.5e0",
            "create table i as select if(k = 1, 3, 2.5e0) c, case when k = 1 then date '2024-01-01' else timestamp '2024-01-02 00:00:00.000' end t from (values 1, 2) t(k)",
            "create table z with (write_compression = 'ZSTD', compression_level = '19') as select 'a' c",
            "create table w with (format = 'TEXTFILE') as select cast(1 as integer) c union all select 3000000000",
            "create view v as select decimal '3.1' c union all select decimal '2.555'",
        ])
        .await;
    assert_eq!(world.sorted("select c from d").await, ["2.555", "3.100"]);
    assert_eq!(world.sorted("select c from f").await, ["1.0", "2.5"]);
    assert_eq!(world.rows("select c from z").await, ["a"]);
    assert_eq!(
        world.sorted("select c, cast(t as varchar) from i").await,
        ["2.5|2024-01-02 00:00:00.000", "3.0|2024-01-01 00:00:00.000"]
    );
    assert_eq!(world.sorted("select c from w").await, ["1", "3000000000"]);
    assert_eq!(
        world.rows("select data_type from information_schema.columns where table_name in ('d', 'v')").await,
        ["decimal(4,3)"; 2]
    );
    world.run(&["create table b as select 1 c"]).await;
    world.run(&["insert into b select 1 union all select 2.6e0", "insert into d values 1.25, 7"]).await;
    assert_eq!(world.sorted("select c from b").await, ["1", "1", "3"]);
    assert_eq!(world.sorted("select c from d").await, ["1.250", "2.555", "3.100", "7.000"]);
    world.fails("insert into d select 1 union all select 2.6e10", "Cannot cast DOUBLE '2.6E10' to DECIMAL(4, 3)").await;
    world.fails("insert into b select if(true, cast(null as varchar), 'x')", "Table: [bigint], Query: [varchar]").await;
}

#[test]
fn views_give_what_they_were_made_with_or_nothing() {
    each(stale);
}

async fn stale(world: World) {
    world
        .run(&[
            "create table t as select 1000 amount, 5 fee",
            "create view inner_view as select * from t",
            "create view v as select * from inner_view",
        ])
        .await;
    assert_eq!(world.rows("select amount from v").await, ["1000"]);
    world.run(&["create or replace view inner_view as select fee, amount from t"]).await;
    world.fails("select amount from v", "VIEW_IS_STALE: the column 'amount' of the view is 'fee' in its query now").await;
    world.run(&["create or replace view inner_view as select 'x' amount, fee from t"]).await;
    world.fails("select amount from v", "VIEW_IS_STALE: the column 'amount' of the view is bigint, and varchar").await;
    world.run(&["create or replace view inner_view as select cast(7 as tinyint) amount, fee from t"]).await;
    assert_eq!(world.rows("select amount, typeof(amount) from v").await, ["7|bigint"]);
}

#[test]
fn views_are_queries_whose_columns_have_names() {
    each(views);
}

async fn views(world: World) {
    world.run(&["create table t as select 1 a"]).await;
    for (sql, with) in [
        ("create view v as select 1", "MISSING_COLUMN_NAME: line 1:1: Column name not specified at position 1"),
        ("create view v as select 1 a, 2 A", "DUPLICATE_COLUMN_NAME: line 1:1: Column name 'a' specified more than once"),
        ("create view v as insert into t values 2", "a view is one query"),
        ("create view v as select a from t where a = ?", "places for parameters"),
        ("create view v as\n  select a, nope from t", "COLUMN_NOT_FOUND: line 2:13: Column 'nope' cannot be resolved"),
        ("create view v as select a + 'x' a from t", "TYPE_MISMATCH: line 1:27: Cannot apply operator: bigint + varchar"),
    ] {
        world.fails(sql, with).await;
    }
    world.run(&["create view v (b) as select 1", "create view \"1v\" as select a as Foo from t"]).await;
    assert_eq!(world.rows("select b from v").await, ["1"]);
    assert_eq!(world.rows("show create view \"1v\"").await, ["CREATE VIEW default.\"1v\" AS", "select a as Foo from t"]);
}

#[test]
fn maps_of_json_keep_their_nulls() {
    each(maps);
}

async fn maps(world: World) {
    world.run(&["create table t with (format = 'JSON') as select map(array['k', 'z'], array[1, null]) m, 1 a"]).await;
    assert_eq!(world.rows("select m['k'], cardinality(m), contains(map_keys(m), 'z'), a from t").await, ["1|2|true|1"]);
}

#[test]
fn fields_and_lambdas_keep_their_columns_wherever_the_optimizer_brings_them() {
    each(fields);
}

async fn fields(world: World) {
    world
        .run(&[
            "create table t as select b, g, cast(r as row(x bigint, z array(bigint))) r from (values (1, 5, row(1, array[2, 3])), (2, 0, row(2, array[1, 3])), (3, 2, row(1, array[5, 2]))) t(b, g, r)",
            "create view v as select b, r from t",
            "create view m as select b % 2 k, max_by(r, b) r from t group by 1",
        ])
        .await;
    for (sql, expected) in [
        ("select b, r.x, v.r.z[1] from v order by r.x, b", vec!["1|1|2", "3|1|5", "2|2|1"]),
        ("select k, r.x from m order by 1", vec!["0|2", "1|1"]),
        ("select r.x, count(*) from v group by r.x order by 1", vec!["1|2", "2|1"]),
        ("select v.r.*, b from v where r.x = 2", vec!["2|[1, 3]|2"]),
        ("select a.b, c.b from v a join v c on a.r.x = c.r.x + 1 order by 1, 2", vec!["2|1", "2|3"]),
        // A variable that is called as a column, and one that is not, above and beside columns that no lambda uses.
        ("select b from t where any_match(r.z, b -> b = 2) and g > 0 order by b", vec!["1", "3"]),
        ("select b from t where all_match(r.z, l -> l >= 2) and g > 0 order by b", vec!["1", "3"]),
        (
            "select transform(ids, a -> a + 1) from (select g, array_agg(b) ids from t group by g) order by 1",
            vec!["[2]", "[3]", "[4]"],
        ),
        ("select filter(array['a', 'b'], a -> a < ms) from (select g, max('b') ms from t group by g) limit 1", vec!["[a]"]),
        ("select b from t order by any_match(r.z, l -> l < 2), b", vec!["1", "3", "2"]),
        ("select a.b, c.b from t a join t c on any_match(a.r.z, l -> l = c.g) order by 1, 2", vec!["1|3", "3|1", "3|3"]),
        (
            "select a.b, c.b from t a left join t c on a.g = c.g and any_match(a.r.z, l -> l = c.g) order by 1",
            vec!["1|NULL", "2|NULL", "3|3"],
        ),
        ("select b from t where r.x + 1 in (select g from t) order by 1", vec!["1", "3"]),
        ("select b from t where b = 1 or r.x not in (select g from t) order by 1", vec!["1", "3"]),
    ] {
        assert_eq!(world.rows(sql).await, expected, "{sql}");
    }
}

#[test]
fn a_folder_of_a_partition_that_is_a_link_out_of_the_locations_is_not_written_to() {
    block_on(async {
        let world = World::new(0);
        let location = world.url("bucket/t");
        world
            .run(&[&format!(
                "create table t with (external_location = '{location}', partitioned_by = array['p']) as select 1 a, 'x' p"
            )])
            .await;
        let outside = world.root.path().join("outside");
        std::fs::create_dir(&outside).expect("a folder");
        std::os::unix::fs::symlink(&outside, world.root.path().join("bucket/t/p=y")).expect("a link");
        world.fails("insert into t values (2, 'y'), (3, 'x')", "is outside the locations that SQL may write here").await;
        assert_eq!(std::fs::read_dir(&outside).expect("the folder").count(), 0);
        assert_eq!(world.rows("select a from t where p = 'x'").await, ["1"]);
        assert!(!world.files().iter().any(|path| path.contains("_owlet_staging/")), "{:?}", world.files());
    });
}
