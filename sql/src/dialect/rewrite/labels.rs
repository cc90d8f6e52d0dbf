//! Names of columns: those of columns without one, and those of several columns that share one.

use super::take;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, TableAlias, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// Splits the name of a column inside a plan from what makes it unique.
const MARK: char = '\u{1}';
/// What the name of a column without a name starts with, where its number is not known yet.
pub(crate) const ANONYMOUS: &str = "_col\u{1}";
/// The name that people see of the column `name`, which is at `index`.
pub(crate) fn label(name: &str, index: usize) -> String {
    if name.starts_with(ANONYMOUS) {
        return format!("_col{index}");
    }
    name.split(MARK).next().unwrap_or(name).to_string()
}

/// Gives a name to each column that has none, and names of its own to columns of the same name.
pub(super) fn name_columns(items: &mut [SelectItem]) {
    let mut is_numbered = true;
    for (index, item) in items.iter_mut().enumerate() {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                *alias = Ident::with_quote('"', alias.value.to_lowercase());
            }
            SelectItem::UnnamedExpr(expression) if own_name(expression).is_none() => {
                let alias = match last_field(expression) {
                    Some(field) => field,
                    None if is_numbered => format!("_col{index}"),
                    None => format!("{ANONYMOUS}{index}"),
                };
                *item = SelectItem::ExprWithAlias { expr: take(expression), alias: Ident::with_quote('"', alias) };
            }
            SelectItem::UnnamedExpr(_) => {}
            _ => is_numbered = false,
        }
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for name in items.iter().filter_map(item_name) {
        *counts.entry(name).or_default() += 1;
    }
    for (index, item) in items.iter_mut().enumerate() {
        if item_name(item).is_some_and(|name| counts.get(&name).is_some_and(|count| *count > 1)) {
            make_unique(item, index);
        }
    }
}

/// Gives fields of rows their own name: `r.x` is `x` for a row `r`, and a column already for a table `r`.
pub(super) fn name_fields(select: &mut Select) {
    let mut relations = HashSet::new();
    for from in &select.from {
        relation_names(from, &mut relations);
    }
    let is_known = |ident: Option<&Ident>| ident.is_some_and(|ident| relations.contains(&ident.value.to_lowercase()));
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expression) = item else { continue };
        let Expr::CompoundIdentifier(idents) = &*expression else { continue };
        let is_field = match idents.len() {
            2 => !is_known(idents.first()),
            3 => is_known(idents.first()) || !is_known(idents.get(1)),
            // With a catalog, a database and a table before it, the last one is a column.
            4 => is_known(idents.first()) || is_known(idents.get(1)) || !is_known(idents.get(2)),
            _ => true,
        };
        if let Some(name) = own_name(expression).filter(|_| is_field) {
            *item = SelectItem::ExprWithAlias { expr: take(expression), alias: Ident::with_quote('"', name) };
        }
    }
}

/// The names that columns of `from` may be qualified with, in lower case.
fn relation_names(from: &TableWithJoins, names: &mut HashSet<String>) {
    for relation in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
        let alias = match relation {
            TableFactor::Table { alias: None, name, .. } => name.0.last().and_then(|part| part.as_ident()),
            // Of `UNNEST(rows) AS t(t)` the column is meant by `t.x`.
            TableFactor::UNNEST { alias: Some(alias), .. } if has_own_name(alias) => None,
            TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. } => {
                alias.as_ref().map(|alias| &alias.name)
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                relation_names(table_with_joins, names);
                None
            }
            _ => None,
        };
        names.extend(alias.map(|alias| alias.value.to_lowercase()));
    }
}

/// Whether a column of a relation is called like it.
fn has_own_name(alias: &TableAlias) -> bool {
    alias.columns.iter().any(|column| column.name.value.eq_ignore_ascii_case(&alias.name.value))
}

fn make_unique(item: &mut SelectItem, index: usize) {
    let Some(name) = item_name(item) else { return };
    let alias = Ident::with_quote('"', format!("{name}{MARK}{index}"));
    if let SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } = item {
        *item = SelectItem::ExprWithAlias { expr: take(expression), alias };
    }
}

fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(expression) => own_name(expression),
        _ => None,
    }
}

/// The name that a column keeps without being given one.
fn own_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Identifier(ident) if is_session_value(ident) => None,
        Expr::Identifier(ident) => Some(ident.value.to_lowercase()),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| ident.value.to_lowercase()),
        _ => None,
    }
}

/// The name of a column, also in parentheses.
fn column_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Nested(inner) => column_name(inner),
        plain => own_name(plain),
    }
}

/// Whether `ident` reads as a column, and is what the session knows; others read as functions.
fn is_session_value(ident: &Ident) -> bool {
    const NAMES: [&str; 3] = ["current_schema", "current_catalog", "current_user"];
    ident.quote_style.is_none() && NAMES.iter().any(|name| ident.value.eq_ignore_ascii_case(name))
}

fn last_field(expression: &Expr) -> Option<String> {
    use datafusion::sql::sqlparser::ast::AccessExpr;
    match expression {
        Expr::Nested(inner) => own_name(inner).or_else(|| last_field(inner)),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(ident))) => Some(ident.value.to_lowercase()),
            Some(AccessExpr::Dot(Expr::Value(value))) => match &value.value {
                Value::SingleQuotedString(name) => Some(name.to_lowercase()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// `query` with names of their own for columns beside a `*`, which may hold the same ones.
pub(crate) fn with_unique_names(query: &mut Query) {
    struct Unique;
    impl VisitorMut for Unique {
        type Break = ();

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            let is_wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
            if select.projection.iter().any(is_wildcard) {
                for (index, item) in select.projection.iter_mut().enumerate() {
                    let keeps_name = match &*item {
                        SelectItem::UnnamedExpr(_) => true,
                        SelectItem::ExprWithAlias { expr, alias } => column_name(expr).is_some_and(|name| name == alias.value),
                        _ => false,
                    };
                    if keeps_name {
                        make_unique(item, index);
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut Unique);
}
