//! Writes an attempt's output: all partitions at once, then inline bytes or one object, whole or not at all.

use super::Exchange;
use super::segment::SegmentEncoder;
use crate::error::{Error, ErrorKind, Result};
use crate::panic::panicked;
use crate::task::{Output, OutputLocation, Segment};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use object_store::{ObjectStoreExt, PutPayload, WriteMultipart};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;

/// Size of one part of a multipart upload, and so of the largest single PUT.
const UPLOAD_PART_BYTES: usize = 16 << 20;
/// Parts of one upload that are under way at once.
const UPLOAD_CONCURRENCY: usize = 4;

/// Where and how an attempt writes.
#[derive(Clone, Debug)]
pub struct Written {
    /// The query's exchange folder.
    pub exchange: Exchange,
    /// The attempt's key, shared with no other attempt.
    pub key: String,
    /// Output up to this many bytes is returned instead of written.
    pub inline_limit_bytes: usize,
    /// Encoded bytes of all partitions that may wait in memory before they go to temporary files.
    pub buffer_bytes: usize,
    /// Folder of those files; the system's when absent.
    pub temp_dir: Option<PathBuf>,
}

struct EncodedPartition {
    segment: Segment,
    schema: Vec<u8>,
    spilled: Option<File>,
    rest: Bytes,
}

/// Runs `partitions` to their end, all concurrently, and writes what they give.
///
/// All partitions are polled at once because siblings wait for each other inside a plan.
///
/// # Errors
/// The first error of a partition, a panic in one as [`ErrorKind::Internal`], or the store's. Nothing is left
/// readable then: the key is only known to the reader from the returned output.
pub async fn write_output(partitions: Vec<SendableRecordBatchStream>, to: &Written) -> Result<Output> {
    let count = partitions.len();
    let buffered = Arc::new(AtomicUsize::new(0));
    let mut encoders = JoinSet::new();
    for (index, stream) in partitions.into_iter().enumerate() {
        let (buffered, to) = (Arc::clone(&buffered), to.clone());
        encoders.spawn(async move { Ok::<_, Error>((index, encode_partition(stream, &buffered, &to).await?)) });
    }
    let mut encoded: Vec<Option<EncodedPartition>> = (0..count).map(|_| None).collect();
    while let Some(result) = encoders.join_next().await {
        let (index, partition) = result.map_err(joined)??;
        encoded[index] = Some(partition);
    }
    let encoded: Vec<_> = encoded.into_iter().flatten().collect();
    let segments: Vec<Segment> = encoded.iter().map(|partition| partition.segment).collect();
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let schema = encoded.first().map(|partition| partition.schema.clone()).unwrap_or_default();
    let location = if total <= to.inline_limit_bytes as u64 {
        OutputLocation::Inline(inline_bytes(encoded, total)?)
    } else {
        upload(encoded, total, to).await?;
        OutputLocation::Key(to.key.clone())
    };
    Ok(Output {
        task: 0,
        partitions: count as u32,
        broadcast: false,
        schema: schema.into(),
        segments,
        first_partition: 0,
        location: Some(location),
        offset: 0,
    })
}

fn joined(error: tokio::task::JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => panicked("a partition", panic.as_ref()),
        Err(_) => Error::new(ErrorKind::Cancelled, "the attempt was cancelled"),
    }
}

async fn encode_partition(
    mut stream: SendableRecordBatchStream,
    buffered: &AtomicUsize,
    to: &Written,
) -> Result<EncodedPartition> {
    let mut encoder = SegmentEncoder::new(&stream.schema())?;
    let mut crc = crc32fast::Hasher::new();
    let mut spilled: Option<File> = None;
    let mut spilled_bytes = 0u64;
    while let Some(batch) = stream.next().await {
        let before = encoder.buffered_bytes();
        encoder.push(&batch?)?;
        let grown = encoder.buffered_bytes() - before;
        if buffered.fetch_add(grown, Ordering::Relaxed) + grown > to.buffer_bytes {
            let bytes = encoder.drain();
            buffered.fetch_sub(bytes.len(), Ordering::Relaxed);
            crc.update(&bytes);
            spilled_bytes += bytes.len() as u64;
            let file = match &mut spilled {
                Some(file) => file,
                empty => empty.insert(temp_file(to)?),
            };
            file.write_all(&bytes).map_err(|e| Error::from(e).context("writing a temporary file of the exchange"))?;
        }
    }
    let rows = encoder.rows();
    let (schema, rest) = encoder.finish()?;
    crc.update(&rest);
    let segment = Segment { bytes: spilled_bytes + rest.len() as u64, rows, crc32: crc.finalize() };
    if let Some(file) = &mut spilled {
        file.seek(SeekFrom::Start(0))?;
    }
    Ok(EncodedPartition { segment, schema, spilled, rest: rest.into() })
}

fn temp_file(to: &Written) -> Result<File> {
    let file = match &to.temp_dir {
        Some(folder) => tempfile::tempfile_in(folder),
        None => tempfile::tempfile(),
    };
    file.map_err(|e| Error::from(e).context("making a temporary file for the exchange"))
}

fn inline_bytes(encoded: Vec<EncodedPartition>, total: u64) -> Result<Bytes> {
    let mut all = Vec::with_capacity(total as usize);
    for partition in encoded {
        if let Some(mut file) = partition.spilled {
            file.read_to_end(&mut all)?;
        }
        all.extend_from_slice(&partition.rest);
    }
    Ok(all.into())
}

async fn upload(encoded: Vec<EncodedPartition>, total: u64, to: &Written) -> Result<()> {
    let (store, path) = to.exchange.object(&to.key);
    if total <= UPLOAD_PART_BYTES as u64 && encoded.iter().all(|partition| partition.spilled.is_none()) {
        let payload: PutPayload = encoded.into_iter().map(|partition| partition.rest).collect();
        store.put(&path, payload).await?;
        return Ok(());
    }
    let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(&path).await?, UPLOAD_PART_BYTES);
    match feed(&mut upload, encoded).await {
        Ok(()) => {
            upload.finish().await?;
            Ok(())
        }
        Err(error) => {
            upload.abort().await?;
            Err(error)
        }
    }
}

async fn feed(upload: &mut WriteMultipart, encoded: Vec<EncodedPartition>) -> Result<()> {
    for partition in encoded {
        if let Some(mut file) = partition.spilled {
            let mut chunk = vec![0; 1 << 20];
            loop {
                let read = file.read(&mut chunk)?;
                if read == 0 {
                    break;
                }
                upload.wait_for_capacity(UPLOAD_CONCURRENCY).await?;
                upload.write(&chunk[..read]);
            }
        }
        upload.wait_for_capacity(UPLOAD_CONCURRENCY).await?;
        upload.put(partition.rest);
    }
    Ok(())
}
