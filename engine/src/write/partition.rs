//! Partition values as Hive folder names, and back.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The folder value that stands for NULL.
pub const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// How timestamps are written as text, in folders and in files: a fraction only where there is one.
pub(crate) const TIMESTAMP_TEXT: &str = "%Y-%m-%d %H:%M:%S%.f";

/// Characters besides control characters that Hive writes as `%XX`.
const ESCAPED: &str = "\"#%'*/:=?\\\x7F{[]^";

/// The relative folder of `values` (one for each of `keys`), as `a=1/b=x`, without a slash at the end.
pub fn folder_of<'a>(keys: impl IntoIterator<Item = &'a String>, values: &[Option<String>]) -> String {
    let part = |(key, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{}={}", escape_value(key), escape_value(value)),
        None => format!("{}={HIVE_NULL}", escape_value(key)),
    };
    keys.into_iter().zip(values).map(part).collect::<Vec<_>>().join("/")
}

/// The key and value of one folder `key=value`; no value for NULL. None for a folder of another form.
pub fn parse_folder(folder: &str) -> Option<(String, Option<String>)> {
    let (key, value) = folder.split_once('=')?;
    let value = if value == HIVE_NULL { None } else { Some(unescaped(value)?) };
    Some((unescaped(key)?, value))
}

/// A partition's key or value in a folder name, as Hive writes it.
pub fn escape_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_control() || ESCAPED.contains(c) {
            out.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

/// Whether a column of this type can name folders.
pub(crate) fn is_key_type(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Boolean | T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Date32 | T::Decimal128(..) => true,
        T::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, None) => true,
        T::Dictionary(_, value) => is_key_type(value),
        other => other.is_integer(),
    }
}

/// The value of `row` of a partition column as text, or none for NULL.
///
/// # Errors
/// For a text that would not come back from its folder as it was: an empty one, or one outside printable ASCII.
pub(crate) fn value_text(column: &ArrayRef, row: usize, key: &str) -> Result<Option<String>> {
    if column.is_null(row) {
        return Ok(None);
    }
    let options = FormatOptions::new().with_timestamp_format(Some(TIMESTAMP_TEXT));
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(|e| Error::internal(e.to_string()))?;
    let text = formatter.value(row).try_to_string().map_err(|e| Error::invalid(format!("partition column '{key}': {e}")))?;
    if text.is_empty() || text == HIVE_NULL {
        return Err(Error::invalid(format!(
            "HIVE_INVALID_PARTITION_VALUE: the value '{text}' of partition column '{key}' would be read back as NULL"
        )));
    }
    if !text.bytes().all(|byte| (0x20..=0x7E).contains(&byte)) {
        return Err(Error::invalid(format!(
            "HIVE_INVALID_PARTITION_VALUE: Hive partition keys can only contain printable ASCII characters (0x20 - 0x7E); invalid value of '{key}': {}",
            text.escape_debug()
        )));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;
    use std::sync::Arc;

    #[test]
    fn folders_say_their_values_as_hive_does() {
        let keys = ["a".to_string(), "b".to_string()];
        let values = [Some("x/y=1 %:".to_string()), None];
        let folder = folder_of(&keys, &values);
        assert_eq!(folder, "a=x%2Fy%3D1 %25%3A/b=__HIVE_DEFAULT_PARTITION__");
        let parsed: Vec<_> = folder.split('/').map(parse_folder).collect();
        assert_eq!(parsed[0], Some(("a".into(), values[0].clone())));
        assert_eq!(parsed[1], Some(("b".into(), None)));
        assert_eq!(parse_folder("plain"), None);
    }

    #[test]
    fn values_that_would_not_come_back_are_refused() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("ok"), None, Some(""), Some("é"), Some("a\nb")]));
        assert_eq!(value_text(&column, 0, "k").ok(), Some(Some("ok".into())));
        assert_eq!(value_text(&column, 1, "k").ok(), Some(None));
        for row in 2..5 {
            assert!(value_text(&column, row, "k").is_err_and(|e| e.message.contains("HIVE_INVALID_PARTITION_VALUE")));
        }
    }
}
