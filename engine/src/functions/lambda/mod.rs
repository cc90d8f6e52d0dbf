//! Functions that take lambdas: each evaluates its lambda on the elements of a whole batch at once.

mod attempt;
mod lists;
mod maps;
mod reduce;
mod sort;

use super::Functions;
use super::nested::{as_list, as_map, by_name, check_count, list_item, list_of, map_of, map_types, named, same_type};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array};
use arrow::compute::{cast, take_arrays};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderUDF,
    HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda, Volatility,
};
use std::sync::Arc;

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    let table = [
        Lambda::new("transform", 1, 1, one_list, of_items, |_, made| Ok(list_of(made[0].clone())), lists::transform),
        Lambda::new("filter", 1, 1, one_list, of_items, |given, made| predicate(made, &given[0]), lists::filter),
        Lambda::new("any_match", 1, 1, one_list, of_items, matched, lists::any_match),
        Lambda::new("all_match", 1, 1, one_list, of_items, matched, lists::all_match),
        Lambda::new("none_match", 1, 1, one_list, of_items, matched, lists::none_match),
        Lambda::new("zip_with", 2, 1, two_lists, of_both_items, |_, made| Ok(list_of(made[0].clone())), lists::zip_with),
        Lambda::new("reduce", 2, 2, list_and_state, reduce::parameters, |_, made| Ok(made[1].clone()), reduce::reduce),
        Lambda::new("array_sort_by", 1, 1, one_list, of_two_items, sort::result, sort::sort),
        Lambda::new("map_filter", 1, 1, one_map, of_entries, |given, made| predicate(made, &given[0]), maps::filter),
        Lambda::new("transform_keys", 1, 1, one_map, of_entries, new_keys, maps::transform_keys),
        Lambda::new("transform_values", 1, 1, one_map, of_entries, new_values, maps::transform_values),
        Lambda::new("owlet_attempt", 1, 1, |given| Ok(given.to_vec()), of_given, |_, made| Ok(made[0].clone()), attempt::attempt),
        Lambda::new("map_zip_with", 2, 1, two_maps, of_three, new_values, maps::zip_with),
    ];
    functions.higher_order.extend(table.into_iter().map(|lambda| Arc::new(HigherOrderUDF::new_from_impl(lambda))));
}

fn of_given(given: &[DataType], _: &[Option<DataType>]) -> Result<Parameters> {
    Ok(vec![Some(given.to_vec())])
}

/// Types of each lambda's parameters; `None` while they depend on the result of another lambda.
type Parameters = Vec<Option<Vec<DataType>>>;

/// A call: values of the coerced types with `rows` rows, and lambdas.
struct Call<'a> {
    values: Vec<ArrayRef>,
    lambdas: Vec<&'a LambdaArgument>,
    rows: usize,
    result: &'a DataType,
}

/// A function of values followed by lambdas, as plain functions; two with the same name are the same.
struct Lambda {
    name: &'static str,
    signature: HigherOrderSignature,
    lambda_count: usize,
    coerce: fn(&[DataType]) -> Result<Vec<DataType>>,
    parameters: fn(&[DataType], &[Option<DataType>]) -> Result<Parameters>,
    result: fn(&[DataType], &[DataType]) -> Result<DataType>,
    run: fn(&Call<'_>) -> Result<ArrayRef>,
}

impl Lambda {
    fn new(
        name: &'static str,
        value_count: usize,
        lambda_count: usize,
        coerce: fn(&[DataType]) -> Result<Vec<DataType>>,
        parameters: fn(&[DataType], &[Option<DataType>]) -> Result<Parameters>,
        result: fn(&[DataType], &[DataType]) -> Result<DataType>,
        run: fn(&Call<'_>) -> Result<ArrayRef>,
    ) -> Self {
        let values = std::iter::repeat_n(ValueOrLambda::Value(()), value_count);
        let shape = values.chain(std::iter::repeat_n(ValueOrLambda::Lambda(()), lambda_count)).collect();
        let signature = HigherOrderSignature::exact(shape, Volatility::Immutable);
        Self { name, signature, lambda_count, coerce, parameters, result, run }
    }
}

by_name!(Lambda);

/// Values and lambdas apart.
fn split<V, L>(all: &[ValueOrLambda<V, L>]) -> (Vec<&V>, Vec<&L>) {
    let (mut values, mut lambdas) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            ValueOrLambda::Value(value) => values.push(value),
            ValueOrLambda::Lambda(lambda) => lambdas.push(lambda),
        }
    }
    (values, lambdas)
}

fn types_of(fields: &[&FieldRef]) -> Vec<DataType> {
    fields.iter().map(|field| field.data_type().clone()).collect()
}

impl HigherOrderUDFImpl for Lambda {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        named(self.name, (self.coerce)(types))
    }

    fn coerce_values_for_lambdas(&self, all: &[ValueOrLambda<DataType, DataType>]) -> Result<Option<Vec<DataType>>> {
        let (values, lambdas) = split(all);
        match (values.as_slice(), lambdas.as_slice()) {
            // The state of `reduce` is what its lambda makes of it.
            ([list, _], [state, _]) => Ok(Some(vec![(*list).clone(), (*state).clone()])),
            _ => Ok(None),
        }
    }

    fn lambda_parameters(
        &self,
        step: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<LambdaParametersProgress> {
        let (values, lambdas) = split(fields);
        let made: Vec<_> = lambdas.iter().map(|field| field.as_ref().map(|field| field.data_type().clone())).collect();
        if step > self.lambda_count {
            return plan_err!("{}: the types of the lambdas cannot be found", self.name);
        }
        let parameters = named(self.name, (self.parameters)(&types_of(&values), &made))?;
        // One spelling of fields, so that plans agree on both sides of the wire.
        let field = |of: &DataType| Arc::new(Field::new("", of.clone(), true)) as FieldRef;
        let fields = |types: &Vec<DataType>| types.iter().map(field).collect::<Vec<_>>();
        match parameters.iter().cloned().collect::<Option<Vec<_>>>() {
            Some(all) => Ok(LambdaParametersProgress::Complete(all.iter().map(fields).collect())),
            None => {
                let some = parameters.iter().map(|types| types.as_ref().map(fields));
                Ok(LambdaParametersProgress::Partial(some.collect()))
            }
        }
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        let (values, lambdas) = split(args.arg_fields);
        let result = named(self.name, (self.result)(&types_of(&values), &types_of(&lambdas)))?;
        Ok(Arc::new(Field::new("", result, true)))
    }

    fn short_circuits(&self) -> bool {
        true
    }

    /// A lambda is evaluated for the elements that there are, and TRY forgives what fails: what is in one twice must stay there.
    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        Some(args.iter().partition(|arg| !matches!(arg, Expr::Lambda(_))))
    }

    fn clear_null_values(&self) -> bool {
        // Elements are picked row by row here, so those under NULL are never seen.
        false
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let (values, lambdas) = split(&args.args);
        let rows = args.number_rows;
        let values = values.iter().map(|value| value.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let call = Call { values, lambdas, rows, result: args.return_field.data_type() };
        let array = named(self.name, (self.run)(&call))?;
        match array.len() == rows {
            true => Ok(ColumnarValue::Array(array)),
            false => internal_err!("{} made {} rows of {rows}", self.name, array.len()),
        }
    }
}

/// Evaluates a lambda on `arguments`, of which element i belongs to row `rows[i]`.
fn apply(lambda: &LambdaArgument, arguments: &[ArrayRef], rows: &UInt64Array) -> Result<ArrayRef> {
    let closures: Vec<_> = arguments.iter().map(|array| move || Ok(Arc::clone(array))).collect();
    let arguments: Vec<&dyn Fn() -> Result<ArrayRef>> = closures.iter().map(|closure| closure as _).collect();
    lambda.evaluate(&arguments, |captured| Ok(take_arrays(captured, rows, None)?))?.into_array(rows.len())
}

/// Evaluates a lambda that is a condition.
fn test(lambda: &LambdaArgument, arguments: &[ArrayRef], rows: &UInt64Array) -> Result<BooleanArray> {
    let tested = cast(&apply(lambda, arguments, rows)?, &DataType::Boolean)?;
    match tested.as_boolean_opt() {
        Some(tested) => Ok(tested.clone()),
        None => exec_err!("the lambda must return a boolean"),
    }
}

/// Checks that the lambda is a condition.
fn predicate(made: &[DataType], result: &DataType) -> Result<DataType> {
    match &made[0] {
        DataType::Boolean | DataType::Null => Ok(result.clone()),
        other => plan_err!("the lambda must return a boolean, not {other}"),
    }
}

fn matched(_: &[DataType], made: &[DataType]) -> Result<DataType> {
    predicate(made, &DataType::Boolean)
}

fn item(list: &DataType) -> Result<DataType> {
    match list_item(list) {
        Some(item) => Ok(item),
        None => plan_err!("expected an array, got {list}"),
    }
}

fn entry(map: &DataType) -> Result<(DataType, DataType)> {
    match map_types(map) {
        Some(types) => Ok(types),
        None => plan_err!("expected a map, got {map}"),
    }
}

fn one_list(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    Ok(vec![as_list(&types[0])?])
}

fn two_lists(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    types.iter().map(as_list).collect()
}

fn list_and_state(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    Ok(vec![as_list(&types[0])?, types[1].clone()])
}

fn one_map(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    Ok(vec![as_map(&types[0])?])
}

fn two_maps(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    let (left, right) = (entry(&types[0])?, entry(&types[1])?);
    let key = same_type(&left.0, &right.0)?;
    Ok(vec![map_of(key.clone(), left.1), map_of(key, right.1)])
}

fn of_items(given: &[DataType], _: &[Option<DataType>]) -> Result<Parameters> {
    Ok(vec![Some(vec![item(&given[0])?])])
}

fn of_both_items(given: &[DataType], _: &[Option<DataType>]) -> Result<Parameters> {
    Ok(vec![Some(vec![item(&given[0])?, item(&given[1])?])])
}

fn of_two_items(given: &[DataType], _: &[Option<DataType>]) -> Result<Parameters> {
    let item = item(&given[0])?;
    Ok(vec![Some(vec![item.clone(), item])])
}

fn of_entries(given: &[DataType], _: &[Option<DataType>]) -> Result<Parameters> {
    let (key, value) = entry(&given[0])?;
    Ok(vec![Some(vec![key, value])])
}

fn of_three(given: &[DataType], _: &[Option<DataType>]) -> Result<Parameters> {
    let ((key, left), (_, right)) = (entry(&given[0])?, entry(&given[1])?);
    Ok(vec![Some(vec![key, left, right])])
}

fn new_keys(given: &[DataType], made: &[DataType]) -> Result<DataType> {
    Ok(map_of(made[0].clone(), entry(&given[0])?.1))
}

fn new_values(given: &[DataType], made: &[DataType]) -> Result<DataType> {
    Ok(map_of(entry(&given[0])?.0, made[0].clone()))
}
