//! Values as comparable bytes: equal in SQL exactly if equal as bytes, ordered as SQL orders them.

use super::types::check_comparable;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, ListArray, PrimitiveArray, StructArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result, not_impl_err};
use std::sync::Arc;

/// Where NaN sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::functions) enum NanOrder {
    /// Above all numbers.
    Largest,
    /// Below all numbers.
    Smallest,
}

/// A converter for values of type `of`; NULLs sort last.
pub(in crate::functions) fn converter(of: &DataType) -> Result<RowConverter> {
    check_comparable(of)?;
    let options = arrow::compute::SortOptions { descending: false, nulls_first: false };
    Ok(RowConverter::new(vec![SortField::new_with_options(of.clone(), options)])?)
}

/// The keys of arrays of one type, comparable with each other.
pub(in crate::functions) fn keys<const N: usize>(arrays: [&ArrayRef; N]) -> Result<[Rows; N]> {
    let converter = converter(arrays[0].data_type())?;
    let mut rows = Vec::with_capacity(N);
    for array in arrays {
        rows.push(keys_with(&converter, array, NanOrder::Largest)?);
    }
    rows.try_into().map_err(|_| datafusion::common::DataFusionError::Internal("as many keys as arrays".into()))
}

/// The keys of one array.
pub(in crate::functions) fn keys_with(converter: &RowConverter, array: &ArrayRef, nan: NanOrder) -> Result<Rows> {
    Ok(converter.convert_columns(&[canonical(array, nan)])?)
}

/// The same values with one bit pattern for zero and one for NaN.
pub(in crate::functions) fn canonical(array: &ArrayRef, nan: NanOrder) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => floats::<Float64Type>(array, |v| match (v == 0.0, v.is_nan(), nan) {
            (true, _, _) => 0.0,
            (_, true, NanOrder::Largest) => f64::NAN.copysign(1.0),
            (_, true, NanOrder::Smallest) => f64::NAN.copysign(-1.0),
            _ => v,
        }),
        DataType::Float32 => floats::<Float32Type>(array, |v| match (v == 0.0, v.is_nan(), nan) {
            (true, _, _) => 0.0,
            (_, true, NanOrder::Largest) => f32::NAN.copysign(1.0),
            (_, true, NanOrder::Smallest) => f32::NAN.copysign(-1.0),
            _ => v,
        }),
        DataType::List(field) => match array.as_list_opt::<i32>() {
            Some(list) => {
                let values = canonical(list.values(), nan);
                let parts = (Arc::clone(field), list.offsets().clone(), list.nulls().cloned());
                ListArray::try_new(parts.0, parts.1, values, parts.2)
                    .map_or_else(|_| Arc::clone(array), |list| Arc::new(list) as ArrayRef)
            }
            None => Arc::clone(array),
        },
        DataType::Struct(fields) => match array.as_struct_opt() {
            Some(row) => {
                let columns = row.columns().iter().map(|column| canonical(column, nan)).collect();
                StructArray::try_new(fields.clone(), columns, row.nulls().cloned())
                    .map_or_else(|_| Arc::clone(array), |row| Arc::new(row) as ArrayRef)
            }
            None => Arc::clone(array),
        },
        _ => Arc::clone(array),
    }
}

fn floats<T: ArrowPrimitiveType>(array: &ArrayRef, one: impl Fn(T::Native) -> T::Native) -> ArrayRef {
    match array.as_primitive_opt::<T>() {
        Some(values) => Arc::new(values.unary::<_, T>(one) as PrimitiveArray<T>),
        None => Arc::clone(array),
    }
}

/// An error if arrays or rows hold a NULL inside: whether they are equal to others is unknown then.
pub(in crate::functions) fn check_known(array: &ArrayRef) -> Result<()> {
    let inner: Vec<&ArrayRef> = match array.data_type() {
        DataType::List(_) => array.as_list_opt::<i32>().map(|list| list.values()).into_iter().collect(),
        DataType::Struct(_) => array.as_struct_opt().map(|row| row.columns().iter().collect()).unwrap_or_default(),
        _ => return Ok(()),
    };
    for part in inner {
        if part.logical_null_count() > 0 {
            return not_impl_err!("comparison of arrays or rows that contain NULL");
        }
        check_known(part)?;
    }
    Ok(())
}

/// Whether the value at `index` is NaN, which equals nothing.
pub(in crate::functions) fn is_nan(array: &ArrayRef, index: usize) -> bool {
    if !array.is_valid(index) {
        return false;
    }
    match array.data_type() {
        DataType::Float64 => array.as_primitive::<Float64Type>().value(index).is_nan(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(index).is_nan(),
        _ => false,
    }
}
