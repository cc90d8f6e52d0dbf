//! Decides how counts, bytes and times are written for people.

use std::time::Duration;

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {one}{ending}", count(number))
}

/// `12.3 MB`, in powers of 1,000, as storage is billed.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let mut value = number as f64;
    let mut unit = "B";
    for next in UNITS {
        // 999.95 would be written as 1000.0.
        if value < 999.95 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `0.004 s` below a tenth of a second, `0.42 s` below ten, `12.3 s` below a hundred, `3 min 05 s` from there.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..0.1 => format!("{seconds:.3} s"),
        0.1..10.0 => format!("{seconds:.2} s"),
        10.0..100.0 => format!("{seconds:.1} s"),
        _ => format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        let texts: Vec<String> = [0, 999, 1_000, 1_478, 1_234_567].into_iter().map(count).collect();
        assert_eq!(texts, ["0", "999", "1,000", "1,478", "1,234,567"]);
        assert_eq!((counted(1, "row"), counted(0, "row")), ("1 row".into(), "0 rows".into()));
    }

    #[test]
    fn bytes_change_their_unit_before_four_digits() {
        let texts: Vec<String> =
            [0, 999, 1_000, 999_949, 999_950, 12_345_678, 5_000_000_000_000_000].into_iter().map(bytes).collect();
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "12.3 MB", "5000.0 TB"]);
    }

    #[test]
    fn times_keep_about_three_digits() {
        let texts: Vec<String> = [4, 420, 12_345, 185_000].into_iter().map(|ms| seconds(Duration::from_millis(ms))).collect();
        assert_eq!(texts, ["0.004 s", "0.42 s", "12.3 s", "3 min 05 s"]);
    }
}
