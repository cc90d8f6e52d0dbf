//! A physical rule: a build side with a limit is evaluated once, below its broadcast, not once per consumer.

use crate::inputs::with_inputs;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::limit::GlobalLimitExec;
use std::sync::Arc;

/// Puts a limit node over `CoalescePartitionsExec: fetch=n` on the build side of a join that collects it.
///
/// The distributed planner broadcasts what is below a `CoalescePartitionsExec` there: each consumer would then take
/// *its own* `n` of the broadcast rows, in the order of their arrival, and the join would see more than `n` rows
/// (datafusion-distributed issue 708). With another node on top it broadcasts the limited rows.
#[derive(Debug)]
pub(crate) struct LimitedBuildSide;

impl PhysicalOptimizerRule for LimitedBuildSide {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        with_inputs(plan, |node| {
            let children = node.children();
            let build = children.first().filter(|_| collects_left(node.as_ref()))?;
            let fetch = build.downcast_ref::<CoalescePartitionsExec>()?.fetch()?;
            let limit = GlobalLimitExec::new(Arc::clone(build), 0, Some(fetch));
            let mut inputs: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::new(limit)];
            inputs.extend(children.into_iter().skip(1).map(Arc::clone));
            Some(inputs)
        })
    }

    fn name(&self) -> &str {
        "limited_build_side"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn collects_left(node: &dyn ExecutionPlan) -> bool {
    let hash = node.downcast_ref::<HashJoinExec>().is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft);
    hash || node.is::<NestedLoopJoinExec>() || node.is::<CrossJoinExec>()
}
