//! `owlet serve`: the HTTP API on this machine, from the same router as the coordinator function.
//!
//! ```text
//! connection (server.rs) ─► who (auth.rs) ─► coordinator::http::router ─► Service ─┬─► workers in this process
//!                                                                                 └─► processes (workers.rs)
//! ```

mod auth;
mod patience;
mod server;
mod workers;

use crate::failure::Failure;
use crate::resolve::Places;
use crate::runtimes::Runtimes;
use crate::tell::tell;
use crate::workspace;
use async_trait::async_trait;
use auth::Auth;
use axum::middleware::from_fn_with_state;
use coordinator::http::router;
use coordinator::{Background, Coordinator, Invocation, Service, ServiceConfig};
use engine::compute::ComputeThreads;
use engine::ids::QueryId;
use engine::session::SharedRuntime;
use engine::settings::Settings;
use engine::storage::Storage;
use engine::task::Invoker;
use engine::{Error, Result as EngineResult};
use sql::Tables;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;
use worker::{InProcessInvoker, Worker};

/// Queries that wait for their turn; more are refused with THROTTLED.
const MAX_QUEUED: usize = 256;
/// Pause between two looks of a worker process for the cancel marker.
const CANCEL_POLL_MS: u64 = 250;

/// What to serve, and to whom.
#[derive(Clone, Debug)]
pub struct ServePlan {
    /// Address and port.
    pub listen: SocketAddr,
    /// File of tokens and their principals; without one only loopback addresses are served.
    pub auth: Option<PathBuf>,
    /// Folder or URL of records, results and the exchange.
    pub state: String,
    /// Queries that run at once.
    pub max_running: usize,
    /// Whether workers are processes.
    pub processes: bool,
    /// The workers' bootstrap; beside this program when absent.
    pub worker_binary: Option<PathBuf>,
}

/// Serves until Ctrl-C, SIGTERM or SIGHUP.
///
/// # Errors
/// [`Failure::Usage`] for settings that cannot be used, [`Failure::Query`] when the port cannot be opened.
pub(crate) fn run(settings: Settings, tables: Tables, places: &Places, plan: &ServePlan) -> Result<(), Failure> {
    let auth = match &plan.auth {
        Some(path) => Auth::from_file(path)?,
        None if plan.listen.ip().is_loopback() => Auth::Loopback,
        None => {
            let message =
                format!("--listen {}: without --auth only a loopback address such as 127.0.0.1 can be served", plan.listen);
            return Err(Failure::Usage(message));
        }
    };
    let runtimes = Runtimes::new()?;
    let compute = Arc::clone(runtimes.compute()?);
    let scratch = tempfile::Builder::new().prefix("owlet-").tempdir().map_err(|e| Failure::Usage(e.to_string()))?;
    let settings = serve_settings(settings, &tables, places, plan, &scratch)?;
    let (plan, places, stop) = (plan.clone(), places.clone(), CancellationToken::new());
    runtimes.until_interrupt(stop.clone(), async move {
        let (invoker, emulator) = match (settings.workers, plan.processes) {
            (0, _) => (None, None),
            (_, true) => {
                let processes = workers::start(&settings, plan.worker_binary.as_deref()).await?;
                (Some(processes.invoker), Some(processes.emulator))
            }
            (_, false) => (Some(in_process(&settings, &compute)?), None),
        };
        let service = service(settings, tables, &places, &plan, invoker, &compute)?;
        let lost = service.end_orphans().await.map_err(Failure::Query)?;
        if lost > 0 {
            tell(format_args!("{lost} queries of an earlier server were ended (COORDINATOR_LOST)"));
        }
        let router = router(Arc::clone(&service)).layer(from_fn_with_state(auth, auth::identify));
        let listener = server::listen(plan.listen).await?;
        let address = listener.local_addr().map_err(|e| Failure::Query(Error::from(e)))?;
        tell(format_args!("serving http://{address} (state in {}; Ctrl-C ends)", plan.state));
        let stopping = async {
            stop.cancelled().await;
            // What ends later is ended by the next server over this folder.
            drop(timeout(server::STOP_TIME, service.stop()).await);
        };
        tokio::join!(server::serve(listener, router, stop.clone()), stopping);
        if let Some(emulator) = emulator {
            emulator.shutdown().await;
        }
        drop(scratch);
        Ok(())
    })
}

fn serve_settings(
    settings: Settings,
    tables: &Tables,
    places: &Places,
    plan: &ServePlan,
    scratch: &TempDir,
) -> Result<Settings, Failure> {
    let named: Vec<String> = tables.names().filter_map(|name| tables.location(name).map(str::to_string)).collect();
    let mut locations = named.iter().map(|location| location_url(location)).collect::<Result<Vec<_>, _>>()?;
    for location in &places.allow {
        locations.push(location_url(location)?);
    }
    let settings = workspace::writable(settings, places)?;
    // What SQL has written it may read.
    locations.extend(settings.write_locations.iter().cloned());
    let state_url = state_url(&plan.state)?;
    let catalog = workspace::catalog_url(places)?;
    let mut denied_locations =
        coordinator::own_locations(&state_url, settings.exchange_url.as_deref(), Some(&catalog), &locations);
    denied_locations.push(workspace::folder_url(workspace::PREPARED_FOLDER)?);
    if let Some(tokens) = &plan.auth {
        denied_locations.push(location_url(&tokens.display().to_string())?);
    }
    denied_locations.extend(settings.denied_locations.iter().cloned());
    let mut settings = Settings {
        denied_locations,
        data_locations: Some(locations),
        temp_dir: Some(settings.temp_dir.clone().unwrap_or_else(|| scratch.path().to_owned())),
        memory_bytes: settings.memory_bytes / plan.max_running.max(1),
        exchange_url: Some(settings.exchange_url.clone().unwrap_or(state_url)),
        ..settings
    };
    if plan.processes {
        settings.worker_function_mb = settings.worker_memory_mb();
        settings.cancel_poll_ms = CANCEL_POLL_MS;
    }
    Ok(settings)
}

fn in_process(settings: &Settings, compute: &Arc<ComputeThreads>) -> Result<Arc<dyn Invoker>, Failure> {
    let unusable = |error: Error| Failure::Usage(error.message);
    let storage = Storage::new(settings).map_err(unusable)?;
    let shared = SharedRuntime::new(settings).map_err(unusable)?.with_threads(Arc::clone(compute));
    Ok(Arc::new(InProcessInvoker::new(Worker::new(settings, storage, shared))))
}

fn service(
    settings: Settings,
    tables: Tables,
    places: &Places,
    plan: &ServePlan,
    invoker: Option<Arc<dyn Invoker>>,
    compute: &Arc<ComputeThreads>,
) -> Result<Arc<Service>, Failure> {
    let unusable = |error: Error| Failure::Usage(error.message);
    let storage = Storage::new(&settings).map_err(unusable)?;
    let shared = SharedRuntime::new(&settings).map_err(unusable)?.with_threads(Arc::clone(compute));
    let readable = settings.data_locations.clone().unwrap_or_default();
    let workspace = workspace::workspace(tables, places, &settings, &storage, readable)?;
    let coordinator = Coordinator::new(settings, storage, shared, invoker).map_err(unusable)?;
    let config = ServiceConfig { state_url: state_url(&plan.state)?, max_running: plan.max_running, max_queued: MAX_QUEUED };
    Service::new(Arc::new(coordinator), workspace, &config, Arc::new(HereInBackground)).map_err(unusable)
}

/// Runs queued queries in tasks of this process.
#[derive(Debug)]
struct HereInBackground;

#[async_trait]
impl Background for HereInBackground {
    async fn start(&self, service: &Arc<Service>, id: QueryId, principal: &str) -> EngineResult<()> {
        let (service, principal) = (Arc::clone(service), principal.to_string());
        Handle::current().spawn(async move {
            if let Err(error) = service.run_queued(id, &principal, Invocation::default()).await {
                tracing::error!(query_id = %id, error = %error, "a query's record cannot be changed");
            }
        });
        Ok(())
    }
}

/// The URL of a folder or file of data, without a pattern.
fn location_url(location: &str) -> Result<String, Failure> {
    if location.contains("://") {
        return Ok(location.to_string());
    }
    let fixed = location
        .find(['*', '?', '['])
        .map_or(location, |pattern| location[..pattern].rsplit_once('/').map_or(".", |(folder, _)| folder));
    let wrong = |e: &dyn std::fmt::Display| Failure::Usage(format!("'{location}': {e}"));
    let path = std::fs::canonicalize(fixed).map_err(|e| wrong(&e))?;
    Url::from_file_path(&path).map(String::from).map_err(|()| wrong(&"not a path that can be read"))
}

/// The URL of the state folder, which is made if it is on disk.
fn state_url(state: &str) -> Result<String, Failure> {
    if state.contains("://") {
        return Ok(state.to_string());
    }
    let wrong = |e: &dyn std::fmt::Display| Failure::Usage(format!("--state {state}: {e}"));
    std::fs::create_dir_all(Path::new(state)).map_err(|e| wrong(&e))?;
    let path = std::fs::canonicalize(state).map_err(|e| wrong(&e))?;
    Url::from_directory_path(&path).map(String::from).map_err(|()| wrong(&"not a path that can be used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_allowed_by_their_folder() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let root = std::fs::canonicalize(folder.path())?.display().to_string();
        std::fs::create_dir(folder.path().join("t"))?;
        assert_eq!(location_url(&format!("{root}/t/*.parquet"))?, format!("file://{root}/t"));
        assert_eq!(location_url(&format!("{root}/t/"))?, format!("file://{root}/t"));
        assert_eq!(location_url("s3://b/x/")?, "s3://b/x/");
        assert!(location_url(&format!("{root}/none")).is_err());
        Ok(())
    }

    #[test]
    fn only_loopback_is_open_without_tokens() {
        let plan = ServePlan {
            listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            auth: None,
            state: ".".into(),
            max_running: 1,
            processes: false,
            worker_binary: None,
        };
        let refused = run(Settings::default(), Tables::default(), &Places::default(), &plan);
        assert!(matches!(refused, Err(Failure::Usage(text)) if text.contains("--auth")));
    }
}
