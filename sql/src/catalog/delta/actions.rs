//! The lines of a log, and the state that they add up to.

use super::columns::MAPPING_MODE;
use crate::catalog::location::unescape_value;
use crate::catalog::table::MAX_FILES;
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

/// One line of a commit, one row of a checkpoint: all but one are absent. What a reader need not know is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Action {
    pub(super) add: Option<Add>,
    pub(super) remove: Option<Remove>,
    pub(super) meta_data: Option<Metadata>,
    pub(super) protocol: Option<Protocol>,
    pub(super) sidecar: Option<Sidecar>,
}

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

/// A file that is no longer part of the table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remove {
    path: String,
    #[serde(default)]
    deletion_vector: Option<DeletionVector>,
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

/// A file with a part of a checkpoint's rows.
#[derive(Debug, Deserialize)]
pub(super) struct Sidecar {
    pub(super) path: String,
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
    fn check(&self) -> Result<()> {
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

    /// Whether columns may have other names in files.
    fn has_mapping(&self) -> bool {
        match self.min_reader_version < FEATURES_SINCE {
            true => self.min_reader_version >= COLUMN_MAPPING_SINCE,
            false => self.reader_features.iter().flatten().any(|feature| feature == COLUMN_MAPPING),
        }
    }
}

/// A file is another one with another deletion vector.
type FileId = (String, Option<String>);

/// What a log says so far.
#[derive(Debug, Default)]
pub(super) struct State {
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    files: BTreeMap<FileId, Add>,
}

impl State {
    /// Applies one action behind all before it.
    pub(super) fn apply(&mut self, action: Action) -> Result<()> {
        let id = |path: &str, vector: Option<&DeletionVector>| (unescape_value(path), vector.and_then(DeletionVector::id));
        if let Some(remove) = action.remove {
            self.files.remove(&id(&remove.path, remove.deletion_vector.as_ref()));
        }
        if let Some(add) = action.add {
            self.files.insert(id(&add.path, add.deletion_vector.as_ref()), add);
            if self.files.len() > MAX_FILES {
                return Err(Error::new(ErrorKind::LimitExceeded, format!("it has more than {MAX_FILES} files")));
            }
        }
        self.protocol = action.protocol.or(self.protocol.take());
        self.metadata = action.meta_data.or(self.metadata.take());
        Ok(())
    }

    /// What the table is, and its files in order of their paths.
    ///
    /// # Errors
    /// When the log does not say all that it must, or asks for what is not known here.
    pub(super) fn finish(self) -> Result<(Metadata, Vec<Add>)> {
        let missing = |what: &str| Error::new(ErrorKind::Corrupt, format!("its log has no {what}"));
        let protocol = self.protocol.ok_or_else(|| missing("protocol"))?;
        protocol.check()?;
        let mut metadata = self.metadata.ok_or_else(|| missing("metaData"))?;
        if !protocol.has_mapping() {
            metadata.configuration.remove(MAPPING_MODE);
        }
        let paths = self.files.keys().map(|(path, _)| path);
        if let Some((twice, _)) = paths.clone().zip(paths.skip(1)).find(|(path, next)| path == next) {
            let text = format!("its log has the file '{}' with two deletion vectors at once", twice.escape_debug());
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok((metadata, self.files.into_values().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(lines: &[&str]) -> Result<(Metadata, Vec<Add>)> {
        let mut state = State::default();
        for line in lines {
            state.apply(serde_json::from_str(line).map_err(|error| Error::invalid(error.to_string()))?)?;
        }
        state.finish()
    }

    const PROTOCOL: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
    const METADATA: &str = r#"{"metaData":{"id":"x","schemaString":"{}","partitionColumns":[],"configuration":{},"format":{}}}"#;

    fn paths(lines: &[&str]) -> Result<Vec<String>> {
        let all: Vec<&str> = [PROTOCOL, METADATA].iter().chain(lines).copied().collect();
        Ok(state(&all)?.1.into_iter().map(|add| add.path).collect())
    }

    #[test]
    fn the_last_word_on_a_file_counts() -> Result<()> {
        let add = r#"{"add":{"path":"a%20b","partitionValues":{},"size":1,"modificationTime":1,"dataChange":true}}"#;
        let remove = r#"{"remove":{"path":"a b","deletionTimestamp":1,"dataChange":true}}"#;
        assert_eq!(paths(&[add])?, ["a%20b"]);
        assert_eq!(paths(&[add, remove])?, [""; 0], "an encoded path and a plain one are the same file");
        assert_eq!(paths(&[add, remove, add])?, ["a%20b"]);
        let deleted = r#"{"add":{"path":"a%20b","partitionValues":{},"size":1,"deletionVector":{"storageType":"u","pathOrInlineDv":"x","offset":1,"sizeInBytes":3,"cardinality":1}}}"#;
        let (_, files) = state(&[PROTOCOL, METADATA, add, remove, deleted])?;
        assert!(files.len() == 1 && files[0].deleted_rows().is_some_and(|vector| vector.cardinality == Some(1)));
        // The vector of a file that is gone takes its own entry only.
        assert_eq!(paths(&[deleted, remove])?.len(), 1);
        let removed = deleted.replace("\"add\"", "\"remove\"");
        assert_eq!(paths(&[deleted, &removed])?, [""; 0]);
        // In one commit the order of both says nothing.
        let (next, other) = (deleted.replace("\"offset\":1", "\"offset\":50"), removed.replace("\"offset\":1,", ""));
        assert_eq!(paths(&[deleted, &removed, &next])?.len(), 1);
        assert_eq!(paths(&[deleted, &next, &removed])?.len(), 1);
        for twice in [[deleted, next.as_str()], [add, deleted]] {
            let error = paths(&twice).err().map(|error| error.message).unwrap_or_default();
            assert!(error.contains("two deletion vectors"), "{error}");
        }
        assert_eq!(paths(&[deleted, &other])?.len(), 1, "an offset is part of the identity");
        Ok(())
    }

    #[test]
    fn nulls_of_a_checkpoint_are_what_is_absent() -> Result<()> {
        let row = r#"{"add":{"path":"a","partitionValues":{"p":null},"size":1,"modificationTime":null,"stats":null,"deletionVector":{"storageType":null,"pathOrInlineDv":null,"offset":null}},"remove":null,"metaData":null,"protocol":null,"txn":null}"#;
        let (_, files) = state(&[PROTOCOL, METADATA, row])?;
        assert!(files[0].partition_values["p"].is_none() && files[0].deleted_rows().is_none());
        Ok(())
    }

    #[test]
    fn what_a_reader_must_know_is_known_or_refused() {
        let with = |protocol: &str| state(&[protocol, METADATA]).err().map(|error| error.message).unwrap_or_default();
        let features = |version: i32, features: &str| {
            with(&format!(r#"{{"protocol":{{"minReaderVersion":{version},"readerFeatures":[{features}]}}}}"#))
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
        assert!(state(&[METADATA]).is_err() && state(&[PROTOCOL]).is_err());
    }

    #[test]
    fn columns_are_mapped_where_the_protocol_says_so() -> Result<()> {
        let metadata = METADATA.replace("\"configuration\":{}", &format!("\"configuration\":{{\"{MAPPING_MODE}\":\"name\"}}"));
        let is_mapped = |protocol: &str| {
            let (metadata, _) = state(&[&format!(r#"{{"protocol":{{{protocol}}}}}"#), &metadata])?;
            Ok::<_, Error>(metadata.configuration.contains_key(MAPPING_MODE))
        };
        assert!(!is_mapped(r#""minReaderVersion":1"#)?);
        assert!(is_mapped(r#""minReaderVersion":2"#)?);
        assert!(!is_mapped(r#""minReaderVersion":3,"readerFeatures":["timestampNtz"]"#)?);
        assert!(is_mapped(r#""minReaderVersion":3,"readerFeatures":["columnMapping"]"#)?);
        Ok(())
    }
}
