//! Queries: rows without SELECT, names of columns, limits, and clauses that Athena does not have.

use super::labels::{name_columns, name_fields};
use super::{Rewriter, call, change_own, groups, joins, nested, not_supported, number, place, take, template, windows};
use crate::message;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, LimitClause,
    OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, TableSampleKind, TableVersion,
    WildcardAdditionalOptions, WindowType,
};
use engine::{Error, Result};

/// The name around rows of VALUES.
const VALUES_ALIAS: &str = "owlet_values";

pub(super) fn rewrite_query(query: &mut Query) -> Result<()> {
    let refused = [
        (!query.locks.is_empty(), "FOR UPDATE"),
        (query.for_clause.is_some(), "FOR"),
        (query.settings.is_some(), "SETTINGS"),
        (query.format_clause.is_some(), "FORMAT"),
        (!query.pipe_operators.is_empty(), "|>"),
    ];
    if let Some((_, what)) = refused.iter().find(|(found, _)| *found) {
        return Err(not_supported(query, what));
    }
    for table in query.with.iter().flat_map(|with| &with.cte_tables) {
        check_alias(&table.alias)?;
    }
    windows::write_out(query)?;
    rewrite_limits(query)?;
    if let Some(order) = &query.order_by
        && let OrderByKind::All(_) = &order.kind
    {
        return Err(not_supported(query, "ORDER BY ALL"));
    }
    order_by_position(query);
    rewrite_rows(&mut query.body)
}

/// The first `count` rows of `query` and those that sort the same as the last of them.
fn with_ties(query: &mut Query, count: Expr) -> Result<()> {
    let refused =
        || Err(message::not_supported(place(&count), "WITH TIES with DISTINCT, LIMIT, OFFSET, QUALIFY or a set operation"));
    let orders = match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(orders)) if query.limit_clause.is_none() => orders.clone(),
        _ => return refused(),
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return refused() };
    if select.distinct.is_some() || select.qualify.is_some() {
        return refused();
    }
    let orders = orders.into_iter().map(|order| {
        let expr = select.projection.iter().enumerate().find_map(|(index, item)| match (item, &order.expr) {
            (SelectItem::ExprWithAlias { expr, alias }, Expr::Identifier(name)) => {
                alias.value.eq_ignore_ascii_case(&name.value).then(|| expr.clone())
            }
            (item, Expr::Value(value)) if value.value.to_string() == (index + 1).to_string() => item_expression(item).cloned(),
            _ => None,
        });
        match (expr, &order.expr) {
            (Some(expr), _) => Some(OrderByExpr { expr, ..order }),
            // The number of a column of `*`.
            (None, Expr::Value(_)) => None,
            (None, _) => Some(order),
        }
    });
    let Some(orders) = orders.collect::<Option<Vec<_>>>() else { return refused() };
    let mut rank = template("SELECT 1 AS x FROM t QUALIFY rank() OVER (ORDER BY x) <= 1")?;
    if let SetExpr::Select(around) = rank.body.as_mut()
        && let Some(Expr::BinaryOp { left, right, .. }) = &mut around.qualify
        && let Expr::Function(function) = left.as_mut()
        && let Some(WindowType::WindowSpec(window)) = &mut function.over
    {
        window.order_by = orders;
        **right = count;
        select.qualify = around.qualify.take();
        return Ok(());
    }
    Err(Error::internal("a window that this program wrote has another form"))
}

/// `SELECT DISTINCT f(x) .. ORDER BY f(x)` by the column's number: the column gets a name, which hides what it is made of.
fn order_by_position(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(OrderByKind::Expressions(orders)) = query.order_by.as_mut().map(|order| &mut order.kind) else { return };
    if select.distinct.is_none() {
        return;
    }
    let is_column = |item: &&SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    let columns: Vec<&Expr> = select.projection.iter().take_while(is_column).filter_map(item_expression).collect();
    for order in orders {
        let is_name = matches!(order.expr, Expr::Identifier(_));
        let found = columns.iter().position(|column| **column == order.expr && !is_name);
        if let Some(position) = found.and_then(|index| u64::try_from(index + 1).ok()) {
            order.expr = number(position);
        }
    }
}

fn item_expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => Some(expression),
        _ => None,
    }
}

fn rewrite_limits(query: &mut Query) -> Result<()> {
    match &query.limit_clause {
        Some(LimitClause::OffsetCommaLimit { .. }) => return Err(not_supported(query, "LIMIT offset, count")),
        Some(LimitClause::LimitOffset { limit_by, .. }) if !limit_by.is_empty() => return Err(not_supported(query, "LIMIT BY")),
        _ => {}
    }
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.percent {
        return Err(not_supported(query, "FETCH FIRST .. PERCENT"));
    }
    let count = fetch.quantity.unwrap_or_else(|| number(1));
    if fetch.with_ties {
        return with_ties(query, count);
    }
    match &mut query.limit_clause {
        None => query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(count), offset: None, limit_by: vec![] }),
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(count),
        Some(_) => return Err(not_supported(query, "LIMIT together with FETCH FIRST")),
    }
    Ok(())
}

/// `VALUES` as `SELECT`.
fn rewrite_rows(body: &mut SetExpr) -> Result<()> {
    match body {
        SetExpr::Values(values) => {
            let width = values.rows.first().map_or(0, |row| row.content.len());
            let columns: Vec<String> = (1..=width).map(|n| format!("column{n} AS _col{}", n - 1)).collect();
            let sql = format!("SELECT {} FROM (VALUES (1)) AS {VALUES_ALIAS}", columns.join(", "));
            let mut around = template(&sql)?;
            let rows = std::mem::replace(
                body,
                SetExpr::Table(Box::new(datafusion::sql::sqlparser::ast::Table { table_name: None, schema_name: None })),
            );
            if let SetExpr::Select(select) = around.body.as_mut()
                && let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|from| &mut from.relation)
            {
                *subquery.body = rows;
            }
            *body = *around.body;
        }
        SetExpr::SetOperation { left, right, .. } => {
            rewrite_rows(left)?;
            rewrite_rows(right)?;
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn is_wrapped_values(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Derived { alias: Some(alias), subquery, .. }
        if alias.name.value == VALUES_ALIAS && matches!(subquery.body.as_ref(), SetExpr::Values(_)))
}

/// Strings are no names, though the parser takes them for such.
fn check_name(name: &Ident) -> Result<()> {
    match name.quote_style {
        Some('\'') => Err(message::at(Some(name.span.start), &format!("mismatched input {name}, expecting: a name"))),
        _ => Ok(()),
    }
}

fn check_alias(alias: &TableAlias) -> Result<()> {
    std::iter::once(&alias.name).chain(alias.columns.iter().map(|column| &column.name)).try_for_each(check_name)
}

pub(super) fn rewrite_table(factor: &mut TableFactor) -> Result<()> {
    if let TableFactor::Table { alias: Some(alias), .. }
    | TableFactor::TableFunction { alias: Some(alias), .. }
    | TableFactor::UNNEST { alias: Some(alias), .. }
    | TableFactor::Derived { alias: Some(alias), .. }
    | TableFactor::NestedJoin { alias: Some(alias), .. } = &*factor
    {
        check_alias(alias)?;
    }
    match factor {
        TableFactor::Table { args, with_hints, version, with_ordinality, partitions, json_path, index_hints, .. } => {
            let is_plain = with_hints.is_empty()
                && matches!(version, None | Some(TableVersion::TimestampAsOf(_) | TableVersion::ForSystemTimeAsOf(_)))
                && !*with_ordinality
                && partitions.is_empty()
                && json_path.is_none()
                && index_hints.is_empty();
            if !is_plain {
                return Err(not_supported(factor, "this form of a table"));
            }
            if args.is_some() {
                return Err(not_supported(factor, "a table function without TABLE( )"));
            }
            if is_bare_values(factor) {
                return Err(message::at(place(factor), "VALUES without rows"));
            }
        }
        TableFactor::TableFunction { expr, alias } => {
            let Expr::Function(function) = &*expr else { return Err(not_supported(expr, "TABLE( ) of anything but a function")) };
            if super::function_name(function) != "sequence" {
                return Err(not_supported(expr, "a table function other than sequence"));
            }
            let Some(args) = sequence_args(function) else {
                return Err(message::at(place(expr), "the table function sequence takes START, STOP and STEP"));
            };
            *expr = call("owlet_sequence", args);
            let alias = match alias.take() {
                Some(alias) => alias,
                None => TableAlias { explicit: true, name: Ident::new("sequence"), columns: vec![], at: None },
            };
            let alias = with_column(alias, "sequential_number")?;
            *factor = TableFactor::UNNEST {
                alias: Some(alias),
                array_exprs: vec![take(expr)],
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: false,
            };
        }
        TableFactor::UNNEST { with_offset: true, .. } => return Err(not_supported(factor, "WITH OFFSET")),
        TableFactor::Derived { .. } | TableFactor::UNNEST { .. } | TableFactor::NestedJoin { .. } => {}
        TableFactor::MatchRecognize { .. } => return Err(not_supported(factor, "MATCH_RECOGNIZE")),
        other => {
            let text = other.to_string();
            let word = text.split(|c: char| !c.is_alphanumeric() && c != '_').find(|word| !word.is_empty());
            let what = format!("this relation ({})", word.unwrap_or("unknown"));
            return Err(not_supported(other, &what));
        }
    }
    Ok(())
}

/// Start, stop and step of the table function, of which only the second must be given.
fn sequence_args(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let mut args = [Some(number(0)), None, Some(number(1))];
    for (index, arg) in list.args.iter().enumerate() {
        let (index, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (index, value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                (["start", "stop", "step"].iter().position(|known| name.value.eq_ignore_ascii_case(known))?, value)
            }
            _ => return None,
        };
        *args.get_mut(index)? = Some(value.clone());
    }
    args.into_iter().collect()
}

/// Whether the parser took the word VALUES for a name.
fn is_bare_values(factor: &TableFactor) -> bool {
    let TableFactor::Table { name, .. } = factor else { return false };
    let [part] = name.0.as_slice() else { return false };
    part.as_ident().is_some_and(|ident| ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("values"))
}

/// `alias` with the only column `name`, unless it names its columns.
fn with_column(mut alias: TableAlias, name: &str) -> Result<TableAlias> {
    if alias.columns.is_empty() {
        let named = template(&format!("SELECT 1 FROM t AS a({name})"))?;
        if let SetExpr::Select(select) = *named.body
            && let Some(TableFactor::Table { alias: Some(parsed), .. }) = select.from.into_iter().next().map(|from| from.relation)
        {
            alias.columns = parsed.columns;
        }
    }
    Ok(alias)
}

/// The sample of a relation, which is no longer part of it.
pub(crate) fn take_sample(factor: &mut TableFactor) -> Option<TableSampleKind> {
    match factor {
        TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } => sample.take(),
        _ => None,
    }
}

impl Rewriter {
    pub(super) fn rewrite_select(&mut self, select: &mut Select) -> Result<()> {
        let refused = [
            (select.top.is_some(), "TOP"),
            (select.into.is_some(), "SELECT INTO"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW of Hive (CROSS JOIN UNNEST is Athena's)"),
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!select.cluster_by.is_empty(), "CLUSTER BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!select.sort_by.is_empty(), "SORT BY"),
            (select.value_table_mode.is_some(), "SELECT AS VALUE"),
            (select.exclude.is_some(), "EXCLUDE"),
            (matches!(select.distinct, Some(Distinct::On(_))), "DISTINCT ON"),
            (matches!(select.group_by, GroupByExpr::All(_)), "GROUP BY ALL without expressions"),
            (matches!(&select.group_by, GroupByExpr::Expressions(_, modifiers) if !modifiers.is_empty()), "GROUP BY .. WITH"),
        ];
        if let Some((_, what)) = refused.iter().find(|(found, _)| *found) {
            return Err(message::not_supported(place(select), what));
        }
        if select.projection.is_empty() {
            return Err(message::at(place(select), "SELECT without columns"));
        }
        groups::flatten_groups(select)?;
        groups::check_group_count(select)?;
        groups::spell_composite_sets(&mut select.group_by);
        joins::check_joins(select)?;
        windows::write_out_of(select, None)?;
        let changed = select.projection.iter().find(|item| match item {
            SelectItem::QualifiedWildcard(_, options) | SelectItem::Wildcard(options) => !is_plain(options),
            _ => false,
        });
        if let Some(item) = changed {
            return Err(not_supported(item, "a changed *"));
        }
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                check_name(alias)?;
            }
            match item {
                SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => {
                    replace_exists(expression)?;
                    self.guard_value(expression)?;
                }
                SelectItem::ExprWithAliases { .. } => return Err(not_supported(item, "several names of one column")),
                _ => {}
            }
        }
        if let Some(condition) = &mut select.selection {
            self.rewrite_condition(condition)?;
            self.guard(condition)?;
        }
        if let Some(condition) = &mut select.having {
            self.guard_value(condition)?;
        }
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            keys.iter_mut().try_for_each(|key| self.guard_value(key))?;
        }
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            if let Some(condition) = joins::condition(join) {
                self.guard_join(condition)?;
            }
        }
        name_fields(select);
        name_columns(&mut select.projection);
        Ok(())
    }

    /// `(a, b) IN (SELECT ..)` as EXISTS, where NULL and false are the same.
    fn rewrite_condition(&mut self, condition: &mut Expr) -> Result<()> {
        match condition {
            Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
                self.rewrite_condition(left)?;
                self.rewrite_condition(right)
            }
            Expr::Nested(inner) => self.rewrite_condition(inner),
            Expr::InSubquery { expr, subquery, negated: false } => {
                let Expr::Tuple(values) = expr.as_ref() else { return Ok(()) };
                let columns: Vec<String> = (0..values.len()).map(|n| format!("owlet_in_{n}")).collect();
                let mut around = template(&format!("SELECT 1 FROM (SELECT 1) AS owlet_in({})", columns.join(", ")))?;
                if let SetExpr::Select(select) = around.body.as_mut() {
                    for (name, value) in columns.iter().zip(values) {
                        let column = Expr::CompoundIdentifier(vec![Ident::new("owlet_in"), Ident::new(name)]);
                        let equal = binary(column, BinaryOperator::Eq, nested(value.clone()));
                        select.selection = Some(match select.selection.take() {
                            Some(others) => binary(others, BinaryOperator::And, equal),
                            None => equal,
                        });
                    }
                    if let Some(TableFactor::Derived { subquery: inner, .. }) =
                        select.from.first_mut().map(|from| &mut from.relation)
                    {
                        std::mem::swap(inner, subquery);
                    }
                }
                *condition = Expr::Exists { subquery: around, negated: false };
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none()
}

pub(crate) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// EXISTS in an expression that gives a value, as a count; the planner reads it in conditions only.
fn replace_exists(expression: &mut Expr) -> Result<()> {
    change_own(expression, |expression| {
        if !matches!(expression, Expr::Exists { .. }) {
            return Ok(());
        }
        if let Expr::Exists { subquery, negated } = take(expression) {
            let op = if negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
            *expression = nested(binary(Expr::Subquery(counted(subquery)?), op, number(0)));
        }
        Ok(())
    })
}

/// How many rows `query` has: its own list of columns is replaced where it is a plain one, which keeps references to outer
/// columns where the optimizer finds them.
fn counted(mut query: Box<Query>) -> Result<Box<Query>> {
    let mut around = template("SELECT count(*) AS _col0 FROM (SELECT 1) AS owlet_exists")?;
    let SetExpr::Select(outer) = around.body.as_mut() else { return Ok(around) };
    let is_simple = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    if let SetExpr::Select(inner) = query.body.as_mut()
        && is_simple
        && inner.distinct.is_none()
        && inner.having.is_none()
        && inner.qualify.is_none()
        && let GroupByExpr::Expressions(keys, _) = &mut inner.group_by
        && !keys.iter().any(groups::is_set)
        && (!keys.is_empty() || inner.projection.iter().all(is_no_call))
    {
        // There are groups if there are rows.
        keys.clear();
        std::mem::swap(&mut inner.projection, &mut outer.projection);
        query.order_by = None;
        return Ok(query);
    }
    if let Some(TableFactor::Derived { subquery, .. }) = outer.from.first_mut().map(|from| &mut from.relation) {
        *subquery = query;
    }
    Ok(around)
}

fn is_no_call(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => {
            matches!(expression, Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        }
        _ => true,
    }
}
