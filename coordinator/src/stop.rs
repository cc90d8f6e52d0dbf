//! Stopping and cleaning up after a query from outside of it: by its id alone.

use crate::query::Coordinator;
use engine::Result;
use engine::exchange::Exchange;
use engine::ids::QueryId;
use engine::storage::{Meter, Pins};
use std::time::Duration;

/// Longest time that a request to the exchange is tried again.
const RETRY_TIME: Duration = Duration::from_secs(30);

impl Coordinator {
    /// Tells the attempts of `query` to stop, wherever they run.
    ///
    /// # Errors
    /// When the exchange cannot be written.
    pub async fn stop_attempts(&self, query: QueryId) -> Result<()> {
        match self.exchange_of(query)? {
            Some(exchange) => exchange.cancel().await,
            None => Ok(()),
        }
    }

    /// Removes what `query` left in the exchange; it must not be running.
    ///
    /// # Errors
    /// When the exchange cannot be listed or emptied.
    pub async fn sweep(&self, query: QueryId) -> Result<()> {
        match self.exchange_of(query)? {
            Some(exchange) => exchange.sweep().await,
            None => Ok(()),
        }
    }

    fn exchange_of(&self, query: QueryId) -> Result<Option<Exchange>> {
        let settings = self.settings();
        let (Some(url), 1..) = (&settings.exchange_url, settings.workers) else { return Ok(None) };
        let registry = self.storage().registry(Meter::new(), Pins::default(), RETRY_TIME);
        Exchange::open(&registry, url, query).map(Some)
    }
}
