//! Bounds the size of rows as text, without writing them; an estimate that is too large only makes pages smaller.

use arrow::array::{Array, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;

/// Longest text of a date, time or timestamp with its quotes.
const TEMPORAL_BYTES: usize = 42;

/// Longest text of an interval or duration with its quotes.
const INTERVAL_BYTES: usize = 112;

/// Longest text of a double.
const DOUBLE_BYTES: usize = 25;

/// Quotes of a string, or `null`.
const QUOTES_BYTES: usize = 4;

/// Brackets of a nested value, or `null`.
const BRACKETS_BYTES: usize = 4;

/// `, ` or `: ` after a value.
const SEPARATOR_BYTES: usize = 2;

/// Size of a view, which holds short values itself.
const VIEW_BYTES: usize = 16;

/// A size in bytes that rows of plain types do not pass as ndjson, json or csv.
pub(super) fn text_bytes(batch: &RecordBatch) -> usize {
    let rows = batch.num_rows();
    let schema = batch.schema_ref();
    let columns = schema.fields().iter().zip(batch.columns());
    let cells: usize = columns.map(|(field, column)| rows * name_bytes(field.name()) + array_bytes(column)).sum();
    cells + rows * BRACKETS_BYTES
}

/// Bytes that `batch` may take once its dictionaries and views are unpacked; other columns count for nothing.
pub(super) fn unpacked_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &dyn Array| match column.data_type() {
        DataType::Utf8View => column.as_string_view().total_buffer_bytes_used() + column.len() * VIEW_BYTES,
        DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used() + column.len() * VIEW_BYTES,
        DataType::Dictionary(..) => {
            let values = column.as_any_dictionary().values();
            values.get_buffer_memory_size() / values.len().max(1) * column.len()
        }
        _ => 0,
    };
    batch.columns().iter().map(|column| bytes(column.as_ref())).sum()
}

fn name_bytes(name: &str) -> usize {
    escaped_bytes(name.as_bytes()) + QUOTES_BYTES + SEPARATOR_BYTES
}

/// Length of UTF-8 text once JSON has escaped it; doubling quotes for CSV takes no more.
fn escaped_bytes(text: &[u8]) -> usize {
    let extra = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..32 => 5,
        _ => 0,
    };
    text.len() + text.iter().map(extra).sum::<usize>()
}

fn array_bytes(array: &dyn Array) -> usize {
    let rows = array.len();
    let content = match array.data_type() {
        DataType::Utf8 => string_bytes(array.as_string::<i32>().offsets(), array.as_string::<i32>().value_data()),
        DataType::LargeUtf8 => string_bytes(array.as_string::<i64>().offsets(), array.as_string::<i64>().value_data()),
        DataType::Binary => 2 * span(array.as_binary::<i32>().offsets()).len() + rows * QUOTES_BYTES,
        DataType::LargeBinary => 2 * span(array.as_binary::<i64>().offsets()).len() + rows * QUOTES_BYTES,
        DataType::FixedSizeBinary(size) => rows * (2 * usize::try_from(*size).unwrap_or_default() + QUOTES_BYTES),
        DataType::List(_) => list_bytes(array.as_list::<i32>().offsets(), array.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => list_bytes(array.as_list::<i64>().offsets(), array.as_list::<i64>().values().as_ref()),
        DataType::FixedSizeList(..) => array_bytes(array.as_fixed_size_list().values()) + rows * BRACKETS_BYTES,
        DataType::Map(..) => list_bytes(array.as_map().offsets(), array.as_map().entries()),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            columns.map(|(field, column)| rows * name_bytes(field.name()) + array_bytes(column)).sum::<usize>()
                + rows * BRACKETS_BYTES
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            rows * (usize::from(*precision) + usize::from(scale.unsigned_abs()) + QUOTES_BYTES)
        }
        DataType::Interval(_) | DataType::Duration(_) => rows * INTERVAL_BYTES,
        data_type if data_type.is_temporal() => rows * TEMPORAL_BYTES,
        DataType::Int8 | DataType::UInt8 | DataType::Boolean | DataType::Null => rows * 5,
        DataType::Int16 | DataType::UInt16 => rows * 6,
        DataType::Int32 | DataType::UInt32 => rows * 11,
        DataType::Int64 | DataType::UInt64 => rows * 20,
        _ => rows * DOUBLE_BYTES,
    };
    content + rows * SEPARATOR_BYTES
}

fn string_bytes<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, values: &[u8]) -> usize {
    let text = values.get(span(offsets)).unwrap_or_default();
    escaped_bytes(text) + (offsets.len() - 1) * QUOTES_BYTES
}

fn list_bytes<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, values: &dyn Array) -> usize {
    let span = span(offsets);
    array_bytes(values.slice(span.start, span.len()).as_ref()) + (offsets.len() - 1) * BRACKETS_BYTES
}

/// What the offsets span; there is always at least one.
fn span<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> std::ops::Range<usize> {
    let at = |offset: Option<&O>| offset.map_or(0, |offset| offset.as_usize());
    at(offsets.first())..at(offsets.last())
}
