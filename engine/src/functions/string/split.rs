//! Splitting by delimiters.

use super::{Cow, Result, Row, bad};
use crate::functions::text_support::{Entries, Texts};
use std::collections::HashMap;

/// `split(varchar, delimiter [, limit])`: with a limit, the last part has the rest.
pub(super) fn split<'a>(row: &Row<'a>) -> Result<Option<Texts<'a>>> {
    let (text, delimiter) = (row.text(0), row.text(1));
    let limit = match (row.count() > 2).then(|| row.int(2)) {
        None => usize::MAX,
        Some(limit) if limit <= 0 => return Err(bad("Limit must be positive")),
        Some(limit) if limit > i64::from(i32::MAX) => return Err(bad("Limit is too large")),
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    if delimiter.is_empty() {
        return Err(bad("The delimiter may not be the empty string"));
    }
    Ok(Some(text.splitn(limit, delimiter).map(|part| Some(part.into())).collect()))
}

/// `split_part(varchar, delimiter, index)`: NULL when there are fewer parts; an empty delimiter separates all characters.
pub(super) fn split_part<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let (text, delimiter) = (row.text(0), row.text(1));
    let Some(skip) = usize::try_from(row.int(2)).ok().and_then(|index| index.checked_sub(1)) else {
        return Err(bad("Index must be greater than zero"));
    };
    let part = if delimiter.is_empty() {
        text.char_indices().nth(skip).and_then(|(at, c)| text.get(at..at + c.len_utf8()))
    } else {
        text.split(delimiter).nth(skip)
    };
    Ok(part.map(Cow::Borrowed))
}

/// The entries of a text; one delimiter within each.
fn entries<'a>(row: &Row<'a>) -> Result<Entries<'a>> {
    let (text, between, within) = (row.text(0), row.text(1), row.text(2));
    if between.is_empty() || within.is_empty() {
        return Err(bad(format!("{} is empty", if between.is_empty() { "entryDelimiter" } else { "keyValueDelimiter" })));
    }
    if between == within {
        return Err(bad("entryDelimiter and keyValueDelimiter must not be the same"));
    }
    let text = text.strip_suffix(between).unwrap_or(text);
    if text.is_empty() && row.text(0).is_empty() {
        return Ok(Vec::new());
    }
    text.split(between)
        .map(|entry| match entry.split_once(within) {
            Some((key, value)) if !value.contains(within) => Ok((key, value)),
            _ => Err(bad(format!("Key-value delimiter must appear exactly once in each entry. Bad input: '{entry}'"))),
        })
        .collect()
}

/// `split_to_map(varchar, entry delimiter, key value delimiter)`.
pub(super) fn split_to_map<'a>(row: &Row<'a>) -> Result<Option<Entries<'a>>> {
    let entries = entries(row)?;
    let mut seen = HashMap::with_capacity(entries.len());
    match entries.iter().find(|(key, value)| seen.insert(*key, *value).is_some()) {
        Some((key, _)) => Err(bad(format!("Duplicate keys ({key}) are not allowed"))),
        None => Ok(Some(entries)),
    }
}

/// `split_to_multimap(varchar, entry delimiter, key value delimiter)`: keys in the order of their first value.
pub(super) fn split_to_multimap<'a>(row: &Row<'a>) -> Result<Option<Entries<'a, Vec<&'a str>>>> {
    let mut places = HashMap::new();
    let mut grouped: Entries<'_, Vec<&str>> = Vec::new();
    for (key, value) in entries(row)? {
        let place = *places.entry(key).or_insert(grouped.len());
        match grouped.get_mut(place) {
            Some((_, values)) => values.push(value),
            None => grouped.push((key, vec![value])),
        }
    }
    Ok(Some(grouped))
}
