//! One statement's life: plan, cut into stages, schedule, dispatch, merge.
//!
//! ```text
//! Statement ─► sql::bind ─► plan ─┬─► local plan ───────────────────────────────► rows
//!                                 └─► graph (stages) ─► verify ─► scheduler ◄─► dispatch ─► Invoker
//!                                                                                   │ accepted outputs
//!                                                                                   ▼
//!                                                                     head plan over the exchange ─► rows
//! ```
//! Statements about the catalog give rows at once (`statement/ddl.rs`); those that write have an operator on top of the last
//! stage, and a commit after it (`statement/write.rs`, `write/`). Read `query.rs` first: the whole path is there on one screen.

mod control;
mod deep_stack;
mod dispatch;
mod explain;
mod function;
mod graph;
pub mod http;
mod inputs;
pub mod lambda;
mod limited_build;
mod plan;
mod progress;
mod query;
mod receipt;
mod record;
mod recursion;
mod result;
mod rows;
mod scheduler;
mod service;
mod sizing;
mod sorted_windows;
mod statement;
mod stop;
mod streams;
mod subquery;
mod trace;
mod verify;
mod workspace;
mod write;

pub use control::{QueryControl, QueryLimits};
pub use deep_stack::{STACK_BYTES, on_deep_stack};
pub use function::Function;
pub use progress::{Progress, StageProgress};
pub use query::{Coordinator, QueryRun};
pub use receipt::{AttemptReceipt, Receipt, StageReceipt};
pub use rows::Rows;
pub use service::{Background, Invocation, QueryRequest, RequestLimits, Service, ServiceConfig, own_locations};
pub use trace::trace_parent;
pub use workspace::{CatalogSource, Workspace};
pub use write::{RecoveredWrites, WriteOutcome, WrittenFile};
