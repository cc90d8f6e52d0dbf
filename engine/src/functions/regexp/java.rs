//! Java's pattern syntax, as Trino's engine reads it, in the syntax of the engines here.
//!
//! What would silently mean something else is rewritten or refused: `$` before a last line break, possessive quantifiers, quotes,
//! POSIX classes, escapes that only one side knows.

use datafusion::error::{DataFusionError, Result};
use std::iter::Peekable;
use std::str::Chars;

/// Longest pattern, in bytes: bounds what compiling it can cost.
const MAX_PATTERN_BYTES: usize = 16 << 10;
/// Deepest nesting of character classes.
const MAX_CLASS_DEPTH: usize = 32;

/// A pattern for the engines here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Translated {
    pub(super) pattern: String,
    /// It has what only a backtracking engine knows.
    pub(super) backtracks: bool,
    /// It has line anchors, which a text that ends in a line break treats otherwise.
    pub(super) has_anchors: bool,
}

/// Translates `pattern`; `last_break` says that it is for texts that end in a line break.
pub(super) fn translate(pattern: &str, last_break: bool) -> Result<Translated> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(DataFusionError::Plan(format!(
            "a pattern may have {MAX_PATTERN_BYTES} bytes, this one has {}",
            pattern.len()
        )));
    }
    let mut translator = Translator {
        source: pattern,
        rest: pattern.chars().peekable(),
        out: Translated::default(),
        last_break,
        levels: vec![Level::default()],
    };
    while let Some(c) = translator.rest.next() {
        translator.item(c)?;
    }
    Ok(translator.out)
}

/// A group that is open, or the whole pattern.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    multi_line: bool,
    /// The branch has an item already.
    begun: bool,
    /// Flags were set after an item of the branch.
    late_flags: bool,
}

/// What precedes in a character class.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Before {
    Nothing,
    Single,
    /// A range of two characters.
    Range,
    Set,
}

struct Translator<'a> {
    source: &'a str,
    rest: Peekable<Chars<'a>>,
    out: Translated,
    last_break: bool,
    levels: Vec<Level>,
}

impl Translator<'_> {
    fn refuse<T>(&self, what: &str) -> Result<T> {
        Err(DataFusionError::NotImplemented(format!("{what} in the pattern '{}'", self.source)))
    }

    fn invalid<T>(&self, why: &str) -> Result<T> {
        Err(DataFusionError::Execution(format!("invalid pattern '{}': {why}", self.source)))
    }

    fn push(&mut self, text: &str) {
        self.out.pattern.push_str(text);
    }

    fn accept(&mut self, wanted: &str) -> bool {
        let mut ahead = self.rest.clone();
        let found = wanted.chars().all(|c| ahead.next() == Some(c));
        if found {
            self.rest = ahead;
        }
        found
    }

    fn until(&mut self, end: &str) -> Option<String> {
        let mut text = String::new();
        while !self.accept(end) {
            text.push(self.rest.next()?);
        }
        Some(text)
    }

    fn level(&mut self) -> Level {
        self.levels.last().copied().unwrap_or_default()
    }

    fn change(&mut self, change: impl FnOnce(&mut Level)) {
        if let Some(level) = self.levels.last_mut() {
            change(level);
        }
    }

    fn item(&mut self, c: char) -> Result<()> {
        match c {
            '(' => return self.group(),
            ')' => {
                self.levels.pop();
                if self.levels.is_empty() {
                    return self.invalid("a group is closed that was not opened");
                }
                self.push(")");
            }
            '|' => {
                if self.level().late_flags {
                    return self.refuse("flags after the beginning of an alternative, with another alternative following;");
                }
                self.change(|level| level.begun = false);
                self.push("|");
                return Ok(());
            }
            '^' => self.line_begin(),
            '$' => {
                let multi_line = self.level().multi_line;
                self.line_end(multi_line);
            }
            '[' => self.class(0)?,
            '\\' => self.escape()?,
            '*' | '+' | '?' => {
                self.out.pattern.push(c);
                self.modifier();
            }
            '{' => match self.interval() {
                Some(interval) => {
                    self.push(&interval);
                    self.modifier();
                }
                None => self.push("\\{"),
            },
            '}' | ']' => self.push(&format!("\\{c}")),
            other => self.out.pattern.push(other),
        }
        self.change(|level| level.begun = true);
        Ok(())
    }

    /// What follows a quantifier: lazy, or possessive, which the plain engine takes for another quantifier.
    fn modifier(&mut self) {
        if self.accept("?") {
            self.push("?");
        } else if self.accept("+") {
            self.push("+");
            self.out.backtracks = true;
        }
    }

    /// `{n}`, `{n,}` or `{n,m}`; any other brace is a character.
    fn interval(&mut self) -> Option<String> {
        let mut ahead = self.rest.clone();
        let inner: String = ahead.by_ref().take_while(|c| *c != '}').collect();
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let (low, high) = inner.split_once(',').unwrap_or((&inner, ""));
        let closed = self.rest.clone().any(|c| c == '}');
        let valid = closed && digits(low) && (high.is_empty() || digits(high));
        valid.then(|| {
            self.rest = ahead;
            format!("{{{inner}}}")
        })
    }

    fn line_begin(&mut self) {
        self.out.has_anchors = true;
        if !self.level().multi_line {
            self.push("\\A");
        } else if self.last_break {
            // No line begins after the last line break.
            self.out.backtracks = true;
            self.push("(?:\\A|(?<=\\n)(?!\\z))");
        } else {
            self.push("(?m:^)");
        }
    }

    fn line_end(&mut self, multi_line: bool) {
        self.out.has_anchors = true;
        self.out.backtracks |= self.last_break;
        self.push(match (multi_line, self.last_break) {
            // The end is also before the last line break.
            (false, true) => "(?=\\n?\\z)",
            (false, false) => "\\z",
            (true, true) => "(?:(?=\\n)|(?<!\\n)\\z)",
            (true, false) => "(?m:$)",
        });
    }

    fn group(&mut self) -> Result<()> {
        let opened = self.level();
        if !self.accept("?") {
            self.push("(");
        } else if self.accept("#") {
            return if self.until(")").is_some() { Ok(()) } else { self.invalid("a comment is not closed") };
        } else if self.accept(":") {
            self.push("(?:");
        } else if let Some(look) = ["=", "!", "<=", "<!", ">"].into_iter().find(|look| self.accept(look)) {
            self.out.backtracks = true;
            self.push(&format!("(?{look}"));
        } else if self.accept("<") {
            let Some(name) = self.until(">") else { return self.invalid("a group name is not closed") };
            self.push(&format!("(?<{name}>"));
        } else {
            return self.flags();
        }
        self.change(|level| level.begun = true);
        self.levels.push(Level { multi_line: opened.multi_line, ..Level::default() });
        Ok(())
    }

    /// `(?i)` and `(?i:`; several lines are written out where anchors are.
    fn flags(&mut self) -> Result<()> {
        let (mut on, mut flags, mut multi_line) = (true, String::new(), self.level().multi_line);
        let whole_group = loop {
            match self.rest.next() {
                Some('-') if on => {
                    on = false;
                    flags.push('-');
                }
                Some('m') => multi_line = on,
                Some(flag @ ('i' | 's')) => flags.push(flag),
                Some(':') => break true,
                Some(')') => break false,
                Some(other) => return self.refuse(&format!("the group (?{other}")),
                None => return self.invalid("a group is not closed"),
            }
        };
        let flags = flags.trim_end_matches('-').to_string();
        if whole_group {
            self.push(&format!("(?{flags}:"));
            self.change(|level| level.begun = true);
            self.levels.push(Level { multi_line, ..Level::default() });
        } else {
            if !flags.is_empty() {
                self.push(&format!("(?{flags})"));
            }
            self.change(|level| {
                level.multi_line = multi_line;
                level.late_flags |= level.begun;
            });
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<()> {
        let Some(c) = self.rest.next() else { return self.invalid("it ends with a backslash") };
        match c {
            'b' | 'B' | 'A' | 'z' => self.push(&format!("\\{c}")),
            'Z' => self.line_end(false),
            'Q' => {
                let mut quoted = String::new();
                while self.rest.peek().is_some() && !self.accept("\\E") {
                    quoted.extend(self.rest.next());
                }
                self.push(&regex::escape(&quoted));
            }
            '1'..='9' => {
                self.out.backtracks = true;
                self.push(&format!("\\{c}"));
            }
            'k' if self.accept("<") => {
                let Some(name) = self.until(">") else { return self.invalid("a group name is not closed") };
                self.out.backtracks = true;
                self.push(&format!("\\k<{name}>"));
            }
            other => self.shared_escape(other).map(drop)?,
        }
        Ok(())
    }

    /// Escapes that mean the same within and outside of a class; whether it is a set of characters.
    fn shared_escape(&mut self, c: char) -> Result<bool> {
        match c {
            // Joni's are of ASCII; its POSIX classes and properties are not.
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
                let set = match c.to_ascii_lowercase() {
                    'd' => "0-9",
                    'w' => "0-9A-Za-z_",
                    _ => "\\t-\\r ",
                };
                self.push(&format!("[{}{set}]", if c.is_ascii_uppercase() { "^" } else { "" }));
                return Ok(true);
            }
            'p' | 'P' => {
                if !self.accept("{") {
                    return self.refuse("a property without braces");
                }
                let Some(name) = self.until("}") else { return self.invalid("a property is not closed") };
                self.push(&property(c, &name));
                return Ok(true);
            }
            't' | 'n' | 'r' | 'f' | 'a' => self.push(&format!("\\{c}")),
            'e' => self.push("\\x1B"),
            'v' => self.push("\\x0B"),
            'x' if self.accept("{") => {
                let Some(code) = self.until("}") else { return self.invalid("a code is not closed") };
                self.push(&format!("\\x{{{code}}}"));
            }
            'x' => self.code(16, 2, 2)?,
            'u' => self.code(16, 4, 4)?,
            '0' => self.code(8, 0, 2)?,
            other if other.is_alphanumeric() => return self.refuse(&format!("the escape \\{other}")),
            other => self.single(other),
        }
        Ok(false)
    }

    fn code(&mut self, radix: u32, least: usize, most: usize) -> Result<()> {
        let mut digits = String::from("0");
        while digits.len() <= most
            && let Some(digit) = self.rest.next_if(|c| c.is_digit(radix))
        {
            digits.push(digit);
        }
        match u32::from_str_radix(&digits, radix) {
            Ok(code) if digits.len() > least => {
                self.push(&format!("\\x{{{code:X}}}"));
                Ok(())
            }
            _ => self.refuse("a code with too few digits"),
        }
    }

    /// A character that stands for itself. Angle brackets with a backslash would be word boundaries.
    fn single(&mut self, c: char) {
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
            self.out.pattern.push('\\');
        }
        self.out.pattern.push(c);
    }

    /// The rest of a character class, whose bracket was read.
    fn class(&mut self, depth: usize) -> Result<()> {
        if depth > MAX_CLASS_DEPTH {
            return self.refuse("deeply nested character classes");
        }
        self.push("[");
        if self.accept("^") {
            self.push("^");
        }
        let mut before = Before::Nothing;
        if self.accept("]") {
            self.push("\\]");
            before = Before::Single;
        }
        loop {
            let Some(c) = self.rest.next() else { return self.invalid("a character class is not closed") };
            before = match c {
                ']' => break,
                '&' if self.accept("&") => {
                    self.push("&&");
                    Before::Nothing
                }
                '[' if self.accept(":") => {
                    self.posix()?;
                    Before::Set
                }
                '[' => {
                    self.class(depth + 1)?;
                    Before::Set
                }
                // `[0-9-_]` is `[0-9\-_]`.
                '-' if before == Before::Range && !matches!(self.rest.peek(), Some(']' | '-')) => {
                    self.push("\\-");
                    Before::Single
                }
                // There a range begins at the set, or nothing is, depending on what the set is.
                '-' if matches!(before, Before::Set | Before::Range) && !matches!(self.rest.peek(), Some(']')) => {
                    return self.refuse("a dash behind a set in a character class: write it first or last, or \\-");
                }
                '-' if before == Before::Single && self.continues_range() => {
                    self.push("-");
                    if let Some(to) = self.rest.next() {
                        self.class_single(to)?;
                    }
                    Before::Range
                }
                other => self.class_single(other)?,
            };
        }
        self.push("]");
        Ok(())
    }

    /// Whether one character follows, so that a dash makes a range; else the dash is a character.
    fn continues_range(&self) -> bool {
        let mut ahead = self.rest.clone();
        match ahead.next() {
            None | Some(']' | '[') => false,
            Some('&') => ahead.next() != Some('&'),
            Some('\\') => !matches!(ahead.next(), Some('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'p' | 'P' | 'Q')),
            Some(_) => true,
        }
    }

    fn class_single(&mut self, c: char) -> Result<Before> {
        if c != '\\' {
            self.single(c);
            return Ok(Before::Single);
        }
        match self.rest.next() {
            None => self.invalid("it ends with a backslash"),
            Some('b') => {
                self.push("\\x08");
                Ok(Before::Single)
            }
            Some('Q') => self.refuse("a quote within a character class"),
            Some(escaped) => Ok(if self.shared_escape(escaped)? { Before::Set } else { Before::Single }),
        }
    }

    /// A POSIX class, which here knows all of Unicode.
    fn posix(&mut self) -> Result<()> {
        let negated = self.accept("^");
        let Some(name) = self.until(":]") else { return self.invalid("a POSIX class is not closed") };
        let set = match name.as_str() {
            "alpha" => "\\p{Alphabetic}",
            "digit" => "\\p{Nd}",
            "alnum" => "\\p{Alphabetic}\\p{Nd}",
            "space" => "\\s",
            "upper" => "\\p{Uppercase}",
            "lower" => "\\p{Lowercase}",
            "word" => "\\w",
            "xdigit" => "0-9A-Fa-f",
            _ => return self.refuse(&format!("the class [:{name}:]")),
        };
        self.push(&format!("[{}{set}]", if negated { "^" } else { "" }));
        Ok(())
    }
}

fn property(kind: char, name: &str) -> String {
    match name {
        "Alnum" => format!("[{}\\p{{Alphabetic}}\\p{{Nd}}]", if kind == 'P' { "^" } else { "" }),
        other => format!("\\{kind}{{{other}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_syntax_becomes_ours() {
        let cases = [
            (r"a$", r"a\z"),
            (r"(?m)^a$", r"(?m:^)a(?m:$)"),
            (r"(?i)a", r"(?i)a"),
            (r"(?im-s:a)", r"(?i-s:a)"),
            (r"\Qa.b\E.", r"a\.b."),
            (r"\<a\>", r"<a>"),
            (r"a{x}{2,3}", r"a\{x\}{2,3}"),
            (r"[+--]", r"[\+-\-]"),
            (r"[\w-]", r"[[0-9A-Za-z_]\-]"),
            (r"([A-Z0-9-_]+)[a-c-e-g]", r"([A-Z0-9\-\_]+)[a-c\-e-g]"),
            (r"\D\s", r"[^0-9][\t-\r ]"),
            (r"[a-z&&[^b-c]]", r"[a-z&&[^b-c]]"),
            (r"[[:alpha:]_~~]", r"[[\p{Alphabetic}]\_\~\~]"),
            (r"\u00e9\x41\012\e", r"\x{E9}\x{41}\x{A}\x1B"),
            (r"a(?#note)b", "ab"),
        ];
        for (java, ours) in cases {
            let translated = translate(java, false).unwrap();
            assert_eq!((translated.pattern.as_str(), translated.backtracks), (ours, false), "{java}");
        }
    }

    #[test]
    fn what_needs_backtracking_is_seen_and_the_rest_refused() {
        for backtracking in ["a++", "a{1,2}+", "(?=a)", "(?<!a)b", r"(a)\1", "(?>a)", r"(?<n>a)\k<n>"] {
            assert!(translate(backtracking, false).unwrap().backtracks, "{backtracking}");
        }
        assert_eq!(translate("a$", true).unwrap().pattern, r"a(?=\n?\z)");
        for refused in [r"\X", r"\Ga", "(?x)a", "(?u)a", "a(?i)b|c", "[a", "a)", r"\", r"\y", "(?P<n>a)", "[[:punct:]]", r"\x4"] {
            assert!(translate(refused, false).is_err(), "{refused}");
        }
    }
}
