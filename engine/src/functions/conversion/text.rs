//! Values as text: CAST to varchar, typeof, and what other conversions show of a value.

use super::super::define::{Arg, Call, DAY_TIME, Typing, define, is_text};
use super::types::{cast_double, cast_real, decimal_text, java_double, java_real, type_name};
use crate::functions::Functions;
use crate::functions::datetime::{Instants, clock_text, date_text, day_text, digits_of, month_text};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, DurationMillisecondType, Float32Type, Float64Type, Int64Type,
    IntervalUnit, IntervalYearMonthType, Time64NanosecondType, TimeUnit,
};
use chrono::{NaiveDateTime, NaiveTime};
use datafusion::common::{Result, exec_err, plan_err};

/// Name of the function of a text and a number that gives it as a `char(n)`.
pub const CHAR: &str = "owlet_cast_char";
/// What the metadata of the field of a `char(n)` have its length under.
pub const CHAR_MARK: &str = "owlet.char";
/// Name of the function of a text, a number and the name of a type that gives the text as `INSERT` writes it.
pub const STORED_TEXT: &str = "owlet_stored_text";

/// Most characters of a `char(n)`.
const MAX_CHARS: usize = 65_536;

/// Writes the value of a row; NULL gives `None`.
pub(super) type Writer = Box<dyn Fn(usize) -> Result<Option<String>>>;

/// How doubles and reals are written.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    /// Doubles.
    pub(super) double: fn(f64) -> String,
    /// Reals.
    pub(super) real: fn(f32) -> String,
}

/// As Java's strings show them.
pub(super) const JAVA: Numbers = Numbers { double: java_double, real: java_real };

/// As CAST to varchar writes them.
pub(super) const CAST: Numbers = Numbers { double: cast_double, real: cast_real };

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef, show: impl Fn(T::Native) -> String + 'static) -> Result<Writer> {
    let Some(array) = array.as_primitive_opt::<T>().cloned() else { return exec_err!("unexpected {}", array.data_type()) };
    let array: PrimitiveArray<T> = array;
    Ok(Box::new(move |row| Ok(array.is_valid(row).then(|| show(array.value(row))))))
}

/// Writes the values of `array`; `digits` overrides the digits of a second that its type tells.
pub(super) fn writer(array: &ArrayRef, digits: Option<usize>, numbers: Numbers) -> Result<Writer> {
    use DataType::*;
    match array.data_type() {
        Null => Ok(Box::new(|_| Ok(None))),
        Boolean => {
            let array = array.as_boolean().clone();
            Ok(Box::new(move |row| Ok(array.is_valid(row).then(|| array.value(row).to_string()))))
        }
        integer if integer.is_integer() => primitive::<Int64Type>(&cast(array, &Int64)?, |value| value.to_string()),
        Float64 => primitive::<Float64Type>(array, numbers.double),
        Float32 => primitive::<Float32Type>(array, numbers.real),
        Float16 => primitive::<Float32Type>(&cast(array, &Float32)?, numbers.real),
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) => {
            let scale = *s;
            let array = cast(array, &Decimal128(*p, scale))?;
            primitive::<Decimal128Type>(&array, move |value| decimal_text(&value.to_string(), scale))
        }
        Decimal256(_, scale) => {
            let scale = *scale;
            primitive::<Decimal256Type>(array, move |value| decimal_text(&value.to_string(), scale))
        }
        text if is_text(text) => {
            let array = cast(array, &Utf8)?.as_string::<i32>().clone();
            Ok(Box::new(move |row| Ok(array.is_valid(row).then(|| array.value(row).to_string()))))
        }
        Dictionary(_, values) => writer(&cast(array, values)?, digits, numbers),
        Date32 | Date64 | Timestamp(..) => instants(array, digits),
        Time32(unit) | Time64(unit) => {
            let digits = digits.unwrap_or_else(|| digits_of(*unit));
            let array = cast(array, &Time64(TimeUnit::Nanosecond))?;
            primitive::<Time64NanosecondType>(&array, move |value| clock_text(time_of_day(value), digits))
        }
        Interval(IntervalUnit::YearMonth) => primitive::<IntervalYearMonthType>(array, month_text),
        Duration(_) => primitive::<DurationMillisecondType>(&cast(array, &DAY_TIME)?, day_text),
        other => exec_err!("Cannot cast {} to varchar", type_name(other)),
    }
}

fn time_of_day(nanos: i64) -> NaiveDateTime {
    let seconds = u32::try_from(nanos / 1_000_000_000).unwrap_or(0);
    let fraction = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    let clock = NaiveTime::from_num_seconds_from_midnight_opt(seconds, fraction).unwrap_or(NaiveTime::MIN);
    NaiveDateTime::default().date().and_time(clock)
}

fn instants(array: &ArrayRef, digits: Option<usize>) -> Result<Writer> {
    let instants = Instants::new(array, false)?;
    let digits = match array.data_type() {
        DataType::Timestamp(unit, _) => Some(digits.unwrap_or_else(|| digits_of(*unit))),
        _ => None,
    };
    let zone = instants.zone.map(|zone| format!(" {}", zone.name())).unwrap_or_default();
    Ok(Box::new(move |row| {
        let Some(time) = instants.local(row)? else { return Ok(None) };
        let date = date_text(time);
        Ok(Some(match digits {
            Some(digits) => format!("{date} {}{zone}", clock_text(time, digits)),
            None => date,
        }))
    }))
}

/// Types that CAST to varchar takes.
fn castable(data_type: &DataType) -> bool {
    use DataType::*;
    !matches!(data_type, Binary | LargeBinary | BinaryView | FixedSizeBinary(_) | Struct(_) | Map(..)) && !data_type.is_nested()
}

fn varchar_type(typing: &Typing<'_>) -> Result<DataType> {
    match typing.kind(0) {
        kind if castable(kind) => Ok(DataType::Utf8),
        kind => plan_err!("Cannot cast {} to varchar", type_name(kind)),
    }
}

/// The row of an argument's array.
pub(super) fn index_of(call: &Call<'_>, index: usize) -> Result<impl Fn(usize) -> usize + use<>> {
    let constant = call.input(index)?.constant;
    Ok(move |row: usize| if constant { 0 } else { row })
}

fn cast_varchar(call: &Call<'_>) -> Result<ArrayRef> {
    let digits = match call.inputs.len() {
        2.. => call.values::<Int64Type>(1)?.get(0).and_then(|digits| usize::try_from(digits).ok()),
        _ => None,
    };
    let write = writer(&call.input(0)?.array, digits.map(|digits| digits.min(9)), CAST)?;
    let at = index_of(call, 0)?;
    call.make_texts(|row| write(at(row)))
}

fn cast_varchar_n(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    let input = call.input(0)?;
    let write = writer(&input.array, None, CAST)?;
    let truncates = is_text(input.array.data_type());
    let at = index_of(call, 0)?;
    let lengths = call.values::<Int64Type>(1)?;
    call.make_texts(|row| {
        let (Some(mut text), Some(length)) = (write(at(row))?, lengths.get(row)) else { return Ok(None) };
        let Ok(chars) = usize::try_from(length) else { return exec_err!("varchar length is {length}") };
        if let Some((end, _)) = text.char_indices().nth(chars) {
            match (truncates, lenient) {
                (true, _) => text.truncate(end),
                (false, true) => return Ok(None),
                (false, false) => return exec_err!("Value {text} cannot be represented as varchar({length})"),
            }
        }
        Ok(Some(text))
    })
}

/// The first characters of a text, with spaces behind them where they are too few.
fn cast_char(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, lengths) = (call.texts(0)?, call.values::<Int64Type>(1)?);
    call.make_texts(|row| {
        let (Some(text), Some(length)) = (texts.get(row), lengths.get(row)) else { return Ok(None) };
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= MAX_CHARS) else {
            return exec_err!("CHAR length must be in range [0, {MAX_CHARS}], got {length}");
        };
        let spaces = std::iter::repeat(' ');
        Ok(Some(text.chars().chain(spaces).take(length).collect::<String>()))
    })
}

/// A text as `INSERT` writes it into a column of the type in the third argument, which has as many characters as the second one
/// says: what would be cut off must be spaces.
fn stored_text(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, lengths, types) = (call.texts(0)?, call.values::<Int64Type>(1)?, call.texts(2)?);
    call.make_texts(|row| {
        let (Some(text), Some(length)) = (texts.get(row), lengths.get(row)) else { return Ok(None) };
        let end =
            usize::try_from(length).ok().and_then(|length| text.char_indices().nth(length)).map_or(text.len(), |(end, _)| end);
        match text.split_at(end) {
            (stored, rest) if rest.bytes().all(|byte| byte == b' ') => Ok(Some(stored)),
            _ => {
                let to = types.get(row).unwrap_or("varchar");
                exec_err!(
                    "INVALID_CAST_ARGUMENT: Cannot truncate non-space characters when casting from varchar to {to} on INSERT"
                )
            }
        }
    })
}

/// A UUID, which is its text in lower case here.
fn cast_uuid(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let is_uuid = |text: &str| {
        let is_digit = |(at, c): (usize, u8)| if matches!(at, 8 | 13 | 18 | 23) { c == b'-' } else { c.is_ascii_hexdigit() };
        text.len() == 36 && text.bytes().enumerate().all(is_digit)
    };
    call.make_texts(|row| match texts.get(row) {
        Some(text) if is_uuid(text) => Ok(Some(text.to_lowercase())),
        Some(text) if !lenient => exec_err!("Cannot cast value to UUID: {text}"),
        _ => Ok(None),
    })
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    for (name, lenient) in [("owlet_cast_uuid", false), ("owlet_try_cast_uuid", true)] {
        let body = move |call: &Call<'_>| cast_uuid(call, lenient);
        functions.scalar.push(define(name).form(&[Arg::Text], DataType::Utf8, body).udf());
    }
    for (name, with_length, lenient) in
        [("owlet_cast_varchar", "owlet_cast_varchar_n", false), ("owlet_try_cast_varchar", "owlet_try_cast_varchar_n", true)]
    {
        let one = define(name).typed(&[Arg::Any], None, varchar_type, cast_varchar);
        functions.scalar.push(one.typed(&[Arg::Any, Arg::Bigint], None, varchar_type, cast_varchar).udf());
        let body = move |call: &Call<'_>| cast_varchar_n(call, lenient);
        functions.scalar.push(define(with_length).typed(&[Arg::Any, Arg::Bigint], None, varchar_type, body).udf());
    }
    for name in [CHAR, "owlet_try_cast_char"] {
        functions.scalar.push(define(name).form(&[Arg::Text, Arg::Bigint], DataType::Utf8, cast_char).marked(CHAR_MARK).udf());
    }
    let stored = define(STORED_TEXT).form(&[Arg::Text, Arg::Bigint, Arg::Text], DataType::Utf8, stored_text);
    functions.scalar.push(stored.udf());
    let type_of = |call: &Call<'_>| {
        let name = type_name(call.input(0)?.array.data_type());
        call.make_texts(|_| Ok(Some(name.as_str())))
    };
    functions.scalar.push(define("typeof").form(&[Arg::Any], DataType::Utf8, type_of).udf());
}
