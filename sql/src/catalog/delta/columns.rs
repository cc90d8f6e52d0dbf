//! The columns of a table, from the schema in its log: their types, and the names that files have for them.

use super::actions::Metadata;
use crate::catalog::model::Column;
use crate::catalog::types::HiveType;
use engine::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Most levels of a nested type.
const MAX_TYPE_DEPTH: usize = 64;
/// What the configuration says of names in files.
const MAPPING_MODE: &str = "delta.columnMapping.mode";
/// A column's name in files.
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";

/// A column.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct DeltaColumn {
    /// Lower case.
    pub(super) name: String,
    /// What files, partition values and statistics call it.
    pub(super) physical: String,
    pub(super) hive: HiveType,
    pub(super) comment: Option<String>,
    /// Whether fields inside of it have other names in files.
    pub(super) has_renamed_fields: bool,
}

/// The columns of a table in their order, and the places of those that it is partitioned by.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Columns {
    pub(super) all: Vec<DeltaColumn>,
    pub(super) keys: Vec<usize>,
}

impl DeltaColumn {
    /// As a catalog has it.
    pub(super) fn column(&self) -> Column {
        Column { comment: self.comment.clone(), ..Column::new(&self.name, &self.hive.to_string()) }
    }
}

#[derive(Deserialize)]
struct Struct {
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: Value,
    #[serde(default)]
    metadata: Map<String, Value>,
}

impl Field {
    fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(Value::as_str)
    }

    /// Its name in files, where those are mapped.
    fn physical(&self, is_mapped: bool) -> Result<&str> {
        match is_mapped {
            false => Ok(&self.name),
            true => self.text(PHYSICAL_NAME).ok_or_else(|| corrupt(format!("the column {} has no {PHYSICAL_NAME}", self.name))),
        }
    }
}

fn corrupt(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the schema in its log: {why}"))
}

/// The columns that `metadata` describes.
///
/// # Errors
/// For types and kinds of column mapping that cannot be read here.
pub(super) fn columns(metadata: &Metadata) -> Result<Columns> {
    let is_mapped = match metadata.configuration.get(MAPPING_MODE).and_then(Option::as_deref).unwrap_or("none") {
        "none" => false,
        "name" => true,
        mode => {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: its columns are mapped by '{mode}': {MAPPING_MODE} can be none or name here"
            )));
        }
    };
    let schema: Struct = serde_json::from_str(&metadata.schema_string).map_err(corrupt)?;
    let column = |field: &Field| {
        let mut reader = Types { is_mapped, has_renamed_fields: false };
        let hive = reader.kind(&field.kind, 0).map_err(|error| error.context(format!("column {}", field.name)))?;
        Ok::<_, Error>(DeltaColumn {
            name: field.name.to_lowercase(),
            physical: field.physical(is_mapped)?.to_string(),
            hive,
            comment: field.text("comment").map(str::to_string),
            has_renamed_fields: reader.has_renamed_fields,
        })
    };
    let all = schema.fields.iter().map(column).collect::<Result<Vec<_>>>()?;
    let place = |key: &String| {
        let place = all.iter().position(|column| column.name == key.to_lowercase());
        place.ok_or_else(|| corrupt(format!("the partition column {key} is no column")))
    };
    let keys = metadata.partition_columns.iter().map(place).collect::<Result<Vec<_>>>()?;
    if let Some(column) = keys.iter().filter_map(|key| all.get(*key)).find(|column| column.hive == HiveType::Binary) {
        return Err(Error::invalid(format!("NOT_SUPPORTED: it is partitioned by {}, which is binary", column.name)));
    }
    Ok(Columns { all, keys })
}

/// Reads types from JSON.
struct Types {
    is_mapped: bool,
    has_renamed_fields: bool,
}

impl Types {
    fn kind(&mut self, kind: &Value, depth: usize) -> Result<HiveType> {
        if depth > MAX_TYPE_DEPTH {
            return Err(Error::new(ErrorKind::LimitExceeded, format!("its type nests more than {MAX_TYPE_DEPTH} deep")));
        }
        let inner = |reader: &mut Self, name: &str| {
            let kind = kind.get(name).ok_or_else(|| corrupt(format!("a type has no {name}")))?;
            reader.kind(kind, depth + 1).map(Box::new)
        };
        match (kind.as_str(), kind.get("type").and_then(Value::as_str)) {
            (Some(name), _) => plain(name),
            (None, Some("array")) => Ok(HiveType::Array(inner(self, "elementType")?)),
            (None, Some("map")) => Ok(HiveType::Map(inner(self, "keyType")?, inner(self, "valueType")?)),
            (None, Some("struct")) => {
                let schema: Struct = Struct::deserialize(kind).map_err(corrupt)?;
                let field = |field: &Field| {
                    self.has_renamed_fields |= field.physical(self.is_mapped)? != field.name;
                    Ok((field.name.to_lowercase(), self.kind(&field.kind, depth + 1)?))
                };
                Ok(HiveType::Struct(schema.fields.iter().map(field).collect::<Result<_>>()?))
            }
            _ => Err(corrupt(format!("a type is {kind}"))),
        }
    }
}

fn plain(name: &str) -> Result<HiveType> {
    Ok(match name {
        "string" => HiveType::String,
        "long" => HiveType::BigInt,
        "integer" => HiveType::Int,
        "short" => HiveType::SmallInt,
        "byte" => HiveType::TinyInt,
        "float" => HiveType::Float,
        "double" => HiveType::Double,
        "boolean" => HiveType::Boolean,
        "binary" => HiveType::Binary,
        "date" => HiveType::Date,
        "timestamp" => HiveType::Moment,
        "timestamp_ntz" => HiveType::TimestampMicros,
        // Read as Hive's, which has the same limits.
        decimal if decimal.starts_with("decimal") => HiveType::parse(decimal)?,
        other => return Err(Error::invalid(format!("NOT_SUPPORTED: the type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(fields: &str, keys: &[&str], mode: Option<&str>) -> Metadata {
        Metadata {
            schema_string: format!(r#"{{"type":"struct","fields":[{fields}]}}"#),
            partition_columns: keys.iter().map(ToString::to_string).collect(),
            configuration: mode.map(|mode| (MAPPING_MODE.to_string(), Some(mode.to_string()))).into_iter().collect(),
        }
    }

    #[test]
    fn types_are_trinos() -> Result<()> {
        let fields = r#"{"name":"Id","type":"long","nullable":true,"metadata":{"comment":"c"}},
            {"name":"t","type":"timestamp","nullable":true,"metadata":{}},
            {"name":"n","type":"timestamp_ntz","nullable":true,"metadata":{}},
            {"name":"d","type":"decimal(12,3)","nullable":true,"metadata":{}},
            {"name":"s","type":{"type":"struct","fields":[{"name":"A","type":"byte","nullable":true,"metadata":{}}]},"nullable":true,"metadata":{}},
            {"name":"m","type":{"type":"map","keyType":"string","valueType":{"type":"array","elementType":"date","containsNull":true},"valueContainsNull":true},"nullable":true,"metadata":{}}"#;
        let columns = columns(&metadata(fields, &["id"], None))?;
        let types: Vec<String> = columns.all.iter().map(|column| column.hive.trino()).collect();
        let expected = [
            "bigint",
            "timestamp(3) with time zone",
            "timestamp(6)",
            "decimal(12,3)",
            "row(a tinyint)",
            "map(varchar, array(date))",
        ];
        assert_eq!(types, expected);
        assert_eq!(columns.keys, [0]);
        assert_eq!((columns.all[0].name.as_str(), columns.all[0].physical.as_str()), ("id", "Id"));
        assert_eq!(columns.all[0].column().comment.as_deref(), Some("c"));
        Ok(())
    }

    #[test]
    fn names_in_files_are_mapped_by_name_only() -> Result<()> {
        let field = |name: &str, kind: &str, physical: &str| {
            format!(r#"{{"name":"{name}","type":{kind},"metadata":{{"{PHYSICAL_NAME}":"{physical}"}}}}"#)
        };
        let inner = format!(r#"{{"type":"struct","fields":[{}]}}"#, field("x", "\"long\"", "col-2"));
        let fields = [field("a", "\"long\"", "col-1"), field("s", &inner, "s")].join(",");
        let mapped = columns(&metadata(&fields, &[], Some("name")))?;
        assert_eq!(mapped.all[0].physical, "col-1");
        assert!(!mapped.all[0].has_renamed_fields && mapped.all[1].has_renamed_fields);
        let plain = columns(&metadata(&fields, &[], None))?;
        assert!(plain.all[0].physical == "a" && !plain.all[1].has_renamed_fields);
        let error = |fields: &str, mode: &str| {
            columns(&metadata(fields, &[], Some(mode))).err().map(|error| error.message).unwrap_or_default()
        };
        assert!(error(&fields, "id").contains("'id'"));
        assert!(error(r#"{"name":"a","type":"long"}"#, "name").contains(PHYSICAL_NAME));
        Ok(())
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = |kind: &str, keys: &[&str]| {
            let fields = format!(r#"{{"name":"a","type":{kind},"metadata":{{}}}}"#);
            columns(&metadata(&fields, keys, None)).err().map(|error| error.message).unwrap_or_default()
        };
        assert!(error("\"variant\"", &[]).contains("variant"));
        assert!(error("\"binary\"", &["a"]).contains("binary"));
        assert!(error("\"long\"", &["b"]).contains("no column"));
        assert!(error("7", &[]).contains("a type is 7"));
        let deep = format!("{}\"long\"{}", r#"{"type":"array","elementType":"#.repeat(100), "}".repeat(100));
        assert!(!error(&deep, &[]).is_empty());
        assert!(columns(&Metadata { schema_string: "[".into(), ..metadata("", &[], None) }).is_err());
    }
}
