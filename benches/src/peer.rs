//! A peer engine in a process of its own, asked one query at a time.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The DataFusion Python package over the same files, with two partitions.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `python` with the peer's script over the tables below `dir`.
    pub(crate) fn start(python: &Path, dir: &Path) -> Result<Self, std::io::Error> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/datafusion_peer.py");
        let mut child = Command::new(python).arg(script).arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || std::io::Error::other("the peer has no pipes");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self { child, input, output })
    }

    /// Runs `sql` and returns its wall time in milliseconds, measured in the peer.
    pub(crate) fn run(&mut self, sql: &str) -> Result<f64, std::io::Error> {
        writeln!(self.input, "{}", json!({ "sql": sql }))?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        answer["wall_ms"].as_f64().ok_or_else(|| std::io::Error::other(format!("the peer answered {line}")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends at the end of its input; there is nothing to do about one that does not.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
