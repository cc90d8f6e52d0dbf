//! SQL text to statements and logical plans; the only crate that sees the SQL parser.
//!
//! ```text
//! text ─► statement::parse ─► Statement ─► bind::bind (tables::Tables) ─► LogicalPlan
//! ```
//!
//! **Invariant:** a statement reaches DataFusion only as a query, `EXPLAIN`, `SHOW` or `DESCRIBE`: nothing here writes,
//! and nothing sets options.

pub mod bind;
pub mod format;
pub mod message;
pub mod parameters;
pub mod prepared;
pub mod statement;
pub mod tables;

pub use bind::bind;
pub use parameters::{Parameter, with_parameters};
pub use prepared::PreparedStatements;
pub use statement::{Limits, Statement, parse};
pub use tables::Tables;
