//! JSON as the OpenX serde reads it: comments, quotes of both kinds or none, `=` and `;`, and a later key in place of one like it.

use super::node::Node;
use super::reader::{MAX_DEPTH, Problem, Read};
use std::borrow::Cow;
use std::collections::HashSet;

/// Which keys are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::functions) enum Case {
    /// Those that differ in case only, too.
    Ignored,
    /// The same ones.
    Kept,
}

/// The first value of `text`. What has no quotes is a number, whatever it says; what follows the value is not looked at.
pub(super) fn read(text: &str, case: Case) -> Read<Node<'_>> {
    Lenient { text, at: 0, depth: 0, case }.value()
}

/// Members without those that a later one is like.
fn last_of_each<'a>(members: Vec<(Cow<'a, str>, Node<'a>)>, case: Case) -> Vec<(Cow<'a, str>, Node<'a>)> {
    /// More members are looked up, fewer compared.
    const MAX_COMPARED: usize = 64;
    let is_like = |a: &str, b: &str| match case {
        Case::Kept => a == b,
        Case::Ignored => a.eq_ignore_ascii_case(b) || !(a.is_ascii() && b.is_ascii()) && a.to_lowercase() == b.to_lowercase(),
    };
    let compared = |name: &str| if case == Case::Kept { name.to_string() } else { name.to_lowercase() };
    let is_last: Vec<bool> = if members.len() > MAX_COMPARED {
        let mut seen = HashSet::new();
        let mut is_last: Vec<bool> = members.iter().rev().map(|(name, _)| seen.insert(compared(name))).collect();
        is_last.reverse();
        is_last
    } else {
        let later = |place: usize| members.iter().skip(place + 1);
        let names = members.iter().enumerate();
        names.map(|(place, (name, _))| !later(place).any(|(other, _)| is_like(name, other))).collect()
    };
    members.into_iter().zip(is_last).filter_map(|(member, is_last)| is_last.then_some(member)).collect()
}

struct Lenient<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    case: Case,
}

impl<'a> Lenient<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The first byte behind blanks and comments, which is taken; none at the end.
    fn seek(&mut self) -> Read<Option<u8>> {
        loop {
            let rest = self.rest();
            let Some(byte) = rest.bytes().next() else { return Ok(None) };
            match byte {
                b'\t' | b' ' | b'\n' | b'\r' => self.at += 1,
                b'#' => self.skip_line(),
                b'/' if rest.starts_with("//") => self.skip_line(),
                b'/' if rest.starts_with("/*") => {
                    let end = rest.get(2..).and_then(|rest| rest.find("*/")).ok_or(Problem::Malformed)?;
                    self.at += end + 4;
                }
                _ => {
                    self.at += 1;
                    return Ok(Some(byte));
                }
            }
        }
    }

    fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += rest.find(['\r', '\n']).map_or(rest.len(), |end| end + 1);
    }

    fn value(&mut self) -> Read<Node<'a>> {
        match self.seek()? {
            None => Err(Problem::Malformed),
            Some(open @ (b'{' | b'[')) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(Problem::TooDeep);
                }
                let value = if open == b'{' { self.object() } else { self.array() };
                self.depth -= 1;
                value
            }
            Some(quote @ (b'"' | b'\'')) => self.string(char::from(quote)).map(Node::Text),
            Some(_) => {
                self.at -= 1;
                self.word()
            }
        }
    }

    fn word(&mut self) -> Read<Node<'a>> {
        const ENDS: [char; 16] = [' ', '\r', '\n', '\t', '\u{C}', '{', '}', '[', ']', '/', '\\', ':', ',', '=', ';', '#'];
        let rest = self.rest();
        let word = rest.get(..rest.find(ENDS).unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        match word {
            "" => Err(Problem::Malformed),
            null if null.eq_ignore_ascii_case("null") => Ok(Node::Null),
            word => Ok(Node::Number(word)),
        }
    }

    fn object(&mut self) -> Read<Node<'a>> {
        let mut members = Vec::new();
        match self.seek()? {
            Some(b'}') => return Ok(Node::Object(Vec::new())),
            Some(_) => self.at -= 1,
            None => {}
        }
        loop {
            let name = match self.value()? {
                Node::Text(name) => name,
                Node::Number(name) => Cow::Borrowed(name),
                _ => return Err(Problem::Malformed),
            };
            match self.seek()? {
                Some(b':') => {}
                Some(b'=') => self.at += usize::from(self.rest().starts_with('>')),
                _ => return Err(Problem::Malformed),
            }
            members.push((name, self.value()?));
            match self.seek()? {
                Some(b'}') => return Ok(Node::Object(last_of_each(members, self.case))),
                Some(b',' | b';') => {}
                _ => return Err(Problem::Malformed),
            }
        }
    }

    fn array(&mut self) -> Read<Node<'a>> {
        let mut items = Vec::new();
        let mut is_separated = false;
        loop {
            match self.seek()? {
                None => return Err(Problem::Malformed),
                Some(b']') => {
                    items.extend(is_separated.then_some(Node::Null));
                    return Ok(Node::Array(items));
                }
                // Nothing between two separators is NULL.
                Some(b',' | b';') => items.push(Node::Null),
                Some(_) => {
                    self.at -= 1;
                    items.push(self.value()?);
                    match self.seek()? {
                        Some(b']') => return Ok(Node::Array(items)),
                        Some(b',' | b';') => {}
                        _ => return Err(Problem::Malformed),
                    }
                }
            }
            is_separated = true;
        }
    }

    fn string(&mut self, quote: char) -> Read<Cow<'a, str>> {
        let mut text = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let end = rest.find([quote, '\\']).ok_or(Problem::Malformed)?;
            text += rest.get(..end).unwrap_or_default();
            self.at += end + 1;
            if rest.get(end..).is_some_and(|rest| rest.starts_with(quote)) {
                return Ok(text);
            }
            text.to_mut().push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Read<char> {
        let escaped = self.rest().chars().next().ok_or(Problem::Malformed)?;
        self.at += escaped.len_utf8();
        Ok(match escaped {
            'u' => {
                let first = self.code_unit()?;
                if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
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
            't' | 'v' => '\t',
            'b' => '\u{8}',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{C}',
            'a' => '\u{7}',
            other => other,
        })
    }

    fn code_unit(&mut self) -> Read<u16> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        self.at += 4;
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).ok_or(Problem::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_serde_forgives_is_read() {
        let text = |json: &str| read(json, Case::Ignored).ok().and_then(|node| node.text().ok());
        for (json, wanted) in [
            ("{\"a\":1,\"A\":2,\"b\":3} rest", r#"{"A":2,"b":3}"#),
            ("{'a' = 1; b => \"x\\q\\u00e9\\/\" /* c */, c:null} // x", r#"{"a":1,"b":"xqé/","c":null}"#),
            ("{\"É\":1,\"é\":2}", "{\"é\":2}"),
            ("[1,,2;]", "[1,null,2,null]"),
            ("[ ]", "[]"),
            ("{ }", "{}"),
            ("{\"a\":\"\\ud83d\\ude00\"}", "{\"a\":\"😀\"}"),
        ] {
            assert_eq!(text(json).as_deref(), Some(wanted), "{json}");
        }
        for json in
            ["", "{", "{\"a\":1,}", "{\"a\" 1}", "[1", "{\"a\":\"x}", "{null:1}", "{[1]:1}", "[1 2]", "{\"a\":\"\\", "/* x"]
        {
            assert_eq!(read(json, Case::Ignored), Err(Problem::Malformed), "{json}");
        }
        let many: String = (0..100).map(|i| format!("\"k{i}\":1,")).collect();
        let many = format!("{{{many}\"K0\":2}}");
        assert!(matches!(read(&many, Case::Ignored), Ok(Node::Object(members)) if members.len() == 100 && members[99].0 == "K0"));
        assert_eq!(read(&"[".repeat(2_000), Case::Ignored), Err(Problem::TooDeep));
    }
}
