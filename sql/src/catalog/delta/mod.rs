//! Tables of Delta Lake: which ones they are, and what of them is read from their log instead of the catalog.
//!
//! ```text
//! location ─► log (listing, version) ─► checkpoint + commits ─► state ─► columns
//!                                                                  └──► files ─► prune (values, statistics) ─► Parquet scan
//! ```
//!
//! **Invariant:** the log is read at planning only; what workers get is a scan of Parquet files.

#[cfg(feature = "delta")]
mod actions;
#[cfg(feature = "delta")]
mod columns;
#[cfg(feature = "delta")]
mod described;
#[cfg(feature = "delta")]
mod folder;
#[cfg(feature = "delta")]
mod kernel;
#[cfg(feature = "delta")]
mod log;
#[cfg(feature = "delta")]
mod statistics;
#[cfg(feature = "delta")]
mod table;
#[cfg(all(test, feature = "delta"))]
mod tests;
#[cfg(not(feature = "delta"))]
mod without;

#[cfg(feature = "delta")]
pub(crate) use described::described;
#[cfg(feature = "delta")]
pub(super) use table::open;
#[cfg(not(feature = "delta"))]
pub(crate) use without::described;
#[cfg(not(feature = "delta"))]
pub(super) use without::open;

use super::model::{Column, Parameters, Table};
use engine::Error;

/// Which state of a table a query reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// That of this version.
    Version(u64),
    /// The last one at this time, in milliseconds since 1970.
    Time(i64),
}

/// What a table's log says of it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Described {
    /// All columns, in their order.
    pub(crate) columns: Vec<Column>,
    /// Those of them that it is partitioned by.
    pub(crate) keys: Vec<Column>,
    /// The values of its partitions, in order.
    pub(crate) partitions: Vec<Vec<String>>,
}

/// Whether properties of a table say that it is one of Delta Lake, as Athena, Spark and Glue's crawlers mark them.
pub fn is_marked(properties: &Parameters) -> bool {
    let says = |(key, value): (&String, &String)| {
        ["table_type", "spark.sql.sources.provider"].iter().any(|known| key.eq_ignore_ascii_case(known))
            && value.trim().eq_ignore_ascii_case("delta")
    };
    properties.iter().any(says)
}

/// Whether `table` is one of Delta Lake.
pub fn is_delta(table: &Table) -> bool {
    !table.is_view() && is_marked(&table.parameters)
}

/// The error of a statement that changes a table of Delta Lake.
pub fn read_only(table: &Table, what: &str) -> Error {
    Error::invalid(format!(
        "NOT_SUPPORTED: {what}: {} is a table of Delta Lake, which is only read here, and DROP TABLE takes it out of the catalog",
        table.full_name()
    ))
}

/// The error of a query that asks for an earlier state of what has none.
pub fn no_earlier_state(name: &str) -> Error {
    Error::invalid(format!(
        "NOT_SUPPORTED: FOR VERSION AS OF and FOR TIMESTAMP AS OF are for tables of Delta Lake, and {name} is none"
    ))
}

/// The table's folder: engines that have it elsewhere than in its place leave a note in the serde.
#[cfg(feature = "delta")]
fn location(table: &Table) -> engine::Result<super::location::Location> {
    let of_serde = || table.storage_descriptor.as_ref()?.serde_info.as_ref()?.parameters.get("path").map(String::as_str);
    let own = table.location().filter(|location| !location.trim_end_matches('/').ends_with("-__PLACEHOLDER__"));
    let text = own.or_else(of_serde).ok_or_else(|| Error::invalid(format!("table {} has no location", table.full_name())))?;
    super::location::Location::parse(text)
}
