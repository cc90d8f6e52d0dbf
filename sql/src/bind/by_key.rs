//! Queries that are cut off, or have windows, for each row outside: cut off and numbered for each key.
//!
//! ```text
//! LATERAL (SELECT u.n FROM u WHERE u.k = t.k ORDER BY u.day LIMIT 3)
//!      ─► LATERAL (SELECT n FROM (SELECT u.n, u.k, row_number() OVER (PARTITION BY u.k ORDER BY u.day) AS r FROM u) WHERE r <= 3 AND k = t.k)
//! ```

use super::correlated::{Kind, holds, is_equation};
use datafusion::common::{Column, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprFunctionExt, FetchType, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, SkipType, Sort, Subquery, SubqueryAlias, Window, lit,
};
use std::sync::Arc;

/// What the columns are called that are equal to the row outside.
const KEY: &str = "owlet_by_key";
/// What the numbers of rows are called.
const NUMBER: &str = "owlet_row_of_key";

/// A query without the conditions on the row outside, which have become columns.
struct Keyed {
    plan: LogicalPlan,
    /// The columns, and what of the row outside each is equal to.
    keys: Vec<(Column, Expr)>,
}

/// `query` with its equations with the row outside on top of it, for one that is a value on top of what its aggregate is over; none for
/// other forms.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn by_key(query: &Subquery, kind: Kind) -> Result<Option<Subquery>> {
    let plan = if kind == Kind::Scalar { below_aggregate(&query.subquery)? } else { joined_by_key(&query.subquery)? };
    Ok(plan.map(|plan| {
        let outer_ref_columns = plan.all_out_ref_exprs();
        Subquery { subquery: Arc::new(plan), outer_ref_columns, ..query.clone() }
    }))
}

fn below_aggregate(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let input = match plan {
        LogicalPlan::Projection(projection) => below_aggregate(&projection.input)?,
        LogicalPlan::SubqueryAlias(alias) => below_aggregate(&alias.input)?,
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => joined_by_key(&aggregate.input)?,
        _ => None,
    };
    input.map(|input| plan.with_new_exprs(plan.expressions(), vec![input])).transpose()
}

fn joined_by_key(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let Some(Keyed { plan: keyed, keys }) = keyed(plan)? else { return Ok(None) };
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let Some(condition) = conjunction(keys.into_iter().map(|(key, outer)| Expr::Column(key).eq(outer))) else { return Ok(None) };
    LogicalPlanBuilder::from(keyed).filter(condition)?.project(columns)?.build().map(Some)
}

fn keyed(plan: &LogicalPlan) -> Result<Option<Keyed>> {
    let has_own_outer = plan.expressions().iter().any(Expr::contains_outer);
    match plan {
        LogicalPlan::Filter(filter) if has_own_outer => of_equations(filter),
        _ if has_own_outer => Ok(None),
        LogicalPlan::Filter(filter) => {
            let Some(Keyed { plan, keys }) = keyed(&filter.input)? else { return Ok(None) };
            Ok(Some(Keyed { plan: LogicalPlanBuilder::from(plan).filter(filter.predicate.clone())?.build()?, keys }))
        }
        LogicalPlan::Projection(projection) => {
            let Some(below) = keyed(&projection.input)? else { return Ok(None) };
            projected(&projection.expr, below).map(Some)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(Keyed { plan, keys }) = keyed(&alias.input)? else { return Ok(None) };
            let keys = keys.into_iter().map(|(key, outer)| (Column::new(Some(alias.alias.clone()), key.name), outer)).collect();
            let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias.alias.clone())?);
            Ok(Some(Keyed { plan, keys }))
        }
        // Nobody sees the order of rows within a query.
        LogicalPlan::Sort(Sort { input, fetch: None, .. }) => keyed(input),
        LogicalPlan::Limit(limit) => cut_off(limit),
        LogicalPlan::Window(window) => {
            let Some(below) = keyed(&window.input)? else { return Ok(None) };
            numbered(window, below).map(Some)
        }
        LogicalPlan::Aggregate(aggregate) if !aggregate.group_expr.is_empty() => {
            if aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_))) {
                return Ok(None);
            }
            let Some(Keyed { plan, keys }) = keyed(&aggregate.input)? else { return Ok(None) };
            let own = aggregate.group_expr.iter().cloned();
            let groups = own.chain(keys.iter().map(|(key, _)| Expr::Column(key.clone()))).collect();
            let plan = Aggregate::try_new(Arc::new(plan), groups, aggregate.aggr_expr.clone())?;
            Ok(Some(Keyed { plan: LogicalPlan::Aggregate(plan), keys }))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let Some(Keyed { plan, keys }) = keyed(input)? else { return Ok(None) };
            Ok(Some(Keyed { plan: LogicalPlan::Distinct(Distinct::All(Arc::new(plan))), keys }))
        }
        _ => Ok(None),
    }
}

/// The rows of a condition with equations with the row outside, whose columns are keys.
fn of_equations(filter: &Filter) -> Result<Option<Keyed>> {
    let (equations, others): (Vec<Expr>, Vec<Expr>) =
        split_conjunction_owned(filter.predicate.clone()).into_iter().partition(is_equation);
    let (outer, own): (Vec<Expr>, Vec<Expr>) = equations.into_iter().partition(Expr::contains_outer);
    if others.iter().any(Expr::contains_outer) {
        return Ok(None);
    }
    let below = match holds(&filter.input)? {
        true => keyed(&filter.input)?,
        false => Some(Keyed { plan: filter.input.as_ref().clone(), keys: Vec::new() }),
    };
    let Some(Keyed { plan, mut keys }) = below else { return Ok(None) };
    let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    for equation in outer {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = equation else { return Ok(None) };
        let (inner, outer) = if left.any_column_refs() { (left, right) } else { (right, left) };
        let name = format!("{KEY}{}", keys.len());
        columns.push(inner.alias(&name));
        keys.push((Column::from_name(name), *outer));
    }
    let mut plan = LogicalPlanBuilder::from(plan);
    if let Some(condition) = conjunction(others.into_iter().chain(own)) {
        plan = plan.filter(condition)?;
    }
    Ok(Some(Keyed { plan: plan.project(columns)?.build()?, keys }))
}

fn projected(columns: &[Expr], below: Keyed) -> Result<Keyed> {
    let keys = below.keys.iter().map(|(key, _)| Expr::Column(key.clone()));
    let plan = Projection::try_new(columns.iter().cloned().chain(keys).collect(), Arc::new(below.plan))?;
    Ok(Keyed { plan: LogicalPlan::Projection(plan), keys: below.keys })
}

/// So many rows of each key.
fn cut_off(limit: &Limit) -> Result<Option<Keyed>> {
    let (FetchType::Literal(fetch), SkipType::Literal(skip)) = (limit.get_fetch_type()?, limit.get_skip_type()?) else {
        return Ok(None);
    };
    let (projection, sorted) = match limit.input.as_ref() {
        LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
            (Some(projection), projection.input.as_ref())
        }
        input => (None, input),
    };
    let (order, input): (&[SortExpr], &LogicalPlan) = match sorted {
        LogicalPlan::Sort(Sort { expr, input, fetch: None }) => (expr, input),
        other => (&[], other),
    };
    let shown = projection.iter().flat_map(|projection| &projection.expr);
    if order.iter().map(|by| &by.expr).chain(shown).any(Expr::contains_outer) {
        return Ok(None);
    }
    let Some(Keyed { plan, keys }) = keyed(input)? else { return Ok(None) };
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let partition = keys.iter().map(|(key, _)| Expr::Column(key.clone())).collect();
    let number = row_number().partition_by(partition);
    let number = if order.is_empty() { number } else { number.order_by(order.to_vec()) }.build()?.alias(NUMBER);
    let number_of = || Expr::Column(Column::from_name(NUMBER));
    let bound = |rows: usize| lit(u64::try_from(rows).unwrap_or(u64::MAX));
    let last = fetch.map(|fetch| number_of().lt_eq(bound(skip.saturating_add(fetch))));
    let kept = conjunction(last.into_iter().chain((skip > 0).then(|| number_of().gt(bound(skip)))));
    let plan = LogicalPlanBuilder::from(plan)
        .window(vec![number])?
        .filter(kept.unwrap_or_else(|| lit(true)))?
        .project(columns)?
        .build()?;
    let cut = Keyed { plan, keys };
    match projection {
        Some(projection) => projected(&projection.expr, cut).map(Some),
        None => Ok(Some(cut)),
    }
}

/// Windows over the rows of each key.
fn numbered(window: &Window, below: Keyed) -> Result<Keyed> {
    let keys = || below.keys.iter().map(|(key, _)| Expr::Column(key.clone()));
    let by_key = |expression: &Expr| {
        let name = expression.schema_name().to_string();
        match expression.clone().unalias() {
            Expr::WindowFunction(mut function) => {
                function.params.partition_by.extend(keys());
                Expr::WindowFunction(function).alias(name)
            }
            other => other,
        }
    };
    let windows = window.window_expr.iter().map(by_key).collect();
    let plan = Window::try_new(windows, Arc::new(below.plan))?;
    Ok(Keyed { plan: LogicalPlan::Window(plan), keys: below.keys })
}
