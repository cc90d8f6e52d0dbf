//! Forms of one word or a few: numbers that are more than digits, `trim`, and `ANY (VALUES ..)`.

use super::{Edits, Tokens, byte_offset};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Word};
use engine::{Error, Result};
use std::collections::BTreeMap;

impl Edits {
    fn replace(&mut self, index: usize, with: Token) {
        self.removed.insert(index);
        self.before.entry(index).or_default().push(with);
    }

    /// `1_000`, `0x1F`, `0b11` and `0o17`, of which the parser reads `1 AS _000` and the like.
    pub(super) fn read_number(&mut self, tokens: &Tokens<'_>, index: usize) -> Result<()> {
        if let Some(Token::HexStringLiteral(digits)) = tokens.get(index)
            && tokens.text.get(byte_offset(tokens.text, tokens.place(index))..).is_some_and(|rest| rest.starts_with('0'))
        {
            let number = in_base(digits, 16).ok_or_else(|| tokens.expected(index, "a number"))?;
            self.replace(index, number);
            return Ok(());
        }
        let (Some(Token::Number(digits, false)), Some(Token::Word(word))) = (tokens.get(index), tokens.get(index + 1)) else {
            return Ok(());
        };
        let is_next = tokens.tokens.get(index).map(|token| token.span.end) == Some(tokens.place(index + 1));
        if !is_next || word.quote_style.is_some() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Ok(());
        }
        let lower = word.value.to_lowercase();
        let based = match lower.split_at_checked(1) {
            Some(("b", rest)) if digits == "0" => in_base(rest, 2),
            Some(("o", rest)) if digits == "0" => in_base(rest, 8),
            Some(("_", _)) => grouped(digits, &lower),
            _ => None,
        };
        let number = based.ok_or_else(|| no_name(tokens, index))?;
        self.replace(index, number);
        self.removed.insert(index + 1);
        Ok(())
    }

    /// `trim(FROM s)`, `trim(LEADING FROM s)`, `trim(c FROM s)` and `trim(s, c)`; the parser reads `trim(BOTH c FROM s)` and `trim(s)`.
    pub(super) fn spell_trim(&mut self, tokens: &Tokens<'_>, closings: &BTreeMap<usize, usize>, index: usize) {
        let Some(close) = closings.get(&(index + 1)) else { return };
        let first = index + 2;
        let mut outer = Vec::new();
        let mut at = first;
        while at < *close {
            outer.push(at);
            at = closings.get(&at).map_or(at, |inner| *inner) + 1;
        }
        let side = tokens.word(first);
        let function = match side.as_str() {
            "LEADING" => Some("ltrim"),
            "TRAILING" => Some("rtrim"),
            "BOTH" => Some("trim"),
            _ => None,
        };
        let from = outer.iter().copied().find(|at| tokens.word(*at) == "FROM");
        let name = |name: &str| Token::Word(Word { value: name.into(), quote_style: Some('"'), keyword: Keyword::NoKeyword });
        match (function, from) {
            (Some(function), Some(from)) if from == first + 1 => {
                self.replace(index, name(function));
                self.removed.extend([first, from]);
            }
            (None, Some(from)) if from == first => drop(self.removed.insert(from)),
            (None, Some(_)) => self.before.entry(first).or_default().push(Token::make_keyword("BOTH")),
            (None, None) if outer.iter().any(|at| tokens.get(*at) == Some(&Token::Comma)) => self.replace(index, name("trim")),
            _ => {}
        }
    }

    /// The type `map<k, v>` as `map(k, v)`, with other types within.
    pub(super) fn spell_map(&mut self, tokens: &Tokens<'_>, index: usize) {
        // Whether each open bracket is one of a map.
        let (mut open, mut at) = (vec![true], index + 2);
        let mut closings: Vec<(usize, Vec<Token>)> = Vec::new();
        while !open.is_empty() {
            let ends = match tokens.get(at) {
                Some(Token::Gt) => 1,
                Some(Token::ShiftRight) => 2,
                Some(Token::Word(_) | Token::Comma | Token::LParen | Token::RParen | Token::Number(..)) => 0,
                Some(Token::Lt) => {
                    open.push(tokens.word(at - 1) == "MAP");
                    0
                }
                _ => return,
            };
            // The last one may be that of a type around this one.
            let closed: Vec<bool> = (0..ends).map(|_| open.pop().unwrap_or(false)).collect();
            if closed.contains(&true) {
                let token = |is_map: bool| if is_map { Token::RParen } else { Token::Gt };
                closings.push((at, closed.into_iter().map(token).collect()));
            }
            at += 1;
        }
        // A column of that name may be compared.
        if !matches!(tokens.get(at), Some(Token::RParen | Token::Comma | Token::Gt | Token::ShiftRight)) {
            return;
        }
        self.replace(index + 1, Token::LParen);
        // A map around this one has closed what both end with.
        for (at, closing) in closings {
            if self.removed.insert(at) {
                self.before.insert(at, closing);
            }
        }
    }

    /// `= ANY (VALUES 1, 2)` as one of `(SELECT * FROM (VALUES 1, 2))`: the parser knows no other query there.
    pub(super) fn select_rows(&mut self, tokens: &Tokens<'_>, closings: &BTreeMap<usize, usize>, values: usize) {
        let (Some(open), Some(word)) = (values.checked_sub(1), values.checked_sub(2)) else { return };
        let Some(close) = closings.get(&open).filter(|_| matches!(tokens.word(word).as_str(), "ANY" | "ALL" | "SOME")) else {
            return;
        };
        let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM"), Token::LParen];
        self.before.entry(values).or_default().extend(words);
        self.before.entry(*close).or_default().push(Token::RParen);
    }
}

/// The number of `digits`, which may have underscores between them.
fn in_base(digits: &str, base: u32) -> Option<Token> {
    let is_grouped = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    let number = i64::from_str_radix(&digits.replace('_', ""), base).ok().filter(|number| is_grouped && *number >= 0)?;
    Some(Token::Number(number.to_string(), false))
}

/// The number whose digits are `first` and those of `rest`, behind underscores.
fn grouped(first: &str, rest: &str) -> Option<Token> {
    let groups = rest.strip_prefix('_')?.split('_');
    let are_digits = groups.clone().all(|group| !group.is_empty() && group.bytes().all(|digit| digit.is_ascii_digit()));
    are_digits.then(|| Token::Number(groups.fold(first.to_string(), |number, group| number + group), false))
}

fn no_name(tokens: &Tokens<'_>, index: usize) -> Error {
    let place = tokens.place(index);
    let why = "identifiers must not start with a digit; surround the identifier with double quotes";
    Error::invalid(format!("line {}:{}: {why}", place.line, place.column))
}
