//! Where in a query what the planner refuses is, which it does not say itself: each expression is planned alone over the relations of
//! its SELECT, the inner ones first; the first that gives the same error is meant.

use crate::statement::Places;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Cte, Expr, GroupByExpr, Join, JoinConstraint, JoinOperator, OrderBy, Query, Select, SelectItem, SetExpr,
    Spanned, TableFactor, TableWithJoins, UnaryOperator, Value, Visit, Visitor, With,
};
use datafusion::sql::sqlparser::tokenizer::Location;
use std::ops::ControlFlow;

/// Most expressions of a query that is looked into; each is planned alone.
const MAX_EXPRESSIONS: usize = 300;

/// The place of the first expression of `query` that gives the error by itself, as `gives_it` says of queries.
pub(super) fn place(query: &Query, places: &Places, mut gives_it: impl FnMut(Query) -> bool) -> Option<Location> {
    if query.visit(&mut Count(0)).is_break() {
        return None;
    }
    let mut selects = Selects::default();
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut selects);
    // What is inside is visited later. What is wrong with a FROM, every expression over it gives.
    for select in selects.found.iter().rev().filter(|select| !select.expressions.is_empty()) {
        let null = Expr::Value(Value::Null.into());
        if gives_it(select.alone(null)) {
            return None;
        }
        if let Some(found) = select.expressions.iter().find(|part| gives_it(select.alone((*part).clone()))) {
            return place_of(found, places);
        }
    }
    None
}

/// Breaks off at too many expressions.
struct Count(usize);

impl Visitor for Count {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.0 += 1;
        if self.0 > MAX_EXPRESSIONS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Where Trino says that `expression` is: its operator, its name or its beginning.
fn place_of(expression: &Expr, places: &Places) -> Option<Location> {
    let start = expression.span().start;
    let place = match expression {
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, .. } => left.span().start,
        Expr::BinaryOp { left, .. } | Expr::IsDistinctFrom(left, _) | Expr::IsNotDistinctFrom(left, _) => {
            places.operator_behind(left.span().end).unwrap_or(start)
        }
        Expr::Cast { .. } => places.cast_before(start).unwrap_or(start),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, .. } => {
            Location::new(start.line, start.column.saturating_sub(1).max(1))
        }
        _ => start,
    };
    (place.line > 0).then_some(place)
}

/// A SELECT with what its expressions need to be planned without it.
struct Place {
    with: Option<With>,
    /// Nothing but its FROM.
    template: Select,
    /// Its own expressions, inner ones before what they are in.
    expressions: Vec<Expr>,
}

impl Place {
    fn alone(&self, part: Expr) -> Query {
        let select = Select { projection: vec![SelectItem::UnnamedExpr(part)], ..self.template.clone() };
        Query { with: self.with.clone(), ..query_of(SetExpr::Select(Box::new(select))) }
    }
}

fn query_of(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}

/// What a query has in its WITH.
struct Level {
    tables: Vec<Cte>,
    /// Where the queries of `tables` are in memory.
    queries: Vec<*const Query>,
    /// How many can be named here: those before the one that is visited.
    visible: usize,
}

/// Collects the SELECTs of a query.
#[derive(Default)]
struct Selects {
    found: Vec<Place>,
    /// The WITH of the queries around, outer ones first.
    levels: Vec<Level>,
    orders: Vec<Option<OrderBy>>,
    is_recursive: bool,
}

impl Visitor for Selects {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.is_recursive |= query.with.as_ref().is_some_and(|with| with.recursive);
        let place: *const Query = query;
        if let Some(level) = self.levels.last_mut() {
            level.visible = level.queries.iter().position(|of| *of == place).unwrap_or(level.tables.len());
        }
        let tables: Vec<&Cte> = query.with.iter().flat_map(|with| &with.cte_tables).collect();
        let queries = tables.iter().map(|cte| &*cte.query as *const Query).collect();
        let visible = tables.len();
        self.levels.push(Level { tables: tables.into_iter().cloned().collect(), queries, visible });
        self.orders.push(query.order_by.clone());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.levels.pop();
        if let Some(level) = self.levels.last_mut() {
            level.visible = level.tables.len();
        }
        self.orders.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut own = Own::default();
        let mut visit = |part: &dyn Fn(&mut Own) -> ControlFlow<()>| {
            let _: ControlFlow<()> = part(&mut own);
        };
        visit(&|own| select.from.visit(own));
        visit(&|own| select.selection.visit(own));
        visit(&|own| select.projection.visit(own));
        if let GroupByExpr::Expressions(groups, _) = &select.group_by {
            visit(&|own| groups.visit(own));
        }
        visit(&|own| select.having.visit(own));
        if let Some(Some(order)) = self.orders.last() {
            visit(&|own| order.visit(own));
        }
        let visible = self.levels.iter().flat_map(|level| level.tables.iter().take(level.visible));
        let cte_tables: Vec<Cte> = visible.cloned().collect();
        let with = (!cte_tables.is_empty()).then(|| With {
            with_token: AttachedToken::empty(),
            recursive: self.is_recursive,
            cte_tables,
        });
        self.found.push(Place { with, template: plain(select), expressions: own.found });
        ControlFlow::Continue(())
    }
}

/// `select` without anything but its FROM, whose joins have no conditions.
fn plain(select: &Select) -> Select {
    let mut plain = Select {
        distinct: None,
        selection: None,
        group_by: GroupByExpr::Expressions(vec![], vec![]),
        having: None,
        qualify: None,
        projection: vec![],
        ..select.clone()
    };
    plain.from.iter_mut().for_each(without_conditions);
    plain
}

fn without_conditions(from: &mut TableWithJoins) {
    let relations = std::iter::once(&mut from.relation).chain(from.joins.iter_mut().map(|join| {
        let Join { relation, join_operator, .. } = join;
        if let JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on) = join_operator
            && matches!(on, JoinConstraint::On(_))
        {
            *on = JoinConstraint::On(Expr::Value(Value::Boolean(true).into()));
        }
        relation
    }));
    for relation in relations {
        if let TableFactor::NestedJoin { table_with_joins, .. } = relation {
            without_conditions(table_with_joins);
        }
    }
}

/// Collects expressions that may be wrong by themselves, and no queries.
#[derive(Default)]
struct Own {
    found: Vec<Expr>,
    depth: usize,
}

impl Visitor for Own {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        let is_plain = matches!(
            expression,
            Expr::Identifier(_)
                | Expr::Value(_)
                | Expr::Nested(_)
                | Expr::Lambda(_)
                | Expr::Wildcard(_)
                | Expr::QualifiedWildcard(..)
        );
        if self.depth == 0 && !is_plain {
            self.found.push(expression.clone());
        }
        ControlFlow::Continue(())
    }
}
