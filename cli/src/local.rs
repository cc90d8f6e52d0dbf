//! Puts coordinator and in-process workers together; decides nothing about queries.

use crate::failure::Failure;
use coordinator::Coordinator;
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
    pub(crate) tables: Arc<Tables>,
    /// As given: without the exchange that was chosen here.
    pub(crate) settings: Settings,
    /// The default exchange: gone with everything in it when this is dropped.
    _exchange: Option<TempDir>,
}

impl Local {
    /// Coordinator and workers with `settings`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for settings that cannot be used.
    pub(crate) fn new(settings: Settings, tables: Tables) -> Result<Self, Failure> {
        let unusable = |error: engine::Error| Failure::Usage(error.message);
        let storage = Storage::new(&settings.s3).map_err(unusable)?;
        let shared = SharedRuntime::new(&settings).map_err(unusable)?;
        let mut own = settings.clone();
        let mut folder = None;
        let mut invoker: Option<Arc<dyn Invoker>> = None;
        if own.workers > 0 {
            own.exchange_url = Some(match &own.exchange_url {
                Some(location) => exchange_location(location)?,
                None => {
                    let made = exchange_folder(own.temp_dir.as_deref())?;
                    folder_url(folder.insert(made).path())?
                }
            });
            let worker = Worker::new(&own, Arc::clone(&storage), shared.clone());
            invoker = Some(Arc::new(InProcessInvoker::new(worker)));
        }
        let coordinator = Coordinator::new(own, storage, shared, invoker).map_err(unusable)?;
        Ok(Self { coordinator: Arc::new(coordinator), tables: Arc::new(tables), settings, _exchange: folder })
    }
}

fn exchange_folder(parent: Option<&Path>) -> Result<TempDir, Failure> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("owlet-exchange-");
    let made = match parent {
        Some(parent) => builder.tempdir_in(parent),
        None => builder.tempdir(),
    };
    made.map_err(|e| Failure::Usage(format!("cannot make a temporary folder for the exchange (see --temp-dir): {e}")))
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
