//! Cuts a distributed plan into stages and makes each task's own plan.

use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::{
    BroadcastExec, DistributedCodec, DistributedExec, DistributedLeafExec, NetworkBoundaryExt, NetworkBroadcastExec,
    NetworkCoalesceExec, Stage,
};
use datafusion_proto::physical_plan::{DeduplicatingProtoConverter, PhysicalExtensionCodec};
use engine::ids::{StageId, TaskId};
use engine::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use url::Url;
use uuid::Uuid;

/// How rows go from one stage to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExchangeKind {
    /// Consumer task `c` reads partitions `c*n..(c+1)*n` of every producer task.
    Shuffle,
    /// Every consumer task reads all partitions of every producer task.
    Broadcast,
    /// Each consumer task reads all partitions of its own group of producer tasks.
    Coalesce,
}

/// An edge of the stage graph, from its producer.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// The producing stage.
    pub stage: StageId,
    /// Its number of tasks.
    pub producer_tasks: u32,
    /// How its rows are read.
    pub kind: ExchangeKind,
    /// Partitions that one consumer task reads of one producer task.
    pub partitions: u32,
}

/// A piece of the plan that runs as tasks on workers.
#[derive(Clone, Debug)]
pub(crate) struct StagePlan {
    /// Its number; inputs have smaller ones.
    pub id: StageId,
    /// Its number of tasks.
    pub tasks: u32,
    /// The plan of all tasks, with the input stages below its network nodes.
    pub plan: Arc<dyn ExecutionPlan>,
    /// The stages that it reads.
    pub inputs: Vec<Input>,
    /// Whether its output is broadcast.
    pub broadcast: bool,
}

/// All stages of a query, in topological order, and the head that the coordinator runs.
#[derive(Clone, Debug)]
pub(crate) struct StageGraph {
    /// The stages; each one's inputs come before it.
    pub stages: Vec<StagePlan>,
    /// The plan above the last stages.
    pub head: Arc<dyn ExecutionPlan>,
    /// The stages that the head reads.
    pub head_inputs: Vec<Input>,
    query: Uuid,
}

impl StageGraph {
    /// The stages of `plan`.
    ///
    /// # Errors
    /// [`engine::ErrorKind::Internal`] when the plan is not what the distributed planner makes.
    pub(crate) fn new(plan: &DistributedExec) -> Result<Self> {
        let head = plan
            .children()
            .first()
            .map(|head| Arc::clone(head))
            .ok_or_else(|| Error::internal("a distributed plan without a plan"))?;
        let mut stages = Vec::new();
        let head_inputs = collect(&head, 1, &mut stages)?;
        stages.sort_by_key(|stage: &StagePlan| stage.id);
        let query = find_query(&head)?;
        Ok(Self { stages, head, head_inputs, query })
    }

    /// The stage `id`.
    ///
    /// # Errors
    /// [`engine::ErrorKind::Internal`] for a number that is not in the graph.
    pub(crate) fn stage(&self, id: StageId) -> Result<&StagePlan> {
        let found = self.stages.binary_search_by_key(&id, |stage| stage.id);
        found.map(|index| &self.stages[index]).map_err(|_| Error::internal(format!("no stage {id}")))
    }

    /// The plan that one task executes: its own share of each scan, and network nodes that read the exchange.
    ///
    /// # Errors
    /// As [`Self::stage`], and when a plan node cannot be rebuilt.
    pub(crate) fn task_plan(&self, task: TaskId) -> Result<Arc<dyn ExecutionPlan>> {
        let stage = self.stage(task.stage)?;
        self.specialise(&stage.plan, Some(task.index as usize))
    }

    /// The head's plan, ready to read the exchange.
    ///
    /// # Errors
    /// When a plan node cannot be rebuilt.
    pub(crate) fn head_plan(&self) -> Result<Arc<dyn ExecutionPlan>> {
        self.specialise(&self.head, None)
    }

    fn specialise(&self, plan: &Arc<dyn ExecutionPlan>, task: Option<usize>) -> Result<Arc<dyn ExecutionPlan>> {
        let rewritten = Arc::clone(plan).transform_down(|node| {
            if let Some(boundary) = node.as_network_boundary() {
                let input = boundary.input_stage();
                let remote = remote_stage(self.query, input.num(), input.task_count())?;
                let plan: Arc<dyn ExecutionPlan> = boundary.with_input_stage(remote)?;
                return Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump));
            }
            match (node.downcast_ref::<DistributedLeafExec>(), task) {
                (Some(leaf), Some(task)) => {
                    let own = leaf
                        .variants()
                        .get(task)
                        .ok_or_else(|| Error::internal(format!("a scan without a share for task {task}")))?;
                    Ok(Transformed::new(Arc::clone(own), true, TreeNodeRecursion::Jump))
                }
                _ => Ok(Transformed::no(node)),
            }
        })?;
        Ok(rewritten.data)
    }
}

/// A stage that runs elsewhere. Workers have no address: the exchange knows a task's output by stage and number.
///
/// datafusion-distributed 4.0 exports `Stage` but not the name of the struct inside `Stage::Remote`; decoding a network
/// node without inputs gives one to copy (docs/decisions/0002).
fn remote_stage(query: Uuid, number: usize, tasks: usize) -> Result<Stage> {
    static PATTERN: OnceLock<Stage> = OnceLock::new();
    let pattern = match PATTERN.get() {
        Some(pattern) => pattern,
        None => {
            let fresh = decode_remote_stage()?;
            PATTERN.get_or_init(|| fresh)
        }
    };
    let Stage::Remote(mut remote) = pattern.clone() else {
        return Err(Error::internal("a network node without inputs did not decode as remote"));
    };
    remote.query_id = query;
    remote.num = number;
    remote.workers = vec![Url::parse("exchange://task").map_err(|e| Error::internal(e.to_string()))?; tasks];
    Ok(Stage::Remote(remote))
}

fn decode_remote_stage() -> Result<Stage> {
    let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
    let node: Arc<dyn ExecutionPlan> = Arc::new(NetworkCoalesceExec::try_new(empty, 0, 1)?);
    let (codec, converter) = (DistributedCodec, DeduplicatingProtoConverter::default());
    let mut bytes = Vec::new();
    codec.try_encode(node, &mut bytes, &converter)?;
    let decoded = codec.try_decode(&bytes, &[], &TaskContext::default(), &converter)?;
    let boundary = decoded.as_network_boundary().ok_or_else(|| Error::internal("a network node decoded as something else"))?;
    Ok(boundary.input_stage().clone())
}

/// Collects the stages below `plan`, which runs as `consumers` tasks, and returns its direct inputs.
fn collect(plan: &Arc<dyn ExecutionPlan>, consumers: usize, stages: &mut Vec<StagePlan>) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    let mut failed = None;
    plan.apply(|node| {
        let Some(boundary) = node.as_network_boundary() else { return Ok(TreeNodeRecursion::Continue) };
        match input_of(node, boundary.input_stage(), consumers, stages) {
            Ok(input) => inputs.push(input),
            Err(error) => failed = Some(error),
        }
        Ok(TreeNodeRecursion::Jump)
    })?;
    failed.map_or(Ok(inputs), Err)
}

fn input_of(node: &Arc<dyn ExecutionPlan>, stage: &Stage, consumers: usize, stages: &mut Vec<StagePlan>) -> Result<Input> {
    let Stage::Local(local) = stage else {
        return Err(Error::internal("a stage that was already sent"));
    };
    let id = StageId(u32::try_from(local.num).map_err(|e| Error::internal(e.to_string()))?);
    let tasks = u32::try_from(local.tasks).map_err(|e| Error::internal(e.to_string()))?;
    let inputs = collect(&local.plan, local.tasks, stages)?;
    let broadcast = local.plan.is::<BroadcastExec>();
    let width = node.output_partitioning().partition_count();
    let (kind, partitions) = if node.is::<NetworkBroadcastExec>() {
        (ExchangeKind::Broadcast, width)
    } else if node.is::<NetworkCoalesceExec>() {
        (ExchangeKind::Coalesce, width / local.tasks.div_ceil(consumers).max(1))
    } else {
        (ExchangeKind::Shuffle, width)
    };
    stages.push(StagePlan { id, tasks, plan: Arc::clone(&local.plan), inputs, broadcast });
    Ok(Input { stage: id, producer_tasks: tasks, kind, partitions: partitions as u32 })
}

fn find_query(head: &Arc<dyn ExecutionPlan>) -> Result<Uuid> {
    let mut found = None;
    head.apply(|node| {
        found = node.as_network_boundary().map(|boundary| boundary.input_stage().query_id());
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    found.ok_or_else(|| Error::internal("a distributed plan without stages"))
}

impl Input {
    /// The producer tasks that consumer `index` of `consumers` reads.
    pub(crate) fn producers(&self, index: u32, consumers: u32) -> Range<u32> {
        match self.kind {
            ExchangeKind::Shuffle | ExchangeKind::Broadcast => 0..self.producer_tasks,
            ExchangeKind::Coalesce => coalesce_group(self.producer_tasks, index, consumers),
        }
    }

    /// The partitions that consumer `index` reads of each of those tasks.
    pub(crate) fn partitions_of(&self, index: u32) -> Range<u32> {
        match self.kind {
            ExchangeKind::Shuffle => index * self.partitions..(index + 1) * self.partitions,
            ExchangeKind::Broadcast | ExchangeKind::Coalesce => 0..self.partitions,
        }
    }
}

/// Contiguous groups of producers, the first ones one longer where they do not divide: as `NetworkCoalesceExec` reads.
fn coalesce_group(producers: u32, index: u32, consumers: u32) -> Range<u32> {
    let (base, longer) = (producers / consumers, producers % consumers);
    let start = index * base + index.min(longer);
    start..start + base + u32::from(index < longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coalesce_groups_cover_every_producer_once() {
        for producers in 1..20 {
            for consumers in 1..=producers {
                let read: Vec<u32> = (0..consumers).flat_map(|index| coalesce_group(producers, index, consumers)).collect();
                assert_eq!(read, (0..producers).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn shuffle_consumers_read_disjoint_partitions() {
        let input = Input { stage: StageId(1), producer_tasks: 3, kind: ExchangeKind::Shuffle, partitions: 2 };
        assert_eq!((input.partitions_of(0), input.partitions_of(2), input.producers(1, 3)), (0..2, 4..6, 0..3));
    }
}
