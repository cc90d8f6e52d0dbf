//! Properties of a table's serde: which key of an object a field is read from, formats of timestamps, what invalid values are.

use super::{JsonRules, Reading};
use crate::functions::json::{Case, Node};
use datafusion::common::{DataFusionError, Result};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Properties that a table has beside its [`super::JsonRules`]; names of fields are in lower case.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JsonProperties {
    /// Keys in another case are other keys.
    pub is_case_sensitive: bool,
    /// A field `a_b` that has no key of its own is read from `a.b`.
    pub has_dots: bool,
    /// Keys by the fields that are read from them.
    pub by_field: BTreeMap<String, String>,
    /// To OpenX what is no value of its type is NULL, not an error.
    pub has_null_for_invalid: bool,
    /// Formats of timestamps, as the table has them.
    pub timestamp_formats: String,
}

impl JsonProperties {
    /// # Errors
    /// When a format is none, or has letters that are not read here.
    pub fn check(&self, rules: JsonRules) -> Result<()> {
        Reading::new(rules, self.clone()).map(drop)
    }

    /// What plans have of them.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| DataFusionError::Plan(format!("no properties of lines of JSON: {error}")))
    }

    pub(super) fn case(&self) -> Case {
        if self.is_case_sensitive { Case::Kept } else { Case::Ignored }
    }

    /// `key` as it is compared.
    pub(super) fn compared<'a>(&self, key: &'a str) -> Cow<'a, str> {
        // Most keys are in lower case already.
        let is_lower = key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        if self.is_case_sensitive || is_lower { Cow::Borrowed(key) } else { Cow::Owned(key.to_lowercase()) }
    }

    /// The places of fields by the keys that they are read from.
    pub(super) fn places<'a>(&self, fields: impl Iterator<Item = &'a str>) -> HashMap<String, Vec<usize>> {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, field) in fields.enumerate() {
            let field = field.to_lowercase();
            let key = self.by_field.get(&field).unwrap_or(&field);
            places.entry(self.compared(key).into_owned()).or_default().push(place);
        }
        places
    }

    /// What the field `name` is read from that no key is for.
    pub(super) fn dotted<'a>(&self, name: &str, members: &'a [(Cow<'a, str>, Node<'a>)]) -> Option<&'a Node<'a>> {
        if !self.has_dots || !name.contains('_') {
            return None;
        }
        let name = name.to_lowercase();
        let mut dotted = members.iter().filter(|(key, _)| key.contains('.'));
        dotted.find(|(key, _)| self.compared(&key.replace('.', "_")) == name).map(|(_, value)| value)
    }
}
