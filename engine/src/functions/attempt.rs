//! What `TRY` makes of a function: the same with NULL for the rows that it fails for, under the name `owlet_try_` and its own.

use super::Functions;
use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

/// What the name of such a function begins with.
const PREFIX: &str = "owlet_try_";

static NAMES: LazyLock<HashSet<String>> =
    LazyLock::new(|| Functions::all().scalar.iter().map(|function| function.name().to_string()).collect());

/// The name of the function that is `name` in TRY; none where there is no such.
pub fn tried(name: &str) -> Option<String> {
    let tried = format!("{PREFIX}{name}");
    NAMES.contains(&tried).then_some(tried)
}

/// Adds such a function for each function that statements call by its name.
pub(super) fn add_to(functions: &mut Functions) {
    // Those of SQL/JSON and the minus are called by the names of their own syntax.
    let is_called = |name: &str| !name.starts_with("owlet_") || name.starts_with("owlet_json_") || name == "owlet_negate";
    let inner = functions.scalar.iter().filter(|function| is_called(function.name()));
    let tried = inner.flat_map(|inner| {
        let names = std::iter::once(inner.name()).chain(inner.aliases().iter().map(String::as_str));
        names.map(|name| Attempt { name: format!("{PREFIX}{name}"), inner: Arc::clone(inner) }).collect::<Vec<_>>()
    });
    let tried: Vec<_> = tried.map(|attempt| Arc::new(ScalarUDF::new_from_impl(attempt))).collect();
    functions.scalar.extend(tried);
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Attempt {
    name: String,
    inner: Arc<ScalarUDF>,
}

/// Whether a failure is of the values, which is what TRY forgives.
fn is_of_values(error: &DataFusionError) -> bool {
    !matches!(error.find_root(), DataFusionError::ResourcesExhausted(_) | DataFusionError::Internal(_))
}

/// What `run` makes of `length` rows from `start` on, of type `of`. A batch that fails is halved until the rows that fail are alone; these are
/// NULL.
///
/// # Errors
/// Those that are not of the values.
pub(super) fn halved(
    run: &dyn Fn(usize, usize) -> Result<ArrayRef>,
    of: &DataType,
    start: usize,
    length: usize,
) -> Result<ArrayRef> {
    match run(start, length) {
        Ok(rows) => Ok(rows),
        Err(error) if !is_of_values(&error) => Err(error),
        Err(_) if length <= 1 => Ok(new_null_array(of, length)),
        Err(_) => {
            let half = length / 2;
            let halves = [halved(run, of, start, half)?, halved(run, of, start + half, length - half)?];
            Ok(concat(&halves.each_ref().map(|half| half.as_ref()))?)
        }
    }
}

impl Attempt {
    fn rows(&self, args: &ScalarFunctionArgs, length: usize) -> Result<ArrayRef> {
        let run = |start: usize, length: usize| {
            let part = |arg: &ColumnarValue| match arg {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(start, length)),
                scalar => scalar.clone(),
            };
            let part = ScalarFunctionArgs { args: args.args.iter().map(part).collect(), number_rows: length, ..args.clone() };
            self.inner.invoke_with_args(part)?.into_array(length)
        };
        halved(&run, args.return_field.data_type(), 0, length)
    }
}

impl ScalarUDFImpl for Attempt {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        if is_constant {
            let row = self.rows(&args, 1)?;
            return ScalarValue::try_from_array(&row, 0).map(ColumnarValue::Scalar);
        }
        self.rows(&args, args.number_rows).map(ColumnarValue::Array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{Field, Int64Type};
    use datafusion::common::config::ConfigOptions;

    #[test]
    fn only_the_rows_that_fail_are_null() {
        let functions = Functions::all();
        let abs = functions.scalar.iter().find(|function| function.name() == "owlet_try_abs").unwrap();
        let values = Int64Array::from(vec![Some(-1), Some(i64::MIN), None, Some(3), Some(i64::MIN)]);
        let field = Arc::new(Field::new("x", DataType::Int64, true));
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::new(values))],
            arg_fields: vec![Arc::clone(&field) as FieldRef],
            number_rows: 5,
            return_field: field,
            config_options: Arc::new(ConfigOptions::default()),
        };
        let rows = abs.invoke_with_args(args).unwrap().into_array(5).unwrap();
        let rows: Vec<Option<i64>> = rows.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(rows, [Some(1), None, None, Some(3), None]);
        assert_eq!(tried("abs").as_deref(), Some("owlet_try_abs"));
        assert_eq!(tried("owlet_add"), None);
    }
}
