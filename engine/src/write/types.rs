//! Which types a format holds, and as which type a column is written.
//!
//! Timestamps in Parquet are INT64 milliseconds or microseconds without a zone. Athena engine v3 and Spark read both; nanoseconds
//! Spark refuses, and INT96, Hive's old form, has no statistics and no zone flag. Nanoseconds are written as
//! microseconds where nothing is lost, and refused where something would be.

use super::partition::is_key_type;
use super::spec::{WriteFormat, WriteSpec};
use crate::error::{Error, Result};
use crate::functions::bucket::is_bucket_type;
use crate::functions::{JSON, type_name};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// Most digits of a decimal in Hive.
const MAX_DECIMAL_DIGITS: u8 = 38;

/// The schema of the files of `spec` for a query with columns `input`.
///
/// # Errors
/// [`crate::ErrorKind::InvalidQuery`] that names the column which the format, or a folder name, cannot hold.
pub(super) fn file_schema(spec: &WriteSpec, input: &Schema) -> Result<SchemaRef> {
    if spec.columns.len() != input.fields().len() {
        return Err(Error::invalid(format!(
            "MISMATCHED_COLUMN_COUNT: the table has {} columns, the query {}",
            spec.columns.len(),
            input.fields().len()
        )));
    }
    let (file, keys) = input.fields().split_at(spec.file_columns().min(input.fields().len()));
    for (field, name) in keys.iter().zip(&spec.partition_by) {
        if field.data_type() == &DataType::Null {
            return Err(unknown_type(name));
        }
        if !is_key_type(field.data_type()) {
            return Err(Error::invalid(format!(
                "column '{name}' of type {} cannot be a partition column",
                type_name(field.data_type())
            )));
        }
    }
    let fields = file.iter().zip(&spec.columns).map(|(field, name)| {
        let data_type = written_type(field.data_type(), name, &spec.format)?;
        Ok(Arc::new(Field::new(name, data_type, true)))
    });
    let schema = Schema::new(fields.collect::<Result<Vec<FieldRef>>>()?);
    for place in spec.buckets().map_or_else(Vec::new, |(_, places)| places) {
        if let Some(field) = schema.fields().get(place).filter(|field| !is_bucket_type(field.data_type())) {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: bucketed_by: column '{}' of type {}; rows have buckets by boolean, whole numbers, real, double, varchar and date",
                field.name(),
                field.data_type()
            )));
        }
    }
    Ok(Arc::new(schema))
}

fn unknown_type(name: &str) -> Error {
    Error::invalid(format!("COLUMN_TYPE_UNKNOWN: Column type is unknown: {name}; cast it to a type"))
}

fn written_type(data_type: &DataType, name: &str, format: &WriteFormat) -> Result<DataType> {
    use DataType as T;
    let refused = |why: &str| {
        let of = type_name(data_type);
        Err(Error::invalid(format!("NOT_SUPPORTED: column '{name}' of type {of} cannot be written: {why}")))
    };
    let nested = |field: &FieldRef| {
        let inner = written_type(field.data_type(), name, format)?;
        Ok::<_, Error>(Arc::new(Field::new(field.name(), inner, true)))
    };
    Ok(match data_type {
        T::Null => return Err(unknown_type(name)),
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Date32 => data_type.clone(),
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        // Counts and row numbers are bigint in Athena; a value over it is an error of the cast.
        T::UInt32 | T::UInt64 => T::Int64,
        json if *json == JSON => {
            let text = format!("NOT_SUPPORTED: column '{name}': Unsupported Hive type: json; use json_format for its text");
            return Err(Error::invalid(text));
        }
        T::Utf8 | T::Utf8View => T::Utf8,
        T::Date64 => T::Date32,
        T::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, None) => T::Timestamp(TimeUnit::Millisecond, None),
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => {
            return refused("Unsupported Hive type: timestamp with time zone; cast it to timestamp");
        }
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s)
            if *p <= MAX_DECIMAL_DIGITS && *s >= 0 =>
        {
            T::Decimal128(*p, *s)
        }
        T::Binary | T::LargeBinary | T::BinaryView => match format {
            WriteFormat::Parquet(_) => T::Binary,
            _ => return refused("text files hold no bytes; use to_hex or to_base64, or PARQUET"),
        },
        T::Dictionary(_, value) => written_type(value, name, format)?,
        T::RunEndEncoded(_, value) => written_type(value.data_type(), name, format)?,
        _ if matches!(format, WriteFormat::Text(..)) && data_type.is_nested() => {
            return refused("text files hold no arrays, maps or rows; use PARQUET or JSON");
        }
        T::List(field) | T::LargeList(field) | T::FixedSizeList(field, _) | T::ListView(field) | T::LargeListView(field) => {
            T::List(nested(field)?)
        }
        T::Struct(fields) if !fields.is_empty() => T::Struct(fields.iter().map(nested).collect::<Result<Vec<_>>>()?.into()),
        T::Map(entries, sorted) => {
            let T::Struct(pair) = entries.data_type() else { return refused("it is no map") };
            let [key, value] = pair.as_ref() else { return refused("it is no map") };
            let key_type = written_type(key.data_type(), name, format)?;
            if matches!(format, WriteFormat::Json(_)) && key_type != T::Utf8 {
                return refused("keys of JSON objects are text");
            }
            // Keys are never NULL, in Parquet neither.
            let key = Arc::new(Field::new(key.name(), key_type, false));
            let pair = T::Struct(vec![key, nested(value)?].into());
            T::Map(Arc::new(Field::new(entries.name(), pair, false)), *sorted)
        }
        T::Time32(_) | T::Time64(_) => return refused("Unsupported Hive type: time"),
        T::Interval(_) | T::Duration(_) => return refused("Unsupported Hive type: interval"),
        _ => return refused("Athena has no such type in tables"),
    })
}

/// The file columns of `batch` in the types that are written.
///
/// # Errors
/// [`crate::ErrorKind::InvalidQuery`] for a value that the written type does not hold exactly.
pub(super) fn to_file_columns(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| exact(column, field));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|e| Error::internal(e.to_string()))
}

fn exact(column: &ArrayRef, field: &FieldRef) -> Result<ArrayRef> {
    let (from, to) = (column.data_type(), field.data_type());
    if from == to {
        return Ok(Arc::clone(column));
    }
    let wrong = |why: String| Error::invalid(format!("column '{}' cannot be written as {to}: {why}", field.name()));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let written = cast_with_options(column, to, &options).map_err(|e| wrong(e.to_string()))?;
    if loses(from) {
        let back = cast_with_options(&written, from, &options).map_err(|e| wrong(e.to_string()))?;
        if back.as_ref() != column.as_ref() {
            return Err(wrong("a value is finer than that; round it first".into()));
        }
    }
    Ok(written)
}

/// Whether a cast of this type can drop a part of a value without an error.
fn loses(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Timestamp(TimeUnit::Nanosecond, _) | T::Date64 => true,
        T::List(f) | T::LargeList(f) | T::FixedSizeList(f, _) | T::ListView(f) | T::LargeListView(f) | T::Map(f, _) => {
            loses(f.data_type())
        }
        T::Struct(fields) => fields.iter().any(|field| loses(field.data_type())),
        T::Dictionary(_, value) => loses(value),
        _ => false,
    }
}

/// Whether a float in `array`, at any depth, is no number: JSON has no word for it.
pub(super) fn has_non_finite(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (0..list.len()).any(|row| list.is_valid(row) && has_non_finite(&list.value(row)))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().any(has_non_finite),
        DataType::Map(..) => {
            let map = array.as_map();
            (0..map.len()).any(|row| map.is_valid(row) && map.value(row).columns().iter().any(has_non_finite))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::spec::{Compression, TextFormat};
    use arrow::array::{TimestampNanosecondArray, UInt64Array};

    fn schema(format: WriteFormat, data_type: DataType) -> Result<SchemaRef> {
        let spec = WriteSpec { format, ..WriteSpec::parquet("s3://b/t/", vec!["c".into()]) };
        file_schema(&spec, &Schema::new(vec![Field::new("x", data_type, true)]))
    }

    #[test]
    fn types_that_a_format_cannot_hold_are_refused() {
        use DataType as T;
        let parquet = || WriteFormat::Parquet(Compression::Gzip);
        let text = || WriteFormat::Text(TextFormat::default(), Compression::None);
        let list = T::List(Arc::new(Field::new("item", T::Utf8View, true)));
        let kept = |format, data_type| schema(format, data_type).map(|schema| schema.field(0).data_type().clone());
        assert!(kept(parquet(), list.clone()).is_ok_and(|t| t == T::List(Arc::new(Field::new("item", T::Utf8, true)))));
        assert!(kept(parquet(), T::UInt64).is_ok_and(|t| t == T::Int64));
        for (format, data_type, why) in [
            (parquet(), T::Null, "Column type is unknown"),
            (parquet(), JSON, "Unsupported Hive type: json"),
            (parquet(), T::Float16, "no such type"),
            (parquet(), T::Decimal256(40, 2), "no such type"),
            (parquet(), T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), "time zone"),
            (text(), list, "PARQUET or JSON"),
            (text(), T::Binary, "bytes"),
            (WriteFormat::Json(Compression::None), T::Binary, "bytes"),
        ] {
            let refused = schema(format, data_type.clone());
            assert!(refused.as_ref().is_err_and(|e| e.message.contains(why)), "{data_type}: {refused:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_no_other_value() -> Result<()> {
        let field = |data_type| Arc::new(Field::new("c", data_type, true));
        let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
        assert!(exact(&numbers, &field(DataType::Int64)).is_err());
        assert!(exact(&numbers.slice(0, 1), &field(DataType::Int64)).is_ok());
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_001]));
        assert!(exact(&times, &field(micros.clone())).is_err_and(|e| e.message.contains("finer")));
        assert!(exact(&times.slice(0, 1), &field(micros)).is_ok());
        Ok(())
    }
}
