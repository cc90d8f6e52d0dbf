//! Statements that write the rows of a query: what is around the query, as data.

use super::command::{at_end, over_query};
use super::{Limits, Statement, StatementKind, starts_query};
use crate::dialect::tokens::Tokens;
use datafusion::sql::sqlparser::tokenizer::Token;
use engine::{Error, Result};
use std::collections::BTreeMap;

/// A table's name, in lower case, as far as it was given.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TableName {
    /// The catalog.
    pub catalog: Option<String>,
    /// The database.
    pub database: Option<String>,
    /// The table.
    pub table: String,
}

/// The value of a property in `WITH (..)`.
#[derive(Clone, PartialEq, Debug)]
pub enum PropertyValue {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A boolean.
    Boolean(bool),
    /// An array of strings.
    List(Vec<String>),
}

/// `CREATE TABLE name WITH (..) AS query`.
#[derive(Clone, PartialEq, Debug)]
pub struct CreateTableAs {
    /// The new table.
    pub name: TableName,
    /// Whether a table of that name is left as it is.
    pub if_not_exists: bool,
    /// Names of its columns, when given; else those of the query.
    pub columns: Vec<String>,
    /// Properties by name, in lower case.
    pub properties: BTreeMap<String, PropertyValue>,
    /// Whether the rows of the query are written; not for `WITH NO DATA`.
    pub with_data: bool,
}

/// `INSERT INTO name (columns) query`.
#[derive(Clone, PartialEq, Debug)]
pub struct Insert {
    /// The table.
    pub name: TableName,
    /// Its columns that the query gives, in that order; empty for all.
    pub columns: Vec<String>,
}

/// `UNLOAD (query) TO 'location' WITH (..)`.
#[derive(Clone, PartialEq, Debug)]
pub struct Unload {
    /// Where the files go.
    pub location: String,
    /// Properties by name, in lower case.
    pub properties: BTreeMap<String, PropertyValue>,
}

/// An identifier at `at`, in lower case.
pub(super) fn name_part(tokens: &Tokens<'_>, at: usize) -> Result<String> {
    match tokens.get(at) {
        Some(Token::Word(word)) => Ok(word.value.to_lowercase()),
        _ => Err(tokens.expected(at, "a name")),
    }
}

/// A name of up to three parts at `at`, and what comes behind it.
pub(super) fn table_name(tokens: &Tokens<'_>, at: usize) -> Result<(TableName, usize)> {
    let mut parts = vec![name_part(tokens, at)?];
    let mut next = at + 1;
    while tokens.get(next) == Some(&Token::Period) && parts.len() < 3 {
        parts.push(name_part(tokens, next + 1)?);
        next += 2;
    }
    let table = parts.pop().unwrap_or_default();
    let database = parts.pop();
    Ok((TableName { catalog: parts.pop(), database, table }, next))
}

fn after_if_not_exists(tokens: &Tokens<'_>, at: usize) -> (bool, usize) {
    let given = tokens.are(at, &["IF", "NOT", "EXISTS"]);
    (given, if given { at + 3 } else { at })
}

/// Whether a `CREATE` makes a table of a query.
pub(super) fn is_create_table_as(tokens: &Tokens<'_>) -> bool {
    if !tokens.are(0, &["CREATE", "TABLE"]) {
        return false;
    }
    let closings = tokens.closings();
    let mut at = 2;
    while at < tokens.len() {
        if tokens.word(at) == "AS" {
            return starts_query(tokens, at + 1) || tokens.word(at - 1) != "STORED";
        }
        at = closings.get(&at).map_or(at, |close| *close) + 1;
    }
    false
}

pub(super) fn create_table_as(tokens: &Tokens<'_>, limits: Limits) -> Result<Statement> {
    let (if_not_exists, at) = after_if_not_exists(tokens, 2);
    let (name, mut at) = table_name(tokens, at)?;
    let mut columns = Vec::new();
    if tokens.get(at) == Some(&Token::LParen) {
        (columns, at) = name_list(tokens, at)?;
    }
    if tokens.word(at) == "COMMENT" {
        return Err(tokens.not_supported(at, "COMMENT of a table that is created from a query"));
    }
    let mut table_properties = BTreeMap::new();
    if tokens.word(at) == "WITH" {
        (table_properties, at) = properties(tokens, at + 1)?;
    }
    if tokens.word(at) != "AS" {
        return Err(tokens.expected(at, "WITH, AS"));
    }
    let end = tokens.len();
    let with_data = !(end > 3 && tokens.are(end - 3, &["WITH", "NO", "DATA"]));
    let query_end = match (with_data, end > 2 && tokens.are(end - 2, &["WITH", "DATA"])) {
        (false, _) => end - 3,
        (true, true) => end - 2,
        (true, false) => end,
    };
    let table = CreateTableAs { name, if_not_exists, columns, properties: table_properties, with_data };
    over_query(StatementKind::CreateTableAs(table), tokens, at + 1, query_end, limits)
}

pub(super) fn insert(tokens: &Tokens<'_>, limits: Limits) -> Result<Statement> {
    if tokens.word(1) == "OVERWRITE" {
        return Err(tokens.not_supported(0, "INSERT OVERWRITE"));
    }
    if tokens.word(1) != "INTO" {
        return Err(tokens.expected(1, "INTO"));
    }
    let (name, mut at) = table_name(tokens, 2)?;
    let mut columns = Vec::new();
    if tokens.get(at) == Some(&Token::LParen) && !starts_query(tokens, at + 1) {
        (columns, at) = name_list(tokens, at)?;
    }
    over_query(StatementKind::Insert(Insert { name, columns }), tokens, at, tokens.len(), limits)
}

pub(super) fn unload(tokens: &Tokens<'_>, limits: Limits) -> Result<Statement> {
    if tokens.get(1) != Some(&Token::LParen) {
        return Err(tokens.expected(1, "a query in parentheses"));
    }
    let Some(close) = tokens.closings().get(&1).copied() else { return Err(tokens.expected(tokens.len(), "')'")) };
    if tokens.word(close + 1) != "TO" {
        return Err(tokens.expected(close + 1, "TO"));
    }
    let Some(Token::SingleQuotedString(location)) = tokens.get(close + 2) else {
        return Err(tokens.expected(close + 2, "a location in quotes"));
    };
    let mut options = BTreeMap::new();
    let mut at = close + 3;
    if tokens.word(at) == "WITH" {
        (options, at) = properties(tokens, at + 1)?;
    }
    at_end(tokens, at)?;
    let unload = Unload { location: location.clone(), properties: options };
    over_query(StatementKind::Unload(unload), tokens, 2, close, limits)
}

/// `(name, name)` at `at`, and what comes behind it.
fn name_list(tokens: &Tokens<'_>, mut at: usize) -> Result<(Vec<String>, usize)> {
    let mut names = Vec::new();
    loop {
        names.push(name_part(tokens, at + 1)?);
        match tokens.get(at + 2) {
            Some(Token::Comma) => at += 2,
            Some(Token::RParen) => return Ok((names, at + 3)),
            _ => return Err(tokens.expected(at + 2, "',', ')'")),
        }
    }
}

/// `(name = value, ..)` at `at`, and what comes behind it.
fn properties(tokens: &Tokens<'_>, at: usize) -> Result<(BTreeMap<String, PropertyValue>, usize)> {
    if tokens.get(at) != Some(&Token::LParen) {
        return Err(tokens.expected(at, "'('"));
    }
    let mut found = BTreeMap::new();
    let mut at = at + 1;
    loop {
        let name = match tokens.get(at) {
            Some(Token::SingleQuotedString(text)) => text.to_lowercase(),
            _ => name_part(tokens, at)?,
        };
        if tokens.get(at + 1) != Some(&Token::Eq) {
            return Err(tokens.expected(at + 1, "'='"));
        }
        let (value, next) = property_value(tokens, at + 2)?;
        if found.insert(name.clone(), value).is_some() {
            let place = tokens.place(at);
            return Err(Error::invalid(format!("line {}:{}: property '{name}' is given twice", place.line, place.column)));
        }
        match tokens.get(next) {
            Some(Token::Comma) => at = next + 1,
            Some(Token::RParen) => return Ok((found, next + 1)),
            _ => return Err(tokens.expected(next, "',', ')'")),
        }
    }
}

fn property_value(tokens: &Tokens<'_>, at: usize) -> Result<(PropertyValue, usize)> {
    let number = |text: &str| text.parse::<i64>().ok();
    let value = match (tokens.get(at), tokens.word(at).as_str()) {
        (Some(Token::SingleQuotedString(text)), _) => Some(PropertyValue::Text(text.clone())),
        (Some(Token::Number(text, _)), _) => number(text).map(PropertyValue::Number),
        (_, "TRUE") => Some(PropertyValue::Boolean(true)),
        (_, "FALSE") => Some(PropertyValue::Boolean(false)),
        (_, "ARRAY") => return string_list(tokens, at + 1),
        _ => None,
    };
    match value {
        Some(value) => Ok((value, at + 1)),
        None => Err(tokens.expected(at, "a string, a whole number, a boolean or ARRAY[..] of strings")),
    }
}

fn string_list(tokens: &Tokens<'_>, at: usize) -> Result<(PropertyValue, usize)> {
    if tokens.get(at) != Some(&Token::LBracket) {
        return Err(tokens.expected(at, "'['"));
    }
    let mut texts = Vec::new();
    let mut at = at + 1;
    if tokens.get(at) == Some(&Token::RBracket) {
        return Ok((PropertyValue::List(texts), at + 1));
    }
    loop {
        let Some(Token::SingleQuotedString(text)) = tokens.get(at) else { return Err(tokens.expected(at, "a string")) };
        texts.push(text.clone());
        match tokens.get(at + 1) {
            Some(Token::Comma) => at += 2,
            Some(Token::RBracket) => return Ok((PropertyValue::List(texts), at + 2)),
            _ => return Err(tokens.expected(at + 1, "',', ']'")),
        }
    }
}
