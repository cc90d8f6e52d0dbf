//! `MSCK REPAIR TABLE`: folders `key=value` below the table's location become partitions.

use super::partitions::shown;
use super::{Answer, Run};
use crate::catalog::location::{Location, unescape_value};
use crate::catalog::model::{Partition, Table};
use crate::catalog::partition_filter::PartitionFilter;
use crate::catalog::types::HiveType;
use crate::ddl::statement::TableName;
use datafusion::common::ScalarValue;
use engine::write::HIVE_NULL;
use engine::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use std::collections::HashSet;

/// Folders that are listed at once.
const CONCURRENT_LISTINGS: usize = 32;
/// Most folders of one level.
const MAX_FOLDERS: usize = 200_000;

impl Run<'_> {
    pub(super) async fn repair(&self, name: &TableName) -> Result<Answer> {
        let table = self.table_only(name).await?;
        if table.partition_keys.is_empty() {
            return Err(Error::invalid(format!(
                "FAILED: SemanticException table {} is not partitioned but partition spec exists",
                table.full_name()
            )));
        }
        let location = table.location().ok_or_else(|| Error::invalid(format!("table {} has no location", table.full_name())))?;
        let location = Location::checked(location, self.context.locations)?;
        let store = self.context.stores.open(&location.store)?;
        let found = folders(&*store, &table, &location).await?;
        let known = self.catalog.partitions(&table, &PartitionFilter::default()).await?;
        let known: HashSet<Vec<String>> = known.into_iter().map(|partition| partition.values).collect();
        let new: Vec<Partition> = found.into_iter().filter(|partition| !known.contains(&partition.values)).collect();
        if new.is_empty() {
            return Ok(Answer::new(&["result"], Vec::new()));
        }
        self.catalog.add_partitions(&table, &new).await?;
        let names: Vec<String> =
            new.iter().map(|partition| format!("{}:{}", table.name, shown(&table.partition_keys, &partition.values))).collect();
        let mut lines = vec![format!("Partitions not in metastore:\t{}", names.join("\t"))];
        lines.extend(names.iter().map(|name| format!("Repair: Added partition to metastore {name}")));
        Ok(Answer::new(&["result"], lines))
    }
}

/// The partitions that folders name, level by level; folders of other names are passed over.
async fn folders(store: &dyn ObjectStore, table: &Table, location: &Location) -> Result<Vec<Partition>> {
    let mut level: Vec<(Path, Vec<String>)> = vec![(location.path.clone(), Vec::new())];
    for key in &table.partition_keys {
        let hive = HiveType::parse(&key.hive_type)?;
        let listings = futures::stream::iter(level).map(|(folder, values)| async move {
            let prefix = Some(&folder).filter(|folder| !folder.as_ref().is_empty());
            match store.list_with_delimiter(prefix).await {
                Ok(listed) => Ok((listed.common_prefixes, values)),
                Err(object_store::Error::NotFound { .. }) => Ok((Vec::new(), values)),
                Err(error) => Err(Error::from(error).context(format!("listing {folder}"))),
            }
        });
        let mut listings = listings.buffered(CONCURRENT_LISTINGS);
        let mut next = Vec::new();
        while let Some((children, values)) = listings.try_next().await? {
            for child in children {
                let Some((name, value)) = child.filename().and_then(|name| name.split_once('=')) else { continue };
                let value = unescape_value(value);
                let is_typed = ScalarValue::try_from_string(value.clone(), &hive.arrow()).is_ok() || value == HIVE_NULL;
                if name != key.name || value.is_empty() || !is_typed {
                    continue;
                }
                if next.len() >= MAX_FOLDERS {
                    let text = format!("more than {MAX_FOLDERS} folders below {location}: use partition projection");
                    return Err(Error::new(ErrorKind::LimitExceeded, text));
                }
                let values: Vec<String> = values.iter().cloned().chain([value]).collect();
                next.push((child, values));
            }
        }
        level = next;
    }
    let partition = |(path, values): (Path, Vec<String>)| {
        let place = Location { store: location.store.clone(), path };
        Partition::of(table, values, &place.to_string())
    };
    let mut found: Vec<Partition> = level.into_iter().map(partition).collect();
    found.sort_by(|a, b| a.values.cmp(&b.values));
    Ok(found)
}
