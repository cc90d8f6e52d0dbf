//! The HTTP API of `docs/http-api.md`, the same behind a function and on a laptop.
//!
//! Whoever calls the router has put a [`Principal`] and an [`Invocation`] into the request; without a principal every
//! route answers 401.

mod error;
mod queries;
mod query;

use crate::service::{Invocation, Service};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use error::ApiError;
use serde_json::json;
use std::any::Any;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// Largest body of a request, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;

/// Who sends a request, as the server in front has found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal(pub String);

/// The routes over `service`.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/v1", get(version))
        .route("/v1/query", post(query::submit))
        .route("/v1/queries", get(queries::list))
        .route("/v1/queries/{id}", get(queries::read).delete(queries::cancel))
        .route("/v1/queries/{id}/result", get(queries::result))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(service)
        .layer(from_fn(plain_headers))
        .layer(CatchPanicLayer::custom(panicked))
}

async fn version() -> Response {
    Json(json!({ "name": "owlet", "version": env!("CARGO_PKG_VERSION"), "build": engine::task::build_id() })).into_response()
}

async fn no_such_route(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(100).collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        "NO_SUCH_ROUTE",
        format!("there is nothing at {path}; the routes are /v1/query, /v1/queries, /v1/queries/ID and /v1/queries/ID/result"),
    )
}

async fn method_not_allowed(request: Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", format!("{path} does not take {method}"))
}

/// Answers are of one caller at one moment, and never a page.
async fn plain_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the server panicked: this is a defect; the log tells more")
        .into_response()
}

/// The principal of a request and what its invocation allows.
pub(crate) struct Caller {
    pub(crate) principal: String,
    pub(crate) invocation: Invocation,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(Principal(principal)) = parts.extensions.get::<Principal>().cloned() else {
            let message = "the request does not say who sends it: sign it (AWS SigV4), or send a bearer token";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message));
        };
        let mut invocation = parts.extensions.get::<Invocation>().cloned().unwrap_or_default();
        if invocation.trace_parent.is_empty() {
            invocation.trace_parent =
                crate::trace::trace_parent(header(&parts.headers, "traceparent"), header(&parts.headers, "x-amzn-trace-id"));
        }
        Ok(Self { principal, invocation })
    }
}

/// A header as text, if it is there and is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
