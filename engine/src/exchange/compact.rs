//! Makes a batch own only the bytes that it shows: slices and string views would ship whole buffers otherwise.

use arrow::array::MutableArrayData;
use arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use std::sync::Arc;

/// The same rows without unused bytes behind string views and slices of nested arrays.
///
/// # Errors
/// When a child array cannot be rebuilt; not for valid input.
pub fn compact_batch(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(compact).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

fn compact(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view();
            let used: usize = views.views().iter().map(|view| *view as u32 as usize).filter(|length| *length > 12).sum();
            let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
            Ok(if held > used { Arc::new(views.gc()) } else { Arc::clone(array) })
        }
        DataType::BinaryView => Ok(Arc::new(array.as_binary_view().gc())),
        data_type if data_type.is_nested() && !matches!(data_type, DataType::Dictionary(..) | DataType::RunEndEncoded(..)) => {
            Ok(make_array(compact_nested(array.to_data())?))
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// Copies the rows of a nested array, which drops what its slice does not show, and compacts its children.
fn compact_nested(data: ArrayData) -> Result<ArrayData, ArrowError> {
    let mut rows = MutableArrayData::new(vec![&data], false, data.len());
    rows.try_extend(0, 0, data.len())?;
    let copied = rows.freeze();
    let children = copied
        .child_data()
        .iter()
        .map(|child| Ok(compact(&make_array(child.clone()))?.to_data()))
        .collect::<Result<Vec<_>, ArrowError>>()?;
    copied.into_builder().child_data(children).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ListArray, StringViewArray};
    use arrow::datatypes::{Field, Int32Type, Schema};

    #[test]
    fn a_slice_of_views_keeps_only_its_strings() -> Result<(), ArrowError> {
        let long = "a string that is longer than twelve bytes";
        let all: StringViewArray = (0..1_000).map(|i| Some(format!("{long}{i}"))).collect();
        let slice: ArrayRef = Arc::new(all.slice(10, 2));
        let compacted = compact(&slice)?;
        assert_eq!(compacted.as_string_view(), slice.as_string_view());
        let held: usize = compacted.as_string_view().data_buffers().iter().map(|buffer| buffer.len()).sum();
        assert_eq!(held, 2 * (long.len() + 2));
        Ok(())
    }

    #[test]
    fn a_slice_of_lists_keeps_only_its_items() -> Result<(), ArrowError> {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>((0..100).map(|i| Some(vec![Some(i), None])));
        let schema = Arc::new(Schema::new(vec![Field::new("l", lists.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(lists)])?.slice(50, 3);
        let compacted = compact_batch(&batch)?;
        assert_eq!(compacted, batch);
        assert_eq!(compacted.column(0).as_list::<i32>().values().len(), 6);
        Ok(())
    }

    #[test]
    fn zero_columns_keep_their_row_count() -> Result<(), ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(7));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
        assert_eq!(compact_batch(&batch)?.num_rows(), 7);
        Ok(())
    }
}
