//! format(): Java's format strings, without dates, hashes and hexadecimal floats; and format_number().

use super::super::define::{Arg, Call, Typing, define, is_text};
use super::text::{JAVA, Writer, index_of, writer};
use super::types::type_name;
use crate::functions::Functions;
use crate::functions::datetime::{double, saturating};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err, not_impl_err, plan_err};

/// Widest field and most digits that a format may ask for.
const MAX_WIDTH: usize = 10_000;

/// One piece of a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Value(Spec),
}

/// `%[index$][flags][width][.precision]conversion`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spec {
    text: String,
    index: usize,
    flags: String,
    width: Option<usize>,
    precision: Option<usize>,
    conversion: char,
}

impl Spec {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }
}

fn invalid<T>(format: &str, why: &str) -> Result<T> {
    exec_err!("Invalid format string: {format} ({why})")
}

/// Takes digits off the front; `None` when there are none.
fn take_number(rest: &mut &str) -> Option<usize> {
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at_checked(count)?;
    let number = digits.parse::<usize>().ok()?;
    *rest = after;
    Some(number)
}

/// Reads one specifier after its percent sign.
fn read_spec(format: &str, rest: &mut &str, next: &mut usize) -> Result<Spec> {
    let start = *rest;
    let mut spec = Spec::default();
    let mut ahead = *rest;
    let explicit = match take_number(&mut ahead) {
        Some(index @ 1..) if ahead.starts_with('$') && !start.starts_with('0') => {
            *rest = ahead.get(1..).unwrap_or_default();
            Some(index - 1)
        }
        _ => None,
    };
    while let Some(flag) = rest.chars().next().filter(|c| "-#+ 0,(".contains(*c)) {
        if spec.has(flag) {
            return invalid(format, &format!("DuplicateFormatFlags: Flags = '{flag}'"));
        }
        spec.flags.push(flag);
        *rest = rest.get(1..).unwrap_or_default();
    }
    spec.width = take_number(rest);
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        spec.precision = take_number(rest);
        if spec.precision.is_none() {
            return invalid(format, "UnknownFormatConversion: Conversion = '.'");
        }
    }
    let Some(conversion) = rest.chars().next() else { return invalid(format, "UnknownFormatConversion: Conversion = '%'") };
    *rest = rest.get(conversion.len_utf8()..).unwrap_or_default();
    spec.text = format!("%{}", start.get(..start.len() - rest.len()).unwrap_or_default());
    spec.conversion = conversion;
    if spec.width.unwrap_or(0).max(spec.precision.unwrap_or(0)) > MAX_WIDTH {
        return not_impl_err!("format() with fields wider than {MAX_WIDTH}");
    }
    check(format, &spec)?;
    if !matches!(conversion, '%' | 'n') {
        spec.index = explicit.unwrap_or_else(|| {
            *next += 1;
            *next - 1
        });
    }
    Ok(spec)
}

/// Refuses what Java refuses, and what is not done here.
fn check(format: &str, spec: &Spec) -> Result<()> {
    let allowed = match spec.conversion {
        's' | 'S' | 'b' | 'B' | '%' => "-",
        'd' => "-+ 0,(",
        'x' | 'X' | 'o' => "-#0",
        'f' => "-+ 0,(",
        'e' | 'E' => "-+ 0(",
        'n' => "",
        'c' | 'C' => return invalid(format, "IllegalFormatConversion: c != java.lang.Long"),
        'g' | 'G' | 'a' | 'A' | 'h' | 'H' | 't' | 'T' => {
            return not_impl_err!("conversion %{} of format()", spec.conversion);
        }
        other => return invalid(format, &format!("UnknownFormatConversion: Conversion = '{other}'")),
    };
    if let Some(flag) = spec.flags.chars().find(|flag| !allowed.contains(*flag)) {
        let conversion = spec.conversion;
        return invalid(format, &format!("FormatFlagsConversionMismatch: Conversion = {conversion}, Flags = {flag}"));
    }
    if (spec.has('-') && spec.has('0')) || (spec.has('+') && spec.has(' ')) {
        return invalid(format, &format!("IllegalFormatFlags: Flags = '{}'", spec.flags));
    }
    if (spec.has('-') || spec.has('0')) && spec.width.is_none() {
        return invalid(format, &format!("MissingFormatWidth: {}", spec.text));
    }
    if matches!(spec.conversion, 'd' | 'x' | 'X' | 'o') && spec.precision.is_some() {
        return invalid(format, &format!("IllegalFormatPrecision: {}", spec.precision.unwrap_or(0)));
    }
    Ok(())
}

fn read_format(format: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let (mut rest, mut next) = (format, 0);
    while let Some((literal, after)) = rest.split_once('%') {
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_string()));
        }
        rest = after;
        pieces.push(Piece::Value(read_spec(format, &mut rest, &mut next)?));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_string()));
    }
    Ok(pieces)
}

/// What an argument is to Java.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Long,
    Float,
    Decimal,
    Other,
}

impl Kind {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean,
            kind if kind.is_integer() => Self::Long,
            kind if kind.is_floating() => Self::Float,
            kind if kind.is_decimal() => Self::Decimal,
            _ => Self::Other,
        }
    }

    fn java(self) -> &'static str {
        match self {
            Self::Boolean => "java.lang.Boolean",
            Self::Long => "java.lang.Long",
            Self::Float => "java.lang.Double",
            Self::Decimal => "java.math.BigDecimal",
            Self::Other => "java.lang.String",
        }
    }
}

/// A decimal number as its digits and the count of them before the point.
struct Digits {
    digits: Vec<u8>,
    point: i64,
}

impl Digits {
    /// From `12.34` or `1.2E10`, without sign.
    fn read(text: &str) -> Self {
        let (mantissa, power) = text.split_once(['E', 'e']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|digit| digit.wrapping_sub(b'0')).collect();
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        let before = i64::try_from(whole.len()).unwrap_or(0) + power.parse::<i64>().unwrap_or(0);
        let point = before - i64::try_from(leading).unwrap_or(0);
        Self { digits: digits.into_iter().skip(leading).collect(), point }
    }

    /// Keeps `count` digits, halves are rounded up.
    fn keep(&mut self, count: i64) {
        let Ok(kept) = usize::try_from(count) else {
            self.digits.clear();
            return;
        };
        let up = self.digits.get(kept).is_some_and(|digit| *digit >= 5);
        self.digits.truncate(kept);
        if !up {
            return;
        }
        for digit in self.digits.iter_mut().rev() {
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.digits.insert(0, 1);
        self.point += 1;
    }

    fn at(&self, index: i64) -> char {
        let digit = usize::try_from(index).ok().and_then(|index| self.digits.get(index)).copied().unwrap_or(0);
        char::from(b'0' + digit.min(9))
    }

    fn fixed(mut self, precision: usize) -> String {
        let places = i64::try_from(precision).unwrap_or(0);
        self.keep(self.point + places);
        let mut text: String = if self.point > 0 { (0..self.point).map(|index| self.at(index)).collect() } else { "0".into() };
        if precision > 0 {
            text.push('.');
            text.extend((self.point..self.point + places).map(|index| if index < 0 { '0' } else { self.at(index) }));
        }
        text
    }

    fn scientific(mut self, precision: usize) -> String {
        let places = i64::try_from(precision).unwrap_or(0);
        self.keep(places + 1);
        let power = if self.digits.is_empty() { 0 } else { self.point - 1 };
        let mut text = self.at(0).to_string();
        if precision > 0 {
            text.push('.');
            text.extend((1..=places).map(|index| self.at(index)));
        }
        let sign = if power < 0 { '-' } else { '+' };
        format!("{text}e{sign}{:02}", power.abs())
    }
}

/// Commas between groups of three digits of the whole part.
fn grouped(text: &str) -> String {
    let (whole, fraction) = text.split_at_checked(text.find('.').unwrap_or(text.len())).unwrap_or((text, ""));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

fn padded(spec: &Spec, text: String) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    let spaces = " ".repeat(missing);
    if spec.has('-') { text + &spaces } else { spaces + &text }
}

/// Adds sign, groups and zeros around digits.
fn signed(spec: &Spec, negative: bool, digits: &str) -> String {
    let digits = if spec.has(',') { grouped(digits) } else { digits.to_string() };
    let (before, after) = match (negative, spec.has('(')) {
        (true, true) => ("(", ")"),
        (true, false) => ("-", ""),
        (false, _) if spec.has('+') => ("+", ""),
        (false, _) if spec.has(' ') => (" ", ""),
        (false, _) => ("", ""),
    };
    let length = before.len() + digits.len() + after.len();
    let zeros = if spec.has('0') { spec.width.unwrap_or(0).saturating_sub(length) } else { 0 };
    padded(spec, format!("{before}{}{digits}{after}", "0".repeat(zeros)))
}

/// Writes a number given as Java's text of it.
fn number(spec: &Spec, text: &str) -> String {
    let negative = text.starts_with('-');
    let plain = text.strip_prefix('-').unwrap_or(text);
    if matches!(plain, "NaN" | "Infinity") {
        let without_zeros = Spec { flags: spec.flags.replace(['0', ','], ""), ..spec.clone() };
        return signed(&without_zeros, negative, plain);
    }
    let precision = spec.precision.unwrap_or(6);
    match spec.conversion {
        'd' => signed(spec, negative, plain),
        'f' => signed(spec, negative, &Digits::read(plain).fixed(precision)),
        _ => {
            let text = signed(spec, negative, &Digits::read(plain).scientific(precision));
            if spec.conversion == 'E' { text.to_uppercase() } else { text }
        }
    }
}

fn radix(spec: &Spec, value: i64) -> String {
    let (prefix, digits) = match spec.conversion {
        'o' => ("0", format!("{value:o}")),
        _ => ("0x", format!("{value:x}")),
    };
    let prefix = if spec.has('#') { prefix } else { "" };
    let zeros = if spec.has('0') { spec.width.unwrap_or(0).saturating_sub(prefix.len() + digits.len()) } else { 0 };
    let text = padded(spec, format!("{prefix}{}{digits}", "0".repeat(zeros)));
    if spec.conversion == 'X' { text.to_uppercase() } else { text }
}

/// Writes one value; `None` is NULL.
fn show(format: &str, spec: &Spec, kind: Kind, text: Option<String>) -> Result<String> {
    let mismatch = || invalid(format, &format!("IllegalFormatConversion: {} != {}", spec.conversion, kind.java()));
    let fits = match spec.conversion {
        'd' | 'x' | 'X' | 'o' => kind == Kind::Long,
        'f' | 'e' | 'E' => matches!(kind, Kind::Float | Kind::Decimal),
        _ => true,
    };
    let plain = |text: String| {
        let text: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
        let text = if spec.conversion.is_uppercase() { text.to_uppercase() } else { text };
        padded(&Spec { flags: spec.flags.replace('0', ""), ..spec.clone() }, text)
    };
    let Some(text) = text else {
        return Ok(plain(if matches!(spec.conversion, 'b' | 'B') { "false".into() } else { "null".into() }));
    };
    if !fits {
        return mismatch();
    }
    Ok(match spec.conversion {
        'b' | 'B' => plain(if kind == Kind::Boolean { text } else { "true".into() }),
        's' | 'S' => plain(text),
        'x' | 'X' | 'o' => radix(spec, text.parse().unwrap_or(0)),
        _ => number(spec, &text),
    })
}

/// Arguments of a call: their kinds and how to write them.
struct Arguments {
    kinds: Vec<Kind>,
    writers: Vec<Writer>,
}

impl Arguments {
    fn of(call: &Call<'_>) -> Result<Self> {
        let mut arguments = Self { kinds: Vec::new(), writers: Vec::new() };
        for index in 1..call.inputs.len() {
            let array = &call.input(index)?.array;
            let at = index_of(call, index)?;
            let write = writer(array, None, JAVA)?;
            arguments.kinds.push(Kind::of(array.data_type()));
            arguments.writers.push(Box::new(move |row| write(at(row))));
        }
        Ok(arguments)
    }

    fn fill(&self, format: &str, pieces: &[Piece], row: usize) -> Result<String> {
        let mut out = String::new();
        for piece in pieces {
            let spec = match piece {
                Piece::Literal(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Value(spec) => spec,
            };
            match spec.conversion {
                '%' => out.push_str(&padded(spec, "%".into())),
                'n' => out.push('\n'),
                _ => {
                    let (Some(kind), Some(write)) = (self.kinds.get(spec.index), self.writers.get(spec.index)) else {
                        return invalid(format, &format!("MissingFormatArgument: Format specifier '{}'", spec.text));
                    };
                    out.push_str(&show(format, spec, *kind, write(row)?)?);
                }
            }
        }
        Ok(out)
    }
}

fn format(call: &Call<'_>) -> Result<ArrayRef> {
    let formats = call.texts(0)?;
    let arguments = Arguments::of(call)?;
    let constant = if call.input(0)?.constant { formats.get(0).map(read_format).transpose()? } else { None };
    call.make_texts(|row| {
        let Some(text) = formats.get(row) else { return Ok(None) };
        match &constant {
            Some(pieces) => arguments.fill(text, pieces, row).map(Some),
            None => arguments.fill(text, &read_format(text)?, row).map(Some),
        }
    })
}

/// Dates are written as in Java; timestamps, times and intervals look different there, and nested values cannot be written.
fn format_type(typing: &Typing<'_>) -> Result<DataType> {
    for kind in typing.types.iter().skip(1) {
        let plain = is_text(kind) || kind.is_numeric() || matches!(kind, DataType::Boolean | DataType::Null | DataType::Date32);
        if !plain {
            return plan_err!("format() of a {} is not supported; cast it to varchar", type_name(kind));
        }
    }
    Ok(DataType::Utf8)
}

/// At most three digits and a unit of thousands.
fn short_number(count: i64) -> String {
    let mut value = double(count);
    let mut unit = "";
    for next in ["K", "M", "B", "T", "Q"] {
        if value.abs() < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let digits: usize = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    let factor = [1.0, 10.0, 100.0].get(digits).copied().unwrap_or(1.0);
    let scaled = value * factor;
    // The standard library rounds exact halves to even, Java here away from zero.
    let halved = scaled.fract().abs() == 0.5;
    let text = format!("{:.digits$}", if halved { scaled.round() / factor } else { value });
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

fn format_number(call: &Call<'_>) -> Result<ArrayRef> {
    let input = call.input(0)?;
    let at = index_of(call, 0)?;
    if input.array.data_type().is_integer() {
        let values = cast(&input.array, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
        return call.make_texts(|row| Ok(values.is_valid(at(row)).then(|| short_number(values.value(at(row))))));
    }
    let values = cast(&input.array, &DataType::Float64)?.as_primitive::<Float64Type>().clone();
    call.make_texts(|row| Ok(values.is_valid(at(row)).then(|| short_number(saturating(values.value(at(row)))))))
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    functions.scalar.extend([
        define("format").typed(&[Arg::Text], Some(Arg::Any), format_type, format).udf(),
        define("format_number").form(&[Arg::Number], DataType::Utf8, format_number).udf(),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(format: &str, kind: Kind, text: &str) -> String {
        let pieces = read_format(format).unwrap();
        let value = text.to_string();
        let write: Writer = Box::new(move |_| Ok(Some(value.clone())));
        Arguments { kinds: vec![kind], writers: vec![write] }.fill(format, &pieces, 0).unwrap()
    }

    #[test]
    fn numbers_are_formatted_as_in_java() {
        for (format, kind, text, expected) in [
            ("%d", Kind::Long, "-5", "-5"),
            ("%05d|%<d", Kind::Long, "42", ""),
            ("%05d", Kind::Long, "42", "00042"),
            ("%,d", Kind::Long, "-1234567", "-1,234,567"),
            ("%(d", Kind::Long, "-7", "(7)"),
            ("%+d", Kind::Long, "7", "+7"),
            ("[%6d]", Kind::Long, "42", "[    42]"),
            ("[%-6d]", Kind::Long, "42", "[42    ]"),
            ("%x %1$X %1$o", Kind::Long, "255", "ff FF 377"),
            ("%x", Kind::Long, "-1", "ffffffffffffffff"),
            ("%#x", Kind::Long, "255", "0xff"),
            ("%f", Kind::Float, "3.141592653589793", "3.141593"),
            ("%.1f", Kind::Float, "0.15", "0.2"),
            ("%.0f", Kind::Float, "2.5", "3"),
            ("%.2f", Kind::Float, "1.0E10", "10000000000.00"),
            ("%,.2f", Kind::Float, "1234567.891", "1,234,567.89"),
            ("%.3f", Kind::Float, "-1.0E-7", "-0.000"),
            ("%.2f", Kind::Float, "99.999", "100.00"),
            ("%e", Kind::Float, "12.3456", "1.234560e+01"),
            ("%.2E", Kind::Float, "0.00012345", "1.23E-04"),
            ("%.2f", Kind::Decimal, "1.005", "1.01"),
            ("%s", Kind::Float, "1.5", "1.5"),
            ("%.2s|%%", Kind::Other, "abc", "ab|%"),
            ("%S", Kind::Other, "abc", "ABC"),
            ("%b", Kind::Boolean, "false", "false"),
        ] {
            if format.contains('<') {
                assert!(read_format(format).is_err());
                continue;
            }
            assert_eq!(one(format, kind, text), expected, "{format} {text}");
        }
        for format in ["%y", "%-d", "%.2d", "%", "%+ d", "%,x", "%dd%"] {
            assert!(read_format(format).is_err(), "{format}");
        }
        assert!(show("%d", &Spec { conversion: 'd', ..Spec::default() }, Kind::Float, Some("1.0".into())).is_err());
    }

    #[test]
    fn short_numbers() {
        for (value, expected) in [
            (0, "0"),
            (123, "123"),
            (1_234, "1.23K"),
            (12_345, "12.3K"),
            (123_456, "123K"),
            (1_000_000, "1M"),
            (-1_234_567, "-1.23M"),
            (1_125, "1.13K"),
        ] {
            assert_eq!(short_number(value), expected);
        }
    }
}
