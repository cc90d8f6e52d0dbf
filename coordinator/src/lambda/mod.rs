//! Calls of Lambda functions: workers at their published version, and the coordinator itself for queries in the background.
//!
//! ```text
//! dispatch ─► LambdaInvoker ─► Window (how many at once) ─► LambdaClient (sign, send, read) ─► answer (what it means)
//!                                                                                        └──► report (what it costs)
//! ```

mod answer;
mod client;
mod invoker;
mod report;
mod two_level;
mod window;

pub use answer::Refusal;
pub use client::{Answer, LambdaClient, MAX_CALLS, MAX_EVENT_BYTES, Target};
pub use invoker::LambdaInvoker;
pub use report::Report;
pub use two_level::{TwoLevelBounds, TwoLevelInvoker, run_group};
