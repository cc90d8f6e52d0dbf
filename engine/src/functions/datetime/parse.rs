//! Reading dates by the pieces of a format, as Joda-Time does: fields are collected, sorted from long to short and set one after
//! another on 1970-01-01, or on the year 2000 where the text has a month or a day and no year.

use super::moment::{Zone, last_day};
use super::pattern::{Field, Piece, Pivot, abbreviate};
use crate::clock;
use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::common::{DataFusionError, Result, exec_err};

/// The year of texts that have a month or a day and no year.
const DEFAULT_YEAR: i64 = 2000;
/// As much of a text as a message shows.
const SAMPLE_CHARS: usize = 32;

/// What was read: a wall time, and the zone if the text has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// The wall time.
    pub(super) local: NaiveDateTime,
    /// The zone of the text.
    pub(super) zone: Option<Zone>,
}

/// Reads all of `text` by `pieces`.
pub(super) fn parse(pieces: &[Piece], text: &str) -> Result<Parsed> {
    parse_from(pieces, text, DEFAULT_YEAR)
}

/// The same for texts that are of the year `default_year` where they have a month or a day and no year.
pub(super) fn parse_from(pieces: &[Piece], text: &str, default_year: i64) -> Result<Parsed> {
    let mut reader = Reader { text, position: 0, fields: Vec::new(), zone: None };
    for piece in pieces {
        if reader.read(piece).is_none() {
            return malformed(text, reader.position);
        }
    }
    if reader.position < text.len() {
        return malformed(text, reader.position);
    }
    let local = resolve(reader.fields, text, default_year)?;
    Ok(Parsed { local, zone: reader.zone })
}

fn malformed<T>(text: &str, position: usize) -> Result<T> {
    let start = text.get(..position).unwrap_or_default().chars().count();
    let all = text.chars().count();
    let (keep, dots) = if all <= start + SAMPLE_CHARS + 3 { (all, "") } else { (start + SAMPLE_CHARS, "...") };
    let sample: String = text.chars().take(keep).collect();
    let rest: String = sample.chars().skip(start).collect();
    match start {
        0 => exec_err!("Invalid format: \"{sample}{dots}\""),
        _ if start >= all => exec_err!("Invalid format: \"{sample}{dots}\" is too short"),
        _ => exec_err!("Invalid format: \"{sample}{dots}\" is malformed at \"{rest}{dots}\""),
    }
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
    fields: Vec<(Field, i64)>,
    zone: Option<Zone>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// Reads one piece; on `None` the position is where the text does not fit.
    fn read(&mut self, piece: &Piece) -> Option<()> {
        match piece {
            Piece::Literal(literal) => self.literal(literal),
            Piece::Number { field, max, signed, .. } => {
                let value = self.number(*max, *signed)?;
                self.fields.push((*field, value));
                Some(())
            }
            Piece::TwoDigits { field, pivot, lenient } => self.two_digits(*field, *pivot, *lenient),
            Piece::Name { field, .. } => self.name(*field),
            Piece::Fraction { max, .. } => self.fraction(*max),
            Piece::Offset { .. } => self.offset(),
            Piece::ZoneId => self.zone_id(),
            Piece::ZoneName => None,
        }
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        for expected in literal.chars() {
            let actual = self.rest().chars().next()?;
            if actual != expected && !actual.to_lowercase().eq(expected.to_lowercase()) {
                return None;
            }
            self.position += actual.len_utf8();
        }
        Some(())
    }

    fn digits(&self, at: usize, max: usize) -> &'a str {
        let rest = self.text.get(self.position + at..).unwrap_or_default();
        let count = rest.bytes().take(max).take_while(u8::is_ascii_digit).count();
        rest.get(..count).unwrap_or_default()
    }

    fn number(&mut self, max: usize, signed: bool) -> Option<i64> {
        let sign = usize::from(signed && self.rest().starts_with(['-', '+']));
        let digits = self.digits(sign, max);
        let value: i64 = digits.parse().ok()?;
        let negative = sign == 1 && self.rest().starts_with('-');
        self.position += sign + digits.len();
        Some(if negative { -value } else { value })
    }

    fn two_digits(&mut self, field: Field, pivot: Pivot, lenient: bool) -> Option<()> {
        let signed = lenient && self.rest().starts_with(['-', '+']);
        let digits = if lenient { self.digits(usize::from(signed), usize::MAX) } else { self.digits(0, 2) };
        if signed || digits.len() != 2 {
            if !lenient {
                return None;
            }
            let year = self.number(9, true)?;
            self.fields.push((field, year));
            return Some(());
        }
        let year: i64 = digits.parse().ok()?;
        let low = match pivot {
            Pivot::At(year) => i64::from(year),
            Pivot::BeforeNow(years) => current_year() - i64::from(years),
        } - 50;
        let turn = low.rem_euclid(100);
        self.position += 2;
        self.fields.push((field, year + low + if year < turn { 100 } else { 0 } - turn));
        Some(())
    }

    fn name(&mut self, field: Field) -> Option<()> {
        let (names, first) = field.names();
        let mut best: Option<(usize, i64)> = None;
        for (value, name) in (first..).zip(names) {
            for form in [abbreviate(name, true), abbreviate(name, false)] {
                let spellings = [form.to_string(), form.to_lowercase(), form.to_uppercase()];
                let fits = spellings.iter().any(|spelling| self.rest().starts_with(spelling.as_str()));
                if fits && best.is_none_or(|(length, _)| form.len() > length) {
                    best = Some((form.len(), value));
                }
            }
        }
        let (length, value) = best?;
        self.position += length;
        self.fields.push((field, value));
        Some(())
    }

    fn fraction(&mut self, max: usize) -> Option<()> {
        let digits = self.digits(0, max);
        if digits.is_empty() {
            return None;
        }
        let millis: i64 = digits.bytes().chain(*b"000").take(3).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        self.position += digits.len();
        self.fields.push((Field::Millis, millis));
        Some(())
    }

    /// `Z`, `+08`, `+0800` or `+08:00`.
    fn offset(&mut self) -> Option<()> {
        let rest = self.rest();
        if rest.starts_with(['Z', 'z']) {
            self.position += 1;
            self.zone = Some(Zone::UTC);
            return Some(());
        }
        let sign = match rest.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let hours = self.digits(1, 2);
        if hours.len() != 2 {
            return None;
        }
        let colon = usize::from(rest.get(3..4) == Some(":"));
        let minutes = self.digits(3 + colon, 2);
        let (minutes, length) = if minutes.len() == 2 { (minutes, 5 + colon) } else { ("0", 3) };
        if colon == 1 && length == 3 {
            return None;
        }
        let total = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok().filter(|minutes| *minutes < 60)?;
        self.zone = Some(Zone::minutes(sign * total).ok()?);
        self.position += length;
        Some(())
    }

    fn zone_id(&mut self) -> Option<()> {
        let rest = self.rest();
        let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"/_+-:".contains(b)).count();
        for end in (1..=length).rev() {
            let name = rest.get(..end)?;
            if let Ok(zone) = Zone::parse(name) {
                self.zone = Some(zone);
                self.position += end;
                return Some(());
            }
        }
        None
    }
}

fn current_year() -> i64 {
    super::moment::from_millis(clock::now_ms()).map_or(DEFAULT_YEAR, |now| i64::from(now.year()))
}

/// Order of setting: by the length of what the field counts within, then by its own; both in rough hours.
fn rank(field: Field) -> (u32, u32) {
    const ALWAYS: u32 = u32::MAX;
    const YEAR: u32 = 8_766;
    const MONTH: u32 = 730;
    const WEEK: u32 = 168;
    match field {
        Field::Era | Field::Century | Field::YearOfEra | Field::Year | Field::Weekyear => (ALWAYS, YEAR),
        Field::Month => (YEAR, MONTH),
        Field::Week => (YEAR, WEEK),
        Field::DayOfYear => (YEAR, 24),
        Field::DayOfMonth => (MONTH, 24),
        Field::DayOfWeek => (WEEK, 24),
        Field::HalfDay => (24, 12),
        Field::HourOfDay | Field::ClockHourOfDay => (24, 1),
        Field::HourOfHalfDay | Field::ClockHourOfHalfDay => (12, 1),
        Field::Minute | Field::Second | Field::Millis => (1, 0),
    }
}

/// The time that `fields` describe.
fn resolve(mut fields: Vec<(Field, i64)>, text: &str, default_year: i64) -> Result<NaiveDateTime> {
    fields.sort_by_key(|(field, _)| std::cmp::Reverse(rank(*field)));
    if fields.first().is_some_and(|(field, _)| (24..=730).contains(&rank(*field).1)) {
        fields.insert(0, (Field::Year, default_year));
    }
    let mut time = NaiveDate::from_ymd_opt(1970, 1, 1).map(|date| date.and_time(NaiveTime::MIN)).ok_or_else(out_of_range)?;
    for reset in [true, false] {
        for (field, value) in &fields {
            time = set(*field, *value, time, reset, text)?;
        }
    }
    Ok(time)
}

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution("date is out of range".to_string())
}

/// The field's name in messages.
fn label(field: Field) -> &'static str {
    match field {
        Field::Era => "era",
        Field::Century => "centuryOfEra",
        Field::YearOfEra => "yearOfEra",
        Field::Year => "year",
        Field::Weekyear => "weekyear",
        Field::Month => "monthOfYear",
        Field::Week => "weekOfWeekyear",
        Field::DayOfYear => "dayOfYear",
        Field::DayOfMonth => "dayOfMonth",
        Field::DayOfWeek => "dayOfWeek",
        Field::HalfDay => "halfdayOfDay",
        Field::HourOfDay => "hourOfDay",
        Field::ClockHourOfDay => "clockhourOfDay",
        Field::HourOfHalfDay => "hourOfHalfday",
        Field::ClockHourOfHalfDay => "clockhourOfHalfday",
        Field::Minute => "minuteOfHour",
        Field::Second => "secondOfMinute",
        Field::Millis => "millisOfSecond",
    }
}

/// The least and the greatest value of `field` at `time`.
fn bounds(field: Field, time: NaiveDateTime) -> Result<(i64, i64)> {
    let date = time.date();
    Ok(match field {
        Field::Year | Field::Weekyear => (-99_999, 99_999),
        Field::YearOfEra => (1, 99_999),
        Field::Century | Field::Era => (0, 999),
        Field::Month => (1, 12),
        Field::Week => (1, weeks_of(date)),
        Field::DayOfYear => (1, if date.leap_year() { 366 } else { 365 }),
        Field::DayOfMonth => (1, i64::from(last_day(date)?.day())),
        Field::DayOfWeek => (1, 7),
        Field::HalfDay => (0, 1),
        Field::HourOfDay => (0, 23),
        Field::ClockHourOfDay => (1, 24),
        Field::HourOfHalfDay => (0, 11),
        Field::ClockHourOfHalfDay => (1, 12),
        Field::Minute | Field::Second => (0, 59),
        Field::Millis => (0, 999),
    })
}

/// Weeks of the week year that `date` lies in: the 28th of December is always in the last one.
fn weeks_of(date: NaiveDate) -> i64 {
    NaiveDate::from_ymd_opt(date.iso_week().year(), 12, 28).map_or(52, |last| i64::from(last.iso_week().week()))
}

/// Sets one field; with `reset`, all that is finer starts anew.
fn set(field: Field, value: i64, time: NaiveDateTime, reset: bool, text: &str) -> Result<NaiveDateTime> {
    let (least, greatest) = bounds(field, time)?;
    if !(least..=greatest).contains(&value) {
        let label = label(field);
        return exec_err!("Cannot parse \"{text}\": Value {value} for {label} must be in the range [{least},{greatest}]");
    }
    let date = set_date(field, value, time.date(), reset)?;
    let clock = time.time();
    let hour = i64::from(clock.hour());
    let seconds = match field {
        Field::HalfDay => hour % 12 * 3600 + value * 43_200 + i64::from(clock.minute()) * 60 + i64::from(clock.second()),
        Field::HourOfDay => value * 3600 + i64::from(clock.minute()) * 60 + i64::from(clock.second()),
        Field::ClockHourOfDay => value % 24 * 3600 + i64::from(clock.minute()) * 60 + i64::from(clock.second()),
        Field::HourOfHalfDay | Field::ClockHourOfHalfDay => {
            (hour / 12 * 12 + value % 12) * 3600 + i64::from(clock.minute()) * 60 + i64::from(clock.second())
        }
        Field::Minute => hour * 3600 + value * 60 + i64::from(clock.second()),
        Field::Second => hour * 3600 + i64::from(clock.minute()) * 60 + value,
        _ => hour * 3600 + i64::from(clock.minute()) * 60 + i64::from(clock.second()),
    };
    let millis = if field == Field::Millis { value } else { i64::from(clock.nanosecond() / 1_000_000) };
    let start = date.and_time(NaiveTime::MIN);
    TimeDelta::try_milliseconds(seconds * 1000 + millis)
        .and_then(|delta| start.checked_add_signed(delta))
        .ok_or_else(out_of_range)
}

fn set_date(field: Field, value: i64, date: NaiveDate, reset: bool) -> Result<NaiveDate> {
    let number = i32::try_from(value).map_err(|_| out_of_range())?;
    let count = u32::try_from(value).unwrap_or(0);
    let changed = match field {
        Field::Year | Field::YearOfEra if reset => NaiveDate::from_ymd_opt(number, 1, 1),
        Field::Year | Field::YearOfEra => date.with_year(number).or_else(|| NaiveDate::from_ymd_opt(number, 2, 28)),
        Field::Weekyear => {
            let (week, day) = if reset { (1, chrono::Weekday::Mon) } else { (date.iso_week().week(), date.weekday()) };
            NaiveDate::from_isoywd_opt(number, week, day).or_else(|| NaiveDate::from_isoywd_opt(number, 52, day))
        }
        Field::Month if reset => NaiveDate::from_ymd_opt(date.year(), count, 1),
        Field::Month => match NaiveDate::from_ymd_opt(date.year(), count, 1) {
            Some(first) => Some(first.with_day(date.day()).map_or_else(|| last_day(first), Ok)?),
            None => None,
        },
        Field::Week => {
            let day = if reset { chrono::Weekday::Mon } else { date.weekday() };
            NaiveDate::from_isoywd_opt(date.iso_week().year(), count, day)
        }
        Field::DayOfYear => NaiveDate::from_yo_opt(date.year(), count),
        Field::DayOfMonth => date.with_day(count),
        Field::DayOfWeek => {
            let monday = date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday())));
            monday.and_then(|monday| monday.checked_add_days(Days::new(u64::from(count.saturating_sub(1)))))
        }
        _ => Some(date),
    };
    changed.ok_or_else(out_of_range)
}

#[cfg(test)]
mod tests {
    use super::super::{joda, mysql};
    use super::*;

    fn time(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn mysql_formats_are_read() {
        for (text, format, expected) in [
            ("2024-02-29", "%Y-%m-%d", "2024-02-29T00:00:00"),
            ("24 2 29", "%y %c %e", "2024-02-29T00:00:00"),
            ("12:00 AM", "%h:%i %p", "1970-01-01T00:00:00"),
            ("12:00 pm", "%h:%i %p", "1970-01-01T12:00:00"),
            ("PM 1", "%p %l", "1970-01-01T13:00:00"),
            ("29 Feb", "%d %b", "2000-02-29T00:00:00"),
            ("2024 366", "%Y %j", "2024-12-31T00:00:00"),
            ("2021 53 7", "%x %v %Y", ""),
            ("2020 53", "%x %v", "2020-12-28T00:00:00"),
            ("-44", "%Y", "-0044-01-01T00:00:00"),
            ("1.5", "%s.%f", "1970-01-01T00:00:01.500"),
            ("50%", "%s%%", "1970-01-01T00:00:50"),
        ] {
            let read = parse(&mysql::pieces(format).unwrap(), text);
            match expected {
                "" => assert!(read.is_err(), "{text}"),
                _ => assert_eq!(read.unwrap().local, time(expected), "{text}"),
            }
        }
        for (text, format) in [
            ("2023-02-29", "%Y-%m-%d"),
            ("13", "%h"),
            ("24", "%H"),
            ("2024-1-1 ", "%Y-%m-%d"),
            ("jAN", "%b"),
            ("é", "%d"),
            ("", "%Y"),
        ] {
            assert!(parse(&mysql::pieces(format).unwrap(), text).is_err(), "{text}");
        }
    }

    #[test]
    fn joda_formats_are_read() {
        for (text, format, expected, zone) in [
            ("20240115", "yyyyMMdd", "2024-01-15T00:00:00", None),
            ("2024-01-15T10:20:30.123Z", "yyyy-MM-dd'T'HH:mm:ss.SSSZ", "2024-01-15T10:20:30.123", Some(Zone::UTC)),
            ("2024-01-15 -05:30", "yyyy-MM-dd ZZ", "2024-01-15T00:00:00", Some(Zone::Fixed(-19_800))),
            ("January 5, 2024", "MMMM d, yyyy", "2024-01-05T00:00:00", None),
            ("Fri 2024-01-05", "EEE yyyy-MM-dd", "2024-01-05T00:00:00", None),
            ("24:00", "kk:mm", "1970-01-01T00:00:00", None),
            ("12 o'clock", "hh 'o''clock'", "1970-01-01T00:00:00", None),
        ] {
            let format = joda::format(format, true).unwrap();
            assert_eq!(parse(&format.pieces, text).unwrap(), Parsed { local: time(expected), zone }, "{text}");
        }
        for format in ["b", "zzzz", "G", "SSSSSSSSSS"] {
            assert!(joda::format(format, true).is_err(), "{format}");
        }
    }
}
