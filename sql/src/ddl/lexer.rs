//! Text to tokens of Hive DDL, each with its place. Never fails: what does not end is a token of its own, an error where it is read.
//!
//! Not the SQL parser's tokenizer: here `"x"` is a name in one place and a string in the next, strings have Java's escapes, and the
//! query of a view is kept as the text that it is.

use std::fmt;
use std::ops::Range;

/// A piece of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A bare word or a number, as written.
    Word(String),
    /// In backticks: a name.
    Quoted(String),
    /// In double quotes: a name or a string.
    Double(String),
    /// In single quotes: a string.
    Text(String),
    /// Any other character; `<=`, `>=`, `<>`, `!=` are one.
    Sign(&'static str),
    /// A character with no meaning here.
    Other(char),
    /// A quote or comment that does not end.
    Open,
    /// The end.
    End,
}

/// A token, where it starts (bytes) and where it ends.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) start: usize,
    pub(super) end: usize,
}

const SIGNS: [&str; 17] = ["<=", ">=", "<>", "!=", "(", ")", "<", ">", ",", ":", ";", ".", "=", "-", "+", "*", "$"];

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => f.write_str(text),
            Self::Quoted(text) => write!(f, "`{text}`"),
            Self::Double(text) => write!(f, "\"{text}\""),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Sign(sign) => f.write_str(sign),
            Self::Other(c) => write!(f, "{c}"),
            Self::Open => f.write_str("a quote or comment that does not end"),
            Self::End => f.write_str("<EOF>"),
        }
    }
}

/// All tokens of `sql`, the last of them [`Token::End`].
pub(super) fn tokens(sql: &str) -> Vec<Placed> {
    let mut lexer = Lexer { sql, at: 0 };
    let mut all = Vec::new();
    loop {
        let is_whole = lexer.skip_blanks();
        let start = lexer.at;
        let token = if is_whole { lexer.next() } else { Token::Open };
        let last = token == Token::End || token == Token::Open;
        all.push(Placed { token, start, end: lexer.at });
        if last {
            break;
        }
    }
    if all.last().is_some_and(|last| last.token == Token::Open) {
        all.push(Placed { token: Token::End, start: sql.len(), end: sql.len() });
    }
    all
}

/// Where the DDL statement that `sql` begins with ends (bytes), and where its strings are; none for another statement. What is a query
/// in it (a view's, CREATE TABLE AS) has SQL's strings, and so have patterns of SHOW: these are none here.
pub(crate) fn hive_statement(sql: &str) -> Option<(usize, Vec<Range<usize>>)> {
    let mut lexer = Lexer { sql, at: 0 };
    let mut words = [String::new(), String::new()];
    for word in &mut words {
        lexer.skip_blanks();
        *word = lexer.word(|c| c.is_alphanumeric() || c == '_').to_lowercase();
    }
    match (words[0].as_str(), words[1].as_str()) {
        ("create", "external" | "database" | "schema") | ("alter" | "drop" | "msck", _) => {}
        _ => return None,
    }
    let mut lexer = Lexer { sql, at: 0 };
    let mut strings = Vec::new();
    loop {
        if !lexer.skip_blanks() {
            return Some((sql.len(), strings));
        }
        let start = lexer.at;
        match lexer.next() {
            Token::Sign(";") => return Some((start, strings)),
            Token::Text(_) | Token::Double(_) => strings.push(start..lexer.at),
            Token::End | Token::Open => return Some((sql.len(), strings)),
            _ => {}
        }
    }
}

/// Line and column (from 1) of a byte.
pub(super) fn line_and_column(sql: &str, at: usize) -> (usize, usize) {
    let before = sql.get(..at).unwrap_or(sql);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn word(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Skips blanks and comments; `false` when a comment does not end.
    fn skip_blanks(&mut self) -> bool {
        loop {
            self.word(char::is_whitespace);
            let rest = self.rest();
            if rest.starts_with("--") {
                self.word(|c| c != '\n');
            } else if rest.starts_with("/*") {
                match rest.find("*/") {
                    Some(end) => self.at += end + 2,
                    None => return false,
                }
            } else {
                return true;
            }
        }
    }

    fn next(&mut self) -> Token {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Token::End };
        match first {
            '\'' => self.string('\'').map_or(Token::Open, Token::Text),
            '"' => self.string('"').map_or(Token::Open, Token::Double),
            '`' => self.name().map_or(Token::Open, Token::Quoted),
            c if c.is_alphanumeric() || c == '_' => {
                Token::Word(self.word(|c| c.is_alphanumeric() || c == '_' || c == '$').to_string())
            }
            c => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => {
                    self.at += sign.len();
                    Token::Sign(sign)
                }
                None => {
                    self.at += c.len_utf8();
                    Token::Other(c)
                }
            },
        }
    }

    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((place, c)) = chars.next() {
            if c == '`' && chars.next_if(|(_, next)| *next == '`').is_none() {
                self.at += place + 1;
                return Some(name);
            }
            name.push(c);
        }
        None
    }

    /// A string with Java's escapes (`\t`, `\001`, `\u0001`, `\\`) and doubled quotes.
    fn string(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((place, c)) = chars.next() {
            match c {
                c if c == quote => {
                    if chars.next_if(|(_, next)| *next == quote).is_none() {
                        self.at += place + 1;
                        return Some(text);
                    }
                    text.push(quote);
                }
                '\\' => {
                    let (_, escaped) = chars.next()?;
                    match escaped {
                        't' => text.push('\t'),
                        'n' => text.push('\n'),
                        'r' => text.push('\r'),
                        'b' => text.push('\u{8}'),
                        'Z' => text.push('\u{1a}'),
                        // Kept for LIKE patterns, as in Hive.
                        '%' | '_' => text.extend(['\\', escaped]),
                        'u' | '0'..='3' => {
                            let (radix, most) = if escaped == 'u' { (16, 4) } else { (8, 2) };
                            let mut code = escaped.to_digit(8).unwrap_or(0);
                            let mut digits = 0;
                            while digits < most
                                && let Some((_, digit)) = chars.next_if(|(_, next)| next.is_digit(radix))
                            {
                                code = code * radix + digit.to_digit(radix).unwrap_or(0);
                                digits += 1;
                            }
                            match char::from_u32(code) {
                                Some(c) if escaped != 'u' || digits == most => text.push(c),
                                _ => text.push(escaped),
                            }
                        }
                        other => text.push(other),
                    }
                }
                c => text.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(sql: &str) -> Vec<Token> {
        tokens(sql).into_iter().map(|placed| placed.token).collect()
    }

    #[test]
    fn strings_have_javas_escapes_and_doubled_quotes() {
        let text = |text: &str| [Token::Text(text.into()), Token::End];
        for (sql, read) in [
            (r"'\001'", "\u{1}"),
            (r"'\t'", "\t"),
            (r"'\u0041\\'", "A\\"),
            (r"'it''s'", "it's"),
            (r"'it\'s'", "it's"),
            (r"'\N'", "N"),
            (r"'\\N'", "\\N"),
            (r"'\0'", "\0"),
        ] {
            assert_eq!(all(sql), text(read), "{sql}");
        }
        assert_eq!(all("\"\\\"\""), [Token::Double("\"".into()), Token::End]);
        assert_eq!(all("`a``b`"), [Token::Quoted("a`b".into()), Token::End]);
    }

    #[test]
    fn comments_are_skipped_and_open_ends_are_told() {
        assert_eq!(
            all("-- x\n/* y */ a.b<=1"),
            [
                Token::Word("a".into()),
                Token::Sign("."),
                Token::Word("b".into()),
                Token::Sign("<="),
                Token::Word("1".into()),
                Token::End
            ]
        );
        for sql in ["'a", "\"a", "`a", "/* a", "'a\\"] {
            assert_eq!(all(sql), [Token::Open, Token::End], "{sql}");
        }
    }

    proptest! {
        #[test]
        fn it_never_panics_and_places_are_within_the_text(sql in "\\PC{0,60}") {
            for placed in tokens(&sql) {
                prop_assert!(sql.get(placed.start..placed.end.max(placed.start)).is_some());
                let _ = line_and_column(&sql, placed.start);
            }
        }
    }
}
