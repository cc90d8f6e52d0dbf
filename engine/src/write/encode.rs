//! Turns the rows of one file into its bytes, a piece at a time.

use super::spec::{Compression, WriteFormat};
use super::text::{Compressor, header_line, json_lines, text_lines};
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression as ParquetCompression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Encoded bytes that end a row group: what a reader holds of it, and what the writer does.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Text that waits before it is compressed and handed on, in bytes.
const TEXT_BUFFER_BYTES: usize = 256 << 10;

/// The encoder of one file.
pub(super) enum Encoder {
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    Lines(Box<Lines>),
}

/// The state of a text file.
pub(super) struct Lines {
    format: WriteFormat,
    buffer: Vec<u8>,
    compressor: Option<Compressor>,
}

impl Encoder {
    /// An encoder for rows of `schema`.
    pub(super) fn new(format: &WriteFormat, schema: &SchemaRef) -> Result<Self> {
        if let WriteFormat::Parquet(compression) = format {
            let options = ArrowWriterOptions::new().with_properties(properties(*compression)?).with_skip_arrow_metadata(true);
            let writer = ArrowWriter::try_new_with_options(Vec::new(), SchemaRef::clone(schema), options).map_err(internal)?;
            return Ok(Encoder::Parquet(Box::new(writer)));
        }
        let buffer = match format {
            WriteFormat::Text(text, _) if text.header => header_line(schema, text)?,
            _ => Vec::new(),
        };
        let compressor = Compressor::new(format.compression())?;
        Ok(Encoder::Lines(Box::new(Lines { format: format.clone(), buffer, compressor })))
    }

    /// Takes rows, and gives the bytes of the file that are ready.
    pub(super) fn push(&mut self, rows: &RecordBatch) -> Result<Bytes> {
        match self {
            Encoder::Parquet(writer) => {
                writer.write(rows).map_err(internal)?;
                Ok(std::mem::take(writer.inner_mut()).into())
            }
            Encoder::Lines(lines) => {
                match &lines.format {
                    WriteFormat::Text(text, _) => text_lines(rows, text, &mut lines.buffer)?,
                    _ => json_lines(rows, &mut lines.buffer)?,
                }
                if lines.buffer.len() < TEXT_BUFFER_BYTES { Ok(Bytes::new()) } else { lines.drain() }
            }
        }
    }

    /// Ends what is in memory as far as the format lets it, and gives its bytes.
    pub(super) fn flush(&mut self) -> Result<Bytes> {
        match self {
            Encoder::Parquet(writer) => {
                writer.flush().map_err(internal)?;
                Ok(std::mem::take(writer.inner_mut()).into())
            }
            Encoder::Lines(lines) => lines.drain(),
        }
    }

    /// The last bytes of the file.
    pub(super) fn finish(&mut self) -> Result<Bytes> {
        match self {
            Encoder::Parquet(writer) => {
                writer.finish().map_err(internal)?;
                Ok(std::mem::take(writer.inner_mut()).into())
            }
            Encoder::Lines(lines) => {
                let mut bytes = lines.drain()?.to_vec();
                if let Some(compressor) = &mut lines.compressor {
                    bytes.extend(compressor.finish()?);
                }
                Ok(bytes.into())
            }
        }
    }

    /// Memory that it holds, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Encoder::Parquet(writer) => writer.memory_size(),
            Encoder::Lines(lines) => lines.buffer.capacity(),
        }
    }

    /// Bytes that what is in memory will be in the file, about.
    pub(super) fn pending_bytes(&self) -> usize {
        match self {
            Encoder::Parquet(writer) => writer.in_progress_size(),
            Encoder::Lines(lines) => lines.buffer.len(),
        }
    }
}

impl Lines {
    fn drain(&mut self) -> Result<Bytes> {
        let text = Bytes::from(std::mem::take(&mut self.buffer));
        match &mut self.compressor {
            Some(compressor) if !text.is_empty() => Ok(compressor.push(text)?.into()),
            _ => Ok(text),
        }
    }
}

/// Lists and maps get the standard names of their inner levels (`element`, `key_value`), which Hive readers look for.
fn properties(compression: Compression) -> Result<WriterProperties> {
    let compression = match compression {
        Compression::None => ParquetCompression::UNCOMPRESSED,
        Compression::Snappy => ParquetCompression::SNAPPY,
        Compression::Gzip => ParquetCompression::GZIP(GzipLevel::default()),
        Compression::Zstd => ParquetCompression::ZSTD(ZstdLevel::default()),
        Compression::ZstdLevel(level) => {
            let wrong = |_| Error::invalid(format!("a level of ZSTD is 1 to 22, not {level}"));
            ParquetCompression::ZSTD(ZstdLevel::try_new(i32::from(level)).map_err(wrong)?)
        }
        // The framing that Athena and Hive mean by LZ4, not LZ4_RAW.
        Compression::Lz4 => ParquetCompression::LZ4,
    };
    let properties = WriterProperties::builder().set_compression(compression).set_coerce_types(true);
    Ok(properties.set_max_row_group_bytes(Some(ROW_GROUP_BYTES)).build())
}

fn internal(error: parquet::errors::ParquetError) -> Error {
    Error::internal(format!("writing Parquet: {error}"))
}
