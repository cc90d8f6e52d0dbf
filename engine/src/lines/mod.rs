//! Lines of text files, each as one value: what tables of text and JSON are made of.
//!
//! ```text
//! plan ─► scan of CSV whose options carry SkippedLines ─► wire ─► decode_plan ─► columns::adapted() ─► LineSource
//! ```
//!
//! The library's reader of CSV leaves out empty lines, which are rows in Hive's tables, and knows only one line of a header.

mod reader;
mod source;

pub(crate) use source::LineSource;

use datafusion::common::config::CsvOptions;
use datafusion::datasource::physical_plan::CsvSource;

/// Most lines that can be left out on one side of a file: their number is on the wire as an ASCII character.
pub const MAX_SKIPPED_LINES: u8 = 100;

/// The quote of scans that are read line by line. Nobody else has a line break for that.
const MARK: u8 = b'\n';

/// How many lines at the beginning and at the end of each file are no rows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SkippedLines {
    /// At the beginning.
    pub header: u8,
    /// At the end.
    pub footer: u8,
}

impl SkippedLines {
    /// Makes a scan of CSV one of lines. The numbers are in fields that lines have no use for, as those go over the wire.
    pub fn options(self) -> CsvOptions {
        let number = |lines: u8| Some(lines).filter(|lines| *lines > 0);
        CsvOptions {
            has_header: Some(false),
            quote: MARK,
            escape: number(self.header),
            comment: number(self.footer),
            // A file is cut into ranges only where each of them can tell what to leave out.
            newlines_in_values: Some(self.header > 1 || self.footer > 0),
            ..CsvOptions::default()
        }
    }

    fn of(source: &CsvSource) -> Option<Self> {
        let number = |sign: Option<u8>| sign.unwrap_or_default();
        (source.quote() == MARK).then(|| Self { header: number(source.escape()), footer: number(source.comment()) })
    }
}

#[cfg(test)]
mod tests;
