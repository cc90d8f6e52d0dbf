//! The TPC-H benchmark: its tables, its queries, and what running them takes.

pub mod generate;
pub mod queries;
mod report;
mod run;

pub(crate) use run::run;
