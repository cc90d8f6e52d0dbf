//! `array_join`: elements as text in one string.

use crate::functions::conversion::{cast_double, cast_real};
use crate::functions::define::JSON;
use crate::functions::nested::{Call, as_list, check_count, list_item};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, exec_err, not_impl_err, plan_err};
use std::sync::Arc;

/// An array, the text between elements, and maybe the text for NULL.
pub(super) fn types(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=3)?;
    if let Some(item) = list_item(&types[0])
        && !(item.is_primitive()
            || item.is_string()
            || item.is_null()
            || matches!(item, DataType::Boolean | DataType::Dictionary(..)))
    {
        return plan_err!("elements of type {item} cannot be cast to varchar");
    }
    if list_item(&types[0]) == Some(JSON) {
        return not_impl_err!("elements of type json are not supported: cast them to varchar first");
    }
    if matches!(
        list_item(&types[0]),
        Some(DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_) | DataType::Interval(_) | DataType::Duration(_))
    ) {
        return not_impl_err!("elements with a time of day are not supported: cast them to varchar first");
    }
    let mut coerced = vec![as_list(&types[0])?];
    coerced.extend(types[1..].iter().map(|_| DataType::Utf8));
    Ok(coerced)
}

/// `array_join(array, delimiter[, null_text])`.
pub(super) fn join(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let texts = texts(&lists.values)?;
    let Some(delimiters) = call.arg(1)?.as_string_opt::<i32>() else {
        return exec_err!("the delimiter must be varchar");
    };
    let replacements = call.args.get(2).and_then(|array| array.as_string_opt::<i32>());
    let mut out = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let unknown = replacements.is_some_and(|all| all.is_null(row));
        if lists.is_null(row) || delimiters.is_null(row) || unknown {
            out.push(None);
            continue;
        }
        let parts = lists.range(row).filter_map(|place| match texts.is_valid(place) {
            true => Some(texts.value(place)),
            false => replacements.map(|all| all.value(row)),
        });
        out.push(Some(parts.collect::<Vec<_>>().join(delimiters.value(row))));
    }
    Ok(Arc::new(StringArray::from(out)))
}

/// Values as Trino's cast to varchar spells them.
fn texts(values: &ArrayRef) -> Result<StringArray> {
    let texts = match values.data_type() {
        DataType::Float64 => {
            return Ok(values.as_primitive::<Float64Type>().iter().map(|v| v.map(cast_double)).collect());
        }
        DataType::Float32 => {
            return Ok(values.as_primitive::<Float32Type>().iter().map(|v| v.map(cast_real)).collect());
        }
        _ => cast(values, &DataType::Utf8)?,
    };
    match texts.as_string_opt::<i32>() {
        Some(texts) => Ok(texts.clone()),
        None => exec_err!("elements cannot be cast to varchar"),
    }
}
