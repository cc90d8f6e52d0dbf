//! Counts requests and bytes to object storage; knows nothing of who asks.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests by kind and bytes by direction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct RequestCounts {
    /// GET requests of objects.
    pub gets: u64,
    /// HEAD requests.
    pub heads: u64,
    /// PUT and POST requests, parts of an upload included.
    pub puts: u64,
    /// LIST requests; a page of 1,000 keys each.
    pub lists: u64,
    /// DELETE requests.
    pub deletes: u64,
    /// Bytes received in bodies of objects.
    pub bytes_read: u64,
    /// Bytes sent in bodies of objects.
    pub bytes_written: u64,
}

impl RequestCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.gets += other.gets;
        self.heads += other.heads;
        self.puts += other.puts;
        self.lists += other.lists;
        self.deletes += other.deletes;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.gets + self.heads + self.puts + self.lists + self.deletes
    }

    /// The requests by price class.
    pub fn s3_use(&self) -> crate::cost::S3Use {
        crate::cost::S3Use { gets: self.gets + self.heads, puts: self.puts + self.lists }
    }
}

/// Counters of one query or attempt, shared by all its stores.
#[derive(Default, Debug)]
pub struct Meter {
    /// GET requests of objects.
    pub gets: AtomicU64,
    /// HEAD requests.
    pub heads: AtomicU64,
    /// PUT and POST requests.
    pub puts: AtomicU64,
    /// LIST requests.
    pub lists: AtomicU64,
    /// DELETE requests.
    pub deletes: AtomicU64,
    /// Bytes received.
    pub bytes_read: AtomicU64,
    /// Bytes sent.
    pub bytes_written: AtomicU64,
}

impl Meter {
    /// A meter at zero.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The counts so far.
    pub fn counts(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            gets: read(&self.gets),
            heads: read(&self.heads),
            puts: read(&self.puts),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
            bytes_read: read(&self.bytes_read),
            bytes_written: read(&self.bytes_written),
        }
    }
}

/// Adds one, relaxed: counters order nothing.
pub(super) fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Keys of one page of a listing (S3's limit).
const LIST_PAGE_KEYS: u64 = 1_000;

/// Counts the calls to a store that is not S3 as the requests that S3 would see.
#[derive(Debug)]
pub struct MeteredStore {
    inner: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
}

impl MeteredStore {
    /// Counts what goes to `inner` in `meter`.
    pub fn new(inner: Arc<dyn ObjectStore>, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }

    fn count_listing(&self, listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        count(&self.meter.lists, 1);
        let meter = Arc::clone(&self.meter);
        let mut seen = 0;
        listing
            .inspect_ok(move |_| {
                seen += 1;
                if seen > 1 && seen % LIST_PAGE_KEYS == 1 {
                    count(&meter.lists, 1);
                }
            })
            .boxed()
    }
}

impl fmt::Display for MeteredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MeteredStore({})", self.inner)
    }
}

/// Most times that a file is put into a folder which is removed meanwhile.
const MAX_FOLDER_TRIES: usize = 20;

/// Whether a folder of another write on this disk has gone, as it was empty, between being made and being used.
fn is_without_folder<T>(put: &Result<T>) -> bool {
    matches!(put, Err(object_store::Error::Generic { store: "LocalFileSystem", source }) if is_lost_folder(source.as_ref()))
}

fn is_lost_folder(error: &(dyn std::error::Error + 'static)) -> bool {
    let text = error.to_string();
    text.starts_with("Unable to create dir") && text.contains("os error 2")
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for MeteredStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        count(&self.meter.puts, 1);
        count(&self.meter.bytes_written, payload.content_length() as u64);
        let mut put = self.inner.put_opts(location, payload.clone(), opts.clone()).await;
        for _ in 1..MAX_FOLDER_TRIES {
            if !is_without_folder(&put) {
                break;
            }
            put = self.inner.put_opts(location, payload.clone(), opts.clone()).await;
        }
        put
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        count(&self.meter.puts, 1);
        let mut upload = self.inner.put_multipart_opts(location, opts.clone()).await;
        for _ in 1..MAX_FOLDER_TRIES {
            if !is_without_folder(&upload) {
                break;
            }
            upload = self.inner.put_multipart_opts(location, opts.clone()).await;
        }
        let upload = upload?;
        Ok(Box::new(MeteredUpload { inner: upload, meter: Arc::clone(&self.meter) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        count(if options.head { &self.meter.heads } else { &self.meter.gets }, 1);
        let head = options.head;
        let result = self.inner.get_opts(location, options).await?;
        if !head {
            count(&self.meter.bytes_read, result.range.end.saturating_sub(result.range.start));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // As many requests as S3 would get for these ranges.
        count(&self.meter.gets, super::reads::plan_reads(ranges).len() as u64);
        count(&self.meter.bytes_read, ranges.iter().map(|r| r.end.saturating_sub(r.start)).sum());
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let meter = Arc::clone(&self.meter);
        self.inner.delete_stream(locations.inspect_ok(move |_| count(&meter.deletes, 1)).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count_listing(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count_listing(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        count(&self.meter.lists, 1);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        count(&self.meter.puts, 1);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        count(&self.meter.puts, 1);
        self.inner.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct MeteredUpload {
    inner: Box<dyn MultipartUpload>,
    meter: Arc<Meter>,
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        count(&self.meter.puts, 1);
        count(&self.meter.bytes_written, data.content_length() as u64);
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        count(&self.meter.puts, 1);
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
