//! Clusters of in-process workers, and plain DataFusion as the oracle.

use crate::faults::FaultyInvoker;
use arrow::array::RecordBatch;
use coordinator::{CatalogSource, Coordinator, QueryControl, Receipt, STACK_BYTES, Workspace, WriteOutcome};
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::runtime_env::RuntimeEnv;
use engine::session::SharedRuntime;
use engine::settings::Settings;
use engine::storage::{DataLocations, Storage};
use engine::task::Invoker;
use engine::write::WriteSpec;
use engine::{Error, Result};
use object_store::local::LocalFileSystem;
use sql::{Limits, PreparedStatements, Scope, Tables};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use worker::{InProcessInvoker, Worker};

/// The runtime of all tests: deep stacks, as in the product.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .expect("a runtime")
    })
}

/// Where plans are executed: their threads may be busy for seconds, as in the product.
pub fn compute() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).thread_stack_size(STACK_BYTES).enable_all().build().expect("a runtime")
    })
}

/// Runs `future` as a task of the test runtime.
pub fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    runtime().block_on(async move { runtime().spawn(future).await.expect("no panic in a test's task") })
}

/// A coordinator with its workers, tables and exchange.
pub struct Cluster {
    /// Runs the queries.
    pub coordinator: Coordinator,
    /// What queries can name.
    pub workspace: Workspace,
    /// Where stages exchange rows, when it is a folder.
    pub exchange: TempDir,
}

/// What a query gave.
pub struct Answer {
    /// Its rows.
    pub batches: Vec<RecordBatch>,
    /// What it used.
    pub receipt: Receipt,
}

/// Settings for small data: `workers` workers, scans split as far as row groups go.
pub fn small_data_settings(workers: usize) -> Settings {
    Settings { workers, split_bytes: 1, local_partitions: 2, memory_bytes: 1 << 30, ..Settings::default() }
}

impl Cluster {
    /// A cluster whose tables are the folders and files below `data`.
    pub fn new(settings: Settings, data: &Path) -> Self {
        Self::with_invoker(settings, data, |invoker| invoker)
    }

    /// The same with `wrap` around the invoker.
    pub fn with_invoker(mut settings: Settings, data: &Path, wrap: impl FnOnce(Arc<dyn Invoker>) -> Arc<dyn Invoker>) -> Self {
        let exchange = tempfile::tempdir().expect("a folder");
        if settings.exchange_url.is_none() {
            settings.exchange_url = Some(format!("file://{}/", exchange.path().display()));
        }
        let storage = Storage::new(&settings).expect("storage");
        let shared = SharedRuntime::new(&settings).expect("a runtime").with_compute(compute().handle().clone());
        let invoker: Arc<dyn Invoker> =
            Arc::new(InProcessInvoker::new(Worker::new(&settings, Arc::clone(&storage), shared.clone())));
        let coordinator = Coordinator::new(settings, storage, shared, Some(wrap(invoker))).expect("a coordinator");
        let mut tables = Tables::default();
        if data.is_dir() {
            tables.add_folder(data, &[]).expect("tables");
        }
        Self { coordinator, workspace: Workspace::of(tables), exchange }
    }

    /// The same with a catalog in `root`, whose tables lie in `root/bucket`, where SQL may also write.
    pub fn with_catalog(settings: Settings, data: &Path, root: &Path) -> Self {
        Self::with_catalog_and_invoker(settings, data, root, |invoker| invoker)
    }

    /// The same with `wrap` around the invoker.
    pub fn with_catalog_and_invoker(
        settings: Settings,
        data: &Path,
        root: &Path,
        wrap: impl FnOnce(Arc<dyn Invoker>) -> Arc<dyn Invoker>,
    ) -> Self {
        let root = std::fs::canonicalize(root).expect("a folder");
        for folder in ["bucket", "catalog", "prepared"] {
            std::fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        let url = |folder: &str| format!("file://{}/{folder}/", root.display());
        let settings = Settings { write_locations: vec![url("bucket")], ..settings };
        let mut cluster = Self::with_invoker(settings, data, wrap);
        let storage = Storage::new(cluster.coordinator.settings()).expect("storage");
        let prepared = object_store::path::Path::from_absolute_path(root.join("prepared")).expect("a path");
        cluster.workspace = Workspace {
            catalog: Some(CatalogSource::at(&url("catalog"), &storage).expect("a catalog")),
            prepared: Some(PreparedStatements::new(Arc::new(LocalFileSystem::new()), prepared)),
            warehouse: Some(url("bucket/warehouse")),
            locations: Some(Arc::new(DataLocations::new(&[url("bucket")]).expect("locations"))),
            ..cluster.workspace
        };
        cluster
    }

    /// The same with faults.
    pub fn with_faults(settings: Settings, data: &Path, faults: impl FnOnce(Arc<dyn Invoker>) -> FaultyInvoker) -> Self {
        Self::with_invoker(settings, data, |invoker| Arc::new(faults(invoker)))
    }

    /// Runs one statement.
    pub async fn query(&self, sql: &str) -> Result<Answer> {
        self.query_with(sql, &QueryControl::new()).await
    }

    /// Runs one statement under `control`.
    pub async fn query_with(&self, sql: &str, control: &QueryControl) -> Result<Answer> {
        let statements = self.coordinator.parse(sql).await?;
        let [statement] = statements.as_slice() else {
            return Err(Error::invalid(format!("{} statements instead of one", statements.len())));
        };
        let mut run = self.coordinator.run(&self.workspace, statement, control).await?;
        let batches = run.rows.collect().await;
        let receipt = run.finish().await?;
        Ok(Answer { batches: batches?, receipt })
    }

    /// Writes the rows of one query as `spec` says, under `control`.
    pub async fn write_with(&self, sql: &str, spec: &WriteSpec, control: &QueryControl) -> Result<WriteOutcome> {
        let statements = self.coordinator.parse(sql).await?;
        let [statement] = statements.as_slice() else {
            return Err(Error::invalid(format!("{} statements instead of one", statements.len())));
        };
        self.coordinator.write(&self.workspace, statement, spec, control).await
    }

    /// Writes the rows of one query as `spec` says.
    pub async fn write(&self, sql: &str, spec: &WriteSpec) -> Result<WriteOutcome> {
        self.write_with(sql, spec, &QueryControl::new()).await
    }

    /// Files that are left in the exchange folder.
    pub fn left_in_exchange(&self) -> Vec<String> {
        files_below(self.exchange.path())
    }
}

/// All files below `folder`, hidden ones too, in order.
pub fn files_below(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.sort();
    found
}

/// Plain single-process DataFusion on the same files: nothing of Owlet but its SQL and its functions.
pub async fn oracle(data: &Path, options: &[(&str, &str)], sql: &str) -> Result<Vec<RecordBatch>> {
    let mut config = SessionConfig::new().with_target_partitions(2);
    for (key, value) in sql::SESSION_OPTIONS.iter().chain(options) {
        config.options_mut().set(key, value)?;
    }
    let runtime = Arc::new(RuntimeEnv::default());
    let mut state = sql::session(engine::session::session_state(config, runtime)).build();
    state.mark_start_execution();
    let context = SessionContext::new_with_state(state);
    let mut tables = Tables::default();
    tables.add_folder(data, &[])?;
    let limits = Limits::from(&Settings::default());
    let statement = sql::parse(sql, limits)?.pop().ok_or_else(|| Error::invalid("no statement"))?;
    let bound = sql::bind(&context, &Scope::of(&tables, limits), &statement).await?;
    Ok(context.execute_logical_plan(bound.plan).await?.collect().await?)
}
