//! What tables of files are to DataFusion, however they choose the files.

use super::scan::FileTable;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use engine::Result;
use std::fmt;
use std::sync::Arc;

/// The filters of a query.
#[derive(Debug)]
pub(in crate::catalog) struct Filters {
    /// Those that name nothing but partition columns: no row may be given that does not meet them.
    pub(in crate::catalog) for_partitions: Vec<Expr>,
    /// The others, for what they may leave out; they are asked of each row afterwards.
    pub(in crate::catalog) others: Vec<Expr>,
}

/// A table that chooses files, and scans those.
#[async_trait]
pub(in crate::catalog) trait ScanFiles: fmt::Debug + Send + Sync + 'static {
    fn files(&self) -> &FileTable;

    /// Its columns in their order.
    fn schema(&self) -> &SchemaRef;

    /// The scan for a query, of at least `limit` rows if there are so many.
    async fn plan(
        &self,
        session: &dyn Session,
        projection: &[usize],
        filters: Filters,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>>;
}

/// Such a table, as DataFusion asks it.
#[derive(Debug)]
pub(in crate::catalog) struct Provider<T>(pub(in crate::catalog) T);

#[async_trait]
impl<T: ScanFiles> TableProvider for Provider<T> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let kind = |filter: &&Expr| match self.0.files().is_partition_filter(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(kind).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let all: Vec<usize> = (0..self.0.schema().fields().len()).collect();
        let (for_partitions, others) = filters.iter().cloned().partition(|filter| self.0.files().is_partition_filter(filter));
        let filters = Filters { for_partitions, others };
        // Rows that are left out afterwards must not count.
        let limit = limit.filter(|_| filters.others.is_empty());
        Ok(self.0.plan(session, projection.unwrap_or(&all), filters, limit).await?)
    }
}
