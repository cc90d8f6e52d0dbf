//! Times of day in date_trunc, date_add and date_diff: as nanoseconds since midnight.

use super::super::define::{Call, Texts};
use super::interval::{DAY_NANOS, ticks};
use super::units::Unit;
use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::{Result, exec_err};

const NANOS: DataType = DataType::Time64(TimeUnit::Nanosecond);

/// Nanoseconds of the unit in the first argument.
fn length(units: &Texts, row: usize) -> Result<Option<i64>> {
    let Some(text) = units.get(row) else { return Ok(None) };
    match Unit::parse(text, false) {
        Ok(unit) if unit < Unit::Day => Ok(unit.fixed_millis().map(|millis| millis * 1_000_000)),
        _ => exec_err!("'{text}' is not a valid TIME field"),
    }
}

/// Times from nanoseconds, rounded to the digits of the result.
fn made(call: &Call<'_>, mut row: impl FnMut(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
    let digit = match call.returns {
        DataType::Time32(TimeUnit::Second) => 1_000_000_000,
        DataType::Time32(_) => 1_000_000,
        DataType::Time64(TimeUnit::Microsecond) => 1_000,
        _ => 1,
    };
    let rounded = |nanos: i64| ((nanos + digit / 2).div_euclid(digit) * digit).rem_euclid(DAY_NANOS);
    let nanos = call.returning(&DataType::Int64).make::<Int64Type, _>(|index| Ok(row(index)?.map(rounded)))?;
    Ok(cast(&cast(&nanos, &NANOS)?, call.returns)?)
}

pub(super) fn truncated(call: &Call<'_>) -> Result<ArrayRef> {
    let (units, nanos) = (call.texts(0)?, ticks(call, 1, &NANOS)?);
    made(call, |row| {
        let (Some(length), Some(nanos)) = (length(&units, row)?, nanos(row)) else { return Ok(None) };
        Ok(Some(nanos / length * length))
    })
}

/// Behind midnight the day begins again.
pub(super) fn added(call: &Call<'_>) -> Result<ArrayRef> {
    let (units, counts, nanos) = (call.texts(0)?, call.values::<Int64Type>(1)?, ticks(call, 2, &NANOS)?);
    made(call, |row| {
        let (Some(length), Some(count), Some(nanos)) = (length(&units, row)?, counts.get(row), nanos(row)) else {
            return Ok(None);
        };
        // As many units as a day has change nothing.
        Ok(Some((nanos + count % (DAY_NANOS / length) * length).rem_euclid(DAY_NANOS)))
    })
}

pub(super) fn difference(call: &Call<'_>) -> Result<ArrayRef> {
    let (units, from, to) = (call.texts(0)?, ticks(call, 1, &NANOS)?, ticks(call, 2, &NANOS)?);
    call.make::<Int64Type, _>(|row| {
        let (Some(length), Some(from), Some(to)) = (length(&units, row)?, from(row), to(row)) else { return Ok(None) };
        Ok(Some((to - from) / length))
    })
}
