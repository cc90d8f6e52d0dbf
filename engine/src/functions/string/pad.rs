//! Padding and trimming.

use super::{Cow, Result, Row, bad, bounded};

/// `lpad(varchar, bigint, varchar)`.
pub(super) fn left_pad<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    pad(row, |text, fill| fill + text)
}

/// `rpad(varchar, bigint, varchar)`.
pub(super) fn right_pad<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    pad(row, |text, fill| format!("{text}{fill}"))
}

fn pad<'a>(row: &Row<'a>, join: fn(&str, String) -> String) -> Result<Option<Cow<'a, str>>> {
    let (text, fill) = (row.text(0), row.text(2));
    let target = target_length(row.int(1))?;
    if fill.is_empty() {
        return Err(bad("Padding string must not be empty"));
    }
    let length = text.chars().count();
    let Some(missing) = target.checked_sub(length).filter(|missing| *missing > 0) else {
        let end = text.char_indices().nth(target).map_or(text.len(), |(at, _)| at);
        return Ok(text.get(..end).map(Cow::Borrowed));
    };
    // A character has at least one byte: what is too long for this is refused before it is made.
    bounded(missing)?;
    let fill: String = fill.chars().cycle().take(missing).collect();
    Ok(Some(join(text, fill).into()))
}

/// The length to pad or cut to.
pub(in crate::functions) fn target_length(length: i64) -> Result<usize> {
    let length = i32::try_from(length).ok().and_then(|length| usize::try_from(length).ok());
    length.ok_or_else(|| bad(format!("Target length must be in the range [0..{}]", i32::MAX)))
}

/// White space as Java's `Character.isWhitespace` has it: no no-break spaces, no next-line, but the ASCII separators.
fn is_space(c: char) -> bool {
    match c {
        '\u{1C}'..='\u{1F}' => true,
        '\u{85}' | '\u{A0}' | '\u{2007}' | '\u{202F}' => false,
        other => other.is_whitespace(),
    }
}

/// `trim(varchar)`.
pub(super) fn trim<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    Ok(Some(row.text(0).trim_matches(is_space).into()))
}

/// `ltrim(varchar)`.
pub(super) fn left_trim<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    Ok(Some(row.text(0).trim_start_matches(is_space).into()))
}

/// `rtrim(varchar)`.
pub(super) fn right_trim<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    Ok(Some(row.text(0).trim_end_matches(is_space).into()))
}

/// `trim(varchar, characters)`.
pub(super) fn trim_of<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let characters = row.text(1);
    Ok(Some(row.text(0).trim_matches(|c| characters.contains(c)).into()))
}

/// `ltrim(varchar, characters)`.
pub(super) fn left_trim_of<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let characters = row.text(1);
    Ok(Some(row.text(0).trim_start_matches(|c| characters.contains(c)).into()))
}

/// `rtrim(varchar, characters)`.
pub(super) fn right_trim_of<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let characters = row.text(1);
    Ok(Some(row.text(0).trim_end_matches(|c| characters.contains(c)).into()))
}
