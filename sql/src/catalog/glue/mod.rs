//! The AWS Glue Data Catalog as a catalog: each operation as the calls that Glue has for it.

mod client;
mod partitions;

use super::model::{Database, Parameters, Partition, Table};
use super::partition_filter::PartitionFilter;
use super::{Catalog, CatalogError, Result};
use async_trait::async_trait;
use client::GlueClient;
use engine::{Error, ErrorKind};
use object_store::aws::AwsCredentialProvider;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::env;

/// Pages of one listing, a guard against a service that gives the same token for ever.
const MAX_PAGES: usize = 10_000;

/// Where Glue is and whose catalog is meant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GlueSettings {
    /// Replaces the public endpoint.
    pub endpoint: Option<String>,
    /// AWS region; `us-east-1` without one.
    pub region: Option<String>,
    /// Account of the catalog, if it is not the caller's.
    pub catalog_id: Option<String>,
}

impl GlueSettings {
    /// What the variables `AWS_ENDPOINT_URL_GLUE` (else `AWS_ENDPOINT_URL`), `AWS_REGION` (else `AWS_DEFAULT_REGION`) say.
    pub fn from_env() -> Self {
        let first = |names: [&str; 2]| names.iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        Self {
            endpoint: first(["AWS_ENDPOINT_URL_GLUE", "AWS_ENDPOINT_URL"]),
            region: first(["AWS_REGION", "AWS_DEFAULT_REGION"]),
            catalog_id: None,
        }
    }
}

/// The Glue Data Catalog.
#[derive(Debug)]
pub struct GlueCatalog {
    client: GlueClient,
    catalog_id: Option<String>,
}

impl GlueCatalog {
    /// The catalog that `settings` name; no request is made yet. Credentials: `engine::storage::Storage::aws_credentials`.
    ///
    /// # Errors
    /// For an endpoint or region that is none.
    pub fn new(settings: &GlueSettings, credentials: AwsCredentialProvider) -> engine::Result<Self> {
        let region = settings.region.as_deref().unwrap_or("us-east-1");
        let client = GlueClient::new(settings.endpoint.as_deref(), region, credentials)?;
        Ok(Self { client, catalog_id: settings.catalog_id.clone() })
    }

    fn input(&self, fields: Value) -> Value {
        let Value::Object(mut fields) = fields else { return fields };
        fields.retain(|_, value| !value.is_null());
        if let Some(id) = &self.catalog_id {
            fields.insert("CatalogId".into(), id.clone().into());
        }
        Value::Object(fields)
    }

    /// A call that may be repeated; `None` for what is not there.
    async fn get(&self, operation: &'static str, fields: Value) -> Result<Option<Value>> {
        match self.client.call(operation, &self.input(fields), true).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == "EntityNotFoundException" => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A call that changes something; `missing` is the error when its object is not there.
    async fn change(&self, operation: &'static str, fields: Value, missing: CatalogError, what: &str) -> Result<Value> {
        match self.client.call(operation, &self.input(fields), false).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(match error.code() {
                "EntityNotFoundException" => missing,
                "AlreadyExistsException" => CatalogError::Exists(what.into()),
                "ConcurrentModificationException" | "VersionMismatchException" => CatalogError::Changed(what.into()),
                _ => error.into(),
            }),
        }
    }

    /// All items of `list` over all pages; `None` when what is asked about is not there.
    async fn pages<T: DeserializeOwned>(&self, operation: &'static str, fields: Value, list: &str) -> Result<Option<Vec<T>>> {
        let mut fields = fields;
        let mut items = Vec::new();
        for _ in 0..MAX_PAGES {
            let Some(mut answer) = self.get(operation, fields.clone()).await? else { return Ok(None) };
            let page = answer.get_mut(list).map(Value::take).unwrap_or_default();
            items.extend(parse::<Option<Vec<T>>>(operation, page)?.unwrap_or_default());
            match answer.get("NextToken").and_then(Value::as_str).filter(|token| !token.is_empty()) {
                Some(token) => fields["NextToken"] = token.into(),
                None => return Ok(Some(items)),
            }
        }
        Err(CatalogError::Failed(Error::new(ErrorKind::LimitExceeded, format!("Glue {operation}: more than {MAX_PAGES} pages"))))
    }
}

fn parse<T: DeserializeOwned>(operation: &str, value: Value) -> Result<T> {
    let wrong = |error| Error::new(ErrorKind::Corrupt, format!("Glue {operation} answered something unexpected: {error}"));
    serde_json::from_value(value).map_err(|error| wrong(error).into())
}

/// The fields of `value` that Glue takes as input.
fn input_of<T: serde::Serialize>(value: &T, fields: &[&str]) -> Result<Map<String, Value>> {
    match serde_json::to_value(value).map_err(|error| Error::internal(error.to_string()))? {
        Value::Object(mut all) => {
            all.retain(|name, _| fields.contains(&name.as_str()));
            Ok(all)
        }
        _ => Ok(Map::new()),
    }
}

fn table_input(table: &Table) -> Result<Map<String, Value>> {
    const FIELDS: [&str; 10] = [
        "Name",
        "Description",
        "Owner",
        "Retention",
        "StorageDescriptor",
        "PartitionKeys",
        "ViewOriginalText",
        "ViewExpandedText",
        "TableType",
        "Parameters",
    ];
    input_of(table, &FIELDS)
}

fn no_table(table: &Table) -> CatalogError {
    CatalogError::NoTable(table.database_name.clone(), table.name.clone())
}

#[async_trait]
impl Catalog for GlueCatalog {
    async fn database(&self, name: &str) -> Result<Option<Database>> {
        let Some(mut answer) = self.get("GetDatabase", json!({ "Name": name })).await? else { return Ok(None) };
        Ok(Some(parse("GetDatabase", answer.get_mut("Database").map(Value::take).unwrap_or_default())?))
    }

    async fn databases(&self) -> Result<Vec<Database>> {
        let mut found: Vec<Database> = self.pages("GetDatabases", json!({}), "DatabaseList").await?.unwrap_or_default();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn create_database(&self, database: &Database) -> Result<()> {
        let missing = CatalogError::NoDatabase(database.name.clone());
        let fields = json!({ "DatabaseInput": input_of(database, &["Name", "Description", "LocationUri", "Parameters"])? });
        self.change("CreateDatabase", fields, missing, &format!("Database {}", database.name)).await.map(drop)
    }

    /// Glue replaces the whole database and compares no version: what is not the properties is sent back as it came.
    async fn set_database_properties(&self, name: &str, properties: &Parameters) -> Result<()> {
        const FIELDS: [&str; 7] = [
            "Name",
            "Description",
            "LocationUri",
            "Parameters",
            "CreateTableDefaultPermissions",
            "TargetDatabase",
            "FederatedDatabase",
        ];
        let missing = || CatalogError::NoDatabase(name.into());
        let mut answer = self.get("GetDatabase", json!({ "Name": name })).await?.ok_or_else(missing)?;
        let found = answer.get_mut("Database").map(Value::take).unwrap_or_default();
        let mut known: Parameters = parse::<Database>("GetDatabase", found.clone())?.parameters;
        known.extend(properties.clone());
        let mut input = input_of(&found, &FIELDS)?;
        input.insert("Parameters".into(), json!(known));
        let fields = json!({ "Name": name, "DatabaseInput": input });
        self.change("UpdateDatabase", fields, missing(), &format!("Database {name}")).await.map(drop)
    }

    async fn drop_database(&self, name: &str, cascade: bool) -> Result<()> {
        let missing = || CatalogError::NoDatabase(name.into());
        // Glue itself drops all tables with their database.
        if !cascade && !self.tables(name).await?.is_empty() {
            return Err(CatalogError::NotEmpty(name.into()));
        }
        self.change("DeleteDatabase", json!({ "Name": name }), missing(), &format!("Database {name}")).await.map(drop)
    }

    async fn table(&self, database: &str, name: &str) -> Result<Option<Table>> {
        let fields = json!({ "DatabaseName": database, "Name": name });
        let Some(mut answer) = self.get("GetTable", fields).await? else { return Ok(None) };
        Ok(Some(parse("GetTable", answer.get_mut("Table").map(Value::take).unwrap_or_default())?))
    }

    async fn tables(&self, database: &str) -> Result<Vec<Table>> {
        let found = self.pages("GetTables", json!({ "DatabaseName": database }), "TableList").await?;
        let mut tables: Vec<Table> = found.ok_or_else(|| CatalogError::NoDatabase(database.into()))?;
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    async fn create_table(&self, table: &Table) -> Result<()> {
        let missing = CatalogError::NoDatabase(table.database_name.clone());
        let fields = json!({ "DatabaseName": table.database_name, "TableInput": table_input(table)? });
        self.change("CreateTable", fields, missing, &format!("Table {}", table.full_name())).await.map(drop)
    }

    async fn update_table(&self, table: &Table) -> Result<()> {
        let what = format!("Table {}", table.full_name());
        // Emulators do not compare versions; this narrows the gap, and Glue closes it by VersionId.
        let now = self.table(&table.database_name, &table.name).await?.ok_or_else(|| no_table(table))?;
        if now.version != table.version {
            return Err(CatalogError::Changed(what));
        }
        let fields =
            json!({ "DatabaseName": table.database_name, "TableInput": table_input(table)?, "VersionId": table.version });
        self.change("UpdateTable", fields, no_table(table), &what).await.map(drop)
    }

    async fn drop_table(&self, database: &str, name: &str) -> Result<()> {
        let missing = CatalogError::NoTable(database.into(), name.into());
        let fields = json!({ "DatabaseName": database, "Name": name });
        self.change("DeleteTable", fields, missing, &format!("Table {database}.{name}")).await.map(drop)
    }

    /// Glue has no rename: the table and its partitions are written under the new name, then the old ones removed.
    async fn rename_table(&self, database: &str, name: &str, new_name: &str) -> Result<()> {
        let missing = || CatalogError::NoTable(database.into(), name.into());
        let table = self.table(database, name).await?.ok_or_else(missing)?;
        let renamed = Table { name: new_name.into(), version: None, ..table.clone() };
        self.create_table(&renamed).await?;
        if !table.partition_keys.is_empty() {
            let listed = self.partitions(&table, &PartitionFilter::default()).await?;
            let values: Vec<Vec<String>> = listed.into_iter().map(|partition| partition.values).collect();
            // A listing leaves the partitions' own columns out.
            let partitions = self.partitions_by_values(&table, &values).await?;
            self.add_partitions(&renamed, &partitions).await?;
        }
        self.drop_table(database, name).await
    }

    async fn partitions(&self, table: &Table, filter: &PartitionFilter) -> Result<Vec<Partition>> {
        self.get_partitions(table, filter).await
    }

    async fn partitions_by_values(&self, table: &Table, values: &[Vec<String>]) -> Result<Vec<Partition>> {
        self.batch_get(table, values).await
    }

    async fn add_partitions(&self, table: &Table, partitions: &[Partition]) -> Result<Vec<Vec<String>>> {
        self.batch_create(table, partitions).await
    }

    async fn drop_partitions(&self, table: &Table, values: &[Vec<String>]) -> Result<Vec<Vec<String>>> {
        self.batch_delete(table, values).await
    }

    async fn update_partition(&self, table: &Table, values: &[String], partition: &Partition) -> Result<()> {
        self.replace_partition(table, values, partition).await
    }
}
