//! SQL text to statements and logical plans; the only crate that sees the SQL parser.
//!
//! ```text
//! text ─► statement::parse ─► Statement ─► bind::bind (bind::Scope) ─► bind::Bound: LogicalPlan, labels
//!             dialect: tokens, rewrite          dialect: planners, casts
//!      ddl::parse ─► DdlStatement ─► ddl::execute (catalog::Catalog) ─► rows of text
//! ```
//!
//! **Invariant:** a statement reaches DataFusion only as a query, `SHOW` or `DESCRIBE`: nothing here writes
//! or removes a file of a table, and nothing sets options. Statements that write are data around a query.

pub mod bind;
pub mod catalog;
mod check;
pub mod ddl;
mod dialect;
pub mod format;
pub mod message;
pub mod parameters;
mod parquet;
pub mod prepared;
pub mod statement;
pub mod tables;
mod wording;

pub use bind::{Bound, Label, Resolved, Scope, TableResolver, bind};
pub use check::check_text;
pub use dialect::{SESSION_OPTIONS, session, stored_text};
pub use parameters::{Parameter, with_parameters};
pub use prepared::PreparedStatements;
pub use statement::{Limits, Statement, StatementKind, parse, parse_prepared};
pub use tables::Tables;
