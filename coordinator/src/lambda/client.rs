//! One invocation over HTTP: the signed request, and the answer read within bounds. Sends nothing twice, except
//! invocations without an answer that were refused.

use super::answer::{Refusal, Reply, Sent, classify};
use super::report::Report;
use super::window::{asked_pause, jitter, pause};
use bytes::Bytes;
use engine::aws::{AwsClient, is_name};
use engine::clock::{Stopwatch, sleep};
use engine::settings::LAMBDA_PAYLOAD_BYTES;
use engine::{Error, ErrorKind, Result};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use object_store::aws::AwsCredentialProvider;
use std::fmt;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Most bytes of the payload of an invocation without an answer (AWS Lambda quotas, since October 2025).
pub const MAX_EVENT_BYTES: usize = 1_048_576;
/// Most calls that wait for their answers at once: each holds a connection, and a function has 1,024 file descriptors (AWS Lambda
/// quotas, fixed). The others are for S3, files and the runtime.
pub const MAX_CALLS: usize = 900;
/// Not to be invoked: a deployment in the middle of a query would mix versions.
const UNPUBLISHED: &str = "$LATEST";

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// A published version of a function. Invariant: both names are letters, digits, `-` and `_`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    function: String,
    qualifier: String,
}

impl Target {
    /// The function by name (not ARN), and an alias or version of it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidQuery`] for a name that Lambda would not take, and for `$LATEST`.
    pub fn new(function: &str, qualifier: &str) -> Result<Self> {
        if qualifier == UNPUBLISHED {
            return Err(Error::invalid(format!(
                "function {function} cannot be invoked as {UNPUBLISHED}: a deployment in the middle of a query would mix versions; \
                 publish a version and name it, or an alias of it"
            )));
        }
        for (what, name) in [("function name", function), ("version or alias", qualifier)] {
            if !is_name(name) {
                return Err(Error::invalid(format!(
                    "{name:?} is no {what} of a Lambda function: 1 to 64 letters, digits, - and _"
                )));
            }
        }
        Ok(Self { function: function.to_owned(), qualifier: qualifier.to_owned() })
    }

    /// The function's name.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The version or alias.
    pub fn qualifier(&self) -> &str {
        &self.qualifier
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.function, self.qualifier)
    }
}

/// What a function answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its JSON.
    pub payload: Bytes,
    /// What it is billed, where the service says so (emulators may not).
    pub billed: Option<Report>,
}

/// The Invoke API of one region or emulator; one pool of connections.
#[derive(Debug)]
pub struct LambdaClient {
    service: AwsClient,
    /// Of [`MAX_CALLS`]. The window of workers does not count attempts that were given up: their calls go on.
    pub(super) calls: Semaphore,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum InvocationType {
    RequestResponse,
    Event,
}

impl InvocationType {
    fn name(self) -> &'static str {
        match self {
            Self::RequestResponse => "RequestResponse",
            Self::Event => "Event",
        }
    }

    fn limit(self) -> usize {
        match self {
            Self::RequestResponse => LAMBDA_PAYLOAD_BYTES,
            Self::Event => MAX_EVENT_BYTES,
        }
    }
}

impl LambdaClient {
    /// A client for `region`; `endpoint` (an `http` or `https` URL) replaces the public one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidQuery`] for an endpoint or region that is none; [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn new(endpoint: Option<&str>, region: &str, credentials: AwsCredentialProvider) -> Result<Self> {
        let service = AwsClient::new("lambda", endpoint, region, credentials, MAX_CALLS)?;
        Ok(Self { service, calls: Semaphore::new(MAX_CALLS) })
    }

    /// Invokes `target` once and waits for its answer, at most `limit`; waits within it while [`MAX_CALLS`] others do.
    ///
    /// # Errors
    /// See [`Refusal`]; [`ErrorKind::Unavailable`] when the answer did not come, or not whole.
    pub async fn invoke(&self, target: &Target, payload: Bytes, limit: Duration) -> Result<Answer, Refusal> {
        let call = async {
            let _call = self.calls.acquire().await;
            self.send(target, payload, InvocationType::RequestResponse).await
        };
        match timeout(limit, call).await {
            Ok(result) => result,
            Err(_) => Err(unanswered(target, limit).into()),
        }
    }

    /// Hands `payload` to `target` without waiting for it to run; at most `limit` for the hand-over, throttles included.
    ///
    /// The function may run more than once. After [`ErrorKind::Unavailable`] it may or may not run.
    ///
    /// # Errors
    /// As [`Self::invoke`]; [`ErrorKind::Throttled`] when the service took it at no time within `limit`.
    pub async fn invoke_event(&self, target: &Target, payload: Bytes, limit: Duration) -> Result<()> {
        let watch = Stopwatch::start();
        let mut throttles = 0;
        loop {
            let left = limit.saturating_sub(watch.elapsed());
            let call = self.send(target, payload.clone(), InvocationType::Event);
            let refusal = match timeout(left, call).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(refusal)) => refusal,
                Err(_) => return Err(unanswered(target, limit)),
            };
            throttles += 1;
            let rest = pause(throttles, jitter()).max(asked_pause(refusal.retry_after));
            if refusal.error.kind != ErrorKind::Throttled || watch.elapsed() + rest >= limit {
                return Err(refusal.error);
            }
            sleep(rest).await;
        }
    }

    async fn send(&self, target: &Target, payload: Bytes, invocation: InvocationType) -> Result<Answer, Refusal> {
        let sent = Sent { target, bytes: payload.len(), limit: invocation.limit() };
        if sent.bytes > sent.limit {
            let text =
                format!("a payload of {} bytes for function {target} is over Lambda's limit of {} bytes", sent.bytes, sent.limit);
            return Err(Error::new(ErrorKind::LimitExceeded, text).into());
        }
        let Target { function, qualifier } = target;
        let path = format!("/2015-03-31/functions/{function}/invocations?Qualifier={qualifier}");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(INVOCATION_TYPE, HeaderValue::from_static(invocation.name()));
        if invocation == InvocationType::RequestResponse {
            headers.insert(LOG_TYPE, HeaderValue::from_static("Tail"));
        }
        let answer = self.service.post(&path, headers, payload, LAMBDA_PAYLOAD_BYTES).await;
        let answer = answer.map_err(|e| e.context(format!("function {target}")))?;
        let headers = answer.headers();
        let billed = text(headers, LOG_RESULT).and_then(Report::from_log_result);
        let reply = Reply {
            status: answer.status().as_u16(),
            error_type: text(headers, ERROR_TYPE),
            function_error: text(headers, FUNCTION_ERROR),
            retry_after: text(headers, RETRY_AFTER),
            request_id: text(headers, REQUEST_ID),
            body: answer.body(),
        };
        classify(sent, &reply).map_err(|refusal| Refusal { billed, ..refusal })?;
        Ok(Answer { payload: answer.into_body(), billed })
    }
}

fn unanswered(target: &Target, limit: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("function {target} did not answer within {:.1} s", limit.as_secs_f64()))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
