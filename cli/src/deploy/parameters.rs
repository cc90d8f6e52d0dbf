//! Reads the parameters of a deployment in both forms that AWS tools take; knows nothing of what they mean.

use super::Parameters;
use serde_json::Value;

/// Parameters of `{"Name": "value"}` or `[{"ParameterKey": "Name", "ParameterValue": "value"}]`.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn read(text: &str) -> Result<Parameters, String> {
    let pairs: Vec<(String, Value)> = match serde_json::from_str(text).map_err(|e| e.to_string())? {
        Value::Object(map) => match map.get("Parameters") {
            // The form of `aws cloudformation --cli-input-json`.
            Some(Value::Object(inner)) => inner.clone().into_iter().collect(),
            _ => map.into_iter().collect(),
        },
        Value::Array(entries) => entries.into_iter().map(pair).collect::<Result<_, _>>()?,
        _ => return Err("write {\"Name\": \"value\"}, or a list of ParameterKey and ParameterValue".to_owned()),
    };
    let mut parameters = Parameters::new();
    for (name, value) in pairs {
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return Err(format!("the value of {name} is neither text nor a number")),
        };
        if parameters.insert(name.clone(), value).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(parameters)
}

fn pair(entry: Value) -> Result<(String, Value), String> {
    match (entry.get("ParameterKey").and_then(Value::as_str), entry.get("ParameterValue")) {
        (Some(name), Some(value)) => Ok((name.to_owned(), value.clone())),
        _ => Err(format!("{entry} has no ParameterKey with a ParameterValue")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_give_the_same() -> Result<(), String> {
        let plain = read(r#"{"WorkerMemory": 3538, "Reserve": true, "Bucket": "b"}"#)?;
        let listed = read(
            r#"[{"ParameterKey": "WorkerMemory", "ParameterValue": "3538"}, {"ParameterKey": "Reserve", "ParameterValue": "true"},
               {"ParameterKey": "Bucket", "ParameterValue": "b"}]"#,
        )?;
        assert_eq!(plain, listed);
        assert_eq!(read(r#"{"Parameters": {"WorkerMemory": "3538"}}"#)?.len(), 1);
        Ok(())
    }

    #[test]
    fn other_forms_are_told() {
        for (text, part) in [
            ("{", "EOF"),
            ("7", "ParameterKey"),
            (r#"{"a": []}"#, "a"),
            (r#"[{"a": 1}]"#, "ParameterKey"),
            (r#"[{"ParameterKey": "a", "ParameterValue": "1"}, {"ParameterKey": "a", "ParameterValue": "2"}]"#, "twice"),
        ] {
            assert!(read(text).is_err_and(|e| e.contains(part)), "{text}");
        }
    }
}
