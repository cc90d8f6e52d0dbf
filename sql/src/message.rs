//! Error messages with a position in the SQL text and a suggestion.

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::Span;
use engine::{Error, ErrorKind};

/// Names shown when none is close enough.
const LISTED_NAMES: usize = 12;

/// `line L:C: message` of a parser's error about `sql`.
pub fn syntax_error(error: &DataFusionError, sql: &str) -> Error {
    let text = parser_text(error);
    let (message, position) = match text.rsplit_once(" at Line: ") {
        Some((message, position)) => (message, position),
        None if text.ends_with("found: EOF") => {
            let line = sql.lines().count().max(1);
            let column = sql.lines().last().map_or(0, |line| line.chars().count()) + 1;
            return Error::invalid(format!("line {line}:{column}: {text}"));
        }
        None => return Error::invalid(text),
    };
    match position.split_once(", Column: ") {
        Some((line, column)) => {
            let column: String = column.chars().take_while(char::is_ascii_digit).collect();
            Error::invalid(format!("line {line}:{column}: {message}"))
        }
        None => Error::invalid(text),
    }
}

fn parser_text(error: &DataFusionError) -> String {
    use datafusion::sql::sqlparser::parser::ParserError;
    match error.find_root() {
        DataFusionError::SQL(parser, _) => match parser.as_ref() {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message.clone(),
            ParserError::RecursionLimitExceeded => {
                "the statement nests too deep: the parser's limit of nested parentheses and queries is reached".into()
            }
        },
        other => other.strip_backtrace(),
    }
}

/// An error of planning with its position, where the planner tells one, and a suggestion for a wrong column.
pub fn planning_error(error: DataFusionError) -> Error {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let mut own = match error.find_root() {
        DataFusionError::SchemaError(schema, _) => schema_message(schema),
        DataFusionError::SQL(..) => syntax_error(&error, ""),
        _ => Error::from(error),
    };
    if let Some(span) = span
        && own.kind == ErrorKind::InvalidQuery
        && !own.message.starts_with("line ")
    {
        own.message = format!("line {}:{}: {}", span.start.line, span.start.column, own.message);
    }
    own
}

fn schema_message(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
            Error::invalid(format!("column '{}' not found{}", field.flat_name(), suggestion(&field.name, &names)))
        }
        other => Error::invalid(other.to_string()),
    }
}

/// A table that is not known, with its place in the text.
pub fn unknown_table(name: &str, span: Option<Span>, known: &[&str]) -> Error {
    let place = span.filter(|span| span.start.line > 0).map(|span| format!("line {}:{}: ", span.start.line, span.start.column));
    let ending = if known.is_empty() {
        "; name a file as FROM 'path/file.parquet', or give tables with --data DIR or --table name=PATH".to_string()
    } else {
        suggestion(name, known)
    };
    Error::new(ErrorKind::InvalidQuery, format!("{}table '{name}' not found{ending}", place.unwrap_or_default()))
}

/// `; did you mean 'x'?` with the closest of `known`, or a list of them.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    let lower = name.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
    let closest = known.iter().map(|candidate| (distance(candidate), *candidate)).min();
    match closest {
        Some((distance, candidate)) if distance * 3 <= name.chars().count().max(3) => {
            let quoted =
                if candidate.chars().any(|c| c.is_uppercase()) { format!("\"{candidate}\"") } else { format!("'{candidate}'") };
            format!("; did you mean {quoted}?")
        }
        Some(_) => {
            let shown: Vec<&str> = known.iter().take(LISTED_NAMES).copied().collect();
            let more = if known.len() > LISTED_NAMES { ", …" } else { "" };
            format!("; there are: {}{more}", shown.join(", "))
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_name_is_suggested_and_a_far_one_lists_what_is_there() {
        assert_eq!(suggestion("custmer", &["orders", "customer"]), "; did you mean 'customer'?");
        assert_eq!(suggestion("id", &["ID"]), "; did you mean \"ID\"?");
        assert_eq!(suggestion("zzz", &["orders", "customer"]), "; there are: orders, customer");
        assert_eq!(suggestion("zzz", &[]), "");
    }
}
