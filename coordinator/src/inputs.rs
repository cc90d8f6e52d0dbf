//! What rules of physical plans have in common.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use std::sync::Arc;

/// `plan`, from below, with the inputs that `inputs` gives for a node; those for which it gives none stay as they are.
///
/// # Errors
/// Those of nodes that do not take their new inputs.
pub(crate) fn with_inputs(
    plan: Arc<dyn ExecutionPlan>,
    inputs: impl Fn(&Arc<dyn ExecutionPlan>) -> Option<Vec<Arc<dyn ExecutionPlan>>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rewritten = plan.transform_up(|node| {
        let Some(inputs) = inputs(&node) else { return Ok(Transformed::no(node)) };
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(node.replace_children(inputs, options)?))
    })?;
    Ok(rewritten.data)
}
