//! `array_sort` with a comparator: a merge sort whose comparisons are made in step for all rows of a batch.

use super::{Call, apply};
use crate::functions::nested::{Lists, pick_rows};
use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};

/// The comparator must make whole numbers.
pub(super) fn result(given: &[DataType], made: &[DataType]) -> Result<DataType> {
    match made[0].is_integer() {
        true => Ok(given[0].clone()),
        false => plan_err!("the comparator must return an integer, not {}", made[0]),
    }
}

/// Two neighbouring sorted runs of one row in the merging.
struct Merge {
    row: usize,
    left: std::ops::Range<usize>,
    right: std::ops::Range<usize>,
    merged: Vec<usize>,
}

/// `array_sort_by(array, (x, y) -> -1, 0 or 1)`.
pub(super) fn sort(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = Lists::new(&call.values[0])?;
    let mut orders: Vec<Vec<usize>> = (0..lists.len()).map(|row| lists.range(row).collect()).collect();
    let longest = orders.iter().map(Vec::len).max().unwrap_or(0);
    let mut width = 1;
    while width < longest {
        let mut merges = Vec::new();
        for (row, order) in orders.iter().enumerate() {
            for start in (0..order.len()).step_by(width * 2) {
                let middle = (start + width).min(order.len());
                let end = (start + width * 2).min(order.len());
                merges.push(Merge { row, left: start..middle, right: middle..end, merged: Vec::new() });
            }
        }
        run(call, &lists, &orders, &mut merges)?;
        for order in &mut orders {
            order.clear();
        }
        for merge in merges {
            orders[merge.row].extend(merge.merged);
        }
        width *= 2;
    }
    let picks = pick_rows(
        lists.len(),
        |row| lists.is_null(row),
        |row, picks| {
            picks.extend(orders[row].iter().copied());
            Ok(())
        },
    );
    picks?.finish(&lists.values, call.result)
}

/// Carries all merges to their end; each round makes one comparison in each.
fn run(call: &Call<'_>, lists: &Lists, orders: &[Vec<usize>], merges: &mut [Merge]) -> Result<()> {
    let open = |merge: &Merge| !merge.left.is_empty() && !merge.right.is_empty();
    let mut active: Vec<usize> = (0..merges.len()).filter(|index| open(&merges[*index])).collect();
    while !active.is_empty() {
        let place = |index: &usize, left: bool| {
            let merge = &merges[*index];
            let at = if left { merge.left.start } else { merge.right.start };
            orders[merge.row][at] as u64
        };
        let lefts: UInt64Array = active.iter().map(|index| Some(place(index, true))).collect();
        let rights: UInt64Array = active.iter().map(|index| Some(place(index, false))).collect();
        let rows: UInt64Array = active.iter().map(|index| Some(merges[*index].row as u64)).collect();
        let arguments = [take(&lists.values, &lefts, None)?, take(&lists.values, &rights, None)?];
        let compared = cast(&apply(call.lambdas[0], &arguments, &rows)?, &DataType::Int64)?;
        let compared = compared.as_primitive::<Int64Type>();
        for (i, index) in active.iter().enumerate() {
            if compared.is_null(i) || !(-1..=1).contains(&compared.value(i)) {
                return exec_err!("Lambda comparator must return either -1, 0, or 1");
            }
            let merge = &mut merges[*index];
            let next = if compared.value(i) <= 0 { &mut merge.left } else { &mut merge.right };
            merge.merged.extend(next.next().map(|at| orders[merge.row][at]));
        }
        active.retain(|index| open(&merges[*index]));
    }
    for merge in merges {
        let rest = merge.left.by_ref().chain(merge.right.by_ref());
        merge.merged.extend(rest.map(|at| orders[merge.row][at]));
    }
    Ok(())
}
