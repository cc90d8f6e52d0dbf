//! Partitions of the JSON catalog: spread over a fixed number of objects by a hash of their values.

use super::objects::Change;
use super::{JsonCatalog, no_identity};
use crate::catalog::model::{Partition, StorageDescriptor, Table};
use crate::catalog::names::check_name;
use crate::catalog::partition_filter::PartitionFilter;
use crate::catalog::{CatalogError, Result};
use object_store::path::Path;
use std::collections::BTreeMap;

/// Objects that the partitions of a table are spread over: enough that concurrent writers seldom meet, few enough to read at once.
const PARTS: u64 = 32;

type Values = Vec<String>;

impl JsonCatalog {
    pub(super) fn partition_folder(&self, table: &Table) -> Result<Path> {
        let id = table.id.as_deref().ok_or_else(|| no_identity(table))?;
        check_name("table identity", id)?;
        check_name("database", &table.database_name)?;
        Ok(self.base.clone().join(table.database_name.as_str()).join("partitions").join(id))
    }

    fn part_path(&self, table: &Table, part: u64) -> Result<Path> {
        Ok(self.partition_folder(table)?.join(format!("{part:02}.json")))
    }

    pub(super) async fn filtered_partitions(&self, table: &Table, filter: &PartitionFilter) -> Result<Vec<Partition>> {
        let paths = self.list(&self.partition_folder(table)?).await?;
        let parts: Vec<Vec<Partition>> = self.read_all(paths).await?;
        let keys: Vec<String> = table.partition_keys.iter().map(|key| key.name.clone()).collect();
        let mut found: Vec<Partition> =
            parts.into_iter().flatten().filter(|partition| filter.may_hold(&keys, &partition.values)).collect();
        found.sort_by(|a, b| a.values.cmp(&b.values));
        Ok(found)
    }

    pub(super) async fn named_partitions(&self, table: &Table, values: &[Values]) -> Result<Vec<Partition>> {
        let wanted = by_part(values, |values| values);
        let paths: Vec<Path> = wanted.keys().map(|part| self.part_path(table, *part)).collect::<Result<_>>()?;
        let parts: Vec<Vec<Partition>> = self.read_all(paths).await?;
        let names: std::collections::HashSet<&Values> = values.iter().collect();
        Ok(parts.into_iter().flatten().filter(|partition| names.contains(&partition.values)).collect())
    }

    pub(super) async fn insert_partitions(&self, table: &Table, partitions: &[Partition]) -> Result<Vec<Values>> {
        let mut there = Vec::new();
        for (part, new) in by_part(partitions, |partition| &partition.values) {
            let path = self.part_path(table, part)?;
            let known = self.objects.change(&path, |now: Option<Vec<Partition>>| {
                let mut all = indexed(now);
                let before = all.len();
                let mut known = Vec::new();
                for partition in &new {
                    match all.contains_key(&partition.values) {
                        true => known.push(partition.values.clone()),
                        false => drop(all.insert(partition.values.clone(), compact(table, partition))),
                    }
                }
                Ok::<_, CatalogError>(changed_if(all.len() != before, all, known))
            });
            there.extend(known.await?);
        }
        Ok(there)
    }

    pub(super) async fn remove_partitions(&self, table: &Table, values: &[Values]) -> Result<Vec<Values>> {
        let mut missing = Vec::new();
        for (part, gone) in by_part(values, |values| values) {
            let path = self.part_path(table, part)?;
            let unknown = self.objects.change(&path, |now: Option<Vec<Partition>>| {
                let mut all = indexed(now);
                let before = all.len();
                let unknown: Vec<Values> =
                    gone.iter().filter(|values| all.remove(**values).is_none()).map(|v| Values::clone(v)).collect();
                Ok::<_, CatalogError>(changed_if(all.len() != before, all, unknown))
            });
            missing.extend(unknown.await?);
        }
        Ok(missing)
    }

    pub(super) async fn replace_partition(&self, table: &Table, values: &[String], partition: &Partition) -> Result<()> {
        let missing = || CatalogError::NoPartition(table.full_name(), values.join("/"));
        if values == partition.values {
            let path = self.part_path(table, part_of(values))?;
            return self
                .objects
                .change(&path, |now: Option<Vec<Partition>>| {
                    let mut all = indexed(now);
                    let place = all.get_mut(values).ok_or_else(missing)?;
                    *place = compact(table, partition);
                    Ok(changed_if(true, all, ()))
                })
                .await;
        }
        if self.named_partitions(table, &[values.to_vec()]).await?.is_empty() {
            return Err(missing());
        }
        // The new one first: between the two steps the files are in both rather than in none.
        if !self.insert_partitions(table, std::slice::from_ref(partition)).await?.is_empty() {
            return Err(CatalogError::Exists(format!("Partition {}", partition.values.join("/"))));
        }
        self.remove_partitions(table, &[values.to_vec()]).await.map(drop)
    }
}

fn indexed(partitions: Option<Vec<Partition>>) -> BTreeMap<Values, Partition> {
    partitions.unwrap_or_default().into_iter().map(|partition| (partition.values.clone(), partition)).collect()
}

fn changed_if<R>(changed: bool, all: BTreeMap<Values, Partition>, answer: R) -> Change<Vec<Partition>, R> {
    match changed {
        true => Change::Write(all.into_values().collect(), answer),
        false => Change::Keep(answer),
    }
}

/// Without what is the table's anyhow: ten thousand copies of its columns would be most of the bytes.
fn compact(table: &Table, partition: &Partition) -> Partition {
    let storage = partition.storage_descriptor.as_ref();
    let location = storage.and_then(|storage| storage.location.clone());
    let as_table = table.storage_descriptor.clone().map(|storage| StorageDescriptor { location: location.clone(), ..storage });
    if storage.is_some() && storage == as_table.as_ref() {
        let storage_descriptor = Some(StorageDescriptor { location, ..StorageDescriptor::default() });
        return Partition { storage_descriptor, ..partition.clone() };
    }
    partition.clone()
}

fn by_part<T>(items: &[T], values: impl Fn(&T) -> &Values) -> BTreeMap<u64, Vec<&T>> {
    let mut parts: BTreeMap<u64, Vec<&T>> = BTreeMap::new();
    for item in items {
        parts.entry(part_of(values(item))).or_default().push(item);
    }
    parts
}

/// FNV-1a over the values, each with an end that no value has; stored catalogs rely on it.
fn part_of(values: &[String]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)) % PARTS
}
