//! Statements about databases, tables, partitions and views, and what a session shows of its own tables.

use crate::deep_stack::on_deep_stack;
use crate::query::Query;
use crate::streams::nothing;
use crate::workspace::{CatalogTables, Workspace};
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::context::SessionContext;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use engine::storage::StoreRegistry;
use engine::{Error, Result};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use sql::bind::DEFAULT_DATABASE;
use sql::catalog::types::HiveType;
use sql::catalog::{Catalog, Column, Database, JsonCatalog, StoreSharing};
use sql::ddl::{DdlContext, DdlOutcome, DdlStatement, DescribeQuery, NewTable, OpenStore, TableName, external_table};
use sql::tables::is_location;
use sql::{Bound, Limits, Scope, Statement, StatementKind, TableResolver};
use std::sync::Arc;
use url::Url;

/// Rows at hand, or a plan that gives them.
pub(crate) enum Shown {
    /// Rows.
    Stream(SendableRecordBatchStream),
    /// A plan.
    Plan(Box<Bound>),
}

/// What a DDL or utility statement gives.
pub(super) async fn answer(query: &Query, workspace: &Workspace, statement: &Statement) -> Result<Shown> {
    let parsed = match sql::ddl::parse(&statement.text) {
        Some(parsed) => parsed?,
        None => return Ok(Shown::Plan(Box::new(query.bind(workspace, statement).await?))),
    };
    if let DdlStatement::ShowColumns(name) | DdlStatement::Describe { name, .. } = &parsed
        && is_of_session(workspace, name)
    {
        return match workspace.tables.location(&name.name).map(str::to_string) {
            Some(location) => {
                let catalog = own_table(query, workspace, &name.name, &location).await?;
                Ok(Shown::Stream(rows(&run(query, workspace, catalog, parsed).await?)?))
            }
            None => Ok(Shown::Plan(Box::new(query.bind(workspace, statement).await?))),
        };
    }
    let is_list = matches!(parsed, DdlStatement::ShowTables { database: None, pattern: None });
    let (statement_type, substatement_type) = parsed.types();
    let mut outcome = match workspace.catalog {
        None if is_list => {
            let columns = vec![("tab_name".into(), "string".into())];
            DdlOutcome { columns, rows: Vec::new(), statement_type, substatement_type }
        }
        _ => run(query, workspace, workspace.require_catalog(query.registry())?, parsed).await?,
    };
    if is_list {
        let own = workspace.tables.names().map(|name| vec![Some(name.to_string())]);
        outcome.rows.extend(own);
        outcome.rows.sort();
        outcome.rows.dedup();
    }
    Ok(Shown::Stream(rows(&outcome)?))
}

fn is_of_session(workspace: &Workspace, name: &TableName) -> bool {
    let in_session = name.database.as_ref().is_none_or(|database| *database == workspace.database);
    in_session && (workspace.tables.location(&name.name).is_some() || is_location(&name.name))
}

/// A catalog with nothing but the session's table `name` at `location`.
async fn own_table(query: &Query, workspace: &Workspace, name: &str, location: &str) -> Result<Arc<dyn Catalog>> {
    let session = query.session().clone();
    let place = location.to_string();
    let opened = on_deep_stack(async move { sql::tables::open(&session, &place).await }).await?;
    let schema = opened.schema();
    let columns = schema.fields().iter().map(|field| {
        let kind = HiveType::of_arrow(field.data_type());
        Column::new(
            &field.name().to_lowercase(),
            &kind.map_or_else(|_| field.data_type().to_string().to_lowercase(), |kind| kind.to_string()),
        )
    });
    let new = NewTable { columns: columns.collect(), stored_as: Some("parquet".into()), ..NewTable::default() };
    let table_name = TableName { database: None, name: name.to_string() };
    let catalog = JsonCatalog::new(Arc::new(InMemory::new()), Path::default(), StoreSharing::Shared);
    if workspace.database != DEFAULT_DATABASE {
        catalog.create_database(&Database { name: workspace.database.clone(), ..Database::default() }).await?;
    }
    catalog.create_table(&external_table(&workspace.database, &table_name, &new, location.to_string())).await?;
    Ok(Arc::new(catalog))
}

async fn run(query: &Query, workspace: &Workspace, catalog: Arc<dyn Catalog>, statement: DdlStatement) -> Result<DdlOutcome> {
    let stores = Stores(Arc::clone(query.registry()));
    let session = query.session().clone();
    let limits = Limits::from(query.settings());
    let planner = ViewPlanner { session, workspace: workspace.clone(), catalog: Arc::clone(&catalog), limits };
    let workspace = workspace.clone();
    on_deep_stack(async move {
        let mut functions: Vec<String> = planner.session.scalar_functions().keys().cloned().collect();
        functions.extend(planner.session.aggregate_functions().keys().cloned());
        functions.extend(planner.session.window_functions().keys().cloned());
        functions.extend(planner.session.higher_order_functions().keys().cloned());
        functions.sort();
        functions.dedup();
        let context = DdlContext {
            database: &workspace.database,
            warehouse: workspace.warehouse.as_deref(),
            locations: workspace.locations.as_deref(),
            stores: &stores,
            queries: &planner,
            functions: &functions,
        };
        sql::ddl::execute(&statement, catalog.as_ref(), &context).await
    })
    .await
}

/// Stores of locations that a statement names.
struct Stores(Arc<StoreRegistry>);

impl OpenStore for Stores {
    fn open(&self, store: &str) -> Result<Arc<dyn ObjectStore>> {
        let url = Url::parse(store).map_err(|e| Error::internal(format!("store '{store}': {e}")))?;
        self.0.counted_store(&url)
    }
}

/// Plans the queries of views.
struct ViewPlanner {
    session: SessionState,
    workspace: Workspace,
    catalog: Arc<dyn Catalog>,
    limits: Limits,
}

#[async_trait]
impl DescribeQuery for ViewPlanner {
    async fn columns(&self, query: &str, database: &str, own: (&str, &str)) -> Result<SchemaRef> {
        let mut statements = sql::parse(query, self.limits)?;
        let statement = statements.pop().filter(|statement| statement.kind == StatementKind::Rows && statement.is_query());
        let (Some(statement), true) = (statement, statements.is_empty()) else {
            return Err(Error::invalid("SYNTAX_ERROR: line 1:1: a view is one query"));
        };
        // Nobody could give it values later.
        let statement = sql::with_parameters(statement, &[])?;
        let resolver = CatalogTables::new(Arc::clone(&self.catalog)).without(own);
        // A view outlives the session: it sees tables of the catalog only.
        let tables = sql::Tables::default();
        let scope = Scope {
            database: database.to_string(),
            user: self.workspace.user.clone(),
            resolver: Some(&resolver as &dyn TableResolver),
            ..Scope::of(&tables, self.limits)
        };
        let bound = sql::bind(&SessionContext::new_with_state(self.session.clone()), &scope, &statement).await?;
        let fields = bound.plan.schema().fields().iter().zip(&bound.types).zip(&bound.columns);
        let fields = fields.map(|((field, of), label)| {
            let name = if label.is_given { label.name.as_str() } else { "" };
            field.as_ref().clone().with_name(name).with_data_type(of.clone())
        });
        let fields: Vec<Field> = fields.collect();
        Ok(Arc::new(Schema::new(fields)))
    }
}

fn split_row(row: &[Option<String>]) -> Vec<Option<String>> {
    match row {
        [Some(line)] => line.split('\t').map(|part| Some(part.trim().to_string())).collect(),
        other => other.to_vec(),
    }
}

/// An outcome as rows of text.
fn rows(outcome: &DdlOutcome) -> Result<SendableRecordBatchStream> {
    if outcome.columns.is_empty() {
        return Ok(nothing());
    }
    // Athena gives such rows as one text with tabs; here each part has its column.
    let parts: Vec<Vec<Option<String>>> = match outcome.columns.len() {
        0 | 1 => outcome.rows.clone(),
        _ => outcome.rows.iter().map(|row| split_row(row)).collect(),
    };
    let columns: Vec<ArrayRef> = (0..outcome.columns.len())
        .map(|index| {
            let values = parts.iter().map(|row| row.get(index).cloned().flatten());
            Arc::new(values.collect::<StringArray>()) as ArrayRef
        })
        .collect();
    let fields: Vec<Field> = outcome.columns.iter().map(|(name, _)| Field::new(name, DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]))))
}
