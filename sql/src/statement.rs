//! Text to a closed set of statements, within limits of size and depth.

use crate::message;
use datafusion::sql::parser::{DFParserBuilder, Statement as ParsedStatement};
use datafusion::sql::sqlparser::ast::{self, Expr, Query, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use engine::settings::Settings;
use engine::{Error, ErrorKind, Result};
use std::ops::ControlFlow;

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
    /// The query, without `EXPLAIN` in front.
    pub parsed: ParsedStatement,
}

/// What a statement asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatementKind {
    /// Rows of a query, or of `SHOW` and `DESCRIBE`.
    Rows,
    /// The plan of a query.
    Explain,
    /// The plan of a query after running it, with what each operator measured.
    ExplainAnalyze,
}

/// Parses `sql` into its statements. Needs a deep stack (see `coordinator::deep_stack`) for deep input.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] with line and column for a syntax error or a statement that Owlet does not run;
/// [`ErrorKind::LimitExceeded`] for text or nesting over `limits`.
pub fn parse(sql: &str, limits: Limits) -> Result<Vec<Statement>> {
    if sql.len() > limits.max_bytes {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("the SQL text has {} bytes; at most {} are allowed", sql.len(), limits.max_bytes),
        ));
    }
    let dialect = GenericDialect {};
    let parsed = DFParserBuilder::new(sql).with_dialect(&dialect).build().and_then(|mut parser| parser.parse_statements());
    let parsed = parsed.map_err(|error| message::syntax_error(&error, sql))?;
    parsed.into_iter().map(|statement| classify(statement, limits)).collect()
}

fn classify(parsed: ParsedStatement, limits: Limits) -> Result<Statement> {
    match parsed {
        ParsedStatement::Explain(explain) => {
            if explain.options.format.is_some() {
                return Err(Error::invalid("EXPLAIN has one format here: leave FORMAT out"));
            }
            let kind = if explain.options.analyze { StatementKind::ExplainAnalyze } else { StatementKind::Explain };
            let inner = classify(*explain.statement, limits)?;
            match inner.kind {
                StatementKind::Rows => Ok(Statement { kind, parsed: inner.parsed }),
                _ => Err(Error::invalid("EXPLAIN of EXPLAIN: name the query itself")),
            }
        }
        ParsedStatement::Statement(statement) => {
            let statement = check(*statement, limits)?;
            Ok(Statement { kind: StatementKind::Rows, parsed: ParsedStatement::Statement(Box::new(statement)) })
        }
        ParsedStatement::CreateExternalTable(_) => Err(refused("CREATE EXTERNAL TABLE")),
        ParsedStatement::CopyTo(_) => Err(refused("COPY")),
        ParsedStatement::Reset(_) => Err(refused("RESET")),
    }
}

fn check(statement: ast::Statement, limits: Limits) -> Result<ast::Statement> {
    match &statement {
        ast::Statement::Query(_)
        | ast::Statement::ShowTables { .. }
        | ast::Statement::ShowColumns { .. }
        | ast::Statement::ExplainTable { .. } => {}
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            return Err(refused(&words.join(" ").to_uppercase()));
        }
    }
    let mut depth = Depth { now: 0, deepest: 0, limit: limits.max_depth };
    match statement.visit(&mut depth) {
        ControlFlow::Continue(()) => Ok(statement),
        ControlFlow::Break(()) => {
            // Dropping a deep tree needs as much stack as walking it, and this thread has it.
            drop(statement);
            Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the statement nests more than {} levels deep (a chain of operators counts one level each); \
                     write a chain of OR as IN (...), or split the statement",
                    limits.max_depth
                ),
            ))
        }
    }
}

fn refused(what: &str) -> Error {
    Error::invalid(format!(
        "{what} is not supported yet: Owlet runs SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, SHOW COLUMNS and DESCRIBE"
    ))
}

struct Depth {
    now: usize,
    deepest: usize,
    limit: usize,
}

impl Depth {
    fn enter(&mut self) -> ControlFlow<()> {
        self.now += 1;
        self.deepest = self.deepest.max(self.now);
        if self.now > self.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn leave(&mut self) -> ControlFlow<()> {
        self.now -= 1;
        ControlFlow::Continue(())
    }
}

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.enter()
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.leave()
    }

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.enter()
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.leave()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_bytes: 1_000, max_depth: 20 };

    fn kinds(sql: &str) -> Result<Vec<StatementKind>> {
        Ok(parse(sql, LIMITS)?.into_iter().map(|statement| statement.kind).collect())
    }

    #[test]
    fn statements_are_told_apart() -> Result<()> {
        use StatementKind::{Explain, ExplainAnalyze, Rows};
        assert_eq!(
            kinds("SELECT 1; EXPLAIN SELECT 1; explain analyze select 1; SHOW TABLES;")?,
            [Rows, Explain, ExplainAnalyze, Rows]
        );
        assert_eq!(kinds(" ; -- nothing\n")?, []);
        Ok(())
    }

    #[test]
    fn writing_and_settings_are_refused_by_name() {
        for sql in [
            "CREATE TABLE t (a int)",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "INSERT INTO t VALUES (1)",
            "SET datafusion.runtime.memory_limit = '900G'",
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            "DROP TABLE t",
            "EXPLAIN INSERT INTO t VALUES (1)",
        ] {
            let first = sql.trim_start_matches("EXPLAIN ").split(' ').next().unwrap_or_default();
            assert!(kinds(sql).is_err_and(|e| e.message.starts_with(first) && e.message.contains("not supported")), "{sql}");
        }
    }

    #[test]
    fn syntax_errors_have_a_position() {
        assert!(kinds("SELECT 1\nFROM t WHERE").is_err_and(|e| e.message.starts_with("line 2:")));
    }

    #[test]
    fn size_and_depth_are_limited_at_the_boundary() {
        let chain = |terms: usize| format!("SELECT {}", vec!["1"; terms].join("+"));
        // One level for the query, and one per nested operator and operand.
        assert!(kinds(&chain(19)).is_ok());
        assert!(kinds(&chain(20)).is_err_and(|e| e.kind == ErrorKind::LimitExceeded));
        assert!(kinds(&format!("SELECT 1{}", " ".repeat(992))).is_ok());
        assert!(kinds(&format!("SELECT 1{}", " ".repeat(993))).is_err_and(|e| e.kind == ErrorKind::LimitExceeded));
    }
}
