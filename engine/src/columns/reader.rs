//! Readers of Parquet files of a table: they look at a file's columns before anything else does, while its name is known.
//!
//! What they find is left as notes in the file's key-value metadata, which is the metadata of its schema: the adapter sees no more
//! of a file than the schema.

use super::TableColumns;
use super::limits::{has_signed_limits, without_signed_limits};
use crate::deletions;
use crate::error::{Error, Result};
use crate::functions::define::is_text;
use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, parquet_to_arrow_schema};
use parquet::basic::{ConvertedType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder};
use parquet::schema::types::{SchemaDescriptor, Type};
use std::ops::Range;
use std::sync::Arc;

/// The note of the file's path.
pub(super) const FILE_NOTE: &str = "owlet.file";
/// Start of the note of a column of text that is not marked as text in the file: the reader takes its bytes as they are.
pub(super) const BYTES_NOTE: &str = "owlet.bytes.";

/// Makes readers that know footers from the cache.
#[derive(Debug)]
pub(super) struct CheckedReaders {
    inner: CachedParquetFileReaderFactory,
    table: Option<Declared>,
}

/// The columns of a table and their types in plans.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) columns: Arc<TableColumns>,
    pub(super) schema: SchemaRef,
}

impl CheckedReaders {
    pub(super) fn new(store: Arc<dyn ObjectStore>, cache: Arc<FileMetadataCache>, table: Option<Declared>) -> Self {
        Self { inner: CachedParquetFileReaderFactory::new(store, cache), table }
    }
}

impl ParquetFileReaderFactory for CheckedReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::common::Result<Box<dyn AsyncFileReader + Send>> {
        if self.table.as_ref().is_some_and(|table| table.columns.has_deletions) && !deletions::are_left_out(&file) {
            return Err(Error::internal("a file would be read with its deleted rows").into());
        }
        let (table, meta) = (self.table.clone(), file.object_meta.clone());
        let inner = self.inner.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(Box::new(CheckedReader { inner, table, meta }))
    }
}

struct CheckedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    table: Option<Declared>,
    meta: ObjectMeta,
}

impl AsyncFileReader for CheckedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let read = self.inner.get_metadata(options).await;
            let Some(table) = &self.table else {
                let found = read?;
                let is_whole = !has_signed_limits(&found);
                return if is_whole { Ok(found) } else { with_notes(&found, None).map(Arc::new) };
            };
            let found = read.map_err(|error| table.columns.unreadable(error, &self.meta));
            found.and_then(|found| noted(found, &table.columns, &table.schema, &self.meta)).map_err(external)
        }
        .boxed()
    }
}

fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// The footer `found`, with notes where the adapter needs some.
fn noted(
    found: Arc<ParquetMetaData>,
    columns: &TableColumns,
    declared: &SchemaRef,
    meta: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>> {
    let file = found.file_metadata();
    let schema = file_schema(file).map_err(|error| columns.unreadable(error, meta))?;
    // What a writer of Arrow says of its own types is no part of the file: other readers take no notice of it.
    let own =
        if has_own_types(file) { parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).ok() } else { None };
    let mut notes = Vec::new();
    let mut all_fit = true;
    let mut is_other = has_own_types(file) && own.is_none() || has_signed_limits(&found);
    for (field, place) in declared.fields().iter().zip(columns.places(declared, &schema, &meta.location)?) {
        let Some((place, kind)) = place.and_then(|place| Some((place, schema.fields().get(place)?))) else { continue };
        all_fit &= columns.fits(field, kind).is_ok();
        is_other |= own.as_ref().is_some_and(|own| own.fields().get(place).map(|own| own.data_type()) != Some(kind.data_type()));
        if is_unmarked_text(field, file.schema_descr(), place) {
            notes.push(KeyValue::new(format!("{BYTES_NOTE}{}", kind.name()), String::new()));
        }
    }
    if all_fit && notes.is_empty() && !is_other {
        return Ok(found);
    }
    notes.push(KeyValue::new(FILE_NOTE.into(), meta.location.to_string()));
    Ok(Arc::new(with_notes(&found, Some(notes)).map_err(|error| columns.unreadable(error, meta))?))
}

/// The schema that a file's columns have by their Parquet types alone.
///
/// # Errors
/// For columns that have no type of Arrow.
pub fn file_schema(file: &FileMetaData) -> parquet::errors::Result<Schema> {
    parquet_to_arrow_schema(file.schema_descr(), None)
}

fn has_own_types(file: &FileMetaData) -> bool {
    file.key_value_metadata().into_iter().flatten().any(|entry| entry.key == ARROW_SCHEMA_META_KEY)
}

/// Whether the column at `place` of a file is to be text or to have some inside, and is not marked so there: nobody has checked
/// that its bytes are UTF-8.
fn is_unmarked_text(declared: &Field, found: &SchemaDescriptor, place: usize) -> bool {
    let root = found.root_schema().get_fields().get(place);
    root.is_some_and(|root| has_text(declared.data_type()) && has_unmarked_bytes(root))
}

fn has_text(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) => has_text(item.data_type()),
        DataType::Map(entries, _) => has_text(entries.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_text(field.data_type())),
        plain => is_text(plain),
    }
}

fn has_unmarked_bytes(found: &Type) -> bool {
    match found {
        Type::GroupType { fields, .. } => fields.iter().any(|field| has_unmarked_bytes(field)),
        Type::PrimitiveType { basic_info, physical_type, .. } => {
            let is_bytes = matches!(physical_type, PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY);
            is_bytes && !matches!(basic_info.converted_type(), ConvertedType::UTF8 | ConvertedType::DECIMAL)
        }
    }
}

/// `found` with `notes` in the place of a writer's own types, and without limits that prune wrongly.
fn with_notes(found: &ParquetMetaData, notes: Option<Vec<KeyValue>>) -> parquet::errors::Result<ParquetMetaData> {
    let file = found.file_metadata();
    let is_kept = |entry: &&KeyValue| notes.is_none() || entry.key != ARROW_SCHEMA_META_KEY;
    let kept: Vec<KeyValue> = file.key_value_metadata().into_iter().flatten().filter(is_kept).cloned().collect();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_string),
        Some(kept.into_iter().chain(notes.into_iter().flatten()).collect()),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    Ok(ParquetMetaDataBuilder::new(file)
        .set_row_groups(without_signed_limits(found)?)
        .set_column_index(found.column_index().cloned())
        .set_offset_index(found.offset_index().cloned())
        .build())
}
