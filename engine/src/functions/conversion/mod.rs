//! Conversions: casts with Trino's rules, typeof, format.

mod decimal;
mod format;
mod from_json;
mod instant;
mod json;
mod number;
mod text;
mod types;

pub use decimal::TRY_CAST_DECIMAL;
pub(in crate::functions) use decimal::parse as parse_decimal;
pub(in crate::functions) use number::{parse_double, parse_integer, parse_real};
pub use text::{CHAR, CHAR_MARK, STORED_TEXT};
pub use types::type_name;
pub(crate) use types::{cast_double, cast_real, decimal_text, java_double, java_real};

use super::Functions;

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    text::register(functions);
    number::register(functions);
    instant::register(functions);
    decimal::register(functions);
    format::register(functions);
    json::register(functions);
    from_json::register(functions);
}
