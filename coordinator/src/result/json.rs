//! Writes single values as JSON, as Arrow's own writer does, but fails for a time that has no text.

use super::conversion;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::FieldRef;
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use engine::{Error, Result};
use std::sync::{Arc, OnceLock};

/// The values of batches; objects have every key.
pub(super) struct Json {
    options: EncoderOptions,
    failure: Arc<OnceLock<String>>,
}

impl Json {
    pub(super) fn new() -> Self {
        let failure = Arc::new(OnceLock::new());
        let times = Times { failure: Arc::clone(&failure) };
        let options = EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(times));
        Self { options, failure }
    }

    /// One encoder a column.
    pub(super) fn encoders<'a>(&'a self, batch: &'a RecordBatch) -> Result<Vec<NullableEncoder<'a>>> {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        columns.map(|(field, column)| make_encoder(field, column.as_ref(), &self.options).map_err(conversion)).collect()
    }

    /// Fails when a value so far had no text.
    pub(super) fn check(&self) -> Result<()> {
        match self.failure.get() {
            Some(failure) => Err(Error::invalid(format!("cannot write rows of the result: {failure}"))),
            None => Ok(()),
        }
    }
}

/// Writes a value or `null`.
pub(super) fn push(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    if encoder.is_null(row) {
        out.extend_from_slice(b"null");
    } else {
        encoder.encode(row, out);
    }
}

/// Makes encoders for dates, times and intervals; Arrow's would write the text of an error as the value.
#[derive(Debug)]
struct Times {
    failure: Arc<OnceLock<String>>,
}

impl EncoderFactory for Times {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !array.data_type().is_temporal() {
            return Ok(None);
        }
        let formatter = ArrayFormatter::try_new(array, &FormatOptions::new())?;
        let encoder = TimeEncoder { formatter, text: String::new(), failure: Arc::clone(&self.failure) };
        Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())))
    }
}

struct TimeEncoder<'a> {
    formatter: ArrayFormatter<'a>,
    text: String,
    failure: Arc<OnceLock<String>>,
}

impl Encoder for TimeEncoder<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        self.text.clear();
        if let Err(error) = self.formatter.value(row).write(&mut self.text) {
            self.failure.get_or_init(|| error.to_string());
        }
        // The text of a time has nothing to escape.
        out.push(b'"');
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'"');
    }
}
