//! The 67 queries that distributed engines on DataFusion got wrong, over tasks, options and faults, against the oracle.

use engine::settings::Settings;
use tests::cluster::{Cluster, block_on, oracle, small_data_settings};
use tests::compare::{difference, rows};
use tests::faults::{Fault, FaultyInvoker};
use tests::trap_data::folder as data;

struct Trap {
    name: &'static str,
    sql: &'static str,
    expected: &'static str,
}

fn traps() -> Vec<Trap> {
    let lines = include_str!("traps.tsv").lines().filter(|line| !line.starts_with('#'));
    let traps: Vec<Trap> = lines
        .map(|line| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().expect("three fields");
            Trap { name: next(), sql: next(), expected: next() }
        })
        .collect();
    assert_eq!(traps.len(), 67);
    traps
}

/// Combinations of session options that every trap runs with.
fn variants() -> Vec<Vec<(&'static str, &'static str)>> {
    let statistics = [vec![], vec![("datafusion.execution.collect_statistics", "false")]];
    let joins = [vec![], vec![("datafusion.optimizer.prefer_hash_join", "false")]];
    let broadcast = [
        vec![],
        vec![
            ("distributed.broadcast_joins", "false"),
            ("datafusion.optimizer.hash_join_single_partition_threshold", "0"),
            ("datafusion.optimizer.hash_join_single_partition_threshold_rows", "0"),
        ],
    ];
    let mut all = Vec::new();
    for statistics in &statistics {
        for joins in &joins {
            for broadcast in &broadcast {
                all.push([statistics.clone(), joins.clone(), broadcast.clone()].concat());
            }
        }
    }
    all
}

fn settings(workers: usize, options: &[(&str, &str)]) -> Settings {
    let session = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Settings { session, ..small_data_settings(workers) }
}

/// Runs one trap and says what is wrong with it.
async fn check(cluster: &Cluster, trap: &Trap) -> Result<coordinator::Receipt, String> {
    let place = |what: String| format!("{} {}: {what}", trap.name, trap.sql);
    let answer = cluster.query(trap.sql).await;
    if let Some(message) = trap.expected.strip_prefix("ERROR ") {
        return match answer {
            Err(error) if error.message.contains(message) && error.kind == engine::ErrorKind::InvalidQuery => {
                Ok(coordinator::Receipt::default())
            }
            Err(error) => Err(place(format!("failed with {error}"))),
            Ok(answer) => Err(place(format!("gave {:?} instead of an error", rows(&answer.batches)))),
        };
    }
    let answer = answer.map_err(|error| place(error.to_string()))?;
    let got: Vec<String> = rows(&answer.batches).into_iter().map(|row| row.join("|")).collect();
    if got.join(";") != trap.expected {
        return Err(place(format!("gave {} instead of {}", got.join(";"), trap.expected)));
    }
    Ok(answer.receipt)
}

#[test]
fn the_oracle_gives_the_expected_rows() {
    block_on(async {
        for trap in traps() {
            match oracle(data(), &[], trap.sql).await {
                Ok(batches) => {
                    let got: Vec<String> = rows(&batches).into_iter().map(|row| row.join("|")).collect();
                    assert_eq!(got.join(";"), trap.expected, "{}", trap.name);
                }
                Err(error) => {
                    let message = trap.expected.strip_prefix("ERROR ").unwrap_or_default();
                    assert!(!message.is_empty() && error.message.contains(message), "{}: {error}", trap.name);
                }
            }
        }
    });
}

fn all_variants_at(workers: usize) {
    block_on(async move {
        let mut wrong = Vec::new();
        for options in variants() {
            let cluster = Cluster::new(settings(workers, &options), data());
            let mut on_workers = 0;
            for trap in traps() {
                match check(&cluster, &trap).await {
                    Ok(receipt) => on_workers += usize::from(receipt.tasks > 1),
                    Err(error) => wrong.push(format!("{options:?} {error}")),
                }
            }
            let left = cluster.left_in_exchange();
            assert!(left.is_empty(), "left in the exchange: {left:?}");
            assert!(workers == 1 || on_workers >= 45, "only {on_workers} of 67 ran on workers with {options:?}");
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn every_trap_with_1_task() {
    all_variants_at(1);
}

#[test]
fn every_trap_with_4_tasks() {
    all_variants_at(4);
}

#[test]
fn every_trap_with_16_tasks() {
    all_variants_at(16);
}

/// Nothing inline: whole objects, and with no room in memory, temporary files and multipart uploads.
#[test]
fn every_trap_through_exchange_objects() {
    for exchange_buffer_bytes in [256 << 20, 0] {
        block_on(async move {
            let settings = Settings { inline_limit_bytes: 0, exchange_buffer_bytes, ..settings(4, &[]) };
            let cluster = Cluster::new(settings, data());
            for trap in traps() {
                check(&cluster, &trap).await.expect("the expected rows");
                assert_eq!(cluster.left_in_exchange(), Vec::<String>::new(), "{}", trap.name);
            }
        });
    }
}

/// Each fault in every stage of every trap; with retries off, a fault that loses something must fail the query.
#[test]
fn every_trap_with_faults_in_every_stage() {
    for inline_limit_bytes in [0, 4 << 20] {
        for fault in [Fault::LoseAnswer, Fault::DeliverTwice, Fault::Delay] {
            block_on(async move {
                let settings = Settings { inline_limit_bytes, retry_budget_base: 1_000, ..settings(4, &[]) };
                let mut counter = None;
                let cluster = Cluster::with_faults(settings, data(), |invoker| {
                    let faulty = FaultyInvoker::new(invoker, fault);
                    counter = Some(faulty.counter());
                    faulty
                });
                for trap in traps() {
                    check(&cluster, &trap).await.expect("the expected rows in spite of faults");
                    assert_eq!(cluster.left_in_exchange(), Vec::<String>::new(), "{} {fault:?}", trap.name);
                }
                let fired = counter.map_or(0, |counter| counter());
                assert!(fired > 80, "{fault:?} fired only {fired} times");
            });
        }
    }
}

#[test]
fn without_retries_a_lost_answer_fails_the_query() {
    block_on(async {
        let settings = Settings { max_attempts_per_task: 1, ..settings(4, &[]) };
        let cluster = Cluster::with_faults(settings, data(), |invoker| FaultyInvoker::new(invoker, Fault::LoseAnswer));
        let mut failed = 0;
        for trap in traps() {
            match cluster.query(trap.sql).await {
                Err(error) if error.message.contains("injected") => failed += 1,
                Err(error) => assert!(trap.expected.starts_with("ERROR"), "{}: {error}", trap.name),
                Ok(answer) => assert_eq!(answer.receipt.tasks, 0, "{} ran on workers without a fault", trap.name),
            }
        }
        assert!(failed >= 45, "the fault fired in only {failed} queries");
        assert_eq!(cluster.left_in_exchange(), Vec::<String>::new());
    });
}

/// A broken comparison would make all of the above worthless.
#[test]
fn the_comparison_sees_a_missing_row() {
    block_on(async {
        let whole = oracle(data(), &[], "select id, x from fact").await.expect("rows");
        let part = oracle(data(), &[], "select id, x from fact where id <> 17").await.expect("rows");
        assert!(difference(&whole, &part, false).is_some());
    });
}
