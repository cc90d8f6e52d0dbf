//! Hive's DDL and Athena's utility statements: text to statement, and statement to catalog.
//!
//! ```text
//! text ─► parse ─► DdlStatement ─► execute (Catalog, DdlContext) ─► DdlOutcome: columns and rows as Athena shapes them
//! ```
//!
//! **Invariant:** nothing here removes or writes a file, and a location is checked before anything is asked of its store.

mod execute;
mod lexer;
mod parser;
mod statement;

pub use execute::{DdlContext, DdlOutcome, DescribeQuery, OpenStore, check_written, execute, external_table};
pub(crate) use lexer::hive_statement;
pub use parser::parse;
pub use statement::{
    Alteration, DdlStatement, NamePattern, NewPartition, NewTable, PartitionConditions, PartitionSpec, TableName,
};
