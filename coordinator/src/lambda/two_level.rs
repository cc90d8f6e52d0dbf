//! Two levels of dispatch: what is beyond the first few hundred attempts at once goes in groups to invocations of the
//! coordinator function, each of which hands its group to workers. Such a dispatcher makes no groups, so there is no third level.
//!
//! ```text
//! TwoLevelInvoker ─┬─ the first attempts ─► LambdaInvoker ─► workers
//!                  └─ groups of the others ─► run_group, in a dispatcher ─► LambdaInvoker ─► workers
//! ```

use super::client::{LambdaClient, MAX_CALLS, Target};
use super::invoker::LambdaInvoker;
use async_trait::async_trait;
use bytes::Bytes;
use engine::clock::{Stopwatch, sleep};
use engine::settings::{LAMBDA_PAYLOAD_BYTES, MAX_REQUEST_BYTES};
use engine::task::envelope::{OutcomeEnvelope, TaskEnvelope, unwrap_outcome};
use engine::task::{
    Billed, GroupOutcome, Invoked, InvokedReport, Invoker, Running, RunningAttempts, TaskGroup, TaskRequest, build_id,
};
use engine::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

/// Most attempts of one group: as many are lost when its dispatcher is.
const GROUP_ATTEMPTS: usize = 128;
/// Most encoded bytes of an output within an outcome of a group.
const GROUP_INLINE_BYTES: usize = 16 << 10;
/// Most bytes that an outcome has for each partition of the output (offset, rows and checksum of a segment).
const SEGMENT_BYTES: usize = 20;
/// What an outcome has besides output and segments, in bytes.
const OUTCOME_BYTES: usize = 1 << 10;
/// Most bytes that the outcomes of a group may have together, so that they fit an answer of Lambda.
const GROUP_OUTCOME_BYTES: usize = MAX_REQUEST_BYTES - (256 << 10);
/// Most bytes of a group's requests before they are compressed. They have one plan, and shrink to a tenth.
const GROUP_REQUEST_BYTES: usize = 64 << 20;
/// A group that is not full waits this long for more: the attempts of a stage start one after the other, within a millisecond each.
const LINGER: Duration = Duration::from_millis(100);
/// What no worker has taken after this long goes back: a dispatcher starts nothing later than that, for it hears of no cancel.
const TAKE_TIME: Duration = Duration::from_secs(2);
/// Time before the end of a group at which its dispatcher answers for what is still running.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Runs each attempt as one invocation of a worker function, by way of others of the coordinator function where there are many.
///
/// **Invariant:** a group that no dispatcher takes, and an attempt of a group that no worker takes, go to workers from here, which
/// costs no attempt. A dispatcher starts nothing later than [`TAKE_TIME`] after it was invoked.
#[derive(Debug)]
pub struct TwoLevelInvoker {
    shared: Arc<Shared>,
    bounds: TwoLevelBounds,
    /// Attempts that were not grouped and have not ended.
    in_flight: AtomicUsize,
    /// Groups that wait or run: each ends with its answer or its limit.
    groups: Mutex<JoinSet<()>>,
}

/// How many attempts go which way.
#[derive(Clone, Copy, Debug)]
pub struct TwoLevelBounds {
    /// Attempts at once that are not grouped.
    pub direct_attempts: usize,
    /// Most dispatchers at once.
    pub dispatchers: usize,
    /// Memory of a dispatcher, in MB, for the bill where the service gives none.
    pub dispatcher_mb: u64,
}

#[derive(Debug)]
struct Shared {
    direct: Arc<LambdaInvoker>,
    client: Arc<LambdaClient>,
    dispatcher: Target,
    dispatcher_mb: u64,
    open: Mutex<Group>,
    /// Dispatchers that may still be invoked; closed once the service says that there is no such function for us.
    dispatchers: Semaphore,
}

/// Attempts of one stage that wait to be sent together.
#[derive(Default, Debug)]
struct Group {
    /// How many groups were sent before it.
    number: u64,
    members: Vec<Member>,
    request_bytes: usize,
    outcome_bytes: usize,
}

#[derive(Debug)]
struct Member {
    request: Bytes,
    /// Query and stage.
    stage: (Vec<u8>, u32),
    /// Most bytes that its outcome may have, about.
    outcome_bytes: usize,
    running: Running,
    /// Takes what came of it; closed when the attempt was given up.
    give: oneshot::Sender<Invoked>,
}

impl Group {
    /// Whether `member` would be too much, or is of another stage.
    fn is_full_with(&self, member: &Member) -> bool {
        self.members.len() == GROUP_ATTEMPTS
            || self.request_bytes + member.request.len() > GROUP_REQUEST_BYTES
            || self.outcome_bytes + member.outcome_bytes > GROUP_OUTCOME_BYTES
            || self.members.first().is_some_and(|first| first.stage != member.stage)
    }

    fn push(&mut self, member: Member) {
        self.request_bytes += member.request.len();
        self.outcome_bytes += member.outcome_bytes;
        self.members.push(member);
    }

    /// Its members; the next group begins.
    fn take(&mut self) -> Vec<Member> {
        let number = self.number + 1;
        std::mem::replace(self, Self { number, ..Self::default() }).members
    }
}

impl Member {
    fn end(self, invoked: Invoked) {
        // Nobody takes what came of an attempt that was given up, but it costs money.
        if let Err(late) = self.give.send(invoked) {
            self.running.ended_late(late);
        }
    }
}

impl TwoLevelInvoker {
    /// Attempts by `direct` as far as `bounds` allow, others in groups over `client` by `dispatcher`, a function that answers them
    /// with [`run_group`].
    pub fn new(direct: Arc<LambdaInvoker>, client: Arc<LambdaClient>, dispatcher: Target, bounds: TwoLevelBounds) -> Self {
        let dispatchers = Semaphore::new(bounds.dispatchers.min(MAX_CALLS));
        let dispatcher_mb = bounds.dispatcher_mb;
        let shared = Arc::new(Shared { direct, client, dispatcher, dispatcher_mb, open: Mutex::default(), dispatchers });
        Self { shared, bounds, in_flight: AtomicUsize::new(0), groups: Mutex::default() }
    }

    /// A place among the attempts that are not grouped, if one is free.
    fn place(&self) -> Option<Place<'_>> {
        let more = |taken: usize| (taken < self.bounds.direct_attempts).then_some(taken + 1);
        let taken = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.ok().map(|_| Place(&self.in_flight))
    }

    /// Whether groups can be made: as long as a dispatcher is free, and the service has refused no worker or takes as many at once
    /// again as go from here.
    fn can_group(&self) -> bool {
        let dispatchers = &self.shared.dispatchers;
        let is_free = dispatchers.available_permits() > 0 && !dispatchers.is_closed();
        is_free && self.shared.direct.is_open(self.bounds.direct_attempts)
    }

    async fn grouped(&self, request: Bytes, running: Running) -> Invoked {
        let (give, take) = oneshot::channel();
        let decoded = match TaskRequest::from_bytes(&request) {
            Ok(decoded) => decoded,
            Err(error) => return Err(error).into(),
        };
        let partitions = usize::try_from(decoded.output_partitions).unwrap_or(usize::MAX);
        let outcome_bytes = partitions.saturating_mul(SEGMENT_BYTES).saturating_add(GROUP_INLINE_BYTES + OUTCOME_BYTES);
        self.add(Member { request, stage: (decoded.query_id, decoded.stage), outcome_bytes, running, give });
        take.await.unwrap_or_else(|_| Err(Error::internal("a group of attempts ended without a result")).into())
    }

    fn add(&self, member: Member) {
        let mut open = self.shared.open();
        let full = if open.is_full_with(&member) { open.take() } else { Vec::new() };
        open.push(member);
        let (is_first, number) = (open.members.len() == 1, open.number);
        drop(open);
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        while groups.try_join_next().is_some() {}
        if !full.is_empty() {
            groups.spawn(Arc::clone(&self.shared).send(full));
        }
        if is_first {
            groups.spawn(Arc::clone(&self.shared).send_later(number));
        }
    }
}

/// One of the attempts that are not grouped, until this is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Invoker for TwoLevelInvoker {
    async fn invoke(&self, request: Bytes, running: Running) -> Invoked {
        let place = self.place();
        if place.is_none() && self.can_group() {
            return self.grouped(request, running).await;
        }
        self.shared.direct.invoke(request, running).await
    }

    fn inline_limit(&self, attempts: usize) -> usize {
        if attempts > self.bounds.direct_attempts { GROUP_INLINE_BYTES } else { usize::MAX }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Group> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends group `number` when it has waited, unless it was sent because it was full.
    async fn send_later(self: Arc<Self>, number: u64) {
        sleep(LINGER).await;
        let members = {
            let mut open = self.open();
            if open.number == number { open.take() } else { return }
        };
        self.send(members).await;
    }

    async fn send(self: Arc<Self>, mut members: Vec<Member>) {
        members.retain(|member| !member.give.is_closed());
        if members.is_empty() {
            return;
        }
        let (watch, limit) = (Stopwatch::start(), self.direct.call_limit());
        let place = self.dispatchers.try_acquire();
        let payload = payload(&members, limit).ok().filter(|payload| place.is_ok() && payload.len() <= LAMBDA_PAYLOAD_BYTES);
        let Some(payload) = payload else {
            let members = members.into_iter().map(|member| (member, 0)).collect();
            return self.send_again(members, None, &watch).await;
        };
        let (reports, billed) = match self.client.invoke(&self.dispatcher, payload, limit).await {
            Ok(answer) => (reports(&answer.payload, members.len()), answer.billed),
            Err(refusal) if refusal.error.kind == ErrorKind::Unavailable => {
                // It may have run: so may its workers, until now.
                let lost = Invoked::from(Err(refusal.error.context("a dispatcher")));
                (vec![Invoked { measured_ms: measured_ms(&watch), ..lost }; members.len()], refusal.billed)
            }
            Err(refusal) => {
                if refusal.error.kind != ErrorKind::Throttled {
                    tracing::warn!(error = %refusal.error, "no more groups: their dispatcher does not run");
                    self.dispatchers.close();
                }
                let throttles =
                    (0..members.len()).map(|index| u32::from(index == 0 && refusal.error.kind == ErrorKind::Throttled));
                let members = members.into_iter().zip(throttles).collect();
                return self.send_again(members, refusal.billed.map(|report| report.billed()), &watch).await;
            }
        };
        let measured = Billed { memory_mb: self.dispatcher_mb, billed_ms: measured_ms(&watch), init_ms: 0 };
        let mut dispatcher = Some(billed.map_or(measured, |report| report.billed()));
        let mut not_taken = Vec::new();
        for (member, report) in members.into_iter().zip(reports) {
            let invoked = Invoked { dispatcher: dispatcher.take(), ..report };
            match &invoked.outcome {
                // The dispatcher's bill goes with the first attempt that is not sent again.
                Err(error) if error.kind == ErrorKind::Throttled && !member.give.is_closed() => {
                    dispatcher = invoked.dispatcher;
                    not_taken.push((member, invoked.throttles));
                }
                _ => member.end(invoked),
            }
        }
        drop(place);
        self.send_again(not_taken, dispatcher, &watch).await;
    }

    /// Hands attempts to workers from here, each of which was throttled so often before; one tells what their dispatcher is billed.
    async fn send_again(&self, members: Vec<(Member, u32)>, mut dispatcher: Option<Billed>, watch: &Stopwatch) {
        let mut attempts = JoinSet::new();
        for (member, throttles) in members {
            let (direct, left) = (Arc::clone(&self.direct), self.direct.call_limit().saturating_sub(watch.elapsed()));
            let dispatcher = dispatcher.take();
            attempts.spawn(async move {
                let Member { request, running, mut give, .. } = member;
                let known = running.clone();
                let invoked = tokio::select! {
                    invoked = direct.invoke_within(request, running, left, left) => invoked,
                    // What was sent goes on, and reports late.
                    () = give.closed() => Err(Error::new(ErrorKind::Throttled, "the attempt was given up")).into(),
                };
                let throttles = throttles + invoked.throttles;
                if let Err(late) = give.send(Invoked { throttles, dispatcher, ..invoked }) {
                    known.ended_late(late);
                }
            });
        }
        while attempts.join_next().await.is_some() {}
    }
}

fn measured_ms(watch: &Stopwatch) -> u64 {
    u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn payload(members: &[Member], limit: Duration) -> Result<Bytes> {
    let left = limit.saturating_sub(ANSWER_TIME.min(limit / 10));
    let time_left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let requests = members.iter().map(|member| member.request.clone()).collect();
    let group = TaskGroup { requests, time_left_ms, build_id: build_id() };
    let event = HashMap::from([("owlet", HashMap::from([("dispatch", TaskEnvelope::new(&group.to_bytes()))]))]);
    serde_json::to_vec(&event).map(Bytes::from).map_err(|e| Error::internal(e.to_string()))
}

/// What a dispatcher says of each of `attempts` attempts: that it was lost, where the answer is damaged.
fn reports(answer: &[u8], attempts: usize) -> Vec<Invoked> {
    let reports = unwrap_outcome(answer).and_then(GroupOutcome::from_bytes).and_then(|outcome| match outcome.invoked {
        reports if reports.len() == attempts => Ok(reports),
        reports => {
            let text = format!("a dispatcher answered for {} attempts of {attempts}", reports.len());
            Err(Error::new(ErrorKind::Unavailable, text))
        }
    });
    match reports {
        Ok(reports) => reports.into_iter().map(Invoked::from).collect(),
        Err(error) => vec![Invoked::from(Err(error)); attempts],
    }
}

/// What a dispatcher does: hands each request of `group` to a worker, and says what came of all of them within `time_left`.
///
/// # Errors
/// [`ErrorKind::Internal`] for an envelope that holds no group, or one of more than 128 attempts.
pub async fn run_group(
    invoker: &Arc<LambdaInvoker>,
    group: &TaskEnvelope,
    time_left: Option<Duration>,
) -> Result<OutcomeEnvelope> {
    let TaskGroup { requests, time_left_ms, .. } = TaskGroup::from_bytes(group.request()?)?;
    let attempts = requests.len();
    if attempts > GROUP_ATTEMPTS {
        return Err(Error::internal(format!("a group of {attempts} attempts; at most {GROUP_ATTEMPTS} can be dispatched")));
    }
    let own_limit = time_left.map_or(Duration::MAX, |left| left.saturating_sub(ANSWER_TIME));
    let limit = Duration::from_millis(time_left_ms).min(own_limit);
    let running = RunningAttempts::default();
    let mut invocations = JoinSet::new();
    for (index, request) in requests.into_iter().enumerate() {
        let (invoker, running) = (Arc::clone(invoker), running.start());
        invocations.spawn(async move { (index, invoker.invoke_within(request, running, TAKE_TIME, limit).await) });
    }
    let mut invoked = vec![InvokedReport::default(); attempts];
    let mut bytes = 0;
    while let Some(joined) = invocations.join_next().await {
        // One that panicked stays without a report.
        let Ok((index, report)) = joined else { continue };
        invoked[index] = within_limit(report, &mut bytes).into();
    }
    let taken = invoked.iter().filter(|report| report.outcome.is_some()).count();
    tracing::info!(attempts, taken, "a group was dispatched");
    Ok(OutcomeEnvelope::new(&GroupOutcome { invoked }.to_bytes()))
}

/// The report, without an outcome that would be too much for the answer after `bytes` of others: another attempt may go
/// another way.
fn within_limit(invoked: Invoked, bytes: &mut usize) -> Invoked {
    let Ok(outcome) = &invoked.outcome else { return invoked };
    if *bytes + outcome.len() <= GROUP_OUTCOME_BYTES {
        *bytes += outcome.len();
        return invoked;
    }
    let text = format!("an outcome of {} bytes is too much for the answer of its group", outcome.len());
    Invoked { outcome: Err(Error::new(ErrorKind::Unavailable, text)), ..invoked }
}

#[cfg(test)]
mod tests;
