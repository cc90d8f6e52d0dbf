//! Decides the SQL names of column types, and the plain Arrow types in which values are written.

use super::{Column, ResultFormat};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, TimeUnit};
use engine::functions::{DAY_TIME, JSON, YEAR_MONTH};
use engine::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// The columns of `schema` as clients see them.
pub(super) fn columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &FieldRef| Column { name: field.name().clone(), sql_type: sql_type(field.data_type()) };
    schema.fields().iter().map(column).collect()
}

/// The name of a type in the style of Athena.
pub(super) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "unknown".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::UInt64 => "decimal(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        &JSON => "json".to_owned(),
        DataType::Utf8 | DataType::Utf8View => "varchar".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "varbinary".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time({})", digits(*unit)),
        DataType::Timestamp(unit, None) => format!("timestamp({})", digits(*unit)),
        DataType::Timestamp(unit, Some(_)) => format!("timestamp({}) with time zone", digits(*unit)),
        DataType::Interval(IntervalUnit::YearMonth) => "interval year to month".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "interval day to second".to_owned(),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => format!("array({})", sql_type(field.data_type())),
        DataType::Struct(fields) => format!("row({})", members(fields, |field| format!("{} ", identifier(field.name())))),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => format!("map({})", members(fields, |_| String::new())),
            other => format!("map({})", sql_type(other)),
        },
        DataType::Dictionary(_, value) => sql_type(value),
        DataType::RunEndEncoded(_, values) => sql_type(values.data_type()),
        DataType::Union(..) => "union".to_owned(),
    }
}

fn members(fields: &Fields, label: impl Fn(&Field) -> String) -> String {
    let members: Vec<String> = fields.iter().map(|field| format!("{}{}", label(field), sql_type(field.data_type()))).collect();
    members.join(", ")
}

/// The name as SQL would need it written.
fn identifier(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain && !name.is_empty() { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// The schema in which rows of `schema` are written: plain types, every column nullable.
///
/// Nullable, because a plan's claim that a column has no NULLs must not be what fails a finished query.
///
/// # Errors
/// `InvalidQuery` for what `format` cannot hold: unions, and names that JSON objects would lose.
pub(super) fn plain_schema(schema: &Schema, format: ResultFormat) -> Result<Schema> {
    if format == ResultFormat::Ndjson
        && let Some(name) = repeated(schema.fields())
    {
        return Err(Error::invalid(format!(
            "two columns of the result are named '{name}', and a line of ndjson can hold only one: \
             give one another name with AS, or choose json, csv or arrow"
        )));
    }
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let data_type = plain(field.data_type(), format).map_err(|error| error.context(format!("column '{}'", field.name())))?;
        fields.push(Field::new(field.name(), data_type, true));
    }
    Ok(Schema::new(fields))
}

/// The type without dictionaries, run-ends and views, which clients often cannot read and which do not slice.
pub(super) fn plain(data_type: &DataType, format: ResultFormat) -> Result<DataType> {
    let json = matches!(format, ResultFormat::Json | ResultFormat::Ndjson);
    let item = |field: &FieldRef| plain_field(field, format);
    Ok(match data_type {
        DataType::Dictionary(_, value) => plain(value, format)?,
        DataType::RunEndEncoded(_, values) => plain(values.data_type(), format)?,
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        // As Athena writes them; clients know no other form.
        &DAY_TIME | &YEAR_MONTH => DataType::Utf8,
        DataType::List(field) | DataType::ListView(field) => DataType::List(item(field)?),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(item(field)?),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(item(field)?, *size),
        DataType::Struct(fields) => {
            if json && let Some(name) = repeated(fields) {
                return Err(Error::invalid(format!(
                    "two fields of a row are named '{name}', and a JSON object can hold only one"
                )));
            }
            DataType::Struct(fields.iter().map(item).collect::<Result<_>>()?)
        }
        DataType::Map(entries, sorted) => DataType::Map(plain_entries(entries, format)?, *sorted),
        DataType::Union(..) => return Err(Error::invalid("results cannot hold a union: select one of its members")),
        other => other.clone(),
    })
}

fn plain_field(field: &FieldRef, format: ResultFormat) -> Result<FieldRef> {
    Ok(Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type(), format)?)))
}

/// Entries of a map; in JSON its keys are strings.
fn plain_entries(entries: &FieldRef, format: ResultFormat) -> Result<FieldRef> {
    let json = matches!(format, ResultFormat::Json | ResultFormat::Ndjson);
    let DataType::Struct(fields) = entries.data_type() else { return plain_field(entries, format) };
    let mut members = Vec::with_capacity(fields.len());
    for (position, field) in fields.iter().enumerate() {
        let member = plain_field(field, format)?;
        let is_text = matches!(member.data_type(), DataType::Utf8 | DataType::LargeUtf8);
        members.push(match json && position == 0 && !is_text {
            true if member.data_type().is_nested() => {
                return Err(Error::invalid("keys of a map in JSON must be single values: choose csv or arrow"));
            }
            true => Arc::new(member.as_ref().clone().with_data_type(DataType::Utf8)),
            false => member,
        });
    }
    Ok(Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(members.into()))))
}

/// A name that two of the fields have.
fn repeated(fields: &Fields) -> Option<&str> {
    let mut seen = HashSet::new();
    fields.iter().map(|field| field.name().as_str()).find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_sql_names() {
        let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
        let entries = Fields::from(vec![field("key", DataType::Utf8View), field("value", DataType::Int64)]);
        let members = Fields::from(vec![field("a", DataType::Int64), field("b c", DataType::Float32)]);
        let cases = [
            (DataType::Int64, "bigint"),
            (DataType::Int32, "integer"),
            (DataType::UInt64, "decimal(20,0)"),
            (DataType::Utf8View, "varchar"),
            (DataType::Decimal128(15, 2), "decimal(15,2)"),
            (DataType::Timestamp(TimeUnit::Millisecond, None), "timestamp(3)"),
            (DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), "timestamp(9) with time zone"),
            (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), "varchar"),
            (DataType::new_list(DataType::Int64, true), "array(bigint)"),
            (DataType::Struct(members), "row(a bigint, \"b c\" real)"),
            (DataType::Map(Arc::new(field("entries", DataType::Struct(entries))), false), "map(varchar, bigint)"),
            (DataType::FixedSizeBinary(4), "varbinary"),
            (DataType::Null, "unknown"),
        ];
        for (data_type, name) in cases {
            assert_eq!(sql_type(&data_type), name);
        }
    }

    #[test]
    fn what_a_format_would_lose_is_refused() {
        let twice = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("a", DataType::Utf8, true)]);
        let error = plain_schema(&twice, ResultFormat::Ndjson).err();
        assert!(error.is_some_and(|error| error.message.contains("named 'a'")));
        for format in [ResultFormat::Json, ResultFormat::Csv, ResultFormat::Arrow] {
            assert!(plain_schema(&twice, format).is_ok());
        }
        let nested = Schema::new(vec![Field::new("s", DataType::Struct(twice.fields().clone()), true)]);
        assert!(plain_schema(&nested, ResultFormat::Json).is_err_and(|error| error.message.starts_with("column 's': ")));
        assert!(plain_schema(&nested, ResultFormat::Csv).is_ok());
    }
}
