//! Who sends a request to `owlet serve`: everybody on this machine, or whoever has a token.

use crate::failure::Failure;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coordinator::http::Principal;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// Shortest token, in characters: 128 bits in base64.
const MIN_TOKEN_CHARS: usize = 22;
/// Principal of requests that need no token.
const LOCAL: &str = "local";

/// How callers are told apart.
#[derive(Clone, Debug)]
pub(crate) enum Auth {
    /// No token: only for loopback addresses, whose name the request must give, so that no web page can send it.
    Loopback,
    /// Principals by the SHA-256 of their token.
    Tokens(Arc<HashMap<[u8; 32], String>>),
}

impl Auth {
    /// Reads a file with a line `TOKEN PRINCIPAL` for each caller.
    ///
    /// # Errors
    /// [`Failure::Usage`] with the line that is wrong; it never shows a token.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::Usage(format!("--auth {}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let mut tokens = HashMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            let number = number + 1;
            let (token, principal) = line
                .trim()
                .split_once(char::is_whitespace)
                .ok_or_else(|| wrong(format!("line {number} is not TOKEN PRINCIPAL")))?;
            if token.len() < MIN_TOKEN_CHARS {
                return Err(wrong(format!("the token in line {number} is shorter than {MIN_TOKEN_CHARS} characters")));
            }
            if tokens.insert(digest(token), principal.trim().to_string()).is_some() {
                return Err(wrong(format!("the token in line {number} is there twice")));
            }
        }
        match tokens.is_empty() {
            true => Err(wrong("it names no caller".into())),
            false => Ok(Self::Tokens(Arc::new(tokens))),
        }
    }
}

/// Puts the principal into the request, or leaves it out: the routes refuse a request without one.
pub(crate) async fn identify(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    let principal = match &auth {
        Auth::Loopback if is_local(request.headers(), request.uri()) => Some(LOCAL.to_string()),
        Auth::Loopback => {
            let message = "this server answers requests from this machine only, by the name of a loopback address";
            let body = json!({ "error": { "code": "FORBIDDEN", "message": message } });
            return (StatusCode::FORBIDDEN, Json(body)).into_response();
        }
        // Tokens are looked up by digest, so that the time tells nothing about them.
        Auth::Tokens(tokens) => bearer(request.headers()).and_then(|token| tokens.get(&digest(token)).cloned()),
    };
    if let Some(principal) = principal {
        request.extensions_mut().insert(Principal(principal));
    }
    next.run(request).await
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get("authorization")?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a program on this machine meant this server: not a web page (those send `Origin`), and not a name that
/// somebody else's name server leads here.
fn is_local(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers.get("host").and_then(|host| host.to_str().ok()).or(uri.host()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_loopback = name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    !headers.contains_key("origin") && is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().filter_map(|(name, value)| Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))).collect()
    }

    #[test]
    fn only_loopback_names_and_no_pages() {
        let uri = Uri::from_static("/v1/query");
        for (pairs, local) in [
            (vec![("host", "127.0.0.1:8080")], true),
            (vec![("host", "localhost")], true),
            (vec![("host", "[::1]:80")], true),
            (vec![("host", "127.0.0.2:8080")], true),
            (vec![("host", "LOCALHOST:8080")], true),
            (vec![("host", "10.0.0.1")], false),
            (vec![("host", "127.1:80")], false),
            (vec![("host", "rebind.example.com:8080")], false),
            (vec![("host", "127.0.0.1.example.com")], false),
            (vec![("host", "localhost:8080"), ("origin", "http://evil.example")], false),
            (vec![], false),
        ] {
            assert_eq!(is_local(&headers(&pairs), &uri), local, "{pairs:?}");
        }
    }

    #[test]
    fn a_token_file_is_checked_and_tokens_stay_secret() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("tokens");
        let token = "a-token-of-enough-characters";
        for (text, part) in [
            (String::new(), "no caller"),
            (token.into(), "line 1"),
            ("short ann".into(), "line 1"),
            (format!("{token} ann\n\n{token} bob"), "line 3"),
        ] {
            std::fs::write(&path, &text)?;
            let error = Auth::from_file(&path).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(part) && !error.contains(token), "{text}: {error}");
        }
        std::fs::write(&path, format!("# callers\n{token} ann\n"))?;
        let Auth::Tokens(tokens) = Auth::from_file(&path)? else { return Err("no tokens".into()) };
        let sent = headers(&[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(bearer(&sent).and_then(|token| tokens.get(&digest(token)).cloned()).as_deref(), Some("ann"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic x")])), None);
        Ok(())
    }
}
