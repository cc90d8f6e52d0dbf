//! Text of ISO 8601: from_iso8601_date, from_iso8601_timestamp, to_iso8601; and the plain notation of casts.

use super::super::define::{Arg, Call, Typing, define};
use super::moment::{Instants, Zone, make_instants, millis_in, offset_text};
use super::parse::{Parsed, parse};
use super::pattern::{Field, Piece};
use super::text::{Wanted, in_column, zone_of_constant};
use crate::functions::Functions;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::common::{Result, exec_err};

fn number(field: Field, min: usize, max: usize) -> Piece {
    Piece::Number { field, min, max, signed: matches!(field, Field::Year | Field::Weekyear) }
}

fn literal(text: &str) -> Piece {
    Piece::Literal(text.to_string())
}

/// The ways to write a date: by month, by week, by day of the year; the finer parts may be left out from the right.
fn date_forms() -> [Vec<Vec<Piece>>; 3] {
    [
        vec![
            vec![number(Field::Year, 4, 9)],
            vec![literal("-"), number(Field::Month, 2, 2)],
            vec![literal("-"), number(Field::DayOfMonth, 2, 2)],
        ],
        vec![
            vec![number(Field::Weekyear, 4, 9), literal("-W"), number(Field::Week, 2, 2)],
            vec![literal("-"), number(Field::DayOfWeek, 1, 1)],
        ],
        vec![vec![number(Field::Year, 4, 9), literal("-"), number(Field::DayOfYear, 3, 3)]],
    ]
}

/// The ways to write a time of day after `T`; each part may be left out from the right, and the last may have a fraction.
fn clock_forms() -> Vec<Vec<Piece>> {
    let hour = number(Field::HourOfDay, 2, 2);
    let minute = vec![literal(":"), number(Field::Minute, 2, 2)];
    let second = vec![literal(":"), number(Field::Second, 2, 2)];
    let mut forms = vec![vec![], vec![hour.clone()]];
    let to_minute = [vec![hour], minute].concat();
    let to_second = [to_minute.clone(), second].concat();
    forms.push(to_minute);
    forms.push(to_second.clone());
    for separator in [".", ","] {
        forms.push([to_second.clone(), vec![literal(separator), Piece::Fraction { min: 3, max: 9 }]].concat());
    }
    forms
}

fn read_date(text: &str) -> Result<NaiveDateTime> {
    for form in date_forms() {
        for parts in 1..=form.len() {
            let pieces = form.get(..parts).unwrap_or_default().concat();
            if let Ok(parsed) = parse(&pieces, text) {
                return Ok(parsed.local);
            }
        }
    }
    exec_err!("Invalid format: \"{text}\"")
}

/// A date, or a date and a time, perhaps with an offset.
fn read_timestamp(text: &str) -> Result<Parsed> {
    let Some((date, clock)) = text.split_once(['T', 't']) else {
        return read_date(text).map(|local| Parsed { local, zone: None });
    };
    let day = read_date(date)?;
    for form in clock_forms() {
        for zoned in [false, true] {
            let mut pieces = form.clone();
            if zoned {
                pieces.push(Piece::Offset { colon: true });
            }
            if let Ok(parsed) = parse(&pieces, clock) {
                return Ok(Parsed { local: day.date().and_time(parsed.local.time()), zone: parsed.zone });
            }
        }
    }
    exec_err!("Invalid format: \"{text}\"")
}

fn from_iso8601_date(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    make_instants(call.returns, call.rows, |row| texts.get(row).map(read_date).transpose())
}

fn from_iso8601_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    make_instants(call.returns, call.rows, |row| {
        texts.get(row).map(|text| in_column(read_timestamp(text)?, call.returns, call.name)).transpose()
    })
}

/// Year, month and day; years have at least four digits, and those after 9999 a sign.
pub(crate) fn date_text(time: NaiveDateTime) -> String {
    let year = time.year();
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}-{:02}-{:02}", year.unsigned_abs(), time.month(), time.day())
}

/// Digits of a second's fraction that `unit` stores.
pub(crate) fn digits_of(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Hour, minute, second and `digits` of the fraction.
pub(crate) fn clock_text(time: NaiveDateTime, digits: usize) -> String {
    let mut text = format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    if digits > 0 {
        let nanos = format!("{:09}", time.nanosecond() % 1_000_000_000);
        text.push('.');
        text.push_str(nanos.get(..digits.min(9)).unwrap_or_default());
    }
    text
}

fn to_iso8601(call: &Call<'_>) -> Result<ArrayRef> {
    let instants = Instants::of(call, 0)?;
    let digits = match call.input(0)?.array.data_type() {
        DataType::Timestamp(unit, _) => Some(digits_of(*unit)),
        _ => None,
    };
    call.make_texts(|row| {
        let (Some(utc), Some(time)) = (instants.utc(row)?, instants.local(row)?) else { return Ok(None) };
        let date = date_text(time);
        let Some(digits) = digits else { return Ok(Some(date)) };
        let zone = match instants.zone.map(|zone| zone.offset(utc)) {
            None => String::new(),
            Some(0) => "Z".to_string(),
            Some(offset) => offset_text(offset, true),
        };
        Ok(Some(format!("{date}T{}{zone}", clock_text(time, digits))))
    })
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let zone = |typing: &Typing<'_>| match typing.kind(0) {
        DataType::Null => Ok(millis_in(&Zone::UTC)),
        _ => zone_of_constant(typing, read_timestamp),
    };
    for (name, wanted) in
        [("owlet_clock_from_iso8601_timestamp", Wanted::Clock), ("owlet_instant_from_iso8601_timestamp", Wanted::Instant)]
    {
        let body = move |call: &Call<'_>| {
            let texts = call.texts(0)?;
            make_instants(call.returns, call.rows, |row| texts.get(row).map(|text| wanted.of(read_timestamp(text)?)).transpose())
        };
        functions.scalar.push(define(name).form(&[Arg::Text], wanted.data_type(), body).udf());
    }
    functions.scalar.extend([
        define("from_iso8601_date").form(&[Arg::Text], DataType::Date32, from_iso8601_date).udf(),
        define("from_iso8601_timestamp").typed(&[Arg::Text], None, zone, from_iso8601_timestamp).udf(),
        define("to_iso8601").form(&[Arg::Instant], DataType::Utf8, to_iso8601).udf(),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_texts_are_read() {
        for (text, local, zone) in [
            ("2024-01-15", "2024-01-15T00:00:00", None),
            ("2024-01", "2024-01-01T00:00:00", None),
            ("2024", "2024-01-01T00:00:00", None),
            ("2024-W03-1", "2024-01-15T00:00:00", None),
            ("2024-015", "2024-01-15T00:00:00", None),
            ("2024-01-15T10", "2024-01-15T10:00:00", None),
            ("2024-01-15T10:20:30.5Z", "2024-01-15T10:20:30.500", Some(Zone::UTC)),
            ("2024-01-15T10:20+08:00", "2024-01-15T10:20:00", Some(Zone::Fixed(28_800))),
        ] {
            let parsed = read_timestamp(text).unwrap();
            assert_eq!(parsed.local, local.parse().unwrap(), "{text}");
            assert_eq!(parsed.zone, zone, "{text}");
        }
        for text in ["2024-13-01", "2024-02-30", "2024-01-15 10:20:30", "2024-01-15T25:00", ""] {
            assert!(read_timestamp(text).is_err(), "{text}");
        }
    }
}
