//! Lambdas on the entries of maps.

use super::{Call, apply, test};
use crate::functions::map::check_keys;
use crate::functions::nested::{Lists, keys, map_from_parts, map_parts};
use arrow::array::{Array, ArrayRef, UInt64Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat, filter as keep, take};
use datafusion::common::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// The entries of all rows: keys, values and rows, with the lists they come from.
struct Entries {
    lists: Lists,
    lengths: Vec<usize>,
    keys: ArrayRef,
    values: ArrayRef,
    rows: UInt64Array,
}

impl Entries {
    fn new(map: &ArrayRef) -> Result<Self> {
        let (lists, keys, values) = map_parts(map)?;
        let (places, rows) = lists.elements();
        let (keys, values) = (take(&keys, &places, None)?, take(&values, &places, None)?);
        let lengths = (0..lists.len()).map(|row| lists.count(row)).collect();
        Ok(Self { lists, lengths, keys, values, rows })
    }

    fn arguments(&self) -> [ArrayRef; 2] {
        [Arc::clone(&self.keys), Arc::clone(&self.values)]
    }
}

/// `map_filter(map, (k, v) -> condition)`.
pub(super) fn filter(call: &Call<'_>) -> Result<ArrayRef> {
    let entries = Entries::new(&call.values[0])?;
    let tested = test(call.lambdas[0], &entries.arguments(), &entries.rows)?;
    let mut kept = vec![0; entries.lists.len()];
    for (index, row) in entries.rows.values().iter().enumerate() {
        kept[*row as usize] += usize::from(tested.is_valid(index) && tested.value(index));
    }
    let (keys, values) = (keep(&entries.keys, &tested)?, keep(&entries.values, &tested)?);
    map_from_parts(&keys, &values, &kept, entries.lists.nulls().cloned(), call.result)
}

/// `transform_keys(map, (k, v) -> key)`.
pub(super) fn transform_keys(call: &Call<'_>) -> Result<ArrayRef> {
    let entries = Entries::new(&call.values[0])?;
    let made = apply(call.lambdas[0], &entries.arguments(), &entries.rows)?;
    let [rows] = keys([&made])?;
    let mut start = 0;
    for length in &entries.lengths {
        check_keys(&made, &rows, start..start + length)?;
        start += length;
    }
    map_from_parts(&made, &entries.values, &entries.lengths, entries.lists.nulls().cloned(), call.result)
}

/// `transform_values(map, (k, v) -> value)`.
pub(super) fn transform_values(call: &Call<'_>) -> Result<ArrayRef> {
    let entries = Entries::new(&call.values[0])?;
    let made = apply(call.lambdas[0], &entries.arguments(), &entries.rows)?;
    map_from_parts(&entries.keys, &made, &entries.lengths, entries.lists.nulls().cloned(), call.result)
}

/// `map_zip_with(a, b, (k, x, y) -> z)`: for the keys of both; a value that is not there is NULL.
pub(super) fn zip_with(call: &Call<'_>) -> Result<ArrayRef> {
    let (left, left_keys, left_values) = map_parts(&call.values[0])?;
    let (right, right_keys, right_values) = map_parts(&call.values[1])?;
    let [left_rows, right_rows] = keys([&left_keys, &right_keys])?;
    let all_keys = concat(&[&left_keys, &right_keys])?;
    let base = left_keys.len();
    let (mut key_at, mut left_at, mut right_at) = (Vec::new(), Vec::new(), Vec::new());
    let (mut owners, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let before = key_at.len();
        let known = !left.is_null(row) && !right.is_null(row);
        if known {
            let mut others: HashMap<_, _> = right.range(row).map(|place| (right_rows.row(place), place)).collect();
            for place in left.range(row) {
                key_at.push(place as u64);
                left_at.push(Some(place as u64));
                right_at.push(others.remove(&left_rows.row(place)).map(|place| place as u64));
            }
            for place in right.range(row).filter(|place| others.contains_key(&right_rows.row(*place))) {
                key_at.push((base + place) as u64);
                left_at.push(None);
                right_at.push(Some(place as u64));
            }
        }
        lengths.push(key_at.len() - before);
        owners.resize(key_at.len(), row as u64);
        valid.push(known);
    }
    let pick = |values: &ArrayRef, places: Vec<Option<u64>>| match values.is_empty() {
        true => Ok(new_null_array(values.data_type(), places.len())),
        false => take(values, &UInt64Array::from(places), None),
    };
    let picked = take(&all_keys, &UInt64Array::from(key_at), None)?;
    let arguments = [Arc::clone(&picked), pick(&left_values, left_at)?, pick(&right_values, right_at)?];
    let made = apply(call.lambdas[0], &arguments, &UInt64Array::from(owners))?;
    map_from_parts(&picked, &made, &lengths, Some(NullBuffer::from(valid)), call.result)
}
