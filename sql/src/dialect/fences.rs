//! Physical rules that move filters and projections, kept from where they would change rows:
//!
//! - Nodes whose columns share names: the rules go by names alone, and take the first one of a name for each, as below
//!   `x RIGHT JOIN y ON x.id = y.id WHERE x.id IS NULL`.
//! - What is below a lambda: the place of its variables, behind the columns, is that of the input which it was planned for.
//! - What is below a join by arrays or rows: the least and greatest key, which its filter for the other side has, are of another order than
//!   that side's comparison, where there are NULLs within.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CaseExpr, LambdaExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// A rule that moves filters or projections.
#[derive(Debug)]
pub(super) struct Fenced(pub(super) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for Fenced {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        // What a condition of a loop join has of one side alone becomes a column of it: a lambda, and what a CASE keeps from failing.
        let is_loop_of_guards = |node: &Arc<dyn ExecutionPlan>| {
            Ok(node.is::<NestedLoopJoinExec>() && has(node, |part| is_lambda(part) || part.is::<CaseExpr>())?)
        };
        if plan.exists(is_loop_of_guards)? {
            return Ok(plan);
        }
        let fenced = plan.transform_up(|node| {
            let is_fenced_below = compares_nested(&node) || has(&node, is_lambda)?;
            let inner = match is_fenced_below && !node.children().is_empty() {
                true => Transformed::yes(with_fences_below(node)?),
                false => Transformed::no(node),
            };
            Ok(if shares_names(&inner.data) { Transformed::yes(Arc::new(Fence(inner.data)) as _) } else { inner })
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

fn with_fences_below(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let fence = |child: &Arc<dyn ExecutionPlan>| match child.downcast_ref::<Fence>() {
        Some(_) => Arc::clone(child),
        None => Arc::new(Fence(Arc::clone(child))),
    };
    let children = node.children().into_iter().map(fence).collect();
    node.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

fn compares_nested(node: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(join) = node.downcast_ref::<HashJoinExec>() else { return false };
    let schema = join.left().schema();
    join.on().iter().any(|(left, _)| left.data_type(&schema).is_ok_and(|of| of.is_nested()))
}

fn is_lambda(part: &Arc<dyn PhysicalExpr>) -> bool {
    part.is::<LambdaExpr>()
}

/// Whether an expression of `node` has such a part.
fn has(node: &Arc<dyn ExecutionPlan>, is: impl Fn(&Arc<dyn PhysicalExpr>) -> bool) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(&mut |expression| {
        found = found || expression.exists(|part| Ok(is(part)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
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
