//! `owlet` alone: reads statements and commands from a person until they quit; no error ends it.

mod command;
mod complete;

use crate::failure::Failure;
use crate::output::Destination;
use crate::print::{Format, PrintError};
use crate::resolve::OutputChoice;
use crate::runner::Runner;
use crate::split::split;
use crate::tell::tell;
use command::{COMMANDS, Command, is_command};
use complete::Typing;
pub(crate) use complete::{Names, SharedNames, quoted};
use engine::Error;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use unicode_width::UnicodeWidthStr;

/// Environment variable with another history file; empty for none.
const HISTORY_VARIABLE: &str = "OWLET_HISTORY";
const HISTORY_FILE: &str = ".owlet_history";
const HISTORY_LINES: usize = 10_000;
const PROMPT: &str = "owlet> ";

/// Runs the shell until its end.
///
/// # Errors
/// When the terminal cannot be used.
pub(crate) fn run(runner: impl Runner, format: Format) -> Result<(), Failure> {
    let names: SharedNames = Arc::default();
    let mut editor = editor(&names)?;
    let history = history_file();
    if let Some(path) = &history {
        // The first time there is none.
        drop(editor.load_history(path));
    }
    let mut shell = Shell { receipts: runner.reports().receipt, runner, format, names };
    shell.runner.learn_names(&shell.names)?;
    shell.greet();
    loop {
        match editor.readline(PROMPT) {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                remember(&mut editor, history.as_ref(), &line);
                if shell.take(&line) == Next::Quit {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(Failure::Usage(format!("the terminal cannot be read: {error}"))),
        }
    }
}

fn editor(names: &SharedNames) -> Result<Editor<Typing, FileHistory>, Failure> {
    let unusable = |e: ReadlineError| Failure::Usage(format!("the terminal cannot be used: {e}"));
    let config = Config::builder().max_history_size(HISTORY_LINES).map_err(unusable)?.completion_type(CompletionType::List);
    let mut editor = Editor::with_config(config.build()).map_err(unusable)?;
    editor.set_helper(Some(Typing::new(Arc::clone(names))));
    Ok(editor)
}

fn history_file() -> Option<PathBuf> {
    match std::env::var_os(HISTORY_VARIABLE) {
        Some(path) => Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty()),
        None => std::env::home_dir().map(|home| home.join(HISTORY_FILE)),
    }
}

/// Keeps `line` for later; a history that cannot be written is no reason to stop.
fn remember(editor: &mut Editor<Typing, FileHistory>, history: Option<&PathBuf>, line: &str) {
    drop(editor.add_history_entry(line));
    if let Some(path) = history {
        drop(editor.append_history(path));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Quit,
}

struct Shell<R> {
    runner: R,
    format: Format,
    receipts: bool,
    names: SharedNames,
}

impl<R: Runner> Shell<R> {
    fn greet(&self) {
        let version = env!("CARGO_PKG_VERSION");
        let greeting = self.runner.greeting();
        self.say(&format!("Owlet {version}; {greeting}. End a statement with ;   \\? for help, \\q to quit"));
    }

    /// Does what a line says.
    fn take(&mut self, line: &str) -> Next {
        if !is_command(line) {
            for statement in split(line).statements {
                if let Err(failure) = self.statement(statement) {
                    tell_in_shell(&failure);
                    break;
                }
            }
            return Next::Continue;
        }
        match command::read(line) {
            Ok(Command::Quit) => return Next::Quit,
            Ok(command) => {
                if let Err(failure) = self.command(command) {
                    tell_in_shell(&failure);
                }
            }
            Err(message) => tell(format_args!("error: {message}")),
        }
        Next::Continue
    }

    fn statement(&self, sql: &str) -> Result<(), Failure> {
        let destination = Destination::open(&OutputChoice { format: self.format, file: None })?;
        for statement in self.runner.parse(sql)? {
            let style = self.runner.style(&statement, self.format);
            let (account, _) = self.runner.print(statement, style, destination.writer()?, destination.is_terminal())?;
            if self.receipts {
                account.report(self.runner.reports());
            }
        }
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Tables => self.list_tables()?,
            Command::Describe(name) => self.describe(&name)?,
            Command::Timing => {
                self.receipts = !self.receipts;
                self.say(if self.receipts { "timing is on" } else { "timing is off" });
            }
            Command::Workers(count) => {
                let workers = self.runner.workers(count)?;
                self.say(&format!("workers: {workers}"));
            }
            Command::Format(format) => {
                self.format = format.unwrap_or(self.format);
                self.say(&format!("format: {}", self.format));
            }
            Command::Help => self.columns(&COMMANDS),
            Command::Quit => {}
        }
        Ok(())
    }

    fn list_tables(&self) -> Result<(), Failure> {
        let tables = self.runner.tables().map_err(without_place)?;
        if tables.is_empty() {
            self.say("no table has a name: write FROM 'path/file.parquet', or start with --data DIR or --table NAME=PATH");
        }
        let rows: Vec<(&str, &str)> = tables.iter().map(|(name, place)| (name.as_str(), place.as_str())).collect();
        self.columns(&rows);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.tables = tables.into_iter().map(|(name, _)| name).collect();
        Ok(())
    }

    fn describe(&self, name: &str) -> Result<(), Failure> {
        let listed = self.names.lock().unwrap_or_else(PoisonError::into_inner).tables.iter().any(|table| table == name);
        let known = listed || self.runner.knows(name);
        let described = self.runner.describe(&if known { quoted(name) } else { name.to_owned() });
        let columns = described.map_err(without_place)?;
        let types: Vec<(String, String)> = columns
            .iter()
            .map(|column| {
                let ending = if column.nullable == "NO" { " not null" } else { "" };
                (column.name.clone(), format!("{}{ending}", column.data_type))
            })
            .collect();
        let rows: Vec<(&str, &str)> = types.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        self.columns(&rows);
        if known {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.columns.insert(name.to_lowercase(), columns.into_iter().map(|column| column.name).collect());
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        // A terminal that is gone ends the shell at its next prompt.
        drop(writeln!(io::stdout().lock(), "{line}"));
    }

    /// Two columns, the first as wide as its widest.
    fn columns(&self, rows: &[(&str, &str)]) {
        let width = rows.iter().map(|(first, _)| first.width()).max().unwrap_or_default();
        for (first, second) in rows {
            self.say(&format!("{first}{}  {second}", " ".repeat(width - first.width())));
        }
    }
}

/// The place of an error in a statement that nobody typed is of no use.
fn without_place(mut failure: Failure) -> Failure {
    if let Failure::Query(Error { message, .. }) | Failure::Server { message, .. } = &mut failure
        && let Some((place, rest)) = message.split_once(": ")
        && place.starts_with("line ")
    {
        *message = rest.to_owned();
    }
    failure
}

fn tell_in_shell(failure: &Failure) {
    match failure {
        Failure::Print(PrintError::BrokenPipe) => {}
        Failure::Interrupted => tell("cancelled"),
        other => tell(format_args!("error: {other}")),
    }
}
