//! JSON functions. A JSON value is its text, in a layout that only JSON has: these functions read text of any layout.

mod java_map;
mod lenient;
mod node;
mod path;
mod reader;
mod returning;
mod sql_json;
mod sql_path;
mod sql_query;

pub(super) use self::lenient::Case;
pub(super) use self::node::{Node, is_integer, quoted};

use self::node::Duplicates;
use self::path::Path;
use self::reader::{Kind, MAX_DEPTH, Problem, Read, Reader};
use self::sql_path::SqlPath;
use self::sql_query::{plain_query, plain_value, run_plain};
use super::Functions;
use super::text_support::{Arg, Entry, Eval, Row, add_table, bad, on};
use datafusion::error::{DataFusionError, Result};
use std::borrow::Cow;

const TEXT: &[Arg] = &[Arg::Text];
const TEXT_2: &[Arg] = &[Arg::Text; 2];
const TEXT_INT: &[Arg] = &[Arg::Text, Arg::Int];

type Text<'a> = Result<Option<Cow<'a, str>>>;

static TABLE: &[Entry] = &[
    ("is_json_scalar", &[on(TEXT, Eval::Bool(is_json_scalar))]),
    (
        "json_array_contains",
        &[
            on(&[Arg::Text, Arg::Bool], Eval::Bool(array_contains_bool)),
            on(TEXT_INT, Eval::Bool(array_contains_int)),
            on(&[Arg::Text, Arg::Double], Eval::Bool(array_contains_double)),
            on(TEXT_2, Eval::Bool(array_contains_text)),
        ],
    ),
    ("json_array_get", &[on(TEXT_INT, Eval::Json(array_get))]),
    ("json_array_length", &[on(TEXT, Eval::Int(array_length))]),
    ("json_exists", &[on(TEXT_2, Eval::Bool(json_exists))]),
    ("json_extract", &[on(TEXT_2, Eval::Json(extract))]),
    ("json_extract_scalar", &[on(TEXT_2, Eval::Text(extract_scalar))]),
    ("json_format", &[on(TEXT, Eval::Text(format_json))]),
    ("json_parse", &[on(TEXT, Eval::Json(parse))]),
    ("json_query", &[on(TEXT_2, Eval::Text(json_query))]),
    ("json_size", &[on(TEXT_2, Eval::Int(size))]),
    ("json_value", &[on(TEXT_2, Eval::Text(json_value))]),
];

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    add_table(functions, TABLE);
    sql_json::register(functions);
    sql_query::register(functions);
}

/// Malformed text gives NULL; other text that is not read is an error.
fn null_if_malformed<T>(read: Read<Option<T>>) -> Result<Option<T>> {
    read.or_else(|problem| if problem == Problem::Malformed { Ok(None) } else { Err(error(problem, String::new)) })
}

/// A problem as an error; for malformed text, in the words of the function.
fn error(problem: Problem, malformed: impl FnOnce() -> String) -> DataFusionError {
    bad(match problem {
        Problem::Malformed => malformed(),
        Problem::TooDeep => format!("JSON is nested deeper than {MAX_DEPTH} levels"),
    })
}

/// The whole text, for functions that take no malformed one.
fn whole(text: &str, duplicates: Duplicates) -> Read<Node<'_>> {
    let mut reader = Reader::new(text);
    let node = Node::read(&mut reader, duplicates)?;
    if reader.at_end() { Ok(node) } else { Err(Problem::Malformed) }
}

/// The value whose whole text is `text`.
///
/// # Errors
/// For text that is no JSON.
fn read(text: &str) -> Result<Node<'_>> {
    whole(text, Duplicates::LastWins).map_err(|problem| error(problem, || format!("Cannot convert value to JSON: '{text}'")))
}

/// The same with all members that have one name.
///
/// # Errors
/// For text that is no JSON.
pub(super) fn read_as_written(text: &str) -> Result<Node<'_>> {
    whole(text, Duplicates::Keep).map_err(|problem| error(problem, || format!("Cannot convert value to JSON: '{text}'")))
}

/// The first value of `text`, whatever follows it; `None` for text that is no JSON. With `lenient` as the OpenX serde reads it: words
/// without quotes are numbers.
///
/// # Errors
/// For JSON that is not read here.
pub(super) fn first(text: &str, lenient: Option<Case>) -> Result<Option<Node<'_>>> {
    let value = match lenient {
        Some(case) => lenient::read(text, case),
        None => Node::read(&mut Reader::new(text), Duplicates::Keep),
    };
    null_if_malformed(value.map(Some))
}

fn parse<'a>(row: &Row<'a>) -> Text<'a> {
    Ok(Some(read(row.text(0))?.sorted_text()?.into()))
}

/// A JSON value is its text already.
fn format_json<'a>(row: &Row<'a>) -> Text<'a> {
    Ok(Some(row.text(0).into()))
}

fn is_json_scalar(row: &Row<'_>) -> Result<Option<bool>> {
    let words = || format!("Invalid JSON value: {}", row.text(0));
    let node = whole(row.text(0), Duplicates::LastWins).map_err(|problem| error(problem, words))?;
    Ok(Some(!matches!(node, Node::Array(_) | Node::Object(_))))
}

/// A reader at the value of the path in the second argument.
fn at_path<'a>(row: &Row<'a>) -> Result<Option<Reader<'a>>> {
    let path = row.prepared(1, Path::parse)?;
    let mut reader = Reader::new(row.text(0));
    let found = null_if_malformed(path.find(&mut reader))?;
    Ok(found.map(|()| reader))
}

fn extract<'a>(row: &Row<'a>) -> Text<'a> {
    let Some(mut reader) = at_path(row)? else { return Ok(None) };
    let node = null_if_malformed(Node::read(&mut reader, Duplicates::Keep).map(Some))?;
    node.map(|node| node.text().map(Cow::Owned)).transpose()
}

fn extract_scalar<'a>(row: &Row<'a>) -> Text<'a> {
    let Some(mut reader) = at_path(row)? else { return Ok(None) };
    null_if_malformed(scalar(&mut reader))
}

/// A scalar as text: strings without quotes, numbers as they are written.
fn scalar<'a>(reader: &mut Reader<'a>) -> Read<Option<Cow<'a, str>>> {
    Ok(match reader.kind()? {
        Kind::Text => Some(reader.string()?),
        Kind::Number => Some(reader.number()?.into()),
        Kind::True | Kind::False => Some(reader.word()?.into()),
        Kind::Null => reader.word().map(|_| None)?,
        Kind::Array | Kind::Object => None,
    })
}

fn size(row: &Row<'_>) -> Result<Option<i64>> {
    let Some(mut reader) = at_path(row)? else { return Ok(None) };
    let read = (|| match reader.kind()? {
        Kind::Array => items(&mut reader, |_, reader| reader.skip().map(|()| None::<i64>)).map(|walk| Some(walk.1)),
        Kind::Object => {
            reader.enter_object()?;
            let mut count = 0;
            while reader.next_member(count == 0)?.is_some() {
                reader.skip()?;
                count += 1;
            }
            Ok(Some(count))
        }
        _ => reader.skip().map(|()| Some(0)),
    })();
    null_if_malformed(read)
}

/// The texts of the items of the arrays that members of the object `text` with this name hold; none where it is no such object.
pub(super) fn items_of<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let read = || {
        let mut reader = Reader::new(text);
        let (mut items, mut found, mut first) = (Vec::new(), false, true);
        reader.enter_object()?;
        while let Some(member) = reader.next_member(std::mem::take(&mut first))? {
            if member != name {
                reader.skip()?;
                continue;
            }
            reader.enter_array()?;
            let mut first = true;
            while reader.next_item(std::mem::take(&mut first))? {
                items.push(reader.raw()?);
            }
            found = true;
        }
        if found && reader.at_end() { Ok(items) } else { Err(Problem::Malformed) }
    };
    read().ok()
}

/// Walks an array until `visit` gives something; what it gave, and how many items were passed before.
fn items<'a, T>(
    reader: &mut Reader<'a>,
    mut visit: impl FnMut(i64, &mut Reader<'a>) -> Read<Option<T>>,
) -> Read<(Option<T>, i64)> {
    reader.enter_array()?;
    let mut count = 0;
    while reader.next_item(count == 0)? {
        if let Some(found) = visit(count, reader)? {
            return Ok((Some(found), count));
        }
        count += 1;
    }
    Ok((None, count))
}

/// The same for the first argument of a function; NULL when it is no array.
fn argument_items<'a, T>(
    row: &Row<'a>,
    visit: impl FnMut(i64, &mut Reader<'a>) -> Read<Option<T>>,
) -> Result<Option<(Option<T>, i64)>> {
    let mut reader = Reader::new(row.text(0));
    let read = match reader.kind() {
        Ok(Kind::Array) => items(&mut reader, visit).map(Some),
        Ok(_) => Ok(None),
        Err(problem) => Err(problem),
    };
    null_if_malformed(read)
}

fn array_length(row: &Row<'_>) -> Result<Option<i64>> {
    Ok(argument_items(row, |_, reader| reader.skip().map(|()| None::<()>))?.map(|(_, count)| count))
}

/// An item of an array, negative from the end. A string loses its quotes, as documented for Trino.
fn array_get<'a>(row: &Row<'a>) -> Text<'a> {
    let mut index = row.int(1);
    if index < 0 {
        let Some(length) = array_length(row)? else { return Ok(None) };
        index = length.saturating_add(index);
    }
    let found = argument_items(row, |place, reader| {
        if place != index {
            return reader.skip().map(|()| None);
        }
        Ok(Some(match reader.kind()? {
            Kind::Array | Kind::Object => Err(Node::read(reader, Duplicates::LastWins)?),
            _ => Ok(scalar(reader)?),
        }))
    })?;
    match found.and_then(|(item, _)| item) {
        Some(Err(node)) => Ok(Some(node.text()?.into())),
        Some(Ok(text)) => Ok(text),
        None => Ok(None),
    }
}

fn array_contains<'a>(row: &Row<'a>, is: impl Fn(Kind, &mut Reader<'a>) -> Read<Option<bool>>) -> Result<Option<bool>> {
    let found = argument_items(row, |_, reader| {
        let kind = reader.kind()?;
        match is(kind, reader)? {
            Some(equal) => Ok(equal.then_some(())),
            None => reader.skip().map(|()| None),
        }
    })?;
    Ok(found.map(|(found, _)| found.is_some()))
}

fn array_contains_bool(row: &Row<'_>) -> Result<Option<bool>> {
    let wanted = if row.bool(1) { Kind::True } else { Kind::False };
    array_contains(row, |kind, reader| if kind == wanted { reader.word().map(|_| Some(true)) } else { Ok(None) })
}

fn array_contains_int(row: &Row<'_>) -> Result<Option<bool>> {
    let wanted = row.int(1);
    array_contains(row, |kind, reader| {
        if kind != Kind::Number {
            return Ok(None);
        }
        let number = reader.number()?;
        Ok(Some(is_integer(number) && number.parse() == Ok(wanted)))
    })
}

fn array_contains_double(row: &Row<'_>) -> Result<Option<bool>> {
    let wanted = row.double(1);
    if !wanted.is_finite() {
        return Ok(Some(false));
    }
    array_contains(row, |kind, reader| {
        if kind != Kind::Number {
            return Ok(None);
        }
        let number = reader.number()?;
        Ok(Some(!is_integer(number) && number.parse() == Ok(wanted)))
    })
}

fn array_contains_text(row: &Row<'_>) -> Result<Option<bool>> {
    let wanted = row.text(1);
    array_contains(
        row,
        |kind, reader| if kind == Kind::Text { reader.string().map(|text| Some(text == wanted)) } else { Ok(None) },
    )
}

/// Without clauses, which the front end writes as other functions.
fn json_exists(row: &Row<'_>) -> Result<Option<bool>> {
    let path = row.prepared(1, SqlPath::parse)?;
    run_plain(&path, row.text(0), |found| Ok(Some(found.is_ok_and(|items| !items.is_empty()))))
}

fn json_query<'a>(row: &Row<'a>) -> Text<'a> {
    let path = row.prepared(1, SqlPath::parse)?;
    Ok(run_plain(&path, row.text(0), plain_query)?.map(Cow::Owned))
}

fn json_value<'a>(row: &Row<'a>) -> Text<'a> {
    let path = row.prepared(1, SqlPath::parse)?;
    Ok(run_plain(&path, row.text(0), |found| Ok(plain_value(found)))?.map(Cow::Owned))
}
