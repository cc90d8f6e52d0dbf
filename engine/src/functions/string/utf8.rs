//! Code points, normal forms, and bytes that may not be UTF-8.

use super::{Cow, Result, Row, bad, bounded};
use unicode_normalization::UnicodeNormalization;

/// `chr(bigint)`.
pub(super) fn chr<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let code = row.int(0);
    let character = u32::try_from(code).ok().and_then(char::from_u32);
    let character = character.ok_or_else(|| bad(format!("Not a valid Unicode code point: {code}")))?;
    Ok(Some(String::from(character).into()))
}

/// `codepoint(varchar)`.
pub(super) fn codepoint(row: &Row<'_>) -> Result<Option<i32>> {
    let mut characters = row.text(0).chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) => Ok(i32::try_from(u32::from(one)).ok()),
        _ => Err(bad("Input string must be a single character string")),
    }
}

/// `normalize(varchar [, form])`.
pub(super) fn normalize<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let text = row.text(0);
    let normal: String = match if row.count() > 1 { row.text(1) } else { "NFC" } {
        "NFC" => text.nfc().collect(),
        "NFD" => text.nfd().collect(),
        "NFKC" => text.nfkc().collect(),
        "NFKD" => text.nfkd().collect(),
        _ => return Err(bad("Normalization form must be one of [NFD, NFC, NFKD, NFKC]")),
    };
    Ok(Some(normal.into()))
}

/// `from_utf8(varbinary)`.
pub(super) fn from_utf8<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    decode(row.bytes(0), Some('\u{FFFD}'))
}

/// `from_utf8(varbinary, varchar)`: the replacement is one character, or empty to drop what is invalid.
pub(super) fn from_utf8_replacing<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let mut replacement = row.text(1).chars();
    let first = replacement.next();
    if replacement.next().is_some() {
        return Err(bad("Replacement character string must be empty or a single character"));
    }
    decode(row.bytes(0), first)
}

/// `from_utf8(varbinary, bigint)`.
pub(super) fn from_utf8_replacing_code<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let replacement = u32::try_from(row.int(1)).ok().and_then(char::from_u32);
    decode(row.bytes(0), Some(replacement.ok_or_else(|| bad("Invalid replacement character"))?))
}

fn decode(bytes: &[u8], replacement: Option<char>) -> Result<Option<Cow<'_, str>>> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(Some(text.into()));
    }
    let (mut text, mut rest) = (String::with_capacity(bytes.len()), bytes);
    while !rest.is_empty() {
        match first_sequence(rest) {
            Ok(c) => {
                text.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
            Err(invalid) => {
                text.extend(replacement);
                rest = rest.get(invalid..).unwrap_or_default();
            }
        }
    }
    bounded(text.len())?;
    Ok(Some(text.into()))
}

/// The first character, or how many bytes the invalid sequence has that stands in its place.
///
/// One sequence is replaced by one character: its lead byte and the continuation bytes that belong to it, up to the six of the
/// old UTF-8, as Trino's engine counts them.
fn first_sequence(bytes: &[u8]) -> Result<char, usize> {
    let Some(&lead) = bytes.first() else { return Err(1) };
    let (length, mut code) = match lead {
        0x00..=0x7F => return Ok(char::from(lead)),
        0xC0..=0xDF => (2, u32::from(lead & 0x1F)),
        0xE0..=0xEF => (3, u32::from(lead & 0x0F)),
        0xF0..=0xF7 => (4, u32::from(lead & 0x07)),
        0xF8..=0xFB => (5, 0),
        0xFC..=0xFD => (6, 0),
        _ => return Err(1),
    };
    for at in 1..length {
        match bytes.get(at) {
            Some(next) if next & 0xC0 == 0x80 => code = (code << 6) | u32::from(next & 0x3F),
            _ => return Err(at),
        }
    }
    let shortest = [0, 0, 0x80, 0x800, 0x1_0000].get(length).copied().unwrap_or(u32::MAX);
    char::from_u32(code).filter(|_| code >= shortest).ok_or(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_sequence_is_replaced_once() {
        let decoded = |bytes: &[u8]| decode(bytes, Some('?')).ok().flatten().map(Cow::into_owned);
        assert_eq!(decoded(b"a\x80b").as_deref(), Some("a?b"));
        assert_eq!(decoded(b"a\xE2\x82").as_deref(), Some("a?"));
        assert_eq!(decoded(b"\xE2\x82z").as_deref(), Some("?z"));
        assert_eq!(decoded(b"\xED\xA0\x80z").as_deref(), Some("?z"));
        assert_eq!(decoded(b"\xC1\x81z").as_deref(), Some("?z"));
        assert_eq!(decoded(b"\xFF\xFEz").as_deref(), Some("??z"));
        assert_eq!(decoded("é\u{10FFFF}".as_bytes()).as_deref(), Some("é\u{10FFFF}"));
    }
}
