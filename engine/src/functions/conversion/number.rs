//! CAST to integers, doubles and booleans.

use super::super::define::{Arg, Call, Typing, define, is_text};
use super::types::{decimal_text, java_double, java_real, type_name};
use crate::functions::Functions;
use crate::functions::datetime::{double, saturating};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};

/// An integer type of Trino.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width {
    name: &'static str,
    /// The name in messages about text.
    text_name: &'static str,
    least: i64,
    greatest: i64,
}

const WIDTHS: [Width; 4] = [
    Width { name: "tinyint", text_name: "TINYINT", least: i8::MIN as i64, greatest: i8::MAX as i64 },
    Width { name: "smallint", text_name: "SMALLINT", least: i16::MIN as i64, greatest: i16::MAX as i64 },
    Width { name: "integer", text_name: "INT", least: i32::MIN as i64, greatest: i32::MAX as i64 },
    Width { name: "bigint", text_name: "BIGINT", least: i64::MIN, greatest: i64::MAX },
];

/// Reads a sign and digits, as Java does; spaces are an error.
pub(in crate::functions) fn parse_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Reads a double as Java does: spaces around it, a power of ten, `NaN`, `Infinity`, hexadecimal digits with a power of two, and a
/// final `d` or `f`.
pub(in crate::functions) fn parse_double(text: &str) -> Option<f64> {
    parse_floating(text, |decimal| decimal.parse().ok(), |value| value)
}

/// The same for a real, which is rounded once.
pub(in crate::functions) fn parse_real(text: &str) -> Option<f32> {
    parse_floating(text, |decimal| decimal.parse().ok(), narrow)
}

fn parse_floating<T: std::ops::Neg<Output = T>>(
    text: &str,
    of_decimal: impl Fn(&str) -> Option<T>,
    of_double: impl Fn(f64) -> T,
) -> Option<T> {
    let trimmed = text.trim_matches(|c: char| c <= ' ');
    let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let signed = |value: T| if trimmed.starts_with('-') { -value } else { value };
    match unsigned {
        "NaN" => return Some(of_double(f64::NAN)),
        "Infinity" => return Some(signed(of_double(f64::INFINITY))),
        _ => {}
    }
    let number = unsigned.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(unsigned);
    if let Some(digits) = number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
        return parse_hexadecimal(digits).map(|value| signed(of_double(value)));
    }
    let known = number.bytes().all(|b| b.is_ascii_digit() || b"eE+-.".contains(&b));
    if !known || !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    of_decimal(number).map(signed)
}

/// Hexadecimal digits, with a point or without, and a power of two behind `p`.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    /// More digits than a double can tell apart, in a number of 128 bits.
    const MAX_HEX_DIGITS: usize = 31;
    let (mantissa, power) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let is_power = parse_integer(power).is_some();
    if digits.is_empty() || !is_power || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    let kept = significant.get(..significant.len().min(MAX_HEX_DIGITS))?;
    let value = if kept.is_empty() { 0 } else { u128::from_str_radix(kept, 16).ok()? };
    let dropped = i32::try_from(significant.len() - kept.len()).ok()?;
    let power = power.parse::<i32>().ok()?.checked_add(4 * (dropped - i32::try_from(fraction.len()).ok()?))?;
    // In halves: neither may run over where their product does not.
    Some(value as f64 * 2_f64.powi(power / 2) * 2_f64.powi(power - power / 2))
}

/// Reads `true`, `t`, `1` and their opposites.
pub(super) fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}

impl Width {
    fn find(name: &str) -> Result<Self> {
        match WIDTHS.iter().find(|width| width.name == name) {
            Some(width) => Ok(*width),
            None => plan_err!("'{name}' is not an integer type"),
        }
    }

    fn data_type(self) -> DataType {
        match self.name {
            "tinyint" => DataType::Int8,
            "smallint" => DataType::Int16,
            "integer" => DataType::Int32,
            _ => DataType::Int64,
        }
    }

    fn check(self, value: i64, shown: impl FnOnce() -> String) -> Result<i64> {
        if (self.least..=self.greatest).contains(&value) {
            return Ok(value);
        }
        exec_err!("Out of range for {}: {}", self.name, shown())
    }

    fn of_text(self, text: &str) -> Result<i64> {
        match parse_integer(text).filter(|value| (self.least..=self.greatest).contains(value)) {
            Some(value) => Ok(value),
            None => exec_err!("Cannot cast '{text}' to {}", self.text_name),
        }
    }

    /// Halves are rounded away from zero.
    fn of_double(self, value: f64, kind: &str, shown: &str) -> Result<i64> {
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        let rounded = value.round();
        let fits = (-LIMIT..LIMIT).contains(&rounded);
        if self.name == "bigint" {
            return if fits { Ok(saturating(rounded)) } else { exec_err!("Unable to cast {shown} to bigint") };
        }
        if value.is_nan() {
            return exec_err!("Cannot cast {kind} NaN to {}", self.name);
        }
        self.check(saturating(rounded), || shown.to_string())
    }

    fn of_decimal(self, value: i128, scale: i8) -> Result<i64> {
        let unit = 10_i128.checked_pow(u32::try_from(scale).unwrap_or(0)).unwrap_or(i128::MAX);
        let rest = value % unit;
        let rounded = value / unit + if rest.abs() >= unit - rest.abs() && rest != 0 { value.signum() } else { 0 };
        match i64::try_from(rounded) {
            Ok(value) if (self.least..=self.greatest).contains(&value) => Ok(value),
            _ => exec_err!("Cannot cast '{}' to {}", decimal_text(&value.to_string(), scale), self.name.to_uppercase()),
        }
    }
}

/// Reads each row of argument 0 as an integer of `width`.
fn integers(array: &ArrayRef, width: Width) -> Result<Box<dyn Fn(usize) -> Result<i64>>> {
    use DataType::*;
    Ok(match array.data_type() {
        text if is_text(text) => {
            let array = cast(array, &Utf8)?.as_string::<i32>().clone();
            Box::new(move |row| width.of_text(array.value(row)))
        }
        Boolean => {
            let array = array.as_boolean().clone();
            Box::new(move |row| Ok(i64::from(array.value(row))))
        }
        Float64 => {
            let array = array.as_primitive::<Float64Type>().clone();
            Box::new(move |row| width.of_double(array.value(row), "double", &java_double(array.value(row))))
        }
        Float32 => {
            let array = array.as_primitive::<Float32Type>().clone();
            Box::new(move |row| width.of_double(f64::from(array.value(row)), "real", &java_real(array.value(row))))
        }
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) => {
            let scale = *s;
            let array = cast(array, &Decimal128(*p, scale))?.as_primitive::<Decimal128Type>().clone();
            Box::new(move |row| width.of_decimal(array.value(row), scale))
        }
        _ => {
            let array = cast(array, &Int64)?.as_primitive::<Int64Type>().clone();
            Box::new(move |row| width.check(array.value(row), || array.value(row).to_string()))
        }
    })
}

fn is_numeric_source(data_type: &DataType) -> bool {
    use DataType::*;
    is_text(data_type)
        || data_type.is_integer()
        || matches!(data_type, Null | Boolean | Float32 | Float64 | Decimal32(..) | Decimal64(..) | Decimal128(..))
}

fn source(typing: &Typing<'_>, target: &str) -> Result<()> {
    match typing.kind(0) {
        kind if is_numeric_source(kind) => Ok(()),
        kind => plan_err!("Cannot cast {} to {target}", type_name(kind)),
    }
}

fn integer_type(typing: &Typing<'_>) -> Result<DataType> {
    let width = Width::find(&typing.text(1)?.unwrap_or_default())?;
    source(typing, width.name)?;
    Ok(width.data_type())
}

/// The result of a row, or NULL where errors are not to be seen.
pub(super) fn lenient<T>(result: Result<T>, lenient: bool) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(_) if lenient => Ok(None),
        Err(error) => Err(error),
    }
}

fn cast_integer(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    let width = match call.returns {
        DataType::Int8 => Width::find("tinyint"),
        DataType::Int16 => Width::find("smallint"),
        DataType::Int32 => Width::find("integer"),
        _ => Width::find("bigint"),
    }?;
    let input = call.input(0)?;
    let read = integers(&input.array, width)?;
    let value = |row: usize| {
        let row = if input.constant { 0 } else { row };
        // A null array has no buffer of nulls, but no value either.
        if input.array.is_null(row) || *input.array.data_type() == DataType::Null {
            return Ok(None);
        }
        lenient(read(row), forgive)
    };
    macro_rules! make {
        ($kind:ty, $native:ty) => {
            call.make::<$kind, _>(|row| Ok(value(row)?.and_then(|value| <$native>::try_from(value).ok())))
        };
    }
    match call.returns {
        DataType::Int8 => make!(Int8Type, i8),
        DataType::Int16 => make!(Int16Type, i16),
        DataType::Int32 => make!(Int32Type, i32),
        _ => make!(Int64Type, i64),
    }
}

/// Reads each row of argument 0 as a double; reals take the way through text that Trino's do.
fn cast_double(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    let input = call.input(0)?;
    if is_text(input.array.data_type()) {
        let texts = call.texts(0)?;
        let name = if *call.returns == DataType::Float32 { "REAL" } else { "DOUBLE" };
        let read = |row: usize| {
            let Some(text) = texts.get(row) else { return Ok(None) };
            let read = parse_double(text).map_or_else(|| exec_err!("Cannot cast '{text}' to {name}"), Ok);
            lenient(read, forgive)
        };
        if name == "REAL" {
            return call.make::<Float32Type, _>(|row| Ok(read(row)?.map(narrow)));
        }
        return call.make::<Float64Type, _>(read);
    }
    let at = super::text::index_of(call, 0)?;
    let array = cast(&input.array, &DataType::Float64)?.as_primitive::<Float64Type>().clone();
    let value = |row: usize| Ok(array.is_valid(at(row)).then(|| array.value(at(row))));
    if *call.returns == DataType::Float32 {
        return call.make::<Float32Type, _>(|row| Ok(value(row)?.map(narrow)));
    }
    call.make::<Float64Type, _>(value)
}

pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

fn cast_boolean(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    let input = call.input(0)?;
    if is_text(input.array.data_type()) {
        let texts = call.texts(0)?;
        return call.make_bools(|row| {
            let Some(text) = texts.get(row) else { return Ok(None) };
            lenient(parse_boolean(text).map_or_else(|| exec_err!("Cannot cast '{text}' to BOOLEAN"), Ok), forgive)
        });
    }
    if *input.array.data_type() == DataType::Boolean {
        let value = call.bools(0)?;
        return call.make_bools(|row| Ok(value(row)));
    }
    let at = super::text::index_of(call, 0)?;
    if let DataType::Decimal128(..) = input.array.data_type() {
        let array = input.array.as_primitive::<Decimal128Type>();
        return call.make_bools(|row| Ok(array.is_valid(at(row)).then(|| array.value(at(row)) != 0)));
    }
    let array = cast(&input.array, &DataType::Float64)?.as_primitive::<Float64Type>().clone();
    call.make_bools(|row| Ok(array.is_valid(at(row)).then(|| array.value(at(row)) != double(0))))
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let to =
        |target: &'static str, data_type: DataType| move |typing: &Typing<'_>| source(typing, target).map(|()| data_type.clone());
    for (names, forgive) in [
        (["owlet_cast_integer", "owlet_cast_double", "owlet_cast_real", "owlet_cast_boolean"], false),
        (["owlet_try_cast_integer", "owlet_try_cast_double", "owlet_try_cast_real", "owlet_try_cast_boolean"], true),
    ] {
        let [integer, double, real, boolean] = names.map(define);
        let any = [Arg::Any];
        functions.scalar.extend([
            integer.typed(&[Arg::Any, Arg::Text], None, integer_type, move |call| cast_integer(call, forgive)).udf(),
            double.typed(&any, None, to("double", DataType::Float64), move |call| cast_double(call, forgive)).udf(),
            real.typed(&any, None, to("real", DataType::Float32), move |call| cast_double(call, forgive)).udf(),
            boolean.typed(&any, None, to("boolean", DataType::Boolean), move |call| cast_boolean(call, forgive)).udf(),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_in_java() {
        assert_eq!(parse_integer("+5"), Some(5));
        assert_eq!(parse_integer("-9223372036854775808"), Some(i64::MIN));
        for text in ["", "-", " 5", "5 ", "5.0", "1_0", "9223372036854775808"] {
            assert_eq!(parse_integer(text), None, "{text}");
        }
        for (text, expected) in [(" 1.5 ", 1.5), ("-1e3", -1000.0), (".5", 0.5), ("2d", 2.0), ("-Infinity", f64::NEG_INFINITY)] {
            assert_eq!(parse_double(text), Some(expected), "{text}");
        }
        for text in ["", "inf", "nan", "infinity", "--1", "+-1", "1e", "x"] {
            assert_eq!(parse_double(text), None, "{text}");
        }
        assert_eq!(parse_boolean("TRUE"), Some(true));
        assert_eq!(parse_boolean("yes"), None);
    }

    #[test]
    fn doubles_have_javas_grammar() {
        for (text, wanted) in [
            ("1.5f", 1.5),
            ("2D", 2.0),
            ("0x1p3", 8.0),
            ("-0X.8P1", -1.0),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x0p0", 0.0),
            ("0x1p-1074", f64::from_bits(1)),
            (" 7\t", 7.0),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_double(text), Some(wanted), "{text}");
        }
        for text in ["", "inf", "nan", "infinity", "0x1", "0xp1", "0x1p", "1.5x", "--1", "1e", "0x-1p1"] {
            assert_eq!(parse_double(text), None, "{text}");
        }
        assert_eq!(parse_real("16777217"), Some(16_777_216.0));
        assert!(parse_real("NaN").is_some_and(f32::is_nan));
    }
}
