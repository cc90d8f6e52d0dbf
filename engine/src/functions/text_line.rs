//! Lines of text files as Hive's serdes read them: fields by their number, and values that are NULL where a field has none.
//!
//! The rules are those of Trino's readers of such files. In all of them a field too many is nobody's, and a missing one is NULL.
//! LazySimpleSerDe leaves out the digits behind an integer's point, and lets the days and months of a date run over.

use super::Functions;
use super::conversion::{parse_double, parse_real};
use super::datetime::TimeFormats;
use super::define::{self, Call, define};
use super::regexp::matched;
use super::text_support::{Arg, Entry, Eval, Row, add_table, bad, on};
use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use chrono::{Datelike, Days, Months, NaiveDate};
use datafusion::error::Result;
use std::borrow::Cow;
use std::sync::Arc;

/// Name of the function of a line, its separator, its escape (may be empty), a number from 0 and the text that stands for NULL that
/// gives a field.
pub const TEXT_FIELD: &str = "owlet_text_field";
/// Name of the function of a line, its separator, quote and escape, and a number from 0 that gives a field as OpenCSVSerde reads it.
pub const TEXT_CSV_FIELD: &str = "owlet_text_csv_field";
/// Name of the function of a line, a pattern and a number from 1 that gives what that group of the pattern matched, or NULL.
pub const TEXT_MATCHED: &str = "owlet_text_matched";
/// Name of the function that gives a field's double, as Java reads it.
pub const TEXT_DOUBLE: &str = "owlet_text_double";
/// The same for a real.
pub const TEXT_REAL: &str = "owlet_text_real";
/// Name of the function that gives a field's integer.
pub const TEXT_INTEGER: &str = "owlet_text_integer";
/// Name of the function that gives a field's date, as days since 1970.
pub const TEXT_DATE: &str = "owlet_text_date";
/// Name of the function that gives a field's timestamp, as milliseconds since 1970.
pub const TEXT_TIMESTAMP: &str = "owlet_text_timestamp";
/// Name of the function that does so by formats of Hive's serdes, the second argument, before that.
pub const TEXT_TIME: &str = "owlet_text_time";
/// Name of the function that gives a field without its escapes.
pub const TEXT_UNESCAPED: &str = "owlet_text_unescaped";
/// Shorter texts are no timestamps to Hive, in bytes.
const MIN_TIMESTAMP_BYTES: usize = 8;
/// Most digits of a fraction of a second.
const MAX_FRACTION_DIGITS: usize = 9;

static TABLE: &[Entry] = &[
    (TEXT_FIELD, &[on(&[Arg::Text, Arg::Text, Arg::Text, Arg::Int, Arg::Text], Eval::Text(field))]),
    (TEXT_CSV_FIELD, &[on(&[Arg::Text, Arg::Text, Arg::Text, Arg::Text, Arg::Int], Eval::Text(csv_field))]),
    (TEXT_MATCHED, &[on(&[Arg::Text, Arg::Text, Arg::Int], Eval::Text(matched))]),
    (TEXT_DOUBLE, &[on(&[Arg::Text], Eval::Double(|row| Ok(parse_double(row.text(0)))))]),
    (TEXT_REAL, &[on(&[Arg::Text], Eval::Real(|row| Ok(parse_real(row.text(0)))))]),
    (TEXT_INTEGER, &[on(&[Arg::Text], Eval::Int(|row| Ok(integer(row.text(0)))))]),
    (TEXT_DATE, &[on(&[Arg::Text], Eval::Int32(|row| Ok(date(row.text(0)).map(days))))]),
    (TEXT_TIMESTAMP, &[on(&[Arg::Text], Eval::Int(|row| Ok(timestamp(row.text(0)))))]),
    (TEXT_UNESCAPED, &[on(&[Arg::Text, Arg::Text], Eval::Text(|row| Ok(Some(unescaped(row.text(0), row.text(1))))))]),
];

pub(super) fn add(functions: &mut Functions) {
    add_table(functions, TABLE);
    functions.scalar.push(define(TEXT_TIME).form(&[define::Arg::Text, define::Arg::Text], DataType::Int64, times).udf());
}

/// # Errors
/// When the property of formats has one that is none.
pub fn check_times(formats: &str) -> Result<()> {
    TimeFormats::of_hive(formats).map(drop)
}

/// Timestamps by the formats of a table.
fn times(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, formats) = (call.texts(0)?, call.texts(1)?);
    let formats = TimeFormats::of_hive(formats.get(0).unwrap_or_default())?;
    let time = |text: &str| formats.millis(text.trim()).or_else(|| timestamp(text));
    Ok(Arc::new((0..call.rows).map(|row| texts.get(row).and_then(time)).collect::<Int64Array>()))
}

fn field<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let (line, escape) = (row.text(0), row.text(2).chars().next());
    // A search for a character is faster than one for a text.
    let Some(separator) = row.text(1).chars().next() else { return Err(bad("a separator is missing")) };
    let number = usize::try_from(row.int(3)).unwrap_or(usize::MAX);
    let found = match escape {
        None => line.split(separator).nth(number),
        Some(escape) => escaped_fields(line, separator, escape).nth(number),
    };
    Ok(found.filter(|found| *found != row.text(4)).map(Cow::Borrowed))
}

/// The fields of a line in which the character behind an escape separates nothing.
pub(super) fn escaped_fields(line: &str, separator: char, escape: char) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    line.split(move |c: char| {
        let is_plain = !std::mem::take(&mut is_escaped);
        is_escaped = is_plain && c == escape;
        is_plain && !is_escaped && c == separator
    })
}

fn csv_field<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let sign = |index| row.text(index).chars().next().ok_or_else(|| bad("a separator, quote or escape is missing"));
    let (separator, quote, escape) = (sign(1)?, sign(2)?, sign(3)?);
    let number = usize::try_from(row.int(4)).unwrap_or(usize::MAX);
    let line = row.text(0);
    if line.is_empty() {
        return Ok(None);
    }
    if !line.contains([quote, escape]) {
        return Ok(line.split(separator).nth(number).map(Cow::Borrowed));
    }
    Ok(quoted_field(line, separator, quote, escape, number).map(Cow::Owned))
}

/// A field of a line with quotes or escapes. A quote in the middle of a field stays and opens or closes all the same, and one that
/// is never closed leaves no field: so does the serde.
fn quoted_field(line: &str, separator: char, quote: char, escape: char, number: usize) -> Option<String> {
    let letters: Vec<char> = line.chars().collect();
    let mut field = String::new();
    let (mut index, mut column, mut is_quoted, mut is_begun) = (0, 0, false, false);
    while let Some(letter) = letters.get(index).copied() {
        let next = letters.get(index + 1).copied();
        if letter == escape && escape != quote {
            if let Some(special) = next.filter(|next| (is_quoted || is_begun) && (*next == quote || *next == escape)) {
                field.push(special);
                index += 1;
            }
        } else if letter == quote {
            if (is_quoted || is_begun) && next == Some(quote) {
                field.push(quote);
                index += 1;
            } else {
                if is_inside(letters.get(..index).unwrap_or_default(), next, separator) {
                    if !field.is_empty() && field.chars().all(char::is_whitespace) {
                        field.clear();
                    } else {
                        field.push(quote);
                    }
                }
                is_quoted = !is_quoted;
            }
            is_begun = !is_begun;
        } else if letter == separator && !is_quoted {
            if column == number {
                return Some(field);
            }
            column += 1;
            field.clear();
            is_begun = false;
        } else {
            field.push(letter);
            is_begun = true;
        }
        index += 1;
    }
    (column == number && !is_quoted).then_some(field)
}

/// Whether a quote is beside no separator and not among the first three characters of its line, as Java counts them.
fn is_inside(before: &[char], next: Option<char>, separator: char) -> bool {
    let units: usize = before.iter().take(3).map(|letter| letter.len_utf16()).sum();
    units > 2 && before.last() != Some(&separator) && next.is_some_and(|next| next != separator)
}

pub(super) fn integer(text: &str) -> Option<i64> {
    let Some((whole, fraction)) = text.split_once('.') else { return text.parse().ok() };
    let is_number = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with(['-', '+'])));
    match digits {
        "" => (is_number && !(sign.is_empty() && fraction.is_empty())).then_some(0),
        _ => whole.parse().ok().filter(|_| is_number),
    }
}

/// The characters of `text`, each escaped one without its escape; one at the end is a character.
pub(super) fn unescaped<'a>(text: &'a str, escape: &str) -> Cow<'a, str> {
    let Some(escape) = escape.chars().next().filter(|escape| text.contains(*escape)) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        out.push(if letter == escape { letters.next().unwrap_or(escape) } else { letter });
    }
    Cow::Owned(out)
}

/// The days from 1970 to `date`.
pub(super) fn days(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - NaiveDate::default().num_days_from_ce()
}

/// A date, of which a time of day is left out.
pub(super) fn date(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    calendar_day(text.split_once(' ').map_or(text, |(date, _)| date))
}

/// The milliseconds from 1970 to a date with a time, with a blank or as ISO 8601 has it; half of one is a whole one. The
/// numbers of the time may run over as those of the date do.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    if text.len() < MIN_TIMESTAMP_BYTES {
        return None;
    }
    let (date, time) = text.trim().split_once([' ', 'T', 't'])?;
    let is_iso = !text.trim().contains(' ');
    let number = |text: &str| text.parse::<i64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let mut parts = time.splitn(3, ':');
    let (hours, minutes) = (number(parts.next()?)?, number(parts.next()?)?);
    let (seconds, fraction) = match parts.next() {
        Some(seconds) => seconds.split_once('.').map_or((seconds, None), |(seconds, fraction)| (seconds, Some(fraction))),
        None if is_iso => ("0", None),
        None => return None,
    };
    let nanos = match fraction {
        None => 0,
        Some("") if is_iso => 0,
        Some(digits) if (1..=MAX_FRACTION_DIGITS).contains(&digits.len()) => number(&format!("{digits:0<9}"))?,
        Some(_) => return None,
    };
    let of_day = hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(number(seconds)?)?;
    let seconds = i64::from(days(calendar_day(date)?)).checked_mul(86_400)?.checked_add(of_day)?;
    seconds.checked_mul(1_000)?.checked_add((nanos + 500_000) / 1_000_000)
}

fn calendar_day(text: &str) -> Option<NaiveDate> {
    let (sign, rest) = text.split_at(usize::from(text.starts_with(['-', '+'])));
    let mut parts = rest.split('-').map(|part| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u32>().ok().filter(|_| is_number)
    });
    let (Some(Some(year)), Some(Some(month)), Some(Some(day)), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let year = i32::try_from(year).ok()? * if sign == "-" { -1 } else { 1 };
    let first = NaiveDate::from_ymd_opt(year, 1, 1)?;
    let month_begins = match month {
        0 => first.checked_sub_months(Months::new(1))?,
        month => first.checked_add_months(Months::new(month - 1))?,
    };
    match day {
        0 => month_begins.pred_opt(),
        day => month_begins.checked_add_days(Days::new(u64::from(day - 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_separator_is_in_its_field() {
        let fields = |line| escaped_fields(line, ',', '\\').collect::<Vec<_>>();
        assert_eq!(fields("a\\,b,c"), ["a\\,b", "c"]);
        assert_eq!(fields("a\\\\,b,"), ["a\\\\", "b", ""]);
        assert_eq!(fields("ü\\ä,\\"), ["ü\\ä", "\\"]);
    }

    #[test]
    fn quoted_fields_are_cut_as_open_csv_cuts_them() {
        let fields =
            |line: &str| -> Vec<Option<String>> { (0..3).map(|number| quoted_field(line, ',', '"', '\\', number)).collect() };
        for (line, wanted) in [
            ("\"a, \"\"b\"\"\",,1", [Some("a, \"b\""), Some(""), Some("1")]),
            ("\"c \\\" d\",\"e\",\"\"", [Some("c \" d"), Some("e"), Some("")]),
            // A backslash before anything else is left out, as is one at the end of a field.
            ("\"a\\nb\",c\\,\\\\", [Some("anb"), Some("c"), Some("")]),
            ("\"a\"", [Some("a"), None, None]),
            // A quote that is never closed takes the rest of the line, which is no field then.
            ("x,\"a,b", [Some("x"), None, None]),
            ("x,bc\"d\"ef,g", [Some("x"), Some("bc\"d\"ef"), Some("g")]),
            ("x,  \"d\",g", [Some("x"), Some("d"), Some("g")]),
            ("a,\"b\" ,c,\"d\"", [Some("a"), Some("b\" "), Some("c")]),
        ] {
            assert_eq!(fields(line), wanted.map(|field| field.map(String::from)), "{line}");
        }
        assert_eq!(quoted_field("'a''b';c", ';', '\'', '\'', 0).as_deref(), Some("a'b"));
    }

    #[test]
    fn escapes_leave_what_they_escape() {
        for (text, wanted) in [("a\\,b", "a,b"), ("\\\\n", "\\n"), ("ü\\ä\\", "üä\\"), ("plain", "plain")] {
            assert_eq!(unescaped(text, "\\"), wanted);
        }
        assert_eq!(unescaped("a\\b", ""), "a\\b");
    }

    #[test]
    fn timestamps_are_read_as_hive_reads_them() {
        for (text, millis) in [
            ("1970-01-01 00:00:01", 1_000),
            (" 1970-1-1 0:0:1.0005 ", 1_001),
            ("1970-01-01T00:01", 60_000),
            ("1970-01-01t00:00:00.999999999", 1_000),
            ("1969-12-31 23:59:59.9", -100),
            ("1969-12-32 24:61:60", 90_120_000),
        ] {
            assert_eq!(timestamp(text), Some(millis), "{text}");
        }
        for text in [
            "",
            "1-1-1 0:",
            "1970-01-01",
            "1970-01-01 00:00",
            "1970-01-01 00:00:00.",
            "1970-01-01 00:00:00.1234567890",
            "1970-01-01 00:00:00Z",
            "1970-01-01 +1:00:00",
            "1970-01-01 00:00:00 x",
            "x970-01-01 00:00:00",
            "1970-01-01T00:00:00+01:00",
            "1700000000",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn integers_lose_their_fraction_and_nothing_else_is_one() {
        for (text, wanted) in
            [("7", 7), ("+7", 7), ("-7.99", -7), ("0012.", 12), ("-.5", 0), (".5", 0), ("9223372036854775807", i64::MAX)]
        {
            assert_eq!(integer(text), Some(wanted), "{text}");
        }
        for text in ["", ".", "x", " 7", "7 ", "1e3", "1.2.3", "1.x", "--1.0", "9223372036854775808", "-"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn dates_run_over() {
        let day = |text: &str| date(text).map(|date| date.to_string());
        for (text, wanted) in [
            ("1986-01-33", "1986-02-02"),
            (" 2024-2-29 10:00:00", "2024-02-29"),
            ("2023-13-01", "2024-01-01"),
            ("2024-00-00", "2023-11-30"),
            ("-0001-01-01", "-0001-01-01"),
        ] {
            assert_eq!(day(text).as_deref(), Some(wanted), "{text}");
        }
        for text in ["", "x", "2024", "2024-01", "2024-01-01-01", "2024-01-0x", "2024--1-01", "999999999-01-01", "2024/01/01"] {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
