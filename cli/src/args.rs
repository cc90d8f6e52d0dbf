//! The arguments as typed; their meaning together is decided in `resolve`.

use crate::print::Format;
use crate::size::{parse_seconds, parse_size};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Everything on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "owlet",
    version,
    about = "Serverless SQL over files and S3",
    long_about = "Owlet runs SQL over Parquet, CSV and JSON files, here or in an S3 bucket.\n\n\
                  Without a command it opens a shell, or runs the SQL on standard input if that is no terminal.",
    after_help = "Examples:\n  \
                  owlet query \"SELECT count(*) FROM 'trips/*.parquet'\"\n  \
                  owlet --data ./tables query -f report.sql -o report.parquet\n  \
                  owlet tpch --scale 1 --workers 4\n  \
                  owlet --endpoint https://abc.lambda-url.eu-west-1.on.aws query \"SHOW TABLES\""
)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// What to do; none opens a shell.
    #[command(subcommand)]
    pub command: Option<CommandArgs>,
}

impl Args {
    /// Whether the command serves others, and its log is read by programs.
    pub fn is_server(&self) -> bool {
        matches!(self.command, Some(CommandArgs::Serve(_)))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum CommandArgs {
    /// Run SQL statements in order and print their rows
    Query(SqlArgs),
    /// Show how a query would run: stages, tasks, bytes and cost
    Explain(SqlArgs),
    /// List the queries of a server, newest first, or show one
    Queries(QueriesArgs),
    /// Cancel a query of a server
    Cancel(QueryIdArgs),
    /// Print the stored result of a server's query again; waits while the query runs
    Result(QueryIdArgs),
    /// Serve the HTTP API on this machine
    Serve(ServeArgs),
    /// Work on a deployment to AWS
    Deploy(DeployArgs),
    /// Measure a deployment
    Bench(BenchArgs),
    /// Make the TPC-H tables, run its 22 queries and print what each took
    Tpch(TpchArgs),
}

/// Where the SQL comes from.
#[derive(Debug, ClapArgs)]
pub struct SqlArgs {
    /// SQL text, one statement or several; standard input when neither it nor -f is given
    #[arg(allow_hyphen_values = true)]
    pub sql: Option<String>,
    /// File with SQL statements; - is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "sql")]
    pub file: Option<PathBuf>,
}

/// What to serve, and to whom.
#[derive(Clone, Debug, ClapArgs)]
pub struct ServeArgs {
    /// Address and port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "OWLET_LISTEN")]
    pub listen: SocketAddr,
    /// File with a line TOKEN PRINCIPAL for each caller; needed for other addresses than loopback
    #[arg(long, value_name = "FILE", env = "OWLET_AUTH_FILE")]
    pub auth: Option<PathBuf>,
    /// Folder or s3:// URL of query records, results and the exchange
    #[arg(long, value_name = "URL", default_value = ".owlet/state", env = "OWLET_STATE")]
    pub state: String,
    /// Queries that run at once; others wait
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max_running: u32,
    /// The workers' program, with --workers process:N [default: owlet-worker beside this one]
    #[arg(long, value_name = "FILE")]
    pub worker_binary: Option<PathBuf>,
}

/// A number of workers, and what they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkersArg {
    /// How many.
    pub count: usize,
    /// Whether each is a process, as in Lambda.
    pub processes: bool,
}

impl FromStr for WorkersArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (processes, count) = text.strip_prefix("process:").map_or((false, text), |count| (true, count));
        let count = count.parse().map_err(|_| format!("'{text}' is neither a number nor process:NUMBER"))?;
        match (processes, count) {
            (true, 0) => Err("process:0 are no workers: use 0 for one process".into()),
            (processes, count) => Ok(Self { count, processes }),
        }
    }
}

/// Which queries of a server to show.
#[derive(Clone, Debug, ClapArgs)]
pub struct QueriesArgs {
    /// Id of the one query to show whole
    #[arg(value_name = "ID", value_parser = parse_query_id, conflicts_with_all = ["state", "limit"])]
    pub id: Option<String>,
    /// Only queries in this state
    #[arg(long, value_enum, ignore_case = true)]
    pub state: Option<StateArg>,
    /// Most queries to list
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

/// A query of a server.
#[derive(Clone, Debug, ClapArgs)]
pub struct QueryIdArgs {
    /// Id of the query, as owlet queries lists it
    #[arg(value_name = "ID", value_parser = parse_query_id)]
    pub id: String,
}

/// States of a query, as the server names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum StateArg {
    /// Accepted.
    Queued,
    /// Planned or running.
    Running,
    /// Ended with rows.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended because somebody cancelled it.
    Cancelled,
}

/// What to do with a deployment.
#[derive(Clone, Debug, ClapArgs)]
pub struct DeployArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeployCommand,
}

/// What to do with a deployment.
#[derive(Clone, Debug, Subcommand)]
pub enum DeployCommand {
    /// Check the parameters of a deployment before it is made, and say what it can cost at most
    Check(DeployCheckArgs),
}

/// What to check.
#[derive(Clone, Debug, ClapArgs)]
pub struct DeployCheckArgs {
    /// Parameters as JSON: {"Name": "value"}, or CloudFormation's list of ParameterKey and ParameterValue
    #[arg(long, value_name = "FILE")]
    pub parameters: PathBuf,
    /// Template whose parameters they are [default: deploy/template.yaml where there is one]
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
}

/// What to measure.
#[derive(Clone, Debug, ClapArgs)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Time and price of small queries and of three TPC-H queries on a server; --data is where its tables are, as s3://BUCKET/tpch
    Aws(BenchAwsArgs),
}

/// How to measure a deployment.
#[derive(Clone, Debug, ClapArgs)]
pub struct BenchAwsArgs {
    /// Scale of the TPC-H tables of the server
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Warm small queries
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub warm: u32,
    /// Times to run each TPC-H query; the first may start workers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub repeat: u32,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What to measure.
#[derive(Clone, Debug, ClapArgs)]
pub struct TpchArgs {
    /// Scale of the data: 1 is 6 million lineitem rows
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Folder of the tables, made on first use [default: ./.owlet/tpch/sf<SCALE>]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Queries to run, as in 1,6,12 [default: all 22]
    #[arg(long = "query", value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=22))]
    pub queries: Vec<u8>,
    /// Times to run each query; the table shows the fastest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub repeat: u32,
    /// Compare with the published answers (scale 1 only)
    #[arg(long)]
    pub check: bool,
    /// Write the figures of each query to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Options of every command.
#[derive(Debug, ClapArgs)]
pub struct SharedArgs {
    /// Folder whose NAME.parquet files and NAME/ folders become tables; may be repeated
    #[arg(long, global = true, value_name = "DIR", env = "OWLET_DATA", help_heading = "Tables")]
    pub data: Vec<PathBuf>,
    /// One table: a file, a folder, a pattern or an s3:// URL; may be repeated
    #[arg(long = "table", global = true, value_name = "NAME=PATH", value_parser = parse_table, help_heading = "Tables")]
    pub tables: Vec<TableArg>,
    /// Databases, tables and views made with SQL: a folder, an s3:// URL, or glue for the AWS Glue Data Catalog
    #[arg(
        long,
        global = true,
        value_name = "LOCATION",
        default_value = ".owlet/catalog",
        env = "OWLET_CATALOG",
        help_heading = "Tables"
    )]
    pub catalog: String,
    /// Database of tables that are named without one
    #[arg(long, global = true, value_name = "NAME", env = "OWLET_DATABASE", help_heading = "Tables")]
    pub database: Option<String>,
    /// Where tables lie that are made without a location: a folder or an s3:// URL
    #[arg(
        long,
        global = true,
        value_name = "LOCATION",
        default_value = ".owlet/warehouse",
        env = "OWLET_WAREHOUSE",
        help_heading = "Tables"
    )]
    pub warehouse: String,
    /// Another location that tables of the catalog may have; owlet serve lets SQL read only such and the tables' own; may be repeated
    #[arg(long, global = true, value_name = "LOCATION", help_heading = "Tables")]
    pub allow: Vec<String>,
    /// Another location that CREATE TABLE AS, INSERT and UNLOAD may write to, besides the warehouse; may be repeated
    #[arg(long, global = true, value_name = "LOCATION", help_heading = "Tables")]
    pub allow_write: Vec<String>,
    /// URL of an S3 store other than AWS, as http://127.0.0.1:9000
    #[arg(long, global = true, value_name = "URL", env = "OWLET_S3_ENDPOINT", help_heading = "Tables")]
    pub s3_endpoint: Option<String>,
    /// Region of the S3 buckets
    #[arg(long, global = true, value_name = "REGION", env = "OWLET_S3_REGION", help_heading = "Tables")]
    pub s3_region: Option<String>,

    /// Format of the rows [default: table on a terminal, csv otherwise]
    #[arg(long, global = true, value_enum, env = "OWLET_FORMAT", help_heading = "Output")]
    pub format: Option<Format>,
    /// Write the rows to this file, in the format of its ending
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// No progress and no receipt
    #[arg(short, long, global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Print the receipt, or the error, as one line of JSON on standard error
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub stats: Option<StatsFormat>,

    /// Concurrent workers; 0 runs each query in one process; with serve, process:N runs them as processes
    #[arg(long, global = true, value_name = "N", env = "OWLET_WORKERS", help_heading = "Running")]
    pub workers: Option<WorkersArg>,
    /// Partitions (vCPUs) of a worker
    #[arg(long, global = true, value_name = "P", env = "OWLET_WORKER_PARTITIONS", help_heading = "Running")]
    pub worker_partitions: Option<usize>,
    /// Bytes that one task scans, as 32MiB; smaller means more tasks
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size, env = "OWLET_SPLIT_BYTES", help_heading = "Running")]
    pub split_bytes: Option<u64>,
    /// Memory of the process, as 4GiB
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size, env = "OWLET_MEMORY", help_heading = "Running")]
    pub memory: Option<u64>,
    /// Folder for temporary files
    #[arg(long, global = true, value_name = "DIR", env = "OWLET_TEMP_DIR", help_heading = "Running")]
    pub temp_dir: Option<PathBuf>,
    /// Most bytes of temporary files
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size, env = "OWLET_TEMP_QUOTA", help_heading = "Running")]
    pub temp_quota: Option<u64>,
    /// A query that runs longer fails
    #[arg(long, global = true, value_name = "SECONDS", value_parser = parse_seconds, env = "OWLET_TIMEOUT", help_heading = "Running")]
    pub timeout: Option<Duration>,
    /// Where workers exchange rows: a folder or an s3:// URL [default: a temporary folder]
    #[arg(long, global = true, value_name = "URL", env = "OWLET_EXCHANGE", help_heading = "Running")]
    pub exchange: Option<String>,
    /// File of settings in JSON; environment variables and options win over it
    #[arg(long, global = true, value_name = "FILE", env = "OWLET_CONFIG", help_heading = "Running")]
    pub config: Option<PathBuf>,
    /// Run on a server instead of here: https://..., or http:// on this machine
    #[arg(long, global = true, value_name = "URL", env = "OWLET_ENDPOINT", help_heading = "Running")]
    pub endpoint: Option<String>,
    /// How the server knows the caller [default: token if OWLET_TOKEN or --token-file gives one, else iam for https, none for http]
    #[arg(long, global = true, value_enum, env = "OWLET_CREDENTIALS", help_heading = "Running")]
    pub credentials: Option<AuthArg>,
    /// File with the bearer token for the server; OWLET_TOKEN may hold the token itself
    #[arg(long, global = true, value_name = "FILE", env = "OWLET_TOKEN_FILE", help_heading = "Running")]
    pub token_file: Option<PathBuf>,
    /// Option of DataFusion, for tests and measurements
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = parse_option, hide = true)]
    pub session: Vec<SessionArg>,
}

/// How a server knows the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum AuthArg {
    /// Requests are signed with AWS credentials.
    Iam,
    /// A bearer token.
    Token,
    /// Not at all.
    None,
}

/// How figures about a query are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum StatsFormat {
    /// One line of JSON.
    Json,
}

/// A table given by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableArg {
    /// Name in SQL.
    pub name: String,
    /// A file, a folder, a pattern or a URL.
    pub location: String,
}

/// An option of the engine below.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionArg {
    /// Name of the option.
    pub key: String,
    /// Its value.
    pub value: String,
}

fn parse_table(text: &str) -> Result<TableArg, String> {
    match text.split_once('=') {
        Some((name, location)) if !name.trim().is_empty() && !location.is_empty() => {
            Ok(TableArg { name: name.trim().to_owned(), location: location.to_owned() })
        }
        _ => Err(format!("'{text}' is not NAME=PATH, as in trips=data/trips/*.parquet")),
    }
}

/// Ids become parts of URLs.
fn parse_query_id(text: &str) -> Result<String, String> {
    const SHAPE: [usize; 5] = [8, 4, 4, 4, 12];
    let groups: Vec<&str> = text.split('-').collect();
    let hex = |(group, length): (&&str, &usize)| group.len() == *length && group.chars().all(|c| c.is_ascii_hexdigit());
    if groups.len() == SHAPE.len() && groups.iter().zip(&SHAPE).all(hex) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("'{text}' is not the id of a query, as in 0193562c-8f7a-7c3e-9d1b-2f60c1a4e5d7"))
    }
}

fn parse_option(text: &str) -> Result<SessionArg, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok(SessionArg { key: key.trim().to_owned(), value: value.to_owned() }),
        _ => Err(format!("'{text}' is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn sql_may_begin_with_a_comment() {
        let sql = |arguments: &[&str]| match Args::try_parse_from(arguments).map(|args| args.command) {
            Ok(Some(CommandArgs::Query(args))) => args.sql,
            _ => None,
        };
        assert_eq!(sql(&["owlet", "query", "-- a\nselect 1"]).as_deref(), Some("-- a\nselect 1"));
        assert_eq!(sql(&["owlet", "query", "-q", "--format", "csv", "select 1"]).as_deref(), Some("select 1"));
    }

    #[test]
    fn a_table_is_cut_at_its_first_equals_sign() {
        let table = |name: &str, location: &str| Ok(TableArg { name: name.into(), location: location.into() });
        assert_eq!(parse_table("t=a.parquet"), table("t", "a.parquet"));
        assert_eq!(parse_table("t=d/year=2024/"), table("t", "d/year=2024/"));
        for text in ["t", "=x", "t=", ""] {
            assert!(parse_table(text).is_err_and(|e| e.contains("NAME=PATH")), "{text}");
        }
    }

    #[test]
    fn options_stand_before_and_after_the_command() -> Result<(), clap::Error> {
        let before = Args::try_parse_from(["owlet", "--workers", "3", "--quiet", "query", "SELECT 1"])?;
        let after = Args::try_parse_from(["owlet", "query", "SELECT 1", "--workers", "3", "-q"])?;
        for args in [before, after] {
            assert_eq!((args.shared.workers.map(|workers| workers.count), args.shared.quiet), (Some(3), true));
            assert!(matches!(args.command, Some(CommandArgs::Query(SqlArgs { sql: Some(sql), .. })) if sql == "SELECT 1"));
        }
        Ok(())
    }

    #[test]
    fn every_setting_has_an_environment_variable() {
        let command = Args::command();
        let flags = command.get_arguments().filter(|arg| arg.get_help_heading() == Some("Running"));
        for flag in flags {
            let name = flag.get_long().unwrap_or_default().to_uppercase().replace('-', "_");
            assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(format!("OWLET_{name}").as_str()));
        }
    }

    #[test]
    fn ids_have_the_form_of_ids() {
        let id = "0193562C-8f7a-7c3e-9d1b-2f60c1a4e5d7";
        assert_eq!(parse_query_id(id), Ok(id.to_lowercase()));
        for text in ["", "../x", "0193562c8f7a7c3e9d1b2f60c1a4e5d7", "0193562c-8f7a-7c3e-9d1b-2f60c1a4e5dg"] {
            assert!(parse_query_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tpch_takes_a_list_of_queries() -> Result<(), clap::Error> {
        let args = Args::try_parse_from(["owlet", "tpch", "--query", "1,6,12"])?;
        assert!(matches!(args.command, Some(CommandArgs::Tpch(tpch)) if tpch.queries == [1, 6, 12] && tpch.repeat == 1));
        assert!(Args::try_parse_from(["owlet", "tpch", "--query", "23"]).is_err());
        Ok(())
    }
}
