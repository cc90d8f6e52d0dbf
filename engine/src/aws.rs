//! Signed requests to an AWS service other than S3, or to an emulator of it.

use crate::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use std::error::Error as _;
use std::time::Duration;
use url::{Host, Url};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are closed after this: a frozen sandbox wakes up with connections that are long gone.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(25);
/// Time between keep-alive probes, which keep the connection of a long call open in address translators.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Longest name of a region or function, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// One service of one region; one pool of connections. Sends nothing twice.
#[derive(Debug)]
pub struct AwsClient {
    http: reqwest::Client,
    /// The name that signatures have, such as `lambda`.
    service: &'static str,
    /// Without a slash at the end.
    endpoint: String,
    region: String,
    credentials: AwsCredentialProvider,
}

impl AwsClient {
    /// A client for `service` in `region` with at most `max_idle` idle connections; `endpoint` (an `http` or `https` URL) replaces
    /// the public one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidQuery`] for an endpoint or region that is none; [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn new(
        service: &'static str,
        endpoint: Option<&str>,
        region: &str,
        credentials: AwsCredentialProvider,
        max_idle: usize,
    ) -> Result<Self> {
        if !is_name(region) {
            return Err(Error::invalid(format!("{region:?} is no AWS region")));
        }
        let public = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let endpoint = endpoint.map_or_else(|| format!("https://{service}.{region}.{public}"), str::to_owned);
        let no_url =
            || Error::invalid(format!("the {service} endpoint is no http or https URL with a host, and without user or query"));
        let url = Url::parse(&endpoint).map_err(|_| no_url())?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            return Err(no_url());
        }
        let mut http = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(max_idle)
            .tcp_keepalive(TCP_KEEPALIVE);
        if url.host().is_some_and(|host| is_loopback(&host)) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|e| Error::internal(format!("no HTTP client could be made: {}", reason(&e))))?;
        let endpoint = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, service, endpoint, region: region.to_owned(), credentials })
    }

    /// POSTs `body` with `headers` to `path` (with a slash at the start, and its query) of the endpoint; the answer's body has at most
    /// `max_bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the service cannot be reached or its answer does not come whole; [`ErrorKind::AccessDenied`]
    /// without credentials that can be sent; [`ErrorKind::LimitExceeded`] for a larger answer.
    pub async fn post(&self, path: &str, headers: HeaderMap, body: Bytes, max_bytes: usize) -> Result<http::Response<Bytes>> {
        let request = self.signed(path, headers, body).await?;
        let mut response = self.http.execute(request).await.map_err(|error| lost(&error))?;
        let too_large = || Error::new(ErrorKind::LimitExceeded, format!("the answer has more than {max_bytes} bytes"));
        let expected = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if expected > max_bytes {
            return Err(too_large());
        }
        let mut body = BytesMut::with_capacity(expected);
        while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
            if body.len() + chunk.len() > max_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = http::Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }

    async fn signed(&self, path: &str, headers: HeaderMap, body: Bytes) -> Result<reqwest::Request> {
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|e| Error::from(e).context(format!("no AWS credentials for {}", self.service)))?;
        // The signer panics on a token that is no header value.
        let token = credential.token.as_deref().unwrap_or_default();
        if HeaderValue::from_str(token).is_err() || HeaderValue::from_str(&credential.key_id).is_err() {
            return Err(Error::new(ErrorKind::AccessDenied, "the AWS credentials hold characters that cannot be sent"));
        }
        let mut request = HttpRequest::new(HttpRequestBody::from(body.clone()));
        *request.method_mut() = http::Method::POST;
        let uri = format!("{}{path}", self.endpoint).parse();
        *request.uri_mut() = uri.map_err(|_| Error::internal(format!("the {} endpoint gives no URL", self.service)))?;
        *request.headers_mut() = headers;
        AwsAuthorizer::new(&credential, self.service, &self.region).authorize(&mut request, None);
        let (parts, _) = request.into_parts();
        reqwest::Request::try_from(http::Request::from_parts(parts, body)).map_err(|e| Error::internal(reason(&e)))
    }
}

/// A request without an answer, or without the rest of it.
fn lost(error: &reqwest::Error) -> Error {
    let what = if error.is_connect() { "it cannot be reached" } else { "the answer was lost" };
    Error::new(ErrorKind::Unavailable, format!("{what}: {}", reason(error)))
}

/// The causes of an HTTP error, which its own text leaves out; never its URL.
fn reason(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    if causes.is_empty() { "HTTP error".to_owned() } else { causes.join(": ") }
}

/// 1 to 64 letters, digits, `-` and `_`: a region, a function, a version or alias.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}
