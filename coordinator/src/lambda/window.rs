//! How many invocations run at once: as many as the service takes, found by trying (additive increase, multiplicative decrease).
//!
//! Knows neither requests nor why the service throttles. [`AimdWindow`] is a pure state machine over elapsed time;
//! [`Window`] lets callers wait for it in the order in which they came.

use engine::clock::{Stopwatch, random_uuid, sleep};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// First size of a window, in invocations: enough for most queries at once, few enough to be refused cheaply.
const FIRST_SIZE: usize = 64;
/// Growth per invocation taken until the first throttle: with long invocations, where only new ones count, this doubles
/// what runs with every [`TAKEN_AFTER`].
const SLOW_START_GROWTH: usize = 2;
/// Shortest pause after a throttle.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause after a throttle that names none.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause that the service may ask for; a longer one is cut to this.
const MAX_ASKED_PAUSE: Duration = Duration::from_secs(60);
/// Refusals come at once: an invocation without an answer for this long was taken, so that growth need not wait for its end.
pub(crate) const TAKEN_AFTER: Duration = Duration::from_millis(250);

/// A pause after `streak` throttles with nothing taken between them (at least 1): doubles from 100 ms to 5 s, and is
/// between half of that and all of it by `jitter` (0 to 1).
pub(crate) fn pause(streak: u32, jitter: f64) -> Duration {
    let doubled = MIN_PAUSE.saturating_mul(1_u32.checked_shl(streak.max(1)).unwrap_or(u32::MAX)).min(MAX_PAUSE);
    doubled / 2 + (doubled / 2).mul_f64(jitter.clamp(0.0, 1.0))
}

/// The pause that the service asked for, within bounds.
pub(crate) fn asked_pause(asked: Option<Duration>) -> Duration {
    asked.unwrap_or_default().min(MAX_ASKED_PAUSE)
}

/// A random number from 0 to 1.
pub(crate) fn jitter() -> f64 {
    // The low 32 bits of a version 4 UUID are random.
    f64::from(random_uuid().as_u128() as u32) / f64::from(u32::MAX)
}

/// The state. Invariant: `1 <= size <= max`.
#[derive(Debug)]
pub(crate) struct AimdWindow {
    size: usize,
    max: usize,
    running: usize,
    /// No throttle was seen yet.
    slow_start: bool,
    /// Invocations taken since the window last grew.
    credit: usize,
    /// How often the window shrank.
    shrinks: u64,
    /// How often it shrank since an invocation was last taken.
    streak: u32,
    /// Nothing starts before this time.
    paused_until: Duration,
}

/// Proof that an invocation was started; goes back in [`AimdWindow::finish`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    /// [`AimdWindow::shrinks`] at its start.
    shrinks: u64,
    /// Already counted for growth.
    taken: bool,
}

/// Whether an invocation may start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// It counts as running now.
    Go(Ticket),
    /// Ask again when a running one has finished.
    Full,
    /// Ask again after this long.
    Paused(Duration),
}

/// What became of an invocation, as far as the window is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// The service took it, whatever the function made of it.
    Taken,
    /// The service refused it for now, and may have said for how long.
    Throttled(Option<Duration>),
    /// Nothing is known: a network fault, or the caller gave it up.
    Unknown,
}

impl AimdWindow {
    /// At most `max` invocations at once (at least 1).
    pub(crate) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            size: max.min(FIRST_SIZE),
            max,
            running: 0,
            slow_start: true,
            credit: 0,
            shrinks: 0,
            streak: 0,
            paused_until: Duration::ZERO,
        }
    }

    /// Asks to start one invocation at time `now`.
    pub(crate) fn start(&mut self, now: Duration) -> Start {
        if now < self.paused_until {
            return Start::Paused(self.paused_until - now);
        }
        if self.running >= self.size {
            return Start::Full;
        }
        self.running += 1;
        Start::Go(Ticket { shrinks: self.shrinks, taken: false })
    }

    /// The service took the invocation, which may go on running; counts once. Gives the ticket that replaces `ticket`.
    pub(crate) fn taken(&mut self, ticket: Ticket) -> Ticket {
        // A window that is hardly used says nothing about a larger one.
        if !ticket.taken && self.running.saturating_mul(2) >= self.size {
            self.credit += 1;
            if self.slow_start || self.credit >= self.size {
                self.credit = 0;
                self.size = (self.size + if self.slow_start { SLOW_START_GROWTH } else { 1 }).min(self.max);
            }
        }
        self.streak = 0;
        Ticket { taken: true, ..ticket }
    }

    /// Takes a ticket back at time `now`; `jitter` (0 to 1) spreads the pause after a throttle.
    pub(crate) fn finish(&mut self, ticket: Ticket, ended: Ended, now: Duration, jitter: f64) {
        let ticket = if ended == Ended::Taken { self.taken(ticket) } else { ticket };
        self.running = self.running.saturating_sub(1);
        match ended {
            Ended::Unknown | Ended::Taken => {}
            Ended::Throttled(asked) => {
                self.paused_until = self.paused_until.max(now + asked_pause(asked));
                // Invocations that started before the window shrank say nothing about its new size.
                if ticket.shrinks == self.shrinks {
                    self.size = (self.size / 2).max(1);
                    self.slow_start = false;
                    self.credit = 0;
                    self.shrinks += 1;
                    self.streak = self.streak.saturating_add(1);
                    self.paused_until = self.paused_until.max(now + pause(self.streak, jitter));
                }
            }
        }
    }
}

/// An [`AimdWindow`] that callers wait for, first come, first served.
#[derive(Debug)]
pub(crate) struct Window {
    state: Mutex<AimdWindow>,
    /// Held by the first in the line, who alone asks the state.
    line: tokio::sync::Mutex<()>,
    /// Wakes the first in the line.
    freed: Notify,
    clock: Stopwatch,
}

impl Window {
    /// At most `max` invocations at once (at least 1).
    pub(crate) fn new(max: usize) -> Self {
        Self {
            state: Mutex::new(AimdWindow::new(max)),
            line: tokio::sync::Mutex::new(()),
            freed: Notify::new(),
            clock: Stopwatch::start(),
        }
    }

    /// Waits for room. Dropping the future leaves the line.
    pub(crate) async fn permit(&self) -> Permit<'_> {
        let _first = self.line.lock().await;
        loop {
            let start = self.state().start(self.clock.elapsed());
            match start {
                Start::Go(ticket) => return Permit { window: self, ticket: Some(ticket) },
                Start::Full => self.freed.notified().await,
                Start::Paused(rest) => sleep(rest).await,
            }
        }
    }

    /// Whether the service has taken all that it was given so far, or lately as much as `calls` at once.
    pub(crate) fn is_open(&self, calls: usize) -> bool {
        let state = self.state();
        state.slow_start || state.size >= calls
    }

    fn finish(&self, ticket: Ticket, ended: Ended) {
        self.state().finish(ticket, ended, self.clock.elapsed(), jitter());
        self.freed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, AimdWindow> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one invocation, until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    window: &'a Window,
    ticket: Option<Ticket>,
}

impl Permit<'_> {
    /// The service took the invocation, which goes on running.
    pub(crate) fn taken(&mut self) {
        self.ticket = self.ticket.map(|ticket| self.window.state().taken(ticket));
        self.window.freed.notify_one();
    }

    /// Gives the room back and tells the window what happened.
    pub(crate) fn finish(mut self, ended: Ended) {
        if let Some(ticket) = self.ticket.take() {
            self.window.finish(ticket, ended);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.window.finish(ticket, Ended::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    use std::sync::Arc;
    use tokio::task::JoinSet;

    const NOW: Duration = Duration::ZERO;

    fn fill(window: &mut AimdWindow, now: Duration) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        while let Start::Go(ticket) = window.start(now) {
            tickets.push(ticket);
        }
        tickets
    }

    #[test]
    fn it_doubles_per_round_up_to_its_limit() {
        let mut window = AimdWindow::new(900);
        let mut sizes = Vec::new();
        for _ in 0..4 {
            for ticket in fill(&mut window, NOW) {
                let taken = window.taken(ticket);
                assert_eq!(window.taken(taken), taken);
            }
            sizes.push(window.size);
        }
        assert_eq!(sizes, [130, 262, 526, 900]);
        assert_eq!(AimdWindow::new(0).size, 1);
        assert_eq!(AimdWindow::new(7).size, 7);
    }

    #[test]
    fn it_halves_once_per_round_trip_and_then_grows_by_one() {
        let mut window = AimdWindow::new(64);
        for ticket in fill(&mut window, NOW) {
            window.finish(ticket, Ended::Throttled(None), NOW, 0.0);
        }
        assert_eq!(window.size, 32);
        assert_eq!(window.start(NOW), Start::Paused(MIN_PAUSE));
        let later = NOW + MIN_PAUSE;
        let tickets: Vec<_> = fill(&mut window, later).into_iter().map(|ticket| window.taken(ticket)).collect();
        assert_eq!(window.size, 33);
        for ticket in tickets {
            window.finish(ticket, Ended::Taken, later, 0.0);
        }
        assert_eq!((window.size, window.running), (33, 0));
    }

    #[test]
    fn it_never_goes_below_one() {
        let mut window = AimdWindow::new(4);
        let mut now = NOW;
        for round in 1..50 {
            let Start::Go(ticket) = window.start(now) else { panic!("round {round} did not start") };
            window.finish(ticket, Ended::Throttled(None), now, 1.0);
            let Start::Paused(rest) = window.start(now) else { panic!("round {round} did not pause") };
            assert!(rest >= MIN_PAUSE && rest <= MAX_PAUSE, "{rest:?}");
            now += rest;
        }
        assert_eq!((window.size, window.running), (1, 0));
    }

    #[test]
    fn an_asked_pause_is_honoured_within_bounds() {
        for (asked, paused) in [(3, 3), (3_600, 60)] {
            let mut window = AimdWindow::new(4);
            let Start::Go(ticket) = window.start(NOW) else { panic!("did not start") };
            window.finish(ticket, Ended::Throttled(Some(Duration::from_secs(asked))), NOW, 0.0);
            assert_eq!(window.start(NOW), Start::Paused(Duration::from_secs(paused)));
        }
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut window = AimdWindow::new(1_000);
        for _ in 0..1_000 {
            let Start::Go(ticket) = window.start(NOW) else { panic!("did not start") };
            window.finish(ticket, Ended::Taken, NOW, 0.0);
        }
        assert_eq!(window.size, FIRST_SIZE);
    }

    /// What a service with a quota made of a number of tasks.
    struct Outcome {
        invocations: usize,
        wall: Duration,
    }

    /// Tasks of `task` each against a service that runs `quota` at once and refuses the rest after `refusal`.
    fn simulate(tasks: usize, quota: usize, task: Duration, refusal: Duration) -> Outcome {
        let mut window = AimdWindow::new(tasks);
        let (mut now, mut waiting, mut taken, mut invocations) = (NOW, tasks, 0, 0);
        // Times at which something happens to an invocation, soonest first, and whether it ends then.
        let mut events: BinaryHeap<Reverse<(Duration, usize, bool)>> = BinaryHeap::new();
        let mut tickets = Vec::new();
        while waiting > 0 || !events.is_empty() {
            let start = if waiting > 0 { window.start(now) } else { Start::Full };
            if let Start::Go(ticket) = start {
                let accepted = taken < quota;
                taken += usize::from(accepted);
                waiting -= 1;
                invocations += 1;
                events.push(Reverse((now + if accepted { task } else { refusal }, tickets.len(), true)));
                if accepted && task > TAKEN_AFTER {
                    events.push(Reverse((now + TAKEN_AFTER, tickets.len(), false)));
                }
                tickets.push((ticket, accepted));
                continue;
            }
            let next = events.peek().map(|event| event.0.0);
            if let Start::Paused(rest) = start
                && next.is_none_or(|time| now + rest < time)
            {
                now += rest;
                continue;
            }
            let Some(Reverse((time, number, ends))) = events.pop() else { panic!("stuck at {now:?}") };
            now = time;
            let (ticket, accepted) = tickets[number];
            if !ends {
                tickets[number].0 = window.taken(ticket);
            } else if accepted {
                taken -= 1;
                window.finish(ticket, Ended::Taken, now, 0.5);
            } else {
                waiting += 1;
                window.finish(ticket, Ended::Throttled(None), now, 0.5);
            }
        }
        Outcome { invocations, wall: now }
    }

    #[test]
    fn a_small_quota_is_found_and_used() {
        let refusal = Duration::from_millis(10);
        for (tasks, quota, task_ms) in
            [(200, 10, 1_000), (200, 10, 50), (1_000, 10, 2_000), (200, 1, 500), (1_000, 700, 2_000), (1_000, 1_000, 5_000)]
        {
            let task = Duration::from_millis(task_ms);
            let outcome = simulate(tasks, quota, task, refusal);
            let ideal = task * u32::try_from(tasks.div_ceil(quota)).unwrap_or(u32::MAX);
            let used = ideal.as_secs_f64() / outcome.wall.as_secs_f64();
            assert!(outcome.invocations <= 3 * tasks, "{tasks} tasks, quota {quota}: {} invocations", outcome.invocations);
            assert!(used > 0.5, "{tasks} tasks of {task_ms} ms, quota {quota}: {used:.2} of the quota used");
        }
    }

    #[tokio::test]
    async fn dropped_callers_give_their_room_back() {
        let window = Window::new(1);
        let running = window.permit().await;
        {
            let mut waiting = Box::pin(window.permit());
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        drop(running);
        let next = window.permit().await;
        assert_eq!(window.state().running, 1);
        next.finish(Ended::Taken);
        assert_eq!(window.state().running, 0);
    }

    #[tokio::test]
    async fn callers_are_served_in_order() {
        let window = Arc::new(Window::new(1));
        let running = window.permit().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut callers = JoinSet::new();
        for number in 0..10 {
            let (window, order) = (Arc::clone(&window), Arc::clone(&order));
            callers.spawn(async move {
                let permit = window.permit().await;
                order.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                tokio::task::yield_now().await;
                permit.finish(Ended::Taken);
            });
        }
        tokio::task::yield_now().await;
        running.finish(Ended::Taken);
        while callers.join_next().await.is_some() {}
        assert_eq!(*order.lock().unwrap_or_else(PoisonError::into_inner), (0..10).collect::<Vec<_>>());
    }
}
