//! Why a command ended early, and the exit code that says so.

use crate::print::PrintError;
use crate::tpch::generate::GenerateError;
use engine::{Error, ErrorKind};

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments or settings cannot be used; nothing ran.
    #[error("{0}")]
    Usage(String),
    /// A query failed.
    #[error("{}", .0.message)]
    Query(Error),
    /// A server refused a request, or a query failed there.
    #[error("{message}")]
    Server {
        /// The server's name for the kind of error.
        code: String,
        /// What happened, where, and what to do.
        message: String,
    },
    /// Rows could not be written.
    #[error("{0}")]
    Print(#[from] PrintError),
    /// The TPC-H tables could not be made.
    #[error("{0}")]
    Generate(#[from] GenerateError),
    /// Ctrl-C, and the query has cleaned up.
    #[error("interrupted")]
    Interrupted,
    /// Ctrl-C, and the query was left behind while it stopped.
    #[error("interrupted while the query was busy{}", left_behind(.exchange.as_deref()))]
    Abandoned {
        /// An exchange that outlives the process and may hold objects of the query.
        exchange: Option<String>,
    },
    /// Ctrl-C, and a server has not yet stopped the query.
    #[error("interrupted; the query {query} may still run on the server: stop it with owlet cancel {query}")]
    LeftRunning {
        /// Its id.
        query: String,
    },
    /// Queries of a TPC-H run failed or gave wrong answers; each was reported where it happened.
    #[error("{failed} of {total} queries failed")]
    Tpch {
        /// How many.
        failed: usize,
        /// Out of how many.
        total: usize,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Query(error)
    }
}

impl Failure {
    /// The exit code: 1 for a failed query, 2 for usage, 130 after Ctrl-C, 0 when the reader of the output left.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Print(PrintError::BrokenPipe) => 0,
            Self::Query(_) | Self::Server { .. } | Self::Print(_) | Self::Generate(_) | Self::Tpch { .. } => 1,
            Self::Usage(_) => 2,
            Self::Interrupted | Self::Abandoned { .. } | Self::LeftRunning { .. } => 130,
        }
    }

    /// The name of the kind, as the engine names its own.
    pub fn kind(&self) -> &str {
        match self {
            Self::Usage(_) => "USAGE",
            Self::Query(error) => error.kind.name(),
            Self::Server { code, .. } => code,
            Self::Print(_) => "OUTPUT",
            Self::Generate(_) | Self::Tpch { .. } => "TPCH",
            Self::Interrupted | Self::Abandoned { .. } | Self::LeftRunning { .. } => ErrorKind::Cancelled.name(),
        }
    }
}

fn left_behind(exchange: Option<&str>) -> String {
    exchange.map(|url| format!(": objects of it may be left below '{url}'")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_usage_query_and_interrupt_apart() {
        let query = Failure::Query(Error::invalid("line 1:8: no such column"));
        assert_eq!(
            (query.exit_code(), query.kind(), query.to_string().as_str()),
            (1, "INVALID_QUERY", "line 1:8: no such column")
        );
        assert_eq!(Failure::Usage("x".into()).exit_code(), 2);
        assert_eq!(Failure::Interrupted.exit_code(), 130);
        let abandoned = Failure::Abandoned { exchange: Some("s3://bucket/x".into()) };
        assert!(abandoned.exit_code() == 130 && abandoned.to_string().ends_with("left below 's3://bucket/x'"));
        assert_eq!(Failure::Print(PrintError::BrokenPipe).exit_code(), 0);
    }
}
