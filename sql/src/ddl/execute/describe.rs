//! `DESCRIBE`, in Hive's columns of 20 characters.

use super::{Answer, Run};
use crate::catalog::delta::is_delta;
use crate::catalog::model::{Column, Partition, StorageDescriptor, Table};
use crate::ddl::statement::{PartitionSpec, TableName};
use engine::{Error, Result};

const COLUMNS: &[&str] = &["col_name", "data_type", "comment"];
/// An empty row.
const BLANK: &str = "\t \t ";

impl Run<'_> {
    pub(super) async fn describe(
        &self,
        name: &TableName,
        extended: bool,
        partition: Option<&PartitionSpec>,
        column: Option<&str>,
    ) -> Result<Answer> {
        let table = self.existing(name).await?;
        let partition = match partition {
            Some(_) if is_delta(&table) => {
                return Err(Error::invalid("NOT_SUPPORTED: DESCRIBE .. PARTITION of a table of Delta Lake"));
            }
            Some(spec) => Some(self.partition(&table, spec).await?),
            None => None,
        };
        let (columns, keys) = self.columns(&table).await?;
        if let Some(wanted) = column {
            let found = columns.iter().find(|column| column.name == wanted).ok_or_else(|| {
                Error::invalid(format!("COLUMN_NOT_FOUND: Column '{wanted}' does not exist in table {}", table.full_name()))
            })?;
            return Ok(Answer::new(COLUMNS, vec![line(found)]));
        }
        let mut lines: Vec<String> = columns.iter().map(line).collect();
        if !keys.is_empty() {
            let header = format!("# {:<20}\t{:<20}\t{:<20}", "col_name", "data_type", "comment");
            lines.extend([BLANK.to_string(), format!("# Partition Information{BLANK}"), header, BLANK.to_string()]);
            lines.extend(keys.iter().map(line));
        }
        if extended {
            details(&mut lines, &table, partition.as_ref());
        }
        Ok(Answer::new(COLUMNS, lines))
    }
}

fn line(column: &Column) -> String {
    format!("{:<20}\t{:<20}\t{:<20}", column.name, column.hive_type, column.comment.as_deref().unwrap_or_default())
}

fn details(lines: &mut Vec<String>, table: &Table, partition: Option<&Partition>) {
    let mut add = |name: &str, value: &str| lines.push(format!("{name:<20}\t{value:<20}\t "));
    let empty = StorageDescriptor::default();
    let own = table.storage_descriptor.as_ref().unwrap_or(&empty);
    let storage = partition.and_then(|partition| partition.storage_descriptor.as_ref()).unwrap_or(own);
    add("", " ");
    match partition {
        Some(partition) => {
            add("# Detailed Partition Information", " ");
            add("Partition Value:", &format!("[{}]", partition.values.join(", ")));
        }
        None => add("# Detailed Table Information", " "),
    }
    add("Database:", &table.database_name);
    add("Table:", &table.name);
    add("Owner:", table.owner.as_deref().unwrap_or_default());
    add("Location:", storage.location.as_deref().unwrap_or_default());
    add("Table Type:", table.table_type.as_deref().unwrap_or_default());
    add("Table Parameters:", " ");
    for (key, value) in &table.parameters {
        add("", &format!("{key:<20}\t{value}"));
    }
    add("", " ");
    add("# Storage Information", " ");
    let serde = storage.serde_info.as_ref().or(own.serde_info.as_ref());
    add("SerDe Library:", serde.and_then(|serde| serde.serialization_library.as_deref()).unwrap_or_default());
    let format = |wanted: fn(&StorageDescriptor) -> Option<&String>| wanted(storage).or(wanted(own)).cloned().unwrap_or_default();
    add("InputFormat:", &format(|storage| storage.input_format.as_ref()));
    add("OutputFormat:", &format(|storage| storage.output_format.as_ref()));
    add("Num Buckets:", &own.number_of_buckets.unwrap_or(-1).to_string());
    add("Bucket Columns:", &format!("[{}]", own.bucket_columns.join(", ")));
    add("Storage Desc Params:", " ");
    for (key, value) in serde.map(|serde| &serde.parameters).into_iter().flatten() {
        add("", &format!("{key:<20}\t{}", value.escape_debug()));
    }
}
