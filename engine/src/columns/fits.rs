//! Whether a file's type can be read as the declared one.

use super::is_bytes;
use crate::functions::define::is_text;
use datafusion::arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// Whether values of a file's type can be read as `declared` without a change of what they mean.
///
/// # Errors
/// With the reason why not.
pub fn fits(declared: &DataType, file: &DataType, is_top: bool) -> Result<(), String> {
    use DataType::{Decimal128, Dictionary, Float32, Float64, LargeList, List, Map, Struct, Timestamp};
    let no = || Err(format!("its type in the file is {file}, which is incompatible with the type defined in the table"));
    match (declared, file) {
        (declared, Dictionary(_, value)) => fits(declared, value, is_top),
        (declared, file) if declared == file => Ok(()),
        (declared, file) if declared.is_integer() && file.is_integer() => Ok(()),
        (Timestamp(..), Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)) if !is_top => {
            Err("timestamps finer than milliseconds can be read on their own, not within an array, map or struct".into())
        }
        (Timestamp(TimeUnit::Microsecond, _), Timestamp(TimeUnit::Nanosecond, _)) => no(),
        (Float64, Float32) | (Timestamp(_, _), Timestamp(_, _)) => Ok(()),
        (Decimal128(p, s), DataType::Decimal32(fp, fs) | DataType::Decimal64(fp, fs) | Decimal128(fp, fs)) => {
            if s >= fs && i16::from(*p) - i16::from(*s) >= i16::from(*fp) - i16::from(*fs) { Ok(()) } else { no() }
        }
        (declared, file) if is_text(declared) && is_text(file) => Ok(()),
        (declared, file) if is_text(declared) && is_bytes(file) && is_top => Ok(()),
        (DataType::Binary | DataType::BinaryView, file) if is_text(file) || is_bytes(file) => Ok(()),
        (List(declared), List(file) | LargeList(file)) => fits(declared.data_type(), file.data_type(), false),
        (Map(declared, _), Map(file, _)) => match (declared.data_type(), file.data_type()) {
            (Struct(declared), Struct(file)) if declared.len() == 2 && file.len() == 2 => {
                declared.iter().zip(file).try_for_each(|(a, b)| fits(a.data_type(), b.data_type(), false))
            }
            _ => no(),
        },
        (Struct(declared), Struct(file)) => struct_fits(declared, file, is_top),
        _ => no(),
    }
}

fn struct_fits(declared: &Fields, file: &Fields, is_top: bool) -> Result<(), String> {
    // Within lists and maps the reader goes by place, on top by name.
    if !is_top && (declared.len() != file.len() || declared.iter().zip(file).any(|(a, b)| a.name() != b.name())) {
        return Err("fields of a struct within an array or map differ from the table's in name, number or order".into());
    }
    for field in declared {
        match file.iter().find(|known| known.name() == field.name()) {
            Some(known) => fits(field.data_type(), known.data_type(), false)?,
            None => other_case(field, file)?,
        }
    }
    if is_top && !declared.iter().any(|field| file.iter().any(|known| known.name() == field.name())) {
        return Err("no field of the struct is in the file".into());
    }
    Ok(())
}

/// Refuses a struct's field whose name in the file differs in case only, as it would be read as NULL.
///
/// # Errors
/// With the name in the file.
fn other_case(field: &Field, file: &Fields) -> Result<(), String> {
    match file.iter().find(|known| known.name().to_lowercase() == field.name().to_lowercase()) {
        Some(known) => {
            let (found, wanted) = (known.name(), field.name());
            Err(format!("the struct's field is '{found}' in the file: only '{wanted}' can be read there"))
        }
        None => Ok(()),
    }
}
