//! One client: sends a query, sends it again with the same token when that may help, and checks its rows.

use super::Tally;
use super::load::{Draw, Load};
use ::tests::compare::difference;
use ::tests::functions::{Answer, Functions};
use arrow::array::RecordBatch;
use engine::clock::{Stopwatch, sleep};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const ARROW: &str = "application/vnd.apache.arrow.stream";
/// Times that a submission is sent.
const TRIES: u32 = 8;
/// Longest wait for a query's end.
const MAX_WAIT: Duration = Duration::from_secs(180);
/// Pause between two looks at a query.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Client {
    number: u64,
    functions: Arc<Functions>,
    load: Arc<Load>,
    tally: Arc<Tally>,
}

/// How a query ended.
enum Ended {
    Rows(Vec<RecordBatch>),
    /// With its code and message.
    Failed(String, String),
}

impl Client {
    pub(super) fn new(number: u64, functions: Arc<Functions>, load: Arc<Load>, tally: Arc<Tally>) -> Self {
        Self { number, functions, load, tally }
    }

    /// One query after the other until `end`.
    pub(super) async fn run(&self, watch: Stopwatch, end: Duration) {
        let mut index = 0;
        while watch.elapsed() < end {
            let draw = self.load.draw(self.number, index);
            index += 1;
            let name = format!("{}{} {}", draw.known.name, if draw.is_async { " (async)" } else { "" }, draw.token);
            let started = Stopwatch::start();
            match self.query(&draw).await {
                Ok(Ended::Rows(rows)) => {
                    if let Some(difference) = difference(&draw.known.rows, &rows, false) {
                        self.tally.violation(format!("{name}: {difference}"));
                    }
                    let mut seen = self.tally.lock();
                    seen.good += 1;
                    seen.ms.push(started.elapsed().as_secs_f64() * 1e3);
                }
                Ok(Ended::Failed(code, message)) => {
                    eprintln!("{name} failed: {code}: {message}");
                    if code == "INTERNAL" {
                        self.tally.violation(format!("{name}: {code}: {message}"));
                    }
                    *self.tally.lock().failed.entry(code).or_default() += 1;
                }
                Err(problem) => self.tally.violation(format!("{name}: {problem}")),
            }
        }
    }

    async fn query(&self, draw: &Draw<'_>) -> Result<Ended, String> {
        let request = json!({ "sql": draw.known.sql, "format": "arrow", "async": draw.is_async, "client_token": draw.token });
        let answer = self.submit(&request).await;
        let body = || serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        let id = match answer.headers.get("x-owlet-query-id").and_then(|id| id.to_str().ok()) {
            Some(id) => id.to_owned(),
            None => body()["query"]["query_id"].as_str().unwrap_or_default().to_owned(),
        };
        if id.is_empty() {
            return Err(format!("no id in {} {}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
        self.tally.lock().ids.insert(id.clone());
        match answer.status {
            200 if is_arrow(&answer) => return Ok(Ended::Rows(answer.batches())),
            200 | 202 | 303 => {}
            _ => return Ok(failed(&body()["error"])),
        }
        let record = self.to_end(&id).await?;
        match record["state"].as_str() {
            Some("SUCCEEDED") => self.stored(&id, &record).await.map(Ended::Rows),
            _ => Ok(failed(&record["error"])),
        }
    }

    /// Sends a query until the server has an answer that names it.
    async fn submit(&self, request: &Value) -> Answer {
        let mut tries = 1;
        loop {
            let answer = self.functions.submit(request.clone()).await;
            let names_it = String::from_utf8_lossy(&answer.body).contains("query_id");
            if answer.status < 500 && answer.status != 429 || names_it || tries == TRIES {
                return answer;
            }
            tries += 1;
            self.tally.lock().resent += 1;
            sleep(LOOK_PAUSE).await;
        }
    }

    async fn to_end(&self, id: &str) -> Result<Value, String> {
        let watch = Stopwatch::start();
        while watch.elapsed() < MAX_WAIT {
            let answer = self.get(&format!("/v1/queries/{id}")).await;
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let record = if body["query"].is_null() { body } else { body["query"].clone() };
            if matches!(record["state"].as_str(), Some("SUCCEEDED" | "FAILED" | "CANCELLED")) {
                return Ok(record);
            }
            if answer.status == 404 {
                return Err(format!("{id} is unknown"));
            }
            sleep(LOOK_PAUSE).await;
        }
        Err(format!("{id} is not final after {} s", MAX_WAIT.as_secs()))
    }

    /// The rows of a stored result, page by page.
    async fn stored(&self, id: &str, record: &Value) -> Result<Vec<RecordBatch>, String> {
        let mut batches = Vec::new();
        for page in 0..record["result"]["pages"].as_u64().ok_or("a result without pages")? {
            let answer = self.get(&format!("/v1/queries/{id}/result?page={page}")).await;
            if answer.status != 200 {
                return Err(format!("page {page}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
            batches.extend(answer.batches());
        }
        Ok(batches)
    }

    /// A GET, repeated while the server says that this may help.
    async fn get(&self, path: &str) -> Answer {
        let mut tries = 1;
        loop {
            let answer = self.functions.send(Method::GET, path, &[("accept", ARROW)], "").await;
            if answer.status < 500 && answer.status != 429 || tries == TRIES {
                return answer;
            }
            tries += 1;
            self.tally.lock().resent += 1;
            sleep(LOOK_PAUSE).await;
        }
    }
}

fn is_arrow(answer: &Answer) -> bool {
    answer.headers.get("content-type").and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with(ARROW))
}

fn failed(error: &Value) -> Ended {
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    Ended::Failed(text("code"), text("message"))
}
