//! Distances, sounds and check digits.

use super::{Cow, Result, Row, bad};

/// Largest product of lengths that the Levenshtein distance takes, as in Trino.
const MAX_LEVENSHTEIN_CELLS: usize = 1_000_000;

/// `levenshtein_distance(varchar, varchar)`.
pub(super) fn levenshtein_distance(row: &Row<'_>) -> Result<Option<i64>> {
    let (mut long, mut short): (Vec<_>, Vec<_>) = (row.text(0).chars().collect(), row.text(1).chars().collect());
    if long.len() < short.len() {
        std::mem::swap(&mut long, &mut short);
    }
    if long.len().saturating_mul(short.len().saturating_sub(1)) > MAX_LEVENSHTEIN_CELLS {
        return Err(bad("The combined inputs for Levenshtein distance are too large"));
    }
    let mut distances: Vec<i64> = (0..=short.len() as i64).collect();
    for (i, left) in long.iter().enumerate() {
        let mut diagonal = i as i64;
        let mut before = diagonal + 1;
        for (j, right) in short.iter().enumerate() {
            let Some(cell) = distances.get_mut(j + 1) else { break };
            let above = *cell;
            *cell = if left == right { diagonal } else { before.min(above).min(diagonal) + 1 };
            (before, diagonal) = (*cell, above);
        }
    }
    // An empty shorter text leaves no cell to write: every character of the longer one counts.
    Ok(if short.is_empty() { i64::try_from(long.len()).ok() } else { distances.last().copied() })
}

/// `hamming_distance(varchar, varchar)`.
pub(super) fn hamming_distance(row: &Row<'_>) -> Result<Option<i64>> {
    let (mut left, mut right, mut distance) = (row.text(0).chars(), row.text(1).chars(), 0);
    loop {
        match (left.next(), right.next()) {
            (Some(left), Some(right)) => distance += i64::from(left != right),
            (None, None) => return Ok(Some(distance)),
            _ => return Err(bad("The input strings to hamming_distance function must have the same length")),
        }
    }
}

/// Soundex digits of A to Z; `H` and `W` do not separate equal digits, vowels do.
const SOUNDEX: &[u8; 26] = b"01230120022455012623010202";

/// `soundex(varchar)`.
pub(super) fn soundex<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let letters: String = row.text(0).chars().filter(|c| c.is_alphabetic()).flat_map(char::to_uppercase).collect();
    let digit = |letter: char| {
        let index = (letter as usize).checked_sub('A' as usize);
        let digit = index.and_then(|index| SOUNDEX.get(index)).map(|digit| char::from(*digit));
        digit.ok_or_else(|| bad(format!("The character is not mapped: {letter}")))
    };
    let mut rest = letters.chars();
    let Some(first) = rest.next() else { return Ok(Some("".into())) };
    let (mut code, mut last) = (String::from(first), digit(first)?);
    for letter in rest.filter(|letter| !matches!(letter, 'H' | 'W')) {
        if code.len() == 4 {
            break;
        }
        let digit = digit(letter)?;
        if digit != '0' && digit != last {
            code.push(digit);
        }
        last = digit;
    }
    Ok(Some(format!("{code:0<4}").into()))
}

/// `luhn_check(varchar)`.
pub(super) fn luhn_check(row: &Row<'_>) -> Result<Option<bool>> {
    let mut sum = 0_u64;
    for (place, c) in row.text(0).chars().rev().enumerate() {
        let digit = c.to_digit(10).ok_or_else(|| bad("Input contains non-digit character"))?;
        let weighted = if place % 2 == 1 { digit * 2 } else { digit };
        sum += u64::from(if weighted > 9 { weighted - 9 } else { weighted });
    }
    Ok(Some(!row.text(0).is_empty() && sum.is_multiple_of(10)))
}
