//! Errors as HTTP answers: a status, a code, and what to do.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{Error, ErrorKind};
use serde_json::{Value, json};

/// What went wrong with a request, or with the query that it asked for.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
    query: Option<Box<Value>>,
}

impl ApiError {
    /// An error of the request itself.
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_string(), message: message.into(), query: None }
    }

    /// The request is not understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    /// There is no such query, or it is another caller's.
    pub(crate) fn no_such_query(id: &str) -> Self {
        let shown: String = id.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
        Self::new(StatusCode::NOT_FOUND, "NO_SUCH_QUERY", format!("there is no query '{shown}'; GET /v1/queries lists yours"))
    }

    /// The same with the record of the query.
    pub(crate) fn with_query(mut self, record: Value) -> Self {
        self.query = Some(Box::new(record));
        self
    }

    /// The error of a query whose record says `code`.
    pub(crate) fn of_query(code: &str, message: &str) -> Self {
        Self::new(status_of(code), code, message)
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        if error.kind == ErrorKind::Internal {
            tracing::error!(error = %error, "internal error");
        }
        Self::of_query(error.kind.name(), &error.message)
    }
}

/// The status for a code of `docs/http-api.md`.
fn status_of(code: &str) -> StatusCode {
    match code {
        "INVALID_QUERY" | "BAD_REQUEST" => StatusCode::BAD_REQUEST,
        "NOT_FOUND" => StatusCode::NOT_FOUND,
        "ACCESS_DENIED" => StatusCode::FORBIDDEN,
        "LIMIT_EXCEEDED" | "CORRUPT_DATA" => StatusCode::UNPROCESSABLE_ENTITY,
        "THROTTLED" => StatusCode::TOO_MANY_REQUESTS,
        "UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
        "OBJECT_CHANGED" | "CANCELLED" | "TOKEN_REUSED" => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": { "code": self.code, "message": self.message } });
        if let Some(query) = self.query {
            body["query"] = *query;
        }
        (self.status, Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_a_status_of_its_own() {
        for kind in ErrorKind::ALL {
            let error = ApiError::from(Error::new(kind, "x"));
            let is_internal = error.status == StatusCode::INTERNAL_SERVER_ERROR;
            assert_eq!(is_internal, kind == ErrorKind::Internal, "{kind:?}");
        }
    }
}
