//! INTERSECT ALL and EXCEPT ALL, which count: the planner's joins ask only whether a row is there.
//!
//! The rows that are the same are numbered on each side, and the number is one more column to join on.

use crate::dialect::with_schema_again;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder};
use std::sync::Arc;

/// The names of the numbers on each side.
const NUMBERS: [&str; 2] = ["owlet_set_left", "owlet_set_right"];

/// `plan`, where no query has become a join yet, with counting set operations.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn with_counts(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        // Without ALL the rows on the left differ already.
        LogicalPlan::Join(join)
            if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
                && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_)) =>
        {
            Ok(Transformed::yes(counted(join)?))
        }
        node => Ok(Transformed::yes(with_schema_again(node)?)),
    })?;
    Ok(rewritten.data)
}

fn counted(join: Join) -> Result<LogicalPlan> {
    let (left, right) = (columns(&join.left), columns(&join.right));
    let [own, other] = NUMBERS;
    let key = |columns: &[Column], number: &str| {
        let number = Column::from_name(number);
        columns.iter().cloned().chain(std::iter::once(number)).collect::<Vec<Column>>()
    };
    let keys = (key(&left, own), key(&right, other));
    let right = numbered(join.right, &right, other)?.build()?;
    numbered(join.left, &left, own)?
        .join_detailed(right, join.join_type, keys, None, NullEquality::NullEqualsNull)?
        .project(left.into_iter().map(Expr::Column))?
        .build()
}

fn columns(plan: &LogicalPlan) -> Vec<Column> {
    plan.schema().columns()
}

/// `plan` with the column `number`, which numbers the rows that are the same.
fn numbered(plan: Arc<LogicalPlan>, columns: &[Column], number: &str) -> Result<LogicalPlanBuilder> {
    let row = row_number().partition_by(columns.iter().cloned().map(Expr::Column).collect()).build()?;
    let name = Column::from_name(row.schema_name().to_string());
    let shown = columns.iter().cloned().map(Expr::Column);
    LogicalPlanBuilder::from(plan).window(vec![row])?.project(shown.chain(std::iter::once(Expr::Column(name).alias(number))))
}
