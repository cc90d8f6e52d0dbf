//! Columns of a catalog's table in its Parquet files: matched by name in any case, or by place where the table says so, checked for
//! type and converted where a file is opened, on workers too.
//!
//! ```text
//! plan ─► scan whose reader options carry TableColumns ─► wire ─► decode_plan ─► adapted()
//!                                                                                  │ reader: names and types of a file, once per opening
//!                                                                                  └ adapter: expressions over the file's own columns
//! ```
//!
//! No plan depends on what is in a file, so that planning needs no footers. Pruning works on adapted expressions, and so on the file's
//! own names and types.

mod adapter;
mod fits;
mod ids;
mod limits;
mod millis;
mod nested;
mod reader;

pub use fits::fits;
pub use ids::{ELEMENT, FieldId, KEY, VALUE};
pub use limits::has_signed_limits;
pub use millis::nearest_milli;
pub use reader::file_schema;

use crate::deletions::WithoutDeletedRows;
use crate::error::{Error, ErrorKind, Result};
use crate::lines::LineSource;
use crate::unpacked::Unpacked;
use adapter::FileColumns;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DataFusionError;
use datafusion::config::TableParquetOptions;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;
use object_store::path::Path;
use reader::{CheckedReaders, Declared};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;

/// Footers of one scan that planning reads at the most: they tell of its rows and bytes, and a sample tells enough.
pub const PLANNED_FOOTERS: usize = 256;

/// Start of the option `created_by` of scans that carry [`TableColumns`] to workers. It is an option of writers, which readers
/// pass on and do not look at; their map of key-value metadata would be lost on the way.
const MARK: &str = "owlet.table ";

/// The columns of a table as the catalog declares them, for messages about a file that does not fit.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct TableColumns {
    /// The table's full name.
    pub table: String,
    /// Hive's types by column.
    pub types: BTreeMap<String, String>,
    /// Ids of columns in files, which then go before their names; for all columns or none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<String, FieldId>,
    /// Whether a column is the one in its place in a file, whatever that is called; fields of structs go by name still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_place: bool,
    /// Whether the last partition column is that of [`crate::deletions::field`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_deletions: bool,
}

impl TableColumns {
    /// Makes scans with these `options` look for the table's columns in each file.
    ///
    /// # Errors
    /// Never for names and types that are text.
    pub fn mark(&self, options: &mut TableParquetOptions) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|e| Error::internal(e.to_string()))?;
        options.global.created_by = format!("{MARK}{text}");
        Ok(())
    }

    fn of(options: &TableParquetOptions) -> Result<Option<Self>> {
        let Some(text) = options.global.created_by.strip_prefix(MARK) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|e| Error::internal(format!("columns of a table: {e}")))
    }

    /// Checks that the columns of `declared` that `is_read` picks by place can be read from a file of schema `found`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidQuery`] with table, column and `file`.
    pub fn check(&self, declared: &Schema, found: &Schema, file: &Path, is_read: impl Fn(usize) -> bool) -> Result<()> {
        let places = self.places(declared, found, file)?;
        for (index, (field, place)) in declared.fields().iter().zip(places).enumerate() {
            if let (true, Some(found)) = (is_read(index), place.and_then(|place| found.fields().get(place))) {
                self.fits(field, found).map_err(|why| self.error(field.name(), file, &why))?;
            }
        }
        Ok(())
    }

    /// Whether the column `declared` can be read from `found`.
    fn fits(&self, declared: &Field, found: &Field) -> Result<(), String> {
        fits(declared.data_type(), found.data_type())?;
        self.ids.get(declared.name()).map_or(Ok(()), |id| id.check(declared.data_type(), found.data_type()))
    }

    /// Where the columns of `declared` are in a file of schema `found`.
    fn places(&self, declared: &Schema, found: &Schema, file: impl Display) -> Result<Vec<Option<usize>>> {
        match (self.ids.is_empty(), self.by_place) {
            (true, true) => {
                Ok((0..declared.fields().len()).map(|place| Some(place).filter(|_| place < found.fields().len())).collect())
            }
            (true, false) => self.places_by_name(declared, found, file),
            (false, _) => self.places_by_id(declared, found, file),
        }
    }

    fn places_by_id(&self, declared: &Schema, found: &Schema, file: impl Display) -> Result<Vec<Option<usize>>> {
        let place = |field: &Arc<Field>| {
            let id = self.ids.get(field.name()).ok_or_else(|| Error::internal("a column without an id"))?;
            ids::place(found, id.id).map_err(|why| self.error(field.name(), &file, &why))
        };
        declared.fields().iter().map(place).collect()
    }

    fn places_by_name(&self, declared: &Schema, found: &Schema, file: impl Display) -> Result<Vec<Option<usize>>> {
        let mut by_name: HashMap<String, (usize, Option<usize>)> = HashMap::with_capacity(found.fields().len());
        for (index, field) in found.fields().iter().enumerate() {
            let place = by_name.entry(field.name().to_lowercase());
            place.and_modify(|(_, other)| *other = Some(index)).or_insert((index, None));
        }
        let place = |name: &String| match by_name.get(name) {
            Some((first, Some(other))) => {
                let (first, other) = (found.field(*first).name(), found.field(*other).name());
                Err(self.error(name, &file, &format!("is in the file as '{first}' and as '{other}'")))
            }
            known => Ok(known.map(|(index, _)| *index)),
        };
        declared.fields().iter().map(|field| place(field.name())).collect()
    }

    /// The error of a `file` whose footer cannot be read.
    pub fn unreadable(&self, error: impl Into<DataFusionError>, file: &ObjectMeta) -> Error {
        unreadable(error.into(), file, &self.table)
    }

    fn error(&self, column: &str, file: impl Display, why: &str) -> Error {
        let hive = self.types.get(column).map_or("unknown", String::as_str);
        Error::invalid(format!("HIVE_BAD_DATA: column {column} ({hive}) of table {}, file '{file}': {why}", self.table))
    }
}

/// The error of a `file` of `table` that is not what it should be.
fn unreadable(error: DataFusionError, file: &ObjectMeta, table: &str) -> Error {
    let error = Error::from(error);
    let kind = match error.kind {
        ErrorKind::InvalidQuery | ErrorKind::Internal => ErrorKind::Corrupt,
        kind => kind,
    };
    Error::new(kind, format!("table {table}, file '{}' ({} bytes): {}", file.location, file.size, error.message))
}

/// At most `most` of `files`, from all over the order of their paths: what lies together is often alike. Whoever asks for the same
/// files gets the same ones, whose footers are in the cache then.
pub fn sample<'a>(files: impl IntoIterator<Item = &'a ObjectMeta>, most: usize) -> Vec<&'a ObjectMeta> {
    let mut files: Vec<&ObjectMeta> = files.into_iter().collect();
    files.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    // Ranges of one file.
    files.dedup_by(|a, b| a.location == b.location);
    let count = files.len().min(most);
    (0..count).filter_map(|index| files.get(index * files.len() / count).copied()).collect()
}

/// `plan`, if it is a scan of Parquet, with readers that see each footer first, and with what finds the table's columns in each file
/// if it carries [`TableColumns`]; if it is one of text, with what reads its lines or unpacks it; other plans as they are.
///
/// # Errors
/// When the scan's store is not known.
pub fn adapted(plan: Arc<dyn ExecutionPlan>, runtime: &RuntimeEnv) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(scan) = file_scan(plan.as_ref()) else { return Ok(plan) };
    let text: Option<Arc<dyn FileSource>> = match LineSource::of(scan.file_source()) {
        Some(lines) => Some(Arc::new(lines)),
        None => Unpacked::of(scan).map(|text| Arc::new(text) as Arc<dyn FileSource>),
    };
    if let Some(source) = text {
        return Ok(DataSourceExec::from_data_source(FileScanConfigBuilder::from(scan.clone()).with_source(source).build()));
    }
    let source: &dyn std::any::Any = scan.file_source().as_ref();
    let Some(source) = source.downcast_ref::<ParquetSource>() else { return Ok(plan) };
    let columns = TableColumns::of(source.table_parquet_options())?.map(Arc::new);
    let store = runtime.object_store(&scan.object_store_url)?;
    let cache = runtime.cache_manager.get_file_metadata_cache();
    let declared =
        |columns: &Arc<TableColumns>| Declared { columns: Arc::clone(columns), schema: Arc::clone(scan.file_schema()) };
    let readers = CheckedReaders::new(store, Arc::clone(&cache), columns.as_ref().map(declared));
    let source = source.clone().with_parquet_file_reader_factory(Arc::new(readers));
    let source: Arc<dyn FileSource> = match columns.as_ref().filter(|columns| columns.has_deletions) {
        Some(columns) => Arc::new(WithoutDeletedRows::new(source, cache, &columns.table)),
        None => Arc::new(source),
    };
    let mut adapted = FileScanConfigBuilder::from(scan.clone()).with_source(source);
    if let Some(columns) = columns {
        adapted = adapted.with_expr_adapter(Some(Arc::new(FileColumns::new(columns))));
    }
    Ok(DataSourceExec::from_data_source(adapted.build()))
}

/// What reads the files of `scan`, if those are Parquet.
pub fn parquet_source(scan: &FileScanConfig) -> Option<&ParquetSource> {
    let source = scan.file_source();
    source.downcast_ref().or_else(|| source.downcast_ref::<WithoutDeletedRows>()?.parquet())
}

fn file_scan(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    let source: &dyn std::any::Any = plan.downcast_ref::<DataSourceExec>()?.data_source().as_ref();
    source.downcast_ref::<FileScanConfig>()
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}

#[cfg(test)]
mod tests;
