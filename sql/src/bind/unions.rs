//! Long chains of UNION as balanced trees: the planner looks at all of a tree at each of its levels.

use datafusion::sql::sqlparser::ast::{Query, SetExpr, SetOperator, SetQuantifier, Table, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// Shortest chain that is changed; others keep the plan that their text shows.
const MIN_CHAIN: usize = 64;

/// Puts the branches of each long chain of one kind of UNION into a tree of the same order.
pub(super) fn balance(query: &mut Query) {
    struct Balance;
    impl VisitorMut for Balance {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            balance_body(&mut query.body);
            ControlFlow::Continue(())
        }
    }
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut Balance);
}

fn balance_body(body: &mut Box<SetExpr>) {
    let SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, .. } = **body else { return };
    let mut length = 1;
    let mut node = &**body;
    while let Some(left) = left_of(node, set_quantifier) {
        node = left;
        length += 1;
    }
    if length < MIN_CHAIN {
        return;
    }
    let mut branches = Vec::with_capacity(length);
    let mut rest = take(body);
    loop {
        match *rest {
            SetExpr::SetOperation { op: SetOperator::Union, set_quantifier: found, left, right } if found == set_quantifier => {
                branches.push(*right);
                rest = left;
            }
            other => {
                branches.push(other);
                break;
            }
        }
    }
    branches.reverse();
    **body = tree(branches, set_quantifier);
}

fn left_of(node: &SetExpr, quantifier: SetQuantifier) -> Option<&SetExpr> {
    match node {
        SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, .. } if *set_quantifier == quantifier => Some(left),
        _ => None,
    }
}

fn take(body: &mut Box<SetExpr>) -> Box<SetExpr> {
    std::mem::replace(body, Box::new(nothing()))
}

/// What stands where a branch was taken from.
fn nothing() -> SetExpr {
    SetExpr::Table(Box::new(Table { table_name: None, schema_name: None }))
}

/// As deep as the logarithm of the number of branches.
fn tree(mut branches: Vec<SetExpr>, set_quantifier: SetQuantifier) -> SetExpr {
    while branches.len() > 1 {
        let mut pairs = Vec::with_capacity(branches.len().div_ceil(2));
        let mut single = branches.into_iter();
        while let Some(left) = single.next() {
            pairs.push(match single.next() {
                Some(right) => {
                    let (left, right) = (Box::new(left), Box::new(right));
                    SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right }
                }
                None => left,
            });
        }
        branches = pairs;
    }
    branches.pop().unwrap_or_else(nothing)
}
