//! Decides how the TPC-H tables lie on disk as Parquet and writes them whole or not at all; knows nothing of queries.

mod error;
mod tables;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde::{Deserialize, Serialize};

pub use error::GenerateError;
use tables::{BATCH_ROWS, TABLES, Table};

/// File that tells a complete set; readers of tables ignore names that begin with `_`.
pub const MARKER: &str = "_complete.json";

/// Smallest scale: below it the tables are too small for the generator's own arithmetic (10 suppliers are left).
pub const MIN_SCALE: f64 = 0.001;

/// Largest scale: about 2.4 TB of Parquet.
pub const MAX_SCALE: f64 = 10_000.0;

/// Changes whenever the bytes written for a scale change: crate version, then our layout.
const GENERATOR: &str = "tpchgen 4.0, layout 1";

/// Rows of a row group: several per file at scale 1, in whole batches.
const ROW_GROUP_ROWS: usize = 15 * BATCH_ROWS;

/// Events that may wait for the caller's report, so that a slow report slows the writers and nothing piles up.
const WAITING_EVENTS: usize = 64;

/// How far the generation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Table that advanced.
    pub table: &'static str,
    /// 0-based part of that table that advanced.
    pub part: usize,
    /// Parts of that table.
    pub parts: usize,
    /// Rows written so far, all tables together.
    pub rows_done: u64,
    /// Rows of all tables; lineitem is an estimate within 1 %, and this is never below `rows_done`.
    pub rows_total: u64,
}

/// A complete set of tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// Scale of the set; 1 is about 1 GB of text.
    pub scale: f64,
    /// The eight tables, largest first.
    pub tables: Vec<GeneratedTable>,
    /// False if the set was already there.
    pub fresh: bool,
}

/// One table of a complete set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedTable {
    /// Name of the table and of its folder.
    pub name: String,
    /// Rows in all parts.
    pub rows: u64,
    /// Parquet files, `part-00.parquet` and on.
    pub parts: usize,
    /// Size of all parts.
    pub bytes: u64,
}

/// Makes the eight TPC-H tables at `scale` under `dir`, one folder of Parquet files each.
///
/// The set appears at once and complete: it is written beside `dir` and renamed. If `dir` already holds the
/// set, nothing is written; of two runs at the same time one wins and both return its set. A killed run
/// leaves a hidden folder `.<name>.tpch-…` beside `dir`, which may be deleted.
/// Bytes depend on the scale only. `report` is called on this thread, after every 8,192 rows of a part.
///
/// # Errors
/// A scale outside [`MIN_SCALE`]..=[`MAX_SCALE`]; a folder that holds anything else; input and output.
pub fn generate(dir: &Path, scale: f64, report: &mut dyn FnMut(Progress)) -> Result<Generated, GenerateError> {
    generate_until(&AtomicBool::new(false), dir, scale, report)
}

/// As [`generate`], until `stop` is set; then nothing is left behind.
///
/// # Errors
/// As [`generate`]; [`GenerateError::Unfinished`] when stopped.
pub fn generate_until(
    stop: &AtomicBool,
    dir: &Path,
    scale: f64,
    report: &mut dyn FnMut(Progress),
) -> Result<Generated, GenerateError> {
    if !(MIN_SCALE..=MAX_SCALE).contains(&scale) {
        return Err(GenerateError::Scale(scale));
    }
    let dir = if dir.exists() { fs::canonicalize(dir) } else { std::path::absolute(dir) }.map_err(at(dir))?;
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(GenerateError::Folder(dir));
    };
    if let Some(found) = existing(&dir, scale)? {
        return Ok(found);
    }
    fs::create_dir_all(parent).map_err(at(parent))?;
    // The holder vanishes with everything in it unless the set inside was moved out; it is private (0700), the set is not.
    let holder =
        tempfile::Builder::new().prefix(&format!(".{}.tpch-", name.to_string_lossy())).tempdir_in(parent).map_err(at(parent))?;
    let set = holder.path().join("set");
    let tables = write_tables(stop, &set, scale, report)?;
    let marker = Marker { generator: GENERATOR.to_owned(), scale, tables };
    write_marker(&set.join(MARKER), &marker)?;
    match fs::rename(&set, &dir) {
        Ok(()) => Ok(Generated { scale, tables: marker.tables, fresh: true }),
        // Another run may have been first: its set is as good as ours.
        Err(source) => match existing(&dir, scale)? {
            Some(found) => Ok(found),
            None => Err(GenerateError::Io { path: dir, source }),
        },
    }
}

/// Content of the marker file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    generator: String,
    scale: f64,
    tables: Vec<GeneratedTable>,
}

/// The complete set in `dir`; none if `dir` is absent or empty.
fn existing(dir: &Path, scale: f64) -> Result<Option<Generated>, GenerateError> {
    let path = dir.join(MARKER);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
                Ok(true) => Err(GenerateError::Occupied(dir.to_owned())),
                Ok(false) => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(at(dir)(error)),
            };
        }
        Err(error) => return Err(at(&path)(error)),
    };
    let marker: Marker = serde_json::from_slice(&text).map_err(|source| GenerateError::Marker { path, source })?;
    if marker.scale != scale || marker.generator != GENERATOR {
        return Err(GenerateError::OtherSet {
            path: dir.to_owned(),
            found_scale: marker.scale,
            found_generator: marker.generator,
            wanted_scale: scale,
        });
    }
    for table in &marker.tables {
        let mut bytes = 0;
        for part in 0..table.parts {
            let path = part_path(dir, &table.name, part);
            bytes += fs::metadata(&path).map_err(|_| GenerateError::Damaged(path))?.len();
        }
        if bytes != table.bytes {
            return Err(GenerateError::Damaged(dir.join(&table.name)));
        }
    }
    Ok(Some(Generated { scale, tables: marker.tables, fresh: false }))
}

fn write_marker(path: &Path, marker: &Marker) -> Result<(), GenerateError> {
    let text = serde_json::to_vec_pretty(marker).map_err(|source| GenerateError::Marker { path: path.to_owned(), source })?;
    fs::write(path, text).map_err(at(path))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(at(path))
}

/// One file to be written.
struct Part {
    table: Table,
    /// 0-based.
    part: usize,
    parts: usize,
}

/// What a writing thread tells.
enum Event {
    /// Rows were added to the part with this index.
    Rows(usize, u64),
    /// The part with this index is complete, with this size.
    Done(usize, u64),
    Failed(GenerateError),
}

/// Writes all parts below `set` on as many threads as the machine has, until one fails or `stop` is set.
fn write_tables(
    stop: &AtomicBool,
    set: &Path,
    scale: f64,
    report: &mut dyn FnMut(Progress),
) -> Result<Vec<GeneratedTable>, GenerateError> {
    let mut parts = Vec::new();
    for table in TABLES {
        let folder = set.join(table.name());
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let count = table.parts(scale);
        parts.extend((0..count).map(|part| Part { table, part, parts: count }));
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(parts.len());
    let next = AtomicUsize::new(0);
    // Rows so far and, once complete, the size of each part.
    let mut written = vec![(0_u64, None); parts.len()];
    let mut tally = Tally { rows_done: 0, rows_total: TABLES.iter().map(|table| table.expected_rows(scale)).sum() };

    let failed = std::thread::scope(|scope| {
        let (events, received) = sync_channel(WAITING_EVENTS);
        for _ in 0..threads {
            let events = events.clone();
            scope.spawn(|| write_next_parts(set, scale, &parts, &next, stop, events));
        }
        drop(events);
        let mut failed = None;
        for event in received {
            match event {
                Event::Rows(index, rows) => {
                    if let (Some(entry), Some(part)) = (written.get_mut(index), parts.get(index)) {
                        entry.0 += rows;
                        report(tally.add(part, rows));
                    }
                }
                Event::Done(index, bytes) => {
                    if let Some(entry) = written.get_mut(index) {
                        entry.1 = Some(bytes);
                    }
                }
                Event::Failed(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failed.get_or_insert(error);
                }
            }
        }
        failed
    });
    if let Some(error) = failed {
        return Err(error);
    }

    sum_up(set, &parts, written)
}

/// The tables of the parts; every part must have its size.
fn sum_up(set: &Path, parts: &[Part], written: Vec<(u64, Option<u64>)>) -> Result<Vec<GeneratedTable>, GenerateError> {
    let mut tables: Vec<GeneratedTable> =
        TABLES.iter().map(|table| GeneratedTable { name: table.name().to_owned(), rows: 0, parts: 0, bytes: 0 }).collect();
    for (part, (rows, bytes)) in parts.iter().zip(written) {
        let bytes = bytes.ok_or_else(|| GenerateError::Unfinished(part_path(set, part.table.name(), part.part)))?;
        if let Some(table) = tables.iter_mut().find(|table| table.name == part.table.name()) {
            table.rows += rows;
            table.parts += 1;
            table.bytes += bytes;
        }
    }
    Ok(tables)
}

struct Tally {
    rows_done: u64,
    rows_total: u64,
}

impl Tally {
    fn add(&mut self, part: &Part, rows: u64) -> Progress {
        self.rows_done += rows;
        self.rows_total = self.rows_total.max(self.rows_done);
        Progress {
            table: part.table.name(),
            part: part.part,
            parts: part.parts,
            rows_done: self.rows_done,
            rows_total: self.rows_total,
        }
    }
}

/// Takes parts in turn until none is left, one failed or nobody listens any more.
fn write_next_parts(set: &Path, scale: f64, parts: &[Part], next: &AtomicUsize, stop: &AtomicBool, events: SyncSender<Event>) {
    while !stop.load(Ordering::Relaxed) {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(part) = parts.get(index) else { return };
        let path = part_path(set, part.table.name(), part.part);
        let mut told = |rows| !stop.load(Ordering::Relaxed) && events.send(Event::Rows(index, rows)).is_ok();
        let event = match write_part(&path, part, scale, &mut told) {
            Ok(Some(bytes)) => Event::Done(index, bytes),
            Ok(None) => return,
            Err(error) => Event::Failed(error),
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

/// Writes one file and returns its size, or none if `told` said to stop.
fn write_part(path: &Path, part: &Part, scale: f64, told: &mut dyn FnMut(u64) -> bool) -> Result<Option<u64>, GenerateError> {
    let in_parquet = |source| GenerateError::Parquet { path: path.to_owned(), source };
    let in_rows = |source| GenerateError::Arrow { path: path.to_owned(), source };
    let rows = part.table.rows(scale, part.part, part.parts);
    let schema = plain_schema(&rows.schema());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let file = File::create_new(path).map_err(at(path))?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(in_parquet)?;
    for batch in rows {
        let batch = plain_batch(&batch.map_err(in_rows)?, &schema).map_err(in_rows)?;
        writer.write(&batch).map_err(in_parquet)?;
        if !told(batch.num_rows() as u64) {
            return Ok(None);
        }
    }
    let file = writer.into_inner().map_err(in_parquet)?;
    file.sync_all().map_err(at(path))?;
    Ok(Some(file.metadata().map_err(at(path))?.len()))
}

/// The schema with string views as plain strings, which every reader of Parquet knows.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Utf8View => Field::new(field.name(), DataType::Utf8, field.is_nullable()),
            _ => field.as_ref().clone(),
        })
        .collect();
    Arc::new(Schema::new(fields))
}

fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| cast(column, field.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// `set/<table>/part-<number>.parquet`.
fn part_path(set: &Path, table: &str, part: usize) -> PathBuf {
    set.join(table).join(format!("part-{part:02}.parquet"))
}

/// Puts the path into an input or output error.
fn at(path: &Path) -> impl Fn(io::Error) -> GenerateError {
    move |source| GenerateError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
