//! The one integration binary.

mod access;
mod athena_sql;
mod bad_input;
mod columns;
mod compatibility;
mod conformance;
mod ddl;
mod delta;
mod emulator;
mod formats;
mod functions;
mod fuzz;
mod glue;
mod http_api;
mod lifecycle;
mod made_tables;
mod many_files;
mod plans;
mod policies;
mod s3;
mod serve;
mod slt;
mod tidy;
mod tpch;
mod traps;
mod write;
