//! Every `.slt` file: those at the top on plain DataFusion and on workers, those with Athena's answers on workers.

use sqllogictest::{Runner, default_column_validator};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tests::cluster::{Cluster, runtime, small_data_settings};
use tests::slt::Engine;
use tests::trap_data;

/// The `.slt` files of a folder, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).expect("the folder of .slt files").flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "slt")).collect();
    files.sort();
    files
}

/// What is wrong with each file that fails.
fn failures(engine: &Engine, files: &[PathBuf]) -> Vec<String> {
    let of_file = |file: &PathBuf| {
        runtime().block_on(async {
            let mut runner = Runner::new(|| async { Ok(engine.clone()) });
            runner.with_column_validator(default_column_validator);
            runner.run_file_async(file).await.err().map(|error| format!("{}: {error}", file.display()))
        })
    };
    files.iter().filter_map(of_file).collect()
}

fn on_workers(files: &[PathBuf]) {
    for workers in [0, 3] {
        let engine = Engine::Owlet(Arc::new(Cluster::new(small_data_settings(workers), trap_data::folder())));
        let failures = failures(&engine, files);
        assert!(failures.is_empty(), "with {workers} workers:\n{}", failures.join("\n\n"));
    }
}

#[test]
fn on_the_oracle_and_on_workers() {
    let files = files("slt");
    assert!(files.len() >= 3);
    let failures = failures(&Engine::Oracle(trap_data::folder().to_path_buf()), &files);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    on_workers(&files);
}

/// Same text, another answer than DataFusion's: over literals, which are folded, and over columns.
#[test]
fn athenas_answers_on_workers() {
    let files = files("slt/athena");
    assert!(files.len() >= 20);
    on_workers(&files);
}
