//! Rows as lines: delimited values as Hive's text tables have them, and JSON objects; compressed as they come.

use super::partition::TIMESTAMP_TEXT;
use super::spec::{Compression, TextFormat};
use super::types::has_non_finite;
use crate::error::{Error, Result};
use crate::functions::{java_double, java_real};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use futures::channel::mpsc;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

/// The first line of a file, where it names the columns.
pub(super) fn header_line(schema: &Schema, format: &TextFormat) -> Result<Vec<u8>> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if let Some(name) = names.iter().find(|name| name.contains([format.delimiter, '\n', '\r'])) {
        return Err(Error::invalid(format!("the column name '{}' holds the delimiter or a line break", name.escape_debug())));
    }
    Ok(format!("{}\n", names.join(&format.delimiter.to_string())).into_bytes())
}

/// Appends the rows of `batch` to `out`.
///
/// # Errors
/// [`crate::ErrorKind::InvalidQuery`] for a value that would be read back as another one: there are no quotes here.
pub(super) fn text_lines(batch: &RecordBatch, format: &TextFormat, out: &mut Vec<u8>) -> Result<()> {
    let options = FormatOptions::new().with_timestamp_format(Some(TIMESTAMP_TEXT)).with_display_error(false);
    let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let formatters = formatters.collect::<Result<Vec<_>, _>>().map_err(|e| Error::internal(e.to_string()))?;
    let mut delimiter = [0; 4];
    let delimiter = format.delimiter.encode_utf8(&mut delimiter);
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        for (index, (formatter, column)) in formatters.iter().zip(batch.columns()).enumerate() {
            if index > 0 {
                out.extend_from_slice(delimiter.as_bytes());
            }
            if column.is_null(row) {
                out.extend_from_slice(format.null.as_bytes());
                continue;
            }
            let name = || schema.fields().get(index).map_or("", |field| field.name().as_str()).to_string();
            let value = match column.data_type() {
                // As Java, and so Hive and Athena, write them.
                DataType::Float64 => java_double(column.as_primitive::<Float64Type>().value(row)),
                DataType::Float32 => java_real(column.as_primitive::<Float32Type>().value(row)),
                _ => {
                    let value = formatter.value(row).try_to_string();
                    value.map_err(|e| Error::invalid(format!("column '{}': {e}", name())))?
                }
            };
            let value = value.as_str();
            check_value(value, format, index == 0).map_err(|e| e.context(format!("column '{}'", name())))?;
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'\n');
    }
    Ok(())
}

fn check_value(value: &str, format: &TextFormat, is_first: bool) -> Result<()> {
    let why = if value.contains([format.delimiter, '\n', '\r']) {
        "holds the delimiter or a line break"
    } else if value == format.null {
        "is the text that stands for NULL"
    } else if is_first && value.starts_with('\u{feff}') {
        "begins with a byte order mark, which is left out at the beginning of a file"
    } else {
        return Ok(());
    };
    let shown: String = value.chars().take(40).collect();
    Err(Error::invalid(format!("the value '{}' {why}: a text file cannot hold it; use PARQUET or JSON", shown.escape_debug())))
}

/// Appends the rows of `batch` to `out`, with NULL values written out.
///
/// # Errors
/// [`crate::ErrorKind::InvalidQuery`] for NaN and infinities, which JSON cannot say.
pub(super) fn json_lines(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
        if has_non_finite(column) {
            return Err(Error::invalid(format!("column '{}': JSON holds no NaN and no infinity; use PARQUET", field.name())));
        }
    }
    let builder = WriterBuilder::new().with_timestamp_format(TIMESTAMP_TEXT.to_string()).with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(out);
    let written = writer.write(batch).and_then(|()| writer.finish());
    written.map_err(|e| Error::invalid(format!("writing JSON: {e}")))
}

/// Compresses one file's bytes as one stream, piece by piece.
pub(super) struct Compressor {
    input: Option<mpsc::Sender<Result<Bytes, DataFusionError>>>,
    output: BoxStream<'static, Result<Bytes, DataFusionError>>,
}

impl Compressor {
    /// None for no compression.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidQuery`] for a compression that is not for whole files.
    pub(super) fn new(compression: Compression) -> Result<Option<Self>> {
        let kind = match compression {
            Compression::None => return Ok(None),
            Compression::Gzip => FileCompressionType::GZIP,
            Compression::Zstd => FileCompressionType::ZSTD,
            other => return Err(Error::invalid(format!("compression {other:?} is not for text files"))),
        };
        let (input, chunks) = mpsc::channel(1);
        let output = kind.convert_to_compress_stream(chunks.boxed())?;
        Ok(Some(Self { input: Some(input), output }))
    }

    /// What comes out after `chunk` has gone in.
    pub(super) fn push(&mut self, chunk: Bytes) -> Result<Vec<u8>> {
        let Some(input) = &mut self.input else { return Err(Error::internal("the compressed stream has ended")) };
        // The stream takes all there is before it waits, so there is always room for one.
        input.try_send(Ok(chunk)).map_err(|e| Error::internal(format!("compressing: {e}")))?;
        Ok(self.ready()?.0)
    }

    /// The rest of the stream.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>> {
        self.input = None;
        match self.ready()? {
            (rest, true) => Ok(rest),
            (_, false) => Err(Error::internal("a compressed stream did not end")),
        }
    }

    /// What can be read without waiting, and whether the stream has ended.
    fn ready(&mut self) -> Result<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        loop {
            match self.output.next().now_or_never() {
                Some(Some(chunk)) => out.extend_from_slice(&chunk?),
                Some(None) => return Ok((out, true)),
                None => return Ok((out, false)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Builder, MapBuilder, StringArray, StringBuilder};
    use std::sync::Arc;

    fn batch(text: Vec<Option<&str>>, floats: Vec<f64>) -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> =
            vec![("t", Arc::new(StringArray::from(text))), ("f", Arc::new(Float64Array::from(floats)))];
        RecordBatch::try_from_iter(columns).expect("columns of one length")
    }

    fn lines(batch: &RecordBatch) -> Result<String> {
        let mut out = Vec::new();
        text_lines(batch, &TextFormat { delimiter: ',', ..TextFormat::default() }, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn values_that_lines_cannot_hold_are_refused() -> Result<()> {
        assert_eq!(
            lines(&batch(vec![Some("a"), None, Some("")], vec![1.5, f64::INFINITY, f64::NAN]))?,
            "a,1.5\n\\N,Infinity\n,NaN\n"
        );
        for text in ["a,b", "a\nb", "a\rb", "\\N", "\u{feff}a"] {
            assert!(lines(&batch(vec![Some(text)], vec![0.0])).is_err(), "{text:?}");
        }
        let column = batch(vec![Some(""), None, Some("\u{16}")], vec![0.0; 3]).project(&[0]).expect("a column");
        assert_eq!(lines(&column)?, "\n\\N\n\u{16}\n");
        Ok(())
    }

    #[test]
    fn json_has_nulls_and_refuses_what_it_cannot_say() -> Result<()> {
        let mut out = Vec::new();
        json_lines(&batch(vec![Some("a\"b"), None], vec![1.0, 2.5]), &mut out)?;
        assert_eq!(String::from_utf8_lossy(&out), "{\"t\":\"a\\\"b\",\"f\":1.0}\n{\"t\":null,\"f\":2.5}\n");
        assert!(json_lines(&batch(vec![Some("a")], vec![f64::NAN]), &mut out).is_err());
        Ok(())
    }

    #[test]
    fn json_keeps_the_nulls_of_maps() -> Result<()> {
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        map.keys().append_value("k");
        map.values().append_value(1);
        map.keys().append_value("z");
        map.values().append_null();
        map.append(true).expect("an entry");
        let column: ArrayRef = Arc::new(map.finish());
        let mut out = Vec::new();
        json_lines(&RecordBatch::try_from_iter([("m", column)]).expect("a column"), &mut out)?;
        assert_eq!(String::from_utf8_lossy(&out), "{\"m\":{\"k\":1,\"z\":null}}\n");
        Ok(())
    }

    #[test]
    fn a_compressed_file_is_one_stream() -> Result<()> {
        for (compression, magic) in [(Compression::Gzip, vec![0x1F, 0x8B]), (Compression::Zstd, vec![0x28, 0xB5, 0x2F, 0xFD])] {
            let Some(mut compressor) = Compressor::new(compression)? else { return Err(Error::internal("no compressor")) };
            let mut out = Vec::new();
            for piece in 0..50 {
                out.extend(compressor.push(Bytes::from(vec![piece; 100_000]))?);
            }
            out.extend(compressor.finish()?);
            assert!(out.starts_with(&magic));
            assert_eq!(out.windows(magic.len()).filter(|window| *window == magic).count(), 1, "{compression:?}");
            assert!(out.len() < 500_000);
        }
        Ok(())
    }
}
