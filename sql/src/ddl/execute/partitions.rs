//! `ALTER TABLE` of partitions, and `SHOW PARTITIONS`.

use super::alter::no_partition;
use super::{Answer, Run};
use crate::catalog::CatalogError;
use crate::catalog::delta::is_delta;
use crate::catalog::location::{Location, escape_value};
use crate::catalog::model::{Column, Partition, StorageDescriptor, Table};
use crate::catalog::partition_filter::PartitionFilter;
use crate::catalog::types::HiveType;
use crate::ddl::statement::{NewPartition, PartitionConditions, PartitionSpec, TableName};
use datafusion::common::ScalarValue;
use engine::{Error, Result};
use std::collections::HashSet;

impl Run<'_> {
    pub(super) async fn add_partitions(&self, name: &TableName, if_not_exists: bool, new: &[NewPartition]) -> Result<Answer> {
        let allowed = self.context.locations;
        let given = new.iter().map(|new| new.location.as_deref().map(|text| Location::checked(text, allowed)).transpose());
        let given: Vec<Option<Location>> = given.collect::<Result<_>>()?;
        let table = self.table_only(name).await?;
        let mut partitions = Vec::with_capacity(new.len());
        let mut seen = HashSet::new();
        for (new, given) in new.iter().zip(given) {
            let values = values(&table, &new.spec)?;
            let location = match given {
                Some(location) => location,
                None => default_location(&table, &values)?,
            };
            let location = Location::checked(&location.to_string(), allowed)?;
            if seen.insert(values.clone()) {
                partitions.push(Partition::of(&table, values, &location.to_string()));
            } else if !if_not_exists {
                return Err(CatalogError::Exists(format!("Partition {}", shown(&table.partition_keys, &values))).into());
            }
        }
        if !if_not_exists {
            let wanted: Vec<Vec<String>> = seen.into_iter().collect();
            if let Some(known) = self.catalog.partitions_by_values(&table, &wanted).await?.first() {
                return Err(CatalogError::Exists(format!("Partition {}", shown(&table.partition_keys, &known.values))).into());
            }
        }
        let there = self.catalog.add_partitions(&table, &partitions).await?;
        match there.first() {
            Some(known) if !if_not_exists => {
                Err(CatalogError::Exists(format!("Partition {}", shown(&table.partition_keys, known))).into())
            }
            _ => Ok(Answer::nothing()),
        }
    }

    pub(super) async fn drop_partitions(
        &self,
        name: &TableName,
        if_exists: bool,
        conditions: &[PartitionConditions],
    ) -> Result<Answer> {
        let table = self.table_only(name).await?;
        for (key, _, value) in conditions.iter().flatten() {
            check_value(&table, key, value)?;
        }
        let known = self.catalog.partitions(&table, &PartitionFilter::default()).await?;
        let mut dropped: Vec<Vec<String>> = Vec::new();
        for conditions in conditions {
            let before = dropped.len();
            dropped.extend(
                known.iter().filter(|partition| meets(&table, partition, conditions)).map(|partition| partition.values.clone()),
            );
            if dropped.len() == before && !if_exists {
                let text: Vec<String> =
                    conditions.iter().map(|(key, sign, value)| format!("{key} {} {value}", sign.sign())).collect();
                return Err(no_partition(&table, &text.join(", ")));
            }
        }
        dropped.sort();
        dropped.dedup();
        self.catalog.drop_partitions(&table, &dropped).await?;
        Ok(Answer::nothing())
    }

    pub(super) async fn rename_partition(&self, name: &TableName, from: &PartitionSpec, to: &PartitionSpec) -> Result<Answer> {
        let table = self.table_only(name).await?;
        let to = values(&table, to)?;
        let known = self.partition(&table, from).await?;
        let old = known.values.clone();
        if old == to {
            return Ok(Answer::nothing());
        }
        if !self.catalog.partitions_by_values(&table, std::slice::from_ref(&to)).await?.is_empty() {
            return Err(CatalogError::Exists(format!("Partition {}", shown(&table.partition_keys, &to))).into());
        }
        self.catalog.update_partition(&table, &old, &Partition { values: to, ..known }).await?;
        Ok(Answer::nothing())
    }

    pub(super) async fn move_partition(&self, name: &TableName, spec: &PartitionSpec, location: &str) -> Result<Answer> {
        let table = self.table_only(name).await?;
        let known = self.partition(&table, spec).await?;
        let storage = known.storage_descriptor.clone().unwrap_or_default();
        let storage = StorageDescriptor { location: Some(location.to_string()), ..storage };
        let moved = Partition { storage_descriptor: Some(storage), ..known };
        self.catalog.update_partition(&table, &moved.values.clone(), &moved).await?;
        Ok(Answer::nothing())
    }

    /// The one partition that `spec` names in full.
    pub(super) async fn partition(&self, table: &Table, spec: &PartitionSpec) -> Result<Partition> {
        let values = values(table, spec)?;
        let found = self.catalog.partitions_by_values(table, std::slice::from_ref(&values)).await?;
        found.into_iter().next().ok_or_else(|| no_partition(table, &shown(&table.partition_keys, &values)))
    }

    pub(super) async fn show_partitions(&self, name: &TableName) -> Result<Answer> {
        let table = self.any_table(name).await?;
        if is_delta(&table) {
            return self.show_delta_partitions(&table).await;
        }
        if table.partition_keys.is_empty() {
            let text = format!("FAILED: SemanticException Table {} is not a partitioned table", table.full_name());
            return Err(Error::invalid(text));
        }
        // Projected ones are in no list, as in Athena.
        let known = self.catalog.partitions(&table, &PartitionFilter::default()).await?;
        let lines = known.iter().map(|partition| shown(&table.partition_keys, &partition.values)).collect();
        Ok(Answer::new(&["partition"], lines))
    }
}

/// `a=1/b=2`, escaped as in folder names.
pub(super) fn shown(keys: &[Column], values: &[String]) -> String {
    let pairs = keys.iter().zip(values);
    pairs.map(|(key, value)| format!("{}={}", key.name, escape_value(value))).collect::<Vec<_>>().join("/")
}

fn default_location(table: &Table, values: &[String]) -> Result<Location> {
    let base = table.location().ok_or_else(|| Error::invalid(format!("table {} has no location", table.full_name())))?;
    let folder =
        |location: Location, (key, value): (&Column, &String)| location.join(&format!("{}={}", key.name, escape_value(value)));
    Ok(table.partition_keys.iter().zip(values).fold(Location::parse(base)?, folder))
}

/// The values of all partition keys in their order.
fn values(table: &Table, spec: &PartitionSpec) -> Result<Vec<String>> {
    for (key, value) in spec {
        check_value(table, key, value)?;
    }
    let value = |key: &Column| {
        let mut found = spec.iter().filter(|(name, _)| *name == key.name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value.clone()),
            _ => Err(Error::invalid(format!(
                "the partition needs one value for the key {} of table {}",
                key.name,
                table.full_name()
            ))),
        }
    };
    table.partition_keys.iter().map(value).collect()
}

fn check_value(table: &Table, key: &str, value: &str) -> Result<()> {
    let Some(column) = table.partition_keys.iter().find(|column| column.name == key) else {
        return Err(Error::invalid(format!("COLUMN_NOT_FOUND: '{key}' is no partition key of table {}", table.full_name())));
    };
    if value.is_empty() || value.chars().any(char::is_control) || value == "." || value == ".." {
        return Err(Error::invalid(format!("'{}' is no value of partition key {key}", value.escape_debug())));
    }
    if typed(&column.hive_type, value).is_none() {
        return Err(Error::invalid(format!(
            "HIVE_INVALID_PARTITION_VALUE: '{value}' is no {} for partition key {key}",
            column.hive_type
        )));
    }
    Ok(())
}

fn typed(hive_type: &str, value: &str) -> Option<ScalarValue> {
    let arrow = HiveType::parse(hive_type).ok()?.arrow();
    ScalarValue::try_from_string(value.to_string(), &arrow).ok()
}

fn meets(table: &Table, partition: &Partition, conditions: &PartitionConditions) -> bool {
    conditions.iter().all(|(key, comparison, wanted)| {
        let place = table.partition_keys.iter().position(|column| column.name == *key);
        let Some((column, value)) = place.and_then(|place| table.partition_keys.get(place).zip(partition.values.get(place)))
        else {
            return false;
        };
        // A value that is none of its type (the folder of NULLs) is only equal to itself.
        match (typed(&column.hive_type, value), typed(&column.hive_type, wanted)) {
            (Some(a), Some(b)) => a.partial_cmp(&b).is_some_and(|order| comparison.holds(order)),
            _ => value == wanted && comparison.holds(std::cmp::Ordering::Equal),
        }
    })
}
