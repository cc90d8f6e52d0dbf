//! Statements over a catalog, with Athena's answers.

mod alter;
mod create;
mod delta;
mod describe;
mod partitions;
mod repair;
mod show;
mod show_create;

pub use create::{check_written, table as external_table};

use super::statement::{DdlStatement, TableName};
use crate::catalog::delta::{is_delta, read_only};
use crate::catalog::names::check_name;
use crate::catalog::view::{ViewColumn, ViewDefinition};
use crate::catalog::{Catalog, CatalogError, Table, require_table};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use engine::storage::DataLocations;
use engine::{Error, Result};
use object_store::ObjectStore;
use std::fmt;
use std::sync::Arc;

/// How often a change is tried against others' changes.
const MAX_ATTEMPTS: usize = 20;

/// Gives the store of a location that was checked: `s3://bucket` or `file://`.
pub trait OpenStore: Send + Sync {
    /// The store.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn open(&self, store: &str) -> Result<Arc<dyn ObjectStore>>;
}

/// Plans a query without running it, for the columns of a view.
#[async_trait]
pub trait DescribeQuery: Send + Sync {
    /// The columns of `query`, whose unqualified names are in `database`, for the view `own` (its database and its name). Those
    /// that the query gives no name have an empty one.
    ///
    /// # Errors
    /// When the query cannot be planned, or reads the view itself.
    async fn columns(&self, query: &str, database: &str, own: (&str, &str)) -> Result<SchemaRef>;
}

/// What statements need besides the catalog.
#[derive(Clone, Copy)]
pub struct DdlContext<'a> {
    /// The database of unqualified names.
    pub database: &'a str,
    /// Folder in which databases without a location get one.
    pub warehouse: Option<&'a str>,
    /// The only locations that may be named, if there is such a list.
    pub locations: Option<&'a DataLocations>,
    /// Stores of locations.
    pub stores: &'a dyn OpenStore,
    /// Plans the queries of views.
    pub queries: &'a dyn DescribeQuery,
    /// Names that `SHOW FUNCTIONS` shows.
    pub functions: &'a [String],
}

impl fmt::Debug for DdlContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DdlContext").field("database", &self.database).finish_non_exhaustive()
    }
}

/// The answer to a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DdlOutcome {
    /// Name and Hive type of each column; none when the statement has no rows.
    ///
    /// As in Athena, the rows of DESCRIBE and SHOW TBLPROPERTIES are one value each, with tabs between the columns.
    pub columns: Vec<(String, String)>,
    /// The rows.
    pub rows: Vec<Vec<Option<String>>>,
    /// `DDL` or `UTILITY`.
    pub statement_type: &'static str,
    /// Such as `CREATE_TABLE`.
    pub substatement_type: &'static str,
}

/// Column names and lines of an answer.
struct Answer {
    columns: &'static [&'static str],
    lines: Vec<String>,
}

impl Answer {
    fn nothing() -> Self {
        Self { columns: &[], lines: Vec::new() }
    }

    fn new(columns: &'static [&'static str], lines: Vec<String>) -> Self {
        Self { columns, lines }
    }
}

/// Runs `statement`.
///
/// # Errors
/// With Athena's names in front of the message (`SCHEMA_NOT_FOUND`, `TABLE_NOT_FOUND`, `AlreadyExistsException`, ..).
pub async fn execute(statement: &DdlStatement, catalog: &dyn Catalog, context: &DdlContext<'_>) -> Result<DdlOutcome> {
    let run = Run { catalog, context };
    let answer = run.statement(statement).await?;
    let (statement_type, substatement_type) = statement.types();
    Ok(DdlOutcome {
        columns: answer.columns.iter().map(|name| (name.to_string(), "string".to_string())).collect(),
        rows: answer.lines.into_iter().map(|line| vec![Some(line)]).collect(),
        statement_type,
        substatement_type,
    })
}

#[derive(Clone, Copy)]
struct Run<'a> {
    catalog: &'a dyn Catalog,
    context: &'a DdlContext<'a>,
}

impl Run<'_> {
    async fn statement(&self, statement: &DdlStatement) -> Result<Answer> {
        match statement {
            DdlStatement::CreateDatabase { name, if_not_exists, comment, location, properties } => {
                self.create_database(name, *if_not_exists, comment.clone(), location.as_deref(), properties).await
            }
            DdlStatement::AlterDatabase { name, properties } => {
                self.catalog.set_database_properties(name, properties).await?;
                Ok(Answer::nothing())
            }
            DdlStatement::DropDatabase { name, if_exists, cascade } => {
                match self.catalog.drop_database(name, *cascade).await {
                    Err(CatalogError::NoDatabase(_)) if *if_exists => {}
                    outcome => outcome?,
                }
                Ok(Answer::nothing())
            }
            DdlStatement::CreateTable { name, if_not_exists, table } => self.create_table(name, *if_not_exists, table).await,
            DdlStatement::CreateView { name, or_replace, if_not_exists, columns, comment, query } => {
                let view = self.view(name, columns, query).await?;
                self.create_view(name, (*or_replace, *if_not_exists), &view, comment.clone()).await
            }
            DdlStatement::DropTable { name, if_exists } => self.drop(name, *if_exists, false).await,
            DdlStatement::DropView { name, if_exists } => self.drop(name, *if_exists, true).await,
            DdlStatement::AlterTable { name, alteration } => self.alter(name, alteration).await,
            DdlStatement::Repair(name) => self.repair(name).await,
            DdlStatement::ShowDatabases(pattern) => self.show_databases(pattern.as_ref()).await,
            DdlStatement::ShowTables { database, pattern } => self.show_tables(database.as_deref(), pattern.as_ref()).await,
            DdlStatement::ShowViews { database, pattern } => self.show_views(database.as_deref(), pattern.as_ref()).await,
            DdlStatement::ShowColumns(name) => self.show_columns(name).await,
            DdlStatement::ShowPartitions(name) => self.show_partitions(name).await,
            DdlStatement::ShowCreateTable(name) => self.show_create_table(name).await,
            DdlStatement::ShowCreateView(name) => self.show_create_view(name).await,
            DdlStatement::ShowProperties { name, key } => self.show_properties(name, key.as_deref()).await,
            DdlStatement::ShowFunctions(pattern) => Ok(self.show_functions(pattern.as_ref())),
            DdlStatement::Describe { name, extended, partition, column } => {
                self.describe(name, *extended, partition.as_ref(), column.as_deref()).await
            }
        }
    }

    fn database<'b>(&'b self, name: &'b TableName) -> &'b str {
        name.database.as_deref().unwrap_or(self.context.database)
    }

    async fn existing(&self, name: &TableName) -> Result<Table> {
        Ok(require_table(self.catalog, self.database(name), &name.name).await?)
    }

    /// The table, which is none of those that are only read.
    async fn table_only(&self, name: &TableName) -> Result<Table> {
        let table = self.any_table(name).await?;
        if is_delta(&table) {
            return Err(read_only(&table, "the statement"));
        }
        Ok(table)
    }

    /// The table, and not a view.
    async fn any_table(&self, name: &TableName) -> Result<Table> {
        let table = self.existing(name).await?;
        if table.is_view() {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: '{}' is a view, and the statement is for tables",
                table.full_name()
            )));
        }
        Ok(table)
    }

    async fn drop(&self, name: &TableName, if_exists: bool, is_view: bool) -> Result<Answer> {
        let database = self.database(name);
        match self.catalog.table(database, &name.name).await? {
            None if if_exists => return Ok(Answer::nothing()),
            None => {}
            Some(found) if found.is_view() != is_view => {
                let (is, other) = if is_view { ("table", "TABLE") } else { ("view", "VIEW") };
                return Err(Error::invalid(format!("'{}' is a {is}: use DROP {other}", found.full_name())));
            }
            Some(_) => {}
        }
        match self.catalog.drop_table(database, &name.name).await {
            Err(CatalogError::NoTable(..)) if if_exists => {}
            Err(CatalogError::NoTable(..)) => drop(self.existing(name).await?),
            outcome => outcome?,
        }
        Ok(Answer::nothing())
    }

    /// The view of `query`, with its columns as planning knows them.
    async fn view(&self, name: &TableName, names: &[String], query: &str) -> Result<ViewDefinition> {
        let own = (self.database(name), name.name.as_str());
        let schema = self.context.queries.columns(query, self.context.database, own).await?;
        if !names.is_empty() && names.len() != schema.fields().len() {
            let text = format!(
                "MISMATCHED_COLUMN_ALIASES: line 1:1: the view names {} columns and its query has {}",
                names.len(),
                schema.fields().len()
            );
            return Err(Error::invalid(text));
        }
        let mut columns: Vec<ViewColumn> = Vec::with_capacity(schema.fields().len());
        for (place, field) in schema.fields().iter().enumerate() {
            let name = names.get(place).cloned().unwrap_or_else(|| field.name().to_lowercase());
            if name.is_empty() {
                let at = place + 1;
                return Err(Error::invalid(format!("MISSING_COLUMN_NAME: line 1:1: Column name not specified at position {at}")));
            }
            if columns.iter().any(|known| known.name == name) {
                let text = format!("DUPLICATE_COLUMN_NAME: line 1:1: Column name '{name}' specified more than once");
                return Err(Error::invalid(text));
            }
            let (hive_type, trino_type) = create::view_types(&name, field.data_type())?;
            columns.push(ViewColumn { name, trino_type, hive_type });
        }
        let query = query.trim_start();
        // Names of columns are not part of the query: wrapping it gives them without a look into it.
        let original_sql = match names.is_empty() {
            true => query.to_string(),
            false => {
                let names: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
                format!("SELECT * FROM (\n{query}\n) AS \"_view\" ({})", names.join(", "))
            }
        };
        let catalog = crate::catalog::CATALOG_NAME.to_string();
        Ok(ViewDefinition { original_sql, catalog, schema: Some(self.context.database.to_string()), columns })
    }

    async fn create_view(
        &self,
        name: &TableName,
        (or_replace, if_not_exists): (bool, bool),
        view: &ViewDefinition,
        comment: Option<String>,
    ) -> Result<Answer> {
        check_name("view", &name.name)?;
        let new = view.table(self.database(name), &name.name, comment)?;
        for _ in 0..MAX_ATTEMPTS {
            match self.catalog.create_table(&new).await {
                Err(CatalogError::Exists(_)) if or_replace || if_not_exists => {}
                outcome => return Ok(outcome.map(|()| Answer::nothing())?),
            }
            let Some(old) = self.catalog.table(&new.database_name, &new.name).await? else { continue };
            if !old.is_view() {
                return Err(CatalogError::Exists(format!("Table {}", old.full_name())).into());
            }
            if !or_replace {
                return Ok(Answer::nothing());
            }
            match self.catalog.update_table(&Table { version: old.version, ..new.clone() }).await {
                Err(CatalogError::Changed(_) | CatalogError::NoTable(..)) => {}
                outcome => return Ok(outcome.map(|()| Answer::nothing())?),
            }
        }
        Err(CatalogError::Changed(format!("View {}", new.full_name())).into())
    }

    /// Changes a table by `change`, again when somebody else changed it meanwhile.
    async fn change(&self, name: &TableName, change: impl Fn(&mut Table) -> Result<()>) -> Result<Answer> {
        for _ in 0..MAX_ATTEMPTS {
            let mut table = self.table_only(name).await?;
            change(&mut table)?;
            match self.catalog.update_table(&table).await {
                Err(CatalogError::Changed(_)) => {}
                outcome => return Ok(outcome.map(|()| Answer::nothing())?),
            }
        }
        Err(CatalogError::Changed(format!("Table {}", name.name)).into())
    }
}

#[cfg(test)]
mod tests;
