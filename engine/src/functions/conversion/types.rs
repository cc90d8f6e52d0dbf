//! Trino's names of types, and numbers as Java and Trino write them.

use super::super::define::{JSON, is_text, plain};
use crate::functions::datetime::digits_of;
use arrow::datatypes::{DataType, Fields, IntervalUnit};

/// The name of `data_type` in Trino.
pub fn type_name(data_type: &DataType) -> String {
    use DataType::*;
    match plain(data_type) {
        Null => "unknown".into(),
        Boolean => "boolean".into(),
        Int8 => "tinyint".into(),
        Int16 | UInt8 => "smallint".into(),
        Int32 | UInt16 => "integer".into(),
        Int64 | UInt32 | UInt64 => "bigint".into(),
        Float16 | Float32 => "real".into(),
        Float64 => "double".into(),
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) | Decimal256(p, s) => format!("decimal({p},{s})"),
        json if *json == JSON => "json".into(),
        text if is_text(text) => "varchar".into(),
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => "varbinary".into(),
        Date32 | Date64 => "date".into(),
        Time32(unit) | Time64(unit) => format!("time({})", digits_of(*unit)),
        Timestamp(unit, None) => format!("timestamp({})", digits_of(*unit)),
        Timestamp(unit, Some(_)) => format!("timestamp({}) with time zone", digits_of(*unit)),
        Interval(IntervalUnit::YearMonth) => "interval year to month".into(),
        Interval(_) | Duration(_) => "interval day to second".into(),
        List(item) | LargeList(item) | ListView(item) | LargeListView(item) | FixedSizeList(item, _) => {
            format!("array({})", type_name(item.data_type()))
        }
        Map(entries, _) => match entries.data_type() {
            Struct(fields) => format!("map({})", joined(fields, false)),
            other => type_name(other),
        },
        Struct(fields) => format!("row({})", joined(fields, true)),
        other => other.to_string().to_lowercase(),
    }
}

fn joined(fields: &Fields, named: bool) -> String {
    let one = |field: &arrow::datatypes::FieldRef| match type_name(field.data_type()) {
        kind if named => format!("{} {kind}", field.name()),
        kind => kind,
    };
    fields.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The digits of a finite number as `d.ddd`, and its power of ten.
fn scientific(text: &str) -> (String, i32) {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let digits = if digits.contains('.') { digits.to_string() } else { format!("{digits}.0") };
    (digits, power.parse().unwrap_or(0))
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        None
    }
}

/// What Java prints: plain digits from a thousandth to ten millions, a power of ten beyond; `shortest` are the digits.
fn java_number(value: f64, plain: String, shortest: &str) -> String {
    if let Some(name) = special(value) {
        return name.to_string();
    }
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let (digits, power) = scientific(shortest);
    format!("{digits}E{power}")
}

/// A double as Java prints it: `1.5`, `1.0E20`.
pub(crate) fn java_double(value: f64) -> String {
    java_number(value, value.to_string(), &format!("{value:e}"))
}

/// A real as Java prints it.
pub(crate) fn java_real(value: f32) -> String {
    java_number(f64::from(value), value.to_string(), &format!("{value:e}"))
}

/// A double as CAST to varchar writes it, always with a power of ten: `1.5E0`, `1.0E20`, `0E0`.
pub(crate) fn cast_double(value: f64) -> String {
    sql_number(value, &format!("{value:e}"))
}

/// A real as CAST to varchar writes it: the same with at most seven digits.
pub(crate) fn cast_real(value: f32) -> String {
    let rounded = format!("{value:.6e}");
    let (digits, power) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    sql_number(f64::from(value), &format!("{digits}e{power}"))
}

fn sql_number(value: f64, shortest: &str) -> String {
    if let Some(name) = special(value) {
        return name.to_string();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0E0".into() } else { "0E0".into() };
    }
    let (digits, power) = scientific(shortest);
    format!("{digits}E{power}")
}

/// An unscaled decimal with `scale` digits after the point.
pub(crate) fn decimal_text(unscaled: &str, scale: i8) -> String {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |digits| ("-", digits));
    let Ok(scale @ 1..) = usize::try_from(scale) else { return unscaled.to_string() };
    let padded = format!("{}{digits}", "0".repeat((scale + 1).saturating_sub(digits.len())));
    let (whole, fraction) = padded.split_at_checked(padded.len() - scale).unwrap_or((&padded, ""));
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_java() {
        for (value, java, cast) in [
            (1.0, "1.0", "1.0E0"),
            (-1.5, "-1.5", "-1.5E0"),
            (1e20, "1.0E20", "1.0E20"),
            (1.25e-7, "1.25E-7", "1.25E-7"),
            (1e7, "1.0E7", "1.0E7"),
            (9_999_999.0, "9999999.0", "9.999999E6"),
            (0.001, "0.001", "1.0E-3"),
            (123.456, "123.456", "1.23456E2"),
            (0.0, "0.0", "0E0"),
            (-0.0, "-0.0", "-0E0"),
            (f64::NAN, "NaN", "NaN"),
            (f64::NEG_INFINITY, "-Infinity", "-Infinity"),
        ] {
            assert_eq!(java_double(value), java);
            assert_eq!(cast_double(value), cast);
        }
        assert_eq!(java_real(1.1), "1.1");
        assert_eq!(cast_real(1.1), "1.1E0");
        assert_eq!(cast_real(16_777_216.0), "1.677722E7");
    }

    #[test]
    fn decimals_are_plain() {
        assert_eq!(decimal_text("12345", 2), "123.45");
        assert_eq!(decimal_text("-5", 3), "-0.005");
        assert_eq!(decimal_text("7", 0), "7");
    }
}
