//! What a caller asks for, checked.

use crate::record::QueryLimits;
use crate::result::ResultFormat;
use engine::{Error, Result};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sql::Parameter;

/// Longest client token and work group, in characters.
const MAX_LABEL_CHARS: usize = 128;
/// Most parameters of one statement.
const MAX_PARAMETERS: usize = 10_000;
/// Longest wait for a query that runs on its own, in milliseconds: below the 29 s of an API Gateway.
pub(crate) const MAX_WAIT_MS: u64 = 25_000;

/// The body of `POST /v1/query`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// One statement.
    pub sql: String,
    /// Database of tables that are named without one.
    #[serde(default)]
    pub database: Option<String>,
    /// Values for its `?`: strings, numbers, booleans, null.
    #[serde(default, deserialize_with = "parameters")]
    pub parameters: Vec<Value>,
    /// Format of the rows; wins over `Accept`.
    #[serde(default)]
    pub format: Option<String>,
    /// Whether to answer at once.
    #[serde(default, rename = "async")]
    pub is_async: bool,
    /// How long an asynchronous query is waited for before the answer, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
    /// The same token gives the same query.
    #[serde(default)]
    pub client_token: Option<String>,
    /// Free label.
    #[serde(default)]
    pub work_group: Option<String>,
    /// What the query may use.
    #[serde(default, deserialize_with = "limits")]
    pub limits: RequestLimits,
}

/// Limits of one query.
#[derive(Clone, Copy, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLimits {
    /// Longest run, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Most bytes of table data.
    pub max_scan_bytes: Option<u64>,
    /// Highest price, in dollars.
    pub max_cost_usd: Option<f64>,
}

/// The values as they are written: a whole number beyond bigint would come as the double next to it.
fn parameters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    let values = Vec::<Box<RawValue>>::deserialize(deserializer)?;
    let value = |(index, value): (usize, Box<RawValue>)| {
        let text = value.get();
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_err() {
            let place = index + 1;
            return Err(de::Error::custom(format_args!(
                "parameters: number {place} is beyond bigint; give it as a string, and CAST(? AS decimal(38,0)) in the SQL"
            )));
        }
        serde_json::from_str(text).map_err(de::Error::custom)
    };
    values.into_iter().enumerate().map(value).collect()
}

/// Limits by name only: a list of them would do for a structure.
fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RequestLimits, D::Error> {
    let fields = Map::<String, Value>::deserialize(deserializer)?;
    serde_json::from_value(Value::Object(fields)).map_err(|e| de::Error::custom(format_args!("limits: {e}")))
}

/// A request whose fields make sense.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) sql: String,
    pub(crate) database: Option<String>,
    pub(crate) values: Vec<Value>,
    pub(crate) format: ResultFormat,
    pub(crate) is_async: bool,
    pub(crate) wait_ms: u64,
    pub(crate) client_token: Option<String>,
    pub(crate) work_group: String,
    pub(crate) limits: QueryLimits,
}

impl QueryRequest {
    /// A request for the rows of `sql`.
    pub fn of(sql: String) -> Self {
        Self {
            sql,
            database: None,
            parameters: Vec::new(),
            format: None,
            is_async: false,
            wait_ms: 0,
            client_token: None,
            work_group: None,
            limits: RequestLimits::default(),
        }
    }

    /// Checks the fields; rows come in `accepted` where the request names no format.
    ///
    /// # Errors
    /// [`engine::ErrorKind::InvalidQuery`] that names the field.
    pub(crate) fn check(self, accepted: ResultFormat) -> Result<Checked> {
        let format = match self.format.as_deref() {
            None => accepted,
            Some(name) => name.parse().map_err(|e: Error| e.context("format"))?,
        };
        if self.parameters.len() > MAX_PARAMETERS {
            return Err(Error::invalid(format!("parameters: at most {MAX_PARAMETERS} values can be given")));
        }
        for (index, value) in self.parameters.iter().enumerate() {
            parameter(index, value)?;
        }
        let label = |name: &str, text: Option<&String>| match text {
            Some(text) if text.is_empty() || text.chars().count() > MAX_LABEL_CHARS || text.chars().any(char::is_control) => {
                Err(Error::invalid(format!("{name}: give 1 to {MAX_LABEL_CHARS} characters, none of them control characters")))
            }
            _ => Ok(()),
        };
        label("client_token", self.client_token.as_ref())?;
        label("work_group", self.work_group.as_ref())?;
        label("database", self.database.as_ref())?;
        let RequestLimits { timeout_ms, max_scan_bytes, max_cost_usd } = self.limits;
        if max_cost_usd.is_some_and(|cost| !(0.0..=1_000_000.0).contains(&cost)) {
            return Err(Error::invalid("limits.max_cost_usd: give an amount from 0 to 1,000,000"));
        }
        if timeout_ms == Some(0) {
            return Err(Error::invalid("limits.timeout_ms: give at least 1"));
        }
        Ok(Checked {
            sql: self.sql,
            database: self.database.map(|name| name.to_lowercase()),
            values: self.parameters,
            format,
            is_async: self.is_async,
            wait_ms: self.wait_ms.min(MAX_WAIT_MS),
            client_token: self.client_token,
            work_group: self.work_group.unwrap_or_else(|| "primary".into()),
            limits: QueryLimits { timeout_ms, max_scan_bytes, max_cost_usd },
        })
    }
}

impl Checked {
    /// The fields that make two requests the same.
    pub(crate) fn identity(&self) -> Value {
        json!({
            "sql": self.sql, "parameters": self.values, "format": self.format.name(), "async": self.is_async,
            "work_group": self.work_group, "limits": self.limits, "database": self.database,
        })
    }
}

/// The SQL value of parameter `index` (from 0).
pub(crate) fn parameter(index: usize, value: &Value) -> Result<Parameter> {
    match value {
        Value::Null => Ok(Parameter::Null),
        Value::Bool(value) => Ok(Parameter::Boolean(*value)),
        Value::Number(value) => Ok(Parameter::Number(value.to_string())),
        Value::String(value) => Ok(Parameter::String(value.clone())),
        Value::Array(_) | Value::Object(_) => {
            let place = index + 1;
            Err(Error::invalid(format!(
                "parameters: number {place} is a list or an object; give strings, numbers, booleans or null"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> Result<Checked, String> {
        let request: QueryRequest = serde_json::from_str(body).map_err(|e| e.to_string())?;
        request.check(ResultFormat::Json).map_err(|e| e.message)
    }

    #[test]
    fn fields_have_defaults_and_bounds() -> Result<(), String> {
        let checked = check(r#"{"sql": "SELECT 1"}"#)?;
        assert_eq!((checked.work_group.as_str(), checked.format, checked.is_async), ("primary", ResultFormat::Json, false));
        assert_eq!(check(r#"{"sql": "x", "format": "csv", "wait_ms": 99999}"#)?.wait_ms, MAX_WAIT_MS);
        let token = |length: usize| check(&format!(r#"{{"sql": "x", "client_token": "{}"}}"#, "t".repeat(length)));
        assert!(token(MAX_LABEL_CHARS).is_ok() && token(MAX_LABEL_CHARS + 1).is_err() && token(0).is_err());
        Ok(())
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (body, part) in [
            ("{}", "sql"),
            (r#"{"sql": 1}"#, "string"),
            (r#"{"sql": "x", "sqll": 1}"#, "sqll"),
            (r#"{"sql": "x", "format": "xml"}"#, "xml"),
            (r#"{"sql": "x", "parameters": [1, [2]]}"#, "number 2"),
            (r#"{"sql": "x", "limits": {"max_cost_usd": -1}}"#, "max_cost_usd"),
            (r#"{"sql": "x", "limits": {"timeout_ms": 0}}"#, "timeout_ms"),
            (r#"{"sql": "x", "limits": {"timeout": 1}}"#, "timeout"),
            (r#"{"sql": "x", "limits": [1, 2, 3]}"#, "expected a map"),
            (r#"{"sql": "x", "parameters": [1, 9223372036854775808]}"#, "number 2 is beyond bigint"),
            (r#"{"sql": "x", "parameters": [-100000000000000000000]}"#, "decimal"),
            (r#"{"sql": "x", "work_group": "a\nb"}"#, "work_group"),
        ] {
            assert!(check(body).is_err_and(|e| e.contains(part)), "{body}");
        }
    }

    #[test]
    fn numbers_come_as_they_are_written() -> Result<(), String> {
        let checked =
            check(r#"{"sql": "x", "parameters": [117.91870367106105, 1e20, -9223372036854775808, "9223372036854775808"]}"#)?;
        let texts: Vec<_> = checked.values.iter().map(Value::to_string).collect();
        assert_eq!(texts, ["117.91870367106105", "1e+20", "-9223372036854775808", "\"9223372036854775808\""]);
        Ok(())
    }

    #[test]
    fn the_same_request_has_the_same_identity() -> Result<(), String> {
        let (a, b) = (check(r#"{"sql": "x", "client_token": "1"}"#)?, check(r#"{"client_token": "2", "sql": "x"}"#)?);
        assert_eq!(a.identity(), b.identity());
        assert_ne!(a.identity(), check(r#"{"sql": "x", "parameters": [1]}"#)?.identity());
        Ok(())
    }
}
