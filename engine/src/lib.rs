//! What coordinator and worker share: ids, settings, errors, sessions, SQL functions, storage, the exchange, writes and the
//! task contract.
//!
//! ```text
//! SQL ─► sql (Statement, LogicalPlan) ─► coordinator (stages, scheduler) ─► TaskRequest ─► worker
//!                                              ▲                                             │
//!                                              └──────────── TaskOutcome ◄───────────────────┤
//!                                                                                            ▼
//!                               next stage's workers ◄── range GET ── exchange/<query>/<stage>/<task>.<attempt>
//! ```
//!
//! **Invariant:** this crate knows no sibling crate and no SQL parser.
//!
//! Words: a *query* is an accepted statement with a [`ids::QueryId`]; a *stage* is a piece of a plan between
//! exchanges; a *task* is one share of a stage, run by one worker; an *attempt* is one invocation of a task,
//! numbered from 0, and at most one attempt of a task is accepted; a *split* is a byte range of a source object;
//! the *exchange* carries rows from stage to stage through object storage.

pub mod aws;
pub mod clock;
pub mod columns;
pub mod compute;
pub mod cost;
pub mod deletions;
pub mod error;
pub mod exchange;
pub mod function;
pub mod functions;
pub mod ids;
pub mod lines;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod panic;
pub mod session;
pub mod settings;
pub mod storage;
pub mod task;
mod unpacked;
pub mod write;

pub use error::{Error, ErrorKind, Result, Verdict, athenas_name};
