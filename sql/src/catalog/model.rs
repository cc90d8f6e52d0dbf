//! Databases, tables and partitions, spelled in JSON as the Glue Data Catalog spells them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Properties by name.
pub type Parameters = BTreeMap<String, String>;

/// The type of tables over files that Owlet reads and writes.
pub const EXTERNAL_TABLE: &str = "EXTERNAL_TABLE";
/// The type of views.
pub const VIRTUAL_VIEW: &str = "VIRTUAL_VIEW";

/// A database.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Database {
    /// Lower-case name.
    pub name: String,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where its tables are by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location_uri: Option<String>,
    /// DBPROPERTIES.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

/// A column.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Column {
    /// Lower-case name.
    pub name: String,
    /// Hive type text, such as `array<int>`.
    #[serde(rename = "Type", default, deserialize_with = "or_default")]
    pub hive_type: String,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What engines note about it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

impl Column {
    /// A column without comment.
    pub fn new(name: &str, hive_type: &str) -> Self {
        Self { name: name.into(), hive_type: hive_type.into(), ..Self::default() }
    }
}

/// How rows are in files.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SerdeInfo {
    /// Name, mostly absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Java class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serialization_library: Option<String>,
    /// SERDEPROPERTIES.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

/// A column that buckets are sorted by.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SortColumn {
    /// Column name.
    pub column: String,
    /// 1 for ascending, 0 for descending.
    pub sort_order: i32,
}

/// Where files are and what is in them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StorageDescriptor {
    /// Columns of the files, without partition keys.
    #[serde(default, deserialize_with = "or_default")]
    pub columns: Vec<Column>,
    /// URL of the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Java class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_format: Option<String>,
    /// Java class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_format: Option<String>,
    /// -1 or 0 without buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_buckets: Option<i32>,
    /// How rows are in files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serde_info: Option<SerdeInfo>,
    /// CLUSTERED BY.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub bucket_columns: Vec<String>,
    /// SORTED BY.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub sort_columns: Vec<SortColumn>,
    /// What other engines note.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
    /// Fields that Owlet does not use; kept so that an update does not lose them.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A table or view.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Table {
    /// Lower-case name of its database.
    #[serde(default, deserialize_with = "or_default")]
    pub database_name: String,
    /// Lower-case name.
    pub name: String,
    /// What an update is compared with; set by the catalog only.
    #[serde(rename = "VersionId", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Comment of a view; a table has its own in the parameter `comment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Kept for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<i64>,
    /// Columns and files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_descriptor: Option<StorageDescriptor>,
    /// Columns whose values are in folder names.
    #[serde(default, deserialize_with = "or_default")]
    pub partition_keys: Vec<Column>,
    /// Text of a view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_original_text: Option<String>,
    /// Text of a view for Hive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_expanded_text: Option<String>,
    /// [`EXTERNAL_TABLE`] or [`VIRTUAL_VIEW`], or what others write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_type: Option<String>,
    /// TBLPROPERTIES.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
    /// Identity that outlives a rename; the JSON catalog's own.
    #[serde(rename = "OwletId", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A partition of a table.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Partition {
    /// One value per partition key.
    #[serde(default, deserialize_with = "or_default")]
    pub values: Vec<String>,
    /// Its own files; formats that are absent are the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_descriptor: Option<StorageDescriptor>,
    /// What engines note about it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

impl Table {
    /// Whether it is a view.
    pub fn is_view(&self) -> bool {
        self.table_type.as_deref() == Some(VIRTUAL_VIEW)
    }

    /// Columns of the files, without partition keys.
    pub fn columns(&self) -> &[Column] {
        self.storage_descriptor.as_ref().map_or(&[], |storage| &storage.columns)
    }

    /// URL of its folder.
    pub fn location(&self) -> Option<&str> {
        self.storage_descriptor.as_ref()?.location.as_deref().filter(|location| !location.is_empty())
    }

    /// `database.name`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.database_name, self.name)
    }
}

impl Partition {
    /// The partition with `values` at `location`, in the formats of `table`.
    pub fn of(table: &Table, values: Vec<String>, location: &str) -> Self {
        let storage = table.storage_descriptor.clone().unwrap_or_default();
        let storage = StorageDescriptor { location: Some(location.into()), ..storage };
        Self { values, storage_descriptor: Some(storage), parameters: Parameters::new() }
    }

    /// URL of its folder.
    pub fn location(&self) -> Option<&str> {
        self.storage_descriptor.as_ref()?.location.as_deref().filter(|location| !location.is_empty())
    }
}

/// `null` is what a missing field is.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_glue_answers_is_read_and_unused_fields_of_the_storage_are_kept() -> Result<(), serde_json::Error> {
        let text = r#"{"Name":"t","DatabaseName":"d","CreateTime":1.7e9,"VersionId":"3","IsRegisteredWithLakeFormation":false,
            "StorageDescriptor":{"Columns":[{"Name":"a","Type":"int"}],"Location":"s3://b/t/","Compressed":false,
            "SkewedInfo":{"SkewedColumnNames":[]},"SerdeInfo":{"SerializationLibrary":"x","Parameters":null}},
            "PartitionKeys":null,"TableType":"EXTERNAL_TABLE","Parameters":{"EXTERNAL":"TRUE"}}"#;
        let table: Table = serde_json::from_str(text)?;
        assert_eq!((table.version.as_deref(), table.location()), (Some("3"), Some("s3://b/t/")));
        let again = serde_json::to_value(&table)?;
        assert!(again["StorageDescriptor"]["SkewedInfo"].is_object() && again.get("CreateTime").is_none());
        Ok(())
    }
}
