//! Upper and lower case, code point by code point: a character becomes one character or stays, whatever its neighbours and the locale.

use super::{Cow, Result, Row};

/// `lower(varchar)`.
pub(super) fn lower<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let text = row.text(0);
    Ok(Some(if text.is_ascii() { text.to_ascii_lowercase() } else { text.chars().map(lower_char).collect() }.into()))
}

/// `upper(varchar)`.
pub(super) fn upper<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let text = row.text(0);
    Ok(Some(if text.is_ascii() { text.to_ascii_uppercase() } else { text.chars().map(upper_char).collect() }.into()))
}

/// The simple lower case mapping. The dotted capital I is the only one that Rust maps to more than one character.
pub(super) fn lower_char(from: char) -> char {
    let mut to = from.to_lowercase();
    match (to.next(), to.next()) {
        (Some(one), None) => one,
        _ if from == '\u{130}' => 'i',
        _ => from,
    }
}

/// The simple upper case mapping: where the full one has more characters, Greek with iota subscript still has a title case letter.
pub(super) fn upper_char(from: char) -> char {
    let mut to = from.to_uppercase();
    match (to.next(), to.next()) {
        (Some(one), None) => one,
        _ => match from {
            '\u{1F80}'..='\u{1F87}' | '\u{1F90}'..='\u{1F97}' | '\u{1FA0}'..='\u{1FA7}' => {
                char::from_u32(u32::from(from) + 8).unwrap_or(from)
            }
            '\u{1FB3}' => '\u{1FBC}',
            '\u{1FC3}' => '\u{1FCC}',
            '\u{1FF3}' => '\u{1FFC}',
            other => other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_stays_one() {
        assert_eq!(['ß', 'é', 'ŉ', 'ᾳ', 'ǆ'].map(upper_char), ['ß', 'É', 'ŉ', 'ᾼ', 'Ǆ']);
        assert_eq!(['İ', 'Σ', 'É'].map(lower_char), ['i', 'σ', 'é']);
    }
}
