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
use datafusion::common::config::CsvOptions;
use datafusion::logical_expr::expr::Like;
use datafusion::logical_expr::{Expr, cast, lit, try_cast, when};
use engine::functions::text_line::{
    TEXT_CSV_FIELD, TEXT_DATE, TEXT_DOUBLE, TEXT_FIELD, TEXT_INTEGER, TEXT_MATCHED, TEXT_REAL, TEXT_TIMESTAMP, TEXT_UNESCAPED,
};
use engine::{Error, Result};

/// Hive's field separator where a table names none.
const HIVE_DELIMITER: u8 = 1;
/// What separates fields for the reader of whole lines: nobody writes it, and a line that has it fails. It must be ASCII, as plans
/// are sent with it.
const NO_BYTE: u8 = 0x16;
/// The same where that one is a table's own separator.
const NO_OTHER_BYTE: u8 = 0x15;
/// What quotes fields for that reader: lines end at it before it could.
const NO_QUOTE: u8 = b'\n';
/// Most lines that are left out of a file.
const MAX_HEADER_LINES: usize = 1_000;
/// What a whole line is called.
const LINE: &str = "$line";
/// What NULL looks like where a table does not say.
const HIVE_NULL: &str = "\\N";

/// How a table's text files are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::catalog) struct TextFormat {
    header_lines: usize,
    serde: Serde,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Serde {
    LazySimple {
        separator: char,
        null: String,
        escape: Option<char>,
    },
    OpenCsv {
        separator: char,
        quote: char,
        escape: char,
    },
    /// A pattern that a whole line fits, with a group for each column.
    Regex {
        pattern: String,
    },
}

impl TextFormat {
    pub(super) fn lazy_simple(serde: &Parameters, table: &Parameters) -> Result<Self> {
        let named =
            serde.get("field.delim").or_else(|| serde.get("serialization.format").filter(|text| text.parse::<u8>().is_err()));
        let separator = named.map_or(Ok(HIVE_DELIMITER), |text| byte("field.delim", text)).map(char::from)?;
        if serde.get("line.delim").is_some_and(|line| line != "\n") {
            return Err(Error::invalid("NOT_SUPPORTED: LINES TERMINATED BY something else than '\\n'"));
        }
        for other in ["timestamp.formats", "serialization.last.column.takes.rest"] {
            if serde.get(other).or_else(|| table.get(other)).is_some_and(|value| !value.is_empty() && value != "false") {
                return Err(Error::invalid(format!(
                    "NOT_SUPPORTED: the property {other} of a text table: declare the column as string, and take it apart in SQL"
                )));
            }
        }
        let null = serde.get("serialization.null.format").or_else(|| table.get("serialization.null.format"));
        let escape = serde.get("escape.delim").map(|text| byte("escape.delim", text)).transpose()?.map(char::from);
        let null = null.cloned().unwrap_or_else(|| HIVE_NULL.into());
        Ok(Self { header_lines: header_lines(serde, table)?, serde: Serde::LazySimple { separator, null, escape } })
    }

    pub(super) fn open_csv(serde: &Parameters, table: &Parameters) -> Result<Self> {
        let sign = |name: &str, usual: u8| serde.get(name).map_or(Ok(usual), |text| byte(name, text)).map(char::from);
        let (separator, quote, escape) = (sign("separatorChar", b',')?, sign("quoteChar", b'"')?, sign("escapeChar", b'\\')?);
        Ok(Self { header_lines: header_lines(serde, table)?, serde: Serde::OpenCsv { separator, quote, escape } })
    }

    pub(super) fn regex(serde: &Parameters, table: &Parameters) -> Result<Self> {
        let Some(regex) = serde.get("input.regex") else {
            return Err(Error::invalid("HIVE_INVALID_METADATA: a table of RegexSerDe needs the property input.regex"));
        };
        let ignores_case = serde.get("input.regex.case.insensitive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let pattern = format!("(?s{})\\A(?:{regex})\\z", if ignores_case { "i" } else { "" });
        Ok(Self { header_lines: header_lines(serde, table)?, serde: Serde::Regex { pattern } })
    }

    pub(super) fn is_open_csv(&self) -> bool {
        matches!(self.serde, Serde::OpenCsv { .. })
    }

    /// How many lines of each file are left out.
    pub(super) fn header_lines(&self) -> usize {
        self.header_lines
    }

    /// What the reader gives.
    pub(super) fn line_field() -> Field {
        Field::new(LINE, DataType::Utf8, true)
    }

    /// For a reader of whole lines.
    pub(super) fn options(&self) -> CsvOptions {
        let separator = match &self.serde {
            Serde::LazySimple { separator, .. } | Serde::OpenCsv { separator, .. } => Some(*separator),
            Serde::Regex { .. } => None,
        };
        line_options(self.header_lines > 0, separator)
    }

    /// The value of the column with the number `index` of a line.
    pub(super) fn value(&self, session: &dyn Session, line: Expr, index: usize, column: &TypedColumn) -> Result<Expr> {
        let target = column.field.data_type().clone();
        let number = i64::try_from(index).map_err(|e| Error::internal(e.to_string()))?;
        let sign = |sign: char| lit(sign.to_string());
        match &self.serde {
            Serde::OpenCsv { separator, quote, escape } => {
                let arguments = vec![line, sign(*separator), sign(*quote), sign(*escape), lit(number)];
                let text = call(session, TEXT_CSV_FIELD, arguments)?;
                Ok(match column.hive {
                    HiveType::String | HiveType::Varchar(_) | HiveType::Char(_) => text,
                    // Milliseconds since 1970, as Athena reads timestamps of this serde.
                    HiveType::Timestamp => cast(cast(text, DataType::Int64), target),
                    HiveType::Boolean => truth(&text, Some(&column.name))?,
                    _ => cast(text, target),
                })
            }
            Serde::Regex { pattern } => {
                let text = call(session, TEXT_MATCHED, vec![line, lit(pattern.as_str()), lit(number + 1)])?;
                Ok(match column.hive {
                    HiveType::String | HiveType::Varchar(_) | HiveType::Char(_) => text,
                    HiveType::Boolean => {
                        let is_true = Expr::Like(Like::new(false, Box::new(text.clone()), Box::new(lit("true")), None, true));
                        when(text.is_null(), lit(datafusion::common::ScalarValue::Boolean(None))).otherwise(is_true)?
                    }
                    HiveType::Timestamp => cast(call(session, TEXT_TIMESTAMP, vec![text])?, target),
                    HiveType::Date => cast(call(session, TEXT_DATE, vec![text])?, target),
                    HiveType::Double => call(session, TEXT_DOUBLE, vec![text])?,
                    HiveType::Float => call(session, TEXT_REAL, vec![text])?,
                    _ => try_cast(text, target),
                })
            }
            Serde::LazySimple { separator, null, escape } => {
                let mark = escape.map(String::from).unwrap_or_default();
                let arguments = vec![line, sign(*separator), lit(mark.as_str()), lit(number), lit(null.as_str())];
                let text = call(session, TEXT_FIELD, arguments)?;
                // An empty string is one; an empty number is none.
                let without_empty = |text: Expr| {
                    let null = lit(datafusion::common::ScalarValue::Utf8(None));
                    when(text.clone().eq(lit("")), null).otherwise(text).map_err(Error::from)
                };
                Ok(match column.hive {
                    HiveType::String | HiveType::Varchar(_) | HiveType::Char(_) if escape.is_some() => {
                        call(session, TEXT_UNESCAPED, vec![text, lit(mark)])?
                    }
                    HiveType::String | HiveType::Varchar(_) | HiveType::Char(_) => text,
                    HiveType::Boolean => truth(&text, None)?,
                    HiveType::Timestamp => cast(call(session, TEXT_TIMESTAMP, vec![text])?, target),
                    HiveType::Date => cast(call(session, TEXT_DATE, vec![text])?, target),
                    _ if target.is_integer() => try_cast(call(session, TEXT_INTEGER, vec![text])?, target),
                    HiveType::Double => call(session, TEXT_DOUBLE, vec![text])?,
                    HiveType::Float => call(session, TEXT_REAL, vec![text])?,
                    _ => cast(without_empty(text)?, target),
                })
            }
        }
    }
}

/// How many lines of a file are left out: as the table says, or else its serde.
pub(super) fn header_lines(serde: &Parameters, table: &Parameters) -> Result<usize> {
    let count = |name: &str| table.get(name).or_else(|| serde.get(name)).map_or(Ok(0), |text| text.trim().parse::<usize>());
    match (count("skip.header.line.count"), count("skip.footer.line.count")) {
        (Ok(lines @ 0..=MAX_HEADER_LINES), Ok(0)) => Ok(lines),
        _ => Err(Error::invalid(format!(
            "NOT_SUPPORTED: skip.header.line.count over {MAX_HEADER_LINES}, or skip.footer.line.count"
        ))),
    }
}

/// For a reader of whole lines, in a table whose fields `separator` separates.
pub(super) fn line_options(has_header: bool, separator: Option<char>) -> CsvOptions {
    CsvOptions {
        has_header: Some(has_header),
        delimiter: if separator == Some(char::from(NO_BYTE)) { NO_OTHER_BYTE } else { NO_BYTE },
        quote: NO_QUOTE,
        escape: None,
        newlines_in_values: Some(false),
        ..CsvOptions::default()
    }
}

pub(super) fn call(session: &dyn Session, name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    let function = session.scalar_functions().get(name).ok_or_else(|| Error::internal(format!("there is no function {name}")))?;
    Ok(function.call(arguments))
}

/// `true` and `false` in any case; anything else fails, or is NULL without a column's name.
fn truth(text: &Expr, fails: Option<&str>) -> Result<Expr> {
    let is = |word: &str| Expr::Like(Like::new(false, Box::new(text.clone()), Box::new(lit(word)), None, true));
    let other = match fails {
        Some(column) => failure(format!("HIVE_BAD_DATA: no boolean in column {column}: "), text.clone(), DataType::Boolean),
        None => lit(datafusion::common::ScalarValue::Boolean(None)),
    };
    when(is("true"), lit(true)).when(is("false"), lit(false)).otherwise(other).map_err(Error::from)
}

fn byte(name: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [one] if one.is_ascii() && !matches!(one, b'\n' | b'\r') => Ok(*one),
        // Hive also takes the number of a character.
        [_, ..] => match text.parse::<u8>() {
            Ok(code) if code < 128 && !matches!(code, b'\n' | b'\r') => Ok(code),
            _ => Err(Error::invalid(format!("NOT_SUPPORTED: {name} '{}' is not one ASCII character", text.escape_debug()))),
        },
        [] => Err(Error::invalid(format!("NOT_SUPPORTED: {name} is empty"))),
    }
}
