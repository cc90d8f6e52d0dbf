//! `FOR VERSION AS OF` and `FOR TIMESTAMP AS OF`: which table of a query is read in which of its earlier states.

use super::names::{Names, names_of_with};
use super::planned;
use crate::catalog::AsOf;
use crate::dialect::AthenaDialect;
use crate::message::{not_supported, planning_error};
use datafusion::common::ScalarValue;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, ObjectNamePart, Query, SelectItem, SetExpr, Spanned, TableAlias, TableFactor, TableVersion, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Location;
use engine::clock::now_ms;
use engine::{Error, Result};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// What tables of a query are called in it, to their own name and the state that is read.
pub(super) type Versions = HashMap<String, (String, AsOf)>;

/// A table that was given another name, so that it is not taken for its newest state.
struct Renamed {
    to: String,
    name: String,
    version: TableVersion,
    place: Location,
}

/// Takes the versions out of `query`, whose tables have names of their own then.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] for a version that is no constant, or no number or time.
pub(super) async fn take(state: &SessionState, query: &mut Query) -> Result<Versions> {
    let mut take = Take::default();
    if let ControlFlow::Break(error) = VisitMut::visit(query, &mut take) {
        return Err(error);
    }
    if take.found.is_empty() {
        return Ok(Versions::new());
    }
    let named = names_of_with(query);
    let mut versions = Versions::with_capacity(take.found.len());
    for Renamed { to, name, version, place } in take.found {
        if named.contains(&name.to_lowercase()) {
            return Err(not_supported(Some(place), "an earlier state of a name of WITH"));
        }
        let as_of = match version {
            TableVersion::ForSystemTimeAsOf(version) => number(&constant(state, version).await?, place)?,
            TableVersion::TimestampAsOf(time) => time_of(&constant(state, time).await?, place)?,
            _ => return Err(not_supported(Some(place), "this form of a table")),
        };
        versions.insert(to, (name, as_of));
    }
    Ok(versions)
}

#[derive(Default)]
struct Take {
    found: Vec<Renamed>,
}

impl VisitorMut for Take {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, alias, version, .. } = factor else { return ControlFlow::Continue(()) };
        let Some(version) = version.take() else { return ControlFlow::Continue(()) };
        let place = name.span().start;
        let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() else {
            return ControlFlow::Break(not_supported(Some(place), "this form of a table"));
        };
        let own = last.value.clone();
        let to = format!("{own} (as of {})", self.found.len() + 1);
        if alias.is_none() {
            *alias = Some(TableAlias { explicit: true, name: last.clone(), columns: Vec::new(), at: None });
        }
        *last = Ident { quote_style: Some('"'), value: to.clone(), span: last.span };
        self.found.push(Renamed { to, name: own, version, place });
        ControlFlow::Continue(())
    }
}

/// The value of an expression that names no column.
async fn constant(state: &SessionState, expression: SqlExpr) -> Result<ScalarValue> {
    let parsed = Parser::new(&AthenaDialect::default()).try_with_sql("SELECT NULL").and_then(|mut parser| parser.parse_query());
    let mut query = *parsed.map_err(|error| Error::internal(error.to_string()))?;
    let written = expression.to_string();
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(expression)];
    }
    let plan = planned(&Names::none(state), query.clone()).and_then(|plan| state.optimize(&plan));
    let plan = plan.map_err(|error| planning_error(error, Some(&query)))?;
    let value = match &plan {
        LogicalPlan::Projection(projection) => projection.expr.first().cloned().map(Expr::unalias_nested),
        _ => None,
    };
    match value.map(|value| value.data) {
        Some(Expr::Literal(value, _)) => Ok(value),
        _ => Err(Error::invalid(format!("EXPRESSION_NOT_CONSTANT: the version of a table must be a constant, not {written}"))),
    }
}

fn wrong(place: Location, what: &str) -> Error {
    let place = if place.line > 0 { format!("line {}:{}: ", place.line, place.column) } else { String::new() };
    Error::invalid(format!("INVALID_ARGUMENTS: {place}{what}"))
}

fn number(value: &ScalarValue, place: Location) -> Result<AsOf> {
    let number = match value {
        ScalarValue::Int8(Some(number)) => i64::from(*number),
        ScalarValue::Int16(Some(number)) => i64::from(*number),
        ScalarValue::Int32(Some(number)) => i64::from(*number),
        ScalarValue::Int64(Some(number)) => *number,
        other if other.is_null() => return Err(wrong(place, "FOR VERSION AS OF: the version is NULL")),
        _ => return Err(wrong(place, "FOR VERSION AS OF: the version of a table of Delta Lake is a whole number")),
    };
    let version = u64::try_from(number).map_err(|_| wrong(place, "FOR VERSION AS OF: the version is negative"))?;
    Ok(AsOf::Version(version))
}

/// The whole milliseconds of a time. Without a zone it is UTC, as the session is.
fn time_of(value: &ScalarValue, place: Location) -> Result<AsOf> {
    const DAY_MS: i64 = 86_400_000;
    let ms = match value {
        ScalarValue::TimestampSecond(Some(time), _) => time.checked_mul(1_000),
        ScalarValue::TimestampMillisecond(Some(time), _) => Some(*time),
        ScalarValue::TimestampMicrosecond(Some(time), _) => Some(time.div_euclid(1_000)),
        ScalarValue::TimestampNanosecond(Some(time), _) => Some(time.div_euclid(1_000_000)),
        ScalarValue::Date32(Some(days)) => i64::from(*days).checked_mul(DAY_MS),
        other if other.is_null() => return Err(wrong(place, "FOR TIMESTAMP AS OF: the time is NULL")),
        _ => return Err(wrong(place, "FOR TIMESTAMP AS OF: the time is a timestamp or a date")),
    };
    match ms.filter(|ms| *ms <= now_ms()) {
        Some(ms) => Ok(AsOf::Time(ms)),
        None => Err(wrong(place, "FOR TIMESTAMP AS OF: the time is not in the past")),
    }
}
