//! Lines of JSON as the two JSON serdes read them: keys are looked for in any case on every line, and values become the declared types.
//!
//! The rules are those of Trino's readers of such files. What cannot be a value of its type, and what is no JSON at all, is an error,
//! unless the table says that it is NULL, or a row of NULLs.

mod properties;
mod records;
mod scalar;

pub use properties::JsonProperties;
pub use records::JSON_RECORDS;

use super::Functions;
use super::datetime::TimeFormats;
use super::define::{Arg, Call, Typing, define};
use super::json::{Node, first};
use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray, MapArray,
    StringArray, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// Name of the function of a line, the name of its [`JsonRules`], the text of its [`JsonProperties`] and a row of NULLs, that gives a
/// row of that type.
pub const JSON_ROW: &str = "owlet_json_row";
/// Most bytes of text in one array: its offsets have 32 bits.
const MAX_ARRAY_BYTES: usize = i32::MAX as usize;

/// Whose rules a table has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonRules {
    /// Those of Hive's own serdes.
    Hive,
    /// Those of the OpenX serde.
    OpenX,
    /// The same, where a line that is no JSON is a row of NULLs.
    OpenXOrNull,
    /// Those of Hive for records of CloudTrail, whose objects and arrays are text where they are declared so.
    CloudTrail,
}

impl JsonRules {
    const ALL: [Self; 4] = [Self::Hive, Self::OpenX, Self::OpenXOrNull, Self::CloudTrail];

    /// What plans call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hive => "hive",
            Self::OpenX => "openx",
            Self::OpenXOrNull => "openx or null",
            Self::CloudTrail => "cloudtrail",
        }
    }

    fn is_hive(self) -> bool {
        matches!(self, Self::Hive | Self::CloudTrail)
    }
}

/// How the lines of a table are read.
struct Reading {
    rules: JsonRules,
    properties: JsonProperties,
    times: Option<TimeFormats>,
}

impl Reading {
    fn new(rules: JsonRules, properties: JsonProperties) -> Result<Self> {
        let formats = if rules.is_hive() { TimeFormats::of_hive } else { TimeFormats::of_openx };
        let property = Some(properties.timestamp_formats.as_str()).filter(|property| !property.is_empty());
        let times = property.map(formats).transpose()?;
        Ok(Self { rules, properties, times })
    }

    /// The object of a line; none for a row of NULLs.
    fn line<'a>(&self, line: &'a str) -> Result<Option<Node<'a>>> {
        let rules = self.rules;
        let text = line.trim_matches(|c: char| c <= ' ');
        if !rules.is_hive() && !text.starts_with(['{', '[']) {
            return Ok(None);
        }
        let shown = || text.chars().take(100).collect::<String>();
        match first(text, Some(self.properties.case()).filter(|_| !rules.is_hive()))? {
            Some(node @ Node::Object(_)) => Ok(Some(node)),
            Some(Node::Array(_)) if !rules.is_hive() => {
                exec_err!("NOT_SUPPORTED: a line of JSON that is an array, whose values go by their place: {}", shown())
            }
            None if rules == JsonRules::OpenXOrNull => Ok(None),
            None => exec_err!("HIVE_BAD_DATA: Row is not a valid JSON Object: {}", shown()),
            Some(_) => exec_err!("HIVE_BAD_DATA: Invalid JSON: start of object expected: {}", shown()),
        }
    }
}

/// Values that become one array; `None` is NULL.
type Values<'a> = [Option<&'a Node<'a>>];

fn each<'a, T>(values: &Values<'a>, to: impl Fn(&'a Node<'a>) -> Result<Option<T>>) -> Result<Vec<Option<T>>> {
    let to = |value: &'a Node<'a>| if *value == Node::Null { Ok(None) } else { to(value) };
    values.iter().map(|value| value.map_or(Ok(None), &to)).collect()
}

fn is_null(value: Option<&Node<'_>>) -> bool {
    matches!(value, None | Some(Node::Null))
}

/// An array of `target` from values of JSON.
fn build(values: &Values<'_>, target: &DataType, reading: &Reading) -> Result<ArrayRef> {
    Ok(match target {
        DataType::Boolean => Arc::new(BooleanArray::from(each(values, |value| scalar::boolean(value, reading.rules).map(Some))?)),
        DataType::Float64 => Arc::new(Float64Array::from(each(values, |value| scalar::double(value, reading))?)),
        DataType::Float32 => Arc::new(Float32Array::from(each(values, |value| scalar::real(value, reading))?)),
        DataType::Date32 => Arc::new(Date32Array::from(each(values, |value| scalar::date(value, reading))?)),
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            Arc::new(TimestampMillisecondArray::from(each(values, |value| scalar::timestamp(value, reading))?))
        }
        DataType::Decimal128(precision, scale) => {
            let numbers = each(values, |value| scalar::decimal(value, *precision, *scale, reading))?;
            Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Utf8 => {
            let texts = each(values, |value| scalar::varchar(value, reading.rules).map(Some))?;
            let bytes: usize = texts.iter().flatten().map(|text| text.len()).sum();
            if bytes > MAX_ARRAY_BYTES {
                return exec_err!("the texts of one batch have {bytes} bytes, more than {MAX_ARRAY_BYTES}");
            }
            Arc::new(StringArray::from_iter(texts))
        }
        DataType::List(item) => {
            let (items, lengths, nulls) = flatten(values, |value| match value {
                Node::Array(items) => Ok(Some(items.iter().collect())),
                Node::Text(text) if text.is_empty() && !reading.rules.is_hive() => Ok(None),
                // OpenX takes anything else for an array of it.
                other if !reading.rules.is_hive() => Ok(Some(vec![other])),
                _ => exec_err!("HIVE_BAD_DATA: Invalid JSON: start of array expected"),
            })?;
            let items: Vec<_> = items.into_iter().map(Some).collect();
            let array = build(&items, item.data_type(), reading)?;
            Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), array, Some(nulls))?)
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { return plan_err!("a map without keys and values") };
            let (keys, items, lengths, nulls) = entries_of(values, fields, reading)?;
            let rows = StructArray::try_new(fields.clone(), vec![keys, items], None)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, rows, Some(nulls), *sorted)?)
        }
        DataType::Struct(fields) => rows(values, fields, reading)?,
        integer if integer.is_integer() => {
            cast(&Int64Array::from(each(values, |value| scalar::integer(value, integer, reading))?), integer)?
        }
        other => return plan_err!("lines of JSON hold no {other}"),
    })
}

/// The members of all values, how many each has, and which are NULL.
fn flatten<'a, T>(
    values: &Values<'a>,
    members: impl Fn(&'a Node<'a>) -> Result<Option<Vec<T>>>,
) -> Result<(Vec<T>, Vec<usize>, NullBuffer)> {
    let mut all = Vec::new();
    let (mut lengths, mut valid) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
    for value in values {
        let own = match value {
            Some(value) if !is_null(Some(value)) => members(value)?,
            _ => None,
        };
        valid.push(own.is_some());
        lengths.push(own.as_ref().map_or(0, Vec::len));
        all.extend(own.into_iter().flatten());
    }
    Ok((all, lengths, NullBuffer::from(valid)))
}

/// Keys and values of maps; of members with one name the last stays.
fn entries_of(values: &Values<'_>, fields: &Fields, reading: &Reading) -> Result<(ArrayRef, ArrayRef, Vec<usize>, NullBuffer)> {
    let (Some(key), Some(item)) = (fields.first(), fields.get(1)) else { return plan_err!("a map without keys and values") };
    let (members, lengths, nulls) = flatten(values, |value| match value {
        Node::Object(members) => {
            let mut seen = HashSet::new();
            let mut last: Vec<_> = members.iter().rev().filter(|(name, _)| seen.insert(name.as_ref())).collect();
            last.reverse();
            Ok(Some(last))
        }
        Node::Text(text) if text.trim().is_empty() && !reading.rules.is_hive() => Ok(None),
        _ => exec_err!("HIVE_BAD_DATA: Invalid JSON: start of object expected for a map"),
    })?;
    let names: Vec<Node<'_>> = members.iter().map(|(name, _)| scalar::key(name, reading.rules)).collect();
    if reading.rules.is_hive() && key.data_type().is_integer() {
        scalar::check_keys(&names)?;
    }
    let keys = build(&names.iter().map(Some).collect::<Vec<_>>(), key.data_type(), reading)?;
    if keys.null_count() > 0 {
        return exec_err!("HIVE_BAD_DATA: a key of a map is no {}", key.data_type());
    }
    // Names that differ may be one number.
    if *key.data_type() != DataType::Utf8 {
        let shown = ArrayFormatter::try_new(&keys, &FormatOptions::default())?;
        let mut row = 0;
        for length in &lengths {
            let mut seen = HashSet::new();
            for at in row..row + length {
                if !seen.insert(shown.value(at).to_string()) {
                    return exec_err!("NOT_SUPPORTED: a map of JSON with the key {} written in two ways", shown.value(at));
                }
            }
            row += length;
        }
    }
    let items = build(&members.iter().map(|(_, value)| Some(value)).collect::<Vec<_>>(), item.data_type(), reading)?;
    Ok((keys, items, lengths, nulls))
}

/// What each field's values are, in rows of objects: of keys that are alike the last.
fn columns<'a>(values: &Values<'a>, fields: &Fields, reading: &Reading) -> Result<Vec<Vec<Option<&'a Node<'a>>>>> {
    let mut columns: Vec<Vec<Option<&Node<'_>>>> = fields.iter().map(|_| vec![None; values.len()]).collect();
    let places = reading.properties.places(fields.iter().map(|field| field.name().as_str()));
    for (row, value) in values.iter().enumerate() {
        let mut set = |index: usize, member: &'a Node<'a>| {
            if let Some(place) = columns.get_mut(index).and_then(|column| column.get_mut(row)) {
                *place = Some(member);
            }
        };
        match value {
            None | Some(Node::Null) => {}
            Some(Node::Object(members)) => {
                for (name, member) in members {
                    match places.get(reading.properties.compared(name).as_ref()) {
                        Some(found) => found.iter().for_each(|index| set(*index, member)),
                        // To Hive's serde such a key is the column with that number.
                        None if reading.rules.is_hive() && is_number_of_column(name) => {
                            return exec_err!("NOT_SUPPORTED: the key {name} in a table of Hive's JSON serde");
                        }
                        None => {}
                    }
                }
                for (field, column) in fields.iter().zip(&mut columns) {
                    if let Some(place @ None) = column.get_mut(row) {
                        *place = reading.properties.dotted(field.name(), members);
                    }
                }
            }
            Some(Node::Array(items)) if !reading.rules.is_hive() => {
                items.iter().enumerate().for_each(|(index, item)| set(index, item));
            }
            Some(Node::Text(text)) if text.trim().is_empty() && !reading.rules.is_hive() => {}
            Some(_) => return exec_err!("HIVE_BAD_DATA: Invalid JSON: start of object expected for a row"),
        }
    }
    Ok(columns)
}

fn is_number_of_column(name: &str) -> bool {
    name.strip_prefix("_col").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn rows(values: &Values<'_>, fields: &Fields, reading: &Reading) -> Result<ArrayRef> {
    let columns = columns(values, fields, reading)?;
    let arrays = columns.iter().zip(fields).map(|(column, field)| build(column, field.data_type(), reading));
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    let valid: Vec<bool> = values.iter().map(|value| !is_null(*value)).collect();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, Some(NullBuffer::from(valid)), values.len())?))
}

/// Lines as rows; a line that is NULL has NULL in all columns.
fn lines(call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.returns else { return plan_err!("{} gives rows", call.name) };
    let texts = call.texts(0)?;
    let names = call.texts(1)?;
    let rules = JsonRules::ALL.into_iter().find(|rules| names.get(0) == Some(rules.name()));
    let Some(rules) = rules else { return plan_err!("{} has no such rules", call.name) };
    let properties = call.texts(2)?;
    let reading = Reading::new(rules, JsonProperties::parse(properties.get(0).unwrap_or_default())?)?;
    let mut nodes = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        nodes.push(texts.get(row).map_or(Ok(None), |line| reading.line(line))?);
    }
    let columns = columns(&nodes.iter().map(Option::as_ref).collect::<Vec<_>>(), fields, &reading)?;
    let named = |error: DataFusionError, name: &str| match error {
        DataFusionError::Execution(text) => DataFusionError::Execution(format!("{text} (column {name})")),
        other => other,
    };
    let arrays = columns
        .iter()
        .zip(fields)
        .map(|(column, field)| build(column, field.data_type(), &reading).map_err(|error| named(error, field.name())));
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, None, call.rows)?))
}

pub(super) fn add(functions: &mut Functions) {
    let target = |typing: &Typing<'_>| Ok(typing.kind(3).clone());
    functions.scalar.push(define(JSON_ROW).typed(&[Arg::Text, Arg::Text, Arg::Text, Arg::Any], None, target, lines).udf());
    functions.scalar.push(records::function());
}

/// The text of a scalar.
fn text_of<'a>(value: &'a Node<'a>) -> Option<Cow<'a, str>> {
    match value {
        Node::Bool(value) => Some(value.to_string().into()),
        Node::Number(text) => Some(Cow::Borrowed(*text)),
        Node::Text(text) => Some(Cow::Borrowed(text.as_ref())),
        Node::Null | Node::Array(_) | Node::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
