//! Why an emulator could not start.

/// What kept the emulator from starting. Nothing runs after such an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself or names a program that is not there.
    #[error("function {function:?}: {problem}")]
    InvalidFunction {
        /// Name of the function as configured.
        function: String,
        /// What is wrong with it and what to change.
        problem: String,
    },
    /// A loopback port could not be opened.
    #[error("cannot listen on a port of 127.0.0.1: {0}")]
    Listen(#[from] std::io::Error),
}

/// Result of starting an emulator.
pub type Result<T> = std::result::Result<T, Error>;
