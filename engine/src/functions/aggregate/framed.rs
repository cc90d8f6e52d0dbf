//! DataFusion's aggregates that cannot take a row out of a frame that moves, or lose digits when they do: each frame is looked at anew.

use super::sliding::Anew;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, StatisticsArgs,
};
use std::sync::Arc;

/// Such a function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Framed {
    inner: Arc<AggregateUDF>,
    aliases: Vec<String>,
}

/// `inner` with another name beside its own.
pub(super) fn framed(inner: Arc<AggregateUDF>, alias: Option<&'static str>) -> Arc<AggregateUDF> {
    let aliases = inner.aliases().iter().cloned().chain(alias.map(str::to_string)).collect();
    Arc::new(AggregateUDF::new_from_impl(Framed { inner, aliases }))
}

/// An accumulator of `inner` that begins anew for each frame.
pub(super) fn anew(inner: Arc<AggregateUDF>, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
    let (schema, name, field) = (args.schema.clone(), args.name.to_string(), Arc::clone(&args.return_field));
    let (exprs, fields, orders) = (args.exprs.to_vec(), args.expr_fields.to_vec(), args.order_bys.to_vec());
    let (ignore_nulls, is_reversed, is_distinct) = (args.ignore_nulls, args.is_reversed, args.is_distinct);
    let make = move || {
        inner.accumulator(AccumulatorArgs {
            return_field: Arc::clone(&field),
            schema: &schema,
            ignore_nulls,
            order_bys: &orders,
            is_reversed,
            name: &name,
            is_distinct,
            exprs: &exprs,
            expr_fields: &fields,
        })
    };
    Ok(Box::new(Anew::new(Box::new(make))))
}

impl AggregateUDFImpl for Framed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
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

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(fields)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        anew(Arc::clone(&self.inner), args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }
}
