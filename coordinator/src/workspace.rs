//! What the statements of a caller can name and change: tables by location, a catalog with a database, prepared statements.

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::compute::cast as arrow_cast;
use datafusion::catalog::{MemTable, Session, TableProvider};
use engine::storage::{DataLocations, StoreRegistry};
use engine::write::HIVE_NULL;
use engine::{Error, Result};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use sql::bind::DEFAULT_DATABASE;
use sql::catalog::delta::no_earlier_state;
use sql::catalog::types::HiveType;
use sql::catalog::view::ViewDefinition;
use sql::catalog::{AsOf, PartitionFilter, Table, is_delta};
use sql::catalog::{Catalog, GlueCatalog, JsonCatalog, StoreSharing, glue::GlueSettings};
use sql::{PreparedStatements, Resolved, TableResolver, Tables};
use std::sync::Arc;
use url::Url;

/// The value that stands for the AWS Glue Data Catalog where a catalog's location is asked for.
const GLUE: &str = "glue";

/// Ending of the name of a table's partitions.
const PARTITIONS_SUFFIX: &str = "$partitions";
/// The database of tables that tell of databases, tables and columns.
const INFORMATION_SCHEMA: &str = "information_schema";

/// The file in a catalog's folder whose lock keeps other processes from changing it at the same time.
const LOCK_FILE: &str = ".lock";

/// What statements can name and change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Tables of the session, by location; they hide those of the database.
    pub tables: Arc<Tables>,
    /// The catalog, if there is one.
    pub catalog: Option<CatalogSource>,
    /// The database of names that say none.
    pub database: String,
    /// Who asks, for `current_user`.
    pub user: String,
    /// The caller's prepared statements, if they can be kept.
    pub prepared: Option<PreparedStatements>,
    /// URL of the folder of tables without a location.
    pub warehouse: Option<String>,
    /// Where tables of the catalog may lie; anywhere when absent.
    pub locations: Option<Arc<DataLocations>>,
}

impl Workspace {
    /// `tables` and nothing else.
    pub fn of(tables: Tables) -> Self {
        Self {
            tables: Arc::new(tables),
            catalog: None,
            database: DEFAULT_DATABASE.into(),
            user: "local".into(),
            prepared: None,
            warehouse: None,
            locations: None,
        }
    }

    /// The catalog, whose requests `registry` counts; none where there is none.
    pub(crate) fn open_catalog(&self, registry: &Arc<StoreRegistry>) -> Result<Option<Arc<dyn Catalog>>> {
        self.catalog.as_ref().map(|source| source.open(registry)).transpose()
    }

    /// The same with its name.
    pub(crate) fn named_catalog(&self, registry: &Arc<StoreRegistry>) -> Result<Option<NamedCatalog>> {
        let Some(source) = &self.catalog else { return Ok(None) };
        let name = match source {
            CatalogSource::Shared { name, .. } => name.clone(),
            CatalogSource::Objects(url) => url.to_string(),
        };
        Ok(Some(NamedCatalog { name, catalog: source.open(registry)? }))
    }

    /// The catalog, for statements that need one.
    pub(crate) fn require_catalog(&self, registry: &Arc<StoreRegistry>) -> Result<Arc<dyn Catalog>> {
        self.require_named_catalog(registry).map(|named| named.catalog)
    }

    pub(crate) fn require_named_catalog(&self, registry: &Arc<StoreRegistry>) -> Result<NamedCatalog> {
        let missing = || Error::invalid("NOT_SUPPORTED: this session has no catalog: name one with --catalog");
        self.named_catalog(registry)?.ok_or_else(missing)
    }
}

/// Where a catalog is.
#[derive(Clone, Debug)]
pub enum CatalogSource {
    /// Objects below this URL of a bucket: each query counts its own requests.
    Objects(Url),
    /// One that all queries share.
    Shared {
        /// Where it is, in words that mean the same to other processes.
        name: String,
        /// The catalog.
        catalog: Arc<dyn Catalog>,
    },
}

/// A catalog, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct NamedCatalog {
    /// Tells it from other catalogs, also to other processes.
    pub(crate) name: String,
    pub(crate) catalog: Arc<dyn Catalog>,
}

impl CatalogSource {
    /// The catalog at `location`: an `s3://` URL, a `file://` URL, or `glue`, which needs `credentials`.
    ///
    /// # Errors
    /// [`engine::ErrorKind::InvalidQuery`] for another location.
    pub fn at(location: &str, storage: &engine::storage::Storage) -> Result<Self> {
        if location == GLUE {
            let settings = GlueSettings::from_env();
            let place = |part: &Option<String>| part.clone().unwrap_or_default();
            let name = format!("{GLUE} {} {}", place(&settings.region), place(&settings.endpoint));
            return Ok(Self::Shared { name, catalog: Arc::new(GlueCatalog::new(&settings, storage.aws_credentials()?)?) });
        }
        let wrong = |e: &dyn std::fmt::Display| Error::invalid(format!("catalog location '{location}': {e}"));
        let url = Url::parse(location).map_err(|e| wrong(&e))?;
        match url.scheme() {
            "s3" => Ok(Self::Objects(url)),
            "file" => {
                let base = Path::from_url_path(url.path()).map_err(|e| wrong(&e))?;
                let folder = url.to_file_path().map_err(|()| wrong(&"that is no path"))?;
                let catalog = JsonCatalog::new(Arc::new(LocalFileSystem::new()), base, StoreSharing::OwnFolder);
                Ok(Self::Shared { name: url.to_string(), catalog: Arc::new(catalog.locked_by(folder.join(LOCK_FILE))) })
            }
            _ => Err(wrong(&"only s3://bucket/prefix/, a folder or 'glue' can be given")),
        }
    }

    fn open(&self, registry: &Arc<StoreRegistry>) -> Result<Arc<dyn Catalog>> {
        match self {
            Self::Shared { catalog, .. } => Ok(Arc::clone(catalog)),
            Self::Objects(url) => {
                let base =
                    Path::from_url_path(url.path()).map_err(|e| Error::invalid(format!("catalog location '{url}': {e}")))?;
                Ok(Arc::new(JsonCatalog::new(registry.counted_store(url)?, base, StoreSharing::Shared)))
            }
        }
    }
}

/// The partitions of `table`, as `"table$partitions"` shows them: a column for each key.
async fn partitions(catalog: &dyn Catalog, table: &Table) -> Result<Arc<dyn TableProvider>> {
    if is_delta(table) {
        return Err(Error::invalid(format!(
            "NOT_SUPPORTED: \"{}{PARTITIONS_SUFFIX}\" of a table of Delta Lake: use SHOW PARTITIONS",
            table.name
        )));
    }
    if table.partition_keys.is_empty() {
        return Err(Error::invalid(format!("TABLE_NOT_FOUND: table {} has no partitions", table.full_name())));
    }
    let partitions = catalog.partitions(table, &PartitionFilter::default()).await?;
    let columns = table.partition_keys.iter().enumerate().map(|(index, key)| {
        let values = partitions.iter().map(|partition| partition.values.get(index).filter(|value| *value != HIVE_NULL));
        let texts: StringArray = values.collect();
        let typed = arrow_cast(&texts, &HiveType::parse(&key.hive_type)?.arrow()).map_err(|e| Error::invalid(e.to_string()))?;
        Ok((key.name.as_str(), typed, true))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

/// Tables and views of a catalog, as planning asks for them.
#[derive(Debug)]
pub(crate) struct CatalogTables {
    catalog: Arc<dyn Catalog>,
    /// Database and name of a view that is being made, which cannot read itself.
    own: Option<(String, String)>,
}

impl CatalogTables {
    pub(crate) fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog, own: None }
    }

    /// The same for the query of the view `own`.
    pub(crate) fn without(self, (database, name): (&str, &str)) -> Self {
        Self { own: Some((database.to_string(), name.to_string())), ..self }
    }
}

#[async_trait]
impl TableResolver for CatalogTables {
    async fn resolve(&self, session: &dyn Session, database: &str, table: &str, as_of: Option<AsOf>) -> Result<Option<Resolved>> {
        let is_own = database == INFORMATION_SCHEMA || table.ends_with(PARTITIONS_SUFFIX);
        if as_of.is_some() && is_own {
            return Err(no_earlier_state(table));
        }
        if database == INFORMATION_SCHEMA {
            let tables = sql::catalog::information_schema(Arc::clone(&self.catalog));
            return Ok(tables.into_iter().find(|(name, _)| *name == table).map(|(_, provider)| Resolved::Table(provider)));
        }
        if let Some(name) = table.strip_suffix(PARTITIONS_SUFFIX) {
            let found = self.catalog.table(database, name).await?.filter(sql::catalog::is_finished);
            let Some(found) = found else { return Ok(None) };
            return partitions(self.catalog.as_ref(), &found).await.map(|provider| Some(Resolved::Table(provider)));
        }
        let found = self.catalog.table(database, table).await?.filter(sql::catalog::is_finished);
        let Some(found) = found else { return Ok(None) };
        if found.is_view() {
            if self.own.as_ref().is_some_and(|(own, name)| own == database && name == table) {
                return Err(Error::invalid("VIEW_IS_RECURSIVE: line 1:1: Statement would create a recursive view"));
            }
            let view = ViewDefinition::of(&found)?;
            return Ok(Some(Resolved::View {
                sql: view.original_sql,
                catalog: view.catalog,
                database: view.schema.unwrap_or_else(|| database.to_string()),
                columns: view.columns,
            }));
        }
        let provider = sql::catalog::open(session, Arc::clone(&self.catalog), &found, as_of).await?;
        Ok(Some(Resolved::Table(provider)))
    }

    async fn has_database(&self, database: &str) -> Result<bool> {
        Ok(database == INFORMATION_SCHEMA || self.catalog.database(database).await?.is_some())
    }

    async fn table_names(&self, database: &str) -> Result<Vec<String>> {
        Ok(self.catalog.tables(database).await?.into_iter().map(|table| table.name).collect())
    }
}
