//! The wire contract between coordinator and worker: one request in, one outcome out; nothing else crosses.
//!
//! Protobuf messages, so that unknown fields of a newer minor form are skipped and old bytes stay readable; a change
//! of meaning raises [`PROTOCOL_VERSION`], and a worker refuses a request of another version.

mod codec;
pub mod envelope;
mod invoker;
mod wire;

pub use codec::{decode_plan, encode_plan};
pub use invoker::{Invoked, Invoker, Running, RunningAttempts};
pub use wire::{
    Billed, GroupOutcome, InvokedReport, OperatorMetrics, Output, OutputLocation, PinnedObject, ResourceUse, Segment,
    SessionOption, StageInput, TaskError, TaskGroup, TaskOutcome, TaskRequest, TaskResult,
};

use crate::error::{Error, ErrorKind, Result};
use prost::Message;

/// Version of the meaning of the messages here.
pub const PROTOCOL_VERSION: u32 = 2;

/// What built this binary; a worker refuses requests from another build, because hashing and plan bytes are only
/// the same between equal builds.
pub fn build_id() -> String {
    format!("owlet {} datafusion {}", env!("CARGO_PKG_VERSION"), datafusion::DATAFUSION_VERSION)
}

impl TaskRequest {
    /// The bytes that an [`Invoker`] carries.
    pub fn to_bytes(&self) -> bytes::Bytes {
        self.encode_to_vec().into()
    }

    /// Reads a request and checks that this build may run it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for bytes that are no request, or a request of another version or build.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let request = Self::decode(bytes).map_err(|e| Error::internal(format!("not a task request: {e}")))?;
        if request.protocol_version != PROTOCOL_VERSION {
            return Err(Error::internal(format!(
                "the coordinator speaks task protocol {}, this worker {PROTOCOL_VERSION}: deploy both from one build",
                request.protocol_version
            )));
        }
        if request.build_id != build_id() {
            return Err(Error::internal(format!(
                "the coordinator is '{}', this worker '{}': deploy both from one build",
                request.build_id,
                build_id()
            )));
        }
        Ok(request)
    }

    /// Takes out what grows with the number of files, to be an object of the exchange.
    pub fn take_plan(&mut self) -> bytes::Bytes {
        let (plan, pins) = (std::mem::take(&mut self.plan), std::mem::take(&mut self.pins));
        Self { plan, pins, ..Self::default() }.to_bytes()
    }

    /// The plan and the pins of such an object.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for bytes that [`Self::take_plan`] has not made.
    pub fn taken_plan(object: &[u8]) -> Result<(bytes::Bytes, Vec<PinnedObject>)> {
        let taken = Self::decode(object).map_err(|e| Error::internal(format!("not a task's plan: {e}")))?;
        Ok((taken.plan, taken.pins))
    }
}

impl TaskOutcome {
    /// The bytes that a worker answers.
    pub fn to_bytes(&self) -> bytes::Bytes {
        self.encode_to_vec().into()
    }

    /// Reads an outcome.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] for bytes that are no outcome: the answer was damaged, another attempt may do better.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::decode(bytes).map_err(|e| Error::new(ErrorKind::Unavailable, format!("not a task outcome: {e}")))
    }
}

impl From<&Error> for TaskError {
    fn from(error: &Error) -> Self {
        let kind = ErrorKind::ALL.iter().position(|kind| *kind == error.kind).unwrap_or(0);
        Self { kind: kind as u32, message: error.message.clone() }
    }
}

impl From<&TaskError> for Error {
    fn from(error: &TaskError) -> Self {
        let kind = ErrorKind::ALL.get(error.kind as usize).copied().unwrap_or(ErrorKind::Internal);
        Error::new(kind, error.message.clone())
    }
}

impl TaskGroup {
    /// The bytes that go to a dispatcher.
    pub fn to_bytes(&self) -> bytes::Bytes {
        self.encode_to_vec().into()
    }

    /// Reads a group.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for bytes that are none, and for a group of another build.
    pub fn from_bytes(bytes: bytes::Bytes) -> Result<Self> {
        let group = Self::decode(bytes).map_err(|e| Error::internal(format!("not a group of task requests: {e}")))?;
        if group.build_id != build_id() {
            return Err(Error::internal(format!("the group is of '{}', this dispatcher is '{}'", group.build_id, build_id())));
        }
        Ok(group)
    }
}

impl GroupOutcome {
    /// The bytes that a dispatcher answers.
    pub fn to_bytes(&self) -> bytes::Bytes {
        self.encode_to_vec().into()
    }

    /// Reads what came of a group.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] for bytes that say nothing of one: the answer was damaged, other attempts may do better.
    pub fn from_bytes(bytes: bytes::Bytes) -> Result<Self> {
        Self::decode(bytes).map_err(|e| Error::new(ErrorKind::Unavailable, format!("not the outcome of a group: {e}")))
    }
}

impl From<Invoked> for InvokedReport {
    fn from(invoked: Invoked) -> Self {
        let Invoked { outcome, billed, throttles, measured_ms, .. } = invoked;
        let (outcome, error) = match outcome {
            Ok(outcome) => (Some(outcome), None),
            Err(error) => (None, Some(TaskError::from(&error))),
        };
        Self { outcome, error, billed, throttles, measured_ms }
    }
}

impl From<InvokedReport> for Invoked {
    fn from(report: InvokedReport) -> Self {
        let InvokedReport { outcome, error, billed, throttles, measured_ms } = report;
        let error =
            error.map_or_else(|| Error::new(ErrorKind::Unavailable, "nothing is known of the attempt"), |e| Error::from(&e));
        Self { outcome: outcome.ok_or(error), billed, throttles, measured_ms, dispatcher: None }
    }
}

#[cfg(test)]
mod tests;
