//! AWS JSON 1.1 calls to Glue: signed, bounded, and repeated when the service asks to slow down.

use crate::catalog::CatalogError;
use bytes::Bytes;
use engine::aws::AwsClient;
use engine::clock::{random_uuid, sleep};
use engine::{Error, ErrorKind, Result};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use object_store::aws::AwsCredentialProvider;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// Longest time of one try.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Most idle connections.
const MAX_IDLE_CONNECTIONS: usize = 64;
/// Tries of one call.
const MAX_TRIES: u32 = 8;
/// First pause after a throttle or a fault; doubles, up to [`LONGEST_PAUSE_MS`].
const FIRST_PAUSE_MS: u64 = 50;
const LONGEST_PAUSE_MS: u64 = 3_000;
/// Most bytes of an answer: a page of 1,000 partitions of a wide table has a few MiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// One region's Glue, or an emulator of it.
#[derive(Debug)]
pub(super) struct GlueClient {
    service: AwsClient,
}

/// What an answer that is none says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    /// The exception's name without namespace, such as `EntityNotFoundException`.
    pub(super) code: String,
    /// Its text.
    pub(super) message: String,
    status: u16,
}

/// How a call ended without an answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// Glue said no.
    Refused(Refused),
    /// Everything else.
    Failed(Error),
}

impl CallError {
    /// The exception's name, if Glue answered with one.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Refused(refused) => &refused.code,
            Self::Failed(_) => "",
        }
    }
}

impl From<CallError> for CatalogError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(error) => Self::Failed(error),
            CallError::Refused(Refused { code, message, status }) => {
                let kind = match code.as_str() {
                    "EntityNotFoundException" => ErrorKind::NotFound,
                    "AccessDeniedException" | "UnrecognizedClientException" | "ExpiredTokenException" => ErrorKind::AccessDenied,
                    "InvalidInputException" | "ValidationException" | "AlreadyExistsException" => ErrorKind::InvalidQuery,
                    "ConcurrentModificationException" | "VersionMismatchException" => ErrorKind::Changed,
                    "ResourceNumberLimitExceededException" => ErrorKind::LimitExceeded,
                    _ if is_throttle(&code) => ErrorKind::Throttled,
                    _ if status >= 500 => ErrorKind::Unavailable,
                    _ => ErrorKind::InvalidQuery,
                };
                Self::Failed(Error::new(kind, format!("Glue: {code}: {message}")))
            }
        }
    }
}

fn is_throttle(code: &str) -> bool {
    matches!(code, "ThrottlingException" | "TooManyRequestsException" | "RequestLimitExceeded" | "Throttling")
}

fn is_temporary(error: &CallError) -> bool {
    match error {
        CallError::Refused(refused) => is_throttle(&refused.code) || refused.status >= 500 || refused.status == 429,
        CallError::Failed(error) => error.kind == ErrorKind::Unavailable,
    }
}

impl GlueClient {
    pub(super) fn new(endpoint: Option<&str>, region: &str, credentials: AwsCredentialProvider) -> Result<Self> {
        Ok(Self { service: AwsClient::new("glue", endpoint, region, credentials, MAX_IDLE_CONNECTIONS)? })
    }

    /// Calls `operation` until it is answered or refused for good. `repeatable` calls are also repeated when the answer was lost.
    pub(super) async fn call(&self, operation: &'static str, input: &Value, repeatable: bool) -> Result<Value, CallError> {
        let body = Bytes::from(serde_json::to_vec(input).map_err(|e| CallError::Failed(Error::internal(e.to_string())))?);
        let mut tries = 0;
        loop {
            let outcome = match timeout(CALL_TIMEOUT, self.send(operation, Bytes::clone(&body))).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let why = format!("no answer within {} s", CALL_TIMEOUT.as_secs());
                    Err(failed(operation, Error::new(ErrorKind::Unavailable, why)))
                }
            };
            tries += 1;
            match outcome {
                Err(error) if tries < MAX_TRIES && is_temporary(&error) && (repeatable || !error.code().is_empty()) => {
                    sleep(pause(tries)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn send(&self, operation: &'static str, body: Bytes) -> Result<Value, CallError> {
        let target = HeaderValue::from_str(&format!("AWSGlue.{operation}"));
        let target = target.map_err(|e| CallError::Failed(Error::internal(e.to_string())))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        headers.insert(TARGET, target);
        let response = self.service.post("/", headers, body, MAX_ANSWER_BYTES).await.map_err(|e| failed(operation, e))?;
        let answer = serde_json::from_slice::<Value>(response.body());
        if !response.status().is_success() {
            return Err(CallError::Refused(refused(response.status().as_u16(), &answer.unwrap_or_default())));
        }
        answer.map_err(|error| {
            CallError::Failed(Error::new(ErrorKind::Corrupt, format!("Glue {operation} answered no JSON: {error}")))
        })
    }
}

/// `{"__type": "ns#Name", "message": ".."}`, and what emulators make of it.
fn refused(status: u16, answer: &Value) -> Refused {
    let text = |names: [&str; 3]| names.iter().find_map(|name| answer.get(*name)?.as_str()).unwrap_or_default();
    let code = text(["__type", "code", "Code"]).rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let code = if code.is_empty() { format!("HTTP {status}") } else { code.to_owned() };
    Refused { code, message: text(["message", "Message", "errorMessage"]).to_owned(), status }
}

fn failed(operation: &str, error: Error) -> CallError {
    CallError::Failed(error.context(format!("Glue {operation}")))
}

fn pause(tries: u32) -> Duration {
    let longest = (FIRST_PAUSE_MS << tries.min(10)).min(LONGEST_PAUSE_MS);
    let random = u64::try_from(random_uuid().as_u128() % u128::from(longest)).unwrap_or(0);
    Duration::from_millis(longest / 2 + random / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_with_and_without_namespace() {
        for (text, code) in [
            (r#"{"__type":"com.amazonaws.glue#EntityNotFoundException","Message":"no"}"#, "EntityNotFoundException"),
            (r#"{"__type":"AlreadyExistsException","message":"no"}"#, "AlreadyExistsException"),
            (r#"{"message":"no"}"#, "HTTP 400"),
        ] {
            let read = refused(400, &serde_json::from_str(text).unwrap_or_default());
            assert_eq!((read.code.as_str(), read.message.as_str()), (code, "no"));
        }
    }

    #[test]
    fn throttles_are_repeated_and_refusals_are_not() {
        let refusal = |code: &str, status| CallError::Refused(Refused { code: code.into(), message: String::new(), status });
        assert!(is_temporary(&refusal("ThrottlingException", 400)) && is_temporary(&refusal("InternalServiceException", 500)));
        assert!(!is_temporary(&refusal("EntityNotFoundException", 400)));
        assert!((1..20).all(|tries| pause(tries) <= Duration::from_millis(LONGEST_PAUSE_MS)));
    }
}
