//! Workers as processes: the bootstrap that Lambda runs, behind an Invoke API on this machine.

use crate::failure::Failure;
use coordinator::lambda::{LambdaClient, LambdaInvoker, Target};
use emulator::{Credential, Emulator, EmulatorConfig, FunctionConfig, LogSink};
use engine::clock::random_uuid;
use engine::settings::Settings;
use engine::task::Invoker;
use object_store::StaticCredentialProvider;
use object_store::aws::AwsCredential;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Name of the worker's bootstrap, beside this program.
const WORKER_BINARY: &str = "owlet-worker";
/// Name of the function.
const FUNCTION: &str = "owlet-worker";
/// Longest run of an invocation, as in Lambda.
const FUNCTION_TIME: Duration = Duration::from_secs(900);
/// Region when nothing says another.
const DEFAULT_REGION: &str = "us-east-1";
/// Variables of this process that workers need to reach S3.
const PASSED_ON: [&str; 6] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "OWLET_LOG"];

/// The control plane and the way to invoke its workers.
pub(crate) struct Processes {
    pub(crate) emulator: Emulator,
    pub(crate) invoker: Arc<dyn Invoker>,
}

/// Starts a control plane for up to `settings.workers` processes of `binary`.
///
/// # Errors
/// [`Failure::Usage`] when there is no such program.
pub(crate) async fn start(settings: &Settings, binary: Option<&Path>) -> Result<Processes, Failure> {
    let command = binary.map_or_else(beside_this_program, |path| Ok(path.to_owned()))?;
    let unusable = |e: &dyn std::fmt::Display| Failure::Usage(format!("--workers process: {e}"));
    let mut function = FunctionConfig::new(FUNCTION, command);
    function.memory_mb = settings.worker_memory_mb();
    function.timeout = FUNCTION_TIME;
    function.max_concurrency = settings.workers;
    let passed_on = PASSED_ON.iter().filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)));
    function.environment.extend(passed_on);
    let region = settings.s3.region.clone().or_else(|| std::env::var("AWS_REGION").ok()).unwrap_or_else(|| DEFAULT_REGION.into());
    let temp_dir = settings.temp_dir.as_ref().map(|folder| folder.display().to_string());
    let locations = settings.data_locations.as_ref().map(|locations| locations.join(","));
    let own = [
        ("OWLET_EXCHANGE_URL", settings.exchange_url.clone()),
        ("OWLET_DATA_LOCATIONS", locations),
        ("OWLET_WRITE_LOCATIONS", Some(settings.write_locations.join(","))),
        ("OWLET_TEMP_DIR", temp_dir),
        ("OWLET_EPHEMERAL_MB", Some((settings.temp_quota_bytes >> 20).to_string())),
        ("OWLET_S3_ENDPOINT", settings.s3.endpoint.clone()),
    ];
    function.environment.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))));
    let (access_key, secret) = (random_uuid().simple().to_string(), random_uuid().simple().to_string());
    let credential = Credential {
        access_key: access_key.clone(),
        secret: secret.clone(),
        session_token: None,
        user_arn: "arn:aws:iam::123456789012:user/owlet-serve".into(),
    };
    let config = EmulatorConfig {
        functions: vec![function],
        credentials: vec![credential],
        region: region.clone(),
        log: Some(log_lines()),
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.map_err(|e| unusable(&e))?;
    let credential = AwsCredential { key_id: access_key, secret_key: secret, token: None };
    let credentials = Arc::new(StaticCredentialProvider::new(credential));
    let endpoint = emulator.endpoint();
    let client = LambdaClient::new(Some(&endpoint), &region, credentials).map_err(|e| unusable(&e))?;
    let target = Target::new(FUNCTION, "live").map_err(|e| unusable(&e))?;
    let limit = Duration::from_millis(settings.attempt_timeout_ms);
    let invoker = Arc::new(LambdaInvoker::new(Arc::new(client), target, settings.workers, limit));
    Ok(Processes { emulator, invoker })
}

fn beside_this_program() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(WORKER_BINARY)));
    beside.filter(|path| path.is_file()).ok_or_else(|| {
        Failure::Usage(format!(
            "--workers process: there is no '{WORKER_BINARY}' beside this program; build it (cargo build --release), or name it with \
             --worker-binary"
        ))
    })
}

/// Workers' log lines go where this program's logs go.
fn log_lines() -> LogSink {
    Arc::new(|function: &str, line: &[u8]| {
        tracing::info!(target: "owlet::worker", function, line = %String::from_utf8_lossy(line).trim_end());
    })
}
