//! Checks AWS Signature Version 4 of a request. Knows nothing of what the request asks for.
use crate::config::Credential;
use chrono::NaiveDateTime;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::time::Duration;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "lambda";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// How far the signing time may be from ours, in seconds.
const MAX_SKEW_SECONDS: u64 = 300;
/// All but the unreserved characters of RFC 3986.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why a signature was refused; AWS answers 403 with `code`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code, message: message.into() })
}

/// Parts of an Authorization header.
struct Authorization<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    signed_headers: &'a str,
    signature: Vec<u8>,
}

/// The caller whose signature `parts` and `body` carry. `now` is the time since 1970.
pub(crate) fn verify<'a>(
    credentials: &'a [Credential],
    region: &str,
    parts: &Parts,
    body: &[u8],
    now: Duration,
) -> Result<&'a Credential, Refused> {
    let Some(header) = header(parts, "authorization") else {
        return refuse("MissingAuthenticationTokenException", "Missing Authentication Token");
    };
    let Some(authorization) = parse(&header) else {
        return refuse("IncompleteSignatureException", "the Authorization header is not a complete AWS4-HMAC-SHA256 signature");
    };
    let Some(credential) = credentials.iter().find(|credential| credential.access_key == authorization.access_key) else {
        return refuse("UnrecognizedClientException", "The security token included in the request is invalid.");
    };
    if authorization.region != region {
        return refuse("InvalidSignatureException", format!("Credential should be scoped to the region {region}."));
    }
    let time = signing_time(parts, authorization.date, now)?;
    check_signed_headers(parts, authorization.signed_headers)?;
    let payload_hash = payload_hash(parts, body)?;
    let key = signing_key(&credential.secret, authorization.date, region);
    let token = header_or_empty(parts, "x-amz-security-token");
    // Comparing the MACs of both tokens takes the same time wherever they differ.
    let expected_token = mac(&key, credential.session_token.as_deref().unwrap_or_default().as_bytes());
    if expected_token.verify_slice(&mac(&key, token.as_bytes()).finalize().into_bytes()).is_err() {
        return refuse("UnrecognizedClientException", "The security token included in the request is invalid.");
    }
    let scope = format!("{}/{region}/{SERVICE}/aws4_request", authorization.date);
    let matches = canonical_paths(parts.uri.path()).iter().any(|path| {
        let canonical = canonical_request(parts, path, authorization.signed_headers, &payload_hash);
        let hash = hex::encode(Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{hash}");
        mac(&key, text.as_bytes()).verify_slice(&authorization.signature).is_ok()
    });
    if !matches {
        return refuse(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check the secret key and the signing method.",
        );
    }
    Ok(credential)
}

fn parse(header: &str) -> Option<Authorization<'_>> {
    let (mut scope, mut signed_headers, mut signature) = (None, None, None);
    for part in header.strip_prefix(ALGORITHM)?.split(',') {
        match part.trim().split_once('=')? {
            ("Credential", value) => scope = Some(value),
            ("SignedHeaders", value) => signed_headers = Some(value),
            ("Signature", value) => signature = hex::decode(value).ok(),
            _ => return None,
        }
    }
    let mut scope = scope?.split('/');
    let (access_key, date, region) = (scope.next()?, scope.next()?, scope.next()?);
    if scope.next()? != SERVICE || scope.next()? != "aws4_request" || scope.next().is_some() {
        return None;
    }
    Some(Authorization { access_key, date, region, signed_headers: signed_headers?, signature: signature? })
}

/// The `x-amz-date` of the request, checked against the scope's date and the clock.
fn signing_time(parts: &Parts, scope_date: &str, now: Duration) -> Result<String, Refused> {
    let time = header_or_empty(parts, "x-amz-date");
    let parsed = NaiveDateTime::parse_from_str(&time, "%Y%m%dT%H%M%SZ").ok();
    let Some(parsed) = parsed.filter(|_| time.split('T').next() == Some(scope_date)) else {
        return refuse(
            "IncompleteSignatureException",
            "x-amz-date is missing, malformed, or of another day than the credential scope",
        );
    };
    if parsed.and_utc().timestamp().abs_diff(now.as_secs().cast_signed()) > MAX_SKEW_SECONDS {
        return refuse("InvalidSignatureException", format!("Signature expired or not yet current: {time}. Check the clock."));
    }
    Ok(time)
}

/// The host and all `x-amz-*` headers must be signed, and all signed headers must be there.
fn check_signed_headers(parts: &Parts, signed_headers: &str) -> Result<(), Refused> {
    let signed = |name: &str| signed_headers.split(';').any(|signed| signed == name);
    let needed = parts.headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    if let Some(name) = needed.chain(["host"]).find(|name| !signed(name)) {
        return refuse("InvalidSignatureException", format!("the header {name} must be signed"));
    }
    match signed_headers.split(';').find(|name| !parts.headers.contains_key(*name)) {
        Some(name) => refuse("InvalidSignatureException", format!("the signed header {name} is missing")),
        None => Ok(()),
    }
}

fn payload_hash(parts: &Parts, body: &[u8]) -> Result<String, Refused> {
    let stated = header(parts, "x-amz-content-sha256");
    if stated.as_deref() == Some(UNSIGNED) {
        return Ok(UNSIGNED.to_owned());
    }
    let actual = hex::encode(Sha256::digest(body));
    match stated {
        Some(stated) if stated != actual => {
            refuse("InvalidSignatureException", "x-amz-content-sha256 is not the hash of the body")
        }
        _ => Ok(actual),
    }
}

/// The forms of a path that clients sign: as sent, each segment encoded once more (as AWS services want it), or encoded once.
fn canonical_paths(path: &str) -> [String; 3] {
    let segments = |change: fn(&str) -> String| path.split('/').map(change).collect::<Vec<_>>().join("/");
    [path.to_owned(), segments(encode), segments(recode)]
}

fn canonical_request(parts: &Parts, path: &str, signed_headers: &str, payload_hash: &str) -> String {
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut query: Vec<(String, String)> = pairs.map(|(name, value)| (recode(name), recode(value))).collect();
    query.sort_unstable();
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let headers: String = signed_headers.split(';').map(|name| format!("{name}:{}\n", header_or_empty(parts, name))).collect();
    format!("{}\n{path}\n{}\n{headers}\n{signed_headers}\n{payload_hash}", parts.method, query.join("&"))
}

/// All values of a header, trimmed, inner spaces collapsed, joined with commas.
fn header(parts: &Parts, name: &str) -> Option<String> {
    let values: Vec<String> = parts
        .headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).split_ascii_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn header_or_empty(parts: &Parts, name: &str) -> String {
    header(parts, name).unwrap_or_default()
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

fn recode(text: &str) -> String {
    percent_encoding::percent_encode(&percent_decode_str(text).collect::<Vec<u8>>(), STRICT).to_string()
}

fn mac(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(text);
    mac
}

fn signing_key(secret: &str, date: &str, region: &str) -> Vec<u8> {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date, region, SERVICE, "aws4_request"] {
        key = mac(&key, part.as_bytes()).finalize().into_bytes().to_vec();
    }
    key
}

#[cfg(test)]
mod tests;
