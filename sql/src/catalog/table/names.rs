//! Columns of files for columns of the table: found by name in any case, checked for type, and absent ones left to be NULL.

use super::TypedColumn;
use super::shape::json_type;
use crate::catalog::model::Table;
use crate::catalog::types::HiveType;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use engine::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use std::sync::Arc;

/// Footers or heads of files that are read at once.
const CONCURRENT_READS: usize = 32;
/// JSON files whose keys are looked at.
const SAMPLED_FILES: usize = 64;

/// The reader of Parquet. Its 96-bit timestamps are read in microseconds: nanoseconds end in the year 2262.
pub(super) fn parquet_format() -> ParquetFormat {
    ParquetFormat::default().with_coerce_int96(Some("us".into()))
}

/// What Parquet footers say.
pub(super) struct ParquetColumns {
    /// The table's columns with the names of the files.
    pub(super) schema: Schema,
    /// Rows of all files.
    pub(super) rows: Precision<usize>,
}

/// Reads all footers, which the scan's sizing needs anyhow and finds in the cache then.
pub(super) async fn of_parquet(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    columns: &[TypedColumn],
    projection: &[usize],
    table: &Table,
) -> Result<ParquetColumns> {
    let format = parquet_format();
    let reads = futures::stream::iter(files.to_vec()).map(|meta| {
        let format = &format;
        async move {
            let read = format.infer_schema(session, store, std::slice::from_ref(&meta)).await;
            let schema = read.map_err(|e| unreadable(e.into(), &meta, table))?;
            let statistics = format.infer_stats(session, store, Arc::clone(&schema), &meta).await;
            let rows = statistics.map_err(|e| unreadable(e.into(), &meta, table))?.num_rows;
            Ok::<_, Error>((meta, schema, rows))
        }
    });
    let mut reads = reads.buffered(CONCURRENT_READS);
    let mut found = FoundNames::new(columns, table);
    let mut rows = Precision::Exact(0);
    let mut last: Option<SchemaRef> = None;
    while let Some((meta, schema, count)) = reads.try_next().await? {
        rows = rows.add(&count);
        // Nearly always every file has the schema of the one before.
        if last.as_ref().is_none_or(|last| last.fields() != schema.fields()) {
            found.note(&schema, &meta.location, projection, true)?;
            last = Some(schema);
        }
    }
    Ok(ParquetColumns { schema: found.schema(), rows })
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
        let schema = read.map_err(|e| unreadable(e.into(), &meta, table))?;
        Ok::<_, Error>((meta, schema))
    });
    let mut reads = reads.buffered(CONCURRENT_READS);
    let mut found = FoundNames::new(columns, table);
    found.types = columns.iter().map(json_type).collect();
    let all: Vec<usize> = (0..columns.len()).collect();
    while let Some((meta, schema)) = reads.try_next().await? {
        found.note(&schema, &meta.location, &all, false)?;
    }
    Ok(found.schema())
}

fn unreadable(error: Error, meta: &ObjectMeta, table: &Table) -> Error {
    let kind = match error.kind {
        ErrorKind::InvalidQuery | ErrorKind::Internal => ErrorKind::Corrupt,
        kind => kind,
    };
    let text = format!("table {}, file '{}' ({} bytes): {}", table.full_name(), meta.location, meta.size, error.message);
    Error::new(kind, text)
}

/// The names that files have for the table's columns so far.
struct FoundNames<'a> {
    columns: &'a [TypedColumn],
    table: &'a Table,
    names: Vec<Option<(String, Path)>>,
    /// What the column is read as.
    types: Vec<DataType>,
}

impl<'a> FoundNames<'a> {
    fn new(columns: &'a [TypedColumn], table: &'a Table) -> Self {
        let types = columns.iter().map(|column| column.field.data_type().clone()).collect();
        Self { columns, table, names: vec![None; columns.len()], types }
    }

    fn note(&mut self, schema: &Schema, file: &Path, projection: &[usize], is_typed: bool) -> Result<()> {
        for (index, column) in self.columns.iter().enumerate() {
            let mut alike = schema.fields().iter().filter(|field| field.name().to_lowercase() == column.name);
            let Some(field) = alike.next() else { continue };
            if let Some(other) = alike.next() {
                return Err(self.error(column, file, &format!("is in the file as '{}' and as '{}'", field.name(), other.name())));
            }
            if is_typed && projection.contains(&index) {
                fits(column.field.data_type(), field.data_type(), true).map_err(|why| self.error(column, file, &why))?;
            }
            if let (true, Some(read), DataType::Timestamp(unit, _)) = (is_typed, self.types.get_mut(index), field.data_type()) {
                *read = finer(read, *unit);
            }
            // Read as bytes, which the cast to text checks: the reader takes unmarked bytes for text as they are.
            if is_typed && is_bytes(field.data_type()) && matches!(column.hive, HiveType::String | HiveType::Varchar(_)) {
                self.types.get_mut(index).into_iter().for_each(|read| *read = DataType::BinaryView);
            }
            if !is_typed && column.hive.is_plain() != is_plain(field.data_type()) && field.data_type() != &DataType::Null {
                return Err(self.error(column, file, &format!("is {} there", field.data_type())));
            }
            if !is_typed {
                nested_names(column.field.data_type(), field.data_type()).map_err(|why| self.error(column, file, &why))?;
            }
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
        let fields = self.columns.iter().zip(self.names).zip(self.types).map(|((column, name), read)| {
            let name = name.map_or_else(|| column.name.clone(), |(name, _)| name);
            Field::new(name, read, true)
        });
        Schema::new(fields.collect::<Vec<_>>())
    }
}

/// The type of timestamps with the finer of two units, without a zone: files have UTC.
fn finer(read: &DataType, unit: TimeUnit) -> DataType {
    match (read, unit) {
        (DataType::Timestamp(TimeUnit::Nanosecond, _), _) | (DataType::Timestamp(..), TimeUnit::Nanosecond) => {
            DataType::Timestamp(TimeUnit::Nanosecond, None)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), _) | (DataType::Timestamp(..), TimeUnit::Microsecond) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        (other, _) => other.clone(),
    }
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}

fn is_plain(data_type: &DataType) -> bool {
    !data_type.is_nested()
}

/// Whether values of a file's type can be read as `declared` without a change of what they mean.
fn fits(declared: &DataType, file: &DataType, is_top: bool) -> Result<(), String> {
    use DataType::{Decimal128, Dictionary, Float32, Float64, LargeList, List, Map, Struct, Timestamp};
    let no = || Err(format!("its type in the file is {file}, which is incompatible with the type defined in the table"));
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match (declared, file) {
        (declared, Dictionary(_, value)) => fits(declared, value, is_top),
        (declared, file) if declared == file => Ok(()),
        (declared, file) if declared.is_integer() && file.is_integer() => Ok(()),
        (Timestamp(..), Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)) if !is_top => {
            Err("timestamps finer than milliseconds can be read on their own, not within an array, map or struct".into())
        }
        (Float64, Float32) | (Timestamp(_, _), Timestamp(_, _)) => Ok(()),
        (Decimal128(p, s), DataType::Decimal32(fp, fs) | DataType::Decimal64(fp, fs) | Decimal128(fp, fs)) => {
            if s >= fs && i16::from(*p) - i16::from(*s) >= i16::from(*fp) - i16::from(*fs) { Ok(()) } else { no() }
        }
        (declared, file) if is_text(declared) && is_text(file) => Ok(()),
        (declared, file) if is_text(declared) && is_bytes(file) && is_top => Ok(()),
        (DataType::Binary | DataType::BinaryView, file) if is_text(file) || is_bytes(file) => Ok(()),
        (List(declared), List(file) | LargeList(file)) => fits(declared.data_type(), file.data_type(), false),
        (Map(declared, _), Map(file, _)) => match (declared.data_type(), file.data_type()) {
            (Struct(declared), Struct(file)) if declared.len() == 2 && file.len() == 2 => {
                declared.iter().zip(file).try_for_each(|(a, b)| fits(a.data_type(), b.data_type(), false))
            }
            _ => no(),
        },
        (Struct(declared), Struct(file)) => struct_fits(declared, file, is_top),
        _ => no(),
    }
}

fn struct_fits(declared: &Fields, file: &Fields, is_top: bool) -> Result<(), String> {
    // Within lists and maps the reader goes by place, on top by name.
    if !is_top && (declared.len() != file.len() || declared.iter().zip(file).any(|(a, b)| a.name() != b.name())) {
        return Err("fields of a struct within an array or map differ from the table's in name, number or order".into());
    }
    for field in declared {
        match file.iter().find(|known| known.name() == field.name()) {
            Some(known) => fits(field.data_type(), known.data_type(), false)?,
            None => other_case(field, file)?,
        }
    }
    if is_top && !declared.iter().any(|field| file.iter().any(|known| known.name() == field.name())) {
        return Err("no field of the struct is in the file".into());
    }
    Ok(())
}

fn other_case(field: &Field, file: &Fields) -> Result<(), String> {
    match file.iter().find(|known| known.name().to_lowercase() == *field.name()) {
        Some(known) => Err(format!("the struct's field is '{}' in the file: only lower case can be read there", known.name())),
        None => Ok(()),
    }
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
