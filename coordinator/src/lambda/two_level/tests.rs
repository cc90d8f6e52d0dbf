//! Groups over a fake of the Invoke API whose coordinator function does what a dispatcher does.

use super::*;
use crate::lambda::invoker::tests::{Fake, Hit, LIMIT, TestResult, client, throttle};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::task::{Output, PROTOCOL_VERSION, Segment, TaskOutcome, TaskResult};
use futures::future::join_all;
use std::sync::atomic::AtomicBool;

const OWN: &str = "owlet-coordinator";
const DIRECT: usize = 2;
/// The fake bills no dispatcher.
const BOUNDS: TwoLevelBounds = TwoLevelBounds { direct_attempts: DIRECT, dispatchers: 10, dispatcher_mb: 512 };

/// How the fake's dispatchers fare.
#[derive(Clone, Copy, PartialEq)]
enum Dispatchers {
    Work,
    Refused,
    Denied,
    Killed,
    Short,
}

fn is_dispatch(hit: &Hit) -> bool {
    hit.uri.path().contains(OWN)
}

fn direct(url: &str) -> Result<Arc<LambdaInvoker>> {
    Ok(Arc::new(LambdaInvoker::new(client(url, None)?, Target::new("owlet-worker", "live")?, 1_000, LIMIT)))
}

fn two_level(url: &str) -> Result<TwoLevelInvoker> {
    within(url, BOUNDS)
}

fn within(url: &str, bounds: TwoLevelBounds) -> Result<TwoLevelInvoker> {
    Ok(TwoLevelInvoker::new(direct(url)?, client(url, None)?, Target::new(OWN, "live")?, bounds))
}

fn dispatches(fake: &Fake) -> usize {
    fake.hits().iter().filter(|hit| is_dispatch(hit)).count()
}

/// Workers give their request back after `work`; dispatchers hand their groups to them.
async fn fake(dispatchers: Dispatchers, work: Duration) -> std::io::Result<Fake> {
    Fake::start(move |hit: Hit| async move {
        if !is_dispatch(&hit) {
            sleep(work).await;
            return hit.echo();
        }
        match dispatchers {
            Dispatchers::Work => dispatch(&hit).await,
            Dispatchers::Refused => throttle(),
            Dispatchers::Denied => {
                let kind = [("x-amzn-errortype", "AccessDeniedException")];
                (StatusCode::FORBIDDEN, kind, r#"{"Message": "not authorized to perform: lambda:InvokeFunction"}"#)
                    .into_response()
            }
            Dispatchers::Killed => {
                sleep(work).await;
                let body = r#"{"errorType": "Runtime.ExitError", "errorMessage": "RequestId: 1 Error: Runtime exited"}"#;
                ([("x-amz-function-error", "Unhandled")], body).into_response()
            }
            Dispatchers::Short => answer(&OutcomeEnvelope::new(&GroupOutcome::default().to_bytes())),
        }
    })
    .await
}

async fn dispatch(hit: &Hit) -> Response {
    // The dispatcher reaches the workers where it was reached itself.
    let url = format!("http://{}", hit.header("host"));
    let mut event: serde_json::Value = serde_json::from_slice(&hit.body).unwrap_or_default();
    let group = serde_json::from_value(event["owlet"]["dispatch"].take());
    let (Ok(invoker), Ok(group)) = (direct(&url), group) else { return StatusCode::BAD_REQUEST.into_response() };
    match run_group(&invoker, &group, Some(LIMIT)).await {
        Ok(envelope) => answer(&envelope),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn answer(envelope: &OutcomeEnvelope) -> Response {
    serde_json::to_string(envelope).unwrap_or_default().into_response()
}

fn request(number: usize) -> Bytes {
    let (protocol_version, build_id) = (PROTOCOL_VERSION, build_id());
    TaskRequest { protocol_version, build_id, task: number as u32, ..TaskRequest::default() }.to_bytes()
}

/// Runs `attempts` at once; what came of them, in order.
async fn invoke_all(invoker: &TwoLevelInvoker, attempts: usize) -> Vec<Invoked> {
    let running = RunningAttempts::default();
    let invoked = join_all((0..attempts).map(|number| invoker.invoke(request(number), running.start()))).await;
    assert_eq!(running.count(), 0);
    assert!(running.take_late().is_empty());
    invoked
}

fn assert_echoes(invoked: &[Invoked]) {
    for (number, invoked) in invoked.iter().enumerate() {
        assert_eq!(invoked.outcome.as_ref(), Ok(&request(number)));
        assert!(invoked.billed.is_some());
    }
}

#[tokio::test]
async fn attempts_beyond_the_first_go_in_groups_and_come_back_in_order() -> TestResult {
    // One attempt too few for a group, the first group, a full one, and one more.
    for (attempts, groups) in [(DIRECT, 0), (DIRECT + 1, 1), (DIRECT + GROUP_ATTEMPTS, 1), (DIRECT + GROUP_ATTEMPTS + 1, 2)] {
        let fake = fake(Dispatchers::Work, Duration::from_millis(100)).await?;
        let invoked = invoke_all(&two_level(&fake.url)?, attempts).await;
        assert_echoes(&invoked);
        assert_eq!(dispatches(&fake), groups, "{attempts} attempts");
        assert_eq!(fake.hits().iter().filter(|hit| !is_dispatch(hit)).count(), attempts);
        let dispatchers: Vec<_> = invoked.iter().filter_map(|invoked| invoked.dispatcher).collect();
        assert_eq!(dispatchers.len(), groups);
        assert!(dispatchers.iter().all(|billed| billed.memory_mb == 512 && billed.billed_ms >= 100), "{dispatchers:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_group_that_no_dispatcher_takes_goes_to_workers_from_here() -> TestResult {
    // A refused dispatcher is asked again by the next group, one that may not be invoked is not.
    for (dispatchers, throttles, asked) in [(Dispatchers::Refused, 1, 2), (Dispatchers::Denied, 0, 1)] {
        let fake = fake(dispatchers, Duration::from_millis(50)).await?;
        let invoker = two_level(&fake.url)?;
        for _ in 0..2 {
            let invoked = invoke_all(&invoker, 40).await;
            assert_echoes(&invoked);
            assert!(invoked.iter().all(|invoked| invoked.dispatcher.is_none()));
            assert!(invoked.iter().map(|invoked| invoked.throttles).sum::<u32>() <= throttles);
        }
        assert_eq!(dispatches(&fake), asked);
    }
    Ok(())
}

#[tokio::test]
async fn dispatchers_at_once_are_bounded() -> TestResult {
    for (dispatchers, asked) in [(0, 0), (1, 1)] {
        let fake = fake(Dispatchers::Work, LINGER * 3).await?;
        let invoker = within(&fake.url, TwoLevelBounds { dispatchers, ..BOUNDS })?;
        assert_echoes(&invoke_all(&invoker, DIRECT + GROUP_ATTEMPTS + 1).await);
        assert_eq!(dispatches(&fake), asked);
    }
    Ok(())
}

#[tokio::test]
async fn what_no_worker_takes_in_time_goes_to_workers_from_here() -> TestResult {
    let is_busy = Arc::new(AtomicBool::new(true));
    let busy = Arc::clone(&is_busy);
    let fake = Fake::start(move |hit: Hit| {
        let is_busy = busy.load(Ordering::SeqCst);
        async move {
            match (is_dispatch(&hit), is_busy) {
                (true, _) => dispatch(&hit).await,
                (false, true) => throttle(),
                (false, false) => hit.echo(),
            }
        }
    })
    .await?;
    let invoker = two_level(&fake.url)?;
    invoker.in_flight.store(DIRECT, Ordering::SeqCst);
    let running = RunningAttempts::default();
    // Given up: its dispatcher ends all the same, and starts nothing later.
    let given_up = tokio::time::timeout(LINGER * 3, invoker.invoke(request(9), running.start())).await;
    assert!(given_up.is_err() && dispatches(&fake) == 1);
    running.settle(LIMIT).await;
    let late = running.take_late();
    assert!(late.len() == 1 && late[0].dispatcher.is_some() && late[0].measured_ms == 0, "{late:?}");
    let hits = fake.hits().len();
    // Wanted: sent from here once there is a worker.
    let wanted = async {
        let invoked = join_all((0..5).map(|number| invoker.invoke(request(number), running.start()))).await;
        assert_echoes(&invoked);
        assert!(invoked.iter().all(|invoked| invoked.throttles > 0));
        assert_eq!(invoked.iter().filter(|invoked| invoked.dispatcher.is_some()).count(), 1);
    };
    let free = async {
        sleep(LINGER / 2).await;
        assert_eq!(fake.hits().len(), hits);
        sleep(TAKE_TIME + LINGER * 3).await;
        is_busy.store(false, Ordering::SeqCst);
    };
    tokio::join!(wanted, free);
    assert_eq!(dispatches(&fake), 2);
    Ok(())
}

#[tokio::test]
async fn attempts_of_a_lost_dispatcher_may_be_tried_again() -> TestResult {
    for dispatchers in [Dispatchers::Killed, Dispatchers::Short] {
        let fake = fake(dispatchers, Duration::from_millis(50)).await?;
        let mut invoked = invoke_all(&two_level(&fake.url)?, 12).await;
        assert_echoes(&invoked.drain(..DIRECT).collect::<Vec<_>>());
        for invoked in &invoked {
            assert_eq!(invoked.outcome.as_ref().map_err(|error| error.kind), Err(ErrorKind::Unavailable), "{invoked:?}");
        }
        assert!(invoked[0].dispatcher.is_some() && invoked[1..].iter().all(|invoked| invoked.dispatcher.is_none()));
        assert_eq!(dispatchers == Dispatchers::Killed, invoked.iter().all(|invoked| invoked.measured_ms > 0));
    }
    Ok(())
}

#[tokio::test]
async fn no_groups_are_made_while_the_service_refuses_workers() -> TestResult {
    let fake = Fake::start(|hit: Hit| async move { if hit.number() == 0 { throttle() } else { hit.echo() } }).await?;
    let invoker = two_level(&fake.url)?;
    let running = RunningAttempts::default();
    assert_eq!(invoker.invoke(request(0), running.start()).await.throttles, 1);
    // The window is half of what it was: more than the attempts that go from here, so that groups are made again.
    assert!(invoker.shared.direct.is_open(DIRECT));
    let cautious = TwoLevelInvoker { bounds: TwoLevelBounds { direct_attempts: 1_000, ..BOUNDS }, ..invoker };
    assert!(!cautious.shared.direct.is_open(1_000));
    cautious.in_flight.store(1_000, Ordering::SeqCst);
    assert_echoes(&[cautious.invoke(request(0), running.start()).await]);
    assert!(!fake.hits().iter().any(is_dispatch));
    Ok(())
}

#[tokio::test]
async fn what_was_given_up_is_not_sent_or_reports_late() -> TestResult {
    let fake = fake(Dispatchers::Work, LINGER * 8).await?;
    let invoker = two_level(&fake.url)?;
    invoker.in_flight.store(DIRECT, Ordering::SeqCst);
    let running = RunningAttempts::default();
    // Before the group is sent.
    let early = tokio::time::timeout(LINGER / 4, invoker.invoke(request(0), running.start())).await;
    assert!(early.is_err());
    running.settle(LIMIT).await;
    sleep(LINGER * 2).await;
    assert!(running.take_late().is_empty() && fake.hits().is_empty());
    // While it runs.
    let late = tokio::time::timeout(LINGER * 4, invoker.invoke(request(1), running.start())).await;
    assert!(late.is_err() && running.count() == 1);
    running.settle(LIMIT).await;
    let late = running.take_late();
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].outcome.as_ref(), Ok(&request(1)));
    assert!(late[0].dispatcher.is_some());
    Ok(())
}

fn member(request_bytes: usize, outcome_bytes: usize, stage: u32) -> Member {
    let (running, give) = (RunningAttempts::default().start(), oneshot::channel().0);
    Member { request: Bytes::from(vec![0; request_bytes]), stage: (vec![], stage), outcome_bytes, running, give }
}

#[test]
fn groups_are_bounded_by_attempts_and_bytes() {
    let mut group = Group::default();
    (1..GROUP_ATTEMPTS).for_each(|_| group.push(member(1, 1, 0)));
    assert!(!group.is_full_with(&member(1, 1, 0)) && group.is_full_with(&member(1, 1, 1)));
    group.push(member(1, 1, 0));
    assert!(group.is_full_with(&member(1, 1, 0)));
    assert_eq!((group.take().len(), group.number, group.members.len()), (GROUP_ATTEMPTS, 1, 0));
    for (requests, outcomes) in [(GROUP_REQUEST_BYTES - 10, 0), (0, GROUP_OUTCOME_BYTES - 10)] {
        let group = Group { request_bytes: requests, outcome_bytes: outcomes, ..Group::default() };
        assert!(!group.is_full_with(&member(10, 10, 0)));
        assert!(group.is_full_with(&member(11, 11, 0)));
    }
}

#[tokio::test]
async fn outcomes_of_many_attempts_carry_small_outputs_only() -> TestResult {
    let invoker = two_level("http://127.0.0.1:9")?;
    assert_eq!([DIRECT, DIRECT + 1].map(|attempts| invoker.inline_limit(attempts)), [usize::MAX, GROUP_INLINE_BYTES]);
    Ok(())
}

#[test]
fn outcomes_are_bounded_together() {
    let invoked = |bytes: usize| Invoked::from(Ok(Bytes::from(vec![0; bytes])));
    let mut bytes = GROUP_OUTCOME_BYTES - 10;
    assert!(within_limit(invoked(11), &mut bytes).outcome.is_err_and(|e| e.kind == ErrorKind::Unavailable));
    assert!(within_limit(invoked(10), &mut bytes).outcome.is_ok());
    assert!(within_limit(invoked(1), &mut bytes).outcome.is_err());
    // Few consumers: the outcomes of a full group fit.
    const { assert!(GROUP_ATTEMPTS * (GROUP_INLINE_BYTES + OUTCOME_BYTES + 800 * SEGMENT_BYTES) < GROUP_OUTCOME_BYTES) };
}

#[test]
fn a_segment_is_not_larger_than_it_is_taken_for() {
    let segment = Segment { bytes: 1 << 40, rows: 1 << 33, crc32: u32::MAX };
    let bytes = |count: usize| {
        let output = Output { segments: vec![segment; count], ..Output::default() };
        TaskOutcome { result: Some(TaskResult::Output(output)), ..TaskOutcome::default() }.to_bytes().len()
    };
    assert!(bytes(1_001) - bytes(1_000) <= SEGMENT_BYTES, "{}", bytes(1_001) - bytes(1_000));
}

#[tokio::test]
async fn a_dispatcher_takes_groups_only() -> TestResult {
    let invoker = direct("http://127.0.0.1:9")?;
    let group = |attempts: usize| TaskGroup { requests: vec![Bytes::new(); attempts], time_left_ms: 0, build_id: build_id() };
    let run = async |bytes: &[u8]| run_group(&invoker, &TaskEnvelope::new(bytes), None).await;
    assert!(run(&group(GROUP_ATTEMPTS + 1).to_bytes()).await.is_err_and(|e| e.message.contains("129 attempts")));
    assert!(run(b"\xff").await.is_err_and(|e| e.kind == ErrorKind::Internal));
    let other = TaskGroup { build_id: "another".into(), ..group(1) };
    assert!(run(&other.to_bytes()).await.is_err_and(|e| e.message.contains("another")));
    // No time is left: each attempt says so.
    let answer = serde_json::to_vec(&run(&group(3).to_bytes()).await?)?;
    assert!(reports(&answer, 3).iter().all(|invoked| invoked.outcome.is_err()));
    Ok(())
}
