//! A logical plan to a physical one: in one process, or cut into stages for workers.

use crate::graph::StageGraph;
use crate::limited_build::LimitedBuildSide;
use crate::recursion::LimitedRecursion;
use crate::sizing::ScanSizing;
use crate::sorted_windows::SortedWindows;
use crate::verify::obstacle;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{DistributedExec, DistributedExt, SessionStateBuilderExt, WorkerResolver};
use engine::session::{session_config, session_options, session_state};
use engine::settings::Settings;
use engine::task::SessionOption;
use engine::write::WriteAccess;
use engine::{Error, Result};
use std::sync::Arc;
use url::Url;

/// A physical plan and where it runs.
pub(crate) enum Planned {
    /// In this process; with workers, the reason why not there.
    Local { plan: Arc<dyn ExecutionPlan>, reason: Option<String> },
    /// As stages on workers.
    Stages(Box<StageGraph>),
}

/// Plans the queries of one statement.
pub(crate) struct Planner {
    /// Session of plans that run in this process.
    pub(crate) local: SessionState,
    /// Session of plans for workers; none without workers.
    pub(crate) distributed: Option<SessionState>,
    /// Options that tasks run with.
    pub(crate) task_options: Vec<SessionOption>,
    /// What the scans of the distributed plan measure.
    pub(crate) sizing: ScanSizing,
}

/// Options of the distributed planner. Unions stay whole: a boundary under an isolated union child has fewer consumers
/// than its stage, and loses rows (docs/decisions/0002).
const DISTRIBUTED_OPTIONS: [(&str, &str); 2] =
    [("distributed.children_isolator_unions", "false"), ("distributed.collect_metrics", "false")];

impl Planner {
    pub(crate) fn new(settings: &Settings, runtime: &Arc<RuntimeEnv>, writes: &Arc<WriteAccess>) -> Result<Self> {
        let local_config = session_config(&planning_options(session_options(settings, settings.local_partition_count())))?;
        let local_config = local_config.with_extension(Arc::clone(writes));
        let local = sql::session(session_state(local_config, Arc::clone(runtime)));
        let mut local = local.with_physical_optimizer_rule(Arc::new(LimitedRecursion)).build();
        // now() is one moment in the whole query.
        local.mark_start_execution();
        let sizing = ScanSizing::new(settings, Arc::clone(runtime));
        let task_options = session_options(settings, settings.worker_partitions);
        let distributed =
            (settings.workers > 0).then(|| distributed_state(settings, &task_options, runtime, &sizing, writes)).transpose()?;
        let distributed = distributed.map(|mut state| {
            state.execution_props_mut().query_execution_start_time = local.execution_props().query_execution_start_time;
            state
        });
        Ok(Self { local, distributed, task_options, sizing })
    }

    /// The physical plan of `logical`; with `verify`, a plan that cannot be shipped whole runs here.
    pub(crate) async fn plan(&self, logical: &LogicalPlan, verify: bool) -> Result<Planned> {
        let Some(state) = &self.distributed else { return self.plan_local(logical, None).await };
        let plan = match physical_plan(state, logical).await {
            Ok(plan) => plan,
            Err(DataFusionError::NotImplemented(reason)) => return self.plan_local(logical, Some(reason)).await,
            // The plain planner has the last word on what is wrong with a query.
            Err(error) => return self.plan_local(logical, Some(Error::from(error).message)).await,
        };
        let Some(distributed) = plan.downcast_ref::<DistributedExec>() else {
            return self.plan_local(logical, Some("each scan fits one task".into())).await;
        };
        let graph = StageGraph::new(distributed)?;
        match verify.then(|| obstacle(&graph, &state.task_ctx())).flatten() {
            None => Ok(Planned::Stages(Box::new(graph))),
            Some(reason) => self.plan_local(logical, Some(reason)).await,
        }
    }

    /// The plan for this process alone.
    pub(crate) async fn plan_local(&self, logical: &LogicalPlan, reason: Option<String>) -> Result<Planned> {
        let plan = physical_plan(&self.local, logical).await.map_err(unplanned)?;
        Ok(Planned::Local { plan, reason })
    }
}

/// The plan of `logical`. Rules that bring fields of rows down to the files make plans at times whose columns do not fit; these are made again
/// without them.
async fn physical_plan(state: &SessionState, logical: &LogicalPlan) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    let error = match state.create_physical_plan(logical).await {
        Ok(plan) => return Ok(plan),
        Err(error) => error,
    };
    if !matches!(error.find_root(), DataFusionError::SchemaError(..)) && !error.to_string().contains(EXTRACTED) {
        return Err(error);
    }
    let mut plain = state.clone();
    plain.config_mut().options_mut().optimizer.enable_leaf_expression_pushdown = false;
    plain.create_physical_plan(logical).await.map_err(|_| error)
}

/// What those rules call a field.
const EXTRACTED: &str = "__datafusion_extracted";

/// What the planner says of a query inside that it could not make a join of.
const NO_JOIN: [&str; 5] = [
    "Physical plan does not support logical expression",
    "Correlated scalar subquery",
    "subquery can only be used in",
    "OuterReferenceColumn",
    "No field named",
];

/// What the planner says, behind the whole plan, of rows whose order it does not see.
const NO_ORDER: &str = "does not satisfy order requirements";

fn unplanned(error: DataFusionError) -> Error {
    let error = Error::from(error);
    if error.message.contains(NO_ORDER) {
        let text = "NOT_SUPPORTED: rows in an order that is not found to be kept: write what they are sorted by in a column of a subquery";
        return Error::invalid(text);
    }
    if NO_JOIN.iter().any(|words| error.message.contains(words)) || sql::message::is_of_made_columns(&error.message) {
        return Error::invalid(sql::message::NO_JOIN);
    }
    sql::message::with_athenas_words(error)
}

/// `options` behind those that Athena's meaning of a text needs.
fn planning_options(options: Vec<SessionOption>) -> Vec<SessionOption> {
    let athena = sql::SESSION_OPTIONS.map(|(key, value)| SessionOption { key: key.into(), value: value.into() });
    athena.into_iter().chain(options).collect()
}

fn distributed_state(
    settings: &Settings,
    task_options: &[SessionOption],
    runtime: &Arc<RuntimeEnv>,
    sizing: &ScanSizing,
    writes: &Arc<WriteAccess>,
) -> Result<SessionState> {
    let fixed = DISTRIBUTED_OPTIONS.map(|(key, value)| SessionOption { key: key.into(), value: value.into() });
    let limit = SessionOption { key: "distributed.max_tasks_per_stage".into(), value: settings.task_limit().to_string() };
    // A small file in one partition would be one task's; with small splits it must be cut too. DataFusion's default is 10 MiB.
    let cut_from = settings.split_bytes.min(10 << 20);
    let cut = SessionOption { key: "datafusion.optimizer.repartition_file_min_size".into(), value: cut_from.to_string() };
    let options: Vec<SessionOption> = fixed.into_iter().chain([limit, cut]).chain(task_options.iter().cloned()).collect();
    let config = session_config(&planning_options(options))?
        .with_extension(Arc::clone(writes))
        .with_distributed_worker_resolver(AnyWorker)
        .with_distributed_desired_task_count_handler(sizing.clone())
        .with_distributed_scale_up_leaf_node_handler(sizing.clone());
    let builder = sql::session(session_state(config, Arc::clone(runtime)))
        .with_physical_optimizer_rule(Arc::new(LimitedBuildSide))
        .with_physical_optimizer_rule(Arc::new(LimitedRecursion))
        .with_physical_optimizer_rule(Arc::new(SortedWindows));
    Ok(builder.with_distributed_planner().build())
}

/// Workers have no addresses; the planner asks only how many there are, which `max_tasks_per_stage` answers.
struct AnyWorker;

impl WorkerResolver for AnyWorker {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        let url = Url::parse("exchange://task").map_err(|e| Error::internal(e.to_string()))?;
        Ok(vec![url])
    }
}
