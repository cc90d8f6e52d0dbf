//! Statements that end in the middle: a table or a partition is there with all of its rows, or neither it nor a file is.

use crate::ddl::World;
use coordinator::QueryControl;
use engine::clock::{now_ms, random_uuid, sleep};
use engine::ids::QueryId;
use std::time::{Duration, SystemTime};
use tests::cluster::block_on;

/// Moments at which whoever awaits the statement goes away, in milliseconds; by the last it has ended by itself.
const MOMENTS: [u64; 10] = [1, 3, 10, 20, 40, 60, 100, 200, 400, 60_000];

impl World {
    /// Runs `sql`, drops it after `moment_ms`, and ends what it left; tells whether it had ended by itself.
    async fn killed(&self, sql: &str, moment_ms: u64) -> bool {
        let id = QueryId(random_uuid());
        let control = QueryControl { id: Some(id), ..QueryControl::new() };
        let run = tokio::time::timeout(Duration::from_millis(moment_ms), self.cluster.query_with(sql, &control)).await;
        let has_ended = run.is_ok();
        drop(run);
        // What was dropped may still be at work for a moment.
        sleep(Duration::from_millis(300)).await;
        self.cluster.coordinator.recover_lost(&self.cluster.workspace, id).await.expect("a recovery");
        has_ended
    }

    /// Files that a reader would see.
    fn visible(&self) -> Vec<String> {
        self.files().into_iter().filter(|path| !path.contains("_owlet_staging")).collect()
    }

    /// Files in staging folders; what tells late coordinators is none.
    fn staged(&self) -> Vec<String> {
        let tells = |path: &str| path.contains("/open/") || path.ends_with("/commit.json") || path.ends_with("/plan.json");
        self.files().into_iter().filter(|path| path.contains("_owlet_staging") && !tells(path)).collect()
    }
}

#[test]
fn a_killed_create_table_as_is_whole_or_nothing() {
    let (mut whole, mut nothing) = (0, 0);
    for workers in [0, 3] {
        for moment_ms in MOMENTS {
            let was_made = block_on(async move {
                let world = World::new(workers);
                let sql = "create table t with (partitioned_by = array['c']) as select id, k, c from fact";
                let has_ended = world.killed(sql, moment_ms).await;
                let was_made = world.cluster.query("describe t").await.is_ok();
                assert!(was_made || !has_ended, "{moment_ms} ms");
                if was_made {
                    let (all, fact) = (
                        world.rows("select count(*), sum(id) from t").await,
                        world.rows("select count(*), sum(id) from fact").await,
                    );
                    assert_eq!((all, world.visible().len()), (fact, 7), "{moment_ms} ms");
                } else {
                    assert_eq!(world.visible(), [""; 0], "{moment_ms} ms");
                }
                assert_eq!(world.staged(), [""; 0], "{moment_ms} ms");
                // The name is free, or the table can be used.
                let next = if was_made { "insert into t select id, k, c from fact" } else { sql };
                world.run(&[next]).await;
                was_made
            });
            if was_made { whole += 1 } else { nothing += 1 }
        }
    }
    assert!(whole > 0 && nothing > 0, "{whole} {nothing}");
}

#[test]
fn a_killed_insert_leaves_no_partition_without_its_rows() {
    let (mut whole, mut nothing) = (0, 0);
    for workers in [0, 3] {
        for moment_ms in MOMENTS {
            let was_made = block_on(async move {
                let world = World::new(workers);
                world.run(&["create table t with (partitioned_by = array['c']) as select id, k, c from fact where c = 0"]).await;
                let before = world.rows("select count(*) from t").await;
                world.killed("insert into t select id, k, c from fact", moment_ms).await;
                let after = world.rows("select count(*) from t").await;
                let partitions = world.rows("select count(*) from \"t$partitions\"").await;
                let wanted = world.rows("select count(*) + (select count(*) from fact) from fact where c = 0").await;
                assert!(
                    after == before && partitions == ["1"] || after == wanted && partitions == ["7"],
                    "{moment_ms} ms: {after:?} {partitions:?}"
                );
                assert_eq!(world.staged(), [""; 0], "{moment_ms} ms");
                after != before
            });
            if was_made { whole += 1 } else { nothing += 1 }
        }
    }
    assert!(whole > 0 && nothing > 0, "{whole} {nothing}");
}

/// Nobody knows of the lost statement, and no other goes to its folder: the next write to another table ends it.
#[test]
fn the_next_write_of_the_place_ends_what_a_lost_one_left() {
    block_on(async {
        let world = World::new(3);
        let sql = "create table t as select a.id, b.id as other from fact a, fact b where a.id * b.id <> 77";
        // Until the first of the tasks has a whole file in staging, however long that takes.
        let begun = async {
            while !world.staged().iter().any(|path| path.ends_with(".parquet")) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let has_ended = tokio::select! {
            biased;
            () = begun => false,
            _ = world.cluster.query(sql) => true,
        };
        assert!(!has_ended, "it was to be dropped");
        sleep(Duration::from_millis(1_500)).await;
        let open = world.files().into_iter().find(|path| path.contains("/_owlet_staging/open/")).expect("an open write");
        for (age, left) in [(Duration::ZERO, None), (Duration::from_secs(400), Some(2)), (Duration::from_secs(200_000), Some(0))]
        {
            let file = std::fs::File::options().write(true).open(&open).expect("the open write");
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms() as u64) - age).expect("its age");
            world.run(&["create table u as select 1 a", "drop table u"]).await;
            let hidden = world.files().into_iter().filter(|path| path.contains("_owlet_staging")).collect::<Vec<_>>();
            assert!(hidden.len() > 1 || left == Some(0), "{hidden:?}");
            // What tells a coordinator that comes back, for a day.
            assert!(left.is_none_or(|left| hidden.len() == left), "{age:?}: {hidden:?}");
        }
        world.fails("select * from t", "TABLE_NOT_FOUND").await;
    });
}
