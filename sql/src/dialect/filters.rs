//! Rules of the optimizer: filters stay above aggregates that give a row where they are given none, and say nothing of a column that is
//! equal to what is made of it; what is compared by bits has one zero.

use super::floats;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, Filter, GroupingSet, Join, LogicalPlan, Operator, TableScan, lit};
use datafusion::optimizer::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use std::sync::Arc;

/// DataFusion's rules of optimization, of which one knows what a filter must not pass.
pub(super) fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    for rule in &mut rules {
        if rule.name() == PushDownFilter::new().name() {
            *rule = Arc::new(FiltersDown(PushDownFilter::new()));
        }
    }
    rules.push(Arc::new(EqualToItself));
    rules.push(Arc::new(OneOfEquals));
    rules
}

/// Gives floating-point numbers one zero and one NaN where they are compared by bits, once queries inside of a query are joins, and DISTINCT
/// is a group: conditions on a column of groups have gone below by then, and choose files by it.
#[derive(Debug)]
struct OneOfEquals;

impl OptimizerRule for OneOfEquals {
    fn name(&self) -> &'static str {
        "owlet_one_of_equals"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        Ok(floats::with_one_of_equals(plan))
    }
}

/// `lower(s) = s` becomes `(lower(s) = s) IS TRUE`: taken for an equality of two columns, it puts `lower(s)` for each `s` of the
/// orders of rows, and a window by `s` finds its rows in no order then.
#[derive(Debug)]
struct EqualToItself;

impl OptimizerRule for EqualToItself {
    fn name(&self) -> &'static str {
        "owlet_equal_to_itself"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        Ok(match plan {
            LogicalPlan::Filter(filter) if is_found(std::slice::from_ref(&filter.predicate)) => {
                let predicate = without_equality(filter.predicate);
                Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?))
            }
            LogicalPlan::Join(join) if is_found(join.filter.as_slice()) => {
                Transformed::yes(LogicalPlan::Join(Join { filter: join.filter.map(without_equality), ..join }))
            }
            LogicalPlan::TableScan(scan) if is_found(&scan.filters) => {
                let filters = scan.filters.into_iter().map(without_equality).collect();
                Transformed::yes(LogicalPlan::TableScan(TableScan { filters, ..scan }))
            }
            plan => Transformed::no(plan),
        })
    }
}

fn is_found(conditions: &[Expr]) -> bool {
    conditions.iter().flat_map(split_conjunction).any(is_equal_to_itself)
}

fn without_equality(condition: Expr) -> Expr {
    let changed = |one: Expr| if is_equal_to_itself(&one) { one.is_true() } else { one };
    let all = split_conjunction_owned(condition).into_iter().map(changed);
    conjunction(all).unwrap_or_else(|| lit(true))
}

/// Whether `condition` compares a column with an expression over it.
fn is_equal_to_itself(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return false };
    let within = |column: &Expr, other: &Expr| match (column, other) {
        (Expr::Column(_), Expr::Column(_)) => false,
        (Expr::Column(column), other) => other.column_refs().contains(column),
        _ => false,
    };
    within(left, right) || within(right, left)
}

/// DataFusion's rule takes a condition without columns for one over keys of groups, and `count(*)` of nothing is a row.
#[derive(Debug)]
struct FiltersDown(PushDownFilter);

impl OptimizerRule for FiltersDown {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut below = &plan;
        // The rule puts filters upon filters together, and goes on with what comes of it.
        while let LogicalPlan::Filter(filter) = below {
            below = &filter.input;
        }
        match below {
            LogicalPlan::Aggregate(aggregate) if matches!(plan, LogicalPlan::Filter(_)) && has_total(aggregate) => {
                Ok(Transformed::no(plan))
            }
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// Whether `aggregate` has a row over all rows, also where there are none.
pub(crate) fn has_total(aggregate: &Aggregate) -> bool {
    match aggregate.group_expr.as_slice() {
        [] => true,
        // None of its keys are columns to the rule either.
        groups => groups.iter().any(|group| {
            matches!(group, Expr::GroupingSet(GroupingSet::Rollup(_) | GroupingSet::Cube(_) | GroupingSet::GroupingSets(_)))
        }),
    }
}
