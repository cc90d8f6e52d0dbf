//! Names that the planner needs and Athena does not: of subqueries in FROM, and, only for a query that was refused for its names, of
//! columns that share one and of casts.

use crate::dialect::rewrite::{label, with_unique_names};
use datafusion::arrow::datatypes::Field;
use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, Value, Visit, VisitMut,
    Visitor, VisitorMut,
};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// `query` with names of their own for what the planner would call the same; `plan` plans a query to know what its `*` is.
pub(super) fn with_distinct_names<E>(query: &mut Query, plan: impl Fn(Query) -> Result<LogicalPlan, E>) -> Result<(), E> {
    with_unique_names(query);
    name_apart(query);
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut Casts::default());
    spell_out_stars(query, plan)
}

/// `SELECT upper(t.n) AS n FROM t ORDER BY t.n`: gives the column another name, as the planner adds `t.n` to what is sorted.
fn name_apart(query: &mut Query) {
    struct Apart;
    impl VisitorMut for Apart {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            let (SetExpr::Select(select), Some(order)) = (query.body.as_mut(), query.order_by.as_mut()) else {
                return ControlFlow::Continue(());
            };
            let OrderByKind::Expressions(orders) = &mut order.kind else { return ControlFlow::Continue(()) };
            let mut named = Named::default();
            // The walk never breaks off.
            for order in orders.iter() {
                let _: ControlFlow<()> = order.expr.visit(&mut named);
            }
            for (index, item) in select.projection.iter_mut().enumerate() {
                let SelectItem::ExprWithAlias { alias, .. } = item else { continue };
                if !named.0.contains(&alias.value) {
                    continue;
                }
                let new = Ident::with_quote('"', format!("{}\u{1}order{index}", alias.value));
                for order in orders.iter_mut() {
                    if matches!(&order.expr, Expr::Identifier(ident) if ident.value.eq_ignore_ascii_case(&alias.value)) {
                        order.expr = Expr::Identifier(new.clone());
                    }
                }
                *alias = new;
            }
            ControlFlow::Continue(())
        }
    }
    let _: ControlFlow<()> = query.visit(&mut Apart);
}

/// The last names of columns that are named with their relation.
#[derive(Default)]
struct Named(Vec<String>);

impl Visitor for Named {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expression {
            self.0.extend(idents.last().map(|ident| ident.value.to_lowercase()));
        }
        ControlFlow::Continue(())
    }
}

/// Whether rows of `query` are grouped by a value and by a cast of it, which rules behind the planner take for one column.
pub(super) fn groups_by_casts(query: &Query) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            let GroupByExpr::Expressions(groups, _) = &select.group_by else { return ControlFlow::Continue(()) };
            let groups: Vec<&Expr> = groups.iter().map(|group| meant(group, &select.projection)).collect();
            let is_cast_of_another = |group: &&Expr| match group {
                Expr::Cast { expr, .. } => groups.iter().any(|other| **other == **expr),
                _ => false,
            };
            if groups.iter().any(is_cast_of_another) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    query.visit(&mut Find).is_break()
}

/// What `group` groups by: itself, or the column of the SELECT whose number it is.
fn meant<'a>(group: &'a Expr, items: &'a [SelectItem]) -> &'a Expr {
    let Expr::Value(value) = group else { return group };
    let Value::Number(number, _) = &value.value else { return group };
    let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    match index.and_then(|index| items.get(index)) {
        Some(SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. }) => expression,
        _ => group,
    }
}

fn is_star(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// `SELECT *, *`: the columns of all but the first by name.
fn spell_out_stars<E>(query: &mut Query, plan: impl Fn(Query) -> Result<LogicalPlan, E>) -> Result<(), E> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Ok(()) };
    if select.projection.iter().filter(|item| is_star(item)).count() < 2 {
        return Ok(());
    }
    let mut columns = Vec::new();
    let mut is_first = true;
    for (index, item) in select.projection.iter().enumerate() {
        if !is_star(item) || std::mem::take(&mut is_first) {
            columns.push(item.clone());
            continue;
        }
        let only = Select {
            projection: vec![item.clone()],
            distinct: None,
            selection: None,
            having: None,
            qualify: None,
            group_by: GroupByExpr::Expressions(vec![], vec![]),
            ..select.as_ref().clone()
        };
        let only = Query { body: Box::new(SetExpr::Select(Box::new(only))), order_by: None, limit_clause: None, ..query.clone() };
        columns.extend(spelled_out(plan(only)?.schema(), index));
    }
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = columns;
    }
    Ok(())
}

fn spelled_out(schema: &DFSchema, item: usize) -> Vec<SelectItem> {
    let column = |(index, (qualifier, field)): (usize, (Option<&TableReference>, &Arc<Field>))| {
        let name: &String = field.name();
        let parts = qualifier.map(TableReference::to_vec).unwrap_or_default();
        let idents: Vec<Ident> = parts.iter().chain([name]).map(|part| Ident::with_quote('"', part)).collect();
        let expr = match idents.as_slice() {
            [only] => Expr::Identifier(only.clone()),
            _ => Expr::CompoundIdentifier(idents),
        };
        let alias = Ident::with_quote('"', format!("{}\u{1}{item}_{index}", label(name, index)));
        SelectItem::ExprWithAlias { expr, alias }
    };
    schema.iter().enumerate().map(column).collect()
}

/// Names subqueries in FROM that have none: without one, their columns would be known by the names of the relations inside.
pub(super) fn name_derived(query: &mut Query) {
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut Derived { named: 0 });
}

/// What the names start with that queries in FROM get.
pub(crate) const DERIVED: &str = "owlet_derived_";

struct Derived {
    named: usize,
}

impl VisitorMut for Derived {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { alias: alias @ None, .. } = factor {
            self.named += 1;
            let name = Ident::with_quote('"', format!("{DERIVED}{}", self.named));
            *alias = Some(TableAlias { explicit: true, name, columns: vec![], at: None });
        }
        ControlFlow::Continue(())
    }
}

/// Names casts: to the planner, columns of a value and of the value cast have one name.
///
/// A named cast is a `POSITION(name IN cast)`, which nothing else is by now: see `dialect::operators`.
#[derive(Default)]
struct Casts {
    numbers: HashMap<String, usize>,
}

impl VisitorMut for Casts {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } = item {
                self.name_in(expression);
            }
        }
        if let GroupByExpr::Expressions(expressions, _) = &mut select.group_by {
            expressions.iter_mut().for_each(|expression| self.name_in(expression));
        }
        for condition in [&mut select.having, &mut select.qualify].into_iter().flatten() {
            self.name_in(condition);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(OrderByKind::Expressions(orders)) = query.order_by.as_mut().map(|order| &mut order.kind) {
            orders.iter_mut().for_each(|order| self.name_in(&mut order.expr));
        }
        ControlFlow::Continue(())
    }
}

impl Casts {
    fn name_in(&mut self, expression: &mut Expr) {
        // The walk never breaks off.
        let _: ControlFlow<()> = expression.visit(&mut InExpression { casts: self, depth: 0 });
    }
}

/// The casts of one expression, without those of queries in it.
struct InExpression<'a> {
    casts: &'a mut Casts,
    depth: usize,
}

impl VisitorMut for InExpression<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 && matches!(expression, Expr::Cast { .. }) {
            let next = self.casts.numbers.len();
            let number = *self.casts.numbers.entry(expression.to_string()).or_insert(next);
            let name = Expr::Value(Value::SingleQuotedString(format!("cast\u{1}{number}")).into());
            let cast = std::mem::replace(expression, Expr::Value(Value::Null.into()));
            *expression = Expr::Position { expr: Box::new(name), r#in: Box::new(cast) };
        }
        ControlFlow::Continue(())
    }
}
