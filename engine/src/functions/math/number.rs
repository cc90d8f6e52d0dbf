//! Functions that keep the type of their number: rounding, sign, remainder, the greatest and the least.

use super::super::define::{Arg, Call, DAY_TIME, Typing, YEAR_MONTH, define, is_text};
use crate::functions::Functions;
use crate::functions::conversion::type_name;
use crate::functions::datetime::{double, java_round};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::kernels::nullif::nullif;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_null};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, DurationMillisecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalYearMonthType,
};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;

/// Greatest precision of a decimal.
const MAX_PRECISION: u8 = 38;
/// Beyond this a double has no fraction.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// Ten to the power of `scale`; more than any decimal when that is too large.
fn ten(scale: i64) -> i128 {
    u32::try_from(scale).ok().and_then(|scale| 10_i128.checked_pow(scale)).unwrap_or(i128::MAX)
}

/// How a number loses digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    /// Halves away from zero.
    Nearest,
    Up,
    Down,
    Cut,
}

impl Rounding {
    /// `value` in whole units of `unit`.
    fn divide(self, value: i128, unit: i128) -> i128 {
        let (whole, rest) = (value / unit, value % unit);
        match self {
            Self::Cut => whole,
            Self::Up => whole + i128::from(rest > 0),
            Self::Down => whole - i128::from(rest < 0),
            Self::Nearest if rest != 0 && rest.abs() >= unit - rest.abs() => whole + value.signum(),
            Self::Nearest => whole,
        }
    }

    fn double(self, value: f64) -> f64 {
        match self {
            Self::Cut => value.trunc(),
            Self::Up => value.ceil(),
            Self::Down => value.floor(),
            Self::Nearest => round_double(value, 0),
        }
    }
}

/// As Trino: the number is scaled, rounded and scaled back in double.
fn round_double(value: f64, decimals: i64) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let factor = 10_f64.powf(double(decimals));
    let scaled = value.abs() * factor;
    if !scaled.is_finite() || (scaled >= WHOLE && decimals >= 0) {
        return value;
    }
    (double(java_round(scaled)) / factor).copysign(value)
}

fn map<T: ArrowPrimitiveType>(call: &Call<'_>, f: impl Fn(T::Native) -> Result<T::Native>) -> Result<ArrayRef> {
    let values = call.values::<T>(0)?;
    call.make::<T, _>(|row| values.get(row).map(&f).transpose())
}

fn scale_of(data_type: &DataType) -> i64 {
    match data_type {
        DataType::Decimal128(_, scale) => i64::from(*scale),
        _ => 0,
    }
}

fn real(value: f64) -> f32 {
    value as f32
}

/// Rounds to a whole number; integers stay.
fn to_whole(call: &Call<'_>, rounding: Rounding) -> Result<ArrayRef> {
    let input = call.input(0)?;
    match input.array.data_type() {
        DataType::Float64 => map::<Float64Type>(call, |value| Ok(rounding.double(value))),
        DataType::Float32 => map::<Float32Type>(call, |value| Ok(real(rounding.double(f64::from(value))))),
        DataType::Decimal128(_, scale) => {
            let unit = ten(i64::from(*scale));
            map::<Decimal128Type>(call, |value| Ok(rounding.divide(value, unit)))
        }
        _ => map_integers(call, Ok),
    }
}

/// Applies `f` to integers of any width; what no longer fits the width is an error.
fn map_integers(call: &Call<'_>, f: impl Fn(i64) -> Result<i64>) -> Result<ArrayRef> {
    macro_rules! of {
        ($kind:ty, $native:ty) => {
            map::<$kind>(call, |value| {
                let result = f(i64::from(value))?;
                <$native>::try_from(result).or_else(|_| exec_err!("Out of range for {}: {result}", type_name(call.returns)))
            })
        };
    }
    match call.returns {
        DataType::Int8 => of!(Int8Type, i8),
        DataType::Int16 => of!(Int16Type, i16),
        DataType::Int32 => of!(Int32Type, i32),
        _ => map::<Int64Type>(call, f),
    }
}

/// The decimal of the whole part: one digit more where rounding may carry.
fn whole_type(carry: bool) -> impl Fn(&Typing<'_>) -> Result<DataType> {
    move |typing| match typing.kind(0) {
        DataType::Decimal128(precision, scale) => {
            let whole = i16::from(*precision) - i16::from(*scale) + i16::from(carry && *scale > 0);
            let precision = u8::try_from(whole.clamp(1, i16::from(MAX_PRECISION))).unwrap_or(MAX_PRECISION);
            Ok(DataType::Decimal128(precision, 0))
        }
        other => Ok(other.clone()),
    }
}

/// Integers and decimals to `decimals` digits after the point.
fn to_digits(value: i128, scale: i64, decimals: i64, rounding: Rounding) -> Result<i128> {
    if decimals >= scale {
        return Ok(value);
    }
    let unit = ten(scale.saturating_sub(decimals));
    match rounding.divide(value, unit).checked_mul(unit) {
        Some(rounded) if rounded.abs() < ten(i64::from(MAX_PRECISION)) => Ok(rounded),
        _ => exec_err!("numerical overflow: {value}"),
    }
}

fn digits_body(rounding: Rounding) -> impl Fn(&Call<'_>) -> Result<ArrayRef> {
    move |call| {
        let decimals = call.values::<Int64Type>(1)?;
        let scale = scale_of(call.input(0)?.array.data_type());
        macro_rules! of {
            ($kind:ty, $f:expr) => {{
                let values = call.values::<$kind>(0)?;
                call.make::<$kind, _>(|row| {
                    values.get(row).zip(decimals.get(row)).map(|(value, decimals)| $f(value, decimals)).transpose()
                })
            }};
        }
        let whole = |value: i64, decimals: i64| -> Result<i64> {
            let rounded = to_digits(i128::from(value), 0, decimals, rounding)?;
            i64::try_from(rounded).or_else(|_| exec_err!("numerical overflow: {value}"))
        };
        macro_rules! integer {
            ($kind:ty, $native:ty) => {
                of!($kind, |value: $native, decimals| {
                    let rounded = whole(i64::from(value), decimals)?;
                    <$native>::try_from(rounded).or_else(|_| exec_err!("Out of range for {}: {rounded}", type_name(call.returns)))
                })
            };
        }
        match call.input(0)?.array.data_type() {
            DataType::Float64 => of!(Float64Type, |value, decimals| Ok(round_double(value, decimals))),
            DataType::Float32 => {
                of!(Float32Type, |value, decimals| Ok(real(round_double(f64::from(value), decimals))))
            }
            DataType::Decimal128(..) => {
                of!(Decimal128Type, |value, decimals| to_digits(value, scale, decimals, rounding))
            }
            DataType::Int8 => integer!(Int8Type, i8),
            DataType::Int16 => integer!(Int16Type, i16),
            DataType::Int32 => integer!(Int32Type, i32),
            _ => of!(Int64Type, whole),
        }
    }
}

fn digits_type(carry: bool, floats: bool) -> impl Fn(&Typing<'_>) -> Result<DataType> {
    move |typing| match typing.kind(0) {
        DataType::Decimal128(p, s) => Ok(DataType::Decimal128((p + u8::from(carry)).min(MAX_PRECISION), *s)),
        kind @ (DataType::Float32 | DataType::Float64) if !floats => {
            plan_err!("Unexpected parameters ({}, integer) for function {}", type_name(kind), typing.name)
        }
        other => Ok(other.clone()),
    }
}

fn abs(call: &Call<'_>) -> Result<ArrayRef> {
    match call.returns {
        DataType::Float64 => map::<Float64Type>(call, |value| Ok(value.abs())),
        DataType::Float32 => map::<Float32Type>(call, |value| Ok(value.abs())),
        DataType::Decimal128(..) => map::<Decimal128Type>(call, |value| Ok(value.wrapping_abs())),
        kind => {
            let least = match kind {
                DataType::Int8 => i64::from(i8::MIN),
                DataType::Int16 => i64::from(i16::MIN),
                DataType::Int32 => i64::from(i32::MIN),
                _ => i64::MIN,
            };
            map_integers(call, |value| match value.checked_abs() {
                Some(result) if value != least => Ok(result),
                _ => exec_err!("Value {value} is out of range for abs({})", type_name(kind)),
            })
        }
    }
}

/// The sign; of a double the zeros and NaN stay.
fn sign(call: &Call<'_>) -> Result<ArrayRef> {
    let of_double = |value: f64| if value == 0.0 || value.is_nan() { value } else { value.signum() };
    match call.input(0)?.array.data_type() {
        DataType::Float64 => map::<Float64Type>(call, |value| Ok(of_double(value))),
        DataType::Float32 => map::<Float32Type>(call, |value| Ok(real(of_double(f64::from(value))))),
        DataType::Decimal128(..) => map::<Decimal128Type>(call, |value| Ok(value.signum())),
        _ => map_integers(call, |value| Ok(value.signum())),
    }
}

fn sign_type(typing: &Typing<'_>) -> Result<DataType> {
    Ok(match typing.kind(0) {
        DataType::Decimal128(..) => DataType::Decimal128(1, 0),
        other => other.clone(),
    })
}

/// The decimal that holds an integer type.
fn decimal_of(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Decimal128(p, s) => (*p, *s),
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (19, 0),
        _ => return None,
    })
}

/// The type that two numbers are brought to.
fn common(a: &DataType, b: &DataType) -> Result<DataType> {
    use DataType::*;
    if a == b {
        return Ok(a.clone());
    }
    match (a, b) {
        (Float64, _) | (_, Float64) => return Ok(Float64),
        (Float32, _) | (_, Float32) => return Ok(Float32),
        _ => {}
    }
    match (decimal_of(a), decimal_of(b)) {
        (Some((p, _)), Some((q, _))) if a.is_integer() && b.is_integer() => Ok(if p >= q { a.clone() } else { b.clone() }),
        (Some((p, s)), Some((q, t))) => {
            let scale = s.max(t);
            let whole = (i16::from(p) - i16::from(s)).max(i16::from(q) - i16::from(t));
            let precision = u8::try_from((whole + i16::from(scale)).clamp(1, 38)).unwrap_or(MAX_PRECISION);
            Ok(Decimal128(precision, scale))
        }
        _ => plan_err!("{} and {} have no common type", type_name(a), type_name(b)),
    }
}

/// Types that are compared with each other as they are; a timestamp only with those of its own time zone.
fn group(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Boolean => Some("boolean".into()),
        DataType::Time32(_) | DataType::Time64(_) => Some("time".into()),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, None) => Some("date".into()),
        DataType::Timestamp(_, Some(zone)) => Some(zone.to_string()),
        span @ (&DAY_TIME | &YEAR_MONTH) => Some(type_name(span)),
        _ => None,
    }
}

fn common_type(typing: &Typing<'_>) -> Result<DataType> {
    let mut types = typing.types.iter();
    let Some(first) = types.next() else { return plan_err!("{} takes at least one argument", typing.name) };
    let all_numbers = typing.types.iter().all(|kind| decimal_of(kind).is_some() || kind.is_floating() || kind.is_null());
    if typing.types.iter().all(DataType::is_null) {
        return Ok(DataType::Null);
    }
    if all_numbers {
        let known: Vec<&DataType> = typing.types.iter().filter(|kind| !kind.is_null()).collect();
        let start = known.first().copied().unwrap_or(first).clone();
        return known.iter().try_fold(start, |sum, kind| common(&sum, kind));
    }
    if typing.types.iter().all(|kind| is_text(kind) || kind.is_null()) {
        return Ok(DataType::Utf8);
    }
    let known: Vec<DataType> = typing.types.iter().filter(|kind| !kind.is_null()).cloned().collect();
    if known.iter().all(|kind| group(kind).is_some() && group(kind) == known.first().and_then(group))
        && let Some(kind) = type_union_resolution(&known)
    {
        return Ok(kind);
    }
    let shown: Vec<String> = typing.types.iter().map(type_name).collect();
    plan_err!("Unexpected parameters ({}) for function {}", shown.join(", "), typing.name)
}

/// Argument `index`, a value for each row, in the type of the result.
fn widened(call: &Call<'_>, index: usize) -> Result<ArrayRef> {
    let input = call.input(index)?;
    let array = cast(&input.array, call.returns)?;
    if !input.constant || call.rows == array.len() {
        return Ok(array);
    }
    datafusion::common::ScalarValue::try_from_array(&array, 0)?.to_array_of_size(call.rows)
}

/// The greatest or the least of the arguments; NULL where one is, and NaN only where all are.
fn extreme(call: &Call<'_>, greatest: bool) -> Result<ArrayRef> {
    let mut best = widened(call, 0)?;
    for index in 1..call.inputs.len() {
        let next = widened(call, index)?;
        let mut take = if greatest { gt(&next, &best)? } else { lt(&next, &best)? };
        if greatest && call.returns.is_floating() {
            // The kernel sorts NaN above all numbers.
            let nan = |array: &ArrayRef| -> Result<arrow::array::BooleanArray> {
                let doubles = cast(array, &DataType::Float64)?;
                Ok(doubles.as_primitive::<Float64Type>().iter().map(|value| value.map(f64::is_nan)).collect())
            };
            let (next_is, best_is) = (nan(&next)?, nan(&best)?);
            take = take
                .iter()
                .zip(next_is.iter().zip(best_is.iter()))
                .map(|(take, (next_is, best_is))| Some(take? && next_is != Some(true) || best_is == Some(true)))
                .collect();
        }
        let either = arrow::compute::or(&is_null(&next)?, &is_null(&best)?)?;
        best = nullif(&zip(&take, &next, &best)?, &either)?;
    }
    Ok(best)
}

/// Both arguments in the type of the result, row by row.
fn pairs<T: ArrowPrimitiveType>(call: &Call<'_>, f: impl Fn(T::Native, T::Native) -> Result<T::Native>) -> Result<ArrayRef> {
    let (a, b) = (widened(call, 0)?, widened(call, 1)?);
    let (a, b) = (a.as_primitive::<T>(), b.as_primitive::<T>());
    call.make::<T, _>(|row| {
        if a.is_null(row) || b.is_null(row) {
            return Ok(None);
        }
        f(a.value(row), b.value(row)).map(Some)
    })
}

fn modulo(call: &Call<'_>) -> Result<ArrayRef> {
    macro_rules! of {
        ($kind:ty) => {
            pairs::<$kind>(call, |a, b| if b == 0 { exec_err!("Division by zero") } else { Ok(a.wrapping_rem(b)) })
        };
    }
    match call.returns {
        DataType::Int8 => of!(Int8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::Float32 => pairs::<Float32Type>(call, |a, b| Ok(a % b)),
        DataType::Float64 => pairs::<Float64Type>(call, |a, b| Ok(a % b)),
        _ => of!(Decimal128Type),
    }
}

fn negate(call: &Call<'_>) -> Result<ArrayRef> {
    match call.returns {
        DataType::Float64 => map::<Float64Type>(call, |value| Ok(-value)),
        DataType::Float32 => map::<Float32Type>(call, |value| Ok(-value)),
        DataType::Decimal128(..) => map::<Decimal128Type>(call, |value| Ok(value.wrapping_neg())),
        &DAY_TIME => map::<DurationMillisecondType>(call, |millis| Ok(millis.wrapping_neg())),
        &YEAR_MONTH => map::<IntervalYearMonthType>(call, |months| Ok(months.wrapping_neg())),
        kind => map_integers(call, |value| match value.checked_neg() {
            Some(result) => Ok(result),
            None => exec_err!("{} negation overflow: {value}", type_name(kind)),
        }),
    }
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let list = &mut functions.scalar;
    let same = |typing: &Typing<'_>| Ok(typing.kind(0).clone());
    let number = [Arg::Number];
    let digits = [Arg::Number, Arg::Bigint];
    for (name, aliases, rounding, carry) in
        [("ceil", &["ceiling"][..], Rounding::Up, true), ("floor", &[][..], Rounding::Down, true)]
    {
        let body = move |call: &Call<'_>| to_whole(call, rounding);
        list.push(define(name).alias(aliases).typed(&number, None, whole_type(carry), body).udf());
    }
    list.extend([
        define("round")
            .typed(&number, None, whole_type(true), |call| to_whole(call, Rounding::Nearest))
            .typed(&digits, None, digits_type(true, true), digits_body(Rounding::Nearest))
            .udf(),
        define("truncate")
            .typed(&number, None, whole_type(false), |call| to_whole(call, Rounding::Cut))
            .typed(&digits, None, digits_type(false, false), digits_body(Rounding::Cut))
            .udf(),
        define("abs").typed(&number, None, same, abs).udf(),
        define("sign").typed(&number, None, sign_type, sign).udf(),
        define("mod").typed(&[Arg::Number, Arg::Number], None, common_type, modulo).udf(),
        define("greatest").typed(&[Arg::Any], Some(Arg::Any), common_type, |call| extreme(call, true)).udf(),
        define("least").typed(&[Arg::Any], Some(Arg::Any), common_type, |call| extreme(call, false)).udf(),
        define("owlet_negate").typed(&number, None, same, negate).typed(&[Arg::Span], None, same, negate).udf(),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_zero() {
        for (value, decimals, expected) in [
            (2.5, 0, 3.0),
            (-2.5, 0, -3.0),
            (2.567, 2, 2.57),
            (1234.5, -2, 1200.0),
            (1e300, 5, 1e300),
            (0.499_999_999_999_999_94, 0, 0.0),
        ] {
            assert_eq!(round_double(value, decimals), expected, "{value} {decimals}");
        }
        assert_eq!(Rounding::Nearest.divide(-25, 10), -3);
        assert_eq!(Rounding::Nearest.divide(24, 10), 2);
        assert_eq!(Rounding::Up.divide(-25, 10), -2);
        assert_eq!(Rounding::Down.divide(-25, 10), -3);
        assert_eq!(to_digits(1255, 2, 1, Rounding::Nearest).unwrap(), 1260);
        assert_eq!(to_digits(-155, 0, -1, Rounding::Nearest).unwrap(), -160);
        assert_eq!(to_digits(5, 0, -40, Rounding::Nearest).unwrap(), 0);
    }
}
