//! Looking into arrays and maps: does it hold this, where, and what is there.

use super::whole_number;
use crate::functions::nested::{
    Call, Lists, as_list, as_map, check_count, check_known, is_nan, keys, list_item, map_of, map_parts, map_types, same_type,
};
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, UInt64Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use std::sync::Arc;

/// `contains(array, element)`: NULL if it is not found but a NULL might be it.
pub(super) fn contains(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, element) = (call.lists(0)?, call.arg(1)?);
    check_known(&lists.values).and_then(|()| check_known(element))?;
    let [rows, wanted] = keys([&lists.values, element])?;
    let one = |row: usize| {
        if lists.is_null(row) || is_unknown(element, row) {
            return None;
        }
        let wanted = wanted.row(row);
        if !is_nan(element, row) && lists.range(row).any(|place| rows.row(place) == wanted) {
            return Some(true);
        }
        lists.range(row).all(|place| lists.values.is_valid(place)).then_some(false)
    };
    Ok(Arc::new((0..call.rows).map(one).collect::<BooleanArray>()))
}

/// Whether a value is NULL, also in an array that has no type and so no list of its NULLs.
fn is_unknown(values: &ArrayRef, row: usize) -> bool {
    values.data_type().is_null() || values.is_null(row)
}

/// `contains_sequence(array, part)`: whether the part's elements occur in it one after the other.
pub(super) fn contains_sequence(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, parts) = (call.lists(0)?, call.lists(1)?);
    let [rows, part_rows] = keys([&lists.values, &parts.values])?;
    let one = |row: usize| {
        if lists.is_null(row) || parts.is_null(row) {
            return None;
        }
        let (all, part) = (lists.range(row), parts.range(row));
        let length = part.len();
        let starts = all.start..(all.end + 1).saturating_sub(length).max(all.start);
        let matches = |start: usize| (0..length).all(|i| rows.row(start + i) == part_rows.row(part.start + i));
        Some(length == 0 || (length <= all.len() && starts.into_iter().any(matches)))
    };
    Ok(Arc::new((0..call.rows).map(one).collect::<BooleanArray>()))
}

/// `array_position(array, element[, instance])`: 1-based, 0 if there is none.
pub(super) fn position(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, element) = (call.lists(0)?, call.arg(1)?);
    let instances = if call.args.len() > 2 { Some(call.ints(2)?) } else { None };
    check_known(&lists.values).and_then(|()| check_known(element))?;
    let [rows, wanted] = keys([&lists.values, element])?;
    let mut positions = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let instance = instances.map_or(Some(1), |all| all.is_valid(row).then(|| all.value(row)));
        let (Some(instance), false) = (instance, lists.is_null(row) || is_unknown(element, row)) else {
            positions.push(None);
            continue;
        };
        if instance == 0 {
            return exec_err!("array_position cannot take a 0-valued instance argument");
        }
        let range = lists.range(row);
        let equal = |place: &usize| rows.row(*place) == wanted.row(row) && lists.values.is_valid(*place) && !is_nan(element, row);
        let skip = usize::try_from(instance.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let found = match instance > 0 {
            true => range.clone().filter(equal).nth(skip),
            false => range.clone().rev().filter(equal).nth(skip),
        };
        positions.push(Some(found.map_or(0, |place| (place - range.start) as i64 + 1)));
    }
    Ok(Arc::new(Int64Array::from(positions)))
}

/// An array or a map.
pub(super) fn collection(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    match map_types(&types[0]) {
        Some(_) if !types[0].is_null() => Ok(vec![as_map(&types[0])?]),
        _ => Ok(vec![as_list(&types[0])?]),
    }
}

/// `cardinality(array or map)`: of the outer dimension.
pub(super) fn cardinality(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let count = |row: usize| (!lists.is_null(row)).then(|| lists.count(row) as i64);
    Ok(Arc::new((0..call.rows).map(count).collect::<Int64Array>()))
}

/// A collection and what to look for in it.
pub(super) fn element_at_types(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    match map_types(&types[0]) {
        Some((key, value)) if !types[0].is_null() => {
            let key = same_type(&key, &types[1])?;
            Ok(vec![map_of(key.clone(), value), key])
        }
        _ => Ok(vec![as_list(&types[0])?, whole_number(&types[1])?]),
    }
}

/// What a collection holds: a list's elements or a map's values.
pub(super) fn element_type(types: &[DataType]) -> Result<DataType> {
    match (list_item(&types[0]), map_types(&types[0])) {
        (Some(item), _) => Ok(item),
        (_, Some((_, value))) => Ok(value),
        _ => plan_err!("expected an array or a map, got {}", types[0]),
    }
}

/// One element by row.
fn picked(values: &ArrayRef, places: Vec<Option<u64>>) -> Result<ArrayRef> {
    match values.is_empty() {
        true => Ok(new_null_array(values.data_type(), places.len())),
        false => Ok(take(values, &UInt64Array::from(places), None)?),
    }
}

/// `element_at(collection, index or key)`: NULL if there is none.
pub(super) fn element_at(call: &Call<'_>) -> Result<ArrayRef> {
    if matches!(call.arg(0)?.data_type(), DataType::Map(..)) {
        return value_of_key(call);
    }
    let (lists, indexes) = (call.lists(0)?, call.ints(1)?);
    let mut places = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if lists.is_null(row) || indexes.is_null(row) {
            places.push(None);
            continue;
        }
        let index = indexes.value(row);
        if index == 0 {
            return exec_err!("SQL array indices start at 1");
        }
        let range = lists.range(row);
        let steps = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        let place = match index > 0 {
            true => range.start.saturating_add(steps - 1),
            false => range.end.checked_sub(steps).unwrap_or(usize::MAX),
        };
        places.push(range.contains(&place).then_some(place as u64));
    }
    picked(&lists.values, places)
}

fn value_of_key(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, map_keys, values) = map_parts(call.arg(0)?)?;
    let key = call.arg(1)?;
    let [rows, wanted] = keys([&map_keys, key])?;
    let place = |row: usize| match key.is_valid(row) && !is_nan(key, row) {
        true => lists.range(row).find(|place| rows.row(*place) == wanted.row(row)).map(|place| place as u64),
        false => None,
    };
    picked(&values, (0..call.rows).map(place).collect())
}

/// `array_first(array)`.
pub(super) fn first(call: &Call<'_>) -> Result<ArrayRef> {
    end(&call.lists(0)?, |range| range.start)
}

/// `array_last(array)`.
pub(super) fn last(call: &Call<'_>) -> Result<ArrayRef> {
    end(&call.lists(0)?, |range| range.end - 1)
}

fn end(lists: &Lists, which: impl Fn(&std::ops::Range<usize>) -> usize) -> Result<ArrayRef> {
    let place = |row: usize| {
        let range = lists.range(row);
        (!range.is_empty()).then(|| which(&range) as u64)
    };
    picked(&lists.values, (0..lists.len()).map(place).collect())
}
