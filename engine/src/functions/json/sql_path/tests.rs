//! Paths over documents. Expected: the documentation of Trino and the tests of its path engine.

use super::super::node::{Duplicates, Node};
use super::super::reader::Reader;
use super::*;

/// What is selected, as JSON; or the error of the path.
fn select(json: &str, path: &str) -> Result<String, String> {
    let root = Node::read(&mut Reader::new(json), Duplicates::LastWins).unwrap();
    let path = SqlPath::parse(path).map_err(|error| error.to_string())?;
    let array = Node::read(&mut Reader::new("[\"element\", 7.0, null]"), Duplicates::LastWins).unwrap();
    let number = |number| Some(Item::Scalar(Scalar::Number(number)));
    let given = [
        ("tiny", number(Number::Int(Width::Tiny, 1))),
        ("big", number(Number::Int(Width::Big, -2))),
        ("decimal", number(Number::Decimal(-123, 3, 1))),
        ("long", number(Number::Decimal(100_000_000_000_000_000_000, 30, 20))),
        ("double", number(Number::Double(5.0))),
        ("text", Some(Item::Scalar(Scalar::Text("xyz".into())))),
        ("array", Some(Item::Node(&array))),
        ("none", None),
    ];
    match Evaluation::new(&path, &root, &given).run() {
        Ok(items) => Ok(items.iter().map(|item| item.json_text().unwrap()).collect::<Vec<_>>().join(" ")),
        Err(Stop::Path(message)) => Err(message),
        Err(Stop::Refused(error)) => Err(format!("refused: {error}")),
    }
}

fn check(json: &str, cases: &[(&str, &str)]) {
    for (path, expected) in cases {
        match select(json, path) {
            Ok(found) => assert_eq!(found, *expected, "{path}"),
            Err(error) => assert_eq!(*expected, "error", "{path}: {error}"),
        }
    }
}

#[test]
fn accessors() {
    check(
        r#"{"a": [{"b": 1}, {"b": 2}, 3], "c d": {"b": 4}, "last": 5, "q\"": 6, "back\\": 7}"#,
        &[
            ("lax $.a.b", "1 2"),
            ("strict $.a.b", "error"),
            ("strict $.a[0 to 1].b", "1 2"),
            ("lax $.a[2, 0].b", "1"),
            ("lax $.a[last]", "3"),
            ("lax $.a[last - 1].b", "2"),
            ("lax $.a[last - 1 to last].b", "2"),
            ("lax $.a[1 to 100].b", "2"),
            ("strict $.a[1 to 100]", "error"),
            ("strict $.a[1 to 0]", "error"),
            ("lax $.a[1 to 0]", ""),
            ("lax $.a[-5 to 0].b", "1"),
            ("lax $.a[7]", ""),
            ("lax $.a[0, 0, 1].b", "1 1 2"),
            ("lax $.a[0.5].b", "2"),
            ("lax $.a[$.a[0].b].b", "2"),
            ("lax $.a[$tiny].b", "2"),
            ("lax $.a[\"x\"]", "error"),
            ("lax $.a[$.a]", "error"),
            ("lax last", "error"),
            ("lax $.\"c d\".b[0]", "4"),
            ("strict $.\"c d\".b[0]", "error"),
            ("lax $.last", "5"),
            ("lax $.*.b", "1 2 4"),
            ("lax $..b", "1 2 4"),
            ("strict $..b", "1 2 4"),
            ("lax $..\"c d\"", "{\"b\":4}"),
            ("lax $.a[*].b", "1 2"),
            ("lax $.x", ""),
            ("strict $.x", "error"),
            ("lax $.x[*]", ""),
            ("lax $array[1 to last]", "7.0 null"),
            ("lax $none", ""),
            ("lax $none.a", ""),
        ],
    );
    check(r#"{"q\"": 6, "back\\": 7}"#, &[("lax $.\"q\"\"\"", "6"), ("lax $.\"back\\\"", "7")]);
    check("[]", &[("lax $[0]", ""), ("strict $[0]", "error"), ("lax $[\"x\"]", ""), ("strict $[*]", "")]);
    check("[[1, 2], [3]]", &[("lax $[*][0]", "1 3"), ("lax $[0]", "[1,2]"), ("strict $[*][*]", "1 2 3"), ("lax $[*][1]", "2")]);
    check(
        r#"{"id": 1, "notes": [{"type": 1, "comment": "foo"}, {"type": 2, "comment": null}], "comment": ["bar", "baz"]}"#,
        &[("lax $..comment", "[\"bar\",\"baz\"] \"foo\" null")],
    );
}

#[test]
fn literals_and_arithmetic() {
    check(
        "-5",
        &[
            ("lax 1", "1"),
            ("lax -1", "-1"),
            ("lax - 1", "-1"),
            ("lax 1.50", "1.50"),
            ("lax .5", "0.5"),
            ("lax 0.0000001", "1E-7"),
            ("lax 0.000001", "0.000001"),
            ("lax 1.2e3", "1200.0"),
            ("lax true", "true"),
            ("lax null", "null"),
            ("lax \"a\"\"b\"", "\"a\\\"b\""),
            ("lax $ + $decimal", "-17.3"),
            ("lax 0e0 - $decimal", "12.3"),
            ("lax $ * 3", "-15"),
            ("lax $decimal - $long", "-13.30000000000000000000"),
            ("lax 1 + 2 * 3", "7"),
            ("lax (1 + 2) * 3", "9"),
            ("lax 7 / 2", "3"),
            ("lax -7 % 2", "-1"),
            ("lax 7.0 / 2", "3.5"),
            ("lax 1.00 / 3", "0.33"),
            ("lax 2.00 / 3", "0.67"),
            ("lax 5.5 % 2", "1.5"),
            ("lax 7e0 / 2", "3.5"),
            ("lax 7e0 / 0", "\"Infinity\""),
            ("lax 7 / 0", "error"),
            ("lax 7.0 / 0", "error"),
            ("lax -$", "5"),
            ("lax +$", "-5"),
            ("lax - -1", "1"),
            ("lax 2147483647 + 1", "error"),
            ("lax 2147483648 + 1", "2147483649"),
            ("lax 1000000000000 * 1000000000000", "error"),
            ("lax -\"a\"", "error"),
            ("lax 1 + true", "error"),
            ("lax $array[*] + 0", "error"),
            ("lax -$text", "error"),
        ],
    );
    check("[-5]", &[("lax $ * 3", "-15"), ("strict $ * 3", "error")]);
    check("12345678901234567890", &[("lax $", "12345678901234567890"), ("lax $ + 1", "error")]);
    check("[-1, 2, -3]", &[("lax -$[*]", "1 -2 3"), ("lax -$", "1 -2 3"), ("strict -$", "error")]);
}

#[test]
fn methods() {
    check(
        "[-1.5, -1, 1.3]",
        &[
            ("lax $.ceiling()", "-1.0 -1 2.0"),
            ("lax $.floor()", "-2.0 -1 1.0"),
            ("lax $.abs()", "1.5 1 1.3"),
            ("strict $.abs()", "error"),
            ("strict $[*].abs()", "1.5 1 1.3"),
            ("lax $.size()", "3"),
            ("lax $.type()", "\"array\""),
            ("lax $[*].type()", "\"number\" \"number\" \"number\""),
            ("lax $decimal.floor()", "-13"),
            ("lax $decimal.ceiling()", "-12"),
            ("lax $decimal.abs()", "12.3"),
            ("lax $decimal.type()", "\"number\""),
            ("lax $text.abs()", "error"),
        ],
    );
    check("[-1, 23e4, \"5.6\"]", &[("lax $.double()", "-1.0 230000.0 5.6")]);
    check("[\"x\"]", &[("lax $.double()", "error"), ("lax $[*].type()", "\"string\"")]);
    check("5", &[("lax $.size()", "1"), ("strict $.size()", "error"), ("lax $.keyvalue()", "error")]);
    check(
        r#"[{"customer": 100, "region": "AFRICA"}, {"region": "ASIA"}]"#,
        &[
            (
                "lax $.keyvalue()",
                "{\"name\":\"customer\",\"value\":100,\"id\":0} {\"name\":\"region\",\"value\":\"AFRICA\",\"id\":0} \
                 {\"name\":\"region\",\"value\":\"ASIA\",\"id\":1}",
            ),
            ("lax $.keyvalue().name", "\"customer\" \"region\" \"region\""),
            ("lax $.keyvalue() ? (@.name == \"region\").value", "\"AFRICA\" \"ASIA\""),
            ("lax $.keyvalue().*", "\"customer\" 100 0 \"region\" \"AFRICA\" 0 \"region\" \"ASIA\" 1"),
            ("lax $[1].keyvalue().keyvalue().value", "\"region\" \"ASIA\" 0"),
            ("lax $[1].keyvalue()..value", "\"ASIA\""),
            ("lax $[1].keyvalue().type()", "\"object\""),
            ("lax $.keyvalue().x", ""),
            ("strict $[*].keyvalue().x", "error"),
        ],
    );
}

#[test]
fn filters() {
    let customers = r#"[{"customer": 100, "region": "AFRICA"}, {"region": "ASIA"},
                        {"customer": 300, "region": "AFRICA", "comment": null}]"#;
    check(
        customers,
        &[
            ("lax $ ? (@.region != \"ASIA\").customer", "100 300"),
            ("lax $ ? (!exists(@.customer)).region", "\"ASIA\""),
            ("lax $ ? (@.customer > 100 && exists(@.comment)).customer", "300"),
            ("lax $ ? (@.customer > 200 || @.region starts with \"AS\").region", "\"ASIA\" \"AFRICA\""),
            ("lax $ ? (@.comment == null).customer", "300"),
            ("lax $ ? ((@.customer > \"x\") is unknown).customer", "100 300"),
            ("lax $ ? (@.customer + 1 == 101).customer", "100"),
            ("lax $ ? ((@.customer + 1) * 2 == 202).customer", "100"),
            ("lax $ ? ((((@.customer == 100)))).customer", "100"),
            ("lax $ ? (@.region starts with $text)", ""),
            ("lax $ ? (@.customer >= 100 && @.customer <= 100).customer", "100"),
            ("lax $ ? (@.customer <> 100).customer", "300"),
            ("lax $ ? (exists(@ ? (@.customer < 200))).customer", "100"),
        ],
    );
    check(
        "[1, \"a\", null, [2], {\"x\": 1}, true]",
        &[
            ("strict $[*] ? (@ == null)", "null"),
            ("strict $[*] ? (@ != null)", "1 \"a\" [2] {\"x\":1} true"),
            ("strict $[*] ? (@ < null)", ""),
            ("strict $[*] ? (@ == \"a\")", "\"a\""),
            ("strict $[*] ? ((@ == \"a\") is unknown)", "1 [2] {\"x\":1} true"),
            ("strict $[*] ? (@ == 1.0)", "1"),
            ("strict $[*] ? (@ == true)", "true"),
            ("lax $[*] ? (@ == 2)", "2"),
            ("lax $ ? (@ == 1)", "1"),
            ("strict $ ? (@[5] == 1)", ""),
            ("strict $ ? ((exists(@[9])) is unknown)", "[1,\"a\",null,[2],{\"x\":1},true]"),
            ("lax $ ? (exists(@[9]))", ""),
        ],
    );
    // In lax mode a comparison ends with the first answer, in strict mode an error anywhere makes it unknown.
    check(
        "[[1, \"a\"], [\"a\", 1]]",
        &[("strict $[*] ? (@[*] == 1)", ""), ("lax $[*][*] ? (@ == 1)", "1 1"), ("lax $ ? (@[*] == 1)", "[1,\"a\"]")],
    );
}

#[test]
fn what_is_no_path_is_an_error() {
    for path in [
        "",
        "lax",
        "$.a",
        "LAX $",
        "lax $.",
        "lax $.a b",
        "lax $[",
        "lax $[1",
        "lax $.\"a",
        "lax (@ == 1)",
        "lax $ ? (@)",
        "lax $ ? @ == 1",
        "lax $ ? (1 == 1 == 1)",
        "lax $ ? (! @ == 1)",
        "lax $ ? (@ is unknown)",
        "lax $ ? ((@ == 1) + 1)",
        "lax $ ? (@ starts with 1)",
        "lax $.x()",
        "lax $.é",
        "lax $ # 1",
        "lax 99999999999999999999",
        "lax $.a.like_regex",
        "lax exists($)",
    ] {
        assert!(SqlPath::parse(path).is_err() == (path != "lax $.a.like_regex"), "{path}");
    }
    for path in ["lax $.datetime()", "lax $ ? (@ like_regex \"a\")"] {
        assert!(matches!(SqlPath::parse(path), Err(DataFusionError::NotImplemented(_))), "{path}");
    }
}

#[test]
fn paths_and_their_work_are_bounded() {
    for (open, close) in [("(", ")"), ("-(", ")"), ("$ ? (exists(", "))"), ("$[", "]")] {
        let nested = |depth: usize| format!("lax {}1{}", open.repeat(depth), close.repeat(depth));
        assert!(SqlPath::parse(&nested(10)).is_ok(), "{open}");
        assert!(SqlPath::parse(&nested(20_000)).is_err(), "{open}");
    }
    assert!(SqlPath::parse(&format!("lax {}1", "-".repeat(20_000))).is_err());
    assert!(SqlPath::parse(&format!("lax 1{}", " + 1".repeat(20_000))).is_err());
    assert!(SqlPath::parse(&format!("lax ${}", ".a".repeat(20_000))).is_ok());
    let many = format!("[{}1]", "1,".repeat(2_000));
    let slow = "strict $[*] ? (exists($[*] ? (exists($[*] ? (@ == 2)))))";
    assert!(select(&many, slow).is_err_and(|error| error.contains("refused")));
    let wide = format!("lax $[{}0]{}", "0, ".repeat(99), "[*]".repeat(3));
    assert!(select(&many, &wide).is_ok());
}

#[test]
fn variables_need_a_value() {
    let path = SqlPath::parse("lax $a + $b").unwrap();
    assert!(path.check_variables(&["a".into(), "b".into()]).is_ok());
    let error = path.check_variables(&["A".into(), "b".into()]).unwrap_err().to_string();
    assert!(error.contains("Try quoting \"a\""), "{error}");
}
