//! The only place that writes messages to standard error; a message that cannot be written is lost on purpose.

use crate::args::StatsFormat;
use crate::failure::Failure;
use crate::print::{PrintError, one_line};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::EnvFilter;

/// Environment variable that turns logs on, as in `OWLET_LOG=coordinator=debug`.
const LOG_VARIABLE: &str = "OWLET_LOG";

/// Writes one line to standard error.
pub(crate) fn tell(line: impl Display) {
    // There is nowhere left to say that standard error is gone.
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Sends `codes` to the terminal as they are.
pub(crate) fn draw(codes: &str) {
    let mut screen = io::stderr().lock();
    drop(screen.write_all(codes.as_bytes()).and_then(|()| screen.flush()));
}

/// Says why a command ended; nothing when only the reader of the output went away.
pub fn tell_failure(failure: &Failure, stats: Option<StatsFormat>) {
    match (failure, stats) {
        (Failure::Print(PrintError::BrokenPipe), _) => {}
        (failure, Some(StatsFormat::Json)) => {
            tell(serde_json::json!({ "error": { "kind": failure.kind(), "message": failure.to_string() } }));
        }
        (failure, None) => tell(format_args!("error: {}", one_line(&failure.to_string()))),
    }
}

/// Sends logs to standard error if `OWLET_LOG` asks for them: lines of JSON for a server, with colours for a person.
pub fn start_logging(is_server: bool) {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("off"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match is_server {
        true => logs.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        false => logs.with_ansi(io::stderr().is_terminal()).try_init(),
    };
    if let Err(error) = started {
        tell(format_args!("warning: no logs: {error}"));
    }
}
