//! How long a bootstrap takes from exec to its first `GET .../invocation/next`: what Lambda waits for in a cold start.

use crate::stats::{Sample, machine};
use crate::{AnyError, sibling};
use clap::Args as ClapArgs;
use engine::clock::Stopwatch;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

/// Longest start that is waited for: the limit of Lambda's init phase.
const MAX_START: Duration = Duration::from_secs(10);
/// Longest request head that is read, in bytes.
const HEAD_BYTES: usize = 4_096;

/// What to start.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Starts of each program, in turn
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Another program to start in turn with them
    #[arg(long)]
    also: Vec<PathBuf>,
}

/// Starts the programs in turn and prints how long each took.
pub(crate) async fn run(args: Args) -> Result<(), AnyError> {
    let mut programs = vec![(sibling("hello-bootstrap")?, None)];
    programs.push((sibling("owlet-worker")?, Some(40.0)));
    programs.push((sibling("owlet-coordinator")?, Some(60.0)));
    programs.extend(args.also.into_iter().map(|program| (program, None)));
    let scratch = tempfile::tempdir()?;
    let mut samples = vec![Sample::default(); programs.len()];
    // The first round reads the programs from disk, and does not count.
    for round in 0..=args.runs {
        for ((program, _), sample) in programs.iter().zip(&mut samples) {
            let time = first_request(program, scratch.path()).await?;
            if round > 0 {
                sample.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    eprintln!("exec to the first request for an event, {} runs each, interleaved; {}", args.runs, machine());
    eprintln!("{:<20} {:>9} {:>9} {:>9} {:>8}", "program", "median ms", "p90 ms", "x hello", "goal ms");
    let hello = samples.first().map_or(0.0, Sample::median);
    for ((program, goal), sample) in programs.iter().zip(&samples) {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let goal = goal.map_or_else(String::new, |goal| format!("{goal:.0}"));
        let (median, p90) = (sample.median(), sample.percentile(0.9));
        eprintln!("{name:<20} {median:>9.1} {p90:>9.1} {:>9.2} {goal:>8}", median / hello);
    }
    Ok(())
}

async fn first_request(program: &Path, scratch: &Path) -> Result<Duration, AnyError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut command = Command::new(program);
    command.env_clear().envs(environment(&listener.local_addr()?.to_string(), scratch)).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let watch = Stopwatch::start();
    let mut child = command.spawn()?;
    let asked = timeout(MAX_START, async {
        let (mut stream, _) = listener.accept().await?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        while !String::from_utf8_lossy(&head).contains("/invocation/next") && head.len() < HEAD_BYTES {
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        let time = watch.elapsed();
        let head = String::from_utf8_lossy(&head).into_owned();
        let asks = head.starts_with("GET") && head.contains("/invocation/next");
        if asks { Ok(time) } else { Err(std::io::Error::other(format!("it asked for something else: {head}"))) }
    });
    let result = asked.await.unwrap_or_else(|_| Err(std::io::Error::other("it asked for nothing")));
    child.kill().await?;
    let output = child.wait_with_output().await?;
    result.map_err(|e| format!("{}: {e}: {}", program.display(), String::from_utf8_lossy(&output.stderr)).into())
}

/// What Lambda and the template would set: no endpoint is replaced, so TLS is set up as in AWS.
fn environment(api: &str, scratch: &Path) -> Vec<(&'static str, String)> {
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("_HANDLER", "bootstrap"),
        ("AWS_LAMBDA_RUNTIME_API", api),
        ("AWS_LAMBDA_FUNCTION_NAME", "owlet-coordinator"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3538"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
        ("AWS_SESSION_TOKEN", "example"),
        ("OWLET_STATE_URL", "s3://owlet-example/state"),
        ("OWLET_EXCHANGE_URL", "s3://owlet-example/state"),
        ("OWLET_DATA_LOCATIONS", "s3://lake-example"),
        ("OWLET_TABLES", "lineitem=s3://lake-example/lineitem/"),
        ("OWLET_WORKER_FUNCTION", "owlet-worker"),
        ("OWLET_WORKERS", "64"),
        ("OWLET_WORKER_MEMORY_MB", "3538"),
        ("OWLET_TEMP_DIR", &scratch.join("owlet").to_string_lossy()),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}
