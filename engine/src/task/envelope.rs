//! Task messages as JSON, because Lambda's Invoke API takes and gives nothing else.
//!
//! `{"task": BASE64, "encoding": "zstd" | "identity"}` one way, `{"outcome": BASE64, "encoding": ...}` the other.

use crate::error::{Error, ErrorKind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Most bytes that a message may unpack to: a request at its limit that compresses twenty times.
const MAX_UNPACKED_BYTES: usize = 128 << 20;
/// Messages below this are sent as they are, in bytes.
const MIN_COMPRESSED_BYTES: usize = 1_024;
/// The fastest level: rows are compressed already, plans shrink to a quarter at any level.
const LEVEL: i32 = 1;

/// How the bytes are packed before base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Zstd,
    Identity,
}

/// The payload of a worker's invocation.
#[derive(Debug, Serialize, Deserialize)]
pub struct TaskEnvelope {
    task: String,
    encoding: Encoding,
}

impl TaskEnvelope {
    /// Around an encoded [`super::TaskRequest`], or group of them.
    pub fn new(request: &[u8]) -> Self {
        let (task, encoding) = pack(request);
        Self { task, encoding }
    }

    /// The encoded [`super::TaskRequest`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for anything that [`wrap_request`] has not made.
    pub fn request(&self) -> Result<Bytes> {
        unpack(&self.task, self.encoding).map_err(|e| Error::internal(format!("the payload is not a task: {e}")))
    }
}

/// The answer of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct OutcomeEnvelope {
    outcome: String,
    encoding: Encoding,
}

impl OutcomeEnvelope {
    /// Around an encoded [`super::TaskOutcome`].
    pub fn new(outcome: &[u8]) -> Self {
        let (outcome, encoding) = pack(outcome);
        Self { outcome, encoding }
    }

    /// Bytes of the answer, without its few constant ones.
    pub fn bytes(&self) -> usize {
        self.outcome.len()
    }
}

/// The invocation payload for an encoded [`super::TaskRequest`].
///
/// # Errors
/// [`ErrorKind::Internal`] when it cannot be encoded.
pub fn wrap_request(request: &[u8]) -> Result<Bytes> {
    serde_json::to_vec(&TaskEnvelope::new(request)).map(Bytes::from).map_err(|e| Error::internal(e.to_string()))
}

/// The encoded [`super::TaskOutcome`] in an answer.
///
/// # Errors
/// [`ErrorKind::Unavailable`] for anything else: the answer was damaged, another attempt may do better.
pub fn unwrap_outcome(answer: &[u8]) -> Result<Bytes> {
    let damaged = |e: String| Error::new(ErrorKind::Unavailable, format!("the worker's answer is not an outcome: {e}"));
    let envelope: OutcomeEnvelope = serde_json::from_slice(answer).map_err(|e| damaged(e.to_string()))?;
    unpack(&envelope.outcome, envelope.encoding).map_err(damaged)
}

/// Base64 of `bytes`, compressed where that saves a tenth.
fn pack(bytes: &[u8]) -> (String, Encoding) {
    if bytes.len() >= MIN_COMPRESSED_BYTES
        && let Ok(packed) = zstd::bulk::compress(bytes, LEVEL)
        && packed.len() < bytes.len() / 10 * 9
    {
        return (STANDARD.encode(packed), Encoding::Zstd);
    }
    (STANDARD.encode(bytes), Encoding::Identity)
}

fn unpack(text: &str, encoding: Encoding) -> Result<Bytes, String> {
    let bytes = STANDARD.decode(text).map_err(|e| e.to_string())?;
    match encoding {
        Encoding::Identity => Ok(bytes.into()),
        Encoding::Zstd => {
            let frame = zstd::zstd_safe::get_frame_content_size(&bytes).ok().flatten().unwrap_or(u64::MAX);
            match usize::try_from(frame) {
                Ok(size) if size <= MAX_UNPACKED_BYTES => {
                    zstd::bulk::decompress(&bytes, size).map(Bytes::from).map_err(|e| e.to_string())
                }
                _ => Err(format!("it would unpack to more than {MAX_UNPACKED_BYTES} bytes")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{LAMBDA_PAYLOAD_BYTES, MAX_REQUEST_BYTES};

    #[test]
    fn messages_come_back_small_or_large_or_empty() -> Result<(), Box<dyn std::error::Error>> {
        let noise: Vec<u8> = (0..5_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for message in [Vec::new(), b"x".to_vec(), vec![7; 100_000], noise] {
            let envelope: TaskEnvelope = serde_json::from_slice(&wrap_request(&message)?)?;
            assert_eq!(envelope.request()?, message);
            let answer = serde_json::to_vec(&OutcomeEnvelope::new(&message))?;
            assert_eq!(unwrap_outcome(&answer)?, message);
        }
        assert!(wrap_request(&vec![7; 100_000])?.len() < 1_000);
        Ok(())
    }

    #[test]
    fn the_largest_request_fits_a_payload() -> Result<()> {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(MAX_REQUEST_BYTES)
        .collect();
        assert!(wrap_request(&noise)?.len() <= LAMBDA_PAYLOAD_BYTES);
        Ok(())
    }

    #[test]
    fn damage_is_an_error() {
        for text in ["", "{}", "[]", r#"{"task":"%%","encoding":"identity"}"#, r#"{"task":"AAAA","encoding":"zstd"}"#] {
            let request = serde_json::from_str::<TaskEnvelope>(text).map_err(|e| Error::internal(e.to_string()));
            assert!(request.and_then(|envelope| envelope.request()).is_err(), "{text}");
            let answer = text.replace("task", "outcome");
            assert!(unwrap_outcome(answer.as_bytes()).is_err_and(|e| e.kind == ErrorKind::Unavailable), "{text}");
        }
    }
}
