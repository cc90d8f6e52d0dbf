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

/// The running S3 server; killed when dropped.
struct Lab {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What it said at its start.
    hello: Value,
}

impl Lab {
    async fn start(data: &Path) -> Self {
        let mut command = Command::new(python().await);
        command.arg(repository("deploy/policy_lab.py")).arg("--data").arg(data).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the policy lab starts");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output")).lines();
        let mut lab = Self { _process: process, input, output, hello: Value::Null };
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
        format!("s3://{}/{}", self.text("/data_bucket"), self.text("/data_prefix"))
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

    /// The functions of `plan`, each with the key of its role, over this server.
    async fn functions(&self, mut plan: Plan) -> Functions {
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
            plan.variables.insert(function, variables.map(|(name, value)| (name.to_string(), value)).into());
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

    /// The keys in the functions' bucket below `prefix`, as the coordinator sees them.
    async fn keys(&self, prefix: &str) -> Vec<String> {
        let store = AmazonS3Builder::new()
            .with_endpoint(self.text("/endpoint"))
            .with_allow_http(true)
            .with_region(self.text("/region"))
            .with_bucket_name(self.text("/bucket"))
            .with_access_key_id(self.text("/coordinator/access_key_id"))
            .with_secret_access_key(self.text("/coordinator/secret_access_key"))
            .build()
            .expect("a store");
        let listed = store.list(Some(&StorePath::from(prefix)));
        listed.map_ok(|object| object.location.to_string()).try_collect().await.expect("a listing")
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

#[test]
fn functions_need_each_allowed_action_and_no_other() {
    block_on(async {
        let mut lab = Lab::start(trap_data::folder()).await;
        let data = lab.data();
        let mut allowed = BTreeMap::new();
        for (role, _) in ROLES {
            allowed.insert(role, lab.allowed(role).await);
        }
        // With the policies as they are.
        let functions = lab.functions(bootstraps()).await;
        everything(&functions, &data).await.expect("the shipped policies allow all that functions do");
        assert_eq!(lab.keys("exchange").await, Vec::<String>::new());
        assert!(functions.s3.ledger().records.is_empty(), "all requests went to the lab");
        assert_eq!(functions.ledger().counts_of(WORKER).errors, 1, "one attempt was lost and made again");
        callers(&functions);
        drop(functions);
        for (role, _) in ROLES {
            let (used, denied) = lab.used(role).await;
            assert_eq!(used, allowed[role], "{role}: what it uses and what it may do");
            let marker = |(action, resource): &&(String, String)| action == "s3:GetObject" && resource.ends_with("/cancel");
            let others: Vec<_> = denied.iter().filter(|denied| role != "worker" || !marker(denied)).collect();
            assert_eq!(others, Vec::<&(String, String)>::new(), "{role}: refused requests");
        }
        // Without one action at a time.
        for (role, _) in ROLES {
            for (statement, action) in &allowed[role] {
                lab.ask(json!({ "replace": role, "without": [statement, action] })).await;
                let functions = lab.functions(bootstraps()).await;
                let failed = everything(&functions, &data).await;
                drop(functions);
                lab.ask(json!({ "restore": role })).await;
                let (_, denied) = lab.used(role).await;
                let what = format!("{role} without {action} of {statement}");
                let Err(told) = failed else { panic!("all works for {what}: take it out of deploy/template.yaml") };
                assert!(denied.iter().any(|(name, _)| name == action), "{what}: {told}");
                assert!(told.contains("ACCESS_DENIED"), "{what}: {told}");
            }
        }
        let functions = lab.functions(bootstraps()).await;
        everything(&functions, &data).await.expect("all works again");
    });
}

fn bootstraps() -> Plan {
    plan(2)
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
        let mut lab = Lab::start(trap_data::folder()).await;
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
