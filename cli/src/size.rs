//! Reads sizes and durations as people write them; knows nothing of what they limit.

use std::time::Duration;

/// Bytes of a size such as `32MiB`, `64k`, `1.5GB` or `1000`.
///
/// `k`, `m`, `g`, `t` and `KiB` to `TiB` count in steps of 1,024; `kB` to `TB` in steps of 1,000.
///
/// # Errors
/// Says what a size looks like.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size: write a number of bytes, or one with a unit as in 64k, 32MiB or 1.5GB");
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let number = number.replace('_', "");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| format!("'{text}' is more bytes than can be counted"));
    }
    match number.parse::<f64>() {
        // Below 2^63, so that the conversion keeps the value.
        Ok(part) if part * (factor as f64) < 9.2e18 => Ok((part * factor as f64).round() as u64),
        Ok(_) => Err(format!("'{text}' is more bytes than can be counted")),
        Err(_) => Err(wrong()),
    }
}

/// A positive number of seconds.
///
/// # Errors
/// Says what is expected.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().strip_suffix('s').unwrap_or(text).trim().parse::<f64>();
    match seconds.ok().filter(|seconds| *seconds >= 0.001).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(duration) => Ok(duration),
        None => Err(format!("'{text}' is not a time: write seconds above 0, as in 30 or 0.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_both_kinds() {
        let cases = [
            ("0", 0),
            ("1000", 1_000),
            ("64k", 65_536),
            ("64K", 65_536),
            ("32MiB", 32 << 20),
            ("32 MiB", 32 << 20),
            ("1.5GB", 1_500_000_000),
            ("2g", 2 << 30),
            ("1_000b", 1_000),
            ("1TB", 1_000_000_000_000),
            ("0.5k", 512),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_its_text() {
        for text in ["", "MiB", "12 apples", "-1", "1.2.3", "1e3", "99999999999t", "9999999999.5t"] {
            assert!(parse_size(text).is_err_and(|e| e.contains(text)), "{text}");
        }
    }

    #[test]
    fn times_are_above_zero() {
        assert_eq!(parse_seconds("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_seconds("30s"), Ok(Duration::from_secs(30)));
        for text in ["0", "-1", "soon", "inf", "nan", "1e300"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
