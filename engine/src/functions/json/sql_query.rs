//! `json_exists`, `json_query` and `json_value` with their clauses. The front end writes them as `owlet_json_exists` and the like:
//! the clauses as words, the document, the path, the name and the value of each parameter, and for `json_value` what it gives for an
//! empty result and for an error, as the type that it returns.

use super::returning::{converted, type_of, varchar};
use super::sql_json::{Documents, check_document, clauses, document, failed, scalar, texts};
use super::sql_path::{Evaluation, Item, Scalar, SqlPath, Stop};
use crate::functions::Functions;
use crate::functions::conversion::type_name;
use crate::functions::define::{Arg, Call, Input, JSON, Typing, define, is_text};
use crate::functions::text_support::bounded;
use arrow::array::{Array, ArrayRef, BooleanArray, new_null_array};
use arrow::compute::{cast, interleave};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, internal_err, plan_err};

use std::borrow::Cow;
use std::sync::Arc;

/// With the engine's errors, or with the words of an error that ON ERROR is about.
type Result<T, E = DataFusionError> = std::result::Result<T, E>;

/// Where the parameters begin.
const FIRST_PARAMETER: usize = 3;

/// Runs `path` over `text`, for `take` to make something of what it selects, or of the error.
///
/// # Errors
/// For what is not computed here, and what `take` fails with.
fn run<'n, T>(
    path: &'n SqlPath,
    root: &'n super::Node<'n>,
    given: &'n [(&'n str, Option<Item<'n>>)],
    take: impl FnOnce(Result<&[Item<'n>], String>) -> Result<T>,
) -> Result<T> {
    match Evaluation::new(path, root, given).run() {
        Ok(items) => take(Ok(&items)),
        Err(Stop::Path(message)) => take(Err(format!("path evaluation failed: {message}"))),
        Err(Stop::Refused(error)) => Err(error),
    }
}

/// The same without parameters, for a path of each row.
pub(super) fn run_plain<T>(path: &SqlPath, text: &str, take: impl FnOnce(Result<&[Item<'_>], String>) -> Result<T>) -> Result<T> {
    match document(text)? {
        Some(root) => run(path, &root, &[], take),
        None => take(Err("conversion to JSON failed".into())),
    }
}

enum Parameter<'a> {
    Json(Documents),
    Value(&'a Input),
}

/// The arguments that all three functions have.
struct Question<'a> {
    documents: Documents,
    path: SqlPath,
    names: Vec<String>,
    parameters: Vec<Parameter<'a>>,
}

impl<'a> Question<'a> {
    /// Of a call with `others` arguments behind the parameters.
    fn new(call: &'a Call<'_>, others: usize) -> Result<Self> {
        let end = call.inputs.len().saturating_sub(others).max(FIRST_PARAMETER);
        let (mut names, mut parameters) = (Vec::new(), Vec::new());
        for at in (FIRST_PARAMETER..end).step_by(2) {
            names.push(call.texts(at)?.get(0).unwrap_or_default().to_string());
            let input = call.input(at + 1)?;
            let is_json = *input.array.data_type() == JSON;
            parameters.push(if is_json { Parameter::Json(Documents::new(input)?) } else { Parameter::Value(input) });
        }
        let path = call.texts(2)?;
        let path = SqlPath::parse(path.get(0).unwrap_or_default())?;
        Ok(Self { documents: Documents::new(call.input(1)?)?, path, names, parameters })
    }

    /// What `take` makes of a row; `None` for a NULL document.
    fn ask<T>(&self, row: usize, take: impl FnOnce(Result<&[Item<'_>], String>) -> Result<T>) -> Result<Option<T>> {
        let Some(text) = self.documents.get(row) else { return Ok(None) };
        let malformed = || Err("conversion to JSON failed".to_string());
        let Some(root) = document(text)? else { return take(malformed()).map(Some) };
        let mut nodes = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            nodes.push(match parameter {
                Parameter::Json(documents) => match documents.get(row).map(document).transpose()? {
                    Some(None) => return take(malformed()).map(Some),
                    node => node.flatten(),
                },
                Parameter::Value(_) => Some(super::Node::Null),
            });
        }
        let mut given = Vec::with_capacity(nodes.len());
        for ((name, parameter), node) in self.names.iter().zip(&self.parameters).zip(&nodes) {
            let value = match parameter {
                // NULL is an empty sequence as JSON, and null as a value.
                Parameter::Json(_) => node.as_ref().map(Item::Node),
                Parameter::Value(input) => scalar(input, row)?.map(Item::Scalar).or(node.as_ref().map(Item::Node)),
            };
            given.push((name.as_str(), value));
        }
        run(&self.path, &root, &given, take).map(Some)
    }
}

fn json_exists(call: &Call<'_>) -> Result<ArrayRef> {
    let question = Question::new(call, 0)?;
    let on_error = clauses(call)?.concat();
    let mut all = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let exists = question.ask(row, |found| match (found, on_error.as_str()) {
            (Ok(items), _) => Ok(Some(!items.is_empty())),
            (Err(_), "TRUE") => Ok(Some(true)),
            (Err(_), "UNKNOWN") => Ok(None),
            (Err(message), "ERROR") => failed(&message),
            (Err(_), _) => Ok(Some(false)),
        })?;
        all.push(exists.flatten());
    }
    Ok(Arc::new(BooleanArray::from(all)))
}

/// What `json_query` gives in place of a result.
fn instead(behaviour: &str, message: &str) -> Result<Option<String>> {
    match behaviour {
        "ARRAY" => Ok(Some("[]".into())),
        "OBJECT" => Ok(Some("{}".into())),
        "ERROR" => failed(message),
        _ => Ok(None),
    }
}

fn json_query(call: &Call<'_>) -> Result<ArrayRef> {
    let question = Question::new(call, 0)?;
    let clauses = clauses(call)?;
    let [wrapper, quotes, on_empty, on_error] = clauses.as_slice() else { return internal_err!("clauses of {}", call.name) };
    texts(call.rows, |row| {
        let text = question.ask(row, |found| match found {
            Err(message) => instead(on_error, &message),
            Ok([]) => instead(on_empty, "conversion from JSON failed: JSON path found no items"),
            Ok(items) => {
                let is_single = matches!(items, [item] if item.is_nested());
                match items {
                    _ if wrapper == "UNCONDITIONAL" || wrapper == "CONDITIONAL" && !is_single => {
                        let mut out = String::from("[");
                        for item in items {
                            out.push_str(if out.len() > 1 { "," } else { "" });
                            out.push_str(&item.json_text()?);
                            // A path may name one item many times.
                            bounded(out.len())?;
                        }
                        out.push(']');
                        Ok(Some(out))
                    }
                    [item] if quotes == "OMIT" && item.text().is_some() => Ok(item.text().map(str::to_string)),
                    [item] => item.json_text().map(Some),
                    _ => instead(on_error, "conversion from JSON failed: JSON path found multiple items"),
                }
            }
        })?;
        Ok(text.flatten())
    })
}

/// What `json_value` finds in a row.
enum Found {
    Null,
    Value(Scalar<'static>),
    Empty,
    Error(String),
}

impl Found {
    fn of(found: Result<&[Item<'_>], String>) -> Self {
        let cannot = |what: &str| Self::Error(format!("cannot extract SQL scalar from JSON: JSON path found {what}"));
        match found {
            Err(message) => Self::Error(message),
            Ok([]) => Self::Empty,
            Ok([Item::Node(super::Node::Null)]) => Self::Null,
            Ok([item]) => match item.scalar() {
                Ok(Some(Scalar::Text(text))) => Self::Value(Scalar::Text(Cow::Owned(text.into_owned()))),
                Ok(Some(Scalar::Bool(value))) => Self::Value(Scalar::Bool(value)),
                Ok(Some(Scalar::Number(number))) => Self::Value(Scalar::Number(number)),
                Ok(None) | Err(_) => cannot("an item that cannot be converted to an SQL value"),
            },
            Ok(_) => cannot("multiple items"),
        }
    }
}

/// As varchar, for `json_value` without clauses.
pub(super) fn plain_value(found: Result<&[Item<'_>], String>) -> Option<String> {
    match Found::of(found) {
        Found::Value(value) => varchar(&value, None),
        _ => None,
    }
}

fn json_value(call: &Call<'_>) -> Result<ArrayRef> {
    let question = Question::new(call, 2)?;
    let clauses = clauses(call)?;
    let [on_empty, on_error, length] = clauses.as_slice() else { return internal_err!("clauses of {}", call.name) };
    let mut found = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        found.push(question.ask(row, |items| Ok(Found::of(items)))?.unwrap_or(Found::Null));
    }
    let to = call.returns;
    let values: Vec<Option<Scalar<'_>>> = found
        .iter()
        .map(|found| match found {
            Found::Value(value) if is_text(to) => varchar(value, length.parse().ok()).map(|text| Scalar::Text(text.into())),
            Found::Value(value) => Some(value.clone()),
            _ => None,
        })
        .collect();
    let converted = converted(&values, to)?;
    let defaults = call.inputs.len().saturating_sub(2);
    let default = |at: usize| call.input(defaults + at).and_then(|input| Ok(cast(&input.array, to)?));
    let mut arrays = vec![new_null_array(to, 1), default(0)?, default(1)?];
    arrays.extend(converted.iter().map(|(_, array)| Arc::clone(array)));
    let mut places = Vec::with_capacity(call.rows);
    for (row, (found, value)) in found.iter().zip(&values).enumerate() {
        let instead = |behaviour: &str, array: usize, message: &str| match behaviour {
            "DEFAULT" => Ok((array, if call.input(defaults + array - 1)?.constant { 0 } else { row })),
            "ERROR" => failed(message),
            _ => Ok((0, 0)),
        };
        let of = value.as_ref().map(type_of);
        let cast = converted.iter().position(|(from, array)| Some(from) == of.as_ref() && array.is_valid(row));
        places.push(match (found, cast) {
            (Found::Null, _) => (0, 0),
            (Found::Value(_), Some(at)) => (3 + at, row),
            (Found::Value(_), None) => {
                let to = type_name(to);
                instead(on_error, 2, &format!("cannot extract SQL scalar from JSON: Cannot cast the value to {to}"))?
            }
            (Found::Empty, _) => instead(on_empty, 1, "cannot extract SQL scalar from JSON: JSON path found no items")?,
            (Found::Error(message), _) => instead(on_error, 2, message)?,
        });
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    Ok(interleave(&arrays, &places)?)
}

/// Checks the document and the path, with values for its variables.
fn check(typing: &Typing<'_>, others: usize) -> Result<()> {
    check_document(typing.kind(1), None)?;
    if !typing.is_literal(2) {
        return Ok(());
    }
    let path = SqlPath::parse(&typing.text(2)?.unwrap_or_default())?;
    let end = typing.types.len().saturating_sub(others);
    let mut names = Vec::new();
    for at in (FIRST_PARAMETER..end).step_by(2) {
        let name = typing.text(at)?.unwrap_or_default();
        if names.contains(&name) {
            return plan_err!("DUPLICATE_PARAMETER_NAME: {name} JSON path parameter is specified more than once");
        }
        names.push(name);
    }
    path.check_variables(&names)
}

fn value_type(typing: &Typing<'_>) -> Result<DataType> {
    check(typing, 2)?;
    let to = typing.kind(typing.types.len().saturating_sub(1));
    if is_text(to) && *to != JSON {
        return Ok(DataType::Utf8);
    }
    let is_scalar = match to {
        DataType::Boolean | DataType::Decimal128(..) | DataType::Date32 => true,
        DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(_, None) => true,
        other => other.is_signed_integer() || matches!(other, DataType::Float32 | DataType::Float64),
    };
    if !is_scalar {
        return plan_err!("TYPE_MISMATCH: Invalid return type of function JSON_VALUE: {}", type_name(to));
    }
    Ok(to.clone())
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    const ARGUMENTS: [Arg; 3] = [Arg::Text, Arg::Any, Arg::Text];
    let exists = |typing: &Typing<'_>| check(typing, 0).map(|()| DataType::Boolean);
    let query = |typing: &Typing<'_>| check(typing, 0).map(|()| DataType::Utf8);
    functions.scalar.extend([
        define("owlet_json_exists").typed(&ARGUMENTS, Some(Arg::Any), exists, json_exists).udf(),
        define("owlet_json_query").typed(&ARGUMENTS, Some(Arg::Any), query, json_query).udf(),
        define("owlet_json_value").typed(&ARGUMENTS, Some(Arg::Any), value_type, json_value).udf(),
    ]);
}

/// The result of `json_query` without clauses.
pub(super) fn plain_query(found: Result<&[Item<'_>], String>) -> Result<Option<String>> {
    match found {
        Ok([item]) => item.json_text().map(Some),
        _ => Ok(None),
    }
}
