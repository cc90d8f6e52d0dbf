//! The formats of date_format and date_parse: MySQL's percent letters.

use super::pattern::{Field, Piece, Pivot};
use datafusion::common::{Result, exec_err};

/// Two digits of a year stand for 1970 to 2069.
const PIVOT_YEAR: i32 = 2020;

fn number(field: Field, min: usize, max: usize) -> Piece {
    Piece::Number { field, min, max, signed: matches!(field, Field::Year | Field::Weekyear) }
}

fn literal(text: char) -> Piece {
    Piece::Literal(text.to_string())
}

/// `hours:mm:ss`.
fn clock(hours: Field) -> Vec<Piece> {
    vec![number(hours, 2, 2), literal(':'), number(Field::Minute, 2, 2), literal(':'), number(Field::Second, 2, 2)]
}

fn name(field: Field, long: bool) -> Piece {
    Piece::Name { field, long }
}

/// Reads a format; letters that have no meaning stand for themselves.
pub(super) fn pieces(format: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            pieces.push(literal(letter));
            continue;
        }
        let Some(letter) = letters.next() else { break };
        let piece = match letter {
            'a' => name(Field::DayOfWeek, false),
            'b' => name(Field::Month, false),
            'c' => number(Field::Month, 1, 2),
            'd' => number(Field::DayOfMonth, 2, 2),
            'e' => number(Field::DayOfMonth, 1, 2),
            'f' => Piece::Fraction { min: 6, max: 9 },
            'H' => number(Field::HourOfDay, 2, 2),
            'h' | 'I' => number(Field::ClockHourOfHalfDay, 2, 2),
            'i' => number(Field::Minute, 2, 2),
            'j' => number(Field::DayOfYear, 3, 3),
            'k' => number(Field::HourOfDay, 1, 2),
            'l' => number(Field::ClockHourOfHalfDay, 1, 2),
            'M' => name(Field::Month, true),
            'm' => number(Field::Month, 2, 2),
            'p' => name(Field::HalfDay, true),
            'S' | 's' => number(Field::Second, 2, 2),
            'v' => number(Field::Week, 2, 2),
            'x' => number(Field::Weekyear, 4, 4),
            'W' => name(Field::DayOfWeek, true),
            'Y' => number(Field::Year, 4, 4),
            'y' => Piece::TwoDigits { field: Field::Year, pivot: Pivot::At(PIVOT_YEAR), lenient: false },
            'T' => {
                pieces.extend(clock(Field::HourOfDay));
                continue;
            }
            'r' => {
                pieces.extend(clock(Field::ClockHourOfHalfDay));
                pieces.push(literal(' '));
                name(Field::HalfDay, true)
            }
            'w' | 'U' | 'u' | 'V' | 'X' | 'D' => return exec_err!("%{letter} not supported in date format string"),
            other => literal(other),
        };
        pieces.push(piece);
    }
    Ok(pieces)
}
