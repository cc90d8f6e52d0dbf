//! Draws plans: stages as nested boxes, with estimates before a run and measurements after it.

use crate::dispatch::StageMetrics;
use crate::graph::{ExchangeKind, Input, StageGraph};
use crate::plan::Planned;
use crate::receipt::Receipt;
use crate::streams::text_stream;
use crate::subquery::map_subqueries;
use crate::verify::file_scan;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{ColumnarValue, LogicalPlan, ScalarUDF, Volatility, create_udf};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, displayable};
use datafusion_distributed::{DistributedLeafExec, NetworkBoundaryExt};
use engine::Result;
use engine::cost::{LambdaUse, MB_PER_VCPU, PriceTable, S3Use};
use engine::settings::Settings;
use engine::task::OperatorMetrics;
use sql::statement::{ExplainFormat, ExplainOptions, ExplainType};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const COLUMN: &str = "Query Plan";
/// Longer operators are cut: a dynamic filter may print thousands of values.
const MAX_NODE_CHARS: usize = 400;
/// What one vCPU scans in a second, in compressed bytes of projected columns: TPC-H Q1, the slowest scan of the 22
/// queries at scale 1 on DataFusion 55, did 57 MB/s and Q6 149 MB/s on one core.
const SCAN_BYTES_PER_VCPU_SECOND: u64 = 57_000_000;

/// `logical` with each uncorrelated scalar subquery as an opaque value, so that it can be planned without running them,
/// and whether there were any.
pub(crate) fn without_subqueries(logical: LogicalPlan) -> Result<(LogicalPlan, bool)> {
    let mut number = 0;
    let rewritten = map_subqueries(logical, |subquery| {
        number += 1;
        Some(opaque(number, subquery.schema().field(0).data_type().clone()).call(vec![]))
    })?;
    Ok((rewritten, number > 0))
}

fn opaque(number: usize, kind: DataType) -> ScalarUDF {
    let never = |_: &[ColumnarValue]| exec_err!("a subquery of EXPLAIN is not run");
    create_udf(&format!("scalar_subquery_{number}"), vec![], kind, Volatility::Volatile, Arc::new(never))
}

/// What can be said of `logical` before it is planned for its place; none for the usual `EXPLAIN`.
///
/// # Errors
/// What is wrong with the query, for `TYPE VALIDATE`.
pub(crate) fn logical(
    logical: &LogicalPlan,
    session: &SessionState,
    options: ExplainOptions,
) -> Result<Option<SendableRecordBatchStream>> {
    let text = match (options.of, options.format) {
        (ExplainType::Distributed, ExplainFormat::Text) => return Ok(None),
        (ExplainType::Validate, _) => {
            session.optimize(logical)?;
            return text_stream("Valid", vec!["true".into()]).map(Some);
        }
        (ExplainType::Io, _) => io(logical)?,
        (_, ExplainFormat::Json) => session.optimize(logical)?.display_pg_json().to_string(),
        (_, ExplainFormat::Graphviz) => session.optimize(logical)?.display_graphviz().to_string(),
        (ExplainType::Logical, ExplainFormat::Text) => session.optimize(logical)?.display_indent().to_string(),
    };
    text_stream(COLUMN, text.lines().map(str::to_string).collect()).map(Some)
}

/// The tables that `logical` reads, as JSON.
fn io(logical: &LogicalPlan) -> Result<String> {
    let mut tables = BTreeSet::new();
    logical.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.insert(scan.table_name.to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let tables: Vec<_> = tables.into_iter().map(|table| serde_json::json!({ "table": table })).collect();
    let shown = serde_json::json!({ "inputTableColumnInfos": tables });
    serde_json::to_string_pretty(&shown).map_err(|e| engine::Error::internal(e.to_string()))
}

/// The plan with estimates, before anything runs.
pub(crate) fn estimate(planned: &Planned, settings: &Settings, scan_bytes: u64) -> Result<SendableRecordBatchStream> {
    let mut lines = Vec::new();
    match planned {
        Planned::Local { plan, reason } => {
            draw_box(&mut lines, 0, "Coordinator: the whole query in one process", &static_nodes(plan));
            if let Some(reason) = reason {
                lines.push(format!("not on workers: {reason}"));
            }
            let partitions = settings.local_partition_count() as u64;
            lines.extend(estimated_cost(&settings.prices, (1, 0), partitions, partitions * MB_PER_VCPU, scan_bytes));
        }
        Planned::Stages(graph) => {
            draw_box(&mut lines, 0, "Coordinator", &static_nodes(&graph.head));
            draw_inputs(&mut lines, graph, &graph.head_inputs, 1, &|stage, header| {
                let plan = graph.stage(stage).map(|stage| static_nodes(&stage.plan)).unwrap_or_default();
                (header, plan)
            });
            let tasks: u64 = graph.stages.iter().map(|stage| u64::from(stage.tasks)).sum();
            let (partitions, memory_mb) = (settings.worker_partitions as u64, settings.worker_memory_mb());
            lines.extend(estimated_cost(&settings.prices, (tasks, graph.stages.len()), partitions, memory_mb, scan_bytes));
        }
    }
    text_stream(COLUMN, lines)
}

/// What `tasks` functions of `partitions` vCPUs would cost to scan `scan_bytes` evenly; what joins and sorts add is not known yet.
fn estimated_cost(
    prices: &PriceTable,
    (tasks, stages): (u64, usize),
    partitions: u64,
    memory_mb: u64,
    scan_bytes: u64,
) -> Vec<String> {
    let cpu = Duration::from_secs_f64(scan_bytes as f64 / SCAN_BYTES_PER_VCPU_SECOND as f64);
    let per_task = cpu / u32::try_from(tasks.max(1) * partitions).unwrap_or(u32::MAX);
    let mut lambda = LambdaUse::default();
    for _ in 0..tasks {
        lambda.add(LambdaUse::invocation(memory_mb, per_task.max(Duration::from_millis(10))));
    }
    // A footer and a column range per split, and an exchange read per task.
    let gets = scan_bytes.div_ceil(engine::storage::MAX_READ_BYTES) + 3 * tasks;
    let price = prices.lambda(lambda) + prices.s3(S3Use { gets, puts: 0 });
    vec![
        format!("estimate: {} of projected columns after pruning; tasks={tasks}, stages={stages}", bytes_text(scan_bytes)),
        format!(
            "estimate: {:.3} GB-s, about {gets} requests, {price} on AWS ({}); Athena {}",
            lambda.gb_seconds(),
            prices.label,
            prices.athena(scan_bytes)
        ),
    ]
}

/// The plan with what each operator measured, summed over tasks.
pub(crate) fn analyzed(
    head: &[OperatorMetrics],
    graph: Option<&StageGraph>,
    metrics: &StageMetrics,
    receipt: &Receipt,
) -> Result<SendableRecordBatchStream> {
    let mut lines = Vec::new();
    let title = if graph.is_some() { "Coordinator" } else { "Coordinator: the whole query in one process" };
    draw_box(&mut lines, 0, title, &measured_nodes(&[head.to_vec()]));
    if let Some(graph) = graph {
        draw_inputs(&mut lines, graph, &graph.head_inputs, 1, &|stage, header| {
            let tasks = metrics.get(&stage).map(Vec::as_slice).unwrap_or_default();
            (header, measured_nodes(tasks))
        });
    }
    if let Some(reason) = &receipt.local_reason {
        lines.push(format!("not on workers: {reason}"));
    }
    lines.push(format!(
        "{} rows in {} ms; scanned {} in {} requests; {} tasks, {} attempts; {:.3} GB-s, {} on AWS; Athena {}",
        receipt.rows,
        receipt.elapsed_ms,
        bytes_text(receipt.data_scanned_bytes),
        receipt.requests.total(),
        receipt.tasks,
        receipt.attempts,
        receipt.gb_seconds,
        receipt.cost_nano_usd,
        receipt.athena_nano_usd
    ));
    text_stream(COLUMN, lines)
}

type Node = (u32, String);

fn draw_inputs(
    lines: &mut Vec<String>,
    graph: &StageGraph,
    inputs: &[Input],
    depth: usize,
    nodes: &dyn Fn(engine::ids::StageId, String) -> (String, Vec<Node>),
) {
    for input in inputs {
        let Ok(stage) = graph.stage(input.stage) else { continue };
        let kind = match input.kind {
            ExchangeKind::Shuffle => "shuffle",
            ExchangeKind::Broadcast => "broadcast",
            ExchangeKind::Coalesce => "coalesce",
        };
        let partitions = match input.kind {
            ExchangeKind::Broadcast => input.partitions as usize,
            _ => stage.plan.output_partitioning().partition_count(),
        };
        let header = format!("Stage {}: tasks={}, output partitions={partitions}, {kind}", stage.id, stage.tasks);
        let (header, nodes_of_stage) = nodes(stage.id, header);
        draw_box(lines, depth, &header, &nodes_of_stage);
        draw_inputs(lines, graph, &stage.inputs, depth + 1, nodes);
    }
}

fn draw_box(lines: &mut Vec<String>, depth: usize, title: &str, nodes: &[Node]) {
    let indent = "  ".repeat(depth);
    lines.push(format!("{indent}┌── {title}"));
    lines.extend(nodes.iter().map(|(level, text)| format!("{indent}│ {}{text}", "  ".repeat(*level as usize))));
    lines.push(format!("{indent}└──"));
}

/// The operators of a plan down to its network nodes.
fn static_nodes(plan: &Arc<dyn ExecutionPlan>) -> Vec<Node> {
    fn walk(plan: &Arc<dyn ExecutionPlan>, depth: u32, nodes: &mut Vec<Node>) {
        nodes.push((depth, describe(plan)));
        if !plan.is_network_boundary() {
            plan.children().into_iter().for_each(|child| walk(child, depth + 1, nodes));
        }
    }
    let mut nodes = Vec::new();
    walk(plan, 0, &mut nodes);
    nodes
}

fn describe(plan: &Arc<dyn ExecutionPlan>) -> String {
    let shown = plan.downcast_ref::<DistributedLeafExec>().map_or(plan, DistributedLeafExec::original);
    let text = displayable(shown.as_ref()).one_line().to_string();
    let files = file_scan(shown.as_ref()).map(|scan| scan.file_groups.iter().map(|group| group.len()).sum::<usize>());
    shorten(text.trim_end(), files)
}

/// Replaces the list of files by their number.
fn shorten(text: &str, files: Option<usize>) -> String {
    let start = text.find("file_groups={");
    let counted = match start.and_then(|start| Some((start, text[start..].find("]]}")?))) {
        Some((start, length)) => {
            let count = files.unwrap_or_else(|| text[start..start + length].matches(", ").count() + 1);
            format!("{}files={count}{}", &text[..start], &text[start + length + 3..])
        }
        None => text.to_string(),
    };
    match counted.char_indices().nth(MAX_NODE_CHARS) {
        Some((end, _)) => format!("{}…", &counted[..end]),
        None => counted,
    }
}

/// Operators summed over tasks; all tasks of a stage have the same operators.
fn measured_nodes(tasks: &[Vec<OperatorMetrics>]) -> Vec<Node> {
    let Some(first) = tasks.first() else { return Vec::new() };
    let of = |(position, operator): (usize, &OperatorMetrics)| {
        let all: Vec<&OperatorMetrics> = tasks.iter().filter_map(|task| task.get(position)).collect();
        let rows = spread(&all, |metrics| metrics.rows, |value| value.to_string());
        let time = spread(&all, |metrics| metrics.compute_ns, |value| format!("{:.1}", value as f64 / 1e6));
        let bytes = spread(&all, |metrics| metrics.bytes, bytes_text);
        let spilled: u64 = all.iter().map(|metrics| metrics.spilled_bytes).sum();
        let spilled = if spilled > 0 { format!(", spilled {}", bytes_text(spilled)) } else { String::new() };
        let text = shorten(&operator.display, None);
        (operator.depth, format!("{text} [rows {rows}, bytes {bytes}, ms {time}{spilled}]"))
    };
    first.iter().enumerate().map(of).collect()
}

/// `sum`, and with several tasks `sum (min/median/max)`.
fn spread(all: &[&OperatorMetrics], value: impl Fn(&OperatorMetrics) -> u64, text: impl Fn(u64) -> String) -> String {
    let mut values: Vec<u64> = all.iter().map(|metrics| value(metrics)).collect();
    values.sort_unstable();
    let sum = text(values.iter().sum());
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(min), Some(median), Some(max)) if values.len() > 1 => {
            format!("{sum} ({}/{}/{})", text(*min), text(*median), text(*max))
        }
        _ => sum,
    }
}

/// Bytes with a decimal unit.
fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_lists_become_counts() {
        let text = "DataSourceExec: file_groups={2 groups: [[a.parquet:0..5], [b.parquet]]}, projection=[x]";
        assert_eq!(shorten(text, Some(2)), "DataSourceExec: files=2, projection=[x]");
        assert_eq!(shorten("FilterExec: a > 1", None), "FilterExec: a > 1");
    }

    #[test]
    fn several_tasks_show_their_spread() {
        let task = |rows| OperatorMetrics { rows, ..OperatorMetrics::default() };
        let tasks = [task(1), task(5), task(3)];
        let all: Vec<&OperatorMetrics> = tasks.iter().collect();
        assert_eq!(spread(&all, |metrics| metrics.rows, |value| value.to_string()), "9 (1/3/5)");
        assert_eq!(spread(&all[..1], |metrics| metrics.rows, |value| value.to_string()), "1");
    }
}
