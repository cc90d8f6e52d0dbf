//! `ALTER TABLE`: columns, properties, locations, names.

use super::create::check_columns;
use super::{Answer, Run};
use crate::catalog::location::Location;
use crate::catalog::model::{Column, StorageDescriptor};
use crate::catalog::names::check_name;
use crate::catalog::{CatalogError, Table};
use crate::ddl::statement::{Alteration, TableName};
use engine::{Error, Result};

impl Run<'_> {
    pub(super) async fn alter(&self, name: &TableName, alteration: &Alteration) -> Result<Answer> {
        match alteration {
            Alteration::AddPartitions { if_not_exists, partitions } => {
                self.add_partitions(name, *if_not_exists, partitions).await
            }
            Alteration::DropPartitions { if_exists, conditions } => self.drop_partitions(name, *if_exists, conditions).await,
            Alteration::RenamePartition { from, to } => self.rename_partition(name, from, to).await,
            Alteration::SetLocation { partition, location } => {
                let location = Location::checked(location, self.context.locations)?.to_string();
                match partition {
                    Some(spec) => self.move_partition(name, spec, &location).await,
                    None => {
                        self.change(name, |table| {
                            storage(table).location = Some(location.clone());
                            Ok(())
                        })
                        .await
                    }
                }
            }
            Alteration::SetProperties(properties) => {
                self.change(name, |table| {
                    table.parameters.extend(properties.clone());
                    Ok(())
                })
                .await
            }
            Alteration::AddColumns(columns) => {
                self.change_columns(name, |known| {
                    known.extend(columns.iter().cloned());
                    Ok(())
                })
                .await
            }
            Alteration::ReplaceColumns(columns) => {
                self.change_columns(name, |known| {
                    known.clone_from(columns);
                    Ok(())
                })
                .await
            }
            Alteration::ChangeColumn { name: old, column, place } => {
                self.change_columns(name, |known| change_column(known, old, column, place.as_ref())).await
            }
            Alteration::Rename(new) => self.rename(name, new).await,
        }
    }

    async fn change_columns(&self, name: &TableName, change: impl Fn(&mut Vec<Column>) -> Result<()>) -> Result<Answer> {
        self.change(name, |table| {
            change(&mut storage(table).columns)?;
            check_columns(table.columns().iter().chain(&table.partition_keys))
        })
        .await
    }

    async fn rename(&self, name: &TableName, new: &TableName) -> Result<Answer> {
        check_name("table", &new.name)?;
        let table = self.table_only(name).await?;
        if new.database.as_ref().is_some_and(|database| *database != table.database_name) {
            return Err(Error::invalid("NOT_SUPPORTED: a table cannot be renamed into another database"));
        }
        self.catalog.rename_table(&table.database_name, &table.name, &new.name).await?;
        Ok(Answer::nothing())
    }
}

fn storage(table: &mut Table) -> &mut StorageDescriptor {
    table.storage_descriptor.get_or_insert_default()
}

fn change_column(columns: &mut Vec<Column>, old: &str, new: &Column, place: Option<&Option<String>>) -> Result<()> {
    let missing = |name: &str| Error::invalid(format!("COLUMN_NOT_FOUND: Invalid column reference {name}"));
    let at = columns.iter().position(|column| column.name == old).ok_or_else(|| missing(old))?;
    let known = columns.remove(at);
    let comment = new.comment.clone().or(known.comment);
    let to = match place {
        None => at,
        Some(None) => 0,
        Some(Some(after)) => columns.iter().position(|column| column.name == *after).ok_or_else(|| missing(after))? + 1,
    };
    columns.insert(to, Column { comment, ..new.clone() });
    Ok(())
}

/// The error of a partition that is not there.
pub(super) fn no_partition(table: &Table, shown: &str) -> Error {
    CatalogError::NoPartition(table.full_name(), shown.to_string()).into()
}
