//! `listagg(x, ',')` of the array of all `x`; with `ON OVERFLOW TRUNCATE '...' WITH COUNT` of as many as there is room for.

use crate::functions::conversion::type_name;
use crate::functions::define::is_text;
use crate::functions::nested::{Call, as_list, check_count, list_item};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use std::sync::Arc;

/// Most bytes of the values and what is between them.
const MAX_BYTES: usize = 1024 * 1024;
/// Most bytes of what stands for the rest.
const MAX_FILLER_BYTES: usize = 65_536;

/// An array of texts, what is between them, what stands for those without room, NULL where that is an error, and whether their count
/// follows it.
pub(super) fn types(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 4..=4)?;
    let list = as_list(&types[0])?;
    let item = list_item(&list).unwrap_or(DataType::Null);
    if !is_text(&item) && !item.is_null() {
        return plan_err!(
            "Unexpected parameters ({}, varchar) for function listagg; it takes (varchar, varchar)",
            type_name(&item)
        );
    }
    Ok(vec![list, DataType::Utf8, DataType::Utf8, DataType::Boolean])
}

pub(super) fn listagg(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.lists(0)?;
    let texts = cast(&lists.values, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let text = |index: usize| call.arg(index).map(|array| array.as_string::<i32>().clone());
    let (separators, fillers, counts) = (text(1)?, text(2)?, call.arg(3)?.as_boolean());
    let mut all = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let known: Vec<&str> = lists.range(row).filter(|at| texts.is_valid(*at)).map(|at| texts.value(at)).collect();
        if known.is_empty() {
            all.push(None);
            continue;
        }
        if fillers.is_null(row) {
            let separators_len = (known.len() - 1).saturating_mul(separators.value(row).len());
            if known.iter().map(|text| text.len()).sum::<usize>().saturating_add(separators_len) > MAX_BYTES {
                return exec_err!(
                    "Concatenated string has the length in bytes larger than the maximum output length {MAX_BYTES}"
                );
            }
            all.push(Some(known.join(separators.value(row))));
            continue;
        }
        let filler = fillers.value(row);
        if filler.len() > MAX_FILLER_BYTES {
            return exec_err!("Overflow filler length {} exceeds maximum length {MAX_FILLER_BYTES}", filler.len());
        }
        all.push(Some(joined(&known, separators.value(row), filler, counts.value(row), MAX_BYTES)));
    }
    Ok(Arc::new(StringArray::from(all)))
}

fn joined(texts: &[&str], separator: &str, filler: &str, with_count: bool, most: usize) -> String {
    let mut all = String::new();
    for (count, text) in texts.iter().enumerate() {
        let between = if count > 0 { separator } else { "" };
        if all.len() + between.len() + text.len() > most {
            all.push_str(between);
            all.push_str(filler);
            if with_count {
                all.push_str(&format!("({})", texts.len() - count));
            }
            break;
        }
        all.push_str(between);
        all.push_str(text);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn what_has_no_room_is_counted() {
        let texts = ["overflow", "b", "c"];
        assert_eq!(joined(&texts, ",", "...", true, 12), "overflow,b,c");
        assert_eq!(joined(&texts, ",", "...", true, 11), "overflow,b,...(1)");
        assert_eq!(joined(&texts, ",", "...", true, 9), "overflow,...(2)");
        assert_eq!(joined(&texts, ",", ".....", false, 9), "overflow,.....");
        assert_eq!(joined(&texts, ",", "...", true, 7), "...(3)");
        assert_eq!(joined(&["", "b"], ",", "...", false, 1), ",...");
    }
}
