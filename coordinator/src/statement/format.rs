//! How rows are appended to a table that is there: the format of its files, as its catalog entry says it.

use engine::write::{Compression, TextFormat, WriteFormat};
use engine::{Error, Result};
use sql::catalog::model::Parameters;
use sql::catalog::{Table, check_input, field_separator};

/// The format of new files of `table`.
///
/// # Errors
/// For one that is not written here.
pub(super) fn of_table(table: &Table) -> Result<WriteFormat> {
    check_input(table)?;
    let storage = table.storage_descriptor.as_ref();
    let serde = storage.and_then(|storage| storage.serde_info.as_ref());
    let library = serde.and_then(|serde| serde.serialization_library.as_deref()).unwrap_or_default().to_ascii_lowercase();
    // What the table says goes before what its serde says.
    let mut all: Parameters = serde.map(|serde| serde.parameters.clone()).unwrap_or_default();
    all.extend(table.parameters.clone());
    let property = |names: &[&str]| names.iter().find_map(|name| all.get(*name).cloned());
    let refused = |why: &str| Err(Error::invalid(format!("NOT_SUPPORTED: INSERT INTO table {}: {why}", table.full_name())));
    let compression = match property(&["write.compression", "parquet.compression", "compression"]) {
        None => Compression::Gzip,
        Some(name) => match name.to_uppercase().as_str() {
            "GZIP" => Compression::Gzip,
            "ZSTD" => Compression::Zstd,
            "SNAPPY" => Compression::Snappy,
            "LZ4" => Compression::Lz4,
            "NONE" | "UNCOMPRESSED" => Compression::None,
            other => return refused(&format!("compression {other} is not written here")),
        },
    };
    if storage.is_some_and(|storage| !storage.bucket_columns.is_empty()) {
        return refused("bucketed tables are not written here");
    }
    if library.contains("parquet") {
        return Ok(WriteFormat::Parquet(compression));
    }
    let skips = |name: &str| property(&[name]).is_some_and(|count| count.trim() != "0");
    if skips("skip.header.line.count") || skips("skip.footer.line.count") {
        return refused("files with header or footer lines are not written here: rows would be skipped");
    }
    if storage.and_then(|storage| storage.input_format.as_deref()).is_some_and(|input| input.contains("CloudTrail")) {
        return refused("files of CloudTrail are not written here");
    }
    // What is written has the names of columns, and timestamps as they are.
    if let Some(key) = all.keys().find(|key| key.starts_with("mapping.") || key.as_str() == "timestamp.formats") {
        return refused(&format!("tables with the property {key} are not written here"));
    }
    if library.ends_with("jsonserde") {
        return Ok(WriteFormat::Json(compression));
    }
    if !library.ends_with("lazysimpleserde") {
        return refused("only Parquet, JSON and LazySimpleSerDe tables are written here");
    }
    if property(&["escape.delim"]).is_some() {
        return refused("text with an escape character is not written here");
    }
    let delimiter = field_separator(&all)?;
    let null = property(&["serialization.null.format"]).unwrap_or_else(|| TextFormat::default().null);
    Ok(WriteFormat::Text(TextFormat { delimiter, header: false, null }, compression))
}
