//! Seconds since 1970, durations, and time zones of timestamps.

use super::super::define::{Arg, Call, DAY_TIME, Typing, define};
use super::moment::{Instants, Zone, from_epoch, from_millis, make_instants, millis_in};
use crate::functions::Functions;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Decimal128Type, DurationMillisecondType, Float64Type, Int64Type, TimeUnit};
use datafusion::common::{Result, exec_err, plan_err};

/// Java's rounding: halves up, saturating, NaN to zero.
pub(crate) fn java_round(value: f64) -> i64 {
    let floor = value.floor();
    // Adding a half first would round 0.49999999999999994 up.
    let rounded = if value - floor >= 0.5 { floor + 1.0 } else { floor };
    saturating(rounded)
}

/// A double as the nearest bigint towards zero; NaN is zero.
pub(crate) fn saturating(value: f64) -> i64 {
    value as i64
}

/// A bigint as double; large ones lose their last digits, as Trino's do.
pub(crate) fn double(value: i64) -> f64 {
    value as f64
}

fn from_unixtime(call: &Call<'_>) -> Result<ArrayRef> {
    let seconds = call.values::<Float64Type>(0)?;
    make_instants(call.returns, call.rows, |row| {
        let nulls = call.inputs.iter().skip(1).any(|input| input.array.is_null(0));
        match seconds.get(row) {
            Some(seconds) if !nulls => from_millis(java_round(seconds * 1000.0)).map(Some),
            _ => Ok(None),
        }
    })
}

/// The zone of a constant argument.
fn constant_zone(typing: &Typing<'_>, index: usize) -> Result<Zone> {
    if !typing.is_literal(index) {
        return plan_err!(
            "the time zone of {} must be a constant: timestamps of one column have one time zone here",
            typing.name
        );
    }
    typing.text(index)?.map_or(Ok(Zone::UTC), |name| Zone::parse(&name))
}

fn from_unixtime_nanos(call: &Call<'_>) -> Result<ArrayRef> {
    let at = |nanos: i128| {
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
        from_epoch(seconds, u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0)).map(Some)
    };
    if let DataType::Decimal128(_, scale) = call.input(0)?.array.data_type() {
        let scale = *scale;
        let values = call.values::<Decimal128Type>(0)?;
        let unit = 10_i128.checked_pow(u32::try_from(scale).unwrap_or(0)).unwrap_or(i128::MAX);
        return make_instants(call.returns, call.rows, |row| {
            let Some(value) = values.get(row) else { return Ok(None) };
            let half = unit / 2 * value.signum();
            at(if scale > 0 { (value + half) / unit } else { value })
        });
    }
    let values = call.values::<Int64Type>(0)?;
    make_instants(call.returns, call.rows, |row| values.get(row).map_or(Ok(None), |value| at(i128::from(value))))
}

fn to_unixtime(call: &Call<'_>) -> Result<ArrayRef> {
    let instants = Instants::of(call, 0)?;
    call.make::<Float64Type, _>(|row| {
        Ok(instants.utc(row)?.map(|time| {
            let utc = time.and_utc();
            // The whole part in one division and the rest in another, as Trino adds them up.
            match instants.zone {
                Some(_) => {
                    let rest = f64::from(utc.timestamp_subsec_nanos() % 1_000_000);
                    double(utc.timestamp_millis()) / 1_000.0 + rest / 1e9
                }
                None => {
                    let rest = f64::from(utc.timestamp_subsec_nanos() % 1_000);
                    double(utc.timestamp_micros()) / 1_000_000.0 + rest / 1e9
                }
            }
        }))
    })
}

fn to_milliseconds(call: &Call<'_>) -> Result<ArrayRef> {
    let spans = call.values::<DurationMillisecondType>(0)?;
    call.make::<Int64Type, _>(|row| Ok(spans.get(row)))
}

fn human_readable_seconds(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.values::<Float64Type>(0)?;
    call.make_texts(|row| {
        let Some(value) = values.get(row) else { return Ok(None) };
        if !value.is_finite() {
            return exec_err!("Invalid argument found: {}", crate::functions::conversion::java_double(value));
        }
        let mut rest = java_round(value.abs());
        let mut parts = Vec::new();
        for (name, length) in [("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)] {
            let count = rest / length;
            rest %= length;
            if count > 0 || (length == 1 && parts.is_empty()) {
                parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
            }
        }
        Ok(Some(parts.join(", ")))
    })
}

/// A number and a unit from nanoseconds to days, as milliseconds, rounded.
fn duration_millis(text: &str) -> Option<i64> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = (trimmed.get(..split)?.trim_end(), trimmed.get(split..)?);
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let whole = number.split_once('.').map_or(number, |(whole, _)| whole);
    if !plain || whole.is_empty() || number.ends_with('.') {
        return None;
    }
    let value: f64 = number.parse().ok()?;
    let millis = match unit {
        "ns" => 1e-6,
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 6e4,
        "h" => 3.6e6,
        "d" => 8.64e7,
        _ => return None,
    };
    Some(java_round(value * millis))
}

fn parse_duration(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    call.make::<DurationMillisecondType, _>(|row| {
        let Some(text) = texts.get(row) else { return Ok(None) };
        match duration_millis(text) {
            Some(millis) => Ok(Some(millis)),
            None => exec_err!("duration is not a valid data duration string: {text}"),
        }
    })
}

fn instants_again(call: &Call<'_>) -> Result<ArrayRef> {
    let instants = Instants::of(call, 0)?;
    let zone_is_null = call.input(1)?.array.is_null(0);
    make_instants(call.returns, call.rows, |row| if zone_is_null { Ok(None) } else { instants.utc(row) })
}

fn with_timezone(call: &Call<'_>) -> Result<ArrayRef> {
    let instants = Instants::of(call, 0)?;
    let zone = call.texts(1)?.get(0).map(Zone::parse).transpose()?;
    make_instants(call.returns, call.rows, |row| match (instants.utc(row)?, zone) {
        (Some(time), Some(zone)) => zone.instant(time, None).map(Some),
        _ => Ok(None),
    })
}

/// The unit of argument 0, in the constant zone of argument 1; `zoned` tells which of the two kinds of timestamp is taken.
fn moved(zoned: bool) -> impl Fn(&Typing<'_>) -> Result<DataType> {
    move |typing| {
        let unit = match typing.kind(0) {
            DataType::Timestamp(unit, zone) if zone.is_some() == zoned => *unit,
            DataType::Timestamp(unit, None) => *unit,
            DataType::Date32 => TimeUnit::Millisecond,
            other => {
                return plan_err!("{} does not take a {}", typing.name, crate::functions::conversion::type_name(other));
            }
        };
        Ok(DataType::Timestamp(unit, Some(constant_zone(typing, 1)?.name().into())))
    }
}

fn zone_name(call: &Call<'_>) -> Result<ArrayRef> {
    let instants = Instants::of(call, 0)?;
    // A value without zone is in the session's.
    let zone = instants.zone_or_utc();
    call.make_texts(|row| Ok(instants.utc(row)?.map(|_| zone.name())))
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let offset = |typing: &Typing<'_>| {
        let minutes = typing.integer(1)?.saturating_mul(60).saturating_add(typing.integer(2)?);
        Zone::minutes(minutes).map(|zone| millis_in(&zone))
    };
    let named = |typing: &Typing<'_>| constant_zone(typing, 1).map(|zone| millis_in(&zone));
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    functions.scalar.extend([
        define("from_unixtime")
            .form(&[Arg::Double], millis_in(&Zone::UTC), from_unixtime)
            .typed(&[Arg::Double, Arg::Text], None, named, from_unixtime)
            .typed(&[Arg::Double, Arg::Bigint, Arg::Bigint], None, offset, from_unixtime)
            .udf(),
        define("from_unixtime_nanos")
            .form(&[Arg::Bigint], nanos.clone(), from_unixtime_nanos)
            .form(&[Arg::Number], nanos, from_unixtime_nanos)
            .udf(),
        define("to_unixtime").form(&[Arg::Instant], DataType::Float64, to_unixtime).udf(),
        define("to_milliseconds").form(&[Arg::Span], DataType::Int64, to_milliseconds).udf(),
        define("human_readable_seconds").form(&[Arg::Double], DataType::Utf8, human_readable_seconds).udf(),
        define("parse_duration").form(&[Arg::Text], DAY_TIME, parse_duration).udf(),
        define("at_timezone").typed(&[Arg::Instant, Arg::Text], None, moved(true), instants_again).udf(),
        define("with_timezone").typed(&[Arg::Instant, Arg::Text], None, moved(false), with_timezone).udf(),
        define("timezone").form(&[Arg::Instant], DataType::Utf8, zone_name).udf(),
        define("current_timezone").form(&[], DataType::Utf8, |call| call.make_texts(|_| Ok(Some("UTC")))).udf(),
    ]);
}
