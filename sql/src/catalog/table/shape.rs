//! Values of files as values of the table, where the two types differ in what they can say.

use super::TypedColumn;
use super::text::call;
use crate::catalog::types::HiveType;
use arrow::datatypes::{DataType, Field};
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator, binary_expr, cast, lit};
use engine::functions::CHAR;
use engine::functions::renamed::RENAMED;
use engine::{Error, Result};
use std::sync::Arc;

/// The characters of a `varchar(n)` that Athena shows: the first n, and as many spaces as are missing of a `char(n)`.
pub(super) fn cut(session: &dyn Session, value: Expr, column: &TypedColumn) -> Result<Expr> {
    if let HiveType::Char(length) = column.hive {
        return call(session, CHAR, vec![cast(value, DataType::Utf8), lit(i64::from(length))]);
    }
    let Some(length) = column.hive.max_chars() else { return Ok(value) };
    let substr = session.scalar_functions().get("substr").map(Arc::clone);
    let substr = substr.ok_or_else(|| Error::internal("there is no function substr"))?;
    let target = column.field.data_type().clone();
    let text = cast(value, target.clone());
    Ok(cast(substr.call(vec![text, lit(1_i64), lit(i64::from(length))]), target))
}

/// A value with the names that fields of structs have in the table.
pub(super) fn renamed(session: &dyn Session, value: Expr, column: &TypedColumn) -> Result<Expr> {
    if column.stored.is_none() {
        return Ok(value);
    }
    let function = session.scalar_functions().get(RENAMED).map(Arc::clone);
    let function = function.ok_or_else(|| Error::internal("there is no function of names"))?;
    let example = DataType::Struct(vec![Field::new("value", column.field.data_type().clone(), true)].into());
    let example = ScalarValue::try_new_null(&example).map_err(Error::from)?;
    Ok(function.call(vec![value, lit(example)]))
}

/// An expression that fails with `message` and the value, where it is evaluated.
pub(super) fn failure(message: String, value: Expr, target: DataType) -> Expr {
    let text = binary_expr(lit(message), Operator::StringConcat, value);
    cast(cast(text, DataType::Int64), target)
}
