//! The files that one partition of a task has open: one for each partition value, ended at the target size or when
//! memory runs short.

use super::access::{WriteAccess, WriteFolder, below};
use super::encode::Encoder;
use super::exec::FileRow;
use super::partition::{folder_of, value_text};
use super::spec::WriteSpec;
use super::types::{file_schema, to_file_columns};
use crate::clock::random_uuid;
use crate::error::{Error, Result};
use crate::ids::QueryId;
use crate::storage::{Pending, Upload};
use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Parts of one file on their way at a time: encoding goes on meanwhile.
const PARTS_IN_FLIGHT: usize = 1;
/// Files that are ended at once.
const FINISHED_AT_ONCE: usize = 8;
/// A file with less than this in its encoder has nothing worth a flush: it is ended instead, in bytes.
const MIN_FLUSH_BYTES: usize = 1 << 20;

/// Bytes that tell partition values apart.
type Key = Box<[u8]>;

/// The open and the finished files of one writer.
pub(super) struct Files {
    spec: Arc<WriteSpec>,
    folder: WriteFolder,
    staging: Path,
    /// What the names of all files begin with; nobody else's do.
    name: String,
    schema: SchemaRef,
    keys: Option<RowConverter>,
    seen: HashSet<Key>,
    open: HashMap<Key, OpenFile>,
    begun: usize,
    finished: Vec<FileRow>,
    memory_bytes: usize,
    reservation: MemoryReservation,
    pending: Pending,
}

struct OpenFile {
    path: String,
    encoder: Encoder,
    upload: Upload,
    rows: u64,
    memory_bytes: usize,
}

impl OpenFile {
    async fn finish(mut self) -> Result<FileRow> {
        match self.encoder.finish() {
            Ok(rest) => self.upload.put(rest).await?,
            Err(error) => {
                self.upload.abort().await;
                return Err(error);
            }
        }
        let bytes = self.upload.written_bytes();
        self.upload.finish().await?;
        Ok(FileRow { path: self.path, rows: self.rows, bytes })
    }

    fn size(&self) -> u64 {
        self.upload.written_bytes() + self.encoder.pending_bytes() as u64
    }
}

impl Files {
    /// A writer of rows with columns `input` for `query`.
    pub(super) fn new(
        spec: &Arc<WriteSpec>,
        query: QueryId,
        input: &Schema,
        access: &WriteAccess,
        partition: usize,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let folder = access.folder(&spec.location)?;
        let fields = input.fields().iter().skip(spec.file_columns()).map(|field| SortField::new(field.data_type().clone()));
        let keys = match spec.partition_by.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields.collect()).map_err(|e| Error::internal(e.to_string()))?),
        };
        let delivery = random_uuid().simple().to_string();
        Ok(Self {
            staging: folder.staging_of(query),
            folder,
            name: format!("{}_{}-{partition}_{}", query.0.simple(), access.label(), &delivery[..16]),
            schema: file_schema(spec, input)?,
            spec: Arc::clone(spec),
            keys,
            seen: HashSet::new(),
            open: HashMap::new(),
            begun: 0,
            finished: Vec::new(),
            memory_bytes: 0,
            reservation,
            pending: access.pending().begin(),
        })
    }

    /// Writes `batch` to the files of its partitions.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = to_file_columns(batch, &self.schema)?;
        for (key, indices) in self.groups(batch)? {
            let first = indices.values().first().copied().unwrap_or(0) as usize;
            let rows = match indices.len() == batch.num_rows() {
                true => columns.clone(),
                false => take_record_batch(&columns, &indices).map_err(|e| Error::internal(e.to_string()))?,
            };
            self.append(key, batch, first, &rows).await?;
        }
        Ok(())
    }

    /// The rows of each partition value, in order of first appearance.
    fn groups(&self, batch: &RecordBatch) -> Result<Vec<(Key, UInt64Array)>> {
        let Some(converter) = &self.keys else {
            return Ok(vec![(Key::default(), (0..batch.num_rows() as u64).collect())]);
        };
        let columns: Vec<ArrayRef> = batch.columns().iter().skip(self.spec.file_columns()).map(Arc::clone).collect();
        let rows = converter.convert_columns(&columns).map_err(|e| Error::internal(e.to_string()))?;
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut groups: Vec<(Key, Vec<u64>)> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let place = *places.entry(row.data()).or_insert_with(|| {
                groups.push((row.data().into(), Vec::new()));
                groups.len() - 1
            });
            if let Some((_, indices)) = groups.get_mut(place) {
                indices.push(index as u64);
            }
        }
        Ok(groups.into_iter().map(|(key, indices)| (key, UInt64Array::from(indices))).collect())
    }

    async fn append(&mut self, key: Key, batch: &RecordBatch, first: usize, rows: &RecordBatch) -> Result<()> {
        if !self.open.contains_key(&key) {
            let file = self.begin(&key, batch, first)?;
            self.open.insert(key.clone(), file);
        }
        let Some(file) = self.open.get_mut(&key) else { return Ok(()) };
        let bytes = file.encoder.push(rows)?;
        file.upload.put(bytes).await?;
        file.rows += rows.num_rows() as u64;
        let is_full = file.size() >= self.spec.file_bytes();
        self.recount(&key);
        if is_full {
            self.end(&key).await?;
        }
        self.fit_memory().await
    }

    fn begin(&mut self, key: &Key, batch: &RecordBatch, first: usize) -> Result<OpenFile> {
        if !self.seen.contains(key) && self.seen.len() >= self.spec.max_open_partitions && !self.spec.partition_by.is_empty() {
            return Err(self.spec.too_many_partitions());
        }
        let keys = batch.columns().iter().skip(self.spec.file_columns()).zip(&self.spec.partition_by);
        let values = keys.map(|(column, name)| value_text(column, first, name)).collect::<Result<Vec<_>>>()?;
        let name = format!("{}_{}{}", self.name, self.begun, self.spec.format.ending()?);
        let path = match values.is_empty() {
            true => name,
            false => format!("{}/{name}", folder_of(&self.spec.partition_by, &values)),
        };
        let to = below(&self.staging, &path)?;
        let upload = Upload::new(
            Arc::clone(&self.folder.store),
            to,
            self.spec.format.content_type(),
            PARTS_IN_FLIGHT,
            self.pending.clone(),
        );
        let encoder = Encoder::new(&self.spec.format, &self.schema)?;
        self.seen.insert(key.clone());
        self.begun += 1;
        Ok(OpenFile { path, encoder, upload, rows: 0, memory_bytes: 0 })
    }

    /// Counts again what the file of `key` holds in memory.
    fn recount(&mut self, key: &Key) {
        if let Some(file) = self.open.get_mut(key) {
            let now = file.encoder.memory_bytes() + file.upload.memory_bytes();
            self.memory_bytes = (self.memory_bytes + now).saturating_sub(file.memory_bytes);
            file.memory_bytes = now;
        }
    }

    async fn end(&mut self, key: &Key) -> Result<()> {
        if let Some(file) = self.open.remove(key) {
            self.memory_bytes = self.memory_bytes.saturating_sub(file.memory_bytes);
            self.finished.push(file.finish().await?);
        }
        Ok(())
    }

    /// Reserves what the open files hold. Where there is less memory, the largest row group is ended early, and where
    /// that frees nothing, the largest file is.
    async fn fit_memory(&mut self) -> Result<()> {
        loop {
            let Err(error) = self.reservation.try_resize(self.memory_bytes) else { return Ok(()) };
            let largest = self.open.iter().max_by_key(|(_, file)| file.memory_bytes);
            let Some((key, file)) = largest.map(|(key, file)| (key.clone(), file)) else { return Err(error.into()) };
            if file.encoder.memory_bytes() < MIN_FLUSH_BYTES {
                self.end(&key).await?;
                continue;
            }
            let before = self.memory_bytes;
            if let Some(file) = self.open.get_mut(&key) {
                let bytes = file.encoder.flush()?;
                file.upload.put(bytes).await?;
            }
            self.recount(&key);
            if self.memory_bytes >= before {
                self.end(&key).await?;
            }
        }
    }

    /// Ends all files; each is whole in staging afterwards.
    pub(super) async fn finish(mut self) -> Result<Vec<FileRow>> {
        let open: Vec<OpenFile> = self.open.drain().map(|(_, file)| file).collect();
        let ended = futures::stream::iter(open).map(OpenFile::finish).buffer_unordered(FINISHED_AT_ONCE);
        self.finished.extend(ended.try_collect::<Vec<_>>().await?);
        self.finished.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(std::mem::take(&mut self.finished))
    }

    /// Gives all open files up: no upload stays open.
    pub(super) async fn abort(&mut self) {
        for (_, mut file) in self.open.drain() {
            file.upload.abort().await;
        }
    }
}
