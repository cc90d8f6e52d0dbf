//! How times and ids look in JSON: RFC 3339 in UTC with milliseconds, and hyphenated lower-case UUIDs.

use chrono::{DateTime, SecondsFormat, Utc};
use engine::ids::QueryId;
use uuid::Uuid;

/// The id that `text` spells in its one accepted form: 36 characters, hyphenated, lower case.
pub(crate) fn parse_query_id(text: &str) -> Option<QueryId> {
    let id = QueryId(Uuid::try_parse(text).ok()?);
    (id.to_string() == text).then_some(id)
}

fn write_time(time_ms: i64) -> Result<String, String> {
    DateTime::<Utc>::from_timestamp_millis(time_ms)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .ok_or_else(|| format!("{time_ms} ms is outside the range of times"))
}

fn parse_time(text: &str) -> Result<i64, String> {
    DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()).map_err(|error| format!("time {text:?}: {error}"))
}

/// Serde form of a time in milliseconds since 1970.
pub(crate) mod time {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    pub(crate) fn serialize<S: Serializer>(time_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::write_time(*time_ms).map_err(ser::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        super::parse_time(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Serde form of a time that may be absent (null).
pub(crate) mod optional_time {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(time_ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        match time_ms {
            Some(time_ms) => super::time::serialize(time_ms, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse_time(&text).map_err(de::Error::custom)).transpose()
    }
}

/// Serde form of a query id.
pub(crate) mod query_id {
    use engine::ids::QueryId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(id: &QueryId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<QueryId, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_query_id(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a query id")))
    }
}

/// The longest start of `text` with at most `max_bytes` bytes.
pub(crate) fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_are_utc() -> Result<(), String> {
        assert_eq!(write_time(1_795_491_600_123)?, "2026-11-24T03:40:00.123Z");
        assert_eq!(write_time(0)?, "1970-01-01T00:00:00.000Z");
        assert_eq!(parse_time("2026-11-24T04:40:00.123456+01:00")?, 1_795_491_600_123);
        assert!(write_time(i64::MAX).is_err());
        assert!(parse_time("yesterday").is_err());
        Ok(())
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        assert!(parse_query_id("0193a1b2-0000-7000-8000-00000000abcd").is_some());
        for hostile in [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "a/b",
            "0193A1B2-0000-7000-8000-00000000ABCD",
            "0193a1b20000700080000000000000ab",
            "{0193a1b2-0000-7000-8000-00000000abcd}",
            "urn:uuid:0193a1b2-0000-7000-8000-00000000abcd",
            "0193a1b2-0000-7000-8000-00000000abcd ",
            "0193a1b2-0000-7000-8000-00000000abcd/../x",
            "0193a1b2-0000-7000-8000-00000000abc\u{0}",
        ] {
            assert_eq!(parse_query_id(hostile), None, "{hostile:?}");
        }
    }

    #[test]
    fn a_cut_keeps_whole_characters() {
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("a\u{e9}b", 2), "a");
    }
}
