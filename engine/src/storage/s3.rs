//! Builds S3 stores whose every HTTP request is counted, over one shared HTTP client.

use super::meter::{Meter, count};
use crate::error::{Error, ErrorKind, Result};
use crate::settings::S3Settings;
use async_trait::async_trait;
use http_body::{Body, Frame, SizeHint};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    SpawnedReqwestConnector,
};
use object_store::{BackoffConfig, ClientOptions, CredentialProvider, RetryConfig};
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A request that has not answered whole after this long is tried again (S3's p99.9 is 0.2 s; 16 MiB at 1 MB/s is 16 s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below 30 s, so that a thawed function does not reuse connections that S3 has closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(25);
/// Retries of one request; with the pauses below they outlast a SlowDown episode of half a minute.
const MAX_RETRIES: usize = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Credentials = Arc<dyn CredentialProvider<Credential = object_store::aws::AwsCredential>>;

/// Everything needed to make an S3 store.
pub(super) struct S3Access {
    endpoint: Option<String>,
    region: Option<String>,
    client: Arc<OnceLock<SharedClient>>,
    credentials: Mutex<HashMap<String, Credentials>>,
}

impl S3Access {
    pub(super) fn new(settings: &S3Settings) -> Result<Self> {
        if let Some(endpoint) = &settings.endpoint
            && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
        {
            return Err(Error::invalid(format!("the S3 endpoint must start with http:// or https://, not '{endpoint}'")));
        }
        Ok(Self {
            endpoint: settings.endpoint.clone(),
            region: settings.region.clone(),
            client: Arc::default(),
            credentials: Mutex::default(),
        })
    }

    /// A store of `bucket` whose requests are counted in `meter`.
    pub(super) fn store(&self, bucket: &str, meter: &Arc<Meter>, retry_time: Duration) -> Result<Arc<AmazonS3>> {
        if bucket.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "an s3:// location needs a bucket: s3://bucket/prefix/"));
        }
        let connector = MeteredConnector { client: Arc::clone(&self.client), meter: Arc::clone(meter) };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_http_connector(connector)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(client_options())
            .with_retry(RetryConfig {
                backoff: BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 2.0 },
                max_retries: MAX_RETRIES,
                retry_timeout: retry_time,
            });
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        } else if builder.get_config_value(&AmazonS3ConfigKey::Region).is_none() {
            builder = builder.with_region("us-east-1");
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = credentials.get(bucket) {
            builder = builder.with_credentials(Arc::clone(known));
        }
        let store: AmazonS3 = builder.build().map_err(Error::from)?;
        credentials.entry(bucket.to_string()).or_insert_with(|| Arc::clone(store.credentials()));
        Ok(Arc::new(store))
    }
}

fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_pool_idle_timeout(POOL_IDLE_TIMEOUT)
}

/// One connection pool, and the thread that serves its connections.
///
/// A plan may keep its threads busy for seconds without a pause. A connection that was opened there would wait, and so would
/// whoever takes it from the pool next: the look for a cancel marker, the renewal of a lease.
struct SharedClient {
    client: HttpClient,
    runtime: Option<Runtime>,
}

impl SharedClient {
    fn connect(options: &ClientOptions) -> object_store::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("owlet-http").enable_all().build();
        let runtime = runtime.map_err(|e| object_store::Error::Generic { store: "S3", source: Box::new(e) })?;
        let client = SpawnedReqwestConnector::new(runtime.handle().clone()).connect(options)?;
        Ok(Self { client, runtime: Some(runtime) })
    }
}

impl Drop for SharedClient {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Hands every store the same connection pool, behind its own meter.
struct MeteredConnector {
    client: Arc<OnceLock<SharedClient>>,
    meter: Arc<Meter>,
}

impl fmt::Debug for MeteredConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeteredConnector")
    }
}

impl HttpConnector for MeteredConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = match self.client.get() {
            Some(shared) => shared.client.clone(),
            None => {
                let fresh = SharedClient::connect(options)?;
                self.client.get_or_init(|| fresh).client.clone()
            }
        };
        Ok(HttpClient::new(MeteredHttp { client, meter: Arc::clone(&self.meter) }))
    }
}

/// Counts requests as they go over the wire, retries included.
#[derive(Debug)]
struct MeteredHttp {
    client: HttpClient,
    meter: Arc<Meter>,
}

#[async_trait]
impl HttpService for MeteredHttp {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let meter = &self.meter;
        let is_list = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
        let mut is_object = false;
        match request.method().as_str() {
            "GET" if is_list => count(&meter.lists, 1),
            "GET" => {
                is_object = true;
                count(&meter.gets, 1);
            }
            "HEAD" => count(&meter.heads, 1),
            // DeleteObjects is a POST, but S3 does not charge for deletes.
            "POST" if request.uri().query().is_some_and(|query| query.starts_with("delete")) => count(&meter.deletes, 1),
            "PUT" | "POST" => {
                count(&meter.puts, 1);
                count(&meter.bytes_written, request.body().content_length() as u64);
            }
            _ => count(&meter.deletes, 1),
        }
        let response = self.client.execute(request).await?;
        if !(is_object || is_list) || !response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        if is_list {
            // Reads of objects go on where they broke off, pages of listings do not: read here, a broken one is asked for again.
            let page = body.bytes().await.map_err(|e| HttpError::new(HttpErrorKind::Interrupted, e))?;
            return Ok(HttpResponse::from_parts(parts, page.into()));
        }
        let counted = CountedBody { inner: body, meter: Arc::clone(meter) };
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(counted)))
    }
}

struct CountedBody {
    inner: HttpResponseBody,
    meter: Arc<Meter>,
}

impl Body for CountedBody {
    type Data = bytes::Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            count(&self.meter.bytes_read, bytes.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
