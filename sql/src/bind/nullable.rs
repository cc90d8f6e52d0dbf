//! `(SELECT 1 WHERE false)` is NULL, also where the column of the query is never NULL.

use super::has_part;
use crate::dialect::with_schema_again;
use datafusion::common::Result;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit};
use std::sync::Arc;

/// `plan` with columns that may be NULL for scalar subqueries that may have no row.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn with_nullable_subqueries(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_part(&plan, |part| matches!(part, Expr::ScalarSubquery(_)))? {
        return Ok(plan);
    }
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expression| {
            let name = names.save(&expression);
            let rewritten = expression.transform_up(|part| match part {
                Expr::ScalarSubquery(subquery) => nullable(subquery),
                other => Ok(Transformed::no(other)),
            })?;
            Ok(rewritten.update_data(|expression| name.restore(expression)))
        })?;
        node.map_data(with_schema_again)
    })?;
    Ok(rewritten.data)
}

fn nullable(subquery: Subquery) -> Result<Transformed<Expr>> {
    let schema = subquery.subquery.schema();
    let Some((column, field)) = schema.columns().into_iter().next().zip(schema.fields().first()) else {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    };
    if field.is_nullable() || has_one_row(&subquery.subquery) {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let null = lit(ScalarValue::try_from(field.data_type())?);
    let name = column.name.clone();
    let plan = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery));
    let plan = plan.project(vec![nullif(Expr::Column(column), null).alias(name)])?.build()?;
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery })))
}

/// Whether `plan` gives one row whatever its tables hold.
pub(super) fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Sort(sort) => sort.fetch != Some(0) && has_one_row(&sort.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Values(values) => values.values.len() == 1,
        _ => false,
    }
}
