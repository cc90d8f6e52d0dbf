//! `SHOW TABLES`, `SHOW COLUMNS` and `DESCRIBE` of a session's own tables, as DataFusion plans them.

use super::names::Scope;
use crate::message::planning_error;
use crate::tables::{is_location, open};
use datafusion::common::TableReference;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as ParsedStatement;
use engine::{Error, Result};

/// Plans `statement` with all tables of `scope` in the catalog of `context`.
pub(super) async fn plan(context: &SessionContext, scope: &Scope<'_>, statement: &ParsedStatement) -> Result<LogicalPlan> {
    let state = context.state();
    for name in scope.tables.names() {
        let location = scope.tables.location(name).unwrap_or(name);
        register(context, name, location).await?;
    }
    for reference in state.resolve_table_references(statement).map_err(|error| planning_error(error, None))? {
        let name = reference.table();
        if scope.tables.location(name).is_none() && is_location(name) {
            register(context, name, name).await?;
        }
    }
    let plan = context.state().statement_to_plan(statement.clone()).await;
    plan.map_err(|error| planning_error(error, None))
}

async fn register(context: &SessionContext, name: &str, location: &str) -> Result<()> {
    if context.table_exist(TableReference::bare(name)).map_err(Error::from)? {
        return Ok(());
    }
    let table = open(&context.state(), location).await?;
    context.register_table(TableReference::bare(name), table).map_err(Error::from)?;
    Ok(())
}
