//! Checks a stage graph before anything runs: what would not arrive whole at a worker runs in the coordinator instead.

use crate::graph::{StageGraph, StagePlan};
use crate::sorted_windows::{sorts_of, windows};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, displayable};
use datafusion_distributed::{DistributedLeafExec, NetworkBroadcastExec};
use engine::ids::TaskId;
use engine::task::{decode_plan, encode_plan};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Why a graph cannot run on workers; none when it can.
///
/// `context` has the functions and options of a worker.
pub(crate) fn obstacle(graph: &StageGraph, context: &Arc<TaskContext>) -> Option<String> {
    graph.stages.iter().find_map(|stage| {
        let found =
            scans_obstacle(stage).or_else(|| windows_obstacle(stage)).or_else(|| round_trip_obstacle(graph, stage, context));
        found.map(|reason| format!("stage {}: {reason}", stage.id))
    })
}

/// The file scan of a leaf.
pub(crate) fn file_scan(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    let source: &dyn std::any::Any = plan.downcast_ref::<DataSourceExec>()?.data_source().as_ref();
    source.downcast_ref::<FileScanConfig>()
}

fn scans_obstacle(stage: &StagePlan) -> Option<String> {
    let mut found = None;
    let walked = stage.plan.apply(|node| {
        let (original, variants) = match node.downcast_ref::<DistributedLeafExec>() {
            Some(leaf) => (leaf.original(), leaf.variants()),
            None => (node, std::slice::from_ref(node)),
        };
        if let Some(scan) = file_scan(original.as_ref()) {
            if scan.file_compression_type != FileCompressionType::UNCOMPRESSED {
                found = Some("a compressed text file cannot be shipped in a plan".to_string());
            } else if node.is::<DistributedLeafExec>() && variants.len() != stage.tasks as usize {
                found = Some(format!("a scan has {} shares for {} tasks", variants.len(), stage.tasks));
            } else if !node.is::<DistributedLeafExec>() && stage.tasks > 1 {
                found = Some("a scan is not split between the tasks of its stage".to_string());
            } else if ranges(std::slice::from_ref(original)) != ranges(variants) {
                found = Some("the tasks would not read every file range exactly once".to_string());
            }
        }
        let below_is_broadcast = node.children().iter().any(|child| child.is::<NetworkBroadcastExec>());
        if stage.tasks > 1 && node.fetch().is_some() && below_is_broadcast {
            found = Some("each consumer would take its own rows of a limited broadcast".to_string());
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { boundary_or_continue(node) })
    });
    found.or_else(|| walked.err().map(|error| error.to_string()))
}

/// A window needs its rows in the order of all its keys: a task does not know that a condition in an earlier stage makes one constant,
/// or equal to another column. [`SortedWindows`](crate::sorted_windows::SortedWindows) sorts by them too, but for windows whose keys need
/// not be sorted.
fn windows_obstacle(stage: &StagePlan) -> Option<String> {
    let mut found = None;
    let walked = stage.plan.apply(|node| {
        let sorts = node.children().first().map(|input| sorts_of(input)).unwrap_or_default();
        let is_sorted = |key: &Arc<dyn PhysicalExpr>| sorts.iter().any(|sort| sort.expr.eq(key));
        let all_are_sorted = windows(node.as_ref()).iter().all(|window| {
            window.partition_by().iter().all(is_sorted) && window.order_by().iter().all(|sort| is_sorted(&sort.expr))
        });
        if !all_are_sorted {
            found = Some("a window has a key that is constant or equal to another one".to_string());
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { boundary_or_continue(node) })
    });
    found.or_else(|| walked.err().map(|error| error.to_string()))
}

fn boundary_or_continue(node: &Arc<dyn ExecutionPlan>) -> TreeNodeRecursion {
    use datafusion_distributed::NetworkBoundaryExt;
    if node.is_network_boundary() { TreeNodeRecursion::Jump } else { TreeNodeRecursion::Continue }
}

/// The ranges of each file that `plans` read together, with adjacent ones joined; a range read twice stays visible.
fn ranges(plans: &[Arc<dyn ExecutionPlan>]) -> HashMap<String, Vec<(i64, i64)>> {
    let mut all: HashMap<String, Vec<(i64, i64)>> = HashMap::new();
    for scan in plans.iter().filter_map(|plan| file_scan(plan.as_ref())) {
        for file in scan.file_groups.iter().flat_map(FileGroup::iter) {
            let size = i64::try_from(file.object_meta.size).unwrap_or(i64::MAX);
            let range = file.range.as_ref().map_or((0, size), |range| (range.start, range.end));
            all.entry(file.object_meta.location.to_string()).or_default().push(range);
        }
    }
    for ranges in all.values_mut() {
        ranges.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for (start, end) in ranges.drain(..) {
            match joined.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => joined.push((start, end)),
            }
        }
        *ranges = joined;
    }
    all
}

fn round_trip_obstacle(graph: &StageGraph, stage: &StagePlan, context: &Arc<TaskContext>) -> Option<String> {
    let plan = match graph.task_plan(TaskId { stage: stage.id, index: 0 }) {
        Ok(plan) => plan,
        Err(error) => return Some(error.message),
    };
    let checked = std::panic::catch_unwind(AssertUnwindSafe(|| round_trip(&plan, context)));
    match checked {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(reason),
        Err(_) => Some("the plan cannot be built again from its bytes".into()),
    }
}

fn round_trip(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<(), String> {
    let bytes = encode_plan(Arc::clone(plan), context).map_err(|e| format!("the plan cannot be encoded: {}", e.message))?;
    let decoded = decode_plan(&bytes, context).map_err(|e| format!("the plan cannot be decoded: {}", e.message))?;
    let (sent, got) = (shape(plan), shape(&decoded));
    if sent != got {
        tracing::debug!(%sent, %got, "a plan changes on its way to a worker");
        return Err("the plan changes on its way to a worker".into());
    }
    if plan.schema() != decoded.schema() {
        return Err("the plan's schema changes on its way to a worker".into());
    }
    rebuild(decoded).map_err(|e| format!("the plan cannot be built again: {e}"))?;
    Ok(())
}

/// Rebuilds every node from its children, as optimizer rules and decoders do; asserts what each node requires.
fn rebuild(plan: Arc<dyn ExecutionPlan>) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    let children =
        plan.children().into_iter().map(|child| rebuild(Arc::clone(child))).collect::<datafusion::common::Result<Vec<_>>>()?;
    if children.is_empty() {
        return Ok(plan);
    }
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// The plan as text with everything that says what it computes.
fn shape(plan: &Arc<dyn ExecutionPlan>) -> String {
    let mut lines = String::new();
    write_shape(plan, 0, &mut lines);
    lines
}

fn write_shape(node: &Arc<dyn ExecutionPlan>, depth: usize, lines: &mut String) {
    let line = displayable(node.as_ref()).set_show_schema(true).one_line().to_string();
    let _ = writeln!(lines, "{:depth$}{}", "", without_hints(line.trim_end()));
    for window in windows(node.as_ref()) {
        let _ = writeln!(lines, "{:depth$}{:?}", "", flags_of(&format!("{window:?}")));
    }
    for child in node.children() {
        let child = if node.is::<UnionExec>() || node.is::<InterleaveExec>() { without_coercion(child) } else { child };
        write_shape(child, depth + 1, lines);
    }
}

/// What a window says only to people who look for defects, and loses on its way to a worker: FILTER, IGNORE NULLS, and that it goes
/// through its rows from the end.
fn flags_of(window: &str) -> [usize; 3] {
    ["filter: Some(", "ignore_nulls: true", "is_reversed: true"].map(|flag| window.matches(flag).count())
}

/// What is below a projection that leaves every column as it is. A decoded UNION has them over inputs of which a column is never NULL
/// where that of another one is; the optimizer had put them into scans.
fn without_coercion(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return plan };
    let schema = projection.input().schema();
    let is_same = |(index, one): (usize, &ProjectionExpr)| {
        let expression = match one.expr.downcast_ref::<CastExpr>() {
            Some(cast) if cast.cast_type() == schema.field(index).data_type() => cast.expr(),
            _ => &one.expr,
        };
        expression.downcast_ref::<Column>().is_some_and(|column| column.index() == index)
    };
    let is_coercion = projection.expr().len() == schema.fields().len() && projection.expr().iter().enumerate().all(is_same);
    if is_coercion { projection.input() } else { plan }
}

/// A line without what may differ and changes no row: the state of a fresh dynamic filter, in which order a scan visits row groups, and
/// which keys of groups are known to come in order (a task does not know of one that a condition in an earlier stage makes constant), and
/// which columns are known to be never NULL (an expression may say less of it once it was encoded).
fn without_hints(line: &str) -> String {
    let line = cut_brackets(line, "DynamicFilter [");
    let line = cut_brackets(&line, ", sort_order_for_reorder=[");
    let line = line.replace(", ordering_mode=Sorted", "").replace(", reverse_row_groups=true", "");
    let line = match line.split_once(", schema=[") {
        Some((before, schema)) => format!("{before}, schema=[{}", schema.replace(";N", "")),
        None => line,
    };
    match line.split_once(", ordering_mode=PartiallySorted([") {
        Some((before, after)) => format!("{before}{}", after.split_once("])").map_or("", |(_, rest)| rest)),
        None => line,
    }
}

/// `line` without each `opening` and what follows it up to the next `]`.
fn cut_brackets(line: &str, opening: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(opening) {
        out.push_str(&rest[..at]);
        let inside = &rest[at + opening.len()..];
        rest = inside.find(']').map_or("", |end| &inside[end + 1..]);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::empty::EmptyExec;

    #[test]
    fn a_projection_that_changes_nothing_is_left_out() -> datafusion::common::Result<()> {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Utf8, true)]));
        let input: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(schema));
        let column = |name: &str, index| Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>;
        let cast = |to| Arc::new(CastExpr::new(column("a", 0), to, None)) as Arc<dyn PhysicalExpr>;
        let projection =
            |expressions: Vec<(Arc<dyn PhysicalExpr>, String)>| -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
                Ok(Arc::new(ProjectionExec::try_new(expressions, Arc::clone(&input))?))
            };
        for same in [column("a", 0), cast(DataType::Int64)] {
            let plan = projection(vec![(same, "x".into()), (column("b", 1), "b".into())])?;
            assert_eq!(without_coercion(&plan).name(), "EmptyExec");
        }
        let swapped = vec![(column("b", 1), "b".into()), (column("a", 0), "a".into())];
        let converted = vec![(cast(DataType::Int32), "a".into()), (column("b", 1), "b".into())];
        for others in [swapped, converted, vec![(column("a", 0), "a".into())]] {
            assert_eq!(without_coercion(&projection(others)?).name(), "ProjectionExec");
        }
        Ok(())
    }

    #[test]
    fn hints_and_states_of_dynamic_filters_are_left_out() {
        let line = "DataSourceExec: predicate=DynamicFilter [ empty ] AND a > 1, sort_order_for_reorder=[a@0 ASC], x=[b]";
        assert_eq!(without_hints(line), "DataSourceExec: predicate= AND a > 1, x=[b]");
        assert_eq!(without_hints("Plain: [a]"), "Plain: [a]");
        let line = "AggregateExec: mode=Partial, gby=[a@0 as a], aggr=[f(b)], ordering_mode=PartiallySorted([0, 1]), schema=[f(b):Int64;N]";
        assert_eq!(without_hints(line), "AggregateExec: mode=Partial, gby=[a@0 as a], aggr=[f(b)], schema=[f(b):Int64]");
        let line = "AggregateExec: mode=Single, gby=[a@0 as a], aggr=[], ordering_mode=Sorted, schema=[a:Int64]";
        assert_eq!(without_hints(line), "AggregateExec: mode=Single, gby=[a@0 as a], aggr=[], schema=[a:Int64]");
    }
}
