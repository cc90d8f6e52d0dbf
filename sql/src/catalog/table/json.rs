//! JSON tables: which serde's rules a table has, and how a whole line becomes the columns that a query asks for.

use super::TypedColumn;
use super::text::{call, skipped_lines};
use crate::catalog::model::Parameters;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::common::config::CsvOptions;
use datafusion::logical_expr::{Expr, lit};
use engine::functions::json_line::{JSON_ROW, JsonRules};
use engine::lines::SkippedLines;
use engine::{Error, Result};

/// What the row of a line is called.
pub(super) const ROW: &str = "$row";
/// The OpenX serde's class, in lower case; every other class of JSON is taken for one of Hive's.
const OPENX: &str = "org.openx.data.jsonserde.jsonserde";

/// How a table's files of JSON are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::catalog) struct JsonTable {
    skipped: SkippedLines,
    rules: JsonRules,
}

impl JsonTable {
    /// `library` is the serde's class in lower case.
    pub(super) fn of(library: &str, serde: &Parameters, table: &Parameters) -> Result<Self> {
        let is = |key: &str, word: &str| serde.get(key).is_some_and(|value| value.trim().eq_ignore_ascii_case(word));
        let refused = |key: &str| Err(Error::invalid(format!("NOT_SUPPORTED: the JSON serde's property {key}")));
        if let Some(key) = serde.keys().find(|key| key.starts_with("mapping.") || key.as_str() == "timestamp.formats") {
            return refused(key);
        }
        if is("dots.in.keys", "true") {
            return refused("dots.in.keys");
        }
        // Anything but `true` is false to the serde.
        if serde.contains_key("case.insensitive") && !is("case.insensitive", "true") {
            return refused("case.insensitive");
        }
        let rules = match library == OPENX {
            true if is("ignore.malformed.json", "true") => JsonRules::OpenXOrNull,
            true => JsonRules::OpenX,
            false if is("ignore.malformed.json", "true") => {
                return refused("ignore.malformed.json, which is one of the OpenX serde");
            }
            false => JsonRules::Hive,
        };
        Ok(Self { skipped: skipped_lines(serde, table)?, rules })
    }

    /// For a reader of whole lines.
    pub(super) fn options(&self) -> CsvOptions {
        self.skipped.options()
    }

    /// The row of `columns` that a line is.
    pub(super) fn row(&self, session: &dyn Session, line: Expr, columns: &[&TypedColumn]) -> Result<Expr> {
        let field = |column: &&TypedColumn| Field::new(&column.name, column.field.data_type().clone(), true);
        let row = DataType::Struct(columns.iter().map(field).collect::<Fields>());
        let null = ScalarValue::try_new_null(&row).map_err(Error::from)?;
        call(session, JSON_ROW, vec![line, lit(self.rules.name()), lit(null)])
    }
}
