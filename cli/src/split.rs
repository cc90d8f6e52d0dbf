//! Cuts typed text at its semicolons, as SQL sees them: not those in quotes and comments.

/// Statements that a semicolon ends, and what follows the last one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pieces<'a> {
    /// Without their semicolons; never blank.
    pub(crate) statements: Vec<&'a str>,
    /// What follows the last semicolon, if that is more than blanks and comments, or a quote or comment is still open.
    pub(crate) rest: Option<&'a str>,
}

impl<'a> Pieces<'a> {
    /// Whether more text must follow until the last statement ends.
    pub(crate) fn unfinished(&self) -> bool {
        self.rest.is_some()
    }

    /// All statements, the last one with or without a semicolon.
    pub(crate) fn all(self) -> Vec<&'a str> {
        self.statements.into_iter().chain(self.rest).collect()
    }
}

/// Cuts `text` into its statements.
pub(crate) fn split(text: &str) -> Pieces<'_> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut meaningful = false;
    let mut at = 0;
    while at < text.len() {
        match token(text, at) {
            Token::Blank(end) => at = end,
            Token::Text(end) => {
                meaningful = true;
                at = end;
            }
            Token::Semicolon => {
                if meaningful {
                    statements.push(text[start..at].trim());
                }
                at += 1;
                start = at;
                meaningful = false;
            }
            Token::Open => return Pieces { statements, rest: Some(text[start..].trim()) },
        }
    }
    Pieces { statements, rest: meaningful.then(|| text[start..].trim()) }
}

/// The first word of a statement, behind blanks and comments; empty when it begins with none.
pub(crate) fn first_word(statement: &str) -> &str {
    let mut at = 0;
    while at < statement.len() {
        match token(statement, at) {
            Token::Blank(end) => at = end,
            Token::Text(end) if statement[at..].starts_with(is_word) => return &statement[at..end],
            _ => break,
        }
    }
    ""
}

enum Token {
    /// Blanks or a comment, up to there.
    Blank(usize),
    /// Part of a statement, up to there.
    Text(usize),
    Semicolon,
    /// A quote or comment that does not end.
    Open,
}

/// The token of `text` that starts at `at`, which must be inside the text and on a character.
fn token(text: &str, at: usize) -> Token {
    let rest = &text[at..];
    let ended = |end: Option<usize>| end.map_or(Token::Open, |end| Token::Text(at + end));
    let Some(first) = rest.chars().next() else { return Token::Open };
    match first {
        ';' => Token::Semicolon,
        '-' if rest.starts_with("--") => Token::Blank(rest.find('\n').map_or(text.len(), |end| at + end + 1)),
        '/' if rest.starts_with("/*") => comment_end(rest).map_or(Token::Open, |end| Token::Blank(at + end)),
        '\'' if is_escape_string(&text[..at]) => ended(escape_string_end(rest)),
        // A doubled quote inside ends one string and begins the next: the same in the end.
        '\'' | '"' | '`' => ended(rest[1..].find(first).map(|end| end + 2)),
        '$' => match dollar_tag(rest) {
            Some(tag) => ended(rest[tag.len()..].find(tag).map(|end| end + 2 * tag.len())),
            None => Token::Text(at + 1),
        },
        c if c.is_whitespace() => Token::Blank(at + c.len_utf8()),
        // A word as a whole, so that `$` and `e` inside it start nothing.
        c if is_word(c) => Token::Text(at + rest.find(|c| !is_word(c) && c != '$').unwrap_or(rest.len())),
        c => Token::Text(at + c.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The end of the comment that starts `text`. Comments do not nest.
fn comment_end(text: &str) -> Option<usize> {
    text[2..].find("*/").map(|end| end + 4)
}

/// Whether the quote behind `before` opens a string with backslash escapes: `E'...'`.
fn is_escape_string(before: &str) -> bool {
    let mut last = before.chars().rev();
    matches!(last.next(), Some('e' | 'E')) && !last.next().is_some_and(is_word)
}

fn escape_string_end(text: &str) -> Option<usize> {
    let mut escaped = true; // The opening quote.
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'\'' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// `$$` or `$name$` at the start of `text`.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let name = &text[1..end - 1];
    let sound = name.chars().all(is_word) && !name.starts_with(|c: char| c.is_ascii_digit());
    sound.then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_quotes_and_comments() {
        let cases: [(&str, &[&str], Option<&str>); 14] = [
            ("SELECT 1;", &["SELECT 1"], None),
            ("SELECT 1; SELECT 2 ;\n", &["SELECT 1", "SELECT 2"], None),
            ("SELECT 1; SELECT 2", &["SELECT 1"], Some("SELECT 2")),
            ("SELECT 1 -- one; two\n;", &["SELECT 1 -- one; two"], None),
            ("SELECT 1; -- the end;", &["SELECT 1"], None),
            ("SELECT ';', \";\", `;`;", &["SELECT ';', \";\", `;`"], None),
            ("SELECT 'it''s;';", &["SELECT 'it''s;'"], None),
            ("SELECT E'it\\'s;', 1;", &["SELECT E'it\\'s;', 1"], None),
            ("SELECT e';", &[], Some("SELECT e';")),
            ("SELECT $$a;b$$, $x$;$$;$x$;", &["SELECT $$a;b$$, $x$;$$;$x$"], None),
            ("SELECT /* ; /* ; */ 1; /*/ ; */ SELECT 2;", &["SELECT /* ; /* ; */ 1", "/*/ ; */ SELECT 2"], None),
            ("SELECT 1 /* open ;", &[], Some("SELECT 1 /* open ;")),
            (";; -- nothing\n ;", &[], None),
            ("SELECT $1, name'x';", &["SELECT $1, name'x'"], None),
        ];
        for (text, statements, rest) in cases {
            assert_eq!(split(text), Pieces { statements: statements.to_vec(), rest }, "{text}");
        }
        assert_eq!(split("SELECT 1; SELECT 2 -- end").all(), ["SELECT 1", "SELECT 2 -- end"]);
    }

    #[test]
    fn other_alphabets_are_cut_at_characters() {
        assert_eq!(split("SELECT 'ä;ö', größe – 日本;").statements, ["SELECT 'ä;ö', größe – 日本"]);
        assert!(split("SELECT 'ä").unfinished() && split("日本").unfinished());
    }

    #[test]
    fn the_first_word_stands_behind_comments() {
        for (text, word) in [("explain SELECT 1", "explain"), ("/* a */ -- b\n WITH x", "WITH"), ("(SELECT 1)", ""), ("  ", "")] {
            assert_eq!(first_word(text), word, "{text}");
        }
    }
}
