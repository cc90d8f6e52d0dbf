//! Owlet as functions: real processes behind the Lambda APIs, over the S3 protocol, against plain DataFusion.

use super::tpch::{data, expected};
use cli::tpch::queries::sql;
use emulator::{Chaos, Fault, Ledger, Outcome};
use engine::clock::{Stopwatch, sleep};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tests::chaos::{Periodic, once};
use tests::cluster::block_on;
use tests::compare::difference;
use tests::functions::{COORDINATOR, Functions, OWN, Plan, WORKER};
use tests::s3::{Fault as S3Fault, FaultKind, Op};
use tests::trap_data;

/// Longest wait for invocations that nobody waits for any more.
const LATE: Duration = Duration::from_secs(20);

/// A deployment of the bootstraps that cargo built for the tests.
pub(crate) fn plan(workers: usize) -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_test-coordinator"), env!("CARGO_BIN_EXE_test-worker"), workers)
}

/// Runs one of the 22 queries and compares its rows; its receipt.
async fn check(functions: &Functions, number: u8, what: &str) -> Value {
    let answer = functions.query(&sql(number).expect("a query")).await;
    assert_eq!(answer.status, 200, "Q{number} {what}: {}", String::from_utf8_lossy(&answer.body));
    let wanted = &expected()[usize::from(number) - 1];
    if let Some(difference) = difference(wanted, &answer.batches(), false) {
        panic!("Q{number} {what}: {difference}");
    }
    answer.receipt()
}

/// Runs the 22 queries, some at once; their receipts.
async fn check_all(functions: &Functions, at_once: usize, what: &str) -> Vec<Value> {
    stream::iter(1..=22u8).map(|number| check(functions, number, what)).buffer_unordered(at_once).collect().await
}

fn sum(receipts: &[Value], path: &str) -> u64 {
    receipts.iter().map(|receipt| receipt.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}"))).sum()
}

/// Lambda's bill for queries that ran one after the other.
fn assert_receipts_equal_the_bill(receipts: &[Value], ledger: &Ledger) {
    let sum = |path: &str| sum(receipts, path);
    let (worker, coordinator) = (ledger.counts_of(WORKER), ledger.counts_of(COORDINATOR));
    assert_eq!(sum("/attempts"), worker.invokes, "{worker:?}");
    assert_eq!(sum("/dispatchers") + receipts.len() as u64, coordinator.invokes, "{coordinator:?}");
    assert_eq!(sum("/lambda/requests"), worker.invokes + coordinator.invokes);
    let billed = ledger.billed_ms(WORKER) * 1_769 + ledger.billed_ms(COORDINATOR) * 3_538;
    let ours = sum("/lambda/mb_ms");
    let off = (billed as f64 - ours as f64).abs() / billed as f64;
    // The coordinator's last steps, which its receipt cannot measure, may take a few milliseconds more on a busy machine.
    let slack = (receipts.len() * 10 * 3_538) as f64 / billed as f64;
    assert!(off < 0.01 + slack, "GB-seconds: {ours} in the receipts, {billed} MB-ms in the ledger, off by {:.2} %", off * 100.0);
    assert!(receipts.iter().all(|receipt| receipt["tasks"] == 0 || receipt["billed"] == true));
}

#[test]
fn tpch_through_real_processes_and_receipts_that_equal_the_ledgers() {
    expected();
    block_on(async {
        let functions = Functions::start(plan(4), data()).await;
        functions.s3.reset_ledger();
        let receipts = check_all(&functions, 1, "4 workers").await;
        assert_eq!(functions.left_in_exchange(), Vec::<String>::new());
        let sum = |path: &str| sum(&receipts, path);
        assert!(sum("/tasks") > 100 && sum("/dispatchers") == 0);
        assert_receipts_equal_the_bill(&receipts, &functions.ledger());
        // S3's bill, the query records included.
        let s3 = functions.s3.ledger();
        assert_eq!(sum("/requests/gets"), s3.get);
        assert_eq!(sum("/requests/heads"), s3.head);
        assert_eq!(sum("/requests/puts"), s3.put + s3.multipart);
        assert_eq!(sum("/requests/lists"), s3.list);
        assert_eq!(sum("/requests/deletes"), s3.delete);
        let records = s3.records.iter().filter(|record| record.key.starts_with("queries/"));
        assert_eq!(sum("/requests/bytes_read"), s3.bytes_out - records.map(|record| record.bytes_out).sum::<u64>());
    });
}

/// A deployment in which attempts may fail often, and half of the outputs go through objects.
fn faulty_plan(chaos: &Arc<Periodic>) -> Plan {
    Plan {
        worker_concurrency: 100,
        config: json!({
            "split_bytes": 65_536, "inline_limit_bytes": 65_536, "max_attempts_per_task": 10, "retry_budget_base": 1_000,
        }),
        chaos: Some(Arc::clone(chaos) as Arc<dyn Chaos>),
        ..plan(4)
    }
}

/// What the ledger of the workers must say after the 22 queries.
struct Seen {
    receipts: Vec<Value>,
    invokes: u64,
    throttles: u64,
    exited: u64,
}

/// The 22 queries with `chaos`, which has to fire `least` times: rows as without, and nothing left of anything.
async fn with_faults(chaos: &Arc<Periodic>, twice: u64, refused: &[u64], least: u64) -> Seen {
    let functions = Functions::start(faulty_plan(chaos), data()).await;
    // Each throttle stops its query for a second.
    let receipts = check_all(&functions, if refused.is_empty() { 4 } else { 11 }, "with faults").await;
    assert!(chaos.fired() >= least, "the faults fired only {} times", chaos.fired());
    let counts = functions.ledger().counts_of(WORKER);
    let refused: u64 = refused.iter().map(|place| chaos.fired_at(*place)).sum();
    // Whoever ran twice has ended, too.
    let runs = counts.invokes - refused + chaos.fired_at(twice);
    functions.until("all runs have ended", LATE, |functions| functions.runs(WORKER) == runs).await;
    // Nobody knows of a second run of the same event: what it writes after its query has ended stays for the lifecycle rule.
    let unknown = usize::try_from(chaos.fired_at(twice)).expect("a number");
    let tidy = |functions: &Functions| functions.left_in_exchange().len() <= unknown;
    functions.until("the exchange is empty", LATE, tidy).await;
    assert_eq!(functions.s3.open_uploads(OWN), Vec::<String>::new());
    assert_eq!(sum(&receipts, "/attempts"), counts.invokes - counts.throttles, "{counts:?}");
    assert_eq!(sum(&receipts, "/throttles"), counts.throttles, "{counts:?}");
    let exited = functions.ended(WORKER, Outcome::Exited);
    assert!(functions.processes() > 0, "processes cannot be counted");
    assert_eq!(functions.end().await, 0, "processes are left");
    Seen { receipts, invokes: counts.invokes, throttles: counts.throttles, exited }
}

const NO_PLACE: u64 = u64::MAX;

#[test]
fn killed_workers_are_replaced() {
    expected();
    block_on(async {
        for fault in [Fault::KillAfter(Duration::from_millis(3)), Fault::KillBeforeAnswer] {
            let chaos = Periodic::new(WORKER, 5, [(3, fault.clone())]);
            let seen = with_faults(&chaos, NO_PLACE, &[], 30).await;
            let retries = sum(&seen.receipts, "/retries");
            // A process may have answered before it was to be killed.
            assert!(seen.exited == retries && seen.exited <= chaos.fired() && seen.exited >= 20, "{fault:?}: {}", seen.exited);
            assert!(fault != Fault::KillBeforeAnswer || seen.exited == chaos.fired());
        }
    });
}

#[test]
fn lost_answers_and_service_errors_cost_one_retry_each() {
    expected();
    block_on(async {
        for (fault, refused) in [(Fault::LoseAnswer, NO_PLACE), (Fault::ServiceError, 2)] {
            let chaos = Periodic::new(WORKER, 5, [(2, fault.clone())]);
            let seen = with_faults(&chaos, NO_PLACE, &[refused], 30).await;
            assert_eq!(sum(&seen.receipts, "/retries"), chaos.fired(), "{fault:?}");
        }
    });
}

#[test]
fn events_that_are_delivered_twice_change_nothing() {
    expected();
    block_on(async {
        let chaos = Periodic::new(WORKER, 2, [(0, Fault::DeliverTwice)]);
        let seen = with_faults(&chaos, 0, &[], 50).await;
        assert_eq!(sum(&seen.receipts, "/retries"), 0);
    });
}

#[test]
fn throttles_are_no_attempts() {
    expected();
    block_on(async {
        let throttle = Fault::Throttle("ConcurrentInvocationLimitExceeded".into());
        let chaos = Periodic::new(WORKER, 2, [(0, throttle)]);
        let seen = with_faults(&chaos, NO_PLACE, &[0], 50).await;
        assert_eq!(sum(&seen.receipts, "/retries"), 0);
        assert_eq!((seen.throttles, seen.invokes.div_ceil(2)), (chaos.fired(), chaos.fired()));
    });
}

#[test]
fn all_faults_at_once() {
    expected();
    block_on(async {
        let faults = [
            (1, Fault::KillBeforeAnswer),
            (4, Fault::DeliverTwice),
            (7, Fault::LoseAnswer),
            (10, Fault::ServiceError),
            (13, Fault::KillAfter(Duration::from_millis(3))),
            (16, Fault::Throttle("CallerRateLimitExceeded".into())),
            (19, Fault::Delay(Duration::from_millis(200))),
        ];
        let chaos = Periodic::new(WORKER, 22, faults);
        let seen = with_faults(&chaos, 4, &[10, 16], 40).await;
        assert_eq!(seen.throttles, chaos.fired_at(16));
        assert_eq!(sum(&seen.receipts, "/retries"), seen.exited + chaos.fired_at(7) + chaos.fired_at(10));
    });
}

/// The control of the faults above: they fire in each query with workers, and without retries each of those fails.
#[test]
fn without_retries_a_killed_worker_fails_its_query() {
    block_on(async {
        let chaos = Periodic::new(WORKER, 1, [(0, Fault::KillBeforeAnswer)]);
        let mut plan = faulty_plan(&chaos);
        plan.config["max_attempts_per_task"] = json!(1);
        let functions = Functions::start(plan, data()).await;
        for number in [1, 3, 9, 18] {
            let answer = functions.query(&sql(number).expect("a query")).await;
            let body = answer.json();
            assert_eq!((answer.status, &body["error"]["code"]), (503, &json!("UNAVAILABLE")), "Q{number}: {body}");
            assert_eq!((&body["query"]["state"], &body["query"]["error"]["retryable"]), (&json!("FAILED"), &json!(true)));
            let message = body["error"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("killed") && message.contains("all of its 1 attempts"), "Q{number}: {message}");
        }
        assert!(chaos.fired() >= 4);
        functions.until("the exchange is empty", LATE, |functions| functions.left_in_exchange().is_empty()).await;
        assert_eq!(functions.end().await, 0);
    });
}

#[test]
fn a_worker_stops_itself_before_its_function_is_killed() {
    block_on(async {
        let plan = Plan { worker_timeout: Duration::from_secs(3), ..plan(2) };
        let functions = Functions::start(plan, data()).await;
        let text = "select count(*), sum(l_tax) from lineitem";
        assert_eq!(functions.query(text).await.status, 200, "without a fault");
        let slow = S3Fault::new(Op::Get, "lineitem", FaultKind::Delay(Duration::from_secs(2))).times(u64::MAX);
        let fault = functions.s3.faults().arm(slow);
        let answer = functions.query(text).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["error"]["code"]), (422, &json!("LIMIT_EXCEEDED")), "{body}");
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("worker function") && message.contains("timeout"), "{message}");
        assert!(functions.s3.faults().count(fault).fired >= 2);
        functions.until("the workers have ended", LATE, |f| f.runs(WORKER) == f.ledger().counts_of(WORKER).invokes).await;
        assert_eq!(functions.runs(WORKER), functions.ended(WORKER, Outcome::Ok), "a worker was killed");
        assert_eq!(functions.left_in_exchange(), Vec::<String>::new());
    });
}

#[test]
fn a_worker_without_enough_memory_is_killed_a_bounded_number_of_times() {
    block_on(async {
        let config = json!({ "split_bytes": 1_000_000, "max_attempts_per_task": 3 });
        let functions = Functions::start(Plan { worker_mb: 80, config, ..plan(2) }, data()).await;
        let text = "select l_orderkey, l_partkey, l_comment, count(*) n from lineitem group by 1, 2, 3 order by n, 3 limit 3";
        let answer = functions.query(text).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["error"]["code"]), (503, &json!("UNAVAILABLE")), "{body}");
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("memory") && message.contains("all of its 3 attempts"), "{message}");
        let killed = functions.ended(WORKER, Outcome::OutOfMemory);
        assert!((3..=6).contains(&killed), "{killed} of {} runs", functions.runs(WORKER));
        assert_eq!(functions.left_in_exchange(), Vec::<String>::new());
    });
}

#[test]
fn a_quota_below_the_wish_only_slows_down() {
    expected();
    block_on(async {
        let functions = Functions::start(Plan { worker_concurrency: 2, ..plan(16) }, data()).await;
        let mut receipts = Vec::new();
        for number in [1, 3, 18] {
            receipts.push(check(&functions, number, "2 of 16 workers").await);
        }
        let counts = functions.ledger().counts_of(WORKER);
        assert!(counts.throttles > 0 && counts.cold_starts <= 2, "{counts:?}");
        assert_eq!(sum(&receipts, "/throttles"), counts.throttles);
        assert_eq!(sum(&receipts, "/retries"), 0);
        assert_eq!(functions.left_in_exchange(), Vec::<String>::new());
    });
}

/// All attempts but one at a time go to workers by way of dispatchers.
fn two_level_plan() -> Plan {
    let config = json!({
        "split_bytes": 65_536, "direct_attempts": 1, "max_attempts_per_task": 10, "retry_budget_base": 1_000,
    });
    Plan { config, ..plan(6) }
}

#[test]
fn two_levels_of_dispatch_give_the_same_rows_and_receipts() {
    expected();
    block_on(async {
        let functions = Functions::start(two_level_plan(), data()).await;
        let receipts = check_all(&functions, 1, "by dispatchers").await;
        let dispatchers = sum(&receipts, "/dispatchers");
        assert!(dispatchers > 20 && sum(&receipts, "/attempts") > 2 * dispatchers, "{dispatchers} dispatchers");
        assert_eq!(sum(&receipts, "/retries"), 0);
        assert_receipts_equal_the_bill(&receipts, &functions.ledger());
        assert_eq!(functions.left_in_exchange(), Vec::<String>::new());
    });
}

#[test]
fn lost_and_refused_dispatchers_change_no_row() {
    expected();
    block_on(async {
        let throttle = Fault::Throttle("ConcurrentInvocationLimitExceeded".into());
        for fault in [Fault::KillBeforeAnswer, Fault::KillAfter(Duration::from_millis(5)), Fault::LoseAnswer, throttle] {
            let (seen, fired) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
            let (count, given) = (Arc::clone(&fired), fault.clone());
            let every_third = move |_: &str, _: u64, payload: &[u8]| {
                if payload.starts_with(br#"{"owlet":{"dispatch""#) && seen.fetch_add(1, Ordering::Relaxed) % 3 == 1 {
                    count.fetch_add(1, Ordering::Relaxed);
                    return given.clone();
                }
                Fault::None
            };
            let plan = Plan { worker_concurrency: 100, chaos: Some(Arc::new(every_third)), ..two_level_plan() };
            let functions = Functions::start(plan, data()).await;
            let receipts = check_all(&functions, 4, "with lost dispatchers").await;
            let (fired, retries) = (fired.load(Ordering::Relaxed), sum(&receipts, "/retries"));
            assert!(fired >= 10, "{fault:?} fired only {fired} times");
            let counts = functions.ledger().counts_of(COORDINATOR);
            assert_eq!(sum(&receipts, "/dispatchers") + 22, counts.invokes - counts.throttles, "{fault:?}: {counts:?}");
            match &fault {
                Fault::Throttle(_) => {
                    assert_eq!((retries, functions.left_in_exchange()), (0, Vec::new()));
                }
                // A process may have answered before it was to be killed.
                Fault::KillAfter(_) => assert!(retries > 0),
                _ => assert!(retries >= fired, "{retries} retries"),
            }
            assert_eq!(functions.end().await, 0, "processes are left");
        }
    });
}

/// A join of 1.6 billion rows after stages that write objects: it runs for a long time.
pub(crate) const LONG: &str = "select count(*) from (select id, count(*) n from fact group by id) a, fact b, t2 c, t1 d \
                               where a.id * b.id > c.b + a.n + d.a";

#[test]
fn a_query_whose_coordinator_is_killed_ends_with_its_lease() {
    block_on(async {
        let chaos = once(COORDINATOR, 1, Fault::KillAfter(Duration::from_millis(1_500)));
        let config = json!({ "split_bytes": 8_192, "inline_limit_bytes": 0 });
        let plan = Plan { config, chaos: Some(Arc::clone(&chaos) as Arc<dyn Chaos>), ..plan(2) };
        let functions = Functions::start(plan, trap_data::folder()).await;
        let answer = functions.submit(json!({ "sql": LONG, "async": true })).await;
        assert_eq!(answer.status, 202, "{:?}", answer.body);
        let id = answer.json()["query"]["query_id"].as_str().unwrap_or_default().to_string();
        functions.until("it is killed", LATE, |functions| functions.ended(COORDINATOR, Outcome::Exited) == 1).await;
        let watch = Stopwatch::start();
        assert!(!functions.left_in_exchange().is_empty(), "it was killed before it wrote anything");
        let record = functions.wait_for(&id).await;
        assert!((Duration::from_secs(20)..Duration::from_secs(35)).contains(&watch.elapsed()), "{:?}", watch.elapsed());
        assert_eq!((&record["state"], &record["error"]["code"]), (&json!("FAILED"), &json!("COORDINATOR_LOST")), "{record}");
        functions.until("the exchange is empty", LATE, |functions| functions.left_in_exchange().is_empty()).await;
        functions.until("the workers have stopped", LATE, |f| f.runs(WORKER) == f.ledger().counts_of(WORKER).invokes).await;
        // Nothing changes what is final: neither a wish to cancel nor the repeated event.
        let path = format!("/v1/queries/{id}");
        assert_eq!(functions.send(http::Method::DELETE, &path, &[], "").await.status, 200);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(functions.get(&path).await.json(), record);
        let result = functions.get(&format!("{path}/result")).await;
        assert_eq!((result.status, &result.json()["error"]["code"]), (500, &json!("COORDINATOR_LOST")));
        assert_eq!(functions.left_in_exchange(), Vec::<String>::new());
        assert_eq!((chaos.fired(), functions.ledger().counts_of(COORDINATOR).events_dropped), (1, 0));
        assert_eq!(functions.end().await, 0);
    });
}

/// Few rows take many seconds in one batch: each has twenty distances of a million steps.
const STUCK: &str = "select k, count(*) from fact where cardinality(filter(sequence(1, 20), i -> levenshtein_distance(\
                     rpad(cast(id + i as varchar), 1000, 'ab'), rpad(cast(id as varchar), 1000, 'cd')) < 0)) > 0 group by k";

/// How long the stuck query may run, in milliseconds: on a busy machine workers may not have come to its rows when the first limits strike.
const LIMITS: [u64; 3] = [2_000, 8_000, 32_000];

#[test]
fn a_worker_that_cannot_be_stopped_is_replaced() {
    block_on(async {
        let plan = Plan { config: json!({ "split_bytes": 8_192 }), ..plan(2) };
        let functions = Functions::start(plan, trap_data::folder()).await;
        let cold_starts = |functions: &Functions| functions.ledger().counts_of(WORKER).cold_starts;
        let mut replaced = false;
        for limit in LIMITS {
            let answer = functions.submit(json!({ "sql": STUCK, "limits": { "timeout_ms": limit } })).await;
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (422, &json!("LIMIT_EXCEEDED")), "{:?}", answer.body);
            let before = cold_starts(&functions);
            let answer = functions.submit(json!({ "sql": "select k, count(*) from fact group by k" })).await;
            assert_eq!((answer.status, &answer.receipt()["retries"]), (200, &json!(0)), "{:?}", answer.body);
            replaced = before > 0 && cold_starts(&functions) > before;
            if replaced {
                break;
            }
        }
        assert!(replaced, "a worker that goes on with the first query is used again: {:?}", functions.ledger());
        assert_eq!(functions.left_in_exchange(), Vec::<String>::new());
    });
}
