//! A path as tokens.

use datafusion::error::{DataFusionError, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Symbol(&'static str),
    /// A word without quotes; which are keywords depends on their place.
    Word(&'a str),
    /// `$name`
    Variable(&'a str),
    /// A text in quotes, without them.
    Text(String),
    Integer(&'a str),
    Decimal(&'a str),
    Double(&'a str),
}

/// Longer ones before their beginnings.
const SYMBOLS: [&str; 25] = [
    "..", "&&", "||", "==", "<>", "!=", "<=", ">=", ".", "*", "[", "]", ",", "?", "(", ")", "+", "-", "/", "%", "$", "@", "!",
    "<", ">",
];

/// The tokens of `path`.
///
/// # Errors
/// For what is no token.
pub(super) fn tokens(path: &str) -> Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = path;
    loop {
        rest = rest.trim_start_matches([' ', '\r', '\n', '\t']);
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, length) = match first {
            '"' => text(rest).ok_or_else(|| invalid(path, "a quote is missing"))?,
            '0'..='9' => number(rest),
            '.' if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => number(rest),
            '$' if word(rest.get(1..).unwrap_or_default()) > 0 => {
                let length = 1 + word(rest.get(1..).unwrap_or_default());
                (Token::Variable(rest.get(1..length).unwrap_or_default()), length)
            }
            _ if word(rest) > 0 => (Token::Word(rest.get(..word(rest)).unwrap_or_default()), word(rest)),
            _ => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => return Err(invalid(path, &format!("'{first}' is not expected"))),
            },
        };
        tokens.push(token);
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// The error of a path that cannot be read.
pub(super) fn invalid(path: &str, why: &str) -> DataFusionError {
    DataFusionError::Plan(format!("INVALID_PATH: Invalid JSON path '{path}': {why}"))
}

/// How many bytes at the front of `text` are a word.
fn word(text: &str) -> usize {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    match text.chars().next() {
        Some(first) if is_part(first) && !first.is_ascii_digit() => text.find(|c| !is_part(c)).unwrap_or(text.len()),
        _ => 0,
    }
}

/// A quoted text; a quote within it is written twice, and a backslash is one.
fn text(rest: &str) -> Option<(Token<'_>, usize)> {
    let mut text = String::new();
    let mut at = 1;
    loop {
        let from = rest.get(at..)?;
        let end = from.find('"')?;
        text.push_str(from.get(..end)?);
        at += end + 1;
        if rest.as_bytes().get(at) != Some(&b'"') {
            return Some((Token::Text(text), at));
        }
        text.push('"');
        at += 1;
    }
}

fn number(rest: &str) -> (Token<'_>, usize) {
    let digits = |from: usize| rest.bytes().skip(from).take_while(u8::is_ascii_digit).count();
    let mut length = digits(0);
    let mut is_integer = true;
    if rest.as_bytes().get(length) == Some(&b'.') {
        is_integer = false;
        length += 1 + digits(length + 1);
    }
    if matches!(rest.as_bytes().get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.as_bytes().get(length + 1), Some(b'+' | b'-')));
        let power = digits(length + 1 + sign);
        if power > 0 {
            length += 1 + sign + power;
            return (Token::Double(rest.get(..length).unwrap_or_default()), length);
        }
    }
    let text = rest.get(..length).unwrap_or_default();
    (if is_integer { Token::Integer(text) } else { Token::Decimal(text) }, length)
}
