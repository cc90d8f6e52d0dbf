//! Arrow values in one canonical form, and as text for people.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value as Json;
use std::fmt;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_DAY: i128 = 86_400 * NANOS_PER_SECOND;

/// A value of a result, or of an expected result.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Strings, and everything that SQL writes as a string: decimals, dates, times, intervals, binary as `0x4142`.
    Text(String),
    List(Vec<Value>),
    /// Keys with their values, in any order.
    Map(Vec<(Value, Value)>),
    /// Fields in order; one that is named by its position has no name in SQL.
    Row(Vec<(String, Value)>),
}

/// The rows of `batches`.
pub(super) fn rows(batches: &[RecordBatch]) -> Vec<Vec<Value>> {
    let of_batch = |batch: &RecordBatch| -> Vec<Vec<Value>> {
        (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| value(column, row)).collect()).collect()
    };
    batches.iter().flat_map(of_batch).collect()
}

/// Trino's names of the column types, where SQL tells them apart.
pub(super) fn types(batches: &[RecordBatch]) -> Vec<String> {
    let Some(batch) = batches.first() else { return Vec::new() };
    batch.schema().fields().iter().map(|field| type_name(field.data_type())).collect()
}

fn type_name(kind: &DataType) -> String {
    let name = match kind {
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "varbinary",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Dictionary(_, plain) => return type_name(plain),
        other => return other.to_string(),
    };
    name.to_string()
}

fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Value::Null;
    }
    let all = |items: &ArrayRef| (0..items.len()).map(|item| value(items, item)).collect::<Vec<_>>();
    match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Dictionary(_, plain) => value(&cast(array, plain).expect("a dictionary's values"), row),
        DataType::List(_) => Value::List(all(&array.as_list::<i32>().value(row))),
        DataType::LargeList(_) => Value::List(all(&array.as_list::<i64>().value(row))),
        DataType::FixedSizeList(_, _) => Value::List(all(&array.as_fixed_size_list().value(row))),
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            Value::Map(all(entries.column(0)).into_iter().zip(all(entries.column(1))).collect())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            Value::Row(fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), value(column, row))).collect())
        }
        DataType::Interval(unit) => Value::Text(interval(array, *unit, row)),
        DataType::Duration(unit) => Value::Text(day_to_second(duration_nanos(array, *unit, row))),
        kind => scalar(kind, &text(array, row)),
    }
}

fn text(array: &ArrayRef, row: usize) -> String {
    let moment = Some("%Y-%m-%d %H:%M:%S%.f");
    let options = FormatOptions::default()
        .with_timestamp_format(moment)
        .with_timestamp_tz_format(moment)
        .with_datetime_format(Some("%Y-%m-%d"))
        .with_time_format(Some("%H:%M:%S%.f"));
    ArrayFormatter::try_new(array.as_ref(), &options).expect("a printable type").value(row).to_string()
}

fn scalar(kind: &DataType, text: &str) -> Value {
    let number = |message: &str| -> Value { panic!("{message}: {text}") };
    match kind {
        kind if kind.is_integer() => text.parse().map_or_else(|_| number("no integer"), Value::Int),
        kind if kind.is_floating() => text.parse().map_or_else(|_| number("no float"), Value::Float),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Value::Text(format!("0x{text}"))
        }
        DataType::Timestamp(_, Some(zone)) => Value::Text(format!("{} {}", short_fraction(text), zone_name(zone))),
        DataType::Timestamp(_, None) | DataType::Time32(_) | DataType::Time64(_) => Value::Text(short_fraction(text)),
        _ => Value::Text(text.to_string()),
    }
}

/// `10:00:00.500` and `10:00:00.5` are one time.
fn short_fraction(text: &str) -> String {
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        None => text.to_string(),
    }
}

fn zone_name(zone: &str) -> &str {
    if ["+00:00", "Z", "Etc/UTC", "utc"].contains(&zone) { "UTC" } else { zone }
}

fn duration_nanos(array: &ArrayRef, unit: TimeUnit, row: usize) -> i128 {
    match unit {
        TimeUnit::Second => i128::from(array.as_primitive::<DurationSecondType>().value(row)) * NANOS_PER_SECOND,
        TimeUnit::Millisecond => i128::from(array.as_primitive::<DurationMillisecondType>().value(row)) * 1_000_000,
        TimeUnit::Microsecond => i128::from(array.as_primitive::<DurationMicrosecondType>().value(row)) * 1_000,
        TimeUnit::Nanosecond => i128::from(array.as_primitive::<DurationNanosecondType>().value(row)),
    }
}

/// As SQL writes intervals: `2 00:00:00.000` for days to seconds, `1-2` for years to months.
fn interval(array: &ArrayRef, unit: IntervalUnit, row: usize) -> String {
    let (months, nanos) = match unit {
        IntervalUnit::YearMonth => (array.as_primitive::<IntervalYearMonthType>().value(row), 0),
        IntervalUnit::DayTime => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            (0, i128::from(value.days) * NANOS_PER_DAY + i128::from(value.milliseconds) * 1_000_000)
        }
        IntervalUnit::MonthDayNano => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            (value.months, i128::from(value.days) * NANOS_PER_DAY + i128::from(value.nanoseconds))
        }
    };
    match (months, nanos) {
        (0, nanos) => day_to_second(nanos),
        (months, 0) => {
            let sign = if months < 0 { "-" } else { "" };
            format!("{sign}{}-{}", months.abs() / 12, months.abs() % 12)
        }
        // No interval of SQL has both.
        (months, nanos) => format!("{months} months and {}", day_to_second(nanos)),
    }
}

fn day_to_second(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (days, rest) = (nanos.abs() / NANOS_PER_DAY, nanos.abs() % NANOS_PER_DAY);
    let (seconds, millis) = (rest / NANOS_PER_SECOND, rest % NANOS_PER_SECOND / 1_000_000);
    format!("{sign}{days} {:02}:{:02}:{:02}.{millis:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value.into()),
                None => number
                    .as_u64()
                    .map_or_else(|| Self::Float(number.as_f64().expect("a number")), |value| Self::Int(value.into())),
            },
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Json::Object(fields) => Self::Row(fields.iter().map(|(name, value)| (name.clone(), value.into())).collect()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{}", Json::from(text.as_str())),
            Self::List(items) => write!(f, "{}", bracketed(items.iter().map(ToString::to_string))),
            Self::Map(entries) => {
                write!(f, "{}", bracketed(entries.iter().map(|(key, value)| format!("[{key}, {value}]"))))
            }
            Self::Row(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{}: {value}", Json::from(name.as_str()))).collect();
                write!(f, "{{{}}}", fields.join(", "))
            }
        }
    }
}

fn bracketed(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Rows as the JSON that the table of expectations holds.
pub(super) fn print(rows: &[Vec<Value>]) -> String {
    bracketed(rows.iter().map(|row| bracketed(row.iter().map(ToString::to_string))))
}
