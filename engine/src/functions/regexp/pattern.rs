//! Compiled patterns: the linear engine where it can, a backtracking one with a limit where the pattern needs it.

use super::java::translate;
use crate::functions::text_support::bad;
use datafusion::error::Result;
use std::cell::OnceCell;
use std::ops::Range;

/// A pattern. Texts that end in a line break have a program of their own, because `$` also matches before that break.
pub(super) struct Pattern {
    source: String,
    engine: Engine,
    has_anchors: bool,
    at_last_break: OnceCell<Engine>,
}

enum Engine {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// Where groups matched; the first is the whole match.
pub(super) type Groups = Vec<Option<Range<usize>>>;

impl Engine {
    fn compile(source: &str, last_break: bool) -> Result<(Self, bool)> {
        let translated = translate(source, last_break)?;
        let engine = if translated.backtracks {
            fancy_regex::Regex::new(&translated.pattern)
                .map(|regex| Self::Backtracking(Box::new(regex)))
                .map_err(|error| error.to_string())
        } else {
            regex::Regex::new(&translated.pattern).map(Self::Linear).map_err(|error| error.to_string())
        };
        let engine = engine.map_err(|error| bad(format!("invalid pattern '{source}': {error}")))?;
        Ok((engine, translated.has_anchors))
    }
}

impl Pattern {
    /// Compiles a pattern of Java's syntax.
    pub(super) fn compile(source: &str) -> Result<Self> {
        let (engine, has_anchors) = Engine::compile(source, false)?;
        Ok(Self { source: source.to_string(), engine, has_anchors, at_last_break: OnceCell::new() })
    }

    fn engine(&self, text: &str) -> Result<&Engine> {
        if !self.has_anchors || !text.ends_with('\n') {
            return Ok(&self.engine);
        }
        if let Some(engine) = self.at_last_break.get() {
            return Ok(engine);
        }
        let (engine, _) = Engine::compile(&self.source, true)?;
        Ok(self.at_last_break.get_or_init(|| engine))
    }

    /// How many groups there are beside the whole match.
    pub(super) fn groups(&self) -> usize {
        let all = match &self.engine {
            Engine::Linear(regex) => regex.captures_len(),
            Engine::Backtracking(regex) => regex.captures_len(),
        };
        all.saturating_sub(1)
    }

    /// The number of a named group.
    pub(super) fn group_named(&self, name: &str) -> Option<usize> {
        match &self.engine {
            Engine::Linear(regex) => regex.capture_names().position(|known| known == Some(name)),
            Engine::Backtracking(regex) => regex.capture_names().position(|known| known == Some(name)),
        }
    }

    /// Whether the pattern matches anywhere.
    pub(super) fn is_match(&self, text: &str) -> Result<bool> {
        match self.engine(text)? {
            Engine::Linear(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking(regex) => regex.is_match(text).map_err(|error| self.failed(&error)),
        }
    }

    fn failed(&self, error: &fancy_regex::Error) -> datafusion::error::DataFusionError {
        bad(format!("matching the pattern '{}': {error}", self.source))
    }

    /// The first match that begins at `from` or later.
    fn next(&self, text: &str, from: usize, with_groups: bool) -> Result<Option<Groups>> {
        Ok(match self.engine(text)? {
            Engine::Linear(regex) if with_groups => {
                regex.captures_at(text, from).map(|found| found.iter().map(|group| group.map(|group| group.range())).collect())
            }
            Engine::Linear(regex) => regex.find_at(text, from).map(|found| vec![Some(found.range())]),
            Engine::Backtracking(regex) => {
                let found = regex.captures_from_pos(text, from).map_err(|error| self.failed(&error))?;
                found.map(|found| found.iter().map(|group| group.map(|group| group.range())).collect())
            }
        })
    }

    /// Gives each match from `from` on to `visit`, until that says to stop. After an empty match the search goes on one character
    /// further; an empty match may follow directly after another match.
    pub(super) fn each_match(
        &self,
        text: &str,
        mut from: usize,
        with_groups: bool,
        mut visit: impl FnMut(&Range<usize>, &Groups) -> Result<bool>,
    ) -> Result<()> {
        while from <= text.len() {
            let Some(groups) = self.next(text, from, with_groups)? else { break };
            let Some(whole) = groups.first().cloned().flatten() else { break };
            let character = text.get(whole.end..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
            from = if whole.is_empty() { whole.end + character } else { whole.end };
            if !visit(&whole, &groups)? {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        Pattern::compile(pattern)
            .unwrap()
            .each_match(text, 0, false, |whole, _| {
                found.push(format!("{}:{}", whole.start, &text[whole.clone()]));
                Ok(true)
            })
            .unwrap();
        found
    }

    #[test]
    fn empty_matches_follow_others_and_lines_end_before_the_last_break() {
        assert_eq!(matches("b*", "abé"), ["0:", "1:b", "2:", "4:"]);
        assert_eq!(matches("a$", "a\n"), ["0:a"]);
        assert_eq!(matches("a\\z", "a\n"), [""; 0]);
        assert_eq!(matches("(?m)^.?", "a\nb\n"), ["0:a", "2:b"]);
        assert_eq!(matches("(?m)$", "a\nb\n"), ["1:", "3:"]);
        assert_eq!(matches("$", "a\n\n"), ["2:", "3:"]);
        assert_eq!(matches("a++b?", "aab"), ["0:aab"]);
        assert_eq!(matches("(?<=a)b", "abb"), ["1:b"]);
        assert_eq!(matches("", "é"), ["0:", "2:"]);
    }
}
