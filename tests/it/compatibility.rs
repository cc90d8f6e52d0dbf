//! `docs/compatibility.md`: kinds of statements follow from what `athena_sql.tsv` gives, functions from what is registered.
//!
//! `OWLET_UPDATE=1` writes the file; without it, the file must be current. `statements.txt` and `trino_functions.txt`
//! describe their own lines.

use crate::athena_sql::{Found, all_statements};
use datafusion::execution::SessionStateBuilder;
use engine::functions::Functions;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tests::cluster::{Cluster, block_on, small_data_settings};
use tests::trap_data;

/// Trino's names that must be there.
const MIN_SUPPORTED: usize = 300;
/// What is above this line is written by hand.
const MARKER: &str = "<!-- Below: written by tests/it/compatibility.rs with OWLET_UPDATE=1. -->\n";

/// A line of one of the lists.
struct Name {
    group: &'static str,
    name: &'static str,
    how: &'static str,
    note: &'static str,
}

fn read(list: &'static str) -> Vec<Name> {
    let mut group = "";
    let mut names = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix("== ") {
            group = title;
            continue;
        }
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_else(|| panic!("three fields: {line}"));
        names.push(Name { group, name: next(), how: next(), note: next() });
    }
    names
}

fn functions() -> Vec<Name> {
    read(include_str!("trino_functions.txt"))
}

/// Tables with one line for each name, by group.
fn tables(names: &[Name], what: &str, mut line: impl FnMut(&Name) -> String) -> String {
    let (mut text, mut group) = (String::new(), "");
    for name in names {
        if group != name.group {
            group = name.group;
            write!(text, "\n### {group}\n\n| {what} | Here | |\n|---|---|---|\n").expect("a string takes text");
        }
        text.push_str(&line(name));
    }
    text
}

/// Kinds of statements, each with what came of the statements that show it.
fn statements() -> String {
    let all: BTreeMap<&str, _> = block_on(all_statements(0))
        .into_iter()
        .map(|(case, found)| (case.id.rsplit('-').next().unwrap_or_default(), (case, found)))
        .filter(|(_, (case, _))| case.kind != "fixture")
        .collect();
    let line = |name: &Name| {
        let shown: Vec<_> = name
            .how
            .split(',')
            .map(|number| all.get(format!("{number:0>3}").as_str()).unwrap_or_else(|| panic!("{}: {number}", name.name)))
            .collect();
        let missing: Vec<String> = shown
            .iter()
            .filter(|(_, found)| !matches!(found, Found::AsExpected))
            .map(|(case, _)| format!("`{}`", case.sql.replace('|', "\\|")))
            .collect();
        let refused = shown.iter().all(|(case, _)| case.outcome == "refused");
        let wrong = shown.iter().any(|(_, found)| matches!(found, Found::Different(_)));
        let answer = match (refused, missing.len()) {
            _ if wrong => "gives other rows",
            (true, _) => "refused",
            (false, 0) => "supported",
            (false, count) if count == shown.len() => "refused",
            (false, _) => "partly",
        };
        let without = if answer == "partly" || wrong { format!("without {}", missing.join(", ")) } else { String::new() };
        let notes: Vec<&str> = [name.note, &without].into_iter().filter(|note| !note.is_empty()).collect();
        format!("| {} | {answer} | {} |\n", name.name, notes.join("; "))
    };
    format!("\n## Statements\n{}", tables(&read(include_str!("statements.txt")), "Statement", line))
}

/// Names and aliases of all functions that `builder` has with those of the engine crate.
fn registered(builder: SessionStateBuilder) -> BTreeSet<String> {
    let state = Functions::all().register(builder).build();
    let scalar = state.scalar_functions().keys();
    let rest = state.aggregate_functions().keys().chain(state.window_functions().keys());
    scalar.chain(rest).chain(state.higher_order_functions().keys()).map(|name| name.to_lowercase()).collect()
}

/// Which examples run.
fn running(examples: Vec<&'static str>) -> BTreeSet<&'static str> {
    block_on(async move {
        let cluster = Cluster::new(small_data_settings(0), trap_data::folder());
        let mut running = BTreeSet::new();
        for example in examples {
            if cluster.query(&format!("SELECT {example}")).await.is_ok() {
                running.insert(example);
            }
        }
        running
    })
}

/// Arguments to try functions with.
const TRIED: [&str; 8] = ["'a'", "X'61'", "1", "'a', 'a'", "1, 1", "X'61', X'61'", "ARRAY[1]", ""];

/// Functions that are registered only to say why they are refused, with what they say.
fn refusing(names: Vec<&'static str>) -> BTreeMap<&'static str, String> {
    block_on(async move {
        let cluster = Cluster::new(small_data_settings(0), trap_data::folder());
        let mut refusing = BTreeMap::new();
        for name in names {
            let (mut why, mut runs) = (None, false);
            for arguments in TRIED {
                match cluster.query(&format!("SELECT {name}({arguments})")).await {
                    Ok(_) => runs = true,
                    Err(error) => {
                        let text = error.to_string();
                        let marks = [format!("{name} is not supported: "), format!("NOT_SUPPORTED: line 1:8: {name}: ")];
                        let reason = marks.iter().find_map(|mark| Some(text.split_once(mark)?.1.to_string()));
                        why = why.or(reason);
                    }
                }
            }
            // Where some arguments work, the others are refused one by one.
            if let (Some(why), false) = (why, runs) {
                let end = why.find(['\n', '.']).unwrap_or(why.len());
                refusing.insert(name, why[..end].to_string());
            }
        }
        refusing
    })
}

/// What is known of all names.
struct Known {
    own: BTreeSet<String>,
    all: BTreeSet<String>,
    running: BTreeSet<&'static str>,
    refusing: BTreeMap<&'static str, String>,
}

/// One line of the table: whether it is supported, the answer, and the note.
fn line(name: &Name, known: &Known) -> (bool, String) {
    let (has, has_own) = (known.all.contains(name.name), known.own.contains(name.name));
    let why = known.refusing.get(name.name);
    let athenas = format!("in Athena: {}", name.note);
    let (answer, note) = match name.how {
        "syntax" if known.running.contains(name.note) => ("supported", ""),
        "syntax" => ("refused", "not built yet"),
        "refused" => {
            assert!(!has_own || why.is_some(), "{} is in the list of what is refused, and is registered", name.name);
            ("refused", name.note)
        }
        "any" | "own" if why.is_some() => ("refused", why.map_or("", String::as_str)),
        "own" if has_own => ("supported", name.note),
        "own" if has => ("differs", athenas.as_str()),
        "any" if has => ("supported", name.note),
        "any" | "own" => ("refused", "not built yet"),
        other => panic!("{}: how is {other}", name.name),
    };
    (answer != "refused", format!("| `{}` | {answer} | {note} |\n", name.name))
}

fn function_tables() -> (usize, String) {
    let names = functions();
    let own = registered(SessionStateBuilder::new());
    let all = registered(SessionStateBuilder::new().with_default_features());
    let running = running(names.iter().filter(|name| name.how == "syntax").map(|name| name.note).collect());
    let refusing = refusing(names.iter().map(|name| name.name).filter(|name| own.contains(*name)).collect());
    let known = Known { own, all, running, refusing };
    let mut supported = 0;
    let tables = tables(&names, "Function", |name| {
        let (is_there, line) = line(name, &known);
        supported += usize::from(is_there);
        line
    });
    let head = format!("\n## Functions\n\n{supported} of {} names of Trino's functions are there.\n", names.len());
    (supported, head + &tables)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md")
}

#[test]
fn the_list_in_docs_is_current() {
    let text = std::fs::read_to_string(file()).expect("the file");
    let (by_hand, _) = text.split_once(MARKER).expect("the marker");
    let (supported, functions) = function_tables();
    let current = format!("{by_hand}{MARKER}{}{functions}", statements());
    if std::env::var("OWLET_UPDATE").is_ok_and(|value| value == "1") {
        std::fs::write(file(), &current).expect("a file that can be written");
    } else {
        assert!(text == current, "docs/compatibility.md is not current: run this test with OWLET_UPDATE=1");
    }
    assert!(supported >= MIN_SUPPORTED, "{supported} of Trino's names");
}

#[test]
fn each_name_is_listed_once() {
    let mut seen = BTreeSet::new();
    for name in functions() {
        assert!(seen.insert(name.name), "{}", name.name);
    }
}
