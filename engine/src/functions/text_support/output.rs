//! Results as arrays: each kind of value has one builder, and an array never outgrows its 32-bit offsets.

use super::column::Rows;
use super::{Eval, Result, bad, bounded};
use crate::functions::define::JSON;
use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, ListBuilder, MapBuilder, MapFieldNames, PrimitiveBuilder,
    StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::not_impl_err;
use std::sync::Arc;

/// Most bytes of text or binary in one array of results: its offsets are 32-bit.
const MAX_ARRAY_BYTES: usize = i32::MAX as usize;

/// Counts the bytes of an array.
#[derive(Default)]
struct Room(usize);

impl Room {
    fn take(&mut self, bytes: usize) -> Result<()> {
        self.0 += bounded(bytes)?;
        if self.0 > MAX_ARRAY_BYTES {
            return Err(bad(format!("the results of one batch have more than {MAX_ARRAY_BYTES} bytes")));
        }
        Ok(())
    }
}

/// The results of `eval` for all rows.
pub(super) fn build(eval: Eval, rows: &Rows<'_>) -> Result<ArrayRef> {
    match eval {
        Eval::Text(eval) => {
            let (mut builder, mut room) = (StringBuilder::new(), Room::default());
            rows.each(eval, |value| {
                room.take(value.as_ref().map_or(0, |text| text.len()))?;
                builder.append_option(value);
                Ok(())
            })?;
            Ok(Arc::new(builder.finish()))
        }
        Eval::Json(eval) => Ok(cast(&build(Eval::Text(eval), rows)?, &JSON)?),
        Eval::Bytes(eval) => {
            let (mut builder, mut room) = (BinaryBuilder::new(), Room::default());
            rows.each(eval, |value| {
                room.take(value.as_ref().map_or(0, |bytes| bytes.len()))?;
                builder.append_option(value);
                Ok(())
            })?;
            Ok(Arc::new(builder.finish()))
        }
        Eval::Int(eval) => primitive::<Int64Type>(eval, rows),
        Eval::Int32(eval) => primitive::<Int32Type>(eval, rows),
        Eval::Double(eval) => primitive::<Float64Type>(eval, rows),
        Eval::Real(eval) => primitive::<Float32Type>(eval, rows),
        Eval::Bool(eval) => {
            let mut builder = BooleanBuilder::new();
            rows.each(eval, |value| {
                builder.append_option(value);
                Ok(())
            })?;
            Ok(Arc::new(builder.finish()))
        }
        Eval::Texts(_) | Eval::TextMap(_) | Eval::TextsMap(_) => nested(eval, rows),
        Eval::Refuse(why) => not_impl_err!("{why}"),
    }
}

fn primitive<'a, T: ArrowPrimitiveType>(
    eval: fn(&super::Row<'a>) -> super::Value<T::Native>,
    rows: &Rows<'a>,
) -> Result<ArrayRef> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(rows.rows);
    rows.each(eval, |value| {
        builder.append_option(value);
        Ok(())
    })?;
    Ok(Arc::new(builder.finish()))
}

fn nested(eval: Eval, rows: &Rows<'_>) -> Result<ArrayRef> {
    let mut room = Room::default();
    match eval {
        Eval::Texts(eval) => {
            let mut builder = ListBuilder::new(StringBuilder::new());
            rows.each(eval, |value| {
                let valid = value.is_some();
                for text in value.unwrap_or_default() {
                    room.take(text.as_ref().map_or(1, |text| text.len() + 1))?;
                    builder.values().append_option(text);
                }
                builder.append(valid);
                Ok(())
            })?;
            Ok(Arc::new(builder.finish()))
        }
        Eval::TextMap(eval) => {
            let mut builder = map_builder(StringBuilder::new());
            rows.each(eval, |value| {
                let valid = value.is_some();
                for (key, value) in value.unwrap_or_default() {
                    room.take(key.len() + value.len() + 1)?;
                    builder.keys().append_value(key);
                    builder.values().append_value(value);
                }
                Ok(builder.append(valid)?)
            })?;
            Ok(Arc::new(builder.finish()))
        }
        Eval::TextsMap(eval) => {
            let mut builder = map_builder(ListBuilder::new(StringBuilder::new()));
            rows.each(eval, |value| {
                let valid = value.is_some();
                for (key, values) in value.unwrap_or_default() {
                    room.take(key.len() + 1)?;
                    builder.keys().append_value(key);
                    for value in values {
                        room.take(value.len() + 1)?;
                        builder.values().values().append_value(value);
                    }
                    builder.values().append(true);
                }
                Ok(builder.append(valid)?)
            })?;
            Ok(Arc::new(builder.finish()))
        }
        _ => not_impl_err!("this result is not nested"),
    }
}

fn map_builder<V: ArrayBuilder>(values: V) -> MapBuilder<StringBuilder, V> {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    MapBuilder::new(Some(names), StringBuilder::new(), values)
}
