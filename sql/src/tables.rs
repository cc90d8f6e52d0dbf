//! Where tables are: names to locations, and locations to table providers with schemas of all their files.

use crate::catalog::location::unescape_value;
use crate::format::DataFormat;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaBuilder, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, DataFusionError, ScalarValue};
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, lit, when};
use engine::write::HIVE_NULL;
use engine::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Footers or heads of files that are read at once to learn a schema.
const SCHEMA_READS: usize = 32;
/// Files that do not describe themselves are sampled, up to this many.
const SAMPLED_FILES: usize = 64;

/// The tables that a session knows by name.
#[derive(Clone, Default, Debug)]
pub struct Tables {
    locations: BTreeMap<String, String>,
}

impl Tables {
    /// Makes `location` known as `name`.
    pub fn add(&mut self, name: &str, location: &str) {
        self.locations.insert(name.to_lowercase(), location.to_string());
    }

    /// Makes each `folder/name.parquet` file (or another known format) and each `folder/name/` folder known as `name`, those at
    /// `without` left out.
    ///
    /// # Errors
    /// When the folder cannot be read, or holds no table.
    pub fn add_folder(&mut self, folder: &Path, without: &[PathBuf]) -> Result<()> {
        let place = || format!("reading the data folder '{}'", folder.display());
        let before = self.locations.len();
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let without: Vec<_> = without.iter().map(|path| real(path)).collect();
        for entry in std::fs::read_dir(folder).map_err(|e| Error::from(e).context(place()))? {
            let entry = entry.map_err(|e| Error::from(e).context(place()))?;
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_string) else { continue };
            if name.starts_with(['_', '.']) || without.contains(&real(&path)) {
                continue;
            }
            if path.is_dir() {
                self.add(&name, &format!("{}/", path.display()));
            } else if DataFormat::of_name(&name).is_some() {
                let stem = name.split('.').next().unwrap_or(&name);
                self.add(stem, &path.display().to_string());
            }
        }
        if self.locations.len() == before {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the data folder '{}' holds no table: neither NAME.parquet files nor NAME/ folders", folder.display()),
            ));
        }
        Ok(())
    }

    /// The location of `name`.
    pub fn location(&self, name: &str) -> Option<&str> {
        self.locations.get(name).or_else(|| self.locations.get(&name.to_lowercase())).map(String::as_str)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.locations.keys().map(String::as_str)
    }
}

/// Whether a table name in a query is a location.
pub fn is_location(name: &str) -> bool {
    name.contains('/') || DataFormat::of_name(name).is_some()
}

/// Opens the table at `location`: lists it, learns the schema from its files and its Hive partition folders.
///
/// `location` is a file, a folder, a glob pattern, or a `file://` or `s3://` URL of one.
///
/// # Errors
/// [`ErrorKind::NotFound`] when nothing is there, [`ErrorKind::Corrupt`] with the file's name when one cannot be read or
/// two do not fit together, [`ErrorKind::AccessDenied`] for other schemes.
pub async fn open(session: &dyn Session, location: &str) -> Result<Arc<dyn TableProvider>> {
    let url = table_url(location)?;
    let store = session.runtime_env().object_store(url.object_store()).map_err(Error::from)?;
    let files = list(session, &url, store.as_ref(), location).await?;
    let (format, ending) = common_format(&files, location)?;
    let partitions = partition_columns(&url, &files);
    let has_null = files.iter().any(|meta| meta.location.parts().any(|part| is_null_folder(part.as_ref())));
    // Paths in a store have no leading slash.
    let root = url.object_store().as_str().replace("file://", "");
    let schema = infer_schema(session, &store, &files, &format, &root).await?;
    let schema = without_columns(&schema, &partitions);
    let read = match has_null {
        true => partitions.iter().map(|(name, _)| (name.clone(), DataType::Utf8)).collect(),
        false => partitions.clone(),
    };
    let options = ListingOptions::new(format.reader()).with_file_extension(ending).with_table_partition_cols(read);
    let config = ListingTableConfig::new(url).with_listing_options(options).with_schema(schema);
    let table = Arc::new(ListingTable::try_new(config).map_err(Error::from)?);
    if has_null && !partitions.is_empty() { with_null_partitions(table, &partitions) } else { Ok(table) }
}

fn is_null_folder(part: &str) -> bool {
    part.split_once('=').is_some_and(|(_, value)| value == HIVE_NULL)
}

/// `table`, whose partition columns are read as text, with Hive's word for NULL as NULL and the other values in their types.
fn with_null_partitions(table: Arc<ListingTable>, partitions: &[(String, DataType)]) -> Result<Arc<dyn TableProvider>> {
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| {
        let name = field.name();
        let column = Expr::Column(Column::from_name(name));
        let Some((_, kind)) = partitions.iter().find(|(key, _)| key == name) else { return Ok(column) };
        let null = lit(ScalarValue::try_from(kind).map_err(Error::from)?);
        let value = when(column.clone().eq(lit(HIVE_NULL)), null).otherwise(cast(column, kind.clone()));
        Ok(value.map_err(Error::from)?.alias(name))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let plan = LogicalPlanBuilder::scan("files", provider_as_source(table), None);
    let plan = plan.and_then(|plan| plan.project(columns)).and_then(LogicalPlanBuilder::build).map_err(Error::from)?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn table_url(location: &str) -> Result<ListingTableUrl> {
    // A folder without its trailing slash would be taken for a file.
    let is_folder = !location.contains("://") && !location.ends_with('/') && Path::new(location).is_dir();
    let location = if is_folder { format!("{location}/") } else { location.to_string() };
    ListingTableUrl::parse(&location).map_err(|e| Error::from(e).context(format!("location '{location}'")))
}

async fn list(session: &dyn Session, url: &ListingTableUrl, store: &dyn ObjectStore, location: &str) -> Result<Vec<ObjectMeta>> {
    let listed = url.list_all_files(session, store, "").await;
    let files: Result<Vec<ObjectMeta>, DataFusionError> = match listed {
        Ok(stream) => stream.try_collect().await,
        Err(error) => Err(error),
    };
    let missing = || Error::new(ErrorKind::NotFound, format!("no data file at '{location}': check the path or the pattern"));
    let files = files.map_err(|error| match Error::from(error) {
        error if error.kind == ErrorKind::NotFound => missing(),
        error => error.context(format!("listing '{location}'")),
    })?;
    let found = files.len();
    let files: Vec<_> = files.into_iter().filter(|meta| meta.size > 0).collect();
    match (files.is_empty(), found) {
        (false, _) => Ok(files),
        (true, 0) => Err(missing()),
        (true, _) => Err(Error::new(ErrorKind::NotFound, format!("every file at '{location}' is empty (0 bytes)"))),
    }
}

/// The one format of all files with a known ending; without any, Parquet, as Hive tables have no endings.
fn common_format(files: &[ObjectMeta], location: &str) -> Result<(DataFormat, String)> {
    let mut found: Option<(DataFormat, &ObjectMeta)> = None;
    for meta in files {
        let Some(format) = meta.location.filename().and_then(DataFormat::of_name) else { continue };
        match &found {
            Some((first, other)) if *first != format => {
                return Err(Error::invalid(format!(
                    "'{location}' mixes file formats: {} and {}; narrow it down with a pattern such as '*.parquet'",
                    other.location, meta.location
                )));
            }
            Some(_) => {}
            None => found = Some((format, meta)),
        }
    }
    let Some((format, first)) = found else { return Ok((DataFormat::PARQUET, String::new())) };
    // The ending keeps files of no known format (a README, say) out of the table's own listing.
    let all_known = files.iter().all(|meta| meta.location.filename().and_then(DataFormat::of_name).is_some());
    let name = first.location.filename().unwrap_or_default();
    let ending = if all_known { String::new() } else { name.find('.').map(|dot| name[dot..].to_string()).unwrap_or_default() };
    Ok((format, ending))
}

async fn infer_schema(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    format: &DataFormat,
    root: &str,
) -> Result<SchemaRef> {
    let reader = format.reader();
    let sample = if format.is_self_describing() { files.len() } else { files.len().min(SAMPLED_FILES) };
    let is_known = |meta: &&ObjectMeta| meta.location.filename().and_then(DataFormat::of_name).is_some();
    let some_known = files.iter().any(|meta| is_known(&meta));
    let read: Vec<ObjectMeta> = files.iter().filter(|meta| !some_known || is_known(meta)).take(sample).cloned().collect();
    let mut schemas = futures::stream::iter(read)
        .map(|meta| {
            let reader = Arc::clone(&reader);
            async move {
                let schema = reader.infer_schema(session, store, std::slice::from_ref(&meta)).await;
                let schema = schema.map_err(|e| unreadable(e, &meta, root))?;
                Ok::<_, Error>((meta, schema))
            }
        })
        .buffered(SCHEMA_READS);
    let mut merged = MergedSchema::default();
    while let Some(next) = schemas.next().await {
        let (meta, schema) = next?;
        merged.add(&schema, &meta)?;
    }
    Ok(merged.finish())
}

fn unreadable(error: DataFusionError, meta: &ObjectMeta, root: &str) -> Error {
    let error = Error::from(error);
    let kind = match error.kind {
        ErrorKind::InvalidQuery | ErrorKind::Internal => ErrorKind::Corrupt,
        kind => kind,
    };
    Error::new(kind, format!("file '{root}{}' ({} bytes): {}", meta.location, meta.size, error.message))
}

/// The union of the columns of many files, by name, in order of first appearance; all may be NULL.
#[derive(Default)]
struct MergedSchema {
    fields: Vec<(FieldRef, String)>,
    by_name: HashMap<String, usize>,
    last: Option<SchemaRef>,
}

impl MergedSchema {
    fn add(&mut self, schema: &SchemaRef, meta: &ObjectMeta) -> Result<()> {
        // Nearly always every file has the schema of the one before.
        if self.last.as_ref().is_some_and(|last| last.fields() == schema.fields()) {
            return Ok(());
        }
        self.last = Some(Arc::clone(schema));
        for field in &schema.fields().iter().map(as_varchar).collect::<Vec<_>>() {
            match self.by_name.get(field.name()) {
                None => {
                    self.by_name.insert(field.name().clone(), self.fields.len());
                    let nullable = Arc::new(Field::clone(field).with_nullable(true));
                    self.fields.push((nullable, meta.location.to_string()));
                }
                Some(&index) => self.merge(index, field, meta)?,
            }
        }
        Ok(())
    }

    fn merge(&mut self, index: usize, field: &FieldRef, meta: &ObjectMeta) -> Result<()> {
        let (known, file) = &mut self.fields[index];
        if known.data_type() == field.data_type() {
            return Ok(());
        }
        let Some(wide) = wider(known.data_type(), field.data_type()) else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "column '{}' is {} in '{file}' but {} in '{}': query them apart, or rewrite one",
                    field.name(),
                    known.data_type(),
                    field.data_type(),
                    meta.location
                ),
            ));
        };
        *known = Arc::new(Field::clone(known).with_data_type(wide));
        Ok(())
    }

    fn finish(self) -> SchemaRef {
        let mut builder = SchemaBuilder::new();
        for (field, _) in self.fields {
            builder.push(field);
        }
        Arc::new(builder.finish())
    }
}

/// `field` with text as varchar has it: the layout that other tools write for long texts is JSON's here.
fn as_varchar(field: &FieldRef) -> FieldRef {
    use DataType::{FixedSizeList, LargeList, LargeUtf8, List, Map, Struct, Utf8};
    let data_type = match field.data_type() {
        LargeUtf8 => Utf8,
        List(item) => List(as_varchar(item)),
        LargeList(item) => LargeList(as_varchar(item)),
        FixedSizeList(item, size) => FixedSizeList(as_varchar(item), *size),
        Struct(fields) => Struct(fields.iter().map(as_varchar).collect()),
        Map(entries, sorted) => Map(as_varchar(entries), *sorted),
        _ => return Arc::clone(field),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

/// The type that holds both without loss, where there is one.
fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64, Null, UInt8, UInt16, UInt32};
    const SIGNED: [DataType; 4] = [Int8, Int16, Int32, Int64];
    const UNSIGNED: [DataType; 3] = [UInt8, UInt16, UInt32];
    let place = |types: &[DataType], t: &DataType| types.iter().position(|known| known == t);
    match (a, b) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (Float32, Float64) | (Float64, Float32) => Some(Float64),
        _ => {
            if let (Some(x), Some(y)) = (place(&SIGNED, a), place(&SIGNED, b)) {
                return SIGNED.get(x.max(y)).cloned();
            }
            let (x, y) = (place(&UNSIGNED, a)?, place(&UNSIGNED, b)?);
            UNSIGNED.get(x.max(y)).cloned()
        }
    }
}

/// Hive partition columns that every file has in its folders (`key=value`), typed by all their values.
fn partition_columns(url: &ListingTableUrl, files: &[ObjectMeta]) -> Vec<(String, DataType)> {
    let folders = |meta: &ObjectMeta| -> Option<Vec<(String, String)>> {
        let parts: Vec<String> = url.strip_prefix(&meta.location)?.map(str::to_string).collect();
        let (_, folders) = parts.split_last()?;
        let pair = |part: &String| part.split_once('=').map(|(key, value)| (key.to_string(), unescape_value(value)));
        folders.iter().map(pair).collect()
    };
    let mut columns: Option<Vec<(String, DataType)>> = None;
    for meta in files {
        let Some(values) = folders(meta) else { return Vec::new() };
        let typed = values.into_iter().map(|(key, value)| (key, value_type(&value)));
        match &mut columns {
            None => columns = Some(typed.collect()),
            Some(columns) => {
                let typed: Vec<_> = typed.collect();
                if typed.len() != columns.len() || typed.iter().zip(columns.iter()).any(|((a, _), (b, _))| a != b) {
                    return Vec::new();
                }
                for ((_, seen), (_, known)) in typed.into_iter().zip(columns.iter_mut()) {
                    *known = common_value_type(known, &seen);
                }
            }
        }
    }
    let unknown_is_text = |(name, kind)| (name, if kind == DataType::Null { DataType::Utf8 } else { kind });
    columns.unwrap_or_default().into_iter().map(unknown_is_text).collect()
}

fn value_type(value: &str) -> DataType {
    let bytes = value.as_bytes();
    let is_date = bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, byte)| if i == 4 || i == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
    match value {
        HIVE_NULL => DataType::Null,
        _ if value.parse::<i64>().is_ok_and(|number| number.to_string() == value) => DataType::Int64,
        _ if is_date => DataType::Date32,
        _ => DataType::Utf8,
    }
}

fn common_value_type(a: &DataType, b: &DataType) -> DataType {
    match (a, b) {
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        _ if a == b => a.clone(),
        _ => DataType::Utf8,
    }
}

fn without_columns(schema: &SchemaRef, partitions: &[(String, DataType)]) -> SchemaRef {
    let kept = schema.fields().iter().filter(|field| partitions.iter().all(|(name, _)| name != field.name()));
    Arc::new(Schema::new(kept.cloned().collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_values_tell_the_type() {
        assert_eq!(value_type("2024"), DataType::Int64);
        assert_eq!(value_type("007"), DataType::Utf8);
        assert_eq!(value_type("2024-01-31"), DataType::Date32);
        assert_eq!(value_type("x"), DataType::Utf8);
        assert_eq!(common_value_type(&value_type(HIVE_NULL), &DataType::Int64), DataType::Int64);
        assert_eq!(common_value_type(&DataType::Int64, &DataType::Date32), DataType::Utf8);
    }

    #[test]
    fn types_widen_only_without_loss() {
        assert_eq!(wider(&DataType::Int32, &DataType::Int64), Some(DataType::Int64));
        assert_eq!(wider(&DataType::Float64, &DataType::Float32), Some(DataType::Float64));
        assert_eq!(wider(&DataType::Int64, &DataType::Float64), None);
        assert_eq!(wider(&DataType::Utf8, &DataType::Int64), None);
    }

    #[test]
    fn long_text_of_other_tools_is_no_json() {
        let large = Field::new("item", DataType::LargeUtf8, true);
        let row = DataType::Struct(vec![Field::new("a", DataType::LargeUtf8, true)].into());
        let field =
            |item: DataType| Arc::new(Field::new("c", DataType::LargeList(Arc::new(Field::new("item", item, true))), true));
        assert_eq!(as_varchar(&Arc::new(large)).data_type(), &DataType::Utf8);
        let plain = DataType::Struct(vec![Field::new("a", DataType::Utf8, true)].into());
        assert_eq!(as_varchar(&field(row)), field(plain));
    }

    #[test]
    fn names_and_locations_are_told_apart() {
        assert!(is_location("dir/*.parquet") && is_location("s3://b/p/") && is_location("x.csv.gz"));
        assert!(!is_location("orders") && !is_location("schema.table"));
    }
}
