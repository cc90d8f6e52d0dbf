//! The paths of `json_value`, `json_query` and `json_exists`: the accessors of the SQL standard. Filters, methods and arithmetic are refused.

use super::node::Node;
use datafusion::error::{DataFusionError, Result};

/// Most values that a path selects at any step.
const MAX_SELECTED: usize = 1 << 20;

/// A path with its mode.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SqlPath {
    strict: bool,
    steps: Vec<Step>,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    AnyMember,
    Descendant(String),
    Items(Vec<(Subscript, Subscript)>),
    AnyItem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscript {
    At(usize),
    Last,
}

impl Subscript {
    fn of(self, length: usize) -> Option<usize> {
        match self {
            Self::At(index) => Some(index),
            Self::Last => length.checked_sub(1),
        }
    }
}

impl SqlPath {
    /// Reads a path.
    pub(super) fn parse(path: &str) -> Result<Self> {
        let mut parser = Parser { path, rest: path.trim() };
        let strict = match parser.name().as_deref() {
            Some("lax") => false,
            Some("strict") => true,
            _ => return Err(parser.invalid("it begins with lax or strict")),
        };
        if !parser.accept("$") {
            return Err(parser.unsupported("an expression that does not begin with $"));
        }
        let mut steps = Vec::new();
        while !parser.rest.is_empty() {
            steps.push(parser.step()?);
        }
        Ok(Self { strict, steps })
    }

    /// The values that the path selects; `None` when strict mode meets another structure.
    pub(super) fn select<'n, 'a>(&self, root: &'n Node<'a>) -> Option<Vec<&'n Node<'a>>> {
        let mut selected = vec![root];
        for step in &self.steps {
            let mut next = Vec::new();
            for node in selected {
                self.apply(step, node, &mut next)?;
                if next.len() > MAX_SELECTED {
                    return None;
                }
            }
            selected = next;
        }
        Some(selected)
    }

    /// What does not fit: an error in strict mode, nothing in lax mode.
    fn mismatch(&self) -> Option<()> {
        (!self.strict).then_some(())
    }

    fn apply<'n, 'a>(&self, step: &Step, node: &'n Node<'a>, out: &mut Vec<&'n Node<'a>>) -> Option<()> {
        match step {
            Step::Member(_) | Step::AnyMember => match node {
                // Lax mode looks into an array, one level deep.
                Node::Array(items) if !self.strict => items.iter().try_for_each(|item| self.members(step, item, out)),
                other => self.members(step, other, out),
            },
            Step::Descendant(name) => {
                descend(name, node, out);
                Some(())
            }
            Step::AnyItem | Step::Items(_) => match node {
                Node::Array(items) => self.items(step, items, out),
                // Lax mode takes another value for an array of itself.
                other => {
                    self.mismatch()?;
                    self.items(step, std::slice::from_ref(other), out)
                }
            },
        }
    }

    fn members<'n, 'a>(&self, step: &Step, node: &'n Node<'a>, out: &mut Vec<&'n Node<'a>>) -> Option<()> {
        let Node::Object(members) = node else { return self.mismatch() };
        match step {
            Step::Member(wanted) => match members.iter().find(|(name, _)| name == wanted) {
                Some((_, value)) => out.push(value),
                None => self.mismatch()?,
            },
            _ => out.extend(members.iter().map(|(_, value)| value)),
        }
        Some(())
    }

    fn items<'n, 'a>(&self, step: &Step, items: &'n [Node<'a>], out: &mut Vec<&'n Node<'a>>) -> Option<()> {
        let Step::Items(ranges) = step else {
            out.extend(items);
            return Some(());
        };
        for (from, to) in ranges {
            let range = from.of(items.len()).zip(to.of(items.len()));
            match range {
                Some((from, to)) if from <= to && to < items.len() => out.extend(items.get(from..=to)?),
                Some((from, to)) if from <= to => {
                    self.mismatch()?;
                    out.extend(items.get(from..).unwrap_or_default());
                }
                _ => self.mismatch()?,
            }
        }
        Some(())
    }
}

fn descend<'n, 'a>(wanted: &str, node: &'n Node<'a>, out: &mut Vec<&'n Node<'a>>) {
    match node {
        Node::Object(members) => {
            out.extend(members.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value));
            members.iter().for_each(|(_, value)| descend(wanted, value, out));
        }
        Node::Array(items) => items.iter().for_each(|item| descend(wanted, item, out)),
        _ => {}
    }
}

struct Parser<'a> {
    path: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn invalid(&self, why: &str) -> DataFusionError {
        DataFusionError::Plan(format!("Invalid JSON path '{}': {why}", self.path))
    }

    fn unsupported(&self, what: &str) -> DataFusionError {
        DataFusionError::NotImplemented(format!("{what} in the JSON path '{}'; it may have $, names and subscripts", self.path))
    }

    fn accept(&mut self, token: &str) -> bool {
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest).trim_start();
        after.is_some()
    }

    /// A plain or quoted name.
    fn name(&mut self) -> Option<String> {
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let mut name = String::new();
            let mut characters = quoted.chars();
            loop {
                match characters.next()? {
                    // A quote is written twice within a name.
                    '"' if characters.as_str().starts_with('"') => name.extend(characters.next()),
                    '"' => break,
                    // What a backslash means here is not certain.
                    '\\' => return None,
                    other => name.push(other),
                }
            }
            self.rest = characters.as_str().trim_start();
            return Some(name);
        }
        let end = self.rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end)?;
        let begins = name.chars().next()?;
        self.rest = rest.trim_start();
        (!begins.is_numeric()).then(|| name.to_string())
    }

    fn step(&mut self) -> Result<Step> {
        if self.accept("[") {
            return self.subscripts();
        }
        let descendant = self.accept("..");
        if !descendant && !self.accept(".") {
            return Err(self.unsupported(&format!("'{}'", self.rest)));
        }
        if !descendant && self.accept("*") {
            return Ok(Step::AnyMember);
        }
        let name = self.name().ok_or_else(|| self.invalid("a name is missing"))?;
        if self.accept("(") {
            return Err(self.unsupported("a method"));
        }
        Ok(if descendant { Step::Descendant(name) } else { Step::Member(name) })
    }

    fn subscripts(&mut self) -> Result<Step> {
        if self.accept("*") {
            return if self.accept("]") { Ok(Step::AnyItem) } else { Err(self.invalid("] is missing")) };
        }
        let mut ranges = Vec::new();
        loop {
            let from = self.subscript()?;
            ranges.push((from, if self.accept("to ") { self.subscript()? } else { from }));
            if self.accept("]") {
                return Ok(Step::Items(ranges));
            }
            if !self.accept(",") {
                return Err(self.unsupported("this subscript"));
            }
        }
    }

    fn subscript(&mut self) -> Result<Subscript> {
        if self.accept("last") {
            return Ok(Subscript::Last);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let index = self.rest.get(..end).and_then(|digits| digits.parse().ok());
        let index = index.ok_or_else(|| self.unsupported("this subscript"))?;
        self.rest = self.rest.get(end..).unwrap_or_default().trim_start();
        Ok(Subscript::At(index))
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::Duplicates;
    use super::super::reader::Reader;
    use super::*;

    fn select(json: &str, path: &str) -> Option<String> {
        let root = Node::read(&mut Reader::new(json), Duplicates::LastWins).ok()?;
        let selected = SqlPath::parse(path).ok()?.select(&root)?;
        Some(selected.iter().map(|node| node.text().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn accessors() {
        let json = r#"{"a": [{"b": 1}, {"b": 2}, 3], "c d": {"b": 4}}"#;
        let cases = [
            ("lax $.a.b", Some("1 2")),
            ("strict $.a.b", None),
            ("strict $.a[0 to 1].b", Some("1 2")),
            ("lax $.a[2, 0].b", Some("1")),
            ("lax $.a[last]", Some("3")),
            ("lax $.a[1 to 100].b", Some("2")),
            ("strict $.a[1 to 100]", None),
            ("lax $.a[7]", Some("")),
            ("lax $.\"c d\".b[0]", Some("4")),
            ("strict $.\"c d\".b[0]", None),
            ("lax $.*.b", Some("1 2 4")),
            ("lax $..b", Some("1 2 4")),
            ("lax $.a[*].b", Some("1 2")),
            ("lax $.x", Some("")),
            ("strict $.x", None),
            ("$.a", None),
            ("lax $.a.size()", None),
            ("lax $.a ? (@.b > 1)", None),
            ("lax $.a[last - 1]", None),
        ];
        for (path, expected) in cases {
            assert_eq!(select(json, path).as_deref(), expected, "{path}");
        }
    }
}
