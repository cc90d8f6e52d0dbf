//! Bitwise functions, bases, and random numbers.

use super::super::define::{Arg, Call, Typing, define};
use crate::clock;
use crate::functions::Functions;
use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};

/// An operation on the bits of two numbers.
type Bitwise = fn(i64, i64) -> i64;

const BINARY: [(&str, Bitwise); 3] = [("bitwise_and", |a, b| a & b), ("bitwise_or", |a, b| a | b), ("bitwise_xor", |a, b| a ^ b)];

/// Bits of the integer type of a shifted value.
fn width(data_type: &DataType) -> u32 {
    match data_type {
        DataType::Int8 => 8,
        DataType::Int16 => 16,
        DataType::Int32 => 32,
        _ => 64,
    }
}

/// The lowest `bits` of `value`, as a signed number.
fn signed(value: i64, bits: u32) -> i64 {
    let unused = 64 - bits;
    value.wrapping_shl(unused).wrapping_shr(unused)
}

/// A shift of `value`, of `bits` bits, by `shift`; 64 and more shift everything out, negative ones count modulo 64.
type Shift = fn(value: i64, shift: i64, bits: u32) -> i64;

fn modulo_64(shift: i64) -> u32 {
    u32::try_from(shift & 63).unwrap_or(0)
}

fn left(value: i64, shift: i64, bits: u32) -> i64 {
    if shift >= 64 { 0 } else { signed(value.wrapping_shl(modulo_64(shift)), bits) }
}

fn right(value: i64, shift: i64, bits: u32) -> i64 {
    if shift >= 64 {
        return 0;
    }
    if shift == 0 {
        return value;
    }
    let mask = u64::MAX >> (64 - bits);
    ((value.cast_unsigned() & mask) >> modulo_64(shift)).cast_signed()
}

fn right_arithmetic(value: i64, shift: i64, _bits: u32) -> i64 {
    if shift >= 64 { value >> 63 } else { value >> modulo_64(shift) }
}

/// The same call with all arguments and the result as bigints.
fn on_bigints<'a>(call: &'a Call<'_>) -> Result<Call<'a>> {
    let mut wide = call.returning(&DataType::Int64);
    for input in &mut wide.inputs {
        input.array = cast(&input.array, &DataType::Int64)?;
    }
    Ok(wide)
}

fn shifted(call: &Call<'_>, shift: Shift) -> Result<ArrayRef> {
    let bits = width(call.input(0)?.array.data_type());
    let wide = on_bigints(call)?;
    let (values, shifts) = (wide.values::<Int64Type>(0)?, wide.values::<Int64Type>(1)?);
    let result =
        wide.make::<Int64Type, _>(|row| Ok(values.get(row).zip(shifts.get(row)).map(|(value, by)| shift(value, by, bits))))?;
    Ok(cast(&result, call.returns)?)
}

fn bit_count(value: i64, bits: i64) -> Result<i64> {
    if bits == 64 {
        return Ok(i64::from(value.count_ones()));
    }
    let Some(count) = u32::try_from(bits).ok().filter(|bits| (2..64).contains(bits)) else {
        return exec_err!("Bits specified in bit_count must be between 2 and 64, got {bits}");
    };
    if signed(value, count) != value {
        return exec_err!("Number must be representable with the bits specified. {value} cannot be represented with {bits} bits");
    }
    Ok(i64::from((value.cast_unsigned() & (u64::MAX >> (64 - count))).count_ones()))
}

fn radix(value: i64) -> Result<u32> {
    match u32::try_from(value).ok().filter(|radix| (2..=36).contains(radix)) {
        Some(radix) => Ok(radix),
        None => exec_err!("Radix must be between 2 and 36"),
    }
}

fn from_base(text: &str, base: i64) -> Result<i64> {
    match i64::from_str_radix(text, radix(base)?) {
        Ok(value) => Ok(value),
        Err(_) => exec_err!("Not a valid base-{base} number: {text}"),
    }
}

fn to_base(value: i64, base: i64) -> Result<String> {
    let radix = radix(base)?;
    let mut rest = value.unsigned_abs();
    let mut digits = Vec::new();
    while rest > 0 || digits.is_empty() {
        let digit = u32::try_from(rest % u64::from(radix)).unwrap_or(0);
        digits.extend(char::from_digit(digit, radix));
        rest /= u64::from(radix);
    }
    if value < 0 {
        digits.push('-');
    }
    Ok(digits.into_iter().rev().collect())
}

/// Random bits from one seed: the sequence is SplitMix64's.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let (high, low) = clock::random_uuid().as_u64_pair();
        Self(high ^ low.rotate_left(32))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From zero up to and without one.
    fn fraction(&mut self) -> f64 {
        // 53 bits are what a double holds.
        (self.bits() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// From `low` up to and without `high`.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u128::from(high.wrapping_sub(low).cast_unsigned());
        let offset = u64::try_from((u128::from(self.bits()) * span) >> 64).unwrap_or(0);
        low.wrapping_add(offset.cast_signed())
    }
}

fn random_below(call: &Call<'_>) -> Result<ArrayRef> {
    let mut dice = Dice::new();
    let wide = on_bigints(call)?;
    let first = wide.values::<Int64Type>(0)?;
    let second = if wide.inputs.len() > 1 { Some(wide.values::<Int64Type>(1)?) } else { None };
    let result = wide.make::<Int64Type, _>(|row| {
        let bounds = match &second {
            None => Some(0).zip(first.get(row)),
            Some(second) => first.get(row).zip(second.get(row)),
        };
        match bounds {
            Some((low, high)) if low < high => Ok(Some(dice.between(low, high))),
            Some(_) if second.is_none() => exec_err!("bound must be positive"),
            Some(_) => exec_err!("start value must be less than stop value"),
            None => Ok(None),
        }
    })?;
    Ok(cast(&result, call.returns)?)
}

fn same(typing: &Typing<'_>) -> Result<DataType> {
    Ok(typing.kind(0).clone())
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let list = &mut functions.scalar;
    let two = [Arg::Bigint, Arg::Bigint];
    for (name, f) in BINARY {
        let body = move |call: &Call<'_>| {
            let (a, b) = (call.values::<Int64Type>(0)?, call.values::<Int64Type>(1)?);
            call.make::<Int64Type, _>(|row| Ok(a.get(row).zip(b.get(row)).map(|(a, b)| f(a, b))))
        };
        list.push(define(name).form(&two, DataType::Int64, body).udf());
    }
    let shifts: [(&str, Shift); 3] =
        [("bitwise_left_shift", left), ("bitwise_right_shift", right), ("bitwise_right_shift_arithmetic", right_arithmetic)];
    for (name, shift) in shifts {
        let body = move |call: &Call<'_>| shifted(call, shift);
        list.push(define(name).typed(&[Arg::Integer, Arg::Bigint], None, same, body).udf());
    }
    let not = |call: &Call<'_>| {
        let values = call.values::<Int64Type>(0)?;
        call.make::<Int64Type, _>(|row| Ok(values.get(row).map(|value| !value)))
    };
    let count = |call: &Call<'_>| {
        let (values, bits) = (call.values::<Int64Type>(0)?, call.values::<Int64Type>(1)?);
        call.make::<Int64Type, _>(|row| {
            values.get(row).zip(bits.get(row)).map(|(value, bits)| bit_count(value, bits)).transpose()
        })
    };
    let parse = |call: &Call<'_>| {
        let (texts, bases) = (call.texts(0)?, call.values::<Int64Type>(1)?);
        call.make::<Int64Type, _>(|row| texts.get(row).zip(bases.get(row)).map(|(text, base)| from_base(text, base)).transpose())
    };
    let print = |call: &Call<'_>| {
        let (values, bases) = (call.values::<Int64Type>(0)?, call.values::<Int64Type>(1)?);
        call.make_texts(|row| values.get(row).zip(bases.get(row)).map(|(value, base)| to_base(value, base)).transpose())
    };
    let fraction = |call: &Call<'_>| {
        let mut dice = Dice::new();
        call.make::<Float64Type, _>(|_| Ok(Some(dice.fraction())))
    };
    list.extend([
        define("bitwise_not").form(&[Arg::Bigint], DataType::Int64, not).udf(),
        define("bit_count").form(&two, DataType::Int64, count).udf(),
        define("from_base").form(&[Arg::Text, Arg::Bigint], DataType::Int64, parse).udf(),
        define("to_base").form(&two, DataType::Utf8, print).udf(),
        define("random")
            .alias(&["rand"])
            .volatile()
            .form(&[], DataType::Float64, fraction)
            .typed(&[Arg::Integer], None, same, random_below)
            .typed(&[Arg::Integer, Arg::Integer], None, same, random_below)
            .udf(),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_are_those_of_java() {
        assert_eq!(left(1, 7, 8), -128);
        assert_eq!(left(-1, 64, 64), 0);
        assert_eq!(right(-8, 1, 64), 9_223_372_036_854_775_804);
        assert_eq!(right(-1, 1, 8), 127);
        assert_eq!(right_arithmetic(-8, 1, 64), -4);
        assert_eq!(right_arithmetic(-8, 99, 64), -1);
    }

    #[test]
    fn bases_and_bits() {
        assert_eq!(to_base(-255, 16).unwrap(), "-ff");
        assert_eq!(to_base(i64::MIN, 2).unwrap().len(), 65);
        assert_eq!(from_base("-zz", 36).unwrap(), -1295);
        assert!(from_base("2", 2).is_err() && from_base("", 10).is_err() && to_base(1, 37).is_err());
        assert_eq!(bit_count(-7, 64).unwrap(), 62);
        assert_eq!(bit_count(-7, 8).unwrap(), 6);
        assert_eq!((bit_count(-1, 63).unwrap(), bit_count(-1, 2).unwrap(), bit_count(1, 2).unwrap()), (63, 2, 1));
        assert!(bit_count(128, 8).is_err() && bit_count(1, 65).is_err());
    }

    #[test]
    fn dice_stay_in_their_bounds() {
        let mut dice = Dice(7);
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&dice.fraction()));
            assert!((-3..5).contains(&dice.between(-3, 5)));
            assert!(dice.between(i64::MIN, i64::MAX) < i64::MAX);
        }
    }
}
