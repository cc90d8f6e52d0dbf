//! Columns of the row outside of a query have the types that they had when it was planned; those of a UNION or CASE may be others now.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use std::sync::Arc;

/// `plan` with the types that columns outside have now in the queries that name them, and whether any is another one.
pub(super) fn with_types(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.transform_down_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let node = node.map_subqueries(|query| told(query, &schema))?;
        if !matches!(node.data, LogicalPlan::Join(_)) {
            return Ok(node);
        }
        let changed = node.transformed;
        let mut both = told_right(node.data)?;
        both.transformed |= changed;
        Ok(both)
    })
}

/// The right side of a join, which may name columns of the left one.
fn told_right(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = node else { return Ok(Transformed::no(node)) };
    if join.right.all_out_ref_exprs().is_empty() {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let right = told(Arc::unwrap_or_clone(join.right), join.left.schema())?;
    join.right = Arc::new(right.data);
    Ok(Transformed::new_transformed(LogicalPlan::Join(join), right.transformed))
}

/// `query` with the types of `outside`.
fn told(query: LogicalPlan, outside: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    query.transform_down_with_subqueries(|node| {
        let (node, listed) = match node {
            LogicalPlan::Subquery(Subquery { subquery, outer_ref_columns, spans }) => {
                let mut changed = false;
                let columns = outer_ref_columns.into_iter().map(|column| {
                    let column = with_type(column, outside);
                    changed |= column.transformed;
                    column.data
                });
                let outer_ref_columns = columns.collect();
                (LogicalPlan::Subquery(Subquery { subquery, outer_ref_columns, spans }), changed)
            }
            node => (node, false),
        };
        let mut node = node.map_expressions(|expression| expression.transform(|part| Ok(with_type(part, outside))))?;
        node.transformed |= listed;
        Ok(node)
    })
}

fn with_type(part: Expr, outside: &DFSchema) -> Transformed<Expr> {
    let Expr::OuterReferenceColumn(field, column) = part else { return Transformed::no(part) };
    match outside.field_from_column(&column) {
        Ok(now) if now.data_type() != field.data_type() => Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(now), column)),
        _ => Transformed::no(Expr::OuterReferenceColumn(field, column)),
    }
}
