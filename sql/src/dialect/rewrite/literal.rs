//! Typed literals, intervals and patterns: their text says what type they have.

use super::{call, text};
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, DateTimeField, ExactNumberInfo, Expr, Interval, TimezoneInfo, TypedString, UnaryOperator, Value,
    ValueWithSpan,
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
        DataType::JSON => Ok(Some(call("json_parse", vec![text(&value)]))),
        DataType::Varchar(None) => Ok(Some(text(&value))),
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
    let digits = time.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if digits > MAX_SECOND_DIGITS {
        return None;
    }
    let time = match time.bytes().filter(|byte| *byte == b':').count() {
        0 if time.is_empty() => "00:00:00".to_string(),
        1 => format!("{time}:00"),
        _ => time.to_string(),
    };
    let precision = match digits {
        0 => 0,
        1..=3 => 3,
        4..=6 => 6,
        _ => 9,
    };
    let local = cast(text(&format!("{date} {time}")), DataType::Timestamp(Some(precision), TimezoneInfo::None));
    let zone = zone.trim();
    Some(if zone.is_empty() { local } else { call("with_timezone", vec![local, text(zone)]) })
}

/// An interval of several fields as one text; none for what DataFusion reads the same.
pub(super) fn interval(interval: &Interval) -> Result<Option<Expr>, String> {
    use DateTimeField::{Day, Hour, Minute, Month, Second, Year};
    let (Some(first), Some(last)) = (&interval.leading_field, &interval.last_field) else { return Ok(None) };
    let (value, is_negative) = match interval.value.as_ref() {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (expr.as_ref(), true),
        other => (other, false),
    };
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(value), .. }) = value else {
        return Err("an interval of several fields takes a string".into());
    };
    let trimmed = value.trim();
    let is_negative = is_negative != trimmed.starts_with('-');
    let parts: Vec<&str> =
        trimmed.trim_start_matches(['-', '+']).split([' ', ':', '-']).filter(|part| !part.is_empty()).collect();
    let fields: &[(DateTimeField, &str)] = match (first, last) {
        (Year, Month) => &[(Year, "years"), (Month, "months")],
        (Day | Hour | Minute, Hour | Minute | Second) => {
            &[(Day, "days"), (Hour, "hours"), (Minute, "minutes"), (Second, "seconds")]
        }
        _ => return Err(format!("an interval {first} TO {last}")),
    };
    let from = fields.iter().position(|(field, _)| field == first).unwrap_or(0);
    let to = fields.iter().position(|(field, _)| field == last).unwrap_or(from);
    let names: Vec<&str> = fields.get(from..=to.max(from)).unwrap_or_default().iter().map(|(_, name)| *name).collect();
    if names.len() != parts.len() || !parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')) {
        return Err(format!("'{value}' is not an interval {first} TO {last}"));
    }
    let sign = if is_negative { "-" } else { "" };
    let written: Vec<String> = parts.iter().zip(names).map(|(part, name)| format!("{sign}{part} {name}")).collect();
    let value = Box::new(text(&written.join(" ")));
    let plain =
        Interval { value, leading_field: None, leading_precision: None, last_field: None, fractional_seconds_precision: None };
    Ok(Some(Expr::Interval(plain)))
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
