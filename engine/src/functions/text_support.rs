//! How text and binary functions are declared: a table of overloads over rows. NULL in gives NULL out unless an overload says otherwise.
//!
//! It knows nothing of any single function. What no overload accepts is refused by name and types, never converted silently.

mod column;
mod output;

pub(super) use column::Row;

use self::column::Column;
use super::Functions;
use super::define::JSON;
use crate::error::function_error;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Most bytes of one value that a function makes: bounds what a single call can allocate.
pub(super) const MAX_VALUE_BYTES: usize = 64 << 20;

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arg {
    /// `varchar`, in any of Arrow's layouts.
    Text,
    /// `varbinary`, in any of Arrow's layouts.
    Bytes,
    /// Any integer, read as `bigint`.
    Int,
    /// Any number, read as `double`.
    Double,
    /// `real`, or an integer read as `real`.
    Real,
    /// `boolean`.
    Bool,
    /// `array(varchar)`.
    Texts,
}

impl Arg {
    /// The type that an argument of type `from` is read as, or `None` where it does not fit.
    fn accept(self, from: &DataType) -> Option<DataType> {
        let from = match from {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        match (self, from) {
            (Self::Text, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => Some(from.clone()),
            (Self::Bytes, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => Some(from.clone()),
            (Self::Bytes, DataType::FixedSizeBinary(_)) => Some(DataType::Binary),
            (Self::Int, from) if from.is_integer() => Some(DataType::Int64),
            (Self::Double, from) if from.is_numeric() => Some(DataType::Float64),
            (Self::Real, DataType::Float32) => Some(DataType::Float32),
            (Self::Real, from) if from.is_integer() => Some(DataType::Float32),
            (Self::Bool, DataType::Boolean) => Some(DataType::Boolean),
            (Self::Texts, DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) => {
                let texts = item.data_type().is_null() || Self::Text.accept(item.data_type()).is_some();
                texts.then(|| list_of(DataType::Utf8))
            }
            (_, DataType::Null) => Some(self.when_null()),
            _ => None,
        }
    }

    /// The type of a bare NULL.
    fn when_null(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Int => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Real => DataType::Float32,
            Self::Bool => DataType::Boolean,
            Self::Texts => list_of(DataType::Utf8),
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Text => "varchar",
            Self::Bytes => "varbinary",
            Self::Int => "bigint",
            Self::Double => "double",
            Self::Real => "real",
            Self::Bool => "boolean",
            Self::Texts => "array(varchar)",
        }
    }
}

/// A value computed from one row; `None` is NULL.
type Value<T> = Result<Option<T>>;
/// Texts of an array.
pub(super) type Texts<'a> = Vec<Option<Cow<'a, str>>>;
/// Entries of a map, without equal keys.
pub(super) type Entries<'a, V = &'a str> = Vec<(&'a str, V)>;

/// What is computed for a row, by the type of its result.
#[derive(Clone, Copy)]
pub(super) enum Eval {
    /// `varchar`.
    Text(for<'a> fn(&Row<'a>) -> Value<Cow<'a, str>>),
    /// JSON, as its text.
    Json(for<'a> fn(&Row<'a>) -> Value<Cow<'a, str>>),
    /// `varbinary`.
    Bytes(for<'a> fn(&Row<'a>) -> Value<Cow<'a, [u8]>>),
    /// `bigint`.
    Int(for<'a> fn(&Row<'a>) -> Value<i64>),
    /// `integer`.
    Int32(for<'a> fn(&Row<'a>) -> Value<i32>),
    /// `boolean`.
    Bool(for<'a> fn(&Row<'a>) -> Value<bool>),
    /// `double`.
    Double(for<'a> fn(&Row<'a>) -> Value<f64>),
    /// `real`.
    Real(for<'a> fn(&Row<'a>) -> Value<f32>),
    /// `array(varchar)`.
    Texts(for<'a> fn(&Row<'a>) -> Value<Texts<'a>>),
    /// `map(varchar, varchar)`.
    TextMap(for<'a> fn(&Row<'a>) -> Value<Entries<'a>>),
    /// `map(varchar, array(varchar))`.
    TextsMap(for<'a> fn(&Row<'a>) -> Value<Entries<'a, Vec<&'a str>>>),
    /// Not offered, and why.
    Refuse(&'static str),
}

impl Eval {
    fn data_type(self) -> DataType {
        match self {
            Self::Text(_) | Self::Refuse(_) => DataType::Utf8,
            Self::Json(_) => JSON,
            Self::Bytes(_) => DataType::Binary,
            Self::Int(_) => DataType::Int64,
            Self::Int32(_) => DataType::Int32,
            Self::Bool(_) => DataType::Boolean,
            Self::Double(_) => DataType::Float64,
            Self::Real(_) => DataType::Float32,
            Self::Texts(_) => list_of(DataType::Utf8),
            Self::TextMap(_) => map_of(DataType::Utf8),
            Self::TextsMap(_) => map_of(list_of(DataType::Utf8)),
        }
    }
}

/// One way to call a function.
#[derive(Clone, Copy)]
pub(super) struct Overload {
    args: &'static [Arg],
    repeats: bool,
    sees_nulls: bool,
    eval: Eval,
}

/// A function of exactly these arguments.
pub(super) const fn on(args: &'static [Arg], eval: Eval) -> Overload {
    Overload { args, repeats: false, sees_nulls: false, eval }
}

/// A function whose last argument may be repeated.
pub(super) const fn on_many(args: &'static [Arg], eval: Eval) -> Overload {
    Overload { args, repeats: true, sees_nulls: false, eval }
}

impl Overload {
    /// The same, but its evaluation is also asked for rows with NULLs.
    pub(super) const fn seeing_nulls(self) -> Self {
        Self { sees_nulls: true, ..self }
    }

    fn accept(&self, types: &[DataType]) -> Option<Vec<DataType>> {
        let last = self.args.last()?;
        let counted = if self.repeats { types.len() >= self.args.len() } else { types.len() == self.args.len() };
        let wanted = self.args.iter().chain(std::iter::repeat(last));
        counted.then(|| types.iter().zip(wanted).map(|(from, arg)| arg.accept(from)).collect()).flatten()
    }
}

/// A name and the ways to call it.
pub(super) type Entry = (&'static str, &'static [Overload]);

/// Adds the functions of a table.
pub(super) fn add_table(functions: &mut Functions, table: &'static [Entry]) {
    functions
        .scalar
        .extend(table.iter().map(|(name, overloads)| Arc::new(ScalarUDF::new_from_impl(TableFunction::new(name, overloads)))));
}

/// A function that a table declares.
pub(super) struct TableFunction {
    name: &'static str,
    overloads: &'static [Overload],
    signature: Signature,
}

impl TableFunction {
    /// The function `name` with `overloads`.
    pub(super) fn new(name: &'static str, overloads: &'static [Overload]) -> Self {
        Self { name, overloads, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn choose(&self, types: &[DataType]) -> Result<(&Overload, Vec<DataType>)> {
        let chosen = self.overloads.iter().find_map(|overload| Some((overload, overload.accept(types)?)));
        match chosen {
            Some((Overload { eval: Eval::Refuse(why), .. }, _)) => {
                Err(DataFusionError::NotImplemented(format!("{} is not supported: {why}", self.name)))
            }
            Some(chosen) => Ok(chosen),
            None => Err(DataFusionError::Plan(format!("{}; it takes {}", unexpected(self.name, types), self.usage()))),
        }
    }

    fn usage(&self) -> String {
        let offered = self.overloads.iter().filter(|overload| !matches!(overload.eval, Eval::Refuse(_)));
        let forms = offered.map(|overload| {
            let args: Vec<_> = overload.args.iter().map(|arg| arg.sql()).collect();
            format!("({}{})", args.join(", "), if overload.repeats { ", ..." } else { "" })
        });
        forms.collect::<Vec<_>>().join(" or ")
    }
}

/// The beginning of the error for arguments that do not fit.
pub(super) fn unexpected(name: &str, types: &[DataType]) -> String {
    let types: Vec<_> = types.iter().map(ToString::to_string).collect();
    format!("Unexpected parameters ({}) for function {name}", types.join(", "))
}

impl fmt::Debug for TableFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for TableFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TableFunction {}

impl Hash for TableFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for TableFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.choose(types)?.1)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.choose(types)?.0.eval.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<_> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (overload, _) = self.choose(&types)?;
        evaluate(overload, &args).map_err(|error| function_error(self.name, error))
    }
}

fn evaluate(overload: &Overload, args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    let arrays = args
        .args
        .iter()
        .map(|arg| match arg {
            ColumnarValue::Array(array) => Ok((Arc::clone(array), false)),
            ColumnarValue::Scalar(value) => Ok((value.to_array()?, true)),
        })
        .collect::<Result<Vec<_>>>()?;
    let columns = arrays.iter().map(|(array, constant)| Column::new(array, *constant)).collect::<Result<Vec<_>>>()?;
    let array = output::build(overload.eval, &column::Rows::new(&columns, rows, overload.sees_nulls))?;
    if constant { Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)) } else { Ok(ColumnarValue::Array(array)) }
}

/// An error about the values of a row.
pub(super) fn bad(text: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(text.into())
}

/// Refuses a value that would be larger than one value may be.
pub(super) fn bounded(bytes: usize) -> Result<usize> {
    if bytes > MAX_VALUE_BYTES {
        return Err(bad(format!("the result has {bytes} bytes; a value may have {MAX_VALUE_BYTES}")));
    }
    Ok(bytes)
}

/// An array of `item`.
pub(super) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// A map from text to `value`, named as DataFusion's own maps are.
fn map_of(value: DataType) -> DataType {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, new_null_array};
    use datafusion::config::ConfigOptions;

    fn call(function: &dyn ScalarUDFImpl, arrays: Vec<ArrayRef>) -> Result<ColumnarValue> {
        let types: Vec<_> = arrays.iter().map(|array| array.data_type().clone()).collect();
        let arg_fields = types.iter().map(|one| Arc::new(Field::new("a", one.clone(), true))).collect();
        function.invoke_with_args(ScalarFunctionArgs {
            number_rows: arrays.first().map_or(0, |array| array.len()),
            args: arrays.into_iter().map(ColumnarValue::Array).collect(),
            arg_fields,
            return_field: Arc::new(Field::new("r", function.return_type(&types)?, true)),
            config_options: Arc::new(ConfigOptions::default()),
        })
    }

    #[test]
    fn every_function_of_a_table_gives_null_for_null_and_its_declared_type() {
        let all = Functions::all();
        let tables: Vec<_> = all.scalar.iter().filter_map(|function| function.inner().downcast_ref::<TableFunction>()).collect();
        assert!(tables.len() > 80);
        for function in tables {
            for overload in function.overloads.iter().filter(|overload| !matches!(overload.eval, Eval::Refuse(_))) {
                let types: Vec<_> = overload.args.iter().map(|arg| arg.when_null()).collect();
                assert_eq!(function.coerce_types(&types).unwrap(), types, "{}", function.name);
                let nulls: Vec<_> = types.iter().map(|one| new_null_array(one, 3)).collect();
                let ColumnarValue::Array(array) = call(function, nulls).unwrap() else { panic!("{}", function.name) };
                assert_eq!(array.data_type(), &overload.eval.data_type(), "{}", function.name);
                assert_eq!(array.null_count(), 3, "{}", function.name);
            }
        }
    }

    #[test]
    fn what_no_overload_takes_is_named() {
        const FORMS: &[Overload] = &[on(&[Arg::Text, Arg::Int], Eval::Refuse("x")), on(&[Arg::Int], Eval::Int(|_| Ok(None)))];
        let function = TableFunction::new("f", FORMS);
        let error = |types: &[DataType]| function.coerce_types(types).unwrap_err().to_string();
        assert!(error(&[DataType::Utf8]).contains("Unexpected parameters (Utf8) for function f; it takes (bigint)"));
        assert!(error(&[DataType::Utf8View, DataType::Null]).contains("f is not supported: x"));
        assert_eq!(function.coerce_types(&[DataType::Int8]).unwrap(), [DataType::Int64]);
    }
}
