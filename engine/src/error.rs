//! The one error type of the crate edges: what happened, and what the scheduler should do about it.

use crate::functions::type_name;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use std::fmt;
use std::time::Duration;

/// Result with Owlet's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed, named by what the reader can do about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The statement is wrong: correct the SQL or the data that it casts.
    InvalidQuery,
    /// A table, file or object does not exist.
    NotFound,
    /// The credentials or settings do not allow it.
    AccessDenied,
    /// A limit of memory, size, depth, time or attempts was reached; the message names the setting.
    LimitExceeded,
    /// The service asked to slow down; the same call may succeed later.
    Throttled,
    /// A network, storage or worker fault; the same call may succeed.
    Unavailable,
    /// Data does not have the form that it should have: a damaged file, a failed checksum.
    Corrupt,
    /// A source object changed between planning and reading; run the query again.
    Changed,
    /// The caller cancelled the query.
    Cancelled,
    /// A defect in Owlet or in the engine below it.
    Internal,
}

/// What the scheduler does about a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Fail the query.
    Fail,
    /// Start the next attempt at once.
    RetryNow,
    /// Start the next attempt after at least this long.
    RetryAfter(Duration),
}

/// First pause after a throttle; the scheduler doubles it with every further attempt of the task.
const THROTTLE_PAUSE: Duration = Duration::from_millis(250);

impl ErrorKind {
    /// Every kind, in wire order: the position is the number that crosses the wire.
    pub const ALL: [ErrorKind; 10] = [
        ErrorKind::InvalidQuery,
        ErrorKind::NotFound,
        ErrorKind::AccessDenied,
        ErrorKind::LimitExceeded,
        ErrorKind::Throttled,
        ErrorKind::Unavailable,
        ErrorKind::Corrupt,
        ErrorKind::Changed,
        ErrorKind::Cancelled,
        ErrorKind::Internal,
    ];

    /// What to do about a failed attempt of this kind.
    pub fn verdict(self) -> Verdict {
        match self {
            ErrorKind::Throttled => Verdict::RetryAfter(THROTTLE_PAUSE),
            ErrorKind::Unavailable => Verdict::RetryNow,
            ErrorKind::InvalidQuery
            | ErrorKind::NotFound
            | ErrorKind::AccessDenied
            | ErrorKind::LimitExceeded
            | ErrorKind::Corrupt
            | ErrorKind::Changed
            | ErrorKind::Cancelled
            | ErrorKind::Internal => Verdict::Fail,
        }
    }

    /// The name that people see.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::InvalidQuery => "INVALID_QUERY",
            ErrorKind::NotFound => "NOT_FOUND",
            ErrorKind::AccessDenied => "ACCESS_DENIED",
            ErrorKind::LimitExceeded => "LIMIT_EXCEEDED",
            ErrorKind::Throttled => "THROTTLED",
            ErrorKind::Unavailable => "UNAVAILABLE",
            ErrorKind::Corrupt => "CORRUPT_DATA",
            ErrorKind::Changed => "OBJECT_CHANGED",
            ErrorKind::Cancelled => "CANCELLED",
            ErrorKind::Internal => "INTERNAL",
        }
    }
}

/// An error with its kind and a message for a person; the text is not an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// What sort of failure it is.
    pub kind: ErrorKind,
    /// What happened, where, and what to do.
    pub message: String,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// An [`ErrorKind::Internal`] error.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// An [`ErrorKind::InvalidQuery`] error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidQuery, message)
    }

    /// The same error with `context: ` before its message.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

/// Athena's name of an error that `message` starts with, and what follows: `DIVISION_BY_ZERO: Division by zero`.
pub fn athenas_name(message: &str) -> Option<(&str, &str)> {
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_uppercase() || c == b'_');
    message.split_once(": ").filter(|(name, _)| is_name(name))
}

/// What a function says of a value, with Athena's name for it.
pub(crate) fn value_error(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Execution(text) if athenas_name(&text).is_none() => {
            DataFusionError::Execution(format!("{}: {text}", value_name(&text)))
        }
        other => other,
    }
}

/// The same of the function `name`, which stands before what has no name of Athena's yet.
pub(crate) fn function_error(name: &str, error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Execution(text) if athenas_name(&text).is_none() => {
            value_error(DataFusionError::Execution(format!("{name}: {text}")))
        }
        other => other,
    }
}

/// What Arrow says of a value that is none of a type, in Trino's words.
fn cast_error(what: &str) -> String {
    let type_of = |text: &str| text.parse::<DataType>().ok().map(|of| type_name(&of));
    if let Some((value, of)) = what.strip_prefix("Cannot cast string '").and_then(|rest| rest.split_once("' to value of "))
        && let Some(of) = of.strip_suffix(" type").and_then(type_of)
    {
        return format!("Value cannot be cast to {of}: {value}");
    }
    if let Some((value, of)) = what.strip_prefix("Can't cast value ").and_then(|rest| rest.split_once(" to type "))
        && let Some(of) = type_of(of)
    {
        return format!("Out of range for {of}: {value}");
    }
    what.to_string()
}

fn value_name(text: &str) -> &'static str {
    const CASTS: [&str; 4] = ["annot cast ", "cannot be cast to ", "Unable to cast ", "cannot be represented as "];
    const RANGES: [&str; 3] = ["verflow", "ut of range for ", "out of range"];
    match text {
        _ if CASTS.iter().any(|part| text.contains(part)) => "INVALID_CAST_ARGUMENT",
        _ if RANGES.iter().any(|part| text.contains(part)) => "NUMERIC_VALUE_OUT_OF_RANGE",
        "Division by zero" => "DIVISION_BY_ZERO",
        _ => "INVALID_FUNCTION_ARGUMENT",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        let text = error.to_string();
        let kind = match &error {
            object_store::Error::NotFound { .. } => ErrorKind::NotFound,
            object_store::Error::Precondition { .. } => ErrorKind::Changed,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => ErrorKind::AccessDenied,
            object_store::Error::InvalidPath { .. }
            | object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. }
            | object_store::Error::UnknownConfigurationKey { .. } => ErrorKind::InvalidQuery,
            object_store::Error::AlreadyExists { .. } | object_store::Error::NotModified { .. } => ErrorKind::Internal,
            // The address of the metadata service: the last place where credentials are looked for.
            _ if text.contains("169.254.169.254") => {
                return Error::new(
                    ErrorKind::AccessDenied,
                    "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile's variables",
                );
            }
            _ => kind_of_text(&text).unwrap_or(ErrorKind::Unavailable),
        };
        if kind == ErrorKind::InvalidQuery && matches!(error, object_store::Error::Generic { .. }) {
            return Error::new(kind, format!("the bucket is in another region than this process works in ({text})"));
        }
        if kind == ErrorKind::Changed {
            return Error::new(kind, format!("an object was replaced while the query read it; run the query again ({text})"));
        }
        // Own errors pass through object stores inside `Generic`.
        let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
        while let Some(inner) = source {
            if let Some(own) = inner.downcast_ref::<Error>() {
                return own.clone();
            }
            source = inner.source();
        }
        Error::new(kind, text)
    }
}

/// The kind of a store's error of which only the text is left: listings and deletes have no variants of their own, and DataFusion
/// keeps only the text of what went wrong with a footer. None for an error that another try may not meet.
fn kind_of_text(text: &str) -> Option<ErrorKind> {
    let parts: [(&[&str], ErrorKind); 5] = [
        (&["lacked the necessary privileges", "403 Forbidden", "code: AccessDenied"], ErrorKind::AccessDenied),
        (&["Request precondition failure"], ErrorKind::Changed),
        (&["NoSuchBucket", "NoSuchKey"], ErrorKind::NotFound),
        // What S3 answers in another region than the bucket's.
        (&["redirect without LOCATION", "AuthorizationHeaderMalformed", "PermanentRedirect"], ErrorKind::InvalidQuery),
        (&["503 Service", "429 Too Many", "SlowDown"], ErrorKind::Throttled),
    ];
    let found = parts.iter().find(|(parts, _)| parts.iter().any(|part| text.contains(part)));
    found.map(|(_, kind)| *kind)
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::AccessDenied,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::LimitExceeded,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, error.to_string())
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        from_datafusion(&error)
    }
}

/// What DataFusion's message of a full temporary folder names, whichever error type it is wrapped in.
const TEMP_QUOTA_OPTION: &str = "max_temp_directory_size";

fn from_datafusion(error: &DataFusionError) -> Error {
    use datafusion::arrow::error::ArrowError;
    let text = || error.strip_backtrace();
    if text().contains(TEMP_QUOTA_OPTION) {
        return out_of_memory("its temporary files reached their quota");
    }
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_datafusion(inner),
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => from_datafusion(first),
            None => Error::internal("an empty collection of errors"),
        },
        DataFusionError::External(inner) => from_external(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(external) => from_external(external.as_ref()),
            // Athena's names.
            ArrowError::DivideByZero => Error::invalid("DIVISION_BY_ZERO: Division by zero"),
            ArrowError::ArithmeticOverflow(what) => Error::invalid(clean(&format!("NUMERIC_VALUE_OUT_OF_RANGE: {what}"))),
            ArrowError::CastError(what) | ArrowError::ParseError(what) => {
                Error::invalid(clean(&format!("INVALID_CAST_ARGUMENT: {}", cast_error(what))))
            }
            ArrowError::InvalidArgumentError(what) if what.contains("to store in a Decimal") => {
                let value = what.split(" is too ").next().unwrap_or_default();
                Error::invalid(format!("NUMERIC_VALUE_OUT_OF_RANGE: Decimal overflow: {value}"))
            }
            ArrowError::ComputeError(_) | ArrowError::InvalidArgumentError(_) => Error::invalid(clean(&inner.to_string())),
            ArrowError::SchemaError(_) | ArrowError::CsvError(_) | ArrowError::JsonError(_) => {
                Error::new(ErrorKind::Corrupt, clean(&inner.to_string()))
            }
            ArrowError::MemoryError(message) => Error::new(ErrorKind::LimitExceeded, message.clone()),
            ArrowError::IoError(message, _) => Error::new(ErrorKind::Unavailable, message.clone()),
            other => Error::new(ErrorKind::Corrupt, other.to_string()),
        },
        DataFusionError::ParquetError(inner) => match inner.as_ref() {
            parquet::errors::ParquetError::External(external) => from_external(external.as_ref()),
            other => from_parquet(&other.to_string()),
        },
        DataFusionError::ObjectStore(inner) => from_external(inner.as_ref()),
        DataFusionError::IoError(inner) => Error::new(ErrorKind::Unavailable, inner.to_string()),
        DataFusionError::ResourcesExhausted(message) => out_of_memory(message),
        DataFusionError::ExecutionJoin(inner) => {
            let what = if inner.is_panic() { "a part of the query panicked" } else { "a part of the query was stopped" };
            Error::internal(format!("{what}; this is a defect in the engine or damage in a file"))
        }
        DataFusionError::Plan(message)
        | DataFusionError::Configuration(message)
        | DataFusionError::Execution(message)
        | DataFusionError::NotImplemented(message) => Error::invalid(clean(message)),
        DataFusionError::SchemaError(inner, _) => Error::invalid(inner.to_string()),
        DataFusionError::Internal(_) | DataFusionError::Ffi(_) => Error::internal(clean(&text())),
        _ => Error::internal(clean(&text())),
    }
}

/// An error of the Parquet reader: damage, unless a store's error made it.
fn from_parquet(text: &str) -> Error {
    let of_store = text.contains("Failed to fetch metadata for file")
        && ["Generic S3 error", "Object Store error", "External: "].iter().any(|part| text.contains(part));
    if !of_store {
        return Error::new(ErrorKind::Corrupt, text);
    }
    let own = ErrorKind::ALL.into_iter().find(|kind| text.contains(&format!("error: {}: ", kind.name())));
    Error::new(own.or_else(|| kind_of_text(text)).unwrap_or(ErrorKind::Unavailable), text)
}

fn clean(message: &str) -> String {
    let message = message.split("\nbacktrace:").next().unwrap_or(message);
    message.split("\nThis issue was likely caused by a bug").next().unwrap_or(message).trim_end().to_string()
}

fn out_of_memory(message: &str) -> Error {
    let setting = if message.contains("quota") || message.contains("disk") {
        "raise --temp-quota or free space for temporary files"
    } else {
        "raise --memory, or use more workers with smaller --split-bytes"
    };
    Error::new(ErrorKind::LimitExceeded, format!("the query needs more memory than its budget ({setting}): {message}"))
}

fn from_external(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut current = Some(error);
    while let Some(inner) = current {
        if let Some(own) = inner.downcast_ref::<Error>() {
            return own.clone();
        }
        if let Some(datafusion) = inner.downcast_ref::<DataFusionError>() {
            return from_datafusion(datafusion);
        }
        if let Some(store) = inner.downcast_ref::<object_store::Error>() {
            return from_object_store(store);
        }
        current = inner.source();
    }
    Error::new(ErrorKind::Unavailable, error.to_string())
}

/// `object_store::Error` is not `Clone`: rebuilds the typed error from its variant and text.
fn from_object_store(error: &object_store::Error) -> Error {
    let source = |text: &str| -> Box<dyn std::error::Error + Send + Sync> { text.to_string().into() };
    let text = error.to_string();
    match error {
        object_store::Error::NotFound { path, .. } => {
            object_store::Error::NotFound { path: path.clone(), source: source(&text) }.into()
        }
        object_store::Error::Precondition { path, .. } => {
            object_store::Error::Precondition { path: path.clone(), source: source(&text) }.into()
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Error::new(ErrorKind::AccessDenied, text)
        }
        other => {
            let mut inner = std::error::Error::source(other);
            while let Some(cause) = inner {
                if let Some(own) = cause.downcast_ref::<Error>() {
                    return own.clone();
                }
                inner = cause.source();
            }
            object_store::Error::Generic { store: "S3", source: source(&text) }.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn kinds_survive_datafusion_wrapping() {
        let own = Error::new(ErrorKind::Changed, "x");
        let wrapped = DataFusionError::Shared(Arc::new(DataFusionError::from(own.clone()))).context("reading");
        assert_eq!(Error::from(wrapped), own);
    }

    #[test]
    fn store_errors_are_sorted_by_what_to_do() {
        let missing = object_store::Error::NotFound { path: "k".into(), source: "gone".into() };
        assert_eq!(Error::from(missing).kind.verdict(), Verdict::Fail);
        let reset = object_store::Error::Generic { store: "S3", source: "connection reset".into() };
        assert_eq!(Error::from(reset).kind.verdict(), Verdict::RetryNow);
        for (answer, kind) in [
            ("Error performing list request: ... 403 Forbidden: AccessDenied", ErrorKind::AccessDenied),
            ("DeleteObjects request failed for key k: Access Denied (code: AccessDenied)", ErrorKind::AccessDenied),
            ("Error performing list request: ... 404 Not Found: <Code>NoSuchBucket</Code>", ErrorKind::NotFound),
            ("Received redirect without LOCATION, ... incorrectly configured region", ErrorKind::InvalidQuery),
        ] {
            let error = object_store::Error::Generic { store: "S3", source: answer.into() };
            assert_eq!(Error::from(error).kind, kind, "{answer}");
        }
        let slow = object_store::Error::Generic { store: "S3", source: "503 Service Unavailable SlowDown".into() };
        assert!(matches!(Error::from(slow).kind.verdict(), Verdict::RetryAfter(_)));
    }

    /// DataFusion makes text of what a footer's read failed with.
    #[test]
    fn a_footer_that_could_not_be_read_is_not_damage() {
        use parquet::errors::ParquetError;
        let error = |source: DataFusionError| {
            let text = format!("Failed to fetch metadata for file k: {source}");
            Error::from(DataFusionError::from(ParquetError::General(text))).kind
        };
        let store = |error: object_store::Error| DataFusionError::from(ParquetError::External(Box::new(error)));
        let source = || "x".into();
        let denied = object_store::Error::PermissionDenied { path: "k".into(), source: source() };
        assert_eq!(error(store(denied)), ErrorKind::AccessDenied);
        let changed = object_store::Error::Precondition { path: "k".into(), source: source() };
        assert_eq!(error(changed.into()), ErrorKind::Changed);
        let reset = object_store::Error::Generic { store: "S3", source: source() };
        assert_eq!(error(reset.into()), ErrorKind::Unavailable);
        let own = Box::new(Error::new(ErrorKind::AccessDenied, "outside"));
        let outside = object_store::Error::Generic { store: "data locations", source: own };
        assert_eq!(error(outside.into()), ErrorKind::AccessDenied);
        assert_eq!(error(ParquetError::General("Invalid Parquet file. Corrupt footer".into()).into()), ErrorKind::Corrupt);
        assert_eq!(error(ParquetError::EOF("file size of 3 is less than footer".into()).into()), ErrorKind::Corrupt);
    }

    #[test]
    fn wire_numbers_are_the_positions() {
        for (position, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(ErrorKind::ALL[position], kind);
        }
    }
}
