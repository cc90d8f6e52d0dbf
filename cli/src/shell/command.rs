//! The backslash commands of the shell.

use crate::print::Format;
use std::str::FromStr;

/// All commands, with what they do.
pub(crate) const COMMANDS: [(&str, &str); 8] = [
    ("\\d", "list the tables"),
    ("\\d TABLE", "describe a table, or a file as in \\d 'dir/*.parquet'"),
    ("\\timing", "turn the line with time, bytes and cost on or off"),
    ("\\workers N", "run queries on N workers; 0 is this process alone"),
    ("\\format F", "print rows as table, csv, tsv, json or ndjson"),
    ("\\?", "this list"),
    ("\\q", "quit"),
    ("Ctrl-C", "clear the line, or cancel the running query"),
];

/// A line that is no SQL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// List the tables.
    Tables,
    /// Describe one: its name as SQL writes it.
    Describe(String),
    /// Turn receipts on or off.
    Timing,
    /// Show or change the number of workers.
    Workers(Option<usize>),
    /// Show or change the format of rows.
    Format(Option<Format>),
    /// List the commands.
    Help,
    /// End the shell.
    Quit,
}

/// Whether a line is for the shell rather than SQL.
pub(crate) fn is_command(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('\\') || matches!(line.trim_end_matches(';').trim(), "quit" | "exit")
}

/// Reads a line for which [`is_command`] holds.
///
/// # Errors
/// What is wrong with it, for the person who typed it.
pub(crate) fn read(line: &str) -> Result<Command, String> {
    let line = line.trim().trim_end_matches(';').trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let bare = |command| if rest.is_empty() { Ok(command) } else { Err(format!("{word} takes nothing behind it")) };
    match word {
        "\\d" if rest.is_empty() => Ok(Command::Tables),
        "\\d" => Ok(Command::Describe(rest.to_owned())),
        "\\timing" => bare(Command::Timing),
        "\\workers" if rest.is_empty() => Ok(Command::Workers(None)),
        "\\workers" => match rest.parse() {
            Ok(count) => Ok(Command::Workers(Some(count))),
            Err(_) => Err(format!("'{rest}' is not a number of workers")),
        },
        "\\format" if rest.is_empty() => Ok(Command::Format(None)),
        "\\format" => match Format::from_str(rest).map_err(|e| e.to_string())? {
            format @ (Format::Parquet | Format::Arrow) => {
                Err(format!("{format} files are not for terminals: run owlet query -o FILE"))
            }
            format => Ok(Command::Format(Some(format))),
        },
        "\\?" | "\\h" | "\\help" => bare(Command::Help),
        "\\q" | "quit" | "exit" => bare(Command::Quit),
        _ => Err(format!("there is no command {word}; \\? lists them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_and_without_a_semicolon() {
        assert_eq!(read("\\d"), Ok(Command::Tables));
        assert_eq!(read("  \\d  'a b.csv' ;"), Ok(Command::Describe("'a b.csv'".into())));
        assert_eq!(read("\\workers 4"), Ok(Command::Workers(Some(4))));
        assert_eq!(read("\\workers"), Ok(Command::Workers(None)));
        assert_eq!(read("\\format CSV"), Ok(Command::Format(Some(Format::Csv))));
        assert_eq!(read("exit;"), Ok(Command::Quit));
        assert!(is_command("quit") && is_command(" \\x") && !is_command("quit now") && !is_command("SELECT '\\'"));
    }

    #[test]
    fn wrong_commands_say_what_is_wrong() {
        for (line, part) in [
            ("\\x", "\\x"),
            ("\\workers many", "many"),
            ("\\workers -1", "-1"),
            ("\\format xml", "xml"),
            ("\\format arrow", "-o FILE"),
            ("\\q now", "\\q"),
        ] {
            assert!(read(line).is_err_and(|e| e.contains(part)), "{line}");
        }
    }
}
