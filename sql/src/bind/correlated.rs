//! Queries that refer to the row outside: those of one row are values, and those are refused that become wrong joins.
//!
//! The optimizer moves conditions with outer columns up through the query and joins on them. That leaves out what an
//! aggregate gives of no rows, and changes what windows, limits and outer joins see.

use super::elements;
use super::nullable::has_one_row;
use super::outside::goes_further;
use crate::dialect::filters::has_total;
use crate::dialect::lateral::with_columns;
use crate::dialect::one_row::OneRow;
use crate::dialect::operators::own;
use crate::dialect::with_schema_again;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::functions_aggregate::expr_fn::array_agg;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{
    conjunction, disjunction, merge_schema, split_binary, split_conjunction, split_conjunction_owned,
};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprFunctionExt, FetchType, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Operator, SkipType, Subquery,
    lit, when,
};
use engine::functions::only::ONLY;
use std::sync::Arc;

/// `plan` with EXISTS, IN and ANY over a query of one row that refers to the row outside as what they are: true, and comparisons; and
/// with scalar queries that do so as ones of one row, and conditions on it as far out as they can be.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn with_single_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Filter(filter) if filter.predicate.contains_outer() => {
                let parts = split_conjunction_owned(filter.predicate).into_iter().map(factored).collect();
                filtered(parts, filter.input)?
            }
            node => node,
        };
        let names = NamePreserver::new(&node);
        let schema = merge_schema(&node.inputs());
        let node = node.map_expressions(|expression| {
            let name = names.save(&expression);
            let rewritten = expression.transform_up(|part| single_row(part, &schema))?;
            Ok(rewritten.update_data(|expression| name.restore(expression)))
        })?;
        if node.transformed { node.map_data(with_schema_again) } else { Ok(node) }
    })?;
    Ok(rewritten.data)
}

/// What the columns of `input` are called that are compared with the row outside.
const COMPARED: &str = "owlet_compared_";

/// The rows of `input` for which `parts` hold. `f(x) = outer` is an equation of a column below: by such rows can be put together.
fn filtered(mut parts: Vec<Expr>, input: Arc<LogicalPlan>) -> Result<LogicalPlan> {
    let mut compared = Vec::new();
    for part in &mut parts {
        if is_equation(part) {
            continue;
        }
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part else { continue };
        let is_inner = |side: &Expr| side.any_column_refs() && !side.contains_outer() && !side.is_volatile();
        let side = match (is_inner(left), is_inner(right)) {
            (true, false) if !right.any_column_refs() => left,
            (false, true) if !left.any_column_refs() => right,
            _ => continue,
        };
        let name = format!("{COMPARED}{}", compared.len());
        let value = std::mem::replace(side, Box::new(Expr::Column(Column::from_name(&name))));
        compared.push(value.alias(name));
    }
    let predicate = conjunction(parts).unwrap_or_else(|| lit(true));
    if compared.is_empty() {
        return Filter::try_new(predicate, input).map(LogicalPlan::Filter);
    }
    let columns = || input.schema().columns().into_iter().map(Expr::Column);
    let with_compared = LogicalPlanBuilder::from(Arc::clone(&input)).project(columns().chain(compared))?;
    with_compared.filter(predicate)?.project(columns())?.build()
}

fn single_row(part: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_single = |query: &Subquery| !query.outer_ref_columns.is_empty() && has_one_row(&query.subquery);
    let compared = |left, op, query| {
        let right = Box::new(match computed(&query, schema)? {
            Some(value) => value,
            None => Expr::ScalarSubquery(query),
        });
        Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
    };
    if let Some(value) = elements::computed(&part, schema)? {
        return Ok(Transformed::yes(value));
    }
    match part {
        Expr::Exists(Exists { subquery, negated }) if is_single(&subquery) => Ok(Transformed::yes(lit(!negated))),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if is_single(&subquery) => {
            compared(expr, if negated { Operator::NotEq } else { Operator::Eq }, subquery)
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, .. }) if is_single(&subquery) => compared(expr, op, subquery),
        Expr::ScalarSubquery(query) if is_outer(&query) => {
            let query = with_outer_columns(query);
            if let Some(value) = computed(&query, schema)? {
                return Ok(Transformed::yes(value));
            }
            if let Some(first) = first_row(&query)? {
                return Ok(Transformed::yes(Expr::ScalarSubquery(first)));
            }
            if is_cut(&query.subquery) {
                return Ok(Transformed::no(Expr::ScalarSubquery(query)));
            }
            only_row(query).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    }
}

/// `a AND b OR a AND c` as `a AND (b OR c)`: so an equation with the row outside that all alternatives have is one of the whole.
fn factored(condition: Expr) -> Expr {
    let alternatives = split_binary(&condition, Operator::Or);
    let [first, others @ ..] = alternatives.as_slice() else { return condition };
    let is_in_all = |part: &&Expr| others.iter().all(|other| split_conjunction(other).contains(part));
    let common: Vec<&Expr> = split_conjunction(first).into_iter().filter(is_in_all).collect();
    if common.is_empty() || others.is_empty() {
        return condition;
    }
    let rest = |alternative: &&Expr| {
        let parts = split_conjunction(alternative).into_iter().filter(|part| !common.contains(part));
        conjunction(parts.cloned())
    };
    // An alternative without a rest is true of all rows that have what is common.
    let rests: Option<Vec<Expr>> = alternatives.iter().map(rest).collect();
    let rests = rests.and_then(disjunction);
    conjunction(common.into_iter().cloned().chain(rests)).unwrap_or(condition)
}

fn is_outer(query: &Subquery) -> bool {
    !query.outer_ref_columns.is_empty() || !query.subquery.all_out_ref_exprs().is_empty()
}

/// `query` with the outer columns that it has now: those of a query inside may have become its own.
fn with_outer_columns(query: Subquery) -> Subquery {
    let columns = query.subquery.all_out_ref_exprs();
    if columns.is_empty() { query } else { Subquery { outer_ref_columns: columns, ..query } }
}

/// The value of a query without tables, over the columns of `schema`; none of another query.
fn computed(query: &Subquery, schema: &DFSchema) -> Result<Option<Expr>> {
    let Some(OneRow { columns, conditions, lists, each: None }) = OneRow::of(&query.subquery) else { return Ok(None) };
    let (Some(value), true) = (columns.into_iter().next(), lists.is_empty()) else { return Ok(None) };
    let value = with_columns(value, schema)?;
    let Some(condition) = conditions.into_iter().reduce(Expr::and) else { return Ok(Some(value)) };
    Ok(Some(when(with_columns(condition, schema)?, value).end()?))
}

/// `(SELECT x FROM .. ORDER BY y LIMIT 1)` as the first element of an array of all rows; none for other queries.
fn first_row(query: &Subquery) -> Result<Option<Subquery>> {
    let LogicalPlan::Limit(limit) = query.subquery.as_ref() else { return Ok(None) };
    let (FetchType::Literal(Some(1)), SkipType::Literal(skip)) = (limit.get_fetch_type()?, limit.get_skip_type()?) else {
        return Ok(None);
    };
    if has_one_row(&limit.input) && skip == 0 {
        return Ok(Some(Subquery { subquery: Arc::clone(&limit.input), ..query.clone() }));
    }
    let (mut node, mut projections) = (limit.input.as_ref(), Vec::new());
    while let LogicalPlan::Projection(projection) = node {
        projections.push(projection);
        node = projection.input.as_ref();
    }
    let (sorted_by, input) = match node {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => (sort.expr.clone(), Arc::clone(&sort.input)),
        _ => (Vec::new(), Arc::clone(&limit.input)),
    };
    let value = match (projections.last(), sorted_by.is_empty()) {
        (Some(projection), false) if projections.len() == 1 => projection.expr.first().cloned().map(Expr::unalias),
        (Some(_), false) => None,
        _ => input.schema().columns().into_iter().next().map(Expr::Column),
    };
    let Some(value) = value else { return Ok(None) };
    let gathered = array_agg(value).order_by(sorted_by).build()?;
    let gathered = LogicalPlanBuilder::from(input).aggregate(Vec::<Expr>::new(), vec![gathered])?;
    let Some(array) = gathered.schema().columns().into_iter().next() else { return Ok(None) };
    let position = i64::try_from(skip).unwrap_or(i64::MAX).saturating_add(1);
    let element = own("element_at", vec![Expr::Column(array), lit(position)])?;
    let plan = gathered.project(vec![element.alias("owlet_first")])?.build()?;
    Ok(Some(Subquery { subquery: Arc::new(plan), ..query.clone() }))
}

/// Whether a query gives one row, or is cut off: what is, is refused later.
fn is_cut(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Limit(_) => true,
        LogicalPlan::Projection(projection) => is_cut(&projection.input),
        LogicalPlan::Filter(filter) => is_cut(&filter.input),
        plan => has_one_row(plan),
    }
}

/// A scalar query of any rows as one that gathers them. That there is one at the most is seen where the value is used: rows that
/// nobody refers to may be many.
fn only_row(query: Subquery) -> Result<Expr> {
    let Some(column) = query.subquery.schema().columns().into_iter().next() else { return Ok(Expr::ScalarSubquery(query)) };
    let gathered = LogicalPlanBuilder::from(Arc::clone(&query.subquery));
    let gathered = gathered.aggregate(Vec::<Expr>::new(), vec![array_agg(Expr::Column(column))])?.build()?;
    own(ONLY, vec![Expr::ScalarSubquery(Subquery { subquery: Arc::new(gathered), ..query })])
}

/// What is not supported of the queries in `plan` that refer to the row outside, if anything.
pub(super) fn unsupported(plan: &LogicalPlan) -> Result<Option<&'static str>> {
    const FURTHER: &str = "a query that refers to a row outside of the query around it, in this place";
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Join(join) = node
            && let Some(query) = lateral(&join.right)
        {
            found = found.or(Walk::of(query, Kind::Lateral)?).or(goes_further(&query.subquery)?.then_some(FURTHER));
        }
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Some((query, kind)) = Kind::of(part) {
                    found = found.or(Walk::of(query, kind)?).or(goes_further(&query.subquery)?.then_some(FURTHER));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The query of LATERAL. Queries within expressions are such nodes too to a walk that goes into them.
pub(super) fn lateral(plan: &LogicalPlan) -> Option<&Subquery> {
    match plan {
        LogicalPlan::Subquery(query) => Some(query),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(query) => Some(query),
            _ => None,
        },
        _ => None,
    }
}

/// How a query that refers to the row outside is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exists,
    In,
    Scalar,
    Lateral,
}

impl Kind {
    /// The query that `part` is over.
    pub(super) fn of(part: &Expr) -> Option<(&Subquery, Self)> {
        match part {
            Expr::Exists(exists) => Some((&exists.subquery, Self::Exists)),
            Expr::InSubquery(within) => Some((&within.subquery, Self::In)),
            Expr::SetComparison(set) => Some((&set.subquery, Self::In)),
            Expr::ScalarSubquery(query) => Some((query, Self::Scalar)),
            _ => None,
        }
    }

    /// `part` over `query` instead of its own.
    pub(super) fn with(part: Expr, query: Subquery) -> Expr {
        match part {
            Expr::Exists(exists) => Expr::Exists(Exists { subquery: query, ..exists }),
            Expr::InSubquery(within) => Expr::InSubquery(InSubquery { subquery: query, ..within }),
            Expr::SetComparison(set) => Expr::SetComparison(SetComparison { subquery: query, ..set }),
            Expr::ScalarSubquery(_) => Expr::ScalarSubquery(query),
            other => other,
        }
    }
}

/// What is not supported of `query`, if anything.
pub(super) fn problem(query: &Subquery, kind: Kind) -> Result<Option<&'static str>> {
    Walk::of(query, kind)
}

/// What is between a node and the top of its query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Above {
    /// Nothing, or what only chooses columns.
    Columns,
    /// And one condition.
    Condition,
    More,
}

/// A walk over a query in the order of the optimizer's.
struct Walk {
    kind: Kind,
    /// Whether a condition with outer columns was met already, perhaps in another relation.
    has_conditions: bool,
}

impl Walk {
    fn of(query: &Subquery, kind: Kind) -> Result<Option<&'static str>> {
        if !holds(&query.subquery)? {
            return Ok(None);
        }
        Self { kind, has_conditions: false }.node(&query.subquery, Above::Columns)
    }

    fn node(&mut self, node: &LogicalPlan, above: Above) -> Result<Option<&'static str>> {
        if let LogicalPlan::Subquery(_) = node {
            return Ok(None);
        }
        let below = match node {
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => above,
            LogicalPlan::Filter(_) if above == Above::Columns => Above::Condition,
            _ => Above::More,
        };
        for input in node.inputs() {
            if let Some(what) = self.node(input, below)? {
                return Ok(Some(what));
            }
        }
        let holds = holds(node)?;
        Ok(match node {
            LogicalPlan::Filter(filter) => {
                self.has_conditions |= filter.predicate.contains_outer();
                None
            }
            LogicalPlan::Limit(limit) if self.has_conditions && (holds || self.kind == Kind::Exists) => {
                let is_harmless = self.kind == Kind::Exists && holds && above == Above::Columns && has_first_row(limit)?;
                (!is_harmless).then_some("LIMIT or OFFSET in a query that refers to the row outside")
            }
            LogicalPlan::Window(_) if holds => Some("a window function over rows that are compared to the row outside"),
            LogicalPlan::Distinct(_) if holds => self.grouped(node, false)?,
            LogicalPlan::Aggregate(aggregate) => {
                let is_total = has_total(aggregate);
                let is_alone = match self.kind {
                    Kind::Exists | Kind::In => false,
                    Kind::Scalar => above != Above::More,
                    Kind::Lateral => above == Above::Columns,
                };
                let is_touched = holds || self.has_conditions && self.kind == Kind::Lateral;
                match self.grouped(node, !aggregate.aggr_expr.is_empty())? {
                    Some(what) if holds => Some(what),
                    _ if is_total && is_touched && !is_alone => {
                        Some("an aggregate without groups inside of a query that refers to the row outside")
                    }
                    _ => None,
                }
            }
            LogicalPlan::Join(join) => {
                let (left, right) = (self::holds(&join.left)?, self::holds(&join.right)?);
                let is_wrong = match join.join_type {
                    JoinType::Inner => false,
                    JoinType::Left => right,
                    JoinType::Right => left,
                    _ => left || right,
                };
                is_wrong.then_some("a condition on the row outside below an outer join, INTERSECT or EXCEPT")
            }
            _ => None,
        })
    }

    /// What is wrong with rows that are put together over conditions of which one is no equation.
    fn grouped(&self, node: &LogicalPlan, has_functions: bool) -> Result<Option<&'static str>> {
        // What is put together twice exists all the same.
        let counts = has_functions || matches!(self.kind, Kind::Scalar | Kind::Lateral);
        let is_wrong = counts && has_uneven_condition(node)?;
        Ok(is_wrong.then_some("an aggregate over rows that are compared to the row outside by anything but ="))
    }
}

/// Whether a limit leaves one row of any.
pub(super) fn has_first_row(limit: &Limit) -> Result<bool> {
    let has_fetch = match limit.get_fetch_type()? {
        FetchType::Literal(fetch) => fetch.is_none_or(|rows| rows > 0),
        FetchType::UnsupportedExpr => false,
    };
    Ok(has_fetch && matches!(limit.get_skip_type()?, SkipType::Literal(0)))
}

/// Whether a condition of the query `plan` itself has outer columns.
pub(super) fn holds(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        found |= node.contains_outer_reference();
        Ok(match node {
            _ if found => TreeNodeRecursion::Stop,
            LogicalPlan::Subquery(_) => TreeNodeRecursion::Jump,
            _ => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// Whether a condition below `node` compares with the row outside by anything but an equation: no join gives its rows.
fn has_uneven_condition(node: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    node.apply(|below| {
        if let LogicalPlan::Filter(filter) = below {
            found |= split_conjunction(&filter.predicate).into_iter().any(|part| part.contains_outer() && !is_equation(part));
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Whether `condition` is a column equal to what is the same for all rows inside. One that is cast is not: several values may become one.
pub(super) fn is_equation(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return false };
    let is_column = |side: &Expr| matches!(side, Expr::Column(_));
    is_column(left) && !right.any_column_refs() || is_column(right) && !left.any_column_refs()
}
