//! NaN and minus zero, which the engine compares by their bits in some places: Athena's NaN equals nothing, and its zeros are equal.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};

fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float64(Some(value)) => value.is_nan(),
        ScalarValue::Float32(Some(value)) => value.is_nan(),
        _ => false,
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Float64(Some(value)) if *value == 0.0)
        || matches!(value, ScalarValue::Float32(Some(value)) if *value == 0.0)
}

fn is_floating(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|of| of.is_floating())
}

/// Whether an expression of type `of` may be NaN, as far as can be said.
pub(super) fn may_be_nan(expression: &Expr, of: &DataType) -> bool {
    of.is_floating() && !expression.is_volatile() && !matches!(expression, Expr::Literal(value, _) if !is_nan(value))
}

/// Whether NaN may be the end of a range that `expression` is compared with.
pub(super) fn may_reach_nan(expression: &Expr, high: &Expr, schema: &DFSchema) -> bool {
    !expression.is_volatile() && high.get_type(schema).is_ok_and(|of| may_be_nan(high, &of))
}

/// Takes those items out of the list of an IN that its way of comparing, by bits, may get wrong.
pub(super) fn compared_apart(first: &Expr, list: &mut Vec<Expr>, schema: &DFSchema) -> Vec<Expr> {
    if first.is_volatile() || !is_floating(first, schema) {
        return Vec::new();
    }
    let by_bits = |item: &mut Expr| match item {
        Expr::Literal(value, _) => is_nan(value) || is_zero(value),
        other => is_floating(other, schema),
    };
    list.extract_if(.., by_bits).collect()
}

/// Makes those of `expressions` that have two zeros have one; whether there are such.
fn with_one_zero(expressions: &mut [Expr], schema: &DFSchema) -> bool {
    let mut changed = false;
    for expression in expressions {
        let zero = match expression.get_type(schema) {
            Ok(DataType::Float64) => lit(0.0f64),
            Ok(DataType::Float32) => lit(0.0f32),
            _ => continue,
        };
        *expression = std::mem::take(expression) + zero;
        changed = true;
    }
    changed
}

/// `count(DISTINCT x)` counts the two zeros once.
pub(super) fn counted(mut call: AggregateFunction, schema: &DFSchema) -> Transformed<Expr> {
    let is_counted = call.params.distinct && call.func.name() == "count";
    let changed = is_counted && with_one_zero(&mut call.params.args, schema);
    Transformed::new_transformed(Expr::AggregateFunction(call), changed)
}

/// `PARTITION BY x` puts the two zeros together; `lag` and `lead` have a default of the type of their values.
pub(super) fn windowed(mut call: Box<WindowFunction>, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let name = call.fun.name().to_string();
    if let ("lag" | "lead", [value, _, default]) = (name.as_str(), call.params.args.as_slice())
        && let (Ok(value), Ok(default)) = (value.get_type(schema), default.get_type(schema))
        && value.is_integer()
        && (default.is_floating() || matches!(default, DataType::Decimal128(..)))
    {
        return plan_err!("TYPE_MISMATCH: {name} of whole numbers with a default of type {default}: cast one of them");
    }
    let changed = with_one_zero(&mut call.params.partition_by, schema);
    Ok(Transformed::new_transformed(Expr::WindowFunction(call), changed))
}
