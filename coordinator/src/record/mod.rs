//! Query state in an object store: what is kept of each query, how it may change, and who finds it.
//!
//! ```text
//! queries/<principal key>/<query id>.json        model.rs (form), state.rs (what may change), records.rs, list.rs
//! tokens/<principal key>/<sha256 of token>.json  tokens.rs
//! every write is create-if-absent or compare-and-set: objects.rs
//! ```
//!
//! **Invariant:** a final record never changes; all changes go through [`StateStore::transition`] and the pure functions of `state.rs`.

mod hash;
mod list;
mod model;
mod objects;
mod records;
mod state;
mod text;
mod tokens;

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;

pub(crate) use hash::{principal_key, request_hash};
pub(crate) use list::{ListPage, ListRequest, MAX_LIST_LIMIT};
pub(crate) use model::{NewQuery, QueryLimits, QueryRecord, QueryState, RecordError, RecordProgress, StageCount, StoredResult};
pub(crate) use objects::StoreKind;
pub(crate) use records::{Created, QUERIES, StateStore};
pub(crate) use state::Change;
pub(crate) use text::parse_query_id;
pub(crate) use tokens::{Claimed, TOKENS};
