//! Numbers of paths: the types that Trino gives them, and its arithmetic and order of each pair of types.

use super::{Comparison, Operator};
use crate::functions::conversion::{decimal_text, java_double, java_real, parse_integer};
use arrow::datatypes::i256;
use std::cmp::Ordering;

/// Greatest precision of a decimal.
const MAX_PRECISION: u8 = 38;

/// The types of integers, narrow ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::functions::json) enum Width {
    Tiny,
    Small,
    Integer,
    Big,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::functions::json) enum Number {
    Int(Width, i64),
    Double(f64),
    Real(f32),
    /// An unscaled value, its precision and its scale.
    Decimal(i128, u8, u8),
}

/// Two numbers as values of one type.
enum Pair {
    Ints(Width, i64, i64),
    Doubles(f64, f64),
    Reals(f32, f32),
    Decimals(Decimal, Decimal),
}

#[derive(Clone, Copy)]
struct Decimal {
    value: i128,
    precision: u8,
    scale: u8,
}

type Computed = Result<Number, String>;

impl Width {
    fn fits(self, value: i64) -> bool {
        match self {
            Self::Tiny => i8::try_from(value).is_ok(),
            Self::Small => i16::try_from(value).is_ok(),
            Self::Integer => i32::try_from(value).is_ok(),
            Self::Big => true,
        }
    }

    /// The digits of a decimal that holds all values.
    fn digits(self) -> u8 {
        match self {
            Self::Tiny => 3,
            Self::Small => 5,
            Self::Integer => 10,
            Self::Big => 19,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tinyint",
            Self::Small => "smallint",
            Self::Integer => "integer",
            Self::Big => "bigint",
        }
    }

    fn of(self, value: Option<i64>, what: &str) -> Computed {
        let value = value.filter(|value| self.fits(*value));
        value.map(|value| Number::Int(self, value)).ok_or_else(|| format!("{} {what} overflow", self.name()))
    }
}

impl Number {
    /// A whole number as JSON and paths have it: an integer, or a bigint where that is too small. `None` beyond that.
    pub(in crate::functions::json) fn integer(digits: &str) -> Option<Self> {
        let value = parse_integer(digits)?;
        Some(Self::Int(if Width::Integer.fits(value) { Width::Integer } else { Width::Big }, value))
    }

    /// A number with a point, with the digits that are written.
    pub(super) fn decimal(text: &str) -> Option<Self> {
        let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |unsigned| ("-", unsigned));
        let (whole, fraction) = unsigned.split_once('.')?;
        let whole = whole.trim_start_matches('0');
        let precision = u8::try_from(whole.len() + fraction.len()).ok()?.max(1);
        if precision > MAX_PRECISION {
            return None;
        }
        let value = format!("{sign}0{whole}{fraction}").parse().ok()?;
        Some(Self::Decimal(value, precision, u8::try_from(fraction.len()).ok()?))
    }

    /// As JSON; what is not finite has no number there, and is a text as in Jackson.
    pub(in crate::functions::json) fn json_text(self) -> String {
        let finite = |is_finite: bool, text: String| if is_finite { text } else { format!("\"{text}\"") };
        match self {
            Self::Int(_, value) => value.to_string(),
            Self::Double(value) => finite(value.is_finite(), java_double(value)),
            Self::Real(value) => finite(value.is_finite(), java_real(value)),
            Self::Decimal(value, _, scale) => big_decimal_text(value, scale),
        }
    }

    pub(super) fn to_double(self) -> f64 {
        match self {
            Self::Int(_, value) => value as f64,
            Self::Double(value) => value,
            Self::Real(value) => f64::from(value),
            // Digits of a short one are exact, and so is a power of ten that it has.
            Self::Decimal(value, precision, scale) if precision <= 18 => value as f64 / 10_f64.powi(i32::from(scale)),
            Self::Decimal(value, _, scale) => decimal_text(&value.to_string(), scale.cast_signed()).parse().unwrap_or(f64::NAN),
        }
    }

    fn to_real(self) -> f32 {
        match self {
            Self::Int(_, value) => value as f32,
            Self::Real(value) => value,
            other => other.to_double() as f32,
        }
    }

    fn to_decimal(self) -> Option<Decimal> {
        match self {
            Self::Int(width, value) => Some(Decimal { value: value.into(), precision: width.digits(), scale: 0 }),
            Self::Decimal(value, precision, scale) => Some(Decimal { value, precision, scale }),
            _ => None,
        }
    }

    fn pair(self, other: Self) -> Pair {
        if let (Self::Int(left_width, left), Self::Int(right_width, right)) = (self, other) {
            return Pair::Ints(left_width.max(right_width), left, right);
        }
        match (self.to_decimal(), other.to_decimal()) {
            (Some(left), Some(right)) => Pair::Decimals(left, right),
            _ if matches!(self, Self::Double(_)) || matches!(other, Self::Double(_)) => {
                Pair::Doubles(self.to_double(), other.to_double())
            }
            _ => Pair::Reals(self.to_real(), other.to_real()),
        }
    }

    /// # Errors
    /// With what went wrong, for people.
    pub(super) fn compute(self, operator: Operator, other: Self) -> Computed {
        use Operator::{Add, Divide, Modulus, Multiply, Subtract};
        match self.pair(other) {
            Pair::Ints(width, left, right) => match operator {
                Add => width.of(left.checked_add(right), "addition"),
                Subtract => width.of(left.checked_sub(right), "subtraction"),
                Multiply => width.of(left.checked_mul(right), "multiplication"),
                Divide | Modulus if right == 0 => Err("Division by zero".into()),
                Divide => width.of(left.checked_div(right), "division"),
                Modulus => width.of(Some(left.checked_rem(right).unwrap_or(0)), "modulus"),
            },
            Pair::Doubles(left, right) => Ok(Self::Double(match operator {
                Add => left + right,
                Subtract => left - right,
                Multiply => left * right,
                Divide => left / right,
                Modulus => left % right,
            })),
            Pair::Reals(left, right) => Ok(Self::Real(match operator {
                Add => left + right,
                Subtract => left - right,
                Multiply => left * right,
                Divide => left / right,
                Modulus => left % right,
            })),
            Pair::Decimals(left, right) => left.compute(operator, right),
        }
    }

    pub(super) fn compare(self, comparison: Comparison, other: Self) -> bool {
        let order = match self.pair(other) {
            Pair::Ints(_, left, right) => Some(left.cmp(&right)),
            Pair::Doubles(left, right) => left.partial_cmp(&right),
            Pair::Reals(left, right) => left.partial_cmp(&right),
            Pair::Decimals(left, right) => {
                let scale = left.scale.max(right.scale);
                left.scaled(scale).zip(right.scaled(scale)).map(|(left, right)| left.cmp(&right))
            }
        };
        comparison.holds(order)
    }

    /// # Errors
    /// Where the type has no such value.
    pub(super) fn negated(self) -> Computed {
        match self {
            Self::Int(width, value) => width.of(value.checked_neg(), "negation"),
            Self::Double(value) => Ok(Self::Double(-value)),
            Self::Real(value) => Ok(Self::Real(-value)),
            Self::Decimal(value, precision, scale) => Ok(Self::Decimal(-value, precision, scale)),
        }
    }

    /// # Errors
    /// Where the type has no such value.
    pub(super) fn absolute(self) -> Computed {
        match self {
            Self::Int(_, value) if value < 0 => self.negated(),
            Self::Double(value) => Ok(Self::Double(value.abs())),
            Self::Real(value) => Ok(Self::Real(value.abs())),
            Self::Decimal(value, precision, scale) => Ok(Self::Decimal(value.abs(), precision, scale)),
            Self::Int(..) => Ok(self),
        }
    }

    pub(super) fn ceiling(self) -> Self {
        self.whole(f64::ceil, f32::ceil, |value, unit| -(-value).div_euclid(unit))
    }

    pub(super) fn floor(self) -> Self {
        self.whole(f64::floor, f32::floor, i128::div_euclid)
    }

    fn whole(self, double: fn(f64) -> f64, real: fn(f32) -> f32, decimal: fn(i128, i128) -> i128) -> Self {
        match self {
            Self::Int(..) => self,
            Self::Double(value) => Self::Double(double(value)),
            Self::Real(value) => Self::Real(real(value)),
            Self::Decimal(value, precision, scale) => {
                let unit = 10_i128.checked_pow(scale.into()).unwrap_or(i128::MAX);
                Self::Decimal(decimal(value, unit), precision.saturating_sub(scale) + scale.min(1), 0)
            }
        }
    }

    /// The place in an array that this number is: rounded, halves away from zero. `None` when it is too large.
    pub(super) fn index(self) -> Option<i64> {
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        match self {
            Self::Int(_, value) => Some(value),
            Self::Decimal(value, _, scale) => {
                let unit = 10_i128.checked_pow(scale.into())?;
                let whole = value / unit;
                let up = (value % unit).abs() >= unit - unit / 2 && unit > 1;
                i64::try_from(whole + if up { value.signum() } else { 0 }).ok()
            }
            other => Some(other.to_double().round()).filter(|value| (-LIMIT..LIMIT).contains(value)).map(|value| value as i64),
        }
    }
}

impl Comparison {
    /// What it says of values in this order; of what has none, as NaN, only that they are not equal.
    pub(super) fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::Greater => order == Some(Ordering::Greater),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

fn power_of_ten(exponent: u8) -> Option<i256> {
    let ten = i256::from_i128(10);
    (0..exponent).try_fold(i256::ONE, |power, _| power.checked_mul(ten))
}

impl Decimal {
    /// The unscaled value at a larger scale.
    fn scaled(self, scale: u8) -> Option<i256> {
        i256::from_i128(self.value).checked_mul(power_of_ten(scale.saturating_sub(self.scale))?)
    }

    fn compute(self, operator: Operator, other: Self) -> Computed {
        let scale = self.scale.max(other.scale);
        let whole = |decimal: Self| decimal.precision.saturating_sub(decimal.scale);
        let (digits, scale) = match operator {
            Operator::Add | Operator::Subtract => (whole(self).max(whole(other)) + scale + 1, scale),
            Operator::Multiply => (self.precision + other.precision, self.scale + other.scale),
            Operator::Divide => (self.precision + other.scale + other.scale.saturating_sub(self.scale), scale),
            Operator::Modulus => (whole(self).min(whole(other)) + scale, scale),
        };
        let precision = digits.clamp(1, MAX_PRECISION);
        if scale > MAX_PRECISION {
            return Err(format!("the product of decimals has {scale} digits behind the point"));
        }
        if other.value == 0 && matches!(operator, Operator::Divide | Operator::Modulus) {
            return Err("Division by zero".into());
        }
        let value = match operator {
            Operator::Add => self.scaled(scale).zip(other.scaled(scale)).and_then(|(left, right)| left.checked_add(right)),
            Operator::Subtract => self.scaled(scale).zip(other.scaled(scale)).and_then(|(left, right)| left.checked_sub(right)),
            Operator::Multiply => i256::from_i128(self.value).checked_mul(i256::from_i128(other.value)),
            Operator::Modulus => self.scaled(scale).zip(other.scaled(scale)).and_then(|(left, right)| left.checked_rem(right)),
            Operator::Divide => self.divide(other, scale),
        };
        let limit = 10_i128.pow(MAX_PRECISION.into());
        let value = value.and_then(i256::to_i128).filter(|value| value.abs() < limit);
        value.map(|value| Number::Decimal(value, precision, scale)).ok_or_else(|| "Decimal overflow".to_string())
    }

    /// Rounded, halves away from zero.
    fn divide(self, other: Self, scale: u8) -> Option<i256> {
        let divisor = i256::from_i128(other.value);
        let shifted = i256::from_i128(self.value).checked_mul(power_of_ten(scale + other.scale - self.scale)?)?;
        let (quotient, rest) = (shifted.checked_div(divisor)?, shifted.checked_rem(divisor)?);
        let twice = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
        if twice < divisor.wrapping_abs() {
            return Some(quotient);
        }
        let away = if (self.value < 0) == (other.value < 0) { i256::ONE } else { i256::MINUS_ONE };
        quotient.checked_add(away)
    }
}

/// A decimal as Java's `BigDecimal` prints it: small ones with a power of ten.
fn big_decimal_text(value: i128, scale: u8) -> String {
    let digits = value.unsigned_abs().to_string();
    let power = i64::try_from(digits.len()).unwrap_or(i64::MAX) - 1 - i64::from(scale);
    if scale == 0 || power >= -6 {
        return decimal_text(&value.to_string(), scale.cast_signed());
    }
    let sign = if value < 0 { "-" } else { "" };
    let (first, rest) = digits.split_at_checked(1).unwrap_or((&digits, ""));
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}E{power}")
}
