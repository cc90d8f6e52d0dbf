//! One partition's rows as Arrow IPC messages without their schema, compressed with LZ4.

use super::compact::compact_batch;
use crate::error::{Error, ErrorKind, Result};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::Schema;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;

/// Encodes the batches of one partition.
pub struct SegmentEncoder {
    writer: StreamWriter<Vec<u8>>,
    schema_bytes: usize,
    rows: u64,
}

impl SegmentEncoder {
    /// An encoder for batches of `schema`.
    ///
    /// # Errors
    /// When the schema has a type that Arrow IPC cannot carry.
    pub fn new(schema: &Schema) -> Result<Self> {
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(internal)?;
        let writer = StreamWriter::try_new_with_options(Vec::new(), schema, options).map_err(internal)?;
        let schema_bytes = writer.get_ref().len();
        Ok(Self { writer, schema_bytes, rows: 0 })
    }

    /// Adds a batch; batches without rows are left out.
    ///
    /// # Errors
    /// When the batch is not of the encoder's schema.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        self.writer.write(&compact_batch(batch).map_err(internal)?).map_err(internal)
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Encoded bytes that wait in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.writer.get_ref().len() - self.schema_bytes
    }

    /// Takes the bytes encoded so far; the segment goes on behind them.
    pub fn drain(&mut self) -> Vec<u8> {
        self.writer.get_mut().split_off(self.schema_bytes)
    }

    /// The schema message and the rest of the segment.
    ///
    /// # Errors
    /// Not for a segment whose pushes succeeded.
    pub fn finish(self) -> Result<(Vec<u8>, Vec<u8>)> {
        let schema_bytes = self.schema_bytes;
        let mut bytes = self.writer.into_inner().map_err(internal)?;
        let mut rows = bytes.split_off(schema_bytes);
        if self.rows == 0 {
            // Nothing but the end marker. With rows it must stay: a last message without a body is only complete with it.
            rows.clear();
        }
        Ok((bytes, rows))
    }
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("encoding exchange rows: {error}"))
}

/// Decodes the batches of one partition, one at a time.
pub struct SegmentDecoder {
    decoder: StreamDecoder,
    rest: Buffer,
}

impl SegmentDecoder {
    /// A decoder of `segment` (not empty), whose schema message is `schema`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the schema message cannot be read.
    pub fn new(schema: &Bytes, segment: Bytes) -> Result<Self> {
        let mut decoder = StreamDecoder::new();
        let mut header = Buffer::from(schema.clone());
        decoder.decode(&mut header).map_err(corrupt)?;
        Ok(Self { decoder, rest: Buffer::from(segment) })
    }

    /// The next batch, or none at the end.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the bytes are no batch, or end inside one.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while !self.rest.is_empty() {
            if let Some(batch) = self.decoder.decode(&mut self.rest).map_err(corrupt)? {
                return Ok(Some(batch));
            }
        }
        self.decoder.finish().map_err(corrupt)?;
        Ok(None)
    }
}

fn corrupt(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Corrupt, format!("decoding exchange rows: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, Decimal128Array, Decimal256Array, DictionaryArray, Int32Builder, Int64Array, ListArray, MapBuilder,
        RecordBatchOptions, StringArray, StringBuilder, StringViewArray, StructArray,
    };
    use arrow::datatypes::{DataType, Field, Int32Type, i256};
    use std::sync::Arc;

    fn round_trip(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let mut encoder = SegmentEncoder::new(&batches[0].schema())?;
        let mut drained = Vec::new();
        for batch in batches {
            encoder.push(batch)?;
            drained.extend(encoder.drain());
        }
        let (schema, rest) = encoder.finish()?;
        drained.extend(rest);
        let mut decoder = SegmentDecoder::new(&schema.into(), drained.into())?;
        let mut out = Vec::new();
        while let Some(batch) = decoder.next_batch()? {
            out.push(batch);
        }
        Ok(out)
    }

    fn every_type() -> Result<RecordBatch, arrow::error::ArrowError> {
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        for key in ["a", "b", "c"] {
            map.keys().append_value(key);
            map.values().append_value(1);
            map.append(true)?;
        }
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("i", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("s", Arc::new(StringArray::from(vec![Some("x"), None, Some("")]))),
            ("v", Arc::new(StringViewArray::from(vec![Some("a long string, out of line"), None, Some("short")]))),
            ("d", Arc::new(Decimal128Array::from(vec![Some(12_345), None, Some(-1)]).with_precision_and_scale(10, 2)?)),
            ("e", Arc::new(Decimal256Array::from(vec![Some(i256::MAX), None, Some(i256::ONE)]).with_precision_and_scale(76, 3)?)),
            ("k", Arc::new(vec!["p", "q", "p"].into_iter().collect::<DictionaryArray<Int32Type>>())),
            ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), None, Some(vec![])]))),
            ("m", Arc::new(map.finish())),
            (
                "t",
                Arc::new(StructArray::from(vec![(
                    Arc::new(Field::new("f", DataType::Utf8View, true)),
                    Arc::new(StringViewArray::from(vec![Some("inside a struct, out of line"), None, Some("z")])) as ArrayRef,
                )])),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
    }

    #[test]
    fn every_type_passes_also_sliced_and_with_changing_dictionaries() -> Result<()> {
        let batch = every_type().map_err(internal)?;
        let batches = vec![batch.clone(), batch.slice(1, 2), batch.slice(0, 1)];
        assert_eq!(round_trip(&batches)?, batches);
        Ok(())
    }

    #[test]
    fn batches_without_columns_keep_rows_and_empty_segments_have_no_bytes() -> Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(5));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options).map_err(internal)?;
        assert_eq!(round_trip(&[batch])?[0].num_rows(), 5);
        let (_, rest) = SegmentEncoder::new(&schema)?.finish()?;
        assert!(rest.is_empty());
        Ok(())
    }

    #[test]
    fn a_cut_segment_is_corrupt() -> Result<()> {
        let batch = every_type().map_err(internal)?;
        let mut encoder = SegmentEncoder::new(&batch.schema())?;
        encoder.push(&batch)?;
        let (schema, mut rest) = encoder.finish()?;
        rest.truncate(rest.len() - 9);
        let mut decoder = SegmentDecoder::new(&schema.into(), rest.into())?;
        let end = (0..3).find_map(|_| decoder.next_batch().err());
        assert!(end.is_some_and(|e| e.kind == ErrorKind::Corrupt));
        Ok(())
    }
}
