//! `EXECUTE`: from a name or a text to the statement that runs.

use crate::deep_stack::on_deep_stack;
use crate::workspace::Workspace;
use engine::{Error, Result};
use sql::statement::Execute;
use sql::{Limits, Parameter, PreparedStatements, Statement, StatementKind, parse_prepared};

/// `statement`, or what an `EXECUTE` stands for.
///
/// # Errors
/// When there is no such prepared statement, or its text or parameters are wrong.
pub(crate) async fn executed(workspace: &Workspace, statement: &Statement, limits: Limits) -> Result<Statement> {
    let StatementKind::Execute(execute) = &statement.kind else { return Ok(statement.clone()) };
    let (sql, parameters) = match execute {
        Execute::Named { name, parameters } => (store(workspace)?.get(name).await?, parameters),
        Execute::Immediate { sql, parameters } => (sql.clone(), parameters),
    };
    let parameters = parameters.clone();
    on_deep_stack(async move {
        let values: Vec<Parameter> = parameters.iter().map(|text| Parameter::parse(text, limits)).collect::<Result<_>>()?;
        // A prepared statement is none that prepares or executes another.
        parse_prepared(&sql, &values, limits)
    })
    .await
}

/// The caller's prepared statements.
pub(super) fn store(workspace: &Workspace) -> Result<&PreparedStatements> {
    let missing = || Error::invalid("NOT_SUPPORTED: prepared statements cannot be kept here: use EXECUTE IMMEDIATE");
    workspace.prepared.as_ref().ok_or_else(missing)
}
