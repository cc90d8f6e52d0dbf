//! Formats of dates as lists of pieces, and printing by them; where the pieces come from is in `mysql` and `joda`.

use super::moment::{Zone, offset_text};
use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::common::{DataFusionError, Result};

/// A calendar field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Era,
    Century,
    YearOfEra,
    Year,
    Weekyear,
    Month,
    Week,
    DayOfYear,
    DayOfMonth,
    DayOfWeek,
    HalfDay,
    HourOfDay,
    ClockHourOfDay,
    HourOfHalfDay,
    ClockHourOfHalfDay,
    Minute,
    Second,
    /// Milliseconds of the second; set by fractions only.
    Millis,
}

/// One piece of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    /// Digits, padded to `min`, at most `max` when read.
    Number {
        field: Field,
        min: usize,
        max: usize,
        signed: bool,
    },
    /// The last two digits of a year; `lenient` reads other counts of digits as the year itself.
    TwoDigits {
        field: Field,
        pivot: Pivot,
        lenient: bool,
    },
    /// A name, full or short.
    Name {
        field: Field,
        long: bool,
    },
    /// Digits of the second's fraction.
    Fraction {
        min: usize,
        max: usize,
    },
    /// `+0800`, or `+08:00` with the colon.
    Offset {
        colon: bool,
    },
    /// A zone's name.
    ZoneId,
    /// A zone's short name; known for UTC and fixed offsets only.
    ZoneName,
}

impl Piece {
    /// The field that it reads, if it is one.
    pub(super) fn field(&self) -> Option<Field> {
        match self {
            Self::Number { field, .. } | Self::TwoDigits { field, .. } | Self::Name { field, .. } => Some(*field),
            Self::Fraction { .. } => Some(Field::Millis),
            Self::Literal(_) | Self::Offset { .. } | Self::ZoneId | Self::ZoneName => None,
        }
    }

    /// How many bytes it has in each text, if that is known; numbers of one letter have any number of digits.
    pub(super) fn width(&self) -> Option<usize> {
        match self {
            Self::Literal(text) => Some(text.len()),
            Self::Number { min, .. } => Some(*min).filter(|min| *min > 1),
            Self::TwoDigits { .. } => Some(2),
            Self::Name { field: Field::HalfDay, .. } => Some(2),
            Self::Name { long, .. } => Some(3).filter(|_| !long),
            Self::Fraction { min, .. } => Some(*min),
            Self::Offset { .. } | Self::ZoneId | Self::ZoneName => None,
        }
    }
}

/// The middle of the hundred years that two digits stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pivot {
    At(i32),
    /// This many years before the current year.
    BeforeNow(i32),
}

/// Months in order.
pub(super) const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
/// Days of the week from Monday.
pub(super) const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The first three letters, or all of them.
pub(super) fn abbreviate(name: &str, long: bool) -> &str {
    if long { name } else { name.get(..3).unwrap_or(name) }
}

impl Field {
    /// The field's value in `time`.
    pub(super) fn of(self, time: NaiveDateTime) -> i64 {
        let clock = |hour: u32, zero: u32| i64::from(if hour == 0 { zero } else { hour });
        match self {
            Self::Era => i64::from(time.year() > 0),
            Self::Century => Self::YearOfEra.of(time) / 100,
            Self::YearOfEra => i64::from(if time.year() > 0 { time.year() } else { 1 - time.year() }),
            Self::Year => i64::from(time.year()),
            Self::Weekyear => i64::from(time.iso_week().year()),
            Self::Month => i64::from(time.month()),
            Self::Week => i64::from(time.iso_week().week()),
            Self::DayOfYear => i64::from(time.ordinal()),
            Self::DayOfMonth => i64::from(time.day()),
            Self::DayOfWeek => i64::from(time.weekday().number_from_monday()),
            Self::HalfDay => i64::from(time.hour() / 12),
            Self::HourOfDay => i64::from(time.hour()),
            Self::ClockHourOfDay => clock(time.hour(), 24),
            Self::HourOfHalfDay => i64::from(time.hour() % 12),
            Self::ClockHourOfHalfDay => clock(time.hour() % 12, 12),
            Self::Minute => i64::from(time.minute()),
            Self::Second => i64::from(time.second()),
            Self::Millis => i64::from(time.nanosecond() / 1_000_000),
        }
    }

    /// The names of a field that has some, and the value of the first.
    pub(super) fn names(self) -> (&'static [&'static str], i64) {
        match self {
            Self::Month => (&MONTHS, 1),
            Self::DayOfWeek => (&WEEKDAYS, 1),
            Self::HalfDay => (&["AM", "PM"], 0),
            Self::Era => (&["BC", "AD"], 0),
            _ => (&[], 0),
        }
    }
}

/// Writes `time`, the wall time in `zone`, by `pieces`.
pub(super) fn print(pieces: &[Piece], time: NaiveDateTime, zone: &Zone, offset: i32) -> Result<String> {
    let mut out = String::with_capacity(pieces.len() * 4);
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Number { field, min, .. } => {
                let value = field.of(time);
                if value < 0 {
                    out.push('-');
                }
                let digits = value.unsigned_abs().to_string();
                out.extend(std::iter::repeat_n('0', min.saturating_sub(digits.len())));
                out.push_str(&digits);
            }
            Piece::TwoDigits { field, .. } => out.push_str(&format!("{:02}", field.of(time).abs() % 100)),
            Piece::Name { field, long } => {
                let (names, first) = field.names();
                let name = usize::try_from(field.of(time) - first).ok().and_then(|index| names.get(index)).copied();
                out.push_str(abbreviate(name.unwrap_or_default(), *long));
            }
            Piece::Fraction { min, max } => out.push_str(&fraction(time, *min, *max)),
            Piece::Offset { colon } => out.push_str(&offset_text(offset, *colon)),
            Piece::ZoneId => out.push_str(&zone.name()),
            Piece::ZoneName => match zone {
                Zone::Fixed(_) => out.push_str(&zone.name()),
                Zone::Region(_) => {
                    return Err(DataFusionError::NotImplemented("short names of time zones in formats".to_string()));
                }
            },
        }
    }
    Ok(out)
}

/// The milliseconds as `max` digits, without trailing zeros beyond `min`.
fn fraction(time: NaiveDateTime, min: usize, max: usize) -> String {
    let mut digits = format!("{:03}", Field::Millis.of(time));
    digits.extend(std::iter::repeat_n('0', max.saturating_sub(digits.len())));
    digits.truncate(max);
    while digits.len() > min && digits.ends_with('0') {
        digits.pop();
    }
    digits
}
