//! A memory pool that remembers its peak.

use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Forwards to another pool and keeps the largest reservation that it saw, in bytes.
#[derive(Debug)]
pub struct PeakPool {
    inner: Arc<dyn MemoryPool>,
    peak_bytes: AtomicUsize,
}

impl PeakPool {
    /// Watches `inner`.
    pub fn new(inner: Arc<dyn MemoryPool>) -> Arc<Self> {
        Arc::new(Self { inner, peak_bytes: AtomicUsize::new(0) })
    }

    /// The largest total reservation so far, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed) as u64
    }

    fn note(&self) {
        self.peak_bytes.fetch_max(self.inner.reserved(), Ordering::Relaxed);
    }
}

impl fmt::Display for PeakPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeakPool({})", self.inner)
    }
}

impl MemoryPool for PeakPool {
    fn name(&self) -> &str {
        "peak"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
        self.note();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.inner.try_grow(reservation, additional)?;
        self.note();
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    #[test]
    fn the_peak_stays_after_memory_is_given_back() -> Result<()> {
        let pool = PeakPool::new(Arc::new(GreedyMemoryPool::new(100)));
        let as_pool: Arc<dyn MemoryPool> = Arc::clone(&pool) as _;
        let reservation = MemoryConsumer::new("test").register(&as_pool);
        reservation.try_grow(60)?;
        reservation.shrink(50);
        assert!(reservation.try_grow(91).is_err());
        assert_eq!((pool.peak_bytes(), pool.reserved()), (60, 10));
        Ok(())
    }
}
