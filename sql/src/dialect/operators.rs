//! Operators whose meaning depends on the types of what they stand between.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::functions::datetime::date_part;
use datafusion::logical_expr::expr::HigherOrderFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, HigherOrderUDF, ScalarUDF, cast, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use engine::functions::arithmetic::{Checked, checked};
use engine::functions::divide::{DIVIDE, MODULO};
use engine::functions::subscript::subscript;
use engine::functions::{DAY_TIME, Functions, YEAR_MONTH};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Most digits of a decimal.
const MAX_DECIMAL_DIGITS: u8 = 38;

static OWN: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let functions = Functions::all().scalar.into_iter();
    functions.map(|function| (function.name().to_string(), function)).collect()
});

/// The function `name` of this project.
pub(super) fn own_function(name: &str) -> Option<&'static Arc<ScalarUDF>> {
    OWN.get(name)
}

/// A call of the function `name` of this project.
pub(crate) fn own(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match own_function(name) {
        Some(function) => Ok(function.call(args)),
        None => Err(DataFusionError::Internal(format!("there is no function {name}"))),
    }
}

static OWN_OF_LAMBDAS: LazyLock<HashMap<String, Arc<HigherOrderUDF>>> = LazyLock::new(|| {
    let functions = Functions::all().higher_order.into_iter();
    functions.map(|function| (function.name().to_string(), function)).collect()
});

/// A call of the function `name` of this project, which takes lambdas.
pub(crate) fn own_of_lambdas(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match OWN_OF_LAMBDAS.get(name) {
        Some(function) => Ok(Expr::HigherOrderFunction(HigherOrderFunction::new(Arc::clone(function), args))),
        None => Err(DataFusionError::Internal(format!("there is no function {name}"))),
    }
}

/// Plans arithmetic and subscripts.
#[derive(Debug)]
pub(crate) struct AthenaOperators;

impl ExprPlanner for AthenaOperators {
    /// The engine's is an integer, Athena's a bigint.
    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(cast(date_part().call(args), DataType::Int64)))
    }

    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if is_comparison(&expr.op) {
            return times_compared(expr, schema);
        }
        let operation = match expr.op {
            BinaryOperator::StringConcat => return concatenated(expr, schema),
            BinaryOperator::Plus => Checked::Add,
            BinaryOperator::Minus => Checked::Subtract,
            BinaryOperator::Multiply => Checked::Multiply,
            BinaryOperator::Divide => Checked::Divide,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        if let Some(planned) = with_interval(&expr, operation, &left, &right)? {
            return Ok(PlannerResult::Planned(planned));
        }
        let planned = match (operation, &left, &right) {
            // Decimals are for the rule of coercion, which knows what a CASE is of.
            (Checked::Divide, ..) if !is_moment(&left) && !is_moment(&right) => None,
            _ if is_moment(&left) && right.is_numeric() || left.is_numeric() && is_moment(&right) => {
                return Err(DataFusionError::Plan(format!("TYPE_MISMATCH: Cannot apply operator: {left} {} {right}", expr.op)));
            }
            _ if left.is_integer() && right.is_integer() => {
                Some(checked(operation).call(vec![expr.left.clone(), expr.right.clone()]))
            }
            _ => None,
        };
        Ok(planned.map_or(PlannerResult::Original(expr), PlannerResult::Planned))
    }

    /// A cast with a name of its own: see `bind::distinct`.
    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        match args.as_slice() {
            [cast, Expr::Literal(ScalarValue::Utf8(Some(name)), _)] => Ok(PlannerResult::Planned(cast.clone().alias(name))),
            _ => Ok(PlannerResult::Original(args)),
        }
    }

    fn plan_field_access(&self, expr: RawFieldAccessExpr, schema: &DFSchema) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let data_type = expr.expr.get_type(schema)?;
        let key = match (&expr.field_access, &data_type) {
            (GetFieldAccess::ListIndex { key }, _) => key.as_ref().clone(),
            (GetFieldAccess::NamedStructField { name }, DataType::Map(..)) => lit(name.clone()),
            (GetFieldAccess::ListRange { .. }, _) => return Err(DataFusionError::NotImplemented("a range as subscript".into())),
            (GetFieldAccess::NamedStructField { .. }, _) => return Ok(PlannerResult::Original(expr)),
        };
        if let (DataType::Struct(fields), Expr::Literal(ScalarValue::Int64(Some(position)), _)) = (&data_type, &key) {
            let index = usize::try_from(*position).ok().and_then(|position| position.checked_sub(1));
            let Some(field) = index.and_then(|index| fields.get(index)) else {
                return Err(DataFusionError::Plan(format!(
                    "Invalid subscript index: {position}. Rows have {} fields",
                    fields.len()
                )));
            };
            let name = ScalarValue::from(field.name().as_str());
            let field_access = GetFieldAccess::NamedStructField { name };
            return Ok(PlannerResult::Original(RawFieldAccessExpr { field_access, ..expr }));
        }
        Ok(PlannerResult::Planned(subscript().call(vec![expr.expr, key])))
    }
}

/// Whether the digits of two exact numbers, one of them a decimal, leave no room for each result.
fn may_run_over(operation: Checked, left: &DataType, right: &DataType) -> bool {
    if !matches!((left, right), (DataType::Decimal128(..), _) | (_, DataType::Decimal128(..))) {
        return false;
    }
    let (Some((left, left_scale)), Some((right, right_scale))) = (digits(left), digits(right)) else { return false };
    let scale = i16::from(left_scale.max(right_scale));
    let whole = |digits: u8, scale: i8| i16::from(digits) - i16::from(scale);
    let needed = match operation {
        Checked::Multiply => i16::from(left) + i16::from(right) + 1,
        _ => whole(left, left_scale).max(whole(right, right_scale)) + scale + 2,
    };
    needed > i16::from(MAX_DECIMAL_DIGITS)
}

/// `||` of arrays is the function: the engine's takes a NULL for an empty array. Of other things than texts, only texts have it.
fn concatenated(expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    let (left, right) = (expr.left.get_type(schema), expr.right.get_type(schema));
    let is_list = |of: &Result<DataType>| matches!(of, Ok(DataType::List(_)));
    let is_other = |of: &DataType| of.is_numeric() || is_moment(of) || *of == DataType::Boolean;
    if is_list(&left) || is_list(&right) {
        return Ok(PlannerResult::Planned(own("concat", vec![expr.left, expr.right])?));
    }
    match (&left, &right) {
        (Ok(left), Ok(right)) if is_other(left) || is_other(right) => {
            let what = "for function concat: || is of texts, binaries and arrays; cast to varchar";
            Err(DataFusionError::Plan(format!("FUNCTION_NOT_FOUND: Unexpected parameters ({left}, {right}) {what}")))
        }
        _ => Ok(PlannerResult::Original(expr)),
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// Times of different digits are compared by all of them; the engine compares only those of one type.
fn times_compared(expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    let unit = |of: &Expr| match of.get_type(schema) {
        Ok(DataType::Time32(unit) | DataType::Time64(unit)) => Some(unit),
        _ => None,
    };
    let (Some(left), Some(right)) = (unit(&expr.left), unit(&expr.right)) else { return Ok(PlannerResult::Original(expr)) };
    if left == right {
        return Ok(PlannerResult::Original(expr));
    }
    let digits = lit(super::casts::digits(left.max(right)));
    let finest = |time: Expr| own("owlet_cast_time", vec![time, digits.clone()]);
    Ok(PlannerResult::Original(RawBinaryExpr { op: expr.op, left: finest(expr.left)?, right: finest(expr.right)? }))
}

/// Arithmetic with intervals and of moments; none where neither is in it.
fn with_interval(expr: &RawBinaryExpr, operation: Checked, left: &DataType, right: &DataType) -> Result<Option<Expr>> {
    let is_time = |of: &DataType| matches!(of, DataType::Time32(_) | DataType::Time64(_));
    let is_point = |of: &DataType| is_moment(of) || is_time(of);
    let (first, second) = (expr.left.clone(), expr.right.clone());
    let call = |name: &str, first: Expr, second: Expr| own(name, vec![first, second]).map(Some);
    if operation == Checked::Subtract && is_point(left) && is_point(right) {
        return call("owlet_time_between", first, second);
    }
    if !is_interval(left) && !is_interval(right) {
        return Ok(None);
    }
    // NULL is of the other operand's kind.
    let typed = |expr: Expr, of: &DataType, other: &DataType| if of.is_null() { cast(expr, other.clone()) } else { expr };
    let (first, second) = (typed(first, left, right), typed(second, right, left));
    match operation {
        Checked::Add if is_interval(left) && is_point(right) => call("owlet_add_interval", second, first),
        Checked::Add => call("owlet_add_interval", first, second),
        Checked::Subtract => call("owlet_subtract_interval", first, second),
        Checked::Multiply if left.is_numeric() => call("owlet_multiply_interval", second, first),
        Checked::Multiply if right.is_numeric() => call("owlet_multiply_interval", first, second),
        Checked::Divide if right.is_numeric() => call("owlet_divide_interval", first, second),
        _ => Err(DataFusionError::Plan(format!("TYPE_MISMATCH: Cannot apply operator: {left} {} {right}", expr.op))),
    }
}

/// Whether values of a type are intervals.
pub(super) fn is_interval(of: &DataType) -> bool {
    matches!(of, &DAY_TIME | &YEAR_MONTH)
}

fn is_moment(of: &DataType) -> bool {
    matches!(of, DataType::Date32 | DataType::Timestamp(..))
}

/// Arithmetic of exact numbers of which one is a decimal, with Athena's digits and failures; none where the engine's is the same.
pub(super) fn exact(left: &Expr, left_type: &DataType, operation: Checked, right: &Expr, right_type: &DataType) -> Option<Expr> {
    let (first, second) = ((left, left_type), (right, right_type));
    match operation {
        Checked::Divide => of_decimals(DIVIDE[0], first, second),
        _ if !may_run_over(operation, left_type, right_type) => None,
        Checked::Modulo => of_decimals(MODULO, first, second),
        _ => Some(checked(operation).call(vec![left.clone(), right.clone()])),
    }
}

/// A division in TRY; none where the engine's is the same.
pub(super) fn tried(left: (&Expr, &DataType), right: (&Expr, &DataType)) -> Option<Expr> {
    of_decimals(DIVIDE[1], left, right)
}

/// A call of `function`, which takes decimals; none of exact numbers without a decimal.
fn of_decimals(function: &str, (left, left_type): (&Expr, &DataType), (right, right_type): (&Expr, &DataType)) -> Option<Expr> {
    if !matches!((left_type, right_type), (DataType::Decimal128(..), _) | (_, DataType::Decimal128(..))) {
        return None;
    }
    let decimal = |side: &Expr, of: &DataType| {
        let (precision, scale) = digits(of)?;
        let to = DataType::Decimal128(precision, scale);
        Some(if *of == to { side.clone() } else { cast(side.clone(), to) })
    };
    own(function, vec![decimal(left, left_type)?, decimal(right, right_type)?]).ok()
}

/// The decimal that has room for the exact numbers among `types`.
pub(super) fn common_decimal(types: &[DataType]) -> Option<DataType> {
    let numbers = || types.iter().filter_map(digits);
    let scale = numbers().map(|(_, scale)| scale).max()?;
    let whole = numbers().map(|(digits, scale)| i16::from(digits) - i16::from(scale)).max()?;
    let digits = u8::try_from(whole + i16::from(scale)).ok()?.min(MAX_DECIMAL_DIGITS);
    Some(DataType::Decimal128(digits, scale))
}

/// Digits and scale of a number that is exact.
fn digits(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        _ => None,
    }
}
