//! Decides what to start, retry and give up: pure, with no I/O, clock, randomness or async.
//!
//! ```text
//!            Event (outcome, lost, tick, cancel) + now
//!                            │
//!                            ▼
//!  waiting ──inputs done──► ready ──slot free──► running ──output──► done
//!                            ▲                      │
//!                            └──── pause (backoff) ◄┘ retryable error or no report in time
//! ```
//!
//! **Invariant:** a stage starts only when all tasks of its input stages are done; a task has one accepted attempt, the
//! first that reported an output; at most `max_running` attempts are in flight; late and repeated reports change nothing.

use crate::rows::too_long;
use engine::ids::{AttemptId, StageId, TaskId};
use engine::{Error, ErrorKind, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// One stage as the scheduler sees it.
#[derive(Clone, Debug)]
pub(crate) struct StageShape {
    /// The stage.
    pub id: StageId,
    /// Its number of tasks.
    pub tasks: u32,
    /// Stages that must be complete before it starts.
    pub inputs: Vec<StageId>,
}

/// Bounds of one query's run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Attempts in flight at once.
    pub max_running: usize,
    /// Attempts of one task, the first included.
    pub max_attempts_per_task: u32,
    /// Retries of the whole query: this, and half its number of tasks.
    pub retry_budget_base: u32,
    /// An attempt without a report for this long counts as lost.
    pub attempt_timeout: Duration,
    /// The query fails when it has run this long.
    pub deadline: Duration,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An attempt reported a whole output.
    Finished(AttemptId),
    /// An attempt reported an error, or its invocation failed.
    Failed(AttemptId, Error),
    /// Time passed.
    Tick,
    /// The caller does not want the result any more, or a limit was passed.
    Stop(Error),
}

/// What to do now.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Action {
    /// Invoke a worker for this attempt.
    Start(AttemptId),
    /// Nobody waits for this attempt any more.
    GiveUp(AttemptId),
    /// Keep this attempt's output: it is the task's.
    Accept(AttemptId),
    /// All stages are complete.
    Succeed,
    /// The query failed; nothing else will be asked.
    Fail(Error),
}

#[derive(Clone, PartialEq, Debug)]
enum TaskState {
    Waiting,
    Ready,
    /// Not before this time.
    Paused(Duration),
    Running,
    Done,
}

#[derive(Debug)]
struct Task {
    state: TaskState,
    next_attempt: u32,
    /// Running attempts and when they count as lost. A lost one may still report.
    running: BTreeMap<u32, Duration>,
}

/// The state of one query's stages.
#[derive(Debug)]
pub(crate) struct Scheduler {
    shapes: BTreeMap<StageId, StageShape>,
    tasks: BTreeMap<TaskId, Task>,
    unfinished: BTreeMap<StageId, u32>,
    ready: VecDeque<TaskId>,
    /// Attempts that hold one of the `max_running` places.
    in_flight: BTreeSet<AttemptId>,
    retries_left: u32,
    bounds: Bounds,
    ended: bool,
}

impl Scheduler {
    /// A scheduler of `stages`, none of which has started.
    pub(crate) fn new(stages: Vec<StageShape>, bounds: Bounds) -> Self {
        let total: u32 = stages.iter().map(|stage| stage.tasks).sum();
        let mut tasks = BTreeMap::new();
        for stage in &stages {
            for index in 0..stage.tasks {
                let fresh = Task { state: TaskState::Waiting, next_attempt: 0, running: BTreeMap::new() };
                tasks.insert(TaskId { stage: stage.id, index }, fresh);
            }
        }
        Self {
            unfinished: stages.iter().map(|stage| (stage.id, stage.tasks)).collect(),
            shapes: stages.into_iter().map(|stage| (stage.id, stage)).collect(),
            tasks,
            ready: VecDeque::new(),
            in_flight: BTreeSet::new(),
            retries_left: bounds.retry_budget_base.saturating_add(total / 2),
            bounds,
            ended: false,
        }
    }

    /// Applies `event` at `now` (time since the query started) and says what to do. After [`Action::Succeed`] or
    /// [`Action::Fail`] every event is ignored.
    pub(crate) fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ended {
            return actions;
        }
        match event {
            Event::Finished(attempt) => self.finished(attempt, &mut actions),
            Event::Failed(attempt, error) => self.failed(attempt, error, now, &mut actions),
            Event::Tick => {}
            Event::Stop(error) => self.fail(error, &mut actions),
        }
        if !self.ended && now >= self.bounds.deadline {
            self.fail(too_long(self.bounds.deadline), &mut actions);
        }
        if !self.ended {
            self.expire(now, &mut actions);
        }
        if !self.ended {
            self.start(now, &mut actions);
        }
        actions
    }

    /// When [`Event::Tick`] is needed next, if nothing else happens before.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        if self.ended {
            return None;
        }
        let pauses = self.tasks.values().filter_map(|task| match task.state {
            TaskState::Paused(until) => Some(until),
            _ => None,
        });
        let timeouts = self.tasks.values().flat_map(|task| task.running.values().copied());
        pauses.chain(timeouts).chain([self.bounds.deadline]).min()
    }

    /// Whether the query has succeeded or failed.
    #[cfg(test)]
    fn ended(&self) -> bool {
        self.ended
    }

    /// Tasks done and tasks in all, per stage.
    pub(crate) fn progress(&self) -> Vec<(StageId, u32, u32)> {
        self.shapes.values().map(|shape| (shape.id, shape.tasks - self.unfinished[&shape.id], shape.tasks)).collect()
    }

    fn finished(&mut self, attempt: AttemptId, actions: &mut Vec<Action>) {
        self.in_flight.remove(&attempt);
        let Some(task) = self.tasks.get_mut(&attempt.task) else { return };
        if attempt.attempt >= task.next_attempt {
            return; // A report of something that was never started.
        }
        task.running.remove(&attempt.attempt);
        if task.state == TaskState::Done {
            return;
        }
        task.state = TaskState::Done;
        let others = std::mem::take(&mut task.running);
        actions.push(Action::Accept(attempt));
        for other in others.into_keys() {
            let other = AttemptId { task: attempt.task, attempt: other };
            self.in_flight.remove(&other);
            actions.push(Action::GiveUp(other));
        }
        if let Some(left) = self.unfinished.get_mut(&attempt.task.stage) {
            *left -= 1;
        }
        if self.unfinished.values().all(|left| *left == 0) {
            self.ended = true;
            actions.push(Action::Succeed);
        }
    }

    fn failed(&mut self, attempt: AttemptId, error: Error, now: Duration, actions: &mut Vec<Action>) {
        let was_in_flight = self.in_flight.remove(&attempt);
        let Some(task) = self.tasks.get_mut(&attempt.task) else { return };
        let was_running = task.running.remove(&attempt.attempt).is_some();
        // Late, repeated, or about something that was never started.
        if task.state == TaskState::Done || !(was_running || was_in_flight) {
            return;
        }
        if !task.running.is_empty() {
            return; // Another attempt of the task is still under way.
        }
        self.retry(attempt, error, now, actions);
    }

    fn retry(&mut self, attempt: AttemptId, error: Error, now: Duration, actions: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(&attempt.task) else { return };
        let pause = match error.kind.verdict() {
            Verdict::Fail => {
                let error = error.context(format!("task {}", attempt.task));
                return self.fail(error, actions);
            }
            Verdict::RetryNow => Duration::ZERO,
            Verdict::RetryAfter(first) => first.saturating_mul(1 << task.next_attempt.saturating_sub(1).min(8)),
        };
        if task.next_attempt >= self.bounds.max_attempts_per_task {
            let attempts = task.next_attempt;
            let error = error.context(format!("task {} failed in all of its {attempts} attempts", attempt.task));
            return self.fail(error, actions);
        }
        if self.retries_left == 0 {
            let error = error.context(format!("task {} failed, and the query's retries are used up", attempt.task));
            return self.fail(error, actions);
        }
        self.retries_left -= 1;
        if pause.is_zero() {
            task.state = TaskState::Ready;
            self.ready.push_back(attempt.task);
        } else {
            task.state = TaskState::Paused(now.saturating_add(pause));
        }
    }

    /// Attempts that have not reported in time count as lost: they free their place, and the task is tried again.
    fn expire(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let lost: Vec<AttemptId> = self
            .tasks
            .iter()
            .flat_map(|(id, task)| {
                task.running.iter().map(move |(attempt, until)| (AttemptId { task: *id, attempt: *attempt }, *until))
            })
            .filter(|(_, until)| *until <= now)
            .map(|(attempt, _)| attempt)
            .collect();
        for attempt in lost {
            actions.push(Action::GiveUp(attempt));
            let timeout = self.bounds.attempt_timeout.as_secs_f64();
            let error = Error::new(ErrorKind::Unavailable, format!("no report of attempt {attempt} within {timeout:.1} s"));
            self.failed(attempt, error, now, actions);
            if self.ended {
                return;
            }
        }
    }

    fn start(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let unfinished = &self.unfinished;
        let runnable = |stage: &StageId| {
            let inputs = self.shapes.get(stage).map(|shape| shape.inputs.as_slice()).unwrap_or_default();
            inputs.iter().all(|input| unfinished.get(input).is_none_or(|left| *left == 0))
        };
        for (id, task) in &mut self.tasks {
            let due = match task.state {
                TaskState::Waiting => runnable(&id.stage),
                TaskState::Paused(until) => until <= now,
                _ => false,
            };
            if due {
                task.state = TaskState::Ready;
                self.ready.push_back(*id);
            }
        }
        while self.in_flight.len() < self.bounds.max_running {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            if task.state != TaskState::Ready {
                continue; // A late output made it done.
            }
            let attempt = AttemptId { task: id, attempt: task.next_attempt };
            task.next_attempt += 1;
            task.state = TaskState::Running;
            task.running.insert(attempt.attempt, now.saturating_add(self.bounds.attempt_timeout));
            self.in_flight.insert(attempt);
            actions.push(Action::Start(attempt));
        }
    }

    fn fail(&mut self, error: Error, actions: &mut Vec<Action>) {
        self.ended = true;
        actions.extend(self.in_flight.iter().map(|attempt| Action::GiveUp(*attempt)));
        self.in_flight.clear();
        actions.push(Action::Fail(error));
    }
}

#[cfg(test)]
#[path = "scheduler/tests.rs"]
mod tests;
