//! The Invoke API (2015-03-31) as the AWS SDKs and our own client speak it.
use crate::clock;
use crate::config::LATEST;
use crate::function::{Call, Completion, Function, Rejected};
use crate::http::{self, Answer, Hangup, MAX_PAYLOAD_BYTES, Service, json};
use crate::ledger::{InvocationKind, Outcome};
use crate::shared::Shared;
use crate::sigv4;
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::json as value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Payload limit of asynchronous events, in bytes.
const MAX_EVENT_BYTES: usize = 1_048_576;
/// Seconds that a throttled caller is told to wait.
const RETRY_AFTER_SECONDS: &str = "1";

pub(crate) struct InvokeApi {
    pub(crate) shared: Arc<Shared>,
    pub(crate) functions: HashMap<String, Arc<Function>>,
}

/// The function that a path and query name.
struct Target<'a> {
    name: &'a str,
    qualifier: Option<&'a str>,
}

impl Service for InvokeApi {
    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Result<Answer, Hangup> {
        let request_id = clock::random_id().to_string();
        let (parts, body) = request.into_parts();
        let kind = header(&parts.headers, "x-amz-invocation-type").unwrap_or("RequestResponse").to_owned();
        let limit = if kind == "Event" { MAX_EVENT_BYTES } else { MAX_PAYLOAD_BYTES };
        let mut answer = match http::read_body(body, limit).await {
            Ok(body) => match self.invoke(&parts, &kind, body, &request_id).await {
                Ok(answer) => answer,
                Err(Refusal::Answer(answer)) => *answer,
                Err(Refusal::Hangup) => return Err(Hangup),
            },
            Err(http::BodyError::Broken) => return Err(Hangup),
            Err(http::BodyError::TooLarge) => {
                let text = format!("Request must be smaller than {limit} bytes for the InvokeFunction operation");
                error(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", &text)
            }
        };
        put(answer.headers_mut(), "x-amzn-requestid", &request_id);
        Ok(answer)
    }
}

/// Why a request did not get as far as an invocation's answer.
enum Refusal {
    Answer(Box<Answer>),
    Hangup,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self::Answer(Box::new(error(status, code, message)))
    }
}

impl InvokeApi {
    async fn invoke(&self, parts: &Parts, kind: &str, payload: Bytes, request_id: &str) -> Result<Answer, Refusal> {
        let caller = self.caller(parts, &payload)?;
        let refuse = |status, code, text: &str| Err(Refusal::new(status, code, text));
        let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy();
        let target = path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.strip_suffix("/invocations"));
        let Some(target) = target.filter(|_| parts.method == Method::POST) else {
            return refuse(StatusCode::NOT_FOUND, "UnknownOperationException", "only Invoke (2015-03-31) is served here");
        };
        let query = query_value(parts.uri.query().unwrap_or_default(), "Qualifier");
        let target = Target::parse(target, query.as_deref())
            .map_err(|text| Refusal::new(StatusCode::BAD_REQUEST, "InvalidParameterValueException", &text))?;
        let (function, version) = self.find(&target)?;
        let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
        if let Err(problem) = serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
            let text = format!("Could not parse request body into json: {problem}");
            return refuse(StatusCode::BAD_REQUEST, "InvalidRequestContentException", &text);
        }
        let call = Call {
            request_id: request_id.to_owned(),
            function_arn: target.arn(&self.shared),
            version: version.to_owned(),
            trace_id: trace_id(&parts.headers),
            kind: if kind == "Event" { InvocationKind::Event } else { InvocationKind::RequestResponse },
            caller,
            wants_log: header(&parts.headers, "x-amz-log-type") == Some("Tail"),
            payload,
        };
        match kind {
            "DryRun" => Ok(empty(StatusCode::NO_CONTENT)),
            "Event" => {
                function.enqueue(call).map_err(Refusal::from)?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            "RequestResponse" => {
                let trace_id = call.trace_id.clone();
                let completion = function.answer(call).await.map_err(Refusal::from)?;
                Ok(answer(completion, version, &trace_id))
            }
            other => {
                let text = format!("no such InvocationType: {other}; use RequestResponse, Event or DryRun");
                refuse(StatusCode::BAD_REQUEST, "InvalidParameterValueException", &text)
            }
        }
    }

    /// ARN of the caller by the request's signature.
    fn caller(&self, parts: &Parts, payload: &[u8]) -> Result<String, Refusal> {
        let config = &self.shared.config;
        if config.credentials.is_empty() {
            return Ok("anonymous".into());
        }
        match sigv4::verify(&config.credentials, &config.region, parts, payload, clock::unix_time()) {
            Ok(credential) => Ok(credential.user_arn.clone()),
            Err(refused) => Err(Refusal::new(StatusCode::FORBIDDEN, refused.code, &refused.message)),
        }
    }

    /// The function and the version of it that `target` names.
    fn find(&self, target: &Target<'_>) -> Result<(&Arc<Function>, &str), Refusal> {
        let found = self.functions.get(target.name).and_then(|function| {
            let version = function.config.version_of(target.qualifier.unwrap_or(LATEST))?;
            Some((function, version))
        });
        found.ok_or_else(|| {
            let text = format!("Function not found: {}", target.arn(&self.shared));
            Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", &text)
        })
    }
}

impl<'a> Target<'a> {
    /// Reads `name`, `name:qualifier`, `account:function:name[:qualifier]` or a whole ARN.
    fn parse(text: &'a str, query: Option<&'a str>) -> Result<Self, String> {
        let rest = match text.find("function:") {
            Some(start) if start == 0 || text.as_bytes()[start - 1] == b':' => &text[start + "function:".len()..],
            _ => text,
        };
        let (name, inline) = match rest.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (rest, None),
        };
        match (inline, query) {
            (Some(inline), Some(query)) if inline != query => {
                Err(format!("the qualifier {query} differs from {inline} in the function's name; give one of them"))
            }
            _ => Ok(Self { name, qualifier: inline.or(query) }),
        }
    }

    fn arn(&self, shared: &Shared) -> String {
        shared.config.function_arn(self.name, self.qualifier)
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::AnswerLost => Self::Hangup,
            Rejected::ServiceError => {
                let text = "An internal service error occurred. Please try again later.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", text)
            }
            Rejected::Throttled(reason) => {
                let body = value!({"Reason": reason, "Type": "User", "message": "Rate Exceeded."});
                let mut answer = json(StatusCode::TOO_MANY_REQUESTS, body.to_string());
                put(answer.headers_mut(), "x-amzn-errortype", "TooManyRequestsException");
                put(answer.headers_mut(), "retry-after", RETRY_AFTER_SECONDS);
                Self::Answer(Box::new(answer))
            }
        }
    }
}

fn answer(completion: Completion, version: &str, trace_id: &str) -> Answer {
    let mut answer = json(StatusCode::OK, completion.body);
    let headers = answer.headers_mut();
    put(headers, "x-amz-executed-version", version);
    put(headers, "x-amzn-trace-id", trace_id);
    if completion.outcome != Outcome::Ok {
        put(headers, "x-amz-function-error", "Unhandled");
    }
    if let Some(log) = completion.log {
        put(headers, "x-amz-log-result", &STANDARD.encode(log));
    }
    answer
}

fn error(status: StatusCode, code: &'static str, message: &str) -> Answer {
    let side = if status.is_server_error() { "Service" } else { "User" };
    let mut answer = json(status, value!({"Type": side, "message": message}).to_string());
    put(answer.headers_mut(), "x-amzn-errortype", code);
    answer
}

fn empty(status: StatusCode) -> Answer {
    json(status, Bytes::new())
}

fn put(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(text) = HeaderValue::from_str(text) {
        headers.insert(HeaderName::from_static(name), text);
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|text| text.to_str().ok())
}

/// The first value of `name` in a query string.
fn query_value(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(found, _)| *found == name)?.1;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// The caller's X-Ray trace id, or a new one.
pub(crate) fn trace_id(headers: &HeaderMap) -> String {
    if let Some(trace_id) = header(headers, "x-amzn-trace-id") {
        return trace_id.to_owned();
    }
    let random = clock::random_id().simple().to_string();
    let parent = clock::random_id().simple().to_string();
    format!("Root=1-{:08x}-{};Parent={};Sampled=0", clock::unix_time().as_secs(), &random[..24], &parent[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_in_all_forms_of_the_api() {
        let cases = [
            ("worker", None, Some(("worker", None))),
            ("worker", Some("live"), Some(("worker", Some("live")))),
            ("worker:live", None, Some(("worker", Some("live")))),
            ("worker:live", Some("live"), Some(("worker", Some("live")))),
            ("worker:live", Some("1"), None),
            ("123456789012:function:worker", None, Some(("worker", None))),
            ("123456789012:function:worker:1", None, Some(("worker", Some("1")))),
            ("arn:aws:lambda:us-east-1:123456789012:function:worker", None, Some(("worker", None))),
            ("arn:aws:lambda:us-east-1:123456789012:function:worker:$LATEST", None, Some(("worker", Some("$LATEST")))),
        ];
        for (text, query, expected) in cases {
            let target = Target::parse(text, query).ok();
            assert_eq!(target.map(|target| (target.name, target.qualifier)), expected, "{text} {query:?}");
        }
    }
}
