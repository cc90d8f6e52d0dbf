//! Reads a path by recursive descent. What is in parentheses may be a path or a predicate, which shows only behind them, so that
//! both are read as one and told apart afterwards: nothing is read twice.

use super::lexer::{Token, invalid, tokens};
use super::number::Number;
use super::{Comparison, Expr, Method, Operator, Predicate, SqlPath, Step};
use datafusion::error::{DataFusionError, Result};

/// Most levels inside each other, and most operators in a row: bounds recursion here and in what runs the path.
const MAX_DEPTH: usize = 64;

/// What was read.
enum Part {
    Path(Expr),
    Predicate(Predicate),
    /// A predicate in parentheses, which more can be said of.
    Delimited(Predicate),
}

struct Parser<'a> {
    path: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: usize,
    variables: Vec<String>,
}

pub(super) fn parse(path: &str) -> Result<SqlPath> {
    let mut parser = Parser { path, tokens: tokens(path)?, at: 0, depth: 0, variables: Vec::new() };
    let strict = match parser.next() {
        Some(Token::Word("lax")) => false,
        Some(Token::Word("strict")) => true,
        _ => return Err(invalid(path, "it begins with lax or strict")),
    };
    let root = parser.expression()?;
    if parser.at < parser.tokens.len() {
        return Err(parser.unexpected());
    }
    Ok(SqlPath { strict, root, variables: parser.variables })
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek().cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol)
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(found)) if *found == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<()> {
        if self.accept(symbol) { Ok(()) } else { Err(invalid(self.path, &format!("{symbol} is missing"))) }
    }

    fn unexpected(&self) -> DataFusionError {
        let found = match self.peek() {
            None => return invalid(self.path, "it ends too early"),
            Some(Token::Symbol(text)) => (*text).to_string(),
            Some(Token::Word(text) | Token::Integer(text) | Token::Decimal(text) | Token::Double(text)) => (*text).to_string(),
            Some(Token::Variable(name)) => format!("${name}"),
            Some(Token::Text(text)) => format!("\"{text}\""),
        };
        invalid(self.path, &format!("{found} is not expected"))
    }

    fn not_supported(&self, what: &str) -> DataFusionError {
        DataFusionError::NotImplemented(format!("{what} in JSON path is not supported: '{}'", self.path))
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn too_deep(&self) -> DataFusionError {
        let start: String = self.path.chars().take(100).collect();
        invalid(&format!("{start}..."), &format!("it nests more than {MAX_DEPTH} deep"))
    }

    /// A path, which is no predicate.
    fn expression(&mut self) -> Result<Expr> {
        match self.nested(Self::disjunction)? {
            Part::Path(path) => Ok(path),
            _ => Err(invalid(self.path, "a predicate stands where a path should")),
        }
    }

    fn predicate(&mut self) -> Result<Predicate> {
        match self.nested(Self::disjunction)? {
            Part::Predicate(predicate) | Part::Delimited(predicate) => Ok(predicate),
            Part::Path(_) => Err(invalid(self.path, "a path stands where a predicate should")),
        }
    }

    /// A predicate that was read, as one side of an operator.
    fn side(&self, part: Part) -> Result<Predicate> {
        match part {
            Part::Predicate(predicate) | Part::Delimited(predicate) => Ok(predicate),
            Part::Path(_) => Err(invalid(self.path, "&&, || and ! take predicates")),
        }
    }

    fn disjunction(&mut self) -> Result<Part> {
        let first = self.conjunction()?;
        if !self.is("||") {
            return Ok(first);
        }
        let mut any = vec![self.side(first)?];
        while self.accept("||") {
            let next = self.conjunction()?;
            any.push(self.side(next)?);
        }
        Ok(Part::Predicate(Predicate::Or(any)))
    }

    fn conjunction(&mut self) -> Result<Part> {
        let first = self.negation()?;
        if !self.is("&&") {
            return Ok(first);
        }
        let mut all = vec![self.side(first)?];
        while self.accept("&&") {
            let next = self.negation()?;
            all.push(self.side(next)?);
        }
        Ok(Part::Predicate(Predicate::And(all)))
    }

    fn negation(&mut self) -> Result<Part> {
        if !self.accept("!") {
            return self.comparison();
        }
        match self.primary()? {
            Part::Delimited(predicate) => Ok(Part::Predicate(Predicate::Not(Box::new(predicate)))),
            _ => Err(invalid(self.path, "! stands before exists(..) or a predicate in parentheses")),
        }
    }

    fn comparison(&mut self) -> Result<Part> {
        let left = match self.sum()? {
            Part::Path(left) => left,
            Part::Delimited(predicate) if self.accept_word("is") => {
                if !self.accept_word("unknown") {
                    return Err(self.unexpected());
                }
                return Ok(Part::Predicate(Predicate::IsUnknown(Box::new(predicate))));
            }
            predicate => return Ok(predicate),
        };
        let comparison = match self.peek() {
            Some(Token::Symbol("==")) => Comparison::Equal,
            Some(Token::Symbol("<>" | "!=")) => Comparison::NotEqual,
            Some(Token::Symbol("<")) => Comparison::Less,
            Some(Token::Symbol(">")) => Comparison::Greater,
            Some(Token::Symbol("<=")) => Comparison::LessOrEqual,
            Some(Token::Symbol(">=")) => Comparison::GreaterOrEqual,
            Some(Token::Word("starts")) => return self.starts_with(left),
            Some(Token::Word("like_regex")) => return Err(self.not_supported("like_regex")),
            _ => return Ok(Part::Path(left)),
        };
        self.at += 1;
        match self.sum()? {
            Part::Path(right) => Ok(Part::Predicate(Predicate::Compare(comparison, left, right))),
            _ => Err(invalid(self.path, "a comparison takes paths")),
        }
    }

    fn starts_with(&mut self, whole: Expr) -> Result<Part> {
        self.at += 1;
        if !self.accept_word("with") {
            return Err(self.unexpected());
        }
        let prefix = match self.next() {
            Some(Token::Text(text)) => Expr::Text(text),
            Some(Token::Variable(name)) => self.variable(name),
            _ => return Err(invalid(self.path, "a text or a variable is missing behind starts with")),
        };
        Ok(Part::Predicate(Predicate::StartsWith(whole, prefix)))
    }

    fn variable(&mut self, name: &str) -> Expr {
        self.variables.push(name.to_string());
        Expr::Variable(name.to_string())
    }

    /// An operand of arithmetic.
    fn operand(&self, part: Part) -> Result<Expr> {
        match part {
            Part::Path(path) => Ok(path),
            _ => Err(invalid(self.path, "arithmetic takes paths")),
        }
    }

    fn sum(&mut self) -> Result<Part> {
        self.chain(Self::product, |symbol| match symbol {
            "+" => Some(Operator::Add),
            "-" => Some(Operator::Subtract),
            _ => None,
        })
    }

    fn product(&mut self) -> Result<Part> {
        self.chain(Self::signed, |symbol| match symbol {
            "*" => Some(Operator::Multiply),
            "/" => Some(Operator::Divide),
            "%" => Some(Operator::Modulus),
            _ => None,
        })
    }

    fn chain(&mut self, read: fn(&mut Self) -> Result<Part>, operator: fn(&str) -> Option<Operator>) -> Result<Part> {
        let mut left = read(self)?;
        let mut count = 0;
        while let Some(Token::Symbol(symbol)) = self.peek()
            && let Some(operator) = operator(symbol)
        {
            self.at += 1;
            count += 1;
            if count > MAX_DEPTH {
                return Err(self.too_deep());
            }
            let right = read(self)?;
            let (first, second) = (self.operand(left)?, self.operand(right)?);
            left = Part::Path(Expr::Binary(operator, Box::new(first), Box::new(second)));
        }
        Ok(left)
    }

    fn signed(&mut self) -> Result<Part> {
        let is_literal = matches!(self.tokens.get(self.at + 1), Some(Token::Integer(_) | Token::Decimal(_) | Token::Double(_)));
        let is_minus = self.is("-");
        if !(self.is("+") || is_minus && !is_literal) {
            return self.primary();
        }
        self.at += 1;
        let inner = self.nested(Self::signed)?;
        Ok(Part::Path(Expr::Sign(is_minus, Box::new(self.operand(inner)?))))
    }

    /// A primary with its accessors.
    fn primary(&mut self) -> Result<Part> {
        let base = match self.start()? {
            Part::Path(base) => base,
            predicate => return Ok(predicate),
        };
        let mut steps = Vec::new();
        while let Some(step) = self.step()? {
            steps.push(step);
        }
        Ok(Part::Path(if steps.is_empty() { base } else { Expr::Access(Box::new(base), steps) }))
    }

    fn start(&mut self) -> Result<Part> {
        let minus = if self.accept("-") { "-" } else { "" };
        let number = |read: Option<Number>, path: &str| {
            read.map(|number| Part::Path(Expr::Number(number))).ok_or_else(|| invalid(path, "a number is too large"))
        };
        let Some(token) = self.next() else { return Err(self.unexpected()) };
        Ok(Part::Path(match token {
            Token::Integer(text) => return number(Number::integer(&format!("{minus}{text}")), self.path),
            Token::Decimal(text) => return number(Number::decimal(&format!("{minus}{text}")), self.path),
            Token::Double(text) => return number(format!("{minus}{text}").parse().ok().map(Number::Double), self.path),
            Token::Text(text) => Expr::Text(text),
            Token::Variable(name) => self.variable(name),
            Token::Symbol("$") => Expr::Context,
            Token::Symbol("@") => Expr::Current,
            Token::Symbol("(") => {
                let inner = self.nested(Self::disjunction)?;
                self.expect(")")?;
                return Ok(match inner {
                    Part::Predicate(predicate) | Part::Delimited(predicate) => Part::Delimited(predicate),
                    path => path,
                });
            }
            Token::Word("null") => Expr::Null,
            Token::Word("true") => Expr::Bool(true),
            Token::Word("false") => Expr::Bool(false),
            Token::Word("last") => Expr::Last,
            Token::Word("exists") if self.accept("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(Part::Delimited(Predicate::Exists(inner)));
            }
            _ => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        }))
    }

    fn step(&mut self) -> Result<Option<Step>> {
        if self.accept("[") {
            return self.subscripts().map(Some);
        }
        if self.accept("?") {
            self.expect("(")?;
            let predicate = self.predicate()?;
            self.expect(")")?;
            return Ok(Some(Step::Filter(predicate)));
        }
        let descendant = self.accept("..");
        if !descendant && !self.accept(".") {
            return Ok(None);
        }
        if !descendant && self.accept("*") {
            return Ok(Some(Step::AnyMember));
        }
        let name = match self.next() {
            Some(Token::Word(word)) if !descendant && self.is("(") => return self.method(word).map(Some),
            Some(Token::Word(word)) => word.to_string(),
            Some(Token::Text(text)) => text,
            _ => return Err(invalid(self.path, "a name is missing")),
        };
        Ok(Some(if descendant { Step::Descendant(name) } else { Step::Member(name) }))
    }

    fn method(&mut self, name: &str) -> Result<Step> {
        let method = match name {
            "type" => Method::Type,
            "size" => Method::Size,
            "double" => Method::Double,
            "ceiling" => Method::Ceiling,
            "floor" => Method::Floor,
            "abs" => Method::Abs,
            "keyvalue" => Method::KeyValue,
            "datetime" => return Err(self.not_supported("datetime method")),
            _ => return Err(invalid(self.path, &format!("there is no method {name}()"))),
        };
        self.expect("(")?;
        self.expect(")")?;
        Ok(Step::Method(method))
    }

    fn subscripts(&mut self) -> Result<Step> {
        if self.accept("*") {
            self.expect("]")?;
            return Ok(Step::AnyItem);
        }
        let mut ranges = Vec::new();
        loop {
            let from = self.expression()?;
            let to = if self.accept_word("to") { Some(self.expression()?) } else { None };
            ranges.push((from, to));
            if self.accept("]") {
                return Ok(Step::Items(ranges));
            }
            if !self.accept(",") {
                return Err(if self.peek().is_none() { invalid(self.path, "] is missing") } else { self.unexpected() });
            }
        }
    }
}
