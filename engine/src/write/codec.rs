//! [`WriteExec`] as bytes, for plans that go to workers.

use super::exec::WriteExec;
use super::spec::WriteSpec;
use crate::error::Error;
use crate::ids::QueryId;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// Encodes and decodes [`WriteExec`], and nothing else.
#[derive(Debug)]
pub struct WriteCodec;

/// What a [`WriteExec`] has beside its input.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodedWrite<'a> {
    write: std::borrow::Cow<'a, WriteSpec>,
    query: [u8; 16],
}

impl PhysicalExtensionCodec for WriteCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _context: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wrong = |why: String| DataFusionError::Internal(format!("not a write: {why}"));
        let encoded: EncodedWrite<'_> = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        let [input] = inputs else { return Err(wrong(format!("{} inputs", inputs.len()))) };
        let query = QueryId(Uuid::from_bytes(encoded.query));
        Ok(Arc::new(WriteExec::try_new(Arc::clone(input), Arc::new(encoded.write.into_owned()), query)?))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(write) = node.downcast_ref::<WriteExec>() else {
            return Err(DataFusionError::NotImplemented(format!("{} has no encoding", node.name())));
        };
        let encoded = EncodedWrite { write: std::borrow::Cow::Borrowed(write.spec()), query: *write.query().0.as_bytes() };
        serde_json::to_writer(buffer, &encoded).map_err(|e| Error::internal(e.to_string()))?;
        Ok(())
    }
}
