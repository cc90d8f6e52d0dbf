//! Texts that are read as moments, each with an offset of its own. A column of moments has one zone here, but what is around the call
//! often asks for the instant only, or for the clock of the text only: that is what is read then.

use super::function_name;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    TimezoneInfo,
};

/// Functions that read such texts.
const READERS: [&str; 2] = ["from_iso8601_timestamp", "parse_datetime"];
/// Functions of what a clock and a calendar show in the zone of their argument.
const OF_CLOCKS: [&str; 18] = [
    "date",
    "date_format",
    "day",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "dow",
    "doy",
    "hour",
    "millisecond",
    "minute",
    "month",
    "quarter",
    "second",
    "week",
    "week_of_year",
    "year",
    "year_of_week",
];
/// Functions of an instant, whatever its zone.
const OF_INSTANTS: [&str; 2] = ["at_timezone", "to_unixtime"];

/// What is read of a text.
#[derive(Clone, Copy)]
enum Read {
    Clock,
    Instant,
}

/// Has the calls in `expression` read no more than it asks for.
pub(super) fn read_for(expression: &mut Expr) {
    match expression {
        Expr::Cast {
            expr,
            data_type: DataType::Date | DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone),
            ..
        } => read(expr, Read::Clock),
        Expr::Extract { field: DateTimeField::TimezoneHour | DateTimeField::TimezoneMinute, .. } => {}
        Expr::Extract { expr, .. } => read(expr, Read::Clock),
        Expr::AtTimeZone { timestamp, .. } => read(timestamp, Read::Instant),
        Expr::BinaryOp {
            left,
            op:
                BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq,
            right,
        } => {
            read(left, Read::Instant);
            read(right, Read::Instant);
        }
        Expr::Between { expr, low, high, .. } => [expr, low, high].into_iter().for_each(|part| read(part, Read::Instant)),
        Expr::InList { expr, list, .. } => {
            read(expr, Read::Instant);
            list.iter_mut().for_each(|item| read(item, Read::Instant));
        }
        Expr::Function(function) => read_in(function),
        _ => {}
    }
}

fn read_in(function: &mut Function) {
    let name = function_name(function);
    let what = match name.as_str() {
        name if OF_CLOCKS.contains(&name) => Read::Clock,
        name if OF_INSTANTS.contains(&name) => Read::Instant,
        _ => return,
    };
    if let FunctionArguments::List(list) = &mut function.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
    {
        read(first, what);
    }
}

fn read(part: &mut Expr, what: Read) {
    match part {
        Expr::Nested(inner) => read(inner, what),
        Expr::Function(function) => {
            let name = function_name(function);
            if READERS.contains(&name.as_str()) && function.over.is_none() {
                let prefix = match what {
                    Read::Clock => "owlet_clock",
                    Read::Instant => "owlet_instant",
                };
                function.name = ObjectName::from(vec![Ident::new(format!("{prefix}_{name}"))]);
            }
        }
        _ => {}
    }
}
