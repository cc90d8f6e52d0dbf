//! `owlet tpch`: makes the tables once, runs the queries one after another, and judges them if asked.

use super::generate::{GenerateError, Generated, Progress, generate_until};
use super::queries::{check_answer, sql};
use super::report::{self, Figures, Outcome};
use crate::args::TpchArgs;
use crate::failure::Failure;
use crate::figures;
use crate::print::PrintError;
use crate::resolve::Places;
use crate::resolve::Reports;
use crate::runner::Runner;
use crate::session::Session;
use crate::signals::EndSignals;
use crate::tell::tell;
use arrow::array::RecordBatch;
use coordinator::Receipt;
use engine::clock::{Stopwatch, process_cpu_time};
use engine::cost::US_EAST_1_ARM64;
use engine::settings::Settings;
use engine::{Error, ErrorKind};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sql::Tables;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Makes the tables if need be, and runs the queries.
///
/// # Errors
/// Usage and generation at once; failed queries and wrong answers when all have run.
pub(crate) fn run(settings: Settings, reports: Reports, args: &TpchArgs) -> Result<(), Failure> {
    let json = args.json.as_deref().map(json_file).transpose()?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(format!("./.owlet/tpch/sf{}", args.scale)));
    make_tables(&folder, args.scale, reports)?;
    let mut tables = Tables::default();
    tables.add_folder(&folder, &[])?;
    let session = Session::new(settings, tables, &Places::default(), reports)?;

    say(&headline(&session, args))?;
    say(&report::header())?;
    let mut outcomes = Vec::new();
    for number in chosen(args) {
        let outcome = run_query(&session, number, args)?;
        say(&outcome.line())?;
        outcomes.push(outcome);
    }
    say(&report::total(&outcomes))?;

    let failed = outcomes.iter().filter(|outcome| !outcome.is_good()).count();
    if args.check {
        say(&format!("{} passed, {failed} failed", outcomes.len() - failed))?;
    }
    if let Some(mut file) = json {
        let text = report::json(args.scale, session.settings(), &outcomes)?;
        writeln!(file, "{text}").and_then(|()| file.flush()).map_err(PrintError::from)?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Tpch { failed, total: outcomes.len() }),
    }
}

fn json_file(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|e| Failure::Usage(format!("--json: cannot write '{}': {e}", path.display())))
}

fn chosen(args: &TpchArgs) -> Vec<u8> {
    if args.queries.is_empty() { (1..=22).collect() } else { args.queries.clone() }
}

fn headline(session: &Session, args: &TpchArgs) -> String {
    let settings = session.settings();
    let place = match settings.workers {
        0 => "in one process".to_owned(),
        workers => format!("on {} of {} partitions", figures::counted(workers as u64, "worker"), settings.worker_partitions),
    };
    let repeat = if args.repeat > 1 { format!("; the fastest of {}", args.repeat) } else { String::new() };
    format!("TPC-H at scale {} {place}{repeat}; prices: {}", args.scale, US_EAST_1_ARM64.label)
}

/// One line of standard output.
fn say(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{line}").map_err(|e| PrintError::from(e).into())
}

/// Runs one query as often as asked.
///
/// # Errors
/// Only what ends the whole run: Ctrl-C.
fn run_query(session: &Session, number: u8, args: &TpchArgs) -> Result<Outcome, Failure> {
    let mut walls = Vec::new();
    let mut fastest: Option<Repeat> = None;
    for _ in 0..args.repeat {
        let repeat = match run_once(session, number) {
            Ok(repeat) => repeat,
            Err(Failure::Query(error)) if error.kind != ErrorKind::Cancelled => return Ok(Outcome::Failed(number, error)),
            Err(other) => return Err(other),
        };
        walls.push(repeat.wall);
        if fastest.as_ref().is_none_or(|fastest| repeat.wall < fastest.wall) {
            fastest = Some(repeat);
        }
    }
    let Some(fastest) = fastest else {
        return Ok(Outcome::Failed(number, Error::internal("no repeat was asked for")));
    };
    let verdict = args.check.then(|| check_answer(number, &fastest.batches));
    Ok(Outcome::Ran(Figures::new(number, &walls, fastest.cpu, &fastest.receipt), verdict))
}

struct Repeat {
    wall: Duration,
    cpu: Option<Duration>,
    batches: Vec<RecordBatch>,
    receipt: Receipt,
}

fn run_once(session: &Session, number: u8) -> Result<Repeat, Failure> {
    let text = sql(number).ok_or_else(|| Error::internal(format!("TPC-H query {number} has no text")))?;
    let cpu_before = process_cpu_time();
    let watch = Stopwatch::start();
    let mut statements = session.parse(&text)?.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(Error::internal(format!("TPC-H query {number} is not one statement")).into());
    };
    let (batches, receipt) = session.collect(statement)?;
    let wall = watch.elapsed();
    let cpu = process_cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Repeat { wall, cpu, batches, receipt })
}

/// Makes the tables in `folder` unless they are there, with a progress bar; Ctrl-C leaves nothing behind.
fn make_tables(folder: &Path, scale: f64, reports: Reports) -> Result<Generated, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::new(ErrorKind::LimitExceeded, format!("cannot start threads: {e}")))?;
    let stop = Arc::new(AtomicBool::new(false));
    let bar = bar(reports.progress);
    let watch = Stopwatch::start();
    let (own_folder, own_stop, own_bar) = (folder.to_owned(), Arc::clone(&stop), bar.clone());
    let made = runtime.block_on(async {
        let mut show = move |progress: Progress| show(&own_bar, &progress);
        let mut making = tokio::task::spawn_blocking(move || generate_until(&own_stop, &own_folder, scale, &mut show));
        let mut signals = EndSignals::listen();
        let joined = tokio::select! {
            joined = &mut making => joined,
            () = signals.heard() => {
                stop.store(true, Ordering::Relaxed);
                making.await
            }
        };
        joined.unwrap_or_else(|_| Err(GenerateError::Unfinished(folder.to_owned())))
    });
    bar.finish_and_clear();
    let made = match made {
        Err(_) if stop.load(Ordering::Relaxed) => return Err(Failure::Interrupted),
        Err(error @ (GenerateError::Scale(_) | GenerateError::Folder(_) | GenerateError::Occupied(_))) => {
            return Err(Failure::Usage(error.to_string()));
        }
        made => made?,
    };
    if made.fresh && reports.receipt && !reports.json {
        let (rows, bytes) = made.tables.iter().fold((0, 0), |(rows, bytes), table| (rows + table.rows, bytes + table.bytes));
        tell(format_args!(
            "made {} tables with {} rows in '{}': {} of Parquet in {}",
            made.tables.len(),
            figures::count(rows),
            folder.display(),
            figures::bytes(bytes),
            figures::seconds(watch.elapsed()),
        ));
    }
    Ok(made)
}

fn bar(shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("making the TPC-H tables {wide_bar} {percent}% {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr()).with_style(style)
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_length(progress.rows_total);
    bar.set_position(progress.rows_done);
    bar.set_message(progress.table);
}
