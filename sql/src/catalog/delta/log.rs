//! A table's log: which of its versions is read, and what that one is made of.

use super::AsOf;
use super::actions::{Add, Metadata, Protocol, sorted};
use super::folder::LogFolder;
use super::kernel::LogEngine;
use crate::catalog::location::Location;
use crate::catalog::table::MAX_FILES;
use arrow::array::AsArray;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::record_batch::RecordBatch;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::scan::ScanMetadata;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::Snapshot as DeltaSnapshot;
use engine::{Error, ErrorKind, Result};
use futures::{FutureExt, StreamExt};
use object_store::ObjectStore;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What a version of a table is made of.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    pub(super) metadata: Metadata,
    /// In order of their paths.
    pub(super) files: Vec<Add>,
}

/// The newest version of the table at `location`, or the one that `as_of` names.
///
/// # Errors
/// When there is no log or no such version, the log is damaged or too long, or asks for what is not known here.
pub(super) async fn snapshot(store: Arc<dyn ObjectStore>, location: &Location, as_of: Option<AsOf>) -> Result<Snapshot> {
    let folder = Closing(Arc::new(LogFolder::list(store, location).await?));
    let folder = &folder.0;
    let version = match as_of {
        None => folder.newest(),
        Some(AsOf::Version(version)) if version > folder.newest() => {
            return Err(unknown(version, &format!("the newest version is {}", folder.newest())));
        }
        Some(AsOf::Version(version)) => version,
        Some(AsOf::Time(ms)) => version_at(folder, ms).await?,
    };
    if !folder.has_start_of(version) {
        return Err(unknown(version, "the log no longer has what it was made of"));
    }
    // The kernel may panic over what it does not expect.
    let read = AssertUnwindSafe(read(folder, version)).catch_unwind().await;
    read.unwrap_or_else(|_| Err(Error::new(ErrorKind::Corrupt, "its log cannot be read: its schema may be damaged")))
}

/// Ends what reads a log for a query that is gone.
struct Closing(Arc<LogFolder>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn read(folder: &Arc<LogFolder>, version: u64) -> Result<Snapshot> {
    let failed = |error: DeltaTableError| folder.failure().unwrap_or_else(|| failure(&error));
    let (engine, table) = LogEngine::new(Arc::clone(folder))?;
    let snapshot = DeltaSnapshot::try_new_with_engine(Arc::clone(&engine) as _, table, Some(version)).await.map_err(failed)?;
    let protocol: Protocol = converted(snapshot.protocol())?;
    protocol.check()?;
    let metadata = protocol.applied_to(converted(snapshot.metadata())?);
    let scan = snapshot.scan_builder().build().map_err(failed)?;
    let mut found = scan.scan_metadata(engine);
    let mut files: Vec<Add> = Vec::new();
    while let Some(batch) = found.next().await {
        files.extend(added(batch.map_err(failed)?)?);
        if files.len() > MAX_FILES {
            return Err(Error::new(ErrorKind::LimitExceeded, format!("it has more than {MAX_FILES} files")));
        }
    }
    Ok(Snapshot { version, metadata, files: sorted(files)? })
}

/// The files of one batch of what the kernel found.
fn added(found: ScanMetadata) -> Result<Vec<Add>> {
    let corrupt = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Corrupt, format!("no files of a log: {error}"));
    let data = found.scan_files.apply_selection_vector().map_err(|e| corrupt(&e))?;
    let data = ArrowEngineData::try_from_engine_data(data).map_err(|e| corrupt(&e))?;
    let rows = data.record_batch();
    let constants = rows.column_by_name("fileConstantValues").and_then(|column| column.as_struct_opt());
    let column = |name: &'static str| {
        let found = rows.column_by_name(name).or_else(|| constants?.column_by_name(name));
        found.map(|column| (name, Arc::clone(column), true)).ok_or_else(|| corrupt(&format!("there is no {name}")))
    };
    let columns = ["path", "partitionValues", "size", "modificationTime", "stats", "deletionVector"].map(column);
    let columns = columns.into_iter().collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| corrupt(&e))?;
    // NULLs are written out: a partition's value may be one.
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(&batch).and_then(|()| writer.finish()).map_err(|e| corrupt(&e))?;
    let lines = writer.into_inner();
    let files = serde_json::Deserializer::from_slice(&lines).into_iter::<Add>();
    files.map(|file| file.map_err(|e| corrupt(&e))).collect()
}

/// What the kernel has of an action, as the log writes it.
fn converted<T: DeserializeOwned>(action: &impl Serialize) -> Result<T> {
    let value = serde_json::to_value(action).and_then(serde_json::from_value);
    value.map_err(|error| Error::new(ErrorKind::Corrupt, format!("no action of a log: {error}")))
}

fn failure(error: &DeltaTableError) -> Error {
    match error {
        DeltaTableError::KernelError(delta_kernel::Error::Unsupported(why)) => Error::invalid(format!("NOT_SUPPORTED: {why}")),
        _ => Error::new(ErrorKind::Corrupt, format!("its log cannot be read: {error}")),
    }
}

fn unknown(version: u64, why: &str) -> Error {
    Error::invalid(format!("INVALID_ARGUMENTS: Delta Lake snapshot ID does not exists: {version}: {why}"))
}

/// The last version that was there at `ms`. Times of commits do not fall, so half of them can be left out at a time.
async fn version_at(folder: &LogFolder, ms: i64) -> Result<u64> {
    let commits: Vec<_> = folder.commits().collect();
    let (mut from, mut to) = (0, commits.len());
    while from < to {
        let middle = from + (to - from) / 2;
        let Some((_, path, commit)) = commits.get(middle) else { break };
        if commit_time(&folder.get(path).await?.1).unwrap_or_else(|| commit.last_modified.timestamp_millis()) <= ms {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    let found = from.checked_sub(1).and_then(|last| commits.get(last)).map(|(version, _, _)| *version);
    let time = chrono::DateTime::from_timestamp_millis(ms).map_or_else(|| format!("{ms} ms"), |time| time.to_rfc3339());
    found.ok_or_else(|| Error::invalid(format!("INVALID_ARGUMENTS: No temporal version history at or before {time}")))
}

/// When a commit says that it was made, in milliseconds since 1970.
fn commit_time(bytes: &[u8]) -> Option<i64> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Line {
        commit_info: Option<Info>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Info {
        in_commit_timestamp: Value,
        timestamp: Value,
    }
    let lines = serde_json::Deserializer::from_slice(bytes).into_iter::<Line>();
    let info = lines.map_while(|line| line.ok()).find_map(|line| line.commit_info)?;
    info.in_commit_timestamp.as_i64().or_else(|| info.timestamp.as_i64())
}
