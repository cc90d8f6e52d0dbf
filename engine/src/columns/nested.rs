//! Values of a file as the table's, where no cast of the engine gives them: by the names of fields at any depth, in any case.

use super::millis::to_millis;
use crate::functions::define::is_text;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, MapArray, StructArray, new_null_array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::common::Result;
use datafusion::common::cast::as_fixed_size_list_array;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// The function that makes the table's values of a file's.
#[derive(PartialEq, Eq, Hash, Debug)]
pub(super) struct FileValue {
    signature: Signature,
    declared: DataType,
    /// Whether text in it may be other bytes, as the file does not mark all of it as text.
    is_unmarked: bool,
}

impl FileValue {
    pub(super) fn new(declared: DataType, is_unmarked: bool) -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable), declared, is_unmarked }
    }
}

impl ScalarUDFImpl for FileValue {
    fn name(&self) -> &str {
        "owlet_file_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.declared.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [found] = args.args.as_slice() else { return Err(crate::Error::internal("one column").into()) };
        let found = found.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(value(&found, &self.declared, self.is_unmarked)?))
    }
}

/// The field of a file's struct that is `name` in the table: spelled so, or else the first one in any case.
pub(super) fn field_place(fields: &Fields, name: &str) -> Option<usize> {
    let exact = fields.iter().position(|field| field.name() == name);
    exact.or_else(|| fields.iter().position(|field| field.name().to_lowercase() == name.to_lowercase()))
}

/// `found` as values of type `declared`, which [`super::fits`] has allowed.
fn value(found: &ArrayRef, declared: &DataType, is_unmarked: bool) -> Result<ArrayRef> {
    use DataType::{FixedSizeList, LargeList, List, Map, Null, Struct};
    let kind = found.data_type();
    if kind == declared && !is_unmarked {
        return Ok(Arc::clone(found));
    }
    match (declared, kind) {
        (_, Null) => Ok(new_null_array(declared, found.len())),
        (Struct(fields), Struct(_)) => structs(found.as_struct(), fields, is_unmarked),
        (List(item), List(_)) => {
            let list = found.as_list::<i32>();
            let values = value(list.values(), item.data_type(), is_unmarked)?;
            let list = ListArray::try_new(Arc::clone(item), list.offsets().clone(), values, list.nulls().cloned())?;
            Ok(Arc::new(list))
        }
        (List(item), LargeList(kind)) => {
            let list = cast(found, &List(Arc::clone(kind)))?;
            value(&list, &List(Arc::clone(item)), is_unmarked)
        }
        (List(item), FixedSizeList(..)) => fixed(as_fixed_size_list_array(found)?, item, is_unmarked),
        (Map(entries, is_sorted), Map(..)) => {
            let Struct(pair) = entries.data_type() else { return cast(found, declared) };
            let map = found.as_map();
            let pairs = vec![
                value(map.keys(), pair.first().map_or(&Null, |key| key.data_type()), is_unmarked)?,
                value(map.values(), pair.get(1).map_or(&Null, |value| value.data_type()), is_unmarked)?,
            ];
            let pairs = StructArray::try_new(pair.clone(), pairs, None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, *is_sorted)?))
        }
        _ => plain(found, declared),
    }
}

fn structs(found: &StructArray, declared: &Fields, is_unmarked: bool) -> Result<ArrayRef> {
    let places: Vec<Option<usize>> = declared.iter().map(|field| field_place(found.fields(), field.name())).collect();
    // Of nothing that the table knows, nothing tells a struct from NULL.
    if places.iter().all(Option::is_none) {
        return Ok(new_null_array(&DataType::Struct(declared.clone()), found.len()));
    }
    let columns = declared.iter().zip(places).map(|(field, place)| match place.and_then(|place| found.columns().get(place)) {
        Some(column) => value(column, field.data_type(), is_unmarked),
        None => Ok(new_null_array(field.data_type(), found.len())),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(declared.clone(), columns, found.nulls().cloned(), found.len())?))
}

fn fixed(found: &FixedSizeListArray, item: &Arc<Field>, is_unmarked: bool) -> Result<ArrayRef> {
    let length = usize::try_from(found.value_length()).unwrap_or(0);
    let values = value(found.values(), item.data_type(), is_unmarked)?;
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(length, found.len()));
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, found.nulls().cloned())?))
}

/// A value without others inside.
fn plain(found: &ArrayRef, declared: &DataType) -> Result<ArrayRef> {
    use DataType::{Binary, BinaryView, Dictionary, FixedSizeBinary, LargeBinary, LargeUtf8, Timestamp, Utf8, Utf8View};
    match (declared, found.data_type()) {
        (_, Dictionary(_, kind)) => plain(&cast(found, kind)?, declared),
        (Timestamp(TimeUnit::Millisecond, _), Timestamp(unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond), _)) => {
            cast(&to_millis(&cast(found, &Timestamp(*unit, None))?)?, declared)
        }
        // The cast to text is what checks bytes, whatever they are called.
        (text, Utf8) if is_text(text) => cast(&cast(found, &Binary)?, text),
        (text, LargeUtf8) if is_text(text) => cast(&cast(found, &LargeBinary)?, text),
        (text, Utf8View) if is_text(text) => cast(&cast(found, &BinaryView)?, text),
        (text, FixedSizeBinary(_)) if is_text(text) => cast(&cast(found, &BinaryView)?, text),
        _ => cast(found, declared),
    }
}

/// A cast that fails for what does not fit.
fn cast(found: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(found, to, &options)?)
}
