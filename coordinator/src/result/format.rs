//! Names the formats of a result and chooses one for an `Accept` header; does not know how they look.

use engine::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How the rows of a result are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResultFormat {
    /// One object with columns, and rows as arrays.
    Json,
    /// One object a line and row; column names must differ.
    Ndjson,
    /// RFC 4180 with a header, lines ending in `\n`; NULL is an empty field, an empty string is `""`.
    Csv,
    /// An Arrow IPC stream, uncompressed, without dictionaries and view types.
    Arrow,
}

/// How well a media range of an `Accept` header suits a format; the greater, the better.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Fit {
    quality: f32,
    /// 0 for `*/*`, 1 for `type/*`, 2 for `type/subtype`.
    precision: u8,
}

impl ResultFormat {
    /// Every format; earlier ones win where a client has no preference.
    pub(crate) const ALL: [ResultFormat; 4] = [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow];

    /// The name in requests and records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
        }
    }

    /// The value of `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            _ => self.media_type(),
        }
    }

    /// How names of stored objects end, without the dot.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Arrow => "arrows",
            _ => self.name(),
        }
    }

    /// The best format for the value of an `Accept` header (empty: JSON); None when it names none of ours.
    ///
    /// The greatest `q` wins, then the more precise range, then the order of [`ResultFormat::ALL`].
    pub(crate) fn from_accept(accept: &str) -> Option<Self> {
        Self::best_for(accept, Self::ALL)
    }

    /// The same among `offered`, in its order; the first one for an empty header.
    pub(crate) fn best_for(accept: &str, offered: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut offered = offered.into_iter();
        if accept.trim().is_empty() {
            return offered.next();
        }
        let mut best: Option<(Fit, Self)> = None;
        for format in offered {
            let Some(fit) = format.fit(accept) else { continue };
            if fit.quality > 0.0 && best.is_none_or(|(found, _)| fit > found) {
                best = Some((fit, format));
            }
        }
        best.map(|(_, format)| format)
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The most precise range that covers the format; a range with a bad `q` counts for nothing.
    fn fit(self, accept: &str) -> Option<Fit> {
        let (own_type, _) = self.media_type().split_once('/')?;
        let mut best: Option<Fit> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let precision = match media.split_once('/') {
                Some(("*", "*")) => 0,
                Some((kind, "*")) if kind == own_type => 1,
                Some(_) if media == self.media_type() => 2,
                _ => continue,
            };
            let Some(quality) = quality(parts) else { continue };
            if best.is_none_or(|found| precision > found.precision || (precision == found.precision && quality > found.quality)) {
                best = Some(Fit { quality, precision });
            }
        }
        best
    }
}

/// The `q` among the parameters of a media range, 1 without; None if it is not a number from 0 to 1.
fn quality<'a>(parameters: impl Iterator<Item = &'a str>) -> Option<f32> {
    for parameter in parameters {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("q") {
            return value.trim().parse().ok().filter(|quality| (0.0..=1.0).contains(quality));
        }
    }
    Some(1.0)
}

impl fmt::Display for ResultFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ResultFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| Error::invalid(format!("unknown result format '{name}'; choose json, ndjson, csv or arrow")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() -> Result<(), Error> {
        for format in ResultFormat::ALL {
            assert_eq!(format.to_string().to_uppercase().parse::<ResultFormat>()?, format);
            assert_eq!(ResultFormat::from_accept(format.content_type()), Some(format));
        }
        assert!("xml".parse::<ResultFormat>().is_err_and(|error| error.message.contains("'xml'")));
        Ok(())
    }

    #[test]
    fn accept_chooses() {
        use ResultFormat::{Arrow, Csv, Json, Ndjson};
        let cases = [
            ("", Some(Json)),
            ("*/*", Some(Json)),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some(Json)),
            ("application/*", Some(Json)),
            ("text/*", Some(Csv)),
            ("TEXT/CSV; header=present", Some(Csv)),
            ("text/csv, */*", Some(Csv)),
            ("text/csv;q=0.5, application/json;q=0.9", Some(Json)),
            ("application/json;q=0, */*;q=0.1", Some(Ndjson)),
            ("application/vnd.apache.arrow.stream, application/json;q=0.9", Some(Arrow)),
            ("application/x-ndjson ; Q=1.0,*/* ;q=0.9", Some(Ndjson)),
            ("text/html", None),
            ("text/csv;q=0", None),
            ("application/json;q=high", None),
            ("application/json;q=NaN", None),
            ("application/json;q=2", None),
            ("json", None),
            (",;,", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(ResultFormat::from_accept(accept), expected, "{accept}");
        }
        for accept in ["text/csv, application/json", "text/html, */*;q=0.8", "*/*;q=0.5", "", "text/*"] {
            assert_eq!(ResultFormat::best_for(accept, [Csv]), Some(Csv), "{accept}");
        }
        assert_eq!(ResultFormat::best_for("application/json, */*;q=0", [Csv]), None);
        assert_eq!(ResultFormat::best_for("*/*;q=0.5", [Arrow, Json]), Some(Arrow));
    }
}
