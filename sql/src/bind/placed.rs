//! Queries that refer to the row outside, where the engine takes none: in aggregates, windows and ORDER BY. They become columns of what
//! is below.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use std::sync::Arc;

/// What the names of such columns start with.
const NAME: &str = "owlet_query_";

/// `plan` with such queries as columns.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn with_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut made = 0;
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let input = match &node {
            LogicalPlan::Aggregate(aggregate) => &aggregate.input,
            LogicalPlan::Window(window) => &window.input,
            LogicalPlan::Sort(sort) => &sort.input,
            _ => return Ok(Transformed::no(node)),
        };
        let queries = queries(&node, input.schema())?;
        if queries.is_empty() {
            return Ok(Transformed::no(node));
        }
        let named: Vec<(Expr, String)> =
            queries.into_iter().enumerate().map(|(n, query)| (query, format!("{NAME}{}", made + n))).collect();
        made += named.len();
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let columns = columns.chain(named.iter().map(|(query, name)| query.clone().alias(name)));
        let below = LogicalPlanBuilder::from(Arc::clone(input)).project(columns)?.build()?;
        placed(node, below, &named).map(Transformed::yes)
    })?;
    Ok(rewritten.data)
}

/// The queries in expressions of `node` that refer to columns of `schema` only.
fn queries(node: &LogicalPlan, schema: &DFSchema) -> Result<Vec<Expr>> {
    let mut found: Vec<Expr> = Vec::new();
    let is_here = |query: &Subquery| {
        let mut outside = query.outer_ref_columns.iter();
        !query.outer_ref_columns.is_empty()
            && outside.all(|column| matches!(column, Expr::OuterReferenceColumn(_, column) if schema.has_column(column)))
    };
    node.apply_expressions(|expression| {
        expression.apply(|part| {
            match part {
                // Sets of columns have no names that could be kept.
                Expr::GroupingSet(_) => return Ok(TreeNodeRecursion::Jump),
                Expr::ScalarSubquery(query) if is_here(query) && !found.contains(part) => found.push(part.clone()),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// `node` over `below`, which has the queries as columns, with the columns that it had.
fn placed(node: LogicalPlan, below: LogicalPlan, named: &[(Expr, String)]) -> Result<LogicalPlan> {
    let names = NamePreserver::new(&node);
    let schema = Arc::clone(node.schema());
    let has_same_columns = matches!(node, LogicalPlan::Aggregate(_));
    let node = node.map_expressions(|expression| {
        let name = names.save(&expression);
        let rewritten = expression.transform_down(|part| {
            let found = named.iter().find(|(query, _)| *query == part);
            Ok(found.map_or_else(
                || Transformed::no(part.clone()),
                |(_, name)| Transformed::yes(Expr::Column(Column::from_name(name))),
            ))
        })?;
        Ok(rewritten.update_data(|expression| name.restore(expression)))
    })?;
    let expressions = node.data.expressions();
    let node = node.data.with_new_exprs(expressions, vec![below])?;
    if has_same_columns {
        return Ok(node);
    }
    LogicalPlanBuilder::from(node).project(schema.columns().into_iter().map(Expr::Column))?.build()
}
