//! Tables, partitions and views as a user makes, fills, changes and drops them: in one process and over workers.

use engine::settings::Settings;
use engine::{Error, ErrorKind};
use std::path::Path;
use tempfile::TempDir;
use tests::cluster::{Cluster, block_on, files_below, small_data_settings};
use tests::compare::rows;
use tests::faults::{Fault, FaultyInvoker};
use tests::trap_data;

/// A catalog with a cluster of its own.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) root: TempDir,
}

impl World {
    pub(crate) fn new(workers: usize) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        Self { cluster: cluster(workers, root.path()), root }
    }

    /// The rows of one statement, a line each, in their order.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let answer = self.cluster.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows(&answer.batches).iter().map(|row| row.join("|")).collect()
    }

    pub(crate) async fn sorted(&self, sql: &str) -> Vec<String> {
        let mut rows = self.rows(sql).await;
        rows.sort();
        rows
    }

    pub(crate) async fn run(&self, statements: &[&str]) {
        for sql in statements {
            self.rows(sql).await;
        }
    }

    pub(crate) async fn fails(&self, sql: &str, with: &str) -> Error {
        match self.cluster.query(sql).await {
            Ok(_) => panic!("no error: {sql}"),
            Err(error) => {
                assert!(error.message.contains(with), "{sql}: {error}");
                assert_ne!(error.kind, ErrorKind::Internal, "{sql}: {error}");
                error
            }
        }
    }

    pub(crate) fn url(&self, folder: &str) -> String {
        let root = std::fs::canonicalize(self.root.path()).expect("a folder");
        format!("file://{}/{folder}", root.display())
    }

    pub(crate) fn files(&self) -> Vec<String> {
        files_below(&self.root.path().join("bucket"))
    }
}

fn cluster(workers: usize, root: &Path) -> Cluster {
    let settings = Settings { inline_limit_bytes: 0, ..small_data_settings(workers) };
    Cluster::with_catalog(settings, trap_data::folder(), root)
}

/// Runs `test` in one process, and over workers.
pub(crate) fn each<F: Future<Output = ()> + Send + 'static>(test: impl Fn(World) -> F) {
    for workers in [0, 3] {
        block_on(test(World::new(workers)));
    }
}

#[test]
fn a_table_is_made_filled_changed_and_dropped() {
    each(life);
}

async fn life(world: World) {
    let location = world.url("bucket/t");
    let all = "select k, count(*), sum(id) from t group by k";
    world.run(&[&format!("create table t with (external_location = '{location}') as select id, k from fact")]).await;
    assert_eq!(world.sorted(all).await, world.sorted("select k, count(*), sum(id) from fact group by k").await);
    // A location without a slash at its end, and the table's own rows.
    world.run(&[&format!("alter table t set location '{location}'"), "insert into t select * from t"]).await;
    assert_eq!(
        world.sorted("select count(*), sum(id) from t").await,
        world.sorted("select 2 * count(*), 2 * sum(id) from fact").await
    );
    world.run(&["alter table t add columns (note string)", "insert into t (note, id) values ('new', 7)"]).await;
    assert_eq!(world.rows("select id, k, note from t where note is not null").await, ["7|NULL|new"]);
    assert_eq!(world.rows("show columns from t").await.len(), 3);
    world.fails("create table t as select 1 x", "TABLE_ALREADY_EXISTS").await;
    world.run(&["create table if not exists t as select 1 x"]).await;
    world.fails("insert into t (id) values ('7')", "TYPE_MISMATCH").await;
    world.fails("insert into t (x) values (7)", "COLUMN_NOT_FOUND").await;
    let files = world.files();
    world.run(&["drop table t"]).await;
    assert_eq!(world.files(), files, "the files of an external table stay");
    world.fails("select * from t", "TABLE_NOT_FOUND").await;
    assert_eq!(world.cluster.left_in_exchange(), [""; 0]);
}

#[test]
fn tables_without_rows_can_be_read_and_filled() {
    each(empty);
}

async fn empty(world: World) {
    for format in ["PARQUET", "JSON", "TEXTFILE"] {
        world
            .run(&[
                &format!("create table a with (format = '{format}') as select id, 'x' s from fact where id < 0"),
                &format!("create table b with (format = '{format}', partitioned_by = array['s']) as select id, 'x' s from fact with no data"),
            ])
            .await;
        for table in ["a", "b"] {
            assert_eq!(world.rows(&format!("select * from {table}")).await, [""; 0], "{format} {table}");
            assert_eq!(world.rows(&format!("select count(*) from {table}")).await, ["0"]);
            world.run(&[&format!("insert into {table} values (1, 'y')")]).await;
            assert_eq!(world.rows(&format!("select id, s from {table}")).await, ["1|y"], "{format} {table}");
            world.run(&[&format!("drop table {table}")]).await;
        }
    }
}

/// Values that folders must escape, that no URL may decode, and NULL.
const KEYS: [&str; 7] = ["'a/b=c'", "'50% :x'", "'a%2Fb'", "'..'", "'../x'", "'{}[] \"q\" \\'", "cast(null as varchar)"];

#[test]
fn partitions_give_back_every_value() {
    each(values);
}

async fn values(world: World) {
    let union: Vec<String> = KEYS.iter().enumerate().map(|(id, key)| format!("select {id} id, {key} p")).collect();
    let union = union.join(" union all ");
    world.run(&[&format!("create table t with (partitioned_by = array['p']) as {union}")]).await;
    let wanted = world.sorted(&format!("select id, p from ({union})")).await;
    assert_eq!(world.sorted("select id, p from t").await, wanted);
    world.run(&["insert into t select id, p from t"]).await;
    assert_eq!(world.sorted("select distinct id, p from t").await, wanted);
    assert_eq!(world.rows("select count(*) from t").await, ["14"]);
    for (id, key) in KEYS.iter().enumerate().take(6) {
        assert_eq!(world.rows(&format!("select distinct id from t where p = {key}")).await, [id.to_string()], "{key}");
    }
    assert_eq!(world.rows("select distinct id from t where p is null").await, ["6"]);
    assert_eq!(world.rows("select count(*) from \"t$partitions\"").await, ["7"]);
    // The same folders, found again.
    let location = world.rows("show create table t").await.join("\n");
    let location = location.split('\'').find(|part| part.starts_with("file:///")).expect("a location").to_string();
    world
        .run(&[
            &format!("create external table u (id bigint) partitioned by (p string) stored as parquet location '{location}'"),
            "msck repair table u",
        ])
        .await;
    assert_eq!(world.sorted("select distinct id, p from u").await, wanted);
    let path = location.trim_start_matches("file://");
    assert_eq!(world.sorted(&format!("select distinct id, p from '{path}'")).await, wanted, "without the catalog, too");
    world.run(&["alter table u drop partition (p = 'a/b=c')"]).await;
    assert_eq!(world.rows("select count(*) from u").await, ["12"]);
    world.fails("insert into t values (1, '')", "HIVE_INVALID_PARTITION_VALUE").await;
}

#[test]
fn partitions_of_every_type_are_read_in_their_types() {
    each(types);
}

async fn types(world: World) {
    let query = "select 1 id, date '2024-02-29' d, timestamp '2024-01-01 10:00:00.123' ts, decimal '1.50' dc, true b, 7 i \
        union all select 2, null, null, null, null, null";
    let keys = "array['d', 'ts', 'dc', 'b', 'i']";
    world.run(&[&format!("create table t with (partitioned_by = {keys}) as {query}")]).await;
    assert_eq!(world.sorted("select * from t").await, world.sorted(query).await);
    let filter = "d = date '2024-02-29' and ts < timestamp '2024-01-02 00:00:00' and dc = 1.5 and b and i between 6 and 8";
    assert_eq!(world.rows(&format!("select id from t where {filter}")).await, ["1"]);
    assert_eq!(world.rows("select id from t where d is null and b is null").await, ["2"]);
    assert_eq!(world.rows("select sum(i) + 1 from \"t$partitions\"").await, ["8"]);
    // A NULL beside whole numbers in folders that no catalog knows.
    world
        .run(&[&format!(
            "unload (select id, i from t) to '{}' with (format = 'PARQUET', partitioned_by = array['i'])",
            world.url("bucket/u")
        )])
        .await;
    let path = world.root.path().join("bucket/u");
    let path = path.display();
    assert_eq!(world.sorted(&format!("select id, i + 1 from '{path}'")).await, ["1|8", "2|NULL"]);
    assert_eq!(world.rows(&format!("select id from '{path}' where i is null")).await, ["2"]);
    assert_eq!(world.rows(&format!("select count(*) from '{path}' where i = 7")).await, ["1"]);
}

#[test]
fn strings_of_a_length_are_cut_in_every_format() {
    each(lengths);
}

async fn lengths(world: World) {
    for (format, storage) in [
        ("PARQUET", "stored as parquet"),
        ("JSON", "row format serde 'org.openx.data.jsonserde.JsonSerDe'"),
        ("TEXTFILE", "row format delimited fields terminated by ','"),
    ] {
        let delimiter = if format == "TEXTFILE" { ", field_delimiter = ','" } else { "" };
        let location = world.url(&format!("bucket/{format}"));
        world
            .run(&[
                &format!("create table a with (format = '{format}', external_location = '{location}'{delimiter}) as select 1 id, 'äbcdef' s union all select 2, null union all select 3, 'xy'"),
                &format!("create external table b (id bigint, s varchar(3)) {storage} location '{location}'"),
                &format!("create external table c (id bigint, s array<varchar(3)>) {storage} location '{location}'"),
            ])
            .await;
        assert_eq!(world.sorted("select * from b").await, ["1|äbc", "2|NULL", "3|xy"], "{format}");
        assert_eq!(world.sorted("select s from b").await, ["NULL", "xy", "äbc"], "{format}");
        assert_eq!(world.rows("select id from b where s = 'äbc'").await, ["1"], "{format}");
        assert_eq!(world.rows("select count(*) from b where s > 'äbc'").await, ["0"], "{format}");
        let longer =
            "INVALID_CAST_ARGUMENT: Cannot truncate non-space characters when casting from varchar to varchar(3) on INSERT";
        let before = world.files();
        world.fails("insert into b values (4, 'xyz'), (5, 'wxyz')", longer).await;
        assert_eq!(world.files(), before, "{format}");
        world.run(&["insert into b values (4, 'xyz  '), (5, null)", "insert into b (id) values 6"]).await;
        assert_eq!(world.sorted("select id, s || '.' from b where id > 3").await, ["4|xyz.", "5|NULL", "6|NULL"], "{format}");
        world.fails("select s from c", "NOT_SUPPORTED").await;
        world.run(&["drop table a", "drop table b", "drop table c"]).await;
    }
}

#[test]
fn rows_that_no_projection_gives_are_not_written() {
    each(projection);
}

async fn projection(world: World) {
    let projected = "'projection.enabled' = 'true', 'projection.d.type' = 'date', 'projection.d.range' = '2024-01-01,2024-01-31', \
        'projection.d.format' = 'yyyy-MM-dd', 'projection.n.type' = 'integer', 'projection.n.range' = '1,5', 'projection.n.digits' = '2', \
        'projection.e.type' = 'enum', 'projection.e.values' = 'x,y/z', 'projection.k.type' = 'injected'";
    world
        .run(&[
            &format!(
                "create external table t (id bigint) partitioned by (d date, n string, e string, k string) stored as parquet location '{}' tblproperties ({projected})",
                world.url("bucket/t")
            ),
            "insert into t values (1, date '2024-01-02', '03', 'y/z', 'a}b')",
        ])
        .await;
    assert_eq!(world.rows("select * from t where k = 'a}b'").await, ["1|2024-01-02|03|y/z|a}b"]);
    let files = world.files();
    for row in [
        "date '2025-01-02', '03', 'x', 'k'",
        "date '2024-01-02', '3', 'x', 'k'",
        "date '2024-01-02', '03', 'z', 'k'",
        "date '2024-01-02', '03', 'x', null",
        "null, '03', 'x', 'k'",
    ] {
        world.fails(&format!("insert into t values (2, {row})"), "would not be found").await;
    }
    assert_eq!(world.files(), files);
}

#[test]
fn views_show_what_they_say_until_their_tables_are_gone() {
    each(views);
}

async fn views(world: World) {
    world
        .run(&[
            "create table t as select id, k from fact where id < 5",
            "create view v as select id, id * 2 as twice from t",
            "create view w (a, b) as select id, 5 from v where twice > 4",
        ])
        .await;
    assert_eq!(world.sorted("select * from w").await, ["3|5", "4|5"]);
    world.run(&["create or replace view v as select id, id * 3 as twice from t"]).await;
    assert_eq!(world.sorted("select a from w").await, ["2", "3", "4"]);
    world.fails("create view v as select 1 x", "AlreadyExistsException").await;
    world.fails("create or replace view v as select * from v", "VIEW_IS_RECURSIVE").await;
    world.fails("create or replace view v as select a id, b twice from w", "VIEW_IS_RECURSIVE").await;
    assert_eq!(world.sorted("select a from w").await, ["2", "3", "4"], "the view is as it was");
    world.fails("insert into v values (1, 2)", "views").await;
    world.fails("drop table v", "DROP VIEW").await;
    world.fails("drop view t", "DROP TABLE").await;
    world.fails("create view x as select 1 a; drop table t", "2 statements").await;
    world.run(&["drop table t"]).await;
    world.fails("select * from w", "'awsdatacatalog.default.t' does not exist").await;
    world.run(&["drop view w", "drop view v", "drop view if exists v"]).await;
    assert_eq!(world.rows("show views").await, [""; 0]);
}

#[test]
fn writes_are_whole_whatever_happens_to_tasks() {
    for fault in [Fault::LoseAnswer, Fault::DeliverTwice, Fault::Delay] {
        let root = tempfile::tempdir().expect("a folder");
        let settings = Settings { inline_limit_bytes: 0, ..small_data_settings(3) };
        let mut fired: Option<Box<dyn Fn() -> usize + Send>> = None;
        let cluster = Cluster::with_catalog_and_invoker(settings, trap_data::folder(), root.path(), |invoker| {
            let faulty = FaultyInvoker::new(invoker, fault);
            fired = Some(Box::new(faulty.counter()));
            std::sync::Arc::new(faulty)
        });
        let world = World { cluster, root };
        let fired = fired.expect("an invoker");
        block_on(async move {
            world
                .run(&[
                    "create table t with (partitioned_by = array['c']) as select id, k, c from fact",
                    "insert into t select id, k, c from fact",
                ])
                .await;
            assert!(fired() > 1, "{fault:?}");
            let doubled = "select c, 2 * count(*), 2 * sum(id) from fact group by c";
            assert_eq!(
                world.sorted("select c, count(*), sum(id) from t group by c").await,
                world.sorted(doubled).await,
                "{fault:?}"
            );
            assert!(world.files().iter().all(|file| !file.contains("_owlet_staging")), "{fault:?}");
        });
    }
}

#[test]
fn a_statement_that_fails_leaves_nothing() {
    each(failing);
}

async fn failing(world: World) {
    world.run(&["create table t with (partitioned_by = array['c']) as select id, c from fact where id < 100"]).await;
    let before = (world.files(), world.sorted("show partitions t").await);
    for sql in [
        "create table u as select id, 1 / (id - 500) z from fact",
        "insert into t select 1 / (id - 500), cast(id as varchar) from fact where id between 490 and 510",
        "insert into t (c) select 'new' from fact where 1 / (id - 500) > 5",
    ] {
        world.fails(sql, "").await;
    }
    assert_eq!((world.files(), world.sorted("show partitions t").await), before);
    world.fails("select * from u", "TABLE_NOT_FOUND").await;
    assert_eq!(world.cluster.left_in_exchange(), [""; 0]);
}

#[test]
fn rows_are_written_to_the_place_that_they_are_read_from() {
    each(async |world| {
        // As in a catalog, nothing in a location is encoded.
        for (at, name) in ["a%20b", "a b", "50%", "é%C3%A9"].into_iter().enumerate() {
            let place = world.url(&format!("bucket/{name}/"));
            world
                .run(&[
                    &format!("create table w{at} with (external_location = '{place}') as select 1 id"),
                    &format!("insert into w{at} values 2"),
                ])
                .await;
            assert_eq!(world.sorted(&format!("select id from w{at}")).await, ["1", "2"], "{name}");
            assert!(world.files().iter().any(|path| path.contains(&format!("{name}/"))), "{name}: {:?}", world.files());
        }
        assert!(!world.files().iter().any(|path| path.contains("_owlet_staging")), "{:?}", world.files());
    });
}

#[test]
fn a_table_that_the_catalog_refuses_loses_its_files() {
    block_on(async {
        let world = World::new(0);
        // The table's entry cannot be made: a folder is in its place.
        std::fs::create_dir_all(world.root.path().join("catalog/default/tables/t.json/x")).expect("a folder");
        let sql = "create table t with (partitioned_by = array['p']) as select 1 a, 'a/b % c' p";
        assert!(world.cluster.query(sql).await.is_err());
        assert_eq!(world.files(), [""; 0]);
    });
}

#[test]
fn refused_locations_are_never_looked_at() {
    block_on(async {
        let world = World::new(0);
        let own = world.url("bucket");
        std::os::unix::fs::symlink("/etc", world.root.path().join("bucket/link")).expect("a link");
        let places = [
            "file:///etc/".to_string(),
            world.url("other/"),
            format!("{own}/../other/"),
            format!("{own}/%2e%2e/other/"),
            format!("{own}/..%2fother/"),
            format!("{own}/link/"),
            format!("{own}2/"),
            "s3://evil/x/".into(),
            "s3://bucket@evil/x/".into(),
            "http://localhost/x/".into(),
            "file://localhost/etc/".into(),
            "/etc".into(),
        ];
        world
            .run(&[
                &format!("create external table p (a bigint) partitioned by (k string) stored as parquet location '{own}/p/'"),
                "create database d",
            ])
            .await;
        let files = files_below(world.root.path());
        for place in &places {
            for sql in [
                format!("create external table t (a string) location '{place}'"),
                format!("create table t with (external_location = '{place}') as select 1 a"),
                format!("unload (select 1 a) to '{place}' with (format = 'PARQUET')"),
                format!("create database e location '{place}'"),
                format!("alter table p set location '{place}'"),
                format!("alter table p add partition (k = 'x') location '{place}'"),
                format!("execute immediate 'unload (select 1 a) to ''{place}'' with (format = ''PARQUET'')'"),
            ] {
                let answer = world.cluster.query(&sql).await;
                let error = answer.err().unwrap_or_else(|| panic!("no error: {sql}"));
                assert!(matches!(error.kind, ErrorKind::AccessDenied | ErrorKind::InvalidQuery), "{sql}: {error}");
            }
        }
        assert_eq!(files_below(world.root.path()), files);
        for name in ["../x", "a/b", "a.b", ".x", "é", "a b", ""] {
            for sql in [
                format!("create database \"{name}\""),
                format!("create table \"{name}\" as select 1 a"),
                format!("create view \"{name}\" as select 1 a"),
            ] {
                world.fails(&sql, "").await;
            }
        }
        assert_eq!(files_below(world.root.path()), files);
    });
}

#[test]
fn inserts_at_once_are_all_there() {
    each(at_once);
}

async fn at_once(world: World) {
    world.run(&["create table t with (partitioned_by = array['p']) as select 0 a, 0 p"]).await;
    let inserts = (1..=8).map(|i| {
        let world = &world;
        async move { world.rows(&format!("insert into t select {i}, id % 5 from fact where id < 50")).await }
    });
    assert_eq!(futures::future::join_all(inserts).await, vec![["50"]; 8]);
    assert_eq!(world.rows("select count(*), sum(a) from t").await, ["401|1800"]);
    assert_eq!(world.rows("select count(*) from \"t$partitions\"").await, ["5"]);
    let made = (1..=4).map(|i| {
        let world = &world;
        async move { world.cluster.query(&format!("create table same as select {i} a")).await.is_ok() }
    });
    let made = futures::future::join_all(made).await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    assert_eq!(world.rows("select count(*) from same").await, ["1"]);
    let left = world.files().iter().filter(|file| file.contains("/same/")).count();
    assert_eq!(left, 1, "those that came too late leave no file");
}

#[test]
fn prepared_statements_are_one_statement_with_its_values() {
    each(prepared);
}

async fn prepared(world: World) {
    world.run(&["create table t as select 1 a, 'x' s", "prepare p from insert into t values (?, ?)"]).await;
    world.run(&["execute p using 2, 'it''s; drop table t'", "execute p using 3, NULL"]).await;
    assert_eq!(world.sorted("select * from t").await, ["1|x", "2|it's; drop table t", "3|NULL"]);
    world.fails("execute p using 2", "places for parameters").await;
    world.fails("execute p using 'x', 'y'", "TYPE_MISMATCH").await;
    world.fails("execute immediate 'select 1; drop table t'", "one statement").await;
    world.fails("prepare q from execute p using 1", "prepared statement").await;
    world.fails("prepare q from drop table t", "prepared statement").await;
    world.run(&["prepare p from select a from t where s = ?"]).await;
    assert_eq!(world.rows("execute p using 'x'").await, ["1"]);
    world.run(&["deallocate prepare p"]).await;
    world.fails("execute p using 'x'", "NOT_FOUND").await;
}

#[test]
fn the_information_schema_tells_of_tables_and_views() {
    each(information_schema);
}

async fn information_schema(world: World) {
    world
        .run(&[
            "create database d",
            "create table d.t with (partitioned_by = array['p']) as select 1 a, decimal '1.5' b, array['x'] c, 'p' p",
            "create view d.v as select a from d.t",
        ])
        .await;
    let tables = "select table_name, table_type from information_schema.tables where table_schema = 'd'";
    assert_eq!(world.sorted(tables).await, ["t|BASE TABLE", "v|VIEW"]);
    let columns = "select ordinal_position, column_name, data_type from information_schema.columns where table_schema = 'd' and table_name = 't'";
    assert_eq!(world.sorted(columns).await, ["1|a|bigint", "2|b|decimal(2,1)", "3|c|array(varchar)", "4|p|varchar"]);
    assert_eq!(world.sorted("show databases").await, ["d", "default"]);
    world.fails("drop database d", "not empty").await;
    world.run(&["drop database d cascade"]).await;
    assert_eq!(world.rows(tables).await, [""; 0]);
    for sql in ["show catalogs", "show session", "set x = 1", "reset x", "truncate table t"] {
        world.fails(sql, "NOT_SUPPORTED").await;
    }
}
