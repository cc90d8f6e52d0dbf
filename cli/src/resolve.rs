//! From arguments to settings and a command: default < file < environment < option; runs nothing.

use crate::args::{
    Args, BenchCommand, CommandArgs, DeployCheckArgs, DeployCommand, QueriesArgs, ServeArgs, SharedArgs, SqlArgs, TpchArgs,
    WorkersArg,
};
use crate::bench::BenchPlan;
use crate::failure::Failure;
use crate::print::Format;
use crate::remote::{ServerChoice, TOKEN_VARIABLE};
use crate::serve::ServePlan;
use engine::settings::Settings;
use serde_json::{Map, Value};
use sql::Tables;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Workers of `owlet tpch` when nothing says a number.
const TPCH_WORKERS: usize = 4;

/// Everything that a run needs to know.
#[derive(Debug)]
pub struct Setup {
    /// Checked settings.
    pub settings: Settings,
    /// Tables known by name.
    pub tables: Tables,
    /// Where tables are made with SQL, and where they may lie.
    pub places: Places,
    /// The server that runs queries; this process does when absent.
    pub server: Option<ServerChoice>,
    /// Where rows go.
    pub output: OutputChoice,
    /// What is told besides rows.
    pub reports: Reports,
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Run these statements.
    Query(String),
    /// Show the plans of these statements.
    Explain(String),
    /// List the queries of a server, or show one.
    Queries(QueriesArgs),
    /// Cancel the query with this id.
    Cancel(String),
    /// Print the result of the query with this id.
    Result(String),
    /// Serve the HTTP API.
    Serve(ServePlan),
    /// Check the parameters of a deployment.
    DeployCheck(DeployCheckArgs),
    /// Measure a server.
    Bench(BenchPlan),
    /// Run TPC-H.
    Tpch(TpchArgs),
    /// Talk to a person.
    Shell,
}

/// Where tables are made with SQL, and where they may lie; paths as they were given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// A folder, a URL, or `glue`.
    pub catalog: String,
    /// The database of names without one; the catalog's default when absent.
    pub database: Option<String>,
    /// Folder or URL of tables without a location.
    pub warehouse: String,
    /// Further locations of tables.
    pub allow: Vec<String>,
    /// Further locations to write to.
    pub allow_write: Vec<String>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            catalog: ".owlet/catalog".into(),
            database: None,
            warehouse: ".owlet/warehouse".into(),
            allow: Vec::new(),
            allow_write: Vec::new(),
        }
    }
}

/// Where rows go, and how they look there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutputChoice {
    /// How rows are written.
    pub format: Format,
    /// The file; standard output when absent.
    pub file: Option<PathBuf>,
}

/// What is told besides rows, on standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reports {
    /// Whether a receipt follows each result.
    pub receipt: bool,
    /// Whether receipts are JSON.
    pub json: bool,
    /// Whether progress is shown while a query runs.
    pub progress: bool,
}

/// What the process is connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surroundings {
    /// Standard input is a terminal.
    pub stdin_terminal: bool,
    /// Standard output is a terminal.
    pub stdout_terminal: bool,
    /// Standard error is a terminal that can redraw a line.
    pub stderr_terminal: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn detect() -> Self {
        Self {
            stdin_terminal: io::stdin().is_terminal(),
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal: io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb"),
        }
    }
}

/// Reads files and standard input where `args` name them, and checks everything together.
///
/// # Errors
/// [`Failure::Usage`] that names the option and what is wrong with it.
pub fn resolve(args: Args, around: Surroundings) -> Result<Setup, Failure> {
    let Args { mut shared, command } = args;
    let command = match command {
        Some(CommandArgs::Query(sql)) => Command::Query(read_sql(&sql, around)?),
        Some(CommandArgs::Explain(sql)) => Command::Explain(read_sql(&sql, around)?),
        Some(CommandArgs::Queries(queries)) => Command::Queries(queries),
        Some(CommandArgs::Cancel(query)) => Command::Cancel(query.id),
        Some(CommandArgs::Result(query)) => Command::Result(query.id),
        Some(CommandArgs::Serve(serve)) => Command::Serve(serve_plan(serve, shared.workers)),
        Some(CommandArgs::Deploy(deploy)) => match deploy.command {
            DeployCommand::Check(check) => Command::DeployCheck(check),
        },
        Some(CommandArgs::Bench(bench)) => match bench.command {
            BenchCommand::Aws(args) => Command::Bench(BenchPlan::new(args, std::mem::take(&mut shared.data))?),
        },
        Some(CommandArgs::Tpch(tpch)) => Command::Tpch(tpch),
        None if around.stdin_terminal => Command::Shell,
        None => Command::Query(read_stdin()?),
    };
    if shared.workers.is_some_and(|workers| workers.processes) && !matches!(command, Command::Serve(_)) {
        return Err(usage("--workers process:N is for owlet serve; here give a number"));
    }
    let server = server(&shared, &command)?;
    let default_workers = if matches!(command, Command::Tpch(_)) { TPCH_WORKERS } else { Settings::default().workers };
    let file = shared.config.as_deref().map(read_config).transpose()?;
    let settings = settings(&shared, file, default_workers)?;
    let output = output(&shared, &command, around)?;
    let json = shared.stats.is_some();
    let reports = Reports { receipt: json || !shared.quiet, json, progress: around.stderr_terminal && !shared.quiet && !json };
    if let Command::Tpch(tpch) = &command
        && tpch.check
        && tpch.scale != 1.0
    {
        return Err(usage("--check needs --scale 1: the benchmark's answers are published for that scale only"));
    }
    let (tables, places) = (tables(&shared, &command)?, places(shared));
    Ok(Setup { settings, tables, places, server, output, reports, command })
}

fn serve_plan(args: ServeArgs, workers: Option<WorkersArg>) -> ServePlan {
    ServePlan {
        listen: args.listen,
        auth: args.auth,
        state: args.state,
        max_running: usize::try_from(args.max_running).unwrap_or(1),
        processes: workers.is_some_and(|workers| workers.processes),
        worker_binary: args.worker_binary,
    }
}

/// The server of `command`, if it has one.
fn server(shared: &SharedArgs, command: &Command) -> Result<Option<ServerChoice>, Failure> {
    match command {
        Command::DeployCheck(_) => return Ok(None),
        Command::Serve(_) if shared.endpoint.is_some() => {
            return Err(usage("owlet serve is a server itself: leave --endpoint (OWLET_ENDPOINT) out"));
        }
        Command::Tpch(_) if shared.endpoint.is_some() => {
            return Err(usage("owlet tpch measures this machine: leave --endpoint (OWLET_ENDPOINT) out"));
        }
        Command::Queries(_) | Command::Cancel(_) | Command::Result(_) | Command::Bench(_) if shared.endpoint.is_none() => {
            return Err(usage("this command asks a server: name it with --endpoint URL or OWLET_ENDPOINT"));
        }
        _ => {}
    }
    ServerChoice::resolve(shared, std::env::var(TOKEN_VARIABLE).ok())
}

/// What some editors begin a file of UTF-8 with.
const BYTE_ORDER_MARK: char = '\u{feff}';

fn usage(message: impl Into<String>) -> Failure {
    Failure::Usage(message.into())
}

fn read_sql(args: &SqlArgs, around: Surroundings) -> Result<String, Failure> {
    match (&args.sql, &args.file) {
        (Some(sql), _) => Ok(sql.clone()),
        (None, Some(path)) if path.as_os_str() == "-" => read_stdin(),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|e| usage(format!("cannot read the SQL file '{}': {e}", path.display())))?;
            Ok(text.strip_prefix(BYTE_ORDER_MARK).map(str::to_string).unwrap_or(text))
        }
        (None, None) if around.stdin_terminal => Err(usage(
            "no SQL given: write it behind the command, name a file with -f, or pipe it in; 'owlet' alone opens a shell",
        )),
        (None, None) => read_stdin(),
    }
}

fn read_stdin() -> Result<String, Failure> {
    let mut sql = String::new();
    io::stdin().lock().read_to_string(&mut sql).map_err(|e| usage(format!("cannot read SQL from standard input: {e}")))?;
    Ok(sql)
}

fn read_config(path: &Path) -> Result<Map<String, Value>, Failure> {
    let place = |e: &dyn std::fmt::Display| usage(format!("settings file '{}': {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| place(&e))?;
    serde_json::from_str(&text).map_err(|e| place(&e))
}

/// The settings of `file` under those of `shared`, which clap has filled from options before the environment.
fn settings(shared: &SharedArgs, file: Option<Map<String, Value>>, default_workers: usize) -> Result<Settings, Failure> {
    let file = file.unwrap_or_default();
    let workers_in_file = file.contains_key("workers");
    let mut settings: Settings = serde_json::from_value(Value::Object(file)).map_err(|e| usage(format!("settings file: {e}")))?;
    if !workers_in_file {
        settings.workers = default_workers;
    }
    replace(&mut settings.workers, shared.workers.map(|workers| workers.count));
    replace(&mut settings.worker_partitions, shared.worker_partitions);
    replace(&mut settings.split_bytes, shared.split_bytes);
    replace(&mut settings.memory_bytes, shared.memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)));
    replace(&mut settings.temp_quota_bytes, shared.temp_quota);
    replace(&mut settings.query_timeout_ms, shared.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
    replace_some(&mut settings.temp_dir, shared.temp_dir.as_ref());
    replace_some(&mut settings.exchange_url, shared.exchange.as_ref());
    replace_some(&mut settings.s3.endpoint, shared.s3_endpoint.as_ref());
    replace_some(&mut settings.s3.region, shared.s3_region.as_ref());
    settings.session.extend(shared.session.iter().map(|option| (option.key.clone(), option.value.clone())));
    settings.validate().map_err(|e| usage(e.message))?;
    if let Some(folder) = &settings.temp_dir
        && !folder.is_dir()
    {
        return Err(usage(format!("--temp-dir: there is no folder '{}'", folder.display())));
    }
    Ok(settings)
}

fn replace<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

fn replace_some<T: Clone>(setting: &mut Option<T>, given: Option<&T>) {
    if given.is_some() {
        *setting = given.cloned();
    }
}

fn tables(shared: &SharedArgs, command: &Command) -> Result<Tables, Failure> {
    let mut tables = Tables::default();
    // What a server keeps of its callers is no table, also where it lies among them.
    let own = match command {
        Command::Serve(plan) => std::iter::once(PathBuf::from(&plan.state)).chain(plan.auth.clone()).collect(),
        _ => Vec::new(),
    };
    for folder in &shared.data {
        tables.add_folder(folder, &own).map_err(|e| usage(format!("--data: {}", e.message)))?;
    }
    for table in &shared.tables {
        tables.add(&table.name, &table.location);
    }
    Ok(tables)
}

fn places(shared: SharedArgs) -> Places {
    let SharedArgs { catalog, database, warehouse, allow, allow_write, .. } = shared;
    Places { catalog, database, warehouse, allow, allow_write }
}

fn output(shared: &SharedArgs, command: &Command, around: Surroundings) -> Result<OutputChoice, Failure> {
    match command {
        Command::Tpch(_) | Command::Bench(_) if shared.output.is_some() => {
            return Err(usage("this command prints its own table: use --json FILE instead of -o"));
        }
        Command::Shell if shared.output.is_some() => {
            return Err(usage("-o needs a query: owlet query -o FILE \"SELECT ...\""));
        }
        Command::DeployCheck(_) | Command::Cancel(_) if shared.output.is_some() => {
            return Err(usage("this command writes no rows: leave -o out"));
        }
        _ => {}
    }
    let by_default = match command {
        Command::Query(_) | Command::Result(_) | Command::Queries(_) if !around.stdout_terminal => Format::Csv,
        _ => Format::Table,
    };
    let by_ending = shared.output.as_deref().map(|file| format_of(file).unwrap_or(Format::Csv));
    let format = shared.format.or(by_ending).unwrap_or(by_default);
    if shared.output.is_none() && around.stdout_terminal && matches!(format, Format::Parquet | Format::Arrow) {
        return Err(usage(format!("{format} files are not for terminals: name a file with -o, or redirect the output")));
    }
    Ok(OutputChoice { format, file: shared.output.clone() })
}

/// The format that the ending of `file` says.
fn format_of(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        "json" => Some(Format::Json),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "parquet" | "pq" => Some(Format::Parquet),
        "arrow" | "feather" | "ipc" => Some(Format::Arrow),
        "txt" => Some(Format::Table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const PIPED: Surroundings = Surroundings { stdin_terminal: false, stdout_terminal: false, stderr_terminal: false };
    const TERMINAL: Surroundings = Surroundings { stdin_terminal: true, stdout_terminal: true, stderr_terminal: true };

    fn setup(words: &[&str], around: Surroundings) -> Result<Setup, String> {
        let words = std::iter::once("owlet").chain(words.iter().copied());
        let args = Args::try_parse_from(words).map_err(|e| e.to_string())?;
        resolve(args, around).map_err(|e| format!("{} {e}", e.exit_code()))
    }

    fn config(text: &str) -> Result<(tempfile::TempDir, String), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("owlet.json");
        std::fs::write(&path, text)?;
        let path = path.to_str().ok_or("path")?.to_owned();
        Ok((folder, path))
    }

    #[test]
    fn a_file_wins_over_defaults_and_an_option_over_the_file() -> Result<(), Box<dyn std::error::Error>> {
        let (_folder, path) = config(r#"{"workers": 3, "split_bytes": 1000, "s3": {"region": "eu-west-1"}}"#)?;
        let setup = setup(&["query", "SELECT 1", "--config", &path, "--split-bytes", "2k", "--set", "a.b=c=d"], PIPED)?;
        assert_eq!((setup.settings.workers, setup.settings.split_bytes), (3, 2_048));
        assert_eq!(setup.settings.s3.region.as_deref(), Some("eu-west-1"));
        assert_eq!(setup.settings.worker_partitions, Settings::default().worker_partitions);
        assert_eq!(setup.settings.session.get("a.b").map(String::as_str), Some("c=d"));
        Ok(())
    }

    #[test]
    fn tpch_has_four_workers_unless_something_says_otherwise() -> Result<(), Box<dyn std::error::Error>> {
        let (_folder, path) = config(r#"{"workers": 0}"#)?;
        assert_eq!(setup(&["tpch"], PIPED)?.settings.workers, 4);
        assert_eq!(setup(&["tpch", "--workers", "2"], PIPED)?.settings.workers, 2);
        assert_eq!(setup(&["tpch", "--config", &path], PIPED)?.settings.workers, 0);
        assert_eq!(setup(&["query", "SELECT 1"], PIPED)?.settings.workers, 0);
        Ok(())
    }

    #[test]
    fn what_cannot_be_used_is_told_with_exit_code_two() -> Result<(), Box<dyn std::error::Error>> {
        let (_folder, unknown) = config(r#"{"wrokers": 3}"#)?;
        let (_folder, broken) = config("{")?;
        let cases: [(&[&str], &str); 9] = [
            (&["query", "x", "--config", &unknown], "wrokers"),
            (&["query", "x", "--config", &broken], "settings file"),
            (&["query", "x", "--config", "/no/such/file"], "/no/such/file"),
            (&["query", "-f", "/no/such/file.sql"], "/no/such/file.sql"),
            (&["query", "x", "--worker-partitions", "1"], "worker_partitions"),
            (&["query", "x", "--data", "/no/such/folder"], "/no/such/folder"),
            (&["query", "x", "--temp-dir", "/no/such/folder"], "--temp-dir"),
            (&["tpch", "--check", "--scale", "0.1"], "--scale 1"),
            (&["tpch", "-o", "x.csv"], "--json"),
        ];
        for (words, part) in cases {
            let error = setup(words, PIPED).err().unwrap_or_default();
            assert!(error.starts_with("2 ") && error.contains(part), "{words:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn the_format_follows_option_then_ending_then_terminal() -> Result<(), String> {
        let format = |words: &[&str], around| setup(words, around).map(|setup| setup.output.format);
        assert_eq!(format(&["query", "x"], TERMINAL)?, Format::Table);
        assert_eq!(format(&["query", "x"], PIPED)?, Format::Csv);
        assert_eq!(format(&["query", "x", "-o", "rows.PARQUET"], TERMINAL)?, Format::Parquet);
        assert_eq!(format(&["query", "x", "-o", "rows.parquet", "--format", "json"], TERMINAL)?, Format::Json);
        assert_eq!(format(&["query", "x", "-o", "rows"], TERMINAL)?, Format::Csv);
        assert_eq!(format(&["explain", "x"], PIPED)?, Format::Table);
        assert!(format(&["query", "x", "--format", "arrow"], TERMINAL).is_err_and(|e| e.starts_with("2 arrow")));
        assert_eq!(format(&["query", "x", "--format", "arrow"], PIPED)?, Format::Arrow);
        Ok(())
    }

    #[test]
    fn the_state_of_a_server_is_no_table() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        for name in ["sales", "state"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let data = folder.path().display().to_string();
        let setup = setup(&["serve", "--data", &data, "--state", &format!("{data}/state/")], PIPED)?;
        assert_eq!(setup.tables.names().collect::<Vec<_>>(), ["sales"]);
        Ok(())
    }

    #[test]
    fn a_terminal_gets_a_shell_and_a_table_option_a_name() -> Result<(), String> {
        let setup = setup(&["--table", "Trips=t/*.parquet"], TERMINAL)?;
        assert!(matches!(setup.command, Command::Shell));
        assert_eq!(setup.tables.location("trips"), Some("t/*.parquet"));
        assert!(setup.reports.progress && setup.reports.receipt && !setup.reports.json);
        Ok(())
    }
}
