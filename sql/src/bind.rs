//! A statement to a logical plan: finds the tables that it names and gives errors their place in the text.

use crate::message::{planning_error, unknown_table};
use crate::statement::Statement;
use crate::tables::{Tables, is_location, open};
use datafusion::common::TableReference;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{self, ObjectName, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;
use engine::{Error, Result};
use std::ops::ControlFlow;

/// Plans `statement` over `tables` and the locations that it names. Needs a deep stack for deep input.
///
/// Only the tables that the statement names are opened; a table of `tables` hides a file of the same name.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] with line and column, and a suggestion, for names that are not there.
pub async fn bind(context: &SessionContext, tables: &Tables, statement: &Statement) -> Result<LogicalPlan> {
    let state = context.state();
    let references = state.resolve_table_references(&statement.parsed).map_err(planning_error)?;
    for reference in references {
        register(context, tables, statement, &reference).await?;
    }
    if lists_tables(&statement.parsed) {
        for name in tables.names() {
            register(context, tables, statement, &TableReference::bare(name)).await?;
        }
    }
    context.state().statement_to_plan(statement.parsed.clone()).await.map_err(planning_error)
}

async fn register(context: &SessionContext, tables: &Tables, statement: &Statement, reference: &TableReference) -> Result<()> {
    if reference.schema() == Some("information_schema") {
        for name in tables.names() {
            open_as(context, name, tables.location(name).unwrap_or(name)).await?;
        }
        return Ok(());
    }
    let name = reference.table();
    if context.state().table_functions().contains_key(name) {
        return Ok(());
    }
    if let Some(location) = tables.location(name) {
        return open_as(context, name, location).await;
    }
    let place = table_span(&statement.parsed, name);
    if is_location(name) {
        return open_as(context, name, name).await.map_err(|error| located(error, place));
    }
    let known: Vec<&str> = tables.names().collect();
    Err(unknown_table(name, place, &known))
}

async fn open_as(context: &SessionContext, name: &str, location: &str) -> Result<()> {
    if context.table_exist(TableReference::bare(name)).map_err(Error::from)? {
        return Ok(());
    }
    let table = open(&context.state(), location).await?;
    context.register_table(TableReference::bare(name), table).map_err(Error::from)?;
    Ok(())
}

fn located(mut error: Error, span: Option<Span>) -> Error {
    if let Some(span) = span.filter(|span| span.start.line > 0) {
        error.message = format!("line {}:{}: {}", span.start.line, span.start.column, error.message);
    }
    error
}

fn lists_tables(statement: &ParsedStatement) -> bool {
    matches!(statement, ParsedStatement::Statement(inner) if matches!(inner.as_ref(), ast::Statement::ShowTables { .. }))
}

/// Where `name` stands in the text, for error messages.
fn table_span(statement: &ParsedStatement, name: &str) -> Option<Span> {
    struct Find<'a>(&'a str);
    impl Visitor for Find<'_> {
        type Break = Span;
        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Span> {
            let found =
                relation.0.last().and_then(|part| part.as_ident()).filter(|ident| ident.value.eq_ignore_ascii_case(self.0));
            match found {
                Some(ident) => ControlFlow::Break(ident.span),
                None => ControlFlow::Continue(()),
            }
        }
    }
    let ParsedStatement::Statement(statement) = statement else { return None };
    match statement.visit(&mut Find(name)) {
        ControlFlow::Break(span) => Some(span),
        ControlFlow::Continue(()) => None,
    }
}
