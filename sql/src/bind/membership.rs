//! `x IN (SELECT ..)` where NULL is not the same as false: in columns, below NOT, in arguments.
//!
//! The optimizer makes joins of it, which know true and false only. Here it becomes a CASE over counts:
//!
//! ```text
//! no rows ─► false    x IS NULL ─► NULL    a row equal to x ─► true    a NULL among the rows ─► NULL    else ─► false
//! ```

use super::{has_part, node_has_part};
use crate::dialect::with_schema_again;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, ExprSchema, Result, ScalarValue, Spans};
use datafusion::functions_aggregate::count::{count, count_all};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery, lit,
    when,
};
use std::sync::Arc;

/// What the names of made columns start with.
const NAME: &str = "owlet_in_";

/// `plan` with each IN over a query giving NULL where Athena's does.
///
/// # Errors
/// [`DataFusionError::NotImplemented`] for places and queries where that is not possible.
pub(super) fn with_memberships(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut made = Made(0);
    let plan = made.with_own_columns(plan)?;
    if !has_part(&plan, is_membership)? {
        return Ok(plan);
    }
    let rewritten = plan.transform_up_with_subqueries(|node| {
        if !node_has_part(&node, is_membership)? {
            return Ok(Transformed::yes(with_schema_again(node)?));
        }
        let node = match node {
            LogicalPlan::Filter(filter) => made.filter(filter)?,
            LogicalPlan::Projection(projection) => made.projection(projection)?,
            LogicalPlan::Aggregate(aggregate) => made.aggregate(aggregate)?,
            _ => return refused("in ORDER BY, OVER or the condition of a JOIN"),
        };
        Ok(Transformed::yes(node))
    })?;
    Ok(rewritten.data)
}

fn refused<T>(what: &str) -> Result<T> {
    Err(DataFusionError::NotImplemented(format!("IN (SELECT ..) {what} is not supported")))
}

fn is_membership(expression: &Expr) -> bool {
    matches!(expression, Expr::InSubquery(_)) || as_membership(expression).is_some()
}

/// `x = ANY (SELECT ..)` and `x <> ALL (SELECT ..)`, which are IN and NOT IN.
fn as_membership(expression: &Expr) -> Option<InSubquery> {
    let Expr::SetComparison(set) = expression else { return None };
    let negated = match (set.op, &set.quantifier) {
        (Operator::Eq, SetQuantifier::Any) => false,
        (Operator::NotEq, SetQuantifier::All) => true,
        _ => return None,
    };
    Some(InSubquery { expr: set.expr.clone(), subquery: set.subquery.clone(), negated })
}

/// Numbers what is made.
struct Made(usize);

impl Made {
    fn name(&mut self) -> String {
        self.0 += 1;
        format!("{NAME}{}", self.0)
    }

    /// `plan` with a name of its own for the column of each query behind ANY, SOME or ALL. The optimizer compares it by its name
    /// where columns of the row outside may have the same.
    fn with_own_columns(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let is_set = |part: &Expr| matches!(part, Expr::SetComparison(_));
        if !has_part(&plan, is_set)? {
            return Ok(plan);
        }
        let rewritten = plan.transform_up_with_subqueries(|node| {
            if !node_has_part(&node, is_set)? {
                return Ok(Transformed::no(node));
            }
            let names = NamePreserver::new(&node);
            let node = node.map_expressions(|expression| {
                let name = names.save(&expression);
                let named = expression.transform_up(|part| match part {
                    Expr::SetComparison(mut set) => {
                        set.subquery.subquery = Arc::new(self.rows(&set.subquery)?.plan.build()?);
                        Ok(Transformed::yes(Expr::SetComparison(set)))
                    }
                    other => Ok(Transformed::no(other)),
                })?;
                Ok(named.update_data(|named| name.restore(named)))
            })?;
            node.map_data(with_schema_again)
        })?;
        Ok(rewritten.data)
    }

    fn filter(&mut self, filter: Filter) -> Result<LogicalPlan> {
        let predicate = self.condition(filter.predicate, filter.input.schema(), true)?;
        Filter::try_new(predicate, filter.input).map(LogicalPlan::Filter)
    }

    fn projection(&mut self, projection: Projection) -> Result<LogicalPlan> {
        let schema = Arc::clone(projection.input.schema());
        let names = NamePreserver::new_for_projection();
        let one = |expression: Expr| {
            let name = names.save(&expression);
            self.value(expression, &schema).map(|value| name.restore(value))
        };
        let columns = projection.expr.into_iter().map(one).collect::<Result<Vec<_>>>()?;
        Projection::try_new(columns, projection.input).map(LogicalPlan::Projection)
    }

    /// The optimizer looks for no queries in arguments of aggregates: they are columns of a projection below.
    fn aggregate(&mut self, aggregate: Aggregate) -> Result<LogicalPlan> {
        let schema = Arc::clone(aggregate.input.schema());
        let mut below: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let names = NamePreserver::new_for_projection();
        let mut one = |expression: Expr| {
            let name = names.save(&expression);
            let moved = expression.transform_down(|part| {
                if !is_membership(&part) {
                    return Ok(Transformed::no(part));
                }
                let column = self.name();
                below.push(self.value(part, &schema)?.alias(column.as_str()));
                Ok(Transformed::new(Expr::Column(Column::from_name(column)), true, TreeNodeRecursion::Jump))
            })?;
            Ok(name.restore(moved.data))
        };
        let groups = aggregate.group_expr.into_iter().map(&mut one).collect::<Result<Vec<_>>>()?;
        let functions = aggregate.aggr_expr.into_iter().map(&mut one).collect::<Result<Vec<_>>>()?;
        let input = Projection::try_new(below, aggregate.input)?;
        Aggregate::try_new(Arc::new(LogicalPlan::Projection(input)), groups, functions).map(LogicalPlan::Aggregate)
    }

    /// `expression` where NULL and false are the same; `is_top` when all of it stands between ANDs.
    fn condition(&mut self, expression: Expr, schema: &DFSchema, is_top: bool) -> Result<Expr> {
        match expression {
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
                let is_top = is_top && op == Operator::And;
                let left = self.condition(*left, schema, is_top)?;
                let right = self.condition(*right, schema, is_top)?;
                Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
            }
            Expr::Not(inner) => match *inner {
                Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                    self.condition(Expr::InSubquery(InSubquery { expr, subquery, negated: !negated }), schema, is_top)
                }
                other => self.value(Expr::Not(Box::new(other)), schema),
            },
            Expr::InSubquery(membership) if !membership.negated => Ok(Expr::InSubquery(membership)),
            // The optimizer's join looks at every NULL, also in rows that belong to other rows outside; and at none where it has
            // no column to join on.
            Expr::InSubquery(membership)
                if is_top && membership.subquery.outer_ref_columns.is_empty() && membership.expr.any_column_refs() =>
            {
                Ok(Expr::InSubquery(membership))
            }
            Expr::InSubquery(membership) if is_top => self.not_exists(membership, schema),
            // The optimizer has a rule for these.
            Expr::SetComparison(set) => Ok(Expr::SetComparison(set)),
            other => self.value(other, schema),
        }
    }

    /// `expression` with NULL where it may be NULL.
    fn value(&mut self, expression: Expr, schema: &DFSchema) -> Result<Expr> {
        let rewritten = expression.transform_up(|part| {
            let membership = match part {
                Expr::InSubquery(membership) => membership,
                other => match as_membership(&other) {
                    Some(membership) => membership,
                    None => return Ok(Transformed::no(other)),
                },
            };
            let negated = membership.negated;
            let value = self.membership(membership, schema)?;
            Ok(Transformed::yes(if negated { Expr::Not(Box::new(value)) } else { value }))
        })?;
        Ok(rewritten.data)
    }

    fn membership(&mut self, membership: InSubquery, schema: &DFSchema) -> Result<Expr> {
        check(&membership)?;
        let value = *membership.expr.clone();
        let rows = self.rows(&membership.subquery)?;
        let column = rows.column.clone();
        let matching = rows.plan.clone().filter(column.clone().eq(outside(value.clone(), schema)?))?;
        let matches = counted(matching, count_all(), &rows, &value, schema)?;
        let all = counted(rows.plan.clone(), count_all(), &rows, &lit(true), schema)?;
        let known = counted(rows.plan.clone(), count(column), &rows, &lit(true), schema)?;
        let null = lit(ScalarValue::Int64(None));
        // As numbers, because a CASE of conditions may become AND and OR.
        let number = when(all.clone().eq(lit(0i64)), lit(0i64))
            .when(value.is_null(), null.clone())
            .when(matches.gt(lit(0i64)), lit(1i64))
            .when(known.lt(all), null)
            .otherwise(lit(0i64))?;
        Ok(number.eq(lit(1i64)))
    }

    /// NOT IN of a query that refers to the row outside, where NULL is the same as false.
    fn not_exists(&mut self, membership: InSubquery, schema: &DFSchema) -> Result<Expr> {
        check(&membership)?;
        let value = outside(*membership.expr.clone(), schema)?;
        let rows = self.rows(&membership.subquery)?;
        let mut keeps = rows.column.clone().eq(value.clone());
        if rows.column.nullable(rows.plan.schema())? {
            keeps = keeps.or(rows.column.clone().is_null());
        }
        if membership.expr.nullable(schema)? {
            keeps = keeps.or(value.is_null());
        }
        let plan = rows.plan.clone().filter(keeps)?.build()?;
        let subquery = subquery(plan, &rows, &membership.expr, schema)?;
        Ok(Expr::Exists(Exists { subquery, negated: true }))
    }

    /// The rows of `subquery` with a column of its own name; the optimizer does not look through an alias of relations.
    fn rows(&mut self, subquery: &Subquery) -> Result<Rows> {
        let name = self.name();
        let plan = subquery.subquery.as_ref().clone();
        let Some(first) = plan.schema().columns().into_iter().next() else {
            return Err(DataFusionError::Plan("a subquery without a column".into()));
        };
        let plan = LogicalPlanBuilder::from(plan).project(vec![Expr::Column(first).alias(name.as_str())])?;
        let column = Expr::Column(Column::from_name(name));
        Ok(Rows { plan, column, outer: subquery.outer_ref_columns.clone() })
    }
}

/// The rows of a query of one column.
struct Rows {
    plan: LogicalPlanBuilder,
    column: Expr,
    outer: Vec<Expr>,
}

/// How many rows `plan` has, by `function`.
fn counted(plan: LogicalPlanBuilder, function: Expr, rows: &Rows, value: &Expr, schema: &DFSchema) -> Result<Expr> {
    let plan = plan.aggregate(Vec::<Expr>::new(), vec![function])?.build()?;
    Ok(Expr::ScalarSubquery(subquery(plan, rows, value, schema)?))
}

/// `plan` as a query that refers to what `rows` refers to, and to the columns of `value`.
fn subquery(plan: LogicalPlan, rows: &Rows, value: &Expr, schema: &DFSchema) -> Result<Subquery> {
    let mut outer = rows.outer.clone();
    for column in value.column_refs() {
        let reference = outside(Expr::Column(column.clone()), schema)?;
        if !outer.contains(&reference) {
            outer.push(reference);
        }
    }
    Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns: outer, spans: Spans::new() })
}

/// `value` seen from a query inside.
fn outside(value: Expr, schema: &DFSchema) -> Result<Expr> {
    let moved = value.transform(|part| match part {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(moved.data)
}

/// The rows and the value are looked at several times, and must be the same each time.
fn check(membership: &InSubquery) -> Result<()> {
    let is_query = |part: &Expr| {
        let is_query = matches!(part, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_));
        Ok(is_query || matches!(part, Expr::OuterReferenceColumn(..)))
    };
    if membership.expr.is_volatile() || membership.expr.exists(is_query)? {
        return refused("of a random value or of a query, where NULL is not false,");
    }
    let mut varies = false;
    membership.subquery.subquery.apply_with_subqueries(|node| {
        varies |= matches!(node, LogicalPlan::Limit(_) | LogicalPlan::RecursiveQuery(_));
        node.apply_expressions(|expression| {
            varies |= expression.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if varies { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if varies { refused("of rows that LIMIT or chance decides, where NULL is not false,") } else { Ok(()) }
}
