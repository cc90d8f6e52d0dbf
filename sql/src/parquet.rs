//! Parquet files without the limits of their floating-point columns, which tell nothing of NaN, and without those of writers that
//! compared values in another order.
//!
//! DataFusion takes a column whose least and greatest value are the same for a constant, and such limits for `min` and `max`.

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::file_format::{FileFormat, FileMeta};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileScanConfig, FileSinkConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::{LexOrdering, LexRequirement};
use datafusion::physical_plan::ExecutionPlan;
use engine::columns::{adapted, has_signed_limits};
use object_store::{ObjectMeta, ObjectStore};
use std::sync::Arc;

/// DataFusion's reader, but for the statistics of columns that may hold NaN.
#[derive(Debug, Default)]
pub(crate) struct ParquetFiles(ParquetFormat);

/// `statistics` without what they say of the values of floating-point columns; with `is_signed`, of any.
fn without_limits(mut statistics: Statistics, schema: &SchemaRef, is_signed: bool) -> Statistics {
    for (column, field) in statistics.column_statistics.iter_mut().zip(schema.fields()) {
        if is_signed || field.data_type().is_floating() {
            column.min_value = Precision::Absent;
            column.max_value = Precision::Absent;
        }
    }
    statistics
}

/// Whether an old writer compared values of `object` in another order.
async fn is_signed(state: &dyn Session, store: &Arc<dyn ObjectStore>, object: &ObjectMeta) -> Result<bool> {
    let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
    let footer = DFParquetMetadata::new(store.as_ref(), object).with_file_metadata_cache(Some(cache)).fetch_metadata().await?;
    Ok(has_signed_limits(&footer))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl FileFormat for ParquetFiles {
    fn get_ext(&self) -> String {
        self.0.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.0.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.0.compression_type()
    }

    async fn infer_schema(&self, state: &dyn Session, store: &Arc<dyn ObjectStore>, objects: &[ObjectMeta]) -> Result<SchemaRef> {
        self.0.infer_schema(state, store, objects).await
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        let statistics = self.0.infer_stats(state, store, Arc::clone(&schema), object).await?;
        Ok(without_limits(statistics, &schema, is_signed(state, store, object).await?))
    }

    async fn infer_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Option<LexOrdering>> {
        self.0.infer_ordering(state, store, schema, object).await
    }

    async fn infer_stats_and_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<FileMeta> {
        let mut found = self.0.infer_stats_and_ordering(state, store, Arc::clone(&schema), object).await?;
        found.statistics = without_limits(found.statistics, &schema, is_signed(state, store, object).await?);
        Ok(found)
    }

    async fn create_physical_plan(&self, state: &dyn Session, scan: FileScanConfig) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.0.create_physical_plan(state, scan).await?;
        Ok(adapted(plan, state.runtime_env())?)
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        sink: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.create_writer_physical_plan(input, state, sink, order).await
    }

    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        self.0.file_source(schema)
    }
}
