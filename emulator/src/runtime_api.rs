//! The Runtime API (2018-06-01) of one environment: hands events to the process and takes its answers.
use crate::http::{self, Answer, BodyError, Hangup, MAX_PAYLOAD_BYTES, Service, json};
use ::http::{HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use hyper::body::Incoming;
use serde_json::json as value;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

const PREFIX: &str = "/2018-06-01/runtime/";
/// Reports that the environment has not read yet; a process that sends more has to wait.
const MAX_REPORTS: usize = 8;

/// One event on its way to the process.
pub(crate) struct Work {
    pub(crate) request_id: String,
    pub(crate) function_arn: String,
    pub(crate) trace_id: String,
    /// Milliseconds since 1970 at which the process will be killed.
    pub(crate) deadline_ms: u128,
    pub(crate) payload: Bytes,
}

/// What the process tells.
pub(crate) enum Report {
    /// It waits for the next event.
    Ready,
    /// It answered the current event.
    Answer(Bytes),
    /// Its answer to the current event was above the limit.
    TooLarge,
    /// It could not handle the current event; the body is its error JSON.
    Error(Bytes),
    /// It could not start; the body is its error JSON.
    InitError(Bytes),
}

/// Server side of one environment.
pub(crate) struct RuntimeApi {
    work: tokio::sync::Mutex<mpsc::Receiver<Work>>,
    reports: mpsc::Sender<Report>,
    /// Request id that waits for its answer.
    current: Mutex<Option<String>>,
}

/// A server with the sender of its events and the receiver of its reports.
pub(crate) fn channel() -> (RuntimeApi, mpsc::Sender<Work>, mpsc::Receiver<Report>) {
    let (work_sender, work) = mpsc::channel(1);
    let (reports, report_receiver) = mpsc::channel(MAX_REPORTS);
    let api = RuntimeApi { work: tokio::sync::Mutex::new(work), reports, current: Mutex::new(None) };
    (api, work_sender, report_receiver)
}

impl Service for RuntimeApi {
    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Result<Answer, Hangup> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default();
        if parts.method == Method::GET && path == "invocation/next" {
            return self.next().await;
        }
        if parts.method != Method::POST {
            return Ok(refuse(StatusCode::NOT_FOUND, "NotFound", "no such operation of the Runtime API"));
        }
        if path == "init/error" {
            let Ok(body) = http::read_body(body, MAX_PAYLOAD_BYTES).await else { return Err(Hangup) };
            return self.report(Report::InitError(body)).await;
        }
        match path.strip_prefix("invocation/").and_then(|rest| rest.split_once('/')) {
            Some((id, "response")) => self.finish(id, body, Report::Answer).await,
            Some((id, "error")) => self.finish(id, body, Report::Error).await,
            _ => Ok(refuse(StatusCode::NOT_FOUND, "NotFound", "no such operation of the Runtime API")),
        }
    }
}

impl RuntimeApi {
    async fn next(&self) -> Result<Answer, Hangup> {
        let mut work = self.work.lock().await;
        self.reports.send(Report::Ready).await.map_err(|_| Hangup)?;
        let work = work.recv().await.ok_or(Hangup)?;
        let mut answer = json(StatusCode::OK, work.payload);
        let deadline = work.deadline_ms.to_string();
        let headers = [
            ("lambda-runtime-aws-request-id", work.request_id.as_str()),
            ("lambda-runtime-deadline-ms", deadline.as_str()),
            ("lambda-runtime-invoked-function-arn", work.function_arn.as_str()),
            ("lambda-runtime-trace-id", work.trace_id.as_str()),
        ];
        for (name, text) in headers {
            answer.headers_mut().insert(name, HeaderValue::from_str(text).map_err(|_| Hangup)?);
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(work.request_id);
        Ok(answer)
    }

    async fn finish(&self, id: &str, body: Incoming, report: fn(Bytes) -> Report) -> Result<Answer, Hangup> {
        let body = http::read_body(body, MAX_PAYLOAD_BYTES).await;
        if self.current.lock().unwrap_or_else(PoisonError::into_inner).take_if(|current| current == id).is_none() {
            return Ok(refuse(StatusCode::BAD_REQUEST, "InvalidRequestID", "this request id waits for no answer"));
        }
        match body {
            Ok(body) => self.report(report(body)).await,
            Err(BodyError::Broken) => Err(Hangup),
            Err(BodyError::TooLarge) => {
                self.report(Report::TooLarge).await?;
                let text = format!("Exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).");
                Ok(refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &text))
            }
        }
    }

    async fn report(&self, report: Report) -> Result<Answer, Hangup> {
        self.reports.send(report).await.map_err(|_| Hangup)?;
        Ok(json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#))
    }
}

fn refuse(status: StatusCode, kind: &str, message: &str) -> Answer {
    json(status, value!({"errorType": kind, "errorMessage": message}).to_string())
}
