//! Table data as a query sees it: hidden files left out, and every object pinned to the version that was planned.

use super::reads::PlannedReads;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result,
};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// ETags of the objects that a query has seen, by store (`s3://bucket`) and path; reads ask for exactly these.
///
/// The coordinator's listing fills it; a worker gets those of its own files in the task request.
#[derive(Clone, Default, Debug)]
pub struct Pins(Arc<RwLock<HashMap<(String, Path), String>>>);

impl Pins {
    /// Pins `path` in `store` to `etag`, unless it is pinned already: the first listing is the query's snapshot.
    pub fn pin(&self, store: &str, path: &Path, etag: &str) {
        let mut pins = self.0.write().unwrap_or_else(PoisonError::into_inner);
        pins.entry((store.to_string(), path.clone())).or_insert_with(|| etag.to_string());
    }

    /// The version that `path` in `store` is pinned to.
    pub fn etag(&self, store: &str, path: &Path) -> Option<String> {
        let pins = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pins.get(&(store.to_string(), path.clone())).cloned()
    }
}

/// Whether the part of `path` below `prefix` names a hidden file or folder, as Hive, Spark and Athena see it.
pub(super) fn is_hidden(path: &Path, prefix: Option<&Path>) -> bool {
    let skip = prefix.map_or(0, |prefix| prefix.parts().count());
    // A prefix that names one file is that file, whatever it is called.
    path.parts().skip(skip).any(|part| part.as_ref().starts_with(['_', '.']))
}

/// A store of table data: lists no hidden files, reads only the pinned versions.
#[derive(Debug)]
pub struct SourceStore {
    inner: PlannedReads,
    url: String,
    pins: Pins,
}

impl SourceStore {
    /// The data of `inner`, whose URL without a path is `url`.
    pub fn new(inner: PlannedReads, url: String, pins: Pins) -> Self {
        Self { inner, url, pins }
    }

    fn pinned(&self, location: &Path, mut options: GetOptions) -> GetOptions {
        if options.if_match.is_none() {
            options.if_match = self.pins.etag(&self.url, location);
        }
        options
    }

    fn visible(&self, prefix: Option<&Path>, listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, url, pins) = (prefix.cloned(), self.url.clone(), self.pins.clone());
        listing
            .try_filter(move |meta| futures::future::ready(!is_hidden(&meta.location, prefix.as_ref())))
            .inspect_ok(move |meta| {
                if let Some(etag) = &meta.e_tag {
                    pins.pin(&url, &meta.location, etag);
                }
            })
            .boxed()
    }
}

impl fmt::Display for SourceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceStore({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for SourceStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let result = self.inner.get_opts(location, self.pinned(location, options)).await?;
        if head && let Some(etag) = &result.meta.e_tag {
            self.pins.pin(&self.url, location, etag);
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.read(location, ranges, &self.pinned(location, GetOptions::default())).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.visible(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.visible(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listing = self.inner.list_with_delimiter(prefix).await?;
        listing.objects.retain(|meta| !is_hidden(&meta.location, prefix));
        listing.common_prefixes.retain(|folder| !is_hidden(folder, prefix));
        for meta in &listing.objects {
            if let Some(etag) = &meta.e_tag {
                self.pins.pin(&self.url, &meta.location, etag);
            }
        }
        Ok(listing)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    fn source(inner: &Arc<InMemory>) -> SourceStore {
        SourceStore::new(PlannedReads::new(Arc::clone(inner) as _), "s3://b".into(), Pins::default())
    }

    #[tokio::test]
    async fn hidden_names_below_the_prefix_are_left_out() -> Result<()> {
        let inner = Arc::new(InMemory::new());
        for key in [".cache/t/a.parquet", ".cache/t/_b.parquet", ".cache/t/.c.parquet", ".cache/t/_tmp/d.parquet"] {
            inner.put(&Path::from(key), "x".into()).await?;
        }
        let prefix = Path::from(".cache/t");
        let seen: Vec<_> = source(&inner).list(Some(&prefix)).map_ok(|meta| meta.location.to_string()).try_collect().await?;
        assert_eq!(seen, vec![".cache/t/a.parquet"]);
        Ok(())
    }

    #[tokio::test]
    async fn an_object_replaced_after_listing_is_not_read() -> Result<()> {
        let inner = Arc::new(InMemory::new());
        let key = Path::from("t/a");
        inner.put(&key, "old!".into()).await?;
        let store = source(&inner);
        let _: Vec<_> = store.list(None).try_collect().await?;
        assert_eq!(store.get_ranges(&key, &[0..3]).await?, vec![Bytes::from("old")]);
        inner.put(&key, "new!".into()).await?;
        let read = store.get_ranges(&key, &[0..3]).await;
        assert!(matches!(read, Err(object_store::Error::Precondition { .. })), "{read:?}");
        let whole = store.get(&key).await;
        assert!(matches!(whole, Err(object_store::Error::Precondition { .. })), "{whole:?}");
        Ok(())
    }
}
