//! `TRY(x)`: NULL where `x` fails, for the expressions whose failing parts can be told and pass a NULL on.

use super::{call, function_name};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, Query, Subscript, UnaryOperator, Value, Visit, Visitor,
};
use engine::functions::attempt::tried as tried_name;
use std::ops::ControlFlow;

/// Functions that fail for no value (though for wrong settings), and give NULL when an argument is NULL.
const SAFE: [&str; 28] = [
    "owlet_interval_day",
    "owlet_interval_month",
    "upper",
    "lower",
    "trim",
    "ltrim",
    "rtrim",
    "length",
    "reverse",
    "replace",
    "starts_with",
    "concat",
    "substr",
    "substring",
    "json_extract_scalar",
    "json_extract",
    "cardinality",
    "ceil",
    "ceiling",
    "floor",
    "sqrt",
    "exp",
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
];

/// Functions that may fail, and give NULL when an argument is NULL, so that arguments may fail, too.
const PASSING: [&str; 36] = [
    "abs",
    "date",
    "date_add",
    "date_diff",
    "date_format",
    "date_parse",
    "date_trunc",
    "element_at",
    "format_datetime",
    "from_base",
    "from_base64",
    "from_hex",
    "from_iso8601_date",
    "from_iso8601_timestamp",
    "from_unixtime",
    "from_utf8",
    "json_array_get",
    "json_array_length",
    "json_parse",
    "json_size",
    "lpad",
    "parse_datetime",
    "parse_duration",
    "power",
    "regexp_extract",
    "regexp_extract_all",
    "regexp_like",
    "regexp_replace",
    "round",
    "rpad",
    "split",
    "split_part",
    "strpos",
    "to_unixtime",
    "url_decode",
    "url_extract_host",
];

/// `expression` with NULL where it would fail: by functions that fail for no value where such are known, and else by the function that
/// evaluates rows again where a batch fails. None of queries, which no function can take.
pub(super) fn tried(expression: Expr) -> Option<Expr> {
    attempt(expression.clone()).or_else(|| (!has_query(&expression)).then(|| evaluated_again(expression)))
}

fn evaluated_again(expression: Expr) -> Expr {
    let nothing = Expr::Value(Value::Number("1".into(), false).into());
    call("owlet_attempt", vec![nothing, super::fields::lambda("owlet_row", expression)])
}

fn has_query(expression: &Expr) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    expression.visit(&mut Find).is_break()
}

/// The same by functions that fail for no value; none when there are no such.
fn attempt(expression: Expr) -> Option<Expr> {
    if is_safe(&expression) {
        return Some(expression);
    }
    match expression {
        Expr::Nested(inner) => Some(Expr::Nested(Box::new(attempt(*inner)?))),
        Expr::Cast { expr, data_type, array, format, kind: CastKind::Cast | CastKind::TryCast } => {
            Some(Expr::Cast { kind: CastKind::TryCast, expr: Box::new(attempt(*expr)?), data_type, array, format })
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } if !matches!(*expr, Expr::Value(_)) => {
            Some(call(&tried_name("owlet_negate")?, vec![attempt(*expr)?]))
        }
        Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr } => {
            Some(Expr::UnaryOp { op, expr: Box::new(attempt(*expr)?) })
        }
        Expr::BinaryOp { left, op, right } => attempt_operator(*left, op, *right),
        Expr::Function(function) => attempt_function(function),
        Expr::CompoundFieldAccess { root, access_chain } => attempt_access(*root, access_chain),
        Expr::Case { operand: None, conditions, else_result, case_token, end_token } => {
            let branch = |when: CaseWhen| {
                let result = attempt(when.result)?;
                is_safe(&when.condition).then_some(CaseWhen { condition: when.condition, result })
            };
            let conditions = conditions.into_iter().map(branch).collect::<Option<Vec<_>>>()?;
            let else_result = match else_result {
                Some(result) => Some(Box::new(attempt(*result)?)),
                None => None,
            };
            Some(Expr::Case { operand: None, conditions, else_result, case_token, end_token })
        }
        _ => None,
    }
}

fn attempt_operator(left: Expr, op: BinaryOperator, right: Expr) -> Option<Expr> {
    use BinaryOperator::{Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Plus, StringConcat};
    let has_interval = is_interval(&left) || is_interval(&right);
    let (left, right) = (attempt(left)?, attempt(right)?);
    let name = match op {
        // Of what types is not known yet: dates and intervals have these, too.
        Plus | Minus | Multiply => {
            return (!has_query(&left) && !has_query(&right)).then(|| evaluated_again(super::select::binary(left, op, right)));
        }
        Divide | Modulo if has_interval => return None,
        Divide => "owlet_try_divide",
        Modulo => "owlet_try_modulo",
        Eq | NotEq | Gt | GtEq | Lt | LtEq | StringConcat => return Some(super::select::binary(left, op, right)),
        _ => return None,
    };
    Some(call(name, vec![left, right]))
}

fn is_interval(side: &Expr) -> bool {
    matches!(side, Expr::Function(function) if function_name(function).starts_with("owlet_interval"))
}

fn attempt_function(mut function: Function) -> Option<Expr> {
    let name = function_name(&function);
    let cast_name = name.strip_prefix("owlet_cast_").map(|rest| format!("owlet_try_cast_{rest}"));
    let is_own = name.starts_with("owlet_try_");
    let passes_null = PASSING.contains(&name.as_str());
    super::plain_args(&function)?;
    if cast_name.is_none() && !is_own && !SAFE.contains(&name.as_str()) {
        // Of what else gives NULL for a NULL nothing is known, so that its arguments must not fail.
        let may_be_tried = passes_null || super::plain_args(&function)?.into_iter().all(is_safe);
        let tried = tried_name(&name).filter(|_| may_be_tried)?;
        function.name = ObjectName::from(vec![Ident::new(tried)]);
    }
    let FunctionArguments::List(list) = &mut function.args else { return None };
    for arg in &mut list.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = arg else { return None };
        *value = attempt(super::take(value))?;
    }
    if let Some(name) = cast_name {
        let args = super::plain_args(&function)?.into_iter().cloned().collect();
        return Some(call(&name, args));
    }
    Some(Expr::Function(function))
}

/// A subscript that is a literal, and fields behind it: `element_at` gives NULL for what is not there.
fn attempt_access(root: Expr, mut chain: Vec<AccessExpr>) -> Option<Expr> {
    let fields = chain.iter().rev().take_while(|access| matches!(access, AccessExpr::Dot(_))).count();
    let fields = chain.split_off(chain.len() - fields);
    let Some(AccessExpr::Subscript(Subscript::Index { index: Expr::Value(index) })) = chain.pop() else { return None };
    let is_positive = match &index.value {
        Value::Number(digits, _) => digits.parse::<u64>().is_ok_and(|index| index > 0),
        Value::SingleQuotedString(_) => true,
        _ => false,
    };
    let root =
        if chain.is_empty() { attempt(root)? } else { Expr::CompoundFieldAccess { root: Box::new(root), access_chain: chain } };
    let found = (is_positive && is_safe_or_plain(&root)).then(|| call("element_at", vec![root, Expr::Value(index)]))?;
    match fields.is_empty() {
        true => Some(found),
        false => Some(Expr::CompoundFieldAccess { root: Box::new(found), access_chain: fields }),
    }
}

fn is_safe_or_plain(root: &Expr) -> bool {
    match root {
        Expr::CompoundFieldAccess { access_chain, .. } => access_chain.iter().all(|access| matches!(access, AccessExpr::Dot(_))),
        _ => true,
    }
}

/// Whether `expression` fails for no value of its columns.
fn is_safe(expression: &Expr) -> bool {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or, StringConcat};
    match expression {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        Expr::Nested(inner) | Expr::IsNull(inner) | Expr::IsNotNull(inner) | Expr::IsTrue(inner) | Expr::IsFalse(inner) => {
            is_safe(inner)
        }
        Expr::Cast { kind: CastKind::TryCast, expr, .. } => is_safe(expr),
        Expr::Lambda(lambda) => is_safe(&lambda.body),
        Expr::CompoundFieldAccess { root, access_chain } => {
            is_safe(root) && access_chain.iter().all(|access| matches!(access, AccessExpr::Dot(_)))
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => is_safe(expr),
        Expr::BinaryOp { left, op: And | Or | Eq | NotEq | Gt | GtEq | Lt | LtEq | StringConcat, right } => {
            is_safe(left) && is_safe(right)
        }
        Expr::Like { expr, pattern, .. } => is_safe(expr) && is_safe(pattern),
        Expr::Between { expr, low, high, .. } => is_safe(expr) && is_safe(low) && is_safe(high),
        Expr::InList { expr, list, .. } => is_safe(expr) && list.iter().all(is_safe),
        Expr::Function(function) => {
            let name = function_name(function);
            // These pass no NULL on, so that none of their arguments may fail.
            const KEEPING: [&str; 8] = [
                "coalesce",
                "filter",
                "nullif",
                "make_array",
                "named_struct",
                "owlet_json_part",
                "owlet_json_parameter",
                "owlet_json_text",
            ];
            let is_harmless = SAFE.contains(&name.as_str()) || name.starts_with("owlet_try_") || KEEPING.contains(&name.as_str());
            is_harmless && super::plain_args(function).is_some_and(|args| args.into_iter().all(is_safe))
        }
        _ => false,
    }
}
