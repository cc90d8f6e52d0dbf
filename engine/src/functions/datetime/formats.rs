//! Formats of timestamps that a text table names, `timestamp.formats`: Joda-Time's letters to Hive's serdes, those of
//! `java.time` to OpenX's. What fits none of them is read as without formats.

use super::joda;
use super::moment::{Zone, millis};
use super::parse::parse_from;
use super::pattern::{Field, Piece, Pivot};
use datafusion::common::{Result, exec_err, not_impl_err};

/// The format of a number of milliseconds since 1970.
const MILLIS: &str = "millis";
/// The year of texts that have none.
const DEFAULT_YEAR: i64 = 1970;
/// Most formats that a table names.
const MAX_FORMATS: usize = 64;
/// Most digits of a second that timestamps have.
const MAX_FRACTION: usize = 3;

/// Formats that are tried one after the other.
#[derive(Debug, Default)]
pub(crate) struct TimeFormats(Vec<Format>);

#[derive(Debug)]
enum Format {
    Millis,
    /// Pieces, and how many bytes all that they fit have, where that is known and counts.
    Pieces(Vec<Piece>, Option<usize>),
}

impl TimeFormats {
    /// The formats of a property of Hive's serdes, with commas in between that a backslash escapes.
    ///
    /// # Errors
    /// For an escape of something else, a letter that is none, and more than [`MAX_FORMATS`].
    pub(crate) fn of_hive(property: &str) -> Result<Self> {
        let (mut names, mut name, mut letters) = (Vec::new(), String::new(), property.chars());
        while let Some(letter) = letters.next() {
            match letter {
                ',' => names.push(std::mem::take(&mut name)),
                '\\' => match letters.next() {
                    Some(escaped @ (',' | '\\')) => name.push(escaped),
                    _ => return exec_err!("HIVE_INVALID_METADATA: timestamp.formats '{property}' escapes neither ',' nor '\\'"),
                },
                other => name.push(other),
            }
        }
        names.push(name);
        let format = |name: &String| match name.eq_ignore_ascii_case(MILLIS) {
            true => Ok(Format::Millis),
            false => Ok(Format::Pieces(joda::format(name, true)?.pieces, None)),
        };
        let names = names.iter().filter(|name| !name.is_empty());
        Self::bounded(names.map(format).collect::<Result<_>>()?)
    }

    /// The formats of a property of OpenX's serde, with commas in between.
    ///
    /// # Errors
    /// For letters that mean something else to `java.time`, and more than [`MAX_FORMATS`].
    pub(crate) fn of_openx(property: &str) -> Result<Self> {
        let formats = property.split(',').filter(|name| !name.is_empty()).map(java_format);
        Self::bounded(formats.filter_map(Result::transpose).collect::<Result<_>>()?)
    }

    fn bounded(formats: Vec<Format>) -> Result<Self> {
        if formats.len() > MAX_FORMATS {
            return exec_err!("NOT_SUPPORTED: timestamp.formats with more than {MAX_FORMATS} formats");
        }
        Ok(Self(formats))
    }

    /// Milliseconds from 1970 to `text`, by the first format that it fits.
    pub(crate) fn millis(&self, text: &str) -> Option<i64> {
        self.0.iter().find_map(|format| match format {
            Format::Millis => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
                let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let is_both = is_number(whole.strip_prefix('-').unwrap_or(whole)) && is_number(fraction);
                whole.parse().ok().filter(|_| is_both)
            }
            Format::Pieces(_, Some(bytes)) if text.len() != *bytes => None,
            Format::Pieces(pieces, _) => {
                let parsed = parse_from(pieces, text, DEFAULT_YEAR).ok()?;
                parsed.zone.unwrap_or(Zone::UTC).instant(parsed.local, None).ok().map(millis)
            }
        })
    }
}

/// A format of `java.time`; none for one without a day or without an hour, which no timestamp comes from.
fn java_format(name: &str) -> Result<Option<Format>> {
    let mut pieces = joda::format(&joda_letters(name)?, true)?.pieces;
    for piece in &mut pieces {
        if let Piece::TwoDigits { pivot, lenient, .. } = piece {
            (*pivot, *lenient) = (Pivot::At(2050), false);
        }
    }
    let has = |fields: &[Field]| pieces.iter().any(|piece| piece.field().is_some_and(|field| fields.contains(&field)));
    let has_year = has(&[Field::Year, Field::YearOfEra]);
    let has_day = has(&[Field::Month]) && has(&[Field::DayOfMonth]) || has(&[Field::DayOfYear]);
    let has_half = has(&[Field::HalfDay]) && has(&[Field::HourOfHalfDay, Field::ClockHourOfHalfDay]);
    let has_hour = has(&[Field::HourOfDay, Field::ClockHourOfDay]) || has_half;
    if !(has_year && has_day && has_hour) {
        return Ok(None);
    }
    let bytes = pieces.iter().map(Piece::width).sum();
    Ok(Some(Format::Pieces(pieces, bytes)))
}

/// A format of `java.time` in Joda-Time's letters.
fn joda_letters(name: &str) -> Result<String> {
    let (mut out, mut is_text) = (String::with_capacity(name.len()), false);
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        is_text ^= letter == '\'';
        let mut count = 1;
        while letter != '\'' && letters.next_if_eq(&letter).is_some() {
            count += 1;
        }
        let refused =
            || not_impl_err!("NOT_SUPPORTED: '{}' in timestamp.formats '{name}'", letter.to_string().repeat(count.min(9)));
        let same = || letter.to_string().repeat(count);
        match letter {
            _ if is_text || !letter.is_ascii_alphabetic() => out.push_str(&same()),
            'y' | 'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' | 'a' | 'D' => out.push_str(&same()),
            'u' => out.push_str(&"y".repeat(count)),
            'M' | 'E' if count <= 4 => out.push_str(&same()),
            'S' if count <= MAX_FRACTION => out.push_str(&same()),
            'X' | 'x' | 'Z' if count <= 3 => out.push_str(if count == 3 && letter != 'Z' { "ZZ" } else { "Z" }),
            _ => return refused(),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_hive_are_joda_times() -> Result<()> {
        let formats = TimeFormats::of_hive("yyyy-MM-dd'T'HH:mm:ss.SSS'Z',dd/MMM/yyyy:HH:mm:ss Z,millis,MM\\,dd\\,yyyy,HH:mm")?;
        for (text, millis) in [
            ("1970-01-02T00:00:01.500Z", Some(86_401_500)),
            ("02/Jan/1970:01:00:00 +0100", Some(86_400_000)),
            ("-1500", Some(-1_500)),
            ("1500.99", Some(1_500)),
            ("01,02,1970", Some(86_400_000)),
            ("00:01", Some(60_000)),
            ("1970-01-02T00:00:01Z", None),
            ("1970-13-02T00:00:01.500Z", None),
            ("1500.", None),
            ("", None),
        ] {
            assert_eq!(formats.millis(text), millis, "{text}");
        }
        assert!(TimeFormats::of_hive("yyyy\\x").is_err() && TimeFormats::of_hive("Q").is_err());
        assert!(TimeFormats::of_hive(&"H,".repeat(MAX_FORMATS)).is_ok());
        assert!(TimeFormats::of_hive(&"H,".repeat(MAX_FORMATS + 1)).is_err());
        Ok(())
    }

    #[test]
    fn formats_of_openx_are_those_of_java_time() -> Result<()> {
        let formats = TimeFormats::of_openx("yyyy/MM/dd HH.mm.ss,dd-MM-yy h a,uuuu-MM-dd'T'HHXXX,yyyy/MM/dd")?;
        for (text, millis) in [
            ("1970/01/02 00.00.01", Some(86_401_000)),
            ("1970/1/2 00.00.01", None),
            ("02-01-70 1 PM", Some(3_155_893_200_000)),
            ("1970-01-01T01+01:00", Some(0)),
            ("1970-01-01T01Z", Some(3_600_000)),
            ("1970/01/02", None),
        ] {
            assert_eq!(formats.millis(text), millis, "{text}");
        }
        for refused in ["yyyy-MM-dd HH:mm:ss.SSSS", "VV", "MMMMM", "Q"] {
            assert!(TimeFormats::of_openx(refused).is_err(), "{refused}");
        }
        Ok(())
    }
}
