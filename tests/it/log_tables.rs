//! Tables of logs as Athena's documentation makes them, and columns whose types files do not have.

use crate::ddl::each;

#[test]
fn tables_have_char_and_timestamps_of_milliseconds_only() {
    each(|world| async move {
        let micros = "TIMESTAMP '2024-01-01 00:00:00.123556'";
        for column in [micros.to_string(), format!("ARRAY[{micros}]"), format!("CAST(ROW({micros}) AS ROW(x timestamp(6)))")] {
            let error =
                world.fails(&format!("CREATE TABLE t AS SELECT {column} AS u"), "Incorrect timestamp precision for").await;
            assert!(error.message.contains("the configured precision is MILLISECONDS; column name: u"), "{error}");
        }
        world.run(&[&format!("CREATE TABLE t AS SELECT CAST({micros} AS timestamp(3)) AS u, CAST('a' AS char(3)) AS c")]).await;
        let types = "SELECT data_type FROM information_schema.columns WHERE table_name = 't' ORDER BY ordinal_position";
        assert_eq!(world.rows(types).await, ["timestamp(3)", "char(3)"]);
        assert_eq!(
            world.rows("SELECT CAST(u AS varchar), CAST(c AS varchar) || '.' FROM t WHERE c = 'a'").await,
            ["2024-01-01 00:00:00.124|a  ."]
        );
        world.run(&["INSERT INTO t SELECT u, CAST('b' AS char(2)) FROM t", "INSERT INTO t (c) VALUES 'c'"]).await;
        assert_eq!(world.sorted("SELECT CAST(c AS varchar) || '.' FROM t WHERE c <> 'z'").await, ["a  .", "b  .", "c  ."]);
        world.fails("INSERT INTO t (c) VALUES 'long'", "casting from varchar to char(3) on INSERT").await;
        world.run(&["CREATE TABLE s AS SELECT u, CAST(c AS varchar) AS c FROM t WHERE c = 'a'"]).await;
        world.run(&[&format!("INSERT INTO s SELECT {micros} + INTERVAL '1' DAY, c FROM t WHERE c = 'a'")]).await;
        assert_eq!(
            world.sorted("SELECT CAST(u AS varchar) || c || '.' FROM s").await,
            ["2024-01-01 00:00:00.124a  .", "2024-01-02 00:00:00.124a  ."]
        );
    });
}

#[test]
fn tables_of_logs_are_read_as_athenas_documentation_makes_them() {
    each(|world| async move {
        let put = |path: &str, text: &str| {
            let path = world.root.path().join("bucket").join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        put("cf/a", "#Version: 1.0\n#Fields: date x sc-status\n2019-12-04\tLAX1\t200\n2019-12-04\tLAX1\t404\n");
        put("cf/b", "#Version: 1.0\n#Fields: date x sc-status\n2019-12-05\tSFO1\t200\n");
        let location = world.url("bucket/cf");
        let create = format!(
            "CREATE EXTERNAL TABLE cf (`date` date, x_edge_location string, sc_status int) ROW FORMAT DELIMITED \
             FIELDS TERMINATED BY '\\t' LOCATION '{location}/' TBLPROPERTIES ('skip.header.line.count'='2')"
        );
        world.run(&[&create]).await;
        assert_eq!(world.rows("SELECT count(*) FROM cf").await, ["3"]);
        let sql = "SELECT x_edge_location, count(*), min(sc_status) FROM cf GROUP BY 1";
        assert_eq!(world.sorted(sql).await, ["LAX1|2|200", "SFO1|1|200"]);
        put(
            "ct/a.json",
            r#"{"Records":[{"eventName":"A","userIdentity":{"arn":"x"},"requestParameters":{"n":1}},{"eventName":"B"}]}"#,
        );
        put("ct/b.json", r#"{"Records":[{"eventName":"A","userIdentity":{"arn":"y"},"requestParameters":{"n":2}}]}"#);
        let location = world.url("bucket/ct");
        let create = format!(
            "CREATE EXTERNAL TABLE ct (eventname STRING, useridentity STRUCT<arn:STRING>, requestparameters STRING) \
             ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe' \
             STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' \
             OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' LOCATION '{location}/'"
        );
        world.run(&[&create]).await;
        assert_eq!(world.sorted("SELECT eventname, count(*) FROM ct GROUP BY 1").await, ["A|2", "B|1"]);
        let sql = "SELECT useridentity.arn, json_extract_scalar(requestparameters, '$.n') FROM ct WHERE eventname = 'A'";
        assert_eq!(world.sorted(sql).await, ["x|1", "y|2"]);
        world.fails("INSERT INTO ct SELECT * FROM ct", "files of CloudTrail are not written here").await;
        put("chars/a", "AL,F,abc,1\nAK,,ab,2\nWA,M,ab,3\n");
        let location = world.url("bucket/chars");
        let create = format!(
            "CREATE EXTERNAL TABLE chars (state char(2), gender char(1), name char(5), id int) ROW FORMAT DELIMITED \
             FIELDS TERMINATED BY ',' LOCATION '{location}/'"
        );
        world.run(&[&create, "CREATE VIEW v AS SELECT name n, id FROM chars"]).await;
        assert_eq!(
            world.sorted("SELECT id FROM chars WHERE name = 'ab' AND (gender = '' OR state IN ('WA ', 'x'))").await,
            ["2", "3"]
        );
        assert_eq!(world.sorted("SELECT CAST(n AS varchar) || '.', count(*) FROM v GROUP BY n").await, ["ab   .|2", "abc  .|1"]);
        let sql = "SELECT a.id, b.id FROM v a JOIN chars b ON a.n = b.name WHERE a.n BETWEEN 'ab' AND 'abb' AND b.id > 2";
        assert_eq!(world.sorted(sql).await, ["2|3", "3|3"]);
    });
}
