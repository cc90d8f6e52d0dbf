//! A physical rule: DataFusion's, that answers aggregates from statistics, where it takes no other aggregate for the one it looks at.

use super::fences::Fenced;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::aggregate_statistics::AggregateStatistics;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use std::sync::Arc;

/// DataFusion's physical rules with [`UnfilteredStatistics`] and [`Fenced`].
pub(super) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    for rule in &mut rules {
        if rule.name() == AggregateStatistics::new().name() {
            *rule = Arc::new(UnfilteredStatistics(AggregateStatistics::new()));
        } else if rule.name().starts_with(FilterPushdown::new().name()) || rule.name() == ProjectionPushdown::new().name() {
            *rule = Arc::new(Fenced(Arc::clone(rule)));
        }
    }
    rules
}

/// The rule passes an aggregate with FILTER on its way down from the one over it, and answers that from one further down: leaves plans with
/// FILTER and without groups as they are.
#[derive(Debug)]
struct UnfilteredStatistics(AggregateStatistics);

impl PhysicalOptimizerRule for UnfilteredStatistics {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let is_filtered = plan.exists(|node| {
            let aggregate = node.downcast_ref::<AggregateExec>();
            Ok(aggregate.is_some_and(|node| node.group_expr().is_empty() && node.filter_expr().iter().any(Option::is_some)))
        })?;
        if is_filtered { Ok(plan) } else { self.0.optimize(plan, config) }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}
