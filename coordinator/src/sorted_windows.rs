//! A physical rule: the rows of a window are sorted by all of its keys, also by those that need it in one process only.

use crate::inputs::with_inputs;
use datafusion::arrow::compute::SortOptions;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode};
use std::sync::Arc;

/// Adds the keys to the sort below a window that a condition makes constant, or equal to another key.
///
/// The optimizer leaves them out. A task that reads the rows from the exchange does not know of the condition, and has no window over rows
/// that are not sorted by its keys. Sorted by them too, the rows come in the same order.
#[derive(Debug)]
pub(crate) struct SortedWindows;

impl PhysicalOptimizerRule for SortedWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        with_inputs(plan, |node| {
            let order = missing_order(node)?;
            let input = Arc::clone(node.children()[0]);
            let below = match input.downcast_ref::<SortExec>() {
                Some(sort) if sort.fetch().is_none() => Arc::clone(sort.input()),
                _ => input,
            };
            let sort = SortExec::new(order, below).with_preserve_partitioning(true);
            Some(vec![Arc::new(sort)])
        })
    }

    fn name(&self) -> &str {
        "sorted_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The order by all keys of a window over sorted rows, where its input has not all of them.
fn missing_order(node: &Arc<dyn ExecutionPlan>) -> Option<LexOrdering> {
    let window = windows(node.as_ref()).first()?;
    let is_sorted =
        node.downcast_ref::<BoundedWindowAggExec>().is_none_or(|node| node.input_order_mode == InputOrderMode::Sorted);
    let input = node.children().first().copied()?;
    let sorts = sorts_of(input);
    let found = |key: &Arc<dyn PhysicalExpr>| sorts.iter().position(|sort| sort.expr.eq(key));
    let is_whole = window.partition_by().iter().all(|key| found(key).is_some())
        && window.order_by().iter().all(|sort| found(&sort.expr).is_some());
    if !is_sorted || is_whole {
        return None;
    }
    // Present keys in the order that they have, then those that are constant or equal to one of the order.
    let mut keys: Vec<&Arc<dyn PhysicalExpr>> = window.partition_by().iter().collect();
    keys.sort_by_key(|key| found(key).unwrap_or(usize::MAX));
    let groups = input.equivalence_properties().eq_group();
    let options = |key: &Arc<dyn PhysicalExpr>| {
        let class = groups.get_equivalence_class(key);
        let is_same = |sort: &&PhysicalSortExpr| sort.expr.eq(key) || class.is_some_and(|class| class.contains(&sort.expr));
        sorts.iter().find(is_same).map_or_else(SortOptions::default, |sort| sort.options)
    };
    let partition = keys.into_iter().map(|key| PhysicalSortExpr { expr: Arc::clone(key), options: options(key) });
    LexOrdering::new(partition.chain(window.order_by().iter().cloned()))
}

/// The windows that `node` computes, all of one order.
pub(crate) fn windows(node: &dyn ExecutionPlan) -> &[Arc<dyn WindowExpr>] {
    match (node.downcast_ref::<WindowAggExec>(), node.downcast_ref::<BoundedWindowAggExec>()) {
        (Some(window), _) => window.window_expr(),
        (_, Some(window)) => window.window_expr(),
        _ => &[],
    }
}

/// What `plan` is sorted by: all that a sort has, of which its properties leave out what is constant.
pub(crate) fn sorts_of(plan: &Arc<dyn ExecutionPlan>) -> Vec<PhysicalSortExpr> {
    let sorts = plan.downcast_ref::<SortExec>().map(SortExec::expr).or_else(|| plan.output_ordering());
    sorts.map(|sorts| sorts.iter().cloned().collect()).unwrap_or_default()
}
