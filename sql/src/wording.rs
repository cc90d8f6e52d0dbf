//! What the planner says is wrong, in Athena's words.

use datafusion::arrow::datatypes::DataType;
use engine::functions::type_name;

/// What the names of Arrow's types start with.
const TYPES: [&str; 24] = [
    "Boolean",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float16",
    "Float32",
    "Float64",
    "Utf8",
    "LargeUtf8",
    "Utf8View",
    "Binary",
    "LargeBinary",
    "BinaryView",
    "Date32",
    "Date64",
    "Null",
    "Time32",
    "Time64",
    "Timestamp",
];
/// Those that have something in parentheses.
const TYPES_WITH_PARTS: [&str; 12] = [
    "Time32",
    "Time64",
    "Timestamp",
    "Duration",
    "Interval",
    "Decimal128",
    "Decimal256",
    "List",
    "LargeList",
    "Struct",
    "Map",
    "FixedSizeBinary",
];

/// `text` with Athena's names for the types that Arrow names in it.
pub(crate) fn with_sql_types(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let (before, from) = rest.split_at(start);
        written.push_str(before);
        let end = from.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(from.len());
        let (word, behind) = from.split_at(end);
        let parts = if TYPES_WITH_PARTS.contains(&word) { closed(behind) } else { 0 };
        let whole = from.get(..end + parts).unwrap_or(word);
        let is_type = parts > 0 || TYPES.contains(&word);
        match is_type.then(|| whole.parse::<DataType>().ok()).flatten() {
            Some(kind) => written.push_str(&type_name(&kind)),
            None => written.push_str(whole),
        }
        rest = from.get(whole.len()..).unwrap_or_default();
    }
    written.push_str(rest);
    written
}

/// How many bytes of `text` the parentheses at its beginning have; 0 when it does not begin with them.
fn closed(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return if at == 0 { 0 } else { at + 1 };
        }
    }
    0
}

/// The text between `start` and `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = text.split_once(start)?.1;
    Some(if end.is_empty() { rest } else { rest.split_once(end)?.0 })
}

/// The name of the function in `text`, which shows a call of it.
fn function(text: &str) -> &str {
    text.split('(').next().unwrap_or(text)
}

/// Athena's name for what `message` says, and how it says it.
pub(crate) fn reworded(message: &str) -> Option<(&'static str, String)> {
    let text = with_sql_types(message);
    let rest = |start: &str| text.split_once(start).map(|(_, rest)| rest.trim_end_matches('.'));
    if let Some(operation) = rest("Cannot infer common argument type for comparison operation ") {
        return Some(("TYPE_MISMATCH", format!("Cannot apply operator: {operation}")));
    }
    if let Some(operation) = between(&text, "Cannot coerce arithmetic expression ", " to valid types")
        .or_else(|| between(&text, "Cannot get result type for arithmetic operation ", ":"))
    {
        return Some(("TYPE_MISMATCH", format!("Cannot apply operator: {operation}")));
    }
    if let Some(kind) =
        between(&text, "Cannot create filter with non-boolean predicate ", "").and_then(|text| rest_of(text, " returning "))
    {
        return Some(("TYPE_MISMATCH", format!("WHERE clause must evaluate to a boolean: actual type {kind}")));
    }
    if let Some(kind) = rest("Unary operator 'NOT' requires a boolean expression, got ") {
        return Some(("TYPE_MISMATCH", format!("Value of logical NOT expression must evaluate to a boolean (actual: {kind})")));
    }
    if let Some(kind) = rest("Join condition must be boolean type, but got ") {
        return Some(("TYPE_MISMATCH", format!("JOIN ON clause must evaluate to a boolean: actual type {kind}")));
    }
    if let Some(kind) =
        between(&text, "Cannot access field at argument ", " is not Struct, Map, or ").and_then(|text| rest_of(text, "type "))
    {
        return Some(("TYPE_MISMATCH", format!("Expression of type {kind} is not of type ROW")));
    }
    if let Some(cast) = rest("Unsupported CAST from ") {
        return Some(("TYPE_MISMATCH", format!("Cannot cast {cast}")));
    }
    if let Some(kind) = between(&text, "Unexpected parameters (", ") for function owlet_negate") {
        return Some(("TYPE_MISMATCH", format!("Cannot negate {kind}")));
    }
    if text.contains("owlet_subscript") {
        return Some(("TYPE_MISMATCH", "Cannot use this value for a subscript: only arrays, maps and rows have elements".into()));
    }
    if let Some(call) = between(&text, "Aggregate function calls cannot be nested: ", "")
        .and_then(|text| between(text, "is nested inside '", "'"))
    {
        return Some(("NESTED_AGGREGATION", format!("Cannot nest aggregations inside aggregation '{}'", function(call))));
    }
    if let Some(call) =
        between(&text, "cannot contain window function calls: ", "").and_then(|text| between(text, "is nested inside '", "'"))
    {
        return Some(("NESTED_WINDOW", format!("Cannot nest window functions inside aggregation '{}'", function(call))));
    }
    if let Some(call) =
        between(&text, "Window function calls cannot be nested: ", "").and_then(|text| between(text, "is nested inside '", "'"))
    {
        return Some(("NESTED_WINDOW", format!("Cannot nest window functions inside window function '{}'", function(call))));
    }
    if text.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        let what = "WHERE clause cannot contain aggregations, window functions or grouping operations; HAVING can";
        return Some(("EXPRESSION_NOT_SCALAR", what.into()));
    }
    if let Some(place) = between(&text, "Cannot find column with position ", " in SELECT clause") {
        return Some(("INVALID_COLUMN_REFERENCE", format!("GROUP BY position {place} is not in select list")));
    }
    if let Some(place) = between(&text, "Order by column out of bounds, specified: ", ",") {
        return Some(("INVALID_COLUMN_REFERENCE", format!("ORDER BY position {place} is not in select list")));
    }
    if let Some(kind) = rest("to be an integer or null, but got ") {
        return Some(("TYPE_MISMATCH", format!("LIMIT and OFFSET must be integers, not {kind}")));
    }
    if text.starts_with("Too many columns! The subquery should only return one column") {
        return Some(("SYNTAX_ERROR", "Multiple columns returned by subquery are not supported: this one must give one".into()));
    }
    if let Some(counts) = rest("Source table contains ") {
        let has = counts.split(' ').next().unwrap_or_default();
        let names = between(counts, "but only ", " ").unwrap_or_default();
        return Some((
            "MISMATCHED_COLUMN_ALIASES",
            format!("Column alias list has {names} entries but relation has {has} columns"),
        ));
    }
    if text.starts_with("Inconsistent data length across values list") {
        return Some((
            "TYPE_MISMATCH",
            format!("Values rows have mismatched sizes: {}", rest("values list: ").unwrap_or_default()),
        ));
    }
    if let Some(kind) =
        rest("Cannot unnest type: ").or_else(|| rest("unnest() can only be applied to array, struct and null, got "))
    {
        return Some(("TYPE_MISMATCH", format!("Cannot unnest type: {kind}")));
    }
    None
}

fn rest_of<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.rsplit_once(start).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_athenas_names() {
        for (text, expected) in [
            ("Utf8 and Int64x, xInt64", "varchar and Int64x, xInt64"),
            (
                "'+' of Timestamp(s), Timestamp(ms, \"UTC\"), Decimal128(5, 2)",
                "'+' of timestamp(0), timestamp(3) with time zone, decimal(5,2)",
            ),
            ("List(Int64) = Boolean", "array(bigint) = boolean"),
            ("Timestamp( Struct(x List", "Timestamp( Struct(x List"),
            ("ä Null()", "ä unknown()"),
        ] {
            assert_eq!(with_sql_types(text), expected);
        }
    }
}
