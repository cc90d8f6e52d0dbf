//! A function for tests: does what the event's fields say, then answers.
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Events taken by this process.
static EVENTS: AtomicU64 = AtomicU64::new(0);
/// Counts up every few milliseconds while the process is not frozen, once an event has asked for it.
static TICKS: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Error> {
    init()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lambda_runtime::run(service_fn(answer)))
}

/// `STUB_INIT`: `exit`, `hang`, `error` (reports an init error) or `raw` (see [`raw`]).
fn init() -> Result<(), Error> {
    match std::env::var("STUB_INIT").as_deref() {
        Ok("exit") => std::process::exit(7),
        Ok("hang") => std::thread::sleep(Duration::from_secs(60)),
        Ok("error") => {
            send("POST", "init/error", r#"{"errorType":"Stub.Init","errorMessage":"no luck"}"#)?;
            std::process::exit(1);
        }
        Ok("raw") => raw()?,
        _ => {}
    }
    Ok(())
}

/// A runtime without a library: answers each event with its process id, then works on or ends as the event says.
fn raw() -> Result<(), Error> {
    loop {
        let (head, body) = send("GET", "invocation/next", "")?;
        let event: Value = serde_json::from_str(&body)?;
        let id = head.lines().find_map(|line| line.strip_prefix("lambda-runtime-aws-request-id: ")).unwrap_or_default();
        let (other, _) = send("POST", "invocation/no-such-id/response", "1")?;
        assert!(other.contains(" 400 "), "{other}");
        let (answered, _) = send("POST", &format!("invocation/{id}/response"), &json!({"pid": std::process::id()}).to_string())?;
        let (again, _) = send("POST", &format!("invocation/{id}/response"), "2")?;
        assert!(answered.contains(" 202 ") && again.contains(" 400 "), "{answered} {again}");
        std::thread::sleep(Duration::from_millis(event["work_on_ms"].as_u64().unwrap_or_default()));
        if event["end"] == true {
            std::process::exit(0);
        }
    }
}

/// One request to the Runtime API: head and body of the answer.
fn send(method: &str, path: &str, body: &str) -> Result<(String, String), Error> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API")?;
    let mut stream = std::net::TcpStream::connect(&api)?;
    let length = body.len();
    write!(stream, "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nhost: {api}\r\ncontent-length: {length}\r\n")?;
    write!(stream, "connection: close\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the Runtime API answered nothing")?;
    Ok((head.to_owned(), body.to_owned()))
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let count = EVENTS.fetch_add(1, Ordering::SeqCst) + 1;
    let (mut payload, context) = event.into_parts();
    if payload.get("requestContext").is_some() {
        // The event of a function URL: the commands are in its body, if any. `event` asks for the event itself.
        let body = payload.get("body").and_then(Value::as_str).unwrap_or_default();
        match serde_json::from_str::<Value>(body) {
            Ok(commands) if commands.is_object() && commands["event"] != true => payload = commands,
            _ => return Ok(payload),
        }
    }
    let number = |name: &str| payload.get(name).and_then(Value::as_u64);
    if let Some(text) = payload.get("log").and_then(Value::as_str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    if let Some(path) = payload.get("append_to").and_then(Value::as_str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        // In one write: several processes may append at once.
        file.write_all(format!("{}\n", context.request_id).as_bytes())?;
    }
    let ballast = number("allocate_mb").map(|mb| vec![1_u8; usize::try_from(mb).unwrap_or_default() << 20]);
    if let Some(sleep) = number("sleep_ms") {
        std::thread::sleep(Duration::from_millis(sleep));
    }
    if let Some(path) = payload.get("wait_for").and_then(Value::as_str) {
        while !std::fs::exists(path)? {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if payload.get("start_ticks").is_some() {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_millis(5));
                TICKS.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    if let Some(path) = payload.get("spawn_child").and_then(Value::as_str) {
        let child = std::process::Command::new("sleep").arg("600").spawn()?;
        std::fs::write(path, child.id().to_string())?;
    }
    assert!(payload.get("panic").is_none(), "panicked as told");
    if let Some(code) = number("exit") {
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
    if let Some(text) = payload.get("error").and_then(Value::as_str) {
        return Err(text.into());
    }
    if let Some(bytes) = number("answer_bytes") {
        // Two of the bytes are the quotes of the JSON text.
        return Ok(Value::String("x".repeat(usize::try_from(bytes).unwrap_or_default().saturating_sub(2))));
    }
    if let Some(echo) = payload.get("echo") {
        return Ok(echo.clone());
    }
    drop(ballast);
    Ok(json!({
        "pid": std::process::id(),
        "count": count,
        "ticks": TICKS.load(Ordering::SeqCst),
        "environment": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
        "request_id": context.request_id,
        "deadline_ms": context.deadline,
        "arn": context.invoked_function_arn,
        "trace_id": context.xray_trace_id,
    }))
}
