//! Faults of invocations, by the number of their delivery; each tells how often it fired.

use emulator::{Chaos, Fault};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Faults of one function that come back with a period.
pub struct Periodic {
    function: &'static str,
    period: u64,
    faults: BTreeMap<u64, Fault>,
    fired: Mutex<BTreeMap<u64, u64>>,
}

impl Periodic {
    /// Of each `period` deliveries to `function`, those at the given places (from 0) have the given faults.
    pub fn new(function: &'static str, period: u64, faults: impl IntoIterator<Item = (u64, Fault)>) -> Arc<Self> {
        Arc::new(Self { function, period, faults: faults.into_iter().collect(), fired: Mutex::default() })
    }

    /// How often the fault at `place` was given out.
    pub fn fired_at(&self, place: u64) -> u64 {
        self.fired.lock().unwrap_or_else(PoisonError::into_inner).get(&place).copied().unwrap_or_default()
    }

    /// How often any fault was given out.
    pub fn fired(&self) -> u64 {
        self.fired.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Chaos for Periodic {
    fn on_invoke(&self, function: &str, sequence: u64, _payload: &[u8]) -> Fault {
        let place = sequence % self.period;
        let Some(fault) = self.faults.get(&place).filter(|_| function == self.function) else { return Fault::None };
        *self.fired.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default() += 1;
        fault.clone()
    }
}

/// One fault at one delivery to one function.
pub fn once(function: &'static str, delivery: u64, fault: Fault) -> Arc<Periodic> {
    Periodic::new(function, u64::MAX, [(delivery, fault)])
}
