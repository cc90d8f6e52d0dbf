//! One attempt of one task: decode, execute, write, report.
//!
//! ```text
//! TaskRequest ─► run_task ─► plan decoded ─► all partitions at once ─► exchange ─► TaskOutcome
//! ```
//! As a Lambda function (`main.rs`, `function.rs`) one invocation is one attempt.
//!
//! **Invariant:** this crate knows no SQL parser and no sibling but `engine`.

mod function;
mod in_process;
mod run;

pub use function::Function;
pub use in_process::InProcessInvoker;
pub use run::{Invocation, Worker, run_task};
