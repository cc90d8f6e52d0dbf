//! The Glue catalog against moto's Glue: the conformance suite of all catalogs, and what boto3 and this client read of each other.

use super::policies::python;
use object_store::StaticCredentialProvider;
use object_store::aws::AwsCredential;
use sql::catalog::glue::GlueSettings;
use sql::catalog::{Catalog, Column, Database, GlueCatalog, StorageDescriptor, Table, conformance};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tests::cluster::block_on;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Longest wait for a line of the server: it starts in seconds, more on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts moto, says where it is, and runs each line that it is given with a boto3 client `glue`, answering with its `result`.
const SERVER: &str = r#"
import json, sys
import boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
glue = boto3.client("glue", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                    aws_access_key_id="x", aws_secret_access_key="y")
print(port, flush=True)
for line in sys.stdin:
    scope = {"glue": glue}
    exec(line, scope)
    print(json.dumps(scope.get("result"), default=str), flush=True)
server.stop()
"#;

/// A running moto; killed when dropped.
struct Moto {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    port: String,
}

impl Moto {
    async fn start() -> Self {
        let mut command = Command::new(python().await);
        command.args(["-c", SERVER]).env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("moto starts");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output")).lines();
        let mut moto = Self { _process: process, input, output, port: String::new() };
        moto.port = moto.line().await;
        moto
    }

    async fn line(&mut self) -> String {
        timeout(PATIENCE, self.output.next_line())
            .await
            .expect("moto answers in time")
            .expect("a line")
            .expect("moto has not ended")
    }

    /// What boto3 makes of `code`, which sets `result`.
    async fn boto3(&mut self, code: &str) -> serde_json::Value {
        self.input.write_all(format!("{code}\n").as_bytes()).await.expect("moto listens");
        serde_json::from_str(&self.line().await).expect("JSON")
    }

    fn catalog(&self) -> GlueCatalog {
        let settings = GlueSettings { endpoint: Some(format!("http://127.0.0.1:{}", self.port)), ..GlueSettings::default() };
        let credential = AwsCredential { key_id: "x".into(), secret_key: "y".into(), token: None };
        GlueCatalog::new(&settings, Arc::new(StaticCredentialProvider::new(credential))).expect("a client")
    }
}

#[test]
fn glue_conforms() {
    block_on(async {
        let moto = Moto::start().await;
        conformance::check(&moto.catalog()).await.expect("it conforms");
    });
}

#[test]
fn boto3_reads_what_is_written_here_and_the_other_way_round() {
    block_on(async {
        let mut moto = Moto::start().await;
        let catalog = moto.catalog();
        catalog.create_database(&Database { name: "d".into(), ..Database::default() }).await.expect("a database");
        let storage = StorageDescriptor {
            columns: vec![Column::new("a", "int")],
            location: Some("s3://bucket/t/".into()),
            ..StorageDescriptor::default()
        };
        let table = Table { database_name: "d".into(), name: "t".into(), storage_descriptor: Some(storage), ..Table::default() };
        catalog.create_table(&table).await.expect("a table");
        let read = moto.boto3("result = glue.get_table(DatabaseName='d', Name='t')['Table']").await;
        assert_eq!(read["StorageDescriptor"]["Columns"][0]["Type"], "int", "{read}");
        let input = "{'Name': 'u', 'TableType': 'EXTERNAL_TABLE', 'StorageDescriptor': {'Columns': [{'Name': 'x', 'Type': 'string'}], \
                     'Location': 's3://bucket/u/', 'SkewedInfo': {'SkewedColumnNames': []}}}";
        moto.boto3(&format!("glue.create_table(DatabaseName='d', TableInput={input})")).await;
        let mut read = catalog.table("d", "u").await.expect("an answer").expect("the table");
        read.parameters.insert("k".into(), "v".into());
        catalog.update_table(&read).await.expect("an update");
        let read = moto.boto3("result = glue.get_table(DatabaseName='d', Name='u')['Table']").await;
        assert_eq!(read["Parameters"]["k"], "v", "{read}");
        assert!(read["StorageDescriptor"]["SkewedInfo"].is_object(), "{read}");
    });
}
