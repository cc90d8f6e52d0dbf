//! Names of their own for columns that a query inside compares with the row outside, where others have the same ones.
//!
//! The optimizer knows the columns of such a query by their last name only: of `x.v = o.k` and `y.v` it would make one column.

use super::correlated::holds;
use super::has_part;
use crate::dialect::with_schema_again;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What the names of made columns start with.
const NAME: &str = "owlet_outer_";

/// Columns, and what they are called now.
type Renamed = HashMap<Column, Column>;

/// `plan` with names that the optimizer can tell apart.
///
/// # Errors
/// [`DataFusionError::NotImplemented`] for a LATERAL inside of a query whose names are not its own.
pub(super) fn with_own_names(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_part(&plan, |part| matches!(part, Expr::OuterReferenceColumn(..)))? {
        return Ok(plan);
    }
    let mut names = Names { made: 0 };
    // Queries within expressions come as nodes too.
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Subquery(query) => Ok(Transformed::yes(LogicalPlan::Subquery(names.query(query)?))),
        node => Ok(Transformed::yes(with_schema_again(node)?)),
    })?;
    Ok(rewritten.data)
}

/// Numbers the names that are made.
struct Names {
    made: usize,
}

impl Names {
    /// `query` with names of their own inside of it.
    fn query(&mut self, query: Subquery) -> Result<Subquery> {
        let wanted = shared(&query.subquery)?;
        if wanted.is_empty() {
            return Ok(query);
        }
        let plan = self.node(query.subquery.as_ref(), &wanted)?;
        let (old, new) = (query.subquery.schema().columns(), plan.schema().columns());
        let plan = if old != new {
            let columns = old.into_iter().zip(new).map(|(old, new)| match old == new {
                true => Expr::Column(new),
                false => Expr::Column(new).alias_qualified(old.relation, old.name),
            });
            LogicalPlanBuilder::from(plan).project(columns)?.build()?
        } else {
            plan
        };
        Ok(Subquery { subquery: Arc::new(plan), ..query })
    }

    /// `node` over relations that give the columns of `wanted` under new names.
    fn node(&mut self, node: &LogicalPlan, wanted: &BTreeSet<Column>) -> Result<LogicalPlan> {
        if let LogicalPlan::Subquery(_) = node {
            return refused("LATERAL in a query that refers to the row outside, with columns of one name");
        }
        if !holds(node)? {
            return self.given(node.clone(), wanted);
        }
        let mut renamed = Renamed::new();
        let mut inputs = Vec::new();
        for input in node.inputs() {
            let rewritten = self.node(input, wanted)?;
            let pairs = input.schema().columns().into_iter().zip(rewritten.schema().columns());
            renamed.extend(pairs.filter(|(old, new)| old != new));
            inputs.push(rewritten);
        }
        let expressions = node.expressions().into_iter().map(|expression| rename(expression, &renamed));
        let rewritten = node.with_new_exprs(expressions.collect::<Result<_>>()?, inputs)?;
        let columns = node.schema().columns();
        let is_made = |(old, new): (&Column, Column)| wanted.contains(old) && !new.name.starts_with(NAME);
        // What the conditions below compare does not come through an alias under another name.
        if matches!(node, LogicalPlan::SubqueryAlias(_)) && columns.iter().zip(rewritten.schema().columns()).any(is_made) {
            return refused(
                "a query in FROM that refers to the row outside and gives a column of a name that is compared with it",
            );
        }
        Ok(rewritten)
    }

    /// `plan` with names of their own for the columns of `wanted`.
    fn given(&mut self, plan: LogicalPlan, wanted: &BTreeSet<Column>) -> Result<LogicalPlan> {
        let columns = plan.schema().columns();
        if !columns.iter().any(|column| wanted.contains(column)) {
            return Ok(plan);
        }
        let columns = columns.into_iter().map(|column| {
            if !wanted.contains(&column) {
                return Expr::Column(column);
            }
            self.made += 1;
            let relation = column.relation.clone();
            Expr::Column(column).alias_qualified(relation, format!("{NAME}{}", self.made))
        });
        LogicalPlanBuilder::from(plan).project(columns.collect::<Vec<_>>())?.build()
    }
}

fn refused<T>(what: &str) -> Result<T> {
    Err(DataFusionError::NotImplemented(format!("NOT_SUPPORTED: {what}, is not supported")))
}

/// The columns that conditions of `plan` compare with the row outside, and whose name another of its columns has too.
fn shared(plan: &LogicalPlan) -> Result<BTreeSet<Column>> {
    let mut compared = BTreeSet::new();
    let mut all = BTreeSet::new();
    let mut add = |schema: &DFSchema| all.extend(schema.columns());
    plan.apply(|node| {
        add(node.schema());
        if let LogicalPlan::Filter(filter) = node {
            let conditions = split_conjunction(&filter.predicate).into_iter().filter(|condition| condition.contains_outer());
            compared.extend(conditions.flat_map(|condition| condition.column_refs()).cloned());
        }
        Ok(if holds(node)? { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Jump })
    })?;
    let is_shared = |column: &Column| all.iter().any(|other| other.name == column.name && other.relation != column.relation);
    Ok(compared.into_iter().filter(is_shared).collect())
}

/// `expression` with the columns of `renamed` by their new names, also where a query inside refers to them.
fn rename(expression: Expr, renamed: &Renamed) -> Result<Expr> {
    if renamed.is_empty() {
        return Ok(expression);
    }
    let rewritten = expression.transform_down(|part| {
        Ok(match part {
            Expr::Column(column) => match renamed.get(&column) {
                Some(new) => Transformed::yes(Expr::Column(new.clone())),
                None => Transformed::no(Expr::Column(column)),
            },
            other => Transformed::yes(map_query(other, |query| rename_outer(query, renamed))?),
        })
    })?;
    Ok(rewritten.data)
}

/// `part` with `change` done to the query that it has, if any.
fn map_query(part: Expr, change: impl FnOnce(Subquery) -> Result<Subquery>) -> Result<Expr> {
    Ok(match part {
        Expr::ScalarSubquery(query) => Expr::ScalarSubquery(change(query)?),
        Expr::Exists(Exists { subquery, negated }) => Expr::Exists(Exists { subquery: change(subquery)?, negated }),
        Expr::InSubquery(within) => Expr::InSubquery(InSubquery { subquery: change(within.subquery)?, ..within }),
        Expr::SetComparison(set) => Expr::SetComparison(SetComparison { subquery: change(set.subquery)?, ..set }),
        other => other,
    })
}

/// `query` with outer columns of `renamed` by their new names.
fn rename_outer(query: Subquery, renamed: &Renamed) -> Result<Subquery> {
    let rename_part = |part: Expr| match part {
        Expr::OuterReferenceColumn(field, column) => Ok(match renamed.get(&column) {
            Some(new) => Transformed::yes(Expr::OuterReferenceColumn(field, new.clone())),
            None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
        }),
        other => map_query(other, |query| rename_outer(query, renamed)).map(Transformed::yes),
    };
    let plan = query.subquery.as_ref().clone().transform_up(|node| {
        let saved = NamePreserver::new(&node);
        let node = node.map_expressions(|expression| {
            let name = saved.save(&expression);
            let rewritten = expression.transform_down(rename_part)?;
            Ok(rewritten.update_data(|expression| name.restore(expression)))
        })?;
        node.map_data(with_schema_again)
    })?;
    let outer = query.outer_ref_columns.into_iter().map(|column| rename_part(column).map(|renamed| renamed.data));
    Ok(Subquery { subquery: Arc::new(plan.data), outer_ref_columns: outer.collect::<Result<_>>()?, ..query })
}
