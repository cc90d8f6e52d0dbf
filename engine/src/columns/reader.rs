//! Readers of Parquet files of a table: they look at a file's columns before anything else does, while its name is known.
//!
//! What they find is left as notes in the file's key-value metadata, which is the metadata of its schema: the adapter sees no more
//! of a file than the schema.

use super::TableColumns;
use crate::deletions;
use crate::error::{Error, Result};
use crate::functions::define::is_text;
use bytes::Bytes;
use datafusion::arrow::datatypes::{Field, SchemaRef};
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
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::ConvertedType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder};
use parquet::schema::types::SchemaDescriptor;
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
    columns: Arc<TableColumns>,
    declared: SchemaRef,
}

impl CheckedReaders {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        cache: Arc<FileMetadataCache>,
        columns: Arc<TableColumns>,
        declared: SchemaRef,
    ) -> Self {
        Self { inner: CachedParquetFileReaderFactory::new(store, cache), columns, declared }
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
        if self.columns.has_deletions && !deletions::are_left_out(&file) {
            return Err(Error::internal("a file would be read with its deleted rows").into());
        }
        let (columns, declared, meta) = (Arc::clone(&self.columns), Arc::clone(&self.declared), file.object_meta.clone());
        let inner = self.inner.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(Box::new(CheckedReader { inner, columns, declared, meta }))
    }
}

struct CheckedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    columns: Arc<TableColumns>,
    declared: SchemaRef,
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
            let found = read.map_err(|error| self.columns.unreadable(error, &self.meta));
            found.and_then(|found| noted(found, &self.columns, &self.declared, &self.meta)).map_err(external)
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
    let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())
        .map_err(|error| columns.unreadable(error, meta))?;
    let mut notes = Vec::new();
    let mut all_fit = true;
    for (field, place) in declared.fields().iter().zip(columns.places(declared, &schema, &meta.location)?) {
        let Some((place, kind)) = place.and_then(|place| Some((place, schema.fields().get(place)?))) else { continue };
        all_fit &= columns.fits(field, kind).is_ok();
        if is_unmarked_text(field, file.schema_descr(), place) {
            notes.push(KeyValue::new(format!("{BYTES_NOTE}{}", kind.name()), String::new()));
        }
    }
    if all_fit && notes.is_empty() {
        return Ok(found);
    }
    notes.push(KeyValue::new(FILE_NOTE.into(), meta.location.to_string()));
    Ok(Arc::new(with_notes(&found, notes)))
}

/// Whether the column at `place` of a file is to be text, and is not marked so there: nobody has checked that its bytes are UTF-8.
fn is_unmarked_text(declared: &Field, found: &SchemaDescriptor, place: usize) -> bool {
    let root = found.root_schema().get_fields().get(place);
    is_text(declared.data_type())
        && root.is_some_and(|root| root.is_primitive() && root.get_basic_info().converted_type() != ConvertedType::UTF8)
}

fn with_notes(found: &ParquetMetaData, notes: Vec<KeyValue>) -> ParquetMetaData {
    let file = found.file_metadata();
    let kept = file.key_value_metadata().into_iter().flatten().cloned();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_string),
        Some(kept.chain(notes).collect()),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    ParquetMetaDataBuilder::new(file)
        .set_row_groups(found.row_groups().to_vec())
        .set_column_index(found.column_index().cloned())
        .set_offset_index(found.offset_index().cloned())
        .build()
}
