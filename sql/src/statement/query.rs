//! The tokens of a query to its rewritten tree, no deeper than allowed.

use super::Limits;
use super::shown::{ShownNames, shown_names};
use crate::dialect::tokens::Tokens;
use crate::dialect::{AthenaDialect, rewrite};
use crate::message;
use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, Visitor};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token};
use engine::{Error, ErrorKind, Result};
use std::ops::ControlFlow;

/// Most parentheses and queries inside each other that the parser follows.
const PARSER_DEPTH: usize = 50;
/// How many times as deep as its text the tree of a rewritten query may be.
pub(crate) const REWRITTEN_DEPTH: usize = 4;

/// The query of `tokens`, all of them, rewritten, and the names of its columns as they are written.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] with line and column, [`ErrorKind::LimitExceeded`] for nesting over `limits`.
pub(crate) fn parse_query(tokens: &Tokens<'_>, limits: Limits) -> Result<(Box<Query>, ShownNames)> {
    let mut query = parsed(tokens, |parser| parser.parse_query())?;
    check_depth(&*query, limits.max_depth, limits)?;
    let shown = shown_names(&query, tokens);
    rewrite::rewrite(query.as_mut(), limits)?;
    check_depth(&*query, limits.max_depth.saturating_mul(REWRITTEN_DEPTH), limits)?;
    Ok((query, shown))
}

/// The expression of `tokens`, all of them, rewritten.
///
/// # Errors
/// As [`parse_query`].
pub(crate) fn parse_expression(tokens: &Tokens<'_>, limits: Limits) -> Result<Expr> {
    let mut expression = parsed(tokens, |parser| parser.parse_expr())?;
    check_depth(&expression, limits.max_depth, limits)?;
    rewrite::rewrite(&mut expression, limits)?;
    check_depth(&expression, limits.max_depth.saturating_mul(REWRITTEN_DEPTH), limits)?;
    Ok(expression)
}

fn parsed<T>(tokens: &Tokens<'_>, read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>) -> Result<T> {
    let dialect = AthenaDialect { has_versions: tokens.has_versions() };
    let mut parser = Parser::new(&dialect).with_recursion_limit(PARSER_DEPTH).with_tokens_with_locations(tokens.for_parser()?);
    let value = read(&mut parser).and_then(|value| parser.expect_token(&Token::EOF).map(|_| value));
    value.map_err(|error| message::syntax_error(&at_its_token(error, tokens).into(), ""))
}

/// `error` with the place of the token that it names, where the parser has gone on to the next one.
fn at_its_token(error: ParserError, tokens: &Tokens<'_>) -> ParserError {
    let ParserError::ParserError(text) = &error else { return error };
    let Some((message, position)) = text.rsplit_once(" at Line: ") else { return error };
    let Some((_, found)) = message.rsplit_once(", found: ") else { return error };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let place = position.split_once(", Column: ").and_then(|(line, column)| Some((number(line)?, number(column)?)));
    let Some((line, column)) = place else { return error };
    let is = |index: usize| tokens.get(index).is_some_and(|token| token.to_string() == found);
    let next = (0..=tokens.len()).find(|index| tokens.place(*index) >= Location::new(line, column)).unwrap_or(tokens.len());
    match next.checked_sub(1) {
        Some(before) if !is(next) && is(before) => {
            let place = tokens.place(before);
            ParserError::ParserError(format!("{message} at Line: {}, Column: {}", place.line, place.column))
        }
        _ => error,
    }
}

fn check_depth<T: Visit>(tree: &T, most: usize, limits: Limits) -> Result<()> {
    let mut depth = Depth { now: 0, limit: most };
    match tree.visit(&mut depth) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "the statement nests more than {} levels deep (a chain of operators counts one level each); \
                 write a chain of OR as IN (...), or split the statement",
                limits.max_depth
            ),
        )),
    }
}

struct Depth {
    now: usize,
    limit: usize,
}

impl Depth {
    fn enter(&mut self) -> ControlFlow<()> {
        self.now += 1;
        if self.now > self.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn leave(&mut self) -> ControlFlow<()> {
        self.now -= 1;
        ControlFlow::Continue(())
    }
}

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.enter()
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.leave()
    }

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.enter()
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.leave()
    }
}
