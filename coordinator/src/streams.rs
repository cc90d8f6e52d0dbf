//! Streams of rows: plans that run on threads of their own, rows at hand, columns with their names for people.

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use engine::{Error, Result};
use futures::StreamExt;
use sql::Label;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Batches that a plan may be ahead of their reader.
const ROWS_AHEAD: usize = 4;

/// Executes `plan` on the threads of `compute`; the rows come through a short channel, so that whoever reads them can
/// stop at any time, whatever the plan's operators do.
pub(crate) fn execute_on(compute: &Handle, plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> SendableRecordBatchStream {
    let mut rows = RecordBatchReceiverStreamBuilder::new(plan.schema(), ROWS_AHEAD);
    let sender = rows.tx();
    rows.spawn_on(
        async move {
            let mut stream = execute_stream(plan, context)?;
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
            Ok(())
        },
        compute,
    );
    rows.build()
}

/// `stream` with the columns' names for people.
pub(crate) fn labelled(stream: SendableRecordBatchStream, columns: &[Label]) -> SendableRecordBatchStream {
    let schema = stream.schema();
    if schema.fields().len() != columns.len()
        || schema.fields().iter().zip(columns).all(|(field, label)| *field.name() == label.shown)
    {
        return stream;
    }
    let fields = schema.fields().iter().zip(columns);
    let fields: Vec<Field> = fields.map(|(field, label)| field.as_ref().clone().with_name(&label.shown)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let shown = Arc::clone(&schema);
    let batches = stream.map(move |batch| {
        let batch = batch?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&shown), batch.columns().to_vec(), &options)?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// One column as a stream of one batch.
pub(crate) fn labelled_batch(column: &str, values: ArrayRef) -> Result<SendableRecordBatchStream> {
    let batch = RecordBatch::try_from_iter([(column, values)]).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Box::pin(RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)]))))
}

/// No rows and no columns: what statements give that only do something.
pub(crate) fn nothing() -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(Arc::new(Schema::empty()), futures::stream::empty()))
}

/// Rows of text as a stream of one batch.
pub(crate) fn text_stream(column: &str, lines: Vec<String>) -> Result<SendableRecordBatchStream> {
    labelled_batch(column, Arc::new(StringArray::from(lines)))
}
