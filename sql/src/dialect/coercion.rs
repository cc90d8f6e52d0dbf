//! What values of different types mean next to each other, before DataFusion's own rule decides it.
//!
//! DataFusion makes decimals of doubles, dates of numbers, and one time zone of several; and it has an order for NaN.

use super::common::{Zones, refuse_json, unified, unified_union, unified_values};
use super::{averages, constants, far, floats, keys, maps, operators, outer, with_schema_again};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::functions::math::expr_fn::isnan;
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr::{AggregateFunction, Between, Case, InList, InSubquery, ScalarFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Projection, cast, lit, when};
use datafusion::optimizer::AnalyzerRule;
use engine::functions::arithmetic::{Checked, checked};
use engine::functions::equal::nested_equal;
use engine::functions::masked::masked_row;
use engine::functions::type_name;
use std::sync::Arc;

/// Functions whose result has the type that all arguments have in common.
const COMMON: [&str; 4] = ["coalesce", "greatest", "least", "make_array"];
/// Most times that queries inside of a query are told the types of columns outside, which may follow from others.
const MAX_ROUNDS: usize = 8;

/// The analyzer rule; runs before type coercion.
#[derive(Debug)]
pub(crate) struct AthenaCoercion;

impl AnalyzerRule for AthenaCoercion {
    fn name(&self) -> &str {
        "athena_coercion"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut plan = coerced(plan)?;
        for _ in 0..MAX_ROUNDS {
            let told = outer::with_types(plan)?;
            if !told.transformed {
                return Ok(told.data);
            }
            plan = coerced(told.data)?;
        }
        Ok(plan)
    }
}

/// `plan` with parameters of lambdas of the types that what they are parts of has by now.
fn with_types_of_parameters(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            found = found || expression.exists(|part| Ok(matches!(part, Expr::Lambda(_))))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    if !found {
        return Ok(plan);
    }
    let resolved = plan.resolve_lambda_variables()?;
    if !resolved.transformed {
        return Ok(resolved.data);
    }
    let whole = resolved.data.transform_up_with_subqueries(|node| Ok(Transformed::yes(with_schema_again(node)?)))?;
    Ok(whole.data)
}

fn coerced(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Union(union) => unified_union(union)?,
            LogicalPlan::Values(values) => unified_values(values)?,
            node => maps::without_determined(node)?,
        };
        let schema = merge_schema(&node.inputs());
        maps::check(&node, &schema)?;
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expression| {
            let name = names.save(&expression);
            let rewritten = expression.transform_up(|expression| rewrite(expression, &schema))?;
            Ok(rewritten.update_data(|expression| name.restore(expression)))
        })?;
        // What is below may have other types now.
        let node = node.update_data(floats::without_doubt).map_data(keys::below)?;
        node.map_data(with_schema_again)?.map_data(constants::hidden)?.map_data(averages::rounded)
    })?;
    with_types_of_parameters(rewritten.data)
}

fn rewrite(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expression {
        Expr::Negative(inner) => Ok(negated(inner, schema)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => compared(*left, op, *right, schema),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
            refuse_json(&[&left, &right], schema)?;
            Ok(Transformed::no(binary(*left, Operator::StringConcat, *right)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => Ok(computed(*left, op, *right, schema)),
        Expr::Like(like) => {
            refuse_json(&[&like.expr, &like.pattern], schema)?;
            Ok(Transformed::no(Expr::Like(like)))
        }
        Expr::Between(Between { expr, negated, low, high }) if far::is_out_of_reach(&[&expr, &low, &high], schema) => {
            let least = compared(expr.as_ref().clone(), Operator::GtEq, *low, schema)?.data;
            let within = least.and(compared(*expr, Operator::LtEq, *high, schema)?.data);
            Ok(Transformed::yes(if negated { Expr::Not(Box::new(within)) } else { within }))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let (all, changed) = unified(vec![*expr, *low, *high], schema, Zones::Any)?;
            Ok(match <[Expr; 3]>::try_from(all) {
                Ok([expr, low, high]) if floats::may_reach_nan(&expr, &high, schema) => {
                    let least = compared(expr.clone(), Operator::GtEq, low, schema)?.data;
                    let within = least.and(compared(expr, Operator::LtEq, high, schema)?.data);
                    Transformed::yes(if negated { Expr::Not(Box::new(within)) } else { within })
                }
                Ok([expr, low, high]) => {
                    check_range(&expr, &low, &high, schema)?;
                    let question = floats::nan_question(&expr, &[&low, &high], schema)?;
                    let between = Expr::Between(Between::new(Box::new(expr), negated, Box::new(low), Box::new(high)));
                    floats::with_nan(between, question, negated, changed)
                }
                Err(_) => return Err(lost()),
            })
        }
        Expr::InList(list) => listed(list, schema),
        Expr::InSubquery(query) => one_of_query(query, schema),
        Expr::Case(case) => Ok(cased(case, schema)?.update_data(|case| masked(case, schema))),
        Expr::AggregateFunction(call) => aggregated(call, schema),
        Expr::WindowFunction(call) => windowed(call, schema),
        Expr::ScalarFunction(call) if call.name() == "get_field" && is_map(&call.args, schema) => {
            Err(DataFusionError::Plan("TYPE_MISMATCH: Expression of type map is not of type ROW: write m['key']".into()))
        }
        Expr::ScalarFunction(call) if call.name() == "owlet_try_divide" => Ok(tried(call, schema)),
        Expr::ScalarFunction(call) if call.name() == "nullif" => {
            Ok(null_if(call, schema)?.update_data(|value| masked(value, schema)))
        }
        // EXTRACT is planned as the engine's function, to which 27 hours have 27 of them.
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "date_part" && has_interval(&args, schema) => {
            operators::own("date_part", args).map(Transformed::yes)
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if COMMON.contains(&func.name()) => {
            let (args, changed) = unified(args, schema, Zones::One)?;
            Ok(Transformed::new_transformed(Expr::ScalarFunction(ScalarFunction { func, args }), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// `x IN (…)`, with NULL, NaN and the zeros said apart.
fn listed(mut list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if list.list.iter().any(is_null) {
        // The optimizer puts lists together as sets, and a NULL in one is no value.
        list.list.retain(|item| !is_null(item));
        let unknown = lit(ScalarValue::Boolean(None));
        if list.list.is_empty() {
            return Ok(Transformed::yes(unknown));
        }
        let negated = list.negated;
        let known = listed(list, schema)?.data;
        return Ok(Transformed::yes(if negated { known.and(unknown) } else { known.or(unknown) }));
    }
    let InList { expr, list, negated } = list;
    let (mut all, changed) = unified(std::iter::once(*expr).chain(list).collect(), schema, Zones::Any)?;
    let first = all.remove(0);
    let apart = floats::compared_apart(&first, &mut all, schema);
    if !apart.is_empty() {
        // With one zero these are other values than what is left in the list, which the optimizer would add them to.
        let one = |side| floats::one_zero(side, schema);
        let equal = |item| Ok(compared(one(first.clone()), Operator::Eq, one(item), schema)?.data);
        let mut any = apart.into_iter().map(equal).collect::<Result<Vec<_>>>()?;
        if !all.is_empty() {
            let question = floats::nan_question(&first, &all.iter().collect::<Vec<_>>(), schema)?;
            let list = Expr::InList(InList::new(Box::new(first), all, false));
            any.push(floats::with_nan(list, question, false, true).data);
        }
        let any = any.into_iter().reduce(Expr::or).ok_or_else(lost)?;
        return Ok(Transformed::yes(if negated { Expr::Not(Box::new(any)) } else { any }));
    }
    let question = floats::nan_question(&first, &all.iter().collect::<Vec<_>>(), schema)?;
    Ok(floats::with_nan(Expr::InList(InList::new(Box::new(first), all, negated)), question, negated, changed))
}

fn is_map(args: &[Expr], schema: &DFSchema) -> bool {
    args.first().is_some_and(|value| value.get_type(schema).is_ok_and(|of| matches!(of, DataType::Map(..))))
}

fn has_interval(args: &[Expr], schema: &DFSchema) -> bool {
    args.iter().any(|arg| arg.get_type(schema).is_ok_and(|of| operators::is_interval(&of)))
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// An error unless a value is comparable with both ends of a range: the engine's is an internal one.
fn check_range(value: &Expr, low: &Expr, high: &Expr, schema: &DFSchema) -> Result<()> {
    let (Ok(of), Ok(low), Ok(high)) = (value.get_type(schema), low.get_type(schema), high.get_type(schema)) else {
        return Ok(());
    };
    let is_comparable = |end: &DataType| BinaryTypeCoercer::new(&of, &Operator::LtEq, end).get_input_types().is_ok();
    if is_comparable(&low) && is_comparable(&high) {
        return Ok(());
    }
    let [of, low, high] = [&of, &low, &high].map(type_name);
    Err(DataFusionError::Plan(format!("TYPE_MISMATCH: Cannot check if {of} is BETWEEN {low} and {high}")))
}

/// `IN (SELECT …)` of two types of numbers, with a column of another name for what is cast: the query may have that column a second time,
/// for a comparison with the row outside.
fn one_of_query(mut query: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let plan = &query.subquery.subquery;
    let (Ok(of), Some(field)) = (query.expr.get_type(schema), plan.schema().fields().first()) else {
        return Ok(Transformed::no(Expr::InSubquery(query)));
    };
    let both = match BinaryTypeCoercer::new(&of, &Operator::Eq, field.data_type()).get_input_types() {
        Ok((both, _)) if of.is_numeric() && field.data_type().is_numeric() && both != *field.data_type() => both,
        _ => return Ok(Transformed::no(Expr::InSubquery(query))),
    };
    let plan = match plan.as_ref() {
        LogicalPlan::Projection(Projection { expr, input, .. }) if expr.len() == 1 => {
            let column = cast(expr[0].clone().unalias(), both.clone()).alias(ONE_OF);
            Projection::try_new(vec![column], Arc::clone(input)).map(LogicalPlan::Projection)?
        }
        _ => return Ok(Transformed::no(Expr::InSubquery(query))),
    };
    query.subquery = query.subquery.with_plan(Arc::new(plan));
    if of != both {
        query.expr = Box::new(cast(*query.expr, both));
    }
    Ok(Transformed::yes(Expr::InSubquery(query)))
}

/// What the cast column of such a query is called.
const ONE_OF: &str = "owlet_one_of";

/// `value`, whose fields are NULL where it is, if it is a row.
fn masked(value: Expr, schema: &DFSchema) -> Expr {
    match value.get_type(schema) {
        Ok(DataType::Struct(_)) => masked_row().call(vec![value]),
        _ => value,
    }
}

fn is_null(item: &Expr) -> bool {
    match item {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

fn lost() -> DataFusionError {
    DataFusionError::Internal("a part of an expression is lost".into())
}

/// Minus of a whole number, which fails for the least one.
fn negated(inner: Box<Expr>, schema: &DFSchema) -> Transformed<Expr> {
    match inner.get_type(schema) {
        Ok(of) if of.is_signed_integer() => match ScalarValue::new_zero(&of) {
            Ok(zero) => Transformed::yes(checked(Checked::Subtract).call(vec![lit(zero), *inner])),
            Err(_) => Transformed::no(Expr::Negative(inner)),
        },
        _ => Transformed::no(Expr::Negative(inner)),
    }
}

/// Arithmetic of decimals; the types of its operands are right only now.
fn computed(left: Expr, op: Operator, right: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let operation = Checked::ALL.into_iter().find(|operation| operation.operator() == op);
    if let (Some(operation), Ok(left_type), Ok(right_type)) = (operation, left.get_type(schema), right.get_type(schema))
        && let Some(exact) = operators::exact(&left, &left_type, operation, &right, &right_type)
    {
        return Transformed::yes(exact);
    }
    let may_fail = matches!(op, Operator::Divide | Operator::Modulo) && !matches!(right, Expr::Literal(..));
    let is_null = |side: &Expr| side.nullable(schema).unwrap_or(true);
    if may_fail
        && !is_null(&left)
        && !is_null(&right)
        && let Ok(of) = right.get_type(schema)
        && of.is_integer()
        && let Ok(null) = ScalarValue::try_from(&of)
    {
        // What is never NULL is not computed to find out whether it is, and a division by zero is an error.
        return Transformed::yes(binary(left, op, nullif(right, lit(null))));
    }
    Transformed::no(binary(left, op, right))
}

fn aggregated(call: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    check_filter(call.params.filter.as_deref(), schema)?;
    Ok(floats::counted(call, schema))
}

fn windowed(call: Box<WindowFunction>, schema: &DFSchema) -> Result<Transformed<Expr>> {
    check_filter(call.params.filter.as_deref(), schema)?;
    floats::windowed(keys::with_frame_of_peers(with_default(call, schema)?, schema), schema)
}

fn check_filter(filter: Option<&Expr>, schema: &DFSchema) -> Result<()> {
    match filter.map(|filter| filter.get_type(schema)) {
        Some(Ok(of)) if of != DataType::Boolean && !of.is_null() => {
            Err(DataFusionError::Plan(format!("TYPE_MISMATCH: Filter expression must evaluate to a boolean (actual: {of})")))
        }
        _ => Ok(()),
    }
}

/// `lag(value, 1, default)` with both of one type.
fn with_default(mut call: Box<WindowFunction>, schema: &DFSchema) -> Result<Box<WindowFunction>> {
    let is_shifted = matches!(call.fun.name(), "lag" | "lead") && call.params.args.len() == 3;
    if is_shifted && let Some(default) = call.params.args.pop() {
        let (both, _) = unified(vec![std::mem::take(&mut call.params.args[0]), default], schema, Zones::One)?;
        let mut both = both.into_iter();
        if let (Some(value), Some(default)) = (both.next(), both.next()) {
            call.params.args[0] = value;
            call.params.args.push(default);
        }
    }
    Ok(call)
}

/// A division in TRY.
fn tried(call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    if let [left, right] = call.args.as_slice()
        && let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema))
        && let Some(divided) = operators::tried((left, &left_type), (right, &right_type))
    {
        return Transformed::yes(divided);
    }
    Transformed::no(Expr::ScalarFunction(call))
}

/// `nullif(a, b)` has the type of `a`, whatever `b` is compared as.
fn null_if(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let [left, right] = call.args.as_slice() else { return Ok(Transformed::no(Expr::ScalarFunction(call))) };
    let (Ok(own), Ok(other)) = (left.get_type(schema), right.get_type(schema)) else {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    };
    let differ = own.is_floating() || own.is_nested() || own != other && !own.is_null() && !other.is_null();
    let never_equal = matches!(right, Expr::Literal(value, _) if value.is_null());
    if !differ || never_equal || left.is_volatile() {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    let equal = compared(left.clone(), Operator::Eq, right.clone(), schema)?.data;
    let null = lit(ScalarValue::try_from(&own)?);
    Ok(Transformed::yes(when(equal, null).otherwise(left.clone())?))
}

fn compared(left: Expr, op: Operator, right: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (pair, changed) = unified(vec![left, right], schema, Zones::Any)?;
    let Ok([left, right]) = <[Expr; 2]>::try_from(pair) else { return Err(lost()) };
    let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema)) else {
        return Ok(Transformed::new_transformed(binary(left, op, right), changed));
    };
    let is_row = |of: &DataType| matches!(of, DataType::Struct(_) | DataType::List(_) | DataType::Map(..));
    if is_row(&left_type) && is_row(&right_type) && matches!(op, Operator::Eq | Operator::NotEq) {
        let equal = nested_equal().call(vec![left, right]);
        return Ok(Transformed::yes(if op == Operator::NotEq { Expr::Not(Box::new(equal)) } else { equal }));
    }
    let (left, right) = match op {
        Operator::Eq => floats::equal_to_zero(left, right, schema),
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
            (floats::one_zero(left, schema), floats::one_zero(right, schema))
        }
        _ => (left, right),
    };
    let (left_nan, right_nan) = (floats::may_be_nan(&left, &left_type, schema), floats::may_be_nan(&right, &right_type, schema));
    let also = match op {
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => None,
        _ => floats::nan_question(&left, &[&right], schema)?.or(floats::nan_question(&right, &[&left], schema)?),
    };
    // To the engine NaN is the greatest number, and equal to itself.
    let compared = match op {
        Operator::Gt | Operator::GtEq if left_nan => {
            let known = floats::known_beside(&left, &right, schema);
            binary(left, op, right).and(known)
        }
        Operator::Lt | Operator::LtEq if right_nan => {
            let known = floats::known_beside(&right, &left, schema);
            binary(left, op, right).and(known)
        }
        Operator::Eq if left_nan && right_nan => {
            let known = floats::known_beside(&left, &right, schema);
            binary(left, op, right).and(known)
        }
        Operator::NotEq if left_nan && right_nan => {
            let both = isnan(left.clone()).and(isnan(right.clone()));
            binary(left, op, right).or(both)
        }
        _ => return Ok(floats::with_nan(binary(left, op, right), also, op == Operator::NotEq, changed)),
    };
    Ok(floats::with_nan(compared, also, op == Operator::NotEq, true))
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn cased(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Case { expr, when_then_expr, else_expr } = case;
    let (mut conditions, mut results): (Vec<Expr>, Vec<Expr>) =
        when_then_expr.into_iter().map(|(when, then)| (*when, *then)).unzip();
    let (has_operand, has_else) = (expr.is_some(), else_expr.is_some());
    let mut changed = false;
    let mut operand = None;
    // The engine's way of comparing knows two zeros, and NaN equals itself.
    let is_floating = expr.as_ref().is_some_and(|operand| operand.get_type(schema).is_ok_and(|of| of.is_floating()));
    if let Some(operand) = expr.as_ref().filter(|operand| is_floating && !operand.is_volatile()) {
        let equal = |when: Expr| compared(operand.as_ref().clone(), Operator::Eq, when, schema).map(|equal| equal.data);
        let conditions = conditions.into_iter().map(equal).collect::<Result<Vec<_>>>()?;
        let pairs = conditions.into_iter().zip(results).map(|(when, then)| (Box::new(when), Box::new(then))).collect();
        return Ok(Transformed::yes(cased(Case::new(None, pairs, else_expr), schema)?.data));
    }
    if let Some(expr) = expr {
        conditions.insert(0, *expr);
        (conditions, changed) = unified(conditions, schema, Zones::Any)?;
        operand = has_operand.then(|| Box::new(conditions.remove(0)));
    }
    let is_other = |condition: &Expr| condition.get_type(schema).is_ok_and(|of| of != DataType::Boolean && !of.is_null());
    if !has_operand && conditions.iter().any(is_other) {
        return Err(DataFusionError::Plan("TYPE_MISMATCH: a condition of CASE or IF must be a boolean".into()));
    }
    results.extend(else_expr.map(|otherwise| *otherwise));
    let (mut results, also) = unified(results, schema, Zones::One)?;
    let otherwise = if has_else { results.pop().map(Box::new) } else { None };
    let pairs = conditions.into_iter().zip(results).map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    Ok(Transformed::new_transformed(Expr::Case(Case::new(operand, pairs, otherwise)), changed || also))
}
