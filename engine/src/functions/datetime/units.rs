//! Arithmetic in calendar units: date_add, date_diff, date_trunc.

use super::super::define::{Arg, Call, Texts, Typing, define};
use super::clock;
use super::moment::{Instants, Zone, last_day, make_instants, millis, shift};
use crate::functions::Functions;
use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::common::{DataFusionError, Result, exec_err};

/// A unit of date arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    /// Reads a unit's name; `dates` leaves out the units shorter than a day.
    pub(super) fn parse(text: &str, dates: bool) -> Result<Self> {
        let lower = text.to_lowercase();
        let unit = match lower.as_str() {
            "millisecond" => Self::Millisecond,
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => return exec_err!("'{lower}' is not a valid {} field", if dates { "DATE" } else { "Timestamp" }),
        };
        if dates && unit < Self::Day {
            return exec_err!("'{lower}' is not a valid DATE field");
        }
        Ok(unit)
    }

    /// Milliseconds of the units that are always as long.
    pub(super) fn fixed_millis(self) -> Option<i64> {
        Some(match self {
            Self::Millisecond => 1,
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
            Self::Week => 7 * 86_400_000,
            Self::Month | Self::Quarter | Self::Year => return None,
        })
    }

    fn months(self) -> i64 {
        match self {
            Self::Quarter => 3,
            Self::Year => 12,
            _ => 1,
        }
    }
}

fn overflow() -> DataFusionError {
    DataFusionError::Execution("date arithmetic leaves the range of dates".to_string())
}

fn midnight(date: Option<NaiveDate>) -> Result<NaiveDateTime> {
    date.map(|date| date.and_time(NaiveTime::MIN)).ok_or_else(overflow)
}

/// The start of the unit that `time` lies in.
pub(super) fn truncate(unit: Unit, time: NaiveDateTime) -> Result<NaiveDateTime> {
    let date = time.date();
    let clock = |hour, minute, second, nanos| {
        NaiveTime::from_hms_nano_opt(hour, minute, second, nanos).map(|clock| date.and_time(clock)).ok_or_else(overflow)
    };
    match unit {
        Unit::Millisecond => clock(time.hour(), time.minute(), time.second(), time.nanosecond() / 1_000_000 * 1_000_000),
        Unit::Second => clock(time.hour(), time.minute(), time.second(), 0),
        Unit::Minute => clock(time.hour(), time.minute(), 0, 0),
        Unit::Hour => clock(time.hour(), 0, 0, 0),
        Unit::Day => midnight(Some(date)),
        Unit::Week => midnight(date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday())))),
        Unit::Month => midnight(date.with_day(1)),
        Unit::Quarter => midnight(NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1)),
        Unit::Year => midnight(NaiveDate::from_ymd_opt(date.year(), 1, 1)),
    }
}

/// `time` moved by `count` units; a day that a month does not have becomes its last.
pub(super) fn add(unit: Unit, count: i64, time: NaiveDateTime) -> Result<NaiveDateTime> {
    let count = i32::try_from(count).map_err(|_| DataFusionError::Execution("integer overflow".to_string()))?;
    let count = i64::from(count);
    if let Some(length) = unit.fixed_millis() {
        let delta = count.checked_mul(length).and_then(TimeDelta::try_milliseconds);
        return delta.and_then(|delta| time.checked_add_signed(delta)).ok_or_else(overflow);
    }
    let months = i64::from(time.year()) * 12 + i64::from(time.month0()) + count * unit.months();
    let year = i32::try_from(months.div_euclid(12)).map_err(|_| overflow())?;
    let month = u32::try_from(months.rem_euclid(12)).map_err(|_| overflow())? + 1;
    let first = NaiveDate::from_ymd_opt(year, month, 1).ok_or_else(overflow)?;
    let date = first.with_day(time.day()).map_or_else(|| last_day(first), Ok)?;
    Ok(date.and_time(time.time()))
}

/// Complete months from `from` to `to`, with `from` not after `to`. When `to` is the last day of its month, it completes a
/// month that began on a later day.
fn months_between(from: NaiveDateTime, to: NaiveDateTime) -> Result<i64> {
    let index = |time: NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
    let mut day = from.day();
    if day > to.day() && last_day(to.date())? == to.date() {
        day = to.day();
    }
    let whole = index(to) - index(from);
    Ok(if (to.day(), to.time()) < (day, from.time()) { whole - 1 } else { whole })
}

/// Complete years from `from` to `to`, with `from` not after `to`; the 29th of February counts as the 28th towards years
/// that lack it, and later days of leap years move up by one.
fn years_between(from: NaiveDateTime, to: NaiveDateTime) -> i64 {
    const FEBRUARY_29: u32 = 59;
    let leap = |time: NaiveDateTime| time.date().leap_year();
    let (mut first, mut last) = (from.ordinal0(), to.ordinal0());
    if first >= FEBRUARY_29 {
        if leap(from) && !leap(to) {
            first -= 1;
        } else if !leap(from) && leap(to) && last >= FEBRUARY_29 {
            last -= 1;
        }
    }
    let whole = i64::from(to.year()) - i64::from(from.year());
    if (last, to.time()) < (first, from.time()) { whole - 1 } else { whole }
}

/// Complete units from `from` to `to`; negative when `to` is before `from`.
pub(super) fn difference(unit: Unit, from: NaiveDateTime, to: NaiveDateTime) -> Result<i64> {
    if let Some(length) = unit.fixed_millis() {
        return Ok((millis(to) - millis(from)) / length);
    }
    if to < from {
        return difference(unit, to, from).map(|count| -count);
    }
    match unit {
        Unit::Year => Ok(years_between(from, to)),
        _ => Ok(months_between(from, to)? / unit.months()),
    }
}

/// The unit of each row; a constant unit is read once.
struct Units {
    texts: Texts,
    dates: bool,
    constant: Option<Unit>,
}

impl Units {
    fn of(call: &Call<'_>, dates: bool) -> Result<Self> {
        let texts = call.texts(0)?;
        let constant = match (call.input(0)?.constant, texts.get(0)) {
            (true, Some(text)) => Some(Unit::parse(text, dates)?),
            _ => None,
        };
        Ok(Self { texts, dates, constant })
    }

    fn get(&self, row: usize) -> Result<Option<Unit>> {
        match self.constant {
            Some(unit) => Ok(Some(unit)),
            None => self.texts.get(row).map(|text| Unit::parse(text, self.dates)).transpose(),
        }
    }
}

fn is_date(call: &Call<'_>, index: usize) -> Result<bool> {
    Ok(*call.input(index)?.array.data_type() == DataType::Date32)
}

/// Applies `change` to the wall time; units shorter than a day keep the offset, others keep the wall time, and the offset where
/// that is there twice.
pub(super) fn in_zone(
    zone: Zone,
    unit: Unit,
    utc: NaiveDateTime,
    change: impl Fn(NaiveDateTime) -> Result<NaiveDateTime>,
) -> Result<NaiveDateTime> {
    let offset = zone.offset(utc);
    let changed = change(zone.local(utc)?)?;
    if unit < Unit::Day { shift(changed, -i64::from(offset)) } else { zone.instant(changed, Some(offset)) }
}

/// Truncates timestamps without zone by whole lengths since 1970-01-01, which was a Thursday.
fn truncate_all(call: &Call<'_>, unit: Unit) -> Result<Option<ArrayRef>> {
    const MONDAY_MILLIS: i64 = -3 * 86_400_000;
    let input = call.input(1)?;
    let (DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, None), Some(millis)) =
        (input.array.data_type(), unit.fixed_millis())
    else {
        return Ok(None);
    };
    let ticks = match input.array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1,
    };
    if input.constant && call.rows != 1 {
        return Ok(None);
    }
    let (length, start) = (millis * ticks, if unit == Unit::Week { MONDAY_MILLIS * ticks } else { 0 });
    let values = cast(&input.array, &DataType::Int64)?;
    let truncated = values.as_primitive::<Int64Type>().try_unary::<_, Int64Type, _>(|value| {
        let into = value.checked_sub(start).map(|value| value.rem_euclid(length));
        into.and_then(|into| value.checked_sub(into)).ok_or_else(overflow)
    })?;
    Ok(Some(cast(&truncated, call.returns)?))
}

fn date_trunc(call: &Call<'_>) -> Result<ArrayRef> {
    let units = Units::of(call, is_date(call, 1)?)?;
    if let Some(array) = units.constant.map(|unit| truncate_all(call, unit)).transpose()?.flatten() {
        return Ok(array);
    }
    let instants = Instants::of(call, 1)?;
    let zone = instants.zone_or_utc();
    make_instants(call.returns, call.rows, |row| {
        let (Some(unit), Some(utc)) = (units.get(row)?, instants.utc(row)?) else { return Ok(None) };
        in_zone(zone, unit, utc, |time| truncate(unit, time)).map(Some)
    })
}

fn date_add(call: &Call<'_>) -> Result<ArrayRef> {
    const HALF_SECOND: u32 = 500_000_000;
    let whole_seconds = matches!(call.returns, DataType::Timestamp(TimeUnit::Second, _));
    let units = Units::of(call, is_date(call, 2)?)?;
    let counts = call.values::<Int64Type>(1)?;
    let instants = Instants::of(call, 2)?;
    let zone = instants.zone_or_utc();
    make_instants(call.returns, call.rows, |row| {
        let (Some(unit), Some(count), Some(utc)) = (units.get(row)?, counts.get(row), instants.utc(row)?) else {
            return Ok(None);
        };
        let moved = in_zone(zone, unit, utc, |time| add(unit, count, time))?;
        // Timestamps of whole seconds are rounded, halves up.
        Ok(Some(if whole_seconds && moved.nanosecond() >= HALF_SECOND { shift(moved, 1)? } else { moved }))
    })
}

fn date_diff(call: &Call<'_>) -> Result<ArrayRef> {
    let units = Units::of(call, is_date(call, 1)? && is_date(call, 2)?)?;
    let (from, to) = (Instants::of(call, 1)?, Instants::of(call, 2)?);
    // A value without zone is in the session's, which is UTC; days are those of the first value's zone.
    let zone = from.zone_or_utc();
    call.make::<Int64Type, _>(|row| {
        let (Some(unit), Some(from), Some(to)) = (units.get(row)?, from.utc(row)?, to.utc(row)?) else { return Ok(None) };
        // Trino counts in milliseconds.
        let (from, to) = (truncate(Unit::Millisecond, from)?, truncate(Unit::Millisecond, to)?);
        if unit < Unit::Day {
            return difference(unit, from, to).map(Some);
        }
        difference(unit, zone.local(from)?, zone.local(to)?).map(Some)
    })
}

/// The type of argument `index`.
fn same_as(index: usize) -> impl Fn(&Typing<'_>) -> Result<DataType> {
    move |typing| Ok(typing.kind(index).clone())
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    functions.scalar.extend([
        define("date_trunc")
            .typed(&[Arg::Text, Arg::Instant], None, same_as(1), date_trunc)
            .typed(&[Arg::Text, Arg::Time], None, same_as(1), clock::truncated)
            .udf(),
        define("date_add")
            .typed(&[Arg::Text, Arg::Bigint, Arg::Instant], None, same_as(2), date_add)
            .typed(&[Arg::Text, Arg::Bigint, Arg::Time], None, same_as(2), clock::added)
            .udf(),
        define("date_diff")
            .form(&[Arg::Text, Arg::Instant, Arg::Instant], DataType::Int64, date_diff)
            .form(&[Arg::Text, Arg::Time, Arg::Time], DataType::Int64, clock::difference)
            .udf(),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    #[test]
    fn months_are_complete() {
        for (unit, from, to, expected) in [
            (Unit::Month, "2024-01-31 00:00:00", "2024-02-29 00:00:00", 1),
            (Unit::Month, "2024-01-31 00:00:00", "2024-03-30 00:00:00", 1),
            (Unit::Month, "2024-01-15 10:00:00", "2024-02-15 09:59:59", 0),
            (Unit::Month, "2024-03-31 00:00:00", "2024-02-29 00:00:00", -1),
            (Unit::Quarter, "2024-01-15 00:00:00", "2024-07-14 00:00:00", 1),
            (Unit::Year, "2020-02-29 00:00:00", "2021-02-28 00:00:00", 1),
            (Unit::Year, "2019-03-01 00:00:00", "2020-02-29 00:00:00", 0),
            (Unit::Year, "2019-03-01 00:00:00", "2020-03-01 00:00:00", 1),
            (Unit::Day, "1969-12-31 12:00:00", "1970-01-01 11:00:00", 0),
            (Unit::Week, "2024-01-01 00:00:00", "2024-01-15 00:00:00", 2),
        ] {
            assert_eq!(difference(unit, time(from), time(to)).unwrap(), expected, "{unit:?} {from} {to}");
        }
    }

    #[test]
    fn additions_stay_in_their_month() {
        for (unit, count, from, expected) in [
            (Unit::Month, -1, "2024-03-31 00:00:00", "2024-02-29 00:00:00"),
            (Unit::Month, 11, "2023-03-31 10:00:00", "2024-02-29 10:00:00"),
            (Unit::Year, 1, "2024-02-29 00:00:00", "2025-02-28 00:00:00"),
            (Unit::Quarter, -5, "0001-05-31 00:00:00", "0000-02-29 00:00:00"),
            (Unit::Day, -1, "1970-01-01 00:00:00", "1969-12-31 00:00:00"),
        ] {
            assert_eq!(add(unit, count, time(from)).unwrap(), time(expected), "{unit:?} {count} {from}");
        }
        assert!(add(Unit::Day, i64::MAX, time("2024-01-01 00:00:00")).is_err());
    }
}
