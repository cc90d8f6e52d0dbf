//! The signals that ask this process to end: Ctrl-C, and what service managers and closed terminals send.

use std::future::pending;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that end: interrupt, terminate, hangup.
#[derive(Debug)]
pub(crate) struct EndSignals {
    streams: Vec<Signal>,
}

impl EndSignals {
    /// Listens from now on; needs a tokio runtime. A signal that cannot be listened for ends the process, as it always does.
    pub(crate) fn listen() -> Self {
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        // Whoever started this with nohup wants it to go on.
        if !is_hangup_ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
            kinds.push(SignalKind::hangup());
        }
        Self { streams: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    /// The next one of them.
    pub(crate) async fn heard(&mut self) {
        let next = self.streams.iter_mut().map(|stream| Box::pin(async move { stream.recv().await.is_some() }));
        let next: Vec<_> = next.collect();
        if next.is_empty() || !futures::future::select_all(next).await.0 {
            pending::<()>().await;
        }
    }
}

/// Whether the process of this `/proc/self/status` was started with SIGHUP ignored.
fn is_hangup_ignored(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_heard_of() {
        assert!(is_hangup_ignored("Name:\towlet\nSigBlk:\t0\nSigIgn:\t0000000000001001\n"));
        assert!(!is_hangup_ignored("Name:\towlet\nSigIgn:\t0000000000001000\n"));
        assert!(!is_hangup_ignored(""));
    }
}
