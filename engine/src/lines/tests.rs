//! Lines as Trino's reader of text files cuts them, however the bytes come.

use super::reader::{Lines, MAX_LINE_BYTES};
use super::*;
use crate::error::{ErrorKind, Result};
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, FileSource};
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

fn new(batch_rows: usize, skipped: SkippedLines, is_first: bool) -> Lines {
    let schema = Schema::new(vec![Field::new("line", DataType::Utf8, true)]);
    Lines::new(Path::from("f"), Arc::new(schema), batch_rows, skipped, is_first)
}

/// The lines of `text` in pieces of `piece` bytes.
fn read(text: &[u8], piece: usize, mut lines: Lines) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut pieces = text.chunks(piece);
    while !lines.is_done() {
        match pieces.next() {
            Some(bytes) => lines.push(bytes)?,
            None => lines.finish(),
        }
        while let Some(batch) = lines.batch()? {
            found.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_string));
        }
    }
    Ok(found)
}

#[test]
fn each_end_of_a_line_makes_one_and_an_empty_line_is_a_line() -> Result<()> {
    for (text, wanted) in [
        ("", &[][..]),
        ("a", &["a"]),
        ("a\n", &["a"]),
        ("\n", &[""]),
        ("\n\n", &["", ""]),
        ("a\n\nb\n\n", &["a", "", "b", ""]),
        ("a\r\nb\r\n\r\nc", &["a", "b", "", "c"]),
        ("a\rb\r\r", &["a", "b", ""]),
        ("a\n\rb", &["a", "", "b"]),
        ("a\u{16}\u{15}\"\0\n", &["a\u{16}\u{15}\"\0"]),
        ("\u{feff}a\n\u{feff}b", &["a", "\u{feff}b"]),
        ("\u{feff}\n", &[""]),
        ("\u{feff}", &[]),
        ("ü\r\n日本", &["ü", "日本"]),
    ] {
        for piece in 1..8 {
            for rows in [1, 2, 100] {
                let found = read(text.as_bytes(), piece, new(rows, SkippedLines::default(), true))?;
                assert_eq!(found, wanted, "{text:?} {piece} {rows}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_byte_order_mark_and_a_header_are_at_the_beginning_of_the_file_only() -> Result<()> {
    let skipped = SkippedLines { header: 1, footer: 0 };
    assert_eq!(read("\u{feff}a\nb".as_bytes(), 3, new(1, skipped, false))?, ["\u{feff}a", "b"]);
    assert_eq!(read("\u{feff}a\nb".as_bytes(), 3, new(1, skipped, true))?, ["b"]);
    Ok(())
}

#[test]
fn lines_on_both_sides_are_left_out_and_empty_ones_count() -> Result<()> {
    for (header, footer, wanted) in [
        (1, 0, &["", "a", "b", "", "z"][..]),
        (2, 1, &["a", "b", ""]),
        (0, 2, &["h", "", "a", "b"]),
        (3, 3, &[]),
        (100, 0, &[]),
        (0, 100, &[]),
    ] {
        for rows in [1, 3, 100] {
            let found = read(b"h\n\na\nb\n\nz\n", 2, new(rows, SkippedLines { header, footer }, true))?;
            assert_eq!(found, wanted, "{header} {footer} {rows}");
        }
    }
    Ok(())
}

#[test]
fn bytes_that_are_no_text_are_replaced_in_their_line_alone() -> Result<()> {
    for (text, wanted) in
        [(&b"a\n\xFFb\nc\n"[..], ["a", "\u{FFFD}b", "c"]), (b"\xC3\n\xBC\n\xC3\xBC\n", ["\u{FFFD}", "\u{FFFD}", "ü"])]
    {
        assert_eq!(read(text, 100, new(10, SkippedLines::default(), true))?, wanted);
    }
    Ok(())
}

#[test]
fn a_line_has_an_end_within_its_bound() -> Result<()> {
    let piece = vec![b'a'; 1 << 20];
    let mut lines = new(10, SkippedLines::default(), true);
    for _ in 0..MAX_LINE_BYTES / piece.len() {
        lines.push(&piece)?;
    }
    let error = lines.push(b"a").expect_err("too long");
    assert!(error.kind == ErrorKind::LimitExceeded && error.message.contains("file 'f'"), "{error}");
    Ok(())
}

#[test]
fn numbers_of_lines_come_back_from_a_scan() {
    for (header, footer) in [(0, 0), (1, 0), (7, 10), (MAX_SKIPPED_LINES, MAX_SKIPPED_LINES)] {
        let skipped = SkippedLines { header, footer };
        let schema = Arc::new(Schema::empty());
        let source = CsvSource::new(schema).with_csv_options(skipped.options());
        assert_eq!(SkippedLines::of(&source), Some(skipped));
    }
    assert_eq!(SkippedLines::of(&CsvSource::new(Arc::new(Schema::empty()))), None);
}

#[tokio::test]
async fn ranges_of_a_file_have_each_line_once() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let text = "h\r\n\na\nbc\r\n\n\nd\re";
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let path = Path::from("f");
    store.put(&path, text.into()).await?;
    let whole = store.head(&path).await?;
    let schema = Arc::new(Schema::new(vec![Field::new("line", DataType::Utf8, true)]));
    let options = SkippedLines { header: 1, footer: 0 }.options();
    let csv: Arc<dyn FileSource> = Arc::new(CsvSource::new(schema).with_csv_options(options));
    let source = LineSource::of(&csv).ok_or("no lines")?.with_batch_size(2);
    let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse("s3://bucket")?, Arc::clone(&source)).build();
    let opener = source.create_file_opener(store, &scan, 0)?;
    for cut in 1..text.len() {
        let mut found = Vec::new();
        for (start, end) in [(0, cut), (cut, text.len())] {
            let mut file = PartitionedFile::from(whole.clone());
            file.range = Some(FileRange { start: i64::try_from(start)?, end: i64::try_from(end)? });
            let batches: Vec<_> = opener.open(file)?.await?.boxed().try_collect().await?;
            for batch in &batches {
                found.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_string));
            }
        }
        assert_eq!(found, ["", "a", "bc", "", "", "d", "e"], "{cut}");
    }
    Ok(())
}
