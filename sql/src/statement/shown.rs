//! The names of a query's columns in the case that the query writes them in: what people see above the rows. Everything else has names
//! in lower case.

use crate::dialect::tokens::Tokens;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins};
use std::collections::{BTreeMap, BTreeSet};

/// Names as they are written, by their name in lower case.
type ByName = BTreeMap<String, String>;

/// How a query writes the names of its columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShownNames {
    /// The columns before the first `*`; none for those that have no name or no capitals.
    first: Vec<Option<String>>,
    /// Those behind the last `*`; none without a `*`.
    last: Option<Vec<Option<String>>>,
    /// Columns that a `*` stands for.
    stars: ByName,
}

impl ShownNames {
    /// The name that people see of the column `name`, in lower case, at `index` of `count`.
    pub(crate) fn shown<'a>(&'a self, name: &'a str, index: usize, count: usize) -> &'a str {
        let written = match &self.last {
            _ if index < self.first.len() => self.first[index].as_ref(),
            Some(last) if index + last.len() >= count => last.get(index + last.len() - count).and_then(Option::as_ref),
            Some(_) => self.stars.get(name),
            None => None,
        };
        written.filter(|written| written.to_lowercase() == name).map_or(name, String::as_str)
    }

    fn by_name(self) -> ByName {
        let mut names = self.stars;
        names.extend(
            self.first.into_iter().chain(self.last.unwrap_or_default()).flatten().map(|name| (name.to_lowercase(), name)),
        );
        names
    }
}

/// How `query` of `tokens`, as it is parsed, writes the names of its columns.
pub(super) fn shown_names(query: &Query, tokens: &Tokens<'_>) -> ShownNames {
    Writing { tokens }.query(query, &BTreeMap::new())
}

struct Writing<'a, 'b> {
    tokens: &'a Tokens<'b>,
}

impl Writing<'_, '_> {
    /// The names of `query` beside `outer`, those of the `WITH` around it.
    fn query(&self, query: &Query, outer: &BTreeMap<String, ByName>) -> ShownNames {
        let mut known = outer.clone();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let names = self.named(Some(&cte.alias), || self.query(&cte.query, &known).by_name());
            known.insert(cte.alias.name.value.to_lowercase(), names);
        }
        let mut body = query.body.as_ref();
        loop {
            body = match body {
                SetExpr::SetOperation { left, .. } => left,
                SetExpr::Query(inner) => return self.query(inner, &known),
                SetExpr::Select(select) => return self.columns(&select.projection, &select.from, &known),
                _ => return ShownNames::default(),
            };
        }
    }

    fn columns(&self, items: &[SelectItem], from: &[TableWithJoins], known: &BTreeMap<String, ByName>) -> ShownNames {
        let mut names = ShownNames::default();
        for item in items {
            let ident = match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(alias),
                SelectItem::UnnamedExpr(expression) => last_ident(expression),
                _ => {
                    names.last = Some(Vec::new());
                    continue;
                }
            };
            names.last.as_mut().unwrap_or(&mut names.first).push(ident.and_then(|ident| self.written(ident)));
        }
        if names.last.is_some() {
            names.stars = self.relations(from, known);
        }
        names
    }

    /// The names of the columns of all relations of `from`, but for those that they write differently.
    fn relations(&self, from: &[TableWithJoins], known: &BTreeMap<String, ByName>) -> ByName {
        let mut names = ByName::new();
        let mut unclear = BTreeSet::new();
        for relation in from.iter().flat_map(relations_of) {
            for (name, written) in self.relation(relation, known) {
                if names.insert(name.clone(), written.clone()).is_some_and(|other| other != written) {
                    unclear.insert(name);
                }
            }
        }
        names.retain(|name, _| !unclear.contains(name));
        names
    }

    fn relation(&self, relation: &TableFactor, known: &BTreeMap<String, ByName>) -> ByName {
        match relation {
            TableFactor::Derived { subquery, alias, .. } => self.named(alias.as_ref(), || self.query(subquery, known).by_name()),
            TableFactor::Table { name, alias, .. } => self.named(alias.as_ref(), || match name.0.as_slice() {
                [part] => part.as_ident().and_then(|ident| known.get(&ident.value.to_lowercase())).cloned().unwrap_or_default(),
                _ => ByName::new(),
            }),
            TableFactor::UNNEST { alias, .. } => self.named(alias.as_ref(), ByName::new),
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.named(alias.as_ref(), || self.relations(std::slice::from_ref(table_with_joins), known))
            }
            _ => ByName::new(),
        }
    }

    /// The columns that `alias` names, or else those of `own`.
    fn named(&self, alias: Option<&TableAlias>, own: impl FnOnce() -> ByName) -> ByName {
        match alias.filter(|alias| !alias.columns.is_empty()) {
            Some(alias) => {
                let written = alias.columns.iter().filter_map(|column| self.written(&column.name));
                written.map(|name| (name.to_lowercase(), name)).collect()
            }
            None => own(),
        }
    }

    /// `ident` as the text has it, if that has capitals.
    fn written(&self, ident: &Ident) -> Option<String> {
        let written = self.tokens.name_at(ident.span.start)?;
        (written != ident.value.to_lowercase() && written.to_lowercase() == ident.value.to_lowercase())
            .then(|| written.to_string())
    }
}

fn relations_of(from: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
}

fn last_ident(expression: &Expr) -> Option<&Ident> {
    use datafusion::sql::sqlparser::ast::AccessExpr;
    match expression {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(idents) => idents.last(),
        Expr::Nested(inner) => last_ident(inner),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(ident))) => Some(ident),
            _ => None,
        },
        _ => None,
    }
}
