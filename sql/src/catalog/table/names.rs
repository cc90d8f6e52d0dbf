//! What planning learns from files: how many rows Parquet files have.

use super::TypedColumn;
use crate::catalog::model::Table;
use arrow::datatypes::Schema;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::config::TableParquetOptions;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use engine::columns::{PLANNED_FOOTERS, TableColumns, file_schema, sample};
use engine::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore};
use std::sync::Arc;

/// Footers that are read at once.
const CONCURRENT_READS: usize = 32;

/// The reader of the Parquet files of `table`. Its 96-bit timestamps are read in microseconds: nanoseconds end in the year 2262.
///
/// # Errors
/// Never for a table of a catalog.
pub(super) fn parquet_format(columns: &TableColumns) -> Result<ParquetFormat> {
    let mut options = TableParquetOptions::default();
    columns.mark(&mut options)?;
    Ok(ParquetFormat::default().with_options(options).with_coerce_int96(Some("us".into())))
}

/// What messages about the files of `table` say of its columns.
pub(super) fn table_columns(table: &Table, columns: &[TypedColumn]) -> TableColumns {
    let types = columns.iter().map(|column| (column.name.clone(), column.hive.to_string())).collect();
    let ids = columns.iter().filter_map(|column| Some((column.name.clone(), column.id.clone()?))).collect();
    TableColumns { table: table.full_name(), types, ids, by_place: is_by_place(table), has_deletions: false }
}

/// Whether the Parquet serde finds columns by their places.
fn is_by_place(table: &Table) -> bool {
    let serde = table.storage_descriptor.as_ref().and_then(|storage| storage.serde_info.as_ref());
    let value = serde.and_then(|serde| serde.parameters.get("parquet.column.index.access"));
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// `rows` of files without the `deleted` ones among them.
///
/// # Errors
/// When there are not so many rows.
pub(super) fn without_deleted(rows: Precision<usize>, deleted: u64, columns: &TableColumns) -> Result<Precision<usize>> {
    let deleted = usize::try_from(deleted).unwrap_or(usize::MAX);
    Ok(match rows {
        Precision::Exact(rows) => Precision::Exact(rows.checked_sub(deleted).ok_or_else(|| {
            let text = format!("table {}: {deleted} rows are deleted, of {rows} in its files", columns.table);
            Error::new(ErrorKind::Corrupt, text)
        })?),
        Precision::Inexact(rows) => Precision::Inexact(rows.saturating_sub(deleted)),
        Precision::Absent => Precision::Absent,
    })
}

/// Rows of all `files`, from a sample of their footers if they are many. What is read is checked too: an error is better met before
/// anything runs, and all files are checked when they are opened.
pub(super) async fn rows_of_parquet(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    declared: &Schema,
    projection: &[usize],
    columns: &TableColumns,
) -> Result<Precision<usize>> {
    let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
    let sample: Vec<ObjectMeta> = sample(files, PLANNED_FOOTERS).into_iter().cloned().collect();
    let is_whole = sample.len() == files.len();
    let reads = futures::stream::iter(sample).map(|meta| {
        let cache = Arc::clone(&cache);
        async move {
            let footer =
                DFParquetMetadata::new(store.as_ref(), &meta).with_file_metadata_cache(Some(cache)).fetch_metadata().await;
            let footer = footer.map_err(|e| columns.unreadable(e, &meta))?;
            Ok::<_, Error>((meta, footer))
        }
    });
    let mut reads = reads.buffered(CONCURRENT_READS);
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    let mut last: Option<Schema> = None;
    while let Some((meta, footer)) = reads.try_next().await? {
        let footer = footer.file_metadata();
        rows = rows.saturating_add(u64::try_from(footer.num_rows()).unwrap_or(0));
        bytes = bytes.saturating_add(meta.size);
        let schema = file_schema(footer).map_err(|e| columns.unreadable(e, &meta))?;
        // Nearly always every file has the schema of the one before.
        if last.as_ref().is_none_or(|last| last.fields() != schema.fields()) {
            columns.check(declared, &schema, &meta.location, |index| projection.contains(&index))?;
            last = Some(schema);
        }
    }
    if is_whole {
        return Ok(Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX)));
    }
    let all = files.iter().map(|meta| u128::from(meta.size)).sum::<u128>();
    let estimate = u128::from(rows) * all / u128::from(bytes.max(1));
    Ok(Precision::Inexact(usize::try_from(estimate).unwrap_or(usize::MAX)))
}
