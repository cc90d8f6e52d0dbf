//! The messages of the task contract. Field numbers are never used again for another meaning.

use crate::storage::RequestCounts;
use prost::{Message, Oneof};

/// Everything that a worker needs to run one attempt of one task.
#[derive(Clone, PartialEq, Message)]
pub struct TaskRequest {
    /// [`super::PROTOCOL_VERSION`] of the sender.
    #[prost(uint32, tag = "1")]
    pub protocol_version: u32,
    /// [`super::build_id`] of the sender.
    #[prost(string, tag = "2")]
    pub build_id: String,
    /// The query, 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub query_id: Vec<u8>,
    /// The stage.
    #[prost(uint32, tag = "4")]
    pub stage: u32,
    /// 0-based number of the task in its stage.
    #[prost(uint32, tag = "5")]
    pub task: u32,
    /// Number of tasks in the stage.
    #[prost(uint32, tag = "6")]
    pub task_count: u32,
    /// 0-based number of the attempt.
    #[prost(uint32, tag = "7")]
    pub attempt: u32,
    /// The task's physical plan, encoded by [`super::encode_plan`]; empty when `plan_key` names it.
    #[prost(bytes = "bytes", tag = "8")]
    pub plan: bytes::Bytes,
    /// Key below the exchange of the plan and the pins, where they were too big to send: a request with nothing else.
    #[prost(string, tag = "9")]
    pub plan_key: String,
    /// Session options that differ from DataFusion's defaults.
    #[prost(message, repeated, tag = "10")]
    pub session: Vec<SessionOption>,
    /// Rows of the input stages that this task reads.
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<StageInput>,
    /// Versions of the source objects that this task reads.
    #[prost(message, repeated, tag = "12")]
    pub pins: Vec<PinnedObject>,
    /// URL of the exchange, with a trailing slash.
    #[prost(string, tag = "13")]
    pub exchange_url: String,
    /// Outputs up to this many bytes come back in the outcome.
    #[prost(uint64, tag = "14")]
    pub inline_limit_bytes: u64,
    /// Time that the attempt may take, in milliseconds from its arrival: no clock is shared.
    #[prost(uint64, tag = "15")]
    pub time_left_ms: u64,
    /// Memory for the attempt's operators, in bytes.
    #[prost(uint64, tag = "16")]
    pub memory_bytes: u64,
    /// W3C `traceparent` of the query, or empty.
    #[prost(string, tag = "17")]
    pub trace_parent: String,
    /// Whether the stage is broadcast: its rows are written once, and every consumer reads all of them.
    #[prost(bool, tag = "18")]
    pub broadcast: bool,
    /// Whether operator metrics are wanted in the outcome.
    #[prost(bool, tag = "19")]
    pub collect_metrics: bool,
    /// Pause between looks for the query's cancel marker, in milliseconds; 0 never looks.
    #[prost(uint64, tag = "20")]
    pub cancel_poll_ms: u64,
    /// Partitions of the output: the outcome has a segment for each.
    #[prost(uint64, tag = "21")]
    pub output_partitions: u64,
}

/// One option of the session.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SessionOption {
    /// Full name, as `datafusion.execution.batch_size`.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value as text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// The version of a source object that was planned.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PinnedObject {
    /// Store URL without a path, as `s3://bucket`.
    #[prost(string, tag = "1")]
    pub store: String,
    /// Path in the store.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Its ETag.
    #[prost(string, tag = "3")]
    pub etag: String,
}

/// What a task reads of one input stage.
#[derive(Clone, PartialEq, Message)]
pub struct StageInput {
    /// The stage that produced the rows.
    #[prost(uint32, tag = "1")]
    pub stage: u32,
    /// One output per producing task, in task order; tasks that this one does not read are absent.
    #[prost(message, repeated, tag = "2")]
    pub outputs: Vec<Output>,
}

/// The accepted output of one task, or the slice of it that a consumer reads.
#[derive(Clone, PartialEq, Message)]
pub struct Output {
    /// The producing task.
    #[prost(uint32, tag = "1")]
    pub task: u32,
    /// Partitions of the whole output.
    #[prost(uint32, tag = "2")]
    pub partitions: u32,
    /// Whether partition `p` of a consumer is partition `p % partitions` here.
    #[prost(bool, tag = "3")]
    pub broadcast: bool,
    /// The Arrow IPC schema message, sent once for all segments.
    #[prost(bytes = "bytes", tag = "4")]
    pub schema: bytes::Bytes,
    /// Consecutive segments, one per partition, starting with `first_partition`.
    #[prost(message, repeated, tag = "5")]
    pub segments: Vec<Segment>,
    /// Partition of the first segment.
    #[prost(uint32, tag = "6")]
    pub first_partition: u32,
    /// Where the bytes of the segments are.
    #[prost(oneof = "OutputLocation", tags = "7, 8")]
    pub location: Option<OutputLocation>,
    /// Offset of the first segment's bytes in the object; 0 for inline bytes.
    #[prost(uint64, tag = "9")]
    pub offset: u64,
}

/// Where an output is.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum OutputLocation {
    /// Here.
    #[prost(bytes = "bytes", tag = "7")]
    Inline(bytes::Bytes),
    /// In an object below the exchange URL.
    #[prost(string, tag = "8")]
    Key(String),
}

/// The Arrow IPC messages of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Segment {
    /// Encoded bytes; 0 for a partition without rows.
    #[prost(uint64, tag = "1")]
    pub bytes: u64,
    /// Rows.
    #[prost(uint64, tag = "2")]
    pub rows: u64,
    /// CRC-32 (IEEE) of the bytes.
    #[prost(fixed32, tag = "3")]
    pub crc32: u32,
}

/// What one attempt did.
#[derive(Clone, PartialEq, Message)]
pub struct TaskOutcome {
    /// [`super::PROTOCOL_VERSION`] of the worker.
    #[prost(uint32, tag = "1")]
    pub protocol_version: u32,
    /// The query, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub query_id: Vec<u8>,
    /// The stage.
    #[prost(uint32, tag = "3")]
    pub stage: u32,
    /// The task.
    #[prost(uint32, tag = "4")]
    pub task: u32,
    /// The attempt.
    #[prost(uint32, tag = "5")]
    pub attempt: u32,
    /// Output or error.
    #[prost(oneof = "TaskResult", tags = "6, 7")]
    pub result: Option<TaskResult>,
    /// What it used.
    #[prost(message, optional, tag = "8")]
    pub resources: Option<ResourceUse>,
    /// Metrics of the plan's operators, in pre-order; empty unless asked for.
    #[prost(message, repeated, tag = "9")]
    pub operators: Vec<OperatorMetrics>,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Oneof)]
pub enum TaskResult {
    /// Its output is whole.
    #[prost(message, tag = "6")]
    Output(Output),
    /// It failed, and left nothing that will be read.
    #[prost(message, tag = "7")]
    Error(TaskError),
}

/// A typed error on the wire.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskError {
    /// Position in [`crate::ErrorKind::ALL`].
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// For a person.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// Attempts that one invocation of the coordinator function hands to workers.
#[derive(Clone, PartialEq, Message)]
pub struct TaskGroup {
    /// Encoded [`TaskRequest`]s.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub requests: Vec<bytes::Bytes>,
    /// Time until the answer is waited for no more, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub time_left_ms: u64,
    /// [`super::build_id`] of the sender.
    #[prost(string, tag = "3")]
    pub build_id: String,
}

/// What came of a [`TaskGroup`].
#[derive(Clone, PartialEq, Message)]
pub struct GroupOutcome {
    /// As many as the group has requests, in their order.
    #[prost(message, repeated, tag = "1")]
    pub invoked: Vec<InvokedReport>,
}

/// What came of one invocation of a worker.
#[derive(Clone, PartialEq, Message)]
pub struct InvokedReport {
    /// The encoded [`TaskOutcome`]; not there when the invocation failed.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub outcome: Option<bytes::Bytes>,
    /// Why the invocation failed.
    #[prost(message, optional, tag = "2")]
    pub error: Option<TaskError>,
    /// What the service bills for it, where it says so.
    #[prost(message, optional, tag = "3")]
    pub billed: Option<Billed>,
    /// How often the service asked to slow down before it took the invocation.
    #[prost(uint32, tag = "4")]
    pub throttles: u32,
    /// Time from its sending to its end, in milliseconds; 0 when it was never sent.
    #[prost(uint64, tag = "5")]
    pub measured_ms: u64,
}

/// What one invocation is billed.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Billed {
    /// Memory of the function, in MB.
    #[prost(uint64, tag = "1")]
    pub memory_mb: u64,
    /// Billed time, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub billed_ms: u64,
    /// Time that the function took to start, in milliseconds; 0 for a warm one.
    #[prost(uint64, tag = "3")]
    pub init_ms: u64,
}

/// What an attempt used.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ResourceUse {
    /// Wall time in microseconds.
    #[prost(uint64, tag = "1")]
    pub elapsed_us: u64,
    /// GET requests.
    #[prost(uint64, tag = "2")]
    pub gets: u64,
    /// HEAD requests.
    #[prost(uint64, tag = "3")]
    pub heads: u64,
    /// PUT and POST requests.
    #[prost(uint64, tag = "4")]
    pub puts: u64,
    /// LIST requests.
    #[prost(uint64, tag = "5")]
    pub lists: u64,
    /// DELETE requests.
    #[prost(uint64, tag = "6")]
    pub deletes: u64,
    /// Bytes received from object storage, exchange included.
    #[prost(uint64, tag = "7")]
    pub bytes_read: u64,
    /// Bytes sent to object storage.
    #[prost(uint64, tag = "8")]
    pub bytes_written: u64,
    /// Bytes received from table data.
    #[prost(uint64, tag = "9")]
    pub scanned_bytes: u64,
    /// Encoded bytes of the output.
    #[prost(uint64, tag = "10")]
    pub output_bytes: u64,
    /// Rows of the output.
    #[prost(uint64, tag = "11")]
    pub output_rows: u64,
    /// Most memory that the operators had reserved, in bytes.
    #[prost(uint64, tag = "12")]
    pub peak_memory_bytes: u64,
}

impl ResourceUse {
    /// The requests as counts.
    pub fn requests(&self) -> RequestCounts {
        RequestCounts {
            gets: self.gets,
            heads: self.heads,
            puts: self.puts,
            lists: self.lists,
            deletes: self.deletes,
            bytes_read: self.bytes_read,
            bytes_written: self.bytes_written,
        }
    }

    /// Sets the request counts.
    pub fn set_requests(&mut self, counts: &RequestCounts) {
        self.gets = counts.gets;
        self.heads = counts.heads;
        self.puts = counts.puts;
        self.lists = counts.lists;
        self.deletes = counts.deletes;
        self.bytes_read = counts.bytes_read;
        self.bytes_written = counts.bytes_written;
    }
}

/// Metrics of one operator of a task.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct OperatorMetrics {
    /// One line of `EXPLAIN`.
    #[prost(string, tag = "1")]
    pub display: String,
    /// Depth below the root of the stage's plan.
    #[prost(uint32, tag = "2")]
    pub depth: u32,
    /// Rows that it gave.
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    /// Bytes that it gave or, for a scan, read; 0 where it does not tell.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// CPU time that it measured, in nanoseconds, summed over partitions.
    #[prost(uint64, tag = "5")]
    pub compute_ns: u64,
    /// Bytes that it spilled.
    #[prost(uint64, tag = "6")]
    pub spilled_bytes: u64,
}
