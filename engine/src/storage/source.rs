//! Table data as a query sees it: hidden files left out, and every object pinned to the version that was planned.

use super::locations::DataLocations;
use super::reads::PlannedReads;
use crate::error::{Error, ErrorKind};
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
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// ETags of the objects that a query has seen, by store (`s3://bucket`) and path; reads ask for exactly these.
///
/// The coordinator's listing fills it; a worker gets those of its own files in the task request.
#[derive(Clone, Default, Debug)]
pub struct Pins {
    etags: Arc<RwLock<HashMap<(String, Path), String>>>,
    seen: Option<Arc<SeenVersions>>,
}

impl Pins {
    /// Pins of one query in a process that caches things by path and forgets them through `seen`.
    pub fn with_cache(seen: Arc<SeenVersions>) -> Self {
        Self { etags: Arc::default(), seen: Some(seen) }
    }

    /// Pins `path` in `store` to `etag`, unless it is pinned already: the first listing is the query's snapshot.
    pub fn pin(&self, store: &str, path: &Path, etag: &str) {
        let mut pins = self.etags.write().unwrap_or_else(PoisonError::into_inner);
        let pinned = pins.entry((store.to_string(), path.clone())).or_insert_with(|| etag.to_string()).clone();
        drop(pins);
        if let Some(seen) = &self.seen {
            seen.note(store, path, &pinned);
        }
    }

    /// The version that `path` in `store` is pinned to.
    pub fn etag(&self, store: &str, path: &Path) -> Option<String> {
        let pins = self.etags.read().unwrap_or_else(PoisonError::into_inner);
        pins.get(&(store.to_string(), path.clone())).cloned()
    }
}

/// Paths whose version is remembered; above it everything is forgotten.
const MAX_SEEN_VERSIONS: usize = 200_000;

/// The last version of each path that this process has seen, to drop what is cached of an older one.
///
/// DataFusion's footer cache knows a file by path, size and time of change; two versions of an object can agree in all
/// three, and two stores can have the same path.
pub struct SeenVersions {
    last: Mutex<HashMap<Path, (String, String)>>,
    forget: Box<dyn Fn(&Path) + Send + Sync>,
}

impl fmt::Debug for SeenVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeenVersions")
    }
}

impl SeenVersions {
    /// Nothing seen; `forget` drops what is cached of a path.
    pub fn new(forget: impl Fn(&Path) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { last: Mutex::default(), forget: Box::new(forget) })
    }

    fn note(&self, store: &str, path: &Path, etag: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(path).is_some_and(|(known_store, known)| known_store == store && known == etag) {
            return;
        }
        if last.len() >= MAX_SEEN_VERSIONS {
            for path in last.keys() {
                (self.forget)(path);
            }
            last.clear();
        }
        (self.forget)(path);
        last.insert(path.clone(), (store.to_string(), etag.to_string()));
    }
}

/// Whether the part of `path` below `prefix` names a hidden file or folder, as Hive, Spark and Athena see it.
pub fn is_hidden(path: &Path, prefix: Option<&Path>) -> bool {
    let skip = prefix.map_or(0, |prefix| prefix.parts().count());
    // A prefix that names one file is that file, whatever it is called.
    path.parts().skip(skip).any(|part| part.as_ref().starts_with(['_', '.']))
}

/// The folder of a log of Delta Lake, in that of its table.
pub const DELTA_LOG_FOLDER: &str = "_delta_log";

/// Refuses a file of the log of a table of Delta Lake that is below `prefix`: beside it are files that are no longer the table's.
fn refuse_delta(url: &str, path: &Path, prefix: Option<&Path>) -> Result<()> {
    let skip = prefix.map_or(0, |prefix| prefix.parts().count());
    let Some(at) = path.parts().skip(skip).position(|part| part.as_ref() == DELTA_LOG_FOLDER) else { return Ok(()) };
    let folder: Path = path.parts().take(skip + at).collect();
    let error = Error::invalid(format!(
        "{url}/{folder} is a table of Delta Lake, and some files there are no longer part of it: query a table made by CREATE EXTERNAL TABLE name LOCATION '{url}/{folder}' TBLPROPERTIES ('table_type' = 'DELTA')"
    ));
    Err(object_store::Error::Generic { store: "table data", source: Box::new(error) })
}

/// A store of table data: lists no hidden files, reads only the pinned versions.
#[derive(Debug)]
pub struct SourceStore {
    inner: PlannedReads,
    url: String,
    pins: Pins,
    locations: Option<Arc<DataLocations>>,
    /// Whole listings of this query, by prefix: schema, sizing and plan look at the same files, with one request.
    listings: Listings,
}

type Listings = Arc<Mutex<HashMap<Option<Path>, Arc<Vec<ObjectMeta>>>>>;

/// Objects of a listing that is kept; a longer one is asked for again.
const MAX_KEPT_OBJECTS: usize = 200_000;

impl SourceStore {
    /// The data of `inner`, whose URL without a path is `url`, within `locations` if there are any.
    pub fn new(inner: PlannedReads, url: String, pins: Pins, locations: Option<Arc<DataLocations>>) -> Self {
        Self { inner, url, pins, locations, listings: Listings::default() }
    }

    fn check(&self, location: &Path) -> Result<()> {
        let checked = self.locations.as_ref().map_or(Ok(()), |locations| locations.check(&self.url, location));
        checked.map_err(|error| object_store::Error::Generic { store: "data locations", source: Box::new(error) })
    }

    fn check_prefix(&self, prefix: Option<&Path>) -> Result<()> {
        self.check(prefix.unwrap_or(&Path::default()))
    }

    fn pinned(&self, location: &Path, mut options: GetOptions) -> GetOptions {
        if options.if_match.is_none() {
            options.if_match = self.pins.etag(&self.url, location);
        }
        options
    }

    /// The listing of `prefix` that this query has seen, else a new one, which is kept when it was read to its end.
    fn kept(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let key = prefix.cloned();
        if let Some(known) = self.listings.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            let known = Arc::clone(known);
            return futures::stream::iter((0..known.len()).map(move |index| Ok(known[index].clone()))).boxed();
        }
        let listing = self.visible(prefix, self.inner.list(prefix));
        let state = (listing, Some(Vec::new()), Arc::clone(&self.listings), key);
        futures::stream::unfold(state, async |(mut listing, mut seen, listings, key)| match listing.next().await {
            Some(Ok(meta)) => {
                seen = seen.filter(|seen: &Vec<ObjectMeta>| seen.len() < MAX_KEPT_OBJECTS);
                if let Some(seen) = &mut seen {
                    seen.push(meta.clone());
                }
                Some((Ok(meta), (listing, seen, listings, key)))
            }
            Some(Err(error)) => Some((Err(error), (listing, None, listings, key))),
            None => {
                if let Some(seen) = seen {
                    listings.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(seen));
                }
                None
            }
        })
        .boxed()
    }

    fn visible(
        &self,
        prefix: Option<&Path>,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, url, pins, locations) = (prefix.cloned(), self.url.clone(), self.pins.clone(), self.locations.clone());
        listing
            .try_filter_map(move |meta| {
                if locations.as_ref().is_some_and(|locations| locations.is_denied(&url, &meta.location)) {
                    return futures::future::ready(Ok(None));
                }
                let is_shown = match is_hidden(&meta.location, prefix.as_ref()) {
                    true => refuse_delta(&url, &meta.location, prefix.as_ref()).map(|()| false),
                    false => Ok(true),
                };
                if let (Ok(true), Some(etag)) = (&is_shown, &meta.e_tag) {
                    pins.pin(&url, &meta.location, etag);
                }
                futures::future::ready(is_shown.map(|is_shown| is_shown.then_some(meta)))
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
    async fn put_opts(&self, location: &Path, _payload: PutPayload, _opts: PutOptions) -> Result<PutResult> {
        Err(read_only(location))
    }

    async fn put_multipart_opts(&self, location: &Path, _opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only(location))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(location)?;
        let head = options.head;
        let result = self.inner.get_opts(location, self.pinned(location, options)).await?;
        if head && let Some(etag) = &result.meta.e_tag {
            self.pins.pin(&self.url, location, etag);
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check(location)?;
        self.inner.read(location, ranges, &self.pinned(location, GetOptions::default())).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.map(|location| Err(read_only(&location?))).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check_prefix(prefix) {
            Ok(()) => self.kept(prefix),
            Err(error) => futures::stream::once(futures::future::ready(Err(error))).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check_prefix(prefix) {
            Ok(()) => self.visible(prefix, self.inner.list_with_offset(prefix, offset)),
            Err(error) => futures::stream::once(futures::future::ready(Err(error))).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check_prefix(prefix)?;
        let mut listing = self.inner.list_with_delimiter(prefix).await?;
        if let Some(locations) = &self.locations {
            listing.objects.retain(|meta| !locations.is_denied(&self.url, &meta.location));
            listing.common_prefixes.retain(|folder| !locations.is_denied(&self.url, folder));
        }
        listing.common_prefixes.iter().try_for_each(|folder| refuse_delta(&self.url, folder, prefix))?;
        listing.objects.retain(|meta| !is_hidden(&meta.location, prefix));
        listing.common_prefixes.retain(|folder| !is_hidden(folder, prefix));
        for meta in &listing.objects {
            if let Some(etag) = &meta.e_tag {
                self.pins.pin(&self.url, &meta.location, etag);
            }
        }
        Ok(listing)
    }

    async fn copy_opts(&self, _from: &Path, to: &Path, _options: CopyOptions) -> Result<()> {
        Err(read_only(to))
    }

    async fn rename_opts(&self, _from: &Path, to: &Path, _options: RenameOptions) -> Result<()> {
        Err(read_only(to))
    }
}

/// A plan may hold any operator, sinks included; what it writes goes through `engine::write` or nowhere.
fn read_only(location: &Path) -> object_store::Error {
    let error = Error::new(ErrorKind::AccessDenied, format!("table data is only read here: {location} is not changed"));
    object_store::Error::Generic { store: "table data", source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    fn source(inner: &Arc<InMemory>) -> SourceStore {
        SourceStore::new(PlannedReads::new(Arc::clone(inner) as _), "s3://b".into(), Pins::default(), None)
    }

    #[tokio::test]
    async fn what_is_denied_is_neither_listed_nor_read() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let inner = Arc::new(InMemory::new());
        for key in ["t/a.csv", "t/results/b.csv"] {
            inner.put(&Path::from(key), "x".into()).await?;
        }
        let locations = DataLocations::new(&["s3://b/".into()])?.without(&["s3://b/t/results/".into()])?;
        let reads = PlannedReads::new(Arc::clone(&inner) as _);
        let store = SourceStore::new(reads, "s3://b".into(), Pins::default(), Some(Arc::new(locations)));
        let (prefix, own) = (Path::from("t"), Path::from("t/results"));
        let seen: Vec<_> = store.list(Some(&prefix)).map_ok(|meta| meta.location.to_string()).try_collect().await?;
        assert_eq!(seen, vec!["t/a.csv"]);
        assert!(store.list_with_delimiter(Some(&prefix)).await?.common_prefixes.is_empty());
        assert!(store.list(Some(&own)).try_collect::<Vec<_>>().await.is_err());
        assert!(store.get(&Path::from("t/results/b.csv")).await.is_err());
        Ok(())
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
    async fn a_folder_of_delta_lake_is_no_folder_of_files_and_its_log_can_be_listed() -> Result<()> {
        let inner = Arc::new(InMemory::new());
        for key in ["a/t/k=1/x.parquet", "a/t/_delta_log/0.json", "a/u/y.parquet", "a/v_delta_log/z.parquet"] {
            inner.put(&Path::from(key), "x".into()).await?;
        }
        let store = source(&inner);
        for prefix in ["a", "a/t"] {
            let prefix = Path::from(prefix);
            let listed: Result<Vec<_>> = store.list(Some(&prefix)).try_collect().await;
            assert!(listed.is_err_and(|error| error.to_string().contains("s3://b/a/t is a table of Delta Lake")), "{prefix}");
        }
        assert!(store.list_with_delimiter(Some(&Path::from("a/t"))).await.is_err());
        for (prefix, count) in [("a/t/_delta_log", 1), ("a/t/k=1", 1), ("a/u", 1), ("a/v_delta_log", 1)] {
            let listed: Vec<_> = store.list(Some(&Path::from(prefix))).try_collect().await?;
            assert_eq!(listed.len(), count, "{prefix}");
        }
        Ok(())
    }

    /// A plan with a sink of its own, as a forged request may hold one, changes nothing.
    #[tokio::test]
    async fn table_data_is_never_changed() -> Result<()> {
        let inner = Arc::new(InMemory::new());
        let (old, new) = (Path::from("t/a"), Path::from("t/b"));
        inner.put(&old, "x".into()).await?;
        let store = source(&inner);
        assert!(store.put(&new, "y".into()).await.is_err());
        assert!(store.put_multipart(&new).await.is_err());
        assert!(store.copy(&old, &new).await.is_err());
        assert!(store.rename(&old, &new).await.is_err());
        assert!(store.delete(&old).await.is_err_and(|error| error.to_string().contains("only read")));
        assert_eq!(inner.list(None).map_ok(|meta| meta.location).try_collect::<Vec<_>>().await?, vec![old]);
        Ok(())
    }

    #[test]
    fn another_version_or_store_is_forgotten_and_the_same_is_not() {
        let forgotten = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&forgotten);
        let seen = SeenVersions::new(move |_| *counter.lock().unwrap() += 1);
        let path = Path::from("t/a");
        for (store, etag) in [("s3://a", "1"), ("s3://a", "1"), ("s3://a", "2"), ("s3://b", "2")] {
            Pins::with_cache(Arc::clone(&seen)).pin(store, &path, etag);
        }
        assert_eq!(*forgotten.lock().unwrap(), 3);
    }

    #[tokio::test]
    async fn a_query_sees_the_files_of_its_first_listing() -> Result<()> {
        let inner = Arc::new(InMemory::new());
        inner.put(&Path::from("t/a"), "x".into()).await?;
        let store = source(&inner);
        let prefix = Path::from("t");
        let first: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
        inner.put(&Path::from("t/b"), "y".into()).await?;
        let again: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
        assert_eq!((first.len(), first), (1, again));
        // A listing that was not read to its end says nothing of the rest.
        let other = source(&inner);
        drop(other.list(Some(&prefix)).next().await);
        assert_eq!(other.list(Some(&prefix)).try_collect::<Vec<_>>().await?.len(), 2);
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
