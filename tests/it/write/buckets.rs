//! Tables in buckets: all rows of a bucket in one file, which is the file that Hive would put them in.

use crate::ddl::{World, each};
use std::collections::BTreeMap;
use tests::cluster::block_on;

/// Bucket of a bigint, as Hive's first version has it.
fn bucket_of(value: i64, count: i32) -> i32 {
    (((value >> 32) ^ value) as i32 & i32::MAX) % count
}

/// The files of `folder` by their partition's folder and their bucket; there must be one of each.
fn files(world: &World, folder: &str) -> BTreeMap<(String, i32), String> {
    let mut found = BTreeMap::new();
    for path in world.files().into_iter().filter(|path| path.contains(folder)) {
        let (place, name) = path.rsplit_once('/').expect("a folder");
        let bucket = name.split('_').next().filter(|digits| digits.len() == 6).expect("six digits");
        let key = (place.to_string(), bucket.parse().expect("a number"));
        assert_eq!(found.insert(key, path.clone()), None, "two files of one bucket: {name}");
    }
    found
}

#[test]
fn rows_are_in_the_file_of_their_bucket_with_any_number_of_workers() {
    for workers in [0, 1, 4] {
        for partitioned in [false, true] {
            block_on(async move {
                let world = World::new(workers);
                let location = world.url("bucket/t");
                let (columns, partitions) =
                    if partitioned { ("id, k, c", ", partitioned_by = array['c']") } else { ("id, c, k", "") };
                let source = format!("select {columns} from (select id - 2000 as id, k - 50 as k, c from fact)");
                world
                    .run(&[&format!(
                        "create table t with (external_location = '{location}', bucketed_by = array['k'], bucket_count = 5{partitions}) as {source}"
                    )])
                    .await;
                let what = format!("{workers} workers, {partitioned}");
                assert_eq!(
                    world.sorted("select id, k, c from t").await,
                    world.sorted(&format!("select id, k, c from ({source})")).await,
                    "{what}"
                );
                assert_eq!(
                    world.sorted("select id from t where k = -7").await,
                    world.sorted("select id - 2000 from fact where k = 43").await
                );
                let found = files(&world, "/bucket/t/");
                assert_eq!(found.len(), if partitioned { 35 } else { 5 }, "{what}");
                for ((_, bucket), path) in found {
                    for k in world.rows(&format!("select distinct k from '{path}'")).await {
                        let value: i64 = k.parse().expect("a number");
                        assert_eq!(bucket_of(value, 5), bucket, "{what}: {k}");
                    }
                }
                let shown = world.rows("show create table t").await.join("\n");
                assert!(shown.contains("CLUSTERED BY ( `k` )") && shown.contains("INTO 5 BUCKETS"), "{shown}");
                world.fails("insert into t select * from t", "bucketed tables").await;
                assert_eq!(world.cluster.left_in_exchange(), [""; 0]);
            });
        }
    }
}

#[test]
fn values_of_every_type_go_where_hive_puts_them() {
    each(types);
}

async fn types(world: World) {
    // Hashes that Hive and Trino publish, 4 buckets: 1132136730, 300000, -647710651, 16758, 1, 986311098.
    let row =
        "'Trino rocks' as s, 300000 as i, bigint '300000000000' as l, date '2015-11-19' as d, true as b, double '12.34' as f";
    for (column, bucket) in [("s", 2), ("i", 0), ("l", 1), ("d", 2), ("b", 1), ("f", 2)] {
        for format in ["PARQUET", "JSON", "TEXTFILE"] {
            let folder = format!("{format}_{column}");
            let location = world.url(&format!("bucket/{folder}"));
            world
                .run(&[
                    &format!(
                        "create table t with (format = '{format}', external_location = '{location}', bucketed_by = array['{column}'], bucket_count = 4) as select {row}"
                    ),
                    "drop table t",
                ])
                .await;
            let found: Vec<i32> = files(&world, &format!("/{folder}/")).into_keys().map(|(_, bucket)| bucket).collect();
            assert_eq!(found, [bucket], "{folder}");
        }
    }
    // NULL is 0, and text that is longer than a word is hashed as it is written.
    let location = world.url("bucket/nulls");
    world
        .run(&[&format!(
            "create table n with (external_location = '{location}', bucketed_by = array['s', 'i'], bucket_count = 7) as \
             select cast(null as varchar) as s, cast(null as integer) as i union all select 'ä€😀', -1"
        )])
        .await;
    assert!(files(&world, "/nulls/").keys().any(|(_, bucket)| *bucket == 0));
    assert_eq!(world.rows("select count(*), count(s) from n").await, ["2|1"]);
}

#[test]
fn buckets_that_athena_does_not_make_are_refused() {
    each(refused);
}

async fn refused(world: World) {
    for (properties, query, why) in [
        ("bucketed_by = array['a']", "select 1 a", "bucket_count"),
        ("bucket_count = 4", "select 1 a", "bucketed_by"),
        ("bucketed_by = array['a'], bucket_count = 0", "select 1 a", "bucket_count"),
        ("bucketed_by = array['b'], bucket_count = 4", "select 1 a", "no column"),
        ("bucketed_by = array['p'], bucket_count = 4, partitioned_by = array['p']", "select 1 a, 2 p", "partition column"),
        ("bucketed_by = array['a'], bucket_count = 4", "select timestamp '2024-01-01 00:00:00' a", "NOT_SUPPORTED"),
        ("bucketed_by = array['a'], bucket_count = 4", "select decimal '1.5' a", "NOT_SUPPORTED"),
        ("bucketed_by = array['a'], bucket_count = 4", "select array[1] a", "NOT_SUPPORTED"),
        ("bucketed_by = array['a'], bucket_count = 101", "select id a from fact", "TOO_MANY_OPEN_PARTITIONS"),
        (
            "bucketed_by = array['a'], bucket_count = 21, partitioned_by = array['p']",
            "select id a, id % 5 p from fact",
            "TOO_MANY_OPEN_PARTITIONS",
        ),
    ] {
        world.fails(&format!("create table t with ({properties}) as {query}"), why).await;
    }
    assert_eq!(world.files(), [""; 0]);
    world.run(&["create table t with (bucketed_by = array['a'], bucket_count = 100) as select id a from fact"]).await;
    assert_eq!(world.rows("select count(*) from t").await, world.rows("select count(*) from fact").await);
}
