//! Small HTTP/1 servers on loopback ports: accept, read a bounded body, answer.
use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Payload limit of Lambda for requests and responses, in bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 6_291_556;
/// Bytes of a too large body that are read and dropped, so that the caller gets to read the refusal.
const MAX_DROPPED_BYTES: usize = 32 * 1024 * 1024;
/// Time for a whole body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the headers to arrive, and for an idle connection to be used again.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of one listener; more wait in the backlog.
const MAX_CONNECTIONS: usize = 4096;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed on purpose")]
pub(crate) struct Hangup;

/// Answers the requests of one listener.
pub(crate) trait Service: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Result<Answer, Hangup>> + Send;
}

/// Opens an ephemeral loopback port.
pub(crate) async fn listen() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until dropped; its connections end with it. `slow_ok` allows connections that stay idle for ever.
pub(crate) async fn serve<S: Service>(listener: TcpListener, service: Arc<S>, slow_ok: bool) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                if let Ok((stream, peer)) = accepted {
                    connections.spawn(serve_connection(stream, peer, Arc::clone(&service), slow_ok));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection<S: Service>(stream: TcpStream, peer: SocketAddr, service: Arc<S>, slow_ok: bool) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { service.answer(request, peer).await }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout((!slow_ok).then_some(HEADER_TIMEOUT));
    // An error here is the peer's end of the connection; there is nobody to tell.
    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
}

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// More than the limit.
    TooLarge,
    /// The connection broke or was too slow.
    Broken,
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    tokio::time::timeout(BODY_TIMEOUT, collect(body, limit)).await.unwrap_or(Err(BodyError::Broken))
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    let mut bytes = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        total += data.len();
        if total > MAX_DROPPED_BYTES {
            return Err(BodyError::TooLarge);
        }
        if total <= limit {
            bytes.extend_from_slice(&data);
        }
    }
    if total > limit { Err(BodyError::TooLarge) } else { Ok(bytes.freeze()) }
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}
