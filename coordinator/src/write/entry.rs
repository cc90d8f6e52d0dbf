//! What the catalog learns of a write: said by the statement, kept with the files, so that a recovery can carry it on or take it back.
//!
//! A new table carries the id of its query. That is how whoever finds the files of a lost `CREATE TABLE AS` knows whether the table
//! was entered, under whatever name it goes by now.

use crate::workspace::NamedCatalog;
use engine::clock::now_ms;
use engine::ids::QueryId;
use engine::write::{HIVE_NULL, WriteFolder, below, parse_folder};
use engine::{Error, Result};
use serde::{Deserialize, Serialize};
use sql::catalog::{CatalogError, Partition, Table, UNFINISHED, projection};
use std::collections::BTreeSet;

/// Property of a table that names the `CREATE TABLE AS` which made it.
const QUERY_PROPERTY: &str = "owlet_query_id";

/// Most times that a table is marked as finished, where others change it meanwhile.
const MAX_FINISHES: usize = 10;

/// What the catalog has to learn of a write.
#[derive(Debug)]
pub(crate) enum After {
    /// Nothing; the catalog is that of other writes, which may have to be ended first.
    Nothing(Option<NamedCatalog>),
    /// This table is new.
    Create(NamedCatalog, Box<Table>),
    /// This table may have new partitions.
    Append(NamedCatalog, Box<Table>),
}

/// The same as it is kept with the files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Which catalog, as [`NamedCatalog::name`].
    pub(super) catalog: String,
    pub(super) database: String,
    pub(super) table: String,
    /// Its location, in the words of the catalog.
    pub(super) location: String,
    /// Whether the table is new.
    pub(super) is_new: bool,
}

impl After {
    /// A new table, marked as that of `query`.
    pub(crate) fn create(catalog: NamedCatalog, mut table: Table, query: QueryId) -> Self {
        table.parameters.insert(QUERY_PROPERTY.into(), query.to_string());
        Self::Create(catalog, Box::new(table))
    }

    /// What a recovery must know; none where the files are all there is.
    pub(super) fn entry(&self) -> Option<Entry> {
        let (catalog, table, is_new) = match self {
            Self::Nothing(_) => return None,
            // Computed partitions are in no list.
            Self::Append(_, table) if table.partition_keys.is_empty() || projection::is_enabled(table) => return None,
            Self::Append(catalog, table) => (catalog, table, false),
            Self::Create(catalog, table) => (catalog, table, true),
        };
        let location = table.location().unwrap_or_default().to_string();
        let (database, table) = (table.database_name.clone(), table.name.clone());
        Some(Entry { catalog: catalog.name.clone(), database, table, location, is_new })
    }

    /// Refuses `files`, relative paths, that a reader of the table would not find.
    pub(super) fn check(&self, folder: &WriteFolder, files: &[String]) -> Result<()> {
        match self {
            Self::Append(_, table) if projection::is_enabled(table) => {
                projection::check(table, &partitions(table, folder, files)?, now_ms())
            }
            _ => Ok(()),
        }
    }

    /// Enters what is new. A new table with partitions is one for queries once all of them are there.
    pub(super) async fn enter(&self, folder: &WriteFolder, files: &[String]) -> Result<()> {
        if let Self::Create(catalog, table) = self {
            let mut first = table.as_ref().clone();
            if !table.partition_keys.is_empty() {
                first.parameters.insert(UNFINISHED.into(), "true".into());
            }
            catalog.catalog.create_table(&first).await?;
        }
        let (Self::Create(catalog, table) | Self::Append(catalog, table), Some(entry)) = (self, self.entry()) else {
            return Ok(());
        };
        if table.partition_keys.is_empty() {
            return Ok(());
        }
        match entry.enter_again(catalog, folder, files).await? {
            true => Ok(()),
            false => Err(CatalogError::NoTable(entry.database, entry.table).into()),
        }
    }

    /// Enters a new table without rows.
    ///
    /// # Errors
    /// As the catalog; the table is not there then.
    pub(crate) async fn enter_empty(&self, query: QueryId) -> Result<()> {
        let Self::Create(catalog, table) = self else { return Ok(()) };
        let Err(error) = catalog.catalog.create_table(table).await else { return Ok(()) };
        // An answer may have been lost.
        let error = Error::from(error);
        let Some(entry) = self.entry() else { return Err(error) };
        Err(match entry.remove(catalog, query).await {
            Ok(()) => error,
            Err(left) => error.context(format!("whether the table was made is not known ({left})")),
        })
    }

    pub(super) fn catalog(&self) -> Option<&NamedCatalog> {
        match self {
            Self::Nothing(catalog) => catalog.as_ref(),
            Self::Create(catalog, _) | Self::Append(catalog, _) => Some(catalog),
        }
    }
}

impl Entry {
    /// The table of this name.
    async fn table(&self, catalog: &NamedCatalog) -> Result<Option<Table>> {
        Ok(catalog.catalog.table(&self.database, &self.table).await?)
    }

    /// The table that `query` has made, which may have got another name.
    pub(super) async fn made_by(&self, catalog: &NamedCatalog, query: QueryId) -> Result<Option<Table>> {
        let id = query.to_string();
        let is_own = |table: &Table| table.parameters.get(QUERY_PROPERTY) == Some(&id);
        if let Some(table) = self.table(catalog).await?.filter(is_own) {
            return Ok(Some(table));
        }
        match catalog.catalog.tables(&self.database).await {
            Ok(tables) => Ok(tables.into_iter().find(is_own)),
            Err(CatalogError::NoDatabase(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the table that `query` has made, if it is there.
    pub(super) async fn remove(&self, catalog: &NamedCatalog, query: QueryId) -> Result<()> {
        let Some(table) = self.made_by(catalog, query).await? else { return Ok(()) };
        match catalog.catalog.drop_table(&table.database_name, &table.name).await {
            Ok(()) | Err(CatalogError::NoTable(..)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Enters partitions of a table that was there, and shows it to queries; false when it has gone, or lies elsewhere by now.
    pub(super) async fn enter_again(&self, catalog: &NamedCatalog, folder: &WriteFolder, files: &[String]) -> Result<bool> {
        let is_same = |table: &Table| table.location().unwrap_or_default() == self.location;
        let Some(table) = self.table(catalog).await?.filter(is_same) else { return Ok(false) };
        enter_partitions(catalog, &table, folder, files).await?;
        for _ in 0..MAX_FINISHES {
            let Some(mut table) = self.table(catalog).await?.filter(is_same) else { return Ok(false) };
            if table.parameters.remove(UNFINISHED).is_none() {
                return Ok(true);
            }
            match catalog.catalog.update_table(&table).await {
                Ok(()) => return Ok(true),
                Err(CatalogError::Changed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CatalogError::Changed(format!("Table {}.{}", self.database, self.table)).into())
    }
}

/// Adds the partitions that `files` are in to `table`.
async fn enter_partitions(catalog: &NamedCatalog, table: &Table, folder: &WriteFolder, files: &[String]) -> Result<()> {
    let partitions = partitions(table, folder, files)?;
    if !table.partition_keys.is_empty() && !partitions.is_empty() && !projection::is_enabled(table) {
        catalog.catalog.add_partitions(table, &partitions).await?;
    }
    Ok(())
}

/// The partitions of `table` that `files` are in, relative paths below `folder`.
fn partitions(table: &Table, folder: &WriteFolder, files: &[String]) -> Result<Vec<Partition>> {
    let folders: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.rsplit_once('/')?.0)).collect();
    let one = |path: &str| {
        let values = path.split('/').filter_map(parse_folder).map(|(_, value)| value.unwrap_or_else(|| HIVE_NULL.into()));
        let place = format!("{}/", folder.url_of(&below(&folder.base, path)?));
        Ok(Partition::of(table, values.collect(), &place))
    };
    folders.into_iter().map(one).collect()
}
