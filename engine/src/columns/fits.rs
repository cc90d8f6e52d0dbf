//! Whether a file's type can be read as the declared one.

use super::is_bytes;
use super::nested::field_place;
use crate::functions::define::is_text;
use crate::functions::type_name;
use datafusion::arrow::datatypes::{DataType, Fields, TimeUnit};

/// Whether values of a file's type can be read as `declared` without a change of what they mean.
///
/// # Errors
/// With the reason why not.
pub fn fits(declared: &DataType, file: &DataType) -> Result<(), String> {
    use DataType::{Binary, BinaryView, Date32, Decimal128, Dictionary, FixedSizeList, Float32, Float64, Int32};
    use DataType::{LargeList, List, Map, Null, Struct, Timestamp};
    let no =
        || Err(format!("its type in the file is {}, which is incompatible with the type defined in the table", type_name(file)));
    match (declared, file) {
        (declared, Dictionary(_, value)) => fits(declared, value),
        (declared, file) if declared == file => Ok(()),
        // A column of NULLs.
        (_, Null) => Ok(()),
        (declared, file) if declared.is_integer() && file.is_integer() => Ok(()),
        (Timestamp(TimeUnit::Microsecond, _), Timestamp(TimeUnit::Nanosecond, _)) => no(),
        // Days that the file does not mark as a date.
        (Float64, Float32) | (Timestamp(_, _), Timestamp(_, _)) | (Date32, Int32) => Ok(()),
        // Digits that the table does not have are rounded, and what is too large is an error of its row.
        (Decimal128(..), DataType::Decimal32(..) | DataType::Decimal64(..) | Decimal128(..)) => Ok(()),
        (declared, file) if is_text(declared) && (is_text(file) || is_bytes(file)) => Ok(()),
        (Binary | BinaryView, file) if is_text(file) || is_bytes(file) => Ok(()),
        (List(declared), List(file) | LargeList(file) | FixedSizeList(file, _)) => fits(declared.data_type(), file.data_type()),
        (Map(declared, _), Map(file, _)) => match (declared.data_type(), file.data_type()) {
            (Struct(declared), Struct(file)) if declared.len() == 2 && file.len() == 2 => {
                declared.iter().zip(file).try_for_each(|(a, b)| fits(a.data_type(), b.data_type()))
            }
            _ => no(),
        },
        (Struct(declared), Struct(file)) => declared.iter().try_for_each(|field| {
            let found = field_place(file, field.name()).and_then(|place| file.get(place));
            found.map_or(Ok(()), |found| fits(field.data_type(), found.data_type()))
        }),
        _ => no(),
    }
}

/// Whether a cast of the engine gives the values of a type that [`fits`]: files are pruned, and structs read by field, through casts only.
pub(super) fn is_cast(declared: &DataType, file: &DataType, is_top: bool) -> bool {
    use DataType::{Date32, Decimal128, Dictionary, FixedSizeList, Int32, LargeList, List, Map, Null, Struct, Timestamp};
    match (declared, file) {
        (declared, file) if declared == file => true,
        (declared, Dictionary(_, value)) => is_cast(declared, value, is_top),
        (_, Null | FixedSizeList(..)) | (Date32, Int32) => false,
        // On top these have a way of their own.
        (Timestamp(..), Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)) => is_top,
        (declared, file) if is_text(declared) && is_bytes(file) => is_top,
        (Decimal128(p, s), DataType::Decimal32(fp, fs) | DataType::Decimal64(fp, fs) | Decimal128(fp, fs)) => {
            s >= fs && i16::from(*p) - i16::from(*s) >= i16::from(*fp) - i16::from(*fs)
        }
        (List(declared), List(file) | LargeList(file)) => is_cast(declared.data_type(), file.data_type(), false),
        (Map(declared, _), Map(file, _)) => match (declared.data_type(), file.data_type()) {
            (Struct(declared), Struct(file)) if declared.len() == file.len() => {
                declared.iter().zip(file).all(|(a, b)| is_cast(a.data_type(), b.data_type(), false))
            }
            _ => false,
        },
        (Struct(declared), Struct(file)) => is_struct_cast(declared, file, is_top),
        _ => true,
    }
}

fn is_struct_cast(declared: &Fields, file: &Fields, is_top: bool) -> bool {
    // Within lists and maps the engine's cast goes by place, on top by name.
    if !is_top && (declared.len() != file.len() || declared.iter().zip(file).any(|(a, b)| a.name() != b.name())) {
        return false;
    }
    let mut is_any = false;
    let fit = declared.iter().all(|field| match field_place(file, field.name()).and_then(|place| file.get(place)) {
        Some(found) => {
            is_any = true;
            found.name() == field.name() && is_cast(field.data_type(), found.data_type(), false)
        }
        None => true,
    });
    fit && is_any
}
