//! The ten tiny tables of the correctness traps, four Parquet files each, always the same.

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

/// A folder with the tables, made once for all tests of the process.
pub fn folder() -> &'static Path {
    static DATA: OnceLock<TempDir> = OnceLock::new();
    let made = DATA.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path());
        dir
    });
    made.path()
}

/// Writes the tables as folders below `dir`.
pub fn write(dir: &Path) {
    let ints = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let texts = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    for part in 0..4i64 {
        let t1: Vec<i64> = (0..5).map(|v| part * 5 + v).collect();
        file(
            dir,
            "t1",
            part,
            vec![
                ("a", ints(t1.iter().copied().map(Some).collect())),
                ("g", texts(t1.iter().map(|a| format!("g{}", a % 3)).collect())),
            ],
        );
        let t2: Vec<Option<i64>> = [vec![Some(0), Some(1)], vec![Some(2)], vec![Some(3)], vec![Some(4)]][part as usize].clone();
        file(dir, "t2", part, vec![("tag", texts(vec!["x".into(); t2.len()])), ("b", ints(t2))]);
        let t2n: Vec<Option<i64>> = [vec![Some(0), Some(1)], vec![None], vec![Some(3)], vec![Some(4)]][part as usize].clone();
        file(dir, "t2n", part, vec![("tag", texts(vec!["x".into(); t2n.len()])), ("b", ints(t2n))]);
        let ids: Vec<i64> = (0..1_000).map(|v| part * 1_000 + v).collect();
        let x: Vec<Option<f64>> = (0..1_000).map(|v| (v % 50 != 0).then_some(f64::from(v))).collect();
        file(
            dir,
            "fact",
            part,
            vec![
                ("id", ints(ids.iter().copied().map(Some).collect())),
                ("k", ints(ids.iter().map(|id| Some(id % 100)).collect())),
                ("c", ints(ids.iter().map(|id| Some(id % 7)).collect())),
                ("x", Arc::new(Float64Array::from(x))),
            ],
        );
        let dk: Vec<i64> = (0..30).map(|v| part * 30 + v).collect();
        file(
            dir,
            "dim",
            part,
            vec![
                ("dk", ints(dk.iter().copied().map(Some).collect())),
                ("dn", texts(dk.iter().map(|k| format!("d{k}")).collect())),
            ],
        );
        let s1 = [vec![(None, 1), (Some(1), 1)], vec![(Some(2), 1), (None, 2)], vec![(Some(3), 1)], vec![(None, 3)]]
            [part as usize]
            .clone();
        let s2 = [vec![(None, 9)], vec![(Some(1), 9)], vec![(Some(7), 9)], vec![(None, 8)]][part as usize].clone();
        for (name, rows) in [("s1", s1), ("s2", s2)] {
            let (k, v): (Vec<Option<i64>>, Vec<i64>) = rows.into_iter().unzip();
            file(dir, name, part, vec![("k", ints(k)), ("v", ints(v.into_iter().map(Some).collect()))]);
        }
        file(dir, "nans", part, vec![("x", Arc::new(Float64Array::from(vec![1.0, f64::NAN])) as ArrayRef)]);
        let limits = [vec![(100, "z"), (1, "y")], vec![(5, "a"), (6, "c")], vec![(7, "b"), (8, "d")], vec![(9, "m")]];
        let (d, k): (Vec<i64>, Vec<&str>) = limits[part as usize].iter().copied().unzip();
        let k = k.into_iter().map(String::from).collect();
        file(dir, "limits", part, vec![("d", ints(d.into_iter().map(Some).collect())), ("k", texts(k))]);
        file(dir, "emp", part, vec![("e", ints(vec![]))]);
    }
}

fn file(dir: &Path, table: &str, part: i64, columns: Vec<(&str, ArrayRef)>) {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    let folder = dir.join(table);
    std::fs::create_dir_all(&folder).expect("a folder");
    // Small row groups, so that even the tiny tables can be split between 16 tasks.
    let group_rows = (batch.num_rows() / 20).max(2);
    write_parquet(&folder.join(format!("p{part}.parquet")), &[batch], group_rows);
}

/// Writes `batches` (at least one) as one Parquet file with row groups of at most `group_rows` rows.
pub fn write_parquet(path: &Path, batches: &[RecordBatch], group_rows: usize) {
    let out = File::create(path).expect("a file");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(out, batches[0].schema(), Some(properties)).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("a batch");
    }
    writer.close().expect("a footer");
}
