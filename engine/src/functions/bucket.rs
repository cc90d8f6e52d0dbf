//! Hive's buckets, version 1: the number of the file that a row belongs to, by the values of its bucket columns.
//!
//! Other engines leave out files by this number, so it is exact to the bit: a value's Java hash code, text as its UTF-8 bytes, the
//! columns combined as a Java list combines its elements.

use super::Functions;
use super::nested::{Call, Scalar};
use arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;
use std::sync::{Arc, LazyLock};

/// Name of the function.
pub(crate) const BUCKET_NAME: &str = "owlet_bucket";

static BUCKET: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Scalar::udf(BUCKET_NAME, as_they_are, |_| Ok(DataType::Int32), number));

/// The function of a count and the bucket columns that gives the number of a row's bucket.
pub(crate) fn bucket() -> Arc<ScalarUDF> {
    Arc::clone(&BUCKET)
}

pub(super) fn add_to(functions: &mut Functions) {
    functions.scalar.push(bucket());
}

/// Whether rows can be put into buckets by values of this type.
pub(crate) fn is_bucket_type(data_type: &DataType) -> bool {
    hashed_type(data_type).is_some()
}

fn as_they_are(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [DataType::Int32, columns @ ..] if !columns.is_empty() && columns.iter().all(is_bucket_type) => Ok(types.to_vec()),
        _ => plan_err!("it takes an integer and columns of simple types"),
    }
}

fn number(call: &Call<'_>) -> Result<ArrayRef> {
    let counts = call.arg(0)?.as_primitive::<Int32Type>();
    let count = if counts.is_empty() || counts.is_null(0) { 1 } else { counts.value(0) };
    Ok(Arc::new(bucket_numbers(count, call.args.get(1..).unwrap_or_default(), call.rows)?))
}

/// The bucket of each of `rows` rows, of `count` buckets.
pub(crate) fn bucket_numbers(count: i32, columns: &[ArrayRef], rows: usize) -> Result<Int32Array> {
    if count < 1 {
        return exec_err!("{count} buckets");
    }
    let mut hashes = vec![0_i32; rows];
    for column in columns {
        add_hashes(column, &mut hashes)?;
    }
    Ok(hashes.into_iter().map(|hash| (hash & i32::MAX) % count).collect())
}

/// The type as which values are hashed. Whole numbers up to `int` are their own hash, so their width makes no difference.
fn hashed_type(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match data_type {
        T::Boolean | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Date32 | T::Utf8 => data_type.clone(),
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => T::Int32,
        T::UInt32 | T::UInt64 => T::Int64,
        T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Date64 => T::Date32,
        T::Dictionary(_, values) => return hashed_type(values),
        _ => return None,
    })
}

fn add_hashes(column: &ArrayRef, hashes: &mut [i32]) -> Result<()> {
    let Some(data_type) = hashed_type(column.data_type()) else {
        return exec_err!("rows have no buckets by values of type {}", column.data_type());
    };
    let column = cast(column, &data_type)?;
    match data_type {
        DataType::Boolean => {
            let values = column.as_boolean();
            combine(hashes, (0..values.len()).map(|row| i32::from(values.is_valid(row) && values.value(row))));
        }
        DataType::Utf8 => combine(hashes, column.as_string::<i32>().iter().map(|text| text.map_or(0, text_hash))),
        DataType::Int64 => numbers::<Int64Type>(&column, hashes, long_hash),
        DataType::Date32 => numbers::<Date32Type>(&column, hashes, |days| days),
        DataType::Float32 => numbers::<Float32Type>(&column, hashes, float_hash),
        DataType::Float64 => numbers::<Float64Type>(&column, hashes, double_hash),
        _ => numbers::<Int32Type>(&column, hashes, |value| value),
    }
    Ok(())
}

fn numbers<T: ArrowPrimitiveType>(column: &ArrayRef, hashes: &mut [i32], hash: fn(T::Native) -> i32) {
    combine(hashes, column.as_primitive::<T>().iter().map(|value| value.map_or(0, hash)));
}

fn combine(hashes: &mut [i32], values: impl Iterator<Item = i32>) {
    for (hash, value) in hashes.iter_mut().zip(values) {
        *hash = hash.wrapping_mul(31).wrapping_add(value);
    }
}

fn long_hash(value: i64) -> i32 {
    ((value >> 32) ^ value) as i32
}

/// Every NaN has the bits of Java's own.
fn float_hash(value: f32) -> i32 {
    (if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }) as i32
}

fn double_hash(value: f64) -> i32 {
    long_hash((if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() }) as i64)
}

/// Bytes are signed in Java.
fn text_hash(text: &str) -> i32 {
    text.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte as i8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Date32Array, Float32Array, Float64Array, Int8Array, Int16Array, Int64Array, StringArray, StringViewArray,
    };

    fn hashes(columns: &[ArrayRef]) -> Vec<i32> {
        let mut hashes = vec![0; columns[0].len()];
        columns.iter().for_each(|column| add_hashes(column, &mut hashes).expect("a simple type"));
        hashes
    }

    fn check(column: impl Array + 'static, expected: &[i32]) {
        let column: ArrayRef = Arc::new(column);
        assert_eq!(hashes(&[Arc::clone(&column)]), expected, "{column:?}");
    }

    /// Values that the tests of Hive and Trino know.
    #[test]
    fn hashes_are_those_of_hive() {
        check(BooleanArray::from(vec![None, Some(true), Some(false)]), &[0, 1, 0]);
        check(Int8Array::from(vec![None, Some(5), Some(i8::MIN), Some(i8::MAX)]), &[0, 5, -128, 127]);
        check(Int16Array::from(vec![None, Some(300), Some(i16::MIN), Some(i16::MAX)]), &[0, 300, -32_768, 32_767]);
        check(Int32Array::from(vec![None, Some(300_000), Some(i32::MIN), Some(i32::MAX)]), &[0, 300_000, i32::MIN, i32::MAX]);
        let longs = vec![None, Some(300_000_000_000), Some(i64::MIN), Some(i64::MAX), Some(-1), Some(1)];
        check(Int64Array::from(longs), &[0, -647_710_651, i32::MIN, i32::MIN, 0, 1]);
        let floats = vec![12.34, -f32::MAX, 1e-45, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0xffc0_1234)];
        check(
            Float32Array::from(floats),
            &[1_095_069_860, -8_388_609, 1, 2_139_095_040, -8_388_608, 2_143_289_344, 2_143_289_344],
        );
        let doubles = vec![12.34, -f64::MAX, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(0xfff8_1234_1234_1234)];
        check(Float64Array::from(doubles), &[986_311_098, 1_048_576, 1, 2_146_435_072, -1_048_576, 2_146_959_360]);
        check(Date32Array::from(vec![None, Some(0), Some(16_758), Some(-6_983)]), &[0, 0, 16_758, -6_983]);
        let texts = ["", "test string", "Trino rocks", "\u{5f3a}\u{5927}\u{7684}Trino\u{5f15}\u{64ce}"];
        let texts: Vec<Option<&str>> =
            texts.into_iter().map(Some).chain([Some("\u{20ffc}\u{20ffd}\u{20ffe}\u{20fff}"), None]).collect();
        let expected = [0, -318_923_937, 1_132_136_730, 1_688_501_507, -1_810_797_254, 0];
        check(StringArray::from(texts.clone()), &expected);
        check(StringViewArray::from(texts), &expected);
    }

    #[test]
    fn columns_are_combined_in_their_order() -> Result<()> {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![1, 10, 1, 10]));
        let bytes: ArrayRef = Arc::new(Int8Array::from(vec![5, 5, 6, 6]));
        // Known of these four for 8 buckets: 3, 4, 5.
        assert_eq!(bucket_numbers(8, &[Arc::clone(&ints), Arc::clone(&bytes)], 4)?.values().to_vec(), [4, 3, 5, 4]);
        assert_ne!(bucket_numbers(8, &[bytes, ints], 4)?.values().to_vec(), [4, 3, 5, 4]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["Trino rocks"]));
        assert_eq!(bucket_numbers(4, &[Arc::clone(&text)], 1)?.value(0), 2);
        assert!(bucket_numbers(0, &[text], 1).is_err());
        assert!(!is_bucket_type(&DataType::Binary) && !is_bucket_type(&DataType::Decimal128(5, 2)));
        Ok(())
    }
}
