//! The emulator from outside: real processes, the official SDK, faults, limits and what is left behind.

mod environments;
mod events_and_urls;

use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{InvocationType, LogType};
use base64::Engine;
use emulator::{Credential, Emulator, EmulatorConfig, Fault, FunctionConfig, InvocationKind, LogSink, Outcome, UrlAuth};
use futures::future::join_all;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;
type TestResult = AnyResult<()>;
type Headers<'a> = &'a [(&'a str, &'a str)];

const MAX_PAYLOAD_BYTES: usize = 6_291_556;
/// The event of signed requests; to a function URL it means that the URL's event comes back.
const SIGNED_BODY: &str = r#"{"echo":"signed","event":true}"#;

fn stub(name: &str) -> FunctionConfig {
    let command = env!("CARGO_BIN_EXE_stub-bootstrap");
    // A long time limit: the machine may be busy.
    FunctionConfig { memory_mb: 256, timeout: ms(30_000), event_retry_pause: ms(20), ..FunctionConfig::new(name, command) }
}

async fn start(functions: Vec<FunctionConfig>) -> emulator::Result<Emulator> {
    Emulator::start(EmulatorConfig { functions, ..EmulatorConfig::default() }).await
}

async fn start_one(change: impl FnOnce(&mut FunctionConfig)) -> emulator::Result<Emulator> {
    let mut function = stub("f");
    change(&mut function);
    start(vec![function]).await
}

async fn start_chaos(fault: impl Fn(u64) -> Fault + Send + Sync + 'static) -> emulator::Result<Emulator> {
    let chaos = move |_: &str, sequence: u64, _: &[u8]| fault(sequence);
    let functions = vec![stub("f")];
    Emulator::start(EmulatorConfig { functions, chaos: Some(Arc::new(chaos)), ..EmulatorConfig::default() }).await
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn pause(millis: u64) {
    tokio::time::sleep_until(Instant::now() + ms(millis)).await;
}

/// Waits until `condition` holds, at most 20 s; whether it does.
async fn eventually(condition: impl Fn() -> bool) -> bool {
    for _ in 0..2000 {
        if condition() {
            return true;
        }
        pause(10).await;
    }
    false
}

/// Whether a process runs or is stopped; a zombie does not count.
fn is_alive(pid: u64) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// State letter of a process.
fn state_of(pid: u64) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Holds functions in the middle of an event until it opens, and knows how many have come so far.
struct Gate(tempfile::TempDir);

impl Gate {
    fn new() -> std::io::Result<Self> {
        tempfile::tempdir().map(Self)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// The event that makes a function come to this gate.
    fn event(&self) -> Value {
        json!({"append_to": self.path("entered"), "wait_for": self.path("open")})
    }

    /// Request ids of the deliveries so far.
    fn deliveries(&self) -> Vec<String> {
        std::fs::read_to_string(self.path("entered")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits for `count` deliveries, then gives what `then` gives, then opens.
    async fn open_after<T>(&self, count: usize, then: impl Future<Output = T>) -> T {
        assert!(eventually(|| self.deliveries().len() == count).await, "{:?}", self.deliveries());
        let result = then.await;
        assert!(std::fs::write(self.path("open"), "").is_ok());
        result
    }
}

/// A plain HTTP answer.
struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
    body: Value,
}

impl Reply {
    async fn read(answer: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers, text) = (answer.status().as_u16(), answer.headers().clone(), answer.text().await?);
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { status, headers, text, body })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn pid(&self) -> u64 {
        self.body["pid"].as_u64().unwrap_or_default()
    }

    /// Error type and message of a function error, checked to be one.
    fn function_error(&self) -> (&str, &str) {
        assert_eq!((self.status, self.header("x-amz-function-error")), (200, "Unhandled"), "{}", self.text);
        (self.body["errorType"].as_str().unwrap_or_default(), self.body["errorMessage"].as_str().unwrap_or_default())
    }
}

async fn post(emulator: &Emulator, target: &str, headers: Headers<'_>, body: impl Into<reqwest::Body>) -> reqwest::Result<Reply> {
    let mut request = CLIENT.post(format!("{}/2015-03-31/functions/{target}", emulator.endpoint())).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::read(request.send().await?).await
}

/// One client for all tests: it is slow to make. It keeps no connections, which would outlive a test's runtime.
static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap_or_default());

/// Invokes the function `f` and waits.
async fn invoke(emulator: &Emulator, event: Value) -> reqwest::Result<Reply> {
    post(emulator, "f/invocations", &[], event.to_string()).await
}

/// Queues an event for the function `f`.
async fn enqueue(emulator: &Emulator, event: Value) -> reqwest::Result<Reply> {
    post(emulator, "f/invocations", &[("x-amz-invocation-type", "Event")], event.to_string()).await
}

fn credential() -> Credential {
    Credential {
        access_key: "AKIDTEST".into(),
        secret: "secret/with+signs".into(),
        session_token: Some("token/with=signs".into()),
        user_arn: "arn:aws:iam::111122223333:user/ana".into(),
    }
}

fn sdk_of(endpoint: &str, secret: &str, token: Option<&str>) -> aws_sdk_lambda::Client {
    let credentials = Credentials::new("AKIDTEST", secret, token.map(str::to_owned), None, "test");
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_lambda::Client::from_conf(config)
}

fn sdk(emulator: &Emulator) -> aws_sdk_lambda::Client {
    sdk_of(&emulator.endpoint(), "secret/with+signs", Some("token/with=signs"))
}
