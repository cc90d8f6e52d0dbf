//! Typed literals, intervals and patterns: their text says what type they have.

use super::{call, function_name, plain_args, text};
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, DateTimeField, ExactNumberInfo, Expr, Interval, TimezoneInfo, TypedString, UnaryOperator, Value,
    ValueWithSpan, WindowFrame, WindowFrameBound,
};

/// Most digits of a decimal.
const MAX_DECIMAL_DIGITS: usize = 38;
/// Most digits of a second.
const MAX_SECOND_DIGITS: usize = 9;

/// What a typed literal is to DataFusion; none when it is the same, an error when its text is not of its type.
pub(super) fn typed(literal: &TypedString) -> Result<Option<Expr>, String> {
    let Some(value) = literal.value.clone().into_string() else { return Ok(None) };
    let wrong = || Err(format!("'{value}' is not a valid {} literal", literal.data_type));
    match &literal.data_type {
        DataType::Decimal(ExactNumberInfo::None) | DataType::Numeric(ExactNumberInfo::None) => match decimal(&value) {
            Some(info) => Ok(Some(cast(text(value.trim()), DataType::Decimal(info)))),
            None => wrong(),
        },
        DataType::Timestamp(None, TimezoneInfo::None) => timestamp(&value).map_or_else(wrong, |literal| Ok(Some(literal))),
        DataType::Time(None, TimezoneInfo::None) => time(&value).map_or_else(wrong, |literal| Ok(Some(literal))),
        DataType::JSON => Ok(Some(call("json_parse", vec![text(&value)]))),
        DataType::Varchar(None) => Ok(Some(text(&value))),
        DataType::Uuid => Ok(Some(call("owlet_cast_uuid", vec![text(&value)]))),
        _ => Ok(None),
    }
}

pub(super) fn cast(expression: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expression), data_type, array: false, format: None }
}

fn decimal(value: &str) -> Option<ExactNumberInfo> {
    let digits = value.trim().trim_start_matches(['-', '+']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let precision = (whole.trim_start_matches('0').len() + fraction.len()).max(1);
    if precision > MAX_DECIMAL_DIGITS {
        return None;
    }
    Some(ExactNumberInfo::PrecisionAndScale(u64::try_from(precision).ok()?, i64::try_from(fraction.len()).ok()?))
}

/// The digits that a type of seconds has for as many as are written.
fn precision(digits: usize) -> Option<u64> {
    match digits {
        0 => Some(0),
        1..=3 => Some(3),
        4..=6 => Some(6),
        7..=MAX_SECOND_DIGITS => Some(9),
        _ => None,
    }
}

/// `10:00[:00[.123]]`; the cast says what is none.
fn time(value: &str) -> Option<Expr> {
    let digits = value.trim().split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let is_plain = value.trim().bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
    let precision = precision(digits).filter(|_| is_plain)?;
    Some(cast(text(value), DataType::Time(Some(precision), TimezoneInfo::None)))
}

/// `2024-01-01`, `2024-01-01 10:00[:00[.123]]`, and either with a zone behind.
fn timestamp(value: &str) -> Option<Expr> {
    let value = value.trim();
    let date_end = value.find([' ', 'T']).unwrap_or(value.len());
    let (date, rest) = value.split_at(date_end);
    let rest = rest.get(1..).unwrap_or_default().trim_start();
    let time_end = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(rest.len());
    let (time, zone) = rest.split_at(time_end);
    if date.is_empty() || !date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return None;
    }
    let precision = precision(time.split_once('.').map_or(0, |(_, fraction)| fraction.len()))?;
    let time = match time.bytes().filter(|byte| *byte == b':').count() {
        0 if time.is_empty() => "00:00:00".to_string(),
        1 => format!("{time}:00"),
        _ => time.to_string(),
    };
    let local = cast(text(&format!("{date} {time}")), DataType::Timestamp(Some(precision), TimezoneInfo::None));
    let zone = zone.trim();
    Some(if zone.is_empty() { local } else { call("with_timezone", vec![local, text(zone)]) })
}

/// Lengths of the fields of an interval of days and seconds, in milliseconds, and what is between a field and the next.
const SPANS: [(DateTimeField, i64, char); 4] = [
    (DateTimeField::Day, 86_400_000, ' '),
    (DateTimeField::Hour, 3_600_000, ':'),
    (DateTimeField::Minute, 60_000, ':'),
    (DateTimeField::Second, 1_000, ':'),
];
/// The same of years and months, in months.
const CALENDAR: [(DateTimeField, i64, char); 2] = [(DateTimeField::Year, 12, '-'), (DateTimeField::Month, 1, '-')];

/// An interval as the call of a function of its milliseconds or months.
pub(super) fn interval(interval: &Interval) -> Result<Expr, String> {
    let Some(first) = &interval.leading_field else {
        return Err("an interval has a field behind its text: INTERVAL '1' DAY".into());
    };
    let last = interval.last_field.as_ref().unwrap_or(first);
    let (value, is_negative) = match interval.value.as_ref() {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (expr.as_ref(), true),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => (expr.as_ref(), false),
        other => (other, false),
    };
    let value = match value {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(value) | Value::Number(value, _), .. }) => value,
        _ => return Err("an interval takes a text: INTERVAL '1' DAY".into()),
    };
    let fields = |of: &'static [(DateTimeField, i64, char)]| {
        let at = |field| of.iter().position(|(known, ..)| known == field);
        at(first).zip(at(last)).and_then(|(from, to)| of.get(from..=to.max(from))).filter(|_| at(first) <= at(last))
    };
    let (name, fields) = match (fields(&SPANS), fields(&CALENDAR)) {
        (Some(fields), _) => ("owlet_interval_day", fields),
        (_, Some(fields)) => ("owlet_interval_month", fields),
        _ => return Err(format!("an interval of {first} TO {last} is not supported")),
    };
    let text = value.trim();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let Some(length) = interval_length(unsigned, fields) else {
        return Err(format!("'{value}' is not a valid INTERVAL literal"));
    };
    Ok(call(name, vec![integer(if is_negative == text.starts_with('-') { length } else { -length })]))
}

/// The length of `text`, whose last fields may be missing; a second may have milliseconds.
fn interval_length(text: &str, fields: &[(DateTimeField, i64, char)]) -> Option<i64> {
    let (mut rest, mut length) = (Some(text), 0_i64);
    for (index, (field, unit, separator)) in fields.iter().enumerate() {
        let Some(part) = rest else { break };
        let is_last = index + 1 == fields.len();
        let (own, behind) = match part.split_once(*separator) {
            Some((own, behind)) if !is_last => (own, Some(behind)),
            _ => (part, None),
        };
        let (whole, fraction) = match own.split_once('.') {
            Some((whole, fraction)) if *field == DateTimeField::Second => (whole, fraction),
            _ => (own, "0"),
        };
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > 3 {
            return None;
        }
        let millis = format!("{fraction:0<3}").parse::<i64>().ok()?;
        length = whole.parse::<i64>().ok()?.checked_mul(*unit)?.checked_add(millis)?.checked_add(length)?;
        rest = behind;
    }
    Some(length)
}

fn integer(value: i64) -> Expr {
    let digits = Expr::Value(Value::Number(value.unsigned_abs().to_string(), false).into());
    if value < 0 { Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(digits) } } else { digits }
}

/// The bounds of a frame with intervals as the planner reads them there: written out.
pub(super) fn keep_intervals(frame: &mut WindowFrame) {
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        let (WindowFrameBound::Preceding(Some(distance)) | WindowFrameBound::Following(Some(distance))) = bound else { continue };
        let Expr::Function(function) = distance.as_ref() else { continue };
        let unit = match function_name(function).as_str() {
            "owlet_interval_day" => "milliseconds",
            "owlet_interval_month" => "months",
            _ => continue,
        };
        if let Some([length]) = plain_args(function).as_deref() {
            let value = Box::new(text(&format!("{length} {unit}")));
            **distance = Expr::Interval(Interval {
                value,
                leading_field: None,
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            });
        }
    }
}

/// `pattern` of LIKE, where `escape` escapes, or nothing does, as a pattern where a backslash escapes; none when that fails.
pub(super) fn like_pattern(pattern: &str, escape: Option<char>) -> Option<String> {
    let mut written = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            let escaped = characters.next()?;
            // Only these may be escaped.
            if escaped != '%' && escaped != '_' && Some(escaped) != escape {
                return None;
            }
            if escaped == '%' || escaped == '_' || escaped == '\\' {
                written.push('\\');
            }
            written.push(escaped);
        } else if character == '\\' {
            written.push_str("\\\\");
        } else {
            written.push(character);
        }
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_escape_with_a_backslash_only() {
        assert_eq!(like_pattern("a\\_%", None).as_deref(), Some("a\\\\_%"));
        assert_eq!(like_pattern("a$_%$$", Some('$')).as_deref(), Some("a\\_%$"));
        assert_eq!(like_pattern("a\\_\\\\", Some('\\')).as_deref(), Some("a\\_\\\\"));
        assert_eq!(like_pattern("a$b", Some('$')), None);
        assert_eq!(like_pattern("a$", Some('$')), None);
    }

    #[test]
    fn intervals_have_their_fields_in_order() {
        let length = |text: &str, from: usize, to: usize| interval_length(text, SPANS.get(from..=to).unwrap_or_default());
        for (text, from, to, millis) in [
            ("1", 0, 0, 86_400_000),
            ("12 10", 0, 1, 1_072_800_000),
            ("1 02:03:04.5", 0, 3, 93_784_500),
            ("1", 0, 3, 86_400_000),
            ("90:1", 2, 3, 5_401_000),
            ("1.123", 3, 3, 1_123),
        ] {
            assert_eq!(length(text, from, to), Some(millis), "{text}");
        }
        for (text, from, to) in [("", 0, 0), ("1.5", 0, 0), ("12 -10", 0, 1), ("1:2 3", 0, 2), ("1 2", 0, 0), ("1.1234", 3, 3)] {
            assert_eq!(length(text, from, to), None, "{text}");
        }
        assert_eq!(interval_length("3-2", &CALENDAR), Some(38));
        assert_eq!(interval_length("1 2", &CALENDAR), None);
        assert_eq!(length(&i64::MAX.to_string(), 0, 0), None);
    }

    #[test]
    fn literals_have_the_type_of_their_text() {
        let written = |value: &str| timestamp(value).map(|literal| literal.to_string());
        assert_eq!(written("2024-01-01 10:00").as_deref(), Some("CAST('2024-01-01 10:00:00' AS TIMESTAMP(0))"));
        assert_eq!(written("2024-01-01").as_deref(), Some("CAST('2024-01-01 00:00:00' AS TIMESTAMP(0))"));
        let zoned = "with_timezone(CAST('2024-01-01 10:00:00.5' AS TIMESTAMP(3)), 'America/New_York')";
        assert_eq!(written("2024-01-01 10:00:00.5 America/New_York").as_deref(), Some(zoned));
        assert_eq!(written("x"), None);
        let shown = |value: &str| decimal(value).map(|info| info.to_string());
        assert_eq!(shown("1.23").as_deref(), Some("(3,2)"));
        assert_eq!(shown("-0.05").as_deref(), Some("(2,2)"));
        assert_eq!(shown("1e5"), None);
    }
}
