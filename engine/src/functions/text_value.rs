//! Fields of LazySimpleSerDe's lines that are arrays, maps and rows: each level within a field has a separator of its own.
//!
//! The rules are those of Trino: values that are missing in a row or behind a key are NULL, and of keys that are alike the first stays.

use super::Functions;
use super::conversion::{parse_decimal, parse_double, parse_real};
use super::define::{Arg, Call, Typing, define};
use super::text_line::{date, days, escaped_fields, integer, timestamp, unescaped};
use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray, MapArray,
    StringArray, StructArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result, exec_err, plan_err};
use std::collections::HashSet;
use std::sync::Arc;

/// Name of the function of a field, the separators of its levels, the escape (may be empty), the text that stands for NULL, and a
/// struct with one field, whose type is that of the value.
pub const TEXT_VALUE: &str = "owlet_text_value";

/// How a table's fields are cut.
struct Rules<'a> {
    separators: Vec<char>,
    escape: &'a str,
    null: &'a str,
}

impl Rules<'_> {
    fn cut<'t>(&self, text: &'t str, level: usize) -> Result<Vec<&'t str>> {
        let Some(separator) = self.separators.get(level) else { return exec_err!("NOT_SUPPORTED: text of so many levels") };
        Ok(match self.escape.chars().next() {
            None => text.split(*separator).collect(),
            Some(escape) => escaped_fields(text, *separator, escape).collect(),
        })
    }

    fn known<'t>(&self, text: &'t str) -> Option<&'t str> {
        Some(text).filter(|text| *text != self.null)
    }

    /// The key and the value of an entry.
    fn entry<'t>(&self, text: &'t str, level: usize) -> Result<(Option<&'t str>, Option<&'t str>)> {
        let key = self.cut(text, level)?.first().copied().unwrap_or_default();
        // Separators are ASCII.
        let value = text.get(key.len() + 1..).and_then(|value| self.known(value));
        Ok((self.known(key), value))
    }
}

/// `None` is NULL.
type Texts<'a> = [Option<&'a str>];

fn build(texts: &Texts<'_>, target: &DataType, level: usize, rules: &Rules<'_>) -> Result<ArrayRef> {
    let valid = || NullBuffer::from(texts.iter().map(Option::is_some).collect::<Vec<_>>());
    Ok(match target {
        DataType::List(item) => {
            let (items, lengths) = members(texts, level, rules)?;
            let items: Vec<_> = items.into_iter().map(|item| rules.known(item)).collect();
            let array = build(&items, item.data_type(), level + 1, rules)?;
            Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), array, Some(valid()))?)
        }
        DataType::Struct(fields) => {
            let rows = texts.iter().map(|text| text.map_or(Ok(Vec::new()), |text| rules.cut(text, level)));
            let rows = rows.collect::<Result<Vec<_>>>()?;
            let columns = fields.iter().enumerate().map(|(index, field)| {
                let column: Vec<_> = rows.iter().map(|row| row.get(index).and_then(|text| rules.known(text))).collect();
                build(&column, field.data_type(), level + 1, rules)
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(valid()), texts.len())?)
        }
        DataType::Map(entries, is_sorted) => {
            let DataType::Struct(pair) = entries.data_type() else { return plan_err!("a map without keys and values") };
            let [key, value] = pair.as_ref() else { return plan_err!("a map without keys and values") };
            let (items, mut lengths) = members(texts, level, rules)?;
            let items = items.into_iter().map(|item| rules.entry(item, level + 1)).collect::<Result<Vec<_>>>()?;
            let (keys, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
            let keys = build(&keys, key.data_type(), level + 2, rules)?;
            let kept = first_ones(&keys, &mut lengths)?;
            let values: Vec<_> = kept.iter().map(|index| values.get(*index).copied().flatten()).collect();
            let places: UInt64Array = kept.iter().map(|index| *index as u64).collect::<Vec<_>>().into();
            let columns = vec![take(&keys, &places, None)?, build(&values, value.data_type(), level + 2, rules)?];
            let pairs = StructArray::try_new(pair.clone(), columns, None)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, Some(valid()), *is_sorted)?)
        }
        plain => scalars(texts, plain, rules)?,
    })
}

/// The members of all texts, of which an empty one has none, and how many each has.
fn members<'t>(texts: &Texts<'t>, level: usize, rules: &Rules<'_>) -> Result<(Vec<&'t str>, Vec<usize>)> {
    let (mut all, mut lengths) = (Vec::new(), Vec::with_capacity(texts.len()));
    for text in texts {
        let before = all.len();
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            all.extend(rules.cut(text, level)?);
        }
        lengths.push(all.len() - before);
    }
    Ok((all, lengths))
}

/// Where the keys are that stay in their maps, whose `lengths` become those of what stays.
fn first_ones(keys: &ArrayRef, lengths: &mut [usize]) -> Result<Vec<usize>> {
    let shown = ArrayFormatter::try_new(keys, &FormatOptions::default())?;
    let (mut kept, mut start) = (Vec::with_capacity(keys.len()), 0);
    for length in lengths {
        let (mut seen, before) = (HashSet::new(), kept.len());
        let range = start..start + *length;
        start = range.end;
        kept.extend(range.filter(|at| keys.is_valid(*at) && seen.insert(shown.value(*at).to_string())));
        *length = kept.len() - before;
    }
    Ok(kept)
}

fn scalars(texts: &Texts<'_>, target: &DataType, rules: &Rules<'_>) -> Result<ArrayRef> {
    fn each<T>(texts: &Texts<'_>, to: impl Fn(&str) -> Option<T>) -> Vec<Option<T>> {
        texts.iter().map(|text| text.and_then(&to)).collect()
    }
    let truth = |text: &str| match text {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    };
    Ok(match target {
        DataType::Utf8 => {
            Arc::new(StringArray::from_iter(texts.iter().map(|text| text.map(|text| unescaped(text, rules.escape)))))
        }
        DataType::Boolean => Arc::new(BooleanArray::from(each(texts, truth))),
        DataType::Float64 => Arc::new(Float64Array::from(each(texts, parse_double))),
        DataType::Float32 => Arc::new(Float32Array::from(each(texts, parse_real))),
        DataType::Date32 => Arc::new(Date32Array::from(each(texts, |text| date(text).map(days)))),
        DataType::Timestamp(TimeUnit::Millisecond, None) => Arc::new(TimestampMillisecondArray::from(each(texts, timestamp))),
        DataType::Decimal128(precision, scale) => {
            let numbers = each(texts, |text| parse_decimal(text, *precision, *scale));
            Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(*precision, *scale)?)
        }
        integers if integers.is_integer() => cast(&Int64Array::from(each(texts, integer)), integers)?,
        other => return plan_err!("text holds no {other}"),
    })
}

fn target(typing: &Typing<'_>) -> Result<DataType> {
    match typing.kind(4) {
        DataType::Struct(fields) if fields.len() == 1 => Ok(fields[0].data_type().clone()),
        other => plan_err!("{TEXT_VALUE} takes a struct of its type, not {other}"),
    }
}

fn values(call: &Call<'_>) -> Result<ArrayRef> {
    let (fields, separators, escape, null) = (call.texts(0)?, call.texts(1)?, call.texts(2)?, call.texts(3)?);
    let separators = separators.get(0).unwrap_or_default().chars().collect();
    let rules = Rules { separators, escape: escape.get(0).unwrap_or_default(), null: null.get(0).unwrap_or_default() };
    let texts: Vec<Option<&str>> = (0..call.rows).map(|row| fields.get(row)).collect();
    build(&texts, call.returns, 0, &rules)
}

pub(super) fn add(functions: &mut Functions) {
    let arguments = [Arg::Text, Arg::Text, Arg::Text, Arg::Text, Arg::Any];
    functions.scalar.push(define(TEXT_VALUE).typed(&arguments, None, target, values).udf());
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, Fields};

    fn field(name: &str, kind: DataType) -> Arc<Field> {
        Arc::new(Field::new(name, kind, true))
    }

    fn list(kind: DataType) -> DataType {
        DataType::List(field("item", kind))
    }

    fn map(key: DataType, value: DataType) -> DataType {
        let pair = Fields::from(vec![Arc::new(Field::new("key", key, false)), field("value", value)]);
        DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair), false)), false)
    }

    fn shown(text: &str, kind: &DataType, escape: &str) -> String {
        let rules = Rules { separators: "|:;.".chars().collect(), escape, null: "\\N" };
        let array = build(&[Some(text), None], kind, 0, &rules).expect("a value");
        assert!(array.is_null(1) && array.len() == 2);
        let options = FormatOptions::default().with_null("NULL");
        ArrayFormatter::try_new(&array, &options).expect("a type").value(0).to_string()
    }

    /// What Trino's tests of this serde know.
    #[test]
    fn values_are_cut_at_the_separators_of_their_levels() {
        use DataType::{Float64, Int64, Utf8};
        let row = DataType::Struct(Fields::from(vec![field("a", Int64), field("b", Utf8), field("c", Float64)]));
        for (text, wanted) in [
            ("", "{a: NULL, b: NULL, c: NULL}"),
            ("1|a", "{a: 1, b: a, c: NULL}"),
            ("1|a|NaN|ign|ored", "{a: 1, b: a, c: NaN}"),
            ("|a|", "{a: NULL, b: a, c: NULL}"),
            ("x|\\N|1.5", "{a: NULL, b: NULL, c: 1.5}"),
        ] {
            assert_eq!(shown(text, &row, ""), wanted, "{text}");
        }
        for (text, wanted) in [
            ("", "{}"),
            ("a:1|b:2", "{a: 1, b: 2}"),
            ("a:1|b:7|a:2|b:8", "{a: 1, b: 7}"),
            ("keyOnly", "{keyOnly: NULL}"),
            ("a:\\N|\\N:1|b:x|:5", "{a: NULL, b: NULL, : 5}"),
        ] {
            assert_eq!(shown(text, &map(Utf8, Int64), ""), wanted, "{text}");
        }
        assert_eq!(shown("1:a:b|x:y|01:c", &map(Int64, Utf8), ""), "{1: a:b}");
        for (text, wanted) in [("", "[]"), ("a", "[a]"), ("a||\\N|", "[a, , NULL, ]"), ("a\\|b", "[a\\, b]")] {
            assert_eq!(shown(text, &list(Utf8), ""), wanted, "{text}");
        }
        assert_eq!(shown("a\\|b|\\\\N", &list(Utf8), "\\"), "[a|b, \\N]");
        assert_eq!(shown("1:2||\\N|3", &list(list(Int64)), ""), "[[1, 2], [], NULL, [3]]");
        assert_eq!(shown("k:1;2;x|l:", &map(Utf8, list(Int64)), ""), "{k: [1, 2, NULL], l: []}");
        let rules = Rules { separators: vec!['|'], escape: "", null: "\\N" };
        assert!(build(&[Some("a")], &list(list(Utf8)), 0, &rules).is_err());
    }

    #[test]
    fn what_is_no_value_of_its_type_is_null() {
        use DataType::{Boolean, Date32, Decimal128, Int8, Timestamp};
        for (text, kind, wanted) in [
            ("1|128|-128|x|1.9", Int8, "[1, NULL, -128, NULL, 1]"),
            ("TRUE|f|false", Boolean, "[true, NULL, false]"),
            ("1.005|1e2|1000|x| 1", Decimal128(5, 2), "[1.01, 100.00, NULL, NULL, NULL]"),
            ("2024-01-31|x", Date32, "[2024-01-31, NULL]"),
            ("2024-01-31 00:00|2024-01-31T01:00", Timestamp(TimeUnit::Millisecond, None), "[NULL, 2024-01-31T01:00:00]"),
        ] {
            assert_eq!(shown(text, &list(kind), ""), wanted, "{text}");
        }
    }
}
