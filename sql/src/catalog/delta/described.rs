//! What statements about a table show of it: its columns and partitions, as its log has them.

use super::Described;
use super::columns::columns;
use super::log::snapshot;
use super::table::key_text;
use crate::catalog::location::Location;
use crate::catalog::model::Table;
use engine::write::HIVE_NULL;
use engine::{Error, Result};
use object_store::ObjectStore;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Reads the newest version of the log of `table`, in the store that `open` gives for the table's location.
///
/// # Errors
/// When there is no log, or it cannot be read here.
pub(crate) async fn described(open: impl FnOnce(&Location) -> Result<Arc<dyn ObjectStore>>, table: &Table) -> Result<Described> {
    let location = super::location(table)?;
    let read = async {
        let snapshot = snapshot(open(&location)?, &location, None).await?;
        let columns = columns(&snapshot.metadata)?;
        let keys: Vec<_> = columns.keys.iter().filter_map(|key| columns.all.get(*key)).collect();
        let mut partitions = BTreeSet::new();
        for file in snapshot.files.iter().filter(|_| !keys.is_empty()) {
            let values = keys.iter().map(|key| Ok(key_text(file, key)?.unwrap_or(HIVE_NULL).to_string()));
            partitions.insert(values.collect::<Result<Vec<_>>>()?);
        }
        Ok(Described {
            columns: columns.all.iter().map(|column| column.column()).collect(),
            keys: keys.into_iter().map(|key| key.column()).collect(),
            partitions: partitions.into_iter().collect(),
        })
    };
    read.await.map_err(|error: Error| error.context(format!("table {}", table.full_name())))
}
