//! Mathematical and bitwise functions.

mod bits;
mod double;
mod number;

use super::Functions;

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    double::register(functions);
    number::register(functions);
    bits::register(functions);
}
