//! The coordinator as a Lambda function: HTTP requests, and queries that it runs in invocations of their own.

use crate::http::{Principal, router};
use crate::lambda::{LambdaClient, LambdaInvoker, MAX_CALLS, Target, TwoLevelBounds, TwoLevelInvoker, run_group};
use crate::query::Coordinator;
use crate::record::parse_query_id;
use crate::service::{Background, Invocation, Service, ServiceConfig, own_locations};
use crate::workspace::{CatalogSource, Workspace};
use crate::{STACK_BYTES, trace_parent};
use async_trait::async_trait;
use axum::Router;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::clock::{now_ms, process_age};
use engine::compute::{REST_TIME, comes_to_rest};
use engine::function::{Variable, list, number, required, settings, vcpus};
use engine::ids::QueryId;
use engine::session::SharedRuntime;
use engine::settings::{MAX_WORKERS, Settings};
use engine::storage::{DataLocations, Storage};
use engine::task::Invoker;
use engine::task::envelope::TaskEnvelope;
use engine::{Error, Result};
use lambda_http::aws_lambda_events::apigw::ApiGatewayRequestAuthorizer;
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::{Adapter, RequestExt};
use lambda_runtime::{Context, LambdaEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sql::Tables;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tower::{Service as _, service_fn};

/// Alias that functions are invoked by when nothing names another.
const DEFAULT_QUALIFIER: &str = "live";
/// Pause between a running attempt's looks for the cancel marker.
const CANCEL_POLL_MS: u64 = 500;
/// Largest body that goes into an answer as text: a sixth of Lambda's limit, less what is around it.
const MAX_TEXT_BODY_BYTES: usize = 1_000_000;
/// Longest time to hand an asynchronous query over.
const EVENT_TIME: Duration = Duration::from_secs(20);

/// What the function sends itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnEvent {
    /// Id of a queued query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    /// Whose query it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    /// Attempts to hand to workers, for another invocation of this function.
    #[serde(default, skip_serializing)]
    dispatch: Option<TaskEnvelope>,
    /// Nothing to do: only keeps the function warm.
    #[serde(default)]
    warm: bool,
}

/// Everything that is made once per cold start.
#[derive(Debug)]
pub struct Function {
    service: Arc<Service>,
    /// Hands attempts to workers, for other invocations of this function.
    dispatcher: Option<Arc<LambdaInvoker>>,
    /// Time from the start of the process to its first invocation, until that takes it.
    init: Mutex<Duration>,
    router: Router,
    compute: Runtime,
    /// Whether threads go on with a query that has been answered for.
    is_stuck: AtomicBool,
}

impl Function {
    /// A coordinator with the workers, tables, memory and state that the environment names. Needs a tokio runtime.
    ///
    /// # Errors
    /// When a variable is missing or wrong, or the system gives no threads.
    pub fn new(variable: Variable<'_>) -> Result<Self> {
        let settings = function_settings(variable)?;
        let state_url = required(variable, "OWLET_STATE_URL")?;
        let storage = Storage::new(&settings)?;
        let region = settings.s3.region.clone().unwrap_or_else(|| "us-east-1".into());
        let endpoint = variable("OWLET_LAMBDA_ENDPOINT").or_else(|| variable("AWS_ENDPOINT_URL_LAMBDA"));
        let workspace = workspace(variable, &settings, &storage)?;
        let client = Arc::new(LambdaClient::new(endpoint.as_deref(), &region, storage.aws_credentials()?)?);
        let own_qualifier = variable("OWLET_SELF_QUALIFIER").unwrap_or_else(|| DEFAULT_QUALIFIER.into());
        let own = Target::new(&required(variable, "AWS_LAMBDA_FUNCTION_NAME")?, &own_qualifier)?;
        let dispatcher = worker_invoker(variable, &settings, &client)?;
        let workers = dispatcher.clone();
        let invoker = workers.map(|direct| two_level(variable, &settings, direct, &client, own.clone())).transpose()?;
        let background = Arc::new(OwnInvocation { client, target: own });
        let compute = Builder::new_multi_thread()
            .worker_threads(settings.local_partition_count())
            .thread_name("owlet-compute")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        let shared = SharedRuntime::new(&settings)?.with_compute(compute.handle().clone());
        let coordinator = Arc::new(Coordinator::new(settings, storage, shared, invoker)?);
        // A function runs one request at a time.
        let config = ServiceConfig { state_url, max_running: 1, max_queued: 0 };
        let service = Service::new(coordinator, workspace, &config, background)?;
        let init = Mutex::new(process_age());
        let router = router(Arc::clone(&service));
        Ok(Self { router, service, dispatcher, init, compute, is_stuck: AtomicBool::new(false) })
    }

    /// Handles one invocation: an HTTP request, or an event of our own.
    ///
    /// # Errors
    /// For an event that is neither, and when the record of a query cannot be read or changed: Lambda tries again then.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value> {
        let answer = self.answer(event).await;
        if !comes_to_rest(self.compute.handle(), REST_TIME).await {
            tracing::warn!("an operator goes on after its query: the process ends with the answer");
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Whether the process must end, since it works on with nobody waiting: what it does would be billed, and slow down the
    /// next query. Another environment takes its place.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    async fn answer(&self, event: LambdaEvent<Value>) -> Result<Value> {
        let LambdaEvent { mut payload, context } = event;
        let xray = context.xray_trace_id.as_deref();
        let invocation = Invocation {
            init: std::mem::take(&mut self.init.lock().unwrap_or_else(PoisonError::into_inner)),
            time_left: time_left(&context),
            trace_parent: trace_parent(None, xray),
            request_id: context.request_id.clone(),
            ..Invocation::default()
        };
        if let Some(own) = payload.get_mut("owlet") {
            let own: OwnEvent = serde_json::from_value(own.take()).map_err(|e| Error::invalid(format!("the event: {e}")))?;
            return self.own(own, invocation).await;
        }
        let unknown = |e: serde_json::Error| Error::invalid(format!("the event is neither an HTTP request nor our own: {e}"));
        let request: LambdaRequest = serde_json::from_str(&payload.to_string()).map_err(unknown)?;
        let router = self.router.clone();
        let mut adapter = Adapter::from(service_fn(move |request: lambda_http::Request| {
            let (mut router, invocation) = (router.clone(), invocation.clone());
            async move {
                let request = identified(request, invocation);
                let response: Result<Response, Infallible> = router.call(request).await;
                response
            }
        }));
        match adapter.call(LambdaEvent::new(request, context)).await {
            Ok(response) => serde_json::to_value(response).map(bounded).map_err(|e| Error::internal(e.to_string())),
            Err(never) => match never {},
        }
    }

    async fn own(&self, event: OwnEvent, invocation: Invocation) -> Result<Value> {
        match event {
            OwnEvent { warm: true, .. } => Ok(Value::Null),
            OwnEvent { run: Some(id), principal: Some(principal), .. } => {
                let id = parse_query_id(&id).ok_or_else(|| Error::invalid("the event names no query"))?;
                self.service.run_queued(id, &principal, invocation).await?;
                Ok(Value::Null)
            }
            OwnEvent { dispatch: Some(group), .. } => {
                let workers = self.dispatcher.as_ref().ok_or_else(|| Error::invalid("this coordinator has no workers"))?;
                let answer = run_group(workers, &group, invocation.time_left).await?;
                serde_json::to_value(answer).map_err(|e| Error::internal(e.to_string()))
            }
            _ => Err(Error::invalid("the event says neither which query to run, nor what to dispatch, nor to keep warm")),
        }
    }
}

/// Runs queued queries in asynchronous invocations of this function.
#[derive(Debug)]
struct OwnInvocation {
    client: Arc<LambdaClient>,
    target: Target,
}

#[async_trait]
impl Background for OwnInvocation {
    async fn start(&self, _: &Arc<Service>, id: QueryId, principal: &str) -> Result<()> {
        let event = OwnEvent { run: Some(id.to_string()), principal: Some(principal.to_string()), dispatch: None, warm: false };
        let payload = serde_json::to_vec(&HashMap::from([("owlet", event)])).map_err(|e| Error::internal(e.to_string()))?;
        self.client.invoke_event(&self.target, Bytes::from(payload), EVENT_TIME).await
    }
}

fn function_settings(variable: Variable<'_>) -> Result<Settings> {
    let mut settings = settings(variable)?;
    let memory_mb = number(variable, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?.unwrap_or(engine::cost::MB_PER_VCPU);
    settings.coordinator_function_mb = memory_mb;
    settings.local_partitions = vcpus(memory_mb);
    // More may be reserved, for several coordinators.
    let most = if settings.direct_attempts > 0 { MAX_WORKERS } else { MAX_CALLS };
    settings.workers = usize::try_from(number(variable, "OWLET_WORKERS")?.unwrap_or(0)).map_or(most, |n| n.min(most));
    if settings.workers > 0 {
        let worker_mb = number(variable, "OWLET_WORKER_MEMORY_MB")?.unwrap_or(2 * engine::cost::MB_PER_VCPU);
        settings.worker_function_mb = worker_mb;
        // Fewer than two per task give wrong rows.
        settings.worker_partitions = vcpus(worker_mb).max(2);
        settings.cancel_poll_ms = CANCEL_POLL_MS;
    }
    let places: Vec<String> = settings.data_locations.iter().flatten().chain(&settings.write_locations).cloned().collect();
    let (state, catalog) = (required(variable, "OWLET_STATE_URL")?, variable("OWLET_CATALOG"));
    let own = own_locations(&state, settings.exchange_url.as_deref(), catalog.as_deref(), &places);
    settings.denied_locations.extend(own);
    settings.validate()?;
    Ok(settings)
}

fn worker_invoker(variable: Variable<'_>, settings: &Settings, client: &Arc<LambdaClient>) -> Result<Option<Arc<LambdaInvoker>>> {
    if settings.workers == 0 {
        return Ok(None);
    }
    let qualifier = variable("OWLET_WORKER_QUALIFIER").unwrap_or_else(|| DEFAULT_QUALIFIER.into());
    let target = Target::new(&required(variable, "OWLET_WORKER_FUNCTION")?, &qualifier)?;
    let limit = Duration::from_millis(settings.attempt_timeout_ms);
    Ok(Some(Arc::new(LambdaInvoker::new(Arc::clone(client), target, settings.workers, limit))))
}

/// Workers by way of other invocations of the function `own` where a query has many; of the coordinators that may run at once, a
/// query takes at most half for that, so that others can be asked for and stopped.
fn two_level(
    variable: Variable<'_>,
    settings: &Settings,
    direct: Arc<LambdaInvoker>,
    client: &Arc<LambdaClient>,
    own: Target,
) -> Result<Arc<dyn Invoker>> {
    let coordinators = number(variable, "OWLET_COORDINATORS")?.unwrap_or(u64::MAX);
    let bounds = TwoLevelBounds {
        direct_attempts: settings.direct_attempts,
        dispatchers: usize::try_from(coordinators / 2).unwrap_or(usize::MAX),
        dispatcher_mb: settings.coordinator_function_mb,
    };
    match bounds.direct_attempts {
        0 => Ok(direct),
        _ => Ok(Arc::new(TwoLevelInvoker::new(direct, Arc::clone(client), own, bounds))),
    }
}

/// Tables, catalog and places that the environment names.
fn workspace(variable: Variable<'_>, settings: &Settings, storage: &Storage) -> Result<Workspace> {
    let catalog = variable("OWLET_CATALOG").map(|location| CatalogSource::at(&location, storage)).transpose()?;
    let places = settings.data_locations.iter().flatten().chain(&settings.write_locations);
    let locations = DataLocations::new(&places.cloned().collect::<Vec<_>>())?.without(&settings.denied_locations)?;
    let warehouse = variable("OWLET_WAREHOUSE");
    Ok(Workspace { catalog, warehouse, locations: Some(Arc::new(locations)), ..Workspace::of(tables(variable)?) })
}

fn tables(variable: Variable<'_>) -> Result<Tables> {
    let mut tables = Tables::default();
    for entry in list(variable, "OWLET_TABLES") {
        match entry.split_once('=') {
            Some((name, location)) if !name.trim().is_empty() && !location.trim().is_empty() => {
                tables.add(name.trim(), location.trim());
            }
            _ => return Err(Error::invalid(format!("OWLET_TABLES: '{entry}' is not NAME=LOCATION"))),
        }
    }
    Ok(tables)
}

/// The answer with a large body as base64: as JSON text a control character in it would take six bytes instead of one, and the answer might
/// be over Lambda's limit.
fn bounded(mut response: Value) -> Value {
    let text = response.get("body").and_then(Value::as_str).filter(|text| text.len() > MAX_TEXT_BODY_BYTES);
    let Some(body) = text.filter(|_| response["isBase64Encoded"] == false).map(|text| STANDARD.encode(text)) else {
        return response;
    };
    response["body"] = Value::String(body);
    response["isBase64Encoded"] = Value::Bool(true);
    response
}

/// Time until the function is killed; unknown for a deadline that has passed, which some emulators give.
fn time_left(context: &Context) -> Option<Duration> {
    let left = i64::try_from(context.deadline).ok()?.checked_sub(now_ms()).filter(|left| *left > 0)?;
    Some(Duration::from_millis(u64::try_from(left).ok()?))
}

/// The request with what the service in front knows of it.
fn identified(mut request: lambda_http::Request, invocation: Invocation) -> lambda_http::Request {
    let principal = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.authorizer.as_ref().and_then(principal),
        _ => None,
    };
    if let Some(principal) = principal {
        request.extensions_mut().insert(Principal(principal));
    }
    request.extensions_mut().insert(invocation);
    request
}

/// Who AWS says that the caller is: an ARN, or issuer and subject of a token.
fn principal(authorizer: &ApiGatewayRequestAuthorizer) -> Option<String> {
    if let Some(arn) = authorizer.iam.as_ref().and_then(|iam| iam.user_arn.clone()) {
        return Some(arn);
    }
    let claims = &authorizer.jwt.as_ref()?.claims;
    Some(format!("{}#{}", claims.get("iss")?, claims.get("sub")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_text_is_never_over_the_limit_of_an_answer() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let answer = |text: String| bounded(serde_json::json!({ "statusCode": 200, "body": text, "isBase64Encoded": false }));
        for (bytes, is_binary) in [(MAX_TEXT_BODY_BYTES, false), (MAX_TEXT_BODY_BYTES + 1, true), (3_000_000, true)] {
            let text = "\u{1}".repeat(bytes);
            let value = answer(text.clone());
            assert_eq!(value["isBase64Encoded"], is_binary);
            assert!(value.to_string().len() < engine::settings::LAMBDA_PAYLOAD_BYTES - 100_000);
            let body = value["body"].as_str().ok_or("no body")?;
            assert!(if is_binary { STANDARD.decode(body)? == text.as_bytes() } else { body == text });
        }
        Ok(())
    }

    #[test]
    fn workers_have_two_partitions_whatever_their_memory() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let temp = folder.path().display().to_string();
        for (worker_mb, partitions) in [("128", 2), ("1769", 2), ("3538", 2), ("7076", 4)] {
            let variable = |name: &str| match name {
                "OWLET_WORKERS" => Some("10".to_string()),
                "OWLET_WORKER_MEMORY_MB" => Some(worker_mb.into()),
                "OWLET_STATE_URL" => Some("s3://b/owlet".into()),
                "OWLET_TEMP_DIR" => Some(format!("{temp}/t")),
                _ => None,
            };
            let settings = function_settings(&variable)?;
            assert_eq!((settings.worker_partitions, settings.worker_function_mb), (partitions, worker_mb.parse().unwrap_or(0)));
        }
        Ok(())
    }

    #[test]
    fn a_query_has_no_more_workers_than_can_be_dispatched() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let temp = folder.path().display().to_string();
        let most = u64::MAX.to_string();
        let two_levels = [("0", 0), ("901", 901), ("10000", 10_000), ("10001", 10_000), (&most, 10_000)].map(|case| (case, 256));
        let one_level = [("0", 0), ("899", 899), ("900", 900), ("901", 900), (&most, 900)].map(|case| (case, 0));
        for ((given, workers), direct) in two_levels.into_iter().chain(one_level) {
            let variable = |name: &str| match name {
                "OWLET_CONFIG" => Some(format!(r#"{{"direct_attempts": {direct}}}"#)),
                "OWLET_WORKERS" => Some(given.to_string()),
                "OWLET_STATE_URL" => Some("s3://b/owlet".into()),
                "OWLET_TEMP_DIR" => Some(format!("{temp}/t")),
                _ => None,
            };
            assert_eq!(function_settings(&variable)?.workers, workers);
        }
        Ok(())
    }

    #[test]
    fn identities_are_those_that_aws_has_checked() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let iam: ApiGatewayRequestAuthorizer = serde_json::from_str(r#"{"iam": {"userArn": "arn:aws:iam::1:user/a"}}"#)?;
        assert_eq!(principal(&iam).as_deref(), Some("arn:aws:iam::1:user/a"));
        let jwt: ApiGatewayRequestAuthorizer =
            serde_json::from_str(r#"{"jwt": {"claims": {"iss": "https://id", "sub": "7"}, "scopes": null}}"#)?;
        assert_eq!(principal(&jwt).as_deref(), Some("https://id#7"));
        let none: ApiGatewayRequestAuthorizer = serde_json::from_str("{}")?;
        assert_eq!(principal(&none), None);
        Ok(())
    }
}
