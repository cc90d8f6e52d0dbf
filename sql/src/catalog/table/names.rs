//! What planning learns from files: how many rows Parquet files have, and how JSON files spell the table's columns.

use super::TypedColumn;
use super::shape::json_type;
use crate::catalog::model::Table;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::config::TableParquetOptions;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use engine::columns::{PLANNED_FOOTERS, TableColumns, other_case, sample, unreadable};
use engine::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use std::sync::Arc;

/// Footers or heads of files that are read at once.
const CONCURRENT_READS: usize = 32;
/// JSON files whose keys are looked at.
const SAMPLED_FILES: usize = 64;

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
    TableColumns { table: table.full_name(), types }
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
        let schema = parquet_to_arrow_schema(footer.schema_descr(), footer.key_value_metadata())
            .map_err(|e| columns.unreadable(e, &meta))?;
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

/// Looks at the keys of some files: JSON serdes match keys in any case, and the reader does not.
pub(super) async fn of_json(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    columns: &[TypedColumn],
    format: &JsonFormat,
    table: &Table,
) -> Result<Schema> {
    let reads = futures::stream::iter(files.iter().take(SAMPLED_FILES).cloned().collect::<Vec<_>>()).map(|meta| async move {
        let read = format.infer_schema(session, store, std::slice::from_ref(&meta)).await;
        let schema = read.map_err(|e| unreadable(e, &meta, &table.full_name()))?;
        Ok::<_, Error>((meta, schema))
    });
    let mut reads = reads.buffered(CONCURRENT_READS);
    let mut found = FoundNames::new(columns, table);
    while let Some((meta, schema)) = reads.try_next().await? {
        found.note(&schema, &meta.location)?;
    }
    Ok(found.schema())
}

/// The keys that JSON files have for the table's columns so far.
struct FoundNames<'a> {
    columns: &'a [TypedColumn],
    table: &'a Table,
    names: Vec<Option<(String, Path)>>,
}

impl<'a> FoundNames<'a> {
    fn new(columns: &'a [TypedColumn], table: &'a Table) -> Self {
        Self { columns, table, names: vec![None; columns.len()] }
    }

    fn note(&mut self, schema: &Schema, file: &Path) -> Result<()> {
        for (index, column) in self.columns.iter().enumerate() {
            let mut alike = schema.fields().iter().filter(|field| field.name().to_lowercase() == column.name);
            let Some(field) = alike.next() else { continue };
            if let Some(other) = alike.next() {
                return Err(self.error(column, file, &format!("is in the file as '{}' and as '{}'", field.name(), other.name())));
            }
            if column.hive.is_plain() != is_plain(field.data_type()) && field.data_type() != &DataType::Null {
                return Err(self.error(column, file, &format!("is {} there", field.data_type())));
            }
            nested_names(column.field.data_type(), field.data_type()).map_err(|why| self.error(column, file, &why))?;
            match self.names.get_mut(index) {
                Some(Some((known, first))) if known != field.name() => {
                    let why =
                        format!("is '{}' there and '{known}' in '{first}': one spelling in all files can be read", field.name());
                    return Err(self.error(column, file, &why));
                }
                Some(place @ None) => *place = Some((field.name().clone(), file.clone())),
                _ => {}
            }
        }
        Ok(())
    }

    fn error(&self, column: &TypedColumn, file: &Path, why: &str) -> Error {
        let text = format!(
            "HIVE_BAD_DATA: column {} ({}) of table {}, file '{file}': {why}",
            column.name,
            column.hive,
            self.table.full_name()
        );
        Error::invalid(text)
    }

    fn schema(self) -> Schema {
        let fields = self.columns.iter().zip(self.names).map(|(column, name)| {
            let name = name.map_or_else(|| column.name.clone(), |(name, _)| name);
            Field::new(name, json_type(column), true)
        });
        Schema::new(fields.collect::<Vec<_>>())
    }
}

fn is_plain(data_type: &DataType) -> bool {
    !data_type.is_nested()
}

/// Refuses fields of structs whose names differ in case only, as they would be read as NULL.
fn nested_names(declared: &DataType, file: &DataType) -> Result<(), String> {
    match (declared, file) {
        (DataType::List(declared), DataType::List(file)) => nested_names(declared.data_type(), file.data_type()),
        (DataType::Struct(declared), DataType::Struct(file)) => {
            declared.iter().try_for_each(|field| match file.iter().find(|known| known.name() == field.name()) {
                Some(known) => nested_names(field.data_type(), known.data_type()),
                None => other_case(field, file),
            })
        }
        _ => Ok(()),
    }
}
