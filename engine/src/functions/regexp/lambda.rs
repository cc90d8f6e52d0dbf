//! `regexp_replace` with a lambda is planned as three calls: the groups of each match, the lambda over these, and what puts the
//! results in place of the matches.

use super::pattern::Pattern;
use crate::functions::nested::{Call, MAX_BATCH_ELEMENTS, Scalar, check_count, list_from_parts, list_item, list_of};
use crate::functions::{Functions, text_support::bounded};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StringBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use std::collections::HashMap;
use std::sync::Arc;

/// Adds the functions of this file.
pub(super) fn add_to(functions: &mut Functions) {
    let texts = |types: &[DataType]| {
        check_count(types, 2..=2)?;
        Ok(vec![DataType::Utf8; 2])
    };
    let filled = |types: &[DataType]| {
        check_count(types, 3..=3)?;
        match list_item(&types[2]) {
            Some(item) if item.is_null() || item.is_string() => Ok(vec![DataType::Utf8, DataType::Utf8, list_of(DataType::Utf8)]),
            _ => plan_err!("TYPE_MISMATCH: the lambda of regexp_replace gives varchar, not {}", types[2]),
        }
    };
    functions.scalar.extend([
        Scalar::udf("owlet_regexp_groups", texts, |_| Ok(list_of(list_of(DataType::Utf8))), groups),
        Scalar::udf("owlet_regexp_fill", filled, |_| Ok(DataType::Utf8), fill),
    ]);
}

/// Patterns by their text, each compiled once in a batch.
#[derive(Default)]
struct Patterns(HashMap<String, Pattern>);

impl Patterns {
    fn get(&mut self, source: &str) -> Result<&Pattern> {
        if !self.0.contains_key(source) {
            self.0.insert(source.to_string(), Pattern::compile(source)?);
        }
        match self.0.get(source) {
            Some(pattern) => Ok(pattern),
            None => internal_err!("a pattern is lost"),
        }
    }
}

fn texts<'a>(call: &'a Call<'_>, index: usize) -> Result<&'a StringArray> {
    match call.arg(index)?.as_string_opt::<i32>() {
        Some(texts) => Ok(texts),
        None => internal_err!("argument {index} is no text"),
    }
}

/// For each match a list of what its groups matched.
fn groups(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, sources) = (texts(call, 0)?, texts(call, 1)?);
    let mut patterns = Patterns::default();
    let mut found = StringBuilder::new();
    let (mut counts, mut matches, mut valid) = (Vec::new(), Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let before = counts.len();
        let is_known = values.is_valid(row) && sources.is_valid(row);
        if is_known {
            let (text, pattern) = (values.value(row), patterns.get(sources.value(row))?);
            pattern.each_match(text, 0, true, |_, groups| {
                for group in groups.iter().skip(1) {
                    found.append_option(group.as_ref().and_then(|range| text.get(range.clone())));
                }
                counts.push(groups.len().saturating_sub(1));
                Ok(true)
            })?;
        }
        if found.offsets_slice().len().max(counts.len()) > MAX_BATCH_ELEMENTS {
            return exec_err!("the groups of one batch are more than {MAX_BATCH_ELEMENTS}");
        }
        matches.push(counts.len() - before);
        valid.push(is_known);
    }
    let inner = list_from_parts(Arc::new(found.finish()), &counts, None, &list_of(DataType::Utf8))?;
    list_from_parts(inner, &matches, Some(NullBuffer::from(valid)), call.result)
}

/// The text with the elements of the list, one by one, in place of the matches.
fn fill(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, sources) = (texts(call, 0)?, texts(call, 1)?);
    let Some(lists) = call.arg(2)?.as_list_opt::<i32>() else { return internal_err!("argument 3 is no array") };
    let mut patterns = Patterns::default();
    let mut made = StringBuilder::with_capacity(call.rows, call.rows * 8);
    for row in 0..call.rows {
        if values.is_null(row) || sources.is_null(row) || lists.is_null(row) {
            made.append_null();
            continue;
        }
        made.append_option(filled(values.value(row), patterns.get(sources.value(row))?, lists, row)?);
    }
    Ok(Arc::new(made.finish()))
}

/// None where the lambda gives NULL for one of the matches.
fn filled(text: &str, pattern: &Pattern, lists: &ListArray, row: usize) -> Result<Option<String>> {
    let list = lists.value(row);
    let Some(replacements) = list.as_string_opt::<i32>() else { return internal_err!("the elements are no texts") };
    if replacements.null_count() > 0 {
        return Ok(None);
    }
    let (mut filled, mut end, mut index) = (String::new(), 0, 0);
    pattern.each_match(text, 0, false, |whole, _| {
        filled.push_str(text.get(end..whole.start).unwrap_or_default());
        if index >= replacements.len() {
            return exec_err!("regexp_replace with a lambda needs a text and a pattern that stay the same");
        }
        filled.push_str(replacements.value(index));
        (end, index) = (whole.end, index + 1);
        bounded(filled.len())?;
        Ok(true)
    })?;
    filled.push_str(text.get(end..).unwrap_or_default());
    Ok(Some(filled))
}
