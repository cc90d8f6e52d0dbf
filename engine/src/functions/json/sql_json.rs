//! `json_object` and `json_array`, and how values come into JSON and JSON into values. The front end writes calls of SQL/JSON as
//! calls of these functions: first the clauses, as words, then keys and values, each value as `owlet_json_part` or
//! `owlet_json_text` (FORMAT JSON) of it.

use super::node::{Duplicates, Node, quoted};
use super::reader::Reader;
use super::sql_path::{Number, Scalar, Width};
use super::{java_map, null_if_malformed};
use crate::functions::Functions;
use crate::functions::conversion::type_name;
use crate::functions::define::{Arg, Call, Input, JSON, Texts, Typing, define, is_text};
use crate::functions::text_support::bounded;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use datafusion::common::{DataFusionError, Result, exec_err, internal_err, not_impl_err, plan_err};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// Most bytes of text in one array: its offsets have 32 bits.
const MAX_ARRAY_BYTES: usize = i32::MAX as usize;

/// Texts of FORMAT JSON, or of the documents that paths look into.
pub(super) struct Documents {
    texts: StringArray,
    constant: bool,
}

impl Documents {
    pub(super) fn new(input: &Input) -> Result<Self> {
        let texts = match input.array.data_type() {
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                decoded(&input.array, "UTF8")?
            }
            _ => cast(&input.array, &DataType::Utf8)?.as_string::<i32>().clone(),
        };
        Ok(Self { texts, constant: input.constant })
    }

    pub(super) fn get(&self, row: usize) -> Option<&str> {
        let row = if self.constant { 0 } else { row };
        self.texts.is_valid(row).then(|| self.texts.value(row))
    }
}

/// The first value of a text, of members with one name the last; `None` for text that is no JSON.
///
/// # Errors
/// For JSON that is not read here.
pub(super) fn document(text: &str) -> Result<Option<Node<'_>>> {
    null_if_malformed(Node::read(&mut Reader::new(text), Duplicates::LastWins).map(Some))
}

/// A value of SQL; `None` for NULL.
pub(super) fn scalar(input: &Input, row: usize) -> Result<Option<Scalar<'_>>> {
    let (array, row) = (&input.array, if input.constant { 0 } else { row });
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Ok(None);
    }
    let int = |width, value| Scalar::Number(Number::Int(width, value));
    Ok(Some(match array.data_type() {
        DataType::Boolean => Scalar::Bool(array.as_boolean().value(row)),
        DataType::Int8 => int(Width::Tiny, array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => int(Width::Small, array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => int(Width::Integer, array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => int(Width::Big, array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => Scalar::Number(Number::Real(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => Scalar::Number(Number::Double(array.as_primitive::<Float64Type>().value(row))),
        DataType::Decimal128(precision, scale @ 0..) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            Scalar::Number(Number::Decimal(value, *precision, scale.unsigned_abs()))
        }
        DataType::Utf8 => Scalar::Text(Cow::Borrowed(array.as_string::<i32>().value(row))),
        DataType::LargeUtf8 => Scalar::Text(Cow::Borrowed(array.as_string::<i64>().value(row))),
        DataType::Utf8View => Scalar::Text(Cow::Borrowed(array.as_string_view().value(row))),
        other => return internal_err!("a value of type {other} reached JSON"),
    }))
}

/// A result of texts, as many as an array takes.
pub(super) fn texts(rows: usize, mut row: impl FnMut(usize) -> Result<Option<String>>) -> Result<ArrayRef> {
    let (mut all, mut bytes) = (Vec::with_capacity(rows), 0);
    for index in 0..rows {
        let text = row(index)?;
        bytes += text.as_ref().map_or(Ok(0), |text| bounded(text.len()))?;
        if bytes > MAX_ARRAY_BYTES {
            return exec_err!("the texts of one batch have {bytes} bytes, more than {MAX_ARRAY_BYTES}");
        }
        all.push(text);
    }
    Ok(Arc::new(StringArray::from(all)))
}

/// The words of the first argument.
pub(super) fn clauses(call: &Call<'_>) -> Result<Vec<String>> {
    let words = call.texts(0)?;
    Ok(words.get(0).unwrap_or_default().split(' ').map(str::to_string).collect())
}

/// A member or an item.
enum Part<'a> {
    Json(Documents),
    Value(&'a Input),
}

impl<'a> Part<'a> {
    fn new(input: &'a Input) -> Result<Self> {
        Ok(if *input.array.data_type() == JSON { Self::Json(Documents::new(input)?) } else { Self::Value(input) })
    }

    fn text(&self, row: usize) -> Result<Option<String>> {
        match self {
            Self::Value(input) => Ok(scalar(input, row)?.map(|value| value.json_text())),
            Self::Json(documents) => match documents.get(row) {
                None => Ok(None),
                Some(text) => match document(text)? {
                    Some(node) => node.text().map(Some),
                    None => exec_err!("conversion to JSON failed: '{text}'"),
                },
            },
        }
    }
}

fn json_object(call: &Call<'_>) -> Result<ArrayRef> {
    let clauses = clauses(call)?;
    let has = |word: &str| clauses.iter().any(|clause| clause == word);
    let (keeps_nulls, is_unique) = (has("NULL"), has("UNIQUE"));
    let pairs = call.inputs.len() / 2;
    let keys = (0..pairs).map(|pair| call.texts(1 + 2 * pair)).collect::<Result<Vec<Texts>>>()?;
    let values = (0..pairs).map(|pair| call.input(2 + 2 * pair).and_then(Part::new)).collect::<Result<Vec<Part<'_>>>>()?;
    texts(call.rows, |row| {
        let (mut names, mut members) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
        let (mut seen, mut bytes) = (HashSet::with_capacity(pairs), 0);
        for (key, value) in keys.iter().zip(&values) {
            let Some(name) = key.get(row) else {
                return exec_err!("null value passed for JSON object key to JSON_OBJECT function");
            };
            let value = match value.text(row)? {
                Some(value) => value,
                None if keeps_nulls => "null".into(),
                None => continue,
            };
            if !seen.insert(name) {
                return match is_unique {
                    true => exec_err!("duplicate key passed to JSON_OBJECT function"),
                    false => exec_err!("cannot construct a JSON object with duplicate key"),
                };
            }
            bytes = bounded(bytes + name.len() + value.len())?;
            names.push(name);
            members.push(value);
        }
        let mut out = String::from("{");
        for place in java_map::order(&names)? {
            let (Some(name), Some(member)) = (names.get(place), members.get(place)) else { continue };
            out.push_str(if out.len() > 1 { "," } else { "" });
            out.push_str(&quoted(name));
            out.push(':');
            out.push_str(member);
        }
        out.push('}');
        Ok(Some(out))
    })
}

fn json_array(call: &Call<'_>) -> Result<ArrayRef> {
    let keeps_nulls = clauses(call)?.iter().any(|clause| clause == "NULL");
    let items = call.inputs.iter().skip(1).map(Part::new).collect::<Result<Vec<_>>>()?;
    texts(call.rows, |row| {
        let mut out = String::from("[");
        for item in &items {
            let text = match item.text(row)? {
                Some(text) => text,
                None if keeps_nulls => "null".into(),
                None => continue,
            };
            out.push_str(if out.len() > 1 { "," } else { "" });
            out.push_str(&text);
            bounded(out.len())?;
        }
        out.push(']');
        Ok(Some(out))
    })
}

/// Bytes as text in an encoding; what is none becomes `U+FFFD`, as in Java.
fn decoded(array: &ArrayRef, encoding: &str) -> Result<StringArray> {
    let bytes = cast(array, &DataType::Binary)?;
    let texts = bytes.as_binary::<i32>().iter().map(|value| value.map(|bytes| decode(bytes, encoding)));
    let texts: Vec<Option<Cow<'_, str>>> = texts.collect();
    let length: usize = texts.iter().flatten().map(|text| text.len()).sum();
    if length > MAX_ARRAY_BYTES {
        return exec_err!("the texts of one batch have {length} bytes, more than {MAX_ARRAY_BYTES}");
    }
    Ok(StringArray::from_iter(texts))
}

fn decode<'a>(bytes: &'a [u8], encoding: &str) -> Cow<'a, str> {
    let replacement = char::REPLACEMENT_CHARACTER;
    match encoding {
        "UTF16" => {
            let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes(unit.try_into().unwrap_or_default()));
            let mut text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(replacement)).collect();
            text.extend((!bytes.len().is_multiple_of(2)).then_some(replacement));
            text.into()
        }
        "UTF32" => {
            let units = bytes.chunks_exact(4).map(|unit| u32::from_le_bytes(unit.try_into().unwrap_or_default()));
            let mut text: String = units.map(|unit| char::from_u32(unit).unwrap_or(replacement)).collect();
            text.extend((!bytes.len().is_multiple_of(4)).then_some(replacement));
            text.into()
        }
        _ => String::from_utf8_lossy(bytes),
    }
}

fn encode(text: &str, encoding: &str) -> Vec<u8> {
    match encoding {
        "UTF16" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "UTF32" => text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
        _ => text.as_bytes().to_vec(),
    }
}

fn json_text(call: &Call<'_>) -> Result<ArrayRef> {
    let input = call.input(0)?;
    let is_bytes = input.array.data_type().is_binary();
    let texts: ArrayRef = match call.inputs.len() {
        2 => Arc::new(decoded(&input.array, call.texts(1)?.get(0).unwrap_or_default())?),
        _ if is_bytes => Arc::new(decoded(&input.array, "UTF8")?),
        _ => Arc::clone(&input.array),
    };
    Ok(cast(&texts, &JSON)?)
}

fn json_bytes(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, encoding) = (call.texts(0)?, call.texts(1)?);
    let encoding = encoding.get(0).unwrap_or_default();
    let all: Vec<Option<Vec<u8>>> = (0..call.rows).map(|row| texts.get(row).map(|text| encode(text, encoding))).collect();
    let length: usize = all.iter().flatten().map(Vec::len).sum();
    if length > MAX_ARRAY_BYTES {
        return exec_err!("the bytes of one batch are {length}, more than {MAX_ARRAY_BYTES}");
    }
    Ok(Arc::new(BinaryArray::from_iter(all)))
}

/// That `of` can be read as JSON.
pub(super) fn check_document(of: &DataType, encoding: Option<&str>) -> Result<()> {
    match encoding {
        None if is_text(of) || of.is_binary() || of.is_null() => Ok(()),
        Some(_) if of.is_binary() || of.is_null() => Ok(()),
        _ => {
            let encoding = encoding.map(|encoding| format!(" ENCODING {encoding}")).unwrap_or_default();
            plan_err!("TYPE_MISMATCH: Cannot read input of type {} as JSON using formatting JSON{encoding}", type_name(of))
        }
    }
}

fn check_object(typing: &Typing<'_>) -> Result<DataType> {
    match typing.types.iter().skip(1).step_by(2).find(|of| !is_text(of) || **of == JSON) {
        None => Ok(DataType::Utf8),
        Some(of) => plan_err!("INVALID_FUNCTION_ARGUMENT: Invalid type of JSON object key: {}", type_name(of)),
    }
}

/// What is not refused stays of its type.
fn check_part(typing: &Typing<'_>) -> Result<DataType> {
    match typing.kind(0) {
        bytes if bytes.is_binary() => {
            not_impl_err!("Unsupported type of value passed to a JSON function: {}", type_name(bytes))
        }
        time if time.is_temporal() => not_impl_err!("PASSING a value of type {}: cast it to varchar", type_name(time)),
        other => Ok(other.clone()),
    }
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let varchar = |_: &Typing<'_>| Ok(DataType::Utf8);
    let text_type = |typing: &Typing<'_>| {
        let encoding = if typing.types.len() > 1 { typing.text(1)? } else { None };
        check_document(typing.kind(0), encoding.as_deref()).map(|()| JSON)
    };
    let part = |call: &Call<'_>| call.input(0).map(|input| Arc::clone(&input.array));
    functions.scalar.extend([
        define("owlet_json_object").typed(&[Arg::Text], Some(Arg::Any), check_object, json_object).udf(),
        define("owlet_json_array").typed(&[Arg::Text], Some(Arg::Any), varchar, json_array).udf(),
        define("owlet_json_part").typed(&[Arg::JsonPart], None, check_part, part).udf(),
        define("owlet_json_parameter").typed(&[Arg::JsonParameter], None, check_part, part).udf(),
        define("owlet_json_text")
            .typed(&[Arg::Any], None, text_type, json_text)
            .typed(&[Arg::Any, Arg::Text], None, text_type, json_text)
            .udf(),
        define("owlet_json_bytes").form(&[Arg::Text, Arg::Text], DataType::Binary, json_bytes).udf(),
    ]);
}

/// The error of a behaviour ERROR.
pub(super) fn failed<T>(message: &str) -> Result<T> {
    Err(DataFusionError::Execution(message.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_in_three_encodings() {
        let text = "[\"é😀\"]";
        for encoding in ["UTF8", "UTF16", "UTF32"] {
            assert_eq!(decode(&encode(text, encoding), encoding), text);
        }
        assert_eq!(decode(&[b'a', 0, b'b'], "UTF16"), "a\u{FFFD}");
        assert_eq!(decode(&[0, 0, 0x11, 0, 1], "UTF32"), "\u{FFFD}\u{FFFD}");
        assert_eq!(decode(&[b'a', 0xFF], "UTF8"), "a\u{FFFD}");
    }
}
