//! Tables of Delta Lake in one process and over workers: logs that are written here, and tables of the Python package.

use crate::ddl::{World, each};
use crate::policies::python;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use engine::ErrorKind;
use engine::settings::Settings;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tests::cluster::{Cluster, block_on, files_below, small_data_settings};
use tests::compare::rows;
use tests::trap_data::write_parquet;
use tests::{deletions, trap_data};

/// Adds a commit to the log of the table in `folder`.
fn commit(folder: &Path, version: u64, actions: &[Value]) {
    let log = folder.join("_delta_log");
    std::fs::create_dir_all(&log).expect("a folder");
    let time = json!({"commitInfo": {"timestamp": version * 1_000}});
    let lines: Vec<String> = std::iter::once(&time).chain(actions).map(Value::to_string).collect();
    std::fs::write(log.join(format!("{version:020}.json")), lines.join("\n")).expect("a commit");
}

fn metadata(columns: &[(&str, &str)], keys: &[&str]) -> Value {
    let field = |(name, kind): &(&str, &str)| json!({"name": name, "type": kind, "nullable": true, "metadata": {}});
    let schema = json!({"type": "struct", "fields": columns.iter().map(field).collect::<Vec<_>>()}).to_string();
    json!({"metaData": {"id": "t", "format": {"provider": "parquet", "options": {}}, "schemaString": schema, "partitionColumns": keys, "configuration": {}}})
}

fn protocol(features: &[&str]) -> Value {
    json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}})
}

/// An action for each Parquet file below `folder`, whose partitions are folders `g=..`.
fn added(folder: &Path) -> Vec<Value> {
    let add = |file: &String| {
        let path = Path::new(file).strip_prefix(folder).expect("below it").display().to_string();
        let value = path.split_once('/').and_then(|(name, _)| name.strip_prefix("g=")).expect("a partition");
        let value = if value == "__HIVE_DEFAULT_PARTITION__" { Value::Null } else { json!(value) };
        let size = std::fs::metadata(file).expect("a file").len();
        json!({"add": {"path": path, "partitionValues": {"g": value}, "size": size, "modificationTime": 1, "dataChange": true}})
    };
    files_below(folder).iter().filter(|file| file.contains("/g=")).map(add).collect()
}

fn removed(add: &Value) -> Value {
    json!({"remove": {"path": add["add"]["path"], "deletionTimestamp": 1, "dataChange": true}})
}

/// The table `d` with versions 0 to 2: all rows of `src`, those without the partition 1, one column more.
async fn table(world: &World) -> std::path::PathBuf {
    let make = format!(
        "create table src with (external_location = '{}', partitioned_by = array['g']) as \
         select cast(id as bigint) id, cast(k as varchar) k, cast(nullif(id % 3, 2) as bigint) g from fact",
        world.url("bucket/d")
    );
    world.run(&[&make]).await;
    let folder = world.root.path().join("bucket/d");
    let files = added(&folder);
    let columns = [("id", "long"), ("k", "string"), ("g", "long")];
    let all: Vec<Value> = [protocol(&[]), metadata(&columns, &["g"])].into_iter().chain(files.clone()).collect();
    commit(&folder, 0, &all);
    let of_one: Vec<Value> = files.iter().filter(|add| add["add"]["partitionValues"]["g"] == json!("1")).map(removed).collect();
    assert!(!of_one.is_empty());
    commit(&folder, 1, &of_one);
    commit(&folder, 2, &[metadata(&[columns[2], ("New", "double"), columns[1], columns[0]], &["g"])]);
    let create = format!("create external table d location '{}' tblproperties ('table_type' = 'delta')", world.url("bucket/d"));
    world.run(&[&create]).await;
    folder
}

#[test]
fn a_table_is_read_as_its_log_says() {
    each(async |world| {
        table(&world).await;
        let all = "select g, k, count(*), sum(id) from";
        let of = async |from: &str| world.sorted(&format!("{all} {from} group by g, k")).await;
        assert_eq!(of("d for version as of 0").await, of("src").await);
        assert_eq!(of("d for timestamp as of timestamp '1970-01-01 00:00:00.999'").await, of("src").await);
        let newest = of("(select * from src where g is distinct from 1) t").await;
        assert_eq!(of("d").await, newest);
        assert_eq!(of("d for version as of 1").await, newest);
        // Both states of one table in one query.
        let both = "select count(*) from d for version as of 0 a left join d b on a.id = b.id where b.id is null";
        assert_eq!(world.rows(both).await, world.rows("select count(*) from src where g = 1").await);
        world.run(&["create view v as select id, g from d for version as of 0"]).await;
        assert_eq!(world.rows("select count(*), sum(g) from v").await, world.rows("select count(*), sum(g) from src").await);
        assert_eq!(world.sorted("select distinct g, new from d").await, ["0|NULL", "NULL|NULL"]);
        world.fails("select * from d for version as of 3", "the newest version is 2").await;
        world.fails("select * from src for version as of 0", "tables of Delta Lake").await;
        world.fails("select * from v for version as of 0", "tables of Delta Lake").await;
        world.fails("select * from \"d$partitions\"", "SHOW PARTITIONS").await;
    });
}

#[test]
fn statements_show_what_the_log_says_and_change_nothing() {
    each(async |world| {
        let folder = table(&world).await;
        let trimmed = async |sql: &str| -> Vec<String> {
            world.rows(sql).await.iter().map(|row| row.split('|').map(str::trim).collect::<Vec<_>>().join("|")).collect()
        };
        assert_eq!(trimmed("show columns from d").await, ["g", "new", "k", "id"]);
        assert_eq!(trimmed("describe d").await[..2], ["g|bigint|", "new|double|"]);
        assert_eq!(world.rows("show partitions d").await, ["g=0", "g=__HIVE_DEFAULT_PARTITION__"]);
        let columns = "select column_name, data_type, extra_info from information_schema.columns where table_name = 'd' order by ordinal_position";
        assert_eq!(world.rows(columns).await[..2], ["g|bigint|partition key", "new|double|NULL"]);
        let create = world.rows("show create table d").await.join("\n");
        assert!(create.starts_with("CREATE EXTERNAL TABLE `d`\nLOCATION") && create.contains("'table_type'='delta'"), "{create}");
        for (sql, with) in [
            ("insert into d select * from d", "only read here"),
            ("alter table d add columns (x int)", "only read here"),
            ("alter table d set tblproperties ('a' = 'b')", "only read here"),
            ("alter table d add partition (g = 3)", "only read here"),
            ("msck repair table d", "only read here"),
        ] {
            world.fails(sql, with).await;
        }
        let place = world.url("bucket/d");
        let more = |what: &str, place: &str| {
            format!("create external table e {what} location '{place}' tblproperties ('table_type' = 'DELTA')")
        };
        world.fails(&more("(id int)", &place), "leave out columns").await;
        world.fails(&more("stored as parquet", &place), "leave out columns").await;
        world.fails(&more("", &world.url("bucket/none")), "no log of Delta Lake").await;
        let denied = world.fails(&more("", &world.url("elsewhere")), "outside the locations").await;
        assert_eq!(denied.kind, ErrorKind::AccessDenied);
        world.fails(&format!("create external table e location '{place}'"), "(").await;
        let files = files_below(&folder);
        world.run(&["drop table d", &create]).await;
        assert_eq!(files_below(&folder), files);
        assert_eq!(trimmed("show columns from d").await.len(), 4);
    });
}

#[test]
fn partitions_and_statistics_leave_files_out() {
    each(async |world| {
        let folder = table(&world).await;
        let gets = async |sql: &str| world.cluster.query(sql).await.expect(sql).receipt.requests.gets;
        let (all, some) = (gets("select count(k) from d").await, gets("select count(k) from d where g is null").await);
        assert!(some < all, "{some} of {all}");
        let none = gets("select count(k) from d where g = 7").await;
        assert!(none < some, "{none} of {some}");
        // The same file, with and without statistics that say that it has no such row.
        let add = added(&folder).into_iter().find(|add| add["add"]["partitionValues"]["g"] == json!("0")).expect("a file");
        let mut with = add.clone();
        with["add"]["stats"] = json!(r#"{"numRecords":1,"minValues":{"id":0},"maxValues":{"id":1000000},"nullCount":{"id":0}}"#);
        let others: Vec<Value> = added(&folder).iter().filter(|other| **other != add).map(removed).collect();
        commit(&folder, 3, &[others, vec![with]].concat());
        assert_eq!(
            world.rows("select count(*) from d where g = 0 and id <= 1000000").await,
            world.rows("select count(*) from d").await
        );
        // A file that is gone is not missed where it is not read.
        std::fs::remove_file(folder.join(add["add"]["path"].as_str().expect("a path"))).expect("a file");
        assert_eq!(world.rows("select count(k) from d where id = 2000000").await, ["0"]);
        assert_eq!(world.rows("select count(*), max(k) from d where g is null").await, ["0|NULL"]);
        world.fails("select count(k) from d where id = 2", "not found").await;
    });
}

/// Rows of each file of [`deleting`], in row groups of 20.
const FILE_ROWS: u32 = 200;

/// A file of rows `id`, `k` and `v` from the file's number, as an action that adds it. `rows` are those of the file that are written.
fn numbers(folder: &Path, name: &str, file: u32, rows: impl Iterator<Item = u32> + Clone) -> Value {
    let id = |row: u32| i64::from(file * FILE_ROWS + row);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone().map(id)));
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.clone().map(|row| format!("k{}", row % 7))));
    let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.clone().map(|row| (row % 5 != 0).then(|| id(row) * 3))));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("k", keys, true), ("v", values, true)]).expect("rows");
    std::fs::create_dir_all(folder).expect("a folder");
    write_parquet(&folder.join(name), &[batch], 20);
    let size = std::fs::metadata(folder.join(name)).expect("a file").len();
    let (low, high) = (id(0), id(FILE_ROWS - 1));
    let stats = json!({"numRecords": rows.count(), "minValues": {"id": low}, "maxValues": {"id": high}, "nullCount": {"id": 0}, "tightBounds": false});
    json!({"add": {"path": name, "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": true, "stats": stats.to_string()}})
}

fn with_vector(add: &Value, vector: &Value) -> Value {
    let mut add = add.clone();
    add["add"]["deletionVector"] = vector.clone();
    add
}

/// The action that removes what `add` adds, with its vector.
fn removed_whole(add: &Value) -> Value {
    let mut remove = removed(add);
    remove["remove"]["deletionVector"] = add["add"]["deletionVector"].clone();
    remove
}

/// The table `d` of four files, and for each of its versions a table `left0` .. of what is left:
///
/// 0: all rows; 1: the first file without some rows, the second without a run of them; 2: the first without more, the third without all.
async fn deleting(world: &World) -> std::path::PathBuf {
    let folder = world.root.path().join("bucket/d");
    let adds: Vec<Value> = (0..4).map(|file| numbers(&folder, &format!("{file}.parquet"), file, 0..FILE_ROWS)).collect();
    let some: BTreeSet<u32> = (0..FILE_ROWS).filter(|row| row * row % 11 == 3 || row / 20 == 4).collect();
    let run: BTreeSet<u32> = (15..85).collect();
    let more: BTreeSet<u32> = some.iter().copied().chain((0..FILE_ROWS).step_by(2)).collect();
    let all: BTreeSet<u32> = (0..FILE_ROWS).collect();
    let columns = [("id", "long"), ("k", "string"), ("v", "long")];
    let first: Vec<Value> = [protocol(&["deletionVectors"]), metadata(&columns, &[])].into_iter().chain(adds.clone()).collect();
    commit(&folder, 0, &first);
    let vectors = deletions::write(&folder, "ab", &[some.clone(), more.clone(), all.clone()]);
    let with_some = with_vector(&adds[0], &vectors[0]);
    let with_run = with_vector(&adds[1], &deletions::inline(&run));
    commit(&folder, 1, &[with_run, with_some.clone(), removed(&adds[0]), removed(&adds[1])]);
    let (with_more, with_all) = (with_vector(&adds[0], &vectors[1]), with_vector(&adds[2], &vectors[2]));
    commit(&folder, 2, &[with_more, removed_whole(&with_some), removed(&adds[2]), with_all]);
    let none = BTreeSet::new();
    for (version, gone) in [[&none, &none, &none], [&some, &run, &none], [&more, &run, &all]].iter().enumerate() {
        let left = world.root.path().join(format!("bucket/left{version}"));
        for file in 0..4_u32 {
            let gone = gone.get(file as usize).copied().unwrap_or(&none);
            numbers(&left, &format!("{file}.parquet"), file, (0..FILE_ROWS).filter(|row| !gone.contains(row)));
        }
        let create = format!(
            "create external table left{version} (id bigint, k string, v bigint) stored as parquet location '{}'",
            world.url(&format!("bucket/left{version}"))
        );
        world.run(&[&create]).await;
    }
    let create = format!("create external table d location '{}' tblproperties ('table_type' = 'delta')", world.url("bucket/d"));
    world.run(&[&create]).await;
    folder
}

#[test]
fn rows_that_were_deleted_are_left_out() {
    each(async |world| {
        deleting(&world).await;
        for version in 0..=2 {
            let (deltas, left) = (format!("d for version as of {version}"), format!("left{version}"));
            for sql in [
                "select count(*) from T",
                "select count(id), count(v), sum(id), sum(v), min(id), max(id), min(v), max(v), min(k), max(k) from T",
                "select * from T",
                "select id from T where id between 90 and 310",
                "select id, v from T where v is null and k <> 'k3'",
                "select count(*) from T where id >= 0",
                "select count(*) from T where id < 0 or id >= 600",
                "select count(*) from T where id = 14 or id = 15 or id = 84 or id = 85 or id = 215",
                "select min(id), max(id), count(*) from T where k = 'k2'",
                "select k, count(*), sum(v) from T group by k",
                "select id from T order by id desc limit 7",
                "select id from T order by v, id limit 30",
                "select k, id from T where id > 50 order by k desc, id limit 11",
                "select count(*) from (select id from T limit 350)",
                "select count(*) from (select id from T where id < 230 limit 100)",
                "select count(*) from (select id from T where id >= 400 and id < 600 limit 3)",
                "select count(distinct k), approx_distinct(id) > 300 from T",
                "select count(*) from T a join T b on a.id = b.id where a.k <> b.k or a.v = b.v",
                "select count(*) from fact f join T t on f.id = t.id",
                "select count(*) from fact f where f.id not in (select id from T) and f.id < 800",
                "select id, row_number() over (partition by k order by id) from T where id % 3 = 0",
                "select id % 10, max(v) from T where id > 150 group by 1 having count(*) > 2",
            ] {
                let (found, expected) = (sql.replace('T', &deltas), sql.replace('T', &left));
                assert_eq!(world.sorted(&found).await, world.sorted(&expected).await, "{found}");
            }
        }
        let answer = world.cluster.query("select k, sum(v) from d group by k").await.expect("rows");
        let is_local = world.cluster.query("select k, sum(v) from left0 group by k").await.expect("rows").receipt.mode == "local";
        assert_eq!(answer.receipt.mode == "local", is_local, "{:?}", answer.receipt.local_reason);
        assert_eq!(world.sorted("select * from d").await, world.sorted("select * from left2").await);
    });
}

#[test]
fn deletion_vectors_that_cannot_be_read_are_errors() {
    each(async |world| {
        let folder = deleting(&world).await;
        let bin = folder.join("ab/deletion_vector_00000000-0000-0000-0000-000000000000.bin");
        let whole = std::fs::read(&bin).expect("a file");
        let mut changed = whole.clone();
        changed[30] ^= 1;
        std::fs::write(&bin, &changed).expect("a file");
        for sql in ["select * from d for version as of 1", "select sum(id) from d for version as of 1 where id < 100"] {
            let error = world.fails(sql, "checksum").await;
            assert!(error.kind == ErrorKind::Corrupt && error.message.contains("0.parquet"), "{error}");
        }
        // What is not read may have any.
        assert_eq!(
            world.rows("select count(v) from d for version as of 1 where id >= 200").await,
            world.rows("select count(v) from left1 where id >= 200").await
        );
        std::fs::remove_file(&bin).expect("a file");
        let error = world.fails("select * from d", "deletion vector").await;
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        assert_eq!(world.rows("select sum(id) from d for version as of 0").await, world.rows("select sum(id) from left0").await);
        std::fs::write(&bin, &whole).expect("a file");
        assert_eq!(world.rows("select sum(id) from d").await, world.rows("select sum(id) from left2").await);
    });
}

#[test]
fn files_outside_of_the_allowed_locations_are_not_read() {
    for workers in [0, 3] {
        block_on(async move {
            let root = tempfile::tempdir().expect("a folder");
            let real = std::fs::canonicalize(root.path()).expect("a folder");
            let allowed = format!("file://{}/bucket/", real.display());
            let settings = Settings { data_locations: Some(vec![allowed.clone()]), ..small_data_settings(workers) };
            let cluster = Cluster::with_catalog(settings, trap_data::folder(), root.path());
            let query = async |sql: &str| cluster.query(sql).await.map(|answer| rows(&answer.batches));
            query(&format!("create table src with (external_location = '{allowed}s') as select 1 id")).await.expect("a table");
            let file = files_below(&real.join("bucket/s")).pop().expect("a file");
            std::fs::copy(&file, real.join("secret.parquet")).expect("a copy");
            let folder = real.join("bucket/d");
            let size = std::fs::metadata(&file).expect("a file").len();
            let add = |path: String| json!({"add": {"path": path, "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": true}});
            let table = [protocol(&[]), metadata(&[("id", "integer")], &[])];
            commit(&folder, 0, &[table.to_vec(), vec![add(format!("file://{file}"))]].concat());
            query(&format!("create external table d location '{allowed}d' tblproperties ('table_type' = 'DELTA')"))
                .await
                .expect("a table");
            assert_eq!(query("select * from d").await.expect("an absolute path within"), [["1"]]);
            commit(&folder, 1, &[add(format!("file://{}/secret.parquet", real.display()))]);
            let error = query("select * from d").await.expect_err("a path outside");
            assert!(error.kind == ErrorKind::AccessDenied && error.message.contains("data_locations"), "{error}");
            std::os::unix::fs::symlink(real.join("secret.parquet"), folder.join("link.parquet")).expect("a link");
            commit(&folder, 1, &[add("link.parquet".into())]);
            let error = query("select * from d").await.expect_err("a link to the outside");
            assert!(error.kind == ErrorKind::AccessDenied, "{error}");
            // A deletion vector, too.
            let rows = BTreeSet::from([0]);
            let vector = deletions::write(&real.join("elsewhere"), "", &[rows]).remove(0);
            let bin = "deletion_vector_00000000-0000-0000-0000-000000000000.bin";
            std::os::unix::fs::symlink(real.join("elsewhere").join(bin), folder.join(bin)).expect("a link");
            let mut away = vector.clone();
            away["storageType"] = json!("p");
            away["pathOrInlineDv"] = json!(format!("file://{}/elsewhere/{bin}", real.display()));
            for vector in [vector, away] {
                commit(
                    &folder,
                    1,
                    &[removed(&add(format!("file://{file}"))), with_vector(&add(format!("file://{file}")), &vector)],
                );
                let error = query("select * from d").await.expect_err("a vector outside");
                assert!(error.kind == ErrorKind::AccessDenied, "{error}");
            }
        });
    }
}

/// Writes the tables of `delta_tables.py` into the bucket of `world`.
async fn of_package(world: &World) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/delta_tables.py");
    let written = Command::new(python().await).arg(script).arg(world.root.path().join("bucket")).output().expect("python runs");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    for name in ["people", "compacted"] {
        let create = format!(
            "create external table {name} location '{}' tblproperties ('spark.sql.sources.provider' = 'delta')",
            world.url(&format!("bucket/{name}"))
        );
        world.run(&[&create]).await;
    }
}

#[test]
fn tables_of_the_python_package_are_read() {
    each(async |world| {
        of_package(&world).await;
        let expected = [
            "0|a b|NULL|0.25|NULL|NULL",
            "1|x/y=z|n1é|1.25|2024-03-01|false",
            "2|50%|n2é|2.25|2024-03-02|true",
            "3|é|NULL|3.25|NULL|NULL",
            "4|NULL|n4é|4.25|2024-03-04|true",
            "5|q'\"{}|n5é|5.25|2024-03-05|false",
        ];
        let columns = "id, key, name, price, day, ok";
        assert_eq!(world.rows(&format!("select {columns} from people for version as of 0 order by id")).await, expected);
        let ids = async |rest: &str| world.rows(&format!("select id from people {rest} order by id")).await.join(",");
        assert_eq!(ids("for version as of 1").await, "0,1,2,3,4,5,10,11,12,13,14,15");
        assert_eq!(ids("for version as of 2").await, "0,1,2,3,4,5,10,11,14,15");
        assert_eq!(ids("").await, "0,1,2,3,4,5,10,11,14,15,20,30,31");
        assert_eq!(ids("where key = 'x/y=z'").await, "1,11");
        assert_eq!(ids("where key is null").await, "4,14");
        assert_eq!(ids("where key = '50%' or key = 'q''\"{}'").await, "2,5,15");
        assert_eq!(ids("where extra = 'new'").await, "20");
        assert_eq!(ids("where day = date '2024-03-21'").await, "");
        assert_eq!(ids("where price between 20 and 31").await, "20,30");
        assert_eq!(ids("where name > 'n2'").await, "2,4,5,20,31");
        let times = "select typeof(moment), typeof(local), moment, local from people where id = 1";
        let times = world.rows(times).await;
        assert!(times[0].starts_with("timestamp(3) with time zone|timestamp(6)|"), "{times:?}");
        assert!(times[0].contains("09:46:40.123") && times[0].contains("09:46:40.123457"), "{times:?}");
        assert_eq!(
            ids("where moment = timestamp '2024-02-29 09:46:40.123 UTC' and local > timestamp '2024-02-29 09:46:40.123480'")
                .await,
            "30,31"
        );
        assert_eq!(world.rows("show partitions people").await.len(), 6);

        let sums = "count(*), sum(id), count(name), min(day), max(moment)";
        let found = world.rows(&format!("select {sums} from compacted")).await;
        assert_eq!(world.rows("select count(*), min(id) from compacted where id >= 50").await, ["10|50"]);
        world.fails("select * from compacted for version as of 2", "VACUUM").await;

        // All of the table's files are what is left in its folder. Of one with a log that is not known.
        let folder = world.root.path().join("bucket/compacted");
        let files = folder.join("*.parquet");
        let plain = format!("select count(*), sum(\"id\"), count(name), min(day) from '{}'", files.display()).replace('\'', "\"");
        world.fails(&plain, "is a table of Delta Lake").await;
        std::fs::rename(folder.join("_delta_log"), folder.join("_log")).expect("no log");
        let plain = world.rows(&plain).await;
        assert!(found[0].starts_with(&plain[0]) && plain[0].starts_with("60|1770|40|"), "{found:?} {plain:?}");
    });
}
