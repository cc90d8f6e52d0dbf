//! Aggregate functions: DataFusion's under Trino's names where they agree, and those that it lacks.

mod adapt;
mod best;
mod collect;
mod count_if;
mod distinct;
mod framed;
mod gather;
mod hll;
mod moments;
mod nan;
mod percentile;
mod refused;
mod sliding;
mod spans;
mod sum;

use super::Functions;
use super::nested::{Coerce, ResultType, by_name, named};
use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, not_impl_err};
use datafusion::functions_aggregate::{any_value, bit_and_or_xor, bool_and_or, correlation, covariance, regr, stddev, variance};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use std::sync::Arc;

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    let framed = [
        (any_value::any_value_udaf(), Some("arbitrary")),
        (bool_and_or::bool_and_udaf(), Some("every")),
        (bool_and_or::bool_or_udaf(), None),
        (bit_and_or_xor::bit_and_udaf(), Some("bitwise_and_agg")),
        (bit_and_or_xor::bit_or_udaf(), Some("bitwise_or_agg")),
        (bit_and_or_xor::bit_xor_udaf(), Some("bitwise_xor_agg")),
        (correlation::corr_udaf(), None),
        (covariance::covar_pop_udaf(), None),
        (covariance::covar_samp_udaf(), None),
        (regr::regr_avgx_udaf(), None),
        (regr::regr_avgy_udaf(), None),
        (regr::regr_count_udaf(), None),
        (regr::regr_intercept_udaf(), None),
        (regr::regr_r2_udaf(), None),
        (regr::regr_slope_udaf(), None),
        (regr::regr_sxx_udaf(), None),
        (regr::regr_sxy_udaf(), None),
        (regr::regr_syy_udaf(), None),
        (stddev::stddev_udaf(), None),
        (stddev::stddev_pop_udaf(), None),
        (variance::var_pop_udaf(), None),
        (variance::var_samp_udaf(), Some("variance")),
    ];
    functions.aggregate.extend(framed.map(|(function, alias)| framed::framed(function, alias)));
    let modules = [best::all(), collect::all(), moments::all(), percentile::all()];
    let own = modules.into_iter().flatten().map(AggregateUDF::new_from_impl);
    functions.aggregate.extend(own.map(Arc::new));
    functions.aggregate.extend(best::with_extremes());
    functions.aggregate.extend(refused::all().map(Arc::new));
    functions.aggregate.push(Arc::new(AggregateUDF::new_from_impl(count_if::CountIf::new())));
    functions.aggregate.push(Arc::new(AggregateUDF::new_from_impl(gather::ArrayAgg::new())));
    functions.aggregate.push(Arc::new(AggregateUDF::new_from_impl(sum::Sum::new())));
    functions.aggregate.push(Arc::new(AggregateUDF::new_from_impl(sliding::Avg::new())));
    functions.aggregate.push(Arc::new(AggregateUDF::new_from_impl(hll::ApproxDistinct::new())));
}

/// What an accumulator is made from.
struct Args<'a> {
    /// The coerced types of the arguments.
    types: Vec<DataType>,
    /// The arguments that are constants.
    constants: Vec<Option<ScalarValue>>,
    /// The result's type.
    result: &'a DataType,
}

impl<'a> Args<'a> {
    fn new(args: &'a AccumulatorArgs<'_>) -> Self {
        let constant = |expr: &Arc<dyn datafusion::physical_expr::PhysicalExpr>| {
            expr.downcast_ref::<Literal>().map(|literal| literal.value().clone())
        };
        Self {
            types: args.expr_fields.iter().map(|field| field.data_type().clone()).collect(),
            constants: args.exprs.iter().map(constant).collect(),
            result: args.return_field.data_type(),
        }
    }

    /// Argument `index`, which must be a constant.
    fn constant(&self, index: usize) -> Result<&ScalarValue> {
        match self.constants.get(index) {
            Some(Some(value)) => Ok(value),
            _ => not_impl_err!("argument {} must be a constant", index + 1),
        }
    }

    /// A constant count between 1 and `most`.
    fn count(&self, index: usize, most: usize) -> Result<usize> {
        match self.constant(index)?.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(count)) if (1..=most as i64).contains(&count) => Ok(count as usize),
            other => exec_err!("argument {} must be between 1 and {most}, not {other}", index + 1),
        }
    }
}

/// An aggregate function as plain functions; two with the same name are the same.
struct Aggregate {
    name: &'static str,
    signature: Signature,
    coerce: Coerce,
    result: ResultType,
    /// The types of the states of argument types.
    states: fn(&[DataType]) -> Result<Vec<DataType>>,
    make: fn(&Args<'_>) -> Result<Box<dyn Accumulator>>,
    /// Whether the order of rows matters, so that `ORDER BY` must be refused.
    ordered: bool,
}

impl Aggregate {
    fn new(
        name: &'static str,
        coerce: Coerce,
        result: ResultType,
        states: fn(&[DataType]) -> Result<Vec<DataType>>,
        make: fn(&Args<'_>) -> Result<Box<dyn Accumulator>>,
    ) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { name, signature, coerce, result, states, make, ordered: false }
    }

    fn ordered(self) -> Self {
        Self { ordered: true, ..self }
    }
}

by_name!(Aggregate);

impl AggregateUDFImpl for Aggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        named(self.name, (self.coerce)(types))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        named(self.name, (self.result)(types))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if self.ordered && !args.order_bys.is_empty() {
            return not_impl_err!("{} with ORDER BY", self.name);
        }
        let own = Args::new(&args);
        let inner = named(self.name, (self.make)(&own))?;
        match args.is_distinct {
            true => Ok(Box::new(distinct::Distinct::new(&own.types, inner)?)),
            false => Ok(inner),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("{}(DISTINCT ..) over a frame that moves", self.name);
        }
        let Args { types, constants, result } = Args::new(&args);
        let (make, result) = (self.make, result.clone());
        let make = move || make(&Args { types: types.clone(), constants: constants.clone(), result: &result });
        Ok(Box::new(sliding::Anew::new(Box::new(make))))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let types: Vec<_> = args.input_fields.iter().map(|field| field.data_type().clone()).collect();
        let states = match args.is_distinct {
            true => distinct::states(&types),
            false => (self.states)(&types)?,
        };
        let field = |(index, of)| Arc::new(Field::new(format_state_name(args.name, &format!("state{index}")), of, true));
        Ok(states.into_iter().enumerate().map(field).collect())
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        match self.ordered {
            true => AggregateOrderSensitivity::HardRequirement,
            false => AggregateOrderSensitivity::Insensitive,
        }
    }
}

/// The elements of a column of lists, as the states of collecting accumulators are.
fn elements(lists: &ArrayRef) -> Result<ArrayRef> {
    let Some(list) = lists.as_list_opt::<i32>() else {
        return exec_err!("expected a list as state, got {}", lists.data_type());
    };
    let own = super::nested::Lists::new(lists)?;
    if lists.is_empty() {
        return Ok(own.values.slice(0, 0));
    }
    match list.null_count() == 0 {
        true => {
            let (start, end) = (own.range(0).start, own.range(own.len().saturating_sub(1)).end);
            Ok(own.values.slice(start, end - start))
        }
        false => Ok(take(&own.values, &own.elements().0, None)?),
    }
}

/// The rows of `array` at `places`, without holding on to the rest.
fn picked(array: &ArrayRef, places: &UInt64Array) -> Result<ArrayRef> {
    Ok(take(array, places, None)?)
}

/// A list as a value.
fn list_value(values: ArrayRef) -> ScalarValue {
    use datafusion::common::utils::SingleRowListArrayBuilder;
    ScalarValue::List(Arc::new(SingleRowListArrayBuilder::new(values).build_list_array()))
}
