//! A catalog's table as DataFusion sees it: partitions are chosen before anything is listed, and what is left is a plain file scan.
//!
//! ```text
//! scan ─► partitions (catalog, or projection) ─► prune by the query's filters ─► list what is left ─► DataSourceExec per store
//!                                                                                                     └► ProjectionExec for text
//! ```
//!
//! What is in Parquet files changes no plan: `engine::columns` finds the table's columns where a file is opened.

mod format;
mod header;
mod json;
mod listing;
mod names;
mod provider;
mod prune;
mod scan;
mod shape;
mod text;

use super::Catalog;
use super::model::Table;
use super::types::HiveType;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::physical_plan::ExecutionPlan;
use engine::{Error, Result};
use listing::list;
use std::sync::Arc;

pub(super) use format::TableFormat;
pub use format::check_input;
pub(super) use provider::{Filters, Provider, ScanFiles};
pub(crate) use scan::PATH;
pub(super) use scan::{FileTable, TypedColumn};
#[cfg(feature = "delta")]
pub(super) use {
    listing::{FileSet, MAX_FILES},
    prune::met,
    scan::has_query,
};

/// Opens `table` for queries. Nothing is read yet.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] for a format or type that cannot be read here, with what it is.
pub(super) fn open(session: &dyn Session, catalog: Arc<dyn Catalog>, table: &Table) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(Provider(HiveTable::new(session, catalog, table)?)))
}

/// `table` with the column [`PATH`] behind its others, where it is one of files that a catalog knows.
///
/// # Errors
/// When the table has a column of that name.
pub(crate) fn with_path(table: &Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
    let table: &dyn std::any::Any = table.as_ref();
    let Some(Provider(table)) = table.downcast_ref::<Provider<HiveTable>>() else { return Ok(None) };
    let (catalog, files) = (Arc::clone(&table.catalog), table.files.with_path()?);
    Ok(Some(Arc::new(Provider(HiveTable { catalog, table: table.table.clone(), files }))))
}

/// Checks that the files of `table` can be read here, by its format and types.
///
/// # Errors
/// As [`open`].
pub(crate) fn check_format(table: &Table) -> Result<()> {
    TableFormat::of(table)?;
    table.columns().iter().chain(&table.partition_keys).try_for_each(|column| HiveType::parse(&column.hive_type).map(drop))
}

#[derive(Debug)]
struct HiveTable {
    catalog: Arc<dyn Catalog>,
    table: Table,
    files: FileTable,
}

impl HiveTable {
    fn new(session: &dyn Session, catalog: Arc<dyn Catalog>, table: &Table) -> Result<Self> {
        let place = |error: Error| error.context(format!("table {}", table.full_name()));
        let format = TableFormat::of(table).and_then(|format| check_input(table).map(|()| format)).map_err(place)?;
        let views = format == TableFormat::Parquet && has_views(session);
        let typed = |column: &super::Column, views: bool| {
            let hive = HiveType::parse(&column.hive_type).map_err(|error| place(error.context(&column.name)))?;
            Ok::<_, Error>(TypedColumn::new(&column.name, &column.name, hive, views))
        };
        let columns = table.columns().iter().map(|column| typed(column, views)).collect::<Result<Vec<_>>>()?;
        let keys = table.partition_keys.iter().map(|key| typed(key, false)).collect::<Result<Vec<_>>>()?;
        Ok(Self { catalog, table: table.clone(), files: FileTable::new(table, format, columns, keys)? })
    }
}

#[async_trait]
impl ScanFiles for HiveTable {
    fn files(&self) -> &FileTable {
        &self.files
    }

    fn schema(&self) -> &SchemaRef {
        self.files.schema()
    }

    async fn plan(
        &self,
        session: &dyn Session,
        projection: &[usize],
        filters: Filters,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.files.check_columns(projection)?;
        let partitions =
            prune::partitions(session, &*self.catalog, &self.table, self.files.partition_keys(), &filters.for_partitions).await?;
        let sets = list(session, partitions, self.files.is_text(), self.files.has_path()).await?;
        self.files.scan(session, sets, projection, limit).await
    }
}

/// Whether strings of Parquet files are read as views.
pub(super) fn has_views(session: &dyn Session) -> bool {
    session.config_options().execution.parquet.schema_force_view_types
}

#[cfg(test)]
mod tests;
