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

/// How Athena says something that the planner says otherwise.
struct Wording {
    /// What the planner's words have in them, ..
    start: &'static str,
    /// .. and then, the last one of these, ..
    behind: &'static str,
    /// .. and then this, behind what is kept.
    end: &'static str,
    /// Athena's name for it.
    name: &'static str,
    /// Athena's words, with `{}` for what is kept.
    text: &'static str,
}

const fn wording(
    (start, behind, end): (&'static str, &'static str, &'static str),
    name: &'static str,
    text: &'static str,
) -> Wording {
    Wording { start, behind, end, name, text }
}

const MISMATCH: &str = "TYPE_MISMATCH";
const OPERATOR: &str = "Cannot apply operator: {}";
const POSITION: &str = "INVALID_COLUMN_REFERENCE";
const INSIDE: &str = "is nested inside '";

const WORDINGS: [Wording; 27] = [
    wording(("Cannot infer common argument type for comparison operation ", "", ""), MISMATCH, OPERATOR),
    wording(("Cannot coerce arithmetic expression ", "", " to valid types"), MISMATCH, OPERATOR),
    wording(("Cannot get result type for arithmetic operation ", "", ":"), MISMATCH, OPERATOR),
    wording(
        ("Cannot create filter with non-boolean predicate ", " returning ", ""),
        MISMATCH,
        "WHERE clause must evaluate to a boolean: actual type {}",
    ),
    wording(
        ("Unary operator 'NOT' requires a boolean expression, got ", "", ""),
        MISMATCH,
        "Value of logical NOT expression must evaluate to a boolean (actual: {})",
    ),
    wording(
        ("Join condition must be boolean type, but got ", "", ""),
        MISMATCH,
        "JOIN ON clause must evaluate to a boolean: actual type {}",
    ),
    wording(
        ("Cannot access field at argument ", ": type ", " is not Struct, Map, or "),
        MISMATCH,
        "Expression of type {} is not of type ROW",
    ),
    wording(("Unsupported CAST from ", "", ""), MISMATCH, "Cannot cast {}"),
    wording(("Unexpected parameters (", "", ") for function owlet_negate"), MISMATCH, "Cannot negate {}"),
    wording(("Can not find compatible types to compare ", "", ""), MISMATCH, "IN value and list items must be of one type: {}"),
    wording(("Cannot use ", "", " for subscript"), MISMATCH, "Cannot use {} for subscript of this array or map"),
    wording(
        ("owlet_subscript", "", ""),
        MISMATCH,
        "Cannot use this value for a subscript: only arrays, maps and rows have elements",
    ),
    wording(("to be an integer or null, but got ", "", ""), MISMATCH, "LIMIT and OFFSET must be integers, not {}"),
    wording(("Inconsistent data length across values list: ", "", ""), MISMATCH, "Values rows have mismatched sizes: {}"),
    wording(("Cannot unnest type: ", "", ""), MISMATCH, "Cannot unnest type: {}"),
    wording(("unnest() can only be applied to array, struct and null, got ", "", ""), MISMATCH, "Cannot unnest type: {}"),
    wording(
        ("Aggregate function calls cannot be nested: ", INSIDE, "("),
        "NESTED_AGGREGATION",
        "Cannot nest aggregations inside aggregation '{}'",
    ),
    wording(
        ("cannot contain window function calls: ", INSIDE, "("),
        "NESTED_WINDOW",
        "Cannot nest window functions inside aggregation '{}'",
    ),
    wording(
        ("Window function calls cannot be nested: ", INSIDE, "("),
        "NESTED_WINDOW",
        "Cannot nest window functions inside window function '{}'",
    ),
    wording(
        ("Aggregate functions are not allowed in the WHERE clause", "", ""),
        "EXPRESSION_NOT_SCALAR",
        "WHERE clause cannot contain aggregations, window functions or grouping operations; HAVING can",
    ),
    wording(
        ("Cannot find column with position ", "", " in SELECT clause"),
        POSITION,
        "GROUP BY position {} is not in select list",
    ),
    wording(("Order by column out of bounds, specified: ", "", ","), POSITION, "ORDER BY position {} is not in select list"),
    wording(
        ("Too many columns! The subquery should only return one column", "", ""),
        "SYNTAX_ERROR",
        "Multiple columns returned by subquery are not supported: this one must give one",
    ),
    wording(
        ("Schema contains duplicate qualified field name ", "", ""),
        "NOT_SUPPORTED",
        "two relations of one name, with the column {}: give them different names",
    ),
    wording(
        ("Substring without for/from", "", ""),
        "FUNCTION_NOT_FOUND",
        "Unexpected parameters for function substr: it takes a text, a start and maybe a length",
    ),
    wording(("Invalid qualifier ", "", ""), "TABLE_NOT_FOUND", "Table '{}' not found"),
    wording(
        ("Projections require unique expression names", "", ""),
        "DUPLICATE_COLUMN_NAME",
        "two columns have one name here: give them different ones",
    ),
];

/// Athena's name for what `message` says, and how it says it.
pub(crate) fn reworded(message: &str) -> Option<(&'static str, String)> {
    let text = with_called_names(&with_sql_types(message));
    let kept = |wording: &Wording| {
        let rest = text.split_once(wording.start)?.1;
        let rest = if wording.behind.is_empty() { rest } else { rest.rsplit_once(wording.behind)?.1 };
        Some(if wording.end.is_empty() { rest.trim_end_matches('.') } else { rest.split_once(wording.end)?.0 })
    };
    let found = WORDINGS.iter().find_map(|wording| Some((wording.name, wording.text.replace("{}", kept(wording)?))));
    found.or_else(|| of_casts(&text)).or_else(|| of_parameters(&text)).or_else(|| of_aliases(&text))
}

/// Casts that are functions here.
fn of_casts(text: &str) -> Option<(&'static str, String)> {
    let to = text.split_once("for function owlet_cast_")?.1.trim_end_matches('.');
    let from = between(text, "Unexpected parameters (", ")")?;
    // `char(n)` and the like have their length behind the value; `date(x)` is a function of its own.
    let from = from.split_once(", ").map_or(from, |(first, _)| first);
    (to != "date").then(|| (MISMATCH, format!("Cannot cast {from} to {}", to.split('_').next().unwrap_or(to))))
}

/// `text` with functions by the names that statements have for them.
fn with_called_names(text: &str) -> String {
    let names = [("owlet_cast_date", "date"), ("owlet_clock_", ""), ("owlet_equal", "="), ("inner_product", "dot_product")];
    names.iter().fold(text.to_string(), |text, (own, called)| {
        text.replace(&format!("for function {own}"), &format!("for function {called}"))
    })
}

/// The text between `start` and `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(between, _)| between)
}

fn of_parameters(text: &str) -> Option<(&'static str, String)> {
    if let Some((_, why)) = text.split_once("coercion failed with: ")
        && let Some(start) = why.find("Unexpected parameters")
    {
        return Some(("FUNCTION_NOT_FOUND", why.split_at(start).1.to_string()));
    }
    let name = between(text, "satisfy a call to '", "'")?;
    let types = between(text, "coercion from ", " to the signature")?;
    Some(("FUNCTION_NOT_FOUND", format!("Unexpected parameters ({types}) for function {name}")))
}

fn of_aliases(text: &str) -> Option<(&'static str, String)> {
    let has = between(text, "Source table contains ", " ")?;
    let names = between(text, "but only ", " ")?;
    Some(("MISMATCHED_COLUMN_ALIASES", format!("Column alias list has {names} entries but relation has {has} columns")))
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
