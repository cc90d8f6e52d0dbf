//! `avg` of decimals with the digits of its argument, as Athena has it; the engine's has four more, and cuts off behind them.
//! Likewise that of reals, which is a real.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunctionDefinition};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};

/// `node` with its averages, which are the last of its columns, rounded; what they are of has its type by now.
pub(super) fn rounded(node: LogicalPlan) -> Result<LogicalPlan> {
    let rounded = match &node {
        LogicalPlan::Aggregate(aggregate) => with_rounded(&node, &aggregate.input, &aggregate.aggr_expr)?,
        LogicalPlan::Window(window) => with_rounded(&node, &window.input, &window.window_expr)?,
        _ => None,
    };
    Ok(rounded.unwrap_or(node))
}

/// The same; none when there are no such.
fn with_rounded(node: &LogicalPlan, input: &LogicalPlan, functions: &[Expr]) -> Result<Option<LogicalPlan>> {
    let schema = node.schema();
    let first = schema.fields().len().saturating_sub(functions.len());
    let mut found = false;
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (index, (qualifier, field)) in schema.iter().enumerate() {
        let column = Expr::Column(Column::from((qualifier, field)));
        let function = index.checked_sub(first).and_then(|index| functions.get(index));
        let own = match function.and_then(argument) {
            Some(argument) => argument.get_type(input.schema())?,
            None => DataType::Null,
        };
        if matches!(own, DataType::Decimal128(..) | DataType::Float32) && own != *field.data_type() {
            found = true;
            columns.push(cast(column, own).alias_qualified(qualifier.cloned(), field.name()));
        } else {
            columns.push(column);
        }
    }
    if !found {
        return Ok(None);
    }
    LogicalPlanBuilder::from(node.clone()).project(columns)?.build().map(Some)
}

/// What an `avg` is of.
fn argument(function: &Expr) -> Option<&Expr> {
    match function {
        Expr::Alias(alias) => argument(&alias.expr),
        Expr::AggregateFunction(AggregateFunction { func, params }) if func.name() == "avg" => params.args.first(),
        Expr::WindowFunction(window) => match &window.fun {
            WindowFunctionDefinition::AggregateUDF(func) if func.name() == "avg" => window.params.args.first(),
            _ => None,
        },
        _ => None,
    }
}
