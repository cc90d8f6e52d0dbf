//! A physical rule: a build side with a limit is evaluated once, below its broadcast, not once per consumer.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
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
        let rewritten = plan.transform_up(|node| {
            let children = node.children();
            let limit = children.first().filter(|_| collects_left(node.as_ref())).and_then(|build| {
                let coalesce = build.downcast_ref::<CoalescePartitionsExec>()?;
                coalesce.fetch().map(|fetch| GlobalLimitExec::new(Arc::clone(build), 0, Some(fetch)))
            });
            let Some(limit) = limit else { return Ok(Transformed::no(node)) };
            let mut replaced: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::new(limit)];
            replaced.extend(children.into_iter().skip(1).map(Arc::clone));
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Ok(Transformed::yes(Arc::clone(&node).replace_children(replaced, options)?))
        })?;
        Ok(rewritten.data)
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
