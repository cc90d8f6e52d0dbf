//! A Lambda control plane on this machine: real `bootstrap` processes behind the Invoke API and function URLs.
//!
//! ```text
//!  caller ──► invoke_api ─┐                       ┌─► environment ─► runtime_api ◄── process (bootstrap)
//!  caller ──► url ────────┴─► function (slots, ───┤       log, memory, deadline, freeze
//!                              idle, events)      └─► environment ─► runtime_api ◄── process (bootstrap)
//! ```
//!
//! Each environment is a process in a process group of its own with its own Runtime API port, runs one event at a time, and is
//! stopped (SIGSTOP) between events. What Lambda limits is limited here: time, memory, payloads, concurrency.
//! What is not here: response streaming, layers and extensions, resource policies, dead-letter queues.
mod chaos;
mod clock;
mod config;
mod environment;
mod error;
mod function;
mod http;
mod invoke_api;
mod ledger;
mod log;
mod process;
mod runtime_api;
mod shared;
mod sigv4;
mod tasks;
mod url;

pub use chaos::{Chaos, Fault};
pub use config::{Credential, EmulatorConfig, FunctionConfig, LogSink, UrlAuth};
pub use error::{Error, Result};
pub use ledger::{Counts, InvocationKind, Ledger, LedgerEntry, Outcome};

use function::Function;
use invoke_api::InvokeApi;
use ledger::Books;
use process::Processes;
use shared::Shared;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tasks::Tasks;
use url::FunctionUrl;

/// Shortest pause between two looks for idle environments.
const MIN_REAP_PAUSE: Duration = Duration::from_millis(50);

/// A running control plane. Dropping it kills every process it has started.
pub struct Emulator {
    shared: Arc<Shared>,
    urls: BTreeMap<String, SocketAddr>,
}

impl Emulator {
    /// Opens the ports. Processes start with the first events. Must be called within a tokio runtime.
    pub async fn start(mut config: EmulatorConfig) -> Result<Self> {
        config.prepare()?;
        let configs = std::mem::take(&mut config.functions);
        let (processes, tasks) = (Arc::new(Processes::default()), Tasks::default());
        let (listener, address) = http::listen().await?;
        let endpoint = format!("http://{address}");
        let shared = Arc::new(Shared { config, endpoint, books: Books::default(), processes, tasks });
        // From here on an error drops the emulator, which ends what was started.
        let mut emulator = Self { shared, urls: BTreeMap::new() };
        let shared = &emulator.shared;
        let mut functions = HashMap::new();
        for config in configs {
            let (name, auth) = (config.name.clone(), config.url_auth);
            let function = Function::new(config, Arc::clone(shared));
            if let Some(auth) = auth {
                let (listener, address) = http::listen().await?;
                let url = FunctionUrl { shared: Arc::clone(shared), function: Arc::clone(&function), auth };
                shared.tasks.spawn(http::serve(listener, Arc::new(url), false));
                emulator.urls.insert(name.clone(), address);
            }
            functions.insert(name, function);
        }
        let reaped: Vec<_> = functions.values().map(Arc::clone).collect();
        shared.tasks.spawn(reap(reaped, shared.config.idle_timeout));
        let api = InvokeApi { shared: Arc::clone(shared), functions };
        shared.tasks.spawn(http::serve(listener, Arc::new(api), false));
        Ok(emulator)
    }

    /// Base URL of the Invoke API, `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.shared.endpoint.clone()
    }

    /// URL of the function `name`, without a slash at the end, if it has one.
    pub fn function_url(&self, name: &str) -> Option<String> {
        self.urls.get(name).map(|address| format!("http://{address}"))
    }

    /// What has run so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.books.snapshot()
    }

    /// Closes the ports, kills every process and waits until they are gone.
    pub async fn shutdown(self) {
        self.stop();
        self.shared.tasks.end().await;
        self.shared.processes.gone().await;
    }

    fn stop(&self) {
        self.shared.tasks.stop();
        self.shared.processes.kill_all();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Kills environments that were idle for too long, for ever.
async fn reap(functions: Vec<Arc<Function>>, idle_timeout: Duration) {
    loop {
        clock::sleep((idle_timeout / 2).max(MIN_REAP_PAUSE)).await;
        for function in &functions {
            function.reap(idle_timeout);
        }
    }
}
