//! An S3 server inside the test process: buckets in RAM or over a directory, a request ledger and planned faults.
//!
//! ```text
//! client -> connection (bandwidth, reset) -> front (ledger, faults) -> s3s (SigV4, XML) -> service -> store
//! ```
//!
//! It checks signatures, honours conditions on reads and writes atomically, and counts what reaches it.
//! It runs on threads of its own, so it serves blocked tests, paused clocks and child programs alike.

mod connection;
mod faults;
mod front;
mod ledger;
mod list;
mod request;
mod service;
mod store;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use faults::{Failure, Fault, FaultCount, FaultId, FaultKind, Faults};
pub use ledger::{Ledger, MAX_RECORDS, Record};
pub use request::Op;

use connection::{Connection, ResetSwitch};
use front::Front;
use service::Service;
use store::Store;

/// The only access key that the server knows.
pub const ACCESS_KEY: &str = "OWLETTESTACCESSKEY00";
/// The secret of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "owlet-test-secret-key-0123456789abcdefgh";
/// The region to sign for; the server accepts any.
pub const REGION: &str = "us-east-1";

/// Threads that serve connections; file reads have their own.
const SERVER_THREADS: usize = 2;

/// A running server; dropping it closes all its connections and forgets all its objects.
pub struct S3Server {
    address: SocketAddr,
    front: Arc<Front>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts a server without buckets on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let store = Arc::new(Store::default());
        let mut builder = S3ServiceBuilder::new(Service(Arc::clone(&store)));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let front = Arc::new(Front { service: builder.build(), store, books: Arc::default(), faults: Arc::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SERVER_THREADS)
            .thread_name("s3-server")
            .enable_all()
            .build()
            .expect("a runtime for the S3 server");
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&front);
        let thread = std::thread::Builder::new()
            .name("s3-server".to_owned())
            .spawn(move || run(runtime, listener, shared, stopped))
            .expect("a thread for the S3 server");
        Self { address, front, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`; buckets are in the path.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `AmazonS3Builder::from_env` and the AWS SDKs need in the environment of a child program.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
        ]
    }

    /// Makes an empty bucket, or keeps the one there is. The name needs three characters at least.
    pub fn create_bucket(&self, name: &str) {
        self.front.store.create_bucket(name);
    }

    /// Makes a bucket whose objects are the files below `dir` as they are now; keys are relative paths.
    ///
    /// Files are never written. A put, an overwrite or a delete of any key changes the bucket in RAM only.
    pub fn mount(&self, bucket: &str, dir: &Path) {
        self.front.store.mount(bucket, dir).unwrap_or_else(|error| panic!("mounting {}: {error}", dir.display()));
    }

    /// Writes an object past signatures, conditions, faults and ledger. The bucket must exist.
    pub fn put(&self, bucket: &str, key: &str, body: Bytes) {
        assert!(self.front.store.has_bucket(bucket).is_ok(), "no bucket {bucket}");
        self.front.store.replace(bucket, key, body);
    }

    /// Reads an object past signatures, faults and ledger.
    pub fn read(&self, bucket: &str, key: &str) -> Option<Bytes> {
        let object = self.front.store.get(bucket, key).ok()?;
        Some(object.read(0..object.size_bytes).expect("a mounted file is still readable"))
    }

    /// Deletes an object past signatures, faults and ledger.
    pub fn remove(&self, bucket: &str, key: &str) {
        self.front.store.remove(bucket, key);
    }

    /// The keys with this prefix, sorted; none if there is no such bucket.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let matching =
            self.front.store.scan(bucket, |objects| objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect());
        matching.unwrap_or_default()
    }

    /// The keys of multipart uploads that were begun and neither completed nor aborted, sorted.
    pub fn open_uploads(&self, bucket: &str) -> Vec<String> {
        self.front.store.open_uploads(bucket)
    }

    /// What reached the server up to now.
    pub fn ledger(&self) -> Ledger {
        self.front.books.snapshot()
    }

    /// Starts the ledger anew; what is still under way stays out of it.
    pub fn reset_ledger(&self) {
        self.front.books.reset();
    }

    /// The switches for what goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.front.faults
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server thread has been reported by its own test output.
            let _ = thread.join();
        }
    }
}

fn run(runtime: Runtime, listener: std::net::TcpListener, front: Arc<Front>, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("a non-blocking listener");
        accept(listener, front, stopped).await;
    });
    runtime.shutdown_background();
}

/// Serves connections until the server is dropped; dropping the set then closes them.
async fn accept(listener: TcpListener, front: Arc<Front>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&front)));
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, front: Arc<Front>) {
    // Without it small answers would wait for acknowledgements; a connection that refuses is only slower.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(ResetSwitch::default());
    let connection = Connection::new(stream, Arc::clone(&front.faults), Arc::clone(&reset));
    let service = service_fn(move |request| {
        let (front, reset) = (Arc::clone(&front), Arc::clone(&reset));
        async move { front.answer(request, reset).await }
    });
    // An error here is a planned fault or a client that left; both sides know already.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}
