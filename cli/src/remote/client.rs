//! One request to a server: signed, bounded in time and size, and repeated while that may help.

use crate::failure::Failure;
use crate::remote::choice::{AuthChoice, Endpoint, ServerChoice};
use crate::remote::fault::Fault;
use crate::remote::sign::Signer;
use crate::remote::wire::{ErrorBody, QueryBody, Record};
use bytes::{Bytes, BytesMut};
use engine::clock::{random_uuid, sleep};
use engine::{Error, ErrorKind};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Times that one request is sent.
const TRIES: u32 = 5;
/// Pause before the second try; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause that a server can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Time to reach a server.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Time for a whole answer, besides what the server was asked to wait.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Most bytes of an answer: a page has 3 MB, but one row may be larger.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Most bytes of a whole result, which is held in memory.
const MAX_WHOLE_BYTES: usize = 4 << 30;
/// Time for a whole result.
const WHOLE_TIME: Duration = Duration::from_secs(900);
/// Most characters of a foreign error that are shown.
const SHOWN_CHARACTERS: usize = 300;
const JSON: &str = "application/json";
/// Media type of Arrow IPC streams.
pub(crate) const ARROW: &str = "application/vnd.apache.arrow.stream";

/// A server that answers requests.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    signer: Signer,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    /// With its query.
    path: String,
    /// JSON.
    body: Option<Bytes>,
    accept: &'static str,
    patience: Duration,
    max_bytes: usize,
}

impl Call {
    /// A request without a body for a JSON answer.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None, accept: JSON, patience: ANSWER_TIME, max_bytes: MAX_ANSWER_BYTES }
    }

    /// The same with a body of JSON.
    pub(crate) fn with_body(self, body: Bytes) -> Self {
        Self { body: Some(body), ..self }
    }

    /// The same for rows.
    pub(crate) fn for_arrow(self) -> Self {
        Self { accept: ARROW, ..self }
    }

    /// The same for the whole of a result, however it is cut into pages.
    pub(crate) fn whole(self) -> Self {
        Self { patience: WHOLE_TIME, max_bytes: MAX_WHOLE_BYTES, ..self }
    }

    /// The same, where the server takes its time before it answers.
    pub(crate) fn with_wait(self, wait: Duration) -> Self {
        Self { patience: ANSWER_TIME + wait, ..self }
    }
}

/// One answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header as text; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether the body is an Arrow stream.
    pub(crate) fn is_arrow(&self) -> bool {
        self.header(CONTENT_TYPE.as_str()).starts_with(ARROW)
    }

    /// Whether the same request may have another answer soon. That of a query which has failed has not.
    fn is_transient(&self) -> bool {
        let status = matches!(self.status.as_u16(), 429 | 502 | 503 | 504);
        status && !serde_json::from_slice::<ErrorBody>(&self.body).is_ok_and(|body| !body.query.is_null())
    }

    /// Time that the server asks to wait.
    fn asked_pause(&self) -> Option<Duration> {
        self.header(RETRY_AFTER.as_str()).parse().ok().map(Duration::from_secs)
    }
}

impl Client {
    /// A client for `choice`; nothing is sent yet.
    ///
    /// # Errors
    /// When the system's certificates cannot be used.
    pub(crate) fn new(choice: &ServerChoice) -> Result<Self, Failure> {
        let ServerChoice { endpoint, auth, .. } = choice;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("owlet/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIME);
        if endpoint.loopback {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| {
            Failure::Query(Error::new(ErrorKind::Unavailable, format!("cannot prepare connections to {endpoint}: {e}")))
        })?;
        Ok(Self { http, endpoint: endpoint.clone(), signer: Signer::new(auth, endpoint) })
    }

    /// Where the server is, for people.
    pub(crate) fn place(&self) -> String {
        self.endpoint.to_string()
    }

    /// Sends `call` until it is answered for good, at most [`TRIES`] times.
    ///
    /// # Errors
    /// When there are no credentials, or no answer comes; an answer with an error status is an answer.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, Failure> {
        let mut renewed = false;
        let mut tries = 1;
        loop {
            let pause = match self.send(call).await? {
                Ok(answer) if !renewed && says_expired(&answer) && self.signer.forget() => {
                    renewed = true;
                    continue;
                }
                Ok(answer) if tries == TRIES || !answer.is_transient() => return Ok(answer),
                Ok(answer) => answer.asked_pause(),
                Err(fault) if tries == TRIES || fault.is_final(&self.endpoint) => {
                    return Err(fault.failure(&self.endpoint, tries));
                }
                Err(_) => None,
            };
            sleep(pause.unwrap_or_else(|| own_pause(tries)).min(MAX_PAUSE)).await;
            tries += 1;
        }
    }

    /// The answer of `call` as JSON.
    ///
    /// # Errors
    /// As [`Self::call`]; the server's error.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
        let answer = self.call(call).await?;
        if !answer.status.is_success() {
            return Err(self.failure(&answer));
        }
        self.read(&answer)
    }

    /// What a server knows of the query `id`.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub(crate) async fn record(&self, id: &str) -> Result<Record, Failure> {
        self.json(&Call::new(Method::GET, format!("/v1/queries/{id}"))).await
    }

    /// Asks to cancel the query `id`.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub(crate) async fn cancel(&self, id: &str) -> Result<Record, Failure> {
        let QueryBody { query } = self.json(&Call::new(Method::DELETE, format!("/v1/queries/{id}"))).await?;
        Ok(query)
    }

    /// Reads the body of a successful answer.
    ///
    /// # Errors
    /// For a body of another form.
    pub(crate) fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Failure> {
        serde_json::from_slice(&answer.body).map_err(|e| self.foreign(&format!("it answered {}, but {e}", answer.status)))
    }

    /// Why the server refused.
    pub(crate) fn failure(&self, answer: &Answer) -> Failure {
        let Ok(ErrorBody { error, .. }) = serde_json::from_slice::<ErrorBody>(&answer.body) else {
            return self.foreign_failure(answer);
        };
        match Failure::from(error) {
            Failure::Server { code, message } => {
                let hint = match (&self.signer, answer.status) {
                    (Signer::None, StatusCode::UNAUTHORIZED) => {
                        "; set OWLET_TOKEN or give --token-file, or sign with --credentials iam"
                    }
                    (Signer::Token(_), StatusCode::UNAUTHORIZED) => "; check OWLET_TOKEN or --token-file",
                    _ => "",
                };
                Failure::Server { code, message: format!("{}{hint}", self.signer.redact(&message)) }
            }
            other => other,
        }
    }

    /// An error that does not come from an Owlet server, but from what stands before it.
    fn foreign_failure(&self, answer: &Answer) -> Failure {
        #[derive(Deserialize)]
        struct AwsBody {
            #[serde(alias = "Message")]
            message: String,
        }
        let said = serde_json::from_slice::<AwsBody>(&answer.body).map(|body| body.message).unwrap_or_default();
        // Gateways quote what they were sent, secrets included, but not in their first line.
        let said: String = self.signer.redact(said.lines().next().unwrap_or_default()).chars().take(SHOWN_CHARACTERS).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let advice = match self.signer {
                    Signer::Iam(_) => {
                        "the caller needs lambda:InvokeFunctionUrl and lambda:InvokeFunction (or execute-api:Invoke) for it; \
                         'aws sts get-caller-identity' tells who calls, 'aws sso login' renews a session"
                    }
                    Signer::Token(_) => "check OWLET_TOKEN or --token-file",
                    Signer::None => "sign requests with --credentials iam, or give a token with OWLET_TOKEN or --token-file",
                };
                let message = format!("{} refused the request ({}){said}; {advice}", self.endpoint, answer.status);
                Failure::Query(Error::new(ErrorKind::AccessDenied, message))
            }
            status => self.foreign(&format!("it answered {status}{said}")),
        }
    }

    /// A server that does not speak as an Owlet server does.
    pub(crate) fn foreign(&self, what: &str) -> Failure {
        let message = format!("{} does not answer as an Owlet server of this version: {what}; check --endpoint", self.endpoint);
        Failure::Query(Error::new(ErrorKind::Unavailable, message))
    }

    /// Sends `call` once. The outer error needs no second try.
    async fn send(&self, call: &Call) -> Result<Result<Answer, Fault>, Failure> {
        let url = self.endpoint.at(&call.path)?;
        let body = call.body.clone().unwrap_or_default();
        let mut headers = self.signer.headers(&call.method, &url, call.body.as_ref().map(|_| JSON), &body).await?;
        headers.insert(ACCEPT, HeaderValue::from_static(call.accept));
        let request = self.http.request(call.method.clone(), url).headers(headers).timeout(call.patience).body(body);
        Ok(receive(request, call.max_bytes).await)
    }

    /// Follows the answer to `call` to the object that it leads to, if it does. What signs requests to the server stays here:
    /// such an address carries a signature of its own.
    ///
    /// # Errors
    /// When the address is none, or no answer comes.
    pub(crate) async fn followed(&self, call: &Call, answer: Answer) -> Result<Answer, Failure> {
        if answer.status != StatusCode::SEE_OTHER {
            return Ok(answer);
        }
        let url = reqwest::Url::parse(answer.header("location"));
        let url = url.map_err(|e| self.foreign(&format!("it leads to an address that is none: {e}")))?;
        let request = self.http.get(url).timeout(call.patience);
        receive(request, call.max_bytes).await.map_err(|fault| fault.failure(&self.endpoint, 1))
    }
}

async fn receive(request: reqwest::RequestBuilder, max_bytes: usize) -> Result<Answer, Fault> {
    let mut response = request.send().await.map_err(|e| Fault::new(&e))?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| Fault::new(&e))? {
        if body.len() + chunk.len() > max_bytes {
            return Err(Fault::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: response.status(), headers: std::mem::take(response.headers_mut()), body: body.freeze() })
}

/// Whether AWS says that credentials were good once.
fn says_expired(answer: &Answer) -> bool {
    matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)
        && String::from_utf8_lossy(&answer.body).to_ascii_lowercase().contains("expired")
}

/// The pause after `tries` tries, spread over half of itself so that many callers do not come back together.
fn own_pause(tries: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(10));
    let spread = u64::try_from(pause.as_millis() / 4).unwrap_or(0).max(1);
    pause / 2 + Duration::from_millis(random_uuid().as_u64_pair().0 % spread)
}

/// Whether requests show who asks, for the greeting.
pub(crate) fn identity(auth: &AuthChoice) -> &'static str {
    match auth {
        AuthChoice::Iam => "signed with AWS credentials",
        AuthChoice::Token(_) => "with a token",
        AuthChoice::None => "without a name",
    }
}
