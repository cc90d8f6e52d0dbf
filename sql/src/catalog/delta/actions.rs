//! The lines of a log, and the state that they add up to.

use crate::catalog::location::unescape_value;
use crate::catalog::table::MAX_FILES;
use engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, HashMap};

/// Newest protocol of readers that is known here.
const MAX_READER_VERSION: i32 = 3;
/// From this version on a protocol lists the features that readers must know.
const FEATURES_SINCE: i32 = 3;
/// Features of readers that are known here. Files with deletion vectors are refused one by one.
const READER_FEATURES: [&str; 7] = [
    "columnMapping",
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
    storage_type: Option<String>,
    path_or_inline_dv: Option<String>,
    offset: Option<i64>,
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
        Some(format!("{kind}{place}@{}", self.offset.unwrap_or_default()))
    }
}

impl Add {
    /// Whether some of its rows were deleted.
    pub(super) fn has_deleted_rows(&self) -> bool {
        self.deletion_vector.as_ref().is_some_and(|vector| vector.id().is_some())
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
        self.protocol.ok_or_else(|| missing("protocol"))?.check()?;
        let metadata = self.metadata.ok_or_else(|| missing("metaData"))?;
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
        assert!(files.len() == 1 && files[0].has_deleted_rows());
        // The vector of a file that is gone takes its own entry only.
        assert_eq!(paths(&[deleted, remove])?.len(), 1);
        let removed = deleted.replace("\"add\"", "\"remove\"");
        assert_eq!(paths(&[deleted, &removed])?, [""; 0]);
        Ok(())
    }

    #[test]
    fn nulls_of_a_checkpoint_are_what_is_absent() -> Result<()> {
        let row = r#"{"add":{"path":"a","partitionValues":{"p":null},"size":1,"modificationTime":null,"stats":null,"deletionVector":{"storageType":null,"pathOrInlineDv":null,"offset":null}},"remove":null,"metaData":null,"protocol":null,"txn":null}"#;
        let (_, files) = state(&[PROTOCOL, METADATA, row])?;
        assert!(files[0].partition_values["p"].is_none() && !files[0].has_deleted_rows());
        Ok(())
    }

    #[test]
    fn what_a_reader_must_know_is_known_or_refused() {
        let with = |protocol: &str| state(&[protocol, METADATA]).err().map(|error| error.message).unwrap_or_default();
        let features = |version: i32, features: &str| {
            with(&format!(r#"{{"protocol":{{"minReaderVersion":{version},"readerFeatures":[{features}]}}}}"#))
        };
        assert_eq!(features(3, r#""columnMapping","deletionVectors","v2Checkpoint","timestampNtz""#), "");
        assert!(features(3, r#""variantType""#).contains("'variantType'"));
        assert!(features(4, "").contains("version 4"));
        assert!(state(&[METADATA]).is_err() && state(&[PROTOCOL]).is_err());
    }
}
