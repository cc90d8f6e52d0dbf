//! What the array, map, lambda and aggregate functions share: one shape of function, list views, keys and type rules.

mod keys;
mod lists;
mod types;

pub(super) use keys::{NanOrder, canonical, check_known, converter, is_nan, keys, keys_with};
pub(super) use lists::{Lists, MAX_BATCH_ELEMENTS, Picks, aligned, list_from_parts, map_from_parts, map_parts, pick_rows};
pub(super) use types::{as_list, as_map, check_comparable, list_item, list_of, map_of, map_types, same_type, struct_of};

use crate::error::function_error;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// Makes two functions of a kind the same if their names are.
macro_rules! by_name {
    ($kind:ty) => {
        impl std::fmt::Debug for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name)
            }
        }

        impl PartialEq for $kind {
            fn eq(&self, other: &Self) -> bool {
                self.name == other.name
            }
        }

        impl Eq for $kind {}

        impl std::hash::Hash for $kind {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.name.hash(state);
            }
        }
    };
}
pub(super) use by_name;

/// The most elements that one row of `sequence` and `repeat` may make, as in Trino.
pub(super) const MAX_MADE_ELEMENTS: usize = 10_000;

/// One call of a function: arguments of the coerced types, all with `rows` rows.
pub(super) struct Call<'a> {
    /// The arguments.
    pub(super) args: &'a [ArrayRef],
    /// How many rows there are.
    pub(super) rows: usize,
    /// The type to return.
    pub(super) result: &'a DataType,
}

impl Call<'_> {
    /// Argument `index`.
    pub(super) fn arg(&self, index: usize) -> Result<&ArrayRef> {
        match self.args.get(index) {
            Some(array) => Ok(array),
            None => exec_err!("argument {index} is missing"),
        }
    }

    /// Argument `index` as lists.
    pub(super) fn lists(&self, index: usize) -> Result<Lists> {
        Lists::new(self.arg(index)?)
    }

    /// Argument `index` as whole numbers.
    pub(super) fn ints(&self, index: usize) -> Result<&arrow::array::Int64Array> {
        use arrow::array::AsArray;
        match self.arg(index)?.as_primitive_opt::<arrow::datatypes::Int64Type>() {
            Some(ints) => Ok(ints),
            None => exec_err!("argument {index} must be a bigint"),
        }
    }
}

/// Argument types to coerce to.
pub(super) type Coerce = fn(&[DataType]) -> Result<Vec<DataType>>;
/// The body of a function.
pub(super) type Run = fn(&Call<'_>) -> Result<ArrayRef>;
/// The result's type of coerced argument types.
pub(super) type ResultType = fn(&[DataType]) -> Result<DataType>;

/// A scalar function as three plain functions; two with the same name are the same.
pub(super) struct Scalar {
    name: &'static str,
    signature: Signature,
    coerce: Coerce,
    result: ResultType,
    run: Run,
}

impl Scalar {
    /// A function whose result follows from its arguments.
    pub(super) fn udf(name: &'static str, coerce: Coerce, result: ResultType, run: Run) -> Arc<ScalarUDF> {
        Self::with_volatility(name, Volatility::Immutable, coerce, result, run)
    }

    /// The same with a volatility.
    pub(super) fn with_volatility(
        name: &'static str,
        volatility: Volatility,
        coerce: Coerce,
        result: ResultType,
        run: Run,
    ) -> Arc<ScalarUDF> {
        let signature = Signature::user_defined(volatility);
        Arc::new(ScalarUDF::new_from_impl(Self { name, signature, coerce, result, run }))
    }
}

by_name!(Scalar);

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        named(self.name, (self.coerce)(arg_types))
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        // Without arguments the planner does not ask for coercion.
        let types = if arg_types.is_empty() { self.coerce_types(arg_types)? } else { arg_types.to_vec() };
        named(self.name, (self.result)(&types))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let volatile = self.signature.volatility == Volatility::Volatile;
        let constant = !volatile && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let call = Call { args: &arrays, rows, result: args.return_field.data_type() };
        let array = named(self.name, (self.run)(&call))?;
        if array.len() != rows {
            return exec_err!("{} made {} rows of {rows}", self.name, array.len());
        }
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}

/// Puts the function's name before a message of ours.
pub(super) fn named<T>(name: &str, result: Result<T>) -> Result<T> {
    use datafusion::common::DataFusionError as Error;
    result.map_err(|error| match error {
        Error::Plan(message) => Error::Plan(format!("{name}: {message}")),
        Error::NotImplemented(message) => Error::NotImplemented(format!("{name}: {message}")),
        other => function_error(name, other),
    })
}

/// An error unless there are `expected` arguments.
pub(super) fn check_count(types: &[DataType], expected: std::ops::RangeInclusive<usize>) -> Result<()> {
    if expected.contains(&types.len()) {
        return Ok(());
    }
    let (low, high) = (expected.start(), expected.end());
    match low == high {
        true => plan_err!("expected {low} arguments, got {}", types.len()),
        false => plan_err!("expected {low} to {high} arguments, got {}", types.len()),
    }
}

#[cfg(test)]
mod tests;
