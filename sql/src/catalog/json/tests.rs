//! The JSON catalog against the conformance suite, and against many writers at once.

use super::*;
use crate::catalog::conformance;
use crate::catalog::model::{Column, EXTERNAL_TABLE, StorageDescriptor};
use engine::clock::Stopwatch;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

fn memory() -> JsonCatalog {
    JsonCatalog::new(Arc::new(InMemory::new()), Path::from("catalog"), StoreSharing::Shared)
}

async fn partitioned(catalog: &JsonCatalog) -> Result<Table> {
    catalog.create_database(&Database { name: "d".into(), ..Database::default() }).await?;
    let storage = StorageDescriptor {
        columns: vec![Column::new("a", "int")],
        location: Some("s3://b/t/".into()),
        ..StorageDescriptor::default()
    };
    let table = Table {
        database_name: "d".into(),
        name: "t".into(),
        table_type: Some(EXTERNAL_TABLE.into()),
        partition_keys: vec![Column::new("p", "int")],
        storage_descriptor: Some(storage),
        ..Table::default()
    };
    catalog.create_table(&table).await?;
    super::super::require_table(catalog, "d", "t").await
}

fn partition(table: &Table, number: usize) -> Partition {
    Partition::of(table, vec![number.to_string()], &format!("s3://b/t/p={number}/"))
}

#[tokio::test]
async fn it_conforms_in_memory_and_in_a_folder() -> TestResult {
    conformance::check(&memory()).await?;
    let folder = tempfile::tempdir()?;
    let store = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
    conformance::check(&JsonCatalog::new(store, Path::default(), StoreSharing::OwnFolder)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_lose_nothing() -> TestResult {
    let folder = tempfile::tempdir()?;
    let local = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
    for catalog in [memory(), JsonCatalog::new(local, Path::default(), StoreSharing::OwnFolder)] {
        let table = partitioned(&catalog).await?;
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..24 {
            let (catalog, table) = (catalog.clone(), table.clone());
            writers.spawn(async move {
                for step in 0..5 {
                    catalog.add_partitions(&table, &[partition(&table, writer * 5 + step)]).await?;
                }
                catalog.create_table(&Table { name: format!("t{writer}"), ..table }).await
            });
        }
        while let Some(done) = writers.join_next().await {
            done??;
        }
        assert_eq!(catalog.partitions(&table, &PartitionFilter::default()).await?.len(), 120);
        assert_eq!(catalog.tables("d").await?.len(), 25);
    }
    Ok(())
}

#[tokio::test]
async fn only_one_of_two_updates_of_the_same_version_succeeds() -> TestResult {
    let catalog = memory();
    let table = partitioned(&catalog).await?;
    let (a, b) = tokio::join!(catalog.update_table(&table), catalog.update_table(&table));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    Ok(())
}

#[tokio::test]
async fn ten_thousand_partitions_are_added_and_listed_in_a_moment() -> TestResult {
    let catalog = memory();
    let table = partitioned(&catalog).await?;
    let watch = Stopwatch::start();
    let many: Vec<Partition> = (0..10_000).map(|number| partition(&table, number)).collect();
    catalog.add_partitions(&table, &many).await?;
    assert_eq!(catalog.partitions(&table, &PartitionFilter::default()).await?.len(), 10_000);
    assert_eq!(catalog.partitions_by_values(&table, &[vec!["77".into()]]).await?.len(), 1);
    assert!(watch.elapsed().as_secs() < 10, "{:?}", watch.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_table_that_is_made_again_has_no_partitions_and_a_renamed_one_keeps_them() -> TestResult {
    let catalog = memory();
    let table = partitioned(&catalog).await?;
    catalog.add_partitions(&table, &[partition(&table, 1)]).await?;
    catalog.rename_table("d", "t", "u").await?;
    let renamed = super::super::require_table(&catalog, "d", "u").await?;
    assert_eq!(catalog.partitions(&renamed, &PartitionFilter::default()).await?.len(), 1);
    catalog.drop_table("d", "u").await?;
    // A writer that still has the old table adds to nothing.
    catalog.add_partitions(&table, &[partition(&table, 2)]).await?;
    catalog.create_table(&table).await?;
    let again = super::super::require_table(&catalog, "d", "t").await?;
    assert!(catalog.partitions(&again, &PartitionFilter::default()).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn names_do_not_lead_out_of_the_catalog() {
    let catalog = memory();
    for name in ["..", "a/b", "a\0", "a\nb", "\u{2024}\u{2024}"] {
        assert!(catalog.database(name).await.is_err() && catalog.table("d", name).await.is_err(), "{name:?}");
    }
}
