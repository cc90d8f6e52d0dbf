//! Reads, creates and changes records: every change is compare-and-set of what one pure function made of what was read.

use super::hash::principal_key;
use super::model::QueryRecord;
use super::objects::{Objects, StoreKind};
use super::state::{Change, Refusal};
use bytes::Bytes;
use engine::ids::QueryId;
use engine::{Error, ErrorKind, Result, clock};
use object_store::ObjectStore;
use object_store::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Folder of the records.
pub(crate) const QUERIES: &str = "queries";

/// Writes of one transition. Of the writers of one record one wins each round, so this many may meet.
const MAX_TRANSITION_ATTEMPTS: u32 = 64;

/// How often one transition goes on after a write whose answer did not arrive.
const MAX_UNCERTAIN_WRITES: u32 = 3;

/// The pause after a lost race grows by this with every attempt.
const RACE_PAUSE_STEP: Duration = Duration::from_millis(5);

/// Longest pause after a lost race; all pauses of a transition stay under 6 s.
const MAX_RACE_PAUSE: Duration = Duration::from_millis(100);

/// What became of a create.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Created {
    /// The record is stored.
    New,
    /// A record with that id exists already and stays as it is.
    Exists,
}

/// The record after a transition, and whether the transition was accepted.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Outcome {
    /// The record as it is stored now.
    pub record: QueryRecord,
    /// What the event did, or why it was refused.
    pub change: Result<Change, Refusal>,
}

/// Query records and client tokens below one path of an object store. Clones share the store and its lock.
#[derive(Clone, Debug)]
pub(crate) struct StateStore {
    pub(crate) objects: Objects,
}

impl StateStore {
    /// State below `base`. A folder of [`StoreKind::OwnFolder`] needs one `StateStore` in all: share it by cloning.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, base: Path, kind: StoreKind) -> Self {
        Self { objects: Objects::new(store, base, kind) }
    }

    /// The record of a query of `principal`; `None` when there is none, or when it is another principal's.
    ///
    /// # Errors
    /// Those of the store, and `Corrupt` when the record cannot be read.
    pub(crate) async fn read(&self, id: QueryId, principal: &str) -> Result<Option<QueryRecord>> {
        let path = self.record_path(id, principal);
        match self.objects.get(&path).await? {
            Some(stored) => decode_own(&stored.body, &path, id, principal),
            None => Ok(None),
        }
    }

    /// Stores a new record under its own id and principal.
    ///
    /// # Errors
    /// Those of the store, and `LimitExceeded` for a record over [`super::objects::MAX_OBJECT_BYTES`].
    pub(crate) async fn create(&self, record: &QueryRecord) -> Result<Created> {
        let path = self.record_path(record.query_id, &record.principal);
        let created = self.objects.create(&path, &Bytes::from(record.encode()?)).await?;
        Ok(if created { Created::New } else { Created::Exists })
    }

    /// Applies `event` to the stored record, again on the newer record when another writer was faster; `None` without a record.
    ///
    /// `event` may run several times, each time on a fresh copy. A refused or unnecessary event writes nothing.
    ///
    /// # Errors
    /// Those of the store; `LimitExceeded` when the record would pass [`super::objects::MAX_OBJECT_BYTES`] (end the query with
    /// [`QueryRecord::fail`] then); `Unavailable` when the bound on attempts is reached.
    pub(crate) async fn transition<F>(&self, id: QueryId, principal: &str, mut event: F) -> Result<Option<Outcome>>
    where
        F: FnMut(&mut QueryRecord) -> Result<Change, Refusal> + Send,
    {
        let path = self.record_path(id, principal);
        let write_id = clock::random_uuid();
        let mut uncertain_writes = 0;
        for attempt in 1..=MAX_TRANSITION_ATTEMPTS {
            let Some(stored) = self.objects.get(&path).await? else { return Ok(None) };
            let Some(record) = decode_own(&stored.body, &path, id, principal)? else { return Ok(None) };
            if record.is_signed_by(write_id) {
                return Ok(Some(Outcome { record, change: Ok(Change::Applied) }));
            }
            let mut next = record.clone();
            let change = event(&mut next);
            if change != Ok(Change::Applied) {
                return Ok(Some(Outcome { record, change }));
            }
            next.sign(write_id);
            match self.objects.replace(&path, &stored, &Bytes::from(next.encode()?)).await {
                Ok(true) => return Ok(Some(Outcome { record: next, change })),
                Ok(false) => {}
                // The write may have arrived and its answer not: the next look tells.
                Err(error) if error.kind == ErrorKind::Unavailable && uncertain_writes < MAX_UNCERTAIN_WRITES => {
                    uncertain_writes += 1;
                }
                Err(error) => return Err(error),
            }
            clock::sleep((RACE_PAUSE_STEP * attempt).min(MAX_RACE_PAUSE)).await;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("query {id}: {MAX_TRANSITION_ATTEMPTS} changes of its record lost against other writers; try again"),
        ))
    }

    pub(crate) fn record_path(&self, id: QueryId, principal: &str) -> Path {
        self.objects.path(QUERIES, &principal_key(principal), &format!("{id}.json"))
    }
}

/// The record in `body`, if it is of that id and principal.
fn decode_own(body: &[u8], path: &Path, id: QueryId, principal: &str) -> Result<Option<QueryRecord>> {
    let record = QueryRecord::decode(body).map_err(|error| error.context(path))?;
    Ok((record.query_id == id && record.principal == principal).then_some(record))
}
