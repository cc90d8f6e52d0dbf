//! `cardinality(x) > 1 AND x[2] = 3`: what stands on the left of AND keeps what stands on its right from failing.
//!
//! The engine evaluates conditions in any order, and all of them for most rows. A condition that may fail becomes a CASE over
//! the ones before it, which stay beside it for the readers of files.

use super::literal::cast;
use super::select::binary;
use super::{Rewriter, change_own, nested, number, take};
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType, Expr, OrderByKind, Query, UnaryOperator, Value, Visit, Visitor,
};
use engine::Result;
use std::collections::HashSet;
use std::ops::ControlFlow;

impl Rewriter {
    /// Puts the conditions of `condition` that may fail behind those before them.
    pub(super) fn guard(&mut self, condition: &mut Expr) -> Result<()> {
        let mut guards: Option<Expr> = None;
        let (mut guarded, mut seen) = (HashSet::new(), HashSet::new());
        for part in conjuncts(condition) {
            // Other casts stay conditions of their own, which readers of files take, and so do those that have not failed before.
            let casts = casts(part);
            let is_cast =
                !may_be_key(part) && casts.iter().any(|(text, names)| !seen.contains(text) && !guarded.is_disjoint(names));
            seen.extend(casts.into_iter().map(|(text, _)| text));
            match risk(part) {
                risk if risk == Risk::Fails || risk == Risk::None && is_cast => {
                    if let Some(guards) = &guards {
                        let conditions = vec![CaseWhen { condition: self.copy(guards)?, result: take(part) }];
                        *part = nested(kept(conditions, None));
                    }
                }
                Risk::None => {
                    guarded.extend(names(part));
                    self.copy_behind(&mut guards, &BinaryOperator::And, part)?;
                }
                _ => {}
            }
        }
        for part in conjuncts(condition) {
            self.guard_value(part)?;
        }
        Ok(())
    }

    /// The same for what the rows of `query` are sorted by.
    pub(super) fn guard_order(&mut self, query: &mut Query) -> Result<()> {
        match query.order_by.as_mut().map(|order| &mut order.kind) {
            Some(OrderByKind::Expressions(orders)) => orders.iter_mut().try_for_each(|order| self.guard_value(&mut order.expr)),
            _ => Ok(()),
        }
    }

    /// The same for the condition of a join, of which what may be a key of it stays as it is.
    pub(super) fn guard_join(&mut self, condition: &mut Expr) -> Result<()> {
        let mut guards: Option<Expr> = None;
        for part in conjuncts(condition) {
            if is_beside_literal(part) && risk(part) == Risk::Fails {
                if let Some(guards) = &guards {
                    let conditions = vec![CaseWhen { condition: self.copy(guards)?, result: take(part) }];
                    *part = nested(kept(conditions, None));
                }
            } else if risk(part) == Risk::None {
                self.copy_behind(&mut guards, &BinaryOperator::And, part)?;
            }
            self.guard_value(part)?;
        }
        Ok(())
    }

    /// Puts a copy of `part` behind `all` of one operator.
    fn copy_behind(&mut self, all: &mut Option<Expr>, op: &BinaryOperator, part: &Expr) -> Result<()> {
        let part = nested(self.copy(part)?);
        *all = Some(match all.take() {
            Some(others) => binary(others, op.clone(), part),
            None => part,
        });
        Ok(())
    }

    /// Puts the right side of each AND and OR of `expression` that may fail behind what decides them on the left.
    pub(super) fn guard_value(&mut self, expression: &mut Expr) -> Result<()> {
        // What is guarded is looked at again within its guard.
        change_own(expression, |expression| self.guard_right(expression))
    }

    /// `a AND b` as `a AND CASE WHEN a IS FALSE THEN false ELSE b END`, and OR likewise, where `b` may fail.
    fn guard_right(&mut self, expression: &mut Expr) -> Result<()> {
        let Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } = expression else {
            return Ok(());
        };
        if risk(right) != Risk::Fails && !has_cast(right) {
            return Ok(());
        }
        let mut deciding: Option<Expr> = None;
        for part in parts_of(left, op) {
            if risk(part) == Risk::None && !has_cast(part) {
                self.copy_behind(&mut deciding, op, part)?;
            }
        }
        let Some(deciding) = deciding.map(|all| Box::new(nested(all))) else { return Ok(()) };
        let (decided, value) = match op {
            BinaryOperator::And => (Expr::IsFalse(deciding), false),
            _ => (Expr::IsTrue(deciding), true),
        };
        let decided = CaseWhen { condition: decided, result: Expr::Value(Value::Boolean(value).into()) };
        **right = nested(kept(vec![decided], Some(Box::new(take(right)))));
        Ok(())
    }
}

/// Whether `condition` is an equation of two columns, by which relations may be joined.
fn may_be_key(condition: &Expr) -> bool {
    match condition {
        Expr::Nested(inner) => may_be_key(inner),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => !names(left).is_empty() && !names(right).is_empty(),
        _ => false,
    }
}

/// The columns of `expression`, by their last names.
fn names(expression: &Expr) -> HashSet<String> {
    struct Find(HashSet<String>);
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
            let last = match expression {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(path) => path.last(),
                _ => None,
            };
            self.0.extend(last.map(|last| last.value.to_lowercase()));
            ControlFlow::Continue(())
        }
    }
    let mut found = Find(HashSet::new());
    // The walk never breaks off.
    let _: ControlFlow<()> = expression.visit(&mut found);
    found.0
}

/// The casts in `expression` that may fail, by their text, with the columns in them.
fn casts(expression: &Expr) -> Vec<(String, HashSet<String>)> {
    struct Find(Vec<(String, HashSet<String>)>);
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
            if let Expr::Cast { kind: CastKind::Cast, data_type, .. } = expression
                && !matches!(data_type, DataType::Varchar(_) | DataType::String(_) | DataType::Text | DataType::JSON)
            {
                self.0.push((expression.to_string(), names(expression)));
            }
            ControlFlow::Continue(())
        }
    }
    let mut found = Find(Vec::new());
    // The walk never breaks off.
    let _: ControlFlow<()> = expression.visit(&mut found);
    found.0
}

/// Whether `condition` compares with a literal.
fn is_beside_literal(condition: &Expr) -> bool {
    match condition {
        Expr::Nested(inner) => is_beside_literal(inner),
        Expr::BinaryOp { left, right, .. } => matches!(**left, Expr::Value(_)) || matches!(**right, Expr::Value(_)),
        _ => false,
    }
}

/// Whether a cast in `expression` may fail, or a query keeps it from being said.
fn has_cast(expression: &Expr) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = bool;
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<bool> {
            ControlFlow::Break(false)
        }

        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<bool> {
            match expression {
                Expr::Case { .. } => ControlFlow::Break(false),
                Expr::Cast { kind: CastKind::Cast, expr, .. } if !matches!(expr.as_ref(), Expr::Value(_)) => {
                    ControlFlow::Break(true)
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    matches!(expression.visit(&mut Find), ControlFlow::Break(true))
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
    parts_of(condition, &BinaryOperator::And)
}

/// The parts of a chain of one operator, from left to right.
fn parts_of<'a>(condition: &'a mut Expr, operator: &BinaryOperator) -> Vec<&'a mut Expr> {
    let mut parts = Vec::new();
    let mut open = vec![condition];
    while let Some(expression) = open.pop() {
        if !matches!(&*expression, Expr::BinaryOp { op, .. } if op == operator) {
            parts.push(expression);
        } else if let Expr::BinaryOp { left, right, .. } = expression {
            open.push(right);
            open.push(left);
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
