//! Arrays of another shape: parts of them, and arrays of arrays.

use crate::clock;
use crate::functions::nested::{
    Call, Lists, MAX_MADE_ELEMENTS, Picks, aligned, as_list, check_count, list_from_parts, list_item, list_of, pick_rows,
    struct_of,
};
use arrow::array::{Array, ArrayRef, StructArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use std::ops::Range;
use std::sync::Arc;

/// The most elements of one combination, as in Trino.
const MAX_COMBINATION_LENGTH: i64 = 5;
/// The most combinations of one row, as in Trino.
const MAX_COMBINATIONS: usize = 100_000;
/// The most arrays that `zip` takes, as in Trino.
const MAX_ZIPPED: usize = 5;

/// Keeps a range of each list.
fn ranges(call: &Call<'_>, one: impl Fn(Range<usize>, &[i64]) -> Result<Range<usize>>) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let numbers = (1..call.args.len()).map(|i| call.ints(i)).collect::<Result<Vec<_>>>()?;
    let is_null = |row: usize| lists.is_null(row) || numbers.iter().any(|number| number.is_null(row));
    let picks = pick_rows(call.rows, is_null, |row, picks| {
        let values: Vec<i64> = numbers.iter().map(|number| number.value(row)).collect();
        picks.extend(one(lists.range(row), &values)?);
        Ok(())
    });
    picks?.finish(&lists.values, call.result)
}

/// A count of elements, no more than there can be.
fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// `slice(array, start, length)`: a negative start counts from the end.
pub(super) fn slice(call: &Call<'_>) -> Result<ArrayRef> {
    ranges(call, |range, numbers| {
        let [start, length] = numbers else {
            return exec_err!("expected 3 arguments");
        };
        if *length < 0 {
            return exec_err!("length must be greater than or equal to 0");
        }
        let steps = size(start.saturating_abs());
        let from = match start.signum() {
            0 => return exec_err!("SQL array indices start at 1"),
            1 => range.start.saturating_add(steps - 1),
            _ => match range.end.checked_sub(steps) {
                Some(from) if from >= range.start => from,
                _ => range.end,
            },
        };
        let from = from.min(range.end);
        Ok(from..from.saturating_add(size(*length)).min(range.end))
    })
}

/// `trim_array(array, n)`: without the last n elements.
pub(super) fn trim(call: &Call<'_>) -> Result<ArrayRef> {
    ranges(call, |range, numbers| {
        let [count] = numbers else {
            return exec_err!("expected 2 arguments");
        };
        if *count < 0 {
            return exec_err!("size must not be negative: {count}");
        }
        match size(*count) <= range.len() {
            true => Ok(range.start..range.end - size(*count)),
            false => exec_err!("size must not exceed array cardinality {}: {count}", range.len()),
        }
    })
}

/// A list of lists.
pub(super) fn list_of_lists(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    match list_item(&types[0]).as_ref().and_then(list_item) {
        Some(inner) => Ok(vec![list_of(list_of(inner))]),
        None => plan_err!("expected an array of arrays, got {}", types[0]),
    }
}

/// The type of its elements.
pub(super) fn inner_list(types: &[DataType]) -> Result<DataType> {
    match list_item(&types[0]) {
        Some(inner) => Ok(inner),
        None => plan_err!("expected an array of arrays, got {}", types[0]),
    }
}

/// `flatten(array of arrays)`: one level; NULL arrays vanish.
pub(super) fn flatten(call: &Call<'_>) -> Result<ArrayRef> {
    let outer = call.lists(0)?;
    let inner = Lists::new(&outer.values)?;
    let picks = pick_rows(
        outer.len(),
        |row| outer.is_null(row),
        |row, picks| {
            picks.extend(outer.range(row).flat_map(|place| inner.range(place)));
            Ok(())
        },
    );
    picks?.finish(&inner.values, call.result)
}

/// Anything and a count.
pub(super) fn value_and_number(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    Ok(vec![types[0].clone(), super::whole_number(&types[1])?])
}

/// `repeat(value, count)`.
pub(super) fn repeat(call: &Call<'_>) -> Result<ArrayRef> {
    let (value, counts) = (call.arg(0)?, call.ints(1)?);
    let picks = pick_rows(
        call.rows,
        |row| counts.is_null(row),
        |row, picks| {
            let count = counts.value(row);
            if count < 0 {
                return exec_err!("count argument of repeat function must be greater than or equal to 0");
            }
            if size(count) > MAX_MADE_ELEMENTS {
                return exec_err!("count argument of repeat function must be less than or equal to {MAX_MADE_ELEMENTS}");
            }
            picks.extend(std::iter::repeat_n(row, size(count)));
            Ok(())
        },
    );
    picks?.finish(value, call.result)
}

/// Lists of lists: for each row, `one` gives the inner lists as places.
fn nested(
    call: &Call<'_>,
    mut one: impl FnMut(Range<usize>, i64, &mut dyn FnMut(&mut dyn Iterator<Item = usize>)) -> Result<()>,
) -> Result<ArrayRef> {
    let (lists, numbers) = (call.lists(0)?, call.ints(1)?);
    check_count(&call.args.iter().map(|arg| arg.data_type().clone()).collect::<Vec<_>>(), 2..=2)?;
    let (mut inner, mut lengths, mut valid) = (Picks::default(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let known = !lists.is_null(row) && numbers.is_valid(row);
        let mut count = 0;
        if known {
            one(lists.range(row), numbers.value(row), &mut |places| {
                inner.extend(places);
                inner.end_row();
                count += 1;
            })?;
            inner.check()?;
        }
        lengths.push(count);
        valid.push(known);
    }
    let DataType::List(field) = call.result else {
        return internal_err!("expected a list type, got {}", call.result);
    };
    let inner = inner.finish(&lists.values, field.data_type())?;
    list_from_parts(inner, &lengths, Some(NullBuffer::from(valid)), call.result)
}

/// `ngrams(array, n)`: all runs of n elements, or the whole array if it has fewer.
pub(super) fn ngrams(call: &Call<'_>) -> Result<ArrayRef> {
    nested(call, |range, number, add| {
        if number <= 0 {
            return exec_err!("N must be positive");
        }
        let length = size(number).min(range.len());
        for start in range.start..=range.end - length {
            add(&mut (start..start + length));
        }
        Ok(())
    })
}

/// `combinations(array, n)`: all selections of n elements; the first elements change fastest.
pub(super) fn combinations(call: &Call<'_>) -> Result<ArrayRef> {
    nested(call, |range, number, add| {
        if number < 0 {
            return exec_err!("combination size must not be negative: {number}");
        }
        if number > MAX_COMBINATION_LENGTH {
            return exec_err!("combination size must not exceed {MAX_COMBINATION_LENGTH}: {number}");
        }
        let length = size(number);
        if length > range.len() {
            return Ok(());
        }
        // One more as a stop for the last index.
        let mut chosen: Vec<usize> = (0..length).chain([range.len()]).collect();
        for _ in 0..MAX_COMBINATIONS {
            add(&mut chosen[..length].iter().map(|index| range.start + index));
            let Some(next) = (0..length).find(|i| chosen[*i] + 1 < chosen[i + 1]) else {
                return Ok(());
            };
            chosen[next] += 1;
            (0..next).for_each(|i| chosen[i] = i);
        }
        exec_err!("combinations exceed max size {MAX_COMBINATIONS}")
    })
}

/// Some lists.
pub(super) fn lists(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=MAX_ZIPPED)?;
    types.iter().map(as_list).collect()
}

/// A list of rows.
pub(super) fn zip_type(types: &[DataType]) -> Result<DataType> {
    let items: Option<Vec<_>> = types.iter().map(list_item).collect();
    match items {
        Some(items) => Ok(list_of(struct_of(&items))),
        None => plan_err!("expected arrays"),
    }
}

/// `zip(array, ...)`: rows of elements at the same place; the shorter arrays are filled with NULL.
pub(super) fn zip(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = (0..call.args.len()).map(|i| call.lists(i)).collect::<Result<Vec<_>>>()?;
    let (places, lengths, nulls) = aligned(&lists);
    let DataType::List(item) = call.result else {
        return internal_err!("expected a list type, got {}", call.result);
    };
    let DataType::Struct(fields) = item.data_type() else {
        return internal_err!("expected rows, got {item}");
    };
    let columns = lists.iter().zip(places).map(|(list, places)| match list.values.is_empty() {
        true => Ok(new_null_array(list.values.data_type(), places.len())),
        false => Ok(take(&list.values, &arrow::array::UInt64Array::from(places), None)?),
    });
    let rows = StructArray::try_new(fields.clone(), columns.collect::<Result<_>>()?, None)?;
    list_from_parts(Arc::new(rows), &lengths, Some(nulls), call.result)
}

/// `shuffle(array)`: in random order.
pub(super) fn shuffle(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let mut random = Random(clock::random_uuid().as_u64_pair().0);
    let picks = pick_rows(
        lists.len(),
        |row| lists.is_null(row),
        |row, picks| {
            let mut places: Vec<_> = lists.range(row).collect();
            for last in (1..places.len()).rev() {
                places.swap(last, random.below(last + 1));
            }
            picks.extend(places);
            Ok(())
        },
    );
    picks?.finish(&lists.values, call.result)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}
