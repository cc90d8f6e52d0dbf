//! Statements around statements, and those that go elsewhere or nowhere.

use super::write::{name_part, table_name};
use super::{Limits, Statement, StatementKind, Written, check_preparable, classify, with_query};
use crate::dialect::tokens::Tokens;
use datafusion::sql::parser::{DFParserBuilder, Statement as ParsedStatement};
use datafusion::sql::sqlparser::ast::Statement as AstStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::Token;
use engine::Result;

/// What `EXPLAIN` shows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ExplainOptions {
    /// Which plan.
    pub of: ExplainType,
    /// In which form.
    pub format: ExplainFormat,
}

/// `TYPE` of an `EXPLAIN`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ExplainType {
    /// The plan as it would run; also when nothing is said.
    #[default]
    Distributed,
    /// The plan before it is distributed.
    Logical,
    /// Only whether the statement can be planned.
    Validate,
    /// What is read and written.
    Io,
}

/// `FORMAT` of an `EXPLAIN`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ExplainFormat {
    /// Lines.
    #[default]
    Text,
    /// JSON.
    Json,
    /// The DOT language.
    Graphviz,
}

/// `PREPARE name FROM statement`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepare {
    /// The name, in lower case.
    pub name: String,
    /// The text of the statement, which has been parsed once.
    pub sql: String,
}

/// `EXECUTE name USING ..` or `EXECUTE IMMEDIATE 'statement' USING ..`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Execute {
    /// A prepared statement.
    Named {
        /// Its name, in lower case.
        name: String,
        /// The texts of its parameters, for [`crate::Parameter::parse`].
        parameters: Vec<String>,
    },
    /// A statement at hand.
    Immediate {
        /// Its text.
        sql: String,
        /// The texts of its parameters, for [`crate::Parameter::parse`].
        parameters: Vec<String>,
    },
}

pub(super) fn explain(tokens: &Tokens<'_>, limits: Limits) -> Result<Statement> {
    let is_analyze = tokens.word(1) == "ANALYZE";
    let mut at = if is_analyze { 2 } else { 1 };
    let verbose = is_analyze && tokens.word(at) == "VERBOSE";
    at += usize::from(verbose);
    let mut options = ExplainOptions::default();
    if tokens.get(at) == Some(&Token::LParen) && matches!(tokens.word(at + 1).as_str(), "TYPE" | "FORMAT") {
        at = explain_options(tokens, at + 1, &mut options)?;
    }
    if is_analyze && options.of != ExplainType::Distributed {
        return Err(tokens.not_supported(1, "TYPE with EXPLAIN ANALYZE"));
    }
    if is_analyze && options.format != ExplainFormat::Text {
        return Err(tokens.not_supported(1, "EXPLAIN ANALYZE in another format than TEXT"));
    }
    if tokens.word(at) == "EXPLAIN" {
        return Err(tokens.expected(at, "a query"));
    }
    let part = tokens.part(at, tokens.len());
    if part.len() == 0 {
        return Err(tokens.expected(at, "a query"));
    }
    let inner = classify(&part, limits)?;
    if inner.kind != StatementKind::Rows {
        return Err(tokens.not_supported(at, "EXPLAIN of anything but a query"));
    }
    let kind = if is_analyze { StatementKind::ExplainAnalyze { verbose } } else { StatementKind::Explain(options) };
    Ok(Statement { kind, text: tokens.source().to_string(), ..inner })
}

/// Reads options up to the closing parenthesis, and says what comes behind it.
fn explain_options(tokens: &Tokens<'_>, mut at: usize, options: &mut ExplainOptions) -> Result<usize> {
    loop {
        match (tokens.word(at).as_str(), tokens.word(at + 1).as_str()) {
            ("TYPE", "LOGICAL") => options.of = ExplainType::Logical,
            ("TYPE", "DISTRIBUTED") => options.of = ExplainType::Distributed,
            ("TYPE", "VALIDATE") => options.of = ExplainType::Validate,
            ("TYPE", "IO") => options.of = ExplainType::Io,
            ("FORMAT", "TEXT") => options.format = ExplainFormat::Text,
            ("FORMAT", "JSON") => options.format = ExplainFormat::Json,
            ("FORMAT", "GRAPHVIZ") => options.format = ExplainFormat::Graphviz,
            ("TYPE", _) => return Err(tokens.expected(at + 1, "LOGICAL, DISTRIBUTED, VALIDATE, IO")),
            ("FORMAT", _) => return Err(tokens.expected(at + 1, "TEXT, JSON, GRAPHVIZ")),
            _ => return Err(tokens.expected(at, "TYPE, FORMAT")),
        }
        match tokens.get(at + 2) {
            Some(Token::Comma) => at += 3,
            Some(Token::RParen) => return Ok(at + 3),
            _ => return Err(tokens.expected(at + 2, "',', ')'")),
        }
    }
}

pub(super) fn prepare(tokens: &Tokens<'_>, limits: Limits) -> Result<StatementKind> {
    let name = name_part(tokens, 1)?;
    if tokens.word(2) != "FROM" {
        return Err(tokens.expected(2, "FROM"));
    }
    let part = tokens.part(3, tokens.len());
    if part.len() == 0 {
        return Err(tokens.expected(3, "a statement"));
    }
    check_preparable(&classify(&part, limits)?.kind)?;
    Ok(StatementKind::Prepare(Prepare { name, sql: part.source().to_string() }))
}

pub(super) fn execute(tokens: &Tokens<'_>) -> Result<StatementKind> {
    if tokens.word(1) == "IMMEDIATE" {
        let Some(Token::SingleQuotedString(sql)) = tokens.get(2) else { return Err(tokens.expected(2, "a statement in quotes")) };
        let parameters = using(tokens, 3)?;
        return Ok(StatementKind::Execute(Execute::Immediate { sql: sql.clone(), parameters }));
    }
    let name = name_part(tokens, 1)?;
    Ok(StatementKind::Execute(Execute::Named { name, parameters: using(tokens, 2)? }))
}

/// The texts of a `USING` list at `at`, which ends the statement.
fn using(tokens: &Tokens<'_>, at: usize) -> Result<Vec<String>> {
    if at >= tokens.len() {
        return Ok(Vec::new());
    }
    if tokens.word(at) != "USING" {
        return Err(tokens.expected(at, "USING"));
    }
    let closings = tokens.closings();
    let mut texts = Vec::new();
    let mut start = at + 1;
    loop {
        let mut end = start;
        while end < tokens.len() && tokens.get(end) != Some(&Token::Comma) {
            end = closings.get(&end).map_or(end, |close| *close) + 1;
        }
        if end == start {
            return Err(tokens.expected(start, "an expression"));
        }
        texts.push(tokens.part(start, end).source().to_string());
        if end >= tokens.len() {
            return Ok(texts);
        }
        start = end + 1;
    }
}

pub(super) fn deallocate(tokens: &Tokens<'_>) -> Result<StatementKind> {
    if tokens.word(1) != "PREPARE" {
        return Err(tokens.expected(1, "PREPARE"));
    }
    let name = name_part(tokens, 2)?;
    at_end(tokens, 3)?;
    Ok(StatementKind::Deallocate(name))
}

pub(super) fn use_database(tokens: &Tokens<'_>) -> Result<StatementKind> {
    let (name, at) = table_name(tokens, 1)?;
    if name.catalog.is_some() {
        return Err(tokens.expected(4, "the end of the statement"));
    }
    at_end(tokens, at)?;
    Ok(StatementKind::Use { catalog: name.database, database: name.table })
}

pub(super) fn at_end(tokens: &Tokens<'_>, at: usize) -> Result<()> {
    if at < tokens.len() { Err(tokens.expected(at, "the end of the statement")) } else { Ok(()) }
}

/// CREATE and DROP of what a catalog holds.
pub(super) fn ddl(tokens: &Tokens<'_>) -> Result<Statement> {
    let skipped = if tokens.are(1, &["OR", "REPLACE"]) { 3 } else { 1 };
    let what = tokens.word(skipped);
    match what.as_str() {
        "DATABASE" | "SCHEMA" | "TABLE" | "VIEW" | "EXTERNAL" | "PROTECTED" => Ok(Statement {
            kind: StatementKind::Ddl,
            parsed: None,
            text: tokens.source().to_string(),
            written: Written::default(),
        }),
        "" => Err(tokens.expected(skipped, "DATABASE, SCHEMA, TABLE, EXTERNAL TABLE, VIEW")),
        _ => Err(tokens.not_supported(0, &format!("{} {what}", tokens.word(0)))),
    }
}

/// `SHOW` and `DESCRIBE` as far as DataFusion reads them.
pub(super) fn shown(tokens: &Tokens<'_>) -> Option<ParsedStatement> {
    if !matches!(tokens.word(0).as_str(), "SHOW" | "DESCRIBE" | "DESC") {
        return None;
    }
    let parsed = DFParserBuilder::new(tokens.source()).with_dialect(&GenericDialect {}).build().ok()?.parse_statement().ok()?;
    let ParsedStatement::Statement(inner) = &parsed else { return None };
    let is_read = matches!(
        inner.as_ref(),
        AstStatement::ShowTables { .. } | AstStatement::ShowColumns { .. } | AstStatement::ExplainTable { .. }
    );
    is_read.then_some(parsed)
}

/// Why a statement that starts with `word` does not run; none for what is no statement of Athena's either.
pub(super) fn refused(word: &str) -> Option<String> {
    const ICEBERG: [&str; 5] = ["DELETE", "UPDATE", "MERGE", "OPTIMIZE", "VACUUM"];
    const OTHERS: [&str; 17] = [
        "SET", "RESET", "COPY", "GRANT", "REVOKE", "DENY", "CALL", "ANALYZE", "COMMIT", "START", "BEGIN", "ROLLBACK", "TRUNCATE",
        "REFRESH", "COMMENT", "LOAD", "KILL",
    ];
    if ICEBERG.contains(&word) {
        return Some(format!("{word} (it needs Iceberg tables)"));
    }
    if word == "USING" {
        return Some("USING EXTERNAL FUNCTION".to_string());
    }
    OTHERS.contains(&word).then(|| word.to_string())
}

/// The statement of `kind` over the query that fills `tokens` from `from` to before `to`.
pub(super) fn over_query(kind: StatementKind, tokens: &Tokens<'_>, from: usize, to: usize, limits: Limits) -> Result<Statement> {
    if !super::starts_query(tokens, from) || from >= to {
        return Err(tokens.expected(from, "a query"));
    }
    with_query(kind, tokens, &tokens.part(from, to), limits)
}
