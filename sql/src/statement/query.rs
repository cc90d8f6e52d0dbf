//! The tokens of a query to its rewritten tree, no deeper than allowed.

use super::Limits;
use crate::dialect::tokens::Tokens;
use crate::dialect::{AthenaDialect, rewrite};
use crate::message;
use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, Visitor};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use engine::{Error, ErrorKind, Result};
use std::ops::ControlFlow;

/// Most parentheses and queries inside each other that the parser follows.
const PARSER_DEPTH: usize = 50;
/// How many times as deep as its text the tree of a rewritten query may be.
pub(crate) const REWRITTEN_DEPTH: usize = 4;

/// The query of `tokens`, all of them, rewritten.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] with line and column, [`ErrorKind::LimitExceeded`] for nesting over `limits`.
pub(crate) fn parse_query(tokens: &Tokens<'_>, limits: Limits) -> Result<Box<Query>> {
    let mut query = parsed(tokens, |parser| parser.parse_query())?;
    check_depth(&*query, limits.max_depth, limits)?;
    rewrite::rewrite(query.as_mut(), limits)?;
    check_depth(&*query, limits.max_depth.saturating_mul(REWRITTEN_DEPTH), limits)?;
    Ok(query)
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
    value.map_err(|error| message::syntax_error(&error.into(), ""))
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
