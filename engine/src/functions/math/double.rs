//! Functions of doubles, and the constants.

use super::super::define::{Arg, Call, define, refused};
use crate::functions::Functions;
use crate::functions::datetime::{double, saturating};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};

/// What a function of one double computes.
type Unary = fn(f64) -> f64;
/// What a function of two doubles computes.
type Binary = fn(f64, f64) -> f64;
/// What a question about one double answers.
type Test = fn(f64) -> bool;

/// Functions of one double.
const UNARY: [(&str, Unary); 17] = [
    ("acos", f64::acos),
    ("asin", f64::asin),
    ("atan", f64::atan),
    ("cbrt", f64::cbrt),
    ("cos", f64::cos),
    ("cosh", f64::cosh),
    ("degrees", f64::to_degrees),
    ("exp", f64::exp),
    ("ln", f64::ln),
    ("log2", |x| x.ln() / std::f64::consts::LN_2),
    ("log10", f64::log10),
    ("radians", f64::to_radians),
    ("sin", f64::sin),
    ("sinh", f64::sinh),
    ("sqrt", f64::sqrt),
    ("tan", f64::tan),
    ("tanh", f64::tanh),
];

/// Functions of two doubles.
const BINARY: [(&str, Binary); 3] = [("atan2", f64::atan2), ("power", java_pow), ("log", |base, x| x.ln() / base.ln())];

/// Constants.
const CONSTANTS: [(&str, f64); 3] = [("e", std::f64::consts::E), ("infinity", f64::INFINITY), ("nan", f64::NAN)];

/// Questions about one double.
const TESTS: [(&str, Test); 3] = [("is_nan", f64::is_nan), ("is_finite", f64::is_finite), ("is_infinite", f64::is_infinite)];

/// Power as in Java, where one to the power of infinity or NaN is NaN.
fn java_pow(base: f64, exponent: f64) -> f64 {
    if exponent.is_nan() || (base.abs() == 1.0 && exponent.is_infinite()) { f64::NAN } else { base.powf(exponent) }
}

fn require(holds: bool, message: &str) -> Result<()> {
    if holds { Ok(()) } else { exec_err!("{message}") }
}

/// The error function: a series near zero, a continued fraction beyond.
fn erf(x: f64) -> f64 {
    const TERMS: u32 = 200;
    let magnitude = x.abs();
    if magnitude < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..TERMS {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let fraction = (1..TERMS).rev().fold(0.0, |below, n| f64::from(n) / 2.0 / (magnitude + below));
    let rest = (-magnitude * magnitude).exp() / (magnitude + fraction) / std::f64::consts::PI.sqrt();
    (1.0 - rest).copysign(x)
}

/// The inverse of [`erf`], by bisection to the last bit and a half.
fn erf_inverse(y: f64) -> f64 {
    const STEPS: u32 = 200;
    let (mut low, mut high) = (-6.0, 6.0);
    for _ in 0..STEPS {
        let middle = 0.5 * (low + high);
        if erf(middle) < y {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

fn normal_cdf(mean: f64, deviation: f64, value: f64) -> Result<f64> {
    require(deviation > 0.0, "standardDeviation must be > 0")?;
    Ok(0.5 * (1.0 + erf((value - mean) / (deviation * std::f64::consts::SQRT_2))))
}

fn inverse_normal_cdf(mean: f64, deviation: f64, p: f64) -> Result<f64> {
    require(p > 0.0 && p < 1.0, "p must be 0 > p > 1")?;
    require(deviation > 0.0, "sd must be > 0")?;
    Ok(mean + deviation * std::f64::consts::SQRT_2 * erf_inverse(2.0 * p - 1.0))
}

/// A bound of the Wilson score interval; `side` is -1 for the lower and 1 for the upper.
fn wilson(successes: i64, trials: i64, z: f64, side: f64) -> Result<f64> {
    require(successes >= 0, "number of successes must not be negative")?;
    require(trials > 0, "number of trials must be positive")?;
    require(successes <= trials, "number of successes must not be larger than number of trials")?;
    require(z >= 0.0, "z-score must not be negative")?;
    let (n, p) = (double(trials), double(successes) / double(trials));
    let spread = z * ((p * (1.0 - p) + z * z / (4.0 * n)) / n).sqrt();
    Ok((p + z * z / (2.0 * n) + side * spread) / (1.0 + z * z / n))
}

fn width_bucket(operand: f64, bound1: f64, bound2: f64, count: i64) -> Result<i64> {
    require(count > 0, "bucketCount must be greater than 0")?;
    require(!operand.is_nan(), "operand must not be NaN")?;
    require(bound1.is_finite(), "first bound must be finite")?;
    require(bound2.is_finite(), "second bound must be finite")?;
    require(bound1 != bound2, "bounds cannot equal each other")?;
    let (lower, upper) = (bound1.min(bound2), bound1.max(bound2));
    let bucket = if operand < lower {
        0
    } else if operand >= upper {
        match count.checked_add(1) {
            Some(last) => last,
            None => return exec_err!("Bucket for value {operand} is out of range"),
        }
    } else {
        saturating(double(count) * (operand - lower) / (upper - lower) + 1.0)
    };
    Ok(if bound1 > bound2 { count - bucket + 1 } else { bucket })
}

fn bucket_of_bins(operand: f64, bins: &dyn Array) -> Result<i64> {
    let bins = cast(bins, &DataType::Float64)?;
    let bins = bins.as_primitive::<Float64Type>();
    require(!bins.is_empty(), "Bins cannot be an empty array")?;
    require(!operand.is_nan(), "Operand cannot be NaN")?;
    let bin = |index: usize| if bins.is_valid(index) { bins.value(index) } else { 0.0 };
    let (mut lower, mut upper) = (0, bins.len());
    while lower < upper {
        require(bin(lower) <= bin(upper - 1), "Bin values are not sorted in ascending order")?;
        let index = usize::midpoint(lower, upper);
        let value = bin(index);
        require(value.is_finite(), "Bin value must be finite")?;
        if operand < value {
            upper = index;
        } else {
            lower = index + 1;
        }
    }
    i64::try_from(lower).or_else(|_| exec_err!("too many bins"))
}

fn width_bucket_bins(call: &Call<'_>) -> Result<ArrayRef> {
    let operands = call.values::<Float64Type>(0)?;
    let bins = call.input(1)?;
    let Some(lists) = bins.array.as_list_opt::<i32>() else {
        return exec_err!("width_bucket takes an array of doubles");
    };
    call.make::<Int64Type, _>(|row| {
        let index = if bins.constant { 0 } else { row };
        match operands.get(row) {
            Some(operand) if lists.is_valid(index) => bucket_of_bins(operand, &lists.value(index)).map(Some),
            _ => Ok(None),
        }
    })
}

/// A function of three doubles that may fail.
fn ternary(f: fn(f64, f64, f64) -> Result<f64>) -> impl Fn(&Call<'_>) -> Result<ArrayRef> {
    move |call| {
        let (a, b, c) = (call.values::<Float64Type>(0)?, call.values::<Float64Type>(1)?, call.values::<Float64Type>(2)?);
        call.make::<Float64Type, _>(|row| match (a.get(row), b.get(row), c.get(row)) {
            (Some(a), Some(b), Some(c)) => f(a, b, c).map(Some),
            _ => Ok(None),
        })
    }
}

fn wilson_bound(side: f64) -> impl Fn(&Call<'_>) -> Result<ArrayRef> {
    move |call| {
        let (successes, trials) = (call.values::<Int64Type>(0)?, call.values::<Int64Type>(1)?);
        let z = call.values::<Float64Type>(2)?;
        call.make::<Float64Type, _>(|row| match (successes.get(row), trials.get(row), z.get(row)) {
            (Some(successes), Some(trials), Some(z)) => wilson(successes, trials, z, side).map(Some),
            _ => Ok(None),
        })
    }
}

/// Other names of a function of two doubles.
fn other_names(name: &str) -> &'static [&'static str] {
    if name == "power" { &["pow"] } else { &[] }
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let list = &mut functions.scalar;
    for (name, f) in UNARY {
        let body = move |call: &Call<'_>| {
            let x = call.values::<Float64Type>(0)?;
            call.make::<Float64Type, _>(|row| Ok(x.get(row).map(f)))
        };
        list.push(define(name).form(&[Arg::Double], DataType::Float64, body).udf());
    }
    for (name, f) in BINARY {
        let body = move |call: &Call<'_>| {
            let (x, y) = (call.values::<Float64Type>(0)?, call.values::<Float64Type>(1)?);
            call.make::<Float64Type, _>(|row| Ok(x.get(row).zip(y.get(row)).map(|(x, y)| f(x, y))))
        };
        list.push(define(name).alias(other_names(name)).form(&[Arg::Double, Arg::Double], DataType::Float64, body).udf());
    }
    for (name, value) in CONSTANTS {
        let body = move |call: &Call<'_>| call.make::<Float64Type, _>(|_| Ok(Some(value)));
        list.push(define(name).form(&[], DataType::Float64, body).udf());
    }
    for (name, test) in TESTS {
        let body = move |call: &Call<'_>| {
            let x = call.values::<Float64Type>(0)?;
            call.make_bools(|row| Ok(x.get(row).map(test)))
        };
        list.push(define(name).form(&[Arg::Double], DataType::Boolean, body).udf());
    }
    let three = [Arg::Double; 3];
    let score = [Arg::Bigint, Arg::Bigint, Arg::Double];
    let bucket = |call: &Call<'_>| {
        let (x, a, b) = (call.values::<Float64Type>(0)?, call.values::<Float64Type>(1)?, call.values::<Float64Type>(2)?);
        let count = call.values::<Int64Type>(3)?;
        call.make::<Int64Type, _>(|row| match (x.get(row), a.get(row), b.get(row), count.get(row)) {
            (Some(x), Some(a), Some(b), Some(count)) => width_bucket(x, a, b, count).map(Some),
            _ => Ok(None),
        })
    };
    list.extend([
        define("normal_cdf").form(&three, DataType::Float64, ternary(normal_cdf)).udf(),
        define("inverse_normal_cdf").form(&three, DataType::Float64, ternary(inverse_normal_cdf)).udf(),
        define("wilson_interval_lower").form(&score, DataType::Float64, wilson_bound(-1.0)).udf(),
        define("wilson_interval_upper").form(&score, DataType::Float64, wilson_bound(1.0)).udf(),
        define("width_bucket")
            .form(&[Arg::Double, Arg::Double, Arg::Double, Arg::Bigint], DataType::Int64, bucket)
            .form(&[Arg::Double, Arg::Any], DataType::Int64, width_bucket_bins)
            .udf(),
    ]);
    for name in ["beta_cdf", "inverse_beta_cdf", "t_cdf", "t_pdf", "cosine_similarity"] {
        list.push(refused(name, "no implementation gives the same digits as Athena's"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_distribution() {
        for (value, expected) in [(0.0, 0.5), (1.0, 0.841_344_746_068_542_9), (-3.0, 0.001_349_898_031_630_094_6)] {
            assert!((normal_cdf(0.0, 1.0, value).unwrap() - expected).abs() < 1e-15, "{value}");
        }
        assert!((erf(2.499_999) - erf(2.500_001)).abs() < 1e-8);
        for p in [0.001, 0.3, 0.5, 0.975] {
            let value = inverse_normal_cdf(0.0, 1.0, p).unwrap();
            assert!((normal_cdf(0.0, 1.0, value).unwrap() - p).abs() < 1e-14, "{p}");
        }
        assert!(normal_cdf(0.0, 0.0, 1.0).is_err());
    }
}
