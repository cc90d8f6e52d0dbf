//! Partitions in Glue, in batches of the sizes that its calls take.

use super::{GlueCatalog, input_of, no_table, parse};
use crate::catalog::model::{Partition, Table};
use crate::catalog::partition_filter::PartitionFilter;
use crate::catalog::{CatalogError, Result};
use engine::{Error, ErrorKind};
use futures::TryStreamExt;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Partitions in one `BatchCreatePartition`.
const MAX_CREATED: usize = 100;
/// Partitions in one `BatchDeletePartition`.
const MAX_DELETED: usize = 25;
/// Partitions in one `BatchGetPartition`.
const MAX_READ: usize = 1_000;
/// Scans of a listing that Glue runs beside each other; at most 10.
const SEGMENTS: usize = 5;

type Values = Vec<String>;

impl GlueCatalog {
    pub(super) async fn get_partitions(&self, table: &Table, filter: &PartitionFilter) -> Result<Vec<Partition>> {
        let expression = filter.expression();
        // A filter leaves few; without one a listing of many is shared out.
        let segments = if expression.is_some() { 1 } else { SEGMENTS };
        let scans = (0..segments).map(|segment| {
            let mut fields = json!({ "DatabaseName": table.database_name, "TableName": table.name, "ExcludeColumnSchema": true });
            if let Some(expression) = &expression {
                fields["Expression"] = expression.as_str().into();
            } else {
                fields["Segment"] = json!({ "SegmentNumber": segment, "TotalSegments": segments });
            }
            async move { self.pages::<Partition>("GetPartitions", fields, "Partitions").await }
        });
        let scans = futures::stream::FuturesUnordered::from_iter(scans);
        let pages: Vec<Option<Vec<Partition>>> = TryStreamExt::try_collect(scans).await?;
        let pages: Option<Vec<Vec<Partition>>> = pages.into_iter().collect();
        let mut found: Vec<Partition> = pages.ok_or_else(|| no_table(table))?.into_iter().flatten().collect();
        found.sort_by(|a, b| a.values.cmp(&b.values));
        // Emulators give all partitions for each segment.
        found.dedup_by(|a, b| a.values == b.values);
        Ok(found)
    }

    pub(super) async fn batch_get(&self, table: &Table, values: &[Values]) -> Result<Vec<Partition>> {
        let mut found = Vec::new();
        for batch in values.chunks(MAX_READ) {
            let wanted: Vec<Value> = batch.iter().map(|values| json!({ "Values": values })).collect();
            let mut left = Value::Array(wanted);
            // Glue may leave some for another call; each gives at least one.
            for _ in 0..=batch.len() {
                let fields = json!({ "DatabaseName": table.database_name, "TableName": table.name, "PartitionsToGet": left });
                let Some(mut answer) = self.get("BatchGetPartition", fields).await? else { return Err(no_table(table)) };
                let partitions = answer.get_mut("Partitions").map(Value::take).unwrap_or_default();
                found.extend(parse::<Option<Vec<Partition>>>("BatchGetPartition", partitions)?.unwrap_or_default());
                left = answer.get_mut("UnprocessedKeys").map(Value::take).unwrap_or_default();
                if left.as_array().is_none_or(Vec::is_empty) {
                    break;
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn batch_create(&self, table: &Table, partitions: &[Partition]) -> Result<Vec<Values>> {
        let mut there = Vec::new();
        for batch in partitions.chunks(MAX_CREATED) {
            let inputs = batch.iter().map(partition_input).collect::<Result<Vec<_>>>()?;
            let fields = json!({ "DatabaseName": table.database_name, "TableName": table.name, "PartitionInputList": inputs });
            let answer = self.change("BatchCreatePartition", fields, no_table(table), "partition").await?;
            there.extend(failed(&answer, "AlreadyExistsException")?);
        }
        Ok(there)
    }

    pub(super) async fn batch_delete(&self, table: &Table, values: &[Values]) -> Result<Vec<Values>> {
        let mut missing = Vec::new();
        for batch in values.chunks(MAX_DELETED) {
            let wanted: Vec<Value> = batch.iter().map(|values| json!({ "Values": values })).collect();
            let fields = json!({ "DatabaseName": table.database_name, "TableName": table.name, "PartitionsToDelete": wanted });
            let answer = self.change("BatchDeletePartition", fields, no_table(table), "partition").await?;
            missing.extend(failed(&answer, "EntityNotFoundException")?);
        }
        Ok(missing)
    }

    pub(super) async fn replace_partition(&self, table: &Table, values: &[String], partition: &Partition) -> Result<()> {
        let missing = CatalogError::NoPartition(table.full_name(), values.join("/"));
        let fields = json!({
            "DatabaseName": table.database_name,
            "TableName": table.name,
            "PartitionValueList": values,
            "PartitionInput": partition_input(partition)?,
        });
        let what = format!("Partition {}", partition.values.join("/"));
        self.change("UpdatePartition", fields, missing, &what).await.map(drop)
    }
}

fn partition_input(partition: &Partition) -> Result<Value> {
    Ok(Value::Object(input_of(partition, &["Values", "StorageDescriptor", "Parameters"])?))
}

/// The values of the entries that failed with `expected`.
///
/// # Errors
/// When one failed with something else.
fn failed(answer: &Value, expected: &str) -> Result<Vec<Values>> {
    let errors = answer.get("Errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut seen = HashSet::new();
    for error in errors {
        let values: Values = parse("batch", error.get("PartitionValues").cloned().unwrap_or_default())?;
        let code = error.pointer("/ErrorDetail/ErrorCode").and_then(Value::as_str).unwrap_or_default();
        if code != expected {
            let text = error.pointer("/ErrorDetail/ErrorMessage").and_then(Value::as_str).unwrap_or_default();
            let text = format!("Glue: partition {}: {code}: {text}", values.join("/"));
            return Err(Error::new(ErrorKind::Unavailable, text).into());
        }
        seen.insert(values);
    }
    let mut values: Vec<Values> = seen.into_iter().collect();
    values.sort();
    Ok(values)
}
