//! Decides the text of aligned tables and of delimited lines; knows nothing of the self-describing formats.

use std::fmt::Write as _;
use std::io::Write as _;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use unicode_width::UnicodeWidthStr;

use super::{Output, PrintError};

/// Rows a table holds back to find its column widths: enough to be right for most results, small in memory.
const MEASURED_ROWS: usize = 1_000;

/// NULL as people read it, also inside lists and structs.
const NULL: &str = "NULL";

/// Text is handed on when it has grown to this many bytes.
const FLUSH_BYTES: usize = 64 * 1024;

/// One batch, readable cell by cell.
struct Cells<'a> {
    columns: Vec<(ArrayFormatter<'a>, Option<NullBuffer>)>,
}

impl<'a> Cells<'a> {
    fn new(batch: &'a RecordBatch, expected: usize) -> Result<Self, PrintError> {
        if batch.num_columns() != expected {
            return Err(PrintError::ColumnCount { expected, found: batch.num_columns() });
        }
        let options = FormatOptions::new().with_display_error(false).with_null(NULL);
        let columns = batch
            .columns()
            .iter()
            .map(|column| Ok((ArrayFormatter::try_new(column.as_ref(), &options)?, column.logical_nulls())))
            .collect::<Result<_, PrintError>>()?;
        Ok(Self { columns })
    }

    /// Puts the text of a cell into `cell`; false if it is NULL.
    fn read(&self, row: usize, column: usize, cell: &mut String) -> Result<bool, PrintError> {
        cell.clear();
        let Some((formatter, nulls)) = self.columns.get(column) else {
            return Ok(false);
        };
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(false);
        }
        formatter.value(row).write(cell)?;
        Ok(true)
    }
}

/// What stands between two fields of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delimiter {
    Comma,
    Tab,
}

/// Lines of delimited fields under a header; a result without columns is written as nothing.
pub(super) struct Delimited {
    delimiter: Delimiter,
    names: Vec<String>,
    started: bool,
    text: String,
    out: Output,
}

impl Delimited {
    pub(super) fn new(delimiter: Delimiter, schema: &Schema, out: Output) -> Self {
        Self { delimiter, names: names(schema), started: false, text: String::new(), out }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), PrintError> {
        self.start();
        let cells = Cells::new(batch, self.names.len())?;
        if self.names.is_empty() {
            return Ok(());
        }
        let mut cell = String::new();
        for row in 0..batch.num_rows() {
            for column in 0..self.names.len() {
                if column > 0 {
                    self.text.push(self.delimiter.symbol());
                }
                let value = cells.read(row, column, &mut cell)?.then_some(cell.as_str());
                self.delimiter.push_field(&mut self.text, value);
            }
            self.text.push('\n');
            if self.text.len() >= FLUSH_BYTES {
                hand_on(&mut self.text, &mut self.out)?;
            }
        }
        hand_on(&mut self.text, &mut self.out)?;
        Ok(self.out.flush()?)
    }

    pub(super) fn finish(mut self) -> Result<Output, PrintError> {
        self.start();
        hand_on(&mut self.text, &mut self.out)?;
        Ok(self.out)
    }

    fn start(&mut self) {
        if self.started {
            return;
        }
        self.started = true;
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                self.text.push(self.delimiter.symbol());
            }
            self.delimiter.push_field(&mut self.text, Some(name));
        }
        if !self.names.is_empty() {
            self.text.push('\n');
        }
    }
}

impl Delimiter {
    fn symbol(self) -> char {
        match self {
            Self::Comma => ',',
            Self::Tab => '\t',
        }
    }

    fn push_field(self, line: &mut String, value: Option<&str>) {
        match (self, value) {
            (Self::Comma, None) => {}
            (Self::Comma, Some(value)) => push_csv_field(line, value),
            (Self::Tab, None) => line.push_str("\\N"),
            (Self::Tab, Some(value)) => push_tsv_field(line, value),
        }
    }
}

/// Quotes what RFC 4180 asks to quote, and the empty string to tell it from NULL.
fn push_csv_field(line: &mut String, value: &str) {
    if !value.is_empty() && !value.contains([',', '"', '\n', '\r']) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for (index, piece) in value.split('"').enumerate() {
        if index > 0 {
            line.push_str("\"\"");
        }
        line.push_str(piece);
    }
    line.push('"');
}

fn push_tsv_field(line: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\t' => line.push_str("\\t"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\\' => line.push_str("\\\\"),
            c => line.push(c),
        }
    }
}

/// Aligned columns; widths are those of the header and of the first [`MEASURED_ROWS`] rows.
///
/// A later cell that is wider than its column pushes the rest of its line to the right.
pub(super) struct Table {
    names: Vec<String>,
    numeric: Vec<bool>,
    widths: Vec<usize>,
    /// Rows not yet written; only before `started`.
    waiting: Vec<Vec<String>>,
    started: bool,
    row_count: u64,
    text: String,
    out: Output,
}

impl Table {
    pub(super) fn new(schema: &Schema, out: Output) -> Self {
        let names: Vec<String> = names(schema).iter().map(|name| one_line(name)).collect();
        Self {
            numeric: schema.fields().iter().map(|field| is_number(field.data_type())).collect(),
            widths: names.iter().map(|name| name.width()).collect(),
            names,
            waiting: Vec::new(),
            started: false,
            row_count: 0,
            text: String::new(),
            out,
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), PrintError> {
        let cells = Cells::new(batch, self.names.len())?;
        self.row_count += batch.num_rows() as u64;
        if self.names.is_empty() {
            return Ok(());
        }
        let mut cell = String::new();
        for row in 0..batch.num_rows() {
            let mut line = Vec::with_capacity(self.names.len());
            for column in 0..self.names.len() {
                let value = cells.read(row, column, &mut cell)?;
                line.push(if value { one_line(&cell) } else { NULL.to_owned() });
            }
            if self.started {
                self.push_row(&line);
            } else {
                self.waiting.push(line);
                if self.waiting.len() == MEASURED_ROWS {
                    self.start();
                }
            }
            if self.text.len() >= FLUSH_BYTES {
                hand_on(&mut self.text, &mut self.out)?;
            }
        }
        if self.started {
            hand_on(&mut self.text, &mut self.out)?;
            self.out.flush()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Output, PrintError> {
        if !self.started {
            self.start();
        }
        let unit = if self.row_count == 1 { "row" } else { "rows" };
        self.text.push_str(&format!("({} {unit})\n", self.row_count));
        hand_on(&mut self.text, &mut self.out)?;
        Ok(self.out)
    }

    /// Fixes the widths, then writes the header and the rows held back.
    fn start(&mut self) {
        self.started = true;
        if self.names.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        for row in &waiting {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let titles: Vec<String> = self.names.iter().zip(&self.widths).map(|(name, width)| centred(name, *width)).collect();
        self.push_row(&titles);
        let dashes: Vec<String> = self.widths.iter().map(|width| "-".repeat(width + 2)).collect();
        self.text.push_str(&dashes.join("+"));
        self.text.push('\n');
        for row in &waiting {
            self.push_row(row);
        }
    }

    fn push_row(&mut self, row: &[String]) {
        let start = self.text.len();
        for (column, cell) in row.iter().enumerate() {
            let width = self.widths.get(column).copied().unwrap_or_default();
            let blanks = width.saturating_sub(cell.width());
            let numeric = self.numeric.get(column).copied().unwrap_or_default();
            let (before, after) = if numeric { (blanks, 0) } else { (0, blanks) };
            self.text.push_str(if column > 0 { " | " } else { " " });
            self.text.extend(std::iter::repeat_n(' ', before));
            self.text.push_str(cell);
            self.text.extend(std::iter::repeat_n(' ', after));
        }
        let used = self.text.get(start..).unwrap_or_default().trim_end_matches(' ').len();
        self.text.truncate(start + used);
        self.text.push('\n');
    }
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn hand_on(text: &mut String, out: &mut Output) -> Result<(), PrintError> {
    out.write_all(text.as_bytes())?;
    text.clear();
    Ok(())
}

/// The name in the middle of `width` columns; the odd blank goes to the right.
fn centred(name: &str, width: usize) -> String {
    let blanks = width.saturating_sub(name.width());
    let before = blanks / 2;
    format!("{}{name}{}", " ".repeat(before), " ".repeat(blanks - before))
}

/// The text with everything escaped that would end or disturb its line.
pub(crate) fn one_line(text: &str) -> String {
    if !text.chars().any(breaks_line) {
        return text.to_owned();
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if breaks_line(c) => {
                // Writing to a String does not fail.
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

/// Control characters, line separators and the marks that reverse the direction of what follows.
fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_number(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_number(value),
        data_type => data_type.is_numeric(),
    }
}
