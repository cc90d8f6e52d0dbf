//! What of a statement's tokens the parser must not see: it would not end, or read another value.

use super::Tokens;
use crate::message;
use datafusion::sql::sqlparser::tokenizer::Token;
use engine::{Error, ErrorKind, Result};

/// Most parentheses inside each other; the parser follows fewer in expressions.
const MAX_NESTING: usize = 200;

/// Most brackets inside each other: the parser tries each twice.
const MAX_BRACKETS: usize = 25;

/// Most queries inside each other, each in an expression of the other or as WITH within its WITH: planning looks at each of them again for
/// each one around it, twice as often at every level.
const MAX_QUERIES: usize = 16;

impl Tokens<'_> {
    fn too_deep(&self, index: usize, what: &str) -> Error {
        let place = self.place(index);
        Error::new(ErrorKind::LimitExceeded, format!("line {}:{}: {what}", place.line, place.column))
    }

    /// Refuses queries within each other that planning would not come to an end with.
    pub(super) fn check_queries(&self) -> Result<()> {
        // Whether each parenthesis that is open has such a query in it.
        let mut open = Vec::new();
        let mut depth: usize = 0;
        for (index, token) in self.tokens.iter().enumerate() {
            match &token.token {
                Token::LParen => {
                    let before = index.checked_sub(1).map(|before| self.word(before)).unwrap_or_default();
                    let is_counted = match self.word(index + 1).as_str() {
                        "WITH" => true,
                        "SELECT" | "VALUES" => !matches!(before.as_str(), "FROM" | "JOIN" | "LATERAL" | "AS"),
                        _ => false,
                    };
                    depth += usize::from(is_counted);
                    open.push(is_counted);
                }
                Token::RParen => depth -= usize::from(open.pop().unwrap_or(false)),
                _ => {}
            }
            if depth > MAX_QUERIES {
                let what = format!(
                    "more than {MAX_QUERIES} queries inside each other, in expressions or WITH: give them names in one WITH"
                );
                return Err(self.too_deep(index, &what));
            }
        }
        Ok(())
    }

    /// The parser follows types without counting how deep it is.
    pub(super) fn check_nesting(&self) -> Result<()> {
        let (mut depth, mut brackets): (usize, usize) = (0, 0);
        for (index, token) in self.tokens.iter().enumerate() {
            let before = index.checked_sub(1);
            match &token.token {
                Token::LParen => depth += 1,
                Token::RParen | Token::Gt => depth = depth.saturating_sub(1),
                Token::ShiftRight => depth = depth.saturating_sub(2),
                Token::Lt if before.is_some_and(|before| matches!(self.word(before).as_str(), "ARRAY" | "STRUCT" | "MAP")) => {
                    depth += 1
                }
                // `INTEGER[][]`
                Token::LBracket if self.get(index + 1) == Some(&Token::RBracket) => {
                    let is_next = before.and_then(|before| self.get(before)) == Some(&Token::RBracket);
                    brackets = if is_next { brackets + 1 } else { 0 };
                }
                Token::LBracket => depth += 1,
                Token::RBracket if before.and_then(|before| self.get(before)) != Some(&Token::LBracket) => {
                    depth = depth.saturating_sub(1);
                }
                _ => {}
            }
            if depth > MAX_NESTING || brackets > MAX_BRACKETS {
                let what = format!("parentheses nest more than {MAX_NESTING} deep, or brackets more than {MAX_BRACKETS}");
                return Err(self.too_deep(index, &what));
            }
        }
        Ok(())
    }

    /// Whole numbers are bigint; the planner would make larger ones unsigned or floating-point. A byte has two digits.
    pub(super) fn check_numbers(&self) -> Result<()> {
        for (index, token) in self.tokens.iter().enumerate() {
            let digits = match &token.token {
                Token::Number(digits, _) => digits,
                Token::HexStringLiteral(digits) if digits.len() % 2 > 0 => {
                    let why = "Binary literal must contain an even number of digits";
                    return Err(message::named("INVALID_LITERAL", Some(self.place(index)), why));
                }
                _ => continue,
            };
            if !digits.bytes().all(|c| c.is_ascii_digit()) || digits.parse::<i64>().is_ok() {
                continue;
            }
            let is_negative = index.checked_sub(1).and_then(|before| self.get(before)) == Some(&Token::Minus);
            if !(is_negative && digits.parse::<u64>() == Ok(i64::MIN.unsigned_abs())) {
                let why = format!("Invalid numeric literal: {digits}; write DECIMAL '{digits}'");
                return Err(message::named("INVALID_LITERAL", Some(self.place(index)), &why));
            }
        }
        Ok(())
    }
}
