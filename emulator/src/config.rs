//! What an emulator is told: functions, credentials, environments.
use crate::chaos::Chaos;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The unpublished version that every function has.
pub(crate) const LATEST: &str = "$LATEST";
/// Longest function name, in bytes, as in Lambda.
const MAX_NAME_BYTES: usize = 64;

/// Receives each log line (without its newline) of a function, given its name: output of its processes and platform lines.
pub type LogSink = Arc<dyn Fn(&str, &[u8]) + Send + Sync>;

/// Settings of an [`Emulator`](crate::Emulator).
#[derive(Clone)]
pub struct EmulatorConfig {
    /// The functions; names are unique.
    pub functions: Vec<FunctionConfig>,
    /// Who may call. Empty: the Invoke API takes unsigned requests, and function URLs with [`UrlAuth::AwsIam`] refuse all.
    pub credentials: Vec<Credential>,
    /// Region in ARNs, in the functions' environment and in signatures.
    pub region: String,
    /// Account in ARNs, 12 digits.
    pub account_id: String,
    /// Stop the processes (SIGSTOP) between invocations, as Lambda freezes its sandboxes.
    pub freeze: bool,
    /// Environments that were idle for this long are killed.
    pub idle_timeout: Duration,
    /// Faults to inject.
    pub chaos: Option<Arc<dyn Chaos>>,
    /// Where log lines go; `None` drops all but the tail for the caller.
    pub log: Option<LogSink>,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            functions: Vec::new(),
            credentials: Vec::new(),
            region: "us-east-1".into(),
            account_id: "123456789012".into(),
            freeze: true,
            idle_timeout: Duration::from_secs(300),
            chaos: None,
            log: None,
        }
    }
}

/// One function.
#[derive(Clone, Debug)]
pub struct FunctionConfig {
    /// Name: letters, digits, `-` and `_`.
    pub name: String,
    /// Program that speaks the Lambda Runtime API (a `bootstrap`).
    pub command: PathBuf,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// Environment of the program besides what Lambda itself sets. Of the parent's variables only `PATH` is passed on.
    pub environment: BTreeMap<String, String>,
    /// Memory limit of one process, in MiB.
    pub memory_mb: u64,
    /// Time limit of one invocation.
    pub timeout: Duration,
    /// Time limit for the start of a process until it first asks for an event.
    pub init_timeout: Duration,
    /// Most invocations at one time.
    pub max_concurrency: usize,
    /// The published version.
    pub version: String,
    /// Aliases of the published version. `$LATEST`, `version` and these are the valid qualifiers.
    pub aliases: Vec<String>,
    /// Gives the function a URL of its own; it runs the first alias, or `$LATEST` where there is none.
    pub url_auth: Option<UrlAuth>,
    /// How often an asynchronous event is tried again after a function error.
    pub event_retries: u32,
    /// Pause before each such retry.
    pub event_retry_pause: Duration,
}

impl FunctionConfig {
    /// A function with Lambda's defaults: 128 MiB, 3 s, 10 s for init, 2 event retries a minute apart; version `1`, alias
    /// `live`, 10 at a time.
    pub fn new(name: impl Into<String>, command: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            command: command.into(),
            args: Vec::new(),
            environment: BTreeMap::new(),
            memory_mb: 128,
            timeout: Duration::from_secs(3),
            init_timeout: Duration::from_secs(10),
            max_concurrency: 10,
            version: "1".into(),
            aliases: vec!["live".into()],
            url_auth: None,
            event_retries: 2,
            event_retry_pause: Duration::from_secs(60),
        }
    }

    /// The version that `qualifier` names, if any.
    pub(crate) fn version_of(&self, qualifier: &str) -> Option<&str> {
        if qualifier == LATEST {
            Some(LATEST)
        } else if qualifier == self.version || self.aliases.iter().any(|alias| alias == qualifier) {
            Some(&self.version)
        } else {
            None
        }
    }

    /// Checks the function and makes its program's path absolute: the process runs in the program's own folder.
    fn prepare(&mut self) -> Result<()> {
        let refuse = |problem: String| Err(Error::InvalidFunction { function: self.name.clone(), problem });
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES || !self.name.chars().all(plain) {
            return refuse(format!("a name has 1 to {MAX_NAME_BYTES} letters, digits, '-' or '_'"));
        }
        if self.max_concurrency == 0 || self.memory_mb == 0 || self.timeout.is_zero() {
            return refuse("max_concurrency, memory_mb and timeout must be greater than zero".into());
        }
        match self.command.canonicalize() {
            Ok(command) if command.is_file() => self.command = command,
            _ => return refuse(format!("no such program: {}; build it or correct the path", self.command.display())),
        }
        Ok(())
    }
}

impl EmulatorConfig {
    /// ARN of a function as its caller named it.
    pub(crate) fn function_arn(&self, name: &str, qualifier: Option<&str>) -> String {
        let arn = format!("arn:aws:lambda:{}:{}:function:{name}", self.region, self.account_id);
        match qualifier {
            Some(qualifier) => format!("{arn}:{qualifier}"),
            None => arn,
        }
    }

    /// Checks the functions and makes their paths absolute.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        let mut names = HashSet::new();
        for function in &mut self.functions {
            function.prepare()?;
            if !names.insert(function.name.clone()) {
                let problem = "two functions have this name; rename one".into();
                return Err(Error::InvalidFunction { function: function.name.clone(), problem });
            }
        }
        Ok(())
    }
}

/// Who may call a function URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlAuth {
    /// Requests signed with one of the emulator's credentials.
    AwsIam,
    /// Everybody.
    None,
}

/// A caller that the emulator knows.
#[derive(Clone)]
pub struct Credential {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret: String,
    /// Session token that must come with the key, if it is a temporary one.
    pub session_token: Option<String>,
    /// ARN of the user or assumed role.
    pub user_arn: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("access_key", &self.access_key)
            .field("user_arn", &self.user_arn)
            .finish_non_exhaustive()
    }
}
