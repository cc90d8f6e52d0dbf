//! The path language of the SQL standard, as Trino has it: lax and strict, accessors, filters, methods and arithmetic.
//!
//! `parser` reads a path once, `eval` runs it over a document, `predicate` decides filters, `number` computes.

mod eval;
mod lexer;
mod number;
mod parser;
mod predicate;

pub(super) use self::eval::{Evaluation, Item, Scalar, Stop};
pub(super) use self::number::{Number, Width};

use datafusion::error::DataFusionError;

/// A path with its mode.
#[derive(Debug)]
pub(super) struct SqlPath {
    strict: bool,
    root: Expr,
    /// The names of parameters that the path has.
    variables: Vec<String>,
}

#[derive(Debug)]
enum Expr {
    Null,
    Bool(bool),
    Text(String),
    Number(Number),
    /// `$`
    Context,
    /// `@`
    Current,
    /// `last`
    Last,
    /// `$name`
    Variable(String),
    Access(Box<Expr>, Vec<Step>),
    /// True for a minus.
    Sign(bool, Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
}

#[derive(Debug)]
enum Step {
    Member(String),
    AnyMember,
    Descendant(String),
    Items(Vec<(Expr, Option<Expr>)>),
    AnyItem,
    Filter(Predicate),
    Method(Method),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
    KeyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
}

#[derive(Debug)]
enum Predicate {
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Not(Box<Predicate>),
    Compare(Comparison, Expr, Expr),
    Exists(Expr),
    StartsWith(Expr, Expr),
    IsUnknown(Box<Predicate>),
}

impl SqlPath {
    /// Reads a path.
    ///
    /// # Errors
    /// For text that is no path, and for what Trino has no meaning for yet.
    pub(super) fn parse(path: &str) -> Result<Self, DataFusionError> {
        parser::parse(path)
    }

    /// Checks that `names` has a value for each variable.
    ///
    /// # Errors
    /// With the name that has none.
    pub(super) fn check_variables(&self, names: &[String]) -> Result<(), DataFusionError> {
        let Some(missing) = self.variables.iter().find(|variable| !names.contains(variable)) else { return Ok(()) };
        let is_similar = names.iter().any(|name| name.eq_ignore_ascii_case(missing));
        let hint = format!(". Try quoting \"{missing}\" in the PASSING clause to match case");
        let hint = if is_similar { hint.as_str() } else { "" };
        Err(DataFusionError::Plan(format!("INVALID_PATH: no value passed for parameter {missing}{hint}")))
    }
}

#[cfg(test)]
mod tests;
