//! A write in the logical plan, and the planner that makes [`WriteExec`] of it.

use super::exec::{FileRow, WriteExec};
use super::spec::WriteSpec;
use super::types::file_schema;
use crate::error::Result;
use crate::ids::QueryId;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result as DataFusionResult};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::logical_plan::Projection;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Writes the rows of its input and gives one row for each file.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WriteNode {
    input: LogicalPlan,
    spec: Arc<WriteSpec>,
    query: QueryId,
    schema: DFSchemaRef,
}

impl WriteNode {
    /// The plan that writes the rows of `input` for `query`. An order of all rows is left out: a table has none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidQuery`] for a spec that contradicts itself or does not fit the input's columns and types.
    pub fn plan(input: LogicalPlan, spec: WriteSpec, query: QueryId) -> Result<LogicalPlan> {
        spec.check()?;
        file_schema(&spec, input.schema().as_arrow())?;
        let schema = Arc::new(DFSchema::try_from(FileRow::schema().as_ref().clone())?);
        let node = Self { input: without_order(input)?, spec: Arc::new(spec), query, schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

fn without_order(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => without_order(Arc::unwrap_or_clone(sort.input)),
        LogicalPlan::Projection(projection) => {
            let input = without_order(Arc::unwrap_or_clone(projection.input))?;
            let same = Projection::try_new_with_schema(projection.expr, Arc::new(input), projection.schema)?;
            Ok(LogicalPlan::Projection(same))
        }
        other => Ok(other),
    }
}

impl PartialOrd for WriteNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.query.cmp(&other.query) {
            Ordering::Equal if self != other => None,
            order => Some(order),
        }
    }
}

impl UserDefinedLogicalNodeCore for WriteNode {
    fn name(&self) -> &str {
        "Write"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Write: {:?}", self.spec)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DataFusionResult<Self> {
        match <[_; 1]>::try_from(inputs) {
            Ok([input]) => Ok(Self { input, ..self.clone() }),
            Err(_) => Err(DataFusionError::Internal("a write has one input".into())),
        }
    }
}

/// DataFusion's planner, which also knows writes.
#[derive(Debug)]
pub struct WriteQueryPlanner;

#[async_trait]
impl QueryPlanner for WriteQueryPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(WritePlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct WritePlanner;

#[async_trait]
impl ExtensionPlanner for WritePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(write), [input]) = (node.as_any().downcast_ref::<WriteNode>(), physical_inputs) else { return Ok(None) };
        Ok(Some(Arc::new(WriteExec::try_new(Arc::clone(input), Arc::clone(&write.spec), write.query)?)))
    }
}
