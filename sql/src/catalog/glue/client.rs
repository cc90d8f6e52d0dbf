//! AWS JSON 1.1 calls to Glue: signed, bounded, and repeated when the service asks to slow down.

use crate::catalog::CatalogError;
use bytes::{Bytes, BytesMut};
use engine::clock::{random_uuid, sleep};
use engine::{Error, ErrorKind, Result};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use object_store::aws::{AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use serde_json::Value;
use std::error::Error as _;
use std::time::Duration;
use tokio::time::timeout;
use url::{Host, Url};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of one try.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections are closed after this: a frozen sandbox wakes up with connections that are long gone.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(25);
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
    http: reqwest::Client,
    endpoint: String,
    region: String,
    credentials: AwsCredentialProvider,
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
        let is_name = !region.is_empty() && region.len() <= 64 && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name {
            return Err(Error::invalid(format!("{region:?} is no AWS region")));
        }
        let public = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let endpoint = endpoint.map_or_else(|| format!("https://glue.{region}.{public}"), str::to_owned);
        let no_url = || Error::invalid("the Glue endpoint is no http or https URL with a host, and without user or query");
        let url = Url::parse(&endpoint).map_err(|_| no_url())?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            return Err(no_url());
        }
        let mut http = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT);
        let is_local = match url.host() {
            Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if is_local {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|e| Error::internal(format!("no HTTP client could be made: {}", reason(&e))))?;
        Ok(Self { http, endpoint: url.to_string(), region: region.to_owned(), credentials })
    }

    /// Calls `operation` until it is answered or refused for good. `repeatable` calls are also repeated when the answer was lost.
    pub(super) async fn call(&self, operation: &'static str, input: &Value, repeatable: bool) -> Result<Value, CallError> {
        let body = Bytes::from(serde_json::to_vec(input).map_err(|e| CallError::Failed(Error::internal(e.to_string())))?);
        let mut tries = 0;
        loop {
            let outcome = match timeout(CALL_TIMEOUT, self.send(operation, Bytes::clone(&body))).await {
                Ok(outcome) => outcome,
                Err(_) => Err(lost(operation, &format!("no answer within {} s", CALL_TIMEOUT.as_secs()))),
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
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|e| CallError::Failed(Error::from(e).context("no AWS credentials for Glue")))?;
        let request = self.signed(operation, body, &credential).map_err(CallError::Failed)?;
        let response = self.http.execute(request).await.map_err(|e| lost(operation, &reason(&e)))?;
        let status = response.status().as_u16();
        let body = read(operation, response).await?;
        let answer = serde_json::from_slice::<Value>(&body);
        if !(200..300).contains(&status) {
            return Err(CallError::Refused(refused(status, &answer.unwrap_or_default())));
        }
        answer.map_err(|error| {
            CallError::Failed(Error::new(ErrorKind::Corrupt, format!("Glue {operation} answered no JSON: {error}")))
        })
    }

    fn signed(&self, operation: &str, body: Bytes, credential: &AwsCredential) -> Result<reqwest::Request> {
        // The signer panics on a token that is no header value.
        let token = credential.token.as_deref().unwrap_or_default();
        if HeaderValue::from_str(token).is_err() || HeaderValue::from_str(&credential.key_id).is_err() {
            return Err(Error::new(ErrorKind::AccessDenied, "the AWS credentials hold characters that cannot be sent"));
        }
        let mut request = HttpRequest::new(HttpRequestBody::from(Bytes::clone(&body)));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.endpoint.parse().map_err(|_| Error::internal("the Glue endpoint gives no URL"))?;
        let target = HeaderValue::from_str(&format!("AWSGlue.{operation}")).map_err(|e| Error::internal(e.to_string()))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        request.headers_mut().insert(TARGET, target);
        AwsAuthorizer::new(credential, "glue", &self.region).authorize(&mut request, None);
        let (parts, _) = request.into_parts();
        reqwest::Request::try_from(http::Request::from_parts(parts, body)).map_err(|e| Error::internal(reason(&e)))
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

async fn read(operation: &str, mut response: reqwest::Response) -> Result<Bytes, CallError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| lost(operation, &reason(&e)))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            let text = format!("Glue {operation} answered more than {MAX_ANSWER_BYTES} bytes");
            return Err(CallError::Failed(Error::new(ErrorKind::LimitExceeded, text)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn lost(operation: &str, why: &str) -> CallError {
    CallError::Failed(Error::new(ErrorKind::Unavailable, format!("Glue {operation}: {why}")))
}

/// The causes of an HTTP error, which its own text leaves out; never its URL.
fn reason(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    if causes.is_empty() { "HTTP error".to_owned() } else { causes.join(": ") }
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
