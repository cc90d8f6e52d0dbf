//! Regular expression functions with Java's pattern syntax; they find anywhere, and all matches where several can be.

mod java;
mod lambda;
mod pattern;

use self::pattern::{Groups, Pattern};
use super::Functions;
use super::text_support::{Arg, Entry, Eval, Row, Texts, add_table, bad, bounded, on};
use datafusion::error::Result;
use std::borrow::Cow;
use std::rc::Rc;

const TEXT_2: &[Arg] = &[Arg::Text; 2];
const TEXT_2_INT: &[Arg] = &[Arg::Text, Arg::Text, Arg::Int];

static TABLE: &[Entry] = &[
    ("regexp_count", &[on(TEXT_2, Eval::Int(count))]),
    ("regexp_extract", &[on(TEXT_2, Eval::Text(extract)), on(TEXT_2_INT, Eval::Text(extract))]),
    ("regexp_extract_all", &[on(TEXT_2, Eval::Texts(extract_all)), on(TEXT_2_INT, Eval::Texts(extract_all))]),
    ("regexp_like", &[on(TEXT_2, Eval::Bool(like))]),
    (
        "regexp_position",
        &[
            on(TEXT_2, Eval::Int32(position)),
            on(TEXT_2_INT, Eval::Int32(position)),
            on(&[Arg::Text, Arg::Text, Arg::Int, Arg::Int], Eval::Int32(position)),
        ],
    ),
    ("regexp_replace", &[on(TEXT_2, Eval::Text(replace)), on(&[Arg::Text; 3], Eval::Text(replace))]),
    ("regexp_split", &[on(TEXT_2, Eval::Texts(split))]),
];

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    add_table(functions, TABLE);
    lambda::add_to(functions);
}

fn pattern(row: &Row<'_>) -> Result<Rc<Pattern>> {
    row.prepared(1, Pattern::compile)
}

fn like(row: &Row<'_>) -> Result<Option<bool>> {
    pattern(row)?.is_match(row.text(0)).map(Some)
}

/// What a group of the pattern in the second argument matched first; NULL when it did not, or there is no such group.
pub(super) fn matched<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let groups = pattern(row)?.groups();
    if usize::try_from(row.int(2)).is_ok_and(|group| group <= groups) { extract(row) } else { Ok(None) }
}

fn count(row: &Row<'_>) -> Result<Option<i64>> {
    let mut count = 0;
    pattern(row)?.each_match(row.text(0), 0, false, |_, _| {
        count += 1;
        Ok(true)
    })?;
    Ok(Some(count))
}

/// The group asked for by the third argument.
fn group(row: &Row<'_>, pattern: &Pattern) -> Result<usize> {
    let wanted = if row.count() > 2 { row.int(2) } else { 0 };
    let Ok(group) = usize::try_from(wanted) else { return Err(bad("Group cannot be negative")) };
    if group > pattern.groups() {
        return Err(bad(format!("Pattern has {} groups. Cannot access group {group}", pattern.groups())));
    }
    Ok(group)
}

fn text_of<'a>(text: &'a str, groups: &Groups, group: usize) -> Option<&'a str> {
    groups.get(group).and_then(Option::as_ref).and_then(|range| text.get(range.clone()))
}

fn extract<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let pattern = pattern(row)?;
    let (text, group, mut found) = (row.text(0), group(row, &pattern)?, None);
    pattern.each_match(text, 0, group > 0, |_, groups| {
        found = text_of(text, groups, group);
        Ok(false)
    })?;
    Ok(found.map(Cow::Borrowed))
}

fn extract_all<'a>(row: &Row<'a>) -> Result<Option<Texts<'a>>> {
    let pattern = pattern(row)?;
    let (text, group, mut found) = (row.text(0), group(row, &pattern)?, Vec::new());
    pattern.each_match(text, 0, group > 0, |_, groups| {
        found.push(text_of(text, groups, group).map(Cow::Borrowed));
        Ok(true)
    })?;
    Ok(Some(found))
}

/// The position of a match in characters, from the start and occurrence asked for; -1 when there is none.
fn position(row: &Row<'_>) -> Result<Option<i32>> {
    let text = row.text(0);
    let asked = |arg: usize, what: &str| {
        let value = if row.count() > arg { row.int(arg) } else { 1 };
        let value = usize::try_from(value).ok().filter(|value| *value > 0);
        value.ok_or_else(|| bad(format!("{what} cannot be smaller than 1")))
    };
    let (start, occurrence) = (asked(2, "start position")?, asked(3, "occurrence")?);
    let pattern = pattern(row)?;
    let Some((from, _)) = text.char_indices().nth(start - 1) else { return Ok(Some(-1)) };
    let (mut seen, mut found) = (0, None);
    pattern.each_match(text, from, false, |whole, _| {
        seen += 1;
        found = (seen == occurrence).then_some(whole.start);
        Ok(found.is_none())
    })?;
    let before = found.and_then(|at| text.get(..at)).map(|before| before.chars().count());
    Ok(Some(before.and_then(|before| i32::try_from(before + 1).ok()).unwrap_or(-1)))
}

fn split<'a>(row: &Row<'a>) -> Result<Option<Texts<'a>>> {
    let (text, mut parts, mut end) = (row.text(0), Vec::new(), 0);
    pattern(row)?.each_match(text, 0, false, |whole, _| {
        parts.push(text.get(end..whole.start).map(Cow::Borrowed));
        end = whole.end;
        Ok(true)
    })?;
    parts.push(text.get(end..).map(Cow::Borrowed));
    Ok(Some(parts))
}

fn replace<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let pattern = pattern(row)?;
    let (text, replacement) = (row.text(0), if row.count() > 2 { row.text(2) } else { "" });
    let with_groups = replacement.contains('$');
    let (mut replaced, mut end, mut pieces) = (String::new(), 0, None);
    pattern.each_match(text, 0, with_groups, |whole, groups| {
        if pieces.is_none() {
            // A wrong replacement is an error only where something is replaced.
            pieces = Some(pieces_of(replacement, &pattern)?);
        }
        replaced.push_str(text.get(end..whole.start).unwrap_or_default());
        for piece in pieces.iter().flatten() {
            match piece {
                Piece::Text(literal) => replaced.push_str(literal),
                Piece::Group(group) => replaced.push_str(text_of(text, groups, *group).unwrap_or_default()),
            }
        }
        end = whole.end;
        bounded(replaced.len())?;
        Ok(true)
    })?;
    if end == 0 && replaced.is_empty() {
        return Ok(Some(text.into()));
    }
    replaced.push_str(text.get(end..).unwrap_or_default());
    Ok(Some(replaced.into()))
}

/// A piece of a replacement.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

/// Reads a replacement: `$1` with as many digits as there are groups, `${name}`, and a backslash before a plain character.
fn pieces_of(replacement: &str, pattern: &Pattern) -> Result<Vec<Piece>> {
    let illegal = || bad(format!("Illegal replacement sequence: {replacement}"));
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), replacement.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '\\' => literal.push(rest.next().ok_or_else(illegal)?),
            '$' => {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
                let group = if rest.next_if_eq(&'{').is_some() {
                    let name: String = std::iter::from_fn(|| rest.next_if(|c| *c != '}')).collect();
                    rest.next().ok_or_else(illegal)?;
                    pattern
                        .group_named(&name)
                        .ok_or_else(|| bad(format!("Illegal replacement sequence: unknown group {{ {name} }}")))?
                } else {
                    let digit = rest.next().and_then(|c| c.to_digit(10)).ok_or_else(illegal)?;
                    let mut group = digit as usize;
                    if group > pattern.groups() {
                        return Err(bad(format!("Illegal replacement sequence: unknown group {group}")));
                    }
                    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10))
                        && group * 10 + digit as usize <= pattern.groups()
                    {
                        group = group * 10 + digit as usize;
                        rest.next();
                    }
                    group
                };
                pieces.push(Piece::Group(group));
            }
            other => literal.push(other),
        }
    }
    pieces.push(Piece::Text(literal));
    Ok(pieces)
}
