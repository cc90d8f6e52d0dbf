use super::entry::After;
use super::recovery::{ABANDONED_AFTER, recover};
use super::staging::{CommitFailed, Ended, Silence, Staging};
use crate::workspace::NamedCatalog;
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
use sql::catalog::model::{Column, StorageDescriptor};
use sql::catalog::{JsonCatalog, PartitionFilter, StoreSharing, Table};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

type StoreResult<T> = object_store::Result<T>;

/// A process that is lost after a number of calls that change something, as its store sees it: nothing comes any more.
#[derive(Debug)]
struct Dying {
    inner: Arc<dyn ObjectStore>,
    left: Arc<AtomicU64>,
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

fn dying(inner: &Arc<dyn ObjectStore>, left: &Arc<AtomicU64>, last_is_done: bool) -> Arc<dyn ObjectStore> {
    Arc::new(Dying { inner: Arc::clone(inner), left: Arc::clone(left), last_is_done })
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
        self.folder(&dying(&self.store, &Arc::new(AtomicU64::new(left)), last_is_done))
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

async fn ended(place: &Place, over_after: Duration) -> Result<Vec<Ended>> {
    Ok(recover(&place.healthy(), over_after, None).await?.into_iter().map(|(_, ended)| ended).collect())
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
                let committed = dying.commit(owned(), &After::Nothing(None)).await;
                let swept = match &committed {
                    Err(failed) if failed.keep_staging => Ok(()),
                    _ => dying.sweep().await,
                };
                let what = format!("{left} calls, done {last_is_done}, disk {on_disk}: {committed:?} {swept:?}");
                ended(&place, Duration::ZERO).await.expect("a recovery");
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
            let lost = Staging::new(place.dying(3, true), query).commit(owned(), &After::Nothing(None)).await;
            assert!(lost.is_err_and(|failed| failed.keep_staging));
            drop(recover(&place.dying(left, left % 2 == 0), Duration::ZERO, None).await);
            ended(&place, Duration::ZERO).await.expect("a recovery");
            assert_eq!(place.all().await, FILES, "{left} calls");
            assert_eq!(ended(&place, Duration::ZERO).await.expect("nothing"), []);
        }
    }
}

#[tokio::test]
async fn a_young_write_is_left_alone_and_an_old_one_cannot_happen_any_more() -> Result<()> {
    let place = Place::new(false);
    let query = QueryId(random_uuid());
    place.stage(query, &FILES).await;
    assert_eq!(ended(&place, ABANDONED_AFTER).await?, [Ended::Left]);
    assert_eq!(place.all().await.len(), FILES.len() + 1);
    // A recovery that was lost right after its decision: the late coordinator sees it.
    drop(recover(&place.dying(2, true), Duration::ZERO, None).await);
    let late = Staging::new(place.healthy(), query).commit(owned(), &After::Nothing(None)).await;
    assert!(late.as_ref().is_err_and(|failed| failed.error.message.contains("given up") && !failed.keep_staging), "{late:?}");
    // The decision stays for coordinators that are later still.
    assert_eq!(ended(&place, ABANDONED_AFTER).await?, [Ended::Fenced]);
    assert_eq!(place.all().await, [format!("_owlet_staging/{query}/commit.json")]);
    let late = Staging::new(place.healthy(), query).commit(owned(), &After::Nothing(None)).await;
    assert!(late.is_err_and(|failed| failed.error.message.contains("given up")));
    assert_eq!(ended(&place, Duration::ZERO).await?, [Ended::Removed]);
    assert_eq!(place.all().await, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_journal_that_leads_out_moves_nothing() {
    let place = Place::new(false);
    let query = QueryId(random_uuid());
    place.stage(query, &FILES).await;
    let out = Staging::new(place.healthy(), query).commit(vec!["../../other/x.parquet".into()], &After::Nothing(None)).await;
    assert!(out.is_err());
    assert!(place.all().await.iter().all(|key| key.starts_with("_owlet_staging/")));
    let staging = place.healthy().staging_of(QueryId(random_uuid()));
    place.store.put(&staging.join("commit.json"), "{not json".into()).await.expect("a journal");
    assert!(ended(&place, Duration::ZERO).await.is_err());
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
    let staging = Staging::new(place.healthy(), QueryId(random_uuid()));
    staging.refuse_files().await?;
    place.store.put(&Path::from("lake/t/k=1/a.parquet"), "x".into()).await.expect("a file");
    let refused = staging.refuse_files().await;
    assert!(refused.is_err_and(|error| error.message.contains("HIVE_PATH_ALREADY_EXISTS")));
    Ok(())
}

#[tokio::test]
async fn a_location_is_claimed_by_one_write_at_a_time() -> Result<()> {
    for on_disk in [false, true] {
        let place = Place::new(on_disk);
        let [first, second] = [(); 2].map(|()| QueryId(random_uuid()));
        let staging = |query| Staging::new(place.healthy(), query);
        // An insert claims nothing.
        place.stage(QueryId(random_uuid()), &FILES).await;
        staging(first).claim().await?;
        let refused = staging(second).claim().await.expect_err("it is claimed");
        assert!(refused.message.contains(&format!("query {first} is writing to ")), "{refused}");
        staging(second).sweep().await?;
        // It is still the first one's, and free when that one has ended or was given up.
        assert!(staging(second).claim().await.is_err());
        staging(first).sweep().await?;
        staging(second).claim().await?;
        let lost = Silence { is_lost: true, is_over: false };
        assert_eq!(staging(second).end(lost, None).await?, Ended::Fenced);
        staging(first).claim().await?;
    }
    Ok(())
}

/// A catalog in a store of its own.
struct Lake {
    place: Place,
    entries: Arc<dyn ObjectStore>,
}

const PARTITIONS: [&str; 2] = ["x/y", "z"];
const FILES_OF_PARTITIONS: [&str; 3] = ["k=x%2Fy/a.parquet", "k=x%2Fy/b.parquet", "k=z/c.parquet"];

fn catalog_in(store: Arc<dyn ObjectStore>) -> NamedCatalog {
    NamedCatalog { name: "here".into(), catalog: Arc::new(JsonCatalog::new(store, Path::default(), StoreSharing::Shared)) }
}

impl Lake {
    async fn new(query: QueryId) -> Self {
        let lake = Self { place: Place::new(false), entries: Arc::new(InMemory::new()) };
        lake.place.stage(query, &FILES_OF_PARTITIONS).await;
        lake
    }

    fn catalog(&self) -> NamedCatalog {
        catalog_in(Arc::clone(&self.entries))
    }

    /// What the query of a process does that is lost after `left` changes, wherever they are.
    async fn commit(&self, query: QueryId, is_new: bool, left: u64, last_is_done: bool) -> Result<(), CommitFailed> {
        let count = Arc::new(AtomicU64::new(left));
        let catalog = catalog_in(dying(&self.entries, &count, last_is_done));
        let after = if is_new {
            After::create(catalog, table(), query)
        } else {
            let there = self.catalog().catalog.table("default", "t").await.expect("a catalog").expect("a table");
            After::Append(catalog, Box::new(there))
        };
        let staging = Staging::new(self.place.folder(&dying(&self.place.store, &count, last_is_done)), query);
        let files = FILES_OF_PARTITIONS.iter().map(|file| file.to_string()).collect();
        let committed = staging.commit(files, &after).await;
        if !committed.as_ref().is_err_and(|failed| failed.keep_staging) {
            drop(staging.sweep().await);
        }
        committed
    }

    async fn end(&self, query: QueryId, is_over: bool) -> Result<Ended> {
        let silence = Silence { is_lost: true, is_over };
        Staging::new(self.place.healthy(), query).end(silence, Some(&self.catalog())).await
    }

    async fn partitions(&self) -> Option<Vec<String>> {
        let catalog = self.catalog().catalog;
        let table = catalog.table("default", "t").await.expect("a catalog")?;
        let partitions = catalog.partitions(&table, &PartitionFilter::default()).await.expect("partitions");
        Some(partitions.into_iter().map(|partition| partition.values.join("/")).collect())
    }
}

fn table() -> Table {
    let storage = StorageDescriptor { location: Some("test:///lake/t/".into()), ..StorageDescriptor::default() };
    Table {
        database_name: "default".into(),
        name: "t".into(),
        storage_descriptor: Some(storage),
        partition_keys: vec![Column::new("k", "string")],
        ..Table::default()
    }
}

/// A new table is there with all of its files and partitions, or neither it nor a file is.
#[tokio::test]
async fn a_table_whose_maker_is_lost_at_any_step_is_whole_or_nothing() {
    let mut outcomes = [0, 0];
    for last_is_done in [false, true] {
        for left in 0..30 {
            let query = QueryId(random_uuid());
            let lake = Lake::new(query).await;
            let committed = lake.commit(query, true, left, last_is_done).await;
            let what = format!("{left} changes, done {last_is_done}: {committed:?}");
            // Nobody reads files of a table that was not made; a table that can be read has all of its files.
            let files = lake.place.all().await;
            if lake.partitions().await.is_some() {
                assert!(FILES_OF_PARTITIONS.iter().all(|file| files.iter().any(|key| key == file)), "{what}: {files:?}");
            }
            lake.end(query, true).await.expect("a recovery");
            let (files, partitions) = (lake.place.all().await, lake.partitions().await);
            match &partitions {
                Some(partitions) => assert_eq!(
                    (partitions.as_slice(), files.as_slice()),
                    (&PARTITIONS.map(String::from)[..], &FILES_OF_PARTITIONS.map(String::from)[..]),
                    "{what}"
                ),
                None => assert_eq!(files, [""; 0], "{what}"),
            }
            outcomes[usize::from(partitions.is_some())] += 1;
            match committed {
                Ok(()) => assert!(partitions.is_some(), "{what}"),
                Err(failed) => assert!(failed.keep_staging || partitions.is_none(), "{what}"),
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// Rows that were inserted are all there with their partitions, or there is neither a row nor a new partition.
#[tokio::test]
async fn an_insert_that_is_lost_at_any_step_leaves_no_partition_without_its_rows() {
    let mut outcomes = [0, 0];
    for last_is_done in [false, true] {
        for left in 0..30 {
            let query = QueryId(random_uuid());
            let lake = Lake::new(query).await;
            lake.catalog().catalog.create_table(&table()).await.expect("a table");
            let committed = lake.commit(query, false, left, last_is_done).await;
            lake.end(query, true).await.expect("a recovery");
            let what = format!("{left} changes, done {last_is_done}: {committed:?}");
            let (files, partitions) = (lake.place.all().await, lake.partitions().await.expect("the table"));
            match files.is_empty() {
                true => assert_eq!(partitions, [""; 0], "{what}"),
                false => assert_eq!(
                    (files, partitions),
                    (FILES_OF_PARTITIONS.map(String::from).to_vec(), PARTITIONS.map(String::from).to_vec()),
                    "{what}"
                ),
            }
            let is_there = !lake.place.all().await.is_empty();
            outcomes[usize::from(is_there)] += 1;
            assert!(is_there || committed.is_err(), "{what}");
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// Somebody else's table has the name, or the name is free again when the lost write is ended.
#[tokio::test]
async fn a_table_that_cannot_be_entered_loses_its_files_and_comes_back_never() {
    for left in 1..30 {
        let query = QueryId(random_uuid());
        let lake = Lake::new(query).await;
        lake.catalog().catalog.create_table(&table()).await.expect("another's table");
        let committed = lake.commit(query, true, left, left % 2 == 0).await;
        assert!(committed.is_err(), "{left}: {committed:?}");
        lake.catalog().catalog.drop_table("default", "t").await.expect("it is dropped");
        lake.end(query, true).await.expect("a recovery");
        assert_eq!((lake.place.all().await, lake.partitions().await), (Vec::new(), None), "{left}");
    }
}

/// A coordinator that was taken for lost comes back at every step.
#[tokio::test]
async fn a_maker_that_was_taken_for_lost_leaves_nothing_either() {
    for left in 0..30 {
        let query = QueryId(random_uuid());
        let lake = Lake::new(query).await;
        // Lost after some steps, ended by another, and then all steps from the start.
        drop(lake.commit(query, true, left, true).await);
        let was_made = lake.partitions().await.is_some();
        let ended = lake.end(query, false).await.expect("a recovery");
        assert_eq!(lake.partitions().await.is_some(), was_made, "{left}: {ended:?}");
        if ended != Ended::Fenced || was_made {
            continue;
        }
        assert!(lake.place.all().await.iter().all(|key| key.starts_with("_owlet_staging/")), "{left}");
        lake.place.stage(query, &FILES_OF_PARTITIONS).await;
        let late = lake.commit(query, true, 1_000, true).await;
        assert!(late.is_err(), "{left}: {late:?}");
        lake.end(query, true).await.expect("a recovery");
        assert_eq!((lake.place.all().await, lake.partitions().await), (Vec::new(), None), "{left}");
    }
}

/// Who knows another catalog cannot tell whether the table was entered.
#[tokio::test]
async fn the_files_of_another_catalogs_table_are_left_alone() {
    let query = QueryId(random_uuid());
    let lake = Lake::new(query).await;
    // The plan and the files are there, the table is not.
    drop(lake.commit(query, true, 4, true).await);
    let before = lake.place.all().await;
    let other = NamedCatalog { name: "elsewhere".into(), ..lake.catalog() };
    for catalog in [None, Some(&other)] {
        let silence = Silence { is_lost: true, is_over: true };
        let ended = Staging::new(lake.place.healthy(), query).end(silence, catalog).await.expect("an answer");
        assert_eq!((ended, lake.place.all().await), (Ended::Left, before.clone()));
    }
}
