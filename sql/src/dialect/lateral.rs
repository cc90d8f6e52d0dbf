//! `FROM t CROSS JOIN UNNEST(t.list)`: a join with what refers to its left side, as one unnesting of the left side's rows.
//!
//! The planner gives `Join(left, Subquery(Projection(Unnest(Projection(one row)))))` with outer references to `left`; it becomes
//! `Projection(Unnest(Projection(left)))` with the same columns, which optimizer and workers know. A query without tables is columns of
//! the left side.

use super::one_row::{OneRow, has_outer_query};
use super::relations::UNNESTED;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, NullHandling, Result, ScalarValue, TableReference, UnnestOptions};
use datafusion::logical_expr::logical_plan::{Join, Projection, SubqueryAlias, Unnest};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};
use std::collections::HashMap;

/// `plan` without joins that unnest lists of their left side, or that compute from it only.
///
/// # Errors
/// [`DataFusionError::NotImplemented`] for forms of such joins that are not supported.
pub(crate) fn without_lateral(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Join(join) => match Lateral::of(&join) {
                Some(lateral) => Transformed::yes(lateral.rewritten(&join)?),
                None => match computed(&join)? {
                    Some(plan) => Transformed::yes(plan),
                    None => Transformed::no(LogicalPlan::Join(join)),
                },
            },
            other => Transformed::no(other),
        };
        node.map_data(|node| node.recompute_schema())
    })?;
    Ok(rewritten.data)
}

/// A join with `LATERAL (SELECT a + 1)` or `LATERAL (VALUES a, b)` as columns of its left side; none for other joins.
fn computed(join: &Join) -> Result<Option<LogicalPlan>> {
    let (alias, subquery) = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => (Some(alias), input.as_ref()),
        other => (None, other),
    };
    let Some(row) = OneRow::of(subquery).filter(|row| row.each.is_none()) else { return Ok(None) };
    // Without outer columns of its own it is a query like another.
    if !matches!(subquery, LogicalPlan::Subquery(_)) && !row.columns.iter().any(has_outer_query) {
        return Ok(None);
    }
    let on_true = join.filter.as_ref().is_none_or(is_true);
    let keeps_rows = join.join_type == JoinType::Left && on_true && row.conditions.is_empty() && row.lists.is_empty();
    if !join.on.is_empty() || join.join_type != JoinType::Inner && !keeps_rows {
        return Ok(None);
    }
    let schema = join.left.schema();
    let left_columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let fields = join.right.schema().iter();
    let names = fields.map(|(qualifier, field)| (qualifier.or(alias).cloned(), field.name().clone()));
    let mut columns = Vec::with_capacity(row.columns.len());
    for (column, (qualifier, name)) in row.columns.into_iter().zip(names) {
        columns.push(with_columns(column, schema)?.unalias().alias_qualified(qualifier, name));
    }
    let mut builder = LogicalPlanBuilder::from(join.left.as_ref().clone());
    for condition in row.conditions {
        builder = builder.filter(with_columns(condition, schema)?)?;
    }
    if !row.lists.is_empty() {
        let mut lists = Vec::with_capacity(row.lists.len());
        for (name, list) in &row.lists {
            lists.push(with_columns(list.clone(), schema)?.alias(name));
        }
        let unnested = row.lists.iter().map(|(name, _)| Column::from_name(name)).collect();
        let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
        builder = builder.project(left_columns.iter().cloned().chain(lists))?.unnest_columns_with_options(unnested, options)?;
    }
    builder = builder.project(left_columns.into_iter().chain(columns))?;
    if let Some(condition) = join.filter.as_ref().filter(|_| !on_true) {
        builder = builder.filter(condition.clone())?;
    }
    builder.build().map(Some)
}

/// The right side of a join that unnests.
struct Lateral<'a> {
    alias: Option<&'a TableReference>,
    /// What each column is made of: expressions over the unnested columns.
    columns: Vec<Expr>,
    unnest: &'a Unnest,
    lists: &'a Projection,
}

impl<'a> Lateral<'a> {
    fn of(join: &'a Join) -> Option<Self> {
        let (alias, subquery) = match join.right.as_ref() {
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => (Some(alias), input.as_ref()),
            other => (None, other),
        };
        let LogicalPlan::Subquery(subquery) = subquery else { return None };
        let mut projections = Vec::new();
        let mut node = subquery.subquery.as_ref();
        while let LogicalPlan::Projection(projection) = node {
            projections.push(projection);
            node = projection.input.as_ref();
        }
        let LogicalPlan::Unnest(unnest) = node else { return None };
        let LogicalPlan::Projection(lists) = unnest.input.as_ref() else { return None };
        let is_ours = unnest.exec_columns.iter().all(|column| column.name.starts_with(UNNESTED));
        if !is_ours || !matches!(lists.input.as_ref(), LogicalPlan::EmptyRelation(_)) {
            return None;
        }
        let mut columns: Option<Vec<Expr>> = None;
        for projection in projections.iter().rev() {
            columns = Some(match columns {
                None => projection.expr.clone(),
                Some(below) => composed(&projection.expr, &below).ok()?,
            });
        }
        Some(Self { alias, columns: columns?, unnest, lists })
    }

    fn rewritten(&self, join: &Join) -> Result<LogicalPlan> {
        let refused = |what: &str| Err(DataFusionError::NotImplemented(what.to_string()));
        let condition = join.filter.as_ref().filter(|filter| !is_true(filter));
        let null_handling = match join.join_type {
            JoinType::Inner => NullHandling::Drop,
            JoinType::Left if condition.is_none() => NullHandling::PreserveAndExpandEmpty,
            JoinType::Left => return refused("LEFT JOIN UNNEST with another condition than ON TRUE"),
            _ => return refused("this kind of JOIN with UNNEST"),
        };
        if !join.on.is_empty() {
            return refused("JOIN UNNEST with USING");
        }
        let left_columns: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
        let left_schema = join.left.schema();
        let lists = self.lists.expr.iter().map(|list| with_columns(list.clone(), left_schema)).collect::<Result<Vec<_>>>()?;
        let mut options = self.unnest.options.clone();
        options.null_handling = null_handling;
        let names: Vec<Column> = self.unnest.exec_columns.clone();
        let columns = self.columns.iter().zip(self.right_names(join)).map(|(column, (qualifier, name))| {
            // The unnested columns have names of their own, which no column of the left side has.
            column.clone().unalias().alias_qualified(qualifier, name)
        });
        let mut builder = LogicalPlanBuilder::from(join.left.as_ref().clone())
            .project(left_columns.iter().cloned().chain(lists))?
            .unnest_columns_with_options(names, options)?
            .project(left_columns.into_iter().chain(columns))?;
        if let Some(condition) = condition {
            builder = builder.filter(condition.clone())?;
        }
        builder.build()
    }

    fn right_names(&self, join: &Join) -> Vec<(Option<TableReference>, String)> {
        let fields = join.right.schema().iter();
        fields.map(|(qualifier, field)| (qualifier.or(self.alias).cloned(), field.name().clone())).collect()
    }
}

pub(crate) fn is_true(filter: &Expr) -> bool {
    matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

/// `upper` over what `below` is made of.
fn composed(upper: &[Expr], below: &[Expr]) -> Result<Vec<Expr>> {
    let by_name: HashMap<String, Expr> =
        below.iter().map(|expression| (expression.schema_name().to_string(), expression.clone().unalias())).collect();
    let replaced = |expression: &Expr| {
        let replaced = expression.clone().transform(|part| match &part {
            Expr::Column(column) => match by_name.get(&column.name) {
                Some(made_of) => Ok(Transformed::yes(made_of.clone())),
                None => Err(DataFusionError::Internal(format!("no column {} to unnest", column.name))),
            },
            _ => Ok(Transformed::no(part)),
        });
        replaced.map(|replaced| replaced.data)
    };
    upper.iter().map(replaced).collect()
}

/// `expression` with columns of `schema` in place of outer references to them.
pub(crate) fn with_columns(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let replaced = expression.transform(|part| match part {
        Expr::OuterReferenceColumn(_, column) if schema.has_column(&column) => Ok(Transformed::yes(Expr::Column(column))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(replaced.data)
}
