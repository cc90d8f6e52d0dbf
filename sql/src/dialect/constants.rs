//! Columns of grouping sets that are one constant below them, and NULL above them in the sets without them: the engine takes them for
//! constants above as well, and does not sort by them.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::functions::math::expr_fn::random;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Projection, lit, when};
use std::collections::HashSet;
use std::sync::Arc;

/// `node` with columns of its grouping sets of which nobody can know that they are constant.
pub(super) fn hidden(node: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(node) };
    let has_sets = aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_)));
    if !has_sets || is_hidden(&aggregate.input) || !has_constants(&aggregate.input)? {
        return Ok(node);
    }
    let named: HashSet<&Column> = aggregate.group_expr.iter().flat_map(|group| group.column_refs()).collect();
    let mut columns = Vec::new();
    for (qualifier, field) in aggregate.input.schema().iter() {
        let column = Column::from((qualifier, field));
        columns.push(if named.contains(&column) {
            let null = lit(ScalarValue::try_from(field.data_type())?);
            let value = when(random().lt(lit(0.0)), null).otherwise(Expr::Column(column))?;
            value.alias_qualified(qualifier.cloned(), field.name())
        } else {
            Expr::Column(column)
        });
    }
    let input = LogicalPlanBuilder::from(Arc::clone(&aggregate.input)).project(columns)?.build()?;
    let (groups, functions) = (aggregate.group_expr.clone(), aggregate.aggr_expr.clone());
    Aggregate::try_new(Arc::new(input), groups, functions).map(LogicalPlan::Aggregate)
}

fn is_hidden(input: &LogicalPlan) -> bool {
    let LogicalPlan::Projection(Projection { expr, .. }) = input else { return false };
    expr.iter().any(|expression| matches!(expression, Expr::Alias(alias) if matches!(alias.expr.as_ref(), Expr::Case(_)) && expression.is_volatile()))
}

/// Whether something in `input` makes a column one value.
fn has_constants(input: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    input.apply(|node| {
        match node {
            LogicalPlan::Filter(filter) => found |= filter.predicate.exists(|part| Ok(is_constant_condition(part)))?,
            LogicalPlan::Projection(projection) => found |= projection.expr.iter().any(is_literal),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => found = true,
            _ => {}
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn is_constant_condition(part: &Expr) -> bool {
    match part {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::IsNotDistinctFrom, right }) => {
            !left.any_column_refs() || !right.any_column_refs()
        }
        Expr::InList(list) => list.list.len() == 1,
        Expr::Between(_) | Expr::IsNull(_) | Expr::InSubquery(_) => true,
        _ => false,
    }
}

fn is_literal(expression: &Expr) -> bool {
    match expression {
        Expr::Alias(alias) => is_literal(&alias.expr),
        other => !other.any_column_refs(),
    }
}
