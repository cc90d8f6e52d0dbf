//! `sequence`: arrays of numbers, dates or timestamps at equal distances.

use crate::functions::define::{DAY_TIME, YEAR_MONTH};
use crate::functions::nested::{Call, MAX_BATCH_ELEMENTS, MAX_MADE_ELEMENTS, check_count, list_from_parts};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, DurationMillisecondType, IntervalYearMonthType, TimeUnit};
use chrono::{DateTime, Months};
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use std::sync::Arc;

const DAY_MILLIS: i128 = 86_400_000;
/// Most rows of the table function.
const MAX_ROWS: usize = 10_000_000;

/// Start and stop of one type, and maybe a step.
pub(super) fn types(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=3)?;
    let integer = |t: &DataType| t.is_integer() || t.is_null();
    let date = |t: &DataType| matches!(t, DataType::Date32 | DataType::Date64 | DataType::Null);
    let time = |t: &DataType| matches!(t, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null);
    let ends = &types[..2];
    let is_zoned = |t: &DataType| matches!(t, DataType::Timestamp(_, Some(_)));
    let unit = ends.iter().filter_map(|t| if let DataType::Timestamp(unit, _) = t { Some(*unit) } else { None }).max();
    let point = if ends.iter().all(integer) {
        DataType::Int64
    } else if ends.iter().all(date) {
        DataType::Date32
    } else if let (true, Some(unit)) = (ends.iter().all(time), unit) {
        if types.len() < 3 {
            return plan_err!("a sequence of timestamps needs a step");
        }
        if ends.iter().any(is_zoned) {
            return plan_err!("timestamps with time zone are not supported");
        }
        // A step may have milliseconds.
        DataType::Timestamp(unit.max(TimeUnit::Millisecond), None)
    } else {
        return plan_err!("expected numbers, dates or timestamps, got {} and {}", types[0], types[1]);
    };
    let step = match types.get(2) {
        None => return Ok(vec![point.clone(), point]),
        Some(given) if given.is_null() && point == DataType::Int64 => DataType::Int64,
        Some(given) if given.is_null() => DAY_TIME,
        Some(given) if given.is_integer() && point == DataType::Int64 => DataType::Int64,
        Some(given @ (&DAY_TIME | &YEAR_MONTH)) if point != DataType::Int64 => given.clone(),
        Some(given) => return plan_err!("the step of {point} cannot be {given}"),
    };
    Ok(vec![point.clone(), point, step])
}

/// A step: a distance of months or of the points' own unit.
#[derive(Clone, Copy)]
enum Step {
    Months(i32),
    Units(i128),
}

/// What the points are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Number,
    Day,
    /// Of which this many are a second.
    Tick(i64),
}

/// Three whole numbers.
pub(super) fn row_types(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 3..=3)?;
    match types.iter().find(|of| !of.is_integer()) {
        Some(other) => plan_err!("the arguments of the table function sequence are bigint, not {other}"),
        None => Ok(vec![DataType::Int64; 3]),
    }
}

/// The rows of `TABLE(sequence(start, stop, step))`, which may be more than an array has.
pub(super) fn rows(call: &Call<'_>) -> Result<ArrayRef> {
    for row in 0..call.rows {
        let (start, stop, step) = (call.ints(0)?.value(row), call.ints(1)?.value(row), call.ints(2)?.value(row));
        if start < stop && step <= 0 {
            return exec_err!("Step must be positive for sequence [{start}, {stop}]");
        }
        if start > stop && step >= 0 {
            return exec_err!("Step must be negative for sequence [{start}, {stop}]");
        }
    }
    made(call, MAX_ROWS)
}

/// `sequence(start, stop[, step])`.
pub(super) fn sequence(call: &Call<'_>) -> Result<ArrayRef> {
    made(call, MAX_MADE_ELEMENTS)
}

fn made(call: &Call<'_>, most: usize) -> Result<ArrayRef> {
    let unit = match call.arg(0)?.data_type() {
        DataType::Int64 => Unit::Number,
        DataType::Date32 => Unit::Day,
        DataType::Timestamp(TimeUnit::Millisecond, _) => Unit::Tick(1_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Unit::Tick(1_000_000),
        _ => Unit::Tick(1_000_000_000),
    };
    let points = |index: usize| -> Result<ArrayRef> {
        let array = call.arg(index)?;
        // A date becomes the days first: there is no cast from it to bigint.
        let array = if unit == Unit::Day { cast(array, &DataType::Int32)? } else { Arc::clone(array) };
        Ok(cast(&array, &DataType::Int64)?)
    };
    let (starts, stops) = (points(0)?, points(1)?);
    let (starts, stops) =
        (starts.as_primitive::<arrow::datatypes::Int64Type>(), stops.as_primitive::<arrow::datatypes::Int64Type>());
    let (mut values, mut lengths, mut valid) = (Vec::<i64>::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let step_known = call.args.get(2).is_none_or(|step| step.is_valid(row));
        let known = starts.is_valid(row) && stops.is_valid(row) && step_known;
        let before = values.len();
        if known {
            let (start, stop) = (starts.value(row), stops.value(row));
            let step = match call.args.get(2) {
                Some(steps) => step_at(steps, row, unit)?,
                None => Step::Units(if start <= stop { 1 } else { -1 }),
            };
            one(start, stop, step, (unit, most), &mut values)?;
        }
        if values.len() > MAX_BATCH_ELEMENTS {
            return exec_err!("the sequences of one batch have more than {MAX_BATCH_ELEMENTS} elements");
        }
        lengths.push(values.len() - before);
        valid.push(known);
    }
    let values = Arc::new(Int64Array::from(values)) as ArrayRef;
    let DataType::List(field) = call.result else {
        return internal_err!("expected a list type, got {}", call.result);
    };
    let values = if unit == Unit::Day { cast(&values, &DataType::Int32)? } else { values };
    list_from_parts(cast(&values, field.data_type())?, &lengths, Some(NullBuffer::from(valid)), call.result)
}

fn step_at(steps: &ArrayRef, row: usize, unit: Unit) -> Result<Step> {
    if let Some(numbers) = steps.as_primitive_opt::<arrow::datatypes::Int64Type>() {
        return Ok(Step::Units(i128::from(numbers.value(row))));
    }
    if let Some(months) = steps.as_primitive_opt::<IntervalYearMonthType>() {
        return Ok(Step::Months(months.value(row)));
    }
    let Some(spans) = steps.as_primitive_opt::<DurationMillisecondType>() else {
        return exec_err!("the step must be a number or an interval");
    };
    let millis = i128::from(spans.value(row));
    match unit {
        Unit::Day if millis % DAY_MILLIS != 0 => {
            exec_err!("sequence step must be a day interval if start and end values are dates")
        }
        Unit::Day => Ok(Step::Units(millis / DAY_MILLIS)),
        Unit::Tick(per_second) => Ok(Step::Units(millis * i128::from(per_second) / 1_000)),
        Unit::Number => exec_err!("the step of numbers must be a number"),
    }
}

/// Adds the points of one sequence.
fn one(start: i64, stop: i64, step: Step, (unit, most): (Unit, usize), values: &mut Vec<i64>) -> Result<()> {
    let sign = match step {
        Step::Months(months) => i128::from(months.signum()),
        Step::Units(units) => units.signum(),
    };
    if sign == 0 {
        return exec_err!("step must not be zero");
    }
    if (sign > 0 && start > stop) || (sign < 0 && start < stop) {
        return exec_err!(
            "sequence stop value should be greater than or equal to start value if step is greater than zero \
             otherwise stop should be less than or equal to start"
        );
    }
    for index in 0..=most {
        let point = match step {
            Step::Units(units) => i64::try_from(i128::from(start) + units * index as i128).ok(),
            Step::Months(months) => plus_months(start, i64::from(months) * index as i64, unit),
        };
        // A point out of range is beyond any stop.
        match point {
            Some(point) if (sign > 0 && point <= stop) || (sign < 0 && point >= stop) => values.push(point),
            _ => return Ok(()),
        }
    }
    exec_err!("result of sequence function must not have more than {most} entries")
}

/// The same day `months` later, or the last of that month.
fn plus_months(point: i64, months: i64, unit: Unit) -> Option<i64> {
    const DAY_SECONDS: i64 = 86_400;
    // The whole seconds, and what is left in the point's unit.
    let (seconds, rest, per_second) = match unit {
        Unit::Tick(per_second) => (point.div_euclid(per_second), point.rem_euclid(per_second), per_second),
        _ => (point.checked_mul(DAY_SECONDS)?, 0, 1),
    };
    let time = DateTime::from_timestamp(seconds, 0)?.naive_utc();
    let distance = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let moved = if months < 0 { time.checked_sub_months(distance)? } else { time.checked_add_months(distance)? };
    let seconds = moved.and_utc().timestamp();
    match unit {
        Unit::Tick(_) => seconds.checked_mul(per_second)?.checked_add(rest),
        _ => Some(seconds.div_euclid(DAY_SECONDS)),
    }
}
