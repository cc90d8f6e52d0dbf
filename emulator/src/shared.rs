//! What all parts of one emulator share.
use crate::config::EmulatorConfig;
use crate::ledger::Books;
use crate::process::Processes;
use crate::tasks::Tasks;
use std::sync::Arc;

pub(crate) struct Shared {
    pub(crate) config: EmulatorConfig,
    /// Base URL of the Invoke API.
    pub(crate) endpoint: String,
    pub(crate) books: Books,
    pub(crate) processes: Arc<Processes>,
    pub(crate) tasks: Tasks,
}
