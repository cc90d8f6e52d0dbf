//! Joins with USING as joins with ON, with the columns of USING spelled out: the planner takes them from the relation whose name comes
//! first and leaves them in their place, Athena takes them from the side whose rows are kept, or from both, and puts them first.
//!
//! `SELECT k, * FROM a FULL JOIN b USING (k)` is
//! `SELECT coalesce(a.k, b.k) AS k, coalesce(a.k, b.k) AS k, a.* EXCLUDE (k), b.* EXCLUDE (k) FROM a FULL JOIN b ON a.k = b.k`.

use crate::dialect::rewrite::{binary, call};
use crate::message;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    OneOrManyWithParens, OrderBy, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use engine::{Error, Result};
use std::ops::ControlFlow;

/// Puts each join with USING of `query` into a form of the planner's. Where it is not certain what the columns of USING are, INNER and
/// LEFT JOIN stay as they are: the planner knows the columns of the relations.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] where it is not certain and the join is a RIGHT or FULL one.
pub(super) fn without_using(query: &mut Query) -> Result<()> {
    struct Using;
    impl VisitorMut for Using {
        type Break = Error;

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            flow(match query.body.as_mut() {
                SetExpr::Select(select) => rewrite(select, query.order_by.as_mut()),
                _ => Ok(()),
            })
        }

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            flow(rewrite(select, None))
        }
    }
    match query.visit(&mut Using) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

fn refused<T>(what: &str) -> Result<T> {
    Err(message::not_supported(None, &format!("RIGHT or FULL JOIN with USING {what} (write ON, and coalesce( ) of the columns)")))
}

/// What a join is on, and whether rows of its right side alone are kept.
fn constraint(join: &mut Join) -> Option<(&mut JoinConstraint, Kept)> {
    match &mut join.join_operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::CrossJoin(on) => Some((on, Kept::Left)),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => Some((on, Kept::Right)),
        JoinOperator::FullOuter(on) => Some((on, Kept::Both)),
        _ => None,
    }
}

/// The columns that `join` is on, if it is one with USING.
pub(super) fn using_columns(join: &mut Join) -> Option<&[ObjectName]> {
    match constraint(join) {
        Some((JoinConstraint::Using(names), _)) => Some(names),
        _ => None,
    }
}

/// The side whose values of the columns of USING are in the result.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Left,
    Right,
    Both,
}

/// Whether one of the joins of `from`, also in parentheses, is with USING and of a kind that is `wanted`.
fn has_using(from: &mut TableWithJoins, wanted: fn(Kept) -> bool) -> bool {
    let is_wanted = |join: &mut Join| matches!(constraint(join), Some((JoinConstraint::Using(_), kept)) if wanted(kept));
    from.joins.iter_mut().any(is_wanted) || has_nested(from, wanted)
}

fn has_nested(from: &mut TableWithJoins, wanted: fn(Kept) -> bool) -> bool {
    let mut relations = std::iter::once(&mut from.relation).chain(from.joins.iter_mut().map(|join| &mut join.relation));
    relations.any(|relation| match relation {
        TableFactor::NestedJoin { table_with_joins, .. } => has_using(table_with_joins, wanted),
        _ => false,
    })
}

fn rewrite(select: &mut Select, mut order_by: Option<&mut OrderBy>) -> Result<()> {
    if select.from.iter_mut().any(|from| has_using(from, |kept| kept != Kept::Left)) {
        return spell_out(select, order_by);
    }
    if select.from.iter_mut().any(|from| has_using(from, |_| true)) {
        let (mut spelled, mut order) = (select.clone(), order_by.as_deref().cloned());
        if spell_out(&mut spelled, order.as_mut()).is_ok() {
            *select = spelled;
            if let (Some(order_by), Some(order)) = (order_by.as_mut(), order) {
                **order_by = order;
            }
        }
    }
    Ok(())
}

fn spell_out(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
    if select.from.iter_mut().any(|from| has_nested(from, |_| true)) {
        return refused("in parentheses");
    }
    let [from] = select.from.as_mut_slice() else { return refused("beside other relations") };
    let columns = Columns::of(from)?;
    let named: Vec<String> = select.projection.iter().filter_map(output_name).collect();
    let items = std::mem::take(&mut select.projection);
    for (index, item) in items.into_iter().enumerate() {
        columns.push_item(item, index, &named, &mut select.projection)?;
    }
    for condition in [&mut select.selection, &mut select.having, &mut select.qualify].into_iter().flatten() {
        columns.replace_in(condition)?;
    }
    for window in &mut select.named_window {
        columns.replace_in(window)?;
    }
    if let GroupByExpr::Expressions(expressions, _) = &mut select.group_by {
        expressions.iter_mut().try_for_each(|expression| columns.replace_in(expression))?;
    }
    if let Some(OrderByKind::Expressions(orders)) = order_by.map(|order| &mut order.kind) {
        for order in orders {
            // A name of the result means the result.
            let is_output = matches!(&order.expr, Expr::Identifier(ident) if has_output(&select.projection, ident));
            if !is_output {
                columns.replace_in(&mut order.expr)?;
            }
        }
    }
    Ok(())
}

/// The name, in lower case, of a column of a SELECT.
pub(super) fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.to_lowercase()),
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident.value.to_lowercase()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => idents.last().map(|ident| ident.value.to_lowercase()),
        _ => None,
    }
}

fn has_output(items: &[SelectItem], ident: &Ident) -> bool {
    items.iter().filter_map(output_name).any(|name| name == ident.value.to_lowercase())
}

/// What `*` stands for.
enum Part {
    /// A column of USING.
    Key(String),
    /// A relation, as FROM calls it, without its columns of USING.
    Relation(String, ObjectName, Vec<String>),
}

/// The columns of a chain of joins.
struct Columns {
    keys: Vec<(String, Expr)>,
    parts: Vec<Part>,
}

impl Columns {
    /// The columns of `from`, whose joins have ON in place of USING then.
    fn of(from: &mut TableWithJoins) -> Result<Self> {
        let mut columns = Self { keys: vec![], parts: vec![Self::part(&from.relation)?] };
        for join in &mut from.joins {
            let right = relation_name(&join.relation)?;
            if columns.parts.iter().any(|part| matches!(part, Part::Relation(name, ..) if *name == right)) {
                return refused("of two relations of one name");
            }
            if !matches!(join.relation, TableFactor::Table { .. } | TableFactor::Derived { lateral: false, .. }) {
                columns.replace_in(&mut join.relation)?;
            }
            let mut part = Self::part(&join.relation)?;
            let Some((constraint, kept)) = constraint(join) else { return refused("beside this kind of JOIN") };
            match constraint {
                JoinConstraint::Using(names) => {
                    let names = names.iter().map(column_name).collect::<Result<Vec<_>>>()?;
                    *constraint = JoinConstraint::On(columns.join(&names, &right, kept)?);
                    if let Part::Relation(.., without) = &mut part {
                        *without = names;
                    }
                }
                JoinConstraint::Natural => return refused("beside NATURAL JOIN"),
                _ => columns.replace_in(constraint)?,
            }
            columns.parts.push(part);
        }
        Ok(columns)
    }

    fn part(relation: &TableFactor) -> Result<Part> {
        let name = relation_name(relation)?;
        let called = called(relation).unwrap_or_else(|| object_name(&name));
        Ok(Part::Relation(name, called, vec![]))
    }

    /// Joins `right` on the columns `names`; gives the condition of the join.
    fn join(&mut self, names: &[String], right: &str, kept: Kept) -> Result<Expr> {
        let mut condition: Option<Expr> = None;
        for name in names {
            let (left, right) = (self.left(name)?, column(right, name));
            let equal = binary(left.clone(), BinaryOperator::Eq, right.clone());
            condition = Some(match condition.take() {
                Some(others) => binary(others, BinaryOperator::And, equal),
                None => equal,
            });
            let value = match kept {
                Kept::Left => left,
                Kept::Right => right,
                Kept::Both => call("coalesce", vec![left, right]),
            };
            self.keys.retain(|(key, _)| key != name);
            self.keys.push((name.clone(), value));
            self.parts.retain(|part| !matches!(part, Part::Key(key) if key == name));
        }
        self.parts.splice(0..0, names.iter().cloned().map(Part::Key));
        condition.map_or_else(|| refused("without columns"), Ok)
    }

    /// The column `name` of what is on the left.
    fn left(&mut self, name: &str) -> Result<Expr> {
        if let Some((_, value)) = self.keys.iter().find(|(key, _)| key == name) {
            return Ok(value.clone());
        }
        let relations = || self.parts.iter().filter(|part| matches!(part, Part::Relation(..))).count();
        if relations() != 1 {
            return refused("of a column of one of several relations");
        }
        let found = self.parts.iter_mut().find_map(|part| match part {
            Part::Relation(relation, _, without) => {
                without.push(name.to_string());
                Some(column(relation, name))
            }
            Part::Key(_) => None,
        });
        found.map_or_else(|| refused("without a left side"), Ok)
    }

    fn push_item(&self, mut item: SelectItem, index: usize, named: &[String], items: &mut Vec<SelectItem>) -> Result<()> {
        match &mut item {
            SelectItem::Wildcard(_) => items.extend(self.parts.iter().map(|part| self.spelled_out(part, index, named))),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let last = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_lowercase());
                let part = self
                    .parts
                    .iter()
                    .find(|part| matches!(part, Part::Relation(relation, ..) if Some(relation) == last.as_ref()));
                items.push(part.map_or(item, |part| self.spelled_out(part, index, named)));
            }
            SelectItem::UnnamedExpr(expression) => {
                let alias = output_name(&SelectItem::UnnamedExpr(expression.clone()));
                let is_key = matches!(expression, Expr::Identifier(ident) if self.key(ident).is_some());
                self.replace_in(expression)?;
                items.push(match alias.filter(|_| is_key) {
                    Some(alias) => SelectItem::ExprWithAlias { expr: expression.clone(), alias: Ident::with_quote('"', alias) },
                    None => item,
                });
            }
            SelectItem::ExprWithAlias { expr, .. } => {
                self.replace_in(expr)?;
                items.push(item);
            }
            _ => items.push(item),
        }
        Ok(())
    }

    fn spelled_out(&self, part: &Part, index: usize, named: &[String]) -> SelectItem {
        match part {
            Part::Key(name) => {
                let expr = self.key(&Ident::new(name.as_str())).cloned().unwrap_or_else(|| Expr::Identifier(Ident::new(name)));
                // A column of the same name beside the `*`.
                let alias = if named.contains(name) { format!("{name}\u{1}key{index}") } else { name.clone() };
                SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) }
            }
            Part::Relation(_, relation, without) => {
                let names: Vec<ObjectName> = without.iter().map(|name| object_name(name)).collect();
                let opt_exclude = (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names));
                let options = WildcardAdditionalOptions { opt_exclude, ..WildcardAdditionalOptions::default() };
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(relation.clone()), options)
            }
        }
    }

    fn key(&self, ident: &Ident) -> Option<&Expr> {
        self.keys.iter().find(|(key, _)| key.eq_ignore_ascii_case(&ident.value)).map(|(_, value)| value)
    }

    /// Puts the values of the columns of USING in place of their names.
    fn replace_in(&self, place: &mut impl VisitMut) -> Result<()> {
        match place.visit(&mut Replace { columns: self, depth: 0 }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

struct Replace<'a> {
    columns: &'a Columns,
    depth: usize,
}

impl VisitorMut for Replace<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        match expression {
            Expr::Identifier(ident) => match self.columns.key(ident) {
                // It is a column in there, or else one of two outside, which is an error.
                Some(_) if self.depth > 0 => ControlFlow::Continue(()),
                Some(value) => {
                    *expression = value.clone();
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Continue(()),
            },
            Expr::Lambda(lambda) => {
                let names: Vec<&Ident> = match &lambda.params {
                    OneOrManyWithParens::One(one) => vec![&one.name],
                    OneOrManyWithParens::Many(many) => many.iter().map(|one| &one.name).collect(),
                };
                match names.into_iter().any(|name| self.columns.key(name).is_some()) {
                    true => flow(refused("whose column is called as a parameter of a lambda")),
                    false => ControlFlow::Continue(()),
                }
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn column(relation: &str, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::with_quote('"', relation), Ident::with_quote('"', name)])
}

pub(super) fn object_name(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', name)])
}

pub(super) fn column_name(name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map_or_else(|| refused("of a function"), |ident| Ok(ident.value.to_lowercase())),
        _ => refused("of a column with a relation"),
    }
}

/// The name that columns of `relation` are qualified with, in lower case.
pub(super) fn relation_name(relation: &TableFactor) -> Result<String> {
    let ident = match relation {
        TableFactor::Table { alias: None, name, .. } => name.0.last().and_then(|part| part.as_ident()),
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. } => {
            alias.as_ref().map(|alias| &alias.name)
        }
        _ => None,
    };
    ident.map_or_else(|| refused("of a relation without a name"), |ident| Ok(ident.value.to_lowercase()))
}

/// What the planner calls `relation`: its alias, or the name of its table with as many parts as FROM gives it; in lower case.
pub(super) fn called(relation: &TableFactor) -> Option<ObjectName> {
    let TableFactor::Table { alias: None, name, .. } = relation else {
        return relation_name(relation).ok().map(|name| object_name(&name));
    };
    let parts = name.0.iter().map(|part| Some(Ident::with_quote('"', part.as_ident()?.value.to_lowercase())));
    parts.collect::<Option<Vec<_>>>().map(ObjectName::from)
}
