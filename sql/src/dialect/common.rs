//! The type that values next to each other have in common, in an expression, a column of VALUES, or the branches of a UNION.

use super::casts::{is_text, mixed};
use super::far;
use super::operators;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, Values, cast};
use engine::functions::{DAY_TIME, JSON, YEAR_MONTH};
use std::sync::Arc;

/// Whether values of several time zones may meet: in a comparison they may, in one column not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zones {
    Any,
    One,
}

/// Refuses JSON where text is wanted.
pub(super) fn refuse_json(operands: &[&Expr], schema: &DFSchema) -> Result<()> {
    let is_json = |operand: &&Expr| operand.get_type(schema).is_ok_and(|of| of == JSON);
    if operands.iter().any(is_json) { Err(mixed(&DataType::Utf8)) } else { Ok(()) }
}

/// Refuses JSON beside other values.
fn check_json(types: &[DataType]) -> Result<()> {
    match types.iter().find(|of| **of != JSON && !of.is_null()) {
        Some(other) if types.contains(&JSON) => Err(mixed(other)),
        _ => Ok(()),
    }
}

/// What all of `types` must become; none where they are left to DataFusion.
pub(super) fn common(types: &[DataType], zones: Zones) -> Result<Option<DataType>> {
    check_json(types)?;
    if types.contains(&DAY_TIME) && types.contains(&YEAR_MONTH) {
        return Err(DataFusionError::Plan(
            "TYPE_MISMATCH: interval day to second and interval year to month have no common type".into(),
        ));
    }
    let moments = || types.iter().filter(|of| matches!(of, DataType::Timestamp(..) | DataType::Date32));
    if moments().next().is_some() && types.iter().any(DataType::is_numeric) {
        return Err(DataFusionError::Plan("TYPE_MISMATCH: a date or timestamp and a number have no common type".into()));
    }
    let zone = |of: &DataType| match of {
        DataType::Timestamp(_, Some(zone)) => Some(Arc::clone(zone)),
        _ => None,
    };
    if zones == Zones::One
        && let Some(first) = types.iter().find_map(zone)
        && moments().any(|of| zone(of).unwrap_or_else(|| Arc::from("UTC")) != first)
    {
        return Err(DataFusionError::NotImplemented(
            "NOT_SUPPORTED: timestamps of different time zones in one column; bring them to one with AT TIME ZONE".into(),
        ));
    }
    let has_decimal = types.iter().any(|of| matches!(of, DataType::Decimal128(..)));
    let mut numbers = types.iter().filter(|of| of.is_numeric());
    let are_alike = numbers.next().is_none_or(|first| numbers.all(|other| other == first));
    // In comparisons whole numbers are left to DataFusion: what it makes of them reaches files and their statistics.
    if are_alike || zones == Zones::Any && !has_decimal {
        return Ok(None);
    }
    if let Some(float) = [DataType::Float64, DataType::Float32].into_iter().find(|float| types.contains(float)) {
        return Ok(Some(float));
    }
    Ok(match zones {
        Zones::Any => None,
        Zones::One if has_decimal => operators::common_decimal(types),
        Zones::One => [DataType::Int64, DataType::Int32, DataType::Int16].into_iter().find(|whole| types.contains(whole)),
    })
}

/// Refuses numbers and texts in one column.
fn check_mix(types: &[DataType]) -> Result<()> {
    match types.iter().find(|of| of.is_numeric()) {
        Some(number) if types.iter().any(is_text) => {
            Err(DataFusionError::Plan(format!("TYPE_MISMATCH: varchar and {number} have no common type in one column")))
        }
        _ => Ok(()),
    }
}

/// `expressions` as what they have in common, and whether any is changed.
pub(super) fn unified(expressions: Vec<Expr>, schema: &DFSchema, zones: Zones) -> Result<(Vec<Expr>, bool)> {
    // Parts of lambdas and outer columns may have no type here.
    let types: Result<Vec<DataType>> = expressions.iter().map(|expression| expression.get_type(schema)).collect();
    let Ok(types) = types else { return Ok((expressions, false)) };
    if zones == Zones::Any
        && let Some(operands) = far::in_reach(&expressions, schema)?
    {
        return Ok((unified(operands, schema, zones)?.0, true));
    }
    if zones == Zones::One {
        check_mix(&types)?;
    }
    let has_zone = types.iter().any(|of| matches!(of, DataType::Timestamp(_, Some(_))));
    let common = common(&types, zones)?;
    if zones == Zones::Any
        && let Some(finest) = finest_of_several(&types)
    {
        let finer = |(expression, of): (Expr, &DataType)| far::with_unit(expression, of, finest);
        let all = expressions.into_iter().zip(&types).map(finer).collect::<Result<Vec<_>>>()?;
        return Ok((unified(all, schema, zones)?.0, true));
    }
    if has_zone && types.iter().any(|of| matches!(of, DataType::Timestamp(_, None) | DataType::Date32)) {
        return Ok((expressions.into_iter().zip(&types).map(far::in_utc).collect(), true));
    }
    if let Some(unit) = unit_beside_dates(&types) {
        let midnight = |(expression, of): (Expr, &DataType)| match of {
            DataType::Date32 => cast(expression, DataType::Timestamp(unit, None)),
            _ => expression,
        };
        return Ok((expressions.into_iter().zip(&types).map(midnight).collect(), true));
    }
    let is_mixed_text = types.iter().all(is_text) && types.windows(2).any(|pair| pair[0] != pair[1]);
    if zones == Zones::One && is_mixed_text {
        let one = |(expression, of): (Expr, &DataType)| match of {
            DataType::Utf8View => expression,
            _ => cast(expression, DataType::Utf8View),
        };
        return Ok((expressions.into_iter().zip(&types).map(one).collect(), true));
    }
    let Some(to) = common else { return Ok((expressions, false)) };
    let one = |(expression, of): (Expr, &DataType)| match of.is_numeric() && *of != to {
        true => cast(expression, to.clone()),
        false => expression,
    };
    Ok((expressions.into_iter().zip(&types).map(one).collect(), true))
}

/// The finest unit of timestamps that have different ones.
fn finest_of_several(types: &[DataType]) -> Option<TimeUnit> {
    let mut units = types.iter().filter_map(|of| if let DataType::Timestamp(unit, _) = of { Some(*unit) } else { None });
    let first = units.next()?;
    let (finest, differ) = units.fold((first, false), |(finest, differ), unit| (finest.max(unit), differ || unit != first));
    differ.then_some(finest)
}

/// The unit of timestamps beside dates, which become timestamps: those of the engine's choice end in the year 2262.
fn unit_beside_dates(types: &[DataType]) -> Option<TimeUnit> {
    let unit = types.iter().find_map(|of| if let DataType::Timestamp(unit, None) = of { Some(*unit) } else { None });
    unit.filter(|_| types.contains(&DataType::Date32))
}

/// The inputs of a union with columns of the types that they have in common.
pub(super) fn unified_union(union: Union) -> Result<LogicalPlan> {
    let columns = union.inputs.first().map_or(0, |input| input.schema().fields().len());
    let mut wanted = Vec::with_capacity(columns);
    for index in 0..columns {
        let of = |input: &Arc<LogicalPlan>| input.schema().fields().get(index).map(|field| field.data_type().clone());
        let types: Vec<DataType> = union.inputs.iter().filter_map(of).collect();
        check_mix(&types)?;
        let moments = unit_beside_dates(&types).map(|unit| DataType::Timestamp(unit, None));
        wanted.push(common(&types, Zones::One)?.or(moments));
    }
    if wanted.iter().all(Option::is_none) {
        return Ok(LogicalPlan::Union(Union::try_new_with_loose_types(union.inputs)?));
    }
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let one = |((qualifier, field), to): ((_, &Arc<Field>), &Option<DataType>)| {
            let column = Expr::Column(datafusion::common::Column::from((qualifier, field)));
            match to {
                Some(to)
                    if (field.data_type().is_numeric() || *field.data_type() == DataType::Date32) && field.data_type() != to =>
                {
                    cast(column, to.clone()).alias(field.name())
                }
                _ => column,
            }
        };
        let columns: Vec<Expr> = input.schema().iter().zip(&wanted).map(one).collect();
        inputs.push(Arc::new(LogicalPlanBuilder::from(Arc::clone(input)).project(columns)?.build()?));
    }
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// VALUES with columns of the types that their values have in common.
///
/// # Errors
/// `NOT_SUPPORTED` for columns that the planner has given a type that Athena's would not have.
pub(super) fn unified_values(values: Values) -> Result<LogicalPlan> {
    let nothing = DFSchema::empty();
    let mut moments = Vec::new();
    for (index, field) in values.schema.fields().iter().enumerate() {
        let sources = values.values.iter().filter_map(|row| source(row.get(index)?).get_type(&nothing).ok());
        let types: Vec<DataType> = sources.collect();
        common(&types, Zones::One)?;
        // What the planner makes of a decimal and a floating-point number.
        let is_mixed = matches!(field.data_type(), DataType::Decimal128(30, 15) | DataType::Decimal128(14, 7));
        if is_mixed && types.iter().any(DataType::is_floating) && types.iter().any(|of| matches!(of, DataType::Decimal128(..))) {
            return Err(DataFusionError::NotImplemented(
                "NOT_SUPPORTED: VALUES of decimals and doubles in one column: cast them to one type".into(),
            ));
        }
        let moment =
            unit_beside_dates(&types).filter(|_| is_chosen(field.data_type())).map(|unit| DataType::Timestamp(unit, None));
        moments.extend(moment.filter(|moment| moment != field.data_type()).map(|moment| (index, moment)));
    }
    let has_query = |value: &Expr| value.exists(|part| Ok(matches!(part, Expr::ScalarSubquery(_))));
    let has_queries = values.values.iter().flatten().map(has_query).try_fold(false, |any, one| one.map(|one| any || one))?;
    if moments.is_empty() && !has_queries {
        return Ok(LogicalPlan::Values(values));
    }
    let mut rows = values.values;
    for row in &mut rows {
        for (index, moment) in &moments {
            row[*index] = cast(source(&row[*index]).clone(), moment.clone());
        }
    }
    if !has_queries {
        return LogicalPlanBuilder::values(rows)?.build();
    }
    // What is above asks for rows of VALUES when it is planned, before a query has run.
    let mut inputs = Vec::with_capacity(rows.len());
    for row in rows {
        let columns = row.into_iter().zip(values.schema.fields()).map(|(value, field)| value.alias(field.name()));
        inputs.push(Arc::new(LogicalPlanBuilder::empty(true).project(columns)?.build()?));
    }
    unified_union(Union::try_new_with_loose_types(inputs)?)
}

/// A value without the cast to the type of its column.
fn source(value: &Expr) -> &Expr {
    if let Expr::Cast(Cast { expr, .. }) = value { expr } else { value }
}

/// Whether the planner has chosen the type of a column of dates and timestamps: nobody writes one of nanoseconds.
fn is_chosen(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(TimeUnit::Nanosecond, None))
}
