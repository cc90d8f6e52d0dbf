//! Scalars of the JSON serdes. To OpenX a scalar is its text, with quotes or without; Hive's serde tells numbers from strings.

use super::{JsonRules, Reading, text_of};
use crate::functions::conversion::{parse_decimal, parse_double, parse_integer, parse_real};
use crate::functions::json::Node;
use crate::functions::text_line;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use std::borrow::Cow;

/// Texts that are at least as long are milliseconds to OpenX, shorter ones seconds.
const MIN_MILLIS_DIGITS: usize = 13;
/// More digits than any number that is read here has, and the largest power of ten.
const MAX_DIGITS: i64 = 10_000;

/// A value that is none of its type: an error, or NULL if the table says so.
fn or_none<T>(found: Option<T>, text: &str, kind: &str, reading: &Reading) -> Result<Option<T>> {
    if found.is_none() && !reading.properties.has_null_for_invalid {
        let shown: String = text.chars().take(100).collect();
        return exec_err!("HIVE_BAD_DATA: Failed to parse value: {shown} is no {kind}");
    }
    Ok(found)
}

/// The text of a value that must be a scalar.
fn scalar<'a>(value: &'a Node<'a>, kind: &str) -> Result<Cow<'a, str>> {
    match text_of(value) {
        Some(text) => Ok(text),
        None => exec_err!("HIVE_BAD_DATA: Failed to parse value: an object or array can not be coerced to {kind}"),
    }
}

pub(super) fn boolean(value: &Node<'_>, rules: JsonRules) -> Result<bool> {
    if !rules.is_hive() && matches!(value, Node::Array(_) | Node::Object(_)) {
        return Ok(false);
    }
    Ok(scalar(value, "boolean")?.eq_ignore_ascii_case("true"))
}

pub(super) fn integer(value: &Node<'_>, target: &DataType, reading: &Reading) -> Result<Option<i64>> {
    let text = scalar(value, "an integer")?;
    let number = match (reading.rules.is_hive(), value) {
        (false, _) => long(&text).or_else(|| BigDecimal::parse(&text)?.whole()),
        // What is no integer loses its fraction.
        (true, Node::Number(text)) => text.parse().ok().or_else(|| truncated(text)),
        (true, _) => None,
    };
    let fits = |number: &i64| match target {
        DataType::Int8 => i8::try_from(*number).is_ok(),
        DataType::Int16 => i16::try_from(*number).is_ok(),
        DataType::Int32 => i32::try_from(*number).is_ok(),
        _ => true,
    };
    or_none(number.filter(fits), &text, "integer of its type", reading)
}

fn truncated(text: &str) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let is_whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let number: f64 = text.parse().ok().filter(|number| !is_whole && (-LIMIT..LIMIT).contains(number))?;
    Some(number as i64)
}

pub(super) fn double(value: &Node<'_>, reading: &Reading) -> Result<Option<f64>> {
    let text = scalar(value, "double")?;
    let is_number = !reading.rules.is_hive() || matches!(value, Node::Number(_));
    or_none(parse_double(&text).filter(|_| is_number), &text, "double", reading)
}

pub(super) fn real(value: &Node<'_>, reading: &Reading) -> Result<Option<f32>> {
    let text = scalar(value, "real")?;
    let number = match (reading.rules.is_hive(), value) {
        (false, _) => parse_real(&text),
        (true, Node::Number(text)) => parse_double(text).map(|number| number as f32),
        (true, _) => None,
    };
    or_none(number, &text, "real", reading)
}

pub(super) fn decimal(value: &Node<'_>, precision: u8, scale: i8, reading: &Reading) -> Result<Option<i128>> {
    let text = scalar(value, "decimal")?;
    or_none(parse_decimal(&text, precision, scale), &text, &format!("decimal({precision},{scale})"), reading)
}

pub(super) fn date(value: &Node<'_>, reading: &Reading) -> Result<Option<i32>> {
    let text = scalar(value, "date")?;
    let days = text_line::date(&text).map(text_line::days);
    let of_number = || long(&text).and_then(|days| i32::try_from(days).ok());
    or_none(if reading.rules.is_hive() { days } else { days.or_else(of_number) }, &text, "date", reading)
}

/// Milliseconds since 1970.
pub(super) fn timestamp(value: &Node<'_>, reading: &Reading) -> Result<Option<i64>> {
    let text = scalar(value, "timestamp")?;
    // To Hive's serde blanks around it do not count.
    let formatted =
        reading.times.as_ref().and_then(|times| times.millis(if reading.rules.is_hive() { text.trim() } else { &text }));
    let usual = || if reading.rules.is_hive() { text_line::timestamp(&text) } else { openx_timestamp(&text) };
    or_none(formatted.or_else(usual), &text, "timestamp", reading)
}

fn openx_timestamp(text: &str) -> Option<i64> {
    if text.find(':').is_some_and(|at| at > 0) {
        return zoned(text).or_else(|| text_line::timestamp(text));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"-+.".contains(&byte)) {
        return None;
    }
    if text.contains('.') {
        let seconds = BigDecimal::parse(text)?;
        return BigDecimal { scale: seconds.scale - 3, ..seconds }.whole();
    }
    let number = parse_integer(text)?;
    if text.len() >= MIN_MILLIS_DIGITS { Some(number) } else { number.checked_mul(1_000) }
}

/// A time of ISO 8601 with `Z` or an offset behind it.
fn zoned(text: &str) -> Option<i64> {
    let (local, seconds) = match text.strip_suffix(['z', 'Z']) {
        Some(local) => (local, 0),
        None => {
            let at = text.rfind(['+', '-']).filter(|at| *at > 0)?;
            let (local, offset) = text.split_at_checked(at)?;
            let digits = offset.get(1..)?.replacen(':', "", 1);
            let is_offset =
                digits.len() == 4 && offset.as_bytes().get(3).is_some_and(|byte| *byte == b':') == (offset.len() == 6);
            let number: i64 = digits.parse().ok().filter(|_| is_offset && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
            let seconds = (number / 100) * 3_600 + (number % 100) * 60;
            (local, if offset.starts_with('-') { -seconds } else { seconds })
        }
    };
    let is_iso = local.contains(['T', 't']) && !local.contains(|c: char| c <= ' ');
    text_line::timestamp(local).filter(|_| is_iso)?.checked_sub(seconds * 1_000)
}

pub(super) fn varchar<'a>(value: &'a Node<'a>, rules: JsonRules) -> Result<Cow<'a, str>> {
    if rules == JsonRules::CloudTrail && matches!(value, Node::Array(_) | Node::Object(_)) {
        return Ok(value.text()?.into());
    }
    if rules.is_hive() {
        return scalar(value, "varchar");
    }
    Ok(match value {
        Node::Number(word) => canonical(word).map_or(Cow::Borrowed(*word), Cow::Owned),
        Node::Array(_) | Node::Object(_) => {
            let mut out = String::new();
            write(value, &mut out);
            out.into()
        }
        other => scalar(other, "varchar")?,
    })
}

/// The key of a map as a value: a string to OpenX, and bare text to Hive's serde.
pub(super) fn key<'a>(name: &'a str, rules: JsonRules) -> Node<'a> {
    if rules.is_hive() { Node::Number(name) } else { Node::Text(Cow::Borrowed(name)) }
}

/// Keys of Hive's maps that are to be integers have no fraction to lose.
pub(super) fn check_keys(names: &[Node<'_>]) -> Result<()> {
    for name in names {
        if let Node::Number(text) = name
            && parse_integer(text).is_none()
        {
            return exec_err!("HIVE_BAD_DATA: Failed to parse value: the key {text} is no integer");
        }
    }
    Ok(())
}

/// An integer: hexadecimal behind `0x`, octal behind `0`, else decimal.
fn long(text: &str) -> Option<i64> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    if let Some(digits) = hexadecimal.filter(|digits| digits.starts_with(|c: char| c.is_ascii_hexdigit())) {
        return i64::from_str_radix(digits, 16).ok();
    }
    match text.strip_prefix('0') {
        // The serde takes 8 for an octal digit here, and fails at it afterwards.
        Some(digits) if digits.starts_with(|c: char| ('0'..='8').contains(&c)) => i64::from_str_radix(digits, 8).ok(),
        _ => parse_integer(text),
    }
}

/// A word without quotes as OpenX shows it; none for one that is neither boolean nor number.
fn canonical(word: &str) -> Option<String> {
    if word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false") {
        return Some(word.to_ascii_lowercase());
    }
    long(word).map(|number| number.to_string()).or_else(|| BigDecimal::parse(word).map(|number| number.to_string()))
}

/// The text of a value inside of an object or array.
fn write(value: &Node<'_>, out: &mut String) {
    let separate = |out: &mut String, place: usize| out.push_str(if place > 0 { "," } else { "" });
    match value {
        Node::Null => out.push_str("null"),
        Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Node::Number(word) => match canonical(word) {
            Some(text) => out.push_str(&text),
            None => write_string(word, out),
        },
        Node::Text(text) => write_string(text, out),
        Node::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                separate(out, place);
                write(item, out);
            }
            out.push(']');
        }
        Node::Object(members) => {
            out.push('{');
            for (place, (name, item)) in members.iter().enumerate() {
                separate(out, place);
                write_string(name, out);
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
    }
}

/// In quotes, with `</` escaped for the sake of HTML, as the serde does it.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut before = ' ';
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '/' if before == '<' => out.push_str("\\/"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{C}' => out.push_str("\\f"),
            '\0'..='\u{1F}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            other => out.push(other),
        }
        before = letter;
    }
    out.push('"');
}

/// A number of any length as Java's class of that name has it: its digits, and how many of them are behind the point.
#[derive(Debug)]
struct BigDecimal {
    is_negative: bool,
    /// Without leading zeros, but for zero itself.
    digits: String,
    scale: i64,
}

impl BigDecimal {
    fn parse(text: &str) -> Option<Self> {
        let is_negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let power = parse_integer(power)?;
        let digits = format!("{whole}{fraction}");
        let is_short = i64::try_from(digits.len()).is_ok_and(|length| length <= MAX_DIGITS) && power.abs() <= MAX_DIGITS;
        if digits.is_empty() || !is_short || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_start_matches('0');
        let digits = if significant.is_empty() { "0" } else { significant };
        Some(Self { is_negative, digits: digits.into(), scale: i64::try_from(fraction.len()).ok()? - power })
    }

    /// Without its fraction; none when it does not fit.
    fn whole(&self) -> Option<i64> {
        let length = i64::try_from(self.digits.len()).ok()?;
        let whole = match usize::try_from(length - self.scale) {
            _ if self.digits == "0" => "0".to_string(),
            Err(_) | Ok(0) => "0".to_string(),
            Ok(kept) if kept <= self.digits.len() => self.digits.get(..kept)?.to_string(),
            Ok(kept) => format!("{:0<kept$}", self.digits),
        };
        format!("{}{whole}", if self.is_negative { "-" } else { "" }).parse().ok()
    }
}

impl std::fmt::Display for BigDecimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.is_negative && self.digits != "0" { "-" } else { "" };
        let length = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        let adjusted = length - 1 - self.scale;
        if self.scale == 0 {
            return write!(f, "{sign}{}", self.digits);
        }
        if self.scale > 0 && adjusted >= -6 {
            let width = usize::try_from(self.scale).unwrap_or(0) + 1;
            let padded = format!("{:0>width$}", self.digits);
            let (whole, fraction) = padded.split_at_checked(padded.len() + 1 - width).unwrap_or((&padded, ""));
            return write!(f, "{sign}{whole}.{fraction}");
        }
        let (first, rest) = self.digits.split_at_checked(1).unwrap_or((&self.digits, ""));
        let point = if rest.is_empty() { "" } else { "." };
        write!(f, "{sign}{first}{point}{rest}")?;
        if adjusted == 0 { Ok(()) } else { write!(f, "E{adjusted:+}") }
    }
}
