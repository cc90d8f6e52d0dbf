//! Bodies in both directions.
use super::*;

#[test]
fn bodies_are_text_only_where_their_type_says_so() {
    let cases: [(&str, &[u8], Option<&str>, bool); 6] = [
        ("application/json", b"{}", Some("{}"), false),
        ("Text/CSV; charset=utf-8", b"a,b", Some("a,b"), false),
        ("application/vnd.api+json", b"{}", Some("{}"), false),
        ("application/octet-stream", b"a", Some("YQ=="), true),
        ("text/plain", &[0xff], Some("/w=="), true),
        ("text/plain", b"", None, false),
    ];
    for (kind, body, expected, encoded) in cases {
        let mut headers = HeaderMap::new();
        headers.extend([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        assert_eq!(event_body(&headers, body), (expected.map(str::to_owned), encoded), "{kind}");
    }
}

#[test]
fn answers_that_are_no_http_are_refused() {
    let status = |body: &'static str| http_answer(&Bytes::from_static(body.as_bytes())).map(|answer| answer.status().as_u16());
    assert_eq!(status(r#"{"statusCode":204}"#), Some(204));
    assert_eq!(status(r#"{"statusCode":200,"headers":{"x":1},"body":null,"cookies":null}"#), Some(200));
    assert_eq!(status(r#"{"no":"status"}"#), Some(200));
    for refused in [
        "not json",
        r#"{"statusCode":"200"}"#,
        r#"{"statusCode":100}"#,
        r#"{"statusCode":200,"body":"!","isBase64Encoded":true}"#,
        r#"{"statusCode":200,"headers":{"bad name":"x"}}"#,
        r#"{"statusCode":200,"headers":{"x":"a\r\nset-cookie: b"}}"#,
        r#"{"statusCode":200,"cookies":["a\nb"]}"#,
    ] {
        assert_eq!(status(refused), None, "{refused}");
    }
}
