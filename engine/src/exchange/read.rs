//! Reads the inputs of a task: the transport that the distributed planner's network nodes pull from.

use super::Exchange;
use super::segment::SegmentDecoder;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::read_range;
use crate::task::{Output, OutputLocation, Segment, StageInput};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse, SetPlanRequest,
    WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::stream::{BoxStream, StreamExt};
use http::HeaderMap;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Semaphore;
use url::Url;

type Streams = Vec<BoxStream<'static, Result<RecordBatch, DataFusionError>>>;

/// The part of `output` that holds `partitions`: the same location with fewer segments, inline bytes cut to them.
///
/// For a broadcast output a consumer's partitions wrap around: it gets the whole output.
///
/// # Errors
/// [`ErrorKind::Internal`] when the range is not in the output.
pub fn slice_output(output: &Output, partitions: Range<u32>) -> Result<Output> {
    if output.broadcast {
        return Ok(output.clone());
    }
    let first = partitions.start.checked_sub(output.first_partition);
    let wanted = first.map(|first| first as usize..first as usize + partitions.len());
    let Some((wanted, segments)) = wanted.and_then(|range| Some((range.clone(), output.segments.get(range)?))) else {
        return Err(Error::internal(format!(
            "partitions {partitions:?} of an output that holds {} from {}",
            output.segments.len(),
            output.first_partition
        )));
    };
    let skipped: u64 = output.segments[..wanted.start].iter().map(|segment| segment.bytes).sum();
    let length: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let (location, offset) = match &output.location {
        Some(OutputLocation::Inline(bytes)) => {
            let start = (output.offset + skipped) as usize;
            let cut = (start + length as usize <= bytes.len()).then(|| bytes.slice(start..start + length as usize));
            let cut = cut.ok_or_else(|| Error::new(ErrorKind::Corrupt, "an inline output is shorter than its segments"))?;
            (Some(OutputLocation::Inline(cut)), 0)
        }
        other => (other.clone(), output.offset + skipped),
    };
    Ok(Output { segments: segments.to_vec(), first_partition: partitions.start, location, offset, ..output.clone() })
}

struct Inputs {
    outputs: HashMap<(u32, u32), Output>,
    exchange: Exchange,
    reads: Semaphore,
}

/// Serves the network nodes of one task's plan from the outputs that its request names.
#[derive(Clone)]
pub struct ExchangeReader(Arc<Inputs>);

impl fmt::Debug for ExchangeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExchangeReader")
    }
}

impl ExchangeReader {
    /// A reader of `inputs`, at most `concurrency` objects at once.
    pub fn new(inputs: Vec<StageInput>, exchange: Exchange, concurrency: usize) -> Self {
        let outputs = inputs
            .into_iter()
            .flat_map(|input| input.outputs.into_iter().map(move |output| ((input.stage, output.task), output)))
            .collect();
        Self(Arc::new(Inputs { outputs, exchange, reads: Semaphore::new(concurrency) }))
    }

    /// One stream per partition of `partitions` from what task `task` of `stage` wrote; one range read for all.
    async fn read(&self, stage: u32, task: u32, partitions: Range<usize>, context: &TaskContext) -> Result<Streams> {
        let Some(output) = self.0.outputs.get(&(stage, task)) else {
            return Err(Error::internal(format!("the request holds no output of task {stage}/{task}")));
        };
        let wrap = |partition: usize| if output.broadcast { partition % (output.partitions.max(1) as usize) } else { partition };
        let start = wrap(partitions.start) as u32;
        let sliced = if output.broadcast {
            let whole = Output { broadcast: false, ..output.clone() };
            slice_output(&whole, start..start + partitions.len() as u32)?
        } else {
            slice_output(output, start..start + partitions.len() as u32)?
        };
        let length: u64 = sliced.segments.iter().map(|segment| segment.bytes).sum();
        let reservation = MemoryConsumer::new(format!("ExchangeRead[{stage}/{task}]")).register(context.memory_pool());
        let bytes = match &sliced.location {
            Some(OutputLocation::Inline(bytes)) => bytes.clone(),
            Some(OutputLocation::Key(_)) if length == 0 => Bytes::new(),
            Some(OutputLocation::Key(key)) => {
                reservation.try_grow(length as usize)?;
                let permit = self.0.reads.acquire().await;
                let (store, path) = self.0.exchange.object(key);
                let read = read_range(store.as_ref(), &path, sliced.offset..sliced.offset + length).await;
                drop(permit);
                read.map_err(|e| lost(e, key))?
            }
            None => return Err(Error::new(ErrorKind::Corrupt, "an output without a location")),
        };
        cut_segments(&sliced, &bytes, Arc::new(reservation))
    }
}

/// A missing or replaced exchange object is not the user's missing table.
fn lost(error: object_store::Error, key: &str) -> Error {
    let error = Error::from(error);
    let kind = match error.kind {
        ErrorKind::NotFound | ErrorKind::Changed => ErrorKind::Internal,
        other => other,
    };
    Error::new(kind, format!("reading exchange object {key}: {}", error.message))
}

fn cut_segments(output: &Output, bytes: &Bytes, reservation: Arc<MemoryReservation>) -> Result<Streams> {
    let mut start = 0usize;
    let mut streams: Streams = Vec::with_capacity(output.segments.len());
    for segment in &output.segments {
        let end = start + segment.bytes as usize;
        if end > bytes.len() {
            return Err(Error::new(ErrorKind::Corrupt, "an exchange object is shorter than its segments"));
        }
        streams.push(segment_stream(output.schema.clone(), bytes.slice(start..end), *segment, Arc::clone(&reservation)));
        start = end;
    }
    Ok(streams)
}

fn segment_stream(
    schema: Bytes,
    bytes: Bytes,
    segment: Segment,
    reservation: Arc<MemoryReservation>,
) -> BoxStream<'static, Result<RecordBatch, DataFusionError>> {
    if segment.bytes == 0 && segment.rows == 0 {
        return futures::stream::empty().boxed();
    }
    let open = move || -> Result<SegmentDecoder> {
        if crc32fast::hash(&bytes) != segment.crc32 {
            return Err(Error::new(ErrorKind::Corrupt, "an exchange segment does not match its checksum"));
        }
        SegmentDecoder::new(&schema, bytes)
    };
    let batches = futures::stream::once(async move { open() }).flat_map(move |opened| {
        let reservation = Arc::clone(&reservation);
        futures::stream::unfold((Some(opened), 0u64), move |(state, seen)| {
            let _held = &reservation;
            futures::future::ready(next_batch(state, seen, segment.rows))
        })
    });
    batches.map(|batch| batch.map_err(DataFusionError::from)).boxed()
}

type DecodeState = (Option<Result<SegmentDecoder>>, u64);

/// The next batch and the state behind it; the end is an error unless all rows came.
fn next_batch(state: Option<Result<SegmentDecoder>>, seen: u64, rows: u64) -> Option<(Result<RecordBatch>, DecodeState)> {
    let mut decoder = match state? {
        Ok(decoder) => decoder,
        Err(error) => return Some((Err(error), (None, seen))),
    };
    match decoder.next_batch() {
        Ok(Some(batch)) => {
            let seen = seen + batch.num_rows() as u64;
            Some((Ok(batch), (Some(Ok(decoder)), seen)))
        }
        Ok(None) if seen == rows => None,
        Ok(None) => {
            let error = Error::new(ErrorKind::Corrupt, format!("an exchange segment of {rows} rows gave {seen}"));
            Some((Err(error), (None, seen)))
        }
        Err(error) => Some((Err(error), (None, seen))),
    }
}

#[async_trait]
impl ChannelResolver for ExchangeReader {
    async fn get_worker_client_for_url(&self, _url: &Url) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl WorkerChannel for ExchangeReader {
    /// Plans travel in task requests (docs/decisions/0002), never through this channel.
    async fn coordinator_channel(
        &mut self,
        _headers: HeaderMap,
        _plan: SetPlanRequest,
        _messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        _metrics: ExecutionPlanMetricsSet,
        _context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg, DataFusionError>>, DataFusionError> {
        Err(Error::internal("a plan was sent through the exchange reader").into())
    }

    async fn execute_task(
        &mut self,
        _headers: HeaderMap,
        request: ExecuteTaskRequest,
        _metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Streams, DataFusionError> {
        let key = request.task_key;
        let partitions = request.target_partition_start..request.target_partition_end;
        Ok(self.read(key.stage_id as u32, key.task_number as u32, partitions, context).await?)
    }

    async fn get_worker_info(&mut self, _request: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse, DataFusionError> {
        Ok(GetWorkerInfoResponse { version: crate::task::build_id() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(location: OutputLocation) -> Output {
        let segments = [3, 0, 2].map(|bytes| Segment { bytes, rows: bytes, crc32: 0 }).to_vec();
        Output { partitions: 3, segments, location: Some(location), ..Output::default() }
    }

    #[test]
    fn inline_bytes_are_cut_to_the_partitions() -> Result<()> {
        let sliced = slice_output(&output(OutputLocation::Inline(Bytes::from_static(b"abcde"))), 1..3)?;
        assert_eq!(sliced.location, Some(OutputLocation::Inline(Bytes::from_static(b"de"))));
        assert_eq!((sliced.first_partition, sliced.offset, sliced.segments.len()), (1, 0, 2));
        let again = slice_output(&sliced, 2..3)?;
        assert_eq!(again.location, Some(OutputLocation::Inline(Bytes::from_static(b"de"))));
        Ok(())
    }

    #[test]
    fn objects_keep_their_key_and_move_the_offset() -> Result<()> {
        let sliced = slice_output(&output(OutputLocation::Key("k".into())), 2..3)?;
        assert_eq!((sliced.offset, sliced.segments.len()), (3, 1));
        Ok(())
    }

    #[test]
    fn a_range_outside_the_output_is_refused() {
        assert!(slice_output(&output(OutputLocation::Key("k".into())), 2..4).is_err());
    }
}
