//! `t.*`: the columns of USING belong to none of the two relations and are left out, and `t` may be called `database.t` in FROM.

use super::using::{called, column_name, object_name, relation_name, using_columns};
use crate::message;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};
use engine::{Error, Result};
use std::ops::ControlFlow;

/// Leaves the columns of USING out of each `t.*` of `query`, and writes `t` as FROM does.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] where it is not certain whose column it is.
pub(super) fn without_keys(query: &mut Query) -> Result<()> {
    struct Stars;
    impl VisitorMut for Stars {
        type Break = Error;

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            match rewrite(select) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match query.visit(&mut Stars) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// A relation of a chain of joins.
struct Relation {
    name: Option<String>,
    called: Option<ObjectName>,
    /// The columns of USING that are its own.
    keys: Vec<String>,
    /// A column of USING that may be its own.
    unclear: bool,
}

fn rewrite(select: &mut Select) -> Result<()> {
    let is_star = |item: &SelectItem| matches!(item, SelectItem::QualifiedWildcard(..));
    if !select.projection.iter().any(is_star) {
        return Ok(());
    }
    let mut relations = Vec::new();
    for from in &mut select.from {
        relations.extend(joined(from)?);
    }
    for item in &mut select.projection {
        let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) = item else { continue };
        let last = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_lowercase());
        let Some(relation) = relations.iter().find(|relation| relation.name.is_some() && relation.name == last) else { continue };
        if relation.unclear {
            let what = format!("{name}.* of one of several relations that are joined with USING: name the columns");
            return Err(message::not_supported(None, &what));
        }
        // FROM may have said the database too, which the planner wants to see here then.
        let parts = name.0.len();
        if let Some(called) = relation.called.as_ref().filter(|called| called.0.len() > parts) {
            *name = called.clone();
        }
        if !relation.keys.is_empty() && options.opt_exclude.is_none() {
            let keys: Vec<ObjectName> = relation.keys.iter().map(|key| object_name(key)).collect();
            options.opt_exclude = Some(ExcludeSelectItem::Multiple(keys));
        }
    }
    Ok(())
}

/// The relations of `from`, and which columns of USING are theirs.
fn joined(from: &mut TableWithJoins) -> Result<Vec<Relation>> {
    let mut relations = relations_of(&mut from.relation)?;
    for join in &mut from.joins {
        let mut right = relations_of(&mut join.relation)?;
        let keys = match using_columns(join) {
            Some(names) => names.iter().map(column_name).collect::<Result<Vec<_>>>()?,
            None => vec![],
        };
        for key in keys {
            for side in [&mut relations, &mut right] {
                let is_known = side.iter().any(|relation| relation.keys.contains(&key));
                match side.as_mut_slice() {
                    _ if is_known => {}
                    [relation] => relation.keys.push(key.clone()),
                    several => several.iter_mut().for_each(|relation| relation.unclear = true),
                }
            }
        }
        relations.append(&mut right);
    }
    Ok(relations)
}

fn relations_of(factor: &mut TableFactor) -> Result<Vec<Relation>> {
    if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
        return joined(table_with_joins);
    }
    Ok(vec![Relation { name: relation_name(factor).ok(), called: called(factor), keys: vec![], unclear: false }])
}
