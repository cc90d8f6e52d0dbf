//! The actions of a log that say what a table is, and what of them is not read here.

use super::columns::MAPPING_MODE;
use crate::catalog::location::unescape_value;
use engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, HashMap};

/// Newest protocol of readers that is known here.
const MAX_READER_VERSION: i32 = 3;
/// From this version on a protocol lists the features that readers must know.
const FEATURES_SINCE: i32 = 3;
/// From this version on a protocol has the feature of mapped columns, until it lists features.
const COLUMN_MAPPING_SINCE: i32 = 2;
/// The feature of columns that have other names in files.
const COLUMN_MAPPING: &str = "columnMapping";
/// Features of readers that are known here.
const READER_FEATURES: [&str; 7] = [
    COLUMN_MAPPING,
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// A file of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Add {
    /// Relative to the table or absolute, encoded as in a URL.
    pub(super) path: String,
    /// Text by physical name.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) partition_values: HashMap<String, Option<String>>,
    pub(super) size: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) modification_time: i64,
    /// JSON.
    #[serde(default)]
    pub(super) stats: Option<String>,
    #[serde(default)]
    pub(super) deletion_vector: Option<DeletionVector>,
}

/// Rows of a file that were deleted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DeletionVector {
    pub(super) storage_type: Option<String>,
    pub(super) path_or_inline_dv: Option<String>,
    pub(super) offset: Option<i64>,
    pub(super) size_in_bytes: Option<i64>,
    pub(super) cardinality: Option<i64>,
}

/// What the table is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    /// JSON.
    pub(super) schema_string: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) partition_columns: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) configuration: BTreeMap<String, Option<String>>,
}

/// What readers must know.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    min_reader_version: i32,
    #[serde(default)]
    reader_features: Option<Vec<String>>,
}

/// `null` is what a missing field is.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl DeletionVector {
    /// Its identity, which is part of the identity of a file.
    fn id(&self) -> Option<String> {
        let (kind, place) = (self.storage_type.as_deref()?, self.path_or_inline_dv.as_deref().unwrap_or_default());
        Some(self.offset.map_or_else(|| format!("{kind}{place}"), |offset| format!("{kind}{place}@{offset}")))
    }
}

impl Add {
    /// Which of its rows were deleted, if any.
    pub(super) fn deleted_rows(&self) -> Option<&DeletionVector> {
        self.deletion_vector.as_ref().filter(|vector| vector.id().is_some())
    }
}

impl Protocol {
    /// # Errors
    /// With what a reader of the table must know and this one does not.
    pub(super) fn check(&self) -> Result<()> {
        if self.min_reader_version > MAX_READER_VERSION {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: its log asks for version {} of the reader protocol, and {MAX_READER_VERSION} is known here",
                self.min_reader_version
            )));
        }
        let listed = self.reader_features.iter().flatten().filter(|_| self.min_reader_version >= FEATURES_SINCE);
        match listed.into_iter().find(|feature| !READER_FEATURES.contains(&feature.as_str())) {
            Some(feature) => {
                Err(Error::invalid(format!("NOT_SUPPORTED: it has the feature '{feature}', which is not known here")))
            }
            None => Ok(()),
        }
    }

    /// `metadata` without what does not count under this protocol.
    pub(super) fn applied_to(&self, mut metadata: Metadata) -> Metadata {
        if !self.has_mapping() {
            metadata.configuration.remove(MAPPING_MODE);
        }
        metadata
    }

    /// Whether columns may have other names in files.
    fn has_mapping(&self) -> bool {
        match self.min_reader_version < FEATURES_SINCE {
            true => self.min_reader_version >= COLUMN_MAPPING_SINCE,
            false => self.reader_features.iter().flatten().any(|feature| feature == COLUMN_MAPPING),
        }
    }
}

/// The files of a version in order of their paths.
///
/// # Errors
/// When a file is there twice, with different deletion vectors.
pub(super) fn sorted(files: Vec<Add>) -> Result<Vec<Add>> {
    let mut files: Vec<(String, Add)> = files.into_iter().map(|file| (unescape_value(&file.path), file)).collect();
    files.sort_unstable_by(|(path, _), (other, _)| path.cmp(other));
    if let Some(((twice, _), _)) = files.iter().zip(files.iter().skip(1)).find(|((path, _), (next, _))| path == next) {
        let text = format!("its log has the file '{}' with two deletion vectors at once", twice.escape_debug());
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T> {
        serde_json::from_str(json).map_err(|error| Error::invalid(error.to_string()))
    }

    #[test]
    fn a_file_is_there_once() -> Result<()> {
        let file = |path: &str| parsed::<Add>(&format!(r#"{{"path":"{path}","size":1}}"#));
        let paths = |files: Vec<Add>| Ok::<_, Error>(sorted(files)?.into_iter().map(|file| file.path).collect::<Vec<_>>());
        assert_eq!(paths(vec![file("b")?, file("a%20b")?, file("a")?])?, ["a", "a%20b", "b"]);
        let twice = paths(vec![file("a b")?, file("a")?, file("a%20b")?]);
        assert!(twice.is_err_and(|error| error.message.contains("'a b' with two deletion vectors")));
        Ok(())
    }

    #[test]
    fn nulls_are_what_is_absent() -> Result<()> {
        let file: Add = parsed(
            r#"{"path":"a","partitionValues":{"p":null},"size":1,"modificationTime":null,"stats":null,"deletionVector":{"storageType":null,"pathOrInlineDv":null,"offset":null}}"#,
        )?;
        assert!(file.partition_values["p"].is_none() && file.deleted_rows().is_none());
        Ok(())
    }

    #[test]
    fn what_a_reader_must_know_is_known_or_refused() {
        let features = |version: i32, features: &str| {
            let protocol = parsed(&format!(r#"{{"minReaderVersion":{version},"readerFeatures":[{features}]}}"#));
            protocol.and_then(|protocol: Protocol| protocol.check()).err().map(|error| error.message).unwrap_or_default()
        };
        assert_eq!(features(3, r#""columnMapping","deletionVectors","v2Checkpoint","timestampNtz""#), "");
        for known in READER_FEATURES {
            assert_eq!(features(3, &format!("\"{known}\"")), "");
        }
        for unknown in [
            "catalogManaged",
            "catalogOwned-preview",
            "variantType",
            "variantType-preview",
            "variantShredding-preview",
            "collations-preview",
        ] {
            assert!(features(3, &format!("\"v2Checkpoint\",\"{unknown}\"")).contains(&format!("'{unknown}'")));
        }
        assert!(features(4, "").contains("version 4"));
    }

    #[test]
    fn columns_are_mapped_where_the_protocol_says_so() -> Result<()> {
        let is_mapped = |protocol: &str| {
            let metadata: Metadata =
                parsed(&format!(r#"{{"schemaString":"{{}}","configuration":{{"{MAPPING_MODE}":"name"}}}}"#))?;
            let protocol: Protocol = parsed(&format!("{{{protocol}}}"))?;
            Ok::<_, Error>(protocol.applied_to(metadata).configuration.contains_key(MAPPING_MODE))
        };
        assert!(!is_mapped(r#""minReaderVersion":1"#)?);
        assert!(is_mapped(r#""minReaderVersion":2"#)?);
        assert!(!is_mapped(r#""minReaderVersion":3,"readerFeatures":["timestampNtz"]"#)?);
        assert!(is_mapped(r#""minReaderVersion":3,"readerFeatures":["columnMapping"]"#)?);
        Ok(())
    }
}
