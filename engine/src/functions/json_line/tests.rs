//! What lines of JSON are to each of the two serdes.

use super::*;
use arrow::datatypes::Field;

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn map(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn timestamps() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// The value of the key `v`; `NULL` for NULL, and to OpenX for what is invalid.
fn value(line: &str, target: &DataType, rules: JsonRules) -> Result<String> {
    let has_null_for_invalid = !rules.is_hive();
    value_by(line, target, &Reading::new(rules, JsonProperties { has_null_for_invalid, ..JsonProperties::default() })?)
}

fn value_by(line: &str, target: &DataType, reading: &Reading) -> Result<String> {
    let node = reading.line(line)?;
    let fields = Fields::from(vec![Field::new("v", target.clone(), true)]);
    let columns = columns(&[node.as_ref()], &fields, reading)?;
    let array = build(columns.first().map_or(&[], Vec::as_slice), target, reading)?;
    let options = FormatOptions::default().with_null("NULL");
    Ok(ArrayFormatter::try_new(&array, &options)?.value(0).to_string())
}

fn check(rules: JsonRules, cases: &[(&str, DataType, &str)]) {
    for (json, target, wanted) in cases {
        let line = format!("{{\"x\":[{{}}],\"V\":{json}}}");
        match (value(&line, target, rules), *wanted) {
            (Err(_), "error") => {}
            (found, wanted) => assert_eq!(found.unwrap_or_else(|e| e.to_string()), wanted, "{json} as {target} ({rules:?})"),
        }
    }
}

#[test]
fn scalars_of_openx_are_their_texts() {
    use DataType::{Boolean, Date32, Decimal128, Float32, Float64, Int8, Int32, Int64, Utf8};
    let cases = [
        ("5", Utf8, "5"),
        ("true", Utf8, "true"),
        ("TRUE", Utf8, "true"),
        ("\"TRUE\"", Utf8, "TRUE"),
        ("{\"a\": 1, \"B\": [1.50, \"</x\\u001F\"]}", Utf8, "{\"a\":1,\"B\":[1.50,\"<\\/x\\u001f\"]}"),
        ("1.0E10", Utf8, "1.0E+10"),
        ("0.0000001", Utf8, "1E-7"),
        ("0.00001", Utf8, "0.00001"),
        ("010", Utf8, "8"),
        ("09", Utf8, "9"),
        ("word", Utf8, "word"),
        ("null", Utf8, "NULL"),
        ("\"7\"", Int32, "7"),
        ("1.9", Int32, "1"),
        ("-0.5e1", Int64, "-5"),
        ("0x1F", Int64, "31"),
        ("300", Int8, "NULL"),
        ("\" 7\"", Int32, "NULL"),
        ("true", Int32, "NULL"),
        ("{}", Int32, "error"),
        ("1.005", Decimal128(10, 2), "1.01"),
        ("\"-1.005\"", Decimal128(10, 2), "-1.01"),
        ("99999999999", Decimal128(5, 2), "NULL"),
        ("1.5f", Float64, "1.5"),
        ("\"0x1p3\"", Float32, "8.0"),
        ("\"nan\"", Float64, "NULL"),
        ("\"yes\"", Boolean, "false"),
        ("\"TRUE\"", Boolean, "true"),
        ("[true]", Boolean, "false"),
        ("\"2024-1-31 x\"", Date32, "2024-01-31"),
        ("19000", Date32, "2022-01-08"),
        ("\"x\"", Date32, "NULL"),
        ("\"2024-01-01\"", timestamps(), "NULL"),
        ("\"2024-01-01 00:00:00.1239\"", timestamps(), "2024-01-01T00:00:00.124"),
        ("\"2024-01-01T10:00:00Z\"", timestamps(), "2024-01-01T10:00:00"),
        ("\"2024-01-01T10:00:00+0130\"", timestamps(), "2024-01-01T08:30:00"),
        ("\"2024-01-01T10:00:00.5-01:00\"", timestamps(), "2024-01-01T11:00:00.500"),
        ("\"2024-01-01 10:00:00Z\"", timestamps(), "NULL"),
        ("1700000000", timestamps(), "2023-11-14T22:13:20"),
        ("1700000000123", timestamps(), "2023-11-14T22:13:20.123"),
        ("1700000000.1239", timestamps(), "2023-11-14T22:13:20.123"),
    ];
    check(JsonRules::OpenX, &cases);
}

#[test]
fn nested_values_of_openx_are_forgiving() {
    let row = DataType::Struct(Fields::from(vec![Field::new("a", timestamps(), true), Field::new("b", DataType::Int32, true)]));
    let cases = [
        ("{\"A\":\"2024-01-01 00:00:00.1239\",\"b\":1,\"B\":2}", row.clone(), "{a: 2024-01-01T00:00:00.124, b: 2}"),
        ("[null,3]", row.clone(), "{a: NULL, b: 3}"),
        ("\" \"", row.clone(), "{a: NULL, b: NULL}"),
        ("\"x\"", row, "error"),
        ("[1,null]", list(DataType::Int32), "[1, NULL]"),
        ("7", list(DataType::Int32), "[7]"),
        ("\"\"", list(DataType::Int32), "NULL"),
        ("{\"A\":1,\"a\":2,\"z\":null}", map(DataType::Utf8, DataType::Int32), "{a: 2, z: NULL}"),
        ("\"\"", map(DataType::Utf8, DataType::Int32), "NULL"),
        ("[1]", map(DataType::Utf8, DataType::Int32), "error"),
        ("{\"1\":2}", map(DataType::Int32, DataType::Int32), "{1: 2}"),
        ("{\"1\":2,\"01\":3}", map(DataType::Int32, DataType::Int32), "error"),
        ("{\"x\":2}", map(DataType::Int32, DataType::Int32), "error"),
    ];
    check(JsonRules::OpenX, &cases);
}

#[test]
fn values_of_hives_serde_are_strict() {
    use DataType::{Boolean, Date32, Decimal128, Float64, Int32, Int64, Utf8};
    let cases = [
        ("5", Utf8, "5"),
        ("1.50", Utf8, "1.50"),
        ("true", Utf8, "true"),
        ("{\"a\":1}", Utf8, "error"),
        ("9223372036854775807", Int64, "9223372036854775807"),
        ("1.9", Int32, "1"),
        ("3000000000", Int32, "error"),
        ("\"7\"", Int32, "error"),
        ("true", Int32, "error"),
        ("1.005", Decimal128(10, 2), "1.01"),
        ("\"x\"", Decimal128(10, 2), "error"),
        ("1e2", Float64, "100.0"),
        ("\"1\"", Float64, "error"),
        ("\"x\"", Boolean, "false"),
        ("\"2024-01-31\"", Date32, "2024-01-31"),
        ("19000", Date32, "error"),
        ("\"2024-01-01 00:00:00.1239\"", timestamps(), "2024-01-01T00:00:00.124"),
        ("\"2024-01-01\"", timestamps(), "error"),
        ("1700000000", timestamps(), "error"),
        ("7", list(Int32), "error"),
        ("{\"A\":1,\"a\":2,\"a\":3}", map(Utf8, Int32), "{A: 1, a: 3}"),
        ("{\"1.5\":1}", map(Int32, Int32), "error"),
        ("{\"1.5\":1}", map(Float64, Int32), "{1.5: 1}"),
    ];
    check(JsonRules::Hive, &cases);
}

#[test]
fn lines_that_are_no_objects() {
    let read = |line: &str, rules| value(line, &DataType::Int32, rules).map_err(|e| e.to_string());
    for (line, rules, wanted) in [
        ("{\"v\":1} {\"v\":2}", JsonRules::Hive, "1"),
        ("{\"v\":1,\"V\":2} x", JsonRules::OpenX, "2"),
        ("{\"v\":1,\"V\":null}", JsonRules::Hive, "NULL"),
        ("  ", JsonRules::OpenX, "NULL"),
        ("x", JsonRules::OpenX, "NULL"),
        ("{\"v\":1", JsonRules::OpenXOrNull, "NULL"),
        ("{'v':1}", JsonRules::OpenXOrNull, "1"),
        ("{\"_COL0\":1}", JsonRules::Hive, "NULL"),
    ] {
        assert_eq!(read(line, rules).as_deref(), Ok(wanted), "{line} {rules:?}");
    }
    for (line, rules, wanted) in [
        ("{\"v\":1", JsonRules::OpenX, "HIVE_BAD_DATA"),
        ("{'v':1}", JsonRules::Hive, "HIVE_BAD_DATA"),
        ("x", JsonRules::Hive, "HIVE_BAD_DATA"),
        ("[1]", JsonRules::Hive, "HIVE_BAD_DATA"),
        ("[1]", JsonRules::OpenX, "NOT_SUPPORTED"),
        ("{\"_col0\":1}", JsonRules::Hive, "NOT_SUPPORTED"),
    ] {
        assert!(read(line, rules).is_err_and(|error| error.contains(wanted)), "{line} {rules:?}");
    }
}

#[test]
fn what_is_invalid_is_an_error() -> Result<()> {
    use DataType::{Boolean, Date32, Decimal128, Float64, Int8, Int32, Utf8};
    let reading = Reading::new(JsonRules::OpenX, JsonProperties::default())?;
    let value = |json: &str, target: &DataType| value_by(&format!("{{\"v\":{json}}}"), target, &reading);
    for (json, target) in [
        ("x", Int32),
        ("\"\"", Int32),
        ("300", Int8),
        ("x", Float64),
        ("x", Decimal128(5, 1)),
        ("99999", Decimal128(5, 1)),
        ("x", Date32),
        ("x", timestamps()),
        ("[1,\"x\"]", list(Int32)),
    ] {
        let error = value(json, &target).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("HIVE_BAD_DATA"), "{json} as {target}: {error}");
    }
    for (json, target, wanted) in [("x", Boolean, "false"), ("null", Int32, "NULL"), ("1.9", Int32, "1"), ("x", Utf8, "x")] {
        assert_eq!(value(json, &target)?, wanted, "{json} as {target}");
    }
    Ok(())
}

#[test]
fn keys_of_openx_are_found_by_the_tables_properties() -> Result<()> {
    use DataType::{Int32, Utf8};
    let rules = JsonRules::OpenX;
    let row = || DataType::Struct(vec![Field::new("a_b", Int32, true)].into());
    let keys = |is_case_sensitive, has_dots, mapped: &[(&str, &str)]| JsonProperties {
        is_case_sensitive,
        has_dots,
        by_field: mapped.iter().map(|(field, key)| (field.to_string(), key.to_string())).collect(),
        ..JsonProperties::default()
    };
    for (keys, line, target, wanted) in [
        (keys(false, false, &[("v", "User:Id")]), "{\"user:ID\":1,\"v\":2}", Int32, "1"),
        (keys(false, false, &[("v", "w")]), "{\"v\":2}", Int32, "NULL"),
        (keys(true, false, &[("v", "User")]), "{\"User\":1,\"user\":2,\"USER\":3}", Int32, "1"),
        (keys(true, false, &[]), "{\"V\":1}", Int32, "NULL"),
        (keys(true, false, &[]), "{\"v\":1,\"V\":2}", Int32, "1"),
        (keys(false, true, &[]), "{\"v\":{\"A.b\":1}}", row(), "{a_b: 1}"),
        (keys(true, true, &[]), "{\"v\":{\"A.b\":1,\"a.b\":2}}", row(), "{a_b: 2}"),
        (keys(false, true, &[]), "{\"v\":{\"a.b\":1,\"a_b\":null}}", row(), "{a_b: NULL}"),
        (keys(false, false, &[]), "{\"v\":{\"a.b\":1}}", row(), "{a_b: NULL}"),
        (keys(false, false, &[("a_b", "a b")]), "{\"v\":{\"a b\":1}}", row(), "{a_b: 1}"),
        (keys(false, false, &[]), "{\"v\":{\"k\":1,\"l\":2,\"K\":3}}", map(Utf8, Int32), "{l: 2, K: 3}"),
        (keys(true, false, &[]), "{\"v\":{\"k\":1,\"K\":3}}", map(Utf8, Int32), "{k: 1, K: 3}"),
        (keys(false, false, &[]), "{\"v\":{\"k\":1,\"K\":3}}", Utf8, "{\"K\":3}"),
    ] {
        let reading = Reading::new(rules, JsonProperties::parse(&keys.text())?)?;
        assert_eq!(value_by(line, &target, &reading)?, wanted, "{line} {keys:?}");
    }
    Ok(())
}

#[test]
fn timestamps_have_the_tables_formats() -> Result<()> {
    let formatted = |formats: &str| JsonProperties {
        has_null_for_invalid: true,
        timestamp_formats: formats.to_string(),
        ..JsonProperties::default()
    };
    for (rules, formats, json, wanted) in [
        (JsonRules::Hive, "yyyy-MM-dd'T'HH:mm:ss.SSS'Z',dd/MM/yyyy", "\"2024-01-02T03:04:05.678Z\"", "2024-01-02T03:04:05.678"),
        (JsonRules::Hive, "yyyy-MM-dd'T'HH:mm:ss.SSS'Z',dd/MM/yyyy", "\" 02/01/2024 \"", "2024-01-02T00:00:00"),
        (JsonRules::Hive, "dd/MM/yyyy", "\"2024-01-02 03:04:05\"", "2024-01-02T03:04:05"),
        (JsonRules::OpenX, "dd/MM/yyyy HH:mm", "\"02/01/2024 03:04\"", "2024-01-02T03:04:00"),
        (JsonRules::OpenX, "dd/MM/yyyy HH:mm", "1", "1970-01-01T00:00:01"),
        (JsonRules::OpenX, "dd/MM/yyyy HH:mm", "\"2/1/2024 03:04\"", "NULL"),
    ] {
        let reading = Reading::new(rules, formatted(formats))?;
        assert_eq!(value_by(&format!("{{\"v\":{json}}}"), &timestamps(), &reading)?, wanted, "{json} by {formats}");
    }
    for (rules, formats) in [(JsonRules::Hive, "Q"), (JsonRules::OpenX, "VV")] {
        assert!(formatted(formats).check(rules).is_err(), "{formats}");
    }
    Ok(())
}
