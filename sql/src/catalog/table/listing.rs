//! The files of the partitions that a query reads, and only of those.

use super::prune::ChosenPartition;
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::object_store::ObjectStoreUrl;
use engine::storage::is_hidden;
use engine::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Listings that run at once.
const CONCURRENT_LISTINGS: usize = 64;
/// Most files of one scan: each has an entry of some 200 bytes in the plan.
pub(in crate::catalog) const MAX_FILES: usize = 2_000_000;

/// Files of one store that are alike compressed.
pub(in crate::catalog) struct FileSet {
    pub(in crate::catalog) store: String,
    pub(in crate::catalog) compression: FileCompressionType,
    pub(in crate::catalog) files: Vec<PartitionedFile>,
    /// How many of their rows are deleted, where the last of the partition values is a deletion vector, or none.
    pub(in crate::catalog) deleted_rows: Option<u64>,
}

/// Lists each partition's folder. Files of text formats are compressed as their names say; with `has_path` the URL of a file is
/// its last partition value.
pub(super) async fn list(
    session: &dyn Session,
    partitions: Vec<ChosenPartition>,
    is_text: bool,
    has_path: bool,
) -> Result<Vec<FileSet>> {
    let mut stores: BTreeMap<String, Arc<dyn ObjectStore>> = BTreeMap::new();
    for partition in &partitions {
        let store = &partition.location.store;
        if !stores.contains_key(store) {
            let url = ObjectStoreUrl::parse(store).map_err(Error::from)?;
            stores.insert(store.clone(), session.runtime_env().object_store(&url).map_err(Error::from)?);
        }
    }
    let listings = futures::stream::iter(partitions).map(|partition| {
        let store = stores.get(&partition.location.store).cloned();
        async move {
            let store = store.ok_or_else(|| Error::internal("a store without a name"))?;
            let files = visible(&*store, &partition.location.path).await;
            Ok::<_, Error>((files.map_err(|e| e.context(format!("listing {}", partition.location)))?, partition))
        }
    });
    let mut listings = listings.buffered(CONCURRENT_LISTINGS);
    let mut sets: BTreeMap<(String, String), FileSet> = BTreeMap::new();
    let mut count = 0;
    while let Some((files, partition)) = listings.try_next().await? {
        count += files.len();
        if count > MAX_FILES {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("the query reads more than {MAX_FILES} files: add conditions on partitions"),
            ));
        }
        for meta in files {
            let compression = if is_text { compression(&meta.location)? } else { FileCompressionType::UNCOMPRESSED };
            let url = has_path.then(|| format!("{}/{}", partition.location.store, meta.location));
            let mut file = PartitionedFile::from(meta);
            file.partition_values = partition.values.clone();
            file.partition_values.extend(url.map(|url| ScalarValue::Utf8(Some(url))));
            let key = (partition.location.store.clone(), format!("{compression:?}"));
            let set = sets.entry(key).or_insert_with(|| FileSet {
                store: partition.location.store.clone(),
                compression,
                files: Vec::new(),
                deleted_rows: None,
            });
            set.files.push(file);
        }
    }
    Ok(sets.into_values().collect())
}

/// Files with bytes below `folder`, without what Hive hides.
async fn visible(store: &dyn ObjectStore, folder: &Path) -> Result<Vec<ObjectMeta>> {
    let prefix = Some(folder).filter(|folder| !folder.as_ref().is_empty());
    let listed: Result<Vec<ObjectMeta>, object_store::Error> = store.list(prefix).try_collect().await;
    let mut files = match listed {
        Ok(files) => files,
        // A folder on disk may not be there; in a bucket it is merely empty.
        Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    files.retain(|meta| meta.size > 0 && !is_hidden(&meta.location, prefix));
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

fn compression(path: &Path) -> Result<FileCompressionType> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    Ok(match ending.as_str() {
        "gz" | "gzip" => FileCompressionType::GZIP,
        "zst" | "zstd" => FileCompressionType::ZSTD,
        "bz2" => FileCompressionType::BZIP2,
        "xz" => FileCompressionType::XZ,
        "snappy" | "lz4" | "lzo" | "deflate" | "zip" | "br" | "z" => {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: {path}: text files can be compressed with gzip, zstd, bzip2 or xz here"
            )));
        }
        _ => FileCompressionType::UNCOMPRESSED,
    })
}
