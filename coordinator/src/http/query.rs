//! `POST /v1/query`.

use super::error::ApiError;
use super::{Caller, MAX_BODY_BYTES, header};
use crate::record::{QueryRecord, QueryState};
use crate::result::ResultFormat;
use crate::service::{QueryRequest, Service, Submitted};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Time in which a request must have sent its body.
const BODY_TIME: Duration = Duration::from_secs(20);
/// Longest receipt that goes into a header, in bytes.
const MAX_RECEIPT_HEADER_BYTES: usize = 6_000;

/// Runs or starts a query.
pub(super) async fn submit(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Query(options): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if let Some(name) = options.keys().next() {
        return Err(ApiError::bad_request(format!("'{name}': options go into the JSON body, not into the URL")));
    }
    let body = whole(body).await?;
    let request = parse(&headers, &body)?;
    let accepted = match request.format {
        // It wins over what Accept says, also over nothing of ours.
        Some(_) => ResultFormat::Json,
        None => accepted(&headers)?,
    };
    let request = request.check(accepted)?;
    let format = request.format;
    match service.submit(&caller.principal, request, caller.invocation).await? {
        Submitted::Rows { record, body, rows } => Ok(rows_answer(&record, format, body, rows)),
        Submitted::Record(record) => record_answer(&service, &record).await,
        Submitted::TokenReused => Err(ApiError::new(
            StatusCode::CONFLICT,
            "TOKEN_REUSED",
            "the client token belongs to another request; take a new one for another statement, format or limits",
        )),
    }
}

/// The format that `Accept` asks for; JSON when it does not say.
fn accepted(headers: &HeaderMap) -> Result<ResultFormat, ApiError> {
    let accept = header(headers, "accept").unwrap_or("");
    ResultFormat::from_accept(accept).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_ACCEPTABLE,
            "NOT_ACCEPTABLE",
            "Accept names none of application/json, application/x-ndjson, text/csv and application/vnd.apache.arrow.stream",
        )
    })
}

async fn whole(body: Body) -> Result<Bytes, ApiError> {
    let read = Limited::new(body, MAX_BODY_BYTES).collect();
    let late = engine::clock::sleep(BODY_TIME);
    let read = tokio::select! {
        read = read => read,
        () = late => {
            let message = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message));
        }
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BODY_TOO_LARGE",
            format!("a request has at most {MAX_BODY_BYTES} bytes"),
        )),
        Err(_) => Err(ApiError::bad_request("the body broke off")),
    }
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<QueryRequest, ApiError> {
    let media = header(headers, "content-type").unwrap_or("application/json");
    let (media, charset) = media.split_once(';').unwrap_or((media, ""));
    if charset.to_ascii_lowercase().contains("charset=") && !charset.to_ascii_lowercase().contains("utf-8") {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", "send UTF-8"));
    }
    if header(headers, "content-encoding").is_some_and(|coding| !coding.trim().eq_ignore_ascii_case("identity")) {
        let message = "a body is taken as it is: send it without Content-Encoding";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message));
    }
    match media.trim().to_ascii_lowercase().as_str() {
        // A list of the fields' values would do for a structure, but not for a reader.
        "application/json" if body.trim_ascii_start().first() == Some(&b'[') => {
            Err(ApiError::bad_request("the body is not a query request: send an object, as {\"sql\": \"SELECT 1\"}"))
        }
        "application/json" => {
            serde_json::from_slice(body).map_err(|e| ApiError::bad_request(format!("the body is not a query request: {e}")))
        }
        "text/plain" | "application/sql" => match std::str::from_utf8(body) {
            Ok(sql) => Ok(QueryRequest::of(sql.to_string())),
            Err(_) => Err(ApiError::bad_request("the SQL text is not UTF-8")),
        },
        other => {
            let shown: String = other.chars().take(60).collect();
            let message = format!("'{shown}' is not taken; send application/json, or the SQL as text/plain");
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message))
        }
    }
}

fn rows_answer(record: &QueryRecord, format: ResultFormat, body: Bytes, rows: u64) -> Response {
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(format.content_type()));
    headers.insert("x-owlet-rows", HeaderValue::from(rows));
    set(headers, "x-owlet-query-id", &record.query_id.to_string());
    if let Some(receipt) = record.receipt.as_ref().map(brief).filter(|text| text.len() <= MAX_RECEIPT_HEADER_BYTES) {
        set(headers, "x-owlet-receipt", &receipt);
    }
    response
}

/// A stored receipt without its lists, in ASCII.
fn brief(receipt: &Value) -> String {
    let mut receipt = receipt.clone();
    if let Some(fields) = receipt.as_object_mut() {
        fields.shift_remove("stages");
        fields.shift_remove("attempt_list");
    }
    let escaped = |c: char| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    receipt.to_string().chars().map(|c| if c.is_ascii() { c.to_string() } else { escaped(c) }).collect()
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// What is known of a query whose rows are not in this answer.
async fn record_answer(service: &Service, record: &QueryRecord) -> Result<Response, ApiError> {
    let view = record.view()?;
    let own = format!("/v1/queries/{}", record.query_id);
    let (status, location, body) = match (record.state, &record.error) {
        (QueryState::Queued | QueryState::Running, _) => (StatusCode::ACCEPTED, own, json!({ "query": view })),
        (QueryState::Succeeded, _) if record.result.is_some() => {
            let url = service.result_url(record).await?.unwrap_or_else(|| format!("{own}/result"));
            (StatusCode::SEE_OTHER, url.clone(), json!({ "query": view, "url": url }))
        }
        (QueryState::Succeeded, _) => (StatusCode::OK, own, json!({ "query": view })),
        (QueryState::Cancelled, _) => {
            return Err(ApiError::of_query("CANCELLED", "the query was cancelled").with_query(view));
        }
        (QueryState::Failed, Some(error)) => return Err(ApiError::of_query(&error.code, &error.message).with_query(view)),
        (QueryState::Failed, None) => return Err(ApiError::of_query("INTERNAL", "the query failed").with_query(view)),
    };
    let mut response = (status, Json(body)).into_response();
    set(response.headers_mut(), "location", &location);
    set(response.headers_mut(), "x-owlet-query-id", &record.query_id.to_string());
    Ok(response)
}
