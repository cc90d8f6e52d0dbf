//! The 22 TPC-H queries over tasks, options and faults, against plain DataFusion and, at scale 1, the published answers.

use arrow::array::RecordBatch;
use cli::tpch::generate::generate;
use cli::tpch::queries::{check_answer, sql};
use engine::settings::Settings;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tests::cluster::{Cluster, block_on, oracle, small_data_settings};
use tests::compare::difference;
use tests::faults::{Fault, FaultyInvoker};

/// Scale of the quick form; `OWLET_TPCH_SCALE=1` is the full form, which also checks the published answers.
pub(crate) fn scale() -> f64 {
    std::env::var("OWLET_TPCH_SCALE").ok().and_then(|value| value.parse().ok()).unwrap_or(0.1)
}

/// The tables, made once and kept between runs in the build folder.
pub(crate) fn data() -> &'static Path {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tpch-{}", scale()));
        generate(&dir, scale(), &mut |_| {}).expect("TPC-H tables");
        dir
    })
}

/// What plain DataFusion gives, computed once.
pub(crate) fn expected() -> &'static [Vec<RecordBatch>] {
    static EXPECTED: OnceLock<Vec<Vec<RecordBatch>>> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        block_on(async {
            let mut all = Vec::new();
            for number in 1..=22 {
                all.push(oracle(data(), &[], &sql(number).expect("a query")).await.expect("rows"));
            }
            all
        })
    })
}

async fn check_all(cluster: &Cluster, what: &str) -> u64 {
    let mut tasks = 0;
    for number in 1..=22u8 {
        let answer = cluster.query(&sql(number).expect("a query")).await;
        let answer = answer.unwrap_or_else(|error| panic!("Q{number} {what}: {error}"));
        let wanted = &expected()[usize::from(number) - 1];
        if let Some(difference) = difference(wanted, &answer.batches, false) {
            panic!("Q{number} {what}: {difference}");
        }
        if scale() == 1.0 {
            check_answer(number, &answer.batches).unwrap_or_else(|error| panic!("Q{number} {what}, published answer: {error}"));
        }
        assert_eq!(cluster.left_in_exchange(), Vec::<String>::new(), "Q{number} {what}");
        tasks += answer.receipt.tasks;
    }
    tasks
}

fn settings(workers: usize, options: &[(&str, &str)]) -> Settings {
    let session = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Settings { session, split_bytes: 64 << 10, memory_bytes: 4 << 30, ..small_data_settings(workers) }
}

#[test]
fn at_1_4_and_16_tasks() {
    expected();
    block_on(async {
        for (workers, least) in [(1, 0), (4, 200), (16, 400)] {
            let tasks = check_all(&Cluster::new(settings(workers, &[]), data()), &format!("{workers} tasks")).await;
            assert!(tasks >= least, "only {tasks} tasks with {workers} workers");
        }
    });
}

/// The quick form switches one option off at a time, at 4 tasks; the full form runs every combination at 1, 4 and 16.
#[test]
fn without_statistics_hash_joins_or_broadcast() {
    expected();
    block_on(async {
        let off: [&[(&str, &str)]; 3] = [
            &[("datafusion.execution.collect_statistics", "false")],
            &[("datafusion.optimizer.prefer_hash_join", "false")],
            &[
                ("distributed.broadcast_joins", "false"),
                ("datafusion.optimizer.hash_join_single_partition_threshold", "0"),
                ("datafusion.optimizer.hash_join_single_partition_threshold_rows", "0"),
            ],
        ];
        let full = scale() == 1.0;
        for choice in 1..1u32 << off.len() {
            if !full && choice.count_ones() > 1 {
                continue;
            }
            let chosen = off.iter().enumerate().filter(|(bit, _)| choice & (1 << bit) != 0);
            let options: Vec<(&str, &str)> = chosen.flat_map(|(_, options)| options.iter().copied()).collect();
            for workers in if full { vec![1, 4, 16] } else { vec![4] } {
                check_all(&Cluster::new(settings(workers, &options), data()), &format!("{workers} tasks, {options:?}")).await;
            }
        }
    });
}

#[test]
fn with_a_fault_in_every_stage() {
    expected();
    block_on(async {
        for fault in [Fault::LoseAnswer, Fault::DeliverTwice, Fault::Delay] {
            // Half of the outputs go inline, the large ones through objects.
            let settings = Settings { inline_limit_bytes: 64 << 10, retry_budget_base: 1_000, ..settings(4, &[]) };
            let mut counter = None;
            let cluster = Cluster::with_faults(settings, data(), |invoker| {
                let faulty = FaultyInvoker::new(invoker, fault);
                counter = Some(faulty.counter());
                faulty
            });
            check_all(&cluster, &format!("{fault:?}")).await;
            let fired = counter.map_or(0, |counter| counter());
            assert!(fired >= 60, "{fault:?} fired only {fired} times");
        }
    });
}

/// The control run of the fault above: it fires in every query that runs on workers, and without retries each of them fails.
#[test]
fn without_retries_a_lost_answer_fails() {
    block_on(async {
        let settings = Settings { max_attempts_per_task: 1, ..settings(4, &[]) };
        let cluster = Cluster::with_faults(settings, data(), |invoker| FaultyInvoker::new(invoker, Fault::LoseAnswer));
        let mut failed = 0;
        for number in 1..=22 {
            match cluster.query(&sql(number).expect("a query")).await {
                Err(error) => {
                    assert!(error.message.contains("injected"), "Q{number}: {error}");
                    failed += 1;
                }
                // Small tables of one row group are one task's work, and run without workers.
                Ok(answer) => assert_eq!(answer.receipt.tasks, 0, "Q{number} ran on workers without a fault"),
            }
        }
        assert!(failed >= 18, "the fault fired in only {failed} queries");
    });
}
