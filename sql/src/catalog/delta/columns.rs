//! The columns of a table, from the schema in its log: their types, and the names that files have for them.

use super::actions::Metadata;
use crate::catalog::model::Column;
use crate::catalog::types::HiveType;
use engine::columns::{ELEMENT, FieldId, KEY, VALUE};
use engine::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};

/// Most levels of a nested type.
const MAX_TYPE_DEPTH: usize = 64;
/// What the configuration says of names in files.
pub(super) const MAPPING_MODE: &str = "delta.columnMapping.mode";
/// A column's name in files.
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";
/// A column's id in files.
const ID: &str = "delta.columnMapping.id";

/// A column.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct DeltaColumn {
    /// Lower case.
    pub(super) name: String,
    /// What files, partition values and statistics call it.
    pub(super) physical: String,
    pub(super) hive: HiveType,
    /// The type with the names that fields inside of it have in files.
    pub(super) stored: HiveType,
    /// Its id in files, where those go before names.
    pub(super) id: Option<FieldId>,
    pub(super) comment: Option<String>,
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

    /// Its name in files.
    fn physical(&self, mapping: Mapping) -> Result<&str> {
        match mapping {
            Mapping::None => Ok(&self.name),
            _ => self.text(PHYSICAL_NAME).ok_or_else(|| corrupt(format!("the column {} has no {PHYSICAL_NAME}", self.name))),
        }
    }

    /// Its id in files, where columns are found by theirs; `inner` are those within it.
    fn id(&self, mapping: Mapping, inner: BTreeMap<String, FieldId>) -> Result<Option<FieldId>> {
        if mapping != Mapping::Id {
            return Ok(None);
        }
        let id = self.metadata.get(ID).and_then(Value::as_i64).and_then(|id| i32::try_from(id).ok());
        let id = id.ok_or_else(|| corrupt(format!("the column {} has no {ID}", self.name)))?;
        Ok(Some(FieldId { id, inner }))
    }
}

/// How columns are found in files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mapping {
    None,
    Name,
    Id,
}

impl Mapping {
    fn of(metadata: &Metadata) -> Result<Self> {
        match metadata.configuration.get(MAPPING_MODE).and_then(Option::as_deref).unwrap_or("none") {
            "none" => Ok(Self::None),
            "name" => Ok(Self::Name),
            "id" => Ok(Self::Id),
            mode => Err(Error::invalid(format!("NOT_SUPPORTED: its columns are mapped by '{mode}', which is not known here"))),
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
    let mapping = Mapping::of(metadata)?;
    let schema: Struct = serde_json::from_str(&metadata.schema_string).map_err(corrupt)?;
    let column = |field: &Field| {
        let kind = kind(&field.kind, mapping, 0).map_err(|error| error.context(format!("column {}", field.name)))?;
        Ok::<_, Error>(DeltaColumn {
            name: field.name.to_lowercase(),
            physical: field.physical(mapping)?.to_string(),
            hive: kind.hive,
            stored: kind.stored,
            id: field.id(mapping, kind.ids)?,
            comment: field.text("comment").map(str::to_string),
        })
    };
    let all = schema.fields.iter().map(column).collect::<Result<Vec<_>>>()?;
    let mut physical = HashSet::new();
    if let Some(twice) = all.iter().find(|column| !physical.insert(column.physical.to_lowercase())) {
        return Err(corrupt(format!("two columns are called '{}' in files", twice.physical.escape_debug())));
    }
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

/// A type.
struct Kind {
    hive: HiveType,
    /// With the names that fields of structs have in files.
    stored: HiveType,
    /// The ids of what is within it.
    ids: BTreeMap<String, FieldId>,
}

impl Kind {
    /// As what is within another one, under `name`.
    fn named(self, name: &str) -> (HiveType, HiveType, Option<(String, FieldId)>) {
        let has_ids = !self.ids.is_empty();
        let ids = FieldId { id: 0, inner: self.ids };
        (self.hive, self.stored, has_ids.then(|| (name.to_string(), ids)))
    }
}

/// Reads a type from JSON.
fn kind(value: &Value, mapping: Mapping, depth: usize) -> Result<Kind> {
    if depth > MAX_TYPE_DEPTH {
        return Err(Error::new(ErrorKind::LimitExceeded, format!("its type nests more than {MAX_TYPE_DEPTH} deep")));
    }
    let inner = |name: &str| {
        let inner = value.get(name).ok_or_else(|| corrupt(format!("a type has no {name}")))?;
        kind(inner, mapping, depth + 1)
    };
    match (value.as_str(), value.get("type").and_then(Value::as_str)) {
        (Some(name), _) => {
            let hive = plain(name)?;
            Ok(Kind { stored: hive.clone(), hive, ids: BTreeMap::new() })
        }
        (None, Some("array")) => {
            let (hive, stored, ids) = inner("elementType")?.named(ELEMENT);
            let array = |element| HiveType::Array(Box::new(element));
            Ok(Kind { hive: array(hive), stored: array(stored), ids: ids.into_iter().collect() })
        }
        (None, Some("map")) => {
            let (key, stored_key, key_ids) = inner("keyType")?.named(KEY);
            let (value, stored_value, value_ids) = inner("valueType")?.named(VALUE);
            let map = |key, value| HiveType::Map(Box::new(key), Box::new(value));
            let ids = key_ids.into_iter().chain(value_ids).collect();
            Ok(Kind { hive: map(key, value), stored: map(stored_key, stored_value), ids })
        }
        (None, Some("struct")) => {
            let schema: Struct = Struct::deserialize(value).map_err(corrupt)?;
            let (mut fields, mut stored, mut ids) = (Vec::new(), Vec::new(), BTreeMap::new());
            for field in &schema.fields {
                let inner = kind(&field.kind, mapping, depth + 1)?;
                let physical = field.physical(mapping)?.to_string();
                ids.extend(field.id(mapping, inner.ids)?.map(|id| (physical.clone(), id)));
                fields.push((field.name.to_lowercase(), inner.hive));
                stored.push((physical, inner.stored));
            }
            Ok(Kind { hive: HiveType::Struct(fields), stored: HiveType::Struct(stored), ids })
        }
        _ => Err(corrupt(format!("a type is {value}"))),
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
    fn names_in_files_are_mapped_by_name_or_by_id() -> Result<()> {
        let field = |name: &str, kind: &str, physical: &str, id: i64| {
            format!(r#"{{"name":"{name}","type":{kind},"metadata":{{"{PHYSICAL_NAME}":"{physical}","{ID}":{id}}}}}"#)
        };
        let inner = format!(r#"{{"type":"struct","fields":[{}]}}"#, field("X", "\"long\"", "Col-2", 2));
        let list = format!(r#"{{"type":"array","elementType":{inner}}}"#);
        let fields = [field("a", "\"long\"", "col-1", 1), field("s", &inner, "s", 3), field("l", &list, "l", 4)].join(",");
        let mapped = columns(&metadata(&fields, &[], Some("name")))?;
        assert_eq!((mapped.all[0].physical.as_str(), &mapped.all[0].id), ("col-1", &None));
        assert_eq!(mapped.all[1].hive.to_string(), "struct<x:bigint>");
        let stored = HiveType::Struct(vec![("Col-2".into(), HiveType::BigInt)]);
        assert_eq!(mapped.all[1].stored, stored);
        assert_eq!(mapped.all[2].stored, HiveType::Array(Box::new(stored.clone())));
        let plain = columns(&metadata(&fields, &[], None))?;
        assert_eq!(plain.all[0].physical, "a");
        assert_eq!(plain.all[1].stored, HiveType::Struct(vec![("X".into(), HiveType::BigInt)]));
        let by_id = columns(&metadata(&fields, &[], Some("id")))?;
        let of = |id: i32, inner: &[(&str, FieldId)]| FieldId {
            id,
            inner: inner.iter().map(|(name, id)| (name.to_string(), id.clone())).collect(),
        };
        assert_eq!(by_id.all[0].id, Some(of(1, &[])));
        assert_eq!(by_id.all[1].id, Some(of(3, &[("Col-2", of(2, &[]))])));
        assert_eq!(by_id.all[2].id, Some(of(4, &[(ELEMENT, of(0, &[("Col-2", of(2, &[]))]))])));
        let error = |fields: &str, mode: &str| {
            columns(&metadata(fields, &[], Some(mode))).err().map(|error| error.message).unwrap_or_default()
        };
        assert!(error(&fields, "other").contains("'other'"));
        assert!(error(r#"{"name":"a","type":"long"}"#, "name").contains(PHYSICAL_NAME));
        let without = format!(r#"{{"name":"a","type":"long","metadata":{{"{PHYSICAL_NAME}":"a"}}}}"#);
        assert!(error(&without, "id").contains(ID));
        assert!(error(&field("a", "\"long\"", "a", 1 << 32), "id").contains(ID));
        let twice = [field("a", "\"long\"", "c", 1), field("b", "\"long\"", "C", 2)].join(",");
        assert!(error(&twice, "name").contains("two columns"));
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
