//! Physical plans as bytes, with the operators of the distributed planner.

use crate::columns::adapted;
use crate::error::Result;
use datafusion::arrow::datatypes::Schema;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{DistributedCodec, MaybeEncoded};
use datafusion_proto::bytes::physical_plan_from_bytes_with_proto_converter;
use datafusion_proto::physical_plan::from_proto::parse_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    DeduplicatingProtoConverter, PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::{PhysicalExprNode, PhysicalPlanNode};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Encodes a task's plan.
///
/// # Errors
/// When an operator, expression or function of the plan has no encoding.
pub fn encode_plan(plan: Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<Vec<u8>> {
    Ok(MaybeEncoded::Decoded(plan).encode(context)?)
}

/// Decodes a task's plan; functions are looked up in `context`. Scans of a catalog's tables get what finds their columns, which
/// has no encoding.
///
/// # Errors
/// When the bytes are no plan, or name something that this session does not have.
pub fn decode_plan(bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
    let codec = DistributedCodec::new_combined_with_user(context.session_config());
    Ok(physical_plan_from_bytes_with_proto_converter(bytes, context, &codec, &Decoder::default())?)
}

/// Decodes one plan. An expression that several operators share (a dynamic filter) is one again; nodes above a scan are built from
/// the scan as it will be, and not changed afterwards.
#[derive(Default)]
struct Decoder {
    shared: RefCell<HashMap<u64, Arc<dyn PhysicalExpr>>>,
}

impl PhysicalProtoConverterExtension for Decoder {
    fn proto_to_execution_plan(
        &self,
        node: &PhysicalPlanNode,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let plan = node.try_into_physical_plan_with_context(context, self)?;
        Ok(adapted(plan, &context.task_ctx().runtime_env())?)
    }

    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> datafusion::common::Result<PhysicalPlanNode> {
        DeduplicatingProtoConverter::default().execution_plan_to_proto(plan, codec)
    }

    fn proto_to_physical_expr(
        &self,
        node: &PhysicalExprNode,
        schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> datafusion::common::Result<Arc<dyn PhysicalExpr>> {
        let expr = parse_physical_expr_with_converter(node, schema, context, self)?;
        let Some(id) = node.expr_id else { return Ok(expr) };
        let known = self.shared.borrow().get(&id).map(Arc::clone);
        match known {
            Some(known) => {
                let children = expr.children().into_iter().map(Arc::clone).collect();
                known.with_new_children(children)
            }
            None => {
                self.shared.borrow_mut().insert(id, Arc::clone(&expr));
                Ok(expr)
            }
        }
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> datafusion::common::Result<PhysicalExprNode> {
        DeduplicatingProtoConverter::default().physical_expr_to_proto(expr, codec)
    }
}
