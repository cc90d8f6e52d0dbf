//! Moves rows from a running query to where they go: standard output, or a file that appears only when it is complete.

use crate::failure::Failure;
use crate::print::{Format, Output, PrintError, RowPrinter};
use crate::progress::ProgressLine;
use crate::resolve::OutputChoice;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use coordinator::Rows;
use engine::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Batches that wait for a slow reader of the output.
const WAITING_BATCHES: usize = 2;
/// What the system's own rule for new files starts from, before the user's mask.
#[cfg(unix)]
const NEW_FILE_MODE: u32 = 0o666;

/// How the rows of one statement are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// In a format for rows.
    Rows(Format),
    /// The first column as bare lines: plans.
    Lines,
}

/// Where the rows of a command go.
#[derive(Debug)]
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// A file beside `target`, renamed to it when it is complete.
    Pending {
        /// The file so far.
        file: NamedTempFile,
        /// Its name in the end.
        target: PathBuf,
    },
    /// Something that is no plain file (a device, a pipe) and cannot be renamed over.
    Special(File),
}

impl Destination {
    /// Opens what `choice` names.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the file cannot be written.
    pub(crate) fn open(choice: &OutputChoice) -> Result<Self, Failure> {
        let Some(path) = &choice.file else { return Ok(Self::Stdout) };
        let unusable = |e: io::Error| Failure::Usage(format!("cannot write the output file '{}': {e}", path.display()));
        // Writes through a link, instead of putting a file in its place.
        let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        match std::fs::metadata(&target) {
            Ok(found) if found.is_dir() => Err(Failure::Usage(format!("the output file '{}' is a folder", path.display()))),
            Ok(found) if !found.is_file() => {
                let file = OpenOptions::new().write(true).open(&target).map_err(unusable)?;
                Ok(Self::Special(file))
            }
            _ => Ok(Self::Pending { file: pending(&target).map_err(unusable)?, target }),
        }
    }

    /// A writer to it.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn writer(&self) -> Result<Output, Failure> {
        let file = match self {
            Self::Stdout => return Ok(Box::new(io::stdout())),
            Self::Pending { file, .. } => file.as_file().try_clone(),
            Self::Special(file) => file.try_clone(),
        };
        Ok(Box::new(BufWriter::new(file.map_err(PrintError::from)?)))
    }

    /// Gives the file its name; writers must have been flushed.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn commit(self) -> Result<(), Failure> {
        match self {
            Self::Stdout | Self::Special(_) => Ok(()),
            Self::Pending { file, target } => {
                file.persist(target).map_err(|e| PrintError::from(e.error))?;
                Ok(())
            }
        }
    }

    /// Whether rows and progress would land on the same screen.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Stdout) && io::stdout().is_terminal()
    }
}

fn pending(target: &Path) -> io::Result<NamedTempFile> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no folder '{}'", folder.display())));
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.");
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(&prefix);
    #[cfg(unix)]
    let builder = {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(NEW_FILE_MODE))
    };
    builder.tempfile_in(folder)
}

/// Rows that come batch by batch: from a query in this process, or from a server.
pub(crate) trait RowSource: Send {
    /// Their columns.
    fn schema(&self) -> SchemaRef;

    /// The next batch; none at the end of a complete result.
    fn next(&mut self) -> impl Future<Output = Result<Option<RecordBatch>, Failure>> + Send;
}

impl RowSource for Rows {
    fn schema(&self) -> SchemaRef {
        Rows::schema(self)
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        Ok(Rows::next(self).await?)
    }
}

enum Feed {
    Batch(RecordBatch),
    /// The query has succeeded: what was written can be closed.
    End,
}

/// Prints `rows` to `out` on a thread of its own, so that a reader who stops reading never stops a query thread.
///
/// `line` is cleared before the first row. Gives `out` back.
///
/// # Errors
/// The query's error, else the printer's; after either, the output is not closed.
pub(crate) async fn print_rows(
    rows: &mut impl RowSource,
    style: Style,
    out: Output,
    line: ProgressLine,
    cancel: &CancellationToken,
) -> Result<Output, Failure> {
    let (feed, received) = mpsc::channel(WAITING_BATCHES);
    let schema = rows.schema();
    let printing = tokio::task::spawn_blocking(move || print(style, schema, out, received, &line));
    let fed = feed_rows(rows, feed, cancel).await;
    let printed = tokio::select! {
        // A blocked printer is left behind.
        () = cancel.cancelled() => return Err(fed.err().unwrap_or_else(cancelled)),
        printed = printing => printed,
    };
    fed?;
    match printed {
        Ok(Ok(Some(out))) => Ok(out),
        Ok(Ok(None)) => Err(Error::internal("the printer was not told the end").into()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Error::internal("the printer panicked").into()),
    }
}

fn cancelled() -> Failure {
    Error::new(engine::ErrorKind::Cancelled, "the query was cancelled").into()
}

/// Hands every batch on; stops without an error when the printer has stopped.
async fn feed_rows(rows: &mut impl RowSource, feed: mpsc::Sender<Feed>, cancel: &CancellationToken) -> Result<(), Failure> {
    loop {
        let (next, last) = match rows.next().await? {
            Some(batch) => (Feed::Batch(batch), false),
            None => (Feed::End, true),
        };
        let sent = tokio::select! {
            () = cancel.cancelled() => return Err(cancelled()),
            sent = feed.send(next) => sent,
        };
        if last || sent.is_err() {
            return Ok(());
        }
    }
}

fn print(
    style: Style,
    schema: SchemaRef,
    out: Output,
    mut received: mpsc::Receiver<Feed>,
    line: &ProgressLine,
) -> Result<Option<Output>, PrintError> {
    // A statement that only does something has nothing to show, not even a frame.
    let is_empty = schema.fields().is_empty();
    let mut printer = match style {
        Style::Rows(Format::Table | Format::Csv | Format::Tsv) if is_empty => Printer::Lines(out),
        Style::Rows(format) => Printer::Rows(RowPrinter::new(format, schema, out)?),
        Style::Lines => Printer::Lines(out),
    };
    while let Some(next) = received.blocking_recv() {
        line.clear();
        match next {
            Feed::Batch(batch) => printer.write(&batch)?,
            Feed::End => return printer.finish().map(Some),
        }
    }
    Ok(None)
}

enum Printer {
    Rows(RowPrinter),
    Lines(Output),
}

impl Printer {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), PrintError> {
        match self {
            Self::Rows(printer) => printer.write(batch),
            Self::Lines(out) => {
                let Some(column) = batch.columns().first() else { return Ok(()) };
                for row in 0..batch.num_rows() {
                    writeln!(out, "{}", array_value_to_string(column, row)?)?;
                }
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Output, PrintError> {
        match self {
            Self::Rows(printer) => printer.finish(),
            Self::Lines(mut out) => {
                out.flush()?;
                Ok(out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(path: &Path) -> OutputChoice {
        OutputChoice { format: Format::Csv, file: Some(path.to_owned()) }
    }

    #[test]
    fn a_file_appears_when_it_is_complete_and_only_then() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "old")?;
        let given_up = Destination::open(&choice(&path))?;
        given_up.writer()?.write_all(b"half")?;
        drop(given_up);
        assert_eq!(std::fs::read_to_string(&path)?, "old");

        let complete = Destination::open(&choice(&path))?;
        let mut out = complete.writer()?;
        out.write_all(b"new")?;
        out.flush()?;
        complete.commit()?;
        assert_eq!(std::fs::read_to_string(&path)?, "new");
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_folder_or_a_missing_folder_is_a_usage_error() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        for path in [folder.path().to_owned(), folder.path().join("none/rows.csv")] {
            assert!(matches!(Destination::open(&choice(&path)), Err(Failure::Usage(_))), "{}", path.display());
        }
        Ok(())
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() -> Result<(), Failure> {
        let null = Destination::open(&choice(Path::new("/dev/null")))?;
        assert!(matches!(null, Destination::Special(_)));
        Ok(())
    }
}
