//! Values for the `?` of a statement, in order of the text.

use crate::dialect::tokens::statements;
use crate::statement::{Execute, Limits, Statement, StatementKind, check_size, parse_expression};
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{Expr, Query, Value, Visit, VisitMut, Visitor, VisitorMut};
use engine::{Error, Result};
use std::ops::ControlFlow;

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub enum Parameter {
    /// NULL.
    Null,
    /// A boolean.
    Boolean(bool),
    /// A number, as it is written in SQL.
    Number(String),
    /// A string, without quotes.
    String(String),
    /// An expression without columns.
    Expression(Box<Expr>),
}

impl Parameter {
    /// What a parameter that comes as text means: an expression, where it is one without columns, or else the string itself.
    ///
    /// # Errors
    /// [`engine::ErrorKind::LimitExceeded`] for text over `limits`.
    pub fn parse(text: &str, limits: Limits) -> Result<Self> {
        check_size(text, limits)?;
        let expression = match statements(text).as_deref() {
            Ok([tokens]) => parse_expression(tokens, limits).ok(),
            _ => None,
        };
        Ok(match expression {
            Some(expression) if expression.visit(&mut Columns).is_continue() => Self::Expression(Box::new(expression)),
            _ => Self::String(text.to_string()),
        })
    }

    fn expression(&self) -> Expr {
        let value = match self {
            Parameter::Null => Value::Null,
            Parameter::Boolean(value) => Value::Boolean(*value),
            Parameter::Number(text) => Value::Number(text.clone(), false),
            Parameter::String(text) => Value::SingleQuotedString(text.clone()),
            Parameter::Expression(expression) => return Expr::Nested(expression.clone()),
        };
        Expr::Value(value.into())
    }
}

/// Stops at what is not a value: names, queries and other places.
struct Columns;

impl Visitor for Columns {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        let is_place = matches!(expression, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)));
        match expression {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ if is_place => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Puts `values` in the places of the `?` of `statement`; each becomes a value, whatever it contains. An `EXECUTE` without `USING` has them
/// for what it executes.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] when there are more or fewer values than places.
pub fn with_parameters(mut statement: Statement, values: &[Parameter]) -> Result<Statement> {
    if let StatementKind::Execute(Execute::Named { parameters, .. } | Execute::Immediate { parameters, .. }) = &mut statement.kind
        && parameters.is_empty()
    {
        parameters.extend(values.iter().map(|value| value.expression().to_string()));
        return Ok(statement);
    }
    let mut fill = Fill { values, places: 0 };
    if let Some(ParsedStatement::Statement(inner)) = &mut statement.parsed {
        // The walk never breaks off.
        let _: ControlFlow<()> = inner.visit(&mut fill);
    }
    match fill.places == values.len() {
        true => Ok(statement),
        false => Err(Error::invalid(format!(
            "the statement has {} places for parameters (?), and {} were given",
            fill.places,
            values.len()
        ))),
    }
}

struct Fill<'a> {
    values: &'a [Parameter],
    /// The highest number of a place.
    places: usize,
}

impl VisitorMut for Fill<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(place) = expr
            && let Value::Placeholder(text) = &place.value
            && let Some(number) = text.strip_prefix('?').and_then(|number| number.parse::<usize>().ok())
        {
            self.places = self.places.max(number);
            if let Some(value) = number.checked_sub(1).and_then(|index| self.values.get(index)) {
                *expr = value.expression();
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Limits, parse};

    fn filled(sql: &str, values: &[Parameter]) -> Result<String> {
        let limits = Limits { max_bytes: 1_000, max_depth: 50 };
        let statement = parse(sql, limits)?.pop().ok_or_else(|| Error::invalid("no statement"))?;
        Ok(with_parameters(statement, values)?.parsed.map(|parsed| parsed.to_string()).unwrap_or_default())
    }

    #[test]
    fn an_execute_without_using_has_the_values() -> Result<()> {
        let limits = Limits { max_bytes: 1_000, max_depth: 50 };
        let of = |sql: &str, values: &[Parameter]| -> Result<Vec<String>> {
            let statement = parse(sql, limits)?.pop().ok_or_else(|| Error::invalid("no statement"))?;
            match with_parameters(statement, values)?.kind {
                StatementKind::Execute(Execute::Named { parameters, .. } | Execute::Immediate { parameters, .. }) => {
                    Ok(parameters)
                }
                other => Err(Error::invalid(format!("{other:?}"))),
            }
        };
        let values = [Parameter::String("it's".into()), Parameter::Number("-1.5".into()), Parameter::Null];
        assert_eq!(of("EXECUTE p", &values)?, ["'it''s'", "-1.5", "NULL"]);
        assert_eq!(of("EXECUTE IMMEDIATE 'SELECT ?, ?, ?'", &values)?, ["'it''s'", "-1.5", "NULL"]);
        assert_eq!(of("EXECUTE p USING 1", &[])?, ["1"]);
        assert!(of("EXECUTE p USING 1", &values).is_err());
        Ok(())
    }

    #[test]
    fn values_are_literals_in_order() -> Result<()> {
        let values = [
            Parameter::String("x' OR '1'='1".into()),
            Parameter::Number("-2.5".into()),
            Parameter::Null,
            Parameter::Boolean(true),
        ];
        let sql = "SELECT ? AS x, (SELECT ? AS y) AS z FROM t WHERE a IN (?) AND b = ?";
        let expected = r#"SELECT 'x'' OR ''1''=''1' AS "x", (SELECT -2.5 AS "y") AS "z" FROM t WHERE a IN (NULL) AND b = true"#;
        assert_eq!(filled(sql, &values)?, expected);
        Ok(())
    }

    #[test]
    fn places_are_counted_in_the_text() -> Result<()> {
        let values = ["1", "2"].map(|text| Parameter::Number(text.into()));
        assert_eq!(filled("SELECT position(? IN ?) AS x", &values)?, "SELECT strpos(2, 1) AS \"x\"");
        assert_eq!(filled("SELECT 1 AS x OFFSET ? LIMIT ?", &values)?, "SELECT 1 AS \"x\" LIMIT 2 OFFSET 1");
        Ok(())
    }

    #[test]
    fn texts_are_expressions_where_they_can_be() -> Result<()> {
        let limits = Limits { max_bytes: 1_000, max_depth: 50 };
        for (text, is_expression) in [
            ("1 + 1", true),
            ("'a'", true),
            ("DATE '2020-01-01'", true),
            ("abc", false),
            ("a b", false),
            ("(SELECT 1)", false),
            ("", false),
            ("1; 2", false),
        ] {
            assert_eq!(matches!(Parameter::parse(text, limits)?, Parameter::Expression(_)), is_expression, "{text}");
        }
        Ok(())
    }

    #[test]
    fn counts_must_agree() -> Result<()> {
        assert_eq!(filled("SELECT '?' AS x", &[])?, "SELECT '?' AS \"x\"");
        for (sql, count) in [("SELECT ?", 0), ("SELECT ?", 2), ("SELECT 1", 1)] {
            let error = filled(sql, &vec![Parameter::Null; count]).err().map(|e| e.message).unwrap_or_default();
            assert!(error.contains("places for parameters"), "{sql} {count}: {error}");
        }
        Ok(())
    }
}
