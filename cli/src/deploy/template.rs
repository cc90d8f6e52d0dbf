//! Reads the parameters that a CloudFormation template declares; reads nothing else of it, and no YAML but what stands there.

/// A parameter as declared.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) is_number: bool,
    /// It must be given when absent.
    pub(super) default: Option<String>,
    /// Any value when empty.
    pub(super) allowed: Vec<String>,
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
    /// Regular expression of the whole value.
    pub(super) pattern: Option<String>,
    /// Most characters.
    pub(super) max_length: Option<usize>,
}

/// Columns before a parameter's name.
const NAME_INDENT: usize = 2;

/// The parameters of a template in YAML, one property a line.
///
/// # Errors
/// When it declares none.
pub(super) fn read(text: &str) -> Result<Vec<Parameter>, String> {
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if indent == 0 {
            inside = content == "Parameters:";
        } else if inside && let Some((key, value)) = content.split_once(':') {
            match parameters.last_mut() {
                _ if indent == NAME_INDENT => parameters.push(Parameter { name: key.to_owned(), ..Parameter::default() }),
                Some(parameter) => set(parameter, key, value.trim()),
                None => {}
            }
        }
    }
    if parameters.is_empty() { Err("no parameters are declared below 'Parameters:'".to_owned()) } else { Ok(parameters) }
}

fn set(parameter: &mut Parameter, key: &str, value: &str) {
    match key {
        "Type" => parameter.is_number = unquoted(value) == "Number",
        "Default" => parameter.default = Some(unquoted(value)),
        "AllowedValues" => {
            let list = value.trim_start_matches('[').trim_end_matches(']');
            parameter.allowed = list.split(',').map(|item| unquoted(item.trim())).collect();
        }
        "AllowedPattern" => parameter.pattern = Some(unquoted(value)),
        "MinValue" => parameter.min = value.parse().ok(),
        "MaxValue" => parameter.max = value.parse().ok(),
        "MaxLength" => parameter.max_length = value.parse().ok(),
        _ => {}
    }
}

fn unquoted(value: &str) -> String {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read() -> Result<(), String> {
        let text = "Description: x\nParameters:\n  # first\n  Memory:\n    Type: Number\n    Description: \"MB: many\"\n    Default: 3538\n\
                    \x20   MinValue: 128\n    MaxValue: 10240\n\n  Reserve:\n    Type: String\n    Default: \"true\"\n\
                    \x20   AllowedValues: [\"true\", \"false\"]\n  Name:\n    Type: String\n    MaxLength: 9\n    AllowedPattern: \"^[a-z:]+$\"\nConditions:\n  X: !Not [a]\n";
        let parameters = read(text)?;
        let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names, ["Memory", "Reserve", "Name"]);
        let [memory, reserve, name] = parameters.as_slice() else { return Err("three".into()) };
        assert_eq!(
            (memory.is_number, memory.default.as_deref(), memory.min, memory.max),
            (true, Some("3538"), Some(128), Some(10_240))
        );
        assert_eq!(
            (reserve.default.as_deref(), reserve.allowed.as_slice()),
            (Some("true"), &["true".to_owned(), "false".to_owned()][..])
        );
        assert_eq!((name.default.as_deref(), name.max_length, name.pattern.as_deref()), (None, Some(9), Some("^[a-z:]+$")));
        assert!(read("Resources:\n  A:\n").is_err());
        Ok(())
    }
}
