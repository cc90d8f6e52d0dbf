//! Where and how a `CREATE TABLE AS` or `UNLOAD` writes, by its properties in `WITH (..)`.

use engine::write::{Compression, TextFormat, WriteFormat};
use engine::{Error, Result};
use sql::statement::PropertyValue;
use std::collections::BTreeMap;

/// Delimiter of Hive's text tables, where nothing says another.
const HIVE_DELIMITER: char = '\u{1}';

/// Properties by name, in lower case, from which each is taken once.
pub(super) struct Properties {
    left: BTreeMap<String, PropertyValue>,
    what: &'static str,
}

impl Properties {
    /// Those of a statement called `what` in messages.
    pub(super) fn new(given: &BTreeMap<String, PropertyValue>, what: &'static str) -> Self {
        Self { left: given.clone(), what }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(PropertyValue::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "give a string")),
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Vec<String>> {
        match self.left.remove(name) {
            None => Ok(Vec::new()),
            Some(PropertyValue::List(names)) => Ok(names.into_iter().map(|name| name.to_lowercase()).collect()),
            Some(_) => Err(self.wrong(name, "give an array of names, as ARRAY['a', 'b']")),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<i64>> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(PropertyValue::Number(number)) => Ok(Some(number)),
            Some(_) => Err(self.wrong(name, "give a whole number")),
        }
    }

    /// A number that Athena's examples write as one or as a string.
    fn level(&mut self) -> Result<Option<i64>> {
        const NAME: &str = "compression_level";
        match self.left.get(NAME) {
            Some(PropertyValue::Text(text)) => match text.trim().parse() {
                Ok(level) => Ok(self.left.remove(NAME).map(|_| level)),
                Err(_) => Err(self.wrong(NAME, "give a whole number")),
            },
            _ => self.number(NAME),
        }
    }

    pub(super) fn boolean(&mut self, name: &str) -> Result<Option<bool>> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(PropertyValue::Boolean(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(name, "give true or false")),
        }
    }

    /// # Errors
    /// When a property is left that nobody knows.
    pub(super) fn finish(self) -> Result<()> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::invalid(format!(
                "INVALID_TABLE_PROPERTY: {} has no property '{name}' here; it has format, write_compression (compression), \
                 compression_level, field_delimiter, partitioned_by{}",
                self.what,
                if self.what == "UNLOAD" {
                    ""
                } else {
                    ", bucketed_by, bucket_count, external_location, table_type, is_external"
                }
            ))),
        }
    }

    pub(super) fn wrong(&self, name: &str, why: &str) -> Error {
        Error::invalid(format!("INVALID_TABLE_PROPERTY: property '{name}' of {}: {why}", self.what))
    }
}

/// The format that `properties` say; `default` where they say none.
///
/// # Errors
/// For a format or compression that is not written here.
pub(super) fn write_format(properties: &mut Properties, default: Option<&str>) -> Result<WriteFormat> {
    let name = properties.text("format")?.or_else(|| default.map(str::to_string));
    let Some(name) = name.map(|name| name.to_uppercase()) else {
        return Err(properties.wrong("format", "say which: PARQUET, TEXTFILE or JSON"));
    };
    let mut compression = None;
    for key in ["write_compression", "compression", "parquet_compression"] {
        if let Some(value) = properties.text(key)? {
            if compression.is_some() {
                return Err(properties.wrong(key, "one property of compression only"));
            }
            compression = Some(compression_of(&value).ok_or_else(|| properties.wrong(key, "GZIP, ZSTD, SNAPPY, LZ4 or NONE"))?);
        }
    }
    if let Some(level) = properties.level()? {
        let is_zstd = compression == Some(Compression::Zstd) && name == "PARQUET";
        let level = u8::try_from(level).ok().filter(|level| is_zstd && (1..=22).contains(level));
        let wrong = || properties.wrong("compression_level", "1 to 22, for PARQUET with write_compression ZSTD");
        compression = Some(Compression::ZstdLevel(level.ok_or_else(wrong)?));
    }
    let delimiter = match properties.text("field_delimiter")? {
        None => None,
        Some(text) => Some(
            delimiter(&text).ok_or_else(|| properties.wrong("field_delimiter", "give one ASCII character that is no digit"))?,
        ),
    };
    if delimiter.is_some() && !matches!(name.as_str(), "TEXTFILE" | "CSV") {
        return Err(properties.wrong("field_delimiter", "it is for the format TEXTFILE"));
    }
    match name.as_str() {
        "PARQUET" => Ok(WriteFormat::Parquet(compression.unwrap_or(Compression::Gzip))),
        "JSON" => Ok(WriteFormat::Json(compression.unwrap_or(Compression::Gzip))),
        "TEXTFILE" => {
            let text = TextFormat { delimiter: delimiter.unwrap_or(HIVE_DELIMITER), ..TextFormat::default() };
            Ok(WriteFormat::Text(text, compression.unwrap_or(Compression::Gzip)))
        }
        "ORC" | "AVRO" | "RCFILE" | "SEQUENCEFILE" => {
            Err(Error::invalid(format!("NOT_SUPPORTED: format {name} is not written here: use PARQUET, TEXTFILE or JSON")))
        }
        _ => Err(properties.wrong("format", "PARQUET, TEXTFILE or JSON")),
    }
}

fn compression_of(text: &str) -> Option<Compression> {
    Some(match text.to_uppercase().as_str() {
        "GZIP" => Compression::Gzip,
        "ZSTD" => Compression::Zstd,
        "SNAPPY" => Compression::Snappy,
        "LZ4" => Compression::Lz4,
        "NONE" | "UNCOMPRESSED" => Compression::None,
        _ => return None,
    })
}

/// One character, or one that is written as an escape.
fn delimiter(text: &str) -> Option<char> {
    match text {
        "\\t" => return Some('\t'),
        "\\001" => return Some(HIVE_DELIMITER),
        _ => {}
    }
    let mut characters = text.chars();
    // A digit would be read as the number of a character.
    characters.next().filter(|one| one.is_ascii() && !one.is_ascii_digit() && characters.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(given: &[(&str, PropertyValue)]) -> Result<WriteFormat> {
        let given = given.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let mut properties = Properties::new(&given, "CREATE TABLE AS");
        let format = write_format(&mut properties, Some("PARQUET"))?;
        properties.finish().map(|()| format)
    }

    #[test]
    fn formats_have_athenas_defaults() -> Result<()> {
        let text = |value: &str| PropertyValue::Text(value.into());
        assert_eq!(format(&[])?, WriteFormat::Parquet(Compression::Gzip));
        assert_eq!(
            format(&[("format", text("parquet")), ("write_compression", text("Snappy"))])?,
            WriteFormat::Parquet(Compression::Snappy)
        );
        for level in [PropertyValue::Number(9), text("9")] {
            let zstd = [("write_compression", text("zstd")), ("compression_level", level)];
            assert_eq!(format(&zstd)?, WriteFormat::Parquet(Compression::ZstdLevel(9)));
        }
        let tabs = TextFormat { delimiter: '\t', ..TextFormat::default() };
        assert_eq!(
            format(&[("format", text("TEXTFILE")), ("field_delimiter", text("\\t"))])?,
            WriteFormat::Text(tabs, Compression::Gzip)
        );
        for given in [
            vec![("format", text("ORC"))],
            vec![("compression_level", text("9"))],
            vec![("write_compression", text("ZSTD")), ("compression_level", text("23"))],
            vec![("write_compression", text("ZSTD")), ("compression_level", PropertyValue::Number(0))],
            vec![("format", text("JSON")), ("write_compression", text("ZSTD")), ("compression_level", text("9"))],
            vec![("format", text("x"))],
            vec![("format", PropertyValue::Number(1))],
            vec![("write_compression", text("LZMA"))],
            vec![("field_delimiter", text(","))],
            vec![("format", text("TEXTFILE")), ("field_delimiter", text("9"))],
            vec![("formt", text("PARQUET"))],
        ] {
            assert!(format(&given).is_err(), "{given:?}");
        }
        Ok(())
    }
}
