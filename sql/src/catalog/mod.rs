//! The catalog of databases, tables and partitions: what it can be asked, and what it answers when it cannot.
//!
//! ```text
//! ddl::execute ─► Catalog ◄─ open (queries), information_schema
//!                  ├── JsonCatalog: objects with compare-and-set in a folder or a bucket
//!                  └── GlueCatalog: the AWS Glue Data Catalog over HTTP
//! ```
//!
//! **Invariant:** the model is Hive's as Glue spells it, so that what Athena, Spark, dbt and awswrangler wrote can be read here,
//! and the other way round.

pub mod conformance;
pub mod delta;
pub mod glue;
pub mod information_schema;
pub mod json;
pub mod location;
pub mod model;
pub mod names;
pub mod partition_filter;
pub mod projection;
pub mod table;
pub mod types;
pub mod view;

pub use delta::{AsOf, is_delta};
pub use glue::{GlueCatalog, GlueSettings};
pub use information_schema::information_schema;
pub use json::{JsonCatalog, StoreSharing};
pub use model::{Column, Database, Partition, SerdeInfo, SortColumn, StorageDescriptor, Table};
pub use partition_filter::{Comparison, Condition, PartitionFilter};
pub(crate) use table::{PATH, with_path};
pub use table::{check_input, field_separator};

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use engine::{Error, ErrorKind};
use model::Parameters;
use std::fmt;
use std::sync::Arc;

/// The one catalog name that names may be qualified with.
pub const CATALOG_NAME: &str = "awsdatacatalog";

/// Result of a catalog operation.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// Databases, tables (views included) and partitions. All names are lower case.
#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug {
    /// The database, or `None`.
    async fn database(&self, name: &str) -> Result<Option<Database>>;

    /// All databases in order of name.
    async fn databases(&self) -> Result<Vec<Database>>;

    /// Adds a database.
    async fn create_database(&self, database: &Database) -> Result<()>;

    /// Gives a database these properties beside those that it has; everything else of it stays.
    async fn set_database_properties(&self, name: &str, properties: &Parameters) -> Result<()>;

    /// Removes a database; with `cascade` also its tables, without it only an empty one.
    async fn drop_database(&self, name: &str, cascade: bool) -> Result<()>;

    /// The table or view, with the version that an update is compared with, or `None`.
    async fn table(&self, database: &str, name: &str) -> Result<Option<Table>>;

    /// All tables and views of a database in order of name.
    async fn tables(&self, database: &str) -> Result<Vec<Table>>;

    /// Adds a table or view.
    async fn create_table(&self, table: &Table) -> Result<()>;

    /// Replaces a table or view that still has the version of `table.version`; partitions stay.
    ///
    /// # Errors
    /// [`CatalogError::Changed`] when it has another version by now.
    async fn update_table(&self, table: &Table) -> Result<()>;

    /// Removes a table or view and its partitions, never files.
    async fn drop_table(&self, database: &str, name: &str) -> Result<()>;

    /// Gives a table another name in its database.
    async fn rename_table(&self, database: &str, name: &str, new_name: &str) -> Result<()>;

    /// The partitions of a table that may meet `filter`, in order of their values. A catalog may return more than that.
    async fn partitions(&self, table: &Table, filter: &PartitionFilter) -> Result<Vec<Partition>>;

    /// Those of the named partitions that exist.
    async fn partitions_by_values(&self, table: &Table, values: &[Vec<String>]) -> Result<Vec<Partition>>;

    /// Adds partitions, and returns the values of those that were there already and stay as they are.
    async fn add_partitions(&self, table: &Table, partitions: &[Partition]) -> Result<Vec<Vec<String>>>;

    /// Removes partitions (never files), and returns the values of those that were not there.
    async fn drop_partitions(&self, table: &Table, values: &[Vec<String>]) -> Result<Vec<Vec<String>>>;

    /// Replaces the partition with `values` by `partition`, which may have other values (a rename).
    async fn update_partition(&self, table: &Table, values: &[String], partition: &Partition) -> Result<()>;
}

/// Why a catalog did not do something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CatalogError {
    /// The database is not there.
    NoDatabase(String),
    /// The table is not there: database and name.
    NoTable(String, String),
    /// The partition is not there: table and values.
    NoPartition(String, String),
    /// Something of that name is there already.
    Exists(String),
    /// Somebody else changed it meanwhile.
    Changed(String),
    /// The database has tables.
    NotEmpty(String),
    /// Anything else.
    Failed(Error),
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDatabase(name) => write!(f, "SCHEMA_NOT_FOUND: Schema '{name}' does not exist"),
            Self::NoTable(database, name) => {
                write!(f, "TABLE_NOT_FOUND: Table '{CATALOG_NAME}.{database}.{name}' does not exist")
            }
            Self::NoPartition(table, values) => {
                write!(f, "NoSuchObjectException: partition {values} of table {table} does not exist")
            }
            Self::Exists(what) => write!(f, "AlreadyExistsException: {what} already exists"),
            Self::Changed(what) => write!(f, "ConcurrentModificationException: {what} was changed by somebody else; try again"),
            Self::NotEmpty(name) => {
                write!(f, "InvalidOperationException: Database {name} is not empty. One or more tables exist; use CASCADE")
            }
            Self::Failed(error) => f.write_str(&error.message),
        }
    }
}

impl std::error::Error for CatalogError {}

impl From<Error> for CatalogError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        let kind = match &error {
            CatalogError::NoDatabase(_) | CatalogError::NoTable(..) | CatalogError::NoPartition(..) => ErrorKind::NotFound,
            CatalogError::Exists(_) | CatalogError::NotEmpty(_) => ErrorKind::InvalidQuery,
            CatalogError::Changed(_) => ErrorKind::Changed,
            CatalogError::Failed(inner) => return inner.clone(),
        };
        Error::new(kind, error.to_string())
    }
}

/// The table, or the error that names what is missing.
///
/// # Errors
/// [`CatalogError::NoTable`] or [`CatalogError::NoDatabase`].
pub async fn require_table(catalog: &dyn Catalog, database: &str, name: &str) -> Result<Table> {
    if let Some(table) = catalog.table(database, name).await?.filter(is_finished) {
        return Ok(table);
    }
    match catalog.database(database).await? {
        None => Err(CatalogError::NoDatabase(database.into())),
        Some(_) => Err(CatalogError::NoTable(database.into(), name.into())),
    }
}

/// Property of a table that is being made, while partitions are missing: queries do not see it.
pub const UNFINISHED: &str = "owlet_unfinished";

/// Whether `table` has all of its partitions.
pub fn is_finished(table: &Table) -> bool {
    !table.parameters.contains_key(UNFINISHED)
}

/// Opens `table` for queries, as it is or was at `as_of`. Of a table of Delta Lake the log is read, of others nothing yet.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] for a format or type that cannot be read here, with what it is, and for an earlier state of a table
/// that has none.
pub async fn open(
    session: &dyn Session,
    catalog: Arc<dyn Catalog>,
    table: &Table,
    as_of: Option<AsOf>,
) -> Result<Arc<dyn TableProvider>, Error> {
    match as_of {
        _ if is_delta(table) => delta::open(session, table, as_of).await,
        None => table::open(session, catalog, table),
        Some(_) => Err(delta::no_earlier_state(&table.full_name())),
    }
}
