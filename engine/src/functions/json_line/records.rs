//! The records of a file of CloudTrail: its one line is an object, whose member `Records` is the array of them.

use crate::functions::define::{Arg, Call, define};
use crate::functions::json::items_of;
use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;

/// Name of the function of a line that gives the texts of its records.
pub const JSON_RECORDS: &str = "owlet_records";

fn records(call: &Call<'_>) -> Result<ArrayRef> {
    let lines = call.texts(0)?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        let Some(line) = lines.get(row) else {
            lists.append_null();
            continue;
        };
        let Some(records) = items_of(line, "Records") else {
            let shown: String = line.chars().take(100).collect();
            return exec_err!(
                "HIVE_BAD_DATA: a file of CloudTrail is one line with one object {{\"Records\":[..]}}, not: {shown}"
            );
        };
        records.into_iter().for_each(|record| lists.values().append_value(record));
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

pub(super) fn function() -> Arc<ScalarUDF> {
    let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    define(JSON_RECORDS).form(&[Arg::Text], texts, records).udf()
}
