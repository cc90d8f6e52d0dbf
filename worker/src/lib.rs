//! One attempt of one task: decode, execute, write, report.
//!
//! ```text
//! TaskRequest ─► run_task ─► plan decoded ─► all partitions at once ─► exchange ─► TaskOutcome
//! ```
//!
//! **Invariant:** this crate knows no SQL parser and no sibling but `engine`.

mod in_process;
mod run;

pub use in_process::InProcessInvoker;
pub use run::{Worker, run_task};
