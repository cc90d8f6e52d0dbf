//! Signatures of another signer (object_store's), their time limits and forms.
use super::*;
use http::Request;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const BODY: &[u8] = b"{}";

fn credential(token: Option<&str>) -> Credential {
    Credential {
        access_key: "AKID".into(),
        secret: "secret".into(),
        session_token: token.map(str::to_owned),
        user_arn: "arn:aws:iam::111122223333:user/ana".into(),
    }
}

/// A request that object_store has signed just now.
fn signed(path: &str, token: Option<&str>, sign_payload: bool) -> Result<Parts, Box<dyn std::error::Error>> {
    let request = Request::post(format!("http://localhost:1234{path}")).header("host", "localhost:1234");
    let request = request.header("x-amz-meta", " a   b ").header("x-amz-meta", "c");
    let mut request: HttpRequest = request.body(HttpRequestBody::from(BODY.to_vec()))?;
    let key = AwsCredential { key_id: "AKID".into(), secret_key: "secret".into(), token: token.map(str::to_owned) };
    AwsAuthorizer::new(&key, "lambda", "us-east-1").with_sign_payload(sign_payload).authorize(&mut request, None);
    Ok(request.into_parts().0)
}

fn code(parts: &Parts, credential: &Credential, now: Duration) -> Option<&'static str> {
    verify(std::slice::from_ref(credential), "us-east-1", parts, BODY, now).err().map(|refused| refused.code)
}

#[test]
fn single_encoded_paths_queries_and_headers_of_another_signer_pass() -> TestResult {
    let now = crate::clock::unix_time();
    let paths = ["/2015-03-31/functions/worker/invocations?Qualifier=live", "/?b=2&a=1&c", "/a%20b/c?q=%C3%BC", "/"];
    for path in paths {
        for (token, sign_payload) in [(None, true), (Some("token+/="), false)] {
            assert_eq!(code(&signed(path, token, sign_payload)?, &credential(token), now), None, "{path}");
        }
    }
    Ok(())
}

#[test]
fn a_signature_is_good_for_five_minutes_before_and_after() -> TestResult {
    let credential = credential(None);
    let parts = signed("/", None, true)?;
    let date = header_or_empty(&parts, "x-amz-date");
    let time = NaiveDateTime::parse_from_str(&date, "%Y%m%dT%H%M%SZ")?.and_utc().timestamp();
    let at = |skew: i64| Duration::from_secs((time + skew).cast_unsigned());
    for (skew, expected) in [(-301, true), (-300, false), (0, false), (300, false), (301, true)] {
        assert_eq!(code(&parts, &credential, at(skew)), expected.then_some("InvalidSignatureException"), "{skew}");
    }
    Ok(())
}

#[test]
fn unsigned_parts_wrong_tokens_and_broken_headers_are_refused() -> TestResult {
    let now = crate::clock::unix_time();
    let plain = credential(None);
    let parts = signed("/", None, true)?;
    let with = |name: &'static str, value: &str| -> Result<Parts, Box<dyn std::error::Error>> {
        let mut parts = parts.clone();
        parts.headers.insert(name, value.parse()?);
        Ok(parts)
    };
    let authorization = header_or_empty(&parts, "authorization");
    let cases = [
        (with("x-amz-invocation-type", "Event")?, "InvalidSignatureException"),
        (with("x-amz-meta", "other")?, "InvalidSignatureException"),
        (with("x-amz-content-sha256", &"0".repeat(64))?, "InvalidSignatureException"),
        (with("x-amz-content-sha256", UNSIGNED)?, "InvalidSignatureException"),
        (with("x-amz-date", "yesterday")?, "IncompleteSignatureException"),
        (with("authorization", "Bearer token")?, "IncompleteSignatureException"),
        (with("authorization", "AWS4-HMAC-SHA256")?, "IncompleteSignatureException"),
        (with("authorization", &authorization.replace("Signature=", "Signature=x"))?, "IncompleteSignatureException"),
        (with("authorization", &authorization.replace("host;", "host;x-gone;"))?, "InvalidSignatureException"),
        (with("authorization", &authorization.replace("AKID", "OTHER"))?, "UnrecognizedClientException"),
    ];
    for (index, (parts, expected)) in cases.iter().enumerate() {
        assert_eq!(code(parts, &plain, now), Some(*expected), "case {index}");
    }
    // A key with a token needs it, and one without a token takes none.
    assert_eq!(code(&parts, &credential(Some("t")), now), Some("UnrecognizedClientException"));
    assert_eq!(code(&signed("/", Some("t"), true)?, &plain, now), Some("UnrecognizedClientException"));
    assert_eq!(
        verify(&[], "us-east-1", &parts, BODY, now).err().map(|refused| refused.code),
        Some("UnrecognizedClientException")
    );
    assert_eq!(
        verify(&[plain], "eu-west-1", &parts, BODY, now).err().map(|refused| refused.code),
        Some("InvalidSignatureException")
    );
    Ok(())
}

#[test]
fn encoded_slashes_stay_apart_from_real_ones() {
    assert_eq!(canonical_paths("/a%3Ab/c"), ["/a%3Ab/c", "/a%253Ab/c", "/a%3Ab/c"]);
    assert!(canonical_paths("/a%2fb").iter().all(|path| path.matches('/').count() == 1));
}
