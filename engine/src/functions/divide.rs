//! Division and remainder of decimals to Trino's digits, with twice as many digits in between, and the same with NULL where they fail.

use super::Functions;
use super::define::{Arg, Call, Scalar, Typing, Values, define};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Decimal128Type, i256};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};

const MAX_DIGITS: u8 = 38;
/// The divisions by their own names, and those in TRY.
pub const DIVIDE: [&str; 2] = ["owlet_divide_decimal", "owlet_try_divide_decimal"];
/// The remainder.
pub const MODULO: &str = "owlet_modulo_decimal";

/// Adds the functions of this file.
pub(super) fn add_to(functions: &mut Functions) {
    let two = [Arg::Number, Arg::Number];
    let division = |name: &'static str, null_on_failure: bool| -> Scalar {
        define(name).typed(&two, None, quotient_type, move |call| each(call, null_on_failure, quotient))
    };
    functions.scalar.extend([
        division(DIVIDE[0], false).udf(),
        division(DIVIDE[1], true).udf(),
        define(MODULO).typed(&two, None, remainder_type, |call| each(call, false, remainder)).udf(),
    ]);
}

fn digits(of: &DataType) -> Option<(u8, i8)> {
    match of {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

fn operands(typing: &Typing<'_>) -> Result<((u8, i8), (u8, i8))> {
    match (digits(typing.kind(0)), digits(typing.kind(1))) {
        (Some(left), Some(right)) => Ok((left, right)),
        _ => plan_err!("{} takes decimals", typing.name),
    }
}

fn quotient_type(typing: &Typing<'_>) -> Result<DataType> {
    let ((left, left_scale), (_, right_scale)) = operands(typing)?;
    let more = i16::from(right_scale) + (i16::from(right_scale) - i16::from(left_scale)).max(0);
    let precision = u8::try_from(i16::from(left) + more).unwrap_or(MAX_DIGITS).min(MAX_DIGITS);
    Ok(DataType::Decimal128(precision, left_scale.max(right_scale)))
}

fn remainder_type(typing: &Typing<'_>) -> Result<DataType> {
    let ((left, left_scale), (right, right_scale)) = operands(typing)?;
    let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    let scale = left_scale.max(right_scale);
    let precision = whole(left, left_scale).min(whole(right, right_scale)) + i16::from(scale);
    Ok(DataType::Decimal128(u8::try_from(precision).unwrap_or(MAX_DIGITS).clamp(1, MAX_DIGITS), scale))
}

/// How many zeros each side of an operation gets.
type Shifts = (u32, u32);

fn each(call: &Call<'_>, null_on_failure: bool, one: fn(i128, i128, Shifts) -> Result<i128>) -> Result<ArrayRef> {
    let (left, right): (Values<Decimal128Type>, Values<Decimal128Type>) = (call.values(0)?, call.values(1)?);
    let scale_of =
        |index: usize| Ok::<_, DataFusionError>(digits(call.input(index)?.array.data_type()).map_or(0, |(_, scale)| scale));
    let (left_scale, right_scale) = (scale_of(0)?, scale_of(1)?);
    let Some((precision, scale)) = digits(call.returns) else { return exec_err!("{} gives a decimal", call.name) };
    let zeros = |own: i8| u32::try_from(i16::from(scale) - i16::from(own)).unwrap_or(0);
    // To the remainder both sides have the scale of the result.
    let shifts =
        (zeros(left_scale), if call.name == MODULO { zeros(right_scale) } else { u32::try_from(right_scale).unwrap_or(0) });
    let most = 10_i128.pow(u32::from(precision)) - 1;
    let fitting = |value: i128| match value.abs() <= most {
        true => Ok(value),
        false => exec_err!("Decimal overflow"),
    };
    call.make::<Decimal128Type, _>(|row| {
        let Some((left, right)) = left.get(row).zip(right.get(row)) else { return Ok(None) };
        if right == 0 {
            return if null_on_failure {
                Ok(None)
            } else {
                Err(DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None))
            };
        }
        match one(left, right, shifts).and_then(fitting) {
            Err(_) if null_on_failure => Ok(None),
            other => other.map(Some),
        }
    })
}

fn overflow() -> DataFusionError {
    DataFusionError::Execution("Decimal overflow".into())
}

fn ten(power: u32) -> i256 {
    i256::from_i128(10_i128.pow(power.min(38)))
}

/// `left` with as many zeros as both say, divided by `right`; halves go away from zero.
fn quotient(left: i128, right: i128, (own, others): Shifts) -> Result<i128> {
    let zeros = own + others;
    if let Some(shifted) = 10_i128.checked_pow(zeros).and_then(|ten| left.checked_mul(ten)) {
        let (whole, rest) = (shifted.wrapping_div(right), shifted.wrapping_rem(right));
        let is_up = rest.unsigned_abs() >= right.unsigned_abs() - rest.unsigned_abs();
        return Ok(if is_up { whole + if (left < 0) == (right < 0) { 1 } else { -1 } } else { whole });
    }
    // 38 digits and 38 zeros are what 256 bits have room for; what is left is divided with the zeros that follow.
    let (first, second) = (zeros.min(38), zeros.saturating_sub(38));
    let (dividend, divisor) = (i256::from_i128(left).wrapping_abs(), i256::from_i128(right).wrapping_abs());
    let step = |value: i256, zeros: u32| {
        let value = value.checked_mul(ten(zeros)).ok_or_else(overflow)?;
        Ok::<_, DataFusionError>((value.wrapping_div(divisor), value.wrapping_rem(divisor)))
    };
    let (mut whole, mut rest) = step(dividend, first)?;
    if second > 0 {
        let (more, last) = step(rest, second)?;
        whole = whole.checked_mul(ten(second)).and_then(|whole| whole.checked_add(more)).ok_or_else(overflow)?;
        rest = last;
    }
    if rest >= divisor.wrapping_sub(rest) {
        whole = whole.wrapping_add(i256::ONE);
    }
    let whole = whole.to_i128().ok_or_else(overflow)?;
    Ok(if (left < 0) == (right < 0) { whole } else { -whole })
}

/// What is left of `left`; it has the sign of `left`.
fn remainder(left: i128, right: i128, (left_zeros, right_zeros): Shifts) -> Result<i128> {
    let shifted = |value: i128, zeros: u32| i256::from_i128(value).checked_mul(ten(zeros)).ok_or_else(overflow);
    let rest = shifted(left, left_zeros)?.wrapping_rem(shifted(right, right_zeros)?);
    rest.to_i128().ok_or_else(overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_half_up_and_have_room() {
        for (left, right, shifts, expected) in [
            (1, 3, (10, 0), 3_333_333_333),
            (2, 3, (10, 0), 6_666_666_667),
            (-2, 3, (10, 0), -6_666_666_667),
            (5, -10, (0, 0), -1),
            (4, 10, (0, 0), 0),
            // decimal(38,18) both: 123456.789 / 3.5
            (123_456_789_000_000_000_000_000, 3_500_000_000_000_000_000, (0, 18), 35_273_368_285_714_285_714_286),
            // decimal(38,0) / decimal(38,30): 1 / 5
            (1, 5 * 10_i128.pow(30), (30, 30), 2 * 10_i128.pow(29)),
        ] {
            assert_eq!(quotient(left, right, shifts).ok(), Some(expected), "{left} / {right}");
        }
        assert!(quotient(10_i128.pow(37), 1, (38, 38)).is_err());
    }

    #[test]
    fn remainders_have_the_sign_of_the_dividend() {
        let most = 10_i128.pow(38) - 1;
        for (left, right, shifts, expected) in
            [(105, 3, (0, 1), 15), (-105, 3, (0, 1), -15), (most, 7, (38, 0), 2), (7, most, (0, 38), 7)]
        {
            assert_eq!(remainder(left, right, shifts).ok(), Some(expected), "{left} % {right}");
        }
    }
}
