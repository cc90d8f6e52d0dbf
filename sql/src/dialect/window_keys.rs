//! What windows are divided and ordered by.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameUnits};
use std::sync::Arc;

/// What the columns of such keys are called.
const KEY: &str = "owlet_window_key_";

/// `node` with those keys of its windows as columns below it that the engine evaluates more than once: `rand()`, of which each row has one
/// value, and lambdas, whose variables have other places in each input.
pub(super) fn below(node: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Window(window) = &node else { return Ok(node) };
    let mut keys: Vec<Expr> = Vec::new();
    let mut functions = window.window_expr.clone();
    for function in &mut functions {
        let name = function.schema_name().to_string();
        let count = keys.len();
        let Expr::WindowFunction(call) = unaliased(function) else { continue };
        let orders = call.params.order_by.iter_mut().map(|order| &mut order.expr);
        for key in call.params.partition_by.iter_mut().chain(orders) {
            if !is_evaluated_once(key)? {
                continue;
            }
            let place = keys.iter().position(|known| known == key).unwrap_or_else(|| {
                keys.push(key.clone());
                keys.len() - 1
            });
            *key = Expr::Column(Column::from_name(format!("{KEY}{place}")));
        }
        if keys.len() > count && !matches!(function, Expr::Alias(_)) {
            *function = std::mem::take(function).alias(name);
        }
    }
    if keys.is_empty() {
        return Ok(node);
    }
    let columns = |plan: &LogicalPlan| plan.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
    let named = keys.into_iter().enumerate().map(|(place, key)| key.alias(format!("{KEY}{place}")));
    let input = LogicalPlanBuilder::from(Arc::clone(&window.input)).project(columns(&window.input).into_iter().chain(named))?;
    input.window(functions)?.project(columns(&node))?.build()
}

fn unaliased(expression: &mut Expr) -> &mut Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&mut alias.expr),
        other => other,
    }
}

fn is_evaluated_once(key: &Expr) -> Result<bool> {
    use datafusion::common::tree_node::TreeNode;
    Ok(key.is_volatile() || key.exists(|part| Ok(matches!(part, Expr::Lambda(_))))?)
}

/// A call with a frame of peers, where its frame by values has no distance and the engine has none for values of that type.
pub(super) fn with_frame_of_peers(mut call: Box<WindowFunction>, schema: &DFSchema) -> Box<WindowFunction> {
    let has_no_distance = |of: DataType| {
        matches!(
            of,
            DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) | DataType::Interval(_) | DataType::Struct(_)
        )
    };
    let frame = &call.params.window_frame;
    let is_of_values = frame.units == WindowFrameUnits::Range
        && !is_distance(frame.start_bound.clone())
        && !is_distance(frame.end_bound.clone());
    if is_of_values && call.params.order_by.iter().any(|order| order.expr.get_type(schema).is_ok_and(has_no_distance)) {
        call.params.window_frame =
            WindowFrame::new_bounds(WindowFrameUnits::Groups, frame.start_bound.clone(), frame.end_bound.clone());
    }
    call
}

fn is_distance(bound: datafusion::logical_expr::WindowFrameBound) -> bool {
    use datafusion::logical_expr::WindowFrameBound::{CurrentRow, Following, Preceding};
    match bound {
        CurrentRow => false,
        Preceding(distance) | Following(distance) => !distance.is_null(),
    }
}
