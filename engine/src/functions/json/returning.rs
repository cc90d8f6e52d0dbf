//! What `json_value` gives: values of SQL as the type behind RETURNING, by the rules of casts.

use super::sql_path::{Number, Scalar, Width};
use crate::functions::Functions;
use crate::functions::conversion::{self, cast_double, cast_real, decimal_text};
use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    StringArray, new_null_array,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Casts that give NULL for what they fail for, by name.
static CASTS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = Functions::default();
    conversion::add(&mut functions);
    functions.scalar.into_iter().map(|function| (function.name().to_string(), function)).collect()
});

/// A value as varchar, of so many characters at most; `None` for a number that needs more.
pub(super) fn varchar(value: &Scalar<'_>, length: Option<usize>) -> Option<String> {
    let text = match value {
        Scalar::Text(text) => return Some(length.map_or_else(|| text.to_string(), |length| text.chars().take(length).collect())),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(Number::Int(_, value)) => value.to_string(),
        Scalar::Number(Number::Double(value)) => cast_double(*value),
        Scalar::Number(Number::Real(value)) => cast_real(*value),
        Scalar::Number(Number::Decimal(value, _, scale)) => decimal_text(&value.to_string(), scale.cast_signed()),
    };
    length.is_none_or(|length| text.chars().count() <= length).then_some(text)
}

/// Values as `to`, by the types that they have. NULL where there is no value and where it cannot be cast.
pub(super) fn converted(values: &[Option<Scalar<'_>>], to: &DataType) -> Result<Vec<(DataType, ArrayRef)>> {
    let mut types: Vec<DataType> = Vec::new();
    for of in values.iter().flatten().map(type_of) {
        if !types.contains(&of) {
            types.push(of);
        }
    }
    types.into_iter().map(|of| Ok((of.clone(), convert(&array(values, &of)?, to)?))).collect()
}

/// The type of a value in an array.
pub(super) fn type_of(value: &Scalar<'_>) -> DataType {
    match value {
        Scalar::Bool(_) => DataType::Boolean,
        Scalar::Text(_) => DataType::Utf8,
        Scalar::Number(Number::Int(Width::Tiny, _)) => DataType::Int8,
        Scalar::Number(Number::Int(Width::Small, _)) => DataType::Int16,
        Scalar::Number(Number::Int(Width::Integer, _)) => DataType::Int32,
        Scalar::Number(Number::Int(Width::Big, _)) => DataType::Int64,
        Scalar::Number(Number::Double(_)) => DataType::Float64,
        Scalar::Number(Number::Real(_)) => DataType::Float32,
        Scalar::Number(Number::Decimal(_, precision, scale)) => DataType::Decimal128(*precision, scale.cast_signed()),
    }
}

/// The values of type `of`; NULL for others.
fn array(values: &[Option<Scalar<'_>>], of: &DataType) -> Result<ArrayRef> {
    let own = || values.iter().map(|value| value.as_ref().filter(|value| type_of(value) == *of));
    let number = || {
        own().map(|value| match value {
            Some(Scalar::Number(number)) => Some(*number),
            _ => None,
        })
    };
    let int = || number().map(|value| if let Some(Number::Int(_, value)) = value { Some(value) } else { None });
    Ok(match of {
        DataType::Boolean => {
            let bools = own().map(|value| if let Some(Scalar::Bool(value)) = value { Some(*value) } else { None });
            Arc::new(bools.collect::<BooleanArray>())
        }
        DataType::Utf8 => {
            let texts = own().map(|value| if let Some(Scalar::Text(text)) = value { Some(text.as_ref()) } else { None });
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::Int8 => Arc::new(int().map(|value| value.and_then(|value| i8::try_from(value).ok())).collect::<Int8Array>()),
        DataType::Int16 => Arc::new(int().map(|value| value.and_then(|value| i16::try_from(value).ok())).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(int().map(|value| value.and_then(|value| i32::try_from(value).ok())).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(int().collect::<Int64Array>()),
        DataType::Float64 => {
            let doubles = number().map(|value| if let Some(Number::Double(value)) = value { Some(value) } else { None });
            Arc::new(doubles.collect::<Float64Array>())
        }
        DataType::Float32 => {
            let reals = number().map(|value| if let Some(Number::Real(value)) = value { Some(value) } else { None });
            Arc::new(reals.collect::<Float32Array>())
        }
        DataType::Decimal128(precision, scale) => {
            let decimals = number().map(|value| if let Some(Number::Decimal(value, ..)) = value { Some(value) } else { None });
            Arc::new(decimals.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale)?)
        }
        other => return internal_err!("a JSON value of type {other}"),
    })
}

/// `array` as `to`, NULL where the cast fails.
fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let from = array.data_type();
    let none = || Ok(new_null_array(to, array.len()));
    let is_text = *from == DataType::Utf8;
    let is_inexact = is_text || from.is_floating() || matches!(from, DataType::Decimal128(..));
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0_i64,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match to {
        to if from == to => Ok(Arc::clone(array)),
        DataType::Int8 if is_inexact => call("integer", array, &["tinyint".into()], to),
        DataType::Int16 if is_inexact => call("integer", array, &["smallint".into()], to),
        DataType::Int32 if is_inexact => call("integer", array, &["integer".into()], to),
        DataType::Int64 if is_inexact => call("integer", array, &["bigint".into()], to),
        DataType::Float64 if is_text => call("double", array, &[], to),
        DataType::Float32 if is_text => call("real", array, &[], to),
        DataType::Boolean if is_text || matches!(from, DataType::Decimal128(..)) => call("boolean", array, &[], to),
        DataType::Decimal128(precision, scale) if is_text || from.is_floating() || *from == DataType::Boolean => {
            call("decimal", array, &[i64::from(*precision).into(), i64::from(*scale).into()], to)
        }
        DataType::Date32 if is_text => call("date", array, &[], to),
        DataType::Timestamp(unit, None) if is_text => call("timestamp", array, &[digits(unit).into()], to),
        DataType::Time32(unit) | DataType::Time64(unit) if is_text => call("time", array, &[digits(unit).into()], to),
        to if to.is_temporal() => none(),
        to => Ok(cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })?),
    }
}

fn call(name: &str, array: &ArrayRef, form: &[ScalarValue], to: &DataType) -> Result<ArrayRef> {
    let Some(function) = CASTS.get(&format!("owlet_try_cast_{name}")) else { return internal_err!("there is no cast {name}") };
    let field = |of: &DataType| Arc::new(Field::new("value", of.clone(), true));
    let values = std::iter::once(ColumnarValue::Array(Arc::clone(array)));
    let args = ScalarFunctionArgs {
        args: values.chain(form.iter().cloned().map(ColumnarValue::Scalar)).collect(),
        arg_fields: std::iter::once(field(array.data_type())).chain(form.iter().map(|one| field(&one.data_type()))).collect(),
        number_rows: array.len(),
        return_field: field(to),
        config_options: Arc::new(ConfigOptions::default()),
    };
    let converted = function.invoke_with_args(args)?.into_array(array.len())?;
    if converted.data_type() == to { Ok(converted) } else { Ok(cast(&converted, to)?) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::{ArrayFormatter, FormatOptions};

    fn one(value: Scalar<'_>, to: &DataType) -> String {
        let arrays = converted(&[Some(value)], to).unwrap();
        let [(_, array)] = arrays.as_slice() else { panic!("one array") };
        assert_eq!(array.data_type(), to);
        ArrayFormatter::try_new(array, &FormatOptions::default().with_null("NULL")).unwrap().value(0).to_string()
    }

    #[test]
    fn values_are_cast_or_null() {
        let text = |text: &'static str| Scalar::Text(text.into());
        let int = |value| Scalar::Number(Number::Int(Width::Big, value));
        let double = |value| Scalar::Number(Number::Double(value));
        let decimal = Scalar::Number(Number::Decimal(255, 3, 1));
        for (value, to, wanted) in [
            (int(1000), DataType::Int8, "NULL"),
            (int(100), DataType::Int8, "100"),
            (int(2), DataType::Decimal128(3, 1), "2.0"),
            (int(200), DataType::Decimal128(3, 1), "NULL"),
            (int(2), DataType::Boolean, "true"),
            (int(2), DataType::Float32, "2.0"),
            (int(2), DataType::Date32, "NULL"),
            (double(2.5), DataType::Int64, "3"),
            (double(1e30), DataType::Int64, "NULL"),
            (double(f64::NAN), DataType::Int64, "NULL"),
            (double(2.25), DataType::Decimal128(3, 1), "2.3"),
            (decimal.clone(), DataType::Int32, "26"),
            (decimal.clone(), DataType::Float64, "25.5"),
            (decimal, DataType::Boolean, "true"),
            (Scalar::Bool(true), DataType::Int32, "1"),
            (Scalar::Bool(true), DataType::Decimal128(3, 1), "1.0"),
            (text("12"), DataType::Int32, "12"),
            (text("x"), DataType::Int32, "NULL"),
            (text("1.5"), DataType::Float64, "1.5"),
            (text("true"), DataType::Boolean, "true"),
            (text("2024-01-31"), DataType::Date32, "2024-01-31"),
            (text("2024-01-31 10:00:00.123"), DataType::Timestamp(TimeUnit::Millisecond, None), "2024-01-31T10:00:00.123"),
            (text("10:00:01"), DataType::Time32(TimeUnit::Millisecond), "10:00:01"),
        ] {
            assert_eq!(one(value.clone(), &to), wanted, "{value:?} as {to}");
        }
        assert_eq!(varchar(&double(1.5), None).as_deref(), Some("1.5E0"));
        assert_eq!(varchar(&text("aé😀x"), Some(3)).as_deref(), Some("aé😀"));
        assert_eq!(varchar(&int(1000), Some(3)), None);
    }
}
