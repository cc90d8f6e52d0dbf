//! Threads that execute plans: whether they come to rest, and new ones in the place of those that never do.
//!
//! An operator may work for minutes without a pause, and nothing can stop it meanwhile. What was given up must not keep the
//! threads that the next query needs.

use crate::clock::{Stopwatch, sleep};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime, RuntimeMetrics};

/// Time for the tasks of a query that was given up to end.
pub const REST_TIME: Duration = Duration::from_secs(1);
/// Pause between looks at threads that are to come to rest.
const REST_POLL: Duration = Duration::from_millis(1);
/// Replaced threads that may still be at work; above it, queries share what there is.
const MAX_REPLACED: usize = 8;

/// Whether all threads of `runtime` wait for work, within `limit`.
pub async fn comes_to_rest(runtime: &Handle, limit: Duration) -> bool {
    let (metrics, watch) = (runtime.metrics(), Stopwatch::start());
    while (0..metrics.num_workers()).any(|thread| is_at_work(metrics.worker_park_unpark_count(thread))) {
        if watch.elapsed() >= limit {
            return false;
        }
        sleep(REST_POLL).await;
    }
    true
}

/// A thread counts each time that it goes to sleep and each time that it wakes up.
fn is_at_work(count: u64) -> bool {
    count.is_multiple_of(2)
}

fn counts(metrics: &RuntimeMetrics) -> Vec<u64> {
    (0..metrics.num_workers()).map(|thread| metrics.worker_park_unpark_count(thread)).collect()
}

/// The threads of one runtime, until nobody uses them any more.
struct Pool {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Pool {
    fn new(runtime: Runtime) -> Arc<Self> {
        Arc::new(Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
    }

    fn take(&self) -> Option<Runtime> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(runtime) = self.take() {
            runtime.shutdown_background();
        }
    }
}

/// Makes a runtime.
type Make = Box<dyn Fn() -> io::Result<Runtime> + Send + Sync>;

/// The threads that execute the plans of a process.
pub struct ComputeThreads {
    make: Make,
    current: Mutex<Arc<Pool>>,
    replaced: Mutex<Vec<Weak<Pool>>>,
}

impl fmt::Debug for ComputeThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ComputeThreads")
    }
}

impl ComputeThreads {
    /// Threads as `make` makes them.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new(make: impl Fn() -> io::Result<Runtime> + Send + Sync + 'static) -> io::Result<Arc<Self>> {
        let current = Mutex::new(Pool::new(make()?));
        Ok(Arc::new(Self { make: Box::new(make), current, replaced: Mutex::default() }))
    }

    /// The threads for one query or attempt.
    pub fn lease(self: &Arc<Self>) -> ComputeLease {
        let pool = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        ComputeLease { handle: pool.handle.clone(), threads: Some((Arc::clone(self), pool)) }
    }

    /// Ends all threads, and waits for them for at most `limit`.
    pub fn shut_down(&self, limit: Duration) {
        let pool = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(runtime) = pool.take() {
            runtime.shutdown_timeout(limit);
        }
    }

    /// New threads for the queries to come; those that run keep theirs.
    fn replace(&self, stuck: &Arc<Pool>) {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|pool| pool.strong_count() > 0);
        if !Arc::ptr_eq(&current, stuck) || replaced.len() >= MAX_REPLACED {
            return;
        }
        match (self.make)() {
            Ok(runtime) => {
                tracing::warn!("threads that go on with a query that was given up are replaced");
                replaced.push(Arc::downgrade(stuck));
                *current = Pool::new(runtime);
            }
            Err(error) => tracing::warn!(%error, "threads that go on with a query that was given up cannot be replaced"),
        }
    }
}

/// The threads that one query or attempt runs on.
#[derive(Clone)]
pub struct ComputeLease {
    handle: Handle,
    threads: Option<(Arc<ComputeThreads>, Arc<Pool>)>,
}

impl fmt::Debug for ComputeLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ComputeLease")
    }
}

impl Deref for ComputeLease {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl ComputeLease {
    /// Threads that are never replaced.
    pub fn of(handle: Handle) -> Self {
        Self { handle, threads: None }
    }

    /// Tasks of this query or attempt were aborted: a thread that has not paused within [`REST_TIME`] gets a successor. It may
    /// be busy with another query all that time; that one goes on where it is.
    pub fn given_up(&self) {
        let (Some((threads, pool)), Ok(watcher)) = (self.threads.clone(), Handle::try_current()) else { return };
        let before = counts(&pool.handle.metrics());
        if !before.iter().any(|count| is_at_work(*count)) {
            return;
        }
        watcher.spawn(async move {
            sleep(REST_TIME).await;
            let after = counts(&pool.handle.metrics());
            if before.iter().zip(&after).any(|(before, after)| before == after && is_at_work(*after)) {
                threads.replace(&pool);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::runtime::Builder;

    fn one_thread() -> io::Result<Runtime> {
        Builder::new_multi_thread().worker_threads(1).enable_all().build()
    }

    fn spinning(started: &Arc<AtomicBool>, stop: &Arc<AtomicBool>) -> impl Future<Output = ()> + Send + 'static {
        let (started, stop) = (Arc::clone(started), Arc::clone(stop));
        async move {
            started.store(true, Ordering::Relaxed);
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
    }

    #[tokio::test]
    async fn threads_that_never_pause_are_replaced() -> Result<(), Box<dyn std::error::Error>> {
        let (threads, started, stop) = (ComputeThreads::new(one_thread)?, Arc::default(), Arc::default());
        let lease = threads.lease();
        let task = lease.spawn(spinning(&started, &stop));
        while !started.load(Ordering::Relaxed) {
            sleep(REST_POLL).await;
        }
        task.abort();
        assert!(!comes_to_rest(&lease, REST_POLL).await);
        lease.given_up();
        let watch = Stopwatch::start();
        let mut answer = None;
        while answer.is_none() && watch.elapsed() < 30 * REST_TIME {
            let asked = threads.lease().spawn(async { 7 });
            answer = tokio::time::timeout(REST_TIME / 2, asked).await.ok().transpose()?;
        }
        assert_eq!(answer, Some(7));
        stop.store(true, Ordering::Relaxed);
        assert!(comes_to_rest(&lease, 30 * REST_TIME).await);
        Ok(())
    }

    #[tokio::test]
    async fn threads_that_pause_stay() -> Result<(), Box<dyn std::error::Error>> {
        let threads = ComputeThreads::new(one_thread)?;
        let lease = threads.lease();
        assert!(comes_to_rest(&lease, 30 * REST_TIME).await);
        lease.spawn(std::future::pending::<()>()).abort();
        lease.given_up();
        sleep(REST_TIME + REST_TIME / 2).await;
        assert_eq!(lease.id(), threads.lease().id());
        Ok(())
    }
}
