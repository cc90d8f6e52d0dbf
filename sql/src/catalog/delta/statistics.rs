//! What a log says of the values in its files, to leave files out before anything of them is read.

use super::columns::DeltaColumn;
use crate::catalog::types::HiveType;
use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use chrono::{DateTime, NaiveDateTime};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// Writers cut moments to whole milliseconds, and columns have them rounded to such.
const CUT_MS: i64 = 1;
const CUT_US: i64 = 1_000;

/// The statistics of one file, by physical name.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Stats {
    num_records: Option<u64>,
    min_values: Option<Map<String, Value>>,
    max_values: Option<Map<String, Value>>,
    null_count: Option<Map<String, Value>>,
}

/// The statistics of files.
pub(super) struct FileStatistics<'a> {
    columns: &'a [DeltaColumn],
    files: Vec<Stats>,
}

#[derive(Clone, Copy)]
enum Bound {
    Least,
    Greatest,
}

impl<'a> FileStatistics<'a> {
    /// Of files with this JSON; text that is none says nothing.
    pub(super) fn new<'b>(columns: &'a [DeltaColumn], files: impl Iterator<Item = Option<&'b str>>) -> Self {
        let read = |text: Option<&str>| text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Self { columns, files: files.map(read).collect() }
    }

    fn column(&self, column: &Column) -> Option<&DeltaColumn> {
        self.columns.iter().find(|known| known.name == column.name)
    }

    fn bounds(&self, column: &Column, bound: Bound) -> Option<ArrayRef> {
        let column = self.column(column)?;
        let null = ScalarValue::try_from(column.hive.arrow()).ok()?;
        let value = |file: &Stats| {
            let values = match bound {
                Bound::Least => file.min_values.as_ref(),
                Bound::Greatest => file.max_values.as_ref(),
            };
            let value = values.and_then(|values| values.get(&column.physical));
            value.and_then(|value| scalar(&column.hive, value, bound)).unwrap_or_else(|| null.clone())
        };
        let values: Vec<ScalarValue> = self.files.iter().map(value).collect();
        if values.iter().all(ScalarValue::is_null) {
            return None;
        }
        ScalarValue::iter_to_array(values).ok()
    }
}

/// The bound that `value` says. Numbers with a fraction are none: JSON has them in another precision than the file, and NaN is
/// in no bound.
fn scalar(hive: &HiveType, value: &Value, bound: Bound) -> Option<ScalarValue> {
    let moved = |value: i64, by: i64| match bound {
        Bound::Least => value.checked_sub(by),
        Bound::Greatest => value.checked_add(by),
    };
    match hive {
        HiveType::TinyInt => Some(ScalarValue::Int8(Some(value.as_i64()?.try_into().ok()?))),
        HiveType::SmallInt => Some(ScalarValue::Int16(Some(value.as_i64()?.try_into().ok()?))),
        HiveType::Int => Some(ScalarValue::Int32(Some(value.as_i64()?.try_into().ok()?))),
        HiveType::BigInt => Some(ScalarValue::Int64(Some(value.as_i64()?))),
        // Older writers of Spark's cut a long text off and put this character behind it, which is not greater than all others in UTF-8.
        HiveType::String if matches!(bound, Bound::Greatest) && value.as_str()?.ends_with(char::REPLACEMENT_CHARACTER) => None,
        HiveType::String => Some(ScalarValue::Utf8(Some(value.as_str()?.to_string()))),
        HiveType::Date => ScalarValue::try_from_string(value.as_str()?.to_string(), &hive.arrow()).ok(),
        HiveType::Moment => {
            let ms = DateTime::parse_from_rfc3339(value.as_str()?).ok()?.timestamp_millis();
            Some(ScalarValue::TimestampMillisecond(Some(moved(ms, CUT_MS)?), Some(Arc::from("UTC"))))
        }
        HiveType::TimestampMicros => {
            let text = value.as_str()?.trim_end_matches('Z').replace('T', " ");
            let time = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").ok()?;
            Some(ScalarValue::TimestampMicrosecond(Some(moved(time.and_utc().timestamp_micros(), CUT_US)?), None))
        }
        _ => None,
    }
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, Bound::Least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, Bound::Greatest)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let physical = &self.column(column)?.physical;
        let count = |file: &Stats| file.null_count.as_ref()?.get(physical)?.as_u64();
        Some(Arc::new(self.files.iter().map(count).collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|file| file.num_records).collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bounds_are_never_tighter_than_the_values() {
        let both = |hive: HiveType, value: Value| {
            [Bound::Least, Bound::Greatest].map(|bound| scalar(&hive, &value, bound).map(|value| value.to_string()))
        };
        let same = |text: &str| [Some(text.to_string()), Some(text.to_string())];
        assert_eq!(both(HiveType::BigInt, json!(i64::MAX)), same(&i64::MAX.to_string()));
        assert_eq!(both(HiveType::String, json!("é")), same("é"));
        assert_eq!(both(HiveType::String, json!("é\u{FFFD}")), [Some("é\u{FFFD}".into()), None]);
        assert_eq!(both(HiveType::TinyInt, json!(200)), [None, None]);
        assert_eq!(both(HiveType::BigInt, json!(1.5)), [None, None]);
        for hive in [HiveType::Double, HiveType::Float, HiveType::Decimal(10, 2), HiveType::Boolean] {
            assert_eq!(both(hive, json!(1)), [None, None]);
        }
        let moment = |text: &str| {
            [Bound::Least, Bound::Greatest].map(|bound| match scalar(&HiveType::Moment, &json!(text), bound) {
                Some(ScalarValue::TimestampMillisecond(value, _)) => value,
                _ => None,
            })
        };
        assert_eq!(moment("1970-01-01T00:00:01.000Z"), [Some(999), Some(1001)]);
        assert_eq!(moment("1970-01-01T00:00:01.000999Z"), [Some(999), Some(1001)]);
        assert_eq!(moment("1970-01-01T01:00:01.000+01:00"), [Some(999), Some(1001)]);
        assert_eq!(moment("1970-01-01"), [None, None]);
    }
}
