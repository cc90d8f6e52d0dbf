//! The form of a query's record in storage and in HTTP answers; knows nothing of stores, nor of what may follow what.

use super::text;
use engine::ids::QueryId;
use engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The form that this build reads and writes. New optional fields do not change it.
const RECORD_VERSION: u32 = 1;

/// Longest SQL text of a record, in bytes.
pub(super) const MAX_SQL_BYTES: usize = 256 * 1024;

/// Longer error messages are cut to this many bytes.
pub(super) const MAX_ERROR_MESSAGE_BYTES: usize = 16 * 1024;

/// Longest SQL text in a list of queries, in characters.
const MAX_SUMMARY_SQL_CHARS: usize = 1_000;

/// Fields that stay in storage.
const INTERNAL_FIELDS: [&str; 4] = ["epoch", "request_hash", "parameters", "write_id"];

/// Where a query is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum QueryState {
    /// Accepted; no coordinator has it yet.
    Queued,
    /// A coordinator runs it and renews its lease.
    Running,
    /// Ended with its rows. Final.
    Succeeded,
    /// Ended with an error. Final.
    Failed,
    /// Ended at the caller's wish. Final.
    Cancelled,
}

impl QueryState {
    /// Every state, in the order of a query's life.
    pub(crate) const ALL: [QueryState; 5] =
        [QueryState::Queued, QueryState::Running, QueryState::Succeeded, QueryState::Failed, QueryState::Cancelled];

    /// Whether nothing follows it.
    pub(crate) fn is_final(self) -> bool {
        match self {
            QueryState::Queued | QueryState::Running => false,
            QueryState::Succeeded | QueryState::Failed | QueryState::Cancelled => true,
        }
    }

    /// The name in JSON and in `?state=`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            QueryState::Queued => "QUEUED",
            QueryState::Running => "RUNNING",
            QueryState::Succeeded => "SUCCEEDED",
            QueryState::Failed => "FAILED",
            QueryState::Cancelled => "CANCELLED",
        }
    }

    /// The state with that [`Self::name`].
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Why a query ended without its rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct RecordError {
    /// One of the codes of the HTTP API.
    pub code: String,
    /// What happened, for a person; at most [`MAX_ERROR_MESSAGE_BYTES`] when made by [`Self::new`].
    pub message: String,
    /// Whether the same query may succeed when it is run again.
    pub retryable: bool,
}

impl RecordError {
    /// An error with its message cut to [`MAX_ERROR_MESSAGE_BYTES`].
    pub(crate) fn new(code: impl Into<String>, message: &str, retryable: bool) -> Self {
        Self { code: code.into(), message: text::cut(message, MAX_ERROR_MESSAGE_BYTES).to_owned(), retryable }
    }
}

impl From<&Error> for RecordError {
    fn from(error: &Error) -> Self {
        let retryable = matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Changed);
        Self::new(error.kind.name(), &error.message, retryable)
    }
}

/// Where a result lies that did not go out with the first answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoredResult {
    /// URL of the object.
    pub location: String,
    /// All that is needed to read it; HTTP shows how many pages there are, and leaves out how they are cut.
    #[serde(flatten)]
    pub result: crate::result::StoredResult,
}

/// The caller's limits; an absent one does not limit.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct QueryLimits {
    /// Longest run in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Most table bytes to scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_scan_bytes: Option<u64>,
    /// Highest price in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
}

/// Tasks of one stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StageCount {
    /// Number of the stage.
    pub stage: u32,
    /// Tasks that have ended well.
    pub done: u32,
    /// All its tasks.
    pub tasks: u32,
}

/// How far a query is. Each report replaces the one before.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct RecordProgress {
    /// The stages in order.
    pub stages: Vec<StageCount>,
    /// Table bytes read so far.
    pub scanned_bytes: u64,
    /// Price so far, in 10^-9 US dollars.
    pub cost_nano_usd: u64,
}

/// What is known of a query when it is accepted.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct NewQuery {
    /// A fresh time-ordered id.
    pub query_id: QueryId,
    /// Who asks.
    pub principal: String,
    /// The caller's label.
    pub work_group: String,
    /// The caller's token, if any.
    pub client_token: Option<String>,
    /// The statement.
    pub sql: String,
    /// Database of tables that are named without one, where the caller says one.
    pub database: Option<String>,
    /// Values of `?`, in order.
    pub parameters: Vec<Value>,
    /// Whether it runs in an invocation of its own.
    pub is_async: bool,
    /// Format of the result.
    pub format: String,
    /// The caller's limits.
    pub limits: QueryLimits,
    /// Name of the price table that costs are computed with.
    pub price_table: String,
    /// Digest of the request ([`super::request_hash`]).
    pub request_hash: String,
}

/// All that is kept of one query. Times are milliseconds since 1970, and RFC 3339 text in JSON.
///
/// Fields that a newer build has added are ignored by reading, and lost when an older build changes the record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct QueryRecord {
    version: u32,
    /// Id of the query.
    #[serde(with = "text::query_id")]
    pub query_id: QueryId,
    /// Who asked.
    pub principal: String,
    /// The caller's label.
    pub work_group: String,
    /// The caller's token, if any.
    pub client_token: Option<String>,
    /// The statement; at most [`MAX_SQL_BYTES`].
    pub sql: String,
    /// Database of tables that are named without one, where the caller said one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Values of `?`, in order. Not shown by HTTP.
    #[serde(default)]
    pub parameters: Vec<Value>,
    /// Whether it runs in an invocation of its own.
    #[serde(rename = "async")]
    pub is_async: bool,
    /// Format of the result.
    pub format: String,
    /// The caller's limits.
    pub limits: QueryLimits,
    /// Name of the price table that costs are computed with.
    pub price_table: String,
    /// Where the query is in its life.
    pub state: QueryState,
    /// Whether the caller wants it to stop.
    pub cancel_requested: bool,
    /// When it was accepted.
    #[serde(with = "text::time")]
    pub submitted_at: i64,
    /// When a coordinator took it.
    #[serde(with = "text::optional_time", default)]
    pub started_at: Option<i64>,
    /// When it became final.
    #[serde(with = "text::optional_time", default)]
    pub ended_at: Option<i64>,
    /// When the record changed last.
    #[serde(with = "text::time")]
    pub updated_at: i64,
    /// From then on the query counts as lost; none when it is final.
    #[serde(with = "text::optional_time", default)]
    pub lease_expires_at: Option<i64>,
    /// How far it is.
    pub progress: RecordProgress,
    /// Why it failed.
    pub error: Option<RecordError>,
    /// Its stored result.
    pub result: Option<StoredResult>,
    /// URL of the list of the files that it has written, if it has written any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_manifest_location: Option<String>,
    /// Its receipt.
    pub receipt: Option<Value>,
    /// How often a coordinator has taken the query: 0 while it is queued. Not shown by HTTP.
    #[serde(default)]
    pub epoch: u64,
    /// Digest of the request. Not shown by HTTP.
    #[serde(default)]
    pub request_hash: String,
    /// Tells a writer whose answer got lost that the stored version is its own. Not shown by HTTP.
    #[serde(default)]
    write_id: Option<String>,
}

impl QueryRecord {
    /// The record of a query accepted at `now_ms`, in state `QUEUED`.
    ///
    /// # Errors
    /// `LimitExceeded` when the SQL text is longer than [`MAX_SQL_BYTES`].
    pub(crate) fn new(query: NewQuery, now_ms: i64) -> Result<Self> {
        let sql_bytes = query.sql.len();
        if sql_bytes > MAX_SQL_BYTES {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("the statement has {sql_bytes} bytes, and at most {MAX_SQL_BYTES} are accepted: shorten it"),
            ));
        }
        let lease_ms = if query.is_async { super::state::QUEUE_LEASE_MS } else { super::state::LEASE_MS };
        Ok(Self {
            version: RECORD_VERSION,
            query_id: query.query_id,
            principal: query.principal,
            work_group: query.work_group,
            client_token: query.client_token,
            sql: query.sql,
            database: query.database,
            parameters: query.parameters,
            is_async: query.is_async,
            format: query.format,
            limits: query.limits,
            price_table: query.price_table,
            state: QueryState::Queued,
            cancel_requested: false,
            submitted_at: now_ms,
            started_at: None,
            ended_at: None,
            updated_at: now_ms,
            lease_expires_at: Some(now_ms.saturating_add(lease_ms)),
            progress: RecordProgress::default(),
            error: None,
            result: None,
            data_manifest_location: None,
            receipt: None,
            epoch: 0,
            request_hash: query.request_hash,
            write_id: None,
        })
    }

    /// The record as `GET /v1/queries/{id}` shows it.
    ///
    /// # Errors
    /// `Internal` when a time is outside the range that text can hold.
    pub(crate) fn view(&self) -> Result<Value> {
        let mut view = serde_json::to_value(self).map_err(|error| self.unwritable(&error))?;
        if let Some(fields) = view.as_object_mut() {
            for name in INTERNAL_FIELDS {
                fields.shift_remove(name);
            }
        }
        if let Some(result) = &self.result {
            view["result"]["pages"] = Value::from(result.result.pages.len());
            if let Some(fields) = view["result"].as_object_mut() {
                for name in ["head", "tail_bytes", "e_tag"] {
                    fields.shift_remove(name);
                }
            }
        }
        Ok(view)
    }

    /// The record as `GET /v1/queries` shows it: the SQL cut to 1,000 characters, without receipt and result columns.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub(crate) fn summary(&self) -> Result<Value> {
        let mut view = self.view()?;
        if let Some((end, _)) = self.sql.char_indices().nth(MAX_SUMMARY_SQL_CHARS) {
            view["sql"] = Value::from(&self.sql[..end]);
        }
        if let Some(fields) = view.as_object_mut() {
            fields.shift_remove("receipt");
        }
        if let Some(result) = view["result"].as_object_mut() {
            result.shift_remove("columns");
        }
        Ok(view)
    }

    /// The bytes of storage; their size is checked where they are written.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| self.unwritable(&error))
    }

    /// Reads the bytes of storage.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Form {
            version: u32,
        }
        let damaged = |error: serde_json::Error| Error::new(ErrorKind::Corrupt, format!("the record cannot be read: {error}"));
        let form: Form = serde_json::from_slice(bytes).map_err(damaged)?;
        if form.version != RECORD_VERSION {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the record has form {}, and this build reads form {RECORD_VERSION}: use a build that knows it",
                    form.version
                ),
            ));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// Marks the next stored version as that of one writer.
    pub(crate) fn sign(&mut self, write_id: Uuid) {
        self.write_id = Some(write_id.to_string());
    }

    /// Whether that writer made this version.
    pub(crate) fn is_signed_by(&self, write_id: Uuid) -> bool {
        self.write_id.as_deref() == Some(write_id.to_string().as_str())
    }

    fn unwritable(&self, error: &serde_json::Error) -> Error {
        Error::internal(format!("the record of query {} cannot be written: {error}", self.query_id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{new_query, sample_result};
    use super::*;
    use serde_json::json;
    use std::error::Error as StdError;

    #[test]
    fn a_record_survives_storage_and_shows_the_documented_form() -> Result<(), Box<dyn StdError>> {
        let mut record = QueryRecord::new(new_query(7), 1_795_491_600_123)?;
        record.parameters = vec![json!("secret"), json!(1)];
        record.result = Some(sample_result(3));
        record.receipt = Some(json!({"cost": 1}));
        assert_eq!(QueryRecord::decode(&record.encode()?)?, record);

        let view = record.view()?;
        let names: Vec<&str> = view.as_object().ok_or("an object")?.keys().map(String::as_str).collect();
        assert_eq!(
            names.join(" "),
            "version query_id principal work_group client_token sql async format limits price_table state cancel_requested \
             submitted_at started_at ended_at updated_at lease_expires_at progress error result receipt"
        );
        assert_eq!(view["submitted_at"], "2026-11-24T03:40:00.123Z");
        assert_eq!(view["lease_expires_at"], "2026-11-24T03:40:30.123Z");
        assert_eq!(view["limits"], json!({}));
        assert_eq!(view["progress"], json!({"stages": [], "scanned_bytes": 0, "cost_nano_usd": 0}));
        assert_eq!(
            view["result"],
            json!({"location": "s3://bucket/results/x.arrows", "format": "arrow", "rows": 30, "bytes": 300, "pages": 3,
                   "columns": [{"name": "a", "type": "bigint"}]})
        );
        Ok(())
    }

    #[test]
    fn a_summary_is_short() -> Result<(), Box<dyn StdError>> {
        let mut record = QueryRecord::new(NewQuery { sql: "\u{e9}".repeat(5_000), ..new_query(7) }, 0)?;
        record.result = Some(sample_result(1));
        record.receipt = Some(json!({}));
        let summary = record.summary()?;
        assert_eq!(summary["sql"].as_str().map(|sql| sql.chars().count()), Some(1_000));
        assert_eq!(summary.get("receipt"), None);
        assert_eq!(summary["result"].get("columns"), None);
        assert_eq!(summary["result"]["pages"], 1);
        Ok(())
    }

    #[test]
    fn unknown_fields_are_ignored_and_another_form_is_refused() -> Result<(), Box<dyn StdError>> {
        let record = QueryRecord::new(new_query(7), 0)?;
        let mut value: Value = serde_json::from_slice(&record.encode()?)?;
        value["shiny"] = json!({"new": true});
        value["progress"]["shiny"] = json!(1);
        assert_eq!(QueryRecord::decode(&serde_json::to_vec(&value)?)?, record);

        value["version"] = json!(2);
        value["state"] = json!("PAUSED");
        let error = QueryRecord::decode(&serde_json::to_vec(&value)?).err().ok_or("form 2 was read")?;
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(error.message.contains("form 2"), "{error}");
        for torn in ["", "{", "{}", "null", "{\"version\":1}"] {
            assert_eq!(QueryRecord::decode(torn.as_bytes()).map_err(|error| error.kind), Err(ErrorKind::Corrupt), "{torn}");
        }
        Ok(())
    }

    #[test]
    fn a_long_statement_is_refused_and_a_long_message_cut() -> Result<(), Box<dyn StdError>> {
        let most = NewQuery { sql: "x".repeat(MAX_SQL_BYTES), ..new_query(1) };
        QueryRecord::new(most.clone(), 0)?;
        let over = NewQuery { sql: most.sql + "x", ..new_query(1) };
        assert_eq!(QueryRecord::new(over, 0).map_err(|error| error.kind), Err(ErrorKind::LimitExceeded));
        let error = RecordError::from(&Error::new(ErrorKind::Throttled, "\u{e9}".repeat(MAX_ERROR_MESSAGE_BYTES)));
        assert_eq!((error.code.as_str(), error.message.len(), error.retryable), ("THROTTLED", MAX_ERROR_MESSAGE_BYTES, true));
        Ok(())
    }

    #[test]
    fn state_names_are_those_of_json() -> Result<(), Box<dyn StdError>> {
        for state in QueryState::ALL {
            assert_eq!(serde_json::to_value(state)?, json!(state.name()));
            assert_eq!(QueryState::from_name(state.name()), Some(state));
        }
        assert_eq!(QueryState::from_name("queued"), None);
        Ok(())
    }
}
