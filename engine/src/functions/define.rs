//! Scalar functions as data: names, accepted arguments, result type, and a body that reads plain arrays row by row.
//!
//! A function has one or more forms; the first whose arguments fit is the one that is called. What this file does not know is
//! what any function means.

use crate::error::value_error;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBuilder, PrimitiveArray, PrimitiveBuilder, StringArray,
    StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What an argument may be, and what it is turned into before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arg {
    /// Any type, as it is; a dictionary becomes its values.
    Any,
    /// Text of any representation.
    Text,
    /// An integer of any width, as bigint.
    Bigint,
    /// An integer of its own width.
    Integer,
    /// A number, as double.
    Double,
    /// A number of its own type.
    Number,
    /// A date, or a timestamp with or without zone.
    Instant,
    /// A time of its own unit.
    Time,
    /// A date, a timestamp, a time or an interval: what has fields.
    Fields,
    /// An interval of either kind.
    Span,
    /// What becomes a part of JSON: a number, a boolean or text as it is, bytes to be refused, and anything else as text.
    JsonPart,
    /// The same for a parameter of a JSON path; times stay what they are.
    JsonParameter,
}

/// The type inside a dictionary, and every other type itself.
pub(super) fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// The type of JSON values, which are their text. Nothing else is of this type: varchar has other layouts.
pub const JSON: DataType = DataType::LargeUtf8;

/// The type of intervals of days to seconds.
pub const DAY_TIME: DataType = DataType::Duration(TimeUnit::Millisecond);
/// The type of intervals of years and months.
pub const YEAR_MONTH: DataType = DataType::Interval(IntervalUnit::YearMonth);

/// True for the representations of text, JSON among them.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The narrowest of Trino's numeric types that holds `data_type`, if it is a number.
fn trino_number(data_type: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match data_type {
        Int8 | Int16 | Int32 | Int64 | Float32 | Float64 => data_type.clone(),
        UInt8 => Int16,
        UInt16 => Int32,
        UInt32 | UInt64 | Null => Int64,
        Float16 => Float32,
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) => Decimal128(*p, *s),
        Decimal256(p, s) if *p <= 38 => Decimal128(*p, *s),
        _ => return None,
    })
}

impl Arg {
    /// What `actual` is turned into for this argument, if it fits.
    fn accept(self, actual: &DataType) -> Option<DataType> {
        use DataType::*;
        let actual = plain(actual);
        let integer = || trino_number(actual).filter(DataType::is_integer);
        match self {
            Self::Any => Some(actual.clone()),
            Self::Text => match actual {
                Null => Some(Utf8),
                text if is_text(text) => Some(text.clone()),
                _ => None,
            },
            Self::Bigint => integer().map(|_| Int64),
            Self::Integer => integer(),
            Self::Double => trino_number(actual).map(|_| Float64),
            Self::Number => trino_number(actual),
            Self::Instant => match actual {
                Date32 | Date64 => Some(Date32),
                Timestamp(..) => Some(actual.clone()),
                Null => Some(Timestamp(TimeUnit::Millisecond, None)),
                _ => None,
            },
            Self::Time => match actual {
                Time32(_) | Time64(_) => Some(actual.clone()),
                Null => Some(Time32(TimeUnit::Millisecond)),
                _ => None,
            },
            Self::Fields => match actual {
                Time32(_) | Time64(_) => Some(Time64(TimeUnit::Nanosecond)),
                _ => Self::Instant.accept(actual).or_else(|| Self::Span.accept(actual).filter(|_| *actual != Null)),
            },
            Self::Span => match actual {
                Duration(_) | Null => Some(DAY_TIME),
                &YEAR_MONTH => Some(YEAR_MONTH),
                _ => None,
            },
            Self::JsonPart | Self::JsonParameter => Some(match actual {
                Null | Boolean | Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => actual.clone(),
                Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..) if self == Self::JsonParameter => actual.clone(),
                text if is_text(text) && *text != JSON => actual.clone(),
                // A JSON value is cast to text, as any other.
                _ => trino_number(actual).unwrap_or(Utf8),
            }),
        }
    }
}

/// What is known of the arguments when a call is planned.
pub(super) struct Typing<'a> {
    /// The function's name, for messages.
    pub(super) name: &'a str,
    /// Types after coercion.
    pub(super) types: Vec<DataType>,
    literals: Vec<Option<&'a ScalarValue>>,
}

impl Typing<'_> {
    /// The type of argument `index`.
    pub(super) fn kind(&self, index: usize) -> &DataType {
        self.types.get(index).unwrap_or(&DataType::Null)
    }

    /// True when argument `index` is a constant.
    pub(super) fn is_literal(&self, index: usize) -> bool {
        matches!(self.literals.get(index), Some(Some(_)))
    }

    /// The constant text of argument `index`; `None` for NULL.
    pub(super) fn text(&self, index: usize) -> Result<Option<String>> {
        match self.literals.get(index).copied().flatten().map(ScalarValue::try_as_str) {
            Some(Some(text)) => Ok(text.map(str::to_string)),
            _ => plan_err!("argument {} of {} must be a constant text", index + 1, self.name),
        }
    }

    /// The constant integer of argument `index`.
    pub(super) fn integer(&self, index: usize) -> Result<i64> {
        let literal = self.literals.get(index).copied().flatten();
        match literal.map(|value| value.cast_to(&DataType::Int64)) {
            Some(Ok(ScalarValue::Int64(Some(value)))) => Ok(value),
            _ => plan_err!("argument {} of {} must be a constant integer", index + 1, self.name),
        }
    }
}

type TypeOf = Arc<dyn Fn(&Typing<'_>) -> Result<DataType> + Send + Sync>;
type Body = Arc<dyn Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync>;

/// One way to call a function.
struct Form {
    args: Vec<Arg>,
    rest: Option<Arg>,
    returns: TypeOf,
    body: Body,
}

impl Form {
    fn accept(&self, actual: &[DataType]) -> Option<Vec<DataType>> {
        if actual.len() < self.args.len() || (actual.len() > self.args.len() && self.rest.is_none()) {
            return None;
        }
        let kinds = self.args.iter().copied().chain(std::iter::repeat_with(|| self.rest.unwrap_or(Arg::Any)));
        kinds.zip(actual).map(|(kind, actual)| kind.accept(actual)).collect()
    }
}

/// A scalar function by its forms.
pub(super) struct Scalar {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    forms: Vec<Form>,
    /// The key under which the result's field has the constant second argument.
    mark: Option<&'static str>,
}

/// Starts the definition of a function that gives the same for the same arguments.
pub(super) fn define(name: &'static str) -> Scalar {
    Scalar { name, aliases: Vec::new(), signature: Signature::user_defined(Volatility::Immutable), forms: Vec::new(), mark: None }
}

impl Scalar {
    /// Other names.
    pub(super) fn alias(mut self, names: &[&str]) -> Self {
        self.aliases.extend(names.iter().map(ToString::to_string));
        self
    }

    /// Leaves the constant second argument in the metadata of the result's field.
    pub(super) fn marked(self, key: &'static str) -> Self {
        Self { mark: Some(key), ..self }
    }

    /// Gives another value at every call.
    pub(super) fn volatile(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Volatile);
        self
    }

    /// A form with a result type that does not depend on the arguments.
    pub(super) fn form<F>(self, args: &[Arg], returns: DataType, body: F) -> Self
    where
        F: Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    {
        self.typed(args, None, move |_| Ok(returns.clone()), body)
    }

    /// A form whose result type is worked out when the call is planned; `rest` stands for any number of further arguments.
    pub(super) fn typed<T, F>(mut self, args: &[Arg], rest: Option<Arg>, returns: T, body: F) -> Self
    where
        T: Fn(&Typing<'_>) -> Result<DataType> + Send + Sync + 'static,
        F: Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    {
        self.forms.push(Form { args: args.to_vec(), rest, returns: Arc::new(returns), body: Arc::new(body) });
        self
    }

    /// The function as DataFusion wants it.
    pub(super) fn udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }

    fn find(&self, actual: &[DataType]) -> Result<(&Form, Vec<DataType>)> {
        for form in &self.forms {
            if let Some(types) = form.accept(actual) {
                return Ok((form, types));
            }
        }
        let shown: Vec<String> = actual.iter().map(super::conversion::type_name).collect();
        plan_err!("Unexpected parameters ({}) for function {}", shown.join(", "), self.name)
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scalar").field("name", &self.name).finish_non_exhaustive()
    }
}

// A name stands for one function on both sides of the wire.
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.find(arg_types).map(|(_, types)| types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let (form, types) = self.find(arg_types)?;
        let literals = vec![None; types.len()];
        (form.returns)(&Typing { name: self.name, types, literals })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let actual: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let (form, types) = self.find(&actual)?;
        let typing = Typing { name: self.name, types, literals: args.scalar_arguments.to_vec() };
        let field = Field::new(self.name, (form.returns)(&typing)?, true);
        Ok(Arc::new(match self.mark {
            None => field,
            Some(key) => field.with_metadata([(key.to_string(), typing.integer(1)?.to_string())].into()),
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let actual: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (form, types) = self.find(&actual)?;
        let constant = self.signature.volatility != Volatility::Volatile
            && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let mut inputs = Vec::with_capacity(args.args.len());
        for (arg, data_type) in args.args.iter().zip(&types) {
            let (array, is_constant) = match arg {
                ColumnarValue::Array(array) => (Arc::clone(array), false),
                ColumnarValue::Scalar(value) => (value.to_array()?, true),
            };
            let array = if array.data_type() == data_type { array } else { cast(&array, data_type)? };
            inputs.push(Input { array, constant: is_constant });
        }
        let rows = if constant { 1 } else { args.number_rows };
        let call = Call { name: self.name, inputs, rows, returns: args.return_field.data_type() };
        let result = (form.body)(&call).map_err(value_error)?;
        if constant {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }
}

/// One argument: an array of one value for all rows, or of a value for each.
pub(super) struct Input {
    /// The values.
    pub(super) array: ArrayRef,
    /// True when the first value stands for all rows.
    pub(super) constant: bool,
}

/// A call of a form.
pub(super) struct Call<'a> {
    /// The function's name, for messages.
    pub(super) name: &'a str,
    /// The arguments.
    pub(super) inputs: Vec<Input>,
    /// Rows of the result.
    pub(super) rows: usize,
    /// The planned type of the result.
    pub(super) returns: &'a DataType,
}

/// Values of a primitive argument.
pub(super) struct Values<T: ArrowPrimitiveType> {
    array: PrimitiveArray<T>,
    constant: bool,
}

impl<T: ArrowPrimitiveType> Values<T> {
    /// The value of `row`.
    pub(super) fn get(&self, row: usize) -> Option<T::Native> {
        let index = if self.constant { 0 } else { row };
        self.array.is_valid(index).then(|| self.array.value(index))
    }
}

/// Values of a text argument.
pub(super) struct Texts {
    array: StringArray,
    constant: bool,
}

impl Texts {
    /// The text of `row`.
    pub(super) fn get(&self, row: usize) -> Option<&str> {
        let index = if self.constant { 0 } else { row };
        self.array.is_valid(index).then(|| self.array.value(index))
    }
}

impl Call<'_> {
    /// The same call with a result of another type.
    pub(super) fn returning<'b>(&'b self, returns: &'b DataType) -> Call<'b> {
        let again = |input: &Input| Input { array: Arc::clone(&input.array), constant: input.constant };
        Call { name: self.name, inputs: self.inputs.iter().map(again).collect(), rows: self.rows, returns }
    }

    /// Argument `index`.
    pub(super) fn input(&self, index: usize) -> Result<&Input> {
        self.inputs.get(index).ok_or_else(|| DataFusionError::Execution(format!("{} lacks argument {}", self.name, index + 1)))
    }

    /// Argument `index` as numbers of one type.
    pub(super) fn values<T: ArrowPrimitiveType>(&self, index: usize) -> Result<Values<T>> {
        let input = self.input(index)?;
        match input.array.as_primitive_opt::<T>() {
            Some(array) => Ok(Values { array: array.clone(), constant: input.constant }),
            None => exec_err!("argument {} of {} is {}", index + 1, self.name, input.array.data_type()),
        }
    }

    /// Argument `index` as text.
    pub(super) fn texts(&self, index: usize) -> Result<Texts> {
        let input = self.input(index)?;
        let array = cast(&input.array, &DataType::Utf8)?;
        Ok(Texts { array: array.as_string::<i32>().clone(), constant: input.constant })
    }

    /// A result of primitive values; its type is the planned one.
    pub(super) fn make<T, F>(&self, mut row: F) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType,
        F: FnMut(usize) -> Result<Option<T::Native>>,
    {
        if !PrimitiveArray::<T>::is_compatible(self.returns) {
            return exec_err!("{} does not give {}", self.name, self.returns);
        }
        let mut builder = PrimitiveBuilder::<T>::with_capacity(self.rows).with_data_type(self.returns.clone());
        for index in 0..self.rows {
            builder.append_option(row(index)?);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// A result of texts, or of JSON where that is planned.
    pub(super) fn make_texts<S: AsRef<str>>(&self, mut row: impl FnMut(usize) -> Result<Option<S>>) -> Result<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 8);
        for index in 0..self.rows {
            builder.append_option(row(index)?);
        }
        let texts = builder.finish();
        if *self.returns == JSON { Ok(cast(&texts, &JSON)?) } else { Ok(Arc::new(texts)) }
    }

    /// A result of booleans.
    pub(super) fn make_bools(&self, mut row: impl FnMut(usize) -> Result<Option<bool>>) -> Result<ArrayRef> {
        let mut builder = BooleanBuilder::with_capacity(self.rows);
        for index in 0..self.rows {
            builder.append_option(row(index)?);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Argument `index` as booleans.
    pub(super) fn bools(&self, index: usize) -> Result<impl Fn(usize) -> Option<bool> + use<>> {
        let input = self.input(index)?;
        let array: BooleanArray = cast(&input.array, &DataType::Boolean)?.as_boolean().clone();
        let constant = input.constant;
        Ok(move |row: usize| {
            let index = if constant { 0 } else { row };
            array.is_valid(index).then(|| array.value(index))
        })
    }
}

/// A function that this engine knows by name and cannot compute as Trino does.
pub(super) fn refused(name: &'static str, why: &'static str) -> Arc<ScalarUDF> {
    let message = format!("{name} is not supported: {why}");
    let returns = move |_: &Typing<'_>| -> Result<DataType> { Err(DataFusionError::NotImplemented(message.clone())) };
    define(name).typed(&[], Some(Arg::Any), returns, |call| exec_err!("{} is not supported", call.name)).udf()
}
