//! The paths of `json_extract` and its kin: `$`, then names and subscripts. They know no wildcards, as in Trino.

use super::reader::{Kind, Read, Reader};
use crate::functions::text_support::bad;
use datafusion::error::Result;

/// Names from the root to a value; a number also picks an item of an array.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<String>);

impl Path {
    /// Reads a path.
    pub(super) fn parse(path: &str) -> Result<Self> {
        let steps = path.strip_prefix('$').and_then(steps);
        steps.map(Self).ok_or_else(|| bad(format!("Invalid JSON path: '{path}'")))
    }

    /// Moves the reader to the value; `None` when there is none.
    pub(super) fn find(&self, reader: &mut Reader<'_>) -> Read<Option<()>> {
        for step in &self.0 {
            let found = match reader.kind()? {
                Kind::Object => find_member(reader, step)?,
                Kind::Array => find_item(reader, step.parse().ok())?,
                _ => false,
            };
            if !found {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }
}

fn find_member(reader: &mut Reader<'_>, wanted: &str) -> Read<bool> {
    reader.enter_object()?;
    let mut first = true;
    while let Some(name) = reader.next_member(std::mem::take(&mut first))? {
        if name == wanted {
            return Ok(true);
        }
        reader.skip()?;
    }
    Ok(false)
}

fn find_item(reader: &mut Reader<'_>, wanted: Option<usize>) -> Read<bool> {
    reader.enter_array()?;
    let mut index = 0;
    while reader.next_item(index == 0)? {
        if wanted == Some(index) {
            return Ok(true);
        }
        reader.skip()?;
        index += 1;
    }
    Ok(false)
}

fn steps(mut rest: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let step;
        if let Some(after) = rest.strip_prefix('.') {
            (step, rest) = plain(after, |c| c == ':' || is_plain(c))?;
        } else {
            let after = rest.strip_prefix('[')?;
            (step, rest) = match after.strip_prefix('"') {
                Some(quoted) => quoted_step(quoted)?,
                None => plain(after, is_plain)?,
            };
            rest = rest.strip_prefix(']')?;
        }
        steps.push(step);
    }
    Some(steps)
}

fn is_plain(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn plain(text: &str, allowed: impl Fn(char) -> bool) -> Option<(String, &str)> {
    let end = text.find(|c| !allowed(c)).unwrap_or(text.len());
    let (step, rest) = text.split_at_checked(end)?;
    (!step.is_empty()).then(|| (step.to_string(), rest))
}

fn quoted_step(text: &str) -> Option<(String, &str)> {
    let mut step = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some((step, characters.as_str())),
            '\\' => step.push(characters.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => step.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_subscripts_and_quotes() {
        let parsed = |path| Path::parse(path).ok().map(|path| path.0.join("|"));
        assert_eq!(parsed("$").as_deref(), Some(""));
        assert_eq!(parsed("$.a.b[0]").as_deref(), Some("a|b|0"));
        assert_eq!(parsed(r#"$["a b"]["\"\\"].x:y"#).as_deref(), Some(r#"a b|"\|x:y"#));
        for refused in ["", "a", "$.", "$..a", "$.*", "$[*]", "$[-1]", "$.a-b", "$a", "$[\"a\"", "$.a ", "$['a']"] {
            assert_eq!(parsed(refused), None, "{refused}");
        }
    }
}
