//! Recursive descent over tokens: which statement it is, and the pieces that all of them have.

mod alter;
mod create;
mod show;

use super::lexer::{Placed, Token, line_and_column, tokens};
use super::statement::{DdlStatement, PartitionSpec, TableName};
use crate::catalog::CATALOG_NAME;
use crate::catalog::model::{Column, Parameters};
use crate::catalog::types::HiveType;
use engine::{Error, Result};

/// Longest statement, as in Athena (bytes).
const MAX_STATEMENT_BYTES: usize = 262_144;
/// Most items of one list: columns, properties, partitions.
const MAX_ITEMS: usize = 100_000;

/// Parses `sql` when it is a DDL or utility statement; `None` when it is none (a query, CTAS, INSERT, ..).
pub fn parse(sql: &str) -> Option<Result<DdlStatement>> {
    if sql.len() > MAX_STATEMENT_BYTES {
        return None;
    }
    let mut parser = Parser { sql, tokens: tokens(sql), at: 0 };
    let statement = parser.statement()?;
    Some(statement.and_then(|statement| parser.end().map(|()| statement)))
}

struct Parser<'a> {
    sql: &'a str,
    /// The last one is the end.
    tokens: Vec<Placed>,
    at: usize,
}

impl Parser<'_> {
    fn statement(&mut self) -> Option<Result<DdlStatement>> {
        let two = (self.peek_word(0), self.peek_word(1));
        let (first, second) = (two.0.as_str(), two.1.as_str());
        match (first, second) {
            ("create", "database" | "schema") => Some(self.create_database()),
            ("create", "external") => Some(self.create_external_table()),
            ("create", "table") => self.create_table(),
            ("create", "view") => Some(self.create_view()),
            ("create", "or") if self.peek_word(2) == "replace" && self.peek_word(3) == "view" => Some(self.create_view()),
            ("drop", "database" | "schema") => Some(self.drop_database()),
            ("drop", "table" | "view") => Some(self.drop_table_or_view()),
            ("alter", "table") => Some(self.alter_table()),
            ("alter", "database" | "schema") => Some(self.alter_database()),
            ("alter", "view") => Some(Err(self.refuse("ALTER VIEW is not supported: drop and create it"))),
            ("msck", _) => Some(self.repair()),
            ("show", _) => self.show(second),
            ("describe" | "desc", "select" | "with" | "input" | "output") if self.peek_is_name(2) => None,
            ("describe" | "desc", _) => Some(self.describe()),
            _ => None,
        }
    }

    /// One `;` may follow, and nothing else.
    fn end(&mut self) -> Result<()> {
        self.eat_sign(";");
        if *self.peek() == Token::End { Ok(()) } else { Err(self.mismatch("<EOF>")) }
    }

    fn placed(&self, ahead: usize) -> Option<&Placed> {
        self.tokens.get(self.at + ahead).or(self.tokens.last())
    }

    fn peek(&self) -> &Token {
        self.placed(0).map_or(&Token::End, |placed| &placed.token)
    }

    /// The bare word that is `ahead`, in lower case; else nothing.
    fn peek_word(&self, ahead: usize) -> String {
        match self.placed(ahead).map(|placed| &placed.token) {
            Some(Token::Word(word)) => word.to_lowercase(),
            _ => String::new(),
        }
    }

    fn peek_is_name(&self, ahead: usize) -> bool {
        matches!(self.placed(ahead).map(|placed| &placed.token), Some(Token::Word(_) | Token::Quoted(_) | Token::Double(_)))
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(known) if known.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    /// Eats all of `words`, or none.
    fn eat_all(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(ahead, word)| self.peek_word(ahead) == *word);
        self.at += if found { words.len() } else { 0 };
        found
    }

    fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    fn eat_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(known) if *known == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.eat(word) { Ok(()) } else { Err(self.mismatch(&format!("'{}'", word.to_uppercase()))) }
    }

    fn expect_sign(&mut self, sign: &str) -> Result<()> {
        if self.eat_sign(sign) { Ok(()) } else { Err(self.mismatch(&format!("'{sign}'"))) }
    }

    fn at_place(&self, text: &str) -> Error {
        let (line, column) = line_and_column(self.sql, self.placed(0).map_or(0, |placed| placed.start));
        Error::invalid(format!("line {line}:{column}: {text}"))
    }

    fn mismatch(&self, expected: &str) -> Error {
        let shown: String = self.peek().to_string().chars().take(100).collect();
        self.at_place(&format!("mismatched input '{shown}'. Expecting: {expected}"))
    }

    /// An error at the start of the statement.
    fn refuse(&self, text: &str) -> Error {
        let (line, column) = line_and_column(self.sql, self.tokens.first().map_or(0, |placed| placed.start));
        Error::invalid(format!("line {line}:{column}: {text}"))
    }

    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Token::Word(name) | Token::Quoted(name) | Token::Double(name) => {
                let name = name.to_lowercase();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.mismatch("identifier")),
        }
    }

    /// `name`, `database.name` or `catalog.database.name`.
    fn table_name(&mut self) -> Result<TableName> {
        // Backticks around both names are read as Hive reads them.
        let both = match self.peek() {
            Token::Quoted(both) => both.to_lowercase().split_once('.').map(|(a, b)| (a.to_string(), b.to_string())),
            _ => None,
        };
        if let Some((database, name)) = both.filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains('.')) {
            self.at += 1;
            return Ok(TableName { database: Some(database), name });
        }
        let mut parts = vec![self.name()?];
        while parts.len() < 3 && self.eat_sign(".") {
            parts.push(self.name()?);
        }
        if parts.len() == 3 {
            self.check_catalog(&parts.remove(0))?;
        }
        let name = parts.pop().unwrap_or_default();
        Ok(TableName { database: parts.pop(), name })
    }

    /// `database` or `catalog.database`.
    fn database_name(&mut self) -> Result<String> {
        let name = self.name()?;
        if !self.eat_sign(".") {
            return Ok(name);
        }
        self.check_catalog(&name)?;
        self.name()
    }

    fn check_catalog(&self, name: &str) -> Result<()> {
        if name == CATALOG_NAME {
            return Ok(());
        }
        Err(self.at_place(&format!("CATALOG_NOT_FOUND: Catalog '{name}' does not exist")))
    }

    fn text(&mut self) -> Result<String> {
        match self.peek() {
            Token::Text(text) | Token::Double(text) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.mismatch("string literal")),
        }
    }

    fn eat_text(&mut self) -> Option<String> {
        matches!(self.peek(), Token::Text(_) | Token::Double(_)).then(|| self.text().unwrap_or_default())
    }

    fn if_exists(&mut self) -> bool {
        self.eat_all(&["if", "exists"])
    }

    fn if_not_exists(&mut self) -> bool {
        self.eat_all(&["if", "not", "exists"])
    }

    /// `( item, item )`, at least one.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect_sign("(")?;
        let mut items = vec![item(self)?];
        while self.eat_sign(",") {
            if items.len() >= MAX_ITEMS {
                return Err(self.at_place(&format!("more than {MAX_ITEMS} items in a list")));
            }
            items.push(item(self)?);
        }
        self.expect_sign(")")?;
        Ok(items)
    }

    /// `('k' = 'v', ..)`.
    fn properties(&mut self) -> Result<Parameters> {
        let pairs = self.list(|parser| {
            let key = parser.text()?;
            parser.expect_sign("=")?;
            Ok((key, parser.literal()?))
        })?;
        Ok(pairs.into_iter().collect())
    }

    /// A string, number, bare word or `DATE '..'`, as text.
    fn literal(&mut self) -> Result<String> {
        let sign = if self.eat_sign("-") { "-" } else { "" };
        match self.take() {
            Token::Text(text) | Token::Double(text) if sign.is_empty() => Ok(text),
            Token::Word(word) => {
                if matches!(self.peek(), Token::Text(_)) && matches!(word.to_lowercase().as_str(), "date" | "timestamp") {
                    return self.text();
                }
                let is_number = word.starts_with(|c: char| c.is_ascii_digit());
                if is_number && self.eat_sign(".") {
                    return Ok(format!("{sign}{word}.{}", self.name()?));
                }
                if sign.is_empty() || is_number { Ok(format!("{sign}{word}")) } else { self.back("number") }
            }
            _ => self.back("literal"),
        }
    }

    /// The error at the token that was just taken.
    fn back<T>(&mut self, expected: &str) -> Result<T> {
        self.at = self.at.saturating_sub(1);
        Err(self.mismatch(expected))
    }

    /// `PARTITION (k = v, ..)`, the word `PARTITION` already eaten.
    fn partition_spec(&mut self) -> Result<PartitionSpec> {
        self.list(|parser| {
            let key = parser.name()?;
            parser.expect_sign("=")?;
            Ok((key, parser.literal()?))
        })
    }

    /// `name type [COMMENT '..']`.
    fn column(&mut self) -> Result<Column> {
        let name = self.name()?;
        let hive_type = self.hive_type()?;
        let comment = if self.eat("comment") { Some(self.text()?) } else { None };
        Ok(Column { comment, ..Column::new(&name, &hive_type) })
    }

    /// A type, spelled as Hive spells it.
    fn hive_type(&mut self) -> Result<String> {
        let start = self.placed(0).map_or(0, |placed| placed.start);
        let place = self.at;
        if !matches!(self.peek(), Token::Word(_)) {
            return Err(self.mismatch("type"));
        }
        self.at += 1;
        let mut open = 0_usize;
        while *self.peek() != Token::End {
            match self.peek() {
                Token::Sign("(" | "<") => open += 1,
                _ if open == 0 => break,
                Token::Sign(")" | ">") => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                break;
            }
        }
        let end = self.tokens.get(self.at.saturating_sub(1)).map_or(start, |placed| placed.end);
        let parsed = HiveType::parse(self.sql.get(start..end).unwrap_or_default());
        match parsed {
            Ok(parsed) => Ok(parsed.to_string()),
            Err(error) => {
                self.at = place;
                Err(self.at_place(&error.message))
            }
        }
    }
}

#[cfg(test)]
mod tests;
