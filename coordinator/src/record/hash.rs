//! Digests that name things: a principal's folder, a token's object, the content of a request.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Length of a principal key, in hexadecimal characters (128 bits).
const PRINCIPAL_KEY_CHARS: usize = 32;

/// The folder name of a principal; it gives no way back to the principal's name.
pub(crate) fn principal_key(principal: &str) -> String {
    let mut key = sha256_hex(principal.as_bytes());
    key.truncate(PRINCIPAL_KEY_CHARS);
    key
}

/// SHA-256 in 64 lower-case hexadecimal characters.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 of the canonical JSON of `request`: object keys sorted, no spaces, so that the order of fields makes no difference.
///
/// `1` and `1.0` are different values, as are an absent field and a null one.
pub(crate) fn request_hash(request: &Value) -> String {
    let mut text = String::new();
    write_canonical(request, &mut text);
    sha256_hex(text.as_bytes())
}

/// Appends the canonical form; depth is that of the value, which the JSON reader limits to 128.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            text.push('{');
            for (position, name) in names.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(&fields[name], text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_fields_makes_no_difference_and_everything_else_does() {
        let one = json!({"sql": "SELECT 1", "limits": {"a": 1, "b": [1, 2]}});
        let same = json!({"limits": {"b": [1, 2], "a": 1}, "sql": "SELECT 1"});
        assert_eq!(request_hash(&one), request_hash(&same));
        for other in [
            json!({"sql": "SELECT 1", "limits": {"a": 1, "b": [2, 1]}}),
            json!({"sql": "SELECT 1", "limits": {"a": 1.0, "b": [1, 2]}}),
            json!({"sql": "SELECT 1", "limits": {"a": "1", "b": [1, 2]}}),
            json!({"sql": "SELECT 1", "limits": {"a": 1, "b": [1, 2]}, "c": null}),
            json!("sql"),
        ] {
            assert_ne!(request_hash(&one), request_hash(&other), "{other}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_canonical_text() {
        let value = json!({"b": "\"\u{e9}\n", "a": [null, true]});
        let text = "{\"a\":[null,true],\"b\":\"\\\"\u{e9}\\n\"}";
        assert_eq!(request_hash(&value), sha256_hex(text.as_bytes()));
    }

    #[test]
    fn a_principal_key_is_a_plain_folder_name() {
        for principal in ["local", "", "../..", "arn:aws:iam::1:user/a/b", "\u{0}"] {
            let key = principal_key(principal);
            assert_eq!(key.len(), 32);
            assert!(key.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_ne!(principal_key("a"), principal_key("b"));
    }
}
