//! `WITH a .. (WITH a ..)`: the inner name hides the outer one in Athena; the planner takes it for a mistake.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, TableAlias, TableFactor, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// Gives names of their own to queries of a WITH that are called as one of a WITH outside.
pub(super) fn without_shadowing(query: &mut Query) {
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut Unshadow::default());
}

#[derive(Default)]
struct Unshadow {
    /// The names of each WITH around.
    around: Vec<Vec<String>>,
    renamed: usize,
}

impl VisitorMut for Unshadow {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let names = names(query);
        for name in &names {
            if self.around.iter().flatten().any(|outer| outer == name) {
                self.renamed += 1;
                rename(query, name, &format!("{name}\u{1}{}", self.renamed));
            }
        }
        self.around.push(names);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.around.pop();
        ControlFlow::Continue(())
    }
}

/// The names of the WITH of `query`, in lower case.
fn names(query: &Query) -> Vec<String> {
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    tables.map(|table| table.alias.name.value.to_lowercase()).collect()
}

/// Renames `from` of the WITH of `query`, and the relations that mean it.
fn rename(query: &mut Query, from: &str, to: &str) {
    let mut with = query.with.take();
    let mut uses = Uses { from, to, hidden: 0 };
    if let Some(with) = &mut with {
        let is_recursive = with.recursive;
        let mut is_known = false;
        for table in &mut with.cte_tables {
            let is_it = table.alias.name.value.eq_ignore_ascii_case(from);
            if is_known || is_it && is_recursive {
                let _: ControlFlow<()> = table.query.visit(&mut uses);
            }
            if is_it {
                table.alias.name = Ident::with_quote('"', to);
                is_known = true;
            }
        }
    }
    let _: ControlFlow<()> = query.visit(&mut uses);
    query.with = with;
}

/// Renames relations, but in queries whose own WITH has the name.
struct Uses<'a> {
    from: &'a str,
    to: &'a str,
    /// How many of the queries around have it.
    hidden: usize,
}

impl VisitorMut for Uses<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if names(query).iter().any(|name| name == self.from) {
            if self.hidden == 0 {
                self.rename_before(query);
            }
            self.hidden += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.hidden -= usize::from(self.hidden > 0 && names(query).iter().any(|name| name == self.from));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, .. } = factor
            && self.hidden == 0
            && let [part] = name.0.as_slice()
            && part.as_ident().is_some_and(|ident| ident.value.eq_ignore_ascii_case(self.from))
        {
            *name = ObjectName::from(vec![Ident::with_quote('"', self.to)]);
            let named = || TableAlias { explicit: true, name: Ident::with_quote('"', self.from), columns: vec![], at: None };
            alias.get_or_insert_with(named);
        }
        ControlFlow::Continue(())
    }
}

impl Uses<'_> {
    /// What stands before the name's own meaning in the WITH of `query` means the outer one.
    fn rename_before(&mut self, query: &mut Query) {
        let Some(with) = &mut query.with else { return };
        if with.recursive {
            return;
        }
        for table in &mut with.cte_tables {
            let _: ControlFlow<()> = table.query.visit(self);
            if table.alias.name.value.eq_ignore_ascii_case(self.from) {
                return;
            }
        }
    }
}
