//! Moments next to others: of other units and zones, and like `DATE '9999-12-31'`, which timestamps of nanoseconds do not reach.

use super::operators::own;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, cast, lit};
use std::sync::Arc;

/// The years that timestamps of nanoseconds have whole.
const YEARS: std::ops::RangeInclusive<i32> = 1678..=2261;

/// Whether one of `operands` has nanoseconds and another is a constant that they do not reach.
pub(super) fn is_out_of_reach(operands: &[&Expr], schema: &DFSchema) -> bool {
    let Some(types) = operands.iter().map(|operand| operand.get_type(schema).ok()).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let is_fine = |of: &DataType| matches!(of, DataType::Timestamp(TimeUnit::Nanosecond, _));
    types.iter().any(is_fine) && operands.iter().zip(&types).any(|(operand, of)| is_far(operand, of))
}

/// The two sides of a comparison, that of nanoseconds as microseconds where the other one is before or behind all of them, whatever
/// digits they have. None where nothing is to be changed.
pub(super) fn in_reach(operands: &[Expr], schema: &DFSchema) -> Result<Option<Vec<Expr>>> {
    let [left, right] = operands else { return Ok(None) };
    if !is_out_of_reach(&[left, right], schema) {
        return Ok(None);
    }
    let types = operands.iter().map(|operand| operand.get_type(schema)).collect::<Result<Vec<_>>>()?;
    let coarser = |(operand, of): (&Expr, &DataType)| {
        let function = match of {
            DataType::Timestamp(TimeUnit::Nanosecond, None) => "owlet_cast_timestamp",
            DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => "owlet_cast_timestamp_tz",
            _ => return Ok(operand.clone()),
        };
        own(function, vec![operand.clone(), lit(6i64)])
    };
    operands.iter().zip(&types).map(coarser).collect::<Result<Vec<_>>>().map(Some)
}

/// Whether `operand` is a constant of a year that nanoseconds do not reach.
fn is_far(operand: &Expr, of: &DataType) -> bool {
    matches!(of, DataType::Date32 | DataType::Timestamp(..)) && year(operand).is_some_and(|year| !YEARS.contains(&year))
}

/// The year of a text that is cast to a moment.
fn year(operand: &Expr) -> Option<i32> {
    match operand {
        Expr::Cast(Cast { expr, .. }) => year(expr),
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name().starts_with("owlet_cast_") => year(args.first()?),
        Expr::Literal(text, _) => {
            let text = text.try_as_str()??.trim().to_string();
            text.split_once('-').filter(|(year, _)| year.len() == 4)?.0.parse().ok()
        }
        _ => None,
    }
}

/// A timestamp in the unit `finest`. A plain cast would be turned around by the engine, which cuts the digits of a literal off that a
/// coarser column does not have.
pub(super) fn with_unit(moment: Expr, of: &DataType, finest: TimeUnit) -> Result<Expr> {
    let function = match of {
        DataType::Timestamp(unit, _) if *unit == finest => return Ok(moment),
        DataType::Timestamp(_, None) => "owlet_cast_timestamp",
        DataType::Timestamp(_, Some(_)) => "owlet_cast_timestamp_tz",
        _ => return Ok(moment),
    };
    own(function, vec![moment, lit(super::casts::digits(finest))])
}

/// A moment without a time zone as one of UTC.
pub(super) fn in_utc((moment, of): (Expr, &DataType)) -> Expr {
    let unit = match of {
        DataType::Timestamp(unit, None) => *unit,
        DataType::Date32 => TimeUnit::Millisecond,
        _ => return moment,
    };
    let plain = if *of == DataType::Date32 { cast(moment, DataType::Timestamp(unit, None)) } else { moment };
    cast(plain, DataType::Timestamp(unit, Some(Arc::from("UTC"))))
}
