//! Queries of many callers, with records that outlive the process: what HTTP and asynchronous invocations share.
//!
//! ```text
//! submit ─┬─ sync ──► record RUNNING ─► run.rs ─► rows, or a stored result ─► record final
//!         └─ async ─► record QUEUED ──► Background ─► run_queued ─► run.rs ─► a stored result ─► record final
//! ```
//! **Invariant:** a query that was answered for has a record, and whoever ends it makes the record final.

mod life;
mod own;
mod request;
mod run;
mod stored;

pub use own::own_locations;
pub use request::{QueryRequest, RequestLimits};

use crate::query::Coordinator;
use crate::record::{
    Change, Claimed, Created, ListPage, ListRequest, NewQuery, QueryRecord, QueryState, StateStore, StoreKind, principal_key,
    request_hash,
};
use crate::workspace::Workspace;
use async_trait::async_trait;
use bytes::Bytes;
use engine::clock::{Stopwatch, now_ms, sleep, time_ordered_uuid};
use engine::ids::QueryId;
use engine::storage::{Meter, Pins};
use engine::{Error, ErrorKind, Result};
use life::{Life, stopped};
use object_store::path::Path;
use request::{Checked, parameter};
use sql::{PreparedStatements, Statement, StatementKind, with_parameters};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

/// Longest time that a request to the state store is tried again.
const STATE_RETRY_TIME: Duration = Duration::from_secs(30);
/// Time for the attempts of a lost query to see its cancel marker: they look twice a second.
const STOP_TIME: Duration = Duration::from_millis(1_200);
/// Folder of prepared statements below the state.
const PREPARED_FOLDER: &str = "prepared";
/// First and longest pause between looks at a query that a caller waits for.
const WAIT_POLL: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(400));

/// Runs queued queries somewhere else than in the request that brought them.
#[async_trait]
pub trait Background: Debug + Send + Sync + 'static {
    /// Has [`Service::run_queued`] called for the query, once or more often.
    ///
    /// # Errors
    /// When nobody will.
    async fn start(&self, service: &Arc<Service>, id: QueryId, principal: &str) -> Result<()>;
}

/// Where state is, and how much runs at once.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// URL of the folder of records and results: `s3://bucket/prefix/` or `file:///folder/`.
    pub state_url: String,
    /// Queries that run at once in this process.
    pub max_running: usize,
    /// Queries that wait for one of those places; more are refused.
    pub max_queued: usize,
}

/// What an invocation allows, belongs to and has used.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Since when it runs.
    pub watch: Stopwatch,
    /// Time that the process took to start for it, where that is billed.
    pub init: Duration,
    /// Requests for query records.
    pub record_meter: Arc<Meter>,
    /// Time that the record's last change will take, as far as its first one tells.
    pub last_steps: Duration,
    /// Time until the process must have answered, where that is limited.
    pub time_left: Option<Duration>,
    /// W3C `traceparent`, or empty.
    pub trace_parent: String,
    /// Id of the request, for logs.
    pub request_id: String,
}

impl Default for Invocation {
    fn default() -> Self {
        Self {
            watch: Stopwatch::start(),
            init: Duration::ZERO,
            record_meter: Meter::new(),
            last_steps: Duration::ZERO,
            time_left: None,
            trace_parent: String::new(),
            request_id: String::new(),
        }
    }
}

/// Coordinator, workspace and state.
#[derive(Debug)]
pub struct Service {
    coordinator: Arc<Coordinator>,
    workspace: Workspace,
    prepared: PreparedStatements,
    state: StateStore,
    state_url: Url,
    base: Path,
    background: Arc<dyn Background>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_queued: usize,
    life: Life,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// The rows.
    Rows { record: Box<QueryRecord>, body: Bytes, rows: u64 },
    /// The query is stored, running or failed; its record tells.
    Record(Box<QueryRecord>),
    /// The client token belongs to another request.
    TokenReused,
}

impl Service {
    /// A service over `coordinator`.
    ///
    /// # Errors
    /// When the state URL is none, or its store cannot be used.
    pub fn new(
        coordinator: Arc<Coordinator>,
        workspace: Workspace,
        config: &ServiceConfig,
        background: Arc<dyn Background>,
    ) -> Result<Arc<Self>> {
        let wrong = |e: String| Error::invalid(format!("state location '{}': {e}", config.state_url));
        let state_url = Url::parse(&config.state_url).map_err(|e| wrong(e.to_string()))?;
        let base = Path::from_url_path(state_url.path()).map_err(|e| wrong(e.to_string()))?;
        let registry = coordinator.storage().registry(Meter::new(), Pins::default(), STATE_RETRY_TIME);
        let kind = if state_url.scheme() == "file" { StoreKind::OwnFolder } else { StoreKind::Shared };
        let store = registry.counted_store(&state_url)?;
        let prepared = PreparedStatements::new(Arc::clone(&store), base.clone().join(PREPARED_FOLDER));
        let state = StateStore::new(store, base.clone(), kind);
        Ok(Arc::new(Self {
            coordinator,
            workspace,
            prepared,
            state,
            state_url,
            base,
            background,
            places: Arc::new(Semaphore::new(config.max_running.max(1))),
            waiting: AtomicUsize::new(0),
            max_queued: config.max_queued,
            life: Life::new(),
        }))
    }

    /// The coordinator that runs the queries.
    pub fn coordinator(&self) -> &Arc<Coordinator> {
        &self.coordinator
    }

    /// Accepts a request, and runs it unless it is asynchronous.
    ///
    /// # Errors
    /// What is wrong with the request; what goes wrong with its query is in the record.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        principal: &str,
        request: Checked,
        mut invocation: Invocation,
    ) -> Result<Submitted> {
        let statement = self.statement(&request.sql, &request.values).await?;
        let hash = request_hash(&request.identity());
        let state = self.state_of(&invocation)?;
        let mut id = QueryId(time_ordered_uuid());
        if let Some(token) = &request.client_token {
            id = match state.claim(principal, token, &hash, id, now_ms()).await? {
                Claimed::New(id) => id,
                Claimed::Conflict => return Ok(Submitted::TokenReused),
                Claimed::Same(id) => match self.read(id, principal).await? {
                    Some(record) => return self.answer(record, request.wait_ms).await,
                    // Whoever had the token went away before the record was made.
                    None => id,
                },
            };
        }
        let is_async = request.is_async;
        let wait_ms = request.wait_ms;
        let mut record = QueryRecord::new(self.new_query(principal, id, request, hash), now_ms())?;
        if is_async {
            return match state.create(&record).await? {
                Created::Exists => self.existing(id, principal, wait_ms).await,
                Created::New => self.start_background(record, wait_ms).await,
            };
        }
        let place = self.place().await?;
        record.start(now_ms()).map_err(|e| Error::internal(format!("a fresh record: {e:?}")))?;
        let watch = Stopwatch::start();
        let created = state.create(&record).await?;
        // The last change reads the record too.
        invocation.last_steps = 2 * watch.elapsed();
        match created {
            Created::Exists => self.existing(id, principal, wait_ms).await,
            Created::New => self.run_here(record, statement, invocation, place).await,
        }
    }

    /// Runs the queued query `id` unless somebody does already.
    ///
    /// # Errors
    /// When its record cannot be read or changed.
    pub async fn run_queued(self: &Arc<Self>, id: QueryId, principal: &str, mut invocation: Invocation) -> Result<()> {
        let _alive = self.life.enter();
        let place = self.place().await;
        let watch = Stopwatch::start();
        let started = self.state_of(&invocation)?.transition(id, principal, |record| record.start(now_ms())).await?;
        invocation.last_steps = watch.elapsed();
        let Some(outcome) = started else { return Ok(()) };
        let record = outcome.record;
        if outcome.change != Ok(Change::Applied) {
            if record.is_lost(now_ms()) {
                self.lost(&record).await?;
            }
            return Ok(());
        }
        let statement = match &place {
            Ok(_) => self.statement(&record.sql, &record.parameters).await,
            Err(error) => Err(error.clone()),
        };
        match statement {
            Ok(statement) => drop(Box::pin(self.run(record, statement, invocation, self.life.stopping().child_token())).await?),
            Err(error) => drop(self.end(&record, error).await?),
        }
        Ok(())
    }

    /// The record of a query of `principal`; one whose coordinator died is ended first.
    ///
    /// # Errors
    /// Those of the state store.
    pub(crate) async fn read(&self, id: QueryId, principal: &str) -> Result<Option<QueryRecord>> {
        match self.state.read(id, principal).await? {
            Some(record) if record.is_lost(now_ms()) => self.lost(&record).await.map(Some),
            found => Ok(found),
        }
    }

    /// Some of the queries of `principal`, newest first.
    ///
    /// # Errors
    /// Those of the state store.
    pub(crate) async fn list(&self, principal: &str, request: ListRequest) -> Result<ListPage> {
        self.state.list(principal, request, now_ms()).await
    }

    /// Asks a query to stop; none when there is no such query.
    ///
    /// # Errors
    /// Those of the state store and the exchange.
    pub(crate) async fn cancel(&self, id: QueryId, principal: &str) -> Result<Option<QueryRecord>> {
        let requested = self.state.transition(id, principal, |record| record.request_cancel(now_ms())).await?;
        let Some(outcome) = requested else { return Ok(None) };
        if outcome.record.state != QueryState::Running {
            return Ok(Some(outcome.record));
        }
        self.coordinator.stop_attempts(id).await?;
        let record = self.read(id, principal).await?;
        if record.as_ref().is_some_and(|record| record.state.is_final()) {
            // The query ended before it saw the marker.
            self.coordinator.sweep(id).await?;
        }
        Ok(record)
    }

    /// The records, with requests counted for one invocation. A folder has no requests, and one store that owns it.
    fn state_of(&self, invocation: &Invocation) -> Result<StateStore> {
        if !self.is_on_s3() {
            return Ok(self.state.clone());
        }
        let meter = Arc::clone(&invocation.record_meter);
        let registry = self.coordinator.storage().registry(meter, Pins::default(), STATE_RETRY_TIME);
        Ok(StateStore::new(registry.counted_store(&self.state_url)?, self.base.clone(), StoreKind::Shared))
    }

    async fn lost(&self, record: &QueryRecord) -> Result<QueryRecord> {
        let (id, principal) = (record.query_id, record.principal.clone());
        let ended = self.state.transition(id, &principal, |record| record.lost(now_ms())).await?;
        let Some(outcome) = ended else { return Ok(record.clone()) };
        if outcome.change == Ok(Change::Applied) {
            tracing::warn!(query_id = %id, "the query's coordinator is lost");
            self.coordinator.stop_attempts(id).await?;
            // Attempts that still run see the marker within this time; what they would write later stays for the lifecycle rule.
            sleep(STOP_TIME).await;
            self.coordinator.sweep(id).await?;
            // The record is final: what cannot be ended now is ended by the next write to the place.
            if let Err(error) = self.coordinator.recover_lost(&self.workspace_of(record), id).await {
                tracing::warn!(query_id = %id, %error, "the query's write was not ended");
            }
        }
        Ok(outcome.record)
    }

    /// What the query of `record` can name and change.
    fn workspace_of(&self, record: &QueryRecord) -> Workspace {
        let caller = principal_key(&record.principal);
        Workspace {
            database: record.database.clone().unwrap_or_else(|| self.workspace.database.clone()),
            user: record.principal.clone(),
            prepared: Some(self.prepared.of(&caller).of(&record.work_group)),
            ..self.workspace.clone()
        }
    }

    async fn statement(&self, sql: &str, values: &[serde_json::Value]) -> Result<Statement> {
        let mut statements = self.coordinator.parse(sql).await?;
        match (statements.pop(), statements.len()) {
            (Some(statement), 0) if matches!(statement.kind, StatementKind::Use { .. }) => Err(Error::invalid(
                "sql: USE changes nothing for the requests that follow: name the database in the field 'database'",
            )),
            (Some(statement), 0) => {
                let values: Vec<_> = values.iter().enumerate().map(|(i, value)| parameter(i, value)).collect::<Result<_>>()?;
                with_parameters(statement, &values)
            }
            (None, _) => Err(Error::invalid("sql: there is no statement in it")),
            (Some(_), more) => Err(Error::invalid(format!("sql: {} statements; send them one at a time", more + 1))),
        }
    }

    fn new_query(&self, principal: &str, id: QueryId, request: Checked, request_hash: String) -> NewQuery {
        NewQuery {
            query_id: id,
            principal: principal.to_string(),
            work_group: request.work_group,
            client_token: request.client_token,
            sql: request.sql,
            database: request.database,
            parameters: request.values,
            is_async: request.is_async,
            format: request.format.name().to_string(),
            limits: request.limits,
            price_table: self.coordinator.settings().prices.label.to_string(),
            request_hash,
        }
    }

    async fn existing(&self, id: QueryId, principal: &str, wait_ms: u64) -> Result<Submitted> {
        match self.read(id, principal).await? {
            Some(record) => self.answer(record, wait_ms).await,
            None => Err(Error::new(ErrorKind::Unavailable, "the query's record has gone; send the request again")),
        }
    }

    async fn start_background(self: &Arc<Self>, record: QueryRecord, wait_ms: u64) -> Result<Submitted> {
        let (id, principal) = (record.query_id, record.principal.as_str());
        if let Err(error) = self.background.start(self, id, principal).await {
            let record = self.end(&record, error.context("the query could not be started")).await?;
            return Ok(Submitted::Record(Box::new(record)));
        }
        self.answer(record, wait_ms).await
    }

    /// The record, after waiting for its end for at most `wait_ms`; with the rows, where they are stored and fit an answer.
    async fn answer(&self, mut record: QueryRecord, wait_ms: u64) -> Result<Submitted> {
        let (watch, limit) = (Stopwatch::start(), Duration::from_millis(wait_ms));
        let mut pause = WAIT_POLL.0;
        while !record.state.is_final() && watch.elapsed() < limit {
            sleep(pause.min(limit.saturating_sub(watch.elapsed()))).await;
            pause = (pause * 2).min(WAIT_POLL.1);
            record = self.read(record.query_id, &record.principal).await?.unwrap_or(record);
        }
        if wait_ms > 0
            && let Some((body, rows)) = self.small_result(&record).await?
        {
            return Ok(Submitted::Rows { record: Box::new(record), body, rows });
        }
        Ok(Submitted::Record(Box::new(record)))
    }

    /// One of the places of running queries; waits its turn.
    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        if self.life.stopping().is_cancelled() {
            return Err(stopped());
        }
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.before >= self.max_queued {
            return Err(Error::new(ErrorKind::Throttled, format!("{} queries wait already; try again later", self.max_queued)));
        }
        tokio::select! {
            biased;
            () = self.life.stopping().cancelled() => Err(stopped()),
            place = Arc::clone(&self.places).acquire_owned() => place.map_err(|_| Error::internal("no query runs here any more")),
        }
    }
}

struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Self { before: count.fetch_add(1, Ordering::SeqCst), count }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}
