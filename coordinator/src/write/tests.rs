use super::staging::{ABANDONED_AFTER, Staging, recover};
use super::{RecoveredWrites, refuse_files};
use async_trait::async_trait;
use engine::Result;
use engine::clock::random_uuid;
use engine::ids::QueryId;
use engine::write::WriteFolder;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

type StoreResult<T> = object_store::Result<T>;

/// A process that is lost after a number of calls that change something, as its store sees it: nothing comes any more.
#[derive(Debug)]
struct Dying {
    inner: Arc<dyn ObjectStore>,
    left: AtomicU64,
    /// Whether the last call is carried out, and only its answer is lost.
    last_is_done: bool,
}

fn dead() -> Error {
    Error::Generic { store: "Dying", source: "the process is gone".into() }
}

impl Dying {
    /// Whether a change may be made, and whether its answer arrives.
    fn change(&self) -> (bool, bool) {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).unwrap_or(0);
        match left {
            0 => (false, false),
            1 => (self.last_is_done, false),
            _ => (true, true),
        }
    }

    fn is_alive(&self) -> bool {
        self.left.load(Ordering::SeqCst) > 0
    }
}

impl fmt::Display for Dying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dying")
    }
}

async fn carried_out<T>(change: (bool, bool), call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
    if !change.0 {
        return Err(dead());
    }
    let done = call.await;
    if change.1 { done } else { Err(dead()) }
}

#[async_trait]
impl ObjectStore for Dying {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        carried_out(self.change(), self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> StoreResult<Box<dyn MultipartUpload>> {
        Err(dead())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if self.is_alive() { self.inner.get_opts(location, options).await } else { Err(dead()) }
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        match self.change() {
            (_, true) => self.inner.delete_stream(locations),
            // A bulk delete that was cut off deletes some.
            (true, false) => {
                let first = self.inner.delete_stream(locations.take(1).boxed());
                first.chain(futures::stream::iter([Err(dead())])).boxed()
            }
            _ => futures::stream::iter([Err(dead())]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        if self.is_alive() { self.inner.list(prefix) } else { futures::stream::iter([Err(dead())]).boxed() }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        carried_out(self.change(), self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        carried_out(self.change(), self.inner.rename_opts(from, to, options)).await
    }
}

/// A place for writes: in memory as S3 would have it, or on disk.
struct Place {
    store: Arc<dyn ObjectStore>,
    base: Path,
    disk: Option<tempfile::TempDir>,
}

impl Place {
    fn new(on_disk: bool) -> Self {
        if !on_disk {
            return Self { store: Arc::new(InMemory::new()), base: Path::from("lake/t"), disk: None };
        }
        let disk = tempfile::tempdir().expect("a folder");
        let base = Path::from_absolute_path(disk.path()).expect("a path");
        Self { store: Arc::new(LocalFileSystem::new()), base, disk: Some(disk) }
    }

    fn folder(&self, store: &Arc<dyn ObjectStore>) -> WriteFolder {
        let on_disk = self.disk.as_ref().map(|disk| disk.path().to_path_buf());
        WriteFolder::new(Arc::clone(store), self.base.clone(), "test://", on_disk)
    }

    fn healthy(&self) -> WriteFolder {
        self.folder(&self.store)
    }

    fn dying(&self, left: u64, last_is_done: bool) -> WriteFolder {
        let inner = Arc::clone(&self.store);
        self.folder(&(Arc::new(Dying { inner, left: AtomicU64::new(left), last_is_done }) as Arc<dyn ObjectStore>))
    }

    async fn stage(&self, query: QueryId, files: &[&str]) {
        for file in files.iter().chain(&["loser.parquet"]) {
            let path = format!("{}/{file}", self.healthy().staging_of(query));
            let path = Path::parse(path).expect("a path");
            self.store.put(&path, PutPayload::from(file.as_bytes().to_vec())).await.expect("a file");
        }
    }

    /// Everything at the place, relative to it.
    async fn all(&self) -> Vec<String> {
        let listed: Vec<ObjectMeta> = self.store.list(Some(&self.base)).try_collect().await.expect("a listing");
        let prefix = format!("{}/", self.base);
        let mut keys: Vec<String> =
            listed.iter().map(|meta| meta.location.as_ref().trim_start_matches(&prefix).to_string()).collect();
        keys.sort();
        keys
    }

    fn left_on_disk(&self) -> usize {
        self.disk.as_ref().map_or(0, |disk| usize::from(disk.path().join("_owlet_staging").exists()))
    }
}

const FILES: [&str; 3] = ["a.parquet", "k=x%2Fy/b.parquet", "k=z/c.parquet"];

fn owned() -> Vec<String> {
    FILES.iter().map(|file| file.to_string()).collect()
}

/// The process is lost at every step of the commit, before and after that step is carried out: all files or none, and no orphan.
#[tokio::test]
async fn a_coordinator_lost_at_any_step_leaves_all_files_or_none() {
    for on_disk in [false, true] {
        for last_is_done in [false, true] {
            let mut outcomes = [0, 0];
            for left in 0..30 {
                let place = Place::new(on_disk);
                let query = QueryId(random_uuid());
                place.stage(query, &FILES).await;
                let dying = Staging::new(place.dying(left, last_is_done), query);
                let committed = dying.commit(owned()).await;
                let swept = match &committed {
                    Err(failed) if failed.keep_staging => Ok(()),
                    _ => dying.sweep().await,
                };
                let what = format!("{left} calls, done {last_is_done}, disk {on_disk}: {committed:?} {swept:?}");
                recover(&place.healthy(), Duration::ZERO).await.expect("a recovery");
                let all = place.all().await;
                assert!(all.is_empty() || all == FILES, "{what}: {all:?}");
                assert_eq!(place.left_on_disk(), 0, "{what}");
                outcomes[usize::from(!all.is_empty())] += 1;
                match committed {
                    Ok(()) => assert_eq!(all, FILES, "{what}"),
                    Err(failed) if !failed.keep_staging => assert!(all.is_empty(), "{what}"),
                    Err(_) => {}
                }
            }
            assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
        }
    }
}

/// The recovery itself is lost at every step, and the next one ends it.
#[tokio::test]
async fn a_recovery_lost_at_any_step_is_carried_on() {
    for on_disk in [false, true] {
        for left in 1..30 {
            let place = Place::new(on_disk);
            let query = QueryId(random_uuid());
            place.stage(query, &FILES).await;
            // Lost after the journal and one file.
            let lost = Staging::new(place.dying(3, true), query).commit(owned()).await;
            assert!(lost.is_err_and(|failed| failed.keep_staging));
            drop(recover(&place.dying(left, left % 2 == 0), Duration::ZERO).await);
            recover(&place.healthy(), Duration::ZERO).await.expect("a recovery");
            assert_eq!(place.all().await, FILES, "{left} calls");
            assert_eq!(recover(&place.healthy(), Duration::ZERO).await.expect("nothing"), RecoveredWrites::default());
        }
    }
}

#[tokio::test]
async fn a_young_write_is_left_alone_and_an_old_one_cannot_happen_any_more() -> Result<()> {
    let place = Place::new(false);
    let query = QueryId(random_uuid());
    place.stage(query, &FILES).await;
    assert_eq!(recover(&place.healthy(), ABANDONED_AFTER).await?, RecoveredWrites::default());
    assert_eq!(place.all().await.len(), FILES.len() + 1);
    // A recovery that was lost right after its decision: the late coordinator sees it.
    drop(recover(&place.dying(2, true), Duration::ZERO).await);
    let late = Staging::new(place.healthy(), query).commit(owned()).await;
    assert!(late.as_ref().is_err_and(|failed| failed.error.message.contains("given up") && !failed.keep_staging), "{late:?}");
    assert_eq!(recover(&place.healthy(), ABANDONED_AFTER).await?, RecoveredWrites { removed: 1, completed: 0 });
    assert_eq!(place.all().await, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_journal_that_leads_out_moves_nothing() {
    let place = Place::new(false);
    let query = QueryId(random_uuid());
    place.stage(query, &FILES).await;
    let out = Staging::new(place.healthy(), query).commit(vec!["../../other/x.parquet".into()]).await;
    assert!(out.is_err());
    assert!(place.all().await.iter().all(|key| key.starts_with("_owlet_staging/")));
    let staging = place.healthy().staging_of(QueryId(random_uuid()));
    place.store.put(&staging.join("commit.json"), "{not json".into()).await.expect("a journal");
    assert!(recover(&place.healthy(), Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn only_files_that_a_reader_sees_make_a_folder_not_empty() -> Result<()> {
    let place = Place::new(false);
    for key in ["_owlet_staging/x/a.parquet", ".hidden", "k=1/_SUCCESS", "folder/"] {
        let body = if key.ends_with('/') { "" } else { "x" };
        let path = Path::from(format!("{}/{key}", place.base));
        place.store.put(&path, body.into()).await.expect("a file");
    }
    let nested = Path::from("lake/t/_owlet_staging/y/b.parquet");
    place.store.put(&nested, "x".into()).await.expect("a file");
    refuse_files(&place.healthy()).await?;
    place.store.put(&Path::from("lake/t/k=1/a.parquet"), "x".into()).await.expect("a file");
    let refused = refuse_files(&place.healthy()).await;
    assert!(refused.is_err_and(|error| error.message.contains("HIVE_PATH_ALREADY_EXISTS")));
    Ok(())
}
