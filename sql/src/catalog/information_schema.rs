//! `information_schema` as Athena has it: built from the catalog when it is asked, of the databases that the query names.

use super::delta::{described, is_delta};
use super::location::Location;
use super::model::Table;
use super::types::HiveType;
use super::view::ViewDefinition;
use super::{CATALOG_NAME, Catalog, CatalogError};
use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use engine::{Error, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use std::collections::HashSet;
use std::sync::Arc;

/// The database's own name.
pub const INFORMATION_SCHEMA: &str = "information_schema";
/// Tables whose logs are read at once.
const CONCURRENT_LOGS: usize = 8;
/// Databases whose tables are listed at once.
const CONCURRENT_DATABASES: usize = 8;

const PLACE: [&str; 3] = ["table_catalog", "table_schema", "table_name"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Schemata,
    Tables,
    Columns,
    Views,
}

impl Kind {
    const ALL: [(Kind, &'static str); 4] =
        [(Kind::Schemata, "schemata"), (Kind::Tables, "tables"), (Kind::Columns, "columns"), (Kind::Views, "views")];

    fn columns(self) -> Vec<&'static str> {
        let more: &[&str] = match self {
            Self::Schemata => return vec!["catalog_name", "schema_name"],
            Self::Tables => &["table_type"],
            Self::Columns => {
                &["column_name", "ordinal_position", "column_default", "is_nullable", "data_type", "comment", "extra_info"]
            }
            Self::Views => &["view_definition"],
        };
        PLACE.iter().chain(more).copied().collect()
    }

    fn schema(self) -> SchemaRef {
        let kind = |name: &str| if name == "ordinal_position" { DataType::Int64 } else { DataType::Utf8 };
        Arc::new(Schema::new(self.columns().into_iter().map(|name| Field::new(name, kind(name), true)).collect::<Vec<_>>()))
    }
}

/// The tables of `information_schema`, by name. Nothing is read before they are scanned.
pub fn information_schema(catalog: Arc<dyn Catalog>) -> Vec<(&'static str, Arc<dyn TableProvider>)> {
    let table = |(kind, name): (Kind, &'static str)| {
        let table = InformationTable { kind, catalog: Arc::clone(&catalog), schema: kind.schema() };
        (name, Arc::new(table) as Arc<dyn TableProvider>)
    };
    Kind::ALL.into_iter().map(table).collect()
}

#[derive(Debug)]
struct InformationTable {
    kind: Kind,
    catalog: Arc<dyn Catalog>,
    schema: SchemaRef,
}

type Row = Vec<Option<String>>;

impl InformationTable {
    /// The databases that `filters` leave, `information_schema` included.
    async fn databases(&self, filters: &[Expr]) -> Result<Vec<String>> {
        let column = if self.kind == Kind::Schemata { "schema_name" } else { "table_schema" };
        let wanted =
            filters.iter().filter_map(|filter| names(filter, column)).reduce(|a, b| a.intersection(&b).cloned().collect());
        let mut names: Vec<String> = match wanted {
            // Asked for by name, one that does not exist is found out below.
            Some(names) if self.kind != Kind::Schemata => names.into_iter().collect(),
            _ => {
                let all = self.catalog.databases().await?.into_iter().map(|database| database.name);
                all.chain([INFORMATION_SCHEMA.to_string()]).collect()
            }
        };
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn rows(&self, session: &dyn Session, filters: &[Expr]) -> Result<Vec<Row>> {
        let databases = self.databases(filters).await?;
        if self.kind == Kind::Schemata {
            return Ok(databases.into_iter().map(|name| vec![Some(CATALOG_NAME.into()), Some(name)]).collect());
        }
        let listings = futures::stream::iter(databases).map(|database| async move {
            if database == INFORMATION_SCHEMA {
                return Ok(own_tables());
            }
            match self.catalog.tables(&database).await {
                // Dropped meanwhile, or a name of the query that is none.
                Err(CatalogError::NoDatabase(_)) => Ok(Vec::new()),
                // A name that no database can have.
                Err(CatalogError::Failed(error)) if error.kind == engine::ErrorKind::InvalidQuery => Ok(Vec::new()),
                tables => tables.map_err(Error::from),
            }
        });
        let tables: Vec<Vec<Table>> = listings.buffered(CONCURRENT_DATABASES).try_collect().await?;
        if self.kind != Kind::Columns {
            return Ok(tables.iter().flatten().flat_map(|table| self.rows_of(table)).collect());
        }
        let wanted = filters.iter().filter_map(|filter| names(filter, "table_name")).next();
        let is_wanted = |table: &Table| wanted.as_ref().is_none_or(|wanted| wanted.contains(&table.name));
        let tables: Vec<Table> = tables.into_iter().flatten().filter(is_wanted).collect();
        let reads: Vec<BoxFuture<'_, Vec<Row>>> =
            tables.into_iter().map(|table| async move { self.columns_of(session, &table).await }.boxed()).collect();
        let rows: Vec<Vec<Row>> = futures::stream::iter(reads).buffered(CONCURRENT_LOGS).collect().await;
        Ok(rows.into_iter().flatten().collect())
    }

    async fn columns_of(&self, session: &dyn Session, table: &Table) -> Vec<Row> {
        if !is_delta(table) {
            return self.rows_of(table);
        }
        let open = |location: &Location| {
            let url = ObjectStoreUrl::parse(&location.store).map_err(Error::from)?;
            session.runtime_env().object_store(&url).map_err(Error::from)
        };
        match described(open, table).await {
            Ok(described) => self.column_rows(table, &described.columns, |column| described.keys.contains(column)),
            // One table that cannot be read does not hide the others.
            Err(_) => self.rows_of(table),
        }
    }

    /// Rows about `columns` of `table`.
    fn column_rows(&self, table: &Table, columns: &[super::Column], is_key: impl Fn(&super::Column) -> bool) -> Vec<Row> {
        let view = table.is_view().then(|| ViewDefinition::of(table).ok()).flatten();
        let row = |(index, column): (usize, &super::Column)| {
            let of_view =
                view.as_ref().and_then(|view| view.columns.iter().find(|known| known.name.eq_ignore_ascii_case(&column.name)));
            let kind = of_view.map(|known| known.trino_type.clone());
            let kind = kind.or_else(|| HiveType::parse_described(&column.hive_type).map(|hive| hive.trino()).ok());
            let more = [
                Some(column.name.clone()),
                Some((index + 1).to_string()),
                None,
                Some("YES".to_string()),
                Some(kind.unwrap_or_else(|| column.hive_type.clone())),
                column.comment.clone(),
                is_key(column).then(|| "partition key".to_string()),
            ];
            place(table).into_iter().chain(more).collect()
        };
        columns.iter().enumerate().map(row).collect()
    }

    fn rows_of(&self, table: &Table) -> Vec<Row> {
        match self.kind {
            Kind::Schemata => Vec::new(),
            Kind::Tables => {
                let kind = if table.is_view() { "VIEW" } else { "BASE TABLE" };
                vec![place(table).into_iter().chain([Some(kind.to_string())]).collect()]
            }
            Kind::Views if table.is_view() => {
                let sql = ViewDefinition::of(table).ok().map(|view| view.original_sql);
                vec![place(table).into_iter().chain([sql]).collect()]
            }
            Kind::Views => Vec::new(),
            Kind::Columns => {
                let all: Vec<super::Column> = table.columns().iter().chain(&table.partition_keys).cloned().collect();
                self.column_rows(table, &all, |column| table.partition_keys.contains(column))
            }
        }
    }

    fn batch(&self, rows: &[Row]) -> Result<RecordBatch> {
        let column = |(index, field): (usize, &Arc<Field>)| -> ArrayRef {
            let values = rows.iter().map(|row| row.get(index).and_then(Option::as_deref));
            match field.data_type() {
                DataType::Int64 => {
                    Arc::new(values.map(|value| value.and_then(|value| value.parse().ok())).collect::<Int64Array>())
                }
                _ => Arc::new(values.collect::<StringArray>()),
            }
        };
        let arrays = self.schema.fields().iter().enumerate().map(column).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| Error::internal(error.to_string()))
    }
}

/// The columns that say where `table` is.
fn place(table: &Table) -> Row {
    vec![Some(CATALOG_NAME.to_string()), Some(table.database_name.clone()), Some(table.name.clone())]
}

/// The tables of `information_schema` itself.
fn own_tables() -> Vec<Table> {
    let table = |(kind, name): (Kind, &str)| {
        let hive = |column: &str| if column == "ordinal_position" { "bigint" } else { "string" };
        let columns = kind.columns().into_iter().map(|column| super::Column::new(column, hive(column))).collect();
        let storage = super::StorageDescriptor { columns, ..super::StorageDescriptor::default() };
        Table {
            database_name: INFORMATION_SCHEMA.into(),
            name: name.into(),
            storage_descriptor: Some(storage),
            ..Table::default()
        }
    };
    Kind::ALL.into_iter().map(table).collect()
}

/// The values that `filter` leaves `column`, if it says so plainly.
fn names(filter: &Expr, column: &str) -> Option<HashSet<String>> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(found) if found.name == column);
    let text = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text), _) => text.clone(),
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let value = if is_column(left) {
                text(right)
            } else if is_column(right) {
                text(left)
            } else {
                None
            };
            value.map(|value| HashSet::from([value]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some(names(left, column)?.union(&names(right, column)?).cloned().collect())
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => match (names(left, column), names(right, column)) {
            (Some(a), Some(b)) => Some(a.intersection(&b).cloned().collect()),
            (a, b) => a.or(b),
        },
        Expr::InList(list) if !list.negated && is_column(&list.expr) => list.list.iter().map(text).collect(),
        _ => None,
    }
}

#[async_trait]
impl TableProvider for InformationTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let batch = self.batch(&self.rows(session, filters).await?)?;
        let table = MemTable::try_new(Arc::clone(&self.schema), vec![vec![batch]])?;
        table.scan(session, projection, &[], None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::json::{JsonCatalog, StoreSharing};
    use crate::catalog::model::{Column, Database, StorageDescriptor};
    use crate::catalog::view::ViewColumn;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;
    use object_store::memory::InMemory;
    use object_store::path::Path;

    #[tokio::test]
    async fn it_is_spelled_as_trino_does() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let catalog = JsonCatalog::new(Arc::new(InMemory::new()), Path::default(), StoreSharing::Shared);
        for name in ["d", "e"] {
            catalog.create_database(&Database { name: name.into(), ..Database::default() }).await?;
        }
        let columns = vec![Column::new("a", "int"), Column { comment: Some("c".into()), ..Column::new("b", "array<string>") }];
        let storage = StorageDescriptor { columns, ..StorageDescriptor::default() };
        let keys = vec![Column::new("p", "date")];
        let table = Table {
            database_name: "d".into(),
            name: "t".into(),
            storage_descriptor: Some(storage),
            partition_keys: keys,
            ..Table::default()
        };
        catalog.create_table(&table).await?;
        let column =
            ViewColumn { name: "x".into(), trino_type: "timestamp(3) with time zone".into(), hive_type: "timestamp".into() };
        let view =
            ViewDefinition { original_sql: "SELECT 1".into(), catalog: CATALOG_NAME.into(), schema: None, columns: vec![column] };
        catalog.create_table(&view.table("d", "v", None)?).await?;

        let context = SessionContext::new();
        for (name, table) in information_schema(Arc::new(catalog)) {
            context.register_table(name, table)?;
        }
        let rows = async |sql: &str| -> std::result::Result<Vec<String>, DataFusionError> {
            let text = pretty_format_batches(&context.sql(sql).await?.collect().await?)?.to_string();
            let lines = text.lines().skip(3).filter(|line| line.starts_with('|'));
            Ok(lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",")).collect())
        };
        assert_eq!(rows("SELECT schema_name FROM schemata ORDER BY 1").await?, ["d", "default", "e", "information_schema"]);
        assert_eq!(
            rows("SELECT * FROM tables WHERE table_schema = 'd' ORDER BY table_name").await?,
            ["awsdatacatalog,d,t,BASE TABLE", "awsdatacatalog,d,v,VIEW"]
        );
        let columns = "SELECT column_name, ordinal_position, column_default, is_nullable, data_type, comment, extra_info FROM columns WHERE table_schema IN ('d') AND table_name = 't' ORDER BY 2";
        assert_eq!(rows(columns).await?, ["a,1,,YES,integer,,", "b,2,,YES,array(varchar),c,", "p,3,,YES,date,,partition key"]);
        assert_eq!(rows("SELECT data_type FROM columns WHERE table_name = 'v'").await?, ["timestamp(3) with time zone"]);
        assert_eq!(rows("SELECT table_name, view_definition FROM views").await?, ["v,SELECT 1"]);
        assert!(rows("SELECT * FROM tables WHERE table_schema = '..'").await?.is_empty());
        assert_eq!(rows("SELECT count(*) FROM tables").await?, ["6"]);
        Ok(())
    }
}
