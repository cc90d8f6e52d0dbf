//! Intervals: of days and seconds, counted in milliseconds, and of years and months. What is computed with them and with moments.

use super::super::define::{Arg, Call, DAY_TIME, Typing, YEAR_MONTH, define};
use super::moment::{Instants, make_instants};
use super::units::{Unit, add, in_zone};
use super::unix::{double, saturating};
use crate::functions::Functions;
use crate::functions::conversion::type_name;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, DurationMillisecondType, Float64Type, Int64Type, IntervalYearMonthType, TimeUnit};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use std::sync::Arc;

const DAY_MILLIS: i64 = 86_400_000;
pub(super) const DAY_NANOS: i64 = DAY_MILLIS * 1_000_000;

/// `1 02:03:04.005`: days, hours, minutes, seconds and milliseconds.
pub(crate) fn day_text(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    let (days, rest) = (millis / 86_400_000, millis % 86_400_000);
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!("{sign}{days} {hours:02}:{minutes:02}:{seconds:02}.{:03}", rest % 1_000)
}

/// `1-2`: years and months.
pub(crate) fn month_text(months: i32) -> String {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    format!("{sign}{}-{}", months / 12, months % 12)
}

/// The intervals of `array` as Athena writes them; none for an array of something else.
pub fn interval_texts(array: &dyn Array) -> Option<ArrayRef> {
    let texts: StringArray = if let Some(months) = array.as_primitive_opt::<IntervalYearMonthType>() {
        months.iter().map(|months| months.map(month_text)).collect()
    } else {
        let millis = array.as_primitive_opt::<DurationMillisecondType>()?;
        millis.iter().map(|millis| millis.map(day_text)).collect()
    };
    Some(Arc::new(texts))
}

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution("interval or moment is out of range".to_string())
}

/// Argument `index` as the numbers behind `of`, which it is cast to.
pub(super) fn ticks(call: &Call<'_>, index: usize, of: &DataType) -> Result<impl Fn(usize) -> Option<i64> + use<>> {
    let input = call.input(index)?;
    let array = cast(&cast(&input.array, of)?, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
    let is_constant = input.constant;
    Ok(move |row| {
        let row = if is_constant { 0 } else { row };
        array.is_valid(row).then(|| array.value(row))
    })
}

fn months(call: &Call<'_>, index: usize) -> Result<impl Fn(usize) -> Option<i64> + use<>> {
    let months = call.values::<IntervalYearMonthType>(index)?;
    Ok(move |row| months.get(row).map(i64::from))
}

/// A result from the numbers behind it.
fn made(call: &Call<'_>, row: impl FnMut(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
    let numbers = call.returning(&DataType::Int64).make::<Int64Type, _>(row)?;
    let numbers = match call.returns {
        // There is no way to these from bigint.
        DataType::Date32 => cast(&numbers, &DataType::Int32)?,
        DataType::Time32(_) => cast(&numbers, &DataType::Time64(TimeUnit::Nanosecond))?,
        _ => numbers,
    };
    Ok(cast(&numbers, call.returns)?)
}

fn made_months(call: &Call<'_>, mut row: impl FnMut(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
    call.make::<IntervalYearMonthType, _>(|index| {
        row(index)?.map(|months| i32::try_from(months).map_err(|_| out_of_range())).transpose()
    })
}

/// The type of a moment or an interval and an interval.
fn sum_type(typing: &Typing<'_>) -> Result<DataType> {
    Ok(match (typing.kind(0), typing.kind(1)) {
        (DataType::Timestamp(TimeUnit::Second, zone), &DAY_TIME) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        (DataType::Time32(_), &DAY_TIME) => DataType::Time32(TimeUnit::Millisecond),
        (moment @ (DataType::Date32 | DataType::Timestamp(..)), &DAY_TIME | &YEAR_MONTH) => moment.clone(),
        (time @ DataType::Time64(_), &DAY_TIME) => time.clone(),
        (&DAY_TIME, &DAY_TIME) => DAY_TIME,
        (&YEAR_MONTH, &YEAR_MONTH) => YEAR_MONTH,
        (left, right) => {
            return plan_err!("TYPE_MISMATCH: {} and {} cannot be added or subtracted", type_name(left), type_name(right));
        }
    })
}

/// A moment or an interval with an interval added, `sign` times.
fn moved(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    if *call.input(1)?.array.data_type() == YEAR_MONTH {
        return moved_by_months(call, sign);
    }
    let millis = ticks(call, 1, &DAY_TIME)?;
    let signed = |row| millis(row).map(|millis| millis.checked_mul(sign).ok_or_else(out_of_range)).transpose();
    match call.input(0)?.array.data_type() {
        DataType::Date32 => {
            let days = ticks(call, 0, &DataType::Int32)?;
            made(call, |row| {
                let (Some(days), Some(millis)) = (days(row), signed(row)?) else { return Ok(None) };
                if millis % DAY_MILLIS != 0 {
                    return exec_err!("Cannot add hour, minutes or seconds to a date");
                }
                days.checked_add(millis / DAY_MILLIS)
                    .filter(|days| i32::try_from(*days).is_ok())
                    .map(Some)
                    .ok_or_else(out_of_range)
            })
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let nanos = ticks(call, 0, &DataType::Time64(TimeUnit::Nanosecond))?;
            let per_nano = if *call.returns == DataType::Time64(TimeUnit::Microsecond) { 1_000 } else { 1 };
            made(call, |row| {
                let (Some(nanos), Some(millis)) = (nanos(row), signed(row)?) else { return Ok(None) };
                Ok(Some((nanos + millis % DAY_MILLIS * 1_000_000).rem_euclid(DAY_NANOS) / per_nano))
            })
        }
        _ => {
            let per_milli = match call.returns {
                DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000,
                DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
                _ => 1,
            };
            let start = ticks(call, 0, call.returns)?;
            made(call, |row| {
                let (Some(start), Some(millis)) = (start(row), signed(row)?) else { return Ok(None) };
                let moved = millis.checked_mul(per_milli).and_then(|by| start.checked_add(by));
                moved.map(Some).ok_or_else(out_of_range)
            })
        }
    }
}

fn moved_by_months(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let by = months(call, 1)?;
    if *call.returns == YEAR_MONTH {
        let start = months(call, 0)?;
        return made_months(call, |row| Ok(start(row).zip(by(row)).map(|(start, by)| start + sign * by)));
    }
    let instants = Instants::of(call, 0)?;
    let zone = instants.zone_or_utc();
    make_instants(call.returns, call.rows, |row| {
        let (Some(by), Some(utc)) = (by(row), instants.utc(row)?) else { return Ok(None) };
        in_zone(zone, Unit::Month, utc, |time| add(Unit::Month, sign * by, time)).map(Some)
    })
}

fn difference_type(typing: &Typing<'_>) -> Result<DataType> {
    let is_moment = |of: &DataType| matches!(of, DataType::Date32 | DataType::Timestamp(..));
    let is_time = |of: &DataType| matches!(of, DataType::Time32(_) | DataType::Time64(_));
    let (left, right) = (typing.kind(0), typing.kind(1));
    if is_moment(left) && is_moment(right) || is_time(left) && is_time(right) {
        return Ok(DAY_TIME);
    }
    plan_err!("TYPE_MISMATCH: {} and {} cannot be subtracted", type_name(left), type_name(right))
}

/// Argument `index`, a moment or a time, in microseconds; what is finer is cut off, as Trino does.
fn micros(call: &Call<'_>, index: usize) -> Result<impl Fn(usize) -> Option<i128> + use<>> {
    let (of, multiple, divisor) = match call.input(index)?.array.data_type() {
        DataType::Date32 => (DataType::Timestamp(TimeUnit::Second, None), 1_000_000, 1),
        DataType::Time32(_) | DataType::Time64(_) => (DataType::Time64(TimeUnit::Nanosecond), 1, 1_000),
        own @ DataType::Timestamp(TimeUnit::Second, _) => (own.clone(), 1_000_000, 1),
        own @ DataType::Timestamp(TimeUnit::Millisecond, _) => (own.clone(), 1_000, 1),
        own @ DataType::Timestamp(TimeUnit::Nanosecond, _) => (own.clone(), 1, 1_000),
        own => (own.clone(), 1, 1),
    };
    let ticks = ticks(call, index, &of)?;
    Ok(move |row| ticks(row).map(|ticks| (i128::from(ticks) * multiple).div_euclid(divisor)))
}

/// The time between two moments in milliseconds, halves up.
fn between(call: &Call<'_>) -> Result<ArrayRef> {
    let (to, from) = (micros(call, 0)?, micros(call, 1)?);
    made(call, |row| {
        let Some((to, from)) = to(row).zip(from(row)) else { return Ok(None) };
        i64::try_from((to - from + 500).div_euclid(1_000)).map(Some).map_err(|_| out_of_range())
    })
}

/// An interval computed with a number.
fn scaled<N: Copy>(
    call: &Call<'_>,
    number: impl Fn(usize) -> Option<N>,
    scale: impl Fn(i64, N) -> Result<i64>,
) -> Result<ArrayRef> {
    if *call.returns == YEAR_MONTH {
        let months = months(call, 0)?;
        return made_months(call, |row| months(row).zip(number(row)).map(|(months, number)| scale(months, number)).transpose());
    }
    let millis = ticks(call, 0, &DAY_TIME)?;
    made(call, |row| millis(row).zip(number(row)).map(|(millis, number)| scale(millis, number)).transpose())
}

fn multiplied(call: &Call<'_>) -> Result<ArrayRef> {
    let numbers = call.values::<Int64Type>(1)?;
    scaled(call, |row| numbers.get(row), |interval, number| interval.checked_mul(number).ok_or_else(out_of_range))
}

fn by_double(call: &Call<'_>, scale: fn(f64, f64) -> Result<f64>) -> Result<ArrayRef> {
    let numbers = call.values::<Float64Type>(1)?;
    scaled(
        call,
        |row| numbers.get(row),
        |interval, number| match number.is_nan() {
            true => exec_err!("an interval cannot be multiplied or divided by NaN"),
            false => scale(double(interval), number).map(saturating),
        },
    )
}

fn times(interval: f64, number: f64) -> Result<f64> {
    Ok(interval * number)
}

fn divided(interval: f64, number: f64) -> Result<f64> {
    if number == 0.0 { exec_err!("Division by zero") } else { Ok(interval / number) }
}

fn same(typing: &Typing<'_>) -> Result<DataType> {
    Ok(typing.kind(0).clone())
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let (any, by_bigint, by_number) = ([Arg::Any, Arg::Any], [Arg::Span, Arg::Bigint], [Arg::Span, Arg::Double]);
    let day = |call: &Call<'_>| {
        let values = call.values::<Int64Type>(0)?;
        made(call, |row| Ok(values.get(row)))
    };
    let month = |call: &Call<'_>| {
        let values = call.values::<Int64Type>(0)?;
        made_months(call, |row| Ok(values.get(row)))
    };
    functions.scalar.extend([
        define("owlet_interval_day").form(&[Arg::Bigint], DAY_TIME, day).udf(),
        define("owlet_interval_month").form(&[Arg::Bigint], YEAR_MONTH, month).udf(),
        define("owlet_add_interval").typed(&any, None, sum_type, |call| moved(call, 1)).udf(),
        define("owlet_subtract_interval").typed(&any, None, sum_type, |call| moved(call, -1)).udf(),
        define("owlet_time_between").typed(&any, None, difference_type, between).udf(),
        define("owlet_multiply_interval")
            .typed(&by_bigint, None, same, multiplied)
            .typed(&by_number, None, same, |call| by_double(call, times))
            .udf(),
        define("owlet_divide_interval").typed(&by_number, None, same, |call| by_double(call, divided)).udf(),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_written_as_athena_writes_them() {
        for (millis, text) in [(0, "0 00:00:00.000"), (93_784_005, "1 02:03:04.005"), (-1, "-0 00:00:00.001")] {
            assert_eq!(day_text(millis), text);
        }
        assert_eq!(day_text(i64::MIN), "-106751991167 07:12:55.808");
        for (months, text) in [(0, "0-0"), (14, "1-2"), (-14, "-1-2")] {
            assert_eq!(month_text(months), text);
        }
        assert!(interval_texts(&arrow::array::Int64Array::from(vec![1])).is_none());
    }
}
