//! Views in the form in which Athena keeps them: base64 of JSON in a comment.

use super::CATALOG_NAME;
use super::model::{Column, SerdeInfo, StorageDescriptor, Table, VIRTUAL_VIEW};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "/* Presto View: ";
const SUFFIX: &str = " */";

/// A view as its text says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewDefinition {
    /// The query.
    pub original_sql: String,
    /// Catalog of unqualified names.
    #[serde(default = "default_catalog")]
    pub catalog: String,
    /// Database of unqualified names in the query.
    #[serde(default)]
    pub schema: Option<String>,
    /// Its columns, in Trino's types.
    #[serde(default)]
    pub columns: Vec<ViewColumn>,
}

/// A column of a view.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ViewColumn {
    /// Name.
    pub name: String,
    /// Trino type.
    #[serde(rename = "type")]
    pub trino_type: String,
    /// What the catalog shows as its type.
    #[serde(skip)]
    pub hive_type: String,
}

fn default_catalog() -> String {
    CATALOG_NAME.into()
}

impl ViewDefinition {
    /// The definition that the view `table` holds.
    ///
    /// # Errors
    /// For a table that is no view, or a view of another engine (Hive's, Spark's).
    pub fn of(table: &Table) -> Result<Self> {
        let text = table.view_original_text.as_deref().unwrap_or_default();
        let foreign = || {
            let text =
                format!("INVALID_VIEW: view '{}' was not made by Athena or Owlet: create it again here", table.full_name());
            Error::new(ErrorKind::InvalidQuery, text)
        };
        let encoded = text.trim().strip_prefix(PREFIX.trim_end()).and_then(|rest| rest.strip_suffix(SUFFIX.trim_start()));
        let json = BASE64_STANDARD.decode(encoded.ok_or_else(foreign)?.trim()).map_err(|_| foreign())?;
        let mut definition: Self = serde_json::from_slice(&json).map_err(|_| foreign())?;
        for column in &mut definition.columns {
            let known = table.columns().iter().find(|known| known.name.eq_ignore_ascii_case(&column.name));
            column.hive_type = known.map(|known| known.hive_type.clone()).unwrap_or_default();
        }
        Ok(definition)
    }

    /// The catalog entry `database.name` of this view.
    ///
    /// # Errors
    /// When the definition cannot be written as JSON.
    pub fn table(&self, database: &str, name: &str, comment: Option<String>) -> Result<Table> {
        let json = serde_json::to_vec(self).map_err(|error| Error::internal(error.to_string()))?;
        let columns = self.columns.iter().map(|column| Column::new(&column.name, &column.hive_type)).collect();
        let storage = StorageDescriptor {
            columns,
            location: Some(String::new()),
            serde_info: Some(SerdeInfo::default()),
            ..StorageDescriptor::default()
        };
        Ok(Table {
            database_name: database.into(),
            name: name.into(),
            description: comment,
            table_type: Some(VIRTUAL_VIEW.into()),
            storage_descriptor: Some(storage),
            view_original_text: Some(format!("{PREFIX}{}{SUFFIX}", BASE64_STANDARD.encode(json))),
            view_expanded_text: Some("/* Presto View */".into()),
            parameters: [("presto_view", "true"), ("comment", "Presto View")].map(|(k, v)| (k.to_string(), v.to_string())).into(),
            ..Table::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_read_as_it_was_written() -> Result<()> {
        let column = ViewColumn { name: "x".into(), trino_type: "integer".into(), hive_type: "int".into() };
        let view = ViewDefinition {
            original_sql: "SELECT 1 x -- 'ü'".into(),
            catalog: CATALOG_NAME.into(),
            schema: Some("d".into()),
            columns: vec![column],
        };
        let table = view.table("d", "v", None)?;
        assert!(table.is_view() && table.columns()[0].hive_type == "int");
        assert_eq!(ViewDefinition::of(&table)?, view);
        Ok(())
    }

    #[test]
    fn a_view_of_athena_is_read_and_one_of_hive_is_refused() -> Result<()> {
        let json = r#"{"originalSql":"SELECT 1","catalog":"awsdatacatalog","schema":"d","columns":[{"name":"_col0","type":"integer"}],"owner":"x","runAsInvoker":false,"properties":{}}"#;
        let text = format!("/* Presto View: {} */", BASE64_STANDARD.encode(json));
        let table = Table { view_original_text: Some(text), ..Table::default() };
        assert_eq!(ViewDefinition::of(&table)?.original_sql, "SELECT 1");
        for text in ["SELECT 1", "/* Presto View: !! */", "/* Presto View: e30= */"] {
            let table = Table { view_original_text: Some(text.into()), ..Table::default() };
            assert!(ViewDefinition::of(&table).is_err(), "{text}");
        }
        Ok(())
    }
}
