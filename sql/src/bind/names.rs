//! Names of tables to what can be scanned: a session's own tables, files, and what a catalog resolves.

use super::columns::lower_cased;
use super::versions::Versions;
use super::{DEFAULT_CATALOG, DEFAULT_DATABASE, Label, path, plan_query, views};
use crate::catalog::delta::no_earlier_state;
use crate::catalog::view::ViewColumn;
use crate::catalog::{self, AsOf};
use crate::message::{named, planning_error, unknown_table};
use crate::statement::{Limits, StatementKind, parse};
use crate::tables::{Tables, is_location, open};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlanBuilder, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, ObjectName, Query, Statement as AstStatement, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Location;
use engine::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most views inside each other.
const MAX_VIEW_DEPTH: usize = 32;

/// Functions of Trino's for Teradata, which DataFusion has by the same names with other patterns.
const TERADATA: [&str; 3] = ["to_char", "to_date", "to_timestamp"];

/// What stands behind a name of a catalog.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// A table.
    Table(Arc<dyn TableProvider>),
    /// A query by another name.
    View {
        /// Its text.
        sql: String,
        /// The catalog of names in it that say none.
        catalog: String,
        /// The database of names in it that say none.
        database: String,
        /// Its columns, in order; empty for those of the query.
        columns: Vec<ViewColumn>,
    },
}

/// A catalog, as far as planning asks it.
#[async_trait]
pub trait TableResolver: fmt::Debug + Send + Sync {
    /// The table or view `table` of `database`, both in lower case, as it is or was; none when there is no such.
    async fn resolve(&self, session: &dyn Session, database: &str, table: &str, as_of: Option<AsOf>) -> Result<Option<Resolved>>;

    /// Whether there is such a database; asked when it has no such table.
    async fn has_database(&self, database: &str) -> Result<bool>;

    /// Names of tables of `database`, to suggest one of them.
    async fn table_names(&self, database: &str) -> Result<Vec<String>>;
}

/// What names of a statement mean.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The catalog of names that say none.
    pub catalog: String,
    /// The database of names that say none.
    pub database: String,
    /// Who asks, for `current_user`.
    pub user: String,
    /// Tables that hide those of the default database.
    pub tables: &'a Tables,
    /// Everything else.
    pub resolver: Option<&'a dyn TableResolver>,
    /// What the text of a view may measure.
    pub limits: Limits,
}

impl<'a> Scope<'a> {
    /// The default database with `tables` and no catalog.
    pub fn of(tables: &'a Tables, limits: Limits) -> Self {
        Self {
            catalog: DEFAULT_CATALOG.to_string(),
            database: DEFAULT_DATABASE.to_string(),
            user: "owlet".to_string(),
            tables,
            resolver: None,
            limits,
        }
    }
}

/// Puts what the session knows in place of its names: `current_user`, `current_catalog`, `current_schema`.
pub(super) fn fill_in(query: &mut Query, scope: &Scope<'_>) {
    struct Fill<'a>(&'a Scope<'a>);
    impl VisitorMut for Fill<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, expression: &mut SqlExpr) -> ControlFlow<()> {
            let name = match &*expression {
                SqlExpr::Identifier(ident) if ident.quote_style.is_none() => ident.value.to_lowercase(),
                SqlExpr::Function(function) if function.name.0.len() == 1 => function.name.to_string().to_lowercase(),
                _ => return ControlFlow::Continue(()),
            };
            let value = match name.as_str() {
                "current_user" => &self.0.user,
                "current_catalog" => &self.0.catalog,
                "current_schema" => &self.0.database,
                _ => return ControlFlow::Continue(()),
            };
            *expression = SqlExpr::Value(Value::SingleQuotedString(value.clone()).into());
            ControlFlow::Continue(())
        }
    }
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut Fill(scope));
}

/// The names that WITH gives anywhere in `query`, in lower case.
pub(super) fn names_of_with(query: &Query) -> HashSet<String> {
    struct Collect(HashSet<String>);
    impl Visitor for Collect {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.0.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.to_lowercase()));
            ControlFlow::Continue(())
        }
    }
    let mut collect = Collect(HashSet::new());
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut collect);
    collect.0
}

/// A table's place in the catalog, in lower case.
struct FullName {
    catalog: String,
    database: String,
    table: String,
}

impl FullName {
    fn of(reference: &TableReference, scope: &Scope<'_>) -> Self {
        let lower = |name: Option<&str>, default: &str| name.unwrap_or(default).to_lowercase();
        Self {
            catalog: lower(reference.catalog(), &scope.catalog),
            database: lower(reference.schema(), &scope.database),
            table: reference.table().to_lowercase(),
        }
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.database, self.table)
    }
}

/// What the planner asks about: the tables of one query, and the functions of the session.
pub(super) struct Names<'a> {
    state: &'a SessionState,
    tables: HashMap<TableReference, Arc<dyn TableSource>>,
    with_path: HashSet<String>,
}

impl<'a> Names<'a> {
    /// No tables.
    pub(super) fn none(state: &'a SessionState) -> Self {
        Self { state, tables: HashMap::new(), with_path: HashSet::new() }
    }

    /// Opens the tables that `query` names, some of them as they were.
    pub(super) async fn of(
        state: &'a SessionState,
        scope: &Scope<'_>,
        query: &Query,
        versions: &Versions,
        depth: usize,
    ) -> Result<Self> {
        let statement = ParsedStatement::Statement(Box::new(AstStatement::Query(Box::new(query.clone()))));
        let references = state.resolve_table_references(&statement).map_err(|error| planning_error(error, Some(query)))?;
        let mut tables = HashMap::with_capacity(references.len());
        let names_of_with = path::is_asked(query).then(|| names_of_with(query));
        let mut with_path = HashSet::new();
        for reference in references {
            if tables.contains_key(&reference) || state.table_functions().contains_key(reference.table()) {
                continue;
            }
            let place = table_place(query, reference.table());
            let found = match versions.get(reference.table()) {
                Some((name, as_of)) => find_as_of(state, scope, (&reference, name, *as_of), place).await?,
                None => find(state, scope, &reference, place, depth).await?,
            };
            let name = reference.table().to_lowercase();
            let can_have_path = names_of_with.as_ref().is_some_and(|names| !names.contains(&name));
            let more = if can_have_path { catalog::with_path(&found)? } else { None };
            if more.is_some() {
                with_path.insert(name);
            }
            let provider = lower_cased(more.unwrap_or(found), reference.table())?;
            tables.insert(reference, provider_as_source(provider));
        }
        Ok(Self { state, tables, with_path })
    }

    /// The tables that have the column `"$path"`, by their names in lower case.
    pub(super) fn with_path(&self) -> &HashSet<String> {
        &self.with_path
    }

    pub(super) fn state(&self) -> &SessionState {
        self.state
    }
}

/// The table `name`, which `reference` stands for, as it was.
async fn find_as_of(
    state: &SessionState,
    scope: &Scope<'_>,
    (reference, name, as_of): (&TableReference, &str, AsOf),
    place: Option<Location>,
) -> Result<Arc<dyn TableProvider>> {
    let full = FullName { table: name.to_lowercase(), ..FullName::of(reference, scope) };
    if full.catalog != scope.catalog && full.catalog != DEFAULT_CATALOG {
        return Err(named("CATALOG_NOT_FOUND", place, &format!("Catalog '{}' does not exist", full.catalog)));
    }
    let is_own = full.database == scope.database && scope.tables.location(name).is_some();
    let resolver = scope.resolver.filter(|_| !is_own && !is_location(name));
    let Some(resolver) = resolver else { return Err(located(no_earlier_state(name), place)) };
    match resolver.resolve(state, &full.database, &full.table, Some(as_of)).await.map_err(|error| located(error, place))? {
        Some(Resolved::Table(provider)) => Ok(provider),
        Some(Resolved::View { .. }) => Err(located(no_earlier_state(name), place)),
        None => Err(missing(scope, &full, place, false, &resolver.table_names(&full.database).await.unwrap_or_default())),
    }
}

async fn find(
    state: &SessionState,
    scope: &Scope<'_>,
    reference: &TableReference,
    place: Option<Location>,
    depth: usize,
) -> Result<Arc<dyn TableProvider>> {
    let name = FullName::of(reference, scope);
    if name.catalog != scope.catalog && name.catalog != DEFAULT_CATALOG {
        return Err(named("CATALOG_NOT_FOUND", place, &format!("Catalog '{}' does not exist", name.catalog)));
    }
    let is_default = name.catalog == scope.catalog && name.database == scope.database;
    if is_default && let Some(location) = scope.tables.location(reference.table()) {
        return open(state, location).await;
    }
    if reference.schema().is_none() && is_location(reference.table()) {
        let opened = open(state, reference.table()).await;
        return opened.map_err(|error| located(error, place));
    }
    let Some(resolver) = scope.resolver else { return Err(missing(scope, &name, place, is_default, &[])) };
    match resolver.resolve(state, &name.database, &name.table, None).await.map_err(|error| located(error, place))? {
        Some(Resolved::Table(provider)) => Ok(provider),
        Some(view) => {
            let planned = plan_view(state, scope, view, depth).await;
            planned.map_err(|error| match error.kind {
                // Views that name themselves would fill the message.
                ErrorKind::LimitExceeded => error,
                _ => error.context(format!("view '{name}'")),
            })
        }
        None if !resolver.has_database(&name.database).await? => {
            Err(named("SCHEMA_NOT_FOUND", place, &format!("Schema '{}' does not exist", name.database)))
        }
        None => {
            let names = resolver.table_names(&name.database).await?;
            Err(missing(scope, &name, place, is_default, &names))
        }
    }
}

fn missing(scope: &Scope<'_>, name: &FullName, place: Option<Location>, is_default: bool, others: &[String]) -> Error {
    let own = scope.tables.names().filter(|_| is_default);
    let known: Vec<&str> = own.chain(others.iter().map(String::as_str)).collect();
    unknown_table(&name.to_string(), &name.table, place, &known)
}

fn located(mut error: Error, place: Option<Location>) -> Error {
    if let Some(place) = place.filter(|place| place.line > 0) {
        error.message = format!("line {}:{}: {}", place.line, place.column, error.message);
    }
    error
}

async fn plan_view(state: &SessionState, scope: &Scope<'_>, view: Resolved, depth: usize) -> Result<Arc<dyn TableProvider>> {
    let Resolved::View { sql, catalog, database, columns } = view else { return Err(Error::internal("not a view")) };
    if depth >= MAX_VIEW_DEPTH {
        let message = format!("views nest more than {MAX_VIEW_DEPTH} deep, or name themselves");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let mut statements = parse(&sql, scope.limits)?;
    let query = match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) if statement.kind == StatementKind::Rows => statement.query().cloned(),
        _ => None,
    };
    let Some(query) = query else { return Err(Error::invalid("the text of the view is not one query")) };
    let tables = Tables::default();
    // A view means the same whatever tables a session has of its own.
    let inside = Scope { catalog, database, tables: &tables, ..scope.clone() };
    let (plan, types) = Box::pin(plan_query(state, &inside, query, depth + 1, None)).await?;
    let found: Vec<Label> = super::labels(&plan);
    if !columns.is_empty() && columns.len() != found.len() {
        let (made, now) = (columns.len(), found.len());
        return Err(views::stale(&format!("the view was made with {made} columns and its query has {now} now")));
    }
    let mut shown = Vec::with_capacity(found.len());
    for (place, (column, label)) in plan.schema().columns().into_iter().zip(found).enumerate() {
        let column = Expr::Column(column);
        shown.push(match columns.get(place) {
            Some(declared) => views::as_declared(column, &label, types.get(place), declared)?,
            None => column.alias(label.name),
        });
    }
    let plan = LogicalPlanBuilder::from(plan).project(shown).and_then(LogicalPlanBuilder::build);
    let plan = plan.map_err(|error| planning_error(error, None))?;
    Ok(Arc::new(ViewTable::new(plan, Some(sql))))
}

/// Where the table `name` stands in the text.
fn table_place(query: &Query, name: &str) -> Option<Location> {
    struct Find<'a>(&'a str);
    impl Visitor for Find<'_> {
        type Break = Location;
        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Location> {
            let part =
                |part: Option<&datafusion::sql::sqlparser::ast::ObjectNamePart>| -> Option<Ident> { part?.as_ident().cloned() };
            let is_found = part(relation.0.last()).is_some_and(|ident| ident.value.eq_ignore_ascii_case(self.0));
            match part(relation.0.first()).filter(|_| is_found) {
                Some(first) => ControlFlow::Break(first.span.start),
                None => ControlFlow::Continue(()),
            }
        }
    }
    match query.visit(&mut Find(name)) {
        ControlFlow::Break(place) => Some(place),
        ControlFlow::Continue(()) => None,
    }
}

impl ContextProvider for Names<'_> {
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(crate::dialect::types::AthenaTypes))
    }

    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>, DataFusionError> {
        let found = self.tables.get(&name).map(Arc::clone);
        found.ok_or_else(|| DataFusionError::Plan(format!("table '{name}' not found")))
    }

    fn get_table_function_source(&self, name: &str, _: Vec<Expr>) -> Result<Arc<dyn TableSource>, DataFusionError> {
        Err(DataFusionError::NotImplemented(format!("the table function {name}")))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>, DataFusionError> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let function = self.state.scalar_functions().get(name).filter(|_| !TERADATA.contains(&name));
        function.map(Arc::clone)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).map(Arc::clone)
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).map(Arc::clone)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).map(Arc::clone)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
