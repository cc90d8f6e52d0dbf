//! Dates of partition projection: Java's patterns, ranges relative to now, and the steps between.

use super::check_count;
use crate::catalog::partition_filter::{Comparison, Condition};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use engine::Result;
use std::fmt::Write as _;

/// A date pattern such as `yyyy-MM-dd-HH`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, PartialEq, Debug)]
enum Piece {
    Text(String),
    /// Letter and least number of digits.
    Field(char, usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Years,
    Months,
    Weeks,
    Days,
    Hours,
    Minutes,
    Seconds,
    Millis,
}

/// From when to when, and in what steps.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct DateRange {
    pattern: Pattern,
    from: NaiveDateTime,
    to: NaiveDateTime,
    interval: u32,
    unit: Unit,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(quoted) = rest.strip_prefix('\'') {
                let (literal, after) = quoted.split_once('\'').ok_or("has a quote that does not end")?;
                pieces.push(Piece::Text(if literal.is_empty() { "'".into() } else { literal.into() }));
                rest = after;
                continue;
            }
            let run = rest.find(|c| c != first).unwrap_or(rest.len());
            let (same, after) = rest.split_at(run);
            rest = after;
            match first {
                'y' | 'u' if run == 4 => pieces.push(Piece::Field('y', 4)),
                'M' | 'd' | 'H' | 'm' | 's' if run <= 2 => pieces.push(Piece::Field(first, run)),
                c if c.is_ascii_alphabetic() => {
                    return Err(format!("has '{same}', which is not supported: yyyy MM dd HH mm ss are"));
                }
                _ => pieces.push(Piece::Text(same.into())),
            }
        }
        if pieces.contains(&Piece::Field('y', 4)) { Ok(Self(pieces)) } else { Err("has no yyyy".into()) }
    }

    fn has(&self, letter: char) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Field(field, _) if *field == letter))
    }

    /// The unit that Athena assumes without one: days or months for patterns that end there.
    fn unit(&self) -> Option<Unit> {
        match ['s', 'm', 'H', 'd', 'M'].into_iter().find(|letter| self.has(*letter)) {
            Some('d') => Some(Unit::Days),
            Some('M') => Some(Unit::Months),
            _ => None,
        }
    }

    /// Whether its texts are in the order of their times: fields of fixed width, greater ones first.
    fn is_ordered(&self) -> bool {
        let fields: Vec<(char, usize)> = self
            .0
            .iter()
            .filter_map(|piece| match piece {
                Piece::Field(letter, width) => Some((*letter, *width)),
                Piece::Text(_) => None,
            })
            .collect();
        let order = ['y', 'M', 'd', 'H', 'm', 's'];
        fields.iter().all(|(_, width)| *width > 1) && fields.iter().zip(order).all(|((letter, _), wanted)| *letter == wanted)
    }

    fn format(&self, time: NaiveDateTime) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            let _ = match piece {
                Piece::Text(literal) => write!(text, "{literal}"),
                Piece::Field('y', width) => write!(text, "{:0width$}", time.year()),
                Piece::Field('M', width) => write!(text, "{:0width$}", time.month()),
                Piece::Field('d', width) => write!(text, "{:0width$}", time.day()),
                Piece::Field('H', width) => write!(text, "{:0width$}", time.hour()),
                Piece::Field('m', width) => write!(text, "{:0width$}", time.minute()),
                Piece::Field(_, width) => write!(text, "{:0width$}", time.second()),
            };
        }
        text
    }

    fn read(&self, text: &str) -> Option<NaiveDateTime> {
        let mut rest = text;
        let mut fields = [0_u32, 1, 1, 0, 0, 0];
        for piece in &self.0 {
            match piece {
                Piece::Text(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Piece::Field(letter, width) => {
                    let most = if *width == 1 { 2 } else { *width };
                    let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
                    let (number, after) = rest.split_at_checked(digits)?;
                    let place = ['y', 'M', 'd', 'H', 'm', 's'].iter().position(|known| known == letter)?;
                    *fields.get_mut(place)? = number.parse().ok()?;
                    rest = after;
                }
            }
        }
        let [year, month, day, hour, minute, second] = fields;
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
        rest.is_empty().then_some(date.and_hms_opt(hour, minute, second)?)
    }
}

impl Unit {
    fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim().to_ascii_uppercase();
        Ok(match name.strip_suffix('S').unwrap_or(&name) {
            "YEAR" => Self::Years,
            "MONTH" => Self::Months,
            "WEEK" => Self::Weeks,
            "DAY" => Self::Days,
            "HOUR" => Self::Hours,
            "MINUTE" => Self::Minutes,
            "SECOND" => Self::Seconds,
            "MILLI" => Self::Millis,
            _ => {
                return Err(format!(
                    "has the unit '{name}'; YEARS, MONTHS, WEEKS, DAYS, HOURS, MINUTES, SECONDS and MILLIS are known"
                ));
            }
        })
    }

    /// `time` and `count` of this unit; `None` when that is out of the calendar.
    fn add(self, time: NaiveDateTime, count: i64) -> Option<NaiveDateTime> {
        let months = |count: i64| {
            let months = Months::new(u32::try_from(count.unsigned_abs()).ok()?);
            if count < 0 { time.checked_sub_months(months) } else { time.checked_add_months(months) }
        };
        let days = |count: i64| {
            let days = Days::new(count.unsigned_abs());
            if count < 0 { time.checked_sub_days(days) } else { time.checked_add_days(days) }
        };
        let delta = |delta: Option<TimeDelta>| time.checked_add_signed(delta?);
        match self {
            Self::Years => months(count.checked_mul(12)?),
            Self::Months => months(count),
            Self::Weeks => days(count.checked_mul(7)?),
            Self::Days => days(count),
            Self::Hours => delta(TimeDelta::try_hours(count)),
            Self::Minutes => delta(TimeDelta::try_minutes(count)),
            Self::Seconds => delta(TimeDelta::try_seconds(count)),
            Self::Millis => delta(TimeDelta::try_milliseconds(count)),
        }
    }

    /// The start of this unit that `time` is in, so that steps from now end with the one that now is in.
    fn start(self, time: NaiveDateTime) -> NaiveDateTime {
        let day = time.date();
        let at = |hour, minute, second| NaiveTime::from_hms_opt(hour, minute, second).unwrap_or_default();
        match self {
            Self::Years => day.with_ordinal(1).unwrap_or(day).and_time(NaiveTime::MIN),
            Self::Months => day.with_day(1).unwrap_or(day).and_time(NaiveTime::MIN),
            Self::Weeks | Self::Days => day.and_time(NaiveTime::MIN),
            Self::Hours => day.and_time(at(time.hour(), 0, 0)),
            Self::Minutes => day.and_time(at(time.hour(), time.minute(), 0)),
            Self::Seconds => day.and_time(at(time.hour(), time.minute(), time.second())),
            Self::Millis => time,
        }
    }
}

impl DateRange {
    pub(super) fn parse(
        pattern: Pattern,
        range: &str,
        interval: (Option<&str>, Option<&str>),
        now_ms: i64,
    ) -> Result<Self, String> {
        let now = DateTime::from_timestamp_millis(now_ms).ok_or("is asked at a time out of the calendar")?.naive_utc();
        let unit = match interval.1 {
            Some(unit) => Unit::parse(unit)?,
            None => pattern.unit().ok_or("needs interval and interval.unit for this format")?,
        };
        let interval: u32 = match interval.0 {
            Some(text) => {
                text.trim().parse().ok().filter(|interval| *interval > 0).ok_or("has an interval that is no number above 0")?
            }
            None if pattern.unit() == Some(unit) => 1,
            None => return Err("needs an interval".into()),
        };
        let (from, to) = range.split_once(',').ok_or("needs two dates")?;
        let bound = |text: &str| {
            let relative = relative(text.trim(), now)?;
            let read = relative.map(|time| (time, true)).or_else(|| pattern.read(text.trim()).map(|time| (time, false)));
            read.ok_or_else(|| format!("holds '{}', which does not fit the format", text.trim()))
        };
        let ((from, is_relative), (to, _)) = (bound(from)?, bound(to)?);
        let from = if is_relative { unit.start(from) } else { from };
        Ok(Self { pattern, from, to, interval, unit })
    }

    /// Its values in order, but for some that do not meet `conditions`.
    pub(super) fn values(&self, column: &str, conditions: &[&Condition]) -> Result<Vec<String>> {
        let texts = conditions.iter().filter(|condition| !condition.numeric);
        if let Some(equal) = texts.clone().find(|condition| condition.comparison == Comparison::Equal) {
            let mut found: Vec<(NaiveDateTime, &String)> = equal.values.iter().filter_map(|text| self.time_of(text)).collect();
            found.sort_unstable();
            found.dedup();
            return Ok(found.into_iter().map(|(_, text)| text.clone()).collect());
        }
        let (mut from, mut last) = (None, None);
        for condition in texts.filter(|_| self.pattern.is_ordered()) {
            let Some(text) = condition.values.first() else { continue };
            // Text that is no such date compares in ways of its own.
            let Some(time) = self.pattern.read(text).filter(|time| self.pattern.format(*time) == *text) else { continue };
            match condition.comparison {
                Comparison::Greater | Comparison::GreaterOrEqual => from = from.max(Some(time)),
                Comparison::Less | Comparison::LessOrEqual => last = Some(last.map_or(text, |last: &String| last.min(text))),
                Comparison::Equal | Comparison::NotEqual => {}
            }
        }
        let first = from.map_or(0, |from| self.first_step(from));
        let mut values: Vec<String> = Vec::new();
        let mut step = first;
        while let Some(time) = self.time(step).filter(|time| *time <= self.to) {
            let text = self.pattern.format(time);
            if last.is_some_and(|last| text > *last) {
                break;
            }
            // Steps finer than the format give a value more than once.
            if values.last() != Some(&text) {
                values.push(text);
            }
            check_count(column, i128::from(step - first))?;
            step += 1;
        }
        Ok(values)
    }

    fn time(&self, step: i64) -> Option<NaiveDateTime> {
        self.unit.add(self.from, step.checked_mul(i64::from(self.interval))?)
    }

    /// The first step that is not before `time`.
    fn first_step(&self, time: NaiveDateTime) -> i64 {
        let (mut least, mut most) = (0_i64, 1_i64 << 52);
        while least < most {
            let middle = least + (most - least) / 2;
            match self.time(middle) {
                Some(found) if found < time => least = middle + 1,
                // Out of the calendar is behind everything.
                _ => most = middle,
            }
        }
        least
    }

    /// When the value `text` begins, if it is one.
    fn time_of<'a>(&self, text: &'a String) -> Option<(NaiveDateTime, &'a String)> {
        let begins = self.pattern.read(text)?;
        let time = self.time(self.first_step(begins)).filter(|time| *time <= self.to)?;
        (self.pattern.format(time) == *text).then_some((begins, text))
    }
}

/// `NOW`, `NOW-3YEARS`, `NOW+1DAYS`; `None` for what does not begin with NOW.
fn relative(text: &str, now: NaiveDateTime) -> Result<Option<NaiveDateTime>, String> {
    let upper = text.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix("NOW") else { return Ok(None) };
    let rest = rest.trim();
    if rest.is_empty() {
        return Ok(Some(now));
    }
    let wrong = || format!("holds '{text}'; NOW, NOW-3YEARS and NOW+1DAYS are forms that it may have");
    let (sign, rest) = match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let rest = rest.trim();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = rest.split_at(digits);
    let number: i64 = number.parse().map_err(|_| wrong())?;
    Unit::parse(unit)?.add(now, sign * number).map(Some).ok_or_else(wrong)
}
