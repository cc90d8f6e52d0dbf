//! Puts coordinator and in-process workers together; decides nothing about queries.

use crate::failure::Failure;
use crate::resolve::Places;
use crate::workspace;
use coordinator::Coordinator;
use coordinator::Workspace;
use engine::compute::ComputeThreads;
use engine::session::SharedRuntime;
use engine::settings::Settings;
use engine::storage::Storage;
use engine::task::Invoker;
use sql::Tables;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use url::Url;
use worker::{InProcessInvoker, Worker};

/// Everything that runs queries in this process.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) coordinator: Arc<Coordinator>,
    pub(crate) workspace: Workspace,
    /// As given: without the folders that were made here.
    pub(crate) settings: Settings,
    /// Spilled rows and the default exchange: gone with everything in it when this is dropped, even if a query that
    /// was given up on is still writing.
    _scratch: TempDir,
}

impl Local {
    /// Coordinator and workers with `settings`, which execute plans on `compute`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for settings that cannot be used.
    pub(crate) fn new(
        settings: Settings,
        tables: Tables,
        places: &Places,
        compute: &Arc<ComputeThreads>,
    ) -> Result<Self, Failure> {
        let readable = workspace::own_places(&tables, places)?;
        let writable = workspace::writable(settings.clone(), places)?;
        let storage = Storage::new(&writable).map_err(|error| Failure::Usage(error.message))?;
        let workspace = workspace::workspace(tables, places, &writable, &storage, readable)?;
        Self::with_workspace(settings, writable, workspace, compute)
    }

    /// The same with `settings` over `workspace`; `writable` are the settings with the places to write to.
    pub(crate) fn with_workspace(
        settings: Settings,
        writable: Settings,
        workspace: Workspace,
        compute: &Arc<ComputeThreads>,
    ) -> Result<Self, Failure> {
        let unusable = |error: engine::Error| Failure::Usage(error.message);
        let storage = Storage::new(&writable).map_err(unusable)?;
        let scratch = scratch_folder(settings.temp_dir.as_deref())?;
        let mut own = Settings { temp_dir: Some(scratch.path().to_owned()), ..writable };
        let shared = SharedRuntime::new(&own).map_err(unusable)?.with_threads(Arc::clone(compute));
        let mut invoker: Option<Arc<dyn Invoker>> = None;
        if own.workers > 0 {
            let exchange = own.exchange_url.unwrap_or_else(|| scratch.path().display().to_string());
            own.exchange_url = Some(exchange_location(&exchange)?);
            let worker = Worker::new(&own, Arc::clone(&storage), shared.clone());
            invoker = Some(Arc::new(InProcessInvoker::new(worker)));
        }
        let coordinator = Coordinator::new(own, storage, shared, invoker).map_err(unusable)?;
        Ok(Self { coordinator: Arc::new(coordinator), workspace, settings, _scratch: scratch })
    }
}

fn scratch_folder(parent: Option<&Path>) -> Result<TempDir, Failure> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("owlet-");
    let made = match parent {
        Some(parent) => builder.tempdir_in(parent),
        None => builder.tempdir(),
    };
    made.map_err(|e| Failure::Usage(format!("cannot make a folder for temporary files (see --temp-dir): {e}")))
}

/// A URL as it is; a path as the URL of that folder, which is made.
fn exchange_location(location: &str) -> Result<String, Failure> {
    if location.contains("://") {
        return Ok(location.to_owned());
    }
    let folder = Path::new(location);
    std::fs::create_dir_all(folder)
        .map_err(|e| Failure::Usage(format!("--exchange: cannot make the folder '{location}': {e}")))?;
    folder_url(folder)
}

fn folder_url(folder: &Path) -> Result<String, Failure> {
    let absolute = std::fs::canonicalize(folder).ok();
    let url = absolute.and_then(|absolute| Url::from_directory_path(absolute).ok());
    url.map(String::from)
        .ok_or_else(|| Failure::Usage(format!("the folder '{}' cannot be used for the exchange", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_folder_and_its_url() -> Result<(), Box<dyn std::error::Error>> {
        let parent = tempfile::tempdir()?;
        let folder = parent.path().join("exchange");
        let url = exchange_location(folder.to_str().ok_or("path")?)?;
        assert!(folder.is_dir() && url.starts_with("file:///") && url.ends_with("/exchange/"));
        assert_eq!(exchange_location("s3://bucket/prefix/")?, "s3://bucket/prefix/");
        Ok(())
    }
}
