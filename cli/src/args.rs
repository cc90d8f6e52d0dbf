//! The arguments as typed; their meaning together is decided in `resolve`.

use crate::print::Format;
use crate::size::{parse_seconds, parse_size};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
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
                  owlet tpch --scale 1 --workers 4"
)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// What to do; none opens a shell.
    #[command(subcommand)]
    pub command: Option<CommandArgs>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum CommandArgs {
    /// Run SQL statements in order and print their rows
    Query(SqlArgs),
    /// Show how a query would run: stages, tasks, bytes and cost
    Explain(SqlArgs),
    /// Make the TPC-H tables, run its 22 queries and print what each took
    Tpch(TpchArgs),
}

/// Where the SQL comes from.
#[derive(Debug, ClapArgs)]
pub struct SqlArgs {
    /// SQL text, one statement or several; standard input when neither it nor -f is given
    pub sql: Option<String>,
    /// File with SQL statements; - is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "sql")]
    pub file: Option<PathBuf>,
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

    /// Concurrent workers; 0 runs each query in one process
    #[arg(long, global = true, value_name = "N", env = "OWLET_WORKERS", help_heading = "Running")]
    pub workers: Option<usize>,
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
    /// Option of DataFusion, for tests and measurements
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = parse_option, hide = true)]
    pub session: Vec<SessionArg>,
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
            assert_eq!((args.shared.workers, args.shared.quiet), (Some(3), true));
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
    fn tpch_takes_a_list_of_queries() -> Result<(), clap::Error> {
        let args = Args::try_parse_from(["owlet", "tpch", "--query", "1,6,12"])?;
        assert!(matches!(args.command, Some(CommandArgs::Tpch(tpch)) if tpch.queries == [1, 6, 12] && tpch.repeat == 1));
        assert!(Args::try_parse_from(["owlet", "tpch", "--query", "23"]).is_err());
        Ok(())
    }
}
