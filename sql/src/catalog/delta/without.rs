//! Tables of Delta Lake in a program that was built without them: refused.

use super::{AsOf, Described};
use crate::catalog::location::Location;
use crate::catalog::model::Table;
use datafusion::catalog::{Session, TableProvider};
use engine::{Error, Result};
use object_store::ObjectStore;
use std::sync::Arc;

fn refused(table: &Table) -> Error {
    Error::invalid(format!(
        "NOT_SUPPORTED: {} is a table of Delta Lake: this program was built without the cargo feature `delta`, which reads them",
        table.full_name()
    ))
}

pub(in crate::catalog) async fn open(_: &dyn Session, table: &Table, _: Option<AsOf>) -> Result<Arc<dyn TableProvider>> {
    Err(refused(table))
}

pub(crate) async fn described(_: impl FnOnce(&Location) -> Result<Arc<dyn ObjectStore>>, table: &Table) -> Result<Described> {
    Err(refused(table))
}
