//! `owlet query` and `owlet explain`: statements in order, to one destination, until the first error.

use crate::failure::Failure;
use crate::output::{Destination, Style};
use crate::print::Format;
use crate::resolve::OutputChoice;
use crate::session::Session;
use sql::Statement;
use sql::statement::StatementKind;

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
/// Nothing runs unless all of them can be parsed.
///
/// # Errors
/// The first one.
pub(crate) fn run(session: &Session, sql: &str, choice: &OutputChoice, mode: Mode) -> Result<(), Failure> {
    let destination = Destination::open(choice)?;
    let statements = session.parse(sql)?;
    if statements.len() > 1 && matches!(choice.format, Format::Parquet | Format::Arrow) {
        return Err(Failure::Usage(format!(
            "a {} file holds one result, but there are {} statements: choose a text format, or run them apart",
            choice.format,
            statements.len()
        )));
    }
    let mut out = destination.writer()?;
    for statement in statements {
        let statement = in_mode(statement, mode);
        let style = style(&statement, choice.format);
        let (receipt, next) = session.print(statement, style, out, destination.is_terminal())?;
        session.report(&receipt);
        out = next;
    }
    drop(out);
    destination.commit()
}

fn in_mode(mut statement: Statement, mode: Mode) -> Statement {
    if mode == Mode::Explain && statement.kind == StatementKind::Rows {
        statement.kind = StatementKind::Explain;
    }
    statement
}

/// Plans are pictures: as a table they are printed without its frame.
pub(crate) fn style(statement: &Statement, format: Format) -> Style {
    match (statement.kind, format) {
        (StatementKind::Explain | StatementKind::ExplainAnalyze, Format::Table) => Style::Lines,
        _ => Style::Rows(format),
    }
}
