//! The HTTP API's JSON as this program reads and writes it; fields that it does not use are left out.

use crate::failure::Failure;
use coordinator::{Progress, StageProgress};
use engine::cost::NanoDollars;
use engine::ids::StageId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Body of `POST /v1/query`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Submission {
    pub(crate) sql: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<String>,
    /// Always `arrow`: every output format is made of it here.
    pub(crate) format: &'static str,
    #[serde(rename = "async")]
    pub(crate) is_async: bool,
    /// Time that the server may wait for the end of the query before it answers, in milliseconds.
    pub(crate) wait_ms: u64,
    /// The same token is the same query, however often it is sent.
    pub(crate) client_token: String,
    pub(crate) limits: Limits,
}

/// Limits of one query.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Limits {
    /// In milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

/// Body of the answers that tell of one query.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct QueryBody {
    pub(crate) query: Record,
}

/// Body of `GET /v1/queries`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ListBody {
    pub(crate) queries: Vec<Record>,
    /// Where the next page of the list begins.
    pub(crate) next: Option<String>,
}

/// What a server knows of one query.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) query_id: String,
    pub(crate) state: State,
    #[serde(default)]
    pub(crate) sql: String,
    pub(crate) submitted_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    pub(crate) progress: Option<WireProgress>,
    pub(crate) error: Option<WireError>,
    pub(crate) result: Option<StoredResult>,
    #[serde(default)]
    pub(crate) receipt: Value,
}

/// States of a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    /// Whether nothing will change any more.
    pub(crate) fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }

    /// The server's word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// How far a query is.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct WireProgress {
    stages: Vec<WireStage>,
    pub(crate) scanned_bytes: u64,
    /// Price so far, in 10⁻⁹ dollars.
    pub(crate) cost_nano_usd: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct WireStage {
    stage: u32,
    done: u32,
    tasks: u32,
}

impl WireProgress {
    /// The same for the progress line.
    pub(crate) fn to_progress(&self) -> Progress {
        let stage = |stage: &WireStage| StageProgress { stage: StageId(stage.stage), done: stage.done, tasks: stage.tasks };
        Progress {
            stages: self.stages.iter().map(stage).collect(),
            scanned_bytes: self.scanned_bytes,
            cost: NanoDollars(self.cost_nano_usd),
        }
    }
}

/// Where and how large a stored result is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StoredResult {
    pub(crate) format: String,
    pub(crate) rows: u64,
    pub(crate) pages: u32,
}

/// Body of every error.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: WireError,
    /// The query that failed, where there is one.
    #[serde(default)]
    pub(crate) query: Value,
}

/// What happened, where, and what to do.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WireError {
    code: String,
    message: String,
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Failure::Server { code: error.code, message: error.message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_of_a_newer_server_is_read() -> Result<(), serde_json::Error> {
        let record: Record = serde_json::from_value(json!({
            "version": 2, "query_id": "q", "state": "RUNNING", "sql": "SELECT 1", "submitted_at": "2026-11-24T03:40:00.123Z",
            "ended_at": null, "progress": {"stages": [{"stage": 1, "done": 3, "tasks": 8, "new": 1}], "scanned_bytes": 5},
            "error": null, "result": null, "receipt": null, "new": {}
        }))?;
        let progress = record.progress.unwrap_or_default().to_progress();
        assert_eq!(progress.stages, [StageProgress { stage: StageId(1), done: 3, tasks: 8 }]);
        assert!(!record.state.is_final() && record.receipt.is_null());
        Ok(())
    }

    #[test]
    fn a_submission_leaves_out_what_nobody_asked() -> Result<(), serde_json::Error> {
        let limits = Limits { timeout_ms: None };
        let sent = Submission {
            sql: "x".into(),
            database: None,
            format: "arrow",
            is_async: true,
            wait_ms: 7,
            client_token: "t".into(),
            limits,
        };
        let expected = json!({"sql": "x", "format": "arrow", "async": true, "wait_ms": 7, "client_token": "t", "limits": {}});
        assert_eq!(serde_json::to_value(sent)?, expected);
        Ok(())
    }
}
