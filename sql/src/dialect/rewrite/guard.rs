//! `cardinality(x) > 1 AND x[2] = 3`: what stands on the left of AND keeps what stands on its right from failing.
//!
//! The engine evaluates conditions in any order, and all of them for most rows. A condition that may fail becomes a CASE over
//! the ones before it, which stay beside it for the readers of files.

use super::literal::cast;
use super::select::binary;
use super::{Rewriter, nested, number, take};
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, DataType, Expr, Query, UnaryOperator, Value, Visit, Visitor,
};
use engine::Result;
use std::ops::ControlFlow;

impl Rewriter {
    /// Puts the conditions of `condition` that may fail behind those before them.
    pub(super) fn guard(&mut self, condition: &mut Expr) -> Result<()> {
        let mut guards: Option<Expr> = None;
        for part in conjuncts(condition) {
            match risk(part) {
                Risk::Fails => {
                    if let Some(guards) = &guards {
                        let conditions = vec![CaseWhen { condition: self.copy(guards)?, result: take(part) }];
                        *part = nested(kept(conditions, None));
                    }
                }
                Risk::Query => {}
                Risk::None => {
                    let part = nested(self.copy(part)?);
                    guards = Some(match guards.take() {
                        Some(others) => binary(others, BinaryOperator::And, part),
                        None => part,
                    });
                }
            }
        }
        Ok(())
    }
}

/// A CASE of conditions, as numbers: the engine turns a CASE with boolean results into AND and OR.
fn kept(conditions: Vec<CaseWhen>, otherwise: Option<Box<Expr>>) -> Expr {
    let as_number = |result: Expr| cast(nested(result), DataType::Integer(None));
    let conditions =
        conditions.into_iter().map(|when| CaseWhen { condition: when.condition, result: as_number(when.result) }).collect();
    let case = Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: otherwise.map(|otherwise| Box::new(as_number(*otherwise))),
    };
    binary(case, BinaryOperator::Eq, number(1))
}

/// Keeps a CASE of conditions that may fail from being turned into AND and OR.
pub(super) fn keep_case(expression: &mut Expr) {
    let Expr::Case { operand: None, conditions, else_result, .. } = expression else { return };
    let results = || conditions.iter().map(|when| &when.result).chain(else_result.as_deref());
    let is_kept = results().all(is_condition) && results().any(|result| risk(result) == Risk::Fails);
    if is_kept {
        let conditions = std::mem::take(conditions);
        let otherwise = else_result.take();
        *expression = nested(kept(conditions, otherwise));
    }
}

/// Whether `expression` is true or false by its form.
fn is_condition(expression: &Expr) -> bool {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
    match expression {
        Expr::Nested(inner) => is_condition(inner),
        Expr::BinaryOp { op, .. } => matches!(op, And | Eq | Gt | GtEq | Lt | LtEq | NotEq | Or),
        Expr::UnaryOp { op: UnaryOperator::Not, .. } | Expr::Between { .. } | Expr::InList { .. } | Expr::Like { .. } => true,
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => true,
        Expr::Value(value) => matches!(value.value, Value::Boolean(_) | Value::Null),
        _ => false,
    }
}

/// The parts of a chain of AND, from left to right.
fn conjuncts(condition: &mut Expr) -> Vec<&mut Expr> {
    let mut parts = Vec::new();
    let mut open = vec![condition];
    while let Some(expression) = open.pop() {
        match expression {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                open.push(right);
                open.push(left);
            }
            other => parts.push(other),
        }
    }
    parts
}

#[derive(Clone, Copy, PartialEq)]
enum Risk {
    None,
    /// Holds a query or a CASE, which is not copied.
    Query,
    /// Holds a subscript or a division.
    Fails,
}

fn risk(expression: &Expr) -> Risk {
    struct Find;
    impl Visitor for Find {
        type Break = Risk;

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Risk> {
            ControlFlow::Break(Risk::Query)
        }

        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Risk> {
            let fails = match expression {
                // A CASE guards its own results.
                Expr::Case { .. } => return ControlFlow::Break(Risk::Query),
                Expr::CompoundFieldAccess { access_chain, .. } => {
                    access_chain.iter().any(|access| matches!(access, AccessExpr::Subscript(_)))
                }
                Expr::BinaryOp { op: BinaryOperator::Divide | BinaryOperator::Modulo, .. } => true,
                _ => false,
            };
            if fails { ControlFlow::Break(Risk::Fails) } else { ControlFlow::Continue(()) }
        }
    }
    match expression.visit(&mut Find) {
        ControlFlow::Break(risk) => risk,
        ControlFlow::Continue(()) => Risk::None,
    }
}
