//! Text formats, compression and Hive folders, in one process and on workers.

use tests::cluster::{Cluster, block_on, small_data_settings};
use tests::compare::rows;

/// `a,b\n1,x\n2,"two\nlines"\n3,\n`, gzipped.
const CSV_GZ: [u8; 45] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 75, 212, 73, 226, 50, 212, 169, 224, 50, 210, 81, 42, 41, 207, 231, 202, 201, 204, 75, 45,
    86, 226, 50, 214, 225, 2, 0, 209, 87, 108, 230, 25, 0, 0, 0,
];

fn check(files: &[(&str, &[u8])], sql: &'static str, expected: &[&str]) {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
    for workers in [0, 3] {
        let cluster = Cluster::new(small_data_settings(workers), dir.path());
        let got = block_on(async move { rows(&cluster.query(sql).await.expect("rows").batches) });
        let got: Vec<String> = got.into_iter().map(|row| row.join("|")).collect();
        assert_eq!(got, expected, "{sql} with {workers} workers");
    }
}

#[test]
fn csv_plain_and_compressed_with_line_breaks_in_quotes() {
    let plain: &[u8] = b"a,b\n1,x\n2,\"two\nlines\"\n3,\n";
    let expected = ["1|x", "2|two\nlines", "3|NULL"];
    check(&[("t.csv", plain)], "select * from t order by a", &expected);
    check(&[("t.csv.gz", &CSV_GZ)], "select * from t order by a", &expected);
    check(&[("t/1.csv", plain), ("t/2.csv", plain)], "select a, count(*) from t group by a order by a", &["1|2", "2|2", "3|2"]);
}

#[test]
fn json_lines_and_tsv() {
    let json: &[u8] = b"{\"a\":1,\"b\":{\"c\":[1,2]}}\n{\"a\":2,\"b\":null}\n";
    check(
        &[("t/1.json", json), ("t/2.json", json)],
        "select a, b['c'] c, count(*) from t group by 1, 2 order by 1",
        &["1|[1, 2]|2", "2|NULL|2"],
    );
    check(&[("t.tsv", b"a\tb\n1\tx y\n")], "select b, a from t", &["x y|1"]);
}

#[test]
fn hive_folders_are_columns_and_hidden_files_are_not_read() {
    let csv: &[u8] = b"v\n1\n2\n";
    let files: &[(&str, &[u8])] = &[
        ("t/year=2023/day=2023-01-05/x.csv", csv),
        ("t/year=2024/day=2024-02-01/x.csv", csv),
        ("t/year=2024/day=2024-02-02/x.csv", csv),
        ("t/_temporary/year=2025/day=2025-01-01/x.csv", b"broken"),
        ("t/.crc", b"broken"),
    ];
    check(
        files,
        "select year, sum(v) s, max(day) from t group by year order by year",
        &["2023|3|2023-01-05", "2024|6|2024-02-02"],
    );
    check(files, "select count(*) from t where year = 2024 and day > date '2024-02-01'", &["2"]);
}
