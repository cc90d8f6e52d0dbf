//! A server for tests: answers by a rule, and remembers what it was asked.

use arrow::array::{Int64Array, RecordBatch};
use arrow::ipc::writer::StreamWriter;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Response, Uri};
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) type Tested = Result<(), Box<dyn std::error::Error>>;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// JSON; null when there is none.
    pub(crate) body: Value,
}

impl Asked {
    /// `METHOD path?query`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Fake {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: Runtime,
}

impl Fake {
    /// Starts it; `answer` gets each request and how many came before it.
    pub(crate) fn start(
        answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (own, answer) = (Arc::clone(&asked), Arc::new(answer));
        let route = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let (own, answer) = (Arc::clone(&own), Arc::clone(&answer));
            async move {
                let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                let request = Asked { method, path, headers, body: serde_json::from_slice(&body).unwrap_or_default() };
                let before = {
                    let mut all = own.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(request.clone());
                    all.len() - 1
                };
                answer(&request, before).for_request(&request).into_response().await
            }
        };
        runtime.spawn(async move { axum::serve(listener, Router::new().fallback(route)).await });
        Ok(Self { url, asked, _runtime: runtime })
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }
}

/// What it answers.
pub(crate) enum Reply {
    /// Status and JSON.
    Json(u16, Value),
    /// Rows, with these headers.
    Rows(Vec<(&'static str, String)>, Vec<u8>),
    /// There, by 303.
    Elsewhere(String),
    /// Headers, and then the end of the connection.
    Cut,
    /// Nothing, ever.
    Silence,
}

impl Reply {
    /// A GET of one query gives the record itself, as the real server does; other answers tell of it under `query`.
    fn for_request(self, request: &Asked) -> Self {
        let of_one = request.method == Method::GET && !request.path.contains('?') && !request.path.ends_with("/result");
        match self {
            Self::Json(200, mut body) if of_one && body["error"].is_null() => Self::Json(200, body["query"].take()),
            other => other,
        }
    }

    async fn into_response(self) -> Response<Body> {
        let mut response = match self {
            Self::Json(status, body) => {
                let mut response = Response::new(Body::from(body.to_string()));
                *response.status_mut() = status.try_into().unwrap_or_default();
                response
            }
            Self::Rows(headers, body) => {
                let mut response = Response::new(Body::from(body));
                let own = response.headers_mut();
                own.insert("content-type", HeaderValue::from_static(super::client::ARROW));
                for (name, value) in headers {
                    if let Ok(value) = value.parse() {
                        own.insert(name, value);
                    }
                }
                response
            }
            Self::Elsewhere(url) => {
                let mut response = Response::new(Body::from("{}"));
                *response.status_mut() = http::StatusCode::SEE_OTHER;
                if let Ok(url) = url.parse() {
                    response.headers_mut().insert("location", url);
                }
                response
            }
            Self::Cut => {
                let broken = futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(io::Error::other("cut"))]);
                Response::new(Body::from_stream(broken))
            }
            Self::Silence => std::future::pending().await,
        };
        response.headers_mut().insert("connection", HeaderValue::from_static("keep-alive"));
        response
    }
}

/// An Arrow stream with a column `n` of these numbers.
pub(crate) fn stream(numbers: &[i64]) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    let batch = RecordBatch::try_from_iter([("n", column)])?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    writer.into_inner()
}

/// Rows in a first answer, which promises `promised` of them.
pub(crate) fn inline(numbers: &[i64], promised: u64) -> Reply {
    let receipt = json!({"rows": promised, "elapsed_ms": 3, "tasks": 0}).to_string();
    let headers = vec![("x-owlet-query-id", ID.to_owned()), ("x-owlet-rows", promised.to_string()), ("x-owlet-receipt", receipt)];
    Reply::Rows(headers, stream(numbers).unwrap_or_default())
}

/// A page, which `next` follows.
pub(crate) fn page(numbers: &[i64], next: Option<u32>) -> Reply {
    let headers = next.map(|next| ("x-owlet-next-page", next.to_string())).into_iter().collect();
    Reply::Rows(headers, stream(numbers).unwrap_or_default())
}

/// The id of every query here.
pub(crate) const ID: &str = "0193562c-8f7a-7c3e-9d1b-2f60c1a4e5d7";

/// A record in `state`; with a result of so many rows and pages.
pub(crate) fn record(state: &str, result: Option<(u64, u32)>) -> Value {
    let result =
        result.map(|(rows, pages)| json!({"format": "arrow", "location": "x", "rows": rows, "bytes": 1, "pages": pages}));
    let progress = json!({"stages": [{"stage": 1, "done": 1, "tasks": 4}], "scanned_bytes": 7, "cost_nano_usd": 8});
    json!({"query": {
        "version": 1, "query_id": ID, "state": state, "sql": "SELECT n", "submitted_at": "2026-11-24T03:40:00.123Z",
        "ended_at": null, "progress": progress, "error": null, "result": result, "receipt": {"rows": 3, "elapsed_ms": 9},
    }})
}
