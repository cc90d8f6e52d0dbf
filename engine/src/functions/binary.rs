//! Functions of varbinary: hashes, hex, base64, UTF-8.

use super::Functions;

/// Adds the functions of this module.
pub(super) fn add(_functions: &mut Functions) {}
