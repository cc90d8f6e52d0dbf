//! Fixtures of the integration tests: data, clusters of in-process workers, faults, an S3 server.

#![allow(clippy::disallowed_methods, clippy::allow_attributes, reason = "fixtures read the real clock")]

pub mod chaos;
pub mod cluster;
pub mod compare;
pub mod deletions;
pub mod faults;
pub mod functions;
pub mod s3;
pub mod slt;
pub mod trap_data;
