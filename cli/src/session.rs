//! Runs single statements for commands and the shell: on the query threads, watched over, cleaned up whatever happens.

use crate::failure::Failure;
use crate::figures::counted;
use crate::local::Local;
use crate::output::{Style, print_rows};
use crate::print::{Format, Output};
use crate::progress::ProgressLine;
use crate::receipt::Account;
use crate::resolve::{Places, Reports};
use crate::runner::{ColumnInfo, Runner};
use crate::runtimes::Runtimes;
use crate::shell::{Names, SharedNames, quoted};
use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use coordinator::{Coordinator, QueryControl, Receipt, Workspace};
use engine::settings::Settings;
use engine::{Error, Result as EngineResult};
use sql::statement::ExplainOptions;
use sql::{Statement, StatementKind, Tables};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Tables whose columns are learned for completion before anybody asks; it costs a few requests each.
const LEARNED_TABLES: usize = 64;

/// Threads, coordinator, workers and tables.
#[derive(Debug)]
pub(crate) struct Session {
    // Dropped in this order: queries stop before their exchange goes.
    runtimes: Runtimes,
    local: Local,
    /// The database that `USE` chose.
    database: Arc<Mutex<Option<String>>>,
    reports: Reports,
}

impl Session {
    /// Starts threads and workers.
    ///
    /// # Errors
    /// [`Failure::Usage`] for settings that cannot be used.
    pub(crate) fn new(settings: Settings, tables: Tables, places: &Places, reports: Reports) -> Result<Self, Failure> {
        let runtimes = Runtimes::new()?;
        let local = Local::new(settings, tables, places, runtimes.compute()?)?;
        Ok(Self { runtimes, local, database: Arc::default(), reports })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.local.settings
    }

    /// What statements can name and change now.
    fn workspace(&self) -> Workspace {
        let chosen = self.database.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = self.local.workspace.clone();
        Workspace { database: chosen.unwrap_or(own.database), ..own }
    }

    fn coordinator(&self) -> &Arc<Coordinator> {
        &self.local.coordinator
    }

    /// Runs `statement` and gives all its rows.
    ///
    /// # Errors
    /// The query's error.
    pub(crate) fn collect(&self, statement: Statement) -> Result<(Vec<RecordBatch>, Receipt), Failure> {
        let control = QueryControl::new();
        let line = ProgressLine::new(self.reports.progress);
        let (coordinator, workspace) = (Arc::clone(self.coordinator()), self.workspace());
        let own = control.clone();
        let work = async move { Ok(collect_rows(&coordinator, &workspace, &statement, &own).await?) };
        self.watch(&control, &line, work)
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

impl Runner for Session {
    type Statement = Statement;

    fn reports(&self) -> Reports {
        self.reports
    }

    fn parse(&self, sql: &str) -> Result<Vec<Statement>, Failure> {
        let (coordinator, text) = (Arc::clone(self.coordinator()), sql.to_owned());
        let work = async move { Ok(coordinator.parse(&text).await?) };
        self.watch(&QueryControl::new(), &ProgressLine::hidden(), work)
    }

    fn explained(&self, mut statement: Statement) -> Statement {
        if statement.kind == StatementKind::Rows && statement.is_query() {
            statement.kind = StatementKind::Explain(ExplainOptions::default());
        }
        statement
    }

    fn style(&self, statement: &Statement, format: Format) -> Style {
        match (&statement.kind, format) {
            (StatementKind::Explain(_) | StatementKind::ExplainAnalyze { .. }, Format::Table) => Style::Lines,
            _ => Style::Rows(format),
        }
    }

    fn print(&self, statement: Statement, style: Style, out: Output, shares_screen: bool) -> Result<(Account, Output), Failure> {
        let control = QueryControl::new();
        let line = ProgressLine::new(self.reports.progress);
        let to_clear = if shares_screen { line.clone() } else { ProgressLine::hidden() };
        let (coordinator, workspace) = (Arc::clone(self.coordinator()), self.workspace());
        let own = control.clone();
        let database = Arc::clone(&self.database);
        let work = async move {
            let mut run = coordinator.run(&workspace, &statement, &own).await?;
            let printed = print_rows(&mut run.rows, style, out, to_clear, &own.cancel).await;
            // Whatever happened to the rows, the exchange must be emptied.
            let finished = run.finish().await;
            let out = printed?;
            let account = Account::of(&finished?);
            if let StatementKind::Use { database: name, .. } = statement.kind {
                *database.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
            }
            Ok((account, out))
        };
        self.watch(&control, &line, work)
    }

    fn greeting(&self) -> String {
        let tables = counted(self.local.workspace.tables.names().count() as u64, "table");
        match self.settings().workers {
            0 => format!("{tables}; queries run in one process"),
            workers => format!("{tables}; queries run on {}", counted(workers as u64, "worker")),
        }
    }

    fn tables(&self) -> Result<Vec<(String, String)>, Failure> {
        let tables = &self.local.workspace.tables;
        let location = |name: &str| tables.location(name).unwrap_or_default().to_owned();
        Ok(tables.names().map(|name| (name.to_owned(), location(name))).collect())
    }

    fn knows(&self, name: &str) -> bool {
        self.local.workspace.tables.location(name).is_some()
    }

    fn describe(&self, name: &str) -> Result<Vec<ColumnInfo>, Failure> {
        let (coordinator, workspace, name) = (Arc::clone(self.coordinator()), self.workspace(), name.to_owned());
        let control = QueryControl::new();
        let own = control.clone();
        let work = async move { Ok(describe(&coordinator, &workspace, &name, &own).await?) };
        self.watch(&control, &ProgressLine::new(self.reports.progress), work)
    }

    fn workers(&mut self, count: Option<usize>) -> Result<usize, Failure> {
        if let Some(workers) = count {
            let settings = Settings { workers, ..self.local.settings.clone() };
            settings.validate().map_err(|e| Failure::Usage(e.message))?;
            let write_locations = self.local.coordinator.settings().write_locations.clone();
            let writable = Settings { write_locations, ..settings.clone() };
            self.local = Local::with_workspace(settings, writable, self.local.workspace.clone(), self.runtimes.compute()?)?;
        }
        Ok(self.settings().workers)
    }

    /// Lets the query threads find out the columns of local tables.
    fn learn_names(&self, names: &SharedNames) -> Result<(), Failure> {
        let tables = Arc::clone(&self.local.workspace.tables);
        let known: Vec<String> = tables.names().map(str::to_owned).collect();
        // Tables elsewhere cost money to look at, so only those here are described unasked.
        let local = |name: &&String| tables.location(name).is_some_and(|location| !location.contains("://"));
        let learned: Vec<String> = known.iter().filter(local).take(LEARNED_TABLES).cloned().collect();
        *names.lock().unwrap_or_else(PoisonError::into_inner) = Names { tables: known, ..Names::default() };
        let (coordinator, workspace, names) = (Arc::clone(self.coordinator()), self.workspace(), Arc::clone(names));
        // Ends with the query threads; nobody waits for it.
        drop(self.runtimes.queries()?.spawn(async move {
            for name in learned {
                let described = describe(&coordinator, &workspace, &quoted(&name), &QueryControl::new()).await;
                // A table that cannot be read is told when it is queried.
                if let Ok(columns) = described {
                    let columns = columns.into_iter().map(|column| column.name).collect();
                    names.lock().unwrap_or_else(PoisonError::into_inner).columns.insert(name, columns);
                }
            }
        }));
        Ok(())
    }
}

async fn collect_rows(
    coordinator: &Coordinator,
    workspace: &Workspace,
    statement: &Statement,
    control: &QueryControl,
) -> EngineResult<(Vec<RecordBatch>, Receipt)> {
    let mut run = coordinator.run(workspace, statement, control).await?;
    let batches = run.rows.collect().await;
    let finished = run.finish().await;
    let batches = batches?;
    Ok((batches, finished?))
}

/// The columns of the table that `name` writes in SQL.
async fn describe(
    coordinator: &Coordinator,
    workspace: &Workspace,
    name: &str,
    control: &QueryControl,
) -> EngineResult<Vec<ColumnInfo>> {
    let mut columns = Vec::new();
    for statement in coordinator.parse(&format!("DESCRIBE {name}")).await? {
        let (batches, _) = collect_rows(coordinator, workspace, &statement, control).await?;
        columns.extend(described(&batches)?);
    }
    Ok(columns)
}

/// The columns that the rows of `DESCRIBE` tell.
///
/// # Errors
/// For rows of another form.
pub(crate) fn described(batches: &[RecordBatch]) -> EngineResult<Vec<ColumnInfo>> {
    let rows = text_rows::<3>(batches)?;
    // What follows an empty line tells of partitions.
    let rows = rows.into_iter().take_while(|[name, ..]| !name.is_empty());
    Ok(rows.map(|[name, data_type, nullable]| ColumnInfo { name, data_type, nullable }).collect())
}

/// The first `N` columns of all rows as text; missing ones are empty.
///
/// # Errors
/// For values that have no text.
pub(crate) fn text_rows<const N: usize>(batches: &[RecordBatch]) -> EngineResult<Vec<[String; N]>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let mut texts = [const { String::new() }; N];
            for (text, values) in texts.iter_mut().zip(batch.columns()) {
                *text = array_value_to_string(values, row).map_err(|e| Error::internal(e.to_string()))?;
            }
            rows.push(texts);
        }
    }
    Ok(rows)
}
