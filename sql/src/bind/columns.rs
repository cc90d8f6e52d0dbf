//! Columns of files in lower case, as Athena's names have no case.

use crate::message::planning_error;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use engine::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// `table` with the names of its columns in lower case.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] when two names differ in case only.
pub(super) fn lower_cased(table: Arc<dyn TableProvider>, name: &str) -> Result<Arc<dyn TableProvider>> {
    let schema = table.schema();
    if schema.fields().iter().all(|field| !field.name().chars().any(char::is_uppercase)) {
        return Ok(table);
    }
    let mut seen = HashSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name().to_lowercase()) {
            return Err(Error::invalid(format!(
                "table '{name}' has two columns '{}': names have no case here",
                field.name().to_lowercase()
            )));
        }
    }
    let columns = schema.fields().iter().map(|field| {
        let column = Expr::Column(Column::from_name(field.name()));
        let lower = field.name().to_lowercase();
        if lower == *field.name() { column } else { column.alias(lower) }
    });
    let plan = LogicalPlanBuilder::scan("owlet_file", provider_as_source(table), None)
        .and_then(|scan| scan.project(columns.collect::<Vec<_>>()))
        .and_then(LogicalPlanBuilder::build);
    Ok(Arc::new(ViewTable::new(plan.map_err(|error| planning_error(error, None))?, None)))
}
