//! Text to a closed set of statements, within limits of size and depth.

mod command;
mod places;
mod query;
mod shown;
#[cfg(test)]
mod tests;
mod write;

pub use command::{Execute, ExplainFormat, ExplainOptions, ExplainType, Prepare};
pub use write::{CreateTableAs, Insert, PropertyValue, TableName, Unload};

use crate::dialect::tokens::{Tokens, statements};
use crate::parameters::{Parameter, with_parameters};
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{Query, Statement as AstStatement};
use engine::settings::Settings;
use engine::{Error, ErrorKind, Result};

pub(crate) use places::Places;
use query::parse_query;
pub(crate) use query::{REWRITTEN_DEPTH, parse_expression};
use shown::ShownNames;

/// What a text may measure.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of text.
    pub max_bytes: usize,
    /// Most levels of expressions and queries inside each other.
    pub max_depth: usize,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self { max_bytes: settings.max_sql_bytes, max_depth: settings.max_sql_depth }
    }
}

/// A statement that Owlet runs.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What to do with it.
    pub kind: StatementKind,
    /// What is planned: the query, without what is around it (`EXPLAIN`, `INSERT INTO ..`), or a `SHOW` or `DESCRIBE` that
    /// DataFusion reads; none for a statement without such.
    pub parsed: Option<ParsedStatement>,
    /// Its text, without comments around it and without the semicolon.
    pub text: String,
    /// What of the query's text is not in its tree.
    pub written: Written,
}

/// What a query's text has besides what it means.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub(crate) names: ShownNames,
    pub(crate) places: Places,
}

/// What a statement asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum StatementKind {
    /// Rows of a query.
    Rows,
    /// The plan of a query.
    Explain(ExplainOptions),
    /// The plan of a query after running it, with what each operator measured.
    ExplainAnalyze {
        /// With more of it.
        verbose: bool,
    },
    /// A new table with the rows of the query.
    CreateTableAs(CreateTableAs),
    /// The rows of the query appended to a table.
    Insert(Insert),
    /// The rows of the query as files.
    Unload(Unload),
    /// Another database for the statements that follow.
    Use {
        /// The catalog, where it is named.
        catalog: Option<String>,
        /// The database.
        database: String,
    },
    /// A statement to run later by its name.
    Prepare(Prepare),
    /// A prepared statement to run with parameters.
    Execute(Execute),
    /// A prepared statement to forget, by its name.
    Deallocate(String),
    /// A statement about databases, tables, partitions or views, which is in the text.
    Ddl,
}

impl Statement {
    /// Whether it holds a query.
    pub fn is_query(&self) -> bool {
        self.query().is_some()
    }

    /// The query that `parsed` holds.
    pub(crate) fn query(&self) -> Option<&Query> {
        match &self.parsed {
            Some(ParsedStatement::Statement(statement)) => match statement.as_ref() {
                AstStatement::Query(query) => Some(query),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Parses `sql` into its statements. Needs a deep stack (see `coordinator::deep_stack`) for deep input.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] with line and column for a syntax error or a statement that Owlet does not run;
/// [`ErrorKind::LimitExceeded`] for text or nesting over `limits`.
pub fn parse(sql: &str, limits: Limits) -> Result<Vec<Statement>> {
    check_size(sql, limits)?;
    statements(sql)?.iter().map(|tokens| classify(tokens, limits)).collect()
}

/// The statement of a prepared text with `values` in the places of its `?`.
///
/// # Errors
/// As [`parse`], and [`ErrorKind::InvalidQuery`] for a text of several statements or one that prepares or runs another, and for
/// values that do not fit.
pub fn parse_prepared(sql: &str, values: &[Parameter], limits: Limits) -> Result<Statement> {
    let mut found = parse(sql, limits)?;
    match (found.pop(), found.is_empty()) {
        (Some(statement), true) => {
            check_preparable(&statement.kind)?;
            with_parameters(statement, values)
        }
        _ => Err(Error::invalid("a prepared statement is one statement")),
    }
}

fn check_preparable(kind: &StatementKind) -> Result<()> {
    match kind {
        StatementKind::Rows | StatementKind::CreateTableAs(_) | StatementKind::Insert(_) | StatementKind::Unload(_) => Ok(()),
        _ => Err(Error::invalid("a prepared statement is a SELECT, INSERT INTO, CREATE TABLE AS or UNLOAD")),
    }
}

pub(crate) fn check_size(sql: &str, limits: Limits) -> Result<()> {
    if sql.len() <= limits.max_bytes {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("the SQL text has {} bytes; at most {} are allowed", sql.len(), limits.max_bytes),
    ))
}

fn classify(tokens: &Tokens<'_>, limits: Limits) -> Result<Statement> {
    let without_query = |kind| Statement { kind, parsed: None, text: tokens.source().to_string(), written: Written::default() };
    let first = tokens.word(0);
    match first.as_str() {
        "EXPLAIN" => command::explain(tokens, limits),
        "PREPARE" => Ok(without_query(command::prepare(tokens, limits)?)),
        "EXECUTE" => Ok(without_query(command::execute(tokens)?)),
        "DEALLOCATE" => Ok(without_query(command::deallocate(tokens)?)),
        "USE" => Ok(without_query(command::use_database(tokens)?)),
        "INSERT" => write::insert(tokens, limits),
        "UNLOAD" => write::unload(tokens, limits),
        "CREATE" if write::is_create_table_as(tokens) => write::create_table_as(tokens, limits),
        "CREATE" | "DROP" => command::ddl(tokens),
        "ALTER" | "MSCK" | "SHOW" | "DESCRIBE" | "DESC" => {
            Ok(Statement { parsed: command::shown(tokens), ..without_query(StatementKind::Ddl) })
        }
        _ => match command::refused(&first) {
            Some(why) => Err(tokens.not_supported(0, &why)),
            None if starts_query(tokens, 0) => with_query(StatementKind::Rows, tokens, tokens, limits),
            None => {
                Err(tokens.expected(0, "SELECT, WITH, VALUES, TABLE, EXPLAIN, INSERT, CREATE, DROP, ALTER, SHOW, DESCRIBE, …"))
            }
        },
    }
}

/// Whether a query starts at `index`.
fn starts_query(tokens: &Tokens<'_>, index: usize) -> bool {
    use datafusion::sql::sqlparser::tokenizer::Token;
    matches!(tokens.word(index).as_str(), "SELECT" | "WITH" | "VALUES" | "TABLE") || tokens.get(index) == Some(&Token::LParen)
}

/// The statement of `kind` over the query of `part`.
fn with_query(kind: StatementKind, all: &Tokens<'_>, part: &Tokens<'_>, limits: Limits) -> Result<Statement> {
    let (query, names) = parse_query(part, limits)?;
    let written = Written { names, places: Places::of(part) };
    let parsed = Some(ParsedStatement::Statement(Box::new(AstStatement::Query(query))));
    Ok(Statement { kind, parsed, text: all.source().to_string(), written })
}
