//! Queries whose rows are put together and compared with the row outside by more than equations.
//!
//! ```text
//! SELECT (SELECT sum(u.n) FROM u WHERE u.day <= t.day) FROM t
//!      ─► SELECT (SELECT sum(u.n) FROM u, (SELECT DISTINCT day FROM t) o WHERE u.day <= o.day AND o.day = t.day) FROM t
//! ```
//!
//! The optimizer puts the rows of an aggregate together by what is equal to the row outside. So the values of the rows outside become a
//! relation inside, which is compared with as the query says, and is equal to them. Queries further inside that refer to the row outside
//! refer to that relation, too.

use super::correlated::{Kind, holds, is_equation};
use crate::dialect::operators::own;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, TableReference};
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Projection, Sort, Subquery, SubqueryAlias, Window, lit,
    when,
};
use std::collections::HashSet;
use std::sync::Arc;

/// What the names of relations of values outside start with.
const OUTSIDE: &str = "owlet_outside_";

/// `query` with conditions on the row outside that are equations, over the rows outside that one of `inputs` has; as it is where none
/// will do.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn with_values_outside(query: Subquery, inputs: &[LogicalPlan]) -> Result<Subquery> {
    let plan = Arc::unwrap_or_clone(Arc::clone(&query.subquery)).transform_down(|node| match node {
        LogicalPlan::Filter(filter) => match joined(&filter, inputs)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(LogicalPlan::Filter(filter))),
        },
        LogicalPlan::Subquery(_) => Ok(Transformed::new(node, false, TreeNodeRecursion::Jump)),
        node => Ok(Transformed::no(node)),
    })?;
    if !plan.transformed {
        return Ok(query);
    }
    let plan = plan.data.recompute_schema()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, ..query })
}

/// The part of `plan` that has all rows with `columns`, perhaps more; none if it has them not.
fn with_all<'a>(plan: &'a LogicalPlan, columns: &[Column]) -> Result<Option<&'a LogicalPlan>> {
    if !columns.iter().all(|column| plan.schema().has_column(column)) {
        return Ok(None);
    }
    match plan {
        LogicalPlan::Window(Window { input, .. })
        | LogicalPlan::Sort(Sort { input, .. })
        | LogicalPlan::Limit(Limit { input, .. }) => with_all(input, columns),
        plan => Ok((is_repeatable(plan)? || is_numbered(plan)?).then_some(plan)),
    }
}

/// Whether `plan` numbers rows that are the same each time: which row has which number is not, but the numbers are.
fn is_numbered(plan: &LogicalPlan) -> Result<bool> {
    const NUMBERS: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];
    match plan {
        LogicalPlan::Projection(Projection { input, expr, .. }) if !expr.iter().any(Expr::is_volatile) => is_numbered(input),
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => is_numbered(input),
        LogicalPlan::Window(Window { input, window_expr, .. }) => {
            let numbers = |expression: &Expr| matches!(expression.clone().unalias(), Expr::WindowFunction(window) if NUMBERS.contains(&window.fun.name()));
            Ok(window_expr.iter().all(numbers) && (is_repeatable(input)? || is_numbered(input)?))
        }
        _ => Ok(false),
    }
}

/// Whether a query within `plan` refers to a row that is further outside than its own.
///
/// # Errors
/// None for plans that the planner made.
pub(super) fn goes_further(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        let schema = merge_schema(&node.inputs());
        let mut found = false;
        node.apply_expressions(|part| {
            found |= !further(part, &schema)?.is_empty();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    })
}

/// The columns that queries within `part` refer to, and neither `schema` nor they have: of a row further outside.
fn further(part: &Expr, schema: &DFSchema) -> Result<Vec<Column>> {
    let (mut found, mut own) = (Vec::new(), Vec::new());
    part.apply(|inner| {
        if let Some((query, _)) = Kind::of(inner) {
            query.subquery.apply_with_subqueries(|node| {
                own.push(Arc::clone(node.schema()));
                node.apply_expressions(|expression| {
                    expression.apply(|inner| {
                        if let Expr::OuterReferenceColumn(_, column) = inner {
                            found.push(column.clone());
                        }
                        Ok(TreeNodeRecursion::Continue)
                    })
                })
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    found.retain(|column| !schema.has_column(column) && !own.iter().any(|schema| schema.has_column(column)));
    Ok(found)
}

/// `part` with the columns of the row outside as those of the relation; queries within refer to the relation.
fn inside(part: Expr, columns: &[Column], relation: &TableReference, schema: &DFSchema) -> Result<Expr> {
    let number = |column: &Column| columns.iter().position(|known| known == column);
    let value = |number: usize| named(relation, "value", number);
    let replaced = part.transform(|inner| {
        if let Some((query, _)) = Kind::of(&inner) {
            let plan = query.subquery.as_ref().clone().transform_up_with_subqueries(|node| {
                node.map_expressions(|expression| {
                    expression.transform(|inner| match inner {
                        Expr::OuterReferenceColumn(field, column) if !schema.has_column(&column) => {
                            let column = number(&column).map_or(column, &value);
                            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
                        }
                        inner => Ok(Transformed::no(inner)),
                    })
                })
            })?;
            let outer_ref_columns = plan.data.all_out_ref_exprs();
            let query = Subquery { subquery: Arc::new(plan.data), outer_ref_columns, ..query.clone() };
            return Ok(Transformed::new(Kind::with(inner, query), true, TreeNodeRecursion::Jump));
        }
        Ok(match &inner {
            Expr::OuterReferenceColumn(_, column) => match number(column) {
                Some(number) => Transformed::yes(Expr::Column(value(number))),
                None => Transformed::no(inner),
            },
            _ => Transformed::no(inner),
        })
    })?;
    Ok(replaced.data)
}

/// The rows of `filter` beside the values outside that they are for; none if its conditions are equations already.
fn joined(filter: &Filter, inputs: &[LogicalPlan]) -> Result<Option<LogicalPlan>> {
    let schema = filter.input.schema();
    let (mut columns, mut uneven, mut others): (Vec<Column>, Vec<Expr>, Vec<Expr>) = Default::default();
    for part in split_conjunction_owned(filter.predicate.clone()) {
        let mut found = further(&part, schema)?;
        let is_known = |column: &Column| inputs.iter().any(|input| input.schema().has_column(column));
        found.retain(is_known);
        let is_of_others =
            part.exists(|inner| Ok(matches!(inner, Expr::OuterReferenceColumn(_, column) if !is_known(column))))?;
        if is_of_others || found.is_empty() && (!part.contains_outer() || is_equation(&part)) {
            others.push(part);
            continue;
        }
        part.apply(|inner| {
            if let Expr::OuterReferenceColumn(_, column) = inner {
                found.push(column.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        for column in found {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        uneven.push(part);
    }
    if columns.is_empty() {
        return Ok(None);
    }
    let mut outside = None;
    for input in inputs {
        outside = outside.or(with_all(input, &columns)?);
    }
    let Some(outside) = outside else { return Ok(None) };
    let values =
        columns.iter().enumerate().map(|(number, column)| Value::of(number, column, outside)).collect::<Option<Vec<_>>>();
    let Some(values) = values else { return Ok(None) };
    let relation = relation_for(filter, inputs)?;
    let (mut projected, mut equations) = (Vec::new(), Vec::new());
    for value in &values {
        projected.extend(value.columns()?);
        equations.extend(value.equations(&relation)?);
    }
    let rows = LogicalPlanBuilder::from(outside.clone()).project(projected)?.distinct()?.alias(relation.clone())?.build()?;
    let uneven = uneven.into_iter().map(|part| inside(part, &columns, &relation, schema)).collect::<Result<Vec<_>>>()?;
    let conditions = others.into_iter().chain(uneven).chain(equations);
    let Some(condition) = conjunction(conditions) else { return Ok(None) };
    let own: Vec<Expr> = filter.input.schema().columns().into_iter().map(Expr::Column).collect();
    let joined = LogicalPlanBuilder::from(Arc::clone(&filter.input)).cross_join(rows)?.filter(condition)?.project(own)?;
    joined.build().map(Some)
}

/// A name for a relation that no other one of its kind has in `filter`, in `inputs` and in the queries within.
fn relation_for(filter: &Filter, inputs: &[LogicalPlan]) -> Result<TableReference> {
    let mut used = HashSet::new();
    let filter = LogicalPlan::Filter(filter.clone());
    for plan in inputs.iter().chain([&filter]) {
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::SubqueryAlias(alias) = node {
                used.insert(alias.alias.table().to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let free = (0..).map(|number| format!("{OUTSIDE}{number}")).find(|name| !used.contains(name));
    Ok(TableReference::bare(free.unwrap_or_default()))
}

fn named(relation: &TableReference, what: &str, number: usize) -> Column {
    Column::new(Some(relation.clone()), format!("{what}{number}"))
}

/// A column of the rows outside.
struct Value {
    number: usize,
    column: Column,
    outer: Expr,
    /// The function that gives the bits of it, for doubles and reals: their `=` is not that of the values.
    bits: Option<&'static str>,
    /// What stands for NULL in the equation.
    default: Option<ScalarValue>,
}

impl Value {
    /// None for one that is not in `outside`, or of a type whose `=` is more than that of the values.
    fn of(number: usize, column: &Column, outside: &LogicalPlan) -> Option<Self> {
        let (qualifier, field) = outside.schema().qualified_field_from_column(column).ok()?;
        let kind = field.data_type();
        let is_plain = kind.is_integer()
            || matches!(
                kind,
                DataType::Boolean
                    | DataType::Float32
                    | DataType::Float64
                    | DataType::Decimal128(..)
                    | DataType::Date32
                    | DataType::Timestamp(..)
                    | DataType::Utf8
                    | DataType::Utf8View
            );
        if !is_plain || !field.metadata().is_empty() {
            return None;
        }
        let bits = match kind {
            DataType::Float64 => Some("to_ieee754_64"),
            DataType::Float32 => Some("to_ieee754_32"),
            _ => None,
        };
        let default = if bits.is_some() { Ok(ScalarValue::Binary(Some(Vec::new()))) } else { ScalarValue::new_default(kind) };
        let default = Some(default.ok()?).filter(|_| field.is_nullable());
        let column = Column::new(qualifier.cloned(), field.name());
        let outer = Expr::OuterReferenceColumn(Arc::clone(field), column.clone());
        Some(Self { number, column, outer, bits, default })
    }

    /// What `value` is in the equation.
    fn key(&self, value: &Expr) -> Result<Expr> {
        let key = match self.bits {
            Some(bits) => own(bits, vec![value.clone()])?,
            None => value.clone(),
        };
        match &self.default {
            Some(default) => when(value.clone().is_null(), lit(default.clone())).otherwise(key),
            None => Ok(key),
        }
    }

    fn columns(&self) -> Result<Vec<Expr>> {
        let value = Expr::Column(self.column.clone());
        let named = |expression: Expr, what: &str| expression.alias(format!("{what}{}", self.number));
        let mut columns = vec![named(value.clone(), "value"), named(self.key(&value)?, "key")];
        columns.extend(self.default.is_some().then(|| named(value.is_null(), "null")));
        Ok(columns)
    }

    fn equations(&self, relation: &TableReference) -> Result<Vec<Expr>> {
        let mut equations = vec![Expr::Column(named(relation, "key", self.number)).eq(self.key(&self.outer)?)];
        equations.extend(
            self.default.is_some().then(|| Expr::Column(named(relation, "null", self.number)).eq(self.outer.clone().is_null())),
        );
        Ok(equations)
    }
}

/// Whether two evaluations of `plan` give the same rows.
fn is_repeatable(plan: &LogicalPlan) -> Result<bool> {
    let mut is_repeatable = !holds(plan)?;
    plan.apply_with_subqueries(|node| {
        is_repeatable &= match node {
            LogicalPlan::TableScan(_)
            | LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::EmptyRelation(_) => true,
            // Sums of doubles and first elements depend on the order of rows.
            LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.iter().all(|function| {
                let kind = function.to_field(aggregate.input.schema()).map(|(_, field)| field.data_type().clone());
                let is_exact = kind.is_ok_and(|kind| !kind.is_floating());
                matches!(function.clone().unalias(), Expr::AggregateFunction(call) if match call.func.name() {
                    "count" | "min" | "max" => true,
                    "sum" => is_exact,
                    _ => false,
                })
            }),
            _ => false,
        };
        node.apply_expressions(|expression| {
            is_repeatable &= !expression.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if is_repeatable { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(is_repeatable)
}
