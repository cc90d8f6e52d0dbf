//! Runs a path over a document.

use super::super::node::{Node, quoted};
use super::super::reader::MAX_DEPTH;
use super::number::{Number, Width};
use super::{Expr, Method, SqlPath, Step};
use crate::functions::conversion::parse_double;
use crate::functions::json::is_integer;
use datafusion::error::DataFusionError;
use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

/// Most items that one path looks at in one document.
const MAX_VISITS: usize = 1 << 22;

/// Why a path has no result.
#[derive(Debug)]
pub(in crate::functions::json) enum Stop {
    /// An error of the path, which ON ERROR is about.
    Path(String),
    /// Not computed here.
    Refused(DataFusionError),
}

pub(super) type Result<T> = std::result::Result<T, Stop>;

/// A value that a path selects or makes.
#[derive(Debug, Clone)]
pub(in crate::functions::json) enum Item<'n> {
    Node(&'n Node<'n>),
    Scalar(Scalar<'n>),
    /// An object that `keyvalue()` made.
    Entry(Rc<Entry<'n>>),
}

#[derive(Debug)]
pub(in crate::functions::json) struct Entry<'n> {
    name: Cow<'n, str>,
    value: Item<'n>,
    id: i64,
    /// How many entries are inside each other.
    depth: usize,
}

/// A value of SQL.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::functions::json) enum Scalar<'n> {
    Bool(bool),
    Text(Cow<'n, str>),
    Number(Number),
}

/// What `type()` calls an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "boolean",
            Self::Number => "number",
            Self::Text => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl<'n> Item<'n> {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Node(Node::Null) => Kind::Null,
            Self::Node(Node::Bool(_)) | Self::Scalar(Scalar::Bool(_)) => Kind::Bool,
            Self::Node(Node::Number(_)) | Self::Scalar(Scalar::Number(_)) => Kind::Number,
            Self::Node(Node::Text(_)) | Self::Scalar(Scalar::Text(_)) => Kind::Text,
            Self::Node(Node::Array(_)) => Kind::Array,
            Self::Node(Node::Object(_)) | Self::Entry(_) => Kind::Object,
        }
    }

    /// Whether it is an array or an object.
    pub(in crate::functions::json) fn is_nested(&self) -> bool {
        matches!(self.kind(), Kind::Array | Kind::Object)
    }

    /// As JSON.
    pub(in crate::functions::json) fn json_text(&self) -> std::result::Result<String, DataFusionError> {
        Ok(match self {
            Self::Node(node) => node.text()?,
            Self::Scalar(scalar) => scalar.json_text(),
            Self::Entry(entry) => {
                format!("{{\"name\":{},\"value\":{},\"id\":{}}}", quoted(&entry.name), entry.value.json_text()?, entry.id)
            }
        })
    }

    /// As a value of SQL; `None` for null, arrays and objects.
    ///
    /// # Errors
    /// For a number that no type of SQL has.
    pub(in crate::functions::json) fn scalar(&self) -> std::result::Result<Option<Scalar<'n>>, String> {
        Ok(Some(match self {
            Self::Scalar(scalar) => scalar.clone(),
            Self::Node(Node::Bool(value)) => Scalar::Bool(*value),
            Self::Node(Node::Text(text)) => Scalar::Text(Cow::Borrowed(text.as_ref())),
            Self::Node(Node::Number(number)) if is_integer(number) => {
                let read = Number::integer(number);
                Scalar::Number(read.ok_or_else(|| format!("cannot convert {number} to Trino value (value too big)"))?)
            }
            Self::Node(Node::Number(number)) => Scalar::Number(Number::Double(number.parse().unwrap_or(f64::NAN))),
            _ => return Ok(None),
        }))
    }

    /// The text, of a text.
    pub(in crate::functions::json) fn text(&self) -> Option<&str> {
        match self {
            Self::Node(Node::Text(text)) | Self::Scalar(Scalar::Text(text)) => Some(text.as_ref()),
            _ => None,
        }
    }

    fn number(&self) -> Result<Number> {
        match self.scalar().map_err(Stop::Path)? {
            Some(Scalar::Number(number)) => Ok(number),
            _ => Err(self.is_no("NUMBER")),
        }
    }

    fn is_no(&self, expected: &str) -> Stop {
        let found = self.kind().name().to_uppercase();
        Stop::Path(format!("invalid item type. Expected: {expected}, actual: {found}"))
    }

    /// The members of an object; `None` for others.
    fn members(&self) -> Option<Vec<(&'n str, Item<'n>)>> {
        match self {
            Self::Node(Node::Object(members)) => {
                Some(members.iter().map(|(name, value)| (name.as_ref(), Item::Node(value))).collect())
            }
            Self::Entry(entry) => Some(vec![
                ("name", Item::Scalar(Scalar::Text(entry.name.clone()))),
                ("value", entry.value.clone()),
                ("id", Item::Scalar(Scalar::Number(Number::Int(Width::Integer, entry.id)))),
            ]),
            _ => None,
        }
    }

    /// The member of an object; the outer `None` for others.
    fn member(&self, wanted: &str) -> Option<Option<Item<'n>>> {
        if let Self::Node(Node::Object(members)) = self {
            return Some(members.iter().find(|(name, _)| name == wanted).map(|(_, value)| Item::Node(value)));
        }
        Some(self.members()?.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value))
    }
}

impl Scalar<'_> {
    /// As JSON.
    pub(in crate::functions::json) fn json_text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.json_text(),
        }
    }
}

/// What `last` and `@` are.
#[derive(Clone, Copy)]
pub(super) struct Context<'c, 'n> {
    last: Option<usize>,
    current: Option<&'c Item<'n>>,
}

impl<'c, 'n> Context<'c, 'n> {
    fn with_current(self, item: &'c Item<'n>) -> Self {
        Self { current: Some(item), ..self }
    }
}

/// A path at work.
pub(in crate::functions::json) struct Evaluation<'n> {
    path: &'n SqlPath,
    input: &'n Node<'n>,
    /// Values of variables; none is an empty sequence.
    given: &'n [(&'n str, Option<Item<'n>>)],
    next_id: Cell<i64>,
    visits: Cell<usize>,
}

static NULL: Node<'static> = Node::Null;

impl<'n> Evaluation<'n> {
    /// `path` over `input`, with values for its variables.
    pub(in crate::functions::json) fn new(
        path: &'n SqlPath,
        input: &'n Node<'n>,
        given: &'n [(&'n str, Option<Item<'n>>)],
    ) -> Self {
        Self { path, input, given, next_id: Cell::new(0), visits: Cell::new(0) }
    }

    /// What the path selects, in order.
    ///
    /// # Errors
    /// Of the path, or where it would take too long.
    pub(in crate::functions::json) fn run(&self) -> Result<Vec<Item<'n>>> {
        self.sequence(&self.path.root, Context { last: None, current: None })
    }

    pub(super) fn is_lax(&self) -> bool {
        !self.path.strict
    }

    /// Counts items that are looked at.
    pub(super) fn visit(&self, count: usize) -> Result<()> {
        let visits = self.visits.get().saturating_add(count);
        self.visits.set(visits);
        if visits <= MAX_VISITS {
            return Ok(());
        }
        let message = format!("a JSON path looks at more than {MAX_VISITS} items of one document");
        Err(Stop::Refused(DataFusionError::ResourcesExhausted(message)))
    }

    /// In lax mode, the items of arrays in place of the arrays.
    pub(super) fn unwrapped(&self, sequence: Vec<Item<'n>>) -> Result<Vec<Item<'n>>> {
        if !self.is_lax() || !sequence.iter().any(|item| matches!(item, Item::Node(Node::Array(_)))) {
            return Ok(sequence);
        }
        let mut all = Vec::new();
        for item in sequence {
            match item {
                Item::Node(Node::Array(items)) => {
                    self.visit(items.len())?;
                    all.extend(items.iter().map(Item::Node));
                }
                other => all.push(other),
            }
        }
        Ok(all)
    }

    pub(super) fn sequence(&self, expression: &'n Expr, context: Context<'_, 'n>) -> Result<Vec<Item<'n>>> {
        let one = |item: Item<'n>| Ok(vec![item]);
        self.visit(1)?;
        match expression {
            Expr::Null => one(Item::Node(&NULL)),
            Expr::Bool(value) => one(Item::Scalar(Scalar::Bool(*value))),
            Expr::Text(text) => one(Item::Scalar(Scalar::Text(Cow::Borrowed(text)))),
            Expr::Number(number) => one(Item::Scalar(Scalar::Number(*number))),
            Expr::Context => one(Item::Node(self.input)),
            Expr::Current => match context.current {
                Some(item) => one(item.clone()),
                None => Err(Stop::Path("accessing current filter item with no enclosing filter".into())),
            },
            Expr::Last => match context.last.and_then(|last| i64::try_from(last).ok()) {
                Some(last) => one(Item::Scalar(Scalar::Number(Number::Int(Width::Integer, last)))),
                None => Err(Stop::Path("accessing the last array index with no enclosing array".into())),
            },
            Expr::Variable(name) => match self.given.iter().find(|(given, _)| *given == name.as_str()) {
                Some((_, value)) => Ok(value.iter().cloned().collect()),
                None => Err(Stop::Refused(DataFusionError::Plan(format!("no value passed for parameter {name}")))),
            },
            Expr::Access(base, steps) => {
                let mut sequence = self.sequence(base, context)?;
                for step in steps {
                    sequence = self.apply(step, sequence, context)?;
                    self.visit(sequence.len())?;
                }
                Ok(sequence)
            }
            Expr::Sign(is_minus, base) => {
                let base = self.sequence(base, context)?;
                self.numbers(base, |number| if *is_minus { number.negated() } else { Ok(number) })
            }
            Expr::Binary(operator, left, right) => {
                let left = self.sequence(left, context).and_then(|left| self.unwrapped(left))?;
                let right = self.sequence(right, context).and_then(|right| self.unwrapped(right))?;
                let ([left], [right]) = (left.as_slice(), right.as_slice()) else {
                    return Err(Stop::Path("arithmetic binary expression requires singleton operands".into()));
                };
                let computed = left.number()?.compute(*operator, right.number()?).map_err(Stop::Path)?;
                one(Item::Scalar(Scalar::Number(computed)))
            }
        }
    }

    /// Each item as a number, changed.
    fn numbers(
        &self,
        sequence: Vec<Item<'n>>,
        change: impl Fn(Number) -> std::result::Result<Number, String>,
    ) -> Result<Vec<Item<'n>>> {
        let changed = |item: &Item<'n>| change(item.number()?).map_err(Stop::Path);
        let items = self.unwrapped(sequence)?;
        items.iter().map(|item| changed(item).map(|number| Item::Scalar(Scalar::Number(number)))).collect()
    }

    fn apply(&self, step: &'n Step, sequence: Vec<Item<'n>>, context: Context<'_, 'n>) -> Result<Vec<Item<'n>>> {
        match step {
            Step::Member(name) => self.members(sequence, |item, out| match item.member(name) {
                Some(Some(value)) => {
                    out.push(value);
                    Ok(())
                }
                Some(None) if !self.is_lax() => {
                    Err(Stop::Path(format!("structural error: missing member '{name}' in JSON object")))
                }
                _ => Ok(()),
            }),
            Step::AnyMember => self.members(sequence, |item, out| {
                out.extend(item.members().into_iter().flatten().map(|(_, value)| value));
                Ok(())
            }),
            Step::Descendant(name) => {
                let mut out = Vec::new();
                sequence.iter().try_for_each(|item| self.descend(name, item, &mut out))?;
                Ok(out)
            }
            Step::AnyItem => self.items(sequence, |items, out| {
                out.extend(items);
                Ok(())
            }),
            Step::Items(ranges) => self.items(sequence, |items, out| self.ranges(ranges, &items, context, out)),
            Step::Filter(predicate) => {
                let mut out = Vec::new();
                for item in self.unwrapped(sequence)? {
                    self.visit(1)?;
                    if self.holds(predicate, context.with_current(&item))? == Some(true) {
                        out.push(item);
                    }
                }
                Ok(out)
            }
            Step::Method(method) => self.method(*method, sequence),
        }
    }

    fn members(
        &self,
        sequence: Vec<Item<'n>>,
        take: impl Fn(&Item<'n>, &mut Vec<Item<'n>>) -> Result<()>,
    ) -> Result<Vec<Item<'n>>> {
        let mut out = Vec::new();
        for item in self.unwrapped(sequence)? {
            if item.kind() == Kind::Object {
                take(&item, &mut out)?;
            } else if !self.is_lax() {
                return Err(item.is_no("OBJECT"));
            }
        }
        Ok(out)
    }

    fn descend(&self, wanted: &str, item: &Item<'n>, out: &mut Vec<Item<'n>>) -> Result<()> {
        self.visit(1)?;
        if let Item::Node(Node::Array(items)) = item {
            return items.iter().try_for_each(|item| self.descend(wanted, &Item::Node(item), out));
        }
        out.extend(item.member(wanted).flatten());
        item.members().into_iter().flatten().try_for_each(|(_, value)| self.descend(wanted, &value, out))
    }

    fn items(
        &self,
        sequence: Vec<Item<'n>>,
        take: impl Fn(Vec<Item<'n>>, &mut Vec<Item<'n>>) -> Result<()>,
    ) -> Result<Vec<Item<'n>>> {
        let mut out = Vec::new();
        for item in sequence {
            match item {
                Item::Node(Node::Array(items)) => {
                    self.visit(items.len())?;
                    take(items.iter().map(Item::Node).collect(), &mut out)?;
                }
                other if self.is_lax() => take(vec![other], &mut out)?,
                other => return Err(other.is_no("ARRAY")),
            }
        }
        Ok(out)
    }

    fn ranges(
        &self,
        ranges: &'n [(Expr, Option<Expr>)],
        items: &[Item<'n>],
        context: Context<'_, 'n>,
        out: &mut Vec<Item<'n>>,
    ) -> Result<()> {
        let Some(last) = items.len().checked_sub(1) else {
            let empty = || Stop::Path("structural error: invalid array subscript for empty array".into());
            return if self.is_lax() { Ok(()) } else { Err(empty()) };
        };
        let context = Context { last: Some(last), ..context };
        for (from, to) in ranges {
            let from = self.index(from, context)?;
            let to = to.as_ref().map_or(Ok(from), |to| self.index(to, context))?;
            let limit = i64::try_from(last).unwrap_or(i64::MAX);
            if !self.is_lax() && (from < 0 || to > limit || from > to) {
                let length = items.len();
                let message = format!("structural error: invalid array subscript: [{from}, {to}] for array of size {length}");
                return Err(Stop::Path(message));
            }
            if let (Ok(from), Ok(to)) = (usize::try_from(from.max(0)), usize::try_from(to.min(limit))) {
                let taken = items.get(from..=to).unwrap_or_default();
                self.visit(taken.len())?;
                out.extend_from_slice(taken);
            }
        }
        Ok(())
    }

    /// The place that a subscript names.
    fn index(&self, subscript: &'n Expr, context: Context<'_, 'n>) -> Result<i64> {
        let sequence = self.sequence(subscript, context)?;
        let [item] = sequence.as_slice() else {
            return Err(Stop::Path("array subscript value must be singleton numeric".into()));
        };
        let number = item.number()?;
        // A number of the document is cut off, one that was computed is rounded.
        let number = match (item, number) {
            (Item::Node(_), Number::Double(value)) => Number::Double(value.trunc()),
            (_, number) => number,
        };
        number.index().ok_or_else(|| Stop::Path("an array subscript is out of the range of bigint".into()))
    }

    fn method(&self, method: Method, sequence: Vec<Item<'n>>) -> Result<Vec<Item<'n>>> {
        let integer = |value: usize| Number::Int(Width::Integer, i64::try_from(value).unwrap_or(i64::MAX));
        match method {
            Method::Type => {
                let name = |item: &Item<'n>| Item::Scalar(Scalar::Text(Cow::Borrowed(item.kind().name())));
                Ok(sequence.iter().map(name).collect())
            }
            Method::Size => {
                let size = |item: &Item<'n>| match item {
                    Item::Node(Node::Array(items)) => Ok(items.len()),
                    _ if self.is_lax() => Ok(1),
                    other => Err(other.is_no("ARRAY")),
                };
                sequence.iter().map(|item| Ok(Item::Scalar(Scalar::Number(integer(size(item)?))))).collect()
            }
            Method::Double => self.doubles(sequence),
            Method::Ceiling => self.numbers(sequence, |number| Ok(number.ceiling())),
            Method::Floor => self.numbers(sequence, |number| Ok(number.floor())),
            Method::Abs => self.numbers(sequence, Number::absolute),
            Method::KeyValue => self.entries(sequence),
        }
    }

    fn doubles(&self, sequence: Vec<Item<'n>>) -> Result<Vec<Item<'n>>> {
        let double = |item: &Item<'n>| match item.scalar().map_err(Stop::Path)? {
            Some(Scalar::Number(number)) => Ok(number.to_double()),
            Some(Scalar::Text(text)) => parse_double(&text).ok_or_else(|| Stop::Path(format!("Cannot cast '{text}' to DOUBLE"))),
            _ => Err(item.is_no("NUMBER or TEXT")),
        };
        let items = self.unwrapped(sequence)?;
        items.iter().map(|item| Ok(Item::Scalar(Scalar::Number(Number::Double(double(item)?))))).collect()
    }

    fn entries(&self, sequence: Vec<Item<'n>>) -> Result<Vec<Item<'n>>> {
        let mut out = Vec::new();
        for item in self.unwrapped(sequence)? {
            let Some(members) = item.members() else { return Err(item.is_no("OBJECT")) };
            let id = self.next_id.get();
            self.next_id.set(id + 1);
            self.visit(members.len())?;
            for (name, value) in members {
                let depth = if let Item::Entry(inner) = &value { inner.depth + 1 } else { 1 };
                if depth > MAX_DEPTH {
                    return Err(Stop::Refused(DataFusionError::ResourcesExhausted("keyvalue() inside each other".into())));
                }
                out.push(Item::Entry(Rc::new(Entry { name: Cow::Borrowed(name), value, id, depth })));
            }
        }
        Ok(out)
    }
}
