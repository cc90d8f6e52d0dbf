//! Client tokens: the first claim of a token decides its query for 24 hours.

use super::hash::{principal_key, sha256_hex};
use super::records::StateStore;
use super::text;
use bytes::Bytes;
use engine::ids::QueryId;
use engine::{Error, ErrorKind, Result, clock};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a token keeps its query, in milliseconds.
pub(super) const TOKEN_VALID_MS: i64 = 24 * 60 * 60 * 1_000;

/// Folder of the tokens.
pub(crate) const TOKENS: &str = "tokens";

/// How often one claim looks again after another writer was faster.
const MAX_CLAIM_ATTEMPTS: u32 = 8;

/// The pause before a claim looks again.
const CLAIM_PAUSE: Duration = Duration::from_millis(10);

/// What a claim found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claimed {
    /// The token is this caller's, with the new id.
    New(QueryId),
    /// The same request came before and has this id. When no record of that id exists, the earlier claimant died before it wrote one
    /// (or is about to): the caller may go on and create it under this id, for only one create and one start succeed.
    Same(QueryId),
    /// The token belongs to another request: `TOKEN_REUSED`.
    Conflict,
}

/// The form of a token's object.
#[derive(Serialize, Deserialize)]
struct TokenObject {
    #[serde(with = "text::query_id")]
    query_id: QueryId,
    request_hash: String,
    created_ms: i64,
}

impl StateStore {
    /// Claims `token` of `principal` for a request; `new_id` must be fresh, and becomes the query's id if the token was free.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when the token's object cannot be read; `Unavailable` when the bound on attempts is reached.
    pub(crate) async fn claim(
        &self,
        principal: &str,
        token: &str,
        request_hash: &str,
        new_id: QueryId,
        now_ms: i64,
    ) -> Result<Claimed> {
        let path = self.objects.path(TOKENS, &principal_key(principal), &format!("{}.json", sha256_hex(token.as_bytes())));
        let own = TokenObject { query_id: new_id, request_hash: request_hash.to_owned(), created_ms: now_ms };
        let own = serde_json::to_vec(&own).map(Bytes::from).map_err(|error| Error::internal(format!("{path}: {error}")))?;
        for _ in 0..MAX_CLAIM_ATTEMPTS {
            if self.objects.create(&path, &own).await? {
                return Ok(Claimed::New(new_id));
            }
            let Some(stored) = self.objects.get(&path).await? else { continue };
            let found: TokenObject = serde_json::from_slice(&stored.body)
                .map_err(|error| Error::new(ErrorKind::Corrupt, format!("{path}: the token's object cannot be read: {error}")))?;
            if found.query_id == new_id {
                // The answer to an earlier write of this claim got lost.
                return Ok(Claimed::New(new_id));
            }
            if now_ms.saturating_sub(found.created_ms) < TOKEN_VALID_MS {
                return Ok(if found.request_hash == request_hash { Claimed::Same(found.query_id) } else { Claimed::Conflict });
            }
            if self.objects.replace(&path, &stored, &own).await? {
                return Ok(Claimed::New(new_id));
            }
            clock::sleep(CLAIM_PAUSE).await;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("{path}: {MAX_CLAIM_ATTEMPTS} claims lost against other writers; try again"),
        ))
    }
}
