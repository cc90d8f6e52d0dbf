//! What statements say of tables of Delta Lake, whose columns and partitions are in their log.

use super::create::{check_columns, location_of, table};
use super::partitions::shown;
use super::{Answer, Run};
use crate::catalog::delta::{Described, described, is_delta};
use crate::catalog::location::Location;
use crate::catalog::model::{Column, SerdeInfo, StorageDescriptor, Table};
use crate::ddl::statement::{NewTable, TableName};
use engine::{Error, Result};

impl Run<'_> {
    /// What the log of `table` says.
    pub(super) async fn described(&self, table: &Table) -> Result<Described> {
        let open = |location: &Location| {
            let location = Location::checked(&location.to_string(), self.context.locations)?;
            self.context.stores.open(&location.store)
        };
        described(open, table).await
    }

    /// All columns of `table` in their order, and those that it is partitioned by.
    pub(super) async fn columns(&self, table: &Table) -> Result<(Vec<Column>, Vec<Column>)> {
        if is_delta(table) {
            let described = self.described(table).await?;
            return Ok((described.columns, described.keys));
        }
        let keys = table.partition_keys.clone();
        Ok((table.columns().iter().chain(&keys).cloned().collect(), keys))
    }

    /// The partitions that files of `table` are in.
    pub(super) async fn show_delta_partitions(&self, table: &Table) -> Result<Answer> {
        let described = self.described(table).await?;
        if described.keys.is_empty() {
            let text = format!("FAILED: SemanticException Table {} is not a partitioned table", table.full_name());
            return Err(Error::invalid(text));
        }
        let lines = described.partitions.iter().map(|values| shown(&described.keys, values)).collect();
        Ok(Answer::new(&["partition"], lines))
    }

    /// The entry of a table of Delta Lake, whose log must be there. The catalog has no columns of it: they would not change with the log.
    pub(super) async fn delta_table(&self, name: &TableName, new: &NewTable) -> Result<Table> {
        let is_plain = *new
            == NewTable {
                comment: new.comment.clone(),
                location: new.location.clone(),
                properties: new.properties.clone(),
                ..NewTable::default()
            };
        if !is_plain {
            return Err(Error::invalid(
                "NOT_SUPPORTED: a table of Delta Lake has what its log says: leave out columns, PARTITIONED BY, CLUSTERED BY, ROW FORMAT and STORED AS",
            ));
        }
        let location = location_of(new, self.context.locations)?;
        let entry = table(self.database(name), name, new, location.to_string());
        let storage = StorageDescriptor {
            location: Some(location.to_string()),
            serde_info: Some(SerdeInfo::default()),
            ..StorageDescriptor::default()
        };
        let entry = Table { storage_descriptor: Some(storage), ..entry };
        check_columns(self.described(&entry).await?.columns.iter())?;
        Ok(entry)
    }
}
