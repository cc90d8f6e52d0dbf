//! The shipped IAM policies against real functions: all works with them, and nothing in them is unused. `deploy/policy_lab.py` is
//! the S3 server that enforces them.

use super::functions::plan;
use emulator::{Credential, Fault};
use engine::clock::{random_uuid, sleep};
use futures::TryStreamExt;
use http::Method;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as StorePath;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tests::cluster::block_on;
use tests::functions::{COORDINATOR, Functions, Plan, WORKER};
use tests::trap_data;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// The two functions, as the lab calls them.
const ROLES: [(&str, &str); 2] = [("coordinator", COORDINATOR), ("worker", WORKER)];
/// Longest wait for one line of the lab: it starts in seconds, more on a busy machine.
const LAB_PATIENCE: Duration = Duration::from_secs(60);
const DATA_BUCKET: &str = "owlet-lab-data";
/// Runs until it is cancelled: 64,000,000,000 combinations, and only a GROUP BY has it cut between workers.
const ENDLESS: &str = "SELECT a.k, count(*) AS n FROM fact a, fact b, fact c WHERE a.x + b.x + c.x > 1 GROUP BY a.k";

/// The file `name` of the repository.
pub(crate) fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join(name)
}

/// The python that has what `deploy/requirements.txt` names; made at the first call.
///
/// # Panics
/// With what is missing: the tests that need it do not pass without it.
pub(crate) async fn python() -> PathBuf {
    let made = Command::new(repository("deploy/venv")).stdin(Stdio::null()).output().await.expect("deploy/venv can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    assert!(made.status.success(), "deploy/venv must make a Python environment for this test: {}", text(&made.stderr));
    text(&made.stdout).into()
}

/// Where SQL may write in the bucket of data, and where it may read that again.
const WRITTEN: &str = "written/";
const READ_AGAIN: &str = "written/read/";
/// Statements of the policies that are there for a catalog and a place to write to.
const FOR_WRITES: [&str; 6] = ["Prepared", "Catalog", "ListCatalog", "Write", "ListWrite", "WriteStaging"];

/// What only the end of a lost write needs, which reads the journal of another query.
const FOR_LOST_WRITES: (&str, &str) = ("Write", "s3:GetObject");

/// What is deployed and done with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The template's defaults: queries.
    Queries,
    /// A catalog in the functions' bucket and a place to write to: tables, views, prepared statements.
    Writes,
}

/// The running S3 server; killed when dropped.
struct Lab {
    of: Use,
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What it said at its start.
    hello: Value,
}

impl Lab {
    async fn start(of: Use) -> Self {
        let mut command = Command::new(python().await);
        command.arg(repository("deploy/policy_lab.py")).arg("--data").arg(trap_data::folder());
        command.args(["--data-bucket", DATA_BUCKET]).env("PYTHONDONTWRITEBYTECODE", "1");
        if of == Use::Writes {
            let write = json!({ "Catalog": "s3", "WriteBucket": DATA_BUCKET, "WritePrefix": WRITTEN });
            let read = json!({ "DataBucket2": DATA_BUCKET, "DataPrefix2": READ_AGAIN });
            let parameters = [write, read].map(|part| part.as_object().cloned().expect("an object"));
            let parameters: serde_json::Map<_, _> = parameters.into_iter().flatten().collect();
            command.arg("--parameters").arg(Value::Object(parameters).to_string());
        }
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the policy lab starts");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output")).lines();
        let mut lab = Self { of, _process: process, input, output, hello: Value::Null };
        lab.hello = lab.line().await;
        lab
    }

    async fn line(&mut self) -> Value {
        let line = timeout(LAB_PATIENCE, self.output.next_line()).await.expect("the policy lab answers in time");
        let line = line.expect("a line").expect("the policy lab has not ended; its errors are above");
        serde_json::from_str(&line).expect("JSON")
    }

    async fn ask(&mut self, question: Value) -> Value {
        self.input.write_all(format!("{question}\n").as_bytes()).await.expect("the policy lab listens");
        let answer = self.line().await;
        assert!(answer.get("error").is_none(), "{question}: {answer}");
        answer
    }

    fn text(&self, pointer: &str) -> String {
        self.hello.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}")).to_string()
    }

    /// URL of the folder of tables.
    fn data(&self) -> String {
        format!("s3://{DATA_BUCKET}/{}", self.text("/data_prefix"))
    }

    /// Variables of both functions for [`Use::Writes`].
    fn places(&self) -> Vec<(&'static str, String)> {
        let (bucket, again) = (self.text("/bucket"), format!("s3://{DATA_BUCKET}/{READ_AGAIN}"));
        vec![
            ("OWLET_DATA_LOCATIONS", format!("{},{again}", self.data())),
            ("OWLET_WRITE_LOCATIONS", format!("s3://{DATA_BUCKET}/{WRITTEN}")),
            ("OWLET_CATALOG", format!("s3://{bucket}/catalog/")),
            ("OWLET_WAREHOUSE", again),
        ]
    }

    /// The pairs of statement and action that `role` may use and that can be tried here.
    async fn allowed(&mut self, role: &str) -> BTreeSet<(String, String)> {
        let answer = self.ask(json!({ "actions": role })).await;
        pairs(answer["actions"].as_array().expect("a list").iter().filter(|action| action["skip"].is_null()))
    }

    /// What `role` used and what it was refused since the last question.
    async fn used(&mut self, role: &str) -> (BTreeSet<(String, String)>, Vec<(String, String)>) {
        let answer = self.ask(json!({ "used": role })).await;
        let used = pairs(answer["used"].as_array().expect("a list").iter());
        let denied = answer["denied"].as_array().expect("a list").iter();
        (used, denied.map(|denied| (word(denied, "action"), word(denied, "resource"))).collect())
    }

    /// Two workers and a coordinator, each with the key of its role, over this server.
    async fn functions(&self) -> Functions {
        let mut plan: Plan = plan(2);
        let (bucket, data) = (self.text("/bucket"), self.data());
        plan.config = json!({ "split_bytes": 1, "inline_limit_bytes": 0, "max_request_bytes": 2_000 });
        for (role, function) in ROLES {
            let key = |name: &str| self.text(&format!("/{role}/{name}"));
            let variables = [
                ("AWS_ENDPOINT_URL", self.text("/endpoint")),
                ("AWS_ACCESS_KEY_ID", key("access_key_id")),
                ("AWS_SECRET_ACCESS_KEY", key("secret_access_key")),
                ("OWLET_STATE_URL", format!("s3://{bucket}")),
                ("OWLET_EXCHANGE_URL", format!("s3://{bucket}")),
                ("OWLET_DATA_LOCATIONS", data.clone()),
                ("OWLET_TABLES", format!("t1={data}t1/,fact={data}fact/")),
            ];
            let more = if self.of == Use::Writes { self.places() } else { Vec::new() };
            let variables = variables.into_iter().chain(more).map(|(name, value)| (name.to_string(), value));
            plan.variables.insert(function, variables.collect());
        }
        plan.identities = vec![Credential {
            access_key: self.text("/coordinator/access_key_id"),
            secret: self.text("/coordinator/secret_access_key"),
            session_token: None,
            user_arn: format!("arn:aws:iam::{}:user/coordinator", self.text("/account")),
        }];
        // Nothing but the first delivery to a worker goes wrong: it has written its output, and nobody learns of it.
        plan.chaos = Some(Arc::new(|function: &str, sequence: u64, _: &[u8]| match sequence {
            0 if function == WORKER => Fault::KillBeforeAnswer,
            _ => Fault::None,
        }));
        Functions::start(plan, trap_data::folder()).await
    }

    /// The keys in `bucket` below `prefix`, as the coordinator sees them.
    async fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let store = AmazonS3Builder::new()
            .with_endpoint(self.text("/endpoint"))
            .with_allow_http(true)
            .with_region(self.text("/region"))
            .with_bucket_name(bucket)
            .with_access_key_id(self.text("/coordinator/access_key_id"))
            .with_secret_access_key(self.text("/coordinator/secret_access_key"))
            .build()
            .expect("a store");
        let listed = store.list(Some(&StorePath::from(prefix)));
        listed.map_ok(|object| object.location.to_string()).try_collect().await.expect("a listing")
    }

    /// Does what this lab is there for; the first thing that does not work.
    async fn try_all(&self, functions: &Functions) -> Result<(), String> {
        match self.of {
            Use::Queries => everything(functions, &self.data()).await,
            Use::Writes => written(functions).await,
        }
    }

    /// Takes each action of `allowed` out of the policies in turn: something must fail for the lack of it.
    async fn needs_each(&mut self, allowed: &BTreeMap<&str, BTreeSet<(String, String)>>) {
        for (role, pairs) in allowed {
            for (statement, action) in pairs {
                self.ask(json!({ "replace": role, "without": [statement, action] })).await;
                let functions = self.functions().await;
                let failed = self.try_all(&functions).await;
                drop(functions);
                self.ask(json!({ "restore": role })).await;
                let (_, denied) = self.used(role).await;
                let what = format!("{role} without {action} of {statement}");
                let Err(told) = failed else { panic!("all works for {what}: take it out of deploy/template.yaml") };
                // What is not there is told only to those who may list it: without that a read is refused, and no listing is seen.
                let is_seen = action == "s3:ListBucket" || denied.iter().any(|(name, _)| name == action);
                assert!(is_seen, "{what}: {told}");
                assert!(told.contains("ACCESS_DENIED"), "{what}: {told}");
            }
        }
        let functions = self.functions().await;
        self.try_all(&functions).await.expect("all works again");
    }
}

fn word(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).to_string()
}

fn pairs<'a>(list: impl Iterator<Item = &'a Value>) -> BTreeSet<(String, String)> {
    list.map(|pair| (word(pair, "statement"), word(pair, "action"))).collect()
}

fn check(right: bool, what: impl Into<String>) -> Result<(), String> {
    if right { Ok(()) } else { Err(what.into()) }
}

/// Everything that functions do with the bucket and the data; the first thing that does not work.
async fn everything(functions: &Functions, data: &str) -> Result<(), String> {
    rows(functions, "SELECT 1 AS n", "n\n1\n").await?;
    rows(functions, &format!("SELECT count(*) AS n FROM '{data}t1/p0.parquet'"), "n\n5\n").await?;
    let groups = "SELECT g, count(*) AS n FROM t1 GROUP BY g ORDER BY g";
    rows(functions, groups, "g,n\ng0,7\ng1,7\ng2,6\n").await?;
    stored(functions).await?;
    listed(functions).await?;
    cancelled(functions).await
}

/// A statement whose rows come with the answer.
async fn rows(functions: &Functions, sql: &str, wanted: &str) -> Result<(), String> {
    let answer = functions.submit(json!({ "sql": sql, "format": "csv" })).await;
    let body = String::from_utf8_lossy(&answer.body);
    check(answer.status == 200 && body == wanted, format!("{sql}: {} {body}", answer.status))
}

/// An asynchronous query with a client token: its record, pages, presigned URL.
async fn stored(functions: &Functions) -> Result<(), String> {
    let token = random_uuid().to_string();
    let request = json!({ "sql": "SELECT k, x FROM fact ORDER BY id", "format": "csv", "async": true, "client_token": token });
    let submitted = functions.submit(request.clone()).await;
    check(submitted.status == 202, format!("async: {} {:?}", submitted.status, submitted.body))?;
    let id = word(&submitted.json()["query"], "query_id");
    let record = functions.wait_for(&id).await;
    check(record["state"] == "SUCCEEDED" && record["result"]["rows"] == 4_000, format!("async: {record}"))?;
    let page = functions.get(&format!("/v1/queries/{id}/result?page=0")).await;
    check(page.status == 200, format!("page: {} {:?}", page.status, page.body))?;
    let whole = functions.get(&format!("/v1/queries/{id}/result")).await;
    check(whole.status == 200, format!("result: {} {:?}", whole.status, whole.body))?;
    let again = functions.submit(request).await;
    check(again.status == 303, format!("same token: {} {:?}", again.status, again.body))?;
    let url = word(&again.json(), "url");
    let presigned = reqwest::get(&url).await.map_err(|e| e.to_string())?;
    let (status, body) = (presigned.status().as_u16(), presigned.bytes().await.map_err(|e| e.to_string())?);
    check(status == 200 && body == whole.body, format!("presigned: {status}"))
}

/// The list of queries, and one that is not there.
async fn listed(functions: &Functions) -> Result<(), String> {
    let list = functions.get("/v1/queries").await;
    check(list.status == 200, format!("list: {} {:?}", list.status, list.body))?;
    check(list.json()["queries"].as_array().is_some_and(|queries| queries.len() >= 4), format!("list: {}", list.json()))?;
    let missing = functions.get("/v1/queries/01900000-0000-7000-8000-000000000000").await;
    check(missing.status == 404, format!("a missing query: {} {:?}", missing.status, missing.body))
}

/// A query that is cancelled while workers run it.
async fn cancelled(functions: &Functions) -> Result<(), String> {
    let before = functions.ledger().counts_of(WORKER).invokes;
    let submitted = functions.submit(json!({ "sql": ENDLESS, "async": true })).await;
    check(submitted.status == 202, format!("endless: {} {:?}", submitted.status, submitted.body))?;
    let id = word(&submitted.json()["query"], "query_id");
    let mut looks = 0;
    while functions.ledger().counts_of(WORKER).invokes < before + 2 {
        looks += 1;
        if looks == 200 {
            return Err(format!("endless: no worker was started: {}", functions.get(&format!("/v1/queries/{id}")).await.json()));
        }
        sleep(Duration::from_millis(50)).await;
    }
    // Longer than a worker waits before it looks for the marker first.
    sleep(Duration::from_millis(1_200)).await;
    let answer = functions.send(Method::DELETE, &format!("/v1/queries/{id}"), &[], "").await;
    check(answer.status == 202, format!("cancel: {} {:?}", answer.status, answer.body))?;
    let record = functions.wait_for(&id).await;
    check(record["state"] == "CANCELLED", format!("cancel: {record}"))
}

/// Everything that functions do with a catalog and a place to write to; the first thing that does not work.
async fn written(functions: &Functions) -> Result<(), String> {
    // Names of their own: an earlier call may have ended half-way.
    let name = format!("t{}", random_uuid().simple());
    let table = format!("CREATE TABLE {name} WITH (partitioned_by = ARRAY['g']) AS SELECT a, g FROM t1");
    rows(functions, &table, "rows\n20\n").await?;
    rows(functions, &format!("INSERT INTO {name} SELECT a, g FROM t1"), "rows\n20\n").await?;
    rows(functions, &format!("CREATE VIEW {name}_v AS SELECT g, count(*) n FROM {name} GROUP BY g"), "").await?;
    rows(functions, &format!("PREPARE {name} FROM SELECT n FROM {name}_v WHERE g = ?"), "").await?;
    rows(functions, &format!("EXECUTE {name} USING 'g0'"), "n\n14\n").await?;
    rows(functions, &format!("DEALLOCATE PREPARE {name}"), "").await?;
    // Where nothing is read from.
    let unload = format!(
        "UNLOAD (SELECT g, count(*) n FROM t1 GROUP BY g) TO 's3://{DATA_BUCKET}/{WRITTEN}{name}/' WITH (format = 'JSON')"
    );
    rows(functions, &unload, "rows\n3\n").await?;
    rows(functions, &format!("SHOW TABLES '{name}*'"), &format!("tab_name\n{name}\n{name}_v\n")).await?;
    rows(functions, &format!("DROP VIEW {name}_v"), "").await?;
    rows(functions, &format!("DROP TABLE {name}"), "").await
}

#[test]
fn functions_need_each_allowed_action_and_no_other() {
    block_on(async {
        let mut lab = Lab::start(Use::Queries).await;
        let mut allowed = BTreeMap::new();
        for (role, _) in ROLES {
            allowed.insert(role, lab.allowed(role).await);
        }
        // With the policies as they are.
        let functions = lab.functions().await;
        lab.try_all(&functions).await.expect("the shipped policies allow all that functions do");
        assert_eq!(lab.keys(&lab.text("/bucket"), "exchange").await, Vec::<String>::new());
        assert!(functions.s3.ledger().records.is_empty(), "all requests went to the lab");
        assert_eq!(functions.ledger().counts_of(WORKER).errors, 1, "one attempt was lost and made again");
        callers(&functions);
        drop(functions);
        for (role, _) in ROLES {
            let (used, denied) = lab.used(role).await;
            assert_eq!(used, allowed[role], "{role}: what it uses and what it may do");
            assert_eq!(but_markers(role, denied), [], "{role}: refused requests");
        }
        lab.needs_each(&allowed).await;
    });
}

#[test]
fn writes_need_each_action_that_is_allowed_for_them_and_no_other() {
    block_on(async {
        let mut lab = Lab::start(Use::Writes).await;
        let mut allowed = BTreeMap::new();
        for (role, _) in ROLES {
            let pairs = lab.allowed(role).await.into_iter();
            let is_tried = |(statement, action): &(String, String)| {
                FOR_WRITES.contains(&statement.as_str()) && (statement.as_str(), action.as_str()) != FOR_LOST_WRITES
            };
            allowed.insert(role, pairs.filter(is_tried).collect::<BTreeSet<_>>());
        }
        let functions = lab.functions().await;
        lab.try_all(&functions).await.expect("the policies allow all that functions do");
        drop(functions);
        let staged = lab.keys(DATA_BUCKET, WRITTEN).await.into_iter().filter(|key| key.contains("_owlet_staging"));
        assert_eq!(staged.collect::<Vec<_>>(), Vec::<String>::new());
        for (role, _) in ROLES {
            let (used, denied) = lab.used(role).await;
            let used: BTreeSet<_> = used.into_iter().filter(|(statement, _)| FOR_WRITES.contains(&statement.as_str())).collect();
            assert_eq!(used, allowed[role], "{role}: what it uses and what it may do");
            assert_eq!(but_markers(role, denied), [], "{role}: refused requests");
        }
        lab.needs_each(&allowed).await;
    });
}

/// Refused requests other than a worker's look for the marker of a cancelled query: it may not list, so it is told 403.
fn but_markers(role: &str, denied: Vec<(String, String)>) -> Vec<(String, String)> {
    let is_marker = |(action, resource): &(String, String)| action == "s3:GetObject" && resource.ends_with("/cancel");
    denied.into_iter().filter(|denied| role != "worker" || !is_marker(denied)).collect()
}

/// Who invoked what: the coordinator's identity the workers and the asynchronous queries.
fn callers(functions: &Functions) {
    let ledger = functions.ledger();
    let of = |function: &str, kind: emulator::InvocationKind| -> BTreeSet<String> {
        let entries = ledger.entries.iter().filter(|entry| entry.function == function && entry.kind == kind);
        entries.map(|entry| entry.caller.rsplit('/').next().unwrap_or_default().to_string()).collect()
    };
    let coordinator = BTreeSet::from(["coordinator".to_string()]);
    assert_eq!(of(WORKER, emulator::InvocationKind::RequestResponse), coordinator);
    assert_eq!(of(COORDINATOR, emulator::InvocationKind::Event), coordinator);
    assert_eq!(of(COORDINATOR, emulator::InvocationKind::Url), BTreeSet::from(["ann".to_string()]));
}

#[test]
fn only_the_coordinator_may_invoke_and_only_the_live_versions() {
    block_on(async {
        let mut lab = Lab::start(Use::Queries).await;
        let function = format!("arn:aws:lambda:{}:{}:function", lab.text("/region"), lab.text("/account"));
        for (role, target, wanted) in [
            ("coordinator", "owlet-worker:live", true),
            ("coordinator", "owlet-coordinator:live", true),
            ("coordinator", "owlet-worker", false),
            ("coordinator", "owlet-worker:$LATEST", false),
            ("coordinator", "owlet-worker:7", false),
            ("coordinator", "other-worker:live", false),
            ("worker", "owlet-worker:live", false),
            ("worker", "owlet-coordinator:live", false),
        ] {
            let question =
                json!({ "decide": role, "action": "lambda:InvokeFunction", "resource": format!("{function}:{target}") });
            assert_eq!(lab.ask(question).await["allowed"], wanted, "{role} {target}");
        }
    });
}
