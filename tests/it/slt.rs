//! Every `.slt` file on plain DataFusion and on workers.

use sqllogictest::{Runner, default_column_validator};
use std::path::Path;
use std::sync::Arc;
use tests::cluster::{Cluster, runtime, small_data_settings};
use tests::slt::Engine;
use tests::trap_data;

fn run(engine: &Engine) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the folder of .slt files").flatten().map(|entry| entry.path()).collect();
    files.sort();
    assert!(files.len() >= 3);
    for file in files {
        let engine = engine.clone();
        runtime().block_on(async move {
            let mut runner = Runner::new(|| async { Ok(engine.clone()) });
            runner.with_column_validator(default_column_validator);
            runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        });
    }
}

#[test]
fn on_the_oracle_and_on_workers() {
    run(&Engine::Oracle(trap_data::folder().to_path_buf()));
    for workers in [0, 3] {
        run(&Engine::Owlet(Arc::new(Cluster::new(small_data_settings(workers), trap_data::folder()))));
    }
}
