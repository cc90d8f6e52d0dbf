//! The `owlet` command line: from arguments to rows on standard output; decides nothing about how a query runs.
//!
//! ```text
//! argv, OWLET_*, --config ─► args ─► resolve ─► Setup ─► run ─┬─► query (and explain) ─► runner ─► output ─► print
//!                                                             ├─► shell ───────────────► runner ─► output ─► print
//!                                                             ├─► tpch ────────────────► session ─► a table
//!                                                             ├─► remote: queries, cancel, result, bench
//!                                                             └─► deploy
//! ```
//! A runner is a `session` in this process, or with `--endpoint` a `remote` server:
//!
//! ```text
//! runner ─┬─► session ─► coordinator
//!         └─► remote ──► HTTP API (docs/http-api.md)
//! ```
//!
//! **Invariant:** rows go to standard output and nothing else does; progress, receipts and errors go to standard error.
//!
//! **Invariant:** the calling thread never runs a query: it waits for one, hears Ctrl-C and keeps the time limit.

pub mod args;
mod bench;
mod deploy;
mod failure;
mod figures;
mod local;
mod output;
pub mod print;
mod progress;
mod query;
mod receipt;
mod remote;
mod resolve;
mod runner;
mod runtimes;
pub mod serve;
mod session;
mod shell;
mod signals;
mod size;
mod split;
mod tell;
pub mod tpch;
mod workspace;

pub use bench::BenchPlan;
pub use failure::Failure;
pub use remote::ServerChoice;
pub use resolve::{Command, OutputChoice, Reports, Setup, Surroundings, resolve};
pub use tell::{start_logging, tell_failure};

/// Does what `setup` says.
///
/// # Errors
/// Whatever ended it early; [`Failure::exit_code`] says what the process should end with.
pub fn run(setup: Setup) -> Result<(), Failure> {
    let Setup { settings, tables, places, server, output, reports, command } = setup;
    match (command, server) {
        (Command::DeployCheck(args), _) => deploy::check(&args),
        (Command::Serve(plan), _) => serve::run(settings, tables, &places, &plan),
        (Command::Tpch(plan), _) => tpch::run(settings, reports, &plan),
        (command, Some(server)) => {
            let session = remote::RemoteSession::new(&server, places.database, reports)?;
            match command {
                Command::Queries(args) => remote::queries(&session, &args, &output),
                Command::Cancel(id) => remote::cancel(&session, id),
                Command::Result(id) => remote::result(&session, id, &output),
                Command::Bench(plan) => bench::run(&session, &plan),
                command => statements(command, session, &output),
            }
        }
        (command, None) => statements(command, session::Session::new(settings, tables, &places, reports)?, &output),
    }
}

/// The commands that run SQL, wherever `runner` runs it.
fn statements(command: Command, runner: impl runner::Runner, output: &OutputChoice) -> Result<(), Failure> {
    match command {
        Command::Query(sql) => query::run(&runner, &sql, output, query::Mode::AsWritten),
        Command::Explain(sql) => query::run(&runner, &sql, output, query::Mode::Explain),
        Command::Shell => shell::run(runner, output.format),
        other => Err(Failure::Usage(format!("this command needs a server: {other:?}"))),
    }
}
