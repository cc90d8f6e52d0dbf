//! Owlet as functions: the real bootstraps as processes, the S3 server of the tests, and a client that signs its requests.

use crate::s3::{ACCESS_KEY, REGION, S3Server, SECRET_KEY};
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use emulator::{Chaos, Credential, Emulator, EmulatorConfig, FunctionConfig, Ledger, Outcome, UrlAuth};
use engine::clock::{Stopwatch, sleep};
use http::{HeaderMap, Method};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequestBody;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Name of the coordinator function.
pub const COORDINATOR: &str = "owlet-coordinator";
/// Name of the worker function.
pub const WORKER: &str = "owlet-worker";
/// Bucket of the tables.
pub const LAKE: &str = "lake";
/// Bucket of the exchange, the results and the records.
pub const OWN: &str = "owlet";
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is deployed.
pub struct Plan {
    /// The coordinator's bootstrap.
    pub coordinator: PathBuf,
    /// The worker's bootstrap.
    pub worker: PathBuf,
    /// Concurrent workers of a query.
    pub workers: usize,
    /// Concurrency that the worker function has.
    pub worker_concurrency: usize,
    /// Memory of a worker, in MB.
    pub worker_mb: u64,
    /// Time limit of a worker.
    pub worker_timeout: Duration,
    /// Time limit of the coordinator.
    pub coordinator_timeout: Duration,
    /// Settings of both, as in a settings file.
    pub config: Value,
    /// Faults.
    pub chaos: Option<Arc<dyn Chaos>>,
    /// Variables that replace those of the plan, by function.
    pub variables: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// Where logs go: a file for each function.
    pub logs: Option<PathBuf>,
    /// More identities that the control plane knows.
    pub identities: Vec<Credential>,
    /// Session token of `ann` and of the functions.
    pub session_token: Option<String>,
}

impl Plan {
    /// `workers` workers with small splits, so that small tables have many tasks.
    pub fn new(coordinator: &str, worker: &str, workers: usize) -> Self {
        Self {
            coordinator: coordinator.into(),
            worker: worker.into(),
            workers,
            worker_concurrency: workers.max(1),
            worker_mb: 1_769,
            worker_timeout: Duration::from_secs(120),
            coordinator_timeout: Duration::from_secs(300),
            config: json!({ "split_bytes": 65_536 }),
            chaos: None,
            variables: BTreeMap::new(),
            logs: None,
            identities: Vec::new(),
            session_token: None,
        }
    }
}

/// A deployment.
pub struct Functions {
    /// The S3 server.
    pub s3: S3Server,
    /// The control plane.
    pub emulator: Emulator,
    /// Base URL of the API.
    pub url: String,
    client: reqwest::Client,
    session_token: Option<String>,
    temp: TempDir,
}

/// An answer of the API.
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: bytes::Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{}: {e}: {:?}", self.status, self.body))
    }

    /// The rows of an Arrow body.
    pub fn batches(&self) -> Vec<RecordBatch> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let reader = StreamReader::try_new(self.body.as_ref(), None).expect("an Arrow stream");
        reader.collect::<Result<_, _>>().expect("batches")
    }

    /// The receipt in the header.
    pub fn receipt(&self) -> Value {
        let text = self.headers.get("x-owlet-receipt").and_then(|value| value.to_str().ok()).expect("a receipt");
        serde_json::from_str(text).expect("a receipt in JSON")
    }
}

impl Functions {
    /// Deploys `plan` over the tables in the folder `data`: its Parquet files and folders of them.
    pub async fn start(plan: Plan, data: &Path) -> Self {
        let s3 = S3Server::start().await;
        s3.mount(LAKE, data);
        s3.create_bucket(OWN);
        let temp = tempfile::tempdir().expect("a folder");
        let credential = |access_key: &str, secret: &str, user: &str| Credential {
            access_key: access_key.into(),
            secret: secret.into(),
            session_token: plan.session_token.clone().filter(|_| user == "ann"),
            user_arn: format!("arn:aws:iam::123456789012:user/{user}"),
        };
        let mut credentials = vec![credential(ACCESS_KEY, SECRET_KEY, "ann"), credential("BOBSKEY", "bobs-secret", "bob")];
        credentials.extend(plan.identities.iter().cloned());
        let config = EmulatorConfig {
            functions: vec![coordinator(&plan, &s3, data, &temp), worker(&plan, &s3, &temp)],
            credentials,
            region: REGION.into(),
            chaos: plan.chaos.clone(),
            log: plan.logs.clone().map(log_files),
            ..EmulatorConfig::default()
        };
        let emulator = Emulator::start(config).await.expect("a control plane");
        let url = emulator.function_url(COORDINATOR).expect("a function URL").trim_end_matches('/').to_string();
        let redirects = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(redirects).timeout(PATIENCE).build().expect("a client");
        Self { s3, emulator, url, client, session_token: plan.session_token, temp }
    }

    /// Sends a signed request as `ann`.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&'static str, &str)], body: impl Into<String>) -> Answer {
        self.send_as((ACCESS_KEY, SECRET_KEY), method, path, headers, body.into()).await
    }

    /// Sends a request signed with `credential`.
    pub async fn send_as(
        &self,
        (key, secret): (&str, &str),
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(HttpRequestBody::from(body.clone().into_bytes())).expect("a request");
        let token = self.session_token.clone().filter(|_| key == ACCESS_KEY);
        let credential = AwsCredential { key_id: key.into(), secret_key: secret.into(), token };
        AwsAuthorizer::new(&credential, "lambda", REGION).authorize(&mut request, None);
        let (parts, _) = request.into_parts();
        let sent = self.client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send().await;
        let answer = sent.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.expect("a whole answer") }
    }

    /// Runs `sql` and waits for its rows as Arrow.
    pub async fn query(&self, sql: &str) -> Answer {
        self.submit(json!({ "sql": sql, "format": "arrow" })).await
    }

    /// Sends a query request.
    pub async fn submit(&self, request: Value) -> Answer {
        self.send(Method::POST, "/v1/query", &[("content-type", "application/json")], request.to_string()).await
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// The record of a query once it is final.
    pub async fn wait_for(&self, id: &str) -> Value {
        let watch = Stopwatch::start();
        loop {
            let record = self.get(&format!("/v1/queries/{id}")).await.json();
            if !matches!(record["state"].as_str(), Some("QUEUED" | "RUNNING")) {
                return record;
            }
            assert!(watch.elapsed() < PATIENCE, "not final: {record}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What is left of queries in the exchange.
    pub fn left_in_exchange(&self) -> Vec<String> {
        self.s3.keys(OWN, "exchange/")
    }

    /// What Lambda would bill.
    pub fn ledger(&self) -> Ledger {
        self.emulator.ledger()
    }

    /// Runs of `function` that have ended, with this outcome.
    pub fn ended(&self, function: &str, outcome: Outcome) -> u64 {
        let ledger = self.ledger();
        ledger.entries.iter().filter(|entry| entry.function == function && entry.outcome == outcome).count() as u64
    }

    /// Runs of `function` that have ended, with any outcome.
    pub fn runs(&self, function: &str) -> u64 {
        self.ledger().entries.iter().filter(|entry| entry.function == function).count() as u64
    }

    /// Waits until `wanted` holds.
    pub async fn until(&self, what: &str, limit: Duration, mut wanted: impl FnMut(&Self) -> bool) {
        let watch = Stopwatch::start();
        while !wanted(self) {
            assert!(watch.elapsed() < limit, "{what}: not after {limit:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Processes of this deployment that are alive: bootstraps, idle ones included.
    pub fn processes(&self) -> usize {
        processes_with(&self.temp.path().display().to_string())
    }

    /// Ends the deployment; the processes that are left of it.
    pub async fn end(self) -> usize {
        self.emulator.shutdown().await;
        processes_with(&self.temp.path().display().to_string())
    }
}

/// Processes with `text` in their environment or arguments.
pub fn processes_with(text: &str) -> usize {
    let own = std::process::id().to_string();
    let all = std::fs::read_dir("/proc").expect("/proc").flatten().filter(|entry| entry.file_name() != own.as_str());
    let holds = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    all.filter(|entry| holds(entry.path().join("environ")) || holds(entry.path().join("cmdline"))).count()
}

/// What `OWLET_TABLES` says of the files and folders in `data`.
pub fn tables(data: &Path) -> String {
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(data).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        let slash = if entry.path().is_dir() { "/" } else { "" };
        if let Some(stem) = name.split('.').next().filter(|_| !name.starts_with(['_', '.'])) {
            tables.push(format!("{stem}=s3://{LAKE}/{name}{slash}"));
        }
    }
    tables.join(",")
}

fn shared(plan: &Plan, s3: &S3Server, temp: &TempDir, name: &str) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> =
        s3.environment().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let own = [
        ("OWLET_EXCHANGE_URL", format!("s3://{OWN}")),
        ("OWLET_DATA_LOCATIONS", format!("s3://{LAKE}")),
        ("OWLET_TEMP_DIR", temp.path().join(name).display().to_string()),
        ("OWLET_CONFIG", plan.config.to_string()),
        ("RUST_BACKTRACE", "0".into()),
    ];
    variables.extend(own.map(|(name, value)| (name.to_string(), value)));
    variables.extend(plan.session_token.clone().map(|token| ("AWS_SESSION_TOKEN".to_string(), token)));
    variables
}

fn coordinator(plan: &Plan, s3: &S3Server, data: &Path, temp: &TempDir) -> FunctionConfig {
    let mut function = FunctionConfig::new(COORDINATOR, &plan.coordinator);
    function.memory_mb = 3_538;
    function.timeout = plan.coordinator_timeout;
    function.max_concurrency = 32;
    function.url_auth = Some(UrlAuth::AwsIam);
    function.event_retries = 1;
    function.event_retry_pause = Duration::from_millis(200);
    function.environment = shared(plan, s3, temp, COORDINATOR);
    let own = [
        ("OWLET_STATE_URL", format!("s3://{OWN}")),
        ("OWLET_WORKER_FUNCTION", WORKER.to_string()),
        ("OWLET_WORKERS", plan.workers.to_string()),
        ("OWLET_WORKER_MEMORY_MB", plan.worker_mb.to_string()),
        ("OWLET_TABLES", tables(data)),
    ];
    function.environment.extend(own.map(|(name, value)| (name.to_string(), value)));
    function.environment.extend(plan.variables.get(COORDINATOR).cloned().unwrap_or_default());
    function
}

fn worker(plan: &Plan, s3: &S3Server, temp: &TempDir) -> FunctionConfig {
    let mut function = FunctionConfig::new(WORKER, &plan.worker);
    function.memory_mb = plan.worker_mb;
    function.timeout = plan.worker_timeout;
    function.max_concurrency = plan.worker_concurrency;
    function.environment = shared(plan, s3, temp, WORKER);
    function.environment.extend(plan.variables.get(WORKER).cloned().unwrap_or_default());
    function
}

fn log_files(folder: PathBuf) -> emulator::LogSink {
    Arc::new(move |function: &str, line: &[u8]| {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(format!("{function}.log")));
        // A log that cannot be written is no reason to fail here.
        drop(file.and_then(|mut file| file.write_all(&[line, b"\n"].concat())));
    })
}
