//! Athena's SQL on DataFusion's: what the parser must be told, what is rewritten before and after planning.
//!
//! ```text
//! text ─► tokens (forms that the parser cannot read) ─► AST ─► rewrite ─► SqlToRel with planners ─► lateral ─► LogicalPlan
//!                                                                        types, relations, operators      casts (analyzer)
//! ```
//!
//! **Invariant:** a form whose meaning here would differ from Athena's is refused, never passed on.

pub(crate) mod averages;
pub(crate) mod casts;
pub(crate) mod chars;
pub(crate) mod coercion;
mod common;
mod constants;
mod far;
mod fences;
pub(crate) mod filters;
mod floats;
mod json_calls;
mod keys;
pub(crate) mod lateral;
mod maps;
pub(crate) mod one_row;
pub(crate) mod operators;
mod outer;
pub(crate) mod relations;
pub(crate) mod rewrite;
mod statistics;
pub(crate) mod tokens;
pub(crate) mod types;

pub use chars::stored_text;
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{ExprPlanner, RelationPlanner};
use datafusion::optimizer::Analyzer;
use datafusion::sql::sqlparser::ast::{CastKind, Expr};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use std::any::TypeId;
use std::sync::Arc;

/// Options that a session needs for Athena's meaning of the same text, as DataFusion names them.
pub const SESSION_OPTIONS: [(&str, &str); 4] = [
    ("datafusion.catalog.default_catalog", crate::bind::DEFAULT_CATALOG),
    ("datafusion.catalog.default_schema", crate::bind::DEFAULT_DATABASE),
    // NULLs sort last in both directions.
    ("datafusion.sql_parser.default_null_ordering", "nulls_last"),
    ("datafusion.sql_parser.collect_spans", "true"),
];

/// `builder` with the planners and the rules of Athena's SQL; for the session that plans, workers need none of it.
pub fn session(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let expressions: Arc<dyn ExprPlanner> = Arc::new(operators::AthenaOperators);
    // The first planner that answers wins.
    builder.expr_planners().get_or_insert_default().insert(0, expressions);
    let relations: Arc<dyn RelationPlanner> = Arc::new(relations::AthenaRelations::default());
    let builder = builder.with_relation_planners(vec![relations]).with_type_planner(Arc::new(types::AthenaTypes));
    let mut rules = Analyzer::new().rules;
    // Behind what gives GROUPING a meaning, before DataFusion's own coercion; types that change do so before others are made to
    // fit them, and casts are known behind all that.
    let coercion = rules.iter().position(|rule| rule.name() == "type_coercion").unwrap_or(rules.len());
    rules.insert(coercion, Arc::new(coercion::AthenaCoercion));
    rules.insert(coercion, Arc::new(chars::Chars));
    rules.push(Arc::new(casts::AthenaCasts));
    let builder = builder.with_analyzer_rules(rules).with_optimizer_rules(filters::optimizer_rules());
    builder.with_physical_optimizer_rules(statistics::physical_rules())
}

/// `node` with the schema that follows from its inputs and expressions: what is below may have other types and columns now.
pub(crate) fn with_schema_again(node: LogicalPlan) -> Result<LogicalPlan> {
    if matches!(node, LogicalPlan::TableScan(_)) { Ok(node) } else { node.recompute_schema() }
}

fn is_values(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.keyword == Keyword::VALUES && word.quote_style.is_none())
}

/// What Athena's SQL looks like to the parser.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct AthenaDialect {
    /// Whether tables of the text have versions. Some words are then no names of tables.
    pub(crate) has_versions: bool,
}

impl Dialect for AthenaDialect {
    // The parser asks for the generic dialect where it has no flag, as for UNNEST.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$' || ch == '@'
    }

    fn supports_table_versioning(&self) -> bool {
        self.has_versions
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    /// What words that are no names begin. The parser would read what is wrong in there a second time, as a function or column, and so
    /// twice as often with each level.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        if parser.peek_token_ref().token == Token::LParen && is_values(&parser.peek_nth_token_ref(1).token) {
            parser.next_token();
            let rows = parser.parse_query();
            return Some(rows.and_then(|rows| parser.expect_token(&Token::RParen).map(|_| Expr::Subquery(rows))));
        }
        let Token::Word(word) = &parser.peek_token_ref().token else { return None };
        let keyword = if word.quote_style.is_none() { word.keyword } else { Keyword::NoKeyword };
        let next = &parser.peek_nth_token_ref(1).token;
        match keyword {
            Keyword::CASE | Keyword::NOT => {}
            Keyword::ARRAY if *next == Token::LBracket => {}
            Keyword::CAST | Keyword::TRY_CAST | Keyword::CEIL | Keyword::FLOOR | Keyword::EXTRACT if *next == Token::LParen => {}
            Keyword::SUBSTR | Keyword::SUBSTRING if *next == Token::LParen => return Some(parser.parse_substring()),
            _ => return None,
        }
        parser.next_token();
        Some(match keyword {
            Keyword::CASE => parser.parse_case_expr(),
            Keyword::NOT => parser.parse_not(),
            Keyword::ARRAY => parser.expect_token(&Token::LBracket).and_then(|_| parser.parse_array_expr(true)),
            Keyword::CAST => parser.parse_cast_expr(CastKind::Cast),
            Keyword::TRY_CAST => parser.parse_cast_expr(CastKind::TryCast),
            Keyword::EXTRACT => parser.parse_extract_expr(),
            ceil_or_floor => parser.parse_ceil_floor_expr(ceil_or_floor == Keyword::CEIL),
        })
    }

    /// Words that end a column to the parser, and name it in Trino where nothing that belongs to them follows.
    fn is_column_alias(&self, word: &Keyword, parser: &mut Parser<'_>) -> bool {
        const NAMES: [Keyword; 13] = [
            Keyword::ANALYZE,
            Keyword::CLUSTER,
            Keyword::DISTRIBUTE,
            Keyword::EXCLUDE,
            Keyword::EXPLAIN,
            Keyword::FETCH,
            Keyword::LATERAL,
            Keyword::LIMIT,
            Keyword::MINUS,
            Keyword::OFFSET,
            Keyword::RETURNING,
            Keyword::SORT,
            Keyword::VIEW,
        ];
        let is_last = || match &parser.peek_token_ref().token {
            Token::Comma | Token::RParen | Token::EOF => true,
            Token::Word(next) => next.keyword == Keyword::FROM,
            _ => false,
        };
        !RESERVED_FOR_COLUMN_ALIAS.contains(word) || NAMES.contains(word) && is_last()
    }

    /// Words that are operators to the parser and names in Trino.
    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        match &parser.peek_token_ref().token {
            Token::Word(word)
                if matches!(
                    word.keyword,
                    Keyword::DIV | Keyword::MATCH | Keyword::MEMBER | Keyword::NOTNULL | Keyword::OVERLAPS | Keyword::XOR
                ) =>
            {
                Some(Ok(self.prec_unknown()))
            }
            _ => None,
        }
    }

    /// `a IS DISTINCT FROM b AND c`: what follows AND is no part of the comparison, as it is to the parser.
    fn parse_infix(&self, parser: &mut Parser<'_>, left: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        let is_equal = parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]);
        if !is_equal && !parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            return None;
        }
        let compared = |right| {
            let (left, right) = (Box::new(left.clone()), Box::new(right));
            if is_equal { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }
        };
        Some(parser.parse_subexpr(self.prec_value(Precedence::Between)).map(compared))
    }

    // For `STRUCT<..>`, what ROW types are written as.
    fn supports_struct_literal(&self) -> bool {
        true
    }
}
