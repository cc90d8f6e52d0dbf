//! The scan of files whose columns, and partition values, are known: what tables of every kind come down to.

use super::format::TableFormat;
use super::json::{JsonTable, ROW, elements};
use super::listing::FileSet;
use super::text::TextFormat;
use super::{names, shape};
use crate::catalog::model::Table;
use crate::catalog::types::HiveType;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Statistics};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::physical_plan::{CsvSource, FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use engine::columns::{FieldId, adapted};
use engine::functions::CHAR_MARK;
use engine::{Error, Result, deletions};
use std::sync::Arc;

/// The column with the file that a row comes from, as a URL; queries that name it have it behind the partition columns.
pub(crate) const PATH: &str = "$path";

/// A column as the catalog says and as plans have it.
#[derive(Clone, Debug)]
pub(in crate::catalog) struct TypedColumn {
    /// Its name in the files, in lower case.
    pub(in crate::catalog) name: String,
    pub(in crate::catalog) hive: HiveType,
    /// Its name and type in plans.
    pub(in crate::catalog) field: Arc<Field>,
    /// Its type with the names that fields of structs have in files, where those differ.
    pub(super) stored: Option<DataType>,
    /// Its id in files, where those go before names.
    pub(super) id: Option<FieldId>,
}

impl TypedColumn {
    /// The column `name`, which files call `physical`; strings as views where `views` says so.
    pub(in crate::catalog) fn new(name: &str, physical: &str, hive: HiveType, views: bool) -> Self {
        let arrow = match hive.arrow() {
            DataType::Utf8 if views => DataType::Utf8View,
            DataType::Binary if views => DataType::BinaryView,
            other => other,
        };
        let mut field = Field::new(name.to_lowercase(), arrow, true);
        if let HiveType::Char(length) = hive {
            field = field.with_data_type(DataType::Utf8).with_metadata([(CHAR_MARK.to_string(), length.to_string())].into());
        }
        let field = Arc::new(field);
        Self { name: physical.to_lowercase(), field, hive, stored: None, id: None }
    }

    /// The same for files that have its type as `stored`, and know it by its `id`.
    #[cfg(feature = "delta")]
    pub(in crate::catalog) fn in_files(self, stored: &HiveType, id: Option<FieldId>) -> Self {
        let stored = Some(stored.arrow()).filter(|_| *stored != self.hive);
        Self { stored, id, ..self }
    }

    /// The column as it is in files.
    fn declared(&self) -> Field {
        Field::new(&self.name, self.stored.as_ref().unwrap_or(self.field.data_type()).clone(), true)
    }
}

/// Columns of files, and of partitions behind them.
#[derive(Debug)]
pub(in crate::catalog) struct FileTable {
    /// What messages call it.
    table: Table,
    format: TableFormat,
    columns: Vec<TypedColumn>,
    pub(in crate::catalog) keys: Vec<TypedColumn>,
    schema: SchemaRef,
    /// Whether the last of the keys is [`PATH`].
    has_path: bool,
}

impl FileTable {
    pub(in crate::catalog) fn new(
        table: &Table,
        format: TableFormat,
        columns: Vec<TypedColumn>,
        keys: Vec<TypedColumn>,
    ) -> Result<Self> {
        let place = |error: Error| error.context(format!("table {}", table.full_name()));
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = columns.iter().chain(&keys).find(|column| !names.insert(column.field.name().as_str())) {
            return Err(place(Error::invalid(format!("HIVE_INVALID_METADATA: duplicate column {}", twice.field.name()))));
        }
        if let Some(key) = keys.iter().find(|key| !key.hive.is_plain() || key.hive.has_char()) {
            return Err(place(Error::invalid(format!("a partition column of type {} is not supported", key.hive))));
        }
        let schema =
            Arc::new(Schema::new(columns.iter().chain(&keys).map(|column| Arc::clone(&column.field)).collect::<Fields>()));
        Ok(Self { table: table.clone(), format, columns, keys, schema, has_path: false })
    }

    /// The same with the column [`PATH`], for whose values [`super::listing::list`] cares.
    pub(super) fn with_path(&self) -> Result<Self> {
        let path = TypedColumn::new(PATH, PATH, HiveType::String, false);
        let keys = self.keys.iter().cloned().chain([path]).collect();
        Ok(Self { has_path: true, ..Self::new(&self.table, self.format.clone(), self.columns.clone(), keys)? })
    }

    /// The columns of partitions, without [`PATH`].
    pub(super) fn partition_keys(&self) -> &[TypedColumn] {
        &self.keys[..self.keys.len() - usize::from(self.has_path())]
    }

    /// Whether it has the column [`PATH`].
    pub(super) fn has_path(&self) -> bool {
        self.has_path
    }

    pub(in crate::catalog) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn is_text(&self) -> bool {
        self.format.is_text()
    }

    /// Whether `filter` names nothing but partition columns.
    pub(in crate::catalog) fn is_partition_filter(&self, filter: &Expr) -> bool {
        let names: Vec<&str> = self.partition_keys().iter().map(|key| key.field.name().as_str()).collect();
        // Subqueries are planned with the rest of the query.
        !names.is_empty() && !has_query(filter) && expr_applicable_for_cols(&names, filter)
    }

    /// What a query asks for that cannot be given right.
    pub(in crate::catalog) fn check_columns(&self, projection: &[usize]) -> Result<()> {
        for column in projection.iter().filter_map(|index| self.columns.get(*index)) {
            if column.hive.has_char() && !column.hive.is_plain() {
                let text = format!(
                    "NOT_SUPPORTED: column {} of table {} is {}: char(n) inside of other types is not filled up with spaces here; declare it as string",
                    column.name,
                    self.table.full_name(),
                    column.hive
                );
                return Err(Error::invalid(text));
            }
            if column.hive.has_inner_varchar() {
                let text = format!(
                    "NOT_SUPPORTED: column {} of table {} is {}: varchar(n) inside of other types is not cut to its length here; declare it as string",
                    column.name,
                    self.table.full_name(),
                    column.hive
                );
                return Err(Error::invalid(text));
            }
            self.format.check_column(&column.name, &column.hive)?;
        }
        Ok(())
    }

    /// Whether lines hold several rows, so that they are read whatever is asked for.
    fn has_records(&self) -> bool {
        matches!(&self.format, TableFormat::Json(json) if json.has_records())
    }

    /// The scan of files that are in one store and alike compressed.
    async fn scan_set(
        &self,
        session: &dyn Session,
        set: FileSet,
        projection: &[usize],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let url = ObjectStoreUrl::parse(&set.store).map_err(Error::from)?;
        let store = session.runtime_env().object_store(&url).map_err(Error::from)?;
        let metas: Vec<_> = set.files.iter().map(|file| file.object_meta.clone()).collect();
        let is_deletions = |column: &TypedColumn| column.name == deletions::COLUMN || column.field.name() == deletions::COLUMN;
        if set.deleted_rows.is_some() && self.columns.iter().chain(&self.keys).any(is_deletions) {
            return Err(Error::invalid(format!("NOT_SUPPORTED: a column {} beside deletion vectors", deletions::COLUMN)));
        }
        let deletions = set.deleted_rows.map(|_| Arc::new(deletions::field()));
        let keys: Vec<Arc<Field>> = self.keys.iter().map(|key| Arc::clone(&key.field)).chain(deletions).collect();
        let mut rows = Precision::Absent;
        let (file_schema, reader): (Schema, Option<Arc<dyn FileFormat>>) = match &self.format {
            TableFormat::Parquet => {
                let declared = Schema::new(self.columns.iter().map(TypedColumn::declared).collect::<Vec<_>>());
                let mut columns = names::table_columns(&self.table, &self.columns);
                columns.has_deletions = set.deleted_rows.is_some();
                rows = names::rows_of_parquet(session, &store, &metas, &declared, projection, &columns).await?;
                rows = names::without_deleted(rows, set.deleted_rows.unwrap_or(0), &columns)?;
                (declared, Some(Arc::new(names::parquet_format(&columns)?)))
            }
            TableFormat::Json(_) | TableFormat::Text(_) => (Schema::new(vec![TextFormat::line_field()]), None),
        };
        let file_schema = Arc::new(file_schema);
        let table_schema = TableSchema::builder(Arc::clone(&file_schema)).with_table_partition_cols(keys).build();
        let source: Arc<dyn FileSource> = match (&reader, &self.format) {
            (Some(reader), _) => reader.file_source(table_schema.clone()),
            (None, TableFormat::Text(text)) => Arc::new(CsvSource::new(table_schema.clone()).with_csv_options(text.options())),
            (None, TableFormat::Json(json)) => Arc::new(CsvSource::new(table_schema.clone()).with_csv_options(json.options())),
            (None, TableFormat::Parquet) => return Err(Error::internal("a format without a reader")),
        };
        let bytes = set.files.iter().map(|file| file.object_meta.size).sum::<u64>();
        let statistics = Statistics {
            num_rows: rows,
            total_byte_size: Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX)),
            ..Statistics::new_unknown(table_schema.table_schema())
        };
        let groups = FileGroup::new(set.files).split_files(session.config().target_partitions().max(1));
        let config = FileScanConfigBuilder::new(url, source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(self.read_places(projection)))
            .map_err(Error::from)?
            .with_limit(limit.filter(|_| !self.has_records()))
            .with_file_compression_type(set.compression)
            .build();
        let scan = adapted(physical(session, reader, config).await?, session.runtime_env())?;
        self.shaped(session, scan, projection)
    }

    /// Where in what is read each column of `projection` is.
    fn places(&self, projection: &[usize]) -> Vec<usize> {
        let count = self.columns.len();
        let place = |index: &usize| match &self.format {
            // The line, and the partition columns behind it.
            TableFormat::Text(_) | TableFormat::Json(_) => (index + 1).saturating_sub(count),
            _ => *index,
        };
        projection.iter().map(place).collect()
    }

    /// The same, each place once.
    fn read_places(&self, projection: &[usize]) -> Vec<usize> {
        let mut seen = std::collections::HashSet::new();
        self.has_records().then_some(0).into_iter().chain(self.places(projection)).filter(|place| seen.insert(*place)).collect()
    }

    /// The table's own columns from what the files have.
    fn shaped(
        &self,
        session: &dyn Session,
        scan: Arc<dyn ExecutionPlan>,
        projection: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let read = scan.schema();
        let wanted = projection.iter().filter_map(|index| self.schema.fields().get(*index));
        let same = wanted.clone().zip(read.fields()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        let is_cut = projection
            .iter()
            .filter_map(|index| self.columns.get(*index))
            .any(|column| column.hive.max_chars().is_some() || column.hive.has_char());
        // Lines are not yet the table's columns.
        if same && !is_cut && self.format == TableFormat::Parquet {
            return Ok(scan);
        }
        let read_places = self.read_places(projection);
        let scan = self.with_rows(session, scan, projection, &read_places)?;
        let read = scan.schema();
        // Read by position: a name in the file may be spelled in another way.
        let df_schema = DFSchema::try_from(Arc::clone(&read)).map_err(Error::from)?;
        let position =
            |place| read_places.iter().position(|read| *read == place).ok_or_else(|| Error::internal("a column is not read"));
        let expressions = projection.iter().zip(self.places(projection)).zip(wanted).map(|((index, place), field)| {
            let found = read.field(position(place)?);
            let column = Expr::Column(datafusion::common::Column::new_unqualified(found.name()));
            let expr = match (self.columns.get(*index), &self.format) {
                (Some(typed), TableFormat::Text(text)) => {
                    shape::cut(session, text.value(session, column, *index, typed)?, typed)?
                }
                (Some(typed), TableFormat::Json(_)) => shape::cut(session, get_field(column, typed.name.as_str()), typed)?,
                (Some(typed), TableFormat::Parquet) => shape::cut(session, shape::renamed(session, column, typed)?, typed)?,
                (None, _) => column,
            };
            let expr = session.create_physical_expr(expr, &df_schema).map_err(Error::from)?;
            Ok(ProjectionExpr { expr, alias: field.name().clone() })
        });
        let expressions = expressions.collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(expressions, scan).map_err(Error::from)?))
    }

    /// Lines of JSON read as rows, each once for all columns; everything else as it is.
    fn with_rows(
        &self,
        session: &dyn Session,
        scan: Arc<dyn ExecutionPlan>,
        projection: &[usize],
        read_places: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns: Vec<&TypedColumn> = projection.iter().filter_map(|index| self.columns.get(*index)).collect();
        let TableFormat::Json(json) = &self.format else { return Ok(scan) };
        let line = read_places.iter().position(|place| *place == 0);
        let scan = match line {
            Some(line) if json.has_records() => {
                elements(with_changed(session, scan, line, |line| JsonTable::records(session, line))?, line)?
            }
            _ => scan,
        };
        match line {
            Some(line) if !columns.is_empty() => with_changed(session, scan, line, |line| json.row(session, line, &columns)),
            _ => Ok(scan),
        }
    }

    /// The scan of `sets`, whose files have values for all partition columns.
    pub(in crate::catalog) async fn scan(
        &self,
        session: &dyn Session,
        sets: Vec<FileSet>,
        projection: &[usize],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut scans = Vec::with_capacity(sets.len());
        for set in sets {
            scans.push(self.scan_set(session, set, projection, limit).await?);
        }
        match scans.len() {
            0 => {
                let fields: Fields = projection.iter().filter_map(|index| self.schema.fields().get(*index)).cloned().collect();
                Ok(Arc::new(EmptyExec::new(Arc::new(Schema::new(fields)))))
            }
            1 => Ok(scans.remove(0)),
            _ => UnionExec::try_new(scans).map_err(Error::from),
        }
    }
}

/// Whether `filter` holds a query, or a value of one around it.
pub(in crate::catalog) fn has_query(filter: &Expr) -> bool {
    let found = filter.exists(|part| {
        Ok(matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::ScalarVariable(..)
        ))
    });
    found.unwrap_or(true)
}

async fn physical(
    session: &dyn Session,
    reader: Option<Arc<dyn FileFormat>>,
    config: FileScanConfig,
) -> Result<Arc<dyn ExecutionPlan>> {
    match reader {
        Some(reader) => reader.create_physical_plan(session, config).await.map_err(Error::from),
        None => Ok(datafusion::datasource::source::DataSourceExec::from_data_source(config)),
    }
}

/// `plan` with another expression for the column with the number `place`, which is called [`ROW`] then.
fn with_changed(
    session: &dyn Session,
    plan: Arc<dyn ExecutionPlan>,
    place: usize,
    change: impl Fn(Expr) -> Result<Expr>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let read = plan.schema();
    let df_schema = DFSchema::try_from(Arc::clone(&read)).map_err(Error::from)?;
    let expressions = read.fields().iter().enumerate().map(|(index, field)| {
        let column = Expr::Column(datafusion::common::Column::new_unqualified(field.name()));
        let (expr, alias) = if index == place { (change(column)?, ROW) } else { (column, field.name().as_str()) };
        let expr = session.create_physical_expr(expr, &df_schema).map_err(Error::from)?;
        Ok(ProjectionExpr { expr, alias: alias.to_string() })
    });
    let expressions = expressions.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(expressions, plan).map_err(Error::from)?))
}
