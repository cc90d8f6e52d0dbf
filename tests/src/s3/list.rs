//! One page of a listing: prefix, delimiter, start and size; it knows nothing of XML.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::store::Object;

/// What a page is to contain.
#[derive(Debug, Default)]
pub(super) struct Question<'a> {
    pub(super) prefix: &'a str,
    /// Empty means none.
    pub(super) delimiter: &'a str,
    pub(super) start_after: &'a str,
    /// The last entry of the page before this one; wins over `start_after`.
    pub(super) resume_after: Option<&'a str>,
    pub(super) max_entries: usize,
}

/// One page, sorted; objects and rolled-up prefixes together are at most `max_entries`.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<(String, Object)>,
    pub(super) prefixes: Vec<String>,
    /// The last entry, if there is more to list.
    pub(super) next: Option<String>,
}

impl Page {
    pub(super) fn entry_count(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

pub(super) fn page(objects: &BTreeMap<String, Object>, question: &Question<'_>) -> Page {
    let mut page = Page::default();
    let mut last: Option<String> = None;
    if question.max_entries == 0 {
        return page;
    }
    let after = question.resume_after.unwrap_or(question.start_after);
    let first = if after < question.prefix { Bound::Included(question.prefix) } else { Bound::Excluded(after) };
    let within = objects.range::<str, _>((first, Bound::Unbounded));
    for (key, object) in within.take_while(|(key, _)| key.starts_with(question.prefix)) {
        let rolled_up = rolled_up(key, question);
        let entry = rolled_up.unwrap_or(key);
        let repeats = last.as_deref().or(question.resume_after) == Some(entry);
        if rolled_up.is_some() && repeats {
            continue;
        }
        if page.entry_count() == question.max_entries {
            page.next = last;
            break;
        }
        last = Some(entry.to_owned());
        match rolled_up {
            Some(prefix) => page.prefixes.push(prefix.to_owned()),
            None => page.objects.push((key.clone(), object.clone())),
        }
    }
    page
}

/// The key up to and with the first delimiter behind the prefix.
fn rolled_up<'k>(key: &'k str, question: &Question<'_>) -> Option<&'k str> {
    if question.delimiter.is_empty() {
        return None;
    }
    let rest = key.get(question.prefix.len()..)?;
    let at = rest.find(question.delimiter)?;
    key.get(..question.prefix.len() + at + question.delimiter.len())
}
