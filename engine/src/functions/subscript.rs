//! `list[1]` and `map['key']`, which fail for what is not there.

use super::Functions;
use super::nested::{keys, map_of, same_type};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericListArray, MapArray, OffsetSizeTrait, UInt32Array, UInt64Array,
};
use datafusion::arrow::compute::kernels::cmp::eq;
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::{Arc, LazyLock};

static SUBSCRIPT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Subscript::new())));

/// The function of subscripts.
pub fn subscript() -> Arc<ScalarUDF> {
    Arc::clone(&SUBSCRIPT)
}

pub(super) fn add_to(functions: &mut Functions) {
    functions.scalar.push(subscript());
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct Subscript {
    signature: Signature,
}

impl Subscript {
    fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn refused(data_type: &DataType) -> DataFusionError {
    DataFusionError::Plan(format!("Cannot use a subscript on {data_type}"))
}

fn map_types(entries: &Field) -> Option<(&DataType, &DataType)> {
    match entries.data_type() {
        DataType::Struct(fields) => Some((fields.first()?.data_type(), fields.get(1)?.data_type())),
        _ => None,
    }
}

impl ScalarUDFImpl for Subscript {
    fn name(&self) -> &str {
        "owlet_subscript"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, key] = super::arguments(self.name(), types)?;
        match value {
            DataType::List(_) | DataType::LargeList(_) if key.is_integer() || key.is_null() => {
                Ok(vec![value.clone(), DataType::Int64])
            }
            DataType::FixedSizeList(element, _) if key.is_integer() || key.is_null() => {
                Ok(vec![DataType::List(Arc::clone(element)), DataType::Int64])
            }
            DataType::Map(entries, _) => {
                let (own, item) = map_types(entries).ok_or_else(|| refused(value))?;
                if key.is_null() || own.is_integer() && key.is_integer() {
                    return Ok(vec![value.clone(), own.clone()]);
                }
                match same_type(own, key) {
                    Ok(both) if both == *own || own.is_string() => Ok(vec![value.clone(), own.clone()]),
                    // As for any two values that are compared: keys of timestamps beside a date are found.
                    Ok(both) => Ok(vec![map_of(both.clone(), item.clone()), both]),
                    Err(_) => Err(DataFusionError::Plan(format!("Cannot use {key} for subscript of {value}"))),
                }
            }
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
                Err(DataFusionError::Plan(format!("Cannot use {key} for subscript of an array")))
            }
            _ => Err(refused(value)),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [value, _] = super::arguments(self.name(), types)?;
        match value {
            DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
                Ok(element.data_type().clone())
            }
            DataType::Map(entries, _) => map_types(entries).map(|(_, value)| value.clone()).ok_or_else(|| refused(value)),
            _ => Err(refused(value)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, key] = super::arguments(self.name(), &args.args)?;
        let is_scalar = matches!((value, key), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let (value, key) = (value.to_array(rows)?, key.to_array(rows)?);
        let result = match value.data_type() {
            DataType::List(_) => element_of(value.as_list::<i32>(), &key)?,
            DataType::LargeList(_) => element_of(value.as_list::<i64>(), &key)?,
            DataType::Map(..) => value_of(value.as_map(), &key)?,
            other => return Err(refused(other)),
        };
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn element_of<O: OffsetSizeTrait>(lists: &GenericListArray<O>, index: &ArrayRef) -> Result<ArrayRef> {
    let index = cast(index, &DataType::Int64)?;
    let index = index.as_primitive::<Int64Type>();
    let offsets = lists.value_offsets();
    let failed = |message: String| DataFusionError::Execution(format!("INVALID_FUNCTION_ARGUMENT: {message}"));
    let place = |row: usize| -> Result<Option<u64>> {
        if lists.is_null(row) || index.is_null(row) {
            return Ok(None);
        }
        let position = index.value(row);
        let (start, end) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
        match usize::try_from(position) {
            Err(_) => Err(failed(format!("Array subscript is negative: {position}"))),
            Ok(0) => Err(failed("SQL array indices start at 1".into())),
            Ok(position) if position > end - start => {
                Err(failed(format!("Array subscript must be less than or equal to array length: {position} > {}", end - start)))
            }
            Ok(position) => Ok(Some((start + position - 1) as u64)),
        }
    };
    let places = (0..lists.len()).map(place).collect::<Result<UInt64Array>>()?;
    Ok(take(lists.values(), &places, None)?)
}

fn value_of(maps: &MapArray, key: &ArrayRef) -> Result<ArrayRef> {
    let offsets = maps.value_offsets();
    let (first, last) = match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => (*first as usize, *last as usize),
        _ => (0, 0),
    };
    // The key that is looked for, beside each entry.
    let rows = (0..maps.len()).flat_map(|row| std::iter::repeat_n(row as u32, (offsets[row + 1] - offsets[row]) as usize));
    let wanted = take(key, &UInt32Array::from_iter_values(rows), None)?;
    let own_keys = maps.keys().slice(first, last - first);
    // The kernel knows two zeros.
    let found: BooleanArray = match own_keys.data_type().is_nested() || own_keys.data_type().is_floating() {
        true => {
            let [own, wanted] = keys([&own_keys, &wanted])?;
            own.iter().zip(wanted.iter()).map(|(own, wanted)| Some(own == wanted)).collect()
        }
        false => eq(&own_keys, &wanted)?,
    };
    let place = |row: usize| -> Result<Option<u64>> {
        if maps.is_null(row) || key.is_null(row) {
            return Ok(None);
        }
        let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
        match entries.find(|entry| found.is_valid(entry - first) && found.value(entry - first)) {
            Some(entry) => Ok(Some(entry as u64)),
            None => {
                let key = array_value_to_string(key, row)?;
                Err(DataFusionError::Execution(format!("INVALID_FUNCTION_ARGUMENT: Key not present in map: {key}")))
            }
        }
    };
    let places = (0..maps.len()).map(place).collect::<Result<UInt64Array>>()?;
    Ok(take(maps.values(), &places, None)?)
}
