//! DDL and utility statements as values.

use crate::catalog::model::{Column, Parameters, SortColumn};
use crate::catalog::partition_filter::Comparison;

/// A name, of which the database may be left out. Lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableName {
    /// The database, if it was written.
    pub database: Option<String>,
    /// The table.
    pub name: String,
}

/// `(key = value, ..)` of one partition.
pub type PartitionSpec = Vec<(String, String)>;

/// A pattern of `SHOW`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NamePattern {
    /// Hive's: `*` for any text, `|` between alternatives.
    Hive(String),
    /// `LIKE` of SQL: `%` and `_`.
    Like(String),
}

/// A new partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPartition {
    /// Its values.
    pub spec: PartitionSpec,
    /// Where it is, if not in the folder of its name.
    pub location: Option<String>,
}

/// Conditions on partitions that are dropped.
pub type PartitionConditions = Vec<(String, Comparison, String)>;

/// The body of `CREATE EXTERNAL TABLE`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NewTable {
    /// Columns.
    pub columns: Vec<Column>,
    /// Comment.
    pub comment: Option<String>,
    /// Partition keys.
    pub partition_keys: Vec<Column>,
    /// CLUSTERED BY.
    pub bucket_columns: Vec<String>,
    /// SORTED BY.
    pub sort_columns: Vec<SortColumn>,
    /// INTO n BUCKETS.
    pub buckets: Option<i32>,
    /// ROW FORMAT SERDE.
    pub serde: Option<String>,
    /// SERDEPROPERTIES, and what ROW FORMAT DELIMITED says.
    pub serde_properties: Parameters,
    /// STORED AS a name.
    pub stored_as: Option<String>,
    /// STORED AS INPUTFORMAT .. OUTPUTFORMAT.
    pub formats: Option<(String, String)>,
    /// LOCATION.
    pub location: Option<String>,
    /// TBLPROPERTIES.
    pub properties: Parameters,
}

/// A change of a table.
#[derive(Clone, PartialEq, Debug)]
pub enum Alteration {
    /// ADD PARTITION.
    AddPartitions {
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// The partitions.
        partitions: Vec<NewPartition>,
    },
    /// DROP PARTITION.
    DropPartitions {
        /// IF EXISTS.
        if_exists: bool,
        /// What each partition to drop meets, one of them.
        conditions: Vec<PartitionConditions>,
    },
    /// PARTITION .. RENAME TO PARTITION.
    RenamePartition {
        /// Old values.
        from: PartitionSpec,
        /// New values.
        to: PartitionSpec,
    },
    /// ADD COLUMNS.
    AddColumns(Vec<Column>),
    /// REPLACE COLUMNS.
    ReplaceColumns(Vec<Column>),
    /// CHANGE COLUMN.
    ChangeColumn {
        /// Old name.
        name: String,
        /// What it becomes.
        column: Column,
        /// Where it goes: `Some(None)` is FIRST.
        place: Option<Option<String>>,
    },
    /// SET LOCATION, of the table or a partition.
    SetLocation {
        /// The partition.
        partition: Option<PartitionSpec>,
        /// The folder.
        location: String,
    },
    /// SET TBLPROPERTIES.
    SetProperties(Parameters),
    /// RENAME TO.
    Rename(TableName),
}

/// A DDL or utility statement.
#[derive(Clone, PartialEq, Debug)]
pub enum DdlStatement {
    /// CREATE DATABASE.
    CreateDatabase {
        /// Name.
        name: String,
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// COMMENT.
        comment: Option<String>,
        /// LOCATION.
        location: Option<String>,
        /// DBPROPERTIES.
        properties: Parameters,
    },
    /// ALTER DATABASE SET DBPROPERTIES.
    AlterDatabase {
        /// Name.
        name: String,
        /// What is set.
        properties: Parameters,
    },
    /// DROP DATABASE.
    DropDatabase {
        /// Name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
        /// CASCADE.
        cascade: bool,
    },
    /// CREATE EXTERNAL TABLE.
    CreateTable {
        /// Name.
        name: TableName,
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// Everything else.
        table: Box<NewTable>,
    },
    /// CREATE VIEW.
    CreateView {
        /// Name.
        name: TableName,
        /// OR REPLACE.
        or_replace: bool,
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// Names of columns, empty when the query's are taken.
        columns: Vec<String>,
        /// COMMENT.
        comment: Option<String>,
        /// The query's text behind as many blanks and lines as there are before it in the statement, so that errors have their places.
        query: String,
    },
    /// DROP TABLE.
    DropTable {
        /// Name.
        name: TableName,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// DROP VIEW.
    DropView {
        /// Name.
        name: TableName,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// ALTER TABLE.
    AlterTable {
        /// Name.
        name: TableName,
        /// What changes.
        alteration: Alteration,
    },
    /// MSCK REPAIR TABLE.
    Repair(TableName),
    /// SHOW DATABASES.
    ShowDatabases(Option<NamePattern>),
    /// SHOW TABLES.
    ShowTables {
        /// IN.
        database: Option<String>,
        /// Which.
        pattern: Option<NamePattern>,
    },
    /// SHOW VIEWS.
    ShowViews {
        /// IN.
        database: Option<String>,
        /// Which.
        pattern: Option<NamePattern>,
    },
    /// SHOW COLUMNS.
    ShowColumns(TableName),
    /// SHOW PARTITIONS.
    ShowPartitions(TableName),
    /// SHOW CREATE TABLE.
    ShowCreateTable(TableName),
    /// SHOW CREATE VIEW.
    ShowCreateView(TableName),
    /// SHOW TBLPROPERTIES.
    ShowProperties {
        /// Name.
        name: TableName,
        /// One property.
        key: Option<String>,
    },
    /// SHOW FUNCTIONS, which is the session's to answer.
    ShowFunctions(Option<NamePattern>),
    /// DESCRIBE.
    Describe {
        /// Name.
        name: TableName,
        /// EXTENDED or FORMATTED.
        extended: bool,
        /// PARTITION.
        partition: Option<PartitionSpec>,
        /// One column.
        column: Option<String>,
    },
}

impl DdlStatement {
    /// The names that Athena gives the statement: `StatementType` and `SubstatementType`.
    pub fn types(&self) -> (&'static str, &'static str) {
        let utility = |name| ("UTILITY", name);
        let ddl = |name| ("DDL", name);
        match self {
            Self::CreateDatabase { .. } => ddl("CREATE_DATABASE"),
            Self::AlterDatabase { .. } => ddl("ALTER_DATABASE"),
            Self::DropDatabase { .. } => ddl("DROP_DATABASE"),
            Self::CreateTable { .. } => ddl("CREATE_TABLE"),
            Self::CreateView { .. } => ddl("CREATE_VIEW"),
            Self::DropTable { .. } => ddl("DROP_TABLE"),
            Self::DropView { .. } => ddl("DROP_VIEW"),
            Self::Repair(_) => ddl("MSCK_REPAIR"),
            Self::AlterTable { alteration, .. } => ddl(match alteration {
                Alteration::AddPartitions { .. } => "ALTER_TABLE_ADD_PARTITION",
                Alteration::DropPartitions { .. } => "ALTER_TABLE_DROP_PARTITION",
                Alteration::RenamePartition { .. } => "ALTER_TABLE_RENAME_PARTITION",
                Alteration::AddColumns(_) => "ALTER_TABLE_ADD_COLUMN",
                Alteration::ReplaceColumns(_) => "ALTER_TABLE_REPLACE_COLUMN",
                Alteration::ChangeColumn { .. } => "ALTER_TABLE_CHANGE_COLUMN",
                Alteration::SetLocation { .. } => "ALTER_TABLE_SET_LOCATION",
                Alteration::SetProperties(_) => "ALTER_TABLE_PROPERTIES",
                Alteration::Rename(_) => "ALTER_TABLE_RENAME",
            }),
            Self::ShowDatabases(_) => utility("SHOW_DATABASES"),
            Self::ShowTables { .. } => utility("SHOW_TABLES"),
            Self::ShowViews { .. } => utility("SHOW_VIEWS"),
            Self::ShowColumns(_) => utility("SHOW_COLUMNS"),
            Self::ShowPartitions(_) => utility("SHOW_PARTITIONS"),
            Self::ShowCreateTable(_) => utility("SHOW_CREATE_TABLE"),
            Self::ShowCreateView(_) => utility("SHOW_CREATE_VIEW"),
            Self::ShowProperties { .. } => utility("SHOW_TBLPROPERTIES"),
            Self::ShowFunctions(_) => utility("SHOW_FUNCTIONS"),
            Self::Describe { .. } => utility("DESCRIBE_TABLE"),
        }
    }
}
