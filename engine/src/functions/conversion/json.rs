//! CAST to JSON.

use super::super::define::{Arg, Call, JSON, Typing, define, is_text};
use super::text::{JAVA, Numbers, Writer, index_of, writer};
use super::types::{java_double, java_real, type_name};
use crate::functions::Functions;
use crate::functions::json::quoted;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, not_impl_err, plan_err};
use std::sync::Arc;

/// Deepest nesting of a type that is read or written.
const MAX_DEPTH: usize = 64;
/// Numbers as Trino's JSON has them.
const NUMBERS: Numbers = Numbers { double: json_double, real: json_real };

fn json_double(value: f64) -> String {
    if value.is_finite() { java_double(value) } else { format!("\"{}\"", java_double(value)) }
}

fn json_real(value: f32) -> String {
    if value.is_finite() { java_real(value) } else { format!("\"{}\"", java_real(value)) }
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
        json if *json == JSON => writer(array, None, JAVA),
        Date32 | Date64 | Timestamp(..) | Utf8 | Utf8View => {
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
    let (key, value) = (writer(map.keys(), None, JAVA)?, element(map.values())?);
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
            // What the fields of `ROW(1, 2)` are called here.
            if fields.iter().enumerate().any(|(index, field)| *field.name() == format!("field{index}")) {
                return not_impl_err!(
                    "CAST to json of a row whose fields have no names: give them names with CAST(.. AS ROW(..))"
                );
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

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let json = |typing: &Typing<'_>| check_source(typing.kind(0), 0).map(|()| JSON);
    for name in ["owlet_cast_json", "owlet_try_cast_json"] {
        functions.scalar.push(define(name).typed(&[Arg::Any], None, json, cast_json).udf());
    }
}
