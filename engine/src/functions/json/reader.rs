//! A pull reader of JSON text: it keeps numbers as they are written and reads no further than it is asked to.
//!
//! Trino's functions look at a document as far as they need; what follows may be malformed. So does this reader.

use std::borrow::Cow;

/// Deepest nesting that is read: bounds recursion here and in what is made of it.
pub(super) const MAX_DEPTH: usize = 1000;

/// Why a document cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// The text is no JSON.
    Malformed,
    /// It is nested deeper than is read.
    TooDeep,
}

/// What the next value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    True,
    False,
    Null,
}

pub(super) type Read<T> = Result<T, Problem>;

/// A position in a JSON text.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Read<()> {
        if self.accept(wanted) { Ok(()) } else { Err(Problem::Malformed) }
    }

    /// Whether nothing but white space follows.
    pub(super) fn at_end(&mut self) -> bool {
        self.skip_space();
        self.peek().is_none()
    }

    /// The kind of the value that follows.
    pub(super) fn kind(&mut self) -> Read<Kind> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b't') => Ok(Kind::True),
            Some(b'f') => Ok(Kind::False),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            _ => Err(Problem::Malformed),
        }
    }

    fn enter(&mut self, open: u8) -> Read<()> {
        self.expect(open)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Problem::TooDeep) } else { Ok(()) }
    }

    /// Enters an array.
    pub(super) fn enter_array(&mut self) -> Read<()> {
        self.enter(b'[')
    }

    /// Enters an object.
    pub(super) fn enter_object(&mut self) -> Read<()> {
        self.enter(b'{')
    }

    fn leaves(&mut self, close: u8, first: bool) -> Read<bool> {
        if self.accept(close) {
            self.depth = self.depth.saturating_sub(1);
            return Ok(true);
        }
        if !first {
            self.expect(b',')?;
        }
        Ok(false)
    }

    /// Whether another item follows in the array; else the array is left.
    pub(super) fn next_item(&mut self, first: bool) -> Read<bool> {
        Ok(!self.leaves(b']', first)?)
    }

    /// The name of the next member of the object; else the object is left.
    pub(super) fn next_member(&mut self, first: bool) -> Read<Option<Cow<'a, str>>> {
        if self.leaves(b'}', first)? {
            return Ok(None);
        }
        self.skip_space();
        let name = self.string()?;
        self.expect(b':')?;
        Ok(Some(name))
    }

    /// Reads `true`, `false` or `null`.
    pub(super) fn word(&mut self) -> Read<&'a str> {
        self.skip_space();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word)).ok_or(Problem::Malformed)?;
        let next = rest.get(word.len()..).and_then(|rest| rest.chars().next());
        if next.is_some_and(|c| c == '_' || c == '$' || c.is_alphanumeric()) {
            return Err(Problem::Malformed);
        }
        self.at += word.len();
        rest.get(..word.len()).ok_or(Problem::Malformed)
    }

    fn digits(&mut self) -> Read<usize> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > from { Ok(self.at - from) } else { Err(Problem::Malformed) }
    }

    /// Reads a number as it is written.
    pub(super) fn number(&mut self) -> Read<&'a str> {
        self.skip_space();
        let from = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && leading_zero {
            return Err(Problem::Malformed);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let separated = matches!(self.peek(), None | Some(b' ' | b'\t' | b'\n' | b'\r'));
        if self.depth == 0 && !separated {
            return Err(Problem::Malformed);
        }
        self.text.get(from..self.at).ok_or(Problem::Malformed)
    }

    /// Reads a string without its escapes.
    pub(super) fn string(&mut self) -> Read<Cow<'a, str>> {
        self.expect(b'"')?;
        let mut text = Cow::Borrowed("");
        loop {
            let from = self.at;
            while self.peek().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            text += self.text.get(from..self.at).ok_or(Problem::Malformed)?;
            let end = self.peek();
            self.at += 1;
            match end {
                Some(b'"') => return Ok(text),
                Some(b'\\') => text.to_mut().push(self.escape()?),
                _ => return Err(Problem::Malformed),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let code = self.peek().ok_or(Problem::Malformed)?;
        self.at += 1;
        Ok(match code {
            b'"' | b'\\' | b'/' => char::from(code),
            b'b' => '\u{8}',
            b'f' => '\u{C}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.code_unit()?;
                if (0xD800..0xDC00).contains(&first) && self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u") {
                    let before = self.at;
                    self.at += 2;
                    if let Some(Ok(both)) = char::decode_utf16([first, self.code_unit()?]).next() {
                        return Ok(both);
                    }
                    self.at = before;
                }
                // Half of a pair is no character; Java writes it so.
                char::from_u32(first.into()).unwrap_or('?')
            }
            _ => return Err(Problem::Malformed),
        })
    }

    fn code_unit(&mut self) -> Read<u16> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        self.at += 4;
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).ok_or(Problem::Malformed)
    }

    /// The text of the next value, as it is written.
    pub(super) fn raw(&mut self) -> Read<&'a str> {
        self.skip_space();
        let from = self.at;
        self.skip()?;
        self.text.get(from..self.at).ok_or(Problem::Malformed)
    }

    /// Reads over a value.
    pub(super) fn skip(&mut self) -> Read<()> {
        match self.kind()? {
            Kind::Text => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::True | Kind::False | Kind::Null => self.word().map(drop),
            Kind::Array => {
                self.enter_array()?;
                let mut first = true;
                while self.next_item(std::mem::take(&mut first))? {
                    self.skip()?;
                }
                Ok(())
            }
            Kind::Object => {
                self.enter_object()?;
                let mut first = true;
                while self.next_member(std::mem::take(&mut first))?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
        }
    }
}
