//! The one integration binary.

mod bad_input;
mod formats;
mod lifecycle;
mod plans;
mod s3;
mod slt;
mod tidy;
mod tpch;
mod traps;
