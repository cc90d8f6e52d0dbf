//! Statements that are more than a query: the catalog's, those that write, prepared ones.
//!
//! ```text
//! EXECUTE ─► prepared.rs ─► the statement behind the name
//! DDL, SHOW, DESCRIBE ─► ddl.rs ─► sql::ddl over the workspace's catalog ─► rows of text
//! CREATE TABLE AS, INSERT, UNLOAD ─► target.rs ─► write ─► files visible ─► catalog
//! ```

mod ddl;
mod format;
mod prepared;
mod target;
mod write;

pub(crate) use ddl::Shown;
pub(crate) use prepared::executed;

use crate::query::Query;
use crate::streams::nothing;
use crate::workspace::Workspace;
use engine::{Error, Result};
use sql::{Statement, StatementKind};

/// Whether a statement of `kind` writes rows.
pub(crate) fn is_write(kind: &StatementKind) -> bool {
    matches!(kind, StatementKind::CreateTableAs(_) | StatementKind::Insert(_) | StatementKind::Unload(_))
}

/// What a statement gives that is neither a query nor a write.
///
/// # Errors
/// What is wrong with it, with Athena's name of the error in front.
pub(crate) async fn answer(query: &Query, workspace: &Workspace, statement: &Statement) -> Result<Shown> {
    match &statement.kind {
        StatementKind::Prepare(prepare) => {
            prepared::store(workspace)?.put(&prepare.name, &prepare.sql).await?;
            Ok(Shown::Stream(nothing()))
        }
        StatementKind::Deallocate(name) => {
            prepared::store(workspace)?.delete(name).await?;
            Ok(Shown::Stream(nothing()))
        }
        StatementKind::Use { catalog, database } => {
            check_database(query, workspace, catalog.as_deref(), database).await?;
            Ok(Shown::Stream(nothing()))
        }
        _ => ddl::answer(query, workspace, statement).await,
    }
}

async fn check_database(query: &Query, workspace: &Workspace, catalog: Option<&str>, database: &str) -> Result<()> {
    if let Some(name) = catalog.filter(|name| *name != sql::bind::DEFAULT_CATALOG) {
        return Err(Error::invalid(format!("CATALOG_NOT_FOUND: Catalog '{name}' does not exist")));
    }
    match workspace.require_catalog(query.registry())?.database(database).await? {
        Some(_) => Ok(()),
        None => Err(sql::catalog::CatalogError::NoDatabase(database.into()).into()),
    }
}
