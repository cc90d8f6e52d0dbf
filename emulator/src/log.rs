//! The log of one environment: the last bytes for the caller, each line for the sink.
use crate::config::LogSink;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, oneshot};

/// What `X-Amz-Log-Type: Tail` gives back, in bytes.
const TAIL_BYTES: usize = 4096;
/// Longest line that reaches the sink in one piece, in bytes (the limit of a CloudWatch event).
const MAX_LINE_BYTES: usize = 256 * 1024;
/// Bytes read from a process at once.
const READ_BYTES: usize = 8 * 1024;

/// Log of one environment.
pub(crate) struct Log {
    function: String,
    sink: Option<LogSink>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tail: VecDeque<u8>,
    /// The start of a line whose end was not read yet; only kept for the sink.
    line: Vec<u8>,
}

impl Log {
    pub(crate) fn new(function: &str, sink: Option<LogSink>) -> Arc<Self> {
        Arc::new(Self { function: function.to_owned(), sink, state: Mutex::default() })
    }

    /// Adds output of the process, or a platform line with its newline.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let excess = (state.tail.len() + kept.len()).saturating_sub(TAIL_BYTES);
        state.tail.drain(..excess);
        state.tail.extend(kept);
        let Some(sink) = &self.sink else { return };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            state.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || state.line.len() > MAX_LINE_BYTES {
                sink(&self.function, state.line.trim_ascii_end());
                state.line.clear();
            }
        }
    }

    /// Forgets the tail: the next invocation starts.
    pub(crate) fn clear(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tail.clear();
    }

    pub(crate) fn tail(&self) -> Vec<u8> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tail.iter().copied().collect()
    }
}

/// Asks [`pump`] to read what the process has written so far.
pub(crate) type Flush = oneshot::Sender<()>;

/// Copies the output of a process to its log until all writers are gone.
pub(crate) async fn pump(mut output: Receiver, log: Arc<Log>, mut flushes: mpsc::Receiver<Flush>) {
    let mut buffer = [0; READ_BYTES];
    loop {
        tokio::select! {
            // Reading first: a flush is answered only when nothing is left to read.
            biased;
            read = output.read(&mut buffer) => match read {
                Ok(length) if length > 0 => log.write(&buffer[..length]),
                _ => return,
            },
            Some(flush) = flushes.recv() => { let _ = flush.send(()); }
        }
    }
}

/// The numbers of a REPORT line.
pub(crate) struct Report<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) duration: Duration,
    pub(crate) billed_ms: u64,
    pub(crate) memory_mb: u64,
    pub(crate) max_memory_mb: u64,
    pub(crate) init: Option<Duration>,
}

impl std::fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(f, "REPORT RequestId: {}\tDuration: {:.2} ms\t", self.request_id, ms(self.duration))?;
        write!(f, "Billed Duration: {} ms\tMemory Size: {} MB\t", self.billed_ms, self.memory_mb)?;
        write!(f, "Max Memory Used: {} MB\t", self.max_memory_mb)?;
        match self.init {
            Some(init) => write!(f, "Init Duration: {:.2} ms\t", ms(init)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_4_kib_and_the_sink_gets_whole_lines() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let sink: LogSink = Arc::new(move |function, line| {
            let line = format!("{function}:{}", String::from_utf8_lossy(line));
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        });
        let log = Log::new("f", Some(sink));
        log.write(&vec![b'x'; 5000]);
        log.write(b"end\nhalf");
        let tail = log.tail();
        assert_eq!(tail.len(), TAIL_BYTES);
        assert!(tail.ends_with(b"xend\nhalf"));
        log.write(b" line\n");
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], "f:half line");
    }

    #[test]
    fn a_report_line_reads_as_lambdas() {
        let (duration, init) = (Duration::from_micros(12_340), Some(Duration::from_micros(30_120)));
        let report = Report { request_id: "X", duration, billed_ms: 43, memory_mb: 1769, max_memory_mb: 80, init };
        let expected = "REPORT RequestId: X\tDuration: 12.34 ms\tBilled Duration: 43 ms\tMemory Size: 1769 MB\t\
                        Max Memory Used: 80 MB\tInit Duration: 30.12 ms\t";
        assert_eq!(report.to_string(), expected);
    }
}
