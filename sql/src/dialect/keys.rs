//! What rows are sorted by, and what windows are divided by.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Sort, WindowFrame, WindowFrameBound,
    WindowFrameUnits,
};
use std::sync::Arc;

/// What the columns of such keys are called.
const KEY: &str = "owlet_key_";

/// `node` with those of its keys as columns below it that the engine cannot evaluate again above: `rand()`, of which each row has one value;
/// lambdas, whose variables have other places in each input; and comparisons and CASE, of which it does not find out that rows are in
/// their order, where one side is a function.
pub(super) fn below(node: LogicalPlan) -> Result<LogicalPlan> {
    let mut keys = Keys::default();
    match &node {
        LogicalPlan::Sort(sort) => {
            let mut order = sort.expr.clone();
            for key in &mut order {
                keys.take(&mut key.expr)?;
            }
            let Some(input) = keys.input(&sort.input)? else { return Ok(node) };
            let sorted = LogicalPlan::Sort(Sort { expr: order, input: Arc::new(input), fetch: sort.fetch });
            LogicalPlanBuilder::from(sorted).project(columns(&node))?.build()
        }
        LogicalPlan::Window(window) => {
            let mut functions = window.window_expr.clone();
            for function in &mut functions {
                keys.take_named(function, |call| match call {
                    Expr::WindowFunction(call) => {
                        let orders = call.params.order_by.iter_mut().map(|order| &mut order.expr);
                        call.params.partition_by.iter_mut().chain(orders).collect()
                    }
                    _ => Vec::new(),
                })?;
            }
            let Some(input) = keys.input(&window.input)? else { return Ok(node) };
            LogicalPlanBuilder::from(input).window(functions)?.project(columns(&node))?.build()
        }
        LogicalPlan::Aggregate(aggregate) => {
            let mut functions = aggregate.aggr_expr.clone();
            for function in &mut functions {
                keys.take_named(function, |call| match call {
                    Expr::AggregateFunction(call) if !call.params.distinct => {
                        call.params.order_by.iter_mut().map(|order| &mut order.expr).collect()
                    }
                    _ => Vec::new(),
                })?;
            }
            let Some(input) = keys.input(&aggregate.input)? else { return Ok(node) };
            let groups = aggregate.group_expr.clone();
            Aggregate::try_new(Arc::new(input), groups, functions).map(LogicalPlan::Aggregate)
        }
        _ => Ok(node),
    }
}

fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().columns().into_iter().map(Expr::Column).collect()
}

/// The keys that become columns.
#[derive(Default)]
struct Keys(Vec<Expr>);

impl Keys {
    /// Puts the column in the place of `key`, if it becomes one; whether it does.
    fn take(&mut self, key: &mut Expr) -> Result<bool> {
        if !is_evaluated_once(key)? {
            return Ok(false);
        }
        let place = self.0.iter().position(|known| known == key).unwrap_or_else(|| {
            self.0.push(key.clone());
            self.0.len() - 1
        });
        *key = Expr::Column(Column::from_name(format!("{KEY}{place}")));
        Ok(true)
    }

    /// The same with those keys of the call of `function` that `of` gives; its column keeps its name.
    fn take_named(&mut self, function: &mut Expr, of: impl Fn(&mut Expr) -> Vec<&mut Expr>) -> Result<()> {
        let name = function.schema_name().to_string();
        let mut changed = false;
        for key in of(unaliased(function)) {
            changed |= self.take(key)?;
        }
        if changed && !matches!(function, Expr::Alias(_)) {
            *function = std::mem::take(function).alias(name);
        }
        Ok(())
    }

    /// `input` with the keys behind its columns; none when there are no such.
    fn input(self, input: &Arc<LogicalPlan>) -> Result<Option<LogicalPlan>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let named = self.0.into_iter().enumerate().map(|(place, key)| key.alias(format!("{KEY}{place}")));
        LogicalPlanBuilder::from(Arc::clone(input)).project(columns(input).into_iter().chain(named))?.build().map(Some)
    }
}

fn unaliased(expression: &mut Expr) -> &mut Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&mut alias.expr),
        other => other,
    }
}

/// Whether the engine may not find the rows in the order of `key`, or gives it other values, when it evaluates it again.
fn is_evaluated_once(key: &Expr) -> Result<bool> {
    let is_plain = |side: &Expr| matches!(side, Expr::Column(_) | Expr::Literal(..));
    let is_told = |part: &Expr| match part {
        Expr::Lambda(_) | Expr::Case(_) => true,
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
            let is_compared = matches!(op, And | Or | Eq | NotEq | Gt | GtEq | Lt | LtEq | IsDistinctFrom | IsNotDistinctFrom);
            is_compared && !(is_plain(left) && is_plain(right))
        }
        Expr::Negative(inner) => !is_plain(inner),
        Expr::Between(between) => !is_plain(&between.expr),
        _ => false,
    };
    Ok(key.is_volatile() || key.exists(|part| Ok(is_told(part)))?)
}

/// A call with a frame of peers, where its frame by values has no distance and the engine has none for values of that type.
pub(super) fn with_frame_of_peers(mut call: Box<WindowFunction>, schema: &DFSchema) -> Box<WindowFunction> {
    let has_no_distance = |of: DataType| {
        matches!(
            of,
            DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) | DataType::Interval(_) | DataType::Struct(_)
        )
    };
    let frame = &call.params.window_frame;
    let is_of_values = frame.units == WindowFrameUnits::Range
        && !is_distance(frame.start_bound.clone())
        && !is_distance(frame.end_bound.clone());
    if is_of_values && call.params.order_by.iter().any(|order| order.expr.get_type(schema).is_ok_and(has_no_distance)) {
        call.params.window_frame =
            WindowFrame::new_bounds(WindowFrameUnits::Groups, frame.start_bound.clone(), frame.end_bound.clone());
    }
    call
}

fn is_distance(bound: WindowFrameBound) -> bool {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    match bound {
        CurrentRow => false,
        Preceding(distance) | Following(distance) => !distance.is_null(),
    }
}
