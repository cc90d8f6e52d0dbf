//! Remote mode: statements run on a server that speaks the HTTP API (docs/http-api.md), and look as if they ran here.
//!
//! ```text
//! RemoteSession (a Runner) ─► query: submit, follow, stop ─► client: sign, send, try again ─► server
//!                                    └─► rows: first answer or pages ─► output ─► print
//! ```
//!
//! **Invariant:** a query is sent with one client token however often it is sent, so it runs once.
//!
//! **Invariant:** rows are counted against what the server promised; fewer are an error.

mod choice;
mod client;
mod commands;
#[cfg(test)]
mod fake;
mod fault;
mod measure;
mod query;
mod rows;
mod sign;
#[cfg(test)]
mod tests;
mod wire;

pub use choice::ServerChoice;
pub(crate) use choice::TOKEN_VARIABLE;
pub(crate) use commands::{cancel, queries, result};
pub(crate) use measure::Measured;

use crate::failure::Failure;
use crate::output::{Style, print_rows};
use crate::print::{Format, Output};
use crate::progress::ProgressLine;
use crate::receipt::Account;
use crate::resolve::Reports;
use crate::runner::{ColumnInfo, Runner};
use crate::runtimes::Runtimes;
use crate::session::{described, text_rows};
use crate::shell::SharedNames;
use crate::split::{first_word, split};
use arrow::array::RecordBatch;
use client::Client;
use coordinator::{QueryControl, on_deep_stack};
use engine::settings::Settings;
use query::RemoteQuery;
use sql::Limits;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Statements that show something else than the rows of a query, and so have no plan to show.
const WITHOUT_PLAN: [&str; 4] = ["EXPLAIN", "SHOW", "DESCRIBE", "DESC"];
const EXPLAIN: &str = "EXPLAIN ";

/// A server, and the threads that wait for it.
#[derive(Debug)]
pub(crate) struct RemoteSession {
    runtimes: Runtimes,
    client: Arc<Client>,
    identity: &'static str,
    timeout: Option<Duration>,
    /// The database that `--database` or `USE` chose.
    database: Mutex<Option<String>>,
    reports: Reports,
}

/// A statement for a server, and where it stands in what was typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RemoteStatement {
    sql: String,
    /// Lines before it.
    lines: usize,
    /// Characters before it in its first line, less those that were put in front of it.
    columns: isize,
}

impl RemoteStatement {
    /// `statement`, which must be a part of `text`.
    fn new(text: &str, statement: &str) -> Self {
        let start = statement.as_ptr() as usize - text.as_ptr() as usize;
        let before = text.get(..start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let columns = isize::try_from(line.chars().count()).unwrap_or_default();
        Self { sql: statement.to_owned(), lines: before.matches('\n').count(), columns }
    }

    fn begins_with(&self, words: &[&str]) -> bool {
        words.iter().any(|word| word.eq_ignore_ascii_case(first_word(&self.sql)))
    }

    /// The failure with its place in what was typed: the server knows the place in the statement.
    fn placed(&self, mut failure: Failure) -> Failure {
        if let Failure::Server { message, .. } = &mut failure
            && let Some((code, line, column, rest)) = place(message)
        {
            let columns = if line == 1 { self.columns } else { 0 };
            let column = column.saturating_add_signed(columns).max(1);
            *message = format!("{code}line {}:{column}: {rest}", line + self.lines);
        }
        failure
    }
}

/// Athena's name of the error with its colon, line, column and rest of a message such as `COLUMN_NOT_FOUND: line 1:8: no 'w'`;
/// the name may be missing.
fn place(message: &str) -> Option<(&str, usize, usize, &str)> {
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let named = message.find(": ").filter(|end| is_name(&message[..*end])).map_or(0, |end| end + 2);
    let (code, message) = message.split_at(named);
    let (place, rest) = message.strip_prefix("line ")?.split_once(": ")?;
    let (line, column) = place.split_once(':')?;
    Some((code, line.parse().ok()?, column.parse().ok()?, rest))
}

impl RemoteSession {
    /// Starts a thread for requests; sends none.
    ///
    /// # Errors
    /// When the system gives no thread or no certificates.
    pub(crate) fn new(choice: &ServerChoice, database: Option<String>, reports: Reports) -> Result<Self, Failure> {
        let client = Arc::new(Client::new(choice)?);
        let identity = client::identity(&choice.auth);
        Ok(Self {
            runtimes: Runtimes::without_compute()?,
            client,
            identity,
            timeout: choice.timeout,
            database: Mutex::new(database),
            reports,
        })
    }

    /// A server forgets what `USE` says: this session remembers it, when the server knows the database.
    fn use_database(&self, statement: &RemoteStatement, line: ProgressLine) -> Result<Account, Failure> {
        let name = statement.sql.trim_start().get("USE".len()..).unwrap_or_default();
        let name = name.trim().trim_end_matches(';').trim().to_lowercase();
        let look = format!("SHOW TABLES IN {name}");
        let receipt = self.run(look, line, |query, _| async move { Ok(query.run().await?.receipt) })?;
        let database = name.rsplit('.').next().unwrap_or_default().trim_matches(['"', '`']).to_string();
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(Account::read(receipt))
    }

    fn database(&self) -> Option<String> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `sql` and gives all its rows.
    fn collect(&self, sql: &str) -> Result<Vec<RecordBatch>, Failure> {
        let line = ProgressLine::new(self.reports.progress);
        self.run(sql.to_owned(), line, |query, _| async move { query.run().await?.rows.collect().await })
    }

    /// Runs `sql` through `work` on the query threads.
    fn run<T: Send + 'static, W: Future<Output = Result<T, Failure>> + Send + 'static>(
        &self,
        sql: String,
        line: ProgressLine,
        work: impl FnOnce(RemoteQuery, QueryControl) -> W,
    ) -> Result<T, Failure> {
        let control = QueryControl::new();
        let query = RemoteQuery::new(Arc::clone(&self.client), sql, self.timeout, control.clone()).in_database(self.database());
        let known = query.clone();
        let result = self.runtimes.run(&control, Duration::MAX, &line, work(query, control.clone()));
        result.map_err(|failure| match (failure, known.id()) {
            (Failure::Abandoned { .. }, Some(query)) => Failure::LeftRunning { query },
            (failure, _) => failure,
        })
    }

    /// Waits for `work` on the query threads; Ctrl-C cancels the control, and ends `work` wherever it is.
    fn wait<T: Send + 'static>(
        &self,
        control: &QueryControl,
        line: &ProgressLine,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let cancel = control.cancel.clone();
        self.runtimes.run(control, Duration::MAX, line, async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Failure::Interrupted),
                done = work => done,
            }
        })
    }
}

impl Runner for RemoteSession {
    type Statement = RemoteStatement;

    fn reports(&self) -> Reports {
        self.reports
    }

    fn parse(&self, sql: &str) -> Result<Vec<RemoteStatement>, Failure> {
        let statements = split(sql).all();
        if statements.len() > 1 {
            // A mistake in the last one is told before the first one runs. Of one statement the server tells it.
            let text = sql.to_owned();
            let parsing = async move { sql::parse(&text, Limits::from(&Settings::default())) };
            self.runtimes.queries()?.block_on(on_deep_stack(parsing))?;
        }
        Ok(statements.into_iter().map(|statement| RemoteStatement::new(sql, statement)).collect())
    }

    fn explained(&self, statement: RemoteStatement) -> RemoteStatement {
        if statement.begins_with(&WITHOUT_PLAN) {
            return statement;
        }
        let columns = statement.columns - EXPLAIN.len() as isize;
        RemoteStatement { sql: format!("{EXPLAIN}{}", statement.sql), columns, ..statement }
    }

    fn style(&self, statement: &RemoteStatement, format: Format) -> Style {
        match format {
            Format::Table if statement.begins_with(&["EXPLAIN"]) => Style::Lines,
            _ => Style::Rows(format),
        }
    }

    fn print(
        &self,
        statement: RemoteStatement,
        style: Style,
        out: Output,
        shares_screen: bool,
    ) -> Result<(Account, Output), Failure> {
        let line = ProgressLine::new(self.reports.progress);
        if statement.begins_with(&["USE"]) {
            return Ok((self.use_database(&statement, line)?, out));
        }
        let to_clear = if shares_screen { line.clone() } else { ProgressLine::hidden() };
        let printed = self.run(statement.sql.clone(), line, |query, control| async move {
            let mut finished = query.run().await?;
            let out = print_rows(&mut finished.rows, style, out, to_clear, &control.cancel).await?;
            Ok((Account::read(finished.receipt), out))
        });
        printed.map_err(|failure| statement.placed(failure))
    }

    fn greeting(&self) -> String {
        format!("queries run on {}, {}", self.client.place(), self.identity)
    }

    fn tables(&self) -> Result<Vec<(String, String)>, Failure> {
        let rows = text_rows::<1>(&self.collect("SHOW TABLES")?)?;
        Ok(rows.into_iter().map(|[name]| (name, "table".to_owned())).collect())
    }

    fn knows(&self, _: &str) -> bool {
        false
    }

    fn describe(&self, name: &str) -> Result<Vec<ColumnInfo>, Failure> {
        Ok(described(&self.collect(&format!("DESCRIBE {name}"))?)?)
    }

    fn workers(&mut self, _: Option<usize>) -> Result<usize, Failure> {
        Err(Failure::Usage("the server decides how many workers run a query".into()))
    }

    fn learn_names(&self, _: &SharedNames) -> Result<(), Failure> {
        // Asking a server costs money; \d asks it.
        Ok(())
    }
}
