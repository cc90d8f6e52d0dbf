//! Reads what the operators of an executed plan measured, in pre-order.

use crate::task::OperatorMetrics;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use std::sync::Arc;

/// Metrics of every operator of `plan`.
pub fn operator_metrics(plan: &Arc<dyn ExecutionPlan>) -> Vec<OperatorMetrics> {
    let mut all = Vec::new();
    collect(plan, 0, &mut all);
    all
}

fn collect(plan: &Arc<dyn ExecutionPlan>, depth: u32, all: &mut Vec<OperatorMetrics>) {
    let metrics = plan.metrics().unwrap_or_default();
    all.push(OperatorMetrics {
        display: displayable(plan.as_ref()).one_line().to_string().trim_end().to_string(),
        depth,
        rows: metrics.output_rows().unwrap_or(0) as u64,
        bytes: bytes(&metrics),
        compute_ns: metrics.elapsed_compute().unwrap_or(0) as u64,
        spilled_bytes: metrics.spilled_bytes().unwrap_or(0) as u64,
    });
    for child in plan.children() {
        collect(child, depth + 1, all);
    }
}

/// Bytes that a scan read, or that an operator says it gave.
fn bytes(metrics: &MetricsSet) -> u64 {
    metrics.sum_by_name("bytes_scanned").map(|value| value.as_usize() as u64).unwrap_or_else(|| {
        let given = metrics.sum(|metric| matches!(metric.value(), MetricValue::OutputBytes(_)));
        given.map_or(0, |value| value.as_usize() as u64)
    })
}
