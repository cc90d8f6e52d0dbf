//! The path of a query, from statement to rows: parse, bind, plan, run stages, run the head.

use crate::control::QueryControl;
use crate::deep_stack::on_deep_stack;
use crate::dispatch::{Completed, Dispatch, StageMetrics, read_inputs, run_stages};
use crate::explain;
use crate::graph::StageGraph;
use crate::plan::{Planned, Planner};
use crate::receipt::{Receipt, Usage, over_scan_limit};
use crate::rows::{Budget, Rows, cancelled, too_long};
use crate::statement::{self, Shown};
use crate::streams::{execute_on, labelled};
use crate::subquery::{SubqueryValues, next_subquery, scalar_value};
use crate::workspace::{CatalogTables, Workspace};
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use engine::clock::{Stopwatch, sleep, time_ordered_uuid};
use engine::compute::ComputeLease;
use engine::exchange::{Exchange, ExchangeReader};
use engine::ids::QueryId;
use engine::memory::PeakPool;
use engine::metrics::operator_metrics;
use engine::panic::caught;
use engine::session::{SharedRuntime, memory_pool, with_exchange};
use engine::settings::Settings;
use engine::storage::{Meter, PendingWrites, Pins, Storage, StoreRegistry};
use engine::task::{Invoker, RunningAttempts};
use engine::write::WriteAccess;
use engine::{Error, Result};
use sql::statement::ExplainOptions;
use sql::{Bound, Limits, Scope, Statement, StatementKind, TableResolver, with_parameters};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait for attempts that were given up: workers look for the cancel marker twice a second. A second is left of the
/// five in which a cancelled query is to be final.
pub(crate) const SETTLE_TIME: Duration = Duration::from_secs(4);

/// Runs queries with one set of settings.
#[derive(Debug)]
pub struct Coordinator {
    settings: Arc<Settings>,
    storage: Arc<Storage>,
    shared: SharedRuntime,
    invoker: Option<Arc<dyn Invoker>>,
}

impl Coordinator {
    /// A coordinator that invokes workers through `invoker`, or runs everything in this process without one.
    ///
    /// # Errors
    /// For settings out of range, or workers without an invoker or an exchange.
    pub fn new(
        settings: Settings,
        storage: Arc<Storage>,
        shared: SharedRuntime,
        invoker: Option<Arc<dyn Invoker>>,
    ) -> Result<Self> {
        settings.validate()?;
        if settings.workers > 0 && (invoker.is_none() || settings.exchange_url.is_none()) {
            return Err(Error::internal("workers need an invoker and an exchange location"));
        }
        Ok(Self { settings: Arc::new(settings), storage, shared, invoker })
    }

    /// The settings that queries run with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// The statements of `sql`.
    ///
    /// # Errors
    /// As [`sql::parse`].
    pub async fn parse(&self, sql: &str) -> Result<Vec<Statement>> {
        let (text, limits) = (sql.to_string(), self.limits());
        on_deep_stack(async move { sql::parse(&text, limits) }).await
    }

    /// What texts may measure.
    pub(crate) fn limits(&self) -> Limits {
        Limits::from(self.settings.as_ref())
    }

    /// Runs `statement` until its rows can be read. [`QueryRun::finish`] must follow, however the rows end.
    ///
    /// # Errors
    /// What is wrong with the query or went wrong in its stages; nothing is left in the exchange then.
    pub async fn run(&self, workspace: &Workspace, statement: &Statement, control: &QueryControl) -> Result<QueryRun> {
        let statement = statement::executed(workspace, statement, self.limits()).await?;
        // Places that nobody has filled are told before anything runs.
        let statement = on_deep_stack(async move { with_parameters(statement, &[]) }).await?;
        if statement::is_write(&statement.kind) {
            return Box::pin(self.run_write(workspace, &statement, control)).await;
        }
        let mut run = self.start(control)?;
        match Box::pin(caught("the query", run.open(workspace.clone(), statement))).await {
            Ok(stream) => {
                let rows = run.rows(stream);
                Ok(QueryRun { rows, manifest: String::new(), end: End::Query(Box::new(run)) })
            }
            Err(error) => {
                run.compute.given_up();
                let cleaned = run.clean_up().await;
                control.failed.send_replace(Some(Box::new(run.receipt(0))));
                cleaned.and(Err(error))
            }
        }
    }

    pub(crate) fn start(&self, control: &QueryControl) -> Result<Query> {
        let id = control.id.unwrap_or_else(|| QueryId(time_ordered_uuid()));
        let settings = control.limits.apply(&self.settings);
        let limit = Duration::from_millis(settings.query_timeout_ms);
        let (source_meter, exchange_meter, pins) = (Meter::new(), Meter::new(), self.shared.pins());
        let registry = self.storage.registry(Arc::clone(&source_meter), pins.clone(), limit);
        let pool = PeakPool::new(memory_pool(self.settings.memory_bytes));
        let runtime = self.shared.runtime(registry, pool);
        let exchange = match (&self.settings.exchange_url, self.settings.workers) {
            (Some(url), 1..) => {
                let registry = self.storage.registry(Arc::clone(&exchange_meter), Pins::default(), limit);
                Some(Exchange::open(&registry, url, id)?)
            }
            _ => None,
        };
        // What is written is counted with the exchange: it is not scanned.
        let registry = self.storage.registry(Arc::clone(&exchange_meter), Pins::default(), limit);
        let writes = Arc::new(WriteAccess::new(Arc::clone(&registry), "head", PendingWrites::default()));
        Ok(Query {
            id,
            settings,
            invoker: self.invoker.clone(),
            planner: Arc::new(Planner::new(&self.settings, &runtime, &writes)?),
            writes,
            registry,
            compute: self.shared.compute(),
            runtime,
            exchange,
            pins,
            source_meter,
            exchange_meter,
            control: control.clone(),
            watch: Stopwatch::start(),
            usage: Mutex::new(Usage::new(&self.settings.prices)),
            running: RunningAttempts::default(),
            planning: Duration::ZERO,
            local_reason: None,
            sweep: false,
        })
    }
}

/// A query whose rows are being read.
#[derive(Debug)]
pub struct QueryRun {
    /// Its rows.
    pub rows: Rows,
    /// URLs of the files that it has written, one a line; empty when it has written none.
    pub manifest: String,
    end: End,
}

/// What remains to be done when the rows have been read.
#[derive(Debug)]
enum End {
    /// To clean up behind the query.
    Query(Box<Query>),
    /// Nothing: it ended before its rows were given.
    Done(Box<Receipt>),
}

impl QueryRun {
    /// What a statement gives that has ended.
    pub(crate) fn ended(stream: SendableRecordBatchStream, control: &QueryControl, receipt: Receipt) -> Self {
        let rows = Rows::new(stream, control.cancel.clone(), Stopwatch::start(), Duration::MAX);
        Self { rows, manifest: String::new(), end: End::Done(Box::new(receipt)) }
    }

    /// The same with what it has written.
    pub(crate) fn with_manifest(self, manifest: String) -> Self {
        Self { manifest, ..self }
    }

    /// Removes what the query left in the exchange and says what it used.
    ///
    /// # Errors
    /// When the exchange cannot be cleaned.
    pub async fn finish(self) -> Result<Receipt> {
        let Self { rows, end, .. } = self;
        let (count, is_whole) = (rows.count(), rows.is_whole());
        drop(rows);
        match end {
            End::Query(mut query) => {
                if !is_whole {
                    query.compute.given_up();
                }
                query.clean_up().await?;
                Ok(query.receipt(count))
            }
            End::Done(receipt) => Ok(*receipt),
        }
    }
}

/// One run of a statement.
pub(crate) struct Query {
    id: QueryId,
    settings: Arc<Settings>,
    invoker: Option<Arc<dyn Invoker>>,
    planner: Arc<Planner>,
    writes: Arc<WriteAccess>,
    /// Stores of everything but table data.
    registry: Arc<StoreRegistry>,
    compute: ComputeLease,
    runtime: Arc<RuntimeEnv>,
    exchange: Option<Exchange>,
    pins: Pins,
    source_meter: Arc<Meter>,
    exchange_meter: Arc<Meter>,
    control: QueryControl,
    watch: Stopwatch,
    usage: Mutex<Usage>,
    running: RunningAttempts,
    planning: Duration,
    local_reason: Option<String>,
    /// Whether the exchange may hold objects of this query.
    sweep: bool,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A plan whose stages are done: its head, and what `EXPLAIN ANALYZE` wants to know of the stages.
pub(crate) struct Opened {
    pub(crate) stream: SendableRecordBatchStream,
    head: Arc<dyn ExecutionPlan>,
    graph: Option<Box<StageGraph>>,
    metrics: StageMetrics,
}

impl Query {
    async fn open(&mut self, workspace: Workspace, statement: Statement) -> Result<SendableRecordBatchStream> {
        match &statement.kind {
            StatementKind::Rows if statement.is_query() => {
                let bound = self.bind(&workspace, &statement).await?;
                let stream = self.execute(bound.plan, false).await?.stream;
                Ok(labelled(stream, &bound.columns))
            }
            StatementKind::Explain(options) => {
                let options = *options;
                let bound = self.bind(&workspace, &statement).await?;
                self.explain(bound.plan, options).await
            }
            StatementKind::ExplainAnalyze { .. } => {
                let bound = self.bind(&workspace, &statement).await?;
                self.explain_analyze(bound.plan).await
            }
            _ => match statement::answer(self, &workspace, &statement).await? {
                Shown::Stream(stream) => Ok(stream),
                Shown::Plan(bound) => {
                    let stream = self.execute(bound.plan, false).await?.stream;
                    Ok(labelled(stream, &bound.columns))
                }
            },
        }
    }

    async fn explain(&mut self, logical: LogicalPlan, options: ExplainOptions) -> Result<SendableRecordBatchStream> {
        if let Some(stream) = explain::logical(&logical, &self.planner.local, options)? {
            return Ok(stream);
        }
        let (logical, has_subqueries) = explain::without_subqueries(logical)?;
        // An opaque value has no meaning for a worker; the values that replace subqueries in a run do.
        let planned = self.plan(logical, !has_subqueries).await?;
        let scan_bytes = match &planned {
            Planned::Local { plan, .. } => self.planner.sizing.measure(plan).await?,
            Planned::Stages(_) => self.planner.sizing.planned_bytes(),
        };
        explain::estimate(&planned, &self.settings, scan_bytes)
    }

    pub(crate) fn id(&self) -> QueryId {
        self.id
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the query may write to.
    pub(crate) fn writes(&self) -> &WriteAccess {
        &self.writes
    }

    /// Stores of everything but table data; requests are counted with the exchange.
    pub(crate) fn registry(&self) -> &Arc<StoreRegistry> {
        &self.registry
    }

    /// The session that plans what runs in this process.
    pub(crate) fn session(&self) -> &SessionState {
        &self.planner.local
    }

    /// The plan of the query of `statement`.
    pub(crate) async fn bind(&self, workspace: &Workspace, statement: &Statement) -> Result<Bound> {
        let context = SessionContext::new_with_state(self.planner.local.clone());
        let limits = Limits::from(self.settings.as_ref());
        let catalog = workspace.open_catalog(&self.registry)?;
        let (workspace, statement) = (workspace.clone(), statement.clone());
        let bound = on_deep_stack(async move {
            let resolver = catalog.map(CatalogTables::new);
            let scope = Scope {
                database: workspace.database.clone(),
                user: workspace.user.clone(),
                resolver: resolver.as_ref().map(|resolver| resolver as &dyn TableResolver),
                ..Scope::of(&workspace.tables, limits)
            };
            sql::bind(&context, &scope, &statement).await
        });
        tokio::select! {
            bound = bound => bound,
            () = self.control.cancel.cancelled() => Err(cancelled()),
            () = self.out_of_time() => Err(too_long(Duration::from_millis(self.settings.query_timeout_ms))),
        }
    }

    async fn plan(&mut self, logical: LogicalPlan, verify: bool) -> Result<Planned> {
        let planner = Arc::clone(&self.planner);
        let planned = on_deep_stack(async move { planner.plan(&logical, verify).await });
        let planned = tokio::select! {
            planned = planned => planned,
            () = self.control.cancel.cancelled() => Err(cancelled()),
            () = self.out_of_time() => Err(too_long(Duration::from_millis(self.settings.query_timeout_ms))),
        };
        self.planning = self.watch.elapsed();
        planned
    }

    async fn out_of_time(&self) {
        sleep(Duration::from_millis(self.settings.query_timeout_ms).saturating_sub(self.watch.elapsed())).await;
    }

    pub(crate) fn rows(&self, stream: SendableRecordBatchStream) -> Rows {
        let limit = Duration::from_millis(self.settings.query_timeout_ms);
        let rows = Rows::new(stream, self.control.cancel.clone(), self.watch, limit);
        if self.settings.max_scan_bytes.is_none() && self.settings.max_cost_nano_usd.is_none() {
            return rows;
        }
        let (settings, meter) = (Arc::clone(&self.settings), Arc::clone(&self.source_meter));
        rows.within(Budget { settings, meter, spent: self.lock_usage().cost_so_far() })
    }

    /// Refuses a plan that would scan more than it may.
    async fn check_scan(&self, planned: &Planned) -> Result<()> {
        if self.settings.max_scan_bytes.is_none() {
            return Ok(());
        }
        let bytes = match planned {
            Planned::Local { plan, .. } => self.planner.sizing.measure(plan).await?,
            Planned::Stages(_) => self.planner.sizing.planned_bytes(),
        };
        over_scan_limit(&self.settings, bytes).map_or(Ok(()), Err)
    }

    /// Runs `logical` up to its head.
    pub(crate) async fn execute(&mut self, logical: LogicalPlan, collect_metrics: bool) -> Result<Opened> {
        let logical = match self.planner.distributed {
            Some(_) => Box::pin(self.resolve_subqueries(logical)).await?,
            None => logical,
        };
        let planned = self.plan(logical, true).await?;
        self.check_scan(&planned).await?;
        match planned {
            Planned::Local { plan, reason } => {
                self.local_reason = reason;
                let stream = execute_on(&self.compute, Arc::clone(&plan), self.planner.local.task_ctx());
                Ok(Opened { stream, head: plan, graph: None, metrics: StageMetrics::new() })
            }
            Planned::Stages(graph) => self.execute_stages(graph, collect_metrics).await,
        }
    }

    async fn execute_stages(&mut self, graph: Box<StageGraph>, collect_metrics: bool) -> Result<Opened> {
        let (Some(invoker), Some(exchange), Some(url), Some(state)) =
            (self.invoker.clone(), self.exchange.clone(), self.settings.exchange_url.clone(), &self.planner.distributed)
        else {
            return Err(Error::internal("stages without workers"));
        };
        self.lock_usage().next_plan();
        let dispatch = Dispatch {
            query: self.id,
            settings: &self.settings,
            graph: &graph,
            invoker: &invoker,
            exchange: &exchange,
            exchange_url: &url,
            context: state.task_ctx(),
            task_options: &self.planner.task_options,
            pins: &self.pins,
            collect_metrics,
            watch: self.watch,
            cancel: &self.control.cancel,
            progress: &self.control.progress,
            usage: &self.usage,
            running: &self.running,
            trace_parent: &self.control.trace_parent,
        };
        let mut completed = Completed::default();
        let ran = run_stages(&dispatch, &mut completed).await;
        self.sweep |= completed.wrote_objects;
        ran?;
        let inputs = read_inputs(&completed.outputs, &graph.head_inputs, 0, 1)?;
        let reader = ExchangeReader::new(inputs, exchange, self.settings.exchange_read_concurrency);
        let config = with_exchange(state.config().clone(), reader, 0, 1);
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime)).task_ctx();
        let head = graph.head_plan()?;
        let stream = execute_on(&self.compute, Arc::clone(&head), context);
        Ok(Opened { stream, head, graph: Some(graph), metrics: completed.metrics })
    }

    /// Runs the uncorrelated scalar subqueries of `logical`, innermost first, and puts their values in.
    async fn resolve_subqueries(&mut self, mut logical: LogicalPlan) -> Result<LogicalPlan> {
        let mut values = SubqueryValues::default();
        while let Some(subquery) = next_subquery(&logical)? {
            // Two rows are enough to know that there are too many.
            let two = LogicalPlanBuilder::from(subquery.as_ref().clone()).limit(0, Some(2))?.build()?;
            let opened = self.execute(two, false).await?;
            let batches = self.rows(opened.stream).collect().await?;
            let value = scalar_value(&batches, &subquery)?;
            values.insert(&subquery, Expr::Literal(value, None))?;
            logical = values.replace_in(logical)?;
        }
        Ok(logical)
    }

    async fn explain_analyze(&mut self, logical: LogicalPlan) -> Result<SendableRecordBatchStream> {
        let opened = self.execute(logical, true).await?;
        let mut rows = self.rows(opened.stream);
        while rows.next().await?.is_some() {}
        let receipt = self.receipt(rows.count());
        let head = operator_metrics(&opened.head);
        explain::analyzed(&head, opened.graph.as_deref(), &opened.metrics, &receipt)
    }

    /// Stops attempts that still run, counts what they used, and empties the query's folder of the exchange.
    pub(crate) async fn clean_up(&mut self) -> Result<()> {
        if self.control.cancel.is_cancelled() || self.watch.elapsed() >= Duration::from_millis(self.settings.query_timeout_ms) {
            self.compute.given_up();
        }
        let Some(exchange) = self.exchange.clone() else { return Ok(()) };
        if self.running.count() > 0 {
            self.sweep = true;
            if self.settings.cancel_poll_ms > 0 {
                exchange.cancel().await.map_err(|e| e.context("stopping attempts"))?;
            }
            self.running.settle(SETTLE_TIME).await;
        }
        let memory_mb = self.settings.worker_memory_mb();
        let late = self.running.take_late();
        late.into_iter().for_each(|invoked| self.lock_usage().add_late(invoked, memory_mb));
        match std::mem::take(&mut self.sweep) {
            true => exchange.sweep().await.map_err(|e| e.context("cleaning the exchange")),
            false => Ok(()),
        }
    }

    fn lock_usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn receipt(&self, rows: u64) -> Receipt {
        let usage = self.lock_usage();
        let (source, exchange) = (self.source_meter.counts(), self.exchange_meter.counts());
        Receipt {
            query_id: self.id.to_string(),
            rows,
            planning_ms: u64::try_from(self.planning.as_millis()).unwrap_or(u64::MAX),
            local_reason: self.local_reason.clone(),
            ..usage.receipt(&self.settings, &source, &exchange, self.watch.elapsed())
        }
    }
}
