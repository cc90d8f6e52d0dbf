//! CAST from JSON, as Trino's `JsonUtil` appends the parts of a value to a block.

use super::super::define::{Arg, Call, JSON, Typing, define};
use super::decimal;
use super::number::{lenient, narrow, parse_boolean, parse_double, parse_integer};
use super::types::{cast_double, type_name};
use crate::functions::Functions;
use crate::functions::datetime::saturating;
use crate::functions::json::{Node, is_integer, read_as_written};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array, LargeStringArray, ListArray,
    MapArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields};
use datafusion::common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Deepest nesting of a type that JSON is cast to.
const MAX_DEPTH: usize = 64;
/// Most bytes of text in one array: its offsets have 32 bits.
const MAX_ARRAY_BYTES: usize = i32::MAX as usize;

/// Values that become one array; `None` is NULL.
type Values<'a> = [Option<&'a Node<'a>>];

fn check_target(target: &DataType, depth: usize) -> Result<()> {
    use DataType::*;
    if depth > MAX_DEPTH {
        return not_impl_err!("CAST of json to a type deeper than {MAX_DEPTH} levels");
    }
    let refused = || plan_err!("TYPE_MISMATCH: Cannot cast json to {}", type_name(target));
    match target {
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(..) | Utf8 => Ok(()),
        json if *json == JSON => Ok(()),
        List(item) => check_target(item.data_type(), depth + 1),
        Struct(fields) => fields.iter().try_for_each(|field| check_target(field.data_type(), depth + 1)),
        Map(entries, _) => match entry_types(entries.data_type()) {
            Some((key, _)) if key.is_nested() || *key == JSON => refused(),
            Some((key, value)) => check_target(key, depth + 1).and_then(|()| check_target(value, depth + 1)),
            None => refused(),
        },
        _ => refused(),
    }
}

fn entry_types(entries: &DataType) -> Option<(&DataType, &DataType)> {
    let DataType::Struct(fields) = entries else { return None };
    fields.first().zip(fields.get(1)).map(|(key, value)| (key.data_type(), value.data_type()))
}

fn cannot<T>(value: &Node<'_>, target: &DataType) -> Result<T> {
    let text = value.text()?;
    exec_err!("Cannot cast '{text}' to {}", type_name(target))
}

fn to_integer(value: &Node<'_>, target: &DataType) -> Result<Option<i64>> {
    let number = match value {
        Node::Null => return Ok(None),
        Node::Bool(value) => Some(i64::from(*value)),
        Node::Number(number) if is_integer(number) => number.parse().ok(),
        Node::Number(number) => {
            const LIMIT: f64 = 9_223_372_036_854_775_808.0;
            number.parse().map(f64::round).ok().filter(|rounded| (-LIMIT..LIMIT).contains(rounded)).map(saturating)
        }
        Node::Text(text) => parse_integer(text),
        Node::Array(_) | Node::Object(_) => None,
    };
    let fits = |number: &i64| match target {
        DataType::Int8 => i8::try_from(*number).is_ok(),
        DataType::Int16 => i16::try_from(*number).is_ok(),
        DataType::Int32 => i32::try_from(*number).is_ok(),
        _ => true,
    };
    number.filter(fits).map_or_else(|| cannot(value, target), |number| Ok(Some(number)))
}

fn to_double(value: &Node<'_>, target: &DataType) -> Result<Option<f64>> {
    let number = match value {
        Node::Null => return Ok(None),
        Node::Bool(value) => Some(f64::from(u8::from(*value))),
        Node::Number(number) => number.parse().ok().filter(|number: &f64| number.is_finite()),
        Node::Text(text) => parse_double(text),
        Node::Array(_) | Node::Object(_) => None,
    };
    number.map_or_else(|| cannot(value, target), |number| Ok(Some(number)))
}

fn to_real(value: &Node<'_>, target: &DataType) -> Result<Option<f32>> {
    let number = match value {
        Node::Null => return Ok(None),
        Node::Bool(value) => Some(f32::from(u8::from(*value))),
        Node::Number(number) => number.parse().ok(),
        Node::Text(text) => parse_double(text).map(narrow),
        Node::Array(_) | Node::Object(_) => None,
    };
    number.map_or_else(|| cannot(value, target), |number| Ok(Some(number)))
}

fn to_boolean(value: &Node<'_>, target: &DataType) -> Result<Option<bool>> {
    let answer = match value {
        Node::Null => return Ok(None),
        Node::Bool(value) => Some(*value),
        Node::Number(number) if is_integer(number) => number.parse().ok().map(|number: i64| number != 0),
        Node::Number(number) => number.parse().ok().map(|number: f64| number != 0.0),
        Node::Text(text) => parse_boolean(text),
        Node::Array(_) | Node::Object(_) => None,
    };
    answer.map_or_else(|| cannot(value, target), |answer| Ok(Some(answer)))
}

fn to_decimal(value: &Node<'_>, target: &DataType, precision: u8, scale: i8) -> Result<Option<i128>> {
    let text = match value {
        Node::Null => return Ok(None),
        Node::Bool(true) => "1",
        Node::Bool(false) => "0",
        Node::Number(number) => number,
        Node::Text(text) => text.as_ref(),
        Node::Array(_) | Node::Object(_) => return cannot(value, target),
    };
    decimal::parse(text, precision, scale).map_or_else(|| cannot(value, target), |number| Ok(Some(number)))
}

fn to_varchar<'a>(value: &'a Node<'a>, target: &DataType) -> Result<Option<Cow<'a, str>>> {
    Ok(Some(match value {
        Node::Null => return Ok(None),
        Node::Bool(value) => value.to_string().into(),
        Node::Number(number) if is_integer(number) => Cow::Borrowed(*number),
        Node::Number(number) => number.parse().map_or_else(|_| cannot(value, target), |number| Ok(cast_double(number).into()))?,
        Node::Text(text) => Cow::Borrowed(text.as_ref()),
        Node::Array(_) | Node::Object(_) => return cannot(value, target),
    }))
}

fn each<'a, T>(values: &Values<'a>, to: impl Fn(&'a Node<'a>) -> Result<Option<T>>) -> Result<Vec<Option<T>>> {
    values.iter().map(|value| value.map_or(Ok(None), &to)).collect()
}

/// An array of `target` from JSON values.
fn build(values: &Values<'_>, target: &DataType) -> Result<ArrayRef> {
    Ok(match target {
        DataType::Boolean => Arc::new(BooleanArray::from(each(values, |value| to_boolean(value, target))?)),
        DataType::Float64 => Arc::new(Float64Array::from(each(values, |value| to_double(value, target))?)),
        DataType::Float32 => Arc::new(Float32Array::from(each(values, |value| to_real(value, target))?)),
        DataType::Decimal128(precision, scale) => {
            let numbers = each(values, |value| to_decimal(value, target, *precision, *scale))?;
            Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Utf8 => {
            let texts = each(values, |value| to_varchar(value, target))?;
            let bytes: usize = texts.iter().flatten().map(|text| text.len()).sum();
            if bytes > MAX_ARRAY_BYTES {
                return exec_err!("the texts of one batch have {bytes} bytes, more than {MAX_ARRAY_BYTES}");
            }
            Arc::new(StringArray::from_iter(texts))
        }
        // JSON's null is a value of JSON.
        json if *json == JSON => Arc::new(LargeStringArray::from(each(values, |value| value.single_text().map(Some))?)),
        DataType::List(item) => {
            let (items, lengths, nulls) = flatten(values, |value| match value {
                Node::Array(items) => Ok(items.iter().collect()),
                other => cannot(other, target),
            })?;
            let items: Vec<_> = items.into_iter().map(Some).collect();
            let array = build(&items, item.data_type())?;
            Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), array, Some(nulls))?)
        }
        DataType::Map(entries, sorted) => {
            let (DataType::Struct(fields), Some((key_type, value_type))) =
                (entries.data_type(), entry_types(entries.data_type()))
            else {
                return plan_err!("map without keys and values");
            };
            let (items, lengths, nulls) = flatten(values, |value| match value {
                Node::Object(members) => Ok(members.iter().collect()),
                other => cannot(other, target),
            })?;
            let keys: Vec<Node<'_>> = items.iter().map(|(key, _)| Node::Text(Cow::Borrowed(key.as_ref()))).collect();
            let keys = build(&keys.iter().map(Some).collect::<Vec<_>>(), key_type)?;
            let items = build(&items.iter().map(|(_, item)| Some(item)).collect::<Vec<_>>(), value_type)?;
            check_keys(&keys, &lengths, target)?;
            let rows = StructArray::try_new(fields.clone(), vec![keys, items], None)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, rows, Some(nulls), *sorted)?)
        }
        DataType::Struct(fields) => build_rows(values, fields, target)?,
        integer => cast(&Int64Array::from(each(values, |value| to_integer(value, target))?), integer)?,
    })
}

/// Checks that no value has a key twice.
fn check_keys(keys: &ArrayRef, lengths: &[usize], target: &DataType) -> Result<()> {
    let mut start = 0;
    for length in lengths {
        let mut seen = HashSet::with_capacity(*length);
        for at in start..start + length {
            // Texts as they are: a map of many keys has them mostly.
            let is_new = match keys.as_string_opt::<i32>() {
                Some(texts) => seen.insert(Key::Text(texts.value(at))),
                None => seen.insert(Key::Other(ScalarValue::try_from_array(keys, at)?)),
            };
            if !is_new {
                return exec_err!("Cannot cast to {}. Duplicate keys are not allowed", type_name(target));
            }
        }
        start += length;
    }
    Ok(())
}

#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Text(&'a str),
    Other(ScalarValue),
}

/// The members of all values, how many each has, and which are NULL.
fn flatten<'a, T>(
    values: &Values<'a>,
    members: impl Fn(&'a Node<'a>) -> Result<Vec<T>>,
) -> Result<(Vec<T>, Vec<usize>, NullBuffer)> {
    let mut all = Vec::new();
    let (mut lengths, mut valid) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
    for value in values {
        let own = match value {
            None | Some(Node::Null) => Vec::new(),
            Some(value) => members(value)?,
        };
        valid.push(!matches!(value, None | Some(Node::Null)));
        lengths.push(own.len());
        all.extend(own);
    }
    Ok((all, lengths, NullBuffer::from(valid)))
}

/// Rows: from arrays by position, from objects by name in any case; fields that an object lacks are NULL.
fn build_rows(values: &Values<'_>, fields: &Fields, target: &DataType) -> Result<ArrayRef> {
    let mut columns: Vec<Vec<Option<&Node<'_>>>> = fields.iter().map(|_| Vec::with_capacity(values.len())).collect();
    let names: HashMap<String, usize> =
        fields.iter().enumerate().map(|(index, field)| (field.name().to_lowercase(), index)).collect();
    let has_names = !fields.iter().enumerate().all(|(index, field)| *field.name() == format!("field{index}"));
    let mut valid = Vec::with_capacity(values.len());
    for value in values {
        let mut row: Vec<Option<&Node<'_>>> = vec![None; fields.len()];
        match value {
            None | Some(Node::Null) => {}
            Some(Node::Array(items)) if items.len() == fields.len() => row = items.iter().map(Some).collect(),
            Some(Node::Object(members)) if has_names => {
                for (name, member) in members {
                    let Some(field) = names.get(&name.to_lowercase()).and_then(|index| row.get_mut(*index)) else { continue };
                    if field.replace(member).is_some() {
                        return exec_err!("Cannot cast to {}: Duplicate field: {}", type_name(target), name.to_lowercase());
                    }
                }
            }
            Some(Node::Object(_)) => {
                return exec_err!("Cannot cast a JSON object to anonymous row type. Input must be a JSON array.");
            }
            Some(other) => return cannot(other, target),
        }
        valid.push(!matches!(value, None | Some(Node::Null)));
        for (column, field) in columns.iter_mut().zip(row) {
            column.push(field);
        }
    }
    let arrays = columns.iter().zip(fields).map(|(column, field)| build(column, field.data_type()));
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, Some(NullBuffer::from(valid)), values.len())?))
}

fn cast_from_json(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let mut parsed = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let value = texts.get(row).map_or(Ok(None), |text| lenient(read_as_written(text), forgive))?;
        // Rows are built all at once, so a bad one is found by itself first.
        parsed.push(value.filter(|value| !forgive || build(&[Some(value)], call.returns).is_ok()));
    }
    build(&parsed.iter().map(Option::as_ref).collect::<Vec<_>>(), call.returns)
}

/// Adds the functions of this file: JSON as the type of the second argument, whose value is not looked at.
pub(super) fn register(functions: &mut Functions) {
    for (name, forgive) in [("owlet_cast_from_json", false), ("owlet_try_cast_from_json", true)] {
        let target = |typing: &Typing<'_>| check_target(typing.kind(1), 0).map(|()| typing.kind(1).clone());
        let body = move |call: &Call<'_>| cast_from_json(call, forgive);
        functions.scalar.push(define(name).typed(&[Arg::Text, Arg::Any], None, target, body).udf());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use arrow::util::display::{ArrayFormatter, FormatOptions};

    fn cast_one(text: &str, target: &DataType) -> Result<String> {
        let array = build(&[Some(&read_as_written(text)?)], target)?;
        Ok(ArrayFormatter::try_new(&array, &FormatOptions::default())?.value(0).to_string())
    }

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new_list_field(item, true)))
    }

    fn map(key: DataType) -> DataType {
        let entry = Fields::from(vec![Field::new("key", key, false), Field::new("value", DataType::Int64, true)]);
        DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
    }

    fn row(fields: &[(&str, DataType)]) -> DataType {
        DataType::Struct(fields.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect())
    }

    #[test]
    fn values_become_what_trino_makes_of_them() {
        let named = row(&[("a", DataType::Int64), ("b", list(DataType::Utf8))]);
        let unnamed = row(&[("field0", DataType::Int64), ("field1", DataType::Utf8)]);
        for (text, target, wanted) in [
            ("12345678901234567890123", DataType::Utf8, "12345678901234567890123"),
            ("1.10", DataType::Utf8, "1.1E0"),
            ("\"x\"", DataType::Utf8, "x"),
            ("null", DataType::Utf8, ""),
            ("1.5", DataType::Int32, "2"),
            ("\"7\"", DataType::Int8, "7"),
            ("true", DataType::Float32, "1.0"),
            ("0.1", DataType::Float32, "0.1"),
            ("1234567890123456789.015", DataType::Decimal128(38, 2), "1234567890123456789.02"),
            ("[1, null, \"x\", {\"a\": [1]}]", list(JSON), "[1, null, \"x\", {\"a\":[1]}]"),
            ("{\"A\": 1, \"c\": 2, \"b\": [\"x\", 2]}", named.clone(), "{a: 1, b: [x, 2]}"),
            ("[1, []]", named.clone(), "{a: 1, b: []}"),
            ("{}", named.clone(), "{a: , b: }"),
            ("[1, \"x\"]", unnamed.clone(), "{field0: 1, field1: x}"),
            ("{\"1\": 1, \"01\": 2}", map(DataType::Utf8), "{1: 1, 01: 2}"),
            ("[{\"b\": 1, \"a\": 2, \"b\": [{\"x\": 1, \"x\": 2}]}]", list(JSON), "[{\"b\":[{\"x\":2}],\"a\":2}]"),
        ] {
            assert_eq!(cast_one(text, &target).unwrap(), wanted, "{text}");
        }
        for (text, target) in [
            ("[1]", named.clone()),
            ("{\"a\": 1, \"A\": 2}", named),
            ("{\"field0\": 1}", unnamed),
            ("128", DataType::Int8),
            ("[]", DataType::Utf8),
            ("1", list(DataType::Utf8)),
            ("{\"a\": 1, \"b\": 2, \"a\": 3}", map(DataType::Utf8)),
            ("{\"1\": 1, \"01\": 2}", map(DataType::Int64)),
            ("{\"a\": 1, \"a\": 2}", row(&[("a", DataType::Int64)])),
            ("1e99", DataType::Decimal128(38, 0)),
        ] {
            assert!(cast_one(text, &target).is_err(), "{text}");
        }
    }

    #[test]
    fn other_types_are_refused() {
        assert!(check_target(&row(&[("a", list(JSON))]), 0).is_ok());
        for target in [DataType::Date32, DataType::Binary, list(DataType::Date32)] {
            assert!(check_target(&target, 0).is_err(), "{target}");
        }
        let deep = (0..=MAX_DEPTH).fold(JSON, |inner, _| list(inner));
        assert!(check_target(&deep, 0).is_err());
    }
}
