//! Decides what Tab offers: keywords, tables, columns, files and commands; and when Enter ends a statement.

use super::command::{COMMANDS, is_command};
use crate::split::split;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Highlighter, Hinter, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Words of SQL, and functions, that are worth completing.
const KEYWORDS: &[&str] = &[
    "ALL",
    "ANALYZE",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "AVG",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COALESCE",
    "COUNT",
    "CROSS",
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "DATE",
    "DATE_TRUNC",
    "DENSE_RANK",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FETCH",
    "FILTER",
    "FIRST",
    "FOLLOWING",
    "FROM",
    "FULL",
    "GROUP",
    "GROUPING",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LAST",
    "LATERAL",
    "LEFT",
    "LENGTH",
    "LIKE",
    "LIMIT",
    "LOWER",
    "MAX",
    "MIN",
    "NATURAL",
    "NOT",
    "NULL",
    "NULLIF",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "RANGE",
    "RANK",
    "RECURSIVE",
    "RIGHT",
    "ROLLUP",
    "ROUND",
    "ROW_NUMBER",
    "ROWS",
    "SELECT",
    "SEMI",
    "SHOW",
    "SUBSTRING",
    "SUM",
    "TABLES",
    "THEN",
    "TIMESTAMP",
    "TRIM",
    "TRUE",
    "UNBOUNDED",
    "UNION",
    "UNNEST",
    "UPPER",
    "USING",
    "VALUES",
    "WHERE",
    "WITH",
];

/// Words behind which a table stands.
const BEFORE_TABLES: [&str; 5] = ["FROM", "JOIN", "DESCRIBE", "DESC", "\\D"];

/// Names that may be typed.
#[derive(Clone, Default, Debug)]
pub(crate) struct Names {
    /// Tables that have a name.
    pub(crate) tables: Vec<String>,
    /// Columns of the tables that have been described.
    pub(crate) columns: BTreeMap<String, Vec<String>>,
}

/// Names that the shell and its background work share.
pub(crate) type SharedNames = Arc<Mutex<Names>>;

/// What rustyline asks while a person types.
#[derive(Helper, Hinter, Highlighter)]
pub(crate) struct Typing {
    names: SharedNames,
    files: FilenameCompleter,
}

impl std::fmt::Debug for Typing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Typing").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Typing {
    /// Completes with `names`.
    pub(crate) fn new(names: SharedNames) -> Self {
        Self { names, files: FilenameCompleter::new() }
    }
}

impl Completer for Typing {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let before = line.get(..at).unwrap_or(line);
        if in_string(before) {
            return self.files.complete_path(line, at);
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, words) = complete(before, &names);
        let pair = |word: String| Pair { display: word.clone(), replacement: word };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(if is_complete(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// Whether Enter hands `text` over, instead of starting its next line.
fn is_complete(text: &str) -> bool {
    text.trim().is_empty() || is_command(text) || !split(text).unfinished()
}

/// Whether a single quote is open.
fn in_string(before: &str) -> bool {
    before.matches('\'').count() % 2 == 1
}

/// Where the word at the end of `before` starts, and what it may become, in order and once each.
fn complete(before: &str, names: &Names) -> (usize, Vec<String>) {
    if before.trim_start().starts_with('\\') && !before.trim_start().contains(char::is_whitespace) {
        let start = before.len() - before.trim_start().len();
        let word = &before[start..];
        let commands = COMMANDS.iter().filter_map(|(usage, _)| usage.split(' ').next());
        let fitting: BTreeSet<&str> = commands.filter(|command| command.starts_with('\\') && command.starts_with(word)).collect();
        return (start, fitting.into_iter().map(str::to_owned).collect());
    }
    let is_end = |c: char| !(c.is_alphanumeric() || c == '_' || c == '.' || c == '"');
    let start = before.rfind(is_end).map_or(0, |end| end + before[end..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    if let Some((table, column)) = word.rsplit_once('.') {
        let table = table.trim_matches('"').to_lowercase();
        let columns = names.columns.get(&table).map(Vec::as_slice).unwrap_or_default();
        return (start + word.len() - column.len(), fitting(column, columns.iter().map(|name| quoted(name))));
    }
    let tables = names.tables.iter().map(|name| quoted(name));
    let previous = before[..start].split_whitespace().next_back().unwrap_or_default().to_uppercase();
    if BEFORE_TABLES.contains(&previous.as_str()) {
        return (start, fitting(word, tables));
    }
    if word.is_empty() {
        return (start, Vec::new());
    }
    let lower = word.chars().any(char::is_lowercase);
    let keywords = KEYWORDS.iter().map(|keyword| if lower { keyword.to_lowercase() } else { (*keyword).to_owned() });
    let columns = names.columns.values().flatten().map(|name| quoted(name));
    (start, fitting(word, keywords.chain(tables).chain(columns)))
}

fn fitting(word: &str, candidates: impl Iterator<Item = String>) -> Vec<String> {
    let word = word.trim_start_matches('"').to_lowercase();
    let fits = |candidate: &String| candidate.trim_start_matches('"').to_lowercase().starts_with(&word);
    candidates.filter(fits).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A name as SQL must write it.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && name.starts_with(|c: char| !c.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Names {
            tables: columns(&["orders", "customer", "Odd Name"]),
            columns: BTreeMap::from([
                ("orders".to_owned(), columns(&["o_orderkey", "o_custkey"])),
                ("customer".to_owned(), columns(&["c_custkey", "Name"])),
            ]),
        }
    }

    fn offered(before: &str) -> Vec<String> {
        complete(before, &names()).1
    }

    #[test]
    fn keywords_keep_the_case_of_what_was_typed() {
        assert_eq!(offered("sel"), ["select"]);
        assert_eq!(offered("SEL"), ["SELECT"]);
        assert_eq!(offered("SELECT count(*) FROM orders ORD"), ["ORDER", "orders"]);
        assert!(offered("SELECT ").is_empty());
    }

    #[test]
    fn tables_follow_from_and_columns_follow_their_table() {
        assert_eq!(offered("SELECT * FROM "), ["\"Odd Name\"", "customer", "orders"]);
        assert_eq!(offered("select * from o"), ["\"Odd Name\"", "orders"]);
        assert_eq!(offered("\\d cu"), ["customer"]);
        assert_eq!(complete("SELECT orders.o_c", &names()), (14, vec!["o_custkey".to_owned()]));
        assert_eq!(offered("SELECT customer."), ["\"Name\"", "c_custkey"]);
        assert_eq!(offered("SELECT o_o"), ["o_orderkey"]);
        assert_eq!(offered("SELECT größe(o_o"), ["o_orderkey"]);
    }

    #[test]
    fn commands_complete_at_the_start() {
        assert_eq!(offered("\\t"), ["\\timing"]);
        assert_eq!(offered("\\d"), ["\\d"]);
    }

    #[test]
    fn enter_ends_whole_statements_and_commands_only() {
        for text in ["", "  ", "\\d", "\\d orders", "quit", "SELECT 1;", "SELECT 1; -- done", ";"] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT", "/* open"] {
            assert!(!is_complete(text), "{text}");
        }
    }
}
