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
mod function;
mod graph;
pub mod http;
pub mod lambda;
mod limited_build;
mod plan;
mod progress;
mod query;
mod receipt;
mod record;
mod result;
mod rows;
mod scheduler;
mod service;
mod sizing;
mod stop;
mod subquery;
mod trace;
mod verify;

pub use deep_stack::{STACK_BYTES, on_deep_stack};
pub use function::Function;
pub use progress::{Progress, StageProgress};
pub use query::{Coordinator, QueryControl, QueryLimits, QueryRun};
pub use receipt::{AttemptReceipt, Receipt, StageReceipt};
pub use rows::Rows;
pub use service::{Background, Invocation, QueryRequest, RequestLimits, Service, ServiceConfig};
pub use trace::trace_parent;
