//! Clusters of in-process workers, and plain DataFusion as the oracle.

use crate::faults::FaultyInvoker;
use arrow::array::RecordBatch;
use coordinator::{Coordinator, QueryControl, Receipt, STACK_BYTES};
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::prelude::ParquetReadOptions;
use engine::session::SharedRuntime;
use engine::settings::Settings;
use engine::storage::Storage;
use engine::task::Invoker;
use engine::{Error, Result};
use sql::Tables;
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
fn compute() -> &'static Runtime {
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
    /// The tables that queries name.
    pub tables: Tables,
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
            tables.add_folder(data).expect("tables");
        }
        Self { coordinator, tables, exchange }
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
        let mut run = self.coordinator.run(&self.tables, statement, control).await?;
        let batches = run.rows.collect().await;
        let receipt = run.finish().await?;
        Ok(Answer { batches: batches?, receipt })
    }

    /// Files that are left in the exchange folder.
    pub fn left_in_exchange(&self) -> Vec<String> {
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
        walk(self.exchange.path(), &mut found);
        found
    }
}

/// Plain single-process DataFusion on the same files, with nothing of Owlet in it.
pub async fn oracle(data: &Path, options: &[(&str, &str)], sql: &str) -> Result<Vec<RecordBatch>> {
    let mut config = SessionConfig::new().with_target_partitions(2);
    for (key, value) in options {
        config.options_mut().set(key, value)?;
    }
    let context = SessionContext::new_with_config(config);
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        if !name.starts_with(['_', '.']) {
            let location = if path.is_dir() { format!("{}/", path.display()) } else { path.display().to_string() };
            context.register_parquet(name, location, ParquetReadOptions::default()).await?;
        }
    }
    Ok(context.sql(sql).await?.collect().await?)
}
