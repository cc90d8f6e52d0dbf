//! Decides how result rows look in each output format; knows nothing of where the rows come from or go to.

mod keys;
mod text;

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::json::writer::{JsonFormat, LineDelimited, Writer as JsonWriter, WriterBuilder};
use clap::ValueEnum;
use engine::functions::{DAY_TIME, YEAR_MONTH, interval_texts};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use keys::with_text_keys;
pub(crate) use text::one_line;
use text::{Delimited, Delimiter, Table};

/// Where printed bytes go: standard output, a file or a buffer.
pub type Output = Box<dyn Write + Send>;

/// How result rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Format {
    /// Aligned columns for people, like psql; NULL reads `NULL`, one row is always one line.
    Table,
    /// RFC 4180 with a header, lines ending in `\n`; NULL is an empty field, an empty string is `""`.
    Csv,
    /// Tab-separated with a header; tab, line feed, carriage return and backslash are escaped, NULL is `\N`.
    Tsv,
    /// One array of objects, one object per line; an unset value is `null`, as are NaN and infinities.
    Json,
    /// One JSON object per line, values as in json.
    Ndjson,
    /// A Parquet file, compressed with ZSTD.
    Parquet,
    /// An Arrow IPC file (not the stream form).
    Arrow,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        })
    }
}

impl FromStr for Format {
    type Err = PrintError;

    fn from_str(name: &str) -> Result<Self, PrintError> {
        <Self as ValueEnum>::from_str(name, true).map_err(|_| PrintError::UnknownFormat(name.to_owned()))
    }
}

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// The reader of the output went away (`owlet ... | head`): stop quietly, this is no failure of the query.
    #[error("the reader of the output closed it")]
    BrokenPipe,
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Io(#[source] io::Error),
    /// The name is not one of the formats.
    #[error("unknown format '{0}'; choose table, csv, tsv, json, ndjson, parquet or arrow")]
    UnknownFormat(String),
    /// The format has no form for a column of this type.
    #[error("column '{column}' has type {data_type}, which {format} cannot hold")]
    UnsupportedType {
        /// The format asked for.
        format: Format,
        /// Name of the column.
        column: String,
        /// Arrow type of the column.
        data_type: DataType,
    },
    /// A batch does not have the columns the printer was made for.
    #[error("a batch has {found} columns, the printer was made for {expected}")]
    ColumnCount {
        /// Columns of the printer's schema.
        expected: usize,
        /// Columns of the batch.
        found: usize,
    },
    /// A value could not be converted or a batch does not fit the schema.
    #[error("cannot convert rows: {0}")]
    Arrow(#[source] ArrowError),
    /// The Parquet file could not be written.
    #[error("cannot write Parquet: {0}")]
    Parquet(#[source] ParquetError),
}

impl From<io::Error> for PrintError {
    fn from(error: io::Error) -> Self {
        if pipe_broke(&error) { Self::BrokenPipe } else { Self::Io(error) }
    }
}

impl From<ArrowError> for PrintError {
    fn from(error: ArrowError) -> Self {
        match error {
            error if pipe_broke(&error) => Self::BrokenPipe,
            ArrowError::IoError(_, source) => Self::Io(source),
            error => Self::Arrow(error),
        }
    }
}

impl From<ParquetError> for PrintError {
    fn from(error: ParquetError) -> Self {
        if pipe_broke(&error) { Self::BrokenPipe } else { Self::Parquet(error) }
    }
}

/// Whether a broken pipe lies anywhere below `error`.
fn pipe_broke(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Writes batches of one result in one format; nothing is valid until [`RowPrinter::finish`].
///
/// Text formats write their header with the first batch or at the end, so that a query that fails
/// before its first row prints nothing.
pub struct RowPrinter {
    sink: Sink,
    row_count: u64,
}

impl fmt::Debug for RowPrinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowPrinter").field("row_count", &self.row_count).finish_non_exhaustive()
    }
}

enum Sink {
    Table(Table),
    Delimited(Delimited),
    Json(JsonWriter<Output, JsonArray>, SchemaRef),
    Ndjson(JsonWriter<Output, LineDelimited>, SchemaRef),
    Parquet(Box<ArrowWriter<Watched>>, SchemaRef, Arc<AtomicBool>),
    Arrow(Box<FileWriter<BufWriter<Output>>>, SchemaRef),
}

impl RowPrinter {
    /// Makes a printer for rows of `schema`.
    ///
    /// # Errors
    /// [`PrintError::UnsupportedType`] if the format has no form for a column; the errors of `out`.
    pub fn new(format: Format, schema: SchemaRef, out: Output) -> Result<Self, PrintError> {
        let sink = match format {
            Format::Table => Sink::Table(Table::new(&schema, out)),
            Format::Csv => Sink::Delimited(Delimited::new(Delimiter::Comma, &schema, out)),
            Format::Tsv => Sink::Delimited(Delimited::new(Delimiter::Tab, &schema, out)),
            Format::Json => Sink::Json(json_options().build(out), output_schema(&schema, Dictionaries::Keep)),
            Format::Ndjson => Sink::Ndjson(json_options().build(out), output_schema(&schema, Dictionaries::Keep)),
            Format::Parquet => {
                refuse_unions(format, &schema)?;
                let schema = output_schema(&schema, Dictionaries::Keep);
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
                let broken = Arc::new(AtomicBool::new(false));
                let out = Watched { out, broken: Arc::clone(&broken) };
                Sink::Parquet(Box::new(ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?), schema, broken)
            }
            Format::Arrow => {
                // An IPC file holds one dictionary per column, but each batch of a query may bring its own.
                let schema = output_schema(&schema, Dictionaries::Unpack);
                Sink::Arrow(Box::new(FileWriter::try_new_buffered(out, &schema)?), schema)
            }
        };
        Ok(Self { sink, row_count: 0 })
    }

    /// Writes the rows of `batch`; a table holds back its first 1,000 rows to measure them.
    ///
    /// # Errors
    /// [`PrintError::BrokenPipe`] if the reader went away; any error leaves the output unfinished.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), PrintError> {
        let batch = &with_interval_texts(batch)?;
        match &mut self.sink {
            Sink::Table(table) => table.write(batch)?,
            Sink::Delimited(delimited) => delimited.write(batch)?,
            Sink::Json(writer, schema) => {
                writer.write(&with_text_keys(&reshape(batch, schema)?)?)?;
                writer.get_mut().flush()?;
            }
            Sink::Ndjson(writer, schema) => {
                writer.write(&with_text_keys(&reshape(batch, schema)?)?)?;
                writer.get_mut().flush()?;
            }
            Sink::Parquet(writer, schema, _) => writer.write(&reshape(batch, schema)?)?,
            Sink::Arrow(writer, schema) => writer.write(&reshape(batch, schema)?)?,
        }
        self.row_count += batch.num_rows() as u64;
        Ok(())
    }

    /// Rows written so far.
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    /// Writes what closes the output, flushes it and gives it back.
    ///
    /// # Errors
    /// As [`RowPrinter::write`].
    pub fn finish(self) -> Result<Output, PrintError> {
        let mut out = match self.sink {
            Sink::Table(table) => table.finish()?,
            Sink::Delimited(delimited) => delimited.finish()?,
            Sink::Json(mut writer, _) => {
                writer.finish()?;
                writer.into_inner()
            }
            Sink::Ndjson(mut writer, _) => {
                writer.finish()?;
                writer.into_inner()
            }
            Sink::Parquet(writer, _, broken) => match writer.into_inner() {
                Ok(watched) => watched.out,
                Err(_) if broken.load(Ordering::Relaxed) => return Err(PrintError::BrokenPipe),
                Err(error) => return Err(error.into()),
            },
            Sink::Arrow(mut writer, _) => {
                writer.finish()?;
                writer.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?
            }
        };
        out.flush()?;
        Ok(out)
    }
}

/// Output that remembers a broken pipe, because the Parquet writer reports its last one only as text.
struct Watched {
    out: Output,
    broken: Arc<AtomicBool>,
}

impl Watched {
    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.broken.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.watch(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.watch(result)
    }
}

/// A JSON array with one object per line, so that a long result can be read with line tools too.
#[derive(Debug, Default)]
struct JsonArray;

impl JsonFormat for JsonArray {
    fn start_stream<W: Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(b"[")?)
    }

    fn start_row<W: Write>(&self, writer: &mut W, is_first_row: bool) -> Result<(), ArrowError> {
        if is_first_row { Ok(()) } else { Ok(writer.write_all(b",\n")?) }
    }

    fn end_stream<W: Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(b"]\n")?)
    }
}

/// Every object has every key.
fn json_options() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
}

/// What becomes of dictionary-encoded columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dictionaries {
    Keep,
    Unpack,
}

/// The schema as written by formats that name their columns: names are unique (`x`, `x_1`, ...), columns nullable.
///
/// Nullable, because a plan's claim that a column has no NULLs must not be what fails a finished query.
fn output_schema(schema: &Schema, dictionaries: Dictionaries) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(unique_names(schema))
        .map(|(field, name)| match field.data_type() {
            DataType::Dictionary(_, value) if dictionaries == Dictionaries::Unpack => Field::new(name, (**value).clone(), true),
            &DAY_TIME | &YEAR_MONTH => Field::new(name, DataType::Utf8, true),
            data_type => Field::new(name, data_type.clone(), true),
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The column names, repeated ones with the first free suffix `_1`, `_2`, ...
fn unique_names(schema: &Schema) -> Vec<String> {
    let mut taken: std::collections::HashSet<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut seen = std::collections::HashSet::new();
    let mut names = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut name = field.name().clone();
        if !seen.insert(name.clone()) {
            let mut suffix = 1_usize;
            while !taken.insert(format!("{name}_{suffix}")) {
                suffix += 1;
            }
            name = format!("{name}_{suffix}");
        }
        names.push(name);
    }
    names
}

/// The columns of `batch` under `schema`.
fn reshape(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, PrintError> {
    if batch.num_columns() != schema.fields().len() {
        return Err(PrintError::ColumnCount { expected: schema.fields().len(), found: batch.num_columns() });
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| match column.data_type() {
            DataType::Dictionary(_, value) if value.as_ref() == field.data_type() => cast(column, field.data_type()),
            _ => Ok(Arc::clone(column)),
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// `batch` with its intervals as the texts that Athena shows; Parquet has no form for them.
fn with_interval_texts(batch: &RecordBatch) -> Result<RecordBatch, PrintError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| {
        let texts = interval_texts(column);
        let kind = if texts.is_some() { DataType::Utf8 } else { column.data_type().clone() };
        fields.push(field.as_ref().clone().with_data_type(kind));
        texts.unwrap_or_else(|| Arc::clone(column))
    });
    let columns = columns.collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// Refuses union columns, which the Parquet writer would answer with a panic.
fn refuse_unions(format: Format, schema: &Schema) -> Result<(), PrintError> {
    match schema.fields().iter().find(|field| holds_union(field.data_type())) {
        Some(field) => {
            Err(PrintError::UnsupportedType { format, column: field.name().clone(), data_type: field.data_type().clone() })
        }
        None => Ok(()),
    }
}

fn holds_union(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => holds_union(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_union(field.data_type())),
        DataType::Dictionary(_, value) => holds_union(value),
        DataType::RunEndEncoded(_, values) => holds_union(values.data_type()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
