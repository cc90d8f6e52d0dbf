//! `owlet queries`, `owlet cancel` and `owlet result`: what a server knows of its queries.

use crate::args::{QueriesArgs, StateArg};
use crate::failure::Failure;
use crate::output::{Destination, Style, print_rows};
use crate::print::{Format, Output, PrintError, RowPrinter};
use crate::progress::ProgressLine;
use crate::receipt::Account;
use crate::remote::RemoteSession;
use crate::remote::client::{Call, Client};
use crate::remote::query::{finished, follow};
use crate::remote::wire::{ListBody, Record, State};
use crate::resolve::OutputChoice;
use crate::tell::tell;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use coordinator::QueryControl;
use http::Method;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

/// Most queries that a server lists at once.
const PAGE_QUERIES: u32 = 200;
/// Characters of a statement in the list.
const LISTED_CHARACTERS: usize = 80;

/// Lists the queries of a server, or shows one.
///
/// # Errors
/// The server's error, else that of the output.
pub(crate) fn queries(session: &RemoteSession, args: &QueriesArgs, choice: &OutputChoice) -> Result<(), Failure> {
    let destination = Destination::open(choice)?;
    let (client, args) = (Arc::clone(&session.client), args.clone());
    let (control, line) = (QueryControl::new(), ProgressLine::hidden());
    let out = destination.writer()?;
    match args.id.clone() {
        Some(id) => {
            let work = async move { client.json::<Value>(&Call::new(Method::GET, format!("/v1/queries/{id}"))).await };
            let record = session.wait(&control, &line, work)?;
            show(record.get("query").unwrap_or(&record), choice.format, out)?;
        }
        None => {
            let records = session.wait(&control, &line, async move { list(&client, &args).await })?;
            let batch = table(&records).map_err(PrintError::from)?;
            let mut printer = RowPrinter::new(choice.format, batch.schema(), out)?;
            printer.write(&batch)?;
            printer.finish()?;
        }
    }
    destination.commit()
}

/// Cancels a query and waits until it has ended.
///
/// # Errors
/// The server's error.
pub(crate) fn cancel(session: &RemoteSession, id: String) -> Result<(), Failure> {
    let (control, line) = (QueryControl::new(), ProgressLine::new(session.reports.progress));
    let (client, own) = (Arc::clone(&session.client), control.clone());
    let record = session.wait(&control, &line, async move {
        let record = client.cancel(&id).await?;
        follow(&client, record, &own).await
    })?;
    tell(match record.state {
        State::Cancelled => format!("the query {} is cancelled", record.query_id),
        state => format!("the query {} had ended before: {}", record.query_id, state.name()),
    });
    Ok(())
}

/// Prints the stored result of a query, which is waited for.
///
/// # Errors
/// The query's error, the server's, else that of the output.
pub(crate) fn result(session: &RemoteSession, id: String, choice: &OutputChoice) -> Result<(), Failure> {
    let destination = Destination::open(choice)?;
    let (control, line) = (QueryControl::new(), ProgressLine::new(session.reports.progress));
    let to_clear = if destination.is_terminal() { line.clone() } else { ProgressLine::hidden() };
    let (client, own, out) = (Arc::clone(&session.client), control.clone(), destination.writer()?);
    let style = Style::Rows(choice.format);
    let account = session.wait(&control, &line, async move {
        let record = follow(&client, client.record(&id).await?, &own).await?;
        let mut finished = finished(&client, record).await?;
        print_rows(&mut finished.rows, style, out, to_clear, &own.cancel).await?;
        Ok(Account::read(finished.receipt))
    })?;
    account.report(session.reports);
    destination.commit()
}

/// The records that `args` asks for, newest first.
async fn list(client: &Client, args: &QueriesArgs) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    let mut before = None;
    let wanted = args.limit as usize;
    loop {
        let missing = u32::try_from(wanted - records.len()).unwrap_or(PAGE_QUERIES).min(PAGE_QUERIES);
        let mut path = format!("/v1/queries?limit={missing}");
        // Writing to a String does not fail.
        if let Some(state) = args.state {
            let _ = write!(path, "&state={}", wire_state(state).name());
        }
        if let Some(before) = &before {
            let _ = write!(path, "&before={before}");
        }
        let ListBody { queries, next } = client.json(&Call::new(Method::GET, path)).await?;
        records.extend(queries);
        if next.is_none() || next == before || records.len() >= wanted {
            records.truncate(wanted);
            return Ok(records);
        }
        before = next;
    }
}

fn wire_state(state: StateArg) -> State {
    match state {
        StateArg::Queued => State::Queued,
        StateArg::Running => State::Running,
        StateArg::Succeeded => State::Succeeded,
        StateArg::Failed => State::Failed,
        StateArg::Cancelled => State::Cancelled,
    }
}

/// The records as rows.
fn table(records: &[Record]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text =
        |value: &dyn Fn(&Record) -> Option<String>| -> ArrayRef { Arc::new(records.iter().map(value).collect::<StringArray>()) };
    let progress = |value: &dyn Fn(&Record) -> Option<u64>| -> UInt64Array { records.iter().map(value).collect() };
    let seconds: Float64Array = records.iter().map(elapsed_seconds).collect();
    let cost = |record: &Record| record.progress.as_ref().map(|progress| progress.cost_nano_usd as f64 / 1e9);
    let cost: Float64Array = records.iter().map(cost).collect();
    RecordBatch::try_from_iter([
        ("query_id", text(&|record| Some(record.query_id.clone()))),
        ("state", text(&|record| Some(record.state.name().to_owned()))),
        ("submitted_at", text(&|record| record.submitted_at.clone())),
        ("seconds", Arc::new(seconds) as ArrayRef),
        ("scanned_bytes", Arc::new(progress(&|record| record.progress.as_ref().map(|progress| progress.scanned_bytes)))),
        ("cost_usd", Arc::new(cost)),
        ("sql", text(&|record| Some(shortened(&record.sql)))),
    ])
}

/// Time from submission to the end, if it has ended.
fn elapsed_seconds(record: &Record) -> Option<f64> {
    let moment = |text: &Option<String>| string_to_timestamp_nanos(text.as_deref()?).ok();
    let nanoseconds = moment(&record.ended_at)?.checked_sub(moment(&record.submitted_at)?)?;
    // The server writes milliseconds.
    Some((nanoseconds / 1_000_000) as f64 / 1_000.0)
}

/// The statement in one short line.
fn shortened(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LISTED_CHARACTERS {
        return line;
    }
    line.chars().take(LISTED_CHARACTERS - 1).chain(['…']).collect()
}

/// One record: on one line where the format is one of lines, for people otherwise.
fn show(record: &Value, format: Format, mut out: Output) -> Result<(), Failure> {
    let text = match format {
        Format::Json | Format::Ndjson => record.to_string(),
        _ => format!("{record:#}"),
    };
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(PrintError::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn records_become_rows() -> Result<(), Box<dyn std::error::Error>> {
        let record: Record = serde_json::from_value(json!({
            "query_id": "q", "state": "SUCCEEDED", "sql": format!("SELECT\n  {}", "x".repeat(100)),
            "submitted_at": "2026-11-24T03:40:00.123Z", "ended_at": "2026-11-24T03:41:02.623Z",
            "progress": {"scanned_bytes": 5, "cost_nano_usd": 1_500},
        }))?;
        assert_eq!(elapsed_seconds(&record), Some(62.5));
        assert_eq!(shortened(&record.sql).chars().count(), LISTED_CHARACTERS);
        let batch = table(&[record])?;
        assert_eq!((batch.num_rows(), batch.num_columns()), (1, 7));
        Ok(())
    }
}
