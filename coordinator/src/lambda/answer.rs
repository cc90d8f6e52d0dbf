//! What an answer of the Invoke API means: one pure function from status, headers and body to success or a typed error.
//!
//! Nothing that the API says about a request is repeated in messages: it can quote the payload, or the signed headers.
//! Only what the function itself reported is, in part.

use super::client::Target;
use super::report::Report;
use engine::settings::LAMBDA_PAYLOAD_BYTES;
use engine::{Error, ErrorKind};
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// Most characters of a function's error text that a message repeats.
const MAX_FAULT_CHARS: usize = 2_000;
/// Most bytes of an answer that may be an error report; a longer one is an outcome.
const MAX_FAULT_BYTES: usize = 256 * 1024;
/// Most bytes of a name that the service gives (error type, reason, request id).
const MAX_NAME_BYTES: usize = 64;
/// How the service reports the end of a function that ran too long.
const TIMED_OUT_TEXT: &str = "Task timed out after";

/// Why an invocation failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What happened; [`ErrorKind::Throttled`] only when the service refused to start the function for now.
    pub error: Error,
    /// How long the service asked to wait.
    pub retry_after: Option<Duration>,
    /// What a function that started and failed is billed, where the answer says it.
    pub billed: Option<Report>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, retry_after: None, billed: None }
    }
}

/// How a function failed that was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FunctionFault {
    TimedOut,
    Killed,
    Exited,
    TooLarge,
    Init,
    Handler,
}

impl FunctionFault {
    fn of(error_type: &str, message: &str) -> Self {
        match error_type {
            "Sandbox.Timedout" => Self::TimedOut,
            "Runtime.OutOfMemory" => Self::Killed,
            "Runtime.ExitError" | "Sandbox.Failure" if message.contains("signal: killed") => Self::Killed,
            "Runtime.ExitError" | "Sandbox.Failure" => Self::Exited,
            "Function.ResponseSizeTooLarge" => Self::TooLarge,
            "Runtime.InvalidEntrypoint" | "Runtime.InvalidWorkingDir" | "Runtime.BadFunctionCode" => Self::Init,
            name if ["Extension.", "Runtime.Init", "Init"].iter().any(|start| name.starts_with(start)) => Self::Init,
            "" if message.contains(TIMED_OUT_TEXT) => Self::TimedOut,
            _ => Self::Handler,
        }
    }

    /// What the scheduler should know: another sandbox may do better, or not.
    fn kind(self) -> ErrorKind {
        match self {
            Self::TimedOut | Self::Killed | Self::Exited | Self::Init => ErrorKind::Unavailable,
            Self::TooLarge => ErrorKind::LimitExceeded,
            Self::Handler => ErrorKind::Internal,
        }
    }
}

impl fmt::Display for FunctionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => write!(f, "timed out"),
            Self::Killed => write!(f, "was killed, probably because it ran out of memory"),
            Self::Exited => write!(f, "exited before it answered"),
            Self::TooLarge => write!(f, "gave an answer over the limit of {LAMBDA_PAYLOAD_BYTES} bytes"),
            Self::Init => write!(f, "could not start"),
            Self::Handler => write!(f, "returned an error"),
        }
    }
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) target: &'a Target,
    pub(crate) bytes: usize,
    /// Most bytes that the kind of invocation takes.
    pub(crate) limit: usize,
}

/// What came back.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    /// `x-amzn-ErrorType`.
    pub(crate) error_type: Option<&'a str>,
    /// `X-Amz-Function-Error`.
    pub(crate) function_error: Option<&'a str>,
    /// `Retry-After`.
    pub(crate) retry_after: Option<&'a str>,
    /// `x-amzn-RequestId`.
    pub(crate) request_id: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// Error bodies of the service and of functions; each has some of the fields.
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    #[serde(rename = "errorMessage")]
    error_message: Option<String>,
    #[serde(rename = "Reason")]
    reason: Option<String>,
    #[serde(rename = "retryAfterSeconds")]
    retry_after_seconds: Option<serde_json::Value>,
}

/// Whether `reply` is the function's answer, or else why not.
pub(crate) fn classify(sent: Sent<'_>, reply: &Reply<'_>) -> Result<(), Refusal> {
    let success = (200..300).contains(&reply.status);
    let body = error_body(reply);
    if reply.status != 429
        && let Some((fault, text)) = function_fault(reply, &body)
    {
        let text = if text.is_empty() { String::new() } else { format!(": {}", shown(&text)) };
        let message = format!("function {} {fault}{text}{}", sent.target, request_id(reply));
        return Err(Error::new(fault.kind(), message).into());
    }
    if success {
        return Ok(());
    }
    let reason = api_error(reply, &body);
    let (kind, text) = refused(sent, reply.status, &reason);
    let retry_after = (kind == ErrorKind::Throttled).then(|| retry_after(reply, &body)).flatten();
    Err(Refusal { error: Error::new(kind, format!("{text}{}", request_id(reply))), retry_after, billed: None })
}

/// Kind and message for an invocation that the service did not perform.
fn refused(sent: Sent<'_>, status: u16, reason: &str) -> (ErrorKind, String) {
    let Sent { target, bytes, limit } = sent;
    let function = target.function();
    match (status, reason) {
        (429, _) => (ErrorKind::Throttled, format!("Lambda has no room for function {target} ({reason})")),
        (_, "ExpiredTokenException" | "ExpiredToken") => {
            (ErrorKind::AccessDenied, format!("the AWS credentials for invoking function {target} have expired"))
        }
        (_, "InvalidSignatureException" | "SignatureDoesNotMatch") => (
            ErrorKind::AccessDenied,
            format!(
                "Lambda refused the signature of an invocation of function {target}: check the secret key and this host's clock"
            ),
        ),
        (401 | 403, _) => (
            ErrorKind::AccessDenied,
            format!("Lambda refused to invoke function {target} ({reason}): the caller's role needs lambda:InvokeFunction on it"),
        ),
        (404, _) => (
            ErrorKind::NotFound,
            format!(
                "there is no Lambda function {function} with the version or alias {} ({reason}): publish a version, point the \
                 alias at it, and check the names and the region in the coordinator's environment",
                target.qualifier()
            ),
        ),
        (413, _) => (
            ErrorKind::LimitExceeded,
            format!("Lambda refused a payload of {bytes} bytes for function {target}: the limit is {limit} bytes"),
        ),
        (408, _) => (ErrorKind::Unavailable, format!("function {target} timed out ({reason})")),
        (409, _) => (ErrorKind::Unavailable, format!("function {target} cannot be invoked at the moment ({reason})")),
        (500.., _) => (ErrorKind::Unavailable, format!("Lambda failed to invoke function {target} ({reason})")),
        _ => (ErrorKind::Internal, format!("Lambda refused an invocation of function {target} ({reason})")),
    }
}

/// The failure of a function that was started, with the text that it left.
fn function_fault(reply: &Reply<'_>, body: &ErrorBody) -> Option<(FunctionFault, String)> {
    let message = body.error_message.clone().unwrap_or_default();
    if let Some(error_type) = &body.error_type {
        let text = if message.is_empty() { error_type.clone() } else { format!("{error_type}: {message}") };
        return Some((FunctionFault::of(error_type, &message), text));
    }
    let start = &reply.body[..reply.body.len().min(MAX_FAULT_BYTES)];
    let text = String::from_utf8_lossy(start);
    // The runtime emulators tell a timeout in plain text with status 200, or with 500 and 502.
    let plain = !text.trim_start().starts_with(['{', '[', '"']) && text.len() < MAX_FAULT_CHARS;
    if plain && text.contains(TIMED_OUT_TEXT) {
        return Some((FunctionFault::TimedOut, text.trim().to_owned()));
    }
    reply.function_error?;
    Some((FunctionFault::of("", &message), if message.is_empty() { text.into_owned() } else { message }))
}

/// Reads the body where it can be a report of an error: outcomes are JSON objects too, and can be megabytes.
fn error_body(reply: &Reply<'_>) -> ErrorBody {
    let body = reply.body;
    let suspect = !(200..300).contains(&reply.status)
        || reply.function_error.is_some()
        || std::str::from_utf8(&body[..body.len().min(MAX_FAULT_BYTES)]).is_ok_and(|text| text.contains("\"errorType\""));
    if !suspect || body.len() > MAX_FAULT_BYTES {
        return ErrorBody::default();
    }
    serde_json::from_slice(body).unwrap_or_default()
}

/// The service's name for an error: a throttle's reason, the type, or the status.
fn api_error(reply: &Reply<'_>, body: &ErrorBody) -> String {
    // "TooManyRequestsException:http://internal.amazon.com/..."
    let error_type = reply.error_type.and_then(|text| name(text.split(':').next().unwrap_or_default()));
    let reason = body.reason.as_deref().and_then(name);
    reason.or(error_type).map_or_else(|| format!("HTTP {}", reply.status), str::to_owned)
}

fn retry_after(reply: &Reply<'_>, body: &ErrorBody) -> Option<Duration> {
    let in_body = body.retry_after_seconds.as_ref().and_then(|value| match value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    });
    let in_header = reply.retry_after.and_then(|text| text.trim().parse().ok());
    in_header.max(in_body).map(Duration::from_secs)
}

fn request_id(reply: &Reply<'_>) -> String {
    reply.request_id.and_then(name).map(|id| format!(" [request {id}]")).unwrap_or_default()
}

/// `text` if it can be a name: letters, digits and a few signs, nothing that could be data.
fn name(text: &str) -> Option<&str> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= MAX_NAME_BYTES;
    (fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))).then_some(text)
}

/// A function's text on one line of bounded length.
fn shown(text: &str) -> String {
    let mut line = String::new();
    for (number, c) in text.chars().enumerate() {
        if number == MAX_FAULT_CHARS {
            line.push('…');
            break;
        }
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::{AccessDenied, Internal, LimitExceeded, NotFound, Throttled, Unavailable};

    fn target() -> engine::Result<Target> {
        Target::new("owlet-worker", "live")
    }

    const KILLED: &str =
        r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: Runtime exited with error: signal: killed"}"#;
    const EXITED: &str =
        r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: Runtime exited with error: exit status 1"}"#;
    const TIMED_OUT: &str =
        r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 1 Error: Task timed out after 3.00 seconds"}"#;
    const OLD_TIMEOUT: &str = r#"{"errorMessage":"2026-01-01T00:00:00Z 1 Task timed out after 3.00 seconds"}"#;
    const LARGE: &str = r#"{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded"}"#;
    const INIT: &str =
        r#"{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: 1 Error: Couldn't find valid bootstrap"}"#;
    const HANDLER: &str = r#"{"errorType":"&owlet::Bug","errorMessage":"it broke","stackTrace":[]}"#;
    const THROTTLED: &str =
        r#"{"Type":"User","message":"Rate exceeded","Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}"#;
    const UNHANDLED: Option<&str> = Some("Unhandled");

    /// Status, error type header, function error header, body; kind and a part of the message.
    type Case<'a> = (u16, Option<&'a str>, Option<&'a str>, &'a str, Option<(ErrorKind, &'a str)>);

    fn check(cases: &[Case<'_>]) -> engine::Result<()> {
        let target = target()?;
        let sent = Sent { target: &target, bytes: 7_000_000, limit: LAMBDA_PAYLOAD_BYTES };
        for (status, error_type, function_error, body, expected) in cases {
            let reply = Reply {
                status: *status,
                error_type: *error_type,
                function_error: *function_error,
                body: body.as_bytes(),
                ..Reply::default()
            };
            let got = classify(sent, &reply).err().map(|refusal| refusal.error);
            match (got, expected) {
                (None, None) => {}
                (Some(got), Some((kind, part))) => {
                    assert!(got.kind == *kind && got.message.contains(part), "{status} {body}: {got}");
                }
                (got, expected) => panic!("{status} {body}: {got:?} instead of {expected:?}"),
            }
        }
        Ok(())
    }

    #[test]
    fn every_answer_of_the_service_has_one_meaning() -> engine::Result<()> {
        check(&[
            (200, None, None, r#"{"outcome":"AA=="}"#, None),
            (200, None, None, "", None),
            (202, None, None, "", None),
            (200, None, None, r#"{"outcome":"an \"errorType\" inside"}"#, None),
            (200, None, None, r#"{"outcome":"Task timed out after 3.00 seconds"}"#, None),
            (429, None, None, "", Some((Throttled, "HTTP 429"))),
            (429, Some("TooManyRequestsException:http://x/"), None, "{}", Some((Throttled, "(TooManyRequestsException)"))),
            (429, Some("TooManyRequestsException"), None, THROTTLED, Some((Throttled, "ReservedFunctionConcurrent"))),
            (429, None, None, HANDLER, Some((Throttled, "no room"))),
            (500, Some("ServiceException"), None, r#"{"Message":"oh"}"#, Some((Unavailable, "ServiceException"))),
            (502, None, None, "<html>", Some((Unavailable, "HTTP 502"))),
            (502, Some("InvalidRuntimeException"), None, "{}", Some((Unavailable, "InvalidRuntimeException"))),
            (503, None, None, "", Some((Unavailable, "HTTP 503"))),
            (409, Some("ResourceConflictException"), None, "{}", Some((Unavailable, "at the moment"))),
            (408, None, None, "", Some((Unavailable, "timed out"))),
            (413, Some("RequestTooLargeException"), None, "{}", Some((LimitExceeded, "7000000 bytes for function"))),
            (404, Some("ResourceNotFoundException"), None, "{}", Some((NotFound, "owlet-worker with the version or alias live"))),
            (403, Some("AccessDeniedException"), None, "{}", Some((AccessDenied, "owlet-worker:live (AccessDeniedException)"))),
            (403, None, None, "{}", Some((AccessDenied, "lambda:InvokeFunction"))),
            (403, Some("ExpiredTokenException"), None, "{}", Some((AccessDenied, "have expired"))),
            (403, Some("InvalidSignatureException"), None, "{}", Some((AccessDenied, "clock"))),
            (400, Some("InvalidRequestContentException"), None, "{}", Some((Internal, "InvalidRequestContentException"))),
            (302, None, None, "", Some((Internal, "HTTP 302"))),
        ])
    }

    #[test]
    fn every_failure_of_a_function_has_one_meaning() -> engine::Result<()> {
        check(&[
            (200, None, UNHANDLED, TIMED_OUT, Some((Unavailable, "live timed out: Sandbox.Timedout"))),
            (200, None, UNHANDLED, OLD_TIMEOUT, Some((Unavailable, "live timed out: 2026"))),
            (200, None, UNHANDLED, KILLED, Some((Unavailable, "was killed, probably because it ran out of memory"))),
            (200, None, UNHANDLED, EXITED, Some((Unavailable, "exited before it answered"))),
            (200, None, UNHANDLED, LARGE, Some((LimitExceeded, "6291556 bytes"))),
            (200, None, UNHANDLED, INIT, Some((Unavailable, "could not start"))),
            (200, None, UNHANDLED, HANDLER, Some((Internal, "returned an error: &owlet::Bug: it broke"))),
            (200, None, Some("Handled"), "not JSON", Some((Internal, "returned an error: not JSON"))),
            (200, None, UNHANDLED, "", Some((Internal, "returned an error"))),
            // The runtime emulator and `cargo lambda watch`.
            (200, None, None, HANDLER, Some((Internal, "it broke"))),
            (500, None, None, HANDLER, Some((Internal, "it broke"))),
            (200, None, None, TIMED_OUT, Some((Unavailable, "timed out"))),
            (502, None, None, EXITED, Some((Unavailable, "exited"))),
            (502, None, None, KILLED, Some((Unavailable, "killed"))),
            (200, None, None, LARGE, Some((LimitExceeded, "6291556"))),
            (200, None, None, "Task timed out after 3.00 seconds", Some((Unavailable, "timed out"))),
            (500, None, None, "Task timed out after 3.00 seconds", Some((Unavailable, "timed out"))),
        ])
    }

    #[test]
    fn the_longer_of_two_asked_pauses_counts() -> engine::Result<()> {
        let target = target()?;
        let sent = Sent { target: &target, bytes: 1, limit: 2 };
        for (header, body, seconds) in [
            (None, "{}", None),
            (Some("2"), "{}", Some(2)),
            (Some("2"), r#"{"retryAfterSeconds":"7"}"#, Some(7)),
            (None, r#"{"retryAfterSeconds":3}"#, Some(3)),
            (Some("Wed, 21 Oct 2026 07:28:00 GMT"), r#"{"retryAfterSeconds":-3}"#, None),
        ] {
            let reply = Reply { status: 429, retry_after: header, body: body.as_bytes(), ..Reply::default() };
            let asked = classify(sent, &reply).err().and_then(|refusal| refusal.retry_after);
            assert_eq!(asked, seconds.map(Duration::from_secs), "{header:?} {body}");
        }
        Ok(())
    }

    #[test]
    fn messages_are_bounded_and_hold_no_data_of_the_request() -> engine::Result<()> {
        let target = target()?;
        let sent = Sent { target: &target, bytes: 1, limit: 2 };
        let secret = r#"{"message":"The Canonical String should have been x-amz-security-token:SECRET","Reason":"SECRET x","Type":"SECRET"}"#;
        for status in [400, 403, 404, 413, 429, 500] {
            let reply = Reply { status, error_type: Some("a b SECRET"), body: secret.as_bytes(), ..Reply::default() };
            let refusal = classify(sent, &reply).err().ok_or_else(|| Error::internal("no error"))?;
            assert!(!refusal.error.message.contains("SECRET"), "{}", refusal.error);
        }
        let long = format!(r#"{{"errorType":"E","errorMessage":"\u001b[31m\n{}"}}"#, "é".repeat(50_000));
        let reply = Reply { status: 200, body: long.as_bytes(), request_id: Some("id-1"), ..Reply::default() };
        let refusal = classify(sent, &reply).err().ok_or_else(|| Error::internal("no error"))?;
        let message = refusal.error.message;
        assert!(message.contains(r"\u{1b}[31m\n") && message.ends_with("… [request id-1]"), "{message}");
        assert!(message.chars().count() < MAX_FAULT_CHARS + 200 && !message.chars().any(char::is_control));
        Ok(())
    }

    #[test]
    fn any_bytes_are_classified() -> engine::Result<()> {
        let target = target()?;
        let sent = Sent { target: &target, bytes: 1, limit: 2 };
        let mut state = 1_u64;
        for round in 0..5_000_u16 {
            let mut body = br#"{"errorType":"Runtime.ExitError","errorMessage":"signal: killed"}"#.to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 40) as usize % body.len();
                body[at] = (state >> 32) as u8;
            }
            let status = [200, 202, 429, 500, 404, round][usize::from(round) % 6];
            let reply =
                Reply { status, function_error: (round % 2 == 0).then_some("Unhandled"), body: &body, ..Reply::default() };
            let accepted = classify(sent, &reply).is_ok();
            assert!(!accepted || (200..300).contains(&status));
        }
        Ok(())
    }
}
