//! `CREATE TABLE AS`, `INSERT INTO` and `UNLOAD`: what they write, and what the catalog says afterwards.
//!
//! What becomes visible, and when, is decided in `crate::write`, together with the files: new partitions of a table that is there, or
//! a new table's entry. A table that cannot be entered loses its files again; it was never readable.

use super::format::of_table;
use super::target::{Properties, write_format};
use crate::control::QueryControl;
use crate::query::{Coordinator, Query, QueryRun};
use crate::streams::labelled_batch;
use crate::workspace::Workspace;
use crate::write::After;
use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::arrow::datatypes::{DataType, Fields, TimeUnit};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::scalar::ScalarValue;
use engine::functions::{CHAR_MARK, JSON, type_name};
use engine::write::{HIVE_NULL, TextFormat, WriteFormat, WriteSpec};
use engine::{Error, Result};
use sql::catalog::delta::{is_delta, read_only};
use sql::catalog::location::Location;
use sql::catalog::model::{Column, Parameters};
use sql::catalog::types::HiveType;
use sql::catalog::{Catalog, CatalogError, Partition, PartitionFilter, Table, projection, require_table};
use sql::ddl::{NewTable, TableName as CatalogName, check_written, external_table};
use sql::statement::{CreateTableAs, Insert, TableName, Unload};
use sql::{Bound, Statement, StatementKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A write that is ready to run.
struct Target {
    /// None where no row is to be written.
    write: Option<(LogicalPlan, WriteSpec)>,
    after: After,
}

impl Coordinator {
    /// Runs a statement that writes, to its end; its one row is the number of rows written.
    pub(crate) async fn run_write(
        &self,
        workspace: &Workspace,
        statement: &Statement,
        control: &QueryControl,
    ) -> Result<QueryRun> {
        let run = self.start(control)?;
        let target = match Box::pin(engine::panic::caught("the statement", target(&run, workspace, statement))).await {
            Ok(Some(target)) => target,
            Ok(None) => return ended(&run, 0, control),
            Err(error) => {
                control.failed.send_replace(Some(Box::new(run.receipt(0))));
                return Err(error);
            }
        };
        let Some((plan, spec)) = target.write else {
            target.after.enter_empty(run.id()).await?;
            return ended(&run, 0, control);
        };
        let outcome = self.write_rows(run, plan, &spec, &target.after, control).await?;
        let manifest = outcome.manifest();
        Ok(QueryRun::ended(count(outcome.rows)?, control, outcome.receipt).with_manifest(manifest))
    }
}

fn ended(run: &Query, rows: u64, control: &QueryControl) -> Result<QueryRun> {
    Ok(QueryRun::ended(count(rows)?, control, run.receipt(rows)))
}

fn count(rows: u64) -> Result<datafusion::execution::SendableRecordBatchStream> {
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![i64::try_from(rows).unwrap_or(i64::MAX)]));
    labelled_batch("rows", rows)
}

/// What `statement` writes; none when there is nothing to do.
async fn target(run: &Query, workspace: &Workspace, statement: &Statement) -> Result<Option<Target>> {
    match &statement.kind {
        StatementKind::CreateTableAs(create) => create_table_as(run, workspace, statement, create).await,
        StatementKind::Insert(insert) => self::insert(run, workspace, statement, insert).await.map(Some),
        StatementKind::Unload(unload) => self::unload(run, workspace, statement, unload).await.map(Some),
        _ => Err(Error::internal("a statement that writes nothing")),
    }
}

/// The database of `name`.
fn database<'a>(workspace: &'a Workspace, name: &'a TableName) -> Result<&'a str> {
    if let Some(other) = name.catalog.as_deref().filter(|catalog| *catalog != sql::bind::DEFAULT_CATALOG) {
        return Err(Error::invalid(format!("CATALOG_NOT_FOUND: Catalog '{other}' does not exist")));
    }
    Ok(name.database.as_deref().unwrap_or(&workspace.database))
}

async fn create_table_as(
    run: &Query,
    workspace: &Workspace,
    statement: &Statement,
    create: &CreateTableAs,
) -> Result<Option<Target>> {
    let named = workspace.require_named_catalog(run.registry())?;
    let catalog = &named.catalog;
    let database = database(workspace, &create.name)?;
    let home = catalog.database(database).await?.ok_or_else(|| CatalogError::NoDatabase(database.into()))?;
    if catalog.table(database, &create.name.table).await?.is_some() {
        let name = format!("{}.{database}.{}", sql::bind::DEFAULT_CATALOG, create.name.table);
        return match create.if_not_exists {
            true => Ok(None),
            false => Err(Error::invalid(format!("TABLE_ALREADY_EXISTS: line 1:1: Destination table '{name}' already exists"))),
        };
    }
    let mut properties = Properties::new(&create.properties, "CREATE TABLE AS");
    let format = write_format(&mut properties, Some("PARQUET"))?;
    let partition_by = properties.list("partitioned_by")?;
    let bucketed_by = properties.list("bucketed_by")?;
    let buckets = properties.number("bucket_count")?;
    if properties.text("table_type")?.is_some_and(|kind| !kind.eq_ignore_ascii_case("hive")) {
        return Err(Error::invalid("NOT_SUPPORTED: table_type: only HIVE tables are made here (Iceberg is not supported)"));
    }
    if properties.boolean("is_external")? == Some(false) {
        return Err(properties.wrong("is_external", "Hive tables are external here: leave it out"));
    }
    let location = match properties.text("external_location")? {
        Some(location) => Location::checked(&location, workspace.locations.as_deref())?,
        None => {
            let own = home
                .location_uri
                .or_else(|| workspace.warehouse.as_ref().map(|root| format!("{}/{database}", root.trim_end_matches('/'))));
            let missing =
                || Error::invalid("INVALID_TABLE_PROPERTY: give external_location: there is no warehouse (--warehouse)");
            Location::parse(&own.ok_or_else(missing)?)?.join(&create.name.table).join(&run.id().to_string())
        }
    };
    properties.finish()?;
    let bound = run.bind(workspace, statement).await?;
    let names = column_names(&bound, &create.columns)?;
    let spec = WriteSpec {
        format,
        partition_by,
        bucketed_by: (!bucketed_by.is_empty() || buckets.is_some())
            .then(|| (bucketed_by, usize::try_from(buckets.unwrap_or(0)).unwrap_or(0))),
        must_be_empty: true,
        ..WriteSpec::parquet(location.to_string(), names.clone())
    };
    let table = new_table(&bound, &names, &spec, (database, &create.name.table))?;
    let write = create.with_data.then_some((bound.plan, spec));
    Ok(Some(Target { write, after: After::create(named, table, run.id()) }))
}

/// Names of a new table's columns; each must have one.
fn column_names(bound: &Bound, given: &[String]) -> Result<Vec<String>> {
    if given.is_empty() {
        let unnamed = bound.columns.iter().position(|label| !label.is_given);
        return match unnamed {
            None => Ok(bound.columns.iter().map(|label| label.name.clone()).collect()),
            Some(at) => {
                Err(Error::invalid(format!("MISSING_COLUMN_NAME: line 1:1: Column name not specified at position {}", at + 1)))
            }
        };
    }
    match given.len() == bound.columns.len() {
        true => Ok(given.to_vec()),
        false => Err(Error::invalid(format!(
            "MISMATCHED_COLUMN_ALIASES: line 1:1: Column alias list has {} entries but relation has {} columns",
            given.len(),
            bound.columns.len()
        ))),
    }
}

/// Whether a row without names for its fields is in it; they are called `field0` and so on.
fn is_anonymous(data_type: &DataType) -> bool {
    let all = |fields: &Fields| fields.iter().any(|field| is_anonymous(field.data_type()));
    match data_type {
        DataType::List(item) => is_anonymous(item.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => all(fields),
            _ => false,
        },
        DataType::Struct(fields) => {
            fields.iter().enumerate().all(|(index, field)| *field.name() == format!("field{index}")) || all(fields)
        }
        _ => false,
    }
}

/// Whether a timestamp is in it that Hive's tables, whose timestamps are of milliseconds, would not give back.
fn is_finer_than_millis(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, None) => true,
        DataType::List(item) | DataType::Map(item, _) => is_finer_than_millis(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_finer_than_millis(field.data_type())),
        _ => false,
    }
}

fn new_table(bound: &Bound, names: &[String], spec: &WriteSpec, (database, name): (&str, &str)) -> Result<Table> {
    let typed = bound.plan.schema().fields().iter().zip(&bound.types).zip(names).map(|((field, of), name)| {
        if *of == DataType::Null {
            return Err(Error::invalid(format!("COLUMN_TYPE_UNKNOWN: line 1:1: Column type is unknown: {name}")));
        }
        if *of == JSON {
            let text = format!("NOT_SUPPORTED: column '{name}': Unsupported Hive type: json; use json_format for its text");
            return Err(Error::invalid(text));
        }
        if is_anonymous(of) {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: column '{name}': Anonymous row type is not supported in Hive. Please give each field a name: {}",
                type_name(of)
            )));
        }
        if is_finer_than_millis(of) {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: Incorrect timestamp precision for {}; the configured precision is MILLISECONDS; column name: \
                 {name}; CAST(.. AS timestamp(3)) rounds it",
                type_name(of)
            )));
        }
        if let Some(length) = field.metadata().get(CHAR_MARK) {
            return Ok(Column::new(name, &format!("char({length})")));
        }
        let kind = HiveType::of_arrow(of).map_err(|e| e.context(format!("NOT_SUPPORTED: column '{name}'")))?;
        Ok(Column::new(name, &kind.to_string()))
    });
    let mut columns = typed.collect::<Result<Vec<_>>>()?;
    let partition_keys = columns.split_off(columns.len().saturating_sub(spec.partition_by.len()));
    check_written(&columns, &partition_keys)?;
    let mut new = NewTable { columns, partition_keys, location: Some(spec.location.clone()), ..NewTable::default() };
    if let Some((names, count)) = &spec.bucketed_by {
        new.bucket_columns.clone_from(names);
        new.buckets = i32::try_from(*count).ok();
    }
    match &spec.format {
        WriteFormat::Parquet(_) => new.stored_as = Some("parquet".into()),
        WriteFormat::Json(_) => new.stored_as = Some("json".into()),
        WriteFormat::Text(TextFormat { delimiter, .. }, _) => {
            new.stored_as = Some("textfile".into());
            let delimiter = delimiter.to_string();
            new.serde_properties =
                Parameters::from([("field.delim".into(), delimiter.clone()), ("serialization.format".into(), delimiter)]);
        }
    }
    let name = CatalogName { database: Some(database.into()), name: name.into() };
    Ok(external_table(database, &name, &new, spec.location.clone()))
}

async fn insert(run: &Query, workspace: &Workspace, statement: &Statement, insert: &Insert) -> Result<Target> {
    let named = workspace.require_named_catalog(run.registry())?;
    let catalog = &named.catalog;
    let database = database(workspace, &insert.name)?;
    let table = require_table(catalog.as_ref(), database, &insert.name.table).await?;
    if table.is_view() {
        return Err(Error::invalid("NOT_SUPPORTED: line 1:1: Inserting into views is not supported"));
    }
    if is_delta(&table) {
        return Err(read_only(&table, "INSERT INTO"));
    }
    let missing = || Error::invalid(format!("table {} has no location", table.full_name()));
    let location = table.location().ok_or_else(missing)?.to_string();
    let location = Location::checked(&location, workspace.locations.as_deref())?.to_string();
    let format = of_table(&table)?;
    check_partitions(catalog.as_ref(), &table, &location).await?;
    let bound = run.bind(workspace, statement).await?;
    let columns: Vec<&Column> = table.columns().iter().chain(&table.partition_keys).collect();
    let plan = fitted(bound, &columns, &insert.columns)?;
    let spec = WriteSpec {
        format,
        partition_by: table.partition_keys.iter().map(|key| key.name.clone()).collect(),
        ..WriteSpec::parquet(location, columns.iter().map(|column| column.name.clone()).collect())
    };
    Ok(Target { write: Some((plan, spec)), after: After::Append(named, Box::new(table)) })
}

/// Rows go to the folder of a partition's name; a partition that lies elsewhere would not have them.
async fn check_partitions(catalog: &dyn Catalog, table: &Table, location: &str) -> Result<()> {
    if table.partition_keys.is_empty() {
        return Ok(());
    }
    let refused = |why: String| Err(Error::invalid(format!("NOT_SUPPORTED: INSERT INTO table {}: {why}", table.full_name())));
    if projection::is_enabled(table) {
        return match table.parameters.contains_key("storage.location.template") {
            true => refused("its partitions have a location template".into()),
            false => Ok(()),
        };
    }
    let usual = |partition: &Partition| {
        let values: Vec<Option<String>> =
            partition.values.iter().map(|value| (value != HIVE_NULL).then(|| value.clone())).collect();
        let folder = engine::write::folder_of(table.partition_keys.iter().map(|key| &key.name), &values);
        let expected = format!("{}/{folder}", location.trim_end_matches('/'));
        partition
            .location()
            .is_none_or(|place| Location::parse(place).is_ok_and(|place| place.to_string().trim_end_matches('/') == expected))
    };
    match catalog.partitions(table, &PartitionFilter::default()).await?.iter().find(|partition| !usual(partition)) {
        None => Ok(()),
        Some(partition) => refused(format!("partition {} lies elsewhere than in its own folder", partition.values.join("/"))),
    }
}

/// The plan of `bound` with the columns of a table, in their types: those that `given` names (all when empty), and NULL for the others.
fn fitted(bound: Bound, columns: &[&Column], given: &[String]) -> Result<LogicalPlan> {
    let Bound { plan, types, .. } = bound;
    let given: Vec<&str> = match given.is_empty() {
        true => columns.iter().map(|column| column.name.as_str()).collect(),
        false => given.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = given.iter().find(|name| !columns.iter().any(|column| column.name == **name)) {
        return Err(Error::invalid(format!(
            "COLUMN_NOT_FOUND: line 1:1: Insert column name does not exist in target table: {unknown}"
        )));
    }
    if given.iter().collect::<BTreeSet<_>>().len() != given.len() {
        return Err(Error::invalid("DUPLICATE_COLUMN_NAME: line 1:1: Insert column name is specified more than once"));
    }
    let schema = Arc::clone(plan.schema());
    let mismatch = |columns: &[&Column]| {
        let trino = |column: &&Column| HiveType::parse(&column.hive_type).map_or(column.hive_type.clone(), |kind| kind.trino());
        let expected: Vec<String> = columns.iter().map(trino).collect();
        let found: Vec<String> = types.iter().map(type_name).collect();
        Error::invalid(format!(
            "TYPE_MISMATCH: line 1:1: Insert query has mismatched column types: Table: [{}], Query: [{}]; cast the columns",
            expected.join(", "),
            found.join(", ")
        ))
    };
    let named: Vec<&Column> =
        given.iter().filter_map(|name| columns.iter().copied().find(|column| column.name == **name)).collect();
    if given.len() != schema.fields().len() {
        return Err(mismatch(&named));
    }
    let sources = schema.columns();
    let expressions = columns.iter().map(|column| {
        let hive = HiveType::parse(&column.hive_type)?;
        if hive.has_inner_varchar() || hive.has_char() && !hive.is_plain() {
            let text =
                format!("NOT_SUPPORTED: INSERT into column '{}' of type {hive}: declare the texts in it as string", column.name);
            return Err(Error::invalid(text));
        }
        let kind = hive.arrow();
        let Some(at) = given.iter().position(|name| *name == column.name) else {
            return Ok(cast(lit(ScalarValue::Null), kind).alias(&column.name));
        };
        if !types.get(at).is_some_and(|from| fits(from, &kind)) {
            return Err(mismatch(&named));
        }
        let source = Expr::Column(sources[at].clone());
        let value = match hive {
            HiveType::Varchar(length) | HiveType::Char(length) => {
                sql::stored_text(source, schema.field(at), length, &hive.to_string())?
            }
            _ => cast(source, kind),
        };
        Ok(value.alias(&column.name))
    });
    let expressions = expressions.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlanBuilder::from(plan).project(expressions)?.build()?)
}

/// Whether values of `from` become `to` without a cast in SQL, as Trino's `isCompatible` has it: where the two have a type in common.
/// Numbers are rounded then, and those out of range are errors.
fn fits(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Null, _) => true,
        (DataType::Utf8 | DataType::Utf8View, DataType::Utf8) => true,
        (DataType::Binary | DataType::LargeBinary | DataType::BinaryView, DataType::Binary) => true,
        (DataType::Timestamp(..) | DataType::Date32, DataType::Timestamp(_, None) | DataType::Date32) => true,
        (DataType::List(a), DataType::List(b)) => fits(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| fits(a.data_type(), b.data_type()))
        }
        (DataType::Map(a, _), DataType::Map(b, _)) => fits(a.data_type(), b.data_type()),
        _ => from == to || from.is_numeric() && to.is_numeric(),
    }
}

async fn unload(run: &Query, workspace: &Workspace, statement: &Statement, unload: &Unload) -> Result<Target> {
    let mut properties = Properties::new(&unload.properties, "UNLOAD");
    let format = write_format(&mut properties, None)?;
    let partition_by = properties.list("partitioned_by")?;
    properties.finish()?;
    let location = Location::parse(&unload.location)?;
    let bound = run.bind(workspace, statement).await?;
    let names = bound.columns.iter().map(|label| label.name.clone()).collect();
    // Folders of partitions get more files each time, as in Athena.
    let must_be_empty = partition_by.is_empty();
    let spec = WriteSpec { format, partition_by, must_be_empty, ..WriteSpec::parquet(location.to_string(), names) };
    Ok(Target { write: Some((bound.plan, spec)), after: After::Nothing(workspace.named_catalog(run.registry())?) })
}
