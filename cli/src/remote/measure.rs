//! Queries that are run for their figures: the time until their rows are here, and the receipt with all attempts.

use super::RemoteSession;
use super::client::{Call, Client};
use super::query::RemoteQuery;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use arrow::array::RecordBatch;
use bytes::Bytes;
use coordinator::QueryControl;
use engine::Error;
use engine::clock::Stopwatch;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// What a query gave.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// From the submission to the last row.
    pub(crate) wall: Duration,
    /// The receipt of its record, which lists the attempts.
    pub(crate) receipt: Value,
    /// Its rows; none of a query whose only answer is awaited.
    pub(crate) batches: Vec<RecordBatch>,
}

impl RemoteSession {
    /// Runs `sql` as the other commands do, which looks at the query until it has ended.
    ///
    /// # Errors
    /// The query's error, or the server's.
    pub(crate) fn measure(&self, sql: &str) -> Result<Measured, Failure> {
        let client = Arc::clone(&self.client);
        self.run(sql.to_owned(), ProgressLine::new(self.reports.progress), |query, _| async move {
            let watch = Stopwatch::start();
            let batches = query.run().await?.rows.collect().await?;
            let wall = watch.elapsed();
            let receipt = whole_receipt(&client, query.id().as_deref().unwrap_or_default()).await?;
            Ok(Measured { wall, receipt, batches })
        })
    }

    /// Runs `sql` with one request that waits for the rows: the quickest way for a short query.
    ///
    /// # Errors
    /// As [`Self::measure`]; for rows that do not fit the first answer.
    pub(crate) fn measure_at_once(&self, sql: &str) -> Result<Measured, Failure> {
        let body = Bytes::from(json!({ "sql": sql, "format": "arrow" }).to_string());
        let client = Arc::clone(&self.client);
        self.wait(&QueryControl::new(), &ProgressLine::new(self.reports.progress), async move {
            let call = Call::new(Method::POST, "/v1/query").with_body(body);
            let watch = Stopwatch::start();
            let answer = client.call(&call).await?;
            let wall = watch.elapsed();
            if !answer.status.is_success() {
                return Err(client.failure(&answer));
            }
            if !answer.is_arrow() {
                return Err(Error::invalid("the rows of a query that is measured at once must fit its answer").into());
            }
            let receipt = whole_receipt(&client, answer.header(RemoteQuery::ID_HEADER)).await?;
            Ok(Measured { wall, receipt, batches: Vec::new() })
        })
    }
}

async fn whole_receipt(client: &Client, id: &str) -> Result<Value, Failure> {
    Ok(client.record(id).await?.receipt)
}
