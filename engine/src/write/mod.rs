//! Query results as files: what to write and where, and the operator that writes it below a hidden staging folder.
//!
//! ```text
//! <location>/_owlet_staging/<query>/<k=v/...>/<file>    written by tasks; no reader lists names that start with '_'
//! <location>/_owlet_staging/<query>/commit.json         written by the coordinator: from here on the write has happened
//! <location>/<k=v/...>/<file>                           where the coordinator moves the files of accepted attempts
//! ```
//!
//! **Invariant:** a task only ever writes below staging, under names that no other attempt and no other delivery of it
//! uses; so a lost, late or repeated attempt changes nothing, and without the commit nothing is to be seen.

mod access;
mod codec;
mod encode;
mod exec;
mod files;
mod node;
mod partition;
mod spec;
mod text;
mod types;

pub use access::{JOURNAL_NAME, STAGING_FOLDER, WriteAccess, WriteFolder, below};
pub use codec::WriteCodec;
pub use exec::{FileRow, WriteExec};
pub use node::{WriteNode, WriteQueryPlanner};
pub use partition::{HIVE_NULL, escape_value, folder_of, parse_folder};
pub use spec::{Compression, TextFormat, WriteFormat, WriteSpec};
