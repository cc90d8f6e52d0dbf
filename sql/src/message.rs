//! Error messages with a position in the SQL text and a suggestion.

use crate::bind::DERIVED;
use crate::dialect::rewrite::label;
use crate::wording::{reworded, with_sql_types};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Location;
use engine::{Error, ErrorKind, athenas_name};
use std::ops::ControlFlow;

/// Functions that mean nothing without OVER.
const WINDOW_FUNCTIONS: [&str; 11] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

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
            return Error::invalid(format!("line {line}:{column}: {}", mismatched(&text)));
        }
        None => return Error::invalid(text),
    };
    match position.split_once(", Column: ") {
        Some((line, column)) => {
            let column: String = column.chars().take_while(char::is_ascii_digit).collect();
            Error::invalid(format!("line {line}:{column}: {}", mismatched(message)))
        }
        None => Error::invalid(text),
    }
}

/// `Expected: x, found: y` as Athena says it.
fn mismatched(message: &str) -> String {
    match message.strip_prefix("Expected").and_then(|rest| rest.rsplit_once(", found: ")) {
        Some((expected, found)) => {
            let found = if found == "EOF" { "<EOF>" } else { found };
            format!("mismatched input '{found}'. Expecting: {}", expected.trim_start_matches([':', ' ']))
        }
        None => message.to_string(),
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

/// `line L:C: why`, as far as the place is known.
pub(crate) fn at(place: Option<Location>, why: &str) -> Error {
    Error::invalid(format!("{}{why}", prefix(place)))
}

/// An error for something that Athena may run and Owlet does not.
pub(crate) fn not_supported(place: Option<Location>, what: &str) -> Error {
    named("NOT_SUPPORTED", place, &format!("{what} is not supported"))
}

/// An error with Athena's name for it.
pub(crate) fn named(name: &str, place: Option<Location>, why: &str) -> Error {
    Error::invalid(format!("{name}: {}{why}", prefix(place)))
}

fn prefix(place: Option<Location>) -> String {
    place.filter(|place| place.line > 0).map(|place| format!("line {}:{}: ", place.line, place.column)).unwrap_or_default()
}

/// An error of planning `query` with Athena's name for it, its place, and a suggestion for a name that is not there.
pub(crate) fn planning_error(error: DataFusionError, query: Option<&Query>) -> Error {
    if is_of_made_columns(&error.to_string()) {
        return Error::invalid(NO_JOIN);
    }
    let error = with_athenas_name(error, query);
    Error { message: without_made_names(&error.message), ..error }
}

/// What is said of a query inside that no join can be made of.
pub const NO_JOIN: &str = "NOT_SUPPORTED: a query in this place, or one that refers to the row outside in this way: write it in a column of a subquery, or as a join";

/// Whether a message is about columns that the planner made for a query inside, and does not find.
pub fn is_of_made_columns(message: &str) -> bool {
    let is_of_names =
        message.contains("No field named") || message.contains("Schema contains") || message.contains("of one name");
    let made = [
        "owlet_outside_",
        "owlet_exists",
        "owlet_compared_",
        "owlet_outer_",
        "owlet_by_key",
        "owlet_lateral_",
        "__always_true",
        "__scalar_sq_",
        "__correlated_sq_",
    ];
    is_of_names && made.iter().any(|name| message.contains(name))
        || message.contains("Accessing outer reference columns is not allowed")
}

/// `message` without the names that queries in FROM have which are given none.
fn without_made_names(message: &str) -> String {
    let mut parts = message.split(DERIVED);
    let mut written = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        written.push_str(rest.strip_prefix('.').unwrap_or(rest));
    }
    written
}

fn with_athenas_name(error: DataFusionError, query: Option<&Query>) -> Error {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let place = span.map(|span| Location::new(span.start.line, span.start.column));
    let own = match error.find_root() {
        DataFusionError::SchemaError(schema, _) => schema_error(schema, place, query),
        DataFusionError::SQL(..) => syntax_error(&error, ""),
        DataFusionError::NotImplemented(what) => {
            // Behind a brace comes how the parser sees it.
            let what = what.lines().next().unwrap_or_default().split(" {").next().unwrap_or_default();
            let what = what.strip_prefix("NOT_SUPPORTED: ").unwrap_or(what);
            let is_lambda = what.contains("sqltorel: Lambda");
            let what = if is_lambda { "a lambda as argument of this function" } else { what };
            named("NOT_SUPPORTED", place, what)
        }
        DataFusionError::Plan(message) => plan_error(message, place, query),
        _ => with_athenas_words(Error::from(error)),
    };
    if own.kind == ErrorKind::InvalidQuery && !own.message.contains("line ") {
        return Error { message: format!("{}{}", prefix(place), own.message), ..own };
    }
    own
}

/// An error of planning with Athena's name, where it has none yet.
pub fn with_athenas_words(error: Error) -> Error {
    if error.kind != ErrorKind::InvalidQuery {
        return error;
    }
    let message = match (reworded(&error.message), athenas_name(&error.message)) {
        (Some((name, why)), _) => format!("{name}: {why}"),
        (None, Some(_)) => return error,
        (None, None) => with_sql_types(&error.message),
    };
    Error { message, ..error }
}

/// Whether an error of a query does not say where in its text it is, or only where an operand is.
pub(crate) fn lacks_place(error: &Error) -> bool {
    let has_place = without_place(&error.message).len() < error.message.len();
    error.kind == ErrorKind::InvalidQuery && (!has_place || error.message.contains("Cannot apply operator: "))
}

/// `message` without its `line L:C: `.
pub(crate) fn without_place(message: &str) -> String {
    let is_place = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit() || c == b':');
    match message.split_once("line ").and_then(|(before, rest)| Some((before, rest.split_once(": ")?))) {
        Some((before, (place, rest))) if is_place(place) => format!("{before}{rest}"),
        _ => message.to_string(),
    }
}

/// Whether an error is about types of values.
pub(crate) fn is_about_types(error: &Error) -> bool {
    ["TYPE_MISMATCH: ", "FUNCTION_NOT_FOUND: "].iter().any(|name| error.message.starts_with(name))
}

/// `error` with its place.
pub(crate) fn with_place(error: Error, place: Location) -> Error {
    let message = match athenas_name(&error.message) {
        Some((name, why)) => format!("{name}: {}{why}", prefix(Some(place))),
        None => format!("{}{}", prefix(Some(place)), error.message),
    };
    Error { message, ..error }
}

/// What planners say in words, and Athena by name.
fn plan_error(message: &str, place: Option<Location>, query: Option<&Query>) -> Error {
    if let Some(rest) = message.strip_prefix("Invalid function '") {
        let (name, rest) = rest.split_once('\'').unwrap_or((rest, ""));
        let close =
            rest.split('\'').nth(1).filter(|close| !name.starts_with("owlet_") && !close.starts_with("owlet_") && *close != name);
        if WINDOW_FUNCTIONS.contains(&name) {
            let place = place.or_else(|| query.and_then(|query| function_place(query, name)));
            return named("MISSING_OVER", place, &format!("Window function '{name}' requires an OVER clause"));
        }
        let hint = close.map(|close| format!("; did you mean '{close}'?")).unwrap_or_default();
        let place = place.or_else(|| query.and_then(|query| function_place(query, name)));
        return named("FUNCTION_NOT_FOUND", place, &format!("Function '{name}' not registered{hint}"));
    }
    // Rules of the dialect name the error themselves.
    if let Some((name, why)) = athenas_name(message) {
        let reworded = reworded(why).unwrap_or((name, with_sql_types(why)));
        return named(reworded.0, place, &reworded.1);
    }
    // The rest is for people who write functions.
    let short = message.split(" No function matches").next().unwrap_or(message);
    if let Some((name, why)) = reworded(short) {
        return named(name, place, &why);
    }
    let short = with_sql_types(short);
    let short = short.as_str();
    if let Some((_, what)) = short.split_once("This feature is not implemented: ") {
        return named("NOT_SUPPORTED", place, what);
    }
    if let Some(start) = short.find("Unexpected parameters") {
        return named("FUNCTION_NOT_FOUND", place, short.get(start..).unwrap_or_default());
    }
    if message.contains("failed to match any signature") || message.contains("user-defined coercion failed") {
        let name = message.split("Function '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
        let place = place.or_else(|| query.and_then(|query| function_place(query, name)));
        return named("FUNCTION_NOT_FOUND", place, &format!("Unexpected parameters for function {name}"));
    }
    if message.contains("must appear in the GROUP BY") || message.contains("must be in the GROUP BY") {
        let column = message.split('"').nth(1).map_or("the expression", |column| column);
        return named(
            "EXPRESSION_NOT_AGGREGATE",
            place,
            &format!("'{column}' must be an aggregate expression or appear in GROUP BY clause"),
        );
    }
    const TYPES: [&str; 11] = [
        "Cannot cast",
        "Cannot coerce",
        "Failed to coerce",
        "Cannot infer common",
        "Cannot get result type",
        "Cannot use",
        "Cannot unnest",
        "coercion from",
        "No function matches",
        "does not take",
        "incompatible",
    ];
    if TYPES.iter().any(|part| message.contains(part)) {
        return named("TYPE_MISMATCH", place, short);
    }
    named("SYNTAX_ERROR", place, short)
}

fn schema_error(error: &SchemaError, place: Option<Location>, query: Option<&Query>) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> =
                valid_fields.iter().map(|column| column.name.as_str()).filter(|name| !name.contains('\u{1}')).collect();
            let shown = field.flat_name().replace('"', "");
            let place = place.or_else(|| query.and_then(|query| column_place(query, &field.name)));
            let marked = valid_fields.iter().filter(|column| column.name.contains('\u{1}'));
            if marked.filter(|column| label(&column.name, 0) == field.name).count() > 1 {
                return named("AMBIGUOUS_NAME", place, &format!("Column '{}' is ambiguous", field.name));
            }
            named("COLUMN_NOT_FOUND", place, &format!("Column '{shown}' cannot be resolved{}", suggestion(&field.name, &names)))
        }
        SchemaError::AmbiguousReference { field } => {
            let place = place.or_else(|| query.and_then(|query| column_place(query, &field.name)));
            named("AMBIGUOUS_NAME", place, &format!("Column '{}' is ambiguous", field.name))
        }
        other => named("SYNTAX_ERROR", place, &other.to_string()),
    }
}

/// Where the function `name` is called first.
fn function_place(query: &Query, name: &str) -> Option<Location> {
    first_place(query, |expression| match expression {
        Expr::Function(function) => {
            let last = function.name.0.last()?.as_ident()?;
            last.value.eq_ignore_ascii_case(name).then_some(function.name.0.first()?.as_ident()?.span.start)
        }
        _ => None,
    })
}

/// Where the column `name` is named first.
fn column_place(query: &Query, name: &str) -> Option<Location> {
    first_place(query, |expression| match expression {
        Expr::Identifier(ident) => ident.value.eq_ignore_ascii_case(name).then_some(ident.span.start),
        Expr::CompoundIdentifier(idents) => idents.last()?.value.eq_ignore_ascii_case(name).then_some(idents.first()?.span.start),
        _ => None,
    })
}

fn first_place(query: &Query, place: impl Fn(&Expr) -> Option<Location>) -> Option<Location> {
    struct Find<F>(F);
    impl<F: Fn(&Expr) -> Option<Location>> Visitor for Find<F> {
        type Break = Location;
        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Location> {
            match (self.0)(expression).filter(|place| place.line > 0) {
                Some(place) => ControlFlow::Break(place),
                None => ControlFlow::Continue(()),
            }
        }
    }
    match query.visit(&mut Find(place)) {
        ControlFlow::Break(place) => Some(place),
        ControlFlow::Continue(()) => None,
    }
}

/// A table that is not known, by its full name, with its place in the text and the names of others.
pub(crate) fn unknown_table(full_name: &str, name: &str, place: Option<Location>, known: &[&str]) -> Error {
    let ending = if known.is_empty() {
        "; name a file as FROM 'path/file.parquet', or give tables with --data DIR or --table name=PATH".to_string()
    } else {
        suggestion(name, known)
    };
    named("TABLE_NOT_FOUND", place, &format!("Table '{full_name}' does not exist{ending}"))
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
