//! `SHOW CREATE TABLE` and `SHOW CREATE VIEW`: text that makes the same again.

use super::{Answer, Run};
use crate::catalog::delta::is_delta;
use crate::catalog::model::{Column, Parameters, Table};
use crate::catalog::view::ViewDefinition;
use crate::ddl::statement::TableName;
use engine::{Error, Result};

impl Run<'_> {
    pub(super) async fn show_create_table(&self, name: &TableName) -> Result<Answer> {
        let table = self.existing(name).await?;
        if table.is_view() {
            return Err(Error::invalid(format!("'{}' is a view: use SHOW CREATE VIEW", table.full_name())));
        }
        Ok(Answer::new(&["createtab_stmt"], text(&table)))
    }

    pub(super) async fn show_create_view(&self, name: &TableName) -> Result<Answer> {
        let table = self.existing(name).await?;
        if !table.is_view() {
            return Err(Error::invalid(format!("'{}' is a table: use SHOW CREATE TABLE", table.full_name())));
        }
        let view = ViewDefinition::of(&table)?;
        let name = [&table.database_name, &table.name].map(|part| identifier(part)).join(".");
        let lines = format!("CREATE VIEW {name} AS\n{}", view.original_sql);
        Ok(Answer::new(&["Create View"], lines.lines().map(str::to_string).collect()))
    }
}

/// `name` as a query writes it.
fn identifier(name: &str) -> String {
    let is_plain = name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    match is_plain && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => name.to_string(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

fn quoted(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match c {
            '\'' => escaped.push_str("''"),
            '\\' => escaped.push_str("\\\\"),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_ascii_control() => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    format!("'{escaped}'")
}

/// Each column on a line, with `, ` between and `)` at the end, as Hive has it.
fn columns(lines: &mut Vec<String>, columns: &[Column]) {
    let last = columns.len().saturating_sub(1);
    for (place, column) in columns.iter().enumerate() {
        let comment = column.comment.as_ref().map(|comment| format!(" COMMENT {}", quoted(comment))).unwrap_or_default();
        let end = if place == last { ")" } else { ", " };
        lines.push(format!("  `{}` {}{comment}{end}", column.name, column.hive_type));
    }
}

fn properties(lines: &mut Vec<String>, parameters: &[(&String, &String)], end: &str) {
    let last = parameters.len().saturating_sub(1);
    for (place, (key, value)) in parameters.iter().enumerate() {
        let end = if place == last { end } else { ", " };
        lines.push(format!("  {}={}{end}", quoted(key), quoted(value)));
    }
}

fn text(table: &Table) -> Vec<String> {
    let empty = Parameters::new();
    let storage = table.storage_descriptor.clone().unwrap_or_default();
    let is_delta = is_delta(table);
    let mut lines = vec![format!("CREATE EXTERNAL TABLE `{}`{}", table.name, if is_delta { "" } else { "(" })];
    if !is_delta {
        columns(&mut lines, &storage.columns);
    }
    if let Some(comment) = table.parameters.get("comment") {
        lines.push(format!("COMMENT {}", quoted(comment)));
    }
    if !table.partition_keys.is_empty() && !is_delta {
        lines.push("PARTITIONED BY ( ".into());
        columns(&mut lines, &table.partition_keys);
    }
    if !storage.bucket_columns.is_empty() {
        let names = |names: Vec<String>| names.join(", ");
        lines
            .push(format!("CLUSTERED BY ( {} )", names(storage.bucket_columns.iter().map(|name| format!("`{name}`")).collect())));
        if !storage.sort_columns.is_empty() {
            let sorted = storage.sort_columns.iter();
            let sorted = sorted.map(|sort| format!("`{}` {}", sort.column, if sort.sort_order == 1 { "ASC" } else { "DESC" }));
            lines.push(format!("SORTED BY ( {} )", names(sorted.collect())));
        }
        lines.push(format!("INTO {} BUCKETS", storage.number_of_buckets.unwrap_or(1)));
    }
    if let Some(serde) = storage.serde_info.as_ref().filter(|_| !is_delta) {
        if let Some(library) = &serde.serialization_library {
            lines.extend(["ROW FORMAT SERDE ".to_string(), format!("  {} ", quoted(library))]);
        }
        let own: Vec<_> = serde
            .parameters
            .iter()
            .filter(|(key, value)| (key.as_str(), value.as_str()) != ("serialization.format", "1"))
            .collect();
        if serde.serialization_library.is_some() && !own.is_empty() {
            lines.push("WITH SERDEPROPERTIES ( ".into());
            properties(&mut lines, &own, ") ");
        }
    }
    if let (Some(input), Some(output), false) = (&storage.input_format, &storage.output_format, is_delta) {
        lines.extend([
            "STORED AS INPUTFORMAT ".to_string(),
            format!("  {} ", quoted(input)),
            "OUTPUTFORMAT ".into(),
            format!("  {}", quoted(output)),
        ]);
    }
    if let Some(location) = &storage.location {
        lines.extend(["LOCATION".to_string(), format!("  {}", quoted(location))]);
    }
    let parameters = if table.parameters.is_empty() { &empty } else { &table.parameters };
    let own: Vec<_> = parameters.iter().filter(|(key, _)| !matches!(key.as_str(), "EXTERNAL" | "comment")).collect();
    if !own.is_empty() {
        lines.push("TBLPROPERTIES (".into());
        properties(&mut lines, &own, ")");
    }
    lines
}
