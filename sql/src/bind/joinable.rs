//! Queries that refer to the row outside in the forms that the optimizer makes joins of.

use super::by_key::by_key;
use super::correlated::{Kind, has_first_row, holds, lateral, problem};
use super::outside::{goes_further, with_values_outside};
use crate::dialect::lateral::is_true;
use crate::dialect::one_row::has_query;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result, Spans, not_impl_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Subquery, SubqueryAlias};
use std::collections::HashMap;
use std::sync::Arc;

/// What aggregates of LATERAL are called whose values are computed above the join.
const ABOVE: &str = "owlet_lateral_";

/// `plan` with queries that are compared with the row outside, cut off and numbered for it by equations only, where that can be.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn with_joinable_queries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Join(join) => with_values_above(lateral_joined(join)?)?,
            node => node,
        };
        if !node.expressions().iter().any(has_query) {
            return Ok(Transformed::no(node));
        }
        let inputs = rows_outside(&node)?;
        node.map_expressions(|expression| {
            expression.transform_up(|part| {
                let Some((query, kind)) = Kind::of(&part) else { return Ok(Transformed::no(part)) };
                let Some(query) = joinable(query, kind, &inputs)? else { return Ok(Transformed::no(part)) };
                Ok(Transformed::yes(Kind::with(part, query)))
            })
        })
    })?;
    Ok(rewritten.data)
}

/// The rows that queries within the expressions of `node` are for; those of a condition meet its other parts.
fn rows_outside(node: &LogicalPlan) -> Result<Vec<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = node else { return Ok(node.inputs().into_iter().cloned().collect()) };
    let parts = split_conjunction_owned(filter.predicate.clone()).into_iter();
    let plain = parts.filter(|part| !has_query(part) && !part.contains_outer() && !part.is_volatile());
    let rows = LogicalPlanBuilder::from(Arc::clone(&filter.input));
    Ok(vec![match conjunction(plain) {
        Some(condition) => rows.filter(condition)?.build()?,
        None => rows.build()?,
    }])
}

fn lateral_joined(join: Join) -> Result<Join> {
    let (alias, right) = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => (Some(alias.alias.clone()), &alias.input),
        _ => (None, &join.right),
    };
    // To the planner a query is one of LATERAL only if it refers to the row outside itself.
    let query = match (lateral(&join.right), join.join_type) {
        (Some(query), _) => query.clone(),
        (None, JoinType::Inner | JoinType::Left) if goes_further(right)? => {
            Subquery { subquery: Arc::clone(right), outer_ref_columns: Vec::new(), spans: Spans::default() }
        }
        _ => return Ok(join),
    };
    let Some(query) = joinable(&query, Kind::Lateral, std::slice::from_ref(join.left.as_ref()))? else { return Ok(join) };
    if query.outer_ref_columns.is_empty() {
        return Ok(join);
    }
    let query = Arc::new(LogicalPlan::Subquery(query));
    let right = match alias {
        Some(alias) => Arc::new(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(query, alias)?)),
        None => query,
    };
    Ok(Join { right, ..join })
}

/// A join with `LATERAL (SELECT count(*), 'x' FROM ..)`, whose row is there for each row outside: what is computed from the aggregates is
/// computed from the join's columns, because the optimizer joins with the rows of groups, and `'x'` would be NULL without one.
fn with_values_above(join: Join) -> Result<LogicalPlan> {
    let (alias, right) = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => (Some(alias.alias.clone()), alias.input.as_ref()),
        right => (None, right),
    };
    let LogicalPlan::Subquery(query) = right else { return Ok(LogicalPlan::Join(join)) };
    let LogicalPlan::Projection(projection) = query.subquery.as_ref() else { return Ok(LogicalPlan::Join(join)) };
    let is_total = matches!(projection.input.as_ref(), LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty());
    let is_constant = |column: &Expr| !column.any_column_refs();
    if !is_total || !join.on.is_empty() || !projection.expr.iter().any(is_constant) {
        return Ok(LogicalPlan::Join(join));
    }
    if join.join_type != JoinType::Inner && join.filter.as_ref().is_some_and(|condition| !is_true(condition)) {
        return not_impl_err!("a value beside an aggregate in LEFT JOIN LATERAL with a condition");
    }
    let own = projection.input.schema().columns();
    let name = |place: usize| format!("{ABOVE}{place}");
    let places: HashMap<Column, Column> =
        own.iter().enumerate().map(|(place, column)| (column.clone(), Column::new(alias.clone(), name(place)))).collect();
    let values = own.iter().enumerate().map(|(place, column)| Expr::Column(column.clone()).alias(name(place)));
    let plan = LogicalPlanBuilder::from(Arc::clone(&projection.input)).project(values)?.build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let below = Arc::new(LogicalPlan::Subquery(Subquery { subquery: Arc::new(plan), outer_ref_columns, ..query.clone() }));
    let below = match &alias {
        Some(alias) => Arc::new(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(below, alias.clone())?)),
        None => below,
    };
    let placed = |column: &Expr| {
        let moved = column.clone().unalias().transform(|part| {
            Ok(match part {
                Expr::Column(column) => Transformed::yes(Expr::Column(places.get(&column).cloned().unwrap_or(column))),
                Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
                part => Transformed::no(part),
            })
        });
        moved.map(|moved| moved.data)
    };
    let left = join.left.schema().columns().into_iter().map(|column| Ok(Expr::Column(column)));
    let shown = projection
        .expr
        .iter()
        .zip(projection.schema.columns())
        .map(|(expression, column)| Ok(placed(expression)?.alias_qualified(alias.clone().or(column.relation), column.name)));
    let columns: Vec<Expr> = left.chain(shown).collect::<Result<_>>()?;
    let condition = join.filter.clone().filter(|filter| !is_true(filter));
    let joined = Join { right: below, filter: None, ..join };
    let rows = LogicalPlanBuilder::from(LogicalPlan::Join(joined).recompute_schema()?).project(columns)?;
    match condition {
        Some(condition) => rows.filter(condition)?.build(),
        None => rows.build(),
    }
}

/// `query`, if it is none that joins are made of, in another form; none if it is one, or has no such form.
fn joinable(query: &Subquery, kind: Kind, inputs: &[LogicalPlan]) -> Result<Option<Subquery>> {
    let unlimited = if kind == Kind::Exists { without_limit(query)? } else { None };
    let query = unlimited.as_ref().unwrap_or(query);
    let goes_further = goes_further(&query.subquery)?;
    if !goes_further && !has_groups(&query.subquery)? && problem(query, kind)?.is_none() {
        return Ok(unlimited);
    }
    let mut query = with_values_outside(query.clone(), inputs)?;
    if goes_further {
        // Queries within have more to refer to now.
        let plan = with_joinable_queries(Arc::unwrap_or_clone(query.subquery))?;
        query = Subquery { outer_ref_columns: plan.all_out_ref_exprs(), subquery: Arc::new(plan), ..query };
    }
    let has_problem = has_groups(&query.subquery)? || problem(&query, kind)?.is_some();
    let keyed = if has_problem { by_key(&query, kind)? } else { None };
    Ok(Some(keyed.unwrap_or(query)))
}

/// Whether rows that are compared with the row outside are put together: the optimizer finds the columns of such in some places only.
fn has_groups(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| match node {
        LogicalPlan::Distinct(_) => holds(node),
        LogicalPlan::Aggregate(aggregate) if !aggregate.group_expr.is_empty() => holds(node),
        _ => Ok(false),
    })
}

/// The query of EXISTS without a limit that leaves a row if there is one.
fn without_limit(query: &Subquery) -> Result<Option<Subquery>> {
    let LogicalPlan::Limit(limit) = query.subquery.as_ref() else { return Ok(None) };
    let is_harmless = has_first_row(limit)?;
    Ok(is_harmless.then(|| Subquery { subquery: Arc::clone(&limit.input), ..query.clone() }))
}
