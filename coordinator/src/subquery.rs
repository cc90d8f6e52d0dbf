//! Uncorrelated scalar subqueries: run first, each as a query of its own, then put into the plan as values.
//!
//! The distributed planner would turn them into joins, which drop the error of a subquery that gives more than one row.

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use engine::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Most scalar subqueries of one query.
const MAX_SUBQUERIES: usize = 256;

/// The first subquery, in evaluation order, that holds no other uncorrelated scalar subquery; none when the plan has none.
///
/// # Errors
/// When the plan cannot be walked; not for a plan that the planner made.
pub(crate) fn next_subquery(plan: &LogicalPlan) -> Result<Option<Arc<LogicalPlan>>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                if let Expr::ScalarSubquery(subquery) = expression
                    && subquery.outer_ref_columns.is_empty()
                {
                    found = Some(Arc::clone(&subquery.subquery));
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match found {
        Some(subquery) => Ok(Some(next_subquery(&subquery)?.unwrap_or(subquery))),
        None => Ok(None),
    }
}

/// Values of subqueries, by their plans; equal subqueries run once.
#[derive(Default, Debug)]
pub(crate) struct SubqueryValues {
    values: HashMap<LogicalPlan, Expr>,
}

impl SubqueryValues {
    /// Remembers what `subquery` is worth.
    ///
    /// # Errors
    /// [`engine::ErrorKind::LimitExceeded`] for too many.
    pub(crate) fn insert(&mut self, subquery: &LogicalPlan, value: Expr) -> Result<()> {
        if self.values.len() >= MAX_SUBQUERIES {
            let message = format!("the query has more than {MAX_SUBQUERIES} scalar subqueries");
            return Err(Error::new(engine::ErrorKind::LimitExceeded, message));
        }
        self.values.insert(subquery.clone(), value);
        Ok(())
    }

    /// `plan` with the known subqueries replaced, its column names unchanged.
    ///
    /// # Errors
    /// When a rewritten node is not valid; not for values of the subquery's type.
    pub(crate) fn replace_in(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        map_subqueries(plan, |subquery| self.values.get(subquery).cloned())
    }
}

/// `plan` with each uncorrelated scalar subquery for which `value` gives an expression replaced by it; columns keep their names.
///
/// # Errors
/// When a rewritten node is not valid; not for expressions of the subquery's type.
pub(crate) fn map_subqueries(plan: LogicalPlan, mut value: impl FnMut(&LogicalPlan) -> Option<Expr>) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expression| {
            let name = names.save(&expression);
            let rewritten = expression.transform_up(|expression| match &expression {
                Expr::ScalarSubquery(Subquery { subquery, outer_ref_columns, .. }) if outer_ref_columns.is_empty() => {
                    Ok(value(subquery).map_or_else(|| Transformed::no(expression), Transformed::yes))
                }
                _ => Ok(Transformed::no(expression)),
            })?;
            Ok(rewritten.update_data(|expression| name.restore(expression)))
        })?;
        node.map_data(|node| node.recompute_schema())
    })?;
    Ok(rewritten.data)
}

/// The value of a scalar subquery's rows: NULL for none.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] for more than one row, with DataFusion's own words for it.
pub(crate) fn scalar_value(batches: &[RecordBatch], plan: &LogicalPlan) -> Result<ScalarValue> {
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    if rows > 1 {
        return Err(Error::invalid("Scalar subquery returned more than one row"));
    }
    let field = plan.schema().fields().first().ok_or_else(|| Error::invalid("a scalar subquery without a column"))?;
    let value = match batches.iter().find(|batch| batch.num_rows() == 1) {
        Some(batch) => ScalarValue::try_from_array(batch.column(0), 0),
        None => ScalarValue::try_from(field.data_type()),
    };
    value.map_err(|e: DataFusionError| Error::from(e))
}
