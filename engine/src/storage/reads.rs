//! Turns many small ranges into few large reads, and checks that each read returned what was asked.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Ranges closer than this are read as one: at about 85 MB/s a connection, 1 MiB costs less than another request.
pub const READ_GAP_BYTES: u64 = 1 << 20;
/// Largest single read; a longer range is read as several, concurrently (AWS advises 8 to 16 MB).
pub const MAX_READ_BYTES: u64 = 16 << 20;
/// Concurrent reads for one call.
const READ_CONCURRENCY: usize = 8;

/// The reads that serve `ranges`: sorted, disjoint, each at most [`MAX_READ_BYTES`].
///
/// Every input range is covered by consecutive reads. Empty ranges need no read.
pub fn plan_reads(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| range.start < range.end).cloned().collect();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(READ_GAP_BYTES) => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged.into_iter().flat_map(split_evenly).collect()
}

fn split_evenly(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let length = range.end - range.start;
    let pieces = length.div_ceil(MAX_READ_BYTES).max(1);
    let step = length.div_ceil(pieces);
    (0..pieces).map(move |piece| {
        let start = range.start + piece * step;
        start..(start + step).min(range.end)
    })
}

/// A store whose range reads are merged, split and checked; every other call passes through.
#[derive(Debug)]
pub struct PlannedReads {
    inner: Arc<dyn ObjectStore>,
    /// Local files: ranges are read as they are, and this store, which counts nothing, tells the version afterwards.
    files: Option<Arc<dyn ObjectStore>>,
}

impl PlannedReads {
    /// Plans the reads of `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, files: None }
    }

    /// The reads of local files: one open file serves all ranges of a call, and gaps cost nothing.
    ///
    /// A file has no If-Match: after the reads its version is looked up again. `uncounted` is `inner` without a meter.
    pub fn of_files(inner: Arc<dyn ObjectStore>, uncounted: Arc<dyn ObjectStore>) -> Self {
        Self { inner, files: Some(uncounted) }
    }

    /// Reads `ranges` with `options` (its `range` is replaced), one result per range, each of the asked length.
    pub(super) async fn read(&self, location: &Path, ranges: &[Range<u64>], options: &GetOptions) -> Result<Vec<Bytes>> {
        if let Some(files) = &self.files {
            let read = self.inner.get_ranges(location, ranges).await?;
            for (range, bytes) in ranges.iter().zip(&read) {
                check_length(location, range, bytes.len())?;
            }
            if options.if_match.is_some() {
                files.get_opts(location, GetOptions { head: true, ..options.clone() }).await?;
            }
            return Ok(read);
        }
        let reads = plan_reads(ranges);
        let parts: Vec<(Range<u64>, Bytes)> = futures::stream::iter(reads)
            .map(|read| async move {
                let mut options = options.clone();
                options.range = Some(GetRange::Bounded(read.clone()));
                let bytes = self.inner.get_opts(location, options).await?.bytes().await?;
                check_length(location, &read, bytes.len())?;
                Ok::<_, object_store::Error>((read, bytes))
            })
            .buffered(READ_CONCURRENCY)
            .try_collect()
            .await?;
        Ok(ranges.iter().map(|range| cut(&parts, range)).collect())
    }
}

fn check_length(location: &Path, range: &Range<u64>, got: usize) -> Result<()> {
    let wanted = range.end - range.start;
    if got as u64 == wanted {
        return Ok(());
    }
    Err(object_store::Error::Generic {
        store: "Owlet",
        source: format!("{location}: the store answered {got} bytes for bytes {}..{} ({wanted} bytes)", range.start, range.end)
            .into(),
    })
}

/// The bytes of `range` out of sorted, disjoint `parts` that cover it; copies only where it spans two parts.
fn cut(parts: &[(Range<u64>, Bytes)], range: &Range<u64>) -> Bytes {
    let first = parts.partition_point(|(part, _)| part.end <= range.start);
    let overlap = |(part, bytes): &(Range<u64>, Bytes)| {
        let start = range.start.max(part.start) - part.start;
        let end = range.end.min(part.end).saturating_sub(part.start);
        bytes.slice(start as usize..end as usize)
    };
    let covering: Vec<Bytes> = parts[first..].iter().take_while(|(part, _)| part.start < range.end).map(overlap).collect();
    match covering.as_slice() {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => many.concat().into(),
    }
}

impl fmt::Display for PlannedReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlannedReads({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for PlannedReads {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.read(location, ranges, &GetOptions::default()).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// Reads one range of an exchange object or a footer, checked for its length.
///
/// # Errors
/// As the store, and when the answer is shorter or longer than the range.
pub async fn read_range(store: &dyn ObjectStore, location: &Path, range: Range<u64>) -> Result<Bytes> {
    let bytes = store.get_range(location, range.clone()).await?;
    check_length(location, &range, bytes.len())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[test]
    fn near_ranges_become_one_read_and_far_ones_stay_apart() {
        assert_eq!(plan_reads(&[10..20, 0..5]), vec![0..20]);
        let gap = READ_GAP_BYTES;
        assert_eq!(plan_reads(&[0..1, 1 + gap..2 + gap]), vec![0..2 + gap]);
        assert_eq!(plan_reads(&[0..1, 2 + gap..3 + gap]), vec![0..1, 2 + gap..3 + gap]);
        assert_eq!(plan_reads(&[5..5]), Vec::<Range<u64>>::new());
    }

    #[test]
    fn a_long_read_is_split_into_even_pieces_at_the_limit() {
        assert_eq!(plan_reads(&[0..MAX_READ_BYTES]).len(), 1);
        let reads = plan_reads(&[0..MAX_READ_BYTES + 1]);
        assert_eq!(reads.len(), 2);
        assert_eq!(reads[0].end, reads[1].start);
        assert_eq!(reads[1].end, MAX_READ_BYTES + 1);
    }

    #[tokio::test]
    async fn ranges_come_back_in_order_even_across_pieces() -> Result<()> {
        let inner = Arc::new(InMemory::new());
        let body: Vec<u8> = (0..(MAX_READ_BYTES * 2 + 10)).map(|i| (i % 251) as u8).collect();
        let path = Path::from("x");
        inner.put(&path, body.clone().into()).await?;
        let store = PlannedReads::new(inner);
        let across = MAX_READ_BYTES - 5..MAX_READ_BYTES + 7;
        let whole = 0..body.len() as u64;
        let got = store.get_ranges(&path, &[across.clone(), 3..4, whole, 8..8]).await?;
        assert_eq!(got[0], body[across.start as usize..across.end as usize]);
        assert_eq!(got[1], body[3..4]);
        assert_eq!(got[2], body);
        assert!(got[3].is_empty());
        Ok(())
    }

    #[tokio::test]
    async fn a_short_answer_is_an_error_not_a_panic() -> Result<()> {
        let inner = Arc::new(InMemory::new());
        let path = Path::from("x");
        inner.put(&path, vec![0u8; 10].into()).await?;
        let got = PlannedReads::new(inner).get_ranges(&path, &[5..15]).await;
        assert!(got.is_err_and(|e| e.to_string().contains("5 bytes for bytes 5..15")));
        Ok(())
    }
}
