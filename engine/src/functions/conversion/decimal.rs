//! CAST to decimals, by the digits that the value shows.

use super::super::define::{Arg, Call, Typing, define, is_text};
use super::number::lenient;
use super::text::{JAVA, index_of, writer};
use super::types::type_name;
use crate::functions::Functions;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{Result, exec_err, plan_err};

/// Name of the function of a value, a precision and a scale that gives a decimal, or NULL.
pub const TRY_CAST_DECIMAL: &str = "owlet_try_cast_decimal";
/// Greatest precision of a decimal.
const MAX_PRECISION: u8 = 38;
/// Longest number that is read, and largest power of ten.
const MAX_DIGITS: usize = 10_000;

/// Reads a number with point and power of ten, and rounds it to `scale` digits after the point; halves away from zero.
/// `None` when it is no number; the inner `None` when it is too large for any decimal.
fn read(text: &str, scale: i64) -> Option<Option<i128>> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let power: i64 = power.parse().ok()?;
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // How many of the digits stay, or how many zeros follow them.
    let kept = i64::try_from(whole.len()).ok()?.checked_add(power)?.checked_add(scale)?;
    let taken = usize::try_from(kept).unwrap_or(0);
    let mut value: i128 = 0;
    let significant = digits.iter().skip_while(|digit| **digit == b'0').count();
    let zero = significant == 0;
    let leading = digits.len() - significant;
    if !zero && taken.saturating_sub(leading) > usize::from(MAX_PRECISION) {
        return Some(None);
    }
    for index in leading..taken.max(leading) {
        let digit = digits.get(index).map_or(0, |digit| i128::from(digit - b'0'));
        if zero {
            break;
        }
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let up = kept >= 0 && digits.get(taken).is_some_and(|digit| *digit >= b'5');
    value += i128::from(up);
    Some(Some(if negative { -value } else { value }))
}

/// The unscaled decimal that `text` is at this precision and scale; `None` when it is no number, or too large.
pub(in crate::functions) fn parse(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let limit = 10_i128.pow(u32::from(precision.min(MAX_PRECISION)));
    read(text, i64::from(scale)).flatten().filter(|value| value.abs() < limit)
}

fn decimal_type(typing: &Typing<'_>) -> Result<DataType> {
    let source = typing.kind(0);
    if !(is_text(source) || source.is_numeric() || matches!(source, DataType::Boolean | DataType::Null)) {
        return plan_err!("Cannot cast {} to decimal", type_name(source));
    }
    let precision = u8::try_from(typing.integer(1)?).ok().filter(|precision| (1..=MAX_PRECISION).contains(precision));
    let scale = i8::try_from(typing.integer(2)?).ok();
    match (precision, scale) {
        (Some(precision), Some(scale @ 0..)) if scale.cast_unsigned() <= precision => Ok(DataType::Decimal128(precision, scale)),
        _ => plan_err!("DECIMAL precision must be in range [1, 38] and its scale at most that"),
    }
}

fn cast_decimal(call: &Call<'_>, forgive: bool) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, scale) = *call.returns else { return exec_err!("{} gives decimals", call.name) };
    let array = &call.input(0)?.array;
    let write = writer(array, None, JAVA)?;
    let at = index_of(call, 0)?;
    let kind = type_name(array.data_type()).to_uppercase();
    call.make::<Decimal128Type, _>(|row| {
        let Some(text) = write(at(row))? else { return Ok(None) };
        let number = match text.as_str() {
            "true" if kind == "BOOLEAN" => "1",
            "false" if kind == "BOOLEAN" => "0",
            other => other,
        };
        let value = match parse(number, precision, scale) {
            Some(value) => Ok(value),
            None => exec_err!("Cannot cast {kind} '{text}' to DECIMAL({precision}, {scale})"),
        };
        lenient(value, forgive)
    })
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    for (name, forgive) in [("owlet_cast_decimal", false), (TRY_CAST_DECIMAL, true)] {
        let args = [Arg::Any, Arg::Bigint, Arg::Bigint];
        functions.scalar.push(define(name).typed(&args, None, decimal_type, move |call| cast_decimal(call, forgive)).udf());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_by_their_digits() {
        for (text, scale, expected) in [
            ("1.005", 2, 101),
            ("-1.005", 2, -101),
            ("1.0049999", 2, 100),
            ("0.5", 0, 1),
            ("0.05", 0, 0),
            ("0.06", 1, 1),
            ("12E3", 1, 120_000),
            ("1.5E-1", 2, 15),
            (".5", 1, 5),
            ("5.", 0, 5),
            ("000123", 0, 123),
            ("9.99", 1, 100),
            ("0e99999", 2, 0),
        ] {
            assert_eq!(read(text, scale), Some(Some(expected)), "{text}");
        }
        assert_eq!(read("1e39", 0), Some(None));
        for text in ["", ".", "-", " 1", "1 ", "NaN", "1e", "0x1", "1,5"] {
            assert_eq!(read(text, 2), None, "{text}");
        }
    }
}
