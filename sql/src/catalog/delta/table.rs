//! A table of Delta Lake as DataFusion sees it: files are chosen by the log alone, and what is left is a plain Parquet scan.

use super::AsOf;
use super::actions::{self, Add};
use super::columns::{Columns, DeltaColumn, columns};
use super::log::{Snapshot, snapshot};
use super::statistics::FileStatistics;
use crate::catalog::location::{Location, unescape_value};
use crate::catalog::model::Table;
use crate::catalog::table::{
    FileSet, FileTable, Filters, Provider, ScanFiles, TableFormat, TypedColumn, has_query, has_views, met,
};
use crate::catalog::types::HiveType;
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use engine::columns::nearest_milli;
use engine::deletions::{self, DeletionVector};
use engine::{Error, ErrorKind, Result};
use object_store::ObjectMeta;
use object_store::path::Path;
use std::sync::Arc;

/// Opens `table` for queries as it is, or was at `as_of`. Its log is read, and nothing else of it.
///
/// # Errors
/// [`ErrorKind::NotFound`] without a log, [`ErrorKind::InvalidQuery`] for a version that is not there, and for what cannot be
/// read here.
pub(in crate::catalog) async fn open(
    session: &dyn Session,
    table: &Table,
    as_of: Option<AsOf>,
) -> Result<Arc<dyn TableProvider>> {
    let location = super::location(table)?;
    let opened = async {
        let url = ObjectStoreUrl::parse(&location.store).map_err(Error::from)?;
        let store = session.runtime_env().object_store(&url).map_err(Error::from)?;
        let snapshot = snapshot(store, &location, as_of).await?;
        DeltaTable::new(session, table, location, snapshot)
    };
    let opened: Result<DeltaTable> = opened.await;
    let opened = opened.map_err(|error| error.context(format!("table {}", table.full_name())))?;
    Ok(Arc::new(Provider(opened)))
}

#[derive(Debug)]
struct DeltaTable {
    name: String,
    location: Location,
    version: u64,
    columns: Columns,
    active: Vec<Add>,
    files: FileTable,
    /// For each column its place in `files`, which has partition columns last.
    places: Vec<usize>,
    schema: SchemaRef,
}

impl DeltaTable {
    fn new(session: &dyn Session, table: &Table, location: Location, snapshot: Snapshot) -> Result<Self> {
        let columns = columns(&snapshot.metadata)?;
        let own: Vec<usize> = (0..columns.all.len()).filter(|index| !columns.keys.contains(index)).collect();
        let order: Vec<usize> = own.iter().chain(&columns.keys).copied().collect();
        let places = (0..columns.all.len()).map(|index| order.iter().position(|place| *place == index));
        let places: Option<Vec<usize>> = places.collect();
        let views = has_views(session);
        let typed = |indices: &[usize], views: bool| -> Vec<TypedColumn> {
            let columns = indices.iter().filter_map(|index| columns.all.get(*index));
            let typed = |column: &DeltaColumn| {
                let typed = TypedColumn::new(&column.name, &column.physical, column.hive.clone(), views);
                typed.in_files(&column.stored, column.id.clone())
            };
            columns.map(typed).collect()
        };
        let files = FileTable::new(table, TableFormat::Parquet, typed(&own, views), typed(&columns.keys, false))?;
        let places = places.ok_or_else(|| Error::internal("a column without a place"))?;
        let fields: Fields = places.iter().filter_map(|place| files.schema().fields().get(*place)).cloned().collect();
        Ok(Self {
            name: table.full_name(),
            location,
            version: snapshot.version,
            columns,
            active: snapshot.files,
            files,
            places,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The files that may have rows that meet `filters`, with their partition values.
    fn chosen(&self, session: &dyn Session, filters: Filters) -> Result<Vec<(&Add, Vec<ScalarValue>)>> {
        let keys: Vec<&DeltaColumn> = self.columns.keys.iter().filter_map(|key| self.columns.all.get(*key)).collect();
        let values = |key: &&DeltaColumn| self.active.iter().map(|file| key_value(file, key)).collect::<Result<Vec<_>>>();
        let values: Vec<Vec<ScalarValue>> = keys.iter().map(values).collect::<Result<_>>()?;
        let in_partitions = met(session, &self.files.keys, &values, self.active.len(), &filters.for_partitions)?;
        let files = self.active.iter().enumerate().zip(in_partitions);
        let files: Vec<(usize, &Add)> = files.filter_map(|(file, is_in)| is_in.then_some(file)).collect();
        // What cannot be asked of statistics leaves no file out.
        let may_match = self.may_match(session, filters.others, &files).unwrap_or_else(|_| vec![true; files.len()]);
        let kept = files.into_iter().zip(may_match).filter(|(_, may_match)| *may_match);
        Ok(kept.map(|((row, file), _)| (file, values.iter().filter_map(|column| column.get(row).cloned()).collect())).collect())
    }

    /// For each of `files` whether it may have rows that meet `filters`, by the log's statistics.
    fn may_match(&self, session: &dyn Session, filters: Vec<Expr>, files: &[(usize, &Add)]) -> Result<Vec<bool>> {
        let all = || Ok(vec![true; files.len()]);
        let Some(filter) = conjunction(filters.into_iter().filter(|filter| !has_query(filter))) else { return all() };
        let df_schema = DFSchema::try_from(Arc::clone(&self.schema)).map_err(Error::from)?;
        let filter = session.create_physical_expr(filter, &df_schema).map_err(Error::from)?;
        let predicate = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema)).try_build(filter);
        let predicate = predicate.map_err(Error::from)?;
        if predicate.always_true() {
            return all();
        }
        let statistics = FileStatistics::new(&self.columns.all, files.iter().map(|(_, file)| file.stats.as_deref()));
        predicate.prune(&statistics).map_err(Error::from)
    }

    fn file(&self, file: &Add, values: Vec<ScalarValue>) -> Result<PartitionedFile> {
        let location = path(&self.location, &file.path)?;
        let size = u64::try_from(file.size).map_err(|_| Error::new(ErrorKind::Corrupt, "its size is negative"))?;
        let last_modified = chrono::DateTime::from_timestamp_millis(file.modification_time).unwrap_or_default();
        let mut read = PartitionedFile::from(ObjectMeta { location, last_modified, size, e_tag: None, version: None });
        read.partition_values = values;
        Ok(read)
    }

    /// The scan of files with their partition values.
    fn file_set(&self, chosen: Vec<(&Add, Vec<ScalarValue>)>) -> Result<FileSet> {
        let has_deletions = chosen.iter().any(|(file, _)| file.deleted_rows().is_some());
        let mut deleted_rows = 0_u64;
        let mut files = Vec::with_capacity(chosen.len());
        for (file, mut values) in chosen {
            let place = |error: Error| error.context(format!("table {}, file '{}'", self.name, file.path.escape_debug()));
            if has_deletions {
                let vector = file.deleted_rows().map(|vector| deletion_vector(&self.location, vector)).transpose();
                let vector = vector.map_err(|error| place(error.context("its deletion vector")))?;
                deleted_rows = deleted_rows.saturating_add(vector.as_ref().map_or(0, DeletionVector::rows));
                values.push(deletions::value(vector.as_ref())?);
            }
            files.push(self.file(file, values).map_err(place)?);
        }
        let deleted_rows = has_deletions.then_some(deleted_rows);
        Ok(FileSet { store: self.location.store.clone(), compression: FileCompressionType::UNCOMPRESSED, files, deleted_rows })
    }
}

#[async_trait]
impl ScanFiles for DeltaTable {
    fn files(&self) -> &FileTable {
        &self.files
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn plan(
        &self,
        session: &dyn Session,
        projection: &[usize],
        filters: Filters,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let places: Vec<usize> = projection.iter().filter_map(|index| self.places.get(*index).copied()).collect();
        self.files.check_columns(&places)?;
        let chosen = self.chosen(session, filters)?;
        let set = self.file_set(chosen)?;
        let sets = if set.files.is_empty() { Vec::new() } else { vec![set] };
        let scan = self.files.scan(session, sets, &places, limit).await;
        scan.map_err(|error| match error.kind {
            ErrorKind::NotFound => {
                error.context(format!("a file of version {} is gone (removed by VACUUM, or by hand)", self.version))
            }
            _ => error,
        })
    }
}

/// The text of `file`'s value of the partition column `key`; none for NULL, which an empty text is, too.
pub(super) fn key_text<'a>(file: &'a Add, key: &DeltaColumn) -> Result<Option<&'a str>> {
    match file.partition_values.get(&key.physical) {
        Some(value) => Ok(value.as_deref().filter(|text| !text.is_empty())),
        None => {
            let text = format!("file '{}' has no value of the partition column {}", file.path.escape_debug(), key.name);
            Err(Error::new(ErrorKind::Corrupt, text))
        }
    }
}

/// The value of `file` in the type of `key`.
fn key_value(file: &Add, key: &DeltaColumn) -> Result<ScalarValue> {
    let target = key.hive.arrow();
    let Some(text) = key_text(file, key)? else { return ScalarValue::try_from(&target).map_err(Error::from) };
    let value = match &key.hive {
        HiveType::Moment => moment(text),
        HiveType::Decimal(..) => ScalarValue::try_from_string(without_exponent(text), &target).ok(),
        _ => ScalarValue::try_from_string(text.to_string(), &target).ok(),
    };
    value.ok_or_else(|| {
        let shown = text.escape_debug();
        Error::invalid(format!("HIVE_INVALID_PARTITION_VALUE: Invalid partition value '{shown}' for partition key {}", key.name))
    })
}

/// `1.5E-3`, as Java writes decimals of many digits, as `0.0015`; other text as it is.
fn without_exponent(text: &str) -> String {
    let parts = text.split_once(['e', 'E']).and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)));
    let Some((digits, exponent)) = parts.filter(|(_, exponent)| exponent.unsigned_abs() <= MAX_EXPONENT) else {
        return text.into();
    };
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let zeros = "0".repeat(exponent.unsigned_abs() as usize);
    let (all, point) = match exponent < 0 {
        true => (format!("{zeros}{whole}{fraction}"), whole.len()),
        false => (format!("{whole}{fraction}{zeros}"), whole.len() + zeros.len()),
    };
    match all.split_at_checked(point) {
        Some((whole, "")) => format!("{sign}{whole}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
        None => text.into(),
    }
}

/// Most places that an exponent of a partition's decimal moves the point by; a decimal has 38 digits.
const MAX_EXPONENT: u32 = 76;

/// A moment that is rounded as those in files are. Text without a zone is UTC.
fn moment(text: &str) -> Option<ScalarValue> {
    let utc = || Some(Arc::from("UTC"));
    let micros = ScalarValue::try_from_string(text.to_string(), &DataType::Timestamp(TimeUnit::Microsecond, utc())).ok()?;
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = micros else { return None };
    Some(ScalarValue::TimestampMillisecond(Some(nearest_milli(micros, 1_000)), utc()))
}

/// Where the log says that deleted rows are written.
fn deletion_vector(table: &Location, vector: &actions::DeletionVector) -> Result<DeletionVector> {
    let number = |name: &str, value: Option<i64>| {
        let number = value.and_then(|value| u64::try_from(value).ok());
        number.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("it has no {name}")))
    };
    let (bytes, rows) = (number("sizeInBytes", vector.size_in_bytes)?, number("cardinality", vector.cardinality)?);
    let text = vector.path_or_inline_dv.as_deref().unwrap_or_default();
    let place = match vector.storage_type.as_deref() {
        Some("i") => return DeletionVector::inline(text, bytes, rows),
        Some("u") => path(table, &deletions::file_name(text)?)?,
        Some("p") => path(table, text)?,
        other => {
            let other = other.unwrap_or_default().escape_debug();
            return Err(Error::invalid(format!("NOT_SUPPORTED: it is stored as '{other}', which is not known here")));
        }
    };
    // The first one in a file is behind the byte of the version.
    let offset = number("offset", vector.offset.or(Some(1)))?;
    DeletionVector::in_file(&place, offset, bytes, rows)
}

/// The file that `text` of a log names, in the table's store.
fn path(table: &Location, text: &str) -> Result<Path> {
    let decoded = unescape_value(text);
    if decoded.contains("://") || decoded.starts_with('/') || decoded.starts_with("file:") {
        let absolute = match decoded.strip_prefix("file:").filter(|rest| !rest.starts_with("//")).unwrap_or(&decoded) {
            path if path.starts_with('/') => format!("file://{path}"),
            url => url.to_string(),
        };
        let found = Location::parse(&absolute)?;
        if found.store != table.store {
            return Err(Error::new(ErrorKind::AccessDenied, "it is in another place than the table, which is not read here"));
        }
        return Ok(found.path);
    }
    let is_step = |part: &str| part == "." || part == ".." || part.is_empty();
    if decoded.split('/').any(is_step) {
        return Err(Error::new(ErrorKind::AccessDenied, "its path has steps such as '..'"));
    }
    let root = table.path.as_ref();
    let whole = if root.is_empty() { decoded } else { format!("{root}/{decoded}") };
    Path::parse(whole).map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_with_an_exponent_are_plain_ones() {
        for (text, expected) in [
            ("0E-10", "0.0000000000"),
            ("1.5E+3", "1500.0"),
            ("-1.5e-3", "-0.0015"),
            ("1e2", "100"),
            ("1.25", "1.25"),
            ("1e999", "1e999"),
            ("x", "x"),
        ] {
            assert_eq!(without_exponent(text), expected, "{text}");
        }
    }

    #[test]
    fn files_stay_in_the_tables_store_and_off_its_neighbours() -> Result<()> {
        let table = Location::parse("s3://lake/t/")?;
        for (text, expected) in [
            ("part-0.parquet", "t/part-0.parquet"),
            ("p=a%20b/part%2b0.parquet", "t/p=a b/part+0.parquet"),
            ("p=10%253A00/x", "t/p=10%3A00/x"),
            ("s3://lake/other/x%20y.parquet", "other/x y.parquet"),
            ("s3a://lake/other/x", "other/x"),
        ] {
            assert_eq!(path(&table, text)?.as_ref(), expected, "{text}");
        }
        for text in [
            "../x",
            "a/../../x",
            "%2e%2e/x",
            "a//x",
            "",
            "/etc/passwd",
            "file:/etc/passwd",
            "file:///etc/passwd",
            "s3://other/x",
            "https://example.com/x",
            "s3://lake/../x",
        ] {
            assert!(path(&table, text).is_err(), "{text}");
        }
        let local = Location::parse("file:///tmp/t/")?;
        assert_eq!(path(&local, "file:/tmp/u/x")?.as_ref(), "tmp/u/x");
        assert_eq!(path(&local, "/tmp/u/x")?.as_ref(), "tmp/u/x");
        Ok(())
    }

    #[test]
    fn moments_of_partitions_are_rounded() {
        let ms = |text: &str| match moment(text) {
            Some(ScalarValue::TimestampMillisecond(ms, _)) => ms,
            _ => None,
        };
        assert_eq!(ms("1970-01-01 00:00:01"), Some(1_000));
        assert_eq!(ms("1970-01-01 00:00:01.0005"), Some(1_001));
        assert_eq!(ms("1970-01-01T00:00:00.123456Z"), Some(123));
        assert_eq!(ms("1969-12-31 23:59:59.9995"), Some(0));
        assert_eq!(ms("1969-12-31 23:59:59.9994"), Some(-1));
        assert_eq!(ms("x"), None);
    }
}
