//! Cancel, time limits and limits of requests: queries end, and leave nothing behind.

use coordinator::QueryControl;
use engine::ErrorKind;
use engine::settings::Settings;
use std::time::Duration;
use tests::cluster::{Cluster, block_on, small_data_settings};
use tests::compare::rows;
use tests::trap_data;

/// Stages that write objects, and then a join of 9.6 billion pairs, which takes minutes and seldom yields.
const LONG: &str = "select count(*) from (select id, count(*) n from fact group by id) a, fact b, t2 c, dim d \
                    where a.id * b.id > c.b + a.n + d.dk";

fn cluster(settings: Settings) -> Cluster {
    Cluster::new(Settings { inline_limit_bytes: 0, ..settings }, trap_data::folder())
}

#[test]
fn a_cancelled_query_ends_soon_and_its_exchange_is_empty() {
    for workers in [0, 3] {
        block_on(async move {
            let cluster = cluster(small_data_settings(workers));
            let control = QueryControl::new();
            let cancel = control.cancel.clone();
            let watch = engine::clock::Stopwatch::start();
            let later = async {
                engine::clock::sleep(Duration::from_millis(150)).await;
                cancel.cancel();
            };
            let (answer, ()) = tokio::join!(cluster.query_with(LONG, &control), later);
            assert!(answer.is_err_and(|error| error.kind == ErrorKind::Cancelled), "{workers} workers");
            // An attempt that does not yield is given five seconds to stop.
            assert!(watch.elapsed() < Duration::from_secs(20), "{:?}", watch.elapsed());
            assert_eq!(cluster.left_in_exchange(), Vec::<String>::new());
        });
    }
}

#[test]
fn a_query_over_its_time_limit_ends_and_its_exchange_is_empty() {
    for workers in [0, 3] {
        block_on(async move {
            let cluster = cluster(Settings { query_timeout_ms: 200, ..small_data_settings(workers) });
            let answer = cluster.query(LONG).await.map(|answer| rows(&answer.batches));
            assert!(matches!(&answer, Err(error) if error.kind == ErrorKind::LimitExceeded), "{workers} workers: {answer:?}");
            assert_eq!(cluster.left_in_exchange(), Vec::<String>::new());
        });
    }
}

/// With a limit below the size of any plan, plans and inputs go through the exchange; below any request, the query fails.
#[test]
fn requests_over_their_limit_go_through_the_exchange() {
    block_on(async {
        let sql = "select k, count(*) n from fact group by k order by k limit 2";
        for max_request_bytes in [3_000, 1_500] {
            let settings = Settings { max_request_bytes, inline_limit_bytes: max_request_bytes - 1, ..small_data_settings(3) };
            let cluster = Cluster::new(settings, trap_data::folder());
            let answer = cluster.query(sql).await.unwrap_or_else(|error| panic!("{max_request_bytes}: {error}"));
            assert_eq!(rows(&answer.batches), [["0", "40"], ["1", "40"]]);
            assert!(answer.receipt.requests.puts > 0, "nothing went through the exchange at {max_request_bytes}");
            assert_eq!(cluster.left_in_exchange(), Vec::<String>::new());
        }
        let settings = Settings { max_request_bytes: 200, inline_limit_bytes: 100, ..small_data_settings(3) };
        let answer = Cluster::new(settings, trap_data::folder()).query(sql).await.map(|answer| rows(&answer.batches));
        assert!(answer.is_err_and(|error| error.kind == ErrorKind::LimitExceeded && error.message.contains("200")));
    });
}

/// Outputs at the limit go inline, one byte more through an object.
#[test]
fn the_inline_limit_is_exact() {
    block_on(async {
        let sql = "select k, count(*) n from fact where k < 20 group by k order by k limit 1";
        let run = async |inline_limit_bytes: usize| {
            let settings = Settings { inline_limit_bytes, ..small_data_settings(2) };
            Cluster::new(settings, trap_data::folder()).query(sql).await.expect("rows").receipt
        };
        let all = run(1 << 20).await;
        assert_eq!(all.requests.puts, 0);
        // The largest output of one task: two tasks a stage, so at most the stage's whole.
        let largest = all.stages.iter().map(|stage| stage.output_bytes).max().unwrap_or_default() as usize;
        assert_eq!(run(largest).await.requests.puts, 0);
        assert!(run(1).await.requests.puts > 0);
    });
}
