//! Maps that are the same may have their entries in another order, by which the engine tells them apart where it does not compare them.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DataFusionError, NullEquality, Result};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan};
use std::collections::HashSet;
use std::sync::Arc;

/// `node` without those maps among the keys of its groups that the other keys determine: the planner has added all of what they determine,
/// whether or not anything of it is asked for.
pub(super) fn without_determined(node: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(node) };
    let schema = aggregate.input.schema();
    let place = |key: &Expr| match key {
        Expr::Column(column) => schema.index_of_column(column).ok(),
        _ => None,
    };
    let is_map = |key: &Expr| key.get_type(schema).is_ok_and(|of| has_map(&of));
    if !aggregate.group_expr.iter().any(is_map) {
        return Ok(node);
    }
    let keys: HashSet<usize> = aggregate.group_expr.iter().filter(|key| !is_map(key)).filter_map(place).collect();
    let is_determined = |key: &Expr| {
        place(key).is_some_and(|place| {
            schema.functional_dependencies().iter().any(|dependence| {
                dependence.target_indices.contains(&place) && dependence.source_indices.iter().all(|source| keys.contains(source))
            })
        })
    };
    let kept: Vec<Expr> = aggregate.group_expr.iter().filter(|key| !is_map(key) || !is_determined(key)).cloned().collect();
    if kept.len() == aggregate.group_expr.len() {
        return Ok(node);
    }
    Aggregate::try_new(Arc::clone(&aggregate.input), kept, aggregate.aggr_expr.clone()).map(LogicalPlan::Aggregate)
}

/// Refuses what puts maps together that are the same, and would go by the order of their entries; `schema` is that of the inputs.
pub(super) fn check(node: &LogicalPlan, schema: &DFSchema) -> Result<()> {
    let has = |expression: &Expr| expression.get_type(schema).is_ok_and(|of| has_map(&of));
    let orders = match node {
        LogicalPlan::Sort(sort) => sort.expr.iter().any(|order| has(&order.expr)),
        LogicalPlan::Aggregate(aggregate) => node_exists(&aggregate.aggr_expr, |part| match part {
            Expr::AggregateFunction(call) => call.params.order_by.iter().any(|order| has(&order.expr)),
            _ => false,
        })?,
        LogicalPlan::Window(window) => node_exists(&window.window_expr, |part| match part {
            Expr::WindowFunction(call) => call.params.order_by.iter().any(|order| has(&order.expr)),
            _ => false,
        })?,
        _ => false,
    };
    if orders {
        let text = "TYPE_MISMATCH: a map is not orderable, and therefore cannot be used in ORDER BY";
        return Err(DataFusionError::Plan(text.into()));
    }
    let is_distinct = |expression: &Expr| match expression {
        Expr::AggregateFunction(call) => call.params.distinct && call.params.args.iter().any(has),
        Expr::WindowFunction(call) => {
            call.params.partition_by.iter().any(has) || call.params.distinct && call.params.args.iter().any(has)
        }
        _ => false,
    };
    let found = match node {
        LogicalPlan::Distinct(_) => schema.fields().iter().any(|field| has_map(field.data_type())),
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.iter().any(has) || node_exists(&aggregate.aggr_expr, is_distinct)?
        }
        LogicalPlan::Window(window) => node_exists(&window.window_expr, is_distinct)?,
        LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
            join.on.iter().any(|(left, _)| has(left))
        }
        _ => false,
    };
    match found {
        true => Err(DataFusionError::NotImplemented(
            "NOT_SUPPORTED: GROUP BY, DISTINCT, PARTITION BY, UNION, INTERSECT and EXCEPT of maps: cast them to JSON".into(),
        )),
        false => Ok(()),
    }
}

fn node_exists(expressions: &[Expr], is: impl Fn(&Expr) -> bool) -> Result<bool> {
    expressions.iter().try_fold(false, |found, expression| Ok(found || expression.exists(|part| Ok(is(part)))?))
}

/// Whether maps are in values of a type.
fn has_map(of: &DataType) -> bool {
    match of {
        DataType::Map(..) => true,
        DataType::List(item) => has_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}
