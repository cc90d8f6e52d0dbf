//! Queries that refer to the row outside in the forms that the optimizer makes joins of.

use super::by_key::by_key;
use super::correlated::{Kind, lateral, problem};
use super::outside::with_values_outside;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Subquery, SubqueryAlias};
use std::sync::Arc;

/// `plan` with queries that are compared with the row outside, cut off and numbered for it by equations only, where that can be.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn with_joinable_queries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Join(join) => LogicalPlan::Join(lateral_joined(join)?),
            node => node,
        };
        let inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
        node.map_expressions(|expression| {
            expression.transform_up(|part| {
                let Some((query, kind)) = Kind::of(&part) else { return Ok(Transformed::no(part)) };
                let Some(query) = joinable(query, kind, &inputs)? else { return Ok(Transformed::no(part)) };
                Ok(Transformed::yes(match part {
                    Expr::Exists(exists) => Expr::Exists(Exists { subquery: query, ..exists }),
                    Expr::InSubquery(within) => Expr::InSubquery(InSubquery { subquery: query, ..within }),
                    Expr::SetComparison(set) => Expr::SetComparison(SetComparison { subquery: query, ..set }),
                    _ => Expr::ScalarSubquery(query),
                }))
            })
        })
    })?;
    Ok(rewritten.data)
}

fn lateral_joined(join: Join) -> Result<Join> {
    let Some(query) = lateral(&join.right) else { return Ok(join) };
    let Some(query) = joinable(query, Kind::Lateral, std::slice::from_ref(join.left.as_ref()))? else { return Ok(join) };
    let query = LogicalPlan::Subquery(query);
    let right = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => {
            LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(query), alias.alias.clone())?)
        }
        _ => query,
    };
    Ok(Join { right: Arc::new(right), ..join })
}

/// `query`, if it is none that joins are made of, in another form; none if it is one, or has no such form.
fn joinable(query: &Subquery, kind: Kind, inputs: &[LogicalPlan]) -> Result<Option<Subquery>> {
    if problem(query, kind)?.is_none() {
        return Ok(None);
    }
    let query = with_values_outside(query.clone(), inputs)?;
    let keyed = if problem(&query, kind)?.is_some() { by_key(&query, kind)? } else { None };
    Ok(Some(keyed.unwrap_or(query)))
}
