//! The one session recipe for both sides: same options, same functions, same codec.

use crate::compute::{ComputeLease, ComputeThreads};
use crate::error::Result;
use crate::exchange::ExchangeReader;
use crate::functions::Functions;
use crate::settings::Settings;
use crate::storage::{Pins, SeenVersions, StoreRegistry};
use crate::task::SessionOption;
use crate::write::{WriteCodec, WriteQueryPlanner};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{DistributedConfig, DistributedExt, DistributedTaskContext};
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Consumers named in a memory error.
const NAMED_MEMORY_CONSUMERS: NonZeroUsize = NonZeroUsize::new(5).unwrap();
/// Most bytes of Parquet footers kept per process; and at most an eighth of its memory budget.
const FOOTER_CACHE_BYTES: usize = 256 << 20;

/// Largest build side of a join that is collected whole, in bytes of Arrow memory as statistics estimate them.
const BROADCAST_BYTES: usize = 32 << 20;
/// The same in rows, where statistics tell no bytes.
const BROADCAST_ROWS: usize = 2_000_000;

/// Options that every plan of a query runs with, on both sides, where they differ from DataFusion's defaults.
///
/// `settings.session` comes last and wins.
pub fn session_options(settings: &Settings, partitions: usize) -> Vec<SessionOption> {
    let option = |key: &str, value: String| SessionOption { key: key.to_string(), value };
    let mut options = vec![
        option("datafusion.execution.target_partitions", partitions.to_string()),
        // Build sides up to this size are collected, and with workers broadcast, instead of shuffling the larger side:
        // at scale 1 that halves what TPC-H sends through the exchange. DataFusion's defaults are 1 MiB and 131,072 rows.
        option("datafusion.optimizer.hash_join_single_partition_threshold", BROADCAST_BYTES.to_string()),
        option("datafusion.optimizer.hash_join_single_partition_threshold_rows", BROADCAST_ROWS.to_string()),
        // Its bound for min and max leaves out rows that other aggregates of the same SELECT need, where those are over an
        // expression or have a FILTER.
        option("datafusion.optimizer.enable_aggregate_dynamic_filter_pushdown", "false".into()),
        // Rules of the optimizer find out that an expression is never NULL where its plan does not, or the other way round; what
        // DataFusion makes of the difference is an error of its own.
        option("datafusion.execution.skip_physical_aggregate_schema_check", "true".into()),
        // Positions in error messages.
        option("datafusion.sql_parser.collect_spans", "true".into()),
        option("datafusion.catalog.information_schema", "true".into()),
    ];
    options.extend(settings.session.iter().map(|(key, value)| option(key, value.clone())));
    options
}

/// A session configuration with `options`.
///
/// # Errors
/// When an option does not exist or does not take its value.
pub fn session_config(options: &[SessionOption]) -> Result<SessionConfig> {
    let mut config = SessionConfig::new()
        .with_distributed_option_extension(DistributedConfig::default())
        .with_distributed_user_codec(WriteCodec);
    for option in options {
        config.options_mut().set(&option.key, &option.value)?;
    }
    Ok(config)
}

/// The state that both sides build their sessions from: DataFusion's features, and Owlet's functions and writes over them.
pub fn session_state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionStateBuilder {
    let builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
    let builder = builder.with_query_planner(Arc::new(WriteQueryPlanner));
    Functions::all().register(builder)
}

/// Adds what a plan with network nodes needs to run as task `index` of `count`.
pub fn with_exchange(config: SessionConfig, reader: ExchangeReader, index: usize, count: usize) -> SessionConfig {
    config
        .with_extension(Arc::new(DistributedTaskContext { task_index: index, task_count: count }))
        .with_distributed_channel_resolver(reader)
}

/// A memory pool that shares `bytes` fairly between operators that can spill, and names the largest in errors.
pub fn memory_pool(bytes: usize) -> Arc<dyn MemoryPool> {
    Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), NAMED_MEMORY_CONSUMERS))
}

/// Whose threads execute plans.
#[derive(Clone, Debug)]
enum Compute {
    /// Those of the runtime that asks.
    Here,
    Of(Handle),
    Replaced(Arc<ComputeThreads>),
}

/// What the runtimes of one process share: temporary files and cached footers.
#[derive(Clone, Debug)]
pub struct SharedRuntime {
    base: Arc<RuntimeEnv>,
    seen: Arc<SeenVersions>,
    compute: Compute,
}

impl SharedRuntime {
    /// Shared state with the limits of `settings`.
    ///
    /// # Errors
    /// When the temporary folder cannot be used.
    pub fn new(settings: &Settings) -> Result<Self> {
        let mode = match &settings.temp_dir {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(settings.temp_quota_bytes);
        let cache = CacheManagerConfig::default()
            .with_metadata_cache_limit(FOOTER_CACHE_BYTES.min(settings.memory_bytes / 8))
            .with_list_files_cache_limit(0)
            .with_file_statistics_cache_limit(0);
        let base = RuntimeEnvBuilder::new().with_disk_manager_builder(disk).with_cache_manager(cache).build_arc()?;
        let footers = base.cache_manager.get_file_metadata_cache();
        let seen = SeenVersions::new(move |path| drop(footers.remove(path)));
        Ok(Self { base, seen, compute: Compute::Here })
    }

    /// The same with plans executed on the threads of `compute`, which may be busy for seconds without a pause; what
    /// watches over queries must run elsewhere.
    pub fn with_compute(mut self, compute: Handle) -> Self {
        self.compute = Compute::Of(compute);
        self
    }

    /// The same on threads that are replaced when they cannot be stopped.
    pub fn with_threads(mut self, threads: Arc<ComputeThreads>) -> Self {
        self.compute = Compute::Replaced(threads);
        self
    }

    /// Where plans are executed: as given, or the runtime that asks.
    pub fn compute(&self) -> ComputeLease {
        match &self.compute {
            Compute::Here => ComputeLease::of(Handle::current()),
            Compute::Of(handle) => ComputeLease::of(handle.clone()),
            Compute::Replaced(threads) => threads.lease(),
        }
    }

    /// Empty pins of a query or attempt; a version that this process has not cached is read afresh.
    pub fn pins(&self) -> Pins {
        Pins::with_cache(Arc::clone(&self.seen))
    }

    /// A runtime for one query or attempt: its own stores and memory, the shared rest.
    pub fn runtime(&self, registry: Arc<StoreRegistry>, pool: Arc<dyn MemoryPool>) -> Arc<RuntimeEnv> {
        let mut runtime = RuntimeEnv::clone(&self.base);
        runtime.object_store_registry = registry;
        runtime.memory_pool = pool;
        Arc::new(runtime)
    }
}
