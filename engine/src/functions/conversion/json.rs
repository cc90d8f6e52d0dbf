//! CAST to and from JSON; JSON itself is text here.

use super::super::define::{Arg, Call, Typing, define, is_text};
use super::number::{lenient, parse_boolean, parse_double, parse_integer};
use super::text::{Numbers, Writer, index_of, writer};
use super::types::{cast_double, java_double, java_real, type_name};
use crate::functions::Functions;
use crate::functions::datetime::saturating;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err, not_impl_err, plan_err};
use serde_json::Value;
use std::sync::Arc;

/// Deepest nesting of a type that is read or written.
const MAX_DEPTH: usize = 64;
/// From here on a JSON number that is read as a double may have been a whole one.
const WHOLE: f64 = 9.0e18;
/// Numbers as Trino's JSON has them.
const NUMBERS: Numbers = Numbers { double: json_double, real: json_real };

fn json_double(value: f64) -> String {
    if value.is_finite() { java_double(value) } else { format!("\"{}\"", java_double(value)) }
}

fn json_real(value: f32) -> String {
    if value.is_finite() { java_real(value) } else { format!("\"{}\"", java_real(value)) }
}

/// `text` in quotes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            low if low < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(low))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A writer whose NULL is JSON's null.
fn element(array: &ArrayRef) -> Result<impl Fn(usize) -> Result<String> + use<>> {
    let write = json_writer(array)?;
    Ok(move |row: usize| Ok(write(row)?.unwrap_or_else(|| "null".to_string())))
}

/// Writes values as JSON.
fn json_writer(array: &ArrayRef) -> Result<Writer> {
    use DataType::*;
    match array.data_type() {
        Null | Boolean | Float32 | Float64 => writer(array, None, NUMBERS),
        kind if kind.is_numeric() => writer(array, None, NUMBERS),
        Dictionary(_, values) => json_writer(&cast(array, values)?),
        Date32 | Date64 | Timestamp(..) | Utf8 | LargeUtf8 | Utf8View => {
            let write = writer(array, None, NUMBERS)?;
            Ok(Box::new(move |row| Ok(write(row)?.map(|text| quoted(&text)))))
        }
        List(_) => list_writer(array.as_list::<i32>()),
        LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            list_writer(cast(array, &List(Arc::clone(item)))?.as_list::<i32>())
        }
        Map(..) => map_writer(array.as_map()),
        Struct(_) => struct_writer(array.as_struct()),
        other => exec_err!("Cannot cast {} to json", type_name(other)),
    }
}

fn list_writer(list: &ListArray) -> Result<Writer> {
    let write = element(list.values())?;
    let list = list.clone();
    Ok(Box::new(move |row| {
        if list.is_null(row) {
            return Ok(None);
        }
        let items = range(list.offsets(), row).map(&write).collect::<Result<Vec<_>>>()?;
        Ok(Some(format!("[{}]", items.join(","))))
    }))
}

fn range(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    let at = |index: usize| offsets.get(index).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
    at(row)..at(row + 1)
}

fn map_writer(map: &MapArray) -> Result<Writer> {
    let (key, value) = (writer(map.keys(), None, NUMBERS)?, element(map.values())?);
    let map = map.clone();
    Ok(Box::new(move |row| {
        if map.is_null(row) {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for index in range(map.offsets(), row) {
            entries.push((key(index)?.unwrap_or_default(), value(index)?));
        }
        // Java orders texts by UTF-16 units.
        entries.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{}:{value}", quoted(key))).collect();
        Ok(Some(format!("{{{}}}", entries.join(","))))
    }))
}

fn struct_writer(row_array: &StructArray) -> Result<Writer> {
    let names: Vec<String> = row_array.column_names().into_iter().map(quoted).collect();
    let columns = row_array.columns().iter().map(element).collect::<Result<Vec<_>>>()?;
    let nulls = row_array.nulls().cloned();
    Ok(Box::new(move |row| {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        let mut fields = Vec::with_capacity(names.len());
        for (name, write) in names.iter().zip(&columns) {
            fields.push(format!("{name}:{}", write(row)?));
        }
        Ok(Some(format!("{{{}}}", fields.join(","))))
    }))
}

/// Refuses what JSON does not hold; rows without names look different in Trino.
fn check_source(data_type: &DataType, depth: usize) -> Result<()> {
    use DataType::*;
    if depth > MAX_DEPTH {
        return not_impl_err!("JSON deeper than {MAX_DEPTH} levels");
    }
    match data_type {
        Null | Boolean | Date32 | Date64 | Timestamp(..) => Ok(()),
        kind if is_text(kind) || kind.is_numeric() => Ok(()),
        Dictionary(_, values) => check_source(values, depth),
        List(item) | LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            check_source(item.data_type(), depth + 1)
        }
        Map(entries, _) => match entries.data_type() {
            Struct(fields) if fields.len() == 2 => {
                if let Some(key) = fields.first().map(|field| field.data_type()).filter(|key| key.is_nested()) {
                    return plan_err!("Cannot cast a map with keys of {} to json", type_name(key));
                }
                fields.iter().try_for_each(|field| check_source(field.data_type(), depth + 1))
            }
            _ => plan_err!("Cannot cast this map to json"),
        },
        Struct(fields) => {
            if fields.iter().enumerate().all(|(index, field)| *field.name() == format!("c{index}")) {
                return not_impl_err!("CAST to json of a row whose fields have no names");
            }
            fields.iter().try_for_each(|field| check_source(field.data_type(), depth + 1))
        }
        other => plan_err!("Cannot cast {} to json", type_name(other)),
    }
}

fn cast_json(call: &Call<'_>) -> Result<ArrayRef> {
    let write = json_writer(&call.input(0)?.array)?;
    let at = index_of(call, 0)?;
    call.make_texts(|row| write(at(row)))
}

/// Reads the name of a type that JSON is cast to.
fn read_type(text: &str, depth: usize) -> Result<DataType> {
    if depth > MAX_DEPTH {
        return not_impl_err!("types deeper than {MAX_DEPTH} levels");
    }
    let text = text.trim();
    let inside = |name: &str| {
        let rest = text.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)).and(text.get(name.len()..))?;
        rest.trim().strip_prefix('(')?.strip_suffix(')')
    };
    if let Some(item) = inside("array") {
        return Ok(DataType::List(Arc::new(Field::new_list_field(read_type(item, depth + 1)?, true))));
    }
    if let Some(parts) = inside("map") {
        let Some((key, value)) = split_comma(parts) else { return plan_err!("'{text}' is not a type") };
        if read_type(key, depth + 1)? != DataType::Utf8 {
            return not_impl_err!("CAST of json to a map whose keys are not varchar");
        }
        let fields = vec![Field::new("key", DataType::Utf8, false), Field::new("value", read_type(value, depth + 1)?, true)];
        let entries = Field::new("entries", DataType::Struct(Fields::from(fields)), false);
        return Ok(DataType::Map(Arc::new(entries), false));
    }
    Ok(match text.to_ascii_lowercase().as_str() {
        "bigint" => DataType::Int64,
        "integer" | "int" => DataType::Int32,
        "smallint" => DataType::Int16,
        "tinyint" => DataType::Int8,
        "double" => DataType::Float64,
        "varchar" => DataType::Utf8,
        "boolean" => DataType::Boolean,
        _ => return not_impl_err!("CAST of json to {text}"),
    })
}

/// Splits at the first comma outside parentheses.
fn split_comma(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_i32;
    for (index, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => return Some((text.get(..index)?, text.get(index + 1..)?)),
            _ => {}
        }
    }
    None
}

fn cannot<T>(value: &Value, target: &DataType) -> Result<T> {
    exec_err!("Cannot cast '{value}' to {}", type_name(target))
}

fn to_integer(value: &Value, target: &DataType) -> Result<Option<i64>> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Number(number) if number.is_i64() => number.as_i64(),
        Value::Number(number) if number.is_u64() => None,
        Value::Number(number) => {
            const LIMIT: f64 = 9_223_372_036_854_775_808.0;
            number.as_f64().map(f64::round).filter(|rounded| (-LIMIT..LIMIT).contains(rounded)).map(saturating)
        }
        Value::String(text) => parse_integer(text),
        _ => None,
    };
    let fits = |number: &i64| match target {
        DataType::Int8 => i8::try_from(*number).is_ok(),
        DataType::Int16 => i16::try_from(*number).is_ok(),
        DataType::Int32 => i32::try_from(*number).is_ok(),
        _ => true,
    };
    number.filter(fits).map_or_else(|| cannot(value, target), |number| Ok(Some(number)))
}

fn to_double(value: &Value, target: &DataType) -> Result<Option<f64>> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => parse_double(text),
        _ => None,
    };
    number.map_or_else(|| cannot(value, target), |number| Ok(Some(number)))
}

fn to_boolean(value: &Value, target: &DataType) -> Result<Option<bool>> {
    let answer = match value {
        Value::Null => return Ok(None),
        Value::Bool(value) => Some(*value),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(text) => parse_boolean(text),
        _ => None,
    };
    answer.map_or_else(|| cannot(value, target), |answer| Ok(Some(answer)))
}

fn to_varchar(value: &Value, target: &DataType) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(value.to_string())),
        // A whole number of more than 64 bits reaches here as a double, without its digits.
        Value::Number(number) if number.as_f64().is_some_and(|number| number.abs() >= WHOLE) && number.is_f64() => {
            not_impl_err!("CAST of the json number {number} to varchar")
        }
        Value::Number(number) if number.is_f64() => Ok(number.as_f64().map(cast_double)),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::String(text) => Ok(Some(text.clone())),
        _ => cannot(value, target),
    }
}

/// An array of `target` from JSON values; `None` is NULL.
fn build(values: &[Option<&Value>], target: &DataType) -> Result<ArrayRef> {
    let each = |value: &Option<&Value>| value.unwrap_or(&Value::Null).clone();
    Ok(match target {
        DataType::Boolean => {
            let made = values.iter().map(|value| to_boolean(&each(value), target)).collect::<Result<Vec<_>>>()?;
            Arc::new(BooleanArray::from(made))
        }
        DataType::Float64 => {
            let made = values.iter().map(|value| to_double(&each(value), target)).collect::<Result<Vec<_>>>()?;
            Arc::new(Float64Array::from(made))
        }
        DataType::Utf8 => {
            let made = values.iter().map(|value| to_varchar(&each(value), target)).collect::<Result<Vec<_>>>()?;
            Arc::new(StringArray::from(made))
        }
        DataType::List(item) => {
            let (items, lengths, nulls) = flatten(values, |value| match value {
                Value::Array(items) => Ok(items.iter().map(|item| (None, item)).collect()),
                other => cannot(other, target),
            })?;
            let items: Vec<Option<&Value>> = items.into_iter().map(|(_, item)| Some(item)).collect();
            let array = build(&items, item.data_type())?;
            Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), array, Some(nulls))?)
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { return plan_err!("map without entries") };
            let Some(value_type) = fields.get(1).map(|field| field.data_type()) else { return plan_err!("map without values") };
            let (items, lengths, nulls) = flatten(values, |value| match value {
                Value::Object(members) => Ok(members.iter().map(|(key, item)| (Some(key.as_str()), item)).collect()),
                other => cannot(other, target),
            })?;
            let keys: Vec<&str> = items.iter().map(|(key, _)| key.unwrap_or_default()).collect();
            let items: Vec<Option<&Value>> = items.into_iter().map(|(_, item)| Some(item)).collect();
            let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(keys)), build(&items, value_type)?];
            let rows = StructArray::try_new(fields.clone(), columns, None)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, rows, Some(nulls), *sorted)?)
        }
        integer => {
            let made = values.iter().map(|value| to_integer(&each(value), target)).collect::<Result<Vec<_>>>()?;
            cast(&Int64Array::from(made), integer)?
        }
    })
}

type Members<'a> = Vec<(Option<&'a str>, &'a Value)>;

/// The members of all values, how many each has, and which are NULL.
fn flatten<'a>(
    values: &[Option<&'a Value>],
    members: impl Fn(&'a Value) -> Result<Members<'a>>,
) -> Result<(Members<'a>, Vec<usize>, NullBuffer)> {
    let mut all = Vec::new();
    let (mut lengths, mut valid) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
    for value in values {
        let own = match value {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => members(value)?,
        };
        valid.push(!matches!(value, None | Some(Value::Null)));
        lengths.push(own.len());
        all.extend(own);
    }
    Ok((all, lengths, NullBuffer::from(valid)))
}

fn cast_from_json(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let mut parsed = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let value = match texts.get(row) {
            None => None,
            Some(text) => {
                let read = serde_json::from_str::<Value>(text);
                lenient(read.or_else(|error| exec_err!("Cannot convert value to JSON: '{text}' ({error})")), forgive)?
            }
        };
        // Rows are built all at once, so a bad one is found by itself first.
        parsed.push(match value {
            Some(value) if forgive && build(&[Some(&value)], call.returns).is_err() => None,
            other => other,
        });
    }
    build(&parsed.iter().map(Option::as_ref).collect::<Vec<_>>(), call.returns)
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let json = |typing: &Typing<'_>| check_source(typing.kind(0), 0).map(|()| DataType::Utf8);
    for name in ["owlet_cast_json", "owlet_try_cast_json"] {
        functions.scalar.push(define(name).typed(&[Arg::Any], None, json, cast_json).udf());
    }
    for (name, forgive) in [("owlet_cast_from_json", false), ("owlet_try_cast_from_json", true)] {
        let target = |typing: &Typing<'_>| read_type(&typing.text(1)?.unwrap_or_default(), 0);
        let body = move |call: &Call<'_>| cast_from_json(call, forgive);
        functions.scalar.push(define(name).typed(&[Arg::Text, Arg::Text], None, target, body).udf());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read() {
        assert_eq!(read_type(" BIGINT ", 0).unwrap(), DataType::Int64);
        let nested = read_type("map(varchar, array(map(varchar, double)))", 0).unwrap();
        assert_eq!(type_name(&nested), "map(varchar, array(map(varchar, double)))");
        for text in ["map(bigint, varchar)", "map(varchar)", "row(a bigint)", "date", ""] {
            assert!(read_type(text, 0).is_err(), "{text}");
        }
        assert!(read_type(&format!("{}bigint{}", "array(".repeat(100), ")".repeat(100)), 0).is_err());
    }

    #[test]
    fn texts_are_quoted() {
        assert_eq!(quoted("a\"b\\\n\u{1f}é"), "\"a\\\"b\\\\\\n\\u001Fé\"");
    }
}
