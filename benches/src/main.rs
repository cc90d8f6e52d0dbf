//! Measurements of Owlet, one subcommand each; docs/performance.md holds their figures.
//!
//! `owlet-bench` without a subcommand runs TPC-H. The others run the release bootstraps that lie beside this program as functions
//! behind the emulator and the S3 server of the tests. Figures go to standard error, nothing here judges a time.

mod dispatch;
mod latency;
mod peer;
mod result;
mod soak;
mod start;
mod stats;
mod tpch;

use clap::{Parser, Subcommand};
use coordinator::STACK_BYTES;
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Measures Owlet.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tpch: tpch::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Time from the start of a bootstrap's process until it asks for its first event
    Start(start::Args),
    /// Time of small queries from the client's side, warm and cold
    Latency(latency::Args),
    /// Time and CPU of the client that dispatches many tasks
    Dispatch(dispatch::Args),
    /// Time and memory of a large result, read back page by page
    Result(result::Args),
    /// Mixed load with faults, checked against plain DataFusion
    Soak(soak::Args),
    /// The emulator with a stub function, until standard input ends
    #[command(hide = true)]
    Emulate(dispatch::EmulateArgs),
}

fn main() -> Result<(), AnyError> {
    let line = Line::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build()?;
    runtime.block_on(async move {
        // As a task: a future at the top of `block_on` would run on the main thread with its small stack.
        let mut join = tokio::task::JoinSet::new();
        join.spawn(async move {
            match line.command {
                None => tpch::run(line.tpch).await,
                Some(Command::Start(args)) => start::run(args).await,
                Some(Command::Latency(args)) => latency::run(args).await,
                Some(Command::Dispatch(args)) => dispatch::run(args).await,
                Some(Command::Result(args)) => result::run(args).await,
                Some(Command::Soak(args)) => soak::run(args).await,
                Some(Command::Emulate(args)) => dispatch::emulate(args).await,
            }
        });
        join.join_next().await.ok_or("nothing was measured")??
    })
}

/// The folder of the TPC-H tables at `scale`, which are made when absent.
fn data_folder(dir: Option<PathBuf>, scale: f64) -> Result<PathBuf, AnyError> {
    let dir = dir.unwrap_or_else(|| PathBuf::from(format!(".owlet/tpch/sf{scale}")));
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)?;
    }
    cli::tpch::generate::generate(&dir, scale, &mut |_| {})?;
    Ok(dir)
}

/// A program of the same build as this one.
fn sibling(name: &str) -> Result<PathBuf, AnyError> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        return Err(format!("{} is missing: cargo build --release --workspace", path.display()).into());
    }
    Ok(path)
}

/// A deployment of the bootstraps of this build with `workers` workers.
fn plan(workers: usize) -> Result<::tests::functions::Plan, AnyError> {
    let (coordinator, worker) = (sibling("owlet-coordinator")?, sibling("owlet-worker")?);
    Ok(::tests::functions::Plan::new(&coordinator.to_string_lossy(), &worker.to_string_lossy(), workers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Line::command().debug_assert();
    }
}
