//! What holds for all functions of texts and numbers: any values give a value or an error.
//!
//! The property of the fuzz target `fuzz/fuzz_targets/functions.rs` and of a test.

use super::Functions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};
use std::sync::{Arc, LazyLock};

/// Rows of each call.
const ROWS: usize = 2;

static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| Functions::all().scalar);

/// Calls each scalar function that takes them with `texts` and `number`, as constants and as columns: patterns, formats, paths,
/// positions and lengths among them.
///
/// # Errors
/// With the call whose result has another number of rows than it should. An error of a function is not wrong.
pub fn check_functions(texts: [&str; 3], number: i64) -> Result<(), String> {
    let [a, b, c] = texts.map(|text| ScalarValue::Utf8(Some(text.to_string())));
    let n = ScalarValue::Int64(Some(number));
    // Bits of the number, so that NaN and the infinities are among them.
    let d = ScalarValue::Float64(Some(f64::from_bits(number.cast_unsigned())));
    let shapes: [&[&ScalarValue]; 12] = [
        &[&a],
        &[&a, &b],
        &[&a, &b, &c],
        &[&a, &n],
        &[&a, &n, &b],
        &[&a, &n, &n],
        &[&a, &b, &n],
        &[&n],
        &[&n, &n],
        &[&d],
        &[&d, &d],
        &[&d, &n],
    ];
    for function in FUNCTIONS.iter() {
        for shape in shapes {
            let types: Vec<DataType> = shape.iter().map(|value| value.data_type()).collect();
            let fields = fields(&types);
            // What would be cast first is another shape.
            if fields_with_udf(&fields, function.as_ref()).is_ok_and(|wanted| wanted == fields) {
                check_call(function, shape, &fields)?;
            }
        }
    }
    Ok(())
}

fn fields(types: &[DataType]) -> Vec<FieldRef> {
    types.iter().map(|of| Arc::new(Field::new("value", of.clone(), true))).collect()
}

fn check_call(function: &ScalarUDF, values: &[&ScalarValue], fields: &[FieldRef]) -> Result<(), String> {
    for is_column in [false, true] {
        let Ok(result) = call(function, values, fields, is_column) else { continue };
        let rows = result.to_array(ROWS).map(|array| array.len());
        if rows.as_ref().is_ok_and(|rows| *rows != ROWS) || rows.is_err() && is_column {
            return Err(format!("{}({values:?}) gives {rows:?} in place of {ROWS} rows", function.name()));
        }
    }
    Ok(())
}

fn call(function: &ScalarUDF, values: &[&ScalarValue], fields: &[FieldRef], is_column: bool) -> Result<ColumnarValue> {
    let arg_fields = fields.to_vec();
    let scalar_arguments: Vec<Option<&ScalarValue>> = values.iter().map(|value| (!is_column).then_some(*value)).collect();
    let of = ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &scalar_arguments };
    let return_field = function.return_field_from_args(of)?;
    let one = |value: &&ScalarValue| match is_column {
        true => value.to_array_of_size(ROWS).map(ColumnarValue::Array),
        false => Ok(ColumnarValue::Scalar((*value).clone())),
    };
    let args = values.iter().map(one).collect::<Result<Vec<_>>>()?;
    let config_options = Arc::new(ConfigOptions::default());
    function.invoke_with_args(ScalarFunctionArgs { args, arg_fields, number_rows: ROWS, return_field, config_options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_values_give_a_value_or_an_error() {
        let texts = [
            "",
            "a",
            "ß",
            "é\u{301}",
            "%Y-%m-%d",
            "yyyy-MM-dd HH:mm:ss.SSS",
            "%",
            "(",
            "a{1001}",
            "\\",
            "\\Q",
            "[[:alpha:]]",
            "(?<x>.)*",
            "$",
            "$1",
            "$.a[0]",
            "$..",
            "{\"a\":[1,2]}",
            "http://h:1/p?q=%zz#f",
            "2024-02-30",
            "2024-01-01 24:00:00",
            "99999-12-31",
            "second",
            "month",
            "America/New_York",
            "+14:01",
            "1e400",
            "-0",
            "NaN",
            "\u{0}",
            "🦉🦉",
            "3 12:00:00",
            "P1Y",
        ];
        let numbers = [
            0,
            1,
            -1,
            2,
            5,
            64,
            1_000,
            1 << 31,
            i64::MAX,
            i64::MIN,
            f64::NAN.to_bits().cast_signed(),
            (-0.0f64).to_bits().cast_signed(),
        ];
        for (index, first) in texts.iter().enumerate() {
            for step in 0..3 {
                let other = |factor: usize| texts[(index * factor + step * 11 + 1) % texts.len()];
                let number = numbers[(index + step * 5) % numbers.len()];
                assert_eq!(check_functions([first, other(3), other(7)], number), Ok(()));
            }
        }
    }
}
