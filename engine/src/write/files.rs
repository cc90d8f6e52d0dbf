//! The files that one partition of a task has open: one for each partition value, ended at the target size or when
//! memory runs short. With buckets one for each bucket of a value, and none is ended before its rows are.

use super::access::{WriteAccess, WriteFolder, below};
use super::encode::Encoder;
use super::exec::FileRow;
use super::partition::{folder_of, value_text};
use super::spec::WriteSpec;
use super::types::{file_schema, to_file_columns};
use crate::clock::random_uuid;
use crate::error::{Error, ErrorKind, Result};
use crate::functions::bucket::bucket_numbers;
use crate::ids::QueryId;
use crate::storage::{Pending, Upload};
use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
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

/// What is said of buckets that do not fit the memory.
const TOO_LITTLE_MEMORY: &str =
    "there is not enough memory for a file of each bucket: take fewer buckets or partitions, or more memory";
/// Digits of a bucket in the name of its file, as Hive and Trino write and read them.
const BUCKET_DIGITS: usize = 6;

/// Bytes that tell partition values, and buckets, apart.
type Key = Box<[u8]>;

/// The rows of a batch that go to one file.
struct Group {
    key: Key,
    bucket: Option<i32>,
    rows: Vec<u64>,
}

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
        let bucket = spec.buckets().map(|_| SortField::new(DataType::Int32));
        let fields: Vec<SortField> = fields.chain(bucket).collect();
        let keys = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields).map_err(|e| Error::internal(e.to_string()))?),
        };
        let ended = || Error::new(ErrorKind::Cancelled, "the write has ended");
        let pending = access.pending().begin_unless_ended().ok_or_else(ended)?;
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
            pending,
        })
    }

    /// Writes `batch` to the files of its partitions.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = to_file_columns(batch, &self.schema)?;
        for group in self.groups(batch, &columns)? {
            let rows = match group.rows.len() == batch.num_rows() {
                true => columns.clone(),
                false => take_record_batch(&columns, &UInt64Array::from(group.rows.clone()))
                    .map_err(|e| Error::internal(e.to_string()))?,
            };
            self.append(&group, batch, &rows).await?;
        }
        Ok(())
    }

    /// The rows of each partition value and bucket, in order of first appearance; `written` are the columns of the files.
    fn groups(&self, batch: &RecordBatch, written: &RecordBatch) -> Result<Vec<Group>> {
        let Some(converter) = &self.keys else {
            let rows = (0..batch.num_rows() as u64).collect();
            return Ok(vec![Group { key: Key::default(), bucket: None, rows }]);
        };
        let mut columns: Vec<ArrayRef> = batch.columns().iter().skip(self.spec.file_columns()).map(Arc::clone).collect();
        let mut buckets = None;
        if let Some((count, places)) = self.spec.buckets() {
            let hashed: Vec<ArrayRef> =
                places.into_iter().filter_map(|place| written.columns().get(place).map(Arc::clone)).collect();
            let numbers = bucket_numbers(count, &hashed, written.num_rows())?;
            columns.push(Arc::new(numbers.clone()));
            buckets = Some(numbers);
        }
        let rows = converter.convert_columns(&columns).map_err(|e| Error::internal(e.to_string()))?;
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let place = *places.entry(row.data()).or_insert_with(|| {
                let bucket = buckets.as_ref().map(|numbers| numbers.value(index));
                groups.push(Group { key: row.data().into(), bucket, rows: Vec::new() });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                group.rows.push(index as u64);
            }
        }
        Ok(groups)
    }

    async fn append(&mut self, group: &Group, batch: &RecordBatch, rows: &RecordBatch) -> Result<()> {
        let key = group.key.clone();
        if !self.open.contains_key(&key) {
            let file = self.begin(group, batch)?;
            self.open.insert(key.clone(), file);
        }
        let Some(file) = self.open.get_mut(&key) else { return Ok(()) };
        let bytes = file.encoder.push(rows)?;
        file.upload.put(bytes).await?;
        file.rows += rows.num_rows() as u64;
        let is_full = file.size() >= self.spec.file_bytes();
        self.recount(&key);
        if is_full {
            self.check_whole("a bucket has more than one file holds: take more buckets")?;
            self.end(&key).await?;
        }
        self.fit_memory().await
    }

    /// Refuses to end a file before its rows do, where all of them must be in it.
    fn check_whole(&self, why: &str) -> Result<()> {
        match self.spec.buckets() {
            Some(_) => Err(Error::new(ErrorKind::LimitExceeded, format!("bucketed_by: {why}"))),
            None => Ok(()),
        }
    }

    fn begin(&mut self, group: &Group, batch: &RecordBatch) -> Result<OpenFile> {
        let key = &group.key;
        let first = group.rows.first().copied().unwrap_or(0) as usize;
        if !self.seen.contains(key) && self.seen.len() >= self.spec.max_open_partitions && self.keys.is_some() {
            return Err(self.spec.too_many_partitions());
        }
        let keys = batch.columns().iter().skip(self.spec.file_columns()).zip(&self.spec.partition_by);
        let values = keys.map(|(column, name)| value_text(column, first, name)).collect::<Result<Vec<_>>>()?;
        let name = format!("{}_{}{}", self.name, self.begun, self.spec.format.ending()?);
        let name = group.bucket.map_or(name.clone(), |bucket| format!("{bucket:0BUCKET_DIGITS$}_0_{name}"));
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
                self.check_whole(TOO_LITTLE_MEMORY)?;
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
                self.check_whole(TOO_LITTLE_MEMORY)?;
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
