//! Functions that take lambdas.

use super::Functions;

/// Adds the functions of this module.
pub(super) fn add(_functions: &mut Functions) {}
