//! `avg` of decimals with the digits of its argument, as Athena has it; the engine's has four more, and cuts off behind them.
//! Likewise that of reals, which is a real.

use super::with_schema_again;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunctionDefinition};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::optimizer::AnalyzerRule;

/// The analyzer rule; runs before type coercion, which makes comparisons fit the new types.
#[derive(Debug)]
pub(crate) struct Averages;

impl AnalyzerRule for Averages {
    fn name(&self) -> &str {
        "athena_averages"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| {
            let node = match &node {
                LogicalPlan::Aggregate(aggregate) => rounded(&node, &aggregate.input, &aggregate.aggr_expr)?,
                LogicalPlan::Window(window) => rounded(&node, &window.input, &window.window_expr)?,
                _ => None,
            }
            .map_or_else(|| Transformed::no(node), Transformed::yes);
            // What is above may have another type now.
            node.map_data(with_schema_again)
        })?;
        Ok(rewritten.data)
    }
}

/// `node` with its averages, which are the last of its columns, rounded; none when it has no such.
fn rounded(node: &LogicalPlan, input: &LogicalPlan, functions: &[Expr]) -> Result<Option<LogicalPlan>> {
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
