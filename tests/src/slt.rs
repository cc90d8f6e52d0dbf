//! Runs sqllogictest files on Owlet and on plain DataFusion.

use crate::cluster::{Cluster, oracle};
use crate::compare::rows;
use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use std::path::PathBuf;
use std::sync::Arc;

/// An engine that a file runs on.
#[derive(Clone)]
pub enum Engine {
    /// Plain DataFusion over the tables below a folder.
    Oracle(PathBuf),
    /// Workers.
    Owlet(Arc<Cluster>),
}

#[async_trait]
impl AsyncDB for Engine {
    type Error = engine::Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Self::ColumnType>, Self::Error> {
        let batches = match self {
            Engine::Oracle(data) => oracle(data, &[], sql).await?,
            Engine::Owlet(cluster) => cluster.query(sql).await?.batches,
        };
        Ok(DBOutput::Rows { types: types(&batches), rows: printable(&batches) })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        match self {
            Engine::Oracle(_) => "datafusion",
            Engine::Owlet(_) => "owlet",
        }
    }
}

fn types(batches: &[RecordBatch]) -> Vec<DefaultColumnType> {
    let Some(batch) = batches.first() else { return Vec::new() };
    let of = |kind: &DataType| match kind {
        kind if kind.is_integer() => DefaultColumnType::Integer,
        kind if kind.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    };
    batch.schema().fields().iter().map(|field| of(field.data_type())).collect()
}

/// Values as one word each: empty strings and spaces must be visible.
fn printable(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let word = |value: String| if value.is_empty() { "(empty)".to_string() } else { value.replace(' ', "_") };
    rows(batches).into_iter().map(|row| row.into_iter().map(word).collect()).collect()
}
