//! Groups over a fake of the Invoke API whose coordinator function does what a dispatcher does.

use super::*;
use crate::lambda::invoker::tests::{Fake, Hit, LIMIT, TestResult, client, throttle};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::task::{TaskError, TaskRequest};
use futures::future::join_all;

const OWN: &str = "owlet-coordinator";
const DIRECT: usize = 2;
/// Memory that the client takes dispatchers to have, in MB: the fake bills none.
const MEMORY_MB: u64 = 512;

/// How the fake's dispatchers fare.
#[derive(Clone, Copy, PartialEq)]
enum Dispatchers {
    Work,
    Refused,
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
    Ok(TwoLevelInvoker::new(direct(url)?, client(url, None)?, Target::new(OWN, "live")?, DIRECT, MEMORY_MB))
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
            Dispatchers::Killed => {
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
    TaskRequest { task: number as u32, ..TaskRequest::default() }.to_bytes()
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
        assert_eq!(fake.hits().iter().filter(|hit| is_dispatch(hit)).count(), groups, "{attempts} attempts");
        assert_eq!(fake.hits().iter().filter(|hit| !is_dispatch(hit)).count(), attempts);
        let dispatchers: Vec<_> = invoked.iter().filter_map(|invoked| invoked.dispatcher).collect();
        assert_eq!(dispatchers.len(), groups);
        assert!(dispatchers.iter().all(|billed| billed.memory_mb == MEMORY_MB && billed.billed_ms >= 100), "{dispatchers:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_group_that_no_dispatcher_takes_goes_to_workers_from_here() -> TestResult {
    let fake = fake(Dispatchers::Refused, Duration::from_millis(50)).await?;
    let invoked = invoke_all(&two_level(&fake.url)?, 40).await;
    assert_echoes(&invoked);
    assert!(invoked.iter().all(|invoked| invoked.dispatcher.is_none() && invoked.throttles == 0));
    assert_eq!(fake.hits().iter().filter(|hit| is_dispatch(hit)).count(), 1);
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
        let billed = invoked.iter().filter(|invoked| invoked.dispatcher.is_some()).count();
        assert_eq!(billed, usize::from(dispatchers == Dispatchers::Short));
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
    let cautious = TwoLevelInvoker { direct_attempts: 1_000, ..invoker };
    assert!(!cautious.shared.direct.is_open(cautious.direct_attempts));
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

#[test]
fn groups_are_bounded_by_attempts_and_bytes() {
    let running = RunningAttempts::default();
    let member = || Member { request: Bytes::new(), running: running.start(), give: oneshot::channel().0 };
    let mut group = Group::default();
    group.members.extend((1..GROUP_ATTEMPTS).map(|_| member()));
    assert!(!group.is_full_with(&Bytes::new()));
    group.members.push(member());
    assert!(group.is_full_with(&Bytes::new()));
    assert_eq!((group.take().len(), group.number, group.members.len()), (GROUP_ATTEMPTS, 1, 0));
    let room = MAX_REQUEST_BYTES - GROUP_SPARE_BYTES;
    group.bytes = room - 10;
    assert!(!group.is_full_with(&Bytes::from_static(&[0; 10])));
    assert!(group.is_full_with(&Bytes::from_static(&[0; 11])));
}

#[tokio::test]
async fn outcomes_of_many_attempts_carry_small_outputs_only() -> TestResult {
    let invoker = two_level("http://127.0.0.1:9")?;
    assert_eq!([DIRECT, DIRECT + 1].map(|attempts| invoker.inline_limit(attempts)), [usize::MAX, GROUP_INLINE_BYTES]);
    Ok(())
}

#[test]
fn outcomes_are_bounded_together() {
    let room = MAX_REQUEST_BYTES - GROUP_SPARE_BYTES;
    let invoked = |bytes: usize| Invoked::from(Ok(Bytes::from(vec![0; bytes])));
    let mut bytes = room - 10;
    assert!(within_limit(invoked(11), &mut bytes).outcome.is_err_and(|e| e.kind == ErrorKind::Unavailable));
    assert!(within_limit(invoked(10), &mut bytes).outcome.is_ok());
    assert!(within_limit(invoked(1), &mut bytes).outcome.is_err());
    assert!(GROUP_ATTEMPTS * GROUP_INLINE_BYTES < room);
}

#[tokio::test]
async fn a_dispatcher_takes_groups_only() -> TestResult {
    let invoker = direct("http://127.0.0.1:9")?;
    let group = |attempts: usize| TaskGroup { requests: vec![Bytes::new(); attempts], time_left_ms: 0 };
    let run = async |bytes: &[u8]| run_group(&invoker, &TaskEnvelope::new(bytes), None).await;
    assert!(run(&group(GROUP_ATTEMPTS + 1).to_bytes()).await.is_err_and(|e| e.message.contains("129 attempts")));
    assert!(run(b"\xff").await.is_err_and(|e| e.kind == ErrorKind::Internal));
    // No time is left: each attempt says so.
    let answer = serde_json::to_vec(&run(&group(3).to_bytes()).await?)?;
    assert!(reports(&answer, 3)?.iter().all(|report| report.error.is_some()));
    Ok(())
}

#[tokio::test]
async fn a_dispatcher_starts_nothing_more_of_a_cancelled_query() -> TestResult {
    let cancelled = TaskError::from(&Error::new(ErrorKind::Cancelled, "cancelled"));
    let cancelled = TaskOutcome { result: Some(TaskResult::Error(cancelled)), ..TaskOutcome::default() }.to_bytes();
    let outcome = cancelled.clone();
    // One finds its query cancelled; one runs then, and ends later; the others are not taken.
    let fake = Fake::start(move |hit: Hit| {
        let outcome = outcome.clone();
        async move {
            match hit.number() {
                0 => sleep(Duration::from_millis(200)).await,
                1 => sleep(Duration::from_millis(400)).await,
                _ => return throttle(),
            }
            answer(&OutcomeEnvelope::new(&outcome))
        }
    })
    .await?;
    let requests = (0..20).map(request).collect();
    let group = TaskGroup { requests, time_left_ms: 60_000 }.to_bytes();
    let envelope = run_group(&direct(&fake.url)?, &TaskEnvelope::new(&group), None).await?;
    let reports = reports(&serde_json::to_vec(&envelope)?, 20)?;
    assert_eq!(reports.iter().filter(|report| report.outcome.as_ref() == Some(&cancelled)).count(), 2);
    assert_eq!(reports.iter().filter(|report| report.outcome.is_none() && report.error.is_none()).count(), 18);
    let hits = fake.hits().len();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fake.hits().len(), hits);
    Ok(())
}
