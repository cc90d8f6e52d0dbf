//! The state store on `InMemory`, on a local folder and on a store with faults: races, crash points, lists, hostile names.

use super::faulty::{Fault, Faulty};
use super::hash::{principal_key, sha256_hex};
use super::objects::MAX_OBJECT_BYTES;
use super::state::{LEASE_MS, Refusal};
use super::tokens::TOKEN_VALID_MS;
use super::*;
use bytes::Bytes;
use engine::ids::QueryId;
use engine::{ErrorKind, clock};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

type Test = Result<(), Box<dyn StdError>>;

const OWNER: &str = "arn:aws:iam::123456789012:user/a";
const NOW_MS: i64 = 1_795_491_600_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// An id of that time; `number` makes it unique and orders it within the millisecond.
fn id_at(time_ms: i64, number: u16) -> QueryId {
    let time = u128::from(time_ms.unsigned_abs()) << 80;
    QueryId(Uuid::from_u128(time | 0x7000_8000_0000_0000_0000_u128 | u128::from(number)))
}

pub(super) fn new_query(number: u16) -> NewQuery {
    NewQuery {
        database: None,
        query_id: id_at(NOW_MS, number),
        principal: OWNER.to_owned(),
        work_group: "primary".to_owned(),
        client_token: None,
        sql: "SELECT 1".to_owned(),
        parameters: Vec::new(),
        is_async: false,
        format: "json".to_owned(),
        limits: QueryLimits::default(),
        price_table: "list prices".to_owned(),
        request_hash: request_hash(&json!({"sql": "SELECT 1"})),
    }
}

pub(super) fn sample_result(pages: u64) -> StoredResult {
    let result = crate::result::StoredResult {
        format: crate::result::ResultFormat::Arrow,
        rows: pages * 10,
        bytes: pages * 100,
        pages: (0..pages).map(|page| crate::result::Page { offset: page * 100, bytes: 100, rows: 10 }).collect(),
        columns: vec![crate::result::Column { name: "a".to_owned(), sql_type: "bigint".to_owned() }],
        head: Bytes::from_static(b"head"),
        tail_bytes: 8,
        e_tag: Some("tag".to_owned()),
    };
    StoredResult { location: "s3://bucket/results/x.arrows".to_owned(), result }
}

/// The same tests run on both kinds of store.
struct Backend {
    name: &'static str,
    state: StateStore,
    store: Arc<dyn ObjectStore>,
    folder: Option<TempDir>,
}

fn backends() -> Result<Vec<Backend>, Box<dyn StdError>> {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let folder = tempfile::tempdir()?;
    let local: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
    let base = Path::from("team/state");
    Ok(vec![
        Backend {
            name: "memory",
            state: StateStore::new(Arc::clone(&memory), base.clone(), StoreKind::Shared),
            store: memory,
            folder: None,
        },
        Backend {
            name: "folder",
            state: StateStore::new(Arc::clone(&local), base, StoreKind::OwnFolder),
            store: local,
            folder: Some(folder),
        },
    ])
}

async fn created(state: &StateStore, query: NewQuery) -> Result<QueryRecord, Box<dyn StdError>> {
    let record = QueryRecord::new(query, NOW_MS)?;
    assert_eq!(state.create(&record).await?, Created::New);
    Ok(record)
}

fn add_one(record: &mut QueryRecord) -> Result<Change, Refusal> {
    let scanned_bytes = record.progress.scanned_bytes + 1;
    record.progress(NOW_MS, RecordProgress { scanned_bytes, ..RecordProgress::default() })
}

#[tokio::test]
async fn a_query_lives_from_create_to_its_end() -> Test {
    for Backend { name, state, store, .. } in backends()? {
        let record = created(&state, new_query(1)).await?;
        let id = record.query_id;
        let path = format!("team/state/queries/{}/{id}.json", principal_key(OWNER));
        assert!(store.head(&Path::parse(path)?).await.is_ok(), "{name}");
        assert_eq!(state.create(&QueryRecord::new(new_query(1), NOW_MS + 1)?).await?, Created::Exists, "{name}");
        assert_eq!(state.read(id, OWNER).await?.as_ref(), Some(&record), "{name}");

        let started = state.transition(id, OWNER, |record| record.start(NOW_MS + 5)).await?.ok_or("a record")?;
        assert_eq!((started.change, started.record.state), (Ok(Change::Applied), QueryState::Running), "{name}");
        let again = state.transition(id, OWNER, |record| record.start(NOW_MS + 5)).await?.ok_or("a record")?;
        assert_eq!(again.change, Err(Refusal::AlreadyRunning), "{name}");
        assert_eq!(again.record, started.record, "{name}");

        let end = |record: &mut QueryRecord| {
            record.succeed(NOW_MS + 9, RecordProgress::default(), Some(sample_result(2)), None, json!({"cost": 1}))
        };
        let ended = state.transition(id, OWNER, end).await?.ok_or("a record")?;
        assert_eq!(state.read(id, OWNER).await?.as_ref(), Some(&ended.record), "{name}");
        let late = state.transition(id, OWNER, add_one).await?.ok_or("a record")?;
        assert_eq!(late.change, Err(Refusal::Final(QueryState::Succeeded)), "{name}");
        assert_eq!(late.record, ended.record, "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_concurrent_update_is_lost() -> Test {
    for Backend { name, state, .. } in backends()? {
        let id = created(&state, new_query(1)).await?.query_id;
        state.transition(id, OWNER, |record| record.start(NOW_MS)).await?;
        let mut writers = JoinSet::new();
        for _ in 0..32 {
            let state = state.clone();
            writers.spawn(async move { state.transition(id, OWNER, add_one).await });
        }
        while let Some(written) = writers.join_next().await {
            assert_eq!(written??.ok_or("a record")?.change, Ok(Change::Applied), "{name}");
        }
        let record = state.read(id, OWNER).await?.ok_or("a record")?;
        assert_eq!(record.progress.scanned_bytes, 32, "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_coordinators_starts_and_one_of_many_ends_wins() -> Test {
    for Backend { name, state, .. } in backends()? {
        let id = created(&state, new_query(1)).await?.query_id;
        let mut starts = JoinSet::new();
        for _ in 0..16 {
            let state = state.clone();
            starts.spawn(async move { state.transition(id, OWNER, |record| record.start(NOW_MS)).await });
        }
        let mut applied = 0;
        while let Some(start) = starts.join_next().await {
            applied += usize::from(start??.ok_or("a record")?.change == Ok(Change::Applied));
        }
        assert_eq!(applied, 1, "{name}");

        let mut ends = JoinSet::new();
        for number in 0..16 {
            let state = state.clone();
            ends.spawn(async move {
                let error = RecordError::new(format!("E{number}"), "x", false);
                let event = |record: &mut QueryRecord| match number % 2 {
                    0 => record.fail(NOW_MS, error.clone(), None),
                    _ => record.succeed(NOW_MS, RecordProgress::default(), None, None, json!(number)),
                };
                state.transition(id, OWNER, event).await
            });
        }
        let mut winners = Vec::new();
        while let Some(end) = ends.join_next().await {
            let end = end??.ok_or("a record")?;
            winners.extend((end.change == Ok(Change::Applied)).then_some(end.record));
        }
        assert_eq!(winners, [state.read(id, OWNER).await?.ok_or("a record")?], "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_writer_that_goes_away_keeps_the_folders_lock_until_its_write_is_done() -> Test {
    let faulty = Arc::new(Faulty::default());
    let store: Arc<dyn ObjectStore> = Arc::<Faulty>::clone(&faulty);
    let state = StateStore::new(store, Path::default(), StoreKind::OwnFolder);
    let id = created(&state, new_query(1)).await?.query_id;
    state.transition(id, OWNER, |record| record.start(NOW_MS)).await?;
    faulty.then(Fault::Slow);
    let left = tokio::time::timeout(Duration::from_millis(10), state.transition(id, OWNER, add_one)).await;
    assert!(left.is_err(), "the writer goes away in the middle");
    state.transition(id, OWNER, add_one).await?;
    clock::sleep(Duration::from_millis(100)).await;
    assert_eq!(state.read(id, OWNER).await?.map(|record| record.progress.scanned_bytes), Some(2));
    Ok(())
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_recognised() -> Test {
    for fault in [Fault::AnswerLost, Fault::Repeated, Fault::Dropped] {
        let faulty = Arc::new(Faulty::default());
        let store: Arc<dyn ObjectStore> = Arc::<Faulty>::clone(&faulty);
        let state = StateStore::new(store, Path::default(), StoreKind::Shared);
        let id = created(&state, new_query(1)).await?.query_id;
        faulty.then(fault);
        let start = state.transition(id, OWNER, |record| record.start(NOW_MS)).await?.ok_or("a record")?;
        assert_eq!(start.change, Ok(Change::Applied), "{fault:?}");
        faulty.then(fault);
        state.transition(id, OWNER, add_one).await?;
        let record = state.read(id, OWNER).await?.ok_or("a record")?;
        assert_eq!((record.epoch, record.progress.scanned_bytes), (1, 1), "{fault:?}: once and not twice");
        faulty.then(fault);
        let event = |record: &mut QueryRecord| record.succeed(NOW_MS, RecordProgress::default(), None, None, json!({}));
        assert_eq!(state.transition(id, OWNER, event).await?.ok_or("a record")?.change, Ok(Change::Applied), "{fault:?}");
    }
    Ok(())
}

#[tokio::test]
async fn creates_and_claims_recognise_their_own_repetition() -> Test {
    let state = StateStore::new(Arc::new(Faulty::new([Fault::Repeated; 2])), Path::default(), StoreKind::Shared);
    let id = created(&state, new_query(1)).await?.query_id;
    assert_eq!(state.claim(OWNER, "t", "h", id, NOW_MS).await?, Claimed::New(id));
    Ok(())
}

#[tokio::test]
async fn a_store_that_stays_broken_is_an_error_in_the_end() -> Test {
    let faulty = Arc::new(Faulty::default());
    let store: Arc<dyn ObjectStore> = Arc::<Faulty>::clone(&faulty);
    let state = StateStore::new(store, Path::default(), StoreKind::Shared);
    let id = created(&state, new_query(1)).await?.query_id;
    for _ in 0..10 {
        faulty.then(Fault::Dropped);
    }
    let outcome = state.transition(id, OWNER, |record| record.start(NOW_MS)).await;
    assert_eq!(outcome.map_err(|error| error.kind), Err(ErrorKind::Unavailable));
    assert_eq!(state.read(id, OWNER).await?.map(|record| record.state), Some(QueryState::Queued));
    Ok(())
}

#[tokio::test]
async fn a_folder_opened_as_a_shared_store_is_refused() -> Test {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
    let state = StateStore::new(store, Path::default(), StoreKind::Shared);
    let id = created(&state, new_query(1)).await?.query_id;
    let error = state.transition(id, OWNER, |record| record.start(NOW_MS)).await.err().ok_or("a write")?;
    assert!(error.message.contains("conditional writes"), "{error}");
    Ok(())
}

#[tokio::test]
async fn crash_points_leave_a_query_that_someone_can_end() -> Test {
    for Backend { name, state, folder, .. } in backends()? {
        // After the claim, before the record: the next request goes on with the id.
        let (first, second) = (id_at(NOW_MS, 1), id_at(NOW_MS, 2));
        assert_eq!(state.claim(OWNER, "token", "hash", first, NOW_MS).await?, Claimed::New(first), "{name}");
        assert_eq!(state.claim(OWNER, "token", "hash", second, NOW_MS).await?, Claimed::Same(first), "{name}");
        assert_eq!(state.read(first, OWNER).await?, None, "{name}");
        created(&state, new_query(1)).await?;

        // After the record, before the start; then between start and end.
        for (events, at_ms) in [(0, NOW_MS + LEASE_MS), (1, NOW_MS + 7 + LEASE_MS)] {
            let id = created(&state, new_query(10 + events)).await?.query_id;
            if events == 1 {
                state.transition(id, OWNER, |record| record.start(NOW_MS + 7)).await?;
            }
            let early = state.transition(id, OWNER, |record| record.lost(at_ms - 1)).await?.ok_or("a record")?;
            assert_eq!(early.change, Err(Refusal::LeaseHeld), "{name}");
            let lost = state.transition(id, OWNER, |record| record.lost(at_ms)).await?.ok_or("a record")?;
            assert_eq!(lost.record.state, QueryState::Failed, "{name}");
            // The coordinator was only slow: it learns that it has to stop.
            let late = state.transition(id, OWNER, add_one).await?.ok_or("a record")?;
            assert_eq!(late.change, Err(Refusal::Final(QueryState::Failed)), "{name}");
        }

        // In the middle of writing a file: what is left of it is not seen, and does not stop the next write.
        if let Some(folder) = folder {
            let path = folder.path().join("team/state/queries").join(principal_key(OWNER));
            std::fs::write(path.join(format!("{first}.json#1")), "{\"version\":")?;
            std::fs::write(path.join(format!("{second}.json#1")), "{\"version\":")?;
            state.transition(first, OWNER, |record| record.start(NOW_MS)).await?;
            assert_eq!(state.read(first, OWNER).await?.map(|record| record.state), Some(QueryState::Running));
            assert_eq!(state.read(second, OWNER).await?, None);
            let page = state.list(OWNER, ListRequest { before: None, limit: 50, state: None }, NOW_MS).await?;
            assert_eq!(page.queries.len(), 3);
        }
    }
    Ok(())
}

#[tokio::test]
async fn another_principals_query_does_not_exist() -> Test {
    for Backend { name, state, store, .. } in backends()? {
        let record = created(&state, new_query(1)).await?;
        let id = record.query_id;
        for other in ["local", "", "../..", "arn:aws:iam::123456789012:user/b", "*"] {
            assert_eq!(state.read(id, other).await?, None, "{name}");
            assert_eq!(state.transition(id, other, |record| record.request_cancel(NOW_MS)).await?, None, "{name}");
            let page = state.list(other, ListRequest { before: None, limit: 9, state: None }, NOW_MS).await?;
            assert_eq!(page, ListPage { queries: vec![], next: None }, "{name}");
        }
        // Even when its bytes lie in the other's folder.
        let astray = format!("team/state/queries/{}/{id}.json", principal_key("local"));
        store.put(&Path::parse(astray)?, record.encode()?.into()).await?;
        assert_eq!(state.read(id, "local").await?, None, "{name}");
        assert_eq!(state.read(id, OWNER).await?, Some(record), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn objects_have_a_bound() -> Test {
    for Backend { name, state, store, .. } in backends()? {
        let id = created(&state, new_query(1)).await?.query_id;
        state.transition(id, OWNER, |record| record.start(NOW_MS)).await?;
        let event = |record: &mut QueryRecord| {
            record.succeed(NOW_MS, RecordProgress::default(), Some(sample_result(200_000)), None, json!({}))
        };
        let outcome = state.transition(id, OWNER, event).await;
        assert_eq!(outcome.map_err(|error| error.kind), Err(ErrorKind::LimitExceeded), "{name}");
        assert_eq!(state.read(id, OWNER).await?.map(|record| record.state), Some(QueryState::Running), "{name}");

        let large = Bytes::from(vec![b' '; MAX_OBJECT_BYTES + 1]);
        store.put(&state.record_path(id, OWNER), large.into()).await?;
        assert_eq!(state.read(id, OWNER).await.map_err(|error| error.kind), Err(ErrorKind::LimitExceeded), "{name}");
    }
    Ok(())
}

/// Ids of a page, and its `next`.
fn ids_of(page: &ListPage) -> (Vec<String>, Option<QueryId>) {
    (page.queries.iter().map(|query| query["query_id"].as_str().unwrap_or("?").to_owned()).collect(), page.next)
}

#[tokio::test]
async fn a_list_goes_back_over_windows_newest_first() -> Test {
    for Backend { name, state, store, .. } in backends()? {
        // Within a window, on both sides of its edges, days apart, from a clock that is ahead, and beyond the horizon.
        let ages_ms = [-5_000, 0, 1, 1 << 20, (1 << 20) + 1, 1 << 22, DAY_MS, 3 * DAY_MS, 20 * DAY_MS, 37 * DAY_MS, 38 * DAY_MS];
        let mut expected = Vec::new();
        for (number, age_ms) in (0_u16..).zip(ages_ms) {
            let query_id = id_at(NOW_MS - age_ms, number);
            created(&state, NewQuery { query_id, ..new_query(0) }).await?;
            expected.push(query_id.to_string());
        }
        expected.pop();
        // Strangers in the folder.
        let folder = format!("team/state/queries/{}", principal_key(OWNER));
        for stranger in ["readme.txt", "0193a1b2.json", &format!("{}.tmp", id_at(NOW_MS, 99))] {
            store.put(&Path::parse(format!("{folder}/{stranger}"))?, Bytes::from("x").into()).await?;
        }
        let torn = id_at(NOW_MS - 2, 50);
        store.put(&state.record_path(torn, OWNER), Bytes::from("{\"version\":").into()).await?;

        let all = state.list(OWNER, ListRequest { before: None, limit: 50, state: None }, NOW_MS).await?;
        assert_eq!(ids_of(&all), (expected.clone(), None), "{name}");
        for limit in [1, 2, 3, 7] {
            let (mut before, mut seen) = (None, Vec::new());
            for _ in 0..=expected.len() {
                let (ids, next) = ids_of(&state.list(OWNER, ListRequest { before, limit, state: None }, NOW_MS).await?);
                assert!(ids.len() <= limit, "{name}");
                seen.extend(ids);
                before = next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{name}, by {limit}");
        }
        for before in [Uuid::nil(), id_at(NOW_MS - 40 * DAY_MS, 0).0] {
            let request = ListRequest { before: Some(QueryId(before)), limit: 5, state: None };
            assert_eq!(state.list(OWNER, request, NOW_MS).await?, ListPage { queries: vec![], next: None }, "{name}");
        }
        let request = ListRequest { before: Some(QueryId(Uuid::max())), limit: 50, state: None };
        assert_eq!(ids_of(&state.list(OWNER, request, NOW_MS).await?).0, expected, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_list_keeps_one_state_and_shows_lost_queries_as_failed() -> Test {
    for Backend { name, state, .. } in backends()? {
        for number in 0..40 {
            let id = created(&state, new_query(number)).await?.query_id;
            if number % 4 == 0 {
                state.transition(id, OWNER, |record| record.cancel(NOW_MS, None)).await?;
            }
        }
        let cancelled = ListRequest { before: None, limit: 200, state: Some(QueryState::Cancelled) };
        let page = state.list(OWNER, cancelled, NOW_MS).await?;
        let expected: Vec<String> = (0..40).rev().filter(|n| n % 4 == 0).map(|n| id_at(NOW_MS, n).to_string()).collect();
        assert_eq!(ids_of(&page), (expected, None), "{name}");

        let failed = ListRequest { state: Some(QueryState::Failed), ..cancelled };
        assert_eq!(state.list(OWNER, failed, NOW_MS).await?.queries.len(), 0, "{name}");
        let page = state.list(OWNER, failed, NOW_MS + LEASE_MS).await?;
        assert_eq!(page.queries.len(), 30, "{name}");
        assert_eq!(page.queries[0]["error"]["code"], "COORDINATOR_LOST", "{name}");
        assert_eq!(page.queries[0].get("receipt"), None::<&Value>, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_filter_that_keeps_nothing_stops_after_a_bounded_number_of_reads() -> Test {
    let state = StateStore::new(Arc::new(InMemory::new()), Path::default(), StoreKind::Shared);
    for number in 0..2_100 {
        created(&state, new_query(number)).await?;
    }
    let request = ListRequest { before: None, limit: 10, state: Some(QueryState::Succeeded) };
    let page = state.list(OWNER, request, NOW_MS).await?;
    assert_eq!(page, ListPage { queries: vec![], next: Some(id_at(NOW_MS, 100)) });
    let page = state.list(OWNER, ListRequest { before: page.next, ..request }, NOW_MS).await?;
    assert_eq!(page, ListPage { queries: vec![], next: None });
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_claims_is_new_also_after_expiry() -> Test {
    for Backend { name, state, .. } in backends()? {
        let mut owner = None;
        for (round, now_ms) in [(0, NOW_MS), (1, NOW_MS + TOKEN_VALID_MS - 1), (2, NOW_MS + TOKEN_VALID_MS)] {
            let mut claims = JoinSet::new();
            for number in 0..16 {
                let state = state.clone();
                let id = id_at(now_ms, number);
                claims.spawn(async move { state.claim(OWNER, "token", "hash", id, now_ms).await });
            }
            let (mut new, mut same) = (Vec::new(), Vec::new());
            while let Some(claimed) = claims.join_next().await {
                match claimed?? {
                    Claimed::New(id) => new.push(id),
                    Claimed::Same(id) => same.push(id),
                    Claimed::Conflict => return Err(format!("{name}: a conflict of equal requests").into()),
                }
            }
            assert_eq!(new.len(), usize::from(round != 1), "{name}, round {round}");
            owner = new.first().copied().or(owner);
            assert!(same.iter().all(|id| Some(*id) == owner), "{name}, round {round}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_of_one_principal_and_one_request() -> Test {
    for Backend { name, state, store, .. } in backends()? {
        let (first, second) = (QueryId(clock::time_ordered_uuid()), QueryId(clock::time_ordered_uuid()));
        assert!(first < second);
        let token = "../../\u{0}/%2e%2e";
        assert_eq!(state.claim(OWNER, token, "hash", first, NOW_MS).await?, Claimed::New(first), "{name}");
        assert_eq!(state.claim(OWNER, token, "other", second, NOW_MS).await?, Claimed::Conflict, "{name}");
        assert_eq!(state.claim(OWNER, token, "hash", second, NOW_MS - DAY_MS).await?, Claimed::Same(first), "{name}");
        assert_eq!(state.claim("local", token, "other", second, NOW_MS).await?, Claimed::New(second), "{name}");
        let path = format!("team/state/tokens/{}/{}.json", principal_key(OWNER), sha256_hex(token.as_bytes()));
        let path = Path::parse(path)?;
        let object: Value = serde_json::from_slice(&store.get(&path).await?.bytes().await?)?;
        assert_eq!(object, json!({"query_id": first.to_string(), "request_hash": "hash", "created_ms": NOW_MS}), "{name}");

        store.put(&path, Bytes::from("{").into()).await?;
        let claimed = state.claim(OWNER, token, "hash", second, NOW_MS).await;
        assert_eq!(claimed.map_err(|error| error.kind), Err(ErrorKind::Corrupt), "{name}");
    }
    Ok(())
}
