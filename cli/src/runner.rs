//! What commands and the shell need of the place where statements run: this process, or a server.

use crate::failure::Failure;
use crate::output::Style;
use crate::print::{Format, Output};
use crate::receipt::Account;
use crate::resolve::Reports;
use crate::shell::SharedNames;

/// A place where statements run.
pub(crate) trait Runner {
    /// A statement that can be run there.
    type Statement;

    /// What is told besides rows.
    fn reports(&self) -> Reports;

    /// The statements of `sql`.
    ///
    /// # Errors
    /// Where the text is wrong.
    fn parse(&self, sql: &str) -> Result<Vec<Self::Statement>, Failure>;

    /// The statement that shows the plan of `statement`.
    fn explained(&self, statement: Self::Statement) -> Self::Statement;

    /// How its rows are written in `format`. Plans are pictures: as a table they are printed without its frame.
    fn style(&self, statement: &Self::Statement, format: Format) -> Style;

    /// Runs `statement` and prints its rows to `out`, which comes back. `shares_screen` says that progress would stand in
    /// the way of the rows.
    ///
    /// # Errors
    /// The query's error, else that of the output.
    fn print(
        &self,
        statement: Self::Statement,
        style: Style,
        out: Output,
        shares_screen: bool,
    ) -> Result<(Account, Output), Failure>;

    /// Where queries run and what they can name, for the first line of the shell.
    fn greeting(&self) -> String;

    /// The tables that have a name, and where or what they are.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn tables(&self) -> Result<Vec<(String, String)>, Failure>;

    /// Whether `name` is known to be a table without asking anybody.
    fn knows(&self, name: &str) -> bool;

    /// The columns of the table that `name` writes in SQL.
    ///
    /// # Errors
    /// When there is no such table, or it cannot be read.
    fn describe(&self, name: &str) -> Result<Vec<ColumnInfo>, Failure>;

    /// Changes the number of workers if one is given, and gives it.
    ///
    /// # Errors
    /// When it cannot be changed; all goes on as it was.
    fn workers(&mut self, count: Option<usize>) -> Result<usize, Failure>;

    /// Tells completion the names that can be had for nothing.
    ///
    /// # Errors
    /// When this place has ended.
    fn learn_names(&self, names: &SharedNames) -> Result<(), Failure>;
}

/// A column of a table, as `DESCRIBE` tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ColumnInfo {
    pub(crate) name: String,
    pub(crate) data_type: String,
    pub(crate) nullable: String,
}
