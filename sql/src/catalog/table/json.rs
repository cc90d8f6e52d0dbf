//! JSON tables: which serde's rules a table has, and how a whole line becomes the columns that a query asks for.

use super::TypedColumn;
use super::text::{TIMES, call, is_null_for_invalid, skipped_lines};
use crate::catalog::model::Parameters;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::common::config::CsvOptions;
use datafusion::common::{NullHandling, UnnestOptions};
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use engine::functions::json_line::{JSON_RECORDS, JSON_ROW, JsonProperties, JsonRules};
use engine::lines::SkippedLines;
use engine::{Error, Result};
use std::sync::Arc;

/// What the row of a line is called.
pub(super) const ROW: &str = "$row";
/// The OpenX serde's class, in lower case; every other class of JSON is taken for one of Hive's.
const OPENX: &str = "org.openx.data.jsonserde.jsonserde";

/// CloudTrail's serde, in lower case; its files have Hive's as well.
const CLOUDTRAIL: &str = "com.amazon.emr.hive.serde.cloudtrailserde";
/// The input format of files of CloudTrail, in lower case.
pub(super) const CLOUDTRAIL_INPUT: &str = "com.amazon.emr.cloudtrail.cloudtrailinputformat";

/// How a table's files of JSON are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::catalog) struct JsonTable {
    skipped: SkippedLines,
    rules: JsonRules,
    properties: JsonProperties,
}

/// Whether a serde's class, in lower case, is one for JSON.
pub(super) fn is_json(library: &str) -> bool {
    library.ends_with("jsonserde") || library == CLOUDTRAIL
}

impl JsonTable {
    /// `library` is the serde's class and `input` the input format's, in lower case.
    pub(super) fn of(library: &str, input: &str, serde: &Parameters) -> Result<Self> {
        let is = |key: &str, word: &str| serde.get(key).is_some_and(|value| value.trim().eq_ignore_ascii_case(word));
        let refused = |key: &str| Err(Error::invalid(format!("NOT_SUPPORTED: the JSON serde's property {key}")));
        let mapped = |(key, value): (&String, &String)| Some((key.strip_prefix("mapping.")?.to_string(), value.clone()));
        let properties = JsonProperties {
            // Anything but `true` is false to the serde.
            is_case_sensitive: serde.contains_key("case.insensitive") && !is("case.insensitive", "true"),
            has_dots: is("dots.in.keys", "true"),
            by_field: serde.iter().filter_map(mapped).collect(),
            ..JsonProperties::default()
        };
        if library != OPENX && properties != JsonProperties::default() {
            return refused("mapping.*, case.insensitive or dots.in.keys, which are ones of the OpenX serde");
        }
        let rules = match library == OPENX {
            true if is("ignore.malformed.json", "true") => JsonRules::OpenXOrNull,
            true => JsonRules::OpenX,
            false if is("ignore.malformed.json", "true") => {
                return refused("ignore.malformed.json, which is one of the OpenX serde");
            }
            false => JsonRules::Hive,
        };
        let is_cloudtrail = library == CLOUDTRAIL || input == CLOUDTRAIL_INPUT && rules == JsonRules::Hive;
        let rules = if is_cloudtrail { JsonRules::CloudTrail } else { rules };
        let properties = JsonProperties {
            has_null_for_invalid: is_null_for_invalid(serde),
            timestamp_formats: serde.get(TIMES).cloned().unwrap_or_default(),
            ..properties
        };
        properties.check(rules).map_err(Error::from)?;
        Ok(Self { skipped: skipped_lines(serde)?, rules, properties })
    }

    /// Whether a line holds several rows.
    pub(super) fn has_records(&self) -> bool {
        self.rules == JsonRules::CloudTrail
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
        call(session, JSON_ROW, vec![line, lit(self.rules.name()), lit(self.properties.text()), lit(null)])
    }

    /// The texts of the records of a line.
    pub(super) fn records(session: &dyn Session, line: Expr) -> Result<Expr> {
        call(session, JSON_RECORDS, vec![line])
    }
}

/// `lists` with a row for each element of the lists in the column with the number `place`.
pub(super) fn elements(lists: Arc<dyn ExecutionPlan>, place: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let field = |(index, field): (usize, &Arc<Field>)| match (index == place, field.data_type()) {
        (true, DataType::List(element)) => Arc::new(Field::new(field.name(), element.data_type().clone(), true)),
        _ => Arc::clone(field),
    };
    let schema = Schema::new(lists.schema().fields().iter().enumerate().map(field).collect::<Fields>());
    let list = ListUnnest { index_in_input_schema: place, depth: 1 };
    let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
    let unnested = UnnestExec::new(lists, vec![list], Vec::new(), Arc::new(schema), options).map_err(Error::from)?;
    Ok(Arc::new(unnested))
}
