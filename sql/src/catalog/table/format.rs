//! Which format a table's files have, by the Java classes and properties that the catalog has of it.

use super::json::{CLOUDTRAIL_INPUT, JsonTable, is_json};
use super::text::TextFormat;
use crate::catalog::model::{Parameters, Partition, StorageDescriptor, Table};
use crate::catalog::types::HiveType;
use engine::{Error, Result};

/// A format that can be read here.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::catalog) enum TableFormat {
    Parquet,
    Json(JsonTable),
    Text(TextFormat),
}

/// Parts of class names, and what they stand for.
const REFUSED: [(&str, &str); 8] = [
    ("hoodie", "Hudi"),
    ("symlinktext", "symlink manifests (Delta Lake)"),
    ("delta", "Delta Lake"),
    ("iceberg", "Iceberg"),
    ("orc", "ORC"),
    ("avro", "Avro"),
    ("rcfile", "RCFile"),
    ("grok", "GrokSerDe"),
];

/// Input formats of Parquet that can be read, in lower case. No name at all says nothing against the serde's.
const PARQUET_INPUTS: [&str; 3] = [
    "org.apache.hadoop.hive.ql.io.parquet.mapredparquetinputformat",
    "parquet.hive.deprecatedparquetinputformat",
    "parquet.hive.mapredparquetinputformat",
];

/// The same of lines.
const LINE_INPUTS: [&str; 3] = [
    "org.apache.hadoop.mapred.textinputformat",
    "org.apache.hadoop.mapreduce.lib.input.textinputformat",
    "org.apache.hadoop.hive.ql.io.hiveignorekeytextoutputformat",
];

/// Checks that the files of `table` are read as what they are. A table may be made without that, as in Athena.
///
/// # Errors
/// For an input format that gives other rows than the files' lines, or than Parquet.
pub fn check_input(table: &Table) -> Result<()> {
    let format = TableFormat::of(table)?;
    let storage = table.storage_descriptor.as_ref();
    let input = storage.and_then(|storage| storage.input_format.as_deref()).filter(|input| !input.is_empty());
    let Some(input) = input else { return Ok(()) };
    let (known, readable): (&[&str], _) = match &format {
        TableFormat::Parquet => (&PARQUET_INPUTS, "MapredParquetInputFormat"),
        TableFormat::Json(json) if json.has_records() => (&[CLOUDTRAIL_INPUT], "CloudTrailInputFormat"),
        TableFormat::Json(_) | TableFormat::Text(_) => (&LINE_INPUTS, "TextInputFormat"),
    };
    if known.contains(&input.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Error::invalid(format!("NOT_SUPPORTED: input format {input} with this serde: {readable} can be read here")))
}

impl TableFormat {
    pub(super) fn of(table: &Table) -> Result<Self> {
        if table.is_view() {
            return Err(Error::internal("a view is not opened as a table"));
        }
        let property = |name: &str| table.parameters.get(name).map(|value| value.to_ascii_lowercase()).unwrap_or_default();
        for (name, value, what) in [
            ("table_type", "iceberg", "Iceberg"),
            ("table_type", "delta", "Delta Lake"),
            ("spark.sql.sources.provider", "delta", "Delta Lake"),
        ] {
            if property(name) == value {
                return Err(refused(what));
            }
        }
        let storage = table.storage_descriptor.as_ref().ok_or_else(|| Error::invalid("it has no storage descriptor"))?;
        Self::of_storage(storage, &table.parameters)
    }

    fn of_storage(storage: &StorageDescriptor, properties: &Parameters) -> Result<Self> {
        let lower = |text: Option<&String>| text.map(|text| text.to_ascii_lowercase()).unwrap_or_default();
        let input = lower(storage.input_format.as_ref());
        let serde = lower(storage.serde_info.as_ref().and_then(|serde| serde.serialization_library.as_ref()));
        // What the table says goes before what its serde says, as in Trino.
        let mut all = storage.serde_info.as_ref().map(|serde| serde.parameters.clone()).unwrap_or_default();
        all.extend(properties.clone());
        if let Some((_, what)) = REFUSED.iter().find(|(part, _)| input.contains(part) || serde.contains(part)) {
            return Err(refused(what));
        }
        if serde.contains("parquet") || (serde.is_empty() && input.contains("parquet")) {
            return Ok(Self::Parquet);
        }
        const ENCODING: &str = "serialization.encoding";
        if let Some(encoding) = all.get(ENCODING).filter(|name| !["utf-8", "utf8"].contains(&name.to_ascii_lowercase().as_str()))
        {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: {ENCODING} '{}': text is read as UTF-8",
                encoding.escape_debug()
            )));
        }
        if is_json(&serde) {
            return JsonTable::of(&serde, &input, &all).map(Self::Json);
        }
        if serde.ends_with("lazysimpleserde") || (serde.is_empty() && input.contains("textinputformat")) {
            return TextFormat::lazy_simple(&all).map(Self::Text);
        }
        if serde.ends_with("opencsvserde") {
            return TextFormat::open_csv(&all).map(Self::Text);
        }
        if serde.ends_with("regexserde") {
            return TextFormat::regex(&all).map(Self::Text);
        }
        let name = storage.serde_info.as_ref().and_then(|serde| serde.serialization_library.as_deref()).unwrap_or("none");
        Err(Error::invalid(format!(
            "NOT_SUPPORTED: serde {name}: Parquet, LazySimpleSerDe, OpenCSVSerde, RegexSerDe and the JSON serdes can be read here"
        )))
    }

    pub(super) fn is_text(&self) -> bool {
        *self != Self::Parquet
    }

    /// # Errors
    /// For a type that this format's files do not have here.
    pub(super) fn check_column(&self, name: &str, hive: &HiveType) -> Result<()> {
        let refused = |why: &str| Err(Error::invalid(format!("NOT_SUPPORTED: column {name} ({hive}) of a {why}")));
        match self {
            Self::Text(text) if !hive.is_plain() && !text.is_nested() => {
                refused("text file of this serde: nested types can be read from LazySimpleSerDe, Parquet and JSON")
            }
            Self::Text(_) if has_binary(hive) => refused("text file: binary can be read from Parquet"),
            Self::Json(_) if has_binary(hive) => refused("JSON file: binary can be read from Parquet"),
            _ => Ok(()),
        }
    }
}

fn has_binary(hive: &HiveType) -> bool {
    match hive {
        HiveType::Binary => true,
        HiveType::Array(element) => has_binary(element),
        HiveType::Map(key, value) => has_binary(key) || has_binary(value),
        HiveType::Struct(fields) => fields.iter().any(|(_, kind)| has_binary(kind)),
        _ => false,
    }
}

fn refused(what: &str) -> Error {
    Error::invalid(format!("NOT_SUPPORTED: {what} cannot be read here: Parquet, text (CSV) and JSON can"))
}

/// Whether the files of `partition` have the table's format.
///
/// # Errors
/// When they have another one, or one that cannot be told.
pub(super) fn check_partition(table: &Table, partition: &Partition) -> Result<()> {
    let Some(storage) = &partition.storage_descriptor else { return Ok(()) };
    let library = |storage: &StorageDescriptor| storage.serde_info.as_ref().and_then(|serde| serde.serialization_library.clone());
    let same = table.storage_descriptor.as_ref().is_some_and(|own| {
        let input_is_same = storage.input_format.is_none() || storage.input_format == own.input_format;
        let serde_info = if library(storage).is_none() { own.serde_info.clone() } else { storage.serde_info.clone() };
        let storage = StorageDescriptor { serde_info, input_format: own.input_format.clone(), ..storage.clone() };
        let format = |storage: &StorageDescriptor| TableFormat::of_storage(storage, &table.parameters).ok();
        input_is_same && format(&storage).is_some_and(|other| Some(other) == format(own))
    });
    if same {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "NOT_SUPPORTED: partition {} of table {} has another serde or format than the table",
        partition.values.join("/"),
        table.full_name()
    )))
}
