//! Arrays in order: sorting, the largest and the smallest element.

use crate::functions::nested::{Call, NanOrder, converter, keys, keys_with, pick_rows};
use arrow::array::{Array, ArrayRef, UInt64Array, new_null_array};
use arrow::compute::take;
use arrow::row::Row;
use datafusion::common::Result;

/// `array_sort(array)`: ascending, NULLs last.
pub(super) fn sort(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let [rows] = keys([&lists.values])?;
    let picks = pick_rows(
        lists.len(),
        |row| lists.is_null(row),
        |row, picks| {
            let mut places: Vec<_> = lists.range(row).collect();
            places.sort_by(|a, b| rows.row(*a).cmp(&rows.row(*b)));
            picks.extend(places);
            Ok(())
        },
    );
    picks?.finish(&lists.values, call.result)
}

/// `array_max(array)`: NULL if any element is; NaN only if all are.
pub(super) fn max(call: &Call<'_>) -> Result<ArrayRef> {
    extreme(call, NanOrder::Smallest, |new, best| new > best)
}

/// `array_min(array)`: NULL if any element is; NaN only if all are.
pub(super) fn min(call: &Call<'_>) -> Result<ArrayRef> {
    extreme(call, NanOrder::Largest, |new, best| new < best)
}

fn extreme(call: &Call<'_>, nan: NanOrder, better: impl Fn(&Row<'_>, &Row<'_>) -> bool) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let rows = keys_with(&converter(lists.values.data_type())?, &lists.values, nan)?;
    let place = |row: usize| {
        let range = lists.range(row);
        if range.clone().any(|place| lists.values.is_null(place)) {
            return None;
        }
        let best = range.reduce(|best, place| if better(&rows.row(place), &rows.row(best)) { place } else { best });
        best.map(|place| place as u64)
    };
    let places: UInt64Array = (0..lists.len()).map(place).collect();
    match lists.values.is_empty() {
        true => Ok(new_null_array(lists.values.data_type(), lists.len())),
        false => Ok(take(&lists.values, &places, None)?),
    }
}
