//! Results of queries as files of a table: all of them become visible, or none does.
//!
//! ```text
//! bind ─► WriteNode ─► plan and stages as any query ─► one row for each file in staging
//!                                                        │
//!            journal (the write has happened) ◄──────────┘
//!                 │
//!                 ▼
//!            catalog ─► files moved to their places ─► journal deleted ─► staging deleted
//! ```
//! A new table goes the other way: files moved, catalog, journal; see `staging.rs`.
//! What ends before the journal has changed nothing that a recovery does not take back; what ends after it is carried on by the next
//! one: [`Coordinator::recover_writes`]. While files are moved into a table that is there, a reader can see some of them.

mod entry;
mod recovery;
mod staging;
#[cfg(test)]
mod tests;

pub(crate) use self::entry::After;

use self::recovery::{ABANDONED_AFTER, LOST_AFTER, OpenWrite, Recovery};
use self::staging::Staging;
use crate::control::QueryControl;
use crate::query::{Coordinator, Query, SETTLE_TIME};
use crate::receipt::Receipt;
use crate::rows::cancelled;
use crate::workspace::{NamedCatalog, Workspace};
use datafusion::logical_expr::LogicalPlan;
use engine::ids::QueryId;
use engine::panic::caught;
use engine::write::{FileRow, WriteFolder, WriteNode, WriteSpec, below, parse_folder};
use engine::{Error, ErrorKind, Result};
use sql::Statement;
use sql::statement::StatementKind;
use std::collections::HashSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most files of one write: the journal names them all.
const MAX_FILES: usize = 100_000;

/// Files that a statement has written.
#[derive(Clone, Debug)]
pub struct WriteOutcome {
    /// The files, in order of their places.
    pub files: Vec<WrittenFile>,
    /// Their rows.
    pub rows: u64,
    /// Their size.
    pub bytes: u64,
    /// What it used.
    pub receipt: Receipt,
}

impl WriteOutcome {
    /// The files' URLs, one a line, as Athena's manifest of an `UNLOAD`, `CREATE TABLE AS` or `INSERT` has them.
    pub fn manifest(&self) -> String {
        self.files.iter().map(|file| format!("{}\n", file.url)).collect()
    }
}

/// One of the files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenFile {
    /// Where it is.
    pub url: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Names and values of its partition columns; none for NULL.
    pub partition_values: Vec<(String, Option<String>)>,
}

/// What [`Coordinator::recover_writes`] found of writes whose coordinators are gone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RecoveredWrites {
    /// Writes that had happened and are now whole.
    pub completed: u64,
    /// Writes that had not happened and of which nothing is left.
    pub removed: u64,
}

/// Whether staging may be emptied after a write that failed.
struct Failed {
    error: Error,
    keep_staging: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, keep_staging: false }
    }
}

impl Coordinator {
    /// Runs `statement`, which must be a query, and writes its rows as `spec` says.
    ///
    /// Dropping the future is as losing this process: the write has happened whole or not at all, and which of the two the next
    /// [`Self::recover_writes`] makes visible.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`] outside the setting `write_locations`, before any request; what is wrong with the query or the
    /// spec, before anything is written; what failed the query. Nothing is visible then and nothing is left, unless the message
    /// says that the write has happened.
    pub async fn write(
        &self,
        workspace: &Workspace,
        statement: &Statement,
        spec: &WriteSpec,
        control: &QueryControl,
    ) -> Result<WriteOutcome> {
        let run = self.start(control)?;
        // Asked before any request is made.
        if let Err(error) = run.writes().folder(&spec.location) {
            return Err(write_failed(&run, control, error));
        }
        if statement.kind != StatementKind::Rows {
            return Err(Error::invalid("only the rows of a query can be written"));
        }
        match Box::pin(caught("the query", run.bind(workspace, statement))).await {
            Ok(bound) => {
                let after = After::Nothing(workspace.named_catalog(run.registry())?);
                self.write_rows(run, bound.plan, spec, &after, control).await
            }
            Err(error) => Err(write_failed(&run, control, error)),
        }
    }

    /// Writes the rows of `plan` as `spec` says, and has `after` entered into the catalog.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) async fn write_rows(
        &self,
        mut run: Query,
        plan: LogicalPlan,
        spec: &WriteSpec,
        after: &After,
        control: &QueryControl,
    ) -> Result<WriteOutcome> {
        let staging = match run.writes().folder(&spec.location) {
            Ok(folder) => Staging::new(folder, run.id()),
            Err(error) => return Err(write_failed(&run, control, error)),
        };
        let (plan, open) = match caught("the query", run.prepare(plan, spec, after)).await {
            Ok(prepared) => prepared,
            Err(error) => return Err(write_failed(&run, control, error)),
        };
        let ended = CancellationToken::new();
        let writing = async {
            let settled = Box::pin(run.write_files(plan, spec, &staging, after, control)).await;
            ended.cancel();
            settled
        };
        let ((written, keep_open), ()) = tokio::join!(writing, open.keep(&ended));
        if !keep_open && let Err(error) = open.close().await {
            tracing::warn!(query_id = %run.id(), %error, "an open write was not closed");
        }
        match written {
            Ok(files) => outcome(&run, &staging.folder, files),
            Err(error) => Err(write_failed(&run, control, error)),
        }
    }

    /// Ends what writes to `location`, and lost ones to other places beside it, left when their coordinators were gone: a write that has
    /// happened is made visible whole, one that has not is removed. Each write does this first.
    ///
    /// A write is lost when its coordinator has not shown for five minutes that it lives.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`] outside the setting `write_locations`, and as the store.
    pub async fn recover_writes(&self, workspace: &Workspace, location: &str, control: &QueryControl) -> Result<RecoveredWrites> {
        let run = self.start(control)?;
        run.recovery(workspace.named_catalog(run.registry())?).run(location).await
    }

    /// Ends the write of `query`, if it has begun one: its coordinator is known to be lost.
    ///
    /// # Errors
    /// As the store and the catalog; the next write to the place tries again.
    pub async fn recover_lost(&self, workspace: &Workspace, query: QueryId) -> Result<RecoveredWrites> {
        let run = self.start(&QueryControl::new())?;
        let recovery = run.recovery(workspace.named_catalog(run.registry())?);
        let mut recovered = RecoveredWrites::default();
        for place in run.writes().roots() {
            recovered.count(recovery.run_lost(&place, query).await?);
        }
        Ok(recovered)
    }
}

impl Query {
    /// The plan of the write, in a place where nothing of lost ones is left, and shown to others.
    async fn prepare(&mut self, plan: LogicalPlan, spec: &WriteSpec, after: &After) -> Result<(LogicalPlan, OpenWrite)> {
        let logical = WriteNode::plan(plan, spec.clone(), self.id())?;
        self.recovery(after.catalog().cloned()).run(&spec.location).await?;
        let open = OpenWrite::begin(self.writes().root(&spec.location)?, &spec.location, self.id()).await?;
        Ok((logical, open))
    }

    fn recovery(&self, catalog: Option<NamedCatalog>) -> Recovery<'_> {
        // No coordinator outlives the time limit of its query.
        let limit = Duration::from_millis(self.settings().query_timeout_ms);
        let over_after = ABANDONED_AFTER.max(limit.saturating_mul(2));
        Recovery { writes: self.writes(), catalog, lost_after: LOST_AFTER, over_after }
    }

    /// The whole write; tells also whether something is left that a recovery has to end.
    async fn write_files(
        &mut self,
        plan: LogicalPlan,
        spec: &WriteSpec,
        staging: &Staging,
        after: &After,
        control: &QueryControl,
    ) -> (Result<Vec<FileRow>>, bool) {
        let written = match caught("the query", self.fill(plan, spec, staging)).await {
            Ok(files) => commit(staging, files, after, control).await,
            Err(error) => Err(error.into()),
        };
        // Attempts that were given up may still write: they are waited for before staging is emptied.
        if let Err(error) = self.clean_up().await {
            tracing::warn!(query_id = %self.id(), %error, "the exchange was not emptied");
        }
        self.writes().pending().settle(SETTLE_TIME).await;
        let (written, keep_staging) = match written {
            Ok(files) => (Ok(files), false),
            Err(failed) => (Err(failed.error), failed.keep_staging),
        };
        if keep_staging {
            return (written, true);
        }
        let swept = staging.sweep().await;
        if let Err(error) = &swept {
            tracing::warn!(query_id = %self.id(), %error, "staging was not emptied");
        }
        (written, swept.is_err())
    }

    /// Runs the query until its rows are in staging, and tells the files of accepted attempts.
    async fn fill(&mut self, plan: LogicalPlan, spec: &WriteSpec, staging: &Staging) -> Result<Vec<FileRow>> {
        if spec.must_be_empty {
            staging.claim().await?;
        }
        let opened = self.execute(plan, false).await?;
        let mut rows = self.rows(opened.stream);
        let mut files = Vec::new();
        while let Some(batch) = rows.next().await? {
            files.extend(FileRow::read(&batch)?);
            if files.len() > MAX_FILES {
                let message = format!("the write has more than {MAX_FILES} files: write larger ones, or less at a time");
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
        }
        let partitions: HashSet<&str> = files.iter().filter_map(|file| Some(file.path.rsplit_once('/')?.0)).collect();
        // A folder of a partition may be a link on disk.
        for partition in &partitions {
            self.writes().folder(&format!("{}/{partition}", spec.location.trim_end_matches('/')))?;
        }
        let writers = if spec.bucketed_by.is_some() { files.len() } else { partitions.len() };
        if writers > spec.max_open_partitions {
            return Err(spec.too_many_partitions());
        }
        if spec.must_be_empty {
            staging.refuse_files().await?;
        }
        Ok(files)
    }
}

fn write_failed(run: &Query, control: &QueryControl, error: Error) -> Error {
    control.failed.send_replace(Some(Box::new(run.receipt(0))));
    error
}

async fn commit(
    staging: &Staging,
    mut files: Vec<FileRow>,
    after: &After,
    control: &QueryControl,
) -> Result<Vec<FileRow>, Failed> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if control.cancel.is_cancelled() {
        return Err(cancelled().into());
    }
    if files.is_empty() {
        after.enter_empty(staging.query).await?;
        return Ok(files);
    }
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    after.check(&staging.folder, &paths)?;
    match staging.commit(paths, after).await {
        Ok(()) => Ok(files),
        Err(failed) => Err(Failed { keep_staging: failed.keep_staging, error: failed.error }),
    }
}

fn outcome(run: &Query, folder: &WriteFolder, files: Vec<FileRow>) -> Result<WriteOutcome> {
    let (rows, bytes) = (files.iter().map(|file| file.rows).sum(), files.iter().map(|file| file.bytes).sum());
    let receipt = Receipt { written_files: files.len() as u64, written_bytes: bytes, ..run.receipt(rows) };
    Ok(WriteOutcome { files: written(folder, &files)?, rows, bytes, receipt })
}

fn written(folder: &WriteFolder, files: &[FileRow]) -> Result<Vec<WrittenFile>> {
    let one = |file: &FileRow| {
        let folders = file.path.rsplit_once('/').map_or("", |(folders, _)| folders);
        let partition_values = folders.split('/').filter_map(parse_folder).collect();
        Ok(WrittenFile {
            url: folder.url_of(&below(&folder.base, &file.path)?),
            rows: file.rows,
            bytes: file.bytes,
            partition_values,
        })
    };
    files.iter().map(one).collect()
}
