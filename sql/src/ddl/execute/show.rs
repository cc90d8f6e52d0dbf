//! `SHOW` of lists of names.

use super::{Answer, Run};
use crate::catalog::{CatalogError, Table};
use crate::ddl::statement::{NamePattern, TableName};
use engine::Result;

impl Run<'_> {
    pub(super) async fn show_databases(&self, pattern: Option<&NamePattern>) -> Result<Answer> {
        let names = self.catalog.databases().await?.into_iter().map(|database| database.name);
        Ok(Answer::new(&["database_name"], names.filter(|name| matches(pattern, name)).collect()))
    }

    async fn names(
        &self,
        database: Option<&str>,
        pattern: Option<&NamePattern>,
        wanted: fn(&Table) -> bool,
    ) -> Result<Vec<String>> {
        let database = database.unwrap_or(self.context.database);
        let tables = match self.catalog.tables(database).await {
            // Nothing was ever made in the default database of a new catalog.
            Err(CatalogError::NoDatabase(name)) if name == "default" => Vec::new(),
            tables => tables?,
        };
        Ok(tables.into_iter().filter(wanted).map(|table| table.name).filter(|name| matches(pattern, name)).collect())
    }

    pub(super) async fn show_tables(&self, database: Option<&str>, pattern: Option<&NamePattern>) -> Result<Answer> {
        Ok(Answer::new(&["tab_name"], self.names(database, pattern, |_| true).await?))
    }

    pub(super) async fn show_views(&self, database: Option<&str>, pattern: Option<&NamePattern>) -> Result<Answer> {
        Ok(Answer::new(&["views"], self.names(database, pattern, Table::is_view).await?))
    }

    pub(super) async fn show_columns(&self, name: &TableName) -> Result<Answer> {
        let table = self.existing(name).await?;
        let (columns, _) = self.columns(&table).await?;
        Ok(Answer::new(&["field"], columns.iter().map(|column| format!("{:<20}", column.name)).collect()))
    }

    pub(super) async fn show_properties(&self, name: &TableName, key: Option<&str>) -> Result<Answer> {
        let table = self.existing(name).await?;
        if let Some(key) = key {
            let value = table.parameters.get(key).cloned();
            let line = value.unwrap_or_else(|| format!("Table {} does not have property: {key}", table.full_name()));
            return Ok(Answer::new(&["prpt_value"], vec![line]));
        }
        let lines = table.parameters.iter().map(|(key, value)| format!("{key}\t{value}")).collect();
        Ok(Answer::new(&["prpt_name", "prpt_value"], lines))
    }

    pub(super) fn show_functions(&self, pattern: Option<&NamePattern>) -> Answer {
        let mut names: Vec<String> = self.context.functions.iter().filter(|name| matches(pattern, name)).cloned().collect();
        names.sort();
        names.dedup();
        Answer::new(&["Function"], names)
    }
}

/// Whether a name meets a pattern, in any case: `*` (and `.*`, `%` in LIKE) is any text, `_` in LIKE any character, `|` or.
fn matches(pattern: Option<&NamePattern>, name: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (text, is_like) = match pattern {
        NamePattern::Hive(text) => (text, false),
        NamePattern::Like(text) => (text, true),
    };
    text.to_lowercase().split('|').any(|text| {
        let mut wanted = Vec::new();
        let text = text.replace(".*", "*");
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            wanted.push(match c {
                '*' => Wanted::Any,
                '%' if is_like => Wanted::Any,
                '_' if is_like => Wanted::One,
                '\\' if is_like => Wanted::Is(chars.next().unwrap_or('\\')),
                c => Wanted::Is(c),
            });
        }
        fits(&wanted, &name)
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Any,
    One,
    Is(char),
}

/// Walks both once, and goes back to the last `Any` where they differ.
fn fits(wanted: &[Wanted], name: &[char]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while place < name.len() {
        match wanted.get(at) {
            Some(Wanted::Any) => {
                last = Some((at, place));
                at += 1;
            }
            Some(Wanted::One) => (at, place) = (at + 1, place + 1),
            Some(Wanted::Is(c)) if Some(c) == name.get(place) => (at, place) = (at + 1, place + 1),
            _ => match last {
                Some((any, from)) => {
                    last = Some((any, from + 1));
                    (at, place) = (any + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    wanted.iter().skip(at).all(|rest| *rest == Wanted::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_hives_and_likes() {
        let hive = |pattern: &str, name: &str| matches(Some(&NamePattern::Hive(pattern.into())), name);
        assert!(hive("a*|b", "abc") && hive("a*|b", "b") && !hive("a*|b", "bc") && hive("*x*y", "axby") && hive("a.*", "abc"));
        assert!(!hive("a_c", "abc") && hive("A_C", "a_c") && hive("", "") && !hive("", "a"));
        let like = |pattern: &str, name: &str| matches(Some(&NamePattern::Like(pattern.into())), name);
        assert!(like("a%", "abc") && like("a_c", "abc") && !like("a\\_c", "abc") && like("a\\_c", "a_c") && like("x*", "xyz"));
        let slow = "*a".repeat(40);
        assert!(!hive(&slow, &"b".repeat(200)));
    }
}
