//! Row counts, repeatability and what is refused; at scale 0.01.

use std::collections::BTreeMap;

use arrow::array::Array;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

const SCALE: f64 = 0.01;

const KNOWN_ROWS: [(&str, u64); 8] = [
    ("lineitem", 60_175),
    ("orders", 15_000),
    ("partsupp", 8_000),
    ("customer", 1_500),
    ("part", 2_000),
    ("supplier", 100),
    ("nation", 25),
    ("region", 5),
];

fn silent(dir: &Path, scale: f64) -> Result<Generated, GenerateError> {
    generate(dir, scale, &mut |_| {})
}

/// Every file below `dir` with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_set_has_the_known_rows_and_the_same_bytes_each_time() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (root.path().join("first"), root.path().join("deep/second"));
    let mut last = None;
    let made = generate(&first, SCALE, &mut |progress| {
        assert!(progress.rows_done <= progress.rows_total && progress.part < progress.parts, "{progress:?}");
        last = Some(progress);
    })
    .unwrap();
    let counts: Vec<(&str, u64)> = made.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    assert_eq!(counts, KNOWN_ROWS);
    assert!(made.fresh);
    assert_eq!(last.unwrap().rows_done, 86_805);

    let mut on_disk = BTreeMap::new();
    for path in files(&first).keys().filter(|path| path.extension().is_some_and(|ending| ending == "parquet")) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(first.join(path)).unwrap()).unwrap();
        let rows = reader.metadata().file_metadata().num_rows();
        assert!(rows > 0, "{} is empty", path.display());
        for field in reader.schema().fields() {
            let plain = matches!(field.data_type(), DataType::Int32 | DataType::Int64 | DataType::Utf8 | DataType::Date32);
            assert!(plain || *field.data_type() == DataType::Decimal128(15, 2), "{field}");
        }
        *on_disk.entry(path.parent().unwrap().to_string_lossy().into_owned()).or_insert(0) += rows as u64;
    }
    assert_eq!(on_disk, KNOWN_ROWS.map(|(name, rows)| (name.to_owned(), rows)).into());
    assert_eq!(made.tables[0].parts, 4);
    assert_eq!(made.tables[1].parts, 4);

    silent(&second, SCALE).unwrap();
    assert!(files(&first) == files(&second), "two runs gave different bytes");
    let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing temporary stays: {left:?}");
}

#[test]
fn a_complete_set_is_left_as_it_is_and_a_damaged_one_is_told() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("set");
    fs::create_dir(&dir).unwrap();
    let made = silent(&dir, MIN_SCALE).unwrap();
    let before = fs::metadata(dir.join(MARKER)).unwrap().modified().unwrap();
    let again = generate(&dir, MIN_SCALE, &mut |progress| panic!("{progress:?}")).unwrap();
    assert_eq!(again, Generated { fresh: false, ..made });
    assert_eq!(before, fs::metadata(dir.join(MARKER)).unwrap().modified().unwrap());

    assert!(matches!(silent(&dir, SCALE), Err(GenerateError::OtherSet { .. })));
    let part = dir.join("orders/part-01.parquet");
    fs::remove_file(&part).unwrap();
    let error = silent(&dir, MIN_SCALE).unwrap_err();
    assert!(error.to_string().contains("orders/part-01.parquet"), "{error}");
}

#[test]
fn runs_at_the_same_time_share_one_set() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("set");
    let made: Vec<Generated> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| silent(&dir, MIN_SCALE).unwrap())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|made| made.fresh).count(), 1);
    assert!(made.iter().all(|one| one.tables == made[0].tables));
    assert!(!silent(&dir, MIN_SCALE).unwrap().fresh);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn strange_scales_and_foreign_folders_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 10_000.1, 0.000_1] {
        let error = silent(&root.path().join("set"), scale).unwrap_err();
        assert!(error.to_string().contains("out of range"), "{error}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    fs::write(root.path().join("mine.txt"), "mine").unwrap();
    assert!(matches!(silent(root.path(), SCALE), Err(GenerateError::Occupied(_))));
    assert!(matches!(silent(Path::new("/"), SCALE), Err(GenerateError::Folder(_) | GenerateError::Occupied(_))));
    let below_a_file = silent(&root.path().join("mine.txt/set"), SCALE).unwrap_err();
    assert!(below_a_file.to_string().contains("mine.txt"), "{below_a_file}");
}

#[test]
fn parts_follow_the_scale() {
    let parts = |scale| TABLES.map(|table| table.parts(scale));
    assert_eq!(parts(0.01), [4, 4, 1, 1, 1, 1, 1, 1]);
    assert_eq!(parts(1.0), [8, 4, 4, 2, 2, 1, 1, 1]);
    for table in TABLES {
        let mut before = 0;
        for scale in [MIN_SCALE, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0, 1_000.0, MAX_SCALE] {
            let parts = table.parts(scale);
            assert!(parts >= before && parts as u64 <= table.expected_rows(scale), "{table:?} at {scale}");
            before = parts;
        }
    }
}

#[test]
fn large_files_hold_several_row_groups_with_statistics() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("part.parquet");
    let part = Part { table: Table::Partsupp, part: 1, parts: 4 };
    write_part(&path, &part, 1.0, &mut |_| true).unwrap().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [122_880, 77_120]);
    for column in reader.metadata().row_group(0).columns() {
        assert!(column.statistics().is_some());
        assert_eq!(column.compression(), Compression::ZSTD(ZstdLevel::default()));
    }
    let first = reader.build().unwrap().next().unwrap().unwrap();
    assert_eq!(first.column(0).data_type(), &DataType::Int64);
    assert_eq!(first.column(0).null_count(), 0);
}

#[test]
fn a_stopped_run_leaves_nothing_behind() {
    let parent = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let stopped = generate_until(&stop, &parent.path().join("set"), SCALE, &mut |_| stop.store(true, Ordering::Relaxed));
    assert!(matches!(stopped, Err(GenerateError::Unfinished(_))), "{stopped:?}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}
