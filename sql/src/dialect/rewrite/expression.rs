//! Expressions: functions and operators by another name, casts that need a length, and what Athena does not have.

use super::select::binary;
use super::{
    Rewriter, attempt, call, fields, function_name, groups, guard, literal, nested, not_supported, number, place, plain_args,
    take, text, zones,
};
use crate::message;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, CharacterLength, DataType, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident, ListAggOnOverflow, NullTreatment, ObjectName,
    TimezoneInfo, UnaryOperator, Value, ValueWithSpan, WindowSpec, WindowType,
};
use engine::{Error, Result};

/// Most characters of a `char(n)`.
const MAX_CHARS: u64 = 65_536;

impl Rewriter {
    /// Rewrites one expression whose parts have been rewritten.
    pub(super) fn rewrite_expression(&mut self, expression: &mut Expr) -> Result<()> {
        zones::read_for(expression);
        fields::without_brackets(expression);
        match expression {
            Expr::Identifier(ident) if ident.quote_style.is_none() => rewrite_word(expression),
            Expr::Function(_) => self.rewrite_function(expression),
            Expr::Cast { .. } => rewrite_cast(expression),
            // The planner looks for no outer columns and no parameters of lambdas in a literal.
            Expr::Array(array) => {
                let elements = std::mem::take(&mut array.elem);
                replace(expression, call("make_array", elements))
            }
            Expr::TypedString(typed) => match literal::typed(typed) {
                Ok(None) => Ok(()),
                Ok(Some(literal)) => replace(expression, literal),
                Err(why) => Err(wrong(expression, &why)),
            },
            Expr::Interval(interval) => match literal::interval(interval) {
                Ok(literal) => replace(expression, literal),
                Err(why) => Err(wrong(expression, &why)),
            },
            Expr::AtTimeZone { timestamp, time_zone } => {
                let (timestamp, zone) = (take(timestamp), take(time_zone));
                replace(expression, call("at_timezone", vec![timestamp, zone]))
            }
            Expr::Case { .. } => {
                guard::keep_case(expression);
                Ok(())
            }
            Expr::Extract { .. } => rewrite_extract(expression),
            Expr::Lambda(lambda) => {
                fields::of_parameters(lambda);
                Ok(())
            }
            Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let mut args = vec![take(expr), take(from)];
                args.extend(substring_for.as_mut().map(|length| take(length)));
                replace(expression, call("substr", args))
            }
            Expr::Position { expr, r#in } => {
                let args = vec![take(r#in), take(expr)];
                replace(expression, call("strpos", args))
            }
            Expr::CompoundFieldAccess { access_chain, .. } if access_chain.iter().any(is_no_field) => {
                Err(wrong(expression, "a name must follow the point"))
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                quote_fields(root, access_chain);
                Ok(())
            }
            Expr::InList { expr, .. } if matches!(expr.as_ref(), Expr::Tuple(_)) => self.rewrite_row_list(expression),
            Expr::InSubquery { expr, .. } if matches!(expr.as_ref(), Expr::Tuple(_)) => {
                Err(not_supported(expression, "(a, b) IN (SELECT ..) elsewhere than in a condition of WHERE without NOT"))
            }
            Expr::Like { .. } => rewrite_like(expression),
            Expr::BinaryOp { op, .. } if !is_known(op) => {
                let what = format!("the operator {op}");
                Err(not_supported(expression, &what))
            }
            Expr::UnaryOp { op, .. } if !matches!(op, UnaryOperator::Not | UnaryOperator::Minus | UnaryOperator::Plus) => {
                let what = format!("the operator {op}");
                Err(not_supported(expression, &what))
            }
            Expr::SimilarTo { .. }
            | Expr::RLike { .. }
            | Expr::InUnnest { .. }
            | Expr::JsonAccess { .. }
            | Expr::Dictionary(_) => Err(not_supported(expression, "this form of an expression")),
            Expr::Value(value) if !is_known_value(&value.value) => Err(not_supported(expression, "this form of a literal")),
            _ => Ok(()),
        }
    }

    /// `(a, b) IN ((1, 2), (3, 4))` as comparisons.
    fn rewrite_row_list(&mut self, expression: &mut Expr) -> Result<()> {
        let Expr::InList { expr, list, negated } = &*expression else { return Ok(()) };
        let Expr::Tuple(left) = expr.as_ref() else { return Ok(()) };
        let mut any: Option<Expr> = None;
        for row in list {
            let right = match row {
                Expr::Tuple(right) if right.len() == left.len() => right,
                _ => return Err(wrong(row, "the rows of IN have different numbers of values")),
            };
            let mut all: Option<Expr> = None;
            for (a, b) in left.iter().zip(right) {
                let equal = binary(nested(self.copy(a)?), BinaryOperator::Eq, nested(b.clone()));
                all = Some(match all {
                    Some(others) => binary(others, BinaryOperator::And, equal),
                    None => equal,
                });
            }
            let Some(all) = all else { continue };
            any = Some(match any {
                Some(others) => binary(others, BinaryOperator::Or, nested(all)),
                None => nested(all),
            });
        }
        let Some(any) = any else { return Ok(()) };
        let negated = *negated;
        let any = nested(any);
        *expression = if negated { nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) }) } else { any };
        Ok(())
    }

    fn rewrite_function(&mut self, expression: &mut Expr) -> Result<()> {
        let Expr::Function(function) = &mut *expression else { return Ok(()) };
        if let Some(WindowType::WindowSpec(WindowSpec { window_frame: Some(frame), .. })) = &mut function.over {
            literal::keep_intervals(frame);
        }
        if !matches!(function.parameters, FunctionArguments::None) {
            return Err(not_supported(expression, "parameters of a function beside its arguments"));
        }
        if matches!(function.args, FunctionArguments::Subquery(_)) {
            return Err(wrong(expression, "a query as argument of a function stands in parentheses of its own"));
        }
        groups::drop_constant_orders(function);
        match function_name(function).as_str() {
            "if" => rewrite_if(expression),
            // Without an order, any row's value will do.
            "arbitrary" | "any_value" if is_ordered(function) => {
                function.name = ObjectName::from(vec![Ident::new("first_value")]);
                function.null_treatment = Some(NullTreatment::IgnoreNulls);
                Ok(())
            }
            "try" => {
                let Some([_]) = plain_args(function).as_deref() else { return Err(wrong(expression, "TRY takes one argument")) };
                let inner = only_arg(function);
                match inner.clone().and_then(attempt::tried) {
                    Some(tried) => replace(expression, nested(tried)),
                    None => Err(message::not_supported(
                        inner.as_ref().and_then(place).or_else(|| place(expression)),
                        "TRY of a query: write it in a column of a subquery",
                    )),
                }
            }
            "listagg" => rewrite_listagg(expression),
            "now" if std::mem::take(&mut self.keeps_now) => Ok(()),
            name @ ("now" | "current_timestamp" | "current_time" | "localtimestamp" | "localtime") => match precision(function) {
                Some(digits) => replace(expression, moment(name, digits)),
                None => Err(wrong(expression, "the digits of a moment are a number from 0 to 9")),
            },
            "array_sort" if matches!(plain_args(function).as_deref(), Some([_, Expr::Lambda(_)])) => {
                function.name = ObjectName::from(vec![Ident::new("array_sort_by")]);
                Ok(())
            }
            "reduce_agg" => self.rewrite_reduce(expression),
            "regexp_replace" if matches!(plain_args(function).as_deref(), Some([_, _, Expr::Lambda(_)])) => {
                self.rewrite_replace(expression)
            }
            "row" => {
                let Some(values) = plain_args(function) else { return Err(not_supported(expression, "this form of ROW")) };
                let named =
                    values.into_iter().enumerate().flat_map(|(index, value)| [text(&format!("field{index}")), value.clone()]);
                let args = named.collect();
                replace(expression, call("named_struct", args))
            }
            "map" if plain_args(function).is_some_and(|args| args.is_empty()) => {
                let empty = || call("make_array", vec![]);
                replace(expression, call("map", vec![empty(), empty()]))
            }
            "normalize" => {
                if let FunctionArguments::List(list) = &mut function.args
                    && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(form))) = list.args.get_mut(1)
                    && let Expr::Identifier(ident) = form
                {
                    *form = text(&ident.value.to_uppercase());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Rewriter {
    /// `reduce_agg(x, start, f, g)` as `reduce` of the array of all `x` that are known. Parts of an array need not be combined.
    fn rewrite_reduce(&mut self, expression: &mut Expr) -> Result<()> {
        let refused = |what: &str| Err(not_supported(expression, what));
        let Expr::Function(function) = &*expression else { return Ok(()) };
        if function.over.is_some() {
            return refused("reduce_agg as a window function");
        }
        let (mut bare, filter) = (function.clone(), function.filter.clone());
        bare.filter = None;
        let args = plain_args(&bare).and_then(|args| <[&Expr; 4]>::try_from(args).ok());
        let Some([value, start, input @ Expr::Lambda(_), Expr::Lambda(_)]) = args else {
            return Err(wrong(expression, "reduce_agg takes a value, a start and two lambdas"));
        };
        let known = Expr::IsNotNull(Box::new(nested(self.copy(value)?)));
        let known = match filter {
            Some(filter) => binary(nested(*filter), BinaryOperator::And, known),
            None => known,
        };
        let mut values = call("array_agg", vec![value.clone()]);
        if let Expr::Function(values) = &mut values {
            values.filter = Some(Box::new(known));
        }
        let same = fields::lambda("owlet_state", Expr::Identifier(Ident::new("owlet_state")));
        let args = vec![values, start.clone(), input.clone(), same];
        replace(expression, call("reduce", args))
    }

    /// `regexp_replace(s, p, x -> f)`: `f` of the groups of each match, in place of the matches.
    fn rewrite_replace(&mut self, expression: &mut Expr) -> Result<()> {
        let Expr::Function(function) = &*expression else { return Ok(()) };
        let Some([value, pattern, lambda]) = plain_args(function).and_then(|args| <[&Expr; 3]>::try_from(args).ok()) else {
            return Ok(());
        };
        let groups = call("owlet_regexp_groups", vec![self.copy(value)?, self.copy(pattern)?]);
        let filled = vec![value.clone(), pattern.clone(), call("transform", vec![groups, lambda.clone()])];
        replace(expression, call("owlet_regexp_fill", filled))
    }
}

/// The digits of a second that a function of the present takes; three when it says none.
fn precision(function: &Function) -> Option<u64> {
    let args = match &function.args {
        FunctionArguments::None => return Some(3),
        _ => plain_args(function)?,
    };
    match args.as_slice() {
        [] => Some(3),
        [Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. })] => digits.parse().ok().filter(|digits| *digits <= 9),
        _ => None,
    }
}

/// The start of the query, with the type that the function `name` has.
fn moment(name: &str, digits: u64) -> Expr {
    let now = call("now", vec![]);
    match name {
        "localtimestamp" => call("owlet_cast_timestamp", vec![now, number(digits)]),
        "localtime" | "current_time" => {
            let moment = call("owlet_cast_timestamp", vec![now, number(digits)]);
            literal::cast(moment, DataType::Time(Some(digits), TimezoneInfo::None))
        }
        _ => call("owlet_cast_timestamp_tz", vec![now, number(digits)]),
    }
}

/// Whether `expression` is what [`moment`] makes.
pub(super) fn is_moment(expression: &Expr) -> bool {
    let Expr::Function(function) = expression else { return false };
    let is_cast = matches!(function_name(function).as_str(), "owlet_cast_timestamp" | "owlet_cast_timestamp_tz");
    let is_now = |arg: &&Expr| matches!(arg, Expr::Function(inner) if function_name(inner) == "now");
    is_cast && plain_args(function).is_some_and(|args| args.first().is_some_and(is_now))
}

fn replace(expression: &mut Expr, with: Expr) -> Result<()> {
    *expression = with;
    Ok(())
}

fn wrong(expression: &Expr, why: &str) -> Error {
    message::at(place(expression), why)
}

fn only_arg(function: &Function) -> Option<Expr> {
    plain_args(function)?.first().map(|arg| (*arg).clone())
}

fn is_known(op: &BinaryOperator) -> bool {
    use BinaryOperator::{And, Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Or, Plus, StringConcat};
    matches!(op, And | Divide | Eq | Gt | GtEq | Lt | LtEq | Minus | Modulo | Multiply | NotEq | Or | Plus | StringConcat)
}

fn is_known_value(value: &Value) -> bool {
    matches!(
        value,
        Value::Number(_, false)
            | Value::SingleQuotedString(_)
            | Value::HexStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Placeholder(_)
    )
}

fn rewrite_if(expression: &mut Expr) -> Result<()> {
    let Expr::Function(function) = &*expression else { return Ok(()) };
    let (condition, result, otherwise) = match plain_args(function).as_deref() {
        Some([condition, result]) => ((*condition).clone(), (*result).clone(), None),
        Some([condition, result, otherwise]) => ((*condition).clone(), (*result).clone(), Some(Box::new((*otherwise).clone()))),
        _ => return Err(wrong(expression, "IF takes two or three arguments")),
    };
    *expression = Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: otherwise,
    };
    guard::keep_case(expression);
    Ok(())
}

/// `listagg(x, ',') WITHIN GROUP (ORDER BY y)` as what makes one text of `array_agg(x ORDER BY y)`.
fn rewrite_listagg(expression: &mut Expr) -> Result<()> {
    let start = place(expression);
    let Expr::Function(function) = &mut *expression else { return Ok(()) };
    let FunctionArguments::List(list) = &mut function.args else { return Err(message::at(start, "LISTAGG takes arguments")) };
    let mut overflow = None;
    for clause in list.clauses.drain(..) {
        match clause {
            FunctionArgumentClause::OnOverflow(ListAggOnOverflow::Error) => {}
            FunctionArgumentClause::OnOverflow(ListAggOnOverflow::Truncate { filler, with_count }) => {
                overflow = Some((filler.map_or_else(|| text("..."), |filler| *filler), with_count));
            }
            _ => return Err(message::not_supported(start, "this form of LISTAGG")),
        }
    }
    if list.args.len() == 1 {
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(text(""))));
    }
    if function.within_group.is_empty() {
        return Err(message::at(start, "LISTAGG needs WITHIN GROUP (ORDER BY ..)"));
    }
    list.clauses.push(FunctionArgumentClause::OrderBy(std::mem::take(&mut function.within_group)));
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(separator))) = list.args.pop().filter(|_| list.args.len() == 1) else {
        return Err(message::at(start, "LISTAGG takes a value and a separator"));
    };
    if !matches!(&separator, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_))) {
        return Err(message::at(start, "the separator of LISTAGG is a string"));
    }
    function.name = ObjectName::from(vec![Ident::new("array_agg")]);
    let texts = take(expression);
    let (filler, with_count) = overflow.unwrap_or((Expr::Value(Value::Null.into()), false));
    replace(expression, call("owlet_listagg", vec![texts, separator, filler, Expr::Value(Value::Boolean(with_count).into())]))
}

/// A name without quotes that is none.
fn rewrite_word(expression: &mut Expr) -> Result<()> {
    let Expr::Identifier(ident) = &*expression else { return Ok(()) };
    let name = ident.value.to_lowercase();
    match name.as_str() {
        "localtimestamp" | "localtime" => replace(expression, moment(&name, 3)),
        // The parser takes these for columns where no query follows.
        "select" | "with" | "values" | "table" => {
            let why = format!("mismatched input '{name}', expecting: an expression");
            Err(wrong(expression, &why))
        }
        _ => Ok(()),
    }
}

/// Whether the rows of an aggregate have an order.
fn is_ordered(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    function.over.is_none() && list.clauses.iter().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)))
}

fn rewrite_extract(expression: &mut Expr) -> Result<()> {
    let Expr::Extract { field, expr, .. } = &mut *expression else { return Ok(()) };
    let name = field.to_string().to_uppercase();
    match name.as_str() {
        "YEAR" | "QUARTER" | "MONTH" | "WEEK" | "DAY" | "HOUR" | "MINUTE" | "SECOND" | "DOY" | "ISODOW" | "ISOYEAR" => {}
        "DOW" | "DAY_OF_WEEK" => *field = DateTimeField::Isodow,
        "DAY_OF_YEAR" => *field = DateTimeField::Doy,
        "DAY_OF_MONTH" => *field = DateTimeField::Day,
        "YOW" | "YEAR_OF_WEEK" => *field = DateTimeField::Isoyear,
        "TIMEZONE_HOUR" | "TIMEZONE_MINUTE" => {
            let part = take(expr);
            return replace(expression, call(&name.to_lowercase(), vec![part]));
        }
        _ => return Err(not_supported(expression, &format!("EXTRACT of {name}"))),
    }
    Ok(())
}

fn rewrite_cast(expression: &mut Expr) -> Result<()> {
    let start = place(expression);
    let Expr::Cast { kind, expr, data_type, array, format } = &mut *expression else { return Ok(()) };
    if *array || format.is_some() {
        return Err(message::not_supported(start, "this form of CAST"));
    }
    let prefix = if matches!(kind, CastKind::TryCast | CastKind::SafeCast) { "owlet_try_cast_" } else { "owlet_cast_" };
    let call_with = |name: &str, args: Vec<Expr>| call(&format!("{prefix}{name}"), args);
    match data_type {
        DataType::Varchar(Some(length)) | DataType::CharacterVarying(Some(length)) | DataType::CharVarying(Some(length)) => {
            let CharacterLength::IntegerLength { length, unit: None } = length else {
                return Err(message::not_supported(start, "this length of VARCHAR"));
            };
            let length = number(*length);
            let value = take(expr);
            *expression = call_with("varchar_n", vec![value, length]);
        }
        DataType::Char(length) | DataType::Character(length) => {
            let length = match length {
                None => 1,
                Some(CharacterLength::IntegerLength { length: length @ 0..=MAX_CHARS, unit: None }) => *length,
                Some(_) => return Err(message::at(start, "CHAR has a length of 0 to 65536")),
            };
            let value = take(expr);
            *expression = call_with("char", vec![value, number(length)]);
        }
        DataType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) if !is_null(expr) => {
            let (value, digits) = (take(expr), number(precision.unwrap_or(3)));
            *expression = call_with("timestamp_tz", vec![value, digits]);
        }
        // The types have 0, 3, 6 or 9 digits.
        DataType::Timestamp(Some(digits @ (1 | 2 | 4 | 5 | 7 | 8)), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
            if !is_null(expr) =>
        {
            let (value, digits) = (take(expr), number(*digits));
            *expression = call_with("timestamp", vec![value, digits]);
        }
        DataType::Time(Some(digits @ (1 | 2 | 4 | 5 | 7 | 8)), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
            if !is_null(expr) =>
        {
            let (value, digits) = (take(expr), number(*digits));
            *expression = call_with("time", vec![value, digits]);
        }
        DataType::JSON => {
            let value = take(expr);
            *expression = call_with("json", vec![value]);
        }
        DataType::Varbinary(_) if is_uuid(expr) => return Err(message::not_supported(start, "the bytes of a UUID")),
        DataType::Uuid => {
            let value = take(expr);
            *expression = call_with("uuid", vec![value]);
        }
        _ => {}
    }
    Ok(())
}

/// Whether `expression` is a UUID, which is a text here.
fn is_uuid(expression: &Expr) -> bool {
    match expression {
        Expr::Nested(inner) => is_uuid(inner),
        Expr::Function(function) => {
            matches!(function_name(function).as_str(), "uuid" | "owlet_cast_uuid" | "owlet_try_cast_uuid")
        }
        _ => false,
    }
}

fn is_null(expression: &Expr) -> bool {
    matches!(expression, Expr::Value(value) if value.value == Value::Null)
}

/// Whether what follows a point is a number or another value that is no name.
fn is_no_field(access: &AccessExpr) -> bool {
    let AccessExpr::Dot(Expr::Value(value)) = access else { return false };
    !matches!(value.value, Value::SingleQuotedString(_))
}

/// Fields of anything but a column, by their names in quotes, as the planner reads them.
fn quote_fields(root: &Expr, chain: &mut [AccessExpr]) {
    let mut is_name = matches!(root, Expr::Identifier(_));
    for access in chain {
        match access {
            AccessExpr::Dot(field) if !is_name => {
                if let Expr::Identifier(ident) = field {
                    *field = text(&ident.value.to_lowercase());
                }
            }
            AccessExpr::Dot(Expr::Identifier(_)) => {}
            _ => is_name = false,
        }
    }
}

/// LIKE without ESCAPE has no escapes, and with it that one only; a backslash is one to DataFusion, always.
fn rewrite_like(expression: &mut Expr) -> Result<()> {
    let start = place(expression);
    let Expr::Like { pattern, escape_char, any, .. } = &mut *expression else { return Ok(()) };
    if *any {
        return Err(message::not_supported(start, "LIKE ANY"));
    }
    let escape = match escape_char.as_ref().map(|value| &value.value) {
        None => None,
        Some(Value::SingleQuotedString(text)) if text.chars().count() == 1 => text.chars().next(),
        Some(_) => return Err(message::at(start, "ESCAPE takes one character")),
    };
    let backslash = || Value::SingleQuotedString("\\".into());
    match pattern.as_mut() {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(written), .. }) => {
            let Some(changed) = literal::like_pattern(written, escape) else {
                return Err(message::at(start, "the ESCAPE character of LIKE stands before %, _ or itself only"));
            };
            if changed != *written || escape.is_some() {
                *written = changed;
                *escape_char = Some(backslash().into());
            }
        }
        _ if escape == Some('\\') => {}
        pattern if escape.is_none() => {
            let args = vec![take(pattern), text("\\"), text("\\\\")];
            *pattern = call("replace", args);
            *escape_char = Some(backslash().into());
        }
        _ => return Err(message::not_supported(start, "LIKE with ESCAPE and a pattern that is not a literal")),
    }
    Ok(())
}
