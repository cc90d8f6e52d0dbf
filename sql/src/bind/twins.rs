//! Two tables of one name from two databases in one FROM: what is called by that name alone is ambiguous, as in Athena. The planner would
//! take the first table for both.

use super::using::relation_name;
use crate::message::named;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, Visit, Visitor,
};
use engine::{Error, Result};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

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
                    columns.check(ident, "*")?;
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
    /// Names of two of its relations.
    twins: BTreeSet<String>,
    depth: usize,
}

impl Columns {
    fn of(select: &Select) -> Self {
        let (mut names, mut twins) = (BTreeSet::new(), BTreeSet::new());
        select.from.iter().for_each(|from| add(from, &mut names, &mut twins));
        Self { twins, depth: 0 }
    }

    fn check(&self, relation: &Ident, column: &str) -> ControlFlow<Error> {
        let name = relation.value.to_lowercase();
        if self.depth > 0 || !self.twins.contains(&name) {
            return ControlFlow::Continue(());
        }
        let why = format!("Column '{name}.{column}' is ambiguous: two tables have this name, say its database too");
        ControlFlow::Break(named("AMBIGUOUS_NAME", Some(relation.span.start), &why))
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
                [relation, column] => self.check(relation, &column.value),
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

fn add(from: &TableWithJoins, names: &mut BTreeSet<String>, twins: &mut BTreeSet<String>) {
    for relation in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
        match relation {
            TableFactor::NestedJoin { table_with_joins, .. } => add(table_with_joins, names, twins),
            TableFactor::Table { alias: None, .. } => {
                if let Ok(name) = relation_name(relation)
                    && !names.insert(name.clone())
                {
                    twins.insert(name);
                }
            }
            _ => {}
        }
    }
}
