//! Runs single statements for commands and the shell: on the query threads, watched over, cleaned up whatever happens.

use crate::failure::Failure;
use crate::local::Local;
use crate::output::{Style, print_rows};
use crate::print::Output;
use crate::progress::ProgressLine;
use crate::receipt;
use crate::resolve::Reports;
use crate::runtimes::Runtimes;
use crate::tell::tell;
use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use coordinator::{Coordinator, QueryControl, Receipt};
use engine::settings::Settings;
use engine::{Error, Result as EngineResult};
use sql::{Statement, Tables};
use std::sync::Arc;
use std::time::Duration;

/// Threads, coordinator, workers and tables.
#[derive(Debug)]
pub(crate) struct Session {
    // Dropped in this order: queries stop before their exchange goes.
    runtimes: Runtimes,
    local: Local,
    reports: Reports,
}

/// A column of a table, as `DESCRIBE` tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ColumnInfo {
    pub(crate) name: String,
    pub(crate) data_type: String,
    pub(crate) nullable: String,
}

impl Session {
    /// Starts threads and workers.
    ///
    /// # Errors
    /// [`Failure::Usage`] for settings that cannot be used.
    pub(crate) fn new(settings: Settings, tables: Tables, reports: Reports) -> Result<Self, Failure> {
        let runtimes = Runtimes::new()?;
        let local = Local::new(settings, tables, runtimes.compute()?)?;
        Ok(Self { runtimes, local, reports })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.local.settings
    }

    pub(crate) fn tables(&self) -> &Arc<Tables> {
        &self.local.tables
    }

    pub(crate) fn coordinator(&self) -> &Arc<Coordinator> {
        &self.local.coordinator
    }

    pub(crate) fn runtimes(&self) -> &Runtimes {
        &self.runtimes
    }

    pub(crate) fn reports(&self) -> Reports {
        self.reports
    }

    /// Starts over with another number of workers.
    ///
    /// # Errors
    /// As [`Self::new`]; the session goes on as it was.
    pub(crate) fn set_workers(&mut self, workers: usize) -> Result<(), Failure> {
        let settings = Settings { workers, ..self.local.settings.clone() };
        settings.validate().map_err(|e| Failure::Usage(e.message))?;
        self.local = Local::new(settings, Tables::clone(&self.local.tables), self.runtimes.compute()?)?;
        Ok(())
    }

    /// The statements of `sql`.
    ///
    /// # Errors
    /// Where the text is wrong.
    pub(crate) fn parse(&self, sql: &str) -> Result<Vec<Statement>, Failure> {
        let (coordinator, text) = (Arc::clone(self.coordinator()), sql.to_owned());
        let work = async move { Ok(coordinator.parse(&text).await?) };
        self.watch(&QueryControl::new(), &ProgressLine::hidden(), work)
    }

    /// Runs `statement` and prints its rows to `out`, which comes back. `shares_screen` says that progress would stand in
    /// the way of the rows.
    ///
    /// # Errors
    /// The query's error, else that of the output.
    pub(crate) fn print(
        &self,
        statement: Statement,
        style: Style,
        out: Output,
        shares_screen: bool,
    ) -> Result<(Receipt, Output), Failure> {
        let control = QueryControl::new();
        let line = ProgressLine::new(self.reports.progress);
        let to_clear = if shares_screen { line.clone() } else { ProgressLine::hidden() };
        let (coordinator, tables) = (Arc::clone(self.coordinator()), Arc::clone(self.tables()));
        let own = control.clone();
        let work = async move {
            let mut run = coordinator.run(&tables, &statement, &own).await?;
            let printed = print_rows(&mut run.rows, style, out, to_clear, &own.cancel).await;
            // Whatever happened to the rows, the exchange must be emptied.
            let finished = run.finish().await;
            let out = printed?;
            Ok((finished?, out))
        };
        self.watch(&control, &line, work)
    }

    /// Runs `statement` and gives all its rows.
    ///
    /// # Errors
    /// The query's error.
    pub(crate) fn collect(&self, statement: Statement) -> Result<(Vec<RecordBatch>, Receipt), Failure> {
        let control = QueryControl::new();
        let line = ProgressLine::new(self.reports.progress);
        let (coordinator, tables) = (Arc::clone(self.coordinator()), Arc::clone(self.tables()));
        let own = control.clone();
        let work = async move { Ok(collect_rows(&coordinator, &tables, &statement, &own).await?) };
        self.watch(&control, &line, work)
    }

    /// The columns of the table that `name` writes in SQL.
    ///
    /// # Errors
    /// When there is no such table, or it cannot be read.
    pub(crate) fn describe(&self, name: &str) -> Result<Vec<ColumnInfo>, Failure> {
        let (coordinator, tables, name) = (Arc::clone(self.coordinator()), Arc::clone(self.tables()), name.to_owned());
        let control = QueryControl::new();
        let own = control.clone();
        let work = async move { Ok(describe(&coordinator, &tables, &name, &own).await?) };
        self.watch(&control, &ProgressLine::new(self.reports.progress), work)
    }

    /// Tells what a query used, if that is wanted.
    pub(crate) fn report(&self, receipt: &Receipt) {
        match self.reports {
            Reports { receipt: false, .. } => {}
            Reports { json: true, .. } => match serde_json::to_string(receipt) {
                Ok(line) => tell(line),
                Err(error) => tell(format_args!("warning: the receipt cannot be written as JSON: {error}")),
            },
            _ => receipt::lines(receipt).into_iter().for_each(tell),
        }
    }

    /// Runs `work` on the query threads; names the exchange if it could not be cleaned.
    fn watch<T: Send + 'static>(
        &self,
        control: &QueryControl,
        line: &ProgressLine,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let limit = Duration::from_millis(self.settings().query_timeout_ms);
        self.runtimes.run(control, limit, line, work).map_err(|failure| match failure {
            Failure::Abandoned { .. } if self.settings().workers > 0 => {
                Failure::Abandoned { exchange: self.settings().exchange_url.clone() }
            }
            other => other,
        })
    }
}

async fn collect_rows(
    coordinator: &Coordinator,
    tables: &Tables,
    statement: &Statement,
    control: &QueryControl,
) -> EngineResult<(Vec<RecordBatch>, Receipt)> {
    let mut run = coordinator.run(tables, statement, control).await?;
    let batches = run.rows.collect().await;
    let finished = run.finish().await;
    let batches = batches?;
    Ok((batches, finished?))
}

/// The columns of the table that `name` writes in SQL.
///
/// # Errors
/// When there is no such table, or it cannot be read.
pub(crate) async fn describe(
    coordinator: &Coordinator,
    tables: &Tables,
    name: &str,
    control: &QueryControl,
) -> EngineResult<Vec<ColumnInfo>> {
    let mut columns = Vec::new();
    for statement in coordinator.parse(&format!("DESCRIBE {name}")).await? {
        let (batches, _) = collect_rows(coordinator, tables, &statement, control).await?;
        for batch in batches {
            let text = |column: usize, row: usize| match batch.columns().get(column) {
                Some(values) => array_value_to_string(values, row).map_err(|e| Error::internal(e.to_string())),
                None => Ok(String::new()),
            };
            for row in 0..batch.num_rows() {
                columns.push(ColumnInfo { name: text(0, row)?, data_type: text(1, row)?, nullable: text(2, row)? });
            }
        }
    }
    Ok(columns)
}
