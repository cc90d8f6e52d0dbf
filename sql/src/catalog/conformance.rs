//! What every catalog must do, as one function that tests run over each of them.

use super::model::{Column, Database, EXTERNAL_TABLE, Partition, SerdeInfo, StorageDescriptor, Table};
use super::partition_filter::{Comparison, Condition, PartitionFilter};
use super::{Catalog, CatalogError, require_table};
use engine::{Error, Result};

const DATABASE: &str = "conformance";

fn expect(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::internal(format!("the catalog does not conform: {what}"))) }
}

/// Runs the suite over `catalog`, which must not have a database `conformance`; leaves nothing behind.
///
/// # Errors
/// With the first thing that is not as it must be.
pub async fn check(catalog: &dyn Catalog) -> Result<()> {
    databases(catalog).await?;
    tables(catalog).await?;
    partitions(catalog).await?;
    catalog.drop_database(DATABASE, true).await?;
    expect(catalog.database(DATABASE).await?.is_none(), "a dropped database is gone")?;
    Ok(())
}

async fn databases(catalog: &dyn Catalog) -> Result<()> {
    expect(catalog.database(DATABASE).await?.is_none(), "an unknown database is none")?;
    let missing = catalog.drop_database(DATABASE, true).await;
    expect(matches!(missing, Err(CatalogError::NoDatabase(_))), "an unknown database cannot be dropped")?;
    let database = Database {
        name: DATABASE.into(),
        description: Some("a comment".into()),
        location_uri: Some("s3://bucket/conformance/".into()),
        parameters: [("k".to_string(), "v".to_string())].into(),
    };
    catalog.create_database(&database).await?;
    expect(catalog.database(DATABASE).await?.as_ref() == Some(&database), "a database is read as it was written")?;
    let again = catalog.create_database(&database).await;
    expect(matches!(again, Err(CatalogError::Exists(_))), "a database is not made twice")?;
    let properties = [("k".to_string(), "w".to_string()), ("l".to_string(), "x".to_string())].into();
    catalog.set_database_properties(DATABASE, &properties).await?;
    let changed = Database { parameters: properties.clone(), ..database };
    expect(catalog.database(DATABASE).await? == Some(changed), "new properties, and everything else as it was")?;
    let missing = catalog.set_database_properties("conformance_none", &properties).await;
    expect(matches!(missing, Err(CatalogError::NoDatabase(_))), "an unknown database has no properties")?;
    expect(catalog.databases().await?.iter().any(|known| known.name == DATABASE), "databases are listed")
}

fn table(name: &str) -> Table {
    let serde = SerdeInfo {
        serialization_library: Some("org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe".into()),
        parameters: [("serialization.format".to_string(), "1".to_string())].into(),
        ..SerdeInfo::default()
    };
    let storage = StorageDescriptor {
        columns: vec![Column::new("a", "int"), Column { comment: Some("ü".into()), ..Column::new("b", "array<struct<x:int>>") }],
        location: Some("s3://bucket/conformance/t/".into()),
        input_format: Some("org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat".into()),
        output_format: Some("org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat".into()),
        serde_info: Some(serde),
        ..StorageDescriptor::default()
    };
    Table {
        database_name: DATABASE.into(),
        name: name.into(),
        table_type: Some(EXTERNAL_TABLE.into()),
        partition_keys: vec![Column::new("year", "int"), Column::new("kind", "string")],
        storage_descriptor: Some(storage),
        parameters: [("EXTERNAL".to_string(), "TRUE".to_string())].into(),
        ..Table::default()
    }
}

async fn tables(catalog: &dyn Catalog) -> Result<()> {
    let missing = catalog.drop_table(DATABASE, "t").await;
    expect(matches!(missing, Err(CatalogError::NoTable(..))), "an unknown table cannot be dropped")?;
    let stray = catalog.create_table(&Table { database_name: "conformance_none".into(), ..table("t") }).await;
    expect(matches!(stray, Err(CatalogError::NoDatabase(_))), "a table needs its database")?;
    catalog.create_table(&table("t")).await?;
    let again = catalog.create_table(&table("t")).await;
    expect(matches!(again, Err(CatalogError::Exists(_))), "a table is not made twice")?;

    let read = require_table(catalog, DATABASE, "t").await?;
    let written = table("t");
    expect(read.columns() == written.columns() && read.location() == written.location(), "columns and location are kept")?;
    expect(read.partition_keys == written.partition_keys, "partition keys are kept")?;
    expect(read.parameters.get("EXTERNAL").map(String::as_str) == Some("TRUE"), "parameters are kept")?;

    let mut changed = read.clone();
    changed.parameters.insert("k".into(), "v".into());
    catalog.update_table(&changed).await?;
    let stale = catalog.update_table(&changed).await;
    expect(matches!(stale, Err(CatalogError::Changed(_))), "an update of an older version is refused")?;
    let now = require_table(catalog, DATABASE, "t").await?;
    expect(now.parameters.get("k").map(String::as_str) == Some("v"), "an update is kept")?;

    catalog.create_table(&table("s")).await?;
    let names: Vec<String> = catalog.tables(DATABASE).await?.into_iter().map(|table| table.name).collect();
    expect(names == ["s", "t"], "tables are listed in order")?;
    let taken = catalog.rename_table(DATABASE, "s", "t").await;
    expect(matches!(taken, Err(CatalogError::Exists(_))), "a name is not taken from another table")?;
    let full = catalog.drop_database(DATABASE, false).await;
    expect(matches!(full, Err(CatalogError::NotEmpty(_))), "a database with tables is not dropped by accident")?;
    catalog.drop_table(DATABASE, "s").await?;
    expect(catalog.table(DATABASE, "s").await?.is_none(), "a dropped table is gone")
}

fn values(year: usize, kind: &str) -> Vec<String> {
    vec![year.to_string(), kind.to_string()]
}

async fn partitions(catalog: &dyn Catalog) -> Result<()> {
    let table = require_table(catalog, DATABASE, "t").await?;
    let new =
        |year: usize, kind: &str| Partition::of(&table, values(year, kind), &format!("s3://bucket/conformance/t/{year}{kind}/"));
    // More than Glue takes or gives in one call.
    let many: Vec<Partition> = (0..230).map(|year| new(year, "a")).collect();
    expect(catalog.add_partitions(&table, &many).await?.is_empty(), "new partitions are added")?;
    let there = catalog.add_partitions(&table, &[new(1, "a"), new(1, "b c")]).await?;
    expect(there == [values(1, "a")], "partitions that are there are told, and the others added")?;

    let all = catalog.partitions(&table, &PartitionFilter::default()).await?;
    expect(all.len() == 231, "all partitions are listed")?;
    expect(all.windows(2).all(|pair| pair[0].values <= pair[1].values), "partitions are in order")?;
    let condition =
        Condition { column: "year".into(), comparison: Comparison::GreaterOrEqual, values: vec!["229".into()], numeric: true };
    let few = catalog.partitions(&table, &PartitionFilter { all: vec![condition] }).await?;
    expect(few.iter().any(|partition| partition.values == values(229, "a")), "a filter leaves what it asks for")?;
    expect(few.len() < 231, "a filter leaves less than everything")?;

    let named = catalog.partitions_by_values(&table, &[values(1, "b c"), values(999, "z")]).await?;
    let locations: Vec<Option<&str>> = named.iter().map(Partition::location).collect();
    expect(locations == [Some("s3://bucket/conformance/t/1b c/")], "a partition is found by its values")?;

    let moved = Partition { parameters: [("k".to_string(), "v".to_string())].into(), ..new(5, "z") };
    catalog.update_partition(&table, &values(5, "a"), &moved).await?;
    let found = catalog.partitions_by_values(&table, &[values(5, "a"), values(5, "z")]).await?;
    expect(found.len() == 1 && found[0].values == values(5, "z"), "a partition is renamed")?;
    let gone = catalog.update_partition(&table, &values(5, "a"), &moved).await;
    expect(matches!(gone, Err(CatalogError::NoPartition(..))), "an unknown partition is not renamed")?;

    let missing = catalog.drop_partitions(&table, &[values(5, "z"), values(999, "z")]).await?;
    expect(missing == [values(999, "z")], "partitions are dropped, and those that were not there told")?;
    expect(catalog.partitions(&table, &PartitionFilter::default()).await?.len() == 230, "dropped partitions are gone")
}
