//! `owlet query` and `owlet explain`: statements in order, to one destination, until the first error.

use crate::failure::Failure;
use crate::output::Destination;
use crate::print::Format;
use crate::resolve::OutputChoice;
use crate::runner::Runner;

/// What to do with the statements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Run them.
    AsWritten,
    /// Show their plans.
    Explain,
}

/// Runs the statements of `sql` in order.
///
/// In this process, nothing runs unless all of them can be parsed; a server parses each when its turn comes.
///
/// # Errors
/// The first one.
pub(crate) fn run(runner: &impl Runner, sql: &str, choice: &OutputChoice, mode: Mode) -> Result<(), Failure> {
    let destination = Destination::open(choice)?;
    let statements = runner.parse(sql)?;
    if statements.len() > 1 && matches!(choice.format, Format::Parquet | Format::Arrow) {
        return Err(Failure::Usage(format!(
            "a {} file holds one result, but there are {} statements: choose a text format, or run them apart",
            choice.format,
            statements.len()
        )));
    }
    let mut out = destination.writer()?;
    for statement in statements {
        let statement = match mode {
            Mode::AsWritten => statement,
            Mode::Explain => runner.explained(statement),
        };
        let style = runner.style(&statement, choice.format);
        let (account, next) = runner.print(statement, style, out, destination.is_terminal())?;
        account.report(runner.reports());
        out = next;
    }
    drop(out);
    destination.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::{Places, Reports};
    use crate::session::Session;
    use engine::ErrorKind;
    use engine::settings::Settings;
    use sql::Tables;
    use std::error::Error;
    use std::path::Path;

    const SILENT: Reports = Reports { receipt: false, json: false, progress: false };
    const GROUPED: &str = "SELECT k, count(*) AS n FROM t GROUP BY k ORDER BY k";

    /// A session over a table `t` with two files of 100 rows, where `k` is 0 to 3.
    fn session(folder: &Path, workers: usize) -> Result<Session, Box<dyn Error>> {
        std::fs::create_dir_all(folder.join("t"))?;
        for file in 0..2 {
            let lines: String = (0..100).map(|row| format!("{},{row}\n", row % 4)).collect();
            std::fs::write(folder.join(format!("t/{file}.csv")), format!("k,v\n{lines}"))?;
        }
        let mut tables = Tables::default();
        tables.add("t", &format!("{}/", folder.join("t").display()));
        let exchange = folder.join("exchange").to_str().map(str::to_owned);
        let settings = Settings { workers, split_bytes: 1, inline_limit_bytes: 0, exchange_url: exchange, ..Settings::default() };
        Ok(Session::new(settings, tables, &Places::default(), SILENT)?)
    }

    fn files_below(folder: &Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        let files = entries.flatten().map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 });
        files.sum()
    }

    #[test]
    fn rows_reach_the_file_with_and_without_workers() -> Result<(), Box<dyn Error>> {
        for workers in [0, 2] {
            let folder = tempfile::tempdir()?;
            let session = session(folder.path(), workers)?;
            let file = folder.path().join("rows.csv");
            let choice = OutputChoice { format: Format::Csv, file: Some(file.clone()) };
            run(&session, GROUPED, &choice, Mode::AsWritten)?;
            assert_eq!(std::fs::read_to_string(&file)?, "k,n\n0,50\n1,50\n2,50\n3,50\n");
            assert_eq!(files_below(&folder.path().join("exchange")), 0);
        }
        Ok(())
    }

    #[test]
    fn the_first_error_stops_and_leaves_no_file() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let session = session(folder.path(), 2)?;
        let file = folder.path().join("rows.csv");
        let choice = OutputChoice { format: Format::Csv, file: Some(file.clone()) };
        let failed = run(&session, &format!("{GROUPED}; SELECT w FROM t; {GROUPED}"), &choice, Mode::AsWritten);
        assert!(matches!(failed, Err(Failure::Query(error)) if error.kind == ErrorKind::InvalidQuery));
        assert!(!file.exists());
        let parquet = OutputChoice { format: Format::Parquet, file: Some(folder.path().join("rows.parquet")) };
        assert!(matches!(run(&session, "SELECT 1; SELECT 2", &parquet, Mode::AsWritten), Err(Failure::Usage(_))));
        Ok(())
    }

    #[test]
    fn explain_gives_bare_lines() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let session = session(folder.path(), 2)?;
        let file = folder.path().join("plan.txt");
        let choice = OutputChoice { format: Format::Table, file: Some(file.clone()) };
        run(&session, GROUPED, &choice, Mode::Explain)?;
        let plan = std::fs::read_to_string(&file)?;
        assert!(plan.contains("Stage 1") && !plan.contains("rows)"), "{plan}");
        Ok(())
    }
}
