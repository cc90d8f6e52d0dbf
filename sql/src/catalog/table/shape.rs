//! Values of files as values of the table, where the two types differ in what they can say: Athena's rounding, and no silent loss.

use super::TypedColumn;
use crate::catalog::types::HiveType;
use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator, binary_expr, cast, lit, when};
use engine::{Error, Result};
use std::sync::Arc;

/// Numbers of JSON that are to be whole are read as this, so that a fraction is seen: 20 digits before the point, 18 behind.
const JSON_NUMBER: DataType = DataType::Decimal128(38, 18);

/// The type that a column of a JSON file is read as.
pub(super) fn json_type(column: &TypedColumn) -> DataType {
    match column.hive {
        HiveType::TinyInt | HiveType::SmallInt | HiveType::Int | HiveType::BigInt => JSON_NUMBER,
        // As text: a number would be taken for one of some unit.
        HiveType::Timestamp | HiveType::Date => DataType::Utf8,
        _ => column.field.data_type().clone(),
    }
}

/// The column's value from what was read as `found`.
pub(super) fn value(read: Expr, found: &DataType, column: &TypedColumn) -> Result<Expr> {
    match (&column.hive, found) {
        (HiveType::Timestamp, DataType::Timestamp(unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond), None)) => {
            rounded(read, *unit)
        }
        (HiveType::Moment, DataType::Timestamp(unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond), None)) => {
            Ok(cast(rounded(read, *unit)?, column.field.data_type().clone()))
        }
        (HiveType::TimestampMicros, DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            Err(Error::invalid(format!("NOT_SUPPORTED: column {} has nanoseconds in its files", column.field.name())))
        }
        (HiveType::Timestamp, DataType::Utf8) => timestamp_of_text(read),
        (HiveType::String | HiveType::Varchar(_), DataType::BinaryView) => Ok(cast(read, column.field.data_type().clone())),
        (HiveType::Date, DataType::Utf8) => Ok(cast(read, DataType::Date32)),
        (_, DataType::Decimal128(..)) if column.field.data_type().is_integer() => {
            let whole = cast(read.clone(), column.field.data_type().clone());
            let is_whole = cast(whole.clone(), JSON_NUMBER).eq(read.clone());
            let message = format!("HIVE_BAD_DATA: no whole number in column {}: ", column.name);
            let failure = failure(message, cast(read.clone(), DataType::Utf8), column.field.data_type().clone());
            when(read.is_null().or(is_whole), whole).otherwise(failure).map_err(Error::from)
        }
        _ => Ok(read),
    }
}

/// The characters of a `varchar(n)` that Athena shows: the first n.
pub(super) fn cut(session: &dyn Session, value: Expr, column: &TypedColumn) -> Result<Expr> {
    let Some(length) = column.hive.max_chars() else { return Ok(value) };
    let substr = session.scalar_functions().get("substr").map(Arc::clone);
    let substr = substr.ok_or_else(|| Error::internal("there is no function substr"))?;
    let target = column.field.data_type().clone();
    let text = cast(value, target.clone());
    Ok(cast(substr.call(vec![text, lit(1_i64), lit(i64::from(length))]), target))
}

/// A timestamp of milliseconds from text with more digits.
pub(super) fn timestamp_of_text(text: Expr) -> Result<Expr> {
    rounded(cast(text, DataType::Timestamp(TimeUnit::Microsecond, None)), TimeUnit::Microsecond)
}

/// The nearest millisecond, the later one of two, as Trino reads finer timestamps. A cast alone goes towards 1970.
fn rounded(time: Expr, unit: TimeUnit) -> Result<Expr> {
    let nanos = |nanos| lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, nanos))));
    let (start, below) = match unit {
        TimeUnit::Nanosecond => (ScalarValue::TimestampNanosecond(Some(-500_000), None), 499_999),
        _ => (ScalarValue::TimestampMicrosecond(Some(-500), None), 499_000),
    };
    let millis = |time| cast(time, DataType::Timestamp(TimeUnit::Millisecond, None));
    let later = binary_expr(time.clone(), Operator::Plus, nanos(500_000));
    let earlier = binary_expr(time.clone(), Operator::Minus, nanos(below));
    when(time.gt_eq(lit(start)), millis(later)).otherwise(millis(earlier)).map_err(Error::from)
}

/// An expression that fails with `message` and the value, where it is evaluated.
pub(super) fn failure(message: String, value: Expr, target: DataType) -> Expr {
    let text = binary_expr(lit(message), Operator::StringConcat, value);
    cast(cast(text, DataType::Int64), target)
}
