//! Connections: bounded in number, and in the time that a client may take to ask.

use super::patience::Patient;
use crate::failure::Failure;
use axum::Router;
use engine::{Error, ErrorKind};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at once; others wait to be accepted.
const MAX_CONNECTIONS: usize = 1_024;
/// Time in which a client must have sent the headers of a request; idle connections are closed after it.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// Longest time without progress of an answer that its client does not read.
const READER_TIME: Duration = Duration::from_secs(30);
/// Most bytes of headers.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Pause after the system refused a connection, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for requests under way to end when the server stops.
pub(super) const STOP_TIME: Duration = Duration::from_secs(5);

/// Opens the port.
///
/// # Errors
/// [`Failure::Query`] when the address cannot be used.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|e| {
        Failure::Query(Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}: {e}; choose another --listen")))
    })
}

/// Serves `router` until `stop`.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => break,
        };
        let Ok(place) = place else { break };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            engine::clock::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Answers are small and waited for.
        drop(stream.set_nodelay(true));
        let (service, stop) = (TowerToHyperService::new(router.clone()), stop.clone());
        connections.spawn(async move {
            let _place = place;
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(MAX_HEADER_BYTES);
            let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(Patient::new(stream, READER_TIME)), service));
            tokio::select! {
                // A client that goes away is no error of the server.
                ended = connection.as_mut() => drop(ended),
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    drop(connection.await);
                }
            }
        });
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = ended => {}
        () = engine::clock::sleep(STOP_TIME) => {}
    }
}
