//! The client and the invoker against a small fake of the Invoke API, and against sockets that misbehave.

use super::*;
use crate::lambda::{MAX_CALLS, MAX_EVENT_BYTES};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::settings::LAMBDA_PAYLOAD_BYTES;
use engine::task::RunningAttempts;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, stream};
use object_store::StaticCredentialProvider;
use object_store::aws::AwsCredential;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub(in crate::lambda) type TestResult = Result<(), Box<dyn std::error::Error>>;

pub(in crate::lambda) const LIMIT: Duration = Duration::from_secs(20);
const REPORT: &str =
    "REPORT RequestId: 1\tBilled Duration: 13 ms\tMemory Size: 1769 MB\tMax Memory Used: 80 MB\tInit Duration: 9.1 ms\n";

/// One request that the fake got.
#[derive(Clone)]
pub(in crate::lambda) struct Hit {
    number: usize,
    pub(in crate::lambda) uri: Uri,
    headers: HeaderMap,
    pub(in crate::lambda) body: Bytes,
}

impl Hit {
    pub(in crate::lambda) fn number(&self) -> usize {
        self.number
    }

    pub(in crate::lambda) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The worker's answer that gives the request back.
    pub(in crate::lambda) fn echo(&self) -> Response {
        let envelope: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let answer = serde_json::json!({"outcome": envelope["task"], "encoding": envelope["encoding"]});
        ([("x-amz-log-result", STANDARD.encode(REPORT))], answer.to_string()).into_response()
    }
}

type Hits = Arc<Mutex<Vec<Hit>>>;
type Behaviour = dyn Fn(Hit) -> BoxFuture<'static, Response> + Send + Sync;

pub(in crate::lambda) struct Fake {
    pub(in crate::lambda) url: String,
    hits: Hits,
    _server: JoinSet<()>,
}

impl Fake {
    /// Answers every request as `behaviour` says.
    pub(in crate::lambda) async fn start<F>(behaviour: impl Fn(Hit) -> F + Send + Sync + 'static) -> std::io::Result<Self>
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let hits: Hits = Arc::default();
        let behaviour: Arc<Behaviour> = Arc::new(move |hit| behaviour(hit).boxed());
        let app = Router::new().fallback(record).layer(DefaultBodyLimit::disable()).with_state((Arc::clone(&hits), behaviour));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap_or_default() });
        Ok(Self { url, hits, _server: server })
    }

    pub(in crate::lambda) fn hits(&self) -> Vec<Hit> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn record(State((hits, behaviour)): State<(Hits, Arc<Behaviour>)>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let hit = {
        let mut hits = hits.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = Hit { number: hits.len(), uri, headers, body };
        hits.push(hit.clone());
        hit
    };
    behaviour(hit).await
}

pub(in crate::lambda) fn throttle() -> Response {
    let body = r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#;
    (StatusCode::TOO_MANY_REQUESTS, [("x-amzn-errortype", "TooManyRequestsException")], body).into_response()
}

pub(in crate::lambda) fn client(url: &str, token: Option<&str>) -> Result<Arc<LambdaClient>> {
    let credential =
        AwsCredential { key_id: "AKIDEXAMPLE".to_owned(), secret_key: "SECRETKEY".to_owned(), token: token.map(str::to_owned) };
    let credentials = Arc::new(StaticCredentialProvider::new(credential));
    LambdaClient::new(Some(url), "eu-central-1", credentials).map(Arc::new)
}

fn invoker(url: &str, workers: usize, limit: Duration) -> Result<LambdaInvoker> {
    Ok(LambdaInvoker::new(client(url, Some("TOKEN"))?, Target::new("owlet-worker", "live")?, workers, limit))
}

async fn invoke(invoker: &LambdaInvoker, request: &'static [u8]) -> Invoked {
    invoker.invoke(Bytes::from_static(request), RunningAttempts::default().start()).await
}

fn failure(invoked: Invoked) -> Result<Error, String> {
    invoked.outcome.err().ok_or_else(|| "it succeeded".to_owned())
}

#[tokio::test]
async fn a_call_is_signed_and_its_bill_comes_back() -> TestResult {
    let fake = Fake::start(|hit| async move { hit.echo() }).await?;
    let invoked = invoke(&invoker(&fake.url, 4, LIMIT)?, b"the task").await;
    assert_eq!(invoked.outcome?, "the task");
    let billed = invoked.billed.ok_or("no bill")?;
    assert_eq!((billed.billed_ms, billed.memory_mb, billed.init_ms, invoked.throttles), (13, 1_769, 10, 0));

    let hits = fake.hits();
    let [hit] = hits.as_slice() else { return Err("not one request".into()) };
    assert_eq!(hit.uri.to_string(), "/2015-03-31/functions/owlet-worker/invocations?Qualifier=live");
    assert_eq!(hit.body, r#"{"task":"dGhlIHRhc2s=","encoding":"identity"}"#);
    assert_eq!(hit.header("x-amz-invocation-type"), "RequestResponse");
    assert_eq!(hit.header("x-amz-log-type"), "Tail");
    assert_eq!(hit.header("x-amz-security-token"), "TOKEN");
    let date = hit.header("x-amz-date");
    let day = date.split_once('T').ok_or("no date")?.0;
    let signed = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-invocation-type;x-amz-log-type;x-amz-security-token";
    let expected = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{day}/eu-central-1/lambda/aws4_request, SignedHeaders={signed}, Signature="
    );
    let authorization = hit.header("authorization");
    assert!(authorization.starts_with(&expected) && authorization.len() == expected.len() + 64, "{authorization}");
    assert_eq!(format!("http://{}", hit.header("host")), fake.url);
    Ok(())
}

#[tokio::test]
async fn calls_that_were_given_up_keep_their_connections() -> TestResult {
    let fake = Fake::start(|hit| async move { hit.echo() }).await?;
    let client = client(&fake.url, None)?;
    let limit = Duration::from_millis(100);
    let invoker = LambdaInvoker::new(Arc::clone(&client), Target::new("owlet-worker", "live")?, MAX_CALLS, limit);
    let others = client.calls.acquire_many(u32::try_from(MAX_CALLS)?).await?;
    let error = failure(invoke(&invoker, b"x").await)?;
    assert_eq!((error.kind, fake.hits().len()), (ErrorKind::Unavailable, 0), "{error}");
    drop(others);
    let others = client.calls.acquire_many(u32::try_from(MAX_CALLS - 1)?).await?;
    assert_eq!(invoke(&invoker, b"x").await.outcome?, "x");
    drop(others);
    Ok(())
}

#[tokio::test]
async fn throttles_cost_no_attempt() -> TestResult {
    let fake = Fake::start(|hit| async move { if hit.number < 3 { throttle() } else { hit.echo() } }).await?;
    let invoked = invoke(&invoker(&fake.url, 4, LIMIT)?, b"x").await;
    assert_eq!((invoked.outcome?, invoked.throttles, fake.hits().len()), (Bytes::from_static(b"x"), 3, 4));
    Ok(())
}

#[tokio::test]
async fn throttles_without_end_are_reported_at_the_deadline() -> TestResult {
    let fake = Fake::start(|_| async { throttle() }).await?;
    let invoked = invoke(&invoker(&fake.url, 4, Duration::from_millis(400))?, b"x").await;
    assert!(invoked.throttles >= 1, "{invoked:?}");
    let error = failure(invoked)?;
    assert_eq!(error.kind, ErrorKind::Throttled);
    assert!(error.message.contains("ConcurrentInvocationLimitExceeded"), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_asked_pause_is_waited_for() -> TestResult {
    let watch = Stopwatch::start();
    let fake = Fake::start(|hit| async move {
        if hit.number == 0 { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response() } else { hit.echo() }
    })
    .await?;
    assert!(invoke(&invoker(&fake.url, 4, LIMIT)?, b"x").await.outcome.is_ok());
    assert!(watch.elapsed() >= Duration::from_secs(1));
    Ok(())
}

#[tokio::test]
async fn a_quota_is_shared_by_all_calls() -> TestResult {
    const CALLS: usize = 60;
    let running = Arc::new(AtomicUsize::new(0));
    let fake = Fake::start(move |hit| {
        let running = Arc::clone(&running);
        async move {
            let answer = if running.fetch_add(1, Ordering::SeqCst) < 5 {
                engine::clock::sleep(Duration::from_millis(20)).await;
                hit.echo()
            } else {
                throttle()
            };
            running.fetch_sub(1, Ordering::SeqCst);
            answer
        }
    })
    .await?;
    let invoker = invoker(&fake.url, CALLS, LIMIT)?;
    let outcomes = join_all((0..CALLS).map(|_| invoke(&invoker, b"x"))).await;
    assert!(outcomes.iter().all(|invoked| invoked.outcome.is_ok()), "{outcomes:?}");
    let throttles: u32 = outcomes.iter().map(|invoked| invoked.throttles).sum();
    let sent = fake.hits().len();
    assert_eq!(sent, CALLS + usize::try_from(throttles)?);
    assert!(sent <= 3 * CALLS, "{sent} requests for {CALLS} calls");
    Ok(())
}

#[tokio::test]
async fn a_failed_function_is_billed_too() -> TestResult {
    let fake = Fake::start(|_| async {
        let headers = [("x-amz-function-error", "Unhandled".to_owned()), ("x-amz-log-result", STANDARD.encode(REPORT))];
        (headers, r#"{"errorType":"Sandbox.Timedout","errorMessage":"Task timed out after 3.00 seconds"}"#).into_response()
    })
    .await?;
    let invoked = invoke(&invoker(&fake.url, 4, LIMIT)?, b"x").await;
    assert_eq!(invoked.billed.map(|billed| billed.billed_ms), Some(13));
    let error = failure(invoked)?;
    assert!(error.kind == ErrorKind::Unavailable && error.message.contains("owlet-worker:live timed out"), "{error}");
    Ok(())
}

#[tokio::test]
async fn payloads_over_the_limit_are_never_sent() -> TestResult {
    let fake = Fake::start(|hit| async move { hit.echo() }).await?;
    let invoker = invoker(&fake.url, 4, LIMIT)?;
    let attempts = RunningAttempts::default();
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    let large: Bytes = noise.take(LAMBDA_PAYLOAD_BYTES / 4 * 3).collect();
    let error = failure(invoker.invoke(large.clone(), attempts.start()).await)?;
    assert!(error.kind == ErrorKind::LimitExceeded && error.message.contains("6291556"), "{error}");
    assert!(fake.hits().is_empty() && attempts.count() == 0);
    let largest = large.slice(..LAMBDA_PAYLOAD_BYTES / 4 * 3 - 64);
    assert_eq!(invoker.invoke(largest.clone(), attempts.start()).await.outcome?, largest);
    Ok(())
}

#[tokio::test]
async fn endless_answers_are_read_up_to_the_limit() -> TestResult {
    const CHUNK: usize = 64 * 1024;
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let fake = Fake::start(move |_| {
        let made = Arc::clone(&counter);
        let chunks = stream::repeat_with(move || {
            made.fetch_add(CHUNK, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from(vec![b' '; CHUNK]))
        });
        async move { Response::new(Body::from_stream(chunks.boxed())) }
    })
    .await?;
    let error = failure(invoke(&invoker(&fake.url, 4, LIMIT)?, b"x").await)?;
    assert_eq!(error.kind, ErrorKind::LimitExceeded, "{error}");
    // The rest is in the buffers of the sockets.
    assert!(made.load(Ordering::SeqCst) < 4 * LAMBDA_PAYLOAD_BYTES);
    Ok(())
}

#[tokio::test]
async fn an_announced_answer_over_the_limit_is_not_read() -> TestResult {
    let fake = Fake::start(|_| async { vec![b' '; LAMBDA_PAYLOAD_BYTES + 1].into_response() }).await?;
    let error = failure(invoke(&invoker(&fake.url, 4, LIMIT)?, b"x").await)?;
    assert_eq!(error.kind, ErrorKind::LimitExceeded, "{error}");
    Ok(())
}

/// Serves each connection with `serve`, one after the other.
async fn socket<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> std::io::Result<(String, JoinSet<()>)>
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let mut server = JoinSet::new();
    server.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await.unwrap_or_default();
        }
    });
    Ok((url, server))
}

#[tokio::test]
async fn lost_answers_are_unavailable() -> TestResult {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"outcome\":",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"out\r\n",
        "no HTTP\r\n\r\n",
    ] {
        let (url, _server) = socket(move |mut stream| async move {
            let read = stream.read(&mut [0; 8_192]).await?;
            assert!(read > 0);
            stream.write_all(answer.as_bytes()).await
        })
        .await?;
        let error = failure(invoke(&invoker(&url, 4, LIMIT)?, b"x").await)?;
        assert_eq!(error.kind, ErrorKind::Unavailable, "{answer}: {error}");
        assert!(error.message.contains("owlet-worker:live") && !error.message.contains("SECRETKEY"), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() -> TestResult {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    drop(listener);
    let error = failure(invoke(&invoker(&url, 4, LIMIT)?, b"x").await)?;
    assert!(error.kind == ErrorKind::Unavailable && error.message.contains("cannot be reached"), "{error}");
    Ok(())
}

#[tokio::test]
async fn connections_that_the_service_closed_are_not_noticed() -> TestResult {
    // Promises to keep the connection, and closes it.
    let (url, _server) = socket(|mut stream| async move {
        let read = stream.read(&mut [0; 8_192]).await?;
        assert!(read > 0);
        let body = r#"{"outcome":"eA==","encoding":"identity"}"#;
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
        stream.shutdown().await
    })
    .await?;
    let invoker = invoker(&url, 4, LIMIT)?;
    for _ in 0..20 {
        assert_eq!(invoke(&invoker, b"x").await.outcome?, "x");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_its_limit() -> TestResult {
    let fake = Fake::start(|_| std::future::pending()).await?;
    let attempts = RunningAttempts::default();
    let invoked = invoker(&fake.url, 4, Duration::from_millis(100))?.invoke(Bytes::new(), attempts.start()).await;
    let error = failure(invoked)?;
    assert!(error.kind == ErrorKind::Unavailable && error.message.contains("within 0.1 s"), "{error}");
    assert_eq!(attempts.count(), 0);
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_was_given_up_frees_its_room_and_runs_on() -> TestResult {
    let gate = Arc::new(Semaphore::new(0));
    let door = Arc::clone(&gate);
    let fake = Fake::start(move |hit| {
        let gate = Arc::clone(&door);
        async move {
            if hit.number == 0 {
                drop(gate.acquire().await);
            }
            hit.echo()
        }
    })
    .await?;
    let invoker = invoker(&fake.url, 1, LIMIT)?;
    let attempts = RunningAttempts::default();
    {
        let mut first = invoker.invoke(Bytes::from_static(b"first"), attempts.start());
        while fake.hits().is_empty() {
            assert!(futures::poll!(&mut first).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(attempts.count(), 1);
    for _ in 0..5 {
        assert_eq!(invoke(&invoker, b"second").await.outcome?, "second");
    }
    gate.add_permits(1);
    attempts.settle(LIMIT).await;
    assert_eq!(attempts.count(), 0);
    assert_eq!(invoke(&invoker, b"third").await.outcome?, "third");
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_was_given_up_in_the_line_is_never_sent() -> TestResult {
    let fake = Fake::start(|_| std::future::pending()).await?;
    let invoker = invoker(&fake.url, 1, LIMIT)?;
    let attempts = RunningAttempts::default();
    let mut first = invoker.invoke(Bytes::new(), attempts.start());
    while fake.hits().is_empty() {
        assert!(futures::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    {
        let mut second = invoker.invoke(Bytes::new(), attempts.start());
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(attempts.count(), 2);
    }
    assert_eq!((attempts.count(), fake.hits().len()), (1, 1));
    drop(first);
    drop(invoker);
    // With the invoker, its requests end.
    attempts.settle(LIMIT).await;
    assert_eq!(attempts.count(), 0);
    Ok(())
}

#[tokio::test]
async fn redirects_are_not_followed() -> TestResult {
    let fake = Fake::start(|_| async { (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response() }).await?;
    assert_eq!(failure(invoke(&invoker(&fake.url, 4, LIMIT)?, b"x").await)?.kind, ErrorKind::Internal);
    assert_eq!(fake.hits().len(), 1);
    Ok(())
}

#[tokio::test]
async fn events_are_handed_over() -> TestResult {
    let fake =
        Fake::start(|hit| async move { if hit.number < 2 { throttle() } else { StatusCode::ACCEPTED.into_response() } }).await?;
    let client = client(&fake.url, None)?;
    let target = Target::new("owlet-coordinator", "7")?;
    client.invoke_event(&target, Bytes::from_static(b"{}"), LIMIT).await?;
    let hits = fake.hits();
    assert_eq!(hits.len(), 3);
    assert_eq!(hits[2].header("x-amz-invocation-type"), "Event");
    assert_eq!(hits[2].header("x-amz-log-type"), "");
    assert_eq!(hits[2].header("x-amz-security-token"), "");

    let large = client.invoke_event(&target, Bytes::from(vec![b' '; MAX_EVENT_BYTES + 1]), LIMIT).await;
    assert!(large.is_err_and(|e| e.kind == ErrorKind::LimitExceeded && e.message.contains("1048576")));
    assert_eq!(fake.hits().len(), 3);
    Ok(())
}

#[tokio::test]
async fn events_that_are_never_taken_are_throttled() -> TestResult {
    let fake = Fake::start(|_| async { throttle() }).await?;
    let target = Target::new("owlet-coordinator", "live")?;
    let result = client(&fake.url, None)?.invoke_event(&target, Bytes::new(), Duration::from_millis(300)).await;
    assert!(result.is_err_and(|e| e.kind == ErrorKind::Throttled));
    Ok(())
}

#[tokio::test]
async fn credentials_that_cannot_be_sent_are_an_error() -> TestResult {
    let fake = Fake::start(|hit| async move { hit.echo() }).await?;
    let target = Target::new("f", "live")?;
    let refusal = client(&fake.url, Some("a\nb"))?.invoke(&target, Bytes::new(), LIMIT).await.err().ok_or("it was sent")?;
    assert_eq!(refusal.error.kind, ErrorKind::AccessDenied);
    assert!(!refusal.error.message.contains("a\nb") && fake.hits().is_empty());
    Ok(())
}

#[test]
fn names_and_endpoints_are_checked() -> TestResult {
    for (function, qualifier) in
        [("f", "$LATEST"), ("f", ""), ("", "live"), ("a/b", "live"), ("arn:aws:lambda", "1"), ("f", "a?b")]
    {
        let error = Target::new(function, qualifier).err().ok_or("it was taken")?;
        assert_eq!(error.kind, ErrorKind::InvalidQuery);
    }
    assert!(Target::new(&"f".repeat(65), "live").is_err() && Target::new(&"f".repeat(64), "live").is_ok());
    for url in ["", "localhost:9000", "ftp://x", "http://user:key@x", "https://x?y=z"] {
        let error = client(url, None).err().ok_or("it was taken")?;
        assert!(error.kind == ErrorKind::InvalidQuery && !error.message.contains("key"), "{error}");
    }
    assert!(client("http://127.0.0.1:9000/", None).is_ok());
    Ok(())
}
