//! `owlet serve` and `owlet --endpoint` as programs: the same rows as at home, and only for those who may ask.

use super::functions::LONG;
use engine::clock::{Stopwatch, sleep};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tests::cluster::block_on;
use tests::functions::processes_with;
use tests::trap_data;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const OWLET: &str = env!("CARGO_BIN_EXE_test-owlet");
/// How soon Ctrl-C ends an idle server.
const STOP_TIME: Duration = Duration::from_secs(5);
/// Longest wait for a program.
const PATIENCE: Duration = Duration::from_secs(60);
/// A token for each of two callers.
const TOKENS: [&str; 2] = ["anns-token-0123456789abcdef", "bobs-token-0123456789abcdef"];

/// `owlet` with `args`, in `home`, with nothing of this process's settings.
fn owlet(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(OWLET);
    command.args(args).env_clear().env("HOME", home).env("TMPDIR", home).current_dir(home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running server.
struct Serve {
    child: Child,
    url: String,
    home: TempDir,
}

impl Serve {
    async fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), args).await
    }

    /// The same over what an earlier server has left in `home`.
    async fn start_in(home: TempDir, args: &[&str]) -> Self {
        std::fs::write(home.path().join("tokens"), format!("# callers\n{} ann\n{} bob\n", TOKENS[0], TOKENS[1])).expect("tokens");
        std::fs::create_dir_all(home.path().join("tmp")).expect("a folder");
        let data = trap_data::folder().display().to_string();
        let fixed = ["serve", "--listen", "127.0.0.1:0", "--state", "state", "--split-bytes", "8KiB", "--data", &data];
        let mut command = owlet(home.path(), &[&fixed, args].concat());
        let mut child = command.env("TMPDIR", home.path().join("tmp")).stdout(Stdio::null()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its errors")).lines();
        let said = async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if let Some(rest) = line.strip_prefix("serving ") {
                    return rest.split(' ').next().unwrap_or_default().to_string();
                }
            }
            panic!("it does not serve");
        };
        let url = timeout(PATIENCE, said).await.expect("it serves");
        Self { child, url, home }
    }

    /// Status and body of a request with headers.
    async fn ask(&self, sql: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = reqwest::Client::new().post(format!("{}/v1/query", self.url)).body(json!({ "sql": sql }).to_string());
        request = request.header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON"))
    }

    /// Starts a query that nobody waits for.
    async fn submit(&self, sql: &str) {
        let asked = reqwest::Client::new().post(format!("{}/v1/query", self.url));
        let asked = asked.header("content-type", "application/json").body(json!({ "sql": sql, "async": true }).to_string());
        assert_eq!(asked.send().await.expect("an answer").status(), 202);
    }

    /// States and codes of all its queries, in order of their submission, as they are on disk.
    fn records(&self) -> Vec<(String, String)> {
        let folder = |path: &Path| std::fs::read_dir(path).map(|all| all.flatten().map(|e| e.path()).collect::<Vec<_>>());
        let callers = folder(&self.home.path().join("state/queries")).unwrap_or_default();
        let mut paths: Vec<_> = callers.iter().flat_map(|caller| folder(caller).unwrap_or_default()).collect();
        paths.sort();
        let record = |path| serde_json::from_slice::<Value>(&std::fs::read(path).expect("a record")).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        paths.iter().map(record).map(|record| (text(&record["state"]), text(&record["error"]["code"]))).collect()
    }

    fn left_in_exchange(&self) -> usize {
        std::fs::read_dir(self.home.path().join("state/exchange")).map_or(0, |entries| entries.count())
    }

    /// Waits until the first query has rows in the exchange.
    async fn until_it_exchanges(&self) {
        let watch = Stopwatch::start();
        while self.left_in_exchange() == 0 {
            assert!(watch.elapsed() < PATIENCE, "no rows are exchanged: {:?}", self.records());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Processes of this server, itself included.
    fn processes(&self) -> usize {
        processes_with(&self.home.path().display().to_string())
    }

    /// Ctrl-C; how long it took to end, and that nothing is left.
    async fn interrupt(mut self) -> Duration {
        self.end_by("INT").await
    }

    /// The signal of that name; how long it took to end, and that nothing is left.
    async fn end_by(&mut self, signal: &str) -> Duration {
        let watch = Stopwatch::start();
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().await.expect("kill");
        assert!(sent.success());
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("a status");
        let took = watch.elapsed();
        assert!(status.code().is_some(), "{status}");
        assert_eq!(self.processes(), 0, "processes are left");
        let left: Vec<_> =
            std::fs::read_dir(self.home.path().join("tmp")).expect("a folder").flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "temporary files are left: {left:?}");
        took
    }
}

#[test]
fn rows_are_the_same_from_a_server_with_workers_of_both_kinds() {
    block_on(async {
        let data = trap_data::folder().display().to_string();
        for args in [
            ["--workers", "2", "--max-running", "2"].as_slice(),
            &["--workers", "process:2", "--worker-binary", env!("CARGO_BIN_EXE_test-worker")],
        ] {
            let serve = Serve::start(args).await;
            for (sql, format) in [
                ("select k, count(*) n, sum(x) s from fact group by k order by k", "csv"),
                ("select a, g from t1 order by a; select count(*) from fact", "json"),
                ("select a.id, b.k from fact a join fact b on a.id = b.id order by a.id", "ndjson"),
            ] {
                let query = ["query", "--quiet", "--format", format, sql];
                let here = run(owlet(serve.home.path(), &[&query[..], &["--data", &data]].concat())).await;
                let there = run(owlet(serve.home.path(), &[&query[..], &["--endpoint", &serve.url]].concat())).await;
                assert!(here.status.success() && there.status.success(), "{sql}: {}{}", text(&here.stderr), text(&there.stderr));
                assert!(here.stdout.len() > 10);
                assert_eq!(text(&there.stdout), text(&here.stdout), "{sql}");
            }
            let failed = run(owlet(serve.home.path(), &["query", "--endpoint", &serve.url, "select nothing from t1"])).await;
            assert!(!failed.status.success() && text(&failed.stderr).contains("nothing"), "{}", text(&failed.stderr));
            let (status, body) = serve.ask("select count(*) as n from fact group by k limit 1", &[]).await;
            assert_eq!((status, &body["rows"]), (200, &json!([[40]])));
            assert!(body["receipt"]["tasks"].as_u64() > Some(1), "{body}");
            assert_eq!(body["receipt"]["billed"], json!(args[1] == "process:2"), "{body}");
            let expected = if args[1] == "process:2" { 2..=3 } else { 1..=1 };
            assert!(expected.contains(&serve.processes()), "{} processes", serve.processes());
            let exchange = serve.home.path().join("state/exchange");
            let left = std::fs::read_dir(exchange).map_or(0, |entries| entries.count());
            assert_eq!(left, 0, "the exchange is not empty");
            let took = serve.interrupt().await;
            assert!(took < STOP_TIME, "{args:?}: {took:?}");
        }
    });
}

#[test]
fn a_server_that_is_interrupted_leaves_nothing_of_a_running_query() {
    block_on(async {
        for workers in ["2", "process:2"] {
            let serve = Serve::start(&["--workers", workers, "--worker-binary", env!("CARGO_BIN_EXE_test-worker")]).await;
            let asked = reqwest::Client::new().post(format!("{}/v1/query", serve.url));
            let asked = asked.header("content-type", "application/json").body(json!({ "sql": LONG, "async": true }).to_string());
            assert_eq!(asked.send().await.expect("an answer").status(), 202);
            sleep(Duration::from_millis(1_500)).await;
            let took = serve.interrupt().await;
            assert!(took < STOP_TIME + Duration::from_secs(3), "{workers}: {took:?}");
        }
    });
}

#[test]
fn a_server_that_is_stopped_ends_its_queries_first() {
    block_on(async {
        for workers in ["2", "process:2"] {
            let config = r#"{"inline_limit_bytes": 0}"#;
            let home = tempfile::tempdir().expect("a folder");
            std::fs::write(home.path().join("owlet.json"), config).expect("a file");
            let args = ["--workers", workers, "--worker-binary", env!("CARGO_BIN_EXE_test-worker")];
            let args = [&args[..], &["--max-running", "1", "--config", "owlet.json"]].concat();
            let mut serve = Serve::start_in(home, &args).await;
            serve.submit(LONG).await;
            serve.until_it_exchanges().await;
            serve.submit(LONG).await;
            let took = serve.end_by("TERM").await;
            assert!(took < STOP_TIME + Duration::from_secs(3), "{workers}: {took:?}");
            let [first, second] = serve.records().try_into().expect("two records");
            assert_eq!(
                (first.0.as_str(), second.0.as_str(), second.1.as_str()),
                ("CANCELLED", "FAILED", "UNAVAILABLE"),
                "{workers}"
            );
            assert_eq!(serve.left_in_exchange(), 0, "{workers}");
        }
    });
}

#[test]
fn queries_of_a_dead_server_are_ended_by_the_next_one() {
    block_on(async {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("owlet.json"), r#"{"inline_limit_bytes": 0}"#).expect("a file");
        let args = ["--workers", "2", "--max-running", "1", "--config", "owlet.json"];
        let mut serve = Serve::start_in(home, &args).await;
        serve.submit(LONG).await;
        serve.until_it_exchanges().await;
        serve.submit(LONG).await;
        serve.child.kill().await.expect("it is killed");
        let open: Vec<_> = serve.records().into_iter().map(|(state, _)| state).collect();
        assert_eq!(open, ["RUNNING", "QUEUED"]);
        let Serve { home, .. } = serve;
        // Nobody removes what a killed process has left there.
        std::fs::remove_dir_all(home.path().join("tmp")).expect("a folder");
        let next = Serve::start_in(home, &args).await;
        let lost = ("FAILED".to_string(), "COORDINATOR_LOST".to_string());
        assert_eq!(next.records(), [lost.clone(), lost]);
        assert_eq!(next.left_in_exchange(), 0);
        assert!(next.interrupt().await < STOP_TIME);
    });
}

#[test]
fn queries_that_cannot_be_stopped_keep_no_later_one_waiting() {
    block_on(async {
        let serve = Serve::start(&[]).await;
        // One look for a row takes all of this join, since there is none, and it pauses nowhere.
        let stuck = "select count(*) from unnest(sequence(1, 10000)) a(x), unnest(sequence(1, 10000)) b(x) \
             where regexp_like(cast(a.x * b.x as varchar), 'x.*y') or regexp_like(cast(a.x - b.x as varchar), '(a|b)+c')";
        for _ in 0..=std::thread::available_parallelism().map_or(1, usize::from) {
            let body = json!({ "sql": stuck, "limits": { "timeout_ms": 700 } }).to_string();
            let asked = reqwest::Client::new().post(format!("{}/v1/query", serve.url)).body(body);
            let answer = asked.header("content-type", "application/json").send().await.expect("an answer");
            assert_eq!(answer.status(), 422);
        }
        let next = serve.ask("select count(*) from unnest(sequence(1, 10)) a(x)", &[]);
        let (status, body) = timeout(PATIENCE / 4, next).await.expect("the next query runs");
        assert_eq!((status, &body["rows"]), (200, &json!([[10]])), "{body}");
        assert!(serve.interrupt().await < STOP_TIME);
    });
}

#[test]
fn a_query_ends_by_the_signal_of_a_service_manager() {
    block_on(async {
        let home = tempfile::tempdir().expect("a folder");
        let data = trap_data::folder().display().to_string();
        let mut child = owlet(home.path(), &["query", LONG, "--data", &data]).spawn().expect("it starts");
        sleep(Duration::from_millis(1_500)).await;
        let pid = child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill").success());
        let status = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("a status");
        assert_eq!(status.code(), Some(130), "{status}");
    });
}

#[test]
fn only_programs_on_this_machine_are_served_without_tokens() {
    block_on(async {
        let serve = Serve::start(&[]).await;
        let one = "select 1 as x";
        assert_eq!(serve.ask(one, &[]).await.0, 200);
        let port = serve.url.rsplit(':').next().unwrap_or_default().to_string();
        assert_eq!(serve.ask(one, &[("host", &format!("localhost:{port}"))]).await.0, 200);
        for headers in [
            [("host", "rebind.example.com")].as_slice(),
            &[("host", "127.0.0.1.example.com")],
            &[("host", "169.254.169.254")],
            &[("origin", "http://localhost:8080")],
            &[("origin", "null")],
        ] {
            let (status, body) = serve.ask(one, headers).await;
            assert_eq!((status, &body["error"]["code"]), (403, &json!("FORBIDDEN")), "{headers:?}");
        }
        for location in ["/etc/passwd", "file:///proc/self/environ", "../tokens", "state/queries/", "tokens"] {
            let path = if location.starts_with('/') || location.contains("://") {
                location.to_string()
            } else {
                serve.home.path().join(location).display().to_string()
            };
            let (status, body) = serve.ask(&format!("select * from '{path}'"), &[]).await;
            assert_eq!((status, &body["error"]["code"]), (403, &json!("ACCESS_DENIED")), "{path}: {body}");
        }
        let refused = run(owlet(serve.home.path(), &["serve", "--listen", "0.0.0.0:0", "--state", "state2"])).await;
        assert!(!refused.status.success() && text(&refused.stderr).contains("loopback"), "{}", text(&refused.stderr));
        assert!(serve.interrupt().await < STOP_TIME);
    });
}

#[test]
fn with_tokens_each_caller_has_queries_of_its_own() {
    block_on(async {
        let serve = Serve::start(&["--auth", "tokens"]).await;
        let bearer = |token: &str| format!("Bearer {token}");
        let (ann, bob) = (bearer(TOKENS[0]), bearer(TOKENS[1]));
        let one = "select 1 as x";
        for headers in
            [[].as_slice(), &[("authorization", "Bearer wrong-token-0123456789abcdef")], &[("authorization", TOKENS[0])]]
        {
            let (status, body) = serve.ask(one, headers).await;
            assert_eq!((status, &body["error"]["code"]), (401, &json!("UNAUTHENTICATED")), "{headers:?}");
        }
        let (status, body) = serve.ask(one, &[("authorization", &ann)]).await;
        assert_eq!(status, 200, "{body}");
        let id = body["query_id"].as_str().expect("an id").to_string();
        for (token, status) in [(&ann, 200), (&bob, 404)] {
            let request = reqwest::Client::new().get(format!("{}/v1/queries/{id}", serve.url)).header("authorization", token);
            assert_eq!(request.send().await.expect("an answer").status(), status);
        }
        let query = ["query", "--quiet", "--format", "csv", "--endpoint", &serve.url, one];
        let mut command = owlet(serve.home.path(), &query);
        command.env("OWLET_TOKEN", TOKENS[1]);
        assert_eq!(text(&run(command).await.stdout), "x\n1\n");
        assert!(!run(owlet(serve.home.path(), &query)).await.status.success(), "without a token");
        assert!(serve.interrupt().await < STOP_TIME);
    });
}

#[test]
fn what_a_server_keeps_of_its_callers_is_not_read_by_sql() {
    block_on(async {
        let serve = Serve::start(&["--auth", "tokens", "--allow", ".", "--allow-write", "."]).await;
        let bearer = |token: &str| format!("Bearer {token}");
        let (ann, bob) = (bearer(TOKENS[0]), bearer(TOKENS[1]));
        let asked = reqwest::Client::new().post(format!("{}/v1/query", serve.url)).header("authorization", &ann);
        let body =
            json!({ "sql": "select 'secret' as word", "format": "csv", "async": true, "wait_ms": 20_000, "client_token": "t" });
        let asked = asked.header("content-type", "application/json").body(body.to_string());
        assert_eq!(asked.send().await.expect("an answer").status(), 200);
        assert!(std::fs::read_dir(serve.home.path().join("state/results")).is_ok_and(|files| files.count() > 0));
        for place in ["state/results/*.csv", "state/results/", "state/queries/*/*.json", "state/tokens/*/*", "./tokens"] {
            let (status, body) = serve.ask(&format!("select * from '{place}'"), &[("authorization", &bob)]).await;
            assert_eq!((status, &body["error"]["code"]), (403, &json!("ACCESS_DENIED")), "{place}: {body}");
        }
        let write = "unload (select 1 as x) to 'state/results/mine/' with (format = 'parquet')";
        let place = format!("file://{}/state/results/mine/", serve.home.path().display());
        let (status, body) = serve.ask(&write.replace("state/results/mine/", &place), &[("authorization", &bob)]).await;
        assert_eq!((status, &body["error"]["code"]), (403, &json!("ACCESS_DENIED")), "{body}");
        // A folder above shows everything else.
        std::fs::write(serve.home.path().join("state/own.csv"), "a\n1\n").expect("a file");
        let (status, body) = serve.ask("select * from 'state/*.csv'", &[("authorization", &bob)]).await;
        assert_eq!((status, &body["rows"]), (200, &json!([[1]])), "{body}");
        assert!(serve.interrupt().await < STOP_TIME);
    });
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    block_on(async {
        let serve = Serve::start(&[]).await;
        let address = serve.url.trim_start_matches("http://").to_string();
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("a connection");
        let head =
            format!("POST /v1/query HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\ncontent-length: 8\r\n\r\nsele");
        stream.write_all(head.as_bytes()).await.expect("a request");
        let mut answer = vec![0; 12];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer in time").expect("an answer");
        assert_eq!(text(&answer), "HTTP/1.1 408");
        assert_eq!(serve.ask("select 1 as x", &[]).await.0, 200);
        drop(stream);
        assert!(serve.interrupt().await < STOP_TIME);
    });
}
