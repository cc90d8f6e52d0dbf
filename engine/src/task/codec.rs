//! Physical plans as bytes, with the operators of the distributed planner.

use crate::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{DistributedCodec, MaybeEncoded};
use datafusion_proto::bytes::physical_plan_from_bytes_with_proto_converter;
use datafusion_proto::physical_plan::DeduplicatingProtoConverter;
use std::sync::Arc;

/// Encodes a task's plan.
///
/// # Errors
/// When an operator, expression or function of the plan has no encoding.
pub fn encode_plan(plan: Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<Vec<u8>> {
    Ok(MaybeEncoded::Decoded(plan).encode(context)?)
}

/// Decodes a task's plan; functions are looked up in `context`.
///
/// # Errors
/// When the bytes are no plan, or name something that this session does not have.
pub fn decode_plan(bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
    let codec = DistributedCodec::new_combined_with_user(context.session_config());
    let converter = DeduplicatingProtoConverter::default();
    Ok(physical_plan_from_bytes_with_proto_converter(bytes, context, &codec, &converter)?)
}
