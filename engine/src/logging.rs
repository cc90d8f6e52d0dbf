//! Logs of a function: one JSON object per line on standard error, panics included.

use std::io;
use tracing_subscriber::EnvFilter;

/// Environment variable that says what is logged, as in `OWLET_LOG=info,coordinator=debug`.
const LOG_VARIABLE: &str = "OWLET_LOG";
/// What is logged when nothing says so.
const DEFAULT_FILTER: &str = "warn,engine=info,coordinator=info,worker=info";

/// Sends logs to standard error, which Lambda keeps. Panics become log lines too, without a message for the user.
pub fn start() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_span_list(false);
    // A second start keeps the first.
    drop(lines.with_env_filter(filter).with_writer(io::stderr).try_init());
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(place, panic = text, "panicked");
    }));
}
