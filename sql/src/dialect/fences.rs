//! Physical rules that push filters down, by the names of columns alone, kept from nodes whose columns share names: they would take the
//! first one of a name for each, as below `x RIGHT JOIN y ON x.id = y.id WHERE x.id IS NULL`.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// A rule that pushes filters down.
#[derive(Debug)]
pub(super) struct Fenced(pub(super) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for Fenced {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let fenced = plan.transform_up(|node| {
            Ok(if shares_names(&node) { Transformed::yes(Arc::new(Fence(node)) as _) } else { Transformed::no(node) })
        })?;
        if !fenced.transformed {
            return self.0.optimize(fenced.data, config);
        }
        let optimized = self.0.optimize(fenced.data, config)?;
        let open = optimized.transform_up(|node| {
            let inner = node.downcast_ref::<Fence>().map(|fence| Arc::clone(&fence.0));
            Ok(inner.map_or_else(|| Transformed::no(node), Transformed::yes))
        })?;
        Ok(open.data)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

fn shares_names(node: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = node.schema();
    let names: HashSet<&String> = schema.fields().iter().map(|field| field.name()).collect();
    names.len() < schema.fields().len()
}

/// A node that lets no filter through; there while a rule runs.
#[derive(Debug)]
struct Fence(Arc<dyn ExecutionPlan>);

impl DisplayAs for Fence {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fence")
    }
}

impl ExecutionPlan for Fence {
    fn name(&self) -> &str {
        "Fence"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(children.into_iter().next().map_or(self, |inner| Arc::new(Self(inner)) as _))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.0.execute(partition, context)
    }
}
