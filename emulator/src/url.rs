//! Function URLs: turns an HTTP request into an event (payload format 2.0), and the function's answer back.
use crate::clock;
use crate::config::{Credential, LATEST, UrlAuth};
use crate::function::{Call, Function, Rejected};
use crate::http::{self, Answer, Hangup, MAX_PAYLOAD_BYTES, Service, json};
use crate::invoke_api::trace_id;
use crate::ledger::{InvocationKind, Outcome};
use crate::shared::Shared;
use crate::sigv4;
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::DateTime;
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json as value};
use std::net::SocketAddr;
use std::sync::Arc;

/// Headers of a signed request that the function does not get to see.
const SECRET_HEADERS: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("x-amz-security-token")];

/// The URL of one function.
pub(crate) struct FunctionUrl {
    pub(crate) shared: Arc<Shared>,
    pub(crate) function: Arc<Function>,
    pub(crate) auth: UrlAuth,
}

impl Service for FunctionUrl {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Answer, Hangup> {
        let (parts, body) = request.into_parts();
        let body = match http::read_body(body, MAX_PAYLOAD_BYTES).await {
            Ok(body) => body,
            Err(http::BodyError::Broken) => return Err(Hangup),
            Err(http::BodyError::TooLarge) => return Ok(too_large()),
        };
        let caller = match self.auth {
            UrlAuth::None => None,
            UrlAuth::AwsIam => {
                let config = &self.shared.config;
                match sigv4::verify(&config.credentials, &config.region, &parts, &body, clock::unix_time()) {
                    Ok(credential) => Some(credential),
                    Err(_) => return Ok(json(StatusCode::FORBIDDEN, r#"{"Message":"Forbidden"}"#)),
                }
            }
        };
        self.invoke(&parts, &body, caller, peer).await
    }
}

impl FunctionUrl {
    async fn invoke(&self, parts: &Parts, body: &[u8], caller: Option<&Credential>, peer: SocketAddr) -> Result<Answer, Hangup> {
        let request_id = clock::random_id().to_string();
        let event = self.event(parts, body, caller, peer, &request_id).to_string();
        if event.len() > MAX_PAYLOAD_BYTES {
            return Ok(too_large());
        }
        let function = &self.function.config;
        let qualifier = function.aliases.first().map(String::as_str);
        let call = Call {
            request_id,
            function_arn: self.shared.config.function_arn(&function.name, qualifier),
            version: function.version_of(qualifier.unwrap_or(LATEST)).unwrap_or(LATEST).to_owned(),
            trace_id: trace_id(&parts.headers),
            kind: InvocationKind::Url,
            caller: caller.map_or_else(|| "anonymous".into(), |caller| caller.user_arn.clone()),
            wants_log: false,
            payload: event.into(),
        };
        match self.function.answer(call).await {
            Ok(completion) if completion.outcome == Outcome::Ok => Ok(http_answer(&completion.body).unwrap_or_else(bad_gateway)),
            Ok(_) | Err(Rejected::ServiceError) => Ok(bad_gateway()),
            Err(Rejected::Throttled(_)) => Ok(json(StatusCode::TOO_MANY_REQUESTS, r#"{"Message":"Too Many Requests"}"#)),
            Err(Rejected::AnswerLost) => Err(Hangup),
        }
    }

    /// The event that stands for a request.
    fn event(&self, parts: &Parts, body: &[u8], caller: Option<&Credential>, peer: SocketAddr, request_id: &str) -> Value {
        let headers = headers(&parts.headers, caller.is_some(), peer);
        let url_id = &self.function.config.name;
        let domain = format!("{url_id}.lambda-url.{}.on.aws", self.shared.config.region);
        let now = clock::unix_time();
        let time = DateTime::from_timestamp(now.as_secs().cast_signed(), 0).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default();
        let (body, encoded) = event_body(&parts.headers, body);
        let mut event = value!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": parts.uri.path(),
            "rawQueryString": query,
            "headers": headers,
            "requestContext": {
                "accountId": caller.map_or("anonymous", |caller| self.account_of(caller)),
                "apiId": url_id,
                "domainName": domain,
                "domainPrefix": url_id,
                "http": {
                    "method": parts.method.as_str(),
                    "path": parts.uri.path(),
                    "protocol": "HTTP/1.1",
                    "sourceIp": peer.ip().to_string(),
                    "userAgent": headers.get("user-agent").cloned().unwrap_or_default(),
                },
                "requestId": request_id,
                "routeKey": "$default",
                "stage": "$default",
                "time": time.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
                "timeEpoch": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            },
            "isBase64Encoded": encoded,
        });
        if let Some(body) = body {
            event["body"] = body.into();
        }
        if let Some(caller) = caller {
            event["requestContext"]["authorizer"] = self.authorizer(caller);
        }
        let cookies = cookies(&parts.headers);
        if !cookies.is_empty() {
            event["cookies"] = cookies.into();
        }
        let parameters = query_parameters(query);
        if !parameters.is_empty() {
            event["queryStringParameters"] = parameters.into();
        }
        event
    }

    fn authorizer(&self, caller: &Credential) -> Value {
        let user_id = caller.user_arn.rsplit('/').next().unwrap_or_default();
        value!({"iam": {
            "accessKey": caller.access_key,
            "accountId": self.account_of(caller),
            "callerId": user_id,
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": caller.user_arn,
            "userId": user_id,
        }})
    }

    fn account_of<'a>(&'a self, caller: &'a Credential) -> &'a str {
        caller.user_arn.split(':').nth(4).unwrap_or(&self.shared.config.account_id)
    }
}

/// The function's answer as HTTP; `None` when it is not a valid answer.
fn http_answer(body: &Bytes) -> Option<Answer> {
    /// What a function answers to a URL; all else is the body of a 200.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct FunctionAnswer {
        status_code: u16,
        #[serde(default)]
        headers: Option<Map<String, Value>>,
        #[serde(default)]
        cookies: Option<Vec<String>>,
        #[serde(default)]
        body: Option<String>,
        #[serde(default)]
        is_base64_encoded: bool,
    }
    let answer: Value = serde_json::from_slice(body).ok()?;
    if answer.get("statusCode").is_none() {
        return Some(json(StatusCode::OK, body.clone()));
    }
    let parsed: FunctionAnswer = serde_json::from_value(answer).ok()?;
    let body = parsed.body.unwrap_or_default();
    let body = if parsed.is_base64_encoded { STANDARD.decode(body).ok()? } else { body.into_bytes() };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = StatusCode::from_u16(parsed.status_code).ok().filter(|status| !status.is_informational())?;
    for (name, value) in parsed.headers.unwrap_or_default() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        // The server writes these itself.
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING && name != header::CONNECTION {
            answer.headers_mut().insert(name, HeaderValue::from_str(&text).ok()?);
        }
    }
    for cookie in parsed.cookies.unwrap_or_default() {
        answer.headers_mut().append(header::SET_COOKIE, HeaderValue::from_str(&cookie).ok()?);
    }
    if !answer.headers().contains_key(header::CONTENT_TYPE) {
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Some(answer)
}

fn bad_gateway() -> Answer {
    json(StatusCode::BAD_GATEWAY, r#"{"message":"Internal Server Error"}"#)
}

fn too_large() -> Answer {
    json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"Message":"Request Entity Too Large"}"#)
}

/// Headers with lower-case names, values of the same name joined with commas; cookies are apart.
fn headers(headers: &HeaderMap, signed: bool, peer: SocketAddr) -> Map<String, Value> {
    let mut map = Map::new();
    for name in headers.keys() {
        if *name == header::COOKIE || (signed && SECRET_HEADERS.contains(name)) {
            continue;
        }
        let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        map.insert(name.as_str().to_owned(), values.join(",").into());
    }
    map.insert("x-forwarded-for".into(), peer.ip().to_string().into());
    map.insert("x-forwarded-proto".into(), "http".into());
    map
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).map(|cookie| cookie.trim().to_owned()).filter(|cookie| !cookie.is_empty()).collect()
}

/// Decoded parameters; values of the same name joined with commas.
fn query_parameters(query: &str) -> Map<String, Value> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut map: Map<String, Value> = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        let entry = map.entry(decode(name));
        entry
            .and_modify(|earlier| *earlier = format!("{},{value}", earlier.as_str().unwrap_or_default()).into())
            .or_insert_with(|| value.into());
    }
    map
}

/// The body as text where its type says so, else as base64; `None` when there is none.
fn event_body(headers: &HeaderMap, body: &[u8]) -> (Option<String>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let textual = kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || ["application/json", "application/javascript", "application/xml", "application/x-www-form-urlencoded"]
            .contains(&&*kind);
    match str::from_utf8(body) {
        Ok(text) if textual => (Some(text.to_owned()), false),
        _ => (Some(STANDARD.encode(body)), true),
    }
}

#[cfg(test)]
mod tests;
