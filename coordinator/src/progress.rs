//! What a person watching a query sees while it runs.

use engine::cost::NanoDollars;
use engine::ids::StageId;

/// A snapshot of a running query.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Its stages, in order; empty before planning is done and for a query in one process.
    pub stages: Vec<StageProgress>,
    /// Bytes that finished attempts read from table data.
    pub scanned_bytes: u64,
    /// Price of what has ended so far.
    pub cost: NanoDollars,
}

/// One stage of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageProgress {
    /// The stage.
    pub stage: StageId,
    /// Tasks done.
    pub done: u32,
    /// Tasks in all.
    pub tasks: u32,
}
