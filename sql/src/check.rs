//! What holds for every text: it is read or refused, planned or refused, and what is printed reads the same again.
//!
//! The property of the fuzz target `fuzz/fuzz_targets/sql_text.rs` and of the tests with changed statements.

use crate::bind::{Resolved, Scope, TableResolver, bind};
use crate::catalog::AsOf;
use crate::ddl;
use crate::parameters::Parameter;
use crate::statement::{Limits, REWRITTEN_DEPTH, Statement, StatementKind, parse, parse_prepared};
use crate::tables::{Tables, is_location};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use datafusion::catalog::Session;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit, Visitor};
use engine::{Error, ErrorKind, Result};
use futures::executor::block_on;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

/// Longest statement that is also planned (bytes): planning takes longer than linear time.
const MAX_PLANNED_BYTES: usize = 4_096;

/// Checks that `text` is read or refused, and that each query in it prints as one that reads and prints the same; plans what is
/// short enough over tables without rows. Opens nothing. Needs a deep stack.
///
/// # Errors
/// With what is wrong, for people. A text that is refused is not wrong.
pub fn check_text(text: &str, limits: Limits) -> Result<(), String> {
    refused(Parameter::parse(text, limits), "as a parameter")?;
    refused(ddl::parse(text).unwrap_or_else(|| Err(Error::invalid("no DDL"))), "as DDL")?;
    let Some(statements) = refused(parse(text, limits), "as a statement")? else { return Ok(()) };
    for statement in &statements {
        check_statement(statement, limits)?;
    }
    Ok(())
}

/// Dear to make, so that all texts share one.
static SESSION: LazyLock<Result<SessionContext>> = LazyLock::new(|| {
    let mut config = SessionConfig::new();
    for (key, value) in crate::SESSION_OPTIONS {
        config.options_mut().set(key, value).map_err(Error::from)?;
    }
    let state = engine::session::session_state(config, Arc::new(RuntimeEnv::default()));
    Ok(SessionContext::new_with_state(crate::session(state).build()))
});

/// What was read; none when it was refused as it should be.
fn refused<T>(read: Result<T>, how: &str) -> Result<Option<T>, String> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == ErrorKind::Internal => Err(format!("read {how}: {error}")),
        Err(_) => Ok(None),
    }
}

fn check_statement(statement: &Statement, limits: Limits) -> Result<(), String> {
    if let StatementKind::Prepare(prepare) = &statement.kind {
        refused(parse_prepared(&prepare.sql, &[], limits), "as a prepared statement")?;
    }
    let Some(query) = statement.query() else { return Ok(()) };
    let printed = query.to_string();
    let again = print(&printed, limits);
    let is_stable = again.as_ref().is_ok_and(|again| *again == printed);
    if !is_stable && !is_printed_wrong(query) {
        let again = again.map_err(|error| format!("{}\nprints as\n{printed}\n{error}", statement.text))?;
        return Err(format!("{}\nprints as\n{printed}\nand then as\n{again}", statement.text));
    }
    if printed.len() <= MAX_PLANNED_BYTES && !names_location(statement) {
        let context = SESSION.as_ref().map_err(ToString::to_string)?;
        let tables = Tables::default();
        let scope = Scope { resolver: Some(&AnyTable), ..Scope::of(&tables, limits) };
        // It may be refused for any reason, also by the planner as its own mistake.
        drop(block_on(bind(context, &scope, statement)));
    }
    Ok(())
}

/// Whether `query` has a name or a string with two quotes in a row or one behind a backslash (the parser's printer takes such for
/// escapes), or a version of a table (printed as another dialect has it). Nothing but this check reads what it prints.
fn is_printed_wrong(query: &Query) -> bool {
    // Text of the tree has double quotes and backslashes escaped.
    let tree = format!("{query:?}");
    ["version: Some(", "''", "``", "\\\"\\\"", "\\\\'", "\\\\`", "\\\\\\\""].iter().any(|quotes| tree.contains(quotes))
}

/// How the query of `printed` prints; it may be as long and as deep as rewriting made it.
fn print(printed: &str, limits: Limits) -> Result<String> {
    let wide = Limits {
        max_bytes: limits.max_bytes.max(printed.len()).saturating_mul(2),
        max_depth: limits.max_depth.saturating_mul(REWRITTEN_DEPTH),
    };
    match parse(printed, wide)?.as_slice() {
        [statement] => Ok(statement.query().map(ToString::to_string).unwrap_or_default()),
        other => Err(Error::invalid(format!("{} statements", other.len()))),
    }
}

/// Whether a table of `statement` is a file.
fn names_location(statement: &Statement) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            let is_file = |part: &str| is_location(part);
            let is_found = relation.0.iter().any(|part| part.as_ident().is_none_or(|ident| is_file(&ident.value)));
            if is_found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    statement.query().is_none_or(|query| query.visit(&mut Find).is_break())
}

/// A catalog in which every table is there, without rows.
#[derive(Debug)]
struct AnyTable;

#[async_trait]
impl TableResolver for AnyTable {
    async fn resolve(&self, _: &dyn Session, _: &str, _: &str, _: Option<AsOf>) -> Result<Option<Resolved>> {
        let list = |of| DataType::List(Arc::new(Field::new_list_field(of, true)));
        let row = Fields::from(vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Utf8, true)]);
        let columns = [
            ("id", DataType::Int64),
            ("a", DataType::Int32),
            ("b", DataType::Utf8),
            ("name", DataType::Utf8),
            ("grp", DataType::Utf8),
            ("val", DataType::Float64),
            ("k", DataType::Decimal128(10, 2)),
            ("d", DataType::Date32),
            ("ts", DataType::Timestamp(TimeUnit::Millisecond, None)),
            ("arr", list(DataType::Int64)),
            ("r", DataType::Struct(row)),
        ];
        let fields: Vec<Field> = columns.into_iter().map(|(name, of)| Field::new(name, of, true)).collect();
        Ok(Some(Resolved::Table(Arc::new(EmptyTable::new(Arc::new(Schema::new(fields)))))))
    }

    async fn has_database(&self, _: &str) -> Result<bool> {
        Ok(true)
    }

    async fn table_names(&self, _: &str) -> Result<Vec<String>> {
        Ok(vec![])
    }
}
