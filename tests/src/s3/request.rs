//! Names the S3 operation, bucket and key of a raw HTTP request; it knows neither signatures nor objects.

use http::request::Parts;
use http::{HeaderMap, Method, header};

/// The S3 operations that the server tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// GetObject.
    Get,
    /// HeadObject.
    Head,
    /// PutObject.
    Put,
    /// UploadPart.
    UploadPart,
    /// CreateMultipartUpload.
    CreateMultipart,
    /// CompleteMultipartUpload.
    CompleteMultipart,
    /// AbortMultipartUpload.
    AbortMultipart,
    /// CopyObject and UploadPartCopy.
    Copy,
    /// DeleteObject.
    Delete,
    /// DeleteObjects.
    DeleteMany,
    /// ListObjectsV2.
    List,
    /// HeadBucket.
    HeadBucket,
    /// Anything else; the server answers most of it with 501.
    Other,
}

impl Op {
    /// Whether the request body is (a part of) an object, which is what `bytes_in` counts.
    pub(super) fn carries_object(self) -> bool {
        matches!(self, Self::Put | Self::UploadPart)
    }
}

/// What a request asks for, as far as its head tells; `key` is percent-decoded and empty for bucket operations.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) op: Op,
    pub(super) method: Method,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) range: Option<String>,
    pub(super) if_match: Option<String>,
}

impl Target {
    pub(super) fn of(head: &Parts) -> Self {
        let path = head.uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = head.uri.query().unwrap_or("");
        let is_copy = head.headers.contains_key("x-amz-copy-source");
        Self {
            op: operation(&head.method, bucket, key, query, is_copy),
            method: head.method.clone(),
            bucket: percent_decoded(bucket),
            key: percent_decoded(key),
            range: text(&head.headers, &header::RANGE),
            if_match: text(&head.headers, &header::IF_MATCH),
        }
    }
}

fn operation(method: &Method, bucket: &str, key: &str, query: &str, is_copy: bool) -> Op {
    let has = |name: &str| url::form_urlencoded::parse(query.as_bytes()).any(|(found, _)| found == name);
    match (method.as_str(), bucket.is_empty(), key.is_empty()) {
        (_, true, _) => Op::Other,
        ("GET", _, true) if has("list-type") => Op::List,
        ("HEAD", _, true) => Op::HeadBucket,
        ("POST", _, true) if has("delete") => Op::DeleteMany,
        (_, _, true) => Op::Other,
        ("GET", ..) if has("uploadId") || has("tagging") || has("acl") || has("attributes") => Op::Other,
        ("GET", ..) => Op::Get,
        ("HEAD", ..) => Op::Head,
        ("PUT", ..) if is_copy => Op::Copy,
        ("PUT", ..) if has("uploadId") => Op::UploadPart,
        ("PUT", ..) if has("tagging") || has("acl") => Op::Other,
        ("PUT", ..) => Op::Put,
        ("POST", ..) if has("uploads") => Op::CreateMultipart,
        ("POST", ..) if has("uploadId") => Op::CompleteMultipart,
        ("DELETE", ..) if has("uploadId") => Op::AbortMultipart,
        ("DELETE", ..) if has("tagging") => Op::Other,
        ("DELETE", ..) => Op::Delete,
        _ => Op::Other,
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A `+` stays a plus sign: in a path it does not mean a space.
fn percent_decoded(text: &str) -> String {
    let hex = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(at + 1)) {
            (b'%', Some(escaped)) => {
                decoded.push(escaped);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
