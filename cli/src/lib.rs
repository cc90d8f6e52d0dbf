//! The `owlet` command line: from arguments to rows on standard output; decides nothing about how a query runs.
//!
//! ```text
//! argv, OWLET_*, --config ─► args ─► resolve ─► Setup ─► run ─┬─► query (and explain) ─► session ─► output ─► print
//!                                                             ├─► tpch ────────────────► session ─► a table
//!                                                             └─► shell ───────────────► session ─► output ─► print
//! ```
//!
//! **Invariant:** rows go to standard output and nothing else does; progress, receipts and errors go to standard error.
//!
//! **Invariant:** the calling thread never runs a query: it waits for one, hears Ctrl-C and keeps the time limit.

pub mod args;
mod failure;
mod figures;
mod local;
mod output;
pub mod print;
mod progress;
mod query;
mod receipt;
mod resolve;
mod runtimes;
mod session;
mod shell;
mod size;
mod tell;
pub mod tpch;

pub use failure::Failure;
pub use resolve::{Command, OutputChoice, Reports, Setup, Surroundings, resolve};
pub use tell::{start_logging, tell_failure};

/// Does what `setup` says.
///
/// # Errors
/// Whatever ended it early; [`Failure::exit_code`] says what the process should end with.
pub fn run(setup: Setup) -> Result<(), Failure> {
    let Setup { settings, tables, output, reports, command } = setup;
    let open = |settings, tables| session::Session::new(settings, tables, reports);
    match command {
        Command::Query(sql) => query::run(&open(settings, tables)?, &sql, &output, query::Mode::AsWritten),
        Command::Explain(sql) => query::run(&open(settings, tables)?, &sql, &output, query::Mode::Explain),
        Command::Tpch(plan) => tpch::run(settings, reports, &plan),
        Command::Shell => shell::run(open(settings, tables)?, output.format),
    }
}
