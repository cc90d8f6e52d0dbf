//! Lambdas on the elements of arrays, each on its own.

use super::{Call, apply, test};
use crate::functions::nested::{Lists, aligned, list_from_parts};
use arrow::array::{Array, ArrayRef, BooleanArray, UInt64Array, new_null_array};
use arrow::compute::{filter as keep, take};
use datafusion::common::Result;
use std::sync::Arc;

fn lengths(lists: &Lists) -> Vec<usize> {
    (0..lists.len()).map(|row| lists.count(row)).collect()
}

/// `transform(array, x -> y)`.
pub(super) fn transform(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = Lists::new(&call.values[0])?;
    let (places, rows) = lists.elements();
    let made = apply(call.lambdas[0], &[take(&lists.values, &places, None)?], &rows)?;
    list_from_parts(made, &lengths(&lists), lists.nulls().cloned(), call.result)
}

/// Elements in order and whether the lambda holds for each.
fn tested(call: &Call<'_>) -> Result<(Lists, ArrayRef, BooleanArray)> {
    let lists = Lists::new(&call.values[0])?;
    let (places, rows) = lists.elements();
    let elements = take(&lists.values, &places, None)?;
    let tested = test(call.lambdas[0], &[Arc::clone(&elements)], &rows)?;
    Ok((lists, elements, tested))
}

/// `filter(array, x -> condition)`.
pub(super) fn filter(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, elements, tested) = tested(call)?;
    let mut start = 0;
    let mut kept = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let end = start + lists.count(row);
        kept.push((start..end).filter(|i| tested.is_valid(*i) && tested.value(*i)).count());
        start = end;
    }
    list_from_parts(keep(&elements, &tested)?, &kept, lists.nulls().cloned(), call.result)
}

/// One truth value for each list: `decisive` if any element is, NULL if any is unknown, else the opposite.
fn matches(call: &Call<'_>, decisive: bool, result: bool) -> Result<ArrayRef> {
    let (lists, _, tested) = tested(call)?;
    let mut start = 0;
    let mut out = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let range = start..start + lists.count(row);
        start = range.end;
        out.push(if lists.is_null(row) {
            None
        } else if range.clone().any(|i| tested.is_valid(i) && tested.value(i) == decisive) {
            Some(result)
        } else {
            range.into_iter().all(|i| tested.is_valid(i)).then_some(!result)
        });
    }
    Ok(Arc::new(BooleanArray::from(out)))
}

/// `any_match(array, x -> condition)`.
pub(super) fn any_match(call: &Call<'_>) -> Result<ArrayRef> {
    matches(call, true, true)
}

/// `all_match(array, x -> condition)`.
pub(super) fn all_match(call: &Call<'_>) -> Result<ArrayRef> {
    matches(call, false, false)
}

/// `none_match(array, x -> condition)`.
pub(super) fn none_match(call: &Call<'_>) -> Result<ArrayRef> {
    matches(call, true, false)
}

/// `zip_with(a, b, (x, y) -> z)`: the shorter array is filled with NULL.
pub(super) fn zip_with(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.values.iter().map(Lists::new).collect::<Result<Vec<_>>>()?;
    let (places, lengths, nulls) = aligned(&lists);
    let rows: UInt64Array =
        lengths.iter().enumerate().flat_map(|(row, length)| std::iter::repeat_n(row as u64, *length)).collect();
    let arguments = lists.iter().zip(places).map(|(list, places)| match list.values.is_empty() {
        true => Ok(new_null_array(list.values.data_type(), places.len())),
        false => Ok(take(&list.values, &UInt64Array::from(places), None)?),
    });
    let made = apply(call.lambdas[0], &arguments.collect::<Result<Vec<_>>>()?, &rows)?;
    list_from_parts(made, &lengths, Some(nulls), call.result)
}
