//! `GET` and `DELETE` below `/v1/queries`.

use super::error::ApiError;
use super::{Caller, header};
use crate::record::{ListRequest, QueryRecord, QueryState, parse_query_id};
use crate::result::{PAGE_BYTES, ResultFormat, ResultReader};
use crate::service::Service;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Queries of one listing, when the request names no number.
const DEFAULT_LIST_LIMIT: usize = 50;

type Options = Query<BTreeMap<String, String>>;
/// The id in the path; one that is no text is no query's.
type Id = Result<Path<String>, PathRejection>;

/// The caller's queries, newest first.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Query(options): Options,
) -> Result<Json<Value>, ApiError> {
    let request = list_request(&options)?;
    let page = service.list(&caller.principal, request).await?;
    Ok(Json(json!({ "queries": page.queries, "next": page.next.map(|id| id.to_string()) })))
}

fn list_request(options: &BTreeMap<String, String>) -> Result<ListRequest, ApiError> {
    let mut request = ListRequest { before: None, limit: DEFAULT_LIST_LIMIT, state: None };
    for (name, value) in options {
        let wrong = |what: &str| ApiError::bad_request(format!("{name}: '{value}' is not {what}"));
        match name.as_str() {
            "limit" => {
                let most = crate::record::MAX_LIST_LIMIT;
                let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
                request.limit = limit.ok_or_else(|| wrong(&format!("a number from 1 to {most}")))?;
            }
            "before" => request.before = Some(parse_query_id(value).ok_or_else(|| wrong("a query id"))?),
            "state" => {
                let state = QueryState::from_name(value);
                request.state = Some(state.ok_or_else(|| wrong("QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED"))?);
            }
            _ => return Err(ApiError::bad_request(format!("'{name}' is no option; there are limit, before and state"))),
        }
    }
    Ok(request)
}

async fn find(service: &Service, caller: &Caller, id: Id) -> Result<QueryRecord, ApiError> {
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let missing = || ApiError::no_such_query(&id);
    let query = parse_query_id(&id).ok_or_else(missing)?;
    service.read(query, &caller.principal).await?.ok_or_else(missing)
}

/// One query.
pub(super) async fn read(State(service): State<Arc<Service>>, caller: Caller, id: Id) -> Result<Json<Value>, ApiError> {
    Ok(Json(find(&service, &caller, id).await?.view()?))
}

/// Cancels a query.
pub(super) async fn cancel(State(service): State<Arc<Service>>, caller: Caller, id: Id) -> Result<Response, ApiError> {
    let record = find(&service, &caller, id).await?;
    if record.state.is_final() {
        return Ok((StatusCode::OK, Json(json!({ "query": record.view()? }))).into_response());
    }
    match service.cancel(record.query_id, &caller.principal).await? {
        Some(record) => Ok((StatusCode::ACCEPTED, Json(json!({ "query": record.view()? }))).into_response()),
        None => Err(ApiError::no_such_query(&record.query_id.to_string())),
    }
}

/// Rows of a stored result: one page, or all of it.
pub(super) async fn result(
    State(service): State<Arc<Service>>,
    caller: Caller,
    id: Id,
    Query(options): Options,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let page = page_number(&options)?;
    let record = find(&service, &caller, id).await?;
    let reader = stored(&service, &record)?;
    let accept = header(&headers, "accept").unwrap_or("");
    let format = ResultFormat::best_for(accept, reader.formats()).ok_or_else(|| {
        let message = format!("the result is stored as {}; ask for that", reader.stored().format.name());
        ApiError::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message)
    })?;
    match page {
        Some(page) => page_answer(&reader, format, page).await,
        None => whole_answer(&service, &record, &reader, format).await,
    }
}

fn page_number(options: &BTreeMap<String, String>) -> Result<Option<usize>, ApiError> {
    match options.iter().next() {
        None => Ok(None),
        Some((name, value)) if name == "page" && options.len() == 1 => match value.parse() {
            Ok(page) => Ok(Some(page)),
            Err(_) => Err(ApiError::bad_request(format!("page: '{value}' is not a number"))),
        },
        Some((name, _)) => Err(ApiError::bad_request(format!("'{name}' is no option; there is page"))),
    }
}

fn stored(service: &Service, record: &QueryRecord) -> Result<ResultReader, ApiError> {
    if let Some(reader) = service.reader(record)? {
        return Ok(reader);
    }
    let view = record.view()?;
    Err(match (record.state, &record.error) {
        (QueryState::Queued | QueryState::Running, _) => {
            ApiError::new(StatusCode::CONFLICT, "RESULT_NOT_READY", "the query has not ended yet").with_query(view)
        }
        (QueryState::Failed, Some(error)) => ApiError::of_query(&error.code, &error.message).with_query(view),
        (QueryState::Cancelled, _) => ApiError::of_query("CANCELLED", "the query was cancelled").with_query(view),
        _ => ApiError::new(
            StatusCode::NOT_FOUND,
            "NO_RESULT",
            "the rows went out with the first answer; run the query with \"async\": true to store them",
        ),
    })
}

async fn page_answer(reader: &ResultReader, format: ResultFormat, page: usize) -> Result<Response, ApiError> {
    let pages = reader.stored().pages.len();
    if page >= pages {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "NO_RESULT",
            format!("there is no page {page}: the result has {pages}"),
        ));
    }
    let body = reader.page_as(page, format).await?;
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(format.content_type()));
    headers.insert("x-owlet-rows", HeaderValue::from(reader.stored().pages[page].rows));
    if let Some(next) = reader.next_page(page) {
        headers.insert("x-owlet-next-page", HeaderValue::from(next));
    }
    Ok(response)
}

async fn whole_answer(
    service: &Service,
    record: &QueryRecord,
    reader: &ResultReader,
    format: ResultFormat,
) -> Result<Response, ApiError> {
    let is_small = reader.stored().bytes <= PAGE_BYTES as u64 && reader.stored().format == format;
    if !is_small
        && reader.stored().format == format
        && let Some(url) = service.result_url(record).await?
    {
        let mut response = (StatusCode::SEE_OTHER, Json(json!({ "url": url }))).into_response();
        if let Ok(url) = HeaderValue::from_str(&url) {
            response.headers_mut().insert("location", url);
        }
        return Ok(response);
    }
    if !is_small && service.is_on_s3() {
        let message = "the result is too large for one answer in another format than it is stored in: read it by page";
        return Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message));
    }
    let body = reader.whole_as(format).await?;
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().insert("content-type", HeaderValue::from_static(format.content_type()));
    response.headers_mut().insert("x-owlet-rows", HeaderValue::from(reader.stored().rows));
    Ok(response)
}
