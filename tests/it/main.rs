//! The one integration binary.

mod bad_input;
mod s3;
mod slt;
mod tidy;
mod tpch;
mod traps;
