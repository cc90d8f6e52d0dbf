//! `char(n)`: texts of n characters whose last spaces no comparison sees, and everything else does.
//!
//! A value is a text with its spaces. That it is of `char(n)` is in the metadata of its field ([`CHAR_MARK`]), which columns keep
//! through projections, joins, groups and subqueries. Where it would be lost, or another function would have to give `char(n)`
//! again, the statement is refused: `CAST(c AS varchar)` is a text as any other.

use super::operators::own;
use super::{casts, with_schema_again};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, InList, InSubquery, Like, ScalarFunction, SetComparison, WindowFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, JoinConstraint, LogicalPlan, Operator, Subquery, TryCast, lit,
};
use datafusion::optimizer::AnalyzerRule;
use engine::functions::{CHAR, CHAR_MARK, STORED_TEXT};

/// What [`CHAR`] is called in a cast that may fail.
const TRY_CHAR: &str = "owlet_try_cast_char";
/// What makes other texts of a `char(n)`.
const TO_TEXT: [&str; 3] = ["owlet_cast_varchar", "owlet_cast_varchar_n", "owlet_try_cast_varchar_n"];

/// The analyzer rule.
#[derive(Debug)]
pub(crate) struct Chars;

impl AnalyzerRule for Chars {
    fn name(&self) -> &str {
        "athena_chars"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        with_chars(plan)
    }
}

/// `plan` with the meaning of `char(n)`. What it has already stays as it is.
///
/// A plan is rewritten where it is bound, so that the fields of its columns are right: the planner leaves the mark on
/// `CAST(c AS varchar)`. As a rule this is for what is added to it afterwards.
pub(crate) fn with_chars(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_chars(&plan)? {
        return Ok(plan);
    }
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let node = with_keys(node)?;
        let schema = merge_schema(&node.inputs());
        check_node(&node)?;
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expression| {
            let name = names.save(&expression);
            Ok(Transformed::yes(name.restore(whole(expression, &schema)?)))
        })?;
        let node = node.map_data(with_schema_again)?;
        check_marks(&node.data, &schema)?;
        Ok(node)
    })?;
    Ok(rewritten.data)
}

/// `column`, of `field`, as `INSERT` writes it into a column of the type `kind`, of `length` characters: longer texts are an error.
pub fn stored_text(column: Expr, field: &Field, length: u32, kind: &str) -> Result<Expr> {
    let text = match mark_of(field) {
        Some(_) => own(TO_TEXT[0], vec![column])?,
        None => Expr::Cast(Cast::new(Box::new(column), DataType::Utf8)),
    };
    own(STORED_TEXT, vec![text, lit(i64::from(length)), lit(kind)])
}

/// Whether a `char(n)` is anywhere in `plan`.
fn has_chars(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = found || node.schema().fields().iter().any(|field| mark_of(field).is_some());
        node.apply_expressions(|expression| {
            found = found || expression.exists(|part| Ok(cast_length(part).is_some()))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn mark_of(field: &Field) -> Option<usize> {
    field.metadata().get(CHAR_MARK)?.parse().ok()
}

/// The length of a `CAST(x AS char(n))`.
fn cast_length(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::ScalarFunction(call) if matches!(call.name(), CHAR | TRY_CHAR) => match call.args.get(1)? {
            Expr::Literal(ScalarValue::Int64(Some(length)), _) => usize::try_from(*length).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The length that values have as `char(n)`; none for other values.
fn length(expression: &Expr, schema: &DFSchema) -> Option<usize> {
    match expression {
        Expr::Alias(alias) => length(&alias.expr, schema),
        // Its field has what the value inside has.
        Expr::Cast(_) | Expr::TryCast(_) => None,
        other => cast_length(other).or_else(|| mark_of(&other.to_field(schema).ok()?.1)),
    }
}

fn refused(what: &str) -> DataFusionError {
    DataFusionError::NotImplemented(format!(
        "NOT_SUPPORTED: {what}: only comparisons, LIKE, IN, count, joins, groups and orders of char(n) are supported; use CAST(.. AS \
         varchar), which keeps its spaces, or rtrim of that"
    ))
}

/// Refuses nodes that would lose what is known of their columns.
fn check_node(node: &LogicalPlan) -> Result<()> {
    let marks = |plan: &LogicalPlan| plan.schema().fields().iter().map(|field| mark_of(field)).collect::<Vec<_>>();
    match node {
        LogicalPlan::Union(union) => {
            let mut all = union.inputs.iter().map(|input| marks(input));
            let first = all.next();
            if all.any(|other| Some(other) != first) {
                return Err(refused("UNION of char(n) with another type or length"));
            }
            Ok(())
        }
        LogicalPlan::RecursiveQuery(query) if marks(&query.static_term).iter().any(Option::is_some) => {
            Err(refused("WITH RECURSIVE with a column of char(n)"))
        }
        LogicalPlan::Values(values) if values.values.iter().flatten().any(|value| cast_length(value).is_some()) => {
            Err(refused("char(n) in VALUES"))
        }
        _ => Ok(()),
    }
}

/// Checks that columns of `node`, which is over `schema`, are what they are made of.
fn check_marks(node: &LogicalPlan, schema: &DFSchema) -> Result<()> {
    let expressions = match node {
        LogicalPlan::Projection(projection) => &projection.expr,
        LogicalPlan::Aggregate(aggregate) => &aggregate.group_expr,
        _ => return Ok(()),
    };
    let is_lost = |(expression, field): (&Expr, &std::sync::Arc<Field>)| length(expression, schema) != mark_of(field);
    if expressions.iter().zip(node.schema().fields()).any(is_lost) {
        return Err(refused("this use of char(n)"));
    }
    Ok(())
}

/// A join whose keys are compared as `char(n)` is.
fn with_keys(node: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Join(mut join) = node else { return Ok(node) };
    for (left, right) in &mut join.on {
        let lengths = (length(left, join.left.schema()), length(right, join.right.schema()));
        if lengths.0 == lengths.1 {
            continue;
        }
        if join.join_constraint == JoinConstraint::Using {
            return Err(refused("JOIN .. USING of char(n) and another type or length"));
        }
        (*left, *right) = (trimmed(left.clone())?, trimmed(right.clone())?);
    }
    Ok(LogicalPlan::Join(join))
}

/// An expression that may be a `char(n)`, where what is around it goes by its field.
fn whole(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    match expression {
        Expr::Alias(mut alias) => {
            alias.expr = Box::new(whole(*alias.expr, schema)?);
            Ok(Expr::Alias(alias))
        }
        // Its field may be older than what its column is made of.
        Expr::OuterReferenceColumn(field, _) if mark_of(&field).is_some() => {
            Err(refused("char(n) of the row outside of a query"))
        }
        plain @ (Expr::Column(_) | Expr::ScalarSubquery(_)) => Ok(plain),
        other if length(&other, schema).is_some() && cast_length(&other).is_none() => Err(refused("this form of char(n)")),
        other => part(other, schema),
    }
}

/// An expression around which nothing knows of `char(n)`, or `CAST(x AS char(n))`.
fn part(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let is_char = |expression: &Expr| length(expression, schema).is_some();
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) && (is_char(&left) || is_char(&right)) => {
            let (left, right) = match <[Expr; 2]>::try_from(compared(vec![*left, *right], is_equality(op), schema)?) {
                Ok([left, right]) => (left, right),
                Err(_) => return Err(DataFusionError::Internal("two sides became others".into())),
            };
            Ok(Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) }))
        }
        Expr::InList(InList { expr, list, negated }) if is_char(&expr) || list.iter().any(is_char) => {
            let mut all = compared(std::iter::once(*expr).chain(list).collect(), true, schema)?;
            let expr = Box::new(all.remove(0));
            Ok(Expr::InList(InList { expr, list: all, negated }))
        }
        Expr::Between(Between { expr, negated, low, high }) if [&expr, &low, &high].into_iter().any(|side| is_char(side)) => {
            match <[Expr; 3]>::try_from(compared(vec![*expr, *low, *high], false, schema)?) {
                Ok([expr, low, high]) => Ok(Expr::Between(Between::new(Box::new(expr), negated, Box::new(low), Box::new(high)))),
                Err(_) => Err(DataFusionError::Internal("three sides became others".into())),
            }
        }
        Expr::IsNull(inner) => Ok(Expr::IsNull(Box::new(whole(*inner, schema)?))),
        Expr::IsNotNull(inner) => Ok(Expr::IsNotNull(Box::new(whole(*inner, schema)?))),
        Expr::Like(Like { negated, expr, pattern, escape_char, case_insensitive }) if !is_char(&pattern) => {
            let (expr, pattern) = (Box::new(whole(*expr, schema)?), Box::new(part(*pattern, schema)?));
            Ok(Expr::Like(Like { negated, expr, pattern, escape_char, case_insensitive }))
        }
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field })
            if is_char(&expr) && casts::is_text(field.data_type()) =>
        {
            own(TO_TEXT[0], vec![whole(*expr, schema)?])
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if TO_TEXT.contains(&func.name()) || is_cast(func.name()) => {
            let args = args.into_iter().map(|arg| whole(arg, schema)).collect::<Result<_>>()?;
            Ok(Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
            let within = |args: Vec<Expr>| args.into_iter().map(|arg| argument(arg, func.name(), schema)).collect::<Result<_>>();
            params.args = within(params.args)?;
            params.filter = params.filter.map(|filter| part(*filter, schema).map(Box::new)).transpose()?;
            Ok(Expr::AggregateFunction(AggregateFunction { func, params }))
        }
        Expr::WindowFunction(call) => windowed(call, schema),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            check_subquery(&expr, &subquery, schema)?;
            let expr = Box::new(whole(*expr, schema)?);
            Ok(Expr::InSubquery(InSubquery { expr, subquery, negated }))
        }
        Expr::SetComparison(mut set) => {
            let SetComparison { expr, subquery, .. } = &set;
            check_subquery(expr, subquery, schema)?;
            set.expr = Box::new(whole(*set.expr, schema)?);
            Ok(Expr::SetComparison(set))
        }
        other => {
            let changed = other.map_children(|child| match is_char(&child) {
                true => Err(refused("this function or operator of char(n)")),
                false => part(child, schema).map(Transformed::yes),
            })?;
            Ok(changed.data)
        }
    }
}

fn windowed(mut call: Box<WindowFunction>, schema: &DFSchema) -> Result<Expr> {
    let name = call.fun.name().to_string();
    let params = &mut call.params;
    for arg in &mut params.args {
        *arg = argument(std::mem::take(arg), &name, schema)?;
    }
    for key in params.partition_by.iter_mut().chain(params.order_by.iter_mut().map(|sort| &mut sort.expr)) {
        *key = whole(std::mem::take(key), schema)?;
    }
    params.filter = params.filter.take().map(|filter| part(*filter, schema).map(Box::new)).transpose()?;
    Ok(Expr::WindowFunction(call))
}

fn is_cast(name: &str) -> bool {
    matches!(name, CHAR | TRY_CHAR)
}

/// An argument of the aggregate function `name`; only counting is the same of all texts.
fn argument(arg: Expr, name: &str, schema: &DFSchema) -> Result<Expr> {
    match length(&arg, schema) {
        Some(_) if name == "count" => whole(arg, schema),
        Some(_) => Err(refused(&format!("{name} of char(n)"))),
        None => part(arg, schema),
    }
}

/// Checks that `expr` and what the query gives are compared as they are.
fn check_subquery(expr: &Expr, subquery: &Subquery, schema: &DFSchema) -> Result<()> {
    let given = subquery.subquery.schema().fields().first().and_then(|field| mark_of(field));
    if given != length(expr, schema) {
        return Err(refused("IN or a comparison of char(n) with a query of another type or length"));
    }
    Ok(())
}

fn is_equality(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
}

fn is_comparison(op: Operator) -> bool {
    is_equality(op) || matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

/// `sides` as texts that are compared as they are: without their last spaces, or, in an order, all of one length.
fn compared(sides: Vec<Expr>, is_equality: bool, schema: &DFSchema) -> Result<Vec<Expr>> {
    let lengths: Vec<Option<usize>> = sides.iter().map(|side| length(side, schema).or_else(|| literal_length(side))).collect();
    let longest = lengths.iter().flatten().copied().max().unwrap_or(0);
    let sides = sides.into_iter().zip(lengths).map(|(side, own_length)| {
        let side = whole(side, schema)?;
        match own_length {
            _ if is_equality => trimmed(side),
            None => Err(refused("the order of char(n) and a varchar")),
            Some(own_length) if own_length == longest => Ok(side),
            Some(_) => own(CHAR, vec![side, lit(i64::try_from(longest).unwrap_or(i64::MAX))]),
        }
    });
    sides.collect()
}

fn literal_length(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Literal(value, _) if value.is_null() => Some(0),
        Expr::Literal(value, _) => value.try_as_str().flatten().map(|text| text.chars().count()),
        _ => None,
    }
}

/// A text without the spaces at its end.
fn trimmed(side: Expr) -> Result<Expr> {
    match &side {
        Expr::Literal(value, _) if value.is_null() => Ok(side),
        Expr::Literal(value, _) if value.try_as_str().flatten().is_some() => {
            Ok(lit(value.try_as_str().flatten().unwrap_or_default().trim_end_matches(' ')))
        }
        // As a varchar: a view is rewritten again with the query around it.
        _ => own("rtrim", vec![own(TO_TEXT[0], vec![side])?, lit(" ")]),
    }
}
