//! The one integration binary.

mod access;
mod bad_input;
mod conformance;
mod emulator;
mod formats;
mod functions;
mod http_api;
mod lifecycle;
mod plans;
mod policies;
mod s3;
mod serve;
mod slt;
mod tidy;
mod tpch;
mod traps;
