//! A statement to a logical plan: finds the tables that it names and gives errors their place in the text.

mod again;
mod by_key;
mod calls;
mod columns;
mod correlated;
mod culprit;
mod distinct;
mod elements;
mod joinable;
mod membership;
mod names;
mod nullable;
mod outside;
mod own_names;
mod path;
mod placed;
mod row_stars;
mod sets;
mod shadow;
mod shown;
#[cfg(test)]
mod tests;
mod twins;
mod unions;
mod using;
mod using_stars;
mod versions;
mod views;

pub(crate) use distinct::DERIVED;
pub use names::{Resolved, Scope, TableResolver};

use crate::dialect::chars::with_chars;
use crate::dialect::lateral::without_lateral;
use crate::dialect::relations::UNNESTED;
use crate::dialect::rewrite::{has_star_over_using, label};
use crate::message::{self, planning_error};
use crate::statement::{Places, Statement};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, JoinConstraint, LogicalPlan};
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{Query, Statement as AstStatement};
use engine::{Error, Result};
use names::Names;

/// The catalog of names that say none.
pub const DEFAULT_CATALOG: &str = "awsdatacatalog";
/// The database of names that say none.
pub const DEFAULT_DATABASE: &str = "default";

/// A plan, and what its columns are called.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The plan; names of its columns may be the planner's own.
    pub plan: LogicalPlan,
    /// Its columns for people, in order.
    pub columns: Vec<Label>,
    /// The types of its columns: the plan's own are those of the first branch of a UNION or CASE.
    pub types: Vec<DataType>,
}

/// What a column of a result is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The name, in lower case; several columns may have the same.
    pub name: String,
    /// The name as the query writes it, which people see.
    pub shown: String,
    /// Whether the query names it; else the name is `_col` and a number.
    pub is_given: bool,
}

/// Plans the query of `statement` over the names of `scope`. Needs a deep stack for deep input.
///
/// Only the tables that the statement names are opened.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] with line and column, and a suggestion, for names that are not there.
pub async fn bind(context: &SessionContext, scope: &Scope<'_>, statement: &Statement) -> Result<Bound> {
    let state = context.state();
    let (plan, types) = match (statement.query(), &statement.parsed) {
        (Some(query), _) => plan_query(&state, scope, query.clone(), 0, Some(&statement.written.places)).await?,
        (None, Some(parsed)) => {
            let plan = shown::plan(context, scope, parsed).await?;
            let types = types_of(&plan);
            (plan, types)
        }
        (None, None) => {
            let words: Vec<&str> = statement.text.split_whitespace().take(2).collect();
            return Err(Error::invalid(format!("NOT_SUPPORTED: line 1:1: {} is not supported", words.join(" ").to_uppercase())));
        }
    };
    let mut columns = labels(&plan);
    let count = columns.len();
    for (index, label) in columns.iter_mut().enumerate() {
        label.shown = statement.written.names.shown(&label.name, index, count).to_string();
    }
    Ok(Bound { plan, columns, types })
}

/// Plans `query`, `depth` views deep, with the types of its columns. With the `places` of its text it is checked whole, and errors tell
/// where they are.
async fn plan_query(
    state: &SessionState,
    scope: &Scope<'_>,
    mut query: Query,
    depth: usize,
    places: Option<&Places>,
) -> Result<(LogicalPlan, Vec<DataType>)> {
    names::fill_in(&mut query, scope);
    let versions = versions::take(state, &mut query).await?;
    distinct::name_derived(&mut query);
    calls::check(state, &query)?;
    shadow::without_shadowing(&mut query);
    twins::check(&query)?;
    using::without_using(&mut query)?;
    using_stars::without_keys(&mut query)?;
    unions::balance(&mut query);
    let names = Names::of(state, scope, &query, &versions, depth).await?;
    path::hide(&mut query, names.with_path())?;
    let planned = |query: &Query| {
        let plan = planned_whole(&names, query)?;
        let types = if places.is_some() { checked_types(state, &plan, query)? } else { types_of(&plan) };
        Ok((plan, types))
    };
    planned(&query).map_err(|error: Error| {
        let plain = message::without_place(&error.message);
        let gives_it = |part: Query| planned(&part).is_err_and(|other: Error| message::without_place(&other.message) == plain);
        let places = places.filter(|_| message::lacks_place(&error));
        match places.and_then(|places| culprit::place(&query, places, gives_it)) {
            Some(place) => message::with_place(Error { message: plain, ..error }, place),
            None => error,
        }
    })
}

/// The plan of `query` with everything that its names stand for, and what Athena means and the planner does not.
fn planned_whole(names: &Names<'_>, query: &Query) -> Result<LogicalPlan> {
    let with_distinct_names = || {
        let mut distinct = query.clone();
        distinct::with_distinct_names(&mut distinct, |part| planned(names, part)).and_then(|()| planned(names, distinct))
    };
    let plan = match planned(names, query.clone()) {
        Err(error) if is_about_names(&error) => {
            with_distinct_names().map_err(|other| if is_about_names(&other) { error } else { other })
        }
        Ok(_) if distinct::groups_by_casts(query) => with_distinct_names(),
        other => other,
    };
    let plan = plan
        .and_then(without_lateral)
        .and_then(sets::with_counts)
        .and_then(correlated::with_single_rows)
        .and_then(joinable::with_joinable_queries)
        .and_then(placed::with_columns)
        .and_then(membership::with_memberships)
        .and_then(nullable::with_nullable_subqueries)
        .and_then(with_chars)
        .map_err(|error| planning_error(error, Some(query)))?;
    refuse_leftovers(&plan)?;
    let plan = own_names::with_own_names(plan).map_err(|error| planning_error(error, Some(query)))?;
    if has_star_over_using(query) {
        check_using_first(&plan)?;
    }
    Ok(plan)
}

/// The types of the columns of `plan`; refuses values of types that do not fit together. Of the other things that the analyzer says, some
/// are right only once the queries inside of a query have been run.
fn checked_types(state: &SessionState, plan: &LogicalPlan, query: &Query) -> Result<Vec<DataType>> {
    match analyzed(state, plan).map_err(|error| planning_error(error, Some(query))) {
        Ok(plan) => Ok(types_of(&plan)),
        Err(error) if message::is_about_types(&error) => Err(error),
        Err(_) => Ok(types_of(plan)),
    }
}

fn types_of(plan: &LogicalPlan) -> Vec<DataType> {
    plan.schema().fields().iter().map(|field| field.data_type().clone()).collect()
}

/// `plan` as the analyzer makes it.
fn analyzed(state: &SessionState, plan: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    state.analyzer().rules.iter().try_fold(plan.clone(), |plan, rule| rule.analyze(plan, state.config_options()))
}

fn planned(names: &Names<'_>, mut query: Query) -> Result<LogicalPlan, DataFusionError> {
    loop {
        match planned_as_written(names, query.clone()) {
            Err(error) if again::spelled(&mut query, &error) => {}
            Err(error) if row_stars::spelled(&mut query, &error, |part| planned_as_written(names, part)) => {}
            other => return other,
        }
    }
}

fn planned_as_written(names: &Names<'_>, query: Query) -> Result<LogicalPlan, DataFusionError> {
    let options = &names.state().config_options().sql_parser;
    let options = ParserOptions {
        parse_float_as_decimal: options.parse_float_as_decimal,
        enable_ident_normalization: options.enable_ident_normalization,
        enable_options_value_normalization: options.enable_options_value_normalization,
        support_varchar_with_length: options.support_varchar_with_length,
        map_string_types_to_utf8view: options.map_string_types_to_utf8view,
        collect_spans: options.collect_spans,
        default_null_ordering: options.default_null_ordering.as_str().into(),
    };
    let statement = ParsedStatement::Statement(Box::new(AstStatement::Query(Box::new(query))));
    SqlToRel::new_with_options(names, options).statement_to_plan(statement)
}

fn is_about_names(error: &DataFusionError) -> bool {
    let text = error.strip_backtrace();
    text.contains("unique expression names")
        || text.contains("duplicate qualified field")
        || text.contains("duplicate unqualified field")
        || text.contains("which would be ambiguous")
}

/// Refuses what the planner accepts and nothing behind it can run.
fn refuse_leftovers(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    let walk = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Unnest(unnest) = node
            && unnest.exec_columns.iter().any(|column| column.name.starts_with(UNNESTED))
            && !unnest.input.all_out_ref_exprs().is_empty()
        {
            found = Some("UNNEST of a column of an outer query");
        }
        if let LogicalPlan::Projection(projection) = node {
            let is_condition =
                |expression: &Expr| expression.exists(|part| Ok(matches!(part, Expr::InSubquery(_) | Expr::Exists(_))));
            for expression in &projection.expr {
                if is_condition(expression)? {
                    found = Some("IN (SELECT ..) in the columns of a SELECT");
                }
            }
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walk.map_err(|error| planning_error(error, None))?;
    let found = match found {
        None => correlated::unsupported(plan).map_err(|error| planning_error(error, None))?,
        found => found,
    };
    found.map_or(Ok(()), |what| Err(message::not_supported(None, what)))
}

/// Whether `is` some part of an expression of `node`.
fn node_has_part(node: &LogicalPlan, is: fn(&Expr) -> bool) -> Result<bool, DataFusionError> {
    let mut found = false;
    node.apply_expressions(|expression| {
        found = found || expression.exists(|part| Ok(is(part)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The same of any node of `plan` and of the queries in it.
fn has_part(plan: &LogicalPlan, is: fn(&Expr) -> bool) -> Result<bool, DataFusionError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = found || node_has_part(node, is)?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Refuses joins with USING whose columns are not the first ones already, or that a `*` would take from the right side (the planner takes
/// them from the relation whose name comes first).
fn check_using_first(plan: &LogicalPlan) -> Result<()> {
    let mut is_first = true;
    let walk = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Join(join) = node
            && join.join_constraint == JoinConstraint::Using
        {
            let columns = join.left.schema().columns();
            let keys = join.on.iter().map(|(key, _)| key);
            is_first &= keys.zip(&columns).all(|(key, column)| matches!(key, Expr::Column(key) if key.name == column.name));
            is_first &= join
                .on
                .iter()
                .all(|(left, right)| matches!((left, right), (Expr::Column(left), Expr::Column(right)) if left < right));
        }
        Ok(if is_first { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walk.map_err(|error| planning_error(error, None))?;
    if is_first {
        return Ok(());
    }
    Err(message::not_supported(
        None,
        "SELECT * of a JOIN with USING whose columns are not the first ones of its left side: name the columns",
    ))
}

/// What people call the columns of `plan`.
fn labels(plan: &LogicalPlan) -> Vec<Label> {
    let names: Vec<&String> = plan.schema().fields().iter().map(|field| field.name()).collect();
    let shown = |(index, name): (usize, &&String)| {
        let label = label(name, index);
        let is_given = label.strip_prefix("_col").is_none_or(|number| number.parse::<usize>().is_err());
        // The planner numbers equal names of a derived table.
        let base = label.rsplit_once(':').filter(|(_, number)| number.parse::<usize>().is_ok()).map(|(base, _)| base.to_string());
        let name = base.filter(|base| names.contains(&base)).unwrap_or(label);
        Label { shown: name.clone(), name, is_given }
    };
    names.iter().enumerate().map(shown).collect()
}
