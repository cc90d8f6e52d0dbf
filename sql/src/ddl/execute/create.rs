//! `CREATE DATABASE` and `CREATE EXTERNAL TABLE`: what they write into the catalog.

use super::{Answer, Run};
use crate::catalog::delta::is_marked;
use crate::catalog::location::Location;
use crate::catalog::model::{Column, EXTERNAL_TABLE, Parameters, SerdeInfo, StorageDescriptor};
use crate::catalog::names::{check_column, check_name, check_partition_key};
use crate::catalog::table::check_format;
use crate::catalog::types::HiveType;
use crate::catalog::{CatalogError, Database, Table};
use crate::ddl::statement::{NewTable, TableName};
use arrow::datatypes::DataType;
use engine::clock::now_ms;
use engine::storage::DataLocations;
use engine::{Error, Result};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Serde, input and output format of a `STORED AS` name.
const PARQUET: [&str; 3] = [
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
];
const TEXT_INPUT: &str = "org.apache.hadoop.mapred.TextInputFormat";
const TEXT_OUTPUT: &str = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat";
const LAZY_SIMPLE: &str = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe";
const JSON: &str = "org.apache.hive.hcatalog.data.JsonSerDe";

impl Run<'_> {
    pub(super) async fn create_database(
        &self,
        name: &str,
        if_not_exists: bool,
        comment: Option<String>,
        location: Option<&str>,
        properties: &Parameters,
    ) -> Result<Answer> {
        check_name("database", name)?;
        if name == "information_schema" {
            return Err(CatalogError::Exists(format!("Database {name}")).into());
        }
        let location = match (location, self.context.warehouse) {
            (Some(location), _) => Some(Location::checked(location, self.context.locations)?.to_string()),
            (None, Some(warehouse)) => Some(Location::parse(warehouse)?.join(name).to_string()),
            (None, None) => None,
        };
        let database =
            Database { name: name.into(), description: comment, location_uri: location, parameters: properties.clone() };
        match self.catalog.create_database(&database).await {
            Err(CatalogError::Exists(_)) if if_not_exists => {}
            outcome => outcome?,
        }
        Ok(Answer::nothing())
    }

    pub(super) async fn create_table(&self, name: &TableName, if_not_exists: bool, new: &NewTable) -> Result<Answer> {
        check_name("table", &name.name)?;
        let table = match is_marked(&new.properties) {
            true => self.delta_table(name, new).await?,
            false => self.hive_table(name, new)?,
        };
        match self.catalog.create_table(&table).await {
            Err(CatalogError::Exists(_)) if if_not_exists => {}
            outcome => outcome?,
        }
        Ok(Answer::nothing())
    }

    fn hive_table(&self, name: &TableName, new: &NewTable) -> Result<Table> {
        let location = location_of(new, self.context.locations)?;
        check_columns(new.columns.iter().chain(&new.partition_keys))?;
        new.partition_keys.iter().try_for_each(|key| check_partition_key(&key.name))?;
        if let Some(key) = new.partition_keys.iter().find(|key| key.hive_type.contains('<')) {
            return Err(Error::invalid(format!("partition column {} cannot have the type {}", key.name, key.hive_type)));
        }
        if let Some(column) = new.bucket_columns.iter().find(|name| !new.columns.iter().any(|column| column.name == **name)) {
            return Err(Error::invalid(format!("COLUMN_NOT_FOUND: CLUSTERED BY names '{column}', which is no column")));
        }
        let table = table(self.database(name), name, new, location.to_string());
        check_format(&table)?;
        Ok(table)
    }
}

/// Where the table `new` is.
pub(super) fn location_of(new: &NewTable, allowed: Option<&DataLocations>) -> Result<Location> {
    let location = new.location.as_deref().ok_or_else(|| {
        Error::invalid("InvalidRequestException: No location was specified for table. An S3 location must be specified")
    })?;
    Location::checked(location, allowed)
}

/// Checks names, and that none is there twice.
pub(super) fn check_columns<'a>(columns: impl Iterator<Item = &'a Column>) -> Result<()> {
    let mut names = HashSet::new();
    for column in columns {
        check_column(&column.name)?;
        if !names.insert(column.name.as_str()) {
            return Err(Error::invalid(format!(
                "FAILED: SemanticException [Error 10036]: Duplicate column name: {}",
                column.name
            )));
        }
    }
    Ok(())
}

/// Checks the columns of a table that a query makes: their names, and that their types are read again as what they are.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] with the column.
pub fn check_written(columns: &[Column], partition_keys: &[Column]) -> Result<()> {
    for column in columns.iter().chain(partition_keys) {
        check_column(&column.name)?;
        if !HiveType::parse(&column.hive_type).is_ok_and(|parsed| parsed.to_string() == column.hive_type) {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: column '{}' has fields whose names Hive's types cannot have: {}",
                column.name, column.hive_type
            )));
        }
    }
    partition_keys.iter().try_for_each(|key| check_partition_key(&key.name))
}

/// The catalog's entry of the table `new` in `database` at `location`.
pub fn table(database: &str, name: &TableName, new: &NewTable, location: String) -> Table {
    let is_parquet = new.stored_as.as_deref() == Some("parquet") || new.serde.as_deref().is_some_and(|serde| serde == PARQUET[0]);
    let [serde, input, output] = match new.stored_as.as_deref() {
        _ if is_parquet => PARQUET,
        Some("json" | "jsonfile") => [JSON, TEXT_INPUT, TEXT_OUTPUT],
        _ => [LAZY_SIMPLE, TEXT_INPUT, TEXT_OUTPUT],
    };
    let (input, output) = new.formats.clone().unwrap_or((input.into(), output.into()));
    let serde = match (&new.serde, &new.formats) {
        (Some(serde), _) => serde.clone(),
        (None, Some((input, _))) if *input == PARQUET[1] => PARQUET[0].into(),
        _ => serde.into(),
    };
    let mut serde_parameters = new.serde_properties.clone();
    serde_parameters.entry("serialization.format".into()).or_insert_with(|| "1".into());
    let flags = [("Compressed", false), ("StoredAsSubDirectories", false)];
    let storage = StorageDescriptor {
        columns: new.columns.clone(),
        location: Some(location),
        input_format: Some(input),
        output_format: Some(output),
        number_of_buckets: Some(new.buckets.unwrap_or(-1)),
        serde_info: Some(SerdeInfo { serialization_library: Some(serde), parameters: serde_parameters, ..SerdeInfo::default() }),
        bucket_columns: new.bucket_columns.clone(),
        sort_columns: new.sort_columns.clone(),
        parameters: Parameters::new(),
        other: flags.map(|(name, value)| (name.to_string(), Value::Bool(value))).into_iter().collect::<Map<_, _>>(),
    };
    let mut parameters = new.properties.clone();
    parameters.insert("EXTERNAL".into(), "TRUE".into());
    parameters.insert("transient_lastDdlTime".into(), (now_ms() / 1_000).to_string());
    if let Some(comment) = &new.comment {
        parameters.insert("comment".into(), comment.clone());
    }
    Table {
        database_name: database.into(),
        name: name.name.clone(),
        owner: Some("hadoop".into()),
        retention: Some(0),
        storage_descriptor: Some(storage),
        partition_keys: new.partition_keys.clone(),
        table_type: Some(EXTERNAL_TABLE.into()),
        parameters,
        ..Table::default()
    }
}

/// Hive's and Trino's type of a view's column. Types that Hive lacks are shown as strings there, as Athena does.
pub(super) fn view_types(name: &str, data_type: &DataType) -> Result<(String, String)> {
    match data_type {
        DataType::Null => Err(Error::invalid(format!("line 1:1: Column type is unknown: {name}"))),
        DataType::Timestamp(_, Some(_)) => Ok(("timestamp".into(), "timestamp(3) with time zone".into())),
        DataType::Time32(_) | DataType::Time64(_) => Ok(("string".into(), "time(3)".into())),
        other => {
            let hive = HiveType::of_arrow(other).map_err(|error| error.context(format!("view column {name}")))?;
            Ok((hive.to_string(), hive.trino()))
        }
    }
}
