//! Reads documents of every format back, and writes the same rows in another way to compare with.

use super::super::ResultFormat;
use super::rows::expected_arrow;
use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;
use std::error::Error;
use std::io::Cursor;

/// One text a row: JSON or delimited cells; of Arrow the text of the row as well.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows(Vec<String>);

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn extend(&mut self, other: Rows) {
        self.0.extend(other.0);
    }
}

/// The rows of a document; `next` is given for a page and names the page after it.
pub(super) fn document(
    format: ResultFormat,
    bytes: &[u8],
    next: Option<Option<usize>>,
    schema: &Schema,
) -> Result<Rows, Box<dyn Error>> {
    let rows = match format {
        ResultFormat::Json => {
            let json: Value = serde_json::from_slice(bytes)?;
            assert_eq!(json["query_id"], "q");
            assert_eq!(json["columns"].as_array().map(Vec::len), Some(schema.fields().len()));
            if let Some(next) = next {
                assert_eq!(json["next_page"], serde_json::json!(next));
            }
            json["rows"].as_array().ok_or("no rows")?.iter().map(Value::to_string).collect()
        }
        ResultFormat::Ndjson => {
            let text = std::str::from_utf8(bytes)?;
            assert!(text.is_empty() || text.ends_with('\n'));
            text.split_terminator('\n')
                .map(|line| Ok(values(&serde_json::from_str(line)?)))
                .collect::<Result<_, Box<dyn Error>>>()?
        }
        ResultFormat::Csv => {
            let mut lines = csv(std::str::from_utf8(bytes)?)?;
            if !schema.fields().is_empty() {
                let names: Vec<Option<String>> = schema.fields().iter().map(|field| Some(field.name().clone())).collect();
                assert_eq!(lines.remove(0), names);
            }
            lines.iter().map(|line| format!("{line:?}")).collect()
        }
        ResultFormat::Arrow => {
            let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
            let schema = reader.schema();
            arrow_rows(&concat_batches(&schema, &reader.collect::<Result<Vec<_>, _>>()?)?)?
        }
    };
    Ok(Rows(rows))
}

/// The same rows written by Arrow's own writers.
pub(super) fn expected(format: ResultFormat, schema: &Schema, batches: &[RecordBatch]) -> Result<Rows, Box<dyn Error>> {
    let plain = expected_arrow(schema, batches)?;
    Ok(Rows(match format {
        ResultFormat::Json | ResultFormat::Ndjson => {
            let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
            writer.write(&plain)?;
            writer.finish()?;
            let text = String::from_utf8(writer.into_inner())?;
            text.lines().map(|line| Ok(values(&serde_json::from_str(line)?))).collect::<Result<_, Box<dyn Error>>>()?
        }
        ResultFormat::Csv => {
            let options = FormatOptions::new().with_null("NULL");
            let mut rows = vec![Vec::new(); plain.num_rows()];
            for column in plain.columns() {
                let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
                for (index, row) in rows.iter_mut().enumerate() {
                    row.push(column.is_valid(index).then(|| formatter.value(index).to_string()));
                }
            }
            rows.iter().map(|row| format!("{row:?}")).collect()
        }
        ResultFormat::Arrow => arrow_rows(&plain)?,
    }))
}

/// Names are compared with the types.
fn arrow_rows(batch: &RecordBatch) -> Result<Vec<String>, Box<dyn Error>> {
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = vec![String::new(); batch.num_rows()];
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        for (index, row) in rows.iter_mut().enumerate() {
            let value = column.is_valid(index).then(|| formatter.value(index).to_string());
            row.push_str(&format!("{} {:?} {value:?};", field.name(), column.data_type()));
        }
    }
    Ok(rows)
}

/// The values of an object, as a row of JSON has them.
fn values(object: &Value) -> String {
    let values: Vec<Value> = object.as_object().into_iter().flat_map(|object| object.values().cloned()).collect();
    Value::Array(values).to_string()
}

/// Lines of cells; an unquoted empty cell is NULL.
fn csv(text: &str) -> Result<Vec<Vec<Option<String>>>, Box<dyn Error>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cell;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            let mut after = quoted;
            loop {
                let (piece, tail) = after.split_once('"').ok_or("a quote is open")?;
                value.push_str(piece);
                match tail.strip_prefix('"') {
                    Some(tail) => {
                        value.push('"');
                        after = tail;
                    }
                    None => {
                        rest = tail;
                        break;
                    }
                }
            }
            cell = Some(value);
        } else {
            let end = rest.find([',', '\n']).ok_or("a line does not end")?;
            cell = Some(rest[..end].to_owned()).filter(|cell| !cell.is_empty());
            rest = &rest[end..];
        }
        line.push(cell);
        if let Some(tail) = rest.strip_prefix(',') {
            rest = tail;
        } else {
            rest = rest.strip_prefix('\n').ok_or("text stands after a quote")?;
            lines.push(std::mem::take(&mut line));
        }
    }
    Ok(lines)
}
