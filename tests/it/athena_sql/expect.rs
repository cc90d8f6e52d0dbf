//! What a statement must give: rows, or predicates on them; the notation is described in `athena_sql.rs`.

use super::value::{Value, print, rows, types};
use arrow::array::RecordBatch;
use serde_json::Value as Json;

/// Floats may differ by this part of them.
const TOLERANCE: f64 = 1e-9;
/// Below this, they may differ by that part of it.
const SMALL: f64 = 1e-3;

type Rows = Vec<Vec<Value>>;

/// What must be equal: everything in order, or without an order.
#[derive(Clone, Copy)]
struct Compare {
    /// Whether the elements of arrays have an order.
    lists_ordered: bool,
}

const EXACT: Compare = Compare { lists_ordered: true };

/// Says how `batches` differ from `expected`; `ordered` for statements that fix the order of their rows.
pub(super) fn difference(expected: &str, ordered: bool, batches: &[RecordBatch]) -> Option<String> {
    let (got, kinds) = (rows(batches), types(batches));
    let fits = expected.split(" || ").any(|alternative| {
        if alternative.starts_with('[') {
            let expected = parse(alternative);
            return if ordered { EXACT.in_order(&expected, &got) } else { EXACT.same(&expected, &got) };
        }
        alternative.split("; ").all(|clause| holds(clause, &got, &kinds))
    });
    (!fits).then(|| print(&got))
}

/// Reads rows; an array of rows is written as JSON.
pub(super) fn parse(text: &str) -> Rows {
    let Ok(Json::Array(lines)) = serde_json::from_str(text) else { panic!("no rows: {text}") };
    let row = |line: &Json| match Value::from(line) {
        Value::List(cells) => cells,
        other => panic!("no row: {other}"),
    };
    lines.iter().map(row).collect()
}

/// Whether one predicate holds.
fn holds(clause: &str, got: &Rows, kinds: &[String]) -> bool {
    if let Some(count) = clause.strip_prefix("rows>=") {
        return got.len() >= count.parse().expect("a number of rows");
    }
    if let Some(count) = clause.strip_prefix("rows=") {
        return got.len() == count.parse::<usize>().expect("a number of rows");
    }
    let (name, rest) = clause.split_once(": ").unwrap_or_else(|| panic!("no predicate: {clause}"));
    match name {
        "unordered" => Compare { lists_ordered: false }.same(&parse(rest), got),
        "subset" => EXACT.missing(got, &parse(rest)).is_none(),
        "includes" => EXACT.missing(&trimmed(&parse(rest)), &trimmed(got)).is_none(),
        "among" => {
            let expected = parse(rest);
            got.iter().all(|row| expected.iter().any(|other| EXACT.all(other, row)))
        }
        "fields" => EXACT.in_order(&parse(rest), &fields(got)),
        "contains" => print(got).to_lowercase().contains(&rest.to_lowercase()),
        "types" => {
            let expected: Vec<&str> = rest.split(',').collect();
            expected.len() == kinds.len()
                && expected.iter().zip(kinds).all(|(names, kind)| names.split('|').any(|name| name == kind))
        }
        "range" => {
            let (low, high) = rest.split_once("..").expect("two ends");
            let within = low.parse().expect("a number")..=high.parse().expect("a number");
            got.iter().flatten().all(|value| number(value).is_some_and(|value: f64| within.contains(&value)))
        }
        other => panic!("no predicate: {other}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "only small numbers are compared with a range")]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

fn trimmed(rows: &Rows) -> Rows {
    let trim = |value: &Value| match value {
        Value::Text(text) => Value::Text(text.trim().to_string()),
        other => other.clone(),
    };
    rows.iter().map(|row| row.iter().map(trim).collect()).collect()
}

/// What `DESCRIBE` says, whether it fills columns or writes tabs and spaces between fields.
fn fields(rows: &Rows) -> Rows {
    let cell = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let line = |row: &Vec<Value>| row.iter().map(cell).collect::<Vec<_>>().join("\t");
    rows.iter().map(|row| line(row).split('\t').map(|field| Value::Text(field.trim().to_string())).collect()).collect()
}

impl Compare {
    fn in_order(self, expected: &Rows, got: &Rows) -> bool {
        expected.len() == got.len() && expected.iter().zip(got).all(|(expected, got)| self.all(expected, got))
    }

    /// As multisets.
    fn same(self, expected: &Rows, got: &Rows) -> bool {
        expected.len() == got.len() && self.missing(expected, got).is_none()
    }

    /// The first of `wanted` that has no partner of its own in `rows`.
    fn missing<'a>(self, wanted: &'a Rows, rows: &Rows) -> Option<&'a Vec<Value>> {
        let mut used = vec![false; rows.len()];
        wanted.iter().find(|row| {
            let partner = (0..rows.len()).find(|&other| !used[other] && self.all(row, &rows[other]));
            partner.inspect(|&other| used[other] = true).is_none()
        })
    }

    fn all(self, expected: &[Value], got: &[Value]) -> bool {
        expected.len() == got.len() && expected.iter().zip(got).all(|(expected, got)| self.equal(expected, got))
    }

    fn equal(self, expected: &Value, got: &Value) -> bool {
        match (expected, got) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(SMALL),
            (Value::Text(a), Value::Float(b)) => *a == float_name(*b),
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::List(a), Value::List(b)) if self.lists_ordered => self.all(a, b),
            (Value::List(a), Value::List(b)) => {
                let single = |items: &[Value]| items.iter().map(|item| vec![item.clone()]).collect::<Rows>();
                self.same(&single(a), &single(b))
            }
            // A map is written as the array of its entries.
            (Value::List(a), Value::Map(b)) => {
                let entry = |(key, value): &(Value, Value)| vec![Value::List(vec![key.clone(), value.clone()])];
                self.same(&a.iter().map(|entry| vec![entry.clone()]).collect(), &b.iter().map(entry).collect())
            }
            (Value::Row(a), Value::Row(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|((name, a), (other, b))| {
                        let unnamed = name.bytes().all(|byte| byte.is_ascii_digit());
                        (unnamed || name.eq_ignore_ascii_case(other)) && self.equal(a, b)
                    })
            }
            _ => false,
        }
    }
}

fn float_name(value: f64) -> &'static str {
    match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        value if value.is_nan() => "NaN",
        _ => "",
    }
}
