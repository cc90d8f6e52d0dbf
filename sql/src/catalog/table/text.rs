//! Text tables: how lines are cut into strings, and strings become values. What cannot be read right is an error of the query.

use super::TypedColumn;
use super::shape::{failure, timestamp_of_text};
use crate::catalog::model::Parameters;
use crate::catalog::types::HiveType;
use arrow::datatypes::DataType;
use datafusion::common::config::CsvOptions;
use datafusion::logical_expr::expr::Like;
use datafusion::logical_expr::{Expr, cast, lit, when};
use engine::{Error, Result};

/// Hive's field separator where a table names none.
const HIVE_DELIMITER: u8 = 1;
/// A byte that no line of text begins a field with: LazySimpleSerDe knows no quotes.
const NO_QUOTE: u8 = 0;
/// What NULL looks like where a table does not say.
const HIVE_NULL: &str = "\\N";

/// How a table's text files are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::catalog) struct TextFormat {
    delimiter: u8,
    has_header: bool,
    serde: Serde,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Serde {
    LazySimple { null: String, escape: Option<char> },
    OpenCsv { quote: u8, escape: u8 },
}

impl TextFormat {
    pub(super) fn lazy_simple(serde: &Parameters, table: &Parameters) -> Result<Self> {
        let named =
            serde.get("field.delim").or_else(|| serde.get("serialization.format").filter(|text| text.parse::<u8>().is_err()));
        let delimiter = named.map_or(Ok(HIVE_DELIMITER), |text| byte("field.delim", text))?;
        if serde.get("line.delim").is_some_and(|line| line != "\n") {
            return Err(Error::invalid("NOT_SUPPORTED: LINES TERMINATED BY something else than '\\n'"));
        }
        let null = serde.get("serialization.null.format").or_else(|| table.get("serialization.null.format"));
        let escape = serde.get("escape.delim").map(|text| byte("escape.delim", text)).transpose()?.map(char::from);
        let serde = Serde::LazySimple { null: null.cloned().unwrap_or_else(|| HIVE_NULL.into()), escape };
        Self { delimiter, has_header: false, serde }.with_header(table)
    }

    pub(super) fn open_csv(serde: &Parameters, table: &Parameters) -> Result<Self> {
        let sign = |name: &str, usual: u8| serde.get(name).map_or(Ok(usual), |text| byte(name, text));
        let parts = Serde::OpenCsv { quote: sign("quoteChar", b'"')?, escape: sign("escapeChar", b'\\')? };
        Self { delimiter: sign("separatorChar", b',')?, has_header: false, serde: parts }.with_header(table)
    }

    fn with_header(self, table: &Parameters) -> Result<Self> {
        let count = |name: &str| table.get(name).map_or(Ok(0), |text| text.trim().parse::<u64>());
        match (count("skip.header.line.count"), count("skip.footer.line.count")) {
            (Ok(lines @ (0 | 1)), Ok(0)) => Ok(Self { has_header: lines == 1, ..self }),
            _ => Err(Error::invalid("NOT_SUPPORTED: skip.header.line.count other than 0 and 1, or skip.footer.line.count")),
        }
    }

    pub(super) fn is_open_csv(&self) -> bool {
        matches!(self.serde, Serde::OpenCsv { .. })
    }

    /// For a reader of strings. An empty one comes as NULL, which [`Self::value`] puts right.
    pub(super) fn options(&self) -> CsvOptions {
        let (quote, escape, quoted) = match &self.serde {
            Serde::LazySimple { .. } => (NO_QUOTE, None, false),
            // A quote that is its own escape is doubled, which the reader does without being told.
            Serde::OpenCsv { quote, escape } => (*quote, Some(*escape).filter(|escape| escape != quote), true),
        };
        CsvOptions {
            has_header: Some(self.has_header),
            delimiter: self.delimiter,
            quote,
            escape,
            // A file with quotes is never cut into ranges: a cut inside quotes would give wrong rows.
            newlines_in_values: Some(quoted),
            ..CsvOptions::default()
        }
    }

    /// The value of a column from its string.
    pub(super) fn value(&self, text: Expr, column: &TypedColumn) -> Result<Expr> {
        let target = column.field.data_type().clone();
        let filled = || when(text.clone().is_null(), lit("")).otherwise(text.clone()).map_err(Error::from);
        match &self.serde {
            Serde::OpenCsv { .. } => Ok(match column.hive {
                HiveType::String | HiveType::Varchar(_) => filled()?,
                // Milliseconds since 1970, as Athena reads timestamps of this serde.
                HiveType::Timestamp => cast(cast(filled()?, DataType::Int64), target),
                HiveType::Boolean => truth(&filled()?, Some(&column.name))?,
                _ => cast(filled()?, target),
            }),
            Serde::LazySimple { null, escape } => {
                let is_text = matches!(column.hive, HiveType::String | HiveType::Varchar(_));
                // An empty string is one; an empty number is none.
                let read = if is_text && !null.is_empty() { filled()? } else { text.clone() };
                let read = when(text.clone().eq(lit(null.as_str())), lit(datafusion::common::ScalarValue::Utf8(None)))
                    .otherwise(read)?;
                let read = match escape {
                    Some(escape) => unescaped(&text, read, *escape, &column.name)?,
                    None => read,
                };
                Ok(match column.hive {
                    _ if is_text => read,
                    HiveType::Boolean => truth(&read, None)?,
                    HiveType::Timestamp => timestamp_of_text(read)?,
                    _ => cast(read, target),
                })
            }
        }
    }
}

/// `read` where no escape is in the text (apart from that of NULL, which `read` knows): escapes are not read here.
fn unescaped(text: &Expr, read: Expr, escape: char, column: &str) -> Result<Expr> {
    let pattern = match escape {
        '\\' | '%' | '_' => format!("%\\{escape}%"),
        other => format!("%{other}%"),
    };
    let has_escape = Expr::Like(Like::new(false, Box::new(text.clone()), Box::new(lit(pattern)), None, false));
    let is_null = text.clone().eq(lit(HIVE_NULL));
    let message = format!("NOT_SUPPORTED: an escape in a text file, in column {column}: ");
    when(is_null.is_not_true().and(has_escape), failure(message, text.clone(), DataType::Utf8))
        .otherwise(read)
        .map_err(Error::from)
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
