//! NaN and minus zero, which the engine compares by their bits in some places: Athena's NaN equals nothing, and its zeros are equal.

use super::operators::own;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::functions::math::expr_fn::isnan;
use datafusion::logical_expr::expr::{AggregateFunction, Sort, WindowFunction};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, GroupingSet, LogicalPlan, Operator, Projection, lit};
use engine::functions::equal::{CANONICAL_NAME, canonical_value};

fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float64(Some(value)) => value.is_nan(),
        ScalarValue::Float32(Some(value)) => value.is_nan(),
        _ => false,
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Float64(Some(value)) if *value == 0.0)
        || matches!(value, ScalarValue::Float32(Some(value)) if *value == 0.0)
}

fn is_floating(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|of| of.is_floating())
}

/// Whether an expression over `schema` of type `of` may be NaN, as far as can be said.
pub(super) fn may_be_nan(expression: &Expr, of: &DataType, schema: &DFSchema) -> bool {
    of.is_floating() && !expression.is_volatile() && !is_never_nan(expression, schema)
}

/// Whether `expression` is a number, or NULL, whatever the rows: a subquery that is asked for NaN would run twice.
fn is_never_nan(expression: &Expr, schema: &DFSchema) -> bool {
    match expression {
        Expr::Literal(value, _) => !is_nan(value),
        Expr::Alias(alias) => is_never_nan(&alias.expr, schema),
        Expr::Negative(inner) => is_never_nan(inner, schema),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus | Operator::Minus | Operator::Multiply, right }) => {
            is_finite(left, schema) && is_finite(right, schema)
        }
        Expr::ScalarSubquery(query) => match query.subquery.as_ref() {
            LogicalPlan::Projection(Projection { expr, input, .. }) => {
                expr.iter().all(|expression| is_never_nan(expression, input.schema()))
            }
            _ => false,
        },
        other => is_finite(other, schema),
    }
}

/// Whether `expression` is a number that is not infinite, or NULL: what comes of decimals, whole numbers and literals.
fn is_finite(expression: &Expr, schema: &DFSchema) -> bool {
    match expression {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => value.is_finite(),
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => value.is_finite(),
        Expr::Alias(alias) => is_finite(&alias.expr, schema),
        Expr::Cast(Cast { expr, field }) if field.data_type() == &DataType::Float64 => is_finite(expr, schema),
        other => other.get_type(schema).is_ok_and(|of| of.is_numeric() && !of.is_floating()),
    }
}

/// Whether NaN may be the end of a range that `expression` is compared with.
pub(super) fn may_reach_nan(expression: &Expr, high: &Expr, schema: &DFSchema) -> bool {
    !expression.is_volatile() && high.get_type(schema).is_ok_and(|of| may_be_nan(high, &of, schema))
}

/// Whether `value` is NaN where it is compared with `others`, which have no columns; none where it never is.
///
/// Such comparisons choose which files are read, by statistics that know nothing of NaN.
pub(super) fn nan_question(value: &Expr, others: &[&Expr], schema: &DFSchema) -> Result<Option<Expr>> {
    let Ok(of) = value.get_type(schema) else { return Ok(None) };
    if !value.any_column_refs() || !may_be_nan(value, &of, schema) {
        return Ok(None);
    }
    let mut question = isnan(value.clone());
    for other in others {
        let is_query = other.exists(|part| Ok(matches!(part, Expr::ScalarSubquery(_) | Expr::OuterReferenceColumn(..))))?;
        if is_query || other.any_column_refs() || other.is_volatile() {
            return Ok(None);
        }
        // What is compared with NULL is neither.
        if !matches!(other, Expr::Literal(value, _) if !value.is_null()) {
            question = question.and((*other).clone().is_not_null());
        }
    }
    Ok(Some(question))
}

/// `compared` with what it is for NaN said apart: true for what `is_negative`, and else false.
pub(super) fn with_nan(compared: Expr, question: Option<Expr>, is_negative: bool, changed: bool) -> Transformed<Expr> {
    match question {
        None => Transformed::new_transformed(compared, changed),
        Some(is_nan) if is_negative => Transformed::yes(compared.or(is_nan)),
        Some(is_nan) => Transformed::yes(compared.and(Expr::Not(Box::new(is_nan)))),
    }
}

/// That `value` is not NaN, or what it is compared with is NULL: that is not known, and `NULL AND false` would be false.
pub(super) fn known_beside(value: &Expr, other: &Expr, schema: &DFSchema) -> Expr {
    let known = Expr::Not(Box::new(isnan(value.clone())));
    if other.nullable(schema).unwrap_or(true) { known.or(other.clone().is_null()) } else { known }
}

/// `node` without what [`known_beside`] says of NULL where a condition keeps no row of NULL: a plain condition goes further down.
pub(super) fn without_doubt(node: LogicalPlan) -> LogicalPlan {
    match node {
        LogicalPlan::Filter(mut filter) => {
            filter.predicate = certain(filter.predicate);
            LogicalPlan::Filter(filter)
        }
        LogicalPlan::Join(mut join) => {
            join.filter = join.filter.map(certain);
            LogicalPlan::Join(join)
        }
        node => node,
    }
}

fn certain(condition: Expr) -> Expr {
    let all = split_conjunction_owned(condition);
    let is_compared = |value: &Expr| {
        all.iter().any(|one| match one {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq | Operator::Lt | Operator::LtEq)
                    && (**left == *value || **right == *value)
            }
            _ => false,
        })
    };
    let plain = |one: &Expr| match one {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Not(question), Expr::IsNull(value)) if is_isnan(question) && is_compared(value) => left.as_ref().clone(),
            _ => one.clone(),
        },
        _ => one.clone(),
    };
    conjunction(all.iter().map(plain)).unwrap_or_else(|| lit(true))
}

fn is_isnan(question: &Expr) -> bool {
    matches!(question, Expr::ScalarFunction(call) if call.name() == "isnan")
}

/// Takes those items out of the list of an IN that its way of comparing, by bits, may get wrong.
pub(super) fn compared_apart(first: &Expr, list: &mut Vec<Expr>, schema: &DFSchema) -> Vec<Expr> {
    if first.is_volatile() || !is_floating(first, schema) {
        return Vec::new();
    }
    let by_bits = |item: &mut Expr| match item {
        Expr::Literal(value, _) => is_nan(value) || is_zero(value),
        other => is_floating(other, schema),
    };
    list.extract_if(.., by_bits).collect()
}

fn is_canonical(expression: &Expr) -> bool {
    match expression {
        Expr::Alias(alias) => is_canonical(&alias.expr),
        Expr::ScalarFunction(call) => call.name() == CANONICAL_NAME,
        _ => false,
    }
}

/// Whether equal values of type `of` may have several bit patterns.
fn has_floats(of: &DataType) -> bool {
    match of {
        DataType::List(item) => has_floats(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        of => of.is_floating(),
    }
}

/// `expression` with one zero and one NaN, if it has floating-point numbers.
pub(super) fn one_zero(expression: Expr, schema: &DFSchema) -> Expr {
    let has_several = !is_canonical(&expression) && expression.get_type(schema).is_ok_and(|of| has_floats(&of));
    if has_several { canonical_value().call(vec![expression]) } else { expression }
}

/// Both sides of an equation, with one zero where one of them is zero: the engine takes what is equal to a constant for that constant, and
/// there are two that equal this one.
pub(super) fn equal_to_zero(left: Expr, right: Expr, schema: &DFSchema) -> (Expr, Expr) {
    let is_literal = |side: &Expr| matches!(side, Expr::Literal(value, _) if is_zero(value) || is_whole_zero(value));
    match (is_literal(&left), is_literal(&right)) {
        (false, true) if is_floating(&left, schema) => (one_zero(left, schema), lit(0.0)),
        (true, false) if is_floating(&right, schema) => (lit(0.0), one_zero(right, schema)),
        _ => (left, right),
    }
}

fn is_whole_zero(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Int64(Some(0)) | ScalarValue::Int32(Some(0)))
}

/// `plan` with one zero and one NaN in what it compares by bits: keys of joins and groups, and what it sorts by.
pub(super) fn with_one_of_equals(plan: LogicalPlan) -> Transformed<LogicalPlan> {
    match plan {
        LogicalPlan::Join(mut join) => {
            let mut changed = false;
            for (left, right) in &mut join.on {
                changed |= with_one_zero(std::slice::from_mut(left), join.left.schema());
                changed |= with_one_zero(std::slice::from_mut(right), join.right.schema());
            }
            Transformed::new_transformed(LogicalPlan::Join(join), changed)
        }
        LogicalPlan::Aggregate(mut aggregate) => {
            let mut changed = false;
            for key in &mut aggregate.group_expr {
                changed |= grouped_with_one_zero(key, aggregate.input.schema());
            }
            Transformed::new_transformed(LogicalPlan::Aggregate(aggregate), changed)
        }
        LogicalPlan::Sort(mut sort) => {
            let (schema, last) = (sort.input.schema(), sort.expr.len().saturating_sub(1));
            let mut changed = false;
            for (place, order) in sort.expr.iter_mut().enumerate() {
                // Which of two zeros comes first is to be seen by what they are sorted by next.
                let is_plain =
                    order.expr.get_type(schema).is_ok_and(|of| of.is_floating() && !may_be_nan(&order.expr, &of, schema));
                if !is_plain || place < last {
                    changed |= with_one_zero(std::slice::from_mut(&mut order.expr), schema);
                }
            }
            Transformed::new_transformed(LogicalPlan::Sort(sort), changed)
        }
        plan => Transformed::no(plan),
    }
}

/// A key of groups by the name that it has.
fn grouped_with_one_zero(key: &mut Expr, schema: &DFSchema) -> bool {
    match key {
        Expr::GroupingSet(GroupingSet::Rollup(keys) | GroupingSet::Cube(keys)) => {
            keys.iter_mut().fold(false, |changed, key| changed | grouped_with_one_zero(key, schema))
        }
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
            sets.iter_mut().flatten().fold(false, |changed, key| changed | grouped_with_one_zero(key, schema))
        }
        key => {
            let (relation, name) = key.qualified_name();
            let changed = with_one_zero(std::slice::from_mut(key), schema);
            if changed {
                *key = std::mem::take(key).alias_qualified(relation, name);
            }
            changed
        }
    }
}

/// Makes those of `expressions` that have two zeros have one; whether there are such.
fn with_one_zero(expressions: &mut [Expr], schema: &DFSchema) -> bool {
    let mut changed = false;
    for expression in expressions {
        let is_done = is_canonical(expression);
        *expression = one_zero(std::mem::take(expression), schema);
        changed |= !is_done && is_canonical(expression);
    }
    changed
}

/// Aggregates with DISTINCT take the two zeros for one, and so does the order of their values.
pub(super) fn counted(mut call: AggregateFunction, schema: &DFSchema) -> Transformed<Expr> {
    let mut changed = sorted_with_one_zero(&mut call.params.order_by, schema);
    if call.params.distinct {
        changed |= with_one_zero(&mut call.params.args, schema);
    }
    // What rows are sorted by once sorts them no further, and the engine would keep it as two columns of one name.
    let orders = call.params.order_by.len();
    let mut seen = Vec::with_capacity(orders);
    call.params.order_by.retain(|order| {
        let is_new = !seen.contains(&order.expr);
        seen.extend(is_new.then(|| order.expr.clone()));
        is_new
    });
    changed |= call.params.order_by.len() < orders;
    Transformed::new_transformed(Expr::AggregateFunction(call), changed)
}

fn sorted_with_one_zero(orders: &mut [Sort], schema: &DFSchema) -> bool {
    let mut changed = false;
    for order in orders {
        changed |= with_one_zero(std::slice::from_mut(&mut order.expr), schema);
    }
    changed
}

/// Bytes by their hexadecimal digits, which have the same order: the engine has no ranges of bytes.
fn sorted_by_digits(orders: &mut [Sort], schema: &DFSchema) -> Result<bool> {
    use DataType::{Binary, BinaryView, LargeBinary};
    let mut changed = false;
    for order in orders {
        if matches!(order.expr.get_type(schema), Ok(Binary | LargeBinary | BinaryView)) {
            order.expr = own("to_hex", vec![std::mem::take(&mut order.expr)])?;
            changed = true;
        }
    }
    Ok(changed)
}

/// `PARTITION BY x` puts the two zeros together, and `ORDER BY x` makes them peers; `lag` and `lead` have a default of the type of their values.
pub(super) fn windowed(mut call: Box<WindowFunction>, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let name = call.fun.name().to_string();
    if let ("lag" | "lead", [value, _, default]) = (name.as_str(), call.params.args.as_slice())
        && let (Ok(value), Ok(default)) = (value.get_type(schema), default.get_type(schema))
        && value.is_integer()
        && (default.is_floating() || matches!(default, DataType::Decimal128(..)))
    {
        return plan_err!("TYPE_MISMATCH: {name} of whole numbers with a default of type {default}: cast one of them");
    }
    let keys = call.params.partition_by.len();
    // The engine loses count of arrays and rows that are the same for all rows; they divide nothing.
    call.params
        .partition_by
        .retain(|key| key.any_column_refs() || key.is_volatile() || !key.get_type(schema).is_ok_and(|of| of.is_nested()));
    let mut changed = call.params.partition_by.len() < keys;
    changed |= with_one_zero(&mut call.params.partition_by, schema);
    changed |= sorted_with_one_zero(&mut call.params.order_by, schema);
    changed |= sorted_by_digits(&mut call.params.order_by, schema)?;
    if call.params.distinct {
        changed |= with_one_zero(&mut call.params.args, schema);
    }
    Ok(Transformed::new_transformed(Expr::WindowFunction(call), changed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::Field;
    use datafusion::logical_expr::{LogicalPlanBuilder, cast, col, scalar_subquery};
    use std::sync::Arc;

    #[test]
    fn only_what_may_be_nan_is_asked_for_it() -> Result<()> {
        let kinds = [("d", DataType::Decimal128(15, 2)), ("f", DataType::Float64), ("n", DataType::Int64)];
        let fields = kinds.map(|(name, of)| Field::new(name, of, true));
        let schema = DFSchema::from_unqualified_fields(fields.to_vec().into(), Default::default())?;
        let double = |name: &str| cast(col(name), DataType::Float64);
        let of_query = |value: Expr| {
            let rows = LogicalPlanBuilder::values(vec![vec![cast(lit(1), DataType::Decimal128(3, 1)).alias("d"), lit(1.5)]])?;
            Ok::<_, datafusion::common::DataFusionError>(scalar_subquery(Arc::new(rows.project(vec![value])?.build()?)))
        };
        let may = |expression: Expr| {
            Ok::<_, datafusion::common::DataFusionError>({
                let of = expression.get_type(&schema)?;
                may_be_nan(&expression, &of, &schema)
            })
        };
        for never in [
            lit(1.5),
            lit(0.2) * double("d"),
            Expr::Negative(Box::new(double("n") - lit(1.5).alias("x"))),
            col("d"),
            of_query(lit(0.5) * cast(col("column1"), DataType::Float64))?,
        ] {
            assert!(!may(never.clone())?, "{never}");
        }
        for maybe in [
            lit(f64::NAN),
            col("f"),
            lit(0.2) * col("f"),
            double("d") / lit(0.0),
            lit(f64::INFINITY) * double("n"),
            lit(1e300) * double("d") * double("n"),
            cast(lit("NaN"), DataType::Float64),
            of_query(col("column2"))?,
        ] {
            assert!(may(maybe.clone())?, "{maybe}");
        }
        Ok(())
    }
}
