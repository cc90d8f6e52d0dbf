//! Arrays as sets: distinct elements, union, difference; NULL is an element like others here.

use crate::functions::nested::{Call, Lists, Picks, check_known, is_nan, keys, list_item, map_from_parts, map_of, pick_rows};
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// `array_distinct(array)`: first occurrences.
pub(super) fn distinct(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let [rows] = keys([&lists.values])?;
    let picks = pick_rows(
        lists.len(),
        |row| lists.is_null(row),
        |row, picks| {
            let mut seen = HashSet::new();
            picks.extend(lists.range(row).filter(|place| seen.insert(rows.row(*place))));
            Ok(())
        },
    );
    picks?.finish(&lists.values, call.result)
}

/// Two lists over one array of values: those of the second start at `base`.
struct Pair {
    left: Lists,
    right: Lists,
    values: ArrayRef,
    base: usize,
}

impl Pair {
    fn new(call: &Call<'_>) -> Result<Self> {
        let (left, right) = (call.lists(0)?, call.lists(1)?);
        let values = concat(&[&left.values, &right.values])?;
        let base = left.values.len();
        Ok(Self { left, right, values, base })
    }

    fn right_range(&self, row: usize) -> std::ops::Range<usize> {
        let range = self.right.range(row);
        range.start + self.base..range.end + self.base
    }

    fn is_null(&self, row: usize) -> bool {
        self.left.is_null(row) || self.right.is_null(row)
    }
}

fn combine(call: &Call<'_>, mut one: impl FnMut(&Pair, &arrow::row::Rows, usize, &mut Picks)) -> Result<ArrayRef> {
    let pair = Pair::new(call)?;
    let [rows] = keys([&pair.values])?;
    let picks = pick_rows(
        call.rows,
        |row| pair.is_null(row),
        |row, picks| {
            one(&pair, &rows, row, picks);
            Ok(())
        },
    );
    picks?.finish(&pair.values, call.result)
}

/// `array_union(a, b)`: distinct elements of both.
pub(super) fn union(call: &Call<'_>) -> Result<ArrayRef> {
    combine(call, |pair, rows, row, picks| {
        let mut seen = HashSet::new();
        let all = pair.left.range(row).chain(pair.right_range(row));
        picks.extend(all.filter(|place| seen.insert(rows.row(*place))));
    })
}

/// `array_except(a, b)`: distinct elements of the first that the second has not.
pub(super) fn except(call: &Call<'_>) -> Result<ArrayRef> {
    combine(call, |pair, rows, row, picks| {
        let mut seen: HashSet<_> = pair.right_range(row).map(|place| rows.row(place)).collect();
        picks.extend(pair.left.range(row).filter(|place| seen.insert(rows.row(*place))));
    })
}

/// `array_intersect(a, b)`: distinct elements of both, in the order of the longer array.
pub(super) fn intersect(call: &Call<'_>) -> Result<ArrayRef> {
    combine(call, |pair, rows, row, picks| {
        let (mut long, mut short) = (pair.left.range(row), pair.right_range(row));
        if long.len() < short.len() {
            std::mem::swap(&mut long, &mut short);
        }
        let mut left: HashSet<_> = short.map(|place| rows.row(place)).collect();
        picks.extend(long.filter(|place| left.remove(&rows.row(*place))));
    })
}

/// `arrays_overlap(a, b)`: NULL if nothing is in common but a NULL might be.
pub(super) fn overlap(call: &Call<'_>) -> Result<ArrayRef> {
    let pair = Pair::new(call)?;
    let [rows] = keys([&pair.values])?;
    let one = |row: usize| {
        if pair.is_null(row) {
            return None;
        }
        let (left, right) = (pair.left.range(row), pair.right_range(row));
        if left.is_empty() || right.is_empty() {
            return Some(false);
        }
        let known = |place: &usize| pair.values.is_valid(*place);
        let set: HashSet<_> = left.clone().filter(known).map(|place| rows.row(place)).collect();
        if right.clone().filter(known).any(|place| set.contains(&rows.row(place))) {
            return Some(true);
        }
        left.chain(right).all(|place| known(&place)).then_some(false)
    };
    Ok(Arc::new((0..call.rows).map(one).collect::<BooleanArray>()))
}

/// `array_remove(array, element)`: NULL elements stay.
pub(super) fn remove(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, element) = (call.lists(0)?, call.arg(1)?);
    check_known(&lists.values).and_then(|()| check_known(element))?;
    let [rows, wanted] = keys([&lists.values, element])?;
    let picks = pick_rows(
        call.rows,
        |row| lists.is_null(row) || element.is_null(row),
        |row, picks| {
            let equal = |place: usize| rows.row(place) == wanted.row(row) && !is_nan(element, row);
            picks.extend(lists.range(row).filter(|place| lists.values.is_null(*place) || !equal(*place)));
            Ok(())
        },
    );
    picks?.finish(&lists.values, call.result)
}

/// A map of element to count.
pub(super) fn histogram_type(types: &[DataType]) -> Result<DataType> {
    match list_item(&types[0]) {
        Some(item) => Ok(map_of(item, DataType::Int64)),
        None => plan_err!("expected an array, got {}", types[0]),
    }
}

/// `array_histogram(array)`: how often each element that is not NULL occurs.
pub(super) fn histogram(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let [rows] = keys([&lists.values])?;
    let mut counts = Vec::<i64>::new();
    let picks = pick_rows(
        lists.len(),
        |row| lists.is_null(row),
        |row, picks| {
            let mut seen = HashMap::new();
            for place in lists.range(row).filter(|place| lists.values.is_valid(*place)) {
                let at = *seen.entry(rows.row(place)).or_insert_with(|| {
                    picks.push(Some(place));
                    counts.push(0);
                    counts.len() - 1
                });
                counts[at] += 1;
            }
            Ok(())
        },
    );
    let (keys, lengths, nulls) = picks?.into_parts(&lists.values)?;
    let counts = Arc::new(Int64Array::from(counts)) as ArrayRef;
    map_from_parts(&keys, &counts, &lengths, nulls, call.result)
}
