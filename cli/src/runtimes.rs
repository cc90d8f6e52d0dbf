//! Three runtimes: one coordinates queries, one executes plans, and one on the calling thread watches over them.
//!
//! A thread that executes may be busy for seconds without a pause, so nothing else may depend on it: not Ctrl-C, not the
//! time limit, not the scheduler, not the removal of what a query left.

use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::signals::EndSignals;
use coordinator::{QueryControl, STACK_BYTES};
use engine::clock::{Stopwatch, sleep};
use engine::compute::ComputeThreads;
use engine::{Error, ErrorKind};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// Time that a cancelled query has to stop and clean up.
const STOP_TIME: Duration = Duration::from_secs(5);
/// Time over its limit after which a query counts as one that does not keep the limit itself.
const LIMIT_SLACK: Duration = Duration::from_secs(1);
/// Time for query threads to drop what they hold when the process ends.
const END_TIME: Duration = Duration::from_millis(500);
/// Pause between looks at the clock and the progress.
const PULSE: Duration = Duration::from_millis(100);

/// The runtimes of the process.
#[derive(Debug)]
pub(crate) struct Runtimes {
    watcher: Runtime,
    /// Coordinates queries. Only absent while it is dropped.
    queries: Option<Runtime>,
    /// Executes plans. Absent where queries run on a server, and while it is dropped.
    compute: Option<Arc<ComputeThreads>>,
}

/// Why a query was told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Interrupt,
    TimeLimit,
}

impl Runtimes {
    /// Starts a thread that coordinates, and one per CPU that executes.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn new() -> Result<Self, Failure> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut own = Self::without_compute()?;
        let compute = ComputeThreads::new(move || builder(threads, "owlet-compute").build()).map_err(|e| no_threads(&e))?;
        own.compute = Some(compute);
        Ok(own)
    }

    /// Starts a thread that coordinates; no plan is executed here.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn without_compute() -> Result<Self, Failure> {
        let watcher = Builder::new_current_thread().enable_all().build().map_err(|e| no_threads(&e))?;
        Ok(Self { watcher, queries: Some(pool(1, "owlet-query")?), compute: None })
    }

    /// Where queries run.
    ///
    /// # Errors
    /// Never while this exists.
    pub(crate) fn queries(&self) -> Result<&Handle, Failure> {
        match &self.queries {
            Some(runtime) => Ok(runtime.handle()),
            None => Err(Failure::Query(Error::internal("the query threads have ended"))),
        }
    }

    /// Where plans are executed; its threads may be busy for seconds without a pause.
    ///
    /// # Errors
    /// Never while this exists.
    pub(crate) fn compute(&self) -> Result<&Arc<ComputeThreads>, Failure> {
        match &self.compute {
            Some(threads) => Ok(threads),
            None => Err(Failure::Query(Error::internal("there are no compute threads"))),
        }
    }

    /// Runs `work` on the query threads and waits for it, with an eye on Ctrl-C, on `limit` and on the progress.
    ///
    /// Ctrl-C, SIGTERM and SIGHUP cancel `control` and gives `work` [`STOP_TIME`] to end by itself; a second one leaves at once.
    /// `work` keeps the limit itself; here it is enforced only if that fails.
    ///
    /// # Errors
    /// Those of `work`; [`Failure::Interrupted`] after Ctrl-C, and [`Failure::Abandoned`] if `work` did not end.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        control: &QueryControl,
        limit: Duration,
        line: &ProgressLine,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut task = self.queries()?.spawn(work);
        let progress = control.progress.subscribe();
        let result = self.watcher.block_on(async {
            let watch = Stopwatch::start();
            let mut signals = EndSignals::listen();
            let mut stopping: Option<(Cause, Duration)> = None;
            loop {
                tokio::select! {
                    biased;
                    joined = &mut task => return ended(joined, stopping.map(|(cause, _)| cause)),
                    () = signals.heard() => {
                        if stopping.is_some() {
                            task.abort();
                            return Err(Failure::Abandoned { exchange: None });
                        }
                        control.cancel.cancel();
                        stopping = Some((Cause::Interrupt, watch.elapsed()));
                        line.say("cancelling");
                    }
                    () = sleep(PULSE) => {}
                }
                let now = watch.elapsed();
                match stopping {
                    Some((cause, since)) if now >= since + STOP_TIME => {
                        task.abort();
                        return Err(match cause {
                            Cause::Interrupt => Failure::Abandoned { exchange: None },
                            Cause::TimeLimit => too_long(limit).into(),
                        });
                    }
                    Some(_) => {}
                    None if now >= limit.saturating_add(LIMIT_SLACK) => {
                        control.cancel.cancel();
                        stopping = Some((Cause::TimeLimit, now));
                    }
                    None => line.draw(&progress.borrow(), now),
                }
            }
        });
        line.clear();
        result
    }
}

impl Runtimes {
    /// Runs `work` on the query threads until it ends; Ctrl-C (SIGTERM, SIGHUP) cancels `stop`, a second one leaves at once.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) fn until_interrupt(
        &self,
        stop: CancellationToken,
        work: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) -> Result<(), Failure> {
        let mut task = self.queries()?.spawn(work);
        self.watcher.block_on(async {
            let mut signals = EndSignals::listen();
            loop {
                tokio::select! {
                    joined = &mut task => return ended(joined, None),
                    () = signals.heard() => {
                        if stop.is_cancelled() {
                            task.abort();
                            return Err(Failure::Interrupted);
                        }
                        stop.cancel();
                    }
                }
            }
        })
    }
}

impl Drop for Runtimes {
    /// Waits for query threads, but not long: one of them may be what the user gave up on.
    fn drop(&mut self) {
        if let Some(runtime) = self.queries.take() {
            runtime.shutdown_timeout(END_TIME);
        }
        if let Some(threads) = self.compute.take() {
            threads.shut_down(END_TIME);
        }
    }
}

fn pool(threads: usize, name: &str) -> Result<Runtime, Failure> {
    builder(threads, name).build().map_err(|e| no_threads(&e))
}

fn builder(threads: usize, name: &str) -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).thread_stack_size(STACK_BYTES).enable_all();
    builder
}

fn no_threads(error: &std::io::Error) -> Failure {
    Failure::Query(Error::new(ErrorKind::LimitExceeded, format!("cannot start threads: {error}")))
}

fn ended<T>(joined: Result<Result<T, Failure>, JoinError>, stopped: Option<Cause>) -> Result<T, Failure> {
    match (joined, stopped) {
        (Err(_), _) => Err(Failure::Query(Error::internal("the query panicked: this is a defect in the engine"))),
        (Ok(_), Some(Cause::Interrupt)) => Err(Failure::Interrupted),
        (Ok(result), _) => result,
    }
}

fn too_long(limit: Duration) -> Error {
    let message = format!("the query ran longer than its limit of {} s (--timeout) and did not stop", limit.as_secs_f64());
    Error::new(ErrorKind::LimitExceeded, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn results_and_errors_come_back() -> Result<(), Failure> {
        let runtimes = Runtimes::new()?;
        let control = QueryControl::new();
        let line = ProgressLine::hidden();
        assert_eq!(runtimes.run(&control, LONG, &line, async { Ok(7) })?, 7);
        let failed = runtimes.run::<()>(&control, LONG, &line, async { Err(Failure::Usage("no".into())) });
        assert!(matches!(failed, Err(Failure::Usage(text)) if text == "no"));
        Ok(())
    }

    #[test]
    fn a_query_that_ends_after_ctrl_c_counts_as_interrupted() {
        assert!(matches!(ended(Ok(Ok(1)), Some(Cause::Interrupt)), Err(Failure::Interrupted)));
        assert!(matches!(ended(Ok(Ok(1)), None), Ok(1)));
        assert!(matches!(ended::<()>(Ok(Err(too_long(LONG).into())), Some(Cause::TimeLimit)), Err(Failure::Query(_))));
    }
}
