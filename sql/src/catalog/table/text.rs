//! Text tables: how lines are cut into strings, and strings become values.
//!
//! Lines are read whole and cut by functions: they may have fields too many or too few. What no number or date can be read from is
//! NULL, but an error of the query for OpenCSVSerde.

use super::TypedColumn;
use super::shape::failure;
use crate::catalog::model::Parameters;
use crate::catalog::types::HiveType;
use arrow::datatypes::{DataType, Field};
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::common::config::CsvOptions;
use datafusion::logical_expr::expr::Like;
use datafusion::logical_expr::{Expr, cast, lit, try_cast, when};
use engine::functions::TRY_CAST_DECIMAL;
use engine::functions::text_line::{
    TEXT_CSV_FIELD, TEXT_DATE, TEXT_DOUBLE, TEXT_FIELD, TEXT_INTEGER, TEXT_MATCHED, TEXT_REAL, TEXT_TIME, TEXT_TIMESTAMP,
    TEXT_UNESCAPED, check_times,
};
use engine::functions::text_value::TEXT_VALUE;
use engine::lines::{MAX_SKIPPED_LINES, SkippedLines};
use engine::{Error, Result};

/// Hive's field separator where a table names none.
const HIVE_DELIMITER: u8 = 1;
/// The property with the formats of timestamps.
pub(super) const TIMES: &str = "timestamp.formats";
/// What a whole line is called.
const LINE: &str = "$line";
/// What NULL looks like where a table does not say.
const HIVE_NULL: &str = "\\N";

/// How a table's text files are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::catalog) struct TextFormat {
    skipped: SkippedLines,
    serde: Serde,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Serde {
    LazySimple {
        separator: char,
        null: String,
        escape: Option<char>,
        /// What separates the values within a field, by level.
        inner: String,
        /// The formats of timestamps as the table has them.
        times: String,
    },
    OpenCsv {
        separator: char,
        quote: char,
        escape: char,
        /// What is no value of its type is NULL.
        has_null_for_invalid: bool,
    },
    /// A pattern that a whole line fits, with a group for each column.
    Regex { pattern: String },
}

impl TextFormat {
    pub(super) fn lazy_simple(serde: &Parameters) -> Result<Self> {
        if serde.get("line.delim").is_some_and(|line| line != "\n") {
            return Err(Error::invalid("NOT_SUPPORTED: LINES TERMINATED BY something else than '\\n'"));
        }
        let other = "serialization.last.column.takes.rest";
        if serde.get(other).is_some_and(|value| !value.is_empty() && value != "false") {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: the property {other} of a text table: declare the column as string, and take it apart in SQL"
            )));
        }
        let times = serde.get(TIMES).cloned().unwrap_or_default();
        check_times(&times).map_err(Error::from)?;
        let null = serde.get("serialization.null.format");
        let escape = serde.get("escape.delim").map(|text| byte("escape.delim", text, b'\\')).transpose()?;
        let null = null.cloned().unwrap_or_else(|| HIVE_NULL.into());
        Ok(Self {
            skipped: skipped_lines(serde)?,
            serde: Serde::LazySimple { separator: field_separator(serde)?, null, escape, inner: inner_separators(serde)?, times },
        })
    }

    pub(super) fn open_csv(serde: &Parameters) -> Result<Self> {
        // Of a longer text the serde takes the first character.
        let sign = |name: &str, usual: char| serde.get(name).map_or(Some(usual), |text| text.chars().next());
        let wrong = || Error::invalid("NOT_SUPPORTED: separatorChar, quoteChar and escapeChar must be three characters");
        let (separator, quote) = (sign("separatorChar", ',').ok_or_else(wrong)?, sign("quoteChar", '"').ok_or_else(wrong)?);
        // One that is named `"` is a backslash to the serde.
        let escape = sign("escapeChar", '\\').map(|sign| if sign == '"' { '\\' } else { sign }).ok_or_else(wrong)?;
        let is_twice = quote == escape && quote != '\0';
        if separator == '\0' || separator == quote || separator == escape || is_twice {
            return Err(wrong());
        }
        Ok(Self {
            skipped: skipped_lines(serde)?,
            serde: Serde::OpenCsv { separator, quote, escape, has_null_for_invalid: is_null_for_invalid(serde) },
        })
    }

    pub(super) fn regex(serde: &Parameters) -> Result<Self> {
        let Some(regex) = serde.get("input.regex") else {
            return Err(Error::invalid("HIVE_INVALID_METADATA: a table of RegexSerDe needs the property input.regex"));
        };
        let ignores_case = serde.get("input.regex.case.insensitive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let pattern = format!("(?s{})\\A(?:{regex})\\z", if ignores_case { "i" } else { "" });
        Ok(Self { skipped: skipped_lines(serde)?, serde: Serde::Regex { pattern } })
    }

    /// Whether fields can be arrays, maps and rows.
    pub(super) fn is_nested(&self) -> bool {
        matches!(self.serde, Serde::LazySimple { .. })
    }

    /// What the reader gives.
    pub(super) fn line_field() -> Field {
        Field::new(LINE, DataType::Utf8, true)
    }

    /// For a reader of whole lines.
    pub(super) fn options(&self) -> CsvOptions {
        self.skipped.options()
    }

    /// The value of the column with the number `index` of a line.
    pub(super) fn value(&self, session: &dyn Session, line: Expr, index: usize, column: &TypedColumn) -> Result<Expr> {
        let target = column.field.data_type().clone();
        let number = i64::try_from(index).map_err(|e| Error::internal(e.to_string()))?;
        let sign = |sign: char| lit(sign.to_string());
        match &self.serde {
            Serde::OpenCsv { separator, quote, escape, has_null_for_invalid } => {
                let arguments = vec![line, sign(*separator), sign(*quote), sign(*escape), lit(number)];
                let text = call(session, TEXT_CSV_FIELD, arguments)?;
                let read =
                    |text: &Expr, target| valid(text, target, Some(column.name.as_str()).filter(|_| !has_null_for_invalid));
                Ok(match column.hive {
                    HiveType::String | HiveType::Varchar(_) | HiveType::Char(_) => text,
                    // Milliseconds and days since 1970, as Athena reads timestamps and dates of this serde.
                    HiveType::Timestamp => cast(read(&text, DataType::Int64)?, target),
                    HiveType::Date => cast(read(&text, DataType::Int32)?, target),
                    HiveType::Boolean => truth(&text, Some(column.name.as_str()).filter(|_| !has_null_for_invalid))?,
                    _ => read(&text, target)?,
                })
            }
            Serde::Regex { pattern } => {
                let text = call(session, TEXT_MATCHED, vec![line, lit(pattern.as_str()), lit(number + 1)])?;
                Ok(match column.hive {
                    HiveType::String | HiveType::Varchar(_) | HiveType::Char(_) => text,
                    HiveType::Boolean => {
                        let is_true = Expr::Like(Like::new(false, Box::new(text.clone()), Box::new(lit("true")), None, true));
                        when(text.is_null(), lit(ScalarValue::Boolean(None))).otherwise(is_true)?
                    }
                    HiveType::Timestamp => cast(call(session, TEXT_TIMESTAMP, vec![text])?, target),
                    HiveType::Date => cast(call(session, TEXT_DATE, vec![text])?, target),
                    HiveType::Double => call(session, TEXT_DOUBLE, vec![text])?,
                    HiveType::Float => call(session, TEXT_REAL, vec![text])?,
                    HiveType::Decimal(precision, scale) => decimal(session, text, precision, scale)?,
                    _ => try_cast(text, target),
                })
            }
            Serde::LazySimple { separator, null, escape, inner, times } => {
                let mark = escape.map(String::from).unwrap_or_default();
                let arguments = vec![line, sign(*separator), lit(mark.as_str()), lit(number), lit(null.as_str())];
                let text = call(session, TEXT_FIELD, arguments)?;
                Ok(match column.hive {
                    HiveType::String | HiveType::Varchar(_) | HiveType::Char(_) if escape.is_some() => {
                        call(session, TEXT_UNESCAPED, vec![text, lit(mark)])?
                    }
                    HiveType::String | HiveType::Varchar(_) | HiveType::Char(_) => text,
                    HiveType::Boolean => truth(&text, None)?,
                    HiveType::Timestamp if times.is_empty() => cast(call(session, TEXT_TIMESTAMP, vec![text])?, target),
                    HiveType::Timestamp => cast(call(session, TEXT_TIME, vec![text, lit(times.as_str())])?, target),
                    HiveType::Date => cast(call(session, TEXT_DATE, vec![text])?, target),
                    HiveType::Double => call(session, TEXT_DOUBLE, vec![text])?,
                    HiveType::Float => call(session, TEXT_REAL, vec![text])?,
                    HiveType::Decimal(precision, scale) => decimal(session, text, precision, scale)?,
                    _ if target.is_integer() => try_cast(call(session, TEXT_INTEGER, vec![text])?, target),
                    _ if !times.is_empty() && has_timestamps(&target) => {
                        return Err(Error::invalid(format!(
                            "NOT_SUPPORTED: {TIMES} with timestamps within column {}",
                            column.name
                        )));
                    }
                    _ => {
                        let value = DataType::Struct(vec![Field::new("value", target, true)].into());
                        let value = ScalarValue::try_new_null(&value).map_err(Error::from)?;
                        call(session, TEXT_VALUE, vec![text, lit(inner.as_str()), lit(mark), lit(null.as_str()), lit(value)])?
                    }
                })
            }
        }
    }
}

fn has_timestamps(kind: &DataType) -> bool {
    match kind {
        DataType::Timestamp(..) => true,
        DataType::List(item) | DataType::Map(item, _) => has_timestamps(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_timestamps(field.data_type())),
        _ => false,
    }
}

/// Whether what is no value of its type is NULL, as Athena's property of that name says.
pub(super) fn is_null_for_invalid(serde: &Parameters) -> bool {
    serde.get("use.null.for.invalid.data").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// How many lines of each file are left out.
pub(super) fn skipped_lines(serde: &Parameters) -> Result<SkippedLines> {
    let number = |name: &str| {
        let Some(text) = serde.get(name) else { return Ok(0) };
        let lines = text.trim().parse().ok().filter(|lines| *lines <= MAX_SKIPPED_LINES);
        lines.ok_or_else(|| Error::invalid(format!("NOT_SUPPORTED: {name} '{text}': give 0 to {MAX_SKIPPED_LINES}")))
    };
    Ok(SkippedLines { header: number("skip.header.line.count")?, footer: number("skip.footer.line.count")? })
}

/// What separates the fields of LazySimpleSerDe's lines.
///
/// # Errors
/// For one that is not an ASCII character.
pub fn field_separator(serde: &Parameters) -> Result<char> {
    let named = serde.get("field.delim").or_else(|| serde.get("serialization.format"));
    named.map_or(Ok(char::from(HIVE_DELIMITER)), |text| byte("field.delim", text, HIVE_DELIMITER))
}

/// The same for what is in a field, level by level; of a map there are two.
fn inner_separators(serde: &Parameters) -> Result<String> {
    let named = |names: &[&str], usual: u8| match names.iter().find_map(|name| Some((*name, serde.get(*name)?))) {
        Some((name, text)) => byte(name, text, usual),
        None => Ok(char::from(usual)),
    };
    // Hive has spelled the first one in two ways.
    let first = [named(&["collection.delim", "colelction.delim"], 2)?, named(&["mapkey.delim"], 3)?];
    Ok(first.into_iter().chain((4..=8).map(char::from)).collect())
}

/// A number as Java reads decimals, rounded to its digits; NULL for what is none.
fn decimal(session: &dyn Session, text: Expr, precision: u8, scale: u8) -> Result<Expr> {
    call(session, TRY_CAST_DECIMAL, vec![text, lit(i64::from(precision)), lit(i64::from(scale))])
}

pub(super) fn call(session: &dyn Session, name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    let function = session.scalar_functions().get(name).ok_or_else(|| Error::internal(format!("there is no function {name}")))?;
    Ok(function.call(arguments))
}

/// `text` as `target`; what is none fails, or is NULL without a column's name.
fn valid(text: &Expr, target: DataType, fails: Option<&str>) -> Result<Expr> {
    let value = try_cast(text.clone(), target.clone());
    let Some(column) = fails else { return Ok(value) };
    let is_invalid = value.clone().is_null().and(text.clone().is_not_null());
    let why = format!("HIVE_BAD_DATA: Error parsing field value of column {column}: ");
    when(is_invalid, failure(why, text.clone(), target)).otherwise(value).map_err(Error::from)
}

/// `true` and `false` in any case; anything else fails, or is NULL without a column's name.
fn truth(text: &Expr, fails: Option<&str>) -> Result<Expr> {
    let is = |word: &str| Expr::Like(Like::new(false, Box::new(text.clone()), Box::new(lit(word)), None, true));
    let other = match fails {
        Some(column) => failure(format!("HIVE_BAD_DATA: no boolean in column {column}: "), text.clone(), DataType::Boolean),
        None => lit(ScalarValue::Boolean(None)),
    };
    when(is("true"), lit(true)).when(is("false"), lit(false)).otherwise(other).map_err(Error::from)
}

/// The byte that LazySimpleSerDe takes `text` for: the one with that number, or else the first.
fn byte(name: &str, text: &str, usual: u8) -> Result<char> {
    let code = match (text.parse::<i8>(), text.as_bytes()) {
        (Ok(code), _) => code.cast_unsigned(),
        (_, [first, ..]) => *first,
        _ => usual,
    };
    match code {
        b'\n' | b'\r' | 128.. => {
            Err(Error::invalid(format!("NOT_SUPPORTED: {name} '{}': no ASCII character", text.escape_debug())))
        }
        code => Ok(char::from(code)),
    }
}
