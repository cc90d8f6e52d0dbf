//! The `owlet` program: arguments in, exit code out.

use clap::Parser;
use cli::args::Args;
use cli::{Surroundings, resolve, run, start_logging, tell_failure};
use std::process::ExitCode;

/// Query threads allocate and free across each other all the time, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(args.is_server());
    let stats = args.shared.stats;
    match resolve(args, Surroundings::detect()).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell_failure(&failure, stats);
            ExitCode::from(failure.exit_code())
        }
    }
}
