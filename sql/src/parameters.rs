//! Values for the `?` of a statement, in order of the text.

use crate::statement::Statement;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{Expr, Value, VisitMut, VisitorMut};
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
}

/// Puts `values` in the places of the `?` of `statement`; each becomes a literal, whatever it contains.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] when there are more or fewer values than places.
pub fn with_parameters(mut statement: Statement, values: &[Parameter]) -> Result<Statement> {
    let mut fill = Fill { values, used: 0 };
    if let ParsedStatement::Statement(inner) = &mut statement.parsed {
        // The walk never breaks off.
        let _: ControlFlow<()> = inner.visit(&mut fill);
    }
    match fill.used == values.len() {
        true => Ok(statement),
        false => Err(Error::invalid(format!(
            "the statement has {} places for parameters (?), and {} were given",
            fill.used,
            values.len()
        ))),
    }
}

struct Fill<'a> {
    values: &'a [Parameter],
    used: usize,
}

impl VisitorMut for Fill<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(place) = expr
            && matches!(&place.value, Value::Placeholder(text) if text == "?")
        {
            if let Some(value) = self.values.get(self.used) {
                place.value = match value {
                    Parameter::Null => Value::Null,
                    Parameter::Boolean(value) => Value::Boolean(*value),
                    Parameter::Number(text) => Value::Number(text.clone(), false),
                    Parameter::String(text) => Value::SingleQuotedString(text.clone()),
                };
            }
            self.used += 1;
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
        Ok(with_parameters(statement, values)?.parsed.to_string())
    }

    #[test]
    fn values_are_literals_in_order() -> Result<()> {
        let values = [
            Parameter::String("x' OR '1'='1".into()),
            Parameter::Number("-2.5".into()),
            Parameter::Null,
            Parameter::Boolean(true),
        ];
        let sql = "SELECT ?, (SELECT ?) FROM t WHERE a IN (?) AND b = ?";
        assert_eq!(filled(sql, &values)?, "SELECT 'x'' OR ''1''=''1', (SELECT -2.5) FROM t WHERE a IN (NULL) AND b = true");
        Ok(())
    }

    #[test]
    fn counts_must_agree() -> Result<()> {
        assert_eq!(filled("SELECT '?'", &[])?, "SELECT '?'");
        for (sql, count) in [("SELECT ?", 0), ("SELECT ?", 2), ("SELECT 1", 1)] {
            let error = filled(sql, &vec![Parameter::Null; count]).err().map(|e| e.message).unwrap_or_default();
            assert!(error.contains("places for parameters"), "{sql} {count}: {error}");
        }
        Ok(())
    }
}
