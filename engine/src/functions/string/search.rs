//! Parts of a string and their positions, counted in characters from 1.

use super::{Cow, Result, Row, bad, bounded};

/// `substr(varchar, bigint [, bigint])`: a negative start counts from the end, start 0 and what lies outside give the empty string.
pub(super) fn substring<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let length = (row.count() > 2).then(|| row.int(2));
    Ok(Some(part(row.text(0), row.int(1), length).into()))
}

fn part(text: &str, start: i64, length: Option<i64>) -> &str {
    let skip = match start {
        0 => None,
        1.. => usize::try_from(start - 1).ok(),
        _ => usize::try_from(start.unsigned_abs()).ok().and_then(|back| text.chars().count().checked_sub(back)),
    };
    let rest = skip.and_then(|skip| text.get(byte_at(text, skip)..)).unwrap_or_default();
    match length {
        None => rest,
        Some(length) => rest.get(..byte_at(rest, usize::try_from(length).unwrap_or(0))).unwrap_or_default(),
    }
}

/// Where the character number `index` begins, or the end.
fn byte_at(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

/// `strpos(varchar, varchar [, instance])`: a negative instance counts from the end; 0 when there is none.
pub(super) fn position(row: &Row<'_>) -> Result<Option<i64>> {
    let instance = if row.count() > 2 { row.int(2) } else { 1 };
    nth_position(row.text(0), row.text(1), instance).map(Some)
}

/// `strrpos(varchar, varchar [, instance])`.
pub(super) fn position_from_end(row: &Row<'_>) -> Result<Option<i64>> {
    let instance = if row.count() > 2 { row.int(2) } else { 1 };
    if instance <= 0 {
        return Err(bad("'instance' must be a positive number."));
    }
    nth_position(row.text(0), row.text(1), -instance).map(Some)
}

fn nth_position(text: &str, wanted: &str, instance: i64) -> Result<i64> {
    if instance == 0 {
        return Err(bad("'instance' must be a positive or negative number."));
    }
    let (Some(first), Some(last)) = (wanted.chars().next(), wanted.chars().next_back()) else { return Ok(1) };
    // Occurrences may overlap: the next one begins, or from the end ends, a character further on.
    let (mut from, mut to, mut found) = (0, text.len(), None);
    for _ in 0..instance.unsigned_abs() {
        found = if instance > 0 {
            text.get(from..).and_then(|rest| rest.find(wanted)).map(|at| from + at)
        } else {
            text.get(..to).and_then(|rest| rest.rfind(wanted))
        };
        let Some(at) = found else { return Ok(0) };
        from = at + first.len_utf8();
        to = at + wanted.len() - last.len_utf8();
    }
    let before = found.and_then(|at| text.get(..at)).map_or(0, |before| before.chars().count());
    Ok(i64::try_from(before).unwrap_or(i64::MAX).saturating_add(1))
}

/// `replace(varchar, varchar [, varchar])`: an empty search finds every place between characters.
pub(super) fn replace<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let (text, search) = (row.text(0), row.text(1));
    let by = if row.count() > 2 { row.text(2) } else { "" };
    bounded(text.matches(search).count().saturating_mul(by.len()).saturating_add(text.len()))?;
    Ok(Some(text.replace(search, by).into()))
}

/// `translate(varchar, from, to)`: the first of equal characters in `from` counts; those without a partner in `to` are removed.
pub(super) fn translate<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let (from, to) = (row.text(1), row.text(2));
    let translated = row.text(0).chars().filter_map(|c| match from.chars().position(|wanted| wanted == c) {
        Some(at) => to.chars().nth(at),
        None => Some(c),
    });
    Ok(Some(translated.collect::<String>().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_characters_from_either_end() {
        assert_eq!(part("héllo", 2, Some(2)), "él");
        assert_eq!(part("héllo", -4, None), "éllo");
        assert_eq!(part("héllo", -6, None), "");
        assert_eq!(part("héllo", 0, None), "");
        assert_eq!(part("héllo", 6, Some(1)), "");
        assert_eq!(part("héllo", i64::MIN, Some(i64::MAX)), "");
        assert_eq!(part("héllo", 1, Some(-1)), "");
    }

    #[test]
    fn positions_overlap_and_count_from_either_end() {
        let at = |text, wanted, instance| nth_position(text, wanted, instance).ok();
        assert_eq!(at("aaa", "aa", 2), Some(2));
        assert_eq!(at("aaa", "aa", -1), Some(2));
        assert_eq!(at("aaa", "aa", -2), Some(1));
        assert_eq!(at("aaa", "aa", -3), Some(0));
        assert_eq!(at("éxéxé", "é", 2), Some(3));
        assert_eq!(at("éxéxé", "éxé", -2), Some(1));
        assert_eq!(at("", "", -1), Some(1));
        assert_eq!(at("abc", "b", 0), None);
        assert_eq!(at("abc", "b", i64::MIN), Some(0));
    }
}
