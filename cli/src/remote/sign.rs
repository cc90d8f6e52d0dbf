//! Shows a server who asks: AWS Signature Version 4 with the usual credentials, or a bearer token. Never shows either in text.

use crate::failure::Failure;
use crate::remote::choice::{AuthChoice, Endpoint, Secret};
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use bytes::Bytes;
use engine::clock::now_ms;
use engine::{Error, ErrorKind};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::OnceCell;
use url::Url;

/// Credentials are asked for again this long before they expire.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// Credentials that do not say when they expire are asked for again after this long.
const CACHE_TIME: Duration = Duration::from_secs(300);
/// What stands where a secret would.
const HIDDEN: &str = "***";

/// Adds what shows the caller to requests.
#[derive(Debug)]
pub(crate) enum Signer {
    /// Adds nothing.
    None,
    /// Adds a bearer token.
    Token(Secret),
    /// Signs.
    Iam(Iam),
}

/// Signs with AWS credentials.
#[derive(Debug)]
pub(crate) struct Iam {
    /// Region of the host; that of the environment or the profile when absent.
    region: Option<String>,
    service: &'static str,
    source: OnceCell<Source>,
    /// The last credentials, and when to ask again, in milliseconds since 1970.
    cached: Mutex<Option<(Credentials, i64)>>,
}

#[derive(Debug)]
struct Source {
    region: String,
    provider: SharedCredentialsProvider,
}

impl Signer {
    /// A signer for requests to `endpoint`; asks for credentials when they are needed first.
    pub(crate) fn new(auth: &AuthChoice, endpoint: &Endpoint) -> Self {
        match auth {
            AuthChoice::None => Self::None,
            AuthChoice::Token(token) => Self::Token(token.clone()),
            AuthChoice::Iam => Self::Iam(Iam {
                region: endpoint.region.clone(),
                service: endpoint.service,
                source: OnceCell::new(),
                cached: Mutex::default(),
            }),
        }
    }

    /// Headers of a request with this body; `content_type` is among them if there is one.
    ///
    /// # Errors
    /// When there are no usable credentials, with what to do.
    pub(crate) async fn headers(
        &self,
        method: &Method,
        url: &Url,
        content_type: Option<&'static str>,
        body: &Bytes,
    ) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        match self {
            Self::None => Ok(headers),
            Self::Token(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| unusable("token"))?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
                Ok(headers)
            }
            Self::Iam(iam) => iam.sign(method, url, headers, body).await,
        }
    }

    /// Drops credentials that the server called expired, so that the next request asks for new ones. Whether there were any.
    pub(crate) fn forget(&self) -> bool {
        match self {
            Self::Iam(iam) => iam.cached.lock().unwrap_or_else(PoisonError::into_inner).take().is_some(),
            Self::None | Self::Token(_) => false,
        }
    }

    /// `text` without any secret in it; servers quote what they were sent.
    pub(crate) fn redact(&self, text: &str) -> String {
        let hide = |text: String, secret: &str| if secret.is_empty() { text } else { text.replace(secret, HIDDEN) };
        let text = text.to_owned();
        match self {
            Self::None => text,
            Self::Token(token) => hide(text, token.reveal()),
            Self::Iam(iam) => match iam.cached.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                None => text,
                Some((credentials, _)) => {
                    let session = credentials.session_token().unwrap_or_default();
                    let text = hide(hide(text, session), credentials.secret_access_key());
                    hide(text, credentials.access_key_id())
                }
            },
        }
    }
}

impl Iam {
    async fn sign(&self, method: &Method, url: &Url, headers: HeaderMap, body: &Bytes) -> Result<HeaderMap, Failure> {
        let source = self.source.get_or_try_init(|| Source::load(self.region.clone())).await?;
        let credentials = self.credentials(source).await?;
        let credential = AwsCredential {
            key_id: credentials.access_key_id().to_owned(),
            secret_key: credentials.secret_access_key().to_owned(),
            token: credentials.session_token().map(str::to_owned),
        };
        // The signer takes these as header values without looking at them.
        if !sound(&credential.key_id) || !credential.token.as_deref().is_none_or(sound) {
            return Err(unusable("credentials"));
        }
        let mut request = HttpRequest::new(HttpRequestBody::from(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.as_str().parse().map_err(|_| Failure::Usage(format!("'{url}' cannot be requested")))?;
        *request.headers_mut() = headers;
        AwsAuthorizer::new(&credential, self.service, &source.region).authorize(&mut request, None);
        Ok(std::mem::take(request.headers_mut()))
    }

    async fn credentials(&self, source: &Source) -> Result<Credentials, Failure> {
        if let Some((credentials, until)) = self.cached.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && now_ms() < *until
        {
            return Ok(credentials.clone());
        }
        let credentials = source.provider.provide_credentials().await.map_err(|error| no_credentials(&error))?;
        let until = match credentials.expiry().and_then(|expiry| expiry.duration_since(UNIX_EPOCH).ok()) {
            Some(expiry) => milliseconds(expiry.saturating_sub(EXPIRY_MARGIN)),
            None => now_ms().saturating_add(milliseconds(CACHE_TIME)),
        };
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some((credentials.clone(), until));
        Ok(credentials)
    }
}

impl Source {
    async fn load(region: Option<String>) -> Result<Self, Failure> {
        let region = match region {
            Some(region) => region,
            None => RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new())
                .region()
                .await
                .map(|region| region.to_string())
                .ok_or_else(|| {
                    Failure::Usage(
                        "signed requests need a region, which the host's name does not tell: set AWS_REGION, or region in the AWS profile"
                            .into(),
                    )
                })?,
        };
        let config = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.clone())).load().await;
        let provider = config.credentials_provider().ok_or_else(|| access_denied(ADVICE.to_owned()))?;
        Ok(Self { region, provider })
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a header can carry `text`.
fn sound(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

fn unusable(what: &str) -> Failure {
    access_denied(format!("the {what} for the server cannot stand in a header: look for blanks and line ends"))
}

const ADVICE: &str = "no AWS credentials were found to sign with: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
     or run 'aws sso login'; --credentials token and --credentials none do not sign";

/// In fixed words, because the errors of providers may quote what they read.
fn no_credentials(error: &CredentialsError) -> Failure {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let expired = source.to_ascii_lowercase().contains("expired");
    access_denied(match error {
        CredentialsError::CredentialsNotLoaded(_) => ADVICE.to_owned(),
        _ if expired => "the AWS credentials have expired: run 'aws sso login', or renew them where they come from".to_owned(),
        CredentialsError::ProviderTimedOut(_) => {
            "the service that gives AWS credentials did not answer in time: try again, or set AWS_PROFILE to another source"
                .to_owned()
        }
        CredentialsError::InvalidConfiguration(_) => {
            "the AWS configuration cannot be used: check AWS_PROFILE and the files ~/.aws/config and ~/.aws/credentials"
                .to_owned()
        }
        _ => "AWS credentials could not be had from where the profile or the environment says: \
              'aws sts get-caller-identity' tells why; 'aws sso login' renews a session"
            .to_owned(),
    })
}

fn access_denied(message: String) -> Failure {
    Failure::Query(Error::new(ErrorKind::AccessDenied, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn iam(credentials: Credentials, region: &str) -> Signer {
        let source = Source { region: region.into(), provider: SharedCredentialsProvider::new(credentials) };
        let cached = Mutex::default();
        Signer::Iam(Iam { region: None, service: "lambda", source: OnceCell::new_with(Some(source)), cached })
    }

    #[tokio::test]
    async fn signed_requests_have_date_hash_token_and_signature() -> Result<(), Box<dyn std::error::Error>> {
        let signer = iam(Credentials::new("AKID", "verysecret", Some("sessiontoken".into()), None, "test"), "eu-west-1");
        let url = Url::parse("https://abc.lambda-url.eu-west-1.on.aws/v1/query")?;
        let body = Bytes::from_static(b"{}");
        let headers = signer.headers(&Method::POST, &url, Some("application/json"), &body).await?;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // SHA-256 of "{}".
        assert_eq!(header("x-amz-content-sha256"), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        assert_eq!((header("host"), header("x-amz-security-token")), ("abc.lambda-url.eu-west-1.on.aws", "sessiontoken"));
        let signature = header("authorization");
        assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{signature}");
        let signed = "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        assert!(signature.contains("/eu-west-1/lambda/aws4_request") && signature.contains(signed), "{signature}");
        assert!(!format!("{headers:?}").contains("verysecret"));
        assert_eq!(signer.redact("x-amz-security-token:sessiontoken AKID verysecret"), "x-amz-security-token:*** *** ***");
        assert!(signer.forget() && !signer.forget());
        Ok(())
    }

    #[tokio::test]
    async fn what_no_header_can_carry_is_an_error() -> Result<(), Box<dyn std::error::Error>> {
        let signer = iam(Credentials::new("AKID", "s", Some("two\nlines".into()), None, "test"), "eu-west-1");
        let url = Url::parse("https://x.example/")?;
        let failed = signer.headers(&Method::GET, &url, None, &Bytes::new()).await;
        assert!(failed.is_err_and(|e| e.exit_code() == 1 && !e.to_string().contains("lines\"")));
        Ok(())
    }

    #[tokio::test]
    async fn credentials_are_asked_for_again_before_they_expire() -> Result<(), Box<dyn std::error::Error>> {
        for (expiry, cached) in [(SystemTime::UNIX_EPOCH, false), (SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40), true)] {
            let signer = iam(Credentials::new("AKID", "s", None, Some(expiry), "test"), "eu-west-1");
            let Signer::Iam(own) = &signer else { return Err("not IAM".into()) };
            signer.headers(&Method::GET, &Url::parse("https://x.example/")?, None, &Bytes::new()).await?;
            let until = own.cached.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, until)| *until);
            assert_eq!(until.is_some_and(|until| now_ms() < until), cached);
        }
        Ok(())
    }

    #[test]
    fn missing_and_expired_credentials_say_what_to_do() {
        let missing = no_credentials(&CredentialsError::not_loaded("AKIAsecret")).to_string();
        assert!(missing.contains("AWS_PROFILE") && missing.contains("aws sso login") && !missing.contains("AKIA"), "{missing}");
        let expired = no_credentials(&CredentialsError::provider_error("the SSO token AKIA has expired")).to_string();
        assert!(expired.contains("expired") && expired.contains("aws sso login") && !expired.contains("AKIA"), "{expired}");
    }
}
