//! Rules of this code base that a compiler does not check.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target" && !name.to_string_lossy().starts_with('.')) {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a readable file")
}

/// One version each: two would put two engines into one binary.
#[test]
fn the_lock_file_holds_one_version_of_the_engine() {
    let lock = read(&root().join("Cargo.lock"));
    for name in ["arrow", "parquet", "object_store", "datafusion", "sqlparser"] {
        let count = lock.matches(&format!("name = \"{name}\"\n")).count();
        assert_eq!(count, 1, "{name}");
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let manifest = read(&root().join("Cargo.toml"));
    let members = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).expect("members");
    for member in members.split(',').map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty()) {
        let manifest = read(&root().join(member).join("Cargo.toml"));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{member}");
    }
}

#[test]
fn every_file_starts_with_what_it_is() {
    let mut files = Vec::new();
    sources(root(), &mut files);
    assert!(files.len() > 50);
    for file in files {
        // A `tests.rs` beside its module says enough by its name.
        let text = read(&file);
        assert!(text.starts_with("//!") || file.ends_with("tests.rs"), "{}", file.display());
    }
}

#[test]
fn files_stay_readable() {
    let mut files = Vec::new();
    sources(root(), &mut files);
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = read(file);
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        assert!(lines <= 520, "{} has {lines} lines before its tests", file.display());
    }
}

/// The worker must not carry an SQL parser, and no crate may know a sibling that it should not.
#[test]
fn crates_depend_only_downwards() {
    let allowed: [(&str, &[&str]); 5] = [
        ("engine", &[]),
        ("sql", &["engine"]),
        ("worker", &["engine"]),
        ("coordinator", &["engine", "sql"]),
        ("cli", &["engine", "sql", "coordinator", "worker"]),
    ];
    for (name, siblings) in allowed {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        for other in ["engine", "sql", "worker", "coordinator", "cli"] {
            let depends = manifest.contains(&format!("\n{other}.workspace"));
            assert!(!depends || siblings.contains(&other), "{name} depends on {other}");
        }
    }
    let worker = read(&root().join("worker/Cargo.toml"));
    assert!(!worker.contains("\"sql\""));
}
