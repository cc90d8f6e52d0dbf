//! Which names databases, tables and columns may have here; decides before any of them becomes a key or a path.

use engine::{Error, Result};

/// Longest name, as in Glue.
const MAX_NAME_BYTES: usize = 255;

/// Checks a name that is to become part of a path: ASCII letters, digits, `_`, `-` and `$`.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] with the name, characters that do not print escaped.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_plain) {
        let shown: String = name.escape_default().take(80).collect();
        return Err(Error::invalid(format!(
            "InvalidInputException: '{shown}' is no {what} name here: 1 to {MAX_NAME_BYTES} letters a-z, digits, _, - and $"
        )));
    }
    Ok(())
}

/// Checks a column's name: anything that prints, without what would break `SHOW` and Hive type texts.
///
/// # Errors
/// As [`check_name`].
pub fn check_column(name: &str) -> Result<()> {
    let bad = |c: char| c.is_control() || matches!(c, ',' | '`' | '<' | '>' | '/');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(bad) || name.eq_ignore_ascii_case(super::PATH) {
        let shown: String = name.escape_default().take(80).collect();
        return Err(Error::invalid(format!("InvalidInputException: '{shown}' is no column name here")));
    }
    Ok(())
}

/// Checks the name of a partition column, which is part of its folders' names too: letters and digits, `_`, `-`, `$` and blanks.
///
/// # Errors
/// As [`check_name`].
pub fn check_partition_key(name: &str) -> Result<()> {
    check_column(name)?;
    if name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | ' ')) {
        return Ok(());
    }
    let shown: String = name.escape_default().take(80).collect();
    Err(Error::invalid(format!(
        "InvalidInputException: '{shown}' is no name of a partition column here: letters, digits, _, -, $ and blanks"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for name in
            ["", ".", "..", "a/b", "a\\b", "a\0", "a\n", "\u{2024}\u{2024}", "\u{ff0e}", "a.b", "%2e", "ä", &"x".repeat(256)]
        {
            assert!(check_name("table", name).is_err(), "{name:?}");
        }
        for name in ["t", "my-table", "t$1", "_x", "2024"] {
            assert!(check_name("table", name).is_ok(), "{name:?}");
        }
        assert!(check_column("$PATH").is_err());
        for name in ["k.x", "k%x", "a:b", "k'x", "k=x", "k/x", ".k", "$path"] {
            assert!(check_partition_key(name).is_err(), "{name}");
        }
        assert!(check_partition_key("größe_1").is_ok());
        assert!(check_column("größe m²").is_ok() && check_column("a\nb").is_err());
    }
}
