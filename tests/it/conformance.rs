//! The bootstraps under others' doubles of Lambda, driven by AWS's own SDK: AWS's runtime emulator, and `cargo lambda watch`.
//!
//! `deploy/venv` brings both. The emulator is a file of `aws-sam-cli`; it runs one function and one invocation at a time.

use super::policies::python;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::{BehaviorVersion, Builder, Region};
use aws_sdk_lambda::primitives::Blob;
use bytes::Bytes;
use coordinator::Receipt;
use engine::clock::sleep;
use engine::settings::Settings;
use engine::task::envelope::{unwrap_outcome, wrap_request};
use engine::task::{Invoked, Invoker, Output, Running, TaskOutcome, TaskRequest, TaskResult};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tests::cluster::{Cluster, block_on, small_data_settings};
use tests::trap_data;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");
const COORDINATOR: &str = env!("CARGO_BIN_EXE_test-coordinator");
/// The only name that the emulator's function has.
const FUNCTION: &str = "function";
/// Longest wait for a double to listen, answer or end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bootstrap under AWS's runtime emulator.
struct Emulated {
    process: Child,
    client: Client,
    _folder: TempDir,
}

impl Emulated {
    async fn start(bootstrap: &str, variables: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = emulator(folder.path()).await;
        let (invoke, runtime) = (free_port().await, free_port().await);
        let process = Command::new(program)
            .args(["--runtime-interface-emulator-address", &invoke.to_string()])
            .args(["--runtime-api-address", &runtime.to_string()])
            .arg(bootstrap)
            .env("AWS_LAMBDA_FUNCTION_NAME", "owlet-function")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048")
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "20")
            .env("AWS_REGION", "us-east-1")
            .env("OWLET_TEMP_DIR", folder.path().join("tmp"))
            .env("RUST_BACKTRACE", "0")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the emulator starts");
        listening(invoke).await;
        Self { process, client: client(invoke), _folder: folder }
    }

    /// What the function answers to `payload`.
    async fn invoke(&self, payload: impl Into<Vec<u8>>) -> Bytes {
        invoke(&self.client, FUNCTION, payload).await
    }

    /// Ends the emulator, which ends the bootstrap.
    async fn end(mut self) {
        let id = self.process.id().expect("it still runs").to_string();
        assert!(Command::new("kill").arg(id).status().await.expect("kill").success());
        timeout(PATIENCE, self.process.wait()).await.expect("the emulator ends").expect("its status");
    }
}

/// A bootstrap that `cargo lambda watch` has for a function; both are killed when this is dropped.
struct Watched {
    client: Client,
    address: SocketAddr,
    _processes: [Child; 2],
    _folder: TempDir,
}

impl Watched {
    /// `name` is that of a program of this workspace: others are refused, although this one is not started by it.
    async fn start(name: &str, bootstrap: &str, variables: &[(&str, String)]) -> Self {
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_port().await);
        let watch = Command::new(python().await.with_file_name("cargo-lambda"))
            .args(["lambda", "watch", "--only-lambda-apis", "--ignore-changes", "--offline"])
            .args(["--invoke-address", "127.0.0.1", "--invoke-port", &address.port().to_string()])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("cargo-lambda starts");
        listening(address).await;
        let function = Command::new(bootstrap)
            .env("AWS_LAMBDA_RUNTIME_API", format!("http://{address}/.rt/{name}"))
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .env("AWS_REGION", "us-east-1")
            .env("OWLET_TEMP_DIR", folder.path().join("tmp"))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the bootstrap starts");
        Self { client: client(address), address, _processes: [function, watch], _folder: folder }
    }
}

/// Puts the emulator into `folder`, as a program.
async fn emulator(folder: &Path) -> PathBuf {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let ask = "import samcli, pathlib; print(pathlib.Path(samcli.__file__).parent)";
    let said = Command::new(python().await).args(["-c", ask]).output().await.expect("python runs").stdout;
    let samcli = PathBuf::from(String::from_utf8_lossy(&said).trim());
    let found = samcli.join(format!("local/rapid/aws-lambda-rie-{architecture}"));
    let program = folder.join("aws-lambda-rie");
    std::fs::copy(&found, &program).unwrap_or_else(|error| panic!("{}: {error}", found.display()));
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a program");
    program
}

async fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    listener.local_addr().expect("its address")
}

async fn listening(address: SocketAddr) {
    let connected = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, connected).await.expect("somebody listens");
}

fn client(address: SocketAddr) -> Client {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("AKID", "secret", None, None, "test"))
        .endpoint_url(format!("http://{address}"));
    Client::from_conf(config.build())
}

async fn invoke(client: &Client, function: &str, payload: impl Into<Vec<u8>>) -> Bytes {
    let call = client.invoke().function_name(function).payload(Blob::new(payload)).send();
    let answer = timeout(PATIENCE, call).await.expect("an answer in time").expect("an answer");
    assert_eq!((answer.status_code, answer.function_error.as_deref()), (200, None), "{:?}", answer.payload);
    answer.payload.expect("a payload").into_inner().into()
}

/// Requests and outcomes on their way.
#[derive(Debug)]
struct Recorder {
    inner: Arc<dyn Invoker>,
    seen: Arc<Mutex<Vec<(Bytes, Bytes)>>>,
}

#[async_trait]
impl Invoker for Recorder {
    async fn invoke(&self, request: Bytes, running: Running) -> Invoked {
        let invoked = self.inner.invoke(request.clone(), running).await;
        if let Ok(outcome) = &invoked.outcome {
            self.seen.lock().expect("no panic").push((request, outcome.clone()));
        }
        invoked
    }
}

/// A task that reads a table, with its outcome in this process and the variables of a worker that can run it.
struct Task {
    request: Bytes,
    output: Output,
    variables: Vec<(&'static str, String)>,
    _cluster: Cluster,
}

async fn task() -> Task {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let settings: Settings = small_data_settings(2);
    let recorder = |inner| -> Arc<dyn Invoker> { Arc::new(Recorder { inner, seen: Arc::clone(&seen) }) };
    let cluster = Cluster::with_invoker(settings, trap_data::folder(), recorder);
    // Every row is sent on: how many groups a task finds depends on which of its threads reads which file.
    let sql = "SELECT id, row_number() OVER (PARTITION BY k ORDER BY id) FROM fact";
    let receipt: Receipt = cluster.query(sql).await.expect("rows").receipt;
    assert_eq!(receipt.rows, 4_000);
    let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
    let scan = |request: &Bytes| TaskRequest::from_bytes(request).is_ok_and(|request| request.inputs.is_empty());
    let (request, outcome) = seen.into_iter().find(|(request, _)| scan(request)).expect("a task that reads a table");
    let variables = vec![
        ("OWLET_EXCHANGE_URL", cluster.coordinator.settings().exchange_url.clone().expect("an exchange")),
        ("OWLET_DATA_LOCATIONS", format!("file://{}/", trap_data::folder().display())),
    ];
    Task { request, output: output(&outcome), variables, _cluster: cluster }
}

fn output(outcome: &[u8]) -> Output {
    match TaskOutcome::from_bytes(outcome).expect("an outcome").result {
        Some(TaskResult::Output(output)) => output,
        other => panic!("{other:?}"),
    }
}

/// Checks the answer to the envelope of `task`.
fn check_answer(task: &Task, answer: &[u8]) {
    let given = output(&unwrap_outcome(answer).expect("an envelope"));
    let rows = |output: &Output| output.segments.iter().map(|segment| segment.rows).collect::<Vec<_>>();
    assert!(rows(&given).iter().sum::<u64>() >= 1_000);
    assert_eq!(rows(&given), rows(&task.output));
}

/// Checks the answer to a task that is none: an outcome with an error, not a failed function.
fn check_error(answer: &[u8]) {
    let outcome = TaskOutcome::from_bytes(&unwrap_outcome(answer).expect("an envelope")).expect("an outcome");
    let Some(TaskResult::Error(error)) = outcome.result else { panic!("{outcome:?}") };
    assert!(error.message.contains("not a task request"), "{}", error.message);
}

/// What a Function URL with AWS_IAM hands to its function.
fn url_event(method: &str, path: &str, body: Option<&str>) -> Vec<u8> {
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": {"host": "abc.lambda-url.us-east-1.on.aws", "content-type": "application/json", "x-forwarded-proto": "https"},
        "requestContext": {
            "accountId": "123456789012", "apiId": "abc", "domainName": "abc.lambda-url.us-east-1.on.aws", "domainPrefix": "abc",
            "authentication": null, "requestId": "5c4ddc1e-7a2c-4bb6-9ad3-1f5a0b7c8d9e", "routeKey": "$default", "stage": "$default",
            "time": "24/Nov/2026:03:40:00 +0000", "timeEpoch": 1_795_491_600_000_i64,
            "authorizer": {"iam": {
                "accessKey": "ASIA", "accountId": "123456789012", "callerId": "AROA:ann", "cognitoIdentity": null,
                "principalOrgId": null, "userArn": "arn:aws:sts::123456789012:assumed-role/analysts/ann", "userId": "AROA:ann"
            }},
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "curl/8"}
        },
        "isBase64Encoded": false
    });
    if let Some(body) = body {
        event["body"] = json!(body);
    }
    event.to_string().into_bytes()
}

fn http_answer(answer: &[u8]) -> (u64, Value) {
    let answer: Value = serde_json::from_slice(answer).expect("JSON");
    let body = answer["body"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(answer["isBase64Encoded"], false, "{answer}");
    (answer["statusCode"].as_u64().expect("a status"), serde_json::from_str(body).expect("a JSON body"))
}

fn alone(state: &Path) -> Vec<(&'static str, String)> {
    vec![("OWLET_WORKERS", "0".into()), ("OWLET_STATE_URL", format!("file://{}/", state.display()))]
}

/// The routes through `client`: versions, a query, its record; a stranger gets nothing.
async fn check_coordinator(client: &Client, function: &str) {
    let (status, version) = http_answer(&invoke(client, function, url_event("GET", "/v1", None)).await);
    assert_eq!((status, &version["name"]), (200, &json!("owlet")), "{version}");
    let query = url_event("POST", "/v1/query", Some(r#"{"sql": "SELECT 1 AS one"}"#));
    let (status, answer) = http_answer(&invoke(client, function, query).await);
    assert_eq!((status, &answer["rows"]), (200, &json!([[1]])), "{answer}");
    let path = format!("/v1/queries/{}", answer["query_id"].as_str().expect("an id"));
    let (status, record) = http_answer(&invoke(client, function, url_event("GET", &path, None)).await);
    assert_eq!((status, &record["state"]), (200, &json!("SUCCEEDED")), "{record}");
    assert_eq!(record["principal"], "arn:aws:sts::123456789012:assumed-role/analysts/ann");
    let mut event: Value = serde_json::from_slice(&url_event("GET", &path, None)).expect("JSON");
    event["requestContext"]["authorizer"] = Value::Null;
    let (status, refused) = http_answer(&invoke(client, function, event.to_string()).await);
    assert_eq!((status, &refused["error"]["code"]), (401, &json!("UNAUTHENTICATED")));
}

#[test]
fn a_worker_runs_under_the_runtime_emulator_of_aws() {
    block_on(async {
        let task = task().await;
        let worker = Emulated::start(WORKER, &task.variables).await;
        check_answer(&task, &worker.invoke(wrap_request(&task.request).expect("an envelope")).await);
        check_error(&worker.invoke(wrap_request(b"\xff").expect("an envelope")).await);
        // Still the same process, and still well.
        check_answer(&task, &worker.invoke(wrap_request(&task.request).expect("an envelope")).await);
        worker.end().await;
    });
}

#[test]
fn a_coordinator_runs_under_the_runtime_emulator_of_aws() {
    block_on(async {
        let state = tempfile::tempdir().expect("a folder");
        let coordinator = Emulated::start(COORDINATOR, &alone(state.path())).await;
        check_coordinator(&coordinator.client, FUNCTION).await;
        assert_eq!(coordinator.invoke(r#"{"owlet": {"warm": true}}"#).await, "null");
        coordinator.end().await;
    });
}

#[test]
fn both_run_under_cargo_lambda_which_gives_deadlines_of_1970() {
    block_on(async {
        let task = task().await;
        let worker = Watched::start("owlet-worker", WORKER, &task.variables).await;
        let answer = invoke(&worker.client, "owlet-worker", wrap_request(&task.request).expect("an envelope")).await;
        check_answer(&task, &answer);
        let state = tempfile::tempdir().expect("a folder");
        let coordinator = Watched::start("owlet-coordinator", COORDINATOR, &alone(state.path())).await;
        let url = format!("http://{}/lambda-url/owlet-coordinator", coordinator.address);
        let version = reqwest::get(format!("{url}/v1")).await.expect("an answer");
        assert_eq!(version.status(), 200);
        // Its function URLs know no identities.
        let nobody = reqwest::get(format!("{url}/v1/queries")).await.expect("an answer");
        assert_eq!(nobody.status(), 401);
        check_coordinator(&coordinator.client, "owlet-coordinator").await;
    });
}
