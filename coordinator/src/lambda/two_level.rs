//! Two levels of dispatch: what is beyond the first few hundred attempts at once goes in groups to invocations of the
//! coordinator function, each of which hands its group to workers. Such a dispatcher makes no groups, so there is no third level.
//!
//! ```text
//! TwoLevelInvoker ─┬─ the first attempts ─► LambdaInvoker ─► workers
//!                  └─ groups of the others ─► run_group, in a dispatcher ─► LambdaInvoker ─► workers
//! ```

use super::client::{LambdaClient, Target};
use super::invoker::LambdaInvoker;
use async_trait::async_trait;
use bytes::Bytes;
use engine::clock::{Stopwatch, sleep};
use engine::settings::MAX_REQUEST_BYTES;
use engine::task::envelope::{OutcomeEnvelope, TaskEnvelope, unwrap_outcome};
use engine::task::{
    Billed, GroupOutcome, Invoked, InvokedReport, Invoker, Running, RunningAttempts, TaskGroup, TaskOutcome, TaskResult,
};
use engine::{Error, ErrorKind, Result};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Most attempts of one group: as many are lost when its dispatcher is.
const GROUP_ATTEMPTS: usize = 128;
/// Most encoded bytes of an output within an outcome of a group, whose outcomes fit one answer of Lambda then.
const GROUP_INLINE_BYTES: usize = 32 << 10;
/// Room for what stands around the requests of a group, or around its outcomes and in place of them, in bytes.
const GROUP_SPARE_BYTES: usize = 256 << 10;
/// A group that is not full waits this long for more: the attempts of a stage start one after the other, within a millisecond each.
const LINGER: Duration = Duration::from_millis(100);
/// Time before the end of a group at which its dispatcher answers for what is still running.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Runs each attempt as one invocation of a worker function, by way of others of the coordinator function where there are many.
///
/// **Invariant:** while the service refuses workers no group is made; a group that no dispatcher takes goes to workers from
/// here. Neither costs an attempt.
#[derive(Debug)]
pub struct TwoLevelInvoker {
    shared: Arc<Shared>,
    direct_attempts: usize,
    /// Attempts that were not grouped and have not ended.
    in_flight: AtomicUsize,
    /// Groups that wait or run: each ends with its answer or its limit.
    groups: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    direct: Arc<LambdaInvoker>,
    client: Arc<LambdaClient>,
    dispatcher: Target,
    /// Memory of a dispatcher, in MB, for the bill where the service gives none.
    memory_mb: u64,
    open: Mutex<Group>,
}

/// Attempts that wait to be sent together.
#[derive(Default, Debug)]
struct Group {
    /// How many groups were sent before it.
    number: u64,
    members: Vec<Member>,
    bytes: usize,
}

#[derive(Debug)]
struct Member {
    request: Bytes,
    running: Running,
    /// Takes what came of it; closed when the attempt was given up.
    give: oneshot::Sender<Invoked>,
}

impl Group {
    /// Whether `request` would be too much.
    fn is_full_with(&self, request: &Bytes) -> bool {
        self.members.len() == GROUP_ATTEMPTS || self.bytes + request.len() + GROUP_SPARE_BYTES > MAX_REQUEST_BYTES
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
    /// Up to `direct_attempts` at once by `direct`, others in groups over `client` by `dispatcher`, a function of `memory_mb` that
    /// answers them with [`run_group`].
    pub fn new(
        direct: Arc<LambdaInvoker>,
        client: Arc<LambdaClient>,
        dispatcher: Target,
        direct_attempts: usize,
        memory_mb: u64,
    ) -> Self {
        let shared = Arc::new(Shared { direct, client, dispatcher, memory_mb, open: Mutex::default() });
        Self { shared, direct_attempts, in_flight: AtomicUsize::new(0), groups: Mutex::default() }
    }

    /// A place among the attempts that are not grouped, if one is free.
    fn place(&self) -> Option<Place<'_>> {
        let more = |taken: usize| (taken < self.direct_attempts).then_some(taken + 1);
        let taken = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.ok().map(|_| Place(&self.in_flight))
    }

    async fn grouped(&self, request: Bytes, running: Running) -> Invoked {
        let (give, take) = oneshot::channel();
        self.add(Member { request, running, give });
        take.await.unwrap_or_else(|_| Err(Error::internal("a group of attempts ended without a result")).into())
    }

    fn add(&self, member: Member) {
        let mut open = self.shared.open();
        let full = if open.is_full_with(&member.request) { open.take() } else { Vec::new() };
        open.bytes += member.request.len();
        open.members.push(member);
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
        if place.is_none() && self.shared.direct.is_open(self.direct_attempts) {
            return self.grouped(request, running).await;
        }
        self.shared.direct.invoke(request, running).await
    }

    fn inline_limit(&self, attempts: usize) -> usize {
        if attempts > self.direct_attempts { GROUP_INLINE_BYTES } else { usize::MAX }
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
        let payload = match payload(&members, limit) {
            Ok(payload) => payload,
            Err(error) => return end_all(members, &error, None),
        };
        let answer = match self.client.invoke(&self.dispatcher, payload, limit).await {
            Ok(answer) => answer,
            Err(refusal) if refusal.error.kind == ErrorKind::Throttled => return self.send_direct(members, &watch).await,
            Err(refusal) => {
                let error = refusal.error.context("a dispatcher");
                return end_all(members, &error, refusal.billed.map(|report| report.billed()));
            }
        };
        let measured_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let measured = Billed { memory_mb: self.memory_mb, billed_ms: measured_ms, init_ms: 0 };
        let mut dispatcher = Some(answer.billed.map_or(measured, |report| report.billed()));
        match reports(&answer.payload, members.len()) {
            Ok(reports) => {
                for (member, report) in members.into_iter().zip(reports) {
                    member.end(Invoked { dispatcher: dispatcher.take(), ..report.into() });
                }
            }
            Err(error) => end_all(members, &error, dispatcher),
        }
    }

    /// Hands a group that no dispatcher took to workers from here.
    async fn send_direct(&self, members: Vec<Member>, watch: &Stopwatch) {
        let mut attempts = JoinSet::new();
        for member in members {
            let (direct, left) = (Arc::clone(&self.direct), self.direct.call_limit().saturating_sub(watch.elapsed()));
            attempts.spawn(async move {
                let Member { request, running, mut give } = member;
                tokio::select! {
                    invoked = direct.invoke_within(request, running, left) => drop(give.send(invoked)),
                    // What was sent goes on, and reports late.
                    () = give.closed() => {}
                }
            });
        }
        while attempts.join_next().await.is_some() {}
    }
}

/// Ends all attempts of a group alike; the first says what the dispatcher is billed.
fn end_all(members: Vec<Member>, error: &Error, mut dispatcher: Option<Billed>) {
    for member in members {
        member.end(Invoked { dispatcher: dispatcher.take(), ..Invoked::from(Err(error.clone())) });
    }
}

fn payload(members: &[Member], limit: Duration) -> Result<Bytes> {
    let left = limit.saturating_sub(ANSWER_TIME.min(limit / 10));
    let time_left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let group = TaskGroup { requests: members.iter().map(|member| member.request.clone()).collect(), time_left_ms };
    let event = HashMap::from([("owlet", HashMap::from([("dispatch", TaskEnvelope::new(&group.to_bytes()))]))]);
    serde_json::to_vec(&event).map(Bytes::from).map_err(|e| Error::internal(e.to_string()))
}

fn reports(answer: &[u8], members: usize) -> Result<Vec<InvokedReport>> {
    let reports = GroupOutcome::from_bytes(unwrap_outcome(answer)?)?.invoked;
    if reports.len() != members {
        let text = format!("a dispatcher answered for {} attempts of {members}", reports.len());
        return Err(Error::new(ErrorKind::Unavailable, text));
    }
    Ok(reports)
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
    let TaskGroup { requests, time_left_ms } = TaskGroup::from_bytes(group.request()?)?;
    let attempts = requests.len();
    if attempts > GROUP_ATTEMPTS {
        return Err(Error::internal(format!("a group of {attempts} attempts; at most {GROUP_ATTEMPTS} can be dispatched")));
    }
    let own_limit = time_left.map_or(Duration::MAX, |left| left.saturating_sub(ANSWER_TIME));
    let limit = Duration::from_millis(time_left_ms).min(own_limit);
    let (watch, running) = (Stopwatch::start(), RunningAttempts::default());
    let mut invocations = JoinSet::new();
    for (index, request) in requests.into_iter().enumerate() {
        let (invoker, running) = (Arc::clone(invoker), running.start());
        invocations.spawn(async move { (index, invoker.invoke_within(request, running, limit).await) });
    }
    let mut invoked = vec![InvokedReport::default(); attempts];
    let (mut bytes, mut unknown) = (0, (0..attempts).collect::<BTreeSet<_>>());
    while let Some(joined) = invocations.join_next().await {
        // One that was aborted or panicked stays without a report.
        let Ok((index, report)) = joined else { continue };
        if is_cancelled(&report) {
            // Nobody waits for the others: what no worker has taken yet is not sent any more.
            invocations.abort_all();
        }
        unknown.remove(&index);
        invoked[index] = within_limit(report, &mut bytes).into();
    }
    // What was sent and then aborted costs money; an outcome says itself whose it is.
    running.settle(limit.saturating_sub(watch.elapsed())).await;
    for (late, index) in running.take_late().into_iter().zip(unknown) {
        invoked[index] = within_limit(late, &mut bytes).into();
    }
    Ok(OutcomeEnvelope::new(&GroupOutcome { invoked }.to_bytes()))
}

/// Whether the worker found its query cancelled.
fn is_cancelled(invoked: &Invoked) -> bool {
    let outcome = invoked.outcome.as_ref().ok().and_then(|bytes| TaskOutcome::from_bytes(bytes).ok());
    let result = outcome.and_then(|outcome| outcome.result);
    matches!(result, Some(TaskResult::Error(error)) if Error::from(&error).kind == ErrorKind::Cancelled)
}

/// The report, without an outcome that would be too much for the answer after `bytes` of others: another attempt may go
/// another way.
fn within_limit(invoked: Invoked, bytes: &mut usize) -> Invoked {
    let Ok(outcome) = &invoked.outcome else { return invoked };
    if *bytes + outcome.len() + GROUP_SPARE_BYTES <= MAX_REQUEST_BYTES {
        *bytes += outcome.len();
        return invoked;
    }
    let text = format!("an outcome of {} bytes is too much for the answer of its group", outcome.len());
    Invoked { outcome: Err(Error::new(ErrorKind::Unavailable, text)), ..invoked }
}

#[cfg(test)]
mod tests;
