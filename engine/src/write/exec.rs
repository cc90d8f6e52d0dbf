//! The operator that writes its input's rows into files below staging and gives one row for each finished file.

use super::access::WriteAccess;
use super::files::Files;
use super::spec::WriteSpec;
use super::types::file_schema;
use crate::error::{Error, ErrorKind, Result};
use crate::functions::bucket::{BUCKET_NAME, bucket};
use crate::ids::QueryId;
use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DataFusionResult, ScalarValue};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::distribution_requirements::InputDistributionRequirements;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Columns of the rows that tell of finished files.
static FILE_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("bytes", DataType::UInt64, false),
    ]))
});

/// A finished file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRow {
    /// Its path below the staging folder, and later below the location.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

impl FileRow {
    /// The schema of the rows that [`WriteExec`] gives.
    pub fn schema() -> SchemaRef {
        Arc::clone(&FILE_SCHEMA)
    }

    fn batch(files: &[Self]) -> Result<RecordBatch> {
        let paths = StringArray::from_iter_values(files.iter().map(|file| &file.path));
        let rows = UInt64Array::from_iter_values(files.iter().map(|file| file.rows));
        let bytes = UInt64Array::from_iter_values(files.iter().map(|file| file.bytes));
        RecordBatch::try_new(Self::schema(), vec![Arc::new(paths), Arc::new(rows), Arc::new(bytes)])
            .map_err(|e| Error::internal(e.to_string()))
    }

    /// The files that `batch` tells of.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for a batch of another schema.
    pub fn read(batch: &RecordBatch) -> Result<Vec<Self>> {
        let wrong = || Error::internal("a write gave other rows than those of its files");
        let [path, rows, bytes] = batch.columns() else { return Err(wrong()) };
        let paths = path.as_string_opt::<i32>().ok_or_else(wrong)?;
        let rows = rows.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
        let bytes = bytes.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
        let file = |at: usize| Self { path: paths.value(at).to_string(), rows: rows.value(at), bytes: bytes.value(at) };
        Ok((0..paths.len()).map(file).collect())
    }
}

/// Writes each partition of its input by itself.
///
/// With partition columns or buckets it wants all rows of one value in one place: a shuffle costs less than a file for each value
/// and each task, which every later query would open, and a bucket is one file.
#[derive(Debug)]
pub struct WriteExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<WriteSpec>,
    query: QueryId,
    properties: Arc<PlanProperties>,
}

impl WriteExec {
    /// A write of `input` as `spec` says, for `query`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidQuery`] for a spec that contradicts itself or does not fit the input's columns and types.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, spec: Arc<WriteSpec>, query: QueryId) -> Result<Self> {
        spec.check()?;
        file_schema(&spec, &input.schema())?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(FileRow::schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { input, spec, query, properties: Arc::new(properties) })
    }

    pub(super) fn spec(&self) -> &WriteSpec {
        &self.spec
    }

    pub(super) fn query(&self) -> QueryId {
        self.query
    }
}

impl DisplayAs for WriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteExec: query={}, {:?}", self.query, self.spec)
    }
}

impl ExecutionPlan for WriteExec {
    fn name(&self) -> &str {
        "WriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let schema = self.input.schema();
        let column = |index: usize| {
            let name = schema.fields().get(index).map_or("", |field| field.name());
            Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>
        };
        let mut keys: Vec<_> = (self.spec.file_columns()..schema.fields().len()).map(column).collect();
        if let Some((count, places)) = self.spec.buckets() {
            let count = Arc::new(Literal::new(ScalarValue::Int32(Some(count)))) as Arc<dyn PhysicalExpr>;
            let arguments = std::iter::once(count).chain(places.into_iter().map(column)).collect();
            let number = Arc::new(Field::new("bucket", DataType::Int32, true));
            let (function, config) = (bucket(), Arc::new(ConfigOptions::default()));
            keys.push(Arc::new(ScalarFunctionExpr::new(BUCKET_NAME, function, arguments, number, config)));
        }
        let wanted = if keys.is_empty() { Distribution::UnspecifiedDistribution } else { Distribution::KeyPartitioned(keys) };
        InputDistributionRequirements::new(vec![wanted])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::try_new(input, Arc::clone(&self.spec), self.query)?)),
            Err(_) => Err(DataFusionError::Internal("a write has one input".into())),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let denied = || Error::new(ErrorKind::AccessDenied, "nothing can be written here");
        let access = context.session_config().get_extension::<WriteAccess>().ok_or_else(denied)?;
        let reservation =
            MemoryConsumer::new(format!("WriteExec[{partition}]")).with_can_spill(true).register(context.memory_pool());
        // Refuses a location that may not be written before the input does anything.
        let files = Files::new(&self.spec, self.query, &self.input.schema(), &access, partition, reservation)?;
        let input = self.input.execute(partition, context)?;
        let written = futures::stream::once(async move { Ok(write_all(files, input).await?) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(FileRow::schema(), written)))
    }
}

async fn write_all(mut files: Files, input: SendableRecordBatchStream) -> Result<RecordBatch> {
    match take_all(&mut files, input).await {
        Ok(()) => FileRow::batch(&files.finish().await?),
        Err(error) => {
            files.abort().await;
            Err(error)
        }
    }
}

async fn take_all(files: &mut Files, mut input: SendableRecordBatchStream) -> Result<()> {
    while let Some(batch) = input.next().await {
        files.write(&batch?).await?;
    }
    Ok(())
}
