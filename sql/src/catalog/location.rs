//! Locations of tables as text: what they may look like, and the store and path that they mean. Makes no request.

use engine::storage::DataLocations;
pub use engine::write::escape_value;
use engine::{Error, ErrorKind, Result};
use object_store::path::Path;
use std::fmt;

/// Longest location, in bytes.
const MAX_LOCATION_BYTES: usize = 2_048;

/// A folder in a store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Location {
    /// `s3://bucket` or `file://`.
    pub store: String,
    /// The folder.
    pub path: Path,
}

impl Location {
    /// Reads `s3://bucket/folder/` (also `s3a`, `s3n`) or `file:///folder/`. Characters stand for themselves: nothing is decoded.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidQuery`] or [`ErrorKind::AccessDenied`] for everything else.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.escape_debug().take(200).collect();
            Error::invalid(format!("InvalidInputException: location '{shown}': {why}"))
        };
        if text.len() > MAX_LOCATION_BYTES {
            return Err(wrong("it is too long"));
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '\\' | '?' | '#')) {
            return Err(wrong("control characters, \\, ? and # cannot be in it"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("only s3://bucket/prefix/ and, where allowed, file:///folder/ can be given"));
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let store = match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" | "s3n" if is_bucket(host) => format!("s3://{host}"),
            "s3" | "s3a" | "s3n" => return Err(wrong("that is no bucket name (access points, ports and users cannot be given)")),
            "file" if host.is_empty() => "file://".to_string(),
            _ => return Err(Error::new(ErrorKind::AccessDenied, wrong("only s3:// and file:/// locations can be used").message)),
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        let hops = |segment: &str| {
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            // Hive writes a partition's value `a/b` as `key=a%2Fb`, one name: nothing here decodes it.
            let is_partition = segment.split_once('=').is_some_and(|(key, _)| !key.is_empty() && !key.contains(['%', '.']));
            plain == "."
                || plain == ".."
                || plain.contains("%00")
                || !is_partition && (plain.contains("%2f") || plain.contains("%5c"))
        };
        if path.split('/').any(hops) {
            return Err(wrong("., .. and their encoded forms cannot be in it"));
        }
        let path = Path::parse(path).map_err(|_| wrong("a part of it is empty or not allowed"))?;
        Ok(Self { store, path })
    }

    /// As [`Self::parse`], and within `allowed` if there is such a list.
    ///
    /// # Errors
    /// As [`Self::parse`]; [`ErrorKind::AccessDenied`] outside of `allowed`.
    pub fn checked(text: &str, allowed: Option<&DataLocations>) -> Result<Self> {
        let location = Self::parse(text)?;
        if let Some(allowed) = allowed {
            allowed.check(&location.store, &location.path)?;
        }
        Ok(location)
    }

    /// The folder `name` in this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let path = if self.path.as_ref().is_empty() { name.to_string() } else { format!("{}/{name}", self.path) };
        // Characters stand for themselves; names that are no path were checked before they came here.
        Self { store: self.store.clone(), path: Path::parse(&path).unwrap_or_else(|_| self.path.clone().join(name)) }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.store, self.path, if self.path.as_ref().is_empty() { "" } else { "/" })
    }
}

fn is_bucket(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (3..=63).contains(&name.len()) && name.bytes().all(is_plain) && !name.contains("..") && !name.starts_with(['.', '-'])
}

/// What [`escape_value`] made the text of; a `%` that begins no escape stands for itself.
pub fn unescape_value(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_string())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_folders_of_buckets_and_disks_are_locations() -> Result<()> {
        for (text, shown) in [
            ("s3://bucket/a/b", "s3://bucket/a/b/"),
            ("s3a://bucket/a/b/", "s3://bucket/a/b/"),
            ("S3N://bucket/", "s3://bucket/"),
            ("s3://bucket", "s3://bucket/"),
            ("s3://bucket/ts=2024-01-01 10%3A00/", "s3://bucket/ts=2024-01-01 10%3A00/"),
            ("s3://bucket/p=a%2Fb%5Cc/", "s3://bucket/p=a%2Fb%5Cc/"),
            ("file:///tmp/x", "file:///tmp/x/"),
        ] {
            assert_eq!(Location::parse(text)?.to_string(), shown);
        }
        for text in [
            "",
            "a/b",
            "/etc",
            "http://x/y",
            "https://x/y",
            "hdfs://x/y",
            "s3://",
            "s3:///x",
            "s3://ab/x",
            "s3://allowed@evil/x",
            "s3://bucket:80/x",
            "s3://bucket/../x",
            "s3://bucket/a/..",
            "s3://bucket/%2e%2e/x",
            "s3://bucket/%2E./x",
            "s3://bucket/a//b",
            "s3://bucket/a\\b",
            "s3://bucket/a?b",
            "s3://bucket/a#b",
            "s3://bucket/a\0",
            "s3://bucket/a%2fb",
            "s3://bucket/..%2f=x",
            "s3://bucket/=%2f",
            "s3://bucket/p=%00",
            "file://host/x",
            "file:///tmp/../etc",
            "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x/y",
        ] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
        Ok(())
    }

    #[test]
    fn locations_outside_of_the_list_are_refused() -> Result<()> {
        let allowed = DataLocations::new(&["s3://lake/tables/".into()])?;
        assert!(Location::checked("s3a://lake/tables/t/", Some(&allowed)).is_ok());
        for text in ["s3://lake/tables2/", "s3://other/tables/", "file:///etc", "s3://lake/"] {
            assert!(Location::checked(text, Some(&allowed)).is_err_and(|e| e.kind == ErrorKind::AccessDenied), "{text}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn values_come_back_from_folder_names(value in "\\PC{0,20}") {
            prop_assert_eq!(unescape_value(&escape_value(&value)), value);
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = (Location::parse(&text), unescape_value(&text));
        }
    }
}
