//! Rules of the optimizer: filters stay above aggregates that give a row where they are given none, and say nothing of a column that is
//! equal to what is made of it; what is compared by bits has one zero.

use super::{floats, with_schema_again};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, Filter, GroupingSet, Join, LogicalPlan, Operator, TableScan, lit};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use std::sync::Arc;

/// DataFusion's rules of optimization, of which one knows what a filter must not pass.
pub(super) fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    for rule in &mut rules {
        if rule.name() == PushDownFilter::new().name() {
            *rule = Arc::new(FiltersDown(PushDownFilter::new()));
        } else if rule.name() == EliminateCrossJoin::new().name() {
            *rule = Arc::new(CrossJoins(EliminateCrossJoin::new()));
        } else if FIELDS_DOWN.contains(&rule.name()) {
            *rule = Arc::new(UnlessItFails(Arc::clone(rule)));
        }
    }
    rules.push(Arc::new(EqualToItself));
    rules.push(Arc::new(OneOfEquals));
    rules
}

/// The rules that bring fields of rows down to where files are read: they make projections of what has the same name twice where a column
/// is renamed to the name that it has in its table, as below a view.
const FIELDS_DOWN: [&str; 2] = ["extract_leaf_expressions", "push_down_leaf_projections"];

/// A rule that makes plans better, and leaves those alone that it fails for.
#[derive(Debug)]
struct UnlessItFails(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for UnlessItFails {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        self.0.rewrite(plan.clone(), config).or_else(|_| Ok(Transformed::no(plan)))
    }
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

/// DataFusion's rule puts inner joins in another order, and takes `IS NOT DISTINCT FROM` for `=` when it does.
#[derive(Debug)]
struct CrossJoins(EliminateCrossJoin);

impl OptimizerRule for CrossJoins {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !plan.exists(|node| Ok(joins_nulls(node)))? {
            return self.0.rewrite(plan, config);
        }
        // The rule looks at inner joins alone; no other LEFT JOIN is aware of NULLs.
        let hidden = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) if joins_nulls_of(&join) => {
                Ok(Transformed::yes(LogicalPlan::Join(Join { join_type: JoinType::Left, null_aware: true, ..join })))
            }
            node => Ok(Transformed::no(node)),
        })?;
        let rewritten = self.0.rewrite(hidden.data, config)?;
        rewritten.transform_data(|plan| {
            let shown = plan.transform_up_with_subqueries(|node| {
                let node = match node {
                    LogicalPlan::Join(join) if join.join_type == JoinType::Left && join.null_aware => {
                        LogicalPlan::Join(Join { join_type: JoinType::Inner, null_aware: false, ..join })
                    }
                    node => node,
                };
                Ok(Transformed::yes(with_schema_again(node)?))
            })?;
            Ok(Transformed::no(shown.data))
        })
    }
}

fn joins_nulls(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Join(join) if joins_nulls_of(join))
}

fn joins_nulls_of(join: &Join) -> bool {
    join.join_type == JoinType::Inner && join.null_equality == NullEquality::NullEqualsNull
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
