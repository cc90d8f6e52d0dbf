//! Two tables of one name from two databases in one FROM: what is called by that name alone is ambiguous, as in Athena. The planner would
//! take the first table for both. It would do so for names with a database, too, where FROM calls one of the tables without.

use super::using::relation_name;
use crate::message::named;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, Visit, Visitor,
};
use engine::{Error, Result};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Refuses columns of `query` that the planner might take from the wrong one of two tables of a name.
///
/// # Errors
/// `AMBIGUOUS_NAME` for a column that is qualified with the name of two tables of its FROM.
pub(super) fn check(query: &Query) -> Result<()> {
    struct Scopes;
    impl Visitor for Scopes {
        type Break = Error;

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
            match (query.body.as_ref(), &query.order_by) {
                (SetExpr::Select(select), Some(order_by)) => order_by.visit(&mut Columns::of(select)),
                _ => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Error> {
            let mut columns = Columns::of(select);
            if columns.twins.is_empty() {
                return ControlFlow::Continue(());
            }
            for item in &select.projection {
                if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item
                    && let [one] = name.0.as_slice()
                    && let Some(ident) = one.as_ident()
                {
                    columns.check(ident, ident, "*")?;
                }
            }
            select.visit(&mut columns)
        }
    }
    match query.visit(&mut Scopes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Looks at the columns of one SELECT, and not at those of queries inside.
struct Columns {
    /// Names of two of its relations, and whether one of them is called so without a database.
    twins: BTreeMap<String, bool>,
    depth: usize,
}

impl Columns {
    fn of(select: &Select) -> Self {
        let mut calls: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        select.from.iter().for_each(|from| add(from, &mut calls));
        calls.retain(|_, parts| parts.len() > 1);
        Self { twins: calls.into_iter().map(|(name, parts)| (name, parts.contains(&1))).collect(), depth: 0 }
    }

    /// Looks at `relation.column`, or at a longer name that starts with `first`.
    fn check(&self, first: &Ident, relation: &Ident, column: &str) -> ControlFlow<Error> {
        let name = relation.value.to_lowercase();
        let place = Some(first.span.start);
        match self.twins.get(&name).filter(|_| self.depth == 0) {
            Some(_) if std::ptr::eq(first, relation) => {
                let why = format!("Column '{name}.{column}' is ambiguous: two tables have this name, say its database too");
                ControlFlow::Break(named("AMBIGUOUS_NAME", place, &why))
            }
            Some(true) => {
                let why = format!(
                    "two tables are named {name}, and FROM gives one of them without its database: write it, or give aliases"
                );
                ControlFlow::Break(named("NOT_SUPPORTED", place, &why))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for Columns {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Error> {
        match expression {
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [relation, column] => self.check(relation, relation, &column.value),
                // A field of a struct of a table's column, or the database before the table.
                [first, relation, column, ..] => {
                    self.check(first, relation, &column.value)?;
                    parts.get(2).map_or(ControlFlow::Continue(()), |third| self.check(first, third, ""))
                }
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Adds the tables of `from` without aliases, each with the number of parts of its name.
fn add(from: &TableWithJoins, calls: &mut BTreeMap<String, Vec<usize>>) {
    for relation in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
        match relation {
            TableFactor::NestedJoin { table_with_joins, .. } => add(table_with_joins, calls),
            TableFactor::Table { alias: None, name, .. } => {
                if let Ok(last) = relation_name(relation) {
                    calls.entry(last).or_default().push(name.0.len());
                }
            }
            _ => {}
        }
    }
}
