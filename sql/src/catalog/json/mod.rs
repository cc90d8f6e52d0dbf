//! A catalog of JSON objects in any object store: one for each database and table, and a bounded number for a table's partitions.
//!
//! ```text
//! <base>/<database>/database.json
//! <base>/<database>/tables/<table>.json            { table, OwletId }
//! <base>/<database>/partitions/<OwletId>/<part>.json   partitions whose values hash to <part>
//! ```
//!
//! Partitions hang on the table's identity and not on its name: a rename moves none, and a table that is made again has none.

mod objects;
mod partitions;

pub use objects::StoreSharing;

use super::model::{Database, Parameters, Partition, Table};
use super::names::check_name;
use super::partition_filter::PartitionFilter;
use super::{Catalog, CatalogError, Result};
use async_trait::async_trait;
use engine::clock::random_uuid;
use engine::{Error, ErrorKind};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use objects::{Change, Objects};
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::Arc;

/// Objects that are read at once.
const CONCURRENT_READS: usize = 32;
/// The database of names that say none.
const DEFAULT_DATABASE: &str = crate::bind::DEFAULT_DATABASE;
/// The object of a database.
const DATABASE_FILE: &str = "database.json";

/// A catalog in an object store.
#[derive(Clone, Debug)]
pub struct JsonCatalog {
    objects: Objects,
    base: Path,
}

impl JsonCatalog {
    /// The catalog below `base` in `store`. `store` must not hide or pin objects: a plain one, not one of table data.
    pub fn new(store: Arc<dyn ObjectStore>, base: Path, sharing: StoreSharing) -> Self {
        Self { objects: Objects::new(store, sharing), base }
    }

    /// The same for a folder that other processes change too, if they name the same lock file.
    #[must_use]
    pub fn locked_by(self, lock_file: PathBuf) -> Self {
        Self { objects: self.objects.locked_by(lock_file), ..self }
    }

    fn database_path(&self, name: &str) -> Result<Path> {
        check_name("database", name)?;
        Ok(self.base.clone().join(name).join(DATABASE_FILE))
    }

    fn table_path(&self, database: &str, name: &str) -> Result<Path> {
        check_name("database", database)?;
        check_name("table", name)?;
        Ok(self.base.clone().join(database).join("tables").join(format!("{name}.json")))
    }

    /// All objects at `paths` that are still there.
    async fn read_all<T: DeserializeOwned + Send>(&self, paths: Vec<Path>) -> Result<Vec<T>> {
        let reads = futures::stream::iter(paths).map(|path| async move { self.objects.get::<T>(&path).await });
        let found: Vec<Option<T>> = reads.buffered(CONCURRENT_READS).try_collect().await.map_err(CatalogError::Failed)?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn list(&self, folder: &Path) -> Result<Vec<Path>> {
        let listed: Result<Vec<_>, object_store::Error> = self.objects.store.list(Some(folder)).try_collect().await;
        let mut paths: Vec<Path> = match listed {
            Ok(listed) => listed.into_iter().map(|meta| meta.location).collect(),
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(Error::from(error).context(folder).into()),
        };
        // A folder may hold what an editor or a crashed write left.
        paths.retain(|path| path.extension() == Some("json"));
        paths.sort();
        Ok(paths)
    }

    async fn require_database(&self, name: &str) -> Result<()> {
        match self.database(name).await? {
            Some(_) => Ok(()),
            None => Err(CatalogError::NoDatabase(name.into())),
        }
    }
}

/// The database that is there without being made.
fn default_database() -> Database {
    Database { name: DEFAULT_DATABASE.into(), ..Database::default() }
}

fn changed(table: &Table) -> CatalogError {
    CatalogError::Changed(format!("table {}", table.full_name()))
}

#[async_trait]
impl Catalog for JsonCatalog {
    async fn database(&self, name: &str) -> Result<Option<Database>> {
        let found = self.objects.get(&self.database_path(name)?).await?;
        Ok(found.or_else(|| (name == DEFAULT_DATABASE).then(default_database)))
    }

    async fn databases(&self) -> Result<Vec<Database>> {
        let base = Some(&self.base).filter(|base| !base.as_ref().is_empty());
        let listed = match self.objects.store.list_with_delimiter(base).await {
            Ok(listed) => listed.common_prefixes,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(Error::from(error).context("listing the catalog").into()),
        };
        let mut found: Vec<Database> = self.read_all(listed.into_iter().map(|path| path.join(DATABASE_FILE)).collect()).await?;
        if !found.iter().any(|database| database.name == DEFAULT_DATABASE) {
            found.push(default_database());
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn create_database(&self, database: &Database) -> Result<()> {
        let path = self.database_path(&database.name)?;
        self.objects
            .change(&path, |now: Option<Database>| match now {
                None if database.name == DEFAULT_DATABASE => Err(CatalogError::Exists(format!("Database {}", database.name))),
                Some(_) => Err(CatalogError::Exists(format!("Database {}", database.name))),
                None => Ok(Change::Write(database.clone(), ())),
            })
            .await
    }

    async fn set_database_properties(&self, name: &str, properties: &Parameters) -> Result<()> {
        let path = self.database_path(name)?;
        self.objects
            .change(&path, |now: Option<Database>| {
                let found = now.or_else(|| (name == DEFAULT_DATABASE).then(default_database));
                let mut database = found.ok_or_else(|| CatalogError::NoDatabase(name.into()))?;
                database.parameters.extend(properties.clone());
                Ok(Change::Write(database, ()))
            })
            .await
    }

    async fn drop_database(&self, name: &str, cascade: bool) -> Result<()> {
        if name == DEFAULT_DATABASE {
            let text = "InvalidOperationException: the database 'default' is always there: drop its tables instead";
            return Err(CatalogError::Failed(Error::invalid(text)));
        }
        self.require_database(name).await?;
        let tables = self.tables(name).await?;
        if !cascade && !tables.is_empty() {
            return Err(CatalogError::NotEmpty(name.into()));
        }
        for table in tables {
            self.drop_table(name, &table.name).await?;
        }
        Ok(self.objects.delete(&self.database_path(name)?).await?)
    }

    async fn table(&self, database: &str, name: &str) -> Result<Option<Table>> {
        Ok(self.objects.get(&self.table_path(database, name)?).await?)
    }

    async fn tables(&self, database: &str) -> Result<Vec<Table>> {
        self.require_database(database).await?;
        let paths = self.list(&self.base.clone().join(database).join("tables")).await?;
        let mut tables: Vec<Table> = self.read_all(paths).await?;
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    async fn create_table(&self, table: &Table) -> Result<()> {
        self.require_database(&table.database_name).await?;
        let path = self.table_path(&table.database_name, &table.name)?;
        let first = Table { version: Some("0".into()), id: Some(random_uuid().to_string()), ..table.clone() };
        self.objects
            .change(&path, |now: Option<Table>| match now {
                Some(_) => Err(CatalogError::Exists(format!("Table {}", table.full_name()))),
                None => Ok(Change::Write(first.clone(), ())),
            })
            .await
    }

    async fn update_table(&self, table: &Table) -> Result<()> {
        let path = self.table_path(&table.database_name, &table.name)?;
        self.objects
            .change(&path, |now: Option<Table>| {
                let Some(now) = now else {
                    return Err(CatalogError::NoTable(table.database_name.clone(), table.name.clone()));
                };
                if now.version != table.version {
                    return Err(changed(table));
                }
                let version = now.version.as_deref().and_then(|version| version.parse::<u64>().ok()).unwrap_or(0);
                let version = Some(version.saturating_add(1).to_string());
                Ok(Change::Write(Table { version, id: now.id, ..table.clone() }, ()))
            })
            .await
    }

    async fn drop_table(&self, database: &str, name: &str) -> Result<()> {
        let Some(table) = self.table(database, name).await? else {
            return Err(CatalogError::NoTable(database.into(), name.into()));
        };
        self.objects.delete(&self.table_path(database, name)?).await?;
        if let Ok(folder) = self.partition_folder(&table) {
            for path in self.list(&folder).await? {
                self.objects.delete(&path).await?;
            }
        }
        Ok(())
    }

    async fn rename_table(&self, database: &str, name: &str, new_name: &str) -> Result<()> {
        let Some(table) = self.table(database, name).await? else {
            return Err(CatalogError::NoTable(database.into(), name.into()));
        };
        let path = self.table_path(database, new_name)?;
        let renamed = Table { name: new_name.into(), ..table };
        self.objects
            .change(&path, |now: Option<Table>| match now {
                Some(_) => Err(CatalogError::Exists(format!("Table {database}.{new_name}"))),
                None => Ok(Change::Write(renamed.clone(), ())),
            })
            .await?;
        Ok(self.objects.delete(&self.table_path(database, name)?).await?)
    }

    async fn partitions(&self, table: &Table, filter: &PartitionFilter) -> Result<Vec<Partition>> {
        self.filtered_partitions(table, filter).await
    }

    async fn partitions_by_values(&self, table: &Table, values: &[Vec<String>]) -> Result<Vec<Partition>> {
        self.named_partitions(table, values).await
    }

    async fn add_partitions(&self, table: &Table, partitions: &[Partition]) -> Result<Vec<Vec<String>>> {
        self.insert_partitions(table, partitions).await
    }

    async fn drop_partitions(&self, table: &Table, values: &[Vec<String>]) -> Result<Vec<Vec<String>>> {
        self.remove_partitions(table, values).await
    }

    async fn update_partition(&self, table: &Table, values: &[String], partition: &Partition) -> Result<()> {
        self.replace_partition(table, values, partition).await
    }
}

/// The error of a table that has no identity, which only a foreign hand can have written.
fn no_identity(table: &Table) -> CatalogError {
    let text = format!("the catalog object of table {} has no OwletId: create the table again", table.full_name());
    CatalogError::Failed(Error::new(ErrorKind::Corrupt, text))
}

#[cfg(test)]
mod tests;
