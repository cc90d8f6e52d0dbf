//! What Delta Lake's kernel reads a log with: its own readers over [`LogFolder`], on the runtime that a query is planned on.

use super::folder::LogFolder;
use delta_kernel::engine::arrow_expression::ArrowEvaluationHandler;
use delta_kernel::schema::SchemaRef;
use delta_kernel::{
    DeltaResult, DeltaResultIteratorStatic, Engine, EngineData, Error, EvaluationHandler, FileDataReadResultIterator, FileMeta,
    JsonHandler, ParquetFooter, ParquetHandler, PredicateRef, StorageHandler,
};
use delta_kernel_engine::executor::TaskExecutor;
use delta_kernel_engine::{DefaultEngine, DefaultEngineBuilder};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::runtime::{EnterGuard, Handle};
use url::Url;

/// The address of a table's folder for the kernel, whose only store is a [`LogFolder`].
const TABLE_URL: &str = "delta://table/";

/// The kernel's readers over one log.
pub(super) struct LogEngine {
    readers: DefaultEngine<OnRuntime>,
    folder: Arc<LogFolder>,
}

impl LogEngine {
    /// # Errors
    /// None; the address is a constant.
    pub(super) fn new(folder: Arc<LogFolder>) -> engine::Result<(Arc<Self>, Url)> {
        let table = Url::parse(TABLE_URL).map_err(|error| engine::Error::internal(error.to_string()))?;
        let readers = DefaultEngineBuilder::new(Arc::clone(&folder) as _)
            .with_task_executor(Arc::new(OnRuntime(Handle::current())))
            .build();
        Ok((Arc::new(Self { readers, folder }), table))
    }
}

impl Engine for LogEngine {
    fn evaluation_handler(&self) -> Arc<dyn EvaluationHandler> {
        Arc::new(ArrowEvaluationHandler {})
    }

    fn storage_handler(&self) -> Arc<dyn StorageHandler> {
        self.readers.storage_handler()
    }

    fn json_handler(&self) -> Arc<dyn JsonHandler> {
        self.readers.json_handler()
    }

    fn parquet_handler(&self) -> Arc<dyn ParquetHandler> {
        Arc::new(OwnCheckpoints { readers: self.readers.parquet_handler(), folder: Arc::clone(&self.folder) })
    }
}

/// The kernel's reader of checkpoints, which would fetch a part of one from any address that looks signed.
struct OwnCheckpoints {
    readers: Arc<dyn ParquetHandler>,
    folder: Arc<LogFolder>,
}

impl OwnCheckpoints {
    fn check(&self, file: &FileMeta) -> DeltaResult<()> {
        let below = file.location.as_str().strip_prefix(TABLE_URL);
        if below.is_some_and(|path| self.folder.has(path)) {
            return Ok(());
        }
        // What is signed in an address is a secret.
        let shown = file.location.as_str().split(['?', '#']).next().unwrap_or_default().escape_debug().to_string();
        Err(Error::unsupported(format!("a part of a checkpoint is not in the log's own folder: '{shown}'")))
    }
}

impl ParquetHandler for OwnCheckpoints {
    fn read_parquet_files(
        &self,
        files: &[FileMeta],
        schema: SchemaRef,
        predicate: Option<PredicateRef>,
    ) -> DeltaResult<FileDataReadResultIterator> {
        files.iter().try_for_each(|file| self.check(file))?;
        self.readers.read_parquet_files(files, schema, predicate)
    }

    fn write_parquet_file(&self, _: Url, _: DeltaResultIteratorStatic<Box<dyn EngineData>>) -> DeltaResult<()> {
        Err(Error::unsupported("a log is only read here"))
    }

    fn read_parquet_footer(&self, file: &FileMeta) -> DeltaResult<ParquetFooter> {
        self.check(file)?;
        self.readers.read_parquet_footer(file)
    }
}

/// Runs the kernel's reads on the runtime that it is called from a blocking thread of.
struct OnRuntime(Handle);

impl TaskExecutor for OnRuntime {
    type Guard<'a> = EnterGuard<'a>;

    fn block_on<T>(&self, task: T) -> T::Output
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        self.0.block_on(task)
    }

    fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.0.spawn(task));
    }

    fn spawn_blocking<T, R>(&self, task: T) -> BoxFuture<'_, DeltaResult<R>>
    where
        T: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.0.spawn_blocking(task).map(|result| result.map_err(Error::generic_err)).boxed()
    }

    fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }
}
