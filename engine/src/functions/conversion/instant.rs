//! CAST to date and to timestamps with and without zone.

use super::super::define::{Arg, Call, Typing, define, is_text};
use super::number::lenient;
use super::types::type_name;
use crate::functions::Functions;
use crate::functions::datetime::{Instants, Zone, make_instants};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Time64NanosecondType, TimeUnit};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::common::{Result, exec_err, plan_err};

/// A timestamp as it is written: its parts, all nanoseconds of a finer fraction rounded to `digits`, and its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    time: NaiveDateTime,
    zone: Option<String>,
}

/// Takes up to `most` digits off the front.
fn digits<'a>(text: &mut &'a str, least: usize, most: usize) -> Option<&'a str> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(count).filter(|_| count >= least)?;
    *text = rest;
    Some(digits)
}

fn number(text: &mut &str, most: usize) -> Option<u32> {
    digits(text, 1, most)?.parse().ok()
}

fn skip(text: &mut &str, expected: char) -> Option<()> {
    *text = text.strip_prefix(expected)?;
    Some(())
}

/// `[-]year-month-day`, from the front of `text`.
fn read_date(text: &mut &str, least_year: usize) -> Option<NaiveDate> {
    let negative = text.starts_with('-');
    *text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let year: i32 = digits(text, least_year, 9)?.parse().ok()?;
    skip(text, '-')?;
    let month = number(text, 2)?;
    skip(text, '-')?;
    let day = number(text, 2)?;
    NaiveDate::from_ymd_opt(if negative { -year } else { year }, month, day)
}

/// `hour:minute[:second[.fraction]]`, from the front of `text`; the fraction is rounded to `precision` digits.
fn read_clock(text: &mut &str, date: NaiveDate, precision: u32) -> Option<NaiveDateTime> {
    let hour = number(text, 2)?;
    skip(text, ':')?;
    let minute = number(text, 2)?;
    let mut second = 0;
    let mut fraction = "";
    if skip(text, ':').is_some() {
        second = number(text, 2)?;
        if skip(text, '.').is_some() {
            fraction = digits(text, 1, usize::MAX)?;
        }
    }
    let time = date.and_time(NaiveTime::from_hms_opt(hour, minute, second)?);
    let kept: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = kept.parse().ok()?;
    // A tenth digit rounds the ninth.
    let up = i64::from(fraction.as_bytes().get(9).is_some_and(|digit| *digit >= b'5') && precision == 9);
    round(time.checked_add_signed(TimeDelta::nanoseconds(nanos + up))?, precision)
}

/// `time` with `precision` digits of a second; halves are rounded up.
pub(super) fn round(time: NaiveDateTime, precision: u32) -> Option<NaiveDateTime> {
    let unit = 10_i64.checked_pow(9_u32.saturating_sub(precision))?;
    let rest = i64::from(time.nanosecond()) % unit;
    let change = if rest * 2 >= unit { unit - rest } else { -rest };
    time.checked_add_signed(TimeDelta::nanoseconds(if rest == 0 { 0 } else { change }))
}

/// Reads a date and perhaps a time and a zone.
pub(super) fn read_timestamp(text: &str, precision: u32) -> Option<Written> {
    let mut rest = text.trim_matches(|c: char| c <= ' ');
    let date = read_date(&mut rest, 4)?;
    let midnight = date.and_time(NaiveTime::MIN);
    if rest.is_empty() {
        return Some(Written { time: midnight, zone: None });
    }
    skip(&mut rest, ' ')?;
    let time = if rest.starts_with(|c: char| c.is_ascii_digit()) { read_clock(&mut rest, date, precision)? } else { midnight };
    let zone = rest.trim_start();
    Some(Written { time, zone: (!zone.is_empty()).then(|| zone.to_string()) })
}

fn whole_date(text: &str) -> Result<NaiveDateTime> {
    let mut rest = text.trim_matches(|c: char| c <= ' ');
    match read_date(&mut rest, 1).filter(|_| rest.is_empty()) {
        Some(date) => Ok(date.and_time(NaiveTime::MIN)),
        None => exec_err!("Value cannot be cast to date: {text}"),
    }
}

fn cast_date(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    if is_text(call.input(0)?.array.data_type()) {
        let texts = call.texts(0)?;
        return make_instants(call.returns, call.rows, |row| {
            texts.get(row).map_or(Ok(None), |text| lenient(whole_date(text), forgive))
        });
    }
    let instants = Instants::of(call, 0)?;
    make_instants(call.returns, call.rows, |row| instants.local(row))
}

/// The unit that holds `precision` digits.
fn unit_of(precision: i64) -> Result<TimeUnit> {
    Ok(match precision {
        0 => TimeUnit::Second,
        1..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        7..=9 => TimeUnit::Nanosecond,
        _ => return plan_err!("timestamp({precision}) is not supported: at most 9 digits"),
    })
}

fn precision_of(typing: &Typing<'_>) -> Result<i64> {
    if typing.types.len() > 1 { typing.integer(1) } else { Ok(3) }
}

fn check_source(typing: &Typing<'_>, target: &str) -> Result<()> {
    match typing.kind(0) {
        DataType::Null | DataType::Date32 | DataType::Timestamp(..) => Ok(()),
        text if is_text(text) => Ok(()),
        kind => plan_err!("Cannot cast {} to {target}", type_name(kind)),
    }
}

fn plain_type(typing: &Typing<'_>) -> Result<DataType> {
    check_source(typing, "timestamp")?;
    Ok(DataType::Timestamp(unit_of(precision_of(typing)?)?, None))
}

/// The zone of a constant text or of the column, else UTC.
fn zoned_type(typing: &Typing<'_>) -> Result<DataType> {
    check_source(typing, "timestamp with time zone")?;
    let zone = match typing.kind(0) {
        DataType::Timestamp(_, Some(zone)) => zone.to_string(),
        text if is_text(text) && typing.is_literal(0) => {
            let written = typing.text(0)?.and_then(|text| read_timestamp(&text, 9));
            let zone = written.and_then(|written| written.zone).and_then(|zone| Zone::parse(&zone).ok());
            zone.unwrap_or(Zone::UTC).name()
        }
        _ => Zone::UTC.name(),
    };
    Ok(DataType::Timestamp(unit_of(precision_of(typing)?)?, Some(zone.into())))
}

fn precision(call: &Call<'_>) -> Result<u32> {
    if call.inputs.len() < 2 {
        return Ok(3);
    }
    let digits = call.values::<arrow::datatypes::Int64Type>(1)?.get(0);
    Ok(digits.and_then(|digits| u32::try_from(digits).ok()).unwrap_or(3).min(9))
}

/// The instant that a text means for a column of `zone`.
fn in_zone(text: &str, digits: u32, zone: Option<Zone>) -> Result<NaiveDateTime> {
    let written = read_timestamp(text, digits);
    let Some(written) = written else { return exec_err!("Value cannot be cast to timestamp: {text}") };
    match (zone, written.zone) {
        (None, None) => Ok(written.time),
        (None, Some(_)) => exec_err!("Value cannot be cast to timestamp: {text}"),
        (Some(column), own) => {
            let own = own.map(|name| Zone::parse(&name)).transpose();
            let Ok(own) = own else { return exec_err!("Value cannot be cast to timestamp with time zone: {text}") };
            let own = own.unwrap_or(Zone::UTC);
            if own != column {
                let column = column.name();
                return exec_err!(
                    "'{text}' has another time zone than its column ({column}): timestamps of one column have one time zone here"
                );
            }
            own.instant(written.time, None)
        }
    }
}

fn cast_timestamp(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    let digits = precision(call)?;
    let zone = match call.returns {
        DataType::Timestamp(_, Some(zone)) => Some(Zone::parse(zone)?),
        _ => None,
    };
    if is_text(call.input(0)?.array.data_type()) {
        let texts = call.texts(0)?;
        return make_instants(call.returns, call.rows, |row| {
            texts.get(row).map_or(Ok(None), |text| lenient(in_zone(text, digits, zone), forgive))
        });
    }
    let instants = Instants::of(call, 0)?;
    make_instants(call.returns, call.rows, |row| {
        // With zone, the instant stays; without, the wall time does. A date or timestamp without zone is in UTC.
        let time = if zone.is_some() { instants.utc(row)? } else { instants.local(row)? };
        Ok(time.and_then(|time| round(time, digits)))
    })
}

/// `hour:minute[:second[.fraction]]` and nothing else, with `precision` digits of a second.
fn whole_clock(text: &str, precision: u32) -> Result<NaiveTime> {
    let mut rest = text.trim_matches(|c: char| c <= ' ');
    // Rounding up to midnight begins the day again.
    match read_clock(&mut rest, NaiveDate::default(), precision).filter(|_| rest.is_empty()) {
        Some(clock) => Ok(clock.time()),
        None => exec_err!("Value cannot be cast to time: {text}"),
    }
}

fn time_type(typing: &Typing<'_>) -> Result<DataType> {
    if !matches!(typing.kind(0), DataType::Time32(_) | DataType::Time64(_)) {
        check_source(typing, "time")?;
    }
    Ok(match unit_of(precision_of(typing)?)? {
        unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
        unit => DataType::Time64(unit),
    })
}

fn cast_time(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    let digits = precision(call)?;
    let nanos = |clock: NaiveTime| i64::from(clock.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(clock.nanosecond());
    let nano_call = call.returning(&DataType::Time64(TimeUnit::Nanosecond));
    let input = &call.input(0)?.array;
    let clocks = if is_text(input.data_type()) {
        let texts = call.texts(0)?;
        nano_call.make::<Time64NanosecondType, _>(|row| {
            let clock = texts.get(row).map_or(Ok(None), |text| lenient(whole_clock(text, digits), forgive));
            Ok(clock?.map(nanos))
        })?
    } else if matches!(input.data_type(), DataType::Time32(_) | DataType::Time64(_)) {
        let unit = 10_i64.pow(9 - digits);
        let times = cast(input, &DataType::Time64(TimeUnit::Nanosecond))?.as_primitive::<Time64NanosecondType>().clone();
        let is_constant = call.input(0)?.constant;
        nano_call.make::<Time64NanosecondType, _>(|row| {
            let row = if is_constant { 0 } else { row };
            let rounded = |nanos: i64| (nanos + unit / 2) / unit * unit % 86_400_000_000_000;
            Ok(times.is_valid(row).then(|| rounded(times.value(row))))
        })?
    } else {
        let instants = Instants::of(call, 0)?;
        nano_call.make::<Time64NanosecondType, _>(|row| {
            let time = instants.local(row)?.and_then(|time| round(time, digits));
            Ok(time.map(|time| nanos(time.time())))
        })?
    };
    Ok(cast(&clocks, call.returns)?)
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let date_type = |typing: &Typing<'_>| check_source(typing, "date").map(|()| DataType::Date32);
    for (names, forgive) in [
        (["owlet_cast_date", "owlet_cast_time", "owlet_cast_timestamp", "owlet_cast_timestamp_tz"], false),
        (["owlet_try_cast_date", "owlet_try_cast_time", "owlet_try_cast_timestamp", "owlet_try_cast_timestamp_tz"], true),
    ] {
        let [date, time, plain, zoned] = names.map(define);
        let clock = move |call: &Call<'_>| cast_time(call, forgive);
        functions.scalar.push(time.typed(&[Arg::Any, Arg::Bigint], None, time_type, clock).udf());
        let date = if forgive { date } else { date.alias(&["date"]) };
        let body = move |call: &Call<'_>| cast_timestamp(call, forgive);
        functions.scalar.push(date.typed(&[Arg::Any], None, date_type, move |call| cast_date(call, forgive)).udf());
        for (function, kind) in [(plain, plain_type as fn(&Typing<'_>) -> Result<DataType>), (zoned, zoned_type)] {
            let one = function.typed(&[Arg::Any], None, kind, body);
            functions.scalar.push(one.typed(&[Arg::Any, Arg::Bigint], None, kind, body).udf());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_as_in_trino() {
        for (text, time, zone) in [
            ("2024-01-15", "2024-01-15T00:00:00", None),
            (" 2024-1-5 3:04 ", "2024-01-05T03:04:00", None),
            ("2024-01-15 10:20:30.1235", "2024-01-15T10:20:30.124", None),
            ("2024-12-31 23:59:59.9999", "2025-01-01T00:00:00", None),
            ("2024-01-15 10:20:30 America/New_York", "2024-01-15T10:20:30", Some("America/New_York")),
            ("2024-01-15 10:20:30+08:00", "2024-01-15T10:20:30", Some("+08:00")),
        ] {
            let written = read_timestamp(text, 3).unwrap();
            assert_eq!(written.time, time.parse().unwrap(), "{text}");
            assert_eq!(written.zone.as_deref(), zone, "{text}");
        }
        for text in ["2024-01-15T10:20:30", "2024-02-30", "2024-01-15 25:00", "x", ""] {
            assert!(read_timestamp(text, 3).is_none(), "{text}");
        }
    }
}
