//! Projected values and locations, at a fixed time.

use super::*;
use crate::catalog::model::StorageDescriptor;

/// 2024-03-30 12:34:56 UTC.
const NOW_MS: i64 = 1_711_802_096_000;

fn table(properties: &[(&str, &str)], key_type: &str) -> Table {
    let storage = StorageDescriptor { location: Some("s3://bucket/t".into()), ..StorageDescriptor::default() };
    Table {
        database_name: "d".into(),
        name: "t".into(),
        storage_descriptor: Some(storage),
        partition_keys: vec![Column::new("p", key_type)],
        parameters: properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..Table::default()
    }
}

fn values(properties: &[(&str, &str)]) -> Result<Vec<String>> {
    values_where(properties, "string", &[])
}

/// The values with conditions on them; numbers are compared as such for other types than string.
fn values_where(properties: &[(&str, &str)], key_type: &str, conditions: &[(Comparison, &[&str])]) -> Result<Vec<String>> {
    let columns = columns(&table(properties, key_type), NOW_MS)?;
    let condition = |(comparison, values): &(Comparison, &[&str])| Condition {
        column: "p".into(),
        comparison: *comparison,
        values: values.iter().map(ToString::to_string).collect(),
        numeric: key_type != "string",
    };
    let conditions: Vec<Condition> = conditions.iter().map(condition).collect();
    columns[0].values(&conditions.iter().collect::<Vec<_>>())
}

fn ends(properties: &[(&str, &str)]) -> Result<(usize, String, String)> {
    let values = values(properties)?;
    let end = |value: Option<&String>| value.cloned().unwrap_or_default();
    Ok((values.len(), end(values.first()), end(values.last())))
}

#[test]
fn enums_integers_and_injected_values() -> Result<()> {
    assert_eq!(values(&[("projection.p.type", "enum"), ("projection.p.values", "a, b,c")])?, ["a", " b", "c"]);
    assert_eq!(
        values(&[
            ("projection.p.type", "integer"),
            ("projection.p.range", "8,12"),
            ("projection.p.interval", "2"),
            ("projection.p.digits", "3")
        ])?,
        ["008", "010", "012"]
    );
    assert_eq!(values(&[("Projection.P.Type", "INTEGER"), ("projection.p.range", "-1,1")])?, ["-1", "0", "1"]);
    let given = values_where(&[("projection.p.type", "injected")], "string", &[(Comparison::Equal, &["given"])]);
    assert_eq!(given?, ["given"]);
    let injected = columns(&table(&[("projection.p.type", "injected")], "string"), NOW_MS)?;
    assert!(injected[0].values(&[]).is_err_and(|e| e.message.starts_with("CONSTRAINT_VIOLATION")));
    Ok(())
}

#[test]
fn dates_step_from_bound_to_bound() -> Result<()> {
    let date = |format: &'static str, range: &'static str, more: &[(&'static str, &'static str)]| {
        let mut properties = vec![("projection.p.type", "date"), ("projection.p.format", format), ("projection.p.range", range)];
        properties.extend_from_slice(more);
        ends(&properties)
    };
    let is = |count, first: &str, last: &str| Ok((count, first.to_string(), last.to_string()));
    assert_eq!(date("yyyy/MM/dd", "2024/02/27,2024/03/01", &[]), is(4, "2024/02/27", "2024/03/01"));
    assert_eq!(date("yyyy-MM-dd", "NOW-3YEARS,NOW", &[]), is(1097, "2021-03-30", "2024-03-30"));
    assert_eq!(date("yyyy-MM", "NOW-2MONTHS,NOW", &[]), is(3, "2024-01", "2024-03"));
    assert_eq!(date("yyyy-MM-dd", "NOW,NOW+1DAYS", &[]), is(2, "2024-03-30", "2024-03-31"));
    let hours = [("projection.p.interval", "6"), ("projection.p.interval.unit", "HOURS")];
    assert_eq!(date("yyyy-MM-dd'T'HH", "2024-01-01T00,2024-01-02T00", &hours), is(5, "2024-01-01T00", "2024-01-02T00"));
    let years = [("projection.p.interval", "1"), ("projection.p.interval.unit", "YEARS")];
    assert_eq!(date("yyyy", "2020,NOW", &years), is(5, "2020", "2024"));
    for (format, range) in [
        ("yyyy-MM-dd", "2024-02-30,NOW"),
        ("yyyy-MM-dd", "NOW*2,NOW"),
        ("yyyy-MM-dd HH", "NOW,NOW"),
        ("EEE", "a,b"),
        ("yyyy-MM-dd", "x"),
    ] {
        assert!(date(format, range, &[]).is_err(), "{format} {range}");
    }
    Ok(())
}

#[test]
fn too_many_values_are_refused_without_making_them() {
    let many = values(&[("projection.p.type", "integer"), ("projection.p.range", "0,9223372036854775807")]);
    assert!(many.is_err_and(|e| e.kind == ErrorKind::LimitExceeded));
    let seconds = [
        ("projection.p.type", "date"),
        ("projection.p.format", "yyyy-MM-dd HH:mm:ss"),
        ("projection.p.range", "1000-01-01 00:00:00,NOW"),
        ("projection.p.interval", "1"),
        ("projection.p.interval.unit", "SECONDS"),
    ];
    assert!(values(&seconds).is_err_and(|e| e.kind == ErrorKind::LimitExceeded));
    let lists = vec![(0..1_000).map(|n| n.to_string()).collect::<Vec<_>>(); 2];
    assert!(partitions(&table(&[], "string"), &lists).is_err_and(|e| e.kind == ErrorKind::LimitExceeded));
}

#[test]
fn a_column_without_projection_is_named() {
    let missing = columns(&table(&[("projection.enabled", "true")], "string"), NOW_MS);
    assert!(missing.is_err_and(|e| e.message.contains("missing projection configuration: [p]")));
    assert!(
        columns(
            &table(
                &[("projection.p.type", "date"), ("projection.p.format", "yyyyMMdd"), ("projection.p.range", "NOW,NOW")],
                "date"
            ),
            NOW_MS
        )
        .is_err()
    );
}

#[test]
fn locations_follow_the_template_or_hive() -> Result<()> {
    let place = |table: &Table, value: &str| {
        Ok::<_, Error>(partitions(table, &[vec![value.to_string()]])?[0].location().unwrap_or_default().to_string())
    };
    assert_eq!(place(&table(&[], "string"), "a:b")?, "s3://bucket/t/p=a%3Ab/");
    let template = table(&[("storage.location.template", "s3://bucket/x/${p}/y")], "string");
    assert_eq!(place(&template, "2024/01")?, "s3://bucket/x/2024/01/y");
    assert!(place(&template, "..").is_err() && place(&template, "${p}").is_err());
    assert!(place(&table(&[("storage.location.template", "s3://bucket/x/")], "string"), "a").is_err());
    Ok(())
}

#[test]
fn conditions_are_asked_before_values_are_counted() -> Result<()> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    let huge = [("projection.p.type", "integer"), ("projection.p.range", "0,99999999"), ("projection.p.interval", "2")];
    let found = |conditions: &[(Comparison, &[&str])]| values_where(&huge, "bigint", conditions);
    assert_eq!(found(&[(Equal, &["2024", "7", "8", "8", "-2", "x"])])?, ["8", "2024"]);
    assert_eq!(found(&[(GreaterOrEqual, &["7"]), (LessOrEqual, &["12"])])?, ["8", "10", "12"]);
    assert_eq!(found(&[(Greater, &["8"]), (Less, &["12"])])?, ["10"]);
    assert!(found(&[(Greater, &["99999998"])])?.is_empty());
    assert!(found(&[(Less, &["1000000000"])]).is_err());
    let digits = [("projection.p.type", "integer"), ("projection.p.range", "0,99999999"), ("projection.p.digits", "8")];
    assert_eq!(values_where(&digits, "string", &[(Equal, &["00000007"])])?, ["00000007"]);
    let seconds = [
        ("projection.p.type", "date"),
        ("projection.p.format", "yyyy-MM-dd HH:mm:ss"),
        ("projection.p.range", "1000-01-01 00:00:00,NOW"),
        ("projection.p.interval", "10"),
        ("projection.p.interval.unit", "SECONDS"),
    ];
    let found = |conditions: &[(Comparison, &[&str])]| values_where(&seconds, "string", conditions);
    let equal: &[&str] = &["2024-01-01 00:00:10", "2024-01-01 00:00:05", "2025-01-01 00:00:00", "x"];
    assert_eq!(found(&[(Equal, equal)])?, ["2024-01-01 00:00:10"]);
    assert_eq!(
        found(&[(Greater, &["2024-01-01 00:00:05"]), (LessOrEqual, &["2024-01-01 00:00:20"])])?,
        ["2024-01-01 00:00:10", "2024-01-01 00:00:20"]
    );
    assert!(found(&[(Greater, &["2024"])]).is_err());
    let months = [("projection.p.type", "date"), ("projection.p.format", "yyyy-MM"), ("projection.p.range", "2023-11,NOW")];
    assert_eq!(values_where(&months, "string", &[(Equal, &["2023-12", "2023-10", "2024-04"])])?, ["2023-12"]);
    assert_eq!(values_where(&months, "string", &[(GreaterOrEqual, &["2024-02"])])?, ["2024-02", "2024-03"]);
    let back =
        [("projection.p.type", "date"), ("projection.p.format", "dd-MM-yyyy"), ("projection.p.range", "30-01-2024,02-02-2024")];
    assert_eq!(values_where(&back, "string", &[(Less, &["02-02-2024"])])?.len(), 4);
    Ok(())
}

#[test]
fn what_is_written_is_looked_for_in_huge_ranges() -> Result<()> {
    let huge = [("projection.enabled", "true"), ("projection.p.type", "integer"), ("projection.p.range", "0,99999999")];
    let table = table(&huge, "bigint");
    let written = |value: &str| partitions(&table, &[vec![value.to_string()]]);
    assert!(check(&table, &written("7")?, NOW_MS).is_ok());
    for value in ["07", "100000000", "x"] {
        assert!(check(&table, &written(value)?, NOW_MS).is_err(), "{value}");
    }
    Ok(())
}
