//! A JSON value as a tree, and its text: no spaces, numbers as Java writes them, keys sorted where a JSON value is made.

use super::reader::{Kind, Problem, Read, Reader};
use crate::functions::conversion::java_double;
use crate::functions::text_support::bad;
use datafusion::error::Result;
use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// A value; numbers keep their text.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::functions) enum Node<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    /// Members in the order of the text.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// What becomes of members with the name of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duplicates {
    /// They stay.
    Keep,
    /// The last one is the value.
    LastWins,
}

impl<'a> Node<'a> {
    /// Reads the next value.
    pub(super) fn read(reader: &mut Reader<'a>, duplicates: Duplicates) -> Read<Self> {
        Ok(match reader.kind()? {
            Kind::Null => reader.word().map(|_| Self::Null)?,
            Kind::True | Kind::False => Self::Bool(reader.word()? == "true"),
            Kind::Number => Self::Number(reader.number()?),
            Kind::Text => Self::Text(reader.string()?),
            Kind::Array => {
                reader.enter_array()?;
                let mut items = Vec::new();
                while reader.next_item(items.is_empty())? {
                    items.push(Self::read(reader, duplicates)?);
                }
                Self::Array(items)
            }
            Kind::Object => Self::read_object(reader, duplicates)?,
        })
    }

    fn read_object(reader: &mut Reader<'a>, duplicates: Duplicates) -> Read<Self> {
        reader.enter_object()?;
        let mut members: Vec<(Cow<'a, str>, Self)> = Vec::new();
        let mut places = HashMap::new();
        while let Some(name) = reader.next_member(members.is_empty())? {
            let value = Self::read(reader, duplicates)?;
            if duplicates == Duplicates::Keep {
                members.push((name, value));
                continue;
            }
            match places.entry(name.clone()) {
                Entry::Occupied(place) => *members.get_mut(*place.get()).ok_or(Problem::Malformed)? = (name, value),
                Entry::Vacant(place) => {
                    place.insert(members.len());
                    members.push((name, value));
                }
            }
        }
        Ok(Self::Object(members))
    }

    /// The text of this value; of members with one name the last, in the place of the first.
    ///
    /// # Errors
    /// For numbers that have no text.
    pub(in crate::functions) fn single_text(&self) -> Result<String> {
        let text = self.text()?;
        if !self.has_duplicates() {
            return Ok(text);
        }
        match Node::read(&mut Reader::new(&text), Duplicates::LastWins) {
            Ok(node) => node.text(),
            Err(_) => Err(bad("the text of a JSON value is no JSON")),
        }
    }

    fn has_duplicates(&self) -> bool {
        match self {
            Self::Array(items) => items.iter().any(Self::has_duplicates),
            Self::Object(members) => {
                let mut names = HashSet::with_capacity(members.len());
                members.iter().any(|(name, value)| !names.insert(name.as_ref()) || value.has_duplicates())
            }
            _ => false,
        }
    }

    /// The text of this value, keys as they come.
    pub(in crate::functions) fn text(&self) -> Result<String> {
        let mut out = String::new();
        self.write(&mut out, false)?;
        Ok(out)
    }

    /// The text of this value, keys sorted.
    pub(super) fn sorted_text(&self) -> Result<String> {
        let mut out = String::new();
        self.write(&mut out, true)?;
        Ok(out)
    }

    fn write(&self, out: &mut String, sorted: bool) -> Result<()> {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => out.push_str(&number_text(number)?),
            Self::Text(text) => write_string(out, text),
            Self::Array(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    separate(out, place);
                    item.write(out, sorted)?;
                }
                out.push(']');
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if sorted {
                    // Java compares strings by UTF-16 code units.
                    members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
                }
                out.push('{');
                for (place, (name, value)) in members.into_iter().enumerate() {
                    separate(out, place);
                    write_string(out, name);
                    out.push(':');
                    value.write(out, sorted)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

fn separate(out: &mut String, place: usize) {
    if place > 0 {
        out.push(',');
    }
}

/// `text` in quotes.
pub(in crate::functions) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    out
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{C}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1F}' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Whether a number is written without fraction and exponent.
pub(in crate::functions) fn is_integer(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
}

/// The text of a number: integers keep their digits, others become doubles.
pub(super) fn number_text(number: &str) -> Result<String> {
    if is_integer(number) {
        return Ok(if number == "-0" { "0".into() } else { number.into() });
    }
    match number.parse::<f64>() {
        Ok(double) if double.is_finite() => Ok(java_double(double)),
        _ => Err(bad(format!("the JSON number {number} is out of the range of double"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted() {
        assert_eq!(quoted("a\"b\\\n\u{1f}é"), "\"a\\\"b\\\\\\n\\u001Fé\"");
    }

    #[test]
    fn text_is_canonical() {
        let canonical = |text| {
            let node = Node::read(&mut Reader::new(text), Duplicates::LastWins).ok()?;
            node.sorted_text().ok()
        };
        assert_eq!(canonical(r#" { "b" : [ 1 , 1.10, 1e2, -0 ], "a": "\u00e9\/\u0001", "b": null } "#).as_deref(), {
            Some("{\"a\":\"é/\\u0001\",\"b\":null}")
        });
        assert_eq!(
            canonical("[1, 1.10, 1e2, -0, 12345678901234567890]").as_deref(),
            Some("[1,1.1,100.0,0,12345678901234567890]")
        );
        assert_eq!(canonical(r#""\ud800 \ud83d\u0041 \udc00 \ud83d\ude00""#).as_deref(), Some("\"? ?A ? 😀\""));
        for malformed in ["", "[1,]", "{a:1}", "01", "1.", "+1", "'a'", "\"\t\"", "nul", "truex", "[1", "{\"a\" 1}"] {
            assert_eq!(canonical(malformed), None, "{malformed}");
        }
        let deep = "[".repeat(super::super::reader::MAX_DEPTH + 1);
        assert_eq!(Node::read(&mut Reader::new(&deep), Duplicates::Keep), Err(Problem::TooDeep));
    }
}
