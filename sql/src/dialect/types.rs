//! Names of Athena's types to Arrow's.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, StructField, TimezoneInfo};
use engine::functions::JSON;
use std::sync::Arc;

/// Most digits of a decimal.
const MAX_DECIMAL_DIGITS: u8 = 38;
/// The zone of a timestamp with time zone that names none.
const ZONE: &str = "UTC";

/// Plans the types that casts name.
#[derive(Debug)]
pub(crate) struct AthenaTypes;

impl TypePlanner for AthenaTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        // DataFusion's own choice of layout for strings.
        if matches!(sql_type, SqlType::Varchar(None) | SqlType::String(None)) {
            return Ok(None);
        }
        Ok(Some(Arc::new(Field::new("", arrow_type(sql_type)?, true))))
    }
}

/// Types of Trino's that are none here.
const OTHERS: [&str; 10] = [
    "hyperloglog",
    "p4hyperloglog",
    "setdigest",
    "qdigest",
    "tdigest",
    "ipaddress",
    "geometry",
    "sphericalgeography",
    "color",
    "uuid",
];

fn refused(sql_type: &SqlType) -> DataFusionError {
    match sql_type {
        SqlType::Custom(name, _) if !OTHERS.contains(&name.to_string().to_lowercase().as_str()) => {
            DataFusionError::Plan(format!("TYPE_NOT_FOUND: Unknown type: {name}"))
        }
        SqlType::Decimal(_) | SqlType::Numeric(_) | SqlType::Dec(_) => {
            let range = format!("1 to {MAX_DECIMAL_DIGITS} digits, and at most as many behind the point");
            DataFusionError::Plan(format!("TYPE_NOT_FOUND: Unknown type: {sql_type}: decimals have {range}"))
        }
        _ => DataFusionError::NotImplemented(format!("the type {sql_type}")),
    }
}

/// Arrow's type for values of `sql_type`.
fn arrow_type(sql_type: &SqlType) -> Result<DataType> {
    Ok(match sql_type {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::TinyInt(None) => DataType::Int8,
        SqlType::SmallInt(None) => DataType::Int16,
        SqlType::Int(None) | SqlType::Integer(None) => DataType::Int32,
        SqlType::BigInt(None) => DataType::Int64,
        SqlType::Real | SqlType::Float(ExactNumberInfo::None) => DataType::Float32,
        SqlType::Double(ExactNumberInfo::None) | SqlType::DoublePrecision => DataType::Float64,
        SqlType::Varchar(None) | SqlType::String(None) => DataType::Utf8,
        SqlType::JSON => JSON,
        SqlType::Varbinary(None) => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Decimal(info) | SqlType::Numeric(info) | SqlType::Dec(info) => decimal(info).ok_or_else(|| refused(sql_type))?,
        SqlType::Timestamp(precision, zone) => {
            let unit = unit(*precision).ok_or_else(|| refused(sql_type))?;
            let has_zone = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
            DataType::Timestamp(unit, has_zone.then(|| Arc::from(ZONE)))
        }
        SqlType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => match unit(*precision) {
            Some(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(unit),
            Some(unit) => DataType::Time64(unit),
            None => return Err(refused(sql_type)),
        },
        SqlType::Array(ArrayElemTypeDef::AngleBracket(element)) => {
            DataType::List(Arc::new(Field::new_list_field(arrow_type(element)?, true)))
        }
        SqlType::Map(key, value) => map(arrow_type(key)?, arrow_type(value)?),
        SqlType::Struct(fields, _) => DataType::Struct(row(fields)?),
        _ => return Err(refused(sql_type)),
    })
}

fn decimal(info: &ExactNumberInfo) -> Option<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (MAX_DECIMAL_DIGITS, 0),
        ExactNumberInfo::Precision(precision) => (u8::try_from(*precision).ok()?, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (u8::try_from(*precision).ok()?, i8::try_from(*scale).ok()?),
    };
    let is_valid = (1..=MAX_DECIMAL_DIGITS).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    is_valid.then_some(DataType::Decimal128(precision, scale))
}

/// The unit that holds so many digits of a second; three when nothing is said.
fn unit(precision: Option<u64>) -> Option<TimeUnit> {
    match precision {
        Some(0) => Some(TimeUnit::Second),
        None | Some(1..=3) => Some(TimeUnit::Millisecond),
        Some(4..=6) => Some(TimeUnit::Microsecond),
        Some(7..=9) => Some(TimeUnit::Nanosecond),
        Some(_) => None,
    }
}

fn map(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn row(fields: &[StructField]) -> Result<Fields> {
    let field = |(index, field): (usize, &StructField)| {
        let name = field.field_name.as_ref().map_or_else(|| format!("field{index}"), |name| name.value.to_lowercase());
        Ok(Field::new(name, arrow_type(&field.field_type)?, true))
    };
    fields.iter().enumerate().map(field).collect::<Result<Vec<_>>>().map(Fields::from)
}
