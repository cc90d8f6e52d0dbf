//! Forms that the planner refuses once it knows what they are, spelled so that it takes them.

use super::names::names_of_with;
use crate::dialect::rewrite::{call, set_apart};
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Query, TableFactor, UnaryOperator, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// What the planner says of the field of a column that is outside.
const OUTER_FIELD: &str = "Nested identifiers are not yet supported for OuterReferenceColumn ";
/// What it says of minus before what is no number.
const MINUS: &str = "Unary operator '-' only supports";

/// Spells `query`, of which the planner said `error`, otherwise. Gives whether there is another spelling.
pub(super) fn spelled(query: &mut Query, error: &DataFusionError) -> bool {
    let text = error.strip_backtrace();
    if text.contains(MINUS) {
        return negate_by_call(query);
    }
    let Some((_, column)) = text.split_once(OUTER_FIELD) else { return false };
    let column = column.lines().next().unwrap_or_default().trim();
    let (relation, name) = column.rsplit_once('.').unwrap_or(("", column));
    let plain = |name: &str| name.trim_matches('"').to_lowercase();
    let (relation, name) = (plain(relation.rsplit('.').next().unwrap_or_default()), plain(name));
    // `a.b` might be the column `b` of a table `a` in another place.
    if names_of_relations(query).contains(&name) {
        return false;
    }
    set_apart(query, |path| {
        let is = |ident: &Ident, name: &str| ident.value.to_lowercase() == name;
        let at = path.iter().position(|ident| is(ident, &name))?;
        let is_column = at.checked_sub(1).and_then(|before| path.get(before)).is_none_or(|before| is(before, &relation));
        is_column.then_some(at + 1)
    })
}

/// The names that relations have anywhere in `query`, in lower case.
fn names_of_relations(query: &Query) -> HashSet<String> {
    struct Collect(HashSet<String>);
    impl Visitor for Collect {
        type Break = ();

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            self.0.extend(relation.0.last().and_then(|part| part.as_ident()).map(|name| name.value.to_lowercase()));
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if let TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } = factor
            {
                self.0.insert(alias.name.value.to_lowercase());
            }
            ControlFlow::Continue(())
        }
    }
    let mut collect = Collect(names_of_with(query));
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut collect);
    collect.0
}

/// Minus of anything but a literal as a function, which takes intervals too.
fn negate_by_call(query: &mut Query) -> bool {
    struct Negate {
        found: bool,
    }
    impl VisitorMut for Negate {
        type Break = ();

        fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
            if let Expr::UnaryOp { op: UnaryOperator::Minus, expr } = expression
                && !matches!(expr.as_ref(), Expr::Value(ValueWithSpan { value: Value::Number(..), .. }))
            {
                *expression = call("owlet_negate", vec![expr.as_ref().clone()]);
                self.found = true;
            }
            ControlFlow::Continue(())
        }
    }
    let mut negate = Negate { found: false };
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut negate);
    negate.found
}
