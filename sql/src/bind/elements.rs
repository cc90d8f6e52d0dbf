//! Queries over `UNNEST(t.list)` alone, where `t` is outside: what they compute are functions of the list.

use crate::dialect::lateral::with_columns;
use crate::dialect::one_row::{OneRow, variable};
use crate::dialect::operators::{own, own_of_lambdas};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr::{AggregateFunction, Exists, InSubquery, Lambda};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, FetchType, LogicalPlan, Operator, SkipType, Subquery, cast, lit, when,
};
use engine::functions::arithmetic::{Checked, checked};
use engine::functions::only::ONLY;

/// Names of lambdas' parameters that are made here.
const ELEMENT: &str = "owlet_element";
const STATE: &str = "owlet_state";

/// What the query `part` gives, over columns of `schema`; none for other parts and queries.
pub(super) fn computed(part: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let value = match part {
        Expr::Exists(Exists { subquery, negated }) => {
            let Some(rows) = elements(&subquery.subquery) else { return Ok(None) };
            exists(&rows)?.map(|exists| if *negated { Expr::Not(Box::new(exists)) } else { exists })
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let Some(rows) = elements(&subquery.subquery) else { return Ok(None) };
            contained(expr, &rows)?.map(|inside| if *negated { Expr::Not(Box::new(inside)) } else { inside })
        }
        Expr::ScalarSubquery(Subquery { subquery, .. }) => scalar(subquery)?,
        _ => None,
    };
    let Some(value) = value else { return Ok(None) };
    let value = with_columns(value, schema)?;
    // What belongs to a query further outside is left to that.
    Ok(if value.contains_outer() { None } else { Some(value) })
}

/// The rows of `plan`, which are of one array of the row outside.
fn elements(plan: &LogicalPlan) -> Option<OneRow> {
    OneRow::of(plan).filter(|rows| rows.each.as_ref().is_some_and(|(_, list)| list.contains_outer()))
}

fn lambda(parameters: &[&str], body: Expr) -> Expr {
    Expr::Lambda(Lambda::new(parameters.iter().map(ToString::to_string).collect(), body))
}

fn is_more(list: Expr) -> Result<Expr> {
    Ok(coalesce(vec![own("cardinality", vec![list])?, lit(0i64)]).gt(lit(0i64)))
}

/// The elements that `conditions` hold for.
fn kept(rows: &OneRow, more: Option<Expr>) -> Result<Option<(Expr, &str)>> {
    let Some((name, list)) = &rows.each else { return Ok(None) };
    let condition = rows.conditions.iter().cloned().chain(more).reduce(Expr::and);
    let list = match condition {
        Some(condition) => own_of_lambdas("filter", vec![list.clone(), lambda(&[name.as_str()], condition)])?,
        None => list.clone(),
    };
    Ok(Some((list, name.as_str())))
}

/// `value` of each element that is kept.
fn values(rows: &OneRow, value: &Expr, more: Option<Expr>) -> Result<Option<Expr>> {
    let Some((list, name)) = kept(rows, more)? else { return Ok(None) };
    Ok(Some(match value {
        Expr::LambdaVariable(variable) if variable.name == name => list,
        value => own_of_lambdas("transform", vec![list, lambda(&[name], value.clone())])?,
    }))
}

fn exists(rows: &OneRow) -> Result<Option<Expr>> {
    let Some((name, list)) = &rows.each else { return Ok(None) };
    let Some(condition) = rows.conditions.iter().cloned().reduce(Expr::and) else { return is_more(list.clone()).map(Some) };
    let any = own_of_lambdas("any_match", vec![list.clone(), lambda(&[name.as_str()], condition)])?;
    Ok(Some(coalesce(vec![any, lit(false)])))
}

/// Whether a column may have NaN, which functions of arrays see otherwise than queries do.
fn may_be_nan(value: &Expr) -> bool {
    value.get_type(&DFSchema::empty()).map_or(true, |of| !is_plain(&of))
}

fn is_plain(of: &DataType) -> bool {
    !of.is_nested() && !of.is_floating()
}

fn contained(expression: &Expr, rows: &OneRow) -> Result<Option<Expr>> {
    let Some(value) = rows.columns.first().filter(|value| !may_be_nan(value)) else { return Ok(None) };
    let Some(values) = values(rows, value, None)? else { return Ok(None) };
    let inside = own("contains", vec![values.clone(), expression.clone()])?;
    // NULL is in no rows, and not unknown.
    Ok(Some(when(is_more(values)?, inside).otherwise(lit(false))?))
}

fn scalar(plan: &LogicalPlan) -> Result<Option<Expr>> {
    if let Some(rows) = elements(plan) {
        let Some(value) = rows.columns.first() else { return Ok(None) };
        return values(&rows, value, None)?.map(|values| own(ONLY, vec![values])).transpose();
    }
    if let LogicalPlan::Limit(limit) = plan {
        let is_first =
            matches!((limit.get_fetch_type()?, limit.get_skip_type()?), (FetchType::Literal(Some(1)), SkipType::Literal(0)));
        let Some(rows) = elements(&limit.input).filter(|_| is_first) else { return Ok(None) };
        let Some(value) = rows.columns.first() else { return Ok(None) };
        return values(&rows, value, None)?.map(|values| own("element_at", vec![values, lit(1i64)])).transpose();
    }
    Ok(columns(plan)?.and_then(|columns| columns.into_iter().next()))
}

/// The columns of aggregates over all rows, and of what is computed of them.
fn columns(plan: &LogicalPlan) -> Result<Option<Vec<Expr>>> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => columns(&alias.input),
        LogicalPlan::Projection(projection) => {
            let Some(below) = columns(&projection.input)? else { return Ok(None) };
            let row = OneRow { columns: below, conditions: vec![], lists: vec![], each: None };
            let schema = projection.input.schema();
            Ok(projection.expr.iter().map(|expression| row.over(schema, expression)).collect())
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            let Some(rows) = elements(&aggregate.input) else { return Ok(None) };
            let types = aggregate.schema.fields().iter().map(|field| field.data_type());
            let each = aggregate.aggr_expr.iter().zip(types).map(|(function, of)| aggregated(function, of, aggregate, &rows));
            Ok(each.collect::<Result<Vec<_>>>()?.into_iter().collect())
        }
        _ => Ok(None),
    }
}

fn aggregated(function: &Expr, of: &DataType, aggregate: &Aggregate, rows: &OneRow) -> Result<Option<Expr>> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = function.clone().unalias() else { return Ok(None) };
    if params.distinct || !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Ok(None);
    }
    let over = |expression: &Expr| rows.over(aggregate.input.schema(), expression);
    let more = match params.filter.as_deref().map(over) {
        Some(None) => return Ok(None),
        Some(more) => more,
        None => None,
    };
    let [argument] = params.args.as_slice() else { return Ok(None) };
    let Some(argument) = over(argument) else { return Ok(None) };
    let is_constant = matches!(&argument, Expr::Literal(value, _) if !value.is_null());
    let all = |value: &Expr| values(rows, value, more.clone());
    let Ok(own_type) = argument.get_type(&DFSchema::empty()) else { return Ok(None) };
    let known = || {
        let not_null = lambda(&[ELEMENT], Expr::IsNotNull(Box::new(variable(ELEMENT, &own_type))));
        all(&argument)?.map(|values| own_of_lambdas("filter", vec![values, not_null])).transpose()
    };
    let count = |list: Option<Expr>| match list {
        Some(list) => Ok(Some(coalesce(vec![own("cardinality", vec![list])?, lit(0i64)]))),
        None => Ok(None),
    };
    match func.name() {
        "count" if is_constant => count(kept(rows, more.clone())?.map(|(list, _)| list)),
        "count" => count(known()?),
        name @ ("max" | "min") if is_plain(&own_type) => {
            known()?.map(|known| own(if name == "max" { "array_max" } else { "array_min" }, vec![known])).transpose()
        }
        "array_agg" => match all(&argument)? {
            Some(values) => Ok(Some(when(is_more(values.clone())?, values).end()?)),
            None => Ok(None),
        },
        "sum" if own_type.is_numeric() => known()?.map(|known| sum(known, &own_type, of)).transpose(),
        _ => Ok(None),
    }
}

/// The elements of `list`, of type `own`, added up as values of type `of`; NULL where there is none.
fn sum(list: Expr, own: &DataType, of: &DataType) -> Result<Expr> {
    let (state, element) = (variable(STATE, of), cast(variable(ELEMENT, own), of.clone()));
    let sum = match of.is_integer() {
        true => checked(Checked::Add).call(vec![state, element]),
        false => Expr::BinaryExpr(BinaryExpr::new(Box::new(state), Operator::Plus, Box::new(element))),
    };
    let start = cast(lit(0i64), of.clone());
    let same = lambda(&[STATE], variable(STATE, of));
    let added = own_of_lambdas("reduce", vec![list.clone(), start, lambda(&[STATE, ELEMENT], sum), same])?;
    when(is_more(list)?, added).end()
}
