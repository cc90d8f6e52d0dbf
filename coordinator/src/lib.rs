//! One query's life: plan, cut into stages, schedule, dispatch, merge.
//!
//! ```text
//! Statement ─► sql::bind ─► plan ─┬─► local plan ───────────────────────────────► rows
//!                                 └─► graph (stages) ─► verify ─► scheduler ◄─► dispatch ─► Invoker
//!                                                                                   │ accepted outputs
//!                                                                                   ▼
//!                                                                     head plan over the exchange ─► rows
//! ```
//! Read `query.rs` first: the whole path is there on one screen.

mod deep_stack;
mod dispatch;
mod explain;
mod graph;
mod limited_build;
mod plan;
mod progress;
mod query;
mod receipt;
mod rows;
mod scheduler;
mod sizing;
mod subquery;
mod verify;

pub use deep_stack::{STACK_BYTES, on_deep_stack};
pub use progress::{Progress, StageProgress};
pub use query::{Coordinator, QueryControl, QueryRun};
pub use receipt::{Receipt, StageReceipt};
pub use rows::Rows;
