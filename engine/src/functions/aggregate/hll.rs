//! `approx_distinct` of any type, with Trino's optional error bound.

use super::adapt::{Adapted, Before};
use crate::functions::nested::{check_comparable, check_count};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use std::sync::Arc;

/// The error bounds that Trino takes.
const ERROR_BOUNDS: std::ops::RangeInclusive<f64> = 0.0040625..=0.26;

/// The function; the sketch is DataFusion's, of 16,384 registers whatever the bound.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ApproxDistinct {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

impl ApproxDistinct {
    /// The function.
    pub(super) fn new() -> Self {
        Self { inner: approx_distinct_udaf(), signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// Whether values of this type go to the sketch as bytes of ours.
fn encoded(of: &DataType) -> bool {
    of.is_floating() || of.is_nested() || matches!(of, DataType::Dictionary(..) | DataType::FixedSizeBinary(_))
}

fn check_bound(args: &AccumulatorArgs<'_>) -> Result<()> {
    use datafusion::physical_expr::expressions::Literal;
    let Some(bound) = args.exprs.get(1) else {
        return Ok(());
    };
    match bound.downcast_ref::<Literal>().map(Literal::value) {
        Some(ScalarValue::Float64(Some(bound))) if ERROR_BOUNDS.contains(bound) => Ok(()),
        _ => exec_err!(
            "approx_distinct: the standard error must be a constant in [{}, {}]",
            ERROR_BOUNDS.start(),
            ERROR_BOUNDS.end()
        ),
    }
}

/// The arguments as the inner function shall see them: the value alone, maybe as bytes.
fn with_inner<T>(args: AccumulatorArgs<'_>, then: impl FnOnce(AccumulatorArgs<'_>) -> Result<T>) -> Result<T> {
    check_bound(&args)?;
    let Some(value) = args.expr_fields.first() else {
        return exec_err!("approx_distinct: an argument is missing");
    };
    let fields = [inner_field(value)];
    then(AccumulatorArgs { exprs: &args.exprs[..1], expr_fields: &fields, ..args })
}

fn inner_field(value: &FieldRef) -> FieldRef {
    match encoded(value.data_type()) {
        true => Arc::new(Field::new(value.name(), DataType::Binary, true)),
        false => Arc::clone(value),
    }
}

impl AggregateUDFImpl for ApproxDistinct {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(types, 1..=2)?;
        check_comparable(&types[0])?;
        match types.get(1) {
            None => Ok(types.to_vec()),
            Some(bound) if bound.is_numeric() => Ok(vec![types[0].clone(), DataType::Float64]),
            Some(bound) => plan_err!("the standard error must be a double, not {bound}"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let fields: Vec<_> = args.input_fields.iter().take(1).map(inner_field).collect();
        self.inner.state_fields(StateFieldsArgs { input_fields: &fields, ..args })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let before = before(&args)?;
        let inner = with_inner(args, |args| self.inner.accumulator(args))?;
        Ok(Box::new(Adapted { inner, before, after: DataType::Int64 }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        super::framed::anew(Arc::new(AggregateUDF::new_from_impl(Self::new())), args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        with_inner(args, |args| Ok(self.inner.groups_accumulator_supported(args))).unwrap_or(false)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let before = before(&args)?;
        let inner = with_inner(args, |args| self.inner.create_groups_accumulator(args))?;
        Ok(Box::new(Adapted { inner, before, after: DataType::Int64 }))
    }
}

fn before(args: &AccumulatorArgs<'_>) -> Result<Before> {
    match args.expr_fields.first().map(|field| field.data_type()) {
        Some(of) if encoded(of) => Before::bytes(of),
        _ => Ok(Before::Same),
    }
}
