//! Casts that mean something else to the engine than to Athena, once types are known.
//!
//! Runs behind type coercion. A cast that means the same stays one: filters on it reach files and their statistics.

use super::operators::own_function;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::logical_expr::expr::{HigherOrderFunction, Lambda, LambdaVariable, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, HigherOrderUDF, LogicalPlan, TryCast, cast, lit, try_cast, when};
use datafusion::optimizer::AnalyzerRule;
use engine::functions::{Functions, JSON};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The analyzer rule; knows Owlet's conversions by name.
#[derive(Debug)]
pub(crate) struct AthenaCasts;

impl AnalyzerRule for AthenaCasts {
    fn name(&self) -> &str {
        "athena_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| {
            let schema = merge_schema(&node.inputs());
            let names = NamePreserver::new(&node);
            let node = node.map_expressions(|expression| {
                let name = names.save(&expression);
                let rewritten = expression.transform_up(|expression| self.rewrite(expression, &schema))?;
                Ok(rewritten.update_data(|expression| name.restore(expression)))
            })?;
            if node.transformed { node.map_data(|node| node.recompute_schema()) } else { Ok(node) }
        })?;
        Ok(rewritten.data)
    }
}

impl AthenaCasts {
    fn rewrite(&self, expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        if let Expr::ScalarFunction(call) = &expression {
            return self.json_argument(call, schema).map(|changed| changed.map_or(Transformed::no(expression), Transformed::yes));
        }
        let (value, field, is_try) = match &expression {
            Expr::Cast(Cast { expr, field }) => (expr, field, false),
            Expr::TryCast(TryCast { expr, field }) => (expr, field, true),
            _ => return Ok(Transformed::no(expression)),
        };
        let from = value.get_type(schema)?;
        let conversion = Conversion { is_try };
        match conversion.of(value, &from, field.data_type())? {
            Some(converted) => Ok(Transformed::yes(converted)),
            None => Ok(Transformed::no(expression)),
        }
    }

    /// A cast that the text of the statement has as a function, of a JSON value.
    fn json_argument(&self, call: &ScalarFunction, schema: &DFSchema) -> Result<Option<Expr>> {
        let (is_try, to) = match call.name() {
            "owlet_cast_varchar_n" => (false, DataType::Utf8),
            "owlet_try_cast_varchar_n" => (true, DataType::Utf8),
            "owlet_cast_timestamp_tz" => (false, DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))),
            "owlet_try_cast_timestamp_tz" => (true, DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))),
            _ => return Ok(None),
        };
        let Some((value, others)) = call.args.split_first() else { return Ok(None) };
        if value.get_type(schema)? != JSON {
            return Ok(None);
        }
        let converted = Conversion { is_try }.of(value, &JSON, &to)?;
        Ok(converted.map(|value| call.func.call(std::iter::once(value).chain(others.iter().cloned()).collect())))
    }
}

struct Conversion {
    is_try: bool,
}

/// Whether every value of `from` is one of `to`.
fn never_fails(from: &DataType, to: &DataType) -> bool {
    let both = |from: &FieldRef, to: &FieldRef| never_fails(from.data_type(), to.data_type());
    match (from, to) {
        (DataType::List(from), DataType::List(to)) | (DataType::Map(from, _), DataType::Map(to, _)) => both(from, to),
        (DataType::Struct(from), DataType::Struct(to)) => {
            from.len() == to.len() && from.iter().zip(to).all(|(from, to)| both(from, to))
        }
        (from, to) if from == to || from.is_null() => true,
        (from, to) if from.is_nested() || to.is_nested() => false,
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => from.primitive_width() <= to.primitive_width(),
        (from, to) => is_text(to) || from.is_signed_integer() && to.is_floating(),
    }
}

/// The error of JSON beside a value of type `other`.
pub(super) fn mixed(other: &DataType) -> DataFusionError {
    let other = if is_text(other) { "varchar".to_string() } else { other.to_string() };
    DataFusionError::Plan(format!(
        "TYPE_MISMATCH: json and {other} do not mix: use CAST, or json_extract_scalar for the text of a JSON value"
    ))
}

/// Whether values are text, or JSON.
pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The digits of a second that a unit has.
pub(super) fn digits(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

impl Conversion {
    /// What `value` is as `to`; none where the engine's cast is the same.
    fn of(&self, value: &Expr, from: &DataType, to: &DataType) -> Result<Option<Expr>> {
        use DataType::{
            Boolean, Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, List, Map, Struct, Time32, Time64,
            Timestamp,
        };
        if let DataType::Dictionary(_, values) = from {
            return self.of(value, values, to);
        }
        if let DataType::Dictionary(_, values) = to {
            return self.of(value, from, values);
        }
        if from == to || from.is_null() {
            return Ok(None);
        }
        if *from == JSON {
            let target = if is_text(to) { &DataType::Utf8 } else { to };
            return self.call("from_json", value, vec![lit(ScalarValue::try_from(target)?)], to);
        }
        if *to == JSON {
            return Err(mixed(from));
        }
        let is_moment = |of: &DataType| matches!(of, Date32 | Timestamp(..));
        if is_moment(from) && to.is_numeric() || from.is_numeric() && is_moment(to) {
            return Err(DataFusionError::Plan(format!("TYPE_MISMATCH: Cannot cast {from} to {to}")));
        }
        if to.is_nested() && !from.is_nested() {
            // The engine makes a list of a single value.
            return Err(DataFusionError::Plan(format!("TYPE_MISMATCH: Cannot cast {from} to {to}")));
        }
        if self.is_try && from.is_nested() && !never_fails(from, to) {
            let plain = Self { is_try: false }.of(value, from, to)?.unwrap_or_else(|| cast(value.clone(), to.clone()));
            let (name, _) = parameter(value, "r", &Arc::new(Field::new("row", Int64, true)));
            return with_lambda("owlet_attempt", lit(1i64), vec![name], plain).map(Some);
        }
        // Of text the engine takes spaces around a number, too.
        let is_inexact = from.is_floating() || matches!(from, Decimal128(..)) || is_text(from);
        match (from, to) {
            (_, to) if is_text(to) => self.text(value, from, to),
            (_, Int8) if is_inexact => self.call("integer", value, vec![lit("tinyint")], to),
            (_, Int16) if is_inexact => self.call("integer", value, vec![lit("smallint")], to),
            (_, Int32) if is_inexact => self.call("integer", value, vec![lit("integer")], to),
            (_, Int64) if is_inexact => self.call("integer", value, vec![lit("bigint")], to),
            (from, Float64) if is_text(from) => self.call("double", value, vec![], to),
            (from, Float32) if is_text(from) => self.call("real", value, vec![], to),
            (from, Decimal128(digits, scale)) if is_text(from) || from.is_floating() => {
                let form = vec![lit(i64::from(*digits)), lit(i64::from(*scale))];
                self.call("decimal", value, form, to)
            }
            (from, Boolean) if is_text(from) => self.call("boolean", value, vec![], to),
            (Decimal128(..), Boolean) => self.call("boolean", value, vec![], to),
            (from, Date32) if is_text(from) && !is_plain_date(value) => self.call("date", value, vec![], to),
            (Timestamp(_, Some(_)), Date32) => self.call("date", value, vec![], to),
            (from, Timestamp(unit, None)) => self.timestamp(value, from, *unit, to),
            // The engine reads other texts, too, and cuts off digits.
            (from, Time32(unit) | Time64(unit)) if is_text(from) || matches!(from, Timestamp(..) | Time32(_) | Time64(_)) => {
                self.call("time", value, vec![lit(digits(*unit))], to)
            }
            (Timestamp(unit, None), Timestamp(_, Some(zone))) if zone.as_ref() != "UTC" => {
                // A timestamp without zone is one of UTC.
                Ok(Some(cast(cast(value.clone(), Timestamp(*unit, Some(Arc::from("UTC")))), to.clone())))
            }
            (Date32, Timestamp(unit, Some(zone))) if zone.as_ref() != "UTC" => {
                Ok(Some(cast(cast(value.clone(), Timestamp(*unit, Some(Arc::from("UTC")))), to.clone())))
            }
            (Struct(from), Struct(to)) => self.row(value, from, to),
            (List(from), List(item)) => self.elements(value, from, item, to),
            (Map(from, _), Map(entries, _)) => self.entries(value, from, entries, to),
            _ => Ok(None),
        }
    }

    fn text(&self, value: &Expr, from: &DataType, to: &DataType) -> Result<Option<Expr>> {
        match from {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => self.call("varchar", value, vec![], to),
            DataType::Timestamp(..)
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::Duration(_) => self.call("varchar", value, vec![], to),
            from if from.is_nested() => Err(DataFusionError::Plan(format!("TYPE_MISMATCH: Cannot cast {from} to varchar"))),
            _ => Ok(None),
        }
    }

    fn timestamp(&self, value: &Expr, from: &DataType, unit: TimeUnit, to: &DataType) -> Result<Option<Expr>> {
        let is_other = match from {
            DataType::Timestamp(_, Some(_)) => true,
            // The engine cuts off digits instead of rounding.
            DataType::Timestamp(finer, None) => digits(*finer) > digits(unit),
            from => is_text(from),
        };
        if is_other { self.call("timestamp", value, vec![lit(digits(unit))], to) } else { Ok(None) }
    }

    fn call(&self, name: &str, value: &Expr, arguments: Vec<Expr>, to: &DataType) -> Result<Option<Expr>> {
        let name = if self.is_try { format!("owlet_try_cast_{name}") } else { format!("owlet_cast_{name}") };
        let Some(function) = own_function(&name) else {
            return Err(DataFusionError::NotImplemented(format!("NOT_SUPPORTED: this cast ({name})")));
        };
        let converted = function.call(std::iter::once(value.clone()).chain(arguments).collect());
        // The layout of strings may be another one.
        Ok(Some(if is_text(to) && *to != DataType::Utf8 { cast(converted, to.clone()) } else { converted }))
    }

    /// Field by field in order, as rows are cast; the engine goes by the names of fields.
    fn row(&self, value: &Expr, from: &Fields, to: &Fields) -> Result<Option<Expr>> {
        if from.len() != to.len() {
            return Err(DataFusionError::Plan(format!(
                "TYPE_MISMATCH: Cannot cast a row of {} fields to one of {}",
                from.len(),
                to.len()
            )));
        }
        let mut is_same = true;
        let mut fields = Vec::with_capacity(to.len() * 2);
        for (source, target) in from.iter().zip(to) {
            let field = get_field(value.clone(), source.name().as_str());
            let converted = self.of(&field, source.data_type(), target.data_type())?;
            is_same = is_same && source.name() == target.name() && converted.is_none();
            fields.push(lit(target.name().as_str()));
            fields.push(match converted {
                Some(converted) => converted,
                None if self.is_try => try_cast(field, target.data_type().clone()),
                None => cast(field, target.data_type().clone()),
            });
        }
        if is_same {
            return Ok(None);
        }
        let null = lit(ScalarValue::try_from(&DataType::Struct(to.clone()))?);
        let row = cast(named_struct(fields), DataType::Struct(to.clone()));
        Ok(Some(when(value.clone().is_null(), null).otherwise(row)?))
    }

    /// Element by element, where a cast is not the engine's own.
    fn elements(&self, value: &Expr, from: &FieldRef, to: &FieldRef, list: &DataType) -> Result<Option<Expr>> {
        let (name, element) = parameter(value, "e", from);
        let Some(body) = self.of(&element, from.data_type(), to.data_type())? else { return Ok(None) };
        let changed = with_lambda("transform", value.clone(), vec![name], body)?;
        Ok(Some(cast(changed, list.clone())))
    }

    /// Keys and values of a map alike. Keys that become the same are an error, as in Athena.
    fn entries(&self, value: &Expr, from: &FieldRef, to: &FieldRef, map: &DataType) -> Result<Option<Expr>> {
        let (DataType::Struct(from), DataType::Struct(to)) = (from.data_type(), to.data_type()) else { return Ok(None) };
        let ([old_key, old_value], [new_key, new_value]) = (from.as_ref(), to.as_ref()) else { return Ok(None) };
        let ((key_name, key), (item_name, item)) = (parameter(value, "k", old_key), parameter(value, "v", old_value));
        let key_body = self.of(&key, old_key.data_type(), new_key.data_type())?;
        let item_body = self.of(&item, old_value.data_type(), new_value.data_type())?;
        if key_body.is_none() && item_body.is_none() {
            return Ok(None);
        }
        let names = || vec![key_name.clone(), item_name.clone()];
        let mut changed = value.clone();
        if let Some(body) = item_body {
            changed = with_lambda("transform_values", changed, names(), body)?;
        }
        if let Some(body) = key_body {
            changed = with_lambda("transform_keys", changed, names(), body)?;
        }
        Ok(Some(cast(changed, map.clone())))
    }
}

static LAMBDAS: LazyLock<HashMap<String, Arc<HigherOrderUDF>>> = LazyLock::new(|| {
    let functions = Functions::all().higher_order.into_iter();
    functions.map(|function| (function.name().to_string(), function)).collect()
});

/// `value` with the function `name` of a lambda.
fn with_lambda(name: &str, value: Expr, parameters: Vec<String>, body: Expr) -> Result<Expr> {
    let Some(function) = LAMBDAS.get(name) else {
        return Err(DataFusionError::Internal(format!("there is no function {name}")));
    };
    let lambda = Expr::Lambda(Lambda::new(parameters, body));
    Ok(Expr::HigherOrderFunction(HigherOrderFunction::new(Arc::clone(function), vec![value, lambda])))
}

/// A parameter of a lambda over the parts of `value`: its name, which no lambda around has, and what stands for it.
fn parameter(value: &Expr, letter: &str, field: &FieldRef) -> (String, Expr) {
    let mut name = "owlet".to_string();
    // The walk never fails.
    let _ = value.apply(|part| {
        if let Expr::LambdaVariable(outer) = part
            && outer.name.len() > name.len()
        {
            name.clone_from(&outer.name);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let name = format!("{name}_{letter}");
    let field = Arc::new(field.as_ref().clone().with_name(&name).with_nullable(true));
    (name.clone(), Expr::LambdaVariable(LambdaVariable::new(name, Some(field))))
}

/// Whether `value` is a date written as the engine reads it, too.
fn is_plain_date(value: &Expr) -> bool {
    let Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) = value else { return false };
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(index, byte)| if index == 4 || index == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}
