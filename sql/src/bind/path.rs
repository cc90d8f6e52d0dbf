//! `"$path"`: the file that a row comes from, as a column that only who asks for it sees.
//!
//! Tables of a query that asks for it have the column behind their others; `*` leaves it out.

use crate::catalog::PATH;
use crate::message::not_supported;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned, TableFactor,
    TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
};
use engine::{Error, Result};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Whether `query` names the column.
pub(super) fn is_asked(query: &Query) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
            let last = match expression {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(idents) => idents.last(),
                _ => None,
            };
            if last.is_some_and(|ident| ident.value.eq_ignore_ascii_case(PATH)) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
    }
    query.visit(&mut Find).is_break()
}

/// Takes the column of `tables` (names in lower case) out of every `*`.
///
/// # Errors
/// For a `*` over several of them, from which the planner cannot take it.
pub(super) fn hide(query: &mut Query, tables: &HashSet<String>) -> Result<()> {
    match VisitMut::visit(query, &mut Hide(tables)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Hide<'a>(&'a HashSet<String>);

impl VisitorMut for Hide<'_> {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let mut names = Vec::new();
        select.from.iter().for_each(|from| self.names(from, &mut names));
        for item in &mut select.projection {
            let place = item.span().start;
            let options = match item {
                SelectItem::Wildcard(options) if !names.is_empty() => options,
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                    if last_of(name).is_some_and(|name| names.contains(&name)) =>
                {
                    options.opt_exclude = Some(excluded(options.opt_exclude.take()));
                    continue;
                }
                _ => continue,
            };
            if names.len() > 1 {
                let what =
                    "* over several tables beside \"$path\": write a * for each, as in SELECT a.*, b.*, or name the columns";
                return ControlFlow::Break(not_supported(Some(place), what));
            }
            options.opt_exclude = Some(excluded(options.opt_exclude.take()));
        }
        ControlFlow::Continue(())
    }
}

impl Hide<'_> {
    /// What tables with the column are called in `from`.
    fn names(&self, from: &TableWithJoins, names: &mut Vec<String>) {
        for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::Table { name, alias, .. } => {
                    let own = last_of(name).filter(|name| self.0.contains(name));
                    names.extend(own.map(|own| alias.as_ref().map_or(own, |alias| alias.name.value.to_lowercase())));
                }
                TableFactor::NestedJoin { table_with_joins, .. } => self.names(table_with_joins, names),
                _ => {}
            }
        }
    }
}

fn last_of(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(|ident| ident.value.to_lowercase())
}

fn excluded(others: Option<ExcludeSelectItem>) -> ExcludeSelectItem {
    let path = ObjectName::from(vec![Ident::with_quote('"', PATH)]);
    match others {
        None => ExcludeSelectItem::Single(path),
        Some(ExcludeSelectItem::Single(other)) => ExcludeSelectItem::Multiple(vec![other, path]),
        Some(ExcludeSelectItem::Multiple(mut others)) => {
            others.push(path);
            ExcludeSelectItem::Multiple(others)
        }
    }
}
