//! Kinds of joins, and those with USING, whose columns the planner leaves in their place in `*`.

use super::{not_supported, place};
use crate::message;
use datafusion::sql::sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, Query, Select, SelectItem, TableFactor, TableWithJoins, Visit, Visitor,
};
use engine::Result;
use std::ops::ControlFlow;

/// Refuses joins that Athena does not have, or the planner.
pub(super) fn check_joins(select: &Select) -> Result<()> {
    select.from.iter().try_for_each(|from| check(from).map(drop))
}

/// The condition behind ON.
pub(super) fn condition(join: &mut Join) -> Option<&mut Expr> {
    match &mut join.join_operator {
        JoinOperator::Join(JoinConstraint::On(condition))
        | JoinOperator::Inner(JoinConstraint::On(condition))
        | JoinOperator::Left(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition))
        | JoinOperator::Right(JoinConstraint::On(condition))
        | JoinOperator::RightOuter(JoinConstraint::On(condition))
        | JoinOperator::FullOuter(JoinConstraint::On(condition)) => Some(condition),
        _ => None,
    }
}

/// Whether a `*` of `query` is over a join with USING, whose columns come first in Athena.
pub(crate) fn has_star_over_using(query: &Query) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
            let has_using = select.from.iter().any(|from| check(from).unwrap_or(true));
            let is_found = has_using && select.projection.iter().any(is_star);
            if is_found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    query.visit(&mut Find).is_break()
}

/// Whether `from` has a USING.
fn check(from: &TableWithJoins) -> Result<bool> {
    let mut found = false;
    if let TableFactor::NestedJoin { table_with_joins, .. } = &from.relation {
        found |= check(table_with_joins)?;
    }
    for join in &from.joins {
        if let TableFactor::NestedJoin { table_with_joins, .. } = &join.relation {
            found |= check(table_with_joins)?;
        }
        let constraint = match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::CrossJoin(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => constraint,
            _ => return Err(not_supported(&join.relation, "this kind of JOIN")),
        };
        match constraint {
            JoinConstraint::Natural => return Err(not_supported(&join.relation, "NATURAL JOIN")),
            JoinConstraint::Using(_) => found = true,
            JoinConstraint::None if !matches!(join.join_operator, JoinOperator::CrossJoin(_)) => {
                let why = "a JOIN without ON or USING: give its condition, or write CROSS JOIN";
                return Err(message::named("SYNTAX_ERROR", place(&join.relation), why));
            }
            JoinConstraint::None | JoinConstraint::On(_) => {}
        }
    }
    Ok(found)
}
