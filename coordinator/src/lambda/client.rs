//! One invocation over HTTP: the signed request, and the answer read within bounds. Sends nothing twice, except
//! invocations without an answer that were refused.

use super::answer::{Refusal, Reply, Sent, classify};
use super::report::Report;
use super::window::{asked_pause, jitter, pause};
use bytes::{Bytes, BytesMut};
use engine::clock::{Stopwatch, sleep};
use engine::settings::LAMBDA_PAYLOAD_BYTES;
use engine::{Error, ErrorKind, Result};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use object_store::aws::{AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use std::error::Error as _;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;
use url::{Host, Url};

/// Most bytes of the payload of an invocation without an answer (AWS Lambda quotas, since October 2025).
pub const MAX_EVENT_BYTES: usize = 1_048_576;
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are closed after this: a frozen sandbox wakes up with connections that are long gone.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(25);
/// Time between keep-alive probes, which keep the connection of a long invocation open in address translators.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Most idle connections: the largest number of workers that is of use.
const MAX_IDLE_CONNECTIONS: usize = 1_024;
/// Longest function name, qualifier or region, in bytes.
const MAX_NAME_BYTES: usize = 64;
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
                    "{name:?} is no {what} of a Lambda function: 1 to {MAX_NAME_BYTES} letters, digits, - and _"
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
    http: reqwest::Client,
    /// Without a slash at the end.
    endpoint: String,
    region: String,
    credentials: AwsCredentialProvider,
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
        if !is_name(region) {
            return Err(Error::invalid(format!("{region:?} is no AWS region")));
        }
        let endpoint = endpoint.map_or_else(|| format!("https://lambda.{region}.amazonaws.com"), str::to_owned);
        let no_url = || Error::invalid("the Lambda endpoint is no http or https URL with a host, and without user or query");
        let url = Url::parse(&endpoint).map_err(|_| no_url())?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            return Err(no_url());
        }
        let mut http = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .tcp_keepalive(TCP_KEEPALIVE);
        if url.host().is_some_and(|host| is_loopback(&host)) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|e| Error::internal(format!("no HTTP client could be made: {}", reason(&e))))?;
        Ok(Self { http, endpoint: url.as_str().trim_end_matches('/').to_owned(), region: region.to_owned(), credentials })
    }

    /// Invokes `target` once and waits for its answer, at most `limit`.
    ///
    /// # Errors
    /// See [`Refusal`]; [`ErrorKind::Unavailable`] when the answer did not come, or not whole.
    pub async fn invoke(&self, target: &Target, payload: Bytes, limit: Duration) -> Result<Answer, Refusal> {
        let call = self.send(target, payload, InvocationType::RequestResponse);
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
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|e| Error::from(e).context("no AWS credentials for invoking a function"))?;
        let request = self.signed(target, payload, invocation, &credential)?;
        let response = self.http.execute(request).await.map_err(|e| lost(target, &e))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(target, response).await?;
        let billed = text(&headers, LOG_RESULT).and_then(Report::from_log_result);
        let reply = Reply {
            status: status.as_u16(),
            error_type: text(&headers, ERROR_TYPE),
            function_error: text(&headers, FUNCTION_ERROR),
            retry_after: text(&headers, RETRY_AFTER),
            request_id: text(&headers, REQUEST_ID),
            body: &body,
        };
        classify(sent, &reply).map_err(|refusal| Refusal { billed, ..refusal })?;
        Ok(Answer { payload: body, billed })
    }

    fn signed(
        &self,
        target: &Target,
        payload: Bytes,
        invocation: InvocationType,
        credential: &AwsCredential,
    ) -> Result<reqwest::Request> {
        // The signer panics on a token that is no header value.
        let token = credential.token.as_deref().unwrap_or_default();
        if HeaderValue::from_str(token).is_err() || HeaderValue::from_str(&credential.key_id).is_err() {
            return Err(Error::new(ErrorKind::AccessDenied, "the AWS credentials hold characters that cannot be sent"));
        }
        let Target { function, qualifier } = target;
        let uri = format!("{}/2015-03-31/functions/{function}/invocations?Qualifier={qualifier}", self.endpoint);
        let mut request = HttpRequest::new(HttpRequestBody::from(payload.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.parse().map_err(|_| Error::internal("the Lambda endpoint gives no URL"))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(INVOCATION_TYPE, HeaderValue::from_static(invocation.name()));
        if invocation == InvocationType::RequestResponse {
            headers.insert(LOG_TYPE, HeaderValue::from_static("Tail"));
        }
        AwsAuthorizer::new(credential, "lambda", &self.region).authorize(&mut request, None);
        // Not signed, because services on the way may change it.
        let (parts, _) = request.into_parts();
        reqwest::Request::try_from(http::Request::from_parts(parts, payload)).map_err(|e| Error::internal(reason(&e)))
    }
}

/// The whole body, at most the limit of an answer.
async fn read(target: &Target, mut response: reqwest::Response) -> Result<Bytes> {
    let too_large = || {
        let text = format!("function {target} answered more than Lambda's limit of {LAMBDA_PAYLOAD_BYTES} bytes");
        Error::new(ErrorKind::LimitExceeded, text)
    };
    let expected = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if expected > LAMBDA_PAYLOAD_BYTES {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(expected);
    while let Some(chunk) = response.chunk().await.map_err(|e| lost(target, &e))? {
        if body.len() + chunk.len() > LAMBDA_PAYLOAD_BYTES {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn lost(target: &Target, error: &reqwest::Error) -> Error {
    let what = if error.is_connect() { "Lambda cannot be reached for" } else { "the answer was lost of" };
    Error::new(ErrorKind::Unavailable, format!("{what} function {target}: {}", reason(error)))
}

fn unanswered(target: &Target, limit: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("function {target} did not answer within {:.1} s", limit.as_secs_f64()))
}

/// The causes of an HTTP error, which its own text leaves out; never its URL.
fn reason(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}{}{cause}", if text.is_empty() { "" } else { ": " });
        source = cause.source();
    }
    if text.is_empty() { "HTTP error".to_owned() } else { text }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}
