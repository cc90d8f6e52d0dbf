//! Why a set of TPC-H tables could not be made.

use super::{GENERATOR, MAX_SCALE, MIN_SCALE};
use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use std::io;
use std::path::PathBuf;

/// Why there is no complete set.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The scale is not a number in range.
    #[error("scale {0} is out of range: choose a number from {MIN_SCALE} to {MAX_SCALE}")]
    Scale(f64),
    /// The path names no folder that could be created, such as `/`.
    #[error("'{}' cannot be the folder of a TPC-H set", .0.display())]
    Folder(PathBuf),
    /// The folder holds something that is no complete set; it is left alone.
    #[error("'{}' is not empty and holds no complete TPC-H set; choose another folder", .0.display())]
    Occupied(PathBuf),
    /// The folder holds another set; it is left alone.
    #[error("'{}' holds TPC-H at scale {found_scale} made by {found_generator}, not scale {wanted_scale} by {GENERATOR}; \
             choose another folder or delete it", .path.display())]
    OtherSet {
        /// The folder.
        path: PathBuf,
        /// Scale found there.
        found_scale: f64,
        /// Generator that made it.
        found_generator: String,
        /// Scale asked for.
        wanted_scale: f64,
    },
    /// The set is marked complete but a file is gone or has another size.
    #[error("'{}' is missing or damaged though its set is marked complete; delete the set's folder and generate again", .0.display())]
    Damaged(PathBuf),
    /// The marker cannot be understood.
    #[error("cannot read the marker '{}': {source}", .path.display())]
    Marker {
        /// The marker file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file or folder could not be read or written.
    #[error("'{}': {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The generator gave a batch that cannot be converted.
    #[error("cannot make the rows of '{}': {source}", .path.display())]
    Arrow {
        /// The file the rows were for.
        path: PathBuf,
        /// What went wrong.
        source: ArrowError,
    },
    /// A Parquet file could not be written.
    #[error("cannot write '{}': {source}", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: ParquetError,
    },
    /// A writing thread ended without a result, because it was told to stop or by a defect.
    #[error("the writing of '{}' stopped before its end", .0.display())]
    Unfinished(PathBuf),
}
