//! Fixtures of the integration tests: data, clusters of in-process workers, faults, an S3 server.

pub mod s3;
