//! A physical rule: WITH RECURSIVE that does not end by itself ends with an error.

use crate::inputs::with_inputs;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most steps of a recursion; Athena has 10.
pub(crate) const MAX_RECURSION_DEPTH: usize = 1_000;

/// Puts a count over what each step of a recursion runs.
#[derive(Debug)]
pub(crate) struct LimitedRecursion;

impl PhysicalOptimizerRule for LimitedRecursion {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        with_inputs(plan, |node| {
            let recursion = node.downcast_ref::<RecursiveQueryExec>()?;
            let step = StepExec { input: Arc::clone(recursion.recursive_term()), steps: Arc::new(AtomicUsize::new(0)) };
            Some(vec![Arc::clone(recursion.static_term()), Arc::new(step)])
        })
    }

    fn name(&self) -> &str {
        "limited_recursion"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Its input, as often as there may be steps.
#[derive(Debug)]
struct StepExec {
    input: Arc<dyn ExecutionPlan>,
    /// Steps so far, of this node and of what it becomes for the next step.
    steps: Arc<AtomicUsize>,
}

impl DisplayAs for StepExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepExec: most={MAX_RECURSION_DEPTH}")
    }
}

impl ExecutionPlan for StepExec {
    fn name(&self) -> &str {
        "StepExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self { input, steps: Arc::clone(&self.steps) })),
            Err(_) => Err(DataFusionError::Internal("a step has one input".into())),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        // The step behind the last one that may give rows finds out that there are none.
        if self.steps.fetch_add(1, Ordering::Relaxed) > MAX_RECURSION_DEPTH {
            return exec_err!("Recursion depth limit exceeded ({MAX_RECURSION_DEPTH})");
        }
        self.input.execute(partition, context)
    }
}
