//! Tables that queries make: what could not be read back is refused before anything is written, and the rest is.

use crate::ddl::{World, each};

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
fn maps_of_json_keep_their_nulls() {
    each(maps);
}

async fn maps(world: World) {
    world.run(&["create table t with (format = 'JSON') as select map(array['k', 'z'], array[1, null]) m, 1 a"]).await;
    assert_eq!(world.rows("select m['k'], cardinality(m), contains(map_keys(m), 'z'), a from t").await, ["1|2|true|1"]);
}
