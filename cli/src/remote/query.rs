//! One query on a server: submitted once however often it is sent, followed to its end, stopped when the caller wants that.

use crate::failure::Failure;
use crate::remote::client::{Answer, Call, Client};
use crate::remote::rows::RemoteRows;
use crate::remote::wire::{Limits, QueryBody, Record, State, Submission};
use bytes::Bytes;
use coordinator::QueryControl;
use engine::clock::{Stopwatch, random_uuid, sleep};
use engine::{Error, ErrorKind};
use http::{Method, StatusCode};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Time that the server may hold the first answer for the rows: short queries need no second request.
const HELD_TIME: Duration = Duration::from_secs(1);
/// Pause before the first look at a query; each further one is half as long again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between looks.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Time over its limit after which a query counts as one that the server does not stop itself.
const LIMIT_SLACK: Duration = Duration::from_secs(15);
/// Header with the receipt of rows in the first answer.
const RECEIPT_HEADER: &str = "x-owlet-receipt";

/// One query, from its submission to its rows.
#[derive(Clone, Debug)]
pub(crate) struct RemoteQuery {
    client: Arc<Client>,
    sql: String,
    database: Option<String>,
    timeout: Option<Duration>,
    /// The same in every submission, so that they are one query.
    token: String,
    control: QueryControl,
    id: Arc<OnceLock<String>>,
}

/// Rows of a query that has ended well.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) rows: RemoteRows,
    pub(crate) receipt: Value,
}

enum Submitted {
    Rows(Finished),
    Record(Record),
}

impl RemoteQuery {
    /// Header with the id of the query whose rows an answer has.
    pub(crate) const ID_HEADER: &str = "x-owlet-query-id";

    /// A query that has not been submitted; `control` stops it and hears of its progress.
    pub(crate) fn new(client: Arc<Client>, sql: String, timeout: Option<Duration>, control: QueryControl) -> Self {
        Self { client, sql, database: None, timeout, token: random_uuid().to_string(), control, id: Arc::default() }
    }

    /// The same with names that say no database in `database`.
    pub(crate) fn in_database(self, database: Option<String>) -> Self {
        Self { database, ..self }
    }

    /// Its id, as soon as the server has told it.
    pub(crate) fn id(&self) -> Option<String> {
        self.id.get().cloned()
    }

    /// Runs it. When the control is cancelled, cancels it and waits until it has ended.
    ///
    /// # Errors
    /// The query's error; [`Failure::Interrupted`] after a cancellation.
    pub(crate) async fn run(&self) -> Result<Finished, Failure> {
        let watch = Stopwatch::start();
        let limit = self.timeout.map_or(Duration::MAX, |timeout| timeout.saturating_add(LIMIT_SLACK));
        let too_long = async {
            while watch.elapsed() < limit {
                sleep(MAX_PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            () = self.control.cancel.cancelled() => {
                self.stop().await?;
                Err(Failure::Interrupted)
            }
            finished = self.to_end() => finished,
            () = too_long => {
                self.stop().await?;
                let seconds = self.timeout.unwrap_or_default().as_secs_f64();
                let message = format!("the query ran longer than its limit of {seconds} s (--timeout) and was cancelled");
                Err(Error::new(ErrorKind::LimitExceeded, message).into())
            }
        }
    }

    async fn to_end(&self) -> Result<Finished, Failure> {
        let record = match self.submit(HELD_TIME).await? {
            Submitted::Rows(finished) => return Ok(finished),
            Submitted::Record(record) => record,
        };
        let record = follow(&self.client, record, &self.control).await?;
        finished(&self.client, record).await
    }

    async fn submit(&self, wait: Duration) -> Result<Submitted, Failure> {
        let limit = |timeout: Duration| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let submission = Submission {
            sql: self.sql.clone(),
            database: self.database.clone(),
            format: "arrow",
            is_async: true,
            wait_ms: limit(wait),
            client_token: self.token.clone(),
            limits: Limits { timeout_ms: self.timeout.map(limit) },
        };
        let body = serde_json::to_vec(&submission).map_err(|e| Error::internal(format!("a request cannot be written: {e}")))?;
        // The answer is JSON or rows; `format` says which rows.
        let call = Call::new(Method::POST, "/v1/query").with_body(Bytes::from(body)).with_wait(wait);
        let answer = self.client.call(&call).await?;
        match answer.status {
            StatusCode::OK if answer.is_arrow() => {
                self.learn_id(answer.header(Self::ID_HEADER));
                let receipt = self.receipt(&answer).await;
                Ok(Submitted::Rows(Finished { rows: RemoteRows::inline(&self.client, &answer)?, receipt }))
            }
            StatusCode::OK | StatusCode::ACCEPTED | StatusCode::SEE_OTHER => {
                let QueryBody { query } = self.client.read(&answer)?;
                self.learn_id(&query.query_id);
                Ok(Submitted::Record(query))
            }
            _ => Err(self.client.failure(&answer)),
        }
    }

    /// The receipt of rows in the first answer; one that is too long for a header is in the record.
    async fn receipt(&self, answer: &Answer) -> Value {
        match answer.header(RECEIPT_HEADER) {
            "" => self.client.record(answer.header(Self::ID_HEADER)).await.map(|record| record.receipt).unwrap_or_default(),
            text => serde_json::from_str(text).unwrap_or_default(),
        }
    }

    fn learn_id(&self, id: &str) {
        // Later answers tell the same.
        drop(self.id.set(id.to_owned()));
    }

    /// Cancels the query and waits until it has ended.
    async fn stop(&self) -> Result<(), Failure> {
        let id = match self.id() {
            Some(id) => id,
            // The submission was given up before its answer: sent again, it tells the id.
            None => match self.submit(Duration::ZERO).await? {
                Submitted::Rows(_) => return Ok(()),
                Submitted::Record(record) => record.query_id,
            },
        };
        let record = self.client.cancel(&id).await?;
        follow(&self.client, record, &QueryControl::new()).await.map(drop)
    }
}

/// Looks at a query until it has ended.
///
/// # Errors
/// When the server cannot be asked; a query that failed is no error here.
pub(crate) async fn follow(client: &Client, mut record: Record, control: &QueryControl) -> Result<Record, Failure> {
    let mut pause = FIRST_PAUSE;
    while !record.state.is_final() {
        if let Some(progress) = &record.progress {
            control.progress.send_replace(progress.to_progress());
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(MAX_PAUSE);
        record = client.record(&record.query_id).await?;
    }
    Ok(record)
}

/// The rows of a query that has ended.
///
/// # Errors
/// The query's error.
pub(crate) async fn finished(client: &Arc<Client>, record: Record) -> Result<Finished, Failure> {
    match (record.state, &record.error) {
        (State::Succeeded, _) => Ok(Finished { rows: RemoteRows::stored(client, &record).await?, receipt: record.receipt }),
        (_, Some(error)) => Err(error.clone().into()),
        (State::Cancelled, None) => {
            let message = format!("the query {} was cancelled on the server", record.query_id);
            Err(Error::new(ErrorKind::Cancelled, message).into())
        }
        (state, None) => Err(client.foreign(&format!("a query is {} without an error", state.name()))),
    }
}
